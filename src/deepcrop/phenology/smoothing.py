"""Adaptive Savitzky-Golay smoothing of one greenness series on irregular dates.

After Chen et al. 2004 (Remote Sensing of Environment 91, doi 10.1016/j.rse.2004.03.014) and
Jönsson and Eklundh 2004 (TIMESAT, Computers & Geosciences 30, doi 10.1016/j.cageo.2004.05.006), in
our own words and on irregular dates: at every output day a parabola is fitted by weighted least
squares to the observations of a window, its weights falling with distance (tricube) so that no
observation enters or leaves with a jump. Isolated spikes are dropped first; then observations
below the fit lose weight, since what clouds and haze leave behind only lowers greenness. Where the
curve rises or falls steeply the window is narrowed, where observations are few it is widened.

The kernels see one pixel at a time, in float64 registers over float32 data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

BLOCK = 64
"""Pixels that one task of a parallel kernel handles."""


@dataclass(frozen=True)
class SavGol:
    """Settings of the adaptive Savitzky-Golay smoother.

    Attributes
    ----------
    window : float
        Half-width of the window, days.
    steep_window : float
        Half-width where the curve is steep.
    max_window : float
        Widest half-width where observations are few.
    min_points : int
        Observations a window must hold.
    envelope_passes : int
        Times that observations below the fit lose weight; 0 for a symmetric fit.
    spike : float
        An observation is a spike if it is farther than this many standard deviations of the series
        from the median of its neighbours, and beyond both neighbours.
    step : float
        Days between points of the smooth curve.
    """

    window: float = 24.0
    steep_window: float = 18.0
    max_window: float = 120.0
    min_points: int = 6
    envelope_passes: int = 1
    spike: float = 0.8
    step: float = 4.0


def curve_days(days: NDArray, settings: SavGol) -> NDArray[np.float32]:
    """Days of the smooth curve: from the first to the last observation, every ``step`` days."""
    count = math.floor((days[-1] - days[0]) / settings.step) + 1
    return (days[0] + settings.step * np.arange(count)).astype(np.float32)


def savgol(
    values: NDArray, days: NDArray, weights: NDArray, settings: SavGol
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth many series.

    Parameters
    ----------
    values : ndarray of float32 (pixels, times)
        Greenness; NaN is no observation.
    days : ndarray of float32 (times,)
        Rising.
    weights : ndarray of float32 (pixels, times)
        0 is no observation.
    settings : SavGol
        How to smooth.

    Returns
    -------
    curve : ndarray of float32 (pixels, points)
        NaN for a series with fewer than ``settings.min_points`` observations.
    grid : ndarray of float32 (points,)
        Days of the curve.
    """
    grid = curve_days(days, settings)
    curve = np.empty((len(values), len(grid)), np.float32)
    _savgol(values, days, weights, grid, *unpack(settings), curve)
    return curve, grid


def unpack(settings: SavGol) -> tuple[float, float, float, int, int, float]:
    """Give the settings as the kernels take them."""
    return (
        settings.window,
        settings.steep_window,
        settings.max_window,
        settings.min_points,
        settings.envelope_passes,
        settings.spike,
    )


