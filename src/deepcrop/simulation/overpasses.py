"""When the satellites pass, what they miss, and what the air puts between.

Sentinel-2: two neighbouring orbits, each every 5 days, whose swaths overlap in part of the region,
so that some pixels are seen twice as often as others. Sentinel-1: two relative orbits, each every
12 (one satellite) or 6 days (two). Some scenes are missing. Clouds are thresholded fractal noise
with soft edges and shadows; the mask that comes with a scene (SCL) misses thin cloud and shadow
edges, and takes some bright ground for cloud.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from deepcrop.simulation import random_fields

SCL_NO_DATA, SCL_SHADOW, SCL_VEGETATION, SCL_BARE, SCL_WATER = 0, 3, 4, 5, 6
SCL_CLOUD_MEDIUM, SCL_CLOUD_HIGH = 8, 9

MEAN_CLOUD = {"north_america": 0.50, "europe": 0.60}
"""Mean cloud cover at the time of the pass."""

_S1_INCIDENCE = (34.5, 42.0)
S1_ORBITS = (88, 161)
S2_ORBITS = (8, 51)

_CLOUD = np.array([0.52, 0.52, 0.53, 0.57], np.float32)
_HAZE = np.array([0.36, 0.31, 0.28, 0.26], np.float32)


@dataclass(frozen=True)
class OpticalScene:
    """One Sentinel-2 pass.

    Attributes
    ----------
    day, hour : int, float
        Day number and hour of the pass, UTC.
    orbit : int
        Index of the relative orbit, 0 or 1.
    cloud : float
        Cloud cover the sky as a whole has, 0 … 1.
    wavelength : float
        Size of cloud systems, metres.
    shadow : tuple of int
        Rows and columns from a cloud to its shadow.
    haze : float
        Mean share of light from haze.
    gain : tuple of float
        Per band: what correction and viewing geometry leave as a factor.
    stream : int
        Random stream.
    """

    day: int
    hour: float
    orbit: int
    cloud: float
    wavelength: float
    shadow: tuple[int, int]
    haze: float
    gain: tuple[float, float, float, float]
    cos_sun: float
    stream: int


@dataclass(frozen=True)
class RadarScene:
    """One Sentinel-1 pass.

    ``incidence`` is that at the region's middle, ``gain`` a calibration error in dB, ``wind``
    roughens water (dB); day and hour are UTC.
    """

    day: int
    hour: float
    orbit: int
    incidence: float
    gain: float
    wind: float
    stream: int


def optical_scenes(
    seed: int, first: int, last: int, rain_mm: NDArray, rain_first: int,
    place: str, latitude: float, longitude: float,
) -> list[OpticalScene]:  # fmt: skip
    """All passes over a region between two days, in order of time, missing ones left out."""
    rng = random_fields.generator(seed, "optical scenes")
    start = rng.integers(0, 5)
    scenes = []
    for day in range(first, last + 1):
        phase = (day - start) % 5
        if phase not in (0, 2):
            continue
        orbit = 0 if phase == 0 else 1
        scene = random_fields.generator(seed, "optical", day, orbit)
        missing = scene.random() < 0.06
        wet = rain_mm[day - rain_first] > 0.5
        mean = MEAN_CLOUD[place] + (0.16 if wet else -0.10)
        mean += 0.08 * math.cos(2 * math.pi * (day - 15) / 365)
        mean = min(max(mean, 0.05), 0.95)
        cloud = float(scene.beta(1.1 * mean, 1.1 * (1 - mean)))
        declination = -23.4 * math.cos(2 * math.pi * (day + 10) / 365)
        cos_sun = math.cos(math.radians(latitude - declination)) * 0.97
        cos_sun = min(max(cos_sun, 0.35), 0.95)
        length = scene.uniform(800, 3000) * math.tan(math.acos(cos_sun)) / random_fields.PIXEL
        azimuth = math.radians(155)  # the sun stands south-south-east at the pass
        shadow = (round(length * math.cos(azimuth)), round(-length * math.sin(azimuth)))
        common = scene.normal(0, 0.02)
        gain = tuple(float(1 + common + scene.normal(0, 0.012)) for _ in range(4))
        made = OpticalScene(
            day,
            10.6 - longitude / 15,
            orbit,
            cloud,
            float(scene.choice([4000.0, 12000.0, 40000.0])),
            shadow,
            float(abs(scene.normal(0, 0.025))),
            gain,  # type: ignore[arg-type]
            cos_sun,
            random_fields.stream(seed, "sky", day, orbit),
        )
        if not missing:
            scenes.append(made)
    return scenes


def radar_scenes(
    seed: int, first: int, last: int, revisit: int, longitude: float
) -> list[RadarScene]:
    """All passes of both relative orbits between two days, in order of time."""
    rng = random_fields.generator(seed, "radar scenes")
    starts = rng.choice(revisit, 2, replace=False)
    scenes = []
    for day in range(first, last + 1):
        for orbit in (0, 1):
            if (day - starts[orbit]) % revisit:
                continue
            scene = random_fields.generator(seed, "radar", day, orbit)
            made = RadarScene(
                day,
                ((17.8 if orbit else 6.0) - longitude / 15) % 24,
                orbit,
                _S1_INCIDENCE[orbit],
                float(scene.normal(0, 0.25)),
                float(abs(scene.normal(0, 3))),
                random_fields.stream(seed, "speckle", day, orbit),
            )
            if scene.random() > 0.03:
                scenes.append(made)
    return scenes


def times(
    scenes: Sequence[OpticalScene] | Sequence[RadarScene], year: int
) -> NDArray[np.datetime64]:
    """UTC times of scenes, datetime64[ns]."""
    midnight = np.datetime64(f"{year}-01-01", "ns")
    seconds = [round(scene.day * 86400 + scene.hour * 3600) for scene in scenes]
    return midnight + np.array(seconds).astype("timedelta64[s]")


def _clouds(
    scene: OpticalScene, row0: float, col0: float, shape: tuple[int, int], stride: float = 1
) -> NDArray[np.float32]:
    """Opacity of cloud, 0 … 1; with ``stride``, every so many cells."""
    field = random_fields.smooth_noise(
        scene.stream, row0, col0, shape, scene.wavelength / stride, octaves=6, persistence=0.6
    )
    threshold = NormalDist().inv_cdf(min(max(1 - scene.cloud, 0.002), 0.998))
    return np.clip((field - threshold + 0.05) / 0.3, 0, 1)


def cloud_cover(scene: OpticalScene, rows: int, cols: int) -> float:
    """Share of a region under cloud, from a sample of at most 50 x 50 cells."""
    stride = max(rows, cols) / 50
    shape = (max(round(rows / stride), 1), max(round(cols / stride), 1))
    return float((_clouds(scene, 0, 0, shape, stride) > 0.3).mean())


def clearest(
    scenes: list[OpticalScene], rows: int, cols: int, count: int | None, max_cloud: float
) -> list[OpticalScene]:
    """Scenes a user would download: below a cloud cover, or the ``count`` clearest."""
    cover = np.array([cloud_cover(scene, rows, cols) for scene in scenes])
    if count is None:
        return [s for s, c in zip(scenes, cover, strict=True) if c <= max_cloud]
    # Over a small region many scenes are quite clear: those to keep are not the first of the year.
    shuffled = np.random.default_rng(0).permutation(cover.size)
    chosen = np.sort(np.lexsort((shuffled, cover))[:count])
    return [scenes[k] for k in chosen]


def seen(
    scene: OpticalScene, row0: int, col0: int, shape: tuple[int, int], cols: int
) -> NDArray[np.bool_]:
    """Pixels inside the swath: orbit 0 sees the west, orbit 1 the east, with a wide overlap."""
    row = row0 + np.arange(shape[0])[:, None]
    col = col0 + np.arange(shape[1])[None, :]
    col = col + 0.2 * row  # descending: the swath's edge runs 11° off north, south-westwards
    return col < 0.85 * cols if scene.orbit == 0 else col >= 0.35 * cols


def atmosphere(
    scene: OpticalScene,
    surface: NDArray[np.float32],
    row0: int,
    col0: int,
    inside: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Show a surface as the sensor's product does.

    Parameters
    ----------
    scene : OpticalScene
        The pass.
    surface : ndarray (4, rows, cols)
        Reflectance of the ground.
    row0, col0 : int
        First cell of the block.
    inside : ndarray of bool (rows, cols)
        Pixels inside the swath.

    Returns
    -------
    product : ndarray of float32 (4, rows, cols)
        Reflectance after clouds, shadows, haze, calibration and noise; not masked.
    scl : ndarray of uint8 (rows, cols)
        Scene classes as the product's own mask gives them, errors included; 0 outside the swath.
    """
    shape = inside.shape
    cloud = _clouds(scene, row0, col0, shape)
    down, right = scene.shadow
    shadow = _clouds(scene, row0 - down, col0 - right, shape)
    haze = scene.haze * np.exp(
        0.5
        * random_fields.smooth_noise(
            random_fields.stream(scene.stream, "haze"), row0, col0, shape, 15000, 2
        )
    )
    patchy = random_fields.smooth_noise(
        random_fields.stream(scene.stream, "mask"), row0, col0, shape, 400, 2
    )
    grain = np.stack(
        [
            random_fields.normal(random_fields.stream(scene.stream, "grain", b), row0, col0, *shape)
            for b in range(4)
        ]
    )
    product = np.empty_like(surface)
    scl = np.empty(shape, np.uint8)
    gain = np.array(scene.gain, np.float32)
    _mix_atmosphere(surface, cloud, shadow, haze, patchy, grain, gain, inside, product, scl)
    return product, scl


