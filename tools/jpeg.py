"""What JPEG costs in pixels: images of a data set that was not compressed at its size, coded as the JPEG copy of CIFAR-10 is.

python tools/jpeg.py [DATA]      by default photos10, whose patches are means of four pixels of a photograph

Says nothing of what the compression costs in accuracy.
"""

import argparse
import io
import sys

import numpy as np
from ending import ended
from PIL import Image

from alexnet_lib import open_dataset

CODING = {"quality": 75, "subsampling": "4:2:0"}  # of the files of cifar10-jpeg; tests/test_book.py reads one
GREY = np.array([0.299, 0.587, 0.114])  # JPEG's own weights of red, green and blue


def coded(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3), written as such a file and read again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **CODING)
    return np.asarray(Image.open(file).convert("RGB"))


def cost(images: np.ndarray) -> dict[str, float]:
    """Of images uint8 (N, H, W, 3), in levels of 255: the mean absolute difference of a value that coding makes, the same of
    brightness alone, and the standard deviation of the values.
    """
    before, after = images.astype(np.float64), np.stack([coded(image) for image in images]).astype(np.float64)
    difference = after - before
    return {"value": np.abs(difference).mean(), "brightness": np.abs(difference @ GREY).mean(), "spread": before.std()}


def sentence(name: str, split: str = "test") -> str:
    """What the book says of it."""
    dataset = open_dataset(name, split)
    found = cost(dataset.take(range(len(dataset))))
    return (
        f"On the {len(dataset):,} {split} images of `{name}`, coded so, a value of 0 to 255 moves by {found['value']:.1f} on "
        f"average, brightness alone by {found['brightness']:.1f}, where the values' standard deviation is {found['spread']:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="photos10")
    print(sentence(parser.parse_args().data))


if __name__ == "__main__":
    sys.exit(ended(main))
