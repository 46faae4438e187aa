"""Which pixels are mapped (mask, parcels), and which fields get dates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
import xarray as xr
import zarr
from numpy.typing import NDArray

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.contract import grid_of
from deepcrop.errors import DeepCropError
from deepcrop.mapping import parcels
from deepcrop.mapping.work_store import _FIELDS, WANTED, _open
from deepcrop.products.cog import crs_name, windows
from deepcrop.products.fields import field_shapes, field_table, write_fields
from deepcrop.products.write import MapInfo
from deepcrop.storage.files import _fingerprint


class Land:
    """Where to map, and the fields to give dates for.

    Parameters
    ----------
    cube : DataTree
    cube_path : Path
        Where it lies, for messages.
    mask, parcels_path, fields
        As of `map_region`.

    Raises
    ------
    DeepCropError
        If the mask is missing, the parcels cannot be read, or the cube has no fields.
    """

    def __init__(
        self,
        cube: xr.DataTree,
        cube_path: Path,
        mask: str | Path | None,
        parcels_path: str | Path | None,
        fields: bool,
    ) -> None:
        self.box = grid_of(cube)
        self.mask = None if mask is None else Path(mask)
        self.file = None if parcels_path is None else Path(parcels_path)
        self.parcels = None if self.file is None else parcels.read_parcels(self.file, self.box)
        if fields and self.file is not None:
            raise DeepCropError("Give either parcels or fields: parcels are given dates as well.")
        landcover = cube["landcover"].to_dataset() if "landcover" in cube.children else {}
        if fields:
            parcels.check_installed()
            if "field_id" not in landcover:
                raise DeepCropError(f"{cube_path} has no 'field_id'; give fields with --parcels.")
        self.own = landcover["field_id"] if fields else None
        if self.mask is not None and not self.mask.exists():
            raise DeepCropError(f"Mask {self.mask} does not exist.")

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on, in JSON types."""
        named = {"mask": self.mask, "parcels": self.file}
        told: dict[str, Any] = {
            name: {"file": path.name, "made": _fingerprint(path)}
            for name, path in named.items()
            if path is not None
        }
        return told | ({"fields": "field_id of the cube"} if self.own is not None else {})

    @property
    def limited(self) -> bool:
        """Whether not all pixels are wanted."""
        return self.mask is not None or self.parcels is not None

    def lay_out(self, work: Path) -> None:
        """Put the pixels that are wanted, and the numbers of their fields, into the work store."""
        numbered = self.parcels is not None or self.own is not None
        if not self.limited and not numbered:
            return
        fields = self._array(work, _FIELDS, np.dtype(np.uint32)) if numbered else None
        wanted = self._array(work, WANTED, np.dtype(np.uint8)) if self.limited else None
        for window, numbers, there in self._windows():
            if wanted is not None:
                wanted[window] = there
            if fields is not None:
                fields[window] = np.where(there, numbers, 0)

    def count(self) -> tuple[int, int]:
        """Pixels that are wanted, and tiles with any."""
        rows, cols = self.box.shape
        side = contract.CHUNK
        if not self.limited:
            return rows * cols, -(-rows // side) * -(-cols // side)
        pixels = tiles = 0
        for _, _, there in self._windows():
            down, across = (np.arange(0, length, side) for length in there.shape)
            each = np.add.reduceat(np.add.reduceat(there, down, axis=0, dtype=int), across, axis=1)
            pixels, tiles = pixels + int(each.sum()), tiles + int((each > 0).sum())
        return pixels, tiles

    def _windows(
        self,
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[np.uint32], NDArray[np.bool_]]]:
        """Give each window of the grid with the numbers of fields (0: none) and the pixels wanted.

        Raises
        ------
        DeepCropError
            If the mask cannot be read; at the end, if no pixel was wanted.
        """
        masks = None if self.mask is None else parcels.read_mask(self.mask, self.box)
        some = False
        for rows, cols in windows(self.box):
            shape = rows.stop - rows.start, cols.stop - cols.start
            numbers, there = np.zeros(shape, np.uint32), np.ones(shape, bool)
            if self.parcels is not None:
                numbers = self.parcels.numbers(self.box, rows, cols)
                there = numbers > 0
            elif self.own is not None:
                numbers = self.own[rows, cols].values
            if masks is not None:
                there &= next(masks)[1]
            some |= bool(there.any())
            yield (rows, cols), numbers, there
        if not some:
            raise self._nothing()

    def _nothing(self) -> DeepCropError:
        crs, within = crs_name(self.box), []
        if self.mask is not None:
            with rasterio.open(self.mask) as raster:
                words = f"{tuple(raster.bounds)} in {raster.crs}"
            within.append(f"mask {self.mask} ({words}) has data that is not 0")
        if self.parcels is not None:
            bounds = tuple(shapely.total_bounds(self.parcels.shapes).tolist())
            within.append(f"a parcel of {self.file} ({bounds} in {crs}) holds its centre")
        return DeepCropError(
            f"The map ({tuple(self.box.boundingbox.bbox)} in {crs}) has no pixel where "
            f"{' and '.join(within)}; nothing would be mapped."
        )

    def _array(self, work: Path, name: str, dtype: np.dtype) -> zarr.Array:
        form = xr.Dataset({name: (("y", "x"), np.broadcast_to(dtype.type(0), self.box.shape))})
        cube_io.create_group(work, name, grid.assign_grid(form, self.box))
        return zarr.open_array(work / name / name, mode="r+")

    def write(
        self,
        work: Path,
        out: Path,
        maps: dict[str, xr.Dataset],
        info: MapInfo,
        crops: xr.DataArray | None,
    ) -> None:
        """Write what the map says of each field."""
        if self.parcels is None and self.own is None:
            return
        every = None if self.parcels is None else np.arange(1, len(self.parcels.shapes) + 1)
        with _open(work, _FIELDS) as group:
            table = field_table(maps, group[_FIELDS], info.year, crops, every)
        if self.parcels is not None:
            shapes = self.parcels.shapes
            table |= {f"parcel_{name}": values for name, values in self.parcels.columns.items()}
        elif self.own is not None:
            shapes = field_shapes(self.own, table["field"])
        about = f"{info.title}: crop season dates {info.year}"
        write_fields(out, table, shapes, self.box, about, info.simulated)
