"""What a map will take: bytes read, memory and time, from a small part made on this computer."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from deepcrop import layers, observations
from deepcrop.mapping import check_options, make_recipe
from deepcrop.products import PICTURED
from deepcrop.tiles import compute_tile, plans_of, read_tile

_PROBE = 128
"""Side of the part that is made, pixels."""

_PRODUCT = 8e-8
"""Seconds on one core to write a layer, per pixel (measured, docs/performance.md)."""

_PICTURE = 0.5
"""Seconds to draw a picture."""

_WRITING = 400 * 1024**2
"""Bytes that writing the products needs: windows, and the cache of GDAL, on each core."""


@dataclass(frozen=True)
class Estimate:
    """What a map is expected to take.

    Attributes
    ----------
    pixels, tiles, layers : int
        Of the map.
    read : int
        Bytes of observations that are read, unpacked from their compression.
    memory : int
        Largest use of memory of a process, bytes.
    seconds : float
        From beginning to end.
    processes : int
        Cores or workers that were assumed.
    """

    pixels: int
    tiles: int
    layers: int
    read: int
    memory: int
    seconds: float
    processes: int

    def __str__(self) -> str:
        """Say it in a few lines."""
        minutes, seconds = divmod(round(self.seconds), 60)
        return (
            f"map of {self.pixels:,} pixels in {self.tiles} tiles, {self.layers} layers\n"
            f"reads    {self.read / 1e9:.2f} GB of observations\n"
            f"memory   about {self.memory / 1e9:.1f} GB a process\n"
            f"time     about {minutes} min {seconds:02d} s on {self.processes} cores "
            f"(from {_PROBE} x {_PROBE} pixels made here, without what else runs)\n"
            "nothing was written"
        )


def estimate(
    cube_path: Path,
    year: int,
    method: str,
    index: str,
    smoother: str,
    weights: Path | None,
    radar: bool,
    workers: int | None,
) -> Estimate:
    """Expect what `deepcrop.map_region` will take; parameters as of it."""
    check_options(method, index, smoother, weights, radar)
    cube = observations.open_cube(cube_path)
    recipe = make_recipe(cube_path, year, method, index, smoother, weights, radar)
    plans = plans_of(recipe)
    rows, cols = observations.grid_of(cube).shape
    cores = workers or len(os.sched_getaffinity(0))
    side = observations.CHUNK
    tiles = -(-rows // side) * -(-cols // side)
    top, left = (max((length - side) // 2 // side * side, 0) for length in (rows, cols))
    whole = slice(top, min(top + side, rows)), slice(left, min(left + side, cols))
    start = time.monotonic()
    images, _ = read_tile(plans, "", whole)
    reading = time.monotonic() - start
    held = sum(one.data.nbytes for some in images.values() for one in some.values())
    small = slice(top, min(top + _PROBE, rows)), slice(left, min(left + _PROBE, cols))
    tiny = slice(top, min(top + 8, rows)), slice(left, min(left + 8, cols))
    compute_tile(recipe, plans, tiny, *read_tile(plans, "", tiny))  # compiles kernels
    part = read_tile(plans, "", small)
    start = time.monotonic()
    compute_tile(recipe, plans, small, *part)
    each = (time.monotonic() - start) / ((small[0].stop - top) * (small[1].stop - left))
    here = len(os.sched_getaffinity(0))  # the probe had as many
    described = [
        layer
        for one in [*plans, *([layers.DIFFERENCE] if len(plans) > 1 else [])]
        for layer in layers.describe(one, year)
    ]
    pictures = sum(layer.kind in PICTURED for layer in described)
    pixels = rows * cols
    writing = (len(described) * pixels * _PRODUCT + pictures * _PICTURE) / here
    read = sum(
        pixels * one.days.size * len(one.data.data_vars) * 2
        for plan in plans.values()
        for one in plan.images.values()
    )
    return Estimate(
        pixels=pixels,
        tiles=tiles,
        layers=len(described),
        read=read,
        memory=_resident() + 3 * held + _WRITING,
        seconds=tiles * reading / (cores if workers else 1)
        + pixels * each * here / cores
        + writing,
        processes=cores,
    )


def _resident() -> int:
    """Bytes of memory that this process has used at most: its libraries, a tile."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
