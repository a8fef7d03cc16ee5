"""Writing a packed set: shard by shard, in parallel, resumed where it was stopped; the index comes last.

All that is written is whole or not there, and the same whoever writes it. So several processes may pack into one folder:
a lock keeps them from doing a shard twice, and what a process that died has left is done again.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..system.files import advice, read_file, whole
from ..system.progress import bar
from ..system.strict import InputError, path_of, whole_path
from ..system.workers import each
from . import sources
from .folders import Listing, Split, shown
from .shards import PARTS, Shard, in_words, one_at_a_time, sha256_of, tidy, write_shard

FORMAT = 2  # of the index: since 2 with a checksum of its own
SHARD_BYTES = 2**28  # at most; 1,360 images of 256x256
BROKEN_SHARE = 0.01


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
    source, dest = sources.find(data, root), path_of(dest)
    if size is not None and not 1 <= size <= 4096:
        raise InputError(f"size is the side of the packed images, 1 to 4,096 pixels, not {size}")
    if source.origin and whole_path(dest).is_relative_to(source.origin):
        raise InputError(f"{shown(dest)} lies in the folder that is packed, as if it were a class: name a folder outside it")
    facts = {"name": source.name, "listing": source.state()}  # before it is read: a later change is seen
    listing = source.read()
    if not (dest / PARTS).exists() and (dest / "index.json").exists() and _classes(dest) != list(listing.classes):
        raise InputError(f"{shown(dest)} has an index.json that packing would replace: remove it, or name another folder")
    listing = listing._replace(splits=sources.hold_out(listing.splits, holdout))
    try:
        (dest / PARTS).mkdir(parents=True, exist_ok=True)
        plan = list(_plan(dest, listing.splits, source.side or size or 256, large=source.side is None))
        todo = [part for part in plan[shard[0] :: shard[1]] if not part.is_done()]
        if any(not isinstance(part.images, np.ndarray) for part in todo):
            from . import images  # noqa: F401  with torch it takes seconds: here, once, and not in each process
        total = sum(len(part.labels) for part in todo)
        with bar(total=total, desc=f"packing {source.name}", unit="img", disable=not progress) as seen:
            for count in each(write_shard, todo, workers):
                seen.update(count)
        if absent := sum(part.current() is None for part in plan):
            return f"{len(plan) - absent} of {len(plan)} shards are in {shown(dest)}; the index comes with the last"
        with one_at_a_time(dest / PARTS / "index.lock"):
            return _write_index(facts, listing, plan, allow_broken)
    except OSError as error:
        hint = "Started again, it goes on where it was"
        raise InputError(f"cannot pack into {shown(dest)}: {advice(error)}. {hint}") from error


def _classes(folder: Path) -> list[str] | None:
    """Those of the packed set in a folder; None where its index is none."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        return json.loads(read_file(folder / "index.json"))["classes"]
    return None


def _plan(dest: Path, splits: dict[str, Split], size: int, large: bool) -> Iterator[Shard]:
    """Depends on the number of images and on their size alone, so that machines agree, and checksums too."""
    step = images_a_shard(size) if large else SHARD_BYTES // (3 * size * size) // 4
    for split, part in splits.items():
        for number, start in enumerate(range(0, len(part.labels), max(1, step))):
            chosen = slice(start, start + max(1, step))
            yield Shard(dest, split, number, part.images[chosen], part.labels[chosen], size)


def images_a_shard(size: int) -> int:
    """How many whole images of size x size pixels one shard holds at most."""
    return SHARD_BYTES // (3 * size * size * 16) * 16


