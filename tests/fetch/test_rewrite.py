"""Which chunks of an updated cube are written, and which are the files of the cube before."""

import numpy as np
import pytest
from tests.helpers.cubes import make_cube
from tests.helpers.small_maps import small_tiles

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS
from deepcrop.cube.io import create_group, create_store, open_cube, save_cube
from deepcrop.fetch.plan import UNITS_FOLDER
from deepcrop.fetch.read import Unit, write_unit
from deepcrop.fetch.rewrite import Slot, write_tile

SHAPE = 12, 20  # six chunks of 8 x 8 pixels


@pytest.mark.parametrize(
    ("held", "place", "shared"),
    [(6, 6, 2), (6, 3, 0), (16, 16, 0)],
    ids=["later", "older than the last image", "no room"],
)
def test_chunks_without_data_of_a_later_image_stay_the_same_files(tmp_path, held, place, shared):
    after = make_cube(*SHAPE, optical_scenes=held + 1)["optical"].to_dataset()
    for name in OPTICAL_BANDS:
        after[name][place, :, 10:] = np.nan  # so the third column of chunks is not touched
    old, new, expected = (tmp_path / f"{name}.zarr" for name in ("old", "new", "expected"))
    cube = make_cube(*SHAPE)
    others = [t for t in range(held + 1) if t != place]
    slots = [Slot(others.index(t) if t != place else None, 0 if t == place else None)
             for t in range(held + 1)]  # fmt: skip
    with small_tiles(8):
        for path, data in ((old, after.isel(time=others)), (expected, after)):
            save_cube(cube.assign({"optical": type(cube)(data)}), path)
        create_store(new, {})
        create_group(new, "optical", after)
        (new / UNITS_FOLDER).mkdir()
        tiles = list(grid.tiles(SHAPE, 16))
        for tile in tiles:
            image = {name: after[name].values[place][tile.core] for name in OPTICAL_BANDS}
            write_unit(new / UNITS_FOLDER / Unit("optical", 0, tile).file, image)
        for tile in [*tiles, *tiles]:  # again, as after a stop
            write_tile(old, new, "optical", tile, slots)
        same = 0
        for name in OPTICAL_BANDS:
            for file in (
                path for path in (expected / "optical" / name).rglob("*") if path.is_file()
            ):
                place_in = file.relative_to(expected)
                assert (new / place_in).read_bytes() == file.read_bytes(), place_in
                same += (new / place_in).samefile(old / place_in)
        assert same == shared * len(OPTICAL_BANDS)
        assert open_cube(old)["optical"].sizes["time"] == held  # as it was, and readable
