"""Where images come from: photos10, cifar10, imagenette, imagenet, folder:PATH. Found, or fetched and verified."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config import InputError, one_of
from .download import fetch, unpack

DATA = Path(__file__).resolve().parent.parent / "data"
PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "hubble", "immunohistochemistry", "motorcycle", "retina", "rocket")
IMAGENETTES = {"imagenette": "160px", "imagenette-160": "160px", "imagenette-320": "320px", "imagenette-full": "full"}
NAMES = ("photos10", "cifar10", *IMAGENETTES, "imagenet")


@dataclass(frozen=True)
class Split:
    """One part of a source: image files, or images as uint8 (N, H, W, 3); labels int64 (N,)."""

    items: Sequence[Path] | np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Source:
    """A data set before it is packed. `size` is the images' own side in pixels, None where they vary."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    size: int | None = None


def data_root(root: Path | str | None = None) -> Path:
    """The folder of downloaded and packed data: the one given, $ALEXNET_DATA, or data/ beside the library."""
    return Path(root or os.environ.get("ALEXNET_DATA") or DATA)


def identify(data: str, root: Path) -> tuple[str, Path | None]:
    """(name for records, folder) of what a user calls a data set; the folder is None where nothing is read from one.

    Raises InputError for a name that does not exist and for a folder that is missing.
    """
    folder = Path(data.removeprefix("folder:")).expanduser()
    if data.startswith("folder:") or os.sep in data or folder.is_dir():
        if not folder.is_dir():
            raise InputError(f"no folder {folder}: name a folder with one subfolder a class")
        return folder.resolve().name, folder.resolve()
    one_of("data set", data, (*NAMES, "folder:PATH"))
    if data in IMAGENETTES:
        data = f"imagenette-{IMAGENETTES[data].removesuffix('px')}"
    return data, None if data == "photos10" else root / data


def find(data: str, root: Path | str | None = None, holdout: float = 0.0) -> Source:
    """Finds a data set, after fetching it where that is possible and needed.

    Args:
        data: "photos10", "cifar10", "imagenette" (160 pixels; or "imagenette-320", "imagenette-full"), "imagenet",
            "folder:PATH" or a path: a tree with one subfolder a class, or such trees below train/ and test/ or val/.
        root: see data_root.
        holdout: share of a tree without a split that becomes the test split, evenly spaced in each class.

    Raises:
        InputError: it does not exist, cannot be fetched, or holds no images.
    """
    root = data_root(root)
    name, folder = identify(data, root)
    if name == "photos10" and folder is None:
        return photos10()
    if data == "cifar10":
        return cifar10(folder)
    if data in IMAGENETTES:
        folder = imagenette(IMAGENETTES[data], folder)
    elif data == "imagenet" and not (folder / "train").is_dir():
        raise InputError(
            f"no ImageNet at {folder}: put ILSVRC-2012 there as train/WNID/*.JPEG and val/WNID/*.JPEG (its licence forbids us to fetch it), "
            "or name its folder with folder:PATH"
        )
    return tree(folder, name, holdout)


def tree(folder: Path, name: str, holdout: float = 0.0) -> Source:
    """A source from folders of images; see find."""
    parts = {"train": folder / "train", "test": next((folder / p for p in ("test", "val") if (folder / p).is_dir()), None)}
    if not parts["train"].is_dir():
        parts = {"train": folder, "test": None}
    classes = tuple(sorted(p.name for p in parts["train"].iterdir() if p.is_dir() and not p.name.startswith(".")))
    splits = {split: _files(part, classes) for split, part in parts.items() if part}
    if not classes or not len(splits["train"].labels):
        raise InputError(f"no images in {parts['train']}: it needs one subfolder a class with image files in it")
    if holdout and "test" not in splits:
        splits = _held_out(splits["train"], holdout)
    return Source(name, classes, splits, _common_size(splits["train"].items))


def _files(folder: Path, classes: tuple[str, ...]) -> Split:
    unknown = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in classes)
    if unknown:
        raise InputError(f"{folder} has a class that the training split has not: {unknown[0]}")
    names = [
        (entry.path, label)
        for label, c in enumerate(classes)
        if (folder / c).is_dir()
        for entry in sorted(os.scandir(folder / c), key=lambda e: e.name)
        if entry.is_file() and not entry.name.startswith(".")
    ]
    return Split([Path(path) for path, _ in names], np.array([label for _, label in names], dtype=np.int64))


