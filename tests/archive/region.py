"""A simulated region as products of Sentinel-2 and Sentinel-1: their grids, names and pixels.

The optical products of all archives have the same pixels; what differs is whether 1000 has been
added to the digital numbers. Files are Cloud Optimized GeoTIFFs on a tile that is a little larger
than the region, with nodata around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from deepcrop import grid
from deepcrop.simulation.overpasses import S1_ORBITS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
CLEAR_CLASSES = (4, 5, 6, 7)
CLOUD_DN = 5500
RADAR_NODATA = -32768
LEAST = 366
"""Pixels on a side of a tile; from 1098 on its files have several blocks, and overviews."""


# --------------------------------------------------------------------------------------------
# The mask at 20 m


def coarsen_mask(cube: xr.DataTree) -> xr.DataTree:
    """The cube as an archive can give it back: mask and ``scl`` alike on each 20 m pixel.

    Sentinel-2's scene classes have 20 m pixels, the simulator's 10 m. A 20 m pixel is no data
    where any of its four is, else masked where any is, with the highest masked class.
    """
    cube = cube.copy()
    optical = cube["optical"].to_dataset().load()
    classes = _fine(_coarse(optical["scl"].values, _parity(optical)), optical)
    clear = xr.DataArray(np.isin(classes, CLEAR_CLASSES), dims=optical["scl"].dims)
    for name in BANDS.values():
        optical[name] = optical[name].where(clear).assign_attrs(optical[name].attrs)
    optical["scl"] = optical["scl"].copy(data=classes)
    cube["optical"] = xr.DataTree(optical)
    return cube


def _parity(data: xr.Dataset) -> tuple[int, int]:
    """Rows and columns (0 or 1) from the next 20 m line north and west to the data's corner."""
    affine = grid.grid_of(data).affine
    return round(-affine.f / 10) % 2, round(affine.c / 10) % 2


