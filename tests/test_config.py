"""Configurations: strict names, types and ranges, presets, settings as text, round trips."""

import functools
import json
import math
from collections import Counter
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import yaml
from helpers import ROOT, TINY, tiny_model, tiny_training, tries
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alexnet_lib import AlexNet, InputError, ModelConfig, TrainConfig, fit
from alexnet_lib.book.parameters import settle
from alexnet_lib.config import PRESETS, merge, overridden, preset, setting_of
from alexnet_lib.evidence import experiment, records
from alexnet_lib.evidence.plans import plans
from alexnet_lib.summary import layer_table
from alexnet_lib.system.strict import check_compiler, file_name, path_of
from alexnet_lib.training import DivergedError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    model, train = preset(name)
    assert ModelConfig.from_dict(json.loads(json.dumps(asdict(model)))) == model == ModelConfig.preset(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(asdict(train)))) == train == TrainConfig.preset(name)


def test_a_name_of_a_network_or_of_a_training_is_a_preset():
    for model, train in PRESETS.values():
        assert ModelConfig.preset(model.name) == model and TrainConfig.preset(train.name) == train
    assert {"quick", "laptop", "paper", "small"} < set(PRESETS)


def test_recorded_configurations_can_be_read():
    found = [json.loads(path.read_text()) for path in (ROOT / "results").glob("*/*.json")]
    found = [record for record in found if "train" in record and "model" in record]
    assert len(found) > 20
    for record in found:
        assert ModelConfig.from_dict(record["model"]) and TrainConfig.from_dict(record["train"])
    for name, plan in plans().items():
        assert "by" in plan or experiment.arms(name)


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
    expected = asdict(PRESETS["paper"][0]) | {"hidden": tuple(hidden), "dropout": dropout}
    expected["norm"] = expected["norm"] | {"alpha": alpha}
    assert asdict(config) == expected | {name: expected[name] | fields for name, fields in convs.items()}


