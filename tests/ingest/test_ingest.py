"""Ingestion: small files whose result is known by hand, and the real example."""

import copy
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.warp import Resampling, reproject

from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.contract import is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.errors import CubeError, DeepCropError, SpecError
from deepcrop.ingest import bands as ingest_bands
from deepcrop.ingest import ingest, raw_files
from deepcrop.ingest import run as ingest_run
from deepcrop.ingest import spec as spec_module
from deepcrop.ingest.spec_file import load_spec
from deepcrop.ingest.times import date_in_path

UTM31 = "EPSG:32631"
LEFT, TOP = 500000.0, 5600000.0
BANDS = ("blue", "green", "red", "nir")
TIMES = np.array(["2018-05-01T10:50:00", "2018-05-06T10:50:00"], "datetime64[s]")


def write_netcdf(path, variables, res, times=TIMES, crs=UTM31, origin=(LEFT, TOP), y_up=False):
    """Write integer or float stacks, with attributes that must not be believed."""
    first = next(iter(variables.values()))
    rows, cols = first.shape[-2:]
    x = origin[0] + res * (np.arange(cols) + 0.5)
    y = origin[1] - res * (np.arange(rows) + 0.5)
    names = ("latitude", "longitude") if crs == "EPSG:4326" else ("y", "x")
    data = xr.Dataset(coords={names[0]: y, names[1]: x})
    dims = names if first.ndim == 2 else ("t", *names)
    if first.ndim == 3:
        seconds = (np.asarray(times) - np.datetime64("2018-01-01")) / np.timedelta64(1, "s")
        data["t"] = ("t", seconds.astype("int64"), {"units": "seconds since 2018-01-01"})
    for name, values in variables.items():
        lie = {"scale_factor": 0.5, "add_offset": 3.0, "grid_mapping": "spatial_ref"}
        data[name] = (dims if values.ndim > 1 else ("t",), values, lie if values.ndim > 1 else {})
    data["spatial_ref"] = ((), 0, {"crs_wkt": CRS.from_user_input(crs).to_wkt()})
    if y_up:
        data = data.isel({names[0]: slice(None, None, -1)})
    for variable in data.variables.values():
        variable.encoding["_FillValue"] = None
    if path.suffix == ".zarr":
        data.to_zarr(path, consolidated=False, zarr_format=3)
    else:
        data.to_netcdf(path, engine="netcdf4")


def write_geotiff(path, bands, res, crs=UTM31, origin=(LEFT, TOP), south_up=False):
    """Write (band, y, x) as a GeoTIFF."""
    transform = Affine(res, 0, origin[0], 0, -res, origin[1])
    if south_up:
        bands = bands[:, ::-1]
        transform = Affine(res, 0, origin[0], 0, res, origin[1] - res * bands.shape[1])
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "dtype": bands.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file:
        file.write(bands)


def optical_spec(**changes):
    section = {
        "source": "made by hand",
        "offset_decision": "none",
        "files": "optical*.nc",
        "bands": {band: band for band in BANDS},
        "scale": 0.0001,
        "nodata": 0,
        "time": "t",
    }
    return {"name": "test", "optical": section | changes}


def sar_spec(**changes):
    section = {
        "source": "made by hand",
        "files": "sar*.nc",
        "bands": {"vv": "vv", "vh": "vh"},
        "nodata": 0,
        "units": "dB",
        "radiometry": "sigma0",
        "time": "t",
    }
    return {"name": "test", "sar": section | changes}


def run(folder: Path, spec: dict, name="out.zarr", **options) -> xr.DataTree:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    ingest(path, folder / name, **options)
    return open_cube(folder / name)


