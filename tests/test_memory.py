"""Freed memory stays in the process, which shows in the page faults of the next large tensors."""

import os
import platform
import subprocess
import sys

import pytest
from helpers import ROOT

from alexnet_lib.system import memory

COUNT = """
import resource, torch
from alexnet_lib.system.memory import keep_pages
assert keep_pages()
large = torch.zeros(16 * 2**20)  # 64 MiB
for _ in range(3):  # a small block may come to lie where a large one was: the heap settles in a few turns
    large.clone()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    large.clone()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_large_tensors_are_not_paged_in_anew():
    done = subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 3 * 16_384  # ten times 16,384 pages otherwise


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("reached for the C library"))
    assert memory.keep_pages() is False
