import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.cubes import make_cube
from tests.helpers.full_disk import largest_file

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.chunks import seal
from deepcrop.cube.contract import OPTICAL_BANDS, build, check, grid_of, is_simulated, unit_of
from deepcrop.cube.io import create_store, open_cube, save_cube
from deepcrop.cube.packing import pack, plain
from deepcrop.errors import CubeError, DeepCropError

FORMATS = ["cube.zarr", "cube.nc"]
STEP = {"optical": 0.0001, "sar": 0.01}


def changed(cube, name, change):
    """The cube with ``change`` applied to the dataset of one group; unchecked."""
    nodes = {f"/{key}": node.to_dataset() for key, node in cube.children.items()}
    nodes[f"/{name}"] = change(nodes[f"/{name}"])
    return xr.DataTree.from_dict(nodes | {"/": xr.Dataset(attrs=cube.attrs)})


def assert_same(found, cube):
    """Same groups, coordinates, attributes; values to half a step."""
    assert set(found.children) == set(cube.children)
    assert found.attrs == cube.attrs
    for name, node in cube.children.items():
        left, right = found[name].to_dataset(), node.to_dataset()
        assert left.attrs == right.attrs
        assert set(left.variables) == set(right.variables)
        assert set(left.coords) == set(right.coords)
        assert grid.grid_of(left) == grid.grid_of(right)
        for variable, expected in right.variables.items():
            array = left[variable].variable
            assert array.dims == expected.dims
            assert array.dtype == expected.dtype
            step = STEP[name] if expected.dtype == np.float32 else 0
            if expected.dtype.kind == "M":
                np.testing.assert_array_equal(array, expected)
            else:
                np.testing.assert_allclose(array, expected, rtol=1e-6, atol=step / 2)
        for variable in right.data_vars:
            assert left[variable].attrs == right[variable].attrs


# build


def test_build_describes_every_variable(cube):
    check(cube)
    assert cube.attrs["software"].startswith("deepcrop ")
    for name, unit in [("optical", "1"), ("sar", "dB")]:
        for array in cube[name].data_vars.values():
            assert array.attrs["units"] == unit == unit_of(array.name)
            assert array.attrs["long_name"]
    assert "units" not in cube["landcover/crop_type"].attrs


def test_build_leaves_its_arguments_alone(cube):
    optical = cube["optical"].to_dataset()
    for array in optical.data_vars.values():
        array.attrs = {}
    before, attrs = optical.copy(deep=True), {"title": "here"}
    built = build(optical, attrs=attrs)
    assert attrs == {"title": "here"}
    assert built.attrs["title"] == "here"
    xr.testing.assert_identical(optical, before)


def test_either_group_is_enough(cube):
    for name in ("optical", "sar"):
        built = build(**{name: cube[name].to_dataset()})
        assert set(built.children) == {name}
        assert grid_of(built) == grid_of(cube)


def test_build_refuses_a_unit_that_contradicts_the_contract(cube):
    sar = cube["sar"].to_dataset()
    sar["vv"].attrs["units"] = "m2/m2"
    with pytest.raises(CubeError, match=r"sar/vv: units are 'm2/m2'; expected 'dB'"):
        build(sar=sar)


def test_simulated_cubes_say_so(cube):
    assert not is_simulated(cube)
    cube["sar"].attrs["simulated"] = 1
    assert is_simulated(cube)


# check


def times(*values):
    return lambda data: data.isel(time=slice(len(values))).assign_coords(
        time=np.array(values, "datetime64[ns]")
    )


def coarser(data):
    box = grid.make_grid((500000, 5600000, 500600, 5600400), "EPSG:32631", 20)
    return grid.assign_grid(data, box)


def constant(variable, value):
    return lambda data: data.assign(
        {variable: xr.full_like(data[variable], value).assign_attrs(data[variable].attrs)}
    )


def without_attribute(key):
    def change(data):
        data = data.copy()
        del data.attrs[key]
        return data

    return change


