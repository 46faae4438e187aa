"""The four season stages and the one day count of the project.

A season date is stored as a *day number*: whole days since 1 January of the target year, so that
0 is 1 January itself. Winter crops green up in the year before and late crops die down in the
year after, hence the range -181 … 548 (about 4 July of the year before to 2 July of the year
after). On disk a day number is Int16, and 32767 means "no such date".

Nothing else in the package defines a date convention.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np

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


def encode(days: ArrayLike) -> NDArray[np.int16]:
    """Round fractional day numbers to Int16; NaN and days outside -181 … 548 become 32767.

    Halves round up, so that rounding never depends on the parity of the day.
    """
    values = np.floor(np.asarray(days, dtype=np.float64) + 0.5)
    known = (values >= DAY_MIN) & (values <= DAY_MAX)  # NaN compares false
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
