"""What satellites would have seen of the field before a real camera: **simulated pixels**.

For a site-year of the real camera network, a field is made whose camera greenness is the real curve
(`deepcrop.simulation.camera_inversion`), in a mosaic of simulated neighbours at the real place, and passes
of Sentinel-2 and Sentinel-1 are simulated over it with clouds, noise and speckle. The season dates
that a network learns from such a cube are those of the real camera. Nothing in the cube knows them
but through the field itself.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cameras.labels import CameraLabels
from deepcrop.cameras.site_years import CameraYear
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
from deepcrop.training.samples import VIEW_DISTANCE, Sample, SampleSet

STATEMENT = "pixels simulated, labels from a real camera"
"""What every file and table made from these cubes must say."""

_SECOND_SATELLITE = np.datetime64("2017-07-06")  # first data of Sentinel-2B
_SEARCH = 240  # cells on a side in which a place for the camera is looked for
_FIELD_HA, _FIELD_SPREAD = 12.0, 0.6  # median field size of a site, and its logarithmic spread


def simulate(year: CameraYear, realisation: int = 0, seed: int = 1) -> xr.DataTree:
    """Simulate the satellites over one site-year.

    Parameters
    ----------
    year : CameraYear
        A site-year; its labels need not be accepted.
    realisation : int
        Another number gives other crops' traits, neighbours, weather, clouds and noise, another
        relation of camera to canopy, and the same camera curve.
    seed : int
        Everything random follows from it, the region of interest, the year and the realisation.

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
    field, seed, rng = field_before(year, realisation, seed)
    # South of them the neighbours follow the southernmost calendars.
    latitude = max(year.latitude, crops.LATITUDES[0])
    place = crops.continent(latitude, year.longitude)

    box = areas.around(year.latitude, year.longitude, areas.SITE_CELLS, areas.SITE_CELLS)
    mast = grid.cell_of(box, year.longitude, year.latitude)
    direction = year.direction if math.isfinite(year.direction) else float(rng.uniform(0, 360))
    size = float(_FIELD_HA * np.exp(_FIELD_SPREAD * rng.standard_normal()))
    row0, col0 = _stand(rng, seed, mast, direction, size)
    land = surface.make(
        seed, row0 - 1, col0 - 1, (box.shape[0] + 2, box.shape[1] + 2), size, place, latitude
    )
    land = _put_before_camera(land, (mast[0] + 1, mast[1] + 1), direction, field)

    plan = _plan(rng, seed, year, place)
    everything = np.ones(box.shape, np.bool_)
    optical = region.optical_images(plan, land, 0, 0, lambda scene: everything)
    sar = region.radar_images(plan, land, 0, 0, np.zeros(box.shape[1] + 2))
    orbits = (
        region.passes(plan.optical, overpasses.S2_ORBITS, year.year),
        region.passes(plan.sar, overpasses.S1_ORBITS, year.year),
    )
    return build(
        _group(optical, orbits[0], region.OPTICAL_ATTRS, box),
        _group(sar, orbits[1], region.SAR_ATTRS, box),
        attrs={
            "title": f"{year.name}, realisation {realisation}: {STATEMENT}",
            "simulated": 1,
            "camera": year.roi,
            "year": year.year,
            "realisation": realisation,
        },
    )


def field_before(
    year: CameraYear, realisation: int = 0, seed: int = 1
) -> tuple[canopy.Field, int, np.random.Generator]:
    """Draw the field before a camera, and what the rest of the site is drawn with.

    Parameters and errors as of `simulate`.

    Returns
    -------
    field : Field
    seed : int
        Of this site-year and realisation.
    rng : Generator
        As the field leaves it.
    """
    curve = camera_curve(year.labels, year.year)
    seed = random_fields.stream(seed, "network", year.roi, year.year, realisation)
    rng = random_fields.generator(seed, "site")
    return camera_inversion.invert(rng, curve, year.crop)[0], seed, rng


def _group(
    images: Mapping[str, NDArray], passes: Mapping[str, Any], attrs: Mapping[str, Any], box: GeoBox
) -> xr.Dataset:
    data = {name: (("time", "y", "x"), values) for name, values in images.items()}
    return grid.assign_grid(xr.Dataset(data, dict(passes), dict(attrs)), box)


def camera_curve(labels: CameraLabels, year: int) -> NDArray[np.float64]:
    """Smooth greenness of a camera on each of `canopy.DAYS` of a target year.

    Gaps are bridged by straight lines; before the first observation and after the last one the
    greenness is held.

    Raises
    ------
    DeepCropError
        If the camera saw nothing on these days.
    """
    start = int(stages.to_days(labels.camera.date[:1], year)[0])
    known = np.isfinite(labels.curve)
    days = labels.curve_days[known] + start
    if not ((days >= canopy.FIRST_DAY) & (days <= canopy.LAST_DAY)).any():
        raise DeepCropError(f"{labels.camera.name} saw nothing near {year}; choose another year.")
    return np.interp(canopy.DAYS, days, labels.curve[known])


