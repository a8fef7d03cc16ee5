"""The network of section 3: one definition, built from a ModelConfig. Preset paper has 60,965,224 weights and biases; preset
torchvision gives torchvision's logits bit for bit (tests/test_model.py). What layers, towers and pooling attain on CIFAR-10 is
in results/ablations/; the paper's network has not been trained on ImageNet here."""

import math

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .layers import Dropout, LocalResponseNorm, TowerLinear, WithinMapNorm

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLING: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"pool": nn.MaxPool2d, "average_pool": nn.AvgPool2d}


class AlexNet(nn.Module):
    """The network of section 3 of the paper, or a relative of it.

    Input: float tensor of shape (N, 3, S, S), S = config.image_size, mean image subtracted and divided by
    config.pixel_std. Output: logits of shape (N, config.classes); the softmax belongs to the loss.

    `features` and `classifier` are plain sequences, in the order in which data flows. Towers are blocks of adjacent
    maps: with two, the first half of a layer's maps lives on the first GPU. A layer that reads only its own tower is
    a grouped convolution; one that reads both is an ordinary one.

    Args:
        config: what to build.
        seed: of the initial weights; None draws them from torch's global generator.

    Attributes:
        paths: where each layer with weights is, by its name: {"conv1": "features.0", ..., "fc8": "classifier.6"}.
        feature_shape: (maps, height, width) of what goes into the first fully connected layer.
    """

    def __init__(self, config: ModelConfig, seed: int | None = None):
        super().__init__()
        self.config = config
        self.paths: dict[str, str] = {}
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            self.features = nn.Sequential(*self._convolutional_part())
            self.classifier = nn.Sequential(*self._fully_connected_part())
            if config.init != "torch":
                self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (N, 256, 6, 6) in the paper's network
        return self.classifier(x.flatten(1))

    def hidden(self, images: Tensor) -> Tensor:
        """The last hidden layer (section 6.1 compares images by it), shape (N, units); call eval() first."""
        return self.classifier[:-1](self.features(images).flatten(1))

    def named_layers(self) -> dict[str, nn.Module]:
        """The layers with weights by name, in order: conv1 to conv5, then fc6, fc7, fc8."""
        return {name: self.get_submodule(path) for name, path in self.paths.items()}

    def _convolutional_part(self) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for name, conv, maps, groups, _, pooled in self.config.shapes():
            if conv.overhang:
                layers.append(nn.ZeroPad2d((0, conv.overhang, 0, conv.overhang)))
            self.paths[name] = f"features.{len(layers)}"
            layers.append(nn.Conv2d(maps, conv.kernels, conv.size, conv.stride, conv.padding, groups=groups))
            for step in conv.then:  # a ReLU goes back by its output, so that what follows it must not work in place
                layers += self._after(step, conv.kernels, in_place=not isinstance(layers[-1], nn.ReLU))
            self.feature_shape = (conv.kernels, pooled, pooled)
        return layers

    def _after(self, step: str, maps: int, in_place: bool = True) -> list[nn.Module]:
        """What follows a layer of so many maps: at most one module."""
        c = self.config
        if step == "activation":
            return [nn.ReLU(in_place) if c.activation == "relu" else ACTIVATIONS[c.activation]()]
        if step in POOLING:  # a window that hangs over the border takes the mean of what it sees
            return [POOLING[step](c.pool.size, c.pool.stride, ceil_mode=c.pool.round_up)]
        if c.norm.kind == "none":
            return []
        if step == "within_norm":
            return [WithinMapNorm(c.within_norm.size, c.within_norm.alpha, c.within_norm.beta, c.within_norm.k)]
        if c.norm.kind == "batch":  # of later work, to compare; nothing in it is learned
            return [nn.BatchNorm2d(maps, affine=False)]
        groups = c.towers if c.norm.stays_in_tower else 1
        return [LocalResponseNorm(c.norm.size, c.norm.alpha, c.norm.beta, c.norm.k, c.norm.kind == "average", groups)]

    def _fully_connected_part(self) -> list[nn.Module]:
        config, inputs = self.config, math.prod(self.feature_shape)
        layers: list[nn.Module] = []
        groups = 1 if config.hidden_reads_all_towers else config.towers
        number = max(6, 1 + int(config.convs[-1][0].removeprefix("conv")))
        for units in config.hidden:
            dropout = [Dropout(config.dropout, config.dropout_scale)] if config.dropout else []
            layers += dropout if config.dropout_on == "inputs" else []
            self.paths[f"fc{number}"] = f"classifier.{len(layers)}"
            layers.append(nn.Linear(inputs, units) if groups == 1 else TowerLinear(inputs, units, groups))
            layers += self._after("activation", units)
            layers += dropout if config.dropout_on == "outputs" else []
            inputs, number = units, number + 1
        self.paths[f"fc{number}"] = f"classifier.{len(layers)}"
        layers.append(nn.Linear(inputs, config.classes))
        return layers

    @torch.no_grad()
    def _initialise(self) -> None:
        """Section 5: zero-mean Gaussian weights, biases 1 where the config says so."""
        *hidden, classifier = [layer for name, layer in self.named_layers().items() if name.startswith("fc")]
        convs = [(self.named_layers()[name], conv.std, conv.bias) for name, conv in self.config.convs]
        for layer, std, bias in convs + [(layer, self.config.hidden_std, self.config.hidden_bias) for layer in hidden]:
            weights, biases = layer.parameters()
            weights.normal_(0, std if self.config.init == "normal" else init_std(weights, self.config.init))
            biases.fill_(bias)
        weights, biases = classifier.parameters()
        weights.normal_(0, self.config.classifier_std)
        biases.zero_()


def init_std(weight: Tensor, init: str) -> float:
    """The standard deviation of initial weights that keeps the size of signals from layer to layer.

    "xavier": sqrt(2 / (fan-in + fan-out)), for units that are linear around 0 (Glorot and Bengio 2010); "he":
    sqrt(2 / fan-in), for ReLU, which stops half of the signal (He et al. 2015). weight: (outputs, inputs, ...).
    """
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    return math.sqrt(2 / (fan_in if init == "he" else fan_in + fan_out))
