"""Memory of large tensors: how to keep it in the process, how to work in the cache, and what to say where there is too
little."""

import ctypes
import platform
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .strict import InputError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of the settings in glibc's malloc.h
EXHAUSTED = re.compile("allocate memory|(out of|not enough) memory|ALLOC_FAILED")  # torch has one error type on GPUs alone


def keep_pages() -> bool:
    """Keeps the memory of freed tensors for the next ones. Call it once, at the start of a process.

    glibc asks the kernel for fresh pages for every tensor of 32 MiB or more, and hands them back when the tensor is
    freed. The kernel clears each page at its first use, which takes longer than most element-wise work on it. After this
    call large tensors come from the heap, which grows 64 MiB at a time and is never trimmed. The price: the process
    stays as large as it was at its largest.

    Returns:
        Whether the setting was made: False, and nothing done, where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 * 2**20}
    return all([mallopt(setting, value) == 1 for setting, value in wanted.items()])


def exhausted(error: Exception) -> bool:
    """Whether an error says that memory has run out, of the machine or of a GPU."""
    return isinstance(error, MemoryError) or bool(EXHAUSTED.search(str(error)))


@contextmanager
def enough_memory(advice: str | Callable[[], str]) -> Iterator[None]:
    """Raises InputError with this advice where the block runs out of memory.

    Advice that is to be worked out finds the memory free that the block had taken.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not exhausted(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that were being computed
        raise InputError(f"there is not enough memory: {advice if isinstance(advice, str) else advice()}") from error


def fitting(step: Callable[[int], None], size: int) -> int | None:
    """The largest of size / 2, size / 4, ... that `step` can be called with; None where memory runs out with 1 as well."""
    while size := size // 2:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        try:
            step(size)
            return size
        except (MemoryError, RuntimeError) as error:
            if not exhausted(error):
                raise
            traceback.clear_frames(error.__traceback__)
    return None


def pieces(elements: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows (dimension 0) of each tensor at a time, so many elements rounded up to whole rows; a GPU takes all at
    once.

    The last tensor is written to. Halves come as float32 and go back rounded: computed and rounded in one step they would
    take ten times as long. They come in the same memory every time.
    """
    first = tensors[0]
    rows = len(first) if first.is_cuda else -(-elements * len(first) // max(1, first.numel()))
    parts = list(zip(*(t.split(max(1, rows)) for t in tensors), strict=True))
    if first.dtype == sum_dtype(first):
        yield from parts
        return
    wide = [buffer(x) for x in parts[0]]
    for part in parts:
        seen = tuple(room[: len(x)] for room, x in zip(wide, part, strict=True))
        for room, x in zip(seen[:-1], part[:-1], strict=True):
            room.copy_(x)
        yield seen
        part[-1].copy_(seen[-1])


def sum_dtype(like: Tensor) -> torch.dtype:
    """Of sums, and of all that is between input and output: float32 for halves."""
    return torch.promote_types(like.dtype, torch.float32)


def buffer(like: Tensor, extra: int = 0) -> Tensor:
    """Empty, in float32 or wider and the same order of memory, with so many more in dimension 2."""
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    shape = [like.shape[i] + extra * (i == 2) for i in order]
    return torch.empty(shape, dtype=sum_dtype(like), device=like.device).permute([order.index(i) for i in range(like.dim())])
