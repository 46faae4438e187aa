"""Calibrate and geocode Sentinel-1 GRD products as ESA distributes them (SAFE folders).

The processing steps, which make scenes comparable from pass to pass:

1. **Orbit**: state vectors of a precise (or restituted) orbit file, else those of the annotation.
2. **Thermal noise**: the range noise vectors times the azimuth noise vectors of each swath are
   subtracted from DN². Pixels of DN 0 are no data, and so is the border noise of products before
   IPF 2.90 (`deepcrop.sources.safe.border`).
3. **Calibration**: sigma0 = (DN² − noise) / sigmaNought², linear power.
4. **Geocoding**: for each pixel corner of the grid, at its height in a DEM, the zero-Doppler
   position on the orbit is found (sarsen); it gives the line, the slant range and from it the
   ground range pixel.
5. **Multi-look**: mean of the linear power over the footprint of the pixel, sampled bilinearly at
   points half an image pixel apart. Negative powers, where the noise exceeds the signal, count in
   the mean, which would be biased without them; a mean that is not positive is no data.
6. **Decibel**: 10·log10.

Image positions are (line, pixel), 0-based, with integers at pixel centres. Heights refer to the WGS
84 ellipsoid: if the geoid is left out, the scene shifts in range by about the geoid height.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.crs import CompoundCRS
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from deepcrop.cube.contract import SAR_BANDS
from deepcrop.cube.passes import number_passes
from deepcrop.errors import DeepCropError
from deepcrop.grid import Tile, assign_grid, tiles
from deepcrop.sources.archive import SceneError
from deepcrop.sources.safe.border import Border, find_border
from deepcrop.sources.safe.geometry import Geometry, choose_orbit_file, locate, read_geometry
from deepcrop.sources.safe.product import (
    Noise,
    Product,
    RangeVectors,
    find_file,
    noise_removed,
    open_product,
    read_calibration,
    read_noise,
    scene_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

BLOCK = 512
"""Side of the blocks of the grid that are processed at once, pixels: limits the memory."""

_ECEF = "EPSG:4978"


class OutsideError(SceneError):
    """A product does not reach the grid."""


def sigma0(
    safe: Path,
    polarization: str,
    box: GeoBox,
    dem: Path,
    orbit: Path | None = None,
    geoid: float | None = None,
) -> NDArray[np.float32]:
    """Compute the backscatter of a product on a grid.

    Parameters
    ----------
    safe : Path
        Folder of the product (``….SAFE``), unpacked.
    polarization : str
        For example ``"vv"``.
    box : GeoBox
        Grid of the result.
    dem : Path
        Raster of heights that covers the grid, in any reference system.
    orbit : Path, optional
        Orbit file (``….EOF``); without it the state vectors of the annotation are used.
    geoid : float, optional
        Height of the geoid above the WGS 84 ellipsoid in the area, metres, added to the heights; 0
        if these refer to the ellipsoid already. Not needed if the DEM's reference system has a
        vertical part and PROJ has the grid for it.

    Returns
    -------
    ndarray of float32 (rows, cols)
        sigma0 in dB; NaN outside the image, where DN or the DEM has no data, and where the noise
        exceeds the signal.

    Raises
    ------
    SceneError
        If the product cannot be read, lacks the polarization, or does not reach the grid; or the
        orbit file does not fit it.
    DeepCropError
        If the DEM cannot be used or does not cover the grid, or the ``safe`` extra is missing.
    """
    name = polarization.lower()
    return backscatter(open_product(safe), (name,), box, dem, orbit, geoid)[0][name]


def read_product(
    safe: Path, box: GeoBox, dem: Path, orbit: Path | None = None, geoid: float | None = None
) -> xr.Dataset:
    """Read VV and VH of a product as a radar group of the observation cube, with one time.

    Parameters, missing values and errors are those of `sigma0`.

    Returns
    -------
    Dataset
        ``vv, vh`` (time, y, x) in dB, coordinate ``relative_orbit``, and attributes that describe
        the processing: ready for `deepcrop.cube.contract.build`.
    """
    return _dataset([[open_product(safe)]], box, dem, [[orbit]], geoid)


def read_products(
    safes: Sequence[Path],
    box: GeoBox,
    dem: Path,
    orbits: Sequence[Path] = (),
    geoid: float | None = None,
) -> xr.Dataset:
    """Read VV and VH of several products as a radar group, in order of time.

    Slices of one pass (`deepcrop.cube.passes`) become one time, that of the earliest slice; where
    they overlap, the earlier slice counts.

    Parameters
    ----------
    safes : sequence of Path
        Folders of the products, in any order; each must reach the grid.
    box, dem, geoid
        As in `sigma0`.
    orbits : sequence of Path
        Orbit files under their original names, in any order; precise files are preferred to
        restituted ones. If any is given, there must be one for each product.

    Returns
    -------
    Dataset
        As from `read_product`, with a time for each pass.

    Raises
    ------
    SceneError, DeepCropError
        As from `sigma0`, and if no orbit file fits a product.
    """
    if not safes:
        raise DeepCropError("No Sentinel-1 product given; expected one or more SAFE folders.")
    products = sorted(map(open_product, safes), key=lambda product: product.start)
    numbers = number_passes(
        np.array([p.start for p in products], "datetime64[ns]"),
        [p.relative_orbit for p in products],
    )
    passes: list[list[Product]] = [[] for _ in range(numbers.max() + 1)]
    for number, product in zip(numbers, products, strict=True):
        passes[number].append(product)
    chosen = [[choose_orbit_file(product, orbits) for product in slices] for slices in passes]
    return _dataset(passes, box, dem, chosen, geoid)


def _dataset(
    passes: Sequence[Sequence[Product]],
    box: GeoBox,
    dem: Path,
    orbits: Sequence[Sequence[Path | None]],
    geoid: float | None,
) -> xr.Dataset:
    """Stack passes along time, with attributes that describe their processing."""
    arrays = {band: np.full((len(passes), *box.shape), np.nan, np.float32) for band in SAR_BANDS}
    notes: dict[str, list[str]] = {"products": [], "orbit_file": [], "noise_removal": []}
    for k, (slices, files) in enumerate(zip(passes, orbits, strict=True)):
        processing: dict[str, list[str]] = {"orbit_file": [], "noise_removal": []}
        for product, file in zip(slices, files, strict=True):
            values, steps = backscatter(product, SAR_BANDS, box, dem, file, geoid)
            for band, target in arrays.items():
                np.copyto(target[k], values[band], where=np.isnan(target[k]))
            for key, text in steps.items():
                processing[key].append(text)
        notes["products"].append(" + ".join(product.path.name for product in slices))
        for key, texts in processing.items():
            notes[key].append(" + ".join(dict.fromkeys(texts)))
    data = xr.Dataset(
        {band: (("time", "y", "x"), values) for band, values in arrays.items()},
        {
            "time": np.array([slices[0].start for slices in passes]),
            "relative_orbit": (
                "time",
                np.array([slices[0].relative_orbit for slices in passes], np.int16),
            ),
        },
        {
            "source": "Sentinel-1 GRD, SAFE products",
            "radiometry": "sigma0",
            **notes,
            "dem": Path(dem).name,
            "geoid": "by PROJ, from the DEM's reference system"
            if geoid is None
            else f"{geoid:g} m added to the DEM",
            "multilook": "mean power over the pixel's footprint",
        },
    )
    return assign_grid(data, box)


def backscatter(
    product: Product,
    polarizations: Sequence[str],
    box: GeoBox,
    dem: Path,
    orbit: Path | None = None,
    geoid: float | None = None,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Compute polarizations of an open product on a grid, dB, and describe the processing.

    Parameters, missing values and errors are those of `sigma0`; a product that does not reach the
    grid raises `OutsideError`.
    """
    for name in polarizations:
        if name not in product.polarizations:
            raise SceneError(
                f"{product.path} has no {name.upper()}; it has "
                f"{', '.join(product.polarizations).upper()}."
            )
    geometry = read_geometry(product, polarizations[0], orbit)
    out = {name: np.full(box.shape, np.nan, np.float32) for name in polarizations}
    samples = math.ceil(2 * abs(box.resolution.x) / geometry.spacing - 1e-6)
    reached = heights = False
    with ExitStack() as stack:
        terrain = stack.enter_context(_open_terrain(dem, box, geoid))
        images = {
            name: stack.enter_context(_open_image(product, name, geometry.shape)) for name in out
        }
        edge = _edge_image(product, images, geometry.shape, stack)
        for tile in tiles((box.shape[0], box.shape[1]), BLOCK):
            known, line, pixel = _image_positions(geometry, terrain, box, tile)
            heights |= known
            window = _window(line, pixel, geometry.shape)
            if window is None:
                continue
            reached = True
            border = None if edge is None else find_border(edge.power, geometry.shape, *window)
            for name, image in images.items():
                out[name][tile.core] = _decibel(
                    multilook(
                        image.power(*window, border),
                        line - window[0].start,
                        pixel - window[1].start,
                        samples,
                    )
                )
    if not heights:
        raise DeepCropError(
            f"{dem} has no heights within the grid ({_describe(box)}), only no-data values."
        )
    if not reached:
        raise OutsideError(
            f"{product.path} does not reach the grid ({_describe(box)}); leave it out."
        )
    steps = {
        "orbit_file": geometry.orbit_source,
        "noise_removal": "; ".join(dict.fromkeys(image.note for image in images.values())),
    }
    return out, steps


