"""Chunks of a cube that are missing or damaged are named, never read as "no data"."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.helpers.cubes import make_cube, season_cube
from tests.helpers.maps import map_few_layers, read
from tests.helpers.small_maps import small_tiles

from deepcrop.cube.chunks import checksums_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping import region as map_region_module
from deepcrop.storage.staging import Staging


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


class Stopped(Exception):
    pass


def map_until(count, cube, out):
    """Stop a map when this number of tiles is in the journal."""
    real = map_region_module.Staging.finish

    def finish(stage, item, about=None):
        real(stage, item, about)
        if sum(name.startswith("tile") for name in stage.done) == count:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_region_module.Staging, "finish", finish)
        with pytest.raises(Stopped):
            map_few_layers(cube, 2018, out)


@pytest.mark.slow
def test_a_cube_that_changed_in_between_is_mapped_anew(tmp_path, caplog):
    """The chunks change in place, and the description of the store does not."""
    path = tmp_path / "cube.zarr"
    with small_tiles(16):
        save_cube(season_cube(), path)
        map_until(2, path, tmp_path / "maps")
        before = (path / "zarr.json").stat().st_mtime_ns
        nir = zarr.open_array(path / "optical/nir", mode="r+")
        nir[:] = np.roll(nir[:], 6, axis=0)  # a month later
        assert (path / "zarr.json").stat().st_mtime_ns == before
        result = map_few_layers(path, 2018, tmp_path / "maps")
        fresh = map_few_layers(path, 2018, tmp_path / "fresh")
    assert "begun with other settings" in caplog.text
    for layer in ("sos50", "eos50", "qflag"):
        np.testing.assert_array_equal(
            read(result.path / f"{layer}.tif"), read(fresh.path / f"{layer}.tif")
        )


@pytest.fixture(scope="module")
def half_made(tmp_path_factory):
    """A cube, its map, and its map stopped after three of four tiles."""
    folder = tmp_path_factory.mktemp("half")
    with small_tiles(16):
        save_cube(season_cube(), folder / "cube.zarr")
        map_few_layers(folder / "cube.zarr", 2018, folder / "whole")
        map_until(3, folder / "cube.zarr", folder / "maps")
    return folder


@pytest.fixture
def made(monkeypatch):
    """The tiles that are made, in the order in which they are begun."""
    tiles, real = [], map_region_module.make_tiles
    monkeypatch.setattr(
        map_region_module,
        "make_tiles",
        lambda job, work, cores, done: tiles.extend(cores) or real(job, work, cores, done),
    )
    return tiles


def resumed(half_made, folder):
    """Resume a copy of the half-made map; compare it with the whole one."""
    with small_tiles(16):
        result = map_few_layers(half_made / "cube.zarr", 2018, folder / "maps")
    for name in ("sos50.tif", "eos50.tif", "qflag.tif", "summary.json"):
        assert (result.path / name).read_bytes() == (half_made / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("file", "again", "lost"),
    [
        ("curve/sos50/c/0/0", 1, False),
        ("curve/zarr.json", 3, True),
        pytest.param("curve/sos50/c/0/0", 1, True, marks=pytest.mark.slow),
        pytest.param("curve/x/c/0", 3, True, marks=pytest.mark.slow),
        pytest.param("curve/sos50/zarr.json", 3, False, marks=pytest.mark.slow),
        pytest.param("curve/eos50/c/1/1", 0, True, marks=pytest.mark.slow),
    ],
)
def test_a_tile_of_a_half_made_map_that_was_damaged_is_made_again(
    half_made, made, tmp_path, caplog, file, again, lost
):
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    victim = tmp_path / "maps.part/work.zarr" / file
    if lost:
        victim.unlink(missing_ok=not again)
    elif victim.exists():
        victim.write_bytes(victim.read_bytes()[:-2] + b"xx")
    resumed(half_made, tmp_path)
    assert ("damaged since the last run" in caplog.text) == bool(again)
    assert len(made) == 1 + again


@pytest.mark.parametrize(
    ("item", "about", "again"),
    [
        ("layout", None, 4),
        ("tile 0 0", None, 2),
        pytest.param("tile 0 0", "tile 0 16", 2, marks=pytest.mark.slow),  # of another tile
    ],
)
def test_a_line_of_the_journal_that_lacks_something_costs_its_tile(
    half_made, made, tmp_path, item, about, again
):
    """As the journal of an older version, whose lines are undamaged."""
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    done = journal_of(tmp_path / "maps.part")
    done[item] = done.get(about)
    Staging(tmp_path / "maps.part", done).forget(set())
    resumed(half_made, tmp_path)
    assert len(made) == again


def journal_of(part):
    """Finished items of a journal, and what it says of each."""
    lines = [json.loads(line) for line in (part / "journal.jsonl").read_text().splitlines()]
    return {line["done"]: line.get("about") for line in lines if "done" in line}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "odd"])
def test_a_damaged_journal_costs_tiles_and_nothing_else(half_made, tmp_path, damage):
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    journal = tmp_path / "maps.part" / "journal.jsonl"
    content = bytearray(journal.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1  # in the numbers of a tile
    elif damage == "cut":
        del content[-40:-30]
    elif damage == "swap":
        content = b"\n".join(reversed(content.split(b"\n")))
    else:
        content += b'\n5\n[]\n{"done": 7}\n{"done": "tile 16 16", "crc32": []}\n'
    journal.write_bytes(content)
    resumed(half_made, tmp_path)
