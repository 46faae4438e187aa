"""Season dates of many greenness series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.errors import DeepCropError
from deepcrop.phenology.date_intervals import INTERVAL
from deepcrop.phenology.date_kernels import (
    FOUND,
    MEASURES,
    NO_SUCH,
    TOO_FEW,
    TOO_LONG,
    date_blocks,
)
from deepcrop.phenology.series import Series, curve_grid, prepare
from deepcrop.phenology.smoothers import (
    DEFAULT_SMOOTHER,
    Chunk,
    SeasonRule,
    Smoother,
    choose,
    limit_of,
    smooth_chunks,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_YEAR = 366.0
"""Days from the first to the last date of a season above which it is no season of one year."""


@dataclass(frozen=True)
class Seasons:
    """Seasons of many series.

    Rows are in order of time. A season whose peak was not seen, or neither side of it, or that may
    be no more than noise, keeps its row, without dates: `reason` says why. A series without any
    season says why in its first row.

    Attributes
    ----------
    dates : ndarray of float32 (pixels, seasons, stages)
        Fractional days on the origin of the input days; NaN = none.
    low, high : ndarray of float32 (pixels, seasons, stages)
        Ends of the 90 % interval of each date.
    stages : tuple of str
        Names of the last axis: rising fractions, ``peak``, falling fractions.
    reason : ndarray of uint8 (pixels, seasons, stages)
        Index into `REASONS`: 0 where there is a date, otherwise why there is none.
    amplitude : ndarray of float32 (pixels, seasons)
        Maximum less base, in units of the values.
    base : ndarray of float32 (pixels, seasons)
        Mean of the levels of the valleys before and after, or the level of the one that was seen.
    maximum : ndarray of float32 (pixels, seasons)
        Height of the curve at the peak.
    small_integral, large_integral : ndarray of float32 (pixels, seasons)
        Area between the curve and the base, and between the curve and zero, from the first rising
        to the last falling date, units of the values x days; NaN unless both dates are there.
    slope_up, slope_down : ndarray of float32 (pixels, seasons)
        Steepest rise and fall, units of the values per day; both positive; NaN unless seen.
    refused_day, refused_amplitude : ndarray of float32 (pixels, seasons)
        Peak and amplitude of the curve where a season got no dates, to tell whether it could be the
        main season of its year; NaN elsewhere, and where the peak lies in a long gap or before the
        first observation.
    """

    dates: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    stages: tuple[str, ...]
    reason: NDArray[np.uint8]
    amplitude: NDArray[np.float32]
    base: NDArray[np.float32]
    maximum: NDArray[np.float32]
    small_integral: NDArray[np.float32]
    large_integral: NDArray[np.float32]
    slope_up: NDArray[np.float32]
    slope_down: NDArray[np.float32]
    refused_day: NDArray[np.float32]
    refused_amplitude: NDArray[np.float32]

    @property
    def length(self) -> NDArray[np.float32]:
        """Days from the first rising to the last falling date of each season (pixels, seasons)."""
        return self.dates[:, :, -1] - self.dates[:, :, 0]

    @property
    def count(self) -> NDArray[np.uint16]:
        """Seasons whose peak was seen (pixels,)."""
        return np.asarray(np.isfinite(self.amplitude).sum(axis=1), np.uint16)


def stage_names(fractions: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the dates of a season: ``sos20, sos50, peak, eos50, eos20`` for (0.2, 0.5)."""
    percent = [f"{100 * f:g}" for f in fractions]
    return (*(f"sos{p}" for p in percent), "peak", *(f"eos{p}" for p in reversed(percent)))


