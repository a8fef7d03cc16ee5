"""The batches of a run (sections 4.1 and 5): which images, in which order, cropped and coloured how.

Everything here follows from the seed and the number of the step, and nothing from the number of processes: each draws
for the whole batch and keeps its own part (tests/test_torchrun.py). How fast batches come is in results/bench/.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .augment import colour_noise, cut, random_crops
from .config import InputError, ModelConfig, TrainConfig
from .system.workers import each_ahead


class Batches:
    """The batches of a training set for one of `world` processes.

    A batch of config.batch_size images, or of the whole set where that is smaller, is shared by all processes; this one
    gets every world-th image of it. What an epoch leaves over after its last whole batch is left out of that epoch.

    Args:
        dataset: a PackedDataset.
        model, config: the network's input, and how to train.
        device: where the batches go.
        rank, world: which process this is, of how many.

    Raises:
        InputError: there are more processes than images in a batch, or one image for batch normalisation.
    """

    def __init__(self, dataset, model: ModelConfig, config: TrainConfig, device: torch.device, rank: int = 0, world: int = 1):
        self.dataset, self.model, self.config, self.device = dataset, model, config, device
        self.size = min(config.batch_size, len(dataset))
        if self.size < world:
            raise InputError(f"a batch of {self.size} images leaves some of {world} processes without one: set batch_size")
        if self.size == 1 and model.norm.kind == "batch":
            raise InputError("batch normalisation compares the images of a batch, and there is one: set batch_size or norm.kind")
        self.per_epoch = len(dataset) // self.size
        self.part = slice(rank, None, world)  # of a batch: the images of this process
        self.mean_image = torch.from_numpy(dataset.mean_image).to(device)
        values, vectors = (torch.as_tensor(a, dtype=torch.float32, device=device) for a in dataset.colour_axes)
        self.axes = values, vectors
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def chosen(self, step: int) -> np.ndarray:
        """The places in the data set of this process's images of a step: each epoch has an order of its own."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng(mix(self.config.seed, epoch)).permutation(len(self.dataset))
            self._epoch, self._order = epoch, order
        return self._order[position * self.size : (position + 1) * self.size][self.part]

    def fetch(self, step: int) -> tuple[Tensor, Tensor]:
        """uint8 images (n, H, W, 3) and int64 labels (n,) of a step, where the device reads them fastest."""
        chosen = self.chosen(step)
        images, labels = torch.from_numpy(self.dataset.take(chosen)), torch.from_numpy(self.dataset.labels[chosen])
        return (images.pin_memory(), labels.pin_memory()) if self.device.type == "cuda" else (images, labels)

    def ahead(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of these steps on the device, each fetched while the one before it is trained on."""
        for images, labels in each_ahead(self.fetch, range(first, last)):
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def augment(self, images: Tensor, step: int, noise: bool = True) -> Tensor:
        """Crops, mirrors and colours the images of a step (section 4.1): float32 (n, 3, S, S).

        Args:
            noise: False leaves the colours alone.
        """
        c, m = self.config, self.model
        generator = Generator(self.device).manual_seed(mix(c.seed, step))
        shared: dict[str, Any] = {"whole": self.size, "part": self.part}
        how: dict[str, Any] = {"crop": c.random_crop, "mirror": c.mirror, "images_per_draw": c.images_per_draw}
        crops = random_crops(images, m.image_size, generator, **how, **shared)
        batch = cut(images, self.mean_image, m.image_size, *crops, m.pixel_std)
        if noise and c.colour_noise != "none":
            generator = Generator(self.device).manual_seed(mix(c.seed, step, -1))
            colour_noise(batch, self.axes, c.colour_noise, generator, sigma=c.colour_sigma, pixel_std=m.pixel_std, **shared)
        return batch.contiguous(memory_format=torch.channels_last if c.channels_last else torch.contiguous_format)


def split_holdout(dataset, config: TrainConfig):
    """(training set, validation set or None): config.holdout images validate, and config.limit of the others train.

    Both are drawn with config.holdout_seed; see data.dataset.PackedDataset.divide.
    """
    return dataset.divide(config.holdout, config.limit, config.holdout_seed)


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))
