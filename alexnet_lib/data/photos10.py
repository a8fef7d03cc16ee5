"""photos10: patches of ten photographs that ship inside scikit-image and scikit-learn. Nothing is downloaded.

A photograph is cut into blocks of 96 pixels. Each block is for training or for testing, and a patch of 64 pixels,
averaged to 32, lies wholly inside one block: no pixel serves both. One block in four, spread by a fixed rule over the
photograph, is for testing. The sizes are round numbers that leave the smallest photograph (300 x 451) two test blocks and
a patch some context; no accuracy was looked at when they were chosen.
"""

import numpy as np

from .folders import Listing, Split

PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "hubble", "immunohistochemistry", "motorcycle", "retina", "rocket")
BLOCK, PATCH, TRAIN_PATCHES, TEST_PATCHES = 96, 64, 300, 100


def photos10() -> Listing:
    """An example is a patch, its class the photograph.

    3,000 training and 1,000 test images of 32x32 pixels, classes balanced, the same bytes on every machine. The block of
    a patch is its group: patches of one block overlap, so whole blocks are held out of the training set.
    """
    photographs, splits = photographs10(), {}
    for split, count in (("train", TRAIN_PATCHES), ("test", TEST_PATCHES)):
        patches, groups = [], []
        for label, photograph in enumerate(photographs):
            corners = patch_corners(photograph.shape[0], photograph.shape[1], split, count)
            patches += [_patch(photograph, top, left) for top, left in corners]
            groups += [10_000 * label + 100 * (top // BLOCK) + left // BLOCK for top, left in corners]
        labels = np.repeat(np.arange(len(PHOTOS), dtype=np.int64), count)
        splits[split] = Split(np.stack(patches), labels, np.array(groups, dtype=np.int64))
    return Listing(PHOTOS, splits)


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


def _patch(photograph: np.ndarray, top: int, left: int) -> np.ndarray:
    """32x32 pixels, each the rounded mean of 2x2 pixels of the photograph."""
    pixels = photograph[top : top + PATCH, left : left + PATCH].reshape(32, 2, 32, 2, 3)
    return ((pixels.sum((1, 3), dtype=np.uint16) + 2) // 4).astype(np.uint8)
