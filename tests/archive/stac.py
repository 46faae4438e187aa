"""Satellite archives on the loopback: STAC APIs, signed blobs and COGs of a simulated region.

One simulated cube is served as any of `FLAVOURS`, each with the metadata, asset names and digital
numbers of the archive it stands for::

    with Server() as server:
        bed = serve_region(server, folder, cube, ("pc-05.10", "pc-rtc", "es-c1"))
        for name, value in bed.environment().items():
            monkeypatch.setenv(name, value)
        client = pystac_client.Client.open(bed.pc, modifier=planetary_computer.sign_inplace)
        ...
        assert equal(what_came_back, region.coarsen_mask(cube))

Addresses: ``bed.pc`` (Planetary Computer's API), ``bed.sas`` (its token service, up to ``/token``),
``bed.es`` (Earth Search, version 1), ``bed.es_v0`` (version 0), ``bed.cdse`` (Copernicus Data
Space; its files are at ``bed.s3``, for the keys of `Bed.environment`).

The items of the Planetary Computer name blobs under their true hosts
(``http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/...``, the ``s`` of https is all that is
missing), because the ``planetary_computer`` package signs no others. The server is the HTTP proxy
for these hosts: with the environment variables of `Bed.environment`, GDAL, httpx and requests all
reach it, and the package fetches its tokens from ``bed.sas``; a client needs no code of its own for
the loopback. The package keeps its settings and tokens for the whole process; a test starts with
`forget_tokens`. Without a valid token a blob answers 403.

rasterio holds Python's lock while GDAL lists a file's folder, which would wait for a server in the
same process for ever: ``GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR`` is among the variables.

Times: an optical item's ``datetime`` is the time of the scene in the cube; so is a radar item's
``start_datetime``, while its ``datetime`` is half a slice (12.5 s) later, as in reality.
"""

from __future__ import annotations

import functools
import json
import math
import operator
import re
import secrets
import urllib.parse
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import planetary_computer.sas
import planetary_computer.settings
from shapely.geometry import box as rectangle
from shapely.geometry import shape
from tests.archive import copernicus, ground_range, items, region
from tests.archive.server import Request, Response, Server, file_response, json_response

from deepcrop import grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import shapely
    import xarray as xr


@dataclass(frozen=True)
class Flavour:
    """How an archive (``pc``, ``cdse``, ``es``, ``es-v0``) has processed a scene.

    ``build`` makes the item, ``offset`` is what is added to the digital numbers, ``applied`` what
    a legacy item says of it.
    """

    archive: str
    build: Callable[..., items.Item]
    baseline: str
    offset: int = 0
    applied: bool = True


OPTICAL_FLAVOURS = {
    "pc-03.01": Flavour("pc", items.pc_sentinel2, "03.01"),
    "pc-05.10": Flavour("pc", items.pc_sentinel2, "05.10", 1000),
    "pc-05.11": Flavour("pc", items.pc_sentinel2, "05.11", 1000),
    "cdse-02.14": Flavour("cdse", copernicus.sentinel2, "02.14"),
    "cdse-05.10": Flavour("cdse", copernicus.sentinel2, "05.10", 1000),
    "es-c1": Flavour("es", items.es_c1, "05.10", 1000),
    "es-legacy": Flavour("es", items.es_legacy, "05.10"),
    "es-legacy-03.01": Flavour("es", items.es_legacy, "03.01", applied=False),
    "es-legacy-raw": Flavour("es", items.es_legacy, "05.10", 1000, applied=False),
    "es-legacy-lies-applied": Flavour("es", items.es_legacy, "05.10", 1000),
    "es-legacy-lies-not-applied": Flavour("es", items.es_legacy, "05.10", applied=False),
    "es-v0": Flavour("es-v0", items.es_v0, "04.00"),
    "es-v0-03.01": Flavour("es-v0", items.es_v0, "03.01"),
}
FLAVOURS = (*OPTICAL_FLAVOURS, "pc-rtc", "cdse-grd")
"""What a region can be served as. In an ``es-legacy-lies-...`` the item contradicts its pixels;
``pc-rtc`` is the radar, with the ground-range items it is derived from; ``cdse-grd`` is the radar
as ground-range images, with the DEM that they need."""