def _coarse(scl: NDArray[np.uint8], parity: tuple[int, int]) -> NDArray[np.uint8]:
    """Classes (time, y, x) on the 20 m pixels that touch the region."""
    severity = np.arange(256, dtype=np.int16)  # among clear classes, or masked ones, the highest
    severity[~np.isin(np.arange(256), CLEAR_CLASSES)] += 256
    severity[0] = 1000
    top, left = parity
    rows, cols = scl.shape[1:]
    pad = ((0, 0), (top, (rows + top) % 2), (left, (cols + left) % 2))
    ranks = np.pad(severity[scl], pad, constant_values=-1)
    blocks = ranks.reshape(len(scl), ranks.shape[1] // 2, 2, ranks.shape[2] // 2, 2).max((2, 4))
    return np.where(blocks == 1000, 0, blocks % 256).astype(np.uint8)


def _fine(coarse: NDArray[np.uint8], data: xr.Dataset) -> NDArray[np.uint8]:
    top, left = _parity(data)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    return fine[:, top : top + data.sizes["y"], left : left + data.sizes["x"]]


# --------------------------------------------------------------------------------------------
# Tiles


@dataclass(frozen=True)
class Tile:
    """The grid of a product: ``box`` at 10 m, and its name in the military grid (``15TVG``)."""

    box: GeoBox
    name: str

    @property
    def epsg(self) -> int:
        return int(self.box.crs.epsg)

    def at(self, resolution: int) -> GeoBox:
        """The tile with other pixels, from its north-western corner."""
        left, _, _, top = self.bounds
        shape = tuple(math.ceil(n * 10 / resolution) for n in self.box.shape)
        affine = rasterio.Affine(resolution, 0, left, 0, -resolution, top)
        return GeoBox(shape, affine, self.box.crs)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        left, bottom, right, top = self.box.boundingbox.bbox
        return left, bottom, right, top

    def outline(self) -> list[list[float]]:
        """Closed ring of (longitude, latitude), counter-clockwise."""
        left, bottom, right, top = self.bounds
        xs, ys = [left, left, right, right, left], [top, bottom, bottom, top, top]
        lon, lat = Transformer.from_crs(self.epsg, 4326, always_xy=True).transform(xs, ys)
        return [[round(x, 7), round(y, 7)] for x, y in zip(lon, lat, strict=True)]


def tile_around(box: GeoBox, epsg: int | None = None) -> Tile:
    """Tile over a region, in its own or another reference system; corners on multiples of 60 m.

    At least `LEAST` pixels on a side.
    """
    epsg = epsg or int(box.crs.epsg)
    to_tile = Transformer.from_crs(int(box.crs.epsg), epsg, always_xy=True)
    west, south, east, north = to_tile.transform_bounds(*box.boundingbox.bbox)
    left = math.floor(west / 60) * 60 - 600
    top = math.ceil(north / 60) * 60 + 600
    cols = max(math.ceil((east + 600 - left) / 60) * 6, LEAST)
    rows = max(math.ceil((top - south + 600) / 60) * 6, LEAST)
    affine = rasterio.Affine(10, 0, left, 0, -10, top)
    name = _mgrs((west + east) / 2, (south + north) / 2, epsg)
    return Tile(GeoBox((rows, cols), affine, f"EPSG:{epsg}"), name)


def _mgrs(x: float, y: float, epsg: int) -> str:
    """Zone, band and 100 km square of a place (NGA.STND.0037)."""
    latitude = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)[1]
    zone = epsg % 100
    band = "CDEFGHJKLMNPQRSTUVWXX"[int((latitude + 80) // 8)]
    column = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3][int(x // 100_000) - 1]
    row = "ABCDEFGHJKLMNPQRSTUV"[(int(y // 100_000) + (0 if zone % 2 else 5)) % 20]
    return f"{zone}{band}{column}{row}"


# --------------------------------------------------------------------------------------------
# Passes


@dataclass(frozen=True)
class Pass:
    """One overflight: ``platform`` is S2A, S2B, S1A or S1B; ``time`` its start over the region."""

    platform: str
    time: datetime
    absolute_orbit: int
    relative_orbit: int


# A real product of each satellite: time, absolute orbit; then the days and orbits of its cycle,
# and the constant that ties relative to absolute orbit: (absolute - constant) % orbits + 1.
_SATELLITES = {
    "S2A": (datetime(2023, 7, 1, 10, 36, tzinfo=UTC), 41904, 10, 143, -2),
    "S2B": (datetime(2024, 4, 19, 9, 55, tzinfo=UTC), 37185, 10, 143, 27),
    "S1A": (datetime(2024, 4, 19, 4, 58, tzinfo=UTC), 53498, 12, 175, 73),
    "S1B": (datetime(2020, 5, 8, 14, 12, tzinfo=UTC), 21491, 12, 175, 27),
}


def pass_at(time: np.datetime64, relative_orbit: int, mission: str) -> Pass:
    """The pass of ``mission`` (S1, S2) that a scene belongs to.

    Both satellites of a mission fly the same relative orbits half a cycle apart, so the one whose
    orbit number comes out closest to the time it would be there has made the scene.
    """
    when = datetime.fromtimestamp(int(time.astype("datetime64[ns]").astype(np.int64)) / 1e9, UTC)
    found = []
    for platform, (anchor, orbit, days, cycle, constant) in _SATELLITES.items():
        if platform.startswith(mission):
            exact = orbit + (when - anchor) / timedelta(days=days) * cycle
            turn = round((exact - (relative_orbit - 1 + constant)) / cycle)
            number = turn * cycle + relative_orbit - 1 + constant
            if number > 0:
                found.append((abs(number - exact), platform, number))
    _, platform, number = min(found)
    return Pass(platform, when, number, relative_orbit)


# --------------------------------------------------------------------------------------------
# Optical pixels


def write_optical(cube: xr.DataTree, folder: Path, tile: Tile, offset: int) -> None:
    """Write every scene's bands with ``offset`` added to the digital numbers, and its classes.

    DN = reflectance * 1e4 + offset, at least 1; `CLOUD_DN` (and the offset) where the pixel is
    masked; 0 where there is no data. Files that are already there are kept.
    """
    data = cube["optical"].to_dataset()
    coarse = _coarse(data["scl"].values, _parity(data))
    classes = _fine(coarse, data)
    for k in range(data.sizes["time"]):
        if not (path := optical_path(folder, "SCL", k, 0)).exists():
            _write(path, _place(coarse[k], _first(data, tile, 20), tile.at(20), 0), tile.at(20), 0)
    for band, name in BANDS.items():
        if optical_path(folder, band, data.sizes["time"] - 1, offset).exists():
            continue
        reflectance = data[name].values
        for k in range(data.sizes["time"]):
            clear = np.isin(classes[k], CLEAR_CLASSES)
            numbers = np.rint(np.where(clear, reflectance[k], CLOUD_DN / 1e4) * 1e4) + offset
            numbers = np.where(classes[k] == 0, 0, np.clip(numbers, 1, 65535)).astype(np.uint16)
            placed = _place(numbers, _first(data, tile, 10), tile.box, 0)
            _write(optical_path(folder, band, k, offset), placed, tile.box, 0)


def optical_path(folder: Path, band: str, scene: int, offset: int, zone: int = 0) -> Path:
    """File of a band; ``offset`` is 0 for the classes, ``zone`` how many zones east it lies."""
    return folder / f"{band}_{scene:03d}_{offset:04d}_{zone:+d}.tif"


def _first(data: xr.Dataset, tile: Tile, resolution: int) -> tuple[int, int]:
    """Row and column on the tile of the data's first pixel of this size."""
    affine = grid.grid_of(data).affine
    left, _, _, top = tile.bounds
    return int((top - affine.f) // resolution), int((affine.c - left) // resolution)


def _place(values: NDArray, first: tuple[int, int], box: GeoBox, nodata: float) -> NDArray:
    canvas = np.full(box.shape, nodata, values.dtype)
    row, col = first
    canvas[row : row + values.shape[0], col : col + values.shape[1]] = values
    return canvas


def _write(path: Path, values: NDArray, box: GeoBox, nodata: float) -> None:
    profile = {
        "driver": "COG", "height": box.shape[0], "width": box.shape[1], "count": 1,
        "dtype": values.dtype, "nodata": nodata, "crs": str(box.crs), "transform": box.affine,
        "blocksize": 512, "compress": "DEFLATE", "predictor": "YES", "level": 1,
        "overview_resampling": "nearest",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)


def move_to_zone(folder: Path, scene: int, offset: int, tile: Tile, shift: int) -> Tile:
    """Write a scene again, resampled (nearest) onto the grid ``shift`` UTM zones to the east."""
    moved = tile_around(tile.box, tile.epsg + shift)
    for band in (*BANDS, "SCL"):
        added = 0 if band == "SCL" else offset
        with rasterio.open(optical_path(folder, band, scene, added)) as source:
            box = moved.at(20 if band == "SCL" else 10)
            values = np.zeros(box.shape, source.dtypes[0])
            reproject(
                source.read(1), values, src_transform=source.transform, src_crs=source.crs,
                dst_transform=box.affine, dst_crs=str(box.crs), resampling=Resampling.nearest,
            )  # fmt: skip
        _write(optical_path(folder, band, scene, added, shift), values, box, 0)
    return moved


def class_shares(path: Path) -> dict[int, float]:
    """Percent of each scene class among the pixels with data; class 0: percent without data."""
    with rasterio.open(path) as source:
        counts = np.bincount(source.read(1).ravel(), minlength=12)
    seen = max(counts[1:].sum(), 1)
    return {0: float(100 * counts[0] / counts.sum())} | {
        c: float(round(100 * counts[c] / seen, 6)) for c in range(1, 12)
    }


# --------------------------------------------------------------------------------------------
# Radar geometry

_EARTH, _ORBIT = 6371.0, 6371.0 + 700.0  # km
_NEAR_RANGE = 369.0  # km on the ground from below the satellite to the swath
_MID_INCIDENCE = dict(zip(S1_ORBITS, (34.5, 42.0), strict=True))  # as the simulation has it
_HEADING = {True: 348.0, False: 192.0}  # ascending, descending; degrees from north


@dataclass(frozen=True)
class Swath:
    """Image geometry of a ground-range product: 10 m lines and pixels, straight in UTM.

    ``x``, ``y`` are the coordinates of line 0, pixel 0. Lines run along the flight, pixels to the
    right of it; the incidence angle rises with the pixel.
    """

    x: float
    y: float
    ascending: bool
    epsg: int
    lines: int = 16685
    pixels: int = 25788

    @property
    def steps(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Metres east and north of one line, and of one pixel."""
        along = math.radians(_HEADING[self.ascending])
        line = 10 * math.sin(along), 10 * math.cos(along)
        return line, (line[1], -line[0])

    @cached_property
    def grid_lines(self) -> NDArray[np.int64]:
        return np.append(np.arange(0, self.lines - 1, 2003), self.lines - 1)

    @cached_property
    def grid_pixels(self) -> NDArray[np.int64]:
        return np.append(np.arange(0, self.pixels - 1, 1290), self.pixels - 1)

    def image_coordinates(self, box: GeoBox) -> tuple[NDArray, NDArray]:
        """Line and pixel of the centre of each cell of a grid."""
        east, north = np.meshgrid(box.coords["x"].values - self.x, box.coords["y"].values - self.y)
        (line_x, line_y), (pixel_x, pixel_y) = self.steps
        return (east * line_x + north * line_y) / 100, (east * pixel_x + north * pixel_y) / 100

    def incidence(self, box: GeoBox) -> NDArray[np.float64]:
        """Degrees at each cell of a grid, linear between the points of the product's own grid."""
        _, pixel = self.image_coordinates(box)
        return np.interp(pixel, self.grid_pixels, incidence_of(self.grid_pixels))


def incidence_of(pixel: NDArray) -> NDArray[np.float64]:
    """Incidence angle in degrees on a round earth: about 30.8 to 46 over the swath."""
    central = (_NEAR_RANGE + np.asarray(pixel) * 0.01) / _EARTH
    look = np.arctan2(_EARTH * np.sin(central), _ORBIT - _EARTH * np.cos(central))
    return np.degrees(look + central)


def swath_over(box: GeoBox, relative_orbit: int) -> Swath:
    """Swath that sees the middle of a region under the simulation's angle for this orbit."""
    ascending = relative_orbit == S1_ORBITS[1]
    empty = Swath(0, 0, ascending, int(box.crs.epsg))
    pixels = np.arange(empty.pixels)
    pixel = np.interp(_MID_INCIDENCE.get(relative_orbit, 38.0), incidence_of(pixels), pixels)
    (line_x, line_y), (pixel_x, pixel_y) = empty.steps
    left, bottom, right, top = box.boundingbox.bbox
    x = (left + right) / 2 - pixel * pixel_x - empty.lines / 2 * line_x
    y = (bottom + top) / 2 - pixel * pixel_y - empty.lines / 2 * line_y
    return Swath(x, y, ascending, empty.epsg)


def swath_outline(swath: Swath) -> list[list[float]]:
    """Closed ring of (longitude, latitude) around a swath."""
    lines = np.array([0, swath.lines - 1, swath.lines - 1, 0, 0])
    pixels = np.array([0, 0, swath.pixels - 1, swath.pixels - 1, 0])
    lon, lat = _ground(swath, lines, pixels)
    return [[float(x), float(y)] for x, y in zip(lon, lat, strict=True)]


def _ground(swath: Swath, lines: NDArray, pixels: NDArray) -> tuple[NDArray, NDArray]:
    (line_x, line_y), (pixel_x, pixel_y) = swath.steps
    x = swath.x + lines * line_x + pixels * pixel_x
    y = swath.y + lines * line_y + pixels * pixel_y
    return Transformer.from_crs(swath.epsg, 4326, always_xy=True).transform(x, y)


def annotation(swath: Swath, flown: Pass, polarisation: str) -> bytes:
    """The product annotation (XML) with what a reader of the geometry needs of it."""
    start, stop = flown.time, flown.time + timedelta(seconds=25)
    lines, pixels = (a.ravel() for a in np.meshgrid(
        swath.grid_lines, swath.grid_pixels, indexing="ij"
    ))  # fmt: skip
    lon, lat = _ground(swath, lines, pixels)
    theta = incidence_of(pixels)
    central = (_NEAR_RANGE + pixels * 0.01) / _EARTH
    slant = np.sqrt(_EARTH**2 + _ORBIT**2 - 2 * _EARTH * _ORBIT * np.cos(central))
    times = [_iso(start + timedelta(seconds=25) * (n / (swath.lines - 1))) for n in lines]
    points = "".join(
        f"""
      <geolocationGridPoint>
        <azimuthTime>{time}</azimuthTime>
        <slantRangeTime>{2e3 * r / 299792458:.15e}</slantRangeTime>
        <line>{line}</line>
        <pixel>{pixel}</pixel>
        <latitude>{y:.15e}</latitude>
        <longitude>{x:.15e}</longitude>
        <height>{0:.15e}</height>
        <incidenceAngle>{t:.15e}</incidenceAngle>
        <elevationAngle>{t - math.degrees(c):.15e}</elevationAngle>
      </geolocationGridPoint>"""
        for time, line, pixel, x, y, t, c, r in zip(
            times, lines, pixels, lon, lat, theta, central, slant, strict=True
        )
    )
    heading = _HEADING[swath.ascending]
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<product>
  <adsHeader>
    <missionId>{flown.platform}</missionId>
    <productType>GRD</productType>
    <polarisation>{polarisation.upper()}</polarisation>
    <mode>IW</mode>
    <swath>IW</swath>
    <startTime>{_iso(start)}</startTime>
    <stopTime>{_iso(stop)}</stopTime>
    <absoluteOrbitNumber>{flown.absolute_orbit}</absoluteOrbitNumber>
    <missionDataTakeId>{datatake_of(flown)}</missionDataTakeId>
    <imageNumber>{"001" if polarisation == "vv" else "002"}</imageNumber>
  </adsHeader>
  <generalAnnotation>
    <productInformation>
      <pass>{"Ascending" if swath.ascending else "Descending"}</pass>
      <timelinessCategory>Fast-24h</timelinessCategory>
      <platformHeading>{heading - 360:.15e}</platformHeading>
      <projection>Ground Range</projection>
    </productInformation>
  </generalAnnotation>
  <imageAnnotation>
    <imageInformation>
      <productFirstLineUtcTime>{_iso(start)}</productFirstLineUtcTime>
      <productLastLineUtcTime>{_iso(stop)}</productLastLineUtcTime>
      <slantRangeTime>{2e3 * slant[0] / 299792458:.15e}</slantRangeTime>
      <rangePixelSpacing>{10:.6e}</rangePixelSpacing>
      <azimuthPixelSpacing>{10:.6e}</azimuthPixelSpacing>
      <numberOfSamples>{swath.pixels}</numberOfSamples>
      <numberOfLines>{swath.lines}</numberOfLines>
      <incidenceAngleMidSwath>{theta[len(swath.grid_pixels) // 2]:.15e}</incidenceAngleMidSwath>
    </imageInformation>
  </imageAnnotation>
  <geolocationGrid>
    <geolocationGridPointList count="{len(lines)}">{points}
    </geolocationGridPointList>
  </geolocationGrid>
</product>
"""
    return text.encode()


def _iso(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds")


def datatake_of(flown: Pass) -> int:
    """Number of the datatake; grows with the orbit."""
    return flown.absolute_orbit * 8 - 2900


# --------------------------------------------------------------------------------------------
# Radar pixels


def write_radar(cube: xr.DataTree, folder: Path, tile: Tile) -> None:
    """Write every scene's linear gamma0 = sigma0 / cos(incidence); `RADAR_NODATA` elsewhere.

    Files that are already there are kept.
    """
    data = cube["sar"].to_dataset()
    box = grid.grid_of(data)
    orbits = data["relative_orbit"].values
    cosine = {int(o): np.cos(np.radians(swath_over(box, int(o)).incidence(box))) for o in orbits}
    for name in ("vv", "vh"):
        if radar_path(folder, name, data.sizes["time"] - 1).exists():
            continue
        for k, sigma in enumerate(data[name].values):
            gamma = 10 ** (sigma.astype(np.float64) / 10) / cosine[int(orbits[k])]
            gamma = np.where(np.isnan(gamma), RADAR_NODATA, gamma).astype(np.float32)
            placed = _place(gamma, _first(data, tile, 10), tile.box, RADAR_NODATA)
            _write(radar_path(folder, name, k), placed, tile.box, RADAR_NODATA)


def radar_path(folder: Path, polarisation: str, scene: int) -> Path:
    """File of a polarisation."""
    return folder / f"{polarisation}_{scene:03d}.tif"
