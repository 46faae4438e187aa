"""Season dates at points: a CSV of places in, a table of dates out.

The dates come from a finished map, or from an observation cube by the curve, which is then computed
at the points only and has the numbers of a map.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from pyproj import Transformer
from rasterio.windows import Window

from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube.contract import is_simulated
from deepcrop.errors import DeepCropError
from deepcrop.mapping.curve import CurveMethod
from deepcrop.mapping.inputs import InputCube
from deepcrop.mapping.options import with_until
from deepcrop.mapping.status import UNKNOWN_WIDTH
from deepcrop.phenology import extract
from deepcrop.phenology.date_kernels import FOUND, REASONS
from deepcrop.products import layers
from deepcrop.products.results import open_result
from deepcrop.storage.files import write_csv
from deepcrop.storage.staging import refuse_missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.products.results import Result

COLUMNS = (
    "method", "season", "stage", "date", "low", "high", "probability", "status", "reason", "flags",
)  # fmt: skip
"""What is added to the columns of the points."""

OUTSIDE = "outside the map"
"""Reason of a point without dates that lies beyond the edge of the map."""

_PAIRS = ((("lon", "longitude", "long"), ("lat", "latitude")), (("x",), ("y",)))
"""Names of columns with coordinates: degrees, then those of the map's reference system."""


@dataclass(frozen=True)
class Points:
    """A table of places.

    Attributes
    ----------
    path : Path
        File that it was read from.
    header : tuple of str
        Names of its columns.
    rows : list of list of str
        Its cells.
    x, y : ndarray of float (n,)
        Coordinates.
    degrees : bool
        Whether they are longitude and latitude (WGS 84), or in the reference system of the map.
    """

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    degrees: bool


@dataclass(frozen=True)
class _Found:
    """What one method says of n points inside the map, as a map stores it.

    Attributes
    ----------
    values : dict
        By stage, season and part ("" is the date itself): numbers (n,).
    flags : ndarray of int (n,)
        Bits of ``qflag``.
    reasons : dict
        By stage and season: code of `deepcrop.phenology.date_kernels.REASONS` (n,); empty of a map,
        which does not store them.
    """

    values: dict[tuple[str, int, str], NDArray[Any]]
    flags: NDArray[np.integer]
    reasons: dict[tuple[str, int], NDArray[np.uint8]]


def points_table(region: str | Path, points: str | Path, year: int | None = None) -> pd.DataFrame:
    """Table the season dates at points.

    Parameters
    ----------
    region : str or Path
        Directory made by ``deepcrop map``, or an observation cube, whose dates are then computed by
        the curve.
    points : str or Path
        CSV with columns ``lon`` and ``lat`` (degrees, WGS 84) or ``x`` and ``y`` (in the reference
        system of the map), and any others, which are kept. If there are both pairs, the degrees
        count.
    year : int, optional
        Target year, of a cube only.

    Returns
    -------
    DataFrame
        The columns of the points and `COLUMNS`: of each point a row for each method and stage of
        the main season, and of each further season that has a date. ``low`` and ``high`` are the
        ends of the 90 % interval, ``probability`` is in percent (network), ``status`` says of a map
        in season whether a date is observed, forecast or not yet known, ``reason`` why it is
        missing. A point outside the map has one row, which says so. ``attrs`` holds
        ``simulated``, and ``outside``, the number of points outside the map.

    Raises
    ------
    DeepCropError
        If a file cannot be read or lacks the columns, a coordinate is no number, all points lie
        outside the map, or the year is missing (cube) or another (map).

    Examples
    --------
    >>> import pandas as pd
    >>> places = pd.DataFrame({"name": ["oak field"], "lon": [-93.6], "lat": [41.6]})
    >>> places.to_csv("points.csv", index=False)
    >>> table = points_table("region.zarr", "points.csv", year=2018)
    >>> table[["name", "stage"]].values.tolist()[0]
    ['oak field', 'sos20']
    """
    region, places = Path(region), read_points(Path(points))
    refuse_missing(region, "a directory made by 'deepcrop map', or an observation cube")
    if region.is_dir() and (
        list(region.glob("item.json")) or list(region.glob("[0-9]*/item.json"))
    ):
        result = open_result(region)
        if year is not None and year != result.year:
            raise DeepCropError(
                f"{region} is a map of {result.year}, not of {year}. Give the map of that year, or "
                "a cube."
            )
        rows, cols, inside = _cells(places, result.grid, region)
        found = {method: _of_map(result, method, rows, cols) for method in result.methods}
        year, simulated = result.year, result.simulated
    else:
        cube = InputCube.open(region)
        if year is None:
            raise DeepCropError(f"{region} is a cube, which needs a target year, for example 2018.")
        year = stages.check_year(year)
        rows, cols, inside = _cells(places, cube.box, region)
        found = {"curve": _of_cube(cube, year, rows, cols)}
        simulated = is_simulated(cube.data)
    table = pd.DataFrame(
        list(_rows(places, inside, found, year)), columns=[*places.header, *COLUMNS], dtype=object
    )
    table.attrs = {"simulated": simulated, "outside": int((~inside).sum())}
    return table


