"""Seasons, dates, measures, intervals and reasons on curves made by hand, without a smoother."""

from dataclasses import dataclass

import numpy as np
import pytest

from deepcrop.phenology import REASONS, SeasonRule
from deepcrop.phenology.blocks import BLOCK
from deepcrop.phenology.date_intervals import INTERVAL
from deepcrop.phenology.date_kernels import MEASURES, date_blocks
from deepcrop.phenology.observations import scatter_of

NAN = np.nan
K_NOISE, K_SHAPE, K_GAP, K_PEAK, K_BASE = INTERVAL
GRID = np.arange(0, 401, 5.0)
ORIGIN = np.float32(64)


@dataclass
class Result:
    """Of one series: (seasons, stages) and (seasons,)."""

    dates: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reason: np.ndarray
    measures: dict
    rows: int

    def why(self, season=0):
        return [REASONS[code] for code in self.reason[season]]


def date(curve, t=None, y=None, fractions=(0.2, 0.5), rule=None, grid=GRID, room=4):
    """Date one curve on ``grid``; by default it was observed on each point of it, exactly.

    On slopes of a tenth of the amplitude a step, no point of a slope counts to base or top.
    """
    rule = rule or SeasonRule()
    grid, curve = np.asarray(grid, np.float32), np.asarray(curve, np.float32)
    t = grid if t is None else np.asarray(t, np.float32)
    y = np.interp(t, grid, curve) if y is None else y
    blocks = np.zeros((1, t.size, BLOCK), np.float32)
    blocks[0, :, 0] = y
    weights = np.zeros_like(blocks)
    weights[0, :, 0] = 1
    curves = np.full((1, grid.size, BLOCK), NAN, np.float32)
    curves[0, :, 0] = curve
    counts = np.zeros((1, BLOCK), np.float32)
    counts[0, 0] = t.size
    scatter = np.empty((1, BLOCK), np.float32)
    scatter_of(t, blocks, weights, scatter)
    stages = 2 * len(fractions) + 1
    # As whatever was there before may have left them.
    dates, low, high = (np.full((1, room, stages), 9, np.float32) for _ in range(3))
    reason = np.full((1, room, stages), 9, np.uint8)
    measures = np.full((1, room, len(MEASURES)), 9, np.float32)
    refused = np.full((1, room, 2), 9, np.float32)
    rows = np.full(1, 9)
    date_blocks(
        t, blocks, weights, grid, curves, counts, scatter, ORIGIN, rule.min_amplitude,
        rule.prominence, rule.max_gap, rule.min_observations, np.array(fractions, np.float32),
        INTERVAL, dates, low, high, reason, measures, refused, rows,
    )  # fmt: skip
    named = {name: measures[0, :, k] for k, name in enumerate(MEASURES)}
    dates, low, high = (array[0] - ORIGIN for array in (dates, low, high))
    return Result(dates, low, high, reason[0], named, int(rows[0]))


def triangle(left=0.0, right=0.0, top=1.0, grid=GRID):
    """From ``left`` on day 100 up to ``top`` on day 150, down to ``right`` on day 200."""
    return np.interp(grid, [100, 150, 200], [left, top, right])


def test_golden_dates_of_a_triangle():
    found = date(triangle())
    np.testing.assert_allclose(found.dates[0], [110, 125, 150, 175, 190], atol=1e-3)
    assert found.rows == 1
    assert found.why() == ["found"] * 5
    assert np.isnan(found.dates[1:]).all()
    assert not found.reason[1:].any()


def test_measures_of_a_triangle_by_hand():
    measures = date(triangle()).measures
    assert measures["amplitude"][0] == pytest.approx(1, abs=1e-5)
    assert measures["base"][0] == pytest.approx(0, abs=1e-5)
    assert measures["maximum"][0] == pytest.approx(1, abs=1e-5)
    # Day 110 to 190: all 50 but the tips below 20 %, of 10 days each.
    assert measures["large_integral"][0] == pytest.approx(50 - 0.5 * 0.2 * 20, abs=1e-2)
    assert measures["small_integral"][0] == pytest.approx(48, abs=1e-2)
    assert measures["slope_up"][0] == pytest.approx(1 / 50, rel=1e-4)
    assert measures["slope_down"][0] == pytest.approx(1 / 50, rel=1e-4)
    for values in measures.values():
        assert np.isnan(values[1:]).all()


