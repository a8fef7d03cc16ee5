"""Configurations: strict names and types, presets, round trips."""

import json
from dataclasses import asdict

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alexnet_lib import InputError, ModelConfig, TrainConfig
from alexnet_lib.config import merge
from alexnet_lib.presets import MODELS, PROFILES, TRAINING, profile


@pytest.mark.parametrize("name", MODELS)
def test_model_presets_survive_json(name):
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


def test_values_as_yaml_and_json_give_them():
    given = yaml.safe_load("{lr: 1e-3, weight_decay: 5E-4, bias_lr: 2e-2, momentum: 0, colour_sigma: 1}")
    config = TrainConfig.preset("paper", **given)
    assert (config.lr, config.weight_decay, config.bias_lr, config.momentum, config.colour_sigma) == (
        1e-3,
        5e-4,
        0.02,
        0.0,
        1.0,
    )
    assert all(type(getattr(config, name)) is float for name in given)
    model = ModelConfig.preset("small", **yaml.safe_load("{hidden: [], conv4: null, norm: {alpha: 1e-2}, name: mine}"))
    assert (model.hidden, model.conv4, model.norm.alpha, model.name) == ((), None, 0.01, "mine")


BLOCKS = st.dictionaries(st.sampled_from(["kernels", "size", "padding"]), st.sampled_from([2, 4, 6]))


@given(
    convs=st.dictionaries(st.sampled_from(["conv1", "conv2", "conv3"]), BLOCKS),
    hidden=st.lists(st.sampled_from([2, 64, 4096]), max_size=3),
    dropout=st.floats(0, 0.99),
    alpha=st.floats(0, 1),
)
def test_what_is_overridden_survives_json_and_the_rest_stays(convs, hidden, dropout, alpha):
    config = ModelConfig.preset("paper", **convs, hidden=hidden, dropout=dropout, norm={"alpha": alpha})
    assert ModelConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config
    expected = asdict(MODELS["paper"]) | {"hidden": tuple(hidden), "dropout": dropout}
    expected["norm"] = expected["norm"] | {"alpha": alpha}
    assert asdict(config) == expected | {name: expected[name] | fields for name, fields in convs.items()}


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
    (lambda: TrainConfig.preset("paper", momentum=1.0), "below 1"),
    (lambda: TrainConfig.preset("paper", lr=float("nan")), "lr must be a finite number"),
    (lambda: TrainConfig.preset("paper", lr=float("inf")), "lr must be a finite number"),
    (lambda: TrainConfig.preset("paper", lr="0.01"), "lr must be float"),
    (lambda: TrainConfig.preset("paper", bias_lr=-0.1), "bias_lr must not be negative"),
    (lambda: TrainConfig.preset("paper", limit=0), "limit must be above 0"),
    (lambda: TrainConfig.preset("paper", holdout_seed=-1), "negative"),
    (lambda: TrainConfig.preset("paper", mirror=1), "mirror must be bool"),
    (lambda: TrainConfig.preset("paper", lr=None), "lr must be float"),
    (lambda: TrainConfig.preset("paper", lr=[0.1]), "lr must be float"),
    (lambda: ModelConfig.preset("paper", pool={"stride": 0}), "pool.stride must be above 0"),
    (lambda: ModelConfig.preset("paper", pool=3), "pool must be Pool"),
    (lambda: ModelConfig.preset("paper", conv1={"padding": -1}), "conv1.padding must not be negative"),
    (lambda: ModelConfig.preset("paper", conv1={"std": -0.1}), "conv1.std must not be negative"),
    (lambda: ModelConfig.preset("paper", conv1={"then": "pool"}), "then must be tuple"),
    (lambda: ModelConfig.preset("paper", within_norm={"size": 4}), "within_norm.size must be odd"),
    (lambda: ModelConfig.preset("paper", norm={"k": 0}), "norm.k must be above 0"),
    (lambda: ModelConfig.preset("paper", towers=0), "towers must be above 0"),
    (lambda: ModelConfig.preset("paper", towers=5), "does not divide among 5"),
    (lambda: ModelConfig.preset("paper", **{f"conv{i}": None for i in range(1, 6)}), "at least one"),
    (lambda: ModelConfig.from_dict({"name": "x"}), "needs image_size"),
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
