"""The curve method: plan what to read of a cube, and turn each tile into layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepcrop import grid, stages
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import Images, InputCube, Layers, Plan, images_of, period
from deepcrop.mapping.quality import encode_bound, encode_measure, length_of, pixel_layers
from deepcrop.mapping.status import last_seen, status_of
from deepcrop.phenology import PRESETS, SeasonRule, Seasons, season_dates, stage_names
from deepcrop.phenology.date_kernels import NO_SUCH, NOT_AFTER, TOO_LONG
from deepcrop.phenology.slots import REACH, SlotChoice, choose_slots, start_of_year
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER, Smoother, choose
from deepcrop.products import layers
from deepcrop.products.layers import (
    MEASURES,
    NO_PERCENT,
    NO_STATUS,
    NOT_YET_KNOWN,
    OBSERVED,
    USUAL,
    Content,
    layer_name,
)
from deepcrop.stages import SLOTS, Dates

if TYPE_CHECKING:
    import datetime

    from numpy.typing import NDArray

FRACTIONS = (0.2, 0.5)
"""Shares of the amplitude at which a season is dated, where none are chosen."""

MAX_SEASONS = 8
"""Most seasons of a year that a map keeps."""


@dataclass(frozen=True)
class CurveMethod:
    """Map by the season dates of a smoothed greenness curve.

    Attributes
    ----------
    index : str
        Greenness to read, one of `deepcrop.indices.INDICES`.
    smoother : str
        Name of a smoother of the preset ``"sentinel2"`` (`deepcrop.phenology.PRESETS`).
    fractions : tuple of float
        Shares of the amplitude to date, rising, in whole percent.
    seasons : int
        Number of seasons of the target year that are kept.
    measures : bool
        Whether to give the measures of each season (`deepcrop.products.layers.MEASURES`).
    season_rule : tuple of (str, float)
        Settings of `deepcrop.phenology.SeasonRule` that differ from the usual ones.
    year_start : str or None
        Month and day on which the target year starts (`deepcrop.stages.TargetYear`), or ``"auto"``:
        1 July south of the equator. None: 1 January, with a warning in the south.
    until : date or None
        Last day of which observations are read; each date then has a status and a reason.
    intervals : bool
        Whether to give the 90 % interval of each date.

    Raises
    ------
    DeepCropError
        If a name is unknown or a number out of range.
    """

    index: str = "ndvi"
    smoother: str = DEFAULT_SMOOTHER
    fractions: tuple[float, ...] = FRACTIONS
    seasons: int = SLOTS
    measures: bool = False
    season_rule: tuple[tuple[str, float], ...] = ()
    year_start: str | None = None
    until: datetime.date | None = None
    intervals: bool = True

    name: ClassVar[str] = "curve"

    def __post_init__(self) -> None:
        if self.index not in INDICES:
            raise DeepCropError(f"Index {self.index!r} is unknown; expected {', '.join(INDICES)}.")
        smoothers = PRESETS["sentinel2"][0]
        if self.smoother not in smoothers:
            raise DeepCropError(
                f"Smoother {self.smoother!r} is unknown; expected {' or '.join(smoothers)}."
            )
        percent = [100 * fraction for fraction in self.fractions]
        rising = all(a < b for a, b in zip((0, *percent), (*percent, 100), strict=True))
        if not percent or not rising or any(abs(p - round(p)) > 1e-6 for p in percent):
            raise DeepCropError(
                f"Fractions {', '.join(f'{f:g}' for f in self.fractions)}: expected "
                "rising shares of the amplitude between 0 and 1 in whole percent, for example "
                "0.15,0.5,0.9."
            )
        if not 1 <= self.seasons <= MAX_SEASONS:
            raise DeepCropError(
                f"A map cannot keep {self.seasons} seasons; expected 1 to {MAX_SEASONS}."
            )
        self.rule()
        if self.until is not None and not self.intervals:
            raise DeepCropError(
                f"A map until {self.until}, in season, needs the intervals: a date is observed if "
                "its interval ends before the last observation. Leave --no-intervals (in Python "
                "intervals=False) out."
            )
        if self.year_start not in (None, stages.AUTO):
            stages.TargetYear(2018, self.year_start)  # refuses what is no day of the year

    def rule(self) -> SeasonRule:
        """Return what counts as a season; the least amplitude is that of the index by default.

        Raises
        ------
        DeepCropError
            If a setting is unknown or makes no sense.
        """
        known = [field.name for field in fields(SeasonRule)]
        for name, number in self.season_rule:
            if name not in known:
                raise DeepCropError(
                    f"Season rule {name!r} is unknown; expected "
                    f"{', '.join(known)}, for example min_amplitude=0.1,prominence=0.2."
                )
            if name == "prominence" and number > 1:
                raise DeepCropError(
                    f"Season rule prominence={number:g}: expected a share of the amplitude of "
                    "the series, at most 1."
                )
            if name == "min_observations" and not (number >= 3 and number == int(number)):
                raise DeepCropError(
                    f"Season rule min_observations={number:g}: expected a whole number from 3 up."
                )
        settings: dict[str, Any] = dict(self.season_rule)
        usual = replace(PRESETS["sentinel2"][1], min_amplitude=INDICES[self.index][2])
        return choose(self.smoother, "sentinel2", replace(usual, **settings))[1]

    def plan(self, cube: InputCube, year: int) -> Plan:
        """Prepare to map a cube in a target year.

        The radar is only counted: how often each pixel was seen.

        Raises
        ------
        CubeError
            If the cube has no optical images, or none near the year.
        """
        smoother = PRESETS["sentinel2"][0][self.smoother]
        bands, rule = INDICES[self.index][0], self.rule()
        if "optical" not in cube.data.children:
            raise CubeError(
                f"{cube.path} has no 'optical' group; the curve method needs reflectance."
            )
        latitude = grid.centre_latitude(cube.box)
        start = start_of_year(self.year_start, latitude)
        target = stages.TargetYear(year, start)
        content = Content(
            stage_names(self.fractions), self.seasons, self.measures, self.index, start,
            self.until, self.intervals,
        )  # fmt: skip
        optical = images_of(cube.data, "optical", bands, year, REACH, start, self.until)
        images = {"optical": optical}
        if not images["optical"].days.size:
            raise CubeError(
                f"{cube.path} has no optical observation around {target}: "
                f"{period(cube.data, ['optical'], self.until)}. Choose another year."
            )
        if "sar" in cube.data.children:
            radar = images_of(cube.data, "sar", ("vv",), year, year_start=start, until=self.until)
            if radar.days.size:
                images["sar"] = radar

        def run(
            images: dict[str, Images], tile: grid.Tile, selected: NDArray[np.bool_] | None = None
        ) -> tuple[Layers, list[NDArray[np.int64]]]:
            rows, cols = tile.core
            parts = {
                name: Images(group.data.isel(y=rows, x=cols), group.days)
                for name, group in images.items()
            }
            return curve_tile(parts, content, year, latitude, smoother, rule, selected)

        settings = {
            "index": self.index,
            "smoother": {"name": self.smoother, **asdict(smoother)},
            "rule": asdict(rule),
            # Only what was chosen, so that maps of the usual content resume and compare as before.
            **({} if self.fractions == FRACTIONS else {"fractions": list(self.fractions)}),
            **({} if self.seasons == SLOTS else {"seasons": self.seasons}),
            **({"measures": True} if self.measures else {}),
            **({} if self.intervals else {"intervals": False}),
            **({} if start == stages.YEAR_START else {"year_start": start}),
            **({} if self.until is None else {"until": str(self.until)}),
        }
        return Plan(images, settings, (0, 0), run, counted=("sar",), content=content)


def curve_tile(
    images: dict[str, Images],
    content: Content,
    year: int,
    latitude: float,
    smoother: Smoother,
    rule: SeasonRule,
    selected: NDArray[np.bool_] | None = None,
) -> tuple[Layers, list[NDArray[np.int64]]]:
    """Layers of one tile by the curve method.

    Parameters
    ----------
    images : dict of str to Images
        "optical", the bands of the index, and maybe "sar".
    content : Content
        What layers to make, from which index.
    year : int
        Target year.
    latitude : float
        Degrees; decides which season is the main one.
    smoother : SavGol or other settings
        How to smooth.
    rule : SeasonRule
        What counts as a season.
    selected : ndarray of bool (y, x), optional
        Pixels to look for seasons in; by default all.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write.write_products` expects.
    scenes : list of ndarray of int (time,)
        For each group the valid pixels of each scene, of those that are selected.
    """
    bands, formula, _ = INDICES[content.index]
    optical = images["optical"]
    greenness = formula(*(optical.data[band].values for band in bands))
    times, rows, cols = greenness.shape
    pixels = slice(None) if selected is None else np.flatnonzero(selected)
    series = np.ascontiguousarray(greenness.reshape(times, -1)[:, pixels].T)
    seasons = season_dates(
        series, optical.days, smoother=smoother, rule=rule, fractions=_dated(content),
        intervals=content.intervals,
    )  # fmt: skip
    found = {}
    last = None
    if content.until is not None:
        last = last_seen({"optical": np.isfinite(series.T)}, {"optical": optical.days})
    for name, values in slot_layers(seasons, year, latitude, content, last).items():
        if selected is not None:
            # Percent, counts and codes have the same number for "nothing known".
            empty = NO_PERCENT if values.dtype == np.uint8 else stages.NO_DAY
            every = np.full(rows * cols, empty, values.dtype)
            every[pixels] = values
            values = every
        found[name] = values.reshape(rows, cols)
    valid = {"optical": np.isfinite(greenness)}
    if "sar" in images:
        valid["sar"] = np.isfinite(images["sar"].data["vv"].values)
    if selected is not None:
        valid = {name: there & selected for name, there in valid.items()}
    days = {name: images[name].days for name in valid}
    found |= pixel_layers(found, valid, days, year, selected, ("optical",), content)
    return found, [valid[name].sum(axis=(1, 2)) for name in images]


def _dated(content: Content) -> tuple[float, ...]:
    """Return the fractions to date: those of the map, and one half, which tells the year."""
    shares = {int(stage[3:]) for stage in content.thresholds}
    return tuple(share / 100 for share in sorted({*shares, 50}))


def slot_layers(
    seasons: Seasons,
    year: int,
    latitude: float,
    content: Content = USUAL,
    last: NDArray[np.floating] | None = None,
) -> Layers:
    """Put the seasons of a target year into its slots.

    Int16 day numbers per pixel: dates, the ends of their 90 % intervals, lengths in days; Int16
    measures; and how many seasons belong to the year. In season, with the day on which each pixel
    was seen last, also the status of each date and the reason why it is missing.
    """
    start = content.year_start
    choice = choose_slots(seasons, year, latitude, year_start=start, slots=content.seasons)
    limits = stages.TargetYear(year, start).range
    order = [seasons.stages.index(name) for name in content.stages]
    day, low, high = (
        choice.gather(dates)[:, :, order] for dates in (seasons.dates, seasons.low, seasons.high)
    )
    found: Layers = {}
    if last is not None:
        status, reason = _in_season(
            Dates(day, low, high), choice.gather(seasons.reason[:, :, order], empty=NO_SUCH), last
        )
        # The curve sees only what was observed: what may lie ahead has no date.
        day, low, high = (
            np.where(status == OBSERVED, values, np.nan) for values in (day, low, high)
        )
    for slot in range(content.seasons):
        for k, stage in enumerate(content.stages):
            whole = stages.encode(day[:, slot, k], limits)
            found[layer_name(stage, slot + 1)] = whole
            for part, bound in (("low", low), ("high", high)) if content.intervals else ():
                found[layer_name(stage, slot + 1, part)] = encode_bound(
                    bound[:, slot, k], whole, limits
                )
            if last is not None:
                # A day beyond those that can be stored is left out; `qflag` says so.
                lost = (status[:, slot, k] == OBSERVED) & (whole == stages.NO_DAY)
                code = np.where(lost, np.uint8(NOT_YET_KNOWN), status[:, slot, k])
                found[layer_name(stage, slot + 1, "status")] = code
                found[layer_name(stage, slot + 1, "reason")] = reason[:, slot, k]
        found[layer_name("length", slot + 1)] = length_of(found, slot + 1, content.stages)
    if content.measures:
        for measure, (_, _, scale) in MEASURES.items():
            values = choice.gather(getattr(seasons, measure))
            for slot in range(content.seasons):
                found[layer_name(measure, slot + 1)] = encode_measure(values[:, slot], scale)
    found["n_cycles"] = choice.count
    found["qflag"] = _reasons(seasons, choice, np.isfinite(day[:, 0]), found, content)
    return found


def _in_season(
    dates: Dates[NDArray[np.float32]],
    reason: NDArray[np.uint8],
    last: NDArray[np.floating],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Status of each date (pixels, slots, stages), and why those that are not observed are not."""
    status = status_of(dates, last)
    # The interval of such a date reaches beyond the last observation.
    ahead = np.isfinite(dates.day) & (status != OBSERVED)
    reason = np.where(ahead, np.uint8(NOT_AFTER), reason)
    return status, np.where(status == NO_STATUS, np.uint8(NO_STATUS), reason)


def _reasons(
    seasons: Seasons,
    choice: SlotChoice,
    dated: NDArray[np.bool_],
    found: Layers,
    content: Content,
) -> NDArray[np.uint16]:
    """Flag why the main season lacks dates that the curve has, or that no year could have."""
    stored = np.stack([found[layer_name(stage, 1)] for stage in content.stages], 1)
    beyond = (dated & (stored == stages.NO_DAY)).any(axis=1)
    refused = seasons.reason[:, :, 0] == TOO_LONG  # as is every date but the peak
    long = choice.gather(refused, empty=False)[:, 0]
    # A year may also lie within a season of two years that peaks in the other.
    long |= (choice.count == 0) & refused.any(axis=1)
    undated = choice.gather(np.isfinite(seasons.refused_day), empty=False)[:, 0]
    flags = np.where(beyond, layers.BEYOND, 0) | np.where(long, layers.TOO_LONG, 0)
    flags |= np.where(undated, layers.UNDATED, 0)
    # A season without dates may have taken the slot of one that has some.
    kept = choice.gather(np.isfinite(seasons.amplitude), empty=False).sum(axis=1)
    return (flags | np.where(kept < choice.count, layers.MANY_SEASONS, 0)).astype(np.uint16)
