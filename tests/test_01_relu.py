"""Chapter 1: the learning rates of its experiments follow from the records of their choice, by the rule that is written there,
and its figure 1 is drawn from whatever records there are."""

import ast
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from helpers import ROOT
from matplotlib import pyplot as plt

from alexnet_lib import ModelConfig, TrainConfig
from alexnet_lib.book import figures
from alexnet_lib.evidence import experiment, records

CODE = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / "01_relu.ipynb", 4).cells if cell.cell_type == "code"}


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


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of published records, empty."""
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    return tmp_path


def figure_1():
    """The chapter's figure 1 and its epochs to 25 %, from the records that there are: (figure, lines that are printed)."""
    names = {"records": records, "plt": plt, "np": np, "figures": figures}
    names |= {"COLOUR": {"ReLU": "red", "tanh": "blue"}, "UNIT_OF": {"relu": "ReLU", "tanh": "tanh"}}
    (crossing,) = [n for n in ast.parse(CODE["cell-27"]).body if getattr(n, "name", "") == "crossing"]
    exec(ast.unparse(crossing), names)
    exec(CODE["cell-40a"], names)
    lines = []
    exec(CODE["cell-40b"], names | {"print": lambda line: lines.append(line)})
    return names["figure"], lines


def test_figure_1_names_the_command_where_there_are_no_records(results):
    figure, lines = figure_1()
    for axes, when in zip(figure.axes, ("2012", "today"), strict=True):
        assert f"measure relu_{when} --record" in " ".join(text.get_text() for text in axes.texts)
        assert len(axes.lines) == 1  # the level at 25 %
    assert lines == [f"{w}: measured by: python -m alexnet_lib measure relu_{w} --record" for w in ("2012", "today")]


def test_figure_1_draws_a_line_for_each_seed(results):
    errors = {"relu": (60.0, 34.0, 14.0), "tanh": (80.0, 70.0, 60.0), "another": (1.0, 1.0, 1.0)}
    for arm, line in errors.items():
        for seed in (1, 3):
            curve = [{"epoch": i, "train_error": error + seed} for i, error in enumerate(line, 1)]
            record = {"experiment": "relu_2012", "arm": arm, "seed": seed, "train": {"lr": 0.003}, "curve": curve, "metrics": {}}
            records.write(record, records.results_path(record))
    figure, lines = figure_1()
    above, below = figure.axes
    drawn = [tuple(line.get_ydata()) for line in above.lines if len(line.get_xdata()) == 3]
    assert sorted(drawn) == [(61, 35, 15), (63, 37, 17), (81, 71, 61), (83, 73, 63)]
    assert {line.get_linestyle() for line in above.lines if tuple(line.get_ydata()) in drawn[:2]} == {"-"}
    assert "ReLU, rate 0.003, 2 seeds" in [text.get_text() for text in above.get_legend().get_texts()]
    assert len(below.lines) == 1 and "measure relu_today" in " ".join(text.get_text() for text in below.texts)
    # each error stands for the middle of its epoch: 35 falls to 15 between 1.5 and 2.5 epochs
    assert lines[0] == "2012  ReLU  25 % after 2.0, 2.1 epochs" and lines[1] == "2012  tanh  25 % after over 3, over 3 epochs"
