"""The network against independent references: explicit towers, torchvision, arithmetic."""

import math

import numpy as np
import pytest
import torch
import torchvision
from helpers import MODELS, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, linear, max_pool2d, pad, relu

from alexnet_lib import AlexNet, InputError, ModelConfig
from alexnet_lib.augment import centre_view
from alexnet_lib.layers import LocalResponseNorm, WithinMapNorm, local_response_norm
from alexnet_lib.summary import describe, layer_table, totals

# Weights and biases, worked out by hand from section 3.5 and the release.
PARAMETERS = {
    "paper": 96 * 363 + 96 + 256 * 1200 + 256 + 384 * 2304 + 384 + 384 * 1728 + 384 + 256 * 1728 + 256
    + 9216 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000,
    "one_gpu": 48 * 363 + 48 + 128 * 1200 + 128 + 192 * 1152 + 192 + 192 * 1728 + 192 + 256 * 1728 + 256
    + 9216 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000,
    "no_communication": 96 * 363 + 96 + 320 * 1200 + 320 + 384 * 1440 + 384 + 384 * 1728 + 384 + 256 * 1728 + 256
    + 8192 * 4608 + 8192 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000,
    "torchvision": 61_100_840,
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    assert totals(layer_table(ModelConfig.preset(name)))["parameters"] == PARAMETERS[name]


def test_the_papers_network_layer_by_layer():
    rows = {r.name: r for r in layer_table(ModelConfig.preset("paper"))}
    assert sum(r.parameters for r in rows.values()) == PARAMETERS["paper"] == 60_965_224
    shapes = [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13), (4096,), (4096,), (1000,)]
    assert [r.output for r in rows.values()] == shapes
    assert [r.neurons for r in rows.values()] == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert rows["conv1"].multiply_adds == 290_400 * 363
    # conv1, its normalised and its pooled maps; the ReLU works in place
    assert rows["conv1"].activation_bytes == 4 * (2 * 290_400 + 96 * 27 * 27)
    text = describe(ModelConfig.preset("paper"))
    assert "60,965,224" in text and "253,440" in text and "650,000" in text


def test_grouped_convolutions_are_two_explicit_towers():
    torch.manual_seed(0)
    net = AlexNet(ModelConfig.preset("paper", classes=10, hidden=[64, 64]), seed=1).eval()
    layers = net.named_layers()
    half = {n: [w.chunk(2) for w in (m.weight, m.bias)] for n, m in layers.items()}
    images = torch.randn(2, 3, 224, 224) * 50

    def tower(i: int) -> torch.Tensor:
        x = conv2d(pad(images, (0, 3, 0, 3)), half["conv1"][0][i], half["conv1"][1][i], stride=4)
        x = max_pool2d(local_response_norm(relu(x)), 3, 2)
        x = conv2d(x, half["conv2"][0][i], half["conv2"][1][i], padding=2)
        return max_pool2d(local_response_norm(relu(x)), 3, 2)

    both = torch.cat([tower(0), tower(1)], 1)  # the cards exchange their maps

    def upper(i: int) -> torch.Tensor:
        x = relu(conv2d(both, half["conv3"][0][i], half["conv3"][1][i], padding=1))
        x = relu(conv2d(x, half["conv4"][0][i], half["conv4"][1][i], padding=1))
        x = relu(conv2d(x, half["conv5"][0][i], half["conv5"][1][i], padding=1))
        return max_pool2d(x, 3, 2).flatten(1)

    x = torch.cat([upper(0), upper(1)], 1)
    for name in ("fc6", "fc7"):
        x = torch.cat([relu(linear(x, half[name][0][i], half[name][1][i])) for i in (0, 1)], 1) * 0.5
    torch.testing.assert_close(net(images), linear(x, layers["fc8"].weight, layers["fc8"].bias), rtol=1e-4, atol=1e-5)


def test_torchvision_preset_gives_torchvisions_logits_bit_for_bit():
    torch.manual_seed(0)
    theirs, images = torchvision.models.alexnet().eval(), torch.randn(2, 3, 224, 224)
    ours = AlexNet(ModelConfig.preset("torchvision")).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(ours(images), theirs(images))
    theirs.load_state_dict(ours.state_dict())


def test_initial_loss_of_the_paper(photographs):
    net = AlexNet(ModelConfig.preset("paper"), seed=0)
    images = torch.from_numpy(photographs)
    batch, labels = centre_view(images, images.float().mean(0), 224)[0], torch.arange(10) * 97
    with torch.inference_mode():
        assert cross_entropy(net.eval()(batch), labels).item() == pytest.approx(math.log(1000), rel=0.02)
        torch.manual_seed(0)
        assert 6.9 < np.mean([cross_entropy(net.train()(batch), labels).item() for _ in range(3)]) < 7.3


