"""The settings of the network (sections 3 and 4.2) and of its training (4.1 and 5), as frozen data.

presets.py has the named ones; the record of a run in results/ holds both in full.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from .layers import conv_out, pool_out
from .runs_2012 import RUNS
from .system.precision import Precision
from .system.strict import Between, InputError, build, check, merge, one_of, path_of, setting_of

# The upper ends are far beyond use. They stop a slip of the keyboard before it costs time and memory, and numbers that
# float32 would not survive.
Count = Annotated[int, Between(1, 10**6)]
Images = Annotated[int, Between(0, 10**9)]
Pixels = Annotated[int, Between(1, 4096)]
Window = Annotated[int, Between(1, 255)]  # odd
Margin = Annotated[int, Between(0, 4096)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
Rate = Annotated[float, Between(0.0, 1e38)]
Share = Annotated[float, Between(0, 1, below=True)]
Spread = Annotated[float, Between(0, 1000)]
Time = Annotated[float, Between(0, 10**6)]
Step = Literal["activation", "norm", "within_norm", "pool", "average_pool"]

MOST_WEIGHTS, MOST_NUMBERS = 10**9, 5 * 10**7  # of a network; in the maps of one image: 16 and 77 times the paper's


@dataclass(frozen=True)
class Conv:
    """One convolutional layer and what follows it.

    `then` lists, in order, what is done to its output: "activation", "norm" (across maps), "within_norm" (within each
    map), "pool", "average_pool". The order is data because the paper and the authors' source differ in it.
    """

    kernels: Annotated[int, Between(1, 2**16)]  # over all towers
    size: Pixels  # on a side
    stride: Pixels = 1
    padding: Margin = 0  # zeros on every side
    overhang: Margin = 0  # more zeros right and bottom, where the last window hangs over the image
    reads_all_towers: bool = False  # else a kernel sees the maps of its own tower only
    std: Spread = 0.01  # of the initial weights, for init="normal"
    bias: Annotated[float, Between(-1000, 1000)] = 0.0  # initial
    then: tuple[Step, ...] = ("activation",)


@dataclass(frozen=True)
class Norm:
    """Local response normalisation across maps (section 3.3), or "none"."""

    kind: Literal["sum", "average", "batch", "none"] = "sum"  # the paper's; alpha / size, as the source; batch normalisation
    size: Window = 5
    alpha: Spread = 1e-4
    beta: Annotated[float, Between(0, 4)] = 0.75
    k: Annotated[float, Between(0.001, 1000)] = 2.0
    stays_in_tower: bool = True  # the window ends at the tower's edge


@dataclass(frozen=True)
class WithinNorm:
    """Normalisation within each map over a square neighbourhood: in the authors' source, not in the paper."""

    size: Window = 5
    alpha: Spread = 0.001  # divided by size squared
    beta: Annotated[float, Between(0, 4)] = 0.75
    k: Annotated[float, Between(0.001, 1000)] = 1.0


@dataclass(frozen=True)
class Pool:
    """Pooling (section 3.4), by the maximum, or by the mean in "average_pool"; it overlaps where size > stride."""

    size: Pixels = 3
    stride: Pixels = 2
    round_up: bool = True  # a last window may hang over the border, as in the authors' source


