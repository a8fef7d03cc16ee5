"""Run records: one JSON file a run that says what ran, on what, where, for how long, and what came out."""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from ..config import InputError, ModelConfig, TrainConfig

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"
PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def runs_root() -> Path:
    """The folder of all runs: $ALEXNET_RUNS, or runs/ beside the library."""
    return Path(os.environ.get("ALEXNET_RUNS") or REPOSITORY / "runs")


def environment() -> dict:
    """Where a run takes place: commit, versions, processor or GPU, threads."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def commit() -> str:
    """The commit of the library, with "+" where tracked files differ from it; "unknown" outside a checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        return (git("rev-parse", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # no git on this machine
        return "unknown"


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def data_facts(dataset) -> dict:
    """Which data a record speaks of."""
    return {
        "name": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "size": dataset.size,
        "checksum": dataset.checksum,
    }


def make(experiment: str, arm: str, *, model: ModelConfig, train: TrainConfig, data: dict, result, metrics: dict) -> dict:
    """The record of a training run.

    Args:
        experiment, arm: what was compared and which side this is; with the seed they name the file.
        data: data_facts of each data set by its role, such as {"train": ..., "test": ...}.
        result: what fit() returned.
        metrics: final figures by name; errors in percent.
    """
    return {
        "experiment": experiment,
        "arm": arm,
        "seed": train.seed,
        "model": asdict(model),
        "train": asdict(train) | {"data": data["train"]["name"]},  # a path would say where on this machine, not what
        "data": data,
        "environment": environment() | {"processes": result.processes},
        "steps": result.step,
        "training_seconds": round(result.seconds, 1),
        "first_losses": [round(loss, 4) for loss in result.first_losses],
        "curve": result.curve,
        "metrics": metrics,
    }


def write(record: dict, path: Path) -> Path:
    """Writes a record whole or not at all, as JSON with one key a line. Returns its path."""
    text = json.dumps(record, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".partial-{os.getpid()}")
        partial.write_text(text)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"cannot write the record {path}: {error.strerror}") from error
    return path


def kernels_path(record_path: Path) -> Path:
    """Where the first-layer kernels of a run lie: beside its record, under the same name."""
    return record_path.with_suffix(".kernels.safetensors")


def publish(record: dict, written: Path) -> Path:
    """Copies a record, and the kernels beside the file it was `written` to, to results/. Returns the record's new path."""
    path = write(record, results_path(record))
    if (kernels := kernels_path(written)).exists():
        shutil.copyfile(kernels, kernels_path(path))
    return path


def results_path(record: dict, root: Path = RESULTS) -> Path:
    """Where a record goes with --record: results/EXPERIMENT/ARM-seedN.json."""
    return root / record["experiment"] / f"{record['arm']}-seed{record['seed']}.json"


def read(path: Path) -> dict:
    """A record by its path. Raises InputError where it is missing or not a record."""
    try:
        record = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"no record at {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a record: {error}") from error
    if absent := {"experiment", "arm", "seed", "metrics"} - set(record):
        raise InputError(f"{path} is not a record: it has no {', '.join(sorted(absent))}")
    return record


def read_experiment(experiment: str, root: Path = RESULTS) -> list[dict]:
    """All records of an experiment, in the order of their file names; empty where it has none."""
    return [read(path) for path in sorted((root / experiment).glob("*.json"))]
