"""Fitted shapes recover known parameters and curves, and keep sensible where little was seen."""

from functools import partial

import numpy as np
import pytest

from deepcrop.phenology import (
    AsymmetricGaussian,
    DoubleLogistic,
    Whittaker,
    model_functions,
    smooth,
)
from deepcrop.phenology.model_functions import ASYMMETRIC_GAUSSIAN, DOUBLE_LOGISTIC

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
    gradient = np.empty(len(theta))
    return model_functions._model_function(
        np.float32(day), kind, np.asarray(theta), gradient
    ), gradient


def fit(kind, t, y, start):
    theta = np.array(start)
    spread = np.full(theta.size, 0.5)
    spread[:3] = 0.3 * 0.6
    spread[[3, 5] if kind == DOUBLE_LOGISTIC else [3]] = 30
    t, y = t.astype(np.float32), y.astype(np.float32)
    model_functions._levenberg_marquardt(t, y, np.ones_like(t), kind, theta, spread, 0.6)
    return theta


@KINDS
def test_the_shapes_are_those_of_the_formulas(kind, smoother, truth):
    for day in (0, 100, 119.5, 180, 181, 239, 260, 400):
        expected = curve_of(kind, np.array([float(day)]), truth)[0]
        assert value(kind, day, truth)[0] == pytest.approx(expected, rel=1e-9)


@KINDS
def test_derivatives_agree_with_differences(kind, smoother, truth):
    for day in (60, 110, 130, 179, 200, 235, 250):
        gradient = value(kind, day, truth)[1]
        for i in range(len(truth)):
            step = np.zeros(len(truth))
            step[i] = 1e-5
            ahead, behind = (value(kind, day, truth + s * step)[0] for s in (1, -1))
            assert gradient[i] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("day", [-1e6, 1e6])
@KINDS
def test_far_from_the_season_the_shape_is_its_base(kind, smoother, truth, day):
    found, gradient = value(kind, day, truth)
    assert found == pytest.approx(truth[0] if day < 0 else truth[1])
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_the_solver_agrees_with_numpy(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size, size))
    system = root @ root.T + 0.1 * np.eye(size)
    right = rng.normal(size=size)
    expected = np.linalg.solve(system, right)
    lower = np.tril(system)  # the rest is not looked at
    model_functions._solve(lower, right)
    np.testing.assert_allclose(right, expected, rtol=1e-7)


@KINDS
def test_parameters_are_recovered_from_a_start_nearby(kind, smoother, truth):
    t = np.arange(0, 360, 4.0)
    rng = np.random.default_rng(0)
    start = truth + rng.normal(0, 0.3, len(truth)) * np.where(np.abs(truth) > 100, 20, 0.2)
    clean = fit(kind, t, curve_of(kind, t, truth), start)
    # The hold pulls towards the start; as much as one observation, against ninety.
    np.testing.assert_allclose(clean[:3], truth[:3], atol=0.005)
    np.testing.assert_allclose(clean[3], truth[3], atol=1.5)
    np.testing.assert_allclose(clean[4:], truth[4:], atol=0.07 if kind else 0.05)
    noisy = fit(kind, t, curve_of(kind, t, truth) + rng.normal(0, 0.02, t.size), start)
    np.testing.assert_allclose(noisy[:3], truth[:3], atol=0.02)
    np.testing.assert_allclose(noisy[3], truth[3], atol=12 if kind else 1.5)  # a top is flat
    fitted, wanted = (curve_of(kind, t, theta) for theta in (noisy, truth))
    assert np.sqrt(np.mean((fitted - wanted) ** 2)) < 0.01


@KINDS
def test_where_nothing_is_seen_a_parameter_stays_at_its_start(kind, smoother, truth):
    t = np.arange(0, 170, 4.0)  # nothing of the fall
    theta = fit(kind, t, curve_of(kind, t, truth), truth)
    np.testing.assert_allclose(theta, truth, atol=1e-3)


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
