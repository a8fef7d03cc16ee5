"""Packing: every kind of image comes out right, broken ones are reported, nothing is lost to a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import ROOT, run
from PIL import Image
from test_sources import make_tree

from alexnet_lib import InputError, open_dataset, packed
from alexnet_lib.packed import PackedDataset, pack
from alexnet_lib.prepare import prepare

PUBLISHED = np.array([0.2175, 0.0188, 0.0045])  # eigenvalues of ImageNet's RGB, pixels in 0 to 1


@pytest.fixture
def picture() -> Image.Image:
    """A smooth picture of 300x400 with a red, a green and a blue corner."""
    y, x = np.mgrid[0:400, 0:300] / 400
    return Image.fromarray((np.stack([x, y, 1 - x], -1).clip(0, 1) * 255).astype(np.uint8))


def stored(image: Image.Image, path, **options) -> np.ndarray:
    image.save(path, **options)
    return prepare(path, 256).astype(int)


def test_section_2_by_hand(picture, tmp_path):
    found = stored(picture, tmp_path / "x.png")
    scaled = picture.resize((256, 341), Image.Resampling.BILINEAR)
    assert np.array_equal(found, np.asarray(scaled)[42 : 42 + 256])
    wide = stored(picture.transpose(Image.Transpose.ROTATE_90), tmp_path / "y.png")
    assert wide.shape == (256, 256, 3)
    assert stored(Image.new("RGB", (1000, 3)), tmp_path / "z.png").shape == (256, 256, 3)


def test_every_kind_of_image_becomes_rgb(picture, tmp_path):
    expected = stored(picture, tmp_path / "rgb.png")

    def error(found) -> float:
        return np.abs(found - expected).mean()

    assert error(stored(picture, tmp_path / "a.jpg", quality=95)) < 2
    assert error(stored(picture.convert("CMYK"), tmp_path / "cmyk.jpg", quality=95)) < 3
    assert error(stored(picture.quantize(256), tmp_path / "palette.png")) < 8
    assert error(stored(picture.convert("RGBA"), tmp_path / "rgba.png")) == 0
    picture.save(tmp_path / "png_named.JPEG", format="PNG")
    assert error(prepare(tmp_path / "png_named.JPEG", 256).astype(int)) == 0
    grey = stored(picture.convert("L"), tmp_path / "l.png")
    assert (grey[..., 0] == grey[..., 1]).all() and np.array_equal(grey, stored(picture.convert("L").convert("RGB"), tmp_path / "m.png"))
    sixteen = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    assert np.abs(stored(sixteen, tmp_path / "16.png") - grey).max() <= 1
    assert np.abs(stored(picture.convert("LA"), tmp_path / "la.png") - grey).max() == 0
    clear = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    assert (stored(clear, tmp_path / "clear.png") == 255).all()


@pytest.mark.parametrize("orientation, turn", [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)])
def test_exif_rotation(picture, tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = stored(picture.transpose(turn), tmp_path / "x.png", exif=exif)
    assert np.array_equal(turned, stored(picture, tmp_path / "y.png"))


def broken_tree(folder, good=150):
    make_tree(folder, ("train/a", "train/b"), count=good // 2)
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(whole, "JPEG")
    (folder / "train/a/cut.jpg").write_bytes(whole.getvalue()[:900])
    return folder


def test_a_broken_image_is_reported_and_the_pack_goes_on(tmp_path):
    tree = broken_tree(tmp_path / "tree")
    pack(f"folder:{tree}", tmp_path / "out", size=16)
    dataset = PackedDataset.open(tmp_path / "out")
    assert len(dataset) == 150 and np.bincount(dataset.labels).tolist() == [75, 75]
    assert "cut.jpg\t" in (tmp_path / "out/broken.txt").read_text() and "truncated" in (tmp_path / "out/broken.txt").read_text()
    (tree / "train/b/empty.png").write_bytes(b"")
    (tree / "train/b/text.jpg").write_text("not an image")
    with pytest.raises(InputError, match="3 of 153 images are broken, more than 1 %"):
        pack(f"folder:{tree}", tmp_path / "more", size=16)
    reasons = dict(line.split("\t") for line in (tmp_path / "more/broken.txt").read_text().splitlines())
    assert sorted(v for k, v in reasons.items() if "cut" not in k) == ["empty file", "not an image"]
    with pytest.raises(InputError, match="not a whole one"):
        PackedDataset.open(tmp_path / "more")
    pack(f"folder:{tree}", tmp_path / "more", size=16, allow_broken=True)
    assert len(PackedDataset.open(tmp_path / "more")) == 150


def test_mean_covariance_and_random_access(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SHARD_BYTES", 40 * 3 * 16 * 16)  # several shards
    tree = make_tree(tmp_path / "tree", count=50)
    pack(f"folder:{tree}", tmp_path / "out", size=16)
    train, test = (PackedDataset.open(tmp_path / "out", s) for s in ("train", "test"))
    assert len(train.shards) == 4
    pixels = train.take(range(100))
    assert pixels.dtype == np.uint8 and pixels.shape == (100, 16, 16, 3)
    np.testing.assert_allclose(train.mean_image, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(train.colour_covariance, np.cov(pixels.reshape(-1, 3).T / 255, bias=True), atol=1e-12)
    assert (test.mean_image == train.mean_image).all() and (test.colour_covariance == train.colour_covariance).all()
    values, vectors = train.colour_axes
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, train.colour_covariance, atol=1e-12)
    assert (np.diff(values) <= 0).all()
    order = np.random.default_rng(0).permutation(100)
    assert (train.take(order) == pixels[order]).all() and (train.take([3, 3]) == pixels[[3, 3]]).all()
    part = train.subset(order[:60])
    assert (part.take([5, 0]) == pixels[order[[5, 0]]]).all() and (part.labels == train.labels[order[:60]]).all()
    assert (part.subset([1, 2]).take([0]) == pixels[order[1]]).all()
    assert len({train.checksum, test.checksum, part.checksum}) == 3


def test_damage_is_found(tmp_path):
    pack("photos10", tmp_path / "p")
    PackedDataset.open(tmp_path / "p").verify()
    shard = next((tmp_path / "p").glob("train-*0.npy"))
    raw = bytearray(shard.read_bytes())
    raw[-5] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(InputError, match="is damaged"):
        PackedDataset.open(tmp_path / "p").verify()
    shard.unlink()
    with pytest.raises(InputError, match="is missing"):
        PackedDataset.open(tmp_path / "p")
    index = tmp_path / "p" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        PackedDataset.open(tmp_path / "p")
    index.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        PackedDataset.open(tmp_path / "p")


def test_several_machines_each_pack_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "SHARD_BYTES", 30 * 3 * 16 * 16)
    tree = make_tree(tmp_path / "tree", count=50)
    for part in (0, 1, 2):
        assert not (tmp_path / "parts/index.json").exists()
        pack(f"folder:{tree}", tmp_path / "parts", size=16, shard=(part, 3))
    pack(f"folder:{tree}", tmp_path / "whole", size=16)
    for split in ("train", "test"):
        parts, whole = (PackedDataset.open(tmp_path / n, split) for n in ("parts", "whole"))
        assert parts.checksum == whole.checksum and (parts.mean_image == whole.mean_image).all()


def test_killed_and_started_again(tmp_path):
    """A packing that is killed goes on: shards that were done are not done again."""
    tree, out = make_tree(tmp_path / "tree", count=1500), tmp_path / "out"
    program = (
        "import sys; from alexnet_lib import packed; packed.SHARD_BYTES = 400 * 3 * 16 * 16;"
        f"packed.pack('folder:{tree}', r'{out}', size=16, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not (out / "train-00001.json").exists():
        assert process.poll() is None and time.time() < deadline, "packing ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "index.json").exists()
    done = {p.name: p.stat().st_mtime_ns for p in out.glob("*.json")}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 0
    assert all((out / name).stat().st_mtime_ns == at for name, at in done.items())
    dataset = PackedDataset.open(out)
    dataset.verify()
    assert len(dataset) == 3000


def test_open_dataset_packs_once(tmp_path):
    tree = make_tree(tmp_path / "tree", size=(32, 32))
    first = open_dataset(f"folder:{tree}", root=tmp_path / "data")
    assert first.size == 32 and first.name == "tree" and first.has_split("test")
    before = os.stat(first.folder / "index.json").st_mtime_ns
    again = open_dataset(str(tree), "test", root=tmp_path / "data")
    assert os.stat(again.folder / "index.json").st_mtime_ns == before and again.folder == first.folder
    assert open_dataset(str(first.folder)).checksum == first.checksum
    other = make_tree(tmp_path / "elsewhere" / "tree", ("train/a", "train/c"), size=(32, 32))
    assert open_dataset(str(other), root=tmp_path / "data").classes == ("a", "c")
    with pytest.raises(InputError, match="has no test split"):
        open_dataset(str(other), "test", root=tmp_path / "data")


def test_opening_reads_no_pixels(tmp_path):
    """Opening maps nothing: the time does not depend on the size of the set."""
    pack("photos10", tmp_path / "p")
    dataset = PackedDataset.open(tmp_path / "p")
    assert "_maps" not in vars(dataset)
    assert isinstance(dataset._maps[0], np.memmap) and dataset._maps[0].mode == "r"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("pack", "photos10", tmp_path / "file" / "x")
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: cannot pack into")


def test_colours_of_photographs_are_like_imagenets(photos10, samples):
    found = {"photos10": photos10[0].colour_axes[0]}
    found["imagenet-sample"] = open_dataset(f"folder:{samples / 'imagenet-sample'}").colour_axes[0]
    for name, values in found.items():
        print(name, values, "over published", values / PUBLISHED)
    assert (np.abs(found["imagenet-sample"] / PUBLISHED - 1) < 0.2).all()
    assert found["photos10"][0] == pytest.approx(PUBLISHED[0], rel=0.2)
