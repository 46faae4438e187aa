"""What tests of maps in many small tiles share."""

import contextlib

import pytest
from tests.helpers.cubes import season_cube

from deepcrop.cube import contract
from deepcrop.cube.io import save_cube


@contextlib.contextmanager
def small_tiles(side):
    """Tiles of so many pixels on a side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "CHUNK", side)
        yield


def saved_cube(tmp_path_factory):
    """Where `season_cube` lies."""
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    save_cube(season_cube(), path)
    return path
