"""From an image file to the pixels of section 2: RGB, shorter side scaled to the size, the central square kept."""

import os
import stat
import warnings
from contextlib import suppress

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch.nn.functional import interpolate

try:
    from simplejpeg import decode_jpeg
except ImportError:  # there is no wheel of it for some systems, and nothing but time is lost
    decode_jpeg = None

from .folders import shown

# What a file may hold, whatever its name says. The library knows more formats, one of which runs a program.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")


def prepare(path: str | os.PathLike, size: int) -> np.ndarray:
    """uint8 (size, size, 3) of an image file, judged by its content and not by its name.

    EXIF rotation is applied, colour profiles are not. Raises some Exception where the file is cut short or no image.
    """
    with Image.open(path, formats=FORMATS) as image:
        return central_square(_pixels(image, path), size)


def _pixels(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """uint8 (H, W, 3) of an opened image. The usual JPEG is read by simplejpeg: the same pixels in 0.6 of the time."""
    if decode_jpeg and image.format == "JPEG" and image.mode in ("RGB", "L") and _orientation(image) == 1:
        with suppress(ValueError):  # the imaging library has the last word on a file that is damaged
            return decode_jpeg(np.fromfile(path, dtype=np.uint8), "RGB")
    image.load()
    return np.array(to_rgb(_upright(image)))


def prepared_or_reason(path: str, size: int) -> np.ndarray | str:
    """What `prepare` returns; for a broken file, the reason in one line."""
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            return "not a file"  # a pipe would be waited for
        with warnings.catch_warnings(action="ignore"):  # of odd metadata, for example
            return prepare(path, size) if facts.st_size else "empty file"
    except UnidentifiedImageError:
        return "not an image"
    except Exception as error:  # a damaged file can make a decoder raise anything
        return shown(f"{type(error).__name__}: {error}".replace(path, os.path.basename(path)))


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # as in _upright
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # EXIF that cannot be read says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB: 16-bit values keep their high byte, and white shows through what is transparent.

    JPEGs in CMYK count as inverted, as Adobe writes them. Raises ValueError for 32-bit values, whose range is unknown.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no agreed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def central_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The shorter side scaled to `size` pixels (bilinear, averaging where it shrinks), the central size x size kept.

    From uint8 (H, W, 3) to uint8 (size, size, 3).

    torch scales bytes about three times as fast as the imaging library, whose values it gives up to one grey level.
    """
    height, width = pixels.shape[:2]
    limit = 8 * min(width, height)  # of a strip, only the middle: scaled whole, one pixel by 65,000 would fill the memory
    if max(width, height) > limit:
        left, top = max(0, (width - limit) // 2), max(0, (height - limit) // 2)
        return central_square(pixels[top : top + limit, left : left + limit], size)
    scale = size / min(width, height)
    scaled = (max(size, round(height * scale)), max(size, round(width * scale)))
    top, left = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    image = image[None].permute(0, 3, 1, 2)  # in channels-last order, which is the fast one
    if scaled != (height, width):
        image = interpolate(image, scaled, mode="bilinear", antialias=True)
    return image.permute(0, 2, 3, 1)[0, top : top + size, left : left + size].contiguous().numpy()
