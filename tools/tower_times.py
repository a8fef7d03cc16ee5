"""Two processes of one thread, a tower of the paper's network each, against one process with half the kernels: an analogue of
the claim that two GPUs take slightly less time than one (section 3.2), for a machine without two cards of 2012.

OMP_NUM_THREADS=1 python tools/tower_times.py [--batch 32] [--steps 9] [--record]

On two cores at least, and on a quiet machine: the figures are ratios of times, measured in turns, but what else runs there takes
a core from the two and none from the one. They go to runs/tower_times/, with --record to results/tower_times/, where none is
measured again.
"""

import argparse
import os
import sys

from ending import ended
from measure_towers import take_steps

from alexnet_lib import ModelConfig
from alexnet_lib.evidence import records
from alexnet_lib.evidence.plans import plan_of
from alexnet_lib.system.processes import run_in_processes
from alexnet_lib.system.strict import InputError
from alexnet_lib.system.workers import cores

SIDES = {"towers": ("paper", 2), "one_gpu": ("one_gpu", 1)}  # name -> (network, processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="images in a step")
    parser.add_argument("--steps", type=int, default=9, help="steps of which the median counts")
    parser.add_argument("--record", action="store_true", help="write to results/tower_times/")
    asked = parser.parse_args()
    if asked.batch < 1 or asked.steps < 1:
        parser.error("--batch and --steps are 1 or more")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise InputError("set OMP_NUM_THREADS=1: a process of one thread stands for a card, with one tower or with all")
    if cores() < 2:
        raise InputError("two processes of one thread need two cores, and this one has one")
    for seed in plan_of("tower_times")["seeds"]:
        record = {"experiment": "tower_times", "arm": "towers", "seed": seed}
        if asked.record and records.results_path(record).exists():
            print(f"{seed}: recorded before")
            continue
        seconds = {}
        for side in sorted(SIDES, reverse=seed % 2 == 0):  # neither is always the first
            network, processes = SIDES[side]
            call = take_steps, side, ModelConfig.preset(network), asked.batch, asked.steps
            seconds[side] = max(row["seconds"] for row in run_in_processes(*call, processes=processes, timeout=900))
        change = 100 * (seconds["towers"] / seconds["one_gpu"] - 1)
        print(f"{seed}: {', '.join(f'{side} {time:.3f} s' for side, time in seconds.items())}: {change:+.1f} %", flush=True)
        record |= {"environment": records.environment() | {"batch": asked.batch, "steps": asked.steps, "precision": "float32"}}
        record["environment"]["load"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        record |= {"metrics": {"time_change": change} | {f"{side}_seconds": time for side, time in seconds.items()}}
        records.keep(record, asked.record)


if __name__ == "__main__":
    sys.exit(ended(main))
