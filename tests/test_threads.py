"""torch's threads wait asleep, which shows in the processor time of a process that waits."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from alexnet_lib.system.threads import CHOICES

WAITS = """
import time, torch
torch.set_num_threads(2)
x = torch.zeros(2**17)
x.add_(1)
time.sleep(0.1)
began = time.process_time()
for _ in range(20):
    x.add_(1)
    time.sleep(0.03)
print((time.process_time() - began) / 20)
"""
FIRST, LATER = "import alexnet_lib, torch", "import torch\ntorch.set_num_threads(2)\nimport alexnet_lib"


def seconds_of_waiting(imports: str, **env: str) -> float:
    """Processor time for an operation of two threads and a pause of 30 ms after it."""
    clean = {name: value for name, value in os.environ.items() if name not in (*CHOICES, "OMP_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", imports + WAITS], cwd=ROOT, env=clean | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one processor no thread waits for another")
@pytest.mark.skipif("linux" not in sys.platform, reason="the runtime is another one")
def test_threads_sleep_whichever_is_imported_first():
    spinning = seconds_of_waiting(FIRST, GOMP_SPINCOUNT="300000")  # what the runtime does by itself, and the user's choice
    assert max(seconds_of_waiting(FIRST), seconds_of_waiting(LATER)) < spinning / 2


def test_a_choice_of_the_user_stays(monkeypatch):
    from alexnet_lib.system import threads

    monkeypatch.setattr(threads, "_second_team", lambda: pytest.fail("started threads"))
    for name in CHOICES:
        for other in CHOICES:
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, "1")
        threads.wait_asleep()
        assert [other for other in CHOICES if other in os.environ] == [name] and os.environ[name] == "1"


def test_processes_of_this_one_inherit_it(monkeypatch):
    from alexnet_lib.system import threads

    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_second_team", lambda: None)
    threads.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
