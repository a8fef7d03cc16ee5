"""The ledger of the paper's claims, and the verdict on each by a rule that was written before measuring."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..system.strict import InputError, one_of
from . import records

REPRODUCED, SAME_DIRECTION, NOT_HERE = "reproduced", "same direction", "not at this scale"
CONTRADICTED, NEEDS_IMAGENET, NOT_YET = "contradicted", "needs ImageNet", "not measured yet"
KEYS = {"id", "section", "claim", "paper", "recorded", "experiment", "arm", "control", "rule", "command"}
# Keys of a rule beside kind and text, of which those in brackets may be absent. The factor is null where the paper has none.
KINDS = {
    "counted": ({"quantity", "low", "high"}, set()),
    "needs_imagenet": (set(), set()),
    "within": ({"metric", "effect"}, {"against"}),
    "threshold": ({"metric", "above"}, {"against"}),
    "speedup": ({"reach", "factor"}, {"of"}),
}
SEEDS_NEEDED = 3
LEDGER = Path(__file__).with_name("claims.json")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper. `rule["text"]` says how its verdict is reached, `recorded` what the authors' own log has.

    Records of `experiment` count where they are of `arm`: another arm with the same seed is no other seed. With a
    `control` the effect is the difference of the two arms, seed by seed.
    """

    id: str
    section: str
    claim: str
    paper: str
    recorded: dict | None
    experiment: str | None
    arm: str | None
    control: str | None
    rule: dict
    command: str

    @property
    def unit(self) -> str:
        """Of the effect, for axes and tables."""
        return self.rule.get("unit", "times" if self.rule["kind"] == "speedup" else "points")


@dataclass(frozen=True)
class Verdict:
    """word: one of the six above. value: what was measured, as text; seeds: how many records it rests on; effects: by
    seed; interval: (mean, low, high) of the effects, None for fewer than two; source: data, hardware and time."""

    word: str
    value: str = ""
    seeds: int = 0
    effects: tuple[float, ...] = ()
    interval: tuple[float, float, float] | None = None
    source: str = ""


@cache
def ledger(path: Path = LEDGER) -> dict[str, Claim]:
    """All claims by id. Raises InputError for an entry that is not of the ledger's form."""
    claims = {}
    for entry in json.loads(path.read_text()):
        if set(entry) != KEYS:
            raise InputError(f"{path.name}: claim {entry.get('id')!r} needs exactly the keys {', '.join(sorted(KEYS))}")
        rule = dict(entry["rule"])
        one_of(f"rule of claim {entry['id']!r}", rule.get("kind"), KINDS)
        needed, optional = KINDS[rule["kind"]]
        given = set(rule) - {"kind", "text", "unit"}
        if not needed <= given <= needed | optional or "text" not in rule:
            raise InputError(f"{path.name}: the rule of claim {entry['id']!r} lacks a key or has one too many")
        claims[entry["id"]] = Claim(**entry)
    return claims


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high): Student's interval of the mean. For paired arms pass the differences, seed by seed.

    Raises ValueError for fewer than two values.
    """
    from scipy.stats import t

    if len(values) < 2:
        raise ValueError("an interval needs two values or more")
    mean = float(np.mean(values))
    half = float(t.ppf(0.5 + level / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def epochs_to(record: dict, error: float, of: str = "train_error") -> float:
    """The epoch of a run's curve in which an error first was `error` percent or less; infinite if never.

    of: "train_error", of the batches as they were trained on (dropout and crops on), or "valid_error", of the images
    held out (dropout off, centre view).
    """
    return next((float(e["epoch"]) for e in record["curve"] if e.get(of, math.inf) <= error), math.inf)


def effects(claim: Claim, found: Sequence[dict]) -> dict[int, float]:
    """The effect by seed: of the claim's arm, minus that of its control where it has one; for a speedup, the ratio.

    A run that never reaches the error counts with the epochs that it was trained for, so that the ratio is a lower bound.
    """
    rule = claim.rule

    def value(record: dict) -> float | None:
        if rule["kind"] == "speedup":
            reached = epochs_to(record, rule["reach"], rule.get("of", "train_error"))
            return min(reached, float(record["curve"][-1]["epoch"]))
        wanted = [rule["metric"], *([rule["against"]] if "against" in rule else [])]
        numbers = [record["metrics"].get(name) for name in wanted]
        return None if None in numbers else numbers[0] - sum(numbers[1:])

    arms = [{r["seed"]: value(r) for r in found if r["arm"] == arm} for arm in (claim.arm, claim.control)]
    arms = [{seed: v for seed, v in arm.items() if v is not None} for arm in arms]
    if claim.control is None:
        return dict(sorted(arms[0].items()))
    shared = sorted(set(arms[0]) & set(arms[1]))
    if rule["kind"] == "speedup":
        return {seed: arms[1][seed] / arms[0][seed] for seed in shared}
    return {seed: arms[0][seed] - arms[1][seed] for seed in shared}


def judge(claim: Claim, found: Sequence[dict] | None = None) -> Verdict:
    """The verdict on a claim from records: those given, else its experiment's in results/."""
    rule = claim.rule
    if rule["kind"] == "counted":
        return _judge_count(rule)
    if rule["kind"] == "needs_imagenet":
        return Verdict(NEEDS_IMAGENET)
    if found is None:
        found = records.read_experiment(claim.experiment)
    by_seed = effects(claim, found)
    values, style = tuple(by_seed.values()), ".1f" if rule["kind"] == "speedup" else "+.2f"
    used = [r for r in found if r["arm"] in (claim.arm, claim.control) and r["seed"] in by_seed]
    facts = {"seeds": len(values), "effects": values, "source": _source(used)}
    if len(values) < SEEDS_NEEDED:
        return Verdict(NOT_YET, ", ".join(f"{v:{style}}" for v in values), **facts)
    if rule["kind"] == "speedup":  # ratios multiply, so their logarithms are averaged
        mean, low, high = (math.exp(v) for v in interval([math.log(v) for v in values]))
    else:
        mean, low, high = interval(values)
    facts |= {"interval": (mean, low, high)}
    return Verdict(_word(rule, low, high), f"{mean:{style}} [{low:{style}}, {high:{style}}]", **facts)


