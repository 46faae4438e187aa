import logging
import os
from pathlib import Path

import pytest

# Test files run side by side, a process on each core, so that kernels and sums of a process share
# one core. More threads than cores wait for each other in busy loops: four times the work. Set
# before numba, torch and NumPy are imported, so fixtures import what they need themselves. Tests of
# threads ask for theirs.
for _variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def pytest_configure(config):
    """Drop kernels of code that has changed since, once, before any process uses them."""
    if not hasattr(config, "workerinput"):
        from deepcrop._kernel_cache import drop_stale_kernels

        drop_stale_kernels()


REAL_DATA = Path(
    os.environ.get("DEEPCROP_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)


@pytest.fixture(autouse=True)
def _no_messages_of_earlier_commands():
    """A command that runs in this process sets up the library's log; the next test starts anew."""
    yield
    logger = logging.getLogger("deepcrop")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real excerpts (DEEPCROP_REAL_DATA); tests that need it skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set DEEPCROP_REAL_DATA to its folder")
    return REAL_DATA


@pytest.fixture
def cube():
    from tests.helpers.cubes import make_cube

    return make_cube()


@pytest.fixture(scope="session")
def region_path(tmp_path_factory) -> Path:
    """A simulated region of 96 x 128 pixels, made once; read only."""
    from deepcrop.simulation import Region, simulate

    path = tmp_path_factory.mktemp("region") / "region.zarr"
    simulate(Region(rows=96, cols=128), path)
    return path


@pytest.fixture(scope="session")
def viewed(tmp_path_factory) -> Path:
    """Folder with ``region.zarr``, simulated, and its ``maps`` by both methods; read only."""
    from deepcrop.mapping.region import map_region
    from deepcrop.simulation import Region, simulate

    folder = tmp_path_factory.mktemp("viewed")
    simulate(Region(rows=40, cols=48), folder / "region.zarr")
    map_region(folder / "region.zarr", 2018, folder / "maps", method="both", pictures=False)
    return folder


@pytest.fixture(scope="session")
def viewed_map(viewed):
    """The same, opened by the viewer."""
    from deepcrop.viewer.viewed_map import ViewedMap

    return ViewedMap(viewed / "maps", viewed / "region.zarr")
