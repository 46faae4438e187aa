"""Small observation cubes."""

import numpy as np
import xarray as xr

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, build


def make_cube(rows=20, cols=30, optical_scenes=6, sar_scenes=4, seed=0) -> xr.DataTree:
    """A small valid cube of random numbers."""
    rng = np.random.default_rng(seed)
    box = grid.make_grid((500000, 5600000, 500000 + 10 * cols, 5600000 + 10 * rows), "EPSG:32631")

    def group(names, scenes, low, high, start):
        times = np.datetime64(start, "ns") + np.arange(scenes) * np.timedelta64(5, "D")
        data = {
            name: (
                ("time", "y", "x"),
                rng.uniform(low, high, (scenes, rows, cols)).astype(np.float32),
            )
            for name in names
        }
        return grid.assign_grid(xr.Dataset(data, {"time": times}), box)

    optical = group(OPTICAL_BANDS, optical_scenes, 0.02, 0.5, "2018-03-01T10:50")
    optical.attrs = {"source": "random numbers", "offset": "none"}
    sar = group(SAR_BANDS, sar_scenes, -22, -8, "2018-03-02T17:30")
    sar.attrs = {"source": "random numbers", "radiometry": "sigma0"}
    sar = sar.assign_coords(relative_orbit=("time", np.full(sar_scenes, 161, np.int16)))
    landcover = xr.Dataset({"crop_type": (("y", "x"), np.ones((rows, cols), np.uint16))})
    landcover["crop_type"].attrs = {"flag_values": [0, 1], "flag_meanings": "unknown maize"}
    return build(optical, sar, grid.assign_grid(landcover, box))


def season_cube(rows=20, cols=30, shift=0, year=2018, pixel=10) -> xr.DataTree:
    """A cube whose NDVI rises on day 120 (+1 per column) and falls on day 250; row 0 is masked."""
    left, bottom = (corner // pixel * pixel for corner in (500_000, 5_600_000))
    edges = (left, bottom, left + pixel * cols, bottom + pixel * rows)
    box = grid.make_grid(edges, "EPSG:32631", pixel)
    times = np.datetime64(f"{year}-01-01T10:50", "ns") + np.arange(-60, 430, 5) * np.timedelta64(
        1, "D"
    )
    days = stages.to_days(times, year)[:, None, None]
    up = 120 + np.arange(cols)[None, None, :] + shift
    rise = 1 / (1 + np.exp(-(days - up) / 7))
    fall = 1 / (1 + np.exp((days - 250) / 7))
    ndvi = np.broadcast_to(0.2 + 0.6 * rise * fall, (len(times), rows, cols)).copy()
    ndvi[:, 0] = np.nan
    red = np.full_like(ndvi, 0.05)
    nir = red * (1 + ndvi) / (1 - ndvi)
    data = {
        name: (("time", "y", "x"), values.astype(np.float32))
        for name, values in (
            ("blue", red),
            ("green", red),
            ("red", np.where(np.isnan(ndvi), np.nan, red)),
            ("nir", nir),
        )
    }
    optical = grid.assign_grid(xr.Dataset(data, {"time": times}), box)
    optical.attrs = {"source": "made up", "offset": "none"}
    landcover = xr.Dataset({"crop_type": (("y", "x"), np.full((rows, cols), 7, np.uint16))})
    landcover["crop_type"].attrs = {"flag_values": [0, 7], "flag_meanings": "unknown maize"}
    attrs = {"title": "made-up fields"}
    return build(optical, None, grid.assign_grid(landcover, box), attrs)
