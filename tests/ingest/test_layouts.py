"""Layouts of files that archives and tools write, each described as docs/layouts.md does."""

import re
from pathlib import Path

import netCDF4
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
from deepcrop.ingest.spec_file import load_spec

BANDS = ("blue", "green", "red", "nir")
NUMBERS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
DATES = ("2018-05-04", "2018-05-09", "2018-05-14")
DAYS = [date.replace("-", "") for date in DATES]
LEFT, TOP, SIDE = 500000, 5600000, 8


def stored(band):
    """Numbers of a band, (date, y, x), which differ everywhere."""
    k = BANDS.index(band)
    return (1000 * (k + 1) + np.arange(3 * SIDE**2).reshape(3, SIDE, SIDE)).astype(np.uint16)


def geotiff(path, layers, descriptions=(), **profile):
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = np.asarray(layers)
    given = {"crs": "EPSG:32631", "transform": Affine(10, 0, LEFT, 0, -10, TOP)} | profile
    with rasterio.open(
        path, "w", driver="GTiff", dtype=layers.dtype, count=len(layers), height=layers.shape[1],
        width=layers.shape[2], **given
    ) as file:  # fmt: skip
        file.write(layers)
        for k, text in enumerate(descriptions, 1):
            file.set_band_description(k, text)


def grid_coords():
    centres = 10 * np.arange(SIDE) + 5
    crs = ((), 0, {"crs_wkt": CRS.from_epsg(32631).to_wkt()})
    return {"y": TOP - centres, "x": LEFT + centres, "spatial_ref": crs}


def section(**changes):
    base = {
        "source": "made by hand", "offset_decision": "none", "scale": 0.0001, "nodata": 0,
        "bands": {band: band for band in BANDS}, "time": "time",
    }  # fmt: skip
    return base | changes


def run(folder, changes, name="out", **spec):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": "test", "optical": section(**changes)} | spec))
    ingest(path, folder / f"{name}.zarr", overwrite=True)
    return open_cube(folder / f"{name}.zarr")["optical"].to_dataset()


def assert_right(data, dates=DATES):
    assert [str(time)[:10] for time in data["time"].values] == list(dates)
    for band in BANDS:
        expected = stored(band)[[DATES.index(date) for date in dates]] * 0.0001
        np.testing.assert_allclose(data[band].values, expected, atol=1e-6)


# Dates in names of folders ----------------------------------------------------------------------


def product_folders(root, name="S2A_31UFS_{}_0_L2A"):
    for i, day in enumerate(DAYS):
        for band, number in NUMBERS.items():
            geotiff(root / name.format(day) / f"{number}.tif", stored(band)[i : i + 1])
    return {
        "files": {band: f"{root.name}/*/{number}.tif" for band, number in NUMBERS.items()},
        "bands": dict.fromkeys(BANDS, 1),
    }


def test_the_date_is_in_the_name_of_the_folder(tmp_path):
    changes = product_folders(tmp_path / "cogs")
    for pattern in (r"S2A_31UFS_(\d{8})_", r"\d{8}", r"(\d{8})_0_L2A/B0\d"):
        time = {"pattern": pattern, "format": "%Y%m%d"}
        assert_right(run(tmp_path, changes | {"time": time}))


def test_the_date_of_a_download_is_no_date_of_scenes(tmp_path):
    changes = product_folders(tmp_path / "20240131" / "cogs", "scene{}x")
    files = {band: f"20240131/{glob}" for band, glob in changes["files"].items()}
    time = {"pattern": r"(\d{8})/", "format": "%Y%m%d"}
    with pytest.raises(SpecError, match=r"all 3 files get the date 2024-01-31, .* of a folder"):
        run(tmp_path, changes | {"files": files, "time": time})


