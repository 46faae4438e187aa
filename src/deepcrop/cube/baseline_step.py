"""Find a step of +1000 at processing baseline 04.00 in a series of Sentinel-2 reflectance.

Since 25 January 2022 the digital numbers of Sentinel-2 contain 1000 more than before. A series that
crosses this day with one offset for all its scenes is too bright by 0.1 on one side of it, in every
band. This moves the dates of the seasons on both sides by days to weeks.

Such a step shows in the three visible bands at once, in the darkest of the scenes just before and
just after the day (clouds only brighten), and the level does not return afterwards. Crops, soil
and water change the bands by different amounts; snow and haze come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BASELINE_DAY = np.datetime64("2022-01-25", "ns")
"""First day of processing baseline 04.00."""

VISIBLE = ("blue", "green", "red")

_REACH = np.timedelta64(90, "D")  # scenes that far from the day are compared
_SCENES = 8  # of them the nearest, on each side
_FEWEST = 2  # valid values of a pixel on each side
_STEP = 0.06, 0.16  # of each band, in reflectance; the true step is 0.1
_MEDIAN_STEP = 0.07, 0.14  # of the median band
_LEVEL = 0.04  # change of the 2 % quantile of all earlier and later values, blue and green
_DOUBTFUL = 0.05, 0.2


def find_step(times: NDArray[np.datetime64], bands: Mapping[str, NDArray[np.float32]]) -> float:
    """Estimate the step of reflectance at `BASELINE_DAY`.

    Parameters
    ----------
    times : array of datetime64
        Times of the scenes, sorted.
    bands : mapping
        Reflectance of `VISIBLE`, (time, y, x), NaN where there is no data.

    Returns
    -------
    float
        About +0.1 or -0.1 if the series has the step, 0 if it has none or does not cross the day,
        NaN if it cannot be decided.
    """
    before = np.flatnonzero((times < BASELINE_DAY) & (times > BASELINE_DAY - _REACH))[::-1]
    after = np.flatnonzero((times >= BASELINE_DAY) & (times < BASELINE_DAY + _REACH))
    late = times >= BASELINE_DAY
    if late.all() or not late.any():
        return 0.0
    near, level = [], []
    for name in VISIBLE:
        values = bands[name].reshape(times.size, -1)
        if before.size == 0 or after.size == 0:
            return float("nan")
        change = _darkest(values[after]) - _darkest(values[before])
        change = change[np.isfinite(change)]
        if change.size == 0:
            return float("nan")
        near.append(float(np.median(change)))
        level.append(
            float(np.nanquantile(values[late], 0.02) - np.nanquantile(values[~late], 0.02))
        )
    middle = float(np.median(near))
    sign = 1.0 if middle > 0 else -1.0
    size = sign * np.array(near)
    if (
        size.min() > _STEP[0]
        and size.max() < _STEP[1]
        and _MEDIAN_STEP[0] < np.median(size) < _MEDIAN_STEP[1]
        and sign * min(level[:2]) > _LEVEL
    ):
        return middle
    return float("nan") if _DOUBTFUL[0] < size.min() < _DOUBTFUL[1] else 0.0


def _darkest(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lowest of the first valid values of each pixel, (time, pixel); NaN if these are too few."""
    valid = np.isfinite(values)
    counted = valid & (np.cumsum(valid, axis=0) <= _SCENES)
    lowest = np.where(counted, values, np.inf).min(axis=0)
    return np.where(valid.sum(axis=0) >= _FEWEST, lowest, np.nan).astype(np.float32)
