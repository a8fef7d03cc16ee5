"""From records to verdicts: what the runs of a claim's arms say under its rule."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import numpy as np

from . import records, statistics
from .claims import BAND, EVERY_RUN, Claim, ledger
from .counts import QUANTITIES
from .language import Said
from .plans import plan_of, planned_runs, seeds_of
from .statistics import Estimate

REPRODUCED, SAME_DIRECTION, CONTRADICTED = "reproduced", "same direction", "contradicted"
NO_EFFECT, UNDECIDED, NOT_YET = "no effect", "undecided", "not measured yet"
NEEDS_IMAGENET, NEEDS_HARDWARE = "needs ImageNet", "needs hardware"
WORDS = (REPRODUCED, SAME_DIRECTION, NO_EFFECT, UNDECIDED, CONTRADICTED, NEEDS_IMAGENET, NEEDS_HARDWARE, NOT_YET)


@dataclass(frozen=True)
class Verdict:
    """What a claim's records say.

    Attributes:
        word: one of WORDS.
        value: what was measured, as text.
        seeds: how many runs it rests on of the side that lacks the most of its planned ones, or else has the fewest.
        planned: the seeds of that side in experiments.json.
        runs: how many runs of the arm, and of the control where there is one.
        effects: one a seed: for a comparison, each run of the arm against the mean of the control.
        interval: (mean, low, high) of the effect; None for fewer than two runs.
        relative: the same in percent of the control's error, where the effect is one of error.
        images: (low, high) in points for other test images as well as other seeds; None where records lack outcomes.
        p: that chance alone gives as much, two-sided: against no effect, or where the claim is that there is none, or none for
            the worse, against the end of the margin that is nearest to what came out. None where nothing is tested.
        more: seeds an arm beyond those there are that would settle an undecided one, were the effect as large as measured.
        source: data, hardware and time.
        reason: why there is no verdict, or what the word leaves out.
    """

    word: str
    value: str = ""
    seeds: int = 0
    planned: int = 0
    runs: tuple[int, ...] = ()
    effects: tuple[float, ...] = ()
    interval: tuple[float, float, float] | None = None
    relative: tuple[float, float, float] | None = None
    images: tuple[float, float] | None = None
    p: float | None = None
    more: int | None = None
    source: str = ""
    reason: str = ""


def points(record: dict, of: str = "train_error") -> list[tuple[float, float]]:
    """A run's error over time, as (epochs, percent).

    of: "train_error", the mean over an epoch's batches (dropout and crops on), which stands for the epoch's middle, or
    "valid_error", of the images held out (dropout off, centre view), at its end.
    """
    when = 0.5 if of == "train_error" else 0.0
    return [(entry["epoch"] - when, entry[of]) for entry in record.get("curve", ()) if of in entry]


def time_to(record: dict, error: float, of: str = "train_error") -> float:
    """When an error of a run first fell to `error` percent, in epochs, by a straight line between its points, of which the
    first starts at chance; infinite if it never did. of: as in `points`.
    """
    before, then = record["metrics"].get("chance_error", 100.0), 0.0
    for now, there in points(record, of):
        if there <= error:
            return now if there == before else then + (now - then) * (before - error) / (before - there)
        before, then = there, now
    return math.inf


def judge(claim: Claim, measured: Sequence[dict] | None = None, planned: int | None = None) -> Verdict:
    """The verdict on a claim from records: those given, else its experiment's in results/.

    Before all planned runs are there the word is "not measured yet", whatever the first ones say: who may stop when
    the figure pleases finds what pleases.

    Args:
        planned: runs an arm; by default as many seeds as experiments.json names.
    """
    rule = claim.rule
    if rule["kind"] == "counted":
        return _judge_count(rule)
    if rule["kind"] == "needs":
        return Verdict(NEEDS_IMAGENET if rule["what"] == "ImageNet" else NEEDS_HARDWARE)
    if measured is None:
        measured = _runs_of(claim, planned_runs)
    if rule["kind"] == "every_run":
        return _judge_every_run(claim, measured)
    arms = [name for name in (claim.arm, claim.control) if name]
    runs = [[r for r in measured if r["arm"] == name and _value(rule, r) is not None] for name in arms]
    plan = [planned] * len(runs) if planned else _planned(claim)
    missing, fewer, asked = max((p - len(side), -len(side), p) for side, p in zip(runs, plan, strict=True))
    used = [r for side in runs for r in side]
    facts: dict[str, Any] = {"seeds": -fewer, "planned": asked, "runs": tuple(map(len, runs)), "source": _source(used)}
    if reason := _not_comparable(used):
        return Verdict(NOT_YET, reason=reason, **facts)
    sides = [[value for r in side if (value := _value(rule, r)) is not None] for side in runs]
    judged = _judge_speedup if rule["kind"] == "speedup" else _judge_difference
    verdict = judged(claim, sides, runs, facts) if min(map(len, sides)) > 1 else Verdict(NOT_YET, **facts)
    if missing > 0:
        so_far = Said("so far {value}", value=verdict.value) if verdict.value else ""
        return Verdict(**vars(verdict) | {"word": NOT_YET, "value": so_far, "more": missing})
    return verdict


def _runs_of(claim: Claim, read: Callable[[str], list[dict]]) -> list[dict]:
    """The records that a claim is judged by, from its experiments; none for a count, or for what needs ImageNet."""
    names = claim.rule.get("runs") or filter(None, [claim.experiment])
    return [r for name in names for r in read(name)]


def _planned(claim: Claim) -> list[int]:
    plan = plan_of(claim.experiment)
    return [len(seeds_of(plan, name)) for name in (claim.arm, claim.control) if name]


def _value(rule: dict, record: dict) -> float | None:
    """A run's own figure: a metric, less another where the rule says against, or the time to an error."""
    if rule["kind"] == "speedup":
        of = rule.get("of", "train_error")
        return time_to(record, rule["reach"], of) if points(record, of) else None
    numbers = [record["metrics"].get(name) for name in (rule["metric"], rule.get("against")) if name]
    return None if None in numbers else numbers[0] - sum(numbers[1:])


