"""A second family of series: the shapes of real camera seasons, seen as by Sentinel-2.

The greenness that PhenoCam itself smoothed, three years of it, becomes the noise-free curve: scaled
to the range of NDVI, then clouded, lowered and made noisy as the simulated series are. The shapes
are nobody's model, and nobody tunes on them. The files are read from ``DEEPCROP_REAL_DATA``; none
is part of this repository. The series are SIMULATED OBSERVATIONS OF REAL SHAPES.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from series import STEP, Scene, observe, read_dates

KIND = "camera shapes"
DAYS = 1095
"""Three years."""
EDGE = 150
"""Days at either end of which the lowest one is the first or last of a season; the curve is level
before and after it."""

_FILLED = 0.1
"""Largest share of days that PhenoCam filled in over a gap."""
_CLEAR, _NOTHING = 0.25, 0.08
"""Prominence of a peak, as shares of the range, from which on it is a season, and below which it is
none. Shapes with a bump in between are left out: whether it is a season is a matter of taste."""


def simulate(pixels: int = 20_000, seed: int = 1, folder: Path | None = None) -> Scene:
    """Draw a scene from all shapes; group 0 has one season a year at most, group 1 more.

    Parameters
    ----------
    pixels, seed : int
    folder : Path, optional
        PhenoCam summary files; by default those of ``DEEPCROP_REAL_DATA``.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    """
    rng = np.random.default_rng([seed, 3])
    shapes = read_shapes(folder or files_at_hand())
    peaks = [find_seasons(shape) for shape in shapes]
    most = max(len(tops) for tops in peaks)
    chosen = rng.integers(0, len(shapes), pixels)
    base, amplitude = rng.uniform(0.12, 0.25, pixels), rng.uniform(0.35, 0.7, pixels)
    curve_days = np.arange(DAYS, dtype=np.float32)
    curves = np.empty((pixels, DAYS), np.float32)
    truth = np.full((pixels, most, 5), np.nan, np.float32)
    fine_days = np.arange(0, DAYS - 1 + STEP / 2, STEP)
    for pixel, number in enumerate(chosen):
        curves[pixel] = base[pixel] + amplitude[pixel] * shapes[number]
        fine = np.interp(fine_days, curve_days, curves[pixel]).astype(np.float32)
        tops = np.rint(peaks[number] / STEP).astype(int)
        around = [0, *tops, len(fine) - 1]
        for season, peak in enumerate(tops):
            truth[pixel, season] = read_dates(fine, around[season], peak, around[season + 2])
    days = np.arange(0, DAYS, 5, dtype=np.float32)
    clean = curves[:, days.astype(int)]
    values = observe(clean, days, 0.5, rng)
    group = np.array([int(len(peaks[number]) > 3) for number in chosen], np.uint8)
    return Scene(KIND, seed, values, days, curves, curve_days, truth, group)


def files_at_hand() -> Path:
    """Folder of the PhenoCam files."""
    folder = Path(os.environ.get("DEEPCROP_REAL_DATA", "../shared/data")) / "phenocam/series"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is absent; set DEEPCROP_REAL_DATA to the real data.")
    return folder


def read_shapes(folder: Path) -> np.ndarray:
    """Three years of each camera, from 0 to 1, at every full year of its file; (shapes, days)."""
    shapes = []
    for path in sorted(folder.glob("*_3day.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        first = [k for k, row in enumerate(rows) if row["doy"] == "1"]
        for k in first:
            part = rows[k : k + DAYS]
            filled = np.mean([row["int_flag"] == "1" for row in part]) if part else 1.0
            if len(part) < DAYS or filled > _FILLED:
                continue
            curve = np.array([row["smooth_gcc_90"] for row in part])
            if np.any(curve == "NA"):
                continue
            shape = gaussian_filter1d(curve.astype(float), 4)
            shape = _level_ends(shape)
            shape = (shape - shape.min()) / (shape.max() - shape.min())
            if is_clear(shape):
                shapes.append(shape)
    return np.array(shapes)


def _level_ends(shape: np.ndarray) -> np.ndarray:
    """Level before the lowest day of the first months, and after that of the last."""
    shape = shape.copy()
    begin = int(shape[:EDGE].argmin())
    end = len(shape) - EDGE + int(shape[-EDGE:].argmin())
    shape[:begin], shape[end:] = shape[begin], shape[end]
    return shape


def find_seasons(shape: np.ndarray, prominence: float = _CLEAR) -> np.ndarray:
    """Days of the peaks that rise and fall by ``prominence``."""
    return find_peaks(shape, prominence=prominence)[0]


def is_clear(shape: np.ndarray) -> bool:
    """Whether there is a season, and no bump that one may call a season or not."""
    return 0 < len(find_seasons(shape)) == len(find_seasons(shape, _NOTHING))
