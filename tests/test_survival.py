"""The commands themselves, stopped and killed at random moments, the first seconds of their imports included.

With `pytest -m stress` many more tries are made; what only takes long is tried there alone.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT, TINY, make_tree, record_of, run, settings, tries

from alexnet_lib.data import packing
from alexnet_lib.data.dataset import PackedDataset
from alexnet_lib.system.progress import bar
from alexnet_lib.system.stopping import STOPPED

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERPRETER = 0.5  # seconds until Python itself has started; until then it handles signals as it likes
SHORT = {"epochs": 2, "batch_size": 20, "limit": 100, "holdout": 50}


def stopped(command: list[str], after: float, number: int, **options) -> tuple[int, str, str]:
    """(status, output, errors) of a command that is sent a signal so many seconds after its start."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes, **options) as process:
        time.sleep(after)
        process.send_signal(number)
        output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


class Train:
    def __init__(self, folder):
        self.run = folder / "run"
        self.words = ["train", "--run-dir", str(self.run), "--device", "cpu", *settings(**SHORT)]

    def left(self, output: str):
        return record_of(self.run)


class Evaluate:
    trained = None  # the run that is evaluated

    def __init__(self, folder):
        if Evaluate.trained is None:
            training = Train(folder)
            assert run(*training.words).returncode == 0
            Evaluate.trained = training.run
        self.words = ["evaluate", str(Evaluate.trained), "--device", "cpu"]

    def left(self, output: str):
        return output


class Pack:
    def __init__(self, folder):
        self.out = folder / "out"
        tree = folder / "tree" if (folder / "tree").exists() else make_tree(folder / "tree", count=400)
        self.words = ["pack", f"folder:{tree}", str(self.out), "--size", "16", "--workers", "2"]

    def left(self, output: str):
        assert not list(self.out.rglob("*.partial*"))
        return PackedDataset.open(self.out).checksum, PackedDataset.open(self.out, "test").checksum


