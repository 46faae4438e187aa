"""What is no data, what cannot be, and what one observation is: inputs whose cube is known."""

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from pyproj import CRS

from deepcrop.cube.io import open_cube
from deepcrop.errors import SpecError
from deepcrop.ingest import ingest
from deepcrop.ingest.pixel_places import pixel_affine

LEFT, TOP = 500000.0, 5600000.0
BANDS = ("blue", "green", "red", "nir")
TIMES = np.array(["2018-05-01T10:50:00", "2018-05-06T10:50:00"], "datetime64[ns]")


def write(path, variables, res=10.0, times=TIMES, shift=0.0, **crs_attrs):
    """Write stacks (time, y, x) whose coordinates are pixel centres, shifted by ``shift``."""
    rows, cols = next(iter(variables.values())).shape[-2:]
    data = xr.Dataset(
        coords={
            "t": times,
            "y": TOP - res * (np.arange(rows) + 0.5) + shift,
            "x": LEFT + res * (np.arange(cols) + 0.5) - shift,
        }
    )
    for name, values in variables.items():
        data[name] = (("t", "y", "x"), values, {"grid_mapping": "crs"})
    wkt = CRS.from_epsg(32631).to_wkt()
    data["crs"] = ((), 0, {"crs_wkt": wkt, **crs_attrs})
    for variable in data.variables.values():
        variable.encoding["_FillValue"] = None
    data.to_netcdf(path)


def optical(times=TIMES, rows=8, cols=8, low=300, high=4000, dtype=np.int16):
    rng = np.random.default_rng(0)
    return {b: rng.integers(low, high, (len(times), rows, cols)).astype(dtype) for b in BANDS}


def section(**changes):
    made = {
        "source": "made by hand",
        "offset_decision": "none",
        "files": "optical.nc",
        "bands": {band: band for band in BANDS},
        "scale": 0.0001,
        "nodata": 0,
        "time": "t",
    }
    return {"optical": made | changes}


def radar(**changes):
    made = {
        "source": "made by hand",
        "files": "sar.nc",
        "bands": {"vv": "vv", "vh": "vh"},
        "nodata": None,
        "units": "power",
        "radiometry": "sigma0",
        "time": "t",
    }
    return {"sar": made | changes}


def run(folder, spec):
    (folder / "spec.yaml").write_text(yaml.safe_dump({"name": "test"} | spec))
    ingest(folder / "spec.yaml", folder / "out.zarr", overwrite=True)
    return open_cube(folder / "out.zarr")


