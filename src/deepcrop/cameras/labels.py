"""Season dates of a camera's greenness, screened: the labels that networks are trained on.

The paper's rule (section 3.1): raw 90th-percentile greenness, an adaptive Savitzky-Golay curve, and
the dates at 20 % and 50 % of each season's amplitude. A label comes with its 90 % interval, and
every year of every camera with a verdict and its reason, so that no year is dropped silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.phenology import REASONS, season_dates, smooth
from deepcrop.phenology.date_kernels import NOISE, TOO_LONG, TOO_SMALL
from deepcrop.phenology.slots import choose_slots, season_middle, start_of_year, sunlight
from deepcrop.stages import (
    CALENDAR,
    SOUTHERN_YEAR_START,
    STAGES,
    YEAR_START,
    TargetYear,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from deepcrop.sources.phenocam.summary_files import CameraSeries

SMOOTHER, PRESET = "savgol", "phenocam"
"""Smoother of camera series, the paper's, and its settings; independent of the default smoother."""

STEP = 3
"""Days between the observations of a 3-day file; shares of what was observed count such steps."""


@dataclass(frozen=True)
class Screening:
    """Criteria for accepting a site-year.

    Attributes
    ----------
    min_share : float
        Share of 3-day steps observed, in the year's growing window and in the main season itself.
    max_gap : float
        Longest time without an observation around a date of the main season, days.
    min_amplitude : float
        Smallest amplitude of the main season, greenness.
    max_interval : float
        Widest 90 % interval of a start or end of the main season, days. On the real cameras of
        `docs/labels.md` dates whose interval is up to 30 days wide lie within 3 days of the dates
        of others in the median; at 50 % those with wider ones lie 11 to 50 days away.
    """

    min_share: float = 0.8
    max_gap: float = 15.0
    min_amplitude: float = 0.03
    max_interval: float = 30.0


@dataclass(frozen=True)
class Event:
    """One date of a season.

    Attributes
    ----------
    day, low, high : float
        Fractional day since 1 January of the target year, and its 90 % interval; NaN if unknown.
    gap : float
        Longest time without an observation within 3 days of it; NaN if the date is unknown.
    reason : str
        "found", or why there is no date.
    """

    day: float
    low: float
    high: float
    gap: float
    reason: str

    @property
    def width(self) -> float:
        """Days from the low to the high end of the interval."""
        return self.high - self.low


@dataclass(frozen=True)
class Season:
    """One season of one camera.

    Attributes
    ----------
    number : int
        1, 2, … in order of time within the year.
    slot : int
        1 for the main season of the year, 2 for the next, 0 for any other.
    events : dict of str to Event
        By the names of `CALENDAR`.
    amplitude : float
        Mean of rise and fall.
    observations : int
        Observations used between its first and its last date.
    observed_share : float
        Share of 3-day steps with one.
    largest_gap : float
        Longest time without an observation between its first and its last date, days.
    """

    number: int
    slot: int
    events: dict[str, Event]
    amplitude: float
    observations: int
    observed_share: float
    largest_gap: float

    @property
    def length(self) -> float:
        """Days from SOS20 to EOS20; NaN if one of them is unknown."""
        return self.events["eos20"].day - self.events["sos20"].day


