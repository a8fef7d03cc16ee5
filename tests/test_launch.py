"""The launch buttons: a notebook alone in an empty folder fetches the library and runs."""

import os
import subprocess
import sys
import sysconfig

import launch
import nbformat
from helpers import ROOT


def test_the_cell_fetches_the_library_into_an_environment_without_it(tmp_path):
    """A fresh environment that sees this one's packages, but not the library: what Colab has."""
    work = tmp_path / "content"
    work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    packages = sysconfig.get_path("purelib")  # added by a .pth file, whose own .pth files, the library's too, do not count
    with open(os.path.join(site.stdout.strip(), "packages.pth"), "w") as file:
        file.write(packages + "\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import alexnet_lib.book.chapter")])
    cells = launch.launched(notebook, ROOT.as_uri()).cells
    script = "\n\n".join(cell.source for cell in cells) + "\nprint(alexnet_lib.__file__)"
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([python, "-c", script], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "alexnet-reproduced/alexnet_lib/__init__.py" or "content" in done.stdout
    again = subprocess.run(
        [python, "-c", "import alexnet_lib; print(alexnet_lib.__file__)"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert str(work) in again.stdout  # installed: the processes that a chapter starts find it too


def test_the_cell_is_there_once_however_often_it_is_put_there():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    for address in ("one", "two"):
        notebook = launch.launched(notebook, address)
    assert [cell.source == "1" for cell in notebook.cells] == [False, True] and "'two'" in notebook.cells[0].source


def test_nothing_is_pinned_for_a_notebook_that_is_launched():
    assert "--no-deps" in launch.CELL and "==" not in launch.CELL and "requirements" not in launch.CELL


def test_binder_has_the_versions_of_the_lock():
    def pinned(path) -> dict[str, str]:
        lines = [line.split("+")[0].split("==") for line in (ROOT / path).read_text().splitlines() if "==" in line]
        return dict(lines)

    binder = pinned(".binder/requirements.txt")
    assert binder and binder.items() <= pinned("requirements.txt").items()
