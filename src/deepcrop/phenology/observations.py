"""What the observations of a block tell: the neighbours of each day, the noise, the gaps."""

from __future__ import annotations

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, FAST

_TRIPLE = np.float32(45.0)
"""Longest time from the first to the last of three observations that tell of noise, days."""
_ROOT = np.float32(0.676)
"""Standard deviations that the mean of the roots of normal residuals, squared, is."""


@njit(cache=True, error_model="numpy")
def neighbours_of(t, w):
    """Find the observations before and after each place between the rows of a block.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    w : ndarray of float32 (times, BLOCK)

    Returns
    -------
    ndarray of float32 (times + 1, 6, BLOCK)
        At k, of the rows before k: days of the last observation and of the one before it, -inf
        where there is none. Of the rows from k on: days of the first and the second observation,
        or inf. Then the sums of the weights of the rows before k, and of their squares.
    """
    none, endless = np.float32(0.0), np.float32(np.inf)
    neighbours = np.empty((len(t) + 1, 6, BLOCK), np.float32)
    state = np.empty((6, BLOCK), np.float32)
    state[0], state[1], state[2], state[3] = -endless, -endless, endless, endless
    state[4], state[5] = none, none
    for k in range(len(t)):
        today = t[k]
        for p in range(BLOCK):
            weight, last1, last2 = w[k, p], state[0, p], state[1, p]
            total, squares = state[4, p], state[5, p]
            neighbours[k, 0, p] = last1
            neighbours[k, 1, p] = last2
            neighbours[k, 4, p] = total
            neighbours[k, 5, p] = squares
            state[0, p] = max(last1, today if weight > none else -endless)
            state[1, p] = max(last2, last1 if weight > none else -endless)
            state[4, p] = total + weight
            state[5, p] = squares + weight * weight
    for i in range(6):
        for p in range(BLOCK):
            neighbours[len(t), i, p] = state[i, p]
    # LLVM makes no vector code within a loop that counts down.
    backward = np.arange(len(t) - 1, -1, -1)
    for i in range(len(t)):
        k = backward[i]
        today = t[k]
        for p in range(BLOCK):
            weight, next1, next2 = w[k, p], state[2, p], state[3, p]
            next2 = min(next2, next1 if weight > none else endless)
            next1 = min(next1, today if weight > none else endless)
            neighbours[k, 2, p] = next1
            neighbours[k, 3, p] = next2
            state[2, p] = next1
            state[3, p] = next2
    return neighbours


@njit(cache=True, error_model="numpy")
def observed_range(grid, curve, first, last):
    """Observed part of the curves of a block, between their first and last observations.

    Returns an ndarray of float32 (4, BLOCK): its first point, the one after its last, and the
    lowest and the highest value within it.
    """
    none, one, endless = np.float32(0.0), np.float32(1.0), np.float32(np.inf)
    ends = np.empty((4, BLOCK), np.float32)
    ends[0], ends[1], ends[2], ends[3] = none, none, endless, -endless
    for g in range(len(grid)):
        day = grid[g]
        for p in range(BLOCK):
            here, begin, stop = curve[g, p], ends[0, p], ends[1, p]
            bottom, top = ends[2, p], ends[3, p]
            inside = (day >= first[p]) & (day <= last[p])
            ends[0, p] = begin + (one if day < first[p] else none)
            ends[1, p] = stop + (one if day <= last[p] else none)
            ends[2, p] = min(bottom, here if inside else endless)
            ends[3, p] = max(top, here if inside else -endless)
    return ends


@njit(cache=True, error_model="numpy", fastmath=FAST)
def residual_noise(t, y, w, grid, curve):
    """Estimate the standard deviation about the curves, robust to a few outliers."""
    total = np.zeros(BLOCK, np.float32)
    count = np.zeros(BLOCK, np.float32)
    none, one = np.float32(0.0), np.float32(1.0)
    step = grid[1] - grid[0]
    for k in range(len(t)):
        g = min(max(int((t[k] - grid[0]) / step), 0), len(grid) - 2)
        share = (t[k] - grid[g]) / step
        for p in range(BLOCK):
            seen = one if w[k, p] > none else none
            fitted = curve[g, p] + share * (curve[g + 1, p] - curve[g, p])
            # Not seen, the curve may be NaN.
            total[p] += np.sqrt(abs(y[k, p] - fitted)) if seen > none else none
            count[p] += seen
    for p in range(BLOCK):
        root = total[p] / count[p]
        total[p] = root * root / _ROOT
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def scatter_of(t, y, w, scatter):
    """Estimate the standard deviation of the noise from triples of observations.

    It is that of the middle one about the line between its neighbours, robust to a few outliers. No
    smoother changes it: about a curve that follows each observation residuals are too small, and
    without the observations that a smoother leaves out, noise seems less than it is. Over weeks the
    greenness itself bends away from the line, so close triples weigh more; where all are far apart
    the noise is still overestimated.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, BLOCK)
        Observations, before any is left out.
    scatter : ndarray of float32 (blocks, BLOCK)
        Filled; NaN where no three observations lie within `_TRIPLE` days.
    """
    none, one = np.float32(0.0), np.float32(1.0)
    state = np.empty((6, BLOCK), np.float32)
    for block in range(len(y)):
        # Days and values of the last two observations, weighted sum of the roots, weights.
        state[:] = none
        state[0], state[2] = np.float32(-1e6), np.float32(-1e6)
        for k in range(len(t)):
            today = t[k]
            for p in range(BLOCK):
                here = y[block, k, p]
                seen = w[block, k, p] > none
                day1, value1, day2, value2 = state[0, p], state[1, p], state[2, p], state[3, p]
                share = (day1 - day2) / (today - day2)
                off = value1 - (value2 + share * (here - value2))
                spread = one + share * share + (one - share) * (one - share)
                near = (today - day2 < _TRIPLE) & seen
                apart = (today - day2) / _TRIPLE
                weight = (one - apart * apart) * (one - apart * apart)
                state[4, p] += weight * np.sqrt(abs(off) / np.sqrt(spread)) if near else none
                state[5, p] += weight if near else none
                state[2, p] = day1 if seen else day2
                state[3, p] = value1 if seen else value2
                state[0, p] = today if seen else day1
                state[1, p] = here if seen else value1
        for p in range(BLOCK):
            root = state[4, p] / state[5, p]  # NaN where there is no triple
            scatter[block, p] = root * root / _ROOT


@njit(cache=True, error_model="numpy")
def gap_around(neighbours, row, p, day):
    """Days between the observations on both sides of a day; ``row`` is the first later time."""
    last = neighbours[row, 0, p]
    return np.float32(0.0) if last == day else neighbours[row, 2, p] - last


@njit(cache=True, error_model="numpy")
def gap_of_one(neighbours, row, p, day):
    """Days from the observation before to that after the one next to a day.

    ``row`` is the first time later than the day.
    """
    if day - neighbours[row, 0, p] <= neighbours[row, 2, p] - day:
        return neighbours[row, 2, p] - neighbours[row, 1, p]
    return neighbours[row, 3, p] - neighbours[row, 0, p]
