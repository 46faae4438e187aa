import numpy as np
import pandas as pd
import pytest
import xarray as xr

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.phenology import REASONS, extract, season_dates
from deepcrop.phenology.slots import (
    REACH,
    choose_slots,
    curve_dates,
    fill_slots,
    near_year,
    season_middle,
    select_slots,
    start_of_year,
    sunlight,
)
from deepcrop.stages import TargetYear


def choose(middles, amplitudes, latitude, year=2018):
    """Slots of seasons that peak in their middle."""
    middles = np.array(middles, np.float64)
    return select_slots(middles, middles, np.array(amplitudes), TargetYear(year), latitude)


def test_two_crops_a_year_fill_the_slots_by_strength():
    days = np.arange(-60, 430, 5.0)

    def bump(middle, height, width):
        return height * np.exp(-(((days - middle) / width) ** 2))

    main = 0.2 + bump(210, 0.6, 35)
    both = main + bump(95, 0.3, 22)
    bare = np.full_like(main, 0.2)
    values = np.stack([main, both, bare])
    found, choice = fill_slots(season_dates(values, days), 2018, 45.0)
    assert choice.count.tolist() == [1, 2, 0]
    for one, other in zip(found, curve_dates(values, days, 2018, 45.0), strict=True):
        np.testing.assert_array_equal(one, other)
    assert abs(found.day[0, 0, 2] - 210) < 4
    assert abs(found.day[1, 1, 2] - 95) < 6
    # A Gaussian passes half of its height 0.833 widths from its middle, a fifth 1.269 widths.
    np.testing.assert_allclose(
        found.day[0, 0], 210 + 35 * np.array([-1.269, -0.833, 0, 0.833, 1.269]), atol=4
    )
    assert np.isnan(found.day[0, 1]).all()
    assert np.isnan(found.day[2]).all()
    assert (found.low[0, 0] <= found.day[0, 0]).all()
    assert (found.high[0, 0] >= found.day[0, 0]).all()


@pytest.mark.parametrize(
    ("middles", "amplitudes", "slots", "count"),
    [
        ([np.nan, np.nan], [1, 1], [-1, -1], 0),
        ([180], [1], [0, -1], 1),
        ([-1, 0, 364, 365], [9, 1, 1, 9], [1, 2], 2),  # only 2018 itself
        ([100, 200, 300], [1, 3, 2], [1, 2], 3),  # the two largest
        ([300, 200, 100], [2, 1, 3], [2, 0], 3),  # the larger first, whatever their order in time
        ([200, 200], [1, 1], [0, 1], 2),  # of equal ones the first
        ([], [], [-1, -1], 0),
    ],
)
def test_golden_slots(middles, amplitudes, slots, count):
    choice = choose([middles], [amplitudes], 0)
    np.testing.assert_array_equal(choice.index, [slots])
    assert choice.count == [count]


def test_a_leap_year_is_a_day_longer():
    for year, count in [(2018, 0), (2020, 1)]:
        assert choose([[365.5]], [[1.0]], 50, year).count == [count]


def test_the_main_season_is_the_one_under_the_summer_sun():
    peaks, amplitudes = [[10.0, 200.0, 340.0]], [[0.8, 0.6, 0.7]]
    assert choose(peaks, amplitudes, 51).index[0, 0] == 1
    assert choose(peaks, amplitudes, -35).index.tolist() == [[0, 2]]


def test_sunlight_is_that_of_fao_56_example_8():
    # 20° S on 3 September: 32.2 MJ per square metre and day, of a solar constant of 118.08.
    assert sunlight(np.array([245.0]), -20) * 118.08 == pytest.approx(32.2, abs=0.1)


def test_there_is_no_sun_in_the_polar_night():
    assert sunlight(np.array([0.0, 171.0]), 80)[0] == 0


def test_a_season_without_a_known_amplitude_never_gives_its_slot_away():
    choice = choose([[400.0, 100.0]], [[1, np.nan]], 50)
    assert choice.index.tolist() == [[1, -1]]
    assert choice.count == [1]


