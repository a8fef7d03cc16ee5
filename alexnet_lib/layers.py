"""The layers that torch does not have in the paper's form: the normalisations, dropout with the paper's scale, fully
connected towers; and the sizes that convolution and pooling leave."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 2**18  # elements worked on at a time: 1 MiB of float32, which stay in the processor's cache


class LocalResponseNorm(nn.Module):
    """Local response normalisation (section 3.3): b_i = a_i / (k + alpha * sum of a_j^2 over n adjacent maps j)^beta.

    The window of map i is the n maps around it, cut off where the maps end. Input and output: (N, C, H, W) or (N, C).

    Args:
        size: n, odd; 5 in the paper.
        alpha, beta, k: 1e-4, 0.75 and 2 in the paper.
        average: divide alpha by n, as the authors' source, Caffe and torch do; the paper's formula does not.
        groups: blocks of C / groups maps that do not see each other. With 2 the window ends at the tower's edge.

    Raises:
        ValueError: size is even, or the maps do not divide into groups.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, average: bool = False, groups: int = 1
    ):
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.average, self.groups = size, alpha, beta, k, average, groups
        if size % 2 == 0:
            raise ValueError(f"size must be odd, so that one of the {size} maps is in the middle")

    def forward(self, maps: Tensor) -> Tensor:
        return local_response_norm(maps, self.size, self.alpha, self.beta, self.k, self.average, self.groups)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, average={self.average}, groups={self.groups}"


def local_response_norm(
    maps: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, average: bool = False, groups: int = 1
) -> Tensor:
    """LocalResponseNorm as a function.

    The sum over adjacent maps is a product with a banded matrix of zeros and ones. It is worked out a few images at a
    time, so that what comes between input and output never leaves the cache; the denominators are worked out again on
    the way back rather than stored.
    """
    channels = maps.shape[1]
    if channels % groups:
        raise ValueError(f"{channels} maps do not divide into {groups} groups")
    dtype = torch.promote_types(maps.dtype, torch.float32)
    band = neighbours(channels, size, groups, dtype, maps.device)
    alpha = alpha / size if average else alpha
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula by itself
        sums = torch.einsum("ij,nj...->ni...", band, maps.to(dtype).square())
        return (maps * (k + alpha * sums) ** -beta).to(maps.dtype)
    return _LocalResponseNorm.apply(maps, band, alpha, beta, k)


@lru_cache(maxsize=32)
def neighbours(channels: int, size: int, groups: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """(C, C) matrix with 1 where map j lies in the window of map i: a band, cut into blocks by the groups."""
    with torch.inference_mode(False):  # the cached matrix must serve training too
        i = torch.arange(channels, device=device)
        near = (i[:, None] - i).abs() <= size // 2
        same_group = i[:, None] // (channels // groups) == i // (channels // groups)
        return (near & same_group).to(dtype)


class _LocalResponseNorm(torch.autograd.Function):
    """With d_i = k + sum_j B_ij a_j^2, B = alpha * band (symmetric), the output is b_i = a_i d_i^-beta, and

    dL/da_i = g_i d_i^-beta - 2 beta a_i * sum_j B_ij (g_j a_j d_j^(-beta - 1)),   g = dL/db.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, band: Tensor, alpha: float, beta: float, k: float) -> Tensor:
        maps, band = maps.contiguous(memory_format=_format(maps)), alpha * band
        ctx.save_for_backward(maps, band)
        ctx.beta, ctx.k = beta, k
        out = torch.empty_like(maps)
        for a, b in _chunks(maps, out):
            d = _times(band, a.to(band.dtype).square(), maps).add_(k)
            torch.mul(a, _power(d, beta), out=b)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (maps, band), beta = ctx.saved_tensors, ctx.beta
        gradient = gradient.contiguous(memory_format=_format(maps))
        out = torch.empty_like(maps)
        for a, g, result in _chunks(maps, gradient, out):
            a = a.to(band.dtype)
            d = _times(band, a.square(), maps).add_(ctx.k)
            direct = _power(d, beta).mul_(g)
            across = _times(band, torch.div(direct, d, out=d).mul_(a), maps)
            torch.addcmul(direct, across, a, value=-2 * beta, out=result)
        return out, None, None, None, None


def _power(d: Tensor, beta: float) -> Tensor:
    """d^-beta; for the paper's 0.75 by two square roots, which are much cheaper."""
    return d.sqrt().mul_(d).rsqrt_() if beta == 0.75 else d**-beta


def _times(band: Tensor, some: Tensor, maps: Tensor) -> Tensor:
    """The band times a chunk of `maps`, over the channels wherever they lie."""
    return some @ band if _channels_last(maps) else torch.matmul(band, some)


def _channels_last(maps: Tensor) -> bool:
    return maps.dim() == 4 and maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def _format(maps: Tensor) -> torch.memory_format:
    return torch.channels_last if _channels_last(maps) else torch.contiguous_format


def _chunks(*tensors: Tensor):
    """The same few images of each tensor at a time: (n, C, pixels), or (n, pixels, C) where channels come last."""
    first, last = tensors[0], _channels_last(tensors[0])
    views = [t.permute(0, 2, 3, 1).flatten(1, 2) if last else t.reshape(*t.shape[:2], -1) for t in tensors]
    step = len(first) if first.is_cuda else max(1, CHUNK * len(first) // max(1, first.numel()))
    for start in range(0, len(first), step):
        yield [v[start : start + step] for v in views]


class WithinMapNorm(nn.Module):
    """Normalisation within each map, in the authors' source and not in the paper.

    b = a / (k + alpha / size^2 * sum of a^2 over the size x size neighbourhood in the same map)^beta, zeros beyond the
    border. Input and output: (N, C, H, W).
    """

    def __init__(self, size: int = 5, alpha: float = 0.001, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, maps: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(maps.square(), self.size, stride=1, padding=self.size // 2)
        return maps * (self.k + self.alpha * mean) ** -self.beta

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

    scale="test": the paper's form, in which outputs are multiplied by 1 - rate when testing. scale="train": today's, in which
    what is kept is divided by 1 - rate while training and nothing is done when testing.
    """

    def __init__(self, rate: float = 0.5, scale: str = "test"):
        super().__init__()
        self.rate, self.scale = rate, scale

    def forward(self, units: Tensor) -> Tensor:
        if self.scale == "train":
            return nn.functional.dropout(units, self.rate, self.training)
        if not self.training:
            return units * (1 - self.rate)
        return units * (torch.rand_like(units) >= self.rate)

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
