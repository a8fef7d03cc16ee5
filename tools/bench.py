"""What was made for speed, measured against what it replaces: each row is a ratio of two things taken in turns in one run.

python tools/bench.py [--quick] [--record]. Times of one machine say little about another; ratios say more. Measure on a
quiet machine: the ranges show where it was not. Without --record the figures go to runs/bench/, with it to
results/bench/. The command fails where a ratio with a target misses it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision import transforms

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig, open_dataset, records
from alexnet_lib.augment import colour_noise, cut, random_crops
from alexnet_lib.optim import PaperSGD
from alexnet_lib.progress import bar
from alexnet_lib.sources import photographs10

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
LRN_TARGET = 4.0
BATCH = 32  # of the network and its normalisation
IMAGES = 128  # of the input pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--record", action="store_true", help="write to results/bench/")
    asked = parser.parse_args()
    turns = 3 if asked.quick else 9
    rows = [*normalisation(turns), *training(max(2, turns // 2)), *input_pipeline(turns)]
    for row in rows:
        target = f", at least {row['target']:g}" if row["target"] else ""
        print(f"{row['what']}, {row['threads']} thread{'s' * (row['threads'] > 1)}")
        print(f"    {row['ratio']:.2f} x (turns from {row['low']:.2f} to {row['high']:.2f}){target};", end=" ")
        print(f"{row['ours']:.4g} against {row['theirs']:.4g} images/s")
    record = {"experiment": "bench", "arm": "gpu" if torch.cuda.is_available() else "cpu", "seed": 0}
    record |= {"environment": records.environment() | {"precision": "float32"}}
    record |= {"metrics": {f"{r['what']}, {r['threads']} threads": r["ratio"] for r in rows}, "rows": rows}
    path = records.results_path(record) if asked.record else records.results_path(record, records.runs_root())
    print(f"record: {records.write(record, path)}")
    if missed := [f"{r['what']}: {r['ratio']:.2f}" for r in rows if r["ratio"] < r["target"]]:
        sys.exit(f"below target: {'; '.join(missed)}")


def in_turns(what: str, ours: Callable, theirs: Callable, turns: int, images: int, target: float = 0.0) -> dict:
    """How many times faster `ours` is: the median of the ratios of its turns, and their range.

    Args:
        images: how many one call works on; "ours" and "theirs" of the row are images per second.
    """
    calls, times = {"ours": ours, "theirs": theirs}, {"ours": [], "theirs": []}
    for turn in bar(range(turns + 1), desc=what, unit="turn"):
        for side in sorted(calls, reverse=turn % 2 == 1):  # each goes first every other time
            started = time.perf_counter()
            calls[side]()
            if turn:  # the first one warms up
                times[side].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    rates = {side: images / statistics.median(t) for side, t in times.items()}
    spread = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "turns": turns}
    return {"what": what, "threads": torch.get_num_threads(), **spread, **rates, "target": target}


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Lets torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normalisation(turns: int) -> Iterator[dict]:
    """Forward and backward over the maps of conv1, with the same constants: torch's alpha is divided by the window's size."""
    layers = LocalResponseNorm(average=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    for name, layout in LAYOUTS.items():
        maps = (torch.randn(BATCH, 96, 55, 55).relu() * 20).contiguous(memory_format=layout)
        gradient = torch.randn(BATCH, 96, 55, 55).contiguous(memory_format=layout)

        def both_ways(layer: nn.Module, maps: torch.Tensor = maps, gradient: torch.Tensor = gradient) -> Callable:
            return lambda: layer(maps.detach().requires_grad_()).backward(gradient)

        for number in sorted({1, torch.get_num_threads()}):
            with threads(number):
                what = f"LRN forward and backward against torch's, {BATCH}x96x55x55, {name}"
                yield in_turns(what, *map(both_ways, layers), turns, BATCH, LRN_TARGET)


def training(turns: int) -> Iterator[dict]:
    """One training step of the paper's network, against the same with torch's normalisation and against torchvision's network."""
    batch, labels = torch.randn(BATCH, 3, 224, 224) * 50, torch.arange(BATCH)

    def step_of(net: nn.Module) -> Callable:
        optimiser = PaperSGD(net)
        optimiser.rates = dict.fromkeys(optimiser.parameters, 1e-6)

        def step() -> None:
            optimiser.zero_grad()
            cross_entropy(net(batch), labels).backward()
            optimiser.step()

        return step

    with_torchs = AlexNet(ModelConfig.preset("paper"), seed=0)
    for i, layer in enumerate(with_torchs.features):
        if isinstance(layer, LocalResponseNorm):
            with_torchs.features[i] = nn.LocalResponseNorm(layer.size, layer.alpha * layer.size, layer.beta, layer.k)
    ours = step_of(AlexNet(ModelConfig.preset("paper"), seed=0))
    others = {"the same with torch's LRN": with_torchs, "torchvision's AlexNet": torchvision.models.alexnet()}
    for name, net in others.items():
        yield in_turns(f"training step of preset paper against {name}, batch {BATCH}", ours, step_of(net), turns, BATCH)


def input_pipeline(turns: int) -> Iterator[dict]:
    """Images to a normalised batch on one thread: packed 256x256 bytes against JPEG files through torchvision's folder pipeline."""
    with tempfile.TemporaryDirectory() as folder, threads(1):
        files = write_jpegs(Path(folder) / "images", IMAGES)
        dataset = open_dataset(f"folder:{files}", root=Path(folder) / "data")
        mean, generator = torch.from_numpy(dataset.mean_image), torch.Generator().manual_seed(0)
        axes = tuple(torch.as_tensor(a, dtype=torch.float32) for a in dataset.colour_axes)
        steps = [transforms.Resize(256), transforms.RandomCrop(224), transforms.RandomHorizontalFlip()]
        steps += [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
        theirs = torchvision.datasets.ImageFolder(files, transforms.Compose(steps))

        def packed() -> torch.Tensor:
            images = torch.from_numpy(dataset.take(torch.randperm(IMAGES, generator=generator).numpy()))
            batch = cut(images, mean, 224, *random_crops(images, 224, generator))
            return colour_noise(batch, axes, "eigenvalue", generator)

        def by_files() -> torch.Tensor:
            return torch.stack([theirs[i][0] for i in range(IMAGES)])

        what = "input pipeline, packed with colour noise, against ImageFolder of JPEG files without"
        yield in_turns(what, packed, by_files, turns, IMAGES)


def write_jpegs(folder: Path, count: int) -> Path:
    """Real photographs in ImageNet's usual size, about 500x375, as JPEG files, one class a photograph."""
    from PIL import Image

    photographs = photographs10()
    for i in range(count):
        place = folder / f"class{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photographs[i % 10]).resize((500, 375)).save(place / f"{i:04d}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    main()
