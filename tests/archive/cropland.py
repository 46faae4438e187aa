"""Crop types on the loopback: CropScape's two services, and Planetary Computer's `usda-cdl`."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.io import MemoryFile
from tests.archive.server import Request, Response, Server

from deepcrop.sources.cropland import cdl_classes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from odc.geo.geobox import GeoBox
    from tests.archive.stac import Bed

MAXSIZE = 4096
TILE = 15000  # metres; Planetary Computer keeps tiles of 500 x 500 pixels

ACCOUNT, CONTAINER = "landcoverdata", "usda-cdl"  # of Planetary Computer's blobs

_CLASSES = (1, 5, 24, 36, 61, 176)  # corn, soybeans, winter wheat, alfalfa, fallow, grassland


def write_raster(path: Path, box: GeoBox, seed: int = 1) -> Path:
    """Simulate a CDL around a grid: rectangular fields of 30 m pixels, in EPSG:5070."""
    to_cdl = Transformer.from_crs(str(box.crs), "EPSG:5070", always_xy=True)
    left, bottom, right, top = to_cdl.transform_bounds(*box.boundingbox.bbox)
    left, top = (15 + 30 * np.floor(left / 30) - 600, 15 + 30 * np.ceil(top / 30) + 600)
    rows, cols = int((top - bottom) // 30 + 21), int((right - left) // 30 + 21)
    rng = np.random.default_rng(seed)
    fields = rng.choice(_CLASSES, (rows // 7 + 1, cols // 11 + 1)).astype(np.uint8)
    codes = np.repeat(np.repeat(fields, 7, axis=0), 11, axis=1)[:rows, :cols]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=rows,
        width=cols,
        count=1,
        dtype="uint8",
        crs="EPSG:5070",
        transform=Affine(30, 0, left, 0, -30, top),
    ) as file:
        file.write(codes, 1)
    return path


def serve(
    server: Server, raster: Path, prefix: str = "/cropscape", years: Sequence[int] = (2021,)
) -> None:
    """Answer as CropScape does, with ``raster`` for the layer of every year.

    The address to give to the client is ``server.url + prefix``.
    """
    files: dict[str, bytes] = {}
    number = itertools.count(1)

    def cdl_file(request: Request) -> Response:
        try:
            year = int(request.one("year", ""))
            bounds = [float(edge) for edge in request.one("bbox", "").split(",")]
            left, bottom, right, top = bounds
        except ValueError:
            return _fault("Error: Invalid parameter.")
        if year not in years:
            return _fault(f"Error: The year must be between {min(years)} and {max(years)}.")
        if not _meets(raster, left, bottom, right, top):
            return _fault("Error: The bounding box is out of the extent of the CDL data.")
        name = f"CDL_{year}_clip_20261123160000_{next(number)}.tif"
        files[name] = clip(raster, left, bottom, right, top)
        return Response(
            b'<ns1:GetCDLFileResponse xmlns:ns1="http://cropscape.csiss.gmu.edu/CDLService/">'
            b"<returnURL>"
            + f"{server.url}{prefix}/webservice/nass_data_cache/{name}".encode()
            + b"</returnURL></ns1:GetCDLFileResponse>",
            headers={"Content-Type": "application/xml;charset=utf-8"},
        )

    def cdl_value(request: Request) -> Response:
        x, y = float(request.one("x", "")), float(request.one("y", ""))
        with rasterio.open(raster) as file:
            code = int(next(file.sample([(x, y)]))[0])  # 0 outside
        entry = cdl_classes()[code]
        return Response(
            b'<ns1:GetCDLValueResponse xmlns:ns1="http://cropscape.csiss.gmu.edu/CDLService/">'
            + f'<Result>{{x: {x}, y: {y}, value: {code}, category: "{entry.name}", '
            f'color: "{entry.colour}"}}</Result></ns1:GetCDLValueResponse>'.encode(),
            headers={"Content-Type": "application/xml;charset=utf-8"},
        )

    def cached(request: Request, name: str) -> Response:
        return Response(files[name], headers={"Content-Type": "image/tiff"})

    def coverage(request: Request) -> Response:
        asked = {key.lower(): values[0] for key, values in request.query.items()}
        if (asked["service"].upper(), asked["version"]) != ("WCS", "1.0.0"):
            return _exception("MissingParameterValue", "version", "Unsupported version.")
        if asked["coverage"] not in [f"cdl_{year}" for year in years]:
            return _exception(
                "InvalidParameterValue",
                "coverage",
                f"COVERAGE={asked['coverage']} not found, not in supported layer list. A layer "
                "might be disabled for this request. Check wcs/ows_enable_request settings.",
            )
        left, bottom, right, top = (float(edge) for edge in asked["bbox"].split(","))
        step = float(asked["resx"])
        if max(right - left, top - bottom) / step > MAXSIZE:
            return _exception(
                "InvalidParameterValue",
                "width/height",
                "Raster size out of range, width and height of resulting coverage must be no "
                f"more than MAXSIZE={MAXSIZE}.",
            )
        assert (asked["crs"], asked["format"], step) == ("EPSG:5070", "gtiff", 30)
        return Response(
            clip(raster, left, bottom, right, top), headers={"Content-Type": "image/tiff"}
        )

    server.route("GET", f"{prefix}/axis2/services/CDLService/GetCDLValue", cdl_value)
    server.route("GET", f"{prefix}/axis2/services/CDLService/GetCDLFile", cdl_file)
    server.route("GET", f"{prefix}/webservice/nass_data_cache/(?P<name>[^/]+)", cached)
    server.route("GET", f"{prefix}/CropScapeService/wms_cdlall.cgi", coverage)


def clip(raster: Path, left: float, bottom: float, right: float, top: float) -> bytes:
    """Cut the pixels that touch the bounds out as a GeoTIFF; background outside of the raster."""
    with rasterio.open(raster) as file:
        whole, crs, (step, _, x, _, _, y) = file.read(1), file.crs, file.transform[:6]
    first, last = int(np.floor((y - top) / step)), int(np.ceil((y - bottom) / step))
    west, east = int(np.floor((left - x) / step)), int(np.ceil((right - x) / step))
    codes = np.zeros((last - first, east - west), np.uint8)
    rows, cols = np.arange(first, last), np.arange(west, east)
    down = (rows >= 0) & (rows < whole.shape[0])
    across = (cols >= 0) & (cols < whole.shape[1])
    codes[np.ix_(down, across)] = whole[np.ix_(rows[down], cols[across])]
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "crs": crs,
        "height": codes.shape[0],
        "width": codes.shape[1],
        "transform": Affine(step, 0, x + west * step, 0, -step, y - first * step),
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as out:
            out.write(codes, 1)
        return memory.read()


def publish(bed: Bed, raster: Path, years: Sequence[int] = (2021,)) -> None:
    """Add ``raster`` to a bed's Planetary Computer, as COGs of `TILE` with items of `usda-cdl`.

    As there, each tile has beside ``cropland`` an item of type ``cultivated`` for the same year.
    """
    to_degrees = Transformer.from_crs("EPSG:5070", "EPSG:4326", always_xy=True)
    with rasterio.open(raster) as file:
        left, bottom, right, top = file.bounds
    for year, x, y in itertools.product(
        years, np.arange(left, right, TILE), np.arange(top, bottom, -TILE)
    ):
        bounds = (float(x), float(max(y - TILE, bottom)), float(min(x + TILE, right)), float(y))
        tile = f"{year}_{x:.0f}_{y - 30:.0f}_{TILE}"
        path = f"/{CONTAINER}/tiles/{year}_30m_cdls_{tile.removeprefix(f'{year}_')}.tif"
        body = _cog(clip(raster, *bounds))

        def answer(request: Request, body: bytes = body) -> Response:
            refusal = bed.tokens.refusal(request, CONTAINER)
            return refusal or Response(body, headers={"Content-Type": "image/tiff"})

        bed.server.route("GET", re.escape(path), answer)
        degrees = to_degrees.transform_bounds(*bounds)
        href = f"http://{ACCOUNT}.blob.core.windows.net{path}"
        for kind in ("cropland", "cultivated"):
            bed.apis["pc"].add(_item(kind, tile, year, bounds, degrees, href))


def _item(
    kind: str,
    tile: str,
    year: int,
    bounds: Sequence[float],
    degrees: Sequence[float],
    href: str,
) -> dict[str, Any]:
    (left, bottom, right, top), (west, south, east, north) = bounds, degrees
    ring = [[east, south], [east, north], [west, north], [west, south], [east, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{kind}_{tile}",
        "properties": {
            "proj:epsg": 5070,
            "proj:transform": [30.0, 0.0, left, 0.0, -30.0, top],
            "proj:shape": [round((top - bottom) / 30), round((right - left) / 30)],
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
            "usda_cdl:type": kind,
            "datetime": None,
        },
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "links": [],
        "assets": {
            kind: {
                "href": href,
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "title": f"Cropland Data Layer (CDL) {year}",
                "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 30}],
                "roles": ["data"],
            }
        },
        "bbox": list(degrees),
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "collection": "usda-cdl",
    }


def _cog(tiff: bytes) -> bytes:
    with MemoryFile(tiff) as source, source.open() as data, MemoryFile() as memory:
        rasterio.shutil.copy(data, memory.name, driver="COG", blocksize=256, compress="deflate")
        return memory.read()


def _meets(raster: Path, left: float, bottom: float, right: float, top: float) -> bool:
    with rasterio.open(raster) as file:
        b = file.bounds
    return left < b.right and right > b.left and bottom < b.top and top > b.bottom


def _fault(text: str) -> Response:
    """What the file service says, with the status it has been seen to use."""
    return Response(
        f"<faultstring>{text}</faultstring>".encode(), 500, {"Content-Type": "application/xml"}
    )


def _exception(code: str, locator: str, text: str) -> Response:
    """An error of MapServer's WCS 1.0.0, which comes with status 200."""
    return Response(
        "<?xml version='1.0' encoding=\"UTF-8\" ?>\n"
        '<ServiceExceptionReport version="1.2.0" xmlns="http://www.opengis.net/ogc">\n'
        f'<ServiceException code="{code}" locator="{locator}">\n'
        f"msWCSGetCoverage(): WCS server error. {text}\n"
        "</ServiceException></ServiceExceptionReport>".encode(),
        headers={"Content-Type": "application/vnd.ogc.se_xml; charset=UTF-8"},
    )
