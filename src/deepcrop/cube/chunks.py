"""The chunks of a cube's Zarr store: written all and with checksums, so that a loss is noticed.

A chunk that is missing reads as "no data" in Zarr, without a word. Stores of this package hold
every chunk, those without data too, and each carries a CRC-32C checksum. The root attribute
`CHECKSUMS` says so; of a store without it nothing can be checked.
"""

from __future__ import annotations

import json
import logging
import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from deepcrop.cube.contract import REQUIRED
from deepcrop.errors import MALFORMED, CubeError
from deepcrop.storage.files import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import xarray as xr

    from deepcrop.storage.staging import Staging

_log = logging.getLogger(__name__)

_MOST_CHUNKS = 10_000_000  # of an array; a region of 1000 km has fewer
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError)
"""What reading a damaged file raises."""

CHECKSUMS = "checksums"
"""Root attribute of a store that holds every chunk with a checksum, here named."""

CODECS = (BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec())
"""Compression and checksum of every chunk."""


def checksums_of(path: Path) -> str:
    """Name the checksums that a cube carries, ``"crc32c"`` or ``"fletcher32"``, or ``"none"``."""
    if path.is_dir():
        try:
            found = json.loads((path / "zarr.json").read_text())["attributes"][CHECKSUMS]
        except (OSError, ValueError, KeyError, TypeError):
            return "none"
        return str(found)
    import netCDF4

    with netCDF4.Dataset(path) as root:
        filters = [
            variable.filters() or {}
            for name in REQUIRED
            if name in root.groups
            for variable in root.groups[name].variables.values()
            if variable.ndim > 1
        ]
    return "fletcher32" if filters and all(f.get("fletcher32") for f in filters) else "none"


def seal(path: Path) -> None:
    """Mark a finished store as one that holds every chunk with a checksum, after a check."""
    check_complete(path)
    zarr.open_group(path, mode="r+").attrs.update({CHECKSUMS: "crc32c"})


def check_complete(path: Path) -> None:
    """Raise `CubeError` if a store lacks a chunk, and name it."""
    lost = [file for folder in _folders(path) for file in _lost_files(folder)]
    if lost:
        raise CubeError(
            f"{path} lacks {len(lost)} of its files, first {lost[0].relative_to(path)}: it is "
            "damaged or was copied in part. Copy it again, or make it again."
        )


def state_of(path: Path) -> str:
    """Describe the pixels of a sealed store, wherever it was copied, from its chunks' checksums.

    Two stores of one state hold the same optical and radar images. Only four bytes of each file
    are read.
    """

    def described() -> Iterator[bytes]:
        for name in ("optical", "sar"):
            for file in sorted((path / name).rglob("*")):
                if file.is_file():
                    yield file.relative_to(path).as_posix().encode()
                    yield _last_bytes(file)

    return content_hash(described())[:32]


def _last_bytes(file: Path) -> bytes:
    """Read the checksum at the end of a chunk; of a description all."""
    with file.open("rb") as opened:
        if file.name != "zarr.json":
            opened.seek(max(file.stat().st_size - 4, 0))
        return opened.read()


def damaged_chunk(path: Path) -> Path | None:
    """Find the first file of a store that cannot be read; None if all can."""
    for folder in _folders(path):
        about = _metadata(folder)
        if about.get("node_type") != "array":
            continue
        try:
            array = zarr.open_array(folder, mode="r")
        except _UNREADABLE:
            return (folder / "zarr.json").relative_to(path)
        for chunk in product(*map(range, array.cdata_shape)):
            try:
                np.asarray(array.blocks[chunk] if chunk else array[...])
            except _UNREADABLE:
                return chunk_file(folder, chunk).relative_to(path)
    return None


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folders of a store's groups and arrays."""
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        yield folder
        if _metadata(folder).get("node_type") == "group":
            yield from _folders(folder)


