"""What several tests share: a tiny network and training, a tree of pictures, the book's pages, and processes of their own."""

import html
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from alexnet_lib import ModelConfig, TrainConfig
from alexnet_lib.config import PRESETS

ROOT = Path(__file__).resolve().parent.parent
MODELS = {model.name: model for model, _ in PRESETS.values()}  # the networks by their own names
TINY = {
    "conv1": {"kernels": 8},
    "conv2": {"kernels": 8},
    "conv3": {"kernels": 8},
    "conv4": {"kernels": 8},
    "conv5": {"kernels": 8},
    "hidden": [16, 16],
}


def tiny_model(**overrides) -> ModelConfig:
    return ModelConfig.preset("small", **(TINY | overrides))


def tiny_training(**overrides) -> TrainConfig:
    return TrainConfig.preset("quick", **({"epochs": 2, "batch_size": 20, "limit": 100, "holdout": 50} | overrides))


def tries(few: int | None, many: int, name: str = "tries"):
    """A test's few tries, None where the suite leaves it out; under `pytest -m stress` many, or $ALEXNET_STRESS times as many. See the fixture `counted`."""
    many = max(few or 1, round(many * float(os.environ.get("ALEXNET_STRESS") or 1)))
    long = pytest.param(many, marks=pytest.mark.stress, id="long")
    return pytest.mark.parametrize(name, [long] if few is None else [few, long])


def settings(**fields) -> list[str]:
    """--set options for the tiny network and training, for the command line: lr=0.1 or **{"model.dropout": 0}."""
    parts = [f"model.{name}={value}" for name, value in TINY.items()]
    parts += [f"{name if '.' in name else f'train.{name}'}={value}" for name, value in fields.items()]
    return [word for part in parts for word in ("--set", part)]


def run(*words: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess:
    """python -m alexnet_lib WORDS, with its output."""
    command = [sys.executable, "-m", "alexnet_lib", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=timeout)


def record_of(folder) -> dict:
    """What must be equal of two runs: curve, first losses, figures and guesses of their record, without times."""
    record = json.loads((folder / "record.json").read_text())
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["curve"]]
    return {"curve": curve} | {name: record[name] for name in ("metrics", "first_losses", "steps", "outcomes")}


def is_running(process: int) -> bool:
    """Whether there is such a process, and no mere entry that its parent has not read yet."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(listed) and not listed.startswith("Z")


def make_tree(folder, parts=("train/a", "train/b", "val/a", "val/b"), count=4, size=(40, 30)):
    """A folder tree of plain pictures; returns the folder."""
    for number, part in enumerate(parts):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, (number * 60, i * 20 % 256, 90)).save(folder / part / f"{i}.png")
    return folder


def listed() -> list[str]:
    """The book's pages and notebooks, in its order."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG with 16 bits a channel, which the imaging library reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# EXIF orientation -> what turns an upright picture so
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
}  # fmt: skip


def words(book, name: str) -> str:
    """What a page shows, in one line."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (book / f"{name}.html").read_text()))).replace("’", "'")