def test_dates_of_all_files_are_in_the_same_place(tmp_path):
    changes = product_folders(tmp_path / "cogs")
    geotiff(tmp_path / "cogs" / "mosaic" / "B02_20180601.tif", stored("blue")[:1])
    files = changes["files"] | {"blue": "cogs/*/B02*.tif"}
    time = {"pattern": r"\d{8}", "format": "%Y%m%d"}
    with pytest.raises(SpecError, match=r"B02_20180601\.tif are not in the same place"):
        run(tmp_path, changes | {"files": files, "time": time})


# Groups -----------------------------------------------------------------------------------------

GROUP = "measurements/reflectance/r10m"


def eopf_products(folder):
    """Zarr products with the image in a group, and the reference system in attributes of STAC."""
    coords = grid_coords()
    del coords["spatial_ref"]
    for i, day in enumerate(DAYS):
        data = xr.Dataset(coords=coords)
        for band, number in NUMBERS.items():
            about = {"proj:code": "EPSG:32631"}
            data[number.lower()] = (("y", "x"), stored(band)[i], about)
        name = f"S2A_MSIL2A_{day}T105031_N0500_R051_T31UFS_20240101T000000.zarr"
        data.to_zarr(folder / name, group=GROUP, zarr_format=2, consolidated=False)


@pytest.mark.parametrize("in_files", [True, False])
def test_groups_of_a_zarr_store(tmp_path, in_files):
    eopf_products(tmp_path)
    tail, head = (f"/{GROUP}", "") if in_files else ("", f"{GROUP}/")
    changes = {
        "files": f"*.zarr{tail}",
        "bands": {band: f"{head}{number.lower()}" for band, number in NUMBERS.items()},
        "time": {"pattern": r"\d{8}T\d{6}", "format": "%Y%m%dT%H%M%S"},
    }
    assert_right(run(tmp_path, changes))


def test_a_variable_in_another_group_is_found_for_the_message(tmp_path):
    eopf_products(tmp_path)
    time = {"pattern": r"\d{8}T\d{6}", "format": "%Y%m%dT%H%M%S"}
    bands = {band: number.lower() for band, number in NUMBERS.items()}
    with pytest.raises(SpecError, match=rf"no variable 'b02'; it has none\..* write {GROUP}/b02"):
        run(tmp_path, {"files": "*.zarr", "bands": bands, "time": time})


def test_groups_of_netcdf(tmp_path):
    with netCDF4.Dataset(tmp_path / "s2.nc", "w") as file:
        group = file.createGroup("data").createGroup("r10m")
        for name, size in (("time", 3), ("y", SIDE), ("x", SIDE)):
            group.createDimension(name, size)
        group.createVariable("time", "i4", ("time",))[:] = [int(day) for day in DAYS]
        for name in ("y", "x"):
            group.createVariable(name, "f8", (name,))[:] = grid_coords()[name]
        for band in BANDS:
            group.createVariable(band, "u2", ("time", "y", "x"))[:] = stored(band)
    changes = {"files": "s2.nc", "crs": 32631}
    assert_right(run(tmp_path, changes | {"bands": {b: f"data/r10m/{b}" for b in BANDS}}))
    with pytest.raises(SpecError, match=r"Its group data/r10m has one: write data/r10m/blue"):
        run(tmp_path, changes)


# Bands in a dimension ---------------------------------------------------------------------------

SCL = np.full((3, SIDE, SIDE), 4, np.uint16)
SCL[1, 2, 3] = 9


def stacked(path, labels, **coords):
    values = np.stack([*(stored(band) for band in BANDS), SCL], axis=1)
    dims = ("time", "band", "y", "x")
    time = ("time", np.array(DATES, "datetime64[ns]"))
    data = xr.Dataset({"stack": (dims, values)}, grid_coords() | {"time": time} | coords)
    if labels is not None:
        data["band"] = ("band", labels)
    if path.suffix == ".zarr":
        data.to_zarr(path, consolidated=False, zarr_format=2)
    else:
        data.to_netcdf(path, engine="netcdf4")


