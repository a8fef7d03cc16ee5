"""Folder trees of images: one subfolder a class, or such trees below train/ and test/.

Each real folder is read once, whatever links lead to it, and what systems leave in folders is not read at all.
"""

import hashlib
import itertools
import os
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..system.strict import InputError

# Folders and files that a system or a disk station made, in lower case. So are those whose names start with a dot.
LITTER = (
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
)  # fmt: skip
# How names of images end, in lower case, of the formats that images.FORMATS reads.
ENDINGS = (
    ".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
# Names of splits, in any case. The first kind of test split that is there is taken.
TRAIN, TESTS = ("train", "training"), (("test", "testing"), ("val", "valid", "validation"), ("eval", "evaluation"))


@dataclass(frozen=True)
class Split:
    """Images, as paths of files or as pixels, uint8 (N, H, W, 3), and their labels, int64 (N,).

    Where images share pixels, groups, int64 (N,), says which ones do: a group is held out whole.
    """

    images: Sequence[str] | np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None


class Listing(NamedTuple):
    """The names of the classes, the splits "train" and perhaps "test", and what a user should know of them."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()


def tree(folder: Path, tests: Sequence[Sequence[str]] = TESTS) -> Listing:
    """Class names and splits of an ImageFolder tree. A class is a subfolder; its images may lie in folders below it.

    Files count as images by their extension here, as in torchvision; packing judges them by their content. How many others
    there are is noted.

    Args:
        tests: names of the test split, by kind.

    Raises:
        InputError: a class or a split without images, a folder that cannot be read, one that is two things at once, or a link
            in the place of a class or a split that leads nowhere.
    """
    train, test, notes = _split_folders(folder, tests)
    for part in (train, test) if test else (train,):
        _refuse_dead_links(part)
    names = _subfolders(train)
    if not names and (train / "index.json").is_file():
        raise InputError(f"{shown(train)} is a packed set, not a tree of images: name it as the data by its path alone")
    if not names:
        raise InputError(f"no images in {shown(train)}: it needs one subfolder a class with image files in it")
    if test and (unknown := sorted(set(_subfolders(test)) - set(names))):
        both = "Both need the same class names"
        raise InputError(f"{shown(test)} has a class that {shown(train)} has not: {shown(unknown[0])}. {both}")
    parts = {"train": train} | ({"test": test} if test else {})
    folders = {split: [part / name for name in names if (part / name).is_dir()] for split, part in parts.items()}
    seen = _claimed([where for some in folders.values() for where in some])
    others = [entry.path for part in parts.values() for entry in _entries(part) if not _is_folder(entry)]
    splits = {split: _split(part, names, folders[split], seen, others) for split, part in parts.items()}
    if absent := set(range(len(names))) - set(splits["train"].labels.tolist()):
        raise InputError(f"no images in {shown(train / names[min(absent)])}: fill that class or remove its folder")
    if test:
        if not len(splits["test"].labels):
            how = f"sort them into one subfolder a class, as in {shown(train)}, or remove it"
            raise InputError(f"no images in {shown(test)}: {how}")
        if untested := sorted(set(range(len(names))) - set(splits["test"].labels.tolist())):
            some = ", ".join(shown(names[i]) for i in untested[:3]) + (", ..." if len(untested) > 3 else "")
            notes.append(f"no test images of {len(untested)} classes: {some}")
    elif train == folder:
        notes += _doubts(folder, names)
    notes += _unread(others)
    if len(names) == 1:
        notes.append("there is one class only, so nothing to tell apart")
    return Listing(tuple(map(shown, names)), splits, tuple(notes))


def _split_folders(folder: Path, tests: Sequence[Sequence[str]]) -> tuple[Path, Path | None, list[str]]:
    """The folders of the training and the test split, and what lies beside them."""
    known = {name for kind in (TRAIN, *TESTS) for name in kind}
    _refuse_dead_links(folder, known)
    names = _subfolders(folder)
    full = [name for name in names if name.lower() in known and _subfolders(folder / name)]
    trains = [name for name in names if name.lower() in TRAIN]
    # A folder of trains may be a class, among buses and cars, and hold no folders.
    if not trains or not (set(trains) & set(full) or all(name.lower() in known for name in names)):
        if full:
            raise InputError(f"{shown(folder)} has {shown(full[0])}/ with folders in it, but no train/ beside it")
        return folder, None, []
    kinds = [some for kind in tests if (some := [name for name in names if name.lower() in kind])]
    chosen = next((some for some in kinds if set(some) & set(full)), kinds[0] if kinds else [])
    for some in (trains, chosen):
        if len(some) > 1:
            raise InputError(f"{shown(folder)} has both {some[0]}/ and {some[1]}/: rename the one that is not to be read")
    unread = [f"{shown(name)}/" for name in names if name not in (*trains, *chosen)]
    notes = [f"not read: {', '.join(unread[:5])} beside {trains[0]}/"] if unread else []
    return folder / trains[0], folder / chosen[0] if chosen else None, notes


def _refuse_dead_links(folder: Path, names: Collection[str] = ()) -> None:
    """Raises InputError for a link without an image's ending that leads nowhere: a class or a split would be missing.

    Args:
        names: those that matter, in lower case; empty: all.
    """
    for entry in _entries(folder):
        name = entry.name.lower()
        if _leads_nowhere(entry.path) and not name.endswith(ENDINGS) and (not names or name in names):
            raise InputError(f"{shown(entry.path)} is a link that leads nowhere: mend it, or remove it")


def _unread(paths: Sequence[str]) -> list[str]:
    """What lies in the folders of the classes or beside these and is no image by its name, in a line or two."""
    notes, dead = [], set(filter(_leads_nowhere, paths))
    for some, what in (([p for p in paths if p not in dead], "file"), (sorted(dead), "link that leads nowhere")):
        if some:
            first = shown("/".join(Path(some[0]).parts[-2:]))
            kind = what if len(some) == 1 else what.replace("file", "files").replace("link that leads", "links that lead")
            notes.append(f"not read: {len(some)} {kind}, such as {first}")
    return notes


def _doubts(folder: Path, names: Sequence[str]) -> list[str]:
    """What is read as classes, and looks as if it were splits."""
    notes = [f"{shown(name)}/ is read as a class" for name in names if name.lower() in sum(TESTS, TRAIN)]
    inside = [set(_subfolders(folder / name)) for name in names] if len(names) <= 5 else []  # nobody has more splits
    for (one, ours), (other, theirs) in itertools.combinations(zip(names, inside, strict=False), 2):
        if both := sorted(ours & theirs):
            hint = "If these are splits, call them train/ and test/"
            notes.append(
                f"{shown(one)}/ and {shown(other)}/ are read as classes, and both have a folder {shown(both[0])}. {hint}"
            )
    return notes


def _claimed(classes: list[Path]) -> set[tuple[int, int]]:
    """Which folders are spoken for: those of the classes, and all above them, so that no link leads back up."""
    seen = {_identity(above) for where in classes for above in where.absolute().parents}
    for where in classes:
        if (own := _identity(where)) in seen:
            raise InputError(f"{shown(where)} is a link to a folder that is read already: remove it")
        seen.add(own)
    return seen


def _split(part: Path, names: Sequence[str], folders: Sequence[Path], seen: set, others: list[str]) -> Split:
    by_class = [image_files(part / name, seen, others) if part / name in folders else [] for name in names]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(files) for files in by_class])
    return Split([path for files in by_class for path in files], labels)


def image_files(folder: Path, seen: set[tuple[int, int]], others: list[str]) -> list[str]:
    """Paths of the images below a folder, sorted. Folders in `seen` are left out; those that are met are added to it, and
    files that are no images by their names to `others`."""
    images: list[str] = []
    waiting = [str(folder)]
    while waiting:
        for entry in _entries(waiting.pop()):
            if _is_folder(entry):
                if (own := _identity(entry.path)) not in seen:
                    seen.add(own)
                    waiting.append(entry.path)
            else:
                (images if entry.name.lower().endswith(ENDINGS) else others).append(entry.path)
    return sorted(images)


def own_side(folder: Path) -> int | None:
    """The side that a few images of up to twenty classes share, where they are square and at most 64 pixels."""
    train, sizes = _split_folders(folder, TESTS)[0], set()
    for name in _subfolders(train)[:20]:
        files = image_files(train / name, {_identity(train)}, [])
        for path in filter(os.path.isfile, files[:: max(1, len(files) // 5)]):  # a pipe would never end
            with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                sizes.add(image.size)  # packing reports what is broken
    (width, height), *others = sizes or [(0, 1)]
    return width if not others and width == height <= 64 else None


def state(listing: Listing, folder: str) -> str:
    """SHA-256 of the names, sizes and times of the images of a tree: another one where some were added or replaced."""
    digest = hashlib.sha256()
    for split, part in listing.splits.items():
        for path in part.images:
            with suppress(OSError):  # packing reports it
                facts = os.stat(path)
                digest.update(os.fsencode(f"{split}{path.removeprefix(folder)}\0{facts.st_size} {facts.st_mtime_ns}\n"))
    return digest.hexdigest()


def names_below(folder: Path) -> str:
    """SHA-256 of the names of the images in the classes of train/ and val/: another one where some were added or removed."""
    digest, parts = hashlib.sha256(), _split_folders(folder, TESTS[1:])[:2] if folder.is_dir() else ()
    for part in filter(None, parts):
        for name in _subfolders(part):
            images = [entry.name for entry in _entries(part / name) if entry.name.lower().endswith(ENDINGS)]
            digest.update(os.fsencode("\0".join((part.name, name, *images, ""))))
    return digest.hexdigest()


def shown(path: Path | str) -> str:
    """A name as it can be printed: of bytes that are no text, and of what would end a line, the code in hexadecimal."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _entries(folder: Path | str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            kept = (e for e in entries if not e.name.startswith(".") and e.name.lower() not in LITTER)
            return sorted(kept, key=lambda e: e.name)
    except OSError as error:
        reason = f"{error.strerror}. Let it be read, or move it out of the tree"
        raise InputError(f"cannot read the folder {shown(folder)}: {reason}") from error


def _subfolders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _leads_nowhere(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _identity(folder: Path | str) -> tuple[int, int]:
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino
