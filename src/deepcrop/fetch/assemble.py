"""Assemble the units that were read into one observation cube."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.chunks import LAYOUT, Block, finish_layout
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, describe
from deepcrop.cube.io import create_store
from deepcrop.cube.packing import PACKED_FILL, scale_of, unpack
from deepcrop.errors import DeepCropError
from deepcrop.fetch.manifest import Outcome
from deepcrop.fetch.plan import UNITS_FOLDER, FetchRequest, no_scene, work_tiles
from deepcrop.fetch.read import CROPS, Unit, list_units
from deepcrop.storage.progress import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from deepcrop.sources.archive import Archive, Scene
    from deepcrop.storage.staging import Staging

SCENES = "scenes"
"""Root attribute of a fetched cube: what became of each scene of each sensor, as the manifest."""

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}


def scene_outcomes(
    path: Path, request: FetchRequest, scenes: dict[str, list[Scene]], failed: dict[str, str]
) -> dict[str, list[Outcome]]:
    """Find out what became of each scene: fetched, partly, failed or empty.

    Parameters
    ----------
    path : Path
        The staging folder.
    request : FetchRequest
        What is fetched.
    scenes : dict
        Planned scenes of each sensor.
    failed : dict
        Units that could not be read, and the reasons.

    Raises
    ------
    DeepCropError
        If no scene of a sensor that the cube may not lack has a pixel of the area.
    """
    box = request.box
    outcomes = {name: [Outcome(scene) for scene in found] for name, found in scenes.items()}
    valid_pixels: Counter[tuple[str, int]] = Counter()
    failed_tiles: Counter[tuple[str, int]] = Counter()
    for unit in list_units(box, scenes):
        key = unit.sensor, unit.scene
        if unit.file in failed:
            failed_tiles[key] += 1
            outcomes[unit.sensor][unit.scene].reason = failed[unit.file]
        else:
            with np.load(path / UNITS_FOLDER / unit.file) as kept:
                valid_pixels[key] += int(kept["seen"])
    tiles = len(work_tiles(box))
    for sensor, of_sensor in outcomes.items():
        for k, outcome in enumerate(of_sensor):
            # A scene with a failed tile is named as such, even if its other tiles are empty.
            if failed_tiles[sensor, k]:
                outcome.state = "failed" if failed_tiles[sensor, k] == tiles else "partly"
            elif not valid_pixels[sensor, k]:
                outcome.state = "empty"
        if sensor not in request.may_lack and not _kept(of_sensor):
            reasons = sorted({outcome.reason or "no clear pixel" for outcome in of_sensor})
            raise DeepCropError(
                f"None of the {len(of_sensor)} {sensor} scenes has a pixel of the area: "
                f"{'; '.join(reasons[:3])}."
            )
    return outcomes


def _kept(outcomes: list[Outcome]) -> list[int]:
    """List the numbers of the scenes that the cube gets."""
    return [k for k, outcome in enumerate(outcomes) if outcome.in_cube]


def missing_sensors(request: FetchRequest, outcomes: dict[str, list[Outcome]]) -> dict[str, str]:
    """Say why the cube is without a sensor, for each that it lacks."""
    why = {}
    for sensor, of_sensor in outcomes.items():
        if not of_sensor:
            why[sensor] = f"the archive has {no_scene(request, sensor)}"
        elif not _kept(of_sensor):
            reason = next((o.reason for o in of_sensor if o.reason), "no clear pixel")
            why[sensor] = f"none of the {len(of_sensor)} scenes has a pixel of the area: {reason}"
    return why


def blocks(request: FetchRequest) -> list[Block]:
    """List what each item of the journal writes into the cube."""
    names = [(_item(s, tile), s, tile) for s in request.sensors for tile in work_tiles(request.box)]
    names += [(CROPS, "landcover", tile) for tile in work_tiles(request.box)]
    return [(item, group, *tile.core) for item, group, tile in names]


def _item(sensor: str, tile: grid.Tile) -> str:
    return f"{sensor} {tile.index}"


def write_cube(
    stage: Staging,
    archive: Archive,
    request: FetchRequest,
    title: str,
    outcomes: dict[str, list[Outcome]],
) -> None:
    """Write the groups of the cube, all times of a tile at once.

    Each finished tile is recorded, so an interrupted run continues with the next one.
    """
    kept = {
        sensor: chosen for sensor, of_sensor in outcomes.items() if (chosen := _kept(of_sensor))
    }
    box = request.box
    if LAYOUT not in stage.done:
        attrs: dict[str, Any] = {"title": title} if title else {}
        if missing := missing_sensors(request, outcomes):
            attrs["missing_sensors"] = missing
        attrs |= {"request": request.to_json(), SCENES: record_of(outcomes)}
        create_store(stage.path, attrs)
        for sensor in kept:
            names = band_names(stage.path, sensor)
            create_sensor_group(stage.path, archive, sensor, outcomes[sensor], names, box)
        finish_layout(stage, stage.path)
    work = [(sensor, tile) for sensor in kept for tile in work_tiles(box)]
    with progress_bar() as bar:
        for sensor, tile in bar.track(work, description="writing the cube"):
            item = _item(sensor, tile)
            if item not in stage.done:
                _write_tile(stage.path, sensor, tile, kept[sensor])
                stage.finish(item)


def record_of(outcomes: dict[str, list[Outcome]]) -> dict[str, list[dict[str, Any]]]:
    """Describe what became of each scene for the attribute `SCENES` of the cube."""
    return {sensor: [o.to_json() for o in of_sensor] for sensor, of_sensor in outcomes.items()}


def create_sensor_group(
    path: Path,
    archive: Archive,
    sensor: str,
    outcomes: list[Outcome],
    names: list[str],
    box: GeoBox,
) -> None:
    """Create the group of a sensor: coordinates and attributes, its arrays still empty."""
    used = [outcome.scene for outcome in outcomes if outcome.in_cube]
    shape = (len(used), *box.shape)
    data = {}
    for name in names:
        kind = np.uint8 if name == "scl" else np.float32
        empty = np.broadcast_to(kind(0), shape)  # takes no memory
        data[name] = (("time", "y", "x"), empty, describe(name))
    coords: dict[str, Any] = {"time": np.array([scene.time for scene in used])}
    if all(scene.relative_orbit is not None for scene in used):
        orbits = np.array([scene.relative_orbit for scene in used], np.int16)
        coords["relative_orbit"] = ("time", orbits)
    attrs = archive.attrs(sensor, used) | {"archive": archive.name}
    lost = [outcome.scene.name for outcome in outcomes if outcome.state in ("partly", "failed")]
    if lost:
        attrs["failed_scenes"] = lost
    group = grid.assign_grid(xr.Dataset(data, coords, attrs), box)
    cube_io.create_group(path, sensor, group)


def band_names(path: Path, sensor: str) -> list[str]:
    """List the bands in the units: those of the contract, and scene classes if there are any."""
    first = next(iter(sorted((path / UNITS_FOLDER).glob(f"{sensor}-*.npz"))))
    with np.load(first) as kept:
        return [name for name in (*_BANDS[sensor], "scl") if name in kept]


def _write_tile(path: Path, sensor: str, tile: grid.Tile, chosen: list[int]) -> None:
    """Write a tile band by band, chunk by chunk; one row of chunks is in memory at a time."""
    rows, cols = tile.core
    files = [path / UNITS_FOLDER / Unit(sensor, k, tile).file for k in chosen]
    for name in band_names(path, sensor):
        packed = name != "scl"
        kind, fill = (np.int16, PACKED_FILL) if packed else (np.uint8, 0)
        for chunk in grid.tiles(tile.shape, contract.CHUNK):
            chunk_rows, chunk_cols = chunk.core
            if chunk_cols.start == 0:  # a new row of chunks
                stack = np.full((len(files), chunk.shape[0], tile.shape[1]), fill, kind)
                for t, file in enumerate(files):
                    if file.is_file():  # a tile of this scene that failed stays without data
                        with np.load(file) as kept:
                            stack[t] = kept[name][chunk_rows]
            block = stack[:, :, chunk_cols]
            values = unpack(block, scale_of(name)) if packed else block
            cube_io.write_block(
                path,
                sensor,
                {name: values},
                slice(rows.start + chunk_rows.start, rows.start + chunk_rows.stop),
                slice(cols.start + chunk_cols.start, cols.start + chunk_cols.stop),
            )
