"""Estimate what a fetch will take: scenes, bytes and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.fetch.plan import (
    FetchRequest,
    disk_bytes,
    open_requested_archive,
    search_scenes,
    work_tiles,
)
from deepcrop.fetch.read import run_in_threads
from deepcrop.sources.archive import Archive, ArchiveError, Scene, SceneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

_MEASURED = 6  # scenes of a sensor, about, whose size is measured
# Side of the part of an area whose size is measured, pixels: so large that the tables of a radar
# product, which are read whole for any area, are a small part of it.
_PART = 2048


@dataclass(frozen=True)
class Estimate:
    """What a request will take.

    Attributes
    ----------
    scenes : dict of str to list of Scene
        By sensor.
    moved, disk : int
        Bytes to read from the archive if all pixels are clear, and bytes of disk at most.
    seconds : float
        Expected time of search and reading, measured on a few scenes.
    """

    scenes: dict[str, list[Scene]]
    moved: int
    disk: int
    seconds: float


def estimate(request: FetchRequest, threads: int = 4) -> Estimate:
    """Estimate what a request would take by reading one tile of a few scenes of each sensor.

    The test scenes are read in parallel, as a fetch does, and are the least cloudy ones, which
    take longest.

    Raises
    ------
    ArchiveError
        If the archive does not serve.
    DeepCropError
        If there is no scene, or none of those tried can be read.
    """
    begin = time.perf_counter()
    archive = open_requested_archive(request)
    scenes = search_scenes(archive, request)
    seconds = time.perf_counter() - begin
    moved = 0
    rows, cols = (slice(0, min(length, _PART)) for length in request.box.shape)
    part = grid.crop(request.box, (rows, cols))
    for found in scenes.values():
        seconds += read_seconds(archive, request, found, threads) * len(found)
        size = sum(archive.size(scene, request.box) for scene in found)
        moved += round(size * size_factor(archive, part, found))
    return Estimate(scenes, moved, disk_bytes(request.box, scenes), seconds)


def size_factor(archive: Archive, box: GeoBox, scenes: Sequence[Scene]) -> float:
    """Compare the bytes that the files' headers say with the archive's own estimate of them.

    Headers of a few scenes are read.

    Returns
    -------
    float
        Bytes in truth for each byte of the estimate.
    """
    measured = estimated = 0
    for scene in scenes[:: max(1, len(scenes) // _MEASURED)]:
        try:
            measured += archive.measure(scene, box)
            estimated += archive.size(scene, box)
        except SceneError:  # named when it is fetched
            continue
    return measured / estimated if estimated else 1.0


def read_seconds(
    archive: Archive, request: FetchRequest, found: Sequence[Scene], threads: int
) -> float:
    """Measure how long a scene takes, by reading one tile of a few scenes; errors as `estimate`."""
    tile = work_tiles(request.box)[0]  # the largest
    share = tile.shape[0] * tile.shape[1] / (request.box.shape[0] * request.box.shape[1])
    tried = sorted(found, key=lambda scene: scene.cloud_cover or 0.0)[:threads]

    def read(scene: Scene) -> None:
        archive.read(scene, grid.crop(request.box, tile.core))

    begin = time.perf_counter()
    errors = [error for _, error in run_in_threads(read, tried, threads)]
    for error in errors:
        if isinstance(error, ArchiveError):
            raise error
    if all(errors):
        raise DeepCropError(
            f"None of the {len(tried)} scenes that were tried can be read: {errors[0]}"
        )
    return float((time.perf_counter() - begin) / len(tried) / share)
