"""The process that trains among others: its device and its rank; and a function that runs in several new processes of this
machine, through torch's own launcher."""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from .progress import following
from .stopping import STOPPING
from .strict import InputError
from .workers import end_with_parent

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets in each of its processes
HANDLED = [*STOPPING, *([signal.SIGQUIT] if hasattr(signal, "SIGQUIT") else [])]  # the signals that torch's launcher heeds
UNGUARDED = 64  # exit status of a new process that finds itself about to start processes of its own


def pick_device(name: str | None = None) -> str:
    """The device asked for, or a GPU where there is one; under torchrun "cuda" is the GPU of this process."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name
    try:
        torch.zeros(1, device=name).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error
    return "cpu" if torch.device(name).type == "cpu" else name  # there is one, whatever its number


def rank_and_world() -> tuple[int, int]:
    """(rank, processes): which of those that torchrun started this is; (0, 1) where it started none.

    Raises InputError where the environment has a part of what torchrun sets, or what it never sets: left over, or set by
    hand, it would make a run that shares its batches with nobody, or one that writes nothing.
    """
    given = [name for name in LAUNCHER if name in os.environ]
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(given):
        return 0, 1
    if absent := [name for name in LAUNCHER if name not in given]:
        raise InputError(
            f"the environment has {', '.join(given)} and not {', '.join(absent)}: start with torchrun, or unset {' '.join(given)}"
        )
    try:
        rank, world, local, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))
    except ValueError:
        raise InputError(f"one of {', '.join(given)} is not a number: start with torchrun, or unset them") from None
    if not (0 <= rank < world and 0 <= local < world and 0 < port < 2**16):
        shown = f"RANK {rank}, LOCAL_RANK {local}, WORLD_SIZE {world}, MASTER_PORT {port}"
        raise InputError(f"{shown} do not fit together: start with torchrun, or unset them")
    return rank, world


def join_processes(device: torch.device) -> None:
    """Joins the processes that torchrun started, once."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def run_in_processes(
    function: Callable,
    *args,
    processes: int = 2,
    timeout: float = 300,
    backend: str = "gloo",
    restarts: int = 0,
    follow: bool = False,
) -> list:
    """Calls function(group, *args) in so many new processes of this machine, which form a torch.distributed group.

    The function must be one that can be imported; one that a notebook defines can not. The processes share the threads
    of this one, and the GPUs where the backend is "nccl". They end with this one. After Ctrl-C each may finish its step.

    Args:
        timeout: seconds that one process waits for another.
        restarts: how often all start again when one of them failed.
        follow: shows what the first process writes of its progress. Else what they write is kept back, unless they fail.

    Returns:
        What each process returned, by rank.

    Raises:
        InputError: a process raised it, the system starts no further process, or the script that calls lacks a guard.
        RuntimeError: a process failed or died; the others are ended, and the text is the last of what it said.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when all have ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if processes < 1:
        raise InputError(f"processes must be 1 or more, not {processes}")
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # it reads its parent's script
        os._exit(UNGUARDED)
    with tempfile.TemporaryDirectory(prefix="alexnet-", ignore_cleanup_errors=True) as folder, _launcher_kept_quiet():
        torch.save((function, args), Path(folder, "call"))
        newer = "shutdown_timeout" in LaunchConfig.__dataclass_fields__  # from torch 2.12 on
        patience: dict[str, Any] = {"shutdown_timeout": 60} if newer else {}
        heeded = ",".join(number.name for number in HANDLED if signal.getsignal(number) != signal.SIG_IGN)  # not under nohup
        config = LaunchConfig(
            1, 1, processes, run_id=Path(folder).name, rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
            max_restarts=restarts, monitor_interval=0.05, logs_specs=DefaultLogsSpecs(folder), signals_to_handle=heeded,
            **patience,
        )  # fmt: skip
        facts = folder, timeout, backend, max(1, torch.get_num_threads() // processes), follow
        try:
            with following(Path(folder, "output-0")) if follow else nullcontext():
                elastic_launch(config, _process)(*facts)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            raise _explained(error, Path(folder)) from None
        except OSError as error:
            raise InputError(f"{processes} processes cannot be started here: {error.strerror or error}") from error
        return [torch.load(Path(folder, f"result-{rank}"), weights_only=False) for rank in range(processes)]


@contextmanager
def _launcher_kept_quiet() -> Iterator[None]:
    """Afterwards signals are handled as before, and no process is left; meanwhile the launcher's log says nothing."""
    handlers, others = {number: signal.getsignal(number) for number in HANDLED}, multiprocessing.active_children()
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(quiet)
        for process in set(multiprocessing.active_children()) - set(others):
            process.kill()
            process.join()
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:  # one that Python did not set
                    signal.signal(number, handler)


def _process(folder: str, timeout: float, backend: str, threads: int, followed: bool) -> None:
    """What a new process does: join the group, call the function, leave what it returned in the folder."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches it once, from its parent, and not from the terminal too
    rank, world = rank_and_world()
    output = os.open(Path(folder, f"output-{rank}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        for refused in Path(folder).glob("refused-*"):  # before a restart, which would not help
            raise torch.load(refused, weights_only=False)
        torch.set_num_threads(threads)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        if followed:
            os.environ["ALEXNET_FOLLOWED"] = "1"
        if backend == "nccl":
            torch.cuda.set_device(rank)
        store = torch.distributed.FileStore(str(Path(folder, f"store-{os.environ['TORCHELASTIC_RESTART_COUNT']}")), world)
        wait = timedelta(seconds=timeout)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
        function, args = torch.load(Path(folder, "call"), weights_only=False)
        torch.save(function(torch.distributed.group.WORLD, *args), Path(folder, f"result-{rank}"))
        torch.distributed.destroy_process_group()
    except Exception as error:
        if isinstance(error, InputError):
            torch.save(error, Path(folder, f"refused-{rank}"))
        traceback.print_exc()
        time.sleep(0.5)  # one that died without a word is found before those that miss it
        raise


def _explained(error, folder: Path) -> Exception:
    """What to raise when a process failed."""
    rank, failure = error.get_first_failure()
    for refused in folder.glob("refused-*"):
        return torch.load(refused, weights_only=False)
    output = folder / f"output-{rank}"
    if failure.exitcode == UNGUARDED or (failure.exitcode > 0 and not output.exists()):  # or it failed while it read the script
        return InputError('each new process reads the script that started it: put the call under if __name__ == "__main__":')
    said = output.read_text(encoding="locale", errors="replace").strip().splitlines()[-5:] if output.exists() else []
    return RuntimeError("\n".join([f"process {rank} failed (exit code {failure.exitcode})" + (":" if said else ""), *said]))
