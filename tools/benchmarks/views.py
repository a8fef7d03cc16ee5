"""Ten-view evaluation against ten forward passes, one for each view."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from alexnet_lib import AlexNet, ModelConfig, open_dataset
from alexnet_lib.augment import view_positions, views
from alexnet_lib.data.dataset import PackedDataset
from alexnet_lib.evaluation import predict

from .pipeline import write_jpegs
from .turns import in_turns

IMAGES = 16
TARGET, WANTED = 1.4, 1.5  # near what there is: convolutions run at the processor's peak, and views share none of them


def rows(turns: int) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(Path(folder) / "images", IMAGES)
        for preset, dataset in (
            ("paper", open_dataset(f"folder:{files}", root=Path(folder) / "data")),
            ("small", open_dataset("photos10", "test").subset(range(0, 1000, 4))),
        ):
            net = AlexNet(ModelConfig.preset(preset), seed=0).eval()
            what = f"ten-view evaluation of preset {preset}, {len(dataset)} images, against ten forward passes"
            ours, theirs = lambda net=net, data=dataset: predict(net, data, "ten"), one_by_one(net, dataset)
            torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-6)
            yield in_turns(what, ours, theirs, turns, len(dataset), TARGET) | {"wanted": WANTED}


def one_by_one(net: AlexNet, dataset: PackedDataset) -> Callable:
    config, mean = net.config, torch.from_numpy(dataset.mean_image)

    @torch.no_grad()
    def once() -> torch.Tensor:
        images, found = torch.from_numpy(dataset.take(range(len(dataset)))), []
        for place in view_positions(dataset.size, dataset.size, config.image_size):
            batch = views(images, mean, config.image_size, [place], config.pixel_std)[0]
            found.append(net(batch.contiguous()).softmax(1))
        return torch.stack(found).mean(0)

    return once
