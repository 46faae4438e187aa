"""The dates a greenness curve gives, in the two slots of a target year: what a network must beat.

They are also one of its rulers: the curve through clear images all the time is the truth of
archives that have no camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcrop import stages
from deepcrop.phenology import season_dates
from deepcrop.phenology.smoothers import Smoother


@dataclass(frozen=True, eq=False)
class CurveDates:
    """Dates of n series: slot by the dates of `deepcrop.stages.CALENDAR`, NaN where there is none.

    Attributes
    ----------
    day, low, high : ndarray of float32 (n, 2, 5)
        Fractional days on the origin of the target year, and their 90 % interval.
    count : ndarray of uint8 (n,)
        Seasons that peak in the year.
    """

    day: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    count: NDArray[np.uint8]


def curve_dates(
    values: ArrayLike,
    days: ArrayLike,
    year: int,
    latitude: float,
    smoother: str | Smoother = "whittaker",
    preset: str = "sentinel2",
) -> CurveDates:
    """Season dates of greenness series by the project's curve method.

    Parameters
    ----------
    values : array_like (n, times)
        NDVI or another greenness, NaN where there is nothing.
    days : array_like (times,)
        Days since 1 January of the target year.
    year : int
        Target year.
    latitude : float
        Degrees; decides which season is the main one.
    smoother : str or settings
    preset : str
        As of `deepcrop.phenology.season_dates`.
    """
    seasons = season_dates(values, days, smoother=smoother, preset=preset)
    peaks = seasons.dates[:, :, seasons.stages.index("peak")]
    index, count = stages.select_slots(peaks, seasons.amplitude, year, latitude)
    at = np.maximum(index, 0)[:, :, None]

    def slots(dates: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(index[:, :, None] < 0, np.nan, np.take_along_axis(dates, at, 1))

    return CurveDates(slots(seasons.dates), slots(seasons.low), slots(seasons.high), count)
