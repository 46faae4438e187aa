"""Sentinel-1 GRD products as ESA ships them (SAFE folders), calibrated and geocoded here.

The chain of a scene, after which it can be compared from pass to pass:

1. **Orbit**: state vectors of a precise (or restituted) orbit file, else those of the annotation.
2. **Thermal noise**: the range noise vectors times the azimuth noise vectors of each swath are
   taken from DN². Pixels of DN 0 are no data.
3. **Calibration**: sigma0 = (DN² − noise) / sigmaNought², linear power.
4. **Geocoding**: each pixel corner of the grid, at its height in a DEM, is sought on the orbit
   (sarsen: zero Doppler), which gives the line, the slant range and so the ground range pixel.
5. **Multi-look**: mean of the linear power over the footprint of the pixel, sampled bilinearly at
   points half an image pixel apart. Powers below zero, where the noise exceeds the signal, count in
   the mean, which is unbiased only with them; a mean that is not positive is no data.
6. **Decibel**: 10·log10.

Image positions are (line, pixel), 0-based, with integers at pixel centres. Heights must be above
the WGS 84 ellipsoid in the end: a geoid left out shifts the scene by about its height in range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.crs import CompoundCRS
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from deepcrop.errors import DeepCropError
from deepcrop.grid import assign_grid, tiles
from deepcrop.observations import SAR_BANDS
from deepcrop.sources.scenes import SceneError

if TYPE_CHECKING:
    from sarsen.orbit import OrbitPolyfitInterpolator

BLOCK = 512
"""Side of the squares of the grid that are worked on at once, pixels: bounds the memory."""

PASS_GAP = np.timedelta64(60, "s")
"""Slices of one relative orbit that follow each other faster than this are one pass."""

_EDGE = np.timedelta64(60, "s")  # of the orbit, before and after the image
_SPEED_OF_LIGHT = 299_792_458.0
_ECEF = "EPSG:4978"
_ORBIT_FILE = re.compile(r"(S1[A-D])_OPER_AUX_(POE|RES)ORB_\w+_V(\d{8}T\d{6})_(\d{8}T\d{6})")


@dataclass(frozen=True)
class Product:
    """What the manifest of a product says.

    Attributes
    ----------
    path : Path
        The SAFE folder.
    mission : str
        For example ``S1B``.
    start, stop : datetime64[ns]
        Times of the first and last line, UTC.
    relative_orbit : int
        At the start.
    polarizations : tuple of str
        In lower case, for example ``("vv", "vh")``.
    """

    path: Path
    mission: str
    start: np.datetime64
    stop: np.datetime64
    relative_orbit: int
    polarizations: tuple[str, ...]


@dataclass(frozen=True)
class Geometry:
    """How the lines and pixels of an image lie along the orbit.

    Attributes
    ----------
    first : datetime64[ns]
        Time of line 0.
    interval : float
        Seconds from line to line.
    shape : tuple of int
        Lines and pixels.
    spacing : float
        Ground range from pixel to pixel, metres.
    orbit : OrbitPolyfitInterpolator
        Positions of the satellite, earth-fixed.
    orbit_source : str
        Name of the orbit file, or where the annotation's state vectors come from.
    conversion : Dataset
        Polynomials from slant to ground range, as xarray-sentinel reads them.
    delay : ndarray (2,)
        Zero-Doppler time minus line time, seconds, as a line in slant range time: the geolocation
        grid's correction of the bistatic delay, which is right at mid-swath only (up to 0.2 lines).
    """

    first: np.datetime64
    interval: float
    shape: tuple[int, int]
    spacing: float
    orbit: OrbitPolyfitInterpolator
    orbit_source: str
    conversion: xr.Dataset
    delay: NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """A quantity given along range at some lines of the image.

    Attributes
    ----------
    lines : ndarray (n,)
        Rising.
    pixels, values : tuple of ndarray
        One array each per line; their lengths may differ from line to line.
    """

    lines: NDArray[np.float64]
    pixels: tuple[NDArray[np.float64], ...]
    values: tuple[NDArray[np.float64], ...]

    def at(self, lines: NDArray[np.intp], pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Interpolate bilinearly at every line and pixel: (lines, pixels)."""
        along = [np.interp(pixels, *pair) for pair in zip(self.pixels, self.values, strict=True)]
        weights = [np.interp(lines, self.lines, unit) for unit in np.eye(self.lines.size)]
        return np.stack(weights, axis=1) @ np.stack(along)