# Collection: storage account, container.
_BLOBS = {
    "sentinel-2-l2a": ("sentinel2l2a01", "sentinel2-l2"),
    "sentinel-1-rtc": ("sentinel1euwestrtc", "sentinel1-grd-rtc"),
    "sentinel-1-grd": ("sentinel1euwest", "s1-grd"),
    "usda-cdl": ("landcoverdata", "usda-cdl"),  # published by `tests.archive.cropland`
}


# --------------------------------------------------------------------------------------------
# The token service


@dataclass
class Tokens:
    """Shared-access tokens as Azure and the Planetary Computer's service have them.

    A token is good for one container, for ``lifetime`` seconds, and for ``uses`` requests where
    that is given; the service always announces the lifetime only.
    """

    lifetime: float = 3600.0
    uses: int | None = None
    issued: dict[str, list] = field(default_factory=dict)  # signature: container, expiry, uses

    def issue(self, account: str, container: str) -> dict[str, str]:
        """Answer of the service for a container."""
        now = datetime.now(UTC)
        expiry = now + timedelta(seconds=self.lifetime)
        signature = secrets.token_urlsafe(24) + "="  # never the same: GDAL caches by address
        self.issued[signature] = [container, expiry, math.inf if self.uses is None else self.uses]
        start = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
        query = {
            "st": start, "se": f"{expiry:%Y-%m-%dT%H:%M:%SZ}", "sp": "rl", "sv": "2024-05-04",
            "sr": "c", "skoid": "9c8ff44a-6a2c-4dfb-b298-1c9212f64d9a",
            "sktid": "72f988bf-86f1-41af-91ab-2d7cd011db47", "skt": start,
            "ske": f"{now + timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}", "sks": "b",
            "skv": "2024-05-04", "sig": signature,
        }  # fmt: skip
        return {"msft:expiry": expiry.isoformat(), "token": urllib.parse.urlencode(query)}

    def revoke(self) -> None:
        """End all tokens issued so far."""
        self.issued.clear()

    def refusal(self, request: Request, container: str) -> Response | None:
        """What blob storage answers instead of the blob, or None where the token is good."""
        token = self.issued.get(request.one("sig") or "")
        if token is not None and token[0] == container and datetime.now(UTC) < token[1]:
            token[2] -= 1
            if token[2] >= 0:
                return None
        text = (
            '﻿<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code>'
            "<Message>Server failed to authenticate the request. Make sure the value of "
            "Authorization header is formed correctly including the signature.</Message></Error>"
        )
        return Response(text.encode(), 403, {"Content-Type": "application/xml"})


def forget_tokens() -> None:
    """Make the ``planetary_computer`` package read its settings anew and drop its tokens."""
    planetary_computer.sas.TOKEN_CACHE.clear()
    planetary_computer.settings.Settings.get.cache_clear()


def _serve_tokens(server: Server, prefix: str, tokens: Tokens) -> None:
    def of_container(_: Request, account: str, container: str) -> Response:
        return json_response(tokens.issue(account, container))

    def of_collection(_: Request, collection: str) -> Response:
        if collection not in _BLOBS:
            return json_response({"detail": "Collection not found"}, 404)
        return json_response(tokens.issue(*_BLOBS[collection]))

    def sign(request: Request) -> Response:
        href = request.one("href") or ""
        split = urllib.parse.urlsplit(href)
        account, container = split.netloc.split(".")[0], split.path.split("/")[1]
        token = tokens.issue(account, container)
        return json_response(
            {"msft:expiry": token["msft:expiry"], "href": f"{href}?{token['token']}"}
        )

    server.route("GET", f"{prefix}/token/(?P<account>[^/]+)/(?P<container>[^/]+)", of_container)
    server.route("GET", f"{prefix}/token/(?P<collection>[^/]+)", of_collection)
    server.route("GET", f"{prefix}/sign", sign)


# --------------------------------------------------------------------------------------------
# The STAC API


