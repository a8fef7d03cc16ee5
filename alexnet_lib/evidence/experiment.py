"""One run from data to record, and the experiments of experiments.json: named arms, each a change of a preset."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import introspection, presets
from ..batches import split_holdout
from ..config import InputError, ModelConfig, TrainConfig
from ..data.dataset import open_dataset
from ..evaluation import evaluate
from ..model import AlexNet
from ..system.processes import place
from ..system.strict import merge, one_of
from ..training import Result, fit
from . import records

EXPERIMENTS = Path(__file__).with_name("experiments.json")


def run(
    model: ModelConfig,
    train: TrainConfig,
    run_dir: Path,
    *,
    experiment: str = "train",
    arm: str | None = None,
    device: str | None = None,
    keep_classes: bool = False,
) -> tuple[dict, Path]:
    """Opens the data, trains, evaluates on the test split where there is one, and writes run_dir/record.json with the
    first layer's kernels beside it.

    The network gets as many outputs as the data has classes, unless keep_classes is set. The initial weights follow
    from train.seed. Under torchrun all processes train and evaluate, and the first one does the rest.

    Returns:
        The record and its path; see records.make. Its metrics: test_top1_error and test_top5_error (ten views) and
        test_centre_top1_error, in percent; valid_... likewise where images are held out; chance_error.

    Raises:
        InputError: as open_dataset and fit.
    """
    net, result, sets = train_network(model, train, run_dir, device=device, keep_classes=keep_classes)
    seen = {
        role: s for role, s in sets.items() if role != "train" or train.limit is not None
    }  # a small set may be learned by heart
    metrics = final_metrics(net, result, **seen)
    first = place()[0] == 0
    record = records.make(
        experiment,
        arm or net.config.name,
        model=net.config,
        train=train,
        data={role: records.data_facts(s) for role, s in sets.items() if s is not None},
        result=result,
        metrics=metrics | (learned_metrics(net, sets["train"], sets["test"]) if first else {}),
    )
    record["colour_selectivity"] = introspection.selectivity_by_tower(net)
    path = run_dir / "record.json"
    if first:
        records.write(record, path)
        introspection.save_kernels(net, records.kernels_path(path))
    return record, path


def train_network(
    model: ModelConfig, train: TrainConfig, run_dir: Path, *, device: str | None = None, keep_classes: bool = False
) -> tuple[AlexNet, Result, dict]:
    """The part of `run` that trains: the network, what fit() returns, and the data sets by role, None where there is none."""
    whole = open_dataset(train.data, "train")
    if not keep_classes:
        model = replace(model, classes=len(whole.classes))
    train_set, valid_set = split_holdout(whole, train)
    test_set = open_dataset(train.data, "test") if whole.has_split("test") else None
    net = AlexNet(model, seed=train.seed)
    result = fit(net, train_set, valid_set, train, run_dir, device=device)
    return net, result, {"train": train_set, "valid": valid_set, "test": test_set}


def final_metrics(net: AlexNet, result: Result, **sets) -> dict[str, float]:
    """Errors in percent, ten views and centre, on every given set that is not None, and those of the last epoch of
    training, which are measured while dropout and crops are on."""
    metrics = {"chance_error": 100 * (1 - 1 / net.config.classes)}
    if result.curve:
        metrics |= {f"last_epoch_{key}": result.curve[-1][key] for key in ("train_loss", "train_error")}
    for role, dataset in sets.items():
        if dataset is not None:
            ten, centre = (evaluate(net, dataset, views, progress=views == "ten", shared=True) for views in ("ten", "centre"))
            metrics |= {
                f"{role}_top1_error": ten["top1_error"],
                f"{role}_top5_error": ten["top5_error"],
                f"{role}_loss": ten["loss"],
            }
            metrics |= {f"{role}_centre_top1_error": centre["top1_error"], f"{role}_centre_top5_error": centre["top5_error"]}
    return metrics


def learned_metrics(net: AlexNet, train_set, test_set) -> dict[str, float]:
    """What section 6.1 speaks of: how far the towers' colour selectivity parts, and what neighbours have in common.

    `neighbours_features` and `neighbours_pixels`: share in percent of the five nearest of up to 10,000 training images
    that have the class of a test image, over up to 1,000 test images; `neighbours_gain` is their difference.
    """
    metrics = {}
    if net.config.towers == 2:
        first, second = (part.mean() for part in introspection.colour_selectivity(introspection.kernels(net)).chunk(2))
        metrics |= {"tower_selectivity_gap": abs(first - second).item()}
    if test_set is not None:
        some, few = (s.subset(spread(len(s), most)) for s, most in ((train_set, 10_000), (test_set, 1_000)))
        for name, features in (
            ("features", lambda s: introspection.hidden_features(net, s)),
            ("pixels", introspection.pixel_features),
        ):
            places = introspection.nearest(features(some), features(few))
            metrics[f"neighbours_{name}"] = introspection.same_class_share(places, some.labels, few.labels)
        metrics["neighbours_gain"] = metrics["neighbours_features"] - metrics["neighbours_pixels"]
    return metrics


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` places, evenly spaced."""
    return np.arange(0, count, max(1, -(-count // most)))


@dataclass(frozen=True)
class Arm:
    """One side of an experiment: the network and its training, before a seed is chosen."""

    experiment: str
    name: str
    model: ModelConfig
    train: TrainConfig


def arms(experiment: str) -> tuple[dict[str, Arm], tuple[int, ...]]:
    """(arms by name, the seeds to measure) of an experiment in experiments.json.

    An experiment names a preset of the command line and its seeds; `model` and `train` hold fields that all arms change,
    each arm the fields that it alone changes.

    Raises InputError for an experiment that does not exist.
    """
    plans = json.loads(EXPERIMENTS.read_text())
    one_of("experiment", experiment, plans)
    plan = plans[experiment]
    model, train = presets.profile(plan["preset"])
    model, train = merge(model, plan.get("model", {})), merge(train, plan.get("train", {}))
    found = {
        name: Arm(experiment, name, merge(model, changes.get("model", {})), merge(train, changes.get("train", {})))
        for name, changes in plan["arms"].items()
    }
    return found, tuple(plan["seeds"])


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

    An arm whose record is in results/ with the same configuration is not run again; its record is yielded as None.

    Args:
        experiment: its name in experiments.json.
        names, seeds: which arms and seeds; empty takes all.
        data: another data set than the experiment's.
        changes: {"model": [...], "train": [...]}, fields to change in every arm, one dict after the other; not with record.
        record: write the records to results/ too.

    Raises:
        InputError: an experiment or arm that does not exist, or a changed one that is to be recorded.
    """
    found, planned = arms(experiment)
    for name in names:
        one_of(f"arm of {experiment}", name, found)
    changes = changes or {"model": [], "train": []}
    if record and any(changes.values()):
        raise InputError("--record writes what experiments.json says: do without --set, or without --record")
    for seed in seeds or planned:
        for arm in [found[name] for name in names or found]:
            model = functools.reduce(merge, changes["model"], arm.model)
            train = functools.reduce(merge, changes["train"], replace(arm.train, seed=seed))
            if record and _is_recorded(arm, model, train):
                yield arm, seed, None
                continue
            run_dir = records.runs_root() / experiment / f"{arm.name}-seed{seed}"
            train = replace(train, data=data or train.data)
            done, path = run(model, train, run_dir, experiment=experiment, arm=arm.name, device=device)
            if record and place()[0] == 0:
                records.publish(done, path)
            yield arm, seed, done


def _is_recorded(arm: Arm, model: ModelConfig, train: TrainConfig) -> bool:
    """Whether results/ has this arm with this seed; raises InputError where it was run in another way."""
    path = records.RESULTS / arm.experiment / f"{arm.name}-seed{train.seed}.json"
    if not path.exists():
        return False
    old = records.read(path)
    then = [ModelConfig.from_dict(old["model"]), TrainConfig.from_dict(old["train"])]
    now = [replace(model, classes=then[0].classes), replace(train, data=then[1].data)]
    if then != now:
        raise InputError(f"{path} was measured with another configuration: remove it, or name another seed")
    return True
