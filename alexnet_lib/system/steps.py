"""A folder of files of tensors, one a step of a long computation: the newest sound one is taken, and the oldest go.

What one of them looks like is in tensors.py.
"""

import sys
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from .strict import InputError
from .tensors import DamagedError, read, save

PATTERN = "checkpoint-*.safetensors"


def save_step(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict, keep: int) -> Path:
    """Saves the checkpoint of a step into a run's folder and then removes all earlier ones but the newest, `keep` in all.

    Those of later steps, which were passed over since they are damaged, are left for the user to see.
    """
    path = folder / f"checkpoint-{step:08d}.safetensors"
    save(path, tensors, facts)
    earlier = sorted((p for p in folder.glob(PATTERN) if 0 <= _step_of(p) < step), key=_step_of)
    strays = folder.glob("checkpoint-*.partial*")  # of a run that was killed while writing
    for old in [*earlier[: max(0, len(earlier) + 1 - keep)], *strays]:
        with suppress(OSError):  # such as a folder of that name
            old.unlink()
    return path


def _step_of(path: Path) -> int:
    """Of which step a checkpoint is, by its name; -1 where that is no number."""
    name = path.name.removeprefix("checkpoint-").removesuffix(".safetensors")
    return int(name) if name.isdecimal() else -1


def newest(folder: Path, kinds: dict[str, type] | None = None) -> tuple[Path, dict[str, Tensor], dict] | None:
    """(path, tensors, facts) of the newest sound checkpoint in a run's folder; None where there are no checkpoints.

    Raises InputError where there are some and none is sound, or one cannot be read at present; `kinds`: see tensors.read.
    """
    try:
        there = sorted((path for path in folder.iterdir() if path.match(PATTERN)), key=_step_of)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from error
    for path in reversed(there):
        try:
            return path, *read(path, kinds)
        except DamagedError as error:
            print(f"skipped: {error}", file=sys.stderr)
    if there:
        raise InputError(f"no checkpoint in {folder} is sound. Remove what is there to begin anew, or name another run folder")
    return None


def check_same(what: str, path: Path, saved, asked) -> None:
    """Raises InputError naming the first field in which two configurations differ."""
    for name in asked.__dataclass_fields__:
        if getattr(saved, name) != getattr(asked, name):
            raise InputError(
                f"{path.parent} holds a run with another {what}: {name} is {getattr(saved, name)!r} there and "
                f"{getattr(asked, name)!r} here. Name another run folder, or remove that one"
            )
