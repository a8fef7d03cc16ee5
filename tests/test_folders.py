"""Folder trees as strangers have them: litter, links, pipes, names of all sorts, splits of all names."""

import os
import shutil
import socket

import pytest
from helpers import make_tree
from PIL import Image

from alexnet_lib import InputError
from alexnet_lib.data import folders, images
from alexnet_lib.data.dataset import PackedDataset, pack
from alexnet_lib.data.folders import tree
from alexnet_lib.data.images import prepared_or_reason


def files_of(listing, split="train") -> list[str]:
    return [os.path.basename(path) for path in listing.splits[split].images]


def test_what_systems_leave_in_folders_is_not_read(tmp_path):
    root = make_tree(tmp_path / "t", ("cat", "dog"), count=10)
    for litter in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "lost+found", "$Recycle.Bin"):
        for where in (root, root / "cat"):
            make_tree(where / litter, ("x",), count=1)
            shutil.copy(root / "cat/0.png", where / litter)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):
        (root / "cat" / name).write_bytes(b"left by a system")
    listing = tree(root)
    assert listing.classes == ("cat", "dog") and len(listing.splits["train"].labels) == 20


def test_images_of_every_kind_that_is_read_count_and_other_files_are_named(tmp_path):
    """Whatever packing can read, whether torchvision lists its ending or not. No other file vanishes without a word."""
    formats = {ending for ending, name in Image.registered_extensions().items() if name in images.FORMATS}
    assert formats <= set(folders.ENDINGS)
    root = make_tree(tmp_path / "t", ("train/cat", "train/dog"), count=1)
    for ending in (".gif", ".JFIF", ".pbm"):
        kind = {".gif": "GIF", ".JFIF": "JPEG", ".pbm": "PPM"}[ending]
        Image.new("L", (9, 9)).save(root / "train/cat" / f"x{ending}", format=kind)
    for name in ("cat/a.heic", "cat/labels.txt", "loose.png", "Thumbs.db"):
        (root / "train" / name).write_bytes(b"")
    (root / "train/dog/more").symlink_to("nowhere")
    listing = tree(root)
    assert files_of(listing) == ["0.png", "x.JFIF", "x.gif", "x.pbm", "0.png"]
    assert listing.notes == (
        "not read: 3 files, such as train/loose.png",
        "not read: 1 link that leads nowhere, such as dog/more",
    )


@pytest.mark.parametrize("link", ["train/wolf", "val/wolf", "val", "train"])
def test_a_class_or_a_split_that_is_a_link_to_nowhere_is_refused(tmp_path, link):
    """On a disk that is not there, for example: without it the other classes would have other numbers."""
    root = make_tree(tmp_path / "t", [f"{part}/{name}" for part in ("train", "val") for name in ("cat", "dog")])
    if (root / link).is_dir():
        shutil.rmtree(root / link)
    (root / link).symlink_to("/nowhere/at/all")
    with pytest.raises(InputError, match=f"{link} is a link that leads nowhere: mend it, or remove it"):
        tree(root)


def test_each_real_folder_is_read_once(tmp_path):
    root = make_tree(tmp_path / "t", ("train/cat", "train/dog", "test/cat", "test/dog"), count=5)
    outside = make_tree(tmp_path / "outside", ("kittens",), count=3)
    for link, target in {
        "train/cat/again": "..", "train/cat/self": ".", "train/dog/self": ".", "train/dog/up": "../../..", "train/dog/all": "/",
        "train/cat/tests": "../../test/cat", "train/cat/more": outside, "train/cat/more_of_it": outside,
        "train/dog/loop": "loop", "train/dog/loop.png": "loop.png",
    }.items():  # fmt: skip
        (root / link).symlink_to(target)
    listing = tree(root)
    assert len(listing.splits["train"].labels) == 5 + 3 + 5 + 1 and len(listing.splits["test"].labels) == 10
    assert "Too many levels" in prepared_or_reason(str(root / "train/dog/loop.png"), 16)


