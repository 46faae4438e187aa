"""Test bits of quality flags, such as Fmask of HLS or QA_PIXEL of Landsat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.ingest.spec import BitTest


def holds_any(stored: NDArray[Any], tests: tuple[BitTest, ...]) -> NDArray[np.bool_]:
    """Test bits of whole numbers: whether any of the tests holds, number by number.

    Raises
    ------
    SpecError
        If the numbers are not whole, or have fewer bits than a test asks for.
    """
    numbers = stored
    if stored.dtype.kind == "f":  # whole numbers that were stored with NaN for no data
        known = np.isfinite(stored)
        if (stored[known] != np.floor(stored[known])).any() or (stored[known] < 0).any():
            raise SpecError(
                "masks: 'drop_bits' reads bits of whole numbers, and the file holds "
                f"{stored[known & (stored != np.floor(stored))][:1]}; give the raster of flags."
            )
        numbers = np.where(known, stored, 0).astype(np.uint64)
    size = 8 * stored.dtype.itemsize
    result = np.zeros(stored.shape, bool)
    for first, length, value in tests:
        if first + length > size:
            raise SpecError(
                f"masks: 'drop_bits' asks for bit {first + length - 1}, and the numbers of the "
                f"file ({stored.dtype}) have bits 0 to {size - 1}."
            )
        result |= (numbers >> first) & (2**length - 1) == value
    return result
