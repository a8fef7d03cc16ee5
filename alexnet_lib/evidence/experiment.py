"""One run from data to record, and the experiments of experiments.json: named arms, each a change of a preset."""

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..batches import split_holdout
from ..config import InputError, ModelConfig, TrainConfig, preset
from ..data.sources import absolute
from ..evaluation import check_fits, predict_by_views
from ..model import AlexNet
from ..system.precision import settled
from ..system.processes import pick_device, rank_and_world, run_in_processes
from ..system.strict import merge, one_of
from ..training import Result, fit
from . import networks, records
from .kernels import save_kernels, selectivity_by_tower
from .metrics import final_metrics, learned_metrics, scaled_metrics
from .plans import of_another_kind, plans, seeds_of, trained


def run(
    model: ModelConfig,
    train: TrainConfig,
    run_dir: Path,
    *,
    experiment: str = "train",
    arm: str | None = None,
    device: str | None = None,
    keep_classes: bool = False,
    test: bool = True,
    keep: bool = False,
) -> tuple[dict, Path]:
    """Opens the data, trains, evaluates on the test split where there is one, and writes run_dir/record.json with the
    first layer's kernels and what each test image was given (see records.outcomes) beside it.

    The network gets as many outputs as the data has classes, unless keep_classes is set. The initial weights follow
    from train.seed. Under torchrun all processes train and evaluate, and the first one does the rest.

    Args:
        test: False leaves the test split alone, as whatever chooses among settings must.
        keep: the network too, beside the record (see networks.py). The figures are those of the weights as they are kept.

    Returns:
        The record and its path; see records.make. Its metrics: those of evidence.metrics.

    Raises:
        InputError: as open_dataset and fit.
    """
    train = replace(train, precision=settled(train.precision, pick_device(device)))  # the record names what was used
    net, result, sets = train_network(model, train, run_dir, device=device, keep_classes=keep_classes)
    if not test:
        sets["test"] = None
    if keep:
        networks.as_kept(net)
    first, seen = rank_and_world()[0] == 0, {}
    if sets["test"] is not None:  # once: figures, outcomes and probabilities follow from it
        seen["test"] = predict_by_views(net, sets["test"], progress=True, shared=True)
    metrics = final_metrics(net, result, seen, **sets)
    if first:
        metrics |= learned_metrics(net, sets["train"], sets["test"])
    if first and sets["test"] is not None and not net.config.dropout and net.config.hidden:
        metrics |= scaled_metrics(net, sets["test"])
    record = records.make(
        experiment,
        arm or net.config.name,
        model=net.config,
        train=train,
        data={role: records.data_facts(s) for role, s in sets.items() if s is not None},
        result=result,
        metrics=metrics,
        device=next(net.parameters()).device,
    )
    record["colour_selectivity"] = selectivity_by_tower(net)
    path = run_dir / "record.json"
    if first:
        if net.config.conv1.size < net.config.image_size:  # else it is a hidden layer by another name, and as large
            save_kernels(net, records.kernels_path(path))
        if keep:
            record["network"] = networks.save_network(net, train, sets["train"], records.network_path(path))
        if sets["test"] is not None:
            record["outcomes"] = records.outcomes(seen["test"]["ten"], sets["test"].labels)
            records.save_probabilities(seen["test"]["ten"].half(), path)
        path = records.write(record, path)
    return record, path


def train_network(
    model: ModelConfig, train: TrainConfig, run_dir: Path, *, device: str | None = None, keep_classes: bool = False
) -> tuple[AlexNet, Result, dict]:
    """The part of `run` that trains: the network, what fit() returns, and the data sets by role, None where there is none."""
    train = replace(train, data=absolute(train.data))  # whoever evaluates its checkpoint may be in another folder
    sets = open_sets(train, model)
    if not keep_classes:
        model = replace(model, classes=len(sets["train"].classes))
    if sets["test"] is not None:
        check_fits(model, sets["test"])  # rather now than after the training
    net = AlexNet(model, seed=train.seed)
    return net, fit(net, sets["train"], sets["valid"], train, run_dir, device=device), sets


def train_in_processes(model: ModelConfig, train: TrainConfig, run_dir: Path, processes: int) -> None:
    """Trains `model`, as it is, in so many new processes of this machine, one a GPU where there are enough, and shows their
    progress. They leave the run's checkpoints: fit() then finds the run finished. Raises as run_in_processes."""
    backend = "nccl" if torch.cuda.device_count() >= processes else "gloo"
    call = _train_among, model, train, run_dir
    run_in_processes(*call, processes=processes, backend=backend, timeout=1800, restarts=1, follow=True)


def _train_among(group, model: ModelConfig, train: TrainConfig, run_dir: Path) -> None:
    train_network(model, train, run_dir, keep_classes=True)


def open_sets(train: TrainConfig, model: ModelConfig) -> dict:
    """The data sets of a run by role: train, valid (held out) and test, None where there is none; packed for the network."""
    size = model.packed_size
    whole = networks.open_split(train, "train", size)
    compare_sizes(whole, model)
    train_set, valid_set = split_holdout(whole, train)
    if rank_and_world()[0] == 0 and (lost := whole.lost(train_set.labels)):
        what = f"of {len(lost)} classes, such as {lost[0]}, no image is among the {len(train_set)} to train on"
        print(f"note: {what}: raise train.limit", file=sys.stderr)
    test_set = networks.open_split(train, "test", size) if whole.has_split("test") else None
    return {"train": train_set, "valid": valid_set, "test": test_set}


