"""Fetch: from the scenes of an archive to one checked observation cube.

The unit of work is one scene on one tile: read from the archive, packed, kept in a file. When all
units are there, the cube is put together tile by tile, all times of a tile at once. So a run that
was stopped fetches only what is missing, and memory is set by the tile, not by the area.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from zarr.errors import ZarrUserWarning

from deepcrop import grid, observations
from deepcrop.errors import DeepCropError
from deepcrop.sources import open_archive
from deepcrop.sources.scenes import SENSORS, Archive, Scene, SceneError
from deepcrop.staging import Staging, atomic_file, check_target, progress_bar, staging

TILE = 4 * observations.CHUNK
"""Side of a tile of work, pixels: 10 km, so that few blocks of a file are read twice."""

_FETCHED = "fetched"
_PLAN = "plan.json"
_BANDS = {"optical": observations.OPTICAL_BANDS, "sar": observations.SAR_BANDS}


@dataclass(frozen=True)
class Request:
    """What to fetch.

    Attributes
    ----------
    box : GeoBox
        10 m grid of the cube.
    start, end : date
        First and last day, both included.
    archive : str
        Name of the archive, one of `deepcrop.sources.ARCHIVES`.
    sensors : tuple of str
        Groups of the cube: ``optical``, ``sar``.
    orbits : str or int
        Relative orbits of the radar: ``"best"`` (the best covered), ``"all"`` or a number.
    max_cloud : float
        Most cloud cover of an optical product, percent.
    keep : tuple of int or None
        Scene classes of Sentinel-2 to keep; None for the archive's usual mask.
    """

    box: GeoBox
    start: date
    end: date
    archive: str = "pc"
    sensors: tuple[str, ...] = SENSORS
    orbits: str | int = "best"
    max_cloud: float = 90.0
    keep: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Describe the request in types that JSON has."""
        options = {k: v for k, v in asdict(self).items() if k != "box"}
        return options | {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "sensors": list(self.sensors),
            "keep": None if self.keep is None else list(self.keep),
            "crs": str(self.box.crs),
            "shape": list(self.box.shape.yx),
            "transform": list(self.box.affine[:6]),
        }


@dataclass(frozen=True)
class Unit:
    """One scene on one tile."""

    sensor: str
    scene: int
    tile: grid.Tile

    @property
    def file(self) -> str:
        """Name of the file that keeps it."""
        i, j = self.tile.index
        return f"{self.sensor}-{self.scene:04d}-{i}-{j}.npz"


@dataclass
class Outcome:
    """What became of a scene.

    Attributes
    ----------
    scene : Scene
    state : str
        ``fetched``, ``partly`` (some tiles failed and hold no data), ``failed``, or ``empty``
        (read, but without a clear pixel in the area, so left out of the cube).
    why : str
        Reason of the failure.
    """

    scene: Scene
    state: str = "fetched"
    why: str = ""


@dataclass(frozen=True)
class Fetched:
    """A finished cube, and what became of each scene."""

    path: Path
    manifest: Path
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """Scenes of which something is missing."""
        return [o for o in self.outcomes if o.state in ("partly", "failed")]


@dataclass(frozen=True)
class Estimate:
    """What a request will take.

    Attributes
    ----------
    scenes : dict of str to list of Scene
        By sensor.
    moved, disk : int
        Bytes to read from the archive, and bytes of disk at most.
    seconds : float
        Time expected, from one tile of one scene of each sensor, read to find out.
    """

    scenes: dict[str, list[Scene]]
    moved: int
    disk: int
    seconds: float


