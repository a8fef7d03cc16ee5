"""Averages the kept networks of an experiment by two, three, five and ten (section 6), and recomputes each one's own figures.

python tools/ensembles.py --data folder:CIFAR10-JPEG [--record]

Every network of results/ensemble/ is evaluated once, by ten views. Where its error is not that of its record, the command says
so and fails: network or data are not those of the record. The groups are disjoint, in the order of the seeds, so that the
effect is measured as often as there are groups. The records go to runs/averaged/, with --record to results/averaged/.
"""

import argparse
import sys
from itertools import pairwise

import numpy as np
import torch
from ending import ended

from alexnet_lib import InputError, open_dataset
from alexnet_lib.checkpoint import load_model
from alexnet_lib.evaluation import error_rates, predict
from alexnet_lib.evidence import records
from alexnet_lib.evidence.networks import as_trained, facts_of
from alexnet_lib.evidence.plans import plan_of, planned_runs, seeds_of
from alexnet_lib.system.memory import keep_pages

SIZES = {"two": 2, "three": 3, "five": 5, "ten": 10}
FIGURES = ("top1_error", "top5_error", "loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the data set of the records: a source, folder:PATH or a packed folder")
    parser.add_argument("--record", action="store_true", help="write to results/averaged/")
    asked = parser.parse_args()
    every = sorted(planned_runs("ensemble"), key=lambda record: record["seed"])
    wanted = plan_of("ensemble")["seeds"]
    if [record["seed"] for record in every] != wanted:
        hint = "python -m alexnet_lib experiments --only ensemble measures the rest"
        raise InputError(f"{len(every)} of {len(wanted)} networks of ensemble are recorded: {hint}")
    keep_pages()  # else half of the time goes into memory that each batch hands back
    seen, labels = [], None
    for record in every:
        probabilities, labels = recomputed(record, asked.data)
        seen.append(probabilities)
    for name, size in SIZES.items():
        for seed, (first, last) in zip(seeds_of(plan_of("averaged"), name), groups(len(every), size), strict=True):
            made = averaged(name, seed, every[first:last], torch.stack(seen[first:last]), labels)
            shown = made["metrics"]
            print(f"{name} {seed}: {shown['members_top1_error']:.2f} % each, {shown['test_top1_error']:.2f} % averaged")
            records.keep(made, asked.record)


def recomputed(record: dict, data: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(probabilities float32 (N, classes), labels int64 (N,)) of the test images, from the network kept beside a record.

    Raises InputError where file, images or error are not those of the record.
    """
    path = records.network_path(records.results_path(record))
    if facts_of(path) != record.get("network"):
        raise InputError(f"{path} is not the network of its record. Take it from version control again")
    net, facts = load_model(path)
    dataset = as_trained(open_dataset(data, "test", size=net.config.packed_size), str(path), net, facts)
    if dataset.checksum != record["data"]["test"]["checksum"]:
        raise InputError(f"{dataset.name} has other test images than the record {path.name} speaks of: name its data")
    labels = torch.as_tensor(dataset.labels)
    probabilities = predict(net, dataset, progress=True)
    found = error_rates(probabilities, labels)
    off = max(abs(found[key] - record["metrics"][f"test_{key}"]) for key in FIGURES)
    print(f"seed {record['seed']}: top-1 error {found['top1_error']:.2f} %, at most {off:.1g} from its record")
    if off > 0.05:  # other processors round otherwise: five images of 10,000
        raise InputError(f"{path} gives {found['top1_error']:.2f} %, its record has {record['metrics']['test_top1_error']:.2f} %")
    return probabilities, labels


def groups(count: int, size: int) -> list[tuple[int, int]]:
    """(first, last + 1) of the disjoint groups of so many networks; those left over are in none."""
    return list(pairwise(range(0, count + 1, size)))


def averaged(arm: str, seed: int, members: list[dict], probabilities: torch.Tensor, labels: torch.Tensor) -> dict:
    """The record of some networks averaged: their softmax first, then the mean, as section 4.1 does it with views.

    Args:
        probabilities: (networks, N, classes).
    """
    together = probabilities.mean(0)
    metrics = {f"test_{key}": value for key, value in error_rates(together, labels).items() if key in FIGURES}
    metrics |= {f"members_{key}": float(np.mean([m["metrics"][f"test_{key}"] for m in members])) for key in FIGURES}
    record = {"experiment": "averaged", "arm": arm, "seed": seed, "networks": [f"ensemble/one-seed{m['seed']}" for m in members]}
    record |= {"data": members[0]["data"], "environment": records.environment(torch.device("cpu"))}
    record |= {"training_seconds": round(sum(m["training_seconds"] for m in members), 1), "metrics": metrics}
    return record | {"outcomes": records.outcomes(together, labels.numpy())}


if __name__ == "__main__":
    sys.exit(ended(main))
