"""The make targets and the README agree, and no target rewrites a tracked file."""

import re
import subprocess

import pytest
from helpers import ROOT

TARGETS = ("setup", "reproduce", "test", "test-portable", "book", "lab", "bench", "clean", "help")


def make(*words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_the_default_and_lists_every_target():
    assert make() == make("help")
    listed = re.findall(r"^([a-z-]+)  ", make("help"), re.MULTILINE)
    assert set(TARGETS) <= set(listed)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_commands(target):
    assert make("--dry-run", target).strip()


def test_commands_of_the_pages_exist():
    pages = [ROOT / "README.md", *(ROOT / "book").glob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {a or b for a, b in named} <= set(TARGETS)


def test_reproduce_hands_its_variables_on():
    command = make("--dry-run", "reproduce", "PROFILE=laptop", "SEED=3", "DATA=folder:x", "RECORD=1")
    assert '--profile "laptop" --seed "3" --data "folder:x" --record' in command
    assert "--record" not in make("--dry-run", "reproduce")
