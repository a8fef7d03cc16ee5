"""The final figures of a run: errors, what towers and hidden layers learned, and how steady the guesses are.

All errors are in percent. "ten" is the mean softmax over ten views and "centre" the central crop alone (section 4.1).
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .. import introspection
from ..augment import cut
from ..evaluation import error_rates, evaluate, images_of, predict_by_views
from ..model import AlexNet
from ..training import Result

AMONG, OF = 10_000, 1_000  # neighbours are looked for among so many training images, for so many test images
SOME = 5_000  # test images on which guesses are compared under shifts and lamps
LAMPS = {"warm": (1.2, 1.0, 0.8), "cool": (0.8, 1.0, 1.2)}  # what each channel is multiplied by


def final_metrics(
    net: AlexNet, result: Result | None, seen: dict[str, dict[str, Tensor]] | None = None, **sets
) -> dict[str, float]:
    """Errors on every given set that is not None, by ten views and by the centre: {role}_top1_error and so on.

    Of training images up to 10,000 are looked at, with dropout off, and beside another set by the centre alone. The last
    epoch's own figures, measured while dropout and crops are on, are last_epoch_train_loss and last_epoch_train_error.

    Args:
        seen: by role, what `predict_by_views` gave for a set, where that is known already.
    """
    metrics = {"chance_error": 100 * (1 - 1 / net.config.classes)}
    if result is not None and result.curve:
        metrics |= {f"last_epoch_{key}": result.curve[-1][key] for key in ("train_loss", "train_error")}
    given = {role: dataset for role, dataset in sets.items() if dataset is not None}
    for role, dataset in given.items():
        if role == "train":
            dataset = dataset.subset(spread(len(dataset), AMONG))
        kinds = ("centre",) if role == "train" and len(given) > 1 else ("centre", "ten")
        probabilities = (seen or {}).get(role) or predict_by_views(net, dataset, kinds, progress="ten" in kinds, shared=True)
        for kind in kinds:
            rates, prefix = error_rates(probabilities[kind], torch.as_tensor(dataset.labels)), "centre_" * (kind == "centre")
            metrics |= {f"{role}_{prefix}{key}": rates[key] for key in ("top1_error", "top5_error", "loss")}
    return metrics


def learned_metrics(net: AlexNet, train_set, test_set) -> dict[str, float]:
    """What section 6.1 speaks of, and how steady the guesses are; test_set may be None.

    tower_selectivity_gap: how far the colour selectivity of two towers parts. neighbours_{layer}: share in percent of
    the five nearest training images that have the class of a test image, by the features of a layer (features: the last
    hidden one) or by pixels; neighbours_gain is the difference of these two. shift_changes: share of test images whose
    guess changes when the centre crop moves by a pixel. lighting_top1_error: centre error under lamps of another colour.
    wrong_in_top5: share of the wrongly guessed test images whose class is among the five best guesses; its gain is over
    four of the other classes at random.
    """
    metrics = {}
    if net.config.towers == 2:
        first, second = (part.mean() for part in introspection.colour_selectivity(introspection.kernels(net)).chunk(2))
        metrics["tower_selectivity_gap"] = abs(first - second).item()
    if test_set is not None:
        metrics |= _neighbours(net, train_set.subset(spread(len(train_set), AMONG)), test_set.subset(spread(len(test_set), OF)))
        some = test_set.subset(spread(len(test_set), SOME))
        labels = torch.as_tensor(some.labels)
        still = _guesses(net, some)
        if test_set.size > net.config.image_size + 1:
            moved = [_guesses(net, some, shift=shift).argmax(1) != still.argmax(1) for shift in ((0, 1), (1, 0))]
            metrics["shift_changes"] = 100 * torch.stack(moved).float().mean().item()
        lamps = [error_rates(_guesses(net, some, gains=gains), labels)["top1_error"] for gains in LAMPS.values()]
        metrics["lighting_top1_error"] = float(np.mean(lamps))
        rates = error_rates(still, labels)
        if rates["top1_error"]:
            metrics["wrong_in_top5"] = 100 * (1 - rates["top5_error"] / rates["top1_error"])
            metrics["wrong_in_top5_gain"] = metrics["wrong_in_top5"] - 100 * min(1.0, 4 / (net.config.classes - 1))
    return metrics


def _neighbours(net: AlexNet, among, of) -> dict[str, float]:
    there, here = ({"pixels": introspection.pixel_features(s)} | layer_features(net, s) for s in (among, of))
    metrics = {}
    for name in there:
        places = introspection.nearest(there[name], here[name])
        metrics[f"neighbours_{name}"] = introspection.same_class_share(places, among.labels, of.labels)
    return metrics | {"neighbours_gain": metrics["neighbours_features"] - metrics["neighbours_pixels"]}


@torch.inference_mode()
def layer_features(net: AlexNet, dataset, batch_size: int = 500) -> dict[str, np.ndarray]:
    """Float32 (N, units) by layer for the centre view: "maps" below the hidden layers, "hidden1" the first of them where
    there are several, "features" the last one."""
    net.eval()
    parts = []
    for views in introspection.centre_views(net, dataset, batch_size):
        x = net.features(views).flatten(1)  # (n, units)
        layers = [x]
        for module in net.classifier[:-1]:
            x = module(x)
            layers += [x] if hasattr(module, "weight") else []
            layers[-1] = x  # as the next layer finds it: after activation and dropout's scale
        parts.append([layer.float().cpu() for layer in layers])
    maps, *hidden = (torch.cat(some).numpy() for some in zip(*parts, strict=True))
    named = {"maps": maps} | ({"hidden1": hidden[0]} if len(hidden) > 1 else {})
    return named | {"features": hidden[-1] if hidden else maps}


@torch.inference_mode()
def _guesses(
    net: AlexNet, dataset, shift: tuple[int, int] = (0, 0), gains: tuple[float, ...] = (1.0, 1.0, 1.0), batch_size: int = 500
) -> Tensor:
    """Probabilities (N, classes) for the central crop moved by `shift` pixels, of images whose channels are multiplied."""
    device, size, parts = next(net.parameters()).device, net.config.image_size, []
    mean_image = torch.from_numpy(dataset.mean_image).to(device)
    net.eval()
    for images in images_of(dataset, device, batch_size):
        if gains != (1.0, 1.0, 1.0):
            images = (images * torch.tensor(gains, device=device)).round().clamp(0, 255).to(torch.uint8)
        y, x = ((side - size) // 2 + by for side, by in zip(images.shape[1:3], shift, strict=True))
        top, left, mirrored = (torch.full((len(images),), value, device=device) for value in (y, x, False))
        parts.append(net(cut(images, mean_image, size, top, left, mirrored, net.config.pixel_std)).softmax(1).cpu())
    return torch.cat(parts)


def scaled_metrics(net: AlexNet, test_set, rate: float = 0.5) -> dict[str, float]:
    """Errors of a network trained without dropout whose hidden outputs are multiplied by 1 - rate all the same."""
    scaled = AlexNet(replace(net.config, dropout=rate, dropout_scale="test"))
    weights = dict(zip(scaled.state_dict(), net.state_dict().values(), strict=True))  # the layers have moved, not their order
    scaled.load_state_dict(weights)
    return {"scaled_centre_top1_error": evaluate(scaled.to(next(net.parameters()).device), test_set, "centre")["top1_error"]}


def spread(count: int, most: int, offset: int = 0) -> np.ndarray:
    """At most `most` of `count` places, evenly spaced; all moved by `offset`, or by as much as there is room for."""
    places = np.arange(0, count, max(1, -(-count // most)))
    return places + min(offset, count - 1 - places[-1]) if len(places) else places
