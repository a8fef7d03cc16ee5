"""The experiments that have no record yet, one a line in the order in which they are to be run, for job arrays:

python -m gpu.grid [--device cuda]

The device is that of the runs, which the machine that prints the list need not have.
"""

import argparse
from pathlib import Path

from alexnet_lib.config import InputError
from alexnet_lib.evidence.runner import Task, tasks, wanted
from alexnet_lib.system.processes import pick_device


def missing(device: str | None = None) -> list[Task]:
    """Without those whose other records are of another kind of device; None: than the one here."""
    return wanted(tasks(), device or pick_device())


def read(path: Path) -> list[Task]:
    """The runs that a file names as this module prints them, in its order; raises InputError for one that does not exist."""
    planned, found = set(tasks()), []
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    for words in lines:
        task = Task(words[0], words[1], int(words[2])) if len(words) == 3 and words[2].isdecimal() else None
        if task not in planned:
            raise InputError(f"{path}: {' '.join(words)!r} is no planned EXPERIMENT ARM SEED: python -m gpu.grid lists them")
        found.append(task)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default a GPU where there is one")
    for task in missing(parser.parse_args().device):
        print(task.experiment, task.arm, task.seed)
