"""Adaptive Savitzky-Golay smoothing on irregular dates.

After Chen et al. 2004 (Remote Sensing of Environment 91, doi 10.1016/j.rse.2004.03.014) and
Jönsson and Eklundh 2004 (TIMESAT, Computers & Geosciences 30, doi 10.1016/j.cageo.2004.05.006); the
code is our own and takes irregular dates. At every output day a parabola is fitted by weighted
least squares to the observations of a window. The weights fall with distance (tricube), so that no
observation enters or leaves with a jump. Isolated spikes are dropped first; then observations below
the fit lose weight, since undetected clouds and haze only lower greenness. Where the curve rises or
falls steeply the window is narrowed, where observations are few it is widened.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, FAST, drop_spikes, lose_weight, span_of, steepness

_HOLD = np.float32(1e-3)
"""Share of the total weight that holds slope and curvature back where the observations of a window
do not determine them; elsewhere next to no effect."""
_HOLD_IN_GAP = np.float32(0.5)
"""The same for the curvature within a gap, times the square of the distance to the nearest
observation, as a share of the half-width, less `_FREE`: a parabola over a gap leaves the data."""
_FREE = np.float32(0.25)
_WIDER = np.float32(1.2)
"""Half-width over the distance of the observation that must lie within."""
_FREE_STIFF, _WIDER_STIFF = np.float32(0.15), np.float32(1.05)
"""The same of a parabola with a stiffness, which needs fewer observations to be held."""
_HOLD_ASIDE = np.float32(4.0)
"""How much more firmly the slope is held where, within a gap, all observations lie on one side: a
straight line would leave the data too."""


@njit(cache=True, nogil=True, error_model="numpy")
def savgol_blocks(
    t, y, w, grid, spike, passes, window, steep, widest, min_points, stiffness, curve
):  # fmt: skip
    """Smooth blocks of series onto ``grid``.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, BLOCK)
        Observations and weights; ``w`` is lowered for spikes and for values below the fit.
    grid : ndarray of float32 (points,)
    spike, passes, window, steep, widest, min_points, stiffness
        As in `deepcrop.phenology.SavGol`.
    curve : ndarray of float32 (blocks, points, BLOCK)
        Filled; NaN where a series has no observation.
    """
    for block in range(len(y)):
        _smooth(
            t, y[block], w[block], grid, spike, passes, window, steep, widest, min_points,
            stiffness, curve[block],
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _smooth(t, y, w, grid, spike, passes, window, steep, widest, min_points, stiffness, curve):
    drop_spikes(t, y, w, spike)
    span = span_of(y, w)
    fitted = np.empty((len(t), BLOCK), np.float32)
    slope = np.empty((len(t), BLOCK), np.float32)
    for _ in range(passes):
        _parabolas(t, y, w, t, window, widest, min_points, stiffness, fitted, slope)
        lose_weight(y, w, fitted, slope, span)
    slope = np.empty((len(grid), BLOCK), np.float32)
    _parabolas(t, y, w, grid, window, widest, min_points, stiffness, curve, slope)
    if steep < window:
        fewer = max(min_points - 2, 1)
        _narrow(t, y, w, grid, steep, widest, fewer, stiffness, slope, span, curve)


@njit(cache=True, error_model="numpy")
def _narrow(t, y, w, grid, steep, widest, min_points, stiffness, slope, span, curve):
    """Fit again, with a narrower window, where the curve is steep."""
    days = np.empty(len(grid), np.float32)
    index = np.empty(len(grid), np.int64)
    n = 0
    for g in range(len(grid)):
        most = np.float32(0.0)
        for p in range(BLOCK):
            most = max(most, steepness(slope[g, p], span[p]))
        days[n] = grid[g]
        index[n] = g
        n += 1 if most > 0 else 0
    near = np.empty((n, BLOCK), np.float32)
    unused = np.empty((n, BLOCK), np.float32)
    _parabolas(t, y, w, days[:n], steep, widest, min_points, stiffness, near, unused)
    for i in range(n):
        g = index[i]
        for p in range(BLOCK):
            share = steepness(slope[g, p], span[p])
            curve[g, p] += share * (near[i, p] - curve[g, p])


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _parabolas(t, y, w, targets, window, widest, min_points, stiffness, value, slope):
    """Value and slope, at each target day, of a parabola through the window around it.

    The window reaches at least to the ``min_points``-th nearest observation, so it widens without
    a jump where observations are few. Over a gap the parabola becomes a straight line, which is
    level where all observations lie on one side.
    """
    half = np.empty((len(targets), BLOCK), np.float32)
    hold = np.empty((len(targets), BLOCK), np.float32)
    _windows(t, w, targets, window, widest, min_points, stiffness, half, hold)
    # One array, or the compiler would have to check that eight do not overlap.
    sums = np.empty((8, BLOCK), np.float32)
    one, none = np.float32(1.0), np.float32(0.0)
    begin = 0
    for g in range(len(targets)):
        day = targets[g]
        reach = none
        for p in range(BLOCK):
            for i in range(8):
                sums[i, p] = none
            reach = max(reach, half[g, p])
        while begin > 0 and t[begin - 1] > day - reach:
            begin -= 1
        while begin < len(t) and t[begin] <= day - reach:
            begin += 1
        end = begin
        while end < len(t) and t[end] < day + reach:
            end += 1
        # Two observations per iteration, always the same two: so the sums of a series are added
        # in one order, whatever the other series of the block need. Beyond the window the weight
        # is 0.
        for k in range(begin - begin % 2, end, 2):
            other = min(k + 1, len(t) - 1)
            twice = one if other > k else none
            distance1, distance2 = t[k] - day, t[other] - day
            for p in range(BLOCK):
                per = one / half[g, p]
                x1, x2 = distance1 * per, distance2 * per
                u1, u2 = abs(x1), abs(x2)
                c1 = max(one - u1 * u1 * u1, none)
                c2 = max(one - u2 * u2 * u2, none)
                c1 = c1 * c1 * c1 * w[k, p]
                c2 = c2 * c2 * c2 * w[other, p] * twice
                v1, v2 = y[k, p], y[other, p]
                xx1, xx2 = x1 * x1, x2 * x2
                cx1, cx2 = c1 * x1, c2 * x2
                cv1, cv2 = c1 * v1, c2 * v2
                sums[0, p] += c1 + c2
                sums[1, p] += cx1 + cx2
                sums[2, p] += cx1 * x1 + cx2 * x2
                sums[3, p] += cx1 * xx1 + cx2 * xx2
                sums[4, p] += c1 * xx1 * xx1 + c2 * xx2 * xx2
                sums[5, p] += cv1 + cv2
                sums[6, p] += cv1 * x1 + cv2 * x2
                sums[7, p] += cv1 * xx1 + cv2 * xx2
        for p in range(BLOCK):
            a, b, c = sums[0, p], sums[1, p], sums[2, p]
            aside = sums[1, p] / sums[0, p]  # are all observations on one side?
            level = _HOLD + _HOLD_ASIDE * (hold[g, p] - _HOLD) * aside * aside
            m = sums[2, p] + level * sums[0, p]
            width = half[g, p]
            bend = hold[g, p] + stiffness / (width * width * width)
            d, e = sums[3, p], sums[4, p] + bend * sums[0, p]
            # The system [[a, b, c], [b, m, d], [c, d, e]], solved by Cramer's rule.
            u0, u1, u2 = sums[5, p], sums[6, p], sums[7, p]
            determinant = a * (m * e - d * d) - b * (b * e - c * d) + c * (b * d - c * m)
            v0 = u0 * (m * e - d * d) - b * (u1 * e - u2 * d) + c * (u1 * d - u2 * m)
            v1 = a * (u1 * e - u2 * d) - u0 * (b * e - c * d) + c * (b * u2 - c * u1)
            value[g, p] = v0 / determinant
            slope[g, p] = v1 / determinant / half[g, p]


@njit(cache=True, error_model="numpy")
def _windows(t, w, targets, window, widest, min_points, stiffness, half, hold):
    """Find the half-width of each window and the penalty on its curvature.

    Of the ``m`` nearest observations i lie before the day and m - i after it, for some i; the
    distance of the farthest is the smallest, over i, of the larger of the two distances.
    """
    none = np.float32(0.0)
    free, wider = (_FREE_STIFF, _WIDER_STIFF) if stiffness > 0 else (_FREE, _WIDER)
    size = w.shape[1]  # a constant would make the compiler unroll the loops, not vectorise them
    m = min_points
    before, after = _last_ones(t, w, m), _last_ones(-t[::-1], w[::-1].copy(), m)
    reach = np.empty(BLOCK, np.float32)
    row = 0
    for g in range(len(targets)):
        day = targets[g]
        while row < len(t) and t[row] <= day:
            row += 1
        rest = len(t) - row
        for p in range(size):
            reach[p] = min(day - before[row, m - 1, p], -after[rest, m - 1, p] - day)
        for i in range(1, m, 2):
            j = min(i + 1, m - 1)
            for p in range(size):
                far1 = max(day - before[row, i - 1, p], -after[rest, m - i - 1, p] - day)
                far2 = max(day - before[row, j - 1, p], -after[rest, m - j - 1, p] - day)
                reach[p] = min(reach[p], min(far1, far2))
        for p in range(size):
            nearest = min(day - before[row, 0, p], -after[rest, 0, p] - day)
            # Where there are fewer than m, the farthest of all.
            farthest = max(day + after[len(t), 0, p], before[len(t), 0, p] - day)
            width = min(max(window, wider * min(reach[p], farthest)), widest)
            beyond = max(nearest / width - free, none)
            half[g, p] = width
            hold[g, p] = _HOLD + _HOLD_IN_GAP * beyond * beyond


@njit(cache=True, error_model="numpy")
def _last_ones(t, w, m):
    """Days of the ``m`` last observations before each row, ndarray (times + 1, m, BLOCK).

    The last comes first; -inf where there is none.
    """
    none, endless = np.float32(0.0), np.float32(np.inf)
    size = w.shape[1]
    days = np.full((len(t) + 1, m, BLOCK), -endless, np.float32)
    unseen = np.empty(BLOCK, np.float32)
    for k in range(len(t)):
        today = t[k]
        for p in range(size):
            weight, last = w[k, p], days[k, 0, p]
            mark = none if weight > none else endless
            unseen[p] = mark
            days[k + 1, 0, p] = max(last, today - mark)
        for i in range(1, m, 2):
            j = min(i + 1, m - 1)
            for p in range(size):
                mark = unseen[p]
                days[k + 1, i, p] = max(days[k, i, p], days[k, i - 1, p] - mark)
                days[k + 1, j, p] = max(days[k, j, p], days[k, j - 1, p] - mark)
    return days
