"""Pictures of a network as SVG: an overview, and figure 2 of the paper. Every number in them comes from the network."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import ModelConfig
from ..summary import Row, layer_table
from .figures import CARD, COLOURS, FAINT, INK

Point = tuple[float, float]
Span = tuple[float, float]
STEPS = {"norm": "LRN", "pool": "pool", "within_norm": "LRN in map"}
TOWERS = (COLOURS[2], COLOURS[1])  # one colour a tower, also of the words beside it


@dataclass(frozen=True)
class Node:
    """A box of the overview: one tower's share of a layer, or what belongs to no tower, the image and the classifier."""

    layer: str
    tower: int  # 1 or 2; 0: of no tower
    x: float
    y: float
    wide: float
    tall: float
    colour: str

    def drawn(self) -> str:
        shape = box(self.x, self.y, self.wide, self.tall, self.colour)
        return shape if self.layer != "image" else f"{shape}\n{text(self.x, self.y + 4, self.layer, CARD, 12)}"


@dataclass
class Layout:
    """The overview before it is drawn: its boxes from left to right, which box reads which, and the words around them."""

    nodes: list[Node]
    wires: list[tuple[Node, Node]]  # (read, reader)
    words: list[str]
    width: int = 900
    height: int = 345


def layout(config: ModelConfig) -> Layout:
    """Where the overview has its boxes: two towers in two rows, a layer a column."""
    left, step, middle, apart = 58, 98, 134, 68
    heights = (middle - apart, middle + apart)
    rows, convs = layer_table(config), dict(config.convs)
    below = [Node("image", 0, left, middle, 40, 108, INK)]
    found = Layout(below[:], [], [])
    found.words = _column(left, found.height, "input", f"{config.image_size}×{config.image_size}×3")
    for number, row in enumerate(rows, 1):
        x, conv, last = left + step * number, convs.get(row.name), number == len(rows)
        share = row.output[0] if last else row.output[0] // 2
        if conv:
            wide, tall = 12 + 0.14 * share, 26 + 1.3 * row.output[1]
            stride = f", stride {conv.stride}" if conv.stride > 1 else ""
            shape = f"{row.output[1]}×{row.output[2]}×{share}"
            found.words += _column(x, found.height, row.name, shape, f"{conv.size}×{conv.size}{stride}", _then(config, row))
        else:
            wide, tall = (22, 60) if last else (18, 30)
            found.words += _column(x, found.height, row.name, f"{share:,}")
        here = [Node(row.name, i, x, y, wide, tall, c) for i, (y, c) in enumerate(zip(heights, TOWERS, strict=True), 1)]
        here = [Node(row.name, 0, x, middle, wide, tall, INK)] if last else here
        both = _reads_all(config, row, number == 1 or last)
        found.wires += [(a, b) for a in below for b in here if both or a.tower == b.tower]
        found.nodes += here
        below = here
    for number, (y, colour) in enumerate(zip(heights, TOWERS, strict=True), 1):
        found.words.append(text(left + 1.5 * step, y - 8, f"tower {number}", colour, 12))
    return found


def overview(config: ModelConfig) -> str:
    """Two towers as rows of boxes, and what reads what: the picture on the book's first page."""
    plan = layout(config)
    wires = [wire(*ends) for ends in plan.wires]
    return svg(plan.width, plan.height, "", *wires, *(node.drawn() for node in plan.nodes), *plan.words)


def wire(read: Node, reader: Node) -> str:
    """A line between two boxes, dark where it leaves its row."""
    crosses = read.y != reader.y and read.layer != "image"
    return line((read.x, read.y), (reader.x, reader.y), COLOURS[0] if crosses else FAINT)


