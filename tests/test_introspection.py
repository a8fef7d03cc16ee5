"""Neighbours in data sets that are large of image or few of image; see also test_learned."""

from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_lib import introspection


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
