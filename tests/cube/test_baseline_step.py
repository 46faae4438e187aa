"""The step of processing baseline 04.00: found in real seasons, not seen where there is none."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.helpers.cubes import make_cube

from deepcrop.cube.baseline_step import BANDS, BASELINE_DAY, find_step
from deepcrop.cube.contract import check
from deepcrop.errors import CubeError

DAY = np.timedelta64(1, "D")


def season(start, sowing, harvest, every=5, length=540):
    """Reflectance of a crop that stands from ``sowing`` to ``harvest`` (days since 2022-01-01)."""
    times = np.datetime64(start, "ns") + np.arange(0, length, every) * DAY
    day = (times - np.datetime64("2022-01-01")) / DAY
    green = 1 / (1 + np.exp(-(day - sowing) / 10)) - 1 / (1 + np.exp(-(day - harvest) / 10))
    green = green[:, None, None]
    pixels = np.random.default_rng(0).normal(1, 0.15, (1, 6, 6))
    bands = {"blue": 0.06 - 0.03 * green, "green": 0.08 - 0.02 * green, "red": 0.12 - 0.08 * green}
    bands["nir"] = 0.2 + 0.25 * green
    return times, {name: values * pixels for name, values in bands.items()}


def shifted(times, bands, by, day=BASELINE_DAY):
    late = (times >= day)[:, None, None]
    return {name: values + by * late for name, values in bands.items()}


SEASONS = {
    "north": ("2021-09-03", 130, 265),
    "south, the crop stands on the day": ("2021-06-03", -45, 80),
    "harvested on the day": ("2021-06-03", -100, 24),
    "sown on the day": ("2021-06-03", 24, 150),
}


@pytest.mark.parametrize("name", SEASONS)
@pytest.mark.parametrize("every", [5, 20])
def test_seasons_of_both_hemispheres(name, every):
    times, bands = season(*SEASONS[name], every)
    assert not abs(find_step(times, bands).size) > 0
    if name not in ("harvested on the day", "sown on the day"):  # may be hidden by the change
        assert find_step(times, shifted(times, bands, 0.1)).size == pytest.approx(0.1, abs=0.03)
        assert find_step(times, shifted(times, bands, -0.1)).size == pytest.approx(-0.1, abs=0.03)


def test_clouds_and_snow_that_melts_are_no_step():
    times, bands = season("2021-06-03", 130, 265)
    rng = np.random.default_rng(1)
    cloudy = rng.random((times.size, 1, 1)) < 0.4
    clouds = {name: np.where(cloudy, 0.5, values) for name, values in bands.items()}
    assert not abs(find_step(times, clouds).size) > 0
    assert find_step(times, shifted(times, clouds, 0.1)).size > 0
    day = (times - BASELINE_DAY) / DAY
    white = ((day > -3) & (day < 40))[:, None, None]
    snow = {name: values + 0.1 * white for name, values in bands.items()}
    assert not abs(find_step(times, snow).size) > 0


def test_haze_in_the_few_scenes_of_one_side_is_no_step():
    """As in An Giang (site 536): three scenes before the day, haze in all of them."""
    times, bands = season("2022-01-09", 100, 240)
    thickness = np.repeat([0.06, 0.12, 0.22], [11, 9, 16]).reshape(1, 6, 6)
    haze = thickness * (times < BASELINE_DAY)[:, None, None]
    hazy = {name: values + haze for name, values in bands.items()}
    assert not abs(find_step(times, hazy).size) > 0
    for by in (0.1, -0.1):  # an offset is the same everywhere
        assert find_step(times, shifted(times, bands, by)).size == pytest.approx(by, abs=0.03)


def test_a_series_on_one_side_has_no_step_and_too_few_scenes_leave_it_open():
    times, bands = season("2022-01-25", 130, 265)
    assert find_step(times, bands).size == 0
    times, bands = season("2022-01-20", 130, 265)
    assert np.isnan(find_step(times, bands).size)  # one scene before


@pytest.mark.parametrize("by", [0.1, -0.1])
@pytest.mark.parametrize(
    ("start", "day"),
    [
        ("2021-09-03", "2022-05-11"),  # the crop emerges
        ("2021-09-03", "2022-09-23"),  # it is harvested
        ("2019-09-03", "2020-03-12"),  # a series that does not cross the known day
        ("2022-02-03", "2022-12-15"),
    ],
)
def test_a_step_on_any_other_day(start, day, by):
    year = int(start[:4]) - 2021
    times, bands = season(start, 130 + 365 * year, 265 + 365 * year)
    assert find_step(times, bands).size == 0
    day = times[np.searchsorted(times, np.datetime64(day, "ns"))]
    step = find_step(times, shifted(times, bands, by, day))
    assert step.size == pytest.approx(by, abs=0.03)
    assert abs(step.day - day) <= 10 * DAY


def test_a_step_that_lasts_a_year_and_goes_back():
    times, bands = season("2019-09-03", 130 - 730, 265 - 730, length=1000)
    block = shifted(times, shifted(times, bands, 0.1, times[60]), -0.1, times[140])
    step = find_step(times, block)
    assert abs(step.day - times[60]) <= 10 * DAY or abs(step.day - times[140]) <= 10 * DAY
    assert abs(step.size) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("soil", [(0.10, 0.13, 0.17, 0.25), (0.12, 0.16, 0.22, 0.3)])
@pytest.mark.parametrize("harvest", [120, 200, 300])
def test_bright_soil_after_a_harvest_is_no_step(soil, harvest):
    times, _ = season("2019-01-01", 0, 0, length=480)
    day = (times - times[0]) / DAY
    bare = 1 / (1 + np.exp(-(day - harvest) / 2))[:, None, None]
    pixels = np.random.default_rng(0).normal(1, 0.1, (1, 6, 6))
    crop = 0.03, 0.06, 0.04, 0.4
    bands = {
        name: (green + (ground - green) * bare) * pixels
        for name, green, ground in zip(BANDS, crop, soil, strict=True)
    }
    assert find_step(times, bands).size == 0


def test_snow_of_a_long_winter_is_no_step():
    times, bands = season("2018-09-03", 130 - 1095, 265 - 1095, length=700)
    day = (times - np.datetime64("2018-12-01")) / DAY
    for cover in (0.08, 0.12, 0.2, 1.0):
        white = cover * ((day > 0) & (day < 110))[:, None, None]
        snow = {name: values + (0.9 - values) * white for name, values in bands.items()}
        assert find_step(times, snow).size == 0


@pytest.mark.slow  # 7 s
def test_real_fields_in_flanders_have_no_step_and_one_that_is_added_is_found(real_data):
    folder = real_data / "sentinel" / "flanders_2018"
    with (
        xr.open_dataset(next(folder.glob("S2_L2A_10m*")), mask_and_scale=False) as ten,
        xr.open_dataset(next(folder.glob("S2_L2A_20m*")), mask_and_scale=False) as twenty,
    ):
        times = ten["timestamp"].values
        clear = np.isin(twenty["SCL"].values, (4, 5, 6, 7)).repeat(2, 1).repeat(2, 2)
        bands = {
            name: np.where(clear & (ten[key].values > 0), ten[key].values * 1e-4, np.nan)
            for name, key in zip(BANDS, ("B02", "B03", "B04", "B08"), strict=True)
        }
    found = []
    for part in (np.s_[:, :32, :32], np.s_[:, 32:, 32:]):
        piece = {name: values[part] for name, values in bands.items()}
        assert find_step(times, piece).size == 0
        found += [
            abs(step.size - 0.1) < 0.03 and abs(step.day - day) < 20 * DAY
            for day in times[25:-15:8]
            for step in [find_step(times, shifted(times, piece, 0.1, day))]
        ]
    assert np.mean(found) > 0.75


def test_real_rice_has_the_step_and_none_when_corrected(real_data):
    wrong = right = 0
    folder = real_data / "sentinel" / "angiang_2022" / "s2"
    files = {*sorted(folder.glob("*.nc"))[::10], folder / "site_536.nc"}  # hazy before the day
    for path in files:
        with xr.open_dataset(path, mask_and_scale=False) as data:
            clear = np.isin(data["SCL"].values, (4, 5, 6, 7))
            times = data["time"].values
            bands = {b: np.where(clear, data[b].values * 1e-4, np.nan) for b in BANDS}
        right += find_step(times, bands).size > 0
        wrong += abs(find_step(times, shifted(times, bands, -0.1)).size) > 0
    assert right > 0.8 * len(files)
    assert wrong == 0


def test_real_parcels_of_one_convention_have_no_step(real_data):
    # Three of the four regions are of one convention on either side of the day; the fourth (nh)
    # has the step, although its page says otherwise.
    found = {}
    for region in ("us", "yc", "nj", "nh"):
        table = pd.read_csv(real_data / "korea_parcels_s2" / f"parcels_{region}.csv.gz")
        columns = {
            name: sorted(c for c in table.columns if c.startswith(number))
            for name, number in zip(BANDS, ("b02", "b03", "b04", "b08"), strict=True)
        }
        times = pd.to_datetime([c[-8:] for c in columns["blue"]]).values.astype("datetime64[ns]")
        bands = {}
        for name, names in columns.items():
            numbers = table[names].values.T
            bands[name] = np.where(numbers > 0, numbers * 1e-4 - 0.1, np.nan)[:, :, None]
        found[region] = [
            find_step(times, {n: v[:, part : part + 25] for n, v in bands.items()}).size
            for part in range(0, 200, 25)
        ]
    assert not any(abs(step) > 0 for region in ("us", "yc", "nj") for step in found[region])
    assert sum(step > 0 for step in found["nh"]) >= 6


def test_a_cube_with_the_step_is_refused_and_its_maker_can_say_otherwise():
    times, bands = season("2021-09-03", 130, 265)
    cube = make_cube(rows=6, cols=6, optical_scenes=times.size)
    optical = cube["optical"].to_dataset().assign_coords(time=times)
    for name, values in shifted(times, bands, 0.1).items():
        optical[name].values[:] = values
    cube["optical"] = xr.DataTree(optical)
    with pytest.raises(CubeError, match=r"optical: from 25 January 2022 on, .* 0\.1\d? higher"):
        check(cube)
    for name, values in shifted(times, bands, 0.1, times[50]).items():
        optical[name].values[:] = values
    cube["optical"] = xr.DataTree(optical)
    with pytest.raises(CubeError, match=r"optical: from about \d+ May 2022 on, .* higher"):
        check(cube)
    cube["optical"].attrs["offset_step"] = "none"
    check(cube)