def dn_stack(rows=4, cols=6, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {b: rng.integers(100, 4000, (2, rows, cols)).astype(np.uint16) for b in BANDS}


def content(store: Path) -> dict[str, str]:
    """Digest of every file of a store."""
    return {
        str(p.relative_to(store)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in store.rglob("*")
        if p.is_file()
    }


# Arithmetic -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_scale_offset_nodata_and_class_mask(tmp_path, suffix):
    stack = dn_stack()
    stack["red"][0, 0, 0] = 0
    stack["red"][0, 0, 1] = 2500
    scl = np.array([[[4, 8, 5], [4, 4, 0]], [[7, 4, 4], [3, 4, 6]]], np.uint8)
    write_netcdf(tmp_path / f"optical{suffix}", stack, 10)
    write_netcdf(tmp_path / f"classes{suffix}", {"SCL": scl}, 20)
    mask = {
        "files": f"classes{suffix}",
        "variable": "SCL",
        "keep": [4, 5, 6, 7],
        "store_as": "scl",
    }
    cube = run(tmp_path, optical_spec(files=f"optical{suffix}", offset=-0.1, masks=[mask]))
    data = cube["optical"].to_dataset()
    np.testing.assert_array_equal(data["time"].values, TIMES.astype("datetime64[ns]"))
    assert data["x"].values[0] == LEFT + 5
    assert data["y"].values[0] == TOP - 5
    assert np.isnan(data["red"].values[0, 0, 0])  # no data
    assert data["red"].values[0, 0, 1] == pytest.approx(2500 * 0.0001 - 0.1, abs=1e-6)
    # Each 20 m class covers 2 x 2 pixels; 8, 0 and 3 are not kept.
    fine = scl.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(data["scl"].values, fine)
    kept = np.isin(fine, [4, 5, 6, 7])
    for band in BANDS:
        expected = np.where(kept & (stack[band] > 0), stack[band] * 0.0001 - 0.1, np.nan)
        np.testing.assert_allclose(data[band].values, expected, atol=1e-6)
    assert data.attrs["offset"] == "none"
    assert cube.attrs["title"] == "test"


def test_dropped_classes_and_pixels_without_a_class_are_masked(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    # The class raster ends two pixels before the optical one.
    write_netcdf(tmp_path / "classes.nc", {"c": np.full((2, 2, 2), 1, np.uint8)}, 20)
    mask = {"files": "classes.nc", "variable": "c", "drop": [3]}
    red = run(tmp_path, optical_spec(masks=[mask]))["optical/red"].values
    assert np.isfinite(red[..., :4]).all()
    assert np.isnan(red[..., 4:]).all()


def test_radar_is_averaged_in_power(tmp_path):
    vv = np.full((2, 4, 4), -10.0, np.float32)
    vv[0, :2, :2] = [[-10, -20], [-10, -20]]
    vv[0, :2, 2:] = [[-10, 0], [-16, 0]]  # 0 is no data here
    vv[0, 2:, :2] = 0
    write_netcdf(tmp_path / "sar.nc", {"vv": vv, "vh": vv - np.float32(6)}, 5)
    got = run(tmp_path, sar_spec())["sar/vv"].values[0]
    assert got[0, 0] == pytest.approx(10 * np.log10((0.1 + 0.01) / 2), abs=0.0051)  # not -15
    assert got[0, 1] == pytest.approx(10 * np.log10((0.1 + 10**-1.6) / 2), abs=0.0051)
    assert np.isnan(got[1, 0])
    assert got[1, 1] == pytest.approx(-10, abs=0.0051)


def test_coarse_radar_is_interpolated_in_power(tmp_path):
    vv = np.broadcast_to(np.array([-10.0, -20.0], np.float32), (2, 2, 2))
    write_netcdf(tmp_path / "sar.nc", {"vv": vv, "vh": vv}, 20)
    got = run(tmp_path, sar_spec())["sar/vv"].values[0, 0]
    power = [0.1, 0.75 * 0.1 + 0.25 * 0.01, 0.25 * 0.1 + 0.75 * 0.01, 0.01]
    np.testing.assert_allclose(got, 10 * np.log10(power), atol=0.0051)


def test_power_becomes_decibels(tmp_path):
    power = np.full((2, 4, 6), 0.05, np.float32)
    power[0, 0, 0] = 0.2
    power[0, 0, 1] = -1e-4  # noise removal can leave such
    write_netcdf(tmp_path / "sar.nc", {"vv": power, "vh": power / 4}, 10)
    sar = run(tmp_path, sar_spec(units="power"))["sar"]
    assert sar["vv"].values[0, 0, 0] == pytest.approx(10 * np.log10(0.2), abs=0.0051)
    assert np.isnan(sar["vv"].values[0, 0, 1])
    assert sar["vh"].values[1, 3, 5] == pytest.approx(10 * np.log10(0.0125), abs=0.0051)


def test_no_data_neither_bleeds_nor_is_filled(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(8, 8), 10)
    nir = np.full((2, 4, 4), 3000, np.uint16)
    nir[0, 1, 2] = 0
    write_netcdf(tmp_path / "coarse.nc", {"nir": nir}, 20)
    files = dict.fromkeys(BANDS, "optical.nc") | {"nir": "coarse.nc"}
    got = run(tmp_path, optical_spec(files=files))["optical/nir"].values
    expected = np.full((2, 8, 8), 0.3)
    expected[0, 2:4, 4:6] = np.nan
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_classes_are_the_nearest(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(6, 6), 10)
    codes = np.array([[1200, 9120], [0, 9120]], np.uint16)
    write_netcdf(tmp_path / "crops.nc", {"CT": codes}, 30)
    spec = optical_spec()
    spec["landcover"] = {
        "files": "crops.nc",
        "variable": "CT",
        "classes": {1200: "maize", 9120: "permanent grass"},
    }
    crop = run(tmp_path, spec)["landcover/crop_type"]
    assert crop.dtype == np.uint16
    np.testing.assert_array_equal(crop.values, codes.repeat(3, axis=0).repeat(3, axis=1))
    assert list(crop.attrs["flag_values"]) == [0, 1200, 9120]
    assert crop.attrs["flag_meanings"] == "unknown maize permanent_grass"


@pytest.mark.parametrize(
    ("res", "method"), [(5, "average"), (2.5, "average"), (20, "bilinear"), (30, "bilinear")]
)
def test_resampling_agrees_with_gdal_on_aligned_grids(tmp_path, res, method):
    rng = np.random.default_rng(1)
    n = int(240 / res)
    values = rng.uniform(0.05, 0.5, (2, n, n)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    write_netcdf(tmp_path / "optical.nc", dict.fromkeys(BANDS, values), res)
    got = run(tmp_path, optical_spec(scale=1, nodata=None))["optical/red"].values
    for layer, result in zip(values, got, strict=True):
        expected = np.full((24, 24), np.nan, np.float32)
        reproject(
            layer,
            expected,
            src_transform=Affine(res, 0, LEFT, 0, -res, TOP),
            dst_transform=Affine(10, 0, LEFT, 0, -10, TOP),
            src_crs=UTM31,
            dst_crs=UTM31,
            src_nodata=np.nan,
            dst_nodata=np.nan,
            resampling=Resampling[method],
        )
        np.testing.assert_allclose(result, expected, atol=6e-5)


# Grids ------------------------------------------------------------------------------------------


def field(x, y):
    """A reflectance that is a linear function of the place in UTM 31N."""
    return 0.2 + (x - LEFT) * 2e-4 + (y - TOP) * 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632"])
@pytest.mark.parametrize("scale", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("y_up", [False, True])
def test_other_reference_systems_keep_everything_in_its_place(tmp_path, crs, scale, y_up):
    there = Transformer.from_crs(UTM31, crs, always_xy=True)
    x0, y0, x1, y1 = there.transform_bounds(LEFT - 100, TOP - 700, LEFT + 700, TOP + 100)
    res = scale * (1e-4 if crs == "EPSG:4326" else 10)
    rows, cols = round((y1 - y0) / res), round((x1 - x0) / res)
    x, y = np.meshgrid(x0 + res * (np.arange(cols) + 0.5), y1 - res * (np.arange(rows) + 0.5))
    back = Transformer.from_crs(crs, UTM31, always_xy=True)
    values = field(*back.transform(x, y)).astype(np.float32)
    stack = dict.fromkeys(BANDS, np.stack([values, values + 0.1]))
    write_netcdf(tmp_path / "optical.nc", stack, res, crs=crs, origin=(x0, y1), y_up=y_up)
    spec = optical_spec(scale=1, nodata=None)
    spec["grid"] = {"crs": UTM31, "bounds": [LEFT, TOP - 600, LEFT + 600, TOP]}
    red = run(tmp_path, spec)["optical/red"]
    assert red.shape == (2, 60, 60)
    expected = field(red["x"].values, red["y"].values[:, None])
    # Interpolation is exact for such a field; averages of points are off by half a source pixel.
    off = 2e-4 * 10 * 0.75 if scale < 1 or (crs == "EPSG:4326" and scale == 1) else 1e-4
    np.testing.assert_allclose(red.values[0], expected, atol=off)
    assert abs((red.values[0] - expected).mean()) < 1e-4
    np.testing.assert_allclose(red.values[1] - red.values[0], 0.1, atol=1.1e-4)


def test_south_up_geotiff_is_the_same_cube(tmp_path):
    bands = np.stack([stack[0] for stack in dn_stack(6, 4).values()])
    cubes = []
    for south_up in (False, True):
        folder = tmp_path / str(south_up)
        folder.mkdir()
        write_geotiff(folder / "S2_20180501.tif", bands, 10, south_up=south_up)
        cubes.append(run(folder, geotiff_spec())["optical"].to_dataset())
    xr.testing.assert_identical(*cubes)
    np.testing.assert_allclose(cubes[0]["red"].values[0], bands[2] * 0.0001, atol=1e-6)


def geotiff_spec(**changes):
    section = {
        "files": "S2_*.tif",
        "bands": {"blue": 1, "green": 2, "red": 3, "nir": 4},
        "time": {"pattern": r"S2_(\d{8})", "format": "%Y%m%d"},
    }
    return optical_spec(**(section | changes))


def test_geotiff_tiles_of_one_pass_are_merged(tmp_path):
    early = np.full((4, 4, 4), 1000, np.uint16)
    late = np.full((4, 4, 4), 2000, np.uint16)
    left, right = early.copy(), early.copy()
    left[:, :, 3] = 0  # the overlapping column: no data in one tile
    right[:, :, 0] = 1500
    write_geotiff(tmp_path / "S2_20180511_a.tif", late, 10)
    write_geotiff(tmp_path / "S2_20180501_a.tif", left, 10)
    write_geotiff(tmp_path / "S2_20180501_b.tif", right, 10, origin=(LEFT + 30, TOP))
    red = run(tmp_path, geotiff_spec())["optical/red"]
    assert list(red["time"].values.astype("datetime64[D]").astype(str)) == [
        "2018-05-01",
        "2018-05-11",
    ]
    assert red.shape == (2, 4, 7)  # both tiles
    np.testing.assert_allclose(red.values[0, 0], [0.1, 0.1, 0.1, 0.15, 0.1, 0.1, 0.1], atol=1e-6)
    np.testing.assert_allclose(red.values[1, 0, :4], 0.2, atol=1e-6)
    assert np.isnan(red.values[1, 0, 4:]).all()


def test_one_geotiff_per_band(tmp_path):
    for i, band in enumerate(BANDS):
        for day in ("20180501", "20180506"):
            values = np.full((1, 4, 4), 1000 * (i + 1), np.uint16)
            write_geotiff(tmp_path / f"S2_{day}_{band}.tif", values, 10)
    spec = geotiff_spec(
        files={band: f"S2_*_{band}.tif" for band in BANDS}, bands=dict.fromkeys(BANDS, 1)
    )
    data = run(tmp_path, spec)["optical"].to_dataset()
    for i, band in enumerate(BANDS):
        np.testing.assert_allclose(data[band].values, 0.1 * (i + 1), atol=1e-6)
    (tmp_path / "S2_20180506_nir.tif").unlink()
    with pytest.raises(SpecError, match=r"optical\.bands\.nir: .* 1 dates, first at 2018-05-06"):
        run(tmp_path, spec, "other.zarr")


# Time and orbits --------------------------------------------------------------------------------


def test_period_includes_both_days_and_files_need_no_order(tmp_path):
    days = ["2018-04-30T23:59", "2018-05-06T10:50", "2018-05-01T00:00", "2018-05-07T00:00"]
    vv = -10 - np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32)
    orbits = np.array([88, 15, 161, 88], np.int16)
    write_netcdf(
        tmp_path / "sar.nc",
        {"vv": vv, "vh": vv, "orbit": orbits},
        10,
        times=np.array(days, "datetime64[s]"),
    )
    spec = sar_spec(relative_orbit="orbit")
    spec["time"] = {"start": "2018-05-01", "end": "2018-05-06"}
    data = run(tmp_path, spec)["sar"].to_dataset()
    expected = np.array([days[2], days[1]], "datetime64[ns]")
    np.testing.assert_array_equal(data["time"].values, expected)
    np.testing.assert_allclose(data["vv"].values[:, 0, 0], [-12, -11], atol=0.0051)
    assert list(data["relative_orbit"].values) == [161, 15]
    spec["sar"]["relative_orbit"] = 37
    assert list(run(tmp_path, spec, overwrite=True)["sar/relative_orbit"].values) == [37, 37]


# Mistakes ---------------------------------------------------------------------------------------


def changed(spec, path, value):
    """Return a copy of a nested mapping with one key set, or removed where the value is None."""
    spec = copy.deepcopy(spec)
    *parents, last = path.split(".")
    section = spec
    for key in parents:
        section = section.setdefault(key, {})
    if value is None:
        section.pop(last)
    else:
        section[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optical.files", "nothing*.nc", r"optical\.files: no file matches .*nothing\*\.nc"),
        ("optical.files", "${NOT_SET}/a.nc", r"variable NOT_SET is not set; set it"),
        ("folder", "$NOT_SET", r"folder: environment variable NOT_SET is not set"),
        ("optical.bands.red", "B99", r"optical\.bands\.red: .*no variable 'B99'; it has .*blue"),
        ("optical.bands.red", None, r"optical\.bands\.red: is missing"),
        ("optical.bands.swir", "B11", r"optical\.bands\.swir: unknown key; the keys here are: bl"),
        ("optical.nodata", None, r"optical\.nodata: is missing"),
        ("optical.scale", "ten", r"optical\.scale: .*valid number.*found 'ten'"),
        ("optical.scale", 0, r"optical\.scale: is 0; must not be 0 or negative"),
        ("optical.scale", 1e-40, r"optical\.scale: is 1e-40; expected 1e-09 to 1e\+06, for"),
        ("optical.offset", 1e40, r"optical\.offset\.0\.value: .*less than .*found 1e\+40"),
        ("optical.nodata", True, r"optical\.nodata: found true; no key is or takes true or false"),
        ("optical.nodata", [-1, False], r"optical\.nodata\.1: found false"),
        (
            "optical.offset",
            [{"from": "9999-12-31", "value": -0.1}],
            r"optical\.offset\.0\.from: 9999-12-31 is not from 1970 to 2100",
        ),
        ("optical.time", {"dates": ["1600-01-01"]}, r"time\.dates\.0: 1600-01-01 is not from"),
        ("time.start", "0001-01-01", r"time\.start: 0001-01-01 is not from 1970 to 2100"),
        ("time.end", 2018, r"time\.end: 2018 is not a date such as 2018-05-04"),
        ("time.end", "2018-05-04T10:00", r"time\.end: .* has a time of day; expected a day"),
        ("grid.bounds", [LEFT, TOP - 10, LEFT + 60, TOP], r"grid: the grid is 6 x 1 pixels of 10"),
        ("optical.files", {"red": "optical.nc"}, r"optical\.files\.blue: is missing"),
        ("optical.time", "when", r"optical\.time: .*no variable 'when'"),
        ("optical.time", "x", r"optical\.time: 'x' in .* holds no CF times"),
        (
            "optical.time",
            {"pattern": "(", "format": "%Y"},
            r"optical\.time\.pattern: .*not a regular",
        ),
        ("optical.time", {"pattern": "a"}, r"optical\.time: give either"),
        ("optical.time", {"pattern": r"\d{8}", "format": "%Y"}, r"finds nothing in .*optical\.nc"),
        ("optical.crs", "EPSG:1", r"optical\.crs: 'EPSG:1' is not a reference system"),
        ("optical.masks", [{"files": "a", "variable": "b"}], r"optical\.masks\.0: give either"),
        ("grid.bounds", [0, 0, 100, 100], r"none of the 1 files overlaps the grid"),
        ("grid.bounds", [9, 9, 0, 0], r"grid: Bounds .* are empty"),
        ("grid.crs", "EPSG:4326", r"grid: .*not projected in metres"),
        ("time.end", "2017-01-01", r"time: no scene of 'optical' .* to 2018-05-06"),
        ("time", {"start": "2019-01-01", "end": "2018-01-01"}, r"time: start .* is after end"),
        ("sar", {"units": "dBm"}, r"sar\.units: input should be 'dB' or 'power'; found 'dBm'"),
        ("optical", None, r"neither 'optical' nor 'sar'"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path, monkeypatch, path, value, message):
    monkeypatch.delenv("NOT_SET", raising=False)
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    with pytest.raises(SpecError, match=message) as raised:
        run(tmp_path, changed(optical_spec(), path, value))
    assert str(raised.value).startswith(str(tmp_path / "spec.yaml"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["optical.nc", "spec.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("", "empty"), (None, "cannot be read")],
)
def test_specification_that_is_none(tmp_path, text, message):
    path = tmp_path / "spec.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError, match=message):
        ingest(path, tmp_path / "out.zarr")


def test_all_mistakes_are_told_at_once():
    spec = changed(changed(optical_spec(), "optical.source", None), "optical.scales", 1)
    with pytest.raises(SpecError, match=r"optical\.scales: unknown"):
        _load(spec)
    spec = changed(changed(optical_spec(), "optical.source", None), "optical.nodata", None)
    with pytest.raises(SpecError, match=r"2 mistakes:(.|\n)*optical\.source(.|\n)*optical\.nodata"):
        _load(spec)


def _load(spec):
    class Text:
        def read_text(self, encoding):
            return yaml.safe_dump(spec)

    return load_spec(Text())


def test_variables_in_paths_and_absolute_folder(tmp_path, monkeypatch):
    (tmp_path / "data [1]").mkdir()  # brackets in a folder are no glob
    write_netcdf(tmp_path / "data [1]" / "optical.nc", dn_stack(), 10)
    monkeypatch.setenv("HERE", str(tmp_path))
    spec = {**optical_spec(), "folder": "${HERE}/data [1]"}
    assert "optical" in run(tmp_path, spec).children


def test_unusable_files_are_named(tmp_path):
    (tmp_path / "optical.nc").write_bytes(b"no NetCDF")
    with pytest.raises(SpecError, match=r"optical\.files: .*optical\.nc cannot be read"):
        run(tmp_path, optical_spec())
    (tmp_path / "optical.nc").rename(tmp_path / "optical.txt")
    with pytest.raises(SpecError, match=r"optical\.txt is not a NetCDF"):
        run(tmp_path, optical_spec(files="optical.txt"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecError, match=r"folder cannot be read"):
        run(tmp_path, optical_spec(files="folder"))


def test_geotiff_mistakes(tmp_path):
    bands = np.ones((4, 4, 4), np.uint16)
    write_geotiff(tmp_path / "S2_20180501.tif", bands, 10)
    with pytest.raises(SpecError, match=r"optical\.bands\.nir: '9' is not a band .* from 1 to 4"):
        run(tmp_path, changed(geotiff_spec(), "optical.bands.nir", 9))
    with pytest.raises(SpecError, match=r"optical\.time: a GeoTIFF .* has no coordinate 't'"):
        run(tmp_path, geotiff_spec(time="t"))
    with pytest.raises(
        SpecError, match=r"time\.format: '20180501' .* not a date of the form '%d%m%Y"
    ):
        run(tmp_path, changed(geotiff_spec(), "optical.time.format", "%d%m%Y"))
    write_geotiff(tmp_path / "S2_20180501.tif", bands, 10)
    with rasterio.open(tmp_path / "S2_20180501.tif", "r+") as file:
        file.transform = Affine(10, 10, LEFT, 10, 10, TOP)
    with pytest.raises(SpecError, match=r"S2_20180501\.tif .* gives its pixels no area"):
        run(tmp_path, geotiff_spec())
    write_geotiff(tmp_path / "S2_20180501.tif", bands, 10, crs=None)
    with pytest.raises(SpecError, match=r"optical\.crs: .* does not state its reference system"):
        run(tmp_path, geotiff_spec())
    assert "optical" in run(tmp_path, geotiff_spec(crs=32631)).children


@pytest.mark.parametrize("units", ["km", "kilometres", None])
def test_coordinates_in_kilometres(tmp_path, units):
    write_netcdf(tmp_path / "metres.nc", dn_stack(), 10)
    with xr.open_dataset(tmp_path / "metres.nc", decode_cf=False) as data:
        for name in ("x", "y"):
            attrs = {} if units is None else {"units": units}
            data[name] = (name, data[name].values / 1000, attrs)
        data.to_netcdf(tmp_path / "optical.nc")
    words = rf"'x' of .* is in '{units}', and its .* in metres" if units else r"are 0\.01 m wide"
    with pytest.raises(SpecError, match=rf"optical.*: .*{words}"):
        run(tmp_path, optical_spec())


def test_a_large_grid_that_is_nearly_empty_is_refused_at_once(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    spec = optical_spec()
    spec["grid"] = {"bounds": [LEFT - 5e5, TOP - 5e5, LEFT + 5e5, TOP + 5e5]}
    with pytest.raises(SpecError, match=r"1,000 x 1,000 km, 1e\+10 pixels .* cover 2\.4e-07 % of"):
        run(tmp_path, spec)
    # Two places far from each other make such a grid, too.
    write_netcdf(tmp_path / "optical_2.nc", dn_stack(), 10, origin=(LEFT + 2e5, TOP - 2e5))
    with pytest.raises(SpecError, match=r"between x 500000 and 700060, y 5399960 and 5600000"):
        run(tmp_path, optical_spec())


def test_a_rotated_raster_is_resampled_without_a_warning_of_corners(tmp_path, caplog):
    """Turned by 90 degrees: the same pixels, found again."""
    bands = np.random.default_rng(0).integers(100, 4000, (4, 6, 4)).astype(np.uint16)
    write_geotiff(tmp_path / "S2_20180501.tif", bands, 10)
    with rasterio.open(tmp_path / "S2_20180501.tif", "r+") as file:
        file.transform = Affine(0, 10, LEFT, -10, 0, TOP)  # its rows run east
    cube = run(tmp_path, geotiff_spec())
    np.testing.assert_allclose(cube["optical"]["red"][0], bands[2].T * 1e-4, atol=6e-5)
    assert "pixel_coordinates" not in caplog.text


def test_empty_time_axis(tmp_path):
    stack = {band: np.zeros((0, 4, 4), np.uint16) for band in BANDS}
    write_netcdf(tmp_path / "optical.nc", stack, 10, times=TIMES[:0])
    with pytest.raises(SpecError, match=r"time: no scene of 'optical'.* without any date"):
        run(tmp_path, optical_spec())


def test_mask_without_some_dates(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    classes = np.full((1, 4, 6), 4, np.uint8)
    write_netcdf(tmp_path / "classes.nc", {"c": classes}, 10, times=TIMES[:1])
    mask = {"files": "classes.nc", "variable": "c", "keep": [4]}
    with pytest.raises(SpecError, match=r"optical\.masks\.0: .* 1 dates, first at 2018-05-06"):
        run(tmp_path, optical_spec(masks=[mask]))


def test_code_without_a_name(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    write_netcdf(tmp_path / "crops.nc", {"CT": np.full((4, 6), 1200, np.uint16)}, 10)
    spec = optical_spec()
    spec["landcover"] = {"files": "crops.nc", "variable": "CT", "classes": {9120: "grass"}}
    with pytest.raises(SpecError, match=r"landcover\.classes: .*1200; add .*'1200: class_1200'"):
        run(tmp_path, spec)


@pytest.mark.parametrize(
    ("kind", "changes", "error", "message"),
    [
        ("optical", {"scale": 1}, SpecError, r"optical\.scale: .*unscaled digital .*0\.0001"),
        ("sar", {"scale": 10000}, SpecError, r"sar\.scale: .*no backscatter in dB.*scale: 1\?"),
        ("power", {"units": "dB"}, CubeError, "linear power"),
        ("sar", {"units": "power"}, SpecError, r"sar\.units: .* write units: dB"),
        ("optical", {"masks": [{"files": "optical.nc", "variable": "red", "keep": [1]}]},
         SpecError, r"optical\.bands\.blue: no pixel holds data"),
    ],
)  # fmt: skip
def test_wrong_unit_leaves_no_output(tmp_path, kind, changes, error, message):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    vv = np.full((2, 4, 6), 0.05 if kind == "power" else -12, np.float32)
    write_netcdf(tmp_path / "sar.nc", {"vv": vv, "vh": vv}, 10)
    spec = optical_spec(**changes) if kind == "optical" else sar_spec(**changes)
    with pytest.raises(error, match=message):
        run(tmp_path, spec)
    assert not (tmp_path / "out.zarr").exists()


def test_existing_output_is_kept(tmp_path):
    write_netcdf(tmp_path / "optical.nc", dn_stack(), 10)
    run(tmp_path, optical_spec())
    before = content(tmp_path / "out.zarr")
    with pytest.raises(DeepCropError, match="exists"):
        run(tmp_path, optical_spec())
    with pytest.raises(DeepCropError, match="Zarr store"):
        run(tmp_path, optical_spec(), "out.nc")
    assert content(tmp_path / "out.zarr") == before


# Tiles ------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A region of 5 x 4 small tiles, optical in degrees, radar at 20 m; and its specification."""
    monkeypatch.setattr(contract, "CHUNK", 16)
    rng = np.random.default_rng(3)
    there = Transformer.from_crs(UTM31, "EPSG:4326", always_xy=True)
    west, south, east, north = there.transform_bounds(LEFT, TOP - 700, LEFT + 600, TOP)
    shape = (2, int((north - south) / 1e-4), int((east - west) / 1.2e-4))
    stack = {band: rng.integers(0, 4000, shape).astype(np.uint16) for band in BANDS}
    write_netcdf(tmp_path / "optical.nc", stack, 1.1e-4, crs="EPSG:4326", origin=(west, north))
    vv = rng.uniform(-20, -5, (2, 35, 30)).astype(np.float32)
    write_netcdf(tmp_path / "sar.nc", {"vv": vv, "vh": vv - np.float32(6)}, 20)
    spec = optical_spec() | sar_spec()
    spec["grid"] = {"crs": UTM31, "bounds": [LEFT, TOP - 700, LEFT + 600, TOP]}
    return spec


@pytest.mark.slow
def test_result_does_not_depend_on_tiles(tmp_path, monkeypatch, large):
    windows = []
    read = raw_files.Source.read

    def watched(source, layers, rows, cols):
        windows.append((rows.stop - rows.start) * (cols.stop - cols.start))
        return read(source, layers, rows, cols)

    monkeypatch.setattr(raw_files.Source, "read", watched)
    whole = run(tmp_path, large, "whole.zarr")
    assert max(windows) > 60 * 50 / 4
    for tile, batch in ((16, 2**22), (16, 1), (48, 500)):
        monkeypatch.setattr(ingest_run, "TILE", tile)
        monkeypatch.setattr(ingest_bands, "BATCH_PIXELS", batch)
        windows.clear()
        small = run(tmp_path, large, f"small{tile}_{batch}.zarr")
        for group in ("optical", "sar"):
            xr.testing.assert_identical(small[group].to_dataset(), whole[group].to_dataset())
        if tile == 16:  # the sample of 32 x 32 pixels is the largest
            assert max(windows) < 40 * 40


@pytest.mark.parametrize("stop_at", ["layout", 1, 13, "check"])
@pytest.mark.slow
def test_interrupted_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, large, stop_at):
    monkeypatch.setattr(ingest_run, "TILE", 16)
    run(tmp_path, large, "whole.zarr")
    calls = []
    write = cube_io.write_block

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        write(*arguments)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cube_io, "write_block", stopping)
        if stop_at == "layout":
            patch.setattr(cube_io, "create_group", stop)
        if stop_at == "check":
            patch.setattr(ingest_run, "_check_result", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, large)
    assert not (tmp_path / "out.zarr").exists()
    with monkeypatch.context() as patch:
        patch.setattr(cube_io, "write_block", stopping)
        stop_at = None
        run(tmp_path, large)
    # At most the tile that was cut is written again.
    assert 0 <= len(calls) - 20 * (len(BANDS) + 2) <= len(BANDS)
    assert content(tmp_path / "out.zarr") == content(tmp_path / "whole.zarr")
    assert not (tmp_path / "out.zarr.part").exists()


def test_changed_input_starts_afresh(tmp_path, monkeypatch, large):
    monkeypatch.setattr(ingest_run, "_check_result", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, large)
    monkeypatch.undo()
    vv = np.full((2, 35, 30), -9, np.float32)
    write_netcdf(tmp_path / "sar.nc", {"vv": vv, "vh": vv}, 20)
    np.testing.assert_allclose(run(tmp_path, large)["sar/vv"].values, -9, atol=0.0051)


# The real example -------------------------------------------------------------------------------


def test_flanders_example(tmp_path, monkeypatch, real_data):
    monkeypatch.setenv("DEEPCROP_REAL_DATA", str(real_data.resolve()))
    example = Path(__file__).parents[2] / "examples" / "flanders_2018.yaml"
    ingest(example, tmp_path / "flanders.zarr")
    cube = open_cube(tmp_path / "flanders.zarr")
    folder = real_data / "sentinel" / "flanders_2018"

    def raw(pattern):
        return xr.open_dataset(next(folder.glob(pattern)), mask_and_scale=False)

    with raw("S2_L2A_10m*") as s2, raw("S2_L2A_20m*") as s2_20, raw("S1_GRD*") as s1:
        optical, sar = cube["optical"].to_dataset(), cube["sar"].to_dataset()
        assert dict(optical.sizes) == {"time": 118, "y": 64, "x": 64}
        assert sar.sizes["time"] == 159
        np.testing.assert_array_equal(optical["time"].values, s2["timestamp"].values)
        np.testing.assert_array_equal(optical["x"].values, s2["x"].values)
        np.testing.assert_array_equal(optical["y"].values, s2["y"].values)
        scl = s2_20["SCL"].values.repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_array_equal(optical["scl"].values, scl)
        kept = (scl >= 4) & (scl <= 7)
        for band, name in {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}.items():
            expected = np.where(kept, s2[name].values * 0.0001, np.nan)
            np.testing.assert_allclose(optical[band].values, expected, atol=1e-6)
        # B07 at 20 m: pixel (30, 31) lies 5 m right of and above its source's centre.
        b07, t = s2_20["B07"].values, int(np.flatnonzero(kept[:, 30, 31])[0])
        near = b07[t, 14:16, 15:17] * np.array([[0.25 * 0.75, 0.25 * 0.25], [0.75**2, 0.75 * 0.25]])
        assert optical["rededge3"].values[t, 30, 31] == pytest.approx(near.sum() * 1e-4, abs=6e-5)
        power = 10 ** (s1["VV"].values[80, 14:16, 15:17] * 0.0001 / 10)
        weighted = (power * [[0.25 * 0.75, 0.25 * 0.25], [0.75**2, 0.75 * 0.25]]).sum()
        assert sar["vv"].values[80, 30, 31] == pytest.approx(10 * np.log10(weighted), abs=0.0051)
        assert (sar["time"].values == s1["timestamp"].values).all()
    with raw("OUTPUT_POLY*") as crops:
        np.testing.assert_array_equal(cube["landcover/crop_type"].values, crops["CT"].values)
    assert cube["landcover/crop_type"].attrs["flag_meanings"].split()[:2] == ["unknown", "maize"]
    assert cube["sar"].attrs["radiometry"] == "sigma0"
    assert not is_simulated(cube)


# The page ---------------------------------------------------------------------------------------


def test_page_describes_every_key_and_its_example_is_valid():
    page = (Path(__file__).parents[2] / "docs" / "ingest.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    spec = _load(yaml.safe_load(example))
    found, _ = date_in_path(spec.optical.time, ["S2_20230504T101559.tif"], "optical")
    assert found == np.datetime64("2023-05-04T10:15:59")
    models = (
        "Spec", "Grid", "Period", "Time", "Optical", "Sar", "OpticalMask", "Landcover", "Variable",
        "DatedOffset", "Incidence",
    )  # fmt: skip
    for model in models:
        for key, known in getattr(spec_module, model).model_fields.items():
            key = known.alias or key
            # `coordinate` is written as the value of `time` itself.
            assert f"`{key}`" in page or key == "coordinate", key
