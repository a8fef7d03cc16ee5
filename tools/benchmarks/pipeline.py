"""The input pipeline on one core: from images on disk to a normalised batch of crops."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from alexnet_lib import open_dataset
from alexnet_lib.augment import colour_noise, cut, random_crops
from alexnet_lib.data.dataset import PackedDataset
from alexnet_lib.data.sources import photographs10

from .turns import in_turns, threads

IMAGES, SIZE = 128, 224
PIL_TARGET = 10.0
COPY_WANTED = 0.6  # not reached: converting, subtracting and adding are three passes over an image, and mirroring a fourth


def rows(turns: int) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder, threads(1):
        files = write_jpegs(Path(folder) / "images", IMAGES)
        ours = packed(open_dataset(f"folder:{files}", root=Path(folder) / "data"))
        what = "input pipeline, packed images with colour noise, against"
        yield in_turns(f"{what} ImageFolder with PIL without", ours, with_pil(files), turns, IMAGES, PIL_TARGET)
        yield in_turns(f"{what} decode_jpeg and v2 transforms without", ours, with_v2(files), turns, IMAGES)
        yield in_turns(f"{what} a plain copy of the same bytes", ours, plain_copy(), 3 * turns, IMAGES) | {"wanted": COPY_WANTED}


def packed(dataset: PackedDataset) -> Callable:
    """As training does it."""
    mean, generator = torch.from_numpy(dataset.mean_image), torch.Generator().manual_seed(0)
    axes = tuple(torch.as_tensor(a, dtype=torch.float32) for a in dataset.colour_axes)

    def once() -> None:
        images = torch.from_numpy(dataset.take(torch.randperm(IMAGES, generator=generator).numpy()))
        batch = cut(images, mean, SIZE, *random_crops(images, SIZE, generator))
        colour_noise(batch, axes, "eigenvalue", generator)

    return once


def with_pil(files: Path) -> Callable:
    dataset = folder_with_pil(files)
    return lambda: torch.stack([dataset[i][0] for i in range(IMAGES)])


def in_workers(files: str, workers: str) -> Callable:
    """The same images from a DataLoader with worker processes."""
    loader = DataLoader(folder_with_pil(Path(files)), batch_size=IMAGES // 8, num_workers=int(workers))
    return lambda: list(loader)


def folder_with_pil(files: Path) -> ImageFolder:
    steps = [transforms.Resize(256), transforms.RandomCrop(SIZE), transforms.RandomHorizontalFlip()]
    steps += [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    return ImageFolder(str(files), transforms.Compose(steps))


def with_v2(files: Path) -> Callable:
    steps = [v2.Resize(256, antialias=True), v2.RandomCrop(SIZE), v2.RandomHorizontalFlip()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    prepare, paths = v2.Compose(steps), [path for path, _ in ImageFolder(str(files)).samples]
    return lambda: torch.stack([prepare(decode_jpeg(read_file(p), ImageReadMode.RGB)) for p in paths])


def plain_copy() -> Callable:
    """From the bytes of the crops to float32, in order and with nothing done to them."""
    crops = torch.randint(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=torch.uint8)
    return lambda: torch.empty(crops.shape).copy_(crops)


def write_jpegs(folder: Path, count: int) -> Path:
    """Real photographs in ImageNet's usual size, about 500x375, as JPEG files, one class a photograph."""
    photographs = photographs10()
    for i in range(count):
        place = folder / f"class{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photographs[i % 10]).resize((500, 375)).save(place / f"{i:04d}.jpg", quality=90)
    return folder