BREACHES = {
    "missing band": ("optical", lambda d: d.drop_vars("nir"), "variable 'nir' is missing; found"),
    "missing bands": ("sar", lambda d: d[[]], "variable 'vh' is missing; found none"),
    "missing class": ("landcover", lambda d: d[[]], "variable 'crop_type' is missing"),
    "dims": (
        "optical",
        lambda d: d.assign(red=d.red.transpose("y", "x", "time")),
        r"optical/red: dimensions are \('y', 'x', 'time'\); expected \('time', 'y', 'x'\)",
    ),
    "class with time": (
        "landcover",
        lambda d: d.expand_dims(time=2),
        r"crop_type: dimensions are .*expected \('y', 'x'\)",
    ),
    "float64": (
        "sar",
        lambda d: d.assign(vv=d.vv.astype("float64")),
        "sar/vv: type is float64; expected float32",
    ),
    "integers": (
        "optical",
        lambda d: d.assign(red=d.red.astype("int16")),
        "optical/red: type is int16; expected float32 .unpack integers",
    ),
    "class type": (
        "landcover",
        lambda d: d.astype("int64"),
        "crop_type: type is int64; expected uint16",
    ),
    "scl type": (
        "optical",
        lambda d: d.assign(scl=d.red),
        "optical/scl: type is float32; expected uint8",
    ),
    "rededge3 type": (
        "optical",
        lambda d: d.assign(rededge3=d.red.astype("float64")),
        "optical/rededge3: type is float64",
    ),
    "unit": (
        "sar",
        lambda d: d.assign(vh=d.vh.assign_attrs(units="linear")),
        "sar/vh: units are 'linear'; expected 'dB'",
    ),
    "no unit": (
        "optical",
        lambda d: d.assign(red=d.red.drop_attrs()),
        "optical/red: units are None; expected '1'",
    ),
    "no time": ("sar", lambda d: d.drop_vars("time"), "sar: coordinate 'time' is missing"),
    "scalar time": ("optical", lambda d: d.isel(time=0), "optical: .*'time' .*one-dimensional"),
    "empty time": (
        "optical",
        lambda d: d.isel(time=slice(0)),
        "optical: the time axis is empty; expected at least one scene",
    ),
    "unsorted time": ("optical", lambda d: d.isel(time=[1, 0, 2]), "not sorted; use .sortby"),
    "double time": (
        "sar",
        lambda d: d.isel(time=[0, 1, 1]),
        "sar: time 2018-03-07T17:30:00.* occurs twice; merge",
    ),
    "NaT": ("sar", times("2018-03-01", "NaT", "2018-03-02"), r"missing values \(NaT\)"),
    "time type": (
        "sar",
        lambda d: d.assign_coords(time=[0, 1, 2, 3]),
        r"sar: time is int64; expected datetime64\[ns\]",
    ),
    "time unit": (
        "sar",
        lambda d: d.assign_coords(time=d.time.astype("datetime64[s]")),
        r"time is datetime64\[s\]; expected datetime64\[ns\]",
    ),
    "other grid": (
        "sar",
        lambda d: d.assign_coords(x=d.x + 10),
        "sar: its grid differs from that of 'optical' .*20 x 30.*resample",
    ),
    "other extent": ("landcover", lambda d: d.isel(x=slice(10)), "landcover: its grid differs"),
    "20 m": ("optical", coarser, "optical: pixels are 20.* m; expected 10 or 30 m"),
    "geographic": (
        "optical",
        lambda d: d.drop_vars("spatial_ref").odc.assign_crs("EPSG:4326"),
        "optical: Reference system 'WGS 84' is not projected",
    ),
    "no reference system": (
        "sar",
        lambda d: d.drop_vars("spatial_ref"),
        "sar: No reference system: expected a 'spatial_ref'",
    ),
    "south-up": (
        "sar",
        lambda d: d.isel(y=slice(None, None, -1)),
        "sar: The grid must be north-up",
    ),
    "uneven": ("optical", lambda d: d.isel(x=[0, 1, 3]), "optical: .*evenly spaced"),
    "no x": ("optical", lambda d: d.drop_vars("x"), "optical: Coordinate 'x' is missing"),
    "no source": ("optical", without_attribute("source"), "optical: attribute 'source' is missing"),
    "no offset": ("optical", without_attribute("offset"), "optical: attribute 'offset' is missing"),
    "no radiometry": (
        "sar",
        without_attribute("radiometry"),
        "sar: attribute 'radiometry' is missing",
    ),
    "radiometry": (
        "sar",
        lambda d: d.assign_attrs(radiometry="gamma0"),
        "radiometry is 'gamma0'; expected one of 'sigma0', 'sigma0 from gamma0, approximate'",
    ),
    "digital numbers": (
        "optical",
        constant("red", 800),
        "optical/red: 100 % of the values .* 800 .*digital numbers .*multiply by 0.0001",
    ),
    "power": (
        "sar",
        lambda d: d.assign(vv=(10 ** (d.vv / 10)).assign_attrs(units="dB")),
        "sar/vv: .*linear power, expected dB",
    ),
    "no decibels": ("sar", constant("vh", -1800), "sar/vh: .*median is -1800, no backscatter"),
    "two looks of a pass": (
        "sar",
        times("2018-03-01T17:30:00", "2018-03-01T17:30:25", "2018-03-07"),
        "sar: 1 of 3 times .*2018-03-01T17:30:00 and 2018-03-01T17:30:25.*one pass.*Merge",
    ),
    "negative reflectance": (
        "optical",
        constant("blue", -0.05),
        "optical/blue: the median is -0.05, .*offset of -0.1",
    ),
    "infinities": (
        "optical",
        lambda d: d.assign(blue=d.blue.where(d.blue > 0.1, np.float32(np.inf))),
        "optical/blue: holds infinite values; use NaN",
    ),
    "minus infinities": (
        "sar",
        lambda d: d.assign(vv=d.vv.where(d.vv > -10, np.float32(-np.inf))),
        "sar/vv: holds infinite values",
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_check_names_the_breach(cube, breach):
    name, change, message = BREACHES[breach]
    with pytest.raises(CubeError, match=message):
        check(changed(cube, name, change))


def test_check_asks_for_a_measured_group(cube):
    landcover = cube["landcover"].to_dataset()
    for tree in (xr.DataTree(), xr.DataTree.from_dict({"/landcover": landcover})):
        with pytest.raises(CubeError, match="neither an 'optical' nor a 'sar' group"):
            check(tree)


def test_check_lists_all_breaches_and_the_place(cube, tmp_path):
    bad = changed(cube, "optical", lambda d: d.drop_vars(["nir", "time"]))
    bad = changed(bad, "sar", without_attribute("source"))
    with pytest.raises(CubeError) as error:
        check(bad, tmp_path / "region.zarr")
    lines = str(error.value).splitlines()
    assert "region.zarr: this is not a valid observation cube" in lines[0]
    assert len(lines) == 4


def test_no_data_at_all_is_no_breach(cube):
    check(changed(cube, "sar", constant("vv", np.nan)))


def test_open_water_and_snow_are_no_breach(cube):
    dark = changed(cube, "sar", constant("vh", -35))
    check(changed(dark, "optical", constant("red", 1.1)))


def test_other_groups_are_left_alone(cube):
    cube["truth"] = xr.DataTree(xr.Dataset({"sos20": ("anything", [1.5, 2.5])}))
    check(cube)


# pack


@settings(deadline=None)
@given(st.floats(-3.2767, 3.2767), st.sampled_from([0.0001, 0.01]))
def test_packing_errs_by_half_a_step_at_most(value, scale):
    packed = pack(np.array([value], np.float32), scale)
    assert packed.dtype == np.int16
    assert packed[0] * scale == pytest.approx(value, abs=scale * 0.5 + 1e-6)


def test_golden_packing():
    values = np.array([0, 0.1, -0.0123, np.nan, 9, -9, np.inf, -np.inf], np.float32)
    none = -32768
    expected = [0, 1000, -123, none, none, none, none, none]
    np.testing.assert_array_equal(pack(values, 0.0001), expected)


# save, open


@pytest.mark.parametrize("name", FORMATS)
def test_a_saved_cube_opens_as_it_was(cube, tmp_path, name):
    cube.attrs |= {"title": "Grünes Feld", "cells": [1, 2], "seed": 3}
    optical = cube["optical"].to_dataset()
    optical["red"][1, 2, 3] = np.nan
    optical["blue"][:] = np.nan
    scl = np.arange(optical.red.size).reshape(optical.red.shape) % 12
    optical["scl"] = (optical.red.dims, scl.astype(np.uint8))
    optical["rededge3"] = optical.nir
    landcover = cube["landcover"].to_dataset()
    landcover["field_id"] = landcover.crop_type.astype(np.uint32) * 70000
    cube = build(optical, cube["sar"].to_dataset(), landcover, cube.attrs)
    save_cube(cube, tmp_path / name)
    found = open_cube(str(tmp_path / name))
    np.testing.assert_array_equal(np.isnan(found["optical/red"]), np.isnan(optical.red))
    assert np.isnan(found["optical/blue"]).all()
    assert_same(found, cube)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_file_keeps_by_name(cube, tmp_path, name):
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name)
    sar, crops = found["sar"].to_dataset(), found["landcover/crop_type"]
    assert list(sar.coords["relative_orbit"]) == [161] * 4
    assert sar.coords["relative_orbit"].dtype == np.int16
    assert sar.attrs["radiometry"] == "sigma0"
    assert crops.attrs["flag_values"] == [0, 1]
    assert crops.attrs["flag_meanings"] == "unknown maize"
    assert crops.dtype == np.uint16
    for group in found.children.values():
        assert group.to_dataset().odc.crs == "EPSG:32631"
        assert "spatial_ref" in group.coords
    for array in (*sar.data_vars.values(), *found["optical"].data_vars.values()):
        assert array.dtype == np.float32


@pytest.mark.parametrize("name", FORMATS)
def test_opening_reads_no_data(cube, tmp_path, name):
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name)
    for group in found.children.values():
        for array in group.data_vars.values():
            assert not array.variable._in_memory


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_crop_class_stays_a_list(cube, tmp_path, name):
    cube["landcover/crop_type"].attrs |= {"flag_values": [0], "flag_meanings": "unknown"}
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name)
    assert found["landcover/crop_type"].attrs["flag_values"] == [0]


