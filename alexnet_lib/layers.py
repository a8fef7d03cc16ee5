"""The layers that torch does not have in the paper's form: the normalisations, dropout with the paper's scale, fully
connected towers; and the sizes that convolution and pooling leave."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .system.strict import InputError

CHUNK = 2**19  # elements to work on at a time, rounded up to whole images: 2 MiB of float32, which stay in the cache


class LocalResponseNorm(nn.Module):
    """Local response normalisation (section 3.3): b_i = a_i / (k + alpha * sum of a_j^2 over n adjacent maps j)^beta.

    The window of map i is the n maps around it, cut off where the maps end. Input and output: (N, C, H, W) or (N, C).

    Args:
        size: n, odd; 5 in the paper.
        alpha, beta, k: 1e-4, 0.75 and 2 in the paper.
        average: divide alpha by n, as the authors' source, Caffe and torch do; the paper's formula does not.
        groups: blocks of C / groups maps that do not see each other. With 2 the window ends at the tower's edge.

    Raises:
        InputError: size is even, or the maps do not divide into groups.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        average: bool = False,
        groups: int = 1,
    ):
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.average, self.groups = size, alpha, beta, k, average, groups
        _check_window(size)

    def forward(self, maps: Tensor) -> Tensor:
        return local_response_norm(maps, self.size, self.alpha, self.beta, self.k, self.average, self.groups)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, average={self.average}, groups={self.groups}"


def local_response_norm(
    maps: Tensor,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    average: bool = False,
    groups: int = 1,
) -> Tensor:
    """LocalResponseNorm as a function.

    It works on a few images at a time, so that what comes between input and output never leaves the processor's cache,
    and it works the denominators out again on the way back rather than store them: fetching fresh memory takes longer
    than the arithmetic. Halves are summed in float32. There is no second derivative.
    """
    _check_window(size)
    if maps.shape[1] % groups:
        raise InputError(f"{maps.shape[1]} maps do not divide into {groups} groups")
    normalise = _formula if torch.compiler.is_compiling() else _LocalResponseNorm.apply
    return normalise(maps, size, alpha / size if average else alpha, beta, k, groups)


