"""Simulate small training tiles of many places: **simulated data**, pixels and labels.

A network generalises by the variety of its training data, so each tile is another place, with its
own latitude, climate, weather, orbits, field sizes, crops and soils. The leaves, water, colour and
radar traits of each field vary more than crops of the simulation do, its calendar is moved and
warped, and half of the fields are green between crops. Nearly half of the fields are uncropped
(`deepcrop.simulation.uncropped_fields`); in the tropics all are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepcrop import grid, stages
from deepcrop.indices import ndvi_of
from deepcrop.phenology.slots import curve_dates
from deepcrop.simulation import (
    canopy,
    overpasses,
    radar,
    random_fields,
    region,
    surface,
    truth,
    uncropped_fields,
)
from deepcrop.simulation.canopy import DAYS, Cycle, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 30
"""Pixels on a side of a tile; the inner 13 x 13 have labels."""

_LATITUDES = {"north_america": (29.0, 50.0), "europe": (36.0, 60.0)}
_LONGITUDES = {"north_america": (-122.0, -75.0), "europe": (-8.0, 45.0)}
_FIELD_HA, _FIELD_SPREAD = 4.0, 0.9  # median field size, and its logarithmic spread
_MOVED = 18  # days by which calendars of a place are moved
_WARP, _WARP_DAYS = 9, 50  # days by which courses are warped, and over how many days
_WEEDY, _WEEDS = 0.5, 1.5  # share of fields that are green between crops, and their leaf area
_UNCROPPED = 0.45  # share of uncropped fields
_TROPICAL, _TROPICS = 0.12, (2.0, 29.0)  # share of tiles there, and their latitudes
_YEAR = 2018  # target year of all tiles; their weather differs
_STEP = 5  # days from image to image of the clear curve
_STEP_CAMERA = 3  # days from value to value of a camera


@dataclass(frozen=True, eq=False)
class SimulatedTile:
    """A tile and its labels by both date definitions.

    Attributes
    ----------
    optical : ndarray of float32 (dates, 4, 30, 30)
    optical_days : ndarray of float32 (dates,)
    radar : ndarray of float32 (dates, 2, 30, 30)
    radar_days : ndarray of float32 (dates,)
    orbits : ndarray of int64 (dates,)
        As of `deepcrop.training.examples.Example`.
    camera, curve : ndarray of float32 (169, 2, 5)
        Dates by the camera definition and by the NDVI-curve definition, slot by date, days; NaN =
        no such event.
    """

    optical: NDArray[np.float32]
    optical_days: NDArray[np.float32]
    radar: NDArray[np.float32]
    radar_days: NDArray[np.float32]
    orbits: NDArray[np.int64]
    camera: NDArray[np.float32]
    curve: NDArray[np.float32]


def simulate_tile(number: int, seed: int = 1) -> SimulatedTile:
    """Simulate one tile.

    Parameters
    ----------
    number, seed : int
        All random numbers follow from these two.
    """
    seed = random_fields.stream(seed, "lesson", number)  # the label is part of the seed: keep it
    rng = random_fields.generator(seed, "place")
    place = str(rng.choice(sorted(_LATITUDES)))
    latitude, longitude = rng.uniform(*_LATITUDES[place]), rng.uniform(*_LONGITUDES[place])
    tropical = rng.random() < _TROPICAL
    size = float(_FIELD_HA * np.exp(_FIELD_SPREAD * rng.standard_normal()))
    row0, col0 = (int(k) for k in rng.integers(0, 4000, 2))
    shape = (SIDE + 2, SIDE + 2)
    land = surface.make(seed, row0 - 1, col0 - 1, shape, max(size, 0.3), place, latitude)
    land, cropped = _vary_fields(rng, land, 1.0 if tropical else _UNCROPPED)
    latitude = rng.uniform(*_TROPICS) if tropical else latitude  # of the sun and the overpasses
    plan = _draw_plan(rng, seed, place, latitude, longitude)
    swath = np.ones((SIDE, SIDE), np.bool_)  # every overpass covers the whole tile
    optical = region.optical_images(plan, land, 0, 0, lambda scene: swath)
    sar = region.radar_images(plan, land, 0, 0, np.zeros(SIDE + 2))
    images = np.stack([optical[name] for name in ("blue", "green", "red", "nir")], 1)
    clear = np.isfinite(images).all(1).any((1, 2))
    before, after = grid.PATCH_HALO
    inner = slice(1 + before, 1 + SIDE - after)
    core = surface.crop_to(land, (inner, inner))
    return SimulatedTile(
        images[clear],
        np.array([scene.day for scene in plan.optical], np.float32)[clear],
        np.stack([sar["vv"], sar["vh"]], 1),
        np.array([scene.day for scene in plan.sar], np.float32),
        np.array([scene.orbit for scene in plan.sar], np.int64),
        _camera_dates(core, cropped, latitude),
        _curve_dates(core, latitude),
    )


def _draw_plan(
    rng: np.random.Generator, seed: int, place: str, latitude: float, longitude: float
) -> region.Plan:
    """Draw overpasses and soil moisture; each sensor passes on one relative orbit or on two."""
    first, last = stages.DAY_MIN, stages.DAY_MAX
    rain = radar.rain(seed, DAYS, place)
    passes = overpasses.optical_overpasses(
        seed, first, last, rain, canopy.FIRST_DAY, place, latitude, longitude
    )
    echoes = overpasses.radar_overpasses(seed, first, last, int(rng.choice([6, 12])), longitude)
    optical_orbit, radar_orbit = rng.integers(0, 4, 2)  # 2 and 3: both orbits
    return region.Plan(
        place,
        overpasses.clearest(
            [scene for scene in passes if optical_orbit > 1 or scene.orbit == optical_orbit],
            SIDE, SIDE, None, region.MAX_CLOUD,
        ),
        [scene for scene in echoes if radar_orbit > 1 or scene.orbit == radar_orbit],
        radar.soil_moisture(rain, DAYS),
    )  # fmt: skip


def _vary_fields(
    rng: np.random.Generator, land: surface.Surface, uncropped_share: float
) -> tuple[surface.Surface, NDArray[np.bool_]]:
    """Vary the fields of a block, and replace a share of them by uncropped fields.

    Returns the surface, and which of its fields still have a crop.
    """
    moved = float(np.clip(rng.normal(0, _MOVED), -50, 50))
    cropped = rng.random(len(land.fields)) >= uncropped_share
    for k, field in enumerate(land.fields):
        new = _vary(rng, field, moved) if cropped[k] else uncropped_fields.draw_field(rng)
        land = surface.with_field(land, k, new)
    traits = land.traits.copy()
    traits[:, :, :2] += rng.normal(0, 1.2, (len(traits), 1, 2))
    traits[:, :, 2:] *= np.exp(0.35 * rng.standard_normal((len(traits), 1, 2)))
    return replace(land, traits=traits), cropped


def _vary(rng: np.random.Generator, field: Field, moved: float) -> Field:
    """Move and warp the calendar of a field, and scale its leaves, colour, water and roughness."""
    knots = np.arange(DAYS[0], DAYS[-1] + _WARP_DAYS, _WARP_DAYS)
    warp = np.interp(DAYS, knots, rng.normal(0, _WARP, len(knots)))
    then = DAYS - moved - rng.normal(0, 5) + warp  # the day whose state each day takes over
    then = np.maximum.accumulate(np.clip(np.round(then), DAYS[0], DAYS[-1])).astype(int)

    def when(day: float) -> int:
        return int(DAYS[min(int(np.searchsorted(then, day)), len(DAYS) - 1)])

    state = field.state[then - DAYS[0]].copy()
    leaves = np.exp(0.25 * rng.standard_normal())
    state[:, [canopy.GREEN_LAI, canopy.BROWN_LAI]] *= leaves
    state[:, canopy.CHLOROPHYLL] *= rng.uniform(0.75, 1.0)
    state[:, canopy.WATER] *= leaves * np.exp(0.3 * rng.standard_normal())
    state[:, canopy.ROUGHNESS] += rng.normal(0, 0.8)
    cycles = [Cycle(cycle.crop, when(cycle.start), when(cycle.end)) for cycle in field.cycles]
    if rng.random() < _WEEDY:
        _add_weeds(rng, state, cycles)
    events = [when(day) for day in field.events]
    return Field(cycles, events, state, field.height[then - DAYS[0]])


def _add_weeds(rng: np.random.Generator, state: NDArray[np.float32], cycles: list[Cycle]) -> None:
    """Add weeds between crops, as after mild winters; tillage removes them for some weeks."""
    knots = np.arange(DAYS[0], DAYS[-1] + 30, 30)
    heights = rng.uniform(0.2, _WEEDS) * np.abs(rng.standard_normal(len(knots)))
    weeds = np.interp(DAYS, knots, heights)
    crop = state[:, canopy.GREEN_LAI] + state[:, canopy.BROWN_LAI]
    weeds = weeds / (1 + 2 * crop)
    for cycle in cycles:
        weeds *= np.clip(np.abs(DAYS - cycle.start - 10) / 30 - 0.5, 0, 1)
    leaves = crop + weeds
    colour = state[:, canopy.CHLOROPHYLL] * crop + rng.uniform(0.4, 0.8) * weeds
    state[:, canopy.CHLOROPHYLL] = colour / np.maximum(leaves, 1e-6)
    state[:, canopy.GREEN_LAI] += weeds.astype(np.float32)
    state[:, canopy.WATER] += (0.3 * weeds).astype(np.float32)


def _camera_dates(
    core: surface.Surface, cropped: NDArray[np.bool_], latitude: float
) -> NDArray[np.float32]:
    """Dates (pixels, 2, 5) of each pixel's noise-free camera greenness.

    Those of crops follow from the known growth cycles; those of uncropped fields are read off the
    greenness as camera labels are.
    """
    layers = truth.truth_layers(core, _YEAR, latitude)
    crops = np.stack([stages.decode(layers[name]) for name in truth.DATES], -1)
    dates = crops.reshape(stages.SLOTS, -1, len(truth.DATES)).swapaxes(0, 1).copy()
    which = core.which.ravel()
    uncropped = np.flatnonzero(np.isin(which, np.flatnonzero(~cropped)))
    if uncropped.size:
        days = DAYS[::_STEP_CAMERA]
        greenness = surface.greenness(core)[::_STEP_CAMERA].reshape(len(days), -1)[:, uncropped]
        dates[uncropped] = curve_dates(
            greenness.T, days, _YEAR, latitude, smoother="savgol", preset="phenocam"
        ).day
    return dates


def _curve_dates(core: surface.Surface, latitude: float) -> NDArray[np.float32]:
    """Dates (pixels, 2, 5) of the NDVI curve through a clear image every few days."""
    days = DAYS[::_STEP]
    images = [surface.reflectance(core, int(day), 0.4, 0.7) for day in days]
    ndvi = np.stack([ndvi_of(image[3], image[2]).ravel() for image in images], 1)
    return curve_dates(ndvi, days, _YEAR, latitude).day
