"""Augmentation against loops that are slow and plain, and against torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from alexnet_lib import augment
from alexnet_lib.augment import (
    _crops_by_index,
    centre,
    centre_view,
    colour_noise,
    cut,
    random_crops,
    ten_views,
    view_positions,
    views,
)

MEAN = torch.rand(12, 14, 3, generator=torch.Generator().manual_seed(0)) * 255


def batch_of(n: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 12, 14, 3), dtype=np.uint8))


def cut_by_loops(images, mean, size, top, left, mirrored, std) -> np.ndarray:
    out = np.empty((len(images), 3, size, size), dtype=np.float32)
    dy, dx = (mean.shape[0] - size) // 2, (mean.shape[1] - size) // 2
    for n, c, y, x in np.ndindex(out.shape):
        column = size - 1 - x if mirrored[n] else x
        out[n, c, y, x] = (float(images[n, top[n] + y, left[n] + column, c]) - mean[dy + y, dx + x, c]) / std
    return out


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 12), seed=st.integers(0, 2**31), std=st.sampled_from([1.0, 2.0, 64.0]))
def test_cut_is_the_loop(size, seed, std):
    images = batch_of()
    top, left, mirrored = random_crops(images, size, torch.Generator().manual_seed(seed))
    found = cut(images, MEAN, size, top, left, mirrored, std)
    assert found.is_contiguous(memory_format=torch.channels_last)
    on_gpu = _crops_by_index(images, centre(MEAN, size), size, top, left, mirrored).div_(std)
    assert torch.equal(found, on_gpu.permute(0, 3, 1, 2))
    np.testing.assert_allclose(found, cut_by_loops(images, MEAN.numpy(), size, top, left, mirrored, std), rtol=1e-5, atol=1e-4)


def test_every_position_and_mirror_occurs_equally_often():
    images = torch.zeros(60_000, 12, 14, 3, dtype=torch.uint8)
    top, left, mirrored = random_crops(images, 10, torch.Generator().manual_seed(1))
    places, counts = torch.unique(torch.stack([top, left, mirrored.long()]), dim=1, return_counts=True)
    assert places.shape[1] == 3 * 5 * 2
    assert (counts - 2000).abs().max() < 5 * 2000**0.5


def test_the_2012_code_draws_once_for_32_images():
    images = torch.zeros(70, 12, 14, 3, dtype=torch.uint8)
    draws = torch.stack(random_crops(images, 8, torch.Generator().manual_seed(2), images_per_draw=32)).T
    assert (draws[:32] == draws[0]).all() and (draws[32:64] == draws[32]).all() and (draws[64:] == draws[64]).all()
    assert len({tuple(d) for d in draws[[0, 32, 64]].tolist()}) == 3
    again = torch.Generator().manual_seed(2)  # three draws each and not one more: a run's later numbers depend on it
    expected = torch.randint(5, (3,), generator=again), torch.randint(7, (3,), generator=again)
    assert torch.equal(draws[::32, :2], torch.stack(expected).T)


def test_crops_and_mirrors_can_be_turned_off_and_seeds_repeat():
    images = batch_of()
    top, left, mirrored = random_crops(images, 8, torch.Generator().manual_seed(0), crop=False, mirror=False)
    assert set(top.tolist()) == {2} and set(left.tolist()) == {3} and not mirrored.any()
    same = [torch.stack(random_crops(images, 8, torch.Generator().manual_seed(s))) for s in (5, 5, 6)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


@pytest.mark.parametrize("kind", ["eigenvalue", "deviation"])
def test_colour_noise_has_the_covariance_of_its_rule(kind):
    mix = np.random.default_rng(0).normal(size=(3, 3)) * 0.2
    covariance = mix @ mix.T
    values, vectors = np.linalg.eigh(covariance)
    axes = torch.tensor(values, dtype=torch.float32), torch.tensor(vectors, dtype=torch.float32)
    blank = torch.zeros(100_000, 3, 1, 1)
    noise = colour_noise(blank.clone(), axes, kind, torch.Generator().manual_seed(0), pixel_std=255)[:, :, 0, 0].numpy()
    power = 2 if kind == "eigenvalue" else 1
    expected = 0.1**2 * vectors @ np.diag(values**power) @ vectors.T / (1 if kind == "eigenvalue" else 1.1**2)
    np.testing.assert_allclose(np.cov(noise.T), expected, atol=0.02 * np.abs(expected).max())
    scaled = colour_noise(blank.clone(), axes, kind, torch.Generator().manual_seed(0))[:, :, 0, 0].numpy()
    np.testing.assert_allclose(scaled, noise * 255, rtol=1e-4, atol=1e-4)


def test_colour_noise_is_one_colour_for_the_whole_image():
    axes = torch.tensor([0.2, 0.02, 0.005]), torch.eye(3)
    images = torch.randn(4, 3, 5, 5)
    shift = colour_noise(images.clone(), axes, "eigenvalue", torch.Generator().manual_seed(0)) - images
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), rtol=1e-3, atol=1e-4)
    assert len(torch.unique(shift[:, 0, 0, 0])) == 4


def test_224_in_256_has_2178_views():
    images = torch.empty(1, 256, 256, 3, dtype=torch.uint8).expand(60_000, -1, -1, -1)
    top, left, mirrored = random_crops(images, 224, torch.Generator().manual_seed(0))
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 32, 0, 32)
    assert len(torch.unique(torch.stack([top, left, mirrored.long()]), dim=1).T) == 33 * 33 * 2


def test_cuts_are_torchvisions_crops_and_flips():
    images, zero = batch_of(), torch.zeros(12, 14, 3)
    top, left, mirrored = random_crops(images, 7, torch.Generator().manual_seed(3))
    assert 0 < mirrored.sum() < len(images)
    for found, image, y, x, flip in zip(cut(images, zero, 7, top, left, mirrored), images, top, left, mirrored, strict=True):
        expected = v2.functional.crop(image.permute(2, 0, 1).float(), y.item(), x.item(), 7, 7)
        assert torch.equal(found, v2.functional.hflip(expected) if flip else expected)


@pytest.mark.parametrize("height, width, size", [(256, 256, 224), (13, 10, 8), (9, 9, 9)])
def test_places_of_the_ten_views(height, width, size):
    mirrored = [flip for _, _, flip in view_positions(height, width, size)]
    places = [place[:2] for place in view_positions(height, width, size)]
    corners = [(0, 0), (0, width - size), (height - size, 0), (height - size, width - size)]
    assert places == 2 * [*corners, ((height - size) // 2, (width - size) // 2)]
    assert mirrored == [False] * 5 + [True] * 5


def test_views_are_torchvisions():
    """Where the margins are even: of an odd one torchvision puts the spare pixel elsewhere."""
    images, zero = batch_of(), torch.zeros(12, 14, 3)
    nchw = images.permute(0, 3, 1, 2).float()
    ours, theirs = ten_views(images, zero, 8), torch.stack(v2.TenCrop(8)(nchw))
    assert torch.equal(ours[:5], theirs[:5])
    assert torch.equal(ours[5:], theirs[[6, 5, 8, 7, 9]])  # a corner's mirror is the other corner of the mirrored image
    assert torch.equal(centre_view(images, zero, 8), v2.CenterCrop(8)(nchw)[None])
    assert torch.equal(views(images, zero, 8, view_positions(12, 14, 8)), ours)


def test_the_mean_image_goes_with_the_window_and_not_with_the_mirror():
    """Every view loses the same central part of the mean image, as in the authors' source."""
    images = torch.full((1, 12, 14, 3), 100, dtype=torch.uint8)
    for view in ten_views(images, MEAN, 8)[:, 0]:
        torch.testing.assert_close(view, 100 - MEAN[2:10, 3:11].permute(2, 0, 1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["eigenvalue", "deviation"])
def test_colour_noise_is_the_loop(kind, layout):
    torch.manual_seed(0)
    values, vectors = torch.tensor([0.2175, 0.0188, 0.0045]), torch.linalg.qr(torch.randn(3, 3))[0]
    batch = torch.randn(4, 3, 5, 4).contiguous(memory_format=layout)
    found = colour_noise(batch.clone(), (values, vectors), kind, torch.Generator().manual_seed(1), sigma=0.1, pixel_std=2.0)
    draws = 0.1 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    for n, c, y, x in np.ndindex(4, 3, 5, 4):
        spread = [v if kind == "eigenvalue" else v**0.5 for v in values]
        noise = sum(vectors[c, axis] * draws[n, axis] * spread[axis] for axis in range(3)) * 255 / 2.0
        expected = (batch[n, c, y, x] + noise) / (1 if kind == "eigenvalue" else 1.1)
        assert found[n, c, y, x] == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


def test_what_is_made_lies_where_the_images_do(monkeypatch):
    """The device that torch takes by default is another one here, as a card is for images in a processor's memory."""
    monkeypatch.setattr(augment, "_crops_by_copy", _crops_by_index)
    images, generator = batch_of(), torch.Generator().manual_seed(0)
    expected = ten_views(images, MEAN, 8)
    with torch.device("meta"):
        crops = random_crops(images, 8, generator)
        batch = cut(images, MEAN, 8, *crops)
        coloured = colour_noise(batch, (torch.ones(3, device="cpu"), torch.eye(3, device="cpu")), "eigenvalue", generator)
        assert all(x.device == images.device for x in (*crops, batch, coloured))
        assert torch.equal(ten_views(images, MEAN, 8), expected)