def _not_comparable(used: Sequence[dict]) -> str:
    """Why records must not stand beside each other; "" where they may."""
    for role in ("test", "train"):
        sums = {r["data"][role]["checksum"] for r in used if role in r.get("data", {})}
        if len(sums) > 1:
            names = sorted({r["data"][role]["name"] for r in used if role in r.get("data", {})})
            return Said("the runs have different " + role + " images ({names})", names=_in_a_row(names))
    mixed = len(records.device_kinds(used)) > 1
    return Said("the runs come from different kinds of device (GPU and cpu)") if mixed else ""


def _judge_difference(claim: Claim, sides: list[list[float]], runs: list[list[dict]], facts: dict) -> Verdict:
    rule, margin = claim.rule, claim.rule["margin"]
    test: Callable[..., Estimate] = statistics.between if claim.control else statistics.within
    estimate = test(*sides)
    against = {"no_worse": (margin,), "no_change": (-margin, margin), "difference": (0.0,)}[rule["kind"]]
    p = max(test(np.subtract(sides[0], bound), *sides[1:]).p for bound in against)
    base = float(np.mean(sides[1])) if claim.control else 0.0
    effects = tuple(value - base for value in sides[0])
    relative = images = None
    if claim.control and rule["metric"].endswith("_error") and "against" not in rule and min(map(min, sides)) > 0:
        logs = statistics.between(*[np.log(side) for side in sides])
        mean, low, high = (100 * math.expm1(v) for v in (logs.mean, logs.low, logs.high))
        relative = mean, low, high
        if rule["metric"] == "test_top1_error" and all("outcomes" in r for side in runs for r in side):
            wrong = [np.stack([records.ranks(r) > 0 for r in side]) for side in runs]
            images = statistics.with_images(estimate, *wrong)
    word = {"no_worse": _word_no_worse, "no_change": _word_no_change, "difference": _word}[rule["kind"]](rule, estimate, margin)
    more = None
    if word == UNDECIDED:
        deviation = max(float(np.std(side, ddof=1)) for side in sides)
        short_of = _to_a_word(rule["kind"], estimate.mean, margin)
        more = max(1, statistics.seeds_for(deviation, short_of, len(sides)) - facts["seeds"])
    value = f"{estimate.mean:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    interval = (estimate.mean, estimate.low, estimate.high)
    return Verdict(word, value, effects=effects, interval=interval, relative=relative, images=images, p=p, more=more, **facts)


