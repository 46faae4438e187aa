"""Date seasons from the observations up to a cut-off day, and score the dates by horizon.

A horizon is the cut-off day less the reference date of an event: 15 is a fortnight after the event,
-15 a fortnight before it. Dates are reported as maps with ``until`` report them
(`deepcrop.mapping.status`): a date that is not yet known is not scored, and lowers the share known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import grid
from deepcrop.evaluation.scores import mean_of_finite, summarize_errors
from deepcrop.mapping.status import status_of
from deepcrop.products.layers import FORECAST, OBSERVED
from deepcrop.stages import CALENDAR, STAGES, Dates
from deepcrop.training.examples import select_scenes
from deepcrop.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from deepcrop.training.examples import Example

HORIZONS = tuple(range(-60, 61, 15))
"""Cut-off days, from the date of an event."""

COVERAGE = 0.9
"""Share of dates that their interval should contain."""

ALLOWED = (0.85, 0.95)
"""Shares that are taken for `COVERAGE`, however many site-years there are."""

PEAK = CALENDAR.index("peak")
"""Index of the peak among the five dates of a label."""


# Cut-off days ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CutOffs:
    """Events and cut-off days: each is one date to predict.

    Attributes
    ----------
    number : ndarray of int (m,)
        Number of the sample.
    stage : ndarray of int (m,)
        Index of the event in `deepcrop.stages.STAGES`.
    day : ndarray of float (m,)
        Last day of the observations.
    reference : ndarray of float (m,)
        Date of the event.
    """

    number: NDArray[np.intp]
    stage: NDArray[np.intp]
    day: NDArray[np.float64]
    reference: NDArray[np.float64]

    @property
    def horizon(self) -> NDArray[np.float64]:
        """Days from the event to the cut-off day; negative before the event."""
        return self.day - self.reference


def around_events(
    reference: NDArray[np.float64],
    horizons: Sequence[int] = HORIZONS,
    stages: Sequence[str] = STAGES,
) -> CutOffs:
    """Cut before and after each event.

    Parameters
    ----------
    reference : ndarray (n, 4)
        Dates of the main season; events with NaN are left out.
    horizons : sequence of int
        Days from the event to the cut-off day.
    stages : sequence of str
        Events to cut around.

    Examples
    --------
    >>> cuts = around_events(np.array([[100.0, 120.0, 220.0, np.nan]]), (-15, 15), ("sos50",))
    >>> cuts.day.tolist(), cuts.horizon.tolist()
    ([105.0, 135.0], [-15.0, 15.0])
    """
    chosen = np.array([STAGES.index(name) for name in stages])
    number, column = np.nonzero(np.isfinite(reference[:, chosen]))
    stage = chosen[column]
    number, stage = (np.repeat(index, len(horizons)) for index in (number, stage))
    dates = reference[number, stage]
    days = dates + np.tile(np.asarray(horizons, np.float64), len(dates) // max(len(horizons), 1))
    return CutOffs(number, stage, days, dates)


def at_peak(reference: NDArray[np.float64], peak: NDArray[np.float64], stage: str) -> CutOffs:
    """Cut each sample at its peak (n,), to forecast a later event of ``reference`` (n, 4)."""
    k = STAGES.index(stage)
    number = np.flatnonzero(np.isfinite(peak) & np.isfinite(reference[:, k]))
    return CutOffs(number, np.full(number.size, k), peak[number], reference[number, k])


def cut_example(example: Example, day: float) -> Example:
    """Leave out all images after a day."""
    return select_scenes(example, example.optical_days <= day, example.radar_days <= day)


def cut_sample(sample: Sample, day: float) -> Sample:
    """Leave out all images after a day."""
    patch = sample.patch
    optical, radar = patch.optical_days <= day, patch.radar_days <= day
    kept = replace(
        patch,
        optical=patch.optical[optical],
        optical_days=patch.optical_days[optical],
        radar=patch.radar[radar],
        radar_days=patch.radar_days[radar],
        orbits=patch.orbits[radar],
    )
    return replace(sample, patch=kept)


class CutSamples(Sequence[Sample]):
    """The sample of each cut-off day, with the images up to that day."""

    def __init__(self, samples: Sequence[Sample], cuts: CutOffs):
        self.samples, self.cuts = samples, cuts
        self._unpacked: tuple[int, Sample] | None = None

    def __len__(self) -> int:
        return len(self.cuts.day)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Cut number ``k``."""
        number = int(self.cuts.number[k])
        # The cuts of one sample follow each other: it is unpacked once.
        if self._unpacked is None or self._unpacked[0] != number:
            self._unpacked = number, self.samples[number]
        return cut_sample(self._unpacked[1], float(self.cuts.day[k]))