def fetch(
    request: Request,
    out: Path,
    *,
    title: str = "",
    landcover: Callable[[GeoBox], xr.Dataset] | None = None,
    overwrite: bool = False,
    threads: int = 4,
) -> Fetched:
    """Make an observation cube from an archive.

    Started again after an interruption, it goes on where it stopped. A scene that cannot be read
    is tried again at the end of the run; if it fails again, its pixels are left without data, and
    the manifest (``<out>.scenes.csv``) and the attributes of the cube name it.

    Parameters
    ----------
    request : Request
        What to fetch.
    out : Path
        Zarr store to make.
    title : str
        Title of the cube.
    landcover : callable, optional
        Makes the group of crop types on the grid, for example
        `deepcrop.sources.cropland.read_cdl`.
    overwrite : bool
        Replace an existing ``out``.
    threads : int
        Scenes read at once.

    Raises
    ------
    ArchiveError
        If the archive does not serve; what was fetched stays for the next run.
    DeepCropError
        If there is no scene, no scene could be read, the disk is too small, or ``out`` exists and
        may not be replaced.
    """
    if out.suffix == ".nc":
        raise DeepCropError(f"{out}: fetch writes a Zarr store; give a name such as region.zarr.")
    check_target(out, overwrite)
    archive = _open(request)
    settings = {"content": "fetched cube", "request": request.to_json(), "tile": TILE}
    with staging(out, settings, overwrite) as stage:
        scenes = _planned(stage, archive, request)
        _check_disk(stage, request.box, scenes)
        crops = landcover(request.box) if landcover is not None else None  # fails before the work
        failed = _read_all(stage, archive, request.box, scenes, threads)
        outcomes = _outcomes(stage.path, request.box, scenes, failed)
        _assemble(stage, archive, request, title, scenes, outcomes, crops)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # the journal is still in the store
            observations.open_cube(stage.path)
        for leftover in (_FETCHED, _PLAN):
            _remove(stage.path / leftover)
    manifest = out.with_suffix(".scenes.csv")
    every = [outcome for sensor in request.sensors for outcome in outcomes[sensor]]
    write_manifest(every, manifest)
    return Fetched(out, manifest, every)


