"""Fixtures: a temporary home for runs and data, the two sets of sample images where they are, small data sets, the book."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alexnet_lib.data import sources
from alexnet_lib.data.dataset import PackedDataset, pack

ROOT = Path(__file__).resolve().parent.parent


# Runs of a whole notebook: they take long and share nothing with their file.
ALONE = ("::test_committed_outputs_are_current[", "::test_another_seed_under_papermill[")
OF_THE_BOOK = tuple(f"tests/test_{name}.py" for name in ("book", "browser", "interactives", "live", "chinese"))


def is_alone(nodeid: str) -> bool:
    return any(name in nodeid for name in ALONE)


def pytest_collection_modifyitems(items):
    """Runs of notebooks come first: at the end the short files even out when the workers finish."""
    items.sort(key=lambda item: not is_alone(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With -n a file's tests stay with one worker, those of the book with the one that builds it; any runs a notebook."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if is_alone(nodeid) else "book" if file in OF_THE_BOOK else file

    config.option.loadscopereorder = False
    return Scheduler(config, log)


@pytest.fixture(autouse=True)
def no_run_is_resumed(tmp_path, monkeypatch):
    """Runs go to a folder that is empty at the start of each test."""
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="session", autouse=True)
def data_is_packed_anew(tmp_path_factory):
    """What an earlier version of the library packed below data/ is not used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def counted(record_property):
    """A call with a fault, what must happen, and how often it was tried and survived: a row of the table of `make stress`."""

    def count(fault: str, must: str, tried: int, survived: int) -> None:
        for name, value in {"fault": fault, "must": must, "tried": tried, "survived": survived}.items():
            record_property(name, value)
        assert survived == tried > 0, f"{fault}: {survived} of {tried} survived"

    return count


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with cifar10-jpeg/ and imagenet-sample/, named by ALEXNET_SAMPLES."""
    if "ALEXNET_SAMPLES" not in os.environ:
        pytest.skip("ALEXNET_SAMPLES does not name the folder with cifar10-jpeg/ and imagenet-sample/")
    return Path(os.environ["ALEXNET_SAMPLES"])


@pytest.fixture(scope="session")
def photos10(tmp_path_factory) -> tuple[PackedDataset, PackedDataset]:
    """(training, test) of photos10, packed once a session."""
    folder = tmp_path_factory.mktemp("photos10")
    pack("photos10", folder)
    return PackedDataset.open(folder, "train"), PackedDataset.open(folder, "test")


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """Ten photographs, uint8 (10, 256, 256, 3), as section 2 prepares them."""
    from alexnet_lib.data.images import central_square

    return np.stack([central_square(p, 256) for p in sources.photographs10()])


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Path:
    """The HTML of the book, built with the command of `make book`, but elsewhere."""
    out = tmp_path_factory.mktemp("book")
    recipe = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "book"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = next(shlex.split(line) for line in recipe.stdout.splitlines() if "jupyter-book" in line)
    words[words.index("--path-output") + 1] = str(out)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def chromium():
    import pdf
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pdf.browser(), args=["--no-sandbox"])
        yield browser
        browser.close()
