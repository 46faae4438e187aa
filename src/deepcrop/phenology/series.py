"""Check greenness series as a user gives them, and make the input of the kernels from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LONGEST_SERIES = 200 * 365
"""Days from the first to the last observation; a series that is longer has a wrong day in it."""

FARTHEST_DAY = 2**21
"""Days from the origin up to which float32 keeps an eighth of a day: dates are given in it."""

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


def prepare(values: ArrayLike, days: ArrayLike, weights: ArrayLike | None) -> Series:
    """Check and convert the input; arrays that are float32 already are not copied.

    Raises
    ------
    DeepCropError
        If something is no array of numbers, shapes do not fit, a day is not finite or far from all
        others, or a weight is negative or infinite.
    """
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
        raise DeepCropError(
            f"{name} are no array of numbers ({error}); expected "
            + ("days, as (dates - origin) / np.timedelta64(1, 'D')." if name == "Days" else "them.")
        ) from None


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