def _stand(
    rng: np.random.Generator, seed: int, mast: tuple[int, int], direction: float, size: float
) -> tuple[int, int]:
    """First cell of a block in which the camera looks at one field; the best of 40 places.

    The far end of the view counts as much as the near one: there satellites look.
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


def _put_before_camera(
    land: surface.Surface, mast: tuple[int, int], direction: float, field: canopy.Field
) -> surface.Surface:
    """Let the field that fills the camera's view have a given history.

    The field's plants are early and late, lush and thin about what the camera sees of them.
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


def _plan(rng: np.random.Generator, seed: int, year: CameraYear, place: str) -> region.Plan:
    """Draw passes and soil moisture: each sensor comes by on one orbit or on two."""
    first, last = stages.DAY_MIN, stages.DAY_MAX
    rain = radar.rain(seed, canopy.DAYS, place)
    passes = overpasses.optical_scenes(
        seed, first, last, rain, canopy.FIRST_DAY, place, year.latitude, year.longitude
    )
    second = int(stages.to_days([_SECOND_SATELLITE], year.year)[0])
    # One satellite of the two comes every 10 days.
    passes = [scene for scene in passes if scene.day >= second or scene.day // 5 % 2 == 0]
    echoes = overpasses.radar_scenes(seed, first, last, 12, year.longitude)
    optical_orbit, radar_orbit = rng.integers(0, 4, 2)  # 2 and 3: both
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
    years: Iterable[CameraYear],
    realisations: Iterable[int] = (0,),
    distance: float = VIEW_DISTANCE,
    seed: int = 1,
) -> Iterator[Sample]:
    """Yield samples of simulated satellites with real labels, one after another.

    Parameters
    ----------
    years : iterable of CameraYear
        Site-years.
    realisations : iterable of int
        Each site-year is simulated once for each of these.
    distance : float
        As of `deepcrop.training.samples.sample`.
    seed : int
        As of `simulate`.
    """
    realisations = tuple(realisations)
    for year in years:
        for realisation in realisations:
            yield samples.sample(simulate(year, realisation, seed), year, distance)


def make_samples(
    years: Sequence[CameraYear],
    realisations: Iterable[int],
    out: Path,
    distance: float = VIEW_DISTANCE,
    seed: int = 1,
    workers: int = 1,
) -> SampleSet:
    """Simulate many site-years in several processes, into one file of samples.

    Each site-year is a file in a folder beside ``out`` until all are there; the same call goes on
    where it was stopped.

    Parameters
    ----------
    years, realisations, distance, seed
        As of `simulated_samples`.
    out : Path
        The file, which must not exist, and whose name ends in ``.npz``.
    workers : int
        Processes.

    Returns
    -------
    SampleSet
        What was written.

    Raises
    ------
    DeepCropError
        As of `simulate`, `deepcrop.training.samples.collect` and `deepcrop.training.samples.save`.
    """
    samples.check_name(out)
    settings = {
        "pixels": "simulated",
        "labels": "PhenoCam network",
        "statement": STATEMENT,
        "realisations": list(realisations),
        "view_distance": distance,
        "seed": seed,
        "simulator": REVISION,
    }
    folder = out.with_name(f"{out.stem}.parts")
    folder.mkdir(exist_ok=True)
    parts = [folder / f"{year.name}.npz" for year in years]
    work = functools.partial(_make_part, settings)
    missing = [
        (year, part) for year, part in zip(years, parts, strict=True) if not _made(part, settings)
    ]
    with progress_bar() as bar, contextlib.ExitStack() as stack:
        task = bar.add_task("simulating site-years", total=len(years))
        bar.advance(task, len(years) - len(missing))
        done: Iterator[None] = map(work, missing)
        if workers > 1:
            os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # of the processes that are spawned
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers))
            done = pool.imap_unordered(work, missing)
        for _ in done:
            bar.advance(task)
    made = samples.collect((one for part in parts for one in samples.load(part)), settings)
    samples.save(made, out)
    shutil.rmtree(folder)
    return made


def _make_part(settings: Mapping[str, Any], job: tuple[CameraYear, Path]) -> None:
    year, path = job
    made = simulated_samples(
        [year], settings["realisations"], settings["view_distance"], settings["seed"]
    )
    samples.save(samples.collect(made, settings), path, overwrite=True)


def _made(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether an earlier run with these settings wrote the file."""
    wanted = {"software": f"deepcrop {__version__}", **settings}
    return path.exists() and samples.load(path).provenance == wanted