@pytest.mark.parametrize("name", FORMATS)
def test_fractions_of_a_second_are_kept(cube, tmp_path, name):
    cube = changed(
        cube, "sar", times("2018-03-01T17:30:00.123456", "2018-03-02T17:30:00.623456", "2018-03-07")
    )
    save_cube(cube, tmp_path / name)
    assert_same(open_cube(tmp_path / name), cube)


@pytest.mark.parametrize("name", FORMATS)
def test_few_impossible_values_become_no_data_and_many_are_refused(tmp_path, name, caplog):
    cube = make_cube(rows=40, cols=40)  # the corner lies outside the sample that check looks at
    optical = cube["optical"].to_dataset()
    optical["red"][0, 0, :3] = [5, -5, np.inf]
    save_cube(changed(cube, "optical", lambda _: optical), tmp_path / name)
    assert np.isnan(open_cube(tmp_path / name)["optical/red"][0, 0, :3]).all()
    assert "optical/red: 2 of 9599 values are impossible" in caplog.text
    optical["red"][:, 0, :3] = -9999
    with pytest.raises(CubeError, match=r"red: 0.188 % .*-9999 looks like the fill value"):
        save_cube(changed(cube, "optical", lambda _: optical), tmp_path / name, overwrite=True)


@pytest.mark.parametrize("name", FORMATS)
def test_provenance_of_any_plain_type_is_saved(cube, tmp_path, name):
    cube.attrs |= {"flag": True, "number": np.float32(0.5), "array": np.array([1, 2]), "what": None}
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name).attrs
    assert found["flag"] == 1
    assert found["number"] == 0.5
    assert found["array"] == [1, 2]
    assert not found.get("what")


