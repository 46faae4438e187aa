"""Fitted shapes recover known parameters and curves, and keep sensible where little was seen."""

from functools import partial

import numpy as np
import pytest
from scipy import optimize

from deepcrop.phenology import (
    AsymmetricGaussian,
    DoubleLogistic,
    Whittaker,
    model_fit,
    smooth,
)
from deepcrop.phenology.blocks import BLOCK
from deepcrop.phenology.model_fit import ASYMMETRIC_GAUSSIAN, DOUBLE_LOGISTIC

LOGISTIC = [0.2, 0.3, 0.8, 120.0, np.log(9.0), 240.0, np.log(6.0)]
"""Bases before and after, top, and of each side the day of half and the logarithm of the width."""
GAUSSIAN = [0.2, 0.3, 0.8, 180.0, np.log(60.0), np.log(3.0), np.log(50.0), np.log(4.0)]
"""Bases, top and day of the peak; of each side the logarithms of width and power."""
KINDS = pytest.mark.parametrize(
    ("kind", "smoother", "truth"),
    [
        (DOUBLE_LOGISTIC, DoubleLogistic(), LOGISTIC),
        (ASYMMETRIC_GAUSSIAN, AsymmetricGaussian(), GAUSSIAN),
    ],
    ids=["double logistic", "asymmetric Gaussian"],
)


def double_logistic(t, theta=LOGISTIC):
    base1, base2, top, t1, r1, t2, r2 = theta
    rise = 1 / (1 + np.exp(-(t - t1) / np.exp(r1)))
    fall = 1 / (1 + np.exp(-(t - t2) / np.exp(r2)))
    return base1 + (top - base1) * rise - (top - base2) * fall


def asymmetric_gaussian(t, theta=GAUSSIAN):
    base1, base2, top, middle, width1, power1, width2, power2 = theta
    before = t < middle
    base = np.where(before, base1, base2)
    width, power = np.exp(np.where(before, [[width1], [power1]], [[width2], [power2]]))
    return base + (top - base) * np.exp(-((np.abs(t - middle) / width) ** power))


def curve_of(kind, t, theta):
    return (double_logistic if kind == DOUBLE_LOGISTIC else asymmetric_gaussian)(t, theta)


def value(kind, day, theta):
    """Value and derivatives of the kernels at a day, from their float32."""
    theta, day = np.asarray(theta, np.float32), np.float32(day)
    gradient = np.zeros(len(theta))
    if kind == DOUBLE_LOGISTIC:
        base1, base2, top, half1, rise, half2, fall = theta
        steepness = np.exp(-rise), np.exp(-fall)
        found, *gradient[:] = model_fit.double_logistic(
            day, base1, base2, top, half1, half2, *steepness
        )
        return found, gradient
    found, base, top, middle, width, power, after = model_fit.asymmetric_gaussian(
        day, *theta[:5], np.exp(theta[5]), theta[6], np.exp(theta[7])
    )
    gradient[2:4] = top, middle
    gradient[[1, 6, 7] if after else [0, 4, 5]] = base, width, power
    return found, gradient