def _write_index(facts: dict, listing: Listing, plan: list[Shard], allow_broken: bool) -> str:
    """The last step: what the shards add up to, in whole numbers up to the last division."""
    dest, size, classes = plan[0].dest, plan[0].size, listing.classes
    image_sum, products = np.zeros((size, size, 3), np.uint64), np.zeros((3, 3), np.int64)
    labels: dict[str, list[np.ndarray]] = {}
    contents: dict[str, list[np.ndarray]] = {}
    files: dict[str, list[str]] = {}
    shards: dict[str, list[dict]] = {}
    broken: list[str] = []
    for part in plan:
        if (found := part.known()) is None:  # another process, which found broken images in it, does it again just now
            return f"another process writes {part.pixels.name} again in {shown(dest)}; the index comes with the last"
        entry = {"file": part.pixels.name, "count": len(found["labels"]), "sha256": str(found["sha256"])}
        labels.setdefault(part.split, []).append(found["labels"])
        shards.setdefault(part.split, []).extend([entry] if entry["count"] else [])
        broken += [f"{path}\t{reason}\n" for path, reason in found["broken"].tolist()]
        image_sum, products = image_sum + found["image_sum"], products + found["products"]
        if len(found.get("contents", ())):  # not of pixels, nor of what an earlier version packed
            files.setdefault(part.split, []).extend(part.images[i] for i in found["kept"])
            contents.setdefault(part.split, []).append(found["contents"])
    _write(dest / "broken.txt", "".join(broken).encode())
    twice = _in_both(files, contents)
    _write(dest / "in_both.txt", "".join("\t".join(names) + "\n" for names in twice).encode())
    planned = sum(len(part.labels) for part in plan)
    images = {split: sum(map(len, some)) for split, some in labels.items()}
    if empty := [split for split, count in images.items() if not count]:
        hint = f"{shown(dest / 'broken.txt')} lists them. Mend them and start again"
        raise InputError(f"every image of the {empty[0]} split is broken: {hint}")
    if len(broken) > BROKEN_SHARE * planned and not allow_broken:
        hint = f"{shown(dest / 'broken.txt')} lists them. Mend them and start again, or pack with --allow-broken"
        raise InputError(f"{len(broken)} of {planned} images are broken, more than 1 %: {hint}")
    arrays = {f"labels-{split}.npy": np.concatenate(some) for split, some in labels.items()}
    splits = {}
    for split, some in shards.items():
        text = json.dumps([classes, some]).encode() + arrays[f"labels-{split}.npy"].tobytes()
        splits[split] = {"count": images[split], "checksum": hashlib.sha256(text).hexdigest(), "shards": some}
    arrays["mean_image.npy"] = (image_sum / images["train"]).astype(np.float32)
    arrays |= {f"groups-{split}.npy": part.groups for split, part in listing.splits.items() if part.groups is not None}
    if (same := _alike(contents.get("train", []), images["train"])) is not None:
        arrays["groups-train.npy"] = same
    tidy(*(dest / name for name in (*arrays, "index.json", "broken.txt", "in_both.txt")))
    for file_name, array in arrays.items():
        np.save(content := io.BytesIO(), array)  # straight to a disk that is full, it would not say that it is
        _write(dest / file_name, content.getvalue())
    index = {"format": FORMAT, "size": size, "classes": classes, "splits": splits, "broken": len(broken), "in_both": len(twice)}
    index["colour_covariance"] = _covariance(image_sum.sum((0, 1)).tolist(), products.tolist(), images["train"] * size * size)
    index["files"] = {file_name: sha256_of(dest / file_name) for file_name in (*arrays, "broken.txt", "in_both.txt")}
    index |= facts
    _write(dest / "index.json", json.dumps(index | {"sha256": index_checksum(index)}, indent=1).encode())
    said = [f"{planned - len(broken)} images of {size}x{size} are in {shown(dest)}; {len(broken)} broken ones were left out"]
    if twice:
        said.append(f"{len(twice)} test images are training images too, see in_both.txt: {twice[0][0]} is {twice[0][1]}")
    if torn := _in_two_classes(files.get("train", []), contents.get("train", []), arrays["labels-train.npy"]):
        said.append(f"{len(torn)} training images are in another class too: {torn[0][0]} is {torn[0][1]}")
    if lost := sorted(set(range(len(classes))) - set(arrays["labels-train.npy"].tolist())):
        said.append(f"no training image is left of {len(lost)} classes, such as {classes[lost[0]]}")
    return "; ".join((*said, *listing.notes))


def _in_both(files: dict[str, list[str]], contents: dict[str, list[np.ndarray]]) -> list[tuple[str, str]]:
    """The names, in test and in training, of test images that are the same file as a training image."""
    if set(contents) != {"train", "test"}:
        return []
    train, test = (np.concatenate(contents[split]) for split in ("train", "test"))
    order = np.argsort(train)
    nearest = order[np.searchsorted(train, test, sorter=order).clip(max=len(train) - 1)]
    both = np.flatnonzero(train[nearest] == test)
    return [(in_words(files["test"][i]), in_words(files["train"][nearest[i]])) for i in both]


def _alike(contents: list[np.ndarray], count: int) -> np.ndarray | None:
    """Groups of training images that are the same file, so that none is held out of which another trains; None where each is
    the only one of its kind."""
    found = np.concatenate([*contents, np.empty(0, np.uint64)])
    kinds, groups = np.unique(found, return_inverse=True)
    return groups.astype(np.int64) if len(found) == count > len(kinds) else None


def _in_two_classes(files: list[str], contents: list[np.ndarray], labels: np.ndarray) -> list[tuple[str, str]]:
    """The names of training images that are the same file as one of another class, beside the names of those."""
    if len(files) != len(labels):  # of some shards the contents are not known
        return []
    found = np.concatenate(contents)
    order = np.argsort(found, kind="stable")
    one, other = order[:-1], order[1:]
    torn = (found[one] == found[other]) & (labels[one] != labels[other])
    return [(in_words(files[i]), in_words(files[j])) for i, j in zip(other[torn], one[torn], strict=True)]


def index_checksum(index: dict) -> str:
    """SHA-256 of all that the index says, but for the checksum itself."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _covariance(sums: list[int], products: list[list[int]], pixels: int) -> list[list[float]]:
    """Of RGB in 0 to 1, from sums over pixels in 0 to 255."""
    return [[(pixels * products[i][j] - sums[i] * sums[j]) / (255 * pixels) ** 2 for j in range(3)] for i in range(3)]


def _write(path: Path, content: bytes) -> None:
    with whole(path) as partial:
        partial.write_bytes(content)
