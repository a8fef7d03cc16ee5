"""make live: trains the small network on photos10 and writes what book/live.md runs in the reader's browser.

The run is that of preset quick with seed 0, in runs/live_network/; one that is there already is not trained again. Its record
goes to results/, the network to book/_static/live_net.js: one script that sets one constant, so that the page works from disk.
Weights are int8 with a scale for each kernel. With them go a few test patches, and torch's logits for these.
"""

import argparse
import base64
import json
import sys
from dataclasses import asdict

import numpy as np
import torch
from ending import ended
from torch import Tensor

from alexnet_lib.augment import centre_view
from alexnet_lib.checkpoint import load_model
from alexnet_lib.config import InputError, ModelConfig, preset
from alexnet_lib.evaluation import error_rates, predict
from alexnet_lib.evidence import experiment, records
from alexnet_lib.evidence.metrics import spread
from alexnet_lib.model import AlexNet
from alexnet_lib.system.files import whole

PROFILE, EXPERIMENT = "quick", "live_network"
FILE = records.REPOSITORY / "book" / "_static" / "live_net.js"
HEAD = "// Written by make live (tools/live.py). The checksum is over all else.\nconst LIVE_NET = "
PATCHES = 30  # evenly spaced over the test split: three of each photograph


def main() -> None:
    model, train = preset(PROFILE)
    run = records.run_dir(EXPERIMENT, PROFILE, train, train.data)
    record, path = experiment.run(model, train, run, experiment=EXPERIMENT, arm=PROFILE)
    published = records.publish(record, path)
    net, _ = load_model(run)
    write(content(net, records.read(published), experiment.open_sets(train, model)["test"]))
    print(f"{published}\n{FILE}")


def content(net: AlexNet, record: dict, test_set) -> dict:
    """All that the page needs: what was trained and how it errs, the weights, the mean image, patches with their logits."""
    layers = {name: packed_layer(layer) for name, layer in net.named_layers().items()}
    rounded = unpacked(asdict(net.config), layers)
    exact, coarse = (predict(each, test_set, "centre") for each in (net, rounded))
    places = spread(len(test_set), PATCHES)
    pixels = test_set.take(places)
    views = centre_view(
        torch.from_numpy(pixels), torch.from_numpy(test_set.mean_image), net.config.image_size, net.config.pixel_std
    )
    with torch.inference_mode():
        logits = {name: each(views[0]).double().numpy().round(6).tolist() for name, each in (("float32", net), ("int8", rounded))}
    facts = {
        "record": records.results_path(record).relative_to(records.results_root()).as_posix(),
        "record_checksum": record["checksum"],
        "model": asdict(net.config),
        "classes": list(test_set.classes),
        "parameters": sum(p.numel() for p in net.parameters()),
        "int8": {
            "test_centre_top1_error": error_rates(coarse, torch.as_tensor(test_set.labels))["top1_error"],
            "test_images": len(test_set),
            "other_guesses": int((exact.argmax(1) != coarse.argmax(1)).sum()),
        },
        "patches": {
            "size": test_set.size,
            "places": places.tolist(),
            "labels": test_set.labels[places].tolist(),
            "logits": logits,
            "pixels": text(pixels),
        },
        "mean_image": text(test_set.mean_image),
        "layers": layers,
    }
    return facts | {"checksum": records.checksum(facts)}


def packed_layer(layer: torch.nn.Module) -> dict:
    """Weights as int8 and as many scales as there are kernels or units: a weight is its int8 times its scale."""
    weight = layer.weight.detach()
    scale = weight.flatten(1).abs().amax(1) / 127
    steps = (weight / scale.view(-1, *[1] * (weight.dim() - 1))).round().to(torch.int8)
    parts = {"weight": steps, "scale": scale, "bias": layer.bias.detach()}
    return {"shape": list(weight.shape)} | {name: text(part.numpy()) for name, part in parts.items()}


def unpacked(model: dict, layers: dict) -> AlexNet:
    """The network with the weights that the page uses, in evaluation mode."""
    net = AlexNet(ModelConfig.from_dict(model)).eval()
    for name, layer in net.named_layers().items():
        steps, scale, bias = (
            values(layers[name][part], kind) for part, kind in (("weight", "i1"), ("scale", "<f4"), ("bias", "<f4"))
        )
        layer.weight.data = (steps.view(len(scale), -1).float() * scale[:, None]).view(layers[name]["shape"])
        layer.bias.data = bias
    return net


def text(array: np.ndarray) -> str:
    """An array's bytes in base64, the lowest byte of a number first, as every browser's machine has them."""
    return base64.b64encode(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).decode()


def values(encoded: str, kind: str) -> Tensor:
    """Inverse of `text`, flat."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(encoded), kind).copy())


def write(facts: dict) -> None:
    """Writes the script, a part a line."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(part, allow_nan=False)}" for name, part in facts.items())
    with whole(FILE) as partial:
        partial.write_text(f"{HEAD}{{\n{lines}\n}};\n", encoding="utf-8")


def read() -> dict:
    """What the script holds. Raises InputError where it was altered, or is not the network of its record."""
    try:
        facts = json.loads(FILE.read_text(encoding="utf-8").removeprefix(HEAD).rstrip().removesuffix(";"))
    except ValueError:
        facts = {}
    if facts.get("checksum") != records.checksum(facts):
        raise InputError(f"{FILE.name} was altered or damaged: its checksum does not match. Run make live")
    if facts["record_checksum"] != records.read(records.results_root() / facts["record"])["checksum"]:
        raise InputError(f"{FILE.name} is not the network of {facts['record']}: run make live")
    return facts


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(ended(main))
