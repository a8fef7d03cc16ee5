"""Checkpoints: whole, checked, harmless."""

import os
import pickle

import pytest
import torch
from helpers import tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, fit
from alexnet_lib import checkpoint as c
from alexnet_lib.batches import split_holdout

TENSORS = {"a": torch.arange(5.0), "b": torch.tensor([[1, 2]])}


def test_what_is_saved_is_loaded(tmp_path):
    c.save(tmp_path / "deep" / "x.safetensors", TENSORS, {"step": 3, "text": "é"})
    tensors, facts = c.load(tmp_path / "deep" / "x.safetensors")
    assert facts == {"step": 3, "text": "é"} and all(torch.equal(tensors[n], TENSORS[n]) for n in TENSORS)


def test_others_may_read_it_as_they_may_read_any_file(tmp_path):
    (tmp_path / "any").touch()
    c.save(tmp_path / "x.safetensors", TENSORS, {})
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("place", [10, -3])
def test_a_flipped_byte_is_found(tmp_path, place):
    path = tmp_path / "x.safetensors"
    c.save(path, TENSORS, {"step": 3})
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="earlier one"):
        c.load(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    whole = tmp_path / "x.safetensors"
    c.save(whole, TENSORS, {})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-4])
    pickled = tmp_path / "evil.pt"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.ones(2)}, tmp_path / "torch.pt")
    for path in (cut, pickled, tmp_path / "torch.pt", tmp_path / "absent"):
        with pytest.raises(InputError) as caught:
            c.load(path)
        assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_the_last_good_one_survives_a_failed_write(tmp_path, monkeypatch):
    c.save_step(tmp_path, 1, TENSORS, {"step": 1}, keep=2)

    def disk_full(descriptor):
        os.truncate(descriptor, 20)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(InputError, match="No space left on device; free some space"):
        c.save_step(tmp_path, 2, TENSORS, {"step": 2}, keep=2)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000001.safetensors"]
    assert c.newest(tmp_path)[2] == {"step": 1}


def test_a_damaged_newest_one_is_passed_over(tmp_path, capsys):
    for step in (1, 2, 3):
        c.save_step(tmp_path, step, TENSORS, {"step": step}, keep=2)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["checkpoint-00000002.safetensors", "checkpoint-00000003.safetensors"]
    (tmp_path / names[1]).write_bytes(b"cut short")
    assert c.newest(tmp_path)[2] == {"step": 2}
    assert "skipped" in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_named(tmp_path, photos10):
    train, valid = split_holdout(photos10[0], tiny_training())
    fit(AlexNet(tiny_model(), seed=0), train, valid, tiny_training(), tmp_path, progress=False)
    other = AlexNet(tiny_model(conv1={"kernels": 16}), seed=0)
    with pytest.raises(InputError, match=r"conv1 is .* there and .* here"):
        fit(other, train, valid, tiny_training(), tmp_path, progress=False)
    with pytest.raises(InputError, match="lr is"):
        fit(AlexNet(tiny_model(), seed=0), train, valid, tiny_training(lr=0.5), tmp_path, progress=False)
    with pytest.raises(InputError, match="other data"):
        fit(AlexNet(tiny_model(), seed=0), valid, None, tiny_training(), tmp_path, progress=False)
    with pytest.raises(InputError, match="another model"):
        c.load_model(tmp_path, tiny_model(dropout=0.1))
    model, facts = c.load_model(tmp_path, tiny_model())
    assert not model.training and facts["step"] == 10


def test_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(InputError, match=f"no checkpoint in {tmp_path}"):
        c.load_model(tmp_path)


@pytest.mark.parametrize("bit", [0, 5, 7])
def test_no_changed_byte_and_no_cut_passes(tmp_path, bit):
    path = tmp_path / "x.safetensors"
    tensors = TENSORS | {
        "none": torch.zeros(0),
        "one": torch.tensor(3.0, dtype=torch.float64),
        "half": torch.ones(3).bfloat16(),
    }
    c.save(path, tensors, {"step": 3, "best": None})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(InputError):
            c.load(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            c.load(path)


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


def test_loading_executes_nothing(tmp_path):
    mark = tmp_path / "executed"
    for name, write in (("a.pt", torch.save), ("b.safetensors", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        write(Evil(str(mark)), tmp_path / name)
        with pytest.raises(InputError, match="not a whole checkpoint"):
            c.load(tmp_path / name)
        with pytest.raises(InputError, match="not a whole checkpoint"):
            c.load_model(tmp_path / name)
    assert not mark.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert mark.exists()  # so the trap works


def test_a_disk_that_is_full(tmp_path):
    """A real write that fails: files of this process may not grow beyond 100 bytes."""
    resource = pytest.importorskip("resource")
    c.save_step(tmp_path, 1, TENSORS, {"step": 1}, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(InputError, match="File too large; allow larger files") as caught:
            c.save_step(tmp_path, 2, TENSORS, {"step": 2}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000001.safetensors"]
    assert c.newest(tmp_path)[2] == {"step": 1}


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_one_never_displaces_a_sound_one(tmp_path, keep):
    (tmp_path / "checkpoint-00000009.safetensors").write_bytes(b"cut short")
    for step in (5, 6, 7):
        c.save_step(tmp_path, step, TENSORS, {"step": step}, keep=keep)
        assert c.newest(tmp_path)[2] == {"step": step}
    assert len(list(tmp_path.iterdir())) == keep + 1  # and it lies there still, for who wants to know what happened


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    (tmp_path / "checkpoint-00000003.safetensors.0123.partial").write_bytes(b"half")
    (tmp_path / "checkpoint-00000003.partial-123").write_bytes(b"half")  # as they were called once
    assert c.newest(tmp_path) is None
    c.save_step(tmp_path, 4, TENSORS, {}, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000004.safetensors"]


def test_layouts_and_shared_memory_are_saved_as_values(tmp_path):
    block = torch.arange(24.0).reshape(1, 2, 3, 4)
    tensors = {"last": block.contiguous(memory_format=torch.channels_last), "turned": block[0, 0].T}
    c.save(tmp_path / "x.safetensors", tensors, {})
    found, _ = c.load(tmp_path / "x.safetensors")
    assert all(torch.equal(found[n], tensors[n]) for n in tensors)


def test_none_goes_before_there_are_too_many(tmp_path):
    for step in range(1, 7):
        c.save_step(tmp_path, step, TENSORS, {"step": step}, keep=9)
    assert len(list(tmp_path.iterdir())) == 6


def test_steps_are_compared_as_numbers(tmp_path):
    """From a hundred million on their names are longer, and as texts the newest would come before the others."""
    for step in (99_999_999, 100_000_000, 100_000_001):
        c.save_step(tmp_path, step, TENSORS, {"step": step}, keep=2)
    (tmp_path / "checkpoint-best.safetensors").mkdir()  # somebody's own
    assert c.newest(tmp_path)[2]["step"] == 100_000_001
    names = ["checkpoint-100000000.safetensors", "checkpoint-100000001.safetensors", "checkpoint-best.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
