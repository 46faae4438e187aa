"""The 18 x 18 patch of pixels around a camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

PATCH_SIZE = 18
PATCH_CENTRE = 9
"""An 18x18 patch has no centre; the camera pixel is cell (9, 9) (our reading of the paper)."""

PATCH_HALO = (PATCH_CENTRE, PATCH_SIZE - 1 - PATCH_CENTRE)
"""Cells of a patch before (above, left) and after (below, right) the camera's cell: 9 and 8."""


def patch_at(grid: GeoBox, row: int, col: int) -> tuple[slice, slice]:
    """Window of the 18x18 patch whose cell (9, 9) is ``(row, col)``.

    Raises
    ------
    DeepCropError
        If the patch reaches over the grid's edge.
    """
    before, after = PATCH_HALO
    if row < before or col < before or row + after >= grid.shape[0] or col + after >= grid.shape[1]:
        raise DeepCropError(
            f"The 18x18 patch around cell ({row}, {col}) reaches over the edge of the "
            f"{grid.shape[0]} x {grid.shape[1]} grid; it needs {before} cells above and left and "
            f"{after} below and right."
        )
    return slice(row - before, row + after + 1), slice(col - before, col + after + 1)


def inner(images: Any) -> Any:
    """Pixels (..., h, w) that have a whole patch around them; of a patch, its cell (9, 9).

    Of an array of NumPy or of PyTorch, a view.
    """
    before, after = PATCH_HALO
    return images[..., before : images.shape[-2] - after, before : images.shape[-1] - after]
