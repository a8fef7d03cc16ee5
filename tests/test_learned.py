"""Introspection, figures, the ledger of claims, records and notebook parameters."""

import json

import matplotlib
import numpy as np
import pytest
import torch
from helpers import tiny_model

from alexnet_lib import AlexNet, InputError, claims, figures, introspection, records
from alexnet_lib.evaluation import predict
from alexnet_lib.parameters import settle

matplotlib.use("Agg")


def test_colour_selectivity():
    edge = torch.randn(1, 1, 5, 5)
    assert introspection.colour_selectivity(edge.expand(1, 3, 5, 5)).item() == pytest.approx(0, abs=1e-6)
    opposed = torch.cat([edge, -edge, 0 * edge], 1)
    assert introspection.colour_selectivity(opposed).item() == pytest.approx(1, abs=1e-6)
    assert introspection.colour_selectivity(torch.randn(3000, 3, 5, 5)).mean().item() == pytest.approx(2 / 3, abs=0.01)


def test_neighbours(photos10):
    train, test = photos10[0].subset(range(0, 3000, 30)), photos10[1].subset(range(0, 1000, 200))
    net = AlexNet(tiny_model(), seed=0)
    features = introspection.hidden_features(net, train)
    assert features.shape == (100, 16) and features.dtype == np.float32
    places = introspection.nearest(introspection.pixel_features(train), introspection.pixel_features(test), 3)
    pixels, asked = (introspection.pixel_features(s) for s in (train, test))
    slow = np.argsort(((asked[:, None] - pixels[None]) ** 2).sum(2), axis=1)[:, :3]
    assert (places == slow).all()
    assert introspection.same_class_share(np.array([[0, 1], [1, 1]]), np.array([5, 7]), np.array([5, 7])) == 75.0


def test_figures_can_be_drawn(photos10):
    test = photos10[1].subset(range(0, 1000, 200))
    net = AlexNet(tiny_model(), seed=0)
    weights = introspection.kernels(net)
    figures.use_style()
    drawn = [
        figures.curve_figure([{"epoch": 1, "train_loss": 2.0, "train_error": 80.0}, {"epoch": 2, "train_loss": 1.0, "train_error": 40.0, "valid_loss": 1.1, "valid_error": 44.0}]),
        figures.kernels_figure(weights, introspection.colour_selectivity(weights), 2),
        figures.guesses_figure(test.take(range(5)), predict(net, test), test.labels, test.classes),
        figures.neighbours_figure(test.take([0, 1]), test.take([0, 1, 2, 3]).reshape(2, 2, 32, 32, 3), test.take([0, 1, 2, 3]).reshape(2, 2, 32, 32, 3)),
        figures.rows_figure([test.take([0, 1])], ["a"]),
    ]  # fmt: skip
    assert [a.get_ylabel() for a in drawn[0].axes] == ["loss (nats)", "top-1 error (%)"]
    assert len(drawn[1].axes) == 2 and len(drawn[2].axes) == 10
    luminance = [np.dot(matplotlib.colors.to_rgb(c), (0.299, 0.587, 0.114)) for c in figures.COLOURS[:4]]
    assert (np.diff(luminance) > 0.08).all()  # told apart in grey
    matplotlib.pyplot.close("all")


def test_interval_is_students():
    mean, low, high = claims.interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    with pytest.raises(ValueError):
        claims.interval([1.0])


def test_arms_are_paired_by_seed():
    arm = [{"seed": s, "metrics": {"e": e}} for s, e in ((2, 5.0), (0, 1.0), (7, 9.0))]
    other = [{"seed": s, "metrics": {"e": e}} for s, e in ((0, 2.0), (2, 4.0))]
    assert claims.paired(arm, other, "e") == [-1.0, 1.0]


def with_errors(pairs):
    return [{"metrics": {"test_top1_error": ten, "test_centre_top1_error": centre}} for ten, centre in pairs]


@pytest.mark.parametrize(
    "differences, word",
    [
        ((-1.4, -1.5, -1.6), claims.REPRODUCED),
        ((-0.5, -0.51, -0.49), claims.SAME_DIRECTION),
        ((-1.0, 0.1, 0.9), claims.NOT_HERE),
        ((0.5, 0.51, 0.49), claims.CONTRADICTED),
        ((-1.5, -1.5), claims.NOT_YET),
        ((), claims.NOT_YET),
    ],
)
def test_verdicts_follow_their_rule(differences, word):
    found = with_errors([(20 + d, 20.0) for d in differences])
    assert claims.judge(claims.ledger()["ten-views"], found).word == word


@pytest.mark.parametrize("gaps, word", [((0.3, 0.31, 0.32), claims.SAME_DIRECTION), ((0.05, 0.06, 0.04), claims.NOT_HERE)])
def test_threshold_verdicts(gaps, word):
    found = [{"metrics": {"tower_selectivity_gap": g}} for g in gaps]
    assert claims.judge(claims.ledger()["tower-specialisation"], found).word == word
    gains = [{"metrics": {"neighbours_gain": -g}} for g in gaps]
    assert claims.judge(claims.ledger()["neighbours"], gains).word == claims.CONTRADICTED


def test_the_ledger_is_checked_and_cards_are_tables(tmp_path):
    assert claims.judge(claims.ledger()["parameter-count"]).word == claims.REPRODUCED
    card = claims.Card(list(claims.ledger()))
    rows = card._repr_markdown_().splitlines()
    assert len(rows) == 2 + len(claims.ledger()) and all(r.count(" | ") == 5 for r in rows)
    assert "needs ImageNet; measured by: `make reproduce PROFILE=paper`" in repr(card)
    with pytest.raises(InputError, match="Did you mean 'ten-views'"):
        claims.Card(["ten-view"])
    entry = json.loads(claims.Path(claims.__file__).with_name("claims.json").read_text())[0]
    for change in ({"verdict": "reproduced"}, {"rule": {"kind": "guess", "text": ""}}, {"rule": {"kind": "exact", "text": ""}}):
        (tmp_path / "claims.json").write_text(json.dumps([entry | change]))
        with pytest.raises(InputError):
            claims.ledger.__wrapped__(tmp_path / "claims.json")


def test_records_are_read_back_or_refused(tmp_path):
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    path = records.write(record, records.results_path(record, tmp_path))
    assert path == tmp_path / "e" / "a-seed3.json" and records.read(path) == record
    assert records.read_experiment("e", tmp_path) == [record] and records.read_experiment("none", tmp_path) == []
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    for name, words in (("bad", "is not a record"), ("other", "it has no arm"), ("absent", "no record at")):
        with pytest.raises(InputError, match=words):
            records.read(tmp_path / f"{name}.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the record"):
        records.write(record, tmp_path / "file" / "x.json")


def test_every_committed_record_is_whole():
    for path in records.RESULTS.rglob("*.json"):
        record = records.read(path)
        assert records.results_path(record) == path
        assert record["environment"]["commit"] != "unknown" and record["environment"]["processor"]


DEFAULTS = {"profile": "quick", "seed": 0, "data": "", "run_dir": "", "record": False, "model": {}, "train": {}}


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
    ],
)
def test_a_parameter_that_does_not_fit(change, words):
    with pytest.raises(InputError, match=words):
        settle(DEFAULTS | change, "x")
    with pytest.raises(InputError, match="no longer defines record"):
        settle({k: v for k, v in DEFAULTS.items() if k != "record"}, "x")
