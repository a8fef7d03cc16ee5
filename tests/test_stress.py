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

from alexnet_lib import InputError

FOUND = {"fault": "a fault", "must": "it goes on", "tried": 3, "survived": 3}
PROPERTIES = "".join(f'<property name="{name}" value="{value}"/>' for name, value in FOUND.items())
CASE = f'<s><testcase time="2.4"><properties>{PROPERTIES}</properties></testcase><testcase time="1"/></s>'


def test_what_was_counted_is_recorded(tmp_path):
    words = ["tests/test_records.py", "-k", "damage_of_a_record"]
    env = os.environ | {"ALEXNET_RUNS": str(tmp_path), "ALEXNET_STRESS": "0.3", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
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
    monkeypatch.setattr(stress, "chosen", lambda tests, words: ["a::first", "b::second"])
    monkeypatch.setattr(stress.subprocess, "run", pytest_stopped)
    monkeypatch.setattr(stress.records, "environment", lambda: {"commit": "0123456789"})
    monkeypatch.setattr(sys, "argv", ["stress.py"])
    assert stress.main() == 130 and not (tmp_path / "stress" / "cpu-seed0.json").exists()
    assert stress.main() == 0 and runs == ["a::first", "b::second", "b::second"]
    assert json.loads((tmp_path / "stress" / "cpu-seed0.json").read_text())["metrics"] == {"tried": 6, "survived": 6}


def ended(monkeypatch, status: int, listed: str = "", report: str = "") -> None:
    """Each process of pytest ends with this status, having listed tests or written a report."""

    def pytest_ended(command, **_):
        if report and (to := [word for word in command if word.startswith("--junitxml=")]):
            Path(to[0].removeprefix("--junitxml=")).write_text(report)
        return subprocess.CompletedProcess(command, status, listed, "")

    monkeypatch.setattr(stress.subprocess, "run", pytest_ended)


def test_several_at_a_time_make_one_record(tmp_path, monkeypatch):
    ended(monkeypatch, 0, report=CASE)
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path))
    monkeypatch.setattr(stress, "chosen", lambda tests, words: ["a::first", "b::second", "c::third"])
    monkeypatch.setattr(stress.records, "environment", lambda: {"commit": "0123456789"})
    monkeypatch.setattr(sys, "argv", ["stress.py", "--jobs", "2"])
    assert stress.main() == 0
    assert json.loads((tmp_path / "stress" / "cpu-seed0.json").read_text())["metrics"] == {"tried": 9, "survived": 9}
    monkeypatch.setattr(sys, "argv", ["stress.py", "--jobs", "0"])
    with pytest.raises(SystemExit):
        stress.main()


def test_a_word_that_names_a_file_may_choose_tests_too(monkeypatch):
    """-k tools is no file, though there is one of that name."""
    seen = []
    monkeypatch.setattr(sys, "argv", ["stress.py", "-k", "tools", "tests/test_stress.py"])
    monkeypatch.setattr(stress.records, "environment", lambda: {"commit": "0123456789"})
    monkeypatch.setattr(stress, "chosen", lambda tests, words: seen.append((tests, words)) or [])
    assert stress.main() == 1 and seen == [(["tests/test_stress.py"], "tools")]


def test_tests_that_cannot_be_listed_are_not_left_out(monkeypatch, capsys):
    ended(monkeypatch, 2, "a::first\nERROR b - ImportError")
    with pytest.raises(InputError, match="cannot list the tests"):
        stress.chosen([], "")
    assert "ERROR b - ImportError" in capsys.readouterr().err
    ended(monkeypatch, 5)
    assert stress.chosen([], "") == []


def test_a_test_that_is_skipped_does_not_count_as_survived(tmp_path, monkeypatch, capsys):
    """Nor does a record without it go to results/; and it is run again."""
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(stress.records, "environment", lambda: {"commit": "0123456789"})
    monkeypatch.setattr(sys, "argv", ["stress.py", "--record"])
    monkeypatch.setattr(stress, "chosen", lambda tests, words: ["a::first"])
    ended(monkeypatch, 0, report="<s><testcase time='1'/></s>")
    assert stress.main() == 1 and "a::first did not come to its count" in capsys.readouterr().err
    ended(monkeypatch, 0, report=CASE)
    monkeypatch.setattr(
        stress, "tried", lambda name, through, whole=stress.tried: whole(name, through) if name[0] == "a" else ([], 1)
    )
    monkeypatch.setattr(stress, "chosen", lambda tests, words: ["a::first", "b::second"])
    assert stress.main() == 1 and not (tmp_path / "results").exists()
    monkeypatch.setattr(stress, "chosen", lambda tests, words: ["a::first"])
    assert stress.main() == 0 and (tmp_path / "results" / "stress" / "cpu-seed0.json").exists()


def test_the_record_is_of_every_test(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stress.py", "--record", "tests/test_stress.py"])
    with pytest.raises(SystemExit):
        stress.main()
    assert "--record is of all tests" in capsys.readouterr().err


def test_where_nothing_is_counted_it_fails(tmp_path):
    words = ["tests/test_records.py", "-k", "no_such_test"]
    env = os.environ | {"PYTEST_ADDOPTS": "-p no:cacheprovider"}
    done = subprocess.run([sys.executable, "tools/stress.py", *words], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.splitlines()[-1] == "error: nothing was counted"


def test_a_lost_one_fails_and_is_in_the_table(counted):
    with pytest.raises(AssertionError, match="a fault: 2 of 3 survived"):
        counted("a fault", "it goes on", 3, 2)
    rows = stress.counts(ElementTree.fromstring(CASE.replace('"survived" value="3"', '"survived" value="2"')))
    assert rows == [FOUND | {"survived": 2, "seconds": 2}]
    assert "| a fault | it goes on         |       3 |          2 |" in stress.table(rows, "pipe")
    both = stress.table([*rows, FOUND | {"tried": 30, "survived": 30}], "pipe")
    assert "| a fault | it goes on         |      33 |         32 |" in both and both.count("a fault") == 1


def test_the_page_shows_the_record_or_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    assert "make stress RECORD=1" in stress.markdown()
    row = {"fault": "f", "must": "m", "tried": 1200, "survived": 1200, "seconds": 3600}
    environment = {"commit": "0123456789", "processor": "a processor"}
    record = {"experiment": "stress", "arm": "cpu", "seed": 0, "metrics": {"tried": 1200, "survived": 1200}}
    stress.records.write(record | {"rows": [row], "environment": environment}, tmp_path / "stress" / "cpu-seed0.json")
    assert "1,200 tries, 1,200 survived (commit `0123456`, a processor, 1.0 hours)" in stress.markdown()
