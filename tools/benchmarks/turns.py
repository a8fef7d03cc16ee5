"""Two things taken in turns, in one process or beside a process that keeps the C library's own memory settings."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from alexnet_lib.system.progress import bar

CHILD = Path(__file__).with_name("child.py")
STOCK = {"GOMP_SPINCOUNT": "300000"}  # what the OpenMP runtime does by itself; the library leaves it where it is said


def in_turns(what: str, ours: Callable, theirs: Callable, turns: int, images: int, target: float = 0.0) -> dict:
    """How many times faster `ours` is: the median of the ratios of its turns, and their range.

    Args:
        images: how many one call works on; "ours" and "theirs" of the row are images per second, by the "clock" named.
        target: what the ratio must reach; 0: whatever it is.
    """
    calls, times = {"ours": ours, "theirs": theirs}, {"ours": [], "theirs": []}
    for turn in bar(range(turns + 1), desc=what, unit="turn"):
        for side in sorted(calls, reverse=turn % 2 == 1):  # each goes first every other time
            spent = spent_by(calls[side])
            if turn:  # the first one warms up
                times[side].append(spent)
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    rates = {side: images / statistics.median(t) for side, t in times.items()}
    spread = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "turns": turns}
    return {
        "what": what,
        "threads": torch.get_num_threads(),
        **spread,
        **rates,
        "unit": "images/s",
        "target": target,
        "clock": clock(),
    }


def spent_by(call: "Callable | Process") -> float:
    """Seconds of a call made here, or in a process of its own."""
    return call.seconds() if isinstance(call, Process) else seconds(call)


def clock() -> str:
    """By which `seconds` goes."""
    return "processor" if torch.get_num_threads() == 1 else "wall"


def seconds(call: Callable) -> float:
    """What a call takes: by the clock, but on one thread in processor time, which others on the machine hardly change."""
    started = _now()
    call()
    return _now() - started


def _now() -> float:
    if clock() == "wall":
        return time.perf_counter()
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(s.ru_utime + s.ru_stime for s in spent)


def measured(what: str, ours: float, theirs: float, unit: str, target: float = 0.0) -> dict:
    """A row of something that is counted and not timed, such as bytes: how many times less it is on our side."""
    ratio = theirs / ours
    spread = {"ratio": ratio, "low": ratio, "high": ratio, "turns": 1}
    return {"what": what, "threads": torch.get_num_threads(), **spread, "ours": ours, "theirs": theirs} | {
        "unit": unit,
        "target": target,
    }


def thread_counts() -> list[int]:
    """One, and as many as torch would use."""
    return sorted({1, torch.get_num_threads()})


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Lets torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Process:
    """A call that runs in a process of its own, with settings of its own.

    Args:
        function: "module:name" of a function of this package that takes the arguments, as strings, and returns the call.
        keep_pages: whether the process keeps its pages and its threads wait asleep, as with the library; without, it is a
            stock process, as users have it.
        env: environment variables besides those of this process.

    Attributes:
        faults, resident: page faults of the last call, and MiB of memory that the process holds after it.
    """

    def __init__(self, function: str, *arguments: str | int, keep_pages: bool = False, env: Mapping[str, str] | None = None):
        words = [function, torch.get_num_threads(), int(keep_pages), *arguments]
        command = [sys.executable, str(CHILD), *map(str, words)]
        settings = os.environ | ({} if keep_pages else STOCK) | (env or {})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)
        self.faults, self.resident = 0, 0.0
        self._hear()

    def seconds(self) -> float:
        """Makes the call and returns what it took there."""
        self.start()
        return self.finish()

    def start(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self) -> float:
        return self._hear()

    def _hear(self) -> float:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args[2:])} failed")
        spent, faults, self.resident = map(float, line.split())
        self.faults = int(faults)
        return spent

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
