"""The day on which a method has found a date, and by how many days another finds it sooner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.evaluation.horizons import Forecasts

CLOSE = 7.0
"""Days within which a date counts as found."""


def day_found(found: Forecasts, never: float) -> NDArray[np.float64]:
    """First day, after the event, from which on each sample's date is known to within `CLOSE`.

    Parameters
    ----------
    found : Forecasts
        Of one stage, with the same horizons for each sample.
    never : float
        Value of samples whose date is not found up to the last cut-off day.

    Returns
    -------
    ndarray (samples,)
        In the order of the samples' numbers.
    """
    days = []
    for number in np.unique(found.number):
        one = found.where(found.number == number)
        order = np.argsort(one.horizon)
        close = np.abs(one.error[order]) <= CLOSE  # NaN, not known, is not close
        from_here_on = np.logical_and.accumulate(close[::-1])[::-1]
        first = int(from_here_on.argmax())
        days.append(one.horizon[order][first] if from_here_on.any() else never)
    return np.array(days)


@dataclass(frozen=True)
class Advance:
    """By how many days one method finds a date before another.

    Attributes
    ----------
    days : float
        Mean over samples of the day found by the first method less that by the second.
    low, high : float
        95 % interval of ``days``, by a bootstrap over sites.
    sooner, later : float
        Share of the samples that the first method finds sooner, and later.
    """

    days: float
    low: float
    high: float
    sooner: float
    later: float


def advance(first: Forecasts, second: Forecasts, never: float) -> Advance:
    """Compare the days on which two methods find the dates of the same samples."""
    difference = day_found(first, never) - day_found(second, never)
    _, place = np.unique(first.number, return_index=True)
    site = first.site[place]
    # Site-years of one site err together: whole sites are drawn.
    sums = [(difference[site == name].sum(), (site == name).sum()) for name in np.unique(site)]
    total, count = np.array(sums, np.float64).T
    draws = np.random.default_rng(1).integers(0, len(total), (2000, len(total)))
    means = total[draws].sum(1) / count[draws].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Advance(
        days=float(difference.mean()),
        low=float(low),
        high=float(high),
        sooner=float((difference < 0).mean()),
        later=float((difference > 0).mean()),
    )
