"""Kernels that date the seasons of smooth curves and give each date a 90 % interval.

A season runs from valley over peak to valley (:mod:`deepcrop.phenology.extrema`) and may cross New
Year. At a fraction f of its amplitude the start is the last upward crossing before the peak, the
end the first downward crossing after it (paper, section 3.1: 20 % and 50 %).
Intervals: :mod:`deepcrop.phenology.date_intervals`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK
from deepcrop.phenology.date_intervals import (
    curve_error,
    gap_error,
    interval_arms,
    plateau,
    support,
)
from deepcrop.phenology.extrema import (
    HALF_YEAR,
    find_extrema,
    local_range,
    merge_shallow,
    valley,
)
from deepcrop.phenology.observations import (
    gap_around,
    gap_of_one,
    neighbours_of,
    observed_range,
    residual_noise,
)
from deepcrop.phenology.season_measures import area, base_level, slopes, top_level, upper_half

REASONS = (
    "found",
    "too few observations",
    "amplitude too small",
    "not observed before",
    "not observed after",
    "gap over the event",
    "no such season",
    "season longer than a year",
    "no more than noise",
)
"""Meaning of the reason codes."""
(
    FOUND, TOO_FEW, TOO_SMALL, NOT_BEFORE, NOT_AFTER, GAP, NO_SUCH, TOO_LONG, NOISE
) = range(len(REASONS))  # fmt: skip

MEASURES = (
    "amplitude",
    "base",
    "maximum",
    "small_integral",
    "large_integral",
    "slope_up",
    "slope_down",
)
"""Measures of a season beside its dates."""

_NEAR = np.float32(17.0)
"""Days around a date whose observations determine the uncertainty of the curve there."""
_SIGMAS = 5.4
"""Standard errors by which the upper half of a season lies above its base: of a hundred series that
are nothing but noise, for three years or one, fewer than one have a season."""
_SIDE_SIGMAS = 3.0
"""Standard errors by which it lies above the base of each side that was seen."""
_ALONE = 0.6
"""Variance of the mean of observations, in units of theirs, from which on it is that of one."""
_TOP_DAYS = 30.0
"""How long the curve must have been level at the edge of a series to count as a peak."""
_LEVEL_DAYS = 20.0
"""How long the curve must have been level at the edge of a series to count as a valley."""


@njit(cache=True, nogil=True, error_model="numpy")
def date_blocks(
    t, y, w, grid, curve, counts, scatter, origin, min_amplitude, prominence, max_gap,
    min_observations, fractions, factors, dates, low, high, reason, measures, refused, rows,
):  # fmt: skip
    """Seasons of the series of some blocks.

    Parameters
    ----------
    t, y, w, grid, curve
        As of the smoothers: (times,), 2 x (blocks, times, BLOCK), (points,), (blocks, points,
        BLOCK).
    counts : ndarray of float32 (blocks, BLOCK)
        Observations of each series, dropped ones included.
    scatter : ndarray of float32 (blocks, BLOCK)
        Their noise, dropped ones included (`scatter_of`).
    origin : float32
        Added to each date.
    min_amplitude, prominence, max_gap, min_observations
        As of `deepcrop.phenology.SeasonRule`.
    fractions : ndarray of float32 (fractions,)
    factors : ndarray (5,) or (0,)
        `INTERVAL`; empty: no intervals.
    dates, low, high : ndarray of float32 (pixels, seasons, stages)
        Filled; NaN where there is no date. The first series of the blocks comes first.
    reason : ndarray of uint8 (pixels, seasons, stages)
    measures : ndarray of float32 (pixels, seasons, measures)
        `MEASURES`, in units of ``curve``, whatever its level is.
    refused : ndarray of float32 (pixels, seasons, 2)
        Day of the peak and amplitude, as the curve has them, of each season that got no dates,
        where observations tell of both.
    rows : ndarray of int (pixels,)
        Rows that each series has or would have if there were room.
    """
    nothing = np.float32(np.nan)
    line = np.empty(len(grid), np.float32)
    extrema = np.empty(len(grid) + 3, np.int64)
    # Of each point of the grid: number of times that are not later; rows of the times near it.
    rows_until = np.empty(len(grid), np.int64)
    near = np.empty((len(grid), 2), np.int64)
    until = start = end = 0
    for g in range(len(grid)):
        while until < len(t) and t[until] <= grid[g]:
            until += 1
        while start < len(t) and t[start] <= grid[g] - _NEAR:
            start += 1
        while end < len(t) and t[end] < grid[g] + _NEAR:
            end += 1
        rows_until[g], near[g, 0], near[g, 1] = until, start, end
    for block in range(len(y)):
        first = block * BLOCK
        noise = residual_noise(t, y[block], w[block], grid, curve[block])
        neighbours = neighbours_of(t, w[block])
        ends = observed_range(grid, curve[block], neighbours[0, 2], neighbours[len(t), 0])
        for p in range(min(BLOCK, len(dates) - first)):
            pixel = first + p
            for season in range(dates.shape[1]):
                for stage in range(dates.shape[2]):
                    dates[pixel, season, stage] = nothing
                    low[pixel, season, stage] = nothing
                    high[pixel, season, stage] = nothing
                    reason[pixel, season, stage] = FOUND
                for k in range(len(MEASURES)):
                    measures[pixel, season, k] = nothing
                refused[pixel, season] = nothing
            begin, stop = int(ends[0, p]), int(ends[1, p])
            if counts[block, p] < min_observations or stop - begin < 3:
                for stage in range(dates.shape[2]):
                    reason[pixel, 0, stage] = TOO_FEW
                rows[pixel] = 1
                continue
            for g in range(len(grid)):
                line[g] = curve[block, g, p]
            spread = noise[p] if np.isnan(scatter[block, p]) else scatter[block, p]
            rows[pixel] = _seasons(
                pixel, p, y[block], w[block], t, neighbours, rows_until, near, grid, line, begin,
                stop, ends[2, p], ends[3, p], noise[p], spread, extrema, min_amplitude,
                prominence, max_gap, fractions, factors, origin, dates, low, high, reason, measures,
                refused,
            )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _seasons(
    pixel, p, y, w, t, neighbours, rows_until, near, grid, curve, begin, stop, bottom, top, noise,
    scatter, extrema, min_amplitude, prominence, max_gap, fractions, factors, origin, dates, low,
    high, reason, measures, refused,
):  # fmt: skip
    """Date the seasons of one pixel, series ``p`` of its block; returns the rows they take.

    Only the part between the first and the last observation that counts is read: from ``begin``
    to ``stop`` (`observed_range`). For ``neighbours`` see `neighbours_of`; ``rows_until`` holds the
    number of times that are not later than each point of the grid; ``noise`` is that about the
    curve and ``scatter`` that of all observations.
    """
    if not top - bottom >= min_amplitude:
        reason[pixel, 0] = TOO_SMALL
        return 1
    count = find_extrema(curve, begin, stop, min_amplitude, extrema)
    reach = int(HALF_YEAR / (grid[1] - grid[0]))
    count = merge_shallow(curve, extrema, count, begin, stop, reach, prominence)
    middle = len(fractions)
    found = 0
    for k in range(1, count, 2):
        left, peak, right = extrema[k - 1], extrema[k], extrema[k + 1]
        swing = max(min_amplitude, prominence * local_range(curve, peak, begin, stop, reach))
        rise, fall = curve[peak] - curve[left], curve[peak] - curve[right]
        if rise < swing and fall < swing:
            continue
        if found >= dates.shape[1]:
            found += 1  # no room: the caller repeats the call with more
            continue
        # Until it has dates: it may be stronger than the seasons of its year that have them.
        refused[pixel, found, 0] = grid[peak] + origin
        refused[pixel, found, 1] = max(rise, fall)
        whole = rise >= swing and fall >= swing
        # The peaks on both sides, or the ends of the series.
        before = begin if k == 1 else extrema[k - 2]
        after = stop - 1 if k + 2 >= count else extrema[k + 2]
        if not whole and not (
            curve[peak] > 0.5 * (bottom + top)
            and _is_level_peak(curve, grid, before, peak, after, 0.1 * max(rise, fall) + noise)
        ):
            # The series begins or ends on a slope: the height of the peak was not observed. Before
            # the first observation its year is unknown; a crop that still grows is of this one.
            reason[pixel, found] = NOT_BEFORE if rise < swing else NOT_AFTER
            if rise < swing:
                refused[pixel, found] = np.float32(np.nan)
            found += 1
            continue
        if not gap_around(neighbours, rows_until[peak], p, grid[peak]) <= 2 * max_gap:
            reason[pixel, found] = GAP  # the height of the peak is unknown
            refused[pixel, found] = np.float32(np.nan)  # and so is its strength
            found += 1
            continue
        rise_seen = rise >= swing and _is_valley(curve, left, begin, stop, grid, 0.1 * rise + noise)
        fall_seen = fall >= swing and _is_valley(
            curve, right, begin, stop, grid, 0.1 * fall + noise
        )
        # A side nearly as deep as the observed one counts as observed.
        if rise_seen and fall >= max(0.9 * rise, swing):
            fall_seen = True
        elif fall_seen and rise >= max(0.9 * fall, swing):
            rise_seen = True
        if not (rise_seen or fall_seen):
            reason[pixel, found, :middle] = NOT_BEFORE
            reason[pixel, found, middle:] = NOT_AFTER
            found += 1
            continue
        amplitude = 0.5 * (rise + fall) if rise_seen and fall_seen else max(rise, fall)
        base_left, v_left = base_level(
            t, y, w, p, rows_until, grid, curve, before, peak, left, curve[peak], noise
        )  # fmt: skip
        base_right, v_right = base_level(
            t, y, w, p, rows_until, grid, curve, peak, after, right, curve[peak], noise
        )  # fmt: skip
        # As of HR-VPP and TIMESAT: one base, the mean of both sides, and the height above it.
        if rise_seen and fall_seen:
            higher = max(base_left, base_right)
            mean_base, v_base = 0.5 * (base_left + base_right), 0.25 * (v_left + v_right)
        else:
            mean_base, v_base = (base_left, v_left) if rise_seen else (base_right, v_right)
            higher = mean_base
        around, gap = support(neighbours, rows_until[peak], p, near[peak])
        height = top_level(
            t, y, w, p, rows_until, grid, curve, left, right, peak, higher, noise, around
        )
        # What noise alone makes of a curve is no season, and neither is one observation in a gap.
        half = 0.5 * (height + higher)
        mean, v = upper_half(t, y, w, p, rows_until, grid, curve, left, peak, right, half)
        if (
            not mean - mean_base > _SIGMAS * scatter * math.sqrt(v + v_base)
            or (rise_seen and mean - base_left < _SIDE_SIGMAS * scatter * math.sqrt(v + v_left))
            or (fall_seen and mean - base_right < _SIDE_SIGMAS * scatter * math.sqrt(v + v_right))
        ):
            reason[pixel, found] = NOISE
            found += 1
            continue
        if v > _ALONE and gap_of_one(neighbours, rows_until[peak], p, grid[peak]) > max_gap:
            reason[pixel, found] = GAP
            found += 1
            continue
        refused[pixel, found] = np.float32(np.nan)
        measures[pixel, found, 0] = height - mean_base
        measures[pixel, found, 1] = mean_base
        measures[pixel, found, 2] = height
        peak_factor = 1.0 if whole else 2.0  # the peak may have been higher
        steepest_rise, steepest_fall = slopes(curve, left, right)
        step = grid[1] - grid[0]
        if rise_seen:
            measures[pixel, found, 5] = steepest_rise / step
        if fall_seen:
            measures[pixel, found, 6] = steepest_fall / step
        top_day = _peak_day(curve, grid, peak, begin, stop)
        dates[pixel, found, middle] = top_day
        if len(factors) > 0:
            delta = factors[3] * curve_error(noise, around, peak_factor * amplitude, 0.0, factors)
            early, late = plateau(curve, grid, left, peak, right, curve[peak] - delta, top_day)
            gap_days = gap_error(gap, factors)
            low[pixel, found, middle] = top_day - math.sqrt(early * early + gap_days * gap_days)
            high[pixel, found, middle] = top_day + math.sqrt(late * late + gap_days * gap_days)
        for f in range(middle):
            for side in (1, -1):
                stage = f if side > 0 else 2 * middle - f
                if not (rise_seen if side > 0 else fall_seen):
                    reason[pixel, found, stage] = NOT_BEFORE if side > 0 else NOT_AFTER
                    continue
                base = base_left if side > 0 else base_right
                end = left if side > 0 else right
                level = base + fractions[f] * (height - base)
                g = peak
                while g != end and curve[g - side] > level:
                    g -= side
                if g == end:
                    reason[pixel, found, stage] = TOO_SMALL  # the curve never falls to the level
                    continue
                share = (curve[g] - level) / (curve[g] - curve[g - side])
                day = grid[g] - side * share * step
                later = rows_until[min(g, g - side)]
                while later < len(t) and t[later] <= day:
                    later += 1
                if not gap_around(neighbours, later, p, day) <= max_gap:
                    reason[pixel, found, stage] = GAP
                    continue
                dates[pixel, found, stage] = day
                if len(factors) == 0:
                    continue
                around, gap = support(neighbours, later, p, near[g if share < 0.5 else g - side])
                v_side = v_left if side > 0 else v_right
                base_error = (1 - fractions[f]) * noise * math.sqrt(v_side)
                delta = curve_error(noise, around, peak_factor * amplitude, base_error, factors)
                early, late = interval_arms(
                    curve, grid, min(end, peak), max(end, peak), g, side, level, delta, day
                )
                gap_days = gap_error(gap, factors)
                low[pixel, found, stage] = day - math.sqrt(early * early + gap_days * gap_days)
                high[pixel, found, stage] = day + math.sqrt(late * late + gap_days * gap_days)
        # NaN unless both outermost dates are there.
        whole_area = area(curve, grid, dates[pixel, found, 0], dates[pixel, found, 2 * middle])
        days = dates[pixel, found, 2 * middle] - dates[pixel, found, 0]
        measures[pixel, found, 3] = whole_area - mean_base * days
        measures[pixel, found, 4] = whole_area
        # Lines and a parabola through the same points may cross by a fraction of a day.
        if dates[pixel, found, middle] < dates[pixel, found, middle - 1]:
            dates[pixel, found, middle] = dates[pixel, found, middle - 1]
        if dates[pixel, found, middle] > dates[pixel, found, middle + 1]:
            dates[pixel, found, middle] = dates[pixel, found, middle + 1]
        if len(factors) > 0:
            day = dates[pixel, found, middle]
            low[pixel, found, middle] = min(low[pixel, found, middle], day)
            high[pixel, found, middle] = max(high[pixel, found, middle], day)
        for stage in range(2 * middle + 1):
            dates[pixel, found, stage] += origin
            low[pixel, found, stage] += origin
            high[pixel, found, stage] += origin
        found += 1
    if found == 0:
        reason[pixel, 0] = TOO_SMALL
        return 1
    return found


@njit(cache=True, error_model="numpy")
def _is_valley(curve, lowest, begin, stop, grid, tolerance):
    """Whether a lowest point is a valley, and not the edge of a series on a slope.

    Inside the series it is a valley. At an edge the curve must have been level for a while.
    """
    step = grid[1] - grid[0]
    if (lowest - begin) * step > _LEVEL_DAYS and (stop - 1 - lowest) * step > _LEVEL_DAYS:
        return True
    _, first, last = valley(curve, lowest, begin, stop - 1, tolerance)
    return (last - first) * step >= _LEVEL_DAYS


@njit(cache=True, error_model="numpy")
def _is_level_peak(curve, grid, left, peak, right, tolerance):
    """Whether the curve was level around a peak for a while."""
    limit = curve[peak] - tolerance
    a = b = peak
    while a > left and curve[a - 1] > limit:
        a -= 1
    while b < right and curve[b + 1] > limit:
        b += 1
    return (b - a) * (grid[1] - grid[0]) >= _TOP_DAYS


@njit(cache=True, error_model="numpy")
def _peak_day(curve, grid, peak, begin, stop):
    """Day of the vertex of the parabola through the highest point and the points beside it."""
    if peak == begin or peak == stop - 1:
        return grid[peak]
    bend = 2 * curve[peak] - curve[peak - 1] - curve[peak + 1]
    if not bend > 0:
        return grid[peak]
    return grid[peak] + 0.5 * (grid[1] - grid[0]) * (curve[peak + 1] - curve[peak - 1]) / bend
