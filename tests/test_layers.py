"""The layers against slow, obvious references."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet_lib import InputError, LocalResponseNorm, fast_lrn
from alexnet_lib.layers import Dropout, TowerLinear, WithinMapNorm, conv_out, local_response_norm, lrn_formula, pool_out


def window(i: int, channels: int, size: int, groups: int) -> range:
    """The maps that map i sees."""
    per = channels // groups
    first, last = i // per * per, (i // per + 1) * per - 1
    return range(max(first, i - size // 2), min(last, i + size // 2) + 1)


def lrn_by_loops(a: np.ndarray, size, alpha, beta, k, average, groups) -> np.ndarray:
    """Section 3.3 map by map."""
    out = np.empty_like(a)
    for i in range(a.shape[1]):
        total = sum(a[:, j] ** 2 for j in window(i, a.shape[1], size, groups))
        out[:, i] = a[:, i] / (k + (alpha / size if average else alpha) * total) ** beta
    return out


def lrn_gradient_by_loops(a: np.ndarray, g: np.ndarray, size, alpha, beta, k, average, groups) -> np.ndarray:
    """The sum over j of g_j db_j/da_i, term by term."""
    alpha, channels, out = alpha / size if average else alpha, a.shape[1], np.zeros_like(a)
    for j in range(channels):
        seen = window(j, channels, size, groups)
        d = k + alpha * sum(a[:, m] ** 2 for m in seen)
        out[:, j] += g[:, j] * d**-beta
        for i in seen:
            out[:, i] -= g[:, j] * a[:, j] * beta * d ** (-beta - 1) * 2 * alpha * a[:, i]
    return out


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([1, 3, 5, 9, 15]),
    st.floats(0, 2),
    st.sampled_from([0.75, 0.5, 1.0, 0.0]),
    st.floats(0.1, 3),
    st.booleans(),
    st.integers(1, 3),
    st.data(),
)
def test_lrn_of_any_shape_layout_and_share_of_the_batch(size, alpha, beta, k, average, groups, data):
    draw = data.draw
    shape = (draw(st.integers(0, 5)), groups * draw(st.integers(1, 12)), *draw(st.lists(st.integers(1, 4), max_size=2)))
    tensors = [torch.from_numpy(np.random.default_rng(i).normal(size=shape)) for i in range(2)]
    layout = st.sampled_from(["contiguous", "channels last", "turned", "strided", "expanded"])
    a, g = (laid_out(x, draw(layout)) for x in tensors)
    images = draw(st.integers(1, 3))
    constants = size, alpha, beta, k, average, groups
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_lrn, "CHUNK", images * max(1, a[:1].numel()))
        b = local_response_norm(a.requires_grad_(), *constants)
        b.backward(g)
    found = a.detach().numpy()
    np.testing.assert_allclose(b.detach().numpy(), lrn_by_loops(found, *constants), rtol=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), lrn_gradient_by_loops(found, g.numpy(), *constants), rtol=1e-10, atol=1e-12)
    x = a.detach().requires_grad_()
    y = lrn_formula(x, size, alpha / size if average else alpha, beta, k, groups)
    torch.testing.assert_close((y, *torch.autograd.grad(y, x, g)), (b, a.grad), rtol=1e-10, atol=1e-12)


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values (or the first of them, repeated) in another arrangement of memory, as a leaf of its own."""
    if layout == "channels last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "turned":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "strided":
        return x.repeat_interleave(2, -1)[..., ::2]
    if layout == "expanded":
        return x[..., :1].expand_as(x)
    return x


@pytest.mark.parametrize(
    "size, beta, average, groups", [(5, 0.75, False, 1), (5, 0.75, False, 2), (3, 0.5, True, 1), (9, 1.0, True, 3)]
)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_lrn_passes_gradcheck(size, beta, average, groups, layout):
    """The derivatives by differences of outputs: the formula of the gradient above could be wrong twice."""
    torch.manual_seed(0)
    a = laid_out(torch.randn(2, 6, 3, 2, dtype=torch.float64), layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: local_response_norm(x, size, 0.2, beta, 2.0, average, groups), a)


@pytest.mark.parametrize("maps", [fast_lrn.FEW_MAPS, fast_lrn.FEW_MAPS + 1, 96])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lrn_agrees_with_torch(memory_format, maps):
    torch.manual_seed(0)
    a = (torch.randn(10, maps, 27, 27).relu() * 20).contiguous(memory_format=memory_format)
    found = []
    for layer in (LocalResponseNorm(average=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)):
        x = a.clone().requires_grad_()
        y = layer(x)
        y.backward(torch.ones_like(y))
        found.append((y.detach(), x.grad))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()
    assert found[0][0].is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_lrn_of_halves_is_worked_out_in_float32(dtype, tolerance):
    torch.manual_seed(0)
    a, g = (torch.randn(3, 16, 5, 5) * 20).to(dtype), torch.randn(3, 16, 5, 5).to(dtype)
    found = []
    for x in (a.clone(), a.float()):
        y = LocalResponseNorm(alpha=0.1)(x.requires_grad_())
        y.backward(g.to(y.dtype))
        found.append((y, x.grad))
    for half, full in zip(*found, strict=True):
        assert half.dtype == dtype
        torch.testing.assert_close(half.float(), full, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize("normalise", [local_response_norm, torch.compile(local_response_norm, backend="aot_eager")])
def test_lrn_ignores_autocast(normalise):
    a = torch.randn(2, 16, 5, 5) * 100
    with torch.autocast("cpu", torch.bfloat16):
        b = normalise(a)
    torch.testing.assert_close(b, local_response_norm(a), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(3, 12), (3, 12, 4, 5)])
