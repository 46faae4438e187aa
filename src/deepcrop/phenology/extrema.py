"""Find the extrema of a curve, its valleys and peaks, by hysteresis."""

from __future__ import annotations

from numba import njit

HALF_YEAR = 182.0
"""Days about a peak whose range its prominence is a share of: years do not depend on each other."""


@njit(cache=True)
def observed_part(grid, days, n):
    """Find the part of the grid between the first and the last of ``n`` observations.

    Returns its first point, and the one after its last.
    """
    begin, stop = 0, len(grid)
    while begin < stop and (n == 0 or grid[begin] < days[0]):
        begin += 1
    while stop > begin and grid[stop - 1] > days[n - 1]:
        stop -= 1
    return begin, stop


@njit(cache=True)
def find_extrema(curve, begin, stop, swing, extrema):
    """Find the extrema of ``curve[begin:stop]``: valley, peak, valley, ..., peak, valley.

    A peak is confirmed when the curve has fallen from it by ``swing``, a valley when the curve has
    risen from it by ``swing``. A series that begins or ends within a season begins with a valley or
    ends with a peak that was not observed: the caller must check rise and fall.

    Parameters
    ----------
    curve : ndarray of float32 (points,)
    begin, stop : int
        The part of the curve that was observed.
    swing : float
        Least rise and fall.
    extrema : ndarray of int64 (points + 3,)
        Filled with indices into ``curve``.

    Returns
    -------
    count : int
        Number of extrema, odd; 0 if the curve never moves by ``swing``.
    """
    count = 0
    lowest = highest = begin
    low = high = curve[begin]
    seeking_peak = False
    g = begin
    # Until the first extremum the curve may be on its way up or down.
    while g < stop and count == 0:
        here = curve[g]
        if here < low:
            lowest, low = g, here
        if here > high:
            highest, high = g, here
        if here >= low + swing:
            extrema[0] = lowest
            count = 1
            seeking_peak = True
            highest, high = g, here
        elif here <= high - swing:
            # The series begins inside a season: its rise was not observed.
            extrema[0], extrema[1] = begin, highest
            count = 2
            lowest, low = g, here
        g += 1
    while g < stop:
        if seeking_peak:
            while g < stop and not curve[g] <= high - swing:  # NaN is no extremum
                if curve[g] > high:
                    highest, high = g, curve[g]
                g += 1
            if g < stop:
                extrema[count] = highest
                count += 1
                seeking_peak = False
                lowest, low = g, curve[g]
        else:
            while g < stop and not curve[g] >= low + swing:
                if curve[g] < low:
                    lowest, low = g, curve[g]
                g += 1
            if g < stop:
                extrema[count] = lowest
                count += 1
                seeking_peak = True
                highest, high = g, curve[g]
        g += 1
    if seeking_peak:
        extrema[count] = highest  # the last season's fall was not observed
        count += 1
    elif count == 0:
        return 0
    # The valley after the last peak is the lowest point that follows it.
    end = extrema[count - 1]
    low = curve[end]
    for g in range(end, stop):
        if curve[g] < low:
            end, low = g, curve[g]
    extrema[count] = end
    return count + 1


@njit(cache=True, error_model="numpy")
def local_range(curve, at, begin, stop, reach):
    """Range of ``curve[begin:stop]`` within ``reach`` points of one."""
    low = high = curve[at]
    for g in range(max(at - reach, begin), min(at + reach + 1, stop)):
        low, high = min(low, curve[g]), max(high, curve[g])
    return high - low


@njit(cache=True, error_model="numpy")
def merge_shallow(curve, extrema, count, begin, stop, reach, prominence):
    """Merge peaks with a shallow valley between, as a share of the range around the lower one.

    That is the range of the year around and not of the series, so that one outstanding year takes
    no season from the others.

    Parameters
    ----------
    curve, begin, stop, extrema
        As of `find_extrema`; ``extrema`` is changed.
    count : int
        Number of extrema.
    reach : int
        Points of the curve on both sides of a peak that are around it.
    prominence : float
        Least depth below the lower peak.

    Returns
    -------
    count : int
        Number of extrema that are left.
    """
    while count > 3:
        shallowest, at = prominence, -1
        for k in range(2, count - 1, 2):
            lower = extrema[k - 1]
            if curve[extrema[k + 1]] < curve[lower]:
                lower = extrema[k + 1]
            depth = curve[lower] - curve[extrema[k]]
            share = depth / local_range(curve, lower, begin, stop, reach)
            if share < shallowest:
                shallowest, at = share, k
        if at < 0:
            break
        # The lower peak goes, and of the valleys beside it the higher.
        peak = at - 1 if curve[extrema[at - 1]] < curve[extrema[at + 1]] else at + 1
        gone = peak - 1 if curve[extrema[peak - 1]] > curve[extrema[peak + 1]] else peak + 1
        first = min(peak, gone)
        for k in range(first, count - 2):
            extrema[k] = extrema[k + 2]
        count -= 2
    return count


@njit(cache=True, error_model="numpy")
def valley(curve, lowest, first, last, tolerance):
    """Level and reach of a valley.

    The lowest point of a noisy curve lies below the true base. The level is therefore the mean of
    the points about it that lie less than ``tolerance`` above it.

    Parameters
    ----------
    curve : ndarray of float32 (points,)
    lowest : int
        Index of the lowest point.
    first, last : int
        How far the valley may reach.
    tolerance : float
        In units of the curve.

    Returns
    -------
    level : float
    begin, end : int
        First and last point of the valley.
    """
    limit = curve[lowest] + tolerance
    total = curve[lowest]
    begin = end = lowest
    while begin > first and curve[begin - 1] < limit:
        begin -= 1
        total += curve[begin]
    while end < last and curve[end + 1] < limit:
        end += 1
        total += curve[end]
    return total / (end - begin + 1), begin, end