def windows_over(
    product: Product, polarization: str, box: GeoBox, dem: Path
) -> list[tuple[slice, slice]]:
    """Find the parts of an image, (lines, pixels), that `backscatter` reads; errors as there.

    The strips at the edges of old products, where their border noise is searched, are left out.
    """
    geometry = read_geometry(product, polarization)
    with _open_terrain(dem, box, None) as terrain:
        windows = (
            _window(*_image_positions(geometry, terrain, box, tile)[1:], geometry.shape)
            for tile in tiles((box.shape[0], box.shape[1]), BLOCK)
        )
        return [window for window in windows if window is not None]


def _image_positions(
    geometry: Geometry, terrain: _Terrain, box: GeoBox, tile: Tile
) -> tuple[bool, NDArray[np.float64], NDArray[np.float64]]:
    """Locate the corners of a tile's pixels in an image; NaN where no height is known.

    Returns
    -------
    bool, ndarray, ndarray
        Whether any height is known; lines; pixels.
    """
    ecef, known = terrain.corners(box, *tile.core)
    line, pixel = (np.where(known, position, np.nan) for position in locate(geometry, ecef))
    return bool(known.any()), line, pixel


def _describe(box: GeoBox) -> str:
    return f"{box.shape[0]} x {box.shape[1]} at {tuple(box.boundingbox.bbox)}, {box.crs}"


