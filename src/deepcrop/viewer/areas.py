"""Find the pixels of a field, or of a polygon that a user draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import Transformer
from rasterio.features import shapes

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.mapping.parcels import Parcels, read_parcels

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

MOST_PIXELS = 1_000_000
"""Maximum number of pixels in the window around an area: 100 square kilometres."""

MOST_CORNERS = 500
"""Maximum number of corners of a drawn polygon."""


@dataclass(frozen=True)
class Area:
    """Pixels of a map that are summarised together.

    Attributes
    ----------
    name : str
        ``"field 12"`` or ``"drawn area"``.
    rows, cols : slice
        Window of the map that holds them.
    inside : ndarray of bool
        Which pixels of the window belong to the area.
    """

    name: str
    rows: slice
    cols: slice
    inside: NDArray[np.bool_]


class Fields:
    """Fields of a map: its parcels, else those that the cube numbers.

    Parameters
    ----------
    path : Path
        Directory of the map; ``fields.parquet`` in it holds the outlines of its parcels.
    box : GeoBox
        Grid of the map.
    numbers : DataArray or None
        ``field_id`` of the cube, 0 where there is no field.
    """

    def __init__(self, path: Path, box: GeoBox, numbers: xr.DataArray | None):
        self._path = path / "fields.parquet"
        self._box = box
        self._numbers = numbers

    @property
    def known(self) -> bool:
        """Whether the map has any fields."""
        return self._numbers is not None or self._path.is_file()

    @cached_property
    def _parcels(self) -> tuple[Parcels, shapely.STRtree] | None:
        if not self._path.is_file():
            return None
        parcels = read_parcels(self._path, self._box)
        return parcels, shapely.STRtree(parcels.shapes)

    def at(self, row: int, col: int) -> Area:
        """Return the field that a pixel belongs to; of parcels that overlap the smallest.

        Raises
        ------
        DeepCropError
            If the pixel belongs to none, or the field is too large.
        """
        found = self._parcel(row, col) if self._parcels else self._numbered(row, col)
        if found is None:
            raise DeepCropError(
                "There is no field here: the map has no parcel and the cube no field_id at this "
                "place. Draw an area instead."
            )
        return found

    def _parcel(self, row: int, col: int) -> Area | None:
        assert self._parcels is not None
        parcels, tree = self._parcels
        x, y = self._box.affine * (col + 0.5, row + 0.5)
        holding = tree.query(shapely.Point(x, y), predicate="intersects")
        if not holding.size:
            return None
        k = int(holding[shapely.area(parcels.shapes[holding]).argmin()])
        number = parcels.columns["field"][k].as_py() if "field" in parcels.columns else k + 1
        return _area(f"field {number}", parcels.shapes[k], self._box)

    def _numbered(self, row: int, col: int) -> Area | None:
        """Read a window that grows until the field does not touch its border."""
        if self._numbers is None or (number := int(self._numbers[row, col])) == 0:
            return None
        around = 64
        while True:
            window = [
                slice(max(at - around, 0), min(at + around + 1, length))
                for at, length in zip((row, col), self._box.shape, strict=True)
            ]
            rows, cols = window
            _check_size(rows, cols)
            inside = self._numbers[rows, cols].values == number
            seen_rows, seen_cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            ends = (
                (seen_rows[0] == 0 and rows.start > 0)
                or (seen_cols[0] == 0 and cols.start > 0)
                or (seen_rows[-1] == inside.shape[0] - 1 and rows.stop < self._box.shape[0])
                or (seen_cols[-1] == inside.shape[1] - 1 and cols.stop < self._box.shape[1])
            )
            if not ends:
                break
            around *= 2
        part_rows = slice(int(seen_rows[0]), int(seen_rows[-1]) + 1)
        part_cols = slice(int(seen_cols[0]), int(seen_cols[-1]) + 1)
        return Area(
            f"field {number}",
            slice(rows.start + part_rows.start, rows.start + part_rows.stop),
            slice(cols.start + part_cols.start, cols.start + part_cols.stop),
            inside[part_rows, part_cols],
        )


def drawn_area(text: str, box: GeoBox) -> Area:
    """Return the area of a drawn polygon.

    Parameters
    ----------
    text : str
        Its corners, ``longitude,latitude`` in degrees, with ``;`` between them.
    box : GeoBox
        Grid of the map.

    Raises
    ------
    DeepCropError
        If the text is no polygon, or the polygon crosses itself, lies outside the map, holds no
        pixel or too many.
    """
    corners = [part.split(",") for part in text.split(";")]
    if len(corners) > MOST_CORNERS:
        raise DeepCropError(
            f"The polygon has {len(corners)} corners; expected at most {MOST_CORNERS}."
        )
    try:
        places = np.array([[float(lon), float(lat)] for lon, lat in corners])
    except ValueError:
        raise DeepCropError(
            f"'{text[:40]}' is no polygon; expected longitude,latitude of each corner in degrees, "
            "with semicolons between them."
        ) from None
    # Longitudes go on beyond 180 degrees on a map over the date line.
    if not (np.abs(places) <= (540, 90)).all():
        raise DeepCropError(
            "A corner of the polygon has no place on the earth; expected degrees of longitude and "
            "latitude."
        )
    to_map = Transformer.from_crs("EPSG:4326", str(box.crs), always_xy=True)
    x, y = to_map.transform(*places.T)
    if len(places) < 3 or not np.isfinite([x, y]).all():
        raise DeepCropError(
            "The polygon cannot be drawn on the map; expected three corners or more, near the map."
        )
    shape = shapely.Polygon(np.stack([x, y], axis=-1))
    if not shape.is_valid:
        raise DeepCropError("The outline of the area crosses itself; draw it again.")
    return _area("drawn area", shape, box)


def _area(name: str, shape: Any, box: GeoBox) -> Area:
    """Return the pixels of a map whose centre lies in a shape."""
    left, bottom, right, top = shape.bounds
    (first_col, first_row), (last_col, last_row) = (
        ~box.affine * corner for corner in ((left, top), (right, bottom))
    )
    rows = slice(max(math.floor(first_row), 0), min(math.ceil(last_row), box.shape[0]))
    cols = slice(max(math.floor(first_col), 0), min(math.ceil(last_col), box.shape[1]))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        raise DeepCropError("This area is outside the map.")
    _check_size(rows, cols)
    inside = Parcels(np.array([shape], object), {}).inside(box, rows, cols)
    if not inside.any():
        raise DeepCropError(
            "No pixel of the map has its centre in this area; draw a larger one, within the map."
        )
    return Area(name, rows, cols, inside)


def _check_size(rows: slice, cols: slice) -> None:
    pixels = (rows.stop - rows.start) * (cols.stop - cols.start)
    if pixels > MOST_PIXELS:
        raise DeepCropError(
            f"This area spans {pixels:,} pixels of the map; the viewer summarises at most "
            f"{MOST_PIXELS:,}. Draw a smaller one, or map with --fields or --parcels, which write "
            "the dates of fields of any size."
        )


def outline(area: Area, box: GeoBox) -> list[list[list[tuple[float, float]]]]:
    """Return the outline of an area along its pixels: polygons of rings, map coordinates."""
    affine = grid.crop(box, (area.rows, area.cols)).affine
    return [
        shape["coordinates"]
        for shape, _ in shapes(area.inside.astype(np.uint8), area.inside, transform=affine)
    ]
