"""Season dates of many series: truths, reasons, properties and pathological input."""

import re
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import fields
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepcrop.errors import DeepCropError
from deepcrop.phenology import (
    PRESETS,
    REASONS,
    SavGol,
    SeasonRule,
    Whittaker,
    season_dates,
    smoothers,
    stage_names,
)
from deepcrop.phenology.date_kernels import MEASURES

SMOOTHERS = ("savgol", "whittaker", "double_logistic", "asymmetric_gaussian")
EXACT = SavGol(
    window=6, steep_window=6, stiffness=0, envelope_passes=0, spike=99, min_points=3, step=1
)
"""Hardly smooths, for golden arithmetic on daily series."""

every_smoother = pytest.mark.parametrize("smoother", SMOOTHERS)


def bump(t, up=100.0, down=200.0, low=0.2, high=0.8, width=8.0):
    rise, fall = 1 / (1 + np.exp(-(t - up) / width)), 1 / (1 + np.exp((t - down) / width))
    return low + (high - low) * rise * fall


def one(seasons, name):
    return seasons.dates[0, :, seasons.stages.index(name)]


def why(seasons, pixel=0, season=0):
    return [REASONS[code] for code in seasons.reason[pixel, season]]


def assert_equal(a, b):
    """Equal to the bit in every field."""
    for field in fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def check(seasons, t):
    """What holds whatever the input."""
    dated = np.isfinite(seasons.dates)
    assert not (dated & (seasons.reason > 0)).any()
    np.testing.assert_array_equal(np.isfinite(seasons.low), dated)
    np.testing.assert_array_equal(np.isfinite(seasons.high), dated)
    assert (seasons.low[dated] <= seasons.dates[dated]).all()
    assert (seasons.high[dated] >= seasons.dates[dated]).all()
    if dated.any():
        assert np.min(t) - 0.1 <= seasons.dates[dated].min()
        assert seasons.dates[dated].max() <= np.max(t) + 0.1
    used = np.isfinite(seasons.amplitude) | (seasons.reason > 0).any(axis=2)
    assert used[:, :1].all()  # a series without a season says why in its first row
    assert (used[:, 1:] <= used[:, :-1]).all()
    np.testing.assert_array_equal(dated[used], seasons.reason[used] == 0)
    assert not dated[~used].any()
    assert (seasons.amplitude[np.isfinite(seasons.amplitude)] > 0).all()
    for slope in (seasons.slope_up, seasons.slope_down):
        assert (slope[np.isfinite(slope)] > 0).all()
    np.testing.assert_array_equal(seasons.count, np.isfinite(seasons.amplitude).sum(axis=1))


# Known truth ------------------------------------------------------------------------------------


def test_names_of_stages():
    assert stage_names((0.2, 0.5)) == ("sos20", "sos50", "peak", "eos50", "eos20")
    assert stage_names((0.125,)) == ("sos12.5", "peak", "eos12.5")
    names = stage_names((0.1, 0.15, 0.25, 0.9))
    assert names == (
        "sos10", "sos15", "sos25", "sos90", "peak", "eos90", "eos25", "eos15", "eos10",
    )  # fmt: skip


def test_golden_dates_and_measures_of_a_triangle():
    # 0 until day 100, up to 1 on day 150, down to 0 on day 250.
    t = np.arange(0, 361.0)
    y = np.interp(t, [100, 150, 250], [0, 1, 0])
    seasons = season_dates(y[None], t, smoother=EXACT, rule=SeasonRule(min_amplitude=0.1))
    assert seasons.stages == ("sos20", "sos50", "peak", "eos50", "eos20")
    assert seasons.dates.dtype == np.float32
    assert seasons.dates.shape == (1, 1, 5)
    np.testing.assert_allclose(seasons.dates[0, 0], [110, 125, 150, 200, 230], atol=1)
    assert why(seasons) == ["found"] * 5
    assert seasons.amplitude[0, 0] == pytest.approx(1, abs=0.03)
    assert seasons.length[0, 0] == pytest.approx(120, abs=2)
    assert seasons.base[0, 0] == pytest.approx(0, abs=0.03)
    assert seasons.maximum[0, 0] == pytest.approx(1, abs=0.03)
    # Without the tips of 20 % on both sides.
    for integral in (seasons.small_integral, seasons.large_integral):
        assert integral[0, 0] == pytest.approx(72, abs=2)
    assert seasons.slope_up[0, 0] == pytest.approx(0.02, rel=0.2)
    assert seasons.slope_down[0, 0] == pytest.approx(0.01, rel=0.2)
    assert seasons.count.tolist() == [1]
    check(seasons, t)


def test_each_side_has_its_own_base():
    t = np.arange(0, 361.0)
    y = np.interp(t, [100, 150, 250], [0.0, 1.0, 0.5])[None]  # falls to half only
    found = season_dates(y, t, smoother=EXACT)
    np.testing.assert_allclose(one(found, "sos50"), [125], atol=1)
    np.testing.assert_allclose(one(found, "eos50"), [200], atol=1)  # passes 0.75


