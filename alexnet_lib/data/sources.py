"""Where images come from: photos10, cifar10, imagenette, imagenet, folder:PATH. Found, or fetched and verified."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..system.strict import InputError, one_of
from .download import fetch, unpack

PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "hubble", "immunohistochemistry", "motorcycle", "retina", "rocket")
IMAGENETTES = {"imagenette": "160px", "imagenette-160": "160px", "imagenette-320": "320px", "imagenette-full": "full"}
NAMES = ("photos10", "cifar10", *IMAGENETTES, "imagenet")


@dataclass(frozen=True)
class Split:
    """Images, as paths of files or as pixels, uint8 (N, H, W, 3), and their labels, int64 (N,)."""

    images: Sequence[str] | np.ndarray
    labels: np.ndarray


Listing = tuple[tuple[str, ...], dict[str, Split]]  # the names of the classes; the splits "train" and perhaps "test"


@dataclass(frozen=True)
class Source:
    """A data set that was found and not read yet.

    Attributes:
        name: as records name it.
        side: of its images in pixels where all are small and square; None where they vary.
        read: fetches it where that is needed, and lists it.
        origin: the folder that tells it from others of its name; "" where the name says all.
    """

    name: str
    side: int | None
    read: Callable[[], Listing]
    origin: str = ""


def data_root(root: Path | str | None = None) -> Path:
    """The folder of downloaded and packed data: the one given, $ALEXNET_DATA, or data/ beside the library."""
    return Path(root or os.environ.get("ALEXNET_DATA") or Path(__file__).resolve().parents[2] / "data").expanduser()


def find(data: str, root: Path | str | None = None) -> Source:
    """Finds a data set by what a user calls it, at once: nothing is fetched or listed yet.

    Args:
        data: "photos10", "cifar10", "imagenette" (160 pixels; or "imagenette-320", "imagenette-full"), "imagenet",
            "folder:PATH" or a path: a tree with one subfolder a class, or such trees below train/ and test/ or val/.
        root: see data_root.

    Raises:
        InputError: no such name, or no such folder. So does `read` where the data cannot be fetched or hold no images.
    """
    root = data_root(root)
    if data == "photos10":
        return Source("photos10", 32, photos10)
    if data == "cifar10":
        return Source("cifar10", 32, partial(cifar10, root / "cifar10"))
    if data in IMAGENETTES:
        name = f"imagenette-{IMAGENETTES[data].removesuffix('px')}"
        return Source(name, None, partial(imagenette, IMAGENETTES[data], root / name))
    if data == "imagenet":
        return Source("imagenet", None, partial(imagenet, root / "imagenet"))
    folder = Path(data.removeprefix("folder:")).expanduser().resolve()
    if not folder.is_dir():
        if not data.startswith("folder:") and os.sep not in data:
            one_of("data set", data, (*NAMES, "folder:PATH"))
        raise InputError(f"no folder {folder}: name one that holds a subfolder a class, or train/ and test/ with these")
    return Source(folder.name, _own_side(folder), partial(tree, folder), str(folder))


def hold_out(splits: dict[str, Split], share: float) -> dict[str, Split]:
    """The splits, with a share of each class of "train" as "test": evenly spaced in the class, and never all of it.

    Raises InputError where there is a test split already, the share is not in [0, 1) or no class has images enough.
    """
    if share == 0:
        return splits
    if not 0 < share < 1:
        raise InputError(f"holdout is the share of each class that becomes the test split, 0 <= holdout < 1, not {share:g}")
    if "test" in splits:
        raise InputError("this data set has a test split of its own: leave holdout out")
    images, labels = splits["train"].images, splits["train"].labels
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = min(round(share * len(members)), len(members) - 1)
        held[members[np.arange(wanted) * len(members) // max(wanted, 1)]] = True
    if not held.any():
        raise InputError(f"a holdout of {share:g} leaves no image for testing: no class has enough of them")
    parts = {"train": ~held, "test": held}.items()
    return {name: Split([images[i] for i in np.flatnonzero(part)], labels[part]) for name, part in parts}


def tree(folder: Path, tests: Sequence[str] = ("test", "val")) -> Listing:
    """Class names and splits of an ImageFolder tree. A class is a subfolder; its images may lie in folders below it.

    Files count as images by their extension here, as in torchvision; packing judges them by their content. The first
    of the folders `tests` that exists is the test split. Raises InputError where a class or a split is without images.
    """
    train, test = _split_folders(folder, tests)
    classes = tuple(_subfolders(train))
    if not classes:
        raise InputError(f"no images in {train}: it needs one subfolder a class with image files in it")
    splits = {"train": _split(train, classes)}
    if absent := set(range(len(classes))) - set(splits["train"].labels.tolist()):
        raise InputError(f"no images in {train / classes[min(absent)]}: fill that class or remove its folder")
    if test:
        if unknown := sorted(set(_subfolders(test)) - set(classes)):
            raise InputError(f"{test} has a class that {train} has not: {unknown[0]}. Both need the same class names")
        splits["test"] = _split(test, classes)
        if not len(splits["test"].labels):
            raise InputError(f"no images in {test}: sort them into one subfolder a class, as in {train}, or remove it")
    return classes, splits


def _split_folders(folder: Path, tests: Sequence[str] = ()) -> tuple[Path, Path | None]:
    if not (folder / "train").is_dir():
        return folder, None
    return folder / "train", next((folder / name for name in tests if (folder / name).is_dir()), None)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _split(folder: Path, classes: Sequence[str]) -> Split:
    found = [_image_files(folder / name) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in found])
    return Split([path for files in found for path in files], labels)


def _image_files(folder: Path) -> list[str]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    walk = os.walk(folder, followlinks=True)
    named = (os.path.join(where, name) for where, _, names in walk for name in names if not name.startswith("."))
    return sorted(path for path in named if path.lower().endswith(IMG_EXTENSIONS))


def _own_side(folder: Path) -> int | None:
    """The side that the first images of up to twenty classes share, where they are square and at most 64 pixels."""
    train, sizes = _split_folders(folder)[0], set()
    for name in _subfolders(train)[:20]:
        for path in _image_files(train / name)[:1]:
            with suppress(Exception), Image.open(path) as image:  # packing reports what is broken
                sizes.add(image.size)
    (width, height), *others = sizes or [(0, 1)]
    return width if not others and width == height <= 64 else None


def cifar10(folder: Path) -> Listing:
    """CIFAR-10 from its own site, by torchvision's address and checksum, read by torchvision."""
    from torchvision.datasets import CIFAR10

    if not (folder / CIFAR10.base_folder).is_dir():
        unpack(fetch(CIFAR10.url, folder / CIFAR10.filename, CIFAR10.tgz_md5), folder)
    try:
        sets = {split: CIFAR10(str(folder), train=split == "train") for split in ("train", "test")}
    except RuntimeError as error:
        raise InputError(f"CIFAR-10 in {folder} is damaged. Remove {folder / CIFAR10.base_folder} and start again") from error
    return tuple(sets["train"].classes), {name: Split(s.data, np.array(s.targets)) for name, s in sets.items()}