def _metadata(folder: Path) -> dict[str, Any]:
    """Read the description of a group or an array; empty if it is lost."""
    try:
        found = json.loads((folder / "zarr.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lost_files(folder: Path) -> list[Path]:
    """List the files that a group or an array lacks: its description, or chunks."""
    about = _metadata(folder)
    if about.get("node_type") == "group":
        return []
    if not about:  # a folder of something else holds neither chunks nor arrays
        known = (folder / "c").exists() or any(folder.glob("*/zarr.json"))
        return [folder / "zarr.json"] if known else []
    try:
        sides = about["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [-(-n // side) for n, side in zip(about["shape"], sides, strict=True)]
        chunks = product(*map(range, counts))
    except MALFORMED:  # a damaged description is as good as lost
        return [folder / "zarr.json"]
    if math.prod(counts) > _MOST_CHUNKS:
        return [folder / "zarr.json"]
    files = (chunk_file(folder, chunk) for chunk in chunks)
    return [file for file in files if not file.is_file()]


def chunk_file(folder: Path, chunk: tuple[int, ...]) -> Path:
    """File of a chunk of an array, by its place in the grid of chunks."""
    return folder.joinpath("c", *map(str, chunk))


def chunk_at(folder: Path, rows: slice, cols: slice) -> Path | None:
    """File of the chunk of an array (time, y, x) that holds a rectangle of pixels and no other.

    None if there is no such chunk.
    """
    about = _metadata(folder)
    sides = about["chunk_grid"]["configuration"]["chunk_shape"][1:]
    places = []
    for of, side, length in zip((rows, cols), sides, about["shape"][1:], strict=True):
        if of.start % side or of.stop != min(of.start + side, length):
            return None
        places.append(of.start // side)
    return chunk_file(folder, (0, *places))


def read_block(data: xr.Dataset, group: str, rows: slice, cols: slice) -> xr.Dataset:
    """Read a rectangle of every variable of a group into memory.

    Raises
    ------
    CubeError
        If a chunk is damaged; the message names the variable and the place.
    """
    block = data.isel(y=rows, x=cols)
    for name, array in block.variables.items():
        try:
            array.load()
        except _UNREADABLE as error:
            raise CubeError(
                f"/{group}/{name} cannot be read in rows {rows.start} to {rows.stop - 1}, columns "
                f"{cols.start} to {cols.stop - 1}: the file is damaged ({error}). Copy the cube "
                "again, or make it again."
            ) from error
    return block


# A store under construction -----------------------------------------------------------------------

LAYOUT = "layout"
"""Item of a journal: groups, coordinates and empty arrays are there."""

Block = tuple[str, str, slice, slice]
"""Item of a journal that wrote a rectangle of all layers of a group: item, group, rows, columns."""


def finish_layout(stage: Staging, store: Path) -> None:
    """Record that a store is laid out, and which groups and arrays it has."""
    nodes = [folder for folder in _folders(store) if "node_type" in _metadata(folder)]
    stage.finish(LAYOUT, [folder.relative_to(store).as_posix() for folder in nodes])


def forget_damaged(stage: Staging, store: Path, blocks: Iterable[Block]) -> None:
    """Take back the items of an interrupted run of which a chunk is missing or damaged since.

    They are made again. Where the layout is damaged, these are all blocks.
    """
    if LAYOUT not in stage.done:
        return
    made = [block for block in blocks if block[0] in stage.done]
    damaged = _damage(store, stage.done[LAYOUT], made)
    if damaged:
        _log.warning("%s: damaged since the last run, made again: %s.", store, ", ".join(damaged))
        stage.forget({item for item, *_ in made} | {LAYOUT} if LAYOUT in damaged else damaged)


def _damage(store: Path, nodes: list[str] | None, blocks: list[Block]) -> set[str]:
    """Items of which a chunk is missing or damaged, `LAYOUT` for coordinates and descriptions."""
    damaged: set[str] = set()
    if not nodes:  # a journal of an older version does not list them
        return {LAYOUT}
    for name in nodes:
        if _metadata(store / name).get("node_type") == "group":
            continue
        try:
            array = zarr.open_array(store / name, mode="r")
            if _metadata(store / name).get("dimension_names", [])[-2:] == ["y", "x"]:
                damaged |= {
                    item
                    for item, group, rows, cols in blocks
                    if group == name.rpartition("/")[0]
                    and not _is_whole(array, store / name, rows, cols)
                }
            elif _lost_files(store / name):
                return {LAYOUT}
            else:
                np.asarray(array[...])
        except _UNREADABLE:
            return {LAYOUT}
    return damaged


def _is_whole(array: zarr.Array[Any], folder: Path, rows: slice, cols: slice) -> bool:
    """Whether every chunk (…, y, x) of a rectangle is there and undamaged."""
    down, across = array.chunks[-2:]
    for top, left in product(
        range(rows.start // down, -(-rows.stop // down)),
        range(cols.start // across, -(-cols.stop // across)),
    ):
        if not chunk_file(folder, (0,) * (array.ndim - 2) + (top, left)).is_file():
            return False
    try:
        np.asarray(array[(..., rows, cols)])
    except _UNREADABLE:
        return False
    return True
