"""What a pass costs, counted without taking it: bytes that a process holds while it trains, and that towers send each other.

The memory is within 15 % of what was measured, and the messages are those that were sent (tests/test_towers.py,
results/towers/). Chapters 2 and 13 plan with both.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..config import ModelConfig
from ..exchange import Link, Message
from ..model import AlexNet
from ..summary import layer_table
from ..towers import Tower

SCRATCH: dict[tuple, int] = {}  # see _scratch


def without_storage(config: ModelConfig, tower: int | None = None) -> AlexNet:
    """The network, or one of its towers, on the meta device: with shapes and no numbers, for counting."""
    with torch.device("meta"):
        return AlexNet(config) if tower is None else Tower(config, SilentLink(tower, config.towers))


class SilentLink(Link):
    """The line of one tower to towers that are not there: messages are noted and nothing moves. It is for counting, with a
    network on the meta device."""

    def __init__(self, tower: int, towers: int):
        self.tower, self.towers, self.messages = tower, towers, []

    def _move(self, outgoing: dict[int, Tensor], incoming: dict[int, Tensor]) -> None:
        pass


def training_memory(net: AlexNet, batch: int = 128) -> dict[str, int]:
    """Bytes that a process must hold while it trains, in float32, counted on a network (or a Tower) on the meta device.

    Nothing is allocated. What autograd keeps of an image for the way back it is asked for; then the way back is followed layer by
    layer: what is kept shrinks, the gradients of the parameters grow, and two gradients pass through the layer at hand,
    which may need scratch space. Not counted: that of convolution routines, and what an allocator loses between blocks.

    Returns:
        parameters, gradients, velocity; image; kept: what autograd keeps between forward and backward, the image and the
        parameters left out; passing: the largest two gradients of activations; scratch: the most that a layer needs for
        itself on the way back; peak: the most that is there at once.
    """
    config, steps, net = net.config, [], net.train()
    data = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    seen = {x.untyped_storage()._cdata: x for x in [data, *net.parameters()]}  # kept alive: no address comes twice
    memory = {"parameters": sum(p.nbytes for p in net.parameters())}
    memory |= {"gradients": memory["parameters"], "velocity": memory["parameters"], "image": batch * data.nbytes}
    for module in [*net.features, nn.Flatten(), *net.classifier]:
        before, kept = data, list[int]()

        def keep(x: Tensor, kept: list = kept) -> Tensor:
            storage = x.untyped_storage()
            if storage._cdata not in seen:
                seen[storage._cdata] = x
                kept.append(storage.nbytes())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            data = module(data)
        passing = 0 if data._base is before else data.nbytes + before.nbytes * before.requires_grad
        weights, scratch = sum(p.nbytes for p in module.parameters()), _scratch(module, before, batch)
        steps.append((batch * sum(kept), weights, batch * passing, scratch))
    held, gradients, peak = sum(step[0] for step in steps), 0, 0
    memory |= {"kept": held, "passing": max(step[2] for step in steps), "scratch": max(step[3] for step in steps)}
    for of_layer, weights, passing, scratch in reversed(steps):
        gradients += weights
        peak = max(peak, held + gradients + passing + scratch)
        held -= of_layer
    return memory | {"peak": memory["parameters"] + memory["velocity"] + memory["image"] + peak}


class _Allocated(TorchDispatchMode):
    """The most bytes that operations hold at once, `most`, beside the tensors that are there before."""

    def __init__(self, *before: Tensor):
        super().__init__()
        self.most, self.before = 0, {x.untyped_storage()._cdata for x in before}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.live = {address: held for address, held in self.live.items() if not held[0].expired()}
        for storage in (x.untyped_storage() for x in tree_leaves(result) if isinstance(x, Tensor)):
            if storage._cdata not in self.before | self.live.keys():
                self.live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return result


def _scratch(module: nn.Module, x: Tensor, batch: int) -> int:
    """Bytes that a layer allocates on the way back beside the gradients that it gives back; x: one image's input on the meta
    device.

    Measured once a layer and batch, on as many images as make a difference, 128 at most: normalisation, which needs most,
    works on a few at a time.
    """
    key = repr(module), x.shape[1:], min(batch, 128)
    if key not in SCRATCH:
        SCRATCH[key], images = 0, 1
        while (found := _scratch_of(module, x.new_empty(images, *x.shape[1:]))) > SCRATCH[key]:
            SCRATCH[key], images = found, min(2 * images, key[2])
    return SCRATCH[key]


def _scratch_of(module: nn.Module, x: Tensor) -> int:
    x = x.requires_grad_().clone()  # a copy, for a layer that works in place
    out = module(x)
    gradient = torch.empty_like(out)
    with _Allocated(x, out, gradient, *module.parameters()) as allocated:
        gradients = torch.autograd.grad(out, [x, *module.parameters()], gradient, allow_unused=True)
    return max(0, allocated.most - sum(g.nbytes for g in gradients if g is not None and g is not gradient and g is not x))


def bytes_per_pass(config: ModelConfig, batch: int, item: int = 4) -> dict[str, int]:
    """Bytes that cross between towers in a forward pass, by the layer that reads them; a backward pass has as many.

    Each tower sends its share of what is read to every other tower that reads it: with two towers, half of a layer's
    input goes each way, and into the classifier half goes one way.

    Args:
        batch: images.
        item: bytes of a number.
    """
    rows, convs, crossing = layer_table(config), dict(config.convs), {}
    for below, row in itertools.pairwise(rows):
        reads_all = convs[row.name].reads_all_towers if row.name in convs else config.hidden_reads_all_towers
        if reads_all or row is rows[-1]:
            readers = 1 if row is rows[-1] else config.towers
            part = math.prod(below.passes_on) // config.towers
            crossing[row.name] = readers * (config.towers - 1) * part * batch * item
    return crossing


def bytes_sent(messages: Iterable[Message], tower: int) -> dict[tuple[str, str], int]:
    """Bytes by (layer, way) of the messages that a tower sent."""
    total: Counter[tuple[str, str]] = Counter()
    for m in messages:
        if m.source == tower:
            total[m.layer, m.way] += m.bytes
    return dict(total)
