"""The step of processing baseline 04.00: found in real seasons, not seen where there is none."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.helpers.cubes import make_cube

from deepcrop.cube.baseline_step import BASELINE_DAY, VISIBLE, find_step
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
    return times, {name: values * pixels for name, values in bands.items()}


def shifted(times, bands, by):
    late = (times >= BASELINE_DAY)[:, None, None]
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
    assert not abs(find_step(times, bands)) > 0
    if name not in ("harvested on the day", "sown on the day"):  # may be hidden by the change
        assert find_step(times, shifted(times, bands, 0.1)) == pytest.approx(0.1, abs=0.03)
        assert find_step(times, shifted(times, bands, -0.1)) == pytest.approx(-0.1, abs=0.03)


def test_clouds_and_snow_that_melts_are_no_step():
    times, bands = season("2021-06-03", 130, 265)
    rng = np.random.default_rng(1)
    cloudy = rng.random((times.size, 1, 1)) < 0.4
    clouds = {name: np.where(cloudy, 0.5, values) for name, values in bands.items()}
    assert not abs(find_step(times, clouds)) > 0
    assert find_step(times, shifted(times, clouds, 0.1)) > 0
    day = (times - BASELINE_DAY) / DAY
    white = ((day > -3) & (day < 40))[:, None, None]
    snow = {name: values + 0.1 * white for name, values in bands.items()}
    assert not abs(find_step(times, snow)) > 0


def test_a_series_on_one_side_has_no_step_and_too_few_scenes_leave_it_open():
    times, bands = season("2022-01-25", 130, 265)
    assert find_step(times, bands) == 0
    times, bands = season("2022-01-20", 130, 265)
    assert np.isnan(find_step(times, bands))  # one scene before


def test_real_rice_has_the_step_and_none_when_corrected(real_data):
    wrong = right = 0
    files = sorted((real_data / "sentinel" / "angiang_2022" / "s2").glob("*.nc"))[::10]
    for path in files:
        with xr.open_dataset(path, mask_and_scale=False) as data:
            clear = np.isin(data["SCL"].values, (4, 5, 6, 7))
            times = data["time"].values
            bands = {b: np.where(clear, data[b].values * 1e-4, np.nan) for b in VISIBLE}
        right += find_step(times, bands) > 0
        wrong += abs(find_step(times, shifted(times, bands, -0.1))) > 0
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
            for name, number in zip(VISIBLE, ("b02", "b03", "b04"), strict=True)
        }
        times = pd.to_datetime([c[-8:] for c in columns["blue"]]).values.astype("datetime64[ns]")
        bands = {}
        for name, names in columns.items():
            numbers = table[names].values.T
            bands[name] = np.where(numbers > 0, numbers * 1e-4 - 0.1, np.nan)[:, :, None]
        found[region] = [
            find_step(times, {n: v[:, part : part + 25] for n, v in bands.items()})
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
    cube["optical"].attrs["offset_step"] = "none"
    check(cube)
