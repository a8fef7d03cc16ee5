"""Checkpoints: written whole or not at all, checksummed, and loaded without executing anything from the file.

A checkpoint is one safetensors file: tensors, and in its header a JSON text with everything that is not a tensor and
the checksum of both.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .system.strict import InputError

PATTERN = "checkpoint-*.safetensors"


def save(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Writes a checkpoint through a temporary file that is renamed when it is complete and on the disk.

    Raises InputError where the disk is full or the folder cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps(facts)
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        mode = partial.stat().st_mode  # what the user's files have; safetensors would keep everyone else out
        save_file(tensors, partial, metadata={"facts": text, "sha256": _checksum(tensors, text)})
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(mode)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write the checkpoint {path}: {error}. Free some space or name another run folder") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, facts) of a checkpoint. Raises InputError where it is missing, cut short, altered or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole checkpoint ({error}). Use an earlier one") from error
    if "facts" not in header:
        raise InputError(f"{path} is a safetensors file, but no checkpoint of alexnet_lib")
    if _checksum(tensors, header["facts"]) != header.get("sha256"):
        raise InputError(f"{path} was altered or damaged: its checksum does not match. Use an earlier one")
    return tensors, json.loads(header["facts"])


def save_step(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict, keep: int) -> Path:
    """Saves the checkpoint of a step into a run's folder and then removes all but the newest `keep`.

    Those of later steps go first: the run would have resumed from them, were they not damaged.
    """
    path = folder / f"checkpoint-{step:08d}.safetensors"
    save(path, tensors, facts)
    there = sorted(folder.glob(PATTERN))
    for old in set(there) - set([p for p in there if p <= path][-keep:]):
        old.unlink(missing_ok=True)
    for stray in folder.glob("checkpoint-*.partial-*"):  # of a run that was killed while writing
        stray.unlink(missing_ok=True)
    return path


def newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict] | None:
    """(path, tensors, facts) of the newest sound checkpoint in a run's folder; None where there is none."""
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            return path, *load(path)
        except InputError as error:
            print(f"skipped: {error}", file=sys.stderr)
    return None


def load_model(path: Path, config=None):
    """The AlexNet of a checkpoint (or of the newest one in a run's folder), in evaluation mode, and the facts beside it.

    Raises InputError where the checkpoint holds another network than `config` describes.
    """
    from .config import ModelConfig
    from .model import AlexNet

    path = Path(path)
    if path.is_dir():
        found = newest(path)
        if found is None:
            raise InputError(f"no checkpoint in {path}")
        path, tensors, facts = found
    else:
        tensors, facts = load(path)
    saved = ModelConfig.from_dict(facts["model"])
    if config is not None:
        check_same("model", path, saved, config)
    model = AlexNet(saved)
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    return model.eval(), facts


def check_same(what: str, path: Path, saved, asked) -> None:
    """Raises InputError naming the first field in which two configurations differ."""
    for name in asked.__dataclass_fields__:
        if getattr(saved, name) != getattr(asked, name):
            raise InputError(
                f"{path.parent} holds a run with another {what}: {name} is {getattr(saved, name)!r} there and "
                f"{getattr(asked, name)!r} here. Name another run folder, or remove that one"
            )


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