@dataclass(frozen=True)
class _Terrain:
    """An open DEM, and the conversion from grid and height to earth-fixed coordinates."""

    source: rasterio.DatasetReader
    crs: CRS
    to_ecef: Transformer
    geoid: float

    def corners(
        self, box: GeoBox, rows: slice, cols: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Compute the earth-fixed corners of pixels of the grid, and whether their height is known.

        The coordinates are (3, rows + 1, cols + 1). Where no height is known, it is taken as 0.
        """
        width, height = box.affine.a, box.affine.e
        x = box.affine.c + width * np.arange(cols.start, cols.stop + 1)
        y = box.affine.f + height * np.arange(rows.start, rows.stop + 1)
        elevation = np.full((y.size, x.size), np.nan)
        with _reading_dem(Path(self.source.name)):
            reproject(
                rasterio.band(self.source, 1),
                elevation,
                src_crs=self.crs.to_wkt(),
                # The corners are the pixel centres of a grid shifted half a pixel up and left.
                dst_transform=Affine(width, 0, x[0] - width / 2, 0, height, y[0] - height / 2),
                dst_crs=str(box.crs),
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
            )
        known = np.isfinite(elevation)
        above = np.where(known, elevation + self.geoid, 0.0)
        ecef = self.to_ecef.transform(*np.meshgrid(x, y), above, errcheck=True)
        return np.stack(ecef), known


@contextmanager
def _open_terrain(dem: Path, box: GeoBox, geoid: float | None) -> Iterator[_Terrain]:
    with ExitStack() as stack:
        with _reading_dem(dem):
            source = stack.enter_context(rasterio.open(dem))
        if source.crs is None:
            raise DeepCropError(f"{dem} has no reference system; expected a georeferenced DEM.")
        crs = CRS.from_user_input(source.crs)
        parts = crs.sub_crs_list if crs.is_compound else [crs]
        ground = CRS.from_user_input(str(box.crs))
        if geoid is not None:
            system = ground.to_3d()
        elif len(parts) == 2:
            system = CompoundCRS("grid, with the heights of the DEM", [ground, parts[1]])
        else:
            raise DeepCropError(
                f"{dem} does not state what its heights refer to. Give 'geoid': metres of the "
                "geoid above the WGS 84 ellipsoid in the area, or 0 if the heights are above the "
                "ellipsoid already."
            )
        try:
            # Without these two options, PROJ silently ignores the geoid if its grid is missing.
            to_ecef = Transformer.from_crs(
                system, _ECEF, always_xy=True, only_best=True, allow_ballpark=False
            )
        except ProjError as error:
            raise DeepCropError(
                f"{dem}: PROJ cannot convert its heights ({parts[-1].name}) to heights above the "
                f"ellipsoid: {error} Fetch the grid ('projsync --file NAME') or give 'geoid', "
                "metres of the geoid above the WGS 84 ellipsoid in the area."
            ) from error
        _check_cover(dem, source, parts[0], box)
        yield _Terrain(source, parts[0], to_ecef, 0.0 if geoid is None else geoid)


@contextmanager
def _reading_dem(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RasterioError) as error:
        raise DeepCropError(
            f"{path} cannot be read as a DEM ({error}); expected a raster of heights."
        ) from error


def _check_cover(dem: Path, source: rasterio.DatasetReader, crs: CRS, box: GeoBox) -> None:
    """Reject a DEM that does not contain the whole outline of the grid."""
    west, south, east, north = box.boundingbox.bbox
    across, down = np.linspace(west, east, 21), np.linspace(south, north, 21)
    outline_x = np.concatenate([across, across, np.full(21, west), np.full(21, east)])
    outline_y = np.concatenate([np.full(21, south), np.full(21, north), down, down])
    x, y = Transformer.from_crs(str(box.crs), crs, always_xy=True).transform(outline_x, outline_y)
    left, bottom, right, top = source.bounds
    if not ((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).all():
        raise DeepCropError(
            f"{dem} does not cover the grid: it reaches over x {left:g} to {right:g}, y {bottom:g} "
            f"to {top:g}; the grid needs x {x.min():g} to {x.max():g}, y {y.min():g} to "
            f"{y.max():g} ({crs.name})."
        )


def _window(
    line: NDArray[np.float64], pixel: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Find the part of the image with the positions and their neighbours; None if empty."""
    if not np.isfinite(line).any():
        return None
    window = []
    for position, length in zip((line, pixel), shape, strict=True):
        start = max(math.floor(np.nanmin(position)), 0)
        stop = min(math.floor(np.nanmax(position)) + 2, length)
        if start >= stop:
            return None
        window.append(slice(start, stop))
    return window[0], window[1]


@dataclass(frozen=True)
class _Image:
    """An open measurement, and the tables that calibrate it."""

    read: Callable[[slice, slice], NDArray[np.uint16]]
    calibration: RangeVectors
    noise: Noise | None
    note: str

    def power(self, rows: slice, cols: slice, border: Border | None = None) -> NDArray[np.float64]:
        """Read the calibrated power of a window, linear, noise removed.

        NaN where DN is 0, and in the border.
        """
        number = self.read(rows, cols).astype(np.float64)
        lines, pixels = np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop)
        power: NDArray[np.float64] = number**2
        if self.noise is not None:
            power -= self.noise.at(lines, pixels)
        power /= self.calibration.at(lines, pixels) ** 2
        power[number == 0] = np.nan
        if border is not None:
            power[border.outside(lines, pixels)] = np.nan
        return power


