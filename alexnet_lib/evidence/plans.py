"""The experiments, as data: experiments.json, or a file of your own that $ALEXNET_EXPERIMENTS names."""

import json
import os
from pathlib import Path

from . import records


def plans_path() -> Path:
    """The file that `plans` reads."""
    return Path(os.environ.get("ALEXNET_EXPERIMENTS") or Path(__file__).with_name("experiments.json"))


def plans() -> dict[str, dict]:
    """experiments.json, whole.

    An experiment names a preset of the command line and its seeds; `model` and `train` hold fields that all arms change,
    each arm the fields that it alone changes, and perhaps seeds of its own. `selection` marks one that chooses among
    settings on held-out images: its runs never see the test split. `baseline` names the arm that others are compared
    with, which is measured first.
    """
    return json.loads(plans_path().read_text())


def of_another_kind(experiment: str, device: str) -> str:
    """Why a run on this device may not be added to an experiment's records; "" where it may, as one that chooses may always."""
    here = records.device_kind(device)
    others = records.device_kinds(records.read_experiment(experiment)) - {here}
    if not others or plans()[experiment].get("selection"):
        return ""
    return f"the records of {experiment} are of a {' and a '.join(others)}, beside which none of a {here} counts"


def seeds_of(plan: dict, arm: str) -> list[int]:
    """The seeds of an arm of an experiment: its own, or those that all its arms share."""
    return plan["arms"][arm].get("seeds", plan["seeds"])