@pytest.mark.parametrize("name", ["stack.nc", "stack.zarr"])
@pytest.mark.parametrize("labels", [[*NUMBERS.values(), "SCL"], [2, 3, 4, 8, 99], None])
def test_bands_in_a_dimension(tmp_path, name, labels):
    stacked(tmp_path / name, labels)
    chosen = labels or [1, 2, 3, 4, 5]
    *bands, classes = ({"name": "stack", "select": {"band": label}} for label in chosen)
    mask = {"files": name, "variable": classes, "keep": [4], "store_as": "scl"}
    data = run(
        tmp_path, {"files": name, "bands": dict(zip(BANDS, bands, strict=True)), "masks": [mask]}
    )
    np.testing.assert_array_equal(data["scl"].values, SCL)
    assert np.isnan(data["red"].values[1, 2, 3])
    assert_right(
        data.where(SCL == 4).fillna(xr.Dataset({b: stored(b)[1, 2, 3] / 1e4 for b in BANDS}))
    )


def test_bands_by_another_coordinate(tmp_path):
    stacked(tmp_path / "s.nc", [*NUMBERS.values(), "SCL"], colour=("band", [*BANDS, "scl"]))
    bands = {band: {"name": "stack", "select": {"colour": band}} for band in BANDS}
    assert_right(run(tmp_path, {"files": "s.nc", "bands": bands}))


def test_a_band_that_is_not_chosen_or_unknown_is_told(tmp_path):
    stacked(tmp_path / "s.nc", [*NUMBERS.values(), "SCL"])
    with pytest.raises(SpecError, match=r"select: \{band: B02\}\}; 'band' has B02, B03, B04, B08"):
        run(tmp_path, {"files": "s.nc", "bands": dict.fromkeys(BANDS, "stack")})
    wrong = {"name": "stack", "select": {"band": "B99"}}
    with pytest.raises(SpecError, match=r"blue\.select: 'B99' occurs 0 times in 'band' .* B02, "):
        run(tmp_path, {"files": "s.nc", "bands": dict.fromkeys(BANDS, wrong)})
    wrong = {"name": "stack", "select": {"bands": "B02"}}
    with pytest.raises(SpecError, match="has no dimension 'bands'; it has time, band, y, x"):
        run(tmp_path, {"files": "s.nc", "bands": dict.fromkeys(BANDS, wrong)})


# One GeoTIFF with a band for each date ----------------------------------------------------------


def test_dates_in_band_descriptions(tmp_path):
    for band in BANDS:
        geotiff(tmp_path / f"{band}.tif", stored(band), [f"scene {day}" for day in DAYS])
    changes = {
        "files": {band: f"{band}.tif" for band in BANDS}, "bands": dict.fromkeys(BANDS, "*"),
        "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
    }  # fmt: skip
    assert_right(run(tmp_path, changes))
    # All in one file: the descriptions hold date and band, as Earth Engine's toBands writes them.
    layers = [stored(band)[i] for i in range(3) for band in BANDS]
    geotiff(tmp_path / "all.tif", layers, [f"{d}T105031_T31UFS_{NUMBERS[b]}" for d in DAYS for b in BANDS])  # fmt: skip  # noqa: E501
    bands = {band: f"*_{number}" for band, number in NUMBERS.items()}
    assert_right(run(tmp_path, changes | {"files": "all.tif", "bands": bands}))
    with pytest.raises(SpecError, match=r"no band of .*all\.tif is described as '\*_B09'"):
        run(tmp_path, changes | {"files": "all.tif", "bands": bands | {"red": "*_B09"}})
    geotiff(tmp_path / "red.tif", stored("red"))
    with pytest.raises(SpecError, match=r"finds nothing in '', the description of band 1 .*dates:"):
        run(tmp_path, changes)