def last_valid_day(samples: Iterable[Sample], radar: bool = True) -> NDArray[np.float64]:
    """Day of the last valid observation of the pixel in the middle (n,); NaN without any."""
    middle = (..., grid.PATCH_CENTRE, grid.PATCH_CENTRE)
    last = []
    for sample in samples:
        patch = sample.patch
        days = patch.optical_days[np.isfinite(patch.optical[middle]).all(1)]
        if radar:
            echoes = patch.radar_days[np.isfinite(patch.radar[middle]).all(1)]
            days = np.concatenate([days, echoes])
        last.append(days.max() if days.size else np.nan)
    return np.array(last, np.float64)


# Dates as they are reported ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Dates that one method reports from the observations up to cut-off days.

    Attributes
    ----------
    method : str
    unit, site : ndarray of str (m,)
        Site-year, which counts once however often it was simulated; its site.
    number, stage : ndarray of int (m,)
        As of `CutOffs`.
    horizon : ndarray of float (m,)
        Days from the event to the cut-off day.
    error, width : ndarray of float (m,)
        Reported less reference date, and width of the 90 % interval; NaN where not known.
    inside : ndarray of float (m,)
        1 where the interval contains the reference date, 0 where not; NaN without an interval.
    observed : ndarray of bool (m,)
        Whether the date is reported as observed, not as forecast.
    """

    method: str
    unit: NDArray[np.str_]
    site: NDArray[np.str_]
    number: NDArray[np.intp]
    stage: NDArray[np.intp]
    horizon: NDArray[np.float64]
    error: NDArray[np.float64]
    width: NDArray[np.float64]
    inside: NDArray[np.float64]
    observed: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> Forecasts:
        """Select dates by a mask."""
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self)[1:]}
        return replace(self, **arrays)


def join(parts: Sequence[Forecasts]) -> Forecasts:
    """Join the dates of one method."""
    names = [f.name for f in fields(Forecasts)[1:]]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    return replace(parts[0], **arrays)


def forecasts(
    method: str,
    unit: NDArray[np.str_],
    site: NDArray[np.str_],
    cuts: CutOffs,
    dates: Dates[NDArray[Any]],
    last_seen: NDArray[np.float64],
) -> Forecasts:
    """Take from each prediction the main season's event, as a map would report it.

    Parameters
    ----------
    method : str
    unit, site : ndarray of str (n,)
        Of the samples.
    cuts : CutOffs
        Of m events.
    dates : Dates
        Arrays (m, slots, 4) of what the method predicts on each cut-off day.
    last_seen : ndarray (m,)
        Day of the last valid observation.
    """
    row = np.arange(len(cuts.day))
    at = (row, 0, cuts.stage)
    status = status_of(dates, last_seen)[at]
    known = np.isin(status, (OBSERVED, FORECAST))
    day, low, high = (
        np.where(known, np.asarray(array, np.float64)[at], np.nan)
        for array in (dates.day, dates.low, dates.high)
    )
    return reported(method, unit, site, cuts, day, low, high, status == OBSERVED)


def reported(
    method: str,
    unit: NDArray[np.str_],
    site: NDArray[np.str_],
    cuts: CutOffs,
    day: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    observed: NDArray[np.bool_],
) -> Forecasts:
    """Compare reported dates (m,), NaN where not known, with those of the events."""
    bounded = np.isfinite(low) & np.isfinite(high)
    inside = (low <= cuts.reference) & (cuts.reference <= high)
    return Forecasts(
        method,
        unit[cuts.number],
        site[cuts.number],
        cuts.number,
        cuts.stage,
        cuts.horizon,
        day - cuts.reference,
        high - low,
        np.where(bounded, inside, np.nan),
        observed,
    )


# Scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HorizonScore:
    """Score of one method and stage in one bin of horizons, days.

    Attributes
    ----------
    method, stage, horizon : str
        ``horizon`` names the bin.
    units : int
        Site-years.
    known, observed : float
        Share of the dates that are reported, and that are reported as observed.
    mae, median, bias : float
        Of the dates reported, as in `deepcrop.evaluation.scores.ErrorSummary`.
    coverage, width : float
        Share of the dates reported that lie inside their 90 % interval, and its median width.
    least, most : float
        Shares between which ``coverage`` lies with a probability of 95 % if the intervals contain
        90 % of all dates: binomial limits at the number of site-years with an interval.
    """

    method: str
    stage: str
    horizon: str
    units: int
    known: float
    observed: float
    mae: float
    median: float
    bias: float
    coverage: float
    least: float
    most: float
    width: float

    @property
    def calibrated(self) -> bool:
        """Whether the coverage is within `ALLOWED`, or not significantly different from 90 %."""
        low, high = min(self.least, ALLOWED[0]), max(self.most, ALLOWED[1])
        return bool(low <= self.coverage <= high)


def score_bin(found: Forecasts, stage: str, horizon: str) -> HorizonScore:
    """Score the dates of one stage and bin."""
    errors = summarize_errors(found.error)
    bounded = np.isfinite(found.inside)
    # Repeats of a site-year err together, so that limits count site-years.
    least, most = coverage_limits(len(np.unique(found.unit[bounded])))
    widths = found.width[bounded]
    return HorizonScore(
        method=found.method,
        stage=stage,
        horizon=horizon,
        units=len(np.unique(found.unit)),
        known=errors.detected,
        observed=mean_of_finite(found.observed),
        mae=errors.mae,
        median=errors.median,
        bias=errors.bias,
        coverage=mean_of_finite(found.inside),
        least=least,
        most=most,
        width=float(np.median(widths)) if widths.size else np.nan,
    )


def score_horizons(
    found: Forecasts, horizons: Sequence[int] = HORIZONS, stages: Sequence[str] = STAGES
) -> list[HorizonScore]:
    """Score a method by stage and bin of horizons; a bin reaches half a step to either side."""
    half = (horizons[1] - horizons[0]) / 2
    scores = []
    for stage in stages:
        of_stage = found.stage == STAGES.index(stage)
        for middle in horizons:
            here = of_stage & (np.abs(found.horizon - middle) <= half)
            if here.any():
                scores.append(score_bin(found.where(here), stage, f"{middle:+d}"))
    return scores


def coverage_limits(count: int) -> tuple[float, float]:
    """Binomial 95 % limits of the share inside 90 % intervals, of a number of site-years.

    Examples
    --------
    >>> [round(share, 2) for share in coverage_limits(99)]
    [0.84, 0.96]
    """
    if not count:
        return np.nan, np.nan
    inside = np.arange(count + 1)
    # By logarithms, since the coefficients of hundreds of site-years overflow.
    factorial = np.concatenate([[0.0], np.log(np.arange(1, count + 1)).cumsum()])
    chance = factorial[-1] - factorial - factorial[::-1]
    chance += inside * np.log(COVERAGE) + (count - inside) * np.log1p(-COVERAGE)
    low, high = np.searchsorted(np.exp(chance).cumsum(), (0.025, 0.975))
    return float(low) / count, float(high) / count
