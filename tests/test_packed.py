"""Packing: every kind of image comes out right, broken ones are reported, nothing is lost to a kill."""

import errno
import io
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from filelock import FileLock
from helpers import ROOT, TURNS, make_tree, png_of_16_bits, run, tries
from PIL import Image

from alexnet_lib import InputError, TrainConfig, open_dataset
from alexnet_lib.batches import split_holdout
from alexnet_lib.data import images, packing, shards, sources
from alexnet_lib.data import photos10 as photos
from alexnet_lib.data.dataset import PackedDataset, pack
from alexnet_lib.data.images import central_square, prepare, prepared_or_reason
from alexnet_lib.system import workers

PUBLISHED = np.array([0.2175, 0.0188, 0.0045])  # eigenvalues of ImageNet's RGB, pixels in 0 to 1


@pytest.fixture
def picture() -> Image.Image:
    """A smooth picture of 300x400, whose corners differ in colour."""
    y, x = np.mgrid[0:400, 0:300] / 400
    return Image.fromarray((np.stack([x, y, 1 - x], -1).clip(0, 1) * 255).astype(np.uint8))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 32 images of 16x16."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 32 * 3 * 16 * 16)


def stored(image: Image.Image, path, **options) -> np.ndarray:
    image.save(path, **options)
    return prepare(path, 256).astype(int)


# One image


def test_section_2_against_torchvision(photographs_of_all_shapes):
    """Shorter side to 256, central 256x256: as torchvision's transforms do it, but for how half pixels are rounded."""
    from torchvision.transforms import functional as F

    for image in photographs_of_all_shapes:
        ours = prepare_image(image).astype(int)
        theirs = np.asarray(F.center_crop(F.resize(image, 256), [256, 256])).astype(int)
        assert ours.shape == (256, 256, 3) and np.abs(ours - theirs).mean() < 4
        if (image.width * 256 / min(image.size)).is_integer() and (image.height * 256 / min(image.size)).is_integer():
            assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 0.01  # of 256 grey levels


def prepare_image(image: Image.Image) -> np.ndarray:
    return central_square(np.asarray(image), 256)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_both_readers_of_jpeg_files_give_the_same_pixels(photographs, tmp_path, monkeypatch, mode, options):
    import simplejpeg

    read = []
    monkeypatch.setattr(images, "decode_jpeg", lambda *a: read.append(1) or simplejpeg.decode_jpeg(*a))
    for i, pixels in enumerate(photographs[:3]):
        path = tmp_path / f"{i}.jpg"
        Image.fromarray(pixels[: 200 + i]).convert(mode).save(path, **options)
        with Image.open(path) as image:
            expected = central_square(np.asarray(image.convert("RGB")), 256)
        assert np.array_equal(prepare(path, 256), expected)
    assert len(read) == 3  # the fast one read them all


def test_a_damaged_jpeg_file_is_judged_by_the_imaging_library(photographs, tmp_path):
    content = io.BytesIO()
    Image.fromarray(photographs[0]).save(content, "JPEG")
    whole = content.getvalue()
    for length in (len(whole) // 2, len(whole) - 1, len(whole)):
        (tmp_path / "x.jpg").write_bytes(whole[:length])
        try:
            with Image.open(tmp_path / "x.jpg") as image:
                expected = central_square(np.asarray(image), 256)
        except OSError as error:
            expected = f"OSError: {error}"
        assert np.array_equal(prepared_or_reason(str(tmp_path / "x.jpg"), 256), expected), length


@pytest.mark.parametrize("size", [16, 31, 256, 263])
def test_sums_of_products_are_exact(size):
    for pixels in (np.full((size, size, 3), 255, np.uint8), np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)):
        flat = pixels.reshape(-1, 3).astype(np.int64)
        assert np.array_equal(shards._products(pixels), flat.T @ flat)


@pytest.fixture(scope="module")
def photographs_of_all_shapes():
    whole = Image.fromarray(sources.photographs10()[0])  # 512x512
    return [
        whole,
        *(whole.resize(size) for size in ((500, 375), (375, 500), (512, 256), (256, 384), (100, 130), (256, 256), (257, 300))),
    ]


def test_section_2_by_hand(picture, tmp_path):
    found = stored(picture, tmp_path / "x.png")
    scaled = picture.resize((256, 341), Image.Resampling.BILINEAR)
    assert np.abs(found - np.asarray(scaled)[42 : 42 + 256]).max() <= 1


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (1, 1), (3, 1000)])
def test_strips_and_dots_take_little_memory(tmp_path, size):
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "x.png")
    assert (prepare(tmp_path / "x.png", 256) == (9, 8, 7)).all()
    thirds = np.zeros((3000, 30, 3), dtype=np.uint8)
    thirds[1500 - 15 : 1500 + 15] = 255  # of a strip, the middle is kept
    Image.fromarray(thirds).save(tmp_path / "y.png")
    assert prepare(tmp_path / "y.png", 64)[1:-1].min() > 250


def test_every_kind_of_image_becomes_rgb(picture, tmp_path):
    expected = stored(picture, tmp_path / "rgb.png")

    def error(found) -> float:
        return np.abs(found - expected).mean()

    for name, options in (
        ("a.jpg", {"quality": 95}),
        ("progressive.jpg", {"quality": 95, "progressive": True}),
        ("a.webp", {"quality": 95}),
    ):
        assert error(stored(picture, tmp_path / name, **options)) < 2
    for name in ("a.bmp", "a.ppm", "a.tif"):
        assert error(stored(picture, tmp_path / name)) == 0
    assert error(stored(picture.quantize(256), tmp_path / "palette.png")) < 8
    assert error(stored(picture.convert("RGBA"), tmp_path / "rgba.png")) == 0
    picture.save(tmp_path / "png_named.JPEG", format="PNG")
    assert error(prepare(tmp_path / "png_named.JPEG", 256).astype(int)) == 0
    black_and_white = stored(picture.convert("1"), tmp_path / "one.png")
    assert black_and_white.shape == expected.shape and black_and_white.max() == 255


