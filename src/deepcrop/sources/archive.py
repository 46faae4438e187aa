"""The interface of a satellite archive: list the scenes over an area, and read their pixels.

An archive is read in two steps. `Archive.search` lists the scenes of a sensor over a grid, one for
each pass (`deepcrop.cube.passes`): all products of one crossing and one relative orbit.
`Archive.read` reads the pixels of a scene onto a grid, in the units of the observation cube, the
same for every archive. A scene can be written as JSON and read by another process later; it never
holds a signed URL or a credential.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

SENSORS = ("optical", "sar")
"""Groups of the observation cube that an archive can fill."""


class ArchiveError(DeepCropError):
    """The archive as a whole does not serve: no answer, no credentials, or a wrong address."""


class SceneError(DeepCropError):
    """One scene cannot be read, and trying again will not help; other scenes may be fine."""


@dataclass(frozen=True)
class Scene:
    """One pass of one sensor over an area.

    Attributes
    ----------
    sensor : str
        One of `SENSORS`.
    time : datetime64[ns]
        Start of the earliest product, UTC.
    products : tuple of str
        Names of the products in the archive.
    relative_orbit : int or None
        None if the archive does not state it.
    cloud_cover : float or None
        Percent, mean over the products; None for radar, or if the archive does not state it.
    notes : dict of str to str
        How the scene was processed and why, for the attributes of the cube, for example
        ``{"processing_baseline": "05.10", "offset": "-1000 applied"}``.
    source : dict
        What the archive needs to read the scene; JSON, without signatures or credentials.
    """

    sensor: str
    time: np.datetime64
    products: tuple[str, ...]
    relative_orbit: int | None = None
    cloud_cover: float | None = None
    notes: dict[str, str] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Sensor, time and orbit, unique within a search: ``sar 2018-05-02T17:24:05 orbit 22``."""
        orbit = "" if self.relative_orbit is None else f" orbit {self.relative_orbit}"
        return f"{self.sensor} {self.time.astype('datetime64[s]')}{orbit}"

    def to_json(self) -> dict[str, Any]:
        """Describe the scene in types that JSON has."""
        return {
            "sensor": self.sensor,
            "time": str(self.time.astype("datetime64[ns]")),
            "products": list(self.products),
            "relative_orbit": self.relative_orbit,
            "cloud_cover": self.cloud_cover,
            "notes": self.notes,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, text: dict[str, Any]) -> Scene:
        """Make the scene that `to_json` described."""
        return cls(
            **text | {"time": np.datetime64(text["time"], "ns"), "products": (*text["products"],)}
        )


class Archive(Protocol):
    """What `deepcrop.fetch.run` needs of an archive; several threads may call `read` at once."""

    @property
    def name(self) -> str:
        """Name on the command line, for example ``pc``."""
        ...

    @property
    def skips_cloud(self) -> bool:
        """Whether the bands of an optical product are not read where all of it is masked."""
        ...

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
        """List scenes that touch ``box`` from ``start`` to ``end`` (both included), in time order.

        The list is empty if the archive has the sensor but no scene. ``saved`` is a file for what
        is found out about single products, so that an interrupted search goes on where it stopped.
        Without ``readable`` no request is sent for single products: the scenes serve to count and
        to estimate, and cannot be read.

        Raises
        ------
        ArchiveError
            If the archive does not answer, refuses, or does not have the sensor.
        """
        ...

    def read(self, scene: Scene, box: GeoBox) -> dict[str, NDArray[Any]]:
        """Read the pixels of a scene on ``box``; every array is (rows, cols).

        Optical: ``blue, green, red, nir`` float32 reflectance, offset applied once, NaN where there
        is no data or the pixel is masked, and ``scl`` uint8 if the archive has it (0 = no data).
        Radar: ``vv, vh`` float32 sigma0 in dB, NaN where there is no data.

        Raises
        ------
        SceneError
            If this scene cannot be read.
        ArchiveError
            If the archive does not serve any more.
        """
        ...

    def size(self, scene: Scene, box: GeoBox) -> int:
        """Estimate the bytes that `read` transfers."""
        ...

    def measure(self, scene: Scene, box: GeoBox) -> int:
        """Find out the bytes that `read` transfers from the headers of the files, where it can.

        Raises
        ------
        SceneError, ArchiveError
            As `read`.
        """
        ...

    def requests(self, scene: Scene) -> int:
        """Estimate the number of requests that a scene takes, its share of a search included."""
        ...

    def attrs(self, sensor: str, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Make the attributes of a group: ``source``, ``collection``, ``processing_baseline``.

        Optical groups also have ``offset`` and ``mask``, radar groups ``radiometry``, as
        `deepcrop.cube.contract` requires.
        """
        ...
