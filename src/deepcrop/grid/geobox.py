"""Pixel geometry: every rule about cells, patches and tiles, on `odc.geo`'s GeoBox.

A grid is a :class:`odc.geo.geobox.GeoBox`: north-up, square pixels in metres, row 0 at the top.
Coordinates ``x`` and ``y`` are pixel centres. A cell is ``(row, column)``, 0-based; it owns its
left and top edges.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import odc.geo.xr  # noqa: F401  (registers the .odc accessor)
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from deepcrop.errors import CubeError, DeepCropError
from deepcrop.grid.geotransform import parse_geotransform, place_in_pixel

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

RESOLUTION = 10.0
"""Pixel size of the project's grids, metres, unless the archive has coarser pixels."""

RESOLUTIONS = (RESOLUTION, 30.0)
"""Pixel sizes that a cube may have, metres: those of Sentinel-2, and of Landsat and HLS."""

_SOUTHERN_NORTHING = 10_000_000.0
"""Northing of the equator in the southern zones of UTM, metres."""

MAX_AREA = 2e12
"""Largest area of a grid, square metres: twice as much as a UTM zone holds of any country."""


def make_grid(
    bounds: tuple[float, float, float, float], crs: str | int, resolution: float = RESOLUTION
) -> GeoBox:
    """Smallest grid that covers ``bounds`` with pixel edges on multiples of ``resolution``.

    In the southern zones of UTM these are multiples from the equator, as in the tiles of Sentinel-2
    and HLS: its northing there, 10 000 km, is no multiple of 30 m.

    Parameters
    ----------
    bounds : tuple
        ``(left, bottom, right, top)`` in units of ``crs``.
    crs : str or int
        Projected reference system in metres, for example ``"EPSG:32631"``.
    resolution : float
        Pixel size in metres.

    Raises
    ------
    DeepCropError
        If the bounds are empty or absurdly large, the pixel size is not positive, or the reference
        system is unknown or not projected in metres.
    """
    crs_text = f"EPSG:{crs}" if isinstance(crs, int) else crs
    try:
        system = CRS.from_user_input(crs_text)
        _check_crs(system, DeepCropError)
    except CRSError as error:
        raise DeepCropError(f"Reference system '{crs_text}' is unknown: {error}") from error
    if not resolution > 0:
        raise DeepCropError(f"Pixel size is {resolution} m; expected a positive number.")
    left, bottom, right, top = (float(v) for v in bounds)
    if not (math.isfinite(left + bottom + right + top) and left < right and bottom < top):
        raise DeepCropError(
            f"Bounds {tuple(bounds)} are empty: expected left, bottom, right, top in metres, with "
            "left < right and bottom < top."
        )
    equator = _SOUTHERN_NORTHING if (system.utm_zone or "").endswith("S") else 0.0
    base = equator % resolution
    # A tolerance of a millionth of a pixel keeps float noise from adding a row.
    col0 = math.floor(left / resolution + 1e-6)
    row_top = math.ceil((top - base) / resolution - 1e-6)
    width = max(math.ceil(right / resolution - 1e-6) - col0, 1)
    height = max(row_top - math.floor((bottom - base) / resolution + 1e-6), 1)
    across, down = width * resolution / 1000, height * resolution / 1000
    if across * down > MAX_AREA / 1e6:  # before memory of that size is asked for
        raise DeepCropError(
            f"Bounds {(left, bottom, right, top)} in {crs_text} are {across:,.0f} x {down:,.0f} "
            f"km, {height * width:.2g} pixels of {resolution:g} m; at most {MAX_AREA / 1e6:,.0f} "
            "square kilometres make one grid. Check their order and digits, or divide the area."
        )
    affine = Affine(resolution, 0, col0 * resolution, 0, -resolution, row_top * resolution + base)
    return GeoBox((height, width), affine, crs_text)


def crop(grid: GeoBox, window: tuple[slice, slice]) -> GeoBox:
    """Cut rows and columns out of a grid.

    The same as ``grid[window]``, which in odc-geo 0.5 warns of a deprecation with affine 3.
    """
    rows, cols = window
    a, _, c, _, e, f = grid.affine[:6]
    affine = Affine(a, 0, c + a * cols.start, 0, e, f + e * rows.start)
    return GeoBox((rows.stop - rows.start, cols.stop - cols.start), affine, grid.crs)


