"""One run from data to record: what the command line, the experiments and the grids of claims all do."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from . import introspection, records
from .config import ModelConfig, TrainConfig
from .evaluation import evaluate
from .model import AlexNet
from .packed import open_dataset
from .training import Result, fit, split_holdout


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
    """Opens the data, trains, evaluates on the test split where there is one, and writes run_dir/record.json.

    The network gets as many outputs as the data has classes, unless keep_classes is set. The initial weights follow
    from train.seed.

    Returns:
        The record and its path; see records.make. Its metrics: test_top1_error and test_top5_error (ten views) and
        test_centre_top1_error, in percent; valid_... likewise where images are held out; chance_error.

    Raises:
        InputError: as open_dataset and fit.
    """
    whole = open_dataset(train.data, "train")
    if not keep_classes:
        model = replace(model, classes=len(whole.classes))
    train_set, valid_set = split_holdout(whole, train)
    test_set = open_dataset(train.data, "test") if whole.has_split("test") else None
    net = AlexNet(model, seed=train.seed)
    result = fit(net, train_set, valid_set, train, run_dir, device=device)
    sets = {"train": train_set, "valid": valid_set, "test": test_set}
    seen = {
        role: s for role, s in sets.items() if role != "train" or train.limit is not None
    }  # a small set may be learned by heart
    record = records.make(
        experiment,
        arm or model.name,
        model=model,
        train=train,
        data={role: records.data_facts(s) for role, s in sets.items() if s is not None},
        result=result,
        metrics=final_metrics(net, result, **seen) | learned_metrics(net, train_set, test_set),
    )
    return record, records.write(record, run_dir / "record.json")


def final_metrics(net: AlexNet, result: Result, **sets) -> dict[str, float]:
    """Errors in percent, ten views and centre, on every given set that is not None, and those of the last epoch of
    training, which are measured while dropout and crops are on."""
    metrics = {"chance_error": 100 * (1 - 1 / net.config.classes)}
    if result.curve:
        metrics |= {f"last_epoch_{key}": result.curve[-1][key] for key in ("train_loss", "train_error")}
    for role, dataset in sets.items():
        if dataset is not None:
            ten, centre = evaluate(net, dataset, "ten", progress=True), evaluate(net, dataset, "centre")
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
        means = [part.mean().item() for part in introspection.colour_selectivity(introspection.kernels(net)).chunk(2)]
        metrics |= {"tower_selectivity_gap": abs(means[0] - means[1])}
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