def test_initial_weights_and_biases():
    net = AlexNet(ModelConfig.preset("code_2012", hidden=[64, 64]), seed=0)
    layers = net.named_layers()
    stds = {"conv1": 0.01, "conv2": 0.01, "conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "fc6": 0.01, "fc8": 0.01}
    for name, std in stds.items():
        assert layers[name].weight.std().item() == pytest.approx(std, rel=0.02)
        assert abs(layers[name].weight.mean().item()) < 0.01 * std + 1e-4
    biases = {n: set(m.bias.tolist()) for n, m in layers.items()}
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert biases == {n: {1.0} if n in ones else {0.0} for n in layers}
    he = AlexNet(ModelConfig.preset("small"), seed=0).named_layers()["conv4"]
    assert he.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)


def test_the_seed_decides_the_weights():
    same = [AlexNet(tiny_model(), seed=s).state_dict()["features.0.weight"] for s in (1, 1, 2)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])
    before = torch.get_rng_state()
    AlexNet(tiny_model(), seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_order_of_the_2012_code():
    names = [type(m).__name__ for m in AlexNet(ModelConfig.preset("code_2012", hidden=[8, 8])).features]
    first = ["ZeroPad2d", "Conv2d", "LocalResponseNorm", "MaxPool2d", "ReLU"]
    second = ["Conv2d", "ReLU", "LocalResponseNorm", "WithinMapNorm", "MaxPool2d"]
    assert names == first + second + ["Conv2d", "ReLU"] * 2 + ["Conv2d", "MaxPool2d", "ReLU"]
    norms = [m for m in AlexNet(ModelConfig.preset("code_2012", hidden=[8, 8])).modules()]
    across = [m for m in norms if isinstance(m, LocalResponseNorm)]
    assert all(m.average and m.groups == 2 and m.k == 2.0 for m in across) and len(across) == 2
    (within,) = [m for m in norms if isinstance(m, WithinMapNorm)]
    assert (within.size, within.alpha, within.beta, within.k) == (5, 0.001, 0.75, 1.0)
    bare = AlexNet(ModelConfig.preset("code_2012", hidden=[8, 8], norm={"kind": "none"}))
    assert not [m for m in bare.modules() if isinstance(m, LocalResponseNorm | WithinMapNorm)]


@pytest.mark.parametrize("preset, meets", [("paper", True), ("no_communication", False)])
def test_where_towers_meet(preset, meets):
    """Noise in the second tower's conv1 reaches the first tower's conv5 and fc7 only where towers talk."""
    net = AlexNet(ModelConfig.preset(preset, hidden=[16, 16], classes=5), seed=0).eval()
    images = torch.randn(1, 3, 224, 224) * 50
    seen = {}
    for name, layer in net.named_layers().items():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out.detach().clone()))
    with torch.inference_mode():
        net(images)
        net.named_layers()["conv1"].weight[48:] *= 1.5
        net(images)
    same = {n: torch.equal(*(t.chunk(2, 1)[0] for t in outs)) for n, outs in seen.items()}
    assert same["conv1"] and same["conv2"]
    assert [same[n] for n in ("conv3", "conv5", "fc7")] == [not meets] * 3
    assert not same["fc8"]


def test_pooling_without_overlap_as_layers_147():
    plain = ModelConfig.preset("paper", pool={"size": 2}, conv2={"padding": 1}, conv5={"padding": 0}, hidden=[8, 8])
    assert AlexNet(plain).feature_shape == (256, 6, 6)


@pytest.mark.parametrize("removed", ["conv2", "conv3", "conv4", "conv5"])
def test_a_layer_can_be_removed(removed):
    net = AlexNet(tiny_model(**{removed: None}), seed=0)
    assert removed not in net.named_layers() and net(torch.randn(2, 3, 28, 28)).shape == (2, 10)


def test_activations_dropout_and_hidden():
    net = AlexNet(tiny_model(activation="tanh", dropout=0.0), seed=0)
    kinds = [type(m) for m in net.modules()]
    assert nn.Tanh in kinds and nn.ReLU not in kinds
    images = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(net(images), net.named_layers()["fc8"](net.hidden(images)))


def test_too_small_an_image():
    with pytest.raises(InputError, match="too small"):
        AlexNet(ModelConfig.preset("paper", image_size=20))