def test_gathering_keeps_the_type_and_leaves_empty_slots_empty():
    peaks = np.array([[100.0, 250.0, 900.0], [np.nan] * 3], np.float32)
    choice = choose(peaks, [[1.0, 2, 9], [0, 0, 0]], 0)
    assert choice.index.tolist() == [[1, 0], [-1, -1]]
    days = choice.gather(peaks)
    assert days.dtype == np.float32
    np.testing.assert_array_equal(days, [[250, 100], [np.nan, np.nan]])
    codes = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    chosen = choice.gather(codes, empty=0)
    assert chosen.dtype == np.uint8
    assert chosen.tolist() == [[[2, 3], [0, 1]], [[0, 0], [0, 0]]]


def two_years():
    """NDVI with a season in 2018 and a larger one in 2019; days since 1 January 2018."""
    days = np.arange(-60, 790, 5.0)
    bumps = ((200, 0.5), (560, 0.7))
    return sum(h * np.exp(-(((days - m) / 35) ** 2)) for m, h in bumps)[None] + 0.2, days


def test_a_year_takes_its_own_season_whatever_the_origin_of_the_days():
    values, days = two_years()
    found = season_dates(values, days)
    for year, first_day, season in (
        (2017, -365, -1),
        (2018, 0, 0),
        (2019, 365, 1),
        (2020, 730, -1),
    ):
        choice = choose_slots(found, year, 45.0, first_day)
        assert choice.index.tolist() == [[season, -1]]
        assert choice.count.tolist() == [int(season >= 0)]


def test_slots_hold_the_dates_of_the_calendar_with_their_intervals():
    values, days = two_years()
    found = season_dates(values, days)
    dates, choice = fill_slots(found, 2018, 45.0)
    assert choice.count.tolist() == [1]
    assert found.stages == stages.CALENDAR
    for name, slots in (("dates", dates.day), ("low", dates.low), ("high", dates.high)):
        np.testing.assert_array_equal(slots[:, 0], getattr(found, name)[:, 0])
        assert np.isnan(slots[:, 1]).all()
    # Other fractions beside: the dates of the calendar are found by name.
    more = season_dates(values, days, fractions=(0.1, 0.2, 0.5))
    np.testing.assert_array_equal(fill_slots(more, 2018, 45.0)[0].day, dates.day)


def test_observations_near_the_year_are_used():
    first, last = stages.DAY_MIN - REACH, stages.DAY_MAX + REACH
    days = np.array([first - 1, first, 0, last, last + 1, np.nan])
    assert near_year(days, TargetYear(2018)).tolist() == [False, True, True, True, False, False]
    moved = near_year(days - 184, TargetYear(2018, "07-01"))
    assert moved.tolist() == [False, True, True, True, False, False]


def test_the_middle_of_a_season_is_that_of_its_flanks():
    nan = np.nan
    dates = np.array(
        [[-60, -50, -3, 54, 70], [-60, nan, -3, 54, 70], [-60, -50, nan, 54, 70], [nan] * 5]
    )
    np.testing.assert_array_equal(season_middle(dates, stages.CALENDAR), [2, -3, 2, nan])


def autumn_sown(pixels=400, seed=3):
    """NDVI of a uniform field that is green from October to March, level over New Year."""
    days = np.arange(-240, 365, 5.0)
    green = 1 / (1 + np.exp(-(days + 85) / 6)) - 1 / (1 + np.exp(-(days - 95) / 6))
    noise = np.random.default_rng(seed).normal(0, 0.02, (pixels, days.size))
    return 0.2 + 0.5 * green + noise, days


def test_a_uniform_field_with_a_flat_top_has_its_season_in_one_year():
    """The top is highest before New Year in many pixels; their middle is 5 January in all."""
    values, days = autumn_sown()
    found = season_dates(values, days)
    peaks = found.dates[:, 0, found.stages.index("peak")]
    assert 0.1 < (peaks < 0).mean() < 0.9
    counts = [choose_slots(found, year, 50.0, 365.0 * (year - 2018)).count for year in (2017, 2018)]
    assert counts[0].tolist() == [0] * len(values)
    assert counts[1].tolist() == [1] * len(values)


