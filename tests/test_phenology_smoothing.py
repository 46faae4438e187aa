import numpy as np
import pytest

from deepcrop.phenology import SavGol, savgol


def smooth(y, t, settings=None, w=None):
    y, t = np.atleast_2d(np.asarray(y, np.float32)), np.asarray(t, np.float32)
    w = np.ones_like(y) if w is None else np.atleast_2d(np.asarray(w, np.float32))
    return savgol(y, t, w, settings or SavGol())


def test_a_parabola_is_reproduced_exactly_where_the_window_is_full():
    t = np.arange(0, 200, 4.0)
    y = 0.2 + 1e-5 * (t - 100) ** 2
    curve, grid = smooth(y, t, SavGol(envelope_passes=0))
    inner = (grid > 30) & (grid < 170)
    np.testing.assert_allclose(curve[0, inner], (1e-5 * (grid - 100) ** 2 + 0.2)[inner], atol=1e-5)


def test_weighted_least_squares_agrees_with_numpy_polyfit():
    rng = np.random.default_rng(1)
    t = np.sort(rng.choice(300, 45, replace=False)).astype(float)
    y = 0.5 + 0.05 * np.sin(t / 60) + rng.normal(0, 0.02, t.size)
    settings = SavGol(window=30, steep_window=30, envelope_passes=0, spike=99)
    curve, grid = smooth(y, t, settings)
    for g in np.flatnonzero((grid > 60) & (grid < 240))[::7]:
        u = np.abs(t - grid[g]) / 30
        inside = u < 1
        if np.sort(u)[5] > 1 / 1.2:
            continue  # here the window is wider
        weights = (1 - u[inside] ** 3) ** 3
        fit = np.polyfit(t[inside] - grid[g], y[inside], 2, w=np.sqrt(weights))[-1]
        low, high = y[inside].min(), y[inside].max()
        assert curve[0, g] == pytest.approx(np.clip(fit, low, high), abs=2e-4)


def test_an_isolated_dip_is_dropped():
    t = np.arange(0, 200, 5.0)
    y = 0.5 + 0.3 * np.sin(t / 40)
    dipped = y.copy()
    dipped[20] = 0.05
    clean, _ = smooth(y, t)
    curve, _ = smooth(dipped, t)
    assert np.abs(curve - clean).max() < 0.02


def test_the_envelope_lies_above_a_symmetric_fit_of_clouded_observations():
    rng = np.random.default_rng(2)
    t = np.arange(0, 250, 4.0)
    y = 0.6 - np.where(rng.random(t.size) < 0.35, rng.exponential(0.06, t.size), 0)
    upper, _ = smooth(y, t, SavGol(envelope_passes=2))
    middle, _ = smooth(y, t, SavGol(envelope_passes=0))
    # Of what the dips take away on average, the envelope gives back half at least.
    assert np.mean(0.6 - upper) < 0.5 * np.mean(0.6 - middle)


def test_the_curve_never_leaves_the_range_of_what_was_observed():
    rng = np.random.default_rng(3)
    t = np.sort(rng.choice(500, 25, replace=False)).astype(float)
    y = rng.random((50, 25))
    curve, _ = smooth(y, t)
    assert (curve >= y.min(axis=1, keepdims=True) - 1e-6).all()
    assert (curve <= y.max(axis=1, keepdims=True) + 1e-6).all()


def test_too_few_observations_give_no_curve():
    curve, _ = smooth([[0.1, 0.5, np.nan, 0.2, 0.3, np.nan, 0.1]], np.arange(7) * 5)
    assert np.isnan(curve).all()


def test_observations_of_one_day_are_averaged_by_weight():
    t = np.array([0, 5, 10, 10, 15, 20, 25, 30, 35, 40])
    y = np.full(t.size, 0.4)
    y[2:4] = 0.3, 0.6  # weights 2 and 1: 0.4
    curve, _ = smooth(y, t, w=[1, 1, 2, 1, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(curve, 0.4, atol=1e-6)
