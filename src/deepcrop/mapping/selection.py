"""Which pixels are mapped (mask, parcels), and which fields get dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.errors import DeepCropError
from deepcrop.mapping import parcels
from deepcrop.mapping.masks import files_of, read_mask
from deepcrop.mapping.work_store import SELECTED
from deepcrop.products.cog import crs_name, windows
from deepcrop.products.fields import FieldPixels, field_shapes, field_table, write_fields
from deepcrop.storage.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from deepcrop.mapping.inputs import InputCube
    from deepcrop.mapping.options import MapOptions
    from deepcrop.mapping.work_store import Core
    from deepcrop.products.write import MapInfo


class PixelSelection:
    """The pixels to map, by mask and parcels, and the fields that get dates.

    Parameters
    ----------
    cube : InputCube
    options : MapOptions
        Its ``mask``, ``parcels`` and ``fields``.

    Raises
    ------
    DeepCropError
        If the mask is missing, the parcels cannot be read, or the cube has no fields.
    """

    def __init__(self, cube: InputCube, options: MapOptions) -> None:
        self.box = cube.box
        self.mask = options.mask
        self.parcels_file, self.layer = options.parcels, options.layer
        self.parcels = None
        if options.parcels is not None:
            self.parcels = parcels.read_parcels(options.parcels, cube.box, options.layer)
        self.field_ids = None
        if options.fields:
            parcels.check_installed()
            children = cube.data.children
            landcover = cube.data["landcover"].to_dataset() if "landcover" in children else {}
            if "field_id" not in landcover:
                raise DeepCropError(f"{cube.path} has no 'field_id'; give polygons as parcels.")
            self.field_ids = landcover["field_id"]
        if self.mask is not None and not self.mask.exists():
            raise DeepCropError(f"Mask {self.mask} does not exist.")

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on, in JSON types."""
        settings: dict[str, Any] = {}
        if self.mask is not None:
            made = " ".join(fingerprint(path) for path in files_of(self.mask))
            settings["mask"] = {"file": self.mask.name, "made": made}
        if self.parcels_file is not None:
            made = fingerprint(self.parcels_file)
            settings["parcels"] = {"file": self.parcels_file.name, "made": made}
        if self.layer is not None:
            settings["parcels"]["layer"] = self.layer
        if self.field_ids is not None:
            settings["fields"] = "field_id of the cube"
        return settings

    @property
    def limited(self) -> bool:
        """Whether mask or parcels leave pixels out."""
        return self.mask is not None or self.parcels is not None

    def tiles(self) -> Iterator[tuple[Core, dict[str, NDArray[np.uint8]]]]:
        """Yield the selected pixels of each tile, as the work store takes them."""
        for window, there in self._windows():
            for tile in grid.tiles(there.shape, contract.CHUNK):
                rows, cols = (
                    slice(part.start + whole.start, part.stop + whole.start)
                    for part, whole in zip(tile.core, window, strict=True)
                )
                yield (rows, cols), {SELECTED: there[tile.core].astype(np.uint8)}

    def count(self) -> tuple[int, int]:
        """Count the selected pixels, and the tiles that hold any."""
        rows, cols = self.box.shape
        side = contract.CHUNK
        if not self.limited:
            return rows * cols, -(-rows // side) * -(-cols // side)
        pixels = tiles = 0
        for _, there in self._windows():
            down, across = (np.arange(0, length, side) for length in there.shape)
            each = np.add.reduceat(np.add.reduceat(there, down, axis=0, dtype=int), across, axis=1)
            pixels, tiles = pixels + int(each.sum()), tiles + int((each > 0).sum())
        return pixels, tiles

    def _windows(self) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
        """Yield each window of the grid with its selected pixels.

        Raises
        ------
        DeepCropError
            If the mask cannot be read; at the end, if no pixel is selected.
        """
        masks = None if self.mask is None else read_mask(self.mask, self.box)
        some = False
        for rows, cols in windows(self.box):
            there = np.ones((rows.stop - rows.start, cols.stop - cols.start), bool)
            if self.parcels is not None:
                there = self.parcels.inside(self.box, rows, cols)
            if masks is not None:
                there &= next(masks)[1]
            some |= bool(there.any())
            yield (rows, cols), there
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
            within.append(f"a parcel of {self.parcels_file} ({bounds} in {crs}) holds its centre")
        return DeepCropError(
            f"The map ({tuple(self.box.boundingbox.bbox)} in {crs}) has no pixel where "
            f"{' and '.join(within)}; nothing would be mapped."
        )

    def _pixels_of_fields(self, selected: xr.DataArray | None) -> FieldPixels:
        """Make the function that lists the selected pixels of the fields of a window."""

        def pixels(rows: slice, cols: slice) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
            if self.parcels is not None:
                places, numbers = self.parcels.pixels(self.box, rows, cols)
            else:
                assert self.field_ids is not None  # the caller has fields of either kind
                every = self.field_ids[rows, cols].values.ravel()
                places = np.flatnonzero(every)
                numbers = every[places].astype(np.int64)
            if selected is not None:
                there = selected[rows, cols].values.ravel()[places] > 0
                places, numbers = places[there], numbers[there]
            return places, numbers

        return pixels

    def write_fields(
        self,
        selected: xr.DataArray | None,
        out: Path,
        maps: dict[str, xr.Dataset],
        info: MapInfo,
        crops: xr.DataArray | None,
    ) -> None:
        """Write the dates of each field, where fields or parcels were asked for."""
        if self.parcels is None and self.field_ids is None:
            return
        every = None if self.parcels is None else np.arange(1, len(self.parcels.shapes) + 1)
        pixels = self._pixels_of_fields(selected)
        table = field_table(maps, pixels, self.box, info.year, crops, every, info.content)
        attributes = {}
        if self.parcels is not None:
            shapes = self.parcels.shapes
            attributes = {f"parcel_{name}": v for name, v in self.parcels.columns.items()}
        elif self.field_ids is not None:
            shapes = field_shapes(self.field_ids, table["field"])
        about = f"{info.title}: crop season dates {info.target}"
        write_fields(out, table, shapes, self.box, about, info.simulated, attributes)
