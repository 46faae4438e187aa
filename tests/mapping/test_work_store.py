"""The raw files of a half-made map: blocks side by side, damage noticed, runs resumed."""

import errno
import json
import multiprocessing
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_few_layers, read
from tests.helpers.parcel_files import raster
from tests.helpers.small_maps import small_tiles

from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping import region as map_region_module
from deepcrop.mapping.tiles import is_disk_full
from deepcrop.mapping.work_store import TileFile, WorkStore
from deepcrop.products import write as product_writer
from deepcrop.products.layers import LEFT_OUT, describe
from deepcrop.storage import files as storage_files
from deepcrop.storage.staging import Staging, staging

ARRAYS = (("curve/sos50", "<i2"), ("curve/n_cycles", "|u1"), ("curve/eos50", "<i2"))


def made_up(shape, seed=0):
    """Values of every array over the grid."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 200, shape).astype(np.dtype(kind).newbyteorder("="))
        for name, kind in ARRAYS
    }


def tiles_of(file, values):
    return [(core, {name: array[core] for name, array in values.items()}) for core in file.cores]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    side=st.integers(1, 9),
    data=st.data(),
)
def test_every_window_is_read_as_it_was_written(tmp_path_factory, shape, side, data):
    file = TileFile(tmp_path_factory.mktemp("work") / "layers.raw", shape, side, ARRAYS)
    values = made_up(shape)
    file.create()
    file.write(reversed(tiles_of(file, values)))
    window = []
    for length in shape:
        first = data.draw(st.integers(0, length - 1))
        window.append(slice(first, data.draw(st.integers(first + 1, length))))
    for name, array in values.items():
        np.testing.assert_array_equal(file.read(name, *window), array[tuple(window)])


def test_a_file_is_laid_out_as_its_description_says(tmp_path):
    file = TileFile(tmp_path / "layers.raw", (10, 13), 8, ARRAYS)
    values = made_up((10, 13))
    file.create()
    file.write(tiles_of(file, values))
    content = file.path.read_bytes()
    assert len(content) == 4 * 4096  # 8 x 8 pixels of 5 bytes and three checksums fill no page
    last = content[3 * 4096 :]
    core = slice(8, 10), slice(8, 13)
    pixels = 2 * 5
    stored = [
        np.frombuffer(last, kind, pixels, offset).reshape(2, 5)
        for (_, kind), offset in zip(ARRAYS, (0, 2 * pixels, 3 * pixels), strict=True)
    ]
    for part, array in zip(stored, values.values(), strict=True):
        np.testing.assert_array_equal(part, array[core])
    checksums = np.frombuffer(last, "<u4", 3, 5 * pixels)
    assert checksums.tolist() == [zlib.crc32(part) for part in stored]


def test_every_changed_bit_of_a_block_is_noticed(tmp_path):
    file = TileFile(tmp_path / "layers.raw", (4, 7), 4, ARRAYS)
    file.create()
    assert not any(file.is_whole(core) for core in file.cores)  # nothing but zeros
    file.write(tiles_of(file, made_up((4, 7))))
    content = file.path.read_bytes()
    used = 4 * 4 * 5 + 3 * 4
    for place in range(used):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.path.write_bytes(changed)
        assert [file.is_whole(core) for core in file.cores] == [False, True]
    for place in range(used):  # as if the power went while the block was written
        file.path.write_bytes(content[:place] + bytes(used - place) + content[used:])
        assert not file.is_whole(file.cores[0])


def write_every_second(file, first, times):
    for seed in range(times):
        tiles = tiles_of(file, made_up(file.shape, seed))
        for tile in tiles[first::2]:
            file.write([tile])


def test_two_processes_write_neighbouring_tiles_at_once(tmp_path):
    """Tiles of fewer bytes than a page, so that a shared page would show."""
    file = TileFile(tmp_path / "layers.raw", (12, 20), 4, ARRAYS)
    file.create()
    forked = multiprocessing.get_context("fork")
    writers = [forked.Process(target=write_every_second, args=(file, k, 20)) for k in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    for name, array in made_up(file.shape, 19).items():
        np.testing.assert_array_equal(file.read(name, slice(0, 12), slice(0, 20)), array)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_an_error_of_the_write(tmp_path):
    file = TileFile(Path("/dev/full"), (4, 4), 4, ARRAYS)
    with pytest.raises(OSError, match="No space left") as caught:
        file.write(tiles_of(file, made_up((4, 4))))
    assert caught.value.errno == errno.ENOSPC
    assert is_disk_full(caught.value)


def test_values_of_another_type_are_not_stored(tmp_path):
    file = TileFile(tmp_path / "layers.raw", (4, 4), 4, ARRAYS)
    file.create()
    values = made_up((4, 4)) | {"curve/sos50": np.full((4, 4), 1.5)}
    with pytest.raises(TypeError, match=r"curve/sos50: float64 \(4, 4\), not int16"):
        file.write(tiles_of(file, values))


class Stopped(Exception):
    pass


def map_until(count, cube, out, **options):
    """Stop a map when this number of tiles is in the journal."""
    real = map_region_module.Staging.finish

    def finish(stage, item, about=None):
        real(stage, item, about)
        if sum(name.startswith("tile") for name in stage.done) == count:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_region_module.Staging, "finish", finish)
        with pytest.raises(Stopped):
            map_few_layers(cube, 2018, out, **options)


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


def resumed(half_made, folder, **options):
    """Resume a copy of the half-made map; compare it with the whole one."""
    with small_tiles(16):
        result = map_few_layers(half_made / "cube.zarr", 2018, folder / "maps", **options)
    for name in ("sos50.tif", "eos50.tif", "qflag.tif", "summary.json"):
        assert (result.path / name).read_bytes() == (half_made / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (lambda file: flip(file, block=0, byte=7), 1),
        (lambda file: file.unlink(), 3),
        pytest.param(lambda file: flip(file, block=1, byte=-1), 1, marks=pytest.mark.slow),
        pytest.param(lambda file: flip(file, block=3, byte=7), 0, marks=pytest.mark.slow),
        pytest.param(lambda file: os.truncate(file, 4096), 3, marks=pytest.mark.slow),
    ],
    ids=["a value", "lost", "a checksum", "not made yet", "cut"],
)
def test_a_tile_of_a_half_made_map_that_was_damaged_is_made_again(
    half_made, made, tmp_path, caplog, damage, again
):
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    damage(tmp_path / "maps.part" / "work" / "layers.raw")
    resumed(half_made, tmp_path)
    assert ("damaged since the last run" in caplog.text) == bool(again)
    assert len(made) == 1 + again


def flip(file, block, byte):
    """Change a bit of a block; byte -1 is the last one of its checksums."""
    pixels = (16 * 16, 16 * 14, 4 * 16, 4 * 14)[block]
    arrays = journal_of(file.parents[1])["layout"]["arrays"]
    used = sum(pixels * np.dtype(kind).itemsize + 4 for _, kind in arrays)
    content = bytearray(file.read_bytes())
    content[block * len(content) // 4 + byte % used] ^= 1
    file.write_bytes(content)


def test_a_warning_of_many_damaged_tiles_names_three(tmp_path, caplog):
    work = WorkStore.of(tmp_path / "work", {"curve": describe("curve", 2018)}, (8, 80), 2, False)
    work.create(lambda: iter(()))
    items = {f"tile {core[0].start} {core[1].start}": core for core in work.layers.cores}
    with staging(tmp_path / "maps", {}) as stage:
        stage.done |= {"layout": work.layout, **dict.fromkeys(items)}
        work.forget_damaged(stage, items, lambda: iter(()))
        assert set(stage.done) == {"layout"}
    assert "again: 160 of 160 tiles (tile 0 0, tile 0 2, tile 0 4, …)." in caplog.text


@pytest.fixture(scope="module")
def half_masked(tmp_path_factory):
    """As `half_made`; the mask leaves pixels of the first and the third tile."""
    folder = tmp_path_factory.mktemp("masked")
    wanted = np.zeros((20, 30))
    wanted[3:18, 2:12] = 1
    mask = raster(folder / "mask.tif", wanted)
    with small_tiles(16):
        save_cube(season_cube(), folder / "cube.zarr")
        whole = map_few_layers(folder / "cube.zarr", 2018, folder / "whole", mask=mask)
        map_until(3, folder / "cube.zarr", folder / "maps", mask=mask)
    out = wanted == 0
    assert (read(whole.path / "qflag.tif")[out] == LEFT_OUT).all()
    assert not (read(whole.path / "qflag.tif")[~out] & LEFT_OUT).any()
    assert (read(whole.path / "sos50.tif")[out] == 32767).all()
    assert (read(whole.path / "n_cycles.tif")[~out] == 1).all()
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: None,
        lambda file: file.write_bytes(b"\1" + file.read_bytes()[1:]),
        lambda file: file.unlink(),
        lambda file: os.truncate(file, 4096),
    ],
    ids=["none", "flip", "lost", "cut"],
)
def test_tiles_without_a_selected_pixel_are_not_written_and_never_damaged(
    half_masked, made, tmp_path, caplog, damage
):
    """Whatever becomes of the selected pixels costs no tile: the mask has them."""
    part = shutil.copytree(half_masked / "maps.part", tmp_path / "maps.part")
    content = (part / "work" / "layers.raw").read_bytes()
    block = len(content) // 4
    assert [any(content[k * block : (k + 1) * block]) for k in range(4)] == [1, 0, 1, 0]
    selected = part / "work" / "selected.raw"
    right = selected.read_bytes()
    damage(selected)
    harmed = not selected.exists() or selected.read_bytes() != right
    resumed(half_masked, tmp_path, mask=half_masked / "mask.tif")
    assert made == [(slice(16, 20), slice(16, 30))]
    assert ("selected.raw: damaged since the last run, written again" in caplog.text) == harmed
    assert "tiles (" not in caplog.text


def test_a_disk_with_too_little_space_is_refused_before_anything_is_laid_out(
    half_made, tmp_path, monkeypatch
):
    class Usage:
        free = 40_000

    monkeypatch.setattr(storage_files.shutil, "disk_usage", lambda folder: Usage)
    words = rf"^{tmp_path} has 0\.0 GB free, and up to \d\.\d GB are needed\. .* map less"
    with pytest.raises(DeepCropError, match=words):
        map_few_layers(half_made / "cube.zarr", 2018, tmp_path / "new")
    assert not (tmp_path / "new.part" / "work").exists()
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    resumed(half_made, tmp_path)  # which has its space already


def test_a_half_made_map_of_another_version_is_begun_anew_with_a_word(
    half_made, made, tmp_path, caplog
):
    """Its tiles lay in a Zarr store, and the journal listed the arrays."""
    part = shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    shutil.rmtree(part / "work")
    (part / "work.zarr" / "curve").mkdir(parents=True)
    Staging(part, journal_of(part) | {"layout": ["curve", "curve/sos50"]}).forget(set())
    resumed(half_made, tmp_path)
    assert "maps.part was begun by another version" in caplog.text
    assert len(made) == 4
    assert not (tmp_path / "maps" / "work.zarr").exists()


def test_a_tile_that_is_damaged_before_the_products_are_written_is_refused(
    half_made, made, tmp_path, monkeypatch
):
    """Not read as any date; the same command makes it again."""
    shutil.copytree(half_made / "maps.part", tmp_path / "maps.part")
    real = product_writer.write_products

    def damaged(maps, out, *args):
        flip(out / "work" / "layers.raw", block=2, byte=7)
        return real(maps, out, *args)

    with monkeypatch.context() as patch:
        patch.setattr(product_writer, "write_products", damaged)
        words = r"layers\.raw is damaged in curve/sos50, rows 16 to 19, columns 0 to 15\. Give the"
        with pytest.raises(DeepCropError, match=words):
            resumed(half_made, tmp_path)
    resumed(half_made, tmp_path)
    assert made == [(slice(16, 20), slice(16, 30)), (slice(16, 20), slice(0, 16))]


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
