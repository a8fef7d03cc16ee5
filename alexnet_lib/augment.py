"""Augmentation (section 4.1) on whole batches, on the device: crops and mirrors, colour noise, ten views.

A batch of images is a uint8 tensor (N, H, W, 3) in RGB, as it lies in a packed set. What goes into the network is
float32 (N, 3, S, S). Every random choice comes from the generator that is passed in. All of it agrees with plain loops, crops
and views with torchvision's too (tests/test_augment.py). What crops and colours attain is in results/overfitting/ and
results/ablations/, chapter 6.
"""

from typing import Any

import torch
from torch import Generator, Tensor


def random_crops(
    images: Tensor, size: int, generator: Generator, *, crop: bool = True, mirror: bool = True, images_per_draw: int = 1,
    whole: int | None = None, part: slice = slice(None),
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Where to cut each image and whether to mirror it.

    Args:
        images: uint8 (N, H, W, 3).
        size: side of the crop in pixels.
        crop: False keeps the centre.
        images_per_draw: adjacent images that share one draw: 1 in the paper, 32 in the authors' source.
        whole, part: `images` is this part of a batch of so many images, for all of which are drawn.

    Returns:
        (top, left, mirrored): int64, int64 and bool tensors of shape (N,). There are (H - size + 1)(W - size + 1)
        positions, 33 x 33 for 224 in 256, as in the source; the paper's 2048 counts 32 x 32 of them, twice.
    """
    (height, width), n = images.shape[1:3], whole or len(images)
    drawn: dict[str, Any] = {"size": (-(-n // images_per_draw),), "generator": generator, "device": images.device}
    draws = torch.randint(height - size + 1, **drawn), torch.randint(width - size + 1, **drawn), torch.rand(**drawn) < 0.5
    top, left, mirrored = (draw.repeat_interleave(images_per_draw)[:n][part] for draw in draws)
    if not crop:
        top, left = torch.full_like(top, (height - size) // 2), torch.full_like(left, (width - size) // 2)
    return top, left, mirrored if mirror else torch.zeros_like(mirrored)


def cut(
    images: Tensor, mean_image: Tensor, size: int, top: Tensor, left: Tensor, mirrored: Tensor, pixel_std: float = 1.0
) -> Tensor:
    """Crops and mirrors a batch and subtracts the mean image.

    As in the authors' source, every crop loses the same central part of the mean image, wherever the crop lies.

    Args:
        images: uint8 (N, H, W, 3).
        mean_image: float32 (H, W, 3), in 0 to 255.
        size: side of the crop in pixels.
        top, left, mirrored: as `random_crops` gives them.
        pixel_std: divisor after the subtraction.

    Returns:
        float32 (N, 3, size, size) in channels_last order, which costs no copy here.
    """
    mean = centre(mean_image, size)
    take = _crops_by_index if images.is_cuda else _crops_by_copy
    batch = take(images, mean, size, top, left, mirrored)
    if pixel_std != 1:
        batch.div_(pixel_std)
    return batch.permute(0, 3, 1, 2)


def _crops_by_index(images: Tensor, mean: Tensor, size: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """float32 (N, size, size, 3), the mean subtracted: one operation for the whole batch, as a GPU likes it."""
    steps = torch.arange(size, device=images.device)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(mirrored[:, None], size - 1 - steps, steps)
    picked = images[torch.arange(len(images), device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.float().sub_(mean)


def _crops_by_copy(images: Tensor, mean: Tensor, size: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """The same on a processor: rows are copied whole, and an image stays in the cache until it is done."""
    batch = torch.empty(len(images), size, size, 3)
    for out, image, y, x, flip in zip(batch, images, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
        crop = image[y : y + size, x : x + size]
        out.copy_(crop.flip(1) if flip else crop).sub_(mean)
    return batch


def centre(image: Tensor, size: int) -> Tensor:
    """The central size x size pixels of an image (H, W, 3)."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def colour_noise(
    batch: Tensor, axes: tuple[Tensor, Tensor], kind: str, generator: Generator, *, sigma: float = 0.1, pixel_std: float = 1.0,
    whole: int | None = None, part: slice = slice(None),
) -> Tensor:  # fmt: skip
    """Adds to each image one random colour along the principal axes of the training set's RGB values, in place.

    Args:
        batch: float (N, 3, H, W), as `cut` gives it.
        axes: eigenvalues (3,) and eigenvectors (3, 3), in columns, of the RGB covariance for pixels in 0 to 1.
        kind: "eigenvalue": the paper's rule, p = P (a * lambda), a ~ N(0, sigma). "deviation": the rule of the
            authors' source, p = P (a * sqrt(lambda)), after which the image is divided by 1 + sigma to keep the
            scale of test images.
        pixel_std: what the pixels were divided by. The noise is computed for pixels in 0 to 1 and multiplied by 255:
            the paper's words leave the scale open, and lambda of pixels in 0 to 255 would drown the image.
        whole, part: `batch` is this part of a batch of so many images, for all of which colours are drawn.
    """
    values, vectors = axes
    draws = torch.randn(whole or len(batch), 3, generator=generator, device=batch.device) * sigma
    spread = values if kind == "eigenvalue" else values.clamp(min=0).sqrt()
    colours = ((draws * spread) @ vectors.T * (255 / pixel_std))[part]  # (N, 3)
    # A whole row of each image's colour, pixel by pixel: adding three numbers at a time would take twice as long.
    rows = colours.to(batch.dtype)[:, None, None, :].repeat(1, 1, batch.shape[3], 1)  # (N, 1, W, 3)
    batch.add_(rows.permute(0, 3, 1, 2))
    return batch if kind == "eigenvalue" else batch.div_(1 + sigma)


def view_positions(height: int, width: int, size: int) -> list[tuple[int, int, bool]]:
    """(top, left, mirrored) of the ten views of section 4.1: four corners and the centre, then their mirror images."""
    bottom, right = height - size, width - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [(top, left, mirrored) for mirrored in (False, True) for top, left in places]


def views(
    images: Tensor, mean_image: Tensor, size: int, positions: list[tuple[int, int, bool]], pixel_std: float = 1.0
) -> Tensor:
    """The same views of every image: float32 (len(positions), N, 3, size, size)."""

    def everywhere(value: int | bool) -> Tensor:
        return torch.full((len(images),), value, device=images.device)

    places = [(everywhere(top), everywhere(left), everywhere(mirrored)) for top, left, mirrored in positions]
    return torch.stack([cut(images, mean_image, size, *place, pixel_std) for place in places])


def ten_views(images: Tensor, mean_image: Tensor, size: int, pixel_std: float = 1.0) -> Tensor:
    """The ten views of section 4.1: float32 (10, N, 3, size, size)."""
    return views(images, mean_image, size, view_positions(images.shape[1], images.shape[2], size), pixel_std)


def centre_view(images: Tensor, mean_image: Tensor, size: int, pixel_std: float = 1.0) -> Tensor:
    """The centre crop alone: float32 (1, N, 3, size, size)."""
    return views(images, mean_image, size, view_positions(images.shape[1], images.shape[2], size)[4:5], pixel_std)