def test_cmyk(picture, tmp_path):
    """Adobe writes CMYK inverted, and so do the files without its marker that are met in practice."""
    import simplejpeg

    expected = stored(picture, tmp_path / "rgb.png")
    found = stored(picture.convert("CMYK"), tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(found - expected).mean() < 3
    theirs = simplejpeg.decode_jpeg((tmp_path / "cmyk.jpg").read_bytes(), "CMYK").astype(int)  # another reader of such files
    theirs = (theirs[..., :3] * theirs[..., 3:] / 255).round().astype(np.uint8)
    assert np.abs(found - prepare_image(Image.fromarray(theirs)).astype(int)).mean() < 2
    content = (tmp_path / "cmyk.jpg").read_bytes()
    at = content.index(b"\xff\xeeAdobe"[:2])
    assert content[at + 4 : at + 9] == b"Adobe"
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    (tmp_path / "unmarked.jpg").write_bytes(content[:at] + content[at + 2 + length :])
    assert np.abs(prepare(tmp_path / "unmarked.jpg", 256) - expected).mean() < 3
    assert np.abs(stored(picture.convert("CMYK"), tmp_path / "cmyk.tif") - expected).mean() < 1


def test_greys_and_16_bits(picture, tmp_path):
    grey = stored(picture.convert("L"), tmp_path / "l.png")
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all() and np.ptp(grey) > 100
    assert np.abs(stored(picture.convert("L"), tmp_path / "l.jpg", quality=95) - grey).max() <= 4
    assert np.array_equal(stored(picture.convert("LA"), tmp_path / "la.png"), grey)
    high = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    for name in ("16.png", "16.tif", "16.pgm"):
        assert np.abs(stored(Image.fromarray(high), tmp_path / name) - grey).max() <= 1
    dark = Image.fromarray(np.full((300, 300), 200, dtype=np.uint16))  # nearly black in 16 bits, and to stay so
    assert stored(dark, tmp_path / "dark.png").max() == 0
    rgb = np.asarray(picture).astype(np.uint16) * 257
    (tmp_path / "rgb16.png").write_bytes(png_of_16_bits(rgb))
    assert np.array_equal(prepare(tmp_path / "rgb16.png", 256), stored(picture, tmp_path / "rgb.png"))
    Image.fromarray(np.ones((9, 9), dtype=np.float32)).save(tmp_path / "float.tif")
    assert "32-bit pixels" in prepared_or_reason(str(tmp_path / "float.tif"), 256)


def test_white_shows_through_what_is_transparent(tmp_path):
    clear = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    assert (stored(clear, tmp_path / "rgba.png") == 255).all()
    half = Image.new("RGBA", (300, 300), (255, 0, 0, 128))
    assert stored(half, tmp_path / "half.png")[9, 9].tolist() == [255, 127, 127]
    palette = Image.new("P", (300, 300), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert stored(palette, tmp_path / "p.png")[0, 0].tolist() == [10, 20, 30]
    assert (stored(palette, tmp_path / "clear.png", transparency=1) == 255).all()
    assert (stored(palette, tmp_path / "clear.gif", transparency=1) == 255).all()
    assert (stored(Image.new("LA", (300, 300), (0, 0)), tmp_path / "la.png") == 255).all()
    assert (stored(Image.new("RGB", (300, 300), (1, 2, 3)), tmp_path / "key.png", transparency=(1, 2, 3)) == 255).all()


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_rotation(picture, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = picture.transpose(Image.Transpose[TURNS[orientation]])
    upright = stored(picture, tmp_path / "y.png")
    assert np.array_equal(stored(turned, tmp_path / "x.png", exif=exif), upright)
    assert np.abs(stored(turned, tmp_path / "x.jpg", exif=exif, quality=95) - upright).mean() < 2


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02"]
)
def test_odd_exif_does_not_spoil_an_image(picture, tmp_path, exif):
    picture.save(tmp_path / "x.jpg", exif=exif, quality=95)
    found = prepared_or_reason(str(tmp_path / "x.jpg"), 256)
    assert np.abs(found - stored(picture, tmp_path / "y.png")).mean() < 2


def test_reasons(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = io.BytesIO()
        noise.save(whole, kind)
        (tmp_path / kind).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        assert isinstance(prepared_or_reason(str(tmp_path / kind), 16), str), kind
        (tmp_path / kind).write_bytes(whole.getvalue())
        assert prepared_or_reason(str(tmp_path / kind), 16).shape == (16, 16, 3)
    progressive = io.BytesIO()
    noise.save(progressive, "JPEG", progressive=True)
    (tmp_path / "cut").write_bytes(progressive.getvalue()[:-500])
    assert "truncated" in prepared_or_reason(str(tmp_path / "cut"), 16)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")  # would run a program
    (tmp_path / "folder").mkdir()
    found = {name: prepared_or_reason(str(tmp_path / name), 16) for name in ("empty", "text.jpg", "x.eps", "folder", "absent")}
    assert (found["empty"], found["text.jpg"], found["x.eps"]) == ("empty file", "not an image", "not an image")
    assert all(str(tmp_path) not in reason and "\n" not in reason for reason in found.values())


def test_any_damage_is_a_reason_or_an_image_and_never_an_error(picture, tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "TIFF", "GIF"):
        whole = io.BytesIO()
        picture.resize((30, 40)).save(whole, kind)
        for _ in range(60):
            raw = np.frombuffer(whole.getvalue(), dtype=np.uint8).copy()
            raw[rng.integers(0, len(raw), 8)] = rng.integers(0, 256, 8)
            (tmp_path / "x").write_bytes(raw.tobytes())
            found = prepared_or_reason(str(tmp_path / "x"), 16)
            assert isinstance(found, str) or found.shape == (16, 16, 3)


# A set


def broken_tree(folder, good=150):
    make_tree(folder, ("train/a", "train/b"), count=good // 2)
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(whole, "JPEG")
    (folder / "train/a/cut.jpg").write_bytes(whole.getvalue()[:900])
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_image_is_reported_and_the_pack_goes_on(tmp_path, small_shards, workers):
    tree = broken_tree(tmp_path / "tree")
    said = pack(f"folder:{tree}", tmp_path / "out", size=16, workers=workers)
    assert said == f"150 images of 16x16 are in {tmp_path / 'out'}; 1 broken ones were left out"
    dataset = PackedDataset.open(tmp_path / "out")
    dataset.verify()
    assert len(dataset) == 150 and np.bincount(dataset.labels).tolist() == [75, 75]
    name, reason = (tmp_path / "out/broken.txt").read_text().strip().split("\t")
    assert name == "a/cut.jpg" and "truncated" in reason
    (tree / "train/b/empty.png").write_bytes(b"")
    (tree / "train/b/text.jpg").write_text("not an image")
    with pytest.raises(InputError, match="3 of 153 images are broken, more than 1 %"):
        pack(f"folder:{tree}", tmp_path / "more", size=16, workers=workers)
    reasons = dict(line.split("\t") for line in (tmp_path / "more/broken.txt").read_text().splitlines())
    assert (reasons["b/empty.png"], reasons["b/text.jpg"]) == ("empty file", "not an image")
    with pytest.raises(InputError, match=r"was not finished: index\.json is missing"):
        PackedDataset.open(tmp_path / "more")
    pack(f"folder:{tree}", tmp_path / "more", size=16, allow_broken=True)
    assert len(PackedDataset.open(tmp_path / "more")) == 150


def test_mended_images_are_packed_when_it_is_started_again(tmp_path, small_shards):
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=40)
    good = (tree / "a/3.png").read_bytes()
    (tree / "a/3.png").write_bytes(b"")
    with pytest.raises(InputError, match="Mend them and start again"):
        pack(str(tree), tmp_path / "out", size=16)
    (tree / "a/3.png").write_bytes(good)
    pack(str(tree), tmp_path / "out", size=16)
    assert len(PackedDataset.open(tmp_path / "out")) == 80 and not (tmp_path / "out/broken.txt").read_text()


def test_the_labels_of_what_is_left_stay_with_their_images(tmp_path, small_shards):
    tree = tmp_path / "tree"
    for label in range(5):
        make_tree(tree, (f"c{label}",), count=0)
        for i in range(20):
            Image.new("RGB", (16, 16), (label * 50, i * 10, 0)).save(tree / f"c{label}" / f"{i:02d}.png")
        (tree / f"c{label}" / "17.png").write_bytes(b"")  # in a shard with images of the next class
    pack(str(tree), tmp_path / "out", allow_broken=True)
    dataset = PackedDataset.open(tmp_path / "out")
    pixels = dataset.take(range(len(dataset)))
    assert len(dataset) == 95 and (pixels[:, 3, 3, 0] == dataset.labels * 50).all()
    assert pixels[:19, 3, 3, 1].tolist() == [i * 10 for i in range(20) if i != 17]
    for shard in dataset.shards:
        assert np.load(dataset.folder / shard["file"], mmap_mode="r").shape == (shard["count"], 16, 16, 3)


def test_mean_covariance_and_random_access(tmp_path, small_shards):
    tree = make_tree(tmp_path / "tree", count=50)
    rng = np.random.default_rng(0)
    for path in tree.rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
    for path in tree.glob("train/a/*.png"):
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(path)
    pack(f"folder:{tree}", tmp_path / "out", size=16)
    train, test = (PackedDataset.open(tmp_path / "out", s) for s in ("train", "test"))
    assert len(train.shards) == 4 and test.split == "test"
    assert PackedDataset.open(tmp_path / "out", "val").checksum == test.checksum
    pixels = train.take(range(100))
    assert pixels.dtype == np.uint8 and pixels.shape == (100, 16, 16, 3) and pixels.flags.c_contiguous and pixels.flags.writeable
    assert np.array_equal(train.mean_image, pixels.mean(0, dtype=np.float64).astype(np.float32))
    np.testing.assert_allclose(train.colour_covariance, np.cov(pixels.reshape(-1, 3).T / 255, bias=True), atol=1e-14)
    assert train.mean_image.dtype == np.float32 and train.labels.dtype == np.int64
    assert (test.mean_image == train.mean_image).all() and (test.colour_covariance == train.colour_covariance).all()
    values, vectors = train.colour_axes
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, train.colour_covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert (np.diff(values) <= 0).all()
    order = np.random.default_rng(0).permutation(100)
    assert (train.take(order) == pixels[order]).all() and (train.take([3, 3]) == pixels[[3, 3]]).all()
    assert train.take([]).shape == (0, 16, 16, 3)
    with pytest.raises(IndexError):
        train.take([100])
    part = train.subset(order[:60])
    assert (part.take([5, 0]) == pixels[order[[5, 0]]]).all() and (part.labels == train.labels[order[:60]]).all()
    assert (part.subset([1, 2]).take([0]) == pixels[order[1]]).all() and len(part) == 60
    assert len({train.checksum, test.checksum, part.checksum, train.subset(order).checksum}) == 4
    copied = pickle.loads(pickle.dumps(part))
    assert "_maps" in vars(part) and "_maps" not in vars(copied)  # or the pixels would travel to every worker
    assert (copied.take([5, 0]) == part.take([5, 0])).all()


def test_the_sums_are_exact():
    """Whole numbers where floating point would have rounded: ImageNet has 8e10 pixels."""
    pixels, value = 84_000_000_000, 255
    flat = packing._covariance([value * pixels] * 3, [[value**2 * pixels] * 3] * 3, pixels)
    assert flat == [[0.0] * 3] * 3
    one_off = packing._covariance([value * pixels - 1] * 3, [[value**2 * pixels - 2 * value + 1] * 3] * 3, pixels)
    assert one_off[0][0] == pytest.approx((1 - 1 / pixels) / pixels / 255**2, rel=1e-12)


def test_axes_are_the_same_way_round_everywhere(photos10):
    _, vectors = photos10[0].colour_axes
    assert (vectors.sum(0) > 0).all()
    grey = PackedDataset.open(photos10[0].folder)
    object.__setattr__(grey, "colour_covariance", np.diag([0.3, 0.2, 0.1]))
    assert np.array_equal(np.abs(grey.colour_axes[1]), np.eye(3))


# What can be damaged, half done or in the way


def flip(path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)


def state_of(folder) -> dict:
    """What is in a packed set, but for what an earlier run left to be forgotten."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A packed set of 40 images of 8x8 in two splits, of which the training split has groups; and its tree."""
    tree = make_tree(tmp_path_factory.mktemp("few") / "tree", count=10, size=(8, 8))
    pack(str(tree), tree.parent / "out")
    return tree.parent / "out", tree


@tries(60, 200)
def test_one_bit_flipped_anywhere_but_in_the_pixels_is_found_on_opening(few, tmp_path, tries, counted):
    """In labels, mean image, groups, index and the headers of shards. An index that says the same may be laid out otherwise."""
    folder = shutil.copytree(few[0], tmp_path / "p")
    opened = PackedDataset.open(folder)
    index = json.loads((folder / "index.json").read_text())
    rng, flipped = np.random.default_rng(0), 0
    for name in ("labels-train.npy", "mean_image.npy", "index.json", "train-00000.npy"):
        whole = (folder / name).read_bytes()
        length = len(whole) if name != "train-00000.npy" else 128
        for at in rng.choice(length, min(tries, length), replace=False).tolist():
            flipped += 1
            raw = bytearray(whole)
            raw[at] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(raw)
            try:
                found = PackedDataset.open(folder)
            except InputError as error:
                assert "\n" not in str(error) and "Pack into it again" in str(error)
            else:
                assert name == "index.json" and json.loads(raw) == index and found.checksum == opened.checksum, (name, at)
        (folder / name).write_bytes(whole)
    PackedDataset.open(folder).verify()
    fault = "a bit flipped in labels, mean image, index or a shard's header of a packed set"
    counted(fault, "found when the set is opened", flipped, flipped)


@pytest.mark.parametrize(
    "name", ["labels-train.npy", "mean_image.npy", "index.json", "train-00000.npy", ".parts/train-00000.npz"]
)
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone", "swapped"])
def test_what_is_damaged_is_made_again_by_packing_again(few, tmp_path, name, damage):
    folder, tree = shutil.copytree(few[0], tmp_path / "p"), few[1]
    before, path = state_of(folder), folder / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "swapped":
        other = {"mean_image.npy": "labels-train.npy", "index.json": "broken.txt"}.get(name, name.replace("train", "test"))
        shutil.copy(folder / other, path)
        if name == "train-00000.npy":  # of the same length and header
            with pytest.raises(InputError, match=r"train-00000\.npy is damaged\. Remove that file and pack into"):
                PackedDataset.open(folder).verify()
            path.unlink()
    else:
        at = 64 if name.startswith("train-") else len(whole) // 2  # in the pixels only `verify` finds it
        path.write_bytes(
            {"flipped": whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :], "cut": whole[:at], "empty": b""}[damage]
        )
    if name == ".parts/train-00000.npz" and damage == "swapped":
        with pytest.raises(InputError, match="holds shards of other images"):
            pack(str(tree), folder)
        return
    pack(str(tree), folder)
    after = state_of(folder)
    assert after.keys() == before.keys()
    assert all(after[p] == before[p] for p in before if p.suffix != ".npz")  # such a file holds a time
    PackedDataset.open(folder).verify()


def test_open_dataset_mends_its_own_sets(tmp_path):
    tree = make_tree(tmp_path / "tree", size=(8, 8))
    dataset = open_dataset(str(tree), root=tmp_path / "data", progress=False)
    for name in ("labels-train.npy", "mean_image.npy", "train-00000.npy"):
        raw = bytearray((dataset.folder / name).read_bytes())
        raw[20] ^= 1
        (dataset.folder / name).write_bytes(raw)
        again = open_dataset(str(tree), root=tmp_path / "data", progress=False)
        assert again.checksum == dataset.checksum and (again.labels == dataset.labels).all()
        again.verify()


def test_what_is_whole_is_not_called_damaged(few, tmp_path):
    """A set of a newer version, or without a test split; and one of the first format opens as it did."""
    folder = shutil.copytree(few[0], tmp_path / "p")
    index = json.loads((folder / "index.json").read_text())

    def complaint(split: str, **changes) -> str:
        changed = {k: v for k, v in (index | changes).items() if k != "sha256"}
        (folder / "index.json").write_text(json.dumps(changed | {"sha256": packing.index_checksum(changed)}))
        with pytest.raises(InputError) as caught:
            PackedDataset.open(folder, split)
        assert not any(word in str(caught.value) for word in ("damaged", "Remove", "remove"))
        return str(caught.value)

    assert "has format 3, this library reads 2" in complaint("train", format=3)
    assert "has no test split, only train" in complaint("test", splits={"train": index["splits"]["train"]})
    (folder / "index.json").write_text(
        json.dumps({k: v for k, v in (index | {"format": 1}).items() if k not in ("sha256", "listing")})
    )
    assert PackedDataset.open(folder).checksum == PackedDataset.open(few[0]).checksum


@pytest.mark.parametrize("change", ["added", "replaced", "removed", "renamed"])
def test_images_that_changed_after_packing_are_noticed(tmp_path, change):
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    dataset = open_dataset(str(tree), root=tmp_path / "data")
    other = Image.new("RGB", (8, 8), (1, 2, 3))
    if change == "removed":
        (tree / "a/3.png").unlink()
    elif change == "renamed":
        (tree / "a/3.png").rename(tree / "b/9.png")
    else:
        other.save(tree / "a" / ("9.png" if change == "added" else "3.png"))
    with pytest.raises(InputError, match="were added, removed or replaced since they were packed"):
        open_dataset(str(tree), root=tmp_path / "data")
    assert open_dataset(dataset.folder).checksum == dataset.checksum  # the way to go on with the old ones
    shutil.rmtree(dataset.folder)
    assert open_dataset(str(tree), root=tmp_path / "data").checksum != dataset.checksum


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_an_image_that_was_replaced_is_packed_again(tmp_path, damaged):
    """Also where packing was to mend the set, and where the facts are of before they named their files."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=20, size=(8, 8))
    pack(str(tree), tmp_path / "out")
    facts = tmp_path / "out/.parts/train-00000.npz"
    done = facts.stat().st_mtime_ns
    if damaged:
        (tmp_path / "out/index.json").unlink()
    other = Image.new("RGB", (8, 8), (1, 2, 3))
    other.save(tree / "a/0.png")
    pack(str(tree), tmp_path / "out")
    assert (PackedDataset.open(tmp_path / "out").take([0]) == (1, 2, 3)).all() and facts.stat().st_mtime_ns > done
    with np.load(facts) as file:
        older = {name: array for name, array in file.items() if name != "files"}
    with open(facts, "wb") as file:
        np.savez(file, **older)
    other = Image.new("RGB", (8, 8), (4, 5, 6))
    other.save(tree / "a/0.png")
    pack(str(tree), tmp_path / "out")
    assert (PackedDataset.open(tmp_path / "out").take([0]) == (4, 5, 6)).all()


def test_a_copy_of_a_tree_with_other_times_is_not_packed_again(tmp_path):
    """Nor is one of which an image was opened and saved: what it holds counts, and is looked at only then."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    pack(str(tree), tmp_path / "out")
    facts = tmp_path / "out/.parts/train-00000.npz"
    done = facts.stat().st_mtime_ns
    os.utime(tree / "a/1.png", ns=(1, 1))
    pack(str(tree), tmp_path / "out")
    assert facts.stat().st_mtime_ns == done
    content = bytearray((tree / "a/1.png").read_bytes())
    content[-1] ^= 1  # of the same length
    (tree / "a/1.png").write_bytes(content)
    pack(str(tree), tmp_path / "out")
    assert facts.stat().st_mtime_ns > done


@tries(300, 2000)
def test_damaged_facts_of_a_shard_count_as_not_known(few, tmp_path, tries, counted):
    """A bit flipped anywhere: what is read is what was written, or nothing, and never an error."""
    folder = shutil.copytree(few[0], tmp_path / "p")
    listing = sources.find(str(few[1])).read()
    part = next(p for p in packing._plan(folder, listing.splits, 8, large=False) if p.split == "train")
    content, right, dice = part.facts.read_bytes(), part.known(), np.random.default_rng(0)
    assert right is not None
    for at in dice.integers(0, len(content), tries).tolist():
        raw = bytearray(content)
        raw[at] ^= 1 << int(dice.integers(8))
        part.facts.write_bytes(raw)
        facts = part.known()
        assert facts is None or all(np.array_equal(facts[name], right[name]) for name in shards.FACTS), at
    counted("a bit flipped in what is known of a shard", "the shard is packed again", tries, tries)


def test_facts_that_cannot_be_read_at_present_are_kept(few, tmp_path, monkeypatch):
    folder = shutil.copytree(few[0], tmp_path / "p")
    part = shards.Shard(folder, "train", 0, [], np.zeros(0, np.int64), 8)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(PermissionError):
        part.known()


def test_a_tree_with_an_index_of_its_own_is_no_packed_set(tmp_path):
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    for text in ('{"version": 3, "files": []}', "[]", "{"):
        (tree / "index.json").write_text(text)
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        assert open_dataset(str(tree), root=tmp_path / "data", progress=False).classes == ("a", "b")
    (tree / "index.json").unlink()
    os.mkfifo(tree / "index.json")  # which would be waited for
    assert len(open_dataset(str(tree), root=tmp_path / "data", progress=False)) == 8


@pytest.mark.parametrize("name", ["index.json", "labels-train.npy", "train-00000.npy", ".parts/train-00000.npz"])
def test_a_pipe_in_a_packed_set_is_damage_and_never_waited_for(few, tmp_path, name):
    folder = shutil.copytree(few[0], tmp_path / "p")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    if not name.startswith("."):
        with pytest.raises(InputError, match="is damaged"):
            PackedDataset.open(folder)
    pack(str(few[1]), folder)
    PackedDataset.open(folder).verify()


def test_an_index_of_something_else_is_not_replaced(few, tmp_path):
    """Nor is that of another packed set whose copy lacks the hidden folder that would tell."""
    site, copy = tmp_path / "site", tmp_path / "copy"
    site.mkdir()
    (site / "index.json").write_text('{"title": "mine"}')
    shutil.copytree(few[0], copy, ignore=shutil.ignore_patterns(".*"))
    other = str(make_tree(tmp_path / "tree", ("c", "d"), size=(8, 8)))
    for folder in (site, copy):
        before = (folder / "index.json").read_bytes()
        with pytest.raises(InputError, match=r"has an index\.json that packing would replace"):
            pack(other, folder)
        assert (folder / "index.json").read_bytes() == before
    pack(str(few[1]), copy)
    assert (copy / ".parts").is_dir()


def test_a_set_that_was_packed_again_since_it_was_opened_is_not_read_with_the_old_labels(tmp_path):
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    pack(str(tree), tmp_path / "out", workers=1)
    before, used = PackedDataset.open(tmp_path / "out"), PackedDataset.open(tmp_path / "out")
    pixels = used.take([4])
    (tree / "a/0.png").write_bytes(b"")
    pack(str(tree), tmp_path / "out", workers=1, allow_broken=True)
    with pytest.raises(InputError, match="was packed again since it was opened"):
        before.take([4])
    assert (used.take([4]) == pixels).all()  # it has the old file, and reads on in it


@pytest.mark.parametrize("then", ["replaced", "removed"])
def test_an_image_that_changes_while_it_is_packed(tmp_path, monkeypatch, then):
    """Its pixels were read, and then it was another or gone: what was packed is not taken for what is there now."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    first = tree / "a/0.bmp"
    read = shards._pixels_or_reason
    Image.new("RGB", (8, 8), (1, 2, 3)).save(first)

    def read_and_changed(image, size):
        pixels = read(image, size)
        if image == str(first):
            first.unlink() if then == "removed" else Image.new("RGB", (8, 8), (4, 5, 6)).save(first)
        return pixels

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_pixels_or_reason", read_and_changed)
        pack(str(tree), tmp_path / "out", workers=1)
    if then == "replaced":
        pack(str(tree), tmp_path / "out", workers=1)
        assert (PackedDataset.open(tmp_path / "out").take([0]) == (4, 5, 6)).all()


def test_images_of_the_far_future(tmp_path):
    """Nanoseconds since 1970 have more than 63 bits from the year 2262 on."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    os.utime(tree / "a/0.png", (2**34, 2**34))
    assert pack(str(tree), tmp_path / "out").startswith("8 images")


@pytest.mark.parametrize(
    "name, change",
    [
        ("labels-train.npy", lambda labels: labels + 9),
        ("labels-train.npy", lambda labels: labels - 100),  # what torch passes over in silence
        ("labels-train.npy", lambda labels: labels[:-1]),
        ("labels-train.npy", lambda labels: labels.astype(float)),
        ("mean_image.npy", lambda mean: mean[:1, :1]),
        ("mean_image.npy", lambda mean: mean * np.nan),
        ("index.json", lambda index: index | {"colour_covariance": [[1.0]]}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_whatever_their_checksums_say(few, tmp_path, name, change):
    folder = shutil.copytree(few[0], tmp_path / "p")
    index = json.loads((folder / "index.json").read_text())
    if name == "index.json":
        index = change(index)
    else:
        np.save(folder / name, change(np.load(folder / name)))
        index["files"][name] = shards.sha256_of(folder / name)
    index.pop("sha256")
    (folder / "index.json").write_text(json.dumps(index | {"sha256": packing.index_checksum(index)}))
    with pytest.raises(InputError, match=r"is damaged \(.*\)\. Pack into it again"):
        PackedDataset.open(folder)


@pytest.mark.parametrize("splits", ["{}", '["x", 3]'])
def test_an_index_of_hardly_anything_gets_one_line(tmp_path, splits):
    tree = make_tree(tmp_path / "t", ("a",), size=(8, 8))
    (tree / "index.json").write_text(f'{{"format": 1, "splits": {splits}}}')
    with pytest.raises(InputError, match="t has no train split"):
        open_dataset(tree, root=tmp_path)


def test_a_split_that_was_packed_once_and_is_gone_is_not_there(tmp_path):
    tree = make_tree(tmp_path / "tree", size=(8, 8))
    pack(str(tree), tmp_path / "out")
    assert PackedDataset.open(tmp_path / "out").has_split("test")
    shutil.rmtree(tree / "val")
    pack(str(tree), tmp_path / "out")
    assert not PackedDataset.open(tmp_path / "out").has_split("test")


def test_packing_again_that_was_stopped_leaves_no_set_of_old_and_new(tmp_path, monkeypatch):
    """Its checksums and its mean image would be of pixels that are no longer there."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), size=(8, 8))
    pack(str(tree), tmp_path / "out")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tree / "a/0.png")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, "_write_index", lambda *_: signal.raise_signal(signal.SIGINT))
        pack(str(tree), tmp_path / "out")
    with pytest.raises(InputError, match="was not finished"):
        PackedDataset.open(tmp_path / "out")
    pack(str(tree), tmp_path / "out")
    PackedDataset.open(tmp_path / "out").verify()


def test_what_was_broken_and_what_is_in_both_are_verified_too(few, tmp_path):
    folder = shutil.copytree(few[0], tmp_path / "p")
    for name in ("broken.txt", "in_both.txt"):
        before = (folder / name).read_bytes()
        (folder / name).write_text("a/1.png\tnot an image\n")
        with pytest.raises(InputError, match=rf"{name} is damaged"):
            PackedDataset.open(folder).verify()
        (folder / name).write_bytes(before)


def test_images_that_are_in_both_splits_are_counted_and_named(tmp_path):
    tree = make_tree(tmp_path / "tree", count=0)
    for i, name in enumerate(("train/a/x", "train/b/y", "test/a/z")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(tree / f"{name}.png")
    shutil.rmtree(tree / "val")
    for name in ("a/copy", "a/once_more"):
        shutil.copy(tree / "train/b/y.png", tree / f"test/{name}.png")
    said = pack(str(tree), tmp_path / "out")
    assert "; 2 test images are training images too, see in_both.txt: a/copy.png is b/y.png" in said
    assert (tmp_path / "out/in_both.txt").read_text() == "a/copy.png\tb/y.png\na/once_more.png\tb/y.png\n"
    assert json.loads((tmp_path / "out/index.json").read_text())["in_both"] == 2


def test_who_waits_for_another_process_says_so_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "out" / ".parts").mkdir(parents=True)
    monkeypatch.setattr(shards, "PATIENCE", 0.01)
    has_it = threading.Event()

    def hold(lock) -> None:
        with FileLock(lock):
            has_it.set()
            time.sleep(0.3)

    for name in "ab":
        lock = tmp_path / "out" / ".parts" / f"{name}.lock"
        other = threading.Thread(target=hold, args=(lock,))
        other.start()
        has_it.wait()
        with shards.one_at_a_time(lock):
            other.join()
        has_it.clear()
    assert (
        capsys.readouterr().err == f"note: another process packs into {tmp_path / 'out'} too: waiting for what it has in hand\n"
    )


def test_copies_of_an_image_are_held_out_together(tmp_path):
    tree = make_tree(tmp_path / "tree", ("train/a", "train/b"), count=20)
    for path in sorted(tree.rglob("*.png"))[::3]:
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    pack(f"folder:{tree}", tmp_path / "out", size=32, progress=False)
    packed = PackedDataset.open(tmp_path / "out")
    for seed in range(5):
        kept, held = packed.divide(20, seed=seed)
        pixels = [{image.tobytes() for image in part.take(range(len(part)))} for part in (kept, held)]
        assert len(held) >= 4 and not pixels[0] & pixels[1]
    for path in tree.rglob("copy*"):
        path.unlink()
    pack(f"folder:{tree}", tmp_path / "plain", size=32, progress=False)
    assert PackedDataset.open(tmp_path / "plain").groups is None  # as ever


def test_images_that_are_in_two_classes_are_counted_and_named(tmp_path):
    tree = make_tree(tmp_path / "tree")
    shutil.copy(tree / "train/a/0.png", tree / "train/a/twin.png")  # of the same class: nothing is torn
    shutil.copy(tree / "train/a/0.png", tree / "train/b/torn.png")
    said = pack(str(tree), tmp_path / "out", size=16)
    assert "; 1 training images are in another class too: b/torn.png is a/" in said


def test_a_packed_set_is_not_packed_again(tmp_path):
    pack(str(make_tree(tmp_path / "tree")), tmp_path / "out", size=16)
    with pytest.raises(InputError, match="out is a packed set, not a tree of images: name it as the data by its path alone"):
        pack(f"folder:{tmp_path / 'out'}", tmp_path / "again", size=16)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_broken_images_is_refused_whatever_is_allowed(tmp_path, split):
    tree = make_tree(tmp_path / "tree")
    for path in tree.glob(f"{split}/*/*.png"):
        path.write_bytes(b"")
    name = split.replace("val", "test")
    with pytest.raises(InputError, match=f"every image of the {name} split is broken: .*broken.txt lists them"):
        pack(str(tree), tmp_path / "out", size=16, allow_broken=True)


def test_a_class_without_an_image_left_is_named(tmp_path):
    tree = make_tree(tmp_path / "tree")
    for path in tree.glob("train/b/*.png"):
        path.write_bytes(b"")
    said = pack(str(tree), tmp_path / "out", size=16, allow_broken=True)
    assert "; no training image is left of 1 classes, such as b" in said


def test_no_held_out_patch_shares_a_pixel_with_a_training_patch(photos10):
    """The patches of a block overlap: a block is held out whole, from each photograph as many as go."""
    train, held = split_holdout(photos10[0], TrainConfig.preset("quick"))
    assert len(held) == 300 and not set(train.groups) & set(held.groups)
    assert len(train) > 2600 and np.bincount(train.labels).min() > 200 and np.bincount(held.labels, minlength=10).min() >= 15
    corners = [
        (label, top, left)
        for label, photograph in enumerate(sources.photographs10())
        for top, left in photos.patch_corners(*photograph.shape[:2], "train", photos.TRAIN_PATCHES)
    ]
    used = np.zeros((2, 10, 1500, 1500), dtype=bool)
    for which, part in enumerate((train, held)):
        for place in part.order:
            label, top, left = corners[place]
            used[which, label, top : top + photos.PATCH, left : left + photos.PATCH] = True
    assert used.any((1, 2, 3)).all() and not (used[0] & used[1]).any()
    assert photos10[1].groups is not None and not set(photos10[1].groups) & set(photos10[0].groups)
    fewer = split_holdout(photos10[0].subset(range(0, 3000, 2)), TrainConfig.preset("quick", limit=100))
    assert len(fewer[0]) == 100 and not set(fewer[0].groups) & set(fewer[1].groups)


@pytest.mark.parametrize("name", ["train-00000.npy", "labels-train.npy", "mean_image.npy"])
def test_a_flipped_bit_is_found(tmp_path, name):
    pack("photos10", tmp_path / "p")
    dataset = PackedDataset.open(tmp_path / "p")
    dataset.verify()
    flip(tmp_path / "p" / name)
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        dataset.verify()
    (tmp_path / "p" / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        dataset.verify()


def test_a_damaged_folder_is_said_in_one_line(tmp_path):
    pack("photos10", tmp_path / "p")
    index, shard = tmp_path / "p/index.json", tmp_path / "p/train-00000.npy"
    whole, facts = shard.read_bytes(), json.loads(index.read_text())

    def complaint() -> str:
        with pytest.raises(InputError) as caught:
            open_dataset(str(tmp_path / "p"), root=tmp_path / "data")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    shard.write_bytes(whole[:-100])
    assert "train-00000.npy is cut short" in complaint()
    shard.unlink()
    assert "train-00000.npy is missing" in complaint()
    shard.write_bytes(whole)
    (tmp_path / "p/mean_image.npy").write_bytes(b"")
    assert "is damaged" in complaint()
    for text, words in (
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("[" * 100_000, "is damaged"),
        (json.dumps({k: v for k, v in facts.items() if k != "splits"}), "is damaged (index.json has another checksum)"),
        (json.dumps({k: v for k, v in facts.items() if k != "sha256"}), "is damaged ('sha256')"),
    ):
        index.write_text(text)
        assert words in complaint()
    index.unlink()
    assert "was not finished: index.json is missing" in complaint()  # and is not taken for a tree of images
    with pytest.raises(InputError, match="no packed set"):
        PackedDataset.open(tmp_path / "nowhere")


def test_another_source_does_not_land_in_a_folder_that_is_taken(tmp_path):
    first, second = (
        make_tree(tmp_path / "first"),
        make_tree(tmp_path / "second", ("train/a", "train/c", "val/a", "val/c")),
    )
    Image.new("RGB", (40, 30)).save(second / "train/a/4.png")
    pack(str(first), tmp_path / "out", size=16)
    checksum = PackedDataset.open(tmp_path / "out").checksum
    for data, options in ((str(second), {"size": 16}), (str(first), {"size": 24}), ("photos10", {})):
        with pytest.raises(InputError, match="holds shards of other images"):
            pack(data, tmp_path / "out", **options)
    pack(str(first), tmp_path / "out", size=16)
    assert PackedDataset.open(tmp_path / "out").checksum == checksum
    moved = first.rename(tmp_path / "moved")  # another machine sees the same tree elsewhere
    pack(str(moved), tmp_path / "out", size=16)
    assert PackedDataset.open(tmp_path / "out").checksum == checksum


def test_several_machines_each_pack_a_part(tmp_path, small_shards):
    tree = make_tree(tmp_path / "tree", count=50)
    said = [pack(str(tree), tmp_path / "parts", size=16, shard=(part, 3)) for part in range(3)]
    assert said[0].startswith("3 of 8 shards") and said[1].startswith("6 of 8") and said[2].startswith("200 images")
    pack(str(tree), tmp_path / "whole", size=16)
    for split in ("train", "test"):
        parts, whole = (PackedDataset.open(tmp_path / name, split) for name in ("parts", "whole"))
        assert parts.checksum == whole.checksum and (parts.mean_image == whole.mean_image).all()
    (tmp_path / "parts/index.json").unlink()  # as if the last two had finished at once: any later call sums up
    pack(str(tree), tmp_path / "parts", size=16, shard=(1, 3))
    PackedDataset.open(tmp_path / "parts").verify()


def test_a_shard_that_is_being_written_again_is_left_to_who_does_it(tmp_path, small_shards, monkeypatch):
    """A process that started later does shards with broken images once more, while this one comes to the index."""
    tree, sum_up = broken_tree(tmp_path / "tree"), packing._write_index

    def meanwhile(facts, listing, plan, allow_broken):
        plan[0].pixels.write_bytes(b"the pixels of the other process, whose facts come later")
        return sum_up(facts, listing, plan, allow_broken)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write_index", meanwhile)
        said = pack(str(tree), tmp_path / "out", size=16)
    assert said.startswith("another process writes train-00000.npy again") and not (tmp_path / "out/index.json").exists()
    pack(str(tree), tmp_path / "out", size=16)
    PackedDataset.open(tmp_path / "out").verify()


PROGRAM = """
import sys
from alexnet_lib.data import packing
packing.SHARD_BYTES = 256 * 3 * 16 * 16
packing.pack(sys.argv[1], sys.argv[2], size=16, workers=2)
"""


def start_packing(tree, out) -> subprocess.Popen:
    """Packs in a process group of its own, and waits until the first shard is there."""
    command = [sys.executable, "-c", PROGRAM, str(tree), str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.time() + 120
    while not list(out.glob(".parts/train-*.npz")):
        assert process.poll() is None and time.time() < deadline, "packing ended before it could be stopped"
        time.sleep(0.001)
    return process


def processes_of(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[0] == str(group) and "Z" not in line.split()[1]]


@pytest.mark.parametrize("kind", ["kill", "ctrl-c"])
def test_stopped_and_started_again(tmp_path, kind, monkeypatch):
    """Shards that were done are not done again, no process is left behind, and the bytes are those of a quiet run."""
    tree, out = make_tree(tmp_path / "tree", count=1500), tmp_path / "out"
    process = start_packing(tree, out)
    if kind == "kill":
        process.send_signal(signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode and not (out / "index.json").exists()
    assert errors.count("Traceback") == (0 if kind == "kill" else 1)  # that of the main process alone
    deadline = time.time() + 20
    while processes_of(process.pid):
        assert time.time() < deadline, "its workers live on"
        time.sleep(0.05)
    done = {p: p.stat().st_mtime_ns for p in out.glob(".parts/*.npz")}
    with pytest.raises(InputError, match="was not finished"):
        open_dataset(str(out))
    monkeypatch.setattr(packing, "SHARD_BYTES", 256 * 3 * 16 * 16)
    pack(str(tree), out, size=16, workers=2)
    assert done and {p: p.stat().st_mtime_ns for p in done} == done
    assert not list(out.rglob("*.partial"))
    PackedDataset.open(out).verify()
    pack(str(tree), tmp_path / "quiet", size=16, workers=1)
    for split in ("train", "test"):
        assert PackedDataset.open(out, split).checksum == PackedDataset.open(tmp_path / "quiet", split).checksum
    assert len(PackedDataset.open(out)) == 3000


def test_a_full_disk_and_a_killed_worker(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "tree")

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shards, "header_of", no_space)
        with pytest.raises(InputError, match=r"cannot pack into .*: No space left on device; free some space. Started again"):
            pack(str(tree), tmp_path / "out", size=16)
    assert not list(tmp_path.rglob("*.partial"))
    with monkeypatch.context() as patch:
        patch.setattr(shards, "header_of", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(InputError, match="was killed"):
            pack(str(tree), tmp_path / "out", size=16, workers=2)
    pack(str(tree), tmp_path / "out", size=16)
    PackedDataset.open(tmp_path / "out").verify()


def test_a_file_that_may_not_grow_so_large(tmp_path, few):
    """As with a quota: the kernel refuses in the middle of a file."""
    tree = make_tree(tmp_path / "tree", count=20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot pack into .*: File too large.* Started again, it goes on"):
            pack(str(tree), tmp_path / "out", size=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    pack(str(tree), tmp_path / "out", size=16)
    assert not list(tmp_path.rglob("*.partial"))
    PackedDataset.open(tmp_path / "out").verify()


@tries(1, 20)
def test_two_packs_in_one_folder(tmp_path, tries, counted):
    """Both come to an end, each shard is written once, and where one of them is killed the other takes over."""
    rng, tree = np.random.default_rng(0), make_tree(tmp_path / "tree", count=400)
    quiet = subprocess.run([sys.executable, "-c", PROGRAM, str(tree), str(tmp_path / "quiet")], cwd=ROOT, check=True)
    assert quiet.returncode == 0
    for race in range(tries):
        out = tmp_path / f"{race}"
        command = [sys.executable, "-c", PROGRAM, str(tree), str(out)]
        first, second = (subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2))
        if race % 2:
            while not list(out.glob("*.partial")) and first.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.2)
            first.kill()
        errors = [process.communicate(timeout=600)[1] for process in (first, second)]
        assert second.returncode == 0 and (race % 2 or first.returncode == 0), errors
        assert not list(out.rglob("*.partial"))
        for split in ("train", "test"):
            dataset = PackedDataset.open(out, split)
            dataset.verify()
            assert dataset.checksum == PackedDataset.open(tmp_path / "quiet", split).checksum
    fault = "two packings in one folder at once, one of them killed every other time"
    counted(fault, "the set is the same to the last bit", tries, tries)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("pack", "photos10", tmp_path / "file" / "x")
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: cannot pack into")
    with pytest.raises(InputError, match="Name another place with ALEXNET_DATA"):
        open_dataset("photos10", root=tmp_path / "file")


def test_an_image_that_may_not_be_read_is_reported(tmp_path, monkeypatch):
    """Simulated, since the superuser may read everything."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=2, size=(8, 8))

    def refuse(path, *rest, **options):
        if str(path).endswith("a/1.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **options)

    opened = Image.open
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(InputError, match="1 of 4 images are broken, more than 1 %"):
        pack(str(tree), tmp_path / "out")
    assert (tmp_path / "out/broken.txt").read_text() == "a/1.png\tPermissionError: [Errno 13] Permission denied: '1.png'\n"
    monkeypatch.undo()
    pack(str(tree), tmp_path / "out")  # it may be read by now
    assert len(PackedDataset.open(tmp_path / "out")) == 4


def test_packing_where_processes_are_spawned(tmp_path, small_shards, monkeypatch):
    """As they are on macOS and Windows: what travels to them can be sent, and the set is the same."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=20)
    pack(str(tree), tmp_path / "one", size=16, workers=1)
    monkeypatch.setattr(workers, "START", "spawn")
    pack(str(tree), tmp_path / "two", size=16, workers=2)
    one, two = (PackedDataset.open(tmp_path / name) for name in ("one", "two"))
    assert len(two.shards) == 2 and one.checksum == two.checksum


# Opening


def test_open_dataset_packs_once(tmp_path):
    tree = make_tree(tmp_path / "tree", size=(32, 32))
    first = open_dataset(f"folder:{tree}", root=tmp_path / "data", progress=False)
    assert first.size == 32 and first.name == "tree" and first.has_split("test") and first.has_split("val")
    assert first.folder.parent == tmp_path / "data/packed" and first.folder.name.startswith("tree-32-")
    before = os.stat(first.folder / "index.json").st_mtime_ns
    again = open_dataset(str(tree), "val", root=tmp_path / "data")
    assert os.stat(again.folder / "index.json").st_mtime_ns == before and again.folder == first.folder
    assert open_dataset(f"folder:{first.folder}").checksum == open_dataset(first.folder).checksum == first.checksum
    other = make_tree(tmp_path / "elsewhere" / "tree", ("train/a", "train/c"), size=(32, 32))
    assert open_dataset(str(other), root=tmp_path / "data").classes == ("a", "c")
    with pytest.raises(InputError, match="tree has no test split, only train"):
        open_dataset(str(other), "test", root=tmp_path / "data")
    held = open_dataset(str(other), "test", root=tmp_path / "data", holdout=0.25)
    assert len(held) == 2 and len(open_dataset(str(other), root=tmp_path / "data")) == 8


def test_a_set_opened_by_a_short_path_is_read_from_any_folder(few, tmp_path, monkeypatch):
    monkeypatch.chdir(few[0].parent)
    dataset = PackedDataset.open("out")
    monkeypatch.chdir(tmp_path)
    assert len(dataset.take([0])) == 1 and dataset.has_split("test")


def test_places_are_what_numpy_takes(photos10):
    """A mask too: taken for numbers it would be the first two images, again and again."""
    train = photos10[0]
    third = train.subset(train.labels == 3)
    assert set(third.labels) == {3} and (third.order == np.flatnonzero(train.labels == 3)).all()
    assert (third.take(np.arange(len(third)) < 2) == train.take(third.order[:2])).all()
    assert len(train.subset([])) == len(train.take([])) == 0
    with pytest.raises(IndexError):
        train.take([0.7])


MANY = """
import resource, sys
from alexnet_lib import open_dataset
dataset = open_dataset(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (len(dataset.shards), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
dataset.take(range(len(dataset)))
"""


def test_more_shards_than_a_process_may_usually_open(tmp_path, monkeypatch):
    """As ImageNet has: a training and a validation set map a thousand each, and 1,024 files are what many systems allow."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 4 * 4 * 3 * 8 * 8)
    pack(str(make_tree(tmp_path / "tree", ("a", "b"), count=60, size=(8, 8))), tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", MANY, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_home_is_a_place_to_pack_into(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    pack(str(make_tree(tmp_path / "tree", ("a",), count=1, size=(8, 8))), "~/out")
    assert (tmp_path / "home/out/index.json").exists() and not (tmp_path / "~").exists()


def test_size(tmp_path):
    for wrong in (0, -5, 10**6):
        with pytest.raises(InputError, match="1 to 4,096 pixels"):
            open_dataset(str(make_tree(tmp_path / str(wrong), ("a", "b"))), root=tmp_path / "data", size=wrong)
    tree = make_tree(tmp_path / "tree", ("a", "b"))
    assert open_dataset(str(tree), root=tmp_path / "data").size == 256
    assert open_dataset(str(tree), root=tmp_path / "data", size=24).size == 24
    small = make_tree(tmp_path / "small", ("a", "b"), size=(32, 32))
    pack(str(small), tmp_path / "out", size=256)
    assert PackedDataset.open(tmp_path / "out").size == 32


def test_processes_that_start_together_pack_once(tmp_path):
    """As those of a distributed run do."""
    tree = make_tree(tmp_path / "tree", ("a", "b"), count=100)
    program = "import sys; from alexnet_lib import open_dataset; print(open_dataset(sys.argv[1], root=sys.argv[2]).checksum)"
    command = [sys.executable, "-c", program, str(tree), str(tmp_path / "data")]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in started]
    assert len({out for out, _ in said}) == 1 and said[0][0]
    assert sum("packing tree" in errors for _, errors in said) == 1


def test_opening_reads_no_pixels(photos10):
    dataset = PackedDataset.open(photos10[0].folder)
    assert "_maps" not in vars(dataset)
    assert isinstance(dataset._maps[0].base, np.memmap) and dataset._maps[0].base.mode == "r"
    started = time.process_time()
    for _ in range(10):
        PackedDataset.open(photos10[0].folder)
    assert time.process_time() - started < 1


def test_pages_are_shared(tmp_path):
    """What two processes read of a set is in memory once."""
    smaps = "/proc/self/smaps"
    if not os.path.exists(smaps):
        pytest.skip("needs /proc/self/smaps to see which pages are shared")
    pack("photos10", tmp_path / "p")
    dataset = PackedDataset.open(tmp_path / "p")
    dataset.take(range(len(dataset)))
    with open(smaps) as file:
        text = file.read()
    entry = text[text.index(str(tmp_path / "p/train-00000.npy")) :].split("\n")
    fields = {line.split(":")[0]: int(line.split()[1]) for line in entry[1:20] if line.endswith(" kB")}
    assert fields["Rss"] > 8000 and fields["Anonymous"] == 0  # pages of the file, none of its own


def test_colours_of_photos10_are_like_imagenets(photos10):
    values, vectors = photos10[0].colour_axes
    print("photos10: eigenvalues", values, "over the published", values / PUBLISHED)
    assert values[0] == pytest.approx(PUBLISHED[0], rel=0.2) and (values[1:] / PUBLISHED[1:] < 4).all()
    assert vectors[:, 0] == pytest.approx(np.full(3, 3**-0.5), abs=0.2)  # the first axis is nearly grey


def test_colours_of_the_imagenet_sample_are_imagenets(samples, tmp_path):
    dataset = open_dataset(f"folder:{samples / 'imagenet-sample'}", root=tmp_path)
    assert len(dataset) == 500 and dataset.name == "imagenet-sample" and not dataset.has_split("test")
    values, vectors = dataset.colour_axes
    print("imagenet-sample: eigenvalues", values, "over the published", values / PUBLISHED)
    assert (np.abs(values / PUBLISHED - 1) < 0.2).all()
    assert vectors[:, 0] == pytest.approx(np.full(3, 3**-0.5), abs=0.05)
