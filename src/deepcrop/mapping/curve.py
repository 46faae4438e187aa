"""The curve method: plan what to read of a cube, and turn each tile into layers."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from deepcrop import grid, stages
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import Images, InputCube, Layers, Plan, images_of, period
from deepcrop.mapping.quality import encode_bound, length_of, pixel_layers
from deepcrop.phenology import PRESETS, SeasonRule, Seasons, season_dates
from deepcrop.phenology.slots import REACH, fill_slots
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER, Smoother
from deepcrop.products.layers import NO_PERCENT, layer_name
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurveMethod:
    """Map by the season dates of a smoothed greenness curve.

    Attributes
    ----------
    index : str
        Greenness to read, one of `deepcrop.indices.INDICES`.
    smoother : str
        Name of a smoother of the preset ``"sentinel2"`` (`deepcrop.phenology.PRESETS`).
    year_start : str or None
        Month and day on which the target year starts (`deepcrop.stages.TargetYear`), or ``"auto"``:
        1 July south of the equator. None: 1 January, with a warning in the south.

    Raises
    ------
    DeepCropError
        If index or smoother is unknown, or the start is no day of the year.
    """

    index: str = "ndvi"
    smoother: str = DEFAULT_SMOOTHER
    year_start: str | None = None

    name: ClassVar[str] = "curve"

    def __post_init__(self) -> None:
        if self.index not in INDICES:
            raise DeepCropError(f"Index {self.index!r} is unknown; expected {', '.join(INDICES)}.")
        smoothers = PRESETS["sentinel2"][0]
        if self.smoother not in smoothers:
            raise DeepCropError(
                f"Smoother {self.smoother!r} is unknown; expected {' or '.join(smoothers)}."
            )
        if self.year_start not in (None, stages.AUTO):
            stages.TargetYear(2018, self.year_start)  # refuses what is no day of the year

    def plan(self, cube: InputCube, year: int) -> Plan:
        """Prepare to map a cube in a target year.

        The radar is only counted: how often each pixel was seen.

        Raises
        ------
        CubeError
            If the cube has no optical images, or none near the year.
        """
        smoothers, preset_rule = PRESETS["sentinel2"]
        smoother = smoothers[self.smoother]
        bands, _, min_amplitude = INDICES[self.index]
        rule = replace(preset_rule, min_amplitude=min_amplitude)
        if "optical" not in cube.data.children:
            raise CubeError(
                f"{cube.path} has no 'optical' group; the curve method needs reflectance."
            )
        latitude = grid.centre_latitude(cube.box)
        start = self._start(latitude)
        target = stages.TargetYear(year, start)
        images = {"optical": images_of(cube.data, "optical", bands, year, REACH, start)}
        if not images["optical"].days.size:
            raise CubeError(
                f"{cube.path} has no optical observation around {target}: "
                f"{period(cube.data, ['optical'])}. Choose another year."
            )
        if "sar" in cube.data.children:
            radar = images_of(cube.data, "sar", ("vv",), year, year_start=start)
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
            return curve_tile(parts, self.index, year, latitude, smoother, rule, selected, start)

        settings = {
            "index": self.index,
            "smoother": {"name": self.smoother, **asdict(smoother)},
            "rule": asdict(rule),
            **({} if start == stages.YEAR_START else {"year_start": start}),
        }
        return Plan(images, settings, (0, 0), run, counted=("sar",), year_start=start)

    def _start(self, latitude: float) -> str:
        """Start of the year; a warning where a default would split the summer crops."""
        if self.year_start is None and latitude < 0:
            logger.warning(
                "The cube lies south of the equator, where summer crops grow across 1 January: "
                "their seasons fall into one year or the next by chance. --year-start %s (or %s) "
                "keeps them whole; --year-start %s says that the calendar year is meant.",
                stages.SOUTHERN_YEAR_START,
                stages.AUTO,
                stages.YEAR_START,
            )
        return stages.resolve_year_start(self.year_start or stages.YEAR_START, latitude)


def curve_tile(
    images: dict[str, Images],
    index: str,
    year: int,
    latitude: float,
    smoother: Smoother,
    rule: SeasonRule,
    selected: NDArray[np.bool_] | None = None,
    year_start: str = stages.YEAR_START,
) -> tuple[Layers, list[NDArray[np.int64]]]:
    """Layers of one tile by the curve method.

    Parameters
    ----------
    images : dict of str to Images
        "optical", the bands of the index, and maybe "sar".
    index : str
        One of `INDICES`.
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
    year_start : str
        Month and day on which the target year starts.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write.write_products` expects.
    scenes : list of ndarray of int (time,)
        For each group the valid pixels of each scene, of those that are selected.
    """
    bands, formula, _ = INDICES[index]
    optical = images["optical"]
    greenness = formula(*(optical.data[band].values for band in bands))
    times, rows, cols = greenness.shape
    pixels = slice(None) if selected is None else np.flatnonzero(selected)
    series = np.ascontiguousarray(greenness.reshape(times, -1)[:, pixels].T)
    seasons = season_dates(series, optical.days, smoother=smoother, rule=rule)
    found = {}
    for name, values in slot_layers(seasons, year, latitude, year_start).items():
        if selected is not None:
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
    found |= pixel_layers(found, valid, days, year, selected, ("optical",), year_start)
    return found, [valid[name].sum(axis=(1, 2)) for name in images]


def slot_layers(
    seasons: Seasons, year: int, latitude: float, year_start: str = stages.YEAR_START
) -> Layers:
    """Put the seasons of a target year into the two slots.

    Int16 day numbers per pixel: dates, the ends of their 90 % intervals, lengths in days; and how
    many seasons belong to the year.
    """
    dates, count = fill_slots(seasons, year, latitude, year_start)
    limits = stages.TargetYear(year, year_start).range
    found: Layers = {}
    for slot in range(stages.SLOTS):
        for k, stage in enumerate(CALENDAR):
            whole = stages.encode(dates.day[:, slot, k], limits)
            found[layer_name(stage, slot + 1)] = whole
            for part, bound in (("low", dates.low), ("high", dates.high)):
                found[layer_name(stage, slot + 1, part)] = encode_bound(
                    bound[:, slot, k], whole, limits
                )
        found[layer_name("length", slot + 1)] = length_of(found, slot + 1)
    found["n_cycles"] = count
    return found
