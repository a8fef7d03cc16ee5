"""Local response normalisation (section 3.3) in passes over a few images at a time. layers.py has the formula in six lines.

What comes between input and output never leaves the processor's cache, and the denominators are worked out again on the way
back rather than stored: fetching fresh memory takes longer than the arithmetic. How much faster it is than torch's own is in
results/bench/, where the time went in tools/benchmarks/README.md.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .system.memory import buffer, pieces, sum_dtype

CHUNK = 2**18  # elements to work on at a time, rounded up to whole images: 1 MiB of float32; with less, threads meet too often
FEW_MAPS = 32  # of a group: so many, side by side, are summed faster by a product than by adding


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
        for windows, (a, b), (d, factor) in _chunks(groups, size, maps, out):
            windows.denominators(a, alpha, k, out=d)
            torch.mul(a, power(d, -beta, out=factor), out=b)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor):
        if torch.is_grad_enabled():  # create_graph=True; what follows leaves no trace in the graph
            raise RuntimeError("local_response_norm has no second derivative: do without create_graph=True")
        (maps,), (size, alpha, beta, k, groups) = ctx.saved_tensors, ctx.constants
        out = torch.empty_like(maps)
        for windows, (a, g, b), (d, direct) in _chunks(groups, size, maps, gradient, out):
            windows.denominators(a, alpha, k, out=d)
            power(d, -beta, out=direct).mul_(g)
            torch.div(direct, d, out=windows.terms).mul_(a)
            across = windows.sums(0.0, out=d)
            torch.addcmul(direct, across, a, value=-2 * alpha * beta, out=b)
        return out, None, None, None, None, None


def power(d: Tensor, exponent: float, out: Tensor | None = None) -> Tensor:
    """d^exponent; for the paper's -0.75 as d^(1/4) / d, by two inverse square roots, which are much cheaper."""
    if exponent == -0.75:
        root = torch.rsqrt(d, out=out)
        return torch.div(torch.rsqrt(root, out=out), d, out=out)
    return torch.pow(d, exponent, out=out)


class _WindowSumsByAdding:
    """Sums over windows of adjacent maps: maps are added to maps.

    `terms` is where the terms go, (n, groups, C / groups, ...) like `maps`.
    """

    def __init__(self, maps: Tensor, size: int):
        self.size, edges = size, size // 2
        self.padded = buffer(maps, size - 1)  # the size // 2 maps before and after stand for what lies beyond the edge
        self.beyond = self.padded[:, :, :edges], self.padded[:, :, maps.shape[2] + edges :]
        self.terms, self.pairs = self.padded[:, :, edges : maps.shape[2] + edges], buffer(maps, size - 2)

    def denominators(self, a: Tensor, alpha: float, k: float, out: Tensor) -> None:
        """d of each map, as a window's sum to which every map brings its share of k, those beyond the edge too."""
        torch.addcmul(out.new_full((), k / self.size), a, a, value=alpha, out=self.terms)
        self.sums(k / self.size, out)

    def sums(self, beyond: float, out: Tensor) -> Tensor:
        """By pairs, which takes half as many passes as one by one; `beyond` is the term of a map beyond the edge."""
        for edge in self.beyond:
            edge.fill_(beyond)
        maps, size = out.shape[2], self.size
        if size == 1:
            return out.copy_(self.padded)
        torch.add(self.padded[:, :, :-1], self.padded[:, :, 1:], out=self.pairs)
        torch.add(self.pairs[:, :, :maps], self.padded[:, :, size - 1 :], out=out)
        for j in range(2, size - 1, 2):
            out.add_(self.pairs[:, :, j : j + maps])
        return out


class _WindowSumsByMatmul:
    """The same for a few maps of which those of one pixel lie side by side (channels_last): a product with a matrix of ones
    around the diagonal. A few maps are too short a stretch to add, and for many the product costs more than it saves."""

    def __init__(self, maps: Tensor, size: int):
        place = torch.arange(maps.shape[2], device=maps.device)
        self.band = ((place[:, None] - place).abs() <= size // 2).to(sum_dtype(maps))
        self.terms = buffer(maps)

    def denominators(self, a: Tensor, alpha: float, k: float, out: Tensor) -> None:
        torch.mul(a, a, out=self.terms)
        torch.addmm(out.new_full((), k), _rows(self.terms), self.band, alpha=alpha, out=_rows(out))

    def sums(self, beyond: float, out: Tensor) -> Tensor:
        torch.mm(_rows(self.terms), self.band, out=_rows(out))
        return out


def _rows(maps: Tensor) -> Tensor:
    """A view of (n, groups, C / groups, H, W) in channels_last as a matrix: a row holds one pixel's maps of one group."""
    return maps.permute(0, 3, 4, 1, 2).view(-1, maps.shape[2])


def _chunks(groups: int, size: int, *tensors: Tensor) -> Iterator[tuple]:
    """A few images of each tensor at a time, groups apart: (n, groups, C / groups, H, W); see `pieces`.

    With them come what sums over windows, and two buffers like the images; they are the same ones every time.
    """
    first = tensors[0]
    side_by_side = first.dim() == 4 and first.stride(1) == 1 and first.is_contiguous(memory_format=torch.channels_last)
    if side_by_side:
        tensors = *(t.contiguous(memory_format=torch.channels_last) for t in tensors[:-1]), tensors[-1]
    buffers: list[Tensor] = []
    for part in pieces(CHUNK, *(t.unflatten(1, (groups, -1)) for t in tensors)):
        if not buffers or len(part[0]) != len(buffers[0]):  # the last one may be of fewer images
            by_product = side_by_side and part[0].shape[2] <= FEW_MAPS
            windows = (_WindowSumsByMatmul if by_product else _WindowSumsByAdding)(part[0], size)
            buffers = [buffer(part[0]) for _ in range(2)]
        yield windows, part, buffers
