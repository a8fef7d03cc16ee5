"""Processes: a launcher's variables taken whole, and functions in new processes that start, fail and end as they should."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ROOT, is_running, run, settings
from torch import distributed

from alexnet_lib import InputError
from alexnet_lib.system.processes import LAUNCHER, pick_device, rank_and_world, run_in_processes

WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "1"}


@pytest.fixture
def launched(monkeypatch):
    """Sets what a launcher sets, and nothing else of it."""

    def launch(**variables: str) -> None:
        for name in LAUNCHER:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def test_a_launcher_s_variables_are_taken_whole(launched):
    launched(**WHOLE)
    assert rank_and_world() == (1, 4)
    for nothing in ({}, {"MASTER_ADDR": "here", "MASTER_PORT": "1"}):
        launched(**nothing)
        assert rank_and_world() == (0, 1)


@pytest.mark.parametrize("left", [["RANK"], ["WORLD_SIZE"], ["LOCAL_RANK"], ["RANK", "WORLD_SIZE", "MASTER_ADDR"]])
def test_a_part_of_them_is_refused(launched, left):
    launched(**{name: WHOLE[name] for name in left})
    with pytest.raises(InputError, match=f"has {', '.join(left)} and not .*: start with torchrun, or unset {' '.join(left)}$"):
        rank_and_world()


@pytest.mark.parametrize("wrong", [{"RANK": "4"}, {"RANK": "-1"}, {"RANK": ""}, {"WORLD_SIZE": "two"}, {"WORLD_SIZE": "0"}])
def test_values_that_torchrun_never_sets_are_refused(launched, wrong):
    launched(**(WHOLE | wrong))
    with pytest.raises(InputError, match=r"do not fit together|is not a number"):
        rank_and_world()


def test_a_rank_left_over_stops_a_training(tmp_path):
    done = run("train", "--preset", "quick", "--run-dir", str(tmp_path / "run"), *settings(epochs=1, limit=40), RANK="1")
    assert done.returncode == 1 and not list(tmp_path.rglob("checkpoint-*"))
    assert done.stderr.strip().splitlines()[-1].startswith("error: the environment has RANK and not WORLD_SIZE")


def test_a_processor_with_a_number_is_the_processor():
    """Its runs would else count as those of a GPU."""
    assert pick_device("cpu:0") == pick_device("cpu") == "cpu"
    with pytest.raises(InputError, match="no device ''"):
        pick_device("")


def summed(group, mine: torch.Tensor) -> torch.Tensor:
    total = mine * (distributed.get_rank(group) + 1)
    distributed.all_reduce(total, group=group)
    return total


def summed_without_a_terminal(group, mine: torch.Tensor) -> torch.Tensor:
    os.kill(os.getppid(), signal.SIGHUP)
    return summed(group, mine)


def refuse(group) -> None:
    raise InputError("set it to 3")


def test_what_they_return_what_they_refuse_and_what_they_leave_alone():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        found = run_in_processes(summed_without_a_terminal, torch.tensor([1.0, 2.0]))
    except KeyboardInterrupt:  # which would end the tests
        pytest.fail("a closed terminal stopped it")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [total.tolist() for total in found] == [[3.0, 6.0]] * 2
    with pytest.raises(InputError, match="processes must be 1 or more, not 0"):
        run_in_processes(refuse, processes=0)
    with pytest.raises(InputError, match=r"^set it to 3$"):
        run_in_processes(refuse, restarts=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_process_that_cannot_be_started_is_said_in_a_line(monkeypatch, allowed):
    start, started = multiprocessing.context.SpawnProcess.start, []

    def refused(process) -> None:
        if len(started) == allowed:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(process)
        start(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", refused)
    with pytest.raises(InputError, match=r"^2 processes cannot be started here: Resource temporarily unavailable$"):
        run_in_processes(summed, torch.ones(1))
    assert len(started) == allowed and not multiprocessing.active_children()


SCRIPT = """
import multiprocessing, os, pathlib, time
from alexnet_lib.system.processes import run_in_processes

def work(group, folder):
    pathlib.Path(folder, str(os.getpid())).touch()
    if folder != ".":
        time.sleep(600)
    return os.getpid()

{guard}
    {first}
    pids = run_in_processes(work, {folder!r})
    print("done", len({{os.getpid(), *pids}}))
"""


SPAWN = 'multiprocessing.set_start_method("spawn")'


def script(folder: Path, guard: str, where: str = ".", first: str = SPAWN) -> subprocess.Popen:
    (folder / "script.py").write_text(SCRIPT.format(guard=guard, folder=where, first=first))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(folder / "script.py")], cwd=folder, env=env, **pipes)


def test_it_works_where_processes_are_spawned(tmp_path):
    """As macOS and Windows do it."""
    said = script(tmp_path, 'if __name__ == "__main__":').communicate(timeout=600)
    assert said[0].split() == ["done", "3"], said[1]


@pytest.mark.parametrize("first", ["pass", SPAWN])  # the second fails by itself when it is read again
def test_a_script_without_a_guard_is_told_so_in_a_line(tmp_path, first):
    process = script(tmp_path, "if True:", first=first)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 1
    assert said.splitlines()[-1].endswith('put the call under if __name__ == "__main__":')


def test_they_end_with_the_process_that_started_them(tmp_path):
    (tmp_path / "at work").mkdir()
    parent = script(tmp_path, 'if __name__ == "__main__":', str(tmp_path / "at work"))
    deadline = time.monotonic() + 600
    while len(pids := [int(path.name) for path in (tmp_path / "at work").iterdir()]) < 2 and time.monotonic() < deadline:
        assert parent.poll() is None, parent.communicate()[1]
        time.sleep(0.1)
    at_work = len(pids) == 2 and all(map(is_running, pids))
    parent.kill()
    parent.communicate()
    assert at_work
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.1)
