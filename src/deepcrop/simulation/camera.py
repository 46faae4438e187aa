"""Model the greenness of PhenoCam pictures, and simulate the cameras of a region.

A camera looks almost horizontally across the crop, so the soil disappears between rows earlier
than for a satellite above, leaf colour counts more than leaf area, and tassels, ears and flowers
hide leaves. Camera greenness therefore falls earlier than NDVI (paper, section 4.1; Vrieling et
al. 2018, Remote Sensing of Environment 215). The lags of satellite behind camera dates were set
by the 30 maize and soybean site-years of HLS EVI beside PhenoCam of doi
10.34133/remotesensing.0878 (medians there: SOS20 5, SOS50 9, EOS50 5, EOS20 10 days;
`tests/simulation/test_camera.py` compares them with the simulator's own). Levels of GCC are
typical of PhenoCam archives: bare soil 0.33 - 0.34, full crop 0.42 - 0.46.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numba import njit

from deepcrop.simulation import random_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GCC_SOIL, _GCC_DEAD, _GCC_HEADS = 0.334, 0.338, 0.365
_GCC_PALE, _GCC_FULL = 0.355, 0.450
_VIEW_EXTINCTION = 1.8  # 0.5 / cos(74°): mean view over the region of interest


@njit(cache=True, inline="always")
def greenness(green_lai, brown_lai, chlorophyll, heads):
    """Noise-free green chromatic coordinate (GCC) of a pixel in a camera's picture.

    Arguments as the columns of :data:`deepcrop.simulation.canopy.STATE`.
    """
    lai = green_lai + brown_lai
    if lai < 1e-4:
        return _GCC_SOIL
    cover = 1.0 - math.exp(-_VIEW_EXTINCTION * lai)
    leaf = _GCC_PALE + (_GCC_FULL - _GCC_PALE) * chlorophyll
    leaves = (green_lai * leaf + brown_lai * _GCC_DEAD) / lai
    top = (1.0 - heads) * leaves + heads * _GCC_HEADS
    return cover * top + (1.0 - cover) * _GCC_SOIL


VIEW_CELLS = 8
"""Range of a camera's view, pixels."""


def view_weights(azimuth: float) -> NDArray[np.float64]:
    """Compute the share of each pixel in a camera's picture, the mast in the middle.

    Parameters
    ----------
    azimuth : float
        Viewing direction, degrees clockwise from north.

    Notes
    -----
    The view is a wedge of ±22°, from 10 m to 80 m; the weight of a pixel falls with its distance.
    The array has 2·VIEW_CELLS + 1 rows and columns.
    """
    steps = np.arange(-VIEW_CELLS, VIEW_CELLS + 1)
    row, col = np.meshgrid(steps, steps, indexing="ij")
    distance = np.hypot(row, col)
    bearing = np.degrees(np.arctan2(col, -row))
    off = np.abs((bearing - azimuth + 180) % 360 - 180)
    weights = np.where(
        (off < 22) & (distance >= 1) & (distance <= VIEW_CELLS), 1 / np.maximum(distance, 1) ** 2, 0
    )
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def observe(
    seed: int, days: NDArray[np.integer], curves: NDArray[np.floating], azimuth: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Simulate the 3-day GCC (90th percentile) of a camera.

    Parameters
    ----------
    seed : int
        Stream of random numbers of the camera.
    days : ndarray (n,)
        Every day of the record.
    curves : ndarray (n, 2·VIEW_CELLS + 1, 2·VIEW_CELLS + 1)
        Noise-free greenness around the mast.
    azimuth : float
        Viewing direction, degrees.

    Returns
    -------
    days, gcc_90 : ndarray of float32
        Every third day; NaN where the camera failed.
    """
    rng = np.random.default_rng(seed)
    seen = np.tensordot(curves, view_weights(azimuth), axes=2)
    foreground = rng.uniform(0.05, 0.25)
    picture = (1 - foreground) * seen + foreground * rng.uniform(0.335, 0.36)
    # Light differs from picture to picture; the weather changes it for days.
    light = rng.normal(0, 0.006, (len(days), 12))
    spell = np.convolve(rng.normal(0, 0.005, len(days) + 4), np.ones(5) / 5, "valid")
    pictures = picture[:, None] + light + spell[:, None]
    usable = len(days) // 3 * 3
    windows = pictures[:usable].reshape(-1, 36)
    gcc_90 = np.percentile(windows, 90, axis=1).astype(np.float32)
    broken = rng.random(len(gcc_90)) < 0.03
    start = rng.integers(0, max(len(gcc_90), 1))
    broken[start : start + rng.integers(0, 4)] = True
    gcc_90[broken] = np.nan
    return days[1:usable:3].astype(np.float32), gcc_90


def as_dataset(
    series: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    places: list[dict[str, float]],
    year: int,
) -> xr.Dataset:
    """Combine cameras into one dataset: ``gcc_90`` (camera, time) and their positions."""
    times = np.datetime64(f"{year}-01-01", "ns") + series[0][0].astype("timedelta64[D]")
    data = xr.Dataset(
        {
            "gcc_90": (
                ("camera", "time"),
                np.stack([values for _, values in series]),
                {"long_name": "simulated PhenoCam GCC, 3-day 90th percentile", "units": "1"},
            )
        },
        coords={"camera": np.arange(len(series)), "time": times},
        attrs={"simulated": 1, "source": "deepcrop simulation"},
    )
    for key in places[0]:
        data = data.assign_coords({key: ("camera", np.array([place[key] for place in places]))})
    return data


def stream(seed: int, index: int) -> int:
    """Derive the stream of random numbers of a camera."""
    return random_fields.stream(seed, "camera", index)
