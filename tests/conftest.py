import os
from pathlib import Path

import pytest
import xarray as xr
from tests.helpers.cubes import make_cube

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
