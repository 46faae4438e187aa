"""Simulate overpasses: when the satellites pass, missing scenes, and the atmosphere.

Sentinel-2 has two neighbouring relative orbits, each every 5 days, whose swaths overlap in part of
the region, so that some pixels are observed twice as often as others. Sentinel-1 has two relative
orbits, each every 12 days (one satellite) or 6 days (two). Some scenes are missing. Clouds are a
thresholded random field with soft edges and shadows. The scene classification (SCL) misses thin
cloud and edges of shadows, and classifies some bright ground as cloud.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, prange

from deepcrop.simulation import random_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
class OpticalOverpass:
    """One Sentinel-2 overpass.

    Attributes
    ----------
    day, hour : int, float
        Day number and hour of the overpass, UTC.
    orbit : int
        Index of the relative orbit, 0 or 1.
    cloud : float
        Mean cloud cover of the sky, 0 … 1.
    wavelength : float
        Size of cloud systems, metres.
    shadow : tuple of int
        Rows and columns from a cloud to its shadow.
    haze : float
        Mean share of light from haze.
    gain : tuple of float
        Factor per band, which atmospheric correction and viewing geometry leave.
    cos_sun : float
        Cosine of the sun's zenith angle.
    stream : int
        Stream of random numbers.
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
class RadarOverpass:
    """One Sentinel-1 overpass.

    ``incidence`` is the angle in the middle of the region (degrees), ``gain`` a calibration error
    (dB), ``wind`` the increase of backscatter on water by waves (dB); day and hour are UTC.
    """

    day: int
    hour: float
    orbit: int
    incidence: float
    gain: float
    wind: float
    stream: int


