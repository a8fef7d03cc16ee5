"""The packed data set: built once from a source, opened at once from then on.

A folder with index.json, mean_image.npy, labels-SPLIT.npy and shards SPLIT-00000.npy, each uint8 (n, size, size, 3).
Shards are mapped into memory: opening reads none of them, and processes share their pages.
"""

import hashlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from . import sources
from .config import InputError
from .prepare import prepare_many
from .progress import bar

FORMAT = 1
SHARD_BYTES = 2**28  # at most; 1,365 images of 256x256
BROKEN_SHARE = 0.01


def open_dataset(
    data: str, split: str = "train", *, size: int | None = None, root: Path | str | None = None, holdout: float = 0.0
) -> "PackedDataset":
    """A split of a data set, fetched and packed first where that was not done yet.

    Args:
        data: the folder of a packed set, or what sources.find takes.
        split: "train" or "test" (which a tree may call val).
        size: side of the packed images in pixels; None: their own where they are small and square, else 256.
        root: where packed sets lie (below packed/); see sources.data_root.
        holdout: see sources.find.

    Raises:
        InputError: no such data set or split, or it cannot be fetched, packed or opened.
    """
    folder = Path(data.removeprefix("folder:")).expanduser()
    if not (folder / "index.json").is_file():
        root = sources.data_root(root)
        name, origin = sources.identify(data, root)
        identity = hashlib.sha256(f"{FORMAT} {origin or data} {size} {holdout}".encode()).hexdigest()[:8]
        folder = root / "packed" / f"{name}-{identity}"
        if not (folder / "index.json").is_file():
            pack(data, folder, size=size, root=root, holdout=holdout)
    return PackedDataset.open(folder, split)


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
        checksum: of names, labels and pixels.
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
    def open(cls, folder: Path, split: str = "train") -> "PackedDataset":
        """Raises InputError where the folder holds no whole packed set, or not that split."""
        folder = Path(folder)
        try:
            index = json.loads((folder / "index.json").read_text())
            if index["format"] != FORMAT:
                raise InputError(f"{folder} was packed in format {index['format']}, this library reads {FORMAT}. Pack it again")
            if split not in index["splits"]:
                raise InputError(f"{index['name']} has no {split} split, only {', '.join(index['splits'])}. A tree without one can be packed with --holdout")
            part = index["splits"][split]
            labels = np.load(folder / f"labels-{split}.npy")
            for shard in part["shards"]:
                if not (folder / shard["file"]).is_file():
                    raise InputError(f"{folder} is not whole: {shard['file']} is missing. Pack it again")
            mean_image = np.load(folder / "mean_image.npy")
        except FileNotFoundError as error:
            raise InputError(f"{folder} is no packed set, or not a whole one: {Path(error.filename).name} is missing. Pack it again") from error
        except (KeyError, ValueError, EOFError) as error:
            raise InputError(f"{folder} is damaged ({error}). Remove it and pack it again") from error
        covariance = np.array(index["colour_covariance"])
        return cls(
            folder, index["name"], split, tuple(index["classes"]), labels, index["size"], mean_image, covariance,
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
        for shard in np.unique(shard_of):
            rows = np.flatnonzero(shard_of == shard)
            out[rows] = self._maps[shard][wanted[rows] - self._starts[shard]]
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
        vectors = vectors[:, ::-1]
        return values[::-1].copy(), vectors * np.sign(vectors.sum(0))  # towards light, so that the sign is not left to chance

    def verify(self) -> None:
        """Reads every shard. Raises InputError at the first whose bytes are not those that were packed."""
        for shard in bar(self.shards, desc=f"verifying {self.name} {self.split}", unit="shard"):
            if _sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise InputError(f"{self.folder / shard['file']} is damaged. Remove {self.folder} and pack it again")

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(s["count"] for s in self.shards)])[:-1]

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        return [np.load(self.folder / s["file"], mmap_mode="r") for s in self.shards]


def pack(
    data: str,
    dest: Path,
    *,
    size: int | None = 256,
    root: Path | str | None = None,
    holdout: float = 0.0,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = None,
    allow_broken: bool = False,
) -> None:
    """Packs a source into dest. Shards are written whole or not at all, so that a run that was killed goes on there.

    Args:
        data, root, holdout: see sources.find.
        size: side in pixels; small square images keep their own.
        shard: (i, n): do every n-th shard from the i-th, i from 0. Whoever finds all shards done writes the index:
            the last of n machines to finish, or any later call.
        workers: processes that decode; None: one a core.
        allow_broken: finish even if more than 1 % of the images are broken.

    Raises:
        InputError: too many broken images (dest/broken.txt lists them), a disk that is full, or as sources.find.
    """
    source, dest = sources.find(data, root, holdout), Path(dest)
    size = source.size or size or 256
    try:
        dest.mkdir(parents=True, exist_ok=True)
        plan = list(_plan(source, size))
        mine = [job for number, job in enumerate(plan) if number % shard[1] == shard[0]]
        _write_shards(source, dest, size, mine, workers or os.cpu_count() or 1)
        if all((dest / f"{split}-{number:05d}.json").is_file() for split, number, _, _ in plan):
            _write_index(source, dest, size, plan, allow_broken)
    except OSError as error:
        raise InputError(f"cannot pack into {dest}: {error.strerror or error}. Started again, it goes on where it was") from error


