"""Run records: one JSON file a run that says what ran, on what, where, for how long, and what came out."""

import base64
import hashlib
import io
import json
import math
import os
import platform
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import InputError, ModelConfig, TrainConfig
from ..data.sources import absolute
from ..system.files import advice, whole
from ..system.strict import path_of

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def runs_root() -> Path:
    """The folder of all runs: $ALEXNET_RUNS, or runs/ beside the library."""
    return path_of(os.environ.get("ALEXNET_RUNS") or REPOSITORY / "runs")


def run_dir(experiment: str, name: str, train: TrainConfig, usual: str) -> Path:
    """The folder of a run: EXPERIMENT/NAME-seedN below `runs_root`, or NAME-DATA-seedN where the data is not the usual."""
    data = absolute(train.data)
    if data.startswith("folder:"):  # two may have one name
        folder = Path(data.removeprefix("folder:"))
        data = f"{folder.name[:50]}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"
    between = "" if train.data == usual else "-" + re.sub(r"[^\w.-]", "_", data)
    return runs_root() / experiment / f"{name}{between}-seed{train.seed}"


def results_root() -> Path:
    """The folder of published records: $ALEXNET_RESULTS, or results/ beside the library, which a wheel has inside it."""
    own = REPOSITORY / "results"
    return path_of(os.environ.get("ALEXNET_RESULTS") or (own if own.is_dir() else Path(__file__).parent / "results"))


def environment(device: torch.device | None = None) -> dict:
    """Where a run takes place: commit, versions, processor or GPU, threads. None: on the GPU where there is one."""
    on_card = torch.cuda.is_available() and (device is None or device.type == "cuda")
    float32 = {"float32_convolutions": "TF32" if torch.backends.cudnn.allow_tf32 else "float32"}
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if on_card else device.type if device else "cpu",
        **(float32 if on_card else {}),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def device_kind(device: str) -> str:
    """ "cpu" or "GPU", of a device by torch's name or by a record's: only runs of one kind are compared."""
    return "cpu" if device == "cpu" else "GPU"


def device_kinds(records: Iterable[dict]) -> set[str]:
    """The kinds of device that the runs of these records took place on."""
    return {device_kind(r["environment"]["device"]) for r in records if "environment" in r}


