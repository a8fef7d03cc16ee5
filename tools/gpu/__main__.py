"""Runs on a machine with a card, with the packages that are there, and stops by itself in time.

python -m gpu [--minutes 8] [--device cuda] [--data FOLDER] [--images FOLDER] [--out FOLDER] [--only PART] [--side-by-side 12] [--runs FILE]
python -m gpu --take FOLDER

Each part is a process of its own, so that one that hangs or breaks takes no other with it; it writes its record after every
row. At the end a table, and OUT/parcels/: at most eight files of 15 MiB. `--take` brings such files into results/, checked.
With --device cpu all of it is rehearsed on tiny sizes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from alexnet_lib.config import InputError
from alexnet_lib.evidence import records
from alexnet_lib.system.files import advice

from . import checks, evidence, grid, parcels, speed, start

PARTS = {"checks": checks.rows, "speed": speed.rows, "evidence": evidence.rows, "start": start.rows}
SHARES = {"checks": 0.19, "speed": 0.27, "start": 0.22}  # of the time; evidence has what is left
CLOSING, GRACE = 15.0, 5.0  # seconds for the table and the parcels, and for a part to end by itself
REHEARSAL = 60.0  # minutes: it is not cut short, however busy the machine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="", help="what the experiments train on: a packed set or a folder; else their preset's")
    parser.add_argument("--images", default="", help="large photographs in folders by class, for paper size")
    parser.add_argument("--out", type=Path, default=None, help="by default runs/gpu, or runs/gpu-rehearsed")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--side-by-side", type=int, default=evidence.SIDE_BY_SIDE, help="runs of the experiments at a time")
    parser.add_argument("--runs", type=Path, help="the runs to measure in this order, as python -m gpu.grid lists them")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # in the process of that part
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="bring parcels from there into results/")
    asked = parser.parse_args()
    try:
        if asked.take:
            print("\n".join(f"taken: {path}" for path in parcels.take(asked.take)))
            return 0
        if asked.side_by_side < 1:
            raise InputError(f"--side-by-side must be 1 or more, not {asked.side_by_side}")
        if asked.runs:
            grid.read(asked.runs)  # a slip is said before the card is used
        rehearsed = "-rehearsed" if asked.device == "cpu" else ""  # its tiny runs are nothing that a card goes on from
        asked.out = (asked.out or records.runs_root() / f"gpu{rehearsed}").resolve()
        if asked.part:
            run_part(asked)
            return 0
        return run(asked)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a folder that cannot be written
        print(f"error: {error.filename or 'the system says'}: {advice(error)}", file=sys.stderr)
        return 1


def run(asked: argparse.Namespace) -> int:
    """All parts, one after the other; 1 where a part failed or was cut short."""
    if asked.device != "cpu" and not torch.cuda.is_available():
        raise InputError("there is no GPU here: rehearse with DEVICE=cpu")
    began, whole, failed = time.monotonic(), 60 * (REHEARSAL if asked.device == "cpu" else asked.minutes), []
    for name in [asked.only] if asked.only else PARTS:
        left = whole - CLOSING - (time.monotonic() - began)
        planned = SHARES.get(name) if not asked.only else None
        seconds = min(left, planned * whole) if planned else left - (0 if asked.only else SHARES["start"] * whole)
        print(f"== {name}, {max(0, seconds):.0f} s", flush=True)
        if not (seconds > 0 and finished(name, seconds, asked)):
            failed.append(name)
    print("\n".join(table(asked.out)))
    for path in parcels.pack(asked.out / "results", asked.out / "parcels"):
        print(f"parcel: {path}")
    if failed:
        print(f"failed or cut short: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def finished(name: str, seconds: float, asked: argparse.Namespace) -> bool:
    """Whether a part ended by itself and well; whatever it started is ended with it."""
    command = [sys.executable, "-m", "gpu", "--part", name, "--minutes", str(seconds / 60), "--device", asked.device]
    command += ["--data", asked.data, "--images", asked.images, "--out", str(asked.out)]
    command += ["--side-by-side", str(asked.side_by_side), *(["--runs", str(asked.runs.resolve())] if asked.runs else [])]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            return process.wait(seconds + GRACE) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run_part(asked: argparse.Namespace) -> None:
    """Writes what a part has measured after every row."""
    where = records.environment(torch.device(asked.device))
    record = {"experiment": "gpu", "arm": f"{asked.part}-{where['device'].replace(' ', '-').lower()}", "seed": 0}
    record |= {"environment": where, "metrics": {}, "rows": []}
    deadline = time.monotonic() + 60 * asked.minutes
    for row in PARTS[asked.part](asked, deadline):
        print(line(row), flush=True)
        record["rows"].append(row)
        if "ratio" in row:
            record["metrics"][row["what"]] = row["ratio"]
        records.write(record, records.results_path(record, asked.out / "results"))


def table(out: Path) -> Iterator[str]:
    for path in sorted((out / "results" / "gpu").glob("*.json")):
        record = records.read(path)
        yield f"\n{record['arm']}: {record['environment']['device']}, torch {record['environment']['versions']['torch']}"
        yield from map(line, record["rows"])


def line(row: dict) -> str:
    """A row as text: how it went, or a ratio and what it must reach."""
    if "ratio" not in row:
        return f"  {row['how']:<8} {row['what']}" + (f": {row['why']}" if row.get("why") else "")
    target = f", at least {row['target']:g}" if row.get("target") else ""
    missed = "below    " if row["ratio"] < row.get("target", 0) else "         "
    return f"  {missed}{row['what']}: {row['ratio']:.3g}{target}; {row['ours']:.4g} against {row['theirs']:.4g} {row['unit']}"


if __name__ == "__main__":
    sys.exit(main())
