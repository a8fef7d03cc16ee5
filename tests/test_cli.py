"""The command line: what it prints, and one clear line for what is wrong."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers import ROOT, make_tree, run, settings, tiny_model, tiny_training
from PIL import Image

from alexnet_lib import AlexNet, InputError, open_dataset
from alexnet_lib.__main__ import main
from alexnet_lib.book.parameters import settle
from alexnet_lib.config import PRESETS
from alexnet_lib.evaluation import error_rates, evaluate, predict
from alexnet_lib.evidence.networks import as_trained, evaluate_as_trained

SHORT = settings(epochs=1, batch_size=20, limit=60, holdout=0)
NOTEBOOK = {"profile": "quick", "seed": 0, "data": "", "run_dir": "", "record": False, "devices": 1, "model": {}, "train": {}}


def called(capsys, *words) -> tuple[int, str, str]:
    """(status, output, errors) of the command line, in this process."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    return status, *capsys.readouterr()


def test_info(capsys):
    status, said, _ = called(capsys, "info", "--preset", "paper", "--batch", "1")
    assert status == 0 and "60,965,224" in said and "659,272" in said
    assert "48 of 11x11x3" in called(capsys, "info", "--preset", "paper", "--set", "model.conv1.kernels=48")[1]
    more = ("--set", "model.conv6={kernels: 256, size: 3, padding: 1}", "--set", "model.hidden=[4096,4096,4096]")
    status, said, errors = called(capsys, "info", "--preset", "paper", *more)  # layers of which the paper prints no neurons
    assert (status, errors) == (0, "") and {"conv6", "fc10"} <= {line.split()[0] for line in said.splitlines()}


def test_no_words_at_all_get_the_help(capsys):
    status, said, errors = called(capsys)
    assert (status, errors) == (0, "") and "evaluate" in said and "\n" in said.strip()


@pytest.mark.parametrize("name", PRESETS)
def test_every_command_knows_every_preset(capsys, tmp_path, name):
    assert called(capsys, "info", "--preset", name)[:1] == (0,)
    assert called(capsys, "presets", name)[:1] == (0,)
    assert "no folder" in called(capsys, "train", "--preset", name, "--data", f"folder:{tmp_path / 'absent'}")[2]
    assert settle(NOTEBOOK | {"profile": name}, "x").profile == name