def test_any_fractions():
    t = np.arange(0, 361.0)
    y = np.interp(t, [100, 150, 250], [0, 1, 0])
    fractions = np.array([0.1, 0.15, 0.25, 0.9])
    for given_as in (tuple(fractions), list(fractions), fractions):
        seasons = season_dates(y[None], t, smoother=EXACT, fractions=given_as)
        assert seasons.stages == stage_names(tuple(fractions))
        np.testing.assert_allclose(seasons.dates[0, 0, :4], 100 + 50 * fractions, atol=1.5)
        np.testing.assert_allclose(seasons.dates[0, 0, :4:-1], 250 - 100 * fractions, atol=1.5)
    half = season_dates(y[None], t, smoother=EXACT, fractions=(0.5,))
    np.testing.assert_allclose(half.dates[0, 0], [125, 150, 200], atol=1)


@every_smoother
def test_dates_of_logistic_seasons(smoother):
    t = np.arange(-60, 420, 5.0)
    up, down = np.array([90.0, 120.0, 150.0]), np.array([200.0, 250.0, 280.0])
    y = np.stack([bump(t, u, d) for u, d in zip(up, down, strict=True)])
    seasons = season_dates(y, t, smoother=smoother)
    np.testing.assert_allclose(seasons.dates[:, 0, 1], up, atol=2)
    np.testing.assert_allclose(seasons.dates[:, 0, 3], down, atol=2)
    np.testing.assert_allclose(seasons.dates[:, 0, 0], up - 8 * np.log(4), atol=4)
    np.testing.assert_allclose(seasons.dates[:, 0, 4], down + 8 * np.log(4), atol=4)
    check(seasons, t)


@every_smoother
def test_two_seasons_a_year_and_a_season_across_new_year(smoother):
    t = np.arange(0, 730, 5.0)
    y = np.maximum(np.maximum(bump(t, 60, 140), bump(t, 200, 290)), bump(t, 340, 470))
    seasons = season_dates(y[None], t, smoother=smoother)
    np.testing.assert_allclose(one(seasons, "sos50"), [60, 200, 340], atol=3)
    np.testing.assert_allclose(one(seasons, "eos50"), [140, 290, 470], atol=3)


@every_smoother
def test_thirty_cuts_in_five_years(smoother):
    t = np.arange(0, 1850, 2.0)
    phase = (t - 15) % 60  # grows for 50 days, is cut within ten
    y = 0.3 + 0.5 * np.interp(phase, [0, 50, 60], [0, 1, 0])
    y = np.where((t < 15) | (t > 1815), 0.3, y)
    settings = SavGol(10, 8) if smoother == "savgol" else None
    settings = settings or type(PRESETS["sentinel2"][0][smoother])(smoothness=10)
    seasons = season_dates(y[None], t, smoother=settings)
    assert seasons.count.tolist() == [30]
    np.testing.assert_allclose(one(seasons, "peak"), 65 + 60 * np.arange(30), atol=10)
    np.testing.assert_allclose(one(seasons, "sos50"), 40 + 60 * np.arange(30), atol=6)
    # The two sides of a shape are as smooth as each other; a cut is not.
    sharp = 4 if smoother in ("savgol", "whittaker") else 9
    np.testing.assert_allclose(one(seasons, "eos50"), 70 + 60 * np.arange(30), atol=sharp)
    # Series with fewer seasons keep theirs beside it.
    quiet = np.full_like(t, 0.3)
    two = season_dates(np.stack([quiet, y, bump(t)]), t, smoother=settings)
    assert two.count.tolist() == [0, 30, 1]
    np.testing.assert_array_equal(two.dates[1], seasons.dates[0])


@every_smoother
def test_a_step_down_after_a_rise_is_dated_like_a_harvest(smoother):
    t = np.arange(0, 365, 5.0)
    y = np.where(t < 250, bump(t, 120, 900), 0.2)
    found = season_dates(y[None], t, smoother=smoother)
    assert one(found, "eos50")[0] == pytest.approx(248, abs=4)


@every_smoother
def test_ten_years_of_daily_data_with_noise(smoother):
    t = np.arange(0, 3650.0)
    y = 0.5 - 0.3 * np.cos(2 * np.pi * t / 365)
    y = y + np.random.default_rng(0).normal(0, 0.03, t.size)
    seasons = season_dates(y[None], t, smoother=smoother)
    np.testing.assert_allclose(one(seasons, "sos50"), 91.25 + 365 * np.arange(10), atol=8)
    np.testing.assert_allclose(one(seasons, "eos50"), 273.75 + 365 * np.arange(10), atol=8)
    check(seasons, t)


def test_the_preset_of_cameras_finds_their_small_amplitudes():
    t = np.arange(0, 365.0)
    y = bump(t, 120, 280, 0.33, 0.37, 6) + np.random.default_rng(1).normal(0, 0.002, t.size)
    assert season_dates(y[None], t).count.tolist() == [0]
    for smoother in SMOOTHERS:
        seasons = season_dates(y[None], t, smoother=smoother, preset="phenocam")
        np.testing.assert_allclose(seasons.dates[0, 0, [1, 3]], [120, 280], atol=2)


# Reasons ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "missing", "present", "reason"),
    [
        (95, 400, "sos50", "eos50", "not observed before"),
        (0, 204, "eos50", "sos50", "not observed after"),
    ],
)
@every_smoother
def test_a_series_that_begins_or_ends_inside_a_season_has_no_date_there(
    smoother, first, last, missing, present, reason
):
    t = np.arange(first, last, 4.0)
    seasons = season_dates(bump(t)[None], t, smoother=smoother)
    assert np.isnan(one(seasons, missing)[0])
    assert np.isfinite(one(seasons, present)[0])
    assert why(seasons)[seasons.stages.index(missing)] == reason
    assert why(seasons)[seasons.stages.index(present)] == "found"
    assert np.isnan(seasons.length[0, 0])
    assert np.isnan(seasons.small_integral[0, 0])
    assert np.isnan(seasons.large_integral[0, 0])
    check(seasons, t)


