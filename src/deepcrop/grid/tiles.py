"""Tiles of a grid, each with its halo: the cells that are read around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import odc.geo.xr  # noqa: F401  (registers the .odc accessor)

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Tile:
    """One tile of a grid, with its halo.

    Attributes
    ----------
    index : tuple of int
        ``(tile row, tile column)``.
    core : tuple of slice
        Cells this tile writes; the cores of all tiles cover the grid once.
    window : tuple of slice
        Cells this tile reads: the core and its halo, cut at the grid's edge.
    pad : tuple
        Cells of halo cut off: ``((top, bottom), (left, right))``, as ``numpy.pad`` takes it.
    """

    index: tuple[int, int]
    core: tuple[slice, slice]
    window: tuple[slice, slice]
    pad: tuple[tuple[int, int], tuple[int, int]]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the core."""
        rows, cols = self.core
        return rows.stop - rows.start, cols.stop - cols.start

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core inside an array read over ``window``."""
        (rows, cols), (win_rows, win_cols) = self.core, self.window
        return (
            slice(rows.start - win_rows.start, rows.stop - win_rows.start),
            slice(cols.start - win_cols.start, cols.stop - win_cols.start),
        )

    @property
    def inside(self) -> Tile:
        """The same tile of an array read over ``window`` instead of the whole grid."""
        rows, cols = self.window
        window = (slice(0, rows.stop - rows.start), slice(0, cols.stop - cols.start))
        return Tile(self.index, self.inner, window, self.pad)


def tiles(shape: tuple[int, int], size: int, halo: tuple[int, int] = (0, 0)) -> Iterator[Tile]:
    """Cover a grid with tiles, row by row.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the grid.
    size : int
        Side of a tile's core in cells; the last row and column of tiles may be smaller.
    halo : tuple of int
        Cells to read before (above, left) and after (below, right) the core, as `PATCH_HALO`.
    """
    if size < 1:
        raise DeepCropError(f"The side of a tile is {size}; expected 1 cell or more.")
    for i, top in enumerate(range(0, shape[0], size)):
        for j, left in enumerate(range(0, shape[1], size)):
            rows = slice(top, min(top + size, shape[0]))
            cols = slice(left, min(left + size, shape[1]))
            yield tile_at((rows, cols), shape, halo, (i, j))


def tile_at(
    core: tuple[slice, slice],
    shape: tuple[int, int],
    halo: tuple[int, int] = (0, 0),
    index: tuple[int, int] = (0, 0),
) -> Tile:
    """Tile that writes given rows and columns of a grid; ``halo`` as of `tiles`."""
    before, after = halo
    windows, pads = [], []
    for part, length in zip(core, shape, strict=True):
        first, last = max(part.start - before, 0), min(part.stop + after, length)
        windows.append(slice(first, last))
        pads.append((first - (part.start - before), (part.stop + after) - last))
    return Tile(index, core, (windows[0], windows[1]), (pads[0], pads[1]))