def _plan(source: sources.Source, size: int) -> Iterator[tuple[str, int, int, int]]:
    """(split, number, start, stop) of every shard."""
    step = max(1, SHARD_BYTES // (3 * size * size * 16) * 16) if source.size is None else max(1, SHARD_BYTES // (3 * size * size) // 4)
    for split, part in source.splits.items():
        for number, start in enumerate(range(0, len(part.labels), step)):
            yield split, number, start, min(start + step, len(part.labels))


def _write_shards(source: sources.Source, dest: Path, size: int, jobs: list[tuple[str, int, int, int]], workers: int) -> None:
    total = sum(stop - start for _, _, start, stop in jobs)
    pool = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    with bar(total=total, desc=f"packing {source.name}", unit="img") as shown, pool:
        for split, number, start, stop in jobs:
            stem = dest / f"{split}-{number:05d}"
            if stem.with_suffix(".json").is_file():
                shown.update(stop - start)
                continue
            part = source.splits[split]
            images, kept, broken = np.empty((stop - start, size, size, 3), dtype=np.uint8), [], []
            for place, found in enumerate(_prepared(part.items[start:stop], size, pool), start):
                if isinstance(found, str):
                    broken.append((_shown(part.items[place]), found))
                else:
                    images[len(kept)] = found
                    kept.append(place)
                shown.update()
            images = images[: len(kept)]
            _save(stem.with_suffix(".npy"), images)
            facts = {"count": len(kept), "sha256": _sha256(stem.with_suffix(".npy")), "labels": part.labels[kept].tolist(), "broken": broken}
            facts |= {"names": hashlib.sha256(repr([_shown(part.items[i]) for i in kept]).encode()).hexdigest()} if source.size is None else {}
            if split == "train":
                facts |= _colour_sums(images)
                _save(stem.with_suffix(".sum.npy"), images.sum(0, dtype=np.uint64))
            _write_text(stem.with_suffix(".json"), json.dumps(facts))


def _colour_sums(images: np.ndarray) -> dict:
    """Sums over all pixels of R, G, B and of their products; whole numbers, so exact in float64 below 2^53."""
    total, products = np.zeros(3), np.zeros((3, 3))
    for some in np.array_split(images, len(images) // 64 + 1):
        pixels = some.reshape(-1, 3).astype(np.float64)
        total, products = total + pixels.sum(0), products + pixels.T @ pixels
    return {"colour_sum": total.tolist(), "colour_products": products.tolist()}


def _prepared(items: Sequence[Path] | np.ndarray, size: int, pool: ProcessPoolExecutor) -> Iterator[np.ndarray | str]:
    if isinstance(items, np.ndarray):
        yield from items
        return
    try:
        for some in pool.map(prepare_many, [(items[i : i + 16], size) for i in range(0, len(items), 16)]):
            yield from some
    except BaseException:  # Ctrl-C and a full disk must not wait for what is still queued
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _write_index(source: sources.Source, dest: Path, size: int, plan: list[tuple[str, int, int, int]], allow_broken: bool) -> None:
    """The last step: what the shards add up to."""
    facts = {f"{split}-{number:05d}": json.loads((dest / f"{split}-{number:05d}.json").read_text()) for split, number, _, _ in plan}
    broken = [entry for f in facts.values() for entry in f["broken"]]
    _write_text(dest / "broken.txt", "".join(f"{name}\t{reason}\n" for name, reason in broken))
    planned = sum(stop - start for _, _, start, stop in plan)
    if len(broken) > BROKEN_SHARE * planned and not allow_broken:
        raise InputError(f"{len(broken)} of {planned} images are broken, more than 1 %: see {dest / 'broken.txt'}. Mend them and remove {dest}, or use --allow-broken")
    splits = {}
    for split in source.splits:
        of_split = {stem: f for stem, f in facts.items() if stem.startswith(f"{split}-")}
        labels = np.array([label for f in of_split.values() for label in f["labels"]], dtype=np.int64)
        _save(dest / f"labels-{split}.npy", labels)
        shards = [{"file": f"{stem}.npy", "count": f["count"], "sha256": f["sha256"]} for stem, f in of_split.items() if f["count"]]
        text = json.dumps([source.classes, shards]).encode() + labels.tobytes()
        splits[split] = {"count": len(labels), "checksum": hashlib.sha256(text).hexdigest(), "shards": shards}
    train = {stem: f for stem, f in facts.items() if stem.startswith("train-")}
    images = max(1, splits["train"]["count"])
    mean = sum(np.load(dest / f"{stem}.sum.npy").astype(np.float64) for stem in train) / images
    _save(dest / "mean_image.npy", mean.astype(np.float32))
    colour = sum(np.array(f["colour_sum"]) for f in train.values()) / (images * size * size * 255)
    products = sum(np.array(f["colour_products"]) for f in train.values()) / (images * size * size * 255**2)
    index = {"format": FORMAT, "name": source.name, "size": size, "classes": source.classes, "splits": splits}
    index |= {"colour_covariance": (products - np.outer(colour, colour)).tolist(), "broken": len(broken)}
    _write_text(dest / "index.json", json.dumps(index, indent=1))


def _shown(item) -> str:
    return str(item) if isinstance(item, Path) else "an image in memory"


def _save(path: Path, array: np.ndarray) -> None:
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with open(partial, "wb") as file:
        np.save(file, array)
    partial.replace(path)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_suffix(f".partial-{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
