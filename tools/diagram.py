"""Draws the network of a preset, two towers and what reads what, as the SVG on the book's first page.

python tools/diagram.py [PRESET] [FILE]. Every number in the picture comes from the preset.
"""

import sys
from pathlib import Path

from alexnet_lib import ModelConfig
from alexnet_lib.figures import CARD, COLOURS, FAINT, INK
from alexnet_lib.summary import layer_table

FILE = Path(__file__).resolve().parent.parent / "book" / "_static" / "network.svg"
WIDTH, HEIGHT = 900, 345
LEFT, STEP = 58, 98  # centre of the input, distance of two layers
MIDDLE, APART = 134, 68  # height of what belongs to both towers, distance of each tower from it
TOWERS = {MIDDLE - APART: COLOURS[2], MIDDLE + APART: COLOURS[1]}  # height: colour
STEPS = {"norm": "LRN", "pool": "pool", "within_norm": "LRN in map"}


def draw(config: ModelConfig) -> str:
    """The picture of a network with two towers, as SVG."""
    rows, convs = layer_table(config), dict(config.convs)
    boxes = [box(LEFT, MIDDLE, 40, 108, INK), text(LEFT, MIDDLE + 4, "image", CARD, 12)]
    words = column(LEFT, "input", f"{config.image_size}×{config.image_size}×3")
    wires: list[str] = []
    below = [MIDDLE]
    for number, row in enumerate(rows, 1):
        x, conv, last = LEFT + STEP * number, convs.get(row.name), number == len(rows)
        here = [MIDDLE] if last else list(TOWERS)
        both = last or number == 1 or (conv.reads_all_towers if conv else config.hidden_reads_all_towers)
        for a in below:
            wires += [wire(x - STEP, a, x, b, crossing=a != b and number > 1) for b in here if both or a == b]
        share = row.output[0] if last else row.output[0] // 2
        if conv:
            wide, tall = 12 + 0.14 * share, 26 + 1.3 * row.output[1]
            stride = f", stride {conv.stride}" if conv.stride > 1 else ""
            then = ", ".join(STEPS[step] for step in conv.then if step in STEPS)
            shape = f"{row.output[1]}×{row.output[2]}×{share}"
            words += column(x, row.name, shape, f"{conv.size}×{conv.size}{stride}", then)
        else:
            wide, tall = (22, 60) if last else (18, 30)
            words += column(x, row.name, f"{share:,}")
        boxes += [box(x, place, wide, tall, INK if last else TOWERS[place]) for place in here]
        below = here
    for number, (place, colour) in enumerate(TOWERS.items(), 1):
        words.append(text(LEFT + 1.5 * STEP, place - 8, f"tower {number}", colour, 12))
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{CARD}"/>', *wires, *boxes, *words]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, *parts, "</svg>\n"])


def box(x: float, y: float, wide: float, tall: float, colour: str) -> str:
    place = f'x="{x - wide / 2:.1f}" y="{y - tall / 2:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {place} rx="3" fill="{colour}"/>'


def wire(x1: float, y1: float, x2: float, y2: float, crossing: bool) -> str:
    colour = COLOURS[0] if crossing else FAINT
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="2"/>'


def column(x: float, name: str, *lines: str) -> list[str]:
    """A layer's name and facts, one below the other."""
    facts = [text(x, HEIGHT - 40 + 16 * i, line) for i, line in enumerate(lines) if line]
    return [text(x, HEIGHT - 58, name, size=13, weight="bold"), *facts]


def text(x: float, y: float, words: str, colour: str = INK, size: int = 11, weight: str = "normal") -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="middle" fill="{colour}"'
    return f'<text x="{x}" y="{y}" {style}>{words}</text>'


if __name__ == "__main__":
    preset = sys.argv[1] if len(sys.argv) > 1 else "paper"
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else FILE
    file.write_text(draw(ModelConfig.preset(preset)))
