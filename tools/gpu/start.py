"""Does the loss of the paper's network leave ln(1000)? The first steps on real images, by initial biases and weights.

Whoever trains this network again asks why it is stuck at 6.9. Section 5 says that biases of 1 speed up the first steps; the
2012 source has, besides, weights of 0.03 in conv3 to conv5. Here each starts from three seeds, in float32.
"""

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict

import torch
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, ModelConfig, TrainConfig, open_dataset
from alexnet_lib.batches import mix
from alexnet_lib.evidence import records
from alexnet_lib.optim import PaperSGD, Rates

from .oncard import CardBatches

STEPS, SEEDS, SPAN = 300, (0, 1, 2), 20  # a loss is the mean of SPAN steps
IMAGES = 6400  # of a larger set: 1.3 GB, and as many as 50 steps take
BIASES = {"biases-1": 1.0, "biases-0.1": 0.1, "biases-0": 0.0}
SOURCE = {"conv3": {"std": 0.03}, "conv4": {"std": 0.03}, "conv5": {"std": 0.03}}  # biases of 1, as in the paper


def arms(preset: str) -> dict[str, ModelConfig]:
    found = {}
    for name, bias in BIASES.items():
        layers = {conv: {"bias": bias} for conv in ("conv2", "conv4", "conv5")}
        found[name] = ModelConfig.preset(preset, hidden_bias=bias, **layers)
    return found | {"source-0.03": ModelConfig.preset(preset, **SOURCE)}


def rows(asked: argparse.Namespace, deadline: float) -> Iterator[dict]:
    tiny = asked.device == "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions have it already
    dataset = open_dataset("photos10" if tiny else asked.images or "imagenet")
    dataset = dataset.subset(range(0, len(dataset), max(1, len(dataset) // IMAGES)))  # all on the card
    train = TrainConfig.preset("paper", batch_size=8 if tiny else 128, holdout=0)
    chance = math.log(len(dataset.classes))
    for seed in SEEDS[: 1 if tiny else None]:
        for name, model in arms("small" if tiny else "paper").items():
            what = f"first steps, {name}, seed {seed}"
            if not tiny and time.monotonic() > deadline - 15:
                yield {"what": what, "how": "skipped", "why": "the time was over"}
                continue
            began = time.perf_counter()
            losses = first_losses(model, train, dataset, seed, asked.device, 4 if tiny else STEPS)
            spans = [statistics.fmean(losses[i : i + SPAN]) for i in range(0, len(losses), SPAN)]
            left = next((SPAN * (i + 1) for i, loss in enumerate(spans) if loss < chance - 0.1), None)
            record = {"experiment": "paper_start", "arm": name, "seed": seed, "model": asdict(model)}
            record |= {
                "train": asdict(train) | {"seed": seed, "data": dataset.name},
                "data": {"train": records.data_facts(dataset)},
            }
            record |= {
                "environment": records.environment(torch.device(asked.device)) | {"precision": "float32, products in TF32"},
                "first_losses": losses,
            }
            record |= {"metrics": {"loss_of_chance": chance, "last_loss": spans[-1], "left_chance_by_step": left or math.nan}}
            record["metrics"] = {k: v for k, v in record["metrics"].items() if v == v}
            records.write(record, records.results_path(record, asked.out / "results"))
            why = f"leaves {chance:.2f} by step {left}" if left else f"still at {spans[-1]:.2f} after {len(losses)} steps"
            yield {"what": what, "how": "done", "why": why, "seconds": time.perf_counter() - began}


def first_losses(model: ModelConfig, train: TrainConfig, dataset, seed: int, device: str, steps: int) -> list[float]:
    """The loss of each of the first steps, as `fit` would take them; read from the card once, at the end."""
    where = torch.device(device)
    net = AlexNet(model, seed).to(where).train()
    config = TrainConfig.from_dict(asdict(train) | {"seed": seed})
    batches = CardBatches(dataset, model, config, where)
    optimiser, losses = PaperSGD(net, config.momentum, config.weight_decay), torch.zeros(steps, device=where)
    optimiser.rates = Rates(config.lr).by_parameter(net)
    for step, (images, labels) in enumerate(batches.ahead(0, steps)):
        torch.manual_seed(mix(seed, step, 1))
        loss = cross_entropy(net(batches.augment(images, step)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses[step] = loss.detach()
    return [round(loss, 5) for loss in losses.tolist()]
