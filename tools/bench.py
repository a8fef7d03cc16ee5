"""What was made for speed, measured against what it replaces: each row is a ratio of two things taken in turns in one run.

python tools/bench.py [--quick] [--record] [--only NAME]. Times of one machine say little about another; ratios say more.
Measure on a quiet machine: the ranges show where it was not. Without --record the figures go to runs/bench/, with it to
results/bench/. The command fails where a ratio with a target misses it, or is more than 5 % below the one that results/bench/
has of a machine of the same kind; that record stays then, and runs/bench/ has the new figures.

The rows are in benchmarks/, a file for each NAME below; the cost model's is in machine.py.
"""

import argparse
import sys

import machine
import torch
from benchmarks import busy, epochs, network, normalisation, packing, pages, pipeline, views
from ending import ended

from alexnet_lib.evidence import records
from alexnet_lib.system import memory
from alexnet_lib.system.precision import has_bfloat16

PARTS = {
    "normalisation": normalisation.rows,
    "network": network.rows,
    "pipeline": pipeline.rows,
    "packing": packing.rows,
    "epochs": epochs.rows,
    "views": views.rows,
    "memory": pages.rows,
    "model": machine.rows,
    "busy": busy.rows,
}
SAME = ("processor", "cores", "threads", "device", "bfloat16")  # of machines whose ratios can be compared
KEPT = 0.95  # of an earlier ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--record", action="store_true", help="write to results/bench/")
    parser.add_argument("--only", metavar="NAME", choices=PARTS, help=f"one part: {', '.join(PARTS)}")
    asked = parser.parse_args()
    kind = "gpu" if torch.cuda.is_available() else "cpu"
    committed = records.results_path({"experiment": "bench", "seed": 0, "arm": kind})
    before = records.read(committed) if committed.exists() else None  # a damaged one is said now, and not after half an hour
    memory.keep_pages()
    rows = []
    for name in [asked.only] if asked.only else PARTS:
        for row in PARTS[name](3 if asked.quick else 7):
            rows.append(row)
            print(shown(row), flush=True)
    record = {"experiment": "bench", "seed": 0, "arm": kind + (f"-{asked.only}" if asked.only else "")}
    record |= {"environment": records.environment() | {"precision": "float32", "bfloat16": has_bfloat16("cpu")}}
    record |= {"metrics": {f"{r['what']}, {r['threads']} threads": r["ratio"] for r in rows}, "rows": rows}
    missed = [f"{r['what']}: {r['ratio']:.2f} for {r['target']:g}" for r in rows if r["ratio"] < r["target"]]
    missed += fallen(record, before)
    records.keep(record, asked.record and not missed)
    if missed:
        sys.exit(f"below target: {'; '.join(missed)}")


def fallen(record: dict, before: dict | None) -> list[str]:
    """The rows that are more than 5 % below an earlier record of a machine of the same kind."""
    if before is None or any(record["environment"].get(fact) != before["environment"].get(fact) for fact in SAME):
        return []
    was, now = before["metrics"], record["metrics"]
    return [f"{what}: {now[what]:.2f}, before {was[what]:.2f}" for what in now if what in was and now[what] < KEPT * was[what]]


def shown(row: dict) -> str:
    """A row in two lines."""
    target = f", at least {row['target']:g}" if row["target"] else ""
    target += f", {row['wanted']:g} was wanted" if "wanted" in row else ""
    sides = f"{row['ours']:.4g} against {row['theirs']:.4g} {row['unit']}"
    spread = f" (turns from {row['low']:.2f} to {row['high']:.2f})" if row["turns"] > 1 else ""
    name = f"{row['what']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
    return f"{name}\n    {row['ratio']:.2f} x{spread}{target}; {sides}"


if __name__ == "__main__":
    sys.exit(ended(main))