@dataclass
class Block:
    """One tower's maps as a box in perspective, or one tower's units as a bar. Lengths go as square roots, so that 224
    pixels and 3 maps fit one picture: x along the maps, r down the rows, c along the columns, into the page."""

    maps: int
    side: int | None  # pixels; None: units of a fully connected layer, no maps
    colour: str
    unit: float = 0.5  # the row, from 0 to 1, of the one unit that is drawn in it
    pooled: bool = False
    left: float = 0.0
    middle: float = 0.0

    @property
    def size(self) -> tuple[float, float, float]:
        """Lengths along x, r and c."""
        if self.side is None:
            return 9.0, 2.9 * self.maps**0.5, 6.0
        return 2.7 * self.maps**0.5, 8.6 * self.side**0.5, 8.6 * self.side**0.5

    @property
    def wide(self) -> float:
        return self.size[0] + 0.5 * self.size[2]

    def at(self, x: float, r: float, c: float) -> Point:
        """A place in the box on the page; x, r and c from 0 to 1."""
        maps, rows, columns = self.size
        return self.left + x * maps + 0.5 * c * columns, self.middle + (r - 0.5) * rows + (0.5 - c) * 0.35 * columns

    def cuboid(self, rows: Span = (0, 1), columns: Span = (0, 1), opacity: float = 0.22) -> list[str]:
        """The part between some rows and columns, over all maps: its front, its top and its right face."""
        (top, bottom), (near, far) = rows, columns
        front = [(0, top, near), (1, top, near), (1, bottom, near), (0, bottom, near)]
        above = [(0, top, near), (0, top, far), (1, top, far), (1, top, near)]
        right = [(1, top, near), (1, top, far), (1, bottom, far), (1, bottom, near)]
        faces = ((front, 1.0), (above, 0.6), (right, 1.5))
        return [polygon([self.at(*corner) for corner in face], self.colour, opacity * shade) for face, shade in faces]

    def window(self, size: int | None, row: float) -> tuple[Span, Span]:
        """Rows and columns of a window of `size` pixels around a row; None: all of them."""
        if self.side is None or size is None or size >= self.side:
            return (0, 1), (0, 1)
        half = (size / self.side) ** 0.5 / 2
        return (row - half, row + half), (0.5 - half, 0.5 + half)

    def feeds(self, other: "Block", size: int | None, colour: str) -> list[str]:
        """Dashes from the corners of a window, through all maps, to the unit of `other` that it feeds."""
        rows, columns = self.window(size, other.unit)
        return [
            line(self.at(1, r, c), other.marked, colour, 1.1, "3 2.5") for r in rows for c in (columns if self.side else (0.5,))
        ]

    @property
    def marked(self) -> Point:
        return self.at(0.15 if self.side else 0.5, self.unit, 0.5)

    def numbers(self) -> list[str]:
        """The side beside the front face, the number of maps below it."""
        x, y = self.at(0.5, 1, 0)
        below = text(x, y + 15, f"{self.maps:,}", self.colour, 14, halo=True)
        x, y = self.at(0, 0.8, 0)
        return [below] + ([text(x - 3, y + 5, str(self.side), self.colour, 14, "end", halo=True)] if self.side else [])


