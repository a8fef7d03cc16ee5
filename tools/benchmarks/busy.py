"""The same beside one busy process, as readers have it, and with more processes than processors: nothing may collapse.

A row's ratio says how much of an advantage is left: "busy", ours against theirs beside the other process, divided by
"quiet", the same without it, both in the same turn. More threads than one, and the clock on the wall: waiting is the point.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from alexnet_lib import open_dataset
from alexnet_lib.data.packing import images_a_shard
from alexnet_lib.system.progress import bar

from . import epochs, network, normalisation, packing, pipeline
from .turns import STOCK, Process, in_turns, measured, spent_by, thread_counts, threads

KEPT, TOGETHER = 0.8, 0.8  # of an advantage beside a busy process; of the rate of runs one after the other, run at once
TRAININGS = (2, 4)  # at once


def rows(turns: int) -> Iterator[dict]:
    turns = max(2, turns // 2)
    number = thread_counts()[-1]
    if number == 1:
        return  # one thread waits for no other
    with tempfile.TemporaryDirectory() as name, threads(number), ExitStack() as stack:
        folder = Path(name)
        for what, ours, theirs in work(folder, stack):
            yield beside(what, ours, theirs, turns)
        yield asleep(turns)
        for number in TRAININGS:
            yield together(number, turns)


def work(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Callable | Process, Callable | Process]]:
    """(what, ours, what it replaces), for each of the things that the other rows measure on a quiet machine."""
    yield "LRN against torch's", *(normalisation.both_ways(whose, "contiguous") for whose in ("ours", "torch"))
    yield "training step of preset paper against no LRN", *(network.step(n, "channels last") for n in ("ours", "no LRN"))
    photos = open_dataset("photos10")
    yield (
        "an epoch of the small network against a textbook loop",
        epochs.library(photos, folder, "float32"),
        epochs.textbook(photos),
    )
    files = pipeline.write_jpegs(folder / "images", images_a_shard(packing.SIZE))
    given = str(files), str(folder), 2
    sides = [stack.enter_context(Process(f"packing:{side}", *given, keep_pages=True)) for side in ("packed", "loop")]
    yield "packing JPEG files against a loop with PIL", *sides
    few = pipeline.write_jpegs(folder / "few", pipeline.IMAGES)
    yield "JPEG files to 256x256 pixels against PIL", *packing.scaling(packing.files_of(few))
    ours = pipeline.packed(open_dataset(f"folder:{few}", root=folder / "data"))
    # both sides use all processors: a loop on one would lose nothing to the busy process
    loader = stack.enter_context(Process("pipeline:in_workers", str(few), 2, keep_pages=True))
    yield "input pipeline against ImageFolder with PIL in 2 worker processes", ours, loader


def beside(what: str, ours: Callable | Process, theirs: Callable | Process, turns: int) -> dict:
    """Ours against theirs, quiet and beside a busy process, in every turn; the first turn warms up."""
    quiet, busy = [], []
    with BusyProcess() as other:
        for turn in bar(range(turns + 1), desc=f"{what}, beside a busy process", unit="turn"):
            for found, goes in ((quiet, False), (busy, True)):
                other.let(goes)
                pair = spent_by(ours), spent_by(theirs)
                if turn:
                    found.append(pair)
    ratios = [(bt / bo) / (qt / qo) for (qo, qt), (bo, bt) in zip(quiet, busy, strict=True)]
    medians = {name: statistics.median(t / o for o, t in found) for name, found in (("quiet", quiet), ("busy", busy))}
    row = measured(f"{what}, beside one busy process: what is left of the advantage", 1.0, statistics.median(ratios), "", KEPT)
    row |= {"low": min(ratios), "high": max(ratios), "turns": turns, "ours": medians["busy"], "theirs": medians["quiet"]}
    return row | {"unit": "times as fast, beside it and without", "clock": "wall"}


def together(number: int, turns: int) -> dict:
    """So many trainings at once, each with all threads, against the same one after the other."""
    spent = []
    with ExitStack() as stack:
        runs = [stack.enter_context(Process("pages:steps", keep_pages=True)) for _ in range(number)]
        for turn in bar(range(turns + 1), desc=f"{number} trainings at once", unit="turn"):
            alone = sum(run.seconds() for run in runs)
            began = time.perf_counter()
            for run in runs:
                run.start()
            for run in runs:
                run.finish()
            if turn:
                spent.append((time.perf_counter() - began, alone))
    ratios, sides = [alone / at_once for at_once, alone in spent], map(statistics.median, zip(*spent, strict=True))
    row = measured(f"{number} trainings of the small network at once against one after the other", *sides, "s", TOGETHER)
    return row | {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "turns": turns, "clock": "wall"}


def asleep(turns: int) -> dict:
    """What it costs on a quiet machine that threads wait asleep: training against the same with threads that spin."""
    with Process("pages:steps", keep_pages=True) as ours, Process("pages:steps", keep_pages=True, env=STOCK) as spinning:
        what = "training of the small network with threads that wait asleep, quiet, against threads that spin"
        return in_turns(what, ours, spinning, turns, 10 * 114, 0.9)


class BusyProcess:
    """A process that computes on one processor whenever it is let."""

    def __enter__(self) -> "BusyProcess":
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.let(False)
        return self

    def let(self, go: bool) -> None:
        self.process.send_signal(signal.SIGCONT if go else signal.SIGSTOP)

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
