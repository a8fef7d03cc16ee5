"""The parameters of a notebook: what fits, what does not, a live session, papermill's nested values."""

import ast
from dataclasses import fields

import nbformat
import numpy as np
import pytest
from helpers import ROOT

from alexnet_lib import InputError, ModelConfig, TrainConfig
from alexnet_lib.book.parameters import KNOWN, check, settle

DEFAULTS = {"profile": "quick", "seed": 0, "data": "", "run_dir": "", "record": False, "devices": 1, "model": {}, "train": {}}


def test_every_training_field_can_be_nested(tmp_path):
    found = settle(DEFAULTS | {"data": "cifar10", "train": {"seed": 3, "data": "imagenette"}}, "x")
    assert found.train.seed == 3 and found.train.data == "imagenette"
    assert found.run_dir.name == "quick-imagenette-seed3"
    assert settle(DEFAULTS | {"data": "photos10"}, "x").run_dir.name == "quick-seed0"
    with pytest.raises(InputError, match="seed must be int"):
        settle(DEFAULTS | {"train": {"seed": "3"}}, "x")


@pytest.mark.parametrize("config, where", [(TrainConfig, "train"), (ModelConfig, "model")])
def test_every_field_can_be_set_by_its_name(config, where):
    base = getattr(settle(DEFAULTS, "x"), where)
    for name in {field.name for field in fields(config)} - {*KNOWN, "name"}:  # both have a name
        value = getattr(base, name)
        assert settle(DEFAULTS | {name: value}, "x").changed[where] == {name: value}


def test_imports_are_no_parameters():
    settle(DEFAULTS | {"np": np, "ModelConfig": ModelConfig}, "x")


PARAMETERS_CELL = "\n".join(f"{name} = {value!r}" for name, value in DEFAULTS.items())


def cells(*sources: str) -> dict:
    """The namespace of a kernel that ran these cells, with what IPython keeps of them."""
    space = {"epoch": 1, "lr": 99, "np": np}  # a startup file's
    for source in sources:
        exec(source, space)
    return space | {"In": ["", *sources, "settings = settle(globals(), 'x')", "%%bash\nls"]}


def test_names_from_before_the_parameters_cell_are_ignored():
    assert settle(cells(PARAMETERS_CELL), "x").train.lr == 0.01
    assert settle(cells("sed = 1\nlr = 3", PARAMETERS_CELL, "momentum = 0.5"), "x").changed["train"] == {"momentum": 0.5}
    assert settle(cells(PARAMETERS_CELL, "lr = 0.5"), "x").train.lr == 0.5
    assert settle(cells(PARAMETERS_CELL, "profile = 'laptop'", PARAMETERS_CELL), "x").profile == "quick"


@pytest.mark.parametrize("source", ["epoch = 3", "lr: float = 1; sed = 2", "for dropot in [1]: pass"])
def test_a_mistyped_name_after_it_is_refused(source):
    with pytest.raises(InputError, match="unknown parameter"):
        settle(cells(PARAMETERS_CELL, source), "x")


def test_a_chapter_ignores_them_too():
    known = {"profile": str, "seed": int}
    space = {"epoch": 1, "seed": 0, "profile": "quick", "In": ["", "sed = 1", "profile = 'quick'\nseed = 0", "begin()"]}
    assert check(space, known, type(None)) == {"seed": 0, "profile": "quick"}
    with pytest.raises(InputError, match=r"unknown parameter 'sed'\. Did you mean 'seed'"):
        check(space | {"sed": 1, "In": [*space["In"][:3], "sed = 1", "begin()"]}, known, type(None))


def test_a_live_session_can_run_the_cell_again():
    session = dict(DEFAULTS)
    session["settings"] = settle(session, "x")
    session |= {"net": object(), "seed": 2, "lr": 0.5}
    again = settle(session, "x")
    assert again.train.seed == 2 and again.train.lr == 0.5
    with pytest.raises(InputError, match="seed must be int"):
        settle(session | {"seed": "2"}, "x")


def test_no_name_of_the_notebook_is_taken_for_a_field():
    """Else running the cell again would read a result as a setting."""
    cells = nbformat.read(ROOT / "notebooks" / "14_reproduction.ipynb", 4).cells
    stored = {
        node.id
        for cell in cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert set(KNOWN) <= stored
    assert not (stored - set(KNOWN)) & {f.name for c in (ModelConfig, TrainConfig) for f in fields(c)}


def test_parameters_are_settled(tmp_path):
    shell = {"In": [], "Out": {}, "exit": 1, "_dh": [], "get_ipython": len, "open": open}
    found = settle(shell | DEFAULTS | {"lr": 0.5, "dropout": 0.1, "seed": 4, "model": {"conv1": {"kernels": 16}}}, "x")
    assert found.train.lr == 0.5 and found.train.seed == 4 and found.model.dropout == 0.1 and found.model.conv1.kernels == 16
    assert found.run_dir.parts[-2:] == ("x", "quick-seed4")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"epoch": 3}, "unknown parameter 'epoch'. Did you mean 'epochs'"),
        ({"seed": "1"}, "seed must be int"),
        ({"seed": True}, "seed must be int"),
        ({"profile": "labtop"}, "Did you mean 'laptop'"),
        ({"model": {"droput": 1}}, "Did you mean 'dropout'"),
        ({"train": {"lr": "x"}}, "lr must be float"),
        ({"epochs": 1.5}, "epochs must be int"),
        ({"devices": 0}, "devices must be 1 or more"),
        ({"devices": True}, "devices must be int"),
        ({"devices": 10**6}, "devices must be 1 or more, and at most the 32 images of a batch"),
    ],
)
def test_a_parameter_that_does_not_fit(change, words):
    with pytest.raises(InputError, match=words):
        settle(DEFAULTS | change, "x")
    with pytest.raises(InputError, match="no longer defines record"):
        settle({k: v for k, v in DEFAULTS.items() if k != "record"}, "x")
