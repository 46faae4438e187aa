"""What a map will take: bytes read, memory and time, from a small part made on this computer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from deepcrop.cube import contract
from deepcrop.cube.io import open_cube
from deepcrop.mapping.dask_cluster import check_cluster
from deepcrop.mapping.options import check_options, make_recipe
from deepcrop.mapping.selection import Land
from deepcrop.mapping.tiles import compute_tile, plans_of, read_tile
from deepcrop.products import layers as products_layers
from deepcrop.products.write import PICTURED, cores

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
    wanted, wanted_tiles : int
        Pixels that mask and parcels leave, and tiles with any.
    read : int
        Bytes of observations that are read, unpacked from their compression.
    memory : int
        Largest use of memory of a process, bytes.
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
    wanted: int
    wanted_tiles: int
    read: int
    memory: int
    seconds: float | None
    processes: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a few lines."""
        wanted = f"; wanted are {self.wanted:,} in {self.wanted_tiles} tiles"
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
            f"{wanted if self.wanted < self.pixels else ''}\n"
            f"reads    {self.read / 1e9:.2f} GB of observations\n"
            f"memory   about {self.memory / 1e9:.1f} GB a process\n"
            f"time     {took}\n"
            f"without  {'; '.join(self.missing)}\n"
            "nothing was written"
        )


def estimate(
    cube_path: Path,
    year: int,
    *,
    method: str = "curve",
    index: str = "ndvi",
    smoother: str = "whittaker",
    weights: Path | None = None,
    radar: bool = True,
    device: str = "cpu",
    precision: str = "float32",
    mask: Path | None = None,
    parcels_path: Path | None = None,
    fields: bool = False,
    address: str | None = None,
    workers: int | None = None,
) -> Estimate:
    """Expect what `deepcrop.map_region` will take; parameters and errors as of it.

    On a GPU, and on the workers of a scheduler (which is not asked), the time is not known.
    """
    check_options(method, index, smoother, weights, radar, device, precision)
    if address is not None or workers is not None:
        check_cluster(address, workers)
    cube = open_cube(cube_path)
    recipe = make_recipe(
        cube_path, year, method, index, smoother, weights, radar, device, precision
    )
    plans = plans_of(recipe)
    land = Land(cube, cube_path, mask, parcels_path, fields)
    wanted, wanted_tiles = land.count()
    rows, cols = land.box.shape
    side = contract.CHUNK
    top, left = (max((length - side) // 2 // side * side, 0) for length in (rows, cols))
    whole = slice(top, min(top + side, rows)), slice(left, min(left + side, cols))
    start = time.monotonic()
    images, _ = read_tile(plans, "", whole)
    reading = time.monotonic() - start
    held = sum(one.data.nbytes for some in images.values() for one in some.values())
    described = [
        layer
        for one in [*plans, *([products_layers.DIFFERENCE] if len(plans) > 1 else [])]
        for layer in products_layers.describe(one, year)
    ]
    missing = ["what else runs on this computer"]
    here, used = cores(), workers or cores()
    seconds = None
    if device != "cpu":
        missing.append(f"the time and the memory of {device}, which was not tried")
    elif address is not None:
        missing.append(f"the time on the workers of {address}, which was not asked")
    else:
        small = slice(top, min(top + _PROBE, rows)), slice(left, min(left + _PROBE, cols))
        tiny = slice(top, min(top + 8, rows)), slice(left, min(left + 8, cols))
        compute_tile(recipe, plans, tiny, *read_tile(plans, "", tiny))  # compiles kernels
        part = read_tile(plans, "", small)
        start = time.monotonic()
        compute_tile(recipe, plans, small, *part)
        each = (time.monotonic() - start) / ((small[0].stop - top) * (small[1].stop - left))
        pictures = sum(layer.kind in PICTURED for layer in described)
        writing = len(described) * rows * cols * _PRODUCT + pictures * _PICTURE
        # The probe had the cores that are here, as writing will have.
        seconds = wanted_tiles * reading / (workers or 1) + (wanted * each * here / used)
        seconds += writing / here
        if land.limited and "deepcrop" in plans:
            missing.append("pixels that the network reads around those that are wanted")
        if parcels_path is not None or fields:
            missing.append("the table of fields")
    return Estimate(
        pixels=rows * cols,
        tiles=-(-rows // side) * -(-cols // side),
        layers=len(described),
        wanted=wanted,
        wanted_tiles=wanted_tiles,
        read=sum(
            min(wanted_tiles * side**2, rows * cols) * one.days.size * len(one.data.data_vars) * 2
            for plan in plans.values()
            for one in plan.images.values()
        ),
        memory=_resident() + 3 * held + _WRITING,
        seconds=seconds,
        processes=used,
        missing=tuple(missing),
    )


def _resident() -> int:
    """Bytes of memory that this process has used at most: its libraries, a tile."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