# No data before resampling ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("res", [5, 10, 20, 30])
@pytest.mark.parametrize("outside", [0.0, -1e-3, 1e-10, -9999.0, -3.4028235e38, np.nan, np.inf])
def test_power_that_is_none_darkens_no_neighbour(tmp_path, res, outside):
    n = 240 // res
    power = np.full((2, n, n), 0.1, np.float32)
    power[:, :, : n // 2 + (res < 10)] = outside  # the swath ends here
    write(tmp_path / "sar.nc", {"vv": power, "vh": power / 4}, res)
    sar = run(tmp_path, radar())["sar"]
    for name, level in (("vv", -10.0), ("vh", 10 * np.log10(0.025))):
        values = sar[name].values
        np.testing.assert_allclose(values[np.isfinite(values)], level, atol=0.0051)
        assert 0.45 < np.isnan(values).mean() < 0.55


def test_infinite_decibels_darken_no_neighbour(tmp_path):
    decibels = np.full((2, 12, 12), -10, np.float32)
    decibels[:, :, :6] = -np.inf
    write(tmp_path / "sar.nc", {"vv": decibels, "vh": decibels}, 20)
    values = run(tmp_path, radar(units="dB"))["sar/vv"].values
    np.testing.assert_allclose(values[np.isfinite(values)], -10, atol=0.0051)


def test_decibels_exported_with_zeros_outside_of_the_swath(tmp_path):
    # As Earth Engine exports backscatter whose masked pixels nobody filled: 0 dB beside -10 dB.
    decibels = np.full((2, 12, 12), -10, np.float32)
    decibels[0, :, :6] = 0
    write(tmp_path / "sar.nc", {"vv": decibels, "vh": decibels}, 20)
    with pytest.raises(SpecError, match=r"sar\.nodata: .* hold 0 in every band.* nodata: 0\."):
        run(tmp_path, radar(units="dB"))
    values = run(tmp_path, radar(units="dB", nodata=0))["sar/vv"].values
    np.testing.assert_allclose(values[np.isfinite(values)], -10, atol=0.0051)
    assert np.isnan(values[0, :, :12]).all()
    assert np.isfinite(values[0, :, 12:]).all()


def test_a_middle_outside_of_the_swath_is_no_wrong_unit(tmp_path):
    power = np.zeros((2, 40, 40), np.float32)
    power[:, :, :3] = 0.1
    write(tmp_path / "sar.nc", {"vv": power, "vh": power / 4})
    assert np.isfinite(run(tmp_path, radar())["sar/vv"].values).sum() == 2 * 40 * 3


# Fill values --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "fill", "nodata", "listed"),
    [
        ("f4", -3.4028234663852886e38, None, r"-3\.40282e\+38"),
        ("f4", -9999.0, None, "-9999"),
        ("f4", -9999.0, 0, r"\[0, -9999\]"),
        ("i2", -9999, 0, r"\[0, -9999\]"),
        ("i2", -32768, -9999, r"\[-9999, -32768\]"),
        ("u2", 65535, 0, r"\[0, 65535\]"),
        ("i2", -999, 0, r"\[0, -999\]"),  # becomes -0.0999, which is possible
    ],
)
def test_a_fill_value_that_nobody_declared_is_named(tmp_path, dtype, fill, nodata, listed):
    stack = optical(dtype=dtype)
    for values in stack.values():
        values[0, :, :2] = np.asarray(fill, dtype)
    write(tmp_path / "optical.nc", stack)
    message = rf"optical\.nodata: 1\d\.\d+ % .*fill value.*write nodata: {listed}\."
    with pytest.raises(SpecError, match=message):
        run(tmp_path, section(nodata=nodata))
    both = [number for number in (nodata, float(fill)) if number is not None]
    red = run(tmp_path, section(nodata=both))["optical/red"].values
    assert np.isnan(red[0, :, :2]).all()
    assert np.isfinite(red[1]).all()
    assert np.isfinite(red[0, :, 2:]).all()


def test_a_fill_value_that_only_the_file_states_is_named(tmp_path):
    stack = optical()
    for values in stack.values():
        values[0, :, :2] = 12  # among the measured numbers
    write(tmp_path / "plain.nc", stack)
    with xr.open_dataset(tmp_path / "plain.nc", decode_cf=False) as data:
        for name in stack:
            data[name].attrs["_FillValue"] = np.int16(12)
        data.to_netcdf(tmp_path / "optical.nc")
    words = r"optical\.nodata: .*optical\.nc .*16 of 128 numbers, and itself .*nodata: \[0, 12\]\."
    with pytest.raises(SpecError, match=words):
        run(tmp_path, section())
    red = run(tmp_path, section(nodata=[0, 12]))["optical/red"].values
    assert np.isnan(red[0, :, :2]).all()
    assert np.isfinite(red[0, :, 2:]).all()


def test_a_fill_value_that_only_a_geotiff_states_is_named(tmp_path):
    for number, time in enumerate(TIMES):
        stack = np.stack([values[number] for values in optical().values()])
        stack[:, :, :2] = 7
        form = {"driver": "GTiff", "height": 8, "width": 8, "count": 4, "dtype": "int16"}
        place = {"crs": "EPSG:32631", "transform": Affine(10, 0, LEFT, 0, -10, TOP), "nodata": 7}
        path = tmp_path / f"S2_{str(time)[:10].replace('-', '')}.tif"
        with rasterio.open(path, "w", **form, **place) as file:
            file.write(stack)
    layout = {
        "files": "S2_*.tif",
        "bands": {band: number for number, band in enumerate(BANDS, 1)},
        "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
    }
    with pytest.raises(SpecError, match=r"S2_20180501\.tif .*itself says that 7 means no data"):
        run(tmp_path, section(**layout))
    red = run(tmp_path, section(**layout, nodata=7))["optical/red"].values
    assert np.isnan(red[:, :, :2]).all()


