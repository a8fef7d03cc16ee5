"""Ratios on one card in one run: a training step of preset paper against torchvision's network and against none without
normalisation, normalisation alone, the input, the roofline, ten views."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from benchmarks.network import with_torchs_lrn
from benchmarks.pipeline import write_jpegs
from cost_model import Machine, card_of, operations
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig, TrainConfig, open_dataset
from alexnet_lib.batches import Batches
from alexnet_lib.evaluation import predict
from alexnet_lib.optim import PaperSGD

from .oncard import CardBatches

BATCH, TURNS = 128, 5
PRECISIONS = ("float32", "TF32", "bfloat16")
# What is wanted of a step with our normalisation against each of these.
OTHERS = {"no LRN": 0.95, "torchvision's AlexNet": 1.0, "torch's LRN": 0.0}
BYTES_TARGET = 1 / 1.3  # of the rate at which a copy moves the bytes of LRN
ROOFLINE_TARGET, FED_TARGET = 0.6, 0.98


class Bench:
    """One device, its clock and its sizes; small ones on a processor, to rehearse."""

    def __init__(self, device: str):
        self.device, self.on_card = torch.device(device), device != "cpu"
        self.batch, self.turns = (BATCH, TURNS) if self.on_card else (2, 1)
        self.config = ModelConfig.preset("paper") if self.on_card else ModelConfig.preset("paper", hidden=[64, 64])

    def seconds(self, call: Callable, least: float = 0.1) -> float:
        """Of one call, from as many as fill `least` seconds; the card is waited for before and after."""
        count, least = 1, least if self.on_card else 0.0
        while True:
            self.wait()
            began = time.perf_counter()
            for _ in range(count):
                call()
            self.wait()
            spent = time.perf_counter() - began
            if spent >= least:
                return spent / count
            count = max(2 * count, int(1.2 * count * least / max(spent, 1e-6)))

    def wait(self) -> None:
        if self.on_card:
            torch.cuda.synchronize()

    def row(self, what: str, ours: Callable, theirs: Callable, images: int, target: float = 0.0) -> dict:
        """How many times faster `ours` is, in turns; the first turn warms up."""
        pairs = [(self.seconds(ours), self.seconds(theirs)) for _ in range(self.turns + 1)][1:]
        ratios = [t / o for o, t in pairs]
        ours, theirs = (images / statistics.median(side) for side in zip(*pairs, strict=True))
        row = {"what": what, "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios), "turns": self.turns}
        return row | {"ours": ours, "theirs": theirs, "unit": "images/s", "target": target}


def rows(asked: argparse.Namespace, deadline: float) -> Iterator[dict]:
    """In the order of what matters most, so that a time that is too short costs what matters least."""
    bench = Bench(asked.device)
    for name, part in (
        ("steps", eager_steps),
        ("LRN", lrn),
        ("input", inputs),
        ("compiled steps", compiled_steps),
        ("ten views", views),
    ):
        if bench.on_card and time.monotonic() > deadline - 10:
            yield {"what": name, "how": "skipped", "why": "the time was over"}
            continue
        try:
            yield from part(bench, asked)
        except RuntimeError as error:  # one that fails must not cost the others
            yield {"what": name, "how": "failed", "why": str(error).splitlines()[0][:200]}


def eager_steps(bench: Bench, asked: argparse.Namespace) -> Iterator[dict]:
    for precision in PRECISIONS if bench.on_card else PRECISIONS[:1]:
        ours = step(bench, "ours", precision)
        for name, target in OTHERS.items() if bench.on_card else [("no LRN", 0.0)]:
            what = f"training step of preset paper against {name}, {precision}, eager, batch {bench.batch}"
            target = target if name != "torchvision's AlexNet" or precision == "bfloat16" else 0.0
            yield bench.row(what, ours, step(bench, name, precision), bench.batch, target)
    if not bench.on_card:
        yield {
            "what": "training step in TF32 and bfloat16, against torchvision's AlexNet",
            "how": "skipped",
            "why": "needs a GPU",
        }


def compiled_steps(bench: Bench, asked: argparse.Namespace) -> Iterator[dict]:
    """bfloat16 first, against the others and the bound; then what compiling brings in each other precision."""
    ours = step(bench, "ours", "bfloat16", compiled=True)
    for name in ("no LRN", "torchvision's AlexNet") if bench.on_card else ("no LRN",):
        what = f"training step of preset paper against {name}, bfloat16, compiled, batch {bench.batch}"
        target = OTHERS[name] if bench.on_card else 0.0
        yield bench.row(what, ours, step(bench, name, "bfloat16", compiled=True), bench.batch, target)
    seconds = statistics.median(bench.seconds(ours) for _ in range(bench.turns))
    machine = card_of(torch.cuda.get_device_name() if bench.on_card else "NVIDIA H100")  # to rehearse
    if machine is None:
        yield {"what": "share of the roofline", "how": "skipped", "why": "this card is not in devices.json"}
    else:
        yield share_of_bound(bench.config, machine, bench.batch, seconds)
    for precision in ("bfloat16", "float32", "TF32"):
        compiled = ours if precision == "bfloat16" else step(bench, "ours", precision, compiled=True)
        what = f"training step of preset paper, {precision}, compiled against eager, batch {bench.batch}"
        yield bench.row(what, compiled, step(bench, "ours", precision), bench.batch)


def share_of_bound(config: ModelConfig, machine: Machine, batch: int, seconds: float) -> dict:
    """How near a step of so many seconds comes to chapter 13's bound: the roof over each operation, one after the other."""
    bound = sum(max(each.flop * batch / machine.peak, machine.memory(each, batch)) for each in operations(config))
    row = {"what": f"share of chapter 13's bound for a step, bfloat16, compiled, batch {batch}", "ratio": bound / seconds}
    return row | {"ours": 1000 * seconds, "theirs": 1000 * bound, "unit": "ms, measured and bound", "target": ROOFLINE_TARGET}


