"""Whittaker smoothing with an upper envelope, on irregular dates.

After Eilers 2003 (Analytical Chemistry 75, doi 10.1021/ac034173t): the curve z that minimises

    sum_k w_k (y_k - z(t_k))^2 + smoothness * integral of z''(t)^2 dt,

here z is given at the points of a regular grid and linear between them, so each observation acts
on the two points around its true date and the equations stay five bands wide. Observations below
the curve lose weight (:func:`deepcrop.phenology.lanes.lose_weight`) and it is solved again.

Gaps need no rule of their own: where nothing was seen, the curve is the straightest there is.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from deepcrop.phenology.lanes import FAST, LANES, drop_spikes, lose_weight, span_of


@njit(cache=True, parallel=True, error_model="numpy")
def whittaker_blocks(t, y, w, grid, spike, passes, smoothness, curve):
    """Smooth blocks of series onto ``grid``.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, LANES)
        Observations and weights; what is dropped or doubted loses weight in ``w``.
    grid : ndarray of float32 (points,)
        Evenly spaced, at least three.
    spike, passes, smoothness
        As in `deepcrop.phenology.Whittaker`.
    curve : ndarray of float32 (blocks, points, LANES)
        Filled; not finite where a lane has fewer than two observations.
    """
    for block in prange(len(y)):
        _smooth(t, y[block], w[block], grid, spike, passes, smoothness, curve[block])


@njit(cache=True, error_model="numpy")
def _smooth(t, y, w, grid, spike, passes, smoothness, curve):
    drop_spikes(t, y, w, spike)
    points = len(grid)
    step = grid[1] - grid[0]
    cell = np.empty(len(t), np.int64)
    share = np.empty(len(t), np.float64)
    for k in range(len(t)):
        place = (t[k] - grid[0]) / step
        cell[k] = min(max(int(place), 0), points - 2)
        share[k] = place - cell[k]
    # Second differences approximate z'' step^2, and the integral is a sum of squares times step.
    penalty = smoothness / step**3
    span = span_of(y, w)
    fitted = np.empty((len(t), LANES), np.float32)
    slope = np.empty((len(t), LANES), np.float32)
    for round in range(passes + 1):
        _solve(cell, share, y, w, penalty, curve)
        if round < passes:
            for k in range(len(t)):
                g, s = cell[k], np.float32(share[k])
                before, after = max(g - 1, 0), min(g + 2, points - 1)
                wide1, wide2 = (g + 1 - before) * step, (after - g) * step
                for p in range(LANES):
                    here, there = curve[g, p], curve[g + 1, p]
                    slope1 = (there - curve[before, p]) / wide1
                    slope2 = (curve[after, p] - here) / wide2
                    fitted[k, p] = here + s * (there - here)
                    slope[k, p] = slope1 + s * (slope2 - slope1)
            lose_weight(y, w, fitted, slope, span)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _solve(cell, share, y, w, penalty, curve):
    """Solve (B'WB + penalty D'D) z = B'Wy by Cholesky elimination, LDL', in double precision.

    The second band below the diagonal is `penalty` throughout, so only the pivots (``inverse``
    holds their inverses) and the first band are kept. Rows are shifted by two, so that the first
    points need no case of their own.
    """
    points = len(curve)
    inverse = np.zeros((points + 2, LANES))
    beside = np.zeros((points + 2, LANES))
    z = np.zeros((points + 4, LANES))
    for k in range(len(cell)):
        g = cell[k] + 2
        s = share[k]
        r = 1.0 - s
        rr, rs, ss = r * r, r * s, s * s
        for p in range(LANES):
            weight = np.float64(w[k, p])
            value = weight * y[k, p]
            inverse[g, p] += weight * rr
            inverse[g + 1, p] += weight * ss
            beside[g, p] += weight * rs
            z[g, p] += r * value
            z[g + 1, p] += s * value
    for g in range(2, points + 2):
        edge = min(g - 2, points + 1 - g)
        times = 1.0 if edge == 0 else 5.0 if edge == 1 else 6.0
        if points == 3 and edge == 1:
            times = 4.0
        on = penalty * times
        off = penalty * (-2.0 if g == 2 or g == points else -4.0)
        if g == points + 1:
            off = 0.0
        for p in range(LANES):
            c = beside[g - 1, p] * inverse[g - 1, p]
            e = penalty * inverse[g - 2, p]
            pivot = inverse[g, p] + on - c * beside[g - 1, p] - penalty * e
            inverse[g, p] = 1.0 / pivot
            beside[g, p] += off - c * penalty
            z[g, p] -= c * z[g - 1, p] + e * z[g - 2, p]
    for p in range(LANES):
        g = points + 1
        last = z[g, p] * inverse[g, p]
        z[g, p] = last
        curve[g - 2, p] = last
        z[g - 1, p] = inverse[g - 1, p] * (z[g - 1, p] - beside[g - 1, p] * last)
        curve[g - 3, p] = z[g - 1, p]
    for g in range(points - 1, 1, -1):
        for p in range(LANES):
            v = z[g, p] - beside[g, p] * z[g + 1, p] - penalty * z[g + 2, p]
            z[g, p] = v * inverse[g, p]
            curve[g - 2, p] = z[g, p]
