"""Work in several processes: whatever ends one, a kill or Ctrl-C, leaves none behind. Nothing is left waiting. And work in a
thread, one ahead of its use."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait

import torch

from .stopping import STOPPING, held_back, held_no_more
from .strict import InputError

# A fork needs no guard in the caller's script; what runs in it must start no threads of its own.
START = "fork" if sys.platform == "linux" else "spawn"


def each(function: Callable, things: Sequence, workers: int | None = None) -> Iterator:
    """function(thing) for every thing, in the order in which they are done.

    Args:
        workers: processes; None: one for each core. With one, or one thing, all is done in the process itself.

    Raises:
        InputError: a process was killed. What the function raises in a process is raised here.
    """
    workers = min(workers or cores(), len(things))
    if workers <= 1:
        yield from map(function, things)
        return
    context = multiprocessing.get_context(START)
    # No pool of the standard library: with a worker that dies at the wrong moment, theirs wait for ever. Nor joblib's: its
    # workers live on where their parent is killed, and take seconds to start where a fork takes a tenth of one.
    running = {}
    try:
        for first in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            work = function, things[first::workers], theirs
            process = context.Process(target=_work, args=work, daemon=True)  # type: ignore[attr-defined]  # every context has it
            try:
                with held_back():  # until it has its own way with them: Python's would end its start with a traceback
                    process.start()
            except OSError as error:
                hint = "Start again with fewer workers"
                raise InputError(f"cannot start a worker process: {error.strerror or error}. {hint}") from error
            running[ours] = process
            theirs.close()
        while running:
            ready = wait(list(running))
            for end in [end for end in running if end in ready]:
                try:
                    said = end.recv()
                except EOFError:
                    process = running.pop(end)
                    process.join()
                    if process.exitcode:
                        if process.exitcode > 0:  # a killed one's is negative
                            guard = "put what starts it below: if __name__ == '__main__'"
                            raise InputError(f"a worker process could not start. In a script, {guard}") from None
                        hint = "perhaps for want of memory. Start again with fewer workers"
                        raise InputError(f"a worker process was killed, {hint}") from None
                    continue
                if isinstance(said, Exception):
                    raise said
                yield said
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def each_ahead(function: Callable, things: Iterable) -> Iterator:
    """function(thing) for every thing, in order, each worked out in a thread of this process while the one before it is used."""
    rest = iter(things)
    with ThreadPoolExecutor(1) as thread:
        waiting = next((thread.submit(function, thing) for thing in rest), None)
        while waiting:
            done = waiting.result()
            waiting = next((thread.submit(function, thing) for thing in rest), None)
            yield done


def cores() -> int:
    """Those that a scheduler gave to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """In a thread of a process that another one started: waits for the end of that one, and ends this one too."""
    parent = multiprocessing.parent_process()
    assert parent  # it was started
    parent.join()
    os._exit(1)


def _work(function: Callable, things: Sequence, end: Connection) -> None:
    """In a process: any signal to stop ends it without a word, and so does the end of the process that started it.

    What that one ignores, as under nohup, ends this one neither; but for SIGTERM, which that one sends.
    """
    for number in STOPPING:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    held_no_more()
    torch.set_num_threads(1)  # a fork has lost its parent's threads, for which torch would wait for ever
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        for thing in things:
            end.send(function(thing))
    except Exception as error:
        end.send(error)