@dataclass(frozen=True)
class AzimuthNoise:
    """Factor of the noise along azimuth within a block of one swath; all bounds are included."""

    first_line: int
    last_line: int
    first_pixel: int
    last_pixel: int
    lines: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Thermal noise of an image, in DN²: along range, times a factor along azimuth.

    Products of processors before IPF 2.90 have no factor along azimuth.
    """

    along_range: Vectors
    along_azimuth: tuple[AzimuthNoise, ...]

    def at(self, lines: NDArray[np.intp], pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Noise at every line and pixel: (lines, pixels), DN²."""
        power = self.along_range.at(lines, pixels)
        for block in self.along_azimuth:
            rows = (lines >= block.first_line) & (lines <= block.last_line)
            cols = (pixels >= block.first_pixel) & (pixels <= block.last_pixel)
            factor = np.interp(lines[rows], block.lines, block.values)
            power[np.ix_(rows, cols)] *= factor[:, None]
        return power


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
        Heights: a raster that covers the grid, in any reference system.
    orbit : Path, optional
        Orbit file (``….EOF``); without it the state vectors of the annotation are used.
    geoid : float, optional
        Metres of the geoid above the WGS 84 ellipsoid in the area, added to the heights; 0 where
        these are above the ellipsoid already. Can be left out if the DEM's reference system has a
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
    return _backscatter(open_product(safe), (name,), box, dem, orbit, geoid)[0][name]


