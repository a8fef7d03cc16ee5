"""The loop: resumed to the same bits, stopped cleanly, the same whatever happens to it."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import ROOT, settings, tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, evaluation, fit, training
from alexnet_lib import checkpoint as c
from alexnet_lib.batches import split_holdout
from alexnet_lib.evidence import experiment, networks
from alexnet_lib.system.stopping import stop_requests
from alexnet_lib.training import DivergedError


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


# The command line with batches that take a while, so that a run can be caught in the middle.
SLOWLY = """
import sys, time
from alexnet_lib import __main__
from alexnet_lib.data import dataset
from alexnet_lib.evidence import experiment
take = dataset.PackedDataset.take
def slow(self, indices):
    time.sleep(0.02)
    return take(self, indices)
dataset.PackedDataset.take = slow
experiment.final_metrics = experiment.learned_metrics = lambda *_, **__: {}  # not what is tested here
sys.exit(__main__.main())
"""


def start(folder) -> subprocess.Popen:
    """A run of 60 steps in a process of its own, with a checkpoint after each."""
    (folder.parent / "slowly.py").write_text(SLOWLY)
    words = ["train", "--preset", "quick", "--run-dir", str(folder)]
    fields = settings(epochs=6, batch_size=20, limit=200, holdout=50, checkpoint_minutes=0)
    command = [sys.executable, str(folder.parent / "slowly.py"), *words, *fields]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process) -> None:
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-2000:]


def wait_for_step(folder, process, step: int) -> None:
    deadline = time.time() + 120
    while max((int(p.stem[-8:]) for p in folder.glob(c.PATTERN)), default=0) < step:
        assert process.poll() is None, f"the run ended before it could be interrupted: {process.communicate()[1]}"
        assert time.time() < deadline, "no checkpoint in two minutes"
        time.sleep(0.002)


def curve(folder) -> list[dict]:
    """The curve of a run without its times."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in c.newest(folder)[2]["curve"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(start(folder))
    assert c.newest(folder)[2]["step"] == 60
    return folder


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_asked_to_stop_ends_with_the_same_bits(undisturbed, tmp_path, how):
    folder = tmp_path / "cut"
    process = start(folder)
    wait_for_step(folder, process, 13)
    process.send_signal(how)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130 and said.strip().endswith("stopped. The same command goes on from here")
    assert 13 <= c.newest(folder)[2]["step"] < 60
    finish(start(folder))
    assert same_bits(weights(undisturbed), weights(folder)) and curve(undisturbed) == curve(folder)


def spoil(monkeypatch, step: int) -> None:
    """Makes the loss of a step no number."""
    loss, calls = training.cross_entropy, []

    def spoilt(logits, labels):
        calls.append(labels)
        return loss(logits, labels) * (float("nan") if len(calls) == step else 1)

    monkeypatch.setattr(training, "cross_entropy", spoilt)