def step(bench: Bench, name: str, precision: str, compiled: bool = False) -> Callable:
    """A step on a batch that stays the same: see `steps_on`."""
    take = steps_on(bench, name, precision, compiled)
    images = torch.randn(bench.batch, 3, 224, 224, device=bench.device).contiguous(memory_format=torch.channels_last) * 50
    labels = torch.arange(bench.batch, device=bench.device)
    return lambda: take(images, labels)


def steps_on(bench: Bench, name: str, precision: str, compiled: bool = False) -> Callable[[Tensor, Tensor], None]:
    """Zero, forward, backward and update on a batch: "ours", or a network by its name in OTHERS."""
    if name.startswith("torchvision"):
        net: nn.Module = torchvision.models.alexnet()
    else:
        norm = {"norm": {"kind": "none"}} if name == "no LRN" else {}
        net = AlexNet(
            ModelConfig.preset("paper", **norm) if bench.on_card else ModelConfig.preset("paper", hidden=[64, 64], **norm), 0
        )
        net = with_torchs_lrn(net) if name == "torch's LRN" else net
    net.to(bench.device, memory_format=torch.channels_last)
    optimiser = PaperSGD(net)
    optimiser.rates = dict.fromkeys(optimiser.parameters, 1e-6)
    network = torch.compile(net, backend="inductor" if bench.on_card else "aot_eager") if compiled else net

    def take(images: Tensor, labels: Tensor) -> None:
        with products(precision == "TF32"), torch.autocast(bench.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images)
            optimiser.zero_grad()
            cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    return take


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Matrix products and convolutions in TF32, or in float32 proper."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def lrn(bench: Bench, asked: argparse.Namespace) -> Iterator[dict]:
    """Both ways over the maps of conv1, against torch's, and against a copy that moves as many bytes."""
    for precision in (torch.float32, torch.bfloat16) if bench.on_card else (torch.float32,):
        maps = (torch.randn(bench.batch, 96, 55, 55, device=bench.device).relu() * 20).to(precision)
        gradient = torch.randn_like(maps)

        def both_ways(layer: nn.Module, maps=maps, gradient=gradient) -> Callable:
            return lambda: layer(maps.detach().requires_grad_()).backward(gradient)

        ours = {"eager": LocalResponseNorm(average=True)}
        if bench.on_card:
            ours["compiled"] = torch.compile(LocalResponseNorm(average=True))
        torchs = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
        kind = str(precision).removeprefix("torch.")
        for how, layer in ours.items():
            what = f"LRN, {how}, {kind}, {bench.batch}x96x55x55"
            yield bench.row(f"{what}, against torch's", both_ways(layer), both_ways(torchs), bench.batch)
            copy = _copy(maps)
            row = bench.row(f"{what}, against a copy of as many bytes", both_ways(layer), copy, bench.batch)
            # a copy reads one tensor and writes one; LRN does so on the way up, and reads two and writes one on the way down
            row |= {key: 2.5 * row[key] for key in ("ratio", "low", "high")} | {"theirs": row["theirs"] / 2.5}
            yield row | {"target": BYTES_TARGET if how == "compiled" else 0.0}
    if not bench.on_card:
        yield {"what": "LRN compiled, LRN in bfloat16", "how": "skipped", "why": "needs a GPU"}


