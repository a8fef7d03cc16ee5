"""The cost model to explore: a card, how many of them, a batch, and what a step then takes by each of three schemes.

All choices are computed here, as predictions of cost_model for the paper's network; book/_static/cost.js draws the chosen one.
Without it, and on paper, the first choice stands still.
"""

import json
from collections.abc import Iterable

import cost_model

from alexnet_lib import ModelConfig
from alexnet_lib.book.diagram import box, svg, text
from alexnet_lib.book.figures import COLOURS

PARTS = {  # of a step, in the colours of chapter 13
    "forward": COLOURS[2],
    "backward": COLOURS[0],
    "update": COLOURS[4],
    "activations sent": COLOURS[3],
    "gradients sent": COLOURS[1],
}
PAPER = ModelConfig.preset("paper")
SCHEMES = ("data", "towers", "mixed")
COUNTS = tuple(2**i for i in range(11))
BATCHES = (128, 512, 2048, 8192, 65536)
FIRST = ("H100", 8, 2048)
WIDE, TALL, LEFT, BAR, ROW, TOP = 480, 178, 62, 330, 38, 50  # the picture, where its bars begin, how long one is, and their rows


def explorable() -> str:
    """HTML: three controls, a bar and a row of figures for each scheme, and all predictions as data."""
    cards, (card, count, batch) = cost_model.devices(), FIRST
    steps = {name: [[predicted(each, n, size) for size in BATCHES] for n in COUNTS] for name, each in cards.items()}
    shown = dict(zip(SCHEMES, steps[card][COUNTS.index(count)][BATCHES.index(batch)], strict=True))
    names = "".join(f"<option{' selected' * (name == card)}>{name}</option>" for name in cards)
    data = {"schemes": SCHEMES, "counts": COUNTS, "batches": BATCHES, "images": cost_model.IMAGES, "steps": steps}
    data["bars"] = {"left": LEFT, "long": BAR}
    return f"""<div class="interactive cost">
<div class="controls" hidden>
<label>Card <select>{names}</select></label>
{_range("cards", COUNTS, count)}
{_range("images in a batch", BATCHES, batch)}
</div>
{svg(WIDE, TALL, "A step of each scheme as a bar of its parts", *_legend(), *_bars(shown))}
<p class="words" role="status">{count} {card}, a batch of {batch:,} in all</p>
<table><thead><tr><td></td><th scope="col">a step (ms)</th><th scope="col">images/s</th><th scope="col">90 epochs (hours)</th></tr></thead>
<tbody>{"".join(_row(scheme, sum(parts), batch) for scheme, parts in shown.items())}</tbody></table>
<script type="application/json">{json.dumps(data, separators=(",", ":"))}</script>
</div>"""


def predicted(card: cost_model.Machine, count: int, batch: int) -> list[list[float] | None]:
    """For each scheme the milliseconds of a step's parts, to three figures; None where it needs pairs, or more images."""
    found: list[list[float] | None] = []
    for scheme in SCHEMES:
        if count > batch or (scheme == "towers" and count == 1):
            found.append(None)
            continue
        one = cost_model.step(PAPER, card, batch, count, scheme)
        parts = (one.forward, one.backward, one.update, one.exchange, one.reduce - one.hidden)
        found.append([float(f"{1000 * part:.3g}") for part in parts])
    return found


def _range(what: str, values: tuple[int, ...], first: int) -> str:
    place = f'min="0" max="{len(values) - 1}" value="{values.index(first)}"'
    return f'<label>{what} <input type="range" {place} aria-valuetext="{first:,}"> <output>{first:,}</output></label>'


def _legend() -> Iterable[str]:
    x = LEFT
    for number, (name, colour) in enumerate(PARTS.items()):
        if number == 3:
            x = LEFT
        y = 14 if number < 3 else 34
        yield box(x + 6, y, 12, 12, colour)
        yield text(x + 18, y + 5, name, size=14, anchor="start")
        x += 36 + 8.2 * len(name)


def _bars(shown: dict[str, list[float]]) -> Iterable[str]:
    longest = max(map(sum, shown.values()))
    for row, (scheme, parts) in enumerate(shown.items()):
        y, x = TOP + ROW * (row + 0.55), float(LEFT)
        yield text(LEFT - 8, y + 5, scheme, size=14, anchor="end")
        for part, colour in zip(parts, PARTS.values(), strict=True):
            long = BAR * part / longest
            yield f'<rect class="{scheme}" x="{x:.1f}" y="{y - 13:.1f}" width="{long:.1f}" height="26" fill="{colour}"/>'
            x += long
        end = text(x + 6, y + 5, f"{figures(sum(parts))} ms", size=14, anchor="start")
        yield f'<g class="end {scheme}">{end}</g>'


def _row(scheme: str, step: float, batch: int) -> str:
    rate = 1000 * batch / step
    cells = [figures(step), f"{rate:,.0f}", figures(cost_model.IMAGES / rate / 3600)]
    return f'<tr><th scope="row">{scheme}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def figures(value: float) -> str:
    """Three figures, as the page's script writes them."""
    return f"{float(f'{value:.3g}'):,g}"
