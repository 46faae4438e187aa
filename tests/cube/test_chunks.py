"""Chunks of a cube that are missing or damaged are named, never read as "no data"."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from tests.helpers.cubes import make_cube, season_cube
from tests.helpers.maps import map_few_layers
from tests.helpers.small_maps import small_tiles

from deepcrop.cube.chunks import checksums_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError


@pytest.fixture
def store(tmp_path):
    cube = season_cube()
    cube["optical"]["nir"][:] = np.nan  # nothing but fill values
    cube["optical"]["red"][:] = np.nan
    cube["optical"]["red"][0, 0, 0] = 0.1
    cube["optical"]["nir"][0, 0, 0] = 0.3
    path = tmp_path / "cube.zarr"
    with small_tiles(16):
        save_cube(cube, path)
    return path


def chunks(path):
    return sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.name != "zarr.json"
    )


def test_every_chunk_is_written_with_a_checksum(store):
    assert checksums_of(store) == "crc32c"
    assert len([c for c in chunks(store) if c.startswith("optical/nir/")]) == 4
    for name in ("optical/nir", "optical/time", "optical/x", "optical/spatial_ref"):
        about = json.loads((store / name / "zarr.json").read_text())
        assert [codec["name"] for codec in about["codecs"]][-1] == "crc32c"


def test_each_lost_file_is_named(store):
    assert len(chunks(store)) > 20
    for name in [*chunks(store), "optical/red/zarr.json"]:
        file = store / name
        kept = file.read_bytes()
        file.unlink()
        with pytest.raises(CubeError, match=rf"lacks \d+ of its files, first {re.escape(name)}"):
            open_cube(store)
        file.write_bytes(kept)
    open_cube(store)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_chunk_ends_a_map_with_its_place(tmp_path, monkeypatch, damage):
    path = tmp_path / "cube.zarr"
    with small_tiles(16):
        save_cube(season_cube(), path)
        file = path / "optical/nir/c/0/1/1"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes({"flip": content, "cut": content[:-3], "empty": b""}[damage])
        where = "/optical/nir cannot be read in rows 16 to 19, columns 16 to 29: the file is dam"
        monkeypatch.setattr("deepcrop.cube.io.check", lambda *given: None)  # it reads a sample
        with pytest.raises(DeepCropError, match=where):
            map_few_layers(path, 2018, tmp_path / "maps")


@pytest.mark.parametrize("name", ["optical/nir/c/0/0/0", "optical/time/c/0", "optical/x/zarr.json"])
def test_a_cube_that_cannot_be_opened_names_its_damaged_file(tmp_path, name):
    path = tmp_path / "cube.zarr"
    save_cube(season_cube(), path)
    content = bytearray((path / name).read_bytes())
    del content[-9:]
    (path / name).write_bytes(content)
    with pytest.raises(CubeError, match=rf"cube\.zarr.* {name}"):
        open_cube(path)


def test_cubes_of_others_carry_no_checksums_and_are_mapped(store, tmp_path):
    cube = open_cube(store)
    other = tmp_path / "other.zarr"
    for group in ("optical", "sar", "landcover"):
        if group in cube.children:
            data = cube[group].to_dataset().load().drop_encoding()
            data.to_zarr(other, group=group, mode="a", consolidated=False, zarr_format=3)
    assert checksums_of(other) == "none"
    assert len([c for c in chunks(other) if c.startswith("optical/nir/")]) >= 1
    result = map_few_layers(other, 2018, tmp_path / "maps")
    assert result.summary["source"]["checksums"] == "none"
    result = map_few_layers(store, 2018, tmp_path / "maps2")
    assert result.summary["source"]["checksums"] == "crc32c"


def test_a_cube_written_anew_by_xarray_is_no_damaged_one(store, tmp_path):
    other = tmp_path / "other.zarr"
    open_cube(store).to_zarr(other, consolidated=False, zarr_format=3)
    assert checksums_of(other) == "none"
    open_cube(other)


def test_netcdf_carries_checksums(tmp_path):
    save_cube(make_cube(), tmp_path / "cube.nc")
    assert checksums_of(tmp_path / "cube.nc") == "fletcher32"
    xr.open_datatree(tmp_path / "cube.nc").to_netcdf(tmp_path / "other.nc")
    assert checksums_of(tmp_path / "other.nc") in ("fletcher32", "none")
