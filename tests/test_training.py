"""The loop: resumed to the same bits, stopped cleanly, the same on one process and on two."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import ROOT, run, settings, tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, fit
from alexnet_lib import checkpoint as c
from alexnet_lib.training import DivergedError, mix, split_holdout


def trained(photos10, folder, model=None, **changes):
    config = tiny_training(**changes)
    train, valid = split_holdout(photos10[0], config)
    net = AlexNet(model or tiny_model(), seed=config.seed)
    return net, fit(net, train, valid, config, folder, progress=False, device="cpu")


def weights(folder) -> dict[str, torch.Tensor]:
    return c.newest(folder)[1]


def same_bits(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_it_learns_and_repeats(photos10, tmp_path):
    _, first = trained(photos10, tmp_path / "a", epochs=12, limit=200)
    trained(photos10, tmp_path / "b", epochs=12, limit=200)
    assert same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert first.curve[-1]["train_loss"] < 0.9 * first.curve[0]["train_loss"]
    assert [e["epoch"] for e in first.curve] == list(range(1, 13)) and first.step == 120
    trained(photos10, tmp_path / "other", epochs=12, limit=200, seed=1)
    assert not same_bits(weights(tmp_path / "a"), weights(tmp_path / "other"))


def start(folder, *words, **env):
    command = [sys.executable, "-m", "alexnet_lib", "train", "--preset", "quick", "--run", str(folder), *words]
    fields = settings(epochs=6, batch_size=20, limit=200, holdout=50, checkpoint_minutes=0)
    return subprocess.Popen([*command, *fields], cwd=ROOT, env=os.environ | env, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder, process) -> None:
    deadline = time.time() + 120
    while len(list(folder.glob(c.PATTERN))) < 2:
        assert process.poll() is None and time.time() < deadline, "the run ended before it could be interrupted"
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path, how):
    undisturbed = start(tmp_path / "whole")
    undisturbed.communicate(timeout=240)
    assert undisturbed.returncode == 0
    folder = tmp_path / "cut"
    process = start(folder)
    wait_for_checkpoint(folder, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=240)
    step = c.newest(folder)[2]["step"]
    assert 0 < step < 60
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130 and said.strip().endswith("stopped. The same command goes on from here")
    again = start(folder)
    again.communicate(timeout=240)
    assert again.returncode == 0
    assert same_bits(weights(tmp_path / "whole"), weights(folder))
    curves = [c.newest(f)[2]["curve"] for f in (tmp_path / "whole", folder)]
    without_time = [[{k: v for k, v in e.items() if k != "seconds"} for e in curve] for curve in curves]
    assert without_time[0] == without_time[1]


def test_two_processes_give_what_one_gives(tmp_path):
    fields = settings(epochs=2, batch_size=20, limit=100, holdout=0, colour_noise="eigenvalue") + ["--set", "model.dropout=0"]
    words = ["train", "--preset", "quick", *fields]
    assert run(*words, "--run", tmp_path / "one").returncode == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "alexnet_lib"]
    done = subprocess.run([*torchrun, *words, "--run", str(tmp_path / "two")], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)
    assert c.newest(tmp_path / "two")[2]["processes"] == 2


def test_a_loss_that_is_no_number_stops_the_run(photos10, tmp_path):
    with pytest.raises(DivergedError) as caught:
        trained(photos10, tmp_path, lr=1e12, schedule="constant", epochs=3)
    text = str(caught.value)
    assert "not finite at step" in text and "lower lr" in text and "\n" not in text
    found = c.newest(tmp_path)
    assert found is None or all(torch.isfinite(t).all() for t in found[1].values())


def test_other_precisions_and_layouts_run(photos10, tmp_path):
    losses = {}
    for name, fields in {
        "plain": {},
        "bfloat16": {"precision": "bfloat16"},
        "channels_last": {"channels_last": True},
        "noise": {"colour_noise": "deviation", "images_per_draw": 32},
    }.items():
        _, result = trained(photos10, tmp_path / name, **fields)
        losses[name] = result.curve[0]["train_loss"]
    assert losses["bfloat16"] == pytest.approx(losses["plain"], rel=0.05)
    assert losses["channels_last"] == pytest.approx(losses["plain"], rel=0.01)
    assert losses["bfloat16"] != losses["plain"] != losses["noise"]


def test_holdout_and_limit(photos10):
    train, valid = split_holdout(photos10[0], tiny_training(holdout=300, limit=None))
    assert (len(train), len(valid)) == (2700, 300) and not set(train.order) & set(valid.order)
    again = split_holdout(photos10[0], tiny_training(holdout=300, limit=None, seed=5))[1]
    assert (again.order == valid.order).all()  # one seed's validation set is every seed's
    assert split_holdout(photos10[0], tiny_training(holdout=0, limit=None)) == (photos10[0], None)
    with pytest.raises(InputError, match="leaves none"):
        split_holdout(photos10[0], tiny_training(holdout=3000))


def test_what_does_not_fit_is_said_before_training(photos10, tmp_path):
    with pytest.raises(InputError, match="crops of 64"):
        trained(photos10, tmp_path, model=tiny_model(image_size=64))
    with pytest.raises(InputError, match="set classes"):
        trained(photos10, tmp_path, model=tiny_model(classes=3))


def test_a_plateau_run_ends_when_nothing_improves(photos10, tmp_path):
    _, result = trained(photos10, tmp_path, schedule="plateau", patience=1, drops=1, epochs=50, lr=1e-9)
    assert result.curve[-1]["epoch"] < 50


def test_mix_is_the_same_everywhere():
    assert mix(0, 1) != mix(1, 0) and mix(0, 1) == mix(0, 1) and 0 <= mix(2**40, -3) < 2**63