def test_each_side_has_its_own_base():
    found = date(np.interp(GRID, [100, 150, 180], [0, 1, 0.4]))
    # Rising: 0.2 and 0.5. Falling from 1 to 0.4 in 30 days: 0.7 and 0.52.
    np.testing.assert_allclose(found.dates[0, [0, 1, 3, 4]], [110, 125, 165, 174], atol=1e-3)
    assert found.measures["amplitude"][0] == pytest.approx(0.8, abs=1e-5)


def test_the_integrals_lie_between_the_outermost_dates():
    grid = np.arange(50, 401, 5.0)
    curve = np.interp(grid, [100, 150, 180], [0.0, 1, 0.4])
    found = date(curve, grid=grid, fractions=(0.22,))
    # From 0.22 on day 111 to 0.532 on day 173.4, both between points of the grid.
    np.testing.assert_allclose(found.dates[0, [0, -1]], [111, 173.4], atol=1e-3)
    area = 39 * (0.22 + 1) / 2 + 23.4 * (1 + 0.532) / 2
    assert found.measures["large_integral"][0] == pytest.approx(area, abs=1e-2)
    assert found.measures["base"][0] == pytest.approx(0.2, abs=1e-5)
    assert found.measures["small_integral"][0] == pytest.approx(area - 62.4 * 0.2, abs=1e-2)


def test_any_fractions():
    fractions = (0.1, 0.15, 0.25, 0.9)
    found = date(triangle(), fractions=fractions)
    f = np.array(fractions)
    np.testing.assert_allclose(found.dates[0, :4], 100 + 50 * f, atol=1e-3)
    np.testing.assert_allclose(found.dates[0, :4:-1], 200 - 50 * f, atol=1e-3)


def test_the_last_rise_before_the_peak_and_the_first_fall_after_it_count():
    days = [50, 100, 120, 170, 180, 190, 250, 300, 350]
    curve = np.interp(GRID, days, [0, 0.6, 0.45, 0.7, 1, 0.7, 0.45, 0.6, 0])
    found = date(curve, rule=SeasonRule(prominence=0.3))
    assert found.rows == 1
    assert found.dates[0, 1] == pytest.approx(120 + 50 * 0.05 / 0.25, abs=0.2)
    assert found.dates[0, 3] == pytest.approx(250 - 60 * 0.05 / 0.25, abs=0.2)
    # With less prominence these are three seasons.
    assert date(curve, rule=SeasonRule(prominence=0.1)).rows == 3


def test_the_level_is_the_mean_of_noisy_observations():
    rng = np.random.default_rng(3)
    y = triangle() + rng.normal(0, 0.03, GRID.size)
    curve = triangle()
    curve[GRID < 100] -= 0.05 * (np.arange(20) % 2)  # the lowest points lie 0.05 too low
    found = date(curve, y=y)
    mean = y[GRID < 100].mean()
    assert found.dates[0, 0] == pytest.approx(100 + 50 * (mean + 0.2 * (1 - mean)), abs=0.7)


def test_more_seasons_than_there_is_room_for_are_counted():
    season = [0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2, 0]
    curve = np.r_[np.zeros(6), np.tile(season, 20), np.zeros(6)]
    grid = 5.0 * np.arange(curve.size)
    few, all_of_them = (date(curve, grid=grid, room=room) for room in (4, 25))
    assert few.rows == all_of_them.rows == 20
    np.testing.assert_array_equal(few.dates, all_of_them.dates[:4])
    np.testing.assert_allclose(all_of_them.dates[:20, 2], 70 + 70 * np.arange(20), atol=1e-3)


def test_years_do_not_depend_on_each_other():
    grid = np.arange(0, 1461, 5.0)
    peaks = 180 + 365.25 * np.arange(4)
    curve = sum(
        height * np.interp(grid, [day - 50, day, day + 50], [0, 1, 0])
        for day, height in zip(peaks, [0.15, 1.0, 0.15, 0.15], strict=True)
    )
    found = date(curve, grid=grid)
    np.testing.assert_allclose(found.dates[:4, 2], peaks, atol=2.5)


