"""From an image file to the pixels of section 2: RGB, shorter side scaled to the size, the central square kept."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

REASONS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError)


def prepare(path: Path, size: int) -> np.ndarray:
    """uint8 (size, size, 3) of an image file, judged by its content and not by its name.

    Raises one of REASONS where the file is empty, cut short or not an image.
    """
    with Image.open(path) as opened:
        opened.load()
        image = to_rgb(ImageOps.exif_transpose(opened))
    return np.asarray(central_square(image, size))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB: 16-bit values lose their low byte, what is transparent shows white behind it."""
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey; PIL's own conversion would clip at 255
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values / 256 if values.max(initial=0) > 255 else values).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def central_square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side scaled to `size` pixels (bilinear, averaged where it shrinks), the central size x size kept."""
    width, height = image.size
    scale = size / min(width, height)
    scaled = (size, max(size, round(height * scale))) if width <= height else (max(size, round(width * scale)), size)
    if image.size != scaled:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    return image if scaled == (size, size) else image.crop((left, top, left + size, top + size))


def prepare_many(job: tuple[list[Path], int]) -> list[np.ndarray | str]:
    """The prepared images of a list of files; for a broken one, the reason."""
    paths, size = job
    return [_prepared(path, size) for path in paths]


def _prepared(path: Path, size: int) -> np.ndarray | str:
    try:
        if path.stat().st_size == 0:
            return "empty file"
        return prepare(path, size)
    except REASONS as error:
        text = str(error).replace(str(path), path.name)
        return "not an image" if text.startswith("cannot identify") else text
