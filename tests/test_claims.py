"""The ledger of claims: its form, and the rules of its verdicts, each of which can come out either way."""

import base64
import json
import shlex
import zlib
from dataclasses import replace

import numpy as np
import pytest
import typer
from helpers import ROOT
from ledgers import BASE, LEDGER, pair, run, shifted
from scipy import stats

from alexnet_lib import InputError
from alexnet_lib.__main__ import app
from alexnet_lib.book import cards
from alexnet_lib.evidence import claims, experiment, plans, records, runner, statistics, verdicts
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


def test_a_verdict_has_the_effect_of_each_run_beside_the_mean():
    verdict = pair("lrn", shifted(-1.0), BASE)
    assert verdict.effects == pytest.approx([v - 1.0 - np.mean(BASE) for v in BASE])
    assert verdict.value == "{:+.2f} [{:+.2f}, {:+.2f}]".format(*verdict.interval) and verdict.runs == (5, 5)


@pytest.mark.parametrize(
    "low, high, words",
    [
        (-1.0, 0.5, (UNDECIDED, REPRODUCED, UNDECIDED)),  # an end upon a bound is not beyond it
        (-0.5, 1.0, (UNDECIDED, UNDECIDED, UNDECIDED)),
        (0.0, 2.0, (UNDECIDED, UNDECIDED, UNDECIDED)),
        (-2.0, 0.0, (UNDECIDED, REPRODUCED, UNDECIDED)),
        (-3.0, -1.0, (CONTRADICTED, REPRODUCED, UNDECIDED)),
        (1.0, 4.0, (REPRODUCED, UNDECIDED, UNDECIDED)),  # the ends of half to twice belong to it
        (0.99, 4.0, (SAME_DIRECTION, UNDECIDED, UNDECIDED)),
        (1.0, 4.01, (SAME_DIRECTION, UNDECIDED, UNDECIDED)),
        (-0.99, 0.99, (NO_EFFECT, REPRODUCED, REPRODUCED)),
    ],
)
def test_intervals_that_end_upon_a_bound(low, high, words):
    """Of a difference with an effect of 2, of no worse and of no change, all with a margin of 1."""
    estimate, rule = statistics.Estimate((low + high) / 2, low, high, 0.5), {"effect": 2.0}
    judges = (verdicts._word, verdicts._word_no_worse, verdicts._word_no_change)
    assert tuple(judge(rule, estimate, 1.0) for judge in judges) == words
    other_way = statistics.Estimate(-estimate.mean, -high, -low, 0.5)
    assert verdicts._word({"effect": -2.0}, other_way, 1.0) == words[0]
    no_number = {SAME_DIRECTION: SAME_DIRECTION, REPRODUCED: SAME_DIRECTION}.get(words[0], words[0])
    assert verdicts._word({"effect": None, "toward": 1}, estimate, 1.0) == no_number


def test_relative_error_is_said_too():
    verdict = pair("lrn", shifted(-1.0), BASE)
    assert verdict.relative[0] == pytest.approx(-5.0, abs=0.01) and verdict.relative[1] < -5 < verdict.relative[2]
    assert "of the control's error" in "\n".join(cards.details(LEDGER["lrn"], verdict))


def test_where_records_say_which_images_were_wrong_the_interval_is_wider():
    """As statistics.with_images has it of ranks above 0; of records of which one does not say, there is none."""
    claim, draws = LEDGER["lrn"], np.random.default_rng(0)
    ranks = draws.integers(0, 3, (2, 3, 200)).astype(np.uint8)
    errors = 100 * (ranks > 0).mean(2)
    found = [
        run(arm, s, test_top1_error=error) | {"outcomes": base64.b85encode(zlib.compress(rank.tobytes())).decode()}
        for arm, side, some in zip((claim.arm, claim.control), errors, ranks, strict=True)
        for s, (error, rank) in enumerate(zip(side, some, strict=True))
    ]
    verdict = verdicts.judge(claim, found, planned=3)
    assert verdict.images == statistics.with_images(statistics.between(*errors), *(ranks > 0))
    assert verdict.images[0] < verdict.interval[1] < verdict.interval[2] < verdict.images[1]
    del found[0]["outcomes"]
    assert verdicts.judge(claim, found, planned=3).images is None


