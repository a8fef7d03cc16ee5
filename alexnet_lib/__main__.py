"""The command line: python -m alexnet_lib {info, presets, pack, train, measure, experiments, claims, evaluate}.

`train` runs sections 3 to 6 of the paper in one go, from images to error rates, and writes the record; what
`train --preset laptop` attains is in results/small_cifar10/. Each other command says in --help what it does;
those of a wing are in its commands.py.
"""

import sys
from typing import Annotated

import typer

from .book.commands import claims, presets
from .config import InputError, merge, one_of, overridden, preset
from .data.commands import pack
from .evidence.commands import experiments, measure
from .system.console import NONE, Data, Device, Preset, Setting, as_own_process, named, status_of
from .system.processes import pick_device, rank_and_world
from .system.strict import file_name, path_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def info(
    name: Preset = "paper",
    batch: Annotated[int, typer.Option(min=1, max=10**9, help="images in the batch whose activations are counted")] = 128,
    settings: Setting = NONE,
):
    """Print the table of layers: shapes, kernels, parameters, neurons, multiply-adds, memory."""
    from .summary import describe

    model, _ = overridden(*preset(name), settings)
    print(describe(model, batch))


def train(
    name: Preset = "quick",
    data: Data = None,
    seed: int = 0,
    run_dir: Annotated[str | None, typer.Option(help="the run's folder; by default runs/EXPERIMENT/ARM-seedN")] = None,
    experiment: str = "train",
    arm: Annotated[str | None, typer.Option(help="which side of the experiment; by default the preset")] = None,
    record: Annotated[bool, typer.Option(help="write the record to results/ too")] = False,
    fit_only: Annotated[bool, typer.Option("--fit-only", help="stop once trained: no test split, no record")] = False,
    settings: Setting = NONE,
    device: Device = None,
):
    """Train, evaluate on the test split and write the record; started again, it goes on where it was."""
    from .evidence import experiment as experiment_runs
    from .evidence import records
    from .system.precision import hint

    speaks = rank_and_world()[0] == 0
    model, training = preset(name)
    model, training = overridden(model, merge(training, {"seed": seed} | ({"data": data} if data else {})), settings)
    experiment, arm, device = file_name("--experiment", experiment), file_name("--arm", arm or name), pick_device(device)
    folder = path_of(run_dir) if run_dir is not None else records.run_dir(experiment, arm, training, preset(name)[1].data)
    if record:
        experiment_runs.may_record(experiment, fit_only)  # refused now, where it would be refused after the training
    keep_classes = any(setting.startswith("model.classes=") for setting in settings)
    if speaks and (said := hint(training.precision, device)):
        print(f"hint: {said}", file=sys.stderr)
    if fit_only:
        _, result, _ = experiment_runs.train_network(model, training, folder, device=device, keep_classes=keep_classes)
        if speaks:
            _print_metrics({key: result.curve[-1][key] for key in result.curve[-1] if key.endswith(("_loss", "_error"))})
        return
    made, path = experiment_runs.run(
        model, training, folder, experiment=experiment, arm=arm, device=device, keep_classes=keep_classes
    )
    if speaks:
        if record:
            path = records.publish(made, path)
        _print_metrics(made["metrics"])
        print(f"record: {path}")


def _print_metrics(metrics: dict[str, float]) -> None:
    for metric, value in metrics.items():
        print(f"{metric:24} {value:10.3f}")


def evaluate(
    checkpoints: Annotated[list[str], typer.Argument(help="checkpoints or run folders; several are averaged")],
    data: Annotated[str | None, typer.Option(help="by default what the first one was trained on", callback=named)] = None,
    split: Annotated[str, typer.Option(help="train or test")] = "test",
    views: Annotated[str, typer.Option(help="ten or centre")] = "ten",
    device: Device = None,
):
    """Print top-1 and top-5 error of a checkpoint, or of the average of several."""
    from . import evaluation
    from .checkpoint import check_classes, load_model, understood
    from .data.dataset import open_dataset
    from .evidence.experiment import compare_sizes
    from .evidence.networks import evaluate_as_trained

    one_of("views", views, evaluation.VIEWS)
    one_of("split", split, ("train", "test", "val"))
    device = pick_device(device)
    loaded = [(model.to(device), facts) for model, facts in (load_model(path_of(path)) for path in checkpoints)]
    config = loaded[0][0].config
    with understood(path_of(checkpoints[0])):
        data = data or str(loaded[0][1]["train"]["data"])
    dataset = open_dataset(data, split, size=config.packed_size)
    compare_sizes(dataset, config)
    for (model, facts), path in zip(loaded, checkpoints, strict=True):
        known = len(facts.get("classes", ())) or model.config.classes  # there may be more outputs
        if known != len(dataset.classes):
            raise InputError(
                f"{path} knows {known} classes, {dataset.name} has {len(dataset.classes)}: name its data with --data"
            )
        check_classes(path_of(path), facts, dataset)
    _print_metrics(evaluate_as_trained(loaded, checkpoints, dataset, views))


for command in (info, presets, pack, train, measure, claims, experiments, evaluate):
    app.command()(command)


def main(words: list[str] | None = None) -> int:
    """Runs a command and gives its status; bad input and Ctrl-C end it with one line, see system.console.status_of.

    Args:
        words: what follows `python -m alexnet_lib`; None takes them from the command line.
    """
    return status_of(app, (sys.argv[1:] if words is None else words) or ["--help"])


if __name__ == "__main__":
    sys.exit(as_own_process(main))
