"""Plan a fetch: check the request, search the archive, and keep the list of scenes on disk."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affine import Affine
from odc.geo.geobox import GeoBox

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.errors import DeepCropError
from deepcrop.sources import describe_archive, open_archive, pixel_size
from deepcrop.sources.archive import SENSORS, Archive, Scene
from deepcrop.sources.left_out import collect_left_out
from deepcrop.storage.files import atomic_file, check_disk, content_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcrop.storage.staging import Staging

TILE = 4 * contract.CHUNK
"""Side of a tile of work, pixels: 10 km, so that few blocks of a file are read twice."""

UNITS_FOLDER = "fetched"
"""Folder of the units: one file per scene and tile."""

PRODUCTS_FILE = "products-{sensor}.jsonl"
"""File, in the staging folder, with what a search has found out about single products so far."""

SMALLER = "fetch a smaller area"
"""What to do where the disk has too little space."""

PLAN_FILE = "plan.json"
"""File, in the staging folder, with the scenes that the first run found."""

LEFT_OUT = "left out"
"""Entry of the journal with the products that the first run could not use."""


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch.

    Attributes
    ----------
    box : GeoBox
        Grid of the cube, with the pixels of the archive (`deepcrop.sources.pixel_size`).
    start, end : date
        First and last day, both included.
    archive : str
        Name of the archive, one of `deepcrop.sources.ARCHIVES`, or a YAML file that describes it.
    sensors : tuple of str
        Groups of the cube: ``optical``, ``sar``.
    orbits : str or int
        Relative orbits of the radar: ``"best"`` (the best covered), ``"all"`` or a number.
    max_cloud : float
        Maximum cloud cover of an optical product, percent.
    keep : tuple of int or None
        Scene classes of Sentinel-2 to keep; None for the archive's usual mask.
    nir : str
        Band of Sentinel-2 that becomes the near infrared of the cube
        (`deepcrop.cube.contract.NIR_BANDS`).
    crops : str or None
        Crop types: ``"cropscape"`` or ``"pc"`` for the USDA Cropland Data Layer of the last year
        with a harvest in the period, or the path of a crop raster.
    may_lack : tuple of str
        Sensors that the cube may be without, if the archive has no scene or refuses access. The
        attribute ``missing_sensors`` of the cube then says why.
    cloud_buffer : float
        Distance from cloud and shadow up to which pixels are masked, too, metres.
    cloud_probability : float or None
        Greatest probability of cloud of a pixel that is kept, percent; None for the archive's rule.
    """

    box: GeoBox
    start: date
    end: date
    archive: str = "pc"
    sensors: tuple[str, ...] = SENSORS
    orbits: str | int = "best"
    max_cloud: float = 90.0
    keep: tuple[int, ...] | None = None
    nir: str = contract.NIR_BANDS[0]
    crops: str | None = None
    may_lack: tuple[str, ...] = ()
    cloud_buffer: float = 0.0
    cloud_probability: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Describe the request in types that JSON has."""
        options = {k: v for k, v in asdict(self).items() if k not in ("box", "may_lack")}
        # Only where it is not the usual one, so that the request of an older cube is the same.
        if not self.cloud_buffer:
            del options["cloud_buffer"]
        if self.cloud_probability is None:
            del options["cloud_probability"]
        if self.nir == contract.NIR_BANDS[0]:
            del options["nir"]
        if self.may_lack:
            options["may_lack"] = list(self.may_lack)
        return options | {
            "archive": describe_archive(self.archive),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "sensors": list(self.sensors),
            "keep": None if self.keep is None else list(self.keep),
            "crs": str(self.box.crs),
            "shape": list(self.box.shape.yx),
            "transform": list(self.box.affine[:6]),
        }

    @classmethod
    def from_json(cls, text: dict[str, Any]) -> FetchRequest:
        """Make the request that `to_json` described; of the user's own archive it has the name."""
        given = {k: v for k, v in text.items() if k not in ("crs", "shape", "transform")}
        archive, keep = given["archive"], given["keep"]
        return cls(
            **given
            | {
                "box": GeoBox(text["shape"], Affine(*text["transform"]), text["crs"]),
                "start": date.fromisoformat(given["start"]),
                "end": date.fromisoformat(given["end"]),
                "archive": archive if isinstance(archive, str) else archive["file"],
                "sensors": tuple(given["sensors"]),
                "keep": None if keep is None else tuple(keep),
                "may_lack": tuple(given.get("may_lack", ())),
            }
        )


def open_requested_archive(request: FetchRequest) -> Archive:
    """Check a request and open its archive.

    Raises
    ------
    DeepCropError
        If a sensor, the orbits, the crop types or the period cannot be used.
    ArchiveError
        If there is no such archive, or it cannot be used.
    """
    unknown = set(request.sensors) - set(SENSORS)
    if unknown or not request.sensors:
        raise DeepCropError(
            f"Sensors {', '.join(request.sensors) or 'none'}; expected {' and '.join(SENSORS)}, or "
            "one of them."
        )
    if request.orbits not in ("best", "all") and not isinstance(request.orbits, int):
        raise DeepCropError(f"Orbits {request.orbits!r}; expected best, all or a number.")
    if request.crops not in (None, "cropscape", "pc") and not Path(str(request.crops)).is_file():
        raise DeepCropError(
            f"Crop types {request.crops!r}; expected cropscape, pc, or the path of a raster."
        )
    if set(request.sensors) <= set(request.may_lack):
        raise DeepCropError("A cube needs at least one sensor that it may not lack.")
    size, expected = float(request.box.resolution.x), pixel_size(request.archive)
    if size != expected:
        raise DeepCropError(
            f"The grid has pixels of {size:g} m; {request.archive} has {expected:g} m, onto which "
            "it is fetched."
        )
    if request.start > request.end:
        raise DeepCropError(f"Period {request.start} to {request.end} runs backwards.")
    return open_archive(
        request.archive,
        orbits=request.orbits,
        max_cloud=request.max_cloud,
        keep=request.keep,
        nir=request.nir,
        cloud_buffer=request.cloud_buffer,
        cloud_probability=request.cloud_probability,
    )


