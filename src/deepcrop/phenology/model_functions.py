"""Fit a model function to each season: double logistic or asymmetric Gaussian.

After Jönsson and Eklundh 2002 (IEEE TGRS 40, doi 10.1109/TGRS.2002.802519) and Beck et al. 2006
(Remote Sensing of Environment 100, doi 10.1016/j.rse.2005.10.021), with a base of its own on each
side of the season:

- double logistic: f(t) = b1 + (top - b1) S((t - t1) / r1) - (top - b2) S((t - t2) / r2), with
  S(x) = 1 / (1 + exp(-x));
- asymmetric Gaussian: f(t) = b + (top - b) exp(-(|t - tm| / width)^power), with a base, a width and
  a power for each side of tm.

A Whittaker curve gives the seasons and the start values. The parameters are then fitted to the
observations of the season by Levenberg-Marquardt steps (:mod:`deepcrop.phenology.model_fit`). A
penalty as strong as one observation keeps each parameter near its start value, so that a season
with gaps keeps a plausible form.
Between seasons the functions are blended within 20 days around the valley.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK
from deepcrop.phenology.extrema import (
    HALF_YEAR,
    find_extrema,
    local_range,
    merge_shallow,
    observed_part,
    valley,
)
from deepcrop.phenology.model_fit import (
    BEGIN,
    BLOCK_OF,
    DOUBLE_LOGISTIC,
    FIRST,
    LANE,
    LAST,
    LEFT,
    NUMBER,
    PEAK,
    RIGHT,
    ROW,
    ROWS,
    SIZE,
    STOP,
    fit_seasons,
    model_values,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOGETHER = 8
"""Number of blocks whose seasons are fitted together: enough that few lanes of the fit are empty at
its end, few enough that the observations stay in the cache."""


def model_function_blocks(
    t: NDArray[np.float32],
    y: NDArray[np.float32],
    w: NDArray[np.float32],
    grid: NDArray[np.float32],
    kind: int,
    min_amplitude: float,
    prominence: float,
    curve: NDArray[np.float32],
) -> None:
    """Replace the seasons of Whittaker curves by fitted model functions.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, BLOCK)
        Observations and their weights after the Whittaker smoothing.
    grid : ndarray of float32 (points,)
    kind : int
        `DOUBLE_LOGISTIC` or `ASYMMETRIC_GAUSSIAN`.
    min_amplitude, prominence : float
        What counts as a season, as of `deepcrop.phenology.SeasonRule`.
    curve : ndarray of float32 (blocks, points, BLOCK)
        Whittaker curves; changed.
    """
    # Three kernels, not one that calls them: numba compiles what a kernel calls once more with it.
    # Room for the most seasons that there can be; what is not used takes no memory.
    room = min(len(y), _TOGETHER) * BLOCK * (len(grid) // 2 + 1)
    seasons = np.empty((room, NUMBER + 1), np.int32)
    tops = np.empty(room, np.float32)
    amplitudes = np.empty(room, np.float32)
    thetas = np.empty((room, SIZE), np.float32)
    for first in range(0, len(y), _TOGETHER):
        stop = min(first + _TOGETHER, len(y))
        count = _find_seasons(
            t, w, first, stop, grid, kind, min_amplitude, prominence, curve, seasons, tops,
            amplitudes, thetas,
        )  # fmt: skip
        fit_seasons(t, y, w, grid, kind, seasons, count, tops, amplitudes, thetas)
        _blend(grid, kind, seasons, count, tops, amplitudes, thetas, curve)


@njit(cache=True, nogil=True, error_model="numpy")
def _find_seasons(
    t, w, first_block, last_block, grid, kind, min_amplitude, prominence, curve, seasons, tops,
    amplitudes, thetas,
):  # fmt: skip
    """Fill the table with the seasons of blocks, and start values; returns their number."""
    line = np.empty(len(grid), np.float32)
    days = np.empty(len(t) + 1, np.float32)
    rows = np.empty(len(t) + 1, np.int32)
    extrema = np.empty(len(grid) + 3, np.int64)
    reach = int(HALF_YEAR / (grid[1] - grid[0]))
    count = 0
    for series in range(first_block * BLOCK, last_block * BLOCK):
        block, p = divmod(series, BLOCK)
        n = 0
        for k in range(len(t)):
            days[n], rows[n] = t[k], k
            n += 1 if w[block, k, p] > 0 else 0  # no branch: clouds cannot be predicted
        if n < 8:
            continue
        line[:] = curve[block, :, p]
        begin, stop = observed_part(grid, days, n)
        if stop - begin < 3:
            continue
        turns = find_extrema(line, begin, stop, min_amplitude, extrema)
        turns = merge_shallow(line, extrema, turns, begin, stop, reach, prominence)
        for k in range(1, turns, 2):
            left, peak, right = extrema[k - 1], extrema[k], extrema[k + 1]
            swing = max(min_amplitude, prominence * local_range(line, peak, begin, stop, reach))
            rise, fall = line[peak] - line[left], line[peak] - line[right]
            amplitude = np.float32(0.5) * (rise + fall)
            if rise < swing or fall < swing or not amplitude > 0:
                continue
            # The season's observations, and those of the level valleys beside it.
            base1, first, _ = valley(line, left, begin, peak, 0.2 * rise)
            base2, _, last = valley(line, right, peak, stop - 1, 0.2 * fall)
            a = 0
            while a < n and days[a] < grid[first]:
                a += 1
            b = n
            while b > a and days[b - 1] > grid[last]:
                b -= 1
            if b - a < 5:
                continue
            season = seasons[count]
            season[LEFT], season[PEAK], season[RIGHT] = left, peak, right
            season[FIRST], season[LAST] = first, last
            season[BEGIN], season[STOP] = begin, stop
            season[BLOCK_OF], season[LANE] = block, p
            season[ROW], season[ROWS] = rows[a], rows[b - 1] + 1 - rows[a]
            season[NUMBER] = b - a
            tops[count], amplitudes[count] = line[peak], amplitude
            theta = thetas[count]
            theta[0] = (base1 - line[peak]) / amplitude
            theta[1] = (base2 - line[peak]) / amplitude
            theta[2] = 0.0
            half1, near1 = _crossings(line, grid, peak, -1, left, base1)
            half2, near2 = _crossings(line, grid, peak, 1, right, base2)
            if kind == DOUBLE_LOGISTIC:
                theta[3], theta[5] = half1 - grid[peak], half2 - grid[peak]
                theta[4] = math.log(min(max((half1 - near1) / 1.386, 3.0), 30.0))
                theta[6] = math.log(min(max((near2 - half2) / 1.386, 3.0), 30.0))
                theta[7] = 0.0
            else:
                theta[3] = 0.0
                theta[4] = math.log(max(grid[peak] - half1, 5.0) / 0.885)
                theta[6] = math.log(max(half2 - grid[peak], 5.0) / 0.885)
                theta[5] = theta[7] = math.log(3.0)
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _blend(grid, kind, seasons, count, tops, amplitudes, thetas, curve):
    """Replace the seasons of the curves by the model functions, blended about the valleys."""
    points = len(grid)
    ramp = max(int(10.0 / (grid[1] - grid[0])), 1)
    line = np.empty(points, np.float32)
    days = np.empty(points, np.float32)
    values = np.empty(points, np.float32)
    for s in range(count):
        season = seasons[s]
        left, right, first, last = season[LEFT], season[RIGHT], season[FIRST], season[LAST]
        block, p = season[BLOCK_OF], season[LANE]
        before = seasons[s - 1] if s else season
        if s == 0 or before[BLOCK_OF] != block or before[LANE] != p:
            line[:] = curve[block, :, p]
        begin, stop = max(left - ramp, season[BEGIN]), min(right + ramp + 1, season[STOP])
        for g in range(begin, stop):
            days[g] = grid[g] - grid[season[PEAK]]
        model_values(days[begin:stop], kind, thetas[s], values[begin:stop])
        for g in range(begin, stop):
            share1 = min(max(0.5 + 0.5 * (g - left) / ramp, 0.0), 1.0) if left > first else 1.0
            share2 = min(max(0.5 + 0.5 * (right - g) / ramp, 0.0), 1.0) if right < last else 1.0
            model = tops[s] + amplitudes[s] * values[g]
            curve[block, g, p] += np.float32(min(share1, share2)) * (model - line[g])


@njit(cache=True, error_model="numpy")
def _crossings(line, grid, peak, direction, valley, base):
    """Days at which a side of the season passes 50 % and 20 % of its amplitude."""
    days = np.empty(2)
    for i, fraction in enumerate((0.5, 0.2)):
        level = base + fraction * (line[peak] - base)
        g = peak
        while g != valley and line[g] > level:
            g += direction
        days[i] = grid[g]
    return days[0], days[1]
