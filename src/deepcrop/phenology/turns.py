"""Valleys and peaks of a curve, by hysteresis."""

from __future__ import annotations

from numba import njit


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
def find_turns(curve, begin, stop, swing, turns):
    """Find the turns of ``curve[begin:stop]``: valley, peak, valley, ..., peak, valley.

    A peak counts once the curve has fallen from it by ``swing``, a valley once it has risen from
    it by as much. A series that begins or ends inside a season begins with a valley or ends with
    a peak nobody has seen: the caller looks at rise and fall.

    Parameters
    ----------
    curve : ndarray of float32 (points,)
    begin, stop : int
        The part of the curve that was observed.
    swing : float
        Least rise and fall.
    turns : ndarray of int64 (points + 3,)
        Filled with indices into ``curve``.

    Returns
    -------
    count : int
        Turns found, odd; 0 if the curve never moves by ``swing``.
    """
    count = 0
    lowest = highest = begin
    seeking_peak = False
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
    if seeking_peak:
        turns[count] = highest  # the last season's fall was not observed
        count += 1
    elif count == 0:
        return 0
    # The valley after the last peak is the lowest point that follows it.
    end = turns[count - 1]
    for g in range(turns[count - 1], stop):
        if curve[g] < curve[end]:
            end = g
    turns[count] = end
    return count + 1


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