@dataclass(frozen=True)
class SiteYear:
    """One year of one camera.

    Attributes
    ----------
    year : int
        Target year; a season belongs to the year in which its middle lies
        (`deepcrop.phenology.slots.season_middle`).
    crop : str
        From the crop table; empty if unknown.
    seasons : tuple of Season
        In order of time.
    observed_share : float
        Share of 3-day steps of the growing window that were observed.
    accepted : bool
        Whether the main season may be used as a label.
    why : str
        Why it was rejected, or what to know of it.
    undated : dict of int to str
        Why a slot has no dates, where a season that could not be dated takes it.
    """

    year: int
    crop: str
    seasons: tuple[Season, ...]
    observed_share: float
    accepted: bool
    why: str
    undated: dict[int, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return "accepted" if self.accepted else "rejected"


@dataclass(frozen=True)
class CameraLabels:
    """Season dates and verdicts of one series.

    Attributes
    ----------
    camera : CameraSeries
    column : str
        The greenness that was used.
    weights : ndarray of float32 (days,)
        Weight of each day's value, 0 = not used.
    curve_days, curve : ndarray of float (points,)
        The smooth curve; days since the first date of the series.
    years : tuple of SiteYear
        Every year with a row in the file's observed span.
    year_start : str
        Month and day on which they start.
    """

    camera: CameraSeries
    column: str
    weights: NDArray[np.float32]
    curve_days: NDArray[np.float64]
    curve: NDArray[np.float32]
    years: tuple[SiteYear, ...]
    year_start: str = YEAR_START


def observation_weights(camera: CameraSeries, column: str = "gcc_90") -> NDArray[np.float32]:
    """Weight of each day's greenness, from 0 (not used) to nearly 1.

    - No value or no image: no observation.
    - Snow flag: 0. Snow hides a crop, and what shows is not its greenness.
    - Outlier flag of the column: 0. The network saw it far from its neighbours.
    - n images: n / (n + 3). On the 109 agricultural series of `docs/labels.md` the variance about
      the curve is four times as large with one image as with fifty, and hardly differs beyond ten:
      most of the noise is the weather of the day, which more images do not average out.

    Returns
    -------
    ndarray of float32 (days,)
    """
    images = np.nan_to_num(camera.image_count)
    used = np.isfinite(camera.greenness[column]) & (images > 0)
    used &= ~camera.snow & ~camera.outlier[column]
    return np.where(used, images / (images + 3), 0).astype(np.float32)


def label_series(
    camera: CameraSeries,
    column: str = "gcc_90",
    crops: Mapping[tuple[str, int], str] | None = None,
    screening: Screening | None = None,
    year_start: str = YEAR_START,
) -> CameraLabels:
    """Season dates and verdicts of one camera series.

    Parameters
    ----------
    camera : CameraSeries
        Read with ``column`` among its columns.
    column : str
        Greenness to use.
    crops : mapping, optional
        Crop by (site, year), as `deepcrop.cameras.crop_table.read_crops` gives it.
    screening : Screening, optional
        What a site-year must have to be accepted.
    year_start : str
        Month and day on which a target year starts (`deepcrop.stages.TargetYear`); ``"auto"`` is
        ``"07-01"`` for a camera south of the equator, so that its summer crops stay whole.

    Returns
    -------
    CameraLabels
    """
    screening = screening or Screening()
    weights = observation_weights(camera, column)
    days = (camera.date - camera.date[0]).astype(np.float32)
    seen = days[weights > 0]
    values = camera.greenness[column][None, weights > 0]
    kept = weights[None, weights > 0]
    curve, curve_days = smooth(values, seen, kept, smoother=SMOOTHER, preset=PRESET)
    found = season_dates(values, seen, kept, smoother=SMOOTHER, preset=PRESET, fractions=(0.2, 0.5))
    order = [found.stages.index(name) for name in CALENDAR]
    dates, low, high = (part[0][:, order] for part in (found.dates, found.low, found.high))
    reasons = found.reason[0][:, order]
    middles = season_middle(dates, CALENDAR)
    dated = camera.date[weights > 0] if seen.size else camera.date
    year_start = start_of_year(year_start, camera.latitude)
    first, last = (_year_of(day, year_start) for day in (dated[0], dated[-1]))

    years = []
    for year in range(first, last + 1):
        target = TargetYear(year, year_start)
        start = _january(camera, year)
        choice = choose_slots(found, year, camera.latitude, start, year_start)
        slots = choice.index[0].tolist()
        rows = np.flatnonzero(target.contains(middles - start))
        seasons = []
        for number, row in enumerate(rows, 1):
            slot = 1 + slots.index(row) if row in slots else 0
            events = {
                name: Event(
                    day=float(dates[row, k] - start),
                    low=float(low[row, k] - start),
                    high=float(high[row, k] - start),
                    gap=_gap_around(seen, float(dates[row, k])),
                    reason=REASONS[reasons[row, k]],
                )
                for k, name in enumerate(CALENDAR)
            }
            begin, end = float(np.nanmin(dates[row])), float(np.nanmax(dates[row]))
            seasons.append(
                Season(
                    number=number,
                    slot=slot,
                    events=events,
                    amplitude=float(found.amplitude[0, row]),
                    observations=int(((seen >= begin) & (seen <= end)).sum()),
                    observed_share=_observed(seen, np.arange(begin, end + 1)),
                    largest_gap=_largest_gap(seen, begin, end),
                )
            )
        window = growing_window(camera.latitude, target.length, target.first)
        share = _observed(seen, start + window)
        undated = {
            slot: REASONS[reasons[row].max()]
            for slot, row in enumerate(slots, 1)
            if row >= 0 and np.isnan(dates[row]).all()
        }
        if seasons:
            why_none = undated.get(1, "")
        elif share < screening.min_share:
            why_none = "too few observations"
        else:
            why_none = _why_none(dates, reasons, undated.get(1, ""), target, camera)
        accepted, why = _verdict(seasons, share, why_none, screening)
        crop = (crops or {}).get((camera.site, year), "")
        years.append(SiteYear(year, crop, tuple(seasons), share, accepted, why, undated))
    return CameraLabels(camera, column, weights, curve_days, curve[0], tuple(years), year_start)


def growing_window(latitude: float, length: int = 365, first: int = 0) -> NDArray[np.int64]:
    """Days of a year on which crops are expected to grow, for the share that was observed.

    They are those with at least half of the year's best sunlight above the atmosphere: late
    February to mid-October at 41° N, the whole year in the tropics.
    """
    days = np.arange(first, first + length)
    light = sunlight(days.astype(np.float64), latitude)
    return np.asarray(days[light >= 0.5 * light.max()])


def _year_of(date: np.datetime64, year_start: str) -> int:
    """Target year that a date lies in."""
    year = int(str(date)[:4])
    for target in (TargetYear(year - 1, year_start), TargetYear(year, year_start)):
        if date <= target.dates[1]:
            return target.year
    return year + 1


def _january(camera: CameraSeries, year: int) -> int:
    """1 January of a year, in days since the first date of the series."""
    return int((np.datetime64(f"{year:04d}-01-01", "D") - camera.date[0]).astype(np.int64))


def _observed(seen: NDArray[np.float32], days: NDArray[Any]) -> float:
    """Share of the 3-day steps of ``days`` with an observation."""
    steps = np.unique(np.floor(days / STEP))
    hit = np.isin(steps, np.floor(seen / STEP))
    return float(hit.mean()) if steps.size else math.nan


def _largest_gap(seen: NDArray[np.float32], begin: float, end: float) -> float:
    """Longest time without an observation that touches a season."""
    touches = (seen[1:] > begin) & (seen[:-1] < end)
    return float(np.diff(seen)[touches].max(initial=0.0))


def _gap_around(seen: NDArray[np.float32], day: float) -> float:
    """Longest time without an observation within one step of a date.

    A date at the very edge of a gap rests on one side of it only.
    """
    return _largest_gap(seen, day - STEP, day + STEP) if math.isfinite(day) else math.nan


def _why_none(
    dates: NDArray[np.float32],
    reasons: NDArray[np.uint8],
    strongest: str,
    target: TargetYear,
    camera: CameraSeries,
) -> str:
    """Why a year has no season, as far as the curve shows.

    ``strongest`` says why the strongest season of the year has no dates, if there is any.
    """
    undated = np.asarray(np.isnan(dates).all(axis=1))
    if undated.all():
        return strongest or REASONS[reasons[0, 0]]
    if strongest not in ("", REASONS[NOISE]):
        return strongest
    # A summer crop of the southern hemisphere may peak on 27 December and then on 4 January.
    start = _january(camera, target.year) + target.first
    end = start + target.length
    # The season of two years has no start and no end, and lies between its neighbours.
    for row in np.flatnonzero((reasons == TOO_LONG).any(axis=1)):
        after = np.nanmax(dates[:row], initial=-np.inf)
        before = np.nanmin(dates[row + 1 :], initial=np.inf)
        if after < end and before > start:
            return REASONS[TOO_LONG]
    seasons = dates[~undated]
    reach = (np.nanmax(seasons, axis=1) >= start) & (np.nanmin(seasons, axis=1) < end)
    if reach.any():
        peaks = seasons[reach, CALENDAR.index("peak")]
        when = [str(camera.date[0] + int(np.floor(peak))) for peak in peaks if np.isfinite(peak)]
        if when:
            south = camera.latitude < 0 and target.start == YEAR_START
            advice = f" (year start {SOUTHERN_YEAR_START} keeps summers whole)" if south else ""
            return f"those that reach into the year peak on {' and '.join(when)}{advice}"
    return strongest or REASONS[TOO_SMALL]


def is_vague(name: str, event: Event, screening: Screening) -> bool:
    """Whether the interval of a date is too wide for a label.

    Not of the peak: that of a flat top is uncertain, and harmless.
    """
    return name in STAGES and event.width > screening.max_interval


def _verdict(
    seasons: Sequence[Season], share: float, why_none: str, screening: Screening
) -> tuple[bool, str]:
    """Whether a site-year is accepted, and the reason or a remark."""
    faults = []
    if not share >= screening.min_share:
        faults.append(
            f"growing window {100 * share:.0f} % observed, {100 * screening.min_share:.0f} % needed"
        )
    main = next((season for season in seasons if season.slot == 1), None)
    if main is None:
        missing = "no dates of the strongest season" if seasons else "no season"
        return False, "; ".join([f"{missing}: {why_none}", *faults])
    if main.amplitude < screening.min_amplitude:
        faults.append(
            f"amplitude {main.amplitude:.3f} too small, {screening.min_amplitude:g} needed"
        )
    if main.observed_share < screening.min_share:
        faults.append(
            f"main season {100 * main.observed_share:.0f} % observed, "
            f"{100 * screening.min_share:.0f} % needed"
        )
    for name, event in main.events.items():
        if event.reason != "found":
            faults.append(f"no {name.upper()}: {event.reason}")
        elif event.gap > screening.max_gap:
            faults.append(f"{event.gap:.0f} days without an observation around {name.upper()}")
        elif is_vague(name, event, screening):
            faults.append(
                f"90 % interval of {name.upper()} {event.width:.1f} days wide, "
                f"{screening.max_interval:g} allowed"
            )
    if faults:
        return False, "; ".join(faults)
    return True, f"{len(seasons)} seasons, slot 1 is the main one" if len(seasons) > 1 else ""