@dataclass
class Api:
    """A STAC API under ``path``; ``paging`` is ``token`` (Planetary Computer) or ``next``.

    ``page`` is the largest page it gives, however many are asked for. It heeds ``query`` only
    where ``conforms_to_query``, and else ignores it, as servers without the extension do.
    """

    server: Server
    path: str
    name: str
    title: str
    paging: str
    page: int = 10
    conforms_to_query: bool = True
    items: dict[str, list[items.Item]] = field(default_factory=dict)  # by collection

    @property
    def url(self) -> str:
        return self.server.url + self.path

    def serve(self) -> None:
        """Register the routes."""
        for method, pattern, handler in (
            ("GET", "/?", self._landing),
            ("GET", "/conformance", lambda _: json_response({"conformsTo": self._conformance()})),
            ("GET", "/collections", self._collections),
            ("GET", "/collections/(?P<collection>[^/]+)", self._collection),
            ("GET", "/collections/(?P<collection>[^/]+)/items", self._collection_items),
            ("GET", "/collections/(?P<collection>[^/]+)/items/(?P<name>[^/]+)", self._item),
            ("GET", "/search", self._search_by_get),
            ("POST", "/search", lambda request: self._search(request.json(), "POST")),
        ):
            self.server.route(method, re.escape(self.path) + pattern, handler)

    def add(self, item: items.Item) -> None:
        """Publish an item; one of the same name is replaced."""
        published = self.items.setdefault(item["collection"], [])
        published[:] = [other for other in published if other["id"] != item["id"]] + [item]

    def has(self, name: str) -> bool:
        """Whether an item of this name is published."""
        return any(item["id"] == name for several in self.items.values() for item in several)

    def _conformance(self) -> list[str]:
        classes = ["core", "collections", "ogcapi-features", "item-search", "item-search#fields"]
        classes += ["item-search#sort"] + ["item-search#query"] * self.conforms_to_query
        return [f"https://api.stacspec.org/v1.0.0/{name}" for name in classes] + [
            f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}"
            for name in ("core", "oas30", "geojson")
        ]

    def _landing(self, _: Request) -> Response:
        geojson = {"type": "application/geo+json"}
        links = [
            {"rel": "self", "type": "application/json", "href": self.url},
            {"rel": "root", "type": "application/json", "href": self.url},
            {"rel": "data", "type": "application/json", "href": f"{self.url}/collections"},
            {"rel": "conformance", "type": "application/json", "href": f"{self.url}/conformance"},
            {"rel": "search", **geojson, "href": f"{self.url}/search", "method": "GET"},
            {"rel": "search", **geojson, "href": f"{self.url}/search", "method": "POST"},
            *(
                {
                    "rel": "child",
                    "type": "application/json",
                    "href": f"{self.url}/collections/{name}",
                }
                for name in self.items
            ),
        ]
        return json_response(
            {
                "type": "Catalog",
                "id": self.name,
                "title": self.title,
                "description": "Searchable metadata of simulated satellite images.",
                "stac_version": "1.0.0",
                "conformsTo": self._conformance(),
                "links": links,
            }
        )

    def _describe(self, collection: str) -> dict[str, Any]:
        published = self.items[collection]
        home = f"{self.url}/collections/{collection}"
        boxes = [item["bbox"] for item in published]
        west, south = (min(b[k] for b in boxes) for k in (0, 1))
        east, north = (max(b[k] for b in boxes) for k in (2, 3))
        times = sorted(map(_time, published))
        described = {
            "type": "Collection",
            "id": collection,
            "title": f"{collection} (simulated)",
            "description": f"A simulated region in the form of {collection}.",
            "stac_version": "1.0.0",
            "license": "proprietary",
            "extent": {
                "spatial": {"bbox": [[west, south, east, north]]},
                "temporal": {"interval": [[times[0], None]]},
            },
            "links": [
                {"rel": "self", "type": "application/json", "href": home},
                {"rel": "parent", "type": "application/json", "href": self.url},
                {"rel": "root", "type": "application/json", "href": self.url},
                {"rel": "items", "type": "application/geo+json", "href": f"{home}/items"},
            ],
        }
        if self.paging == "token" and collection in _BLOBS:
            account, container = _BLOBS[collection]
            described |= {"msft:storage_account": account, "msft:container": container}
        return described

    def _collections(self, _: Request) -> Response:
        links = [{"rel": "root", "type": "application/json", "href": self.url}]
        described = [self._describe(name) for name in self.items]
        return json_response({"collections": described, "links": links})

    def _missing(self, what: str) -> Response:
        return json_response({"code": "NotFoundError", "description": f"{what} not found"}, 404)

    def _collection(self, _: Request, collection: str) -> Response:
        if collection not in self.items:
            return self._missing(f"Collection {collection}")
        return json_response(self._describe(collection))

    def _collection_items(self, request: Request, collection: str) -> Response:
        if collection not in self.items:
            return self._missing(f"Collection {collection}")
        return self._search_by_get(request, f"/collections/{collection}/items", collection)

    def _item(self, _: Request, collection: str, name: str) -> Response:
        for item in self.items.get(collection, []):
            if item["id"] == name:
                return json_response(item, kind="application/geo+json")
        return self._missing(f"Item {name} in collection {collection}")

    def _search_by_get(
        self, request: Request, path: str = "/search", collection: str | None = None
    ) -> Response:
        wanted: dict[str, Any] = {name: values[0] for name, values in request.query.items()}
        for name in {"collections", "ids"} & set(wanted):
            wanted[name] = wanted[name].split(",")
        for name in {"intersects", "query"} & set(wanted):
            wanted[name] = json.loads(wanted[name])
        if "bbox" in wanted:
            wanted["bbox"] = [float(v) for v in wanted["bbox"].split(",")]
        if collection:
            wanted["collections"] = [collection]
        return self._search(wanted, "GET", path, dict(request.query))

    def _search(
        self,
        wanted: dict[str, Any],
        method: str,
        path: str = "/search",
        query: dict[str, list[str]] | None = None,
    ) -> Response:
        if "bbox" in wanted and "intersects" in wanted:
            text = "intersects and bbox parameters are mutually exclusive"
            return json_response({"code": "RequestValidationError", "description": text}, 400)
        found = [
            item
            for collection in wanted.get("collections") or list(self.items)
            for item in self.items.get(collection, [])
            if self._matches(item, wanted)
        ]
        found.sort(key=lambda item: (_time(item), item["id"]), reverse=True)
        first = 0
        if mark := wanted.get(self.paging):
            names = [item["id"] for item in found]
            first = names.index(re.split("[:,]", mark.removeprefix("next:"))[-1]) + 1
        size = min(int(wanted.get("limit") or self.page), self.page)
        page = found[first : first + size]
        links = [{"rel": "root", "type": "application/json", "href": self.url}]
        if first + size < len(found):
            links.append(self._next(page[-1], wanted, method, path, query or {}))
        answer = {"type": "FeatureCollection", "features": page, "links": links}
        if self.paging == "next":
            answer |= {"numberMatched": len(found), "numberReturned": len(page)}
        return json_response(answer, kind="application/geo+json")

    def _next(
        self, last: items.Item, wanted: dict, method: str, path: str, query: dict[str, list[str]]
    ) -> dict[str, Any]:
        """Link to the next page: all of the search again, and where to go on."""
        mark = f"{last['collection']}:{last['id']}"
        if self.paging == "token":
            mark = f"next:{mark}"
        link = {"rel": "next", "type": "application/geo+json", "method": method}
        href = f"{self.url}{path}"
        if method == "POST":
            link |= {"href": href, "body": wanted | {self.paging: mark}, "merge": False}
        else:
            marked = urllib.parse.urlencode(query | {self.paging: [mark]}, doseq=True)
            link |= {"href": f"{href}?{marked}"}
        return link

    def _matches(self, item: items.Item, wanted: dict[str, Any]) -> bool:
        if wanted.get("ids") and item["id"] not in wanted["ids"]:
            return False
        if wanted.get("bbox") and not shape(item["geometry"]).intersects(_area(wanted["bbox"])):
            return False
        if wanted.get("intersects") and not shape(item["geometry"]).intersects(
            shape(wanted["intersects"])
        ):
            return False
        properties = item["properties"]
        if wanted.get("datetime"):
            first, last = _interval(wanted["datetime"])
            start = properties.get("start_datetime", properties["datetime"])
            end = properties.get("end_datetime", properties["datetime"])
            if datetime.fromisoformat(end) < first or datetime.fromisoformat(start) > last:
                return False
        if not self.conforms_to_query:
            return True
        return all(
            name in properties and _OPERATORS[comparison](properties[name], value)
            for name, conditions in (wanted.get("query") or {}).items()
            for comparison, value in conditions.items()
        )


