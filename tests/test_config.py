"""Configurations: strict names and types, presets, round trips."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_lib import InputError, ModelConfig, TrainConfig
from alexnet_lib.config import merge
from alexnet_lib.presets import MODELS, PROFILES, TRAINING, profile


@pytest.mark.parametrize("name", MODELS)
def test_model_presets_survive_json(name):
    import json

    config = ModelConfig.preset(name)
    assert config.name == name
    assert ModelConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("name", TRAINING)
def test_training_presets_survive_json(name):
    assert TrainConfig.from_dict(asdict(TrainConfig.preset(name))) == TRAINING[name]


def test_profiles_exist():
    for name in PROFILES:
        model, train = profile(name)
        assert model.name in MODELS and train.name in TRAINING


def test_nested_overrides_leave_the_rest():
    config = ModelConfig.preset("paper", conv1={"kernels": 48, "then": ["activation"]}, norm={"alpha": 1}, dropout=0)
    assert (config.conv1.kernels, config.conv1.size, config.conv1.then) == (48, 11, ("activation",))
    assert config.norm.alpha == 1.0 and config.norm.k == 2.0 and config.dropout == 0.0
    assert [name for name, _ in ModelConfig.preset("paper", conv3=None).convs] == ["conv1", "conv2", "conv4", "conv5"]
    six = ModelConfig.preset("paper", conv6={"kernels": 256, "size": 3, "padding": 1})
    assert six.convs[-1][0] == "conv6"


WRONG = [
    (lambda: ModelConfig.preset("papr"), "Did you mean 'paper'"),
    (lambda: TrainConfig.preset("laptpo"), "Did you mean 'laptop'"),
    (lambda: ModelConfig.preset("paper", droput=0.1), "Did you mean 'dropout'"),
    (lambda: ModelConfig.preset("paper", conv1={"kernal": 3}), "conv1"),
    (lambda: ModelConfig.preset("paper", dropout={"rate": 0.1}), "plain value"),
    (lambda: ModelConfig.preset("paper", dropout="half"), "dropout must be float"),
    (lambda: ModelConfig.preset("paper", dropout=1.0), "share of units"),
    (lambda: ModelConfig.preset("paper", classes=10.5), "classes must be int"),
    (lambda: ModelConfig.preset("paper", classes=True), "classes must be int"),
    (lambda: ModelConfig.preset("paper", classes=0), "above 0"),
    (lambda: ModelConfig.preset("paper", norm={"size": 4}), "odd"),
    (lambda: ModelConfig.preset("paper", norm={"kind": "batch"}), "unknown norm.kind"),
    (lambda: ModelConfig.preset("paper", conv1={"kernels": 97}), "does not divide"),
    (lambda: ModelConfig.preset("paper", conv1={"then": ["relu"]}), "unknown conv1.then"),
    (lambda: ModelConfig.preset("paper", hidden=[4097]), "do not divide"),
    (lambda: ModelConfig.preset("paper", conv6={"kernels": 8}), "needs size"),
    (lambda: TrainConfig.preset("paper", schedule="cosine"), "unknown schedule"),
    (lambda: TrainConfig.preset("paper", lr="fast"), "lr must be float"),
    (lambda: TrainConfig.preset("paper", epochs=0), "above 0"),
    (lambda: TrainConfig.preset("paper", weight_decay=-1), "negative"),
    (lambda: TrainConfig.preset("paper", warmup=1), "below 1"),
]


@pytest.mark.parametrize("build, words", WRONG)
def test_what_is_wrong_gets_one_line(build, words):
    with pytest.raises(InputError) as caught:
        build()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(min_size=1, max_size=12))
def test_unknown_names_never_pass(name):
    if name not in asdict(TRAINING["paper"]):
        with pytest.raises(InputError):
            merge(TRAINING["paper"], {name: 1})
