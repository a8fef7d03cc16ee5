"""Several processes under torchrun: killed and restarted, on two machines, resumed by another number of them.

The machines are network namespaces of this one: each has its own interfaces, and nothing but a virtual cable to the other.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import ROOT, record_of, settings, tiny_model, tiny_training, tries

from alexnet_lib import AlexNet, fit
from alexnet_lib import checkpoint as c
from alexnet_lib.batches import split_holdout

# The command line, in which the process of rank DOOMED is killed at step AT, in the middle of the second epoch, the first time round.
DOOMED = """
import os, signal, sys, time
from alexnet_lib import __main__, batches
chosen = batches.Batches.chosen
def fatal(self, step):
    first, doomed = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0", os.environ["RANK"] == os.environ.get("DOOMED")
    if first and doomed and step == int(os.environ.get("AT", 15)):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("SLOW", 0)))
    return chosen(self, step)
batches.Batches.chosen = fatal
sys.exit(__main__.main())
"""
SHORT = {"epochs": 3, "batch_size": 20, "limit": 200, "holdout": 50, "colour_noise": "eigenvalue"}  # 3 x 10 steps


def start(folder, *launcher: str, before: tuple[str, ...] = (), **env: str) -> subprocess.Popen:
    """torchrun LAUNCHER -m alexnet_lib train, more or less, in a folder; checkpoints at the end of each epoch."""
    script = folder.parent / "doomed.py"
    script.write_text(DOOMED)
    words = ["train", "--preset", "quick", "--run-dir", str(folder), "--device", "cpu", *settings(**SHORT)]
    command = [*before, sys.executable, "-m", "torch.distributed.run", *launcher, str(script), *words]
    fixed = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    env = os.environ | fixed | env
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def here(processes: int) -> list[str]:
    return ["--standalone", "--nproc-per-node", str(processes), "--max-restarts", "2"]


def said(*started: subprocess.Popen) -> list[str]:
    """What each said when all are done, and done well."""
    try:
        texts = [process.communicate(timeout=400)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(texts)[-3000:]
    return texts


def weights(folder) -> dict[str, torch.Tensor]:
    return c.newest(folder)[1]


def assert_same_bits(a, b) -> None:
    assert record_of(a) == record_of(b)
    assert all(torch.equal(weights(a)[name], tensor) for name, tensor in weights(b).items())


def assert_same_but_for_rounding(a, b) -> None:
    for name, tensor in weights(a).items():
        torch.testing.assert_close(
            weights(b)[name], tensor, rtol=1e-3, atol=1e-4
        )  # products of matrices round by how many rows they have
    for one, other in zip(*(c.newest(folder)[2]["curve"] for folder in (a, b)), strict=True):
        assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run of two processes that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    said(start(folder, *here(2)))
    assert c.newest(folder)[2]["step"] == 30 and c.newest(folder)[2]["processes"] == 2
    return folder


@tries(1, 10)
def test_a_process_is_killed_and_the_run_ends_as_if_it_had_not_been(undisturbed, tmp_path, tries, counted):
    for turn in range(tries):
        said(start(tmp_path / f"run{turn}", *here(2), DOOMED=str((turn + 1) % 2), AT=str(15 - turn)))
        assert_same_bits(undisturbed, tmp_path / f"run{turn}")
    counted("one of two processes under torchrun killed", "restarted, the same weights and figures to the last bit", tries, tries)


@tries(1, 10)
def test_one_of_four_is_killed(undisturbed, tmp_path, tries, counted):
    """At first the one which writes the checkpoints; against two processes, whose sums round in another order."""
    for turn in range(tries):
        said(start(tmp_path / f"run{turn}", *here(4), DOOMED=str(turn % 4), AT=str(15 - turn)))
        assert c.newest(tmp_path / f"run{turn}")[2]["processes"] == 4
        assert_same_but_for_rounding(undisturbed, tmp_path / f"run{turn}")
    counted(
        "one of four processes under torchrun killed", "restarted, the same weights and figures but for rounding", tries, tries
    )


def test_three_are_stopped_and_one_goes_on(undisturbed, tmp_path, photos10):
    """A batch of 20 does not divide among three, nor do the 50 images that validate."""
    process = start(tmp_path / "run", *here(3), SLOW="0.2")
    deadline = time.time() + 240
    while not (found := c.newest(tmp_path / "run")):
        assert process.poll() is None and time.time() < deadline, process.communicate()[1]
        time.sleep(0.05)
    assert found[2]["step"] == 10
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=240)
    step = c.newest(tmp_path / "run")[2]["step"]
    assert 10 < step < 30  # all left after the same step, and wrote it down
    config = tiny_training(**SHORT)
    train, valid = split_holdout(photos10[0], config)
    fit(AlexNet(tiny_model(), seed=0), train, valid, config, tmp_path / "run", progress=False, device="cpu")
    assert c.newest(tmp_path / "run")[2]["processes"] == 3  # the most there were
    assert_same_but_for_rounding(undisturbed, tmp_path / "run")


@pytest.fixture
def two_machines():
    """[(the words that run a command on it, its address)] of two machines with a cable between them."""
    names = [f"alexnet-{os.getpid()}-{side}" for side in "ab"]
    addresses = ["10.77.0.1", "10.77.0.2"]
    ip = shutil.which("ip") or pytest.skip("network namespaces cannot be made here: there is no command ip")
    commands = [["netns", "add", name] for name in names]
    commands += [["link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1]]]
    for name, address in zip(names, addresses, strict=True):
        commands += [["-n", name, "addr", "add", f"{address}/24", "dev", "cable"]]
        commands += [["-n", name, "link", "set", device, "up"] for device in ("cable", "lo")]
    try:
        for words in commands:
            done = subprocess.run([ip, *words], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"network namespaces cannot be made here: ip {' '.join(words)}: {done.stderr.strip()}")
        yield [((ip, "netns", "exec", name), address) for name, address in zip(names, addresses, strict=True)]
    finally:
        for name in names:
            subprocess.run([ip, "netns", "del", name], capture_output=True)


def test_two_machines_of_which_one_loses_its_process(undisturbed, two_machines, tmp_path):
    launcher = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", "test", "--rdzv-backend", "c10d"]
    launcher += ["--rdzv-endpoint", f"{two_machines[0][1]}:29400"]
    started = []
    for number, (inside, address) in enumerate(two_machines):
        words = ["--local-addr", address, "--rdzv-conf", f"is_host={int(number == 0)}"]
        started.append(start(tmp_path / "run", *launcher, *words, before=inside, DOOMED="1", GLOO_SOCKET_IFNAME="cable"))
    said(*started)
    assert_same_bits(undisturbed, tmp_path / "run")