# Reasons ----------------------------------------------------------------------------------------


def test_too_few_observations():
    t = np.linspace(0, 400, 7)
    found = date(triangle(), t)
    assert np.isnan(found.dates).all()
    assert found.why() == ["too few observations"] * 5
    assert date(triangle(), np.linspace(0, 400, 14)).why()[2] == "found"
    # All on two days: nothing lies between.
    assert date(triangle(), np.linspace(101, 109, 30)).why() == ["too few observations"] * 5


@pytest.mark.parametrize("curve", [triangle(top=0.1), np.full(GRID.size, 0.3), GRID * np.nan])
def test_amplitude_too_small(curve):
    found = date(curve)
    assert np.isnan(found.dates).all()
    assert found.why() == ["amplitude too small"] * 5


def test_a_small_season_beside_a_large_one_is_none():
    curve = np.maximum(triangle(), np.interp(GRID, [280, 310, 340], [0, 0.15, 0]))
    assert date(curve).rows == 1
    assert date(curve, rule=SeasonRule(prominence=0.1)).rows == 2


@pytest.mark.parametrize(
    ("curve", "why"),
    [
        (np.interp(GRID, [300, 390], [0, 1]), "not observed after"),
        (np.interp(GRID, [10, 100], [1, 0]), "not observed before"),
    ],
)
def test_a_peak_nobody_saw_keeps_a_row_without_dates(curve, why):
    found = date(curve)
    assert found.rows == 1
    assert found.why() == [why] * 5
    for array in (found.dates, found.low, found.high, *found.measures.values()):
        assert np.isnan(array).all()


def test_a_whole_season_between_two_that_are_cut_off():
    curve = np.interp(GRID, [0, 80, 130, 180, 230, 330, 400], [1, 0, 0, 1, 0, 0, 1])
    found = date(curve)
    assert found.rows == 3
    assert found.why(0) == ["not observed before"] * 5
    assert found.why(1) == ["found"] * 5
    assert found.why(2) == ["not observed after"] * 5


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_side_that_was_not_seen_to_its_base_has_no_dates(side):
    grid = np.arange(0, 201, 5.0)
    curve = np.interp(grid, [0, 30, 80], [0.4, 1, 0])  # the rise begins half way up
    curve = curve if side == "before" else curve[::-1]
    found = date(curve, grid=grid)
    missing, present = ([0, 1], [3, 4]) if side == "before" else ([3, 4], [0, 1])
    assert [found.why()[k] for k in missing] == [f"not observed {side}"] * 2
    assert [found.why()[k] for k in present] == ["found"] * 2
    assert np.isnan(found.dates[0, missing]).all()
    np.testing.assert_allclose(
        found.dates[0, present], [55, 70] if side == "before" else [130, 145], atol=1e-3
    )
    assert found.measures["amplitude"][0] == pytest.approx(1, abs=1e-5)
    assert np.isnan(found.measures["small_integral"][0])
    assert np.isnan(found.measures["large_integral"][0])
    seen = found.measures["slope_down" if side == "before" else "slope_up"][0]
    unseen = found.measures["slope_up" if side == "before" else "slope_down"][0]
    assert seen == pytest.approx(0.02, rel=1e-4)
    assert np.isnan(unseen)


def test_neither_side_seen_to_its_base():
    grid = np.arange(0, 101, 5.0)
    found = date(np.interp(grid, [0, 50, 100], [0.4, 1, 0.4]), grid=grid)
    assert (
        found.why() == ["not observed before"] * 2 + found.why()[2:3] + ["not observed after"] * 2
    )
    assert np.isnan(found.dates[0, [0, 1, 3, 4]]).all()


def test_a_gap_over_the_event():
    t = GRID[(GRID <= 60) | (GRID >= 135)]
    found = date(triangle(), t, rule=SeasonRule(max_gap=70))
    assert found.why() == ["gap over the event"] * 2 + ["found"] * 3
    assert np.isnan(found.dates[0, :2]).all()
    assert np.isnan(found.low[0, :2]).all()
    assert date(triangle(), t, rule=SeasonRule(max_gap=80)).why() == ["found"] * 5