def test_lrn_compiled(shape):
    a, compiled = (
        torch.randn(shape) * 5,
        torch.compile(LocalResponseNorm(alpha=0.1, groups=2), backend="aot_eager", fullgraph=True),
    )
    found = []
    for layer in (compiled, LocalResponseNorm(alpha=0.1, groups=2)):
        x = a.clone().requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        found.append((y.detach(), x.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_lrn_keeps_its_input_for_the_way_back_and_nothing_else():
    kept = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    a = torch.randn(2, 8, 3, 3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        LocalResponseNorm()(a)
        assert [x.data_ptr() for x in kept] == [a.data_ptr()]
        with torch.no_grad():
            LocalResponseNorm()(a)
        with torch.inference_mode():
            LocalResponseNorm()(a)
    assert len(kept) == 1


def test_lrn_has_no_second_derivative_and_says_so():
    a = torch.randn(2, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(LocalResponseNorm()(a).sum(), a, create_graph=True)


def test_lrn_refuses_what_has_no_meaning():
    for size in (4, 0, -1):
        with pytest.raises(InputError, match="odd"):
            LocalResponseNorm(size=size)
        with pytest.raises(InputError, match="odd"):
            WithinMapNorm(size=size)
    with pytest.raises(InputError, match="odd"):
        local_response_norm(torch.randn(1, 8), size=2)
    with pytest.raises(InputError, match="8 maps do not divide into 3 groups"):
        LocalResponseNorm(groups=3)(torch.randn(1, 8, 2, 2))


def test_constants_are_the_papers_unless_said():
    a = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 40
    expected = lrn_by_loops(a.numpy(), 5, 1e-4, 0.75, 2.0, False, 1)
    for normalise in (local_response_norm, LocalResponseNorm()):
        np.testing.assert_allclose(normalise(a).numpy(), expected, rtol=1e-12)
    squares = nn.functional.avg_pool2d(a.square(), 5, 1, 2)
    torch.testing.assert_close(WithinMapNorm()(a), a / (1 + 0.001 * squares) ** 0.75)  # the source's
    layer = Dropout()
    assert (layer.rate, layer.scale) == (0.5, "test")


def test_layers_say_what_they_are():
    assert repr(LocalResponseNorm()) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0, average=False, groups=1)"
    assert repr(WithinMapNorm()) == "WithinMapNorm(5, alpha=0.001, beta=0.75, k=1.0)"
    assert repr(Dropout(0.3, "train")) == "Dropout(0.3, scale='train')"


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


def test_weights_of_towers_begin_as_those_of_one_linear_layer_each():
    """Uniform up to 1 / sqrt(inputs of a tower), as torch has it; biases at 0."""
    torch.manual_seed(0)
    layer = TowerLinear(128, 400, 2)
    assert layer.weight.abs().max().item() == pytest.approx(1 / 8, rel=0.01) and not layer.bias.any()
    assert layer.weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.02)


def test_dropout_draws_for_each_unit_in_its_type_and_where_it_lies():
    """A mask of another type would be drawn from other numbers; at rate 0 nothing is lost, whatever is drawn."""
    units = torch.ones(40, 30, dtype=torch.float64)
    torch.manual_seed(0)
    with torch.device("meta"):  # the default device is another one
        dropped = Dropout()(units)
    torch.manual_seed(0)
    assert torch.equal(dropped, (torch.rand(40, 30, dtype=torch.float64) >= 0.5).double())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape, **options))
        assert torch.equal(Dropout(0.0)(units), units)


@pytest.mark.parametrize("scale", ["test", "train"])
def test_dropout_keeps_its_expectation(scale):
    torch.manual_seed(0)
    layer, x = Dropout(0.3, scale), torch.randn(200_000) + 2
    trained = layer.train()(x)
    kept = trained != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.005)
    torch.testing.assert_close(
        trained[kept], x[kept] if scale == "test" else x[kept] / 0.7, rtol=0 if scale == "test" else 1e-6, atol=0
    )
    tested = layer.eval()(x)
    torch.testing.assert_close(tested, x * 0.7 if scale == "test" else x)
    assert trained.mean().item() == pytest.approx(tested.mean().item(), rel=0.01)


@settings(deadline=None, max_examples=200)
@given(size=st.integers(1, 40), window=st.integers(1, 6), stride=st.integers(1, 6), up=st.booleans())
@example(size=4, window=1, stride=4, up=True)  # a last window that would begin just beyond the border
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
    assert conv_out(size, kernel) == size - kernel + 1 and pool_out(10, 3, 2) == 5 == pool_out(10, 3, 2, False) + 1
