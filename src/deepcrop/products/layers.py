"""What layers a map has, by method: names, titles, units, types."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.indices import TITLES as INDEX_TITLES
from deepcrop.stages import (
    CALENDAR,
    NO_DAY,
    SLOTS,
    STAGES,
    YEAR_START,
    TargetYear,
    stage_title,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator

SEASONS = tuple(range(1, SLOTS + 1))

NO_PERCENT = 255
"""Stands for "nothing known" in layers of percent."""

NO_COUNT = 65535
"""Stands for "left out" in counts of observations and gaps, of which 0 says something."""

PARTS = {
    "low": "5 % quantile of the date",
    "high": "95 % quantile of the date",
    "probability": "probability of the event",
    "status": "observed, forecast or not yet known",
    "reason": "why the date is missing",
}
"""What is said of each date beside the date itself.

The curve knows no probability and the network no reason; maps of whole years have neither status
nor reason.
"""

STATUS = {0: "no event", 1: "observed", 2: "forecast", 3: "not yet known"}
"""What a date of a map in season is: values of its layers of status.

0: the event is not expected, 1: it lies before the last observation of the pixel with a probability
of 95 %, 2: it is expected later, or may have been, 3: nothing can be said yet.
"""
NO_EVENT, OBSERVED, FORECAST, NOT_YET_KNOWN = STATUS

NO_STATUS = 255
"""Stands for "nothing known" in layers of status and reason: left out, or never seen."""

METHODS = ("curve", "deepcrop")
"""Names of the methods that make maps."""

DIFFERENCE = "difference"
"""Name of the maps of deepcrop less curve, beside those of both methods."""


def layer_groups(methods: Iterable[str]) -> list[str]:
    """Name the groups of layers of a map: one per method, and the difference of two."""
    names = list(methods)
    return [*names, DIFFERENCE] if len(names) > 1 else names


FEW_OBSERVATIONS = 10
"""Optical observations of the target year below which a pixel is flagged."""

LONG_GAP = 60
"""Days of the target year without any optical observation from which on a pixel is flagged."""

WIDE_INTERVAL = 60
"""Days from the low to the high end of a date from which on a pixel is flagged."""

FLAGS = {
    1: "no date of the main season",
    2: f"fewer than {FEW_OBSERVATIONS} optical observations in the target year",
    4: f"{LONG_GAP} days or more of the target year without an optical observation",
    8: "no radar observation in the target year",
    16: "more seasons than are kept",
    32: f"an interval of {WIDE_INTERVAL} days or more at SOS or EOS of the main season",
    64: "left out: outside the mask or the parcels",
    128: "never seen by any sensor that the method reads",
    256: "a date of the main season left out: beyond the days that can be stored",
    512: "start and end of a season left out: it is longer than a year",
    1024: "the strongest rise and fall of the year could not be dated",
}
"""Bits of ``qflag``; 0 is a pixel of which there is nothing to say."""
(
    NO_SEASON, FEW_SEEN, GAP, NO_RADAR, MANY_SEASONS, UNCERTAIN, LEFT_OUT, UNSEEN, BEYOND,
    TOO_LONG, UNDATED,
) = FLAGS  # fmt: skip

_CYCLES = {
    "curve": "seasons whose middle lies in {year}",
    "deepcrop": f"seasons of {{year}} with an event more likely than not, at most {SLOTS}",
}


def codes_of(layer: Layer) -> dict[int, tuple[str, str]]:
    """Words and colour (``#RRGGBB``) of each value of a layer of status or reason; of others {}."""
    # Imported here: processes that only map need no colours, and kernels take long to import.
    from deepcrop.figures.style import REASON_COLOURS, STATUS_COLOURS

    if layer.kind == "status":
        return {value: (words, STATUS_COLOURS[words]) for value, words in STATUS.items()}
    if layer.kind == "reason":
        from deepcrop.phenology import REASONS

        return {
            value: (words, REASON_COLOURS[value % len(REASON_COLOURS)])
            for value, words in enumerate(REASONS)
        }
    return {}


@dataclass(frozen=True)
class Content:
    """What a map by the curve holds; one by the network always holds the default.

    Attributes
    ----------
    stages : tuple of str
        Dates of a season, in order of time.
    seasons : int
        Seasons of the target year that are kept.
    measures : bool
        Whether it holds the `MEASURES` of each season.
    intervals : bool
        Whether it holds the ends of the interval of each date.
    index : str
        Greenness that the measures are of, one of `deepcrop.indices.INDICES`.
    year_start : str
        Month and day on which the target year starts.
    until : date or None
        Last day of which observations were read, of a map in season: each date then has a status.
    """

    stages: tuple[str, ...] = CALENDAR
    seasons: int = SLOTS
    measures: bool = False
    index: str = "ndvi"
    year_start: str = YEAR_START
    until: datetime.date | None = None
    intervals: bool = True

    @property
    def thresholds(self) -> tuple[str, ...]:
        """Dates without the peak: starts, then ends."""
        return tuple(stage for stage in self.stages if stage != "peak")


USUAL = Content()
"""What a map holds unless options choose otherwise."""

MEASURES = {
    "amplitude": ("amplitude of {index}, maximum less base", "1", 1e-4),
    "base": ("base of {index}, mean of before and after", "1", 1e-4),
    "maximum": ("maximum of {index}", "1", 1e-4),
    "small_integral": ("integral of {index} above its base, from {first} to {last}", "d", 0.02),
    "large_integral": ("integral of {index}, from {first} to {last}", "d", 0.02),
    "slope_up": ("green-up rate, steepest rise of {index}", "d-1", 1e-5),
    "slope_down": ("senescence rate, steepest fall of {index}", "d-1", 1e-5),
}
"""Measures of a season: title, unit, and the unit of their Int16 numbers (their scale)."""


@dataclass(frozen=True)
class Layer:
    """One map layer: what it is called and how its numbers are to be read.

    Attributes
    ----------
    name, title, unit : str
    dtype : dtype
    nodata : int or None
        Stands for "nothing known".
    kind : str
        "day" (a date), "bound" (an end of its interval), "length", "measure", "difference",
        "percent", "status", "reason", "count", "flags" or "class".
    stage : str or None
        Of a season; counts have none.
    season : int or None
        1 for the main season.
    part : str or None
        One of `PARTS`.
    scale : float
        A number of the file times this is the value in ``unit``; 1 but for measures.
    limits : tuple of int or None
        Smallest and largest day number that a date or an end of its interval can have.
    """

    name: str
    title: str
    unit: str
    dtype: np.dtype
    nodata: int | None
    kind: str
    stage: str | None = None
    season: int | None = None
    part: str | None = None
    scale: float = 1.0
    limits: tuple[int, int] | None = None


CROP_TYPE = Layer("crop_type", "crop type", "1", np.dtype(np.uint16), 0, "class")
"""The crop raster of a cube, copied into its maps."""


def layer_name(stage: str, season: int, part: str = "") -> str:
    """Name of a layer: the stage alone for season 1, the main season; one of `PARTS` follows."""
    name = stage if season == 1 else f"{stage}_season{season}"
    return f"{name}_{part}" if part else name


DAY_LAYERS = tuple(layer_name(stage, season) for season in SEASONS for stage in STAGES)
"""Names of the dates at thresholds, season by season: what truth is compared with."""


def describe(method: str, year: int, content: Content = USUAL) -> list[Layer]:
    """All layers of a map by one of `METHODS`, or of their `DIFFERENCE`, in their order.

    ``content`` is what the map holds by the curve.
    """
    if method != "curve":
        content = replace(USUAL, until=content.until)
    target = TargetYear(year, content.year_start)
    described: list[Layer] = []
    for season in range(1, content.seasons + 1):
        if method == DIFFERENCE:
            described += _differences(season)
            continue
        described += _dates(method, target, season, content)
        if content.measures:
            described += _measures(season, content)
    if method != DIFFERENCE:
        described += _of_pixels(method, target)
    return [
        replace(layer, limits=target.range) if layer.kind in ("day", "bound") else layer
        for layer in described
    ]


def _dates(method: str, year: TargetYear, season: int, content: Content) -> Iterator[Layer]:
    """Dates of a season, each with its interval, and the season's length."""
    days = f"days since {year.year:04d}-01-01"
    int16, uint8 = np.dtype(np.int16), np.dtype(np.uint8)
    for stage in content.stages:
        title = f"{stage_title(stage)}, season {season}"
        yield Layer(layer_name(stage, season), title, days, int16, NO_DAY, "day", stage, season)
        for part in _parts(method, content):
            name, of_part = layer_name(stage, season, part), f"{title}: {PARTS[part]}"
            if part == "probability":
                yield Layer(name, of_part, "%", uint8, NO_PERCENT, "percent", stage, season, part)
            elif part in ("status", "reason"):
                yield Layer(name, of_part, "1", uint8, NO_STATUS, part, stage, season, part)
            else:
                yield Layer(name, of_part, days, int16, NO_DAY, "bound", stage, season, part)
    title = f"length of season {season}, from {content.stages[0]} to {content.stages[-1]}"
    name = layer_name("length", season)
    yield Layer(name, title, "days", int16, NO_DAY, "length", None, season)


def _parts(method: str, content: Content) -> list[str]:
    """Name the parts that each date of a map has."""
    lacks = {"probability"} if method == "curve" else {"reason"}
    if content.until is None:
        lacks |= {"status", "reason"}
    if not content.intervals:
        lacks |= {"low", "high"}
    return [part for part in PARTS if part not in lacks]


def _measures(season: int, content: Content) -> Iterator[Layer]:
    """Measures of a season, as whole numbers of their scale."""
    # Dates at half of the amplitude are always computed: they say which year a season belongs to.
    shares = [int(stage[3:]) for stage in content.thresholds]
    words = {
        "index": INDEX_TITLES[content.index],
        "first": f"sos{min(*shares, 50)}",
        "last": f"eos{min(*shares, 50)}",
    }
    for measure, (title, unit, scale) in MEASURES.items():
        yield Layer(
            layer_name(measure, season),
            f"{title.format(**words)}, season {season}",
            unit,
            np.dtype(np.int16),
            NO_DAY,
            "measure",
            None,
            season,
            scale=scale,
        )


def _differences(season: int) -> Iterator[Layer]:
    for stage in CALENDAR:
        title = f"{stage_title(stage)}, season {season}: deepcrop less curve"
        name, int16 = layer_name(stage, season), np.dtype(np.int16)
        yield Layer(name, title, "days", int16, NO_DAY, "difference", stage, season)


def _of_pixels(method: str, year: TargetYear) -> Iterator[Layer]:
    uint8, uint16 = np.dtype(np.uint8), np.dtype(np.uint16)
    often = f"observations in {year}"
    gap = f"longest stretch of {year} without an optical observation"
    for name, title, unit, dtype, nodata, kind in (
        ("n_cycles", _CYCLES[method].format(year=year), "1", uint8, NO_PERCENT, "count"),
        ("n_obs_optical", f"usable optical {often}", "1", uint16, NO_COUNT, "count"),
        ("n_obs_sar", f"usable radar {often}", "1", uint16, NO_COUNT, "count"),
        ("max_gap_optical", gap, "days", uint16, NO_COUNT, "count"),
        ("qflag", "quality flags", "1", uint16, None, "flags"),
    ):
        yield Layer(name, title, unit, dtype, nodata, kind)
