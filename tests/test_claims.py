"""The ledger of claims: its form, the rules of its verdicts, and which records a verdict rests on."""

import json

import pytest

from alexnet_lib import InputError
from alexnet_lib.evidence import claims, experiment, records


def run(arm: str, seed: int, errors=(), **metrics: float) -> dict:
    """A record; errors are the training errors of its epochs."""
    curve = [{"epoch": i, "train_error": error} for i, error in enumerate(errors, 1)]
    return {"experiment": "e", "arm": arm, "seed": seed, "metrics": metrics, "curve": curve}


def word(name: str, found: list[dict]) -> str:
    return claims.judge(claims.ledger()[name], found).word


def test_interval_is_students():
    mean, low, high = claims.interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    with pytest.raises(ValueError):
        claims.interval([1.0])


def test_arms_are_paired_by_seed():
    found = [run("whole", s, test_top1_error=e) for s, e in ((2, 5.0), (0, 1.0), (7, 9.0))]
    found += [run("no_lrn", s, test_top1_error=e) for s, e in ((0, 2.0), (2, 4.0))]
    found += [run("whole", 8), run("no_lrn", 8, test_top1_error=3.0)]  # a run without the metric
    assert claims.effects(claims.ledger()["lrn"], found) == {0: -1.0, 2: 1.0}


DIFFERENCES = [
    ((-1.4, -1.5, -1.6), claims.REPRODUCED),
    ((-0.5, -0.51, -0.49), claims.SAME_DIRECTION),
    ((-1.0, 0.1, 0.9), claims.NOT_HERE),
    ((0.5, 0.51, 0.49), claims.CONTRADICTED),
    ((-1.5, -1.5), claims.NOT_YET),
    ((), claims.NOT_YET),
]


@pytest.mark.parametrize("differences, expected", DIFFERENCES)
def test_a_difference_within_a_run(differences, expected):
    errors = [{"test_top1_error": 20 + d, "test_centre_top1_error": 20.0} for d in differences]
    assert word("ten-views", [run("laptop", seed, **e) for seed, e in enumerate(errors)]) == expected


@pytest.mark.parametrize("differences, expected", DIFFERENCES)
def test_a_difference_between_arms(differences, expected):
    treated = [run("whole", seed, test_top1_error=20 + d) for seed, d in enumerate(differences)]
    control = [run("no_lrn", seed, test_top1_error=20.0) for seed in range(5)]
    assert word("lrn", treated + control) == expected


def test_an_effect_that_should_be_positive():
    whole = [run("whole", seed, test_top1_error=20.0) for seed in range(3)]
    for cost, expected in ((2.0, claims.REPRODUCED), (0.5, claims.SAME_DIRECTION), (-0.5, claims.CONTRADICTED)):
        without = [run("without_conv4", s, test_top1_error=20 + cost + 0.01 * s) for s in range(3)]
        assert word("depth-conv3", whole + without) == expected


@pytest.mark.parametrize("gaps, expected", [((0.3, 0.31, 0.32), claims.SAME_DIRECTION), ((0.05, 0.06, 0.04), claims.NOT_HERE)])
def test_thresholds(gaps, expected):
    found = [run("laptop", s, tower_selectivity_gap=g, neighbours_gain=-g) for s, g in enumerate(gaps)]
    assert word("tower-specialisation", found) == expected
    assert word("neighbours", found) == claims.CONTRADICTED


def test_a_speedup_is_a_ratio_of_epochs():
    quick = [run("relu", s, [60, 40, 24]) for s in range(3)]  # three epochs
    slow = [[60] * (17 + s) + [25] for s in range(3)]  # 18 to 20
    verdict = claims.judge(claims.ledger()["relu-speed-2012"], quick + [run("tanh", s, e) for s, e in enumerate(slow)])
    assert verdict.effects == pytest.approx((6, 19 / 3, 20 / 3)) and verdict.word == claims.REPRODUCED
    assert verdict.interval[0] == pytest.approx((6 * 19 / 3 * 20 / 3) ** (1 / 3))  # the geometric mean
    assert word("relu-speed-2012", quick + [run("tanh", s, [*e[:3], 20]) for s, e in enumerate(slow)]) == claims.SAME_DIRECTION
    assert word("relu-speed-2012", quick + [run("tanh", s, [20]) for s in range(3)]) == claims.CONTRADICTED


