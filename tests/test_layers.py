"""The layers against slow, obvious references."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet_lib import LocalResponseNorm
from alexnet_lib.layers import Dropout, TowerLinear, WithinMapNorm, conv_out, local_response_norm, pool_out


def lrn_by_loops(a: np.ndarray, size, alpha, beta, k, average, groups) -> np.ndarray:
    """Section 3.3 map by map."""
    out, per = np.empty_like(a), a.shape[1] // groups
    for i in range(a.shape[1]):
        first, last = i // per * per, (i // per + 1) * per - 1
        window = range(max(first, i - size // 2), min(last, i + size // 2) + 1)
        total = sum(a[:, j] ** 2 for j in window)
        out[:, i] = a[:, i] / (k + (alpha / size if average else alpha) * total) ** beta
    return out


CASES = [
    (size, average, groups, channels)
    for size in (1, 3, 5, 9)
    for average in (False, True)
    for groups, channels in ((1, 7), (1, 16), (2, 6), (2, 16), (3, 9))
]


@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("size, average, groups, channels", CASES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
def test_lrn_values_and_gradients(size, average, groups, channels, beta, layout):
    torch.manual_seed(0)
    a = torch.randn(3, channels, 4, 5, dtype=torch.float64) * 3
    if layout == "channels_last":
        a = a.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        a = torch.randn(3, channels, 4, 10, dtype=torch.float64)[..., ::2]
    a.requires_grad_()
    constants = size, 0.3, beta, 2.0, average, groups
    b = local_response_norm(a, *constants)
    np.testing.assert_allclose(b.detach().numpy(), lrn_by_loops(a.detach().numpy(), *constants), rtol=1e-12)
    g = torch.randn_like(b)
    b.backward(g)
    numeric = torch.empty_like(a)
    step = 1e-6
    for place in np.ndindex(*a.shape[1:]):  # central differences, one unit of every image at a time
        moved = torch.zeros_like(a)
        moved[(slice(None), *place)] = step
        up, down = (lrn_by_loops((a + s * moved).detach().numpy(), *constants) for s in (1, -1))
        numeric[(slice(None), *place)] = torch.from_numpy(((up - down) / (2 * step) * g.numpy()).sum((1, 2, 3)))
    torch.testing.assert_close(a.grad, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lrn_agrees_with_torch(memory_format):
    torch.manual_seed(0)
    a = (torch.randn(8, 96, 27, 27).relu() * 20).contiguous(memory_format=memory_format)
    found = []
    for layer in (LocalResponseNorm(average=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)):
        x = a.clone().requires_grad_()
        y = layer(x)
        y.backward(torch.ones_like(y))
        found.append((y.detach(), x.grad))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()
    assert found[0][0].is_contiguous(memory_format=memory_format)


def test_lrn_of_vectors_of_bfloat16_and_without_gradients():
    a = torch.randn(4, 10)
    expected = lrn_by_loops(a.numpy(), 5, 1e-4, 0.75, 2.0, False, 1)
    np.testing.assert_allclose(LocalResponseNorm()(a).numpy(), expected, rtol=1e-6)
    with torch.inference_mode():
        LocalResponseNorm(size=7)(a)  # the matrix that this caches must serve training afterwards
    LocalResponseNorm(size=7)(a.requires_grad_()).sum().backward()
    half = LocalResponseNorm(alpha=0.1)(a.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), LocalResponseNorm(alpha=0.1)(a.detach().bfloat16().float()), rtol=1e-2, atol=0)


def test_lrn_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(size=4)
    with pytest.raises(ValueError, match="divide"):
        LocalResponseNorm(groups=3)(torch.randn(1, 8, 2, 2))


def test_window_stays_in_its_tower():
    a = torch.ones(1, 8, 1, 1)
    moved = a.clone()
    moved[0, 4] = 50.0  # the first map of the second tower
    apart, together = LocalResponseNorm(alpha=0.1, groups=2), LocalResponseNorm(alpha=0.1)
    assert torch.equal(apart(a)[:, :4], apart(moved)[:, :4])
    assert not torch.equal(together(a)[:, :4], together(moved)[:, :4])


@pytest.mark.parametrize("size", [3, 5])
def test_within_map_norm(size):
    torch.manual_seed(0)
    a = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    padded = np.pad(a.numpy() ** 2, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2))
    expected = np.empty(a.shape)
    for y, x in np.ndindex(7, 6):
        total = padded[:, :, y : y + size, x : x + size].sum((2, 3))
        expected[:, :, y, x] = a.numpy()[:, :, y, x] / (1 + 0.2 / size**2 * total) ** 0.75
    layer = WithinMapNorm(size, alpha=0.2)
    np.testing.assert_allclose(layer(a).numpy(), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(layer, a[:1, :1, :3, :3].clone().requires_grad_())


def test_tower_linear_is_two_layers():
    layer, x = TowerLinear(12, 6, 2), torch.randn(5, 12)
    first, second = nn.Linear(6, 3), nn.Linear(6, 3)
    with torch.no_grad():
        for part, rows in ((first, slice(0, 3)), (second, slice(3, 6))):
            part.weight.copy_(layer.weight[rows])
            part.bias.copy_(layer.bias[rows])
    torch.testing.assert_close(layer(x), torch.cat([first(x[:, :6]), second(x[:, 6:])], 1))


@pytest.mark.parametrize("scale", ["test", "train"])
def test_dropout_keeps_its_expectation(scale):
    torch.manual_seed(0)
    layer, x = Dropout(0.3, scale), torch.full((200_000,), 2.0)
    trained = layer.train()(x)
    assert set(trained.unique().tolist()) == {0.0, 2.0 if scale == "test" else pytest.approx(2.0 / 0.7)}
    assert trained.mean().item() == pytest.approx(layer.eval()(x).mean().item(), rel=0.01)
    assert layer.eval()(x)[0].item() == pytest.approx(1.4 if scale == "test" else 2.0)


@settings(deadline=None, max_examples=200)
@given(size=st.integers(1, 40), window=st.integers(1, 6), stride=st.integers(1, 6), up=st.booleans())
def test_pool_out_is_what_torch_does(size, window, stride, up):
    if size < window:
        return
    found = nn.functional.max_pool2d(torch.zeros(1, 1, size, size), window, stride, ceil_mode=up).shape[-1]
    assert pool_out(size, window, stride, up) == found


@settings(deadline=None, max_examples=100)
@given(st.integers(8, 40), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_conv_out_is_what_torch_does(size, kernel, stride, padding, overhang):
    image = nn.functional.pad(torch.zeros(1, 1, size, size), (0, overhang, 0, overhang))
    found = nn.functional.conv2d(image, torch.zeros(1, 1, kernel, kernel), stride=stride, padding=padding).shape[-1]
    assert conv_out(size, kernel, stride, padding, overhang) == found
