"""`make gpu` rehearsed on the processor, so that no minute of a card is spent on a typo; and what carries the results home."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cost_model
import pytest
import torch
from gpu import __main__ as command
from gpu import evidence, grid, oncard, parcels, report, speed
from helpers import ROOT, tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, ModelConfig
from alexnet_lib.evidence import records
from alexnet_lib.training import Trainer


def test_everything_on_the_processor(tmp_path):
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    words = [sys.executable, "-m", "gpu", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    written = {path.parent.name for path in (tmp_path / "results").rglob("*.json")}
    assert {"gpu", "paper_start"} < written and written & {task.experiment for task in grid.missing()}
    rows = [row for path in (tmp_path / "results" / "gpu").iterdir() for row in json.loads(path.read_text())["rows"]]
    assert not [row for row in rows if row.get("how") == "failed"]
    skipped = {row["what"] for row in rows if row.get("how") == "skipped"}
    assert {"LRN compiled, LRN in bfloat16", "test_one_process_of_the_card_joins_over_nccl"} < skipped
    measured = " ".join(row["what"] for row in rows if "ratio" in row)
    assert "share of chapter 13's bound" in measured and "float32, compiled against eager" in measured
    assert "from a packed set against steps on one batch" in measured
    assert all(row["why"] for row in rows if row.get("how") == "skipped")
    assert "training step of preset paper against no LRN" in done.stdout and "parcel: " in done.stdout
    taken = tmp_path / "taken"
    done = subprocess.run(
        [sys.executable, "-m", "gpu", "--take", str(tmp_path / "parcels")], cwd=ROOT, env=env | {"ALEXNET_RESULTS": str(taken)}
    )
    assert done.returncode == 0
    names = {path.relative_to(tmp_path / "results") for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert {path.relative_to(taken) for path in taken.rglob("*") if path.is_file()} == names


def computes(number: int) -> bool:
    """Whether a process of this number is there, and not one that has ended and waits to be buried."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_part_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    hangs = tmp_path / "python"
    hangs.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path / 'started'}\nwait\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(command.sys, "executable", str(hangs))
    monkeypatch.setattr(command, "GRACE", 1.0)
    asked = argparse.Namespace(device="cuda", data="", images="", out=tmp_path, side_by_side=1, runs=None)
    began = time.monotonic()
    assert not command.finished("speed", 1.0, asked)
    assert time.monotonic() - began < 60
    number = int((tmp_path / "started").read_text())
    while computes(number):
        assert time.monotonic() - began < 60
        time.sleep(0.05)


NOT_THERE = ("ruamel", "simplejpeg", "IPython", "nbformat", "papermill", "jupyter_book", "playwright")


