"""Decide whether coordinates name the centres or the corners of pixels.

CF coordinates are centres, but some tools write the upper left corners (stackstac does by default).
Read as centres, they shift a cube by half a pixel and blur it. The file's own geotransform shows
which they are; a key of the specification overrules it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affine import Affine
from pyproj import CRS

from deepcrop.errors import SpecError
from deepcrop.grid.geotransform import parse_geotransform, place_in_pixel

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

_PIXELS = (10.0, 20.0, 60.0)
"""Pixel sizes of Sentinel grids, metres: edges, never centres, lie on multiples of the size."""

_TOLERANCE = 0.01  # of a pixel


def pixel_affine(
    first: tuple[float, float],
    step: tuple[float, float],
    crs: str,
    data: xr.Dataset,
    array: xr.DataArray,
    path: Path,
    key: str,
    stated: str | None,
) -> Affine:
    """Make the affine transform of a raster from its coordinates.

    Parameters
    ----------
    first : tuple of float
        First x and y.
    step : tuple of float
        Steps of x and y.
    crs : str
        Reference system.
    data, array, path
        The file, not decoded, and the variable.
    key : str
        Key of the specification, for messages.
    stated : str, optional
        Value of that key, ``"centre"`` or ``"corner"``; it decides if it is given.

    Raises
    ------
    SpecError
        If the geotransform contradicts the coordinates, or the coordinates could be either.
    """
    own = geotransform(data, array)
    if stated is None and own is not None:
        stated = place_in_pixel(first, step, own)
        if stated is None:
            raise SpecError(
                f"{key}: in {path} the coordinates start at x {first[0]:.10g}, y {first[1]:.10g}, "
                f"which are neither centres nor corners of the pixels of its geotransform "
                f"{tuple(own)[:6]}. Write pixel_coordinates: centre or corner, whichever the "
                "coordinates are."
            )
    if stated is None and _on_edges(first, step, crs):
        raise SpecError(
            f"{key}: the coordinates of {path} (x {first[0]:.10g}, y {first[1]:.10g}, …) are "
            f"multiples of the pixel size, {abs(step[0]):g} m. On the grid of Sentinel images "
            "these are corners of pixels, but the file does not say so. Write "
            "pixel_coordinates: corner (upper left, as stackstac writes them) or centre."
        )
    if stated == "corner":  # the upper left one, whichever way the axes run
        left = first[0] if step[0] > 0 else first[0] - step[0]
        top = first[1] if step[1] < 0 else first[1] - step[1]
        return Affine(step[0], 0, left, 0, step[1], top)
    return Affine(step[0], 0, first[0] - step[0] / 2, 0, step[1], first[1] - step[1] / 2)


def geotransform(data: xr.Dataset, array: xr.DataArray) -> Affine | None:
    """Read the geotransform that a file states beside its coordinates; None if there is none."""
    mapping = str(array.attrs.get("grid_mapping", "")).split(":")[0].split()
    places: list[dict[str, Any]] = [array.attrs, data.attrs]
    places += [
        data[name].attrs for name in (*mapping[:1], "spatial_ref", "crs") if name in data.variables
    ]
    for attrs in places:
        if "GeoTransform" in attrs:  # as GDAL writes it: x of the corner first
            numbers = parse_geotransform(attrs["GeoTransform"])
            if numbers is not None:
                return Affine.from_gdal(*numbers)
        for name in ("spatial:transform", "proj:transform", "transform"):
            numbers = parse_geotransform(attrs.get(name))
            if numbers is not None:
                return Affine(*numbers)
    return None


def _on_edges(first: tuple[float, float], step: tuple[float, float], crs: str) -> bool:
    """Whether both coordinates lie where pixels of a Sentinel grid have their edges."""
    size = abs(step[0])
    if not any(abs(size - pixel) < _TOLERANCE for pixel in _PIXELS) or (
        abs(abs(step[1]) - size) > _TOLERANCE or not CRS.from_user_input(crs).is_projected
    ):
        return False
    shares = [(value / size) % 1 for value in first]
    return all(min(share, 1 - share) < _TOLERANCE for share in shares)
