import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, build
from deepcrop.mapping.region import map_region
from deepcrop.simulation import Region, simulate

REAL_DATA = Path(
    os.environ.get("DEEPCROP_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real excerpts (DEEPCROP_REAL_DATA); tests that need it skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set DEEPCROP_REAL_DATA to its folder")
    return REAL_DATA


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


@pytest.fixture
def cube() -> xr.DataTree:
    return make_cube()


@pytest.fixture(scope="session")
def region_path(tmp_path_factory) -> Path:
    """A simulated region of 96 x 128 pixels, made once; read only."""
    path = tmp_path_factory.mktemp("region") / "region.zarr"
    simulate(Region(rows=96, cols=128), path)
    return path


@pytest.fixture(scope="session")
def viewed(tmp_path_factory) -> Path:
    """Folder with ``region.zarr``, simulated, and its ``maps`` by both methods; read only."""
    folder = tmp_path_factory.mktemp("viewed")
    simulate(Region(rows=40, cols=48), folder / "region.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepcrop.figures.style.DPI", 20)  # nobody looks at the pictures
        map_region(folder / "region.zarr", 2018, folder / "maps", method="both")
    return folder


@pytest.fixture(scope="session")
def shown(viewed):
    """The same, as the viewer has it."""
    from deepcrop.viewer.viewed_map import Shown

    return Shown(viewed / "maps", viewed / "region.zarr")
