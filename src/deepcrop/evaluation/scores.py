"""Score the season dates of methods against the dates of cameras.

The same rules hold for all methods. Slot 1 is the main season, and the prediction of a slot is
compared with the camera's date of the same slot. Camera dates are continuous: they are never moved
to the date of an image. Two further errors show what these rules cost: the error if exchanged slots
were put right, and the error against the camera's date moved to the nearest image, as published.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepcrop import grid, indices
from deepcrop.errors import DeepCropError
from deepcrop.phenology.season_matching import exchanged
from deepcrop.phenology.slots import curve_dates
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER
from deepcrop.stages import CALENDAR, SLOTS, STAGES, Dates
from deepcrop.training.samples import Sample, site_year_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

ALL = "all"
"""Group of all samples, and stage of all four stages together."""

NEAR_DATE = 30.0
"""Days before and after a date within which an image helps to find it."""

_CAMERA = [CALENDAR.index(name) for name in STAGES]


# Errors ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorSummary:
    """Size of the errors of predicted dates, in days; NaN where there is no error.

    Every score of the project is computed by `summarize_errors`; scores differ in what they pair.

    Attributes
    ----------
    references : int
        Reference dates.
    detected : float
        Share of the reference dates for which there is a predicted date. All errors are of these.
    mae, median, rmse, p90 : float
        Mean, median, root mean square and 90th percentile of the absolute error.
    bias : float
        Mean error, positive = predicted too late.
    """

    references: int
    detected: float
    mae: float
    median: float
    bias: float
    rmse: float
    p90: float


def summarize_errors(errors: ArrayLike, counts: ArrayLike | None = None) -> ErrorSummary:
    """Summarise errors of predicted dates.

    Parameters
    ----------
    errors : array_like of float
        Predicted less reference date, one for each reference date; NaN where nothing was predicted.
    counts : array_like of int, optional
        How often each error occurs, where ``errors`` is a histogram; by default once.

    Examples
    --------
    >>> summary = summarize_errors([0.0, 2.0, -4.0, 10.0, float("nan")])
    >>> summary.detected, summary.mae, summary.median, summary.bias
    (0.8, 4.0, 3.0, 2.0)
    """
    error = np.asarray(errors, np.float64).ravel()
    found = np.isfinite(error)
    if counts is None:
        references, detected = error.size, int(found.sum())
        error = error[found]
        size = np.abs(error)
        mae, bias, square = mean_of_finite(size), mean_of_finite(error), mean_of_finite(error**2)
        median = float(np.median(size)) if size.size else np.nan
        p90 = float(np.quantile(size, 0.9)) if size.size else np.nan
    else:
        count = np.asarray(counts, np.int64).ravel()
        references, detected = int(count.sum()), int(count[found].sum())
        error, count = error[found], count[found]
        size = np.abs(error)
        mae, bias, square = (
            float((count * values).sum() / detected) if detected else np.nan
            for values in (size, error, error**2)
        )
        median, p90 = (_histogram_quantile(size, count, q) for q in (0.5, 0.9))
    return ErrorSummary(
        references=references,
        detected=detected / references if references else np.nan,
        mae=mae,
        median=median,
        bias=bias,
        rmse=float(np.sqrt(square)),
        p90=p90,
    )


def _histogram_quantile(
    values: NDArray[np.float64], counts: NDArray[np.int64], quantile: float
) -> float:
    """Quantile of a histogram, interpolated between order statistics as by `numpy.quantile`."""
    if not counts.sum():
        return np.nan
    order = np.argsort(values)
    upto = np.cumsum(counts[order])
    place = quantile * (upto[-1] - 1)
    below, above = values[order][np.searchsorted(upto, [np.floor(place), np.ceil(place)], "right")]
    return float(below + (above - below) * (place - np.floor(place)))


def mean_of_finite(values: ArrayLike) -> float:
    """Return the mean of the finite values; NaN if there is none."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")


