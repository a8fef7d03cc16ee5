"""The signals that ask a program to stop: Ctrl-C, SIGTERM, a closed terminal."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has two
STOPPED = "stopped. The same command goes on from here"
WATCHES = "ALEXNET_WATCHES_INPUT"  # set for a process whose standard input is a pipe that the one that started it holds open


class Stop(threading.Event):
    """A request to stop, which the first signal sets. While `at_once`, nothing is being written, and it stops right there."""

    at_once = False

    @contextmanager
    def right_there(self, where: bool) -> Iterator[None]:
        """While the block runs, a signal stops it in the middle, as KeyboardInterrupt, if `where` says so; one that came before
        does at its start."""
        try:
            self.at_once = where
            if where and self.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self.at_once = False


@contextmanager
def held_back() -> Iterator[None]:
    """While the block runs, no signal to stop reaches this thread; one that came meanwhile does at the end. A process that is
    started in the block holds them back until it says `held_no_more`. Windows has no such thing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def held_no_more() -> None:
    """In a process that was started while signals were held back, when it knows what to do with them."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Turns the first Ctrl-C, SIGTERM or closed terminal into a request to stop after the step; the second stops at once.

    A signal that the process was told to ignore, as nohup does, stays ignored.
    """
    stop, before = Stop(), {}

    def ask(number, frame):
        at_once = stop.is_set() or stop.at_once
        stop.set()
        if at_once:
            raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        numbers = [n for n in STOPPING if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_as_by_ctrl_c() -> None:
    """SIGTERM and a closed terminal raise KeyboardInterrupt too, as long as no training asks for a moment to finish its step.

    In the middle of an import any of them ends the process with one line instead: a library that is half imported makes
    another error of it, or the system aborts.
    """
    for number in STOPPING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)


def stop_with_starter() -> None:
    """Where the process that started this one asked for it (see WATCHES): stops as after SIGTERM when that one is gone, however
    it went, since its end of the pipe ends with it."""
    if os.environ.pop(WATCHES, ""):  # what this one starts has another input
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()


def _stop_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    while True:  # where it was raised in the middle of something that swallows errors
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def _interrupt(number, frame):
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{STOPPED}\n".encode())
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def stop_no_more() -> None:
    """At the end of a command, which has said what there was to say: a signal stops nothing any more while Python winds up.

    Python gives signals their default action back before it ends, and that would end the process without a word.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def is_own_command() -> bool:
    """Whether this process is `python -m alexnet_lib`, with or without torchrun: then nobody else handles its signals."""
    words = sys.orig_argv
    return "-m" in words[:-1] and words[words.index("-m") + 1] == "alexnet_lib"
