"""The ledger of the paper's claims, each with the rule of its verdict, written before measuring. verdicts.py applies them."""

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from ..config import InputError, one_of
from .language import Said

# Keys of a rule beside its kind: those that it needs, and those that it may have. An effect or factor is null where the
# paper has no number: then `toward` gives its sign, or the factor is above 1.
KINDS = {
    "counted": ({"quantity", "low", "high"}, {"unit"}),
    "needs": ({"what"}, set()),
    "difference": ({"metric", "effect", "margin"}, {"against", "toward", "unit"}),
    "no_worse": ({"metric", "margin"}, set()),
    "no_change": ({"metric", "margin"}, set()),
    "speedup": ({"reach", "factor", "margin"}, {"of"}),
    "every_run": ({"p", "runs"}, set()),
}
BAND = (0.5, 2.0)  # of the paper's effect, in which the whole interval of a reproduced one lies
EVERY_RUN = 10  # runs that a statement about every run needs
LEDGER = Path(__file__).with_name("claims.json")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper; `recorded` is what the authors' own log has, `remark` what may explain the outcome.

    Records of `experiment` count where they are of `arm` or `control`. With a control the effect is the difference of
    the two arms; without one it is measured inside each run. `rule_in_words` says how the verdict is reached.

    Raises InputError for a rule that is not of a kind in KINDS, or one that compares runs without saying which.
    """

    id: str
    section: str
    claim: str
    paper: str
    rule: dict
    recorded: dict | None = None
    experiment: str = ""
    arm: str = ""
    control: str = ""
    remark: str = ""  # written after the runs, unlike the rule
    command: str = ""

    def __post_init__(self):
        one_of(f"rule of claim {self.id!r}", self.rule.get("kind"), KINDS)
        needed, optional = KINDS[self.rule["kind"]]
        if not needed <= set(self.rule) - {"kind"} <= needed | optional:
            raise InputError(f"the rule of claim {self.id!r} lacks a key or has one too many")
        if self.rule["kind"] == "difference" and bool(self.rule["effect"]) == ("toward" in self.rule):
            raise InputError(f"the rule of claim {self.id!r} needs an effect other than 0, or toward: 1 or -1")
        sides = ("arm", "control") if self.rule["kind"] == "speedup" else ("arm",)
        if "margin" in self.rule and (absent := [name for name in ("experiment", *sides) if not getattr(self, name)]):
            raise InputError(f"claim {self.id!r} is measured, and has no {' and no '.join(absent)}")
        if not self.command:
            object.__setattr__(self, "command", f"python -m alexnet_lib {self._measured_by()}")

    def _measured_by(self) -> str:
        if self.rule["kind"] == "every_run":
            wanted = self.rule["runs"].items()
            only = [f"{name}/{arm}" if arm else name for name, arms in wanted for arm in arms or [""]]
            return "experiments" + "".join(f" --only {each}" for each in only)
        arms = "".join(f" --arm {name}" for name in (self.arm, self.control) if name)
        return f"measure {self.experiment}{arms} --record"

    @property
    def unit(self) -> str:
        """Of the effect, for axes and tables."""
        units = {"speedup": "times", "every_run": "runs"}
        return self.rule.get("unit", units.get(self.rule["kind"], "points"))

    @property
    def effect(self) -> float | None:
        """The paper's effect in that unit; None where it gives no number."""
        return self.rule.get("factor", self.rule.get("effect"))


@cache
def ledger(path: Path = LEDGER) -> dict[str, Claim]:
    """All claims by id. Raises InputError for an entry that is not of the ledger's form."""
    try:
        return {entry["id"]: _claim(entry) for entry in json.loads(path.read_text(encoding="utf-8"))}
    except KeyError:
        raise InputError(f"{path.name}: a claim has no id") from None


def _claim(entry: dict) -> Claim:
    for key in entry:
        one_of(f"key of claim {entry['id']!r}", key, (f.name for f in fields(Claim)))
    if absent := {"section", "claim", "paper", "rule"} - set(entry):
        raise InputError(f"claim {entry['id']!r} has no {', '.join(sorted(absent))}")
    return Claim(**entry)


def rule_in_words(claim: Claim) -> Said:
    """How the verdict on a claim is reached, in a sentence or two; written before the runs, as the rule is."""
    rule, kind = claim.rule, claim.rule["kind"]
    if kind == "counted":
        low, high = rule["low"], rule["high"]
        if low == high:
            return Said("Counted. Reproduced if it is {low:,}, else contradicted.", low=low)
        bounds = Said("{low:,} or more", low=low) if high is None else Said("{low:,} to {high:,}", low=low, high=high)
        return Said("Counted. Reproduced with {bounds}, else contradicted.", bounds=bounds)
    if kind == "needs":
        return Said("Only {what} can settle it.", what=Said(rule["what"]))
    if kind == "every_run":
        return Said(
            "Each run by itself: a permutation test at p < {p}. Reproduced where all of {runs} runs or more pass; same direction "
            "where the 95 % interval of their share lies above one half, contradicted where below.",
            p=rule["p"],
            runs=EVERY_RUN,
        )
    margin, unit = rule["margin"], Said(claim.unit)
    if kind == "speedup":
        error = Said({"train_error": "training error", "valid_error": "held-out error"}[rule.get("of", "train_error")])
        what = Said(
            "The 95 % interval of the ratio of times to {reach:g} % {error}, the control's to the arm's",
            reach=rule["reach"],
            error=error,
        )
        inside, zero, above = Said("1 / {margin:g} to {margin:g}", margin=margin), "1", True
    else:
        figure = Said("{metric} less {against}", **rule) if "against" in rule else rule["metric"]
        over = "difference" if claim.control else "mean over runs"
        what = Said("The 95 % interval of the " + over + " of {figure}", figure=figure)
        inside, zero = Said("{low:g} to {high:g} {unit}", low=-margin, high=margin, unit=unit), "0"
        above = (rule.get("effect") or rule.get("toward") or 0) > 0
    if kind == "no_change":
        rest = "{what}: reproduced where it lies in {inside}, contradicted where it lies wholly outside, else undecided."
        return Said(rest, what=what, inside=inside)
    if kind == "no_worse":
        rest = "{what}: reproduced where it lies below {bound:g} {unit}, contradicted where it lies above, else undecided."
        return Said(rest, what=what, bound=margin, unit=unit)
    band = ""
    if claim.effect is not None:
        low, high = sorted(factor * claim.effect for factor in BAND)
        band = Said("reproduced where it lies in {low:g} to {high:g} (half to twice the paper's), ", low=low, high=high)
    return Said(
        "{what}: no effect where it lies in {inside}; {band}same direction where it lies {side}, contradicted where it lies "
        "on the other side of {zero}, else undecided.",
        what=what,
        inside=inside,
        band=band,
        side=Said("above {zero}" if above else "below {zero}", zero=zero),
        zero=zero,
    )
