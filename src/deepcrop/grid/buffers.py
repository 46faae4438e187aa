"""Buffers around cells, in metres: masks that reach beyond what they found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

LARGEST_BUFFER = 1000.0
"""Widest buffer, metres."""


def widen(box: GeoBox, metres: float) -> tuple[GeoBox, tuple[slice, slice]]:
    """Widen a grid so that a buffer around cells beyond its edges reaches into it.

    Returns
    -------
    wide : GeoBox
        The grid with a margin on each side.
    inner : tuple of slice
        Rows and columns of the grid in the wide one.
    """
    margin = math.ceil(metres / float(box.resolution.x))
    rows, cols = map(int, box.shape)
    inner = slice(margin, margin + rows), slice(margin, margin + cols)
    return (box.pad(margin) if margin else box), inner


def grow(cells: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Add to cells all that are at most ``radius`` pixels away, from centre to centre.

    Examples
    --------
    >>> grow(np.array([[True, False, False, False]]), 1.5)[0].tolist()
    [True, True, False, False]
    """
    rows, cols = cells.shape
    reach = math.floor(radius + 1e-9)
    # Number of cells to the left of each column, so that a difference tells whether a run has any.
    counts = np.zeros((rows, cols + 2 * reach + 1), np.int32)
    np.cumsum(np.pad(cells, ((0, 0), (reach, reach))), axis=1, out=counts[:, 1:])
    grown = np.zeros_like(cells)
    for step in range(-min(reach, rows - 1), min(reach, rows - 1) + 1):
        half = math.floor(math.sqrt(max(radius**2 - step**2, 0.0)) + 1e-9)
        left, right = reach - half, reach + half + 1
        near = counts[:, right : right + cols] > counts[:, left : left + cols]
        grown[max(step, 0) : rows + min(step, 0)] |= near[max(-step, 0) : rows + min(-step, 0)]
    return grown