@pytest.mark.parametrize(
    ("link", "target"), [("train/wolf", "dog"), ("train/wolf", "."), ("train/wolf", ".."), ("test", "train")]
)
def test_a_class_that_is_read_already_is_refused(tmp_path, link, target):
    root = make_tree(tmp_path / "t", ("train/cat", "train/dog"))
    (root / link).symlink_to(target)
    with pytest.raises(InputError, match="is a link to a folder that is read already"):
        tree(root)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root = make_tree(tmp_path / "t", ("cat", "cat/deeper", "dog"))
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"cannot read the folder .*cat/deeper: Permission denied\. Let it be read"):
        tree(root)


def test_pipes_and_sockets_are_reported_and_never_waited_for(tmp_path, monkeypatch):
    root = make_tree(tmp_path / "t", ("cat", "dog"), count=2, size=(32, 32))
    os.mkfifo(root / "cat/0.jpg")  # comes first, where the size of the images is looked for
    monkeypatch.chdir(root / "dog")  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("1.jpg")
        (root / "dog/folder.jpg").mkdir()
        (root / "dog/dangling.png").symlink_to("nowhere")
        said = pack(str(root), tmp_path / "out", allow_broken=True)
    assert said == f"4 images of 32x32 are in {tmp_path / 'out'}; 3 broken ones were left out"
    reasons = dict(line.split("\t") for line in (tmp_path / "out/broken.txt").read_text().splitlines())
    assert reasons.pop("dog/dangling.png").startswith("FileNotFoundError")
    assert reasons == {"cat/0.jpg": "not a file", "dog/1.jpg": "not a file"}


def test_a_huge_picture_is_looked_at_without_a_word(tmp_path, recwarn):
    root = make_tree(tmp_path / "t", ("cat",), count=1)
    (root / "cat/huge.pbm").write_bytes(b"P4 12000 10000 ")
    assert folders.own_side(root) is None and not recwarn.list


NAMES = [
    b"plain",
    b"caf\xe9",
    b"\xff\xfe\x80",
    "猫".encode(),
    b"$x^2$",
    b"a\nb",
    b"tab\there",
    b"-rf",
    b" ",
    b"%s{}",
    b"a\\b",
    b"x" * 200,
]


def test_any_name_that_the_file_system_allows(tmp_path):
    """Of folders and files, also where the name is no text; what is printed and written is text on one line."""
    root = make_tree(tmp_path / "start", ("x",), count=1, size=(32, 32))
    picture, top = (root / "x/0.png").read_bytes(), os.fsencode(tmp_path) + b"/caf\xe9\n"
    try:
        for name in NAMES:
            os.makedirs(top + b"/" + name)
            for content, end in ((picture, b".png"), (b"", b".jpg")):
                with open(top + b"/" + name + b"/" + name + end, "wb") as file:
                    file.write(content)
    except OSError:
        pytest.skip("this file system wants names to be UTF-8")
    said = pack(os.fsdecode(top), tmp_path / "out", allow_broken=True)
    assert said.startswith(f"{len(NAMES)} images") and said.isprintable()
    dataset = PackedDataset.open(tmp_path / "out")
    assert len(dataset.classes) == len(NAMES) and all(name.isprintable() for name in (dataset.name, *dataset.classes))
    assert {"猫", "$x^2$", r"caf\udce9", r"a\nb"} < set(dataset.classes)
    assert len((tmp_path / "out/broken.txt").read_text().splitlines()) == len(NAMES)
    with pytest.raises(InputError) as caught:
        tree(folders.Path(os.fsdecode(top + b"/plain")))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("parts", "train", "test", "note"),
    [
        (("train", "test"), "train", "test", ""),
        (("train", "val"), "train", "val", ""),
        (("train", "valid"), "train", "valid", ""),
        (("Training", "Test"), "Training", "Test", ""),
        (("TRAIN", "Validation"), "TRAIN", "Validation", ""),
        (("train", "eval"), "train", "eval", ""),
        (("train", "val", "test"), "train", "test", "not read: val/ beside train/"),
        (("train", "extra"), "train", None, "not read: extra/ beside train/"),
    ],
)
def test_splits_have_many_names(tmp_path, parts, train, test, note):
    root = make_tree(tmp_path / "t", [f"{part}/{name}" for part in parts for name in "ab"])
    listing = tree(root)
    assert listing.classes == ("a", "b") and set(listing.splits) == {"train"} | ({"test"} if test else set())
    assert f"/{train}/a/" in listing.splits["train"].images[0]
    assert not test or f"/{test}/a/" in listing.splits["test"].images[0]
    assert "; ".join(listing.notes) == note


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("train/a", "training/a"), "has both train/ and training/"),
        (("train/a", "val/a", "valid/a"), "has both val/ and valid/"),
        (("learn/a", "test/a"), "has test/ with folders in it, but no train/"),
        (("train/a", "test/A"), "has not: A"),
    ],
)
def test_splits_that_could_be_meant_otherwise_are_refused(tmp_path, parts, words):
    with pytest.raises(InputError, match=words):
        tree(make_tree(tmp_path / "t", parts))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            ("training_set/cat", "training_set/dog", "test_set/cat", "test_set/dog"),
            "test_set/ and training_set/ are read as classes",
        ),
        (
            ("seg_train/sea", "seg_test/sea", "seg_pred"),
            "both have a folder sea. If these are splits, call them train/ and test/",
        ),
        (("cat", "dog", "valid"), "valid/ is read as a class"),
    ],
)
def test_what_looks_like_a_split_and_is_read_as_a_class_is_reported(tmp_path, parts, words):
    assert words in "; ".join(tree(make_tree(tmp_path / "t", parts)).notes)
    assert not tree(make_tree(tmp_path / "plain", ("cat/indoors", "cat/outdoors", "dog"))).notes


