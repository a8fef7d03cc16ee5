"""torch's threads wait asleep, which shows in the processor time of a process that waits."""

import os
import subprocess
import sys

import pytest
import torch
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


def test_both_teams_together_outnumber_the_processors(monkeypatch):
    """Two threads on a machine of 64 processors: the second team has one for each."""
    from alexnet_lib.system import threads

    asked, before = [], torch.get_num_threads()
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    threads._second_team()
    assert asked == [64, before]


def test_another_runtime_is_left_alone_with_a_hint(monkeypatch, capsys):
    from alexnet_lib.system import threads

    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_second_team", lambda: pytest.fail("started threads"))
    monkeypatch.setattr(threads.sys, "platform", "darwin")
    threads.wait_asleep()
    assert capsys.readouterr().err == threads.HINT + "\n"


SEES = """
import os, sys
class Sees:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            with open({seen!r}, "a") as file:
                print(os.environ.get("OMP_WAIT_POLICY"), file=file)
sys.meta_path.insert(0, Sees())
"""
KERNEL = (
    "from jupyter_client.manager import run_kernel\nwith run_kernel() as client: client.execute_interactive('import alexnet_lib')"
)
ENTRANCES = {
    "the command line": ["-m", "alexnet_lib", "presets"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "alexnet_lib", "presets"],
    "a kernel": ["-c", KERNEL],
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_it_is_set_before_torch_comes_whichever_way_in(entrance, tmp_path):
    """A hook in every process that is started notes the policy at the moment when torch is looked for."""
    (tmp_path / "sitecustomize.py").write_text(SEES.format(seen=str(tmp_path / "seen")))
    env = {name: value for name, value in os.environ.items() if name not in CHOICES} | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, *ENTRANCES[entrance]], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "seen").read_text().splitlines()[-1] == "PASSIVE"


def test_processes_of_this_one_inherit_it(monkeypatch):
    from alexnet_lib.system import threads

    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_second_team", lambda: None)
    threads.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
