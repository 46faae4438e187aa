"""Fetch: from the scenes of an archive to one checked observation cube.

The unit of work is one scene on one tile: read from the archive, packed, kept in a file. When all
units are there, the cube is put together tile by tile, all times of a tile at once. So a run that
was stopped fetches only what is missing, and memory is set by the tile, not by the area.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from zarr.errors import ZarrUserWarning

from deepcrop import grid, observations
from deepcrop.errors import DeepCropError
from deepcrop.scene_manifest import Outcome, manifest_of, write_manifest
from deepcrop.sources import open_archive
from deepcrop.sources.scenes import SENSORS, Archive, ArchiveError, Scene, SceneError
from deepcrop.staging import Staging, atomic_file, check_target, progress_bar, staging

TILE = 4 * observations.CHUNK
"""Side of a tile of work, pixels: 10 km, so that few blocks of a file are read twice."""

_PATIENCE = 8
"""So many units in a row that the archive does not give end the run."""

_FETCHED = "fetched"
_PLAN = "plan.json"
_FAILED = "failed.json"
T = TypeVar("T")
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
    crops : str or None
        Crop types: ``"cropscape"`` or ``"pc"`` for the USDA Cropland Data Layer of the year that
        the period ends in the winter of, or the path of a crop raster.
    """

    box: GeoBox
    start: date
    end: date
    archive: str = "pc"
    sensors: tuple[str, ...] = SENSORS
    orbits: str | int = "best"
    max_cloud: float = 90.0
    keep: tuple[int, ...] | None = None
    crops: str | None = None

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


@dataclass(frozen=True)
class Fetched:
    """A finished cube, and what became of each scene (empty if an earlier run had finished it)."""

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
        Time expected for search and reading, from a few scenes read to find out.
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
    manifest = manifest_of(out)
    settings = {"content": "fetched cube", "request": request.to_json(), "tile": TILE}
    every: list[Outcome] = []
    with staging(out, settings, overwrite) as stage:
        (stage.path / _FETCHED).mkdir(exist_ok=True)
        if "cube" not in stage.done:
            scenes = _planned(stage, archive, request)
            failed = _read_all(stage, archive, request, scenes, threads)
            try:
                outcomes = _outcomes(stage.path, request.box, scenes, failed)
            except DeepCropError:
                (stage.path / _FAILED).unlink()  # the next run tries them again
                raise
            _assemble(stage, archive, request, title, scenes, outcomes)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ZarrUserWarning)  # the journal is still there
                observations.open_cube(stage.path)
            every = [outcome for sensor in request.sensors for outcome in outcomes[sensor]]
            write_manifest(every, manifest)
            stage.finish("cube")
        shutil.rmtree(stage.path / _FETCHED)
        for name in (_FAILED, _PLAN):
            (stage.path / name).unlink(missing_ok=True)
    return Fetched(out, manifest, every)


def is_there(out: Path, request: Request) -> bool:
    """Whether ``out`` is the finished cube of this very request.

    Raises
    ------
    DeepCropError
        If it is something else.
    """
    if not out.exists():
        return False
    held = observations.open_cube(out).attrs.get("request") if out.is_dir() else None
    if held == json.loads(json.dumps(request.to_json())):
        return True
    raise DeepCropError(
        f"{out} is there, from another request or by other means. Choose another name, or add "
        "--overwrite."
    )


