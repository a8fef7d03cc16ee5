"""How torch's threads wait for each other: asleep, so that one busy program beside them does not stop them all."""

import os
import sys
import threading

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # whoever has set one of these has chosen

HINT = "hint: torch was imported before alexnet_lib, so its threads spin while they wait: import alexnet_lib first"


def wait_asleep() -> None:
    """Lets torch's threads sleep while they wait for each other. `import alexnet_lib` calls it.

    torch cuts every operation into a part for each thread, and all wait for the last. As they come, they wait by spinning:
    some milliseconds with the OpenMP runtime that torch brings along on Linux. Where another program has one of the
    processors, a thread that spins keeps the one that it waits for from running, and a training may become slower than
    on one thread. The price of sleep: to wake a thread takes some microseconds in each operation.

    The runtime reads OMP_WAIT_POLICY once, when torch is imported. Where torch came first, a second team of threads is
    started and put to sleep for good: with more threads than processors GNU's runtime spins a few microseconds at most.
    Another runtime, outside Linux, then stays as it is, and one line says so. Processes that this one starts inherit the
    variable. Where the user has set it, or GOMP_SPINCOUNT or KMP_BLOCKTIME, nothing is done.
    """
    if any(name in os.environ for name in CHOICES):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "torch" in sys.modules:
        if sys.platform == "linux":
            _second_team()
        else:
            print(HINT, file=sys.stderr)


def _second_team() -> None:
    import torch

    started = threading.Event()

    def sleep() -> None:
        number = torch.get_num_threads()
        torch.set_num_threads(max(number, os.cpu_count() or 1))  # both teams together have more threads than processors
        torch.zeros(2**20).add_(1)  # large enough for all threads to take part
        torch.set_num_threads(number)
        started.set()
        threading.Event().wait()

    threading.Thread(target=sleep, name="second team", daemon=True).start()
    started.wait()