def read_product(
    safe: Path, box: GeoBox, dem: Path, orbit: Path | None = None, geoid: float | None = None
) -> xr.Dataset:
    """Read VV and VH of a product as a radar group of the observation cube, with one time.

    Parameters, missing values and errors are those of `sigma0`.

    Returns
    -------
    Dataset
        ``vv, vh`` (time, y, x) in dB, coordinate ``relative_orbit``, and attributes that say what
        was done: ready for `deepcrop.observations.build`.
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

    Slices of one pass (same relative orbit, less than a minute apart) become one time, that of the
    earliest; where they overlap the earlier one counts.

    Parameters
    ----------
    safes : sequence of Path
        Folders of the products, in any order; each must reach the grid.
    box, dem, geoid
        As in `sigma0`.
    orbits : sequence of Path
        Orbit files under their original names, in any order; precise ones are preferred to
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
    passes: list[list[Product]] = []
    for product in sorted(map(open_product, safes), key=lambda product: product.start):
        before = passes[-1][-1] if passes else None
        if (
            before
            and product.relative_orbit == before.relative_orbit
            and product.start - before.stop < PASS_GAP
        ):
            passes[-1].append(product)
        else:
            passes.append([product])
    chosen = [[_orbit_of(product, orbits) for product in slices] for slices in passes]
    return _dataset(passes, box, dem, chosen, geoid)


def open_product(safe: Path) -> Product:
    """Read the manifest of a product.

    Raises
    ------
    SceneError
        If the folder is no SAFE product or no GRD.
    """
    safe = Path(safe)
    manifest = safe / "manifest.safe"
    if not manifest.is_file():
        raise SceneError(
            f"{safe} is no SAFE product: it has no 'manifest.safe'; expected the unpacked folder "
            "'S1…_GRD…_….SAFE'."
        )
    with _reading(manifest):
        root = ElementTree.parse(manifest).getroot()
        kind = _text(root, ".//{*}productType")
        product = Product(
            path=safe,
            mission="S1" + _text(root, ".//{*}platform/{*}number"),
            start=np.datetime64(_text(root, ".//{*}startTime"), "ns"),
            stop=np.datetime64(_text(root, ".//{*}stopTime"), "ns"),
            relative_orbit=int(_text(root, ".//{*}relativeOrbitNumber[@type='start']")),
            polarizations=tuple(
                (node.text or "").lower()
                for node in root.iterfind(".//{*}transmitterReceiverPolarisation")
            ),
        )
    if kind != "GRD":
        raise SceneError(f"{safe} is a Sentinel-1 {kind} product; expected GRD.")
    return product


def read_geometry(product: Product, polarization: str, orbit: Path | None = None) -> Geometry:
    """Read how an image lies along the orbit, from its annotation and an orbit file.

    Raises
    ------
    SceneError
        If the annotation is missing or damaged, or the orbit file does not fit the product.
    """
    _need_libraries()
    from sarsen.orbit import OrbitPolyfitInterpolator
    from xarray_sentinel import sentinel1

    annotation = _find(product, "annotation/*.xml", polarization)
    with _reading(annotation):
        root = ElementTree.parse(annotation).getroot()
        first = np.datetime64(_text(root, ".//productFirstLineUtcTime"), "ns")
        last = np.datetime64(_text(root, ".//productLastLineUtcTime"), "ns")
        shape = (int(_text(root, ".//numberOfLines")), int(_text(root, ".//numberOfSamples")))
        interval = _seconds(last - first) / (shape[0] - 1)
        points = [
            (
                _seconds(np.datetime64(_text(point, "azimuthTime"), "ns") - first)
                - int(_text(point, "line")) * interval,
                float(_text(point, "slantRangeTime")),
            )
            for point in root.iter("geolocationGridPoint")
        ]
        delays, ranges = np.transpose(points)
        if orbit is None:
            states = sentinel1.open_orbit_dataset(annotation)
            source = f"annotation ({_text(root, './/orbitSource').lower()})"
        conversion = sentinel1.open_coordinate_conversion_dataset(annotation)
        spacing = float(_text(root, ".//rangePixelSpacing"))
    if orbit is not None:
        states, source = _read_orbit(orbit, product, first, last), Path(orbit).name
    return Geometry(
        first=first,
        interval=interval,
        shape=shape,
        spacing=spacing,
        orbit=OrbitPolyfitInterpolator.from_position(states["position"]),
        orbit_source=source,
        conversion=conversion,
        delay=np.polyfit(ranges, delays, 1),
    )


def locate(
    geometry: Geometry, ecef: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find points of the earth in an image.

    Parameters
    ----------
    geometry : Geometry
        Of the image.
    ecef : ndarray (3, rows, cols)
        Earth-centred, earth-fixed coordinates (EPSG:4978), metres.

    Returns
    -------
    line, pixel : ndarray (rows, cols)
        May lie outside the image; NaN where the image cannot see the point: on the left of the
        track, or beyond the times for which the annotation has ground range polynomials.
    """
    _need_libraries()
    from sarsen.geocoding import backward_geocode
    from xarray_sentinel import slant_range_time_to_ground_range

    target = xr.DataArray(ecef, dims=("axis", "y", "x"), coords={"axis": [0, 1, 2]})
    # The default tolerance, a metre along the track, would be a tenth of a line.
    seen = backward_geocode(target, geometry.orbit, zero_doppler_distance=0.01)
    distance, velocity = (
        seen[name].transpose("axis", "y", "x").values
        for name in ("dem_distance", "satellite_velocity")
    )
    range_time = 2 / _SPEED_OF_LIGHT * np.sqrt((distance**2).sum(axis=0))
    ground_range = slant_range_time_to_ground_range(
        seen["azimuth_time"], xr.DataArray(range_time, dims=("y", "x")), geometry.conversion
    )
    time = _seconds(seen["azimuth_time"].values - geometry.first)
    line = (time - np.polyval(geometry.delay, range_time)) / geometry.interval
    # Sentinel-1 looks to the right; a mirrored point on the left has the same range and time.
    right = np.cross(velocity, ecef - distance, axis=0)
    visible = (distance * right).sum(axis=0) > 0
    pixel = np.where(visible, ground_range.transpose("y", "x").values / geometry.spacing, np.nan)
    return np.where(np.isfinite(pixel), line, np.nan), pixel


def read_calibration(product: Product, polarization: str) -> Vectors:
    """Read the sigmaNought vectors of an image.

    Raises
    ------
    SceneError
        If the file is missing or damaged.
    """
    path = _find(product, "annotation/calibration/calibration-*.xml", polarization)
    with _reading(path):
        return _vectors(ElementTree.parse(path).getroot(), "calibrationVector", "sigmaNought")


