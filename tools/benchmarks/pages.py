"""What large tensors cost that are mapped anew each time, and what helps: kept pages, huge pages, other allocators."""

import ctypes.util
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, ModelConfig
from alexnet_lib.optim import PaperSGD

from .turns import Process, in_turns, measured, threads

# How a process is started, by name: (whether it calls keep_pages(), environment variables).
SETTINGS = {
    "keep_pages()": (True, {}),
    "huge pages by torch": (False, {"THP_MEM_ALLOC_ENABLE": "1"}),
    "huge pages by the C library": (False, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "keep_pages() and huge pages by the C library": (True, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
}
ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")  # where the machine has them
WORK = {  # what is done, images a call: function and arguments of turns.Process
    "ten clones of 64 MiB": (10, "pages:clones"),
    "torch's LRN, 32x96x55x55": (32, "normalisation:both_ways", "torch", "contiguous"),
    "our LRN, 32x96x55x55": (32, "normalisation:both_ways", "ours", "contiguous"),
}
ROUNDS = 30  # of the long run; each takes ten steps


def rows(turns: int) -> Iterator[dict]:
    found = {name: ctypes.util.find_library(name) for name in ALLOCATORS}
    settings = SETTINGS | {name: (False, {"LD_PRELOAD": path}) for name, path in found.items() if path}
    with threads(1):
        for work, (images, *call) in WORK.items():
            for setting, (keeps, env) in settings.items():
                with Process(*call) as stock, Process(*call, keep_pages=keeps, env=env) as ours:
                    row = in_turns(f"{work}: {setting} against a stock process", ours, stock, max(2, turns // 2), images)
                yield row | {"work": work, "setting": setting, "counted": counted(ours), "counted_stock": counted(stock)}
        with Process("pages:steps", keep_pages=True) as training:
            held = [training.seconds() and training.resident for _ in range(ROUNDS)]
        what = f"memory after {10 * ROUNDS} steps with keep_pages() against after {10 * ROUNDS // 3}"
        yield measured(what, held[-1], held[ROUNDS // 3 - 1], "MiB", 0.98) | {"held": [round(h) for h in held]}


def counted(process: Process) -> dict[str, int]:
    """Page faults of the last call, and the memory that the process holds."""
    return {"page_faults": process.faults, "resident_mib": round(process.resident)}


def clones() -> Callable:
    large = torch.zeros(16 * 2**20)
    return lambda: [large.clone() for _ in range(10)] and None


def steps() -> Callable:
    """Ten steps of the small network in batches of two sizes, and an evaluation of a third: tensors of many sizes."""
    net = AlexNet(ModelConfig.preset("small"), seed=0)
    optimiser = PaperSGD(net)
    optimiser.rates = dict.fromkeys(optimiser.parameters, 1e-6)

    def call() -> None:
        for i in range(10):
            count = (128, 100)[i % 2]
            optimiser.zero_grad()
            cross_entropy(net(torch.randn(count, 3, 28, 28)), torch.arange(count) % 10).backward()
            optimiser.step()
        with torch.inference_mode():
            net(torch.randn(250, 3, 28, 28))

    return call
