"""Maps without files: a cube in, season dates out, lazily on Dask.

The numbers are those that `deepcrop.mapping.region.map_region` writes, tile by tile by the same
code; here they get names, units and coordinates, and NaN where there is none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube import contract
from deepcrop.cube.contract import grid_of, is_simulated
from deepcrop.errors import DeepCropError
from deepcrop.mapping.inputs import Images, InputCube, Plan, only_possible
from deepcrop.mapping.options import resolve_options, with_until
from deepcrop.products import layers

if TYPE_CHECKING:
    import datetime
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.products.layers import Layer


def map_seasons(
    cube: xr.DataTree,
    year: int,
    *,
    method: str = "curve",
    index: str | None = None,
    smoother: str | None = None,
    fractions: Sequence[float] | None = None,
    season_rule: Mapping[str, float] | None = None,
    seasons: int | None = None,
    measures: bool | None = None,
    intervals: bool | None = None,
    weights: str | Path | None = None,
    radar: bool | None = None,
    definition: str | None = None,
    year_start: str | None = None,
    until: str | datetime.date | None = None,
) -> xr.Dataset:
    """Season dates of every pixel of a cube in a target year.

    A cube on Dask stays on Dask: nothing is computed before it is asked for, and the result has
    chunks of 256 x 256 pixels. One that is not is mapped at once, read tile by tile.

    Parameters
    ----------
    cube : DataTree
        From :func:`deepcrop.open_cube`; ``cube.chunk(x=256, y=256)`` puts it on Dask.
    year : int
        Target year.
    method, index, smoother, fractions, season_rule, seasons, measures, intervals, weights, radar,
    definition, year_start, until
        As of :func:`deepcrop.map_region`.

    Returns
    -------
    Dataset
        Dims (y, x). A variable for each layer that `deepcrop map` writes, under the same name:
        ``sos20``, ``sos50``, ``eos50``, ``eos20`` of the main season, ``sos20_season2``, … of the
        second, and what the method says beside them. Dates are float32, whole days since 1 January
        of ``year``, NaN where there is none (`deepcrop.stages.to_dates` makes them calendar
        dates); percent, measures, status and reasons (`deepcrop.products.layers.STATUS`,
        `deepcrop.phenology.REASONS`) are float32, NaN where nothing is known; counts are unsigned
        integers, ``n_cycles`` float32 with NaN where nothing was seen.

    Raises
    ------
    DeepCropError
        If an option is unknown or of the other method, or the weights cannot be read.
    CubeError
        If the cube has no images that the method reads, or none near the year, or its radar is not
        what the network expects.

    Examples
    --------
    >>> import deepcrop
    >>> cube = deepcrop.open_cube("region.zarr")
    >>> seasons = deepcrop.map_seasons(cube, year=2018)
    >>> seasons.sos50.attrs["units"]
    'days since 2018-01-01'
    """
    if not isinstance(cube, xr.DataTree):
        raise DeepCropError(
            f"Cannot map a {type(cube).__name__}; expected a cube: deepcrop.open_cube(path)."
        )
    year = stages.check_year(year)
    options = resolve_options(
        method,
        index=index,
        smoother=smoother,
        fractions=fractions,
        season_rule=season_rule,
        seasons=seasons,
        measures=measures,
        intervals=intervals,
        year_start=year_start,
        weights=weights,
        radar=radar,
        definition=definition,
        until=until,
    )
    if len(options.methods) > 1:
        raise DeepCropError(
            f"Method {method!r} gives two maps; ask for one at a time, or write both "
            "with map_region."
        )
    box = grid_of(cube)
    opened = InputCube(cube, "The cube", box)
    plan = with_until(options.methods, opened, year)[0].plan(opened, year)
    shape = (box.shape[0], box.shape[1])
    described = layers.describe(method, year, plan.content)
    lazy = any(images.data.chunks for images in plan.images.values())
    found = (_on_dask if lazy else _at_once)(plan, shape, described)
    data = xr.Dataset({name: (("y", "x"), values) for name, values in found.items()})
    data = grid.assign_grid(data, box)
    for layer in described:
        data[layer.name].attrs = {"long_name": layer.title, "units": layer.unit}
        if layer.limits is not None:
            data[layer.name].attrs["valid_range"] = np.array(layer.limits, np.float32)
        data[layer.name].encoding["grid_mapping"] = "spatial_ref"
    data.attrs = {
        "title": str(cube.attrs.get("title", "")),
        "year": year,
        "year_start": plan.content.year_start,
        "method": method,
        "simulated": int(is_simulated(cube)),
        "software": f"deepcrop {__version__}",
        "settings": json.dumps(plan.settings),
    }
    return data


def _at_once(plan: Plan, shape: tuple[int, int], described: list[Layer]) -> dict[str, NDArray[Any]]:
    """Layers in memory."""
    found = {layer.name: np.empty(shape, _dtype(layer)) for layer in described}
    for tile in grid.tiles(shape, contract.CHUNK, plan.halo):
        values = plan.run(plan.load(tile), tile.inside)[0]
        for layer in described:
            found[layer.name][tile.core] = _decoded(values[layer.name], layer)
    return found


def _on_dask(plan: Plan, shape: tuple[int, int], described: list[Layer]) -> dict[str, Any]:
    """Layers on Dask: one task a tile, which gets the images of its window."""
    import dask.array
    from dask.delayed import delayed

    work = delayed(_tile, pure=False)
    blocks: dict[str, dict[tuple[int, int], Any]] = {layer.name: {} for layer in described}
    # Once in the graph, not once a tile: the network is within.
    run = delayed(plan.run, pure=False, traverse=False)
    for tile in grid.tiles(shape, contract.CHUNK, plan.halo):
        rows, cols = tile.window
        cut = {name: one.data.isel(y=rows, x=cols) for name, one in plan.images.items()}
        days = {name: one.days for name, one in plan.images.items()}
        values = work(run, cut, days, tile.inside, described)
        for layer in described:
            blocks[layer.name][tile.index] = dask.array.from_delayed(
                values[layer.name], tile.shape, _dtype(layer)
            )
    down, across = (-(-length // contract.CHUNK) for length in shape)
    return {
        name: dask.array.block([[part[i, j] for j in range(across)] for i in range(down)])
        for name, part in blocks.items()
    }


def _tile(
    run: Any,
    cut: dict[str, xr.Dataset],
    days: dict[str, NDArray[Any]],
    tile: grid.Tile,
    described: list[Layer],
) -> dict[Hashable, NDArray[Any]]:
    images = {name: Images(only_possible(name, data), days[name]) for name, data in cut.items()}
    values = run(images, tile)[0]
    return {layer.name: _decoded(values[layer.name], layer) for layer in described}


_WHOLE = (None, layers.NO_COUNT)  # nothing is left out here, so these counts are all known


def _dtype(layer: Layer) -> np.dtype:
    return layer.dtype if layer.nodata in _WHOLE else np.dtype(np.float32)


def _decoded(values: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """Numbers with NaN for what a file marks as missing."""
    if layer.nodata in _WHOLE:
        return values
    if layer.nodata == stages.NO_DAY:
        return stages.decode(values) * np.float32(layer.scale)
    return np.where(values == layer.nodata, np.nan, values).astype(np.float32)
