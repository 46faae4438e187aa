"""Fit a model function to each season: double logistic or asymmetric Gaussian.

After Jönsson and Eklundh 2002 (IEEE TGRS 40, doi 10.1109/TGRS.2002.802519) and Beck et al. 2006
(Remote Sensing of Environment 100, doi 10.1016/j.rse.2005.10.021), with a base of its own on each
side of the season:

- double logistic: f(t) = b1 + (top - b1) S((t - t1) / r1) - (top - b2) S((t - t2) / r2), with
  S(x) = 1 / (1 + exp(-x));
- asymmetric Gaussian: f(t) = b + (top - b) exp(-(|t - tm| / width)^power), with a base, a width and
  a power for each side of tm.

A Whittaker curve gives the seasons and the start values. The parameters are then fitted to the
observations of the season by Levenberg-Marquardt steps. A penalty as strong as one observation
keeps each parameter near its start value, so that a season with gaps keeps a plausible form.
Between seasons the functions are blended within 20 days around the valley.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, compact
from deepcrop.phenology.extrema import (
    HALF_YEAR,
    find_extrema,
    local_range,
    merge_shallow,
    observed_part,
    valley,
)

DOUBLE_LOGISTIC, ASYMMETRIC_GAUSSIAN = 0, 1
_LEVEL_SPREAD, _DAY_SPREAD, _LOG_SPREAD = 0.3, 30.0, 0.5
"""Standard deviation of a parameter about its start: levels (amplitudes), days, logarithms."""
_STEPS = 12


@njit(cache=True, nogil=True, error_model="numpy")
def model_function_blocks(t, y, w, grid, kind, min_amplitude, prominence, curve):
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
    for block in range(len(y)):
        _fit(t, y[block], w[block], grid, kind, min_amplitude, prominence, curve[block])


@njit(cache=True, error_model="numpy")
def _fit(t, y, w, grid, kind, min_amplitude, prominence, curve):
    line = np.empty(len(grid), np.float32)
    fitted = np.empty(len(grid), np.float32)
    days = np.empty(len(t) + 1, np.float32)
    values = np.empty(len(t) + 1, np.float32)
    weights = np.empty(len(t) + 1, np.float32)
    extrema = np.empty(len(grid) + 3, np.int64)
    for p in range(BLOCK):
        n = compact(t, y, w, p, days, values, weights)
        if n < 8:
            continue
        line[:] = curve[:, p]
        begin, stop = observed_part(grid, days, n)
        if stop - begin < 3:
            continue
        count = find_extrema(line, begin, stop, min_amplitude, extrema)
        reach = int(HALF_YEAR / (grid[1] - grid[0]))
        count = merge_shallow(line, extrema, count, begin, stop, reach, prominence)
        fitted[:] = line
        for k in range(1, count, 2):
            left, peak, right = extrema[k - 1], extrema[k], extrema[k + 1]
            swing = max(min_amplitude, prominence * local_range(line, peak, begin, stop, reach))
            if line[peak] - line[left] < swing or line[peak] - line[right] < swing:
                continue
            _fit_season(
                days, values, weights, n, grid, line, left, peak, right, begin, stop, kind, fitted
            )
        curve[:, p] = fitted


@njit(cache=True, error_model="numpy")
def _fit_season(days, values, weights, n, grid, line, left, peak, right, begin, stop, kind, fitted):
    """Fit one season and blend it into ``fitted``."""
    step = grid[1] - grid[0]
    rise, fall = line[peak] - line[left], line[peak] - line[right]
    # The season's observations, and those of the level valleys beside it.
    base1, first, _ = valley(line, left, begin, peak, 0.2 * rise)
    base2, _, last = valley(line, right, peak, stop - 1, 0.2 * fall)
    half1, near1 = _crossings(line, grid, peak, -1, left, base1, rise)
    half2, near2 = _crossings(line, grid, peak, 1, right, base2, fall)
    size = 7 if kind == DOUBLE_LOGISTIC else 8
    theta = np.empty(size)
    theta[0], theta[1], theta[2] = base1, base2, line[peak]
    amplitude = 0.5 * (rise + fall)
    spread = np.empty(size)
    spread[:3] = _LEVEL_SPREAD * amplitude
    if kind == DOUBLE_LOGISTIC:
        theta[3], theta[5] = half1, half2
        theta[4] = math.log(min(max((half1 - near1) / 1.386, 3.0), 30.0))
        theta[6] = math.log(min(max((near2 - half2) / 1.386, 3.0), 30.0))
        spread[3] = spread[5] = _DAY_SPREAD
        spread[4] = spread[6] = _LOG_SPREAD
    else:
        theta[3] = grid[peak]
        theta[4] = math.log(max(grid[peak] - half1, 5.0) / 0.885)
        theta[6] = math.log(max(half2 - grid[peak], 5.0) / 0.885)
        theta[5] = theta[7] = math.log(3.0)
        spread[3] = _DAY_SPREAD
        spread[4:] = _LOG_SPREAD
    a = 0
    while a < n and days[a] < grid[first]:
        a += 1
    b = n
    while b > a and days[b - 1] > grid[last]:
        b -= 1
    if b - a < 5:
        return
    _levenberg_marquardt(days[a:b], values[a:b], weights[a:b], kind, theta, spread, amplitude)
    gradient = np.empty(size)
    ramp = max(int(10.0 / step), 1)
    for g in range(max(left - ramp, begin), min(right + ramp + 1, stop)):
        share1 = min(max(0.5 + 0.5 * (g - left) / ramp, 0.0), 1.0) if left > first else 1.0
        share2 = min(max(0.5 + 0.5 * (right - g) / ramp, 0.0), 1.0) if right < last else 1.0
        share = min(share1, share2)
        fitted[g] += share * (_model_function(grid[g], kind, theta, gradient) - line[g])


@njit(cache=True, error_model="numpy")
def _crossings(line, grid, peak, direction, valley, base, amplitude):
    """Days at which a side of the season passes 50 % and 20 % of its amplitude."""
    days = np.empty(2)
    for i, fraction in enumerate((0.5, 0.2)):
        level = base + fraction * (line[peak] - base)
        g = peak
        while g != valley and line[g] > level:
            g += direction
        days[i] = grid[g]
    return days[0], days[1]


@njit(cache=True, error_model="numpy")
def _model_function(day, kind, theta, gradient):
    """Value of the model function; fills ``gradient`` with its derivatives by the parameters."""
    base1, base2, top = theta[0], theta[1], theta[2]
    if kind == DOUBLE_LOGISTIC:
        r1, r2 = math.exp(theta[4]), math.exp(theta[6])
        x1, x2 = (day - theta[3]) / r1, (day - theta[5]) / r2
        s1 = 1.0 / (1.0 + math.exp(-min(max(x1, -40.0), 40.0)))
        s2 = 1.0 / (1.0 + math.exp(-min(max(x2, -40.0), 40.0)))
        gradient[0] = 1.0 - s1
        gradient[1] = s2
        gradient[2] = s1 - s2
        steep1 = (top - base1) * s1 * (1.0 - s1)
        steep2 = (top - base2) * s2 * (1.0 - s2)
        gradient[3] = -steep1 / r1
        gradient[4] = -steep1 * x1
        gradient[5] = steep2 / r2
        gradient[6] = steep2 * x2
        return base1 + (top - base1) * s1 - (top - base2) * s2
    for i in range(len(theta)):
        gradient[i] = 0.0
    side = 0 if day < theta[3] else 1
    base = theta[side]
    width, power = math.exp(theta[4 + 2 * side]), math.exp(theta[5 + 2 * side])
    x = abs(day - theta[3]) / width
    if x <= 0:
        gradient[2] = 1.0
        return top
    u = x**power
    bell = math.exp(-min(u, 50.0))
    steep = (top - base) * bell * u
    gradient[side] = 1.0 - bell
    gradient[2] = bell
    gradient[3] = steep * power / (day - theta[3])
    gradient[4 + 2 * side] = steep * power
    gradient[5 + 2 * side] = -steep * power * math.log(x)
    return base + (top - base) * bell


@njit(cache=True, error_model="numpy")
def _cost(days, values, weights, kind, theta, start, hold, gradient):
    total = 0.0
    for k in range(len(days)):
        r = values[k] - _model_function(days[k], kind, theta, gradient)
        total += weights[k] * r * r
    for i in range(len(theta)):
        total += hold[i] * (theta[i] - start[i]) ** 2
    return total


@njit(cache=True, error_model="numpy")
def _levenberg_marquardt(days, values, weights, kind, theta, spread, amplitude):
    """Fit ``theta`` in place."""
    size = len(theta)
    start = theta.copy()
    # A parameter one spread away costs as much as one observation 5 % of the amplitude away.
    hold = (0.05 * amplitude / spread) ** 2
    gradient = np.empty(size)
    normal = np.empty((size, size))
    system = np.empty((size, size))
    right = np.empty(size)
    trial = np.empty(size)
    damping = 1e-2
    cost = _cost(days, values, weights, kind, theta, start, hold, gradient)
    for _ in range(_STEPS):
        normal[:] = 0.0
        for i in range(size):
            right[i] = hold[i] * (start[i] - theta[i])
            normal[i, i] = hold[i]
        for k in range(len(days)):
            r = values[k] - _model_function(days[k], kind, theta, gradient)
            for i in range(size):
                scaled = weights[k] * gradient[i]
                right[i] += scaled * r
                for j in range(i + 1):
                    normal[i, j] += scaled * gradient[j]
        better = False
        for _attempt in range(6):
            for i in range(size):
                for j in range(i + 1):
                    system[i, j] = normal[i, j]
                system[i, i] *= 1.0 + damping
                trial[i] = right[i]
            _solve(system, trial)
            for i in range(size):
                trial[i] += theta[i]
            new = _cost(days, values, weights, kind, trial, start, hold, gradient)
            if new < cost:
                better = True
                break
            damping *= 8.0
        if not better:
            return
        gain = cost - new
        theta[:] = trial
        cost = new
        damping *= 0.2
        if gain < 1e-4 * cost:
            return


@njit(cache=True, error_model="numpy")
def _solve(system, right):
    """Solve a symmetric system, given by its lower triangle, in place (LDL')."""
    size = len(right)
    for i in range(size):
        for j in range(i):
            total = system[i, j]
            for k in range(j):
                total -= system[i, k] * system[j, k] * system[k, k]
            system[i, j] = total / system[j, j]
        for k in range(i):
            system[i, i] -= system[i, k] * system[i, k] * system[k, k]
            right[i] -= system[i, k] * right[k]
    for i in range(size):
        right[i] /= system[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            right[i] -= system[k, i] * right[k]
