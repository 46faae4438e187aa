"""Google Earth Engine's REST interface on the loopback, with images made from a simulated cube.

What the earthengine library asks for is here, in the form of the real service: the description of
the interface, lists of images with filters and pages, the description of an image, its pixels as
NPY, the (empty) list of algorithms, and errors as Google writes them. Masked and missing pixels are
zeros, as the reference of ``getPixels`` says.

Every optical pass is two products, a western and an eastern tile that overlap; every radar pass is
two slices, a northern and a southern one, that touch. Beside them lie images that a client must
leave out: an older processing of the first optical product with wrong reflectance, an image far
away, an image of another radar mode, and one of a single polarisation.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, polygon
from pyproj import Transformer
from tests.archive.server import Request, Response, Server, json_response

from deepcrop import grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

SENTINEL_2 = "COPERNICUS/S2_SR_HARMONIZED"
CLOUD_SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
SENTINEL_1 = "COPERNICUS/S1_GRD"

MOST_BYTES = 50331648
MOST_PIXELS = 32768
CLOUD_DN = 8000
"""What the bands hold under clouds, where the cube has no value."""

_ASSETS = "projects/earthengine-public/assets/"
_BANDS = {"B2": "blue", "B3": "green", "B4": "red", "B8": "nir"}
_STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Image:
    """One image: its description, its grid, and what reads a band on that grid."""

    id: str
    box: GeoBox
    start: str
    properties: dict[str, Any]
    dtypes: dict[str, str]
    read: Callable[[str], NDArray]

    @property
    def collection(self) -> str:
        return self.id.rpartition("/")[0]

    @property
    def footprint(self) -> Geometry:
        """Outline in degrees."""
        left, bottom, right, top = self.box.boundingbox.bbox
        to_degrees = Transformer.from_crs(str(self.box.crs), "EPSG:4326", always_xy=True)
        lon, lat = to_degrees.transform(
            [left, left, right, right, left], [top, bottom, bottom, top, top]
        )
        return polygon([*zip(lon, lat, strict=True)], "EPSG:4326")

    def describe(self) -> dict[str, Any]:
        """Describe the image as an ``EarthEngineAsset``."""
        a, b, c, d, e, f = self.box.affine[:6]
        placed = {
            "crsCode": f"EPSG:{self.box.crs.epsg}",
            "dimensions": {"width": self.box.shape[1], "height": self.box.shape[0]},
            "affineTransform": {
                "scaleX": a,
                "shearX": b,
                "translateX": c,
                "shearY": d,
                "scaleY": e,
                "translateY": f,
            },
        }
        precision = {"u": "INT", "f": "DOUBLE"}
        return {
            "type": "IMAGE",
            "name": _ASSETS + self.id,
            "id": self.id,
            "updateTime": "2023-02-03T04:05:06.789Z",
            "properties": self.properties,
            "startTime": self.start,
            "endTime": self.start,
            "geometry": self.footprint.json,
            "bands": [
                {"id": name, "dataType": {"precision": precision[dtype[1]]}, "grid": placed}
                for name, dtype in self.dtypes.items()
            ],
            "sizeBytes": "123456789",
        }


@dataclass
class EarthEngineBed:
    """What is served; change it while the server runs.

    ``url`` is the address for `deepcrop.sources.earthengine.EarthEngine` (as an argument, or in
    DEEPCROP_EARTH_ENGINE) and for ``ee.Initialize``.
    ``refusals`` are answers in Google's form to requests whose path matches a pattern: status and
    message.
    """

    url: str
    images: dict[str, Image]
    page_size: int = 50
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)


def serve(
    server: Server, cube: xr.DataTree, prefix: str = "/ee", missing: float = 0.0
) -> EarthEngineBed:
    """Serve the optical and radar scenes of a cube.

    ``missing`` is what radar bands hold where there is no data: zeros by the reference, but fills
    that are stored in an image have been seen too.
    """
    images = [*_optical(cube), *_radar(cube, missing)]
    bed = EarthEngineBed(server.url + prefix, {image.id: image for image in images})

    def route(method: str, pattern: str, answer: Callable[..., Response]) -> None:
        def guarded(request: Request, **groups: str) -> Response:
            for matches, (status, message) in bed.refusals.items():
                if re.search(matches, request.path):
                    return _error(status, message)
            try:
                return answer(request, **groups)
            except _Refused as error:
                return _error(error.status, error.message)

        server.route(method, prefix + pattern, guarded)

    assets = rf"/v1/{_ASSETS}(?P<name>[^:]+)"
    route("GET", r"/\$discovery/rest", lambda _: json_response(discovery(server.url)))
    route("GET", r"/v1/projects/[^/]+/algorithms", lambda _: json_response({"algorithms": []}))
    route("GET", rf"{assets}:listAssets", lambda request, name: _list(bed, request, name))
    route("GET", assets, lambda _, name: json_response(_image(bed, name).describe()))
    route("POST", rf"{assets}:getPixels", lambda request, name: _pixels(bed, request, name))
    return bed


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _error(status: int, message: str) -> Response:
    error = {"code": status, "message": message, "status": _STATUS[status]}
    return json_response({"error": error}, status)


def discovery(root: str) -> dict[str, Any]:
    """Description of the interface, as Google's clients fetch it first; only what is served."""

    def path(name: str) -> dict[str, Any]:
        pattern = "^projects/[^/]+" + ("" if name == "project" else "/assets/.*$")
        return {name: {"type": "string", "location": "path", "required": True, "pattern": pattern}}

    def method(name: str, verb: str, where: str, of: str, **more: Any) -> dict[str, Any]:
        query = {
            key: {"type": kind, "location": "query"} for key, kind in more.pop("query", {}).items()
        }
        return {
            "id": f"earthengine.{name}",
            "path": where,
            "httpMethod": verb,
            "parameters": path(of) | query,
            "parameterOrder": [of],
            "response": {"$ref": "Anything"},
        } | more

    paging = {"pageSize": "integer", "pageToken": "string", "filter": "string", "view": "string"}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "earthengine:v1",
        "name": "earthengine",
        "version": "v1",
        "protocol": "rest",
        "rootUrl": root + "/",
        "servicePath": "",
        "baseUrl": root + "/",
        "batchPath": "batch",
        "parameters": {
            "alt": {"type": "string", "location": "query"},
            "prettyPrint": {"type": "boolean", "location": "query"},
        },
        "schemas": {
            "Anything": {"id": "Anything", "type": "any"},
            "ListAssetsResponse": {
                "id": "ListAssetsResponse",
                "type": "object",
                "properties": {"nextPageToken": {"type": "string"}},
            },
        },
        "resources": {
            "projects": {
                "resources": {
                    "algorithms": {
                        "methods": {
                            "list": method(
                                "projects.algorithms.list",
                                "GET",
                                "v1/{+project}/algorithms",
                                "project",
                            )
                        }
                    },
                    "assets": {
                        "methods": {
                            "get": method("projects.assets.get", "GET", "v1/{+name}", "name"),
                            "getPixels": method(
                                "projects.assets.getPixels",
                                "POST",
                                "v1/{+name}:getPixels",
                                "name",
                                request={"$ref": "Anything"},
                            ),
                            "listAssets": method(
                                "projects.assets.listAssets",
                                "GET",
                                "v1/{+parent}:listAssets",
                                "parent",
                                query=paging,
                                response={"$ref": "ListAssetsResponse"},
                            ),
                        }
                    },
                }
            }
        },
    }


