"""The work store of an unfinished map: raw files with one block for each tile.

Format. A file of tiles (`TileFile`) is a row of blocks, one for each tile in the order of rows, as
if all tiles were whole: block ``n`` begins at byte ``n * length``. A length is a multiple of 4096
bytes, so that no two blocks share a page of memory or of the disk. A block holds the tile's arrays
one after another, each row by row, little-endian and without gaps, then the CRC-32 checksum of
each (four bytes); what follows up to the next block has no meaning. The journal says which arrays
there are, of which types (`WorkStore.layout`), and which tiles are written.

The file has its full length from the beginning, so that no process needs to lengthen it: processes
on any computer that share the disk write their blocks side by side. A block is on the disk before
the journal names its tile. Every reading tests by the checksums whether it was written whole.

A tile without a selected pixel is not written: its block is a hole in the file, which takes no
disk, and where the selection says so, a block without right checksums has the values of pixels left
out.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.products.layers import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from deepcrop.products.layers import Layer
    from deepcrop.storage.staging import Staging

_log = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
"""In a finished map: a line for each tile, in the order of rows."""

WORK_STORE = "work"
"""Name of the work store in the folder of an unfinished map."""

LAYOUT = "layout"
"""Item of the journal: the files are there, and the selected pixels are written."""

SELECTED = "selected"
"""Name of the array that is 1 where a pixel is to be mapped."""

_FORMAT = "raw tiles 1"
_PAGE = 4096
_NAMED = 3  # damaged tiles that a warning names

Core = tuple[slice, slice]
"""Rows and columns of a tile."""

Tiles = Iterator[tuple[Core, dict[str, NDArray[Any]]]]
"""Rows and columns of each tile of a file, and its arrays by name."""


@dataclass(frozen=True)
class TileFile:
    """A raw file with one block for each tile of a grid.

    Attributes
    ----------
    path : Path
        Absolute: workers see the file under the same path.
    shape : tuple of int
        Rows and columns of the grid.
    side : int
        Of a whole tile.
    arrays : tuple of (str, str)
        Name and type of each array of a tile, in the order of the file.
    selected : TileFile or None
        Where it selects no pixel of a tile, the tile need not be written.
    left_out : tuple of int
        Of each array, the value of a pixel that is not selected.
    """

    path: Path
    shape: tuple[int, int]
    side: int
    arrays: tuple[tuple[str, str], ...]
    selected: TileFile | None = None
    left_out: tuple[int, ...] = ()

    @cached_property
    def length(self) -> int:
        """Bytes of a block, whole pages."""
        pixel = sum(np.dtype(kind).itemsize for _, kind in self.arrays)
        used = self.side**2 * pixel + 4 * len(self.arrays)
        return -(-used // _PAGE) * _PAGE

    @cached_property
    def _places(self) -> dict[str, tuple[int, int, np.dtype]]:
        """Of each array: its number, the bytes of a pixel before it, its type."""
        places, before = {}, 0
        for number, (name, kind) in enumerate(self.arrays):
            places[name] = number, before, np.dtype(kind)
            before += np.dtype(kind).itemsize
        return places

    @property
    def cores(self) -> list[Core]:
        """Rows and columns of each tile, in the order of the file."""
        return [tile.core for tile in grid.tiles(self.shape, self.side)]

    def create(self) -> None:
        """Make the file, or make it anew: its full length, without a tile."""
        with self.path.open("wb") as file:
            file.truncate(len(self.cores) * self.length)

    def is_there(self) -> bool:
        """Whether the file has its full length."""
        return self.path.is_file() and self.path.stat().st_size == len(self.cores) * self.length

    def is_undamaged(self) -> bool:
        """Whether the file and all its tiles are there and undamaged."""
        return self.is_there() and all(self.is_whole(core) for core in self.cores)

    def write(self, tiles: Iterable[tuple[Core, Mapping[str, NDArray[Any]]]]) -> None:
        """Write all arrays of some tiles; they are on the disk when this returns."""
        with self.path.open("r+b") as file:
            for core, arrays in tiles:
                parts = [self._as_stored(core, name, arrays[name]) for name in self._places]
                checksums = np.array([zlib.crc32(part) for part in parts], "<u4")
                file.seek(self._start(core))
                file.write(b"".join([*parts, checksums.data]))
            file.flush()
            os.fsync(file.fileno())

    def _as_stored(self, core: Core, name: str, values: NDArray[Any]) -> memoryview:
        dtype = self._places[name][2]
        if values.shape != _shape(core) or values.dtype != dtype.newbyteorder("="):
            raise TypeError(f"{name}: {values.dtype} {values.shape}, not {dtype} {_shape(core)}")
        return np.ascontiguousarray(values, dtype).data

    def read(self, name: str, rows: slice, cols: slice) -> NDArray[Any]:
        """Read an array in a rectangle of pixels, from the tiles that it touches.

        Raises
        ------
        DeepCropError
            If the block of a tile is damaged.
        """
        found = np.empty(_shape((rows, cols)), self._places[name][2].newbyteorder("="))
        with self.path.open("rb") as file:
            for core in self._touched(rows, cols):
                target, source = [], []
                for part, wanted in zip(core, (rows, cols), strict=True):
                    first, last = max(part.start, wanted.start), min(part.stop, wanted.stop)
                    target.append(slice(first - wanted.start, last - wanted.start))
                    source.append(slice(first - part.start, last - part.start))
                values = self._read_tile(file, core, name)
                if values is None:
                    raise DeepCropError(
                        f"{self.path} is damaged in {name}, rows {core[0].start} to "
                        f"{core[0].stop - 1}, columns {core[1].start} to {core[1].stop - 1}. Give "
                        "the same command again: it makes anew what is damaged."
                    )
                found[tuple(target)] = values[tuple(source)]
        return found

    def is_whole(self, core: Core) -> bool:
        """Whether all of a tile is there and undamaged."""
        with self.path.open("rb") as file:
            return all(self._read_tile(file, core, name) is not None for name in self._places)

    def _read_tile(self, file: Any, core: Core, name: str) -> NDArray[Any] | None:
        """Read an array of a tile; None if it is damaged."""
        values = self._read_block(file, core, name)
        if values is not None or self.selected is None or self.selected.read(SELECTED, *core).any():
            return values
        number, _, dtype = self._places[name]
        return np.full(_shape(core), self.left_out[number], dtype)

    def _read_block(self, file: Any, core: Core, name: str) -> NDArray[Any] | None:
        """Read an array from the block of a tile; None if it was not written, or is damaged."""
        number, before, dtype = self._places[name]
        values = np.empty(_shape(core), dtype)
        start = self._start(core)
        file.seek(start + values.size * before)
        file.readinto(values.data.cast("B"))
        every = values.size * sum(np.dtype(kind).itemsize for _, kind in self.arrays)
        file.seek(start + every + 4 * number)
        checksum = int.from_bytes(file.read(4), "little")
        return values if zlib.crc32(values.data) == checksum else None

    def _start(self, core: Core) -> int:
        """First byte of the block of a tile."""
        across = -(-self.shape[1] // self.side)
        row, col = (int(part.start) // self.side for part in core)
        return (row * across + col) * self.length

    def _touched(self, rows: slice, cols: slice) -> Iterator[Core]:
        """Tiles that share pixels with a rectangle."""
        down, across = (
            [
                slice(first, min(first + self.side, length))
                for first in range(part.start // self.side * self.side, part.stop, self.side)
            ]
            for part, length in zip((rows, cols), self.shape, strict=True)
        )
        return ((r, c) for r in down for c in across)


def _shape(core: Core) -> tuple[int, int]:
    return core[0].stop - core[0].start, core[1].stop - core[1].start


@dataclass(frozen=True)
class WorkStore:
    """The files of an unfinished map: small, and the same in every process.

    Attributes
    ----------
    layers : TileFile
        All layers; ``curve/sos50`` is layer sos50 of the group curve.
    """

    layers: TileFile

    @property
    def selected(self) -> TileFile | None:
        """The pixels to map, where mask or parcels leave some out."""
        return self.layers.selected

    @classmethod
    def of(
        cls,
        folder: Path,
        described: Mapping[str, list[Layer]],
        shape: tuple[int, int],
        side: int,
        limited: bool,
    ) -> WorkStore:
        """Describe the work store in a folder, from the layers of each group of a map.

        ``limited``: whether mask or parcels leave pixels out.
        """
        folder = folder.resolve()
        arrays = tuple(
            (f"{group}/{layer.name}", layer.dtype.newbyteorder("<").str)
            for group, layers in described.items()
            for layer in layers
        )
        selected = None
        if limited:
            selected = TileFile(folder / "selected.raw", shape, side, ((SELECTED, "|u1"),))
        left_out = tuple(
            LEFT_OUT if layer.name == "qflag" else layer.nodata or 0
            for layers in described.values()
            for layer in layers
        )
        return cls(TileFile(folder / "layers.raw", shape, side, arrays, selected, left_out))

    @property
    def layout(self) -> dict[str, Any]:
        """How the files are laid out, as the journal records it."""
        return {
            "format": _FORMAT,
            "shape": list(self.layers.shape),
            "side": self.layers.side,
            "arrays": [list(array) for array in self.layers.arrays],
            "selected": self.selected is not None,
        }

    def disk_bytes(self, tiles: int) -> int:
        """Count the bytes of the files, from the number of tiles with a selected pixel."""
        selected = 0 if self.selected is None else len(self.selected.cores) * self.selected.length
        return tiles * self.layers.length + selected

    def create(self, selection: Callable[[], Tiles]) -> None:
        """Make the files, with the selected pixels and without a tile of the layers."""
        self.layers.path.parent.mkdir(exist_ok=True)
        self.layers.create()
        self._write_selected(selection)

    def _write_selected(self, selection: Callable[[], Tiles]) -> None:
        if self.selected is not None:
            self.selected.create()
            self.selected.write(selection())

    def write(self, tiles: Iterable[tuple[Core, Mapping[str, Mapping[str, NDArray[Any]]]]]) -> None:
        """Write the layers of some tiles, by group and name."""
        self.layers.write(
            (core, {f"{group}/{name}": v for group, of in found.items() for name, v in of.items()})
            for core, found in tiles
        )

    def open(self, box: GeoBox) -> tuple[dict[str, xr.Dataset], xr.DataArray | None]:
        """Open the layers by group, and the pixels to map, to be read window by window."""
        groups: dict[str, dict[str, xr.Variable]] = {}
        for array, _ in self.layers.arrays:
            group, name = array.split("/")
            groups.setdefault(group, {})[name] = _lazy(self.layers, array)
        maps = {
            group: grid.assign_grid(xr.Dataset(variables), box)
            for group, variables in groups.items()
        }
        if self.selected is None:
            return maps, None
        return maps, xr.DataArray(_lazy(self.selected, SELECTED), name=SELECTED)

    def forget_damaged(
        self, stage: Staging, items: Mapping[str, Core], selection: Callable[[], Tiles]
    ) -> None:
        """Take back the tiles of an interrupted run that are missing or damaged since.

        They are made again; all of them where the layers' file itself is missing, or was laid out
        by another version. ``items`` are the tiles by their names in the journal. If the file of
        selected pixels is damaged, it is written again here, and no tile is lost.
        """
        if LAYOUT not in stage.done:
            return
        made = {item: core for item, core in items.items() if item in stage.done}
        if stage.done[LAYOUT] != self.layout:
            _log.warning(
                "%s was begun by another version, which laid its tiles out otherwise; all are made "
                "anew.",
                stage.path,
            )
            stage.forget({LAYOUT, *made})
            return
        if not self.layers.is_there():
            _log.warning("%s: damaged since the last run; all is made again.", self.layers.path)
            stage.forget({LAYOUT, *made})
            return
        if self.selected is not None and not self.selected.is_undamaged():
            _log.warning(
                "%s: damaged since the last run, written again; no tile is lost.",
                self.selected.path,
            )
            self._write_selected(selection)
        damaged = [item for item, core in made.items() if not self.layers.is_whole(core)]
        if damaged:
            _log.warning(
                "%s: damaged since the last run, made again: %d of %d tiles (%s%s).",
                self.layers.path,
                len(damaged),
                len(made),
                ", ".join(damaged[:_NAMED]),
                ", …" if len(damaged) > _NAMED else "",
            )
            stage.forget(set(damaged))


class _LazyArray(BackendArray):
    """An array of a file of tiles, for xarray, which reads what it is asked for."""

    def __init__(self, file: TileFile, name: str) -> None:
        self.file, self.name = file, name
        self.shape = file.shape
        self.dtype = np.dtype(dict(file.arrays)[name]).newbyteorder("=")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[int | slice, ...]) -> Any:
        spans = [
            range(length)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(key, self.shape, strict=True)
        ]
        rows, cols = (slice(span.start, span.stop) for span in spans)
        values = self.file.read(self.name, rows, cols)[:: spans[0].step, :: spans[1].step]
        return values[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)]


def _lazy(file: TileFile, name: str) -> xr.Variable:
    return xr.Variable(("y", "x"), indexing.LazilyIndexedArray(_LazyArray(file, name)))
