"""What a network can run on: which devices are there, and what numbers they multiply in."""

from __future__ import annotations

import torch

from deepcrop.errors import DeepCropError


def check_device(device: str) -> None:
    """Raise `DeepCropError` unless this machine has a device of PyTorch."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise DeepCropError(
            f"Device {device!r} cannot be used ({first}); expected cpu, or cuda with a PyTorch "
            "that was built for it."
        ) from None


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16; pretending to is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # An older PyTorch does not tell.
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return able.get("amx_bf16", False) or able.get("avx512_bf16", False)
