"""The sources of images by name: photos10, cifar10, imagenette, imagenet, folder:PATH.

What can be fetched is fetched on first use, and its checksum verified before it is opened.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..system.files import advice
from ..system.strict import InputError, one_of, path_of, whole_path
from .download import fetch, unpack
from .folders import TESTS, Listing, Split, names_below, own_side, shown, state, tree
from .photos10 import PHOTOS, photographs10, photos10
from .shards import one_at_a_time

# Chapters take the photographs here.
__all__ = ["NAMES", "PHOTOS", "Source", "absolute", "data_root", "find", "hold_out", "only_one", "photographs10"]

IMAGENETTES = {"imagenette": "160px", "imagenette-160": "160px", "imagenette-320": "320px", "imagenette-full": "full"}
NAMES = ("photos10", "cifar10", *IMAGENETTES, "imagenet")
WNIDS_2012 = "12a396567fd609febe67136f41c054ae96b06437ab00f6bb90ea7de76dee1e26"  # SHA-256 of the 1,000, in order, joined


@dataclass(frozen=True)
class Source:
    """A data set that was found and not read yet.

    Attributes:
        name: as records name it.
        side: of its images in pixels where all are small and square; None where they vary.
        read: fetches it where that is needed, and lists it.
        origin: the folder that tells it from others of its name; "" where the name says all.
        edition: raised where the same source gives another set than before.
        compared: the folder whose images are compared with those of the pack at each opening; "" where nothing is.
        by_names: whether they are compared by their names alone: the sizes and times of a million files may take minutes.
    """

    name: str
    side: int | None
    read: Callable[[], Listing]
    origin: str = ""
    edition: int = 1
    compared: str = ""
    by_names: bool = False

    def state(self) -> str | None:
        """Another one where images were added, removed or replaced; None where nothing is compared."""
        if self.by_names:
            return names_below(Path(self.compared).parent)
        return state(self.read(), self.compared) if self.compared else None


def data_root(root: Path | str | None = None) -> Path:
    """The folder of downloaded and packed data: the one given, $ALEXNET_DATA, or data/ beside the library."""
    return path_of(root or os.environ.get("ALEXNET_DATA") or Path(__file__).resolve().parents[2] / "data")


def find(data: str, root: Path | str | None = None) -> Source:
    """Finds a data set by what a user calls it, at once: nothing is fetched or listed yet.

    Args:
        data: "photos10", "cifar10", "imagenette" (160 pixels; or "imagenette-320", "imagenette-full"), "imagenet",
            "folder:PATH" or a path: see folders.tree.
        root: see data_root.

    Raises:
        InputError: no such name, or no such folder. So does `read` where the data cannot be fetched or hold no images.
    """
    root = data_root(root)
    if data == "photos10":
        return Source("photos10", 32, photos10, edition=2)  # with the groups of its patches
    if data == "cifar10":
        return Source("cifar10", 32, partial(cifar10, root / "cifar10"))
    if data in IMAGENETTES:
        name = f"imagenette-{IMAGENETTES[data].removesuffix('px')}"
        unpacked = root / name / name.replace("nette", "nette2").removesuffix("-full")  # as its archive has it
        return Source(name, None, partial(imagenette, IMAGENETTES[data], root / name), compared=str(unpacked))
    if data == "imagenet":
        folder = root / "imagenet"
        return Source("imagenet", None, partial(imagenet, folder), compared=str(folder / "train"), by_names=True)
    folder = whole_path(data.removeprefix("folder:"))
    if not folder.is_dir():
        if not data.startswith("folder:") and os.sep not in data:
            one_of("data set", data, (*NAMES, "folder:PATH"))
        raise InputError(f"no folder {shown(folder)}: name one with a subfolder a class, or with train/ and test/ of these")
    return Source(shown(folder.name)[:50], own_side(folder), partial(tree, folder), str(folder), compared=str(folder))


def absolute(data: str) -> str:
    """What a user calls a data set, as it can be read from any folder: a path from the root on, a source by its name."""
    if data in NAMES:
        return data
    folder = whole_path(data.removeprefix("folder:"))
    return f"folder:{folder}" if data.startswith("folder:") or folder.is_dir() else data


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
    return {name: Split([images[i] for i in np.flatnonzero(part).tolist()], labels[part]) for name, part in parts}


def cifar10(folder: Path) -> Listing:
    """CIFAR-10 from its own site, by torchvision's address and checksum, read by torchvision."""
    from torchvision.datasets import CIFAR10

    _fetched(CIFAR10.url, folder / CIFAR10.filename, CIFAR10.tgz_md5, folder / CIFAR10.base_folder)
    try:
        sets = {split: CIFAR10(str(folder), train=split == "train") for split in ("train", "test")}
    except RuntimeError as error:
        raise InputError(f"CIFAR-10 in {folder} is damaged. Remove {folder / CIFAR10.base_folder} and start again") from error
    return Listing(tuple(sets["train"].classes), {name: Split(s.data, np.array(s.targets)) for name, s in sets.items()})


def _fetched(url: str, archive: Path, md5: str, unpacked: Path) -> None:
    """Fetches an archive and unpacks it, unless that was done. Of the processes that come here at once, one does it."""
    if unpacked.is_dir():
        return
    folder = archive.parent
    with only_one(folder.with_name(f"{folder.name}.lock"), folder):
        if not unpacked.is_dir():
            unpack(fetch(url, archive, md5), folder)


@contextmanager
def only_one(lock: Path, place: Path) -> Iterator[None]:
    """One process at a time writes to a place below data_root, which is made. Raises InputError for what the disk refuses."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(lock):
            yield
    except OSError as error:
        raise InputError(f"cannot write to {shown(place)}: {advice(error)}. Name another place with ALEXNET_DATA") from error


def imagenette(variant: str, folder: Path) -> Listing:
    """Imagenette (ten classes of ImageNet) by torchvision's address, checksum and class names."""
    from torchvision.datasets import Imagenette

    url, md5 = Imagenette._ARCHIVES[variant]
    archive = folder / url.rpartition("/")[2]
    _fetched(url, archive, md5, archive.with_suffix(""))
    found = tree(archive.with_suffix(""), TESTS[1:])
    if strange := [name for name in found.classes if name not in Imagenette._WNID_TO_CLASS]:
        where = archive.with_suffix("")
        raise InputError(
            f"{shown(where)} has a class {strange[0]}, which is none of Imagenette's: remove it, or name folder:{where}"
        )
    return found._replace(classes=tuple(Imagenette._WNID_TO_CLASS[wnid][0] for wnid in found.classes))


def imagenet(folder: Path) -> Listing:
    """ILSVRC-2012 as torchvision lays it out. The WNIDs of 2012 get torchvision's names; other folders keep their own."""
    from torchvision.models import AlexNet_Weights

    if not (folder / "train").is_dir():
        layout = "train/WNID/*.JPEG and val/WNID/*.JPEG, or name folder:PATH"
        raise InputError(f"no ImageNet in {folder}: its licence keeps us from fetching it. Put it there as {layout}")
    found = tree(folder, TESTS[1:])
    if hashlib.sha256("".join(found.classes).encode()).hexdigest() != WNIDS_2012:
        return found
    return found._replace(classes=tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"]))
