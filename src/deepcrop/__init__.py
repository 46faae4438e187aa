"""Crop season dates from Sentinel-1 and Sentinel-2, learnt from the PhenoCam network.

>>> import deepcrop as dc
>>> cube = dc.open_cube("region.zarr")
>>> seasons = dc.map_seasons(cube, year=2018)
>>> seasons.sos50.plot()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

from deepcrop.errors import CubeError, DeepCropError, SpecError
from deepcrop.kernel_cache import drop_stale_kernels

drop_stale_kernels()  # before the first module with kernels is imported

if TYPE_CHECKING:
    from deepcrop.map_arrays import map_seasons
    from deepcrop.mapping import MapResult, map_region
    from deepcrop.observations import open_cube, save_cube
    from deepcrop.phenology import Seasons, season_dates

__all__ = [
    "CubeError",
    "DeepCropError",
    "MapResult",
    "Seasons",
    "SpecError",
    "map_region",
    "map_seasons",
    "open_cube",
    "save_cube",
    "season_dates",
]

# Imported when first asked for: xarray, numba and matplotlib take seconds to load.
_HOMES = {
    "MapResult": "mapping",
    "Seasons": "phenology",
    "map_region": "mapping",
    "map_seasons": "map_arrays",
    "open_cube": "observations",
    "save_cube": "observations",
    "season_dates": "phenology",
}
_MODULES = ("figures", "observations", "phenology", "stages")


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _MODULES:
        return importlib.import_module(f"deepcrop.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcrop' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"deepcrop.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names, also of what is not imported yet."""
    return sorted({*globals(), *_HOMES, *_MODULES})