def test_the_2012_network_by_plain_formulas():
    """layers-145: normalise, pool, then ReLU in layer 1; alpha over n; a second normalisation within the maps of layer 2."""
    net = AlexNet(ModelConfig.preset("code_2012", classes=10, hidden=[16, 16]), seed=1).double().eval()
    w = {n: (m.weight, m.bias) for n, m in net.named_layers().items()}
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)).double() * 50

    def across(x):
        padded = pad(x.square().unflatten(1, (2, -1)), (0, 0, 0, 0, 2, 2))  # a tower each, two maps of zeros on both sides
        sums = sum(padded[:, :, i : i + x.shape[1] // 2] for i in range(5)).flatten(1, 2)
        return x / (2 + 1e-4 / 5 * sums) ** 0.75

    def within(x):
        squares = pad(x.square(), (2, 2, 2, 2))
        height, width = x.shape[2:]
        sums = sum(squares[:, :, i : i + height, j : j + width] for i in range(5) for j in range(5))
        return x / (1 + 0.001 / 25 * sums) ** 0.75

    x = relu(max_pool2d(across(conv2d(pad(images, (0, 3, 0, 3)), *w["conv1"], stride=4)), 3, 2))
    x = max_pool2d(within(across(relu(conv2d(x, *w["conv2"], padding=2, groups=2)))), 3, 2)
    x = relu(conv2d(x, *w["conv3"], padding=1))
    x = relu(conv2d(x, *w["conv4"], padding=1, groups=2))
    x = relu(max_pool2d(conv2d(x, *w["conv5"], padding=1, groups=2), 3, 2)).flatten(1)
    for name in ("fc6", "fc7"):
        x = relu(linear(x, *w[name])) * 0.5
    with torch.no_grad():
        torch.testing.assert_close(net(images), linear(x, *w["fc8"]), rtol=1e-9, atol=1e-12)


WIDTHS = {
    "paper": [96, 256, 384, 384, 256, 4096, 4096, 1000],
    "one_gpu": [48, 128, 192, 192, 256, 4096, 4096, 1000],
    "no_communication": [96, 320, 384, 384, 256, 8192, 4096, 1000],
}


@pytest.mark.parametrize("preset", WIDTHS)
def test_widths_and_sides(preset):
    rows = layer_table(ModelConfig.preset(preset))
    assert [r.output[0] for r in rows] == WIDTHS[preset]
    assert [r.output[1] for r in rows[:5]] == [55, 27, 13, 13, 13]
    with torch.device("meta"):
        assert AlexNet(ModelConfig.preset(preset)).feature_shape == (256, 6, 6)


@settings(deadline=None, max_examples=60)
@given(
    image=st.integers(8, 40),
    conv=st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)),
    pool=st.tuples(st.integers(1, 4), st.integers(1, 4), st.booleans()),
)
def test_the_size_that_is_worked_out_is_the_size_that_comes_out(image, conv, pool):
    size, stride, padding, overhang = conv
    first = {"size": size, "stride": stride, "padding": padding, "overhang": overhang, "then": ["pool"]}
    shape = {"pool": dict(zip(("size", "stride", "round_up"), pool, strict=True)), "image_size": image}
    alone = {f"conv{i}": None for i in range(2, 6)}
    try:
        net = AlexNet(tiny_model(conv1={"kernels": 8} | first, **alone, **shape), seed=0).eval()
    except InputError as error:
        assert "too small" in str(error)
        return
    images = torch.randn(1, 3, image, image)
    assert net.features(images).shape[1:] == net.feature_shape and net(images).shape == (1, 10)


def test_towers_share_no_gradient_before_the_classifier():
    """A unit of the first tower's fc7 depends on no weight of the second tower."""
    net = AlexNet(tiny_model(conv3={"kernels": 8, "reads_all_towers": False}, hidden_reads_all_towers=False), seed=0).eval()
    net.hidden(torch.randn(4, 3, 28, 28))[:, :8].sum().backward()
    for name, layer in net.named_layers().items():
        if name != "fc8":
            first, second = layer.weight.grad.chunk(2)
            assert first.abs().sum() > 0 and second.abs().sum() == 0, name


def test_training_moves_every_weight_of_every_preset():
    for preset in MODELS:
        changes = {"hidden": [16, 16], "classes": 7}
        net = AlexNet(ModelConfig.preset(preset, **changes), seed=0).train()
        size = net.config.image_size
        cross_entropy(net(torch.randn(2, 3, size, size) * 30 / net.config.pixel_std), torch.tensor([0, 1])).backward()
        still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not still, (preset, still)
