"""Files of tensors: written whole or not at all, checksummed, and loaded without executing anything from the file.

Each is a safetensors file: tensors, and in its header a JSON text with everything that is not a tensor and the checksum
of both.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .files import advice, whole
from .strict import InputError

FORMAT = 1  # of the facts; those that name none have this one


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


def read(path: Path, kinds: dict[str, type] | None = None) -> tuple[dict[str, Tensor], dict]:
    """(tensors, facts) of a file.

    Args:
        kinds: of which type a fact must be, where there is one of that name.

    Raises:
        DamagedError: it is missing, cut short, altered or of another kind.
        InputError: it cannot be read at present, is of a newer format, or a fact is of another type.
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
        for name, kind in (kinds or {}).items():
            if not isinstance(facts.get(name, kind()), kind):
                raise InputError(f"its {name} is no {kind.__name__}")
    return tensors, facts


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """One line where a checkpoint is sound, but what it holds is not what the block expects."""
    try:
        yield
    except (InputError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} was written by another version of the library: {said}") from error


def check_tensors(saved: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raises InputError naming the first tensor that is missing, one too many or of another shape or type."""
    for name in sorted(saved.keys() | expected.keys()):
        if name not in saved or name not in expected:
            raise InputError(f"it has {'no' if name in expected else 'a'} tensor {name}")
        there, here = (f"{tuple(x.shape)} of {x.dtype}" for x in (saved[name], expected[name]))
        if there != here:
            raise InputError(f"{name} is {there} there and {here} here")


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
