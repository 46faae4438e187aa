"""Read the bands of a group tile by tile: resampled, in the units of the cube, masked.

What is no data is decided before resampling (`deepcrop.ingest.numbers`). The looks of one pass
become one time: each pixel is taken from the first look that has data there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop.cube.possible import percent, too_many
from deepcrop.errors import DeepCropError, SpecError
from deepcrop.grid import assign_grid
from deepcrop.grid.buffers import grow, widen
from deepcrop.grid.resampling import method_for, place
from deepcrop.indices import to_db, to_power
from deepcrop.ingest.bits import holds_any
from deepcrop.ingest.numbers import Census, Conversion
from deepcrop.ingest.raw_files import NO_TIME, Source
from deepcrop.ingest.spec import BitTest, Mask, OpticalMask
from deepcrop.ingest.stated import check_nodata

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
    conversion: Conversion
    bits: tuple[BitTest, ...] = ()  # of a class: it is 1 where one of the tests holds, else 0
    winning: tuple[int, ...] = ()  # classes that count before all others where files overlap
    outside: tuple[int, ...] = ()  # classes that count only where no other file has a class
    dropped: Counter[str] = field(default_factory=Counter, compare=False)
    """Number of impossible values that became no data, and of all values."""

    def read(self, times: NDArray[np.datetime64], tile: GeoBox) -> NDArray[np.float32]:
        """Read values in the cube's unit, (time, y, x), NaN where there is no data.

        If several files hold the same time, the first with data counts, pixel by pixel; of classes
        `winning` and `outside` say more.

        Raises
        ------
        SpecError
            If a file cannot be read, or too many values are impossible.
        """
        kind, census = self.conversion.kind, Census()
        result = np.full((times.size, tile.shape[0] * tile.shape[1]), np.nan, np.float32)
        for source in self.sources:
            method = "nearest" if kind == "class" else method_for(source.box, tile)
            try:
                placement = place(source.box, tile, method)
            except DeepCropError as error:
                raise SpecError(f"{source.key}: {source.path}: {error}") from None
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
                layers = slice(start, start + targets.size)
                stored, wanted = source.read(layers, rows, cols), targets >= 0
                stored, targets = stored[wanted], targets[wanted]
                check_nodata(source.stated, stored, self.conversion, source.path, source.key)
                values = self.conversion.convert(stored, source.times[layers][wanted], census)
                if self.bits:
                    known = np.where(np.isnan(values), stored.dtype.type(0), stored)
                    flagged = holds_any(known, self.bits, source.path)
                    values = np.where(np.isnan(values), values, flagged)
                # Decibels are averaged as linear power, which is proportional to energy.
                if kind == "dB" and method != "nearest":
                    values = to_db(placement.apply(to_power(values)))
                else:
                    values = placement.apply(values)
                    values = to_db(values) if kind == "power" else values
                for target, new in zip(targets, values, strict=True):
                    held = result[target]
                    wins = np.isnan(held) | np.isin(new, self.winning)
                    if self.outside:
                        wins |= np.isin(held, self.outside) & ~np.isnan(new)
                    np.copyto(held, new, where=wins)
        census.check(self.conversion)
        self.dropped.update(impossible=census.impossible, valid=census.valid)
        return result.reshape(times.size, *tile.shape)


@dataclass(frozen=True)
class Group:
    """A group of the cube, ready to read.

    Attributes
    ----------
    name : str
        ``"optical"``, ``"sar"`` or ``"landcover"``.
    looks : array of datetime64
        Times of its files, sorted; `NO_TIME` for ``landcover``.
    passes : array of int
        Number of the pass of each look (`deepcrop.cube.passes`); a pass is one time of the cube.
    bands : dict
        Variable of the cube -> `Band`.
    attrs : dict
        Attributes of the group.
    masks : list
        Class rasters, and which classes to keep or drop.
    orbits : array of int, optional
        Relative orbit of each look.
    classes : dict
        Code -> name of each crop.
    to_sigma0 : ToSigma0, optional
        Of radar in gamma0.
    """

    name: str
    looks: NDArray[np.datetime64]
    passes: NDArray[np.int64]
    bands: dict[str, Band]
    attrs: dict[str, str]
    masks: list[tuple[Band, Mask]] = field(default_factory=list)
    orbits: NDArray[np.int16] | None = None
    classes: dict[int, str] = field(default_factory=dict)
    to_sigma0: ToSigma0 | None = None

    @property
    def _first(self) -> NDArray[np.intp]:
        """Position of the first look of each pass."""
        return np.unique(self.passes, return_index=True)[1]

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Times of the cube: the first look of each pass."""
        return self.looks[self._first]

    def coords(self, box: GeoBox) -> xr.Dataset:
        """Make a dataset with coordinates and attributes only."""
        data = xr.Dataset(attrs=self.attrs)
        if self.name != "landcover":
            data = data.assign_coords(time=self.times)
        if self.orbits is not None:
            data = data.assign_coords(relative_orbit=("time", self.orbits[self._first]))
        return assign_grid(data, box)

    def read(self, tile: GeoBox) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the variables of a tile one by one: (time, y, x); crop types (y, x)."""
        if self.name == "landcover":
            yield "crop_type", self._crop_types(tile)
            return
        clear = np.ones((self.looks.size, *tile.shape), bool)
        for band, mask in self.masks:
            wide, inner = widen(tile, mask.buffer)
            classes = band.read(self.looks, wide)
            if mask.keep is not None:
                clear &= np.isin(classes, mask.keep)
            drop = [1] if mask.drop_bits is not None else mask.drop
            if drop is not None:
                dropped = np.isin(classes, drop)
                if mask.buffer:
                    radius = mask.buffer / float(tile.resolution.x)
                    dropped = np.stack([grow(look, radius) for look in dropped])
                clear &= ~dropped[:, *inner] & ~np.isnan(classes[:, *inner])
            classes = classes[:, *inner]
            if isinstance(mask, OpticalMask) and mask.store_as is not None:
                # The class of a clear look, if there is one: its reflectance is taken too.
                best = self._merge(np.where(clear, classes, np.float32(np.nan)))
                other = self._merge(np.where(classes > 0, classes, np.float32(np.nan)))
                best = np.where(np.isnan(best), other, best)
                yield mask.store_as, np.nan_to_num(best, nan=0).astype(np.uint8)
        added = None if self.to_sigma0 is None else self.to_sigma0.decibels(tile)
        zero = clear.copy()
        for name, band in self.bands.items():
            values = band.read(self.looks, tile)
            offset = band.conversion.offset_at(self.looks)[:, None, None]
            # Resampled, it is not exact.
            zero &= np.abs(values - offset) < min(1e-5, band.conversion.scale / 10)
            values = values if added is None else values + added
            yield name, self._merge(np.where(clear, values, np.float32(np.nan)))
        self._check_zero(int(zero.sum()), int(clear.sum()))

    def _merge(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Merge the looks of each pass: each pixel from the first look with data."""
        first = self._first
        if first.size == self.looks.size:
            return values
        result = values[first]
        for look, number in enumerate(self.passes):
            if look != first[number]:
                np.copyto(result[number], values[look], where=np.isnan(result[number]))
        return result

    def _check_zero(self, zero: int, clear: int) -> None:
        """Reject pixels of which every band holds 0: no ground does, it is a fill value."""
        if not too_many(zero, clear):
            return
        declared = next(iter(self.bands.values())).conversion.nodata
        numbers = ", ".join(f"{n:g}" for n in (*declared, 0) if np.isfinite(n))
        raise SpecError(
            f"{self.name}.nodata: {percent(zero / clear)} of the pixels of a tile hold 0 in every "
            "band, which no ground does: this looks like a fill value. If so, write nodata: "
            f"{numbers if len(numbers) == 1 else f'[{numbers}]'}."
        )

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
