"""The network as the paper ran it (section 3.2): one process a tower, and the processes talk only where its GPUs did.

AlexNet holds all towers, and a layer that reads only its own tower is a grouped convolution there. Here each process of
a torch.distributed group holds one tower and nothing of the others. A layer that reads all towers fetches their maps
first, and on the way back sends each tower its share of the gradient. With the same weights the two give the same
logits, gradients and steps, to 9 digits in float64 (chapter 2, tests/test_towers.py). What crosses between the processes
(exchange.py) is noted down message by message; results/towers/ has what each process held and sent.

The 1000-way layer is whole and belongs to tower 0, as in the authors' source: the others send it their half of the last
hidden layer. The paper draws it as one box and does not say where it lives.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy

from .config import InputError, ModelConfig
from .exchange import Exchange, Link
from .layers import Dropout, LocalResponseNorm, TowerLinear
from .model import AlexNet


class TowerDropout(Dropout):
    """Dropout (section 4.2) of a tower's units: each tower draws the whole layer's mask and takes its
    part. Where torch's generator is in the same state in every tower, the masks are those of the
    network in one process.
    """

    def __init__(self, rate: float, scale: str, link: Link):
        super().__init__(rate, scale)
        self.link = link

    def forward(self, units: Tensor) -> Tensor:
        if not self.training:
            return super().forward(units)
        mask = super().forward(units.new_ones(len(units), units.shape[1] * self.link.towers))
        return units * mask.chunk(self.link.towers, 1)[self.link.tower]


class Tower(AlexNet):
    """One tower of the network of section 3, in one of the processes that share it. To be called by all of them together.

    Input: (N, 3, S, S), the same images in every tower. Output: logits (N, classes) in tower 0; in the others (N, 0) while
    gradients are wanted, see `loss`, and a copy of the logits under torch.no_grad() or inference_mode().

    Its parameters have the names that they have in AlexNet and are the tower's rows of them; see `split_state`. Where a
    layer reads all towers an Exchange named into_conv3, into_fc6, ... stands before it. `link.messages` holds what crossed
    since the last forward pass began.

    Args:
        config: the whole network.
        group: its ranks are the towers: rank t holds tower t. None is the world. Processes beyond the group are no
            concern of it, so that several groups may train copies on different images. A Link is taken as it is.
        seed: of the initial weights, those of AlexNet(config, seed). They are drawn whole in each process, then cut.

    Raises:
        InputError: the group has not one process for each tower, or a normalisation window would cross towers.
    """

    def __init__(self, config: ModelConfig, group: distributed.ProcessGroup | Link | None = None, seed: int = 0):
        super().__init__(config, seed)
        self.link = group if isinstance(group, Link) else Link(group)
        if self.link.towers != config.towers:
            raise InputError(f"{config.towers} towers need as many processes, and the group has {self.link.towers}")
        if config.towers > 1:
            self.features, self.classifier = self._cut("features"), self._cut("classifier")

    def forward(self, images: Tensor) -> Tensor:
        self.link.messages.clear()
        logits = super().forward(images)
        return logits if torch.is_grad_enabled() else self.broadcast_logits(logits)

    def broadcast_logits(self, logits: Tensor) -> Tensor:
        """Hands the logits of tower 0 to all towers, without a gradient: for figures, which no gradient needs."""
        if self.link.tower == 0:
            self.link.swap("logits", "forward", dict.fromkeys(range(1, self.link.towers), logits), {})
            return logits
        copy = logits.new_empty(len(logits), self.config.classes)
        self.link.swap("logits", "forward", {}, {0: copy})
        return copy

    def named_layers(self) -> dict[str, nn.Module]:
        """The layers with weights that this tower has, by name; the classifier is tower 0's."""
        return {name: layer for name, layer in super().named_layers().items() if hasattr(layer, "weight")}

    def _cut(self, part: str) -> nn.Sequential:
        """The tower's part of a sequence, under the same names, with exchanges between."""
        names = {path: name for name, path in self.paths.items()}
        first, *_, classifier = self.paths
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, layer in enumerate(getattr(self, part)):
            name = names.get(f"{part}.{index}")
            if name not in (None, first) and getattr(layer, "groups", 1) == 1:  # 1: reads everything
                readers = range(1 if name == classifier else self.link.towers)
                layers[f"into_{name}"] = Exchange(self.link, name, readers)
            if name != classifier:
                layer = self._own_part(layer)
            layers[str(index)] = nn.Identity() if name == classifier and self.link.tower else layer
        return nn.Sequential(layers)

    def _own_part(self, layer: nn.Module) -> nn.Module:
        towers = self.link.towers
        if isinstance(layer, Dropout):
            return TowerDropout(layer.rate, layer.scale, self.link)
        if isinstance(layer, nn.BatchNorm2d):
            raise InputError("batch normalisation is not cut into towers: use another norm.kind")
        if isinstance(layer, LocalResponseNorm) and layer.groups == 1:
            raise InputError("windows of the normalisation cross towers: set norm.stays_in_tower")
        for name, whole in layer.named_parameters():
            setattr(layer, name, nn.Parameter(whole.detach().chunk(towers)[self.link.tower].clone()))
        if isinstance(layer, nn.Conv2d):
            layer.in_channels, layer.out_channels = layer.in_channels // layer.groups, layer.out_channels // towers
        elif isinstance(layer, nn.Linear):
            layer.out_features //= towers
        if isinstance(layer, nn.Conv2d | LocalResponseNorm | TowerLinear):
            layer.groups = 1
        return layer


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy in tower 0, which has the logits (N, classes), and 0 in the others, which have (N, 0).

    All towers call backward() on it: that is how the gradient reaches those that do not see the answer.
    """
    return cross_entropy(logits.float() if logits.dtype.itemsize < 4 else logits, labels) if logits.shape[1] else logits.sum()


def split_state(state: dict[str, Tensor], config: ModelConfig, tower: int) -> dict[str, Tensor]:
    """A tower's part of a state dict of AlexNet(config), or of velocities of the same names; see `join_states`."""
    with torch.device("meta"):
        *_, path = AlexNet(config).paths.values()
    whole = (f"{path}.weight", f"{path}.bias")
    mine = {name: x for name, x in state.items() if name not in whole or tower == 0}
    return {name: x if name in whole else x.chunk(config.towers)[tower] for name, x in mine.items()}


def join_states(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The state dict of AlexNet from those of its towers, in their order."""
    return {name: torch.cat([s[name] for s in states if name in s]) for name in states[0]}
