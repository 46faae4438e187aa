"""Test bits of quality flags, such as Fmask of HLS or QA_PIXEL of Landsat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.ingest.spec import BitTest


def holds_any(stored: NDArray[Any], tests: tuple[BitTest, ...], path: Path) -> NDArray[np.bool_]:
    """Test bits of whole numbers, of the file ``path``: whether any of the tests holds.

    Raises
    ------
    SpecError
        If the numbers are not whole, or have fewer bits than a test asks for.
    """
    numbers = stored
    if stored.dtype.kind == "f":  # whole numbers, stored so because some are missing
        wrong = stored[(stored < 0) | (stored != np.floor(stored))]
        if wrong.size:
            raise SpecError(
                f"masks: 'drop_bits' reads bits of whole numbers, and {path} holds {wrong[0]:g}; "
                "give the raster of flags, and its fill value as nodata."
            )
        numbers = stored.astype(np.uint64)
    size = 8 * stored.dtype.itemsize
    result = np.zeros(stored.shape, bool)
    for first, length, value in tests:
        if first + length > size:
            raise SpecError(
                f"masks: 'drop_bits' asks for bit {first + length - 1}, and the numbers of "
                f"{path} ({stored.dtype}) have bits 0 to {size - 1}."
            )
        result |= (numbers >> first) & (2**length - 1) == value
    return result