def imagenette(variant: str, folder: Path) -> Listing:
    """Imagenette (ten classes of ImageNet) by torchvision's address, checksum and class names."""
    from torchvision.datasets import Imagenette

    url, md5 = Imagenette._ARCHIVES[variant]
    archive = folder / url.rpartition("/")[2]
    if not archive.with_suffix("").is_dir():
        unpack(fetch(url, archive, md5), folder)
    classes, splits = tree(archive.with_suffix(""), tests=("val",))
    return tuple(Imagenette._WNID_TO_CLASS[wnid][0] for wnid in classes), splits


def imagenet(folder: Path) -> Listing:
    """ILSVRC-2012 as torchvision lays it out; the classes get torchvision's names, which are in the order of the WNIDs."""
    from torchvision.models import AlexNet_Weights

    if not (folder / "train").is_dir():
        layout = "train/WNID/*.JPEG and val/WNID/*.JPEG, or name folder:PATH"
        raise InputError(f"no ImageNet in {folder}: its licence keeps us from fetching it. Put it there as {layout}")
    classes, splits = tree(folder, tests=("val",))
    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"]) if len(classes) == 1000 else classes, splits


# photos10. A photograph is cut into blocks of 96 pixels; each block is for training or for testing, and a patch of 64
# pixels, averaged to 32, lies wholly inside one block: no pixel serves both. One block in four, spread by a fixed rule
# over the photograph, is for testing. The sizes are round numbers that leave the smallest photograph (300 x 451) two
# test blocks and a patch some context; no accuracy was looked at when they were chosen.
BLOCK, PATCH, TRAIN_PATCHES, TEST_PATCHES = 96, 64, 300, 100


def photos10() -> Listing:
    """Ten photographs that ship inside scikit-image and scikit-learn; an example is a patch, its class the photograph.

    3,000 training and 1,000 test images of 32x32 pixels, classes balanced, the same bytes on every machine.
    """
    photographs, splits = photographs10(), {}
    for split, count in (("train", TRAIN_PATCHES), ("test", TEST_PATCHES)):
        patches = [patch for photograph in photographs for patch in _patches(photograph, split, count)]
        splits[split] = Split(np.stack(patches), np.repeat(np.arange(len(PHOTOS), dtype=np.int64), count))
    return PHOTOS, splits


def photographs10() -> list[np.ndarray]:
    """The photographs of photos10 in the order of PHOTOS, each uint8 (H, W, 3)."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    own = {
        "china": china,
        "flower": flower,
        "hubble": data.hubble_deep_field(),
        "motorcycle": data.stereo_motorcycle()[0],
    }
    found = [own[name] if name in own else getattr(data, name)() for name in PHOTOS]
    return [np.ascontiguousarray(photograph[..., :3]) for photograph in found]


def patch_corners(height: int, width: int, split: str, count: int) -> list[tuple[int, int]]:
    """(top, left) of a split's patches in a photograph: one in each block, then another place in each, and so on."""
    blocks = [
        (r, c) for r in range(height // BLOCK) for c in range(width // BLOCK) if ((r + 2 * c) % 4 == 1) == (split == "test")
    ]
    places = BLOCK - PATCH + 1
    corners = []
    for i in range(count):
        (row, column), turn = blocks[i % len(blocks)], i // len(blocks)
        corners.append((row * BLOCK + 7 * turn % places, column * BLOCK + (13 * turn + turn // places) % places))
    return corners


def _patches(photograph: np.ndarray, split: str, count: int) -> list[np.ndarray]:
    """Patches of 32x32 pixels, each the rounded mean of 2x2 pixels of the photograph."""
    cut = [photograph[t : t + PATCH, left : left + PATCH] for t, left in patch_corners(*photograph.shape[:2], split, count)]
    return [((p.reshape(32, 2, 32, 2, 3).sum((1, 3), dtype=np.uint16) + 2) // 4).astype(np.uint8) for p in cut]