@pytest.mark.parametrize("name", FORMATS)
def test_chunks_hold_whole_time_columns(tmp_path, name, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", 8)
    cube = make_cube(rows=20, cols=30)
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name)
    assert_same(found, cube)
    times = contract.ROOM if name.endswith("zarr") else 6
    assert found["optical/red"].encoding["preferred_chunks"] == {"time": times, "y": 8, "x": 8}


@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_part_of_an_opened_cube_can_be_saved_again(cube, tmp_path, first, second):
    save_cube(cube, tmp_path / first)
    opened = open_cube(tmp_path / first)
    part = opened
    for name in opened.children:
        part = changed(part, name, lambda d: d.isel(y=slice(2, 19), x=slice(3, 20)))
    part = changed(part, "optical", lambda d: d.isel(time=slice(1, 4)))
    save_cube(part, tmp_path / f"again-{second}")
    assert_same(open_cube(tmp_path / f"again-{second}"), part)


@pytest.mark.parametrize("name", FORMATS)
def test_saving_does_not_change_the_cube(cube, tmp_path, name):
    before = cube.copy(deep=True)
    save_cube(cube, tmp_path / name)
    xr.testing.assert_identical(cube, before)
    for group in cube.children.values():
        assert not any(v.encoding.get("dtype") for v in group.variables.values())


