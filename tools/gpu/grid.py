"""The experiments that have no record yet, one a line in the order in which they are to be run: python -m gpu.grid, for job
arrays."""

from pathlib import Path

from alexnet_lib.config import InputError
from alexnet_lib.evidence.runner import Task, tasks, wanted
from alexnet_lib.system.processes import pick_device


def missing() -> list[Task]:
    return wanted(tasks(), pick_device())


def read(path: Path) -> list[Task]:
    """The runs that a file names as this module prints them, in its order; raises InputError for one that does not exist."""
    planned, found = set(tasks()), []
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    for words in lines:
        task = Task(words[0], words[1], int(words[2])) if len(words) == 3 and words[2].isdecimal() else None
        if task not in planned:
            raise InputError(f"{path}: {' '.join(words)!r} is no planned EXPERIMENT ARM SEED: python -m gpu.grid lists them")
        found.append(task)
    return found


if __name__ == "__main__":
    for task in missing():
        print(task.experiment, task.arm, task.seed)
