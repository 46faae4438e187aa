"""Readers of what servers answer, and the viewer, which answers what browsers ask."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from tests.fuzz.harness import Reader
from tests.fuzz.mutations import (
    ODD_VALUES,
    damaged_bytes,
    damaged_document,
    damaged_json,
    damaged_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _box() -> Any:
    from deepcrop.grid import areas

    return areas.around(41.6, -93.6, 20, 20)


def _item(kind: str) -> dict[str, Any]:
    """One product over `_box`, in the form of an archive's own."""
    ring = [[-94, 41], [-93, 41], [-93, 42], [-94, 42], [-94, 41]]
    address = "http://127.0.0.1:1/a.tif"
    if kind == "radar":
        properties: dict[str, Any] = {
            "datetime": None,
            "start_datetime": "2018-06-20T00:13:00.123456Z",
            "end_datetime": "2018-06-20T00:13:25Z",
            "platform": "SENTINEL-1A",
            "sar:instrument_mode": "IW",
            "sat:absolute_orbit": 22500,
            "sat:relative_orbit": 63,
            "sat:orbit_state": "ascending",
            "proj:code": "EPSG:32615",
            "created": "2018-06-21T00:00:00Z",
        }
        bands = ("vv", "vh")
    else:
        properties = {
            "datetime": "2018-06-20T17:00:00Z",
            "platform": "sentinel-2b",
            "eo:cloud_cover": 12.5,
            "s2:processing_baseline": "05.10",
            "s2:product_uri": "S2B_MSIL2A_20180620T165859_N0510_R069_T15TVG_20230620T165859.SAFE",
            "s2:generation_time": "2023-06-20T16:58:59Z",
            "proj:epsg": 32615,
        }
        bands = ("B02", "B03", "B04", "B08", "SCL")
        bands = bands if kind == "pc" else ("blue", "green", "red", "nir", "scl")
    assets = {
        band: {
            "href": address,
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": [10980, 10980],
            "proj:transform": [10.0, 0.0, 399960.0, 0.0, -10.0, 4700040.0],
            "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": -0.1}],
            "file:size": 123456,
        }
        for band in bands
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"{kind}_S2B_T15TVG_20180620",
        "bbox": [-94, 41, -93, 42],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [],
        "collection": "s2",
        "assets": assets,
    }


@contextlib.contextmanager
def _stac_items(folder: Path) -> Iterator[Any]:
    """An odd item costs that item: the valid one beside it is kept, and grouped with it."""
    from deepcrop.sources.archive import ArchiveError, SceneError
    from deepcrop.sources.sentinel2 import scaling_by_baseline, scaling_by_raster_bands
    from deepcrop.sources.stac.archive import _scene
    from deepcrop.sources.stac.known_archives import earth_search
    from deepcrop.sources.stac.products import best_orbit, newest, passes, usable_products

    box = _box()
    valid = {kind: _item(kind) for kind in ("pc", "es", "radar")}

    def read(given: tuple[str, Any]) -> Any:
        kind, item = given
        sensor = "sar" if kind == "radar" else "optical"
        products = newest(usable_products([valid[kind], item], sensor, box, "Archive"))
        assert products, "the valid product is lost"
        best_orbit(passes(products), box)
        sources: Any = [{"item": p.item, "decision": "none"} for p in products]
        if kind != "radar":
            scale = scaling_by_baseline if kind == "pc" else scaling_by_raster_bands
            for product in products:
                with contextlib.suppress(SceneError):
                    scale(product.item, lambda: (np.zeros(1, np.uint16), np.zeros(1, np.uint8)))
        scene = _scene(sensor, products, sources)
        json.dumps(scene.to_json(), ensure_ascii=False).encode()
        earth_search("http://127.0.0.1:1").size(scene, box)
        if len(products) == 1 and item != valid[kind]:
            raise ArchiveError("the odd item is left out")

    yield (
        st.sampled_from(sorted(valid)).flatmap(
            lambda kind: damaged_document(valid[kind]).map(lambda item: (kind, item))
        ),
        read,
    )


