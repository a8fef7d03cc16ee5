"""The table of layers (sections 3.2 and 3.5): shapes, kernels, parameters, neurons, multiply-adds, activations, beside
the paper's own figures. The claims on 60 million parameters and 650,000 neurons are counted with it (evidence/counts.py)."""

from dataclasses import dataclass

import torch
from tabulate import tabulate
from torch import nn

from .config import ModelConfig
from .model import AlexNet

# Neurons a layer as section 3.5 prints them, and the totals of section 1.
PAPER_NEURONS = {"conv1": 253_440, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264}
PAPER_NEURONS |= {"fc6": 4096, "fc7": 4096, "fc8": 1000}
PAPER_TOTALS = {"parameters": "60 million", "neurons": "650,000"}


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


def describe(config: ModelConfig, batch: int = 128) -> str:
    """The table as text; for presets of the paper's network with the neurons that the paper prints."""
    rows, beside = layer_table(config), config.name in ("paper", "code_2012")
    printed = {name: f"{count:,}" for name, count in (PAPER_NEURONS | {"total": sum(PAPER_NEURONS.values())}).items()}
    head = ("layer", "output", "kernels", "parameters", "neurons", "multiply-adds", f"MiB at batch {batch}")
    sums = Row("total", "", 0, (), (), **totals(rows))
    lines = [head + (("neurons in the paper",) if beside else ())]
    for r in [*rows, sums]:
        numbers = (f"{r.parameters:,}", f"{r.neurons:,}", f"{r.multiply_adds:,}", f"{r.activation_bytes * batch / 2**20:,.1f}")
        lines.append((r.name, "x".join(map(str, r.output)), r.kernels, *numbers) + ((printed.get(r.name, ""),) if beside else ()))
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
