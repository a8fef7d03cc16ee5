"""The ledger of claims: its form, and the rules of its verdicts, each of which can come out either way."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ledgers import BASE, LEDGER, pair, run, shifted

from alexnet_lib import InputError
from alexnet_lib.book import cards
from alexnet_lib.evidence import claims, experiment, plans, records, statistics, verdicts
from alexnet_lib.evidence.verdicts import CONTRADICTED, NO_EFFECT, NOT_YET, REPRODUCED, SAME_DIRECTION, UNDECIDED


@pytest.mark.parametrize(
    "by, noise, word",
    [
        (-1.4, 0, REPRODUCED),
        (-0.9, 0, REPRODUCED),  # a small interval that does not hold the paper's number, inside half to twice
        (-2.9, 0, SAME_DIRECTION),  # more than twice
        (-0.75, 0.1, SAME_DIRECTION),  # its interval leaves the band
        (-1.4, 0.7, SAME_DIRECTION),
        (-1.4, 3.0, UNDECIDED),  # a wide interval with the paper's number in its middle earns nothing
        (0.0, 0.0, NO_EFFECT),
        (-0.3, 0.0, NO_EFFECT),  # there, and too small to be the paper's
        (0.0, 3.0, UNDECIDED),  # two words for [-0.06, 0.05] and [-7.2, 5.5]
        (1.4, 0, CONTRADICTED),
    ],
)
def test_a_difference_between_arms(by, noise, word):
    verdict = pair("lrn", shifted(by, noise), BASE)
    assert verdict.word == word and verdict.interval[0] == pytest.approx(by + noise / 5)
    assert (verdict.more is not None) == (word == UNDECIDED)


def test_a_wide_interval_is_not_rewarded():
    """-3.03 [-5.80, -0.26] is no reproduction of -1.4, and neither is a tight -0.3."""
    wide = pair("lrn", [17.0, 14.0, 20.5, 16.5], [20.0, 20.1, 19.9, 20.0])
    assert wide.interval[1] < -1.4 < wide.interval[2] and wide.word != REPRODUCED


@pytest.mark.parametrize("name", ["lrn-layer2", "linear-rule", "shared-crops", "bias-rate"])
@pytest.mark.parametrize(
    "by, noise, word", [(5.0, 0, CONTRADICTED), (0.0, 0, REPRODUCED), (-3.0, 0, REPRODUCED), (0.5, 3, UNDECIDED)]
)
def test_what_costs_nothing_can_turn_out_to_cost(name, by, noise, word):
    assert pair(name, shifted(by, noise), BASE).word == word


@pytest.mark.parametrize("name", ["k-two", "source-order", "alpha-averaged", "norm-across-towers", "bias-decay"])
@pytest.mark.parametrize(
    "by, noise, word", [(5.0, 0, CONTRADICTED), (-5.0, 0, CONTRADICTED), (0.1, 0, REPRODUCED), (0.3, 3, UNDECIDED)]
)
def test_what_makes_no_difference_can_turn_out_to_make_one(name, by, noise, word):
    assert pair(name, shifted(by, noise), BASE).word == word


def test_every_rule_can_come_out_either_way():
    """For each claim that is measured by a difference there are records that support it and records that contradict it."""
    for name, claim in LEDGER.items():
        if claim.rule["kind"] not in ("difference", "no_worse", "no_change"):
            continue
        words = set()
        for by in (-30.0, -2.0, -1.0, 0.0, 1.0, 2.0, 30.0):
            values = {claim.rule["metric"]: 50.0 + by, claim.rule.get("against", "other"): 50.0}
            found = [run(claim.arm, s, **{k: v + 0.001 * s for k, v in values.items()}) for s in range(4)]
            found += [run(claim.control, s, **dict.fromkeys(values, 50.0)) for s in range(4) if claim.control]
            if not claim.control:
                values = values if "against" in claim.rule else {claim.rule["metric"]: by}
                found = [
                    run(claim.arm, s, **{k: v + 1e-3 * s * (k == claim.rule["metric"]) for k, v in values.items()})
                    for s in range(4)
                ]
            words.add(verdicts.judge(claim, found, planned=4).word)
        assert CONTRADICTED in words and words & {REPRODUCED, SAME_DIRECTION}, (name, words)


def test_relative_error_is_said_too():
    verdict = pair("lrn", shifted(-1.0), BASE)
    assert verdict.relative[0] == pytest.approx(-5.0, abs=0.01) and verdict.relative[1] < -5 < verdict.relative[2]
    assert "of the control's error" in "\n".join(cards.details(LEDGER["lrn"], verdict))


def test_both_counts_are_said_where_one_arm_has_fewer_seeds():
    claim = LEDGER["lrn"]
    found = [run(claim.arm, s, test_top1_error=v) for s, v in enumerate(shifted(-0.2) * 4)]
    found += [run(claim.control, s, test_top1_error=v) for s, v in enumerate(BASE * 2)]
    verdict = verdicts.judge(claim, found)
    assert (verdict.seeds, verdict.runs) == (10, (20, 10)) and "20 seeds against 10;" in "\n".join(cards.details(claim, verdict))
    assert "20 seeds against 10," in cards.sentence(claim, verdict)


def test_a_verdict_without_a_value_says_why():
    claim = LEDGER["wider-weights"]
    verdict = verdicts.Verdict(UNDECIDED, seeds=4, planned=4, runs=(4, 4), reason="neither side gets there", source="somewhere")
    assert "Here: neither side gets there; 4 seeds, somewhere." in cards.sentence(claim, verdict)


def test_nothing_is_judged_before_all_planned_seeds_are_there():
    claim = LEDGER["lrn"]
    found = [run(claim.arm, s, test_top1_error=v) for s, v in enumerate(shifted(-1.4))]
    found += [run(claim.control, s, test_top1_error=v) for s, v in enumerate(BASE)]
    verdict = verdicts.judge(claim, found)
    assert verdict.word == NOT_YET and verdict.value.startswith("so far -1.40")
    assert (verdict.seeds, verdict.planned, verdict.more) == (5, 20, 15)  # the baseline, which has twenty
    found += [run(claim.control, s, test_top1_error=v) for s, v in enumerate(BASE, 5)]
    assert verdicts.judge(claim, found).word == NOT_YET  # the other arm is complete, the baseline is not
    found += [run(claim.arm, s, test_top1_error=v) for s, v in enumerate(shifted(-1.4) * 3, 5)]
    assert verdicts.judge(claim, found).word != NOT_YET


def test_seeds_are_those_of_the_arm_with_the_fewest():
    """What is said to be missing follows from it, too: six runs against twenty are not twenty of both."""
    claim = LEDGER["linear-rule"]
    values = {claim.arm: [35.0, 31.0, 38.0, 33.0, 36.0, 32.0], claim.control: [34.0 + 0.1 * s for s in range(20)]}
    found = [run(arm, s, test_top1_error=v) for arm, errors in values.items() for s, v in enumerate(errors)]
    verdict = verdicts.judge(claim, found)
    assert verdict.word == UNDECIDED and (verdict.seeds, verdict.planned) == (6, 6)
    assert verdict.more == statistics.seeds_for(np.std(values[claim.arm], ddof=1), claim.rule["margin"]) - 6


@pytest.mark.parametrize(
    "facts, said",
    [
        ({"sums": ("a", "c")}, "different test images"),
        ({"sums": ("x", "b")}, "different train images"),
        ({"device": "H100"}, "kinds of device"),
    ],
)
def test_arms_share_their_data_and_the_kind_of_device(facts, said):
    verdict = pair("lrn", shifted(-1.4), BASE, **facts)
    assert verdict.word == NOT_YET and said in verdict.reason and not verdict.interval


def test_a_difference_within_a_run():
    claim = LEDGER["ten-views"]
    found = [run("whole", s, test_top1_error=20.0 + 0.01 * s, test_centre_top1_error=21.5) for s in range(5)]
    found += [run("no_lrn", s, test_top1_error=50.0, test_centre_top1_error=1.0) for s in range(5)]  # another arm
    assert verdicts.judge(claim, found, planned=5).word == REPRODUCED


# Times to an error: crossings lie between epochs, and what never got there is said to be.


def test_a_crossing_lies_between_epochs():
    record = run("a", 0, [60, 40, 20], chance_error=90.0)
    assert verdicts.time_to(record, 40) == 1.5 and verdicts.time_to(record, 50) == 1.0  # an epoch's mean stands for its middle
    assert verdicts.time_to(record, 75) == pytest.approx(0.25) and verdicts.time_to(record, 10) == np.inf
    record["curve"] = [{"epoch": 1, "train_error": 1.0}, {"epoch": 2, "valid_error": 50.0}, {"epoch": 4, "valid_error": 30.0}]
    assert verdicts.time_to(record, 40, "valid_error") == 3.0


def speed(relu: list[list[float]], tanh: list[list[float]]) -> verdicts.Verdict:
    found = [run("relu", s, e, chance_error=90.0) for s, e in enumerate(relu)]
    found += [run("tanh", s, e, chance_error=90.0) for s, e in enumerate(tanh)]
    return verdicts.judge(LEDGER["relu-speed-2012"], found, planned=len(relu))


def falling(epochs: float, until: float, stop: int) -> list[float]:
    """Errors of `stop` epochs that fall from 90 to 25 % in so many epochs, in a straight line, down to `until`."""
    return [max(until, 90 - 65 * (e - 0.5) / epochs) for e in range(1, stop + 1)]


def test_a_speedup_is_a_ratio_of_times():
    quick = [falling(2 + 0.01 * s, 5, 30) for s in range(4)]
    verdict = speed(quick, [falling(12 + 0.1 * s, 5, 90) for s in range(4)])
    assert verdict.word == REPRODUCED and verdict.interval[0] == pytest.approx(6.0, abs=0.1)
    assert speed(quick, [falling(3 + 0.01 * s, 5, 90) for s in range(4)]).word == SAME_DIRECTION
    assert speed(quick, [falling(1 + 0.01 * s, 5, 90) for s in range(4)]).word == CONTRADICTED
    assert speed(quick, [falling(2 + 0.01 * s, 5, 90) for s in range(4)]).word == NO_EFFECT


def test_a_control_that_never_gets_there_gives_a_lower_bound_and_no_reproduction():
    quick = [falling(2 + 0.01 * s, 5, 30) for s in range(4)]
    verdict = speed(quick, [falling(12 + s, 60, 12) for s in range(4)])
    assert verdict.word == SAME_DIRECTION and verdict.value.startswith("at least 6.") and verdict.interval is None
    assert "the control does not reach 25 %" in verdict.reason


def test_an_arm_that_never_gets_there_gives_an_upper_bound():
    verdict = speed([falling(12, 60, 12) for _ in range(4)], [falling(2 + 0.01 * s, 5, 30) for s in range(4)])
    assert verdict.word == CONTRADICTED and verdict.value.startswith("at most 0.2")


def test_where_neither_side_gets_there_nothing_is_said():
    verdict = speed([[60] * 30] * 3, [[70] * 90] * 3)
    assert verdict.word == UNDECIDED and not verdict.value and "neither side" in verdict.reason


# A statement about every run


def test_every_run_is_tested_by_itself():
    def towers(gap: float, seed: int) -> dict:
        draws = np.random.default_rng(seed).normal(0.5, 0.1, (2, 16)) + np.array([[0], [gap]])
        return run("laptop", seed) | {"experiment": "small_cifar10", "colour_selectivity": draws.tolist()}

    claim = LEDGER["tower-specialisation"]
    judged = verdicts.judge(claim, [towers(0.4, s) for s in range(10)])
    assert (judged.word, judged.value, judged.seeds) == (REPRODUCED, "10 of 10", 10) and cards.rests_on(judged) == "10 runs"
    assert verdicts.judge(claim, [towers(0.0, s) for s in range(10)]).word == CONTRADICTED
    some = [towers(0.4 * (s > 0), s) for s in range(10)]
    assert verdicts.judge(claim, some).word == SAME_DIRECTION
    assert verdicts.judge(claim, some[:5]).word == NOT_YET
    assert verdicts.judge(claim, [r | {"experiment": "elsewhere"} for r in some]).seeds == 0


# The ledger


def test_what_is_counted():
    assert verdicts.judge(LEDGER["parameter-count"]).word == REPRODUCED
    assert verdicts.judge(LEDGER["conv1-neurons"]).word == CONTRADICTED
    assert verdicts.judge(LEDGER["neuron-count"]).value == "659,272"
    assert verdicts.judge(LEDGER["fewer-parameters"]).value == "1,923 times"  # a ratio says that it is one


def test_every_claim_says_what_measures_it():
    assert len(LEDGER) >= 45
    for claim in LEDGER.values():
        assert claims.rule_in_words(claim).endswith(".") and claim.command
        named = [(claim.experiment, [claim.arm, claim.control])] if claim.experiment else claim.rule.get("runs", {}).items()
        for name, arms in named:
            there, seeds = experiment.arms(name)
            assert set(arms or ()) - {""} <= set(there) and seeds
        if claim.experiment:
            assert (
                claim.command
                == "python -m alexnet_lib measure "
                + " --arm ".join(filter(None, (claim.experiment, claim.arm, claim.control)))
                + " --record"
            )


def test_the_ledger_is_checked(tmp_path):
    entry = json.loads(claims.LEDGER.read_text())[0]
    for change in (
        {"verdict": "reproduced"},
        {"rule": {"kind": "guess"}},
        {"rule": {"kind": "counted"}},
        {"rule": entry["rule"] | {"text": "x"}},
    ):
        (tmp_path / "claims.json").write_text(json.dumps([entry | change]))
        with pytest.raises(InputError):
            claims.ledger.__wrapped__(tmp_path / "claims.json")
    for other in ({"toward": 1}, {"effect": 0}):
        with pytest.raises(InputError, match="needs an effect"):
            replace(LEDGER["lrn"], rule=LEDGER["lrn"].rule | other)


@pytest.mark.parametrize(
    ("kind", "absent"), [("difference", "experiment"), ("no_worse", "experiment"), ("no_change", "arm"), ("speedup", "control")]
)
def test_a_measured_claim_says_what_is_compared(kind, absent):
    """Else its verdict would look for records of nothing."""
    claim = next(claim for claim in LEDGER.values() if claim.rule["kind"] == kind and claim.control)
    with pytest.raises(InputError, match=f"has no {absent}"):
        replace(claim, **{absent: ""})


def test_cards_have_three_columns_and_a_fold():
    html = cards.Card(list(LEDGER))._repr_html_()
    assert html.count("<tr") == len(LEDGER) + 1 and html.count("<td") == 3 * len(LEDGER) == 3 * html.count("<details")
    text = repr(cards.Card(["lrn"]))
    assert "Rule: The 95 % interval" in text and "python -m alexnet_lib measure ablations --arm whole --arm no_lrn" in text
    with pytest.raises(InputError, match="Did you mean 'ten-views'"):
        cards.Card(["ten-view"])


def test_a_sentence_without_a_figure_says_why_there_is_none():
    verdict = verdicts.Verdict(UNDECIDED, reason="neither side gets there", seeds=4, planned=4, runs=(4, 4), source="one card")
    assert cards.sentence(LEDGER["wider-weights"], verdict).endswith("Here: neither side gets there; 4 seeds, one card.")


def test_a_sentence_says_what_came_out_or_how_to_measure():
    assert cards.sentence(LEDGER["conv1-neurons"]).endswith("The paper: 253,440. Here: 290,400.")
    assert "`make reproduce PROFILE=paper`" in cards.sentence(LEDGER["headline-2012"])


def test_the_tally_counts_every_claim_once_and_chance_has_its_share():
    judged = verdicts.verdicts()
    assert sum(verdicts.tally(judged).values()) == len(LEDGER)
    tested = {"a": replace(judged["conv1-neurons"], p=0.0001), "b": replace(judged["conv1-neurons"], p=0.04)}
    holds, by_chance = verdicts.corrected(tested | {"c": replace(judged["lrn"], word=NOT_YET, p=0.0)})
    assert holds == {"a": True, "b": True} and by_chance == pytest.approx(0.1)
    assert verdicts.corrected(tested | {name: replace(tested["b"]) for name in "cdef"})[0]["b"] is False


# Statistics: what is asked of scipy and statsmodels


def test_intervals_are_student_s_and_welch_s():
    one = statistics.within([1.0, 2.0, 3.0])
    assert (one.mean, one.low, one.high) == pytest.approx((2, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    two = statistics.between([1.0, 2.0, 3.0], [5.0, 5.0, 8.0])
    assert two.mean == -4 and two.low < -4 < two.high and 0 < two.p < 0.05
    assert statistics.within([2.0, 2.0]).high == 2.0 and statistics.within([0.0, 0.0]).p == 1.0
    with pytest.raises(ValueError):
        statistics.within([1.0])


def test_the_number_of_seeds_follows_from_the_power():
    """With a deviation of 0.35 half of the paper's 1.4 points takes seven seeds an arm, half of its 0.4 takes 66."""
    assert statistics.seeds_for(0.35, 0.7) == 7 and statistics.seeds_for(0.35, 0.2) == 66
    assert statistics.seeds_for(0.35, 0.7, arms=1) < 7 and statistics.seeds_for(0.0, 1.0) == 2


