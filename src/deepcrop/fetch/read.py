"""Read the planned scenes, several at a time, each kept as soon as it is read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

from deepcrop import grid
from deepcrop.cube import io as cube_io
from deepcrop.cube.packing import pack, scale_of
from deepcrop.fetch.plan import Request, _tiles
from deepcrop.sources.archive import Archive, ArchiveError, Scene, SceneError
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging

_PATIENCE = 8
"""So many units in a row that the archive does not give end the run."""

_FETCHED = "fetched"
_FAILED = "failed.json"
T = TypeVar("T")


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
        cube_io.create_group(stage.path, "landcover", crops)
        for tile in _tiles(box):
            arrays = {str(n): v.values[tile.core] for n, v in crops.data_vars.items()}
            cube_io.write_block(stage.path, "landcover", arrays, *tile.core)
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
        name: pack(values, scale_of(name)) if name != "scl" else values
        for name, values in bands.items()
    }
    first = next(iter(bands.values()))  # blue or VV
    with atomic_file(path) as part, part.open("wb") as file:
        np.savez(file, seen=np.isfinite(first).sum(), **packed)
