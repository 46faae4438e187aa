"""Dates of each field, as CSV and GeoParquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import shapes

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.products.cog import crs_name, windows
from deepcrop.products.histograms import crop_names, weighted_quantile
from deepcrop.products.layers import FORECAST, OBSERVED, STATUS, USUAL, Content, Layer, describe
from deepcrop.stages import to_dates
from deepcrop.storage.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    import xarray as xr
    from odc.geo.geobox import GeoBox


FieldPixels = Callable[[slice, slice], tuple[NDArray[np.intp], NDArray[np.int64]]]
"""From a window to its pixels that lie in a field (counted row by row), and the field of each.

A pixel that several fields hold occurs once for each of them."""


def field_table(
    maps: Mapping[str, xr.Dataset],
    pixels: FieldPixels,
    box: GeoBox,
    year: int,
    crop_type: xr.DataArray | None = None,
    fields: NDArray[np.integer] | None = None,
    content: Content = USUAL,
) -> dict[str, list[Any]]:
    """Dates of each field: median, spread and share detected, column by column.

    Parameters
    ----------
    maps : mapping of str to Dataset
        Layers by method, as of `deepcrop.products.write.write_products`.
    pixels : callable
        From rows and columns of a window to the pixels of its fields, see `FieldPixels`.
    box : GeoBox
        Grid of the map.
    year : int
        Target year.
    crop_type : DataArray, optional
        For the commonest crop of a field.
    fields : ndarray of int, optional
        Numbers to give a row, in order, with pixels or without. By default those with pixels.
    content : Content
        What layers the map has.

    Returns
    -------
    dict of str to list
        ``field`` (its number), ``pixels``, maybe ``crop``; for each date ``X_median`` (day number),
        ``X_date``, ``X_spread`` (days between its quartiles) and ``X_share`` (of the pixels that
        have the date), for a difference or a measure median, spread and share. Of a map in season
        also ``X_observed`` and ``X_forecast``: shares of the pixels. Of a map by several methods
        names begin with the method.
    """
    jobs = [
        ("" if len(maps) == 1 else f"{method}_", data[layer.name], layer)
        for method, data in maps.items()
        for layer in describe(method, year, content)
        if layer.kind in ("day", "status", "difference", "measure")
    ]
    if crop_type is not None:
        jobs.append(("", crop_type, _CROPS))
    counted: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in jobs]
    for rows, cols in windows(box):
        places, field = pixels(rows, cols)
        if places.size:
            for kept, (_, array, _) in zip(counted, jobs, strict=True):
                values = array[rows, cols].values.ravel()[places].astype(np.int64) + _SHIFT
                kept.append(np.unique(field * _ROOM + values, return_counts=True))
    nothing = np.zeros(0, np.int64)
    if fields is None:
        fields = np.unique(np.concatenate([nothing, *(keys // _ROOM for keys, _ in counted[0])]))
    table: dict[str, list[Any]] = {"field": fields.astype(int).tolist()}
    for (prefix, array, layer), parts in zip(jobs, counted, strict=True):
        each = list(_split(parts, fields))
        if layer is _CROPS:
            names = crop_names(array)
            commonest = [int(v[counts.argmax()]) if v.size else 0 for v, counts in each]
            table["crop"] = [
                names.get(code, f"code {code}") if code else None for code in commonest
            ]
            continue
        table.setdefault("pixels", [int(counts.sum()) for _, counts in each])
        if layer.kind == "status":
            table |= _status_columns(prefix + layer.name.removesuffix("_status"), each)
        else:
            table |= _columns(prefix + layer.name, layer, each, year)
    return table


_SHIFT, _ROOM = 1 << 15, 1 << 17
"""Added to values so that none is negative; larger than any value then is."""
_CROPS = Layer("crop", "", "", np.dtype(np.uint16), 0, "class")
"""Stands for the crop types among the layers that are counted."""


def _split(
    parts: list[tuple[NDArray[Any], NDArray[Any]]], fields: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Values and how often each occurs, field by field."""
    nothing = np.zeros(0, np.int64)
    keys = np.concatenate([nothing, *(keys for keys, _ in parts)])
    counts = np.concatenate([nothing, *(counts for _, counts in parts)])
    keys, place = np.unique(keys, return_inverse=True)  # a field may lie in several windows
    counts = np.bincount(place, counts, keys.size).astype(np.int64)
    of = keys // _ROOM
    edges = (np.searchsorted(of, fields, side).tolist() for side in ("left", "right"))
    for first, last in zip(*edges, strict=True):
        yield keys[first:last] % _ROOM - _SHIFT, counts[first:last]