def test_one_observation_in_a_gap_makes_no_season():
    t = np.r_[np.arange(0, 96, 5.0), 150, np.arange(205, 401, 5.0)]
    found = date(triangle(), t)
    assert found.why() == ["gap over the event"] * 5
    assert np.isnan(found.dates).all()
    assert date(triangle(), np.sort(np.r_[t, 140, 160])).why()[2] == "found"


def test_noise_makes_no_season():
    rng = np.random.default_rng(5)
    curve = 0.7 + 0.1 * np.sin(GRID / 8)
    found = date(curve, y=curve + rng.normal(0, 0.1, GRID.size))
    reasons = {REASONS[code] for code in found.reason[: found.rows].ravel()}
    assert "found" not in reasons


# Intervals --------------------------------------------------------------------------------------


def test_interval_on_a_straight_slope_by_hand():
    found = date(triangle())
    # Without noise the curve is uncertain by a share of the amplitude; second neighbours are 15
    # days apart.
    shape, gap = K_SHAPE * 1.0, K_GAP * 15**2 / (15 + 40)
    for stage, slope in ((1, 1 / 50), (3, 1 / 50)):
        arm = np.hypot(shape / slope, gap)
        assert found.dates[0, stage] - found.low[0, stage] == pytest.approx(arm, rel=1e-3)
        assert found.high[0, stage] - found.dates[0, stage] == pytest.approx(arm, rel=1e-3)


def test_noise_widens_the_interval_by_hand():
    rng = np.random.default_rng(0)
    t = np.arange(0, 401, 4.0)
    noise = 0.04 * rng.standard_normal(t.size)
    found = date(triangle(), t, np.interp(t, GRID, triangle()) + noise)
    # The mean of the roots of the residuals, squared, over that of a standard normal.
    s = np.mean(np.sqrt(np.abs(noise))) ** 2 / 0.676
    assert s == pytest.approx(0.04, rel=0.15)
    day = found.dates[0, 3]
    assert day == pytest.approx(175, abs=1)
    v = 1 / (np.abs(t - day) < 17).sum()
    # The base: the mean of about fifty observations after the season.
    base = K_BASE * 0.5 * s / np.sqrt(50)
    delta = np.sqrt((K_NOISE * s) ** 2 * v + K_SHAPE**2 + base**2)
    gap = K_GAP * 12**2 / (12 + 40)
    assert found.high[0, 3] - day == pytest.approx(np.hypot(delta * 50, gap), rel=0.03)


def test_a_date_in_a_gap_has_a_wide_interval():
    widths = []
    for half in (5, 10, 15, 20):
        t = np.r_[np.arange(175 - half, -1, -5.0)[::-1], np.arange(175 + half, 401, 5.0)]
        found = date(triangle(), t, rule=SeasonRule(max_gap=200))
        widths.append(found.high[0, 3] - found.low[0, 3])
        assert widths[-1] > 2 * half / 2
    assert (np.diff(widths) > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_dates_lie_within_their_intervals_and_in_order(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        curve = np.interp(GRID, np.sort(rng.choice(GRID, 9, replace=False)), rng.random(9))
        t = np.sort(rng.uniform(0, 400, rng.integers(8, 80)))
        y = np.interp(t, GRID, curve) + rng.normal(0, 0.05, t.size)
        found = date(curve, t, y, fractions=(0.1, 0.25, 0.5), room=9)
        dated = np.isfinite(found.dates)
        np.testing.assert_array_equal(dated, np.isfinite(found.low))
        np.testing.assert_array_equal(dated, np.isfinite(found.high))
        assert (found.low[dated] <= found.dates[dated]).all()
        assert (found.high[dated] >= found.dates[dated]).all()
        used = np.arange(9) < found.rows
        # Either a date or the reason why there is none.
        np.testing.assert_array_equal(dated[used], found.reason[used] == 0)
        assert not dated[~used].any()
        for row in found.dates:
            assert (np.diff(row[np.isfinite(row)]) >= 0).all()
