"""Every command, killed at its file operations: the same command gives an undisturbed run's bytes.

`make test` kills at a few operations (``-k sample``), `make audit` at every one (``-k full``), and
at random moments for what GDAL and HDF5 write. `test_kills.py` runs this in a process of its own:
compiled code of several threads, as other tests use, cannot be forked afterwards.
"""

import json
import os
import random
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from functools import partial

import dask.array  # noqa: F401  (loaded here, and not in each child)
import numba
import numpy as np
import pytest
import rasterio
import yaml
from tests.archive import region
from tests.archive.server import Server
from tests.archive.stac import forget_tokens, serve_region
from tests.helpers.cubes import season_cube
from tests.helpers.kills import in_child, killed_after, killed_at, operations_of
from tests.helpers.training_examples import example

from deepcrop.cube import contract
from deepcrop.cube.contract import OPTICAL_BANDS, grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch import plan as fetch_plan
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import fetch
from deepcrop.fetch.update import update
from deepcrop.ingest import ingest
from deepcrop.ingest import run as ingest_run
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.region import map_region
from deepcrop.phenology import season_dates
from deepcrop.report import report
from deepcrop.simulation import Region, simulate
from deepcrop.sources import open_archive
from deepcrop.training import run_experiment
from deepcrop.training.experiment import read_experiment
from deepcrop.training.fit import Source
from deepcrop.training.materials import Material

# The kernels of the simulation cannot run in a child once the parent has loaded those of the curve.
COMMANDS = ("simulate", "fetch", "update", "ingest", "train", "map", "map --overwrite", "report")
IN_PLACE = ("map --overwrite", "update")
"""Commands that change what is there."""
SMALL = Region(rows=18, cols=30, optical_scenes=6, sar_scenes=4, cameras=1)
PARTS = 8
"""Parts of the audit of a command, so that several cores share it."""


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Tiles of 24 pixels, so that small regions have two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "CHUNK", 24)
        patch.setattr(ingest_run, "TILE", 24)
        patch.setattr(fetch_plan, "TILE", 24)
        yield


@pytest.fixture(scope="module")
def command(request, tmp_path_factory):
    """Function that runs a command into a folder; the same for every folder."""
    yield from {
        "map": _map,
        "map --overwrite": _map,
        "simulate": _simulate,
        "ingest": _ingest,
        "fetch": _fetch,
        "update": _update,
        "train": _train,
        "report": _report,
    }[request.param](tmp_path_factory.mktemp("input"))


@numba.njit
def _anything(values):
    return np.exp(values).sum()


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """Load the compiler here, once, and not in each child; the kernels start no threads yet."""
    _anything(np.zeros(1))


def _load_kernels():
    """Load the compiled kernels of the curve here, once, and not in each child."""
    season_dates(np.zeros((1, 40)), 10.0 * np.arange(40))


def _map(folder):
    save_cube(season_cube(), folder / "cube.zarr")
    _load_kernels()
    # Few layers: each is written by the same operations.
    yield partial(
        map_region, folder / "cube.zarr", 2018, pictures=False, fractions=(0.5,), seasons=1
    )


def _simulate(folder):
    yield partial(simulate, SMALL)


