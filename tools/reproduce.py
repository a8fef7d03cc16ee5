"""What `make reproduce` runs: the last notebook through papermill, and, after the book is built, the closing lines."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from alexnet_lib.config import PRESETS, InputError, merge, one_of, preset
from alexnet_lib.data.sources import absolute
from alexnet_lib.evidence.records import REPOSITORY, read, run_dir
from alexnet_lib.system.files import advice
from alexnet_lib.system.stopping import STOPPING
from alexnet_lib.system.strict import path_of, whole_path

NAME = "14_reproduction"
IMAGENET = 1_281_167  # training images of ILSVRC-2012
LARGE = 100_000  # images from which on a training is announced with its time
PLACES = ("ALEXNET_RUNS", "ALEXNET_DATA", "ALEXNET_RESULTS", "ALEXNET_EXPERIMENTS")
NOTEBOOK = REPOSITORY / "notebooks" / f"{NAME}.ipynb"
SHOWN = {  # which figure the closing lines give: the first that the record has
    "test": "test accuracy",
    "valid": "accuracy on the images held out (the data has no test split)",
    "train": "accuracy on the training images (the data has no test split)",
}

# papermill, which stops as after Ctrl-C when its standard input ends: then this process, which holds the other end, is gone.
PAPERMILL = """
import os, signal, sys, threading, time
def watch():
    sys.stdin.read()
    while True:  # one that was still starting may lose a signal
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
threading.Thread(target=watch, daemon=True).start()
from papermill.__main__ import papermill
papermill()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="")
    parser.add_argument("--devices", type=int, default=1, help="processes that train together, one a GPU")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--report", metavar="PAGE", help="print the closing lines instead of running")
    asked = parser.parse_args()
    for request in STOPPING:
        signal.signal(request, signal.default_int_handler)
    try:
        one_of("PROFILE", asked.profile, PRESETS)
        asked.data = absolute(asked.data) if asked.data else ""  # the notebook runs elsewhere
        usual = PRESETS[asked.profile][1]
        train = merge(usual, {"seed": asked.seed} | ({"data": asked.data} if asked.data else {}))
        if asked.devices < 1:
            raise InputError(f"DEVICES must be 1 or more, not {asked.devices}")
        run = whole_path(run_dir(NAME, asked.profile, train, usual.data))
        return report(run, REPOSITORY / asked.report) if asked.report else execute(run, asked)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a folder of runs that cannot be written
        print(f"error: {error.filename or 'the system says'}: {advice(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def execute(run: Path, asked: argparse.Namespace) -> int:
    """Runs the notebook; its last words, where it fails, are the line that says what was wrong."""
    run.mkdir(parents=True, exist_ok=True)
    announce(asked)
    out = run / NOTEBOOK.name
    out.unlink(missing_ok=True)  # what is found there afterwards is from this run
    command = [sys.executable, "-c", PAPERMILL, str(NOTEBOOK), str(out), "-k", "python3"]
    command += ["--no-progress-bar", "--cwd", str(NOTEBOOK.parent)]
    command += ["-p", "profile", asked.profile, "-p", "seed", str(asked.seed), "-p", "record", str(asked.record)]
    command += ["-p", "devices", str(asked.devices)]
    command += ["-r", "data", asked.data] if asked.data else []
    status = wait_for(command)
    if status:
        print(f"error: {last_error(out) or 'papermill could not run the notebook; see above'}", file=sys.stderr)
        return 1
    print(f"executed notebook: {out}")
    return 0


def announce(asked: argparse.Namespace) -> None:
    """Before it starts: what a training on ImageNet, or on as large a packed set, will take on what is here, and whether
    another precision would be faster."""
    model, train = preset(asked.profile)
    images = images_of(asked.data) if asked.data else IMAGENET if train.data == "imagenet" else 0
    if images >= LARGE or train.precision != "auto":
        from alexnet_lib.system.precision import hint, settled  # torch takes its time, and the small profiles need neither
        from alexnet_lib.system.processes import pick_device

        precision = settled(train.precision, device := pick_device())
        if said := hint(train.precision, device):
            print(f"hint: {said}", file=sys.stderr)
    if images >= LARGE:
        from cost_model import estimate  # beside this file

        print(estimate(model, precision, train.epochs, train.batch_size, images, asked.devices), flush=True)


def images_of(data: str) -> int:
    """The training images of a packed set, as its index says; IMAGENET for that source; 0 where only packing would tell."""
    with suppress(Exception):  # what is damaged is refused where it is opened
        index = json.loads((path_of(data.removeprefix("folder:")) / "index.json").read_text(encoding="utf-8"))
        return int(index["splits"]["train"]["count"])
    return IMAGENET if data == "imagenet" else 0


def wait_for(command: list[str]) -> int:
    """The exit status of a command that gets the time to stop its kernel, and the kernel to write a checkpoint.

    Raises KeyboardInterrupt after Ctrl-C, SIGTERM or a closed terminal, when the command has ended.
    """
    # The kernel works in another folder, so that a relative one would be another place there.
    places = {name: os.environ[name] for name in PLACES if os.environ.get(name)}
    places = {name: str(whole_path(place)) for name, place in places.items()}
    with subprocess.Popen(command, env=os.environ | places, stdin=subprocess.PIPE, start_new_session=True) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            print("\nstopping after this step", file=sys.stderr)
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):  # a papermill that was still starting may lose a signal
                    process.wait(timeout=30)
            raise


def last_error(notebook: Path) -> str:
    """The message of the error that an executed notebook ended with."""
    import nbformat

    with suppress(OSError, ValueError):  # there is none, or half of one
        for cell in nbformat.read(notebook, as_version=4).cells:
            for output in cell.get("outputs", ()):
                if output.output_type == "error":
                    return re.sub(r"\x1b\[[0-9;]*m", "", output.evalue)
    return ""


def report(run: Path, page: Path) -> int:
    """The last lines of `make reproduce`, from the run's record."""
    metrics = read(run / "record.json")["metrics"]
    chance = 100 - metrics["chance_error"]
    role = next(role for role in SHOWN if f"{role}_top1_error" in metrics)
    print(f"{SHOWN[role]} {100 - metrics[f'{role}_top1_error']:.1f} %, chance {chance:.1f} %; ten views, top-1")
    print(f"record: {run / 'record.json'}")
    print(f"the book: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