@pytest.mark.parametrize(
    "words, said, status",
    [
        (["info", "--preset", "papr"], "Did you mean 'paper'", 1),
        (["info", "--set", "model.droput=1"], "Did you mean 'dropout'", 1),
        (["info", "--set", "dropout=1"], "--set wants", 1),
        (["info", "--set", "model.dropout=[1"], "not a value", 1),
        (["info", "--set", "model.classes=1000000000"], "classes must be at least 1 and at most 1,000,000", 1),
        (["info", "--set", "model.conv1=null"], "conv1 must be Conv", 1),
        (["info", "--set", "model.conv1.size=4000"], "too small", 1),
        (["info", "--batch", "0"], "batch", 2),
        (["info", "--batch", "1" + 400 * "0"], "batch", 2),
        (["info", "--colour"], "colour", 2),
        (["inform"], "inform", 2),
        (["presets", "papr"], "Did you mean 'paper'", 1),
        (["pack", "folder:absent", "out"], "absent: name one with a subfolder", 1),
        (["pack", "photos10", "out", "--shard", "3/2"], "--shard is I/N", 1),
        (["pack", "photos10", "~nobody-here/x"], "no such home folder", 1),
        (["pack", "photos10", "out", "--size", "1000000000"], "size", 2),
        (["pack", "", "out"], "'' is no path", 1),
        (["pack", "a\0b", "out"], r"'a\x00b' is no path", 1),
        (["pack", 300 * "a", "out"], "aaa... is no path: it or a name in it is too long", 1),
        (["pack", "photos10", 300 * "a"], "is too long", 1),
        (["pack", "photos10", ""], "'' is no path: name a folder", 1),
        (["train", "--run-dir", ""], "'' is no path: name a folder", 1),
        (["train", "--data", ""], "--data is empty: name a source", 1),
        (["measure", "ablations", "--data", ""], "--data is empty", 1),
        (["experiments", "--data", " "], "--data is empty", 1),
        (["evaluate", ""], "'' is no path: name a folder", 1),
        (["train", "--preset", "quik"], "Did you mean 'quick'", 1),
        (["train", "--data", "cifar"], "Did you mean 'cifar10'", 1),
        (["train", "--data", "~nobody-here/x"], "no such home folder", 1),
        (["train", "--set", "train.lr=fast"], "lr must be float", 1),
        (["train", "--set", "train.holdout=-1"], "holdout must be at least 0", 1),
        (["train", "--set", "train.epochs=1:30"], "epochs must be int, not '1:30'", 1),
        (["train", "--set", "train.limit="], "has no value", 1),
        (["train", "--seed", str(2**64)], "seed must be at least 0 and at most 4,294,967,295", 1),
        (["train", "--seed", "-1"], "seed must be at least 0", 1),
        (["train", "--arm", "../../x"], "--arm names files", 1),
        (["train", "--experiment", "/x"], "--experiment names files", 1),
        (["train", "--fit-only", "--record"], "--fit-only makes no record", 1),
        (["train", "--record", "--experiment", "ablations"], "ablations is planned: python -m alexnet_lib measure ablations", 1),
        (["train", "--device", ""], "no device '' here", 1),
        (["train", "--device", "banana"], "no device 'banana' here", 1),
        (["train", "--device", "meta"], "no device 'meta' here", 1),
        (["train", "--device", "hpu"], "no device 'hpu' here", 1),
        (["measure", "ablation"], "Did you mean 'ablations'", 1),
        (["measure", "ablations", "--device", "cuda:99"], "no device 'cuda:99' here", 1),
        (["measure", "ablations", "--arm", "whole", "--seed", str(2**64)], "seed must be", 1),
        (["evaluate", "absent"], "no checkpoint at absent", 1),
        (["evaluate", "absent", "--device", "banana"], "no device 'banana' here", 1),
        (["evaluate", "x", "--views", "five"], "unknown views", 1),
        (["evaluate", "x", "--split", "tset"], "unknown split", 1),
        (["evaluate", "~nobody-here/x"], "no such home folder", 1),
    ],
)
def test_what_is_wrong_gets_one_line(capsys, words, said, status):
    found, out, errors = called(capsys, *words)
    assert found == status and not out
    assert errors.startswith("error: ") and said in errors and errors.count("\n") == 1


@pytest.mark.parametrize(
    "name, words", [("ALEXNET_DATA", ("--fit-only",)), ("ALEXNET_RESULTS", ("--record",)), ("ALEXNET_RUNS", ())]
)
def test_a_home_that_does_not_exist_is_refused_before_the_training(capsys, monkeypatch, name, words):
    monkeypatch.setenv(name, "~nobody-here/x")
    status, out, errors = called(capsys, "train", *words)
    assert (status, out) == (1, "") and errors.startswith("error: ~nobody-here/x: there is no such home folder here")


def test_a_process_says_it_too_and_ends_with_the_status():
    done = run("train", "--set", "train.lr=fast")
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("error: lr must be float")
    alone = run("train", RANK="0")
    assert alone.returncode == 1 and alone.stderr.startswith("error: the environment has RANK and not WORLD_SIZE, ")


