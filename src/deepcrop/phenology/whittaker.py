"""Whittaker smoothing with an upper envelope, on irregular dates.

After Eilers 2003 (Analytical Chemistry 75, doi 10.1021/ac034173t): the curve z that minimises

    sum_k w_k (y_k - z(t_k))^2 + smoothness * integral of z''(t)^2 dt,

here z is given at the points of a regular grid and linear between them, so each observation acts
on the two points around its true date and the equations stay five bands wide. Observations below
the curve lose weight (:func:`deepcrop.phenology.blocks.lose_weight`) and it is solved again.

Gaps need no special case: where there is no observation, the curve bends as little as possible.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, FAST, drop_spikes, lose_weight, span_of


@njit(cache=True, nogil=True, error_model="numpy")
def whittaker_blocks(t, y, w, grid, spike, passes, smoothness, curve):
    """Smooth blocks of series onto ``grid``.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, BLOCK)
        Observations and weights; ``w`` is lowered for spikes and for values below the curve.
    grid : ndarray of float32 (points,)
        Evenly spaced, at least three.
    spike, passes, smoothness
        As in `deepcrop.phenology.Whittaker`.
    curve : ndarray of float32 (blocks, points, BLOCK)
        Filled; not finite where a series has fewer than two observations.
    """
    points = len(grid)
    step = grid[1] - grid[0]
    cell = np.empty(len(t), np.int64)
    share = np.empty(len(t), np.float32)
    for k in range(len(t)):
        place = (t[k] - grid[0]) / step
        cell[k] = min(max(int(place), 0), points - 2)
        share[k] = place - cell[k]
    begin = np.zeros(points + 1, np.int64)  # the first time of each cell
    for k in range(len(t)):
        begin[cell[k] + 1] += 1
    for g in range(points):
        begin[g + 1] += begin[g]
    # Second differences approximate z'' step^2, and the integral is a sum of squares times step.
    penalty = smoothness / step**3
    for block in range(len(y)):
        _smooth(
            t, y[block], w[block], cell, share, begin, step, spike, passes, penalty, curve[block]
        )


@njit(cache=True, error_model="numpy")
def _smooth(t, y, w, cell, share, begin, step, spike, passes, penalty, curve):
    drop_spikes(t, y, w, spike)
    span = span_of(y, w)
    points = len(curve)
    fitted = np.empty((len(t), BLOCK), np.float32)
    slope = np.empty((len(t), BLOCK), np.float32)
    for round in range(passes + 1):
        _solve(begin, share, y, w, penalty, curve)
        if round < passes:
            for k in range(len(t)):
                g, s = cell[k], share[k]
                before, after = max(g - 1, 0), min(g + 2, points - 1)
                per1, per2 = 1 / ((g + 1 - before) * step), 1 / ((after - g) * step)
                per1, per2 = np.float32(per1), np.float32(per2)
                for p in range(BLOCK):
                    here, there = curve[g, p], curve[g + 1, p]
                    slope1 = (there - curve[before, p]) * per1
                    slope2 = (curve[after, p] - here) * per2
                    fitted[k, p] = here + s * (there - here)
                    slope[k, p] = slope1 + s * (slope2 - slope1)
            lose_weight(y, w, fitted, slope, span)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _solve(begin, share, y, w, penalty, curve):
    """Solve (B'WB + penalty D'D) z = B'Wy by Cholesky elimination, LDL', in double precision.

    The second band below the diagonal is `penalty` throughout, so only the pivots (their inverses),
    the first band and the right side are kept. Rows are shifted by two, so that the first points
    need no case of their own. The observations of a cell are added when elimination reaches it.
    """
    points = len(curve)
    none, one = np.float32(0.0), np.float32(1.0)
    rows = np.empty((points + 4, 3, BLOCK))
    rows[:2] = 0.0
    rows[points + 2 :] = 0.0
    # Weight, weight beside and value of this point; weight and value of the next.
    state = np.zeros((5, BLOCK), np.float32)
    for i in range(points):
        g = i + 2
        for k in range(begin[i], begin[i + 1]):
            s = share[k]
            r = one - s
            rr, rs, ss = r * r, r * s, s * s
            for p in range(BLOCK):
                weight = w[k, p]
                value = weight * y[k, p]
                state[0, p] += weight * rr
                state[1, p] += weight * rs
                state[2, p] += r * value
                state[3, p] += weight * ss
                state[4, p] += s * value
        edge = min(i, points - 1 - i)
        times = 1.0 if edge == 0 else 5.0 if edge == 1 else 6.0
        if points == 3 and edge == 1:
            times = 4.0
        on = penalty * times
        off = penalty * (-2.0 if i == 0 or i == points - 2 else -4.0)
        if i == points - 1:
            off = 0.0
        for p in range(BLOCK):
            beside = rows[g - 1, 1, p]
            c = beside * rows[g - 1, 0, p]
            e = penalty * rows[g - 2, 0, p]
            pivot = state[0, p] + on - c * beside - penalty * e
            rows[g, 0, p] = 1.0 / pivot
            rows[g, 1, p] = state[1, p] + off - c * penalty
            rows[g, 2, p] = state[2, p] - (c * rows[g - 1, 2, p] + e * rows[g - 2, 2, p])
            state[0, p] = state[3, p]
            state[1, p] = none
            state[2, p] = state[4, p]
            state[3, p] = none
            state[4, p] = none
    # LLVM makes no vector code within a loop that counts down.
    backward = np.arange(points - 1, -1, -1)
    for j in range(points):
        i = backward[j]
        g = i + 2
        for p in range(BLOCK):
            ahead = rows[g, 1, p] * rows[g + 1, 2, p] + penalty * rows[g + 2, 2, p]
            z = (rows[g, 2, p] - ahead) * rows[g, 0, p]
            rows[g, 2, p] = z
            curve[i, p] = z
