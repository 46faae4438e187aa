"""Radar in gamma0: converted with incidence angles, and not taken for sigma0."""

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine

from deepcrop.cube.io import open_cube
from deepcrop.errors import SpecError
from deepcrop.ingest import ingest

SIDE, LEFT, TOP = 12, 500000, 5600000
GAMMA0 = np.linspace(0.02, 0.2, SIDE**2, dtype=np.float32).reshape(SIDE, SIDE)


def geotiff(path, values, side=10, tags=None, description=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=1, height=values.shape[0],
        width=values.shape[1], crs="EPSG:32631", transform=Affine(side, 0, LEFT, 0, -side, TOP),
    ) as file:  # fmt: skip
        file.write(values.astype(np.float32), 1)
        file.update_tags(**(tags or {}))
        if description:
            file.set_band_description(1, description)


def products(folder, name="s1/S1A_IW_{}_{}.tif", **about):
    for band, share in (("VV", 1), ("VH", 0.25)):
        for day in ("20180502", "20180514"):
            geotiff(folder / name.format(day, band), share * GAMMA0, **about)
    glob = name.replace("{}", "*", 1)
    return {"files": {band.lower(): glob.format(band) for band in ("VV", "VH")}}


def run(folder, changes):
    section = {
        "source": "test", "bands": {"vv": 1, "vh": 1}, "nodata": 0, "units": "power",
        "radiometry": "gamma0", "time": {"pattern": r"\d{8}", "format": "%Y%m%d"},
    }  # fmt: skip
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({"name": "test", "sar": section | changes}))
    ingest(path, folder / "cube.zarr", overwrite=True)
    return open_cube(folder / "cube.zarr")["sar"].to_dataset()


def in_decibels(power):
    return 10 * np.log10(power)


@pytest.mark.parametrize("scale", [1.0, 180 / np.pi])
def test_gamma0_is_converted_with_a_raster_of_angles(tmp_path, scale):
    changes = products(tmp_path)
    angle = np.tile(np.linspace(33, 44, SIDE), (SIDE, 1))
    angle[0, 0] = 0  # outside of the swath
    geotiff(tmp_path / "angle.tif", angle / scale)
    incidence = {"files": "angle.tif", "variable": 1, "scale": float(scale)}
    data = run(tmp_path, changes | {"incidence": incidence})
    expected = in_decibels(GAMMA0 * np.cos(np.radians(angle)))
    expected[0, 0] = np.nan
    for k in range(2):
        np.testing.assert_allclose(data["vv"].values[k], expected, atol=0.0051)
    np.testing.assert_allclose(data["vh"].values[0], expected + in_decibels(0.25), atol=0.0051)
    assert data.attrs["radiometry"] == "sigma0"


def test_gamma0_is_converted_with_one_angle(tmp_path):
    data = run(tmp_path, products(tmp_path) | {"incidence": 39})
    expected = in_decibels(GAMMA0 * np.cos(np.radians(39)))
    np.testing.assert_allclose(data["vv"].values[1], expected, atol=0.0051)
    assert data.attrs["radiometry"] == "sigma0 from gamma0, approximate"


def test_a_coarse_raster_of_angles_is_interpolated(tmp_path):
    geotiff(tmp_path / "angle.tif", np.tile([34.0, 36.0], (2, 1)), side=60)
    incidence = {"files": "angle.tif", "variable": 1}
    data = run(tmp_path, products(tmp_path) | {"incidence": incidence})
    got = data["vv"].values[0] - in_decibels(GAMMA0)
    np.testing.assert_allclose(got[5, 5:7], in_decibels(np.cos(np.radians([34.83, 35.17]))), atol=0.01)  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"sar\.incidence: is missing; .* one number of degrees"),
        ({"radiometry": "sigma0", "incidence": 39}, "converts gamma0, and radiometry is 'sigma0'"),
        ({"incidence": {"files": "a.tif", "variable": 1}}, r"radians: write scale: 57\.29578"),
        ({"incidence": {"files": "a.tif", "variable": 1, "scale": 200}}, "expected incidence ang"),
        ({"incidence": {"files": "b.tif", "variable": 1}}, r"incidence\.files: no file matches"),
        ({"incidence": 100}, r"sar\.incidence"),
    ],
)
def test_angles_that_cannot_be(tmp_path, changes, words):
    geotiff(tmp_path / "a.tif", np.full((SIDE, SIDE), 0.7))
    with pytest.raises(SpecError, match=words):
        run(tmp_path, products(tmp_path) | changes)