def test_of_an_error_of_nothing_there_is_no_share():
    verdict = pair("lrn", [0.0, 0.1, 0.2], [1.0, 1.1, 0.9])
    assert verdict.word == SAME_DIRECTION and verdict.relative is None


@pytest.mark.parametrize("name", ["k-two", "lrn-layer2", "overlap-shifts"])
def test_p_is_of_the_test_that_the_word_rests_on(name):
    """That two arms differ is not shown by a p that is large, nor that they do not: there the end of the margin is tested."""
    draws, metric = np.random.default_rng(0), LEDGER[name].rule["metric"]
    for by in np.linspace(-2, 2, 41):
        verdict = pair(name, (20 + by + draws.normal(0, 0.5, 5)).tolist(), (20 + draws.normal(0, 0.5, 5)).tolist(), metric)
        if verdict.word != NO_EFFECT:
            assert (verdict.p < 0.05) == (verdict.word != UNDECIDED)


def test_seeds_that_were_not_planned_change_no_verdict(monkeypatch):
    """Else whoever adds runs until the figure pleases has a verdict."""
    claim = LEDGER["lrn"]
    seeds = {name: range(21, 21 + of) for name, of in ((claim.arm, 20), (claim.control, 10))}
    found = [run(name, s, test_top1_error=34 + s % 2 / 10) for name, some in seeds.items() for s in some]
    monkeypatch.setattr(records, "read_experiment", lambda name: found)
    before = verdicts.judge(claim)
    found += [run(claim.control, s, test_top1_error=90 + s % 2) for s in range(100, 120)] + [run("mine", 21, test_top1_error=1)]
    assert before.runs == (20, 10) and verdicts.judge(claim) == before
    del found[0]
    assert verdicts.judge(claim).word == NOT_YET