def _word(rule: dict, estimate: Estimate, margin: float) -> str:
    """A whole interval inside the margin is no effect, one beyond zero is an effect, and all else is undecided."""
    effect = rule["effect"] or rule["toward"]
    toward, away = (estimate.low, estimate.high) if effect > 0 else (-estimate.high, -estimate.low)
    if -margin < toward and away < margin:
        return NO_EFFECT
    if toward > 0:
        inside = rule["effect"] is not None and BAND[0] * abs(effect) <= toward and away <= BAND[1] * abs(effect)
        return REPRODUCED if inside else SAME_DIRECTION
    return CONTRADICTED if away < 0 else UNDECIDED


def _word_no_worse(rule: dict, estimate: Estimate, margin: float) -> str:
    """For a claim that something costs nothing: the arm's figure minus the control's, of which more is worse."""
    if estimate.high < margin:
        return REPRODUCED
    return CONTRADICTED if estimate.low > margin else UNDECIDED


def _word_no_change(rule: dict, estimate: Estimate, margin: float) -> str:
    """For a claim that something makes no difference: an equivalence test, whose interval has to lie in the margin."""
    if -margin < estimate.low and estimate.high < margin:
        return REPRODUCED
    return CONTRADICTED if estimate.low > margin or estimate.high < -margin else UNDECIDED


def _to_a_word(kind: str, mean: float, margin: float) -> float:
    """Half the width that an interval around this effect may have at most, to leave out one of the bounds that keep it undecided."""
    if kind == "difference":  # it leaves out zero, or both ends of the margin
        return max(abs(mean), margin - abs(mean))
    return abs(margin - (mean if kind == "no_worse" else abs(mean)))


def _judge_speedup(claim: Claim, sides: list[list[float]], runs: list[list[dict]], facts: dict) -> Verdict:
    """Ratios multiply, so their logarithms are compared. A run that never got there bounds the ratio on one side only."""
    rule, of = claim.rule, claim.rule.get("of", "train_error")
    ends = [[points(r, of)[-1][0] for r in side] for side in runs]  # up to there a run is known not to have got there
    slow, quick = [any(map(math.isinf, side)) for side in reversed(sides)]  # control, arm
    if slow and quick:
        return Verdict(UNDECIDED, reason=Said("neither side reaches {reach:g} % in every run", **rule), **facts)
    seen = [[min(t, end) for t, end in zip(side, stop, strict=True)] for side, stop in zip(sides, ends, strict=True)]
    arm, control = (np.log(side) for side in seen)
    estimate = statistics.between(control, arm)
    mean, low, high = (math.exp(v) for v in (estimate.mean, estimate.low, estimate.high))
    effects = tuple(math.exp(control.mean() - v) for v in arm)
    if slow or quick:
        low, high = (low, math.inf) if slow else (0.0, high)
    margin, factor = math.log(rule["margin"]), rule["factor"]
    bounds = Estimate(estimate.mean, math.log(low) if low else -math.inf, math.log(high), estimate.p)
    word = _word({"effect": factor and math.log(factor), "toward": 1}, bounds, margin)
    if factor and word in (REPRODUCED, SAME_DIRECTION):  # half to twice the factor, not its logarithm
        word = REPRODUCED if BAND[0] * factor <= low and high <= BAND[1] * factor else SAME_DIRECTION
    more = None
    if word == UNDECIDED and not (slow or quick):
        deviation = max(arm.std(ddof=1), control.std(ddof=1))
        more = max(1, statistics.seeds_for(deviation, _to_a_word("difference", estimate.mean, margin)) - facts["seeds"])
    value, never = f"{mean:.1f} [{low:.1f}, {high:.1f}]", ""
    if slow or quick:
        bound = "at least {mean:.1f} [{low:.1f}, more]" if slow else "at most {mean:.1f} [less, {high:.1f}]"
        value = Said(bound, mean=mean, low=low, high=high)
        never = Said(("the control" if slow else "the arm") + " does not reach {reach:g} % in every run", **rule)
    interval = None if slow or quick else (mean, low, high)
    return Verdict(word, value, effects=effects, interval=interval, p=estimate.p, more=more, reason=never, **facts)


