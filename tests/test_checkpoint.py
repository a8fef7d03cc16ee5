"""Checkpoints: whole, checked, harmless."""

import pickle

import pytest
import torch
from helpers import tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError, fit
from alexnet_lib import checkpoint as c
from alexnet_lib.training import split_holdout

TENSORS = {"a": torch.arange(5.0), "b": torch.tensor([[1, 2]])}


def test_what_is_saved_is_loaded(tmp_path):
    c.save(tmp_path / "deep" / "x.safetensors", TENSORS, {"step": 3, "text": "é"})
    tensors, facts = c.load(tmp_path / "deep" / "x.safetensors")
    assert facts == {"step": 3, "text": "é"} and all(torch.equal(tensors[n], TENSORS[n]) for n in TENSORS)


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

    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(c, "save_file", disk_full)
    with pytest.raises(InputError, match="No space left"):
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
    with pytest.raises(InputError, match="conv1 is .* there and .* here"):
        fit(other, train, valid, tiny_training(), tmp_path, progress=False)
    with pytest.raises(InputError, match="lr is"):
        fit(AlexNet(tiny_model(), seed=0), train, valid, tiny_training(lr=0.5), tmp_path, progress=False)
    with pytest.raises(InputError, match="other data"):
        fit(AlexNet(tiny_model(), seed=0), valid, None, tiny_training(), tmp_path, progress=False)
    with pytest.raises(InputError, match="another model"):
        c.load_model(tmp_path, tiny_model(dropout=0.1))
    model, facts = c.load_model(tmp_path, tiny_model())
    assert not model.training and facts["step"] == 10
