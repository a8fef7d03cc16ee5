"""The progress bar: in a terminal, in a log, in a notebook under papermill, and under nbval."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import nbformat
import pytest
from helpers import ROOT

SLOW = "for _ in bar(range(30), desc='slow', mininterval=0.1):\n    time.sleep(0.05)"
FINISHED = "shown = bar(total=30, mininterval=0.1)\nfor _ in range(30):\n    time.sleep(0.05)\n    shown.update()\nshown.finish('did 30')"
CELLS = {
    "set up": "import time\nfrom alexnet_lib.system import progress\nfrom alexnet_lib.system.progress import bar\nprogress.APPEARS_AFTER = 0.2",
    "quick": "for _ in bar(range(3), desc='quick'):\n    pass\nprint('after')",
    "slow": SLOW + "\nprint('after')",
    "finished": FINISHED,
}


@pytest.fixture(params=["redirected", "as it was"])
def standard_error(request, monkeypatch):
    """Whether the kernel replaces its standard error: not under pytest, nor on Windows, but where people run papermill."""
    if request.param == "redirected":
        monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"})


def in_a_terminal(command: list[str], columns: int = 80) -> str:
    """What a command shows on a terminal of that width; its standard error is the terminal, as its output is."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdin=subprocess.DEVNULL, stdout=side, stderr=side)
    os.close(side)
    shown = []

    def read():
        try:
            while block := os.read(main, 2**16):
                shown.append(block)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    status = running.wait(timeout=300)
    reader.join()
    os.close(main)
    text = b"".join(shown).decode()
    assert status == 0, text[-3000:]
    return text


def bars(text: str) -> list[str]:
    """The states of bars in what a terminal was sent."""
    return [line for line in text.replace("\n", "\r").split("\r") if "%|" in line]


@pytest.fixture
def notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "bars.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def papermill(notebook) -> list[str]:
    return [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        "-k",
        "python3",
        str(notebook),
        str(notebook.with_name("out.ipynb")),
    ]


def test_a_terminal_sees_it_redrawn_in_one_line():
    shown = in_a_terminal([sys.executable, "-c", "import time\nfrom alexnet_lib.system.progress import bar\n" + SLOW])
    assert len(bars(shown)) > 3 and "slow" in shown
    assert max(map(len, bars(shown))) <= 80
    assert "\n" not in shown and shown.split("\r")[-2].strip() == ""  # and it is wiped at the end


def test_a_log_gets_few_lines():
    program = "import time\nfrom alexnet_lib.system.progress import bar\nfor _ in bar(range(30)):\n    time.sleep(0.05)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "" and len(bars(done.stderr)) <= 1


def test_papermill_shows_it_and_the_notebook_keeps_no_trail(notebook, standard_error):
    shown = bars(in_a_terminal(papermill(notebook), columns=40))
    assert len(shown) > 6 and max(map(len, shown)) <= 40  # a wider one would wrap, and leave a trail
    _, quick, slow, finished = nbformat.read(notebook.with_name("out.ipynb"), 4).cells
    assert [(o.output_type, o.get("text")) for o in quick.outputs] == [("stream", "after\n")]
    assert sorted(o.get("text", o.get("data")) or "" for o in slow.outputs if o.output_type == "stream") == ["after\n"]
    assert [o.data for o in slow.outputs if o.output_type == "display_data"] == [{"text/plain": ""}]
    assert [o.data for o in finished.outputs] == [{"text/plain": "did 30"}]


def test_papermill_into_a_log_says_little(notebook, standard_error):
    done = subprocess.run(papermill(notebook), cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(bars(done.stderr)) == 3  # one for each bar, at its start


def test_nbval_compares_a_cell_alike_whether_the_bar_was_seen_or_not(notebook):
    """A slow machine packs a data set visibly in a cell that a quick one left clean."""
    written = nbformat.read(notebook, 4)
    for count, cell in enumerate(written.cells, 1):
        cell.execution_count = count
        if "print" in cell.source:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="after\n")]
    nbformat.write(written, notebook)
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider", str(notebook)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
