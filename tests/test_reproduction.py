"""The end-to-end notebook through papermill: progress, records, wrong parameters, nothing left behind."""

import json
import os
import pty
import subprocess
import sys
import termios

import nbformat
import pytest
from helpers import ROOT, TINY

NOTEBOOK = ROOT / "notebooks" / "14_reproduction.ipynb"
SHORT = {"model": TINY, "train": {"epochs": 2, "batch_size": 20, "limit": 200}}


def papermill(out, *words: str, stderr=subprocess.PIPE) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(out), "-k", "python3", "--cwd", str(NOTEBOOK.parent)]
    # Under pytest's mark a kernel leaves its standard error alone; here it must be what a user has.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return subprocess.run(
        [*command, "--no-progress-bar", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=600,
    )


def text_of(notebook) -> str:
    return json.dumps(nbformat.read(notebook, as_version=4).cells)


def test_it_runs_resumes_and_leaves_no_trail(tmp_path):
    """Trained by two processes, taken up by one."""
    run_dir = tmp_path / "run"
    words = ["-y", json.dumps(SHORT), "-p", "run_dir", str(run_dir), "-p", "lr", "0.02"]
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 120))
    done = papermill(tmp_path / "out.ipynb", *words, "-p", "devices", "2", stderr=side)
    os.close(side)
    shown = b""
    try:
        while block := os.read(main, 2**16):
            shown += block
    except OSError:  # the other side is closed
        pass
    assert done.returncode == 0, shown[-3000:].decode()
    assert b"img/s" in shown and b"train_loss" in shown  # progress in the terminal that runs papermill
    executed = text_of(tmp_path / "out.ipynb")
    assert "img/s" not in executed and "trained for 2 epochs, 20 steps" in executed
    assert str(tmp_path) not in executed.replace(json.dumps(str(run_dir)), "").replace(str(run_dir), "")
    record = json.loads((run_dir / "record.json").read_text())
    assert record["environment"]["processes"] == 2
    assert record["train"]["lr"] == 0.02 and record["model"]["conv1"]["kernels"] == 8
    assert {"test_top1_error", "chance_error", "tower_selectivity_gap", "neighbours_gain"} <= set(record["metrics"])
    before = sorted(p.name for p in run_dir.glob("checkpoint-*"))
    again = papermill(tmp_path / "again.ipynb", *words)
    assert again.returncode == 0 and sorted(p.name for p in run_dir.glob("checkpoint-*")) == before
    resumed = json.loads((run_dir / "record.json").read_text())
    assert resumed["metrics"] == record["metrics"] and resumed["training_seconds"] == record["training_seconds"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["-p", "epoch", "3"], "unknown parameter 'epoch'. Did you mean 'epochs'?"),
        (["-p", "seed", "one"], "parameter seed must be int, not 'one' (str)"),
        (["-y", "{model: {conv1: {kernals: 8}}}"], "unknown field of conv1 'kernals'. Did you mean 'kernels'?"),
    ],
)
def test_a_wrong_parameter_stops_it_before_training(tmp_path, words, said):
    done = papermill(tmp_path / "out.ipynb", *words, "-p", "run_dir", str(tmp_path / "run"))
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert said in done.stderr.strip().splitlines()[-1]


