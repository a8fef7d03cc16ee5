"""make experiments: every run of experiments.json that has no record yet, several at a time, until all are there.

Each run is a process of its own (`python -m alexnet_lib measure`), on one thread of a processor: two of one thread do
more than one of two, and what a run gives does not depend on what else the machine does. Breadth first: the first seed
of every arm, then the second. A run that was stopped goes on from its checkpoint when the command is given again.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import mean

from tabulate import tabulate

from ..config import InputError, one_of
from ..system.files import sole_use
from ..system.processes import pick_device
from ..system.progress import bar
from ..system.stopping import WATCHES, stop_requests
from ..system.workers import cores
from . import records
from .plans import of_another_kind, plans, seeds_of, trained

PAUSE = 0.5  # seconds between looks at the running processes
ON_A_GPU = 8  # runs side by side: one of these small networks alone leaves most of a card idle


@dataclass(frozen=True)
class Task:
    """One run that experiments.json asks for."""

    experiment: str
    arm: str
    seed: int

    @property
    def record(self) -> Path:
        return records.results_root() / self.experiment / f"{self.arm}-seed{self.seed}.json"

    @property
    def folder(self) -> Path:
        return records.runs_root() / self.experiment / f"{self.arm}-seed{self.seed}"

    def words(self, data: str, device: str | None) -> list[str]:
        words = ["measure", self.experiment, "--arm", self.arm, "--seed", str(self.seed), "--record"]
        return words + (["--data", data] if data else []) + (["--device", device] if device else [])


def tasks(only: Sequence[str] = (), seeds: int | None = None) -> list[Task]:
    """Every planned run in the order in which they are done: what chooses first, then the baselines, then breadth first.

    Args:
        only: experiments, or EXPERIMENT/ARM; empty takes all.
        seeds: so many an arm at most.

    Raises InputError for an experiment or an arm that does not exist.
    """
    every = plans()
    wanted = [name.partition("/") for name in only] or [(name, "", "") for name, plan in every.items() if "by" not in plan]
    choosing: list[list[Task]] = []
    baselines: list[list[Task]] = []
    others: list[list[Task]] = []
    for name, _, arm in wanted:
        one_of("experiment", name, every)
        plan = trained(name)
        if arm:
            one_of(f"arm of {name}", arm, plan["arms"])
        for each in plan["arms"]:
            if arm in ("", each):
                row = [Task(name, each, seed) for seed in seeds_of(plan, each)[:seeds]]
                kind = choosing if plan.get("selection") else baselines if each == plan.get("baseline") else others
                kind.append(row)
    ordered = [task for row in choosing + baselines for task in row]
    ordered += [task for turn in zip_longest(*others) for task in turn if task is not None]
    return list(dict.fromkeys(ordered))


def table(every: Sequence[Task], running: Sequence[Task] = ()) -> str:
    """What is done, what runs and what is left, an experiment a line, with the minutes that a run took."""
    lines = []
    for name in dict.fromkeys(task.experiment for task in every):
        own = [task for task in every if task.experiment == name]
        done = [task for task in own if task.record.exists()]
        minutes = [records.read(task.record).get("training_seconds", 0) / 60 for task in done]
        now = sum(task.experiment == name for task in running)
        lines.append((name, len(done), now, len(own) - len(done) - now, mean(minutes) if minutes else None))
    head = ("experiment", "recorded", "running", "to do", "minutes a run")
    return tabulate(lines, head, floatfmt=".1f", missingval="")


def run_all(
    every: Sequence[Task], *, data: str = "", device: str | None = None, jobs: int | None = None, hours: float | None = None
) -> Counter:
    """Runs what has no record yet. Returns how many runs ended in which way: "recorded", "failed", "stopped"; or which do not
    end here, "running elsewhere".

    Args:
        every: see `tasks`.
        data: another data set than the experiments' own.
        device: as for `measure`; "cpu" keeps all runs off a GPU.
        jobs: processes side by side; by default one a core, or eight on a GPU.
        hours: then what runs is stopped, to go on another time.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when what ran has written its checkpoints.
    """
    device = device if device is None else pick_device(device)
    on_cpu = device == "cpu" or not _has_gpu()
    waiting = wanted(every, "cpu" if on_cpu else "cuda")
    jobs = jobs or (cores() if on_cpu else ON_A_GPU)
    deadline = time.monotonic() + 3600 * hours if hours is not None else float("inf")
    running: dict[Task, subprocess.Popen] = {}
    ended: Counter = Counter()
    with bar(total=len(waiting), unit="run", desc="experiments") as shown, stop_requests() as stop:
        while (waiting or running) and not stop.is_set() and time.monotonic() < deadline:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                running[task] = _start(task, data, device)
            time.sleep(PAUSE)
            for task in [task for task, process in running.items() if process.poll() is not None]:
                _let_go(running.pop(task))
                word = "recorded" if task.record.exists() else "running elsewhere" if _in_use(task) else "failed"
                ended[word] += 1
                shown.update()
                shown.set_postfix_str(f"{task.experiment}/{task.arm} seed {task.seed} {word}")
                if word == "failed":
                    shown.write(f"failed: {task.experiment}/{task.arm} seed {task.seed}: {_last_line(task)}", file=sys.stderr)
        ended["stopped"] += len(running)
        for process in running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)  # under nohup Ctrl-C would not be heard
        for process in running.values():
            process.wait()
            _let_go(process)
    if stop.is_set():
        raise KeyboardInterrupt
    return ended


def in_words(ended: Counter, every: Sequence[Task]) -> str:
    """How many runs ended in which way; where none did, whether there was none to run."""
    none = "all is recorded" if all(task.record.exists() for task in every) else "nothing was run"
    return ", ".join(f"{count} {word}" for word, count in ended.items() if count) or none


def wanted(every: Sequence[Task], device: str) -> list[Task]:
    """The runs without a record, but for those whose like were measured on another kind of device; these are named."""
    missing = [task for task in every if not task.record.exists()]
    counts = Counter(task.experiment for task in missing)
    left_out = {name: why for name in counts if (why := of_another_kind(name, device))}
    for name, why in left_out.items():
        print(f"left out, {counts[name]} runs: {why}", file=sys.stderr)
    return [task for task in missing if task.experiment not in left_out]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _start(task: Task, data: str, device: str | None) -> subprocess.Popen:
    """The run as a process of one thread that no Ctrl-C of the terminal reaches: it is asked to stop in its turn, and stops by
    itself where this process is killed."""
    env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "OMP_WAIT_POLICY": "PASSIVE", WATCHES: "1"}
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        with open(task.folder / "log.txt", "ab") as log:
            command = [sys.executable, "-m", "alexnet_lib", *task.words(data, device)]
            return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    except OSError as error:
        raise InputError(f"cannot start {task.experiment}/{task.arm}: {error}") from error


def _in_use(task: Task) -> bool:
    """Whether another process runs it just now, such as one of the same command in another window."""
    with sole_use(task.folder) as free:
        return not free


def _let_go(process: subprocess.Popen) -> None:
    if process.stdin:
        process.stdin.close()


def _last_line(task: Task) -> str:
    return next(iter(_lines(task)), "it said nothing") + f" ({task.folder / 'log.txt'})"


def _lines(task: Task) -> Iterator[str]:
    with suppress(OSError):  # its folder may have been removed
        text = (task.folder / "log.txt").read_text(encoding="locale", errors="replace").replace("\r", "\n")
        yield from (line.strip() for line in reversed(text.splitlines()) if line.strip())
