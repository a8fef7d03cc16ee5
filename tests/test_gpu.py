"""What must hold on a card, against the processor. `make gpu` runs this file first; without a card it runs on the processor,
which keeps its own code right, and skips by name what only a card can show."""

import os
import re

import pytest
import torch
from helpers import tiny_model, tiny_training
from torch import nn
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, LocalResponseNorm, ModelConfig, TrainConfig, fit
from alexnet_lib import checkpoint as c
from alexnet_lib.augment import colour_noise, cut, ten_views
from alexnet_lib.batches import Batches
from alexnet_lib.evaluation import evaluate, predict
from alexnet_lib.layers import Dropout, TowerLinear, WithinMapNorm
from alexnet_lib.optim import PaperSGD
from alexnet_lib.system.processes import run_in_processes
from alexnet_lib.towers import Tower
from alexnet_lib.training import Trainer

DEVICE = os.environ.get("ALEXNET_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
ON_CARD = DEVICE != "cpu"
# How far a device may be from float32 on the processor, relative to the largest value.
BOUNDS = {"float32": 2e-5, "TF32": 5e-3, "bfloat16": 3e-2}
needs_card = pytest.mark.skipif(not ON_CARD, reason="needs a GPU")
pytestmark = pytest.mark.gpu

LAYERS = {
    "LRN": (lambda: LocalResponseNorm(alpha=0.1), (4, 12, 9, 9)),
    "LRN in towers": (lambda: LocalResponseNorm(alpha=0.1, groups=2), (4, 12, 9, 9)),
    "LRN, channels last": (lambda: LocalResponseNorm(alpha=0.1), (4, 12, 9, 9)),
    "LRN in towers, channels last": (lambda: LocalResponseNorm(alpha=0.1, groups=2), (4, 12, 9, 9)),
    "within maps": (lambda: WithinMapNorm(alpha=0.1), (4, 12, 9, 9)),
    "towers": (lambda: TowerLinear(24, 12, 2), (4, 24)),
    "convolution": (lambda: nn.Conv2d(12, 16, 5, padding=2, groups=2), (4, 12, 9, 9)),
    "overlapping pooling": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (4, 12, 10, 10)),
    "mean pooling": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), (4, 12, 10, 10)),
    "dropout at test": (lambda: Dropout(0.5).eval(), (4, 24)),
}


@pytest.fixture(params=BOUNDS if ON_CARD else ["float32"])
def precision(request):
    """Each precision in turn, with the settings that go with it; put back afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = request.param == "TF32"
    yield request.param
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def assert_near(found: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
    off = (found.detach().cpu().float() - expected.detach().float()).abs().max() / expected.abs().max().clamp(min=1e-6)
    assert off <= bound, f"off by {off:.2e} of the largest value, more than {bound:.0e}"


def both_ways(layer: nn.Module, inputs: torch.Tensor, precision: str) -> list[torch.Tensor]:
    """What comes out, and the gradients of the input and the parameters, on the layer's device."""
    x = inputs.clone().requires_grad_()
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        y = layer(x)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], g)]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_agrees_with_the_processor(name, precision):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, inputs = make(), torch.randn(shape)
    if name.endswith("channels last"):
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    expected = both_ways(layer, inputs, "float32")
    for found, wanted in zip(both_ways(layer.to(DEVICE), inputs.to(DEVICE), precision), expected, strict=True):
        assert_near(found, wanted, BOUNDS[precision])


def test_network_agrees_with_the_processor(precision):
    net, images = AlexNet(tiny_model(), seed=0).eval(), torch.randn(8, 3, 28, 28)
    expected = both_ways(net, images, "float32")
    found = both_ways(net.to(DEVICE), images.to(DEVICE), precision)
    assert_near(found[0], expected[0], 3 * BOUNDS[precision])
    for ours, wanted in zip(found[2:], expected[2:], strict=True):
        assert_near(ours, wanted, 10 * BOUNDS[precision])


