"""The experiments that have no record yet, one a line in the order in which they are to be run: python -m gpu.grid, for job
arrays."""

from alexnet_lib.evidence.runner import Task, tasks


def missing() -> list[Task]:
    return [task for task in tasks() if not task.record.exists()]


if __name__ == "__main__":
    for task in missing():
        print(task.experiment, task.arm, task.seed)