def estimate(request: Request, threads: int = 4) -> Estimate:
    """Find out what a request would take, reading one tile of a few scenes of each sensor.

    They are read at once, as in earnest, and are the least cloudy, which take longest.

    Raises
    ------
    ArchiveError
        If the archive does not serve.
    DeepCropError
        If there is no scene, or none of those tried can be read.
    """
    begin = time.perf_counter()
    archive = _open(request)
    scenes = _search(archive, request)
    seconds = time.perf_counter() - begin
    tile = _tiles(request.box)[0]  # no other is larger
    share = tile.shape[0] * tile.shape[1] / (request.box.shape[0] * request.box.shape[1])
    moved = 0
    for found in scenes.values():
        moved += sum(archive.size(scene, request.box) for scene in found)
        tried = sorted(found, key=lambda scene: scene.cloud_cover or 0.0)[:threads]

        def read(scene: Scene) -> None:
            archive.read(scene, grid.crop(request.box, tile.core))

        begin = time.perf_counter()
        errors = [error for _, error in _in_threads(read, tried, threads)]
        for error in errors:
            if isinstance(error, ArchiveError):
                raise error
        if all(errors):
            raise DeepCropError(f"None of {len(tried)} scenes that were tried: {errors[0]}")
        seconds += (time.perf_counter() - begin) / len(tried) / share * len(found)
    return Estimate(scenes, moved, _disk(request.box, scenes), seconds)


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
    if request.crops not in (None, "cropscape", "pc") and not Path(str(request.crops)).is_file():
        raise DeepCropError(
            f"Crop types {request.crops!r}; expected cropscape, pc, or the path of a raster."
        )
    if request.start > request.end:
        raise DeepCropError(f"Period {request.start} to {request.end} runs backwards.")
    return open_archive(
        request.archive, orbits=request.orbits, max_cloud=request.max_cloud, keep=request.keep
    )


def _search(archive: Archive, request: Request) -> dict[str, list[Scene]]:
    end = min(request.end, date.today())
    scenes = {
        # Radar first: of an archive without it one hears soon.
        sensor: archive.search(request.box, request.start, end, sensor)
        for sensor in sorted(request.sensors, reverse=True)
    }
    scenes = {sensor: scenes[sensor] for sensor in request.sensors}
    for sensor, found in scenes.items():
        if not found:
            raise DeepCropError(
                f"{archive.name} has no {sensor} scene of the area from {request.start} to "
                f"{end} ({_conditions(request, sensor)}). Choose another period or archive, or "
                "leave the sensor out with --sensors."
            )
        twice = [t for t, n in Counter(scene.time for scene in found).items() if n > 1]
        if twice:
            raise DeepCropError(
                f"{archive.name} lists two {sensor} scenes of the very time {twice[0]}, and a cube "
                "holds one of each time; of radar, choose one relative orbit with --orbits."
            )
    return scenes


def _conditions(request: Request, sensor: str) -> str:
    if sensor == "optical":
        return f"cloud cover up to {request.max_cloud:g} %"
    return f"relative orbit {request.orbits}" if isinstance(request.orbits, int) else "any orbit"


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
    _check_disk(stage, request.box, scenes)
    return scenes


def _tiles(box: GeoBox) -> list[grid.Tile]:
    return list(grid.tiles(box.shape.yx, TILE))


def _disk(box: GeoBox, scenes: dict[str, list[Scene]]) -> int:
    """Bytes of the units and of the cube made from them, uncompressed."""
    values = {"optical": 4 * 2 + 1, "sar": 2 * 2}
    pixels = box.shape[0] * box.shape[1]
    return 2 * pixels * sum(values[sensor] * len(found) for sensor, found in scenes.items())