def optical_overpasses(
    seed: int, first: int, last: int, rain_mm: NDArray[Any], rain_first: int,
    place: str, latitude: float, longitude: float,
) -> list[OpticalOverpass]:  # fmt: skip
    """Draw the overpasses of Sentinel-2 between two days, in order of time."""
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
        azimuth = math.radians(155)  # the sun stands in the south-south-east at the overpass
        shadow = (round(length * math.cos(azimuth)), round(-length * math.sin(azimuth)))
        common = scene.normal(0, 0.02)
        gain = tuple(float(1 + common + scene.normal(0, 0.012)) for _ in range(4))
        overpass = OpticalOverpass(
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
            scenes.append(overpass)
    return scenes


def radar_overpasses(
    seed: int, first: int, last: int, revisit: int, longitude: float
) -> list[RadarOverpass]:
    """Draw the overpasses of Sentinel-1 between two days, in order of time."""
    rng = random_fields.generator(seed, "radar scenes")
    starts = rng.choice(revisit, 2, replace=False)
    scenes = []
    for day in range(first, last + 1):
        for orbit in (0, 1):
            if (day - starts[orbit]) % revisit:
                continue
            scene = random_fields.generator(seed, "radar", day, orbit)
            overpass = RadarOverpass(
                day,
                ((17.8 if orbit else 6.0) - longitude / 15) % 24,
                orbit,
                _S1_INCIDENCE[orbit],
                float(scene.normal(0, 0.25)),
                float(abs(scene.normal(0, 3))),
                random_fields.stream(seed, "speckle", day, orbit),
            )
            if scene.random() > 0.03:
                scenes.append(overpass)
    return scenes


def times(
    scenes: Sequence[OpticalOverpass] | Sequence[RadarOverpass], year: int
) -> NDArray[np.datetime64]:
    """UTC times of overpasses, datetime64[ns]."""
    midnight = np.datetime64(f"{year}-01-01", "ns")
    seconds = [round(scene.day * 86400 + scene.hour * 3600) for scene in scenes]
    return midnight + np.array(seconds).astype("timedelta64[s]")


def _clouds(
    scene: OpticalOverpass, row0: float, col0: float, shape: tuple[int, int], stride: float = 1
) -> NDArray[np.float32]:
    """Opacity of cloud, 0 … 1, on every ``stride``-th cell."""
    field = random_fields.smooth_field(
        scene.stream, row0, col0, shape, scene.wavelength / stride, octaves=6, persistence=0.6
    )
    threshold = NormalDist().inv_cdf(min(max(1 - scene.cloud, 0.002), 0.998))
    opacity: NDArray[np.float32] = np.clip((field - threshold + 0.05) / 0.3, 0, 1)
    return opacity


def cloud_cover(scene: OpticalOverpass, rows: int, cols: int) -> float:
    """Estimate the cloud cover of a region from a sample of at most 50 x 50 cells."""
    stride = max(rows, cols) / 50
    shape = (max(round(rows / stride), 1), max(round(cols / stride), 1))
    return float((_clouds(scene, 0, 0, shape, stride) > 0.3).mean())


def clearest(
    scenes: list[OpticalOverpass], rows: int, cols: int, count: int | None, max_cloud: float
) -> list[OpticalOverpass]:
    """Select the ``count`` clearest scenes; None: all up to a maximum cloud cover."""
    cover = np.array([cloud_cover(scene, rows, cols) for scene in scenes])
    if count is None:
        return [s for s, c in zip(scenes, cover, strict=True) if c <= max_cloud]
    # Over a small region many scenes are equally clear; a shuffle breaks ties, so that those kept
    # are not the first of the year.
    shuffled = np.random.default_rng(0).permutation(cover.size)
    chosen = np.sort(np.lexsort((shuffled, cover))[:count])
    return [scenes[k] for k in chosen]


def in_swath(
    scene: OpticalOverpass, row0: int, col0: int, shape: tuple[int, int], cols: int
) -> NDArray[np.bool_]:
    """Return the pixels in the swath: orbit 0 covers the west, orbit 1 the east; they overlap."""
    row = row0 + np.arange(shape[0])[:, None]
    col = col0 + np.arange(shape[1])[None, :]
    # Descending orbit: the edge of the swath runs 11° off north, to the south-west.
    col = col + 0.2 * row
    return col < 0.85 * cols if scene.orbit == 0 else col >= 0.35 * cols


def atmosphere(
    scene: OpticalOverpass,
    surface: NDArray[np.float32],
    row0: int,
    col0: int,
    inside: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Simulate the surface reflectance product and its scene classification.

    Parameters
    ----------
    scene : OpticalOverpass
        The overpass.
    surface : ndarray (4, rows, cols)
        Reflectance of the ground.
    row0, col0 : int
        First cell of the block.
    inside : ndarray of bool (rows, cols)
        Pixels in the swath.

    Returns
    -------
    product : ndarray of float32 (4, rows, cols)
        Reflectance after clouds, shadows, haze, calibration and noise; not masked.
    scl : ndarray of uint8 (rows, cols)
        Scene classes of the product, with their errors; 0 outside the swath.
    """
    shape = inside.shape
    cloud = _clouds(scene, row0, col0, shape)
    down, right = scene.shadow
    shadow = _clouds(scene, row0 - down, col0 - right, shape)
    haze = scene.haze * np.exp(
        0.5
        * random_fields.smooth_field(
            random_fields.stream(scene.stream, "haze"), row0, col0, shape, 15000, 2
        )
    )
    patchy = random_fields.smooth_field(
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
            # The cloud detection has patchy errors: thin cloud is missed, and some bright bare
            # ground is classified as cloud.
            bright = (product[0, i, j] + product[2, i, j]) * 0.5
            detected = opaque + 0.10 * patchy[i, j]
            nir, red = product[3, i, j], product[2, i, j]
            if detected > 0.6:
                scl[i, j] = SCL_CLOUD_HIGH
            elif detected > 0.22 or (patchy[i, j] > 2.0 and bright > 0.11):
                scl[i, j] = SCL_CLOUD_MEDIUM
            elif shadow[i, j] + 0.12 * patchy[i, j] > 0.35:
                scl[i, j] = SCL_SHADOW
            elif nir < 0.05:
                scl[i, j] = SCL_WATER
            elif (nir - red) > 0.4 * (nir + red):
                scl[i, j] = SCL_VEGETATION
            else:
                scl[i, j] = SCL_BARE