WRONG = [
    (lambda: ModelConfig.preset("papr"), "Did you mean 'paper'"),
    (lambda: TrainConfig.preset("laptpo"), "Did you mean 'laptop'"),
    (lambda: ModelConfig.preset("paper", droput=0.1), "Did you mean 'dropout'"),
    (lambda: ModelConfig.preset("paper", conv1={"kernal": 3}), "conv1"),
    (lambda: ModelConfig.preset("paper", dropout={"rate": 0.1}), "plain value"),
    (lambda: ModelConfig.preset("paper", dropout="half"), "dropout must be float"),
    (lambda: ModelConfig.preset("paper", dropout=1.0), "dropout must be at least 0 and below 1, not 1.0"),
    (lambda: ModelConfig.preset("paper", classes=10.5), "classes must be int"),
    (lambda: ModelConfig.preset("paper", classes=True), "classes must be int"),
    (lambda: ModelConfig.preset("paper", classes=0), "classes must be at least 1 and at most 1,000,000, not 0"),
    (lambda: ModelConfig.preset("paper", norm={"size": 4}), "odd"),
    (lambda: ModelConfig.preset("paper", norm={"kind": "layer"}), "unknown norm.kind"),
    (lambda: ModelConfig.preset("paper", conv1={"kernels": 97}), "does not divide"),
    (lambda: ModelConfig.preset("paper", conv1={"then": ["relu"]}), "unknown conv1.then"),
    (lambda: ModelConfig.preset("paper", hidden=[4097]), "do not divide"),
    (lambda: ModelConfig.preset("paper", conv6={"kernels": 8}), "needs size"),
    (lambda: TrainConfig.preset("paper", schedule="cosine"), "unknown schedule"),
    (lambda: TrainConfig.preset("paper", lr="fast"), "lr must be float"),
    (lambda: TrainConfig.preset("paper", epochs=0), "epochs must be at least 1"),
    (lambda: TrainConfig.preset("paper", weight_decay=-1), "weight_decay must be at least 0"),
    (lambda: TrainConfig.preset("paper", warmup=1), "warmup must be at least 0 and below 1, not 1"),
    (lambda: TrainConfig.preset("paper", momentum=1.0), "below 1"),
    (lambda: TrainConfig.preset("paper", lr=float("nan")), "lr must be a finite number"),
    (lambda: TrainConfig.preset("paper", lr=float("inf")), "lr must be a finite number"),
    (lambda: TrainConfig.preset("paper", lr="0.01"), "lr must be float"),
    (lambda: TrainConfig.preset("paper", bias_lr=-0.1), "bias_lr must be at least 0"),
    (lambda: TrainConfig.preset("paper", limit=0), "limit must be at least 1"),
    (lambda: TrainConfig.preset("paper", holdout_seed=-1), "holdout_seed must be at least 0"),
    (lambda: TrainConfig.preset("paper", mirror=1), "mirror must be bool"),
    (lambda: TrainConfig.preset("paper", lr=None), "lr must be float"),
    (lambda: TrainConfig.preset("paper", lr=[0.1]), "lr must be float"),
    (lambda: ModelConfig.preset("paper", pool={"stride": 0}), "pool.stride must be at least 1"),
    (lambda: ModelConfig.preset("paper", pool=3), "pool must be Pool"),
    (lambda: ModelConfig.preset("paper", conv1={"padding": -1}), "conv1.padding must be at least 0"),
    (lambda: ModelConfig.preset("paper", conv1={"std": -0.1}), "conv1.std must be at least 0"),
    (lambda: ModelConfig.preset("paper", conv1={"then": "pool"}), "conv1.then must be tuple"),
    (lambda: ModelConfig.preset("paper", within_norm={"size": 4}), "within_norm.size must be odd"),
    (lambda: ModelConfig.preset("paper", norm={"k": 0}), "norm.k must be at least 0.001"),
    (lambda: ModelConfig.preset("paper", towers=0), "towers must be at least 1"),
    (lambda: ModelConfig.preset("paper", towers=5), "does not divide among 5"),
    (lambda: ModelConfig.preset("paper", conv1=None), "conv1 must be Conv, not None"),
    (lambda: ModelConfig.preset("paper", activation="identity"), "unknown activation"),
    (lambda: ModelConfig.preset("paper", classes=10**9), "classes must be at least 1 and at most 1,000,000"),
    (lambda: ModelConfig.preset("paper", classes=10**6), "the network is too large: 4.2e+09 weights"),
    (lambda: ModelConfig.preset("small", image_size=4096), "too large"),
    (lambda: ModelConfig.preset("small", conv1={"padding": 4000}), "too large"),
    (lambda: ModelConfig.preset("small", conv1={"size": 30, "padding": 0}), "image_size = 28 is too small"),
    (lambda: ModelConfig.preset("small", pool={"size": 1000}), "image_size = 28 is too small"),
    (lambda: ModelConfig.preset("small", image_size=10**30), "image_size must be at least 1 and at most 4,096, not a number of"),
    (lambda: ModelConfig.preset("small", dropout=10**5000), "dropout must be at least 0 and below 1, not a number of 16610 bits"),
    (lambda: ModelConfig.preset("small", activation=10**5000), "unknown activation a number of 16610 bits."),
    (lambda: ModelConfig.preset("small", conv1={"then": [[10**5000]]}), "a list with a number of thousands of digits"),
    (lambda: ModelConfig.preset("small", **{"x" * 200: 1}), "unknown field of ModelConfig 'xxx"),
    (lambda: TrainConfig.preset("paper", seed=2**64), "seed must be at least 0 and at most 4,294,967,295"),
    (lambda: TrainConfig.preset("paper", lr=1e300), "lr must be at least 1e-38 and at most 1e+38"),
    (lambda: TrainConfig.preset("paper", data=""), "data must name a source or a folder"),
    (lambda: TrainConfig.preset("paper", data="a\0b"), "data must name a source or a folder"),
    (lambda: TrainConfig.preset("paper", data="folder:~nobody-here/x"), "no such home folder"),
    (lambda: ModelConfig.from_dict({"name": "x"}), "needs image_size"),
]


@pytest.mark.parametrize("build, words", WRONG)
def test_what_is_wrong_gets_one_line(build, words):
    with pytest.raises(InputError) as caught:
        build()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(min_size=1, max_size=12))
def test_unknown_names_never_pass(name):
    if name not in asdict(PRESETS["paper"][1]):
        with pytest.raises(InputError):
            merge(PRESETS["paper"][1], {name: 1})


@pytest.mark.parametrize(
    "text, value",
    [
        ("010", 10), ("0x10", 16), ("1:30", "1:30"), ("on", "on"), ("yes", "yes"), ("no", "no"), ("1e-3", 0.001), ("null", None),
        ("~", None), ("true", True), ("[48, on]", [48, "on"]), ("{kernels: 010}", {"kernels": 10}), ("'48'", "48"),
    ],
)  # fmt: skip
def test_a_value_means_what_it_means_in_yaml_1_2(text, value):
    which, change = setting_of(f"train.a.b={text}")
    assert which == "train" and change == {"a": {"b": value}} and type(change["a"]["b"]) is type(value)