def test_dates_in_a_list(tmp_path):
    order = [2, 0, 1]  # the dates need not rise
    for band in BANDS:
        geotiff(tmp_path / f"{band}.tif", stored(band)[order])
    changes = {
        "files": {band: f"{band}.tif" for band in BANDS}, "bands": dict.fromkeys(BANDS, "*"),
        "time": {"dates": [DATES[i] for i in order]},
    }  # fmt: skip
    assert_right(run(tmp_path, changes))
    with pytest.raises(SpecError, match=r"dates: 2 dates, and 3 bands \('\*'\) in .*blue\.tif"):
        run(tmp_path, changes | {"time": {"dates": list(DATES[:2])}})
    with pytest.raises(SpecError, match="dates: a date occurs twice"):
        run(tmp_path, changes | {"time": {"dates": [*DATES[:2], DATES[0]]}})
    with pytest.raises(SpecError, match=r"time\.dates\.0: 'May' is not a date such as"):
        run(tmp_path, changes | {"time": {"dates": ["May", *DATES]}})


def test_a_list_of_dates_for_an_array_without(tmp_path):
    data = {band: (("layer", "y", "x"), stored(band)) for band in BANDS}
    xr.Dataset(data, grid_coords()).to_netcdf(tmp_path / "s.nc")
    assert_right(run(tmp_path, {"files": "s.nc", "time": {"dates": list(DATES)}}))
    with pytest.raises(SpecError, match=r"2 dates, and 'blue' .* one layer for each date"):
        run(tmp_path, {"files": "s.nc", "time": {"dates": list(DATES[:2])}})


# Flags ------------------------------------------------------------------------------------------


def flagged(folder, flags, **mask):
    """A cube of one date with a raster of flags beside it."""
    values = np.full((SIDE, SIDE), flags.flat[0], flags.dtype)
    values.flat[: flags.size] = flags
    geotiff(folder / "S2_20180504.tif", [stored(band)[0] for band in BANDS])
    geotiff(folder / "flags_20180504.tif", values[None])
    changes = {
        "files": "S2_*.tif", "bands": dict(zip(BANDS, (1, 2, 3, 4), strict=True)),
        "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
        "masks": [{"files": "flags_*.tif", "variable": 1} | mask],
    }  # fmt: skip
    data = run(folder, changes)
    return np.isfinite(data["red"].values[0]).ravel()[: flags.size].tolist()


def test_bits(tmp_path):
    flags = np.array([0, 0b10, 0b100, 0b1000, 0b110000, 0b11000000, 0b01000010, 255], np.uint8)
    clear = flagged(tmp_path, flags, drop_bits=[1, 2, 3], nodata=255)
    assert clear == [True, False, False, False, True, True, False, False]
    clear = flagged(tmp_path, flags, drop_bits=["6-7=3", "4=0"], nodata=255)
    assert clear == [False, False, False, False, True, False, False, False]
    wide = np.array([0, 1 << 31, 1 << 30, 3 << 30], np.uint32)
    assert flagged(tmp_path, wide, drop_bits=["30-31=2"]) == [True, False, True, True]
    assert flagged(tmp_path, wide, drop_bits=[30]) == [True, True, False, False]
    signed = np.array([0, -1, 1, -128], np.int8)  # -1: all bits are set
    assert flagged(tmp_path, signed, drop_bits=[7]) == [True, False, True, False]
    known = np.array([0.0, 2.0, np.nan], np.float32)
    assert flagged(tmp_path, known, drop_bits=[1]) == [True, False, False]
    known[2] = -9999
    assert flagged(tmp_path, known, drop_bits=[1], nodata=-9999) == [True, False, False]
    with pytest.raises(SpecError, match=r"flags_20180504\.tif holds -9999; give"):
        flagged(tmp_path, known, drop_bits=[1])


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ([8], r"asks for bit 8, .* \(uint8\) have bits 0 to 7"),
        (["cloud"], "'cloud' is not a bit; write 3, or '6-7=3'"),
        (["6-7"], "does not say what the bits hold; write '6-7=3'"),
        (["6-7=4"], "2 bits cannot hold 4"),
    ],
)
def test_bits_that_cannot_be(tmp_path, bits, words):
    with pytest.raises(SpecError, match=words):
        flagged(tmp_path, np.zeros(3, np.uint8), drop_bits=bits)


