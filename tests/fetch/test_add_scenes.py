"""A cube that grows with its archive: a loopback archive that gets more scenes later."""

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import pytest
from tests.archive import region
from tests.archive.server import Server
from tests.archive.stac import forget_tokens, serve_region

from deepcrop.cube.chunks import state_of
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.cube.updates import UPDATES, added_since
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.fetch import plan as fetch_plan
from deepcrop.fetch.add_scenes import add_scenes, lacking, merge_outcomes, read_fetched
from deepcrop.fetch.manifest import Outcome, read_manifest
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import fetch
from deepcrop.fetch.update import parse_every, update
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.region import map_region
from deepcrop.products.results import find_issues
from deepcrop.simulation import Region, simulate
from deepcrop.sources import open_archive
from deepcrop.sources.archive import Scene

REGION = Region(
    rows=24,
    cols=40,
    optical_scenes=6,
    sar_scenes=4,
    cameras=1,
    start="2018-05-01",
    end="2018-07-20",
)
FIRST = {"pc-05.10": [0, 2, 3], "pc-rtc": [0, 1]}
LATER = {"pc-05.10": [1, 4, 5], "pc-rtc": [2, 3]}
"""Scenes that the archive gets later: among them one that is older than those it has."""


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """An archive with all scenes, and a cube fetched before it had the later ones."""
    folder = tmp_path_factory.mktemp("growing")
    simulate(REGION, folder / "simulated.zarr")
    cube = region.coarsen_mask(open_cube(folder / "simulated.zarr"))
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        bed = serve_region(server, folder / "files", cube, ())
        for name, value in (bed.environment() | {"DEEPCROP_PC": bed.pc}).items():
            patch.setenv(name, value)
        patch.setattr(
            fetch_plan, "open_archive", lambda *a, **k: replace(open_archive(*a, **k), pause=0.001)
        )
        patch.setattr(fetch_plan, "TILE", 32)
        forget_tokens()
        request = FetchRequest(grid_of(cube), date(2018, 5, 1), date(2018, 7, 31))
        for flavour, scenes in FIRST.items():
            bed.publish(flavour, scenes)
        fetch(request, folder / "early.zarr", title="growing")
        for flavour, scenes in LATER.items():
            bed.publish(flavour, scenes)
        bed.times = cube["optical"]["time"].values
        yield bed, folder


@pytest.fixture(scope="module")
def late(growing):
    """A cube fetched from the archive with all its scenes."""
    path = growing[1] / "late.zarr"
    request = read_fetched(growing[1] / "early.zarr").request
    fetch(replace(request, orbits="best"), path, title="growing")
    return path


@pytest.fixture
def cube(growing, tmp_path):
    """The cube as it was before the archive grew; its own copy for each test."""
    bed, folder = growing
    bed.server.faults.clear()
    bed.server.log.clear()
    shutil.copy(folder / "early.scenes.csv", tmp_path / "cube.scenes.csv")
    return shutil.copytree(folder / "early.zarr", tmp_path / "cube.zarr")