@pytest.mark.parametrize("name", FORMATS)
def test_other_groups_are_saved_as_they_are(cube, tmp_path, name):
    truth = xr.Dataset(
        {
            "sos20": (("y", "x"), np.full((20, 30), 32767, np.int16), {"long_name": "truth"}),
            "weather": ("day", np.linspace(0, 1, 5)),
            "camera": ((), 3),
        }
    )
    cube["truth"] = xr.DataTree(grid.assign_grid(truth, grid_of(cube)))
    save_cube(cube, tmp_path / name)
    found = open_cube(tmp_path / name)["truth"].to_dataset()
    xr.testing.assert_equal(found, cube["truth"].to_dataset())
    assert found.sos20.dtype == np.int16
    assert found.sos20.attrs == {"long_name": "truth"}


@pytest.mark.parametrize("name", FORMATS)
def test_an_existing_cube_is_only_replaced_on_request(cube, tmp_path, name):
    path = tmp_path / name
    save_cube(cube, path)
    with pytest.raises(DeepCropError, match="exists"):
        save_cube(cube, path)
    other = make_cube(seed=1)
    other = xr.DataTree.from_dict({"/": other.to_dataset(), "/sar": other["sar"].to_dataset()})
    save_cube(other, path, overwrite=True)
    assert_same(open_cube(path), other)


def test_a_foreign_cube_saved_by_us_can_be_overwritten(cube, tmp_path):
    cube.attrs.clear()
    for _ in range(2):
        save_cube(cube, tmp_path / "cube.zarr", overwrite=True)


