"""Checkpoints of a run (section 5: training takes days): one file a step, the newest sound one is taken, and none is mistaken
for another run's.

What a file looks like, and how damage is noticed, is in system/tensors.py; which of a run's files are kept, in
system/steps.py. A run that is killed at any moment goes on and ends with the same weights (tests/test_faults.py);
`make stress` tries it for hours.
"""

from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from .config import InputError, ModelConfig
from .model import AlexNet
from .system import steps
from .system.steps import PATTERN, check_same, save_step  # noqa: F401 (handed on)
from .system.tensors import DamagedError, check_tensors, read, save, understood  # noqa: F401 (handed on)

KINDS: dict[str, type] = {"model": dict, "train": dict, "data": str, "classes": list, "schedule": dict, "curve": list}
KINDS |= {"first_losses": list, "step": int, "seconds": float, "processes": int}  # of the facts of a run


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, facts) of a checkpoint. Raises as system.tensors.read, and InputError where a fact is of another kind."""
    return read(path, KINDS)


def newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict] | None:
    """(path, tensors, facts) of the newest sound checkpoint in a run's folder; None where there are none. Raises as
    system.steps.newest."""
    return steps.newest(folder, KINDS)


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
        weights = {name: t.float() if t.dtype == torch.half else t for name, t in weights.items()}  # one kept beside its record
        check_tensors(weights, model.state_dict())
    if config is not None:
        check_same("model", path, saved, config)
    model.load_state_dict(weights)
    return model.eval(), facts | {name: t for name, t in tensors.items() if name == "mean_image"}


def check_classes(path: Path, facts: dict, dataset) -> None:
    """Raises InputError where a data set has other classes than a checkpoint learned, or the same in another order.

    The first checkpoints did not name their classes.
    """
    learned, there = facts.get("classes") or list(dataset.classes), list(dataset.classes)
    for number, (ours, theirs) in enumerate(zip_longest(learned, there)):
        if ours != theirs:
            raise InputError(f"{path} learned class {number} as {ours!r}, in {dataset.name} it is {theirs!r}. Name its data")
