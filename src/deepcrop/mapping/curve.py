"""A cube through the curve method: what is read of each tile, and dates as layers."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deepcrop import grid, stages
from deepcrop.cube.contract import grid_of
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import Images, Layers, Plan, images_of, period
from deepcrop.mapping.quality import encode_bound, length_of, pixel_layers
from deepcrop.phenology import PRESETS, SeasonRule, Seasons, season_dates
from deepcrop.phenology.smoothers import Smoother
from deepcrop.products.layers import NO_PERCENT, layer_name
from deepcrop.stages import CALENDAR


def curve_settings(index: str, smoother: str) -> tuple[Smoother, SeasonRule]:
    """Smoother and season rule by name; an unknown name is a DeepCropError."""
    if index not in INDICES:
        raise DeepCropError(f"Index {index!r} is unknown; expected {' or '.join(INDICES)}.")
    smoothers, rule = PRESETS["sentinel2"]
    if smoother not in smoothers:
        raise DeepCropError(f"Smoother {smoother!r} is unknown; expected {' or '.join(smoothers)}.")
    return smoothers[smoother], replace(rule, min_amplitude=INDICES[index][2])


def plan_curve(cube: xr.DataTree, path: str | Path, year: int, index: str, smoother: str) -> Plan:
    """Prepare to map a cube by the curve method.

    Of the radar it is only counted how often a pixel was seen.

    Parameters
    ----------
    cube : DataTree
    path : str or Path
        Where it lies, for messages.
    year : int
        Target year.
    index, smoother : str
        As of `deepcrop.map_region`.

    Raises
    ------
    CubeError
        If the cube has no optical images, or none near the year.
    """
    how, rule = curve_settings(index, smoother)
    if "optical" not in cube.children:
        raise CubeError(f"{path} has no 'optical' group; the curve method needs reflectance.")
    images = {"optical": images_of(cube, "optical", INDICES[index][0], year, stages.REACH)}
    if not images["optical"].days.size:
        raise CubeError(
            f"{path} has no optical observation around {year}: {period(cube, ['optical'])}. "
            "Choose another --year."
        )
    if "sar" in cube.children:
        radar = images_of(cube, "sar", ("vv",), year)
        if radar.days.size:
            images["sar"] = radar
    latitude = grid.centre_latitude(grid_of(cube))

    def run(
        images: dict[str, Images], tile: grid.Tile, wanted: NDArray[np.bool_] | None = None
    ) -> tuple[Layers, list[NDArray[np.int64]]]:
        rows, cols = tile.core
        parts = {
            name: Images(one.data.isel(y=rows, x=cols), one.days) for name, one in images.items()
        }
        return curve_tile(parts, index, year, latitude, how, rule, wanted)

    settings = {
        "index": index,
        "smoother": {"name": smoother, **asdict(how)},
        "rule": asdict(rule),
    }
    return Plan(images, settings, (0, 0), run, counted=("sar",))


def curve_tile(
    images: dict[str, Images],
    index: str,
    year: int,
    latitude: float,
    smoother: Smoother,
    rule: SeasonRule,
    wanted: NDArray[np.bool_] | None = None,
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
    wanted : ndarray of bool (y, x), optional
        Pixels to look for seasons in; by default all.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write.write_products` expects.
    scenes : list of ndarray of int (time,)
        For each group the valid pixels of each scene, of those that are wanted.
    """
    bands, formula, _ = INDICES[index]
    optical = images["optical"]
    greenness = formula(*(optical.data[band].values for band in bands))
    times, rows, cols = greenness.shape
    pixels = slice(None) if wanted is None else np.flatnonzero(wanted)
    series = np.ascontiguousarray(greenness.reshape(times, -1)[:, pixels].T)
    seasons = season_dates(series, optical.days, smoother=smoother, rule=rule)
    found = {}
    for name, values in slot_layers(seasons, year, latitude).items():
        if wanted is not None:
            empty = NO_PERCENT if values.dtype == np.uint8 else stages.NO_DAY
            every = np.full(rows * cols, empty, values.dtype)
            every[pixels] = values
            values = every
        found[name] = values.reshape(rows, cols)
    valid = {"optical": np.isfinite(greenness)}
    if "sar" in images:
        valid["sar"] = np.isfinite(images["sar"].data["vv"].values)
    if wanted is not None:
        valid = {name: there & wanted for name, there in valid.items()}
    days = {name: images[name].days for name in valid}
    found |= pixel_layers(found, valid, days, year, wanted, reads=("optical",))
    return found, [valid[name].sum(axis=(1, 2)) for name in images]


def slot_layers(seasons: Seasons, year: int, latitude: float) -> Layers:
    """Put the seasons of a target year into the two slots.

    Int16 day numbers per pixel: dates, the ends of their 90 % intervals, lengths in days; and how
    many seasons peak in the year.
    """
    peaks = seasons.dates[:, :, seasons.stages.index("peak")]
    index, count = stages.select_slots(peaks, seasons.amplitude, year, latitude)
    found: Layers = {}
    missing, at = index < 0, np.maximum(index, 0)
    rows = np.arange(len(index))
    for slot in range(stages.SLOTS):
        chosen = rows, at[:, slot]
        days, low, high = (part[chosen] for part in (seasons.dates, seasons.low, seasons.high))
        days[missing[:, slot]] = np.nan  # a copy, by the indexing
        for stage in CALENDAR:
            k = seasons.stages.index(stage)
            whole = stages.encode(days[:, k])
            found[layer_name(stage, slot + 1)] = whole
            for part, bound in (("low", low), ("high", high)):
                found[layer_name(stage, slot + 1, part)] = encode_bound(bound[:, k], whole)
        found[layer_name("length", slot + 1)] = length_of(found, slot + 1)
    found["n_cycles"] = count
    return found
