"""The page on many machines and the Slurm script: what they tell the reader to type is understood."""

import re
import shlex
import subprocess

import click
import pytest
import typer
import yaml
from gpu import __main__ as command
from helpers import ROOT
from torch.distributed.run import get_args_parser

from alexnet_lib import InputError
from alexnet_lib.__main__ import app
from alexnet_lib.book.differences import differences
from alexnet_lib.config import overridden, preset

PAGE, TOOLS = ROOT / "book" / "many_machines.md", ROOT / "tools"
SCRIPTS = [TOOLS / "train.slurm", TOOLS / "experiments.slurm"]
RENTED = [TOOLS / "train.sky.yaml", TOOLS / "experiments.sky.yaml"]
PLACES = [PAGE, *SCRIPTS, *RENTED]
COMMANDS = re.findall(r"-m (alexnet_lib train (?:[^\\\n]|\\\n)*)", "\n".join(path.read_text() for path in PLACES))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_script_is_one(script):
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    alone = subprocess.run(["bash", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert alone.returncode != 0 and "this is for sbatch" in alone.stderr
    options = re.findall(r"^#SBATCH --([a-z-]+)=\S+$", script.read_text(), re.M)
    assert {"job-name", "time", "output"} < set(options) and len(set(options)) == len(options)


def test_a_task_of_the_array_measures_its_line_of_the_grid(tmp_path):
    """The script, with stand-ins for the commands of a cluster."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "grid.txt").write_text("ablations whole 21\ndropout half 22\n")
    env = cluster(tmp_path) | {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_PER_TASK": "4"}
    command = ["bash", TOOLS / "experiments.slurm", "--data", "somewhere"]
    done = subprocess.run(command, capture_output=True, text=True, env=env | {"SLURM_ARRAY_TASK_ID": "1"}, check=True)
    words = done.stdout.split()
    assert words[:3] == ["python", "-m", "alexnet_lib"] and words[3:5] == ["measure", "dropout"]
    measure = typer.main.get_command(app).commands["measure"]
    with click.Context(measure) as context:
        given = measure.make_context("measure", words[4:], parent=context).params
    assert (given["arm"], given["seed"], given["data"], given["record"]) == (["half"], [22], "somewhere", True)


def cluster(folder) -> dict[str, str]:
    """An environment in which the commands of a cluster are stand-ins that say what they were given."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    scripts = {
        "srun": 'echo "$@"',
        "torchrun": 'echo torchrun "$@"',
        "scontrol": "echo one; seq 20000",
        "python": 'echo python "$@"',
    }
    for name, line in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def trains(words: list[str]) -> dict:
    """What `torchrun ... -m alexnet_lib train ...` asks for; fails where one of the two does not understand it."""
    start = words.index("-m")
    launcher = get_args_parser().parse_args([*words[:start], "script.py"])
    assert (
        words[start : start + 3] == ["-m", "alexnet_lib", "train"] and launcher.nnodes == "2" and launcher.nproc_per_node == "8"
    )
    assert launcher.rdzv_endpoint == "one:29500"
    train = typer.main.get_command(app).commands["train"]
    with click.Context(train) as context:
        return train.make_context("train", words[start + 3 :], parent=context).params


def test_the_training_that_slurm_starts_is_understood(tmp_path):
    env = cluster(tmp_path) | {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_CPUS_PER_TASK": "64", "SLURM_GPUS_PER_NODE": "8"}
    env |= {"SLURM_JOB_NODELIST": "x", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", TOOLS / "train.slurm", "--seed", "3"], capture_output=True, text=True, env=env, check=True)
    words = done.stdout.split()
    assert words[0] == "torchrun"
    given = trains(words[1:])
    assert given["name"] == "fast" and given["seed"] == 3


def test_what_is_started_on_rented_cards_is_understood(tmp_path, monkeypatch):
    env = cluster(tmp_path) | {
        "SKYPILOT_NODE_IPS": "\n".join(["one", *"t" * 20000]),
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
    }
    said = {}
    for path in RENTED:
        task = yaml.safe_load(path.read_text())
        asked = {name: str(value) for name, value in task["envs"].items()}
        done = subprocess.run(
            ["bash", "-c", task["run"]], capture_output=True, text=True, env=env | asked, cwd=tmp_path, check=True
        )
        said[path.name] = done.stdout.split()
        assert f"sky launch -c {task['name']} tools/{path.name}" in path.read_text() and task["name"] in PAGE.read_text()
    assert trains(said["train.sky.yaml"][1:])["data"] == "/shared/packed/imagenet"
    words = said["experiments.sky.yaml"]
    assert words[:3] == ["python", "-m", "gpu"]
    monkeypatch.setattr("sys.argv", words[2:])
    monkeypatch.setattr(command, "run", lambda asked: asked)
    asked = command.main()
    assert (asked.only, asked.minutes, asked.data) == ("evidence", 120.0, "cifar10")


def test_the_list_for_the_array_is_made_in_a_fresh_clone(tmp_path):
    """The line of the page, where there is no runs/ yet; it asks for the runs of a card."""
    (line,) = re.findall(r"^(mkdir -p runs.*)$", PAGE.read_text(), re.M)
    assert f"#   {line}" in (TOOLS / "experiments.slurm").read_text().splitlines()
    done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, env=cluster(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "grid.txt").read_text() == "python -m gpu.grid --device cuda\n"


@pytest.mark.parametrize("path", RENTED, ids=lambda path: path.name)
def test_what_is_rented_is_described(path):
    task = yaml.safe_load(path.read_text())
    assert set(task) <= {"name", "resources", "num_nodes", "workdir", "envs", "file_mounts", "setup", "run"}
    assert re.fullmatch(r"[A-Z0-9]+:\d+", task["resources"]["accelerators"]) and task["workdir"] == "."
    for part in ("setup", "run"):
        done = subprocess.run(["bash", "-n", "-c", task[part]], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr
    used = set(re.findall(r"\$\{?([A-Z_]+)", task["run"]))
    known = {"SKYPILOT_NODE_IPS", "SKYPILOT_NUM_NODES", "SKYPILOT_NUM_GPUS_PER_NODE"}
    assert used <= known | set(task.get("envs", {}))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_that_train_are_understood(command):
    words = [word for word in shlex.split(command.replace("\\\n", " ")) if word != "$@"]
    train = typer.main.get_command(app).commands["train"]
    with click.Context(train) as context:
        given = train.make_context("train", words[2:], parent=context).params
    overridden(*preset(given["name"]), given["settings"])


def test_there_are_commands():
    assert len(COMMANDS) == 5


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
