"""The layout of series in blocks, and what happens to observations before they are smoothed."""

import numpy as np
import pytest

from deepcrop.phenology.blocks import (
    BLOCK,
    compact,
    drop_spikes,
    fill_blocks,
    lose_weight,
    span_of,
    steepness,
)

NAN = np.nan


def lay_out(values, weights, day_of, days):
    values = np.asarray(values, np.float32)
    weights = np.empty((0, 0)) if weights is None else weights
    weights = np.asarray(weights, np.float32)
    blocks = -(-len(values) // BLOCK)
    y = np.full((blocks, days, BLOCK), 9, np.float32)  # as a chunk before may have left them
    w = np.full_like(y, 9)
    level = np.full((blocks, BLOCK), 9, np.float32)
    counts = np.full((blocks, BLOCK), 9, np.float32)
    fill_blocks(values, weights, np.asarray(day_of, np.int64), y, w, level, counts)
    return y, w, level, counts


def lanes(series):
    """The same series in all lanes: (times, BLOCK)."""
    return np.repeat(np.asarray(series, np.float32)[:, None], BLOCK, axis=1)


def kept(t, series, share=0.6, weights=None):
    w = lanes(np.ones(len(series)) if weights is None else weights)
    y = lanes(np.subtract(series, np.mean(series)))
    drop_spikes(np.asarray(t, np.float32), y, w, np.float32(share))
    assert (w == w[:, :1]).all()
    return w[:, 0]


def test_each_series_is_laid_in_its_lane_less_its_mean():
    rng = np.random.default_rng(0)
    values = rng.random((BLOCK + 3, 7))
    y, w, level, counts = lay_out(values, None, range(7), 7)
    for one, other in zip(
        (y, w, level, counts), lay_out(values, np.ones_like(values), range(7), 7), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert y.shape == (2, 7, BLOCK)
    for pixel in range(len(values)):
        block, lane = divmod(pixel, BLOCK)
        assert level[block, lane] == pytest.approx(values[pixel].mean(), rel=1e-6)
        np.testing.assert_allclose(
            y[block, :, lane], values[pixel] - values[pixel].mean(), atol=1e-6
        )
        np.testing.assert_array_equal(w[block, :, lane], 1)
        assert counts[block, lane] == 7
    # Lanes without a series are empty, whatever was there before.
    assert not y[1, :, 3:].any()
    assert not w[1, :, 3:].any()
    assert not counts[1, 3:].any()


@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_what_is_not_finite_or_has_no_weight_is_missing(bad):
    values = [[0.2, bad, 0.4, 0.6, 8, 8, 8, 8]]
    weights = [[1, 1, 1, 1, 0, NAN, np.inf, -1]]
    y, w, level, counts = lay_out(values, weights, range(8), 8)
    assert level[0, 0] == pytest.approx(0.4)
    np.testing.assert_allclose(y[0, :, 0], [-0.2, 0, 0, 0.2, 0, 0, 0, 0], atol=1e-7)
    np.testing.assert_array_equal(w[0, :, 0], [1, 0, 1, 1, 0, 0, 0, 0])
    assert counts[0, 0] == 3


def test_observations_of_one_day_become_their_weighted_mean():
    values, weights = [[0.1, 0.3, 0.6, NAN, 0.6]], [[1, 2, 1, 5, 1]]
    y, w, level, counts = lay_out(values, weights, [0, 1, 1, 1, 2], 3)
    np.testing.assert_allclose(y[0, :, 0] + level[0, 0], [0.1, 0.4, 0.6], atol=1e-7)
    np.testing.assert_array_equal(w[0, :, 0], [0.5, 1.5, 0.5])  # as shares of the largest
    assert counts[0, 0] == 3  # days, not observations


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e30])
def test_only_the_ratio_of_weights_counts(factor):
    values, weights = np.array([[0.1, 0.3, 0.6]]), np.array([[1.0, 2.0, 4.0]])
    _, w, _, counts = lay_out(values, factor * weights, range(3), 3)
    np.testing.assert_allclose(w[0, :, 0], [0.25, 0.5, 1], rtol=1e-6)
    assert counts[0, 0] == 3


def test_a_single_spike_is_dropped_and_nothing_else():
    t = np.arange(0, 100, 5)
    y = 0.5 + 0.002 * t
    y[8] -= 0.4
    np.testing.assert_array_equal(kept(t, y), np.arange(20) != 8)
    y[8] += 0.8  # upward as well
    np.testing.assert_array_equal(kept(t, y), np.arange(20) != 8)


