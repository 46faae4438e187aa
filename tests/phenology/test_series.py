"""What is no greenness and what is no day is refused, with advice that works."""

from __future__ import annotations

import datetime
import time

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from deepcrop.errors import DeepCropError
from deepcrop.phenology import PRESETS, SeasonRule, extract, season_dates, smooth

TIMES = pd.date_range("2018-01-01", "2019-12-31", freq="8D")
DAYS = np.asarray((TIMES - TIMES[0]).days, float)
NDVI = 0.2 + 0.6 * np.exp(-((((DAYS % 365) - 190) / 40) ** 2))
SMOOTHERS = list(PRESETS["sentinel2"][0])


def with_values(value, count):
    values = NDVI.copy()
    values[5 : 5 + 9 * count : 9] = value
    return values


CASES = [
    (with_values(-9999, 4), "4 of 92 values are no greenness, for example -9999"),
    (with_values(5.0, 2), "2 of 92 values are no greenness, for example 5;"),
    (with_values(-3.4028235e38, 1), "1 of 92"),
    (with_values(9.96921e36, 3), "3 of 92"),
    (np.round(NDVI * 10_000), "scaled by 10 000"),
    (np.where(np.arange(DAYS.size) % 3, np.round(NDVI * 10_000), -3000), "scaled by 10 000"),
    (np.round(NDVI * 200), "scaled by 100 to 255"),
    (np.full(DAYS.size, -9999.0), "92 of 92 values are no greenness, for example -9999"),
]


@pytest.mark.parametrize("smoother", SMOOTHERS)
@pytest.mark.parametrize(("values", "words"), CASES)
def test_no_smoother_uses_what_is_no_greenness(values, words, smoother):
    with pytest.raises(DeepCropError, match=words):
        season_dates(values[None], DAYS, smoother=smoother)
    with pytest.raises(DeepCropError, match=words):
        smooth(values[None], DAYS, smoother=smoother)


@pytest.mark.parametrize(("values", "words"), CASES)
def test_no_entry_uses_what_is_no_greenness(values, words):
    array = xr.DataArray(values.astype(np.float32)[:, None], {"time": TIMES}, ("time", "x"))
    for source in (pd.Series(values, TIMES), array):
        with pytest.raises(DeepCropError, match=words):
            extract(source)
    lazy = extract(array.chunk(x=1))
    with pytest.raises(DeepCropError, match=words):
        lazy.compute()


def test_integers_are_refused_like_numbers():
    with pytest.raises(DeepCropError, match="scaled by 10 000"):
        season_dates(np.round(NDVI * 10_000).astype(np.int16)[None], DAYS)


def test_a_rule_in_other_units_says_that_the_series_has_them():
    here = season_dates(NDVI[None], DAYS)
    scaled = np.round(NDVI * 10_000).astype(np.int16)[None]
    there = season_dates(scaled, DAYS, rule=SeasonRule(min_amplitude=1200))
    np.testing.assert_allclose(there.dates, here.dates, atol=0.5)
    with pytest.raises(DeepCropError, match="-32768"):
        season_dates(with_values(-32768, 4)[None], DAYS, rule=SeasonRule(min_amplitude=1200))


def test_what_is_no_observation_may_be_anything():
    expected = NDVI.copy()
    expected[5::9] = np.nan
    weights = np.where(np.isnan(expected), 0, 1)[None]
    right = season_dates(expected[None], DAYS)
    filled = np.where(np.isnan(expected), -9999, expected)[None]
    np.testing.assert_array_equal(season_dates(filled, DAYS, weights).dates, right.dates)
    advised = np.where(np.abs(filled) <= 1.5, filled, np.nan)
    np.testing.assert_array_equal(season_dates(advised, DAYS).dates, right.dates)
    masked = np.ma.masked_equal(filled, -9999)
    np.testing.assert_array_equal(season_dates(masked, DAYS).dates, right.dates)


@pytest.mark.parametrize("value", [-1.0, 1.0, 1.5, -1.0000001])
def test_extreme_greenness_is_used(value):
    """Water has NDVI -1, bright haze EVI 1.5; rounding may lead a little beyond."""
    assert season_dates(with_values(value, 1)[None], DAYS).count[0] >= 1


def calendar(name):
    return xr.date_range("2018-01-01", periods=92, freq="8D", calendar=name, use_cftime=True)


@pytest.mark.parametrize(
    "dates",
    [
        TIMES,
        TIMES.values,
        TIMES.to_series(),
        TIMES.tz_localize("UTC"),
        TIMES.tz_localize("America/Chicago"),
        list(TIMES.tz_localize("UTC")),
        [stamp.date() for stamp in TIMES],
        [datetime.datetime(d.year, d.month, d.day, tzinfo=datetime.UTC) for d in TIMES],
        [str(stamp) for stamp in TIMES],
        np.array([str(stamp) for stamp in TIMES]),
        pd.PeriodIndex(TIMES, freq="D"),
        list(pd.PeriodIndex(TIMES, freq="D")),
        calendar("standard"),
        list(calendar("noleap")),
        calendar("360_day"),
        TIMES - TIMES[0],
        list((TIMES - TIMES[0]).to_pytimedelta()),
    ],
    ids=lambda dates: type(dates).__name__,
)
def test_dates_are_refused_at_once_with_advice_that_works(dates):
    begin = time.perf_counter()
    with pytest.raises(DeepCropError, match="expected numbers of days") as caught:
        season_dates(NDVI[None], dates)
    assert time.perf_counter() - begin < 0.1
    advice = str(caught.value).split("Convert them: ")[1].removesuffix(".")
    if isinstance(dates, list) and "np.timedelta64" in advice:
        dates = np.array(dates)
    days = eval(advice, {"dates": dates, "days": dates, "pd": pd, "np": np})
    if isinstance(days, pd.Series):
        days = days.to_numpy()
    # 360 days of a calendar are a year; other calendars differ by a leap day or a time zone.
    np.testing.assert_allclose(
        np.asarray(days, float), DAYS, atol=0.3 if len(days) else 0, rtol=0.02
    )
    assert season_dates(NDVI[None], days).count[0] == 2


def test_missing_numbers_of_pandas_come_with_their_way_out():
    values = pd.array([None, *NDVI[1:]], "Float64")
    with pytest.raises(DeepCropError, match=r"na_value=np\.nan"):
        season_dates(np.asarray(values, object)[None], DAYS)
    assert season_dates(values.to_numpy(float, na_value=np.nan)[None], DAYS).count[0] == 2


def test_dask_arrays_give_the_same_error():
    lazy = dask.array.from_array(np.round(NDVI * 10_000)[None])
    with pytest.raises(DeepCropError, match="scaled by 10 000"):
        season_dates(lazy, DAYS)
