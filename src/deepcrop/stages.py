"""The four season stages and the one day count of the project.

A season date is stored as a *day number*: whole days since 1 January of the target year, so that
0 is 1 January itself. Winter crops green up in the year before and late crops die down in the
year after, hence the range -181 … 548 (about 4 July of the year before to 2 July of the year
after). On disk a day number is Int16, and 32767 means "no such date".

Nothing else in the package defines a date convention.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
"""Seasons of a target year that are kept."""


def sunlight(
    days: NDArray[np.floating], latitude: float | NDArray[np.floating]
) -> NDArray[np.float64]:
    """Daily sunlight above the atmosphere, in units of the solar constant (FAO-56, Eq. 21-25).

    Parameters
    ----------
    days : ndarray
        Day numbers (a year has 365.25 days here); NaN gives NaN.
    latitude : float
        Degrees, south negative.
    """
    angle = 2 * np.pi * (np.asarray(days, np.float64) + 1) / 365.25
    phi = np.radians(latitude)
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1))
    height = sunset * np.sin(phi) * np.sin(declination)
    height = height + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    return (1 + 0.033 * np.cos(angle)) * height / np.pi


REACH = 60
"""Days beyond the range of day numbers from which observations still help a target year."""


def select_slots(
    peaks: NDArray[np.floating],
    amplitudes: NDArray[np.floating],
    year: int,
    latitude: float | NDArray[np.floating],
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Choose which seasons of a series fill the two slots of a target year.

    A season belongs to the year in which it peaks. Slot 1 is the main season: that of largest
    amplitude times `sunlight` on the day of its peak; slot 2 is the next. Amplitude alone would
    take a catch crop that is green at Christmas for the main crop of a maize field.

    Parameters
    ----------
    peaks : ndarray (pixels, seasons)
        Day numbers of the peaks, NaN where there is no season.
    amplitudes : ndarray (pixels, seasons)
        Amplitudes in any unit; not read where there is no season.
    year : int
        Target year.
    latitude : float or ndarray (pixels, 1)
        Degrees, south negative.

    Returns
    -------
    index : ndarray of int (pixels, 2)
        Season in each slot, -1 where the slot is empty.
    count : ndarray of uint8 (pixels,)
        Seasons that peak in the year, kept or not.
    """
    start = np.datetime64(f"{year:04d}-01-01", "D")
    length = int((np.datetime64(f"{year + 1:04d}-01-01", "D") - start).astype(int))
    inside = (peaks >= 0) & (peaks < length)
    count = inside.sum(axis=1)
    strength = np.where(inside, np.nan_to_num(amplitudes) * sunlight(peaks, latitude), -np.inf)
    missing = max(SLOTS - peaks.shape[1], 0)
    strength = np.pad(strength, ((0, 0), (0, missing)), constant_values=-np.inf)
    best = np.argsort(-strength, axis=1, kind="stable")[:, :SLOTS]
    index = np.where(np.arange(SLOTS) < count[:, None], best, -1)
    return index, count.astype(np.uint8)


TITLES = STAGE_TITLES | {"peak": "peak of season"}
"""Of all dates that a map can have."""


CALENDAR = ("sos20", "sos50", "peak", "eos50", "eos20")
"""The dates of a label, in order of time."""
