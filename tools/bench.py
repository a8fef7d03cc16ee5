"""What was made for speed, measured against what it replaces: each row is a ratio of two things taken in turns in one run.

python tools/bench.py [--quick] [--record]. Times of one machine say little about another; ratios say more. Without
--record the figures go to runs/bench.json, with it to results/bench/.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig, open_dataset, records
from alexnet_lib.augment import colour_noise, cut, random_crops
from alexnet_lib.optim import PaperSGD
from alexnet_lib.progress import bar
from alexnet_lib.sources import photographs10

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--record", action="store_true", help="write to results/bench/")
    asked = parser.parse_args()
    turns = 3 if asked.quick else 7
    rows = [*normalisation(turns), *training(max(2, turns // 2)), *input_pipeline(turns)]
    for row in rows:
        target = f"   at least {row['target']:g}" if row["target"] else ""
        print(f"{row['what']:58} {row['ratio']:6.2f} x  ({row['low']:.2f} to {row['high']:.2f}){target}")
        print(f"    {row['unit']}: {row['ours']:.3g} against {row['theirs']:.3g}")
    record = {"experiment": "bench", "arm": "cpu" if not torch.cuda.is_available() else "gpu", "seed": 0}
    record |= {"environment": records.environment(), "metrics": {r["what"]: r["ratio"] for r in rows}, "rows": rows}
    path = records.results_path(record) if asked.record else records.runs_root() / "bench.json"
    print(f"record: {records.write(record, path)}")


def in_turns(what: str, ours: Callable, theirs: Callable, turns: int, amount: int, unit: str, target: float = 0.0) -> dict:
    """How many times faster `ours` is: the median of the ratios of adjacent turns, and their range.

    Args:
        amount: what one call does, in images; rates are given per second.
    """
    times: list[tuple[float, float]] = []
    for call in (ours, theirs):
        call()  # warm
    for _ in bar(range(turns), desc=what, unit="turn"):
        pair = []
        for call in (ours, theirs):
            started = time.perf_counter()
            call()
            pair.append(time.perf_counter() - started)
        times.append(tuple(pair))
    ratios = [b / a for a, b in times]
    rates = [amount / statistics.median(t) for t in zip(*times, strict=True)]
    return {
        "what": what, "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "turns": turns,
        "unit": unit, "ours": rates[0], "theirs": rates[1], "target": target,
    }  # fmt: skip


def normalisation(turns: int) -> list[dict]:
    """Forward and backward over the maps of conv1, both definitions set to the same constants."""
    rows = []
    for name, layout in LAYOUTS.items():
        maps = (torch.randn(32, 96, 55, 55).relu() * 20).contiguous(memory_format=layout)
        gradient = torch.randn(32, 96, 55, 55).contiguous(memory_format=layout)

        def both_ways(layer: nn.Module, maps=maps, gradient=gradient) -> None:
            x = maps.detach().requires_grad_()
            layer(x).backward(gradient)

        ours, theirs = LocalResponseNorm(average=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
        what = f"LRN forward and backward, 32x96x55x55, {name}"
        rows.append(
            in_turns(what, lambda f=both_ways, m=ours: f(m), lambda f=both_ways, m=theirs: f(m), turns, 32, "images/s", 4.0)
        )
    return rows


def training(turns: int) -> list[dict]:
    """One training step of the paper's network, against the same with torch's normalisation and against torchvision's network."""
    batch, labels = torch.randn(32, 3, 224, 224) * 50, torch.arange(32)

    def step_of(net: nn.Module) -> Callable:
        optimiser = PaperSGD(net)
        optimiser.rates = dict.fromkeys(optimiser.parameters, 1e-6)

        def step() -> None:
            optimiser.zero_grad()
            cross_entropy(net(batch), labels).backward()
            optimiser.step()

        return step

    ours = step_of(AlexNet(ModelConfig.preset("paper"), seed=0))
    with_torchs = AlexNet(ModelConfig.preset("paper"), seed=0)
    for i, module in enumerate(with_torchs.features):
        if isinstance(module, LocalResponseNorm):
            with_torchs.features[i] = nn.LocalResponseNorm(module.size, module.alpha * module.size, module.beta, module.k)
    return [
        in_turns("training step of paper, batch 32, against torch's LRN", ours, step_of(with_torchs), turns, 32, "images/s"),
        in_turns(
            "training step of paper against torchvision's AlexNet",
            ours,
            step_of(torchvision.models.alexnet()),
            turns,
            32,
            "images/s",
        ),
    ]


def input_pipeline(turns: int) -> list[dict]:
    """Images to a normalised batch on one thread: packed 256x256 bytes against JPEG files through torchvision's folder pipeline."""
    from torchvision.transforms import v2

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", count=128)
        dataset = open_dataset(f"folder:{images}", root=Path(folder) / "data")
        mean, generator = torch.from_numpy(dataset.mean_image), torch.Generator().manual_seed(0)
        axes = tuple(torch.as_tensor(a, dtype=torch.float32) for a in dataset.colour_axes)
        steps = [
            v2.Resize(256),
            v2.RandomCrop(224),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
        theirs = torchvision.datasets.ImageFolder(images, v2.Compose([*steps, v2.Normalize([0.5] * 3, [0.25] * 3)]))

        def packed() -> torch.Tensor:
            images = torch.from_numpy(dataset.take(torch.randperm(128, generator=generator).numpy()))
            batch = cut(images, mean, 224, *random_crops(images, 224, generator))
            return colour_noise(batch, axes, "eigenvalue", generator)

        def by_files() -> torch.Tensor:
            return torch.stack([theirs[i][0] for i in range(128)])

        row = in_turns(
            "packed pipeline with colour noise against ImageFolder, 1 thread", packed, by_files, turns, 128, "images/s"
        )
    torch.set_num_threads(threads)
    return [row]


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