def _check_disk(stage: Staging, box: GeoBox, scenes: dict[str, list[Scene]]) -> None:
    needed, free = _disk(box, scenes), shutil.disk_usage(stage.path).free
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
    stage: Staging,
    archive: Archive,
    request: Request,
    scenes: dict[str, list[Scene]],
    threads: int,
) -> dict[str, str]:
    """Read what is missing, twice if need be; returns the reasons of those that failed.

    That is kept: the cube, once begun, is finished from the same units, whatever could be read by
    then.

    Raises
    ------
    ArchiveError
        If the archive gives nothing any more. What it does not give while it still gives another
        unit again has failed like one that is damaged.
    """
    kept = stage.path / _FAILED
    if kept.is_file():
        reasons: dict[str, str] = json.loads(kept.read_text())
        return reasons
    box, folder = request.box, stage.path / _FETCHED
    crops = _read_crops(request)
    if crops is not None:
        observations.create_group(stage.path, "landcover", crops)
        for tile in _tiles(box):
            arrays = {str(n): v.values[tile.core] for n, v in crops.data_vars.items()}
            observations.write_block(stage.path, "landcover", arrays, *tile.core)
    every = list(_units(box, scenes))
    missing = [unit for unit in every if not (folder / unit.file).is_file()]

    def read(unit: Unit) -> None:
        scene = scenes[unit.sensor][unit.scene]
        _keep(folder / unit.file, archive.read(scene, grid.crop(box, unit.tile.core)))

    with progress_bar() as bar:
        task = bar.add_task(
            "fetching scenes", total=len(every), completed=len(every) - len(missing)
        )
        errors: dict[str, SceneError | ArchiveError] = {}
        for _ in range(2):
            errors = {}
            in_a_row = 0
            for unit, error in _in_threads(read, missing, threads):
                in_a_row = in_a_row + 1 if isinstance(error, ArchiveError) else 0
                if error is None:
                    bar.advance(task)
                elif in_a_row < _PATIENCE:
                    errors[unit.file] = error
                else:
                    raise error
            missing = [unit for unit in missing if unit.file in errors]
        for error in errors.values():
            if isinstance(error, ArchiveError):
                there = next((unit for unit in every if (folder / unit.file).is_file()), None)
                if there is None:
                    raise error
                read(there)  # raises if it is the archive
                break
        bar.advance(task, len(errors))
    failed = {file: str(error) for file, error in errors.items()}
    with atomic_file(kept) as part:
        part.write_text(json.dumps(failed))
    return failed


def _read_crops(request: Request) -> xr.Dataset | None:
    if request.crops is None:
        return None
    from deepcrop.sources import cropland

    if request.crops in ("cropscape", "pc"):
        # The period ends in the winter after the last harvest.
        year = request.end.year - (request.end.month < 7)
        return cropland.read_cdl(request.box, year, request.crops)
    return cropland.read_raster(Path(request.crops), request.box)


def _in_threads(
    read: Callable[[T], None], units: Sequence[T], threads: int
) -> Iterator[tuple[T, SceneError | ArchiveError | None]]:
    """Call ``read`` in threads; gives each unit when it is done, with its error if it has one.

    Any other error, Ctrl-C included, ends the work: what has begun is finished, nothing new begins.
    """
    waiting = iter(units)
    running: dict[Future[None], T] = {}
    pool = ThreadPoolExecutor(threads)
    with warnings.catch_warnings():
        # rasterio silences this one about its own arrays in memory, but not in several threads.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
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
                    except (SceneError, ArchiveError) as error:
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
) -> None:
    """Write the groups of the cube, all times of a tile at once."""
    kept = {
        sensor: [k for k, outcome in enumerate(every) if outcome.state in ("fetched", "partly")]
        for sensor, every in outcomes.items()
    }
    box = request.box
    if "layout" not in stage.done:
        about = {"title": title} if title else {}
        observations.create_store(stage.path, about | {"request": request.to_json()})
        for sensor, chosen in kept.items():
            data = _template(stage.path, archive, sensor, chosen, scenes[sensor], box)
            lost = [o.scene.name for o in outcomes[sensor] if o.state in ("partly", "failed")]
            if lost:
                data.attrs["failed_scenes"] = lost
            observations.create_group(stage.path, sensor, grid.assign_grid(data, box))
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
    """Write a tile band by band, in rows of the cube's chunks."""
    rows, cols = tile.core
    files = [path / _FETCHED / Unit(sensor, k, tile).file for k in chosen]
    for name in _band_names(path, sensor):
        packed = name != "scl"
        kind, fill = (np.int16, observations.PACKED_FILL) if packed else (np.uint8, 0)
        for part in grid.tiles(tile.shape, observations.CHUNK):
            down, right = part.core
            if right.start == 0:  # a new row of chunks
                column = np.full((len(files), part.shape[0], tile.shape[1]), fill, kind)
                for t, file in enumerate(files):
                    if file.is_file():  # else this scene failed here
                        with np.load(file) as kept:
                            column[t] = kept[name][down]
            block = column[:, :, right]
            values = observations.unpack(block, observations.scale_of(name)) if packed else block
            observations.write_block(
                path,
                sensor,
                {name: values},
                slice(rows.start + down.start, rows.start + down.stop),
                slice(cols.start + right.start, cols.start + right.stop),
            )