@every_smoother
def test_a_date_in_a_gap_too_long_is_not_given(smoother):
    t = np.arange(0, 365, 4.0)
    t = t[(t < 60) | (t > 150)]  # green-up on day 100 unseen
    seasons = season_dates(bump(t, down=250)[None], t, smoother=smoother)
    assert np.isnan(one(seasons, "sos50")[0])
    assert one(seasons, "eos50")[0] == pytest.approx(250, abs=3)
    assert why(seasons)[1] == "gap over the event"
    check(seasons, t)


@every_smoother
def test_a_peak_that_stays_level_to_the_end_counts_for_the_side_that_was_seen(smoother):
    t = np.arange(60) * 4.0
    up = np.where(t < 120, 0.2, 0.8)
    seasons = season_dates(np.stack([up, up[::-1]]), t, smoother=smoother)
    sos50, eos50 = seasons.stages.index("sos50"), seasons.stages.index("eos50")
    assert seasons.dates[0, 0, sos50] == pytest.approx(118, abs=5)
    assert np.isnan(seasons.dates[0, 0, eos50])
    assert REASONS[seasons.reason[0, 0, eos50]] == "not observed after"
    assert seasons.dates[1, 0, eos50] == pytest.approx(118, abs=5)
    assert REASONS[seasons.reason[1, 0, sos50]] == "not observed before"


@every_smoother
def test_start_and_end_of_a_season_longer_than_a_year_are_left_out_with_a_reason(smoother):
    t = np.arange(-200, 1000, 5.0)
    values = np.stack([bump(t, up=100, down=down) for down in (300, 440, 600)])
    seasons = season_dates(values, t, smoother=smoother)
    lengths = seasons.length[:, 0]
    assert lengths[0] == pytest.approx(200, abs=40)
    assert lengths[1] == pytest.approx(340, abs=25)  # less than a year: kept
    assert np.isnan(lengths[2])
    assert (
        why(seasons, 2)
        == ["season longer than a year"] * 2 + ["found"] + ["season longer than a year"] * 2
    )
    assert 100 < seasons.dates[2, 0, 2] < 600  # the peak stays, and with it the row
    assert seasons.amplitude[2, 0] == pytest.approx(seasons.amplitude[0, 0], abs=0.03)
    assert np.isnan([seasons.small_integral[2, 0], seasons.large_integral[2, 0]]).all()
    assert np.isfinite([seasons.small_integral[1, 0], seasons.large_integral[1, 0]]).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(60, np.nan), "too few observations"),
        (np.r_[np.full(59, np.nan), 0.5], "too few observations"),
        (np.r_[0.2, np.full(58, np.nan), 0.5], "too few observations"),
        (np.r_[np.full(53, np.nan), 0.2, 0.3, 0.5, 0.9, 0.5, 0.3, 0.2], "too few observations"),
        (np.full(60, np.inf), "too few observations"),
        (np.where(np.arange(60) % 2, np.inf, -np.inf), "too few observations"),
        (np.full(60, 0.4), "amplitude too small"),
        (np.zeros(60), "amplitude too small"),
        (0.4 + 0.01 * np.sin(np.arange(60)), "amplitude too small"),
        (np.linspace(0.1, 0.9, 60), "not observed after"),
        (np.linspace(0.9, 0.1, 60), "not observed before"),
    ],
)
@every_smoother
def test_no_season_says_why(smoother, values, reason):
    t = np.arange(60) * 4.0
    seasons = season_dates(values[None], t, smoother=smoother)
    assert np.isnan(seasons.dates).all()
    assert why(seasons) == [reason] * 5
    assert seasons.count.tolist() == [0]
    check(seasons, t)


def test_the_fewest_observations_may_be_chosen():
    t = np.arange(0, 400, 45.0)  # nine
    y = bump(t, 120, 300, width=20)[None]
    assert np.isfinite(season_dates(y, t).dates[0, 0, 2])
    strict = season_dates(y, t, rule=SeasonRule(min_observations=10))
    assert why(strict) == ["too few observations"] * 5
    twice = season_dates(
        np.repeat(y, 2, axis=1), np.repeat(t, 2), rule=SeasonRule(min_observations=10)
    )
    assert why(twice) == ["too few observations"] * 5  # days count, not observations


@pytest.mark.parametrize("last", [140, 150, 165, 180])
@every_smoother
def test_a_season_whose_peak_is_yet_to_come_keeps_a_row_without_dates(smoother, last):
    t = np.arange(-60, last, 5.0)
    rising = 0.2 + 0.6 * np.exp(-(((t - 190) / 32) ** 2))
    for values, days, reason in (
        (rising, t, "not observed after"),
        (rising[::-1], -t[::-1], "not observed before"),
    ):
        seasons = season_dates(values[None], days, smoother=smoother)
        assert np.isnan(seasons.dates).all()
        # Until day 150 it has hardly risen.
        assert why(seasons) == [reason if last > 150 else "amplitude too small"] * 5