def figure2(config: ModelConfig) -> str:
    """Figure 2 of the paper, both towers whole: maps as boxes, in each one kernel of the next layer and the unit that it
    feeds. Pale boxes are what pooling leaves. For networks of one tower or two."""
    rows, convs, towers = layer_table(config), dict(config.convs), config.towers
    width, margin, middle, apart = 900, 38, 205 if towers == 2 else 140, 102
    height = 2 * middle + 120
    stages: list[list[Block]] = [[Block(3, config.image_size, INK)]]
    reads: list[tuple[int | None, bool]] = []  # before each stage: the window's size, whether it reads all towers
    captions: dict[int, tuple[str, ...]] = {0: ("input", "the image", "")}
    for i, row in enumerate(rows):
        conv, last = convs.get(row.name), i == len(rows) - 1
        share = row.output[0] if last else row.output[0] // towers
        colours = (INK,) if last else TOWERS[:towers]
        reads.append((conv.size if conv else None, _reads_all(config, row, i == 0 or last)))
        facts: tuple[str, ...] = (f"{share} of", f"{conv.size}×{conv.size}×{row.depth}") if conv else (f"{share:,}", "units")
        facts += (f"stride {conv.stride}",) if conv and conv.stride > 1 else ()
        captions[len(stages)] = (row.name, *facts, _then(config, row))
        stages.append([Block(share, row.output[1] if conv else None, colour) for colour in colours])
        if conv and row.passes_on[1] != row.output[1]:
            reads.append((config.pool.size, False))
            stages.append([Block(share, row.passes_on[1], colour, pooled=True) for colour in colours])
    for number, stage in enumerate(stages[1:-1]):
        for block in stage:
            block.unit = (0.32, 0.68)[number % 2] if block.side else 0.5  # apart from the next kernel, which is drawn there too
    gaps = [0.5 if stage[0].pooled else 1.0 for stage in stages[1:]]
    gap = (width - 2 * margin - sum(stage[0].wide for stage in stages)) / sum(gaps)
    x = float(margin)
    for stage, space in zip(stages, [0.0, *gaps], strict=True):
        x += space * gap
        for number, block in enumerate(stage):
            block.left, block.middle = x, middle + (apart * (2 * number - 1) if len(stage) == 2 else 0)
        x += stage[0].wide
    parts = [part for stage in stages for block in stage for part in block.cuboid(opacity=0.1 if block.pooled else 0.22)]
    for (size, every), before, stage in zip(reads, stages, stages[1:], strict=False):
        if size is not None:
            parts += [part for block in before for part in block.cuboid(*block.window(size, stage[0].unit), 0.4)]
        for a, source in enumerate(before):
            for b, block in enumerate(stage):
                if every or a == b:
                    crossing = len(before) == len(stage) == 2 and a != b
                    parts += source.feeds(block, size, COLOURS[0] if crossing else source.colour)
    parts += [dot(block.marked, block.colour) for stage in stages[1:] for block in stage]
    parts += [number for stage in stages for block in stage for number in block.numbers()]
    for place, (name, *lines) in captions.items():
        block = stages[place][0]
        parts += _column(block.left + block.wide / 2, height - 24, name, *filter(None, lines), size=14)
    for number, block in enumerate(stages[1] if towers == 2 else (), 1):
        x, y = block.at(0, 0, 1)
        parts.append(text(x, y - 8, f"tower {number}", block.colour, 15))
    return svg(width, height, "Figure 2: the network drawn as boxes, a kernel in each and the unit that it feeds", *parts)


def _reads_all(config: ModelConfig, row: Row, always: bool) -> bool:
    conv = dict(config.convs).get(row.name)
    return always or (conv.reads_all_towers if conv else config.hidden_reads_all_towers)


def _then(config: ModelConfig, row: Row) -> str:
    conv = dict(config.convs).get(row.name)
    return ", ".join(STEPS[step] for step in conv.then if step in STEPS) if conv else ""


def _column(x: float, height: float, name: str, *lines: str, size: int = 11) -> list[str]:
    """A layer's name and facts, one below the other, at the foot of the picture."""
    facts = [text(x, height - 40 + (size + 5) * i, words, size=size) for i, words in enumerate(lines) if words]
    return [text(x, height - 58, name, size=size + 2, weight="bold"), *facts]


def svg(width: float, height: float, title: str, *parts: str, role: str = "img") -> str:
    """The parts on a light card of their own, which a dark page can carry."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif"'
    head += f' role="{role}" aria-label="{title}">' if title else ">"
    return "\n".join([head, f'<rect width="{width}" height="{height}" rx="8" fill="{CARD}"/>', *parts, "</svg>\n"])


def box(x: float, y: float, wide: float, tall: float, colour: str) -> str:
    place = f'x="{x - wide / 2:.1f}" y="{y - tall / 2:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {place} rx="3" fill="{colour}"/>'


def polygon(points: Sequence[Point], colour: str, opacity: float) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{places}" fill="{colour}" fill-opacity="{opacity:.2f}" stroke="{colour}" stroke-width="0.8"/>'


def line(a: Point, b: Point, colour: str, width: float = 2, dashes: str = "") -> str:
    style = f'stroke="{colour}" stroke-width="{width}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    x1, y1, x2, y2 = (f"{round(v, 1):g}" for v in (*a, *b))
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>'


def dot(place: Point, colour: str) -> str:
    return f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.4" fill="{colour}"/>'


def text(
    x: float,
    y: float,
    words: str,
    colour: str = INK,
    size: int = 11,
    anchor: str = "middle",
    weight: str = "normal",
    halo: bool = False,
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    style += f' stroke="{CARD}" stroke-width="3" paint-order="stroke"' if halo else ""
    return f'<text x="{round(x, 1):g}" y="{round(y, 1):g}" {style}>{words}</text>'