def test_a_loss_that_is_no_number_stops_the_run(photos10, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        spoil(patched, step=8)
        with pytest.raises(DivergedError) as caught:
            trained(photos10, tmp_path / "cut")
    text, good = str(caught.value), tmp_path / "cut" / "checkpoint-00000005.safetensors"
    assert "not finite at step 8" in text and str(good) in text and "lower lr" in text and "\n" not in text
    assert c.newest(tmp_path / "cut")[0] == good
    trained(photos10, tmp_path / "cut")  # what was wrong is put right, and the run goes on from there
    trained(photos10, tmp_path / "whole")
    assert same_bits(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_no_number_stops_the_run_though_its_loss_was_one(photos10, tmp_path, monkeypatch, value):
    """In the middle of an epoch: the next step's loss tells, and no checkpoint of the spoilt weights is written."""
    step, calls = training.PaperSGD.step, []

    def spoilt(self):
        calls.append(self)
        if len(calls) == 7:
            next(iter(self.parameters.values())).grad.flatten()[0] = value
        step(self)

    with monkeypatch.context() as patched:
        patched.setattr(training.PaperSGD, "step", spoilt)
        with pytest.raises(DivergedError, match=r"not finite at step [78]\. The last good checkpoint is .*00005"):
            trained(photos10, tmp_path)
    assert c.newest(tmp_path)[2]["step"] == 5


def test_weights_that_are_no_numbers_are_never_saved(photos10, tmp_path):
    """The loss of the one step is finite, and what the step makes of the weights is not."""
    steep = tiny_model(pixel_std=1e-3, norm={"kind": "none"})
    with pytest.raises(DivergedError, match="no checkpoint from before"):
        trained(photos10, tmp_path, model=steep, lr=1e38, schedule="constant", epochs=1, limit=20)
    assert c.newest(tmp_path) is None


def test_a_last_step_that_went_too_far_is_no_success(photos10, tmp_path):
    """All weights are numbers, the loss was too, and no next step would show that the outputs are not."""
    changes = {"epochs": 1, "limit": 60, "holdout": 0, "schedule": "constant", "checkpoint_minutes": 0}
    trained(photos10, tmp_path, **changes, lr=1e-3)
    (tmp_path / "checkpoint-00000003.safetensors").unlink()  # the run is at its second step of three
    net = AlexNet(tiny_model(), seed=0)
    config = tiny_training(**changes, lr=1e-3)
    trainer = training.Trainer(net, split_holdout(photos10[0], config)[0], None, config, tmp_path, "cpu", False)
    trainer.schedule.config = tiny_training(**changes, lr=1e30)
    with pytest.raises(DivergedError, match=r"outputs are not finite at step 3. The last good checkpoint is .*00002"):
        trainer.train()
    assert c.newest(tmp_path)[2]["step"] == 2


def test_an_error_that_is_no_number_stops_the_run(photos10, tmp_path, monkeypatch):
    rates, calls = evaluation.error_rates, []

    def spoilt(probabilities, labels):
        calls.append(labels)
        return rates(probabilities * (float("nan") if len(calls) == 2 else 1), labels)

    monkeypatch.setattr(evaluation, "error_rates", spoilt)
    with pytest.raises(DivergedError, match=r"outputs are not finite at step 10. The last good checkpoint is .*00005"):
        trained(photos10, tmp_path)
    assert c.newest(tmp_path)[2]["step"] == 5


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
    assert len(valid) == 300 and 2600 < len(train) <= 2700  # blocks are held out whole
    assert not set(train.order) & set(valid.order)
    again = split_holdout(photos10[0], tiny_training(holdout=300, limit=None, seed=5))[1]
    assert (again.order == valid.order).all()  # one seed's validation set is every seed's
    assert split_holdout(photos10[0], tiny_training(holdout=0, limit=None)) == (photos10[0], None)
    most = split_holdout(photos10[0], tiny_training(holdout=3000, limit=None))
    assert [len(part) for part in most] == [len(train), 300]  # at most a tenth


def test_of_a_handful_nothing_is_held_out(photos10):
    few = photos10[0].subset(range(9))
    assert split_holdout(few, tiny_training(holdout=50)) == (few, None)


def lopsided(photos10):
    """41 images, one of them alone in its class; packed from files, so that none shares pixels with another."""
    labels = photos10[0].labels
    few = photos10[0].subset([*np.flatnonzero(labels == 0)[:40], np.flatnonzero(labels == 1)[0]])
    return replace(few, groups=None)


def test_a_class_that_would_be_held_out_whole_is_refused(photos10):
    few, refused = lopsided(photos10), 0
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(41)
        config = tiny_training(holdout=4, limit=None, holdout_seed=seed)
        if 40 in order[:4]:
            refused += 1
            with pytest.raises(InputError, match=f"every training image of class {few.classes[1]} would be held out: hold out"):
                split_holdout(few, config)
        else:
            train, held = split_holdout(few, config)
            assert sorted(order[:4]) == [few.order.tolist().index(place) for place in held.order] and len(train) == 37
    assert refused == 3


def test_a_class_that_a_limit_leaves_out_is_noted(photos10, monkeypatch, capsys):
    few = lopsided(photos10)
    monkeypatch.setattr(networks, "open_dataset", lambda *_, **__: few)
    monkeypatch.setattr(type(few), "has_split", lambda *_: False)
    train = experiment.open_sets(tiny_training(holdout=0, limit=5), tiny_model())["train"]
    assert len(train) == 5 and set(train.labels) == {0}
    said = capsys.readouterr().err.splitlines()
    assert said == [f"note: of 1 classes, such as {few.classes[1]}, no image is among the 5 to train on: raise train.limit"]
    experiment.open_sets(tiny_training(holdout=0, limit=None), tiny_model())
    assert not capsys.readouterr().err


def test_what_does_not_fit_is_said_before_training(photos10, tmp_path):
    with pytest.raises(InputError, match="crops of 64"):
        trained(photos10, tmp_path, model=tiny_model(image_size=64))
    with pytest.raises(InputError, match="set classes"):
        trained(photos10, tmp_path, model=tiny_model(classes=3))


def test_a_plateau_run_ends_when_nothing_improves_and_stays_ended(photos10, tmp_path):
    changes = {"schedule": "plateau", "patience": 1, "drops": 2, "epochs": 50, "lr": 1e-9}
    _, result = trained(photos10, tmp_path, **changes)
    assert [e["epoch"] for e in result.curve] == [1, 2, 3, 4]  # the best, two drops, and one more without a better one
    assert [e["lr"] for e in result.curve] == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11])
    net, again = trained(photos10, tmp_path, **changes)
    assert again.step == result.step and again.curve == result.curve
    assert torch.equal(net.state_dict()["features.0.weight"], weights(tmp_path)["model.features.0.weight"])
    with pytest.raises(InputError, match="watches images held out"):
        trained(photos10, tmp_path / "blind", **changes, holdout=0)


