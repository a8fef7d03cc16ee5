"""The grid of experiments on one card: as many runs side by side as fill it, breadth first, until the time is over."""

import argparse
import multiprocessing
import os
import queue
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from alexnet_lib import open_dataset
from alexnet_lib.evidence import records
from alexnet_lib.evidence.runner import Task

from . import grid, oncard

SIDE_BY_SIDE = 12  # a run of the small network keeps about a tenth of a card of today busy
TINY = {
    "train": [{"epochs": 1, "limit": 60, "batch_size": 20, "holdout": 0, "schedule": "constant"}],
    "model": [{"hidden": [16, 16]}],
}


def rows(asked: argparse.Namespace, deadline: float) -> Iterator[dict]:
    tiny = asked.device == "cpu"
    minutes = (deadline - time.monotonic()) / 60
    options = {"data": "photos10" if tiny else asked.data, "out": asked.out, "side_by_side": asked.side_by_side}
    options["runs"] = grid.read(asked.runs) if asked.runs else grid.missing(asked.device)
    yield from evidence(minutes, asked.device, tiny=tiny, **options)


def evidence(
    minutes: float, device: str, *, runs: list[Task], data: str = "", out: Path | None = None, tiny: bool = False,
    side_by_side: int = SIDE_BY_SIDE,
) -> Iterator[dict]:  # fmt: skip
    """Measures runs for so many minutes; a row a run, as it comes. Their records go to OUT/results/.

    Args:
        device: of all runs.
        runs: in this order.
        data: what they train on; "" takes each preset's.
        out: where records and unfinished runs go; by default runs/gpu.
        tiny: one run of seconds, to rehearse.
        side_by_side: runs at a time, no more than there are cores.
    """
    out = out or records.runs_root() / "gpu"
    open_dataset(data or "cifar10")  # packed once, before many ask for it
    context = multiprocessing.get_context("spawn")
    waiting, done = context.Queue(), context.Queue()
    for task in runs[: 1 if tiny else None]:
        waiting.put((task.experiment, task.arm, task.seed))
    count = 1 if tiny else min(side_by_side, os.cpu_count() or 1)
    arguments = (waiting, done, device, data, out, TINY if tiny else None)
    started = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(count)]
    deadline = time.monotonic() + 60 * minutes
    with side_by_side_on_the_card() if device != "cpu" else nullcontext():
        try:
            for process in started:
                process.start()
            ended = 0
            while ended < count and (left := deadline - time.monotonic()) > 0:
                try:
                    row = done.get(timeout=min(left, 1.0))
                except queue.Empty:
                    if not any(p.is_alive() for p in started):
                        break  # all were killed
                    continue
                ended += row is None
                if row is not None:
                    yield row
        finally:
            for process in started:
                process.kill()
                process.join()


@contextmanager
def side_by_side_on_the_card() -> Iterator[None]:
    """Where the driver has its multi-process service, kernels of several processes run at once and not in turns: a run of
    the small network fills a small part of a card. The service is this user's own and ends with this block."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None or "CUDA_MPS_PIPE_DIRECTORY" in os.environ:  # not there, or somebody's
        yield
        return
    with tempfile.TemporaryDirectory(prefix="alexnet-mps-") as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ |= own
        try:
            subprocess.run([control, "-d"], timeout=10, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            yield
        finally:
            with suppress(subprocess.TimeoutExpired):
                subprocess.run([control], input="quit\n", text=True, timeout=10, check=False, stdout=subprocess.DEVNULL)
            for name in own:
                os.environ.pop(name)


def _work(waiting, done, device: str, data: str, out: Path, changes: dict | None) -> None:
    """In a process of its own: one run after the other, until there are none."""
    os.environ |= {"ALEXNET_RUNS": str(out / "runs"), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    oncard.use()
    from alexnet_lib.evidence import experiment

    while True:
        try:
            name, arm, seed = waiting.get(timeout=1.0)
        except queue.Empty:
            done.put(None)
            return
        what, began = f"{name} {arm} seed {seed}", time.perf_counter()
        try:
            for of, _, record in experiment.measure(name, [arm], [seed], data=data, changes=changes, device=device):
                written = experiment.run_folder(of, seed, changes) / "record.json"
                os.environ["ALEXNET_RESULTS"] = str(out / "results")
                records.publish(record, written)
                os.environ.pop("ALEXNET_RESULTS")
                shown = record["metrics"].get("test_top1_error", record["metrics"].get("valid_top1_error"))
                why = "" if shown is None else f"error {shown:.2f} %"
                done.put({"what": what, "how": "done", "why": why, "seconds": time.perf_counter() - began})
        except Exception as error:  # whatever it is, the others go on
            done.put({"what": what, "how": "failed", "why": (str(error) or repr(error)).splitlines()[0][:200]})
