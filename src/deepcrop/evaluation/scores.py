"""Dates of methods against dates of cameras: errors in days, what was found, what was made up.

One rule for all methods. Slot 1 is the main season; the answer of a slot is held against the
camera's date of the same slot, and that date is continuous: never moved to that of an image. What a
mix-up of the two slots costs, and what the published score at the nearest image would be, stand
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcrop import grid, indices
from deepcrop.errors import DeepCropError
from deepcrop.phenology.season_matching import exchanged
from deepcrop.phenology.slots import curve_dates
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER
from deepcrop.stages import CALENDAR, SLOTS, STAGES, Dates
from deepcrop.training.samples import Sample, site_year_of

ALL = "all"
"""Group of all samples, and stage of all four stages together."""

NEAR_DATE = 30.0
"""Days before and after a date within which an image helps to find it."""

_CAMERA = [CALENDAR.index(name) for name in STAGES]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the cameras say of n samples; slot by stage (`deepcrop.stages.STAGES`).

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

    def part(self, chosen: NDArray) -> Truth:
        """Return some of the samples, by index or mask."""
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self)[:-1]}
        return Truth(**arrays, simulated=self.simulated)


@dataclass(frozen=True, eq=False)
class Answers(Dates[NDArray[np.floating]]):
    """What one method says of the same samples, of one slot or two.

    Attributes
    ----------
    day, low, high : ndarray of float (n, slots, 4)
        Dates and their 90 % interval; NaN where no event or no interval is reported.
    probability : ndarray of float (n, slots, 4), optional
        Of the event.
    snapped : ndarray of float (n, slots, 4), optional
        The camera's dates moved to the nearest image, of methods that learned them so.
    """

    snapped: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """A method in a comparison.

    Attributes
    ----------
    method : str
    truth : Truth
    runs : sequence of Answers
        One for each seed; one alone for a method without chance.
    """

    method: str
    truth: Truth
    runs: Sequence[Answers]

    def part(self, chosen: NDArray) -> Entry:
        """Return the same of some of the samples, by index or mask."""
        return replace(
            self, truth=self.truth.part(chosen), runs=[run.part(chosen) for run in self.runs]
        )


@dataclass(frozen=True)
class Metrics:
    """How good answers are; NaN where there is nothing to judge by.

    Attributes
    ----------
    detected : float
        Share of the camera's dates for which there is an answer. All errors are of these.
    mae, median, rmse, p90 : float
        Mean, median, root mean square and 90th percentile of the absolute error, days.
    bias : float
        Mean error, positive = too late.
    coverage, width : float
        Share of the camera's dates inside the 90 % interval, and its mean width in days.
    false : float
        Share of the events known not to be that were reported.
    crossed : float
        Share of the dates whose sample has main and second season the other way round.
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
    """One row of a score table.

    Attributes
    ----------
    method, group, stage : str
        Stage is one of the four, or "all" of them.
    season : int
        1, the main one, or 2.
    site_years, dates, absent : int
        Site-years in the group; dates of the camera (more where site-years were simulated several
        times); events that are known not to be.
    seeds : int
        Runs.
    mean, spread : Metrics
        Over the seeds; the spread is their standard deviation, NaN of one.
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


# Truth and the curve's answers -------------------------------------------------------------------


def truth_of(samples: Iterable[Sample]) -> Truth:
    """Gather what cameras say of samples.

    Raises
    ------
    DeepCropError
        If there is no sample.
    """
    facts, days, none, clear = [], [], [], []
    simulated = False
    for one in samples:
        name = site_year_of({"name": one.name, "simulated": one.simulated})
        facts.append((name, one.site, one.cluster, one.crop or "unknown", str(one.year)))
        day = np.asarray(one.day, np.float64)[:, _CAMERA]
        seen = one.patch.optical_days[np.isfinite(_ndvi(one))]
        days.append(day)
        none.append(np.asarray(one.none)[:, _CAMERA])
        clear.append((np.abs(seen - day[..., None]) <= NEAR_DATE).sum(-1))
        simulated |= one.simulated
    if not facts:
        raise DeepCropError("There is no sample to score.")
    columns = np.array(facts).T
    return Truth(
        site_year=columns[0],
        site=columns[1],
        cluster=columns[2],
        crop=columns[3],
        year=columns[4].astype(np.int64),
        day=np.stack(days),
        none=np.stack(none),
        clear=np.stack(clear),
        simulated=simulated,
    )


def joined(entries: Sequence[Entry]) -> Entry:
    """Put entries of one method and different samples together, run by run."""
    arrays = {
        f.name: np.concatenate([getattr(entry.truth, f.name) for entry in entries])
        for f in fields(Truth)[:-1]
    }
    truth = Truth(**arrays, simulated=any(entry.truth.simulated for entry in entries))
    runs = []
    for some in zip(*(entry.runs for entry in entries), strict=True):
        parts: dict[str, Any] = {}
        for name in (f.name for f in fields(Answers)):
            each = [getattr(run, name) for run in some]
            parts[name] = None if each[0] is None else np.concatenate(each)
        runs.append(Answers(**parts))
    return Entry(entries[0].method, truth, runs)


def curve_answers(
    samples: Iterable[Sample], smoother: str = DEFAULT_SMOOTHER, preset: str = "sentinel2"
) -> Answers:
    """Dates of the NDVI curve at the pixel (9, 9) of each sample (`deepcrop.phenology.slots`)."""
    found = []
    for one in samples:
        dates = curve_dates(
            _ndvi(one)[None], one.patch.optical_days, one.year, one.latitude, smoother, preset
        )
        found.append([part[0][:, _CAMERA] for part in (dates.day, dates.low, dates.high)])
    return Answers(*(np.stack(parts) for parts in zip(*found, strict=True)))


def _ndvi(sample: Sample) -> NDArray[np.float32]:
    """NDVI (dates,) of the pixel that a patch is about."""
    centre = sample.patch.optical[:, :, grid.PATCH_CENTRE, grid.PATCH_CENTRE]
    return indices.ndvi_of(centre[:, 3], centre[:, 2])


def offsets(answers: Answers, truth: Truth) -> NDArray[np.float64]:
    """Median error of each stage (4,), of main seasons; to be learned on training sites only.

    Raises
    ------
    DeepCropError
        If a stage has no date to learn from.
    """
    error = answers.day[:, 0] - truth.day[:, 0]
    known = np.isfinite(error)
    if not known.any(axis=0).all():
        raise DeepCropError("Offsets of the curve cannot be learned: a stage was never dated.")
    return np.array([np.median(error[known[:, k], k]) for k in range(len(STAGES))])


def shifted(answers: Answers, days: ArrayLike) -> Answers:
    """Answers with an offset (4,) taken off each stage, of both slots."""
    off = np.asarray(days)
    day, low, high = (part - off for part in (answers.day, answers.low, answers.high))
    return replace(answers, day=day, low=low, high=high)


# Scores ------------------------------------------------------------------------------------------


def score(
    entry: Entry, group: str = ALL, where: ArrayLike | None = None, season: int = 1
) -> list[Score]:
    """Score a method on a group of samples or dates: a row for each stage, and one for all.

    Parameters
    ----------
    entry : Entry
        The method.
    group : str
        Name of the group.
    where : array_like of bool (n,) or (n, 2, 4), optional
        What belongs to the group; by default everything.
    season : int
        1 or 2.

    Returns
    -------
    list of Score
        Empty if the method has no such slot, or the group nothing to judge by.
    """
    truth, slot = entry.truth, season - 1
    inside = np.ones(truth.day.shape, np.bool_)
    if where is not None:
        where = np.asarray(where)
        inside = inside & (where[:, None, None] if where.ndim == 1 else where)
    known, absent = inside & np.isfinite(truth.day), inside & truth.none
    if any(run.day.shape[1] <= slot for run in entry.runs) or not (known | absent)[:, slot].any():
        return []
    rows = []
    for k, stage in [(slice(k, k + 1), name) for k, name in enumerate(STAGES)] + [
        (slice(None), ALL)
    ]:
        each = [_metrics(run, truth, known, absent, slot, k) for run in entry.runs]
        here = known[:, slot, k]
        rows.append(
            Score(
                method=entry.method,
                group=group,
                season=season,
                stage=stage,
                site_years=len(np.unique(truth.site_year[here.any(axis=1)])),
                dates=int(here.sum()),
                absent=int(absent[:, slot, k].sum()),
                seeds=len(each),
                mean=Metrics(*(mean([getattr(one, name) for one in each]) for name in METRICS)),
                spread=Metrics(*(spread([getattr(one, name) for one in each]) for name in METRICS)),
            )
        )
    return rows


def mean(values: ArrayLike) -> float:
    """Return the mean of what is finite; NaN of nothing."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")


