"""make stress: what tests count becomes a table and a record, and a loss is a failure."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import stress
from helpers import ROOT

FOUND = {"fault": "a fault", "must": "it goes on", "tried": 3, "survived": 3}
PROPERTIES = "".join(f'<property name="{name}" value="{value}"/>' for name, value in FOUND.items())
CASE = f'<s><testcase time="2.4"><properties>{PROPERTIES}</properties></testcase><testcase time="1"/></s>'


def test_what_was_counted_is_recorded(tmp_path):
    words = ["-p", "no:cacheprovider", "tests/test_records.py", "-k", "damage_of_a_record"]
    env = os.environ | {"ALEXNET_RUNS": str(tmp_path), "ALEXNET_STRESS": "0.3"}
    done = subprocess.run([sys.executable, "tools/stress.py", *words], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "stress" / "cpu-seed0.json").read_text())
    assert record["metrics"] == {"tried": 60, "survived": 60} and "named when it is read" in done.stdout
    assert [row["tried"] for row in record["rows"]] == [60]
    assert not [path for path in (tmp_path / "stress").iterdir() if path.is_dir()]


def test_a_test_that_is_through_is_not_run_again(tmp_path, monkeypatch):
    runs = []

    def pytest_stopped(command, **_):
        """The first test comes to its end, the second is interrupted."""
        runs.append(command[-1])
        report = next(Path(word.removeprefix("--junitxml=")) for word in command if word.startswith("--junitxml="))
        report.write_text(CASE)
        return subprocess.CompletedProcess(command, 2 * (command[-1] == "b::second" and runs.count("b::second") == 1))

    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path))
    monkeypatch.setattr(stress, "chosen", lambda words: ["a::first", "b::second"])
    monkeypatch.setattr(stress.subprocess, "run", pytest_stopped)
    monkeypatch.setattr(stress.records, "environment", lambda: {"commit": "0123456789"})
    monkeypatch.setattr(sys, "argv", ["stress.py"])
    assert stress.main() == 130 and not (tmp_path / "stress" / "cpu-seed0.json").exists()
    assert stress.main() == 0 and runs == ["a::first", "b::second", "b::second"]
    assert json.loads((tmp_path / "stress" / "cpu-seed0.json").read_text())["metrics"] == {"tried": 6, "survived": 6}


def test_where_nothing_is_counted_it_fails(tmp_path):
    words = ["tests/test_records.py", "-p", "no:cacheprovider", "-k", "no_such_test"]
    done = subprocess.run([sys.executable, "tools/stress.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.splitlines()[-1] == "error: nothing was counted"


def test_a_lost_one_fails_and_is_in_the_table(counted):
    with pytest.raises(AssertionError, match="a fault: 2 of 3 survived"):
        counted("a fault", "it goes on", 3, 2)
    rows = stress.counts(ElementTree.fromstring(CASE.replace('"survived" value="3"', '"survived" value="2"')))
    assert rows == [FOUND | {"survived": 2, "seconds": 2}]
    assert "| a fault | it goes on         |       3 |          2 |" in stress.table(rows, "pipe")


def test_the_page_shows_the_record_or_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    assert "make stress RECORD=1" in stress.markdown()
    row = {"fault": "f", "must": "m", "tried": 1200, "survived": 1200, "seconds": 3600}
    environment = {"commit": "0123456789", "processor": "a processor"}
    record = {"experiment": "stress", "arm": "cpu", "seed": 0, "metrics": {"tried": 1200, "survived": 1200}}
    stress.records.write(record | {"rows": [row], "environment": environment}, tmp_path / "stress" / "cpu-seed0.json")
    assert "1,200 tries, 1,200 survived (commit `0123456`, a processor, 1.0 hours)" in stress.markdown()
