"""SIMD blocks: series side by side in memory, so that one instruction computes many pixels.

All smoothing kernels work on arrays (blocks, times, BLOCK): the series of `BLOCK` neighbouring
pixels side by side, the pixel as the fastest axis. A missing observation has weight 0; it costs
its share of the arithmetic, but each loop over the series of a block becomes vector code. No series
reads another, so neither the size of a chunk nor the number of threads changes a bit of a result.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 16
"""Number of series in a block."""

FAST = {"contract", "nsz", "arcp"}
"""Floating-point rewrites allowed to the compiler; all of them keep NaN and infinity."""

_CLOSE = 50.0
"""Longest time between two neighbours that can reveal a spike between them, days."""


@njit(cache=True, nogil=True, error_model="numpy")
def fill_blocks(values, weights, day_of, y, w, level, counts):
    """Fill blocks with observations.

    Parameters
    ----------
    values : ndarray of float32 (pixels, times)
        Not finite: no observation.
    weights : ndarray of float32 (pixels, times) or (0, 0)
        Not finite, or 0: no observation. Empty: all weigh the same.
    day_of : ndarray of int (times,)
        Row of each time in ``y``; times of one day share a row and are averaged.
    y, w : ndarray of float32 (blocks, days, BLOCK)
        Filled with the observations minus the mean of their series, so that sums stay exact, and
        with their weights as shares of the largest; a missing observation is 0 in both.
    level : ndarray of float32 (blocks, BLOCK)
        Filled with the means.
    counts : ndarray of float32 (blocks, BLOCK)
        Filled with the number of days that have an observation.
    """
    pixels, times = values.shape
    none, one, endless = np.float32(0.0), np.float32(1.0), np.float32(np.inf)
    weighted = len(weights) > 0
    state = np.empty((4, BLOCK), np.float32)  # value, weight, heaviest weight, number
    total = np.empty(BLOCK)
    for block in range(len(y)):
        first = block * BLOCK
        used = min(BLOCK, pixels - first)
        state[0], state[1], state[2], state[3] = endless, one, one, none
        total[:] = 0.0
        y[block], w[block] = none, none
        if weighted:
            for p in range(used):
                heaviest = none
                for k in range(times):
                    value, weight = values[first + p, k], weights[first + p, k]
                    if value - value == none and heaviest < weight < endless:
                        heaviest = weight
                state[2, p] = heaviest
        for k in range(times):
            row = day_of[k]
            for p in range(used):
                state[0, p] = values[first + p, k]
            if weighted:
                for p in range(used):
                    state[1, p] = weights[first + p, k]
            for p in range(BLOCK):
                value, weight, heaviest = state[0, p], state[1, p], state[2, p]
                before, mean = w[block, row, p], y[block, row, p]
                seen = (value - value == none) & (weight > none) & (weight - weight == none)
                share = weight / heaviest
                after = before + (share if seen else none)
                change = (value - mean) * (share / after)
                y[block, row, p] = mean + (change if seen else none)
                w[block, row, p] = after
        for k in range(0, y.shape[1], 2):
            other = min(k + 1, y.shape[1] - 1)
            twice = one if other > k else none
            for p in range(BLOCK):
                y1, y2, w1, w2 = (
                    y[block, k, p],
                    y[block, other, p],
                    w[block, k, p],
                    w[block, other, p],
                )
                n = (one if w1 > none else none) + (twice if w2 > none else none)
                state[3, p] += n
                total[p] += np.float64(y1) + np.float64(y2 * twice)
        for p in range(BLOCK):
            counts[block, p] = state[3, p]
            level[block, p] = total[p] / max(state[3, p], one)
        for k in range(y.shape[1]):
            for p in range(BLOCK):
                here, mean = y[block, k, p], level[block, p]
                y[block, k, p] = here - (mean if w[block, k, p] > none else none)


@njit(cache=True, error_model="numpy")
def drop_spikes(t, y, w, limit_share):
    """Give weight 0 to single observations far from the median of the five around them.

    Far is more than ``limit_share`` standard deviations of the series, and beyond both neighbours.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (times, BLOCK)
        ``w`` is changed.
    limit_share : float32
    """
    none, one, endless = np.float32(0.0), np.float32(1.0), np.float32(np.inf)
    two, three, close = np.float32(2.0), np.float32(3.0), np.float32(_CLOSE)
    # The two observations that follow each row, and the day of the first.
    following = np.empty((len(t), 3, BLOCK), np.float32)
    state = np.zeros((6, BLOCK), np.float32)
    state[2] = endless
    # LLVM makes no vector code within a loop that counts down.
    backward = np.arange(len(t) - 1, -1, -1)
    for i in range(len(t)):
        k = backward[i]
        today = t[k]
        for p in range(BLOCK):
            here, weight, next1, next2, day = (
                y[k, p],
                w[k, p],
                state[0, p],
                state[1, p],
                state[2, p],
            )
            following[k, 0, p] = next1
            following[k, 1, p] = next2
            following[k, 2, p] = day
            state[0, p] = here if weight > none else next1
            state[1, p] = next1 if weight > none else next2
            state[2, p] = today if weight > none else day
            state[3, p] += here * here  # the mean of a series is 0 (`fill_blocks`)
            state[4, p] += one if weight > none else none
    at_ends = np.empty((BLOCK, 2), np.int64)
    near = np.empty(5, np.float32)
    for p in range(BLOCK):
        enough = state[4, p] >= 5
        limit = limit_share * np.sqrt(state[3, p] / state[4, p]) if enough else endless
        at_ends[p] = -1
        if enough:
            at_ends[p, 0] = _spike_at_end(t, y, w, p, limit, 0, 1, near)
            at_ends[p, 1] = _spike_at_end(t, y, w, p, limit, len(t) - 1, -1, near)
        state[2, p] = -endless
        state[3, p] = limit
        state[5, p] = none  # observations so far
    for k in range(len(t)):
        today = t[k]
        for p in range(BLOCK):
            here, weight, limit, number = y[k, p], w[k, p], state[3, p], state[5, p]
            last1, last2, day = state[0, p], state[1, p], state[2, p]
            next1, next2 = following[k, 0, p], following[k, 1, p]
            low, high = min(last1, next1), max(last1, next1)
            # Of five, the median is that of the fifth and the middle ones of two pairs.
            least = max(low, min(last2, next2))
            most = min(high, max(last2, next2))
            median = max(min(here, most), min(max(here, most), least))
            far = (here - median > limit) | (median - here > limit)
            beyond = (here < low) | (here > high)
            inner = (number >= two) & (state[4, p] - number >= three)
            spike = far & beyond & inner & (following[k, 2, p] - day < close)
            w[k, p] = none if spike else weight
            state[0, p] = here if weight > none else last1
            state[1, p] = last1 if weight > none else last2
            state[2, p] = today if weight > none else day
            state[5, p] = number + (one if weight > none else none)
    for p in range(BLOCK):
        for end in range(2):
            if at_ends[p, end] >= 0:
                w[at_ends[p, end], p] = none


@njit(cache=True, error_model="numpy")
def _spike_at_end(t, y, w, p, limit, k, way, near):
    """Row of the second observation from an end of a series, if it is a spike, or -1.

    It is compared with the median of the five at that end of series ``p``. ``way`` is 1 or -1;
    ``near`` is working memory.
    """
    row = -1
    first = second = third = np.float32(0.0)
    apart = np.float32(0.0)
    n = 0
    while n < 5:
        if w[k, p] > 0:
            value = y[k, p]
            if n == 0:
                first, apart = value, t[k]
            elif n == 1:
                second, row = value, k
            elif n == 2:
                third, apart = value, abs(t[k] - apart)
            at = n
            while at > 0 and near[at - 1] > value:
                near[at] = near[at - 1]
                at -= 1
            near[at] = value
            n += 1
        k += way
    beyond = second < min(first, third) or second > max(first, third)
    return row if beyond and apart < _CLOSE and abs(second - near[2]) > limit else -1


@njit(cache=True, error_model="numpy")
def span_of(y, w):
    """Range of the observations of each series of a block (times, BLOCK)."""
    none, endless = np.float32(0.0), np.float32(np.inf)
    ends = np.empty((2, BLOCK), np.float32)
    ends[0], ends[1] = endless, -endless
    for k in range(0, len(y), 2):
        other = min(k + 1, len(y) - 1)
        for p in range(BLOCK):
            here, there = y[k, p], y[other, p]
            w1, w2, low, high = w[k, p], w[other, p], ends[0, p], ends[1, p]
            low = min(low, here if w1 > none else endless, there if w2 > none else endless)
            high = max(high, here if w1 > none else -endless, there if w2 > none else -endless)
            ends[0, p] = low
            ends[1, p] = high
    return ends[1] - ends[0]


@njit(cache=True, error_model="numpy", fastmath=FAST)
def lose_weight(y, w, fitted, slope, span):
    """Lower the weight of observations of a block that lie below its curves.

    Undetected clouds and haze only lower greenness. The weight falls to 0 at six times the typical
    residual. That residual is taken as at least a hundredth of the range, or all points would lose
    their weight where there is hardly any noise. On a steep slope a point below the curve keeps its
    weight if the next observation on the lower side, after a fall or before a rise, is as low: that
    is a harvest, and a value that rises again is a cloud.

    Parameters
    ----------
    y, w, fitted, slope : ndarray of float32 (times, BLOCK)
        Observations, weights (changed), the curve there and its slope per day.
    span : ndarray of float32 (BLOCK,)
        Range of the observations.
    """
    total = np.zeros(BLOCK, np.float32)
    count = np.zeros(BLOCK, np.float32)
    none, one = np.float32(0.0), np.float32(1.0)
    for k in range(len(y)):
        for p in range(BLOCK):
            seen = one if w[k, p] > none else none
            # The mean of the roots, squared, is hardly moved by a few large residuals.
            size = np.sqrt(abs(y[k, p] - fitted[k, p]))
            total[p] += size if seen > none else none  # not seen, the curve may be NaN
            count[p] += seen
    scale = np.empty(BLOCK, np.float32)
    for p in range(BLOCK):
        root = total[p] / count[p]
        scale[p] = np.float32(6.0) * max(root * root, np.float32(0.01) * span[p])
        scale[p] = scale[p] if scale[p] > none else one  # a constant series
    # The nearest observation on the lower side of the slope: before a rise, after a fall.
    after = np.empty((len(y), BLOCK), np.float32)
    state = np.full(BLOCK, np.float32(-np.inf))
    backward = np.arange(len(y) - 1, -1, -1)
    for i in range(len(y)):
        k = backward[i]
        for p in range(BLOCK):
            here, last = y[k, p], state[p]
            after[k, p] = last
            state[p] = here if w[k, p] > none else last
    state[:] = np.float32(-np.inf)
    for k in range(len(y)):
        for p in range(BLOCK):
            here, weight, before, behind = y[k, p], w[k, p], state[p], after[k, p]
            rate = slope[k, p]
            seen = weight > none
            r = min(max((here - fitted[k, p]) / scale[p], -one), none)
            kept = (one - r * r) * (one - r * r)
            low = before if rate > none else behind
            goes_on = one if low <= here + np.float32(1 / 6) * scale[p] else none
            kept += steepness(rate, span[p]) * (one - kept) * goes_on
            w[k, p] = weight * kept if seen else none
            state[p] = here if seen else before


@njit(cache=True, inline="always")
def steepness(slope, span):
    """0 below a change through the whole range in 110 days, 1 above one in 60 days."""
    share = (abs(slope) * np.float32(80.0) - np.float32(0.73) * span) / (np.float32(0.6) * span)
    return min(max(share, np.float32(0.0)), np.float32(1.0)) if span > 0 else np.float32(0.0)


@njit(cache=True, error_model="numpy")
def compact(t, y, w, p, days, values, weights):
    """Copy the observations of series ``p`` of a block into arrays one longer than ``t``.

    Returns the number of observations.
    """
    n = 0
    for k in range(len(t)):
        days[n] = t[k]
        values[n] = y[k, p]
        weights[n] = w[k, p]
        n += 1 if w[k, p] > 0 else 0  # no branch: clouds cannot be predicted
    return n