def compare_sizes(dataset, model: ModelConfig) -> None:
    """One line where a network sees a small part of each image, as they were packed for a larger one."""
    if dataset.size > 1.5 * model.packed_size and rank_and_world()[0] == 0:
        hint = f"pack {dataset.name} again with --size {model.packed_size}, or set model.image_size"
        print(f"note: the network sees crops of {model.image_size} pixels of images of {dataset.size}: {hint}", file=sys.stderr)


@dataclass(frozen=True)
class Arm:
    """One side of an experiment: the network and its training, before a seed is chosen."""

    experiment: str
    name: str
    model: ModelConfig
    train: TrainConfig
    seeds: tuple[int, ...]
    test: bool = True
    keep: bool = False


def arms(experiment: str) -> tuple[dict[str, Arm], tuple[int, ...]]:
    """(arms by name, the seeds to measure) of an experiment. Raises InputError for one that does not exist."""
    plan = trained(experiment)
    model, train = preset(plan["preset"])
    model, train = merge(model, plan.get("model", {})), merge(train, plan.get("train", {}))
    named = {}
    for name, changes in plan["arms"].items():
        seeds = tuple(seeds_of(plan, name))
        parts = merge(model, changes.get("model", {})), merge(train, changes.get("train", {}))
        named[name] = Arm(experiment, name, *parts, seeds, not plan.get("selection", False), plan.get("keep", False))
    return named, tuple(plan["seeds"])


def measure(
    experiment: str,
    names: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    data: str = "",
    changes: dict[str, list[dict]] | None = None,
    record: bool = False,
    device: str | None = None,
) -> Iterator[tuple[Arm, int, dict | None]]:
    """Runs the arms of an experiment, seed after seed, and yields (arm, seed, record).

    An arm whose record is in results/ with the same configuration and data is not run again; its record is yielded as
    None.

    Args:
        experiment: its name in experiments.json.
        names, seeds: which arms and seeds; empty takes all arms, and each arm's own seeds.
        data: another data set than the experiment's.
        changes: {"model": [...], "train": [...]}, fields to change in every arm, one dict after the other; not with record.
        record: write the records to results/ too.

    Raises:
        InputError: an experiment or arm that does not exist, a changed one that is to be recorded, a record of the same
            name that was measured in another way, or others of another kind of device.
    """
    named, _ = arms(experiment)
    for name in names:
        one_of(f"arm of {experiment}", name, named)
    changes = changes or {"model": [], "train": []}
    if record and any(changes.values()):
        raise InputError("--record writes what experiments.json says: do without --set, or without --record")
    chosen = [named[name] for name in names or named]
    turns = [(arm, seed) for seed in seeds or sorted({s for arm in chosen for s in arm.seeds}) for arm in chosen]
    for arm, seed in turns:
        if not seeds and seed not in arm.seeds:
            continue
        model = functools.reduce(merge, changes["model"], arm.model)
        train = functools.reduce(merge, changes["train"], replace(arm.train, seed=seed))
        train = replace(train, data=data or train.data)
        if record and is_recorded(arm, model, train):
            yield arm, seed, None
            continue
        if record and (why := of_another_kind(experiment, pick_device(device))):
            raise InputError(f"{why}: choose another --device, or set ALEXNET_RESULTS to a folder of yours")
        run_dir = run_folder(arm, seed, changes)
        done, path = run(model, train, run_dir, experiment=experiment, arm=arm.name, device=device, test=arm.test, keep=arm.keep)
        if record and rank_and_world()[0] == 0:
            records.publish(done, path)
        yield arm, seed, done


def may_record(experiment: str, fit_only: bool) -> None:
    """Raises InputError where a training can have no record in results/: it makes none, or another command measures it."""
    records.results_root()
    if fit_only:
        raise InputError("--fit-only makes no record: leave out --record, or --fit-only")
    if experiment in plans():
        raise InputError(f"{experiment} is planned: python -m alexnet_lib measure {experiment} --record writes its records")


def run_folder(arm: Arm, seed: int, changes: dict[str, list[dict]] | None = None) -> Path:
    """The folder of a run of an experiment; a try with changes has its own, so that it is not in the way of the real one."""
    tried = hashlib.sha256(repr(changes).encode()).hexdigest()[:6] if changes and any(changes.values()) else ""
    return records.runs_root() / arm.experiment / f"{arm.name}-seed{seed}{tried and '-tried-'}{tried}"


def is_recorded(arm: Arm, model: ModelConfig, train: TrainConfig) -> bool:
    """Whether results/ has this arm with this seed; raises InputError where it was run in another way or on other data."""
    path = records.results_root() / arm.experiment / f"{arm.name}-seed{train.seed}.json"
    if not path.exists():
        return False
    old = records.read(path)
    then = ModelConfig.from_dict(old["model"]), TrainConfig.from_dict(old["train"])
    free: dict[str, Any] = {"data": then[1].data} | ({"precision": then[1].precision} if train.precision == "auto" else {})
    if then != (replace(model, classes=then[0].classes), replace(train, **free)):
        raise InputError(f"{path} was measured with another configuration: remove it, or name another seed")
    here = {role: s.checksum for role, s in open_sets(train, model).items() if s is not None and role in old["data"]}
    if here != {role: facts["checksum"] for role, facts in old["data"].items()}:
        raise InputError(
            f"{path} was measured on {old['data']['train']['name']}, on other images: set ALEXNET_RESULTS to a folder of yours"
        )
    return True
