"""Files written whole or not at all, and what to tell a user whose disk says no."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space: a quota is used up",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
    errno.EROFS: "name a folder on a disk that can be written",
}


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. It takes the name `path` when the block ends and all is on the disk; where the
    block fails it is removed, and what was at `path` stays.

    Raises OSError where the folder cannot be made or written; see `advice`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # what the user's files have; some writers would keep everyone else out
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # some network disks refuse it
            partial.chmod(mode)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def advice(error: Exception) -> str:
    """What went wrong and what to do, in one line without a full stop."""
    text = getattr(error, "strerror", None) or str(error)
    known = ADVICE.get(getattr(error, "errno", None))
    return f"{text}; {known}" if known else text