def test_a_raster_of_angles_is_that_of_one_orbit(tmp_path):
    data = xr.Dataset(
        {band: (("time", "y", "x"), np.stack([GAMMA0, GAMMA0])) for band in ("vv", "vh")},
        {
            "time": np.array(["2018-05-02T06", "2018-05-03T18"], "datetime64[ns]"),
            "y": TOP - 5 - 10 * np.arange(SIDE), "x": LEFT + 5 + 10 * np.arange(SIDE),
            "orbit": ("time", [88, 37]),
        },
    )  # fmt: skip
    data.to_netcdf(tmp_path / "s1.nc")
    geotiff(tmp_path / "angle.tif", np.full((SIDE, SIDE), 39))
    changes = {
        "files": "s1.nc", "bands": {"vv": "vv", "vh": "vh"}, "time": "time", "crs": 32631,
        "relative_orbit": "orbit", "incidence": {"files": "angle.tif", "variable": 1},
    }  # fmt: skip
    with pytest.raises(SpecError, match=r"one relative orbit, and the files are of 37, 88"):
        run(tmp_path, changes)
    assert run(tmp_path, changes | {"relative_orbit": 88})["vv"].size


@pytest.mark.parametrize(
    ("name", "about", "source"),
    [
        ("s1/S1A_IW_{}_{}.tif", {}, "Planetary Computer, sentinel-1-rtc"),
        ("s1/S1A_IW_{}_{}.tif", {}, "Sentinel-1, Radiometrically Terrain Corrected"),
        ("s1/OPERA_L2_RTC-S1_T095-202_{}T173000Z_{}.tif", {}, "ASF"),
        ("s1/S1A_IW_{}T173000_DVP_RTC30_G_gpuned_FD6A_{}.tif", {}, "ASF"),
        ("sentinel-1-rtc/{}/{}.tif", {}, "test"),
        ("s1/S1A_IW_{}_{}.tif", {"tags": {"TIFFTAG_IMAGEDESCRIPTION": "gamma nought"}}, "test"),
        ("s1/S1A_IW_{}_{}.tif", {"description": "Gamma0_VV"}, "test"),
    ],
)
def test_gamma0_is_not_taken_for_sigma0(tmp_path, name, about, source):
    changes = products(tmp_path, name, **about) | {"radiometry": "sigma0", "source": source}
    with pytest.raises(SpecError, match=r"sar\.radiometry: 'sigma0', but .* radiometry: gamma0"):
        run(tmp_path, changes)
    assert run(tmp_path, changes | {"source": "RTC, converted to sigma0"})["vv"].size


def test_the_name_of_a_correction_alone_is_warned_of(tmp_path, caplog):
    changes = products(tmp_path, "s1/S1A_IW_{}_{}.tif") | {"radiometry": "sigma0", "source": "rtc"}
    assert run(tmp_path, changes)["vv"].size
    assert "Most such products hold gamma0" in caplog.text


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("s1/S1A_IW_{}T173000_DVP_RTC30_G_spuned_FD6A_{}.tif", {}),  # HyP3 made it sigma0
        ("cartcase/S1A_{}_{}.tif", {}),
        ("s1/S1A_IW_{}_{}.tif", {"description": "Sigma0_VV"}),
    ],
)
def test_sigma0_is_taken(tmp_path, name, about):
    data = run(tmp_path, products(tmp_path, name, **about) | {"radiometry": "sigma0"})
    np.testing.assert_allclose(data["vv"].values[0], in_decibels(GAMMA0), atol=0.0051)
    assert data.attrs["radiometry"] == "sigma0"
