"""Freed memory stays in the process, which shows in the page faults of the next large tensors."""

import platform
import subprocess
import sys

import pytest
from helpers import ROOT

from alexnet_lib.system import memory

COUNT = """
import resource, sys, torch
from alexnet_lib.system.memory import keep_pages
if sys.argv[1:] == ["keep"]:
    assert keep_pages()
large = torch.zeros(16 * 2**20)  # 64 MiB
faults = []
for _ in range(8):  # a small block may come to lie where a large one was: the heap grows then, and settles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        large.clone()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def page_faults(*options):
    done = subprocess.run([sys.executable, "-c", COUNT, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_large_tensors_are_not_paged_in_anew():
    assert page_faults("keep") < page_faults() / 2  # none and 81,920 with pages of 4 KiB


@pytest.mark.parametrize("said", ["can't allocate memory", "not enough memory"])  # on Linux, on Windows
def test_what_torch_says_where_memory_has_run_out(said):
    assert memory.exhausted(RuntimeError(f"DefaultCPUAllocator: {said}: you tried to allocate 4 bytes."))


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("reached for the C library"))
    assert memory.keep_pages() is False
