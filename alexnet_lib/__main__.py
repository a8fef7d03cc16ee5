"""The command line: python -m alexnet_lib {info, presets, pack, train, measure, experiments, claims, evaluate}.

`train` runs sections 3 to 6 of the paper in one go, from images to error rates, and writes the record; what
`train --preset laptop` attains is in results/small_cifar10/. Each other command says in --help what it does.
"""

import os
import sys
from typing import Annotated

import typer

from .config import InputError, merge, one_of, overridden, preset, setting_of
from .system.files import advice
from .system.memory import exhausted, keep_pages
from .system.processes import pick_device, rank_and_world
from .system.progress import open_outputs
from .system.stopping import STOPPED, stop_as_by_ctrl_c, stop_no_more, stop_with_starter
from .system.strict import file_name, path_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def named(data: str | None) -> str | None:
    """What --data names. Raises InputError where it is empty, as a variable of a script may be."""
    if data is not None and not data.strip():
        raise InputError("--data is empty: name a source, a folder or a packed set, or leave it out")
    return data


Data = Annotated[str | None, typer.Option(help="a source, a folder or a packed set; by default the preset's", callback=named)]
Preset = Annotated[str, typer.Option("--preset", help="network and training: quick, laptop, paper, code_2012, ...")]
Setting = Annotated[
    list[str],
    typer.Option("--set", metavar="FIELD=VALUE", help="model.FIELD=VALUE or train.FIELD=VALUE, again and again"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default a GPU where there is one")]
NONE: list = []  # of what may be given again and again; nothing is added to it
COMPARED = ["paper", "code_2012", "fast"]


@app.command()
def info(
    name: Preset = "paper",
    batch: Annotated[int, typer.Option(min=1, max=10**9, help="images in the batch whose activations are counted")] = 128,
    settings: Setting = NONE,
):
    """Print the table of layers: shapes, kernels, parameters, neurons, multiply-adds, memory."""
    from .summary import describe

    model, _ = overridden(*preset(name), settings)
    print(describe(model, batch))


@app.command("presets")
def compare(names: Annotated[list[str], typer.Argument(help="presets to compare")] = COMPARED):
    """Print in what presets differ, field by field."""
    from .book.differences import differences

    print(differences(*names))


@app.command()
def pack(
    source: Annotated[
        str, typer.Argument(help="photos10, cifar10, imagenette[-160|-320|-full], imagenet, folder:PATH or a path")
    ],
    dest: Annotated[str, typer.Argument(help="folder of the packed set")],
    size: Annotated[int, typer.Option(min=1, max=4096, help="shorter side, then the central square, in pixels")] = 256,
    holdout: Annotated[
        float, typer.Option(min=0, max=0.9, help="share of a tree without a split that becomes the test split")
    ] = 0.0,
    shard: Annotated[str, typer.Option(metavar="I/N", help="do the I-th of N parts, I from 1, on this machine")] = "1/1",
    workers: Annotated[int | None, typer.Option(min=1, max=4096, help="processes; by default one a core")] = None,
    allow_broken: Annotated[bool, typer.Option(help="finish with more than 1 % broken images")] = False,
):
    """Prepare a source as section 2 says and pack it; started again, it goes on where it was."""
    from .data.dataset import pack as pack_set

    try:
        part, of = (int(n) for n in shard.split("/"))
        if not 1 <= part <= of:
            raise ValueError
    except ValueError:
        raise InputError(f"--shard is I/N with 1 <= I <= N, such as 2/8, not {shard!r}") from None
    print(
        pack_set(
            source, path_of(dest), size=size, holdout=holdout, shard=(part - 1, of), workers=workers, allow_broken=allow_broken
        )
    )


@app.command()
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


@app.command()
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
    from .evidence import experiment as experiment_runs

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


@app.command("claims")
def ledger(
    check: Annotated[
        bool, typer.Option("--check", help="fail where a record is damaged or a chapter is older than the records")
    ] = False,
):
    """Print the ledger of claims with the verdicts that the records in results/ give."""
    from .book import cards, current
    from .evidence import records

    if check:
        count = len([records.read(path) for path in sorted(records.results_root().rglob("*.json"))])
        if old := current.stale():
            raise InputError(
                f"made from other records than there are now: {', '.join(path.stem for path in old)}. Run make chapters"
            )
        print(f"{count} records are whole, and all chapters were made from them")
    else:
        print(cards.ledger_text())


@app.command()
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
    from .evidence import runner

    every = runner.tasks(only, seeds)
    print(runner.table(every))
    if not table:
        ended = runner.run_all(every, data=data or "", device=device, jobs=jobs, hours=hours)
        print(runner.in_words(ended, every))
        if ended["failed"]:
            raise typer.Exit(1)


@app.command()
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

    one_of("views", views, evaluation.VIEWS)
    one_of("split", split, ("train", "test", "val"))
    device = pick_device(device)
    loaded = [load_model(path_of(path)) for path in checkpoints]
    models = [model.to(device) for model, _ in loaded]
    with understood(path_of(checkpoints[0])):
        data = data or str(loaded[0][1]["train"]["data"])
    dataset = open_dataset(data, split, size=models[0].config.packed_size)
    compare_sizes(dataset, models[0].config)
    for (model, facts), path in zip(loaded, checkpoints, strict=True):
        known = len(facts.get("classes", ())) or model.config.classes  # there may be more outputs
        if known != len(dataset.classes):
            raise InputError(
                f"{path} knows {known} classes, {dataset.name} has {len(dataset.classes)}: name its data with --data"
            )
        check_classes(path_of(path), facts, dataset)
    _print_metrics(evaluation.evaluate(models, dataset, views, progress=True))


def main(words: list[str] | None = None) -> int:
    """Runs a command; bad input ends it with one line and status 1, Ctrl-C with a word on how to go on and status 130.

    Args:
        words: what follows `python -m alexnet_lib`; None takes them from the command line.
    """
    try:
        status = app((sys.argv[1:] if words is None else words) or ["--help"], standalone_mode=False) or 0
        print(end="", flush=True)  # where there is an output at all
        if status == 130:  # what the command-line library makes of Ctrl-C
            raise KeyboardInterrupt
        return status
    except InputError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print(STOPPED, file=sys.stderr)
        return 130
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _failed(f"{error.filename or 'the system says'}: {advice(error)}")
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command-line library
            return _failed(f"{error.format_message()}. See --help", 2)
        if exhausted(error):
            return _failed("there is not enough memory for this: make train.batch_size or the network smaller")
        raise


def _failed(text: str, status: int = 1) -> int:
    print("error:", " ".join(text.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    open_outputs()
    keep_pages()
    stop_as_by_ctrl_c()  # again, where something else than `python -m alexnet_lib` runs this
    stop_with_starter()
    ended = main()
    stop_no_more()
    sys.exit(ended)
