"""bfloat16 where the device has units for it: a processor without them imitates it, which takes about ten times as long."""

import platform
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "auto"]


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether the device multiplies bfloat16 by units of its own."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    if kind != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def settled(precision: Precision, device: torch.device | str) -> Precision:
    """The precision that a run uses: "auto" is bfloat16 where the device has it, else float32."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    return precision


def hint(precision: Precision, device: torch.device | str) -> str | None:
    """One line where another precision would be much faster on this device."""
    wanted = settled(precision, device)
    if wanted == "bfloat16" and not has_bfloat16(device):
        return f"{device} has no bfloat16 and imitates it, ten times slower than float32: set train.precision=float32 or auto"
    if wanted == "float32" and has_bfloat16(device) and torch.device(device).type == "cpu":
        return "this processor has bfloat16, which takes about half the time of float32: train.precision=bfloat16"
    return None