def test_another_offset_in_the_file_is_said(tmp_path, caplog):
    write(tmp_path / "plain.nc", optical())
    with xr.open_dataset(tmp_path / "plain.nc", decode_cf=False) as data:
        for name in BANDS:
            data[name].attrs |= {"scale_factor": 0.0001, "add_offset": -0.1}
        data.to_netcdf(tmp_path / "optical.nc")
    run(tmp_path, section(offset=-0.1))
    assert "the files state" not in caplog.text
    run(tmp_path, section())
    assert "state scale 0.0001 and offset -0.1; the specification" in caplog.text


def test_two_bands_of_one_variable_are_refused(tmp_path):
    write(tmp_path / "optical.nc", optical())
    bands = {"blue": "blue", "green": "green", "red": "red", "nir": "red"}
    with pytest.raises(SpecError, match=r"optical\.bands\.nir: is red of optical\.nc, as red is"):
        run(tmp_path, section(bands=bands))


def test_a_fill_value_may_be_written_as_it_is_printed(tmp_path):
    stack = {name: values * np.float32(1e-4) for name, values in optical().items()}
    for values in stack.values():
        values[0, :, :2] = -3.4028235e38
    write(tmp_path / "optical.nc", stack)
    for printed in (-3.40282e38, -3.4e38, -3.4028234663852886e38):
        red = run(tmp_path, section(nodata=printed, scale=1))["optical/red"].values
        assert np.isnan(red[0, :, :2]).all()
        np.testing.assert_allclose(red[0, :, 2:], stack["red"][0, :, 2:], atol=6e-5)


def test_zeros_in_every_band_are_a_fill_value(tmp_path):
    stack = optical()
    for values in stack.values():
        values[0, :, 0] = 0
    write(tmp_path / "optical.nc", stack)
    message = r"optical\.nodata: 6\.25 % .* 0 in every band.*write nodata: \[-9999, 0\]"
    with pytest.raises(SpecError, match=message):
        run(tmp_path, section(nodata=-9999))
    stack["nir"][0, :, 0] = 800  # dark water: a band alone may be 0
    write(tmp_path / "optical.nc", stack)
    assert (run(tmp_path, section(nodata=-9999))["optical/red"].values[0, :, 0] == 0).all()


def test_zero_decibels_outside_of_the_swath_are_a_fill_value(tmp_path):
    decibels = np.full((2, 12, 12), -10, np.float32)
    decibels[:, :, :6] = 0
    write(tmp_path / "sar.nc", {"vv": decibels, "vh": decibels - (decibels < 0)}, 30)
    with pytest.raises(SpecError, match=r"sar\.nodata: .*0 in every band.*write nodata: 0\."):
        run(tmp_path, radar(units="dB"))
    values = run(tmp_path, radar(units="dB", nodata=0))["sar/vv"].values
    np.testing.assert_allclose(values[np.isfinite(values)], -10, atol=0.0051)


def test_a_few_saturated_pixels_do_not_refuse_a_series(tmp_path, caplog):
    stack = optical(rows=40, cols=40, dtype=np.uint16)
    stack["blue"][0, 3, 3] = 65535
    write(tmp_path / "optical.nc", stack)
    blue = run(tmp_path, section())["optical/blue"].values
    assert np.argwhere(np.isnan(blue)).tolist() == [[0, 3, 3]]
    assert "optical.bands.blue: 1 of 3200 values are impossible" in caplog.text


