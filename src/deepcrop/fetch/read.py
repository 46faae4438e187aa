"""Read the planned scenes, several at a time; each unit is kept as soon as it is read."""

from __future__ import annotations

import logging
import warnings
import zipfile
import zlib
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from rasterio.errors import NotGeoreferencedWarning

from deepcrop import grid
from deepcrop.cube import io as cube_io
from deepcrop.cube.packing import pack, scale_of
from deepcrop.cube.possible import POSSIBLE, drop_impossible
from deepcrop.fetch.plan import UNITS_FOLDER, FetchRequest, work_tiles
from deepcrop.sources.archive import Archive, ArchiveError, Scene, SceneError
from deepcrop.sources.http import Refused
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.storage.staging import Staging

UNITS = "units"
"""Item of the journal: all units are read; recorded are those that failed, and the reasons."""

CROPS = "crops"
"""Item of the journal: the crop types are written."""

_MAX_FAILURES_IN_A_ROW = 8
"""Number of successive archive errors of a sensor that end the run, or cost the sensor."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """The unit of work: one scene on one tile."""

    sensor: str
    scene: int
    tile: grid.Tile

    @property
    def file(self) -> str:
        """Name of the file that keeps the unit."""
        i, j = self.tile.index
        return f"{self.sensor}-{self.scene:04d}-{i}-{j}.npz"


def list_units(box: GeoBox, scenes: dict[str, list[Scene]]) -> Iterator[Unit]:
    """List all units of the planned scenes."""
    for sensor, found in scenes.items():
        for k in range(len(found)):
            for tile in work_tiles(box):
                yield Unit(sensor, k, tile)


def read_units(
    stage: Staging,
    archive: Archive,
    request: FetchRequest,
    scenes: dict[str, list[Scene]],
    threads: int,
) -> dict[str, str]:
    """Read the units that are missing; those that fail are tried a second time at the end.

    The result is kept in the journal: a run that is interrupted later finishes the cube from the
    same units.

    Returns
    -------
    dict of str to str
        File name of each unit that failed, and the reason.

    Raises
    ------
    ArchiveError
        If the archive does not serve any more. An archive error for some units counts as a failure
        of these units only if the archive still serves another unit afterwards.
    """
    box, folder = request.box, stage.path / UNITS_FOLDER
    if CROPS not in stage.done:
        crops = _read_crops(request)
        if crops is not None:
            _write_crops(stage.path, crops, box)
        stage.finish(CROPS)
    units = list(list_units(box, scenes))
    missing = [unit for unit in units if not _is_whole(folder / unit.file)]
    if UNITS in stage.done:
        reasons: dict[str, str] = stage.done[UNITS]
        if all(unit.file in reasons for unit in missing):
            return reasons

    given_up: dict[str, Refused] = {}

    def read(unit: Unit) -> None:
        if unit.sensor in given_up:
            raise given_up[unit.sensor]
        scene = scenes[unit.sensor][unit.scene]
        write_unit(folder / unit.file, archive.read(scene, grid.crop(box, unit.tile.core)))

    with progress_bar() as bar:
        task = bar.add_task(
            "fetching scenes", total=len(units), completed=len(units) - len(missing)
        )
        errors: dict[str, SceneError | ArchiveError] = {}
        for _ in range(2):
            errors = {}
            in_a_row: Counter[str] = Counter()  # by sensor
            for unit, error in run_in_threads(read, missing, threads):
                if error is None:
                    bar.advance(task)
                else:
                    errors[unit.file] = error
                if unit.sensor in given_up:
                    continue
                failures = in_a_row[unit.sensor] + 1 if isinstance(error, ArchiveError) else 0
                in_a_row[unit.sensor] = failures
                if failures < _MAX_FAILURES_IN_A_ROW or error is None:
                    continue
                # Only a refusal is a matter of one sensor: its files are in a container of their
                # own. An archive that is down must not cost a sensor for good.
                if not (isinstance(error, Refused) and unit.sensor in request.may_lack):
                    raise error
                given_up[unit.sensor] = error
                _log.warning("%s is left out: %s", unit.sensor, error)
            missing = [unit for unit in missing if unit.file in errors]
        given = {id(error) for error in given_up.values()}
        archive_error = next(
            (e for e in errors.values() if isinstance(e, ArchiveError) and id(e) not in given),
            None,
        )
        if archive_error is not None:
            # Tell an archive that is down from single files that it refuses: read a unit again
            # that could be read before. If the archive is down, this raises.
            readable = next((unit for unit in units if (folder / unit.file).is_file()), None)
            if readable is None:
                raise archive_error
            read(readable)
        bar.advance(task, len(errors))
    failed = {file: str(error) for file, error in errors.items()}
    stage.finish(UNITS, failed)
    return failed


def _is_whole(path: Path) -> bool:
    """Whether a unit is there and undamaged; its file is a ZIP archive, which has checksums."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return False


def _read_crops(request: FetchRequest) -> xr.Dataset | None:
    if request.crops is None:
        return None
    from deepcrop.sources import cropland

    if request.crops in ("cropscape", "pc"):
        # A period that ends before July ends in the winter after the last harvest.
        year = request.end.year - (request.end.month < 7)
        return cropland.read_cdl(request.box, year, request.crops)
    return cropland.read_raster(Path(request.crops), request.box)


def _write_crops(path: Path, crops: xr.Dataset, box: GeoBox) -> None:
    cube_io.create_group(path, "landcover", crops)
    for tile in work_tiles(box):
        arrays = {str(n): v.values[tile.core] for n, v in crops.data_vars.items()}
        cube_io.write_block(path, "landcover", arrays, *tile.core)


def run_in_threads(
    read: Callable[[T], None], units: Sequence[T], threads: int
) -> Iterator[tuple[T, SceneError | ArchiveError | None]]:
    """Call ``read`` in threads; yield each unit when it is done, and its error or None.

    Any other error, Ctrl-C included, ends the work: reads that have begun are finished, and no new
    read begins.
    """
    waiting = iter(units)
    running: dict[Future[None], T] = {}
    pool = ThreadPoolExecutor(threads)
    with warnings.catch_warnings():
        # rasterio silences this warning for its own arrays in memory, but not across threads.
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


def write_unit(path: Path, bands: dict[str, NDArray[Any]]) -> None:
    """Write one unit, packed as in the cube, with its number of valid pixels (``seen``).

    Raises
    ------
    SceneError
        If too many values are impossible: the scene is left out, and named.
    """
    bands = {
        name: drop_impossible(name, values, f"band {name}", SceneError)
        if name in POSSIBLE
        else values
        for name, values in bands.items()
    }
    packed: dict[str, Any] = {
        name: pack(values, scale_of(name)) if name in POSSIBLE else values
        for name, values in bands.items()
    }
    first = next(iter(bands.values()))  # blue or VV
    with atomic_file(path) as part, part.open("wb") as file:
        np.savez(file, seen=np.isfinite(first).sum(), **packed)