@pytest.mark.parametrize(
    "error, said",
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "runs/x"), "runs/x: No space left on device; free some space"),
        (InputError("two\nlines"), "two lines"),
    ],
)
def test_what_a_machine_refuses_gets_one_line(capsys, monkeypatch, error, said):
    def fails(*_):
        raise error

    monkeypatch.setattr("alexnet_lib.summary.describe", fails)
    status, _, errors = called(capsys, "info")
    assert status == 1 and said in errors and errors.count("\n") == 1
    with pytest.raises(ZeroDivisionError):  # what is a fault of ours is not hidden
        monkeypatch.setattr("alexnet_lib.summary.describe", lambda *_: 1 / 0)
        main(["info"])


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m alexnet_lib presets paper four_layer | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("| field") and not done.stderr


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_outputs_are_no_error(closed):
    """As a scheduler may start it: Python then has None for them."""
    command = f"{sys.executable} -m alexnet_lib presets paper four_layer {closed}>&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr and bool(done.stdout) == (closed == "2")


def test_a_command_with_a_bar_and_no_standard_error(tmp_path):
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    command = f"{sys.executable} -m alexnet_lib pack {tree} {tmp_path / 'out'} --workers 1 2>&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("8 images of 8x8")


def test_a_checkpoint_is_evaluated_on_its_own_data_from_any_folder(tmp_path, capsys, monkeypatch):
    """Its network may have more outputs than the data has classes; and the data may be packed too large for it."""
    for name, count in (("here", 12), ("there", 30)):
        make_tree(tmp_path / name / "tree", ("a", "b"), count=count, size=(100, 80))
    short = (*settings(epochs=1, batch_size=8, holdout=0), "--set", "model.classes=5", "--fit-only", "--device", "cpu")
    monkeypatch.chdir(tmp_path / "here")
    assert called(capsys, "train", "--data", "tree", "--run-dir", tmp_path / "run", *short)[0] == 0
    monkeypatch.chdir(tmp_path / "there")
    words = ("evaluate", tmp_path / "run", "--split", "train", "--views", "centre", "--device", "cpu")
    status, said, _ = called(capsys, *words)
    assert status == 0 and said.split()[-2:] == ["count", "24.000"]
    assert called(capsys, "pack", tmp_path / "here" / "tree", tmp_path / "large", "--size", "80")[0] == 0
    status, _, errors = called(capsys, *words, "--data", tmp_path / "large")
    assert status == 0 and "note: the network sees crops of 28 pixels of images of 80: pack tree again with --size 32" in errors
    assert "mean image" not in errors  # that of the training set was found
    (tmp_path / "here" / "tree").rename(tmp_path / "moved")
    assert "its training set is not there" in called(capsys, *words, "--data", tmp_path / "large")[2]


def test_a_network_is_evaluated_with_the_mean_image_of_its_training(tmp_path, capsys):
    one, two = (make_tree(tmp_path / name, (f"{name}/a", f"{name}/b")) / name for name in ("one", "two"))
    for path in two.rglob("*.png"):
        Image.new("RGB", (40, 30), "white").save(path)
    train, other = (open_dataset(str(tree), size=32, progress=False) for tree in (one, two))
    net = AlexNet(tiny_model(classes=2), seed=0)
    facts = {"train": asdict(tiny_training(data=str(one), limit=None, holdout=0)), "data": train.checksum}
    found = as_trained(other, "x", net, facts)
    assert (found.mean_image == train.mean_image).all() and (found.mean_image != other.mean_image).any()
    assert not capsys.readouterr().err and (found.take([0]) == 255).all()
    strange = facts | {"data": "of other images, which lay in that folder then"}
    assert (as_trained(other, "x", net, strange).mean_image == other.mean_image).all()
    assert "note: x: its training set is not there, or not as it was" in capsys.readouterr().err
    scalar = facts | {"train": facts["train"] | {"mean": "scalar"}}
    assert np.ptp(as_trained(other, "x", net, scalar).mean_image) == 0 < np.ptp(train.mean_image)

    facts_of_two = facts | {"train": facts["train"] | {"data": str(two)}, "data": other.checksum}
    second = AlexNet(tiny_model(classes=2), seed=1)
    together = evaluate_as_trained([(net, facts), (second, facts_of_two)], ["x", "y"], train, "centre")
    each = [predict(model, as_trained(train, "x", model, its), "centre") for model, its in ((net, facts), (second, facts_of_two))]
    assert together == error_rates(torch.stack(each).mean(0), torch.as_tensor(train.labels))
    assert together["loss"] != evaluate([net, second], train, "centre")["loss"]  # the first one's mean image for both