def _time(item: items.Item) -> str:
    """Time of an item; its beginning where it has only an interval."""
    properties = item["properties"]
    return properties["datetime"] or properties["start_datetime"]


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, several: value in several,
    "startsWith": lambda value, start: value.startswith(start),
    "endsWith": lambda value, end: value.endswith(end),
    "contains": lambda value, part: part in value,
}


def _area(bbox: list[float]) -> shapely.Geometry:
    """Area of a bounding box of 4 or 6 numbers, also across the date line (west > east)."""
    west, south, east, north = bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    if west <= east:
        return rectangle(west, south, east, north)
    return rectangle(west, south, 180, north).union(rectangle(-180, south, east, north))


def _interval(text: str) -> tuple[datetime, datetime]:
    """First and last moment of ``a/b``, ``a/..``, ``../b`` or a single time."""
    ends = text.split("/") if "/" in text else [text, text]
    open_ends = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    first, last = (
        otherwise if end in ("", "..") else datetime.fromisoformat(end)
        for end, otherwise in zip(ends, open_ends, strict=True)
    )
    return first, last


# --------------------------------------------------------------------------------------------
# A region, served


@dataclass
class Bed:
    """The archives that serve one region; `publish` adds products to them.

    ``apis`` are those of ``pc``, ``cdse``, ``es`` and ``es-v0``, ``sas`` is the address of the
    token service, ``storage`` that of Earth Search's files, ``s3`` that of the Copernicus Data
    Space, which are for holders of ``keys``.
    """

    server: Server
    folder: Path
    cube: xr.DataTree
    tokens: Tokens
    apis: dict[str, Api]
    sas: str
    storage: str
    s3: str
    keys: copernicus.Keys = field(default_factory=copernicus.Keys)

    @property
    def pc(self) -> str:
        """Address of the Planetary Computer's API."""
        return self.apis["pc"].url

    @property
    def cdse(self) -> str:
        """Address of the Copernicus Data Space's API."""
        return self.apis["cdse"].url

    @property
    def es(self) -> str:
        """Address of Earth Search, version 1."""
        return self.apis["es"].url

    @property
    def es_v0(self) -> str:
        """Address of Earth Search, version 0."""
        return self.apis["es-v0"].url

    def environment(self) -> dict[str, str]:
        """Variables that point clients to the loopback; see the module."""
        return {
            "PC_SDK_SAS_URL": self.sas,
            "PC_SDK_SUBSCRIPTION_KEY": "",
            "DEEPCROP_CDSE_S3": self.s3,
            "AWS_ACCESS_KEY_ID": self.keys.access,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret,
            "http_proxy": self.server.url,
            "no_proxy": "127.0.0.1,localhost",
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        }

    def signed(self, folder: Path) -> list[Path]:
        """Files below a folder that hold a signature which has been issued, in whatever form."""
        issued = [s.rstrip("=").encode() for s in self.tokens.issued]
        contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return [
            path
            for path, content in contents.items()
            if b"sig=" in content or any(signature in content for signature in issued)
        ]

    @functools.cached_property
    def tile(self) -> region.Tile:
        """Tile of the region."""
        return region.tile_around(grid.grid_of(self.cube["optical"].to_dataset()))

    def publish(self, flavour: str, scenes: Iterable[int], zone: int = 0) -> list[items.Item]:
        """Serve scenes of the cube, by number, as a flavour, and return their items.

        Also for what goes wrong in archives: another flavour of a scene that is there already is
        a reprocessed duplicate; ``zone=1`` is the scene on the grid of the next UTM zone to the
        east, -1 to the west.
        """
        if flavour == "pc-rtc":
            region.write_radar(self.cube, self.folder, self.tile)
            return [item for k in scenes for item in self._publish_radar(k)]
        if flavour == "cdse-grd":
            geometry = ground_range.geometry_of(self.cube)
            item, path = ground_range.dem_tile(self.folder, geometry.box)
            self._serve_files(item, {"data": path})
            self.apis["cdse"].add(item)
            return [self._publish_ground_range(geometry, k) for k in scenes]
        made = OPTICAL_FLAVOURS[flavour]
        region.write_optical(self.cube, self.folder, self.tile, made.offset)
        return [self._publish_optical(made, k, zone) for k in scenes]

    def _publish_optical(self, made: Flavour, k: int, zone: int) -> items.Item:
        group = self.cube["optical"]
        orbit = int(group["relative_orbit"].values[k])
        flown = region.pass_at(group["time"].values[k], orbit, "S2")
        tile = self.tile
        if zone:
            tile = region.move_to_zone(self.folder, k, made.offset, tile, zone)
        paths = {
            band: region.optical_path(self.folder, band, k, made.offset, zone)
            for band in region.BANDS
        } | {"SCL": region.optical_path(self.folder, "SCL", k, 0, zone)}
        api = self.apis[made.archive]
        product = items.OpticalProduct(
            flown,
            tile,
            made.baseline,
            flown.time + timedelta(hours=float(made.baseline)),  # a newer processor comes later
            region.class_shares(paths["SCL"]),
            made.applied,
        )
        while made.archive.startswith("es") and api.has(items.sequence_name(product)):
            product = replace(product, sequence=product.sequence + 1)
        storage = _blob_address("sentinel-2-l2a") if made.archive == "pc" else self.storage
        item = made.build(product, api.url, storage)
        names = region.BANDS | {"SCL": "scl"} if made.archive == "es" else {}
        if made.archive == "cdse":
            names = {band: f"{band}_{20 if band == 'SCL' else 10}m" for band in paths}
            paths = {band: copernicus.jpeg2000(path) for band, path in paths.items()}
        self._serve_files(item, {names.get(band, band): path for band, path in paths.items()})
        api.add(item)
        return item

    def _publish_radar(self, k: int) -> list[items.Item]:
        group = self.cube["sar"].to_dataset()
        orbit = int(group["relative_orbit"].values[k])
        flown = region.pass_at(group["time"].values[k], orbit, "S1")
        swath = region.swath_over(grid.grid_of(group), orbit)
        product = items.RadarProduct(flown, swath, self.tile)
        rtc = items.pc_sentinel1_rtc(product, self.pc, _blob_address("sentinel-1-rtc"))
        files = {key: region.radar_path(self.folder, key, k) for key in ("vv", "vh")}
        self._serve_files(rtc, files)
        annotations = {}
        for key in ("vv", "vh"):
            path = self.folder / f"annotation_{key}_{k:03d}.xml"
            path.write_bytes(region.annotation(swath, flown, key))
            annotations[f"schema-product-{key}"] = path
        grd = items.pc_sentinel1_grd(product, self.pc, _blob_address("sentinel-1-grd"))
        self._serve_files(grd, annotations)
        self.apis["pc"].add(rtc)
        self.apis["pc"].add(grd)
        return [rtc, grd]

    def _publish_ground_range(self, geometry: ground_range.Geometry, k: int) -> items.Item:
        group = self.cube["sar"].to_dataset()
        orbit = int(group["relative_orbit"].values[k])
        flown = region.pass_at(group["time"].values[k], orbit, "S1")
        swath = region.swath_over(grid.grid_of(group), orbit)
        product = items.RadarProduct(flown, swath, self.tile)
        item = ground_range.sentinel1(product, self.cdse)
        for key in ("vv", "vh"):
            path = self.folder / f"grd_{key}_{k:03d}.tiff"
            ground_range.write_image(path, geometry, group[key].values[k])
            self._serve_files(item, {key: path})
            safe, _, file = item["assets"][key]["href"].rpartition("/measurement/")
            for n, (name, text) in enumerate(ground_range.tables(geometry, product).items()):
                table = self.folder / f"grd_{key}_{k:03d}_{n}.xml"
                table.write_text(text)
                href = f"{safe}/{name.format(file.removesuffix('.tiff'))}"
                beside = {"assets": {"table": {"href": href, "type": "application/xml"}}}
                self._serve_files(beside, {"table": table})
        self.apis["cdse"].add(item)
        return item

    def _serve_files(self, item: items.Item, files: dict[str, Path]) -> None:
        """Answer at the addresses of an item's assets; blobs ask for a token."""
        for key, path in files.items():
            items.describe_file(item["assets"][key], path)
            split = urllib.parse.urlsplit(item["assets"][key]["href"])
            place = split.path
            if split.scheme == "s3":
                place = f"{urllib.parse.urlsplit(self.s3).path}/{split.netloc}{split.path}"
            blob = split.netloc.endswith(".blob.core.windows.net")
            container = split.path.split("/")[1]

            def answer(
                request: Request,
                path: Path = path,
                kind: str = item["assets"][key]["type"],
                container: str | None = container if blob else None,
                signed: bool = split.scheme == "s3",
            ) -> Response:
                refusal = self.tokens.refusal(request, container) if container else None
                refusal = self.keys.refusal(request) if signed else refusal
                return refusal or file_response(path, kind)

            self.server.route("GET", re.escape(place), answer)


