"""Writing a packed set: shard by shard, in parallel, resumed where it was stopped; the index comes last."""

import hashlib
import io
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..system.progress import bar
from ..system.strict import InputError
from ..system.workers import each
from . import sources

FORMAT = 1  # of the folder
SCALING = 2  # how images get their size; to be raised where the same source would give other pixels
SHARD_BYTES = 2**28  # at most; 1,360 images of 256x256
BROKEN_SHARE = 0.01
HEADER_BYTES = 128  # of a shard: numpy rounds up to it, with room for any count
PARTS = ".parts"  # folder of what is known of each finished shard, until the index sums it up


@dataclass(frozen=True)
class _Shard:
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
            digest.update(_shown(image).encode() if isinstance(image, str) else image.tobytes())
        return digest.hexdigest()

    def is_done(self) -> bool:
        """Not where images were broken: they may be mended by now. Raises InputError for a shard of something else."""
        if not self.facts.is_file():
            return False
        with np.load(self.facts) as facts:
            if facts["key"] != self.key():
                raise InputError(
                    f"{self.dest} holds shards of other images, another size or holdout. Remove it or name another folder"
                )
            return self.pixels.is_file() and not len(facts["broken"])


def pack(
    data: str, dest: Path | str, *, size: int | None = 256, root: Path | str | None = None, holdout: float = 0.0,
    shard: tuple[int, int] = (0, 1), workers: int | None = None, allow_broken: bool = False, progress: bool = True,
) -> str:  # fmt: skip
    """Packs a source into dest. Shards are written whole or not at all; started again, it does those that are not there.

    Args:
        data, root: see sources.find.
        size: side in pixels; images that are all small squares keep their own.
        holdout: see sources.hold_out.
        shard: (i, n): do every n-th shard from the i-th, i from 0, in a folder that all machines see. Whoever finds
            all shards there writes the index: the last of n to finish, or any later call.
        workers: processes that decode; None: one for each core.
        allow_broken: finish even if more than 1 % of the images are broken.

    Returns:
        What was done, in one line.

    Raises:
        InputError: too many broken images (dest/broken.txt lists them), a disk that is full, or as sources.find.
    """
    source, dest = sources.find(data, root), Path(dest)
    classes, splits = source.read()
    splits = sources.hold_out(splits, holdout)
    try:
        (dest / PARTS).mkdir(parents=True, exist_ok=True)
        plan = list(_plan(dest, splits, source.side or size or 256, whole=source.side is None))
        todo = [part for part in plan[shard[0] :: shard[1]] if not part.is_done()]
        if any(not isinstance(part.images, np.ndarray) for part in todo):
            from . import images  # noqa: F401  with torchvision it takes a second: here, once, and not in each process
        with bar(
            total=sum(len(p.labels) for p in todo), desc=f"packing {source.name}", unit="img", disable=not progress
        ) as shown:
            for count in each(_write_shard, todo, workers):
                shown.update(count)
        if absent := sum(not part.facts.is_file() for part in plan):
            return f"{len(plan) - absent} of {len(plan)} shards are in {dest}; the index comes with the last"
        return _write_index(source.name, classes, plan, allow_broken)
    except OSError as error:
        raise InputError(f"cannot pack into {dest}: {error.strerror or error}. Started again, it goes on where it was") from error


def _plan(dest: Path, splits: dict[str, sources.Split], size: int, whole: bool) -> Iterator[_Shard]:
    """Depends on the number of images and on their size alone, so that machines agree, and checksums too."""
    step = images_a_shard(size) if whole else SHARD_BYTES // (3 * size * size) // 4
    for split, part in splits.items():
        for number, start in enumerate(range(0, len(part.labels), max(1, step))):
            chosen = slice(start, start + max(1, step))
            yield _Shard(dest, split, number, part.images[chosen], part.labels[chosen], size)


def images_a_shard(size: int) -> int:
    """How many whole images of size x size pixels one shard holds at most."""
    return SHARD_BYTES // (3 * size * size * 16) * 16


def _write_shard(shard: _Shard) -> int:
    """Writes the pixels and then, as the sign that they are whole, the facts. Returns the number of images seen."""
    kept, broken = [], []
    image_sum, products = np.zeros((shard.size, shard.size, 3), np.uint64), np.zeros((3, 3))
    header = _header(len(shard.labels), shard.size)
    digest = hashlib.sha256(header)  # of the file as it is written: reading it again would take as long
    with _whole(shard.pixels) as file:
        file.write(header)
        for place, image in enumerate(shard.images):
            pixels = _pixels_or_reason(image, shard.size)
            if isinstance(pixels, str):
                broken.append((_shown(image), pixels))
                continue
            kept.append(place)
            pixels = np.ascontiguousarray(pixels)
            file.write(pixels)
            digest.update(pixels)
            if shard.split == "train":
                image_sum += pixels
                products += _products(pixels)
        if broken:  # fewer images than the header promised
            file.seek(0)
            file.write(_header(len(kept), shard.size))
    checksum = _sha256(shard.pixels) if broken else digest.hexdigest()
    with _whole(shard.facts) as file:
        facts = {"key": shard.key(), "sha256": checksum, "labels": shard.labels[kept], "broken": np.array(broken, dtype=str)}
        np.savez(file, **facts, image_sum=image_sum, products=products.astype(np.int64))
    return len(shard.labels)


