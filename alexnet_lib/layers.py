"""Local response normalisation (section 3.3), dropout (4.2), towers that are fully connected: the layers that torch does not
have in the paper's form; and the sizes that convolution and pooling (3.4) leave. What normalisation and dropout attain is in
results/ablations/ (arm no_lrn) and results/dropout/, chapters 3 and 7."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, linear, pad

from .fast_lrn import FastLocalResponseNorm, power
from .system.memory import sum_dtype
from .system.strict import InputError


def lrn_formula(maps: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
    """Section 3.3 as it stands: b_i = a_i / (k + alpha * sum of a_j^2 over n adjacent maps j)^beta, n = size."""
    a = maps.unflatten(1, (groups, -1)).to(sum_dtype(maps))  # (N, groups, C / groups, ...): a window ends with its group
    squares = pad(a.square(), [0, 0] * (maps.dim() - 2) + [size // 2, size // 2])  # zeros beyond the first and the last map
    total = sum((squares[:, :, j : j + a.shape[2]] for j in range(size)), torch.zeros_like(a))
    b = a * power(k + alpha * total, -beta)
    return b.flatten(1, 2).to(maps.dtype)


def local_response_norm(
    maps: Tensor,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    average: bool = False,
    groups: int = 1,
) -> Tensor:
    """LocalResponseNorm as a function: `lrn_formula`, which a compiler turns into one pass, or the same by hand (fast_lrn.py)."""
    _check_window(size)
    if maps.shape[1] % groups:
        raise InputError(f"{maps.shape[1]} maps do not divide into {groups} groups")
    normalise = lrn_formula if torch.compiler.is_compiling() else FastLocalResponseNorm.apply
    return normalise(maps, size, alpha / size if average else alpha, beta, k, groups)


class LocalResponseNorm(nn.Module):
    """Local response normalisation (section 3.3): b_i = a_i / (k + alpha * sum of a_j^2 over n adjacent maps j)^beta.

    The window of map i is the n maps around it, cut off where the maps end. Input and output: (N, C, H, W) or (N, C). Halves
    are summed in float32. There is no second derivative.

    Args:
        size: n, odd; 5 in the paper.
        alpha: 1e-4 in the paper.
        beta: 0.75 in the paper.
        k: 2 in the paper.
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
        mean = avg_pool2d(maps.square(), self.size, stride=1, padding=self.size // 2)
        return maps * power(self.k + self.alpha * mean, -self.beta)

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
        return torch.cat([linear(x, w, b) for x, w, b in parts], 1)


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
        self.rate, self.scale, self.part = rate, scale, slice(None)
        self.batch: int | None = None

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
