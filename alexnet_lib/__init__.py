"""AlexNet, reproduced: the library behind the book. Read it in the paper's order; each file is one idea."""

from .config import InputError, ModelConfig, TrainConfig
from .data.dataset import open_dataset
from .evaluation import evaluate
from .layers import LocalResponseNorm
from .model import AlexNet
from .training import fit

__all__ = ["AlexNet", "InputError", "LocalResponseNorm", "ModelConfig", "TrainConfig", "evaluate", "fit", "open_dataset"]
