"""Choose the seasons of a target year: the main season in slot 1, the next in slot 2.

Maps, `deepcrop.phenology.extract`, camera labels, simulated truth and the curve that networks are
compared with all choose by these functions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import DeepCropError
from deepcrop.phenology.seasons import Seasons, season_dates
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER, Smoother
from deepcrop.stages import (
    AUTO,
    CALENDAR,
    SLOTS,
    SOUTHERN_YEAR_START,
    YEAR_START,
    Dates,
    TargetYear,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

CLEARLY = 1.5
"""How many times as strong as a season with dates one without must be to take its slot. Noise makes
a doubtful season look stronger than it is, and among similar seasons any may be the main one."""

REACH = 60
"""Days beyond the range of day numbers from which observations still help a target year."""


def near_year(days: NDArray[np.floating], year: TargetYear) -> NDArray[np.bool_]:
    """Whether observations are used for a target year; ``days`` count from its 1 January."""
    first, last = year.range
    return np.asarray((days >= first - REACH) & (days <= last + REACH))


def season_middle(dates: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Day by which a season belongs to a year: the middle of SOS50 and EOS50.

    The highest point of a season with a flat top lies anywhere on it: in a field of winter cereals
    it falls before New Year in one pixel and after in the next, while both flanks are steep. The
    peak is taken only where SOS50 or EOS50 is missing.

    Parameters
    ----------
    dates : ndarray (..., dates)
        Dates of seasons; NaN where there is none.
    names : sequence of str
        Names of the last axis, with those of `deepcrop.stages.CALENDAR` among them.
    """
    sos50, peak, eos50 = (dates[..., names.index(name)] for name in ("sos50", "peak", "eos50"))
    middle = 0.5 * (sos50 + eos50)
    return np.where(np.isnan(middle), peak, middle)


def start_of_year(year_start: str | None, latitude: ArrayLike) -> str:
    """Month and day on which target years start, from what was chosen and the hemisphere.

    Parameters
    ----------
    year_start : str or None
        ``"07-01"``, ``"auto"`` (1 July south of the equator) or None: 1 January, with a warning in
        the south, where a calendar year splits the summer crops.
    latitude : array_like
        Degrees, of all places that get dates.

    Raises
    ------
    DeepCropError
        If the start follows from the hemisphere and there are two.
    """
    if year_start not in (None, AUTO):
        return TargetYear(2018, year_start).start  # refuses what is no day of the year
    south = np.asarray(latitude) < 0
    if year_start is None:
        if south.any():
            logger.warning(
                "Summer crops south of the equator grow across 1 January: their seasons fall into "
                "one year or the next by chance. The year start %s keeps them whole; %s says that "
                "the calendar year is meant (--year-start; in Python year_start).",
                SOUTHERN_YEAR_START,
                YEAR_START,
            )
        return YEAR_START
    if south.any() and not south.all():
        raise DeepCropError(
            f'A year start "{AUTO}" needs one hemisphere, and the latitudes lie on both sides of '
            f'the equator. Give "{YEAR_START}" or "{SOUTHERN_YEAR_START}".'
        )
    return SOUTHERN_YEAR_START if south.any() else YEAR_START


def sunlight(
    days: NDArray[np.floating], latitude: float | NDArray[np.floating]
) -> NDArray[np.float64]:
    """Daily sunlight above the atmosphere, in units of the solar constant (FAO-56, Eq. 21-25).

    Parameters
    ----------
    days : ndarray
        Day numbers (a year has 365.25 days here); NaN gives NaN.
    latitude : float or ndarray
        Degrees, south negative.
    """
    angle = 2 * np.pi * (np.asarray(days, np.float64) + 1) / 365.25
    phi = np.radians(latitude)
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1))
    height = sunset * np.sin(phi) * np.sin(declination)
    height = height + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    return np.asarray((1 + 0.033 * np.cos(angle)) * height / np.pi)


@dataclass(frozen=True, eq=False)
class SlotChoice:
    """Which seasons of n series fill the slots of a target year.

    Attributes
    ----------
    index : ndarray of int (n, slots)
        Season in each slot, -1 where the slot is empty. It may be a season without dates.
    count : ndarray of uint8 (n,)
        Seasons with dates that belong to the year, kept or not.
    """

    index: NDArray[np.intp]
    count: NDArray[np.unsignedinteger[Any]]

    def gather(self, values: NDArray[Any], empty: float = np.nan) -> NDArray[Any]:
        """Values (n, slots, ...) of the chosen seasons from (n, seasons, ...).

        ``empty`` where there is no season. The type of the values stays.
        """
        chosen = values[np.arange(len(values))[:, None], np.maximum(self.index, 0)]
        chosen[self.index < 0] = empty
        return chosen


