"""One shard of a packed set: a file of pixels, and one of what is known of them, written by whichever process comes first."""

import errno
import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout  # comes with torch

from ..system.files import read_file, whole
from ..system.strict import InputError
from .folders import shown

FORMAT = 1  # of the two files
SCALING = 2  # how images get their size; to be raised where the same source would give other pixels
PATIENCE = 3  # seconds that a process waits for another without a word
PARTS = ".parts"  # folder of what is known of each finished shard, until the index sums it up
# What is known of one. `files` came last: what was packed before says nothing of its files, and is packed again.
FACTS = {"key", "sha256", "labels", "broken", "of", "kept", "contents", "files", "image_sum", "products"}


@dataclass(frozen=True)
class Shard:
    """The unit of work: images that become one file of pixels and one of facts."""

    dest: Path
    split: str
    number: int
    images: Sequence[str] | np.ndarray
    labels: np.ndarray
    size: int

    @property
    def pixels(self) -> Path:
        return self.dest / f"{self.split}-{self.number:05d}.npy"

    @property
    def facts(self) -> Path:
        return self.dest / PARTS / f"{self.split}-{self.number:05d}.npz"

    def key(self) -> str:
        """Of what goes in. The folders above the class stay out: machines may have them in different places."""
        digest = hashlib.sha256(repr((FORMAT, SCALING, self.size)).encode() + self.labels.tobytes())
        for image in self.images:
            digest.update(in_words(image).encode() if isinstance(image, str) else image.tobytes())
        return digest.hexdigest()

    def known(self) -> dict | None:
        """The facts; None where they or the pixels are not there, or damaged as far as the header and the length tell.

        Raises InputError for a shard of something else, OSError where the facts cannot be read at present.
        """
        try:
            with np.load(io.BytesIO(read_file(self.facts))) as file:
                facts = dict(file)
            key = str(facts["key"])
        except OSError as error:
            if error.errno in (None, errno.ENOENT):
                return None
            raise
        except Exception:  # a damaged file can make its reader raise anything
            return None
        if key != self.key() or facts.get("of", self.pixels.name) != self.pixels.name:
            hint = "Remove it or name another folder"
            raise InputError(f"{shown(self.dest)} holds shards of other images, another size or holdout. {hint}")
        there = facts.keys() >= FACTS and is_whole(self.pixels, len(facts["labels"]), self.size)
        return facts if there else None

    def current(self) -> dict | None:
        """The facts that are known, where the files are still those that were packed: of the same size and time, or, as copies
        are, of the same size and content."""
        if (facts := self.known()) is None:
            return None
        then, now = facts["files"], states(self.images)
        if then.shape != now.shape or (then[:, 0] != now[:, 0]).any():
            return None
        contents = dict(zip(facts["kept"].tolist(), facts["contents"].tolist(), strict=False))  # pixels have none
        for place in np.flatnonzero(then[:, 1] != now[:, 1]).tolist():
            if place in contents and _content(str(self.images[place])) != contents[place]:
                return None
        return facts

    def is_done(self) -> bool:
        """Not where images were broken: they may be mended by now."""
        facts = self.current()
        return facts is not None and not len(facts["broken"])


def write_shard(shard: Shard) -> int:
    """Writes the pixels and then, as the sign that they are whole, the facts. Returns the number of images seen."""
    with one_at_a_time(shard.facts.with_suffix(".lock")):
        tidy(shard.pixels, shard.facts)
        if not shard.is_done():  # another process may have done it by now
            (shard.dest / "index.json").unlink(missing_ok=True)  # it speaks of other pixels: until the last shard there is none
            _fill(shard)
    return len(shard.labels)


