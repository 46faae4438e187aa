"""Tiles of an earlier issue that no new image touches: the same map, less work."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import xarray as xr
from tests.helpers.cubes import season_cube
from tests.helpers.small_maps import small_tiles
from tests.helpers.weights_files import tiny, write_weights

from deepcrop.cube.io import save_cube
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.region import write_map

ROWS, COLS = 32, 64
BEFORE, AFTER = "2018-07-01", "2018-08-01"


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A cube whose images of July have data in columns 38 to 47 alone, of tiles of 16 pixels."""
    made = season_cube(rows=ROWS, cols=COLS)
    optical = made["optical"].to_dataset()
    july = (optical["time"] > np.datetime64(BEFORE)) & (optical["time"] < np.datetime64(AFTER))
    seen = xr.DataArray((np.arange(COLS) >= 38) & (np.arange(COLS) < 48), dims="x")
    made["optical"] = xr.DataTree(optical.where(~july | seen).assign_attrs(optical.attrs))
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    save_cube(made, path)
    return path


def issue(cube, out, until, previous=None, **options):
    wanted = resolve_options(until=until, **options)
    return write_map(
        cube, 2018, out, wanted, ClusterOptions(), pictures=False, previous=previous
    ).path


def taken_over(path):
    lines = [json.loads(line) for line in (path / "manifest.jsonl").read_text().splitlines()]
    return {(line["rows"][0], line["cols"][0]) for line in lines if "taken_over" in line}, lines


def assert_same(one, other):
    names = {path.relative_to(one) for path in one.rglob("*.tif")}
    assert names == {path.relative_to(other) for path in other.rglob("*.tif")}
    for name in names:
        with rasterio.open(one / name) as ours, rasterio.open(other / name) as theirs:
            np.testing.assert_array_equal(ours.read(1), theirs.read(1), str(name))
    ours, theirs = (json.loads((path / "summary.json").read_text()) for path in (one, other))
    assert ours == theirs
    ours, theirs = ([line["valid"] for line in taken_over(path)[1]] for path in (one, other))
    assert ours == theirs


def test_tiles_without_new_data_are_those_of_the_issue_before(cube, tmp_path):
    with small_tiles(16):
        first = issue(cube, tmp_path / "first", BEFORE)
        second = issue(cube, tmp_path / "second", AFTER, first)
        whole = issue(cube, tmp_path / "whole", AFTER)
        tiles = {(row, col) for row in (0, 16) for col in (0, 16, 48)}
        assert taken_over(second)[0] == tiles
        assert_same(second, whole)
        # An earlier day, an older form or other settings: all tiles are mapped.
        assert not taken_over(issue(cube, tmp_path / "back", BEFORE, second))[0]
        other = issue(cube, tmp_path / "other", AFTER, first, smoother="savgol")
        assert not taken_over(other)[0]
        shutil.copytree(first, tmp_path / "old")
        (tmp_path / "old" / "manifest.jsonl").write_text("{}\n")
        assert not taken_over(issue(cube, tmp_path / "anew", AFTER, tmp_path / "old"))[0]


def test_the_network_maps_again_what_has_new_data_in_its_halo(cube, tmp_path):
    weights = write_weights(tmp_path / "tiny.safetensors", tiny())
    options = {"method": "both", "weights": weights}
    with small_tiles(16):
        first = issue(cube, tmp_path / "first", BEFORE, **options)
        second = issue(cube, tmp_path / "second", AFTER, first, **options)
        whole = issue(cube, tmp_path / "whole", AFTER, **options)
    # Columns 38 to 47 lie within 9 pixels of tiles 16 to 31 and 48 to 63.
    assert taken_over(second)[0] == {(0, 0), (16, 0)}
    assert_same(second, whole)