def spread(values: ArrayLike) -> float:
    """Return the standard deviation of what is finite (over n - 1); NaN of fewer than two."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return float(numbers.std(ddof=1)) if numbers.size > 1 else float("nan")


def _metrics(
    run: Answers,
    truth: Truth,
    known: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    slot: int,
    stage: slice,
) -> Metrics:
    """Metrics of one run; ``known`` and ``absent`` (n, 2, 4) say what is judged."""
    here, gone = known[:, slot, stage], absent[:, slot, stage]
    label = truth.day[:, slot, stage]
    day, low, high = (part[:, slot, stage] for part in (run.day, run.low, run.high))
    found = here & np.isfinite(day)
    error = (day - label)[found]
    size = np.abs(error)
    bounded = found & np.isfinite(low) & np.isfinite(high)
    inside = ((low <= label) & (label <= high))[bounded]
    whole = _both_slots(run.day)
    # (n, slots, stages) -> (slots, stages, n)
    swap = exchanged(np.moveaxis(truth.day, 0, -1), np.moveaxis(whole, 0, -1))[:, None, None]
    paired = np.where(swap, whole[:, ::-1], whole)[:, slot, stage]
    snapped = np.full(label.shape, np.nan) if run.snapped is None else run.snapped[:, slot, stage]
    return Metrics(
        detected=mean(np.isfinite(day)[here]),
        mae=mean(size),
        median=float(np.median(size)) if size.size else float("nan"),
        bias=mean(error),
        rmse=float(np.sqrt(mean(error**2))),
        p90=float(np.quantile(size, 0.9)) if size.size else float("nan"),
        coverage=mean(inside),
        width=mean((high - low)[bounded]),
        false=mean(np.isfinite(day)[gone]),
        crossed=mean(np.broadcast_to(swap[:, 0], here.shape)[here]),
        mae_paired=mean(np.abs(paired - label)[here]),
        mae_snapped=mean(np.abs(day - snapped)[found]),
    )


def _both_slots(day: NDArray[np.floating]) -> NDArray[np.floating]:
    """Add an empty second slot where there is one only."""
    empty = np.full((day.shape[0], SLOTS - day.shape[1], day.shape[2]), np.nan, day.dtype)
    return np.concatenate([day, empty], axis=1)
