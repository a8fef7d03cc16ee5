"""The arms that measure section 4.2, and what the speed of a network with dropout is read from."""

from dataclasses import replace

import pytest

from alexnet_lib.evidence import claims, experiment


def test_arms_change_dropout_and_nothing_else():
    arms, _ = experiment.arms("dropout")
    half, none = arms["half"], arms["none"]
    assert half.model.dropout == 0.5 and half.train == none.train and half.model == replace(none.model, dropout=0.5)
    assert half.train.holdout == 5000 and half.train.limit == 10_000 and half.train.evaluate_every == 1


def run(arm: str, seed: int, held_out: list[float], training: float) -> dict:
    curve = [{"epoch": i, "train_error": training, "valid_error": error} for i, error in enumerate(held_out, 1)]
    return {"arm": arm, "seed": seed, "metrics": {}, "curve": curve}


def test_the_speed_is_read_with_dropout_off():
    """The training error of the loop, with masks on, never reaches 40 % here; the held-out error does."""
    found = [run("none", s, [60, 50, 39], 80.0) for s in range(3)]
    found += [run("half", s, [60, 55, 50, 45, 41, 40], 90.0) for s in range(3)]
    verdict = claims.judge(claims.ledger()["dropout-doubles"], found)
    assert verdict.effects == pytest.approx((2, 2, 2)) and verdict.word == claims.REPRODUCED


def test_epochs_without_a_held_out_error_are_passed_over():
    record = {"curve": [{"epoch": 1, "train_error": 10}, {"epoch": 2, "train_error": 9, "valid_error": 30}]}
    assert claims.epochs_to(record, 40, "valid_error") == 2 and claims.epochs_to(record, 40) == 1
