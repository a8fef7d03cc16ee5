"""What was made for speed, measured against what it replaces: each row is a ratio of two things taken in turns in one run.

python tools/bench.py [--quick] [--record] [--only NAME]. Times of one machine say little about another; ratios say more.
Measure on a quiet machine: the ranges show where it was not. Without --record the figures go to runs/bench/, with it to
results/bench/. The command fails where a ratio with a target misses it.

The rows are in benchmarks/, a file for each NAME below; the cost model's is in machine.py.
"""

import argparse
import sys

import machine
import torch
from benchmarks import busy, epochs, network, normalisation, packing, pages, pipeline, views

from alexnet_lib.evidence import records
from alexnet_lib.system import memory

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--record", action="store_true", help="write to results/bench/")
    parser.add_argument("--only", metavar="NAME", choices=PARTS, help=f"one part: {', '.join(PARTS)}")
    asked = parser.parse_args()
    memory.keep_pages()
    rows = []
    for name in [asked.only] if asked.only else PARTS:
        for row in PARTS[name](3 if asked.quick else 7):
            rows.append(row)
            print(shown(row), flush=True)
    record = {"experiment": "bench", "seed": 0}
    record["arm"] = ("gpu" if torch.cuda.is_available() else "cpu") + (f"-{asked.only}" if asked.only else "")
    record |= {"environment": records.environment() | {"precision": "float32"}}
    record |= {"metrics": {f"{r['what']}, {r['threads']} threads": r["ratio"] for r in rows}, "rows": rows}
    path = records.results_path(record) if asked.record else records.results_path(record, records.runs_root())
    print(f"record: {records.write(record, path)}")
    if missed := [f"{r['what']}: {r['ratio']:.2f}" for r in rows if r["ratio"] < r["target"]]:
        sys.exit(f"below target: {'; '.join(missed)}")


def shown(row: dict) -> str:
    """A row in two lines."""
    target = f", at least {row['target']:g}" if row["target"] else ""
    target += f", {row['wanted']:g} was wanted" if "wanted" in row else ""
    sides = f"{row['ours']:.4g} against {row['theirs']:.4g} {row['unit']}"
    spread = f" (turns from {row['low']:.2f} to {row['high']:.2f})" if row["turns"] > 1 else ""
    name = f"{row['what']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
    return f"{name}\n    {row['ratio']:.2f} x{spread}{target}; {sides}"


if __name__ == "__main__":
    main()
