"""From a smooth curve to seasons and their dates.

Peaks and valleys are found by hysteresis: a peak counts once the curve has fallen from it by a
share of the whole amplitude, a valley once it has risen from it. A season runs from valley over
peak to valley and may cross New Year. At a fraction f of the amplitude on its own side, the start
is the last upward crossing before the peak, the end the first downward crossing after it (paper,
section 3.1: 20 % and 50 %). A date is given only where it was observed: a season needs a peak with
a rise and a fall around it; one that had begun before the series, or goes on after it, has no date
on that side, and neither has an event in a long gap between observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deepcrop.errors import DeepCropError
from deepcrop.phenology import smoothing
from deepcrop.phenology.smoothing import BLOCK, SavGol

MAX_SEASONS = 12
"""Seasons a series can have (three years of four cuts)."""

REASONS = (
    "found",
    "too few observations",
    "amplitude too small",
    "not observed from before its start to after its end",
    "gap over an event",
)
"""Meaning of the reason codes."""
FOUND, TOO_FEW, NO_AMPLITUDE, NOT_OBSERVED, GAP = range(len(REASONS))


@dataclass(frozen=True)
class SeasonRule:
    """What counts as a season.

    Attributes
    ----------
    min_amplitude : float
        Smallest amplitude, in units of the values (NDVI).
    prominence : float
        Smallest rise and fall around a peak, as a share of the whole amplitude of the series.
    max_gap : float
        Longest time without an observation around a date, days.
    min_observations : int
        Fewest observations of a series.
    """

    min_amplitude: float = 0.12
    prominence: float = 0.2
    max_gap: float = 60.0
    min_observations: int = 8


@dataclass(frozen=True)
class Seasons:
    """Seasons of many series.

    Attributes
    ----------
    dates : ndarray of float32 (pixels, seasons, stages)
        Fractional days on the origin of the input days, NaN-padded; seasons in order of time.
    stages : tuple of str
        Names of the last axis: rising fractions, ``peak``, falling fractions.
    amplitude : ndarray of float32 (pixels, seasons)
        Mean of rise and fall, in units of the values; NaN where there is no season.
    reason : ndarray of uint8 (pixels, seasons)
        Index into `REASONS`: whether all dates of a season were found, and if not, why the first
        missing one is. For a series without any season, the first entry says why; other entries
        without a season are 0.
    """

    dates: NDArray[np.float32]
    stages: tuple[str, ...]
    amplitude: NDArray[np.float32]
    reason: NDArray[np.uint8]


def stage_names(fractions: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the dates of a season: ``sos20, sos50, peak, eos50, eos20`` for (0.2, 0.5)."""
    percent = [f"{100 * f:g}" for f in fractions]
    return (*(f"sos{p}" for p in percent), "peak", *(f"eos{p}" for p in reversed(percent)))


def season_dates(
    values: NDArray,
    days: NDArray,
    weights: NDArray | None = None,
    *,
    fractions: tuple[float, ...] = (0.2, 0.5),
    smoother: SavGol | None = None,
    rule: SeasonRule | None = None,
) -> Seasons:
    """Season dates of many greenness series.

    Parameters
    ----------
    values : array_like (pixels, times)
        Greenness (NDVI by default); NaN and infinities are no observation.
    days : array_like (times,)
        Day of each observation on any origin, in any order; the same day may occur twice.
    weights : array_like (pixels, times), optional
        Weight of each observation, 0 = ignore; by default all 1.
    fractions : tuple of float
        Shares of the amplitude, rising, each between 0 and 1.
    smoother : SavGol, optional
        How to smooth.
    rule : SeasonRule, optional
        What counts as a season.

    Returns
    -------
    Seasons
        With as many seasons as the series of most.

    Raises
    ------
    DeepCropError
        If shapes do not fit or fractions are out of range.
    """
    smoother, rule = smoother or SavGol(), rule or SeasonRule()
    values, days, weights = _ordered(values, days, weights)
    if not fractions or not all(
        0 < a < b < 1 for a, b in zip((1e-9, *fractions), (*fractions, 1 - 1e-9), strict=True)
    ):
        raise DeepCropError(f"Fractions {fractions} must rise and lie between 0 and 1.")
    names = stage_names(fractions)
    dates = np.full((len(values), MAX_SEASONS, len(names)), np.nan, np.float32)
    amplitude = np.full((len(values), MAX_SEASONS), np.nan, np.float32)
    reason = np.zeros((len(values), MAX_SEASONS), np.uint8)
    if days.size < max(rule.min_observations, smoother.min_points):
        reason[:, 0] = TOO_FEW
    elif len(values):
        _season_dates(
            values,
            days,
            weights,
            smoothing.curve_days(days, smoother),
            *smoothing.unpack(smoother),
            rule.min_amplitude,
            rule.prominence,
            rule.max_gap,
            rule.min_observations,
            np.array(fractions, np.float32),
            dates,
            amplitude,
            reason,
        )
    count = max(int(np.isfinite(amplitude).sum(axis=1).max(initial=0)), 1)
    return Seasons(dates[:, :count], names, amplitude[:, :count], reason[:, :count])