@njit(cache=True, parallel=True)
def _mix_atmosphere(surface, cloud, shadow, haze, patchy, grain, gain, inside, product, scl):
    rows, cols = cloud.shape
    for i in prange(rows):
        for j in range(cols):
            opaque = cloud[i, j]
            shade = 1.0 - 0.6 * shadow[i, j] * (1.0 - opaque)
            h = min(haze[i, j], np.float32(0.5))
            for b in range(4):
                ground = surface[b, i, j] * gain[b] * shade
                value = (1.0 - opaque) * ((1.0 - h) * ground + h * _HAZE[b]) + opaque * _CLOUD[b]
                product[b, i, j] = value * (1.0 + 0.01 * grain[b, i, j]) + 0.001 * grain[b, i, j]
            if not inside[i, j]:
                scl[i, j] = SCL_NO_DATA
                continue
            # The detector sees opacity with patchy errors: thin cloud slips through, and some
            # bright bare ground is taken for cloud.
            bright = (product[0, i, j] + product[2, i, j]) * 0.5
            believed = opaque + 0.10 * patchy[i, j]
            nir, red = product[3, i, j], product[2, i, j]
            if believed > 0.6:
                scl[i, j] = SCL_CLOUD_HIGH
            elif believed > 0.22 or (patchy[i, j] > 2.0 and bright > 0.11):
                scl[i, j] = SCL_CLOUD_MEDIUM
            elif shadow[i, j] + 0.12 * patchy[i, j] > 0.35:
                scl[i, j] = SCL_SHADOW
            elif nir < 0.05:
                scl[i, j] = SCL_WATER
            elif (nir - red) > 0.4 * (nir + red):
                scl[i, j] = SCL_VEGETATION
            else:
                scl[i, j] = SCL_BARE
