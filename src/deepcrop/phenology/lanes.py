"""Blocks of series laid side by side, so that one instruction serves many pixels.

All smoothing kernels work on arrays (blocks, times, LANES): the series of `LANES` neighbouring
pixels side by side, the pixel as the fastest axis. A missing observation is one of weight 0; it
costs its share of the arithmetic, but each loop over lanes becomes vector code. No lane ever looks
at another, so neither the size of a chunk nor the number of threads changes a bit of a result.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

LANES = 16
"""Series in a block."""

FAST = {"contract", "nsz", "arcp"}
"""Liberties the compiler may take; all of them keep NaN and infinity as they are."""

_CLOSE = 50.0
"""Neighbours farther apart than this many days say nothing about a spike between them."""


@njit(cache=True, parallel=True, error_model="numpy")
def gather(values, weights, day_of, y, w, level, counts):
    """Lay observations out in blocks.

    Parameters
    ----------
    values, weights : ndarray of float32 (pixels, times)
        Not finite, or of weight 0: no observation.
    day_of : ndarray of int (times,)
        Row of each time in ``y``; times of one day share a row and are averaged.
    y, w : ndarray of float32 (blocks, days, LANES)
        Filled with the observations less the mean of their series, so that sums stay exact, and
        with their weights, as shares of the largest; what is missing is 0 in both.
    level : ndarray of float32 (blocks, LANES)
        Filled with the means.
    counts : ndarray of int (blocks, LANES)
        Filled with the number of observations, those of one day counted once.
    """
    pixels, times = values.shape
    for block in prange(len(y)):
        first = block * LANES
        lanes = min(LANES, pixels - first)
        total = np.zeros(LANES, np.float64)
        count = np.zeros(LANES, np.int64)
        heaviest = np.zeros(LANES, np.float32)
        for k in range(times):
            for p in range(lanes):
                value, weight = values[first + p, k], weights[first + p, k]
                seen = (value - value == 0) & (weight > 0) & (weight - weight == 0)
                total[p] += value if seen else 0.0
                count[p] += 1 if seen else 0
                heaviest[p] = weight if seen & (weight > heaviest[p]) else heaviest[p]
        for p in range(LANES):
            level[block, p] = total[p] / max(count[p], 1)
            counts[block, p] = 0
        y[block] = 0.0
        w[block] = 0.0
        for k in range(times):
            row = day_of[k]
            for p in range(lanes):
                value, weight = values[first + p, k], weights[first + p, k]
                seen = (value - value == 0) & (weight > 0) & (weight - weight == 0)
                weight = weight / heaviest[p] if seen else np.float32(0.0)
                value = value - level[block, p] if seen else np.float32(0.0)
                before = w[block, row, p]
                counts[block, p] += 1 if seen & (before == 0) else 0
                share = weight / (before + weight) if seen else np.float32(0.0)
                y[block, row, p] += (value - y[block, row, p]) * share
                w[block, row, p] = before + weight


@njit(cache=True, error_model="numpy")
def drop_spikes(t, y, w, limit_share):
    """Give weight 0 to single observations far from the median of the five around them.

    Far is more than ``limit_share`` standard deviations of the series, and beyond both neighbours.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (times, LANES)
        ``w`` is changed.
    limit_share : float
    """
    index = np.empty(len(t) + 1, np.int64)
    near = np.empty(5, np.float32)
    # The mean of a series is 0 (`gather`).
    squares = np.zeros(LANES, np.float32)
    for k in range(len(t)):
        for p in range(LANES):
            squares[p] += y[k, p] * y[k, p]
    for p in range(LANES):
        n = 0
        for k in range(len(t)):
            index[n] = k
            n += 1 if w[k, p] > 0 else 0  # no branch: clouds cannot be predicted
        if n < 5:
            continue
        limit = limit_share * math.sqrt(squares[p] / n)
        for i in range(1, n - 1):
            here, before, after = y[index[i], p], y[index[i - 1], p], y[index[i + 1], p]
            # The median is not farther off than the farther neighbour.
            low, high = min(before, after), max(before, after)
            if high - here <= limit and here - low <= limit:
                continue
            if low <= here <= high or t[index[i + 1]] - t[index[i - 1]] >= _CLOSE:
                continue
            first = min(max(i - 2, 0), n - 5)
            for j in range(5):
                value = y[index[first + j], p]
                at = j
                while at > 0 and near[at - 1] > value:
                    near[at] = near[at - 1]
                    at -= 1
                near[at] = value
            if abs(here - near[2]) > limit:
                w[index[i], p] = 0.0


@njit(cache=True, error_model="numpy")
def span_of(y, w):
    """Highest less lowest observation of each lane of a block (times, LANES)."""
    low = np.full(LANES, np.inf, np.float32)
    high = np.full(LANES, -np.inf, np.float32)
    for k in range(len(y)):
        for p in range(LANES):
            if w[k, p] > 0:
                low[p] = min(low[p], y[k, p])
                high[p] = max(high[p], y[k, p])
    return high - low


@njit(cache=True, error_model="numpy", fastmath=FAST)
def lose_weight(y, w, fitted, slope, span):
    """Take weight from observations of a block that lie below its curves.

    What clouds and haze leave behind only lowers greenness. The typical size of the residuals sets
    how fast weight is lost: all of it at six times that size. A hundredth of the range is taken at
    least, or every point would be lost where there is hardly any noise. On a steep slope, as at
    harvest, a point below the curve is no cloud and keeps its weight.

    Parameters
    ----------
    y, w, fitted, slope : ndarray of float32 (times, LANES)
        Observations, weights (changed), the curve there and its slope per day.
    span : ndarray of float32 (LANES,)
        Range of the observations.
    """
    total = np.zeros(LANES, np.float32)
    count = np.zeros(LANES, np.float32)
    none, one = np.float32(0.0), np.float32(1.0)
    for k in range(len(y)):
        for p in range(LANES):
            seen = one if w[k, p] > none else none
            # The mean of the roots, squared, is hardly moved by a few large residuals.
            size = np.sqrt(abs(y[k, p] - fitted[k, p]))
            total[p] += size if seen > none else none  # not seen, the curve may be NaN
            count[p] += seen
    scale = np.empty(LANES, np.float32)
    for p in range(LANES):
        root = total[p] / count[p]
        scale[p] = np.float32(6.0) * max(root * root, np.float32(0.01) * span[p])
        scale[p] = scale[p] if scale[p] > none else one  # a constant series
    for k in range(len(y)):
        for p in range(LANES):
            r = min(max((y[k, p] - fitted[k, p]) / scale[p], -one), none)
            kept = (one - r * r) * (one - r * r)
            kept += steepness(slope[k, p], span[p]) * (one - kept)
            w[k, p] = w[k, p] * kept if w[k, p] > none else none


@njit(cache=True, inline="always")
def steepness(slope, span):
    """0 below a change through the whole range in 110 days, 1 above one in 60 days."""
    share = (abs(slope) * np.float32(80.0) - np.float32(0.73) * span) / (np.float32(0.6) * span)
    return min(max(share, np.float32(0.0)), np.float32(1.0)) if span > 0 else np.float32(0.0)


@njit(cache=True, error_model="numpy")
def compact(t, y, w, lane, days, values, weights):
    """Copy the observations of one lane into arrays of its own, one longer than ``t``.

    Returns how many there are.
    """
    n = 0
    for k in range(len(t)):
        days[n] = t[k]
        values[n] = y[k, lane]
        weights[n] = w[k, lane]
        n += 1 if w[k, lane] > 0 else 0  # no branch: clouds cannot be predicted
    return n