def deviation_of_finite(values: ArrayLike) -> float:
    """Return the standard deviation of the finite values (over n - 1); NaN of fewer than two."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.std(ddof=1)) if numbers.size > 1 else float("nan")


# Reference and predictions -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReferenceDates:
    """Camera dates of n samples; slot by stage (`deepcrop.stages.STAGES`).

    Attributes
    ----------
    site_year, site, cluster, crop : ndarray of str (n,)
        ``site_year`` names region of interest and year, the same for all simulations of it.
    year : ndarray of int (n,)
    day : ndarray of float64 (n, 2, 4)
        Continuous days since 1 January of the year; NaN where unknown or none.
    none : ndarray of bool (n, 2, 4)
        Whether it is known that there is no such event.
    clear : ndarray of int (n, 2, 4)
        Optical observations of the pixel within `NEAR_DATE` days of the date; 0 without a date.
    simulated : bool
        Whether any of the pixels are simulated.
    """

    site_year: NDArray[np.str_]
    site: NDArray[np.str_]
    cluster: NDArray[np.str_]
    crop: NDArray[np.str_]
    year: NDArray[np.int64]
    day: NDArray[np.float64]
    none: NDArray[np.bool_]
    clear: NDArray[np.int64]
    simulated: bool

    def __len__(self) -> int:
        return len(self.site)

    def subset(self, chosen: NDArray[Any]) -> ReferenceDates:
        """Select samples by index or mask."""
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self)[:-1]}
        return ReferenceDates(**arrays, simulated=self.simulated)


@dataclass(frozen=True, eq=False)
class Predictions(Dates[NDArray[np.floating]]):
    """Dates that one method predicts for the same samples, in one slot or two.

    Attributes
    ----------
    day, low, high : ndarray of float (n, slots, 4)
        Dates and their 90 % interval; NaN where no event or no interval is reported.
    probability : ndarray of float (n, slots, 4), optional
        Of the event.
    snapped : ndarray of float (n, slots, 4), optional
        The camera's dates moved to the nearest image, for methods that were trained on such dates.
    """

    snapped: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Predictions of a method, with the reference dates they are compared with.

    Attributes
    ----------
    method : str
    reference : ReferenceDates
    runs : sequence of Predictions
        One for each seed; a single one for a method without chance.
    """

    method: str
    reference: ReferenceDates
    runs: Sequence[Predictions]

    def subset(self, chosen: NDArray[Any]) -> MethodResult:
        """Select samples by index or mask."""
        return replace(
            self,
            reference=self.reference.subset(chosen),
            runs=[run.subset(chosen) for run in self.runs],
        )


def reference_dates(samples: Iterable[Sample]) -> ReferenceDates:
    """Collect the camera dates of samples.

    Raises
    ------
    DeepCropError
        If there is no sample.
    """
    facts, days, none, clear = [], [], [], []
    simulated = False
    for sample in samples:
        name = site_year_of({"name": sample.name, "simulated": sample.simulated})
        facts.append((name, sample.site, sample.cluster, sample.crop or "unknown", sample.year))
        day = np.asarray(sample.day, np.float64)[:, _CAMERA]
        clear_days = sample.patch.optical_days[np.isfinite(_ndvi(sample))]
        days.append(day)
        none.append(np.asarray(sample.none)[:, _CAMERA])
        clear.append((np.abs(clear_days - day[..., None]) <= NEAR_DATE).sum(-1))
        simulated |= sample.simulated
    if not facts:
        raise DeepCropError("There is no sample to score.")
    site_year, site, cluster, crop, year = (np.array(column) for column in zip(*facts, strict=True))
    return ReferenceDates(
        site_year=site_year,
        site=site,
        cluster=cluster,
        crop=crop,
        year=year.astype(np.int64),
        day=np.stack(days),
        none=np.stack(none),
        clear=np.stack(clear),
        simulated=simulated,
    )


def concatenate(results: Sequence[MethodResult]) -> MethodResult:
    """Join results of one method for different samples, run by run."""
    arrays = {
        f.name: np.concatenate([getattr(result.reference, f.name) for result in results])
        for f in fields(ReferenceDates)[:-1]
    }
    simulated = any(result.reference.simulated for result in results)
    runs = []
    for same_run in zip(*(result.runs for result in results), strict=True):
        joined: dict[str, Any] = {}
        for name in (f.name for f in fields(Predictions)):
            parts = [getattr(run, name) for run in same_run]
            joined[name] = None if parts[0] is None else np.concatenate(parts)
        runs.append(Predictions(**joined))
    return MethodResult(results[0].method, ReferenceDates(**arrays, simulated=simulated), runs)


