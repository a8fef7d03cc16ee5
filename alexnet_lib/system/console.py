"""A command line: the options that several commands share, the process around them, and one line for whatever ends a command."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from .files import advice
from .memory import exhausted, keep_pages
from .progress import open_outputs
from .stopping import STOPPED, stop_as_by_ctrl_c, stop_no_more, stop_with_starter
from .strict import InputError


def named(data: str | None) -> str | None:
    """What --data names. Raises InputError where it is empty, as a variable of a script may be."""
    if data is not None and not data.strip():
        raise InputError("--data is empty: name a source, a folder or a packed set, or leave it out")
    return data


Data = Annotated[str | None, typer.Option(help="a source, a folder or a packed set; by default the preset's", callback=named)]
Preset = Annotated[str, typer.Option("--preset", help="network and training: quick, laptop, paper, code_2012, ...")]
Setting = Annotated[
    list[str],
    typer.Option("--set", metavar="FIELD=VALUE", help="model.FIELD=VALUE or train.FIELD=VALUE, again and again"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; by default a GPU where there is one")]
NONE: list = []  # of what may be given again and again; nothing is added to it


def as_own_process(main: Callable[[], int]) -> int:
    """Calls what a process is there for, and gives its status: outputs take any text, memory is kept, signals end it in order."""
    open_outputs()
    keep_pages()
    stop_as_by_ctrl_c()  # again, where something else than `python -m alexnet_lib` runs this
    stop_with_starter()
    status = main()
    stop_no_more()
    return status


def status_of(app: typer.Typer, words: list[str]) -> int:
    """Runs a command; bad input ends it with one line and status 1, Ctrl-C with a word on how to go on and status 130."""
    try:
        status = app(words, standalone_mode=False) or 0
        print(end="", flush=True)  # where there is an output at all
        if status == 130:  # what the command-line library makes of Ctrl-C
            raise KeyboardInterrupt
        return status
    except InputError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print(STOPPED, file=sys.stderr)
        return 130
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _failed(f"{error.filename or 'the system says'}: {advice(error)}")
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command-line library
            return _failed(f"{error.format_message()}. See --help", 2)
        if exhausted(error):
            return _failed("there is not enough memory for this: make train.batch_size or the network smaller")
        raise


def _failed(text: str, status: int = 1) -> int:
    print("error:", " ".join(text.split()), file=sys.stderr)
    return status
