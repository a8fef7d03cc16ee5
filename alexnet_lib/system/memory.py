"""Memory of large tensors: how to keep it in the process, and what to say where there is too little."""

import ctypes
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

from .strict import InputError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of the settings in glibc's malloc.h
EXHAUSTED = re.compile("can't allocate memory|out of memory|ALLOC_FAILED")  # torch has one error type on GPUs alone


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


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Raises InputError with this advice where the block runs out of memory, of the machine or of a GPU."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not EXHAUSTED.search(str(error)):
            raise
        raise InputError(f"there is not enough memory: {advice}") from error
