"""make experiments: which runs are left, in which order, and that they are done once, several at a time, and can be stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from helpers import ROOT, TINY, is_running

from alexnet_lib import InputError
from alexnet_lib.evidence import experiment, records, runner
from alexnet_lib.system.files import sole_use

QUICK = {"epochs": 1, "limit": 40, "batch_size": 20, "holdout": 0}


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Two small experiments on photos10, one of them a selection, and an empty results/."""
    whole = {"preset": "quick", "model": TINY, "train": QUICK}
    every = {
        "tiny": whole | {"seeds": [1, 2], "baseline": "b", "arms": {"a": {}, "b": {"train": {"lr": 0.02}}}},
        "other": whole | {"seeds": [5], "arms": {"c": {"seeds": [5, 6, 7]}}},
        "choice": whole | {"seeds": [9], "selection": True, "arms": {"d": {}}},
    }
    (tmp_path / "plans.json").write_text(json.dumps(every))
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", str(tmp_path / "plans.json"))
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    return tmp_path


def names(tasks) -> list[str]:
    return [f"{task.experiment}/{task.arm}{task.seed}" for task in tasks]


def test_what_chooses_comes_first_then_the_baseline_then_breadth_first(few):
    order = ["choice/d9", "tiny/b1", "tiny/b2", "tiny/a1", "other/c5", "tiny/a2", "other/c6", "other/c7"]
    assert names(runner.tasks()) == order
    assert names(runner.tasks(["other", "tiny/a"], seeds=2)) == ["other/c5", "tiny/a1", "other/c6", "tiny/a2"]
    for wrong in (["tinny"], ["tiny/z"]):
        with pytest.raises(InputError, match=r"Did you mean|unknown arm"):
            runner.tasks(wrong)


def test_the_real_plans_begin_with_what_chooses_and_the_baseline():
    every = runner.tasks()
    kinds = [task.experiment for task in every]
    first = kinds.index("ablations")
    assert set(kinds[:first]) == {"selection"} and {task.arm for task in every[first : first + 10]} == {"whole"}


def test_a_run_of_another_kind_of_device_is_not_put_beside_the_others(few, capsys):
    """The baseline of an experiment was measured on a card: a processor's run would be compared with nothing."""
    facts = {"experiment": "tiny", "arm": "b", "seed": 1, "metrics": {}, "environment": {"device": "NVIDIA H200"}}
    records.write(facts, records.results_path(facts))
    chosen = facts | {"experiment": "choice", "seed": 8, "arm": "d"}
    records.write(chosen, records.results_path(chosen))
    assert names(runner.wanted(runner.tasks(), "cpu")) == ["choice/d9", "other/c5", "other/c6", "other/c7"]
    assert "left out, 3 runs: the records of tiny are of a GPU" in capsys.readouterr().err
    assert len(runner.wanted(runner.tasks(), "cuda")) == 7
    with pytest.raises(InputError, match="are of a GPU"):
        list(experiment.measure("tiny", ["a"], [1], record=True, device="cpu"))
    assert len(list(experiment.measure("tiny", ["a"], [1], device="cpu"))) == 1  # a try is nobody's evidence


PROGRAM = [sys.executable, "-m", "alexnet_lib", "experiments", "--only", "tiny", "--jobs", "2", "--device", "cpu"]


def test_runs_are_recorded_once_and_a_failed_one_is_named(few):
    done = subprocess.run(PROGRAM, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert "4 recorded" in done.stdout, done.stdout + done.stderr[-2000:]
    written = {path: path.read_bytes() for path in records.results_root().rglob("*.json")}
    assert len(written) == 4 and "recorded" in runner.table(runner.tasks())
    (few / "results" / "tiny" / "a-seed1.json").unlink()
    again = subprocess.run(PROGRAM, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert "1 recorded" in again.stdout
    left = {path: text for path, text in written.items() if path.name != "a-seed1.json"}
    assert all(path.read_bytes() == text for path, text in left.items())
    every = json.loads((few / "plans.json").read_text())
    every["tiny"]["train"] = QUICK | {"lr": 1e30}
    (few / "plans.json").write_text(json.dumps(every))
    for path in (few / "results" / "tiny").glob("*-seed2.json"):
        path.unlink()
    broken = subprocess.run(PROGRAM, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert "1 failed, 1 recorded" in broken.stdout and broken.returncode == 1 and "failed: tiny/a seed 2" in broken.stderr


def test_no_hours_at_all_start_no_run(few, monkeypatch):
    monkeypatch.setattr(runner, "_start", lambda *_: pytest.fail("started"))
    ended = runner.run_all(runner.tasks(), device="cpu", hours=0)
    assert not ended.total() and runner.in_words(ended, runner.tasks()) == "nothing was run"
    assert runner.in_words(ended, []) == "all is recorded"


def test_a_run_that_another_process_has_did_not_fail(few, monkeypatch, capsys):
    """The same command in another window has taken it: here it is refused, and goes on there. The other's log is gone."""
    refused = SimpleNamespace(poll=lambda: 1, stdin=None)
    monkeypatch.setattr(runner, "_start", lambda *_: refused)
    monkeypatch.setattr(runner, "PAUSE", 0)
    every = runner.tasks(["tiny/a"])
    with sole_use(every[0].folder):
        ended = runner.run_all(every, device="cpu")
    assert runner.in_words(ended, every) == "1 running elsewhere, 1 failed"
    assert "failed: tiny/a seed 2: it said nothing" in capsys.readouterr().err


STARTER = """
import time
from alexnet_lib.evidence import runner
run = runner._start(runner.Task("tiny", "a", 1), "", "cpu")
print(run.pid, flush=True)
time.sleep(600)
"""


def test_a_run_whose_starter_is_killed_stops(few):
    every = json.loads((few / "plans.json").read_text())
    every["tiny"]["train"] = QUICK | {"epochs": 50_000, "limit": 400}
    (few / "plans.json").write_text(json.dumps(every))
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        run = int(starter.stdout.readline())
        log, deadline = few / "runs/tiny/a-seed1/log.txt", time.monotonic() + 200
        while not list(log.parent.glob("checkpoint-*.safetensors")) and time.monotonic() < deadline:  # it trains
            time.sleep(0.1)
        starter.kill()
    while is_running(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(run) and log.read_text().rstrip().endswith("stopped. The same command goes on from here")


def ignore_ctrl_c() -> None:
    """As nohup and a shell's & leave it to what they start, and to whatever that starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("asked, before", [(signal.SIGINT, None), (signal.SIGTERM, ignore_ctrl_c)])
def test_asked_to_stop_it_ends_its_runs_and_leaves_none_behind(few, asked, before):
    every = json.loads((few / "plans.json").read_text())
    every["tiny"]["train"] = QUICK | {"epochs": 500, "limit": 400}
    (few / "plans.json").write_text(json.dumps(every))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(PROGRAM, cwd=ROOT, preexec_fn=before, **pipes) as process:
        logs, deadline = few / "runs" / "tiny", time.monotonic() + 120
        while len([p for p in logs.rglob("log.txt") if "img/s" in p.read_text()]) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(asked)
        assert process.wait(timeout=120) != 0
    assert len(list(logs.rglob("checkpoint-*.safetensors"))) >= 2
    alive = subprocess.run(["pgrep", "-f", str(few)], capture_output=True, text=True).stdout.split()
    assert [pid for pid in alive if pid != str(os.getpid())] == []
