"""How a tool ends: bad input, and a disk that refuses, get one line instead of a traceback."""

import sys
from collections.abc import Callable

from alexnet_lib.config import InputError
from alexnet_lib.system.files import advice


def ended(main: Callable[[], int | None]) -> int:
    """Runs a tool's `main` and gives the status that its process ends with."""
    try:
        return main() or 0
    except InputError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename or 'the system says'}: {advice(error)}"
    except KeyboardInterrupt:
        return 130
    print("error:", " ".join(said.split()), file=sys.stderr)
    return 1
