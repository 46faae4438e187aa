"""The four season stages and the one day count of the project.

A season date is stored as a *day number*: whole days since 1 January of the target year, so that
0 is 1 January itself. Winter crops green up in the year before and late crops die down in the
year after, hence the range -181 … 548 (about 4 July of the year before to 2 July of the year
after). It moves with the start of the year, if another is chosen (`TargetYear`). On disk a day
number is Int16, and 32767 means "no such date".

Nothing else in the package defines a date convention.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

Array = TypeVar("Array")

STAGES = ("sos20", "sos50", "eos50", "eos20")
"""Names of the four stages in the order in which a season passes them."""

STAGE_TITLES = {
    "sos20": "start of season, 20 % of amplitude",
    "sos50": "start of season, 50 % of amplitude",
    "eos50": "end of season, 50 % of amplitude",
    "eos20": "end of season, 20 % of amplitude",
}

DAY_MIN, DAY_MAX = -181, 548
NO_DAY = 32767

YEAR_START = "01-01"
"""Day on which a target year starts (month-day), unless another is chosen."""

SOUTHERN_YEAR_START = "07-01"
"""Start of the year that keeps the summer crops of the southern hemisphere whole."""

AUTO = "auto"
"""Start of the year by the hemisphere: `SOUTHERN_YEAR_START` south of the equator."""


@dataclass(frozen=True)
class TargetYear:
    """A target year that starts on any day.

    A year that starts in July or later is named by the calendar year in which it ends, as an
    agricultural year is named by its harvest: 2018 from 1 July is 1 July 2017 to 30 June 2018. One
    that starts earlier is named by the year in which it starts. Day numbers count from 1 January of
    the year that names it, whatever the start.

    Attributes
    ----------
    year : int
    start : str
        Month and day, ``"07-01"``.

    Raises
    ------
    DeepCropError
        If the start is no day of every year.

    Examples
    --------
    >>> year = TargetYear(2018, "07-01")
    >>> year.first, year.length, year.range
    (-184, 365, (-365, 364))
    >>> str(year)
    '1 July 2017 to 30 June 2018'
    """

    year: int
    start: str = YEAR_START

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d\d-\d\d", self.start) or self.start == "02-29":
            raise _no_start(self.start)
        try:
            np.datetime64(f"2001-{self.start}", "D")
        except ValueError:
            raise _no_start(self.start) from None

    def _start_of(self, year: int) -> np.datetime64:
        before = self.start >= SOUTHERN_YEAR_START  # month first, so that texts sort as days
        return np.datetime64(f"{year - before:04d}-{self.start}", "D")

    @property
    def first(self) -> int:
        """Day number of the first day: 0 of a calendar year."""
        january = np.datetime64(f"{self.year:04d}-01-01", "D")
        return int((self._start_of(self.year) - january).astype(int))

    @property
    def length(self) -> int:
        """Number of days."""
        return int((self._start_of(self.year + 1) - self._start_of(self.year)).astype(int))

    @property
    def range(self) -> tuple[int, int]:
        """First and last day number that can be stored."""
        return DAY_MIN + self.first, DAY_MAX + self.first

    @property
    def dates(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last date."""
        return self._start_of(self.year), self._start_of(self.year + 1) - np.timedelta64(1, "D")

    def contains(self, days: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether day numbers lie in the year; NaN does not."""
        return np.asarray((days >= self.first) & (days < self.first + self.length))

    def __str__(self) -> str:
        """Name a calendar year by its number, another one by its first and last day."""
        if self.start == YEAR_START:
            return f"{self.year:04d}"
        first, last = (date.astype(datetime.date) for date in self.dates)
        return " to ".join(f"{date.day} {date:%B} {date.year:04d}" for date in (first, last))


def _no_start(start: str) -> DeepCropError:
    return DeepCropError(
        f"The year cannot start on {start!r}: expected month and day, for example "
        f"{SOUTHERN_YEAR_START}, not 02-29, or {AUTO}."
    )


def check_year(year: Any) -> int:
    """Return a target year as int.

    Raises
    ------
    DeepCropError
        If it is no whole number: a text, a date, a fraction.
    """
    if isinstance(year, bool) or not isinstance(year, int | np.integer):
        raise DeepCropError(f"The year is {year!r}; expected a whole number, for example 2018.")
    return int(year)


@dataclass(frozen=True, eq=False)
class Dates(Generic[Array]):
    """Season dates with their 90 % interval and the probability of the event.

    Whatever dates n series or pixels returns them in this record: the curve, the network (PyTorch
    tensors while it computes, NumPy arrays afterwards), a camera. All arrays are
    (n, slots, stages); of a tile, its rows and columns stand in place of n.

    Attributes
    ----------
    day : array (n, slots, stages)
        Fractional days since 1 January of the target year; NaN where no event is reported.
    low, high : array (n, slots, stages)
        Ends of the 90 % interval of each date; NaN where none is reported.
    probability : array (n, slots, stages), optional
        Probability of each event; None of methods that give none.
    """

    day: Array
    low: Array
    high: Array
    probability: Array | None = None

    def __iter__(self) -> Iterator[Any]:
        """Iterate over day, low, high and probability."""
        return iter((self.day, self.low, self.high, self.probability))

    def map(self, function: Callable[[Any], Any]) -> Self:
        """Apply a function to each array that is there."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: function(array) for name, array in arrays.items() if array is not None}
        )

    def subset(self, chosen: Any) -> Self:
        """Select series or pixels by index, slice or mask."""
        return self.map(lambda array: array[chosen])