def write_points(table: pd.DataFrame, out: Path) -> None:
    """Write a table of `points_table` as CSV; of simulated data its first line says so."""
    rows = table.itertuples(index=False, name=None)
    write_csv(out, list(table.columns), rows, simulated=table.attrs["simulated"])


# Points -------------------------------------------------------------------------------------------


def read_points(path: Path) -> Points:
    """Read a CSV of points; lines that start with ``#`` are comments.

    Raises
    ------
    DeepCropError
        If it cannot be read, has no coordinates, or one that is no number.
    """
    refuse_missing(path, "a CSV of points")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        numbered = [(k, line) for k, line in enumerate(lines, 1) if line and line[0] != "#"]
        table = list(csv.reader((line for _, line in numbered), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeepCropError(
            f"{path} cannot be read as CSV ({error}); save it as comma-separated UTF-8."
        ) from None
    header = tuple(name.strip() for name in table[0]) if table else ()
    x, y, degrees = _coordinate_columns(path, header)
    taken = [name for name in header if name in COLUMNS]
    if taken:
        raise DeepCropError(
            f"{path}: column {', '.join(taken)} has the name of a column of the result; rename it."
        )
    if len(table) == 1:
        raise DeepCropError(f"{path} holds no points, only a heading.")
    coordinates = []
    for (line, _), row in zip(numbered[1:], table[1:], strict=False):
        if len(row) != len(header):
            raise DeepCropError(
                f"{path}, line {line}: {len(row)} cells, but the heading has {len(header)} columns."
            )
        coordinates.append([_number(path, line, header[k], row[k]) for k in (x, y)])
        if degrees and not (abs(coordinates[-1][0]) <= 360 and abs(coordinates[-1][1]) <= 90):
            raise DeepCropError(
                f"{path}, line {line}: longitude {row[x]}, latitude {row[y]} are no degrees; are "
                "they swapped, or of another reference system?"
            )
    places = np.array(coordinates, np.float64)
    return Points(path, header, table[1:], places[:, 0], places[:, 1], degrees)


def _coordinate_columns(path: Path, header: tuple[str, ...]) -> tuple[int, int, bool]:
    """Find the columns of the coordinates, and whether they are degrees."""
    small = [name.lower() for name in header]
    for names, degrees in zip(_PAIRS, (True, False), strict=True):
        places = [[k for k, name in enumerate(small) if name in of_axis] for of_axis in names]
        if all(len(place) == 1 for place in places):
            return places[0][0], places[1][0], degrees
    hint = " (a file with semicolons? save it with commas)" if ";" in "".join(header) else ""
    raise DeepCropError(
        f"{path} has the columns {', '.join(header) or 'none'}{hint}; expected lon and lat "
        "(degrees), or x and y (in the reference system of the map), each once."
    )


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        number = np.nan if "_" in text else float(text)  # Python reads 1_000 as 1000
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise DeepCropError(
            f"{path}, line {line}: {name} is {text!r}; expected a number, for example 38.52."
        )
    return number


def _cells(
    points: Points, box: GeoBox, region: Path
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Cells of the points inside the grid, and which points these are."""
    crs = "EPSG:4326" if points.degrees else str(box.crs)
    row, col = grid.cells_of(box, points.x, points.y, crs)
    inside = (row >= 0) & (row < box.shape[0]) & (col >= 0) & (col < box.shape[1])
    if not inside.any():
        bounds = box.boundingbox.bbox
        if points.degrees:
            back = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
            bounds = back.transform_bounds(*bounds)
        number = "{:.5f}" if points.degrees else "{:.0f}"
        west, south, east, north = (number.format(value) for value in bounds)
        small = not points.degrees and bool((np.abs(points.x) <= 360).all())
        hint = " If they are degrees, name the columns lon and lat." if small else ""
        raise DeepCropError(
            f"{points.path}: none of the {len(points.rows)} points lies in {region}, which spans "
            f"{west} to {east}, {south} to {north}; the first is {points.x[0]:g}, {points.y[0]:g}."
            f"{hint}"
        )
    return row[inside].astype(np.intp), col[inside].astype(np.intp), inside


# Dates --------------------------------------------------------------------------------------------


def _of_map(result: Result, method: str, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> _Found:
    """Read what a map says of some pixels by one method."""
    values = {}
    for kind in ("day", "bound", "percent", "status", "reason"):
        for layer in result.find(method=method, kind=kind):
            key = (str(layer.stage), layer.season or 1, layer.part or "")
            values[key] = _pixels(layer.path, rows, cols)
    (flags,) = result.find(method=method, kind="flags")
    return _Found(values, _pixels(flags.path, rows, cols), {})


def _pixels(path: Path, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return np.array(
            [
                file.read(1, window=Window(col, row, 1, 1))[0, 0]
                for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
            ],
            file.dtypes[0],
        )


def _of_cube(cube: InputCube, year: int, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> _Found:
    """Compute what a map by the curve would say of some pixels, and why dates are missing."""
    (method,) = with_until((CurveMethod(),), cube, year)
    plan = method.plan(cube, year)
    described = [
        layer
        for layer in layers.describe("curve", year, plan.content)
        if layer.kind in ("day", "bound", "status", "reason", "flags")
    ]
    values = {layer.name: np.zeros(rows.size, layer.dtype) for layer in described}
    dated = [(str(layer.stage), layer.season or 1) for layer in described if layer.kind == "day"]
    reasons = {key: np.zeros(rows.size, np.uint8) for key in dated}
    latitude = grid.centre_latitude(cube.box)
    for tile in grid.tiles((cube.box.shape[0], cube.box.shape[1]), contract.CHUNK):
        (top, bottom), (left, right) = ((part.start, part.stop) for part in tile.core)
        here = np.flatnonzero((rows >= top) & (rows < bottom) & (cols >= left) & (cols < right))
        if not here.size:
            continue
        images = plan.load(tile)
        row, col = rows[here] - top, cols[here] - left
        selected = np.zeros(tile.shape, bool)
        selected[row, col] = True
        found = plan.run(images, tile.inside, selected)[0]
        for name, kept in values.items():
            kept[here] = found[name][row, col]
        series = images["optical"].data.isel(
            y=xr.DataArray(row, dims="point"), x=xr.DataArray(col, dims="point")
        )
        why = extract(series, year=year, latitude=latitude, year_start=plan.content.year_start)[
            "reason"
        ]
        for stage, season in dated:
            reasons[stage, season][here] = why.sel(stage=stage, season=season).values
    keyed = {
        (str(layer.stage), layer.season or 1, layer.part or ""): values[layer.name]
        for layer in described
        if layer.kind != "flags"
    }
    return _Found(keyed, values["qflag"], reasons)


# Rows ---------------------------------------------------------------------------------------------


def _rows(
    points: Points, inside: NDArray[np.bool_], found: dict[str, _Found], year: int
) -> Iterator[list[Any]]:
    """Rows of the result, point by point."""
    place = np.cumsum(inside) - 1  # of a point among those inside
    for k, cells in enumerate(points.rows):
        if not inside[k]:
            yield [*cells, *([None] * 8), OUTSIDE, None]
            continue
        for method, dates in found.items():
            for row in _dates(dates, int(place[k]), year):
                yield [*cells, method, *row]


def _dates(found: _Found, k: int, year: int) -> Iterator[tuple[Any, ...]]:
    """Dates of one point: all stages of the main season, and of further ones that have a date."""
    flags = int(found.flags[k])
    words = "; ".join(text for bit, text in layers.FLAGS.items() if flags & bit) or None
    seasons: dict[int, list[str]] = {}
    for stage, season, part in found.values:
        if not part:
            seasons.setdefault(season, []).append(stage)
    for season, names in sorted(seasons.items()):
        days = [int(found.values[stage, season, ""][k]) for stage in names]
        if season > 1 and all(day == stages.NO_DAY for day in days):
            continue
        for stage, day in zip(names, days, strict=True):
            ends = (found.values.get((stage, season, part)) for part in ("low", "high"))
            low, high = (None if end is None else _date(int(end[k]), year) for end in ends)
            percent = found.values.get((stage, season, "probability"))
            chance = None if percent is None else int(percent[k])
            missing = day == stages.NO_DAY
            known = None if chance == layers.NO_PERCENT else chance
            code = found.values.get((stage, season, "status"))
            status = None if code is None else layers.STATUS.get(int(code[k]))
            reason = _reason(found, stage, season, k, flags, chance) if missing else None
            yield season, stage, _date(day, year), low, high, known, status, reason, words


def _date(day: int, year: int) -> str | None:
    return None if day == stages.NO_DAY else str(stages.to_dates(day, year))


def _reason(found: _Found, stage: str, season: int, k: int, flags: int, chance: int | None) -> str:
    """Say why a date is missing."""
    # Flags that concern the whole pixel come first, then what the method knows of the date.
    for bit in (layers.LEFT_OUT, layers.UNSEEN):
        if flags & bit:
            return layers.FLAGS[bit]
    codes = found.values.get((stage, season, "reason"), found.reasons.get((stage, season)))
    if codes is not None:
        code = int(codes[k])
        # The curve has a date, and only the map cannot hold it.
        return layers.FLAGS[layers.BEYOND] if code == FOUND else REASONS[code]
    if chance is not None:
        known = chance != layers.NO_PERCENT
        if known and chance > 50:
            return f"not yet known: an interval of {UNKNOWN_WIDTH} days or more"
        return "probability below 50 %" if known else "not given by these weights"
    if season == 1 and flags & layers.NO_SEASON:
        for bit in (layers.TOO_LONG, layers.BEYOND, layers.UNDATED):
            if flags & bit:
                return layers.FLAGS[bit]
        return "no season"
    return "not stored in a map; the points of the cube have it"