def select_slots(
    middles: NDArray[np.floating],
    peaks: NDArray[np.floating],
    amplitudes: NDArray[np.floating],
    year: TargetYear,
    latitude: float | NDArray[np.floating],
    slots: int = SLOTS,
    refused: NDArray[np.bool_] | None = None,
) -> SlotChoice:
    """Choose which seasons of a series fill the slots of a target year, by default two.

    A season belongs to the year in which its middle lies. Slot 1 is the main season: the one with
    the largest amplitude times `sunlight` on the day of its peak; slot 2 is the next. Amplitude
    alone would take a catch crop that is green at Christmas for the main crop of a maize field.
    Sunlight is taken at the peak and not at the middle, which for winter cereals lies in the dark
    months between sowing and harvest.

    A season without dates (no more than noise, a gap, not observed) takes a slot if it is at least
    `CLEARLY` times as strong as those with dates, so that no lesser one becomes the main season.

    Parameters
    ----------
    middles : ndarray (n, seasons)
        Day numbers as `season_middle` gives them, NaN where there is no season.
    peaks : ndarray (n, seasons)
        Day numbers of the peaks.
    amplitudes : ndarray (n, seasons)
        Amplitudes in any unit; not read where there is no season.
    year : TargetYear
        Target year.
    latitude : float or ndarray (n, 1)
        Degrees, south negative.
    slots : int
        Number of slots.
    refused : ndarray of bool (n, seasons), optional
        Seasons without dates; they are not counted.
    """
    in_year = year.contains(middles)
    count = (in_year if refused is None else in_year & ~refused).sum(axis=1)
    # A season of unknown amplitude comes after every other of the year, but keeps its slot.
    strength = np.full(middles.shape, -np.inf)
    places = np.broadcast_to(latitude, middles.shape)[in_year]
    strength[in_year] = np.nan_to_num(amplitudes[in_year]) * sunlight(peaks[in_year], places)
    if refused is not None:
        strength[refused & in_year] /= CLEARLY
    missing = max(slots - middles.shape[1], 0)
    strength = np.pad(strength, ((0, 0), (0, missing)), constant_values=-np.inf)
    # A stable sort: of two equally strong seasons the first in time is the main one.
    strongest = np.argsort(-strength, axis=1, kind="stable")[:, :slots]
    index = np.where(np.arange(slots) < in_year.sum(axis=1)[:, None], strongest, -1)
    return SlotChoice(index, count.astype(np.uint8))


def choose_slots(
    seasons: Seasons,
    year: int,
    latitude: float | NDArray[np.floating],
    first_day: float = 0.0,
    year_start: str = YEAR_START,
    slots: int = SLOTS,
) -> SlotChoice:
    """Choose which of the seasons found fill the slots of a target year, by default two.

    Parameters
    ----------
    seasons : Seasons
        With the dates of `deepcrop.stages.CALENDAR`.
    year : int
        Target year.
    latitude : float or ndarray (n, 1)
        Degrees, south negative.
    first_day : float
        1 January of the target year on the origin of the dates of ``seasons``.
    year_start : str
        Month and day on which the year starts (`deepcrop.stages.TargetYear`).
    slots : int
        Number of slots.
    """
    dates = seasons.dates - np.float32(first_day)
    refused = np.isfinite(seasons.refused_day)
    refused_day = seasons.refused_day - np.float32(first_day)
    return select_slots(
        np.where(refused, refused_day, season_middle(dates, seasons.stages)),
        np.where(refused, refused_day, dates[:, :, seasons.stages.index("peak")]),
        np.where(refused, seasons.refused_amplitude, seasons.amplitude),
        TargetYear(year, year_start),
        latitude,
        slots,
        refused,
    )


def fill_slots(
    seasons: Seasons,
    year: int,
    latitude: float | NDArray[np.floating],
    year_start: str = YEAR_START,
) -> tuple[Dates[NDArray[np.float32]], SlotChoice]:
    """Put the seasons of a target year into its two slots.

    Parameters
    ----------
    seasons : Seasons
        With the dates of `deepcrop.stages.CALENDAR`, in days since 1 January of the target year.
    year : int
        Target year.
    latitude : float or ndarray (n, 1)
        Degrees, south negative; decides which season is the main one.
    year_start : str
        Month and day on which the year starts (`deepcrop.stages.TargetYear`).

    Returns
    -------
    dates : Dates
        Arrays (n, 2, 5), by the dates of `deepcrop.stages.CALENDAR`.
    choice : SlotChoice
        Which seasons they are.
    """
    choice = choose_slots(seasons, year, latitude, year_start=year_start)
    order = [seasons.stages.index(name) for name in CALENDAR]
    day, low, high = (
        choice.gather(dates[:, :, order]) for dates in (seasons.dates, seasons.low, seasons.high)
    )
    return Dates(day, low, high), choice


def curve_dates(
    values: ArrayLike,
    days: ArrayLike,
    year: int,
    latitude: float,
    smoother: str | Smoother = DEFAULT_SMOOTHER,
    preset: str = "sentinel2",
) -> Dates[NDArray[np.float32]]:
    """Season dates of greenness series by the curve method, in the two slots of a target year.

    Parameters
    ----------
    values : array_like (n, times)
        NDVI or another greenness; NaN is no observation.
    days : array_like (times,)
        Days since 1 January of the target year.
    year : int
        Target year.
    latitude : float
        Degrees; decides which season is the main one.
    smoother : str or settings
    preset : str
        As of `deepcrop.phenology.season_dates`.

    Returns
    -------
    Dates
        Arrays (n, 2, 5), by the dates of `deepcrop.stages.CALENDAR`.
    """
    seasons = season_dates(values, days, smoother=smoother, preset=preset)
    return fill_slots(seasons, year, latitude)[0]
