"""Training by two processes that each hold a tower: the same run as in one process, and checkpoints that either goes on from."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import train_towers
from helpers import ROOT, run, settings, tiny_model, tiny_training
from train_towers import fit_towers

from alexnet_lib import AlexNet, TrainConfig, checkpoint, fit
from alexnet_lib.evidence import records
from alexnet_lib.system.processes import run_in_processes

TRAINING = tiny_training(epochs=3, keep_checkpoints=3, colour_noise="eigenvalue")


def two_runs(group, sets, folders) -> list:
    """What two processes do in each of several folders: begin a run, or go on with it."""
    trainers = [fit_towers(group, tiny_model(), *sets, TRAINING, folder, "cpu", progress=False) for folder in folders]
    return [(trainer.rank, trainer.step, trainer.curve) for trainer in trainers]


def begun(folder, whole):
    """A copy of a run of which only the first epoch was done."""
    folder.mkdir()
    shutil.copy(sorted(whole.glob(checkpoint.PATTERN))[0], folder)
    return folder


def test_a_run_goes_from_one_process_to_two_and_back(tmp_path, photos10):
    sets = photos10[0].subset(range(0, 1000, 10)), photos10[1].subset(range(0, 500, 10))
    one, two = tmp_path / "one", tmp_path / "two"
    net = AlexNet(tiny_model(), TRAINING.seed)
    whole = fit(net, *sets, TRAINING, one, device="cpu", progress=False)
    from_one = begun(tmp_path / "from one", one)
    found = run_in_processes(two_runs, sets, [two, from_one])
    from_two = begun(tmp_path / "from two", two)
    last = fit(AlexNet(tiny_model()), *sets, TRAINING, from_two, device="cpu", progress=False)
    (path, right, facts), first = checkpoint.newest(one), checkpoint.load(from_one / "checkpoint-00000005.safetensors")[0]
    assert len(sorted(two.glob(checkpoint.PATTERN))) == 3 and path.name == "checkpoint-00000015.safetensors"
    for folder in (two, from_one, from_two):
        _, tensors, said = checkpoint.newest(folder)
        assert list(tensors) == list(right) and said["step"] == facts["step"]
        for name, x in right.items():
            assert (tensors[name] - x).norm() <= 1e-4 * x.norm(), name
            assert "velocity" not in name or (first[name] - x).norm() > 0.1 * x.norm()
        for ours, theirs in zip(said["curve"], facts["curve"], strict=True):
            keys = ("train_loss", "train_error", "valid_loss", "valid_error")
            assert [ours[k] for k in keys] == pytest.approx([theirs[k] for k in keys], rel=1e-3)
    assert last.step == whole.step == 15
    for rank, runs in enumerate(found):  # both towers know how the run went: a plateau would lower the rate in both
        assert [(r, step, len(curve)) for r, step, curve in runs] == [(rank, 15, 3)] * 2
    assert [c["valid_error"] for c in found[0][0][2]] == [c["valid_error"] for c in found[1][0][2]]


def test_the_folder_of_a_run_is_that_of_the_command_train(tmp_path, photos10, monkeypatch):
    """It names the data where that is not the preset's: a run on other images would be refused in the same folder."""
    folders, read = [], []
    monkeypatch.setattr(train_towers, "join_processes", lambda device: None)
    monkeypatch.setattr(train_towers.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(train_towers, "open_dataset", lambda *_, **__: photos10[0])
    monkeypatch.setattr(train_towers, "evaluate", lambda *_: {})

    def fit_nothing(group, model, train_set, valid_set, config, run_dir, device):
        folders.append(run_dir)
        read.append(config.data)
        return SimpleNamespace(model=None, seconds=0.0, saved=None)

    monkeypatch.setattr(train_towers, "fit_towers", fit_nothing)
    asked = {"preset": "quick", "seed": 3, "run_dir": None, "set": [], "device": "cpu"}
    monkeypatch.chdir(tmp_path.parent)
    for data in (None, tmp_path.name):
        train_towers.train(SimpleNamespace(data=data, **asked), rank=1, world=2)
    elsewhere = TrainConfig.preset("quick", data=str(tmp_path), seed=3)
    assert folders == [
        records.runs_root() / "train" / "quick-seed3",
        records.run_dir("train", "quick", elsewhere, "photos10"),
    ]
    assert tmp_path.name in folders[1].name
    assert read == ["photos10", f"folder:{tmp_path}"]  # which whoever evaluates the checkpoint finds from any folder


def test_any_process_says_what_is_wrong(monkeypatch, capsys):
    """Another machine may lack what this one has; and an empty name is no folder."""
    monkeypatch.setattr(train_towers, "rank_and_world", lambda: (1, 2))
    for name in ("keep_pages", "stop_as_by_ctrl_c"):  # for a process of its own
        monkeypatch.setattr(train_towers, name, lambda: None)
    for words in (["--data", ""], ["--data", "folder:absent"], ["--preset", "papr"]):
        monkeypatch.setattr(sys, "argv", ["train_towers.py", "--device", "cpu", *words])
        monkeypatch.setattr(train_towers, "join_processes", lambda device: None)
        assert train_towers.main() == 1 and capsys.readouterr().err.startswith("error: ")


def torchrun(processes: int, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command += ["tools/train_towers.py", "--device", "cpu", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def test_the_command_trains_and_one_process_evaluates(tmp_path):
    words = ["--run-dir", str(tmp_path / "run"), *settings(epochs=2, batch_size=20, limit=200, holdout=50)]
    done = torchrun(2, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("test_top1_error") == 1  # tower 0 speaks for both
    error = float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("test_top1_error")))
    again = run("evaluate", str(tmp_path / "run"))
    assert float(next(line.split()[1] for line in again.stdout.splitlines() if "top1" in line)) == pytest.approx(error, abs=0.5)


def test_towers_want_a_process_each():
    done = subprocess.run([sys.executable, "tools/train_towers.py"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: start it with torchrun --nproc-per-node 2")