def test_it_needs_no_package_that_machines_with_cards_lack():
    """They have torch and the usual ones for science, and can fetch nothing."""
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_THERE}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import conftest, gpu.__main__, test_gpu
"""
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


def test_the_parts_together_end_in_time(tmp_path, monkeypatch):
    """Each takes all that it is given: with what closes, that is what was asked for, and the last part keeps its share."""
    now, given = [0.0], {}

    def finished(name, seconds, asked):
        given[name] = seconds
        now[0] += seconds
        return True

    monkeypatch.setattr(command, "finished", finished)
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: True)
    asked = argparse.Namespace(device="cuda", minutes=8.0, only=None, out=tmp_path)
    assert command.run(asked) == 0
    assert list(given) == ["checks", "speed", "evidence", "start"]
    assert sum(given.values()) + command.CLOSING == pytest.approx(8 * 60)
    assert given["start"] == pytest.approx(command.SHARES["start"] * 480) and given["evidence"] > 100
    asked.minutes = 0.1
    assert command.run(asked) == 1  # nothing could be measured
    asked.minutes = 8.0
    now[0], asked.only = 0.0, "speed"
    assert command.run(asked) == 0 and given["speed"] == pytest.approx(480 - command.CLOSING)


def test_a_rehearsal_is_no_record_of_the_card_that_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H200")
    monkeypatch.setitem(command.PARTS, "speed", lambda asked, deadline: iter([{"what": "x", "ratio": 1.0, "unit": ""}]))
    monkeypatch.setattr(command, "line", str)
    command.run_part(argparse.Namespace(part="speed", device="cpu", minutes=1.0, out=tmp_path))
    (path,) = (tmp_path / "results" / "gpu").glob("*.json")
    assert path.name == "speed-cpu-seed0.json" and records.read(path)["environment"]["device"] == "cpu"


@pytest.mark.parametrize("device, folder", [("cpu", "gpu-rehearsed"), ("cuda", "gpu")])
def test_a_card_goes_on_from_nothing_that_was_rehearsed(monkeypatch, tmp_path, device, folder):
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", device])
    monkeypatch.setattr(command, "run", lambda asked: asked.out)
    assert command.main() == tmp_path / folder


def test_the_share_of_the_bound_is_what_the_roof_allows():
    machine = cost_model.card_of("NVIDIA H100 80GB HBM3")
    config = ModelConfig.preset("paper")
    first = speed.share_of_bound(config, machine, 128, 0.01)
    assert 0 < first["theirs"] < 10 and first["ratio"] == pytest.approx(first["theirs"] / first["ours"])
    assert speed.share_of_bound(config, machine, 128, 0.02)["ratio"] == pytest.approx(first["ratio"] / 2)
    assert speed.share_of_bound(config, replace(machine, peak=machine.peak / 100), 128, 0.01)["theirs"] > 10 * first["theirs"]


def test_the_page_shows_what_a_card_has_shown_or_the_command(monkeypatch):
    start = {"experiment": "paper_start", "arm": "biases-1", "seed": 0, "environment": {"device": "NVIDIA H200"}}
    start |= {"metrics": {"loss_of_chance": 6.91, "last_loss": 6.5, "left_chance_by_step": 40}}
    start |= {"data": {"train": {"images": 500}}, "first_losses": 300 * [6.9]}
    row = {"what": "LRN against torch's", "ratio": 7.5, "low": 7.25, "high": 8.0, "target": 1.0}
    made = {"experiment": "gpu", "arm": "speed-nvidia-h200", "rows": [row, {"what": "ten views", "how": "skipped"}]}
    made |= {"environment": {"device": "NVIDIA H200", "versions": {"torch": "2.14.1"}}}
    there = {"gpu": [], "paper_start": [start]}
    monkeypatch.setattr(records, "read_experiment", lambda name: there[name])
    assert report.speed() == "" and report.markdown().startswith(report.NOT_YET) and "biases of 1 |" in report.markdown()
    assert "The first 300 steps of the paper's network on 500 images" in report.markdown()
    for other in ("checks-nvidia-h200", "speed-cpu"):  # no speed of a card
        there["gpu"] = [made | {"arm": other}]
        assert report.speed() == ""
    there["gpu"] = [made]
    assert "| LRN against torch's | 7.50 | 7.25, 8.00 | 1.0 |" in report.markdown().splitlines()
    assert report.NOT_YET not in report.markdown() and "ten views" not in report.markdown()


def test_without_a_card_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    done = subprocess.run([sys.executable, "-m", "gpu"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "error: there is no GPU here: rehearse with DEVICE=cpu\n"


def test_the_steps_on_a_card_are_those_of_fit(photos10, tmp_path):
    """Without its graph, which a processor does not have: the same batches, the same masks, the same rule."""
    config = tiny_training(epochs=2, limit=60, holdout=0, bias_lr=0.02, schedule="one_cycle")
    train, runs = photos10[0].subset(range(0, len(photos10[0]), 40)), []
    for trainer in (Trainer, oncard.CardTrainer):
        net = AlexNet(tiny_model(), seed=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("alexnet_lib.training.Trainer", trainer)
            from alexnet_lib.training import fit

            runs.append((net, fit(net, train, None, config, tmp_path / trainer.__name__, device="cpu", progress=False)))
    (plain, first), (card, second) = runs
    assert second.first_losses == pytest.approx(first.first_losses, rel=1e-4)
    assert [e["train_error"] for e in second.curve] == pytest.approx([e["train_error"] for e in first.curve])
    for ours, theirs in zip(card.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_grid_is_listed_for_job_arrays():
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    done = subprocess.run([sys.executable, "-m", "gpu.grid"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    expected = [(task.experiment, task.arm, str(task.seed)) for task in grid.missing()]
    assert [tuple(line.split()) for line in done.stdout.splitlines()] == expected


def test_the_grid_is_that_of_the_device_which_will_run_it(monkeypatch, tmp_path):
    """Whoever asks on a machine without a card gets the card's runs: the others could not be compared with what is there."""
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    for experiment, device in (("ablations", "NVIDIA H200"), ("ablations_cpu", "cpu")):
        record = {"experiment": experiment, "arm": "whole", "seed": 21, "metrics": {}, "environment": {"device": device}}
        records.write(record, records.results_path(record))
    for device, here, elsewhere in (("cuda", "ablations", "ablations_cpu"), ("cpu", "ablations_cpu", "ablations")):
        listed = {task.experiment for task in grid.missing(device)}
        assert here in listed and elsewhere not in listed and "dropout" in listed