def test_no_step_of_one_cycle_is_taken_at_rate_0(photos10, tmp_path):
    """The rate is that of the middle of a step: the ramp begins at 0 and ends there, between steps."""
    _, result = trained(photos10, tmp_path, limit=20, epochs=4, lr=0.08, warmup=0.25)
    assert [e["lr"] for e in result.curve] == pytest.approx([0.04, 0.08 * 5 / 6, 0.04, 0.08 / 6])


def test_errors_and_checkpoints_come_every_so_many_epochs_and_at_the_end(photos10, tmp_path):
    _, result = trained(photos10, tmp_path, epochs=5, evaluate_every=2, keep_checkpoints=9)
    assert [e["epoch"] for e in result.curve if "valid_error" in e] == [2, 4, 5]
    assert sorted(int(p.stem[-8:]) for p in tmp_path.glob(c.PATTERN)) == [10, 20, 25]


def test_the_curve_counts_every_image_of_an_epoch_once(photos10, tmp_path, monkeypatch):
    seen, loss = [], training.cross_entropy
    monkeypatch.setattr(training, "cross_entropy", lambda z, y: seen.append((loss(z, y).item(), z.argmax(1) != y)) or loss(z, y))
    _, result = trained(photos10, tmp_path, batch_size=30)  # 3 batches of 100 images, 10 left over
    for epoch, entry in enumerate(result.curve):
        part = seen[3 * epoch : 3 * epoch + 3]
        assert entry["train_loss"] == pytest.approx(sum(x for x, _ in part) / 3, rel=1e-6)
        assert entry["train_error"] == pytest.approx(100 * sum(w.sum().item() for _, w in part) / 90)
    assert result.first_losses == [x for x, _ in seen]