def _blob_address(collection: str) -> str:
    account, container = _BLOBS[collection]
    return f"http://{account}.blob.core.windows.net/{container}"


def serve_region(
    server: Server,
    folder: Path,
    cube: xr.DataTree,
    flavours: Iterable[str] = ("pc-05.10", "pc-rtc", "es-c1"),
    prefix: str = "",
    tokens: Tokens | None = None,
    page: int = 10,
    conforms_to_query: bool = True,
) -> Bed:
    """Serve all scenes of a simulated cube from STAC archives.

    Two flavours of one collection make two items of every scene. To serve one scene in several
    flavours side by side, call again with another ``prefix``, which all paths of the APIs begin
    with (the blobs' do not: a server has each flavour of the Planetary Computer once).

    Parameters
    ----------
    server : Server
        Where to register the routes.
    folder : Path
        For the files; files that are there are taken to be of this cube.
    cube : DataTree
        As `deepcrop.simulation.simulate` makes it. Its mask is served at 20 m: what should come
        back is `region.coarsen_mask` of it.
    flavours : iterable of str
        Names from `FLAVOURS`.
    prefix : str
        For example ``/old``.
    tokens : Tokens, optional
        The token service.
    page : int
        Largest page of a search.
    conforms_to_query : bool
        Whether the APIs have the query extension.
    """
    apis = {
        "pc": ("/pc/api/stac/v1", "microsoft-pc", "Microsoft Planetary Computer STAC API", "token"),
        "cdse": ("/cdse/v1", "cdse-stac", "Copernicus Data Space Ecosystem (CDSE)", "token"),
        "es": ("/es/v1", "earth-search-aws", "Earth Search by Element 84", "next"),
        "es-v0": ("/es/v0", "earth-search", "Earth Search", "next"),
    }
    tokens = tokens or Tokens()
    bed = Bed(
        server,
        folder,
        cube,
        tokens,
        {
            archive: Api(server, prefix + path, name, title, paging, page, conforms_to_query)
            for archive, (path, name, title, paging) in apis.items()
        },
        f"{server.url}{prefix}/pc/api/sas/v1/token",
        f"{server.url}{prefix}/storage",
        f"{server.url}{prefix}/s3",
    )
    for api in bed.apis.values():
        api.serve()
    _serve_tokens(server, f"{prefix}/pc/api/sas/v1", tokens)
    folder.mkdir(parents=True, exist_ok=True)
    for flavour in flavours:
        group = "sar" if flavour in ("pc-rtc", "cdse-grd") else "optical"
        bed.publish(flavour, range(cube[group].sizes["time"]))
    return bed
