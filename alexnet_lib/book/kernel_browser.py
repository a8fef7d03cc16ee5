"""The first layer's kernels of runs on record, as many as a page can hold, as it shows them without a kernel or a server.

A file beside a record holds the kernels as training left them (evidence/kernels.py). Those before training follow from the
seed, which draws them again. book/_static/kernels.js shows both; without it, and on paper, one run is a still picture.
"""

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
from torch import Tensor, cosine_similarity

from .. import introspection
from ..config import InputError, ModelConfig
from ..evidence import records
from ..evidence.kernels import load_kernels
from ..model import AlexNet
from . import figures

MOST_BYTES = 1_500_000  # of kernels in the page, so that it stays below 3 MB


def with_kernels() -> list[tuple[dict, Path]]:
    """(record, file of kernels) of every run on record that has them, by name."""
    files = sorted(records.results_root().glob("*/*.json"))
    return [(records.read(path), kernels) for path in files if (kernels := records.kernels_path(path)).exists()]


def start_of(record: dict, end: Tensor) -> Tensor | None:
    """The kernels before training, drawn again from the run's seed: (K, 3, S, S).

    None where the seed does not give them, as another version of torch may not: trained kernels keep a trace of their own
    start, and nothing of another. Between independent kernels of n weights the cosine is 0, give or take 1 / sqrt(n).
    """
    start = introspection.kernels(AlexNet(ModelConfig.from_dict(record["model"]), seed=record["seed"]))
    alike = cosine_similarity(start.flatten(1), end.flatten(1)).mean()
    return start if alike > 5 / end.numel() ** 0.5 else None


def pixels(weights: Tensor) -> np.ndarray:
    """Kernels as pictures, each scaled by its own largest weight, grey for 0: uint8 (K, S, S, 3)."""
    scaled = weights / weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return (255 * (0.5 + 0.5 * scaled)).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def moment(when: str, weights: Tensor, towers: int) -> dict:
    """The kernels at one time, as the page holds them: pictures, colour selectivity of each, and its mean by tower."""
    selectivity = introspection.colour_selectivity(weights)
    return {
        "when": when,
        "pixels": base64.b64encode(pixels(weights).data).decode(),
        "selectivity": [f"{value:.2f}" for value in selectivity],
        "means": [f"{tower.mean():.2f}" for tower in selectivity.chunk(towers)],
    }


def described(record: dict, file: Path) -> dict:
    """A run as the page holds it: its moments, and in which order each tower's kernels go from grey to coloured."""
    end, towers, epochs = load_kernels(file), record["model"]["towers"], record["curve"][-1]["epoch"]
    moments = {"before training, drawn again from the seed": start_of(record, end), f"after {epochs} epochs": end}
    data, error = record["data"]["train"], record["metrics"].get("test_top1_error")
    about = f"{label(record)}: {data['name']}, {data['images']:,} images, {epochs} epochs"
    return {
        "about": about + ("" if error is None else f", test error {error:.1f} %"),
        "side": end.shape[-1],
        "order": [tower.argsort().tolist() for tower in introspection.colour_selectivity(end).chunk(towers)],
        "moments": [moment(when, weights, towers) for when, weights in moments.items() if weights is not None],
    }


def label(record: dict) -> str:
    return f"{record['experiment']}, {record['arm']}, seed {record['seed']}"


def chosen(runs: list[tuple[dict, Path]], first: Path, most: int = MOST_BYTES) -> list[tuple[dict, Path]]:
    """The run to show first and as many more as the page can hold: every arm's first seed before any arm's second."""
    turn: dict[Path, int] = {}
    arms: dict[tuple[str, str], int] = {}
    for record, path in runs:
        arm = record["experiment"], record["arm"]
        turn[path] = arms[arm] = arms.get(arm, 0) + 1
    kept, left = set(), most
    for _, path in sorted(runs, key=lambda run: (run[1] != first, turn[run[1]])):
        left -= 2 * path.stat().st_size  # two moments of a byte a weight make 2.7 in base64; the file has two a weight
        if left >= 0 or path == first:
            kept.add(path)
    return [run for run in runs if run[1] in kept]


def browser(first: str) -> str:
    """HTML: every run to choose from, and the still picture of one, EXPERIMENT/ARM-seedN, which is also shown first.

    Raises InputError where that run has no kernels on record.
    """
    recorded, path = with_kernels(), records.results_root() / f"{first}.kernels.safetensors"
    if path not in [file for _, file in recorded]:
        raise InputError(f"no kernels on record of {first}")
    runs = chosen(recorded, path)
    place = [file for _, file in runs].index(path)
    data = json.dumps([described(*run) for run in runs], separators=(",", ":")).replace("</", "<\\/")
    options: dict[str, str] = {}
    for number, (record, _) in enumerate(runs):
        name, mark = escape(f"{record['arm']}, seed {record['seed']}"), " selected" * (number == place)
        of = record["experiment"]
        options[of] = options.get(of, "") + f'<option value="{number}"{mark}>{name}</option>'
    groups = "".join(f'<optgroup label="{escape(of)}">{every}</optgroup>' for of, every in options.items())
    return f"""<div class="interactive kernels">
{still(*runs[place])}
<div class="live" hidden>
<p class="controls">
<label>Run ({len(runs)} of {len(recorded)} on record) <select>{groups}</select></label>
<label><input type="checkbox" checked> sorted from grey to coloured</label>
<span><label>Time <input type="range" min="0" step="1"></label> <output></output></span>
</p>
<p class="about"></p>
<div class="towers"></div>
<p class="chosen"><canvas role="img"></canvas> <span></span></p>
</div>
<script type="application/json">{data}</script>
</div>"""


def still(record: dict, file: Path) -> str:
    """A run's kernels after training as an <img>, a block a tower."""
    weights = load_kernels(file)
    figures.use_style()
    figure = figures.kernels_figure(weights, introspection.colour_selectivity(weights), record["model"]["towers"])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150, bbox_inches="tight", metadata={"Software": None})
    alt = f"First-layer kernels of the run {label(record)} after training, tower by tower, sorted from grey to coloured"
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}">'