def grid_of(data: xr.Dataset | xr.DataArray) -> GeoBox:
    """Grid of an xarray object from its ``x``, ``y`` and ``spatial_ref``.

    Raises
    ------
    CubeError
        If the coordinates are missing, too short, not evenly spaced, not square, not north-up,
        or without a projected reference system in metres.
    """
    for name in ("x", "y"):
        if name not in data.coords:
            raise CubeError(f"Coordinate '{name}' is missing: expected pixel centres in metres.")
        if data.coords[name].dims != (name,) or data.coords[name].dtype.kind not in "fiu":
            raise CubeError(f"Coordinate '{name}' must be one-dimensional numbers, in metres.")
        if data.coords[name].size < 2:
            raise CubeError(f"Coordinate '{name}' has fewer than 2 values; a grid needs 2 or more.")
    x = np.asarray(data.coords["x"].values, dtype=np.float64)
    y = np.asarray(data.coords["y"].values, dtype=np.float64)
    step_x, step_y = np.diff(x), np.diff(y)
    if not (np.allclose(step_x, step_x[0]) and np.allclose(step_y, step_y[0])):
        raise CubeError("Coordinates 'x' and 'y' must be evenly spaced; resample onto one grid.")
    if step_x[0] <= 0 or step_y[0] >= 0:
        raise CubeError("The grid must be north-up: 'x' rising and 'y' falling. Flip the axis.")
    if not math.isclose(step_x[0], -step_y[0], rel_tol=1e-6):
        raise CubeError(
            f"Pixels must be square; found {step_x[0]:g} by {-step_y[0]:g}. Resample onto 10 m."
        )
    _check_centres((float(x[0]), float(y[0])), (float(step_x[0]), float(step_y[0])), data)
    crs = data.odc.crs
    if crs is None:
        raise CubeError(
            "No reference system: expected a 'spatial_ref' coordinate with 'crs_wkt' "
            "(xarray: ds.odc.assign_crs('EPSG:32631'))."
        )
    _check_crs(CRS.from_user_input(str(crs)), CubeError)
    # Rounded to a micrometre, so that float noise in files of others makes no new grid.
    res = round(float(x[-1] - x[0]) / (x.size - 1), 6)
    left, top = round(float(x[0]) - res / 2, 6), round(float(y[0]) + res / 2, 6)
    affine = Affine(res, 0, left, 0, -res, top)
    return GeoBox((y.size, x.size), affine, crs)


def _check_crs(crs: CRS, error: type[DeepCropError]) -> None:
    if not (crs.is_projected and all(axis.unit_name == "metre" for axis in crs.axis_info[:2])):
        raise error(
            f"Reference system '{crs.name}' is not projected in metres; use the area's UTM zone, "
            "for example EPSG:32631."
        )


def _check_centres(
    first: tuple[float, float], step: tuple[float, float], data: xr.Dataset | xr.DataArray
) -> None:
    """Reject coordinates that are corners of the pixels of the file's own geotransform."""
    attrs = data.coords["spatial_ref"].attrs if "spatial_ref" in data.coords else {}
    numbers = parse_geotransform(attrs.get("GeoTransform"))
    if numbers and place_in_pixel(first, step, Affine.from_gdal(*numbers)) == "corner":
        raise CubeError(
            "Coordinates 'x' and 'y' are corners of pixels, by the GeoTransform of 'spatial_ref'; "
            "expected their centres: add half a pixel, or read the file with 'deepcrop ingest'."
        )


def assign_grid(data: xr.Dataset, grid: GeoBox) -> xr.Dataset:
    """Return ``data`` with the ``y``, ``x`` and ``spatial_ref`` coordinates of ``grid``."""
    data = data.assign_coords(
        y=(
            "y",
            grid.coords["y"].values,
            {"units": "m", "standard_name": "projection_y_coordinate"},
        ),
        x=(
            "x",
            grid.coords["x"].values,
            {"units": "m", "standard_name": "projection_x_coordinate"},
        ),
    )
    gridded: xr.Dataset = data.odc.assign_crs(grid.crs)
    return gridded


def centre_latitude(grid: GeoBox) -> float:
    """Latitude of the centre of a grid, degrees, south negative."""
    left, bottom, right, top = grid.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    return float(to_degrees.transform((left + right) / 2, (bottom + top) / 2)[1])


def cell_of(grid: GeoBox, x: float, y: float, crs: str = "EPSG:4326") -> tuple[int, int]:
    """Cell ``(row, column)`` that holds a coordinate.

    Parameters
    ----------
    grid : GeoBox
        The grid.
    x, y : float
        Coordinate in ``crs``; longitude and latitude in degrees by default.
    crs : str
        Reference system of ``x`` and ``y``; axis order is always x, y.

    Raises
    ------
    DeepCropError
        If the coordinate lies outside the grid, or its reference system is unknown.
    """
    row, col = (float(part[0]) for part in cells_of(grid, np.array([x]), np.array([y]), crs))
    if not math.isfinite(row + col):
        raise DeepCropError(f"Coordinate ({x}, {y}) in {crs} has no place in {grid.crs}.")
    if not (0 <= row < grid.shape[0] and 0 <= col < grid.shape[1]):
        raise DeepCropError(
            f"Coordinate ({x}, {y}) in {crs} lies outside the grid: cell ({row:.0f}, {col:.0f}) of "
            f"{grid.shape[0]} x {grid.shape[1]}."
        )
    return int(row), int(col)


def cells_of(
    grid: GeoBox, x: NDArray[np.floating], y: NDArray[np.floating], crs: str = "EPSG:4326"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns that hold coordinates, also of cells outside the grid.

    Parameters
    ----------
    grid : GeoBox
        The grid.
    x, y : ndarray (n,)
        Coordinates in ``crs``; longitude and latitude in degrees by default.
    crs : str
        Reference system of ``x`` and ``y``; axis order is always x, y.

    Returns
    -------
    rows, cols : ndarray of float (n,)
        Whole numbers; NaN or infinite where a coordinate has no place in the grid's reference
        system.

    Raises
    ------
    DeepCropError
        If the reference system is unknown.
    """
    try:
        to_grid = Transformer.from_crs(crs, str(grid.crs), always_xy=True)
    except CRSError as error:
        raise DeepCropError(f"Reference system '{crs}' is unknown: {error}") from error
    grid_x, grid_y = (np.asarray(part, np.float64) for part in to_grid.transform(x, y))
    # Subtract before dividing: the inverse affine's rounding puts some edges into the wrong cell.
    col = np.floor((grid_x - grid.affine.c) / grid.affine.a)
    row = np.floor((grid_y - grid.affine.f) / grid.affine.e)
    return row, col
