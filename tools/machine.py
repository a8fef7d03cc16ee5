"""What this machine can do, from small measurements of general operations, and whether the cost model then predicts how fast
it trains.

python tools/machine.py [--rounds N] [--record]. No constant comes from the network whose rate is predicted: convolutions
have shapes of other networks. Each round measures the constants and the training steps one after the other, so that both
see the machine in the same state; figures are medians over rounds. With --record they go to results/cost_model/.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch
from cost_model import CONV, FIRST, GROUPED, MATRIX, NORM, POOLING, Machine, operations
from ending import ended
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig
from alexnet_lib.augment import colour_noise, cut, random_crops
from alexnet_lib.evidence import records
from alexnet_lib.optim import PaperSGD, Rates
from alexnet_lib.system.memory import keep_pages
from alexnet_lib.system.progress import bar

BATCH, WITHIN = 32, 0.25
WHAT = f"training rate of preset paper against the cost model's prediction, batch {BATCH}: 1 - relative error"
PRESETS = ("paper", "one_gpu", "torchvision", "small")
LARGE = 64 * 2**20  # bytes of a tensor that no cache holds
CHUNK = 2 * 2**20  # bytes of one that a cache holds

# A layer and its input for each kind of work, with FLOP as operations() counts them. The convolutions are those of a residual
# network of today (7x7 on the image, 3x3 between maps), at another size than any layer of ours.
PRIMITIVES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    FIRST: (lambda: nn.Conv2d(3, 64, 7, 2, 3), (16, 3, 112, 112)),
    CONV: (lambda: nn.Conv2d(128, 128, 3, padding=1), (16, 128, 28, 28)),
    GROUPED: (lambda: nn.Conv2d(128, 128, 3, padding=1, groups=2), (16, 128, 28, 28)),
    MATRIX: (lambda: nn.Linear(3072, 3072), (BATCH, 3072)),
    POOLING: (lambda: nn.MaxPool2d(3, 2), (16, 64, 56, 56)),
}


def seconds(function: Callable[[], object], least: float = 0.08) -> float:
    """The shortest time of a call, over three calls or more and so many seconds, after two to warm up.

    With one thread it is the processor's time, which does not run while another program has the processor; with more
    threads it is the wall clock's, and the machine must be quiet.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    function(), function()  # the heap takes a few turns to settle
    times, started = [], clock()
    while len(times) < 3 or clock() - started < least:
        began = clock()
        function()
        times.append(clock() - began)
    return min(times)