def fit(kind, series, start, amplitude=0.6):
    """Fit seasons, pairs of days and values, all from one start; parameters (seasons, size)."""
    peak = 180
    days = np.unique(np.concatenate([t for t, _ in series])).astype(np.float32)
    grid = np.append(days, peak).astype(np.float32)
    y = np.zeros((-(-len(series) // BLOCK), len(days), BLOCK), np.float32)
    w = np.zeros_like(y)
    seasons = np.zeros((len(series), 12), np.int32)
    for s, (t, values) in enumerate(series):
        block, lane = divmod(s, BLOCK)
        rows = np.searchsorted(days, t)
        y[block, rows, lane], w[block, rows, lane] = values, 1
        seasons[s, model_fit.PEAK] = len(days)
        seasons[s, model_fit.BLOCK_OF], seasons[s, model_fit.LANE] = block, lane
        seasons[s, model_fit.ROW], seasons[s, model_fit.ROWS] = rows[0], rows[-1] + 1 - rows[0]
        seasons[s, model_fit.NUMBER] = len(t)
    # Levels are fitted in amplitudes from the top, days from the peak.
    top, size = start[2], len(start)
    shift, unit = np.zeros(size), np.ones(size)
    shift[:3], unit[:3] = top, amplitude
    shift[[3, 5] if kind == DOUBLE_LOGISTIC else [3]] = peak
    thetas = np.zeros((len(series), model_fit.SIZE), np.float32)
    thetas[:, :size] = (np.asarray(start) - shift) / unit
    tops, amplitudes = (np.full(len(series), v, np.float32) for v in (top, amplitude))
    model_fit.fit_seasons(days, y, w, grid, kind, seasons, len(series), tops, amplitudes, thetas)
    return thetas[:, :size].astype(float) * unit + shift


@pytest.mark.parametrize("function", [model_fit.exponential, model_fit.logarithm])
def test_functions_in_float32_agree_with_numpy(function):
    x = np.linspace(-80, 80, 999).astype(np.float32)
    if function is model_fit.logarithm:
        x = np.exp(x)
    exact = (np.exp if function is model_fit.exponential else np.log)(x.astype(float))
    np.testing.assert_allclose([function(v) for v in x], exact, rtol=2e-7, atol=1e-37)


@KINDS
def test_the_shapes_are_those_of_the_formulas(kind, smoother, truth):
    for day in (0, 100, 119.5, 180, 181, 239, 260, 400):
        expected = curve_of(kind, np.array([float(day)]), truth)[0]
        assert value(kind, day, truth)[0] == pytest.approx(expected, abs=1e-6)  # of float32


@KINDS
def test_derivatives_agree_with_differences(kind, smoother, truth):
    for day in (60, 110, 130, 179, 200, 235, 250):
        gradient = value(kind, day, truth)[1]
        for i in range(len(truth)):
            step = np.zeros(len(truth))
            step[i] = 1e-5
            ahead, behind = (
                curve_of(kind, np.array([float(day)]), truth + s * step)[0] for s in (1, -1)
            )
            assert gradient[i] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("day", [-1e6, 1e6])
@KINDS
def test_far_from_the_season_the_shape_is_its_base(kind, smoother, truth, day):
    found, gradient = value(kind, day, truth)
    assert found == pytest.approx(truth[0] if day < 0 else truth[1])
    assert np.isfinite(gradient).all()


@KINDS
def test_parameters_are_recovered_from_a_start_nearby(kind, smoother, truth):
    t = np.arange(0, 360, 4.0)
    rng = np.random.default_rng(0)
    start = truth + rng.normal(0, 0.3, len(truth)) * np.where(np.abs(truth) > 100, 20, 0.2)
    clean = fit(kind, [(t, curve_of(kind, t, truth))], start)[0]
    # The hold pulls towards the start; as much as one observation, against ninety.
    np.testing.assert_allclose(clean[:3], truth[:3], atol=0.005)
    np.testing.assert_allclose(clean[3], truth[3], atol=1.5)
    np.testing.assert_allclose(clean[4:], truth[4:], atol=0.07 if kind else 0.05)
    values = curve_of(kind, t, truth) + rng.normal(0, 0.02, t.size)
    noisy = fit(kind, [(t, values)], start)[0]
    np.testing.assert_allclose(noisy[:3], truth[:3], atol=0.02)
    np.testing.assert_allclose(noisy[3], truth[3], atol=12 if kind else 1.5)  # a top is flat
    fitted, wanted = (curve_of(kind, t, theta) for theta in (noisy, truth))
    assert np.sqrt(np.mean((fitted - wanted) ** 2)) < 0.01


@KINDS
def test_where_nothing_is_seen_a_parameter_stays_at_its_start(kind, smoother, truth):
    t = np.arange(0, 170, 4.0)  # nothing of the fall
    theta = fit(kind, [(t, curve_of(kind, t, truth))], truth)[0]
    np.testing.assert_allclose(theta, truth, atol=1e-3)


def noisy_seasons(kind, truth, number, seed=3):
    """Seasons with different days, and different numbers of them."""
    rng = np.random.default_rng(seed)
    series = []
    for _ in range(number):
        t = np.sort(rng.choice(np.arange(0, 360, 2), rng.integers(20, 90), replace=False))
        shifts = rng.uniform(-1, 1, len(truth)) * np.where(np.abs(truth) > 100, 10, 0.03)
        series.append((t, curve_of(kind, t, truth + shifts) + rng.normal(0, 0.03, t.size)))
    return series


@KINDS
def test_the_fit_is_that_of_an_independent_solver(kind, smoother, truth):
    """The sum of squares of SciPy in double precision, from the same start, and the same curve."""
    start, size = np.array(truth), len(truth)
    spread = np.full(size, 0.5)
    spread[:3] = 0.3 * 0.6
    spread[[3, 5] if kind == DOUBLE_LOGISTIC else [3]] = 30
    series = noisy_seasons(kind, start, 12)
    days = np.arange(0, 360, 2.0)
    for (t, values), theta in zip(series, fit(kind, series, start), strict=True):

        def residuals(theta, t=t, values=values):
            hold = 0.05 * 0.6 / spread * (theta - start)
            return np.concatenate([values - curve_of(kind, t, theta), hold])

        best = optimize.least_squares(residuals, start, x_scale=spread)
        # Steps end when they gain less than a ten thousandth.
        assert (residuals(theta) ** 2).sum() < 2 * best.cost * 1.0005
        apart = curve_of(kind, days, theta) - curve_of(kind, days, best.x)
        assert np.abs(apart).max() < 0.012  # a fiftieth of the amplitude
        assert np.sqrt(np.mean(apart**2)) < 0.003


@KINDS
def test_seasons_fitted_together_do_not_touch_each_other(kind, smoother, truth):
    """Alone, among others, and beside seasons that never converge: the same to the bit."""
    series = noisy_seasons(kind, np.array(truth), 3 * BLOCK + 5)
    together = fit(kind, series, truth)
    assert np.isfinite(together).all()
    for s in (0, 7, BLOCK, len(series) - 1):
        np.testing.assert_array_equal(fit(kind, [series[s]], truth)[0], together[s])
    rng = np.random.default_rng(4)
    wild = list(series)
    wild[2] = series[2][0], rng.choice([-1e6, 1e6], series[2][1].size)
    wild[5] = series[5][0], np.full(series[5][1].size, 3e38)  # the sum of squares has no value
    wild[9] = series[9][0], np.full(series[9][1].size, np.nan)
    beside = fit(kind, wild, truth)
    same = np.setdiff1d(np.arange(len(series)), [2, 5, 9])
    np.testing.assert_array_equal(beside[same], together[same])
    start = fit(kind, [wild[9]], truth)[0]  # as it is after a way to and from float32
    np.testing.assert_allclose(start, truth, rtol=1e-6)
    np.testing.assert_array_equal(beside[[5, 9]], [start, start])


@KINDS
def test_a_series_has_the_same_curve_alone_and_among_others(kind, smoother, truth):
    rng = np.random.default_rng(5)
    t = np.arange(0, 730, 5.0)
    late = rng.uniform(-20, 20, (40, 1))
    y = curve_of(kind, ((t - late) % 365).ravel(), truth).reshape(40, -1)
    y += rng.normal(0, 0.03, y.shape)
    y[rng.random(y.shape) < rng.uniform(0, 0.8, (40, 1))] = np.nan
    curve, _ = smooth(y, t, smoother=smoother)
    for pixel in (0, 6, 17, 39):
        alone, _ = smooth(y[pixel : pixel + 1], t, smoother=smoother)
        np.testing.assert_array_equal(alone[0], curve[pixel])


@KINDS
def test_curves_are_recovered_from_noisy_irregular_samples(kind, smoother, truth):
    rng = np.random.default_rng(7)
    t = np.sort(rng.choice(365, 60, replace=False)).astype(float)
    y = curve_of(kind, t, truth) + rng.normal(0, 0.03, (50, t.size))
    curve, grid = smooth(y, t, smoother=smoother)
    first, _ = smooth(y, t, smoother=Whittaker())
    wanted = curve_of(kind, grid, truth)
    error, before = (np.sqrt(np.mean((c - wanted) ** 2)) for c in (curve, first))
    assert error < 0.02  # of a noise of 0.03
    assert error < 0.85 * before  # what the shape knows is worth something


@KINDS
def test_without_noise_the_curve_is_the_shape(kind, smoother, truth):
    t = np.arange(0, 365, 4.0)
    curve, grid = smooth(curve_of(kind, t, truth)[None], t, smoother=smoother)
    np.testing.assert_allclose(curve[0], curve_of(kind, grid, truth), atol=0.015)


@pytest.mark.parametrize("gap", [(90, 145), (150, 220), (215, 265)], ids=["rise", "top", "fall"])
@KINDS
def test_over_a_gap_the_shape_keeps_sensible(kind, smoother, truth, gap):
    t = np.arange(0, 365, 5.0)
    t = t[(t < gap[0]) | (t > gap[1])]
    rng = np.random.default_rng(8)
    y = curve_of(kind, t, truth) + rng.normal(0, 0.02, (40, t.size))
    curve, grid = smooth(y, t, smoother=smoother)
    assert curve.max() < 1.05
    assert curve.min() > 0.1
    for line in curve:
        course = np.sign(np.diff(line[line > 0.4]))
        assert (np.diff(course) != 0).sum() <= 2  # one rise, one fall, perhaps a level top
    median = np.abs(curve - curve_of(kind, grid, truth)).max(axis=1)
    assert np.median(median) < 0.2


@KINDS
def test_two_seasons_pass_into_each_other(kind, smoother, truth):
    t = np.arange(0, 730, 5.0)
    shape = partial(curve_of, kind, theta=[0.25, 0.25, *truth[2:]])
    y = np.where(t < 365, shape(t), shape(t - 365))
    curve, grid = smooth(y[None], t, smoother=smoother)
    np.testing.assert_allclose(
        curve[0], np.where(grid < 365, shape(grid), shape(grid - 365)), atol=0.02
    )
    valley = (grid > 320) & (grid < 410)
    assert np.abs(np.diff(curve[0, valley])).max() < 0.01


@KINDS
def test_without_a_season_the_first_curve_stays(kind, smoother, truth):
    rng = np.random.default_rng(9)
    t = np.arange(0, 365, 5.0)
    level = 0.4 + rng.normal(0, 0.005, (1, t.size))
    few = np.full((1, t.size), np.nan)
    few[0, :35:5] = [0.2, 0.3, 0.7, 0.8, 0.7, 0.3, 0.2]  # seven observations
    half = curve_of(kind, t, truth)[None, :34]  # ends before it falls
    for y in (level, few, half):
        first, _ = smooth(y, t[: y.shape[1]], smoother=Whittaker())
        curve, _ = smooth(y, t[: y.shape[1]], smoother=smoother)
        np.testing.assert_array_equal(curve, first)