def test_make_reproduce_ends_with_what_was_wrong(tmp_path):
    command = [sys.executable, "tools/reproduce.py"]
    done = subprocess.run([*command, "--profile", "quik"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Did you mean 'quick'" in done.stderr.strip().splitlines()[-1]
    done = subprocess.run([*command, "--devices", "0", "--profile", "paper"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "error: DEVICES must be 1 or more, not 0\n"
    done = subprocess.run([*command, "--seed", str(2**64)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: seed must be at least 0")
    done = subprocess.run([*command, "--data", "folder:absent"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: no folder") and "absent" in last


def test_committed_notebooks_are_clean():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        code = [c for c in cells if c.cell_type == "code"]
        assert all(c.execution_count for c in code), f"{path.name} has cells that were not run"
        outputs = [o for c in code for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"], path.name
        assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
        assert not [c for c in cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert path.stat().st_size < 3_500_000


def test_a_training_on_imagenet_is_announced_with_its_time(capsys, tmp_path):
    import argparse

    import reproduce

    def announced(profile: str, data: str = "") -> str:
        reproduce.announce(argparse.Namespace(profile=profile, devices=1, data=data))
        return capsys.readouterr().out

    assert announced("quick") == "" and announced("paper", "cifar10") == ""
    assert "predicted for 90 epochs of 1,281,167 images in float32 on" in announced("paper")
    for count, said in ((200_000, "of 200,000 images"), (200, "")):  # of a packed set
        (tmp_path / "index.json").write_text(json.dumps({"splits": {"train": {"count": count}}}))
        assert said in announced("paper", str(tmp_path)) and bool(said) == bool(announced("paper", f"folder:{tmp_path}"))
    for damaged in ("{", "[" * 10**5, '{"splits": {"train": {"count": Infinity}}}'):
        (tmp_path / "index.json").write_text(damaged)
        assert announced("paper", str(tmp_path)) == ""


def test_a_precision_that_would_be_faster_is_hinted_at_before_it_starts(capsys, monkeypatch):
    import argparse

    import reproduce

    monkeypatch.setattr("alexnet_lib.system.precision.has_bfloat16", lambda device: True)
    monkeypatch.setattr("alexnet_lib.system.processes.pick_device", lambda *_: "cpu")
    reproduce.announce(argparse.Namespace(profile="paper", devices=1, data=""))
    assert "hint: this processor has bfloat16" in capsys.readouterr().err


def test_folders_that_are_named_from_here_are_the_same_for_the_kernel(tmp_path, monkeypatch):
    """It works in notebooks/, where a record would land in another results/."""
    import reproduce

    monkeypatch.chdir(tmp_path)
    for name in ("RUNS", "DATA", "RESULTS", "EXPERIMENTS"):
        monkeypatch.setenv(f"ALEXNET_{name}", name)
    code = "import os, sys; open('seen', 'w').write(' '.join(os.environ[f'ALEXNET_{name}'] for name in sys.argv[1:]))"
    assert reproduce.wait_for([sys.executable, "-c", code, "RUNS", "DATA", "RESULTS", "EXPERIMENTS"]) == 0
    assert (tmp_path / "seen").read_text().split() == [
        str(tmp_path / name) for name in ("RUNS", "DATA", "RESULTS", "EXPERIMENTS")
    ]


def test_half_a_notebook_has_no_last_words(tmp_path):
    """What a papermill that was killed has left."""
    import reproduce

    (tmp_path / "out.ipynb").write_text('{"cells": [')
    assert reproduce.last_error(tmp_path / "out.ipynb") == reproduce.last_error(tmp_path / "absent.ipynb") == ""


def test_a_system_without_the_signal_of_a_closed_terminal(capsys, monkeypatch):
    import reproduce

    asked = []
    monkeypatch.delattr(reproduce.signal, "SIGHUP")
    monkeypatch.setattr(reproduce.signal, "signal", lambda number, _: asked.append(number))
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--profile", "quik"])
    assert reproduce.main() == 1 and asked and "Did you mean 'quick'" in capsys.readouterr().err


def test_runs_that_cannot_be_written_are_said_in_one_line(capsys, monkeypatch):
    import reproduce

    monkeypatch.setenv("ALEXNET_RUNS", "/dev/null/x")
    monkeypatch.setattr(sys, "argv", ["reproduce.py"])
    monkeypatch.setattr(reproduce.signal, "signal", lambda *_: None)  # those of the tests stay
    assert reproduce.main() == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: /dev/null/x") and "a file is in its path" in said[0]
