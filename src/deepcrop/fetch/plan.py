"""Plan what to fetch: search the archive and list the scenes of an area."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.errors import DeepCropError
from deepcrop.sources import open_archive
from deepcrop.sources.archive import SENSORS, Archive, Scene
from deepcrop.storage.files import atomic_file
from deepcrop.storage.staging import Staging

TILE = 4 * contract.CHUNK
"""Side of a tile of work, pixels: 10 km, so that few blocks of a file are read twice."""
_PLAN = "plan.json"


@dataclass(frozen=True)
class Request:
    """What to fetch.

    Attributes
    ----------
    box : GeoBox
        10 m grid of the cube.
    start, end : date
        First and last day, both included.
    archive : str
        Name of the archive, one of `deepcrop.sources.ARCHIVES`.
    sensors : tuple of str
        Groups of the cube: ``optical``, ``sar``.
    orbits : str or int
        Relative orbits of the radar: ``"best"`` (the best covered), ``"all"`` or a number.
    max_cloud : float
        Most cloud cover of an optical product, percent.
    keep : tuple of int or None
        Scene classes of Sentinel-2 to keep; None for the archive's usual mask.
    crops : str or None
        Crop types: ``"cropscape"`` or ``"pc"`` for the USDA Cropland Data Layer of the year that
        the period ends in the winter of, or the path of a crop raster.
    """

    box: GeoBox
    start: date
    end: date
    archive: str = "pc"
    sensors: tuple[str, ...] = SENSORS
    orbits: str | int = "best"
    max_cloud: float = 90.0
    keep: tuple[int, ...] | None = None
    crops: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Describe the request in types that JSON has."""
        options = {k: v for k, v in asdict(self).items() if k != "box"}
        return options | {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "sensors": list(self.sensors),
            "keep": None if self.keep is None else list(self.keep),
            "crs": str(self.box.crs),
            "shape": list(self.box.shape.yx),
            "transform": list(self.box.affine[:6]),
        }


# What to fetch ----------------------------------------------------------------------------------


def _open(request: Request) -> Archive:
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
    if request.start > request.end:
        raise DeepCropError(f"Period {request.start} to {request.end} runs backwards.")
    return open_archive(
        request.archive, orbits=request.orbits, max_cloud=request.max_cloud, keep=request.keep
    )


def _search(archive: Archive, request: Request) -> dict[str, list[Scene]]:
    end = min(request.end, date.today())
    scenes = {
        # Radar first: of an archive without it one hears soon.
        sensor: archive.search(request.box, request.start, end, sensor)
        for sensor in sorted(request.sensors, reverse=True)
    }
    scenes = {sensor: scenes[sensor] for sensor in request.sensors}
    for sensor, found in scenes.items():
        if not found:
            raise DeepCropError(
                f"{archive.name} has no {sensor} scene of the area from {request.start} to "
                f"{end} ({_conditions(request, sensor)}). Choose another period or archive, or "
                "leave the sensor out with --sensors."
            )
        twice = [t for t, n in Counter(scene.time for scene in found).items() if n > 1]
        if twice:
            raise DeepCropError(
                f"{archive.name} lists two {sensor} scenes of the very time {twice[0]}, and a cube "
                "holds one of each time; of radar, choose one relative orbit with --orbits."
            )
    return scenes


def _conditions(request: Request, sensor: str) -> str:
    if sensor == "optical":
        return f"cloud cover up to {request.max_cloud:g} %"
    return f"relative orbit {request.orbits}" if isinstance(request.orbits, int) else "any orbit"


def _planned(stage: Staging, archive: Archive, request: Request) -> dict[str, list[Scene]]:
    """Scenes of an earlier, interrupted run, or those that the archive lists now."""
    path = stage.path / _PLAN
    if path.is_file():
        listed = json.loads(path.read_text())
        return {name: [Scene.from_json(s) for s in found] for name, found in listed.items()}
    scenes = _search(archive, request)
    with atomic_file(path) as part:
        text = {name: [scene.to_json() for scene in found] for name, found in scenes.items()}
        part.write_text(json.dumps(text))
    _check_disk(stage, request.box, scenes)
    return scenes


def _tiles(box: GeoBox) -> list[grid.Tile]:
    return list(grid.tiles(box.shape.yx, TILE))


def _disk(box: GeoBox, scenes: dict[str, list[Scene]]) -> int:
    """Bytes of the units and of the cube made from them, uncompressed."""
    values = {"optical": 4 * 2 + 1, "sar": 2 * 2}
    pixels = box.shape[0] * box.shape[1]
    return 2 * pixels * sum(values[sensor] * len(found) for sensor, found in scenes.items())


def _check_disk(stage: Staging, box: GeoBox, scenes: dict[str, list[Scene]]) -> None:
    needed, free = _disk(box, scenes), shutil.disk_usage(stage.path).free
    if needed > free:
        raise DeepCropError(
            f"{stage.path.parent.absolute()} has {free / 1e9:.1f} GB free, and up to "
            f"{needed / 1e9:.1f} GB are needed. Write to another disk, or fetch a smaller area."
        )
