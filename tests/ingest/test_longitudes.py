"""Longitudes from 0 to 360, rasters over the date line, rasters of the whole earth."""

import numpy as np
import pytest
import xarray as xr
import yaml
from pyproj import CRS, Transformer

from deepcrop.cube.io import open_cube
from deepcrop.errors import SpecError
from deepcrop.grid import make_grid
from deepcrop.grid.resampling import overlaps
from deepcrop.ingest import ingest

BANDS = ("blue", "green", "red", "nir")


def write(path, lon, lat, values):
    data = xr.Dataset(coords={"lat": lat, "lon": lon})
    for band in BANDS:
        data[band] = (("time", "lat", "lon"), values[None].astype(np.float32))
    data["time"] = ("time", np.array(["2018-05-04"], "datetime64[ns]"))
    data["spatial_ref"] = ((), 0, {"crs_wkt": CRS.from_epsg(4326).to_wkt()})
    data.to_netcdf(path)


def run(folder, grid, **spec):
    section = {
        "source": "test", "offset_decision": "none", "files": "o.nc", "nodata": None,
        "bands": {band: band for band in BANDS}, "time": "time",
    }  # fmt: skip
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"name": "t", "grid": grid, "optical": section} | spec))
    ingest(path, folder / "cube.zarr", overwrite=True)
    return open_cube(folder / "cube.zarr")


@pytest.mark.parametrize(("middle", "epsg"), [(-121.5, 32610), (4.9, 32631), (180.0, 32660)])
@pytest.mark.parametrize("turn", [0, 360, -360])
def test_longitudes_of_any_count_are_the_same_place(tmp_path, middle, epsg, turn):
    lon = middle + 0.0005 * (np.arange(40) - 20)
    lat = 52 - 0.0003 * np.arange(40)
    values = 0.2 + 4 * (lon[None] - middle) + 2 * (lat[:, None] - 52)
    write(tmp_path / "o.nc", lon + turn, lat, values)
    red = run(tmp_path, {"crs": f"EPSG:{epsg}"})["optical/red"]
    back = Transformer.from_crs(epsg, 4326, always_xy=True)
    x, y = back.transform(*np.meshgrid(red["x"].values, red["y"].values))
    x = middle + (x - middle + 180) % 360 - 180
    inside = (np.abs(x - middle) < 0.0095) & (y < 51.9997) & (y > 51.9888)
    assert inside.sum() > 10_000
    expected = 0.2 + 4 * (x - middle) + 2 * (y - 52)
    np.testing.assert_allclose(red.values[0][inside], expected[inside], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("first", [-180, 0])
@pytest.mark.parametrize("epsg", [32610, 32631, 32660])
def test_a_crop_mask_of_the_whole_earth(tmp_path, first, epsg):
    """Its bounds mean nothing in a UTM zone, and the grid lies on it all the same."""
    bounds = (700000, 5700000, 700200, 5700200)
    there = Transformer.from_crs(epsg, 4326, always_xy=True)
    west, south, east, north = there.transform_bounds(*bounds)
    lon, lat = np.linspace(west - 0.001, east + 0.001, 20), np.linspace(north, south, 20)
    write(tmp_path / "o.nc", lon, lat, np.full((20, 20), 0.3))
    lon, lat = first + 1.0 * np.arange(360) + 0.5, 89.5 - np.arange(180)
    codes = np.broadcast_to(np.arange(180, dtype=np.uint16)[:, None] + 1, (180, 360))
    earth = xr.Dataset({"crop": (("lat", "lon"), codes)}, {"lat": lat, "lon": lon})
    earth.to_netcdf(tmp_path / "earth.nc")
    landcover = {
        "files": "earth.nc", "variable": "crop", "crs": "EPSG:4326",
        "classes": {k: f"row {k}" for k in range(1, 181)},
    }  # fmt: skip
    cube = run(tmp_path, {"crs": f"EPSG:{epsg}", "bounds": list(bounds)}, landcover=landcover)
    crop = cube["landcover/crop_type"].values
    assert (crop == int(90 - (south + north) / 2) + 1).all()


def test_what_lies_elsewhere_does_not_overlap():
    box = make_grid((700000, 5700000, 700200, 5700200), 32631)
    near = make_grid((700190, 5700190, 700400, 5700400), 32631)
    assert overlaps(near, box)
    assert not overlaps(make_grid((701000, 5700000, 701200, 5700200), 32631), box)
    assert not overlaps(make_grid((300000, 5700000, 300200, 5700200), 32633), box)


def test_an_area_of_absurd_size_is_refused_at_once(tmp_path):
    write(
        tmp_path / "o.nc", np.linspace(4, 4.01, 20), np.linspace(52, 51.99, 20), np.ones((20, 20))
    )
    bounds = [500000, 5600000, 50090000, 56009000]  # a digit too many
    with pytest.raises(SpecError, match=r"grid: .* are 49,590 x 50,409 km, 2\.5e\+13 pixels"):
        run(tmp_path, {"crs": "EPSG:32631", "bounds": bounds})
    # A file in the wrong place makes the default grid as large.
    write(
        tmp_path / "far.nc", np.linspace(40, 40.01, 20), np.linspace(2, 1.99, 20), np.ones((20, 20))
    )
    with pytest.raises(SpecError, match="at most 2,000,000 square kilometres"):
        run(tmp_path, {"crs": "EPSG:32631"}, optical={
            "source": "t", "offset_decision": "none", "files": "*.nc", "nodata": None,
            "bands": {band: band for band in BANDS}, "time": "time",
        })  # fmt: skip