def read_noise(product: Product, polarization: str) -> Noise:
    """Read the noise vectors of an image.

    xarray-sentinel gives the azimuth noise of the first swath only.

    Raises
    ------
    SceneError
        If the file is missing or damaged, or its numbers are no DN² (products before July 2015).
    """
    path = _find(product, "annotation/calibration/noise-*.xml", polarization)
    with _reading(path):
        root = ElementTree.parse(path).getroot()
        if root.find(".//noiseRangeVector") is not None:
            along_range = _vectors(root, "noiseRangeVector", "noiseRangeLut")
        else:  # before IPF 2.90
            along_range = _vectors(root, "noiseVector", "noiseLut")
        along_azimuth = tuple(
            AzimuthNoise(
                first_line=int(_text(node, "firstAzimuthLine")),
                last_line=int(_text(node, "lastAzimuthLine")),
                first_pixel=int(_text(node, "firstRangeSample")),
                last_pixel=int(_text(node, "lastRangeSample")),
                lines=_numbers(node, "line"),
                values=_numbers(node, "noiseAzimuthLut"),
            )
            for node in root.iter("noiseAzimuthVector")
        )
    largest = max(float(values.max()) for values in along_range.values)
    if largest < 1:
        raise SceneError(
            f"{path}: the noise vectors reach {largest:g} only, expected hundreds of DN²; products "
            "processed before July 2015 have them on another scale. Get the reprocessed product."
        )
    return Noise(along_range, along_azimuth)


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
        Mean of the points that have data; NaN where fewer than half of them have.
    """
    shape = (line.shape[0] - 1, line.shape[1] - 1)
    total, count = np.zeros(shape), np.zeros(shape, np.intp)
    steps = (np.arange(samples) + 0.5) / samples
    for down in steps:
        for right in steps:
            values = _bilinear(power, _between(line, down, right), _between(pixel, down, right))
            known = np.isfinite(values)
            total[known] += values[known]
            count += known
    out = np.full(shape, np.nan)
    np.divide(total, count, out=out, where=2 * count >= samples**2)
    return out


def _between(corners: NDArray[np.float64], down: float, right: float) -> NDArray[np.float64]:
    """Interpolate bilinearly within every cell, from its four corners."""
    left_side = (1 - down) * corners[:-1, :-1] + down * corners[1:, :-1]
    right_side = (1 - down) * corners[:-1, 1:] + down * corners[1:, 1:]
    return (1 - right) * left_side + right * right_side


def _bilinear(
    image: NDArray[np.float64], line: NDArray[np.float64], pixel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Image at positions; NaN outside it (its outer pixels reach half a pixel outwards)."""
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


def _need_libraries() -> None:
    try:
        import sarsen  # noqa: F401
        import xarray_sentinel  # noqa: F401
    except ImportError as error:
        raise DeepCropError(
            f"Sentinel-1 SAFE products need 'pip install deepcrop[safe]' ({error})."
        ) from error


def _dataset(
    passes: Sequence[Sequence[Product]],
    box: GeoBox,
    dem: Path,
    orbits: Sequence[Sequence[Path | None]],
    geoid: float | None,
) -> xr.Dataset:
    """Put the passes of several products one behind the other, with all that was done to them."""
    arrays = {band: np.full((len(passes), *box.shape), np.nan, np.float32) for band in SAR_BANDS}
    notes: dict[str, list[str]] = {"products": [], "orbit_file": [], "noise_removal": []}
    for k, (slices, files) in enumerate(zip(passes, orbits, strict=True)):
        said: dict[str, list[str]] = {"orbit_file": [], "noise_removal": []}
        for product, file in zip(slices, files, strict=True):
            values, made = _backscatter(product, SAR_BANDS, box, dem, file, geoid)
            for band, target in arrays.items():
                np.copyto(target[k], values[band], where=np.isnan(target[k]))
            for key, text in made.items():
                said[key].append(text)
        notes["products"].append(" + ".join(product.path.name for product in slices))
        for key, texts in said.items():
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


