"""Sources: disjoint patches, trees of folders, and downloads that are cut, wrong or hostile."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alexnet_lib import InputError, download, sources

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))
MD5 = hashlib.md5(CONTENT).hexdigest()


@given(st.integers(300, 1500), st.integers(300, 1500), st.integers(1, 400))
def test_no_pixel_is_in_a_training_and_in_a_test_patch(height, width, count):
    used = {}
    for split in ("train", "test"):
        pixels = used[split] = np.zeros((height, width), dtype=bool)
        for top, left in sources.patch_corners(height, width, split, count):
            assert 0 <= top <= height - sources.PATCH and 0 <= left <= width - sources.PATCH
            pixels[top : top + sources.PATCH, left : left + sources.PATCH] = True
    assert not (used["train"] & used["test"]).any()


def test_photos10_is_balanced_and_the_same_everywhere():
    source = sources.photos10()
    assert source.classes == sources.PHOTOS and source.size == 32
    for split, count in (("train", 300), ("test", 100)):
        part = source.splits[split]
        assert part.items.shape == (10 * count, 32, 32, 3) and np.bincount(part.labels).tolist() == [count] * 10
    digest = hashlib.sha256(source.splits["train"].items.tobytes() + source.splits["test"].items.tobytes())
    assert digest.hexdigest().startswith("PHOTOS10-DIGEST")
    astronaut = sources.photographs10()[0]
    top, left = sources.patch_corners(*astronaut.shape[:2], "test", 3)[2]
    block = astronaut[top : top + 2, left : left + 2].reshape(4, 3).astype(int)
    assert source.splits["test"].items[2][0, 0].tolist() == ((block.sum(0) + 2) // 4).tolist()


def make_tree(folder, parts=("train/a", "train/b", "val/a", "val/b"), count=4, size=(40, 30)):
    for number, part in enumerate(parts):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, (number * 60, i * 20, 90)).save(folder / part / f"{i}.png")
    return folder


def test_trees_with_and_without_a_split(tmp_path):
    split = sources.find(f"folder:{make_tree(tmp_path / 'split')}")
    assert (split.name, split.classes, split.size) == ("split", ("a", "b"), None)
    assert {k: s.labels.tolist() for k, s in split.splits.items()} == {"train": [0] * 4 + [1] * 4, "test": [0] * 4 + [1] * 4}
    whole = make_tree(tmp_path / "whole", ("a", "b"), size=(32, 32))
    assert set(sources.find(str(whole)).splits) == {"train"} and sources.find(str(whole)).size == 32
    held = sources.find(str(whole), holdout=0.25).splits
    assert held["test"].labels.tolist() == [0, 1] and len(held["train"].labels) == 6
    assert not set(held["test"].items) & set(held["train"].items)
    with pytest.raises(InputError, match="no image for testing"):
        sources.find(str(make_tree(tmp_path / "one", ("a", "b"), count=1)), holdout=0.5)


def test_what_is_missing_is_said_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    make_tree(tmp_path / "odd", ("train/a", "val/c"))
    for data, words in {
        "imagnet": "Did you mean 'imagenet'",
        f"folder:{tmp_path / 'absent'}": "no folder",
        f"folder:{tmp_path / 'empty'}": "no images",
        f"folder:{tmp_path / 'odd'}": "the training split has not: c",
        "imagenet": "train/WNID",
    }.items():
        with pytest.raises(InputError) as caught:
            sources.find(data, root=tmp_path / "data")
        assert words in str(caught.value) and "\n" not in str(caught.value)


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; the class attributes say how badly."""

    stop_after, ranges, served = None, True, 0

    def do_GET(self):
        start = 0
        if self.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if self.path == "/absent":
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:] if self.stop_after is None else CONTENT[start : start + self.stop_after]
        type(self).served += len(body)
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    class Fresh(Server):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Fresh, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on(site, tmp_path, ranges):
    server, url = site
    server.stop_after, server.ranges = 1_000_000, ranges
    path = tmp_path / "data" / "x.bin"
    with pytest.raises(InputError, match=r"Fetch http.* by hand and put it at .*x\.bin"):
        download.fetch(f"{url}/x", path, MD5)
    assert not path.exists()
    server.stop_after = None
    assert download.fetch(f"{url}/x", path, MD5).read_bytes() == CONTENT
    assert server.served == len(CONTENT) + (0 if ranges else 1_000_000)
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]
    server.served = 0
    download.fetch(f"{url}/x", path, MD5)
    assert server.served == 0