@every_smoother
def test_seasons_before_one_that_is_cut_off_keep_their_dates(smoother):
    t = np.arange(0, 470, 5.0)
    y = np.maximum(bump(t, 100, 200), 0.2 + 0.6 * np.exp(-(((t - 490) / 40) ** 2)))
    seasons = season_dates(y[None], t, smoother=smoother)
    assert seasons.dates.shape == (1, 2, 5)
    assert why(seasons, season=0) == ["found"] * 5
    assert why(seasons, season=1) == ["not observed after"] * 5
    assert seasons.count.tolist() == [1]


def test_rows_beyond_the_seasons_of_a_series_are_empty():
    t = np.arange(0, 730, 5.0)
    y = np.stack([bump(t), np.maximum(bump(t), bump(t, 465, 565)), np.full(t.size, np.nan)])
    seasons = season_dates(y, t)
    assert seasons.dates.shape == (3, 2, 5)
    assert seasons.count.tolist() == [1, 2, 0]
    assert np.isnan(seasons.dates[0, 1]).all()
    assert why(seasons, 0, 1) == ["no such season"] * 5
    assert why(seasons, 2, 1) == ["no such season"] * 5
    assert why(seasons, 2) == ["too few observations"] * 5
    check(seasons, t)


# Properties -------------------------------------------------------------------------------------

few = settings(deadline=None, max_examples=12)
some_smoother = st.sampled_from(SMOOTHERS)


