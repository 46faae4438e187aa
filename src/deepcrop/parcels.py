"""Where to map, and fields: masks, parcels, and what a map says of each field."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.features import rasterize, shapes
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from deepcrop import __version__, grid
from deepcrop.cogs import crs_name, windows
from deepcrop.errors import DeepCropError
from deepcrop.layers import Layer, describe
from deepcrop.stages import to_dates
from deepcrop.summaries import crop_names, weighted_quantile

_NEEDS = "Parcels and fields need 'pip install deepcrop[parcels]'"


@dataclass(frozen=True)
class Parcels:
    """Fields of a farm or a country, numbered from 1 in their order.

    Attributes
    ----------
    shapes : ndarray of shapely geometries (parcels,)
        Polygons in the reference system of the map.
    columns : dict of str to list
        What their file says of each.
    """

    shapes: NDArray[np.object_]
    columns: dict[str, list[Any]]

    def numbers(self, box: GeoBox, rows: slice, cols: slice) -> NDArray[np.uint32]:
        """Give each pixel of a window the number of the parcel that holds its centre; 0: none."""
        part = grid.crop(box, (rows, cols))
        inside = np.sort(self._tree.query(shapely.box(*part.boundingbox.bbox)))
        if not inside.size:
            return np.zeros(part.shape, np.uint32)
        pairs = [(self.shapes[k], int(k) + 1) for k in inside]
        return rasterize(pairs, part.shape, 0, transform=part.affine, dtype="uint32")

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)


def check_installed() -> None:
    """Raise `DeepCropError` unless what reads and writes parcels is installed."""
    try:
        import pyarrow  # noqa: F401
        import pyogrio  # noqa: F401
    except ImportError as error:
        raise DeepCropError(f"{_NEEDS} ({error}).") from None


def read_parcels(path: Path, box: GeoBox) -> Parcels:
    """Read polygons: GeoPackage, GeoJSON, Shapefile and what else GDAL reads, or GeoParquet.

    How many shapes are no polygon that meets the grid, and so left aside, is said on stderr.

    Raises
    ------
    DeepCropError
        If the file is missing or cannot be read, holds no polygons or none within the grid, or
        does not say its reference system.
    """
    check_installed()
    if not path.exists():
        raise DeepCropError(f"Parcels {path} do not exist.")
    try:
        read = _read_parquet if path.suffix in (".parquet", ".geoparquet") else _read_vector
        crs, geometry, columns = read(path)
    except DeepCropError:
        raise
    except Exception as error:  # readers raise what they like
        raise DeepCropError(f"{path} cannot be read as parcels: {error}") from error
    if crs is None:
        raise DeepCropError(f"{path} does not say its reference system; export it with one.")
    to_grid = Transformer.from_crs(crs, crs_name(box), always_xy=True)
    geometry = shapely.transform(geometry, lambda xy: np.stack(to_grid.transform(*xy.T), 1))
    area = np.isin(shapely.get_type_id(geometry), (3, 6))  # polygons, one or many
    here = area & shapely.intersects(geometry, shapely.box(*box.boundingbox.bbox))
    if not here.any():
        raise DeepCropError(
            f"{path}: none of its {len(geometry)} shapes is a polygon within the map "
            f"({tuple(box.boundingbox.bbox)} in {crs_name(box)})."
        )
    if not here.all():
        aside = len(here) - int(here.sum())
        print(
            f"{path}: {aside} of {len(here)} shapes are no polygons within the map.",
            file=sys.stderr,
        )
    return Parcels(
        geometry[here],
        {name: [v for v, is_ in zip(values, here, strict=True) if is_] for name, values in columns},
    )


def _read_vector(path: Path) -> tuple[Any, NDArray, list[tuple[str, list[Any]]]]:
    from pyogrio.raw import read

    about, _, geometry, values = read(path)
    columns = [(str(n), v.tolist()) for n, v in zip(about["fields"], values, strict=True)]
    return about["crs"], shapely.from_wkb(geometry), columns


def _read_parquet(path: Path) -> tuple[Any, NDArray, list[tuple[str, list[Any]]]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    about = json.loads((table.schema.metadata or {}).get(b"geo", b"null"))
    if about is None:
        raise DeepCropError(f"{path} is no GeoParquet: it has no 'geo' metadata.")
    name = about["primary_column"]
    crs = about["columns"][name].get("crs", "OGC:CRS84")
    geometry = shapely.from_wkb(table[name].to_numpy(zero_copy_only=False))
    others = [n for n in table.column_names if n not in about["columns"]]
    return CRS.from_user_input(crs), geometry, [(n, table[n].to_pylist()) for n in others]


def read_mask(path: Path, box: GeoBox) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Give each window of a grid with the pixels to map: where a raster has data that is not 0.

    The raster may have any grid; each pixel takes the nearest value.

    Raises
    ------
    DeepCropError
        If the raster cannot be read or has no reference system.
    """
    try:
        with (
            rasterio.open(path) as raster,
            WarpedVRT(
                raster,
                crs=crs_name(box),
                transform=box.affine,
                height=box.shape[0],
                width=box.shape[1],
                add_alpha=raster.nodata is None,
            ) as warped,
        ):
            for rows, cols in windows(box):
                window = Window.from_slices(rows, cols)
                there = warped.dataset_mask(window=window) > 0
                yield (rows, cols), there & (warped.read(1, window=window) != 0)
    except (rasterio.errors.RasterioError, rasterio.errors.CRSError) as error:
        raise DeepCropError(f"Mask {path} cannot be read: {error}") from error