def commit() -> str:
    """The commit of the library, with "+" where tracked files differ from it; outside a checkout $ALEXNET_COMMIT, which a copy
    without .git is told, else "unknown"."""

    def git(*words: str) -> str:
        own = f"--git-dir={REPOSITORY / '.git'}", f"--work-tree={REPOSITORY}"  # and no other, above it or in the environment
        done = subprocess.run(["git", *own, *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # no git on this machine
        head = ""
    return head or os.environ.get("ALEXNET_COMMIT") or "unknown"


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
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


def make(
    experiment: str, arm: str, *, model: ModelConfig, train: TrainConfig, data: dict, result, metrics: dict,
    device: torch.device | None = None,
) -> dict:  # fmt: skip
    """The record of a training run.

    Args:
        experiment, arm: what was compared and which side this is; with the seed they name the file.
        data: data_facts of each data set by its role, such as {"train": ..., "test": ...}.
        result: what fit() returned.
        metrics: final figures by name; errors in percent.
        device: which one trained; see `environment`.
    """
    return {
        "experiment": experiment,
        "arm": arm,
        "seed": train.seed,
        "model": asdict(model),
        "train": asdict(train) | {"data": data["train"]["name"]},  # a path would say where on this machine, not what
        "data": data,
        "environment": environment(device) | {"processes": result.processes},
        "steps": result.step,
        "training_seconds": round(result.seconds, 1),
        "first_losses": [round(loss, 4) for loss in result.first_losses],
        "curve": result.curve,
        "metrics": metrics,
    }


def write(record: dict, path: Path) -> Path:
    """Writes a record whole or not at all, as strict JSON with one key a line and a checksum. Returns its path.

    Raises InputError where it cannot be written, ValueError for a number that is not finite.
    """
    record = {name: value for name, value in record.items() if name != "checksum"}
    text = json.dumps(record | {"checksum": checksum(record)}, indent=1, allow_nan=False) + "\n"
    try:
        with whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the record {path}: {advice(error)}") from error
    return path


def checksum(record: dict) -> str:
    """SHA-256 of a record's content: a digit that flips on some disk is noticed (`python -m alexnet_lib claims --check`)."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def kernels_path(record_path: Path) -> Path:
    """Where the first-layer kernels of a run lie: beside its record, under the same name."""
    return record_path.with_suffix(".kernels.safetensors")


def network_path(record_path: Path) -> Path:
    """Where the network of a run lies that is kept: beside its record. See networks.py."""
    return record_path.with_suffix(".network.safetensors")


def probabilities_path(record_path: Path) -> Path:
    """Where the class probabilities of the test images lie: beside the record of the run, not in results/."""
    return record_path.with_suffix(".probabilities.npy")


def save_probabilities(probabilities: Tensor, record_path: Path) -> Path:
    """Writes float16 (N, classes) beside a record. Raises InputError where that fails."""
    path, content = probabilities_path(record_path), io.BytesIO()
    np.save(content, probabilities.numpy())  # straight to a disk that is full, it would not say that it is
    try:
        with whole(path) as partial:
            partial.write_bytes(content.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {advice(error)}") from error
    return path


def outcomes(probabilities: Tensor, labels: np.ndarray) -> str:
    """The rank of the right class for every test image (0: the best guess), in a few kilobytes of text.

    Paired tests (McNemar's), top-k errors and which images are hard follow from it without the network. From 255 on
    ranks are all 255.

    Args:
        probabilities: (N, classes).
        labels: (N,).
    """
    right = probabilities.gather(1, torch.as_tensor(labels)[:, None])
    ranks = (probabilities > right).sum(1).clamp(max=255).to(torch.uint8).numpy()
    return base64.b85encode(zlib.compress(ranks.tobytes(), 9)).decode()


def ranks(record: dict) -> np.ndarray:
    """uint8 (N,): what `outcomes` put into a record. Raises InputError for a record that has none."""
    if "outcomes" not in record:
        raise InputError(f"the record {record['experiment']}/{record['arm']}-seed{record['seed']} has no outcomes by image")
    return np.frombuffer(zlib.decompress(base64.b85decode(record["outcomes"])), dtype=np.uint8)


def publish(record: dict, written: Path) -> Path:
    """Copies what lies beside the file that a record was `written` to, kernels and perhaps a network, and then the record, to
    results/: a record that is there has its kernels. Returns its new path. Raises InputError where that fails, or results/ has another run by that name."""
    path = results_path(record)
    if path.exists() and _what_ran(read(path)) != _what_ran(record):
        hint = f"move it away and give the same command again. The record of this one is {written}"
        raise InputError(f"{path} is of a run with another network, training or data: {hint}")
    for beside in (kernels_path, network_path):
        if beside(written).exists():
            try:
                with whole(beside(path)) as partial:
                    shutil.copyfile(beside(written), partial)
            except OSError as error:
                raise InputError(f"cannot write {beside(path)}: {advice(error)}") from error
    return write(record, path)


def _what_ran(record: dict) -> tuple:
    model, train = record.get("model"), record.get("train")
    return record.get("data"), model and ModelConfig.from_dict(model), train and TrainConfig.from_dict(train)


def keep(record: dict, published: bool) -> Path:
    """Writes a record to results/, or where it is not to be published to runs/, and prints where. Returns its path.

    For what is measured in one go; `publish` is for runs, which have more than a record.
    """
    path = write(record, results_path(record, None if published else runs_root()))
    print(f"record: {path}")
    return path


def results_path(record: dict, root: Path | None = None) -> Path:
    """Where a record goes with `--record`: results/EXPERIMENT/ARM-seedN.json, or below another root."""
    return (root or results_root()) / record["experiment"] / f"{record['arm']}-seed{record['seed']}.json"


def read(path: Path) -> dict:
    """A record by its path. Raises InputError where it is missing, not a record, or not what was written."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_not_finite, parse_float=_finite)
    except FileNotFoundError:
        raise InputError(f"no record at {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a record: {error}") from error
    if not isinstance(record, dict) or (absent := {"experiment", "arm", "seed", "metrics"} - set(record)):
        missing = f"it has no {', '.join(sorted(absent))}" if isinstance(record, dict) else "it is no object"
        raise InputError(f"{path} is not a record: {missing}")
    if not isinstance(record["metrics"], dict):
        raise InputError(f"{path} is not a record: its metrics have no names")
    if record.get("checksum") != checksum(record):
        what = "its checksum does not match" if "checksum" in record else "it has no checksum"
        raise InputError(f"{path} was altered or damaged: {what}. Take it from version control again")
    return record


def _not_finite(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    if not math.isfinite(number := float(word)):
        raise ValueError(f"{word} is no finite number")
    return number


def read_experiment(experiment: str) -> list[dict]:
    """All records of an experiment, in the order of their file names; empty where it has none.

    Raises InputError for one that lies elsewhere than its run's does, as a copy: it would count twice, or for another experiment.
    """
    found = {path: read(path) for path in sorted((results_root() / experiment).glob("*.json"))}
    for path, record in found.items():
        if path != (its := results_path(record)):
            raise InputError(f"{path} is the record of {its.parent.name}/{its.name}, whatever it is called: move it away")
    return list(found.values())
