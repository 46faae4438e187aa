"""Tiles made in this process: failures are tried again, then named, and the others finish."""

import errno
import json
import os
import re

import numpy as np
import pytest
from tests.helpers.maps import map_few_layers, read
from tests.helpers.small_maps import saved_cube, small_tiles

from deepcrop.cube import contract
from deepcrop.errors import DeepCropError
from deepcrop.mapping import tiles as map_tiles
from deepcrop.mapping.work_store import MANIFEST
from deepcrop.stages import NO_DAY


@pytest.fixture(scope="module", autouse=True)
def _small_tiles():
    with small_tiles(16):
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return saved_cube(tmp_path_factory)


def failing(monkeypatch, step, times, core=(slice(0, 16), slice(16, 30))):
    """Let a step of one tile fail so many times; gives the list of its tries."""
    tries, real = [], getattr(map_tiles, step)

    def fail(*args):
        if core in args:
            tries.append(step)
            if len(tries) <= times:
                raise OSError("the disk is gone")
        return real(*args)

    monkeypatch.setattr(map_tiles, step, fail)
    return tries


@pytest.mark.parametrize("step", ["read_tile", "compute_tile", "write_tile"])
@pytest.mark.slow
def test_a_tile_that_fails_is_tried_again(cube, tmp_path, monkeypatch, step):
    tries = failing(monkeypatch, step, times=2)
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    assert len(tries) == 3
    assert (read(result.path / "sos50.tif")[1:] != NO_DAY).all()
    assert len((result.path / MANIFEST).read_text().splitlines()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_at_once(cube, tmp_path, monkeypatch, code):
    """To make the tile again would be in vain, and the other tiles after it."""
    tries, made, real = [], [], map_tiles.compute_tile

    def full(*args):
        tries.append(args)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(map_tiles, "write_tile", full)
        patch.setattr(map_tiles, "compute_tile", lambda *a: made.append(a[2]) or real(*a))
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            map_few_layers(cube, 2018, tmp_path / "maps")
    assert len(tries) == 1
    assert len(made) <= 3  # what was under way
    (note,) = caught.value.__notes__
    assert re.search(r"kept in .*maps\.part: .*make room.*the same command goes on", note)
    map_few_layers(cube, 2018, tmp_path / "maps")


@pytest.mark.parametrize("again", [False, True], ids=["at first", "tried again"])
def test_ctrl_c_within_compiled_code_is_no_failure(cube, tmp_path, monkeypatch, again):
    """Python says it as a SystemError, which is an Exception as any other."""
    tries, real = [], map_tiles.compute_tile

    def pressed(*args):
        tries.append(args)
        if again and len(tries) == 1:
            raise ValueError("a passing fault")
        if len(tries) == (5 if again else 1):
            raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
        return real(*args)

    monkeypatch.setattr(map_tiles, "compute_tile", pressed)
    with pytest.raises(KeyboardInterrupt):
        map_few_layers(cube, 2018, tmp_path / "maps")
    assert len(tries) == (5 if again else 1)  # four tiles; the first is tried again at last


@pytest.mark.slow
def test_a_tile_that_goes_on_failing_is_named_and_the_others_are_kept(cube, tmp_path, monkeypatch):
    tries = failing(monkeypatch, "compute_tile", times=99)
    words = (
        r"1 of 4 tiles failed 3 times each:\n  rows 0 to 15, columns 16 to 29: OSError: the disk "
        r"is gone\nAll others are kept in .*maps\.part"
    )
    with pytest.raises(DeepCropError, match=words):
        map_few_layers(cube, 2018, tmp_path / "maps")
    assert len(tries) == 3
    assert not (tmp_path / "maps").exists()
    monkeypatch.undo()
    monkeypatch.setattr(contract, "CHUNK", 16)
    made, real = [], map_tiles.compute_tile
    monkeypatch.setattr(map_tiles, "compute_tile", lambda *a: made.append(a[2]) or real(*a))
    map_few_layers(cube, 2018, tmp_path / "maps")
    assert made == [(slice(0, 16), slice(16, 30))]


def test_the_manifest_has_a_line_for_each_tile(cube, tmp_path):
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    text = (result.path / MANIFEST).read_text().splitlines()
    lines = [json.loads(line) for line in text]
    assert [(line["rows"][0], line["cols"][0]) for line in lines] == [
        (0, 0), (0, 16), (16, 0), (16, 16)
    ]  # fmt: skip
    assert sum(line["pixels"] for line in lines) == 600
    assert np.sum([line["valid"]["curve optical"] for line in lines]) == 570 * 98
    assert all(line["seconds"] >= 0 and line["left_out"] == 0 for line in lines)