@njit(cache=True, parallel=True)
def _savgol(values, days, weights, grid, window, steep, widest, min_points, passes, spike, curve):
    pixels, times = values.shape
    for block in prange((pixels + BLOCK - 1) // BLOCK):
        t = np.empty(times, np.float32)
        y = np.empty(times, np.float32)
        w = np.empty(times, np.float32)
        for pixel in range(block * BLOCK, min((block + 1) * BLOCK, pixels)):
            n = gather(values[pixel], days, weights[pixel], t, y, w)
            if n < min_points:
                curve[pixel, :] = np.nan
                continue
            smooth(t, y, w, n, grid, window, steep, widest, min_points, passes, spike, curve[pixel])


@njit(cache=True)
def gather(values, days, weights, t, y, w):
    """Copy the observations of a series into ``t, y, w``; returns how many there are.

    Observations of one day are averaged into one.
    """
    n = 0
    for k in range(len(days)):
        if not (math.isfinite(values[k]) and weights[k] > 0):
            continue
        if n > 0 and t[n - 1] == days[k]:
            total = w[n - 1] + weights[k]
            y[n - 1] = (w[n - 1] * y[n - 1] + weights[k] * values[k]) / total
            w[n - 1] = total
            continue
        t[n] = days[k]
        y[n] = values[k]
        w[n] = weights[k]
        n += 1
    return n


@njit(cache=True)
def smooth(t, y, w, n, grid, window, steep, widest, min_points, passes, spike, curve):
    """Smooth the first ``n`` observations onto ``grid``; changes ``w``."""
    _drop_spikes(t, y, w, n, spike)
    low, high = _range(y, w, n)
    residual = np.empty(n, np.float64)
    steepness = np.empty(n, np.float64)
    for _ in range(passes):
        right = 0
        for k in range(n):
            value, slope, right = _fit(t, y, w, n, t[k], window, widest, min_points, right)
            residual[k] = y[k] - value
            steepness[k] = _steepness(slope, high - low)
        # The median size of the residuals sets how fast weight is lost; a hundredth of the range
        # at least, or every point would be lost where there is hardly any noise.
        scale = max(_median_size(residual, w, n), 0.01 * (high - low))
        if scale <= 0:
            break
        for k in range(n):
            if residual[k] < 0:
                r = residual[k] / (6.0 * scale)
                kept = (1.0 - r * r) ** 2 if r > -1.0 else 0.0
                # On a steep slope, as at harvest, a point below the curve is no cloud.
                w[k] *= kept + steepness[k] * (1.0 - kept)
    right = 0
    for g in range(len(grid)):
        value, slope, right = _fit(t, y, w, n, grid[g], window, widest, min_points, right)
        share = _steepness(slope, high - low)
        if share > 0:
            near, _slope, right = _fit(t, y, w, n, grid[g], steep, widest, min_points, right)
            value += share * (near - value)
        curve[g] = value


@njit(cache=True, inline="always")
def _steepness(slope, span):
    """0 below a change through the whole range in 110 days, 1 above one in 60 days."""
    if span <= 0:
        return 0.0
    return min(max((abs(slope) * 80.0 / span - 0.73) / 0.6, 0.0), 1.0)


@njit(cache=True)
def _fit(t, y, w, n, day, window, widest, min_points, right):
    """Value and slope at ``day`` of a parabola through the window around it.

    The window reaches to the ``min_points``-th nearest observation at least, so it widens without
    a jump where observations are few. ``right`` is a hint for the first observation at or after
    ``day``; the one found is returned with the result.
    """
    while right < n and t[right] < day:
        right += 1
    while right > 0 and t[right - 1] >= day:
        right -= 1
    before, after = right - 1, right
    points = 0
    reach = 0.0
    while points < min_points and (before >= 0 or after < n):
        if after >= n or (before >= 0 and day - t[before] <= t[after] - day):
            k = before
            before -= 1
        else:
            k = after
            after += 1
        if w[k] > 0:
            points += 1
            reach = abs(t[k] - day)
    half = min(max(window, 1.2 * reach), widest)
    while before >= 0 and day - t[before] < half:
        before -= 1
    while after < n and t[after] - day < half:
        after += 1
    points = 0
    s0 = s1 = s2 = s3 = s4 = t0 = t1 = t2 = 0.0
    low, high = np.inf, -np.inf
    for k in range(before + 1, after):
        x = (t[k] - day) / half
        u = abs(x)
        if w[k] <= 0 or u >= 1.0:
            continue
        points += 1
        c = 1.0 - u * u * u
        c = c * c * c * w[k]
        s0 += c
        s1 += c * x
        s2 += c * x * x
        s3 += c * x * x * x
        s4 += c * x * x * x * x
        t0 += c * y[k]
        t1 += c * x * y[k]
        t2 += c * x * x * y[k]
        low = min(low, y[k])
        high = max(high, y[k])
    if s0 <= 0:
        return np.nan, 0.0, right
    mean = t0 / s0
    spread = s2 / s0 - (s1 / s0) ** 2
    if points < 2 or spread < 1e-3:
        return mean, 0.0, right
    determinant = s0 * (s2 * s4 - s3 * s3) - s1 * (s1 * s4 - s2 * s3) + s2 * (s1 * s3 - s2 * s2)
    if points < 4 or determinant < 1e-4 * s0 * s2 * s4:
        slope = (t1 - mean * s1) / (s0 * spread)
        value = mean - slope * s1 / s0
    else:
        value = (
            t0 * (s2 * s4 - s3 * s3) - t1 * (s1 * s4 - s2 * s3) + t2 * (s1 * s3 - s2 * s2)
        ) / determinant
        slope = (
            s0 * (t1 * s4 - s3 * t2) - t0 * (s1 * s4 - s3 * s2) + s2 * (s1 * t2 - t1 * s2)
        ) / determinant
    # A parabola over a gap or an edge must not leave what was observed around it.
    return min(max(value, low), high), slope / half, right


@njit(cache=True)
def _drop_spikes(t, y, w, n, spike):
    """Give weight 0 to single observations far from the median of the five around them."""
    if n < 5:
        return
    mean = 0.0
    square = 0.0
    for k in range(n):
        mean += y[k] / n
    for k in range(n):
        square += (y[k] - mean) ** 2 / n
    limit = spike * math.sqrt(square)
    near = np.empty(5, np.float64)
    for k in range(1, n - 1):
        first = min(max(k - 2, 0), n - 5)
        for i in range(5):
            near[i] = y[first + i]
        near.sort()
        beyond = y[k] < min(y[k - 1], y[k + 1]) or y[k] > max(y[k - 1], y[k + 1])
        # Neighbours months away say nothing about a spike.
        close = t[k + 1] - t[k - 1] < 40.0
        if beyond and close and abs(y[k] - near[2]) > limit:
            w[k] = 0.0


@njit(cache=True)
def _median_size(residual, w, n):
    sizes = np.empty(n, np.float64)
    m = 0
    for k in range(n):
        if w[k] > 0:
            sizes[m] = abs(residual[k])
            m += 1
    return np.median(sizes[:m]) if m else 0.0


@njit(cache=True)
def _range(y, w, n):
    low, high = np.inf, -np.inf
    for k in range(n):
        if w[k] > 0:
            low = min(low, y[k])
            high = max(high, y[k])
    return low, high
