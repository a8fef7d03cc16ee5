"""What can be chosen: the network (ModelConfig) and its training (TrainConfig), as frozen data with named presets."""

from dataclasses import dataclass, field

from .runs_2012 import RUNS
from .system.strict import InputError, build, check_types, merge, not_negative, one_of, positive


@dataclass(frozen=True)
class Conv:
    """One convolutional layer and what follows it.

    `then` lists, in order, what is done to its output: "activation", "norm" (across maps), "within_norm" (within each
    map), "pool", "average_pool". The order is data because the paper and the authors' source differ in it.
    """

    kernels: int  # over all towers
    size: int  # pixels on a side
    stride: int = 1
    padding: int = 0  # zeros on every side
    overhang: int = 0  # more zeros right and bottom, where the last window hangs over the image
    reads_all_towers: bool = False  # else a kernel sees the maps of its own tower only
    std: float = 0.01  # of the initial weights, for init="normal"
    bias: float = 0.0  # initial
    then: tuple[str, ...] = ("activation",)


@dataclass(frozen=True)
class Norm:
    """Local response normalisation across maps (section 3.3), or "none"."""

    kind: str = (
        "sum"  # "sum": the paper's formula; "average": alpha / size, as the authors' source; "batch": batch normalisation; "none"
    )
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    stays_in_tower: bool = True  # the window ends at the tower's edge


@dataclass(frozen=True)
class WithinNorm:
    """Normalisation within each map over a square neighbourhood: in the authors' source, not in the paper."""

    size: int = 5
    alpha: float = 0.001  # divided by size squared
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Pool:
    """Pooling (section 3.4), by the maximum, or by the mean in "average_pool"; it overlaps where size > stride."""

    size: int = 3
    stride: int = 2
    round_up: bool = True  # a last window may hang over the border, as in the authors' source


@dataclass(frozen=True)
class ModelConfig:
    """The network, whole. `ModelConfig.preset("paper", dropout=0.3, conv1={"kernels": 64})`.

    Raises InputError for a name, type or value that does not fit.
    """

    name: str
    image_size: int  # pixels on a side of the (cropped) input
    classes: int
    conv1: Conv | None  # None: the layer does not exist, as in the experiments of section 7
    conv2: Conv | None
    conv3: Conv | None
    conv4: Conv | None
    conv5: Conv | None
    conv6: Conv | None = None  # the pre-trained networks of table 2 have a sixth
    towers: int = 2
    activation: str = "relu"  # "relu", "tanh" or "sigmoid"
    norm: Norm = field(default_factory=Norm)
    within_norm: WithinNorm = field(default_factory=WithinNorm)
    pool: Pool = field(default_factory=Pool)
    hidden: tuple[int, ...] = (4096, 4096)  # fully connected layers below the classifier, units over all towers
    hidden_reads_all_towers: bool = True
    dropout: float = 0.5  # share of units dropped
    dropout_on: str = "outputs"  # of the hidden layers, or "inputs"
    dropout_scale: str = "test"  # "test": outputs x (1 - dropout) when testing; "train": outputs / (1 - dropout) when training
    init: str = "normal"  # "normal": N(0, std); "he", "xavier": by fan-in, fan-out (see init_std); "torch": the library's own
    hidden_std: float = 0.01
    hidden_bias: float = 1.0
    classifier_std: float = 0.01
    pixel_std: float = 1.0  # the input is (pixels - mean image) / pixel_std, pixels in 0 to 255

    def __post_init__(self):
        check_types(self)
        one_of("activation", self.activation, ("relu", "tanh", "sigmoid"))
        one_of("norm.kind", self.norm.kind, ("sum", "average", "batch", "none"))
        one_of("dropout_on", self.dropout_on, ("outputs", "inputs"))
        one_of("dropout_scale", self.dropout_scale, ("test", "train"))
        one_of("init", self.init, ("normal", "he", "xavier", "torch"))
        positive(self, "image_size", "classes", "towers", "pixel_std")
        positive(self.pool, "size", "stride", where="pool")
        not_negative(self, "hidden_std", "classifier_std")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is the share of units dropped, 0 <= dropout < 1, not {self.dropout}")
        for where, norm in (("norm", self.norm), ("within_norm", self.within_norm)):
            positive(norm, "size", "k", where=where)
            not_negative(norm, "alpha", "beta", where=where)
            if norm.size % 2 == 0:
                raise InputError(f"{where}.size must be odd, so that the window has a middle, not {norm.size}")
        if not self.convs:
            raise InputError("the network needs at least one convolutional layer")
        for name, conv in self.convs:
            positive(conv, "kernels", "size", "stride", where=name)
            not_negative(conv, "padding", "overhang", "std", where=name)
            for step in conv.then:
                one_of(f"{name}.then", step, ("activation", "norm", "within_norm", "pool", "average_pool"))
            if conv.kernels % self.towers:
                raise InputError(f"{name}.kernels = {conv.kernels} does not divide among {self.towers} towers")
        for units in self.hidden:
            if units < 1 or units % self.towers:
                raise InputError(f"hidden: {units} units do not divide among {self.towers} towers")

    @property
    def convs(self) -> tuple[tuple[str, Conv], ...]:
        """The convolutional layers that exist, by name, in order."""
        layers = ((f"conv{i}", getattr(self, f"conv{i}")) for i in range(1, 7))
        return tuple((name, conv) for name, conv in layers if conv is not None)

    @classmethod
    def preset(cls, name: str, /, **overrides) -> "ModelConfig":
        """A preset by name with fields replaced; a dict replaces fields of a nested part."""
        from .presets import MODELS

        one_of("model preset", name, MODELS)
        return merge(MODELS[name], overrides)

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """Inverse of dataclasses.asdict, for checkpoints and records."""
        return build(cls, values)