# Wrong units --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": -1000}, r"optical\.offset: .*scaled by 0\.0001: did you mean -0\.1\?"),
        ({"scale": 1}, r"optical\.scale: .*unscaled digital numbers.*scale: 0\.0001\?"),
        ({"scale": 0.01}, r"optical\.scale: .*did you mean scale: 0\.0001\?"),
        ({"scale": -0.0001}, r"optical\.scale: is -0\.0001; must not be 0 or negative"),
        ({"nodata": "1e309"}, r"optical\.nodata: holds a number that is infinite"),
        ({"nodata": [0, float("inf")]}, r"optical\.nodata: holds a number that is infinite"),
        ({"nodata": "none"}, r"optical\.nodata.*valid number"),
        ({"offset": [{"from": "2022-01-25", "value": 0}, {"value": 1}]}, r"optical\.offset: the d"),
        ({"offset": [{"since": "2022-01-25", "value": 0}]}, r"since: unknown key; .* from, value"),
    ],
)  # fmt: skip
def test_a_wrong_unit_is_refused_with_its_cause(tmp_path, changes, message):
    write(tmp_path / "optical.nc", optical())
    with pytest.raises(SpecError, match=message):
        run(tmp_path, section(**changes))
    assert not (tmp_path / "out.zarr").exists()


def test_decibels_times_a_hundred(tmp_path):
    vv = np.random.default_rng(0).integers(-1800, -700, (2, 8, 8)).astype(np.int16)
    write(tmp_path / "sar.nc", {"vv": vv, "vh": vv})
    with pytest.raises(SpecError, match=r"sar\.scale: .*did you mean scale: 0\.01\?"):
        run(tmp_path, radar(units="dB"))
    vv[0, :, :2] = -32768  # clipped, these were -327.67 dB
    write(tmp_path / "sar.nc", {"vv": vv, "vh": vv})
    with pytest.raises(SpecError, match=r"sar\.nodata: 12\.5 % .*-32768 .* -327\.68 dB"):
        run(tmp_path, radar(units="dB", scale=0.01))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({1: "maize", 2: "maize"}, "'maize' is the name of both 1 and 2"),
        ({1: "winter wheat", 2: "winter_wheat"}, "'winter_wheat' is the name of both 1 and 2"),
        ({3: "unknown"}, "'unknown' is the name of both 0 and 3"),
        ({3: " "}, "code 3 has an empty name"),
    ],
)
def test_names_of_classes_differ(tmp_path, classes, message):
    write(tmp_path / "optical.nc", optical())
    crops = {"files": "crops.nc", "variable": "CT", "classes": classes}
    with pytest.raises(SpecError, match=rf"landcover\.classes: {message}"):
        run(tmp_path, section() | {"landcover": crops})


# Processing baseline ------------------------------------------------------------------------------


def crossing(step, since="2022-01-25"):
    """A crop from May to September 2022, with a step of the numbers since a day."""
    times = np.datetime64("2021-09-03", "ns") + np.arange(0, 480, 10) * np.timedelta64(1, "D")
    day = (times - np.datetime64("2022-01-01")) / np.timedelta64(1, "D")
    green = 1 / (1 + np.exp(-(day - 130) / 10)) - 1 / (1 + np.exp(-(day - 265) / 10))
    bands = {"blue": 0.06 - 0.03 * green, "green": 0.08 - 0.02 * green,
             "red": 0.12 - 0.085 * green, "nir": 0.2 + 0.3 * green}  # fmt: skip
    late = step * (times >= np.datetime64(since))
    ones = np.ones((1, 6, 6))
    stack = {
        name: np.rint(values[:, None, None] * ones * 1e4 + late[:, None, None]).astype(np.int16)
        for name, values in bands.items()
    }
    return times, stack, bands


def test_a_step_on_another_day_is_refused_and_an_offset_from_it_mends_it(tmp_path):
    times, stack, bands = crossing(1000, "2022-07-20")
    write(tmp_path / "optical.nc", stack, times=times)
    way_out = r"Write offset: \[\{value: 0\}, \{from: 2022-07-20, value: -0\.1\}\], with the day"
    with pytest.raises(SpecError, match=rf"from about 20 July 2022 on, .*0 higher.*{way_out}"):
        run(tmp_path, section())
    dated = [{"value": 0}, {"from": "2022-07-20", "value": -0.1}]
    red = run(tmp_path, section(offset=dated))["optical/red"].values[:, 0, 0]
    np.testing.assert_allclose(red, bands["red"], atol=1.1e-4)


