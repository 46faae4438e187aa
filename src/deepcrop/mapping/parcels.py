"""Read parcels, polygons, onto the grid of a map."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.products.cog import crs_name

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)

_NEEDS = "Parcels and fields need 'pip install deepcrop[parcels]'"


@dataclass(frozen=True)
class Parcels:
    """Fields of a farm or a country, numbered from 1 in their order.

    Attributes
    ----------
    shapes : ndarray of shapely geometries (parcels,)
        Polygons in the reference system of the map.
    columns : dict of str to arrow arrays
        What their file says of each.
    """

    shapes: NDArray[np.object_]
    columns: dict[str, pa.ChunkedArray]

    def inside(self, box: GeoBox, rows: slice, cols: slice) -> NDArray[np.bool_]:
        """Find the pixels of a window whose centre lies in a parcel."""
        part = grid.crop(box, (rows, cols))
        return _draw([(self.shapes[k], 1) for k in self._touching(part)], part) > 0

    def pixels(
        self, box: GeoBox, rows: slice, cols: slice
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """List the pixels of the parcels of a window, those whose centre a parcel holds.

        Returns
        -------
        places : ndarray of int
            Pixels, counted through the window row by row; a pixel that several parcels hold occurs
            once for each of them.
        numbers : ndarray of int
            Number of the parcel of each.
        """
        part = grid.crop(box, (rows, cols))
        touching = self._touching(part)
        number = _draw([(self.shapes[k], k + 1) for k in touching], part)
        holders = _draw([(self.shapes[k], 1) for k in touching], part, MergeAlg.add)
        alone = np.flatnonzero(holders == 1)
        places, numbers = [alone], [number.ravel()[alone].astype(np.int64)]
        shared = holders > 1
        # Where parcels overlap, one drawing shows only the last: draw these one by one.
        for k in touching if shared.any() else []:
            window = _window_of(self.shapes[k], part)
            if not shared[window].any():
                continue
            own = _draw([(self.shapes[k], 1)], grid.crop(part, window)) > 0
            row, col = np.nonzero(own & shared[window])
            places.append((row + window[0].start) * part.shape[1] + col + window[1].start)
            numbers.append(np.full(row.size, k + 1, np.int64))
        return np.concatenate(places), np.concatenate(numbers)

    def _touching(self, part: GeoBox) -> list[int]:
        """List the parcels whose bounds meet those of a window, in their order."""
        found = self._tree.query(shapely.box(*part.boundingbox.bbox))
        return [int(k) for k in np.sort(found)]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)


def _draw(
    pairs: list[tuple[Any, int]], part: GeoBox, merge: MergeAlg = MergeAlg.replace
) -> NDArray[np.uint32]:
    """Draw polygons with their numbers where they hold the centre of a pixel; 0 elsewhere."""
    if not pairs:
        return np.zeros(part.shape, np.uint32)
    drawn: NDArray[np.uint32] = rasterize(
        pairs, part.shape, 0, transform=part.affine, dtype="uint32", merge_alg=merge
    )
    return drawn


def _window_of(shape: Any, part: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a grid that the bounds of a shape touch."""
    a, _, c, _, e, f = part.affine[:6]
    left, bottom, right, top = shape.bounds
    rows, cols = part.shape
    # One pixel more on each side, so that rounding cuts none off.
    return (
        slice(max(math.floor((top - f) / e) - 1, 0), min(math.ceil((bottom - f) / e) + 1, rows)),
        slice(max(math.floor((left - c) / a) - 1, 0), min(math.ceil((right - c) / a) + 1, cols)),
    )


def check_installed() -> None:
    """Raise `DeepCropError` unless what reads and writes parcels is installed."""
    try:
        import pyarrow  # noqa: F401
        import pyogrio  # noqa: F401
    except ImportError as error:
        raise DeepCropError(f"{_NEEDS} ({error}).") from None


def read_parcels(path: Path, box: GeoBox, layer: str | None = None) -> Parcels:
    """Read polygons: GeoPackage, GeoJSON, Shapefile and what else GDAL reads, or GeoParquet.

    Shapes that are not polygons or lie off the grid are skipped, and polygons whose outline crosses
    itself are repaired; warnings count them.

    Parameters
    ----------
    path : Path
    box : GeoBox
        Grid of the map.
    layer : str, optional
        Layer of the file; needed if several hold polygons.

    Raises
    ------
    DeepCropError
        If the file is missing or cannot be read, holds no polygons or none within the grid, does
        not state its reference system, or the layer is unknown or must be chosen.
    """
    check_installed()
    if not path.exists():
        raise DeepCropError(f"Parcels {path} do not exist.")
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            crs, geometry, table = _read_parquet(path, layer)
        else:
            crs, geometry, table = _read_vector(path, layer)
        table.validate(full=True)  # text that is no UTF-8
    except DeepCropError:
        raise
    except Exception as error:  # readers raise what they like
        raise DeepCropError(f"{path} cannot be read as parcels: {error}") from error
    if crs is None:
        raise DeepCropError(
            f"{path} does not state its reference system, so it is unknown where its parcels lie; "
            "export it with one (ogr2ogr -a_srs EPSG:CODE)."
        )
    try:
        to_grid = Transformer.from_crs(crs, crs_name(box), always_xy=True)
    except ProjError:
        raise DeepCropError(
            f"{path}: its reference system '{crs}' cannot be converted to {crs_name(box)} of the "
            "map; export it in another (ogr2ogr -t_srs)."
        ) from None
    geometry = shapely.transform(geometry, lambda xy: np.stack(to_grid.transform(*xy.T), 1))
    shapes, repaired = _clean(geometry)
    here = ~shapely.is_missing(shapes)
    here &= shapely.intersects(shapes, shapely.box(*box.boundingbox.bbox))
    if not here.any():
        raise DeepCropError(
            f"{path}: none of its {len(geometry)} shapes is a polygon within the map "
            f"({tuple(box.boundingbox.bbox)} in {crs_name(box)})."
        )
    if not here.all():
        skipped = len(here) - int(here.sum())
        logger.warning(
            "%s: %d of %d shapes are no polygons within the map.", path, skipped, len(here)
        )
    if (repaired & here).any():
        logger.warning(
            "%s: the outline of %d of %d polygons crosses itself; they were repaired. Look at "
            "them in fields.parquet.", path, int((repaired & here).sum()), int(here.sum())
        )  # fmt: skip
    table = table.filter(here)
    return Parcels(shapes[here], {name: table[name] for name in table.column_names})


