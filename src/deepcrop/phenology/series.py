"""Check greenness series as a user gives them, and make the input of the kernels from them."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LONGEST_SERIES = 200 * 365
"""Days from the first to the last observation; a series that is longer has a wrong day in it."""

FARTHEST_DAY = 2**21
"""Days from the origin up to which float32 keeps an eighth of a day: dates are given in it."""

GREENNESS_LIMIT = 1.5
"""Largest size of a possible greenness: NDVI and GCC stay within 1, EVI within 1.5. Beyond it are
fill values, numbers still scaled to integers, and faults."""

MOST_POINTS = 100_000
"""Points of a smooth curve: two centuries, day by day."""


@dataclass(frozen=True)
class Series:
    """Checked series, the input of the kernels."""

    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    """Empty where all observations weigh the same."""
    day_of: NDArray[np.int64]
    t: NDArray[np.float32]
    """Different days, rising, less `origin`."""
    origin: float


def prepare(
    values: ArrayLike,
    days: ArrayLike,
    weights: ArrayLike | None,
    limit: float = GREENNESS_LIMIT,
) -> Series:
    """Check and convert the input; arrays that are float32 already are not copied.

    ``limit`` is the largest size of a possible value (`deepcrop.phenology.smoothers.limit_of`).

    Raises
    ------
    DeepCropError
        If something is no array of numbers, shapes do not fit, a day is not finite or far from all
        others, a weight is negative or infinite, or an observation is no possible greenness.
    """
    refuse_dates(days)
    values = _numbers("Values", values, np.float32)
    days = _numbers("Days", days, np.float64)
    if values.ndim != 2 or days.ndim != 1 or values.shape[1] != days.size:
        raise DeepCropError(
            f"Values of shape {values.shape} and days of shape {days.shape} do not fit: expected "
            "(pixels, times) and (times,)."
        )
    if not np.isfinite(days).all():
        raise DeepCropError("Days hold NaN or infinities; drop those observations.")
    if weights is None:
        weights = np.empty((0, 0), np.float32)
    else:
        weights = _numbers("Weights", weights, np.float32)
        if weights.shape != values.shape:
            raise DeepCropError(f"Weights have shape {weights.shape}; expected {values.shape}.")
        wrong = weights[(weights < 0) | np.isinf(weights)]
        if wrong.size:
            raise DeepCropError(
                f"{wrong.size} of {weights.size} weights are negative or infinite, for example "
                f"{wrong[0]:g}; expected 0 (ignore the observation) or more."
            )
    _check_greenness(values, weights, limit)
    t, day_of = np.unique(days, return_inverse=True)
    if t.size:
        _check_days(t)
    origin = float(t[0]) if t.size else 0.0
    return Series(values, weights, day_of, (t - origin).astype(np.float32), origin)


def _numbers(name: str, data: ArrayLike, kind: type[Any]) -> NDArray[Any]:
    """Convert to an array of numbers; masked values become NaN."""
    try:
        if isinstance(data, np.ma.MaskedArray):
            data = np.ma.filled(data.astype(kind), np.nan)
        array = np.asarray(data)
        if array.dtype.kind in "mMcUSV":  # NumPy would convert some, to nanoseconds for example
            raise TypeError(f"they are of type {array.dtype}")
        with np.errstate(over="ignore"):  # what is too large for float32 is no greenness
            return array.astype(kind, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        missing = "pandas.NA" if "NAType" in str(error) else ""
        raise DeepCropError(
            f"{name} are no array of numbers ({error}); expected them"
            + (f", with NaN for {missing}: to_numpy(float, na_value=np.nan)." if missing else ".")
        ) from None


def refuse_dates(days: ArrayLike) -> None:
    """Reject dates where numbers of days belong; the message says how to convert them.

    Raises
    ------
    DeepCropError
        If ``days`` are datetime64, timestamps, periods, cftime dates, text or time differences.
    """
    kind, has_zone = kind_of_times(days)
    if kind:
        zone = " with a time zone" if has_zone else ""
        raise DeepCropError(
            f"Days are {KINDS[kind]}{zone}; expected numbers of days. Convert them: "
            f"{_to_numbers(kind, has_zone)}."
        )


def _to_numbers(kind: str, has_zone: bool) -> str:
    """Python that turns dates of a kind into numbers of days."""
    if kind == "differences":
        return "days / np.timedelta64(1, 'D')"
    if kind == "360":
        return "[365.25 * (d.year - 2018 + (d.dayofyr - 1) / 360) for d in dates]"
    dates = {
        "period": "pd.PeriodIndex(dates).to_timestamp()",
        "cftime": "pd.to_datetime([str(d) for d in dates])",
    }.get(kind, "pd.to_datetime(dates)")
    if has_zone:
        dates = "pd.to_datetime(dates, utc=True).tz_localize(None)"
    return f"({dates} - pd.Timestamp('2018-01-01')) / pd.Timedelta(1, 'D')"


KINDS = {
    "dates": "dates (datetime64 or timestamps)",
    "period": "pandas periods",
    "cftime": "cftime dates",
    "360": "cftime dates of a calendar of 360 days",
    "text": "text",
    "differences": "time differences",
}
"""What times can be instead of numbers."""


def kind_of_times(times: Any) -> tuple[str, bool]:
    """Look at type and first element: one of `KINDS` or "", and whether they have a time zone."""
    kind = str(getattr(times, "dtype", ""))
    if kind.startswith("period"):
        return "period", False
    if kind.startswith("datetime64"):
        return "dates", "," in kind
    if kind.startswith("timedelta64"):
        return "differences", False
    if isinstance(times, np.ndarray | list | tuple) or hasattr(times, "dtype"):
        try:
            known = (x for x in np.asarray(times, object).reshape(-1) if x is not None and x == x)
        except (TypeError, ValueError):  # a ragged list, for example, which is no array either
            return "", False
        first = next(known, None)
        if kind in ("", "object", "str", "string") or kind.startswith(("<U", "|S")):
            return _kind_of_time(first)
    return "", False


def _kind_of_time(first: Any) -> tuple[str, bool]:
    """Kind of one date, and whether it has a time zone."""
    module, name = type(first).__module__, type(first).__name__
    if module.startswith("cftime"):
        return ("360" if getattr(first, "calendar", "") == "360_day" else "cftime"), False
    if name == "Period":
        return "period", False
    if isinstance(first, np.timedelta64 | datetime.timedelta):
        return "differences", False
    if isinstance(first, np.datetime64 | datetime.date):  # pandas.Timestamp, datetime among them
        return "dates", getattr(first, "tzinfo", None) is not None
    return ("text", False) if isinstance(first, str | bytes) else ("", False)


def _check_greenness(
    values: NDArray[np.float32], weights: NDArray[np.float32], limit: float
) -> None:
    """Reject observations that greenness cannot have, such as -9999 or NDVI times 10 000.

    A smoother would draw its curve through them. What is no observation may be anything: weight 0,
    NaN, infinite.

    Raises
    ------
    DeepCropError
        Naming how many they are, the commonest, and what they probably are.
    """
    if not _any_beyond(values, np.float32(limit)):  # as of nearly all arrays
        return
    used = np.isfinite(values)
    if weights.size:
        used &= weights > 0
    seen = values[used]
    wrong = seen[np.abs(seen) > limit]
    if not wrong.size:
        return
    different, number = np.unique(wrong, return_counts=True)
    commonest = different[number.argmax()]
    others = np.abs(seen[seen != commonest])
    middle = float(np.median(others)) if others.size else 0.0
    found = (
        f"{wrong.size} of {seen.size} values are no greenness, for example "
        f"{_plain(commonest)}; expected -{limit:g} to {limit:g}, NaN for no "
        "data"
    )
    if middle > limit:
        top = float(np.quantile(others, 0.95))
        scale = "10 000" if 300 < top <= 12_000 else "100 to 255" if 20 < top <= 300 else ""
        question = f" Are they scaled by {scale}?" if scale else ""
        raise DeepCropError(
            f"{found}.{question} Set fill values to NaN, then divide all by their scale. A series "
            "in other units (LAI, say) needs a rule in them: SeasonRule(min_amplitude=…)."
        )
    raise DeepCropError(
        f"{found}. Set fill values and faults to NaN: "
        f"np.where(np.abs(values) <= {limit:g}, values, np.nan), of pandas and xarray "
        f"values.where(abs(values) <= {limit:g})."
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _any_beyond(values: NDArray[np.float32], limit: np.float32) -> bool:
    """Tell whether any number is larger than a limit, or smaller than minus it; NaN is not."""
    for row in range(values.shape[0]):
        count = 0
        for k in range(values.shape[1]):  # without a branch, this is vector code
            count += abs(values[row, k]) > limit
        if count:
            return True
    return False


def _plain(value: np.float32) -> str:
    """Write a number as short as it is exact: -9999, not -1e+04."""
    return f"{value:.0f}" if value == np.rint(value) and abs(value) < 1e7 else f"{value:.6g}"


def _check_days(t: NDArray[np.float64]) -> None:
    """Reject days that are no days: a curve over all of them would take all the memory."""
    if t[-1] - t[0] > LONGEST_SERIES:
        # A wrong day is the one at the end, behind the longest gap.
        gaps = np.diff(t)
        odd = t[-1] if gaps.argmax() >= t.size // 2 else t[0]
        raise DeepCropError(
            f"Days reach from {t[0]:g} to {t[-1]:g}, more than {LONGEST_SERIES // 365} years; "
            f"expected days (not seconds or nanoseconds). Correct or drop day {odd:g}."
        )
    if np.abs(t[[0, -1]]).max() > FARTHEST_DAY:
        raise DeepCropError(
            f"Days reach from {t[0]:g} to {t[-1]:g}, so far from 0 that dates would be rounded to "
            "parts of a day; subtract the day of a date near the observations."
        )


def curve_grid(t: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Days of the smooth curve: from the first to the last observation, every ``step`` days.

    Raises
    ------
    DeepCropError
        If there would be more than `MOST_POINTS` of them.
    """
    if not t.size:
        return np.empty(0, np.float32)
    points = math.floor(float(t[-1] - t[0]) / step) + 1
    if points > MOST_POINTS:
        raise DeepCropError(
            f"A step of {step:g} days gives a curve of {points} points over {t[-1] - t[0]:g} days; "
            f"at most {MOST_POINTS} are sensible. Take a larger step."
        )
    return (step * np.arange(points)).astype(np.float32)
