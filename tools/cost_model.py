"""How long a step of training takes, from what the network does and what a machine can do; and on many machines.

Every step of the network is an operation: so many multiplications and additions, so many bytes to and from memory. An
operation takes as long as the slower of the two (the roofline), plus what it costs to start it. What several cards send
each other is bytes over a link, plus a latency a message. All results are predictions.

Units: FLOP are multiplications and additions counted singly, two a multiply-add. Bytes, seconds, and rates of them.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig
from alexnet_lib.evidence.costs import bytes_per_pass
from alexnet_lib.layers import TowerLinear
from alexnet_lib.summary import layer_table

DEVICES = Path(__file__).with_name("devices.json")
IMAGES = 90 * 1.2e6  # of a whole training: 90 passes over 1.2 million, as in section 5
FLOAT = 4  # bytes of a number in float32: parameters and velocity are kept in it, whatever else is used
UPDATE_PASSES = 11  # tensors that PaperSGD reads or writes: v *= m; v += w; v += g; w += v
NORM_FLOP = {"forward": 11, "backward": 19}  # an element, by the formula, with denominators worked out twice
FIRST, CONV, GROUPED, MATRIX = "first convolution", "convolution", "grouped convolution", "matrix product"
FLOAT32 = {"T4": 8.1 / 65}  # of the peak of a card in 16 bits, where it is not half
POOLING, NORM, MEMORY, UPDATE = "pooling", "normalisation", "element-wise", "update"


@dataclass(frozen=True)
class Operation:
    """A piece of work in one direction: what each image costs, and what a step costs whatever its batch."""

    layer: str  # conv1 to fc8, with all that follows it up to the next one
    kind: str  # which rate of a machine applies
    way: str  # "forward", "backward" or "update"
    flop: float  # an image
    numbers: float  # moved to or from memory, an image
    fixed: float = 0.0  # numbers of weights moved, a step
    below: float = 0.0  # of `numbers`, those of the layer below


@dataclass(frozen=True)
class Machine:
    """What a card, or a processor, can do. A device of devices.json, or measured by machine.py.

    Attributes:
        peak: FLOP/s by its data sheet, in the precision that is used.
        share: of the peak that convolutions and matrix products reach: assumed, where `rates` has no measured value.
        bandwidth: bytes/s between memory and arithmetic.
        item: bytes of a number in activations and in the weights that products read.
        rates: measured FLOP/s by "kind way", such as "convolution backward".
        overhead: s to start an operation.
        box: cards that share the fast link; link: bytes/s, one way, between cards of a box; network: the same between boxes, a card.
        latency: s a message.
        price: dollars an hour and card; None where it is not for rent.
    """

    name: str
    peak: float
    bandwidth: float
    share: float = 1.0
    item: int = FLOAT
    rates: dict[str, float] = field(default_factory=dict)
    overhead: float = 0.0
    box: int = 1
    link: float = math.inf
    network: float = math.inf
    latency: float = 0.0
    price: float | None = None
    source: str = ""

    def rate(self, operation: Operation) -> float:
        return self.rates.get(f"{operation.kind} {operation.way}", self.peak * self.share)

    def seconds(self, operation: Operation, images: float) -> float:
        """The roofline: arithmetic and memory work at the same time, and the slower one counts."""
        return max(self.arithmetic(operation, images), self.memory(operation, images)) + self.overhead

    def arithmetic(self, operation: Operation, images: float) -> float:
        return operation.flop * images / self.rate(operation)

    def memory(self, operation: Operation, images: float) -> float:
        item = FLOAT if operation.way == "update" else self.item
        return item * (operation.numbers * images + operation.fixed) / self.bandwidth


def devices(path: Path = DEVICES) -> dict[str, Machine]:
    """The cards of devices.json by name."""
    return {entry["name"]: Machine(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))}


def card_of(name: str) -> Machine | None:
    """The entry of devices.json for a card by the name that its driver gives, such as "NVIDIA H100 80GB HBM3"."""
    return next((machine for model, machine in devices().items() if model in name.replace("-", " ").split()), None)


@cache
def operations(config: ModelConfig) -> tuple[Operation, ...]:
    """All operations of a training step, in the order of the forward pass: each layer's forward, backward and update."""
    with torch.device("meta"):
        net = AlexNet(config)
        data = torch.empty(1, 3, config.image_size, config.image_size)
        names = {id(layer): name for name, layer in net.named_layers().items()}
        work, layer = [], "image"
        for module in [*net.features, nn.Flatten(), *net.classifier]:
            inputs, data = data, module(data)
            layer = names.get(id(module), layer)
            work += _operations(layer, module, inputs.numel(), data.numel(), first=layer == next(iter(names.values())))
    return tuple(work)