def test_spikes_are_those_of_a_plain_rule():
    """In each lane other series, with clouds; compared with the rule written down observation by
    observation."""
    rng = np.random.default_rng(4)
    t = np.cumsum(rng.choice([2, 5, 30], 70)).astype(np.float32)
    y = (0.3 * np.sin(t[:, None] / 60) + rng.normal(0, 0.25, (70, BLOCK))).astype(np.float32)
    w = (rng.random(y.shape) < rng.uniform(0.03, 1, BLOCK)).astype(np.float32)
    y -= y.sum(axis=0, where=w > 0) / np.maximum((w > 0).sum(axis=0), 1)
    y = np.where(w > 0, y, 0).astype(np.float32)
    expected = w.copy()
    for p in range(BLOCK):
        rows = np.flatnonzero(w[:, p])
        seen, n = y[rows, p], len(rows)
        limit = np.float32(0.8) * np.sqrt((seen**2).mean()) if n else 0
        for i in range(1, n - 1) if n >= 5 else ():
            first = min(max(i - 2, 0), n - 5)
            beside = seen[[i - 1, i + 1]]
            beyond = not beside.min() <= seen[i] <= beside.max()
            far = abs(seen[i] - np.median(seen[first : first + 5])) > limit
            if beyond and far and t[rows[i + 1]] - t[rows[i - 1]] < 50:
                expected[rows[i], p] = 0
    drop_spikes(t, y, w, np.float32(0.8))
    np.testing.assert_array_equal(w, expected)
    assert (w == 0).sum() > 30


def test_what_is_no_spike_stays():
    t = np.arange(0, 100, 5)
    step = np.where(t < 50, 0.2, 0.8)
    assert kept(t, step).all()  # between its neighbours, or near the median of five
    dip = np.full(20, 0.8)
    dip[[8, 9, 10]] = 0.2
    assert kept(t, dip).all()  # three agree
    dip = np.full(20, 0.8)
    dip[8] = 0.2
    assert kept(t * 5, dip).all()  # the neighbours are 50 days apart
    edge = np.full(20, 0.8)
    edge[[0, -1]] = 0.1
    assert kept(t, edge).all()  # nothing beyond the ends to compare with
    assert kept(t[:4], [0.8, 0.1, 0.8, 0.8]).all()  # too few
    assert kept(t, np.full(20, 0.3)).all()


def test_missing_observations_are_no_neighbours_of_a_spike():
    t = np.arange(0, 100, 5)
    y = np.full(20, 0.5)
    y[8] = 0.1
    weights = np.ones(20)
    weights[[7, 9]] = 0
    y[[7, 9]] = np.mean(y)  # 0 after the mean is taken, as `fill_blocks` leaves what is missing
    assert kept(t, y, weights=weights)[8] == 0


def test_the_range_is_that_of_what_was_seen():
    y, w = lanes([0.1, 5, -0.3, 0.4, -7]), lanes([1, 0, 2, 0.1, 0])
    np.testing.assert_allclose(span_of(y, w), 0.7)


def test_weight_is_lost_below_the_curve_by_hand():
    residuals = np.array([0.04, -0.01, 0.0, -0.09, 0.01], np.float32)
    y, w = lanes(residuals), lanes([1, 1, 1, 2, 0])
    none = np.zeros_like(y)
    lose_weight(y, w, none, none, np.full(BLOCK, 1, np.float32))
    # Mean of the roots over the four that were seen: (0.2 + 0.1 + 0 + 0.3) / 4.
    scale = 6 * 0.15**2
    expected = [1, (1 - (0.01 / scale) ** 2) ** 2, 1, 2 * (1 - (0.09 / scale) ** 2) ** 2, 0]
    np.testing.assert_allclose(w, lanes(expected), rtol=1e-5)


def test_residuals_of_a_hundredth_of_the_range_keep_most_of_their_weight():
    y = np.zeros((50, BLOCK), np.float32)
    y[7] = -0.01
    w = np.ones_like(y)
    none = np.zeros_like(y)
    lose_weight(y, w, none, none, np.ones(BLOCK, np.float32))
    np.testing.assert_allclose(w[7], (1 - (1 / 6) ** 2) ** 2, rtol=1e-5)


def test_a_point_far_below_loses_all_weight_but_not_in_a_harvest():
    y = np.zeros((50, BLOCK), np.float32)
    y[7] = -0.5
    y[8, 1] = -0.5  # a harvest: the next observation is as low
    w, none = np.ones_like(y), np.zeros_like(y)
    slope = none.copy()
    slope[7, 1:3] = -0.05
    lose_weight(y, w, none, slope, np.ones(BLOCK, np.float32))
    assert w[7, 0] == 0
    assert w[7, 1] == 1
    assert w[7, 2] == 0  # the next is high again: a cloud on a steep slope
    assert (np.delete(w, [7, 8], axis=0) == 1).all()


def test_a_constant_series_keeps_its_weight():
    none = np.zeros((9, BLOCK), np.float32)
    w = np.ones_like(none)
    lose_weight(none, w, none, none, np.zeros(BLOCK, np.float32))
    assert (w == 1).all()


def test_steepness_rises_from_110_to_60_days_for_the_whole_range():
    span = np.float32(0.5)
    days = np.array([1000, 110, 80, 60, 10])
    found = [steepness(np.float32(sign * 0.5 / d), span) for d in days for sign in (1, -1)]
    np.testing.assert_allclose(found[::2], [0, 0, 0.45, 1, 1], atol=0.01)
    assert found[::2] == found[1::2]


def test_compact_copies_what_was_seen_in_order():
    t = np.arange(5, dtype=np.float32)
    y, w = lanes([1, 2, 3, 4, 5]), lanes([0, 2, 0, 1, 0])
    days, values, weights = (np.empty(6, np.float32) for _ in range(3))
    assert compact(t, y, w, 3, days, values, weights) == 2
    np.testing.assert_array_equal([days[:2], values[:2], weights[:2]], [[1, 3], [2, 4], [2, 1]])