def test_a_step_of_the_numbers_is_refused_and_an_offset_by_date_mends_it(tmp_path):
    times, stack, bands = crossing(1000)
    write(tmp_path / "optical.nc", stack, times=times)
    way_out = r"Write offset: \[\{value: 0\}, \{from: 2022-01-25, value: -0\.1\}\]"
    with pytest.raises(SpecError, match=rf"optical\.offset: from 25 January 2022 .*{way_out}"):
        run(tmp_path, section())
    assert not (tmp_path / "out.zarr").exists()
    dated = [{"value": 0}, {"from": np.datetime64("2022-01-25").item(), "value": -0.1}]
    cube = run(tmp_path, section(offset=dated))["optical"]
    for name, values in bands.items():
        np.testing.assert_allclose(cube[name].values[:, 0, 0], values, atol=1.1e-4)
    short = run(tmp_path, section(offset=dated[1:]) | {"time": {"start": "2022-02-01"}})
    np.testing.assert_allclose(short["optical/red"].values[0, 0, 0], bands["red"][16], atol=1.1e-4)


def test_real_rice_of_2022_needs_the_offset_by_date(tmp_path, real_data):
    file = sorted((real_data / "sentinel" / "angiang_2022" / "s2").glob("*.nc"))[0]
    mask = {"files": str(file), "variable": "SCL", "keep": [4, 5, 6, 7], "nodata": 0}
    spec = section(files=str(file), time="time", masks=[mask])
    spec["grid"] = {"crs": "EPSG:32648"}
    with pytest.raises(
        SpecError, match=r"optical\.offset: from 25 January 2022 .* higher in every"
    ):
        run(tmp_path, spec)
    spec["optical"]["offset"] = [{"value": 0}, {"from": "2022-01-25", "value": -0.1}]
    blue = run(tmp_path, spec)["optical/blue"]
    early, late = blue.sel(time=slice(None, "2022-01-24")), blue.sel(time=slice("2022-01-25", None))
    assert abs(float(late.quantile(0.05)) - float(early.quantile(0.05))) < 0.04


def test_harmonised_numbers_are_read_and_a_second_subtraction_is_refused(tmp_path):
    times, stack, bands = crossing(0)
    write(tmp_path / "optical.nc", stack, times=times)
    red = run(tmp_path, section())["optical/red"].values[:, 0, 0]
    np.testing.assert_allclose(red, bands["red"], atol=1.1e-4)
    dated = [{"value": 0}, {"from": "2022-01-25", "value": -0.1}]
    with pytest.raises(SpecError, match=r"optical\.offset: .* lower in every band.*one offset"):
        run(tmp_path, section(offset=dated))


def test_one_dated_offset_states_that_the_numbers_are_right(tmp_path):
    times, stack, _ = crossing(1000)
    write(tmp_path / "optical.nc", stack, times=times)
    cube = run(tmp_path, section(offset=[{"from": "2015-01-01", "value": 0}]))
    assert cube["optical"].attrs["offset_step"] == "none, by the specification"


def test_baselines_in_the_names_of_files(tmp_path):
    times, stack, _ = crossing(0)
    for k, baseline in ((2, "0301"), (20, "0400")):
        name = f"S2A_MSIL2A_20220101T105341_N{baseline}_R051_T31UFS.nc"
        write(tmp_path / name, {n: v[k : k + 1] for n, v in stack.items()}, times=times[k : k + 1])
    with pytest.raises(SpecError, match=r"optical\.offset: by their names, S2A.*N0301.*N0400"):
        run(tmp_path, section(files="S2A*.nc"))
    stated = [{"from": "2015-01-01", "value": 0}]
    assert run(tmp_path, section(files="S2A*.nc", offset=stated))["optical"].sizes["time"] == 2


# Centres and corners ------------------------------------------------------------------------------


def whole(shift=0.0):
    left, top = LEFT - shift, TOP + shift
    return {"GeoTransform": f"{left} 10.0 0.0 {top} 0.0 -10.0"}


