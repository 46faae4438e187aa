"""Dates in season: whether each is observed, forecast or not yet known.

A map of a season that is not over reads the observations up to a day (``until``). The status of
each date says whether the event lies before the last observation of its pixel.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.products.layers import FORECAST, NO_EVENT, NO_STATUS, NOT_YET_KNOWN, OBSERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from deepcrop.stages import Dates

UNKNOWN_WIDTH = 90
"""Days of a 90 % interval from which on a date of the network counts as not yet known."""

UNLIKELY = 0.05
"""Probability below which an event counts as one that does not come."""


def season_is_open(until: datetime.date | None, year: int) -> bool:
    """Whether observations end in season: before the last month of the target year."""
    return until is not None and until < datetime.date(year, 12, 1)


def status_of(
    dates: Dates[NDArray[np.floating]], last_seen: NDArray[np.floating], is_open: bool = True
) -> NDArray[np.uint8]:
    """Say of each date whether it is observed, forecast or not yet known.

    An event is *observed* if the 95 % quantile of its date is not after the last observation, so
    that it lies before it with a probability of 95 %, and *forecast* if it has a date (which needs
    a probability of at least one half) and is not observed. A date of the network is neither if
    its 90 % interval is not narrower than `UNKNOWN_WIDTH`: it is of one of several seasons, and
    which of them is the main one is not known. Once the season is over, what lies before the last
    observation is observed all the same. The curve gives no probabilities, and forecasts nothing.

    Parameters
    ----------
    dates : Dates
        NumPy arrays (..., slots, stages); NaN where no date is reported.
    last_seen : ndarray (...)
        Day number of the last valid observation; NaN where there is none.
    is_open : bool
        As `season_is_open` says.

    Returns
    -------
    ndarray of uint8 (..., slots, stages)
        Keys of `deepcrop.products.layers.STATUS`; `NO_STATUS` where nothing was seen.

    Examples
    --------
    >>> from deepcrop.stages import Dates
    >>> day = np.array([[[120.0, 200.0, np.nan]]])
    >>> dates = Dates(day, day - 10, day + 10, np.array([[[0.99, 0.9, 0.02]]]))
    >>> status_of(dates, np.array([150.0])).tolist()  # observed, forecast, no event
    [[[1, 2, 0]]]
    """
    last = np.asarray(last_seen)[..., None, None]
    status = np.full(dates.day.shape, NOT_YET_KNOWN, np.uint8)
    # Comparisons with NaN are false: what is not reported stays unknown.
    observed = np.isfinite(dates.day) & (dates.high <= last)
    if dates.probability is not None:
        narrow = np.isfinite(dates.day) & (dates.high - dates.low < UNKNOWN_WIDTH)
        if is_open:
            observed &= narrow
        status[narrow] = FORECAST
        status[dates.probability < UNLIKELY] = NO_EVENT
    status[observed] = OBSERVED
    return np.where(np.isnan(last), np.uint8(NO_STATUS), status)


def last_seen(
    valid: Mapping[str, NDArray[np.bool_]], days: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Day number of the last valid observation of each pixel (y, x); NaN without any.

    ``valid`` is (time, y, x) by group of the cube, ``days`` (time,).
    """
    last: NDArray[np.float32] = np.full((), -np.inf, np.float32)
    for group, there in valid.items():
        for seen, day in zip(there, days[group], strict=True):
            last = np.where(seen, np.maximum(last, day), last)
    return np.where(np.isfinite(last), last, np.nan).astype(np.float32)