def _ingest(folder):
    rng = np.random.default_rng(1)
    profile = {"driver": "GTiff", "height": 20, "width": 30, "count": 4, "dtype": "uint16",
               "crs": "EPSG:32631", "nodata": 0,
               "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5600000)}  # fmt: skip
    for day in ("20180501", "20180506", "20180511"):
        with rasterio.open(folder / f"S2_{day}.tif", "w", **profile) as file:
            file.write(rng.integers(200, 4000, (4, 20, 30), dtype="uint16"))
    specification = {
        "name": "three scenes",
        "optical": {
            "source": "Sentinel-2",
            "offset_decision": "none, made up",
            "files": str(folder / "*.tif"),
            "bands": {name: k + 1 for k, name in enumerate(OPTICAL_BANDS)},
            "scale": 0.0001,
            "offset": 0,
            "nodata": 0,
            "time": {"pattern": r"S2_(\d{8})", "format": "%Y%m%d"},
        },
    }
    (folder / "specification.yaml").write_text(yaml.safe_dump(specification))
    yield partial(ingest, folder / "specification.yaml")


def _fetch(folder):
    many = replace(SMALL, optical_scenes=42, sar_scenes=28)
    with _archive(folder, many, ("pc-05.10", "pc-rtc")) as (_, box):
        yield partial(fetch, FetchRequest(box, date(2018, 4, 20), date(2018, 5, 15)))


def _update(folder):
    """Add two late scenes to a cube with an issue of a map, and map the next issue."""
    curve = resolve_options("curve", seasons=1, fractions=(0.5,))

    def update_maps(out, until):
        update(out / "cube.zarr", out / "maps", 2018, curve, until=until, pictures=False)

    season = replace(SMALL, optical_scenes=4, start="2018-05-01", end="2018-07-20")
    with _archive(folder, season, ()) as (bed, box):
        _load_kernels()
        bed.publish("pc-05.10", [0, 2])
        request = FetchRequest(box, date(2018, 4, 1), date(2018, 8, 31), sensors=("optical",))
        early = folder / "early"
        early.mkdir()
        in_child(lambda: fetch(request, early / "cube.zarr"))
        in_child(lambda: update_maps(early, date(2018, 6, 30)))
        bed.publish("pc-05.10", [1, 3])

        def run(out, overwrite=True):
            update_maps(out, None) if out.exists() else shutil.copytree(early, out)

        yield run


@contextmanager
def _archive(folder, simulated, flavours):
    """A loopback archive of a simulated region, and the grid of the region."""
    in_child(lambda: simulate(simulated, folder / "region.zarr"))
    cube = region.coarsen_mask(open_cube(folder / "region.zarr"))
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        bed = serve_region(server, folder / "files", cube, flavours)
        forget_tokens()
        for name, value in (bed.environment() | {"DEEPCROP_PC": bed.pc}).items():
            patch.setenv(name, value)
        patch.setattr(
            fetch_plan, "open_archive", lambda *a, **k: replace(open_archive(*a, **k), pause=0.001)
        )
        yield bed, grid_of(cube)


def _train(folder):
    """Train on made-up examples: simulating tiles would take minutes."""
    path = folder / "small.yaml"
    path.write_text(
        "network: transformer-only\nseed: 1\nsimulated_tiles: 2\nphases:\n"
        "  - name: tiles\n    simulated_tiles: 1\n"
        "    training: {steps: 4, learning_rate: 0.003, eval_interval: 2, seed: 1}\n"
    )
    experiment = read_experiment(path)
    rng = np.random.default_rng(1)
    sources = [Source("made up", [example(rng, dates=14, radar_dates=6)], 1, 2) for _ in range(2)]
    made_up = Material(sources[:1], sources[1:], {"source": "made up"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_experiment, "material", lambda *given: made_up)
        yield lambda out: run_experiment.train(experiment, None, out, folder, device="cpu")


def _report(folder):
    save_cube(season_cube(), folder / "cube.zarr")
    _load_kernels()
    in_child(lambda: map_region(folder / "cube.zarr", 2018, folder / "maps", pictures=False))
    yield lambda out: report(folder / "maps", out)


def contents(path):
    """Bytes of all files of a result, but for times and process numbers."""
    found = {}
    for file in sorted(path.rglob("*")):
        name, data = file.relative_to(path).as_posix(), file.read_bytes() if file.is_file() else b""
        if name.endswith("manifest.jsonl"):
            lines = [json.loads(line) for line in data.splitlines()]
            data = [{**line, "seconds": 0, "process": ""} for line in lines]
        elif name.startswith("maps/") and name.endswith("deepcrop.json"):
            # When the files of the cube were written, and where: of a cube that is changed.
            data = {k: v for k, v in json.loads(data).items() if k not in ("made", "map")}
        elif name.endswith("log.csv"):
            data = [line.rpartition(b",")[0] for line in data.splitlines()]
        elif name.endswith("checkpoint.pt"):
            data = b""  # holds the seconds, too
        found[name] = data
    return found


def kills_of(name, total, part):
    """Kill at a few operations, the last ones among them; in a part of the audit, at its share."""
    if part is None:
        few = [total // 2] if name in ("simulate", "train", "fetch") else [total - 4]
        if name == "update":  # in the cube, and in the map
            few = [total // 3, 2 * total // 3]
        return [partial(killed_at, count) for count in few]
    return [partial(killed_at, count) for count in range(1 + part, total + 1, PARTS)]


@pytest.mark.parametrize(
    ("name", "command", "part"),
    [(name, name, part) for name in COMMANDS for part in (None, *range(PARTS))],
    indirect=["command"],
    ids=[
        f"{name}-{'sample' if part is None else f'full-{part}'}"
        for name in COMMANDS
        for part in (None, *range(PARTS))
    ],
)
def test_killed_at_file_operations(name, command, tmp_path, part):
    overwrite = name in IN_PLACE
    out = tmp_path / "result"

    def run(out=out):
        command(out, overwrite=True) if overwrite else command(out)

    def again():
        with suppress(DeepCropError):  # the kill came after the end
            run()

    def begin():
        for path in tmp_path.glob("result*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if overwrite:
            shutil.copytree(old, out)

    old = tmp_path / "old"
    if overwrite:
        in_child(lambda: command(old))
    begin()
    total = operations_of(run)
    expected = contents(out)
    kills = kills_of(name, total, part)
    if part is not None:
        started = time.monotonic()
        begin()
        in_child(run)
        whole = time.monotonic() - started
        rng = random.Random(part)
        kills += [partial(killed_after, rng.uniform(0, whole)) for _ in range(40 // PARTS)]
    for kill in kills:
        begin()
        killed = kill(run)
        if overwrite and os.name == "posix":
            assert out.is_dir(), "the old map is gone from its name"
        if killed:
            in_child(again)
        assert contents(out) == expected, kill
        left = {path.name for path in tmp_path.iterdir()} - {"old", "result", "result.scenes.csv"}
        assert not left, (kill, left)
