"""The Copernicus Data Space on the loopback: its items, and its S3 storage of JPEG 2000 files.

Items have the form of real ones of ``sentinel-2-l2a`` at https://stac.dataspace.copernicus.eu/v1.
As there, scale and offset of every product are 0.0001 and -0.1, whatever its baseline, and the
reference system is stated for each asset. The storage gives a file only for a request that is
signed with its keys (AWS Signature Version 4, in the query).
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import rasterio
from tests.archive.items import _BANDS, Item, OpticalProduct, _cloud_cover, _feature, _utc
from tests.archive.server import Request, Response

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "s3://eodata"
ZIPPER = "https://zipper.dataspace.copernicus.eu/odata/v1"
UUID = "7d10d1f8-e4a8-40d8-af15-4c227639d61a"
RESOLUTIONS = {"B02": (10, 20, 60), "B03": (10, 20, 60), "B04": (10, 20, 60), "B08": (10,)}


def sentinel2(product: OpticalProduct, root: str, _storage: str) -> Item:
    """Item of ``sentinel-2-l2a``; of its bands, those that deepcrop reads."""
    flown, tile = product.flown, product.tile
    name = product.uri.removesuffix(".SAFE")
    safe = f"/Sentinel-2/MSI/L2A_N0500/{flown.time:%Y/%m/%d}/{product.uri}"
    granule = f"GRANULE/L2A_T{tile.name}_A{flown.absolute_orbit:06d}_{product.start}"
    assets: dict[str, Any] = {}
    for band, resolutions in (*RESOLUTIONS.items(), ("SCL", (20, 60))):
        for size in resolutions:
            file = f"{granule}/IMG_DATA/R{size}m/T{tile.name}_{product.start}_{band}_{size}m.jp2"
            nodes = "".join(f"/Nodes({part})" for part in (product.uri, *file.split("/")))
            left, bottom, right, top = tile.bounds
            shape = list(tile.at(size).shape)
            assets[f"{band}_{size}m"] = {
                "type": "image/jp2",
                "title": f"{band} - {size}m",
                "roles": ["data", "reflectance", f"gsd:{size}m"],
                "data_type": "uint16",
                "nodata": 0,
                "gsd": size,
                "proj:code": f"EPSG:{tile.epsg}",
                "proj:shape": shape,
                "proj:bbox": [left, bottom, right, top],
                "proj:transform": [size, 0, left, 0, -size, top],
                "file:size": 0,
                "file:checksum": "",
                "file:local_path": f"{product.uri}/{file}",
                "href": f"{BUCKET}{safe}/{file}",
                "alternate:name": "S3",
                "auth:refs": ["s3"],
                "storage:refs": ["cdse-s3", "creodias-s3"],
                "alternate": {
                    "https": {
                        "href": f"{ZIPPER}/Products({UUID}){nodes}/$value",
                        "alternate:name": "HTTPS",
                        "auth:refs": ["oidc"],
                        "storage:refs": [],
                    }
                },
            }
            if band == "SCL":
                assets[f"{band}_{size}m"] |= {"data_type": "uint8", "roles": ["data"]}
            else:
                common, centre, width, _ = _BANDS[band]
                assets[f"{band}_{size}m"] |= {
                    "bands": [
                        {
                            "name": band,
                            "eo:center_wavelength": centre,
                            "eo:full_width_half_max": width,
                            "eo:common_name": common,
                        }
                    ],
                    "raster:scale": 0.0001,
                    "raster:offset": -0.1,
                }
    properties = {
        "gsd": 10,
        "created": _utc(product.generated),
        "datetime": _utc(flown.time),
        "start_datetime": _utc(flown.time),
        "end_datetime": _utc(flown.time),
        "platform": f"sentinel-{flown.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "grid:code": f"MGRS-{tile.name}",
        "product:type": "S2MSI2A",
        "product:timeliness": "PT24H",
        "processing:level": "L2",
        "processing:version": product.baseline,
        "processing:datetime": _utc(product.generated),
        "processing:facility": "ESA",
        "eo:cloud_cover": round(_cloud_cover(product.shares), 2),
        "sat:orbit_state": "descending",
        "sat:relative_orbit": flown.relative_orbit,
        "sat:absolute_orbit": flown.absolute_orbit,
        "auth:schemes": {"s3": {"type": "s3"}},
        "storage:schemes": {
            "cdse-s3": {
                "title": "Copernicus Data Space Ecosystem S3",
                "platform": "https://eodata.dataspace.copernicus.eu",
                "requester_pays": False,
                "type": "custom-s3",
            }
        },
    }
    home = f"{root}/collections/sentinel-2-l2a"
    links = [
        {"rel": "collection", "type": "application/json", "href": home},
        {"rel": "root", "type": "application/json", "href": f"{root}/"},
        {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{name}"},
    ]
    schemas = [
        f"https://stac-extensions.github.io/{extension}/schema.json"
        for extension in ("eo/v2.0.0", "raster/v2.0.0", "sat/v1.0.0", "projection/v2.0.0")
    ]
    return _feature(
        name, "sentinel-2-l2a", tile.outline(), properties, assets, links, schemas, "1.1.0"
    )


def jpeg2000(path: Path) -> Path:
    """Write a GeoTIFF as JPEG 2000 without loss, as ESA delivers it; a file that exists is kept."""
    target = path.with_suffix(".jp2")
    if not target.exists():
        with rasterio.open(path) as source:
            profile = {
                "driver": "JP2OpenJPEG", "height": source.height, "width": source.width,
                "count": 1, "dtype": source.dtypes[0], "crs": source.crs,
                "transform": source.transform,
            }  # fmt: skip
            options = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024}
            with rasterio.open(target, "w", **profile, **options) as file:
                file.write(source.read(1), 1)
    return target


@dataclass
class Keys:
    """The keys that the storage accepts; ``refusal`` checks the signature of a request."""

    access: str = "SIMULATEDKEY"
    secret: str = "simulated/secret+of=a user"

    def refusal(self, request: Request) -> Response | None:
        """What the storage answers instead of the file, or None where the signature is good."""
        given = {name: values[0] for name, values in request.query.items()}
        signature = given.pop("X-Amz-Signature", "")
        key, _, scope = given.get("X-Amz-Credential", "").partition("/")
        if key != self.access:
            return _refuse("InvalidAccessKeyId" if key else "AccessDenied")
        stamp, region = given["X-Amz-Date"], scope.split("/")[1]
        names = given["X-Amz-SignedHeaders"].split(";")
        quoted = {name: urllib.parse.quote(value, safe="") for name, value in given.items()}
        canonical = [
            request.method,
            urllib.parse.quote(request.path, safe="/~"),
            "&".join(f"{name}={quoted[name]}" for name in sorted(quoted)),
            *(f"{name}:{request.headers[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
        hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])
        secret = ("AWS4" + self.secret).encode()
        for part in (stamp[:8], region, "s3", "aws4_request", text):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        if secret.hex() != signature:
            return _refuse("SignatureDoesNotMatch")
        begin = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        end = begin + timedelta(seconds=int(given["X-Amz-Expires"]))
        return None if begin <= datetime.now(UTC) < end else _refuse("AccessDenied")


def _refuse(code: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Response(text.encode(), 403, {"Content-Type": "application/xml"})