@st.composite
def series(draw):
    """Noisy seasons on irregular days, of eight pixels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(40, 120))
    t = np.r_[0, np.sort(rng.choice(np.arange(1, 500), n, replace=False)), 500].astype(np.float32)
    up = rng.uniform(80, 200, (8, 1))
    down = up + rng.uniform(60, 160, (8, 1))
    y = bump(t, up, down, rng.uniform(0.1, 0.3, (8, 1)), rng.uniform(0.6, 0.9, (8, 1)))
    return (y + rng.normal(0, 0.02, y.shape)).astype(np.float32), t


@few
@given(series(), some_smoother, st.integers(-400, 400))
def test_shifting_time_shifts_dates_and_intervals(data, smoother, shift):
    y, t = data
    a, b = (season_dates(y, t + s, smoother=smoother) for s in (0, shift))
    for name in ("dates", "low", "high"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name) + shift, atol=0.001)
    for name in ("reason", *MEASURES):
        # Days between dates are rounded as the dates are.
        limit = 0.001 if name == "large_integral" else 0
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=0, atol=limit)
    check(a, t)


@few
@given(series(), some_smoother, st.floats(0.5, 1.2), st.floats(-0.4, 0.2))
def test_scaling_and_adding_a_constant_change_nothing(data, smoother, scale, constant):
    y, t = data
    a = season_dates(y, t, smoother=smoother)
    scaled = SeasonRule(min_amplitude=0.12 * scale)
    b = season_dates(scale * y + constant, t, smoother=smoother, rule=scaled)
    # Which of two points of a plateau is higher is a matter of the last bit.
    limit = np.where(np.arange(5) == 2, 16, 0.5)
    for name in ("dates", "low", "high"):
        off = np.abs(getattr(b, name) - getattr(a, name))
        assert not (off > limit).any()
    np.testing.assert_array_equal(a.reason, b.reason)
    for name in ("amplitude", "small_integral", "slope_up", "slope_down"):
        np.testing.assert_allclose(getattr(b, name), scale * getattr(a, name), rtol=0.01, atol=0.05)


@few
@given(series(), some_smoother, st.randoms(use_true_random=False))
def test_order_of_observations_is_irrelevant(data, smoother, random):
    y, t = data
    order = list(range(t.size))
    random.shuffle(order)
    a = season_dates(y, t, smoother=smoother)
    assert_equal(a, season_dates(y[:, order], t[order], smoother=smoother))


@few
@given(series(), some_smoother, st.integers(0, 2**32))
def test_observations_of_weight_zero_have_no_influence(data, smoother, seed):
    y, t = data
    rng = np.random.default_rng(seed)
    kept = rng.random(t.size) < 0.8
    # The first day sets the origin of the curve's days, the last one its end, so they stay.
    kept[[0, -1]] = True
    weights = np.broadcast_to(kept.astype(np.float32), y.shape)
    a = season_dates(y, t, weights, smoother=smoother)
    junk = np.where(kept, y, rng.choice([9, np.nan, np.inf, -1e30], y.shape))
    assert_equal(a, season_dates(junk, t, weights, smoother=smoother))
    b = season_dates(y[:, kept], t[kept], smoother=smoother)
    # Sums are added up two columns at a time, so dropping columns changes the last bits; on a flat
    # top these move the peak farther than any threshold.
    apart = np.abs(a.dates - b.dates)
    np.testing.assert_array_equal(np.isnan(a.dates), np.isnan(b.dates))
    assert np.nanmax(apart[..., [0, 1, 3, 4]], initial=0) <= 1e-3
    assert np.nanmax(apart[..., 2], initial=0) <= 0.05
    np.testing.assert_array_equal(a.reason, b.reason)


# In the gap after day 334 the curve dips below the base and from there rises to the last day: the
# beginning of a season, which has a row without dates, after the dated one and backwards before it.
EDGE_DAYS = np.array([
    0, 7, 8, 20, 28, 30, 40, 42, 54, 56, 61, 72, 83, 103, 109, 114, 138, 151, 156, 162, 164, 169,
    186, 190, 195, 196, 207, 217, 223, 236, 237, 240, 246, 249, 250, 253, 261, 274, 279, 284, 287,
    295, 298, 306, 313, 317, 319, 321, 334, 389, 429, 433, 443, 447, 479, 500
], np.float32)  # fmt: skip
EDGE_NDVI_PERCENT = np.array([
    23, 25, 25, 28, 24, 26, 25, 24, 25, 26, 29, 21, 24, 24, 26, 24, 21, 23, 22, 28, 24, 28, 38, 48,
    55, 59, 77, 82, 90, 88, 87, 89, 84, 89, 89, 90, 89, 90, 87, 86, 85, 85, 81, 75, 63, 57, 50, 44,
    28, 21, 25, 25, 21, 23, 21, 28
], np.float32)  # fmt: skip


@few
@given(series(), some_smoother)
@example((EDGE_NDVI_PERCENT[None] / 100, EDGE_DAYS), "whittaker")
def test_reversing_time_swaps_starts_and_ends(data, smoother):
    y, t = data
    rule = SeasonRule(max_gap=500)  # or a date on the edge of a gap would be on either side of it
    a = season_dates(y, t, smoother=smoother, rule=rule)
    b = season_dates(y[:, ::-1], -t[::-1], smoother=smoother, rule=rule)
    # Each series has one season, and perhaps rows without dates for slopes at its edges.
    whole, back = np.isfinite(a.amplitude), np.isfinite(b.amplitude)
    assert (whole.sum(axis=1) == 1).all()
    assert (back.sum(axis=1) == 1).all()
    # 500 days are a hundred steps, so both curves have the same points. The envelope of Whittaker
    # takes the slope at a point from the step that follows, which is another one backwards; in a
    # gap of months that moves a date by more, of which its interval knows.
    thresholds = [0, 1, 3, 4]  # on a plateau the peak itself may be anywhere
    moved = np.abs(-b.dates[back][:, ::-1] - a.dates[whole])[:, thresholds]
    width = (a.high - a.low)[whole][:, thresholds]
    assert (moved <= (0.02 if smoother == "savgol" else np.maximum(5, 0.15 * width))).all()
    if smoother == "savgol":
        np.testing.assert_allclose(b.slope_up[back], a.slope_down[whole], rtol=1e-3)


@every_smoother
def test_neighbours_chunks_and_threads_do_not_change_a_bit(smoother, monkeypatch):
    rng = np.random.default_rng(5)
    t = np.sort(rng.choice(400, 60, replace=False)).astype(np.float32)
    y = bump(t, rng.uniform(80, 180, (150, 1)), rng.uniform(220, 300, (150, 1)))
    y = (y + rng.normal(0, 0.05, y.shape)).astype(np.float32)
    y[rng.random(y.shape) < 0.3] = np.nan
    whole = season_dates(y, t, smoother=smoother)
    for first in (1, 40, 100):  # other neighbours, another lane
        part = season_dates(y[first : first + 33], t, smoother=smoother)
        rows = part.dates.shape[1]
        np.testing.assert_array_equal(whole.dates[first : first + 33, :rows], part.dates)
        np.testing.assert_array_equal(whole.high[first : first + 33, :rows], part.high)
    among = np.full((31, t.size), 1.4, np.float32)
    among[1::3] = np.nan
    among[17] = y[3]
    alone = season_dates(y[3:4], t, smoother=smoother)
    rows = alone.dates.shape[1]
    np.testing.assert_array_equal(
        season_dates(among, t, smoother=smoother).dates[17, :rows], alone.dates[0]
    )
    for threads, size in ((1, 16), (3, 16), (3, 48)):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(smoothers, "_CHUNK", size)
        assert_equal(whole, season_dates(y, t, smoother=smoother))


# Intervals --------------------------------------------------------------------------------------


@every_smoother
@pytest.mark.parametrize("gap", [(85, 125), (70, 140)])
def test_a_date_inside_a_long_gap_is_no_confident_guess(smoother, gap):
    t = np.arange(-100, 500, 5.0)
    y = bump(t, 105, 260, width=10)[None]
    seen = season_dates(y, t, smoother=smoother)
    kept = (t <= gap[0]) | (t >= gap[1])
    seasons = season_dates(y[:, kept], t[kept], smoother=smoother)
    width = seasons.high - seasons.low
    stage = seasons.stages.index("sos50")
    assert width[0, 0, stage] >= 0.5 * (gap[1] - gap[0])
    assert width[0, 0, stage] > 2 * (seen.high - seen.low)[0, 0, stage]
    assert seasons.low[0, 0, stage] <= 105 <= seasons.high[0, 0, stage]
    other = seasons.stages.index("eos50")  # far from the gap
    assert width[0, 0, other] == pytest.approx((seen.high - seen.low)[0, 0, other], rel=0.3)


@pytest.fixture(scope="module")
def scenes():
    """Scenes of the benchmark, of a seed that nothing was tuned on, and its scoring."""
    pytest.importorskip("scipy")
    folder = str(Path(__file__).parents[2] / "benchmarks" / "phenology")
    sys.path.insert(0, folder)
    before = set(sys.modules)
    try:
        import scoring
        import series

        kinds = ("three years", "sparse year")
        yield {kind: series.simulate(kind, 400, seed=12) for kind in kinds}, scoring.score
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
                del sys.modules[name]


@pytest.mark.parametrize("kind", ["three years", "sparse year"])
@every_smoother
def test_ninety_percent_intervals_cover_what_they_should(scenes, smoother, kind):
    scene, score = scenes[0][kind], scenes[1]
    seasons = season_dates(scene.values, scene.days, smoother=smoother)
    result = score(scene.truth, scene.group, seasons.dates, seasons.low, seasons.high)
    # 85 to 95 %, and what a sample of some hundred seasons may be off.
    assert result.coverage.min() > 0.82, result.coverage
    assert result.coverage.max() < 0.97, result.coverage
    assert 0.85 < result.coverage.mean() < 0.95, result.coverage
    # Intervals of thousands of days would cover as well.
    assert result.width.max() < (50 if kind == "three years" else 70)
    check(seasons, scene.days)


# Pathological input -----------------------------------------------------------------------------


@every_smoother
def test_a_mixture_of_bad_series_spoils_no_good_one(smoother):
    t = np.arange(0, 365, 5.0)
    good = bump(t)
    bad = np.stack([
        np.full(t.size, np.nan), np.full(t.size, np.inf), np.full(t.size, 1.5),
        np.where(t == 100, 1.5, good), np.where(t == 100, -np.inf, good), np.zeros(t.size),
        np.where(t == 100, 0.5, np.nan), np.where(t % 2, 1.5, -1.5), np.full(t.size, 1e-40),
    ])  # fmt: skip
    y = np.empty((2 * len(bad), t.size))
    y[::2], y[1::2] = bad, good
    seasons = season_dates(y, t, smoother=smoother)
    alone = season_dates(good[None], t, smoother=smoother)
    np.testing.assert_array_equal(seasons.dates[1::2, :1], np.repeat(alone.dates, len(bad), axis=0))
    assert seasons.count[[0, 2, 10, 12]].tolist() == [0] * 4


def test_float64_beyond_float32_is_no_observation():
    t = np.arange(0, 365, 5.0)
    y = bump(t)[None]
    huge = season_dates(np.where(t == 100, 1e300, y), t)
    assert_equal(huge, season_dates(np.where(t == 100, np.nan, y), t))


@every_smoother
def test_duplicate_and_unsorted_days(smoother):
    rng = np.random.default_rng(3)
    t = np.repeat(np.arange(0, 365, 10.0), 3)
    y = bump(t) + rng.normal(0, 0.02, t.size)
    order = rng.permutation(t.size)
    seasons = season_dates(y[None, order], t[order], smoother=smoother)
    np.testing.assert_allclose(seasons.dates[0, 0, [1, 3]], [100, 200], atol=4)
    same_day = season_dates(y[None], np.full(t.size, 7.0), smoother=smoother)
    assert why(same_day) == ["too few observations"] * 5


@every_smoother
def test_weights_that_are_no_weights(smoother):
    t = np.arange(0, 365, 5.0)
    y = bump(t)[None]
    zero = season_dates(y, t, np.zeros_like(y), smoother=smoother)
    assert why(zero) == ["too few observations"] * 5
    weights = np.ones_like(y)
    weights[0, ::7] = 0
    expected = season_dates(y, t, weights, smoother=smoother)
    weights[0, ::7] = np.nan
    assert_equal(season_dates(y, t, weights, smoother=smoother), expected)
    for value in (-1, np.inf):
        weights[0, ::7] = value
        with pytest.raises(DeepCropError, match=f"11 of 73 weights .* for example {value:g};"):
            season_dates(y, t, weights, smoother=smoother)


@pytest.mark.parametrize("last", [8e4, 2e7, 1e12, -1e9])
def test_a_far_off_day_is_named_at_once(last):
    days = np.r_[np.arange(20) * 10.0, last]
    started = time.monotonic()
    with pytest.raises(DeepCropError, match=re.escape(f"drop day {last:g}.")):
        season_dates(np.zeros((10_000, 21)), days)
    assert time.monotonic() - started < 0.5


def test_days_far_from_the_origin_are_refused():
    days = np.arange(0, 365, 5.0)
    with pytest.raises(DeepCropError, match="subtract the day of a date near"):
        season_dates(bump(days)[None], days + 1e8)


def test_one_day_far_off_within_the_limit_asks_for_no_memory():
    days = np.r_[np.arange(20) * 10.0, 72_000]
    tracemalloc.start()
    season_dates(np.full((2000, 21), 0.3, np.float32), days)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 66 MB for the seasons of two centuries alone, were there room for them


@pytest.mark.parametrize(
    ("values", "days", "weights", "options"),
    [
        ("abc", [1, 2], None, {}),
        ([[1, 2], [3]], [1, 2], None, {}),
        ([[1j, 2]], [1, 2], None, {}),
        (["ab"], [1, 2], None, {}),
        (None, None, None, {}),
        ([[0.1, 0.2]], np.array(["2018-01-01", "2018-01-06"], "datetime64[D]"), None, {}),
        ([[0.1, 10**400]], [1, 2], None, {}),
        ([[0.1, 0.2]], [1, 2], [["a", "b"]], {}),
        ([[0.1, 0.2]], [1, 2], None, {"smoother": []}),
        ([[0.1, 0.2]], [1, 2], None, {"preset": []}),
        ([[0.1, 0.2]], [1, 2], None, {"fractions": "half"}),
        ([[0.1, 0.2]], [1, 2], None, {"fractions": None}),
        ([[0.1, 0.2]], [1, 2], None, {"rule": 3}),
        ([[0.1, 0.2]], [1, 2], None, {"rule": SeasonRule(max_gap=None)}),
        ([[0.1, 0.2]], [1, 300], None, {"smoother": Whittaker(step=1e-9)}),
        ([[0.1, 0.2]], [1, 300], None, {"smoother": Whittaker(spike=10**400)}),
        ([[0.1, 0.2]], [1, 300], None, {"smoother": Whittaker(envelope_passes=10**9)}),
        ([[0.1, 0.2]], [1, 300], None, {"rule": SeasonRule(min_observations=10**30)}),
    ],
)
def test_what_is_no_series_is_refused_in_one_sentence(values, days, weights, options):
    with pytest.raises(DeepCropError):
        season_dates(values, days, weights, **options)


@every_smoother
def test_types_and_layouts_of_the_input(smoother):
    rng = np.random.default_rng(2)
    t = np.arange(0, 365, 5)
    y = bump(t) + rng.normal(0, 0.02, (9, t.size))
    seasons = season_dates(y, t, smoother=smoother)
    assert_equal(season_dates(y.tolist(), t.tolist(), smoother=smoother), seasons)
    np.testing.assert_allclose(seasons.dates[:, 0, [1, 3]], [[100, 200]] * 9, atol=4)
    fortran = np.asfortranarray(y.astype(np.float32))
    assert_equal(season_dates(fortran, t, smoother=smoother), seasons)
    fixed = np.broadcast_to(y[0].astype(np.float32), (5, t.size))
    assert not fixed.flags.writeable
    same = season_dates(fixed, t, np.broadcast_to(1.0, fixed.shape), smoother=smoother)
    np.testing.assert_array_equal(same.dates[:, 0], np.repeat(seasons.dates[:1, 0], 5, axis=0))


@every_smoother
def test_days_since_the_year_one(smoother):
    t = np.arange(0, 365, 5.0)
    y = bump(t)[None]
    near, far = (season_dates(y, t + origin, smoother=smoother) for origin in (0, 737000))
    # float32 has a resolution of a sixteenth of a day there.
    np.testing.assert_allclose(far.dates - 737000, near.dates, atol=0.07)
    assert (far.low <= far.dates).all()
    assert (far.dates <= far.high).all()


@every_smoother
def test_no_pixels_and_no_times(smoother):
    seasons = season_dates(np.empty((0, 30)), np.arange(30), smoother=smoother)
    assert seasons.dates.shape == (0, 1, 5)
    assert seasons.length.shape == (0, 1)
    assert seasons.count.shape == (0,)
    nothing = season_dates(np.empty((3, 0)), np.empty(0), smoother=smoother)
    assert nothing.reason.tolist() == [[[1] * 5]] * 3
    for days in ([5.0], [5.0, 6.0], [5.0, 5.0], [0.0, 4000.0]):
        seasons = season_dates(np.full((2, len(days)), 0.5), days, smoother=smoother)
        assert why(seasons, 1) == ["too few observations"] * 5


@every_smoother
def test_years_without_data_between_seasons(smoother):
    t = np.arange(0, 365, 5.0)
    t = np.r_[t, t + 3 * 365, t + 8 * 365]
    seasons = season_dates(bump(t % 365)[None], t, smoother=smoother)
    np.testing.assert_allclose(one(seasons, "sos50"), [100, 1195, 3020], atol=3)
    np.testing.assert_allclose(one(seasons, "eos50"), [200, 1295, 3120], atol=3)


@every_smoother
def test_times_nobody_observed_change_nothing(smoother):
    rng = np.random.default_rng(8)
    t = np.arange(0, 365, 5.0)
    y = bump(t) + rng.normal(0, 0.03, (20, t.size))
    later = np.arange(365, 800, 5.0)
    longer = np.concatenate([y, np.full((20, later.size), np.nan)], axis=1)
    a = season_dates(y, t, smoother=smoother)
    b = season_dates(longer, np.r_[t, later], smoother=smoother)
    for name in ("dates", "low", "high"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=0.1)


@every_smoother
def test_a_peak_at_the_edge_of_years_without_data(smoother):
    t = np.r_[0:60:5.0, 400:460:5.0, 900:960:5.0]
    y = np.r_[np.full(12, 0.2), np.linspace(0.8, 0.5, 12), np.full(12, 0.2)]
    check(season_dates(y[None], t, smoother=smoother), t)


@every_smoother
def test_sparse_and_random_series_are_right_or_say_why(smoother):
    rng = np.random.default_rng(6)
    for span in (200, 1000, 10_000):
        t = np.sort(rng.uniform(0, span, 50)).round(1)
        y = rng.choice([0.1, 0.2, 0.5, 0.8], (200, t.size)) + rng.normal(0, 0.02, (200, t.size))
        y[rng.random(y.shape) < 0.4] = np.nan
        weights = rng.random(y.shape) * (rng.random(y.shape) < 0.9)
        seasons = season_dates(y, t, weights, smoother=smoother)
        check(seasons, t)
        for row in seasons.dates.reshape(-1, 5):
            # The peak is the top of a parabola, half a step from the highest point at most.
            assert (np.diff(row[np.isfinite(row)]) >= -2.5).all()


@every_smoother
def test_observations_more_than_a_year_apart(smoother):
    t = np.arange(12) * 400.0
    seasons = season_dates(np.tile([0.2, 0.8], 6)[None], t, smoother=smoother)
    ends = [0, 1, 3, 4]
    assert np.isnan(seasons.dates[..., ends]).all()
    assert set(np.unique(seasons.reason[..., ends])) <= {4, 5}
    check(seasons, t)


# Threads of the caller --------------------------------------------------------------------------

AT_ONCE = """
import threading
import numpy as np
from deepcrop.phenology import season_dates, smooth
t = np.arange(0, 365, 5.0)
y = np.random.default_rng(0).random((3000, t.size)).astype(np.float32)
expected = season_dates(y, t).dates, smooth(y, t)[0]
results = {}
def work(k):
    results[k] = [(season_dates(y, t).dates, smooth(y, t)[0]) for _ in range(3)]
threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for found in results.values():
    for pair in found:
        for a, b in zip(pair, expected): np.testing.assert_array_equal(a, b)
print(len(results))
"""


def test_two_threads_of_the_caller_get_the_same():
    rng = np.random.default_rng(7)
    t = np.arange(0, 365, 5.0)
    y = (bump(t) + rng.normal(0, 0.03, (2000, t.size))).astype(np.float32)
    expected = {name: season_dates(y, t, smoother=name) for name in SMOOTHERS[:2]}
    found = {}

    def work(name):
        found[name] = [season_dates(y, t, smoother=name) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(name,)) for name in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, results in found.items():
        for seasons in results:
            assert_equal(seasons, expected[name])
    assert len(found) == 2


@pytest.mark.slow
def test_nor_does_the_plainest_threading_layer_mind(monkeypatch):
    """Workqueue, where numba has neither OpenMP nor TBB, ends the process if two come at once."""
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "workqueue")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    run = subprocess.run(
        [sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "3"


# Bad input --------------------------------------------------------------------------------------


def test_bad_input_is_refused():
    y, t = np.zeros((2, 20)), np.arange(20.0)
    with pytest.raises(DeepCropError, match=r"do not fit: expected \(pixels, times\) and"):
        season_dates(y, t[:10])
    with pytest.raises(DeepCropError, match="do not fit"):
        season_dates(y[0], t)
    with pytest.raises(DeepCropError, match=r"Weights have shape \(2, 3\); expected \(2, 20\)"):
        season_dates(y, t, np.ones((2, 3)))
    with pytest.raises(DeepCropError, match="NaN or infinities; drop those observations"):
        season_dates(y, np.r_[t[:-1], np.nan])
    with pytest.raises(DeepCropError, match="'loess' is unknown; expected one of"):
        season_dates(y, t, smoother="loess")
    with pytest.raises(DeepCropError, match="expected a name or a settings object"):
        season_dates(y, t, smoother=None)
    with pytest.raises(DeepCropError, match="'modis' is unknown; expected one of"):
        season_dates(y, t, preset="modis")
    for step in (0, -5, np.nan):
        with pytest.raises(DeepCropError, match="expected a positive number"):
            season_dates(y, t, smoother=Whittaker(step=step))


@pytest.mark.parametrize(
    "fractions", [(), (0.5, 0.2), (0.2, 0.2), (0.0,), (1.0,), (-0.1, 0.5), (0.5, 1.2), (np.nan,)]
)
def test_fractions_out_of_range_or_order_are_refused(fractions):
    with pytest.raises(DeepCropError, match="must rise and lie between 0 and 1"):
        season_dates(np.zeros((2, 20)), np.arange(20.0), fractions=fractions)


@pytest.mark.parametrize("smoother", ["whittaker", "savgol", "double_logistic"])
@pytest.mark.parametrize("bad", [[0], [0, 1], [-1], [-2, -1], [9], [9, 10], [60, 61]])
@pytest.mark.parametrize("off", [-0.35, 0.25])
def test_bad_observations_of_a_dormant_stretch_move_no_date(smoother, bad, off):
    """At the first and the last date of a record, in between, and in pairs."""
    rng = np.random.default_rng(4)
    days = np.arange(0, 365, 5.0)
    ndvi = 0.2 + 0.6 / (1 + np.exp(-(days - 130) / 8)) - 0.6 / (1 + np.exp(-(days - 250) / 8))
    ndvi += rng.normal(0, 0.01, days.size)
    wrong = ndvi.copy()
    wrong[bad] += off
    found, right = (season_dates(v[None], days, smoother=smoother) for v in (wrong, ndvi))
    main = np.nanargmax(found.amplitude[0])
    four = [0, 1, 3, 4]  # not the peak of a flat top
    np.testing.assert_allclose(found.dates[0, main, four], right.dates[0, 0, four], atol=4)
    assert (found.high - found.low)[0, main, four].max() < 25


@pytest.mark.parametrize("smoother", ["whittaker", "savgol", "double_logistic"])
def test_flat_noise_has_no_season(smoother):
    rng = np.random.default_rng(6)
    values = 0.75 + rng.normal(0, 0.05, (400, 146))
    values[rng.random(values.shape) < 0.5] = np.nan
    found = season_dates(values, np.arange(146) * 5.0, smoother=smoother)
    complete = np.isfinite(found.dates[:, :, [0, 1, 3, 4]]).all(axis=2).any(axis=1)
    assert complete.mean() <= 0.01
