"""What the network has learned: colour selectivity, features, neighbours."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny_model

from alexnet_lib import AlexNet, InputError, introspection
from alexnet_lib.evidence.kernels import load_kernels, save_kernels, selectivity_by_tower


def images_of(array: np.ndarray) -> SimpleNamespace:
    """What pixel_features wants of a data set."""

    class Images(SimpleNamespace):
        def __len__(self):
            return len(array)

    return Images(size=array.shape[1], take=lambda places: array[np.asarray(places)])


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def test_small_images_are_taken_as_they_are(noise):
    found = introspection.pixel_features(images_of(noise), batch_size=3)
    assert found.shape == (7, 3 * 32 * 32) and found.dtype == np.float32
    assert found == pytest.approx(noise.transpose(0, 3, 1, 2).reshape(7, -1) / 255, abs=1e-6)


def test_large_images_are_averaged(noise):
    found = introspection.pixel_features(images_of(noise), side=8)
    blocks = noise.reshape(7, 8, 4, 8, 4, 3).mean((2, 4)) / 255
    assert found == pytest.approx(blocks.transpose(0, 3, 1, 2).reshape(7, -1), abs=1e-6)


def test_fewer_images_than_neighbours_asked_for():
    places = introspection.nearest(np.array([[0.0], [9.0]]), np.array([[8.0]]), 5)
    assert places.tolist() == [[1, 0]]


def test_colour_selectivity():
    edge = torch.randn(1, 1, 5, 5)
    assert introspection.colour_selectivity(edge.expand(1, 3, 5, 5)).item() == pytest.approx(0, abs=1e-6)
    opposed = torch.cat([edge, -edge, 0 * edge], 1)
    assert introspection.colour_selectivity(opposed).item() == pytest.approx(1, abs=1e-6)
    assert introspection.colour_selectivity(torch.randn(3000, 3, 5, 5)).mean().item() == pytest.approx(2 / 3, abs=0.01)


def test_neighbours(photos10):
    train, test = photos10[0].subset(range(0, 3000, 30)), photos10[1].subset(range(0, 1000, 200))
    net = AlexNet(tiny_model(), seed=0)
    features = introspection.hidden_features(net, train)
    assert features.shape == (100, 16) and features.dtype == np.float32
    places = introspection.nearest(introspection.pixel_features(train), introspection.pixel_features(test), 3)
    pixels, asked = (introspection.pixel_features(s) for s in (train, test))
    slow = np.argsort(((asked[:, None] - pixels[None]) ** 2).sum(2), axis=1)[:, :3]
    assert (places == slow).all()
    assert introspection.same_class_share(np.array([[0, 1], [1, 1]]), np.array([5, 7]), np.array([5, 7])) == 75.0


def test_kernels_are_kept_and_read_back(tmp_path, monkeypatch):
    net = AlexNet(tiny_model(), seed=0)
    path = save_kernels(net, tmp_path / "a-seed0.kernels.safetensors")
    found, exact = load_kernels(path), introspection.kernels(net)
    assert found.dtype == torch.float32 and torch.allclose(found, exact, rtol=1e-3, atol=1e-7) and not torch.equal(found, exact)
    assert path.stat().st_size < 2 * exact.numel() + 500
    by_tower = selectivity_by_tower(net)
    assert len(by_tower) == net.config.towers
    flat = [value for tower in by_tower for value in tower]
    assert flat == pytest.approx(introspection.colour_selectivity(exact).tolist(), abs=1e-4)
    with pytest.raises(InputError, match="no kernels at"):
        load_kernels(tmp_path / "b-seed0.kernels.safetensors")
    with pytest.raises(InputError, match="cannot write"):
        save_kernels(net, path / "x.kernels.safetensors")  # a folder's name that is a file's

    before = path.read_bytes()

    def full(partial, content):
        with open(partial, "wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(InputError, match=r"cannot write the kernels .*: No space left on device; free some space"):
        save_kernels(net, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]
