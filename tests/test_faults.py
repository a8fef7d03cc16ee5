"""What a run survives: kills at random moments, signals, races, damage, odd checkpoints, too little disk or memory.

The runs are forks of this process, so that each starts at once. With `pytest -m stress` many more tries are made.
"""

import fcntl
import json
import multiprocessing
import os
import pickle
import random
import signal
import sys
import termios
import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import tiny_model, tiny_training, tries

from alexnet_lib import AlexNet, InputError, evaluate, fit, training
from alexnet_lib import checkpoint as c
from alexnet_lib.batches import split_holdout
from alexnet_lib.evaluation import error_rates, predict, predict_by_views
from alexnet_lib.evidence import experiment
from alexnet_lib.system import files, tensors
from alexnet_lib.system.memory import enough_memory
from alexnet_lib.system.progress import bar

CONFIG = tiny_training(epochs=4, checkpoint_minutes=0.0)  # 20 steps, a checkpoint after each
forked = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


class Run:
    """A run in a fork: its exit status is 0, 1 for bad input or 130 where it was asked to stop; `said` is what was wrong."""

    def __init__(self, sets, folder: Path, prepare=lambda: None, progress=False):
        self.words = folder.parent / f"said-{random.randrange(10**12)}"
        fork = multiprocessing.get_context("fork")
        self.heeds = fork.Event()  # signals to stop, from here on
        self.process = fork.Process(target=self._train, args=(sets, folder, prepare, progress))
        self.process.start()

    def _train(self, sets, folder, prepare, progress):
        torch.set_num_threads(1)
        bar.set_lock(threading.RLock())  # tqdm's own is shared by all forks, and a killed one would hold it for ever
        heeding = training.stop_requests

        @contextmanager
        def noted():
            with heeding() as stop:
                self.heeds.set()
                yield stop

        training.stop_requests = noted
        prepare()
        status = 0
        try:
            fit(AlexNet(tiny_model(), seed=0), *sets, CONFIG, folder, progress=progress, device="cpu")
        except KeyboardInterrupt:
            status = 130
        except InputError as error:
            self.words.write_text(str(error))
            status = 1
        os._exit(status)

    def end(self) -> int:
        self.process.join(120)
        return self.process.exitcode

    @property
    def said(self) -> str:
        text = self.words.read_text()
        assert "\n" not in text
        return text


def state(folder) -> tuple:
    """All that must be equal of two runs, to the last bit."""
    _, tensors, facts = c.newest(folder)
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in facts["curve"]]
    return {n: t.numpy().tobytes() for n, t in tensors.items()}, curve, facts["step"], facts["first_losses"], facts["schedule"]


@pytest.fixture(scope="module")
def sets(photos10):
    return split_holdout(photos10[0], CONFIG)


@pytest.fixture(scope="module")
def undisturbed(sets, tmp_path_factory) -> tuple:
    """(what the run leaves, its seconds)."""
    folder, started = tmp_path_factory.mktemp("undisturbed") / "run", time.perf_counter()
    assert Run(sets, folder).end() == 0
    return state(folder), time.perf_counter() - started


@forked
@tries(4, 100)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT", "SIGTERM", "SIGHUP"])
def test_stopped_at_random_moments_a_run_ends_with_the_same_bits(undisturbed, sets, tmp_path, tries, how, counted):
    """Inside a step, a checkpoint's write or an evaluation, and between them. Asked to stop it does so with a checkpoint."""
    (right, seconds), dice, same, ended = undisturbed, random.Random(how), 0, 0
    for turn in range(tries):
        if turn == ended:  # a new run
            folder = tmp_path / f"run{turn}"
        run = Run(sets, folder)
        if how != "SIGKILL":  # which may come before the training as well
            assert run.heeds.wait(120)
        time.sleep(dice.uniform(0.1, 0.8) * seconds)
        os.kill(run.process.pid, getattr(signal, how))
        status = run.end()
        assert status in (0, -signal.SIGKILL) if how == "SIGKILL" else status in (0, 130), status
        if status == 130:
            before = c.newest(folder)
            assert before is not None
        if status == 0 or turn == tries - 1:
            assert Run(sets, folder).end() == 0
            same += (turn + 1 - ended) * (state(folder) == right)
            ended = turn + 1
            assert not list(folder.glob("*.partial*"))
    must = "resumed, the same weights, curve and losses to the last bit" + (
        "" if how == "SIGKILL" else "; before, a checkpoint within one step"
    )
    counted(f"{how} at a random moment of training", must, tries, same)


