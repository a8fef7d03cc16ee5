"""Files written whole or not at all, folders with one user, and what to tell someone whose disk says no."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .strict import InputError

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space: a quota is used up",
    errno.EFBIG: "allow larger files (ulimit -f), or name a folder on another disk",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
    errno.EROFS: "name a folder on a disk that can be written",
    errno.EEXIST: "name a folder: there is a file of that name",
    errno.ENOTDIR: "name another folder: a file is in its path",
    errno.EISDIR: "remove the folder that has its name",
}
LOCKLESS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)  # of disks that know no locks


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


def read_file(path: Path) -> bytes:
    """What is in a file. Raises ValueError where there is a pipe or a device instead, which might never end, or OSError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path.name} is no file")
    return path.read_bytes()


@contextmanager
def sole_use(folder: Path) -> Iterator[bool]:
    """Makes a folder and says whether this process has it for itself until the block ends.

    The kernel drops the lock of a process that dies, however it dies. Where a disk knows no locks, all get the folder.

    Raises InputError where the folder cannot be made or written.
    """
    lock = FileLock(folder / ".lock", timeout=1)  # a process that was killed a moment ago may still be ending
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except NotImplementedError:  # as some versions of the lock say it
        pass
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise InputError(f"cannot write to {folder}: {advice(error)}") from error
    try:
        yield True
    finally:
        lock.release()


def open_more(count: int) -> None:
    """Lets this process hold so many more files open than now, as far as its system allows it. A mapped file is an open one."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # Windows has none, and no such limit

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            wanted = soft + count
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def advice(error: OSError) -> str:
    """What went wrong and what to do, in one line without a full stop."""
    text = error.strerror or str(error)
    known = ADVICE.get(error.errno or 0)
    return f"{text}; {known}" if known else text
