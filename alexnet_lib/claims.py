"""The ledger of the paper's claims, and the verdict on each by a rule that was written before measuring."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from . import records
from .strict import InputError, one_of

REPRODUCED, SAME_DIRECTION, NOT_HERE = "reproduced", "same direction", "not at this scale"
CONTRADICTED, NEEDS_IMAGENET, NOT_YET = "contradicted", "needs ImageNet", "not measured yet"
KEYS = {"id", "section", "claim", "paper", "recorded", "experiment", "arm", "rule", "command"}
KINDS = {
    "exact": {"expected"},
    "needs_imagenet": set(),
    "within": {"metric", "against", "effect"},
    "threshold": {"metric", "above"},
}
SEEDS_NEEDED = 3
LEDGER = Path(__file__).with_name("claims.json")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper. `rule["text"]` says how its verdict is reached, `recorded` what the authors' own log has.

    Records of `experiment` count where they are of `arm`: another arm with the same seed is no other seed.
    """

    id: str
    section: str
    claim: str
    paper: str
    recorded: dict | None
    experiment: str | None
    arm: str | None
    rule: dict
    command: str


@dataclass(frozen=True)
class Verdict:
    """word: one of the six above. value: what was measured, as text; seeds: how many records it rests on."""

    word: str
    value: str = ""
    seeds: int = 0


@cache
def ledger(path: Path = LEDGER) -> dict[str, Claim]:
    """All claims by id. Raises InputError for an entry that is not of the ledger's form."""
    claims = {}
    for entry in json.loads(path.read_text()):
        if set(entry) != KEYS:
            raise InputError(f"{path.name}: claim {entry.get('id')!r} needs exactly the keys {', '.join(sorted(KEYS))}")
        one_of(f"rule of claim {entry['id']!r}", entry["rule"].get("kind"), KINDS)
        if set(entry["rule"]) != KINDS[entry["rule"]["kind"]] | {"kind", "text"}:
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


def paired(treated: Sequence[dict], control: Sequence[dict], metric: str) -> list[float]:
    """Differences of a metric between two arms' records, for the seeds that both have, in the order of the seeds."""
    of = [{r["seed"]: r["metrics"][metric] for r in arm} for arm in (treated, control)]
    return [of[0][seed] - of[1][seed] for seed in sorted(set(of[0]) & set(of[1]))]


def judge(claim: Claim, found: Sequence[dict] | None = None) -> Verdict:
    """The verdict on a claim from records: those given, else its experiment's and arm's in results/."""
    rule = claim.rule
    if rule["kind"] == "exact":
        return _judge_exact(rule["expected"])
    if rule["kind"] == "needs_imagenet":
        return Verdict(NEEDS_IMAGENET)
    if found is None:
        found = [r for r in records.read_experiment(claim.experiment) if r["arm"] == claim.arm]
    metrics = [r["metrics"] for r in found if rule["metric"] in r["metrics"]]
    values = [m[rule["metric"]] - (m[rule["against"]] if "against" in rule else 0) for m in metrics]
    if len(values) < SEEDS_NEEDED:
        return Verdict(NOT_YET, ", ".join(f"{v:+.2f}" for v in values), len(values))
    mean, low, high = interval(values)
    text = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    if rule["kind"] == "threshold":
        contradicted = rule["above"] == 0 and high < 0
        word = SAME_DIRECTION if low > rule["above"] else CONTRADICTED if contradicted else NOT_HERE
        return Verdict(word, text, len(values))
    sign = np.sign(rule["effect"])
    if sign * (low if sign > 0 else high) > 0:
        return Verdict(REPRODUCED if low <= rule["effect"] <= high else SAME_DIRECTION, text, len(values))
    opposite = high < 0 if sign > 0 else low > 0
    return Verdict(CONTRADICTED if opposite else NOT_HERE, text, len(values))


def _judge_exact(expected: int) -> Verdict:
    from .config import ModelConfig
    from .summary import layer_table, totals

    counted = totals(layer_table(ModelConfig.preset("paper")))["parameters"]
    return Verdict(REPRODUCED if counted == expected else CONTRADICTED, f"{counted:,}")


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
        ours = verdict.value + (f", {verdict.seeds} seed(s)" if verdict.seeds else "")
        word = verdict.word
        if word in (NOT_YET, NEEDS_IMAGENET):
            word += f"; measured by: `{claim.command}`"
        return (claim.section, claim.claim, claim.paper, recorded, ours or "none", word)

    def _repr_markdown_(self) -> str:
        lines = [self.HEAD, ("---",) * len(self.HEAD), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def __repr__(self) -> str:
        return "\n\n".join("\n".join(f"{h}: {c}" for h, c in zip(self.HEAD, row, strict=True)) for row in self.rows)
