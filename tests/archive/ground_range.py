"""Sentinel-1 GRD of the Copernicus Data Space on the loopback: images in radar geometry, and a DEM.

Items have the form of real ones of ``sentinel-1-grd`` and ``cop-dem-glo-30-dged-cog`` at
https://stac.dataspace.copernicus.eu/v1: a product is a folder in SAFE format, whose measurements
are Cloud Optimized GeoTIFFs ("_COG"). The satellite flies on a circle in the earth-fixed frame, so
that zero Doppler has a closed form; lines and pixels are `SPACING` apart, finer than real ones, so
that what comes back is the simulated cube and not a blurred one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import rasterio
from pyproj import Transformer
from tests.archive.items import COG, Item, RadarProduct, _feature, _schema, _utc
from tests.archive.region import datatake_of, swath_outline
from tests.helpers.safe_products import Flight, vectors_xml

from deepcrop import grid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

SPACING = 1.0  # metres between lines, and between pixels
SIGMA_NOUGHT = 20_000.0
NOISE = 2000.0  # DN²
GEOID = -30.0  # metres above the ellipsoid, everywhere
GEOID_GRID = "us_nga_egm08_25.tif"
DEM = "cop-dem-glo-30-dged-cog"

_LIGHT = 299_792_458.0
_AWAY = 550.0  # km from below the satellite to the region: 35 degrees of incidence, or so
_MARGIN = 150.0  # metres of the image around the region


def height_at(longitude: NDArray, latitude: NDArray) -> NDArray:
    """Heights above the geoid: a slope, which a DEM of any spacing holds exactly."""
    return 250 + 1500 * (latitude % 1) + 800 * (longitude % 1)


@dataclass(frozen=True)
class Geometry:
    """How a region is seen; seconds count from the point where the satellite is beside it."""

    box: GeoBox

    @cached_property
    def flight(self) -> Flight:
        west, south, east, north = self.box.geographic_extent.boundingbox.bbox
        latitude = (south + north) / 2
        degrees = _AWAY / 111.2 / np.cos(np.radians(latitude))
        return Flight(longitude=(west + east) / 2 - degrees, latitude=latitude)

    def see(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Seconds and slant range of places on the grid's plane."""
        lon, lat = Transformer.from_crs(str(self.box.crs), 4326, always_xy=True).transform(x, y)
        to_ecef = Transformer.from_crs(4979, 4978, always_xy=True)
        points = to_ecef.transform(lon, lat, height_at(lon, lat) + GEOID)
        return self.flight.see(np.stack(points, axis=-1))

    @cached_property
    def places(self) -> tuple[NDArray, NDArray]:
        """Coordinates of points around the region."""
        left, bottom, right, top = self.box.boundingbox.bbox
        return np.meshgrid(
            np.linspace(left - _MARGIN, right + _MARGIN, 40),
            np.linspace(bottom - _MARGIN, top + _MARGIN, 40),
        )

    @cached_property
    def scale(self) -> tuple[float, float, float, float, float]:
        """First second, seconds per line, first slant range, ground per slant range, mid time."""
        seconds, slant = self.see(*self.places)
        x, y = (values.mean() for values in self.places)
        near, far = self.see(np.array([x - 100.0, x + 100.0]), np.array([y, y]))[1]
        south, north = self.see(np.array([x, x]), np.array([y - 100.0, y + 100.0]))[0]
        interval = SPACING * (north - south) / 200
        middle = 2 * slant.mean() / _LIGHT + 1e-5
        return seconds.min(), interval, slant.min(), 200 / (far - near), middle

    def image_position(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Line and pixel of places."""
        first, interval, near, ground, middle = self.scale
        seconds, slant = self.see(x, y)
        delay = 0.5 * (2 * slant / _LIGHT - middle)
        return (seconds - delay - first) / interval, ground * (slant - near) / SPACING

    @cached_property
    def shape(self) -> tuple[int, int]:
        line, pixel = self.image_position(*self.places)
        return int(line.max()), int(pixel.max())

    @cached_property
    def cells(self) -> tuple[NDArray, NDArray]:
        """Row and column of the region at each line and pixel; the nearest one outside of it."""
        line, pixel = self.image_position(*self.places)

        def terms(line: NDArray, pixel: NDArray) -> NDArray:
            a, b = line / 1000, pixel / 1000
            return np.stack([a**0, a, b, a * a, a * b, b * b], axis=-1)

        wanted = np.stack([values.ravel() for values in self.places], axis=1)
        fit, *_ = np.linalg.lstsq(terms(line.ravel(), pixel.ravel()), wanted, rcond=None)
        x, y = np.moveaxis(terms(*np.indices(self.shape)) @ fit, -1, 0)
        affine, (rows, cols) = self.box.affine, self.box.shape
        row, col = np.floor((y - affine.f) / affine.e), np.floor((x - affine.c) / affine.a)
        return row.clip(0, rows - 1).astype(int), col.clip(0, cols - 1).astype(int)


def write_image(path: Path, geometry: Geometry, decibel: NDArray) -> None:
    """Write a scene's backscatter (dB) as digital numbers in radar geometry; 0 is no data."""
    power = 10 ** (decibel.astype(np.float64) / 10)
    number = np.rint(np.sqrt(power * SIGMA_NOUGHT**2 + NOISE))
    image = np.nan_to_num(number, nan=0.0).astype(np.uint16)[geometry.cells]
    with rasterio.open(
        path, "w", driver="COG", height=image.shape[0], width=image.shape[1], count=1,
        dtype="uint16", compress="DEFLATE", blocksize=512, overviews="NONE",
    ) as file:  # fmt: skip
        file.write(image, 1)


def tables(geometry: Geometry, product: RadarProduct) -> dict[str, str]:
    """The annotation, the calibration and the noise of an image, by the name of the table."""
    lines, pixels = geometry.shape
    first, interval, near, ground, middle = geometry.scale

    def stamp(seconds: float) -> str:
        moment = product.flown.time + timedelta(seconds=float(seconds - first))
        return f"{moment.replace(tzinfo=None):%Y-%m-%dT%H:%M:%S.%f}"

    last = first + (lines - 1) * interval
    states = "".join(
        f"<orbit><time>{stamp(t)}</time><frame>Earth Fixed</frame>"
        "<position><x>{:.6f}</x><y>{:.6f}</y><z>{:.6f}</z></position>"
        "<velocity><x>{:.6f}</x><y>{:.6f}</y><z>{:.6f}</z></velocity></orbit>".format(*p, *v)
        for t in first + np.arange(-60.0, 70, 10)
        for p, v in [[one[0] for one in geometry.flight.states([t])]]
    )
    conversions = "".join(
        f"<coordinateConversion><azimuthTime>{stamp(t)}</azimuthTime>"
        f"<slantRangeTime>{2 * near / _LIGHT:.15e}</slantRangeTime><sr0>{near:.9f}</sr0>"
        f'<srgrCoefficients count="2">0 {ground:.12f}</srgrCoefficients><gr0>0</gr0>'
        f'<grsrCoefficients count="2">{near:.9f} {1 / ground:.15f}</grsrCoefficients>'
        "</coordinateConversion>"
        for t in (first - 1, last + 1)
    )
    points = "".join(
        f"<geolocationGridPoint><azimuthTime>{stamp(first + line * interval + delay)}</azimuthTime>"
        f"<slantRangeTime>{time:.15e}</slantRangeTime><line>{line}</line><pixel>{pixel}</pixel>"
        "</geolocationGridPoint>"
        for line in (0, lines - 1)
        for pixel in (0, pixels - 1)
        for time in [2 * (near + pixel * SPACING / ground) / _LIGHT]
        for delay in [0.5 * (time - middle)]
    )
    annotation = (
        f"<product><generalAnnotation><orbitList>{states}</orbitList></generalAnnotation>"
        "<imageAnnotation><imageInformation>"
        f"<productFirstLineUtcTime>{stamp(first)}</productFirstLineUtcTime>"
        f"<productLastLineUtcTime>{stamp(last)}</productLastLineUtcTime>"
        f"<rangePixelSpacing>{SPACING:e}</rangePixelSpacing>"
        f"<numberOfSamples>{pixels}</numberOfSamples><numberOfLines>{lines}</numberOfLines>"
        "</imageInformation><processingInformation><orbitSource>Auxiliary</orbitSource>"
        "<thermalNoiseCorrectionPerformed>false</thermalNoiseCorrectionPerformed>"
        "</processingInformation></imageAnnotation><coordinateConversion>"
        f"<coordinateConversionList>{conversions}</coordinateConversionList>"
        f"</coordinateConversion><geolocationGrid><geolocationGridPointList>{points}"
        "</geolocationGridPointList></geolocationGrid></product>"
    )
    calibration = vectors_xml("calibrationVector", "sigmaNought", SIGMA_NOUGHT, lines, pixels)
    noise = vectors_xml("noiseRangeVector", "noiseRangeLut", NOISE, lines, pixels) + (
        "<noiseAzimuthVector><firstAzimuthLine>0</firstAzimuthLine>"
        f"<lastAzimuthLine>{lines - 1}</lastAzimuthLine><firstRangeSample>0</firstRangeSample>"
        f"<lastRangeSample>{pixels - 1}</lastRangeSample><line>0 {lines}</line>"
        "<noiseAzimuthLut>1 1</noiseAzimuthLut></noiseAzimuthVector>"
    )
    return {
        "annotation/{}.xml": annotation,
        "annotation/calibration/calibration-{}.xml": f"<calibration>{calibration}</calibration>",
        "annotation/calibration/noise-{}.xml": f"<noise>{noise}</noise>",
    }


def sentinel1(product: RadarProduct, root: str) -> Item:
    """Item of ``sentinel-1-grd``; of its assets, the measurements."""
    flown = product.flown
    name = f"{product.folder.rpartition('/')[2]}_COG"
    safe = f"s3://eodata/Sentinel-1/SAR/IW_GRDH_1S-COG/{flown.time:%Y/%m/%d}/{name}.SAFE"
    times = f"{flown.time:%Y%m%dt%H%M%S}-{product.stop:%Y%m%dt%H%M%S}"
    take = f"{flown.absolute_orbit:06d}-{datatake_of(flown):06x}"
    assets: dict[str, Any] = {
        key: {
            "href": f"{safe}/measurement/{flown.platform.lower()}-iw-grd-{key}-{times}-{take}"
            f"-{number:03d}-cog.tiff",
            "type": COG,
            "title": f"{key.upper()} polarization",
            "roles": ["data"],
            "sar:polarizations": [key.upper()],
            "auth:refs": ["s3"],
            "storage:refs": ["cdse-s3", "creodias-s3"],
        }
        for number, key in enumerate(("vv", "vh"), 1)
    }
    properties = {
        "created": _utc(product.stop + timedelta(hours=3)),
        "datetime": _utc(flown.time + (product.stop - flown.time) / 2),
        "start_datetime": _utc(flown.time),
        "end_datetime": _utc(product.stop),
        "platform": f"sentinel-{flown.platform[1:].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["sar"],
        "product:type": "IW_GRDH_1S-COG",
        "processing:level": "L1",
        "sar:instrument_mode": "IW",
        "sar:polarizations": ["VV", "VH"],
        "sar:frequency_band": "C",
        "sat:orbit_state": "ascending" if product.swath.ascending else "descending",
        "sat:relative_orbit": flown.relative_orbit,
        "sat:absolute_orbit": flown.absolute_orbit,
    }
    links = [{"rel": "root", "type": "application/json", "href": f"{root}/"}]
    schemas = _schema("sar/v1.2.0", "sat/v1.1.0")
    ring = swath_outline(product.swath)
    return _feature(name, "sentinel-1-grd", ring, properties, assets, links, schemas, "1.1.0")


def dem_tile(folder: Path, box: GeoBox) -> tuple[Item, Path]:
    """Item and file of the DEM's tile, a degree wide, in whose middle third a region lies."""
    west, south, east, north = box.geographic_extent.boundingbox.bbox
    left, bottom = int(np.floor(west)), int(np.floor(south))
    assert east < left + 1
    assert north < bottom + 1
    name = f"Copernicus_DSM_COG_10_N{bottom:02d}_00_W{-left:03d}_00_DEM"
    path = folder / f"{name}.tif"
    side = 120
    centre = (np.arange(side) + 0.5) / side
    heights = height_at(*np.meshgrid(left + centre, bottom + 1 - centre)).astype(np.float32)
    with rasterio.open(
        path, "w", driver="COG", height=side, width=side, count=1, dtype="float32",
        crs="EPSG:4326", transform=rasterio.Affine(1 / side, 0, left, 0, -1 / side, bottom + 1),
    ) as file:  # fmt: skip
        file.write(heights, 1)
    ring = [[left, bottom], [left + 1, bottom], [left + 1, bottom + 1], [left, bottom + 1]]
    assets = {
        "data": {
            "href": f"s3://eodata/auxdata/CopDEM_COG/copernicus-dem-30m/{name}/{name}.tif",
            "type": COG,
            "roles": ["data"],
        }
    }
    properties = {"datetime": "2021-04-22T00:00:00.000000Z", "gsd": 30}
    return _feature(name, DEM, [*ring, ring[0]], properties, assets, [], [], "1.1.0"), path


@contextmanager
def geoid(folder: Path) -> Iterator[None]:
    """Give PROJ a grid of EGM2008, in its own format: coarse, and the same everywhere."""
    rows, cols = 181, 360
    with rasterio.open(
        folder / GEOID_GRID, "w", driver="GTiff", height=rows, width=cols, count=1,
        dtype="float32", crs="EPSG:4326", transform=rasterio.Affine(1, 0, -180.5, 0, -1, 90.5),
    ) as file:  # fmt: skip
        file.write(np.full((rows, cols), GEOID, np.float32), 1)
        file.update_tags(
            TYPE="VERTICAL_OFFSET_GEOGRAPHIC_TO_VERTICAL", AREA_OR_POINT="Point",
            target_crs_epsg_code="3855",
        )  # fmt: skip
        file.update_tags(1, UNITTYPE="metre")
        file.set_band_description(1, "geoid_undulation")
    usual = pyproj.datadir.get_data_dir()
    pyproj.datadir.append_data_dir(str(folder))
    try:
        yield
    finally:
        pyproj.datadir.set_data_dir(usual)


def geometry_of(cube: xr.DataTree) -> Geometry:
    """How the region of a cube is seen."""
    return Geometry(grid.grid_of(cube["sar"].to_dataset()))
