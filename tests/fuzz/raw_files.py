"""Valid files for the fuzz suite that take more than a line to write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from pyproj import CRS

if TYPE_CHECKING:
    from pathlib import Path

_ROWS, _COLS = 20, 30
_SPEC = r"""
name: region
optical:
  source: random numbers
  files: {files}
  bands: {{blue: {blue}, green: {green}, red: {red}, nir: {nir}}}
  scale: 0.0001
  offset_decision: none, numbers have no offset
  nodata: 0
  time: {time}
"""


def write_raw_files(folder: Path) -> list[tuple[Path, Path, bytes]]:
    """Write NetCDF, Zarr and GeoTIFF series; give specification, file and content of each kind."""
    rng = np.random.default_rng(1)
    values = rng.integers(200, 5000, (3, 4, _ROWS, _COLS)).astype(np.int16)
    times = np.array(["2018-04-01", "2018-06-01", "2018-08-01"], "datetime64[ns]")
    bands = ("B02", "B03", "B04", "B08")
    data = xr.Dataset(
        {name: (("t", "y", "x"), values[:, k]) for k, name in enumerate(bands)},
        {
            "t": times,
            "y": 5600195.0 - 10 * np.arange(_ROWS),
            "x": 500005.0 + 10 * np.arange(_COLS),
            "spatial_ref": ((), 0, {"crs_wkt": CRS("EPSG:32631").to_wkt()}),
        },
    )
    for name in bands:
        data[name].attrs["grid_mapping"] = "spatial_ref"
    data.to_netcdf(folder / "optical.nc", engine="netcdf4")
    data.to_zarr(folder / "optical.zarr", consolidated=False, zarr_format=3)
    made = []
    for name in ("optical.nc", "optical.zarr"):
        names = dict(zip(("blue", "green", "red", "nir"), bands, strict=True))
        spec = folder / f"{name}.yaml"
        spec.write_text(_SPEC.format(files=f'"{name}"', time="t", **names))
        files = (
            [folder / name]
            if name.endswith(".nc")
            else sorted(p for p in (folder / name).rglob("*") if p.is_file())
        )
        made += [(spec, path, path.read_bytes()) for path in files]
    for time, image in zip(times, values, strict=True):
        path = folder / f"S2_{str(time)[:10]}.tif"
        place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 500000, 0, -10, 5600200)}
        with rasterio.open(
            path, "w", driver="GTiff", count=4, height=_ROWS, width=_COLS, dtype="int16", **place
        ) as file:
            file.write(image)
    spec = folder / "tif.yaml"
    date = r"{pattern: '\d{4}-\d\d-\d\d', format: '%Y-%m-%d'}"
    spec.write_text(_SPEC.format(files='"S2_*.tif"', time=date, blue=1, green=2, red=3, nir=4))
    return [*made, (spec, path, path.read_bytes())]


def write_result(folder: Path) -> Path:
    """Write a small map directory of the simulated region, by the curve."""
    from tests.helpers.cubes import season_cube

    from deepcrop.cube.io import save_cube
    from deepcrop.mapping.region import map_region

    save_cube(season_cube(), folder / "region.zarr")
    maps = folder / "maps"
    map_region(folder / "region.zarr", 2018, maps, method="curve", pictures=False)
    for name in ("item.json", "summary.json"):
        assert json.loads((maps / name).read_text())
    return maps