def estimate(request: Request, threads: int = 4) -> Estimate:
    """Find out what a request would take, reading one tile of one scene of each sensor.

    Raises
    ------
    ArchiveError
        If the archive does not serve.
    DeepCropError
        If there is no scene, or that tile cannot be read.
    """
    archive = _open(request)
    scenes = _search(archive, request)
    tiles = _tiles(request.box)
    moved, seconds = 0, 0.0
    for found in scenes.values():
        moved += sum(archive.size(scene, request.box) for scene in found)
        tile = tiles[len(tiles) // 2]
        begin = time.perf_counter()
        archive.read(found[len(found) // 2], grid.crop(request.box, tile.core))
        seconds += (time.perf_counter() - begin) * len(found) * len(tiles) / threads
    return Estimate(scenes, moved, _disk(request.box, scenes), seconds)


def write_manifest(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write one line per scene: what it is, what was decided, what became of it."""
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        heading = "sensor,time,relative_orbit,cloud_cover,state,why,products,notes"
        table.writerow(heading.split(","))
        for outcome in outcomes:
            scene = outcome.scene
            table.writerow(
                [
                    scene.sensor,
                    scene.time.astype("datetime64[s]"),
                    "" if scene.relative_orbit is None else scene.relative_orbit,
                    "" if scene.cloud_cover is None else f"{scene.cloud_cover:.1f}",
                    outcome.state,
                    outcome.why,
                    " ".join(scene.products),
                    "; ".join(f"{key}: {value}" for key, value in scene.notes.items()),
                ]
            )


# What to fetch ----------------------------------------------------------------------------------


def _open(request: Request) -> Archive:
    unknown = set(request.sensors) - set(SENSORS)
    if unknown or not request.sensors:
        raise DeepCropError(
            f"Sensors {', '.join(request.sensors) or 'none'}; expected {' and '.join(SENSORS)}, or "
            "one of them."
        )
    if request.orbits not in ("best", "all") and not isinstance(request.orbits, int):
        raise DeepCropError(f"Orbits {request.orbits!r}; expected best, all or a number.")
    if request.start > request.end:
        raise DeepCropError(f"Period {request.start} to {request.end} runs backwards.")
    return open_archive(
        request.archive, orbits=request.orbits, max_cloud=request.max_cloud, keep=request.keep
    )


def _search(archive: Archive, request: Request) -> dict[str, list[Scene]]:
    scenes = {
        sensor: archive.search(request.box, request.start, request.end, sensor)
        for sensor in request.sensors
    }
    for sensor, found in scenes.items():
        if not found:
            raise DeepCropError(
                f"{archive.name} has no {sensor} scene of the area from {request.start} to "
                f"{request.end} (cloud cover up to {request.max_cloud:g} %). Choose another period "
                f"or archive, or leave the sensor out with --sensors."
            )
        twice = [t for t, n in Counter(scene.time for scene in found).items() if n > 1]
        if twice:
            raise DeepCropError(
                f"{archive.name} lists two {sensor} scenes of the very time {twice[0]}, and a cube "
                "holds one of each time. Choose one relative orbit with --orbits."
            )
    return scenes


def _planned(stage: Staging, archive: Archive, request: Request) -> dict[str, list[Scene]]:
    """Scenes of an earlier, interrupted run, or those that the archive lists now."""
    path = stage.path / _PLAN
    if path.is_file():
        listed = json.loads(path.read_text())
        return {name: [Scene.from_json(s) for s in found] for name, found in listed.items()}
    scenes = _search(archive, request)
    with atomic_file(path) as part:
        text = {name: [scene.to_json() for scene in found] for name, found in scenes.items()}
        part.write_text(json.dumps(text))
    (stage.path / _FETCHED).mkdir(exist_ok=True)
    return scenes


def _tiles(box: GeoBox) -> list[grid.Tile]:
    return list(grid.tiles(box.shape.yx, TILE))


def _disk(box: GeoBox, scenes: dict[str, list[Scene]]) -> int:
    """Bytes of the units and of the cube made from them, uncompressed."""
    values = {"optical": 4 * 2 + 1, "sar": 2 * 2}
    pixels = box.shape[0] * box.shape[1]
    return 2 * pixels * sum(values[sensor] * len(found) for sensor, found in scenes.items())


def _check_disk(stage: Staging, box: GeoBox, scenes: dict[str, list[Scene]]) -> None:
    held = sum(file.stat().st_size for file in (stage.path / _FETCHED).glob("*.npz"))
    needed, free = _disk(box, scenes) - held, shutil.disk_usage(stage.path).free
    if needed > free:
        raise DeepCropError(
            f"{stage.path.parent.absolute()} has {free / 1e9:.1f} GB free, and up to "
            f"{needed / 1e9:.1f} GB are needed. Write to another disk, or fetch a smaller area."
        )


# Reading ----------------------------------------------------------------------------------------


def _units(box: GeoBox, scenes: dict[str, list[Scene]]) -> Iterator[Unit]:
    for sensor, found in scenes.items():
        for k in range(len(found)):
            for tile in _tiles(box):
                yield Unit(sensor, k, tile)


def _read_all(
    stage: Staging, archive: Archive, box: GeoBox, scenes: dict[str, list[Scene]], threads: int
) -> dict[str, str]:
    """Read what is missing, twice if need be; returns the reasons of those that failed."""
    folder = stage.path / _FETCHED
    every = list(_units(box, scenes))
    missing = [unit for unit in every if not (folder / unit.file).is_file()]

    def read(unit: Unit) -> None:
        scene = scenes[unit.sensor][unit.scene]
        _keep(folder / unit.file, archive.read(scene, grid.crop(box, unit.tile.core)))

    with progress_bar() as bar, warnings.catch_warnings():
        # rasterio silences this one about its own arrays in memory, but not in several threads.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        task = bar.add_task(
            "fetching scenes", total=len(every), completed=len(every) - len(missing)
        )
        failed: dict[str, str] = {}
        for _ in range(2):
            failed = {}
            for unit, error in _in_threads(read, missing, threads):
                if error is None:
                    bar.advance(task)
                else:
                    failed[unit.file] = str(error)
            missing = [unit for unit in missing if unit.file in failed]
        bar.advance(task, len(failed))
    return failed


def _in_threads(
    read: Callable[[Unit], None], units: Sequence[Unit], threads: int
) -> Iterator[tuple[Unit, SceneError | None]]:
    """Call ``read`` in threads; gives each unit when it is done, with its error if it has one.

    Any error but `SceneError`, Ctrl-C included, ends the work: what has begun is finished, nothing
    new begins.
    """
    waiting = iter(units)
    running: dict[Future[None], Unit] = {}
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            while len(running) < 2 * threads and (unit := next(waiting, None)) is not None:
                running[pool.submit(read, unit)] = unit
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                try:
                    future.result()
                except SceneError as error:
                    yield unit, error
                else:
                    yield unit, None
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(path: Path, bands: dict[str, NDArray]) -> None:
    """Write one unit, packed as in the cube, whole or not at all."""
    packed: dict[str, Any] = {
        name: observations.pack(values, observations.scale_of(name)) if name != "scl" else values
        for name, values in bands.items()
    }
    first = next(iter(bands.values()))  # blue or VV
    with atomic_file(path) as part, part.open("wb") as file:
        np.savez(file, seen=np.isfinite(first).sum(), **packed)


def _outcomes(
    path: Path, box: GeoBox, scenes: dict[str, list[Scene]], failed: dict[str, str]
) -> dict[str, list[Outcome]]:
    outcomes = {name: [Outcome(scene) for scene in found] for name, found in scenes.items()}
    seen: Counter[tuple[str, int]] = Counter()
    lost: Counter[tuple[str, int]] = Counter()
    for unit in _units(box, scenes):
        which = unit.sensor, unit.scene
        if unit.file in failed:
            lost[which] += 1
            outcomes[unit.sensor][unit.scene].why = failed[unit.file]
        else:
            with np.load(path / _FETCHED / unit.file) as kept:
                seen[which] += int(kept["seen"])
    tiles = len(_tiles(box))
    for sensor, every in outcomes.items():
        for k, outcome in enumerate(every):
            if lost[sensor, k]:
                outcome.state = "failed" if lost[sensor, k] == tiles else "partly"
            elif not seen[sensor, k]:
                outcome.state = "empty"
        if all(outcome.state in ("failed", "empty") for outcome in every):
            reasons = sorted({outcome.why or "no clear pixel" for outcome in every})
            raise DeepCropError(
                f"None of the {len(every)} {sensor} scenes has a pixel of the area: "
                f"{'; '.join(reasons[:3])}."
            )
    return outcomes


# The cube ---------------------------------------------------------------------------------------


def _assemble(
    stage: Staging,
    archive: Archive,
    request: Request,
    title: str,
    scenes: dict[str, list[Scene]],
    outcomes: dict[str, list[Outcome]],
    crops: xr.Dataset | None,
) -> None:
    """Write the groups of the cube, all times of a tile at once."""
    kept = {
        sensor: [k for k, outcome in enumerate(every) if outcome.state in ("fetched", "partly")]
        for sensor, every in outcomes.items()
    }
    box = request.box
    if "layout" not in stage.done:
        observations.create_store(stage.path, {"title": title} if title else {})
        for sensor, chosen in kept.items():
            data = _template(stage.path, archive, sensor, chosen, scenes[sensor], box)
            lost = [o.scene.name for o in outcomes[sensor] if o.state in ("partly", "failed")]
            if lost:
                data.attrs["failed_scenes"] = lost
            observations.create_group(stage.path, sensor, grid.assign_grid(data, box))
        if crops is not None:
            observations.create_group(stage.path, "landcover", crops)
            for tile in _tiles(box):
                arrays = {str(n): v.values[tile.core] for n, v in crops.data_vars.items()}
                observations.write_block(stage.path, "landcover", arrays, *tile.core)
        stage.finish("layout")
    work = [(sensor, tile) for sensor in kept for tile in _tiles(box)]
    with progress_bar() as bar:
        for sensor, tile in bar.track(work, description="writing the cube"):
            item = f"{sensor} {tile.index}"
            if item not in stage.done:
                _write_tile(stage.path, sensor, tile, kept[sensor])
                stage.finish(item)


def _template(
    path: Path, archive: Archive, sensor: str, chosen: list[int], found: list[Scene], box: GeoBox
) -> xr.Dataset:
    """Coordinates and attributes of a group; its arrays take no memory."""
    names = _band_names(path, sensor)
    used = [found[k] for k in chosen]
    shape = (len(used), *box.shape)
    data = {}
    for name in names:
        kind = np.uint8 if name == "scl" else np.float32
        empty = np.broadcast_to(kind(0), shape)
        data[name] = (("time", "y", "x"), empty, observations.describe(name))
    coords: dict[str, Any] = {"time": np.array([scene.time for scene in used])}
    if all(scene.relative_orbit is not None for scene in used):
        orbits = np.array([scene.relative_orbit for scene in used], np.int16)
        coords["relative_orbit"] = ("time", orbits)
    attrs = archive.attrs(sensor, used) | {"archive": archive.name}
    return xr.Dataset(data, coords, attrs)


def _band_names(path: Path, sensor: str) -> list[str]:
    """Bands that were fetched: those of the contract, and the scene classes where there are any."""
    first = next(iter(sorted((path / _FETCHED).glob(f"{sensor}-*.npz"))))
    with np.load(first) as kept:
        return [name for name in (*_BANDS[sensor], "scl") if name in kept]


def _write_tile(path: Path, sensor: str, tile: grid.Tile, chosen: list[int]) -> None:
    """Write a tile band by band, a block of the cube's chunks at a time."""
    rows, cols = tile.core
    for name in _band_names(path, sensor):
        packed = name != "scl"
        kind, fill = (np.int16, observations.PACKED_FILL) if packed else (np.uint8, 0)
        column = np.full((len(chosen), *tile.shape), fill, kind)
        for t, k in enumerate(chosen):
            file = path / _FETCHED / Unit(sensor, k, tile).file
            if file.is_file():  # else this scene failed here
                with np.load(file) as kept:
                    column[t] = kept[name]
        for part in grid.tiles(tile.shape, observations.CHUNK):
            block = column[(slice(None), *part.core)]
            values = observations.unpack(block, observations.scale_of(name)) if packed else block
            down, right = part.core
            observations.write_block(
                path,
                sensor,
                {name: values},
                slice(rows.start + down.start, rows.start + down.stop),
                slice(cols.start + right.start, cols.start + right.stop),
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