def test_buffer_around_what_a_mask_drops(tmp_path, monkeypatch):
    """Alike in all tiles: a cloud in one acts on the next."""
    monkeypatch.setattr("deepcrop.ingest.run.TILE", 4, raising=True)
    cloud = np.zeros((SIDE, SIDE), np.uint8)
    row, col = 4, 3  # beside the edges of tiles
    cloud[row, col] = 9
    clear = np.array(flagged(tmp_path, cloud, drop=[9], buffer=15)).reshape(SIDE, SIDE)
    rows, cols = np.indices(clear.shape)
    np.testing.assert_array_equal(clear, np.hypot(rows - row, cols - col) * 10 > 15)
    with pytest.raises(SpecError, match=r"masks\.0\.buffer: .*write 'drop' instead"):
        flagged(tmp_path, cloud, keep=[0], buffer=15)
    with pytest.raises(SpecError, match=r"masks\.0\.buffer"):
        flagged(tmp_path, cloud, drop=[9], buffer=2000)


def test_bits_of_real_hls(tmp_path, real_data):
    """HLS around a camera in Missouri: Fmask's bits 1 to 3 are cloud, next to cloud, shadow."""
    folder = real_data / "hls_camera" / "goodwaterbau_2023_hls30"
    names = {"blue": "B02", "green": "B03", "red": "B04", "nir": "NIR"}
    changes = {
        "files": {band: f"{folder}/202306*/*_S30_*_{name}.tif" for band, name in names.items()},
        "bands": dict.fromkeys(BANDS, 1), "nodata": -9999,
        "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
        "masks": [
            {
                "files": f"{folder}/202306*/*_S30_*_Fmask.tif", "variable": 1, "nodata": 255,
                "drop_bits": [1, 2, 3],
            }
        ],
    }  # fmt: skip
    data = run(tmp_path, changes)
    seen = 0
    for i, time in enumerate(data["time"].values):
        (path,) = folder.glob(f"{str(time)[:10].replace('-', '')}/*_S30_*_Fmask.tif")
        with rasterio.open(path) as file:
            fmask = file.read(1)
        clear = (fmask & 0b1110 == 0) & (fmask != 255)
        # The middle of each pixel of 30 m is a pixel of 10 m.
        np.testing.assert_array_equal(np.isfinite(data["red"].values[i, 1::3, 1::3]), clear)
        seen += clear.any()
    assert 0 < seen < data.sizes["time"]


# Products side by side --------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("rule", [{"keep": [4, 5]}, {"drop": [8, 9]}])
def test_classes_of_two_halves_of_a_pass(tmp_path, fill, rule):
    """Neither product knows the other's half, and nobody stated what their classes hold there."""
    classes = np.full((SIDE, SIDE), 4, np.uint16)
    classes[1, 1] = classes[6, 6] = 8  # a cloud in either half
    for part, half in {"A": slice(0, 4), "B": slice(4, 8)}.items():
        layers = np.zeros((5, SIDE, SIDE), np.uint16)
        layers[4] = fill
        for k, band in enumerate(BANDS):
            layers[k, half] = stored(band)[0, half]
        layers[4, half] = classes[half]
        geotiff(tmp_path / f"S2_20180504_{part}.tif", layers)
    changes = {
        "files": "S2_*.tif", "bands": dict(zip(BANDS, (1, 2, 3, 4), strict=True)),
        "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
        "masks": [{"files": "S2_*.tif", "variable": 5} | rule],
    }  # fmt: skip
    data = run(tmp_path, changes)
    np.testing.assert_array_equal(np.isfinite(data["red"].values[0]), classes == 4)


# The page ---------------------------------------------------------------------------------------


def test_the_page_describes_valid_specifications(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        (tmp_path / "s.yaml").write_text(block)
        assert load_spec(tmp_path / "s.yaml").optical is not None