@pytest.mark.parametrize(
    "text", ["", "  ", "[1", "a: b: c", "@", "!!python/object:os.system x", "[" * 5000, "9" * 5000, "!!float x"]
)
def test_what_is_no_value_gets_one_line(text):
    with pytest.raises(InputError, match=r"train\.limit"):
        setting_of(f"train.limit={text}")


def test_settings_are_applied_in_their_order():
    model, train = overridden(*preset("small"), ["model.conv1.kernels=48", "train.lr=1", "model.conv4=null", "train.lr=2"])
    assert (model.conv1.kernels, model.conv4, train.lr) == (48, None, 2.0)
    for wrong in ("dropout=1", "model.=1", "model.dropout", "=", "test.a=1"):
        with pytest.raises(InputError, match="--set wants"):
            overridden(model, train, [wrong])


def ends(config, path: str = ""):
    """(path, value) for both ends of the range of every fraction in a configuration."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        if is_dataclass(getattr(config, name)):
            yield from ends(getattr(config, name), f"{path}{name}.")
        for option in (hint, *get_args(hint)):
            if get_origin(option) is Annotated and option.__origin__ is float:
                bounds = option.__metadata__[0]
                yield from ((f"{path}{name}", end) for end in (bounds.low, 0.999 if bounds.below else bounds.high))


ENDS = [f"model.{path}={end}" for path, end in ends(tiny_model())] + [
    f"train.{path}={end}" for path, end in ends(tiny_training())
]


@pytest.mark.parametrize("setting", ENDS)
def test_at_both_ends_of_every_range_the_loss_is_a_number(photos10, tmp_path, setting):
    model, train = overridden(tiny_model(), tiny_training(epochs=1), [setting])
    try:
        result = fit(AlexNet(model, seed=0), photos10[0].subset([0, 700, 1400, 2100]), None, train, tmp_path, progress=False)
    except DivergedError:
        assert setting in ("train.lr=1e+38", "train.bias_lr=1e+38", "train.bias_lr_conv12=1e+38")
    else:
        assert len(result.first_losses) == 1 and math.isfinite(result.first_losses[0])


def field_paths(config, path: str):
    """The path of every field, groups of fields included."""
    for field in fields(config):
        yield f"{path}.{field.name}"
        if is_dataclass(value := getattr(config, field.name)):
            yield from field_paths(value, f"{path}.{field.name}")


PATHS = [
    *field_paths(tiny_model(), "model"),
    *field_paths(tiny_training(), "train"),
    "model.conv6",
    "train.epoch",
    "model.conv1.x",
]
SANE = st.sampled_from(
    [0, 1, 2, 3, 4, 5, 8, 12, 16, 0.0, 0.1, 0.5, 1.0, True, False, None, 1e-3, "pool", "relu", "he", "sum", [8], []]
)
ABSURD = st.sampled_from(
    [
        -1,
        -0.1,
        10**4,
        10**6,
        10**9,
        2**64,
        10**5000,
        1e30,
        1e300,
        5e-324,
        math.nan,
        math.inf,
        "",
        "x",
        "1e3",
        "\x00",
        "a\nb",
        "é" * 200,
        {},
        {"size": 3},
        {"x": 1},
        [None],
        [-1],
        [10**9],
        ["pool"] * 9,
        [[1]],
        [8] * 50,
        (),
        b"x",
        1j,
        object(),
        {1},
    ]
)
NAMES = [
    "relu",
    "tanh",
    "sum",
    "average",
    "none",
    "he",
    "normal",
    "torch",
    "inputs",
    "outputs",
    "test",
    "train",
    "plateau",
    "one_cycle",
]
NAMES += ["run_2012", "eigenvalue", "deviation", "float32", "bfloat16", "constant"]


def values(path: str) -> st.SearchStrategy:
    """(path, value): half of the values are of the field's type."""
    which, *names = path.split(".")
    now = functools.reduce(
        lambda part, name: getattr(part, name, None), names, {"model": tiny_model(), "train": tiny_training()}[which]
    )
    kinds = {bool: st.booleans(), int: st.integers(0, 40), float: st.floats(0, 2), str: st.sampled_from(NAMES)}
    kinds[tuple] = st.lists(st.sampled_from(["activation", "norm", "pool"] if "then" in names else [8, 12, 16]), max_size=4)
    fitting = kinds.get(type(now), SANE)
    return st.tuples(st.just(path), st.one_of(fitting, fitting, fitting, SANE, ABSURD))


