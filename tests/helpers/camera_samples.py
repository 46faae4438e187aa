"""Samples of a camera that sees one known season, as do the satellites."""

import numpy as np

from deepcrop.training.samples import Patch, Sample

CAMERA = np.array([[110.0, 120, 170, 220, 230], [np.nan] * 5])


def camera_sample(site, year, radar=12, simulated=True):
    days = np.arange(-10, 380, 10, dtype=np.float32)
    ndvi = np.interp(days, [100, 130, 210, 240], [0.2, 0.8, 0.8, 0.2])
    optical = np.full((days.size, 4, 18, 18), 0.1, np.float32)
    optical[:, 3] = (0.1 * (1 + ndvi) / (1 - ndvi))[:, None, None]
    echo = np.full((radar, 2, 18, 18), -10.0, np.float32)
    echo[:, 1] = -17
    radar_days = np.linspace(0, 360, radar).astype(np.float32)
    patch = Patch(optical, days, echo, radar_days, np.full(radar, 5, np.int16))
    return Sample(
        f"{site}_AG_1000_{year}{'_0' if simulated else ''}", site, site, "maize", year, 41.0, -96.0,
        0.0, simulated, patch, CAMERA, CAMERA - 3, CAMERA + 3, np.zeros((2, 5), bool),
    )  # fmt: skip
