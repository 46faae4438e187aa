"""One tile of a map: read, computed, written. The same function serves one computer and many.

Tiles write disjoint chunks of one store, so they can be made in any order, anywhere, and again.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from deepcrop import grid
from deepcrop.cube import io as cube_io
from deepcrop.cube.io import open_cube
from deepcrop.mapping.difference import difference_layers
from deepcrop.mapping.inputs import Images, Layers, Plan
from deepcrop.mapping.options import Recipe
from deepcrop.mapping.work_store import WANTED
from deepcrop.products.layers import DIFFERENCE, LEFT_OUT, describe
from deepcrop.storage.progress import is_interruption

TRIES = 3
"""How often a tile is tried before it is given up."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Nothing can be written, whatever the tile: to try again is to compute in vain."""


@dataclass(frozen=True)
class Failure:
    """A tile that could not be made.

    Attributes
    ----------
    core : tuple of slice
        Its rows and columns.
    error : str
        What the last try said.
    """

    core: tuple[slice, slice]
    error: str

    def __str__(self) -> str:
        rows, cols = self.core
        return (
            f"rows {rows.start} to {rows.stop - 1}, columns {cols.start} to {cols.stop - 1}: "
            f"{self.error}"
        )


_Made = tuple[dict[str, Layers], dict[str, list[int]], int]
"""Layers of a tile by method, valid pixels of each scene by group, number of pixels left out."""


@lru_cache(maxsize=1)
def plans_of(recipe: Recipe) -> dict[str, Plan]:
    """How each method maps the recipe's cube; made once in a process."""
    return recipe.plans(open_cube(recipe.cube))


def make_tile(recipe: Recipe, work: str, core: tuple[slice, slice]) -> dict[str, Any]:
    """Make one tile from beginning to end.

    Parameters
    ----------
    recipe : Recipe
    work : str
        The work store.
    core : tuple of slice
        Rows and columns, whole chunks of the store.

    Returns
    -------
    dict
        The tile's line of the manifest.
    """
    plans, start = plans_of(recipe), time.monotonic()
    answer = compute_tile(recipe, plans, core, *read_tile(plans, work, core))
    return write_tile(work, core, answer, start)


def make_tiles(
    recipe: Recipe,
    work: str,
    cores: list[tuple[slice, slice]],
    done: Callable[[dict[str, Any]], None],
) -> list[Failure]:
    """Make tiles in this process: the next is read and the last is written meanwhile.

    Parameters
    ----------
    recipe : Recipe
    work : str
        The work store.
    cores : list of tuple of slice
        Rows and columns of the tiles.
    done : callable
        Gets the manifest's line of each tile when it is written.

    Returns
    -------
    list of Failure
        Tiles that failed `TRIES` times.

    Raises
    ------
    OSError
        If the disk is full, or may not be written.
    """
    plans = plans_of(recipe)
    failed: list[tuple[slice, slice]] = []

    def write(core: tuple[slice, slice], start: float, answer: _Made) -> None:
        try:
            line = write_tile(work, core, answer, start)
        except Exception as error:
            if no_room(error):
                raise
            failed.append(core)
        else:
            done(line)

    # Leaving the block waits for what is being written, on an interruption as well.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = deque(reader.submit(read_tile, plans, work, core) for core in cores[:1])
        writing: Future | None = None
        for k, core in enumerate(cores):
            start = time.monotonic()
            if k + 1 < len(cores):
                ahead.append(reader.submit(read_tile, plans, work, cores[k + 1]))
            try:
                answer = compute_tile(recipe, plans, core, *ahead.popleft().result())
            except Exception as error:
                if is_interruption(error):
                    raise
                failed.append(core)
                continue
            if writing is not None:
                writing.result()  # no more than one waits: memory is that of three tiles
            writing = writer.submit(write, core, start, answer)
        if writing is not None:
            writing.result()  # a journal that cannot be written ends the run
    failures = []
    for core in failed:
        line = _again(recipe, work, core)
        if isinstance(line, Failure):
            failures.append(line)
        else:
            done(line)
    return failures