def _operations(layer: str, module: nn.Module, inputs: int, outputs: int, first: bool) -> Iterable[Operation]:
    """What one module does for an image with so many inputs and outputs; in `first` no gradient reaches the image."""
    if isinstance(module, nn.Conv2d | nn.Linear | TowerLinear):
        weights, positions = module.weight.numel(), outputs // len(module.weight)
        grouped = getattr(module, "groups", 1) > 1
        kind = (FIRST if first else GROUPED if grouped else CONV) if isinstance(module, nn.Conv2d) else MATRIX
        flop, parameters = 2 * weights * positions, weights + len(module.weight)
        moved, back = (inputs + outputs, weights, inputs), 1 if first else 2
        yield Operation(layer, kind, "forward", flop, *moved)
        # two products: the gradient of the weights, of inputs and gradient; that of the inputs, of gradient and weights
        yield Operation(layer, kind, "backward", back * flop, *(back * each for each in moved))
        yield Operation(layer, UPDATE, "update", 0, 0, UPDATE_PASSES * parameters)
    elif isinstance(module, LocalResponseNorm):
        for way, moved in (("forward", 2), ("backward", 3)):
            yield Operation(layer, NORM, way, NORM_FLOP[way] * outputs, moved * outputs)
    elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        comparisons = module.kernel_size**2 * outputs
        for way in ("forward", "backward"):
            yield Operation(layer, POOLING, way, comparisons, inputs + outputs)
    elif not isinstance(module, nn.Flatten):  # ReLU, dropout, padding: read and write; the gradient reads one more
        yield Operation(layer, MEMORY, "forward", outputs, inputs + outputs)
        if layer != "image":
            yield Operation(layer, MEMORY, "backward", outputs, inputs + 2 * outputs)


def totals(work: Iterable[Operation]) -> tuple[float, float]:
    """(FLOP, numbers moved) an image, without what a step moves whatever its batch."""
    work = list(work)
    return sum(o.flop for o in work), sum(o.numbers for o in work)


def image_flop(config: ModelConfig) -> float:
    """FLOP that training on one image takes in convolutions and matrix products."""
    return sum(o.flop for o in operations(config) if o.kind in (FIRST, CONV, GROUPED, MATRIX))


@dataclass(frozen=True)
class Step:
    """A step of training, in s: work of one card by way; what it sends; how much of that hides behind the backward pass."""

    forward: float
    backward: float
    update: float
    exchange: float  # activations and their gradients: everyone waits for them
    reduce: float  # gradients of parameters
    hidden: float  # of `reduce`

    @property
    def work(self) -> float:
        return self.forward + self.backward + self.update

    @property
    def seconds(self) -> float:
        return self.work + self.exchange + self.reduce - self.hidden


def step(config: ModelConfig, machine: Machine, batch: float, cards: int = 1, scheme: str = "data", overlap: bool = True) -> Step:
    """A step on a batch (of all cards together) by one of three schemes.

    "data": every card holds the network and has batch / cards images; gradients are summed over all cards.
    "towers": pairs of cards share a network of two towers as in section 3.2; pairs share the batch.
    "mixed": convolutions as "data"; fully connected layers cut among all cards, each of which sees the whole batch
    (Krizhevsky 2014, without its pipelining).

    Args:
        overlap: gradients of parameters travel while the backward pass goes on.

    Raises:
        ValueError: an unknown scheme, or towers that are not two or an odd number of cards.
    """
    if scheme not in ("data", "towers", "mixed"):
        raise ValueError(f"scheme is data, towers or mixed, not {scheme!r}")
    if scheme == "towers" and (config.towers != 2 or cards % 2):
        raise ValueError(f"pairs of cards and two towers are needed, not {cards} cards and {config.towers} towers")
    replicas = cards // 2 if scheme == "towers" else cards
    images, work = batch / replicas, {"forward": 0.0, "backward": 0.0, "update": 0.0}
    reduced, exchange = 0.0, 0.0
    for each in operations(config):
        here = each
        if scheme == "towers":
            here = replace(each, flop=each.flop / 2, numbers=each.numbers / 2, fixed=each.fixed / 2)
        elif scheme == "mixed" and each.layer.startswith("fc"):
            # all images and 1 / cards of the units are as much work as a share of the images, but every card reads all inputs
            here = replace(each, fixed=each.fixed / cards, numbers=each.numbers + (cards - 1) * each.below)
        work[each.way] += machine.seconds(here, images)
        if each.kind == UPDATE and not (scheme == "mixed" and each.layer.startswith("fc")):
            reduced += FLOAT * here.fixed / UPDATE_PASSES
    if scheme == "towers":
        crossing = _crossing(config, machine.item)
        exchange = 2 * (images * sum(crossing.values()) / 2 / machine.link + len(crossing) * machine.latency)
    elif scheme == "mixed":
        exchange = sum(all_reduce(machine, cards, machine.item * batch * width) for width in _widths(config))
    reduce = all_reduce(machine, replicas, reduced, apart=scheme == "towers")
    hidden = min(reduce, work["backward"]) if overlap else 0.0
    return Step(**work, exchange=exchange, reduce=reduce, hidden=hidden)


