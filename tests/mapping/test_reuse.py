"""Tiles of an earlier issue that no new image touches: the same map, less work."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from tests.helpers.cubes import season_cube
from tests.helpers.parcel_files import raster
from tests.helpers.small_maps import small_tiles

from deepcrop import grid
from deepcrop.cube.io import save_cube
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.inputs import InputCube
from deepcrop.mapping.options import TileJob, resolve_options
from deepcrop.mapping.region import write_map
from deepcrop.mapping.reuse import untouched_tiles
from deepcrop.mapping.work_store import WorkStore
from deepcrop.products.layers import describe

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


@pytest.mark.slow
def test_tiles_without_new_data_are_those_of_the_issue_before(cube, tmp_path):
    options = {"seasons": 1, "fractions": (0.5,)}  # few layers are quick to write
    with small_tiles(16):
        first = issue(cube, tmp_path / "first", BEFORE, **options)
        second = issue(cube, tmp_path / "second", AFTER, first, **options)
        whole = issue(cube, tmp_path / "whole", AFTER, **options)
        tiles = {(row, col) for row in (0, 16) for col in (0, 16, 48)}
        assert taken_over(second)[0] == tiles
        assert_same(second, whole)
        # Other settings, another state of the cube, an earlier day, a damaged issue: no tile is
        # taken over.
        opened = InputCube.open(cube)
        job = TileJob.of(opened, 2018, resolve_options(until=AFTER, **options).methods)
        plans = job.plans(opened)
        record = json.loads((second / "deepcrop.json").read_text())
        core = [(slice(0, 16), slice(first, first + 16)) for first in (0, 16, 32, 48)]

        described = {"curve": describe("curve", 2018, plans["curve"].content)}
        work = WorkStore.of(tmp_path / "work", described, (ROWS, COLS), 16, limited=False)
        work.create(lambda: iter(()))

        def found(previous, **settings):
            settings = record | settings
            tiles = untouched_tiles(previous, opened, cube, 2018, plans, settings, core, work)
            return len(list(tiles))

        assert found(first) == 3
        # Columns 38 to 47 lie within the patches of tiles 16 to 31 and 48 to 63.
        plans = {"curve": replace(plans["curve"], halo=grid.PATCH_HALO)}
        assert found(first) == 1
        assert found(first, index="evi") == 0
        assert found(first, software="deepcrop 0.0.1") == 0
        assert found(tmp_path / "nowhere") == 0
        for name, old, new in (
            ("summary.json", "cube_state", "cube_status"),
            ("manifest.jsonl", '"curve optical": [', '"curve optical": [1, '),
        ):
            odd = shutil.copytree(first, tmp_path / f"odd {name}")
            text = (odd / name).read_text()
            assert old in text
            (odd / name).write_text(text.replace(old, new))
            assert found(odd) == 0
        odd = shutil.copytree(first, tmp_path / "odd tif")
        (odd / "sos50.tif").write_bytes(b"damaged")
        assert found(odd) == 0
        later = shutil.copytree(first, tmp_path / "later")
        text = (later / "summary.json").read_text()
        (later / "summary.json").write_text(text.replace(BEFORE, "2018-09-01"))
        assert found(later) == 0


@pytest.mark.slow
def test_tiles_without_a_selected_pixel_are_taken_over_too(cube, tmp_path):
    """They take no place in the work store, and no reading of the issue before."""
    options = {"seasons": 1, "fractions": (0.5,)}
    wanted = np.zeros((ROWS, COLS))
    wanted[:16, 10:40] = 1
    options["mask"] = raster(
        tmp_path / "mask.tif", wanted, transform=Affine(10, 0, 500000, 0, -10, 5600000 + 10 * ROWS)
    )
    with small_tiles(16):
        first = issue(cube, tmp_path / "first", BEFORE, **options)
        second = issue(cube, tmp_path / "second", AFTER, first, **options)
        whole = issue(cube, tmp_path / "whole", AFTER, **options)
    assert taken_over(second)[0] == {(row, col) for row in (0, 16) for col in (0, 16, 48)}
    assert_same(second, whole)