def _held_out(split: Split, share: float) -> dict[str, Split]:
    """Every n-th image of each class is for testing, so that the share holds in each; a class with one image is for training."""
    test = np.zeros(len(split.labels), dtype=bool)
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        count = min(round(share * len(members)), len(members) - 1)
        test[members[np.arange(count) * len(members) // max(count, 1)]] = True
    if not test.any():
        raise InputError(f"a holdout of {share:g} leaves no image for testing: no class has enough images")
    parts = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
    return {name: Split([split.items[i] for i in chosen], split.labels[chosen]) for name, chosen in parts.items()}


def _common_size(files: Sequence[Path]) -> int | None:
    """The side that a sample of the images share, where they are small and square (such as CIFAR-10's 32)."""
    from PIL import Image

    sizes = set()
    for path in files[:: max(1, len(files) // 20)]:
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
        except OSError:  # packing reports it
            continue
    (width, height), *others = sizes or [(0, 1)]
    return width if not others and width == height <= 64 else None


# photos10. A photograph is cut into blocks of 96 pixels; each block is for training or for testing, and a patch of
# 64 pixels, averaged to 32, lies wholly inside one block: no pixel serves both. One block in four, spread by a fixed
# rule over the photograph, is for testing. The sizes are the smallest round ones that leave the smallest photograph
# (300 x 451) three test blocks and a patch enough context; no accuracy was looked at.
BLOCK, PATCH, TRAIN_PATCHES, TEST_PATCHES = 96, 64, 300, 100


def photos10() -> Source:
    """Ten photographs that ship inside scikit-image and scikit-learn; an example is a patch, its class the photograph.

    3,000 training and 1,000 test images of 32x32 pixels, classes balanced, the same bytes on every machine.
    """
    photographs = photographs10()
    splits = {}
    for split, count in (("train", TRAIN_PATCHES), ("test", TEST_PATCHES)):
        patches = [patch for p in photographs for patch in _patches(p, split, count)]
        splits[split] = Split(np.stack(patches), np.repeat(np.arange(10), count).astype(np.int64))
    return Source("photos10", PHOTOS, splits, 32)


def photographs10() -> list[np.ndarray]:
    """The photographs of photos10 in the order of PHOTOS, each uint8 (H, W, 3)."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    own = {"china": china, "flower": flower, "hubble": data.hubble_deep_field, "motorcycle": lambda: data.stereo_motorcycle()[0]}
    found = [own.get(name) if name in own else getattr(data, name) for name in PHOTOS]
    return [np.ascontiguousarray((p() if callable(p) else p)[..., :3]) for p in found]


def patch_corners(height: int, width: int, split: str, count: int) -> list[tuple[int, int]]:
    """(top, left) of the patches of a split in a photograph: block after block, at places that do not repeat within one."""
    blocks = [(r, c) for r in range(height // BLOCK) for c in range(width // BLOCK) if ((r + 2 * c) % 4 == 1) == (split == "test")]
    places = BLOCK - PATCH + 1
    corners = []
    for i in range(count):
        (row, column), turn = blocks[i % len(blocks)], i // len(blocks)
        corners.append((row * BLOCK + 7 * turn % places, column * BLOCK + (13 * turn + turn // places) % places))
    return corners


def _patches(photograph: np.ndarray, split: str, count: int) -> list[np.ndarray]:
    """Patches of 32x32 pixels, each the rounded mean of 2x2 pixels of the photograph."""
    cut = [photograph[t : t + PATCH, left : left + PATCH] for t, left in patch_corners(*photograph.shape[:2], split, count)]
    return [((p.reshape(32, 2, 32, 2, 3).astype(np.uint16).sum((1, 3)) + 2) // 4).astype(np.uint8) for p in cut]


def cifar10(folder: Path) -> Source:
    """CIFAR-10 from its own site, by torchvision's address and checksum, read by torchvision."""
    from torchvision.datasets import CIFAR10

    if not (folder / CIFAR10.base_folder).is_dir():
        unpack(fetch(CIFAR10.url, folder / CIFAR10.filename, CIFAR10.tgz_md5), folder)
    try:
        sets = {split: CIFAR10(str(folder), train=split == "train") for split in ("train", "test")}
    except RuntimeError as error:
        raise InputError(f"CIFAR-10 in {folder} is damaged ({error}). Remove that folder and start again") from error
    splits = {name: Split(np.asarray(s.data), np.asarray(s.targets, dtype=np.int64)) for name, s in sets.items()}
    return Source("cifar10", tuple(sets["train"].classes), splits, 32)


def imagenette(variant: str, folder: Path) -> Path:
    """Fetches Imagenette by torchvision's address and checksum; returns the folder with train/ and val/ in it."""
    from torchvision.datasets import Imagenette

    url, md5 = Imagenette._ARCHIVES[variant]
    inside = folder / Path(url).stem
    if not inside.is_dir():
        unpack(fetch(url, folder / Path(url).name, md5), folder)
    return inside