def _columns(
    name: str, layer: Layer, each: list[tuple[NDArray[Any], NDArray[Any]]], year: int
) -> dict[str, list[Any]]:
    median, spread, share = [], [], []
    for values, counts in each:
        known = values != layer.nodata
        low, middle, high = (
            weighted_quantile(values[known], counts[known], q) for q in (0.25, 0.5, 0.75)
        )
        median.append(middle)
        spread.append(None if low is None or high is None else high - low)
        pixels = int(counts.sum())
        share.append(round(int(counts[known].sum()) / pixels, 4) if pixels else None)
    if layer.kind == "measure":
        median, spread = (
            [None if number is None else round(number * layer.scale, 6) for number in numbers]
            for numbers in (median, spread)
        )
    columns: dict[str, list[Any]] = {f"{name}_median": median}
    if layer.kind == "day":
        columns[f"{name}_date"] = [None if m is None else str(to_dates(m, year)) for m in median]
    return columns | {f"{name}_spread": spread, f"{name}_share": share}


def _status_columns(
    name: str, each: list[tuple[NDArray[Any], NDArray[Any]]]
) -> dict[str, list[Any]]:
    """Shares of the pixels of each field whose date is observed, and forecast."""
    return {
        f"{name}_{STATUS[code]}": [
            round(int(counts[values == code].sum()) / int(counts.sum()), 4) if counts.size else None
            for values, counts in each
        ]
        for code in (OBSERVED, FORECAST)
    }


def field_shapes(numbers: xr.DataArray, fields: list[int]) -> NDArray[np.object_]:
    """Outline of fields along the edges of their pixels, in the reference system of the map.

    Reads the whole grid, four bytes a pixel. ``fields`` are numbers that rise.
    """
    box = grid.grid_of(numbers)
    # Positions in the list, since rasterio takes no numbers larger than int32.
    values = numbers.values
    place = np.searchsorted(fields, values).clip(max=max(len(fields) - 1, 0)).astype(np.int32)
    parts: list[list[Any]] = [[] for _ in fields]
    for shape, k in shapes(place, np.isin(values, fields), transform=box.affine):
        parts[int(k)].append(shapely.geometry.shape(shape))
    return np.array([shapely.union_all(part) for part in parts], object)


def write_fields(
    out: Path,
    table: dict[str, list[Any]],
    geometry: NDArray[np.object_],
    box: GeoBox,
    about: str,
    simulated: bool,
    attributes: Mapping[str, pa.Array] | None = None,
) -> None:
    """Write ``fields.csv``, and with the outlines ``fields.parquet`` (GeoParquet 1.1).

    Parameters
    ----------
    out : Path
        An existing directory.
    table : dict of str to list
        From `field_table`.
    geometry : ndarray of shapely geometries (fields,)
    box : GeoBox
        Grid of the map, whose reference system the outlines are in.
    about : str
        Name of the map.
    simulated : bool
        Whether the observations were simulated; the files then say so.
    attributes : mapping of str to arrow arrays, optional
        Further columns, kept in their types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    attributes = attributes or {}
    further = [values.to_pylist() for values in attributes.values()]
    rows = zip(*table.values(), *further, strict=True)
    write_csv(out / "fields.csv", [*table, *attributes], rows, simulated=simulated)
    columns = {name: pa.array(values) for name, values in table.items()} | dict(attributes)
    columns["geometry"] = pa.array(shapely.to_wkb(geometry).tolist(), pa.binary())
    column = {
        "encoding": "WKB",
        "geometry_types": sorted({one.geom_type for one in geometry}),
        "crs": CRS.from_user_input(crs_name(box)).to_json_dict(),
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    metadata = {
        "geo": json.dumps(geo),
        "title": about,
        "simulated": str(simulated),
        "software": f"deepcrop {__version__}",
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), out / "fields.parquet")
