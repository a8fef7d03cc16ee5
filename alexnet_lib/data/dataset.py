"""The packed data set: built once from a source, opened at once from then on.

packing.py writes it, data/README.md describes it. Its shards are mapped into memory: opening reads none of them, and
processes share the pages.
"""

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..system.files import advice, open_more, read_file
from ..system.progress import bar
from ..system.strict import InputError, path_of
from . import sources
from .folders import shown
from .packing import FORMAT, index_checksum, pack
from .shards import PARTS, SCALING, is_whole


class NotWhole(InputError):
    """A packed set that is damaged, or was not finished: packing into its folder again mends it."""


def open_dataset(
    data: str | Path, split: str = "train", *, size: int | None = None, root: Path | str | None = None,
    holdout: float = 0.0, progress: bool = True, fetch: bool = True,
) -> "PackedDataset":  # fmt: skip
    """A split of a data set, fetched and packed first where that was not done yet.

    Args:
        data: the folder of a packed set, or what sources.find takes.
        split: "train" or "test" ("val" is another name for it).
        size: side of the packed images in pixels, 256 by default; images that are all small squares keep their own.
        root: where packed sets lie (below packed/); see sources.data_root.
        holdout: see sources.hold_out.
        fetch: False raises NotWhole instead of fetching and packing.

    Raises:
        InputError: no such data set or split, it cannot be fetched, packed or opened, or its folder has changed since.
    """
    data = str(data)
    folder = path_of(data.removeprefix("folder:"))
    if data not in sources.NAMES and _is_packed(folder):
        return PackedDataset.open(folder, split)
    source, root = sources.find(data, root), sources.data_root(root)
    side = source.side or (256 if size is None else size)
    how = side if source.side else (side, SCALING)  # images that keep their size are not scaled
    identity = hashlib.sha256(repr((source.edition, source.origin, how, holdout)).encode())
    folder = root / "packed" / f"{source.name}-{side}-{identity.hexdigest()[:8]}"
    try:
        found = PackedDataset.open(folder, split)
    except NotWhole:
        if not fetch:
            raise
        with sources.only_one(folder.with_name(f"{folder.name}.lock"), folder.parent):
            return _opened_or_packed(folder, split, data, size=side, root=root, holdout=holdout, progress=progress)
    there = found.listing and Path(source.compared).is_dir()  # what a pack was made of may be gone
    if there and found.listing != source.state():
        raise InputError(
            f"images in {shown(source.compared)} were added, removed or replaced since they were packed. "
            f"Remove {folder} to have them packed anew, or name it as the data to go on with the old ones"
        )
    return found


def _is_packed(folder: Path) -> bool:
    """Whether a folder is a packed set, damaged or not finished perhaps; a tree of images may have an index.json of its own."""
    if (folder / PARTS).is_dir():
        return True
    try:
        index = read_file(folder / "index.json")
    except (OSError, ValueError):
        return False
    return b'"format"' in index and b'"splits"' in index


def _opened_or_packed(folder: Path, split: str, data: str, **how) -> "PackedDataset":
    """For a process that has the folder to itself, perhaps after another that packed it."""
    try:
        return PackedDataset.open(folder, split)
    except NotWhole:
        said = pack(data, folder, **how)
    found = PackedDataset.open(folder, split)
    if how["progress"] and not said.endswith("; 0 broken ones were left out"):
        print(said, file=sys.stderr)
    return found


def _as_stored(split: str) -> str:
    """The name that a split has in an index: "val" is another word for "test"."""
    return "test" if split == "val" else split


