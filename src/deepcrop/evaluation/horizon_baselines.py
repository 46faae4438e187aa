"""Dates that need no satellite: a crop calendar, and the date of last year."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.evaluation.scores import ReferenceDates

CROP_CALENDAR, LAST_YEAR = "crop calendar", "last year's date"
"""Names of the baselines in tables."""

UNKNOWN = ("", "unknown")
"""Entries that name no crop."""


def crop_calendar(
    wanted: ReferenceDates, known: ReferenceDates
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Median date of the site's other years; without any, of the same crop at other clusters.

    Parameters
    ----------
    wanted : ReferenceDates
        Site-years to date; their own year is not used, at no camera of the site.
    known : ReferenceDates
        Site-years to take dates from.

    Returns
    -------
    day : ndarray (n, 4)
        Of the main season, by `deepcrop.stages.STAGES`; NaN where there is neither.
    of_site : ndarray of bool (n, 4)
        Whether the date is that of the site.
    """
    days = known.day[:, 0]
    day = np.full((len(wanted), days.shape[1]), np.nan)
    of_site = np.zeros(day.shape, np.bool_)
    facts = zip(wanted.site, wanted.year, wanted.crop, wanted.cluster, strict=True)
    for row, (site, year, crop, cluster) in enumerate(facts):
        here = median_of_rows(days[(known.site == site) & (known.year != year)])
        elsewhere = (known.cluster != cluster) & (known.crop == crop) & (crop not in UNKNOWN)
        of_site[row] = np.isfinite(here)
        day[row] = np.where(of_site[row], here, median_of_rows(days[elsewhere]))
    return day, of_site


def last_year(wanted: ReferenceDates, known: ReferenceDates) -> NDArray[np.float64]:
    """Date (n, 4) of the same camera in the year before; NaN where there is none."""
    dates = dict(zip(known.site_year.tolist(), known.day[:, 0], strict=True))
    none = np.full(known.day.shape[2], np.nan)
    before = [
        dates.get(f"{name.rpartition('_')[0]}_{year - 1}", none)
        for name, year in zip(wanted.site_year.tolist(), wanted.year.tolist(), strict=True)
    ]
    return np.array(before, np.float64).reshape(-1, known.day.shape[2])


def median_of_rows(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each column over its finite values; NaN where there is none."""
    columns = (column[np.isfinite(column)] for column in days.T)
    return np.array([np.median(column) if column.size else np.nan for column in columns])