def plan_scenes(
    stage: Staging,
    archive: Archive,
    request: FetchRequest,
    search: Callable[[], dict[str, list[Scene]]] | None = None,
) -> dict[str, list[Scene]]:
    """List the scenes to fetch: those of an interrupted run, or those in the archive now.

    The first run writes the list to `PLAN_FILE`, so that a later run fetches the same scenes, even
    if the archive has received new ones in the meantime. ``search`` lists the scenes; by default
    it is `search_scenes`.
    """
    path = stage.path / PLAN_FILE
    if path.is_file() and stage.done.get("plan") == content_hash([path.read_bytes()]):
        listed = json.loads(path.read_text())
        return {name: [Scene.from_json(s) for s in found] for name, found in listed.items()}
    # Units are named by the place of their scene in the list, so those of a lost list are no use.
    stage.forget(set(stage.done))
    if (stage.path / UNITS_FOLDER).exists():
        shutil.rmtree(stage.path / UNITS_FOLDER)
    left_out = collect_left_out()
    (stage.path / UNITS_FOLDER).mkdir()
    scenes = search() if search else search_scenes(archive, request, saved=stage.path)
    with atomic_file(path) as part:
        text = {name: [scene.to_json() for scene in found] for name, found in scenes.items()}
        part.write_text(json.dumps(text))
    stage.finish(LEFT_OUT, left_out)
    stage.finish("plan", content_hash([path.read_bytes()]))
    check_disk(stage.path, disk_bytes(request.box, scenes), SMALLER)
    return scenes


def search_scenes(
    archive: Archive, request: FetchRequest, *, saved: Path | None = None, readable: bool = True
) -> dict[str, list[Scene]]:
    """Search an archive for the scenes of every requested sensor.

    Parameters
    ----------
    archive : Archive
    request : FetchRequest
    saved : Path, optional
        Folder for what is found out about single products, so that an interrupted search goes on
        where it stopped.
    readable : bool
        False: only list the scenes, without a request for single products.

    Returns
    -------
    dict of str to list of Scene
        By sensor; empty for a sensor of ``may_lack`` that has none.

    Raises
    ------
    DeepCropError
        If a sensor has no scene, or two scenes at the same time.
    ArchiveError
        If the archive does not answer, refuses, or does not have a sensor.
    """
    end = min(request.end, date.today())
    scenes = {
        # Radar first: an archive without radar then fails before the longer optical search.
        sensor: archive.search(
            request.box,
            request.start,
            end,
            sensor,
            saved=saved and saved / PRODUCTS_FILE.format(sensor=sensor),
            readable=readable,
        )
        for sensor in sorted(request.sensors, reverse=True)
    }
    scenes = {sensor: scenes[sensor] for sensor in request.sensors}
    for sensor, found in scenes.items():
        if not found and sensor not in request.may_lack:
            raise DeepCropError(
                f"{archive.name} has {no_scene(request, sensor)}. Choose another period or "
                "archive, or leave the sensor out (--sensors; in Python sensors)."
            )
        repeated = [t for t, n in Counter(scene.time for scene in found).items() if n > 1]
        if repeated:
            raise DeepCropError(
                f"{archive.name} lists two {sensor} scenes at the same time {repeated[0]}, and a "
                "cube holds one scene per time; for radar, choose one relative orbit (--orbits; in "
                "Python orbits)."
            )
    return scenes


def no_scene(request: FetchRequest, sensor: str) -> str:
    """Say what a search without result has searched for."""
    end = min(request.end, date.today())
    return (
        f"no {sensor} scene of the area from {request.start} to {end} "
        f"({_conditions(request, sensor)})"
    )


def _conditions(request: FetchRequest, sensor: str) -> str:
    if sensor == "optical":
        return f"cloud cover up to {request.max_cloud:g} %"
    return f"relative orbit {request.orbits}" if isinstance(request.orbits, int) else "any orbit"


def work_tiles(box: GeoBox) -> list[grid.Tile]:
    """Cut a grid into the tiles that are read and written at once."""
    return list(grid.tiles(box.shape.yx, TILE))


def disk_bytes(box: GeoBox, scenes: dict[str, list[Scene]]) -> int:
    """Compute the disk space of the units and the cube made from them, uncompressed."""
    values = {"optical": 4 * 2 + 1, "sar": 2 * 2}  # int16 bands, uint8 scene classes
    rows, cols = map(int, box.shape)
    return 2 * rows * cols * sum(values[sensor] * len(found) for sensor, found in scenes.items())
