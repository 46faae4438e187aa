"""Read the bands of a group tile by tile: resampled, in the units of the cube, masked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop.errors import SpecError
from deepcrop.grid import assign_grid
from deepcrop.grid.resampling import method_for, place
from deepcrop.indices import to_db, to_power
from deepcrop.ingest.bits import holds_any
from deepcrop.ingest.raw_files import NO_TIME, Source
from deepcrop.ingest.spec import BitTest, Mask, OpticalMask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.ingest.radiometry import ToSigma0

BATCH_PIXELS = 2**22
"""Number of pixels that are read from one file at once."""


@dataclass(frozen=True)
class Band:
    """A variable of the cube, its source files, and the conversion of their numbers."""

    sources: list[Source]
    kind: str  # reflectance, dB, power or class
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    bits: tuple[BitTest, ...] = ()  # of a class: it is 1 where one of the tests holds, else 0
    winning: tuple[int, ...] = ()  # classes that count before all others where files overlap
    outside: tuple[int, ...] = ()  # classes that count only where no other file has a class

    def read(self, times: NDArray[np.datetime64], tile: GeoBox) -> NDArray[np.float32]:
        """Read values in the cube's unit, (time, y, x), NaN where there is no data.

        If several files hold the same time, the first with data counts, pixel by pixel; of classes
        `winning` and `outside` say more.
        """
        result = np.full((times.size, tile.shape[0] * tile.shape[1]), np.nan, np.float32)
        for source in self.sources:
            method = "nearest" if self.kind == "class" else method_for(source.box, tile)
            placement = place(source.box, tile, method)
            if placement is None:
                continue
            rows, cols = placement.rows, placement.cols
            goes_to = np.searchsorted(times, source.times)
            goes_to[~np.isin(source.times, times)] = -1
            size = max((rows.stop - rows.start) * (cols.stop - cols.start), result.shape[1])
            step = max(BATCH_PIXELS // size, 1)
            for start in range(0, goes_to.size, step):
                targets = goes_to[start : start + step]
                if (targets < 0).all():
                    continue
                stored = source.read(slice(start, start + targets.size), rows, cols)
                values = self._values(stored)
                if self.bits:
                    values = np.where(np.isnan(values), values, holds_any(stored, self.bits))
                # Decibels are averaged as linear power, which is proportional to energy.
                if self.kind == "dB" and method != "nearest":
                    values = to_db(placement.apply(to_power(values)))
                else:
                    values = placement.apply(values)
                    values = to_db(values) if self.kind == "power" else values
                for target, new in zip(targets, values, strict=True):
                    if target >= 0:
                        held = result[target]
                        wins = np.isnan(held) | np.isin(new, self.winning)
                        if self.outside:
                            wins |= np.isin(held, self.outside) & ~np.isnan(new)
                        np.copyto(held, new, where=wins)
        return result.reshape(times.size, *tile.shape)

    def _values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Convert stored numbers to the unit that the specification states."""
        values = stored.astype(np.float32)
        if self.kind != "class":
            values = values * np.float32(self.scale) + np.float32(self.offset)
        missing = ~np.isfinite(values)
        if self.nodata is not None:
            # A no-data value such as -3.4e38 must be rounded like the numbers of the file.
            exact = stored.dtype.type(self.nodata) if stored.dtype.kind == "f" else self.nodata
            missing |= stored == exact
        return np.where(missing, np.float32(np.nan), values)


@dataclass(frozen=True)
class Group:
    """A group of the cube, ready to read.

    Attributes
    ----------
    name : str
        ``"optical"``, ``"sar"`` or ``"landcover"``.
    times : array of datetime64
        Times of its scenes, sorted; `NO_TIME` for ``landcover``.
    bands : dict
        Variable of the cube -> `Band`.
    attrs : dict
        Attributes of the group.
    masks : list
        Class rasters, and which classes to keep or drop.
    orbits : array of int, optional
        Relative orbit of each time.
    classes : dict
        Code -> name of each crop.
    to_sigma0 : ToSigma0, optional
        Of radar in gamma0.
    """

    name: str
    times: NDArray[np.datetime64]
    bands: dict[str, Band]
    attrs: dict[str, str]
    masks: list[tuple[Band, Mask]] = field(default_factory=list)
    orbits: NDArray[np.int16] | None = None
    classes: dict[int, str] = field(default_factory=dict)
    to_sigma0: ToSigma0 | None = None

    def coords(self, box: GeoBox) -> xr.Dataset:
        """Make a dataset with coordinates and attributes only."""
        data = xr.Dataset(attrs=self.attrs)
        if self.name != "landcover":
            data = data.assign_coords(time=self.times)
        if self.orbits is not None:
            data = data.assign_coords(relative_orbit=("time", self.orbits))
        return assign_grid(data, box)

    def read(self, tile: GeoBox) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the variables of a tile one by one: (time, y, x); crop types (y, x)."""
        if self.name == "landcover":
            yield "crop_type", self._crop_types(tile)
            return
        clear = np.ones((self.times.size, *tile.shape), bool)
        for band, mask in self.masks:
            classes = band.read(self.times, tile)
            if mask.keep is not None:
                clear &= np.isin(classes, mask.keep)
            drop = [1] if mask.drop_bits is not None else mask.drop
            if drop is not None:
                clear &= ~np.isin(classes, drop) & ~np.isnan(classes)
            if isinstance(mask, OpticalMask) and mask.store_as is not None:
                yield mask.store_as, np.nan_to_num(classes, nan=0).astype(np.uint8)
        added = None if self.to_sigma0 is None else self.to_sigma0.decibels(tile)
        for name, band in self.bands.items():
            values = band.read(self.times, tile)
            values = values if added is None else values + added
            yield name, np.where(clear, values, np.float32(np.nan))

    def _crop_types(self, tile: GeoBox) -> NDArray[np.uint16]:
        codes: NDArray[np.float32] = np.nan_to_num(
            self.bands["crop_type"].read(NO_TIME, tile)[0], nan=0
        )
        unnamed = np.setdiff1d(codes, [0, *self.classes])
        if unnamed.size:
            raise SpecError(
                f"landcover.classes: the files hold codes without a name: "
                f"{', '.join(f'{code:g}' for code in unnamed)}; add a line for each, as "
                f"'{unnamed[0]:g}: class_{unnamed[0]:g}', or name the one that means no data in "
                "landcover.nodata."
            )
        return codes.astype(np.uint16)
