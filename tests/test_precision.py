"""Which precision a device computes in, and what the library says where another would be faster."""

from dataclasses import asdict, replace

import pytest
import torch
from helpers import tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, TrainConfig
from alexnet_lib.evidence import experiment, records
from alexnet_lib.system import precision
from alexnet_lib.training import Trainer


@pytest.mark.parametrize("has, expected", [(True, "bfloat16"), (False, "float32")])
def test_auto_is_what_the_device_has(monkeypatch, has, expected):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    assert precision.settled("auto", "cpu") == expected
    assert precision.settled("float32", "cpu") == "float32" and precision.settled("bfloat16", "cpu") == "bfloat16"
    assert precision.hint("auto", "cpu") is None


def test_the_slower_choice_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert "ten times slower" in precision.hint("bfloat16", "cpu") and precision.hint("float32", "cpu") is None
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert "half the time" in precision.hint("float32", "cpu") and precision.hint("bfloat16", "cpu") is None
    assert precision.hint("float32", "cuda") is None


def test_this_processor_answers():
    assert precision.has_bfloat16("cpu") in (True, False)
    if torch.cpu._is_amx_tile_supported():
        assert precision.has_bfloat16("cpu")


def test_the_laptop_asks_for_what_there_is():
    assert TrainConfig.preset("laptop").precision == "auto"


def test_a_run_names_what_it_used(photos10, tmp_path):
    config = tiny_training(precision="auto", schedule="constant")
    trainer = Trainer(AlexNet(tiny_model(), seed=0), photos10[0], None, config, tmp_path, "cpu", False)
    assert trainer.config.precision == precision.settled("auto", "cpu")


@pytest.mark.parametrize("used", ["float32", "bfloat16"])
def test_what_was_recorded_in_another_precision_counts(monkeypatch, tmp_path, used):
    """An arm that takes what there is was measured on one machine in bfloat16, on the other in float32."""
    arm = experiment.arms("small_cifar10")[0]["laptop"]
    train = replace(arm.train, seed=0)
    record = {"experiment": "small_cifar10", "arm": "laptop", "seed": 0, "metrics": {}, "data": {}}
    record |= {"model": asdict(arm.model), "train": asdict(train) | {"precision": used}}
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    monkeypatch.setattr(experiment, "open_sets", lambda *_: {})
    records.write(record, records.results_path(record))
    assert train.precision == "auto" and experiment.is_recorded(arm, arm.model, train)
    other = replace(train, precision={"float32": "bfloat16", "bfloat16": "float32"}[used])
    with pytest.raises(InputError, match="another configuration"):
        experiment.is_recorded(arm, arm.model, other)
