"""One style for every plot: a light card that a dark page can carry, colours that also differ in grey, axes with units."""

import base64
import html
import io
import json
import logging
import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from torch import Tensor

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without a home, or slow, a first import would warn in a notebook's cell

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from ..evidence.claims import BAND  # noqa: E402

warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn: no font here has every script

# The first font has no Chinese or Japanese; of these, which systems bring along, those that are here come after it.
WIDE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS")

# Dark to light, so that the order is visible without colour; chosen for the common kinds of colour blindness.
COLOURS = ("#14213d", "#c2410c", "#3a86c8", "#e0a526", "#8a8f98")
CARD, INK, FAINT = "#fbfaf7", "#22252b", "#c9c7c1"

STYLE = {
    "figure.facecolor": CARD,
    "axes.facecolor": CARD,
    "savefig.facecolor": CARD,
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": ["DejaVu Sans", *(name for name in WIDE_FONTS if name in font_manager.get_font_names())],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e5de",
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Applies the style to all plots of this process."""
    plt.style.use(STYLE)


def curve_figure(curve: Sequence[dict], training: str = "training (dropout and crops on)") -> Figure:
    """Loss and error over the epochs of a run, as fit() returns them; `training` names what was measured while it trained."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3))
    for axes, key, label in ((left, "loss", "loss (nats)"), (right, "error", "top-1 error (%)")):
        for colour, part, marker in ((COLOURS[0], "train", "o"), (COLOURS[1], "valid", "s")):
            shown = [(e["epoch"], e[f"{part}_{key}"]) for e in curve if f"{part}_{key}" in e]
            if shown:
                name = training if part == "train" else "held-out images"
                axes.plot(*zip(*shown, strict=True), color=colour, marker=marker, markersize=3, label=name)
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.legend()
    return done(figure)


def evidence_figure(pairs: Sequence[tuple]) -> Figure:
    """What was measured of claims: the effect of each seed as a dot, its 95 % interval as a bar, half to twice the
    paper's effect as a band, and in grey the margin that counts as no effect.

    Args:
        pairs: (Claim, Verdict) of claims that name an experiment.
    """
    figure, rows = plt.subplots(max(1, len(pairs)), 1, figsize=(8.5, 1.25 * len(pairs) + 0.3), squeeze=False)
    for axes, (claim, verdict) in zip(rows[:, 0], pairs, strict=False):
        axes.set(ylim=(-1, 1), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.set_title(f"{claim.id}: {verdict.word}", fontsize=10, loc="left")
        if not verdict.effects:
            axes.set_xticks([])
            axes.grid(False)
            words = verdict.reason or f"measured by: {claim.command}"
            axes.text(0, 0, "\n".join(textwrap.wrap(words, 90)), va="center", fontsize=9, family="monospace")
            continue
        speedup, paper = claim.rule["kind"] == "speedup", claim.effect
        none, margin = 1 if speedup else 0, claim.rule.get("margin", 0)
        edges = (1 / margin, margin) if speedup else (-margin, margin)
        if margin:
            axes.axvspan(*edges, color="#e8e5de", zorder=0, label="no effect")
        axes.axvline(none, color=FAINT, linewidth=1.5, zorder=0)
        if paper is not None:
            source = "the authors' log" if claim.paper == "not in the paper" else "the paper"
            axes.axvline(paper, color=COLOURS[1], linestyle="--", label=source)
            band, said = sorted(factor * paper for factor in BAND), f"{BAND[0]:g} to {BAND[1]:g} times that"
            axes.axvspan(*band, color=COLOURS[1], alpha=0.12, zorder=0, label=said)
        dots = [0] * len(verdict.effects)
        axes.plot(verdict.effects, dots, "o", color=COLOURS[2], markersize=5, alpha=0.8, label="ours, a seed each")
        if verdict.interval and claim.rule["kind"] != "every_run":
            mean, low, high = verdict.interval
            axes.plot([low, high], [0, 0], color=COLOURS[0], linewidth=2, label="95 % interval", zorder=1)
            axes.plot(mean, 0, "|", color=COLOURS[0], markersize=14)
        axes.set_xlabel("time of the control, divided by ours" if speedup else f"difference ({claim.unit})", fontsize=9)
        axes.margins(x=0.08)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return done(figure)


def ledger_figure(pairs: Sequence[tuple]) -> Figure:
    """Effects with their intervals in units of the paper's, grouped by verdict: 1 is the paper's effect, 0 is none.

    Args:
        pairs: (Claim, Verdict) of claims that have an interval and a number of the paper.
    """
    pairs = sorted(pairs, key=lambda pair: pair[1].word)
    figure, axes = plt.subplots(figsize=(6.5, 0.8 + 0.36 * len(pairs)))
    axes.axvspan(*BAND, color=COLOURS[1], alpha=0.12, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=1.5, zorder=0)
    axes.axvline(1, color=COLOURS[1], linestyle="--", zorder=0)
    for row, (claim, verdict) in enumerate(pairs):
        mean, *edges = (value / claim.effect for value in verdict.interval)
        pale = 0.4 if verdict.seeds < verdict.planned else 1.0
        axes.plot(sorted(edges), [row, row], color=COLOURS[0], linewidth=2, alpha=pale)
        axes.plot(mean, row, "o", color=COLOURS[0], alpha=pale)
    names = [f"{claim.id}: {verdict.word}" for claim, verdict in pairs]
    axes.set(yticks=range(len(pairs)), yticklabels=names, ylim=(len(pairs) - 0.5, -0.5), xlabel="effect, in units of the paper's")
    return done(figure)


def svg(figure: Figure) -> str:
    """A figure as SVG for a page, its letters as letters."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "alexnet"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return '<svg style="max-width:100%;height:auto" ' + text.getvalue().partition("<svg")[2]


class Slider:
    """Frames of a drawing for several values of a knob, with a slider to choose: HTML that needs no kernel.

    It works the same in a notebook and on a rendered page. A terminal shows the values.
    """

    def __init__(self, draw, values: Sequence, name: str, alt: str, start: int = 0):
        """draw(value) returns a Figure; name is the knob's; alt says what the drawing shows; start: which value is shown first."""
        self.values, self.name, self.alt, self.start = [str(v) for v in values], name, alt, start
        self.frames = [self._encoded(draw(value)) for value in values]

    @staticmethod
    def _encoded(figure: Figure) -> str:
        picture = io.BytesIO()  # WebP, which every browser of today shows: photographs take a fifth of what PNG takes
        figure.savefig(picture, format="webp", pil_kwargs={"quality": 85})
        return base64.b64encode(picture.getvalue()).decode()

    def _repr_html_(self) -> str:
        chosen = "this.closest('.slider')"
        move = (
            f"{chosen}.querySelectorAll('img').forEach((f, i) => f.style.display = i == this.value ? '' : 'none');"
            f"const shown = {json.dumps(self.values)}[this.value]; {chosen}.querySelector('output').textContent = shown;"
            f"this.setAttribute('aria-valuetext', {json.dumps(self.name)} + ' = ' + shown)"
        )
        pictures = "".join(
            f'<img alt="{html.escape(f"{self.alt}; {self.name} = {value}")}" src="data:image/webp;base64,{frame}"'
            f' style="max-width:100%;{"" if i == self.start else "display:none"}">'
            for i, (value, frame) in enumerate(zip(self.values, self.frames, strict=True))
        )
        said = html.escape(f"{self.name} = {self.values[self.start]}")
        knob = (  # its name is the words beside it, as a label gives them
            f'<input type="range" min="0" max="{len(self.values) - 1}" value="{self.start}" step="1"'
            f' style="width:16em;max-width:100%" aria-valuetext="{said}" oninput="{html.escape(move)}">'
        )
        words = f"{html.escape(self.name)} = <output>{html.escape(self.values[self.start])}</output>"
        return f'<div class="slider"><label>{knob} {words}</label><br>{pictures}</div>'

    def __repr__(self) -> str:
        return f"a slider over {self.name}: {', '.join(self.values)}"


def rows_figure(rows: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """Rows of pictures, uint8 (n, H, W, 3) each, with a name before each row; rows without a picture are left out."""
    rows, names = zip(*((row, name) for row, name in zip(rows, names, strict=True) if len(row)), strict=True)
    rows = [
        np.concatenate([np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=250) for picture in row], 1) for row in rows
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(6.5, 0.55 * len(rows)), squeeze=False)
    for place, row, name in zip(axes[:, 0], rows, names, strict=True):
        place.imshow(row)
        place.set_anchor("W")
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
        place.set_ylabel(name, parse_math=False, rotation=0, ha="right", va="center", fontsize=9)
    return done(figure)


def kernels_figure(weights: Tensor, selectivity: Tensor, towers: int = 2) -> Figure:
    """The first layer's kernels as colour pictures, a block a tower, each block sorted by colour selectivity.

    Args:
        weights: (K, 3, S, S). Each kernel is scaled by its own largest weight; grey means a weight of 0.
        selectivity: (K,), as introspection.colour_selectivity gives it.
    """
    columns = 8 if len(weights) // towers <= 24 else 12
    rows = -(-len(weights) // towers // columns)
    figure, blocks = plt.subplots(1, towers, figsize=(8.5, 0.9 + 4.2 * rows / columns), squeeze=False)
    parts = zip(blocks[0], weights.chunk(towers), selectivity.chunk(towers), strict=True)
    for number, (axes, some, colourful) in enumerate(parts):
        side = some.shape[-1] + 1
        sheet = np.ones((rows * side + 1, columns * side + 1, 3))
        for place, kernel in enumerate(some[colourful.argsort()]):
            top, left = 1 + place // columns * side, 1 + place % columns * side
            picture = (0.5 + 0.5 * kernel / kernel.abs().max().clamp(min=1e-12)).permute(1, 2, 0)
            sheet[top : top + side - 1, left : left + side - 1] = picture.numpy()
        axes.imshow(sheet)
        name = f"tower {number + 1}" if towers > 1 else "one tower"
        axes.set_title(f"{name}: mean colour selectivity {colourful.mean():.2f}", fontsize=10)
        axes.axis("off")
    return done(figure)


def guesses_figure(
    images: np.ndarray, probabilities: Tensor, labels: Sequence[int], classes: Sequence[str], count: int = 5
) -> Figure:
    """Images with their most probable classes as bars, the right one in the darker colour (as figure 4 of the paper).

    Args:
        images: uint8 (N, H, W, 3).
        probabilities: (N, classes).
        labels: the right classes.
    """
    figure, axes = plt.subplots(2, len(images), figsize=(8.5, 4.2), height_ratios=(1, 1.1), squeeze=False)
    for column, (image, p, label) in enumerate(zip(images, probabilities, labels, strict=True)):
        top, below = axes[:, column]
        top.imshow(image)
        top.set_title(classes[label], fontsize=9, parse_math=False)
        top.axis("off")
        best = p[: len(classes)].topk(min(count, len(classes)))  # the network may have outputs that no class has
        places = np.arange(len(best.indices))
        colours = [COLOURS[0] if i == label else COLOURS[3] for i in best.indices]
        below.barh(places, best.values.tolist(), height=0.3, color=colours)
        for place, i in zip(places, best.indices, strict=True):  # above its bar: no letter lies on a colour
            below.text(0, place - 0.2, classes[i][:20], parse_math=False, va="bottom", fontsize=9, color=INK)
        below.set(xlim=(0, 1), ylim=(len(places) - 0.6, -0.8), yticks=[], xticks=(0, 1), xlabel="probability")
    return done(figure)


def neighbours_figure(queries: np.ndarray, by_features: np.ndarray, by_pixels: np.ndarray) -> Figure:
    """Each row: an image, its nearest neighbours by features, and by pixels.

    Args:
        queries: uint8 (N, H, W, 3).
        by_features, by_pixels: uint8 (N, k, H, W, 3).
    """
    count = by_features.shape[1]
    figure, axes = plt.subplots(
        len(queries),
        2 * count + 3,
        figsize=(8.5, 0.75 * len(queries) + 0.3),
        width_ratios=[1, 0.3, *[1] * count, 0.3, *[1] * count],
        squeeze=False,
    )
    for row, pictures in enumerate(zip(queries, by_features, by_pixels, strict=True)):
        line = [pictures[0], None, *pictures[1], None, *pictures[2]]
        for place, picture in zip(axes[row], line, strict=True):
            place.axis("off")
            if picture is not None:
                place.imshow(picture)
    for column, title in ((0, "image"), (2, "nearest by features"), (count + 3, "nearest by pixels")):
        axes[0, column].set_title(title, fontsize=9, loc="left")
    return done(figure)


def done(figure: Figure) -> Figure:
    """Takes the figure out of pyplot's list, so that a notebook shows it once: as the value of its cell."""
    plt.close(figure)
    return figure
