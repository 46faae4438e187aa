"""Model C-band backscatter: the water-cloud model over soil whose moisture follows the rain.

Attema and Ulaby 1978 (Radio Science 13, doi 10.1029/RS013i002p00357): the canopy is a cloud of
water that scatters and attenuates, sigma0 = V·cosθ·(1 - T) + T·S with T = exp(-2·B·W / cosθ), in
linear power; V, B per crop and polarisation, W plant water in kg/m². The soil term S is linear in
dB in volumetric moisture (about 0.2 - 0.25 dB per percent, as in Veloso et al. 2017 and the many
C-band studies they cite), roughness and incidence angle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from deepcrop.simulation import random_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 IW GRDH (product definition: 4.4 to 4.9)."""

# A 3x3 moving average of single-look intensities with this weight beside the centre has an
# equivalent number of looks of 4.4 and correlates neighbours, as 10 m pixels of a 20 m resolution
# image are: (2a² + (1 - 2a)²)² = 1 / 4.4.
_SIDE = (4 - math.sqrt(16 - 24 * (1 - LOOKS**-0.5))) / 12

WATER_DB = (-20.0, -28.0)
ROAD_DB = (-13.0, -20.0)
"""VV and VH of surfaces without plants at 38°; dB."""
PADDY_DB = (-19.0, -26.5)
"""VV and VH of a field under shallow water with seedlings, dB."""


@njit(cache=True, inline="always")
def soil_db(moisture, roughness, incidence):
    """Backscatter of bare soil, dB: (VV, VH).

    Parameters
    ----------
    moisture : float
        Volumetric, percent.
    roughness : float
        Effect of tillage, dB.
    incidence : float
        Degrees.
    """
    tilt = incidence - 38.0
    vv = -16.0 + 0.24 * moisture + roughness - 0.13 * tilt
    vh = -23.2 + 0.20 * moisture + 0.9 * roughness - 0.10 * tilt
    return vv, vh


@njit(cache=True, inline="always")
def water_cloud(volume_db, attenuation, water, ground_db, cos_incidence):
    """Canopy over soil, linear power.

    Parameters
    ----------
    volume_db : float
        Backscatter of a dense canopy at 38°, dB.
    attenuation : float
        Per kg/m² of plant water.
    water : float
        Plant water, kg/m².
    ground_db : float
        Backscatter of the soil, dB.
    cos_incidence : float
        Cosine of the incidence angle.
    """
    through = math.exp(-2.0 * attenuation * water / cos_incidence)
    volume = 10.0 ** (volume_db / 10.0) * cos_incidence / 0.788  # cos 38°
    return volume * (1.0 - through) + 10.0 ** (ground_db / 10.0) * through


def speckle(seed: int, row0: int, col0: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draw multiplicative speckle of mean 1 and variance 1/4.4, correlated between neighbours."""
    rows, cols = shape
    white = random_fields.exponential(seed, row0 - 1, col0 - 1, rows + 2, cols + 2)
    return smooth3(white, _SIDE)


def smooth3(padded: NDArray[np.floating], side: float) -> NDArray[np.float32]:
    """Smooth by a 3x3 mean, weights (side, 1 - 2·side, side) each way; crops the outer pixels."""
    padded = padded.astype(np.float32, copy=False)
    centre = 1 - 2 * side
    rows = side * (padded[..., :-2, :] + padded[..., 2:, :]) + centre * padded[..., 1:-1, :]
    smooth = side * (rows[..., :-2] + rows[..., 2:]) + centre * rows[..., 1:-1]
    return np.asarray(smooth, np.float32)


def rain(seed: int, days: NDArray[np.integer], place: str) -> NDArray[np.float32]:
    """Draw daily rain in mm: a two-state Markov chain with gamma amounts (Richardson 1981).

    Wetter winters in Europe, wetter summers in North America.
    """
    rng = random_fields.generator(seed, "rain")
    season = np.cos(2 * np.pi * (days - (15 if place == "europe" else 166)) / 365)
    wet = False
    amounts = np.zeros(len(days), np.float32)
    for i, s in enumerate(season):
        chance = (0.62 if wet else 0.27) + 0.07 * s
        wet = rng.random() < chance
        if wet:
            amounts[i] = rng.gamma(0.8, 6.5)
    return amounts


def soil_moisture(rain_mm: NDArray[np.floating], days: NDArray[np.integer]) -> NDArray[np.float32]:
    """Compute soil moisture (top 5 cm, volume percent): a bucket, filled by rain, that dries."""
    moisture = np.empty(len(days), np.float32)
    now = 22.0
    evaporation = 0.085 + 0.045 * np.cos(2 * np.pi * (days - 190) / 365)
    for i, mm in enumerate(rain_mm):
        now = now + 1.1 * mm * max(0.0, (40 - now) / 30)
        now = min(now, 40.0)
        now -= evaporation[i] * max(now - 7.0, 0.0)
        moisture[i] = now
    return moisture
