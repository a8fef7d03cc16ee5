"""One progress bar for downloads, packing and training, shown where a person is looking.

In a terminal that is standard error. In a notebook kernel there are two places: the cell, which gets one line that
is replaced in place (so that an executed notebook keeps no trail of it), and the terminal that started papermill.
"""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from tqdm import tqdm

from .strict import InputError

UNWATCHED = 30.0  # seconds between lines where nobody watches
APPEARS_AFTER = 3.0  # seconds until a bar shows in a cell: a quick one leaves it as it is


def open_outputs() -> None:
    """Makes standard output and error take any file's name; one that was closed when the process started takes all and shows
    nothing."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tensorboard(folder: Path | None) -> AbstractContextManager:
    """A writer of curves for TensorBoard into a folder; None where there is to be none."""
    if folder is None:
        return nullcontext()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("tensorboard=true needs the package tensorboard: install it, or do without") from None
    return SummaryWriter(folder)


class _CellLine:
    """A file that shows the last line written to it as one output of the cell, replaced in place.

    The output starts empty: nbval, which knows no replacing, then finds nothing to compare, however slow the machine.
    """

    def __init__(self, terminal):
        self.terminal, self.handle = terminal, None
        self.told, self.started = float("-inf"), time.monotonic()

    def write(self, text: str) -> int:
        now = time.monotonic()
        if self.terminal.isatty() or now - self.told >= UNWATCHED:
            self.terminal.write(text)
            self.told = now
        line = text.strip("\r\n ")
        if line and now - self.started >= APPEARS_AFTER:
            self.show(line)
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()

    def fileno(self) -> int:
        """The terminal's descriptor, by which tqdm asks for its width."""
        return self.terminal.fileno()

    def show(self, line: str) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display({}, raw=True, display_id=True)
        self.handle.update({"text/plain": line}, raw=True)


@cache
def _kernel_terminal():
    """The standard error that the kernel's process was started with, which papermill's terminal shows.

    ipykernel replaces descriptor 2 by a pipe of its own and keeps a copy of the original, except on Windows and under
    pytest, where descriptor 2 stays what it was.
    """
    descriptor = getattr(sys.stderr, "_original_stdstream_copy", 2)
    return os.fdopen(os.dup(descriptor), "w", buffering=1)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class bar(tqdm):
    """A tqdm bar with rate and time left: `bar(iterable)` or `bar(total=..., desc=..., unit=..., initial=...)`.

    Takes tqdm's arguments. Where nobody watches (output to a file or a pipe) it writes a line every half minute. In a
    notebook's cell it appears after a few seconds and goes away at the end; `bar.finish(line)` leaves `line` in its place.
    """

    def __init__(self, *args, **kwargs):
        self._cell = None
        terminal = _kernel_terminal() if in_notebook() else sys.stderr
        watched = terminal.isatty() or "ALEXNET_FOLLOWED" in os.environ  # by a parent, see `following`
        kwargs = {"mininterval": 0.5 if watched else UNWATCHED, "dynamic_ncols": watched, "leave": False} | kwargs
        if in_notebook() and not kwargs.get("disable"):
            self._cell = _CellLine(terminal)
            kwargs |= {"file": self._cell, "mininterval": min(kwargs["mininterval"], 2.0)}
        super().__init__(*args, **{"file": sys.stderr} | kwargs)

    def close(self) -> None:
        super().close()
        if self._cell is not None and self._cell.handle is not None:
            self._cell.show("")

    def finish(self, line: str) -> None:
        """Closes the bar and, in a notebook, leaves a line in its place."""
        self.close()
        if self._cell is not None:
            self._cell.show(line)
            self._cell = None  # another close() must not clear it


@contextmanager
def following(file: Path) -> Iterator[None]:
    """Shows, while the block runs, the last line of what another process writes to `file`, as a bar of this one would."""
    shown = _CellLine(_kernel_terminal()) if in_notebook() else sys.stderr
    done = threading.Event()
    file.touch()

    def follow() -> None:
        with open(file, encoding="locale", errors="replace") as stream:  # a bar's "\r" reads as an end of line, too
            while not done.wait(0.3):
                lines = [line for line in stream.read().splitlines() if line.strip()]
                if lines:
                    shown.write(f"\r{lines[-1]}")

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        shown.flush()
        if isinstance(shown, _CellLine) and shown.handle is not None:
            shown.show("")