def to_days(times: ArrayLike, year: int) -> NDArray[np.float32]:
    """Day numbers of the UTC calendar dates of ``times``, relative to 1 January of ``year``.

    Parameters
    ----------
    times : array_like of datetime64
        Any shape. The time of day is dropped: a camera's daily value and a satellite pass of the
        same date get the same day number. NaT gives NaN.
    year : int
        Target year.

    Returns
    -------
    ndarray of float32
        Same shape as ``times``; not limited to the range that can be stored.
    """
    dates = np.asarray(times).astype("datetime64[D]")
    days = (dates - np.datetime64(f"{year:04d}-01-01", "D")).astype(np.float32)
    return np.where(np.isnat(dates), np.float32(np.nan), days).astype(np.float32)


def to_dates(days: ArrayLike, year: int) -> NDArray[np.datetime64]:
    """Calendar dates (datetime64[D]) of day numbers; NaT where ``days`` is NaN or 32767.

    Fractional days are rounded as in :func:`encode`.
    """
    values = np.asarray(days, dtype=np.float64)
    known = np.isfinite(values) & (values != NO_DAY)
    whole = np.floor(np.where(known, values, 0.0) + 0.5).astype("timedelta64[D]")
    dates = np.datetime64(f"{year:04d}-01-01", "D") + whole
    return np.where(known, dates, np.datetime64("NaT", "D"))


def encode(days: ArrayLike, limits: tuple[int, int] = (DAY_MIN, DAY_MAX)) -> NDArray[np.int16]:
    """Round fractional day numbers to Int16; NaN and days outside ``limits`` become 32767.

    Halves round up, so that rounding never depends on the parity of the day. The limits of a year
    that starts on another day than 1 January are `TargetYear.range`.
    """
    values = np.floor(np.asarray(days, dtype=np.float64) + 0.5)
    known = (values >= limits[0]) & (values <= limits[1])  # NaN compares false
    return np.where(known, values, NO_DAY).astype(np.int16)


def decode(stored: ArrayLike) -> NDArray[np.float32]:
    """Day numbers as float32 with NaN where 32767 is stored."""
    values = np.asarray(stored)
    return np.where(values == NO_DAY, np.nan, values).astype(np.float32)


SLOTS = 2
"""Seasons of a target year that are kept; `deepcrop.phenology.slots` chooses them."""


TITLES = STAGE_TITLES | {"peak": "peak of season"}
"""Of all dates that a map can have."""


CALENDAR = ("sos20", "sos50", "peak", "eos50", "eos20")
"""The dates of a label, in order of time."""


def season_name(season: int) -> str:
    """Name of the season in a slot: ``main season``, ``second season``, ``season 3`` …."""
    return {1: "main season", 2: "second season"}.get(season, f"season {season}")


def stage_title(stage: str) -> str:
    """Title of a date at any share of the amplitude.

    Examples
    --------
    >>> stage_title("sos15")
    'start of season, 15 % of amplitude'
    """
    if stage in TITLES:
        return TITLES[stage]
    side = {"sos": "start", "eos": "end"}[stage[:3]]
    return f"{side} of season, {stage[3:]} % of amplitude"
