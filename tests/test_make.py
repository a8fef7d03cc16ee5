"""The make targets and the README agree, and what they do where something is wrong."""

import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers import ROOT

from alexnet_lib.config import PRESETS

TARGETS = ("setup", "reproduce", "test", "test-portable", "book", "lab", "bench", "lint", "format", "clean", "help")
TARGETS += ("pdf", "homework", "release", "experiments", "chapters", "stress", "gpu", "live", "lock")


def make(*words: str, where=ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "--no-print-directory", *words], cwd=where, capture_output=True, text=True)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with what make reads, to run targets that write."""
    for name in ("Makefile", "requirements.txt", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "alexnet_lib").mkdir()
    shutil.copy(ROOT / "alexnet_lib" / "presets.py", tmp_path / "alexnet_lib")
    return tmp_path


def test_help_is_the_default_and_lists_every_target():
    assert make().stdout == make("help").stdout
    assert sorted(re.findall(r"^([a-z-]+)  ", make("help").stdout, re.MULTILINE)) == sorted(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_commands(target):
    done = make("--dry-run", target)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_style_and_types_are_checked_before_the_tests():
    lint = make("--dry-run", "lint").stdout
    assert all(command in lint for command in ("ruff check .", "ruff format --check .", "-m mypy"))
    assert make("--dry-run", "test").stdout.startswith(lint)


def test_commands_of_the_pages_exist():
    pages = [ROOT / "README.md", *(ROOT / "book").glob("*.md"), *(ROOT / "tools").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"reproduce", "test"} <= named <= set(TARGETS)


def test_files_that_the_pages_link_to_exist():
    for page in [ROOT / "README.md", ROOT / "data" / "README.md", ROOT / "tools" / "README.md"]:
        linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
        assert not [name for name in linked if not (page.parent / name).exists()]


def test_reproduce_hands_its_variables_on():
    command = make("--dry-run", "reproduce", "PROFILE=laptop", "SEED=3", "DATA=folder:x", "DEVICES=2", "RECORD=1").stdout
    assert '--profile "laptop" --seed "3" --data "$DATA" --devices "2" --record' in command
    assert '--seed "3" --data "$DATA" --report' in command
    assert "--record" not in make("--dry-run", "reproduce").stdout


def test_what_a_user_names_comes_through_as_it_is(tmp_path):
    (tmp_path / "say").write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv)\n")
    (tmp_path / "say").chmod(0o755)
    for named in ('my "photos"', "it's `date` $HOME $x", "a\\b"):
        assert repr(named) in make("gpu", f"PY={tmp_path / 'say'}", f"DATA={named}").stdout


@pytest.mark.parametrize("target", ["reproduce", "stress", "bench"])
@pytest.mark.parametrize("no", ["0", "no", "1 0"])
def test_only_one_asks_for_a_record(target, no):
    done = make("--dry-run", target, f"RECORD={no}")
    assert done.returncode != 0 and not done.stdout and f"RECORD is 1 or left out, not '{no}'" in done.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_reproduce_takes_every_preset(name):
    assert make("--dry-run", "reproduce", f"PROFILE={name}").returncode == 0


def test_an_unknown_profile_gets_one_line_before_anything_is_installed(elsewhere):
    done = make("reproduce", "PROFILE=quik", where=elsewhere)
    assert done.returncode != 0 and not done.stdout and not (elsewhere / ".venv").exists()
    assert len(done.stderr.splitlines()) == 1 and f"unknown PROFILE 'quik'. There is: {' '.join(PRESETS)}." in done.stderr


def test_an_old_python_gets_one_line(elsewhere):
    (elsewhere / "my pythons").mkdir()
    old = elsewhere / "my pythons" / "python3.10"
    pretend = "import sys; sys.version_info, sys.version = (3, 10, 4), '3.10.4 (main)'; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", where=elsewhere)
    first = done.stderr.splitlines()[0]
    assert done.returncode != 0 and first.startswith("error: Python 3.11 or newer is needed") and "3.10.4" in first
    assert not (elsewhere / ".venv").exists()


def builds(folder, commands: str) -> None:
    """An environment that is ready, with these commands for jupyter-book."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / "ready").touch()
    (folder / "jupyter-book").write_text(f"#!/bin/sh\n{commands}\n")
    (folder / "jupyter-book").chmod(0o755)


def test_one_target_waits_for_the_other(elsewhere):
    """With -j too, which may stand in $MAKEFLAGS: the book and its PDF are built from one cache."""
    builds(elsewhere, "echo begins >> log; sleep 0.2; echo ends >> log")
    assert make("-j2", "book", "pdf", "BIN=.", "PY=true", where=elsewhere).returncode == 0
    assert (elsewhere / "log").read_text().split() == ["begins", "ends"] * 2


def test_a_copy_without_git_can_be_released(elsewhere):
    builds(elsewhere, "mkdir -p _build/html; touch _build/book.pdf")
    done = make("release", "BIN=.", "PY=true", where=elsewhere)
    assert done.returncode == 0 and not done.stderr and (elsewhere / "_build" / "release" / "SHA256SUMS").exists()


def test_clean_leaves_runs_and_data(elsewhere):
    for name in ("runs/a", "data/b", "_build/c", "tests/__pycache__/d", ".venv/lib/__pycache__/e"):
        (elsewhere / name).mkdir(parents=True)
    assert make("clean", where=elsewhere).returncode == 0
    left = {str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.is_dir()}
    assert {"runs/a", "data/b", ".venv/lib/__pycache__/e"} <= left
    assert not {"_build", "tests/__pycache__"} & left


@pytest.mark.parametrize("request_to_stop", [signal.SIGTERM, signal.SIGKILL])
def test_reproduce_takes_what_it_started_with_it(request_to_stop):
    """papermill and the notebook's kernel end with it, killed or not; where it can, its last line says how to go on."""
    command = [sys.executable, "tools/reproduce.py", "--profile", "quick"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        started, below = time.monotonic(), []
        while time.monotonic() < started + 180 and not any("ipykernel" in " ".join(p.cmdline()) for p in below):
            time.sleep(0.5)
            below = psutil.Process(process.pid).children(recursive=True)
        time.sleep(3)
        process.send_signal(request_to_stop)
        process.wait(timeout=300)
        left = psutil.wait_procs(below, timeout=60)[1]
        said = process.stderr.read() if not left else ""
    assert len(below) >= 2 and not left
    if request_to_stop == signal.SIGTERM:
        assert process.returncode == 130 and "\nstopped; the same command goes on" in said
