"""The page on many machines and the Slurm script: what they tell the reader to type is understood."""

import re
import shlex
import subprocess

import click
import pytest
import typer
from helpers import ROOT

from alexnet_lib import InputError
from alexnet_lib.__main__ import app
from alexnet_lib.config import overridden, preset
from alexnet_lib.presets import differences

PAGE, SCRIPT = ROOT / "book" / "many_machines.md", ROOT / "tools" / "train.slurm"
COMMANDS = re.findall(r"-m (alexnet_lib train (?:[^\\\n]|\\\n)*)", PAGE.read_text() + SCRIPT.read_text())


def test_the_script_is_one():
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    alone = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert alone.returncode != 0 and "this is for sbatch" in alone.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_that_train_are_understood(command):
    words = [word for word in shlex.split(command.replace("\\\n", " ")) if word != "$@"]
    train = typer.main.get_command(app).commands["train"]
    with click.Context(train) as context:
        given = train.make_context("train", words[2:], parent=context).params
    overridden(*preset(given["name"]), given["settings"])


def test_there_are_commands():
    assert len(COMMANDS) == 4


def test_the_table_of_presets_says_what_they_hold():
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in differences("paper", "fast").splitlines()]
    assert head == ["field", "paper", "fast"]
    words = {"yes": True, "no": False, "none": None}
    paper, fast = preset("paper")[1], preset("fast")[1]
    changed = {f"train.{f}" for f in paper.__dataclass_fields__ if getattr(paper, f) != getattr(fast, f)}
    assert {row[0] for row in rows} == changed - {"train.name"}
    for field, *cells in rows:
        for cell, training in zip(cells, (paper, fast), strict=True):
            value = getattr(training, field.removeprefix("train."))
            assert words.get(cell, cell) == (value if value is None or isinstance(value, bool) else str(value))
    assert "model.conv5.then" in differences("code_2012") and differences("code_2012") == differences("paper", "code_2012")
    assert [line.split()[1] for line in differences("quick", "small").splitlines()[2:4]] == ["train.data", "train.epochs"]
    layers = [line for line in differences("four_layer").splitlines() if "conv4" in line]
    assert len(layers) == 1 and layers[0].split()[1::2] == ["model.conv4", "yes", "none"]
    with pytest.raises(InputError, match="Did you mean 'paper'"):
        differences("papr")
