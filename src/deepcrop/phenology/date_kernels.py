"""Kernels that date the seasons of smooth curves and give each date a 90 % interval.

A season runs from valley over peak to valley (:mod:`deepcrop.phenology.extrema`) and may cross New
Year. At a fraction f of its amplitude the start is the last upward crossing before the peak, the
end the first downward crossing after it (paper, section 3.1: 20 % and 50 %).

**Interval.** Three things move a date: noise, which moves the curve; the smoother, which changes
the form of a season; and gaps between observations. The curve near the date is uncertain by

    delta = sqrt((K_NOISE s)^2 v + (K_SHAPE A)^2),

with s the standard deviation of the observations about the curve, A the amplitude and v the sum of
the squared weights of the observations about the date over the square of their sum (the variance of
their mean, in units of s^2). The interval reaches to where the curve passes the level less and plus
delta: a date on a gentle slope is less certain than one on a steep slope. Each arm is then joined,
by the root of the squares, with K_GAP g^2 / (g + 40 days), where g is the time from the second
observation before to the second after the date. The factors were set on simulated series so that
90 % of the true dates lie inside; docs/validation.md has the coverage on others.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, FAST
from deepcrop.phenology.extrema import find_extrema, valley

REASONS = (
    "found",
    "too few observations",
    "amplitude too small",
    "not observed before",
    "not observed after",
    "gap over the event",
    "no such season",
)
"""Meaning of the reason codes."""
FOUND, TOO_FEW, TOO_SMALL, NOT_BEFORE, NOT_AFTER, GAP, NO_SUCH = range(len(REASONS))

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

INTERVAL = np.array([3.0, 0.07, 0.45, 0.4])
"""K_NOISE, K_SHAPE, K_GAP, and K_PEAK by which delta is multiplied at the peak."""
_NEAR = np.float32(17.0)
"""Days around a date whose observations determine the uncertainty of the curve there."""
_LONG = 40.0
"""Time between second neighbours beyond which the uncertainty grows as fast as the gap, days."""
_DEEP = 0.25
"""Largest share of the amplitude that the points of a valley may lie above its lowest one."""
_TOP_DAYS = 30.0
"""How long the curve must have been level at the edge of a series to count as a peak."""
_LEVEL_DAYS = 20.0
"""How long the curve must have been level at the edge of a series to count as a valley."""


@njit(cache=True, nogil=True, error_model="numpy")
def date_blocks(
    t, y, w, grid, curve, counts, origin, flat, min_amplitude, prominence, max_gap,
    min_observations, fractions, factors, dates, low, high, reason, measures, rows,
):  # fmt: skip
    """Seasons of the series of some blocks.

    Parameters
    ----------
    t, y, w, grid, curve
        As of the smoothers: (times,), 2 x (blocks, times, BLOCK), (points,), (blocks, points,
        BLOCK).
    counts : ndarray of float32 (blocks, BLOCK)
        Observations of each series, dropped ones included.
    origin : float32
        Added to each date.
    flat : float
        Share of the amplitude within which points belong to a valley.
    min_amplitude, prominence, max_gap, min_observations
        As of `deepcrop.phenology.SeasonRule`.
    fractions : ndarray of float32 (fractions,)
    factors : ndarray (4,)
        `INTERVAL`.
    dates, low, high : ndarray of float32 (pixels, seasons, stages)
        Filled; NaN where there is no date. The first series of the blocks comes first.
    reason : ndarray of uint8 (pixels, seasons, stages)
    measures : ndarray of float32 (pixels, seasons, measures)
        In units of ``curve``, whatever its level is.
        `MEASURES`.
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
        noise = _noise(t, y[block], w[block], grid, curve[block])
        neighbours = _neighbours(t, w[block])
        ends = _observed_range(grid, curve[block], neighbours[0, 2], neighbours[len(t), 0])
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
            begin, stop = int(ends[0, p]), int(ends[1, p])
            if counts[block, p] < min_observations or stop - begin < 3:
                for stage in range(dates.shape[2]):
                    reason[pixel, 0, stage] = TOO_FEW
                rows[pixel] = 1
                continue
            for g in range(len(grid)):
                line[g] = curve[block, g, p]
            rows[pixel] = _seasons(
                pixel, p, t, neighbours, rows_until, near, grid, line, begin, stop, ends[2, p],
                ends[3, p],
                noise[p], extrema, flat, min_amplitude, prominence, max_gap, fractions,
                factors, origin, dates, low, high, reason, measures,
            )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _neighbours(t, w):
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
def _observed_range(grid, curve, first, last):
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


