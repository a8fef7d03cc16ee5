"""Sixty kinds of files that a folder of images may hold: each is right, or is reported with a reason."""

import io
import re

import numpy as np
from helpers import TURNS, png_of_16_bits, tries
from PIL import Image

from alexnet_lib.data import images
from alexnet_lib.data.dataset import PackedDataset, pack
from alexnet_lib.data.images import prepare, prepared_or_reason


def content(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture() -> Image.Image:
    """A smooth picture of 60x48, whose corners differ in colour."""
    y, x = np.mgrid[0:48, 0:60] / 60
    return Image.fromarray((np.stack([x, y, 1 - x], -1).clip(0, 1) * 255).astype(np.uint8))


def good() -> dict[str, bytes]:
    """Files of the same picture in many forms."""
    p = picture()
    exif = Image.Exif()
    found = {
        "plain.jpg": content(p, "JPEG", quality=95),
        "progressive.jpg": content(p, "JPEG", quality=95, progressive=True),
        "full_colour.jpg": content(p, "JPEG", quality=95, subsampling=0),
        "half_colour.jpg": content(p, "JPEG", quality=95, subsampling=1),
        "restarts.jpg": content(p, "JPEG", quality=95, restart_marker_blocks=2),
        "comment.jpg": content(p, "JPEG", quality=95, comment=b"x" * 60_000),
        "profile.jpg": content(p, "JPEG", quality=95, icc_profile=b"no profile"),
        "cmyk.jpg": content(p.convert("CMYK"), "JPEG", quality=95),
        "more_behind_it.jpg": content(p, "JPEG", quality=95) + b"more" * 99,
        "jpeg_named.png": content(p, "JPEG", quality=95),
        "png_named.jpg": content(p, "PNG"),
        "gif_named.tif": content(p, "GIF"),
        "UPPER.JPEG": content(p, "JPEG", quality=95),
        "plain.png": content(p, "PNG"),
        "palette.png": content(p.quantize(256), "PNG"),
        "opaque.png": content(p.convert("RGBA"), "PNG"),
        "16_bits.png": png_of_16_bits(np.asarray(p).astype(np.uint16) * 257),
        "text_chunk.png": content(p, "PNG", pnginfo=chunk_of_text()),
        "plain.gif": content(p, "GIF"),
        "animated.gif": content(p, "GIF", save_all=True, append_images=[p.rotate(180)]),
        "animated.png": content(p, "PNG", save_all=True, append_images=[p.rotate(180)]),
        "animated.webp": content(p, "WEBP", quality=95, save_all=True, append_images=[p.rotate(180)]),
        "plain.webp": content(p, "WEBP", quality=95),
        "lossless.webp": content(p, "WEBP", lossless=True),
        "plain.bmp": content(p, "BMP"),
        "plain.ppm": content(p, "PPM"),
        "plain.tif": content(p, "TIFF"),
        "lzw.tif": content(p, "TIFF", compression="tiff_lzw"),
        "deflate.tif": content(p, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": content(p, "TIFF", compression="jpeg", quality=95),
        "pages.tif": content(p, "TIFF", save_all=True, append_images=[p.rotate(180)]),
        "cmyk.tif": content(p.convert("CMYK"), "TIFF"),
    }
    for orientation, turn in TURNS.items():
        exif[0x0112] = orientation
        found[f"turned_{orientation}.jpg"] = content(p.transpose(Image.Transpose[turn]), "JPEG", quality=95, exif=exif)
    exif[0x0112] = 99
    return found | {"turned_99.jpg": content(p, "JPEG", quality=95, exif=exif)}


def chunk_of_text():
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("about", "this picture", zip=True)
    return info


def wide_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG that claims to be this large."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def bad() -> dict[str, tuple[bytes, str]]:
    """Files that give no picture, each with a pattern of its reason."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    found = {
        "empty.jpg": (b"", "empty file"),
        "one_byte.jpg": (b"\xff", "not an image"),
        "two_bytes.jpg": (b"\xff\xd8", ""),
        "text.jpg": (b"not an image", "not an image"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not an image"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        "document.png": (b"%PDF-1.7\n", "not an image"),
        "archive.png": (b"PK\x03\x04" + b"\0" * 60, "not an image"),
        "zeros.jpg": (b"\0" * 5000, "not an image"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "not an image"),
        "bomb.png": (wide_header(30_000, 30_000) + b"\0\0\0\x09IDAT" + bytes(13), "DecompressionBombError"),
        "header.png": (wide_header(60, 60), ""),
        "no_pixels.png": (wide_header(0, 60), ""),
        "whole_numbers.tif": (content(Image.fromarray(np.ones((9, 9), np.int32)), "TIFF"), "32-bit pixels"),
        "real_numbers.tif": (content(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "32-bit pixels"),
    }
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        whole = content(noise, kind)
        found[f"half_{kind}.png"] = (whole[: len(whole) // 2], "")
    return found


def odd() -> dict[str, tuple[bytes, tuple]]:
    """Pictures of one colour in odd forms."""
    one = {
        "1x1.png": (1, 1),
        "30000x1.png": (30_000, 1),
        "1x30000.png": (1, 30_000),
        "30000x40.jpg": (30_000, 40),
        "3x2.gif": (3, 2),
    }
    found = {
        name: (content(Image.new("RGB", size, (90, 90, 90)), "JPEG" if "jpg" in name else name[-3:]), 90)
        for name, size in one.items()
    }
    found["grey.jpg"] = content(Image.new("L", (50, 40), 90), "JPEG"), 90
    found["grey.png"] = content(Image.new("L", (50, 40), 90), "PNG"), 90
    found["grey_16.png"] = content(Image.fromarray(np.full((40, 50), 90 * 257, np.uint16)), "PNG"), 90
    found["black_and_white.png"] = content(Image.new("1", (50, 40), 1), "PNG"), 255
    found["black_and_white.tif"] = content(Image.new("1", (50, 40), 1), "TIFF", compression="group4"), 255
    found["clear.png"] = content(Image.new("RGBA", (50, 40), (255, 0, 0, 0)), "PNG"), 255
    found["clear_grey.png"] = content(Image.new("LA", (50, 40), (0, 0)), "PNG"), 255
    return found


def test_each_kind_is_right_or_reported_and_the_counts_add_up(tmp_path):
    """With simplejpeg and without: the imaging library has the last word."""
    kinds = good(), odd(), bad()
    assert sum(map(len, kinds)) >= 60
    folder = tmp_path / "tree" / "a"
    folder.mkdir(parents=True)
    expected = np.asarray(picture().resize((20, 16), Image.Resampling.BILINEAR)).astype(int)[:, 2:18]
    for name, whole in good().items():
        (folder / name).write_bytes(whole)
        error = np.abs(prepare(folder / name, 16) - expected).mean()
        assert error < (12 if name in ("plain.gif", "animated.gif", "gif_named.tif", "palette.png") else 5), (name, error)
    for name, (whole, value) in odd().items():
        (folder / name).write_bytes(whole)
        assert np.abs(prepare(folder / name, 16).astype(int) - value).max() <= 1, name
    for name, (whole, words) in bad().items():
        (folder / name).write_bytes(whole)
        reason = prepared_or_reason(str(folder / name), 16)
        assert isinstance(reason, str) and re.search(words, reason), (name, reason)
        assert reason.isprintable() and str(tmp_path) not in reason
    pack(str(tmp_path / "tree"), tmp_path / "out", size=16, allow_broken=True, progress=False)
    kinds = [name for some in kinds for name in some]
    listed = {line.split("\t")[0] for line in (tmp_path / "out/broken.txt").read_text().splitlines()}
    assert listed == {f"a/{name}" for name in bad()}
    assert len(PackedDataset.open(tmp_path / "out")) == len(kinds) - len(bad())


def mutated(whole: bytes, rng: np.random.Generator) -> bytes:
    """With a few bytes changed, cut out, doubled or cut off."""
    raw, kind = bytearray(whole), rng.integers(4)
    for _ in range(rng.integers(1, 9)):
        at, length = int(rng.integers(len(raw))), int(rng.integers(1, 30))
        if kind == 0:
            raw[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            raw[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del raw[at : at + length]
        else:
            raw[at:at] = raw[at : at + length]
    return bytes(raw[: rng.integers(1, len(raw) + 1)] if rng.random() < 0.2 else raw)


@tries(60, 5000)
def test_damaged_jpegs_get_the_verdict_of_the_imaging_library(tmp_path, monkeypatch, tries, counted):
    """The same pixels or the same reason as without the fast reader, and never an error."""
    rng, path = np.random.default_rng(0), tmp_path / "x.jpg"
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)).resize((90, 70))
    wholes = [content(noisy, "JPEG", quality=q, progressive=p) for q in (50, 95) for p in (False, True)]
    fast, verdicts = images.decode_jpeg, {"picture": 0, "reported": 0}
    for i in range(tries):
        path.write_bytes(mutated(wholes[i % 4], rng))
        monkeypatch.setattr(images, "decode_jpeg", fast)
        found = prepared_or_reason(str(path), 16)
        monkeypatch.setattr(images, "decode_jpeg", None)
        slow = prepared_or_reason(str(path), 16)
        assert np.array_equal(found, slow), (i, found, slow)
        verdicts["reported" if isinstance(found, str) else "picture"] += 1
    print(f"{tries} mutated JPEG files: {verdicts}")
    must = "right pixels or a line in the report, as the imaging library has it"
    counted("bytes of a JPEG file changed, cut out, doubled or cut off", must, tries, sum(verdicts.values()))