def test_paired_tests_by_image():
    right, wrong = np.zeros(100, bool), np.zeros(100, bool)
    wrong[:20] = True
    assert statistics.mcnemar(right, right) == 1.0 and statistics.mcnemar(wrong, right) < 1e-4
    arm, control = np.tile(wrong, (3, 1)), np.tile(right, (3, 1))
    low, high = statistics.with_images(statistics.Estimate(20.0, 19.9, 20.1, 0.0), arm, control)
    assert low == pytest.approx(20 - 1.96 * 4.02, abs=0.1) and high - 20 == pytest.approx(20 - low)


def test_towers_dealt_out_at_random_do_not_differ():
    draws = np.random.default_rng(1).normal(size=(40, 2, 16))
    assert np.mean([statistics.towers_differ(d, 999) < 0.05 for d in draws]) < 0.2
    assert statistics.towers_differ([[0.1, 0.2, 0.1, 0.15], [0.8, 0.9, 0.7, 0.85]], 999) < 0.05


def test_seeds_planned_are_those_of_the_arms():
    for name, plan in plans.plans().items():
        there, seeds = experiment.arms(name)
        assert all(len(arm.seeds) == len(set(arm.seeds)) for arm in there.values()) and tuple(plan["seeds"]) == seeds


def test_what_the_source_of_a_verdict_says():
    verdict = pair("lrn", shifted(-1.4), BASE)
    assert verdict.source == "set-a, set-b, cpu, 0 min of training" and records.results_root().name == "results"
