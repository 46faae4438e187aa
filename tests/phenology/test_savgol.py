"""Adaptive Savitzky-Golay against least squares by NumPy, and what its adaptations are for."""

from dataclasses import replace

import numpy as np
import pytest

from deepcrop.phenology import SavGol, smooth

PLAIN = SavGol(window=30, steep_window=30, min_points=7, stiffness=0, envelope_passes=0, spike=99)
"""One width, nothing dropped, nothing doubted."""


def irregular(seed, n=45, span=300):
    rng = np.random.default_rng(seed)
    t = np.r_[0, np.sort(rng.choice(np.arange(1, span), n, replace=False))].astype(float)
    y = 0.5 + 0.2 * np.sin(t / 40) + rng.normal(0, 0.02, t.size)
    return t, y, rng.uniform(0.2, 1, t.size)


def one(y, t, settings, w=None):
    curve, grid = smooth(y[None], t, None if w is None else w[None], smoother=settings)
    return curve[0], grid


def parabola(t, y, w, day, settings):
    """The documented fit at one day, by normal equations in double precision."""
    distance = np.abs(t - day)
    reach = np.sort(distance)[min(settings.min_points, t.size) - 1]
    free, wider = (0.15, 1.05) if settings.stiffness else (0.25, 1.2)
    half = min(max(settings.window, wider * reach), settings.max_window)
    x = (t - day) / half
    weight = w * np.clip(1 - np.abs(x) ** 3, 0, None) ** 3
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    normal = design.T @ (weight[:, None] * design)
    far = max(distance.min() / half - free, 0)
    aside = normal[0, 1] / normal[0, 0]
    hold = 0.5 * far**2
    normal += weight.sum() * np.diag([0, 1e-3 + 4 * hold * aside**2, 1e-3 + hold])
    normal[2, 2] += weight.sum() * settings.stiffness / half**3
    return np.linalg.solve(normal, design.T @ (weight * y))[0]


def test_a_parabola_is_reproduced_where_the_window_is_full():
    t = np.arange(0, 200, 4.0)
    curve, grid = one(0.2 + 1e-5 * (t - 100) ** 2, t, SavGol(stiffness=0, envelope_passes=0))
    inner = (grid > 30) & (grid < 170)
    # Slope and curvature are held back a little: of 0.008 within the window, next to nothing.
    np.testing.assert_allclose(curve[inner], (1e-5 * (grid - 100) ** 2 + 0.2)[inner], atol=5e-5)


def test_a_constant_is_reproduced_everywhere():
    t, _, w = irregular(0)
    curve, _ = one(np.full(t.size, 0.37), t, SavGol(), w)
    np.testing.assert_allclose(curve, 0.37, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_least_squares_agrees_with_numpy_polyfit(seed):
    t, y, w = irregular(seed, n=150)
    curve, grid = one(y, t, PLAIN, w)
    compared = 0
    for g in np.flatnonzero((grid > 40) & (grid < 260)):
        u = np.abs(t - grid[g]) / 30
        if np.sort(u)[PLAIN.min_points - 1] > 1 / 1.2 or u.min() > 0.25:
            continue  # here the window is wider, or its middle a gap
        weights = w * np.clip(1 - u**3, 0, None) ** 3
        fit = np.polyfit(t - grid[g], y, 2, w=np.sqrt(weights))
        # polyfit knows nothing of the hold: a thousandth of the weight, against second and fourth
        # moments of about a fifth and a tenth, takes a hundredth off slope and curvature, which
        # add some hundredths to the value at the middle. The next test has the hold in it.
        assert curve[g] == pytest.approx(fit[-1], abs=1e-3)
        compared += 1
    assert compared > 35


@pytest.mark.parametrize("seed", range(3))
def test_widened_windows_and_gaps_agree_with_the_normal_equations(seed):
    t, y, w = irregular(seed, n=30)
    keep = (t < 120) | (t > 200)
    t, y, w = t[keep], y[keep], w[keep]
    curve, grid = one(y, t, PLAIN, w)
    expected = [parabola(t, y, w, day, PLAIN) for day in grid]
    np.testing.assert_allclose(curve, expected, atol=2e-5)


def test_windows_are_no_wider_than_they_may_be():
    t, y, w = irregular(4, n=12, span=500)
    narrow = replace(PLAIN, max_window=90.0)
    curve, grid = one(y, t, narrow, w)
    expected = [parabola(t, y, w, day, narrow) for day in grid]
    np.testing.assert_allclose(curve, expected, atol=1e-4)


def test_over_a_gap_the_curve_stays_with_the_data():
    t = np.arange(0, 300, 5.0)
    y = 0.8 - 0.6 / (1 + np.exp(-(t - 100) / 6))
    keep = (t < 100) | (t > 190)
    curve, _ = one(y[keep], t[keep], SavGol())
    assert curve.max() < 0.8 + 0.1
    assert curve.min() > 0.2 - 0.1


def test_where_a_window_holds_nothing_there_is_no_curve():
    t = np.r_[0:100:5.0, 600:700:5.0]
    curve, grid = one(np.full(t.size, 0.4), t, SavGol())
    beyond = (grid > 95 + 120) & (grid < 600 - 120)
    assert np.isnan(curve[beyond]).all()
    np.testing.assert_allclose(curve[(grid < 90) | (grid > 605)], 0.4, atol=1e-6)


def test_the_window_is_narrower_where_the_curve_is_steep():
    t = np.arange(0, 300, 4.0)
    y = 0.2 + 0.6 / (1 + np.exp(-(t - 150) / 6))
    wide, grid = one(y, t, replace(PLAIN, window=35.0, steep_window=35.0))
    adaptive, _ = one(y, t, replace(PLAIN, window=35.0, steep_window=15.0))
    truth = 0.2 + 0.6 / (1 + np.exp(-(grid - 150) / 6))
    near = np.abs(grid - 150) < 30
    assert np.abs(adaptive - truth)[near].max() < 0.6 * np.abs(wide - truth)[near].max()
    level = np.abs(grid - 150) > 80
    np.testing.assert_array_equal(adaptive[level], wide[level])


def test_an_isolated_dip_is_dropped():
    t = np.arange(0, 200, 5.0)
    y = 0.5 + 0.3 * np.sin(t / 40)
    dipped = y.copy()
    dipped[20] = 0.05
    clean, _ = one(y, t, SavGol())
    curve, _ = one(dipped, t, SavGol())
    assert np.abs(curve - clean).max() < 0.02


def test_the_envelope_lies_above_a_symmetric_fit_of_clouded_observations():
    rng = np.random.default_rng(2)
    t = np.arange(0, 250, 4.0)
    y = 0.6 - np.where(rng.random(t.size) < 0.35, rng.exponential(0.06, t.size), 0)
    upper, _ = one(y, t, SavGol(envelope_passes=2))
    middle, _ = one(y, t, SavGol(envelope_passes=0))
    # Of what the dips take away on average, the envelope gives back half at least.
    assert np.mean(0.6 - upper) < 0.5 * np.mean(0.6 - middle)


def test_the_curve_hardly_leaves_the_range_of_what_was_observed():
    rng = np.random.default_rng(3)
    t = np.sort(rng.choice(500, 40, replace=False)).astype(float)
    y = rng.random((200, 40))
    curve, _ = smooth(y, t, smoother="savgol")
    beyond = np.maximum(y.min(axis=1, keepdims=True) - curve, curve - y.max(axis=1, keepdims=True))
    assert (beyond > 0.1).mean() < 0.001
    assert beyond.max() < 0.5
