"""The ledger of the paper's claims, each with the rule of its verdict, written before measuring. verdicts.py applies them."""

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from ..config import InputError, one_of

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
    """One claim of the paper; `recorded` is what the authors' own log has.

    Records of `experiment` count where they are of `arm` or `control`. With a control the effect is the difference of
    the two arms; without one it is measured inside each run. `rule_in_words` says how the verdict is reached.

    Raises InputError for a rule that is not of a kind in KINDS.
    """

    id: str
    section: str
    claim: str
    paper: str
    rule: dict
    recorded: dict | None = None
    experiment: str | None = None
    arm: str | None = None
    control: str | None = None
    command: str = ""

    def __post_init__(self):
        one_of(f"rule of claim {self.id!r}", self.rule.get("kind"), KINDS)
        needed, optional = KINDS[self.rule["kind"]]
        if not needed <= set(self.rule) - {"kind"} <= needed | optional:
            raise InputError(f"the rule of claim {self.id!r} lacks a key or has one too many")
        if self.rule["kind"] == "difference" and (self.rule["effect"] is None) != ("toward" in self.rule):
            raise InputError(f"the rule of claim {self.id!r} needs an effect, or toward: 1 or -1")
        if not self.command:
            experiment, arms = self.experiment, "".join(f" --arm {name}" for name in (self.arm, self.control) if name)
            if self.rule["kind"] == "every_run":
                experiment = next(iter(self.rule["runs"]))
            object.__setattr__(self, "command", f"python -m alexnet_lib measure {experiment}{arms} --record")

    @property
    def unit(self) -> str:
        """Of the effect, for axes and tables."""
        units = {"speedup": "times", "every_run": "of the runs"}
        return self.rule.get("unit", units.get(self.rule["kind"], "points"))

    @property
    def effect(self) -> float | None:
        """The paper's effect in that unit; None where it gives no number."""
        return self.rule.get("factor", self.rule.get("effect"))


@cache
def ledger(path: Path = LEDGER) -> dict[str, Claim]:
    """All claims by id. Raises InputError for an entry that is not of the ledger's form."""
    try:
        return {entry["id"]: _claim(entry) for entry in json.loads(path.read_text())}
    except KeyError:
        raise InputError(f"{path.name}: a claim has no id") from None


def _claim(entry: dict) -> Claim:
    for key in entry:
        one_of(f"key of claim {entry['id']!r}", key, (f.name for f in fields(Claim)))
    if absent := {"section", "claim", "paper", "rule"} - set(entry):
        raise InputError(f"claim {entry['id']!r} has no {', '.join(sorted(absent))}")
    return Claim(**entry)


def rule_in_words(claim: Claim) -> str:
    """How the verdict on a claim is reached, in a sentence or two; written before the runs, as the rule is."""
    rule, unit = claim.rule, f" {claim.unit}"
    if rule["kind"] == "counted":
        bounds = f"{rule['low']:,} or more" if rule["high"] is None else f"{rule['low']:,} to {rule['high']:,}"
        return (
            f"Counted. Reproduced with {bounds}, else contradicted."
            if rule["low"] != rule["high"]
            else f"Counted. Reproduced if it is {rule['low']:,}, else contradicted."
        )
    if rule["kind"] == "needs":
        return f"Only {rule['what']} can settle it."
    if rule["kind"] == "every_run":
        return (
            f"Each run by itself: a permutation test at p < {rule['p']}. Reproduced where all of {EVERY_RUN} runs or more pass; "
            "same direction where the 95 % interval of their share lies above one half, contradicted where below."
        )
    what = "The 95 % interval of the " + (
        "ratio of times" if rule["kind"] == "speedup" else "difference" if claim.control else "mean over runs"
    )
    if rule["kind"] == "speedup":
        shown = {"train_error": "training", "valid_error": "held-out"}[rule.get("of", "train_error")]
        what += f" to {rule['reach']:g} % {shown} error, the control's to the arm's"
        inside, margin = f"1 / {rule['margin']:g} to {rule['margin']:g}", "1"
    else:
        what += f" of {rule['metric']}" + (f" less {rule['against']}" if "against" in rule else "")
        inside, margin = f"{-rule['margin']:g} to {rule['margin']:g}{unit}", "0"
    if rule["kind"] == "no_change":
        return f"{what}: reproduced where it lies in {inside}, contradicted where it lies wholly outside, else undecided."
    if rule["kind"] == "no_worse":
        bound = f"{rule['margin']:g}{unit}"
        return f"{what}: reproduced where it lies below {bound}, contradicted where it lies above, else undecided."
    sign = "" if rule["kind"] == "speedup" else " below 0" if (rule["effect"] or rule["toward"]) < 0 else " above 0"
    sign = sign or " above 1"
    band = ""
    if claim.effect is not None:
        low, high = sorted(factor * claim.effect for factor in BAND)
        band = f"reproduced where it lies in {low:g} to {high:g} (half to twice the paper's), "
    return (
        f"{what}: no effect where it lies in {inside}; {band}same direction where it lies{sign}, contradicted where it lies "
        f"on the other side of {margin}, else undecided."
    )