@tries(200, 2000)
def test_any_configuration_is_refused_in_one_line_or_takes_a_step(photos10, tmp_path_factory, tries, counted):
    """By the command line, by papermill and from Python."""
    outcomes, one = Counter(), photos10[0].subset([0, 700, 1400, 2100])

    @settings(max_examples=tries, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.lists(st.sampled_from(PATHS).flatmap(values), min_size=1, max_size=2),
        st.sampled_from(["python", "command line", "papermill"]),
    )
    @example([("model.conv4.then", ["activation", "activation"])], "python")
    def judge(changes, route):
        outcomes[outcome(changes, route, one, tmp_path_factory)] += 1

    judge()
    print(f"configurations: {outcomes.total()} tried,", ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items())))
    assert outcomes["refused"] > tries / 5 and outcomes["a step"] > tries / 20
    counted("a random configuration", "refused in one line, or it takes a step", outcomes.total(), outcomes.total())


def outcome(changes, route, images, tmp_path_factory) -> str:
    model, train = tiny_model(), tiny_training(epochs=1)
    try:
        if route == "command line":
            model, train = overridden(model, train, [f"{path}={as_text(value)}" for path, value in changes])
        for path, value in changes if route != "command line" else ():
            change = functools.reduce(lambda part, name: {name: part}, reversed(path.split(".")), value)
            if route == "papermill":
                given = settle(NOTEBOOK | {"model": TINY | change.get("model", {}), "train": change.get("train", {})}, "x")
                model, train = given.model, given.train
            elif "model" in change:
                model = merge(model, change["model"])
            else:
                train = merge(train, change["train"])
        if sum(row.parameters + row.neurons for row in layer_table(model)) > 2 * 10**5:
            return "shapes only, since it is large"
        train = replace(train, epochs=1, compile=False, tensorboard=False)
        fit(AlexNet(model, seed=0), images, None, train, tmp_path_factory.mktemp("run"), device="cpu", progress=False)
    except InputError as error:
        assert "\n" not in str(error) and str(error)
        return "diverged" if isinstance(error, DivergedError) else "refused"
    return "a step"


NOTEBOOK = {"profile": "quick", "seed": 0, "data": "", "run_dir": "", "record": False, "devices": 1}


def as_text(value) -> str:
    """A value as one would type it after --set."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(type(value))


def test_names_that_are_part_of_a_path():
    for name in ("laptop", "k1", "0.05", "a-b_c+d=e"):
        assert file_name("--arm", name) == name
    for name in ("../x", "a/b", "", ".", ".hidden", "-x", "a\\b", "a\nb", "a" * 101, "a:b", "a*", "a\0"):
        with pytest.raises(InputError, match="--arm names files"):
            file_name("--arm", name)


def test_compile_needs_a_compiler(monkeypatch, photos10, tmp_path):
    check_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler"):
        fit(AlexNet(tiny_model()), photos10[0], None, tiny_training(compile=True), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_folder_of_a_run_says_which_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_RUNS", "~/runs")
    monkeypatch.setenv("HOME", str(tmp_path))
    train = TrainConfig.preset("quick", seed=2)
    assert records.run_dir("x", "quick", train, "photos10") == tmp_path / "runs" / "x" / "quick-seed2"
    found = {
        records.run_dir("x", "quick", replace(train, data=data), "photos10") for data in ("cifar10", "folder:a/t", "folder:b/t")
    }
    assert len(found) == 3 and tmp_path / "runs" / "x" / "quick-cifar10-seed2" in found
    assert all(path.name.startswith(("quick-cifar10-", "quick-t-")) and path.parent.name == "x" for path in found)
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert " " not in records.run_dir("x", "quick", replace(train, data="a b"), "photos10").name
    with pytest.raises(InputError, match="no such home folder"):
        path_of("~nobody-here/x")
    assert path_of("~/x") == Path(tmp_path, "x")


def test_images_are_packed_for_the_network():
    assert [ModelConfig.preset(name).packed_size for name in ("paper", "small", "four_layer")] == [256, 32, 37]
