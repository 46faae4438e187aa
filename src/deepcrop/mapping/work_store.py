"""The work store of an unfinished map: one chunk per tile and layer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from deepcrop import grid
from deepcrop.cube import io as cube_io
from deepcrop.cube.io import create_store
from deepcrop.mapping.inputs import content_of
from deepcrop.products import layers

if TYPE_CHECKING:
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from deepcrop.mapping.inputs import Plan

MANIFEST = "manifest.jsonl"
"""In a finished map: a line for each tile, in the order of rows."""

WORK_STORE = "work.zarr"
"""Name of the work store in the folder of an unfinished map."""

SELECTED = "selected"
"""Group and array of the work store that are 1 where a pixel is to be mapped."""


def lay_out(work: Path, plans: dict[str, Plan], year: int, box: GeoBox) -> None:
    """Make the work store: a group for each method, a chunk for each tile."""
    shutil.rmtree(work, ignore_errors=True)
    create_store(work, {})
    for method in layers.layer_groups(plans):
        described = layers.describe(method, year, content_of(plans))
        form = xr.Dataset(
            {
                layer.name: (("y", "x"), np.broadcast_to(layer.dtype.type(0), box.shape))
                for layer in described
            }
        )
        empty = {layer.name: layer.nodata or 0 for layer in described}
        cube_io.create_group(work, method, grid.assign_grid(form, box), empty)


def open_group(work: Path, group: str) -> xr.Dataset:
    """Open a group of the work store, lazily."""
    opened: xr.Dataset = xr.open_zarr(
        work, group=group, consolidated=False, chunks=None, decode_coords="all"
    )
    return opened
