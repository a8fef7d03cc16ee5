"""The paper's figure 1 to explore: the error at which the race of ReLU against tanh is called, moved by hand.

The curves are the records', drawn here; book/_static/race.js moves the line and says where the curves cross it, by the rule of
evidence/verdicts.py. Without it, and on paper, the curves of 2012 and the line at 25 % stand still.
"""

import json
from html import escape

from ..config import InputError
from ..evidence import records
from .figures import CARD, COLOURS, FAINT, INK

CONDITIONS = {"relu_2012": "of 2012", "relu_today": "of today"}
UNITS = {"relu": ("ReLU", COLOURS[1], ""), "tanh": ("tanh", COLOURS[2], "6 4")}  # words, colour, dashes
LEVEL, LOWEST, HIGHEST = 25, 5, 70  # percent: the paper's, and how far the line can be moved
WIDE, TALL, LEFT, BELOW, EPOCHS, MOST = 480, 330, 58, 48, 90, 95  # the picture, its margins, and the ends of its axes


def explorable() -> str:
    """HTML: both races as one picture, their points as data. Raises InputError where they are not on record."""
    races = {}
    for name in CONDITIONS:
        if not (found := records.read_experiment(name)):
            raise InputError(f"no record of {name}; it is measured by: python -m alexnet_lib measure {name} --record")
        races[name] = [(record["arm"], record["metrics"]["chance_error"], points(record)) for record in found]
    curves = "".join(
        f'<g data-race="{name}"{" hidden" * (name != "relu_2012")}>{"".join(_line(unit, at) for unit, _, at in lines)}</g>'
        for name, lines in races.items()
    )
    choices = "".join(
        f'<label><input type="radio" name="race" value="{name}"{" checked" * (name == "relu_2012")}> {escape(words)}</label> '
        for name, words in CONDITIONS.items()
    )
    axes = {"left": LEFT, "tall": TALL - BELOW, "wide": WIDE - LEFT, "epochs": EPOCHS, "most": MOST}
    data = json.dumps({"axes": axes, "units": {unit: words for unit, (words, *_) in UNITS.items()}, "races": races})
    return f"""<div class="interactive race">
<div class="controls" hidden>
<fieldset><legend>Conditions</legend>{choices}</fieldset>
<label>Training error of <input type="range" min="{LOWEST}" max="{HIGHEST}" value="{LEVEL}"> <output>{LEVEL} %</output></label>
</div>
<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="Training error over the epochs, ReLU solid and tanh dashed, a line a seed, and a level line">
<rect width="{WIDE}" height="{TALL}" fill="{CARD}"/>
{_axes()}
{curves}
<g class="level" stroke="{INK}" stroke-width="1.5"><line x1="{LEFT}" x2="{WIDE}" y1="{down(LEVEL):.1f}" y2="{down(LEVEL):.1f}"/></g>
</svg>
<p class="words" role="status"></p>
<script type="application/json">{data}</script>
</div>"""


def points(record: dict) -> list[tuple[float, float]]:
    """(epochs, percent) of a run's training error; the error of an epoch stands for its middle."""
    return [(entry["epoch"] - 0.5, round(entry["train_error"], 3)) for entry in record["curve"]]


def across(epochs: float) -> float:
    return LEFT + epochs / EPOCHS * (WIDE - LEFT)


def down(error: float) -> float:
    return (1 - error / MOST) * (TALL - BELOW)


def _line(unit: str, at: list[tuple[float, float]]) -> str:
    _, colour, dashes = UNITS[unit]
    way = " ".join(f"{across(epochs):.1f},{down(error):.1f}" for epochs, error in at if epochs <= EPOCHS)
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"/>'


def _axes() -> str:
    """Grid, numbers, names of the axes, and what the two kinds of line are."""
    drawn = []
    for error in range(0, MOST, 25):
        drawn.append(f'<line x1="{LEFT}" x2="{WIDE}" y1="{down(error):.1f}" y2="{down(error):.1f}" stroke="{FAINT}"/>')
        drawn.append(_words(LEFT - 8, down(error) + 5, f"{error}", "end"))
    drawn += [_words(across(epochs), TALL - BELOW + 20, f"{epochs}") for epochs in range(0, EPOCHS, 20)]
    drawn.append(_words(across(EPOCHS / 2), TALL - 8, "epochs"))
    drawn.append(f'<g transform="rotate(-90 16 {down(MOST / 2):.0f})">{_words(16, down(MOST / 2), "training error (%)")}</g>')
    for place, (words, colour, dashes) in enumerate(UNITS.values()):
        height = 22 + 24 * place
        drawn.append(
            f'<line x1="{WIDE - 110}" x2="{WIDE - 66}" y1="{height - 5}" y2="{height - 5}" stroke="{colour}" stroke-width="2.5"'
            f' stroke-dasharray="{dashes}"/>{_words(WIDE - 58, height, words, "start")}'
        )
    return "\n".join(drawn)


def _words(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" font-size="16">{escape(words)}</text>'
