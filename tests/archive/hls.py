"""HLS v2.0 of the Planetary Computer on the loopback, from arrays of 30 m.

Items have the form of real ones of ``hls2-l30`` and ``hls2-s30``, which are NASA's own STAC items
with other addresses: reference system by the MGRS tile, no scale, offset or file size. Files are
int16 in units of 0.0001 with -9999 where there is no data, and Fmask as uint8 with 255. South of
the equator files have the northern zone and negative northings, although the item names the
southern.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer
from tests.archive.items import COG, Item, _feature, _schema
from tests.archive.server import Request, Response, Server, file_response
from tests.archive.stac import Api, Tokens, _serve_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

STORAGE = "http://hls2euwest.blob.core.windows.net/hls2"
BANDS = {
    "L30": ("B01", "B02", "B03", "B04", "B05", "Fmask"),
    "S30": ("B01", "B02", "B03", "B04", "B05", "B08", "B8A", "Fmask"),
}
"""Bands that the items name; a file is behind those that are given."""

COLLECTIONS = {"L30": "hls2-l30", "S30": "hls2-s30"}
NASA_COLLECTIONS = {"L30": "HLSL30_2.0", "S30": "HLSS30_2.0"}
PLATFORMS = {"L30": "landsat-9", "S30": "sentinel-2a"}


class Hls:
    """Both collections behind one API, on a server; `environment` points clients to it.

    With ``storage``, another address of the files, they are for everybody.
    """

    def __init__(
        self,
        server: Server,
        folder: Path,
        storage: str = STORAGE,
        collections: Mapping[str, str] = COLLECTIONS,
    ) -> None:
        self.server, self.folder, self.tokens = server, folder, Tokens()
        self.storage, self.collections = storage, collections
        self.api = Api(
            server, "/pc/api/stac/v1", "microsoft-pc", "Microsoft Planetary Computer", "token"
        )
        self.api.items = {name: [] for name in collections.values()}
        self.api.serve()
        _serve_tokens(server, "/pc/api/sas/v1", self.tokens)
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Variables that point clients to the loopback; see `tests.archive.stac`."""
        return {
            "DEEPCROP_PC": self.api.url,
            "PC_SDK_SAS_URL": f"{self.server.url}/pc/api/sas/v1/token",
            "PC_SDK_SUBSCRIPTION_KEY": "",
            "http_proxy": self.server.url,
            "no_proxy": "127.0.0.1,localhost",
        }

    def publish(
        self, kind: str, time: str, box: GeoBox, bands: Mapping[str, NDArray[Any]], cloud: int = 5
    ) -> Item:
        """Serve a product of ``L30`` or ``S30`` over a grid, and return its item."""
        south = str(box.crs).startswith("EPSG:327")
        zone = int(str(box.crs)[-2:])
        day = np.datetime64(time, "D")
        number = int((day - day.astype("M8[Y]")).astype(int)) + 1
        name = f"HLS.{kind}.T{zone:02d}{'H' if south else 'T'}AB.{time[:4]}{number:03d}T"
        name += f"{time[11:].replace(':', '')}.v2.0"
        home = f"{self.storage}/{kind}/{zone:02d}/A/AB/{day}/{name}"
        assets: dict[str, Any] = {
            band: {
                "href": f"{home}/{name}.{band}.tif",
                "type": COG,
                "roles": ["data"],
                "eo:bands": [{"name": band}],
            }
            for band in BANDS[kind]
        }
        left, bottom, right, top = box.boundingbox.bbox
        xs, ys = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
        lon, lat = Transformer.from_crs(str(box.crs), 4326, always_xy=True).transform(xs, ys)
        properties = {
            "datetime": f"{time}.123000Z",
            "start_datetime": f"{time}.123000Z",
            "end_datetime": f"{time}.123000Z",
            "platform": PLATFORMS[kind],
            "instruments": ["msi" if kind == "S30" else "oli"],
            "eo:cloud_cover": cloud,
            "proj:epsg": box.crs.epsg,
            "proj:shape": list(box.shape),
            "proj:transform": [float(v) for v in box.affine[:6]],
            "view:sun_azimuth": 150.0,
        }
        extensions = _schema("eo/v1.0.0", "projection/v1.0.0", "view/v1.0.0", "scientific/v1.0.0")
        ring = [list(place) for place in zip(lon, lat, strict=True)]
        item = _feature(name, self.collections[kind], ring, properties, assets, [], extensions)
        item["geometry"] = {"type": "MultiPolygon", "coordinates": [[ring]]}
        for band, numbers in bands.items():
            self._serve_file(assets[band]["href"], numbers, box, south)
        self.api.add(item)
        return item

    def _serve_file(self, href: str, numbers: NDArray[Any], box: GeoBox, south: bool) -> None:
        place = urllib.parse.urlsplit(href).path
        path = self.folder / place.rpartition("/")[2]
        affine, crs = box.affine, str(box.crs)
        if south:
            affine = Affine(*affine[:5], affine.f - 10_000_000)
            crs = crs.replace("EPSG:327", "EPSG:326")
        profile = {
            "driver": "COG", "height": numbers.shape[0], "width": numbers.shape[1], "count": 1,
            "dtype": numbers.dtype, "nodata": 255 if numbers.dtype == np.uint8 else -9999,
            "crs": crs, "transform": affine,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as file:
            file.write(numbers, 1)

        def answer(request: Request) -> Response:
            refusal = self.tokens.refusal(request, "hls2") if self.storage == STORAGE else None
            return refusal or file_response(path, COG)

        self.server.route("GET", re.escape(place), answer)