@pytest.mark.parametrize("inside", [".", "packed", "cat/packed"])
def test_a_tree_is_not_packed_into_itself(tmp_path, inside):
    root = make_tree(tmp_path / "t", ("cat", "dog"))
    with pytest.raises(InputError, match="name a folder outside it"):
        pack(str(root), root / inside, size=16)
    assert tree(root).classes == ("cat", "dog") and sorted(os.listdir(root)) == ["cat", "dog"]


def test_trains_may_be_a_class(tmp_path):
    assert tree(make_tree(tmp_path / "t", ("bus", "car", "train"))).classes == ("bus", "car", "train")


def test_unlabelled_test_images_beside_validation_images(tmp_path):
    root = make_tree(tmp_path / "t", ("train/a", "val/a", "test"))
    assert "/val/a/" in tree(root).splits["test"].images[0]


def test_what_a_tree_lacks_is_noted(tmp_path):
    root = make_tree(tmp_path / "t", [f"train/{name}" for name in "abcdef"] + ["test/a"])
    assert tree(root).notes == ("no test images of 5 classes: b, c, d, ...",)
    assert "one class only" in tree(make_tree(tmp_path / "one", ("a",))).notes[0]
    said = pack(str(make_tree(tmp_path / "few", ("train/a", "train/b", "test/a"))), tmp_path / "out", size=16)
    assert said.endswith("0 broken ones were left out; no test images of 1 classes: b")


def test_class_names_are_drawn_as_they_are(tmp_path, recwarn):
    import numpy as np
    import torch

    from alexnet_lib.book import figures

    figures.use_style()
    names = ("$x^2$", "猫", "a_b", "cost in $")
    figure = figures.guesses_figure(np.zeros((1, 8, 8, 3), np.uint8), torch.full((1, 4), 0.25), [0], names)
    figure.savefig(tmp_path / "x.png")
    drawn = {text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)}
    assert set(names) <= drawn
    assert not [w for w in recwarn.list if not str(w.message).startswith("Glyph")]  # which the module has silenced
    assert not any(
        text.get_parse_math() for axes in figure.axes for text in (*axes.texts, axes.title) if text.get_text() in names
    )


def test_the_size_of_a_tree_is_found_without_its_litter(tmp_path):
    root = make_tree(tmp_path / "t", ("a", "b"), size=(32, 32))
    (root / "a/.thumbs").mkdir()
    Image.new("RGB", (9, 7)).save(root / "a/.thumbs/0.png")
    assert folders.own_side(root) == 32