@dataclass(frozen=True)
class ModelConfig:
    """The network, whole. `ModelConfig.preset("paper", dropout=0.3, conv1={"kernels": 64})`.

    Raises InputError for a name, type or value that does not fit.
    """

    name: str
    image_size: Pixels  # on a side of the (cropped) input
    classes: Count
    conv1: Conv
    conv2: Conv | None  # None: the layer does not exist, as in the experiments of section 7
    conv3: Conv | None
    conv4: Conv | None
    conv5: Conv | None
    conv6: Conv | None = None  # the pre-trained networks of table 2 have a sixth
    towers: Annotated[int, Between(1, 64)] = 2
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    norm: Norm = field(default_factory=Norm)
    within_norm: WithinNorm = field(default_factory=WithinNorm)
    pool: Pool = field(default_factory=Pool)
    hidden: tuple[Count, ...] = (4096, 4096)  # fully connected layers below the classifier, units over all towers
    hidden_reads_all_towers: bool = True
    dropout: Share = 0.5  # of units dropped
    dropout_on: Literal["outputs", "inputs"] = "outputs"  # of the hidden layers
    dropout_scale: Literal["test", "train"] = "test"  # x (1 - dropout) when testing, or / (1 - dropout) when training
    init: Literal["normal", "he", "xavier", "torch"] = "normal"  # N(0, std); by fan-in, fan-out (init_std); torch's own
    hidden_std: Spread = 0.01
    hidden_bias: Annotated[float, Between(-1000, 1000)] = 1.0
    classifier_std: Spread = 0.01
    pixel_std: Annotated[float, Between(0.001, 10**6)] = 1.0  # the input is (pixels - mean image) / pixel_std, pixels in 0 to 255

    def __post_init__(self):
        check(self)
        for where, norm in (("norm", self.norm), ("within_norm", self.within_norm)):
            if norm.size % 2 == 0:
                raise InputError(f"{where}.size must be odd, so that the window has a middle, not {norm.size}")
        for name, conv in self.convs:
            if conv.kernels % self.towers:
                raise InputError(f"{name}.kernels = {conv.kernels} does not divide among {self.towers} towers")
        for units in self.hidden:
            if units % self.towers:
                raise InputError(f"hidden: {units} units do not divide among {self.towers} towers")
        self._check_maps()

    def _check_maps(self) -> None:
        """Every window finds a pixel, and the network is not beyond any computer."""
        weights = numbers = features = 0
        for name, conv, maps, groups, side, pooled in self.shapes():
            weights += conv.kernels * maps // groups * conv.size**2
            numbers += conv.kernels * side**2
            if pooled < 1:
                raise InputError(f"image_size = {self.image_size} is too small: no pixel of the maps is left after {name}")
            features = conv.kernels * pooled**2
        sizes = (features, *self.hidden, self.classes)
        weights += sum(below * above for below, above in itertools.pairwise(sizes))
        if weights > MOST_WEIGHTS or numbers > MOST_NUMBERS:
            raise InputError(
                f"the network is too large: {weights:.2g} weights and {numbers:.2g} numbers in the maps of an image; "
                f"at most {MOST_WEIGHTS:.0e} and {MOST_NUMBERS:.0e} are allowed"
            )

    @property
    def convs(self) -> tuple[tuple[str, Conv], ...]:
        """The convolutional layers that exist, by name, in order."""
        layers = ((f"conv{i}", getattr(self, f"conv{i}")) for i in range(1, 7))
        return tuple((name, conv) for name, conv in layers if conv is not None)

    def shapes(self) -> Iterator[tuple[str, Conv, int, int, int, int]]:
        """(name, layer, maps below, groups of kernels that read apart, side of its maps, side after pooling), layer by layer."""
        maps, side = 3, self.image_size
        for number, (name, conv) in enumerate(self.convs):
            groups = 1 if conv.reads_all_towers or number == 0 else self.towers  # every kernel of the first layer sees the image
            side = pooled = conv_out(side, conv.size, conv.stride, conv.padding, conv.overhang)
            for step in conv.then:
                if pooled > 0 and step in ("pool", "average_pool"):
                    pooled = pool_out(pooled, self.pool.size, self.pool.stride, self.pool.round_up)
            yield name, conv, maps, groups, side, pooled
            maps, side = conv.kernels, pooled

    @property
    def packed_size(self) -> int:
        """Side in pixels of the images that its crops are cut from: 256 for 224 (section 4.1), and in proportion."""
        return round(self.image_size * 256 / 224)

    @classmethod
    def preset(cls, name: str, /, **overrides) -> "ModelConfig":
        """The network of a preset with fields replaced; a dict replaces fields of a nested part."""
        return merge(preset(name)[0], overrides)

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """Inverse of dataclasses.asdict, for checkpoints and records."""
        return build(cls, values)