def _clean(geometry: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Reduce shapes to valid polygons, None where there are none; and say which were repaired."""
    kinds = shapely.get_type_id(geometry)
    shapes = geometry.copy()
    shapes[~np.isin(kinds, (3, 6))] = None  # 3, 6: polygons, one or many
    repaired = np.zeros(len(shapes), bool)
    finite = _has_place(shapely.bounds(geometry))
    # Few need more than that: collections, and parts that have no place in the map's system.
    for k in np.flatnonzero((kinds == 7) | (np.isin(kinds, (3, 6)) & ~finite)):
        shapes[k] = _polygons_within(geometry[k])
    for k in np.flatnonzero(~shapely.is_missing(shapes) & ~shapely.is_valid(shapes)):
        shapes[k], repaired[k] = _polygons_within(shapely.make_valid(shapes[k])), True
    shapes[shapely.is_empty(shapes)] = None
    return shapes, repaired


def _has_place(bounds: Any) -> Any:
    """Whether bounds lie on the earth, whose circumference is 4e7 m; others cannot be drawn."""
    return (np.abs(bounds) < 1e9).all(axis=-1)


def _polygons_within(shape: Any) -> Any:
    """Collect the polygons of a shape of any kind; None if it has none."""
    parts = [
        part
        for some in shapely.get_parts(shape)
        for part in shapely.get_parts(some)
        if part.geom_type == "Polygon" and not part.is_empty and _has_place(part.bounds)
    ]
    return shapely.MultiPolygon(parts) if parts else None


def _read_vector(path: Path, layer: str | None) -> tuple[Any, NDArray[Any], pa.Table]:
    import pyarrow as pa
    from pyogrio.raw import read, read_arrow

    layer = _choose_layer(path, layer)
    about, _, geometry, values = read(path, layer=layer)
    if geometry is None:
        raise DeepCropError(f"{path} is a table without geometry; expected polygons.")
    columns = dict(zip(map(str, about["fields"]), values, strict=True))
    # Integers with gaps come as floats, which do not hold long numbers of parcels.
    kinds = zip(columns, about["ogr_types"], strict=True)
    whole = [n for n, kind in kinds if kind.startswith("OFTInteger") and columns[n].dtype == float]
    table = pa.table({name: pa.array(v, from_pandas=True) for name, v in columns.items()})
    if whole:
        _, exact = read_arrow(path, layer=layer, columns=whole, read_geometry=False)
        for name in whole:
            table = table.set_column(table.column_names.index(name), name, exact[name])
    return about["crs"], shapely.from_wkb(geometry), table


def _choose_layer(path: Path, layer: str | None) -> str:
    """Choose the layer with the polygons; several are an error that lists them."""
    from pyogrio import list_layers, read_info

    layers = [(str(name), kind) for name, kind in list_layers(path)]
    listed = ", ".join(f"'{name}' ({kind or 'no geometry'})" for name, kind in layers)
    if layer is not None:
        if layer not in dict(layers):
            raise DeepCropError(f"{path} has no layer {layer!r}; it has {listed}.")
        return layer
    if len(layers) == 1:
        return layers[0][0]
    # A layer of unknown type may hold polygons; an empty one does not.
    possible = [
        name
        for name, kind in layers
        if any(word in str(kind) for word in _MAY_BE_POLYGONS)
        and read_info(path, layer=name, force_feature_count=True)["features"] != 0
    ]
    if len(possible) != 1:
        raise DeepCropError(
            f"{path}: {len(possible) or 'none'} of its layers may hold parcels; choose one as "
            f"layer. Its layers are {listed}."
        )
    return possible[0]


_MAY_BE_POLYGONS = ("Polygon", "Surface", "Unknown", "GeometryCollection")
"""Parts of the types of layers that may hold polygons; a table has none."""


def _read_parquet(path: Path, layer: str | None) -> tuple[Any, NDArray[Any], pa.Table]:
    import pyarrow.parquet as pq

    if layer is not None:
        raise DeepCropError(f"{path} is GeoParquet, which has no layers; leave out the layer.")
    table = pq.read_table(path)
    about = json.loads((table.schema.metadata or {}).get(b"geo", b"null"))
    if about is None:
        raise DeepCropError(f"{path} is no GeoParquet: it has no 'geo' metadata.")
    name = about["primary_column"]
    if about["columns"][name].get("encoding", "WKB") != "WKB":
        raise DeepCropError(
            f"{path}: its geometry is encoded as {about['columns'][name]['encoding']!r}; write it "
            "as WKB."
        )
    crs = about["columns"][name].get("crs", "OGC:CRS84")  # null: unknown
    geometry = shapely.from_wkb(table[name].to_numpy(zero_copy_only=False))
    others = [n for n in table.column_names if n not in about["columns"]]
    known = None if crs is None else CRS.from_user_input(crs)
    return known, geometry, table.select(others)
