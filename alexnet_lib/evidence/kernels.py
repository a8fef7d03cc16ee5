"""The first layer's kernels of a run, kept beside its record: figure 3 can be drawn without a checkpoint."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import InputError
from ..introspection import kernels
from ..model import AlexNet
from ..system.files import advice, whole


def save_kernels(model: AlexNet, path: Path) -> Path:
    """Writes the first layer's kernels in half precision, as "conv1" float16 (K, 3, S, S): 70 KB for the paper's network.

    Raises InputError where the file cannot be written.
    """
    try:
        with whole(path) as partial:
            save_file({"conv1": kernels(model).half().contiguous()}, partial, metadata={"towers": str(model.config.towers)})
    except (OSError, SafetensorError) as error:
        reason = advice(error) if isinstance(error, OSError) else error
        raise InputError(f"cannot write the kernels {path}: {reason}") from error
    return path


def load_kernels(path: Path) -> Tensor:
    """The kernels of a run from the file beside its record: float32 (K, 3, S, S), tower after tower.

    Raises InputError where there is no such file, or none of kernels.
    """
    try:
        return load_file(path)["conv1"].float()
    except (OSError, SafetensorError, KeyError):
        raise InputError(f"no kernels at {path}: python tools/save_kernels.py RUN_FOLDER saves them from a checkpoint") from None
