"""The other end of turns.Process: makes a call in a fresh process, once for each line that comes in.

python child.py MODULE:NAME THREADS KEEP_PAGES [ARGUMENT...]. Says seconds, page faults and resident MiB after each call.
"""

import importlib
import resource
import sys
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    function, number, keeps, *arguments = sys.argv[1:]
    module, name = function.split(":")
    torch.set_num_threads(int(number))
    if int(keeps):
        from alexnet_lib.system import memory

        memory.keep_pages()
    call = getattr(importlib.import_module(f"benchmarks.{module}"), name)(*arguments)
    seconds = importlib.import_module("benchmarks.turns").seconds
    say(0.0, 0)
    for _ in sys.stdin:
        before = faults()
        say(seconds(call), faults() - before)


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def say(spent: float, count: int) -> None:
    print(spent, count, psutil.Process().memory_info().rss / 2**20, flush=True)


if __name__ == "__main__":
    main()