def _formula(maps: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """The plain formula, which a compiler turns into one pass by itself."""
    a = maps.unflatten(1, (groups, -1)).to(_precision(maps))
    squares = nn.functional.pad(a.square(), [0, 0] * (maps.dim() - 2) + [size // 2, size // 2])
    total = sum(squares[:, :, j : j + a.shape[2]] for j in range(size))
    return (a * _power(k + alpha * total, beta)).flatten(1, 2).to(maps.dtype)


class _LocalResponseNorm(torch.autograd.Function):
    """With d_i = k + alpha * sum_j a_j^2, j over the window of i, the output is b_i = a_i d_i^-beta, and

    dL/da_i = g_i d_i^-beta - 2 alpha beta a_i * sum_j g_j a_j d_j^(-beta - 1),   g = dL/db,

    over the same window: i sees j where j sees i.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
        ctx.save_for_backward(maps)
        ctx.constants = size, alpha, beta, k, groups
        out = torch.empty_like(maps)
        for (a, b), (squares, pairs, d, power) in _chunks(groups, size, (k / size,), maps, out):
            a = a.to(d.dtype)
            _denominators(a, size, alpha, k, squares, pairs, out=d)
            product = torch.mul(a, _power(d, beta, out=power), out=b if b.dtype == d.dtype else power)
            if product is not b:  # halves: computed and rounded in one step they would take ten times as long
                b.copy_(product)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor):
        if torch.is_grad_enabled():  # create_graph=True; what follows leaves no trace in the graph
            raise RuntimeError("local_response_norm has no second derivative: do without create_graph=True")
        (maps,), (size, alpha, beta, k, groups) = ctx.saved_tensors, ctx.constants
        out = torch.empty_like(maps)
        beyond = k / size, 0.0
        for (a, g, b), (squares, terms, pairs, d, direct) in _chunks(groups, size, beyond, maps, gradient, out):
            a = a.to(d.dtype)
            _denominators(a, size, alpha, k, squares, pairs, out=d)
            _power(d, beta, out=direct).mul_(g)
            torch.div(direct, d, out=_between_edges(terms, size)).mul_(a)
            across = _window_sums(terms, size, pairs, out=d)
            total = b if b.dtype == d.dtype else direct
            torch.addcmul(direct, across, a, value=-2 * alpha * beta, out=total)
            if total is not b:
                b.copy_(total)
        return out, None, None, None, None, None


def _denominators(a: Tensor, size: int, alpha: float, k: float, squares: Tensor, pairs: Tensor, out: Tensor) -> None:
    """d of each map, as a window's sum to which every map brings its share of k, those beyond the edge too."""
    share = torch.full((), k / size, dtype=out.dtype, device=out.device)
    torch.addcmul(share, a, a, value=alpha, out=_between_edges(squares, size))
    _window_sums(squares, size, pairs, out)


def _between_edges(padded: Tensor, size: int) -> Tensor:
    """The maps themselves, without the size // 2 before and after them that stand for what lies beyond the edge."""
    return padded[:, :, size // 2 : padded.shape[2] - size // 2]


def _window_sums(padded: Tensor, size: int, pairs: Tensor, out: Tensor) -> Tensor:
    """Sums over windows of `size` adjacent maps: by pairs, which takes half as many passes as one by one."""
    maps = out.shape[2]
    if size == 1:
        return out.copy_(padded)
    torch.add(padded[:, :, :-1], padded[:, :, 1:], out=pairs)
    torch.add(pairs[:, :, :maps], padded[:, :, size - 1 :], out=out)
    for j in range(2, size - 1, 2):
        out.add_(pairs[:, :, j : j + maps])
    return out


def _power(d: Tensor, beta: float, out: Tensor | None = None) -> Tensor:
    """d^-beta; for the paper's 0.75 as d^(1/4) / d, by two inverse square roots, which are much cheaper."""
    if beta == 0.75:
        root = torch.rsqrt(d, out=out)
        return torch.div(torch.rsqrt(root, out=out), d, out=out)
    return torch.pow(d, -beta, out=out)


def _precision(maps: Tensor) -> torch.dtype:
    return torch.promote_types(maps.dtype, torch.float32)


def _chunks(groups: int, size: int, beyond: Sequence[float], *tensors: Tensor):
    """The same few images of each tensor at a time, groups apart: (n, groups, C / groups, H, W); a GPU takes all at once.

    With them come buffers, the same ones every time: for each value in `beyond` one for the maps and the size - 1 beyond
    their edges, which have that value; one for pairs of these; and two for the maps alone.
    """
    first = tensors[0]
    images = len(first) if first.is_cuda else -(-CHUNK * len(first) // max(1, first.numel()))
    parts = list(zip(*(t.unflatten(1, (groups, -1)).split(max(1, images)) for t in tensors), strict=True))
    buffers = [_buffer(parts[0][0], size - 1).fill_(value) for value in beyond]
    buffers += [_buffer(parts[0][0], more) for more in (size - 2, 0, 0)]
    for part in parts:
        yield part, [buffer[: len(part[0])] for buffer in buffers]


def _buffer(like: Tensor, extra: int) -> Tensor:
    """Empty, in the same order of memory, with so many more maps in dimension 2."""
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    shape = [like.shape[i] + extra * (i == 2) for i in order]
    return torch.empty(shape, dtype=_precision(like), device=like.device).permute([order.index(i) for i in range(like.dim())])


def _check_window(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise InputError(f"size must be odd, so that the window has a middle, not {size}")


class WithinMapNorm(nn.Module):
    """Normalisation within each map, in the authors' source and not in the paper.

    b = a / (k + alpha / size^2 * sum of a^2 over the size x size neighbourhood in the same map)^beta, zeros beyond the
    border. Input and output: (N, C, H, W).
    """

    def __init__(self, size: int = 5, alpha: float = 0.001, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        _check_window(size)

    def forward(self, maps: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(maps.square(), self.size, stride=1, padding=self.size // 2)
        return maps * _power(self.k + self.alpha * mean, self.beta)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class TowerLinear(nn.Module):
    """A fully connected layer whose groups never read each other, as `groups` of a convolution.

    Input (N, in_features), output (N, out_features); weight (out_features, in_features / groups).
    """

    def __init__(self, in_features: int, out_features: int, groups: int):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_features, in_features // groups))
        self.bias = nn.Parameter(torch.empty(out_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.zeros_(self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        parts = zip(inputs.chunk(self.groups, 1), self.weight.chunk(self.groups), self.bias.chunk(self.groups), strict=True)
        return torch.cat([nn.functional.linear(x, w, b) for x, w, b in parts], 1)


class Dropout(nn.Module):
    """Dropout (section 4.2): each unit is set to 0 with probability `rate` while training.

    scale="test": the paper's form, in which outputs are multiplied by 1 - rate when testing.
    scale="train": today's, in which what is kept is divided by 1 - rate while training and
    nothing is done when testing.

    Where processes share a batch, `batch` is its number of images and `part` which of them are
    here. Masks are drawn for the whole batch, so that they do not depend on who shares it.
    """

    def __init__(self, rate: float = 0.5, scale: str = "test"):
        super().__init__()
        self.rate, self.scale, self.batch, self.part = rate, scale, None, slice(None)

    def forward(self, units: Tensor) -> Tensor:
        if not self.training:
            return units * (1 - self.rate) if self.scale == "test" else units
        whole = self.batch or len(units), *units.shape[1:]
        kept = units * (torch.rand(whole, dtype=units.dtype, device=units.device)[self.part] >= self.rate)
        return kept if self.scale == "test" else kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"{self.rate}, scale={self.scale!r}"


def conv_out(size: int, kernel: int, stride: int = 1, padding: int = 0, overhang: int = 0) -> int:
    """Side of the maps that a convolution leaves, in pixels; `overhang` is padding right and bottom only."""
    return (size + 2 * padding + overhang - kernel) // stride + 1


def pool_out(size: int, window: int, stride: int, round_up: bool = True) -> int:
    """Side of the maps that pooling leaves. Rounding up, a last window may hang over the border, but not begin beyond it."""
    if not round_up:
        return (size - window) // stride + 1
    windows = -(-(size - window) // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size else windows
