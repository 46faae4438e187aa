"""Check the devices of PyTorch, and whether they compute in bfloat16."""

from __future__ import annotations

import torch

from deepcrop.errors import DeepCropError


def check_device(device: str) -> None:
    """Raise `DeepCropError` unless PyTorch can use a device on this machine."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise DeepCropError(
            f"Device {device!r} cannot be used ({first}); expected cpu, or cuda with a PyTorch "
            "that was built for it."
        ) from None


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; emulation is many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of PyTorch do not report the capabilities of a CPU.
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return able.get("amx_bf16", False) or able.get("avx512_bf16", False)
