"""What every archive of satellite images offers: the scenes over an area, and their pixels.

An archive is read in two steps. `Archive.search` lists the scenes of a sensor over a grid, one for
each pass: all products of one solar day and one relative orbit. `Archive.read` brings the pixels of
a scene onto a grid, in the units of the observation cube, so that whoever asks need not know where
they came from. A scene can be written as JSON and read from another process later; it never holds
a signed address or a credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from deepcrop.errors import DeepCropError

SENSORS = ("optical", "sar")
"""Groups of the observation cube that an archive can fill."""

CLEAR_CLASSES = (4, 5, 6, 7)
"""Scene classes of Sentinel-2 that are kept: vegetation, bare, water, unclassified."""


class ArchiveError(DeepCropError):
    """The archive as a whole does not serve: no answer, no credentials, a wrong address."""


class SceneError(DeepCropError):
    """One scene cannot be had, however often one asks; the others may be fine."""


@dataclass(frozen=True)
class Scene:
    """One pass of one sensor over an area.

    Attributes
    ----------
    sensor : str
        One of `SENSORS`.
    time : datetime64[ns]
        Start of the earliest of its products, UTC.
    products : tuple of str
        Names of the products, as the archive calls them.
    relative_orbit : int or None
        None where the archive does not say.
    cloud_cover : float or None
        Percent, mean of the products as the archive states it; None for radar or if not stated.
    notes : dict of str to str
        What was decided for this scene and why, for the attributes of the cube, for example
        ``{"processing_baseline": "05.10", "offset": "-1000 applied"}``.
    source : dict
        What the archive needs to read it; JSON, without signatures or credentials.
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
        """Sensor, time and orbit: unique within a search, for example ``sar 2018-05-02T17:24``."""
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
    """What `deepcrop.fetch.run` asks of an archive; several threads may call `read` at once."""

    @property
    def name(self) -> str:
        """Name on the command line, for example ``pc``."""
        ...

    def search(self, box: GeoBox, start: date, end: date, sensor: str) -> list[Scene]:
        """Scenes that touch ``box`` from ``start`` to ``end`` (both included), in order of time.

        An empty list where the archive has the sensor but no scene.

        Raises
        ------
        ArchiveError
            If the archive does not answer, refuses, or does not have the sensor.
        """
        ...

    def read(self, scene: Scene, box: GeoBox) -> dict[str, NDArray]:
        """Pixels of a scene on ``box``, every array (rows, cols).

        Optical: ``blue, green, red, nir`` float32 reflectance, offset applied once, NaN where there
        is no data or the pixel is masked, and ``scl`` uint8 where the archive has it (0 = no data).
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
        """Bytes that `read` will about move."""
        ...

    def attrs(self, sensor: str, scenes: Sequence[Scene]) -> dict[str, Any]:
        """Attributes of a group of the cube: ``source``, ``collection``, ``processing_baseline``.

        For optical groups also ``offset`` and ``mask``, for radar ``radiometry``, as
        `deepcrop.cube.contract` asks for them.
        """
        ...