def southern_summers():
    """NDVI of three summer crops that peak 27 December 2017, 4 January 2019, 28 December 2019."""
    times = np.arange("2017-07-01", "2020-07-01", 5, "datetime64[D]")
    peaks = np.array(["2017-12-27", "2019-01-04", "2019-12-28"], "datetime64[D]")
    away = (times - peaks[:, None]).astype(float)
    return 0.2 + 0.6 * np.exp(-((away / 45) ** 2)).sum(axis=0), times


@pytest.mark.parametrize(
    ("year", "calendar", "from_july"), [(2017, 1, 0), (2018, 0, 1), (2019, 2, 1), (2020, 0, 1)]
)
def test_a_year_from_july_holds_one_southern_summer(year, calendar, from_july):
    values, times = southern_summers()
    found = season_dates(values[None], stages.to_days(times, year))
    assert choose_slots(found, year, -30.0).count == [calendar]
    dates, choice = fill_slots(found, year, -30.0, "07-01")
    assert choice.count == [from_july]
    if from_july:
        assert abs(dates.day[0, 0, stages.CALENDAR.index("peak")]) <= 6  # about 1 January
    series = xr.DataArray(values, {"time": pd.DatetimeIndex(times)}, ["time"])
    for start in ("07-01", "auto"):
        table = extract(series, year=year, latitude=-30.0, year_start=start)
        assert table["count"] == from_july
        np.testing.assert_allclose(table["date"], dates.day[0], atol=0.01)


def test_the_start_of_the_year_follows_from_the_hemisphere(caplog):
    assert start_of_year("auto", -30.0) == "07-01"
    assert start_of_year("auto", [40.0, 0.0]) == "01-01"
    assert start_of_year("10-01", -30.0) == "10-01"
    assert start_of_year(None, 40.0) == "01-01"
    assert not caplog.text
    assert start_of_year(None, [40.0, -30.0]) == "01-01"
    assert "year start 07-01 keeps them whole" in caplog.text
    with pytest.raises(DeepCropError, match="both sides of the equator"):
        start_of_year("auto", [40.0, -30.0])
    for wrong in ("02-29", "2018-07-01", "7-1", ""):
        with pytest.raises(DeepCropError, match="expected month and day"):
            start_of_year(wrong, 40.0)


def test_a_year_does_not_depend_on_the_fractions_asked_for():
    """Seasons belong to a year by their middle at half of the amplitude, asked for or not."""
    values, days = autumn_sown(20)
    times = np.datetime64("2018-01-01") + days.astype("timedelta64[D]")
    cube = xr.DataArray(values, {"time": pd.DatetimeIndex(times)}, ["pixel", "time"])
    few = extract(cube, year=2018, latitude=50.0, fractions=(0.2,))
    both = extract(cube, year=2018, latitude=50.0)
    assert few["stage"].values.tolist() == ["sos20", "peak", "eos20"]
    assert (few["count"] == 1).all()
    np.testing.assert_allclose(few["date"], both["date"].sel(stage=few["stage"]), atol=0.01)


def test_a_season_without_dates_keeps_its_slot_and_is_not_counted():
    middles, amplitudes = np.array([[100.0, 200.0, 300.0]]), np.array([[0.29, 0.6, 0.2]])
    for refused, slots, count in [
        ([False, False, False], [1, 0], 3),
        ([False, True, False], [1, 0], 2),
        ([True, False, False], [1, 2], 2),  # 0.29 is not clearly stronger than 0.2
        ([True, True, True], [1, 0], 0),
    ]:
        choice = select_slots(
            middles, middles, amplitudes, TargetYear(2018), 0.0, refused=np.array([refused])
        )
        assert choice.index[0].tolist() == slots
        assert choice.count == [count]


