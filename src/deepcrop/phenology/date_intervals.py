"""The 90 % interval of a season date: how far noise, smoothing and gaps may have moved it.

Three things move a date: noise, which moves the curve and the base; the smoother, which changes the
form of a season; and gaps between observations. The curve near the date is uncertain by

    delta = sqrt((K_NOISE s)^2 v + (K_SHAPE A)^2 + (K_BASE (1 - f) b)^2),

with s the standard deviation of the observations about the curve, A the amplitude, v the sum of the
squared weights of the observations about the date over the square of their sum (the variance of
their mean, in units of s^2), f the fraction of the amplitude at the date and b the standard error
of the base (:mod:`deepcrop.phenology.season_measures`). The interval reaches to where the curve
passes the level less and plus delta: a date on a gentle slope is less certain than one on a steep
slope.
Each arm is then joined, by the root of the squares, with K_GAP g^2 / (g + 40 days), where g is the
time from the second observation before to the second after the date. The factors were set on
simulated series so that 90 % of the true dates lie inside; docs/validation.md has the coverage on
others.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

INTERVAL = np.array([3.0, 0.07, 0.45, 0.4, 1.0])
"""K_NOISE, K_SHAPE, K_GAP, K_PEAK by which delta is multiplied at the peak, and K_BASE."""
_LONG = 40.0
"""Time between second neighbours beyond which the uncertainty grows as fast as the gap, days."""


@njit(cache=True, error_model="numpy")
def support(neighbours, row, p, near):
    """Return ``v`` (see the module) and the time between the second neighbours of a day.

    ``row`` is the first later time, ``near`` the first and the one after the last of those near.
    """
    total = neighbours[near[1], 4, p] - neighbours[near[0], 4, p]
    squares = neighbours[near[1], 5, p] - neighbours[near[0], 5, p]
    v = min(squares / (total * total), np.float32(1.0)) if total > 0 else np.float32(1.0)
    # Where there is no second neighbour, the first or the last observation.
    before = max(neighbours[row, 1, p], neighbours[0, 2, p])
    after = min(neighbours[row, 3, p], neighbours[len(neighbours) - 1, 0, p])
    return v, after - before


@njit(cache=True, error_model="numpy")
def curve_error(noise, v, amplitude, base_error, factors):
    """Uncertainty of the curve, ``delta`` (see the module); ``base_error`` is (1 - f) b."""
    spread = (factors[0] * noise) ** 2 * v + (factors[4] * base_error) ** 2
    return math.sqrt(spread + (factors[1] * amplitude) ** 2)


@njit(cache=True, error_model="numpy")
def gap_error(gap, factors):
    """Uncertainty of a date due to the gap it lies in, days."""
    return factors[2] * gap * gap / (gap + _LONG)


@njit(cache=True, error_model="numpy")
def interval_arms(curve, grid, first, last, at, side, level, delta, day):
    """Days from a date back to where the curve is delta before the level, and on to delta after.

    ``side`` is 1 where the curve rises, -1 where it falls; ``first`` and ``last`` bound that side.
    """
    step = grid[1] - grid[0]
    a = at
    while a > first and side * (curve[a] - level) > -delta:
        a -= 1
    start = grid[a]
    short = -delta - side * (curve[a] - level)
    if short > 0 and a < last:
        start += step * min(short / max(side * (curve[a + 1] - curve[a]), short), 1.0)
    b = at
    while b < last and side * (curve[b] - level) < delta:
        b += 1
    end = grid[b]
    over = side * (curve[b] - level) - delta
    if over > 0 and b > first:
        end -= step * min(over / max(side * (curve[b] - curve[b - 1]), over), 1.0)
    return max(day - start, 0.0), max(end - day, 0.0)


@njit(cache=True, error_model="numpy")
def plateau(curve, grid, left, peak, right, level, top_day):
    """Days from the peak back and on to where the curve passes ``level``."""
    step = grid[1] - grid[0]
    a = b = peak
    while a > left and curve[a] > level:
        a -= 1
    while b < right and curve[b] > level:
        b += 1
    start, end = grid[a], grid[b]
    if a < peak and curve[a] < level:
        start += step * (level - curve[a]) / (curve[a + 1] - curve[a])
    if b > peak and curve[b] < level:
        end -= step * (level - curve[b]) / (curve[b - 1] - curve[b])
    return max(top_day - start, 0.0), max(end - top_day, 0.0)