@forked
@pytest.mark.parametrize("place", ["a step", "a write", "an evaluation", "the last evaluation"])
def test_asked_to_stop_in_the_middle_of_something(undisturbed, sets, tmp_path, place):
    def at(owner, name, call):
        function, calls = getattr(owner, name), []

        def signalled(*args, **kwargs):
            calls.append(args)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGTERM)
            return function(*args, **kwargs)

        setattr(owner, name, signalled)

    moments = {
        "a step": (training, "cross_entropy", 8),
        "a write": (files.os, "fsync", 7),
        "an evaluation": (training, "evaluate", 2),
        "the last evaluation": (training, "evaluate", 4),
    }
    run = Run(sets, tmp_path / "run", prepare=lambda: at(*moments[place]))
    assert run.end() == 130
    facts = c.newest(tmp_path / "run")[2]
    there = {"a step": (8, 1), "a write": (8, 1), "an evaluation": (10, 1), "the last evaluation": (20, 3)}  # not waited for
    assert (facts["step"], len(facts["curve"])) == there[place]
    assert Run(sets, tmp_path / "run").end() == 0 and state(tmp_path / "run") == undisturbed[0]


@forked
def test_killed_with_half_a_checkpoint_written(undisturbed, sets, tmp_path):
    def tear():
        flush, calls = os.fsync, []

        def torn(descriptor):
            calls.append(descriptor)
            if len(calls) == 9:
                os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            flush(descriptor)

        files.os.fsync = torn

    folder = tmp_path / "run"
    assert Run(sets, folder, prepare=tear).end() == -signal.SIGKILL
    assert c.newest(folder)[2]["step"] == 8 and len(list(folder.glob("*.partial"))) == 1
    assert Run(sets, folder).end() == 0 and not list(folder.glob("*.partial"))
    assert state(folder) == undisturbed[0]


@forked
def test_a_closed_terminal_asks_to_stop(undisturbed, sets, tmp_path):
    """The kernel sends SIGHUP, and from then on nothing can be written there, the progress bar included."""
    main, side = os.openpty()

    def take_the_terminal():
        os.setsid()
        fcntl.ioctl(side, termios.TIOCSCTTY, 0)
        os.dup2(side, 2)
        os.close(main)
        os.close(side)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        step = training.Trainer._take_step
        training.Trainer._take_step = lambda *words: time.sleep(0.05) or step(*words)

    run = Run(sets, tmp_path / "run", take_the_terminal, progress=True)
    os.close(side)
    while not list((tmp_path / "run").glob(c.PATTERN)):
        time.sleep(0.01)
    os.close(main)
    assert run.end() == 130 and c.newest(tmp_path / "run")[2]["step"] < 20
    assert Run(sets, tmp_path / "run").end() == 0 and state(tmp_path / "run") == undisturbed[0]


