"""Checkpoints: written whole or not at all, checksummed, and loaded without executing anything from the file.

A checkpoint is one safetensors file: tensors, and in its header a JSON text with everything that is not a tensor and
the checksum of both.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .system.files import advice, whole
from .system.strict import InputError

FORMAT = 1  # of the facts; those that name none have this one
PATTERN = "checkpoint-*.safetensors"
KINDS = {"model": dict, "train": dict, "data": str, "classes": list, "schedule": dict, "curve": list, "first_losses": list}
KINDS |= {"step": int, "seconds": float, "processes": int}  # of the facts of a run


class DamagedError(InputError):
    """A file is no checkpoint, or no longer what was written."""


def save(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Writes a checkpoint. `facts` are what JSON can hold, every number finite.

    Raises InputError where the disk is full or the folder cannot be written; what was at `path` then stays.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps({"format": FORMAT} | facts, allow_nan=False)
    # In memory first: the library's own writer hides what the disk says, and leaves litter where it is killed.
    content = safetensors.torch.save(tensors, metadata={"facts": text, "sha256": _checksum(tensors, text)})
    try:
        with whole(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write the checkpoint {path}: {advice(error)}") from error


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, facts) of a checkpoint.

    Raises:
        DamagedError: it is missing, cut short, altered or of another kind.
        InputError: it cannot be read at present, or is of a newer format.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise DamagedError(f"no checkpoint at {path}")
        open(path, "rb").close()  # says why where it cannot; the next line would say that there is none
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise DamagedError(f"{path} is not a whole checkpoint ({error}). Use an earlier one") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. Make it readable and start again") from error
    if "facts" not in header:
        raise DamagedError(f"{path} is a safetensors file, but no checkpoint of alexnet_lib")
    if _checksum(tensors, header["facts"]) != header.get("sha256"):
        raise DamagedError(f"{path} was altered or damaged: its checksum does not match. Use an earlier one")
    with understood(path):
        facts = json.loads(header["facts"])
        if (found := facts.pop("format", FORMAT)) != FORMAT:
            raise InputError(f"its format is {found}, and this one reads {FORMAT}")
        for name, kind in KINDS.items():
            if not isinstance(facts.get(name, kind()), kind):
                raise InputError(f"its {name} is no {kind.__name__}")
    return tensors, facts


def save_step(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict, keep: int) -> Path:
    """Saves the checkpoint of a step into a run's folder and then removes all earlier ones but the newest, `keep` in all.

    Those of later steps, which were passed over since they are damaged, are left for the user to see.
    """
    path = folder / f"checkpoint-{step:08d}.safetensors"
    save(path, tensors, facts)
    earlier = sorted(p for p in folder.glob(PATTERN) if p < path)
    strays = folder.glob("checkpoint-*.partial*")  # of a run that was killed while writing
    for old in [*earlier[: max(0, len(earlier) + 1 - keep)], *strays]:
        with suppress(OSError):  # such as a folder of that name
            old.unlink()
    return path


def newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict] | None:
    """(path, tensors, facts) of the newest sound checkpoint in a run's folder; None where there are no checkpoints.

    Raises InputError where there are some and none is sound, or one cannot be read at present.
    """
    try:
        there = sorted(path for path in folder.iterdir() if path.match(PATTERN))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from error
    for path in reversed(there):
        try:
            return path, *load(path)
        except DamagedError as error:
            print(f"skipped: {error}", file=sys.stderr)
    if there:
        raise InputError(f"no checkpoint in {folder} is sound. Remove what is there to begin anew, or name another run folder")
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
    with understood(path):
        saved = ModelConfig.from_dict(facts["model"])
        model = AlexNet(saved)
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        check_tensors(weights, model.state_dict())
    if config is not None:
        check_same("model", path, saved, config)
    model.load_state_dict(weights)
    return model.eval(), facts


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """One line where a checkpoint is sound, but what it holds is not what the block expects."""
    try:
        yield
    except (InputError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} was written by another version of the library: {said}") from error


def check_tensors(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raises InputError naming the first tensor that is missing, one too many or of another shape or type."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found or name not in wanted:
            raise InputError(f"it has {'no' if name in wanted else 'a'} tensor {name}")
        there, here = (f"{tuple(x.shape)} of {x.dtype}" for x in (found[name], wanted[name]))
        if there != here:
            raise InputError(f"{name} is {there} there and {here} here")


def check_same(what: str, path: Path, saved, asked) -> None:
    """Raises InputError naming the first field in which two configurations differ."""
    for name in asked.__dataclass_fields__:
        if getattr(saved, name) != getattr(asked, name):
            raise InputError(
                f"{path.parent} holds a run with another {what}: {name} is {getattr(saved, name)!r} there and "
                f"{getattr(asked, name)!r} here. Name another run folder, or remove that one"
            )


def check_classes(path: Path, facts: dict, dataset) -> None:
    """Raises InputError where a data set has other classes than a checkpoint learned, or the same in another order.

    The first checkpoints did not name their classes.
    """
    learned, there = facts.get("classes") or list(dataset.classes), list(dataset.classes)
    for number, (ours, theirs) in enumerate(zip_longest(learned, there)):
        if ours != theirs:
            raise InputError(f"{path} learned class {number} as {ours!r}, in {dataset.name} it is {theirs!r}. Name its data")


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
