import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcrop import stages

YEARS = st.integers(1990, 2050)
DAYS = st.integers(stages.DAY_MIN, stages.DAY_MAX)

# Counted by hand from a calendar: (date, target year, day number).
GOLDEN = [
    ("2018-01-01", 2018, 0),
    ("2018-03-01", 2018, 59),
    ("2020-03-01", 2020, 60),  # leap year
    ("2000-03-01", 2000, 60),  # divisible by 400: leap year
    ("2020-12-31", 2020, 365),
    ("2018-12-31", 2018, 364),
    ("2017-12-31", 2018, -1),
    ("2017-07-04", 2018, -181),
    ("2020-07-04", 2021, -181),  # the leap day lies before July
    ("2019-07-03", 2018, 548),
    ("2020-07-02", 2019, 548),  # a leap day in between
    ("2021-07-02", 2020, 548),
]


def test_stages_are_four_and_titled_in_season_order():
    assert stages.STAGES == ("sos20", "sos50", "eos50", "eos20")
    assert tuple(stages.STAGE_TITLES) == stages.STAGES


@pytest.mark.parametrize(("date", "year", "day"), GOLDEN)
def test_golden_dates(date, year, day):
    assert stages.to_days(np.array([date], "datetime64[ns]"), year) == [day]
    assert stages.to_dates([day], year) == np.array([date], "datetime64[D]")
    assert stages.to_dates(np.array([day], np.int16), year) == np.array([date], "datetime64[D]")


def test_time_of_day_is_dropped():
    times = np.array(["2018-03-01T00:00", "2018-03-01T23:59:59.999999999"], "datetime64[ns]")
    np.testing.assert_array_equal(stages.to_days(times, 2018), [59, 59])


def test_to_days_is_float32_of_the_same_shape_with_nan_for_nat():
    times = np.array([["2018-01-02", "NaT"], ["NaT", "2016-01-01"]], "datetime64[ns]")
    days = stages.to_days(times, 2018)
    assert days.dtype == np.float32
    np.testing.assert_array_equal(days, [[1, np.nan], [np.nan, -731]])
    assert stages.to_days(np.datetime64("2018-01-02"), 2018) == 1
    assert stages.to_days(np.array([], "datetime64[ns]"), 2018).shape == (0,)


def test_to_dates_gives_nat_for_nan_infinity_and_none():
    dates = stages.to_dates([0, np.nan, stages.NO_DAY, np.inf, -np.inf], 2018)
    assert dates.dtype == np.dtype("datetime64[D]")
    np.testing.assert_array_equal(np.isnat(dates), [False, True, True, True, True])
    assert np.isnat(stages.to_dates(np.int16(stages.NO_DAY), 2018))


@pytest.mark.parametrize(
    ("day", "stored"),
    [
        (0.5, 1),
        (1.5, 2),  # not to even
        (2.5, 3),
        (-0.5, 0),
        (-1.5, -1),
        (0.499, 0),
        (-0.501, -1),
        (-181, -181),
        (-181.5, -181),
        (-181.51, stages.NO_DAY),
        (548, 548),
        (548.49, 548),
        (548.5, stages.NO_DAY),
        (np.nan, stages.NO_DAY),
        (np.inf, stages.NO_DAY),
        (-np.inf, stages.NO_DAY),
        (1e30, stages.NO_DAY),
        (stages.NO_DAY, stages.NO_DAY),
    ],
)
def test_encode_rounds_halves_up_and_marks_what_is_outside(day, stored):
    for dtype in (np.float32, np.float64):
        result = stages.encode(np.array([day], dtype))
        assert result.dtype == np.int16
        assert result == [stored]


def test_decode_gives_nan_for_none():
    days = stages.decode(np.array([[-181, 548], [0, 32767]], np.int16))
    assert days.dtype == np.float32
    np.testing.assert_array_equal(days, [[-181, 548], [0, np.nan]])


@settings(deadline=None)
@given(st.lists(DAYS, max_size=20), YEARS)
def test_dates_and_days_are_inverse(days, year):
    np.testing.assert_array_equal(stages.to_days(stages.to_dates(days, year), year), days)


@settings(deadline=None)
@given(DAYS, YEARS)
def test_days_agree_with_the_calendar_of_python(day, year):
    import datetime

    expected = datetime.date(year, 1, 1) + datetime.timedelta(days=day)
    assert stages.to_dates(day, year).item() == expected


@settings(deadline=None)
@given(st.lists(st.one_of(DAYS, st.just(stages.NO_DAY)), max_size=20))
def test_encode_undoes_decode(stored):
    stored = np.array(stored, np.int16)
    np.testing.assert_array_equal(stages.encode(stages.decode(stored)), stored)


@settings(deadline=None)
@given(st.floats(-181, 548, width=32), YEARS)
def test_encoding_moves_a_day_by_half_a_day_at_most_and_agrees_with_to_dates(day, year):
    stored = stages.encode(day)
    if stored != stages.NO_DAY:  # 548 is rounded from below only
        assert abs(float(stored) - day) <= 0.5
        assert stages.to_dates(stored, year) == stages.to_dates(day, year)


def test_dates_hold_day_interval_and_probability():
    day = np.arange(24.0).reshape(3, 2, 4)
    dates = stages.Dates(day, day - 2, day + 3)
    assert dates.probability is None
    for array, expected in zip(dates, (day, day - 2, day + 3, None), strict=True):
        assert array is None if expected is None else (array == expected).all()
    some = dates.part([2, 0])
    np.testing.assert_array_equal(some.high, day[[2, 0]] + 3)
    assert some.probability is None
    likely = stages.Dates(*dates.map(lambda array: array[..., :1]))
    assert likely.low.shape == (3, 2, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dates.day = day
