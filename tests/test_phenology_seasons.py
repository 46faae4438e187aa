import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcrop.errors import DeepCropError
from deepcrop.phenology import REASONS, SavGol, SeasonRule, season_dates, stage_names

EXACT = SavGol(window=6, steep_window=6, envelope_passes=0, spike=99, min_points=3, step=1)
"""Hardly smooths, for golden arithmetic on daily series."""


def bump(t, up=100.0, down=200.0, low=0.2, high=0.8, width=8.0):
    rise, fall = 1 / (1 + np.exp(-(t - up) / width)), 1 / (1 + np.exp((t - down) / width))
    return low + (high - low) * rise * fall


def one(seasons, name):
    return seasons.dates[0, :, seasons.stages.index(name)]


def test_names_of_stages():
    assert stage_names((0.2, 0.5)) == ("sos20", "sos50", "peak", "eos50", "eos20")
    assert stage_names((0.125,)) == ("sos12.5", "peak", "eos12.5")


def test_golden_dates_of_a_triangle():
    # 0 until day 100, up to 1 on day 150, down to 0 on day 250.
    t = np.arange(0, 361.0)
    y = np.interp(t, [100, 150, 250], [0, 1, 0])
    seasons = season_dates(y[None], t, smoother=EXACT, rule=SeasonRule(min_amplitude=0.1))
    assert seasons.stages == ("sos20", "sos50", "peak", "eos50", "eos20")
    np.testing.assert_allclose(seasons.dates[0, 0], [110, 125, 150, 200, 230], atol=1)
    assert seasons.amplitude[0, 0] == pytest.approx(1, abs=0.03)
    assert REASONS[seasons.reason[0, 0]] == "found"


def test_each_side_has_its_own_base():
    t = np.arange(0, 361.0)
    y = np.interp(t, [100, 150, 250], [0.0, 1.0, 0.5])  # falls to half only
    seasons = season_dates(y[None], t, smoother=EXACT)
    np.testing.assert_allclose(one(seasons, "sos50"), [125], atol=1)
    np.testing.assert_allclose(one(seasons, "eos50"), [200], atol=1)  # passes 0.75


def test_dates_of_logistic_seasons_under_the_default_smoother():
    t = np.arange(-60, 420, 5.0)
    up, down = np.array([90.0, 120.0, 150.0]), np.array([200.0, 250.0, 280.0])
    seasons = season_dates(np.stack([bump(t, u, d) for u, d in zip(up, down, strict=True)]), t)
    np.testing.assert_allclose(seasons.dates[:, 0, 1], up, atol=2)
    np.testing.assert_allclose(seasons.dates[:, 0, 3], down, atol=2)
    np.testing.assert_allclose(seasons.dates[:, 0, 0], up - 8 * np.log(4), atol=4)
    np.testing.assert_allclose(seasons.dates[:, 0, 4], down + 8 * np.log(4), atol=4)


def test_two_seasons_a_year_and_a_season_across_new_year():
    t = np.arange(0, 730, 5.0)
    y = np.maximum(np.maximum(bump(t, 60, 140), bump(t, 200, 290)), bump(t, 340, 470))
    seasons = season_dates(y[None], t)
    np.testing.assert_allclose(one(seasons, "sos50"), [60, 200, 340], atol=3)
    np.testing.assert_allclose(one(seasons, "eos50"), [140, 290, 470], atol=3)


@pytest.mark.parametrize(
    ("first", "last", "missing", "present"),
    [(95, 400, "sos50", "eos50"), (0, 195, "eos50", "sos50")],
)
def test_a_series_that_begins_or_ends_inside_a_season_has_no_date_there(
    first, last, missing, present
):
    t = np.arange(first, last, 4.0)
    seasons = season_dates(bump(t)[None], t)
    assert np.isnan(one(seasons, missing)[0])
    assert np.isfinite(one(seasons, present)[0])
    assert "not observed" in REASONS[seasons.reason[0, 0]]


def test_a_date_in_a_long_gap_is_not_given():
    t = np.arange(0, 365, 4.0)
    t = t[(t < 60) | (t > 150)]  # green-up on day 100 unseen
    seasons = season_dates(bump(t, down=250)[None], t)
    assert np.isnan(one(seasons, "sos50")[0])
    assert np.isfinite(one(seasons, "eos50")[0])
    assert REASONS[seasons.reason[0, 0]] == "gap over an event"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full(60, np.nan), "too few observations"),
        (np.r_[np.full(59, np.nan), 0.5], "too few observations"),
        (np.full(60, 0.4), "amplitude too small"),
        (np.full(60, np.inf), "too few observations"),
        (0.4 + 0.01 * np.sin(np.arange(60)), "amplitude too small"),
        (np.linspace(0.1, 0.9, 60), "not observed from before its start to after its end"),
    ],
)
def test_no_season_says_why(values, why):
    seasons = season_dates(values[None], np.arange(60) * 2.0)
    assert np.isnan(seasons.dates).all()
    assert REASONS[seasons.reason[0, 0]] == why


def test_a_step_down_after_a_rise_is_dated_like_a_harvest():
    t = np.arange(0, 365, 5.0)
    y = np.where(t < 250, bump(t, 120, 900), 0.2)
    assert one(season_dates(y[None], t), "eos50")[0] == pytest.approx(248, abs=4)


