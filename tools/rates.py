"""Sets the learning rate of every arm that has a choice of its own to the best of it: python tools/rates.py

The arms of `selection` are called ARM-lrRATE, after an arm of another experiment. The best rate has the lowest ten-view
error on the held-out images; where it is the lowest or the highest that was tried, the choice is not over, the arm keeps its
rate, and the command fails.
"""

import argparse
import json
import sys
from collections import defaultdict

from ending import ended

from alexnet_lib.evidence import experiment, plans, records
from alexnet_lib.system.files import whole

COMPARED = ("ablations", "ablations_cpu", "dropout_speed", "fully_connected")  # the experiments whose arms have a choice


def tried() -> dict[str, dict[float, float]]:
    """By arm, the held-out error in percent by rate, from the records in results/selection/."""
    found: dict[str, dict[float, float]] = defaultdict(dict)
    for record in records.read_experiment("selection"):
        name, _, rate = record["arm"].rpartition("-lr")
        found[name][float(rate)] = record["metrics"]["valid_top1_error"]
    return found


def best(errors: dict[float, float]) -> float | None:
    """The rate with the lowest error; None where it lies at an edge of what was tried."""
    rate = min(errors, key=errors.get)
    return rate if min(errors) < rate < max(errors) else None


def choose() -> dict[tuple[str, str], float | None]:
    """By (experiment, arm), the best rate of what was tried."""
    errors, every = tried(), plans.plans()
    return {(name, arm): best(errors[arm]) for name in COMPARED for arm in every[name]["arms"] if arm in errors}


def set_rates(chosen: dict[tuple[str, str], float | None]) -> list[str]:
    """Writes the rates into experiments.json. Returns a line for each arm that changed."""
    every, lines = plans.plans(), []
    for (name, arm), rate in chosen.items():
        now = experiment.arms(name)[0][arm].train.lr
        if rate is not None and rate != now:
            every[name]["arms"][arm].setdefault("train", {})["lr"] = rate
            lines.append(f"{name}/{arm}: {now:g} becomes {rate:g}")
    with whole(plans.plans_path()) as partial:
        partial.write_text(text_of(every), encoding="utf-8")
    return lines


def text_of(every: dict) -> str:
    """experiments.json as it is written: an arm a line."""

    def line(indent: int, key: str, value) -> str:
        return f"{' ' * indent}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"

    blocks = []
    for name, plan in every.items():
        fields = [line(2, key, value) for key, value in plan.items() if key != "arms"]
        arms = ",\n".join(line(3, arm, changes) for arm, changes in plan["arms"].items())
        blocks.append(f" {json.dumps(name)}: {{\n" + ",\n".join([*fields, f'  "arms": {{\n{arms}\n  }}']) + "\n }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def main() -> int:
    chosen = choose()
    print("\n".join(set_rates(chosen) or ["every arm has the best of its rates"]))
    open_ones = [f"{name}/{arm}" for (name, arm), rate in chosen.items() if rate is None]
    if open_ones:
        print(f"error: the best rate lies at an edge of what was tried for {', '.join(open_ones)}: add rates", file=sys.stderr)
    return bool(open_ones)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(ended(main))
