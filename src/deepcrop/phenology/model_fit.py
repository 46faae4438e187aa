"""Fit model functions to many seasons, `BLOCK` of them at a time, by Levenberg-Marquardt steps.

The seasons of a SIMD block stand side by side, in float32. One pass over their observations gives
cost, gradient and normal equations of the parameters to be tried; a season that accepts them has
its next equations at once. A season that has converged hands its place to the next one, so that no
place waits for the slowest. Seasons with equally many observations are fitted together.

No season reads another, and what it is fitted with never changes the order of its sums: a season
without company has the same parameters to the bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deepcrop.phenology.blocks import BLOCK, FAST

DOUBLE_LOGISTIC, ASYMMETRIC_GAUSSIAN = 0, 1
SIZE = 8
"""Most parameters of a model function; the double logistic has one less."""
(
    LEFT, PEAK, RIGHT, FIRST, LAST, BEGIN, STOP, BLOCK_OF, LANE, ROW, ROWS, NUMBER
) = range(12)  # fmt: skip
"""Columns of a table of seasons: points of the grid (valley, peak, valley; ends of the part that
is fitted; ends of the part that was observed), block and lane of the series, the first row of the
observations that are fitted, their number with and without the missing ones."""

_STEPS, _ATTEMPTS = 12, 6
_TOGETHER = 4
"""Observations that are added to the normal equations at a time."""
_LEVEL_SPREAD, _DAY_SPREAD, _LOG_SPREAD = 0.3, 30.0, 0.5
"""Standard deviation of a parameter about its start: levels (amplitudes), days, logarithms."""
_RESIDUAL = 0.05
"""A parameter one spread away costs as much as one observation this share of the amplitude away."""
_SPREADS = np.array(
    [
        [_LEVEL_SPREAD] * 3 + [_DAY_SPREAD, _LOG_SPREAD] * 2 + [_LOG_SPREAD],
        [_LEVEL_SPREAD] * 3 + [_DAY_SPREAD] + [_LOG_SPREAD] * 4,
    ]
)
_HOLD = ((_RESIDUAL / _SPREADS) ** 2).astype(np.float32)

_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-6)
_FAR, _FLAT, _MOST_LOG = np.float32(40), np.float32(4), np.float32(20)
"""Arguments of exponentials are kept within these, so that no trial gives infinities."""
_LOG2_E, _ROUND = np.float32(1.44269504), np.float32(3 * 2**22)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_EXP = tuple(
    np.array(
        [
            *(5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3),
            *(1.3981999507e-3, 1.9875691500e-4),
        ],
        np.float32,
    )
)
_LOG = tuple(
    np.array(
        [
            *(-0.5, 3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1),
            *(1.4249322787e-1, -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1),
            *(7.0376836292e-2,),
        ],
        np.float32,
    )
)
"""Coefficients of the polynomials of the Cephes library (expf, logf), from the second power up."""


@njit(cache=True, forceinline=True, error_model="numpy", fastmath=FAST)
def exponential(x):
    """Exponential of a float32 between -87 and 88, within 2 units in the last place.

    Numba's own is a call for each value, of which LLVM makes no vector code.
    """
    shifted = x * _LOG2_E + _ROUND  # the last bits hold the nearest whole number
    n = shifted - _ROUND
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = ((((_EXP[5] * r + _EXP[4]) * r + _EXP[3]) * r + _EXP[2]) * r + _EXP[1]) * r + _EXP[0]
    bits = (np.float32(shifted).view(np.int32) << 23) + 0x3F800000  # of 2^n
    return (series * r * r + r + _ONE) * np.int32(bits).view(np.float32)


@njit(cache=True, forceinline=True, error_model="numpy", fastmath=FAST)
def logarithm(x):
    """Natural logarithm of a positive normal float32, as of `exponential`."""
    bits = np.float32(x).view(np.int32)
    power = np.int32(bits - 0x3F3504F3) >> 23  # so that the rest is between root 1/2 and root 2
    m = np.int32(bits - (power << 23)).view(np.float32) - _ONE
    n = np.float32(np.int32(power))
    series = (((_LOG[9] * m + _LOG[8]) * m + _LOG[7]) * m + _LOG[6]) * m + _LOG[5]
    series = (((series * m + _LOG[4]) * m + _LOG[3]) * m + _LOG[2]) * m + _LOG[1]
    square = m * m
    return m + _LOG[0] * square + series * m * square + n * _LN2_LOW + n * _LN2_HIGH


@njit(cache=True, forceinline=True, error_model="numpy", fastmath=FAST)
def bounded_exponential(x):
    """Exponential of a logarithm that a trial may have sent anywhere."""
    return exponential(min(max(x, -_MOST_LOG), _MOST_LOG))


@njit(cache=True, forceinline=True, error_model="numpy", fastmath=FAST)
def double_logistic(day, base1, base2, top, half1, half2, steepness1, steepness2):
    """Value of a double logistic, and its derivatives by the parameters as they are fitted."""
    x1 = min(max((day - half1) * steepness1, -_FAR), _FAR)
    x2 = min(max((day - half2) * steepness2, -_FAR), _FAR)
    s1 = _ONE / (_ONE + exponential(-x1))
    s2 = _ONE / (_ONE + exponential(-x2))
    rise, fall = (top - base1) * s1, (top - base2) * s2
    slope1, slope2 = rise * (_ONE - s1), fall * (_ONE - s2)
    return (
        base1 + rise - fall,
        _ONE - s1,
        s2,
        s1 - s2,
        -slope1 * steepness1,
        -slope1 * x1,
        slope2 * steepness2,
        slope2 * x2,
    )


@njit(cache=True, forceinline=True, error_model="numpy", fastmath=FAST)
def asymmetric_gaussian(day, base1, base2, top, middle, width1, power1, width2, power2):
    """Value of an asymmetric Gaussian, and its derivatives; widths are logarithms.

    The derivatives are those by the base of the side where the day is, by top and middle, and by
    the logarithms of width and power of that side; 1 after the middle, or 0, comes last.
    """
    # Which side is arithmetic: of a choice between two loads LLVM makes no vector code.
    x = day - middle
    after = _ZERO if x < _ZERO else _ONE
    base = base1 + after * (base2 - base1)
    power = power1 + after * (power2 - power1)
    log_share = logarithm(max(abs(x), _TINY)) - (width1 + after * (width2 - width1))
    u = exponential(min(max(power * log_share, -_FAR), _FLAT))  # beyond, the bell is 0
    bell = exponential(-u)
    slope = (top - base) * bell * u * power
    return (
        base + (top - base) * bell,
        _ONE - bell,
        bell,
        slope * x / (x * x + _TINY * _TINY),  # 0 in the middle
        slope,
        -slope * log_share,
        after,
    )


@njit(cache=True, error_model="numpy", fastmath=FAST)
def model_values(days, kind, theta, values):
    """Fill ``values`` with the model function of ``theta`` at ``days``; all float32."""
    b1, b2, top = theta[0], theta[1], theta[2]
    if kind == DOUBLE_LOGISTIC:
        half1, half2 = theta[3], theta[5]
        steep1, steep2 = bounded_exponential(-theta[4]), bounded_exponential(-theta[6])
        for g in range(len(days)):
            values[g] = double_logistic(days[g], b1, b2, top, half1, half2, steep1, steep2)[0]
    else:
        middle, width1, width2 = theta[3], theta[4], theta[6]
        power1, power2 = bounded_exponential(theta[5]), bounded_exponential(theta[7])
        for g in range(len(days)):
            values[g] = asymmetric_gaussian(
                days[g], b1, b2, top, middle, width1, power1, width2, power2
            )[0]


@njit(cache=True, inline="always", error_model="numpy", fastmath=FAST)
def _double_logistic_rows(seen, k, trial, rows):
    """Fill ``rows`` with residuals of the observations from ``k`` on, and their derivatives.

    See `normal_equations`; each is multiplied by the root of the weight.
    """
    for c in range(len(rows)):
        for p in range(BLOCK):
            day, value, root = seen[k + c, 0, p], seen[k + c, 1, p], seen[k + c, 2, p]
            f, g0, g1, g2, g3, g4, g5, g6 = double_logistic(
                day, trial[0, p], trial[1, p], trial[2, p], trial[3, p], trial[5, p],
                trial[8, p], trial[9, p],
            )  # fmt: skip
            rows[c, 0, p] = root * g0
            rows[c, 1, p] = root * g1
            rows[c, 2, p] = root * g2
            rows[c, 3, p] = root * g3
            rows[c, 4, p] = root * g4
            rows[c, 5, p] = root * g5
            rows[c, 6, p] = root * g6
            rows[c, 7, p] = root * (value - f)


@njit(cache=True, inline="always", error_model="numpy", fastmath=FAST)
def _asymmetric_gaussian_rows(seen, k, trial, rows):
    """As `_double_logistic_rows`; the parameters of the other side have the derivative 0."""
    for c in range(len(rows)):
        for p in range(BLOCK):
            day, value, root = seen[k + c, 0, p], seen[k + c, 1, p], seen[k + c, 2, p]
            f, by_base, by_top, by_middle, by_width, by_power, after = asymmetric_gaussian(
                day, trial[0, p], trial[1, p], trial[2, p], trial[3, p], trial[4, p],
                trial[8, p], trial[6, p], trial[9, p],
            )  # fmt: skip
            root2 = root * after
            root1 = root - root2
            rows[c, 0, p] = root1 * by_base
            rows[c, 1, p] = root2 * by_base
            rows[c, 2, p] = root * by_top
            rows[c, 3, p] = root * by_middle
            rows[c, 4, p] = root1 * by_width
            rows[c, 5, p] = root1 * by_power
            rows[c, 6, p] = root2 * by_width
            rows[c, 7, p] = root2 * by_power
            rows[c, 8, p] = root * (value - f)


@njit(cache=True, inline="always", error_model="numpy", fastmath=FAST)
def normal_equations(seen, number, kind, size, start, trial, rows, sums):
    """Sum the normal equations of ``trial``; the lower triangle of (size + 1, size + 1, BLOCK).

    The last row is the right side, its last value the cost. ``seen`` are the days, values and
    roots of weights of the observations (observations, 3, BLOCK), ``start`` the parameters near
    which a penalty holds those fitted. ``rows`` is working memory.
    """
    for i in range(size):
        hold = _HOLD[kind, i]
        for p in range(BLOCK):
            sums[i, i, p] = hold
        for j in range(i):
            for p in range(BLOCK):
                sums[i, j, p] = _ZERO
    for p in range(BLOCK):
        sums[size, size, p] = _ZERO
    for i in range(size):
        hold = _HOLD[kind, i]
        for p in range(BLOCK):
            away = start[i, p] - trial[i, p]
            sums[size, i, p] = hold * away
            sums[size, size, p] += hold * away * away
    sign = -_ONE if kind == DOUBLE_LOGISTIC else _ONE
    last = 6 if kind == DOUBLE_LOGISTIC else 7
    for p in range(BLOCK):
        trial[8, p] = bounded_exponential(sign * trial[last - 2, p])
        trial[9, p] = bounded_exponential(sign * trial[last, p])
    for k in range(0, number, _TOGETHER):
        if kind == DOUBLE_LOGISTIC:
            _double_logistic_rows(seen, k, trial, rows)
        else:
            _asymmetric_gaussian_rows(seen, k, trial, rows)
        for i in range(size + 1):
            for j in range(i + 1):
                for p in range(BLOCK):
                    sums[i, j, p] += (
                        rows[0, i, p] * rows[0, j, p]
                        + rows[1, i, p] * rows[1, j, p]
                        + rows[2, i, p] * rows[2, j, p]
                        + rows[3, i, p] * rows[3, j, p]
                    )


@njit(cache=True, inline="always", error_model="numpy", fastmath=FAST)
def solve(normal, damping, size, step):
    """Solve damped normal equations (LDL', the right side as one more row); fills ``step``.

    Sums have eight terms whatever the row, those beyond it 0: LLVM would unroll shorter loops over
    the seasons and make no vector code of them.
    """
    lower = np.zeros((SIZE + 1, SIZE, BLOCK), np.float32)
    row = np.zeros((SIZE, BLOCK), np.float32)
    inverse = np.zeros((SIZE, BLOCK), np.float32)
    fresh = np.empty(BLOCK, np.float32)
    for i in range(size):
        for p in range(BLOCK):
            step[i, p] = _ZERO
    for i in range(size + 1):
        for j in range(i):
            for p in range(BLOCK):
                fresh[p] = normal[i, j, p] - (
                    row[0, p] * lower[j, 0, p]
                    + row[1, p] * lower[j, 1, p]
                    + row[2, p] * lower[j, 2, p]
                    + row[3, p] * lower[j, 3, p]
                    + row[4, p] * lower[j, 4, p]
                    + row[5, p] * lower[j, 5, p]
                    + row[6, p] * lower[j, 6, p]
                    + row[7, p] * lower[j, 7, p]
                )
            for p in range(BLOCK):
                row[j, p] = fresh[p]
        for p in range(BLOCK):
            total = normal[i, i, p] * (_ONE + damping[p])
            for k in range(SIZE):
                share = row[k, p] * inverse[k, p]
                lower[i, k, p] = share
                total -= row[k, p] * share
            fresh[p] = _ONE / total
        if i < size:
            for p in range(BLOCK):
                inverse[i, p] = fresh[p]
    backward = np.arange(size - 1, -1, -1)
    for n in range(size):
        i = backward[n]
        for p in range(BLOCK):
            fresh[p] = lower[size, i, p] - (
                step[0, p] * lower[0, i, p]
                + step[1, p] * lower[1, i, p]
                + step[2, p] * lower[2, i, p]
                + step[3, p] * lower[3, i, p]
                + step[4, p] * lower[4, i, p]
                + step[5, p] * lower[5, i, p]
                + step[6, p] * lower[6, i, p]
                + step[7, p] * lower[7, i, p]
            )
        for p in range(BLOCK):
            step[i, p] = fresh[p]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def fit_seasons(t, y, w, grid, kind, seasons, count, tops, amplitudes, thetas):
    """Fit the parameters of seasons.

    Parameters
    ----------
    t : ndarray of float32 (times,)
    y, w : ndarray of float32 (blocks, times, BLOCK)
        Observations and weights.
    grid : ndarray of float32 (points,)
    kind : int
        `DOUBLE_LOGISTIC` or `ASYMMETRIC_GAUSSIAN`.
    seasons : ndarray of int (seasons, columns)
        See `LEFT`.
    count : int
        Number of seasons.
    tops, amplitudes : ndarray of float32 (seasons,)
        Levels are fitted as their distance from the top in amplitudes, days as that from the peak.
    thetas : ndarray of float32 (seasons, SIZE)
        Start values; replaced by those fitted.
    """
    size = SIZE - 1 if kind == DOUBLE_LOGISTIC else SIZE
    order = _most_first(seasons, count, len(t))
    most = seasons[order[0], NUMBER] + _TOGETHER if count else _TOGETHER
    seen = np.zeros((most, 3, BLOCK), np.float32)
    start = np.zeros((SIZE, BLOCK), np.float32)
    theta = np.zeros((SIZE, BLOCK), np.float32)
    trial = np.zeros((SIZE + 2, BLOCK), np.float32)
    step = np.zeros((SIZE, BLOCK), np.float32)
    rows = np.zeros((_TOGETHER, SIZE + 1, BLOCK), np.float32)
    sums = np.zeros((SIZE + 1, SIZE + 1, BLOCK), np.float32)
    normal = np.zeros((SIZE + 1, SIZE + 1, BLOCK), np.float32)
    damping = np.zeros(BLOCK, np.float32)
    cost = np.zeros(BLOCK, np.float32)
    season = np.full(BLOCK, -1)
    number = np.zeros(BLOCK, np.int64)
    steps = np.full(BLOCK, _STEPS)
    attempts = np.zeros(BLOCK, np.int64)
    following = 0
    while True:
        longest = 0
        for p in range(BLOCK):
            if steps[p] == _STEPS or attempts[p] == _ATTEMPTS:
                if season[p] >= 0:
                    for i in range(size):
                        thetas[season[p], i] = theta[i, p]
                before = number[p]
                season[p] = -1
                number[p] = 0
                if following < count:
                    s = order[following]
                    following += 1
                    season[p] = s
                    number[p] = _load(t, y, w, grid, seasons[s], tops[s], amplitudes[s], seen, p)
                    for i in range(size):
                        start[i, p] = theta[i, p] = trial[i, p] = thetas[s, i]
                    cost[p] = np.inf
                    damping[p] = 5e-2  # 0.01 once the start is accepted
                    steps[p] = -1
                    attempts[p] = 0
                for k in range(number[p], before):
                    seen[k, 0, p] = seen[k, 1, p] = seen[k, 2, p] = _ZERO
            longest = max(longest, number[p])
        if longest == 0:
            return
        normal_equations(seen, longest, kind, size, start, trial, rows, sums)
        for p in range(BLOCK):
            new = sums[size, size, p]
            if new < cost[p]:
                converged = cost[p] - new < np.float32(1e-4) * new
                steps[p] = _STEPS if converged else steps[p] + 1
                attempts[p] = 0
                cost[p] = new
                damping[p] *= np.float32(0.2)
                for i in range(size + 1):
                    for j in range(i + 1):
                        normal[i, j, p] = sums[i, j, p]
                for i in range(size):
                    theta[i, p] = trial[i, p]
            else:  # a start that has no value stays
                attempts[p] = _ATTEMPTS if steps[p] < 0 else attempts[p] + 1
                damping[p] *= np.float32(8.0)
        solve(normal, damping, size, step)
        for i in range(size):
            for p in range(BLOCK):
                trial[i, p] = theta[i, p] + step[i, p]


@njit(cache=True, error_model="numpy")
def _most_first(seasons, count, most):
    """Order of the seasons by their number of observations, the largest first."""
    begin = np.zeros(most + 2, np.int64)
    for s in range(count):
        begin[most - seasons[s, NUMBER] + 1] += 1
    for n in range(most + 1):
        begin[n + 1] += begin[n]
    order = np.empty(count, np.int64)
    for s in range(count):
        n = most - seasons[s, NUMBER]
        order[begin[n]] = s
        begin[n] += 1
    return order


@njit(cache=True, error_model="numpy")
def _load(t, y, w, grid, season, top, amplitude, seen, p):
    """Copy the observations of a season to lane ``p`` of ``seen``; returns their number."""
    block, lane, first = season[BLOCK_OF], season[LANE], season[ROW]
    peak = grid[season[PEAK]]
    n = 0
    for k in range(first, first + season[ROWS]):
        weight = w[block, k, lane]
        seen[n, 0, p] = t[k] - peak
        seen[n, 1, p] = (y[block, k, lane] - top) / amplitude
        seen[n, 2, p] = np.sqrt(weight)
        n += 1 if weight > _ZERO else 0
    return n
