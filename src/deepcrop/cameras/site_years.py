"""The camera network as site-years: screened, labelled, and grouped by place.

Each year of a camera's series is accepted or rejected with a reason (`deepcrop.cameras.labels`);
the dates of its main season and of the next one become labels. Cameras near each other see the same
weather, crops and often the same field: sites within `NEAR` kilometres of each other, directly or
by a chain of sites, are one cluster, and a cluster is in training or in test as a whole. The
clusters of the paper's five test sites are never in training.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deepcrop import stages
from deepcrop.cameras.clusters import clusters
from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.labels import (
    CameraLabels,
    Screening,
    Season,
    SiteYear,
    is_vague,
    label_series,
)
from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.stages import CALENDAR
from deepcrop.storage.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

EMPTY = "no such season"
"""Reason of a date that is missing because the year has no season for its slot."""

COMPASS = (
    "N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE",
    "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CameraYear:
    """One year of one region of interest of a camera.

    Attributes
    ----------
    labels : CameraLabels
        All that was read off the series: the smooth curve, and every season.
    latitude, longitude : float
        Of the mast, degrees, north and east positive.
    direction : float
        Where the camera looks, degrees clockwise from north; NaN if unknown.
    cluster : str
        Name of the site cluster: the first of its sites by name.
    year : int
        Target year.
    crop : str
        What the camera saw; empty if unknown.
    accepted : bool
        Whether the dates may be used as labels.
    why : str
        Why not, or what to know of the year.
    observed_share : float
        Share of 3-day steps of the growing window that were observed.
    cycles : int
        Seasons that belong to the year.
    day, low, high : ndarray of float64 (2, 5)
        Slot by the dates of `deepcrop.stages.CALENDAR`: fractional days since 1 January of the
        year, not snapped to any image, and their 90 % interval; NaN where there is no date.
    none : ndarray of bool (2, 5)
        Whether it is known that there is no such event. A date that is NaN where this is false
        is unknown and not used as a label.
    reason : tuple of tuple of str
        Slot by date: "found", `EMPTY`, or why the date is unknown.
    """

    labels: CameraLabels = field(repr=False)
    latitude: float
    longitude: float
    direction: float
    cluster: str
    year: int
    crop: str
    accepted: bool
    why: str
    observed_share: float
    cycles: int
    day: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    none: NDArray[np.bool_]
    reason: tuple[tuple[str, ...], ...]

    @property
    def site(self) -> str:
        """Name of the site."""
        return self.labels.camera.site

    @property
    def roi(self) -> str:
        """Site, vegetation and number of the region of interest, such as ``mead2_AG_1000``."""
        return self.labels.camera.name

    @property
    def name(self) -> str:
        """Region of interest and year, such as ``mead2_AG_1000_2019``."""
        return f"{self.roi}_{self.year}"


# From series to site-years ----------------------------------------------------------------------


def read_network(
    series: Iterable[Path],
    sites: Path | None = None,
    crops: Path | None = None,
    screening: Screening | None = None,
) -> list[CameraYear]:
    """Label and screen the series of a network of cameras.

    Parameters
    ----------
    series : iterable of Path
        PhenoCam summary files, one per region of interest.
    sites : Path, optional
        Table of viewing directions, see `read_directions`.
    crops : Path, optional
        Table of crops, see `deepcrop.cameras.crop_table.read_crops`.
    screening : Screening, optional
        What a site-year must have to be accepted.

    Returns
    -------
    list of CameraYear
        Every year of every region of interest, rejected ones too, by name and year.

    Raises
    ------
    DeepCropError
        If a file or table cannot be read.
    """
    crop_by_year = read_crops(crops) if crops else {}
    labels = [
        label_series(read_series(path), crops=crop_by_year, screening=screening) for path in series
    ]
    return site_years(labels, read_directions(sites) if sites else {}, screening)


def site_years(
    labels: Iterable[CameraLabels],
    directions: Mapping[str, float] | None = None,
    screening: Screening | None = None,
) -> list[CameraYear]:
    """Add position, viewing direction, cluster and two slots of dates to each labelled year.

    A camera has one mast: all of its regions of interest get the position of the one observed last.
    (Early files of a tower in Kansas give the place of its neighbour, 4 km away.)

    Parameters
    ----------
    labels : iterable of CameraLabels
        One per region of interest.
    directions : mapping, optional
        Viewing direction by region of interest.
    screening : Screening, optional
        As it was given to `deepcrop.cameras.labels.label_series`.

    Returns
    -------
    list of CameraYear
        By region of interest and year.
    """
    directions, screening = directions or {}, screening or Screening()
    labels = sorted(labels, key=lambda series: series.camera.name)
    by_last_date = sorted(labels, key=lambda series: series.camera.date[-1])
    newest = {series.camera.site: series for series in by_last_date}
    places = {
        name: (series.camera.latitude, series.camera.longitude) for name, series in newest.items()
    }
    cluster = clusters(places)
    years = []
    for series in labels:
        latitude, longitude = places[series.camera.site]
        for year in series.years:
            slots = [_slot(year, slot, screening) for slot in range(1, stages.SLOTS + 1)]
            day, low, high, none = (np.array([slot[k] for slot in slots]) for k in range(4))
            years.append(
                CameraYear(
                    labels=series,
                    latitude=latitude,
                    longitude=longitude,
                    direction=directions.get(series.camera.name, math.nan),
                    cluster=cluster[series.camera.site],
                    year=year.year,
                    crop=year.crop,
                    accepted=year.accepted,
                    why=year.why,
                    observed_share=year.observed_share,
                    cycles=len(year.seasons),
                    day=day,
                    low=low,
                    high=high,
                    none=none,
                    reason=tuple(slot[4] for slot in slots),
                )
            )
    return years


_Slot = tuple[list[float], list[float], list[float], list[bool], tuple[str, ...]]


def _slot(year: SiteYear, slot: int, screening: Screening) -> _Slot:
    """Days, low and high bounds, "known to have no event" and reasons of the dates of a slot."""
    nothing = [math.nan] * len(CALENDAR)
    season = next((season for season in year.seasons if season.slot == slot), None)
    if season is None:
        # Where a year was rejected, or a season not dated, nobody knows what the slot had.
        why = year.undated.get(slot, EMPTY) if year.accepted else year.why
        absent = [why == EMPTY] * len(CALENDAR)
        return nothing, nothing, nothing, absent, (why,) * len(CALENDAR)
    events = [season.events[name] for name in CALENDAR]
    reasons = tuple(_reason(season, name, screening) for name in CALENDAR)
    parts = [
        [
            getattr(event, part) if reason == "found" else math.nan
            for event, reason in zip(events, reasons, strict=True)
        ]
        for part in ("day", "low", "high")
    ]
    return parts[0], parts[1], parts[2], [False] * len(CALENDAR), reasons


def _reason(season: Season, name: str, screening: Screening) -> str:
    """Return "found", or why a date is not used as a label; also of the second season."""
    event = season.events[name]
    if season.amplitude < screening.min_amplitude:
        return f"amplitude {season.amplitude:.3f} too small"
    if event.reason == "found" and event.gap > screening.max_gap:
        return f"{event.gap:.0f} days without an observation"
    if event.reason == "found" and is_vague(name, event, screening):
        return f"90 % interval {event.width:.1f} days wide"
    return event.reason


def read_directions(path: Path) -> dict[str, float]:
    """Read viewing directions from a CSV with the columns site, roi and camera_dir (``NNE``).

    Returns
    -------
    dict of str to float
        Degrees clockwise from north by region of interest (``mead2_AG_1000``); regions whose
        direction is empty are left out.

    Raises
    ------
    DeepCropError
        If the file cannot be read, or names a direction that is none.
    """
    found = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"site", "roi", "camera_dir"} - set(table.fieldnames or ())
            if missing:
                raise DeepCropError(
                    f"{path}: no column {', '.join(sorted(missing))}; expected a CSV with the "
                    "columns site, roi, camera_dir."
                )
            for row in table:
                try:
                    degrees = bearing(row["camera_dir"] or "")
                except DeepCropError as error:
                    raise DeepCropError(f"{path}, line {table.line_num}: {error}") from None
                if math.isfinite(degrees):
                    found[f"{row['site']}_{row['roi']}"] = degrees
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror}; expected a table of cameras.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeepCropError(f"{path} is no CSV table: {error}.") from None
    return found


def bearing(point: str) -> float:
    """Degrees clockwise from north of a point of the compass (``NNE`` is 22.5); NaN for none.

    Raises
    ------
    DeepCropError
        If it is no point of the compass.
    """
    name = point.strip().upper()
    if not name:
        return math.nan
    if name not in COMPASS:
        raise DeepCropError(f"Direction {point!r} is unknown; expected one of {', '.join(COMPASS)}")
    return COMPASS.index(name) * 360 / len(COMPASS)


# Table ------------------------------------------------------------------------------------------

_COLUMNS = (
    "site", "roi", "latitude", "longitude", "direction", "cluster", "year", "crop", "verdict",
    "why", "observed_share", "cycles",
)  # fmt: skip


def write_table(years: Iterable[CameraYear], path: Path) -> None:
    """Write site-years as CSV: one row each, rejected ones with their reason; `docs/sites.md`."""
    dates = [f"{name}_{slot}" for slot in range(1, stages.SLOTS + 1) for name in CALENDAR]
    head = [*_COLUMNS]
    for date in dates:
        head += [date, f"{date}_low", f"{date}_high", f"{date}_reason"]
    write_csv(path, head, (_row(year) for year in years))


def _row(year: CameraYear) -> list[object]:
    row: list[object] = [
        year.site, year.roi, year.latitude, year.longitude, _text(year.direction),
        year.cluster, year.year, year.crop, "accepted" if year.accepted else "rejected",
        year.why, _text(year.observed_share), year.cycles,
    ]  # fmt: skip
    for slot in range(stages.SLOTS):
        for k in range(len(CALENDAR)):
            row += [_text(days[slot, k]) for days in (year.day, year.low, year.high)]
            row.append(year.reason[slot][k])
    return row


def _text(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""
