"""Memory of large tensors on the CPU: how to keep it in the process."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers of the settings in glibc's malloc.h


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
