"""The packed data set: built once from a source, opened at once from then on.

packing.py writes it, data/README.md describes it. Its shards are mapped into memory: opening reads none of them, and
processes share the pages.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock  # comes with torch

from ..system.progress import bar
from ..system.strict import InputError
from . import sources
from .packing import FORMAT, HEADER_BYTES, PARTS, SCALING, pack


def open_dataset(
    data: str | Path, split: str = "train", *, size: int | None = None, root: Path | str | None = None,
    holdout: float = 0.0, progress: bool = True,
) -> "PackedDataset":  # fmt: skip
    """A split of a data set, fetched and packed first where that was not done yet.

    Args:
        data: the folder of a packed set, or what sources.find takes.
        split: "train" or "test" ("val" is another name for it).
        size: side of the packed images in pixels, 256 by default; images that are all small squares keep their own.
        root: where packed sets lie (below packed/); see sources.data_root.
        holdout: see sources.hold_out.

    Raises:
        InputError: no such data set or split, or it cannot be fetched, packed or opened.
    """
    data = str(data)
    folder = Path(data.removeprefix("folder:")).expanduser()
    if data in sources.NAMES or not ((folder / "index.json").is_file() or (folder / PARTS).is_dir()):
        source, root = sources.find(data, root), sources.data_root(root)
        side = source.side or size or 256
        how = side if source.side else (side, SCALING)  # images that keep their size are not scaled
        identity = hashlib.sha256(repr((FORMAT, source.origin, how, holdout)).encode()).hexdigest()[:8]
        folder = root / "packed" / f"{source.name}-{side}-{identity}"
        if not (folder / "index.json").is_file():
            with _one_at_a_time(folder):
                if not (folder / "index.json").is_file():
                    pack(data, folder, size=side, root=root, holdout=holdout, progress=progress)
    return PackedDataset.open(folder, split)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Of the processes of a distributed run, one packs and the others wait for it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except OSError as error:
        raise InputError(f"cannot write to {folder.parent}: {error.strerror}. Name another place with ALEXNET_DATA") from error
    try:
        yield
    finally:
        lock.release()


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

    @classmethod
    def open(cls, folder: Path | str, split: str = "train") -> "PackedDataset":
        """Raises InputError where the folder holds no whole packed set, or not that split."""
        folder, split = Path(folder), "test" if split == "val" else split
        try:
            index = json.loads((folder / "index.json").read_text())
            if index["format"] != FORMAT:
                raise InputError(f"{folder} has format {index['format']}, this library reads {FORMAT}. Pack it again")
            if split not in index["splits"]:
                there = ", ".join(index["splits"])
                raise InputError(f"{index['name']} has no {split} split, only {there}. Packing with a holdout makes a test split")
            part, size = index["splits"][split], index["size"]
            for shard in part["shards"]:
                if (folder / shard["file"]).stat().st_size != HEADER_BYTES + shard["count"] * size * size * 3:
                    raise ValueError(f"{shard['file']} is cut short")
            labels, mean_image = np.load(folder / f"labels-{split}.npy"), np.load(folder / "mean_image.npy")
            covariance = np.array(index["colour_covariance"])
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise InputError(
                f"{folder} is no packed set, or one that was not finished: {missing} is missing. Pack it (again)"
            ) from error
        except (KeyError, TypeError, ValueError, EOFError) as error:
            raise InputError(f"{folder} is damaged ({error}). Remove it and pack it again") from error
        except OSError as error:
            raise InputError(f"cannot read {folder}: {error.strerror}") from error
        return cls(
            folder, index["name"], split, tuple(index["classes"]), labels, size, mean_image, covariance,
            part["checksum"], tuple(part["shards"]), np.arange(len(labels)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.order)

    def has_split(self, split: str) -> bool:
        """Whether the packed set that this is a split of has that one too."""
        return (self.folder / f"labels-{split}.npy").is_file()

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (B, size, size, 3): the images at these places, in this order, as a copy."""
        wanted = self.order[np.asarray(indices, dtype=np.int64)]
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        out = np.empty((len(wanted), self.size, self.size, 3), dtype=np.uint8)
        # One copy an image: as fast as indexing by shard for 32 pixels, and 1.5 times as fast for 256.
        for place, (shard, row) in enumerate(zip(shard_of.tolist(), (wanted - self._starts[shard_of]).tolist(), strict=True)):
            out[place] = self._maps[shard][row]
        return out

    def subset(self, indices: Sequence[int] | np.ndarray) -> "PackedDataset":
        """These images alone, with the mean image and colours of the whole; its checksum names them too."""
        indices = np.asarray(indices, dtype=np.int64)
        checksum = hashlib.sha256(self.checksum.encode() + self.order[indices].tobytes()).hexdigest()
        return replace(self, labels=self.labels[indices], order=self.order[indices], checksum=checksum)

    @property
    def colour_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Principal axes of RGB: eigenvalues (3,), largest first, and eigenvectors (3, 3) in columns."""
        values, vectors = np.linalg.eigh(self.colour_covariance)
        values, vectors = values[::-1].copy(), vectors[:, ::-1]
        return values, vectors * np.where(vectors.sum(0) < 0, -1, 1)  # towards light: no sign is left to chance

    def verify(self, progress: bool = True) -> None:
        """Reads every byte. Raises InputError at the first file that is not what was packed."""
        others = json.loads((self.folder / "index.json").read_text())["files"]
        files = {shard["file"]: shard["sha256"] for shard in self.shards} | others
        for name in bar(files, desc=f"verifying {self.name} {self.split}", unit="file", disable=not progress):
            try:
                with open(self.folder / name, "rb") as file:
                    intact = hashlib.file_digest(file, "sha256").hexdigest() == files[name]
            except OSError:
                intact = False
            if not intact:
                raise InputError(f"{self.folder / name} is damaged. Remove {self.folder} and pack it again")

    def __getstate__(self) -> dict:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # the maps would be copied whole

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(shard["count"] for shard in self.shards)])[:-1]

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        return [np.asarray(np.load(self.folder / shard["file"], mmap_mode="r")) for shard in self.shards]