def test_train_evaluate_and_average(tmp_path):
    for seed in (0, 1):
        done = run("train", "--seed", seed, "--run-dir", tmp_path / str(seed), *SHORT)
        assert done.returncode == 0, done.stderr
        assert "test_top1_error" in done.stdout and "record: " in done.stdout
    record = json.loads((tmp_path / "0" / "record.json").read_text())
    assert record["seed"] == 0 and record["data"]["test"]["name"] == "photos10" and len(record["environment"]["commit"]) >= 7
    assert record["train"]["epochs"] == 1 and record["model"]["conv1"]["kernels"] == 8 and record["steps"] == 3
    one = run("evaluate", tmp_path / "0", "--views", "centre")
    two = run("evaluate", tmp_path / "0", tmp_path / "1")
    assert f"{record['metrics']['test_centre_top1_error']:.3f}" in one.stdout
    assert one.returncode == two.returncode == 0 and "top5_error" in two.stdout
    other = run("evaluate", tmp_path / "0", "--data", f"folder:{make_tree(tmp_path / 'tree', size=(32, 32))}")
    assert other.returncode == 1 and "knows 10 classes, tree has 2" in other.stderr


def test_photographs_are_packed_at_the_size_that_fits_the_network(tmp_path, capsys):
    tree, short = (
        make_tree(tmp_path / "tree", ("a", "b"), count=20, size=(300, 200)),
        settings(epochs=1, batch_size=10, holdout=0),
    )
    status, _, errors = called(capsys, "train", "--data", f"folder:{tree}", "--device", "cpu", *short)
    assert status == 0 and "note:" not in errors
    (path,) = (tmp_path / "runs" / "train").glob("quick-tree-*-seed0/record.json")
    assert json.loads(path.read_text())["data"]["train"]["size"] == 32
    assert called(capsys, "evaluate", path.parent, "--split", "train", "--device", "cpu")[0] == 0
    assert called(capsys, "pack", f"folder:{tree}", tmp_path / "packed", "--size", "100")[0] == 0
    status, said, errors = called(capsys, "train", "--data", tmp_path / "packed", "--fit-only", *short)
    assert "train_error" in said and "record" not in said and "test" not in said
    assert status == 0 and "note: the network sees crops of 28 pixels of images of 100: pack tree again with --size 32" in errors


def test_only_record_writes_to_results(tmp_path):
    committed, results = sorted((ROOT / "results").rglob("*")), tmp_path / "results"
    assert run("train", "--run-dir", tmp_path / "a", *SHORT, ALEXNET_RESULTS=str(results)).returncode == 0
    assert not results.exists()
    words = ("--run-dir", tmp_path / "b", "--record", "--experiment", "test_of_record", "--arm", "x")
    assert run("train", *words, *SHORT, ALEXNET_RESULTS=str(results)).returncode == 0
    assert (results / "test_of_record" / "x-seed0.json").is_file()
    assert sorted((ROOT / "results").rglob("*")) == committed


def test_pack_without_a_split_and_train_on_it(tmp_path):
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=20, size=(32, 32))
    assert run("pack", f"folder:{tree}", tmp_path / "packed").returncode == 0
    done = run(
        "train", "--data", tmp_path / "packed", "--run-dir", tmp_path / "run", *settings(epochs=1, batch_size=10, holdout=0)
    )
    assert done.returncode == 0, done.stderr
    assert "test_top1_error" not in done.stdout
    packed = run("pack", f"folder:{tree}", tmp_path / "held", "--holdout", "0.25")
    assert packed.returncode == 0
    trained = run(
        "train", "--data", tmp_path / "held", "--run-dir", tmp_path / "run2", *settings(epochs=1, batch_size=10, holdout=0)
    )
    assert trained.returncode == 0 and "test_top1_error" in trained.stdout