class _RawServer:
    """A server that answers each request with given bytes, whatever they are."""

    def __init__(self) -> None:
        self.answers: Any = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(2)
                begin = b""
                while b"\r\n\r\n" not in begin:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    begin += piece
                target = begin.split(b" ", 2)[1] if begin.count(b" ") > 1 else b""
                answer = self.answers(target) if callable(self.answers) else self.answers
                connection.sendall(answer)

    def close(self) -> None:
        self._socket.close()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def _http_answers(folder: Path) -> Iterator[Any]:
    import gzip

    from deepcrop.sources.http import HttpClient

    body = json.dumps({"a": [1, 2, {"b": None}]}).encode()
    zipped = gzip.compress(body)
    valid = (
        http(body),
        http(body, "200 OK", "Content-Type: application/json", 'ETag: "a"'),
        http(zipped, "200 OK", "Content-Encoding: gzip"),
        http(b"busy", "503 Busy", "Retry-After: 500"),
        http(b"", "302 Found", "Location: /elsewhere"),
        http(b"", "404 Not Found"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n",
    )
    server = _RawServer()

    def read(given: tuple[bytes, bool]) -> Any:
        server.answers, cached = given
        with HttpClient(folder if cached else None, tries=1, pause=0.001, timeout=3) as client:
            return client.json(server.url + "/a")

    try:
        yield st.tuples(damaged_bytes(*valid), st.booleans()), read
    finally:
        server.close()


@contextlib.contextmanager
def _stac_answers(folder: Path) -> Iterator[Any]:
    """The pages of a search, and the root of the API."""
    from deepcrop.sources.stac.products import usable_products
    from deepcrop.sources.stac.search import search_items

    box, server = _box(), _RawServer()
    root = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "root",
        "description": "an API",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "self", "href": server.url},
            {"rel": "root", "href": server.url},
            {"rel": "search", "href": server.url + "/search", "method": "POST"},
        ],
    }
    page = {"type": "FeatureCollection", "features": [_item("pc")], "links": []}
    more = page | {"links": [{"rel": "next", "href": server.url + "/search?2", "method": "GET"}]}

    def read(given: tuple[str, bytes]) -> Any:
        which, body = given
        whole = {"root": json.dumps(root).encode(), "page": json.dumps(page).encode()}
        whole[which] = body

        def answer(target: bytes) -> bytes:
            return http(whole["page" if b"search" in target else "root"])

        server.answers = answer
        items = search_items(
            server.url, ["s2"], box, date(2018, 1, 1), date(2018, 12, 31), tries=1, pause=0.001
        )
        return usable_products(items, "optical", box, "Archive")

    pages = damaged_json(page, more).map(lambda body: ("page", body))
    roots = damaged_json(root).map(lambda body: ("root", body))
    try:
        yield st.one_of(pages, pages, roots), read
    finally:
        server.close()


@contextlib.contextmanager
def _phenocam_answers(folder: Path) -> Iterator[Any]:
    from deepcrop.sources.http import HttpClient
    from deepcrop.sources.phenocam.service import PhenoCam

    camera = {
        "Sitename": "mead2", "Lat": 41.1, "Lon": -96.4, "Elev": 362, "utc_offset": -6,
        "active": True, "date_first": "2017-01-01", "date_last": "2020-12-31",
        "sitemetadata": {"site_description": "a field", "camera_orientation": "NE",
                         "primary_veg_type": "AG", "site_acknowledgements": "thanks"},
    }  # fmt: skip
    roi = {
        "site": "mead2", "roitype": "AG", "sequence_number": 1000, "description": "a region",
        "active": True, "first_date": "2017-01-01", "last_date": "2020-12-31", "site_years": 3.5,
        "missing_data_pct": 2.0, "one_day_summary": "", "three_day_summary": "",
    }  # fmt: skip
    image = {"imgpath": "/data/archive/mead2/2018/mead2_2018.jpg", "imgdate": "2018-06-01"}
    server = _RawServer()
    page = {"count": 1, "next": None, "previous": None}
    kinds = {"cameras": camera, "roilists": roi, "middayimages": image}

    def read(given: tuple[str, bytes]) -> Any:
        server.answers = http(given[1])
        with HttpClient(tries=1, pause=0.001, timeout=3) as client:
            network = PhenoCam(client, server.url + "/api")
            if given[0] == "cameras":
                return network.cameras()
            if given[0] == "middayimages":
                return network.midday_images("mead2")
            found = network.roi_lists()
            for roi in found:
                assert "/" not in roi.name
                network.series_urls(roi)
            return found

    try:
        yield (
            st.sampled_from(sorted(kinds)).flatmap(
                lambda kind: damaged_json(page | {"results": [kinds[kind]]}).map(
                    lambda body: (kind, body)
                )
            ),
            read,
        )
    finally:
        server.close()