# Images of a cube --------------------------------------------------------------------------------


def _optical(cube: xr.DataTree) -> Iterator[Image]:
    data = cube["optical"].to_dataset()
    box = grid.grid_of(data)
    rows, cols = box.shape
    middle = cols // 2
    tiles = {
        "15TVG": (slice(0, rows), slice(0, middle + 4)),
        "15TWG": (slice(0, rows), slice(middle - 4, cols)),
    }
    for t in range(data.sizes["time"]):
        for tile, window in tiles.items():
            yield from _optical_product(data, t, box, tile, window, "02.14")
    yield from _optical_product(data, 0, box, "15TVG", tiles["15TVG"], "02.07", error=500)
    far = _part(box, (slice(0, rows), slice(0, cols)), east=300_000)
    yield from _optical_product(data, 0, far, "16TCM", tiles["15TVG"], "02.14")


def _optical_product(
    data: xr.Dataset,
    t: int,
    box: GeoBox,
    tile: str,
    window: tuple[slice, slice],
    baseline: str,
    error: int = 0,
) -> Iterator[Image]:
    """Surface reflectance and Cloud Score+ of one tile of one pass."""
    time = data["time"].values[t]
    taken = _compact(time)
    # The second part tells processings apart too; the sensing start of the strip does not change.
    strip = _compact(time + np.timedelta64(7, "s"))
    made = _compact(time + np.timedelta64(7 + error // 100, "s"))
    scl = data["scl"].isel(time=t).values[window]
    orbit = int(data["relative_orbit"].values[t])
    index = f"{taken}_{made}_T{tile}"
    code = baseline.replace(".", "")
    properties = {
        "system:index": index,
        "PRODUCT_ID": f"S2A_MSIL2A_{taken}_N{code}_R{orbit:03d}_T{tile}_{made}",
        "DATATAKE_IDENTIFIER": f"GS2A_{taken}_014937_N{baseline}",
        "DATASTRIP_ID": f"S2A_OPER_MSI_L2A_DS_SGS__{made}_S{strip}_N{baseline}",
        "MGRS_TILE": tile,
        "SPACECRAFT_NAME": "Sentinel-2A",
        "PROCESSING_BASELINE": baseline,
        "GENERATION_TIME": 1525276800000 + 86400000 * int(code),
        "SENSING_ORBIT_NUMBER": orbit,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
        "CLOUDY_PIXEL_PERCENTAGE": round(100 * float(np.isin(scl, (3, 8, 9, 10)).mean()), 4),
    }

    def surface(name: str) -> NDArray:
        if name == "SCL":
            return scl.astype("u1")
        values = data[_BANDS[name]].isel(time=t).values[window]
        dn = np.where(np.isnan(values), CLOUD_DN, np.maximum(np.rint(values * 1e4), 1) + error)
        return np.where(scl == 0, 0, dn).astype("<u2")

    def score(_: str) -> NDArray:
        clear = np.isfinite(data["blue"].isel(time=t).values[window])
        return np.where(scl == 0, 0.0, np.where(clear, 0.9, 0.3))

    place, start = _part(box, window), _stamp(time)
    dtypes = dict.fromkeys(_BANDS, "<u2") | {"SCL": "|u1"}
    yield Image(f"{SENTINEL_2}/{index}", place, start, properties, dtypes, surface)
    scores = {"system:index": index}
    yield Image(
        f"{CLOUD_SCORE}/{index}", place, start, scores, {"cs": "<f8", "cs_cdf": "<f8"}, score
    )


def _radar(cube: xr.DataTree, missing: float) -> Iterator[Image]:
    data = cube["sar"].to_dataset()
    box = grid.grid_of(data)
    rows, cols = box.shape
    slices = [(slice(0, rows // 2), slice(0, cols)), (slice(rows // 2, rows), slice(0, cols))]
    for t in range(data.sizes["time"]):
        for k, window in enumerate(slices):
            yield _radar_product(data, t, box, window, missing, 25 * k)
    yield _radar_product(data, 0, box, slices[0], missing, 50, mode="EW")
    yield _radar_product(data, 0, box, slices[0], missing, 75, bands=("VV",))


def _radar_product(
    data: xr.Dataset,
    t: int,
    box: GeoBox,
    window: tuple[slice, slice],
    missing: float,
    later: int,
    mode: str = "IW",
    bands: tuple[str, ...] = ("VV", "VH"),
) -> Image:
    time = data["time"].values[t] + np.timedelta64(later, "s")
    stop = time + np.timedelta64(25, "s")
    kind = "1SDV" if len(bands) == 2 else "1SSV"
    index = f"S1A_{mode}_GRDH_{kind}_{_compact(time)}_{_compact(stop)}_021731_0257C2_{later:04X}"
    orbit = int(data["relative_orbit"].values[t])
    properties = {
        "system:index": index,
        "instrumentMode": mode,
        "transmitterReceiverPolarisation": list(bands),
        "orbitProperties_pass": "ASCENDING" if orbit % 2 else "DESCENDING",
        "relativeOrbitNumber_start": orbit,
        "platform_number": "A",
        "resolution_meters": 10,
        "GRD_Post_Processing_software_version": "002.91",
        "GRD_Post_Processing_start": 1525276800000 + later,
    }

    def read(name: str) -> NDArray:
        values = data[name.lower()].isel(time=t).values[window].astype("<f8")
        return np.where(np.isnan(values), missing, values)

    dtypes = dict.fromkeys(bands, "<f8")
    return Image(
        f"{SENTINEL_1}/{index}", _part(box, window), _stamp(time), properties, dtypes, read
    )


def _part(box: GeoBox, window: tuple[slice, slice], east: float = 0.0) -> GeoBox:
    """Cut a window out of a grid, ``east`` metres away from where it is."""
    rows, cols = window
    a, _, c, _, e, f = box.affine[:6]
    affine = Affine(a, 0, c + a * cols.start + east, 0, e, f + e * rows.start)
    return GeoBox((rows.stop - rows.start, cols.stop - cols.start), affine, box.crs)


def _compact(time: np.datetime64) -> str:
    return re.sub("[-:]", "", str(time.astype("datetime64[s]")))


def _stamp(time: np.datetime64) -> str:
    return f"{time.astype('datetime64[ms]')}Z"


# Lists -------------------------------------------------------------------------------------------


def _image(bed: EarthEngineBed, name: str) -> Image:
    if name not in bed.images:
        raise _Refused(
            404,
            f"Image.load: Image asset '{name}' not found (does not exist or caller does not have "
            "access).",
        )
    return bed.images[name]


def _list(bed: EarthEngineBed, request: Request, collection: str) -> Response:
    found = [image for image in bed.images.values() if image.collection == collection]
    if not found:
        raise _Refused(404, f"ImageCollection asset '{collection}' not found.")
    conditions = _conditions(request.one("filter", "") or "")
    found = [image for image in found if all(meets(image) for meets in conditions)]
    first = int(request.one("pageToken", "0") or 0)
    last = first + min(bed.page_size, int(request.one("pageSize", "1000") or 1000))
    answer: dict[str, Any] = {"assets": [image.describe() for image in found[first:last]]}
    if last < len(found):
        answer["nextPageToken"] = str(last)
    return json_response(answer)


def _conditions(text: str) -> list[Callable[[Image], bool]]:
    """Read a filter: comparisons and ``intersects("…")``, joined by ``AND``."""
    return [_condition(part.strip()) for part in re.split(r" AND ", text) if part.strip()]


def _condition(text: str) -> Callable[[Image], bool]:
    if shape := re.fullmatch(r'intersects\("(.*)"\)', text):
        region = Geometry(json.loads(shape[1].replace("'", '"')), "EPSG:4326")
        return lambda image: image.footprint.intersects(region)
    parts = re.fullmatch(r'(startTime|endTime|properties\.\w+)\s*(>=|<=|<|>|=)\s*("?)(.*)\3', text)
    if not parts:
        raise _Refused(400, f"Invalid filter: {text}")
    left, sign, quoted, right = parts.groups()
    compare = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
        "=": lambda a, b: a == b,
    }[sign]
    if left in ("startTime", "endTime"):
        moment = np.datetime64(right.removesuffix("Z"), "ms")
        return lambda image: compare(np.datetime64(image.start.removesuffix("Z"), "ms"), moment)
    name, value = left.removeprefix("properties."), right if quoted else float(right)
    return lambda image: name in image.properties and compare(image.properties[name], value)


# Pixels ------------------------------------------------------------------------------------------


def _pixels(bed: EarthEngineBed, request: Request, name: str) -> Response:
    image, asked = _image(bed, name), request.json()
    for band in asked["bandIds"]:
        if band not in image.dtypes:
            raise _Refused(400, f"Image.select: Band pattern '{band}' did not match any bands.")
    if asked["fileFormat"] != "NPY":
        raise _Refused(400, f"File format {asked['fileFormat']} is not served here.")
    place = asked["grid"]
    cols, rows = place["dimensions"]["width"], place["dimensions"]["height"]
    dtype = np.dtype([(band, image.dtypes[band]) for band in asked["bandIds"]])
    if max(rows, cols) > MOST_PIXELS:
        raise _Refused(
            400, f"Pixel grid dimensions ({cols}x{rows}) must be less than or equal to 32768."
        )
    if rows * cols * dtype.itemsize > MOST_BYTES:
        raise _Refused(
            400,
            f"Total request size ({rows * cols * dtype.itemsize} bytes) must be less than or equal "
            f"to {MOST_BYTES} bytes.",
        )
    row, col = _nearest(image.box, place, rows, cols)
    inside = (row >= 0) & (row < image.box.shape[0]) & (col >= 0) & (col < image.box.shape[1])
    pixels = np.zeros((rows, cols), dtype)
    for band in asked["bandIds"]:
        pixels[band][inside] = image.read(band)[row[inside], col[inside]]
    body = io.BytesIO()
    np.save(body, pixels)
    return Response(body.getvalue(), headers={"Content-Type": "application/octet-stream"})


def _nearest(box: GeoBox, place: dict, rows: int, cols: int) -> tuple[NDArray, NDArray]:
    """Cells of an image under the pixel centres of a grid."""
    step = place["affineTransform"]
    x = step["translateX"] + step["scaleX"] * (np.arange(cols) + 0.5)
    y = step["translateY"] + step["scaleY"] * (np.arange(rows) + 0.5)
    x, y = np.meshgrid(x, y)
    if place["crsCode"] != f"EPSG:{box.crs.epsg}":
        x, y = Transformer.from_crs(place["crsCode"], str(box.crs), always_xy=True).transform(x, y)
    col, row = np.floor((x - box.affine.c) / 10), np.floor((box.affine.f - y) / 10)
    return row.astype(np.int64), col.astype(np.int64)