# The curve ---------------------------------------------------------------------------------------


def curve_predictions(
    samples: Iterable[Sample], smoother: str = DEFAULT_SMOOTHER, preset: str = "sentinel2"
) -> Predictions:
    """Date the NDVI curve at the pixel (9, 9) of each sample (`deepcrop.phenology.slots`)."""
    found = []
    for sample in samples:
        dates = curve_dates(
            _ndvi(sample)[None],
            sample.patch.optical_days,
            sample.year,
            sample.latitude,
            smoother,
            preset,
        )
        found.append([array[0][:, _CAMERA] for array in (dates.day, dates.low, dates.high)])
    return Predictions(*(np.stack(arrays) for arrays in zip(*found, strict=True)))


def _ndvi(sample: Sample) -> NDArray[np.float32]:
    """NDVI (dates,) of the pixel in the middle of a patch, for which the camera's dates hold."""
    centre = sample.patch.optical[:, :, grid.PATCH_CENTRE, grid.PATCH_CENTRE]
    return indices.ndvi_of(centre[:, 3], centre[:, 2])


def median_offsets(predictions: Predictions, reference: ReferenceDates) -> NDArray[np.float64]:
    """Compute the median error (4,) of each stage, of main seasons.

    To be computed at training sites only, and then subtracted at test sites.

    Raises
    ------
    DeepCropError
        If a stage has no date to compute it from.
    """
    # Main seasons only: the second slot is often empty, and where it is filled, a wrong season in
    # it is more frequent, so that its error says little about the lag between NDVI and camera.
    error = predictions.day[:, 0] - reference.day[:, 0]
    known = np.isfinite(error)
    if not known.any(axis=0).all():
        raise DeepCropError(
            "The curve's offset cannot be computed: a stage was never dated at the training sites."
        )
    return np.array([np.median(error[known[:, k], k]) for k in range(len(STAGES))])


def subtract_offsets(predictions: Predictions, offsets: ArrayLike) -> Predictions:
    """Subtract an offset (4,) from each stage, in both slots."""
    off = np.asarray(offsets)
    day, low, high = (array - off for array in (predictions.day, predictions.low, predictions.high))
    return replace(predictions, day=day, low=low, high=high)


# Scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metrics:
    """How good predicted dates are; NaN where there is nothing to judge by.

    Attributes
    ----------
    detected, mae, median, bias, rmse, p90 : float
        As in `ErrorSummary`.
    coverage, width : float
        Share of the camera's dates inside the 90 % interval, and its mean width in days.
    false : float
        Share of the events known to be absent that were predicted.
    crossed : float
        Share of the dates whose sample has main and second season exchanged.
    mae_paired : float
        ``mae`` if seasons were paired by the time they share, whatever their slots.
    mae_snapped : float
        ``mae`` against the camera's date moved to the nearest image, as published.
    """

    detected: float
    mae: float
    median: float
    bias: float
    rmse: float
    p90: float
    coverage: float
    width: float
    false: float
    crossed: float
    mae_paired: float
    mae_snapped: float


METRICS = tuple(field.name for field in fields(Metrics))


@dataclass(frozen=True)
class Score:
    """Score of one method, group of samples, season and stage: one row of a table.

    Attributes
    ----------
    method, group, stage : str
        Stage is one of the four, or "all" of them.
    season : int
        1, the main one, or 2.
    site_years, dates, absent : int
        Site-years in the group; dates of the camera (more where site-years were simulated several
        times); events that are known to be absent.
    seeds : int
        Runs.
    mean, spread : Metrics
        Over the seeds; the spread is their standard deviation, NaN of a single one.
    """

    method: str
    group: str
    season: int
    stage: str
    site_years: int
    dates: int
    absent: int
    seeds: int
    mean: Metrics
    spread: Metrics


