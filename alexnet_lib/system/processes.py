"""The process that trains among others: its device, its group, and the signals that ask it to stop; and a function run in
several processes of this machine, or a command."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path

import torch

from .progress import relay
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
        torch.zeros(1, device=name).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error
    return name


def place() -> tuple[int, int]:
    """(rank, processes): which of those that torchrun started this is; (0, 1) where it started none."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join_processes(device: torch.device) -> None:
    """Joins the processes that torchrun started, once."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def torchrun(words: Sequence[str], processes: int) -> None:
    """Runs `torchrun --nproc-per-node PROCESSES -m alexnet_lib WORDS` and shows here what it shows of its progress.

    Ctrl-C is handed on: the processes finish their step and write a checkpoint first.

    Raises:
        InputError: it failed; the text is what it said was wrong.
    """
    import pty  # not on Windows
    import termios

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", "1", "-m", "alexnet_lib", *words]
    threads = str(max(1, torch.get_num_threads() // processes))
    env = {"OMP_NUM_THREADS": threads} | os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # see book/many_machines.md
    screen, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 120))
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=side, start_new_session=True) as process:
        os.close(side)
        try:
            said = relay(screen)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            relay(screen)
            raise
        finally:
            os.close(screen)
    if process.returncode:
        raise InputError(said or f"torchrun failed (exit code {process.returncode}); what it said is above")


def run_in_processes(function: Callable, *args, processes: int = 2, timeout: float = 300, backend: str = "gloo") -> list:
    """Calls function(group, *args) in so many new processes of this machine, which form a torch.distributed group.

    The function must be one that can be imported; one that a notebook defines can not. The processes share the threads
    of this one, and the GPUs where the backend is "nccl". What they print is kept back, unless they fail.

    Args:
        timeout: seconds for everything, and for each wait of one process for another.

    Returns:
        What each process returned, by rank.

    Raises:
        RuntimeError: a process failed or died; the others are ended, and the text says what each one said.
        TimeoutError: not done in time; all are ended.
    """
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        torch.save((function, args), Path(folder, "call"))
        facts = (folder, processes, timeout, backend, max(1, torch.get_num_threads() // processes))
        started = [context.Process(target=_process, args=(rank, *facts), daemon=True) for rank in range(processes)]
        deadline = time.monotonic() + timeout
        try:
            for process in started:
                process.start()
            running = list(started)
            while running and not any(p.exitcode for p in started):
                if not connection.wait([p.sentinel for p in running], max(0, deadline - time.monotonic())):
                    raise TimeoutError(f"{len(running)} of {processes} processes were not done after {timeout:g} s")
                running = [p for p in running if p.exitcode is None]
            if running:  # one failed; those that wait for it may find out by themselves and say so
                connection.wait([p.sentinel for p in running], 1)
            codes = [p.exitcode for p in started]
        finally:
            for process in started:
                if process.pid is not None:
                    process.kill()
                    process.join()
        if any(codes):
            raise RuntimeError("\n".join(_last_words(rank, code, Path(folder)) for rank, code in enumerate(codes) if code != 0))
        return [torch.load(Path(folder, f"result-{rank}"), weights_only=False) for rank in range(processes)]


def _process(rank: int, folder: str, processes: int, timeout: float, backend: str, threads: int) -> None:
    """What a new process does: join the group, call the function, leave what it returned in the folder."""
    output = os.open(Path(folder, f"output-{rank}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if backend == "nccl":
        torch.cuda.set_device(rank)
    facts = {"rank": rank, "world_size": processes, "timeout": timedelta(seconds=timeout)}
    torch.distributed.init_process_group(backend, init_method=f"file://{folder}/store", **facts)
    function, args = torch.load(Path(folder, "call"), weights_only=False)
    result = function(torch.distributed.group.WORLD, *args)
    torch.save(result, Path(folder, f"result-{rank}"))
    torch.distributed.destroy_process_group()


def _last_words(rank: int, code: int | None, folder: Path) -> str:
    if code is None:
        return f"process {rank} was ended, since another had failed"
    output = folder / f"output-{rank}"
    said = output.read_text(errors="replace").strip().splitlines()[-5:] if output.exists() else []
    return "\n".join([f"process {rank} failed (exit code {code})" + (":" if said else ""), *said])