@contextlib.contextmanager
def _cdl_answers(folder: Path) -> Iterator[Any]:
    """CropScape: the address of a file, and the file."""
    import rasterio
    from affine import Affine

    from deepcrop.sources.cropland import _cdl_bounds, read_cdl
    from deepcrop.sources.http import HttpClient

    box, server = _box(), _RawServer()
    left, bottom, right, top = _cdl_bounds(box)
    rows, cols = round((top - bottom) / 30), round((right - left) / 30)
    path = folder / "cdl.tif"
    place = {"crs": "EPSG:5070", "transform": Affine(30, 0, left, 0, -30, top)}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=rows, width=cols, dtype="uint8", **place
    ) as file:
        file.write(np.full((1, rows, cols), 5, np.uint8))
    tiff = path.read_bytes()
    found = f"<a><returnURL>{server.url}/file.tif</returnURL></a>".encode()

    def read(given: tuple[str, bytes]) -> Any:
        whole = {"address": found, "file": tiff} | {given[0]: given[1]}

        def answer(target: bytes) -> bytes:
            return http(whole["address" if b"GetCDLFile" in target else "file"])

        server.answers = answer
        with HttpClient(tries=1, pause=0.001, timeout=3) as client:
            return read_cdl(box, 2018, address=server.url, client=client)

    try:
        yield (
            st.one_of(
                damaged_bytes(found).map(lambda body: ("address", body)),
                damaged_bytes(tiff).map(lambda body: ("file", body)),
            ),
            read,
        )
    finally:
        server.close()