@dataclass(frozen=True)
class TrainConfig:
    """How to train: data set, augmentation, update rule, schedule, device settings. Defaults are the paper's."""

    name: str = "paper"
    data: str = "imagenet"  # a source (photos10, cifar10, imagenette, imagenet, folder:PATH) or a packed set's folder
    epochs: int = 90
    batch_size: int = 128  # over all processes
    seed: int = 0
    # augmentation (section 4.1); the crop is the model's image_size
    random_crop: bool = True
    mirror: bool = True
    images_per_draw: int = 1  # the 2012 source makes one crop-and-mirror draw for every 32 images
    colour_noise: str = "eigenvalue"  # "eigenvalue": section 4.1; "deviation": the 2012 source; "none"
    colour_sigma: float = 0.1
    # update rule (section 5)
    lr: float = 0.01
    lr_batch: int | None = None  # linear rule: lr is meant for batches of this size and grows with batch_size; None: no rule
    lr_warmup: float = 5.0  # linear rule: epochs in which the rate climbs from lr to what the rule gives
    momentum: float = 0.9
    weight_decay: float = 0.0005
    decay_biases: bool = True
    bias_lr: float | None = None  # a fixed rate for biases, as in the 2012 source; None: the same as weights
    bias_lr_conv12: float | None = None  # the same, for conv1 and conv2
    schedule: str = "plateau"  # "plateau", "one_cycle", "constant", or a recorded run such as "run_2012"
    patience: int = 5  # plateau: epochs without a better validation error before lr / 10
    drops: int = 3  # plateau: how often lr is divided by 10
    warmup: float = 0.2  # one_cycle: share of training in which lr rises to its peak
    holdout: int = 10_000  # training images held back for validation, at most a tenth; drawn with holdout_seed
    holdout_seed: int = 0
    limit: int | None = None  # train on so many of the others only, drawn likewise
    evaluate_every: int = 1  # epochs
    checkpoint_minutes: float = 10.0  # also at the end of every evaluated epoch
    keep_checkpoints: int = 2
    # device
    precision: str = "float32"  # or "bfloat16": mixed precision
    channels_last: bool = False
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        check_types(self)
        one_of("colour_noise", self.colour_noise, ("eigenvalue", "deviation", "none"))
        one_of("schedule", self.schedule, ("plateau", "one_cycle", "constant", *RUNS))
        one_of("precision", self.precision, ("float32", "bfloat16"))
        positive(self, "epochs", "batch_size", "lr", "images_per_draw", "evaluate_every", "keep_checkpoints", "patience", "limit")
        positive(self, "lr_batch")
        not_negative(self, "holdout", "holdout_seed", "momentum", "weight_decay", "bias_lr", "bias_lr_conv12", "colour_sigma")
        not_negative(self, "drops", "warmup", "lr_warmup", "checkpoint_minutes", "seed")
        for name in ("warmup", "momentum"):
            if getattr(self, name) >= 1:
                raise InputError(f"{name} must be below 1, not {getattr(self, name)}")

    @classmethod
    def preset(cls, name: str, /, **overrides) -> "TrainConfig":
        """A preset by name with fields replaced."""
        from .presets import TRAINING

        one_of("training preset", name, TRAINING)
        return merge(TRAINING[name], overrides)

    @classmethod
    def from_dict(cls, values: dict) -> "TrainConfig":
        return build(cls, values)
