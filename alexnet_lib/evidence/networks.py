"""Networks that are kept beside their records, for whoever wants to look into one or average several; and the mean image that a
network was trained with."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ..batches import split_holdout
from ..config import InputError, TrainConfig
from ..data.dataset import open_dataset
from ..evaluation import check_alike, error_rates, evaluate, predict
from ..model import AlexNet
from ..system.tensors import save


def open_split(train: TrainConfig, split: str, size: int, fetch: bool = True):
    """A split of the data of a training, with what that subtracts as its mean image. Raises as open_dataset."""
    dataset = open_dataset(train.data, split, size=size, fetch=fetch)
    return dataset.less_a_scalar() if train.mean == "scalar" else dataset


def as_kept(net: AlexNet) -> None:
    """Rounds the weights to half precision, in which a network is kept: what is measured then is what is kept."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())


def save_network(net: AlexNet, train: TrainConfig, train_set, path: Path) -> dict:
    """Writes a network as a checkpoint that `load_model` and `evaluate` read: its weights in float16, the mean image of its
    training set, the configurations, the names of its classes.

    Returns {"bytes", "sha256"} of the file, for the record. Raises InputError where it cannot be written.
    """
    tensors = {f"model.{name}": t.half() if t.is_floating_point() else t for name, t in net.state_dict().items()}
    tensors["mean_image"] = torch.from_numpy(train_set.mean_image)
    facts = {"model": asdict(net.config), "train": asdict(train) | {"data": train_set.name}}
    save(path, tensors, facts | {"data": train_set.checksum, "classes": list(train_set.classes)})
    return facts_of(path)


def facts_of(path: Path) -> dict:
    """{"bytes", "sha256"} of a file, as a record names its network. Raises InputError where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the network {path}: {error.strerror or error}") from error
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def evaluate_as_trained(loaded: Sequence[tuple[AlexNet, dict]], checkpoints: Sequence[str], dataset, views: str) -> dict:
    """Error rates of a network, or of several averaged, each of which gets images less the mean image of its own training.

    Args:
        loaded, checkpoints: what load_model gave, and the paths.
    """
    models = [model for model, _ in loaded]
    sets = [as_trained(dataset, path, *one) for path, one in zip(checkpoints, loaded, strict=True)]
    if all(np.array_equal(each.mean_image, sets[0].mean_image) for each in sets):
        return evaluate(models, sets[0], views, progress=True)  # all of them in one pass over the images
    check_alike(models)
    seen = [predict(model, each, views, progress=True) for model, each in zip(models, sets, strict=True)]
    return error_rates(torch.stack(seen).mean(0), torch.as_tensor(dataset.labels))


def as_trained(dataset, checkpoint: str, model: AlexNet, facts: dict):
    """A data set with the mean image that a network was trained with, which is its training set's and in no checkpoint of a run.

    Where that set is not there the mean image stays, and a line says so. A network that is kept has it with it.

    Args:
        checkpoint: its path, to name it.
        model, facts: what load_model gave.
    """
    mean = _trained_mean(model, facts)
    if mean is None:
        what = "its training set is not there, or not as it was: the mean image that is subtracted may be another"
        print(f"note: {checkpoint}: {what}", file=sys.stderr)
    return dataset if mean is None else replace(dataset, mean_image=mean)


def _trained_mean(model: AlexNet, facts: dict) -> np.ndarray | None:
    """The mean image of a network's training set; None where that is not packed here, or is of other images by now."""
    if "mean_image" in facts:
        return facts["mean_image"].numpy()
    try:
        train = TrainConfig.from_dict(facts.get("train", {}))
        whole = open_split(train, "train", model.config.packed_size, fetch=False)
        return whole.mean_image if split_holdout(whole, train)[0].checksum == facts.get("data") else None
    except InputError:
        return None
