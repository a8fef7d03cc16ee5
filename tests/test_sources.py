"""Sources: disjoint patches, trees of folders, and downloads that are cut, wrong or hostile."""

import hashlib
import io
import os
import pickle
import resource
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from helpers import make_tree
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alexnet_lib import InputError, TrainConfig, open_dataset
from alexnet_lib.data import download, sources
from alexnet_lib.data import photos10 as photos
from alexnet_lib.data.dataset import pack
from alexnet_lib.evidence import records

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))
MD5 = hashlib.md5(CONTENT).hexdigest()
PHOTOS10_SHA256 = "724ad5c9cd55abe00286b7b62f47838c9546f0b2c9453dbabe6497dbba6b9707"


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


# photos10


@pytest.fixture(scope="module")
def photographs():
    return sources.photographs10()


@pytest.fixture(scope="module")
def patches():
    return sources.find("photos10").read()


def used_pixels(height, width, split, count) -> np.ndarray:
    """Which pixels of a photograph are in some patch of a split."""
    used = np.zeros((height, width), dtype=bool)
    for top, left in photos.patch_corners(height, width, split, count):
        assert 0 <= top <= height - photos.PATCH and 0 <= left <= width - photos.PATCH
        used[top : top + photos.PATCH, left : left + photos.PATCH] = True
    return used


def test_no_pixel_of_photos10_is_in_a_training_and_in_a_test_patch(photographs):
    for photograph in photographs:
        train = used_pixels(*photograph.shape[:2], "train", photos.TRAIN_PATCHES)
        test = used_pixels(*photograph.shape[:2], "test", photos.TEST_PATCHES)
        assert train.any() and test.any() and not (train & test).any()


@given(st.integers(300, 1500), st.integers(300, 1500), st.integers(1, 400))
def test_nor_would_one_be_in_a_photograph_of_another_size(height, width, count):
    assert not (used_pixels(height, width, "train", count) & used_pixels(height, width, "test", count)).any()


def test_what_is_not_in_the_patches_changes_nothing(photographs, patches, monkeypatch):
    """The other way round: with all pixels of the test patches blackened, the training patches are the same."""
    blackened = []
    for photograph in photographs:
        keep = ~used_pixels(*photograph.shape[:2], "test", photos.TEST_PATCHES)
        blackened.append(photograph * keep[..., None].astype(np.uint8))
    monkeypatch.setattr(photos, "photographs10", lambda: blackened)
    _, splits, _ = photos.photos10()
    assert np.array_equal(splits["train"].images, patches[1]["train"].images)
    assert not splits["test"].images.any()