def _edge_image(
    product: Product, images: Mapping[str, _Image], shape: tuple[int, int], stack: ExitStack
) -> _Image | None:
    """Choose the image that shows the border noise: VV if there is; None if there is no noise."""
    image = images.get("vv") or next(iter(images.values()))
    if "vv" in product.polarizations and "vv" not in images:
        image = stack.enter_context(_open_image(product, "vv", shape))
    # Since IPF 2.90, when azimuth noise came too, the processor sets the border to 0.
    return None if image.noise is None or image.noise.along_azimuth else image


@contextmanager
def _open_image(product: Product, polarization: str, shape: tuple[int, int]) -> Iterator[_Image]:
    removed = noise_removed(product, polarization)
    noise = None if removed else read_noise(product, polarization)
    if noise is None:
        note = "by the processor of the product"
    elif noise.along_azimuth:
        note = "range and azimuth noise vectors; border: DN 0 masked"
    else:
        note = "range noise vectors (IPF before 2.90); border: DN 0 and border noise masked"
    calibration = read_calibration(product, polarization)
    if product.windows is not None:
        read_window = product.windows[polarization]
        yield _Image(lambda rows, cols: read_window(rows, cols, shape), calibration, noise, note)
        return
    measurement = find_file(product, "measurement/*.tif*", polarization)
    with ExitStack() as stack:
        with scene_errors(measurement):
            source = stack.enter_context(rasterio.open(measurement, driver="GTiff"))
        if source.shape != shape:
            raise SceneError(
                f"{measurement} has {source.height} x {source.width} pixels; its annotation says "
                f"{shape[0]} x {shape[1]}. Get the product again."
            )

        def read(rows: slice, cols: slice) -> NDArray[np.uint16]:
            with scene_errors(measurement):
                pixels: NDArray[np.uint16] = source.read(1, window=Window.from_slices(rows, cols))
                return pixels

        yield _Image(read, calibration, noise, note)


