"""Fetching an archive and unpacking it: resumed, verified before it is opened, nothing written outside the target."""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

from ..system.progress import bar
from ..system.strict import InputError

BLOCK = 2**18  # bytes


def fetch(url: str, path: Path, md5: str) -> Path:
    """Downloads url to path unless it is there already; what an interruption left is taken up where the server allows it.

    $ALEXNET_MIRROR, if set, is the address of a folder to take the file from instead.

    Raises InputError that names the address and the place for the file, where it cannot be had or its checksum is wrong.
    """
    if mirror := os.environ.get("ALEXNET_MIRROR"):
        url = f"{mirror.rstrip('/')}/{path.name}"
    by_hand = f"Fetch {url} by hand and put it at {path}"
    if path.exists():
        if _md5(path) == md5:
            return path
        raise InputError(f"{path} is damaged or another file: its md5 is not {md5}. Remove it, or: {by_hand}")
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, partial)
    except (HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
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
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing; the checksum decides
            return
        raise
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
    """Unpacks a tar or zip archive into target; its files appear there only once all are unpacked.

    Raises InputError where a member would land outside the target, or the archive is broken.
    """
    staging = target / f".{archive.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)  # of an earlier run that was interrupted
    try:
        staging.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as members:
                _refuse_outside(archive, members.namelist())
                members.extractall(staging)  # writes a link as a plain file
        else:
            with tarfile.open(archive) as members:
                _refuse_outside(archive, members.getnames())
                members.extractall(staging, filter="data")  # refuses links that lead outside, and devices
        for entry in staging.iterdir():
            entry.replace(target / entry.name)
    except tarfile.FilterError as error:
        raise InputError(f"{archive} is refused: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"cannot unpack {archive}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_outside(archive: Path, names: list[str]) -> None:
    for name in names:
        if name.startswith(("/", "\\")) or ".." in Path(name).parts:
            raise InputError(f"{archive} is refused: its member {name!r} would land outside the folder")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
