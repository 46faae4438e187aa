"""Measures of a season: base on either side, top, slopes, areas.

The lowest point of a wiggly curve lies below the true base and its highest above the true top, and
one bad observation can make either. So both levels are means of all observations of the dormant
stretch and of the top, in which those far from the others weigh nothing (Tukey's biweight, Beaton
and Tukey 1974, doi 10.1080/00401706.1974.10489171).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deepcrop.phenology.extrema import valley

_DORMANT, _WIDE = 0.15, 0.45
"""Share of the rise up to which the curve counts as dormant: usually, and where the lowest point
may be that of a few bad observations."""
_SUPPORT = 4.0
"""Observations that the lowest level needs to be trusted."""
_LEAST = 0.02
"""Least standard deviation of a level's observations, as a share of the rise."""
_TOP = 0.1
"""Share of the amplitude down to which the curve belongs to the top."""
_SPREAD = 4.0
"""Standard deviations from which on an observation weighs nothing."""
_PRIOR = 0.5
"""Observations that the curve's own mean counts as, where there are few or none."""
_ABOVE = 1.0
"""Standard errors of a curve by which its highest point lies above the true top."""


@njit(cache=True, error_model="numpy")
def base_level(t, y, w, p, rows_until, grid, curve, first, last, lowest, top, noise):
    """Level of a dormant stretch, and the variance of that level in units of that of the noise.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (times, BLOCK)
        Observations of a block, and weights after smoothing.
    p : int
        Series of the block.
    rows_until : ndarray of int (points,)
        Number of times that are not later than each point of the curve.
    grid, curve : ndarray of float32 (points,)
    first, last : int
        How far the stretch may reach: the peaks on both sides.
    lowest : int
        Index of the lowest point.
    top : float
        Height of the curve at the peak.
    noise : float
        Standard deviation of the observations about the curve.
    """
    level = curve[lowest]
    rise = top - level
    start, begin, end = valley(curve, lowest, first, last, max(_DORMANT * rise, noise))
    if _weight_between(t, w, p, rows_until, grid, begin, end) < _SUPPORT:
        # Too few observations speak for a level so low: take the level of what is around it.
        start, begin, end = valley(curve, lowest, first, last, max(_WIDE * rise, noise))
        spread = max(noise, 4 * _LEAST * rise)
        level, _ = _robust_mean(t, y, w, p, rows_until, grid, begin, end, start, spread)
        rise = top - level
        start = level
        tolerance = level + max(_DORMANT * rise, noise) - curve[lowest]
        _, begin, end = valley(curve, lowest, first, last, tolerance)
    spread = max(noise, _LEAST * rise)
    return _robust_mean(t, y, w, p, rows_until, grid, begin, end, start, spread)


@njit(cache=True, error_model="numpy")
def _weight_between(t, w, p, rows_until, grid, begin, end):
    """Sum of the weights of the observations between two points of the grid."""
    first, stop = _rows_between(t, rows_until, grid, begin, end)
    total = np.float32(0.0)
    for k in range(first, stop):
        total += w[k, p]
    return total


@njit(cache=True, error_model="numpy")
def top_level(t, y, w, p, rows_until, grid, curve, left, right, peak, base, noise, v):
    """Level of the top of a season, whose base and the valleys beside it are known.

    It is the mean of the top, or the highest point less its standard error where that is higher:
    the mean over a peaked top is low. ``v`` is the variance of the mean of the observations near
    the peak, in units of that of the noise.
    """
    amplitude = curve[peak] - base
    limit = curve[peak] - _TOP * amplitude
    begin = end = peak
    total = curve[peak]
    while begin > left and curve[begin - 1] > limit:
        begin -= 1
        total += curve[begin]
    while end < right and curve[end + 1] > limit:
        end += 1
        total += curve[end]
    spread = max(noise, _LEAST * amplitude)
    start = total / (end - begin + 1)
    level, _ = _robust_mean(t, y, w, p, rows_until, grid, begin, end, start, spread)
    return max(level, curve[peak] - _ABOVE * noise * math.sqrt(v))


@njit(cache=True, error_model="numpy")
def _rows_between(t, rows_until, grid, begin, end):
    """First row of the times from one point of the grid to another, and the one after the last."""
    first = rows_until[begin - 1] if begin > 0 else 0
    while first < len(t) and t[first] < grid[begin]:
        first += 1
    return first, rows_until[end]


@njit(cache=True, error_model="numpy")
def _robust_mean(t, y, w, p, rows_until, grid, begin, end, start, noise):
    """Biweight mean of the observations between two points of the curve, and its variance."""
    first, stop = _rows_between(t, rows_until, grid, begin, end)
    scale = 1 / (np.float32(_SPREAD) * noise)
    none, one, prior = np.float32(0.0), np.float32(1.0), np.float32(_PRIOR)
    middle = np.float32(start)
    total, squares = prior, prior
    for _ in range(3):
        total, squares, moment = prior, prior, none
        for k in range(first, stop):
            off = y[k, p] - middle
            r = off * scale
            kept = max(one - r * r, none)
            weight = kept * kept * w[k, p]
            total += weight
            squares += weight * weight
            moment += weight * off
        middle += moment / total
    return middle, squares / (total * total)


@njit(cache=True, error_model="numpy")
def upper_half(t, y, w, p, rows_until, grid, curve, left, peak, right, level):
    """Mean of the observations while the curve is above a level about its peak, and its support.

    The support is the variance of that mean in units of the variance of an observation.
    """
    begin = end = peak
    while begin > left and curve[begin - 1] > level:
        begin -= 1
    while end < right and curve[end + 1] > level:
        end += 1
    total = squares = moment = np.float32(0.0)
    first, stop = _rows_between(t, rows_until, grid, begin, end)
    for k in range(first, stop):
        weight = w[k, p]
        total += weight
        squares += weight * weight
        moment += weight * y[k, p]
    if not total > 0:
        return np.float32(0.0), np.float32(1.0)
    return moment / total, squares / (total * total)


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "nnan", "nsz"})
def slopes(curve, left, right):
    """Largest rise and fall of a season, from point to point."""
    rise = fall = np.float32(0.0)
    for g in range(left + 1, right + 1):
        rise = max(rise, curve[g] - curve[g - 1])
        fall = max(fall, curve[g - 1] - curve[g])
    return rise, fall


@njit(cache=True, error_model="numpy")
def area(curve, grid, start, end):
    """Area under the curve, linear between its points, from one day to another; NaN if either is.

    Both days lie within the grid.
    """
    if not start < end:
        return np.float32(np.nan)
    step = grid[1] - grid[0]
    from_start, from_end = (start - grid[0]) / step, (end - grid[0]) / step
    first, last = int(from_start), int(from_end)
    total = np.float32(0.0)
    for g in range(first, last):
        total += 0.5 * (curve[g] + curve[g + 1])
    # The first interval begins before the start; a part of the one after the last point is missing.
    share = from_start - first
    total -= share * (curve[first] + 0.5 * share * (curve[first + 1] - curve[first]))
    share = from_end - last
    if share > 0 and last + 1 < len(grid):
        total += share * (curve[last] + 0.5 * share * (curve[last + 1] - curve[last]))
    return total * step
