"""Small made-up examples that training can learn from: greenness rises on one day, falls later."""

import numpy as np

from deepcrop.training.examples import EVENTS, Example


def example(rng, side=18, dates=30, radar_dates=12, late=0.0):
    """Return a field that greens up about day 130 + `late` and dies down about 120 days later."""
    start = 130 + late + rng.normal(0, 15)
    days = np.sort(rng.choice(np.arange(-100, 450), dates, replace=False)).astype(np.float32)
    green = 1 / (1 + np.exp(-(days - start - 30) / 10)) / (1 + np.exp((days - start - 120) / 8))
    optical = np.empty((dates, 4, side, side), np.float32)
    optical[:] = (0.05 + 0 * days)[:, None, None, None]
    optical[:, 3] = (0.15 + 0.35 * green)[:, None, None]
    optical[:, 1] = (0.07 + 0.02 * green)[:, None, None]
    radar_days = np.linspace(-90, 440, radar_dates).astype(np.float32)
    radar = rng.normal(-12, 1, (radar_dates, 2, side, side)).astype(np.float32)
    pixels = (side - 17) ** 2
    day = np.full((pixels, 2, len(EVENTS)), np.nan, np.float32)
    day[:, 0] = np.tile(start + np.array([18, 30, 75, 120, 131]), 2)
    none = np.isnan(day)
    spread = np.where(none, np.nan, 1).astype(np.float32)
    orbits = np.arange(radar_dates) % 2
    return Example(optical, days, radar, radar_days, orbits, day, spread, none)