@pytest.mark.parametrize("kind", [Train, Evaluate, Pack])
@tries(2, 20)
def test_a_command_stopped_at_a_random_moment_says_so_in_one_line_and_goes_on(tmp_path, tries, kind, counted):
    command = kind(tmp_path)
    program = [sys.executable, "-m", "alexnet_lib", *command.words]
    began = time.monotonic()
    right = command.left(subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    length, dice, same = time.monotonic() - began, random.Random(kind.__name__), 0
    for turn in range(tries):
        for name in ("run", "out") if kind is not Evaluate else ():
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        status, output, errors = stopped(program, dice.uniform(INTERPRETER, length), ASKED[turn % 3])
        if status:
            lines = errors.rstrip().splitlines()
            assert status == 130 and lines[-1] == STOPPED and "Traceback" not in errors, (status, errors[-2000:])
            output = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        same += command.left(output) == right
    fault = f"Ctrl-C, SIGTERM or a closed terminal at a random moment of `{command.words[0]}`, its imports included"
    counted(fault, "one line, status 130; started again, the same result to the last bit", tries, same)


@pytest.mark.parametrize("number", ASKED)
def test_a_signal_after_the_end_of_a_command_is_too_late(number):
    program = (
        f"import atexit, os, runpy, sys; atexit.register(os.kill, os.getpid(), {number:d})\n"
        "sys.argv[1:] = ['presets']; runpy.run_module('alexnet_lib', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "paper" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@tries(3, 100)
def test_packing_killed_at_a_random_moment_goes_on(tmp_path, tries, counted, monkeypatch):
    """Shards, index and sums are the undisturbed run's to the last bit, and nothing half-written is left."""
    tree, dice, same = make_tree(tmp_path / "tree", count=150), random.Random(0), 0
    monkeypatch.setattr(packing, "SHARD_BYTES", 64 * 3 * 16 * 16)

    def started(out):
        def work():
            bar.set_lock(threading.RLock())  # the forks share tqdm's own
            packing.pack(str(tree), out, size=16, workers=2)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        return process

    began = time.monotonic()
    started(tmp_path / "quiet").join()
    length = time.monotonic() - began
    right = {p.name: p.read_bytes() for p in (tmp_path / "quiet").glob("[!.]*.*")}
    for turn in range(tries):
        out, killed = tmp_path / f"out{turn}", True
        while killed:
            process = started(out)
            process.join(dice.uniform(0, length))
            killed = process.is_alive() and dice.random() < 0.8
            if killed:
                process.kill()
            process.join()
        assert process.exitcode == 0 and not list(out.rglob("*.partial*"))
        same += {p.name: p.read_bytes() for p in out.glob("[!.]*.*")} == right
        shutil.rmtree(out)
    counted("SIGKILL at random moments of packing, again and again", "goes on; the same files to the last bit", tries, same)


@tries(None, 20)
def test_experiments_killed_or_stopped_at_a_random_moment_go_on(tmp_path, tries, counted):
    whole = {"preset": "quick", "model": TINY, "train": SHORT, "seeds": [1, 2], "arms": {"a": {}, "b": {"train": {"lr": 0.02}}}}
    (tmp_path / "plans.json").write_text(json.dumps({"tiny": whole}))
    program = [sys.executable, "-m", "alexnet_lib", "experiments", "--jobs", "2", "--device", "cpu"]

    def env(name):
        places = {
            "RUNS": tmp_path / name / "runs",
            "RESULTS": tmp_path / name / "results",
            "EXPERIMENTS": tmp_path / "plans.json",
        }
        return os.environ | {f"ALEXNET_{place}": str(path) for place, path in places.items()}

    def recorded(name):
        found = {p.name: json.loads(p.read_text()) for p in (tmp_path / name / "results").rglob("*.json")}
        return {name: [r["metrics"], r["outcomes"], r["first_losses"]] for name, r in found.items()}

    began = time.monotonic()
    subprocess.run(program, cwd=ROOT, env=env("quiet"), capture_output=True, check=True)
    length, dice, right, same = time.monotonic() - began, random.Random(0), recorded("quiet"), 0
    assert len(right) == 4
    for turn in range(tries):
        number = (*ASKED, signal.SIGKILL)[turn % 4]
        status, _, errors = stopped(program, dice.uniform(INTERPRETER, length), number, env=env(f"{turn}"))
        assert status in (0, 130, -signal.SIGKILL) and (status != 130 or errors.rstrip().endswith(STOPPED)), errors[-2000:]
        subprocess.run(program, cwd=ROOT, env=env(f"{turn}"), capture_output=True, check=True)
        same += recorded(f"{turn}") == right
    fault = "`make experiments` asked to stop, or killed, at a random moment"
    counted(fault, "started again, it records what was left; the same records", tries, same)


@tries(None, 20)
def test_papermill_stopped_at_a_random_moment_goes_on(tmp_path, tries, counted):
    """As `make reproduce` runs the last notebook: the kernel ends with papermill, and the next one goes on from its checkpoint."""

    def program(name):
        words = ["-k", "python3", "--cwd", "notebooks", "--no-progress-bar", "-p", "run_dir", str(tmp_path / name)]
        words += ["-y", json.dumps({"model": TINY, "train": SHORT})]
        return [sys.executable, "-m", "papermill", "notebooks/14_reproduction.ipynb", str(tmp_path / f"{name}.ipynb"), *words]

    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    began = time.monotonic()
    subprocess.run(program("quiet"), cwd=ROOT, env=env, capture_output=True, check=True)
    length, dice, right, same = time.monotonic() - began, random.Random(0), record_of(tmp_path / "quiet"), 0
    for turn in range(tries):
        stopped(program(f"{turn}"), dice.uniform(INTERPRETER, length), (signal.SIGINT, signal.SIGKILL)[turn % 2], env=env)
        subprocess.run(program(f"{turn}"), cwd=ROOT, env=env, capture_output=True, check=True)
        same += record_of(tmp_path / f"{turn}") == right
    fault = "papermill stopped by Ctrl-C, or killed, at a random moment of the last notebook"
    counted(fault, "started again, the same record", tries, same)
