"""What a method reads of a cube: the images of a target year, tile by tile with their halo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepcrop import grid, stages
from deepcrop.cube.chunks import read_block
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube
from deepcrop.cube.possible import POSSIBLE, drop_impossible
from deepcrop.products.layers import METHODS, USUAL, Content

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox

Layers = dict[str, NDArray[Any]]
"""Map layers by name, each (y, x)."""


@dataclass(frozen=True)
class Images:
    """Images of one sensor around a target year, not read yet.

    Attributes
    ----------
    data : Dataset
        The bands asked for, dims (time, y, x).
    days : ndarray of float32 (time,)
        Days since 1 January of the target year.
    """

    data: xr.Dataset
    days: NDArray[np.float32]


@dataclass(frozen=True)
class InputCube:
    """An observation cube to map, with its grid looked up once.

    Attributes
    ----------
    data : DataTree
        The cube, opened.
    path : str
        Where it lies, for messages and for other processes.
    box : GeoBox
        Its grid.
    """

    data: xr.DataTree
    path: str
    box: GeoBox

    @classmethod
    def open(cls, path: Path) -> InputCube:
        """Open the cube at ``path``, which becomes absolute."""
        data = open_cube(path)
        return cls(data, str(path.resolve()), grid_of(data))


@dataclass(frozen=True)
class Plan:
    """How one method maps one cube.

    Attributes
    ----------
    images : dict of str to Images
        What it reads, by group of the cube.
    settings : dict
        What its result depends on beside cube and year, in JSON types.
    halo : tuple of int
        Pixels it reads around a tile, as `grid.tiles` takes it.
    run : callable
        From images and a tile to its layers, and for each group the valid pixels of each scene.
        The images are ``images``, or those of the tile's window alone with `grid.Tile.inside`. A
        third argument, bool (y, x), says which pixels of the tile are selected; None is all.
    counted : tuple of str
        Groups of which it is only counted how often a pixel was seen.
    content : Content
        What layers it makes.
    """

    images: dict[str, Images]
    settings: dict[str, Any]
    halo: tuple[int, int]
    run: Callable[..., tuple[Layers, list[NDArray[np.int64]]]]
    counted: tuple[str, ...] = ()
    content: Content = USUAL

    def load(self, tile: grid.Tile) -> dict[str, Images]:
        """Read the images of a tile's window into memory; impossible values are refused."""
        return {
            name: Images(only_possible(name, read_block(one.data, name, *tile.window)), one.days)
            for name, one in self.images.items()
        }


def content_of(plans: Mapping[str, Plan]) -> Content:
    """Return what a map holds: what its curve makes, as only the curve has a choice."""
    return next(plans[name].content for name in METHODS if name in plans)


def only_possible(group: str, data: xr.Dataset) -> xr.Dataset:
    """Make no data of a few impossible values; refuse many, which come with cubes of others.

    Raises
    ------
    CubeError
        Naming the variable, the share, an example and the likely cause.
    """
    kept = {
        name: (array.dims, drop_impossible(str(name), array.values, f"{group}/{name}"), array.attrs)
        for name, array in data.data_vars.items()
        if name in POSSIBLE
    }
    return data.assign(kept)


def images_of(
    cube: xr.DataTree,
    group: str,
    bands: tuple[str, ...],
    year: int,
    reach: int = 0,
    year_start: str = stages.YEAR_START,
    until: datetime.date | None = None,
) -> Images:
    """Images of the days that can be stored, and ``reach`` days around them, up to ``until``."""
    data = cube[group].to_dataset()[list(bands)]
    days = stages.to_days(data["time"].values, year)
    first, last = stages.TargetYear(year, year_start).range
    used = (days >= first - reach) & (days <= last + reach)
    if until is not None:
        used &= days <= stages.to_days(np.datetime64(until, "D"), year)
    places = np.flatnonzero(used)
    chosen: Any = places
    if places.size and places[-1] - places[0] + 1 == places.size:
        chosen = slice(places[0], places[-1] + 1)  # read in half the time
    return Images(data.isel(time=chosen), days[chosen])


def period(cube: xr.DataTree, groups: list[str], until: datetime.date | None = None) -> str:
    """Say from when to when the scenes of some groups are, and up to when they are read."""
    times = np.concatenate([cube[name].to_dataset()["time"].values for name in groups])
    first, last = times.min().astype("datetime64[D]"), times.max().astype("datetime64[D]")
    words = f"its scenes run from {first} to {last}"
    return words if until is None else f"{words}, of which those up to {until} are read"


def padded(data: xr.Dataset, tile: grid.Tile) -> NDArray[np.float32]:
    """Images (time, bands, y, x) of a tile with its whole halo, NaN beyond the edge of the cube."""
    rows, cols = tile.window
    size = [length + sum(grid.PATCH_HALO) for length in tile.shape]
    stack = np.full((data.sizes["time"], len(data.data_vars), *size), np.nan, np.float32)
    (top, _), (left, _) = tile.pad
    inside = (
        slice(top, top + rows.stop - rows.start),
        slice(left, left + cols.stop - cols.start),
    )
    block = data.isel(y=rows, x=cols)
    for k, band in enumerate(data.data_vars):
        stack[:, k, *inside] = block[band].values
    return stack


def orbits_of(sar: xr.Dataset) -> NDArray[np.int64]:
    """Give each scene its relative orbit's number, from 0; all one where they are not known."""
    if "relative_orbit" not in sar.coords:
        return np.zeros(sar.sizes["time"], np.int64)
    return np.unique(sar["relative_orbit"].values, return_inverse=True)[1].astype(np.int64)