@dataclass(frozen=True)
class TrainConfig:
    """How to train: data set, augmentation, update rule, schedule, device settings. Defaults are the paper's.

    Raises InputError for a name, type or value that does not fit.
    """

    name: str = "paper"
    data: str = "imagenet"  # a source (photos10, cifar10, imagenette, imagenet, folder:PATH) or a packed set's folder
    epochs: Count = 90
    batch_size: Count = 128  # over all processes
    seed: Seed = 0
    mean: Literal["image", "scalar"] = "image"  # what is subtracted (section 2): each pixel's own mean, or one of all pixels
    # augmentation (section 4.1); the crop is the model's image_size
    random_crop: bool = True
    mirror: bool = True
    images_per_draw: Count = 1  # the 2012 source makes one crop-and-mirror draw for every 32 images
    colour_noise: Literal["eigenvalue", "deviation", "none"] = "eigenvalue"  # section 4.1; the 2012 source
    colour_sigma: Spread = 0.1
    # update rule (section 5)
    lr: Annotated[float, Between(1e-38, 1e38)] = 0.01
    lr_batch: Count | None = None  # linear rule: lr is meant for batches of this size and grows with batch_size; None: no rule
    lr_warmup: Time = 5.0  # linear rule: epochs in which the rate climbs from lr to what the rule gives
    momentum: Share = 0.9
    weight_decay: Spread = 0.0005
    decay_biases: bool = True
    bias_lr: Rate | None = None  # a fixed rate for biases, as in the 2012 source; None: the same as weights
    bias_lr_conv12: Rate | None = None  # the same, for conv1 and conv2
    schedule: str = "plateau"  # "plateau", "one_cycle", "constant", or a recorded run such as "run_2012"
    patience: Count = 5  # plateau: epochs without a better validation error before lr / 10
    drops: Annotated[int, Between(0, 100)] = 3  # plateau: how often lr is divided by 10
    warmup: Share = 0.2  # one_cycle: of training in which lr rises to its peak
    holdout: Images = 10_000  # training images held back for validation, at most a tenth; drawn with holdout_seed
    holdout_seed: Seed = 0
    limit: Annotated[int, Between(1, 10**9)] | None = None  # train on so many of the others only, drawn likewise
    evaluate_every: Count = 1  # epochs
    checkpoint_minutes: Time = 10.0  # also at the end of every evaluated epoch
    keep_checkpoints: Count = 2
    # device
    # bfloat16: mixed precision; auto: that where the device has units for it, else float32
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        check(self)
        one_of("schedule", self.schedule, ("plateau", "one_cycle", "constant", *RUNS))
        if not self.data.strip() or "\0" in self.data:
            raise InputError(f"data must name a source or a folder, not {self.data!r}")
        path_of(self.data.removeprefix("folder:"))

    @classmethod
    def preset(cls, name: str, /, **overrides) -> "TrainConfig":
        """The training of a preset with fields replaced."""
        return merge(preset(name)[1], overrides)

    @classmethod
    def from_dict(cls, values: dict) -> "TrainConfig":
        """Inverse of dataclasses.asdict, for checkpoints and records."""
        return build(cls, values)


PRESETS: dict[str, tuple[ModelConfig, TrainConfig]] = {}  # by name; presets.py registers them


def preset(name: str) -> tuple[ModelConfig, TrainConfig]:
    """(network, training) of a preset. Raises InputError for a name that does not exist."""
    one_of("preset", name, PRESETS)
    return PRESETS[name]


def overridden(model: ModelConfig, train: TrainConfig, settings: list[str]) -> tuple[ModelConfig, TrainConfig]:
    """The configurations with settings such as "model.conv1.kernels=48" or "train.lr=0.02" applied, one after the other."""
    for setting in settings:
        which, change = setting_of(setting)
        model, train = (merge(model, change), train) if which == "model" else (model, merge(train, change))
    return model, train
