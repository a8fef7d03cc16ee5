"""One progress bar for downloads, packing and training, shown where a person is looking.

In a terminal that is standard error. In a notebook kernel there are two places: the cell, which gets one line that
is replaced in place (so that an executed notebook keeps no trail of it), and the terminal that started papermill.
"""

import os
import sys
from functools import cache

from tqdm import tqdm


class _CellLine:
    """A file that shows the last line written to it as one output of the cell, replaced in place."""

    def __init__(self, terminal):
        from IPython.display import display

        self.terminal = terminal
        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> int:
        self.terminal.write(text)
        line = text.strip("\r\n ")
        if line:
            self.handle.update({"text/plain": line}, raw=True)
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()

    def finish(self, line: str) -> None:
        self.handle.update({"text/plain": line}, raw=True)


@cache
def _kernel_terminal():
    """The standard error that the kernel's process was started with, which papermill's terminal shows.

    ipykernel replaces descriptor 2 by a pipe of its own and keeps a copy of the original.
    """
    descriptor = getattr(sys.stderr, "_original_stdstream_copy", None)
    if descriptor is None:
        return open(os.devnull, "w")
    return os.fdopen(os.dup(descriptor), "w", buffering=1)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class bar(tqdm):
    """A tqdm bar with rate and time left: `bar(iterable)` or `bar(total=..., desc=..., unit=..., initial=...)`.

    Takes tqdm's arguments. Where nobody watches (output to a file or a pipe), it writes a line every half minute instead of redrawing.
    `bar.finish(line)` closes it and, in a notebook, leaves `line` in its place.
    """

    def __init__(self, *args, **kwargs):
        self._cell = None
        terminal = _kernel_terminal() if in_notebook() else sys.stderr
        kwargs.setdefault("mininterval", 0.5 if terminal.isatty() else 30.0)
        kwargs.setdefault("dynamic_ncols", terminal.isatty())
        kwargs.setdefault("leave", False)
        if in_notebook() and not kwargs.get("disable"):
            self._cell = kwargs["file"] = _CellLine(terminal)
            kwargs["mininterval"] = min(kwargs["mininterval"], 2.0)
        else:
            kwargs.setdefault("file", sys.stderr)
        super().__init__(*args, **kwargs)

    def finish(self, line: str = "") -> None:
        self.close()
        if self._cell is not None:
            self._cell.finish(line)
