"""How torch's threads wait for each other: asleep, so that one busy program beside them does not stop them all."""

import os
import sys
import threading

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # whoever has set one of these has chosen


def wait_asleep() -> None:
    """Lets torch's threads sleep while they wait for each other. `import alexnet_lib` calls it.

    torch cuts every operation into a part for each thread, and all wait for the last. As they come, they wait by spinning:
    some milliseconds with the OpenMP runtime that torch brings along on Linux. Where another program has one of the
    processors, a thread that spins keeps the one that it waits for from running, and a training becomes several times
    slower than on one thread. The price of sleep: to wake a thread takes some microseconds in each operation.

    The runtime reads OMP_WAIT_POLICY once, when torch is imported. Where torch came first, a second team of threads is
    started and put to sleep for good: with more threads than processors GNU's runtime spins a few microseconds at most.
    Another runtime then stays as it is. Processes that this one starts inherit the variable. Where the user has set it,
    or GOMP_SPINCOUNT or KMP_BLOCKTIME, nothing is done.
    """
    if any(name in os.environ for name in CHOICES):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if "torch" in sys.modules:
        _second_team()


def _second_team() -> None:
    import torch

    started = threading.Event()

    def sleep() -> None:
        torch.zeros(2**20).add_(1)  # large enough for all threads to take part
        started.set()
        threading.Event().wait()

    threading.Thread(target=sleep, name="second team", daemon=True).start()
    started.wait()
