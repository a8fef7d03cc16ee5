"""The command line: what it prints, and one clear line for what is wrong."""

import json

import pytest
from helpers import ROOT, make_tree, run, settings

SHORT = settings(epochs=1, batch_size=20, limit=60, holdout=0)


def test_info():
    done = run("info", "--preset", "paper", "--batch", "1")
    assert done.returncode == 0 and "60,965,224" in done.stdout and "659,272" in done.stdout
    smaller = run("info", "--preset", "paper", "--set", "model.conv1.kernels=48")
    assert "48 of 11x11x3" in smaller.stdout


@pytest.mark.parametrize(
    "words, said, status",
    [
        (["info", "--preset", "papr"], "Did you mean 'paper'", 1),
        (["info", "--set", "model.droput=1"], "Did you mean 'dropout'", 1),
        (["info", "--set", "dropout=1"], "--set wants", 1),
        (["info", "--set", "model.dropout=[1"], "not a value", 1),
        (["info", "--batch", "0"], "batch", 2),
        (["info", "--colour"], "colour", 2),
        (["inform"], "inform", 2),
        (["pack", "folder:absent", "out"], "absent: name one that holds", 1),
        (["pack", "photos10", "out", "--shard", "3/2"], "--shard is I/N", 1),
        (["train", "--preset", "quik"], "Did you mean 'quick'", 1),
        (["train", "--data", "cifar"], "Did you mean 'cifar10'", 1),
        (["train", "--set", "train.lr=fast"], "lr must be float", 1),
        (["train", "--set", "train.holdout=-1"], "holdout must not be negative", 1),
        (["evaluate", "absent"], "no checkpoint at absent", 1),
        (["evaluate", "x", "--views", "five"], "unknown views", 1),
    ],
)
def test_what_is_wrong_gets_one_line(words, said, status):
    done = run(*words)
    assert done.returncode == status
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and said in last and "Traceback" not in done.stderr


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


def test_only_record_writes_to_results(tmp_path):
    import shutil

    before = sorted((ROOT / "results").rglob("*"))
    run("train", "--run-dir", tmp_path / "a", *SHORT)
    assert sorted((ROOT / "results").rglob("*")) == before
    written = ROOT / "results" / "test_of_record"
    try:
        done = run("train", "--run-dir", tmp_path / "b", "--record", "--experiment", "test_of_record", "--arm", "x", *SHORT)
        assert done.returncode == 0 and (written / "x-seed0.json").is_file()
    finally:
        shutil.rmtree(written, ignore_errors=True)


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