def test_a_signal_that_nohup_ignores_stays_ignored(sets, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        evaluated = training.evaluate
        monkeypatch.setattr(training, "evaluate", lambda *a, **k: signal.raise_signal(signal.SIGHUP) or evaluated(*a, **k))
        assert fit(AlexNet(tiny_model()), *sets, tiny_training(epochs=1), tmp_path, progress=False, device="cpu").step == 5
    except KeyboardInterrupt:  # which would end the tests
        pytest.fail("it was stopped")
    finally:
        signal.signal(signal.SIGHUP, before)


@forked
@tries(1, 20)
def test_of_two_runs_in_one_folder_one_refuses(undisturbed, sets, tmp_path, tries, counted):
    right = 0
    for turn in range(tries):
        folder = tmp_path / f"run{turn}"
        slow = lambda: time.sleep(0.01 * turn)  # noqa: B023, E731
        runs = [Run(sets, folder), Run(sets, folder, prepare=slow)]
        loser = next((r for r in runs if r.end() == 1), None)
        # A short run may be over before the other has given up waiting: then both end well.
        refused = loser is None or "another run is using" in loser.said
        right += refused and 0 in [r.end() for r in runs] and state(folder) == undisturbed[0]
    counted("two runs start in one folder", "one refuses in one line, the other ends with the right bits", tries, right)


@forked
def test_a_run_in_a_folder_in_use_refuses_and_takes_over_from_the_dead(undisturbed, sets, tmp_path):
    folder = tmp_path / "run"

    def wait():
        Path(tmp_path, "holds").touch()
        time.sleep(100)

    holder = Run(sets, folder, prepare=lambda: setattr(training, "stop_requests", wait))
    while not (tmp_path / "holds").exists():
        time.sleep(0.01)
    second = Run(sets, folder)
    assert second.end() == 1
    assert f"another run is using {folder}: wait until it ends, or name another" in second.said
    holder.process.kill()
    assert holder.end() == -signal.SIGKILL
    assert Run(sets, folder).end() == 0 and state(folder) == undisturbed[0]


def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    for number, free in ((files.errno.ENOLCK, True), (files.errno.EACCES, None)):

        def refuse(self, number=number):
            raise OSError(number, "refused")

        monkeypatch.setattr(files.FileLock, "acquire", refuse)
        if free:
            with files.sole_use(tmp_path) as alone:
                assert alone
        else:
            with pytest.raises(InputError, match="refused; name a folder that you may write to"), files.sole_use(tmp_path):
                pass

    def unknown(self):
        raise NotImplementedError("as versions of the lock say it")

    monkeypatch.setattr(files.FileLock, "acquire", unknown)
    with files.sole_use(tmp_path) as alone:
        assert alone


@tries(12, 200)
def test_damage_is_found_and_the_checkpoint_before_it_used(sets, tmp_path, tries, counted, capsys):
    """A real checkpoint with flipped bits, cut, empty, or with the content of another run's."""
    for name, seed in (("run", 0), ("other", 1)):
        config = tiny_training(epochs=2, seed=seed)
        fit(AlexNet(tiny_model(), seed=seed), *sets, config, tmp_path / name, progress=False, device="cpu")
    path, dice = tmp_path / "run" / "checkpoint-00000010.safetensors", random.Random(0)
    whole, lost = path.read_bytes(), 0
    header = int.from_bytes(whole[:8], "little") + 8
    for turn in range(tries):
        place = dice.randrange(header if turn % 2 else len(whole))
        for bad in (whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(bad)
            with pytest.raises(c.DamagedError) as caught:
                c.load(path)
            assert "\n" not in str(caught.value) and path.name in str(caught.value)
            lost += c.newest(tmp_path / "run")[2]["step"] != 5
    assert "skipped" in capsys.readouterr().err
    must = "named, and the checkpoint before it used"
    counted("a bit flipped in a checkpoint, or its end cut off", must, 2 * tries, 2 * tries - lost)
    path.write_bytes((tmp_path / "other" / path.name).read_bytes())
    with pytest.raises(InputError, match="another training: seed is 1 there and 0 here"):
        fit(AlexNet(tiny_model()), *sets, tiny_training(epochs=2), tmp_path / "run", progress=False, device="cpu")


@pytest.fixture
def begun(sets, tmp_path):
    """(folder of a run of 2 epochs of 4, a call that goes on with it)."""
    folder = tmp_path / "run"

    def go_on(train_set=sets[0], **changes):
        return fit(AlexNet(tiny_model()), train_set, sets[1], tiny_training(**changes), folder, progress=False, device="cpu")

    go_on(epochs=2)
    return folder, go_on


def test_a_checkpoint_that_cannot_be_read_is_never_passed_over(begun, monkeypatch):
    folder, go_on = begun
    there = sorted(p.name for p in folder.iterdir())
    for owner, name, words in (
        (tensors, "open", "cannot read .*00000010.*: no permission"),
        (Path, "iterdir", "cannot read .*run: no"),
    ):
        with monkeypatch.context() as patched:

            def refuse(*_, **__):
                raise PermissionError(13, "no permission")

            patched.setattr(owner, name, refuse, raising=False)
            with pytest.raises(InputError, match=words) as caught:
                go_on(epochs=2)
            assert "\n" not in str(caught.value)
        assert sorted(p.name for p in folder.iterdir()) == there
    assert go_on(epochs=2).step == 10


def test_a_run_whose_checkpoints_are_all_damaged_says_so(begun):
    folder, go_on = begun
    for path in folder.glob(c.PATTERN):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint in .* is sound. Remove what is there"):
        go_on(epochs=2)
    assert len(list(folder.glob(c.PATTERN))) == 2


def test_what_is_named_like_a_checkpoint_and_is_none(begun, capsys):
    folder, go_on = begun
    os.mkfifo(folder / "checkpoint-00000011.safetensors")
    (folder / "checkpoint-00000012.safetensors").mkdir()
    (folder / "checkpoint-00000013.safetensors").symlink_to(folder / "nowhere")
    (folder / "checkpoint-00000001.safetensors").mkdir()
    assert go_on(epochs=2).step == 10
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("skipped: no checkpoint at") for line in said)
    (folder / "checkpoint-00000015.safetensors").mkdir()
    with pytest.raises(InputError, match=r"cannot write the checkpoint .*00000015.*: Is a directory; remove the folder"):
        c.save_step(folder, 15, {"a": torch.ones(1)}, {}, keep=1)
    c.save_step(folder, 16, {"a": torch.ones(1)}, {}, keep=1)  # folders of such a name cannot be removed, and need not


def rewritten(path: Path, change) -> None:
    """A checkpoint as another version of the library would have written it: sound, with other content."""
    tensors, facts = c.load(path)
    change(tensors, facts)
    c.save(path, tensors, facts)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t, f: f.pop("seconds"), "it has no 'seconds'"),
        (lambda t, f: f.pop("model"), "it has no 'model'"),
        (lambda t, f: f["schedule"].pop("best"), "it has no 'best'"),
        (lambda t, f: f["schedule"].update(best="low"), "could not convert"),
        (lambda t, f: f.update(step="many"), "its step is no int"),
        (lambda t, f: f.update(step=10**12), "its step, 1000000000000, and its curve of 2 epochs do not fit"),
        (lambda t, f: f.update(step=-1), "its step, -1, and its curve"),
        (lambda t, f: f.update(curve=3), "its curve is no list"),
        (lambda t, f: f.update(curve=[]), "its step, 10, and its curve of 0 epochs"),
        (lambda t, f: f.update(curve=[{}, {}]), "its curve of 2 epochs"),
        (lambda t, f: f.update(classes=5), "its classes is no list"),
        (lambda t, f: f.update(train=[1]), "its train is no dict"),
        (lambda t, f: f["train"].update(rate=1), "unknown field of TrainConfig 'rate'"),
        (lambda t, f: f["model"].update(droput=0.5), "unknown field of ModelConfig 'droput'"),
        (lambda t, f: f["model"].update(dropout="half"), "dropout must be float"),
        (lambda t, f: t.pop("velocity.features.0.weight"), "it has no tensor velocity.features.0.weight"),
        (lambda t, f: t.pop("tally"), "it has no tensor tally"),
        (lambda t, f: t.update(ema=torch.ones(1)), "it has a tensor ema"),
        (lambda t, f: t.update({"model.features.0.bias": torch.ones(1)}), r"bias is \(1,\) of .* there and \(8,\) of .* here"),
        (lambda t, f: t.update({"model.features.0.bias": torch.ones(8).char()}), "int8 there and .*float32 here"),
        (lambda t, f: f.update(format=2), "its format is 2, and this one reads 1"),
    ],
)
def test_a_checkpoint_of_another_version_gets_one_line(begun, change, words):
    folder, go_on = begun
    path = c.newest(folder)[0]
    rewritten(path, change)
    with pytest.raises(InputError, match=words) as caught:
        go_on(epochs=2)
    assert "written by another version" in str(caught.value) and path.name in str(caught.value)
    assert "\n" not in str(caught.value) and len(list(folder.glob(c.PATTERN))) == 2


