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
from deepcrop.sources.archive import Archive, ArchiveError, Scene

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Estimate:
    """What a request will take.

    Attributes
    ----------
    scenes : dict of str to list of Scene
        By sensor.
    moved, disk : int
        Bytes to read from the archive, and bytes of disk at most.
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
    for found in scenes.values():
        moved += sum(archive.size(scene, request.box) for scene in found)
        seconds += read_seconds(archive, request, found, threads) * len(found)
    return Estimate(scenes, moved, disk_bytes(request.box, scenes), seconds)


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