def no_room(error: Exception) -> bool:
    """Whether an error is of a disk that is full or may not be written."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def _again(recipe: Recipe, work: str, core: tuple[slice, slice]) -> dict[str, Any] | Failure:
    """Try a tile again that has failed once."""
    for _ in range(TRIES - 2):
        try:
            return make_tile(recipe, work, core)
        except Exception as error:
            if no_room(error) or is_interruption(error):
                raise
            time.sleep(0.1)  # a moment for what passes
    try:
        return make_tile(recipe, work, core)
    except Exception as error:
        if no_room(error) or is_interruption(error):
            raise
        return Failure(core, f"{type(error).__name__}: {error}")


def _shape(plans: dict[str, Plan]) -> tuple[int, int]:
    data = next(iter(next(iter(plans.values())).images.values())).data
    return data.sizes["y"], data.sizes["x"]


def read_tile(
    plans: dict[str, Plan], work: str, core: tuple[slice, slice]
) -> tuple[dict[str, dict[str, Images]], NDArray[np.bool_] | None]:
    """Images of a tile for each method, and the pixels asked for: None is all."""
    wanted = None
    if (Path(work) / WANTED).exists():
        wanted = np.asarray(zarr.open_array(Path(work) / WANTED / WANTED, mode="r")[core], bool)
        if not wanted.any():
            return {}, wanted
    shape = _shape(plans)
    return {
        method: plan.load(grid.tile_at(core, shape, plan.halo)) for method, plan in plans.items()
    }, wanted


def compute_tile(
    recipe: Recipe,
    plans: dict[str, Plan],
    core: tuple[slice, slice],
    images: dict[str, dict[str, Images]],
    wanted: NDArray[np.bool_] | None,
) -> _Made:
    """Layers by method, valid pixels of each scene by group, number of pixels left out."""
    shape = core[0].stop - core[0].start, core[1].stop - core[1].start
    if not images:
        methods = [*plans, *([DIFFERENCE] if len(plans) > 1 else [])]
        return {m: _left_out(m, recipe.year, shape) for m in methods}, {}, shape[0] * shape[1]
    if wanted is not None and wanted.all():
        wanted = None
    found: dict[str, Layers] = {}
    valid: dict[str, list[int]] = {}
    for method, plan in plans.items():
        tile = grid.tile_at(core, _shape(plans), plan.halo)
        found[method], scenes = plan.run(images[method], tile.inside, wanted)
        valid |= {
            f"{method} {name}": counts.tolist()
            for name, counts in zip(plan.images, scenes, strict=True)
        }
    if len(found) > 1:
        found[DIFFERENCE] = difference_layers(found["curve"], found["deepcrop"])
    return found, valid, 0 if wanted is None else int((~wanted).sum())


def _left_out(method: str, year: int, shape: tuple[int, int]) -> Layers:
    """Layers of a tile of which no pixel is asked for."""
    found = {
        layer.name: np.full(shape, layer.nodata or 0, layer.dtype)
        for layer in describe(method, year)
    }
    if "qflag" in found:
        found["qflag"][:] = LEFT_OUT
    return found


def write_tile(
    work: str,
    core: tuple[slice, slice],
    answer: _Made,
    start: float,
) -> dict[str, Any]:
    """Write a tile into the work store; give its line of the manifest."""
    found, valid, left_out = answer
    for method, layers in found.items():
        cube_io.write_block(Path(work), method, layers, *core)
    rows, cols = core
    return {
        "rows": [rows.start, rows.stop],
        "cols": [cols.start, cols.stop],
        "pixels": (rows.stop - rows.start) * (cols.stop - cols.start),
        "left_out": left_out,
        "seconds": round(time.monotonic() - start, 3),
        "process": f"{socket.gethostname()}:{os.getpid()}",
        "valid": valid,
    }