def _fill(shard: Shard) -> None:
    kept, broken, contents, files = [], [], [], states(shard.images)  # before they are read: a later change is seen
    image_sum, products = np.zeros((shard.size, shard.size, 3), np.uint64), np.zeros((3, 3))
    header = header_of(len(shard.labels), shard.size)
    digest = hashlib.sha256(header)  # of the file as it is written: reading it again would take as long
    with whole(shard.pixels) as partial, open(partial, "wb") as file:
        file.write(header)
        for place, image in enumerate(shard.images):
            content = [_content(image)] if isinstance(image, str) else []  # as above
            pixels = _pixels_or_reason(image, shard.size)
            if isinstance(pixels, str):
                broken.append((in_words(image), pixels))
                continue
            kept.append(place)
            contents += content
            pixels = np.ascontiguousarray(pixels)
            file.write(pixels.data)
            digest.update(pixels.data)
            if shard.split == "train":
                image_sum += pixels
                products += _products(pixels)
        if broken:  # fewer images than the header promised
            file.seek(0)
            file.write(header_of(len(kept), shard.size))
    checksum = sha256_of(shard.pixels) if broken else digest.hexdigest()
    facts: dict[str, Any] = {"key": shard.key(), "sha256": checksum, "labels": shard.labels[kept]}
    facts |= {"broken": np.array(broken, dtype=str), "of": shard.pixels.name}
    facts |= {"kept": np.array(kept, np.int64), "contents": np.array(contents, np.uint64), "files": files}
    with whole(shard.facts) as partial, open(partial, "wb") as file:
        np.savez(file, **facts, image_sum=image_sum, products=products.astype(np.int64))


def _pixels_or_reason(image: str | np.ndarray, size: int) -> np.ndarray | str:
    if isinstance(image, np.ndarray):
        return image
    from .images import prepared_or_reason  # only packing from files needs it

    return prepared_or_reason(image, size)


def states(images: Sequence[str] | np.ndarray) -> np.ndarray:
    """int64 (N, 2): size in bytes and time of change in nanoseconds of each file, -1 where there is none; of pixels (0, 2)."""
    found = []
    for path in images if not isinstance(images, np.ndarray) else ():
        try:
            facts = os.stat(path)
            found.append((facts.st_size, facts.st_mtime_ns % 2**63))  # from 2262 on the time has more bits
        except OSError:  # reported as broken
            found.append((-1, -1))
    return np.array(found, np.int64).reshape(-1, 2)


def _content(path: str) -> int:
    """64 bits of a checksum of a file's content, which tell whether two images are the same file; 0 where it is unreadable."""
    with suppress(OSError):
        if os.path.isfile(path):  # a pipe would be waited for
            return int.from_bytes(bytes.fromhex(sha256_of(Path(path)))[:8], "little")
    return 0


def _products(pixels: np.ndarray) -> np.ndarray:
    """float64 (3, 3): the sums of R*R, R*G and so on over an image, exact.

    Of 258 products of two bytes the sum is below 2^24, where float32 still holds every whole number. Blocks of so many
    pixels at most are summed in float32, in a third of the time that float64 takes, and the blocks in float64.
    """
    block = next(n for n in range(258, 0, -1) if pixels.size // 3 % n == 0)
    planes = np.ascontiguousarray(pixels.reshape(-1, 3).T).astype(np.float32).reshape(3, -1, block)
    return np.vecdot(planes[:, None], planes).sum(-1, dtype=np.float64)


def header_of(count: int, size: int) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def is_whole(pixels: Path, count: int, size: int) -> bool:
    """Whether the file of a shard has the header and the length that it should have."""
    header = header_of(count, size)
    with suppress(OSError):
        if pixels.stat().st_size == len(header) + count * size * size * 3:  # first: a pipe has no size, and no end
            with open(pixels, "rb") as file:
                return file.read(len(header)) == header
    return False


def in_words(path: str) -> str:
    """An image as reports name it: class/file."""
    return shown("/".join(Path(path).parts[-2:]))


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Of the processes that come here one goes on, and the others wait for it. One that dies lets go.

    Where a disk knows no locks all go on, for they write the same.
    """
    held = FileLock(lock)
    try:
        try:
            held.acquire(timeout=PATIENCE)
        except Timeout:
            _say_that_it_waits(lock.parent.parent)
            held.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    try:
        yield
    finally:
        held.release()


@cache
def _say_that_it_waits(folder: Path) -> None:
    """Once: after the first shard it is known."""
    print(f"note: another process packs into {shown(folder)} too: waiting for what it has in hand", file=sys.stderr)


def tidy(*paths: Path) -> None:
    """Removes what runs that were killed left of these files."""
    for path in paths:
        for leftover in path.parent.glob(f"{path.name}.*.partial"):
            leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
