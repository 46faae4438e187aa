"""Model the surface reflectance of a canopy over soil in Sentinel-2's B02, B03, B04 and B08.

A reduced model of the PROSAIL kind: leaf scattering follows chlorophyll as in PROSPECT, and the
canopy is the two-stream solution of Campbell and Norman, *An Introduction to Environmental
Biophysics* (1998), Eqs. 15.7-15.11. Coefficients were set so that the bands stay near
PROSAIL's over bare, sparse, dense, yellowing and dead canopies; `tests/simulation/test_optical.py`
holds PROSAIL's own numbers and the tolerance.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BANDS = ("blue", "green", "red", "nir")

# Single-scattering albedo (reflectance + transmittance) of a green leaf: base x exp(-slope x Cab),
# Cab in µg/cm²; of a dead leaf; and reflectance of a dry loam and of cereal straw.
_LEAF_BASE = np.array([0.295, 0.655, 0.284, 0.945], np.float32)
_LEAF_SLOPE = np.array([0.0272, 0.0296, 0.0307, 0.0], np.float32)
_DEAD_LEAF = np.array([0.16, 0.30, 0.42, 0.82], np.float32)
_DRY_SOIL = np.array([0.085, 0.125, 0.165, 0.245], np.float32)
_STRAW = np.array([0.115, 0.175, 0.235, 0.335], np.float32)

ROAD = np.array([0.12, 0.14, 0.155, 0.19], np.float32)
WATER = np.array([0.045, 0.050, 0.035, 0.015], np.float32)
"""Reflectance of surfaces without plants."""

_PADDY = np.array([0.060, 0.080, 0.080, 0.060], np.float32)  # shallow, muddy water

CAB_MAX, CAB_MIN = 48.0, 8.0
"""Leaf chlorophyll of full colour and of a leaf about to die, µg/cm²."""


@njit(cache=True, inline="always")
def reflectance(
    band, green_lai, brown_lai, chlorophyll, residue, brightness, wetness, cos_sun, flooded=0.0
):
    """Reflectance of one pixel in one band.

    Parameters
    ----------
    band : int
        Index into `BANDS`.
    green_lai, brown_lai : float
        m²/m².
    chlorophyll : float
        0 (about to die) … 1 (full colour).
    residue : float
        Share of the soil under straw, 0 … 1.
    brightness : float
        Of the soil, relative to a dry loam.
    wetness : float
        Of the surface, 0 (dry) … 1 (saturated); a wet soil is half as bright.
    cos_sun : float
        Cosine of the sun's zenith angle.
    flooded : float
        Share of the ground under shallow water, as in a paddy.
    """
    soil = _DRY_SOIL[band] * brightness * (1.0 - 0.5 * wetness)
    ground = (1.0 - residue) * soil + residue * _STRAW[band] * (1.0 - 0.25 * wetness)
    ground = (1.0 - flooded) * ground + flooded * _PADDY[band]
    lai = green_lai + brown_lai
    if lai < 1e-3:
        return ground
    cab = CAB_MIN + (CAB_MAX - CAB_MIN) * chlorophyll
    leaf = _LEAF_BASE[band] * math.exp(-_LEAF_SLOPE[band] * cab)
    albedo = (green_lai * leaf + brown_lai * _DEAD_LEAF[band]) / lai
    root = math.sqrt(1.0 - albedo)
    # Extinction of a spherical canopy, the mean of the sun's path and the sensor's straight down.
    extinction = 0.25 / cos_sun + 0.25
    dense = 2.0 * extinction / (extinction + 1.0) * (1.0 - root) / (1.0 + root)
    share = (dense - ground) / (dense * ground - 1.0) * math.exp(-2.0 * root * extinction * lai)
    return (dense + share) / (1.0 + dense * share)