def test_photos10_is_balanced_and_the_same_everywhere(photographs, patches):
    classes, splits, _ = patches
    assert classes == sources.PHOTOS == tuple(sorted(sources.PHOTOS))
    digest = hashlib.sha256()
    for split, count in (("train", 300), ("test", 100)):
        part = splits[split]
        assert part.images.shape == (10 * count, 32, 32, 3) and part.images.dtype == np.uint8
        assert np.bincount(part.labels).tolist() == [count] * 10
        digest.update(part.images.tobytes())
    assert digest.hexdigest() == PHOTOS10_SHA256
    top, left = photos.patch_corners(*photographs[3].shape[:2], "test", 3)[2]
    region = photographs[3][top : top + 64, left : left + 64].astype(int)
    for row, column in ((0, 0), (31, 17)):
        four = region[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(4, 3)
        assert splits["test"].images[302][row, column].tolist() == ((four.sum(0) + 2) // 4).tolist()


def test_patches_do_not_repeat_and_tests_are_spread_over_the_photograph(photographs):
    for photograph in photographs:
        height, width = photograph.shape[:2]
        corners = photos.patch_corners(height, width, "train", 300)
        assert len(set(corners)) == 300
        blocks = {(top // photos.BLOCK, left // photos.BLOCK) for top, left in photos.patch_corners(height, width, "test", 100)}
        whole = (height // photos.BLOCK) * (width // photos.BLOCK)
        assert whole / 6 <= len(blocks) <= whole / 3
        for row, column in blocks:  # no two side by side, nor one above the other
            assert not {(row, column + 1), (row + 1, column)} & blocks


# Folders


def listed(data, root=None, holdout=0.0):
    classes, splits, _ = sources.find(data, root).read()
    return classes, sources.hold_out(splits, holdout)


def test_trees_with_and_without_a_split(tmp_path):
    source = sources.find(f"folder:{make_tree(tmp_path / 'split')}")
    assert (source.name, source.side) == ("split", None)
    classes, splits, _ = source.read()
    assert classes == ("a", "b")
    assert {name: part.labels.tolist() for name, part in splits.items()} == {
        name: [0] * 4 + [1] * 4 for name in ("train", "test")
    }
    whole = make_tree(tmp_path / "whole", ("a", "b"), size=(32, 32))
    assert set(listed(str(whole))[1]) == {"train"} and sources.find(str(whole)).side == 32
    train_only = make_tree(tmp_path / "train_only", ("train/a", "train/b"))
    assert set(listed(f"folder:{train_only}", holdout=0.5)[1]) == {"train", "test"}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0.01, 0.99))
def test_a_holdout_takes_its_share_of_each_class_and_leaves_some(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = [f"{i}" for i in range(len(labels))]
    wanted = [min(round(share * n), n - 1) for n in counts]
    if not any(wanted):
        with pytest.raises(InputError, match="no image for testing"):
            sources.hold_out({"train": sources.Split(images, labels)}, share)
        return
    parts = sources.hold_out({"train": sources.Split(images, labels)}, share)
    assert np.bincount(parts["test"].labels, minlength=len(counts)).tolist() == wanted
    assert sorted([*parts["train"].images, *parts["test"].images]) == sorted(images)
    assert [labels[int(i)] for i in parts["train"].images] == parts["train"].labels.tolist()


def test_a_holdout_that_makes_no_sense(tmp_path):
    tree = make_tree(tmp_path / "tree")
    with pytest.raises(InputError, match="has a test split of its own"):
        listed(str(tree), holdout=0.1)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="0 <= holdout < 1"):
            listed(str(make_tree(tmp_path / f"t{share}", ("a",))), holdout=share)


def test_what_counts_as_an_image_of_a_tree(tmp_path):
    """As in torchvision's ImageFolder: by extension, also in folders below the class."""
    from torchvision.datasets import ImageFolder

    tree = make_tree(tmp_path / "tree", ("a", "a/deeper", "b"))
    Image.new("RGB", (9, 9)).save(tree / "b" / "UPPER.JPG")
    (tree / "b" / "notes.txt").write_text("about these")
    (tree / "b" / "._0.png").write_bytes(b"left by another system")
    classes, splits = listed(str(tree))
    theirs = ImageFolder(tree, is_valid_file=lambda path: "/._" not in path and not path.endswith(".txt"))
    assert list(classes) == theirs.classes
    assert sorted(zip(splits["train"].images, splits["train"].labels.tolist(), strict=True)) == sorted(theirs.samples)


def test_own_size_only_where_all_classes_share_it(tmp_path):
    for sizes, side in (
        ([(32, 32)] * 3, 32),
        ([(32, 32), (32, 32), (32, 40)], None),
        ([(65, 65)] * 3, None),
        ([(48, 32)] * 3, None),
    ):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        for name, size in zip("abc", sizes, strict=True):
            make_tree(folder, (name,), count=1, size=size)
        assert sources.find(str(folder)).side == side


def test_a_small_picture_that_comes_first_says_nothing_of_the_others(tmp_path):
    for name in ("a", "b"):
        make_tree(tmp_path / "t", (name,), count=5, size=(300, 200))
        Image.new("RGB", (32, 32)).save(tmp_path / "t" / name / "0.png")
    assert sources.find(str(tmp_path / "t")).side is None


def test_a_folder_by_its_whole_path_and_a_source_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()  # as in data/
    (tmp_path / "mine").mkdir()
    for data, found in (("cifar10", "cifar10"), ("mine", f"folder:{tmp_path}/mine"), ("folder:x/y", f"folder:{tmp_path}/x/y")):
        assert sources.absolute(data) == found
    for data, folder in (("cifar10", "quick-cifar10-seed0"), ("folder:cifar10", "quick-cifar10-")):
        assert records.run_dir("x", "quick", TrainConfig.preset("quick", data=data), "photos10").name.startswith(folder)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"no folder .*loop: name one with"):
        sources.find("folder:loop")
    with pytest.raises(InputError, match="Too many levels of symbolic links"):
        pack(str(make_tree(tmp_path / "tree", ("a",), count=1)), "loop/x")


def test_of_two_that_want_an_archive_at_once_one_unpacks_it(tmp_path, monkeypatch):
    """The other would take away what the first has unpacked so far."""
    unpacked = []

    def unpack(archive, target):
        unpacked.append(archive)
        time.sleep(0.3)
        make_tree(target / "imagenette2-160", ("train/n01440764", "val/n01440764"))

    monkeypatch.setattr(sources, "fetch", lambda url, path, md5: path)
    monkeypatch.setattr(sources, "unpack", unpack)
    with ThreadPoolExecutor(2) as pool:
        read = [pool.submit(sources.find("imagenette", root=tmp_path).read) for _ in range(2)]
    assert {one.result().classes for one in read} == {("tench",)} and len(unpacked) == 1


def test_checksums_where_md5_is_forbidden_for_secrets(tmp_path, monkeypatch):
    """As on systems in FIPS mode."""
    (tmp_path / "x").write_bytes(b"")
    monkeypatch.setattr(hashlib, "new", lambda name, *_, **__: pytest.fail(name))
    assert download._md5(tmp_path / "x") == "d41d8cd98f00b204e9800998ecf8427e"


def test_a_name_is_not_taken_for_a_folder_beside_it(tmp_path, monkeypatch):
    make_tree(tmp_path / "photos10", ("a", "b"))
    monkeypatch.chdir(tmp_path)
    assert sources.find("photos10").read is photos.photos10
    assert sources.find("folder:photos10").origin == str(tmp_path / "photos10")


def test_imagenet_as_torchvision_lays_it_out(tmp_path, monkeypatch):
    """Its classes have names where they are those of 2012, told by a checksum; of any other folders nothing is known."""
    wnids = [f"n{i:08d}" for i in range(1000)]
    root = tmp_path / "data"
    for wnid in wnids:
        for part in ("train", "val"):
            (root / "imagenet" / part / wnid).mkdir(parents=True)
        (root / "imagenet/train" / wnid / "x.JPEG").write_bytes(b"")
    (root / "imagenet/test").mkdir()  # the unlabelled test images lie there as plain files
    (root / "imagenet/val/x.JPEG").write_bytes(b"")
    with pytest.raises(InputError, match="sort them into one subfolder a class"):  # as ILSVRC's own archive unpacks
        listed("imagenet", root)
    (root / "imagenet/val" / wnids[3] / "x.JPEG").write_bytes(b"")
    classes, splits = listed("imagenet", root)
    assert classes == tuple(wnids)
    monkeypatch.setattr(sources, "WNIDS_2012", hashlib.sha256("".join(wnids).encode()).hexdigest())
    classes, _ = listed("imagenet", root)
    assert classes[:2] == ("tench", "goldfish") and len(set(classes)) == 1000
    assert len(splits["train"].labels) == 1000 and splits["test"].labels.tolist() == [3]


def test_imagenet_that_was_filled_up_after_packing_is_noticed(tmp_path):
    """By the names of its images; their times, which a copy changes, do not count."""
    folder = make_tree(tmp_path / "imagenet", size=(8, 8))
    for path in folder.rglob("*.png"):
        path.rename(path.with_suffix(".JPEG"))
    first = open_dataset("imagenet", root=tmp_path, size=8, progress=False)
    os.utime(folder / "train/a/0.JPEG", (1, 1))
    assert open_dataset("imagenet", root=tmp_path, size=8).checksum == first.checksum
    make_tree(folder, ("train/c",))
    with pytest.raises(InputError, match="imagenet/train were added, removed or replaced since they were packed"):
        open_dataset("imagenet", root=tmp_path, size=8)
    (folder / "train").rename(folder / "elsewhere")  # the pack is all that is left
    assert open_dataset("imagenet", root=tmp_path, size=8).checksum == first.checksum


def test_what_is_missing_is_said_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (make_tree(tmp_path / "hollow", ("a",)) / "b").mkdir()
    (make_tree(tmp_path / "flat", ("train/a",)) / "test").mkdir()
    make_tree(tmp_path / "odd", ("train/a", "val/c"))
    for data, words in {
        "imagnet": "Did you mean 'imagenet'",
        f"folder:{tmp_path / 'absent'}": "no folder",
        f"{tmp_path / 'absent'}": "no folder",
        f"folder:{tmp_path / 'empty'}": "no images",
        f"folder:{tmp_path / 'hollow'}": "hollow/b",
        f"folder:{tmp_path / 'flat'}": "flat/test",
        f"folder:{tmp_path / 'odd'}": "has not: c",
        "imagenet": "train/WNID",
    }.items():
        with pytest.raises(InputError) as caught:
            listed(data, tmp_path / "data")
        assert words in one_line(caught)


# Downloads


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, or what is in `files`; the class attributes say how badly."""

    stop_after, ranges, served, files, stall, page = None, True, 0, {}, 0, False

    def do_GET(self):
        start = 0
        if self.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if self.path == "/absent":
            return self.send_error(404)
        if self.page:  # of a login, for example
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            return self.wfile.write(b"<html>Welcome</html>")
        content = self.files.get(self.path.lstrip("/"), CONTENT)
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:] if self.stop_after is None else content[start : start + self.stop_after]
        type(self).served += len(body)
        self.wfile.write(body)
        time.sleep(self.stall)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    class Fresh(Server):
        files = {}  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Fresh, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on(site, tmp_path, ranges):
    server, url = site
    server.stop_after, server.ranges = 1_000_000, ranges
    path = tmp_path / "data" / "x.bin"
    with pytest.raises(InputError, match=r"Fetch http.* by hand and put it at .*x\.bin") as caught:
        download.fetch(f"{url}/x", path, MD5)
    one_line(caught)
    assert not path.exists() and path.with_name("x.bin.part").stat().st_size == 1_000_000
    server.stop_after = None
    assert download.fetch(f"{url}/x", path, MD5).read_bytes() == CONTENT
    assert server.served == len(CONTENT) + (0 if ranges else 1_000_000)
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]
    server.served = 0
    download.fetch(f"{url}/x", path, MD5)
    assert server.served == 0


def test_a_server_that_stalls_is_given_up_and_what_came_is_kept(site, tmp_path, monkeypatch):
    server, url = site
    server.stop_after, server.stall = 1_000_000, 5
    monkeypatch.setattr(download, "STALLED", 0.5)
    with pytest.raises(InputError, match=r"cannot download x: .*timed out"):
        download.fetch(f"{url}/x", tmp_path / "x", MD5)
    server.stop_after, server.stall = None, 0
    download.fetch(f"{url}/x", tmp_path / "x", MD5)
    assert server.served < len(CONTENT) + download.BLOCK  # no more than what was waited for came twice


def test_a_page_instead_of_the_file_spoils_nothing(site, tmp_path):
    server, url = site
    (tmp_path / "x.part").write_bytes(CONTENT[:1000])
    server.page = True
    with pytest.raises(InputError, match="cannot download x: the server answers with a page instead of the file"):
        download.fetch(f"{url}/x", tmp_path / "x", MD5)
    server.page = False
    download.fetch(f"{url}/x", tmp_path / "x", MD5)
    assert server.served == len(CONTENT) - 1000


def test_a_full_disk_ends_a_download_with_advice(site, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(InputError, match="cannot download x: File too large"):
            download.fetch(f"{site[1]}/x", tmp_path / "x", MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    site[0].served = 0
    assert download.fetch(f"{site[1]}/x", tmp_path / "x", MD5).read_bytes() == CONTENT
    assert site[0].served < len(CONTENT)  # what fitted was kept


@pytest.mark.parametrize("left", [CONTENT, CONTENT[:-1] + b"?"], ids=["whole", "wrong"])
def test_what_an_earlier_run_left_is_checked(site, tmp_path, left):
    """A run may die between the last byte and the checksum, or have left something else."""
    _, url = site
    path = tmp_path / "x.bin"
    path.with_name("x.bin.part").write_bytes(left)
    if left == CONTENT:
        download.fetch(f"{url}/x", path, MD5)
    else:
        with pytest.raises(InputError, match="md5 is not"):
            download.fetch(f"{url}/x", path, MD5)
        download.fetch(f"{url}/x", path, MD5)  # the wrong bytes are gone, so that starting again helps
    assert path.read_bytes() == CONTENT


def test_ctrl_c_leaves_what_came(site, tmp_path, monkeypatch):
    server, url = site

    class Interrupted(download.bar):
        def update(self, n=1):
            super().update(n)
            if self.n >= 2**20:
                raise KeyboardInterrupt

    monkeypatch.setattr(download, "bar", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(f"{url}/x", tmp_path / "x.bin", MD5)
    monkeypatch.undo()
    had = (tmp_path / "x.bin.part").stat().st_size
    assert had >= 2**20 and not (tmp_path / "x.bin").exists()
    server.served = 0
    download.fetch(f"{url}/x", tmp_path / "x.bin", MD5)
    assert server.served == len(CONTENT) - had


def test_a_wrong_checksum_a_missing_file_and_no_server(site, tmp_path):
    _, url = site
    for address, path, words in (
        (f"{url}/x", "a", "its md5 is not"),
        (f"{url}/absent", "b", "Not Found"),
        ("http://127.0.0.1:9/x", "c", "refused"),
        ("nonsense", "d", "unknown url type"),
    ):
        with pytest.raises(InputError) as caught:
            download.fetch(address, tmp_path / path, "0" * 32)
        assert words in one_line(caught) and f"by hand and put it at {tmp_path / path}" in one_line(caught)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_bytes(b"something else")
    with pytest.raises(InputError, match="damaged or another file"):
        download.fetch(f"{url}/x", tmp_path / "a", MD5)
    assert (tmp_path / "a").read_bytes() == b"something else"


def test_a_folder_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot download x"):
        download.fetch(f"{site[1]}/x", tmp_path / "file" / "x", MD5)


# Archives


def member(name: str, **fields) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = 4
    for key, value in fields.items():
        setattr(info, key, value)
    return info, io.BytesIO(b"evil")


def tar_with(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for info, content in (member("good.txt"), *members):
            archive.addfile(info, content)
    return path


LINKS = [
    [member("link", type=tarfile.SYMTYPE, linkname="../.."), member("link/evil.txt")],
    [member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    [member("link", type=tarfile.LNKTYPE, linkname="../../evil.txt")],
    [member("link", type=tarfile.LNKTYPE, linkname="good.txt")],
    [member("device", type=tarfile.CHRTYPE)],
    [member("pipe", type=tarfile.FIFOTYPE)],
    [member("..\\evil.txt")],
    [member("C:\\evil.txt")],
]


@pytest.mark.parametrize("members", [[member("../evil.txt")], [member("a/../../evil.txt")], [member("/tmp/evil.txt")], *LINKS])
def test_members_of_a_tar_that_would_land_outside_are_refused(tmp_path, members):
    target = tmp_path / "target"
    with pytest.raises(InputError, match="refused") as caught:
        download.unpack(tar_with(tmp_path / "x.tgz", *members), target)
    one_line(caught)
    assert not list(tmp_path.rglob("evil.txt")) and not list(target.iterdir())


def test_members_far_larger_than_their_archive_are_refused(tmp_path):
    zeros = member("zeros", size=2**26)[0], io.BytesIO(bytes(2**26))
    archive = tar_with(tmp_path / "x.tgz", zeros)
    assert archive.stat().st_size < 2**17
    with pytest.raises(InputError, match="more than 20 times as large"):
        download.unpack(archive, tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())


def test_unpacking_needs_nothing_that_came_after_python_3_11_2(tmp_path, monkeypatch):
    """Debian 12's Python, whose tarfile knows no filters."""
    extracted = []
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *_, **__: extracted.append(1))
    for name in ("data_filter", "FilterError"):
        monkeypatch.delattr(tarfile, name)
    download.unpack(tar_with(tmp_path / "x.tgz"), tmp_path / "target")
    assert (tmp_path / "target/good.txt").read_bytes() == b"evil" and not extracted


def test_archives_are_unpacked_whole_or_not_at_all(tmp_path):
    target = tmp_path / "target"
    (target / ".x.tgz.unpacking").mkdir(parents=True)  # what a killed run leaves
    (target / ".x.tgz.unpacking" / "half").write_text("")
    archive = tar_with(tmp_path / "x.tgz", member("deep/fine.txt"))
    download.unpack(archive, target)
    assert (target / "deep/fine.txt").read_bytes() == b"evil"
    assert sorted(p.name for p in target.iterdir()) == ["deep", "good.txt"]
    large = member("large", size=len(CONTENT))[0], io.BytesIO(CONTENT)
    whole = tar_with(tmp_path / "large.tgz", large, member("last")).read_bytes()
    for kept in (10, 1000, len(whole) // 2):
        (tmp_path / "cut.tgz").write_bytes(whole[:kept])
        with pytest.raises(InputError, match="cannot unpack"):
            download.unpack(tmp_path / "cut.tgz", tmp_path / "cut")
        assert not list((tmp_path / "cut").iterdir())


# Data sets that are fetched, from a local server with stand-ins of their layout


def packed_tree(tree) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(tree, tree.name)
    return content.getvalue()


def test_the_known_addresses_and_checksums(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, md5):
        asked.append((url, path.relative_to(tmp_path).as_posix(), md5))
        raise InputError("no network in this test")

    monkeypatch.setattr(sources, "fetch", fetch)
    for data in ("cifar10", "imagenette", "imagenette-160", "imagenette-320", "imagenette-full"):
        source = sources.find(data, root=tmp_path)  # says nothing and fetches nothing
        with pytest.raises(InputError, match="no network"):
            source.read()
    fastai = "https://s3.amazonaws.com/fast-ai-imageclas/"
    assert asked == [
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar10/cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
        ),
        (f"{fastai}imagenette2-160.tgz", "imagenette-160/imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412"),
        (f"{fastai}imagenette2-160.tgz", "imagenette-160/imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412"),
        (f"{fastai}imagenette2-320.tgz", "imagenette-320/imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3"),
        (f"{fastai}imagenette2.tgz", "imagenette-full/imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612"),
    ]


def test_imagenette_from_a_mirror(site, tmp_path, monkeypatch):
    from torchvision.datasets import Imagenette

    server, url = site
    wnids = ("n01440764", "n02102040")
    tree = make_tree(tmp_path / "imagenette2-160", [f"{part}/{wnid}" for part in ("train", "val") for wnid in wnids])
    content = server.files["imagenette2-160.tgz"] = packed_tree(tree)
    monkeypatch.setenv("ALEXNET_MIRROR", f"{url}/")
    with pytest.raises(InputError, match=f"md5 is not .*{url}/imagenette2-160.tgz"):
        sources.find("imagenette", root=tmp_path / "data").read()
    assert not list((tmp_path / "data/imagenette-160").iterdir())  # nothing was unpacked
    monkeypatch.setitem(Imagenette._ARCHIVES, "160px", (Imagenette._ARCHIVES["160px"][0], hashlib.md5(content).hexdigest()))
    source = sources.find("imagenette", root=tmp_path / "data")
    classes, splits, _ = source.read()
    assert (source.name, source.side, classes) == ("imagenette-160", None, ("tench", "English springer"))
    assert len(splits["train"].labels) == 8 and len(splits["test"].labels) == 8
    server.served = 0
    source.read()
    assert server.served == 0
    assert source.compared == str(tmp_path / "data/imagenette-160/imagenette2-160") and Path(source.compared).is_dir()
    make_tree(Path(source.compared), ("train/mine", "val/mine"))
    with pytest.raises(InputError, match="has a class mine, which is none of Imagenette's: remove it, or name folder:"):
        source.read()


def test_cifar10_from_a_mirror(site, tmp_path, monkeypatch):
    """The whole way, with a small archive of CIFAR-10's layout and torchvision's reader."""
    from torchvision.datasets import CIFAR10

    server, url = site
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def batch(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    rng = np.random.default_rng(0)
    images = {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
    train = [batch(f"data_batch_{i}", images) for i in range(1, 6)]
    test, meta = batch("test_batch", images), batch("batches.meta", {"label_names": list("abcdefghij")})
    content = server.files["cifar-10-python.tar.gz"] = packed_tree(folder)
    monkeypatch.setenv("ALEXNET_MIRROR", url)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [test])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    source = sources.find("cifar10", root=tmp_path / "data")
    classes, splits, _ = source.read()
    assert splits["train"].images.shape == (50, 32, 32, 3) and classes == tuple("abcdefghij")
    assert splits["test"].labels.dtype == np.int64
    assert (splits["test"].images[3, 0, 0] == images["data"][3].reshape(3, 32, 32)[:, 0, 0]).all()
    (tmp_path / "data/cifar10/cifar-10-batches-py/test_batch").write_bytes(b"damaged")
    with pytest.raises(InputError, match="is damaged") as caught:
        source.read()
    one_line(caught)
