"""AlexNet, reproduced: the library behind the book. The core is the files of this folder, in the paper's order: what can be
chosen (config, presets, runs_2012), the network (layers, model, towers, exchange), its images (augment, batches), its
training (optim, training, checkpoint), what came out (evaluation, introspection, summary). Four wings stand beside it.
"""
# ruff: noqa: E402

from .system.stopping import is_own_command, stop_as_by_ctrl_c
from .system.threads import wait_asleep

wait_asleep()  # before torch is imported, which reads the setting then
if is_own_command():  # the imports take seconds, and someone may want to stop by then
    stop_as_by_ctrl_c()

from . import presets  # registers the presets, by which everything else is named
from .config import InputError, ModelConfig, TrainConfig
from .data.dataset import open_dataset
from .evaluation import evaluate
from .layers import LocalResponseNorm
from .model import AlexNet
from .training import fit

__all__ = [
    "AlexNet", "InputError", "LocalResponseNorm", "ModelConfig", "TrainConfig",
    "evaluate", "fit", "open_dataset", "presets",
]  # fmt: skip
