"""Preset four_layer: the CIFAR-10 network of the release by plain formulas, average pooling, initial weights, no hidden layer."""

import math

import pytest
import torch
from helpers import tiny_training
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from alexnet_lib import AlexNet, InputError, ModelConfig
from alexnet_lib.checkpoint import load_model
from alexnet_lib.evaluation import predict
from alexnet_lib.model import init_std
from alexnet_lib.summary import describe, layer_table, totals
from alexnet_lib.training import fit


def mean_of_windows(x: torch.Tensor) -> torch.Tensor:
    """Average pooling 3/2 by hand; the last window hangs over the border and takes the mean of what is there."""
    rows = [torch.stack([x[..., i : i + 3, j : j + 3].mean((-2, -1)) for j in range(0, x.shape[-1], 2)], -1)
            for i in range(0, x.shape[-2], 2)]  # fmt: skip
    return torch.stack(rows, -2)


def within_map(x: torch.Tensor) -> torch.Tensor:
    squares = torch.nn.functional.pad(x.square(), (1, 1, 1, 1))
    sums = sum(squares[..., i : i + x.shape[-2], j : j + x.shape[-1]] for i in range(3) for j in range(3))
    return x / (1 + 0.00005 / 9 * sums) ** 0.75


@pytest.mark.parametrize("activation, function", [("relu", relu), ("tanh", torch.tanh)])
def test_the_18_percent_network_by_plain_formulas(activation, function):
    net = AlexNet(ModelConfig.preset("four_layer", activation=activation, init="he"), seed=1).double().eval()
    w = {n: (m.weight, m.bias) for n, m in net.named_layers().items()}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double() * 60
    x = within_map(function(max_pool2d(conv2d(images, *w["conv1"], padding=2), 3, 2, ceil_mode=True)))
    x = within_map(mean_of_windows(function(conv2d(x, *w["conv2"], padding=2))))
    x = mean_of_windows(function(conv2d(x, *w["conv3"], padding=2)))
    with torch.no_grad():
        torch.testing.assert_close(net(images), linear(x.flatten(1), *w["fc6"]), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(net.hidden(images), x.flatten(1), rtol=1e-9, atol=1e-12)


def test_layers_with_weights():
    rows = {r.name: r for r in layer_table(ModelConfig.preset("four_layer"))}
    assert [r.output for r in rows.values()] == [(32, 32, 32), (32, 16, 16), (64, 8, 8), (10,)]
    by_hand = 32 * 75 + 32 + 32 * 800 + 32 + 64 * 800 + 64 + 10 * 1024 + 10
    assert totals(list(rows.values()))["parameters"] == by_hand
    assert rows["conv2"].activation_bytes == 4 * 32 * (16 * 16 + 2 * 8 * 8)  # conv2, its pooled and normalised maps
    assert f"{by_hand:,}" in describe(ModelConfig.preset("four_layer"))


def test_initial_weights_of_the_release():
    layers = AlexNet(ModelConfig.preset("four_layer"), seed=0).named_layers()
    for name, std in {"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc6": 0.01}.items():
        assert layers[name].weight.std().item() == pytest.approx(std, rel=0.03)
        assert not layers[name].bias.any()


@pytest.mark.parametrize("init, variance", [("he", 2 / 800), ("xavier", 2 / (800 + 64 * 25))])
def test_initial_weights_by_fan_in_and_fan_out(init, variance):
    weight = AlexNet(ModelConfig.preset("four_layer", init=init), seed=0).named_layers()["conv3"].weight
    assert init_std(weight, init) == pytest.approx(math.sqrt(variance))
    assert weight.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)
    with pytest.raises(InputError, match="init"):
        ModelConfig.preset("four_layer", init="glorot")


def test_average_pooling_rounds_like_max_pooling():
    for image_size in range(26, 38):
        for round_up in (True, False):
            net = AlexNet(ModelConfig.preset("four_layer", image_size=image_size, pool={"round_up": round_up}), seed=0)
            shape = net.features(torch.randn(1, 3, image_size, image_size)).shape[1:]
            assert shape == net.feature_shape
    even = ModelConfig.preset("four_layer", conv2={"then": ["average_pool"]}, pool={"size": 2})
    assert AlexNet(even).feature_shape == (64, 4, 4)
    with pytest.raises(InputError, match="average_pool"):
        ModelConfig.preset("four_layer", conv2={"then": ["average_pol"]})


def test_a_network_without_hidden_layers_trains_and_comes_back(photos10, tmp_path):
    train_set = photos10[0].subset(range(0, 3000, 50))
    net = AlexNet(ModelConfig.preset("four_layer"), seed=0)
    plain = tiny_training(epochs=1, colour_noise="none", random_crop=False, mirror=False, weight_decay=0.0, schedule="constant")
    fit(net, train_set, None, plain, tmp_path, device="cpu", progress=False)
    again, _ = load_model(tmp_path)
    torch.testing.assert_close(predict(net, train_set, "centre"), predict(again, train_set, "centre"))
