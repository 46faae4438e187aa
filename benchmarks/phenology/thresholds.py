"""Seasons and their dates from smooth curves, for peers that only smooth.

A plain scalar rule: peaks and valleys by hysteresis, thresholds on the base of each side.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

SEASONS = 12


@njit(cache=True, parallel=True)
def season_dates(curves, grid, min_amplitude=0.12, prominence=0.2):
    """Dates (pixels, `SEASONS`, 5 stages) of 20 %, 50 %, peak, 50 %, 20 %; NaN where none.

    A peak rises and falls by more than ``min_amplitude`` and more than the share ``prominence`` of
    the range of its curve.
    """
    dates = np.full((len(curves), SEASONS, 5), np.nan, np.float32)
    for pixel in prange(len(curves)):
        curve = curves[pixel]
        least = max(min_amplitude, prominence * (curve.max() - curve.min()))
        count = 0
        rising = True
        valley = lowest = highest = 0
        for i in range(len(curve)):
            if rising:
                if curve[i] > curve[highest]:
                    highest = i
                if curve[i] < curve[valley] and curve[highest] - curve[valley] < least:
                    valley = highest = i
                if curve[highest] - curve[i] > least and curve[highest] - curve[valley] > least:
                    rising, lowest = False, i
            if not rising:
                if curve[i] < curve[lowest]:
                    lowest = i
                if curve[i] - curve[lowest] > least or i == len(curve) - 1:
                    if count < SEASONS:
                        _dates(curve, grid, valley, highest, lowest, dates[pixel, count])
                        count += 1
                    rising, valley, highest = True, lowest, i
    return dates


@njit(cache=True)
def _dates(curve, grid, before, peak, after, dates):
    dates[2] = grid[peak]
    for stage, fraction in ((0, 0.2), (1, 0.5)):
        level = curve[before] + fraction * (curve[peak] - curve[before])
        i = peak
        while curve[i - 1] > level:
            i -= 1
        share = (curve[i] - level) / (curve[i] - curve[i - 1])
        dates[stage] = grid[i] - share * (grid[i] - grid[i - 1])
        level = curve[after] + fraction * (curve[peak] - curve[after])
        i = peak
        while curve[i + 1] > level:
            i += 1
        share = (curve[i] - level) / (curve[i] - curve[i + 1])
        dates[4 - stage] = grid[i] + share * (grid[i + 1] - grid[i])