def catch_crop_and_poorly_seen_main_crop():
    """A winter crop with many clear images, and a larger summer crop of which three saw the top."""
    days = np.concatenate(
        [np.arange(0, 140, 4.0), [170, 200, 210, 220, 250], np.arange(260, 360, 4.0)]
    )
    curve = (
        0.15 + 0.3 * np.exp(-(((days - 80) / 25) ** 2)) + 0.65 * np.exp(-(((days - 210) / 22) ** 2))
    )
    noise = 0.09 * np.random.default_rng(2).standard_normal((200, days.size))
    return curve + noise, days


def test_no_lesser_season_stands_for_a_main_season_refused_as_noise():
    values, days = catch_crop_and_poorly_seen_main_crop()
    found = season_dates(values, days)
    dates, choice = fill_slots(found, 2018, 45.0)
    peak = dates.day[:, :, stages.CALENDAR.index("peak")]
    refused = choice.gather(np.isfinite(found.refused_day), empty=False)[:, 0]
    assert 0 < refused.sum() < len(refused)
    # The main season is the summer crop or has no date; the catch crop is at most the second.
    assert (np.abs(peak[~refused, 0] - 210) < 20).all()
    assert np.isnan(dates.day[refused, 0]).all()
    assert np.nanmax(np.abs(peak[refused, 1] - 80)) < 12
    why = {
        REASONS[code]
        for code in choice.gather(found.reason, empty=0)[refused, 0].ravel().astype(int)
    }
    assert why == {"no more than noise"}
    times = np.datetime64("2018-01-01") + days.astype("timedelta64[D]")
    series = xr.DataArray(values, {"time": pd.DatetimeIndex(times)}, ["pixel", "time"])
    table = extract(series, year=2018, latitude=45.0)
    np.testing.assert_array_equal(table["date"], dates.day)
    assert (table["count"] == np.isfinite(peak).sum(axis=1)).all()


def test_a_peak_that_nobody_saw_takes_no_slot():
    """Its height is that of a curve across a gap of 170 days, which may lie far above the truth."""
    days = np.concatenate([np.arange(0, 120, 5.0), np.arange(290, 700, 5.0)])
    seen, unseen = np.exp(-(((days - 440) / 40) ** 2)), np.exp(-(((days - 205) / 80) ** 2))
    found = season_dates((0.2 + 0.4 * seen + 0.6 * unseen)[None], days)
    gap = [REASONS[code] == "gap over the event" for code in found.reason[0, :, 2]]
    assert any(gap)
    assert np.isnan(found.refused_day[0, gap]).all()
    choice = choose_slots(found, 2018, 20.0, 100.0)
    assert abs(choice.gather(found.dates)[0, 0, 2] - 440) < 10


def test_the_reason_is_that_of_the_season_of_the_year():
    """Not that of the first one of the series, whose rise ended before the first observation."""
    fall, days = np.linspace(0.6, 0.2, 8), np.arange(0, 40, 5.0)
    later = np.concatenate(
        [np.arange(365, 535, 4.0), [565, 575, 585, 615], np.arange(630, 720, 4.0)]
    )
    values = 0.15 + 0.65 * np.exp(-(((later - 575) / 22) ** 2))
    values = values + 0.12 * np.random.default_rng(2).standard_normal((100, later.size))
    values = np.concatenate([np.tile(fall, (len(values), 1)), values], axis=1)
    days = np.concatenate([days, later]).astype("timedelta64[D]")
    times = pd.DatetimeIndex(np.datetime64("2017-01-01") + days)
    series = xr.DataArray(values, {"time": times}, ["pixel", "time"])
    table = extract(series, year=2018, latitude=45.0)
    undated = np.isnan(table["date"].values).all(axis=(1, 2))
    undated &= (
        choose_slots(season_dates(values, days.astype(float)), 2018, 45.0, 365.0).index[:, 0] >= 0
    )
    assert undated.any()
    reasons = table["reason"].values[undated, 0]
    assert {REASONS[code] for code in reasons.ravel()} == {"no more than noise"}
