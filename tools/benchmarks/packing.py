"""Packing JPEG files to 256x256 pixels in several processes, against a plain loop with the imaging library in as many."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_lib.data import folders
from alexnet_lib.data.images import prepare
from alexnet_lib.data.packing import images_a_shard, pack
from alexnet_lib.system.workers import each

from .pipeline import write_jpegs
from .turns import Process, in_turns

SIZE = 256
TARGET = 1.5


def rows(turns: int) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        workers = len(os.sched_getaffinity(0))
        images = workers * images_a_shard(SIZE)  # a whole shard for each process
        files = write_jpegs(Path(folder) / "images", images)
        paths = files_of(files)
        what = f"packing JPEG files, in {workers} processes, against a loop with PIL that saves the pixels only"
        # Each from a process of its own, as from the command line: what forks from a large one pays for its pages.
        given = str(files), folder, workers
        with (
            Process("packing:packed", *given, keep_pages=True) as ours,
            Process("packing:loop", *given, keep_pages=True) as theirs,
        ):
            yield in_turns(what, ours, theirs, max(2, turns // 2), images, TARGET)
        prepared = [prepare(path, SIZE).astype(int) for path in paths[:50]]
        off = [np.abs(ours - with_pil(path).astype(int)) for ours, path in zip(prepared, paths, strict=False)]
        assert max(o.max() for o in off) <= 1, "more than one grey level from what the imaging library gives"
        yield in_turns("one JPEG file to 256x256 pixels, against PIL", *scaling(paths[:50]), turns, 50)


def scaling(paths: list[str]) -> tuple[Callable, Callable]:
    """Files to pixels in this process: ours, and as the usual script does it."""
    return lambda: [prepare(path, SIZE) for path in paths], lambda: [with_pil(path) for path in paths]


def with_pil(path: str) -> np.ndarray:
    """As the usual script does it."""
    image = Image.open(path).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def packed(files: str, folder: str, workers: str) -> Callable:
    dest = Path(folder) / "packed"

    def once() -> None:
        shutil.rmtree(dest, ignore_errors=True)  # the loop, too, replaces what its last turn left
        pack(f"folder:{files}", dest, size=SIZE, workers=int(workers), progress=False)

    return once


def loop(files: str, folder: str, workers: str) -> Callable:
    paths, workers = files_of(Path(files)), int(workers)

    def part(which: int) -> None:
        np.save(Path(folder) / f"loop-{which}.npy", np.stack([with_pil(path) for path in paths[which::workers]]))

    return lambda: list(each(part, range(workers), workers))


def files_of(folder: Path) -> list[str]:
    return list(folders.tree(folder).splits["train"].images)