@pytest.mark.parametrize("name", FORMATS)
def test_saving_refuses_a_bad_cube_and_a_missing_folder(cube, tmp_path, name):
    with pytest.raises(DeepCropError, match="nowhere does not exist"):
        save_cube(cube, tmp_path / "nowhere" / name)
    bad = changed(cube, "optical", lambda d: d.drop_vars("red"))
    with pytest.raises(CubeError, match="'red' is missing"):
        save_cube(bad, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def fail(monkeypatch):
    def error(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cube_io, "write_block", error)
    monkeypatch.setattr(xr.DataTree, "to_netcdf", error)
    return monkeypatch


@pytest.mark.parametrize("name", FORMATS)
def test_after_an_interrupted_save_nothing_passes_for_a_cube_and_saving_works(
    cube, tmp_path, name, fail
):
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        save_cube(cube, path)
    fail.undo()
    with pytest.raises(CubeError, match="unfinished" if name == "cube.zarr" else "does not exist"):
        open_cube(path)
    smaller = xr.DataTree.from_dict({"/": cube.to_dataset(), "/sar": cube["sar"].to_dataset()})
    save_cube(smaller, path)
    assert_same(open_cube(path), smaller)


# open_cube on what is no cube


def test_a_netcdf_on_a_full_disk_is_an_error_of_the_system(tmp_path):
    with largest_file(20_000), pytest.raises(OSError, match=r"nc cannot be written .*disk full"):
        save_cube(make_cube(), tmp_path / "cube.nc")
    assert not (tmp_path / "cube.nc").exists()


def text_file(path):
    path.write_text("no netCDF")


def empty_folder(path):
    path.mkdir()


def bad_zarr(path):
    path.mkdir()
    (path / "zarr.json").write_text("{")


def zarr_array(path):
    zarr.create_array(path, shape=(2,), dtype="i2")


def half_a_file(path):
    save_cube(make_cube(rows=60, cols=60), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_file(path):
    save_cube(make_cube(rows=60, cols=60), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = bytes(len(content) // 3)
    path.write_bytes(content)


def damaged_chunk(path):
    save_cube(make_cube(), path)
    chunk = next(p for p in (path / "sar" / "vv" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"damaged")


def leftover(path):
    path.with_name(path.name + ".part").mkdir()


def group_gone(path):
    save_cube(make_cube(), path)
    shutil.rmtree(path / "optical")
    shutil.rmtree(path / "sar")


def variable_gone(path):
    save_cube(make_cube(), path)
    shutil.rmtree(path / "sar" / "vh")


def bad_date(path):
    save_cube(make_cube(), path)
    file = path / "sar" / "time" / "zarr.json"
    meta = json.loads(file.read_text())
    meta["attributes"]["units"] = "fortnights since Easter"
    file.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.zarr", lambda path: None, "does not exist; expected a Zarr store or a NetCDF-4 file"),
        ("a.zarr", empty_folder, "is a folder but no Zarr version 3 store"),
        ("a.zarr", leftover, r"is unfinished \(a.zarr.part is there\).*goes on where it stopped"),
        ("a.zarr", bad_zarr, "cannot be read as a cube"),
        ("a.zarr", zarr_array, "cannot be read as a cube"),
        ("a.zarr", group_gone, "neither an 'optical' nor a 'sar' group"),
        ("a.zarr", variable_gone, "sar: variable 'vh' is missing; found vv"),
        ("a.zarr", damaged_chunk, "cannot be read as a cube"),
        ("a.zarr", bad_date, "time"),
        ("a.nc", text_file, "cannot be read as a cube"),
        ("a.nc", half_a_file, "cannot be read as a cube"),
        ("a.nc", damaged_file, "cannot be read as a cube"),
    ],
)
def test_opening_what_is_no_cube_says_why(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(CubeError, match=message) as error:
        open_cube(path)
    assert name in str(error.value)


def test_a_foreign_file_packed_with_an_offset_opens_as_float32(cube, tmp_path):
    scaled = {
        v: {"dtype": "uint16", "scale_factor": 0.0001, "add_offset": -0.1, "_FillValue": 65535}
        for v in OPTICAL_BANDS
    }
    xr.DataTree.from_dict({"/optical": cube["optical"].to_dataset()}).to_netcdf(
        tmp_path / "a.nc", encoding={"/optical": scaled}
    )
    red = open_cube(tmp_path / "a.nc")["optical/red"]
    assert red.dtype == np.float32
    np.testing.assert_allclose(red, cube["optical/red"], atol=6e-5)


# create_group, write_block


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_any_part_of_an_opened_cube_is_unpacked(cube, tmp_path, name):
    cube["optical"]["red"][1, :3] = np.nan
    save_cube(cube, tmp_path / name)
    engine = {"zarr": "zarr", "nc": "netcdf4"}[name[2:]]
    ours = open_cube(tmp_path / name)
    for group in ("optical", "sar"):
        options = {"consolidated": False} if engine == "zarr" else {}
        theirs = xr.open_dataset(
            tmp_path / name, group=group, engine=engine, mask_and_scale=False, **options
        )
        opened = ours[group].to_dataset()
        points = xr.DataArray([1, 5, 2], dims="point")
        for part in (
            {},
            {"time": 1, "y": slice(2, 9, 3), "x": -1},
            {"time": [2, 0], "y": [5, 1]},
            {"y": points, "x": points},
        ):
            for variable in opened.data_vars:
                stored = theirs[variable].isel(part)
                expected = stored.values
                if "scale_factor" in stored.attrs:
                    scaled = expected * np.float32(stored.attrs["scale_factor"])
                    expected = np.where(expected == -32768, np.float32(np.nan), scaled)
                np.testing.assert_array_equal(
                    opened[variable].isel(part).values, expected, strict=True
                )


def test_blocks_give_the_same_store_as_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", 8)
    cube = make_cube(rows=20, cols=30)
    save_cube(cube, tmp_path / "whole.zarr")
    blocks = tmp_path / "blocks.zarr"
    create_store(blocks, cube.attrs)
    for name, node in cube.children.items():
        data = node.to_dataset()
        cube_io.create_group(blocks, name, data)
        for tile in reversed(list(grid.tiles((20, 30), 8))):
            rows, cols = tile.core
            arrays = {v: data[v].values[..., rows, cols] for v in data.data_vars}
            cube_io.write_block(blocks, name, arrays, rows, cols)
    seal(blocks)
    files = [p.relative_to(blocks) for p in sorted(blocks.rglob("*")) if p.is_file()]
    assert len(files) > 100
    for file in files:
        assert (blocks / file).read_bytes() == (tmp_path / "whole.zarr" / file).read_bytes(), file


def test_blocks_not_written_are_no_data(cube, tmp_path):
    data = cube["sar"].to_dataset()
    create_store(tmp_path / "a.zarr", {})
    cube_io.create_group(tmp_path / "a.zarr", "sar", data)
    values = data.vv.values[:, :5, :7]
    cube_io.write_block(tmp_path / "a.zarr", "sar", {"vv": values}, slice(0, 5), slice(0, 7))
    sar = open_cube(tmp_path / "a.zarr")["sar"]
    np.testing.assert_allclose(sar["vv"][:, :5, :7], values, atol=0.00501)
    assert np.isnan(sar["vv"][:, 5:]).all()
    assert np.isnan(sar["vv"][:, :, 7:]).all()
    assert np.isnan(sar["vh"]).all()


def test_a_store_can_be_begun_again(cube, tmp_path):
    for _ in range(2):  # interrupted before its first block
        create_store(tmp_path / "a.zarr", cube.attrs)
        cube_io.create_group(tmp_path / "a.zarr", "sar", cube["sar"].to_dataset())
    assert open_cube(tmp_path / "a.zarr").attrs == cube.attrs


@pytest.mark.parametrize("variable", ["hh", "scl"])
def test_writing_an_unknown_variable_is_refused(cube, tmp_path, variable):
    create_store(tmp_path / "a.zarr", {})
    cube_io.create_group(tmp_path / "a.zarr", "sar", cube["sar"].to_dataset())
    block = {variable: np.zeros((4, 1, 1), np.float32)}
    with pytest.raises(CubeError, match=rf"sar/{variable} is not an array"):
        cube_io.write_block(tmp_path / "a.zarr", "sar", block, slice(1), slice(1))


def test_plain_attributes_are_json():
    attrs = {"a": np.float32(1), "b": np.array([1, 2]), 3: "c", "d": [np.int16(4)]}
    assert json.loads(json.dumps(plain(attrs))) == {
        "a": 1,
        "b": [1, 2],
        "3": "c",
        "d": [4],
    }