def _judge_every_run(claim: Claim, measured: Sequence[dict]) -> Verdict:
    """A statement about every run: each run of two towers is tested by itself, by dealing its kernels out at random."""
    rule, wanted = claim.rule, claim.rule["runs"]
    asked = [r for r in measured if r["experiment"] in wanted and r["arm"] in (wanted[r["experiment"]] or [r["arm"]])]
    pairs = [r for r in asked if len(r.get("colour_selectivity", ())) == 2]
    count, runs = sum(statistics.towers_differ(r["colour_selectivity"]) < rule["p"] for r in pairs), len(pairs)
    facts: dict[str, Any] = {"seeds": runs, "planned": EVERY_RUN, "source": _source(pairs)}
    if runs < 2:
        return Verdict(NOT_YET, **facts)
    low, high = statistics.share(count, runs)
    word = CONTRADICTED if high < 0.5 else UNDECIDED
    if low > 0.5:
        word = REPRODUCED if count == runs else SAME_DIRECTION
    gaps = tuple(float(abs(np.mean(a) - np.mean(b))) for a, b in (r["colour_selectivity"] for r in pairs))
    value = Said("{count} of {runs}", count=count, runs=runs)
    word, value = (word, value) if runs >= EVERY_RUN else (NOT_YET, Said("so far {value}", value=value))
    return Verdict(word, value, effects=gaps, interval=(count, low * runs, high * runs), **facts)


def _judge_count(rule: dict) -> Verdict:
    counted = QUANTITIES[rule["quantity"]]()
    right = rule["low"] <= counted <= (math.inf if rule["high"] is None else rule["high"])
    value = Said("{counted:,} {unit}", counted=counted, unit=Said(rule["unit"])) if "unit" in rule else f"{counted:,}"
    return Verdict(REPRODUCED if right else CONTRADICTED, value)


def _source(used: Sequence[dict]) -> str:
    """Data set, hardware and time of the records that a verdict rests on; no time where nothing was trained for them."""
    data = sorted({part["name"] for r in used for part in r["data"].values()}) if all("data" in r for r in used) else []
    places = sorted({r["environment"]["device"] for r in used if "environment" in r})
    said: list[str] = [*data, *(Said("{device}", device=place) for place in places)]  # no word of any language
    if times := [r["training_seconds"] for r in used if "training_seconds" in r]:
        minutes = sum(times) / 60
        time = Said("{hours:.1f} h", hours=minutes / 60) if minutes >= 60 else Said("{minutes:.0f} min", minutes=minutes)
        said.append(Said("{time} of training", time=time))
    return _in_a_row(said)


def _in_a_row(names: Sequence[str]) -> str:
    """The names, with the comma of the language that says them."""
    return reduce(lambda rest, name: Said("{name}, {rest}", name=name, rest=rest), reversed(names)) if names else ""


def verdicts() -> dict[str, Verdict]:
    """The verdict on every claim of the ledger, from results/, where each record is read once."""
    read = cache(planned_runs)
    return {name: judge(claim, _runs_of(claim, read)) for name, claim in ledger().items()}


def tally(judged: dict[str, Verdict] | None = None) -> dict[str, int]:
    """How many claims have each verdict, in the order of WORDS; words that none has are left out."""
    counts = Counter(verdict.word for verdict in (judged or verdicts()).values())
    return {word: counts[word] for word in WORDS if counts[word]}


def corrected(judged: dict[str, Verdict]) -> tuple[dict[str, bool], float]:
    """(which tested effects hold after Holm's correction, how many chance alone would bring among so many at 5 %)."""
    tested = {name: v.p for name, v in judged.items() if v.p is not None and v.word != NOT_YET}
    return dict(zip(tested, statistics.holm(list(tested.values())), strict=True)), len(tested) * (1 - statistics.LEVEL)