def _backscatter(
    product: Product,
    polarizations: Sequence[str],
    box: GeoBox,
    dem: Path,
    orbit: Path | None,
    geoid: float | None,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Backscatter of some polarizations of a product on a grid, dB, and what was done to it."""
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
        for tile in tiles((box.shape[0], box.shape[1]), BLOCK):
            ecef, known = terrain.corners(box, *tile.core)
            heights |= bool(known.any())
            line, pixel = (np.where(known, position, np.nan) for position in locate(geometry, ecef))
            window = _window(line, pixel, geometry.shape)
            if window is None:
                continue
            reached = True
            for name, image in images.items():
                out[name][tile.core] = _decibel(
                    multilook(
                        image.power(*window),
                        line - window[0].start,
                        pixel - window[1].start,
                        samples,
                    )
                )
    if not heights:
        raise DeepCropError(f"{dem} has no heights within the grid ({_describe(box)}), only holes.")
    if not reached:
        raise SceneError(
            f"{product.path} does not reach the grid ({_describe(box)}); leave it out."
        )
    made = {
        "orbit_file": geometry.orbit_source,
        "noise_removal": "; ".join(dict.fromkeys(image.note for image in images.values())),
    }
    return out, made


def _window(
    line: NDArray[np.float64], pixel: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Part of the image that holds the positions and their neighbours; None if there is none."""
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


def _decibel(power: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full(power.shape, np.nan)
    np.log10(power, out=out, where=power > 0)
    return 10 * out


@dataclass(frozen=True)
class _Image:
    """An open measurement and what is needed to calibrate it."""

    source: rasterio.DatasetReader
    calibration: Vectors
    noise: Noise | None
    note: str

    def power(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Calibrated power of a window, linear, noise removed; NaN where DN is 0."""
        with _reading(Path(self.source.name)):
            number = self.source.read(1, window=Window.from_slices(rows, cols)).astype(np.float64)
        lines, pixels = np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop)
        power = number**2
        if self.noise is not None:
            power -= self.noise.at(lines, pixels)
        power /= self.calibration.at(lines, pixels) ** 2
        power[number == 0] = np.nan
        return power


@contextmanager
def _open_image(product: Product, polarization: str, shape: tuple[int, int]) -> Iterator[_Image]:
    annotation = _find(product, "annotation/*.xml", polarization)
    with _reading(annotation):
        root = ElementTree.parse(annotation).getroot()
        removed = root.findtext(".//thermalNoiseCorrectionPerformed") == "true"
    noise = None if removed else read_noise(product, polarization)
    if noise is None:
        note = "by the processor of the product"
    elif noise.along_azimuth:
        note = "range and azimuth noise vectors; border: DN 0 masked"
    else:
        note = "range noise vectors (IPF before 2.90); border: DN 0 masked, border noise may remain"
    calibration = read_calibration(product, polarization)
    measurement = _find(product, "measurement/*.tif*", polarization)
    with ExitStack() as stack:
        with _reading(measurement):
            source = stack.enter_context(rasterio.open(measurement))
        if source.shape != shape:
            raise SceneError(
                f"{measurement} has {source.height} x {source.width} pixels; its annotation says "
                f"{shape[0]} x {shape[1]}. Get the product again."
            )
        yield _Image(source, calibration, noise, note)


@dataclass(frozen=True)
class _Terrain:
    """An open DEM, and the way from the grid and its heights to earth-fixed coordinates."""

    source: rasterio.DatasetReader
    crs: CRS
    to_ecef: Transformer
    geoid: float

    def corners(
        self, box: GeoBox, rows: slice, cols: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Earth-fixed corners of a part of the grid's pixels, and whether their height is known.

        The first is (3, rows + 1, cols + 1). Where no height is known, the ellipsoid stands in.
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
                # The corners are the centres of a grid that lies half a pixel up and left.
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
                f"{dem} does not say what its heights refer to. Give 'geoid': metres of the geoid "
                "above the WGS 84 ellipsoid in the area, or 0 if the heights are above the "
                "ellipsoid already."
            )
        try:
            # Without these two, PROJ takes the geoid for the ellipsoid if it lacks the grid.
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


def _check_cover(dem: Path, source: rasterio.DatasetReader, crs: CRS, box: GeoBox) -> None:
    """Refuse a DEM that does not hold all of the grid's outline."""
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


def _read_orbit(
    orbit: Path, product: Product, first: np.datetime64, last: np.datetime64
) -> xr.Dataset:
    """State vectors around an image from an orbit file of ESA (Earth Explorer XML)."""
    from xarray_sentinel import sentinel1

    orbit = Path(orbit)
    with _reading(orbit, "an orbit file of ESA, '….EOF'"):
        root = ElementTree.parse(orbit).getroot()
        mission = _text(root, ".//Mission").replace("Sentinel-", "S")
        times, positions, velocities = [], [], []
        for state in root.iter("OSV"):
            time = np.datetime64(_text(state, "UTC").removeprefix("UTC="), "ns")
            if first - _EDGE <= time <= last + _EDGE:
                times.append(time)
                positions.append([float(_text(state, axis)) for axis in ("X", "Y", "Z")])
                velocities.append([float(_text(state, axis)) for axis in ("VX", "VY", "VZ")])
    if mission != product.mission:
        raise SceneError(f"{orbit} is of {mission}; {product.path.name} is of {product.mission}.")
    if not times or times[0] > first or times[-1] < last:
        raise SceneError(
            f"{orbit} does not cover {product.path.name} ({_short(first)} to {_short(last)} UTC); "
            "give the orbit file of that day, or none to use the annotation."
        )
    return sentinel1.make_orbit(
        times, np.transpose(positions).tolist(), np.transpose(velocities).tolist()
    )


def _orbit_of(product: Product, orbits: Sequence[Path]) -> Path | None:
    """Choose the orbit file of a product by name; None if there are no orbit files at all."""
    if not orbits:
        return None
    fitting = []
    for path in map(Path, orbits):
        name = _ORBIT_FILE.match(path.name)
        if name is None:
            raise DeepCropError(
                f"{path}: expected an orbit file under its original name, for example "
                "'S1B_OPER_AUX_POEORB_OPOD_20220112T111837_V20211222T225942_20211224T005942.EOF'."
            )
        mission, kind, start, stop = name.groups()
        covers = _stamp(start) <= product.start and product.stop <= _stamp(stop)
        if mission == product.mission and covers:
            fitting.append((kind, path))
    if not fitting:
        raise SceneError(
            f"None of the {len(orbits)} orbit files is of {product.mission} and covers "
            f"{product.path.name}; add its file, or give none at all to use the annotations."
        )
    return min(fitting)[1]  # POE, precise, comes before RES, restituted


def _stamp(text: str) -> np.datetime64:
    """Time as it is written in file names."""
    return np.datetime64(datetime.strptime(text, "%Y%m%dT%H%M%S"), "ns")


def _find(product: Product, pattern: str, polarization: str) -> Path:
    """Find the file of a polarization, under ESA's name or a short one (``iw-vv.xml``)."""
    marked = re.compile(rf"-{polarization}[-.]")
    found = [path for path in sorted(product.path.glob(pattern)) if marked.search(path.name)]
    if len(found) != 1:
        raise SceneError(
            f"{product.path}: {len(found) or 'no'} files '{pattern}' of {polarization.upper()}; "
            "expected one. Unpack the product again, completely."
        )
    return found[0]


@contextmanager
def _reading(path: Path, what: str = "a file of a complete Sentinel-1 GRD product") -> Iterator:
    try:
        yield
    except (
        *(OSError, RasterioError, ElementTree.ParseError),
        *(ValueError, TypeError, KeyError, IndexError, AssertionError),
    ) as error:
        raise SceneError(f"{path} cannot be read ({error}); expected {what}.") from error


@contextmanager
def _reading_dem(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RasterioError) as error:
        raise DeepCropError(
            f"{path} cannot be read as a DEM ({error}); expected a raster of heights."
        ) from error


def _vectors(root: ElementTree.Element, tag: str, quantity: str) -> Vectors:
    nodes = list(root.iter(tag))
    if not nodes:
        raise ValueError(f"no '{tag}'")
    pixels = tuple(_numbers(node, "pixel") for node in nodes)
    values = tuple(_numbers(node, quantity) for node in nodes)
    lines = np.array([float(_text(node, "line")) for node in nodes])
    return Vectors(lines, pixels, values)


def _numbers(node: ElementTree.Element, tag: str) -> NDArray[np.float64]:
    return np.array(_text(node, tag).split(), np.float64)


def _text(node: ElementTree.Element, tag: str) -> str:
    text = node.findtext(tag)
    if not text:
        raise ValueError(f"no '{tag.removeprefix('.//')}'")
    return text


def _seconds(duration: Any) -> Any:
    return duration / np.timedelta64(10**9, "ns")


def _short(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]"))


def _describe(box: GeoBox) -> str:
    return f"{box.shape[0]} x {box.shape[1]} at {tuple(box.boundingbox.bbox)}, {box.crs}"