def rates() -> dict[str, float]:
    """FLOP/s of each kind and way, as Machine.rates has them."""
    found = {}
    for kind, (make, shape) in PRIMITIVES.items():
        layer, values = make(), torch.randn(shape)
        inputs = values.clone().requires_grad_(kind != FIRST)
        outputs = layer(inputs)
        if kind == POOLING:
            flop, back = layer.kernel_size**2 * outputs.numel(), 1
        else:
            flop, back = 2 * layer.weight.numel() * outputs.numel() // len(layer.weight), 1 if kind == FIRST else 2
        wanted, gradient = [x for x in (inputs, *layer.parameters()) if x.requires_grad], torch.randn_like(outputs)
        found[f"{kind} forward"] = flop / seconds(lambda layer=layer, x=values: layer(x))
        backward = seconds(lambda y=outputs, x=wanted, g=gradient: torch.autograd.grad(y, x, g, retain_graph=True))
        found[f"{kind} backward"] = back * flop / backward
    a, b, c = torch.rand(3, CHUNK // 4)
    steps = (lambda: torch.add(a, b, out=c), lambda: torch.mul(a, b, out=c), lambda: torch.square(a, out=c))
    steps += (lambda: torch.sqrt(a, out=c), steps[0])  # in about the proportions of a normalisation
    in_cache = a.numel() * len(steps) / sum(seconds(one, 0.01) for one in steps)
    return found | {f"{NORM} forward": in_cache, f"{NORM} backward": in_cache}


def bandwidth() -> float:
    """Bytes/s of a copy between large tensors whose pages are there: each byte is read once and written once."""
    source, target = torch.rand(2, LARGE // 4)
    return 2 * LARGE / seconds(lambda: target.copy_(source))


def overhead() -> float:
    """Seconds that a small operation takes with its way back."""
    x = torch.ones(8, requires_grad=True)
    return seconds(lambda: x.relu().sum().backward(), 0.05) / 4


def constants() -> Machine:
    """This machine, as the cost model needs it. peak: the rate of a large matrix product."""
    a, b = torch.randn(2, 1536, 1536)
    peak = 2 * 1536**3 / seconds(lambda: a @ b)
    name = f"{records.processor()}, {torch.get_num_threads()} threads"
    return Machine(name, peak, bandwidth(), rates=rates(), overhead=overhead())


def predicted(config: ModelConfig, machine: Machine, batch: int = BATCH) -> float:
    """Images per second of training."""
    return batch / sum(machine.seconds(each, batch) for each in operations(config))


def measured(config: ModelConfig, batch: int = BATCH) -> float:
    """Images per second of training steps as they are: forward, backward, update."""
    net = AlexNet(config, seed=0)
    images, labels = torch.randn(batch, 3, config.image_size, config.image_size) * 50, torch.zeros(batch, dtype=torch.long)
    optimiser, rates = PaperSGD(net), Rates(1e-6).by_parameter(net)
    return batch / seconds(lambda: optimiser.descend(cross_entropy(net(images), labels), rates))


def input_rate(images: int = 64) -> float:
    """Images per second that one core cuts, mirrors and colours, from packed 256x256 bytes to batches of 224x224."""
    generator, mean = torch.Generator().manual_seed(0), torch.full((256, 256, 3), 120.0)
    packed = torch.randint(256, (images, 256, 256, 3), dtype=torch.uint8, generator=generator)
    axes = torch.tensor([14_000.0, 1_200.0, 300.0]), torch.eye(3)

    def one() -> None:
        colour_noise(cut(packed, mean, 224, *random_crops(packed, 224, generator)), axes, "eigenvalue", generator)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return images / seconds(one)
    finally:
        torch.set_num_threads(before)


def rows(turns: int) -> Iterator[dict]:
    """The row of tools/bench.py: how near the predicted rate of preset paper is to the measured one; 0.75 is within 25 %."""
    config, pairs, turns = ModelConfig.preset("paper"), [], max(3, turns // 2)
    for _ in bar(range(turns), desc="cost model", unit="turn"):
        pairs.append((predicted(config, constants()), measured(config)))
    near = [1 - abs(p / m - 1) for p, m in pairs]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    row = {
        "what": WHAT,
        "threads": torch.get_num_threads(),
        "ratio": statistics.median(near),
        "low": min(near),
        "high": max(near),
    }
    yield row | {"turns": turns, "ours": ours, "theirs": theirs, "unit": "images/s", "target": 1 - WITHIN}


def pages() -> dict[str, float]:
    """What memory costs in this process: bytes/s of a clone and of a copy into a tensor that is there; ms an image of both
    normalisations, forward and backward, on the maps of conv1; page faults of one clone."""
    large, target = torch.rand(LARGE // 4), torch.zeros(LARGE // 4)
    faults, turns = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, 8
    for _ in range(turns):
        large.clone()
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / turns
    maps = (torch.randn(BATCH, 96, 55, 55).relu() * 20).requires_grad_()
    gradient = torch.randn(BATCH, 96, 55, 55)

    def both_ways(layer: nn.Module) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(layer(maps), maps, gradient)

    found = {"faults of a clone": faults, "clone bytes/s": 2 * LARGE / seconds(large.clone)}
    found["copy bytes/s"] = 2 * LARGE / seconds(lambda: target.copy_(large))
    found["torch's LRN ms"] = 1000 / BATCH * seconds(both_ways(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)))
    found["LRN ms"] = 1000 / BATCH * seconds(both_ways(LocalResponseNorm(average=True)))
    return found


def stock_and_kept(rounds: int) -> dict[str, dict[str, float]]:
    """pages() in new processes, in turns: a stock one, and one that keeps its pages; medians."""
    turns: dict[str, list[dict]] = {"stock": [], "kept": []}
    for _ in bar(range(rounds), desc="pages", unit="round"):
        for side, found in turns.items():
            command = [sys.executable, __file__, "--pages", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(done.stdout))
    return {side: {key: statistics.median(t[key] for t in found) for key in found[0]} for side, found in turns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements; medians count")
    parser.add_argument("--pages", choices=("stock", "kept"), help="print only what memory costs in such a process")
    parser.add_argument("--record", action="store_true", help="write to results/cost_model/")
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error("--rounds is 1 or more")
    if asked.pages != "stock":
        keep_pages()
    if asked.pages:
        print(json.dumps(pages()))
        return
    machines, rows = [], {name: [] for name in PRESETS}
    for _ in bar(range(asked.rounds), desc="constants and steps", unit="round"):
        machines.append(constants())
        for name, found in rows.items():
            config = ModelConfig.preset(name)
            found.append((predicted(config, machines[-1]), measured(config)))
    middle = {key: statistics.median(getattr(m, key) for m in machines) for key in ("peak", "bandwidth", "overhead")}
    middle["rates"] = {key: statistics.median(m.rates[key] for m in machines) for key in machines[0].rates}
    rates_of = {name: [statistics.median(side) for side in zip(*found, strict=True)] for name, found in rows.items()}
    record = {"experiment": "cost_model", "arm": "cpu", "seed": 0}
    record |= {"environment": records.environment() | {"precision": "float32"}, "batch": BATCH, "rounds": asked.rounds}
    record |= {"machine": {"name": machines[0].name} | middle}
    record["rates"] = {name: {"predicted": p, "measured": m} for name, (p, m) in rates_of.items()}
    record["input"] = {"images a second and core": input_rate()}
    record["pages"] = stock_and_kept(asked.rounds)
    record["metrics"] = {f"{name}: predicted / measured": round(p / m, 3) for name, (p, m) in rates_of.items()}
    for what, ratio in record["metrics"].items():
        print(f"{what} images/s: {ratio:.2f}")
    records.keep(record, asked.record)


if __name__ == "__main__":
    sys.exit(ended(main))
