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

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepcrop.cube.contract import CLOUD_CLASSES, NIR_BANDS, nir_attrs
from deepcrop.grid.buffers import grow, widen
from deepcrop.sources.archive import SENSORS, ArchiveError, Scene
from deepcrop.sources.earthengine.connection import ADDRESS, connect
from deepcrop.sources.earthengine.listing import (
    OFFSET,
    best_orbit,
    described,
    list_images,
    newest,
    optical_product,
    passes_of,
    radar_product,
    region_of,
    scene_of,
)
from deepcrop.sources.earthengine.pixels import (
    CLOUD_SCORE,
    RADAR,
    merge,
    read_pixels,
    read_radar,
    touch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

SENTINEL_2 = "COPERNICUS/S2_SR_HARMONIZED"
SENTINEL_1 = "COPERNICUS/S1_GRD"

_VISIBLE = {"B2": "blue", "B3": "green", "B4": "red"}
_NIR = {"B08": "B8", "B07": "B7"}
_SCORE = "cs"
_SCALE = np.float32(1e-4)
# Of a pixel of a product, in the answers of the server; Cloud Score+ has 8.
_PIXEL_BYTES = {"optical": 4 * 2 + 1 + 8, "classes": 4 * 2 + 1, "sar": 2 * 8}
_SIDE = 1024  # pixels: at most 17 MB per request; Earth Engine allows 48 MB


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
        connect(address.rstrip("/"), self.project)

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
        region = region_of(box)
        images = list_images(
            SENTINEL_2 if sensor == "optical" else SENTINEL_1,
            region,
            start,
            end,
            self._conditions(sensor),
        )
        describe = optical_product if sensor == "optical" else radar_product
        products = described(describe, images)
        passes = passes_of(newest(products))
        if sensor == "sar" and self.orbits == "best":
            passes = best_orbit(passes, region)
        return sorted(
            (scene_of(sensor, products) for products in passes), key=lambda scene: scene.time
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
            return merge(scene, box, read_radar, dict.fromkeys(RADAR.values(), "f4"), _SIDE)
        # The mask is read beyond the edges, so that a cloud there acts on pixels inside, whatever
        # the tile: a map must not show where its tiles meet.
        wide, inner = widen(box, self.cloud_buffer)
        margins = int(wide.shape.x - box.shape.x)
        types = dict.fromkeys(self._optical.values(), "f4") | {"scl": "u1", "cloud": "?"}
        pixels = merge(scene, wide, self._read_optical, types, _SIDE + margins)
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
        raw = read_pixels(asset, (*self._optical, "SCL"), box)
        # A product that has a class but no number in any band leaves the pixel to the next one.
        there = (raw["SCL"] > 0) & np.logical_or.reduce([raw[band] > 0 for band in self._optical])
        if self.keep is not None:
            clear = np.isin(raw["SCL"], self.keep)
        elif there.any():
            score = f"{CLOUD_SCORE}/{asset.rpartition('/')[2]}"
            clear = read_pixels(score, (_SCORE,), box)[_SCORE] >= self.clear
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
        west, south, east, north = bounds = region_of(wide).boundingbox.bbox
        products = 0
        for left, bottom, right, top in (image["bounds"] for image in scene.source["images"]):
            if not touch(bounds, (left, bottom, right, top)):
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
                "offset": OFFSET,
                "mask": self._mask,
            }
            | nir_attrs(self.nir)
            | shared
        )
