"""What the network has learned (section 6.1): kernels, their colour selectivity, hidden features and neighbours.

Chapter 11 looks at all of them. The selectivity of every first-layer kernel is in the records of runs in results/, and
the kernels lie beside them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .augment import centre_view
from .evaluation import images_of
from .model import AlexNet


def kernels(model: AlexNet, layer: str = "conv1") -> Tensor:
    """The weights of a convolutional layer, float32 (kernels, channels, size, size), on the CPU; tower after tower."""
    return next(model.named_layers()[layer].parameters()).detach().cpu().float()


def colour_selectivity(weights: Tensor) -> Tensor:
    """How much of each kernel looks at colour: the share of its energy outside the grey axis R = G = B.

    0 for a kernel that weighs the three channels alike, 1 for one whose channels cancel out on grey; a kernel of
    independent random weights has 2/3 on average.

    Args:
        weights: (K, 3, S, S).

    Returns:
        float (K,), 0 to 1.
    """
    grey = 3 * weights.mean(1).square().sum((1, 2))
    return 1 - grey / weights.square().sum((1, 2, 3)).clamp(min=1e-12)


def centre_views(model: AlexNet, dataset, batch_size: int = 500) -> Iterator[Tensor]:
    """The centre view of every image as the network takes it, so many at a time: float32 (n, 3, S, S) on its device."""
    device, config = next(model.parameters()).device, model.config
    mean_image = torch.from_numpy(dataset.mean_image).to(device)
    for images in images_of(dataset, device, batch_size):
        yield centre_view(images, mean_image, config.image_size, config.pixel_std)[0]


@torch.inference_mode()
def hidden_features(model: AlexNet, dataset, batch_size: int = 500) -> np.ndarray:
    """The last hidden layer for the centre view of every image: float32 (N, units); 4096 units in the paper's network."""
    model.eval()
    return torch.cat([model.hidden(x).float().cpu() for x in centre_views(model, dataset, batch_size)]).numpy()


def pixel_features(dataset, side: int = 64, batch_size: int = 500) -> np.ndarray:
    """The images themselves as vectors: float32 (N, 3 * S * S), 0 to 1.

    S is the images' own size, up to `side`; larger ones are averaged down to it, so that 10,000 images of 256 pixels
    take 0.5 GB and not 8. What distances between pixels see of a photograph is coarse anyway.
    """
    pixels = []
    for images in images_of(dataset, torch.device("cpu"), batch_size):
        images = images.permute(0, 3, 1, 2) / 255
        pixels.append((adaptive_avg_pool2d(images, side) if dataset.size > side else images).flatten(1))
    return torch.cat(pixels).numpy()


def nearest(among: np.ndarray, of: np.ndarray, count: int = 5) -> np.ndarray:
    """Places in `among` (N, D) of the nearest vectors to each of `of` (M, D), by Euclidean distance: int64 (M, count).

    Where `among` has fewer than `count` vectors, all of them.
    """
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=min(count, len(among))).fit(among).kneighbors(of, return_distance=False)


def same_class_share(places: np.ndarray, labels_among: np.ndarray, labels_of: np.ndarray) -> float:
    """Share, in percent, of neighbours that have the class of the image they are neighbours of."""
    return 100 * float((labels_among[places] == np.asarray(labels_of)[:, None]).mean())
