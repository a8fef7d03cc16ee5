"""One training step of the paper's network on the CPU."""

from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig
from alexnet_lib.optim import PaperSGD
from alexnet_lib.system.precision import has_bfloat16

from .turns import Process, in_turns, thread_counts, threads

BATCH = 64
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
# Who is compared, in which order of memory, and what must be reached. Ours is in channels-last order throughout, as with
# --set train.channels_last=true. torch's normalisation is slower in that order, and torchvision's network comes in the other.
OTHERS = (
    ("torch's LRN", "contiguous", 1.35),
    ("no LRN", "channels last", 0.93),
    ("torchvision's AlexNet", "contiguous", 0.95),
    ("torchvision's AlexNet", "channels last", 0.0),
)
STOCK_TARGET = 2.1


def rows(turns: int) -> Iterator[dict]:
    turns = max(2, turns // 2)
    for number in thread_counts():
        with threads(number):
            ours = step("ours", "channels last")
            for name, layout, target in OTHERS:
                what = f"training step of preset paper against {name}, {layout}, batch {BATCH}"
                yield in_turns(what, ours, step(name, layout), turns, BATCH, target)
            if has_bfloat16("cpu"):
                halves = step("ours", "channels last", "bfloat16")
                what = f"training step of preset paper in bfloat16 against float32, batch {BATCH}"
                yield in_turns(what, halves, ours, turns, BATCH)
            with Process("network:step", "torch's LRN", "contiguous") as theirs:
                what = f"training step of preset paper against torch's LRN in a stock process, batch {BATCH}"
                yield in_turns(what, ours, theirs, turns, BATCH, STOCK_TARGET)


def step(name: str, layout: str, precision: str = "float32") -> Callable:
    """Zero, forward, backward and update of a network by its name in OTHERS, or of "ours"."""
    net = torchvision.models.alexnet() if name.startswith("torchvision") else paper(name)
    net.to(memory_format=LAYOUTS[layout])
    batch = (torch.randn(BATCH, 3, 224, 224) * 50).contiguous(memory_format=LAYOUTS[layout])
    optimiser, labels = PaperSGD(net), torch.arange(BATCH)
    optimiser.rates = dict.fromkeys(optimiser.parameters, 1e-6)

    def once() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(batch)
        cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    return once


def paper(name: str) -> AlexNet:
    """The paper's network: ours, without normalisation, or with torch's (the same constants, over all maps)."""
    net = AlexNet(ModelConfig.preset("paper", norm={"kind": "none"} if name == "no LRN" else {}), seed=0)
    return with_torchs_lrn(net) if name == "torch's LRN" else net


def with_torchs_lrn(net: AlexNet) -> AlexNet:
    for i, layer in enumerate(net.features):
        if isinstance(layer, LocalResponseNorm):
            net.features[i] = nn.LocalResponseNorm(layer.size, layer.alpha * layer.size, layer.beta, layer.k)
    return net
