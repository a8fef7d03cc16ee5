"""Work in several processes: done whole, or ended with a reason and nothing left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT

from alexnet_lib import InputError
from alexnet_lib.system import workers
from alexnet_lib.system.stopping import STOPPING
from alexnet_lib.system.workers import each


def square(n: int) -> int:
    return n * n


@pytest.mark.parametrize("workers", [1, 3, None, 50])
def test_all_is_done_once(workers):
    assert sorted(each(square, range(20), workers)) == [n * n for n in range(20)]
    assert list(each(square, [], workers)) == []


def test_it_is_done_in_other_processes():
    assert os.getpid() not in set(each(lambda _: os.getpid(), range(4), 2))
    assert set(each(lambda _: os.getpid(), range(4), 1)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through_and_ends_the_others(workers):
    def work(n: int) -> int:
        if n == 1:
            raise OSError(28, "No space left on device")
        time.sleep(0 if workers == 1 else 30)
        return n

    started = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        list(each(work, range(4), workers))
    assert time.monotonic() - started < 15 and not multiprocessing.active_children()


@pytest.mark.parametrize("moment", range(6))
def test_a_killed_worker_is_noticed_at_any_moment(moment):
    """With long jobs in hand, too, which fill the pipes of the standard library's pools and block them for ever."""

    def work(job: tuple[int, str]) -> str:
        if job[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return job[1]

    with pytest.raises(InputError, match="was killed, perhaps for want of memory"):
        list(each(work, [(n, "x" * 200_000) for n in range(6)], 3))
    assert not multiprocessing.active_children()


def test_an_interruption_ends_the_workers_at_once():
    """Of this process alone, as a notebook does it: the workers hear nothing of it."""
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in each(lambda n: time.sleep(0 if n < 2 else 60), range(6), 2):
            raise KeyboardInterrupt
    assert time.monotonic() - started < 15 and not multiprocessing.active_children()


@pytest.mark.parametrize("how", STOPPING)
def test_what_asks_to_stop_ends_a_worker_without_a_word(capfd, how):
    """Whatever the process that started it makes of the signal."""

    def work(_) -> None:
        os.kill(os.getpid(), how)
        time.sleep(60)

    before = signal.signal(how, signal.default_int_handler)
    try:
        with pytest.raises(InputError, match="was killed"):
            list(each(work, range(2), 2))
    finally:
        signal.signal(how, before)
    assert capfd.readouterr().err == ""


def test_a_worker_that_is_ended_while_it_starts_says_nothing(capfd, monkeypatch):
    """Another one failed, and it had not come so far as to set what signals do: Python raised KeyboardInterrupt in it."""

    start, close, seconds = multiprocessing.process.BaseProcess.start, multiprocessing.util._close_stdin, 0

    def started(process):
        nonlocal seconds
        seconds = 0 if 0 in process._args[1] else 2
        start(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", started)
    monkeypatch.setattr(multiprocessing.util, "_close_stdin", lambda: time.sleep(seconds) or close())
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it
    try:
        with pytest.raises(InputError, match="was killed"):
            list(each(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(2), 2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err == ""
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("how", {*STOPPING} - {signal.SIGTERM})
def test_what_nohup_ignores_ends_no_worker(how):
    """A terminal that closes tells every process of the command."""
    before = signal.signal(how, signal.SIG_IGN)
    try:
        assert sorted(each(lambda n: os.kill(os.getpid(), how) or n, range(4), 2)) == [0, 1, 2, 3]
    finally:
        signal.signal(how, before)


def test_a_process_that_cannot_be_started_is_said_in_one_line(monkeypatch):
    started, start = [], multiprocessing.process.BaseProcess.start

    def refused(process):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(process)
        start(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refused)
    with pytest.raises(
        InputError, match=r"cannot start a worker process: Resource temporarily unavailable\. Start again with fewer"
    ):
        list(each(square, range(8), 4))
    assert len(started) == 1 and not multiprocessing.active_children()


def test_processes_may_start_from_nothing(monkeypatch):
    """As they do on macOS and Windows."""
    monkeypatch.setattr(workers, "START", "spawn")
    assert sorted(each(square, range(6), 2)) == [n * n for n in range(6)]
    with pytest.raises(InputError, match="was killed"):
        list(each(die, range(2), 2))


def die(_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


WITHOUT_GUARD = """
from math import sqrt
from alexnet_lib.system import workers
from alexnet_lib.system.stopping import STOPPING

workers.START = "spawn"
try:
    print(list(workers.each(sqrt, [1, 4], 2)))
except workers.InputError as error:
    print("said:", error)
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "script.py").write_text(WITHOUT_GUARD)
    command = [sys.executable, str(tmp_path / "script.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "said: a worker process could not start. In a script, put what starts it below" in done.stdout, done.stderr


PROGRAM = """
import os, time
from alexnet_lib.system.workers import each

def work(n):
    print(os.getpid(), flush=True)
    time.sleep(120)

list(each(work, range(2), 2))
"""


THREADS = """
import torch
from alexnet_lib.system.workers import each

def work(n):
    return torch.ones(2000, 2000).add(n).sum().item()

torch.set_num_threads(2)
print(work(0), *each(work, [1, 1], 2))
"""


def test_torch_works_in_workers_of_a_process_that_used_threads():
    done = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["4000000.0", "8000000.0", "8000000.0"], done.stderr


def is_running(process: int) -> bool:
    """Whether there is such a process, and no mere entry that its parent has not read yet."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(listed) and not listed.startswith("Z")


def test_workers_end_with_the_process_that_started_them():
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(map(is_running, workers))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.05)
