"""Whole an epoch of the small network on images of 32x32 pixels, data included, against the loop that textbooks show."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from alexnet_lib import AlexNet, ModelConfig, TrainConfig, open_dataset
from alexnet_lib.data.dataset import PackedDataset
from alexnet_lib.system.precision import Precision, settled
from alexnet_lib.training import fit

from .network import with_torchs_lrn
from .turns import in_turns

BATCH, EPOCHS = 128, 1
TARGETS = {"bfloat16": 3.0, "float32": 2.0}  # by the precision that the preset settles on here


def rows(turns: int) -> Iterator[dict]:
    dataset = open_dataset("photos10")
    images = EPOCHS * (len(dataset) // BATCH) * BATCH
    with tempfile.TemporaryDirectory() as folder:
        own = settled(TrainConfig.preset("laptop").precision, "cpu")
        for precision in dict.fromkeys((own, "float32")):
            with_preset = "with preset laptop" if precision == own else "with preset laptop in float32"
            what = f"an epoch of the small network {with_preset}, {len(dataset)} images of photos10, against a textbook loop"
            target = TARGETS[own] if precision == own else 0.0
            yield in_turns(what, library(dataset, Path(folder), precision), textbook(dataset), turns, images, target)


def library(dataset: PackedDataset, folder: Path, precision: Precision) -> Callable:
    """A run of its own each time, with its checkpoint."""
    training = replace(TrainConfig.preset("laptop"), batch_size=BATCH, epochs=EPOCHS, precision=precision)
    run = (folder / f"{precision}-{i}" for i in count())
    return lambda: fit(AlexNet(ModelConfig.preset("small"), seed=0), dataset, None, training, next(run), progress=False)


class Pictures(Dataset):
    """The same images as torchvision's CIFAR10 gives them: pictures that go through transforms one by one."""

    def __init__(self, dataset: PackedDataset, transform: Callable):
        self.pixels, self.labels, self.transform = dataset.take(range(len(dataset))), dataset.labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, np.int64]:
        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def textbook(dataset: PackedDataset) -> Callable:
    """One process, as a first script has it: DataLoader, PIL transforms, torch's normalisation, torch's SGD."""
    steps = [transforms.RandomCrop(28), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.5] * 3, [0.25] * 3))
    loader = DataLoader(Pictures(dataset, transforms.Compose(steps)), BATCH, shuffle=True, drop_last=True)

    def once() -> None:
        net: nn.Module = with_torchs_lrn(AlexNet(ModelConfig.preset("small"), seed=0))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for _ in range(EPOCHS):
            for images, labels in loader:
                optimiser.zero_grad()
                cross_entropy(net(images), labels).backward()
                optimiser.step()

    return once
