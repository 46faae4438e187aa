"""The Whittaker smoother against the dense system it solves."""

import numpy as np
import pytest

from deepcrop.phenology import Whittaker, smooth


def irregular(seed, n=40, span=300):
    rng = np.random.default_rng(seed)
    t = np.r_[0, np.sort(rng.choice(np.arange(1, span), n, replace=False))].astype(float)
    y = 0.5 + 0.2 * np.sin(t / 40) + rng.normal(0, 0.03, t.size)
    return t, y, rng.uniform(0.1, 1, t.size)


def one(y, t, settings, w=None):
    curve, grid = smooth(y[None], t, None if w is None else w[None], smoother=settings)
    return curve[0], grid


def plain(smoothness=200.0, step=5.0):
    return Whittaker(smoothness, envelope_passes=0, spike=99, step=step)


def between(t, grid):
    """The matrix B: a curve linear between the points of the grid, at the days of observation."""
    step = grid[1] - grid[0]
    cell = np.clip(((t - grid[0]) / step).astype(int), 0, grid.size - 2)
    share = (t - grid[cell]) / step
    matrix = np.zeros((t.size, grid.size))
    matrix[np.arange(t.size), cell] = 1 - share
    matrix[np.arange(t.size), cell + 1] += share
    return matrix


def dense(t, y, w, grid, smoothness):
    """Solve (B'WB + penalty D'D) z = B'Wy by numpy.linalg; weights are shares of the largest."""
    w = w / w.max()
    penalty = smoothness / (grid[1] - grid[0]) ** 3
    bend = np.diff(np.eye(grid.size), 2, axis=0)
    matrix = between(t, grid)
    system = matrix.T @ (w[:, None] * matrix) + penalty * bend.T @ bend
    return np.linalg.solve(system, matrix.T @ (w * y))


@pytest.mark.parametrize("step", [1.0, 5.0, 7.3])
@pytest.mark.parametrize("smoothness", [1.0, 200.0, 1e5])
def test_irregular_dates_agree_with_the_dense_solution(smoothness, step):
    t, y, w = irregular(1)
    curve, grid = one(y, t, plain(smoothness, step), w)
    np.testing.assert_allclose(curve, dense(t, y, w, grid, smoothness), atol=1e-5)


@pytest.mark.parametrize("points", [3, 4, 5, 6])
def test_the_shortest_grids_agree_too(points):
    rng = np.random.default_rng(points)
    t = np.linspace(0, 5 * (points - 1) + 3, 9)
    y, w = rng.random(9), rng.uniform(0.1, 1, 9)
    curve, grid = one(y, t, plain(50.0), w)
    assert grid.size == points
    np.testing.assert_allclose(curve, dense(t, y, w, grid, 50.0), atol=1e-5)


def test_one_pass_of_the_envelope_by_hand():
    t, y, w = irregular(2)
    curve, grid = one(
        y, t, Whittaker(smoothness=2e4, envelope_passes=1, spike=99, step=5.0), np.ones_like(w)
    )
    first = dense(t, y, np.ones_like(w), grid, 2e4)
    residual = y - between(t, grid) @ first
    scale = 6 * np.mean(np.sqrt(np.abs(residual))) ** 2
    assert scale > 6 * 0.01 * np.ptp(y)
    kept = (1 - np.clip(residual / scale, -1, 0) ** 2) ** 2
    cell = np.clip((t / 5).astype(int), 0, grid.size - 2)
    slope = np.abs(first[cell + 1] - first[cell]) / 5
    steep = np.clip((80 * slope / np.ptp(y) - 0.73) / 0.6, 0, 1)
    assert 0 < steep.max() < 1
    # A low point of a steep slope keeps its weight where the next on the lower side is low as well.
    rising = first[cell + 1] > first[cell]
    lower = np.where(rising, np.r_[-np.inf, y[:-1]], np.r_[y[1:], -np.inf])
    kept += steep * (1 - kept) * (lower <= y + scale / 6)
    weights = np.r_[kept, 1]  # so that the largest is 1, as it was before the pass
    expected = dense(np.r_[t, 0], np.r_[y, y[0]], weights * np.r_[np.ones_like(t), 0], grid, 2e4)
    assert kept.max() == 1
    np.testing.assert_allclose(curve, expected, atol=1e-5)


def test_a_straight_line_is_reproduced_whatever_the_smoothness():
    t, _, w = irregular(3)
    for smoothness in (1.0, 1e7):
        curve, grid = one(0.1 + 0.002 * t, t, plain(smoothness), w)
        np.testing.assert_allclose(curve, 0.1 + 0.002 * grid, atol=1e-6)


def test_the_smoothest_curve_is_the_line_of_least_squares():
    t, y, w = irregular(4)
    curve, grid = one(y, t, plain(1e11), w)
    np.testing.assert_allclose(
        curve, np.polyval(np.polyfit(t, y, 1, w=np.sqrt(w)), grid), atol=1e-4
    )


def test_in_a_gap_the_curve_is_the_straightest_there_is():
    t, y, w = irregular(5, n=60)
    keep = (t < 120) | (t > 200)
    curve, grid = one(y[keep], t[keep], plain(), w[keep])
    inside = (grid > 125) & (grid < 195)
    # No observation: the fourth difference is 0 and the curve a cubic.
    np.testing.assert_allclose(np.diff(curve[inside].astype(float), 4), 0, atol=1e-6)


def test_the_step_hardly_matters_since_smoothness_is_in_days():
    t, y, w = irregular(6)
    coarse, grid = one(y, t, plain(step=4.0), w)
    fine, days = one(y, t, plain(step=1.0), w)
    np.testing.assert_allclose(coarse, np.interp(grid, days, fine), atol=0.02)


def test_the_envelope_lies_above_a_symmetric_fit_of_clouded_observations():
    rng = np.random.default_rng(2)
    t = np.arange(0, 250, 4.0)
    y = 0.6 - np.where(rng.random(t.size) < 0.35, rng.exponential(0.06, t.size), 0)
    upper, _ = one(y, t, Whittaker(envelope_passes=2))
    middle, _ = one(y, t, Whittaker(envelope_passes=0))
    assert np.mean(0.6 - upper) < 0.6 * np.mean(0.6 - middle)


def test_an_isolated_dip_is_dropped():
    t = np.arange(0, 200, 5.0)
    y = 0.5 + 0.3 * np.sin(t / 40)
    dipped = y.copy()
    dipped[20] = 0.05
    clean, _ = one(y, t, Whittaker())
    curve, _ = one(dipped, t, Whittaker())
    assert np.abs(curve - clean).max() < 0.02