def test_corners_as_coordinates_are_not_read_as_centres(tmp_path, caplog):
    stack = optical(rows=12, cols=12)
    write(tmp_path / "optical.nc", stack, shift=5.0)
    with pytest.raises(SpecError, match=r"optical\.pixel_coordinates: .*multiples .*10 m.*corner"):
        run(tmp_path, section())
    write(tmp_path / "shown.nc", stack, shift=5.0, **whole())
    for changes in ({"pixel_coordinates": "corner"}, {"files": "shown.nc"}):
        cube = run(tmp_path, section(**changes))["optical"]
        assert (cube["x"].values[0], cube["y"].values[0]) == (LEFT + 5, TOP - 5)
        np.testing.assert_allclose(cube["red"].values, stack["red"] * 1e-4, atol=1e-6)
    assert "interpolated" not in caplog.text
    cube = run(tmp_path, section(pixel_coordinates="centre"))["optical"]  # a grid of its own
    assert cube.sizes["x"] == 13
    assert "edges lie 5 m east and 5 m north" in caplog.text


@pytest.mark.parametrize("flip", [False, True])
def test_corners_are_the_upper_left_ones_whichever_way_y_runs(tmp_path, flip):
    stack = optical()
    write(tmp_path / "north.nc", stack, shift=5.0)
    with xr.open_dataset(tmp_path / "north.nc", decode_cf=False) as data:
        data.isel(y=slice(None, None, -1 if flip else 1)).to_netcdf(tmp_path / "optical.nc")
    cube = run(tmp_path, section(pixel_coordinates="corner"))["optical"]
    np.testing.assert_allclose(cube["red"].values, stack["red"] * 1e-4, atol=1e-6)


def placed(crs, first, step, key="optical.pixel_coordinates", **attrs):
    """Place the pixels of a file with these coordinates: its upper left corner."""
    coords = {n: o + d * np.arange(4) for n, o, d in zip("xy", first, step, strict=True)}
    data = xr.Dataset({"red": (("y", "x"), np.zeros((4, 4)), attrs)}, coords)
    if "bounds" in attrs:
        for name, edge, size in zip("xy", attrs["bounds"], step, strict=True):
            edges = edge + size * np.arange(5)
            data[f"{name}_bnds"] = ((name, "nv"), np.stack([edges[:-1], edges[1:]], axis=1))
            data[name].attrs["bounds"] = f"{name}_bnds"
    affine = pixel_affine(first, step, crs, data, data["red"], ("x", "y"), "a.nc", key, None)
    return affine.c, affine.f


@pytest.mark.parametrize("size", [1.5, 8.0, 10.0, 15.0, 30.0, 100.0])
def test_coordinates_on_multiples_of_any_pixel_size_need_a_word(size):
    step, left, top = (size, -size), 40000 * size, 360000 * size
    half = size / 2
    assert placed("EPSG:32631", (left + half, top - half), step) == (left, top)
    assert placed("EPSG:32631", (left + 0.3 * size, top), step)  # a grid of its own
    for first in ((left, top), (left, top - half), (left + half, top)):
        with pytest.raises(SpecError, match=rf"multiples of the pixel size, {size:g} m.*Landsat"):
            placed("EPSG:32631", first, step)
    transform = [size, 0, left, 0, -size, top]
    assert placed("EPSG:32631", (left, top), step, transform=transform) == (left, top)
    landsat = [size, 0, left - half, 0, -size, top + half]
    assert placed("EPSG:32631", (left, top), step, transform=landsat) == (left - half, top + half)
    assert placed("EPSG:32631", (left, top), step, bounds=(left, top)) == (left, top)
    with pytest.raises(SpecError, match="multiples"):  # the geotransform of another raster
        placed("EPSG:32631", (left, top), step, transform=[3 * size, 0, left, 0, -3 * size, top])


