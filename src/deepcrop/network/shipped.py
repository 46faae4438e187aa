"""The weights that come with the package."""

from __future__ import annotations

from pathlib import Path

from deepcrop.errors import DeepCropError


def shipped(name: str = "default") -> Path:
    """File of the weights of a network: "default", or "evi" for EVI of single pixels.

    Raises
    ------
    DeepCropError
        If this installation has none.
    """
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file():
        raise DeepCropError(
            f"{path} does not exist: this installation has no weights. Install deepcrop anew, or "
            "name a file of weights (--weights)."
        )
    return path
