"""The presets: a network and its training under one name, as data. What is not said here is a default of config.py.

The networks are those of section 3.5 of the paper, of the authors' 2012 source (layers-*.cfg) and of two later works. What the
small one attains on CIFAR-10 is in results/small_cifar10; none of the others has been trained on ImageNet here.
"""

from dataclasses import replace

from .config import PRESETS, Conv, ModelConfig, Norm, Pool, TrainConfig, WithinNorm
from .runs_2012 import RUNS

# Section 3.5 to the letter. The overhang of conv1 makes 55 out of 224: the authors' code rounds the number of windows
# up, and what the last one sees beyond the image counts as zero.
PAPER = ModelConfig(
    name="paper",
    image_size=224,
    classes=1000,
    conv1=Conv(96, 11, stride=4, overhang=3, then=("activation", "norm", "pool")),
    conv2=Conv(256, 5, padding=2, bias=1.0, then=("activation", "norm", "pool")),
    conv3=Conv(384, 3, padding=1, reads_all_towers=True),
    conv4=Conv(384, 3, padding=1, bias=1.0),
    conv5=Conv(256, 3, padding=1, bias=1.0, then=("activation", "pool")),
)
CONV1, CONV2, CONV3, CONV4, CONV5 = (conv for _, conv in PAPER.convs)  # of which others are made

# layers-145.cfg of the release: the network that gave the paper's numbers.
CODE_2012 = replace(
    PAPER,
    name="code_2012",
    conv1=replace(CONV1, then=("norm", "pool", "activation")),
    conv2=replace(CONV2, then=("activation", "norm", "within_norm", "pool")),
    conv3=replace(CONV3, std=0.03),
    conv4=replace(CONV4, std=0.03),
    conv5=replace(CONV5, std=0.03, then=("pool", "activation")),
    norm=Norm(kind="average"),
)

# Section 3.2: half the kernels in every convolutional layer but the last, which keeps the classifier the same size.
ONE_GPU = replace(
    PAPER,
    name="one_gpu",
    towers=1,
    conv1=replace(CONV1, kernels=48),
    conv2=replace(CONV2, kernels=128),
    conv3=replace(CONV3, kernels=192),
    conv4=replace(CONV4, kernels=192),
)

# layers-150.cfg of the release: columns that meet only in the classifier; conv2 and the first hidden layer are wider.
NO_COMMUNICATION = replace(
    PAPER,
    name="no_communication",
    conv2=replace(CONV2, kernels=320),
    conv3=replace(CONV3, reads_all_towers=False),
    hidden=(8192, 4096),
    hidden_reads_all_towers=False,
)

# Krizhevsky's "one weird trick" network of 2014 as torchvision has it, with torchvision's keys in the state dict.
TORCHVISION = ModelConfig(
    name="torchvision",
    image_size=224,
    classes=1000,
    towers=1,
    conv1=Conv(64, 11, stride=4, padding=2, then=("activation", "pool")),
    conv2=Conv(192, 5, padding=2, then=("activation", "pool")),
    conv3=Conv(384, 3, padding=1),
    conv4=Conv(256, 3, padding=1),
    conv5=Conv(256, 3, padding=1, then=("activation", "pool")),
    norm=Norm(kind="none"),
    pool=Pool(round_up=False),
    dropout_on="inputs",
    dropout_scale="train",
    init="torch",
    pixel_std=57.0,
)

# The paper's motifs for images of 32 to 64 pixels.
SMALL = ModelConfig(
    name="small",
    image_size=28,
    classes=10,
    conv1=Conv(32, 5, padding=2, then=("activation", "norm", "pool")),
    conv2=Conv(64, 5, padding=2, then=("activation", "norm", "pool")),
    conv3=Conv(128, 3, padding=1, reads_all_towers=True),
    conv4=Conv(128, 3, padding=1),
    conv5=Conv(128, 3, padding=1, then=("activation", "pool")),
    hidden=(512, 512),
    hidden_bias=0.0,
    dropout=0.25,
    norm=Norm(alpha=1e-2, k=1.0),
    init="he",
    pixel_std=64.0,
)

