"""The commands of the command line that run what is planned: measure, experiments."""

from typing import Annotated

import typer

from ..system.console import NONE, Data, Device, Setting
from ..system.processes import pick_device, rank_and_world
from ..system.strict import setting_of


def measure(
    experiment: Annotated[str, typer.Argument(help="a name in alexnet_lib/evidence/experiments.json, such as ablations")],
    arm: Annotated[list[str], typer.Option(help="which arms; all by default")] = NONE,
    seed: Annotated[list[int], typer.Option(help="which seeds; the experiment's by default")] = NONE,
    data: Data = None,
    record: Annotated[bool, typer.Option(help="write the records to results/ too")] = False,
    settings: Setting = NONE,
    device: Device = None,
):
    """Run the arms of an experiment; started again, it goes on where it was and leaves out what is recorded."""
    from . import experiment as experiment_runs

    rank_and_world()
    changes: dict[str, list[dict]] = {"model": [], "train": []}
    for setting in settings:
        which, change = setting_of(setting)
        changes[which].append(change)
    runs = experiment_runs.measure(
        experiment, arm, seed, data=data or "", changes=changes, record=record, device=pick_device(device)
    )
    for one, number, done in runs:
        if done is None:
            print(f"{experiment} {one.name} seed {number}: recorded before")
        else:
            shown = {k: v for k, v in done["metrics"].items() if k.startswith("test_top1") or k == "last_epoch_train_error"}
            print(f"{experiment} {one.name} seed {number}: " + ", ".join(f"{k} {v:.2f}" for k, v in shown.items()))


def experiments(
    only: Annotated[list[str], typer.Option(metavar="EXPERIMENT[/ARM]", help="these alone, again and again")] = NONE,
    seeds: Annotated[int | None, typer.Option(min=1, help="so many an arm at most")] = None,
    hours: Annotated[float | None, typer.Option(min=0.0, help="stop by then; the same command goes on")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="runs side by side; by default one a core, or eight on a GPU")] = None,
    data: Data = None,
    table: Annotated[bool, typer.Option("--table", help="print what is recorded and what is not, and run nothing")] = False,
    device: Device = None,
):
    """Run every experiment that has no record in results/ yet, breadth first; started again, it goes on where it was."""
    from . import runner

    every = runner.tasks(only, seeds)
    print(runner.table(every))
    if not table:
        ended = runner.run_all(every, data=data or "", device=device, jobs=jobs, hours=hours)
        print(runner.in_words(ended, every))
        if ended["failed"]:
            raise typer.Exit(1)