def test_a_wrong_checksum_a_missing_file_and_no_server(site, tmp_path):
    _, url = site
    for address, path, words in (
        (f"{url}/x", "a", "its md5 is not"),
        (f"{url}/absent", "b", "Not Found"),
        ("http://127.0.0.1:9/x", "c", "refused"),
    ):
        with pytest.raises(InputError) as caught:
            download.fetch(address, tmp_path / path, "0" * 32)
        assert words in str(caught.value) and "by hand" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_bytes(b"something else")
    with pytest.raises(InputError, match="damaged or another file"):
        download.fetch(f"{url}/x", tmp_path / "a", MD5)
    assert (tmp_path / "a").read_bytes() == b"something else"


def archive_with(path, name: str):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("good.txt", "good")
            z.writestr(name, "evil")
    else:
        with tarfile.open(path, "w:gz") as t:
            for member, text in (("good.txt", b"good"), (name, b"evil")):
                info = tarfile.TarInfo(member)
                info.size = len(text)
                t.addfile(info, io.BytesIO(text))
    return path


@pytest.mark.parametrize("kind", ["x.zip", "x.tgz"])
def test_members_outside_the_target_are_refused(tmp_path, kind):
    target = tmp_path / "target"
    archive = archive_with(tmp_path / kind, "../evil.txt")
    with pytest.raises(InputError, match="refused"):
        download.unpack(archive, target)
    assert not (tmp_path / "evil.txt").exists() and not list(target.iterdir())
    download.unpack(archive_with(tmp_path / f"good-{kind}", "deep/fine.txt"), target)
    assert (target / "deep" / "fine.txt").read_text() == "evil" and (target / "good.txt").exists()
    (tmp_path / f"cut-{kind}").write_bytes(archive.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot unpack"):
        download.unpack(tmp_path / f"cut-{kind}", target)


def test_cifar10_and_imagenette_come_from_torchvisions_addresses(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, md5):
        asked.append((url, md5))
        raise InputError("no network in this test")

    monkeypatch.setattr(sources, "fetch", fetch)
    for data in ("cifar10", "imagenette", "imagenette-320", "imagenette-full"):
        with pytest.raises(InputError, match="no network"):
            sources.find(data, root=tmp_path)
    assert [url.rsplit("/", 1)[1] for url, _ in asked] == [
        "cifar-10-python.tar.gz", "imagenette2-160.tgz", "imagenette2-320.tgz", "imagenette2.tgz",
    ]  # fmt: skip
    assert asked[0][1] == "c58f30108f718f92721af3b95e74349a" and all(len(md5) == 32 for _, md5 in asked)


def test_imagenette_from_an_archive(tmp_path, monkeypatch):
    """The whole way, with a stand-in archive of Imagenette's layout on a local server."""
    from torchvision.datasets import Imagenette

    tree = make_tree(tmp_path / "imagenette2-160", ("train/n01440764", "val/n01440764"))
    archive = tmp_path / "imagenette2-160.tgz"
    with tarfile.open(archive, "w:gz") as t:
        t.add(tree, "imagenette2-160")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(Imagenette._ARCHIVES, "160px", (f"file://{archive}", md5))
    source = sources.find("imagenette", root=tmp_path / "data")
    assert source.name == "imagenette2-160" or source.name == "imagenette-160"
    assert len(source.splits["train"].labels) == 4 and len(source.splits["test"].labels) == 4


def test_cifar10_from_an_archive(tmp_path, monkeypatch):
    """The whole way, with a small archive of CIFAR-10's layout and torchvision's reader."""
    import pickle

    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def batch(name, key, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    rng = np.random.default_rng(0)
    images = {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
    train = [batch(f"data_batch_{i}", "labels", images) for i in range(1, 6)]
    test, meta = batch("test_batch", "labels", images), batch("batches.meta", "", {"label_names": list("abcdefghij")})
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as t:
        t.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "url", f"file://{archive}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [test])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    source = sources.find("cifar10", root=tmp_path / "data")
    assert source.splits["train"].items.shape == (50, 32, 32, 3) and source.classes == tuple("abcdefghij")
    assert (source.splits["test"].items[3, 0, 0] == images["data"][3].reshape(3, 32, 32)[:, 0, 0]).all()
