"""Checkpoints of a run (section 5: training takes days): one file a step, the newest sound one is taken, and none is mistaken
for another run's.

What a file looks like, and how damage is noticed, is in system/tensors.py. A run that is killed at any moment goes on and ends
with the same weights (tests/test_faults.py); `make stress` tries it for hours.
"""

import sys
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from torch import Tensor

from .config import InputError, ModelConfig
from .model import AlexNet
from .system.tensors import DamagedError, read, save, understood

PATTERN = "checkpoint-*.safetensors"
KINDS: dict[str, type] = {"model": dict, "train": dict, "data": str, "classes": list, "schedule": dict, "curve": list}
KINDS |= {"first_losses": list, "step": int, "seconds": float, "processes": int}  # of the facts of a run


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, facts) of a checkpoint. Raises as system.tensors.read, and InputError where a fact is of another kind."""
    tensors, facts = read(path)
    with understood(path):
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


def newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict] | None:
    """(path, tensors, facts) of the newest sound checkpoint in a run's folder; None where there are no checkpoints.

    Raises InputError where there are some and none is sound, or one cannot be read at present.
    """
    try:
        there = sorted((path for path in folder.iterdir() if path.match(PATTERN)), key=_step_of)
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


def load_model(path: Path, config: ModelConfig | None = None) -> tuple[AlexNet, dict]:
    """The AlexNet of a checkpoint (or of the newest one in a run's folder), in evaluation mode, and the facts beside it.

    Raises InputError where the checkpoint holds another network than `config` describes.
    """
    path = Path(path)
    if path.is_dir():
        there = newest(path)
        if there is None:
            raise InputError(f"no checkpoint in {path}")
        path, tensors, facts = there
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


def check_tensors(saved: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raises InputError naming the first tensor that is missing, one too many or of another shape or type."""
    for name in sorted(saved.keys() | expected.keys()):
        if name not in saved or name not in expected:
            raise InputError(f"it has {'no' if name in expected else 'a'} tensor {name}")
        there, here = (f"{tuple(x.shape)} of {x.dtype}" for x in (saved[name], expected[name]))
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