@cache
def _crossing(config: ModelConfig, item: int) -> dict[str, int]:
    return bytes_per_pass(config, 1, item)


@cache
def _widths(config: ModelConfig) -> tuple[int, ...]:
    """Numbers an image that the fully connected layers read, and the last one gives."""
    table = layer_table(config)
    below = [math.prod(row.passes_on) for row in table]
    return (*(below[i - 1] for i, row in enumerate(table) if row.name.startswith("fc")), below[-1])


def all_reduce(machine: Machine, cards: int, size: float, apart: bool = False) -> float:
    """Seconds until each of so many cards has the sum of `size` bytes: a ring in each box, then one for each share across boxes.

    Gathering the parts of a tensor going up, and summing their gradients coming down, are together as much.

    Args:
        apart: the cards are every second one of a box.
    """
    inside = min(cards, max(1, machine.box // 2 if apart else machine.box))
    boxes = math.ceil(cards / inside)
    rings = ((inside, size, machine.link), (boxes, size / inside, machine.network))
    return sum(ring_bytes(n, part) / rate + 2 * (n - 1) * machine.latency for n, part, rate in rings if n > 1)


def ring_bytes(cards: int, size: float) -> float:
    """Bytes that each card of a ring sends until all have the sum of `size` bytes."""
    return 2 * (cards - 1) / cards * size


def passes(batch: float, critical: float | None = None, usual: float = 128) -> float:
    """How many times as many images a large batch needs than the usual one: 1 where no critical batch is assumed.

    McCandlish et al. 2018: images grow as 1 + batch / critical.
    """
    return 1.0 if critical is None else (1 + batch / critical) / (1 + usual / critical)


@dataclass(frozen=True)
class Training:
    """A whole training, predicted. hours; dollars for all cards, None without a price; images_per_second; step."""

    hours: float
    dollars: float | None
    images_per_second: float
    step: Step


def training(
    config: ModelConfig,
    machine: Machine,
    batch: float = 128,
    cards: int = 1,
    scheme: str = "data",
    images: float = IMAGES,
    critical: float | None = None,
    overlap: bool = True,
) -> Training:
    """A training on so many images, by default the paper's."""
    one = step(config, machine, batch, cards, scheme, overlap)
    hours = images * passes(batch, critical) / batch * one.seconds / 3600
    return Training(hours, None if machine.price is None else hours * cards * machine.price, batch / one.seconds, one)


def estimate(config: ModelConfig, precision: str, epochs: int, batch: int, images: float, cards: int = 1) -> str:
    """How long a training takes on what is here, and what it costs, in one line to print before it starts."""
    if torch.cuda.is_available():
        name, machine = torch.cuda.get_device_name(), card_of(torch.cuda.get_device_name())
    else:
        name, machine = "this processor", _recorded_processor()
    if machine is None:
        return f"no estimate: tools/devices.json does not know {name}"
    if precision == "float32" and machine.item < FLOAT:  # TF32 has half the rate of bfloat16, and cards before it have none
        machine = replace(machine, peak=machine.peak * FLOAT32.get(machine.name, 0.5), item=FLOAT)
    whole = training(config, machine, batch, cards, images=epochs * images)
    time = f"{whole.hours:.1f} hours" if whole.hours < 48 else f"{whole.hours / 24:.0f} days"
    price = "" if whole.dollars is None else f" and {whole.dollars:.0f} dollars at {machine.price:g} an hour and card"
    where = f"{cards} x {name}" if cards > 1 else name
    return f"predicted for {epochs} epochs of {images:,.0f} images in {precision} on {where}: at least {time}{price}"


def _recorded_processor() -> Machine:
    """The processor whose constants are recorded: the order of magnitude for another."""
    record = json.loads((DEVICES.parent.parent / "results" / "cost_model" / "cpu-seed0.json").read_text(encoding="utf-8"))
    return Machine(**record["machine"])