def test_crops_and_views_are_the_same_pixels(photos10):
    images, mean = torch.from_numpy(photos10[0].take(range(20))), torch.from_numpy(photos10[0].mean_image)
    draws = torch.arange(20) % 5, torch.arange(20) % 4, torch.arange(20) % 3 == 0
    there = cut(images.to(DEVICE), mean.to(DEVICE), 28, *(d.to(DEVICE) for d in draws), 64.0)
    assert_near(there, cut(images, mean, 28, *draws, 64.0), 1e-6)
    assert_near(ten_views(images.to(DEVICE), mean.to(DEVICE), 28), ten_views(images, mean, 28), 1e-6)


@pytest.mark.parametrize("kind", ["eigenvalue", "deviation"])
def test_colour_noise_has_its_size(photos10, kind):
    values, vectors = (torch.as_tensor(a, dtype=torch.float32, device=DEVICE) for a in photos10[0].colour_axes)
    batch = colour_noise(
        torch.zeros(4000, 3, 1, 1, device=DEVICE), (values, vectors), kind, torch.Generator(DEVICE).manual_seed(0)
    )
    along = (batch[:, :, 0, 0] / 255) @ vectors * (1 if kind == "eigenvalue" else 1.1)
    expected = 0.1 * (values if kind == "eigenvalue" else values.sqrt())
    torch.testing.assert_close(along.std(0), expected, rtol=0.05, atol=1e-5)


def test_update_rule_agrees_with_the_processor(precision):
    nets = [AlexNet(tiny_model(), seed=0).to(device) for device in ("cpu", DEVICE)]
    for net in nets:
        optimiser = PaperSGD(net)
        optimiser.rates = dict.fromkeys(optimiser.parameters, 0.01)
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            for p in net.parameters():
                p.grad = torch.randn(p.shape, generator=generator).to(p)
            optimiser.step()
    for ours, wanted in zip(*(net.parameters() for net in reversed(nets)), strict=True):
        assert_near(ours, wanted, 1e-5)


def test_ten_views_agree_with_the_processor(photos10, precision):
    net, few = AlexNet(tiny_model(), seed=0), photos10[1].subset(range(0, 1000, 50))
    expected = predict(net, few, "ten")
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
        assert_near(predict(net.to(DEVICE), few, "ten"), expected, max(1e-3, BOUNDS[precision]))
    assert evaluate(net, few, "centre")["count"] == 20


def test_compiled_network_is_one_graph_with_lrn_in_it():
    net, images = AlexNet(tiny_model(dropout=0.0), seed=0).to(DEVICE), torch.randn(8, 3, 28, 28, device=DEVICE)
    assert torch._dynamo.explain(net)(images).graph_break_count == 0
    expected = both_ways(net, images, "float32")
    compiled = torch.compile(net, fullgraph=True, backend="inductor" if ON_CARD else "aot_eager")
    for found, wanted in zip(both_ways(compiled, images, "float32"), expected, strict=True):
        assert_near(found, wanted.cpu(), 1e-3)


def trained(photos10, folder, device, **fields):
    config = tiny_training(limit=60, **fields)
    net = AlexNet(tiny_model(), seed=0)
    return net, fit(net, photos10[0].subset(range(0, len(photos10[0]), 40)), None, config, folder, device=device, progress=False)