def _word(rule: dict, low: float, high: float) -> str:
    """The rule applied to an interval."""
    if rule["kind"] == "threshold":
        contradicted = rule["above"] == 0 and high < 0
        return SAME_DIRECTION if low > rule["above"] else CONTRADICTED if contradicted else NOT_HERE
    if rule["kind"] == "speedup":
        low, high = math.log(low), math.log(high)
        effect = math.inf if rule["factor"] is None else math.log(rule["factor"])
    else:
        effect = rule["effect"]
    toward, away = (low, high) if effect > 0 else (-high, -low)
    if toward > 0:
        return REPRODUCED if low <= effect <= high else SAME_DIRECTION
    return CONTRADICTED if away < 0 else NOT_HERE


def _judge_count(rule: dict) -> Verdict:
    from ..summary import QUANTITIES

    counted = QUANTITIES[rule["quantity"]]()
    right = rule["low"] <= counted <= (math.inf if rule["high"] is None else rule["high"])
    return Verdict(REPRODUCED if right else CONTRADICTED, f"{counted:,}")


def _source(found: Sequence[dict]) -> str:
    """Data set, hardware and time of the records that a verdict rests on."""
    if not found:
        return ""
    data = sorted({part["name"] for r in found for part in r["data"].values()}) if all("data" in r for r in found) else []
    places = sorted({r["environment"]["device"] for r in found if "environment" in r})
    hours = sum(r.get("training_seconds", 0) for r in found) / 3600
    return ", ".join([*data, *places, f"{hours:.1f} h of training"])


class Card:
    """Claims beside what was measured, as a table: Markdown for the book, text for a terminal."""

    HEAD = ("Section", "Claim", "The paper", "The authors' log", "Ours", "Verdict")

    def __init__(self, ids: Sequence[str], found: Sequence[dict] | None = None):
        claims = ledger()
        for name in ids:
            one_of("claim", name, claims)
        self.rows = [self._row(claims[name], judge(claims[name], found)) for name in ids]

    @staticmethod
    def _row(claim: Claim, verdict: Verdict) -> tuple[str, ...]:
        recorded = f"{claim.recorded['value']} ({claim.recorded['file']})" if claim.recorded else "none"
        ours = verdict.value + (f" {claim.unit}; {verdict.seeds} seed(s), {verdict.source}" if verdict.seeds else "")
        word = verdict.word
        if word in (NOT_YET, NEEDS_IMAGENET):
            word += f"; measured by: `{claim.command}`"
        return (claim.section, claim.claim, claim.paper, recorded, ours or "none", word)

    def _repr_markdown_(self) -> str:
        lines = [self.HEAD, ("---",) * len(self.HEAD), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def __repr__(self) -> str:
        return "\n\n".join("\n".join(f"{h}: {c}" for h, c in zip(self.HEAD, row, strict=True)) for row in self.rows)


def sentence(claim: Claim) -> str:
    """The verdict in one sentence, for the end of a chapter."""
    verdict = judge(claim)
    if verdict.word == NOT_YET:
        return f"*Not measured yet* ({verdict.seeds} of {SEEDS_NEEDED} seeds): {claim.claim} Measured by: `{claim.command}`."
    if verdict.word == NEEDS_IMAGENET:
        return f"*Needs ImageNet*: {claim.claim} Measured by: `{claim.command}`."
    rests = f" {claim.unit} over {verdict.seeds} seeds ({verdict.source})" if verdict.seeds else ""
    return f"*{verdict.word.capitalize()}*: {claim.claim} The paper: {claim.paper}. Here: {verdict.value}{rests}."
