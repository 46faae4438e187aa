"""Simulate satellite observations of the fields in front of real cameras: **simulated pixels**.

For a site-year of the real camera network, a field is simulated whose camera greenness is the real
curve (`deepcrop.simulation.camera_inversion`), in a field mosaic of simulated neighbours at the
real place. Overpasses of Sentinel-2 and Sentinel-1 are simulated with clouds, noise and speckle.
The labels are the season dates of the real camera; nothing else of the camera enters the pixels.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube.contract import build
from deepcrop.errors import DeepCropError
from deepcrop.grid import areas
from deepcrop.simulation import (
    REVISION,
    camera,
    camera_inversion,
    canopy,
    crops,
    field_mosaic,
    overpasses,
    radar,
    random_fields,
    region,
    surface,
)
from deepcrop.storage.progress import progress_bar
from deepcrop.training import samples
from deepcrop.training.samples import VIEW_DISTANCE, SampleSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.cameras.labels import CameraLabels
    from deepcrop.cameras.site_years import CameraYear

STATEMENT = "pixels simulated, labels from a real camera"
"""Statement that every file and table made from these cubes must carry."""

_SECOND_SATELLITE = np.datetime64("2017-07-06")  # first data of Sentinel-2B
_SEARCH = 240  # cells on a side of the area that is searched for a place for the camera
_FIELD_HA, _FIELD_SPREAD = 12.0, 0.6  # median field size of a site, and its logarithmic spread


def simulate(year: CameraYear, repeat: int = 0, seed: int = 1) -> xr.DataTree:
    """Simulate the satellite observations of one site-year.

    Parameters
    ----------
    year : CameraYear
        A site-year; its labels need not be accepted.
    repeat : int
        Number of the repeat. Another repeat has other crop traits, neighbours, weather, clouds and
        noise, and another relation of camera to canopy, but the same camera curve.
    seed : int
        All random numbers follow from it, the region of interest, the year and the repeat.

    Returns
    -------
    DataTree
        An observation cube of `areas.SITE_CELLS` pixels on a side, the mast in the middle, from
        day `stages.DAY_MIN` to `stages.DAY_MAX`. Its attributes say `STATEMENT`.

    Raises
    ------
    DeepCropError
        If the camera has no curve near the year, or stands where the simulation has no crops.
    """
    field, seed, rng = field_of_camera(year, repeat, seed)
    # South of the crop calendars the neighbours follow the southernmost ones.
    latitude = max(year.latitude, crops.LATITUDES[0])
    place = crops.continent(latitude, year.longitude)

    box = areas.around(year.latitude, year.longitude, areas.SITE_CELLS, areas.SITE_CELLS)
    mast = grid.cell_of(box, year.longitude, year.latitude)
    direction = year.direction if math.isfinite(year.direction) else float(rng.uniform(0, 360))
    size = float(_FIELD_HA * np.exp(_FIELD_SPREAD * rng.standard_normal()))
    row0, col0 = choose_view(rng, seed, mast, direction, size)
    land = surface.make(
        seed, row0 - 1, col0 - 1, (box.shape[0] + 2, box.shape[1] + 2), size, place, latitude
    )
    land = put_in_view(land, (mast[0] + 1, mast[1] + 1), direction, field)

    plan = draw_plan(rng, seed, year, place)
    swath = np.ones(box.shape, np.bool_)  # every overpass covers the whole site
    optical = region.optical_images(plan, land, 0, 0, lambda scene: swath)
    sar = region.radar_images(plan, land, 0, 0, np.zeros(box.shape[1] + 2))
    orbits = (
        region.overpass_coords(plan.optical, overpasses.S2_ORBITS, year.year),
        region.overpass_coords(plan.sar, overpasses.S1_ORBITS, year.year),
    )
    return build(
        _group(optical, orbits[0], region.OPTICAL_ATTRS, box),
        _group(sar, orbits[1], region.SAR_ATTRS, box),
        attrs={
            "title": f"{year.name}, repeat {repeat}: {STATEMENT}",
            "simulated": 1,
            "camera": year.roi,
            "year": year.year,
            "repeat": repeat,
        },
    )


def field_of_camera(
    year: CameraYear, repeat: int = 0, seed: int = 1
) -> tuple[canopy.Field, int, np.random.Generator]:
    """Draw the field in front of a camera.

    Parameters and errors as of `simulate`.

    Returns
    -------
    field : Field
    seed : int
        Of this site-year and repeat.
    rng : Generator
        Random numbers for the remaining site.
    """
    curve = camera_curve(year.labels, year.year)
    seed = random_fields.stream(seed, "network", year.roi, year.year, repeat)
    rng = random_fields.generator(seed, "site")
    return camera_inversion.invert(rng, curve, year.crop)[0], seed, rng


def _group(
    images: Mapping[str, NDArray[Any]],
    overpass_coords: Mapping[str, Any],
    attrs: Mapping[str, Any],
    box: GeoBox,
) -> xr.Dataset:
    data = {name: (("time", "y", "x"), values) for name, values in images.items()}
    return grid.assign_grid(xr.Dataset(data, dict(overpass_coords), dict(attrs)), box)


def camera_curve(labels: CameraLabels, year: int) -> NDArray[np.float64]:
    """Smooth greenness of a camera on each of `canopy.DAYS` of a target year.

    Gaps are interpolated linearly; before the first observation and after the last one the
    greenness is constant.

    Raises
    ------
    DeepCropError
        If the camera has no data on these days.
    """
    start = int(stages.to_days(labels.camera.date[:1], year)[0])
    known = np.isfinite(labels.curve)
    days = labels.curve_days[known] + start
    if not ((days >= canopy.FIRST_DAY) & (days <= canopy.LAST_DAY)).any():
        raise DeepCropError(f"{labels.camera.name} has no data near {year}; choose another year.")
    return np.interp(canopy.DAYS, days, labels.curve[known])


def choose_view(
    rng: np.random.Generator, seed: int, mast: tuple[int, int], direction: float, size: float
) -> tuple[int, int]:
    """Choose the best of 40 places of the block for the camera to look at a single field.

    Returns the first cell of the block. The far end of the view counts as much as the near one,
    because the satellites' patch lies there.
    """
    land = field_mosaic.draw(seed, 0, 0, (_SEARCH, _SEARCH), size)
    reach = camera.VIEW_CELLS
    view = (camera.view_weights(direction) > 0).ravel()
    best = (-1.0, 0, 0)
    for _ in range(40):
        row, col = (int(rng.integers(first + reach, _SEARCH - reach)) for first in mast)
        seen = land.field[row - reach : row + reach + 1, col - reach : col + reach + 1]
        numbers, which = np.unique(seen, return_inverse=True)
        shares = np.bincount(which.ravel(), view / view.sum()) * (numbers > 0)
        best = max(best, (float(shares.max()), row, col))
        if best[0] > 0.95:
            break
    return best[1] - mast[0], best[2] - mast[1]


def put_in_view(
    land: surface.Surface, mast: tuple[int, int], direction: float, field: canopy.Field
) -> surface.Surface:
    """Give the field that fills the camera's view a history.

    Shift and vigour of its pixels are centred: their mean over the view follows the history.
    """
    reach = camera.VIEW_CELLS
    weights = np.zeros(land.which.shape)
    weights[tuple(slice(cell - reach, cell + reach + 1) for cell in mast)] = camera.view_weights(
        direction
    )
    index = int(np.bincount(land.which[land.which >= 0], weights[land.which >= 0]).argmax())
    inside = land.which == index
    weights = np.where(inside, weights, 0)
    shift = land.shift - inside * np.float32(np.average(land.shift, weights=weights))
    vigour = np.where(
        inside, land.vigour / np.float32(np.average(land.vigour, weights=weights)), land.vigour
    )
    return surface.with_field(replace(land, shift=shift, vigour=vigour), index, field)


def draw_plan(rng: np.random.Generator, seed: int, year: CameraYear, place: str) -> region.Plan:
    """Draw overpasses and soil moisture; each sensor passes on one relative orbit or on two."""
    first, last = stages.DAY_MIN, stages.DAY_MAX
    rain = radar.rain(seed, canopy.DAYS, place)
    passes = overpasses.optical_overpasses(
        seed, first, last, rain, canopy.FIRST_DAY, place, year.latitude, year.longitude
    )
    second = int(stages.to_days([_SECOND_SATELLITE], year.year)[0])
    # Before the second satellite an orbit is repeated every 10 days.
    passes = [scene for scene in passes if scene.day >= second or scene.day // 5 % 2 == 0]
    echoes = overpasses.radar_overpasses(seed, first, last, 12, year.longitude)
    optical_orbit, radar_orbit = rng.integers(0, 4, 2)  # 2 and 3: both orbits
    return region.Plan(
        place,
        overpasses.clearest(
            [scene for scene in passes if optical_orbit > 1 or scene.orbit == optical_orbit],
            areas.SITE_CELLS,
            areas.SITE_CELLS,
            None,
            region.MAX_CLOUD,
        ),
        [scene for scene in echoes if radar_orbit > 1 or scene.orbit == radar_orbit],
        radar.soil_moisture(rain, canopy.DAYS),
    )


def simulated_samples(
    years: Sequence[CameraYear],
    path: Path,
    repeats: int = 1,
    distance: float = VIEW_DISTANCE,
    seed: int = 1,
    workers: int = 1,
) -> SampleSet:
    """Simulate the samples of all site-years into one file, or read what an earlier run simulated.

    While it runs, each site-year is a file in a folder beside ``path``; after an interruption the
    same call continues.

    Parameters
    ----------
    years : sequence of CameraYear
        Site-years; their labels become those of the samples.
    path : Path
        File of the samples, whose name ends in ``.npz``.
    repeats : int
        How often each site-year is simulated.
    distance : float
        As of `deepcrop.training.samples.sample`.
    seed : int
        As of `simulate`.
    workers : int
        Processes.

    Raises
    ------
    DeepCropError
        If an existing file is of other settings, site-years or labels, or of another version of the
        simulator; or as of `simulate`, `deepcrop.training.samples.collect` and
        `deepcrop.training.samples.save`.
    """
    settings = {
        "pixels": "simulated",
        "labels": "PhenoCam network",
        "statement": STATEMENT,
        "repeats": repeats,
        "view_distance": distance,
        "seed": seed,
        "simulator": REVISION,
    }
    if path.exists():
        stored = samples.load(path)
        same_settings = all(stored.provenance.get(key) == value for key, value in settings.items())
        if not same_settings or not has_labels_of(stored, years):
            raise DeepCropError(
                f"{path} was simulated with other settings, cameras or labels, or by another "
                "version of the simulator; delete it, or choose another folder."
            )
        return stored
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f"{path.stem}.parts")
    folder.mkdir(exist_ok=True)
    parts = [folder / f"{year.name}.npz" for year in years]
    simulate_part = functools.partial(_simulate_part, settings)
    missing = [
        (year, part) for year, part in zip(years, parts, strict=True) if not _is_of(part, settings)
    ]
    with progress_bar() as bar, contextlib.ExitStack() as stack:
        task = bar.add_task("simulating site-years", total=len(years))
        bar.advance(task, len(years) - len(missing))
        done: Iterator[None] = map(simulate_part, missing)
        if workers > 1:
            os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # of the processes that are spawned
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers))
            done = pool.imap_unordered(simulate_part, missing)
        for _ in done:
            bar.advance(task)
    simulated = samples.collect((one for part in parts for one in samples.load(part)), settings)
    samples.save(simulated, path)
    shutil.rmtree(folder)
    return simulated


def _simulate_part(settings: Mapping[str, Any], job: tuple[CameraYear, Path]) -> None:
    """Simulate all repeats of a site-year into one file."""
    year, path = job
    repeats = (
        samples.sample(simulate(year, repeat, settings["seed"]), year, settings["view_distance"])
        for repeat in range(settings["repeats"])
    )
    samples.save(samples.collect(repeats, settings), path, overwrite=True)


def _is_of(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether an earlier run with these settings wrote the file."""
    expected = {"software": f"deepcrop {__version__}", **settings}
    return path.exists() and samples.load(path).provenance == expected


def has_labels_of(stored: SampleSet, years: Sequence[CameraYear]) -> bool:
    """Whether samples are of the given site-years, and have the labels that these have now.

    Simulated samples must be of all site-years; of real pixels some may be missing.
    """
    labels = {year.name: year.day for year in years}
    names = [samples.site_year_of(fact) for fact in stored.facts]
    if stored.simulated and set(names) != set(labels):
        return False
    return all(
        name in labels and np.array_equal(labels[name], day, equal_nan=True)
        for name, day in zip(names, stored.labels["day"], strict=True)
    )