def files_of(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_scene_that_fails_is_tried_again_at_the_next_update(growing, cube, request):
    """Before all other tests: GDAL remembers what it has read."""
    bed, _ = growing
    time = bed.times[4]
    stamp = str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")
    bed.server.fail(rf"{stamp}_B04", "404", times=10**6)
    done = add_scenes(cube)
    (failed,) = [one for one in done.outcomes if one.state == "failed"]
    assert failed.scene.time == time
    assert open_cube(cube)["optical"].attrs["failed_scenes"] == [failed.scene.name]
    before = files_of(cube)
    assert not add_scenes(cube).changed  # it fails again: no reason to write the cube
    assert files_of(cube) == before
    bed.server.faults.clear()
    assert add_scenes(cube).changed
    assert "failed_scenes" not in open_cube(cube)["optical"].attrs
    assert state_of(cube) == state_of(request.getfixturevalue("late"))


@pytest.mark.slow
def test_a_cube_updated_twice_is_the_one_fetched_later(growing, late, cube):
    before, day = state_of(cube), growing[0].times[3].astype("datetime64[D]")
    assert add_scenes(cube, until=day.item()).changed  # the scene that came late
    times = open_cube(cube)["optical"]["time"].values
    assert times[-1].astype("datetime64[D]") == day
    assert times.size == 4
    assert add_scenes(cube).changed
    ours, theirs = (
        {name: data for name, data in files_of(path).items() if str(name) != "zarr.json"}
        for path in (cube, late)
    )
    assert ours == theirs  # byte for byte, coordinates and attributes of the groups included
    attrs, expected = open_cube(cube).attrs, open_cube(late).attrs
    first, second = attrs[UPDATES]
    assert {k: v for k, v in attrs.items() if k != UPDATES} == expected
    assert (first["from"], first["until"]) == (before, str(day))
    assert second["until"] == "2018-07-31"
    added = added_since(attrs, second["from"], state_of(cube))
    assert len(added["optical"]) == 2
    assert read_manifest(cube) == read_manifest(late)
    assert sorted(path.name for path in cube.parent.iterdir()) == ["cube.scenes.csv", "cube.zarr"]
    # Nothing new: nothing is read, nothing is written.
    written = files_of(cube)
    growing[0].server.log.clear()
    assert not add_scenes(cube).changed
    assert files_of(cube) == written
    assert not [one for one in growing[0].server.log if ".tif" in one.path]


@pytest.mark.slow
def test_cubes_that_cannot_be_updated_are_named(cube, tmp_path):
    save_cube(open_cube(cube), tmp_path / "saved.zarr")
    read_fetched(tmp_path / "saved.zarr")  # a copy by this package is as good
    saved = open_cube(cube)
    del saved.attrs["scenes"]
    save_cube(saved, tmp_path / "other.zarr")
    with pytest.raises(DeepCropError, match="does not record its archive"):
        add_scenes(tmp_path / "other.zarr")
    with pytest.raises(DeepCropError, match="begins on 2018-05-01"):
        add_scenes(cube, until=date(2018, 4, 1))
    with pytest.raises(CubeError, match="does not exist"):
        add_scenes(tmp_path / "nowhere.zarr")
    about = json.loads((cube / "zarr.json").read_text())
    about["attributes"]["scenes"]["optical"][0]["time"] = "2018-05-01T00:00:00"
    (cube / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(DeepCropError, match="does not match its optical images"):
        add_scenes(cube)


# The next issue of a map -------------------------------------------------------------------------


@pytest.mark.slow
def test_each_update_maps_an_issue_as_a_whole_map_would_be(growing, cube, tmp_path):
    few = {"seasons": 1, "fractions": (0.5,)}  # layers, which are quick to write
    maps, curve = tmp_path / "maps", resolve_options("curve", **few)
    day = growing[0].times[3].astype("datetime64[D]").item()
    run = partial(update, cube, maps, 2018, curve, pictures=False)
    first = run(until=day)
    assert first.issue.path == maps / str(day)
    assert first.issue.summary["until"] == str(day)
    assert first.issue.summary["source"]["cube_state"] == state_of(cube)
    assert first.issue.summary["scenes"]["optical"] == 4
    second = run()
    assert sorted(find_issues(maps)) == [day, date(2018, 7, 31)]
    whole = map_region(cube, 2018, tmp_path / "whole", pictures=False, until="2018-07-31", **few)
    for name in ("sos50.tif", "sos50_status.tif", "summary.json"):
        assert (second.issue.path / name).read_bytes() == (whole.path / name).read_bytes()
    # Nothing new: neither cube nor issue is written, whatever day it is.
    before = files_of(tmp_path)
    done = run()
    assert not done.added.changed
    assert done.issue is None
    assert done.latest == date(2018, 7, 31)
    assert run(until=date(2018, 8, 2), every=timedelta(days=3)).added is None
    assert files_of(tmp_path) == before
    with pytest.raises(DeepCropError, match="with method curve, and now method is both"):
        update(cube, maps, 2018, resolve_options("both"))
    with pytest.raises(DeepCropError, match="year 2018, and now year is 2019"):
        update(cube, maps, 2019, curve)


def test_updates_that_make_no_sense(tmp_path):
    with pytest.raises(DeepCropError, match="--year"):
        update(tmp_path / "cube.zarr", tmp_path)
    with pytest.raises(DeepCropError, match="give the folder of issues, --maps"):
        update(tmp_path / "cube.zarr", every=timedelta(days=5))
    for text in ("weekly", "0d", "5", "-1d"):
        with pytest.raises(DeepCropError, match="for example 5d"):
            parse_every(text)
    assert parse_every("5d") == timedelta(days=5)


# Which scenes are lacking ------------------------------------------------------------------------


def outcome(time, state="fetched", products=("a",), orbit=22):
    scene = Scene("optical", np.datetime64(f"2018-06-{time}", "ns"), products, orbit)
    return Outcome(scene, state)


HELD = [
    outcome("01T10:50"),
    outcome("06T10:50", "empty"),
    outcome("11T10:50", "failed"),
    outcome("16T10:50", "partly"),
]


def test_only_what_the_cube_lacks_is_fetched():
    found = [
        outcome("01T10:45", products=("a", "b")),  # a late product, which began earlier
        outcome("06T10:50"),
        outcome("11T10:50"),
        outcome("16T10:50"),
        outcome("16T10:50", orbit=95),
        outcome("21T10:50"),
    ]
    scenes = [one.scene for one in found]
    assert lacking(scenes, HELD) == [scenes[k] for k in (0, 2, 3, 4, 5)]
    assert lacking([HELD[0].scene], HELD) == []


def test_a_scene_takes_the_place_of_another_only_if_it_is_better():
    new = [
        outcome("01T10:45", products=("a", "b")),
        outcome("11T10:50", "empty"),
        outcome("16T10:50", "partly"),
        outcome("21T10:50"),
    ]
    merged, images = merge_outcomes(HELD, new)
    assert [one.state for one in merged] == ["fetched", "empty", "empty", "partly", "fetched"]
    assert images == {0: HELD[0], 3: None}
    assert merged[0] is new[0]
    assert merged[3] is HELD[3]


def test_images_added_since_a_state_are_those_of_all_updates_after_it():
    def update(state, *times, replaced=()):
        scenes = {"optical": [f"2018-06-{day}T10:50" for day in times]}
        return {"from": state, "scenes": scenes, "replaced": {"optical": list(replaced)}}

    attrs = {UPDATES: [update("a", "01"), update("b", "06", "11"), update("c", "16")]}
    (times,) = added_since(attrs, "b", "d").values()
    assert sorted(str(time)[:10] for time in times) == ["2018-06-06", "2018-06-11", "2018-06-16"]
    assert added_since(attrs, "d", "d") == {}
    assert added_since(attrs, "unknown", "d") is None
    attrs[UPDATES].append(update("d", "21", replaced=["2018-06-16T10:50"]))
    assert added_since(attrs, "b", "e") is None