def test_runs_share_a_card_through_the_drivers_service(tmp_path, monkeypatch):
    """Its own, in a folder of its own, and it is told to quit."""
    control, said = tmp_path / "nvidia-cuda-mps-control", tmp_path / "said"
    control.write_text(f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $@ $(test "$1" || cat)" >> {said}\n')
    control.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with evidence.side_by_side_on_the_card():
        folder = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(folder).is_dir()
    assert [line.split() for line in said.read_text().splitlines()] == [[folder, "-d"], [folder, "quit"]]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ and not Path(folder).exists()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/somebodys")
    with evidence.side_by_side_on_the_card():
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/somebodys"
    assert len(said.read_text().splitlines()) == 2


def test_runs_are_taken_in_the_order_of_a_file(tmp_path):
    some = grid.missing()[2::-1]
    path = tmp_path / "runs.txt"
    path.write_text("".join(f"{task.experiment} {task.arm} {task.seed}\n" for task in some))
    assert grid.read(path) == some
    for line in ("ablations wole 21", "ablations whole 20", "ablations whole", "ablations whole x"):
        path.write_text(line)
        with pytest.raises(InputError, match="is no planned EXPERIMENT ARM SEED"):
            grid.read(path)


@pytest.fixture
def packed(tmp_path):
    """(a folder with parcels, the files that are in them)."""
    record = {"experiment": "gpu", "arm": "speed", "seed": 0, "metrics": {"a": 1.0}}
    source = tmp_path / "source"
    path = records.write(record, records.results_path(record, source))
    path.with_suffix(".kernels.safetensors").write_bytes(os.urandom(1000))
    return tmp_path / "parcels", parcels.pack(source, tmp_path / "parcels")


def test_parcels_are_small_and_few(tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "BYTES", 40_000)
    monkeypatch.setattr(parcels, "MOST", 3)
    for i in range(12):
        path = tmp_path / "source" / "e" / f"{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(9_000))
    with pytest.raises(InputError, match="did not fit into 3 parcels"):
        parcels.pack(tmp_path / "source", tmp_path / "out")
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir()]
    assert len(sizes) == 3 and max(sizes) <= 40_000


def test_what_is_taken_is_checked(packed, tmp_path, monkeypatch):
    folder, (parcel,) = packed
    results = tmp_path / "results"
    monkeypatch.setenv("ALEXNET_RESULTS", str(results))
    assert len(parcels.take(folder)) == 2 and len(parcels.take(folder)) == 2  # again: the same
    there = results / "gpu" / "speed-seed0.json"
    there.write_text(there.read_text().replace("1.0", "2.0"))
    with pytest.raises(InputError, match="another one already"):
        parcels.take(folder)
    shutil.rmtree(results)
    write = Path.write_bytes

    def stopped(path, content):
        if results not in path.parents:
            return write(path, content)
        write(path, content[:9])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", stopped)
        parcels.take(folder)
    assert len(parcels.take(folder)) == 2
    shutil.rmtree(results)
    whole = parcel.read_bytes()
    parcel.write_bytes(whole.replace(b'"a": 1.0', b'"a": 3.0'))
    with pytest.raises(InputError, match="damaged"):
        parcels.take(folder)
    parcel.write_bytes(whole[:700])
    with pytest.raises(InputError, match="damaged"):
        parcels.take(folder)
    assert not results.exists()
    other = {"experiment": "gpu", "arm": "speed", "seed": 1, "metrics": {}}
    records.write(other, tmp_path / "wrong" / "gpu" / "speed-seed0.json")  # seed 1 by the name of seed 0
    parcels.pack(tmp_path / "wrong", folder)
    with pytest.raises(InputError, match="by another name"):
        parcels.take(folder)
    assert not results.exists()  # nothing was written before all was checked
    parcel.unlink()
    with pytest.raises(InputError, match=r"no results-\*.tar"):
        parcels.take(folder)