@pytest.mark.parametrize(
    "zeros, expected", [((8, 9, 10), "same direction"), ((0, 0, 1), "contradicted"), ((3, 9, 4), "not at this scale")]
)
def test_a_speedup_without_a_number_has_a_direction(zeros, expected):
    found = [run("ones", s, [60] * 3 + [40]) for s in range(3)] + [run("zeros", s, [60] * n + [40]) for s, n in enumerate(zeros)]
    assert word("bias-ones", found) == expected


def test_a_run_that_never_gets_there_counts_as_long_as_it_was():
    assert claims.epochs_to(run("tanh", 0, [60, 50]), 25) == float("inf")
    found = [run("relu", 0, [25]), run("tanh", 0, [60, 50, 40])]
    assert claims.effects(claims.ledger()["relu-speed-2012"], found) == {0: 3.0}


def test_another_arm_is_no_other_seed(tmp_path, monkeypatch):
    reading = records.read_experiment
    monkeypatch.setattr(records, "read_experiment", lambda name: reading(name, tmp_path))

    def write(arm: str, seeds, gain: float) -> None:
        for seed in seeds:
            record = run(arm, seed, neighbours_gain=gain + seed / 10) | {"experiment": "small_cifar10"}
            records.write(record, records.results_path(record, tmp_path))

    claim = claims.ledger()["neighbours"]
    write("laptop", range(2), 30.0)
    write("no-dropout", range(2), -50.0)
    found = claims.judge(claim)
    assert (found.word, found.value, found.seeds) == (claims.NOT_YET, "+30.00, +30.10", 2)
    write("laptop", range(3), 30.0)
    found = claims.judge(claim)
    assert found.word == claims.SAME_DIRECTION and found.seeds == 3


def test_what_is_counted():
    assert word("parameter-count", []) == claims.REPRODUCED
    assert word("conv1-neurons", []) == claims.CONTRADICTED
    assert claims.judge(claims.ledger()["neuron-count"]).value == "659,272"


def test_every_claim_says_what_measures_it():
    for claim in claims.ledger().values():
        assert claim.rule["text"] and claim.command
        assert (claim.arm is None) == (claim.experiment is None)
        if claim.experiment:
            arms, seeds = experiment.arms(claim.experiment)
            assert {claim.arm, claim.control} - {None} <= set(arms) and len(seeds) >= claims.SEEDS_NEEDED
            assert claim.command.startswith(f"python -m alexnet_lib measure {claim.experiment} ")
            assert all(f"--arm {arm}" in claim.command for arm in (claim.arm, claim.control) if arm and len(arms) > 2)


def test_the_ledger_is_checked_and_cards_are_tables(tmp_path):
    card = claims.Card(list(claims.ledger()))
    rows = card._repr_markdown_().splitlines()
    assert len(rows) == 2 + len(claims.ledger()) and all(r.count(" | ") == 5 for r in rows)
    assert "needs ImageNet; measured by: `make reproduce PROFILE=paper`" in repr(card)
    with pytest.raises(InputError, match="Did you mean 'ten-views'"):
        claims.Card(["ten-view"])
    entry = json.loads(claims.LEDGER.read_text())[0]
    for change in ({"verdict": "reproduced"}, {"rule": {"kind": "guess", "text": ""}}, {"rule": {"kind": "counted", "text": ""}}):
        (tmp_path / "claims.json").write_text(json.dumps([entry | change]))
        with pytest.raises(InputError):
            claims.ledger.__wrapped__(tmp_path / "claims.json")


def test_a_sentence_says_what_came_out_or_how_to_measure():
    ledger = claims.ledger()
    assert claims.sentence(ledger["conv1-neurons"]).endswith("The paper: 253,440. Here: 290,400.")
    assert "`python -m alexnet_lib measure ablations" in claims.sentence(ledger["lrn"])
