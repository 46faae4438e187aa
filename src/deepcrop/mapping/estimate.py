"""What a map will take: bytes read, memory and time, from a small part made on this computer."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcrop.cube import contract
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.inputs import InputCube, content_of
from deepcrop.mapping.network import NetworkMethod
from deepcrop.mapping.options import MapOptions, TileJob, with_until
from deepcrop.mapping.region import disk_bytes, work_store
from deepcrop.mapping.selection import PixelSelection
from deepcrop.mapping.tiles import compute_tile, plans_of, read_tile
from deepcrop.products import layers
from deepcrop.products.write import PICTURED, cores

if TYPE_CHECKING:
    from pathlib import Path

_PROBE = 128
"""Side of the part that is made, pixels."""

_PRODUCT = 4e-8
"""Seconds on one core to write a layer, per pixel (measured, docs/performance.md)."""

_PICTURE = 0.25
"""Seconds to draw a picture."""

_WRITING = 400 * 1024**2
"""Bytes that writing the products needs: windows, and the cache of GDAL, on each core."""
_LIBRARIES = 400 * 1024**2
"""Bytes that the libraries need, where the system does not tell."""


@dataclass(frozen=True)
class Estimate:
    """What a map is expected to take.

    Attributes
    ----------
    pixels, tiles, layers : int
        Of the map.
    selected, selected_tiles : int
        Pixels that mask and parcels leave, and tiles with any.
    read : int
        Bytes of observations that are read, unpacked from their compression.
    memory : int
        Largest use of memory of a process, bytes.
    disk : int
        Bytes of disk at most, of the work store and of the products together.
    seconds : float or None
        From beginning to end; None where it cannot be told from here.
    processes : int
        Cores or workers that were assumed.
    missing : tuple of str
        What is not in the numbers.
    """

    pixels: int
    tiles: int
    layers: int
    selected: int
    selected_tiles: int
    read: int
    memory: int
    disk: int
    seconds: float | None
    processes: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a few lines."""
        selected = f"; selected are {self.selected:,} in {self.selected_tiles} tiles"
        if self.seconds is None:
            took = "unknown"
        else:
            minutes, seconds = divmod(round(self.seconds), 60)
            took = (
                f"about {minutes} min {seconds:02d} s on {self.processes} cores "
                f"(from {_PROBE} x {_PROBE} pixels made here)"
            )
        return (
            f"map of {self.pixels:,} pixels in {self.tiles} tiles, {self.layers} layers"
            f"{selected if self.selected < self.pixels else ''}\n"
            f"reads    {self.read / 1e9:.2f} GB of observations\n"
            f"memory   about {self.memory / 1e9:.1f} GB a process\n"
            f"disk     up to {self.disk / 1e9:.2f} GB while it is made, most of which is freed at "
            "the end\n"
            f"time     {took}\n"
            f"without  {'; '.join(self.missing)}\n"
            "nothing was written"
        )


def estimate(
    cube_path: Path,
    year: int,
    options: MapOptions,
    cluster_options: ClusterOptions = ClusterOptions(),  # noqa: B008  (frozen)
) -> Estimate:
    """Estimate what `deepcrop.map_region` will take; errors as of it.

    On a GPU, and on the workers of a scheduler (which is not asked), the time is not known.
    """
    if cluster_options.used:
        cluster_options.check()
    cube = InputCube.open(cube_path)
    job = TileJob.of(cube, year, with_until(options.methods, cube, year))
    plans = plans_of(job)
    selection = PixelSelection(cube, options)
    selected, selected_tiles = selection.count()
    rows, cols = selection.box.shape
    side = contract.CHUNK
    top, left = (max((length - side) // 2 // side * side, 0) for length in (rows, cols))
    whole = slice(top, min(top + side, rows)), slice(left, min(left + side, cols))
    start = time.monotonic()
    images, _ = read_tile(plans, None, whole)
    reading = time.monotonic() - start
    held = sum(one.data.nbytes for some in images.values() for one in some.values())
    described = [
        layer
        for group in layers.layer_groups(plans)
        for layer in layers.describe(group, year, content_of(plans))
    ]
    work = work_store(cube_path, plans, year, cube.box, selection.limited)
    missing = ["what else runs on this computer"]
    workers = cluster_options.workers
    here, used = cores(), workers or cores()
    seconds = None
    device = next((m.device for m in options.methods if isinstance(m, NetworkMethod)), "cpu")
    if device != "cpu":
        missing.append(f"the time and the memory of {device}, which was not tried")
    elif cluster_options.address is not None:
        missing.append(f"the time on the workers of {cluster_options.address}, which was not asked")
    else:
        small = slice(top, min(top + _PROBE, rows)), slice(left, min(left + _PROBE, cols))
        tiny = slice(top, min(top + 8, rows)), slice(left, min(left + 8, cols))
        compute_tile(job, plans, tiny, *read_tile(plans, None, tiny))  # compiles kernels
        part = read_tile(plans, None, small)
        start = time.monotonic()
        compute_tile(job, plans, small, *part)
        each = (time.monotonic() - start) / ((small[0].stop - top) * (small[1].stop - left))
        pictures = sum(layer.kind in PICTURED for layer in described)
        writing = len(described) * rows * cols * _PRODUCT + pictures * _PICTURE
        # The probe had the cores that are here, as writing will have.
        seconds = selected_tiles * reading / (workers or 1) + (selected * each * here / used)
        seconds += writing / here
        if selection.limited and "deepcrop" in plans:
            missing.append("pixels that the network reads around those that are selected")
        if options.parcels is not None or options.fields:
            missing.append("the table of fields")
    return Estimate(
        pixels=rows * cols,
        tiles=-(-rows // side) * -(-cols // side),
        layers=len(described),
        selected=selected,
        selected_tiles=selected_tiles,
        read=sum(
            min(selected_tiles * side**2, rows * cols) * one.days.size * len(one.data.data_vars) * 2
            for plan in plans.values()
            for one in plan.images.values()
        ),
        memory=_resident() + 3 * held + _WRITING,
        disk=disk_bytes(work, selected, selected_tiles),
        seconds=seconds,
        processes=used,
        missing=tuple(missing),
    )


def _resident() -> int:
    """Bytes of memory that this process has used at most: its libraries, a tile."""
    if sys.platform == "win32":  # which keeps no such record
        return _LIBRARIES
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
