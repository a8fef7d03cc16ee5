"""The first layer's kernels of a run, kept beside its record: figure 3 can be drawn without a checkpoint. And their colour
selectivity, which the record itself keeps."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..config import InputError
from ..introspection import colour_selectivity, kernels
from ..model import AlexNet
from ..system.files import advice, whole


def selectivity_by_tower(model: AlexNet) -> list[list[float]]:
    """The colour selectivity of each first-layer kernel, to four decimals, tower by tower: what a record keeps."""
    parts = colour_selectivity(kernels(model)).chunk(model.config.towers)
    return [[round(value, 4) for value in part.tolist()] for part in parts]


def save_kernels(model: AlexNet, path: Path) -> Path:
    """Writes the first layer's kernels in half precision, as "conv1" float16 (K, 3, S, S): 70 KB for the paper's network.

    Raises InputError where the file cannot be written.
    """
    content = save({"conv1": kernels(model).half().contiguous()}, metadata={"towers": str(model.config.towers)})
    try:
        with whole(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write the kernels {path}: {advice(error)}") from error
    return path


def load_kernels(path: Path) -> Tensor:
    """The kernels of a run from the file beside its record: float32 (K, 3, S, S), tower after tower.

    Raises InputError where there is no such file, or none of kernels.
    """
    try:
        return load_file(path)["conv1"].float()
    except (OSError, SafetensorError, KeyError):
        raise InputError(f"no kernels at {path}: python tools/save_kernels.py RUN_FOLDER saves them from a checkpoint") from None
