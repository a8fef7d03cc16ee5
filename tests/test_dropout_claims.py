"""The arms that measure section 4.2, and what the speed of a network with dropout is read from."""

from dataclasses import replace

import pytest

from alexnet_lib.evidence import claims, experiment, verdicts


def test_arms_change_dropout_and_nothing_else():
    arms, _ = experiment.arms("dropout")
    half, none = arms["half"], arms["none"]
    assert half.model.dropout == 0.5 and half.train == none.train and half.model == replace(none.model, dropout=0.5)
    assert half.train.limit == 10_000


def test_speed_is_measured_at_constant_rates_that_each_arm_chose():
    arms, _ = experiment.arms("dropout_speed")
    half, none = arms["half"], arms["none"]
    assert half.train.schedule == "constant" and half.train.holdout == 5000 and half.train.evaluate_every == 1
    assert replace(half.train, lr=none.train.lr) == none.train and half.model == replace(none.model, dropout=0.5)


def run(arm: str, seed: int, held_out: list[float], training: float) -> dict:
    curve = [{"epoch": i, "train_error": training, "valid_error": error} for i, error in enumerate(held_out, 1)]
    return {"arm": arm, "seed": seed, "metrics": {"chance_error": 90.0}, "curve": curve}


def test_the_speed_is_read_with_dropout_off():
    """The training error of the loop, with masks on, never reaches 45 % here; the held-out error does."""
    found = [run("none", s, [60, 50, 45 - s / 9], 80.0) for s in range(3)]
    found += [run("half", s, [60, 55, 50, 48, 46, 45 - s / 9], 90.0) for s in range(3)]
    verdict = verdicts.judge(claims.ledger()["dropout-doubles"], found, planned=3)
    assert verdict.effects == pytest.approx((2, 2, 2), abs=0.1) and verdict.word == verdicts.REPRODUCED


def test_epochs_without_a_held_out_error_are_passed_over():
    record = {"curve": [{"epoch": 1, "train_error": 10}, {"epoch": 2, "train_error": 9, "valid_error": 30}]}
    record["metrics"] = {"chance_error": 30.0}
    assert verdicts.time_to(record, 30, "valid_error") == 2 and verdicts.time_to(record, 10) == 0.5