def _ordered(
    values: NDArray, days: NDArray, weights: NDArray | None
) -> tuple[NDArray, NDArray, NDArray]:
    """Check the inputs; return them as float32, in order of days."""
    values = np.asarray(values, np.float32)
    days = np.asarray(days, np.float32)
    if values.ndim != 2 or days.ndim != 1 or values.shape[1] != days.size:
        raise DeepCropError(
            f"Values of shape {values.shape} and days of shape {days.shape} do not fit: expected "
            "(pixels, times) and (times,)."
        )
    if not np.isfinite(days).all():
        raise DeepCropError("Days hold NaN or infinities; drop those observations.")
    if weights is None:
        weights = np.broadcast_to(np.float32(1), values.shape)
    else:
        weights = np.asarray(weights, np.float32)
        if weights.shape != values.shape:
            raise DeepCropError(f"Weights have shape {weights.shape}; expected {values.shape}.")
    if (np.diff(days) < 0).any():
        order = np.argsort(days, kind="stable")
        values, days, weights = values[:, order], days[order], weights[:, order]
    return values, days, weights


@njit(cache=True, parallel=True)
def _season_dates(
    values, days, weights, grid,
    window, steep, widest, min_points, passes, spike,
    min_amplitude, prominence, max_gap, min_observations,
    fractions, dates, amplitude, reason,
):  # fmt: skip
    pixels, times = values.shape
    for block in prange((pixels + BLOCK - 1) // BLOCK):
        t = np.empty(times, np.float32)
        y = np.empty(times, np.float32)
        w = np.empty(times, np.float32)
        curve = np.empty(len(grid), np.float32)
        for pixel in range(block * BLOCK, min((block + 1) * BLOCK, pixels)):
            n = smoothing.gather(values[pixel], days, weights[pixel], t, y, w)
            if n < max(min_observations, min_points):
                reason[pixel, 0] = TOO_FEW
                continue
            smoothing.smooth(
                t, y, w, n, grid, window, steep, widest, min_points, passes, spike, curve
            )
            find_seasons(
                curve, grid, t, w, n, min_amplitude, prominence, max_gap, fractions,
                dates[pixel], amplitude[pixel], reason[pixel],
            )  # fmt: skip


@njit(cache=True)
def find_seasons(
    curve, grid, t, w, n, min_amplitude, prominence, max_gap, fractions, dates, amplitude, reason
):
    """Seasons of one curve; fills its rows of ``dates``, ``amplitude`` and ``reason``."""
    # Only between the first and the last observation that counts.
    first_obs, last_obs = 0, n - 1
    while first_obs < last_obs and w[first_obs] <= 0:
        first_obs += 1
    while last_obs > first_obs and w[last_obs] <= 0:
        last_obs -= 1
    begin, stop = 0, len(grid)
    while begin < stop and grid[begin] < t[first_obs]:
        begin += 1
    while stop > begin and grid[stop - 1] > t[last_obs]:
        stop -= 1
    if stop - begin < 3:
        reason[0] = TOO_FEW
        return
    low, high = np.inf, -np.inf
    for g in range(begin, stop):
        low = min(low, curve[g])
        high = max(high, curve[g])
    if not high - low >= min_amplitude:
        reason[0] = NO_AMPLITUDE
        return
    swing = max(min_amplitude, prominence * (high - low))

    # Alternating valleys and peaks: turns[0] is a valley, turns[1] a peak, and so on.
    turns = np.empty(2 * MAX_SEASONS + 3, np.int64)
    count = 0
    lowest = highest = begin
    seeking_peak = False
    turns[0] = begin
    for g in range(begin, stop):
        if curve[g] < curve[lowest]:
            lowest = g
        if curve[g] > curve[highest]:
            highest = g
        if seeking_peak:
            if curve[g] <= curve[highest] - swing:
                turns[count] = highest
                count += 1
                seeking_peak = False
                lowest = g
        elif curve[g] >= curve[lowest] + swing:
            turns[count] = lowest
            count += 1
            seeking_peak = True
            highest = g
        elif count == 0 and curve[g] <= curve[highest] - swing:
            # The series begins inside a season: its rise was not observed.
            turns[0], turns[1] = begin, highest
            count = 2
            lowest = g
        if count >= 2 * MAX_SEASONS:
            break
    if seeking_peak:
        turns[count] = highest  # the last season's fall was not observed
        count += 1
    elif count == 0:
        reason[0] = NO_AMPLITUDE
        return
    # The valley after the last peak is the lowest point that follows it.
    end = turns[count - 1]
    for g in range(turns[count - 1], stop):
        if curve[g] < curve[end]:
            end = g
    turns[count] = end

    found = 0
    for p in range(1, count, 2):
        if found == MAX_SEASONS:
            break
        left, peak, right = turns[p - 1], turns[p], turns[p + 1]
        rise = curve[peak] - curve[left]
        fall = curve[peak] - curve[right]
        if rise < swing or fall < swing:
            continue  # the series begins or ends before its peak, whose height nobody has seen
        rise_seen = _base_observed(curve, left, begin, stop, rise, grid)
        fall_seen = _base_observed(curve, right, begin, stop, fall, grid)
        if not (rise_seen or fall_seen):
            continue
        middle = len(fractions)
        dates[found, middle] = grid[peak]
        amplitude[found] = 0.5 * (rise + fall) if rise_seen and fall_seen else max(rise, fall)
        reason[found] = FOUND if rise_seen and fall_seen else NOT_OBSERVED
        for k in range(middle):
            if rise_seen:
                level = curve[left] + fractions[k] * rise
                g = peak
                while curve[g - 1] > level:
                    g -= 1
                share = (curve[g] - level) / (curve[g] - curve[g - 1])
                day = grid[g] - share * (grid[g] - grid[g - 1])
                if _gap_at(t, w, n, day) <= max_gap:
                    dates[found, k] = day
                elif reason[found] == FOUND:
                    reason[found] = GAP
            if fall_seen:
                level = curve[right] + fractions[k] * fall
                g = peak
                while curve[g + 1] > level:
                    g += 1
                share = (curve[g] - level) / (curve[g] - curve[g + 1])
                day = grid[g] + share * (grid[g + 1] - grid[g])
                if _gap_at(t, w, n, day) <= max_gap:
                    dates[found, 2 * middle - k] = day
                elif reason[found] == FOUND:
                    reason[found] = GAP
        found += 1
    if found == 0:
        reason[0] = NOT_OBSERVED


@njit(cache=True)
def _base_observed(curve, valley, begin, stop, amplitude, grid):
    """Whether a valley is one, or only where the series begins or ends on a slope.

    Inside the series it is one. At an edge the curve must have been level for 20 days: it may not
    have changed by more than a tenth of the amplitude.
    """
    step = grid[1] - grid[0]
    reach = int(20.0 / step)
    if valley - begin > reach and stop - 1 - valley > reach:
        return True
    if valley - begin <= reach:
        here, there = begin, min(valley + reach, stop - 1)
    else:
        here, there = max(valley - reach, begin), stop - 1
    return (
        abs(curve[here] - curve[valley]) <= 0.1 * amplitude
        and abs(curve[there] - curve[valley]) <= 0.1 * amplitude
    )


@njit(cache=True)
def _gap_at(t, w, n, day):
    """Days between the observations on both sides of a day."""
    before, after = -np.inf, np.inf
    for k in range(n):
        if w[k] <= 0:
            continue
        if t[k] <= day:
            before = t[k]
        else:
            after = t[k]
            break
    return after - before