@njit(cache=True, error_model="numpy")
def _seasons(
    pixel, p, t, neighbours, rows_until, near, grid, curve, begin, stop, bottom, top, noise,
    extrema, flat,
    min_amplitude, prominence, max_gap, fractions, factors, origin, dates, low, high,
    reason, measures,
):  # fmt: skip
    """Date the seasons of one pixel, series ``p`` of its block; returns the rows they take.

    Only the part between the first and the last observation that counts is read: from ``begin``
    to ``stop`` (`_observed_range`). For ``neighbours`` see `_neighbours`; ``rows_until`` holds, for
    each point of the grid, the number of times that are not later.
    """
    if not top - bottom >= min_amplitude:
        reason[pixel, 0] = TOO_SMALL
        return 1
    swing = max(min_amplitude, prominence * (top - bottom))
    count = find_extrema(curve, begin, stop, swing, extrema)
    middle = len(fractions)
    found = 0
    for k in range(1, count, 2):
        left, peak, right = extrema[k - 1], extrema[k], extrema[k + 1]
        rise, fall = curve[peak] - curve[left], curve[peak] - curve[right]
        if rise < swing and fall < swing:
            continue
        if found >= dates.shape[1]:
            found += 1  # no room: the caller repeats the call with more
            continue
        whole = rise >= swing and fall >= swing
        if not whole and not (
            curve[peak] > 0.5 * (bottom + top)
            and _is_level_peak(curve, grid, left, peak, right, 0.1 * max(rise, fall) + noise)
        ):
            # The series begins or ends on a slope: the height of the peak was not observed.
            reason[pixel, found] = NOT_BEFORE if rise < swing else NOT_AFTER
            found += 1
            continue
        if not _gap(neighbours, rows_until[peak], p, grid[peak]) <= 2 * max_gap:
            reason[pixel, found] = GAP  # the height of the peak is unknown
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
        base_left, _, inner_left = valley(
            curve, left, begin, peak, min(flat * rise + noise, _DEEP * rise)
        )
        base_right, inner_right, _ = valley(
            curve, right, peak, stop - 1, min(flat * fall + noise, _DEEP * fall)
        )
        # As of HR-VPP and TIMESAT: one base, the mean of both sides, and the height above it.
        if rise_seen and fall_seen:
            mean_base = 0.5 * (base_left + base_right)
        else:
            mean_base = base_left if rise_seen else base_right
        measures[pixel, found, 0] = curve[peak] - mean_base
        measures[pixel, found, 1] = mean_base
        measures[pixel, found, 2] = curve[peak]
        peak_factor = 1.0 if whole else 2.0  # the peak may have been higher
        steepest_rise, steepest_fall = _slopes(curve, inner_left, inner_right)
        step = grid[1] - grid[0]
        if rise_seen:
            measures[pixel, found, 5] = steepest_rise / step
        if fall_seen:
            measures[pixel, found, 6] = steepest_fall / step
        top_day = _peak_day(curve, grid, peak, begin, stop)
        dates[pixel, found, middle] = top_day
        around, gap = _support(neighbours, rows_until[peak], p, near[peak])
        delta = factors[3] * _curve_error(noise, around, peak_factor * amplitude, factors)
        early, late = _plateau(curve, grid, left, peak, right, curve[peak] - delta, top_day)
        gap_error = _gap_error(gap, factors)
        low[pixel, found, middle] = top_day - math.sqrt(early * early + gap_error * gap_error)
        high[pixel, found, middle] = top_day + math.sqrt(late * late + gap_error * gap_error)
        for f in range(middle):
            for side in (1, -1):
                stage = f if side > 0 else 2 * middle - f
                if not (rise_seen if side > 0 else fall_seen):
                    reason[pixel, found, stage] = NOT_BEFORE if side > 0 else NOT_AFTER
                    continue
                base = base_left if side > 0 else base_right
                end = left if side > 0 else right
                level = base + fractions[f] * (curve[peak] - base)
                g = peak
                while g != end and curve[g - side] > level:
                    g -= side
                if g == end:
                    reason[pixel, found, stage] = TOO_SMALL  # the curve never falls to the level
                    continue
                share = (curve[g] - level) / (curve[g] - curve[g - side])
                day = grid[g] - side * share * step
                after = rows_until[min(g, g - side)]
                while after < len(t) and t[after] <= day:
                    after += 1
                if not _gap(neighbours, after, p, day) <= max_gap:
                    reason[pixel, found, stage] = GAP
                    continue
                dates[pixel, found, stage] = day
                around, gap = _support(neighbours, after, p, near[g if share < 0.5 else g - side])
                delta = _curve_error(noise, around, peak_factor * amplitude, factors)
                early, late = _interval_arms(
                    curve, grid, min(end, peak), max(end, peak), g, side, level, delta, day
                )
                gap_error = _gap_error(gap, factors)
                low[pixel, found, stage] = day - math.sqrt(early * early + gap_error * gap_error)
                high[pixel, found, stage] = day + math.sqrt(late * late + gap_error * gap_error)
        # NaN unless both outermost dates are there.
        area = _area(curve, grid, dates[pixel, found, 0], dates[pixel, found, 2 * middle])
        days = dates[pixel, found, 2 * middle] - dates[pixel, found, 0]
        measures[pixel, found, 3] = area - mean_base * days
        measures[pixel, found, 4] = area
        # Lines and a parabola through the same points may cross by a fraction of a day.
        if dates[pixel, found, middle] < dates[pixel, found, middle - 1]:
            dates[pixel, found, middle] = dates[pixel, found, middle - 1]
        if dates[pixel, found, middle] > dates[pixel, found, middle + 1]:
            dates[pixel, found, middle] = dates[pixel, found, middle + 1]
        low[pixel, found, middle] = min(low[pixel, found, middle], dates[pixel, found, middle])
        high[pixel, found, middle] = max(high[pixel, found, middle], dates[pixel, found, middle])
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
def _gap(neighbours, row, p, day):
    """Days between the observations on both sides of a day; ``row`` is the first later time."""
    last = neighbours[row, 0, p]
    return np.float32(0.0) if last == day else neighbours[row, 2, p] - last


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


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "nnan", "nsz"})
def _slopes(curve, left, right):
    """Largest rise and fall of a season, from point to point."""
    rise = fall = np.float32(0.0)
    for g in range(left + 1, right + 1):
        rise = max(rise, curve[g] - curve[g - 1])
        fall = max(fall, curve[g - 1] - curve[g])
    return rise, fall


@njit(cache=True, error_model="numpy")
def _area(curve, grid, start, end):
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


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _noise(t, y, w, grid, curve):
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
        # Of normal residuals the mean of the roots, squared, is 0.676 standard deviations.
        root = total[p] / count[p]
        total[p] = root * root / np.float32(0.676)
    return total


@njit(cache=True, error_model="numpy")
def _support(neighbours, row, p, near):
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
def _curve_error(noise, v, amplitude, factors):
    """Uncertainty of the curve, ``delta`` (see the module)."""
    return math.sqrt((factors[0] * noise) ** 2 * v + (factors[1] * amplitude) ** 2)


@njit(cache=True, error_model="numpy")
def _gap_error(gap, factors):
    """Uncertainty of a date due to the gap it lies in, days."""
    return factors[2] * gap * gap / (gap + _LONG)


@njit(cache=True, error_model="numpy")
def _interval_arms(curve, grid, first, last, at, side, level, delta, day):
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
def _plateau(curve, grid, left, peak, right, level, top_day):
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
