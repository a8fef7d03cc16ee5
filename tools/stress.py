"""make stress: the long form of the tests of faults, and the table of what was tried and what survived.

python tools/stress.py [--record] [--jobs N] [-k WORDS] [TEST ...]. ALEXNET_STRESS scales the number of tries, 1 by default. What else
pytest is to be told stands in $PYTEST_ADDOPTS. It takes hours; stopped, it goes on with the tests that were not through, as long
as the commit is the same. Without --record the table is only printed and kept in runs/stress/; with it results/stress/ has it,
and the page "What it survives" shows it. The command fails where anything was lost, or a test did not come to its count.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from ending import ended
from tabulate import tabulate

from alexnet_lib.config import InputError
from alexnet_lib.evidence import records
from alexnet_lib.system.stopping import STOPPED

PYTEST = [sys.executable, "-m", "pytest", "-m", "stress"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the table to results/stress/")
    parser.add_argument("--jobs", type=int, default=1, help="so many tests at a time, 1 by default")
    parser.add_argument("-k", metavar="WORDS", default="", help="those tests alone that pytest's -k chooses")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="files, or tests by pytest's names; all by default")
    asked = parser.parse_args()
    if asked.jobs < 1:
        parser.error("--jobs is at least 1")
    if asked.record and (asked.tests or asked.k):
        parser.error("--record is of all tests: leave out TEST and -k")
    environment = records.environment()
    scale = os.environ.get("ALEXNET_STRESS") or "1"
    through = records.runs_root() / "stress" / f"{environment['commit']}-{scale}"
    rows, status = [], 0
    try:
        names = chosen(asked.tests, asked.k)
        with ThreadPoolExecutor(asked.jobs) as pool:  # what it runs are processes
            for found, failed in pool.map(partial(tried, through=through), names):
                rows, status = rows + found, status or failed
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    if not rows:
        print("error: nothing was counted", file=sys.stderr)
        return status or 1
    print(table(rows))
    record = {"experiment": "stress", "arm": "cpu", "seed": 0, "environment": environment, "rows": rows}
    record["metrics"] = {name: sum(row[name] for row in rows) for name in ("tried", "survived")}
    records.keep(record, asked.record and len(rows) == len(names))
    if not status:
        shutil.rmtree(through, ignore_errors=True)
    return status


def chosen(tests: list[str], words: str) -> list[str]:
    """The tests of the long form that pytest would run. Raises InputError where it cannot read them all."""
    command = [*PYTEST, "--collect-only", "-k", words, *tests]
    listed = subprocess.run(command, cwd=records.REPOSITORY, capture_output=True, text=True)
    if listed.returncode not in (0, 5):  # 5: there are none
        print(listed.stdout, listed.stderr, sep="\n", file=sys.stderr)
        raise InputError("pytest cannot list the tests, see above")
    return [line for line in listed.stdout.splitlines() if "::" in line]


def tried(name: str, through: Path) -> tuple[list[dict], int]:
    """(rows, status of pytest) of a test, which is not run again where it is through. Without a row the status is not 0."""
    report = through / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.xml"
    partial = report.with_suffix(".partial")
    if report.exists():
        return counts(ElementTree.parse(report).getroot()), 0
    through.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    command = [*PYTEST, "-o", "junit_family=xunit1", f"--junitxml={partial}", name]
    status = subprocess.run(command, cwd=records.REPOSITORY).returncode
    if status in (130, 2):  # pytest was interrupted
        raise KeyboardInterrupt
    rows = counts(ElementTree.parse(partial).getroot()) if partial.exists() else []
    if not rows:
        print(f"error: {name} did not come to its count", file=sys.stderr)
    elif not status:
        partial.replace(report)
    return rows, status or int(not rows)


def counts(report: ElementTree.Element) -> list[dict]:
    """A row for each test that counted: the fault, what must happen, how often it was tried and survived, seconds."""
    rows = []
    for case in report.iter("testcase"):
        found = {prop.get("name"): prop.get("value") for prop in case.iter("property")}
        if "tried" in found:
            counted = {name: int(found[name]) for name in ("tried", "survived")}
            rows.append({"fault": found["fault"], "must": found["must"], **counted, "seconds": round(float(case.get("time")))})
    return rows


def table(rows: list[dict], kind: str = "simple") -> str:
    """The rows as text, or as Markdown with kind="pipe"; what a test tried in its short form and in its long one is one row."""
    added: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        before = added.get((row["fault"], row["must"]), [0, 0])
        added[row["fault"], row["must"]] = [before[0] + row["tried"], before[1] + row["survived"]]
    widths = [None, None] if kind == "pipe" else [44, 44]
    shown = [[*words, *numbers] for words, numbers in added.items()]
    heads = ["fault", "what must happen", "tried", "survived"]
    return tabulate(shown, headers=heads, tablefmt=kind, maxcolwidths=[*widths, None, None])


def markdown() -> str:
    """The table of the committed record, for the book; where there is none, the command that makes one."""
    found = records.read_experiment("stress")
    if not found:
        return "Nothing. The command that makes a record is `make stress RECORD=1`."
    record = found[0]
    hours = sum(row["seconds"] for row in record["rows"]) / 3600
    tried, survived = (f"{record['metrics'][name]:,.0f}" for name in ("tried", "survived"))
    where = f"commit `{record['environment']['commit'][:7]}`, {record['environment']['processor']}, {hours:.1f} hours"
    return f"{tried} tries, {survived} survived ({where}).\n\n{table(record['rows'], 'pipe')}\n"


if __name__ == "__main__":
    sys.exit(ended(main))
