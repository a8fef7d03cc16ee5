"""The paper's figure 1 to explore: the error at which the race of ReLU against tanh is called, moved by hand.

The curves are the records', drawn here; book/_static/race.js moves the line and says where the curves cross it, by the rule of
evidence/verdicts.py. Without it, and on paper, the curves of 2012 and the line at 25 % stand still.
"""

import json
from html import escape

from ..config import InputError
from ..evidence import records, verdicts
from .diagram import line, svg, text
from .figures import COLOURS, FAINT, INK

CONDITIONS = {"relu_2012": "of 2012", "relu_today": "of today"}  # the first ones are shown first
UNITS = {"relu": ("ReLU", COLOURS[1], ""), "tanh": ("tanh", COLOURS[2], "6 4")}  # words, colour, dashes
LEVEL, LOWEST, HIGHEST = 25, 5, 70  # percent: the paper's, and how far the line can be moved
WIDE, TALL, LEFT, BELOW, EPOCHS, MOST = 480, 330, 58, 48, 90, 95  # the picture, its margins, and the ends of its axes
HINT = "Training error over the epochs, ReLU solid and tanh dashed, a line a seed, and a level line"


def explorable() -> str:
    """HTML: both races as one picture, their points as data. Raises InputError where they are not on record."""
    races, first = {}, next(iter(CONDITIONS))
    for name in CONDITIONS:
        if not (found := records.read_experiment(name)):
            raise InputError(f"no record of {name}; it is measured by: python -m alexnet_lib measure {name} --record")
        races[name] = [(record["arm"], record["metrics"]["chance_error"], verdicts.points(record)) for record in found]
    curves = [
        f'<g data-race="{name}"{" hidden" * (name != first)}>{"".join(_curve(unit, points) for unit, _, points in runs)}</g>'
        for name, runs in races.items()
    ]
    level = f'<g class="level" stroke="{INK}">{line((LEFT, down(LEVEL)), (WIDE, down(LEVEL)), INK, 1.5)}</g>'
    choices = "".join(
        f'<label><input type="radio" name="race" value="{name}"{" checked" * (name == first)}> {escape(words)}</label> '
        for name, words in CONDITIONS.items()
    )
    axes = {"left": LEFT, "tall": TALL - BELOW, "wide": WIDE - LEFT, "epochs": EPOCHS, "most": MOST}
    data = json.dumps({"axes": axes, "units": {unit: words for unit, (words, *_) in UNITS.items()}, "races": races})
    return f"""<div class="interactive race">
<div class="controls" hidden>
<fieldset><legend>Conditions</legend>{choices}</fieldset>
<label>Training error of <input type="range" min="{LOWEST}" max="{HIGHEST}" value="{LEVEL}"> <output>{LEVEL} %</output></label>
</div>
{svg(WIDE, TALL, HINT, *_axes(), *curves, level)}<p class="words" role="status"></p>
<script type="application/json">{data}</script>
</div>"""


def across(epochs: float) -> float:
    return LEFT + epochs / EPOCHS * (WIDE - LEFT)


def down(error: float) -> float:
    return (1 - error / MOST) * (TALL - BELOW)


def _curve(unit: str, points: list[tuple[float, float]]) -> str:
    _, colour, dashes = UNITS[unit]
    way = " ".join(f"{across(epochs):.1f},{down(error):.1f}" for epochs, error in points if epochs <= EPOCHS)
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"/>'


def _axes() -> list[str]:
    """Grid, numbers, names of the axes, and what the two kinds of line are."""
    drawn = []
    for error in range(0, MOST, 25):
        drawn.append(line((LEFT, down(error)), (WIDE, down(error)), FAINT, 1))
        drawn.append(text(LEFT - 8, down(error) + 5, str(error), size=16, anchor="end"))
    drawn += [text(across(epochs), TALL - BELOW + 20, str(epochs), size=16) for epochs in range(0, EPOCHS, 20)]
    drawn.append(text(across(EPOCHS / 2), TALL - 8, "epochs", size=16))
    upright = text(16, down(MOST / 2), "training error (%)", size=16)
    drawn.append(f'<g transform="rotate(-90 16 {down(MOST / 2):.0f})">{upright}</g>')
    for height, (words, colour, dashes) in zip((22, 46), UNITS.values(), strict=True):
        drawn.append(line((WIDE - 110, height - 5), (WIDE - 66, height - 5), colour, 2.5, dashes))
        drawn.append(text(WIDE - 58, height, words, size=16, anchor="start"))
    return drawn
