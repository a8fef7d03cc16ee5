"""Fetching an archive and unpacking it: resumed, verified before it is opened, nothing written outside the target."""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from functools import partial
from http.client import HTTPException
from pathlib import Path, PureWindowsPath

from ..system.files import advice
from ..system.progress import bar
from ..system.strict import InputError

BLOCK = 2**18  # bytes
STALLED = 30  # seconds without a byte after which a server is given up
MOST = 20  # times the size of an archive, and 16 MiB, that its members may have together


def fetch(url: str, path: Path, md5: str) -> Path:
    """Downloads url to path unless it is there already; what an interruption left is taken up where the server allows it.

    $ALEXNET_MIRROR, if set, is the address of a folder to take the file from instead.

    Raises InputError that names the address and the place for the file, where it cannot be had or its checksum is wrong.
    """
    if mirror := os.environ.get("ALEXNET_MIRROR"):
        url = f"{mirror.rstrip('/')}/{path.name}"
    by_hand = f"Fetch {url} by hand and put it at {path}"
    if path.is_file():
        if _md5(path) == md5:
            return path
        raise InputError(f"{path} is damaged or another file: its md5 is not {md5}. Remove it, or: {by_hand}")
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, partial)
    except (HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or (advice(error) if isinstance(error, OSError) else error)
        raise InputError(f"cannot download {path.name}: {reason}. {by_hand}") from error
    if _md5(partial) != md5:
        partial.unlink()
        raise InputError(
            f"the download of {path.name} is damaged or another file: its md5 is not {md5}. Start again, or: {by_hand}"
        )
    return partial.replace(path)


def _download(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=STALLED)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing; the checksum decides
            return
        raise
    if response.headers.get_content_type() == "text/html":  # a page about an error or a login, with status 200
        raise OSError("the server answers with a page instead of the file")
    with response, open(partial, "ab" if response.status == 206 else "wb") as file:
        have = file.tell()
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with bar(total=total, initial=have, desc=partial.stem, unit="B", unit_scale=True) as shown:
            while block := response.read(BLOCK):
                file.write(block)
                shown.update(len(block))
        if total is not None and file.tell() < total:
            raise OSError(f"the connection ended after {file.tell():,} of {total:,} bytes; start again to go on from there")


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a tar archive into target; its files appear there only once all are unpacked.

    Raises InputError where a member is neither a file nor a folder or would land outside the target, where the members
    are far larger than the archive, or where it is broken.
    """
    staging = target / f".{archive.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)  # of an earlier run that was interrupted
    try:
        staging.mkdir(parents=True)
        left = MOST * archive.stat().st_size + 2**24
        with tarfile.open(archive) as members:
            for member in members:
                left -= member.size
                _refuse(archive, member, left)
                if member.isdir():
                    (staging / member.name).mkdir(parents=True, exist_ok=True)
                else:  # written by hand: the standard library's own check of members came with Python 3.11.4
                    (staging / member.name).parent.mkdir(parents=True, exist_ok=True)
                    content = members.extractfile(member)
                    assert content  # a link would have none
                    with content, open(staging / member.name, "wb") as file:
                        shutil.copyfileobj(content, file)
        for entry in staging.iterdir():
            entry.replace(target / entry.name)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise InputError(f"cannot unpack {archive}: {advice(error) if isinstance(error, OSError) else error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse(archive: Path, member: tarfile.TarInfo, left: int) -> None:
    name, where = repr(member.name), PureWindowsPath(member.name)  # which knows the separators of all systems
    if where.anchor or ".." in where.parts:
        raise InputError(f"{archive} is refused: its member {name} would land outside the folder")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise InputError(f"{archive} is refused: its member {name} is a link or a device")
    if left < 0:
        raise InputError(f"{archive} is refused: its members are more than {MOST} times as large as it is")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()  # some systems forbid it else
