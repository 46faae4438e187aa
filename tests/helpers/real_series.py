"""Small archives of known seasons, for the tests of the evidence on real satellites."""

import numpy as np

from deepcrop.training.curve_labels import as_patch, unlabelled, with_curve_labels
from deepcrop.training.real_excerpts import Excerpt

YEAR, LATITUDE = 2021, 45.0
WIDTH = 40.0  # days, standard deviation of a season
HALF = WIDTH * np.sqrt(2 * np.log(2))  # from the peak to half of the amplitude
FIFTH = WIDTH * np.sqrt(2 * np.log(5))  # to a fifth


def bands(ndvi):
    """Reflectance (times, 4) of a given NDVI."""
    red = np.full_like(ndvi, 0.06)
    return np.stack([red * 0.6, red, red, red * (1 + ndvi) / (1 - ndvi)], 1).astype(np.float32)


def season(days, peak):
    """NDVI of one season."""
    return 0.2 + 0.6 * np.exp(-(((days - peak) / WIDTH) ** 2) / 2)


def patch(peak, step=5, radar=True):
    """A field everywhere alike, seen every few days."""
    days = np.arange(-60.0, 440, step)
    optical = as_patch(bands(season(days, peak)))
    when = np.arange(-60.0, 440, 12)
    echo = as_patch(np.tile(np.float32([-11, -17]), (when.size, 1)))
    if not radar:
        return unlabelled(optical, days)
    return unlabelled(optical, days, echo, when, np.zeros(when.size, int))


def archive(peaks=(150.0, 190.0, 230.0), step=5):
    """An archive of patches."""
    examples = with_curve_labels([patch(peak, step) for peak in peaks], YEAR, LATITUDE)
    groups = np.array(["maize" if peak > 170 else "wheat" for peak in peaks])
    return Excerpt("france", "made up", YEAR, LATITUDE, examples, groups)