@pytest.mark.parametrize("last", [140, 150, 160, 180])
def test_a_season_whose_peak_is_yet_to_come_has_no_dates(last):
    t = np.arange(-60, last, 5.0)
    rising = 0.2 + 0.6 * np.exp(-(((t - 190) / 32) ** 2))
    for values, days in ((rising, t), (rising[::-1], -t[::-1])):
        seasons = season_dates(values[None], days)
        assert np.isnan(seasons.dates).all()
        assert REASONS[seasons.reason[0, 0]] != "found"


def test_a_step_without_a_fall_is_no_season():
    t = np.arange(0, 365, 5.0)
    seasons = season_dates(np.where(t < 150, 0.2, 0.8)[None], t)
    assert np.isnan(seasons.dates).all()


def test_ten_years_of_daily_data():
    t = np.arange(0, 3650.0)
    y = 0.5 - 0.3 * np.cos(2 * np.pi * t / 365)
    seasons = season_dates(y[None], t)
    found = one(seasons, "peak")
    np.testing.assert_allclose(np.diff(found), 365, atol=3)
    assert len(found) == 10


def test_no_pixels_and_no_times():
    assert season_dates(np.empty((0, 30)), np.arange(30)).dates.shape == (0, 1, 5)
    assert season_dates(np.empty((3, 0)), np.empty(0)).reason.tolist() == [[1], [1], [1]]


def test_bad_input_is_refused():
    y, t = np.zeros((2, 20)), np.arange(20.0)
    with pytest.raises(DeepCropError, match="do not fit"):
        season_dates(y, t[:10])
    with pytest.raises(DeepCropError, match="Weights have shape"):
        season_dates(y, t, np.ones((2, 3)))
    with pytest.raises(DeepCropError, match="must rise"):
        season_dates(y, t, fractions=(0.5, 0.2))
    with pytest.raises(DeepCropError, match="between 0 and 1"):
        season_dates(y, t, fractions=(0.0,))
    with pytest.raises(DeepCropError, match="NaN or infinities"):
        season_dates(y, np.r_[t[:-1], np.nan])


# Properties -------------------------------------------------------------------------------------


@st.composite
def series(draw):
    """Noisy seasons on irregular days."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t = np.sort(rng.choice(500, draw(st.integers(40, 120)), replace=False)).astype(np.float32)
    up = rng.uniform(80, 200)
    y = bump(t, up, up + rng.uniform(60, 160), rng.uniform(0.1, 0.3), rng.uniform(0.6, 0.9))
    return (y + rng.normal(0, 0.02, t.size)).astype(np.float32), t


@settings(deadline=None, max_examples=40)
@given(series(), st.integers(-400, 400))
def test_shifting_time_shifts_dates(data, shift):
    y, t = data
    a, b = season_dates(y[None], t), season_dates(y[None], t + shift)
    np.testing.assert_allclose(b.dates, a.dates + shift, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(series(), st.floats(0.5, 4), st.floats(-1, 1))
def test_scaling_and_adding_a_constant_change_nothing(data, scale, constant):
    y, t = data
    a = season_dates(y[None], t)
    b = season_dates(scale * y[None] + constant, t, rule=SeasonRule(min_amplitude=0.12 * scale))
    if a.dates.shape == b.dates.shape:
        np.testing.assert_allclose(b.dates, a.dates, atol=0.5)
    else:  # an amplitude on the very edge of the rule
        pytest.fail(f"{a.dates} {b.dates}")


@settings(deadline=None, max_examples=40)
@given(series(), st.randoms(use_true_random=False))
def test_order_of_observations_is_irrelevant(data, random):
    y, t = data
    order = list(range(t.size))
    random.shuffle(order)
    a, b = season_dates(y[None], t), season_dates(y[None, order], t[order])
    np.testing.assert_array_equal(a.dates, b.dates)


@settings(deadline=None, max_examples=40)
@given(series(), st.integers(0, 2**32))
def test_observations_of_weight_zero_have_no_influence(data, seed):
    y, t = data
    rng = np.random.default_rng(seed)
    weights = (rng.random(t.size) < 0.8).astype(np.float32)
    # The first and last day set the origin of the curve's days, so they stay.
    weights[[0, -1]] = 1
    a = season_dates(y[None], t, weights[None])
    b = season_dates(np.where(weights > 0, y, rng.normal(0, 9, t.size))[None], t, weights[None])
    c = season_dates(y[None, weights > 0], t[weights > 0])
    np.testing.assert_array_equal(a.dates, b.dates)
    np.testing.assert_array_equal(a.dates, c.dates)


@settings(deadline=None, max_examples=20)
@given(series())
def test_reversing_time_swaps_starts_and_ends(data):
    y, t = data
    y = bump(t, 150, 260)
    a, b = season_dates(y[None], t), season_dates(y[None, ::-1], -t[::-1])
    thresholds = [0, 1, 3, 4]  # on a plateau the peak itself may be anywhere
    np.testing.assert_allclose(b.dates[0, 0, ::-1][thresholds], -a.dates[0, 0, thresholds], atol=2)


def test_neighbours_and_threads_do_not_change_a_bit():
    import numba

    rng = np.random.default_rng(5)
    t = np.sort(rng.choice(400, 60, replace=False)).astype(np.float32)
    y = np.stack([bump(t, u, u + 100) for u in rng.uniform(80, 180, 300)])
    y = (y + rng.normal(0, 0.05, y.shape)).astype(np.float32)
    whole = season_dates(y, t)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        single = season_dates(y, t)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(whole.dates, single.dates)
    part = season_dates(y[100:133], t)
    wide = part.dates.shape[1]
    np.testing.assert_array_equal(whole.dates[100:133, :wide], part.dates)
