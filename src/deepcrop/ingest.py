"""Bring your own data: NetCDF, Zarr or GeoTIFF stacks onto one 10 m grid, as an observation cube.

A specification (:mod:`deepcrop.ingest_spec`) says which files hold which band and how to turn
their numbers into reflectance and backscatter. Nothing else is believed: scale, offset and no-data
attributes of the files are not applied.

Work goes tile by tile with all times of a tile, reading only the part of a file that it needs. The
resampling is our own, because GDAL's warp through rasterio bends coordinates by up to an eighth of
a pixel depending on the window it is given, so that its result would depend on the tiles.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from deepcrop import __version__, observations
from deepcrop.errors import CubeError, DeepCropError, SpecError
from deepcrop.grid import RESOLUTION, assign_grid, make_grid, tiles
from deepcrop.indices import to_db, to_power
from deepcrop.ingest_spec import (
    ALL_BANDS,
    Landcover,
    Mask,
    Optical,
    Sar,
    Spec,
    Time,
    expand,
    find_files,
    load_spec,
    naming,
)
from deepcrop.staging import check_target, progress_bar, staging

TILE = observations.CHUNK
"""Side of a tile of work, pixels; a multiple of the chunk, so that no chunk is written twice."""

_BATCH = 2**24  # pixels read from one file at once
_STATIC = np.array(["1970-01-01"], "datetime64[ns]")  # the time of what has none
_MAX_SAMPLES = 16
_X_NAMES, _Y_NAMES = ("x", "lon", "longitude", "easting"), ("y", "lat", "latitude", "northing")
_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, rasterio.errors.RasterioError)


# ---------------------------------------------------------------------------- files


@dataclass(frozen=True)
class _Source:
    """One variable of one file: a stack of layers on the file's own grid."""

    path: Path
    key: str
    box: GeoBox
    times: NDArray[np.datetime64]
    array: xr.DataArray | None = None  # NetCDF, Zarr; dimensions named layer, y, x
    band: int = 1  # GeoTIFF
    orbits: NDArray | None = None

    def read(self, layers: slice, rows: slice, cols: slice) -> NDArray:
        """Stored numbers of a window, (layer, y, x)."""
        try:
            if self.array is not None:
                part = self.array.isel(layer=layers, y=rows, x=cols)
                return part.compute().transpose("layer", "y", "x").values
            with rasterio.open(self.path) as file:
                window = ((rows.start, rows.stop), (cols.start, cols.stop))
                return file.read([self.band], window=window)
        except _READ_ERRORS as error:
            raise SpecError(
                f"{self.key}: {self.path} cannot be read: {error}. Fetch the file again."
            ) from error


class _Files:
    """Opens the files of a specification, each NetCDF or Zarr once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: set[Path] = set()
        self._datasets: dict[Path, xr.Dataset] = {}

    def sources(
        self,
        key: str,
        files: tuple[str, str],
        variable: tuple[str, str],
        time: Time | None,
        crs: str | None,
        orbit: str | None = None,
    ) -> list[_Source]:
        """Every file of a glob; ``files`` and ``variable`` are each a key and its value.

        ``key`` is that of the section whose ``time``, ``crs`` and ``relative_orbit`` count.
        """
        found = []
        for path in find_files(self.folder, *files):
            self.paths.add(path)
            try:
                if path.suffix.lower() in (".tif", ".tiff"):
                    source = _open_geotiff(path, key, variable, time, crs)
                elif path.is_dir() or path.suffix.lower() in (".nc", ".nc4"):
                    data = self._dataset(path)
                    source = _open_array(data, path, key, variable, time, crs, orbit)
                else:
                    raise SpecError(
                        f"{files[0]}: {path} is no NetCDF (.nc), Zarr store (folder) or GeoTIFF "
                        "(.tif); narrow the glob or convert the file."
                    )
            except _READ_ERRORS as error:
                raise SpecError(f"{files[0]}: {path} cannot be read: {error}.") from error
            found.append(source)
        return found

    def _dataset(self, path: Path) -> xr.Dataset:
        if path not in self._datasets:
            how = (
                {"engine": "zarr", "consolidated": False, "chunks": None}
                if path.is_dir()
                else {"engine": "netcdf4"}
            )
            # Raw numbers: attributes such as a NaN _FillValue on integers must not touch them.
            self._datasets[path] = xr.open_dataset(path, decode_cf=False, cache=False, **how)
        return self._datasets[path]

    def close(self) -> None:
        for data in self._datasets.values():
            data.close()

    def signature(self) -> list[list[str | int]]:
        """Name, size and time of change of every file."""
        result: list[list[str | int]] = []
        for path in sorted(self.paths):
            parts = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            stats = [part.stat() for part in parts]
            newest = max((s.st_mtime_ns for s in stats), default=0)
            result.append([str(path), sum(s.st_size for s in stats), newest])
        return result


def _open_geotiff(
    path: Path, key: str, variable: tuple[str, str], time: Time | None, crs: str | None
) -> _Source:
    band_key, band = variable
    # sharing=False avoids GDAL's handle of another thread; _Env keeps the warning of files without
    # a transform from escaping, we say it better below.
    with rasterio.open(path) as file:
        if not (band.isdigit() and 1 <= int(band) <= file.count):
            raise SpecError(
                f"{band_key}: {band!r} is no band of {path}; give a number from 1 to {file.count}."
            )
        box = GeoBox(file.shape, file.transform, _crs(key, path, crs, file.crs))
    if time is not None and time.coordinate is not None:
        raise SpecError(
            f"{key}.time: a GeoTIFF such as {path} has no coordinate {time.coordinate!r}; give "
            "'pattern' and 'format' that pick the date out of the file name."
        )
    times = _STATIC if time is None else np.array([time.of_name(path, key)])
    return _Source(path, key, box, times, band=int(band))