@dataclass(frozen=True, eq=False)
class PackedDataset:
    """A split of a packed set, or a part of one.

    Attributes:
        name, split: as records name them.
        classes: their names.
        labels: int64 (N,).
        size: side of the images in pixels.
        mean_image: float32 (size, size, 3), 0 to 255, of the training split whichever split this is.
        colour_covariance: float64 (3, 3) of RGB over all pixels of the training split, for pixels in 0 to 1.
        checksum: of class names, labels and pixels.
        shards: file, count and sha256 of each.
        order: places of this part's images in the split.
        groups: int64 (N,) where images share pixels: those that do have the same number, and are held out together.
        listing: of the files that were packed, see folders.state; None where they do not change.
    """

    folder: Path
    name: str
    split: str
    classes: tuple[str, ...]
    labels: np.ndarray
    size: int
    mean_image: np.ndarray
    colour_covariance: np.ndarray
    checksum: str
    shards: tuple[dict, ...]
    order: np.ndarray
    groups: np.ndarray | None = None
    listing: str | None = None

    @classmethod
    def open(cls, folder: Path | str, split: str = "train") -> "PackedDataset":
        """Reads no pixels, and checks all else.

        Raises InputError where there is no such split, or NotWhole where there is no packed set or it is damaged.
        """
        folder, split = Path(folder).absolute(), _as_stored(split)  # its maps are made later
        try:
            index = json.loads(read_file(folder / "index.json"))
            if index["format"] != 1 and index.pop("sha256") != index_checksum(index):
                raise ValueError("index.json has another checksum")
            if index["format"] in (1, FORMAT) and split in index["splits"]:
                return cls._from_index(folder, index, split)
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = Path(error.filename).name
            raise NotWhole(
                f"{shown(folder)} is no packed set, or one that was not finished: {missing} is missing. Pack it (again)"
            ) from error
        except (KeyError, TypeError, ValueError, EOFError, AttributeError, RecursionError) as error:
            hint = "Pack into it again: what is whole is kept"
            raise NotWhole(f"{shown(folder)} is damaged ({error}). {hint}") from error
        except OSError as error:
            raise InputError(f"cannot read {shown(folder)}: {advice(error)}") from error
        if index["format"] not in (1, FORMAT):
            newer = "Use the version of the library that packed it, or pack into another folder"
            raise InputError(f"{shown(folder)} has format {index['format']}, this library reads {FORMAT}. {newer}")
        there = ", ".join(map(str, index["splits"]))
        raise InputError(
            f"{shown(index.get('name', folder))} has no {split} split, only {there}. Packing with a holdout makes a test split"
        )

    @classmethod
    def _from_index(cls, folder: Path, index: dict, split: str) -> "PackedDataset":
        def array(name: str) -> np.ndarray:
            content = read_file(folder / name)
            if hashlib.sha256(content).hexdigest() != index["files"][name]:
                raise ValueError(f"{name} has another checksum")
            return np.load(io.BytesIO(content))

        part, size = index["splits"][split], index["size"]
        for shard in part["shards"]:
            if not is_whole(folder / shard["file"], shard["count"], size):
                (folder / shard["file"]).stat()  # or it is missing
                raise ValueError(f"{shard['file']} is cut short or has another header")
        labels, mean, colours = array(f"labels-{split}.npy"), array("mean_image.npy"), np.array(index["colour_covariance"], float)
        classes, count = tuple(map(shown, index["classes"])), sum(shard["count"] for shard in part["shards"])
        groups = array(f"groups-{split}.npy") if f"groups-{split}.npy" in index["files"] else labels
        if labels.dtype != np.int64 or not labels.shape == groups.shape == (count,):
            raise ValueError(f"it has {count} images and {labels.size} labels")
        if not np.isin(labels, range(len(classes))).all():
            raise ValueError("a label is none of its classes")
        if mean.shape != (size, size, 3) or colours.shape != (3, 3) or not np.isfinite(mean.sum() + colours.sum()):
            raise ValueError("its mean image or its colours are not those of its images")
        return cls(
            folder, shown(index["name"]), split, classes, labels, size, mean, colours, part["checksum"], tuple(part["shards"]),
            np.arange(count), None if groups is labels else groups, index.get("listing"),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.order)

    def has_split(self, split: str) -> bool:
        """Whether the packed set that this is a split of has that one too."""
        return _as_stored(split) in json.loads((self.folder / "index.json").read_bytes())["splits"]

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (B, size, size, 3): the images at these places, in this order, as a copy."""
        wanted = self.order[_places(indices)]
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        out = np.empty((len(wanted), self.size, self.size, 3), dtype=np.uint8)
        # One copy an image: as fast as indexing by shard for 32 pixels, and 1.5 times as fast for 256.
        for place, (shard, row) in enumerate(zip(shard_of.tolist(), (wanted - self._starts[shard_of]).tolist(), strict=True)):
            out[place] = self._maps[shard][row]
        return out

    def subset(self, indices: Sequence[int] | np.ndarray) -> "PackedDataset":
        """These images alone, with the mean image and colours of the whole; its checksum names them too."""
        indices = _places(indices)
        checksum = hashlib.sha256(self.checksum.encode() + self.order[indices].tobytes()).hexdigest()
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, labels=self.labels[indices], order=self.order[indices], groups=groups, checksum=checksum)

    def less_a_scalar(self) -> "PackedDataset":
        """The same images, from which one number will be subtracted: the mean over all pixels and channels."""
        return replace(self, mean_image=np.full_like(self.mean_image, self.mean_image.mean()))

    def divide(self, holdout: int, limit: int | None = None, seed: int = 0) -> tuple["PackedDataset", "PackedDataset | None"]:
        """(training set, validation set or None): `holdout` images validate, and `limit` of the others train, or all.

        Of a small set no more than a tenth is held out, so that a preset made for ImageNet also serves a taste of it. Both
        parts are drawn with the seed: folders come class by class, and the first images would be of one class. Where images
        share pixels, nothing of a group that validates is trained on.

        Raises InputError where every image of a class would be held out.
        """
        count = min(holdout, len(self) // 10)
        order = np.random.default_rng(seed).permutation(len(self))
        if self.groups is None:
            held, others = order[:count], order[count:]
        else:
            held = order[_whole_groups(order, self.groups, self.labels, count)][:count]
            others = order[~np.isin(self.groups[order], self.groups[held])]
        if lost := self.lost(self.labels[others]):
            hint = "hold out fewer (train.holdout), draw others (train.holdout_seed), or add images of it"
            raise InputError(f"every training image of class {lost[0]} would be held out: {hint}")
        held, kept = np.sort(held), np.sort(others[:limit])
        return self if len(kept) == len(self) else self.subset(kept), self.subset(held) if len(held) else None

    def lost(self, labels: np.ndarray) -> list[str]:
        """The names of the classes that have images here, and none among the labels of a part."""
        return [self.classes[label] for label in np.setdiff1d(self.labels, labels).tolist()]

    @property
    def colour_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Principal axes of RGB: eigenvalues (3,), largest first, and eigenvectors (3, 3) in columns."""
        values, vectors = np.linalg.eigh(self.colour_covariance)
        values, vectors = values[::-1].copy(), vectors[:, ::-1]
        return values, vectors * np.where(vectors.sum(0) < 0, -1, 1)  # towards light: no sign is left to chance

    def verify(self, progress: bool = True) -> None:
        """Reads every byte. Raises InputError at the first file that is not what was packed."""
        others = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))["files"]
        files = {shard["file"]: shard["sha256"] for shard in self.shards} | others
        for name in bar(files, desc=f"verifying {self.name} {self.split}", unit="file", disable=not progress):
            try:
                with open(self.folder / name, "rb") as file:
                    intact = hashlib.file_digest(file, "sha256").hexdigest() == files[name]
            except OSError:
                intact = False
            if not intact:
                again = f"Remove that file and pack into {shown(self.folder)} again: all else is kept"
                raise NotWhole(f"{shown(self.folder / name)} is damaged. {again}")

    def __getstate__(self) -> dict:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # the maps would be copied whole

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(shard["count"] for shard in self.shards)])[:-1]

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        open_more(len(self.shards))  # ImageNet has a thousand, and so many files are often all that a process may open
        maps = [np.asarray(np.load(self.folder / shard["file"], mmap_mode="r")) for shard in self.shards]
        if PackedDataset.open(self.folder, self.split).shards != self.shards:  # the labels would be of other images
            raise InputError(f"{shown(self.folder)} was packed again since it was opened: open it again")
        return maps


def _places(indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """As NumPy indexes with them: numbers, or a mask."""
    return np.asarray(indices, None if len(indices) else np.int64)


def _whole_groups(order: np.ndarray, groups: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Which places, in this order, are of the groups to hold out: of each class as many as have its share of `count`.

    Every class keeps one group for training.
    """
    classes, chosen = np.unique(labels), []
    for label in classes:
        names, sizes = np.unique(groups[labels == label], return_counts=True)
        size = dict(zip(names.tolist(), sizes.tolist(), strict=True))
        met, taken = list(dict.fromkeys(groups[order[labels[order] == label]].tolist())), 0
        while len(met) > 1 and taken < count / len(classes):
            chosen.append(met.pop(0))
            taken += size[chosen[-1]]
    return np.isin(groups[order], chosen)
