"""Read parcels (polygons) and masks (rasters) onto the grid of a map."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.products.cog import crs_name, windows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        numbers: NDArray[np.uint32] = rasterize(
            pairs, part.shape, 0, transform=part.affine, dtype="uint32"
        )
        return numbers

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

    Shapes that are not polygons or lie off the grid are skipped, with a warning that counts them.

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
        skipped = len(here) - int(here.sum())
        logger.warning(
            "%s: %d of %d shapes are no polygons within the map.", path, skipped, len(here)
        )
    return Parcels(
        geometry[here],
        {name: [v for v, is_ in zip(values, here, strict=True) if is_] for name, values in columns},
    )


def _read_vector(path: Path) -> tuple[Any, NDArray[Any], list[tuple[str, list[Any]]]]:
    from pyogrio.raw import read

    about, _, geometry, values = read(path)
    columns = [(str(n), v.tolist()) for n, v in zip(about["fields"], values, strict=True)]
    return about["crs"], shapely.from_wkb(geometry), columns


def _read_parquet(path: Path) -> tuple[Any, NDArray[Any], list[tuple[str, list[Any]]]]:
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