# The four-layer network for CIFAR-10 with 18 % test error in the release, of the kind that figure 1 compares.
FOUR_LAYER = ModelConfig(
    name="four_layer",
    image_size=32,
    classes=10,
    towers=1,
    conv1=Conv(32, 5, padding=2, std=0.0001, then=("pool", "activation", "within_norm")),
    conv2=Conv(32, 5, padding=2, then=("activation", "average_pool", "within_norm")),
    conv3=Conv(64, 5, padding=2, then=("activation", "average_pool")),
    conv4=None,
    conv5=None,
    within_norm=WithinNorm(size=3, alpha=0.00005),
    hidden=(),
)

# The paper watched the validation images; here training images are held out, and the test split steers nothing.
PAPER_TRAINING = TrainConfig()

# The run of layer-params-145.cfg: rates by epoch, biases at a rate of their own, one draw for 32 images. Its log gives
# the error on the validation images; nothing says that training images were held out, so none are here.
CODE_2012_TRAINING = replace(
    PAPER_TRAINING,
    name="code_2012",
    epochs=RUNS["run_2012"].epochs,
    holdout=0,
    images_per_draw=32,
    colour_noise="deviation",
    schedule="run_2012",
    decay_biases=False,
    bias_lr=0.02,
)

# The paper's network on today's cards. The rate is torchvision's for its AlexNet, 0.01 for 256 images, by the linear rule; the
# triangle of one_cycle is the warm-up. Not run on ImageNet yet.
FAST_TRAINING = replace(
    PAPER_TRAINING,
    name="fast",
    epochs=60,
    batch_size=1024,
    lr_batch=256,
    lr_warmup=0.0,
    schedule="one_cycle",
    precision="bfloat16",
    channels_last=True,
    compile=True,
)

# Crop, width and dropout were chosen on 5,000 held-out training images: results/small_selection/
LAPTOP_TRAINING = replace(
    PAPER_TRAINING,
    name="laptop",
    data="cifar10",
    epochs=60,
    schedule="one_cycle",
    lr=0.05,
    colour_noise="none",
    holdout=0,
    precision="auto",
    channels_last=True,
)

QUICK_TRAINING = replace(
    LAPTOP_TRAINING,
    name="quick",
    data="photos10",
    epochs=14,
    batch_size=32,
    lr=0.01,
    holdout=300,
    precision="float32",
    channels_last=False,
)

# As figure 1 of the paper: nothing that regularises, and a learning rate that stays.
FOUR_LAYER_TRAINING = replace(
    LAPTOP_TRAINING,
    name="four_layer",
    schedule="constant",
    lr=0.001,
    weight_decay=0.0,
    random_crop=False,
    mirror=False,
    precision="float32",
)


def register(name: str, model: ModelConfig, train: TrainConfig) -> None:
    """Makes a network and its training a preset, for every command and for make PROFILE=."""
    PRESETS[name] = model, train


# The Makefile reads the names from these lines.
register("quick", SMALL, QUICK_TRAINING)
register("laptop", SMALL, LAPTOP_TRAINING)
register("paper", PAPER, PAPER_TRAINING)
register("code_2012", CODE_2012, CODE_2012_TRAINING)
register("fast", PAPER, FAST_TRAINING)
register("one_gpu", ONE_GPU, PAPER_TRAINING)
register("no_communication", NO_COMMUNICATION, PAPER_TRAINING)
register("torchvision", TORCHVISION, PAPER_TRAINING)
register("four_layer", FOUR_LAYER, FOUR_LAYER_TRAINING)
register("small", SMALL, LAPTOP_TRAINING)  # the network's own name, with the training that was chosen for it
