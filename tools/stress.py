"""make stress: the long form of the tests of faults, and the table of what was tried and what survived.

python tools/stress.py [--record] [WORDS FOR PYTEST]. ALEXNET_STRESS scales the number of tries, 1 by default. Without
--record the table is only printed and kept in runs/stress/; with it results/stress/ has it, and the page "What it survives"
shows it. The command fails where anything was lost, or a test did not come to its count.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tabulate import tabulate

from alexnet_lib.evidence import records


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the table to results/stress/")
    asked, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "stress", "-o", "junit_family=xunit1", f"--junitxml={report}", *words]
        status = subprocess.run(command, cwd=records.REPOSITORY).returncode
        if not report.exists():
            return status or 1
        rows = counts(ElementTree.parse(report).getroot())
    if not rows:
        print("error: nothing was counted", file=sys.stderr)
        return status or 1
    print(table(rows))
    record = {"experiment": "stress", "arm": "cpu", "seed": 0, "environment": records.environment(), "rows": rows}
    record["metrics"] = {name: sum(row[name] for row in rows) for name in ("tried", "survived")}
    records.keep(record, asked.record)
    return status


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
    """The rows as text, or as Markdown with kind="pipe"."""
    heads = {"fault": "fault", "must": "what must happen", "tried": "tried", "survived": "survived"}
    widths = [None, None] if kind == "pipe" else [44, 44]
    shown = [{head: row[name] for name, head in heads.items()} for row in rows]
    return tabulate(shown, headers="keys", tablefmt=kind, maxcolwidths=[*widths, None, None])


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
    sys.exit(main())
