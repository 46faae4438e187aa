"""One default smoother: the same cube dated through every public door gives the same dates."""

import inspect

import numpy as np
import pytest
from tests.helpers.cubes import season_cube
from tests.helpers.maps import read

import deepcrop
from deepcrop import indices, stages
from deepcrop.cube.io import save_cube
from deepcrop.phenology import DEFAULT_SMOOTHER, extract, season_dates, smooth
from deepcrop.phenology.slots import curve_dates

YEAR = 2018


@pytest.fixture(scope="module")
def cube():
    """Simulated fields with noise, so that smoothers do not agree by chance."""
    cube = season_cube(rows=6, cols=9)
    nir = cube["optical"]["nir"]
    noise = np.random.default_rng(16).normal(1, 0.04, nir.shape)
    cube["optical"]["nir"] = (nir * noise).astype(np.float32)
    return cube


@pytest.fixture(scope="module")
def ndvi(cube):
    """NDVI of each pixel (pixels, times), and the days since 1 January."""
    optical = cube["optical"].to_dataset()
    values = indices.ndvi(optical).stack(pixel=("y", "x")).transpose("pixel", "time").values
    return values, stages.to_days(optical["time"].values, YEAR)


def whole_days(dates, name, shape):
    """Int16 map of one date of the main season from dates (pixels, slots, stages)."""
    return stages.encode(dates[:, 0, stages.CALENDAR.index(name)]).reshape(shape)


@pytest.mark.slow
def test_a_cube_has_equal_dates_through_every_door(cube, ndvi, tmp_path):
    path = tmp_path / "cube.zarr"
    save_cube(cube, path)
    opened = deepcrop.open_cube(path)  # what is on disk is rounded to 0.0001
    optical = opened["optical"].to_dataset()
    values = indices.ndvi(optical).stack(pixel=("y", "x")).transpose("pixel", "time").values
    days = ndvi[1]
    shape = optical.sizes["y"], optical.sizes["x"]

    series = season_dates(values, days)
    assert series.dates.shape[1] == 1  # one season, so that it fills slot 1
    slots = curve_dates(values, days, YEAR, 50.5).day
    extracted = extract(opened, year=YEAR)["date"]
    mapped = deepcrop.map_region(path, YEAR, tmp_path / "map").path
    seasons = deepcrop.map_seasons(opened, YEAR)

    known = 0
    for name in stages.STAGES:
        expected = whole_days(series.dates, name, shape)
        known += int((expected != stages.NO_DAY).sum())
        doors = {
            "slots": whole_days(slots, name, shape),
            "extract": stages.encode(extracted.sel(season=1, stage=name)),
            "map_region": read(mapped / f"{name}.tif"),
            "map_seasons": stages.encode(seasons[name]),
        }
        for door, found in doors.items():
            np.testing.assert_array_equal(found, expected, err_msg=f"{door}, {name}")
    assert known == 4 * (shape[0] - 1) * shape[1]  # row 0 is masked, every other pixel is dated


def test_the_curve_of_smooth_is_that_of_the_default_smoother(ndvi):
    values, days = ndvi
    np.testing.assert_array_equal(
        smooth(values, days)[0], smooth(values, days, smoother=DEFAULT_SMOOTHER)[0]
    )
    assert not np.array_equal(season_dates(values, days).dates,
                              season_dates(values, days, smoother="savgol").dates)  # fmt: skip


@pytest.mark.parametrize("door", [season_dates, smooth, extract, curve_dates])
def test_the_default_is_the_one_constant(door):
    assert inspect.signature(door).parameters["smoother"].default is DEFAULT_SMOOTHER
