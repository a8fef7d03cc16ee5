"""The experiments, as data: experiments.json, or a file of your own that $ALEXNET_EXPERIMENTS names."""

import json
import os
from pathlib import Path

from ..system.strict import InputError, file_name, one_of, path_of
from . import records

OF_AN_ARM = ("model", "train", "seeds")
OF_A_PLAN = (*OF_AN_ARM, "about", "preset", "arms", "baseline", "selection", "keep", "by")


def plans_path() -> Path:
    """The file that `plans` reads."""
    return path_of(os.environ.get("ALEXNET_EXPERIMENTS") or Path(__file__).with_name("experiments.json"))


def plans() -> dict[str, dict]:
    """experiments.json, whole.

    An experiment names a preset of the command line and its seeds; `model` and `train` hold fields that all arms change,
    each arm the fields that it alone changes, and perhaps seeds of its own. `selection` marks one that chooses among
    settings on held-out images: its runs never see the test split. `keep`: the networks are kept beside their records. `by`
    names the command that makes the records of one that trains nothing. `baseline` names the arm that others are compared
    with, which is measured first.

    Raises InputError where the file cannot be read or is not of this form.
    """
    path = plans_path()
    try:
        every = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(every, dict):
            raise ValueError("it is no object")
        for name, plan in every.items():
            _check(name, plan)
    except OSError as error:
        raise InputError(f"cannot read the experiments in {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no file of experiments: {error}") from error
    return every


def _check(name: str, plan) -> None:
    """Raises ValueError for a plan that lacks what all have."""
    arms = plan.get("arms") if isinstance(plan, dict) else None
    if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
        raise ValueError(f"{name} needs arms, each with its name and what it changes")
    if not isinstance(plan.get("preset"), str):
        raise ValueError(f"{name} needs a preset")
    for some in [plan.get("seeds"), *(arm["seeds"] for arm in arms.values() if "seeds" in arm)]:
        if not isinstance(some, list) or not all(type(seed) is int for seed in some):
            raise ValueError(f"{name} needs seeds, whole numbers")
    for each in (name, *arms):
        file_name("the name of an experiment or an arm", each)
    for what, part, keys in ((name, plan, OF_A_PLAN), *((f"{name}/{arm}", arms[arm], OF_AN_ARM) for arm in arms)):
        for key in part:
            one_of(f"key of {what}", key, keys)
        if not all(isinstance(part.get(fields, {}), dict) for fields in ("model", "train")):
            raise ValueError(f"{what} needs fields and their values as its model and train")
    for key in ("selection", "keep"):
        if type(plan.get(key, False)) is not bool:
            raise ValueError(f"{key} of {name} must be true or false")
    if not isinstance(plan.get("by", ""), str):
        raise ValueError(f"by of {name} must name a command")


def of_another_kind(experiment: str, device: str) -> str:
    """Why a run on this device may not be added to an experiment's records; "" where it may, as one that chooses may always."""
    here = records.device_kind(device)
    others = records.device_kinds(records.read_experiment(experiment)) - {here}
    if not others or plans()[experiment].get("selection"):
        return ""
    return f"the records of {experiment} are of a {' and a '.join(others)}, beside which none of a {here} counts"


def plan_of(experiment: str) -> dict:
    """An experiment of `plans`. Raises InputError where it has none of that name."""
    one_of("experiment", experiment, every := plans())
    return every[experiment]


def trained(experiment: str) -> dict:
    """`plan_of` one whose arms are trained. Raises InputError where another command makes the records."""
    plan = plan_of(experiment)
    if "by" in plan:
        raise InputError(f"{experiment} trains nothing: {plan['by']} makes its records")
    return plan


def planned_runs(experiment: str) -> list[dict]:
    """The records of the runs that an experiment names: whoever adds seeds until the figure pleases changes no verdict."""
    plan = plan_of(experiment)
    found = records.read_experiment(experiment)
    return [r for r in found if r["arm"] in plan["arms"] and r["seed"] in seeds_of(plan, r["arm"])]


def seeds_of(plan: dict, arm: str) -> list[int]:
    """The seeds of an arm of an experiment: its own, or those that all its arms share."""
    return plan["arms"][arm].get("seeds", plan["seeds"])
