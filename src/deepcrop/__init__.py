"""Crop season dates from Sentinel-1 and Sentinel-2, learnt from the PhenoCam network."""

__version__ = "0.1.0.dev0"

from deepcrop.kernel_cache import drop_stale_kernels

drop_stale_kernels()  # before the first module with kernels is imported

from deepcrop.errors import CubeError, DeepCropError, SpecError
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
    "open_cube",
    "save_cube",
    "season_dates",
]
