"""Assemble the scenes that were read into one observation cube."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, describe
from deepcrop.cube.io import create_store
from deepcrop.cube.packing import PACKED_FILL, scale_of, unpack
from deepcrop.errors import DeepCropError
from deepcrop.fetch.manifest import Outcome
from deepcrop.fetch.plan import Request, _tiles
from deepcrop.fetch.read import _FETCHED, Unit, _units
from deepcrop.sources.archive import Archive, Scene
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}


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
        create_store(stage.path, about | {"request": request.to_json()})
        for sensor, chosen in kept.items():
            data = _template(stage.path, archive, sensor, chosen, scenes[sensor], box)
            lost = [o.scene.name for o in outcomes[sensor] if o.state in ("partly", "failed")]
            if lost:
                data.attrs["failed_scenes"] = lost
            cube_io.create_group(stage.path, sensor, grid.assign_grid(data, box))
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
        data[name] = (("time", "y", "x"), empty, describe(name))
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
        kind, fill = (np.int16, PACKED_FILL) if packed else (np.uint8, 0)
        for part in grid.tiles(tile.shape, contract.CHUNK):
            down, right = part.core
            if right.start == 0:  # a new row of chunks
                column = np.full((len(files), part.shape[0], tile.shape[1]), fill, kind)
                for t, file in enumerate(files):
                    if file.is_file():  # else this scene failed here
                        with np.load(file) as kept:
                            column[t] = kept[name][down]
            block = column[:, :, right]
            values = unpack(block, scale_of(name)) if packed else block
            cube_io.write_block(
                path,
                sensor,
                {name: values},
                slice(rows.start + down.start, rows.start + down.stop),
                slice(cols.start + right.start, cols.start + right.stop),
            )
