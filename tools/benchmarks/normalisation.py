"""Local response normalisation over the maps of conv1, forward and backward, against torch's own: the paper's maps, and those
of the small network, which are so little work that threads mostly meet."""

from collections.abc import Callable, Iterator
from itertools import accumulate

import torch
from torch import nn

from alexnet_lib import LocalResponseNorm

from .turns import Process, in_turns, measured, thread_counts, threads

BATCH, SMALL = 32, (128, 32, 28, 28)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
TARGET, STOCK_TARGET, MEMORY_TARGET = 6.0, 10.0, 2.0


def rows(turns: int) -> Iterator[dict]:
    for layout in LAYOUTS:
        for number in thread_counts():
            with threads(number):
                what = f"{BATCH}x96x55x55, {layout}"
                yield in_turns(
                    f"LRN against torch's, {what}", both_ways("ours", layout), both_ways("torch", layout), turns, BATCH, TARGET
                )
                with Process("normalisation:both_ways", "torch", layout) as theirs:
                    name = f"LRN against torch's in a stock process, {what}"
                    yield in_turns(name, both_ways("ours", layout), theirs, turns, BATCH, STOCK_TARGET)
                sides = (both_ways(whose, layout, SMALL) for whose in ("ours", "torch"))
                what = f"LRN against torch's, {'x'.join(map(str, SMALL))}, {layout}"
                yield in_turns(what, *sides, turns, SMALL[0])
    for layout in LAYOUTS:
        peaks = [peak_bytes(both_ways(whose, layout)) / 2**20 for whose in ("ours", "torch")]
        yield measured(f"memory that LRN takes, 32x96x55x55, {layout}", *peaks, "MiB at the peak", MEMORY_TARGET)


def both_ways(whose: str, layout: str, shape: tuple[int, ...] = (BATCH, 96, 55, 55)) -> Callable:
    """Forward and backward, with the same constants: torch's alpha is divided by the window's size."""
    layer = LocalResponseNorm(average=True) if whose == "ours" else nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    maps = (torch.randn(shape).relu() * 20).contiguous(memory_format=LAYOUTS[layout])
    gradient = torch.randn(shape).contiguous(memory_format=LAYOUTS[layout])
    return lambda: layer(maps.detach().requires_grad_()).backward(gradient)


def peak_bytes(call: Callable) -> int:
    """The most that a call holds at a time of what it allocates, its results among it."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(held)
