"""Local response normalisation (section 3.3) in passes over a few images at a time. layers.py has the formula in six lines.

What comes between input and output never leaves the processor's cache, and the denominators are worked out again on the way
back rather than stored: fetching fresh memory takes longer than the arithmetic. How much faster it is than torch's own is in
results/bench/, where the time went in tools/benchmarks/README.md.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CHUNK = 2**18  # elements to work on at a time, rounded up to whole images: 1 MiB of float32


class FastLocalResponseNorm(torch.autograd.Function):
    """With d_i = k + alpha * sum_j a_j^2, j over the window of i, the output is b_i = a_i d_i^-beta, and

    dL/da_i = g_i d_i^-beta - 2 alpha beta a_i * sum_j g_j a_j d_j^(-beta - 1),   g = dL/db,

    over the same window: i sees j where j sees i. There is no second derivative.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
        ctx.save_for_backward(maps)
        ctx.constants = size, alpha, beta, k, groups
        out = torch.empty_like(maps)
        for (a, b), (squares, pairs, d, factor) in _chunks(groups, size, (k / size,), maps, out):
            _denominators(a, size, alpha, k, squares, pairs, out=d)
            torch.mul(a, power(d, -beta, out=factor), out=b)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor):
        if torch.is_grad_enabled():  # create_graph=True; what follows leaves no trace in the graph
            raise RuntimeError("local_response_norm has no second derivative: do without create_graph=True")
        (maps,), (size, alpha, beta, k, groups) = ctx.saved_tensors, ctx.constants
        out = torch.empty_like(maps)
        beyond = k / size, 0.0
        for (a, g, b), (squares, terms, pairs, d, direct) in _chunks(groups, size, beyond, maps, gradient, out):
            _denominators(a, size, alpha, k, squares, pairs, out=d)
            power(d, -beta, out=direct).mul_(g)
            torch.div(direct, d, out=_between_edges(terms, size)).mul_(a)
            across = _window_sums(terms, size, pairs, out=d)
            torch.addcmul(direct, across, a, value=-2 * alpha * beta, out=b)
        return out, None, None, None, None, None


def power(d: Tensor, exponent: float, out: Tensor | None = None) -> Tensor:
    """d^exponent; for the paper's -0.75 as d^(1/4) / d, by two inverse square roots, which are much cheaper."""
    if exponent == -0.75:
        root = torch.rsqrt(d, out=out)
        return torch.div(torch.rsqrt(root, out=out), d, out=out)
    return torch.pow(d, exponent, out=out)


def precision(maps: Tensor) -> torch.dtype:
    """In which the sums are worked out: float32 for halves."""
    return torch.promote_types(maps.dtype, torch.float32)


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


def _chunks(groups: int, size: int, beyond: Sequence[float], *tensors: Tensor) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The same few images of each tensor at a time, groups apart: (n, groups, C / groups, H, W); a GPU takes all at once.

    The last tensor is written to. Halves come as float32 and go back rounded: computed and rounded in one step they would
    take ten times as long. With the images come buffers, the same ones every time: for each value in `beyond` one for the
    maps and the size - 1 beyond their edges, which have that value; one for pairs of these; and two for the maps alone.
    """
    first = tensors[0]
    images = len(first) if first.is_cuda else -(-CHUNK * len(first) // max(1, first.numel()))
    parts = list(zip(*(t.unflatten(1, (groups, -1)).split(max(1, images)) for t in tensors), strict=True))
    buffers = [_buffer(parts[0][0], size - 1).fill_(value) for value in beyond]
    buffers += [_buffer(parts[0][0], more) for more in (size - 2, 0, 0)]
    halves = first.dtype != precision(first)
    wide = [_buffer(x, 0) for x in parts[0]] if halves else []
    for part in parts:
        seen = part
        if halves:
            seen = [room[: len(x)] for room, x in zip(wide, part, strict=True)]
            for room, x in zip(seen[:-1], part[:-1], strict=True):
                room.copy_(x)
        yield seen, [buffer[: len(part[0])] for buffer in buffers]
        if halves:
            part[-1].copy_(seen[-1])


def _buffer(like: Tensor, extra: int) -> Tensor:
    """Empty, in the same order of memory, with so many more maps in dimension 2."""
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    shape = [like.shape[i] + extra * (i == 2) for i in order]
    return torch.empty(shape, dtype=precision(like), device=like.device).permute([order.index(i) for i in range(like.dim())])
