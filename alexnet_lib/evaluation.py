"""Error rates (section 6): top-1 and top-5, one view or ten, one network or several averaged."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed

from .augment import centre_view, ten_views
from .config import InputError, ModelConfig, one_of
from .model import AlexNet
from .system.processes import rank_and_world
from .system.progress import bar

VIEWS = {"centre": centre_view, "ten": ten_views}


@torch.inference_mode()
def predict(
    models: AlexNet | Sequence[AlexNet], dataset, views: str = "ten", batch_size: int = 250, progress: bool = False
) -> Tensor:
    """Class probabilities, averaged over views and networks as section 4.1 says: softmax first, then the mean.

    Args:
        models: one network, or several of the same input (size and pixel_std) and classes.
        dataset: a PackedDataset.
        views: "ten" or "centre".
        batch_size: images, not views, at a time.

    Returns:
        float32 (N, classes), on the CPU, in the order of the data set.

    Raises:
        InputError: the networks differ in input or classes, or do not fit the data set.
    """
    one_of("views", views, VIEWS)
    models = [models] if isinstance(models, AlexNet) else list(models)
    if len({(m.config.image_size, m.config.pixel_std, m.config.classes) for m in models}) != 1:
        raise InputError("networks that are averaged need the same image_size, pixel_std and classes")
    check_fits(models[0].config, dataset)
    config, device = models[0].config, next(models[0].parameters()).device
    was_training = [m.training for m in models]
    mean_image = torch.from_numpy(dataset.mean_image).to(device)
    batch_size = max(1, min(batch_size, 2_000 * 32 * 32 // config.image_size**2)) if views == "ten" else batch_size
    found = []
    with bar(total=len(dataset), desc=f"evaluating, {views} view(s)", unit="img", disable=not progress) as shown:
        for model in models:
            model.eval()
        for start in range(0, len(dataset), batch_size):
            images = torch.from_numpy(dataset.take(range(start, min(start + batch_size, len(dataset))))).to(device)
            seen = VIEWS[views](images, mean_image, config.image_size, config.pixel_std)  # (views, n, 3, S, S)
            total = torch.zeros(len(images), config.classes, device=device)
            for model in models:
                total += model(seen.flatten(0, 1)).float().softmax(1).unflatten(0, seen.shape[:2]).mean(0)
            found.append((total / len(models)).cpu())
            shown.update(len(images))
    for model, training in zip(models, was_training, strict=True):
        model.train(training)
    return torch.cat(found)


def check_fits(config: ModelConfig, dataset) -> None:
    """Raises InputError where images are smaller than the network's crops, or of more classes than it knows."""
    if dataset.size < config.image_size:
        raise InputError(
            f"the network wants crops of {config.image_size} pixels, the images of {dataset.name} have {dataset.size}"
        )
    if len(dataset.classes) > config.classes:
        raise InputError(f"{dataset.name} has {len(dataset.classes)} classes, the network {config.classes}: set classes")


def error_rates(
    probabilities: Tensor, labels: Tensor, reduce: Callable[[Tensor], Tensor] = lambda counts: counts
) -> dict[str, float]:
    """Top-1 and top-5 error in percent and the mean negative log-probability of the right class.

    Args:
        probabilities: (N, classes).
        labels: int64 (N,).
        reduce: is given what was counted, and gives back what all processes counted together.

    With fewer than six classes the top-5 error is 0.
    """
    ranked = probabilities.topk(min(5, probabilities.shape[1])).indices
    right = ranked == labels[:, None]
    of_label = probabilities.gather(1, labels[:, None]).clamp(min=1e-12)
    losses = -of_label.log().double()
    counts = torch.stack([right[:, 0].sum(), right.any(1).sum(), losses.sum(), torch.tensor(len(labels))])
    first, five, loss, images = reduce(counts).tolist()
    return {
        "top1_error": 100 * (1 - first / images),
        "top5_error": 100 * (1 - five / images),
        "loss": loss / images,
        "count": int(images),
    }


def evaluate(
    models: AlexNet | Sequence[AlexNet],
    dataset,
    views: str = "ten",
    batch_size: int = 250,
    progress: bool = False,
    shared: bool = False,
) -> dict[str, float]:
    """Error rates of one network, or of several averaged, on a data set; see `predict` and `error_rates`.

    Args:
        shared: each process of torchrun counts its own part of the images, and all get the figures of the whole. Every
            one must call. Without torchrun it changes nothing.
    """
    rank, world = rank_and_world() if shared else (0, 1)
    if world == 1:
        return error_rates(predict(models, dataset, views, batch_size, progress), torch.as_tensor(dataset.labels))
    first = models if isinstance(models, AlexNet) else models[0]
    device = next(first.parameters()).device

    def reduce(counts: Tensor) -> Tensor:
        distributed.all_reduce(counts := counts.to(device))
        return counts

    part = dataset.subset(range(len(dataset) * rank // world, len(dataset) * (rank + 1) // world))
    probabilities = torch.empty(0, first.config.classes)  # of a set smaller than the number of processes some get nothing
    if len(part):
        probabilities = predict(models, part, views, batch_size, progress and rank == 0)
    return error_rates(probabilities, torch.as_tensor(part.labels), reduce)
