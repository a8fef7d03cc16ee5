"""The overview to explore in a page: each box with its counts and what it reads, computed and kept in the picture itself.

book/_static/network.js shows them; without it the picture is the overview, and chapter 5 has the same figures as a table.
"""

import json
from html import escape

from ..config import ModelConfig
from ..summary import Row, layer_table
from .diagram import STEPS, Layout, Node, box, layout, svg, wire
from .figures import CARD

HINT = "The network from left to right, two towers one above the other. Each box is a button that shows what its layer has."
OF = {0: "", 1: " of tower 1", 2: " of tower 2"}
Fact = tuple[str, str, str]  # what, of this box, of both towers; "" where the box is all there is


def explorable(config: ModelConfig) -> str:
    """HTML: the overview as an inline SVG whose boxes carry their facts, and the place where these are shown."""
    plan = layout(config)
    found = facts(config, plan)
    first = next(node for node in plan.nodes if len(inputs(plan, node)) > 1)  # where the towers meet, to begin with
    wires = [f'<g class="wire" data-from="{key(a)}" data-to="{key(b)}">{wire(a, b)}</g>' for a, b in plan.wires]
    words = f'<g aria-hidden="true">{"".join(plan.words)}</g>'
    boxes = [_button(node, found[key(node)], [key(each) for each in inputs(plan, node)]) for node in plan.nodes]
    picture = svg(plan.width, plan.height, HINT, *wires, words, *boxes, role="group")
    return (
        f'<div class="interactive network" data-first="{key(first)}"><div class="scrolls" role="group" aria-label="the drawing">{picture}</div>'
        '<div class="facts" role="status" hidden></div></div>'
    )


def _button(node: Node, of: list[Fact], reads: list[str]) -> str:
    """A box with an area around it that a finger can hit, its name, and its facts as data."""
    wide, tall = max(node.wide + 16, 64), max(node.tall + 12, 64)
    area = box(node.x, node.y, wide, tall, "none").replace("<rect", '<rect pointer-events="all"')
    edge = box(node.x, node.y, node.wide + 7, node.tall + 7, "none").replace("<rect", '<rect class="edge"')
    data = f'data-node="{key(node)}" data-reads="{" ".join(reads)}" data-facts="{escape(json.dumps(of, ensure_ascii=False))}"'
    ground = box(node.x, node.y, node.wide, node.tall, CARD)  # so that no line shines through a box that fades
    return f'<g class="layer" role="img" aria-label="{title(node)}" {data}>{area}{edge}{ground}<g>{node.drawn()}</g></g>'


def key(node: Node) -> str:
    return f"{node.layer}-{node.tower}"


def title(node: Node) -> str:
    return ("the " if node.layer == "image" else "") + node.layer + OF[node.tower]


def inputs(plan: Layout, node: Node) -> list[Node]:
    """The boxes that a box reads."""
    return [read for read, reader in plan.wires if reader is node]


def reads(config: ModelConfig) -> dict[str, str]:
    """What each layer reads, in a few words: the image, or the layer below, in its own tower or in both."""
    plan, said = layout(config), {}
    for node in plan.nodes[1:]:
        below = inputs(plan, node)
        towers = {each.tower for each in below}
        said[node.layer] = (
            title(below[0]) if towers == {0} else f"{below[0].layer}, {'both towers' if len(towers) > 1 else 'own tower'}"
        )
    return said


def facts(config: ModelConfig, plan: Layout) -> dict[str, list[Fact]]:
    """What the page shows of each box, from the table of layers; a tower has half of what its layer has."""
    rows = {row.name: row for row in layer_table(config)}
    given = {name: row.passes_on for name, row in rows.items()} | {"image": (3, config.image_size, config.image_size)}
    found = {}
    for node in plan.nodes:
        parts = 2 if node.tower else 1
        numbers = _counts(rows[node.layer], config, parts) if node.layer in rows else [("pixels", shape(given["image"]), "")]
        below, above = inputs(plan, node), [reader for read, reader in plan.wires if read is node]
        sources = [f"{title(each)}: {shape(given[each.layer], 2 if each.tower else 1)}" for each in below]
        numbers += [("reads", "; ".join(sources), "")] if below else []
        numbers += [("is read by", "; ".join(map(title, above)) or "the softmax", "")]
        found[key(node)] = numbers
    return found


def _counts(row: Row, config: ModelConfig, parts: int) -> list[Fact]:
    """Shapes and counts of a layer, of one tower beside both where there are two."""
    conv = dict(config.convs).get(row.name)

    def beside(what: str, number: int, text: str = "{}") -> Fact:
        return what, text.format(f"{number // parts:,}"), text.format(f"{number:,}") if parts > 1 else ""

    def shapes(what: str, of: tuple[int, ...]) -> Fact:
        return what, shape(of, parts), shape(of) if parts > 1 else ""

    kernel = f"{conv.size}×{conv.size}×{row.depth}" if conv else f"{row.depth:,} inputs"
    numbers = [shapes("output", row.output), beside("kernels" if conv else "units", row.output[0], f"{{}} of {kernel}")]
    if conv and conv.stride > 1:
        numbers.append(("stride", str(conv.stride), ""))
    numbers += [beside("parameters", row.parameters), beside("neurons", row.neurons), beside("multiply-adds", row.multiply_adds)]
    if conv and row.passes_on != row.output:
        steps = " and ".join(STEPS[step] for step in conv.then if step in STEPS)
        numbers.append(shapes(f"after {steps}", row.passes_on))
    return numbers


def shape(of: tuple[int, ...], parts: int = 1) -> str:
    """Rows, columns and maps as the chapters write them; of units their number."""
    return "×".join(f"{n:,}" for n in (*of[1:], of[0] // parts))
