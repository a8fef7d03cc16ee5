"""The table of layers (sections 3.2 and 3.5): shapes, kernels, parameters, neurons, multiply-adds, memory, beside the paper's
own figures. The memory of training is within 15 % of what was measured (tests/test_towers.py, results/towers/)."""

import itertools
from dataclasses import dataclass

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .config import ModelConfig
from .model import AlexNet

# Neurons a layer as section 3.5 prints them, and the totals of section 1.
PAPER_NEURONS = {"conv1": 253_440, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264}
PAPER_NEURONS |= {"fc6": 4096, "fc7": 4096, "fc8": 1000}
PAPER_TOTALS = {"parameters": "60 million", "neurons": "650,000"}
SCRATCH: dict[tuple, int] = {}  # see _scratch


@dataclass
class Row:
    """One layer with weights, and what follows it up to the next one."""

    name: str
    kernels: str  # such as "96 of 11x11x3, stride 4"
    depth: int  # maps, or units, that each kernel reads
    output: tuple[int, ...]  # of the layer itself, without the batch
    passes_on: tuple[int, ...]  # the shape after the steps that follow, as the next layer finds it
    parameters: int  # weights and biases
    neurons: int
    multiply_adds: int  # for one image
    activation_bytes: int  # what the layer and the steps after it write, for one image, in float32


def layer_table(config: ModelConfig) -> list[Row]:
    """One Row a layer, measured on a network without storage: nothing is allocated, whatever its size."""
    with torch.device("meta"):
        model = AlexNet(config).eval()
    names = {id(layer): name for name, layer in model.named_layers().items()}
    rows: list[Row] = []
    data = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    with torch.no_grad():
        for module in [*model.features, nn.Flatten(), *model.classifier]:
            data = module(data)
            if id(module) in names:
                rows.append(_row(names[id(module)], module, data))
            elif rows and not isinstance(module, nn.Flatten | nn.ZeroPad2d):
                if data.dim() == len(rows[-1].output) + 1:  # dropout on the inputs of fc6 finds the maps flattened
                    rows[-1].passes_on = tuple(data.shape[1:])
                rows[-1].activation_bytes += 0 if getattr(module, "inplace", False) else 4 * data.numel()
    return rows


def _row(name: str, layer: nn.Module, output: torch.Tensor) -> Row:
    weight, bias = layer.parameters()
    if isinstance(layer, nn.Conv2d):
        size, stride = layer.kernel_size[0], layer.stride[0]
        kernels = f"{weight.shape[0]} of {size}x{size}x{weight.shape[1]}" + (f", stride {stride}" if stride > 1 else "")
        positions = output.shape[2] * output.shape[3]
    else:
        kernels, positions = f"{weight.shape[0]} of {weight.shape[1]}", 1
    parameters = weight.numel() + bias.numel()
    shape, count = tuple(output.shape[1:]), output.numel()
    return Row(name, kernels, weight.shape[1], shape, shape, parameters, count, weight.numel() * positions, 4 * count)


def totals(rows: list[Row]) -> dict[str, int]:
    """Sums over the layers."""
    return {key: sum(getattr(r, key) for r in rows) for key in ("parameters", "neurons", "multiply_adds", "activation_bytes")}


def training_memory(net: AlexNet, batch: int = 128) -> dict[str, int]:
    """Bytes that a process must hold while it trains, in float32, counted on a network (or a Tower) on the meta device.

    Nothing is allocated. What autograd keeps for the way back it is asked for; then the way back is followed layer by
    layer: what is kept shrinks, the gradients of the parameters grow, and two gradients pass through the layer at hand,
    which may need scratch space. Not counted: that of convolution routines, and what an allocator loses between blocks.

    Returns:
        parameters, gradients, velocity; image; kept: what autograd keeps between forward and backward, the image and the
        parameters left out; passing: the largest two gradients of activations; scratch: the most that a layer needs for
        itself on the way back; peak: the most that is there at once.
    """
    config, steps, net = net.config, [], net.train()
    data = torch.empty(batch, 3, config.image_size, config.image_size, device="meta")
    seen = {x.untyped_storage()._cdata: x for x in [data, *net.parameters()]}  # kept alive: no address comes twice
    memory = {"parameters": sum(p.nbytes for p in net.parameters())}
    memory |= {"gradients": memory["parameters"], "velocity": memory["parameters"], "image": data.nbytes}
    for module in [*net.features, nn.Flatten(), *net.classifier]:
        before, kept = data, list[int]()

        def keep(x: torch.Tensor, kept: list = kept) -> torch.Tensor:
            storage = x.untyped_storage()
            if storage._cdata not in seen:
                seen[storage._cdata] = x
                kept.append(storage.nbytes())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            data = module(data)
        passing = 0 if data._base is before else data.nbytes + before.nbytes * before.requires_grad
        steps.append((sum(kept), sum(p.nbytes for p in module.parameters()), passing, _scratch(module, before)))
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


def _scratch(module: nn.Module, x: Tensor) -> int:
    """Bytes that a layer allocates on the way back beside the gradients that it gives back; x: its input on the meta device.

    Measured on up to 128 images, once a shape: normalisation, which needs most, works on a few images at a time.
    """
    x = x[:128].detach().requires_grad_().clone()  # a copy, for a layer that works in place
    if (key := (repr(module), x.shape)) not in SCRATCH:
        out = module(x)
        gradient = torch.empty_like(out)
        with _Allocated(x, out, gradient, *module.parameters()) as allocated:
            gradients = torch.autograd.grad(out, [x, *module.parameters()], gradient, allow_unused=True)
        given = sum(g.nbytes for g in gradients if g is not None and g is not gradient and g is not x)
        SCRATCH[key] = max(0, allocated.most - given)
    return SCRATCH[key]


def describe(config: ModelConfig, batch: int = 128) -> str:
    """The table as text; for presets of the paper's network with the neurons that the paper prints."""
    rows, beside = layer_table(config), config.name in ("paper", "code_2012")
    head = ("layer", "output", "kernels", "parameters", "neurons", "multiply-adds", f"MiB at batch {batch}")
    sums = Row("total", "", 0, (), (), **totals(rows))
    lines = [head + (("neurons in the paper",) if beside else ())]
    for r in [*rows, sums]:
        numbers = (f"{r.parameters:,}", f"{r.neurons:,}", f"{r.multiply_adds:,}", f"{r.activation_bytes * batch / 2**20:,.1f}")
        printed = PAPER_NEURONS[r.name] if r is not sums else sum(PAPER_NEURONS.values())
        lines.append((r.name, "x".join(map(str, r.output)), r.kernels, *numbers) + ((f"{printed:,}",) if beside else ()))
    align = ["left" if name in ("layer", "kernels") else "right" for name in lines[0]]
    table = tabulate(lines, tablefmt="plain", colalign=align, disable_numparse=True).splitlines()
    rule = "-" * len(table[0])
    text = [table[0], rule, *table[1:-1], rule, table[-1]]
    if beside:
        text.append(
            f'The paper says "{PAPER_TOTALS["parameters"]}" parameters and "{PAPER_TOTALS["neurons"]}" neurons; '
            "it prints 253,440 for conv1 where 55x55x96 is 290,400."
        )
    return "\n".join(text)


def dense_parameters(config: ModelConfig) -> int:
    """Parameters of a fully connected network with as many units in every layer as this one, and the same input."""
    sizes = [3 * config.image_size**2, *(row.neurons for row in layer_table(config))]
    return sum((below + 1) * units for below, units in itertools.pairwise(sizes))
