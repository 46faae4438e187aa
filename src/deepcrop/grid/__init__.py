"""The one grid of a cube: pixels, tiles with halo, patches around a camera."""

from deepcrop.grid.geobox import (
    RESOLUTION,
    RESOLUTIONS,
    assign_grid,
    cell_of,
    cells_of,
    centre_latitude,
    crop,
    grid_of,
    make_grid,
)
from deepcrop.grid.patches import PATCH_CENTRE, PATCH_HALO, PATCH_SIZE, inner, patch_at
from deepcrop.grid.tiles import Tile, tile_at, tiles

__all__ = [
    "PATCH_CENTRE",
    "PATCH_HALO",
    "PATCH_SIZE",
    "RESOLUTION",
    "RESOLUTIONS",
    "Tile",
    "assign_grid",
    "cell_of",
    "cells_of",
    "centre_latitude",
    "crop",
    "grid_of",
    "inner",
    "make_grid",
    "patch_at",
    "tile_at",
    "tiles",
]
