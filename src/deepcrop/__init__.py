"""Crop season dates from Sentinel-1 and Sentinel-2, learnt from the PhenoCam network.

>>> import deepcrop as dc
>>> cube = dc.open_cube("region.zarr")
>>> seasons = dc.map_seasons(cube, year=2018)
>>> artist = seasons.sos50.plot()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deepcrop._version import __version__
from deepcrop.errors import CubeError, DeepCropError, SpecError

if TYPE_CHECKING:
    from deepcrop.cube.io import open_cube, save_cube
    from deepcrop.mapping.lazy import map_seasons
    from deepcrop.mapping.region import MapResult, map_region
    from deepcrop.phenology import Seasons, season_dates
    from deepcrop.phenology.extract import extract

__all__ = [
    "CubeError",
    "DeepCropError",
    "MapResult",
    "Seasons",
    "SpecError",
    "__version__",
    "extract",
    "map_region",
    "map_seasons",
    "open_cube",
    "save_cube",
    "season_dates",
]

# Imported when first asked for: xarray, numba and matplotlib take seconds to load.
_HOMES = {
    "MapResult": "deepcrop.mapping.region",
    "Seasons": "deepcrop.phenology",
    "extract": "deepcrop.phenology",
    "map_region": "deepcrop.mapping.region",
    "map_seasons": "deepcrop.mapping.lazy",
    "open_cube": "deepcrop.cube.io",
    "save_cube": "deepcrop.cube.io",
    "season_dates": "deepcrop.phenology",
}
_ROOMS = ("cube", "figures", "grid", "phenology", "report", "stages")


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _ROOMS:
        return importlib.import_module(f"deepcrop.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcrop' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also of what is not imported yet."""
    return sorted({*__all__, *_ROOMS})
