"""Google Earth Engine: Sentinel-2 with Cloud Score+, and Sentinel-1 as used in the paper.

Images are listed (`ee.data.listImages`) and their stored pixels read (`ee.data.getPixels`); nothing
is computed on Google's side. The numbers have these properties:

- ``COPERNICUS/S2_SR_HARMONIZED`` holds reflectance times 10 000 from which Earth Engine has already
  removed the +1000 of processing baseline 04.00 and later, so no offset is applied here.
- ``COPERNICUS/S1_GRD`` holds sigma0 in dB: thermal noise removed, calibrated, terrain-corrected.
- The server resamples to the grid by nearest neighbour.
- Masked or missing pixels come as zeros, as the reference of ``getPixels`` says. In Sentinel-2 that
  is also the no-data value, and the stored value of negative reflectances. In Sentinel-1 exactly
  0 dB does not occur; other fill values (-3.4e38, NaN) count as no data too.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import numpy as np
from odc.geo.geom import Geometry, polygon, unary_union
from pyproj import Transformer
from shapely.errors import GEOSException

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.cube.contract import CLEAR_CLASSES, CLOUD_CLASSES, NIR_BANDS, nir_attrs
from deepcrop.cube.passes import number_passes
from deepcrop.errors import MALFORMED
from deepcrop.grid.buffers import grow, widen
from deepcrop.sources.archive import SENSORS, ArchiveError, Scene, SceneError
from deepcrop.sources.footprints import footprint_polygons, name_of, valid_geometry
from deepcrop.sources.left_out import leave_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

SENTINEL_2 = "COPERNICUS/S2_SR_HARMONIZED"
CLOUD_SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
SENTINEL_1 = "COPERNICUS/S1_GRD"

ADDRESS = "https://earthengine-highvolume.googleapis.com"
"""Earth Engine's endpoint for many small requests by programs; the environment variable
DEEPCROP_EARTH_ENGINE sets another address."""

T = TypeVar("T")

_VISIBLE = {"B2": "blue", "B3": "green", "B4": "red"}
_NIR = {"B08": "B8", "B07": "B7"}
_RADAR = {"VV": "vv", "VH": "vh"}
_SCORE = "cs"
_SCALE = np.float32(1e-4)
# Of a pixel of a product, in the answers of the server; Cloud Score+ has 8.
_PIXEL_BYTES = {"optical": 4 * 2 + 1 + 8, "classes": 4 * 2 + 1, "sar": 2 * 8}
_SIDE = 1024  # pixels: at most 17 MB per request; Earth Engine allows 48 MB
_TIMEOUT = 180.0  # seconds without an answer
_OFFSET = "none applied: HARMONIZED images have the +1000 of baseline 04.00 already removed"

_ACCOUNT = (
    "Register a project at https://console.cloud.google.com/earth-engine, run 'earthengine "
    "authenticate' once (or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
    "account), and name the project in GOOGLE_CLOUD_PROJECT or by 'earthengine set_project'."
)


@dataclass(frozen=True)
class EarthEngine:
    """Google Earth Engine as an archive; connects when it is created.

    The earthengine library keeps one connection per process: that of the archive created last.

    Attributes
    ----------
    project : str, optional
        Google Cloud project that is registered for Earth Engine; by default that in
        ``GOOGLE_CLOUD_PROJECT``, else that of the credentials.
    orbits : str or int
        Relative orbits of the radar: ``"best"`` (covers most of the area), ``"all"``, or a number.
    max_cloud : float
        Maximum cloud cover of an optical product, percent.
    clear : float
        Minimum Cloud Score+ (band ``cs``, 0 to 1) of a clear pixel. Google recommends 0.50 to 0.65;
        higher values also remove thin cloud, haze and the edges of shadows.
    keep : tuple of int, optional
        Scene classes of Sentinel-2 to keep, in place of Cloud Score+.
    nir : str
        Band of Sentinel-2 that is read as near infrared (`deepcrop.cube.contract.NIR_BANDS`).
    cloud_buffer : float
        Distance from cloud and shadow up to which pixels are masked, too, metres. Cloud and shadow
        are where Cloud Score+ is below ``clear``, or scene classes of cloud and shadow
        (`deepcrop.cube.contract.CLOUD_CLASSES`) that are not in ``keep``.
    address : str, optional
        Address of the service, in place of `ADDRESS`. Google's own services get the credentials of
        ``earthengine authenticate``, else the application default; other services get none.

    Raises
    ------
    ArchiveError
        If the library, credentials or a project are missing, or Earth Engine does not answer.
    """

    project: str | None = None
    orbits: str | int = "best"
    max_cloud: float = 90.0
    clear: float = 0.60
    keep: tuple[int, ...] | None = None
    nir: str = NIR_BANDS[0]
    cloud_buffer: float = 0.0
    address: str | None = None
    name: str = field(default="ee", init=False)
    skips_cloud: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.orbits not in ("best", "all") and not isinstance(self.orbits, int):
            raise ArchiveError(f"Orbits are {self.orbits!r}; expected 'best', 'all' or a number.")
        if not 0 < self.clear <= 1:
            raise ArchiveError(f"Cloud Score+ of {self.clear}; expected more than 0, up to 1.")
        address = self.address or os.environ.get("DEEPCROP_EARTH_ENGINE") or ADDRESS
        _connect(address.rstrip("/"), self.project)

    @property
    def _optical(self) -> dict[str, str]:
        """Names of the cube's bands by those of Earth Engine."""
        return _VISIBLE | {_NIR[self.nir]: "nir"}

    @property
    def _mask(self) -> str:
        """Say how clouds are masked."""
        text = f"scene classes {self.keep} kept"
        if self.keep is None:
            text = f"Cloud Score+ ({CLOUD_SCORE}, {_SCORE}) of at least {self.clear:g} kept"
        if self.cloud_buffer:
            text += f"; masked up to {self.cloud_buffer:g} m from cloud and shadow"
        return text

    def search(
        self,
        box: GeoBox,
        start: date,
        end: date,
        sensor: str,
        *,
        saved: Path | None = None,
        readable: bool = True,
    ) -> list[Scene]:
        """List scenes that touch ``box`` from ``start`` to ``end``; see `Archive.search`.

        No request is sent for single products, so ``saved`` and ``readable`` change nothing.
        """
        if sensor not in SENSORS:
            raise ArchiveError(f"Earth Engine has no sensor {sensor!r}; expected {SENSORS}.")
        region = _region(box)
        images = _list_images(
            SENTINEL_2 if sensor == "optical" else SENTINEL_1,
            region,
            start,
            end,
            self._conditions(sensor),
        )
        describe = _optical_product if sensor == "optical" else _radar_product
        products = _described(describe, images)
        passes = _passes(_newest(products))
        if sensor == "sar" and self.orbits == "best":
            passes = _best_orbit(passes, region)
        return sorted(
            (_scene(sensor, products) for products in passes), key=lambda scene: scene.time
        )

    def _conditions(self, sensor: str) -> list[str]:
        """Make the conditions on properties, for the server."""
        if sensor == "optical":
            return [f"CLOUDY_PIXEL_PERCENTAGE <= {self.max_cloud:g}"]
        conditions = ['instrumentMode = "IW"']
        if isinstance(self.orbits, int):
            conditions.append(f"relativeOrbitNumber_start = {self.orbits}")
        return conditions

    def read(self, scene: Scene, box: GeoBox) -> dict[str, NDArray[Any]]:
        """Read the pixels of a scene on ``box``; see `Archive.read`.

        Where products overlap, the one that was processed last counts.
        """
        if scene.sensor == "sar":
            return _merge(scene, box, _read_radar, dict.fromkeys(_RADAR.values(), "f4"), _SIDE)
        # The mask is read beyond the edges, so that a cloud there acts on pixels inside, whatever
        # the tile: a map must not show where its tiles meet.
        wide, inner = widen(box, self.cloud_buffer)
        margins = int(wide.shape.x - box.shape.x)
        types = dict.fromkeys(self._optical.values(), "f4") | {"scl": "u1", "cloud": "?"}
        pixels = _merge(scene, wide, self._read_optical, types, _SIDE + margins)
        cloud = pixels.pop("cloud")
        if self.cloud_buffer and cloud.any():
            near = grow(cloud, self.cloud_buffer / float(box.resolution.x))
            for name in self._optical.values():
                pixels[name][near] = np.nan
        return {name: np.ascontiguousarray(values[inner]) for name, values in pixels.items()}

    def _read_optical(
        self, asset: str, box: GeoBox
    ) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        """Read reflectance, scene classes and cloud of a product, and where it has data."""
        raw = _pixels(asset, (*self._optical, "SCL"), box)
        # A product that has a class but no number in any band leaves the pixel to the next one.
        there = (raw["SCL"] > 0) & np.logical_or.reduce([raw[band] > 0 for band in self._optical])
        if self.keep is not None:
            clear = np.isin(raw["SCL"], self.keep)
        elif there.any():
            score = f"{CLOUD_SCORE}/{asset.rpartition('/')[2]}"
            clear = _pixels(score, (_SCORE,), box)[_SCORE] >= self.clear
        else:
            clear = there
        values = {
            name: np.where(clear & (raw[band] > 0), raw[band] * _SCALE, np.float32(np.nan))
            for band, name in self._optical.items()
        }
        cloud = ~clear if self.keep is None else ~clear & np.isin(raw["SCL"], CLOUD_CLASSES)
        return values | {"scl": raw["SCL"].astype(np.uint8), "cloud": cloud}, there

    def size(self, scene: Scene, box: GeoBox) -> int:
        """Estimate the bytes that `read` transfers: those of each product, until one covers all."""
        kind, wide = scene.sensor, box
        if kind == "optical":
            wide, _ = widen(box, self.cloud_buffer)
            kind = "optical" if self.keep is None else "classes"
        west, south, east, north = bounds = _region(wide).boundingbox.bbox
        products = 0
        for left, bottom, right, top in (image["bounds"] for image in scene.source["images"]):
            if not _touch(bounds, (left, bottom, right, top)):
                continue
            products += 1
            if left <= west and bottom <= south and right >= east and top >= north:
                break
        rows, cols = map(int, wide.shape)
        return rows * cols * products * _PIXEL_BYTES[kind]

    def measure(self, scene: Scene, box: GeoBox) -> int:
        """Return `size`: Earth Engine has no files whose headers could be read."""
        return self.size(scene, box)

    def requests(self, scene: Scene) -> int:
        """Estimate the number of requests that a scene takes; Cloud Score+ is one of its own."""
        scored = scene.sensor == "optical" and self.keep is None
        return len(scene.products) * (2 if scored else 1)

    def attrs(self, sensor: str, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Make the attributes of a group of the cube; see `Archive.attrs`."""
        years = sorted({str(scene.time)[:4] for scene in scenes})
        versions = {v for s in scenes for v in s.notes["processing_baseline"].split(", ")}
        shared = {
            "processing_baseline": ", ".join(sorted(versions)),
            "resampling": "nearest, by the server",
            "attribution": f"contains modified Copernicus Sentinel data {', '.join(years)}",
        }
        if sensor == "sar":
            return {
                "source": "Sentinel-1 IW GRDH, Google Earth Engine",
                "collection": SENTINEL_1,
                "radiometry": "sigma0",
            } | shared
        return (
            {
                "source": "Sentinel-2 L2A, Google Earth Engine",
                "collection": SENTINEL_2,
                "offset": _OFFSET,
                "mask": self._mask,
            }
            | nir_attrs(self.nir)
            | shared
        )


# Connection --------------------------------------------------------------------------------------


def _connect(address: str, project: str | None) -> None:
    """Connect the earthengine library.

    `ee.Initialize` would also fetch the list of algorithms, and deprecated assets from another
    server; reading stored pixels needs neither.
    """
    try:
        import ee
        from google.auth.credentials import AnonymousCredentials
    except ImportError:
        raise ArchiveError(
            "Google Earth Engine needs 'pip install deepcrop[earthengine]'."
        ) from None
    host = urlsplit(address).hostname or ""
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    if host.endswith(".googleapis.com"):
        label = "Earth Engine's credentials"
        credentials = _request(ee.data.get_persistent_credentials, label, _no_account)
    project = project or os.environ.get("GOOGLE_CLOUD_PROJECT") or credentials.quota_project_id
    if not project:
        raise ArchiveError(f"Earth Engine needs a Google Cloud project. {_ACCOUNT}")

    def connect() -> None:
        ee.data.setUserAgent(f"deepcrop/{__version__}")
        ee.data.initialize(credentials, cloud_api_base_url=address, project=project)
        ee.data.setDeadline(_TIMEOUT * 1000)

    _request(connect, f"Earth Engine at {address}", ArchiveError)


def _no_account(_: str) -> ArchiveError:
    return ArchiveError(f"There are no valid credentials for Earth Engine. {_ACCOUNT}")


def _request(send: Callable[[], T], label: str, failure: Callable[[str], Exception]) -> T:
    """Send a request; the library itself retries after 429, 5xx and broken connections.

    Parameters
    ----------
    send : callable
        Sends the request.
    label : str
        Name of the request, for messages.
    failure : callable
        Makes the exception from the message, if only this request has failed.

    Raises
    ------
    ArchiveError
        If Earth Engine cannot be reached, refuses, or the quota is used up.
    """
    from ee import EEException
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import Error as ClientError  # type: ignore[import-untyped]

    try:
        return send()
    except (EEException, ClientError) as error:
        # The library keeps only the server's message; the status is in the original error.
        source = error if isinstance(error, ClientError) else error.__context__
        status = getattr(getattr(source, "resp", None), "status", None)
        raise _refusal(label, status, _reason(error), failure) from None
    except GoogleAuthError as error:
        raise ArchiveError(
            f"{label}: the credentials are not accepted ({type(error).__name__}). {_ACCOUNT}"
        ) from None
    except OSError as error:
        raise ArchiveError(
            f"{label}: no answer ({type(error).__name__}). Check the connection, or try again "
            "later."
        ) from None
    except (ValueError, EOFError):  # JSON, or an array, that ends too early
        raise failure(f"{label}: the answer is damaged. Try again later.") from None


def _reason(error: Exception) -> str:
    reason = (getattr(error, "reason", None) or str(error)).strip()
    return reason[:300] or "no reason given"  # a reason may quote a whole answer


def _refusal(
    label: str, status: int | None, reason: str, failure: Callable[[str], Exception]
) -> Exception:
    text = f"{label}: {reason}"
    if status in (401, 403):
        return ArchiveError(f"{text} (status {status}). {_ACCOUNT}")
    if status == 429:
        return ArchiveError(
            f"{text} (status 429). The quota of the project is used up, or too many requests run "
            "at once: try again later, or with fewer threads."
        )
    if status == 503:
        return ArchiveError(f"{text} (status 503). Try again later.")
    return failure(text if status is None else f"{text} (status {status}).")


# Listing -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Product:
    """One image of a collection."""

    asset: str
    time: np.datetime64
    orbit: int
    acquisition: tuple[str, ...]  # the same for all processings of the same data
    version: str
    processed: float
    footprint: Geometry
    cloud: float | None = None
    direction: str = ""


def _region(box: GeoBox) -> Geometry:
    """Outline of a grid in degrees, divided in two at the date line."""
    left, bottom, right, top = box.boundingbox.bbox
    centre, middle = (left + right) / 2, (bottom + top) / 2
    x = np.array([left, centre, right, right, right, centre, left, left])
    y = np.array([top, top, top, middle, bottom, bottom, bottom, middle])
    lon, lat = _to_degrees(box).transform(x, y)
    if np.ptp(lon) > 180:
        lon = lon % 360
    world = polygon([(-180, -90), (180, -90), (180, 90), (-180, 90), (-180, -90)], "EPSG:4326")
    sides = [polygon([*zip(lon + turn, lat, strict=True)], "EPSG:4326") for turn in (0, -360)]
    outline: Geometry = (sides[0] & world) | (sides[1] & world)
    return outline


def _to_degrees(box: GeoBox) -> Transformer:
    return Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)


def _list_images(
    collection: str, region: Geometry, start: date, end: date, conditions: list[str]
) -> list[dict[str, Any]]:
    """List all images of a collection over a region, from ``start`` to ``end``."""
    import ee

    # Six decimals keep the URL of the request short.
    outline = json.loads(json.dumps(region.json), parse_float=lambda text: round(float(text), 6))
    query = {
        "parent": collection,
        "startTime": f"{start.isoformat()}T00:00:00Z",
        "endTime": f"{(end + timedelta(days=1)).isoformat()}T00:00:00Z",
        "region": outline,
        "properties": conditions,
    }
    label = f"Earth Engine, list of {collection}"
    answer = _request(lambda: ee.data.listImages(query), label, ArchiveError)
    images = answer.get("images") if isinstance(answer, dict) else None
    if not isinstance(images, list | None):
        raise ArchiveError(f"{label}: the answer is no list of images. Try again later.")
    return images or []


def _described(
    describe: Callable[[Mapping[str, Any]], _Product | None], images: Sequence[Mapping[str, Any]]
) -> list[_Product]:
    """Make products of images; an image that cannot be used is left out and named.

    Raises
    ------
    ArchiveError
        If no image can be used.
    """
    products, problems = [], []
    for image in images:
        try:
            json.dumps(image, ensure_ascii=False).encode()  # half characters cannot be written down
            product = describe(image)
        except (*MALFORMED, SceneError, GEOSException) as error:
            problems.append(
                f"Earth Engine describes the image {name_of(image)} in another way than expected "
                f"({type(error).__name__}: {error}); it is left out."
            )
            leave_out(problems[-1])
        else:
            products += [product] if product else []
    if images and len(problems) == len(images):
        raise ArchiveError(f"{problems[0]} Is there a newer version of deepcrop?")
    return products


def _optical_product(image: Mapping[str, Any]) -> _Product:
    properties = image["properties"]
    take = properties["DATATAKE_IDENTIFIER"].rpartition("_N")[0]  # without the baseline
    strip = re.search(r"_S(\d{8}T\d{6})", properties["DATASTRIP_ID"])
    return _Product(
        asset=_name(image["id"]),
        time=_time(image),
        orbit=_orbit(properties["SENSING_ORBIT_NUMBER"]),
        acquisition=(take, str(properties["MGRS_TILE"]), strip[1] if strip else ""),
        version=str(properties["PROCESSING_BASELINE"]),
        processed=_moment(properties["GENERATION_TIME"]),
        footprint=_footprint(image),
        cloud=float(properties["CLOUDY_PIXEL_PERCENTAGE"]),
    )


def _radar_product(image: Mapping[str, Any]) -> _Product | None:
    """Make a product with both VV and VH; None for others."""
    properties = image["properties"]
    if not {"VV", "VH"} <= set(properties["transmitterReceiverPolarisation"]):
        return None
    return _Product(
        asset=_name(image["id"]),
        time=_time(image),
        orbit=_orbit(properties["relativeOrbitNumber_start"]),
        acquisition=(image["id"].rpartition("_")[0],),  # the last part distinguishes processings
        version=str(properties["GRD_Post_Processing_software_version"]),
        processed=_moment(properties["GRD_Post_Processing_start"]),
        footprint=_footprint(image),
        direction=str(properties["orbitProperties_pass"]).lower(),
    )


def _time(image: Mapping[str, Any]) -> np.datetime64:
    time = np.datetime64(image["startTime"].removesuffix("Z"), "s")
    if not np.datetime64("1970") <= time < np.datetime64("2200"):  # NaT too; ns ends in 2262
        raise ValueError(f"its time is {image['startTime']}")
    return np.datetime64(image["startTime"].removesuffix("Z"), "ns")


def _name(stated: Any) -> str:
    if not (isinstance(stated, str) and stated):
        raise ValueError(f"its id is {stated!r}")
    return stated


def _moment(stated: Any) -> float:
    if not 0 <= (moment := float(stated)) < 1e15:  # NaN too, which has no place in an order
        raise ValueError(f"its time of processing is {stated}")
    return moment


def _orbit(stated: Any) -> int:
    if not 1 <= (orbit := int(stated)) <= 1000:
        raise ValueError(f"its orbit is {stated}")
    return orbit


def _footprint(image: Mapping[str, Any]) -> Geometry:
    return valid_geometry(footprint_polygons(image["geometry"]))


def _newest(products: Sequence[_Product]) -> Iterator[_Product]:
    """Keep the newest processing of each product, sorted newest first."""
    seen = set()
    for product in sorted(products, key=lambda p: (p.processed, p.asset), reverse=True):
        if product.acquisition not in seen:
            seen.add(product.acquisition)
            yield product


def _passes(products: Iterator[_Product]) -> list[list[_Product]]:
    """Group products of one pass (`deepcrop.cube.passes`)."""
    every = list(products)
    times = np.array([product.time for product in every], "datetime64[ns]")
    groups = defaultdict(list)
    for number, product in zip(number_passes(times, [p.orbit for p in every]), every, strict=True):
        groups[int(number)].append(product)
    return list(groups.values())


def _best_orbit(passes: list[list[_Product]], region: Geometry) -> list[list[_Product]]:
    """Keep the passes of the orbit that covers most of the region, summed over its passes."""
    covered: dict[int, float] = defaultdict(float)
    for products in passes:
        seen = unary_union([product.footprint & region for product in products])
        covered[products[0].orbit] += seen.area / region.area if seen else 0.0
    best = max(covered, key=lambda orbit: (round(covered[orbit], 6), -orbit), default=None)
    return [products for products in passes if products[0].orbit == best]


def _scene(sensor: str, products: list[_Product]) -> Scene:
    """Make the scene of a pass."""
    notes = {"processing_baseline": ", ".join(sorted({p.version for p in products}))}
    clouds = [p.cloud for p in products if p.cloud is not None]
    if sensor == "optical":
        notes["offset"] = _OFFSET
    else:
        notes["pass"] = products[0].direction
    return Scene(
        sensor=sensor,
        time=min(p.time for p in products),
        products=tuple(p.asset.rpartition("/")[2] for p in products),
        relative_orbit=products[0].orbit,
        cloud_cover=sum(clouds) / len(clouds) if clouds else None,
        notes=notes,
        source={
            "images": [
                {"asset": p.asset, "bounds": list(p.footprint.boundingbox.bbox)} for p in products
            ]
        },
    )


# Pixels ------------------------------------------------------------------------------------------


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (west, south, east, north) touch, also across the date line."""
    return (a[1] <= b[3] and b[1] <= a[3]) and any(
        a[0] <= b[2] + turn and b[0] + turn <= a[2] for turn in (-360, 0, 360)
    )


def _pixels(asset: str, bands: Sequence[str], box: GeoBox) -> NDArray[Any]:
    """Fetch stored pixels on a grid: an array (rows, cols) with a field for each band."""
    import ee

    a, b, c, d, e, f = box.affine[:6]
    rows, cols = box.shape
    if box.crs is None or box.crs.epsg is None:
        raise ArchiveError(
            f"Earth Engine needs a grid whose reference system has an EPSG code, not {box.crs}."
        )
    request = {
        "assetId": asset,
        "fileFormat": "NUMPY_NDARRAY",
        "bandIds": list(bands),
        "grid": {
            "dimensions": {"width": cols, "height": rows},
            "affineTransform": {
                "scaleX": a,
                "shearX": b,
                "translateX": c,
                "shearY": d,
                "scaleY": e,
                "translateY": f,
            },
            "crsCode": f"EPSG:{box.crs.epsg}",
        },
    }
    raw: NDArray[Any] = _request(
        lambda: ee.data.getPixels(request), f"Earth Engine, {asset}", _scene_error
    )
    if raw.shape != (rows, cols) or raw.dtype.names != tuple(bands):
        raise SceneError(
            f"Earth Engine, {asset}: received {raw.dtype.names} of shape {raw.shape}; expected "
            f"{tuple(bands)} of shape {(rows, cols)}."
        )
    return raw


def _scene_error(text: str) -> SceneError:
    if CLOUD_SCORE in text and "not found" in text:
        classes = ",".join(map(str, CLEAR_CLASSES))
        text += (
            " Cloud Score+ may not exist yet for this image: mask by scene classes instead "
            f"(--keep {classes}; in Python keep=({classes}))."
        )
    return SceneError(text)


def _merge(
    scene: Scene,
    box: GeoBox,
    read: Callable[[str, GeoBox], tuple[dict[str, NDArray[Any]], NDArray[Any]]],
    types: Mapping[str, str],
    side: int,
) -> dict[str, NDArray[Any]]:
    """Read the products of a scene in parts; where they overlap, the first with data counts.

    Parameters
    ----------
    scene : Scene
    box : GeoBox
        The grid.
    read : callable
        Reads a product on a grid: its layers, and where it has data.
    types : dict of str to str
        Type of each layer; pixels without data are NaN, or 0.
    side : int
        Longest side of a part, pixels.
    """
    pixels: dict[str, NDArray[Any]] = {
        name: np.full(box.shape, np.nan if kind == "f4" else 0, kind)
        for name, kind in types.items()
    }
    for tile in grid.tiles(box.shape.yx, side):
        part = grid.crop(box, tile.core)
        bounds = _region(part).boundingbox.bbox
        missing = np.ones(part.shape, bool)
        for image in scene.source["images"]:
            if not missing.any():
                break
            if not _touch(bounds, image["bounds"]):
                continue
            values, there = read(image["asset"], part)
            there &= missing
            for name, kept in pixels.items():
                kept[tile.core][there] = values[name][there]
            missing &= ~there
    return pixels


def _read_radar(asset: str, box: GeoBox) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Read the backscatter of a product in dB, and where it has data."""
    raw = _pixels(asset, tuple(_RADAR), box)
    values = {name: _decibel(raw[band]) for band, name in _RADAR.items()}
    return values, np.isfinite(values["vv"]) & np.isfinite(values["vh"])


def _decibel(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Replace the server's fill values by NaN: zeros, and values that no radar measures."""
    measured = (raw != 0) & (np.abs(raw) < 100)
    return np.where(measured, raw, math.nan).astype(np.float32)
