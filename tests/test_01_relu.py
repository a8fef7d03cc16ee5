"""Chapter 1: the learning rates of its experiments follow from the records of their choice, by the rule that is written there."""

from dataclasses import replace

import pytest

from alexnet_lib import ModelConfig, TrainConfig
from alexnet_lib.evidence import experiment, records


@pytest.mark.parametrize("when", ["2012", "today"])
@pytest.mark.parametrize("unit", ["relu", "tanh"])
def test_the_rate_of_an_arm_is_the_best_one_tried_and_lies_between_worse_ones(when, unit):
    arms, seeds = experiment.arms(f"relu_{when}")
    arm = arms[unit]
    tried = [r for r in records.read_experiment("relu_selection") if r["arm"].startswith(f"{when}-{unit}-")]
    errors = {r["train"]["lr"]: r["metrics"]["last_epoch_train_error"] for r in tried}
    assert min(errors, key=errors.get) == arm.train.lr
    assert min(errors) < arm.train.lr < max(errors)
    for record in tried:
        assert record["seed"] not in seeds
        assert list(record["data"]) == ["train"]  # the test images were not opened
        assert ModelConfig.from_dict(record["model"]) == arm.model
        free = {name: record["train"][name] for name in ("seed", "lr", "epochs", "data")}
        assert TrainConfig.from_dict(record["train"]) == replace(arm.train, **free)