def season_dates(
    values: ArrayLike,
    days: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    smoother: str | Smoother = DEFAULT_SMOOTHER,
    preset: str = "sentinel2",
    fractions: tuple[float, ...] = (0.2, 0.5),
    rule: SeasonRule | None = None,
    intervals: bool = True,
) -> Seasons:
    """Season dates of many greenness series.

    Parameters
    ----------
    values : array_like (pixels, times)
        Greenness (NDVI, GCC, EVI, ...), from -1.5 to 1.5; NaN and infinities are no observation.
    days : array_like (times,)
        Day of each observation on any origin, in any order; the same day may occur twice.
    weights : array_like (pixels, times), optional
        Weight of each observation relative to others of its series, 0 = ignore; by default all 1.
    smoother : str or settings
        ``"whittaker"`` (the default), ``"savgol"`` (the paper's), ``"double_logistic"``,
        ``"asymmetric_gaussian"``, or a settings object.
    preset : str
        Settings to take where they are not given: ``"sentinel2"`` (NDVI), ``"phenocam"`` (GCC of
        cameras) or ``"paper"``.
    fractions : tuple of float
        Shares of the amplitude, rising, each between 0 and 1.
    rule : SeasonRule, optional
        What counts as a season; by default the preset's.
    intervals : bool
        Whether to give each date an interval; `Seasons.low` and `Seasons.high` are NaN otherwise.

    Returns
    -------
    Seasons
        With the number of rows of the series that has most seasons.

    Raises
    ------
    DeepCropError
        If something is no array of numbers, shapes do not fit, an observation is no possible
        greenness (-9999, or NDVI times 10 000), days are dates, not finite or reach over more than
        200 years, weights are negative or infinite, fractions are out of range, or a name is
        unknown.

    Examples
    --------
    >>> days = np.arange(0, 365, 5)
    >>> ndvi = 0.2 + 0.6 * np.exp(-(((days - 190) / 40) ** 2))
    >>> seasons = season_dates(ndvi[None], days)
    >>> bool(abs(seasons.dates[0, 0, seasons.stages.index("peak")] - 190) < 3)
    True
    """
    smoother, rule = choose(smoother, preset, rule)
    try:
        fractions = tuple(float(f) for f in np.atleast_1d(fractions))
    except (TypeError, ValueError, OverflowError):
        raise DeepCropError(
            f"Fractions {fractions!r} are no numbers; expected for example (0.2, 0.5)."
        ) from None
    if not fractions or not all(
        0 < a < b < 1 for a, b in zip((1e-9, *fractions), (*fractions, 1 - 1e-9), strict=True)
    ):
        raise DeepCropError(f"Fractions {fractions} must rise and lie between 0 and 1.")
    series = prepare(values, days, weights, limit_of(rule))
    grid = curve_grid(series.t, smoother.step)
    years = float(series.t[-1]) / 365 if series.t.size else 0.0
    # Two seasons a year at most, as a rule, and hardly one from fewer than four observations: one
    # observation far from the others then asks for no memory.
    room = 3 + min(int(2 * years), series.t.size // 4)
    while True:
        seasons, rows = _with_room(series, grid, smoother, rule, fractions, room, intervals)
        if rows <= room:
            return seasons
        room = rows


def _refuse_long(
    dates: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    reason: NDArray[np.uint8],
    measures: NDArray[np.float32],
) -> None:
    """Leave out start and end of the seasons that are longer than a year, in place.

    Where a mild winter hardly lowers the greenness, two years become one season, whose dates are
    those of no year. The peak stays, so that the season keeps its row and its year.
    """
    # Of the dates that are there. Date by date, as NumPy reduces short axes slowly.
    first = last = dates[:, :, 0]
    for k in range(1, dates.shape[2]):
        first, last = np.fmin(first, dates[:, :, k]), np.fmax(last, dates[:, :, k])
    pixel, row = np.nonzero(last - first > _YEAR)  # NaN compares false
    sides = np.delete(np.arange(dates.shape[2]), dates.shape[2] // 2)
    refused = pixel[:, None], row[:, None], sides
    for array in (dates, low, high):
        array[refused] = np.nan
    reason[refused] = TOO_LONG
    for name in ("small_integral", "large_integral"):  # between the dates
        measures[pixel, row, MEASURES.index(name)] = np.nan


def _with_room(
    series: Series,
    grid: NDArray[np.float32],
    smoother: Smoother,
    rule: SeasonRule,
    fractions: tuple[float, ...],
    room: int,
    intervals: bool,
) -> tuple[Seasons, int]:
    """Date at most ``room`` seasons of each series; also return the room that is needed."""
    names = stage_names(fractions)
    pixels = len(series.values)
    dates, low, high = (np.empty((pixels, room, len(names)), np.float32) for _ in range(3))
    measures = np.empty((pixels, room, len(MEASURES)), np.float32)
    reason = np.empty(dates.shape, np.uint8)
    refused = np.full((pixels, room, 2), np.nan, np.float32)
    rows = np.ones(pixels, np.int64)
    factors = INTERVAL if intervals else INTERVAL[:0]
    if grid.size < 3:
        for array in (dates, low, high, measures):
            array[:] = np.nan
        reason[:, :1], reason[:, 1:] = TOO_FEW, FOUND
    else:

        def date(chunk: Chunk) -> None:
            p = chunk.pixels
            date_blocks(
                series.t, chunk.y, chunk.w, grid, chunk.curve, chunk.counts,
                chunk.scatter, np.float32(series.origin), float(rule.min_amplitude),
                float(rule.prominence), float(rule.max_gap), max(int(rule.min_observations), 3),
                np.array(fractions, np.float32), factors, dates[p], low[p],
                high[p], reason[p], measures[p], refused[p], rows[p],
            )  # fmt: skip
            # The curves are those of observations less the mean of their series.
            level = chunk.level.reshape(-1, 1)[: p.stop - p.start]
            measures[p, :, MEASURES.index("base")] += level
            measures[p, :, MEASURES.index("maximum")] += level
            length = dates[p, :, -1] - dates[p, :, 0]
            measures[p, :, MEASURES.index("large_integral")] += level * length

        smooth_chunks(series, grid, smoother, rule, date)
    most = max(int(rows.max(initial=1)), 1)
    dates, low, high, measures = (array[:, :most] for array in (dates, low, high, measures))
    reason = reason[:, :most]
    _refuse_long(dates, low, high, reason, measures)
    reason[(reason == FOUND) & np.isnan(dates)] = NO_SUCH  # rows of series with fewer seasons
    measured = {name: measures[:, :, k] for k, name in enumerate(MEASURES)}
    return Seasons(
        dates, low, high, names, reason, **measured,
        refused_day=refused[:, :most, 0], refused_amplitude=refused[:, :most, 1],
    ), most  # fmt: skip