def _pixels_or_reason(image: str | np.ndarray, size: int) -> np.ndarray | str:
    if isinstance(image, np.ndarray):
        return image
    from .images import prepared_or_reason  # only packing from files needs it

    return prepared_or_reason(image, size)


def _products(pixels: np.ndarray) -> np.ndarray:
    """float64 (3, 3): the sums of R*R, R*G and so on over an image, exact.

    Of 258 products of two bytes the sum is below 2^24, where float32 still holds every whole number. Blocks of so many
    pixels at most are summed in float32, in a third of the time that float64 takes, and the blocks in float64.
    """
    block = next(n for n in range(258, 0, -1) if pixels.size // 3 % n == 0)
    planes = np.ascontiguousarray(pixels.reshape(-1, 3).T).astype(np.float32).reshape(3, -1, block)
    return np.vecdot(planes[:, None], planes).sum(-1, dtype=np.float64)


def _header(count: int, size: int) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _write_index(name: str, classes: tuple[str, ...], plan: list[_Shard], allow_broken: bool) -> str:
    """The last step: what the shards add up to, in whole numbers up to the last division."""
    dest, size = plan[0].dest, plan[0].size
    labels, shards, broken, image_sum, products = {}, {}, [], 0, 0
    for part in plan:
        with np.load(part.facts) as facts:
            found = facts["labels"]
            entry = {"file": part.pixels.name, "count": len(found), "sha256": str(facts["sha256"])}
            labels.setdefault(part.split, []).append(found)
            shards.setdefault(part.split, []).extend([entry] if len(found) else [])
            broken += [f"{path}\t{reason}\n" for path, reason in facts["broken"].tolist()]
            image_sum, products = image_sum + facts["image_sum"], products + facts["products"]
    _write(dest / "broken.txt", "".join(broken).encode())
    planned, images = sum(len(part.labels) for part in plan), sum(map(len, labels["train"]))
    if not images or (len(broken) > BROKEN_SHARE * planned and not allow_broken):
        hint = f"{dest / 'broken.txt'} lists them. Mend them and start again, or pack with --allow-broken"
        raise InputError(f"{len(broken)} of {planned} images are broken, more than 1 %: {hint}")
    arrays = {f"labels-{split}.npy": np.concatenate(some) for split, some in labels.items()}
    splits = {}
    for split, some in shards.items():
        text = json.dumps([classes, some]).encode() + arrays[f"labels-{split}.npy"].tobytes()
        splits[split] = {
            "count": sum(s["count"] for s in some),
            "checksum": hashlib.sha256(text).hexdigest(),
            "shards": some,
        }
    arrays["mean_image.npy"] = (image_sum / images).astype(np.float32)
    for file_name, array in arrays.items():
        with _whole(dest / file_name) as file:
            np.save(file, array)
    index = {"format": FORMAT, "name": name, "size": size, "classes": classes, "splits": splits, "broken": len(broken)}
    index["colour_covariance"] = _covariance(image_sum.sum((0, 1)).tolist(), products.tolist(), images * size * size)
    index["files"] = {file_name: _sha256(dest / file_name) for file_name in arrays}
    _write(dest / "index.json", json.dumps(index, indent=1).encode())
    for leftover in dest.rglob("*.partial"):  # of runs that were killed
        leftover.unlink(missing_ok=True)
    return f"{planned - len(broken)} images of {size}x{size} are in {dest}; {len(broken)} broken ones were left out"


def _covariance(sums: list[int], products: list[list[int]], pixels: int) -> list[list[float]]:
    """Of RGB in 0 to 1, from sums over pixels in 0 to 255."""
    return [[(pixels * products[i][j] - sums[i] * sums[j]) / (255 * pixels) ** 2 for j in range(3)] for i in range(3)]


def _shown(path: str) -> str:
    """An image as reports name it: class/file."""
    return "/".join(Path(path).parts[-2:])


@contextmanager
def _whole(path: Path):
    """A file to write that appears under its name once it is whole, and not at all where writing fails."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    with _whole(path) as file:
        file.write(content)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