@contextlib.contextmanager
def _remote_files(folder: Path) -> Iterator[Any]:
    """A file of an archive: a damaged GeoTIFF, a VRT, an error page."""
    import rasterio
    from affine import Affine

    from deepcrop.sources.stac.cog_reader import CogReader

    path = folder / "a.tif"
    place = {"crs": "EPSG:32615", "transform": Affine(10, 0, 450000, 0, -10, 4605000)}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=20, width=30, dtype="int16", **place
    ) as file:
        file.write(np.ones((1, 20, 30), np.int16))
    vrt = (
        f"<VRTDataset rasterXSize='30' rasterYSize='20'><VRTRasterBand dataType='Int16' band='1'>"
        f"<SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    ).encode()
    server = _RawServer()

    def read_raster(address: str) -> Any:
        with rasterio.open(address) as file:
            assert file.driver == "GTiff", "another format is opened"
            return file.read(1, window=((0, min(file.height, 512)), (0, min(file.width, 512))))

    def read(body: bytes) -> Any:
        server.answers = http(body)
        return CogReader(tries=1, pause=0.001).read(
            f"{server.url}/{hash(body)}.tif", "B04", read_raster
        )

    try:
        yield damaged_bytes(path.read_bytes(), vrt), read
    finally:
        server.close()


@contextlib.contextmanager
def _earth_engine_images(folder: Path) -> Iterator[Any]:
    from deepcrop.sources.earthengine import listing

    ring = [[-94, 41], [-93, 41], [-93, 42], [-94, 42], [-94, 41]]
    common = {
        "startTime": "2018-06-20T17:00:00Z",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    optical = common | {
        "id": "COPERNICUS/S2_SR_HARMONIZED/20180620T165859_20180620T170000_T15TVG",
        "properties": {
            "DATATAKE_IDENTIFIER": "GS2B_20180620T165859_006700_N05.10",
            "DATASTRIP_ID": "S2B_OPER_MSI_L2A_DS_EPAE_20180620T220000_S20180620T170000_N05.10",
            "SENSING_ORBIT_NUMBER": 69, "MGRS_TILE": "15TVG", "PROCESSING_BASELINE": "05.10",
            "GENERATION_TIME": 1529532000000, "CLOUDY_PIXEL_PERCENTAGE": 3.5,
        },
    }  # fmt: skip
    radar = common | {
        "id": "COPERNICUS/S1_GRD/S1A_IW_GRDH_1SDV_20180620T001300_20180620T001325_022500_AB_CD",
        "properties": {
            "transmitterReceiverPolarisation": ["VV", "VH"], "relativeOrbitNumber_start": 63,
            "GRD_Post_Processing_software_version": 2.9, "orbitProperties_pass": "ASCENDING",
            "GRD_Post_Processing_start": 1529532000000,
        },
    }  # fmt: skip
    valid = {"optical": optical, "sar": radar}
    region = listing.region_of(_box())

    def read(given: tuple[str, Any]) -> Any:
        sensor, image = given
        describe = listing.optical_product if sensor == "optical" else listing.radar_product
        products = listing.described(describe, [valid[sensor], image])
        assert products, "the valid image is lost"
        passes = listing.passes_of(listing.newest(products))
        listing.best_orbit(passes, region)
        for group in passes:
            scene = listing.scene_of(sensor, group)
            json.dumps(scene.to_json(), ensure_ascii=False).encode()
        listing.described(describe, [image])  # refused if it cannot be used

    yield (
        st.sampled_from(sorted(valid)).flatmap(
            lambda kind: damaged_document(valid[kind]).map(lambda image: (kind, image))
        ),
        read,
    )


@contextlib.contextmanager
def _viewer(folder: Path) -> Iterator[Any]:
    """Addresses that a browser asks of the viewer: an answer, or a status from 400 to 499."""
    import uvicorn
    from morecantile import tms
    from tests.fuzz.raw_files import write_result
    from tests.helpers.pmtiles_file import pmtiles

    from deepcrop.errors import DeepCropError
    from deepcrop.viewer.server import Shown, create_app
    from deepcrop.viewer.viewed_map import ViewedMap

    maps = write_result(folder)
    viewed = ViewedMap(maps, folder / "region.zarr")
    left, bottom, right, top = viewed.describe()["bounds"]
    lon, lat = (left + right) / 2, (bottom + top) / 2
    time = viewed.images.describe()["dates"][0]["time"] if viewed.images else ""
    tile = tms.get("WebMercatorQuad").tile(lon, lat, 14)
    place = f"14/{tile.x}/{tile.y}"
    polygon = ";".join(f"{x},{y}" for x, y in ((left, bottom), (right, bottom), (lon, top)))
    valid = (
        "/", "/api/result", "/api/legend/sos20", f"/tiles/sos50/{place}",
        f"/images/true/{time}/{place}", f"/api/pixel?lon={lon}&lat={lat}",
        f"/api/series?lon={lon}&lat={lat}", f"/api/pixel.csv?lon={lon}&lat={lat}",
        "/files/summary.json", "/static/index.html", "/api/shown", "/basemap",
        f"/api/place?text={lat},{lon}", f"/api/area?polygon={polygon}",
        f"/api/area/series?polygon={polygon}", f"/api/area.csv?polygon={polygon}",
    )  # fmt: skip
    odd = [str(value) for value in ODD_VALUES if isinstance(value, str | float)]
    listening = socket.create_server(("127.0.0.1", 0))
    basemap = folder / "base.pmtiles"
    basemap.write_bytes(pmtiles())
    app = create_app(Shown((viewed,), basemap=basemap))
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()

    @st.composite
    def addresses(draw: st.DrawFn) -> bytes:
        if draw(st.integers(0, 3)) == 0:
            return draw(damaged_text(*valid)).strip().replace(b"\n", b"")
        address = draw(st.sampled_from(valid))
        marks = [k for k, letter in enumerate(address) if letter in "/=&?"]
        start = draw(st.sampled_from(marks)) + 1
        stop = next((k for k in marks if k >= start), len(address))
        text = draw(st.sampled_from(odd)).encode("utf-8", "surrogatepass")
        text = b"".join(b"%%%02x" % byte for byte in text)
        return address[:start].encode() + text + address[stop:].encode()

    def read(address: bytes) -> Any:
        with socket.create_connection(listening.getsockname()) as connection:
            connection.settimeout(120)  # the first request compiles kernels
            connection.sendall(
                b"GET " + address + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            )
            status = connection.recv(65536).split(b" ")[1]
        assert status[:1] in (b"2", b"3", b"4"), f"status {status!r}"
        if status >= b"4":
            raise DeepCropError(f"status {status!r}")

    for address in valid:
        read(address.encode())
    try:
        yield addresses(), read
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


WEB_READERS = (
    Reader("stac items", _stac_items, share=40),
    Reader("stac answers", _stac_answers, share=20),
    Reader("http answers", _http_answers, share=20),
    Reader("phenocam answers", _phenocam_answers, share=15),
    Reader("cdl answers", _cdl_answers, share=10),
    Reader("remote files", _remote_files, share=10),
    Reader("earth engine images", _earth_engine_images, share=20),
    Reader("viewer", _viewer, share=20),
)