def _copy(maps: Tensor) -> Callable:
    target = torch.empty_like(maps)
    return lambda: target.copy_(maps)


def inputs(bench: Bench, asked: argparse.Namespace) -> Iterator[dict]:
    """Crops, mirrors and colours on the card, with the images there: it must never be waited for."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(Path(folder) / "images", 4 * bench.batch)
        dataset = open_dataset(f"folder:{files}", root=Path(folder) / "data", progress=False)
        batches = CardBatches(dataset, bench.config, TrainConfig.preset("paper", batch_size=bench.batch), bench.device)
        images, _ = next(batches.ahead(0, 1))
        ours = step(bench, "ours", "bfloat16" if bench.on_card else "float32")
        what = f"images/s that the input gives against what a step takes, preset paper, batch {bench.batch}"
        yield bench.row(what, lambda: batches.augment(images, 0), ours, bench.batch, 1.0 if bench.on_card else 0.0)
        yield fed(bench, dataset)


def fed(bench: Bench, dataset) -> dict:
    """Steps on batches that come as in a training, from the packed set through memory that the card reads, against as many
    steps on one batch: 1 where the input is never waited for."""
    train = TrainConfig.preset("paper", batch_size=bench.batch, channels_last=True)
    batches, precision = Batches(dataset, bench.config, train, bench.device), "bfloat16" if bench.on_card else "float32"
    take, steps = steps_on(bench, "ours", precision), 20 if bench.on_card else 2
    images, labels = next(batches.ahead(0, 1))
    batch = batches.augment(images, 0)

    def from_the_set() -> None:
        for number, (images, labels) in enumerate(batches.ahead(0, steps)):
            take(batches.augment(images, number), labels)

    def on_one_batch() -> None:
        for _ in range(steps):
            take(batch, labels)

    what = f"training of preset paper from a packed set against steps on one batch, {precision}, eager, batch {bench.batch}"
    return bench.row(what, from_the_set, on_one_batch, steps * bench.batch, FED_TARGET if bench.on_card else 0.0)


def views(bench: Bench, asked: argparse.Namespace) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(
            f"folder:{write_jpegs(Path(folder) / 'images', 2 * bench.batch)}", root=Path(folder) / "data", progress=False
        )
        net = AlexNet(bench.config, 0).to(bench.device).eval()
        row = bench.row(
            "ten views against ten times the centre",
            *(lambda v=v: predict(net, dataset, v) for v in ("ten", "centre")),
            len(dataset),
        )
        yield row | {"ratio": 10 * row["ratio"], "low": 10 * row["low"], "high": 10 * row["high"], "theirs": row["theirs"] / 10}