def test_experiments_of_one_s_own_have_no_verdict_on_the_ledger(tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text('{"mine": {"preset": "quick", "seeds": [0], "arms": {"a": {}}}}')
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", str(tmp_path / "mine.json"))
    with pytest.raises(InputError, match="experiment 'ablations'"):
        verdicts.judge(LEDGER["lrn"])


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
    to_margin = claim.rule["margin"] - verdict.interval[0]
    assert verdict.more == statistics.seeds_for(np.std(values[claim.arm], ddof=1), to_margin) - 6


@pytest.mark.parametrize(
    "kind, mean, short_of",
    [
        ("difference", 0.9, 0.9),  # to leave out zero
        ("difference", -0.1, 0.9),  # to lie within the margin
        ("difference", 0.5, 0.5),
        ("no_worse", 0.7, 0.3),
        ("no_worse", -0.4, 1.4),
        ("no_change", -1.25, 0.25),  # beyond the margin, but not the whole interval
        ("no_change", 0.6, 0.4),
    ],
)
def test_the_seeds_that_would_settle_it_follow_from_what_was_measured(kind, mean, short_of):
    assert verdicts._to_a_word(kind, mean, 1.0) == pytest.approx(short_of)


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
    assert verdicts.time_to(run("a", 0, [60, 40, 20]), 80) == pytest.approx(0.25)  # at 100 %, where chance is not named
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
    assert (verdict.seeds, verdict.planned, verdict.runs) == (4, 4, (4, 4)) and verdict.source and verdict.p < 0.05
    assert len(verdict.effects) == 4 and np.prod(verdict.effects) ** 0.25 == pytest.approx(verdict.interval[0])
    low, high = verdict.interval[1:]
    assert verdict.value == f"6.0 [{low:.1f}, {high:.1f}]" and low < verdict.interval[0] < high and not verdict.reason
    assert speed(quick, [falling(3 + 0.01 * s, 5, 90) for s in range(4)]).word == SAME_DIRECTION
    assert speed(quick, [falling(1 + 0.01 * s, 5, 90) for s in range(4)]).word == CONTRADICTED
    assert speed(quick, [falling(2 + 0.01 * s, 5, 90) for s in range(4)]).word == NO_EFFECT


def test_the_seeds_that_would_settle_a_speedup_follow_from_the_logarithms():
    times = [2, 3, 4, 5], [3, 4, 2, 6]
    verdict = speed(*[[falling(t, 5, 30) for t in side] for side in times])
    arm, control = np.log(times)
    ratio, margin = control.mean() - arm.mean(), np.log(LEDGER["relu-speed-2012"].rule["margin"])
    needed = statistics.seeds_for(max(arm.std(ddof=1), control.std(ddof=1)), max(abs(ratio), margin - abs(ratio)))
    assert verdict.word == UNDECIDED and verdict.more == needed - 4 > 0


def test_a_control_that_never_gets_there_gives_a_lower_bound_and_no_reproduction():
    quick = [falling(2 + 0.01 * s, 5, 30) for s in range(4)]
    verdict = speed(quick, [falling(12 + s, 60, 12) for s in range(4)])
    assert verdict.word == SAME_DIRECTION and verdict.value.startswith("at least 5.7 ") and verdict.interval is None
    assert verdict.reason == "the control does not reach 25 % in every run"


def test_an_arm_that_never_gets_there_gives_an_upper_bound():
    verdict = speed([falling(12, 60, 12) for _ in range(4)], [falling(2 + 0.01 * s, 5, 30) for s in range(4)])
    assert verdict.word == CONTRADICTED and verdict.value.startswith("at most 0.2")


def test_what_was_not_looked_at_is_not_said_never_to_get_there():
    """A run without held-out images has no time to an error of these; one that was looked at in time bounds it by its last look."""
    claim = LEDGER["dropout-doubles"]
    blind = [run(arm, s, [90, 40]) for arm in (claim.arm, claim.control) for s in range(2)]
    verdict = verdicts.judge(claim, blind, planned=2)
    assert verdict.word == NOT_YET and verdict.runs == (0, 0)
    for record in blind:
        looked = ((1, 80.0), (2, 40.0 if record["arm"] == claim.arm else 60.0))
        record["curve"] = [{"epoch": e, "valid_error": error} for e, error in looked] + [{"epoch": 9, "train_error": 1.0}]
    assert verdicts.judge(claim, blind, planned=2).value.startswith("at least 1.1 ")  # 2 / 1.875, and not 9 / 1.875


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
    assert judged.interval == pytest.approx((10, 6.915, 10), abs=1e-3)  # runs, as the unit says
    assert verdicts.judge(claim, [towers(0.0, s) for s in range(10)]).word == CONTRADICTED
    some = [towers(0.4 * (s > 0), s) for s in range(10)]
    assert verdicts.judge(claim, some).word == SAME_DIRECTION
    assert verdicts.judge(claim, some[:5]).word == NOT_YET
    assert verdicts.judge(claim, [r | {"experiment": "elsewhere"} for r in some]).seeds == 0


# The ledger


def test_what_it_would_take_is_said():
    words = {c.rule["what"]: verdicts.judge(c).word for c in LEDGER.values() if c.rule["kind"] == "needs"}
    hardware = {"two graphics cards of 2012": verdicts.NEEDS_HARDWARE}
    assert words == {"ImageNet": verdicts.NEEDS_IMAGENET} | hardware
    assert verdicts.Verdict(NOT_YET).seeds == verdicts.Verdict(NOT_YET).planned == 0


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
            assert set(arms or ()) - {""} <= set(plans.plan_of(name)["arms"]) and plans.plan_of(name)["seeds"]
        if claim.experiment and "by" in plans.plan_of(claim.experiment):
            assert claim.command == plans.plan_of(claim.experiment)["by"]
        elif claim.experiment:
            assert (
                claim.command
                == "python -m alexnet_lib measure "
                + " --arm ".join(filter(None, (claim.experiment, claim.arm, claim.control)))
                + " --record"
            )


def test_commands_of_claims_can_be_given():
    """Each of its words is one of the command line's, or a tool that is there."""
    line = typer.main.get_command(app).commands
    for claim in LEDGER.values():
        for part in claim.command.split(" && "):
            words = shlex.split(part)
            if words[:3] == ["python", "-m", "alexnet_lib"]:
                line[words[3]].make_context(words[3], words[4:])
            else:
                assert words[0] == "make" or [word for word in words if (ROOT / word).is_file()], part


@pytest.mark.parametrize("name", [name for name, claim in LEDGER.items() if claim.rule["kind"] == "every_run"])
def test_the_command_of_a_claim_about_every_run_runs_those_that_it_counts(name):
    claim = LEDGER[name]
    command, *only = claim.command.split(" --only ")
    run = {(task.experiment, task.arm) for task in runner.tasks(only)}
    wanted = {(of, arm) for of, some in claim.rule["runs"].items() for arm in some or experiment.arms(of)[0]}
    assert command == "python -m alexnet_lib experiments" and run == wanted


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


def test_a_card_keeps_options_whole_and_says_what_holds_where_a_verdict_rests_on_it():
    judged = {name: verdicts.Verdict(word, "+1.0", seeds=3, planned=3, runs=(3, 3)) for name, word in
              (("lrn", UNDECIDED), ("overlap", SAME_DIRECTION))}  # fmt: skip
    undecided, tested = (cards.Card([name], judged, {name: False})._repr_html_() for name in judged)
    assert "Holm" not in undecided and "does not hold after Holm" in tested
    assert '<span class="pre">--arm</span> <span class="pre">no_lrn</span>' in undecided
    places = {claim.section: cards.where(claim) for claim in LEDGER.values()}
    assert places["1"] == "Section 1" and places["1, 3.5"] == "Sections 1, 3.5"


def test_a_sentence_without_a_figure_says_why_there_is_none():
    verdict = verdicts.Verdict(UNDECIDED, reason="neither side gets there", seeds=4, planned=4, runs=(4, 4), source="one card")
    assert cards.sentence(LEDGER["wider-weights"], verdict).endswith("Here: neither side gets there; 4 seeds, one card.")


def test_a_sentence_says_what_came_out_or_how_to_measure():
    assert cards.sentence(LEDGER["conv1-neurons"]).endswith("The paper: 253,440. Here: 290,400.")
    assert "`make reproduce PROFILE=paper`" in cards.sentence(LEDGER["headline-2012"])


def test_the_ledger_reads_each_experiment_once(monkeypatch):
    read, planned_runs = [], verdicts.planned_runs
    monkeypatch.setattr(verdicts, "planned_runs", lambda name: read.append(name) or planned_runs(name))
    assert verdicts.verdicts().keys() == LEDGER.keys()
    assert "ablations" in read and len(read) == len(set(read))


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
    # Welch by hand: a variance of 1 and one of 3, of three values each, make 3.2 degrees of freedom; Student has 4.
    half, t = np.sqrt(4 / 3), stats.t(3.2)
    expected = (-4, -4 - t.ppf(0.975) * half, -4 + t.ppf(0.975) * half, 2 * t.sf(4 / half))
    assert (two.mean, two.low, two.high, two.p) == pytest.approx(expected)
    assert statistics.within([2.0, 2.0]).high == 2.0 and statistics.within([0.0, 0.0]).p == 1.0
    assert one.p == pytest.approx(2 * stats.t(2).sf(2 * 3**0.5))
    assert statistics.between([1.0, 2.0], [3.0, 4.0]).low < -2 - 1  # sides with the same spread have one
    assert statistics.within([2.0, 2.0]).p == 0.0 and 0 < statistics.between([1.0, 2.0], [2.0, 2.0]).p < 1
    with pytest.raises(ValueError):
        statistics.within([1.0])


def test_the_number_of_seeds_follows_from_the_power():
    """With a deviation of 0.35 half of the paper's 1.4 points takes seven seeds an arm, half of its 0.4 takes 66."""
    assert statistics.seeds_for(0.35, 0.7) == 7 and statistics.seeds_for(0.35, 0.2) == 66
    assert statistics.seeds_for(0.35, 0.7, arms=1) < 7 and statistics.seeds_for(0.0, 1.0) == 2
    assert statistics.seeds_for(1.0, 1e-6) == 10_000  # or more
    assert statistics.share(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)


def test_paired_tests_by_image():
    right, wrong = np.zeros(100, bool), np.zeros(100, bool)
    wrong[:20] = True
    assert statistics.mcnemar(right, right) == 1.0 and statistics.mcnemar(wrong, right) < 1e-4
    arm, control = np.tile(wrong, (3, 1)), np.tile(right, (3, 1))
    low, high = statistics.with_images(statistics.Estimate(20.0, 19.9, 20.1, 0.0), arm, control)
    by_image = 1.959964 * 100 * np.sqrt(0.2 * 0.8 / 99)
    assert low == pytest.approx(20 - np.hypot(0.1, by_image), abs=1e-5) and high - 20 == pytest.approx(20 - low)
    assert statistics.with_images(statistics.Estimate(0.0, -3.0, 3.0, 1.0), arm, arm) == (-3.0, 3.0)  # no image differs


def test_several_effects_hold_by_holm_s_method():
    """The least p is tested at 5 % / 3, the next at 5 % / 2 and the last at 5 %, and none after the first that fails."""
    assert statistics.holm([0.04, 0.01, 0.03]) == [False, True, False]
    assert statistics.holm([0.04, 0.01, 0.02]) == [True, True, True] and statistics.holm([]) == []
    assert statistics.holm([0.0168, 0.5, 0.5]) == [False] * 3  # which Sidak's bounds would let pass


def test_towers_dealt_out_at_random_do_not_differ():
    draws = np.random.default_rng(1).normal(size=(40, 2, 16))
    assert np.mean([statistics.towers_differ(d, 999) < 0.05 for d in draws]) < 0.2
    assert statistics.towers_differ([[0.1, 0.2, 0.1, 0.15], [0.8, 0.9, 0.7, 0.85]], 999) < 0.05
    assert statistics.towers_differ([range(16), range(100, 116)], 49) == 1 / 50  # of so many deals none differs as much
    assert len({statistics.towers_differ(draws[0], 99) for _ in range(5)}) == 1  # the deals are the same each time


def test_seeds_planned_are_those_of_the_arms():
    for name, plan in plans.plans().items():
        if "by" in plan:
            assert all(len(seeds) == len(set(seeds)) for arm in plan["arms"] if (seeds := plans.seeds_of(plan, arm)))
            continue
        there, seeds = experiment.arms(name)
        assert all(len(arm.seeds) == len(set(arm.seeds)) for arm in there.values()) and tuple(plan["seeds"]) == seeds


def test_what_the_source_of_a_verdict_says():
    verdict = pair("lrn", shifted(-1.4), BASE)  # of records that trained nothing
    assert verdict.source == "set-a, set-b, cpu" and records.results_root().name == "results"
    for seconds, said in ((1799, "60 min"), (1800, "1.0 h"), (4500, "2.5 h")):  # of each of two runs
        assert verdicts._source([run("a", s) | {"training_seconds": seconds} for s in (0, 1)]).endswith(f"{said} of training")
    assert verdicts._source([]) == ""
    assert verdicts._source([run("a", 0), {"training_seconds": 60}]) == "cpu, 1 min of training"  # one that names no data