def score(
    result: MethodResult, group: str = ALL, where: ArrayLike | None = None, season: int = 1
) -> list[Score]:
    """Score a method on a group of samples or dates: a row for each stage, and one for all.

    Parameters
    ----------
    result : MethodResult
    group : str
        Name of the group.
    where : array_like of bool (n,) or (n, 2, 4), optional
        What belongs to the group; by default everything.
    season : int
        1 or 2.

    Returns
    -------
    list of Score
        Empty if the method has no such slot, or the group no date to judge by.
    """
    reference, slot = result.reference, season - 1
    inside = np.ones(reference.day.shape, np.bool_)
    if where is not None:
        where = np.asarray(where)
        inside = inside & (where[:, None, None] if where.ndim == 1 else where)
    # Three cases: the camera has a date (known), it is known that there is no such event (absent),
    # or the camera saw too little to tell. The third is not scored at all.
    known, absent = inside & np.isfinite(reference.day), inside & reference.none
    # The published network has one slot only; it is not scored on second seasons.
    if any(run.day.shape[1] <= slot for run in result.runs) or not (known | absent)[:, slot].any():
        return []
    # The row of all stages pools the dates of the four; it is not the mean of the four rows.
    stages = {name: slice(k, k + 1) for k, name in enumerate(STAGES)} | {ALL: slice(None)}
    rows = []
    for stage, columns in stages.items():
        runs = [_metrics(run, reference, known, absent, slot, columns) for run in result.runs]
        by_metric = {name: [getattr(metrics, name) for metrics in runs] for name in METRICS}
        here = known[:, slot, columns]
        rows.append(
            Score(
                method=result.method,
                group=group,
                season=season,
                stage=stage,
                site_years=len(np.unique(reference.site_year[here.any(axis=1)])),
                dates=int(here.sum()),
                absent=int(absent[:, slot, columns].sum()),
                seeds=len(runs),
                mean=Metrics(**{k: mean_of_finite(v) for k, v in by_metric.items()}),
                spread=Metrics(**{k: deviation_of_finite(v) for k, v in by_metric.items()}),
            )
        )
    return rows


def _metrics(
    run: Predictions,
    reference: ReferenceDates,
    known: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    slot: int,
    stages: slice,
) -> Metrics:
    """Metrics of one run; ``known`` and ``absent`` (n, 2, 4) select what is judged."""
    here, gone = known[:, slot, stages], absent[:, slot, stages]
    label = reference.day[:, slot, stages]
    day, low, high = (array[:, slot, stages] for array in (run.day, run.low, run.high))
    errors = summarize_errors((day - label)[here])
    bounded = here & np.isfinite(day) & np.isfinite(low) & np.isfinite(high)
    inside = ((low <= label) & (label <= high))[bounded]
    # What the exchange of slots costs: where main and second season are the other way round, the
    # predictions of both slots are exchanged, and the error is computed again.
    both_slots = _with_both_slots(run.day)
    # (n, slots, stages) -> (slots, stages, n)
    swap = exchanged(np.moveaxis(reference.day, 0, -1), np.moveaxis(both_slots, 0, -1))
    swap = swap[:, None, None]
    paired = np.where(swap, both_slots[:, ::-1], both_slots)[:, slot, stages]
    snapped = np.full(label.shape, np.nan) if run.snapped is None else run.snapped[:, slot, stages]
    return Metrics(
        detected=errors.detected,
        mae=errors.mae,
        median=errors.median,
        bias=errors.bias,
        rmse=errors.rmse,
        p90=errors.p90,
        coverage=mean_of_finite(inside),
        width=mean_of_finite((high - low)[bounded]),
        false=mean_of_finite(np.isfinite(day)[gone]),
        crossed=mean_of_finite(np.broadcast_to(swap[:, 0], here.shape)[here]),
        mae_paired=summarize_errors((paired - label)[here]).mae,
        mae_snapped=summarize_errors((day - snapped)[here]).mae,
    )


def _with_both_slots(day: NDArray[np.floating]) -> NDArray[np.floating]:
    """Add an empty second slot where there is only one."""
    empty = np.full((day.shape[0], SLOTS - day.shape[1], day.shape[2]), np.nan, day.dtype)
    return np.concatenate([day, empty], axis=1)