# What a map says of each field -------------------------------------------------------------------


def field_table(
    maps: Mapping[str, xr.Dataset],
    numbers: xr.DataArray,
    year: int,
    crop_type: xr.DataArray | None = None,
    fields: NDArray[np.integer] | None = None,
) -> dict[str, list[Any]]:
    """Dates of each field: median, spread and share detected, column by column.

    Parameters
    ----------
    maps : mapping of str to Dataset
        Layers by method, as of `deepcrop.products.write_products`.
    numbers : DataArray of uint32 (y, x)
        Field of each pixel, 0 = none.
    year : int
        Target year.
    crop_type : DataArray, optional
        For the commonest crop of a field.
    fields : ndarray of int, optional
        Numbers to give a row, in order, with pixels or without. By default those with pixels.

    Returns
    -------
    dict of str to list
        ``field`` (its number), ``pixels``, maybe ``crop``; for each date ``X_median`` (day number),
        ``X_date``, ``X_spread`` (days between its quartiles) and ``X_share`` (of the pixels that
        have the date), for a difference median, spread and share. Of a map by several methods
        names begin with the method.
    """
    box = grid.grid_of(numbers)
    jobs = [
        ("" if len(maps) == 1 else f"{method}_", data[layer.name], layer)
        for method, data in maps.items()
        for layer in describe(method, year)
        if layer.kind in ("day", "difference")
    ]
    if crop_type is not None:
        jobs.append(("", crop_type, _CROPS))
    counted: list[list[tuple[NDArray, NDArray]]] = [[] for _ in jobs]
    for rows, cols in windows(box):
        field = numbers[rows, cols].values.astype(np.int64)
        inside = field > 0
        if inside.any():
            for kept, (_, array, _) in zip(counted, jobs, strict=True):
                values = array[rows, cols].values[inside].astype(np.int64) + _SHIFT
                kept.append(np.unique(field[inside] * _ROOM + values, return_counts=True))
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
        table |= _columns(prefix + layer.name, layer, each, year)
    return table


_SHIFT, _ROOM = 1024, 1 << 17
"""Added to values so that none is negative; larger than any value then is."""
_CROPS = Layer("crop", "", "", np.dtype(np.uint16), 0, "class")
"""Stands for the crop types among the layers that are counted."""


def _split(
    parts: list[tuple[NDArray, NDArray]], fields: NDArray
) -> Iterator[tuple[NDArray, NDArray]]:
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
    name: str, layer: Layer, each: list[tuple[NDArray, NDArray]], year: int
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
    columns: dict[str, list[Any]] = {f"{name}_median": median}
    if layer.kind == "day":
        columns[f"{name}_date"] = [None if m is None else str(to_dates(m, year)) for m in median]
    return columns | {f"{name}_spread": spread, f"{name}_share": share}


def field_shapes(numbers: xr.DataArray, fields: list[int]) -> NDArray[np.object_]:
    """Outline of fields along the edges of their pixels, in the reference system of the map.

    Reads the whole grid, four bytes a pixel.
    """
    box = grid.grid_of(numbers)
    values = numbers.values.astype(np.int32)
    parts: dict[int, list[Any]] = {field: [] for field in fields}
    for shape, number in shapes(values, np.isin(values, fields), transform=box.affine):
        parts[int(number)].append(shapely.geometry.shape(shape))
    return np.array([shapely.union_all(parts[field]) for field in fields], object)


def write_fields(
    out: Path,
    table: dict[str, list[Any]],
    geometry: NDArray[np.object_],
    box: GeoBox,
    about: str,
    simulated: bool,
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
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (out / "fields.csv").open("w", newline="", encoding="utf-8") as file:
        if simulated:
            file.write("# SIMULATED DATA\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    columns = {name: pa.array(values) for name, values in table.items()}
    columns["geometry"] = pa.array(shapely.to_wkb(geometry).tolist(), pa.binary())
    column = {
        "encoding": "WKB",
        "geometry_types": sorted({one.geom_type for one in geometry}),
        "crs": CRS.from_user_input(crs_name(box)).to_json_dict(),
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    told = {
        "geo": json.dumps(geo),
        "title": about,
        "simulated": str(simulated),
        "software": f"deepcrop {__version__}",
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(told), out / "fields.parquet")