@pytest.mark.parametrize("size", [0.0001, 1 / 12000, 0.00025])
def test_in_degrees_the_geotransform_or_the_bounds_decide_else_a_warning(size, caplog):
    step, left, top = (size, -size), 100000 * size, 500000 * size
    transform = [size, 0, left, 0, -size, top]
    for said in ({"transform": transform}, {"bounds": (left, top)}):
        for x, y in ((left, top), (left + size / 2, top - size / 2)):
            assert placed("EPSG:4326", (x, y), step, **said) == pytest.approx((left, top))
    with pytest.raises(SpecError, match=r"neither .* by their CF bounds"):
        placed("EPSG:4326", (left + size / 4, top), step, bounds=(left, top))
    assert not caplog.records
    centre = (left - size / 2, top + size / 2)
    assert placed("EPSG:4326", (left, top), step) == pytest.approx(centre)
    assert "multiples of the pixel size" in caplog.text
    assert caplog.text.count("taken as centres") == 1  # and not once a band


@pytest.mark.slow
def test_a_geotransform_of_the_whole_or_of_another_raster_does_no_harm(tmp_path):
    stack = optical()
    for attrs in (
        whole(), whole(shift=100.0),  # cropped since
        {"GeoTransform": f"{LEFT} 20.0 0.0 {TOP} 0.0 -20.0"},  # of the raster before averaging
        {"GeoTransform": "unreadable"},
    ):  # fmt: skip
        write(tmp_path / "optical.nc", stack, **attrs)
        red = run(tmp_path, section())["optical/red"].values
        np.testing.assert_allclose(red, stack["red"] * 1e-4, atol=1e-6)
    write(tmp_path / "optical.nc", stack, **whole(shift=3.0))
    with pytest.raises(SpecError, match=r"pixel_coordinates: .*neither centres nor corners"):
        run(tmp_path, section())


# One pass -----------------------------------------------------------------------------------------


def test_looks_of_one_pass_are_one_time(tmp_path):
    seconds = np.timedelta64(14, "s")
    times = np.sort(np.r_[TIMES, TIMES + seconds])
    stack = optical(times)
    for values in stack.values():
        values[0, :, 4:] = 0  # the first tile covers the left half, the second the right
        values[1, :, :4] = 0
    write(tmp_path / "optical.nc", stack, times=times)
    cube = run(tmp_path, section())["optical"]
    np.testing.assert_array_equal(cube["time"].values, TIMES)
    red = stack["red"] * 1e-4
    np.testing.assert_allclose(cube["red"].values[0, :, :4], red[0, :, :4], atol=1e-6)
    np.testing.assert_allclose(cube["red"].values[0, :, 4:], red[1, :, 4:], atol=1e-6)
    np.testing.assert_allclose(cube["red"].values[1], red[2], atol=1e-6)


def test_a_pixel_is_taken_from_the_clear_look_with_its_class(tmp_path):
    times = np.r_[TIMES[:1], TIMES[:1] + np.timedelta64(14, "s")]
    classes = np.full((2, 8, 8), 4, np.uint8)
    classes[0, 0] = 9  # cloud in the first processing alone
    classes[:, 1] = 8
    stack = optical(times)
    write(tmp_path / "optical.nc", stack | {"c": classes}, times=times)
    mask = {"files": "optical.nc", "variable": "c", "keep": [4], "nodata": 0, "store_as": "scl"}
    cube = run(tmp_path, section(masks=[mask]))["optical"]
    red = stack["red"] * 1e-4
    np.testing.assert_allclose(cube["red"].values[0, 0], red[1, 0], atol=1e-6)
    np.testing.assert_allclose(cube["red"].values[0, 2:], red[0, 2:], atol=1e-6)
    assert np.isnan(cube["red"].values[0, 1]).all()
    assert cube["scl"].values[0, :3, 0].tolist() == [4, 8, 4]


def test_orbits_stay_apart(tmp_path):
    times = np.r_[TIMES[:1], TIMES[:1] + np.timedelta64(25, "s")]
    power = np.full((2, 6, 6), 0.1, np.float32)
    write(
        tmp_path / "sar.nc",
        {
            "vv": power,
            "vh": power,
        },
        times=times,
    )
    assert run(tmp_path, radar(relative_orbit=37))["sar"].sizes["time"] == 1
