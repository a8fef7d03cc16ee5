"""Error rates (section 6): top-1 and top-5, one view or ten, one network or several averaged.

What ten views attain: the small network errs on 12.4 % of the test images of CIFAR-10, and on 14.8 % with the centre alone;
the record is in results/small_cifar10/.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from .augment import centre_view, ten_views
from .config import InputError, ModelConfig, one_of
from .model import AlexNet
from .system.memory import enough_memory
from .system.processes import rank_and_world
from .system.progress import bar

VIEWS = {"centre": centre_view, "ten": ten_views}
CENTRE = 4  # its place among the ten


class DivergedError(InputError):
    """What a network computes is no number any more."""


def predict(
    models: AlexNet | Sequence[AlexNet], dataset, views: str = "ten", batch_size: int = 250, progress: bool = False,
    shared: bool = False,
) -> Tensor:  # fmt: skip
    """Class probabilities, averaged over views and networks as section 4.1 says: softmax first, then the mean.

    Args:
        models: one network, or several of the same input (size and pixel_std) and classes.
        dataset: a PackedDataset.
        views: "ten" or "centre".
        batch_size: images, not views, at a time.
        shared: each process of torchrun takes its part of the images, and all get the whole. Every one must call.
            Without torchrun it changes nothing.

    Returns:
        float32 (N, classes), on the CPU, in the order of the data set.

    Raises:
        InputError: the networks differ in input or classes, do not fit the data set, or need more memory than there is.
    """
    return predict_by_views(models, dataset, (views,), batch_size, progress, shared)[views]


@torch.inference_mode()
def predict_by_views(
    models: AlexNet | Sequence[AlexNet], dataset, views: Sequence[str] = ("ten", "centre"), batch_size: int = 250,
    progress: bool = False, shared: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """What `predict` gives for each of several kinds of views, from one pass over the images: the centre is one of ten."""
    for kind in views:
        one_of("views", kind, VIEWS)
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, not {batch_size}")
    models = [models] if isinstance(models, AlexNet) else list(models)
    check_alike(models)
    check_fits(models[0].config, dataset)
    config, device = models[0].config, next(models[0].parameters()).device
    mean_image = torch.from_numpy(dataset.mean_image).to(device)
    most = "ten" if "ten" in views else "centre"
    if most == "ten":
        batch_size = max(1, min(batch_size, 2_000 * 32 * 32 // config.image_size**2))
    rank, world = rank_and_world() if shared else (0, 1)
    first, last = len(dataset) * rank // world, len(dataset) * (rank + 1) // world
    probabilities = {kind: torch.zeros(len(dataset), config.classes) for kind in views}
    advice = f"evaluate fewer than {batch_size} images at a time, a smaller network, or on another device"
    with (
        bar(total=last - first, desc=f"evaluating, {most} view(s)", unit="img", disable=not progress or rank > 0) as shown,
        enough_memory(advice),
        testing(models),
    ):
        start = first
        for images in images_of(dataset, device, batch_size, first, last):  # (n, H, W, 3)
            chosen = slice(start, start + len(images))
            x = VIEWS[most](images, mean_image, config.image_size, config.pixel_std)  # (views, n, 3, S, S)
            for model in models:
                p = model(x.flatten(0, 1)).float().softmax(1).unflatten(0, x.shape[:2])  # (views, n, classes)
                for kind, total in probabilities.items():
                    total[chosen] += (p.mean(0) if kind == most else p[CENTRE]).cpu()
            start = chosen.stop
            shown.update(len(images))
    for kind, total in probabilities.items():
        total /= len(models)
        if world > 1:  # the images of the other processes count 0 here
            distributed.all_reduce(total := total.to(device))
            probabilities[kind] = total.cpu()
    return probabilities


def images_of(dataset, device: torch.device, batch_size: int = 500, first: int = 0, last: int | None = None) -> Iterator[Tensor]:
    """The images of a data set from `first` to before `last`, in order, so many at a time: uint8 (n, H, W, 3) on a device."""
    last = len(dataset) if last is None else last
    for start in range(first, last, batch_size):
        yield torch.from_numpy(dataset.take(range(start, min(start + batch_size, last)))).to(device)


@contextmanager
def testing(models: Sequence[AlexNet]) -> Iterator[None]:
    """Evaluation mode, and afterwards the mode from before."""
    was_training = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for model, training in zip(models, was_training, strict=True):
            model.train(training)


def check_alike(models: Sequence[AlexNet]) -> None:
    """Raises InputError where networks cannot be averaged, since they look at other inputs or know other classes."""
    if len({(m.config.image_size, m.config.pixel_std, m.config.classes) for m in models}) != 1:
        raise InputError("networks that are averaged need the same image_size, pixel_std and classes")


def check_fits(config: ModelConfig, dataset) -> None:
    """Raises InputError where there are no images, or smaller ones than the crops, or more classes than the network knows."""
    if not len(dataset):
        raise InputError(f"the {dataset.split} split of {dataset.name} has no images: see the broken.txt in its folder")
    if dataset.size < config.image_size:
        raise InputError(
            f"the network wants crops of {config.image_size} pixels, the images of {dataset.name} have {dataset.size}: "
            "choose another preset, a smaller image_size, or larger images"
        )
    if len(dataset.classes) > config.classes:
        raise InputError(f"{dataset.name} has {len(dataset.classes)} classes, the network {config.classes}: set classes")


def error_rates(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 error in percent and the mean negative log-probability of the right class.

    Args:
        probabilities: (N, classes).
        labels: int64 (N,).

    With fewer than six classes the top-5 error is 0.

    Raises:
        DivergedError: some probability is no number.
    """
    if not probabilities.isfinite().all():
        raise DivergedError("the outputs of the network are not finite: it has diverged. Use an earlier checkpoint")
    guesses = probabilities.topk(min(5, probabilities.shape[1])).indices  # (N, 5), the likeliest first
    right = guesses == labels[:, None]
    of_label = probabilities.gather(1, labels[:, None]).clamp(min=1e-12)
    count = len(labels)
    return {
        "top1_error": 100 * (1 - right[:, 0].sum().item() / count),
        "top5_error": 100 * (1 - right.any(1).sum().item() / count),
        "loss": -of_label.log().double().sum().item() / count,
        "count": count,
    }


def evaluate(
    models: AlexNet | Sequence[AlexNet], dataset, views: str = "ten", batch_size: int = 250, progress: bool = False,
    shared: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Error rates of one network, or of several averaged, on a data set; see `predict` and `error_rates`."""
    return error_rates(predict(models, dataset, views, batch_size, progress, shared), torch.as_tensor(dataset.labels))
