"""The process that trains among others: its device, its group, and the signals that ask it to stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .strict import InputError


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into a request to stop after the step; the second stops at once."""
    stop, before = threading.Event(), {}

    def ask(number, frame):
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pick_device(name: str | None = None) -> str:
    """The device asked for, or a GPU where there is one; under torchrun "cuda" is the GPU of this process."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error
    return name


def join_processes(device: torch.device) -> None:
    """Joins the processes that torchrun started, once."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
