"""Write a cube anew with further images, from the old cube and the scenes that were fetched.

A chunk has room along time (`deepcrop.cube.contract.ROOM`). So where all new images of a sensor are
later than those of the cube, and there is room for them, a chunk in which they have no data is the
same file in both cubes. All other chunks are written from the old chunk and the new images.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.chunks import LAYOUT, Block, chunk_at, finish_layout
from deepcrop.cube.io import create_store
from deepcrop.cube.packing import PACKED_FILL
from deepcrop.errors import DeepCropError
from deepcrop.fetch.assemble import band_names, create_sensor_group
from deepcrop.fetch.plan import UNITS_FOLDER, FetchRequest, work_tiles
from deepcrop.fetch.read import Unit
from deepcrop.storage.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.fetch.manifest import Outcome
    from deepcrop.sources.archive import Archive
    from deepcrop.storage.staging import Staging


@dataclass(frozen=True)
class Slot:
    """Where an image of the new cube comes from: the old cube's, a scene read now, or both."""

    old: int | None
    new: int | None


@dataclass(frozen=True)
class Change:
    """What an update does to the images of a sensor.

    Attributes
    ----------
    merged : sequence of Outcome
        What became of each scene, those of the old cube included, in the order of time.
    held : sequence of Outcome
        Those of the old cube.
    new : sequence of Outcome
        Those that were fetched now.
    images : mapping of int to Outcome or None
        The new images: number of the outcome in ``new``, and the outcome of the old cube whose
        image it replaces, None for none.
    """

    merged: Sequence[Outcome]
    held: Sequence[Outcome]
    new: Sequence[Outcome]
    images: Mapping[int, Outcome | None]

    def slots(self) -> list[Slot]:
        """List the images of the new cube; where a new one lacks tiles, they are the old one's."""
        places = {
            one.scene.time: k for k, one in enumerate(old for old in self.held if old.in_cube)
        }
        numbers = {self.new[k].scene.time: k for k in self.images}
        slots = []
        for outcome in self.merged:
            if not outcome.in_cube:
                continue
            number = numbers.get(outcome.scene.time)
            before = outcome if number is None else self.images[number]
            slots.append(Slot(None if before is None else places[before.scene.time], number))
        return slots


def updated_blocks(request: FetchRequest) -> list[Block]:
    """List what each item of the journal writes into the cube."""
    return [
        (_item(name, tile), name, *tile.core)
        for name in request.sensors
        for tile in work_tiles(request.box)
    ]


def _item(sensor: str, tile: grid.Tile) -> str:
    return f"{sensor} {tile.index}"


def write_updated(
    stage: Staging,
    path: Path,
    archive: Archive,
    request: FetchRequest,
    attrs: Mapping[str, Any],
    changes: Mapping[str, Change],
) -> None:
    """Write the new cube: a sensor with new images tile by tile; all else is taken over.

    Parameters
    ----------
    stage : Staging
        Of the new cube, with the units that were read.
    path : Path
        The cube as it is.
    archive : Archive
    request : FetchRequest
    attrs : mapping
        Attributes of the new cube.
    changes : mapping of str to Change
        By sensor.
    """
    box = request.box
    written = [name for name in request.sensors if changes[name].images]
    if LAYOUT not in stage.done:
        create_store(stage.path, attrs)
        for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
            if folder.name not in written:
                shutil.rmtree(stage.path / folder.name, ignore_errors=True)
                shutil.copytree(folder, stage.path / folder.name, copy_function=_link)
        for name in written:
            bands = _stored_bands(path / name)
            fetched = band_names(stage.path, name)
            if bands and bands != fetched:
                raise DeepCropError(
                    f"The archive now gives the bands {', '.join(fetched)} of {name}, and {path} "
                    f"has {', '.join(bands)}. Fetch the cube again."
                )
            create_sensor_group(stage.path, archive, name, list(changes[name].merged), fetched, box)
        finish_layout(stage, stage.path)
    work = [(name, tile) for name in written for tile in work_tiles(box)]
    with progress_bar() as bar:
        for name, tile in bar.track(work, description="writing the cube"):
            item = _item(name, tile)
            if item not in stage.done:
                write_tile(path, stage.path, name, tile, changes[name].slots())
                stage.finish(item)


def _link(source: str, target: str) -> None:
    """Give a file a second name; copy it where the file system has only one name for a file.

    No file of a cube is ever written in place, so the two cubes cannot change each other.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _stored_bands(folder: Path) -> list[str]:
    """Names of the bands of a group in a cube; empty if the cube lacks it."""
    if not folder.is_dir():
        return []
    group = zarr.open_group(folder, mode="r")
    named = (*contract.OPTICAL_BANDS, *contract.SAR_BANDS, "scl")
    return [name for name in named if name in group]


def write_tile(
    old_cube: Path, new_cube: Path, sensor: str, tile: grid.Tile, slots: Sequence[Slot]
) -> None:
    """Write a tile of the new cube, chunk by chunk, as stored: nothing is unpacked or rounded.

    Parameters
    ----------
    old_cube : Path
        The cube as it is.
    new_cube : Path
        The new cube, with the units that were read in `UNITS_FOLDER`.
    sensor : str
    tile : Tile
    slots : sequence of Slot
        Images of the new cube, in the order of time.
    """
    rows, cols = tile.core
    places = {t: slot.old for t, slot in enumerate(slots) if slot.old is not None}
    kept, before = list(places), list(places.values())
    folder = new_cube / UNITS_FOLDER
    files = {
        t: folder / Unit(sensor, slot.new, tile).file
        for t, slot in enumerate(slots)
        if slot.new is not None
    }
    appended = bool(kept) and kept == before == list(range(min(files, default=0)))
    for name in band_names(new_cube, sensor):
        images = {t: _band(file, name) for t, file in files.items() if file.is_file()}
        source = zarr.open_array(old_cube / sensor / name, mode="r") if kept else None
        kind, fill = (np.uint8, 0) if name == "scl" else (np.int16, PACKED_FILL)
        old, new = old_cube / sensor / name, new_cube / sensor / name
        alike = appended and _same_chunks(old, new)
        for chunk in grid.tiles(tile.shape, contract.CHUNK):
            place = tuple(
                slice(side.start + inner.start, side.start + inner.stop)
                for side, inner in zip((rows, cols), chunk.core, strict=True)
            )
            empty = all((image[chunk.core] == fill).all() for image in images.values())
            file = chunk_at(new, *place) if alike and empty else None
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.unlink(missing_ok=True)  # of a run that was stopped
                _link(str(old / file.relative_to(new)), str(file))
                continue
            stack = np.full((len(slots), *chunk.shape), fill, kind)
            if source is not None:
                stack[kept] = np.asarray(source[(slice(None), *place)])[before]
            for t, image in images.items():  # a tile that failed stays as it was
                stack[t] = image[chunk.core]
            cube_io.write_packed(new_cube, sensor, name, stack, *place)


def _same_chunks(old: Path, new: Path) -> bool:
    """Whether two arrays are described alike, but for their number of images."""
    of_old, of_new = (json.loads((folder / "zarr.json").read_text()) for folder in (old, new))
    same: bool = of_old | {"shape": None} == of_new | {"shape": None}
    return same


def _band(file: Path, name: str) -> NDArray[Any]:
    with np.load(file) as unit:
        band: NDArray[Any] = unit[name]
    return band