def test_every_epoch_has_an_order_of_its_own(photos10, tmp_path):
    taken = []

    class Watched:
        def __getattr__(self, name):
            return getattr(dataset, name)

        def __len__(self):
            return len(dataset)

        def take(self, indices):
            taken.append(list(indices))
            return dataset.take(indices)

    dataset = photos10[0].subset(range(0, 3000, 30))
    config = tiny_training(epochs=3)
    fit(AlexNet(tiny_model(), seed=0), Watched(), None, config, tmp_path, progress=False, device="cpu")
    epochs = [[i for batch in taken[5 * e : 5 * e + 5] for i in batch] for e in range(3)]
    assert all(sorted(order) == list(range(100)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_limit_draws_from_all_classes(photos10):
    train, valid = split_holdout(photos10[0], tiny_training(limit=200, holdout=100))
    assert (len(train), len(valid)) == (200, 100) and not set(train.order) & set(valid.order)
    assert set(train.labels) == set(valid.labels) == set(range(10))
    most = split_holdout(photos10[0], tiny_training(limit=10**6, holdout=100))[0]
    assert 2800 < len(most) <= 2900 and set(train.order) < set(most.order)


def test_compiled_is_the_same_network(photos10, tmp_path, monkeypatch):
    """Without the code generator, which takes minutes here: what torch.compile traces, and how fit() uses it."""
    eager = {"dropout": 0.0, "norm": {"kind": "average"}}
    plain = trained(photos10, tmp_path / "plain", model=tiny_model(**eager))[1].first_losses
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = trained(photos10, tmp_path / "compiled", model=tiny_model(**eager), compile=True)[1].first_losses
    assert compiled == pytest.approx(plain, rel=1e-3)
    c.load_model(tmp_path / "compiled")


def test_without_tensorboard_it_says_so(photos10, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="needs the package tensorboard"):
        trained(photos10, tmp_path, epochs=1, limit=20, tensorboard=True)


def test_tensorboard_gets_the_whole_curve(photos10, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, result = trained(photos10, tmp_path, epochs=3, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for key in ("train_loss", "valid_error", "lr"):
        assert [(e.step, e.value) for e in events.Scalars(key)] == [(r["step"], pytest.approx(r[key])) for r in result.curve]


def test_a_folder_or_device_that_cannot_be_used_is_said_at_once(photos10, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(InputError, match=r"cannot write to .*; name a"):
            trained(photos10, tmp_path / folder)
    for name in ("nonsense", "cuda:77"):
        with pytest.raises(InputError, match="no device") as caught:
            fit(AlexNet(tiny_model()), photos10[0], None, tiny_training(), tmp_path, device=name, progress=False)
        assert "\n" not in str(caught.value)


def test_the_folder_of_a_run_is_named_as_in_a_shell(photos10, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    trained(photos10, "~/run", epochs=1, limit=20)
    assert c.newest(tmp_path / "home/run") and not (tmp_path / "~").exists()
    with pytest.raises(InputError, match="'' is no path"):
        trained(photos10, "", epochs=1, limit=20)


def test_batch_normalisation_is_not_shared(photos10, tmp_path):
    """Each process would normalise by its own images: the run would differ by more than rounding."""
    net = AlexNet(tiny_model(norm={"kind": "batch"}), seed=0)
    with pytest.raises(InputError, match="batch normalisation sees one process's images"):
        training.Trainer(net, photos10[0], None, tiny_training(), tmp_path, "cpu", share=(0, 2))


def test_the_second_ctrl_c_stops_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_closed_terminal_ends_an_evaluation_with_a_word(tmp_path):
    """After the training nothing is lost by stopping at once; under SIGTERM it would end without a word."""
    script = "import runpy, signal\nfrom alexnet_lib import checkpoint\n"
    script += "checkpoint.load_model = lambda path: signal.raise_signal(signal.SIG{})\n"
    script += "runpy.run_module('alexnet_lib', run_name='__main__')"
    for name in ("TERM", "HUP"):
        command = [sys.executable, "-c", script.format(name), "evaluate", "x"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
        assert done.returncode == 130 and done.stderr.strip() == "stopped. The same command goes on from here"


def test_the_headers_say_what_the_record_says():
    metrics = json.loads((ROOT / "results" / "small_cifar10" / "laptop-seed0.json").read_text())["metrics"]
    ten, centre = f"{metrics['test_top1_error']:.1f} %", f"{metrics['test_centre_top1_error']:.1f} %"
    assert f"reaches {ten} test error on CIFAR-10 (ten views)" in training.__doc__
    assert f"errs on {ten} of" in evaluation.__doc__ and f"on {centre} with the centre" in evaluation.__doc__


def test_fit_works_in_a_thread(photos10, tmp_path):
    """Where signal handlers cannot be set, as in a notebook's background cell."""
    with ThreadPoolExecutor(1) as pool:
        _, result = pool.submit(trained, photos10, tmp_path).result()
    assert result.step == 10