def test_checkpoints_go_to_the_device_and_back(photos10, tmp_path):
    folder, facts = tmp_path / "run", {}
    for epochs, device in ((1, "cpu"), (2, DEVICE), (3, "cpu")):
        stop_after = {"epochs": 3, "schedule": "constant", "evaluate_every": 1}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("alexnet_lib.batches.Batches.ahead", first_epochs(epochs))
            trained(photos10, folder, device, **stop_after)
        facts[epochs] = c.newest(folder)[2]
    assert [facts[n]["step"] // (facts[3]["step"] // 3) for n in (1, 2, 3)] == [1, 2, 3]
    assert all(torch.isfinite(x).all() for x in c.newest(folder)[1].values())


def first_epochs(count: int):
    """Batches.ahead that ends after so many epochs of the run."""
    whole = Batches.ahead
    return lambda self, first, last: whole(self, first, min(last, count * self.per_epoch))


def test_same_bits_twice(photos10, tmp_path):
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        one, other = (trained(photos10, tmp_path / name, DEVICE, epochs=1)[0] for name in "ab")
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@needs_card
def test_steps_from_a_graph_are_those_of_fit(photos10, tmp_path):
    """The runs of `make gpu` replay a step; dropout and the draws of crops are on."""
    from gpu import oncard

    before, runs = torch.backends.cudnn.allow_tf32, []
    torch.backends.cudnn.allow_tf32 = False
    try:
        for trainer in (Trainer, oncard.CardTrainer):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("alexnet_lib.training.Trainer", trainer)
                fields = {"epochs": 2, "bias_lr": 0.02, "schedule": "one_cycle"}
                runs.append(trained(photos10, tmp_path / trainer.__name__, DEVICE, **fields))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    (plain, first), (card, second) = runs
    assert second.first_losses == pytest.approx(first.first_losses, rel=1e-3)
    for ours, theirs in zip(card.parameters(), plain.parameters(), strict=True):
        assert_near(ours, theirs.cpu(), 1e-2)


def in_a_group(group, scheme: str, device: str) -> torch.Tensor:
    """A step of the tiny network, as one of two towers or of some replicas: the loss, on the processor."""
    torch.manual_seed(0)
    config = tiny_model(dropout=0.0)
    net: nn.Module = Tower(config, group) if scheme == "towers" else AlexNet(config, 0)
    net.to(device)
    if scheme == "replicas":
        net = nn.parallel.DistributedDataParallel(net)
    logits = net(torch.randn(8, 3, 28, 28, generator=torch.Generator().manual_seed(0)).to(device))
    if logits.numel() == 0:  # the second tower: the classifier sits on the first one
        logits.sum().backward()
        return torch.zeros(())
    loss = cross_entropy(logits, torch.arange(8, device=device) % 10)
    loss.backward()
    return loss.detach().cpu()


@pytest.mark.parametrize("scheme", ["towers", "replicas"])
def test_two_processes_share_one_device_over_gloo(scheme):
    first, second = run_in_processes(in_a_group, scheme, DEVICE, processes=2)
    assert_near(first, in_a_group(None, "alone", "cpu"), 1e-3)
    assert torch.isfinite(second)


@needs_card
def test_one_process_of_the_card_joins_over_nccl():
    assert torch.isfinite(run_in_processes(in_a_group, "replicas", DEVICE, processes=1, backend="nccl")[0])


@needs_card
def test_steps_of_preset_fast_on_the_card(photos10, tmp_path):
    fast = TrainConfig.preset("fast")
    fields = {name: getattr(fast, name) for name in ("precision", "channels_last", "compile", "schedule", "lr_warmup")}
    _, result = trained(photos10, tmp_path, DEVICE, epochs=1, **fields)
    assert result.step == 3 and all(loss == loss for loss in result.first_losses)


@needs_card
def test_where_the_card_cannot_hold_a_batch_one_that_it_can_is_named(photos10, tmp_path):
    from alexnet_lib import InputError

    def train(size: int) -> None:
        config = tiny_training(batch_size=size, limit=size, holdout=0, epochs=1)
        net = AlexNet(ModelConfig.preset("small"), seed=0)
        fit(net, photos10[0], None, config, tmp_path / str(size), device=DEVICE, progress=False)

    kept = torch.cuda.get_device_properties(0).total_memory - torch.cuda.memory_reserved() - 2**30
    fraction = 1 - kept / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(fraction)
    try:
        with pytest.raises(InputError, match=r"set train.batch_size=\d+, which fits") as caught:
            train(3000)
        train(int(re.search(r"batch_size=(\d+)", str(caught.value))[1]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