def test_a_checkpoint_from_before_is_read(begun):
    """Without format and classes, and with facts that nobody needs."""
    folder, go_on = begun

    def age(tensors, facts):
        del facts["classes"]
        facts |= {"torch_threads": 2, "batch_size": 20}

    rewritten(c.newest(folder)[0], age)
    assert go_on(epochs=2).step == 10


def test_classes_in_another_order_are_refused(begun, sets, photos10):
    folder, go_on = begun
    renamed = replace(sets[0], classes=sets[0].classes[::-1])
    first, last = sets[0].classes[0], sets[0].classes[-1]
    with pytest.raises(InputError, match=f"learned class 0 as '{first}', in photos10 it is '{last}'"):
        go_on(train_set=renamed, epochs=2)
    facts = c.load_model(folder)[1]
    c.check_classes(folder, facts, photos10[1])
    with pytest.raises(InputError, match=r"learned class 9 as .*, in photos10 it is None"):
        c.check_classes(folder, facts, replace(photos10[1], classes=photos10[1].classes[:9]))


def test_facts_are_strict_json(sets, tmp_path):
    def strict(text):
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    fit(AlexNet(tiny_model()), sets[0], None, tiny_training(epochs=1), tmp_path, progress=False, device="cpu")
    raw = c.newest(tmp_path)[0].read_bytes()
    facts = strict(strict(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["facts"])
    assert facts["schedule"]["best"] is None and facts["format"] == 1
    with pytest.raises(ValueError, match="JSON"):
        c.save(tmp_path / "x", {}, {"loss": float("nan")})


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_of_any_spelling_runs(tmp_path, protocol):
    path, mark = tmp_path / "checkpoint-00000001.safetensors", tmp_path / "executed"
    spellings = [pickle.dumps(Evil(str(mark)), protocol)]
    for zipped in (True, False):
        torch.save(Evil(str(mark)), tmp_path / "x", pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=zipped)
        spellings.append((tmp_path / "x").read_bytes())
    for content in spellings:
        path.write_bytes(content)
        for load in (c.load, c.load_model):
            with pytest.raises(InputError, match="not a whole checkpoint"):
                load(path)
        with pytest.raises(InputError, match="is sound"):
            c.load_model(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("number, words", [(28, "free some space"), (122, "a quota"), (30, "disk that can be written"), (5, "")])
def test_a_checkpoint_that_cannot_be_written_leaves_those_from_before(begun, monkeypatch, number, words):
    folder, go_on = begun
    before = {p.name: p.read_bytes() for p in folder.glob(c.PATTERN)}

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(InputError, match=f"cannot write the checkpoint .*: {os.strerror(number)}.*{words}") as caught:
            c.save_step(folder, 15, {"a": torch.ones(1)}, {}, keep=1)
    assert "\n" not in str(caught.value) and {p.name: p.read_bytes() for p in folder.glob("checkpoint*")} == before
    assert go_on(epochs=2).step == 10  # there is room again


def test_a_refused_chmod_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    c.save_step(tmp_path, 1, {"a": torch.ones(1)}, {"step": 1}, keep=1)
    assert c.newest(tmp_path)[2] == {"step": 1}


@pytest.mark.parametrize("kind", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "real"])
def test_too_little_memory_gets_one_line(sets, tmp_path, monkeypatch, kind):
    def refuse(*_):
        if kind == "real":
            torch.empty(2**55)
        raise kind

    monkeypatch.setattr(training, "cross_entropy", refuse)
    with pytest.raises(InputError, match=r"not enough memory: set train.batch_size=10, which fits") as caught:
        fit(AlexNet(tiny_model()), *sets, tiny_training(), tmp_path, progress=False, device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="another"), enough_memory("nothing"):
        raise RuntimeError("another fault")


def test_the_batch_that_is_named_where_memory_ran_out_fits(sets, tmp_path, monkeypatch):
    """Memory for seven images: 20 do not fit, nor do 10, and 5 do. With none left another network is asked for."""
    room, whole = 7, AlexNet.forward

    def forward(self, x):
        if len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return whole(self, x)

    monkeypatch.setattr(AlexNet, "forward", forward)
    with pytest.raises(InputError, match=r"set train.batch_size=5, which fits \(a batch is 20 images now\)"):
        fit(AlexNet(tiny_model()), *sets, tiny_training(), tmp_path, progress=False, device="cpu")
    fit(AlexNet(tiny_model()), sets[0], None, tiny_training(batch_size=5, epochs=1), tmp_path, progress=False, device="cpu")
    room = 0
    with pytest.raises(InputError, match="take a smaller network or another device"):
        fit(AlexNet(tiny_model()), *sets, tiny_training(), tmp_path / "other", progress=False, device="cpu")


def test_what_is_tried_finds_the_memory_of_the_block_free():
    """The frames of an error hold its tensors: they are let go before anything is tried."""

    class Large:
        pass

    def block():
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError

    held: list[weakref.ref] = []
    with pytest.raises(InputError, match="freed: True"), enough_memory(lambda: f"freed: {held[0]() is None}"):
        block()


def test_an_empty_split_is_refused_before_training(sets, tmp_path):
    for empty in ((sets[0].subset([]), sets[1]), (sets[0], sets[1].subset([]))):
        with pytest.raises(InputError, match="the train split of photos10 has no images"):
            fit(AlexNet(tiny_model()), *empty, tiny_training(), tmp_path, progress=False, device="cpu")
    with pytest.raises(InputError, match="has no images"):
        evaluate(AlexNet(tiny_model()), sets[1].subset([]))
    assert not list(tmp_path.iterdir())


def test_test_sets_of_every_small_size(photos10):
    net = AlexNet(tiny_model(classifier_std=1.0), seed=0)
    whole = photos10[1].subset(range(0, 960, 16))
    right = predict_by_views(net, whole)
    for size in range(1, 61):
        few = whole.subset(range(size))
        for views in ("ten", "centre") if size < 13 else ("centre",):
            p = predict(net, few, views, batch_size=7)
            torch.testing.assert_close(p, right[views][:size], rtol=1e-4, atol=1e-6)
            assert error_rates(p, torch.as_tensor(few.labels))["count"] == size


def test_one_pass_gives_ten_views_and_the_centre(photos10):
    net, few = AlexNet(tiny_model(classifier_std=1.0), seed=0), photos10[1].subset(range(0, 1000, 50))
    both = predict_by_views(net, few)
    torch.testing.assert_close(both["ten"], predict(net, few, "ten"))
    torch.testing.assert_close(both["centre"], predict(net, few, "centre"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count, batch", [(1, 20), (19, 20), (21, 20), (41, 40)])
def test_batches_larger_than_the_set_and_rests_of_one(sets, tmp_path, count, batch):
    few = sets[0].subset(range(count))
    result = fit(AlexNet(tiny_model()), few, few, tiny_training(batch_size=batch), tmp_path, progress=False, device="cpu")
    assert result.step == 2 and len(result.curve) == 2


def test_outputs_that_are_no_numbers_are_no_result(photos10):
    net = AlexNet(tiny_model(), seed=0)
    with torch.no_grad():
        net.features[0].weight.fill_(1e38)
    with pytest.raises(training.DivergedError, match="not finite: it has diverged"):
        evaluate(net, photos10[1].subset(range(5)))


def test_a_test_split_whose_images_were_all_broken_is_refused_before_the_training(sets, tmp_path, monkeypatch):
    few = {"train": sets[0], "valid": sets[1], "test": sets[1].subset([])}
    monkeypatch.setattr(experiment, "open_sets", lambda train, model: few)
    with pytest.raises(InputError, match=r"has no images: see the broken.txt"):
        experiment.run(tiny_model(), tiny_training(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