def multilook(
    power: NDArray[np.float64],
    line: NDArray[np.float64],
    pixel: NDArray[np.float64],
    samples: int,
) -> NDArray[np.float64]:
    """Average an image over the footprints of the pixels of a grid.

    Parameters
    ----------
    power : ndarray (lines, pixels)
        The image, linear; NaN where there is no data.
    line, pixel : ndarray (rows + 1, cols + 1)
        Positions of the corners of the grid's pixels in the image; NaN where unknown.
    samples : int
        Points per side of a footprint at which the image is interpolated bilinearly.

    Returns
    -------
    ndarray (rows, cols)
        Mean of the points with data; NaN where fewer than half of them have data.
    """
    shape = (line.shape[0] - 1, line.shape[1] - 1)
    total, count = np.zeros(shape), np.zeros(shape, np.intp)
    steps = (np.arange(samples) + 0.5) / samples
    for down in steps:
        for right in steps:
            values = _bilinear(
                power, _interpolate_cells(line, down, right), _interpolate_cells(pixel, down, right)
            )
            known = np.isfinite(values)
            total[known] += values[known]
            count += known
    out = np.full(shape, np.nan)
    np.divide(total, count, out=out, where=2 * count >= samples**2)
    return out


def _interpolate_cells(
    corners: NDArray[np.float64], down: float, right: float
) -> NDArray[np.float64]:
    """Interpolate bilinearly within every cell, from the values at its four corners."""
    left_side = (1 - down) * corners[:-1, :-1] + down * corners[1:, :-1]
    right_side = (1 - down) * corners[:-1, 1:] + down * corners[1:, 1:]
    return (1 - right) * left_side + right * right_side


def _bilinear(
    image: NDArray[np.float64], line: NDArray[np.float64], pixel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate an image at positions; NaN more than half a pixel outside its outer centres."""
    lines, pixels = image.shape
    inside = (line >= -0.5) & (line < lines - 0.5) & (pixel >= -0.5) & (pixel < pixels - 0.5)
    line, pixel = line[inside].clip(0, lines - 1), pixel[inside].clip(0, pixels - 1)
    i, j = line.astype(np.intp), pixel.astype(np.intp)
    below, beside = np.minimum(i + 1, lines - 1), np.minimum(j + 1, pixels - 1)
    down, right = line - i, pixel - j
    values = np.full(inside.shape, np.nan)
    values[inside] = (1 - down) * ((1 - right) * image[i, j] + right * image[i, beside]) + down * (
        (1 - right) * image[below, j] + right * image[below, beside]
    )
    return values


def _decibel(power: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full(power.shape, np.nan)
    np.log10(power, out=out, where=power > 0)
    return 10 * out
