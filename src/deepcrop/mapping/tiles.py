"""Read, compute and write one tile of a map; the same function runs here and on Dask workers.

Tiles write disjoint blocks of one file, so they can be made in any order, by any process, and a
second time after a failure.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcrop import grid
from deepcrop.mapping.difference import difference_layers
from deepcrop.mapping.inputs import Images, InputCube, Layers, Plan
from deepcrop.mapping.work_store import SELECTED
from deepcrop.products.layers import DIFFERENCE
from deepcrop.storage.progress import is_interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from deepcrop.mapping.options import TileJob
    from deepcrop.mapping.work_store import TileFile, WorkStore

TRIES = 3
"""Number of attempts at a tile before it counts as failed."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Write errors that would recur for every tile, so a tile that meets one is not retried."""


@dataclass(frozen=True)
class Failure:
    """A tile that failed in every attempt.

    Attributes
    ----------
    core : tuple of slice
        Its rows and columns.
    error : str
        Message of the last attempt.
    """

    core: tuple[slice, slice]
    error: str

    def __str__(self) -> str:
        rows, cols = self.core
        return (
            f"rows {rows.start} to {rows.stop - 1}, columns {cols.start} to {cols.stop - 1}: "
            f"{self.error}"
        )


TileLayers = tuple[dict[str, Layers], dict[str, list[int]], int]
"""Layers of a tile by method, valid pixels of each scene by group, number of pixels left out."""


@lru_cache(maxsize=1)
def plans_of(job: TileJob) -> dict[str, Plan]:
    """Plan each method for the job's cube, once in a process."""
    return job.plans(InputCube.open(Path(job.cube)))


def make_tile(job: TileJob, work: WorkStore, core: tuple[slice, slice]) -> dict[str, Any]:
    """Make one tile from beginning to end.

    Parameters
    ----------
    job : TileJob
    work : WorkStore
        The work store.
    core : tuple of slice
        Its rows and columns.

    Returns
    -------
    dict
        The tile's line of the manifest.
    """
    plans, start = plans_of(job), time.monotonic()
    computed = compute_tile(job, plans, core, *read_tile(plans, work.selected, core))
    return write_tile(work, core, computed, start)


def make_tiles(
    job: TileJob,
    work: WorkStore,
    cores: list[tuple[slice, slice]],
    done: Callable[[dict[str, Any]], None],
) -> list[Failure]:
    """Make tiles in this process; reading the next and writing the last overlap with computing.

    Parameters
    ----------
    job : TileJob
    work : WorkStore
        The work store.
    cores : list of tuple of slice
        Rows and columns of the tiles.
    done : callable
        Called with the manifest's line of each tile once it is written.

    Returns
    -------
    list of Failure
        Tiles that failed `TRIES` times.

    Raises
    ------
    OSError
        If the disk is full, or may not be written.
    """
    plans = plans_of(job)
    failed: list[tuple[slice, slice]] = []

    def write(core: tuple[slice, slice], start: float, computed: TileLayers) -> None:
        try:
            line = write_tile(work, core, computed, start)
        except Exception as error:
            if is_disk_full(error):
                raise
            failed.append(core)
        else:
            done(line)

    # Leaving the block waits for what is being written, on an interruption as well.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = deque(reader.submit(read_tile, plans, work.selected, core) for core in cores[:1])
        writing: Future[None] | None = None
        for k, core in enumerate(cores):
            start = time.monotonic()
            if k + 1 < len(cores):
                ahead.append(reader.submit(read_tile, plans, work.selected, cores[k + 1]))
            try:
                computed = compute_tile(job, plans, core, *ahead.popleft().result())
            except Exception as error:
                if is_interruption(error):
                    raise
                failed.append(core)
                continue
            if writing is not None:
                writing.result()  # no more than one waits: memory is that of three tiles
            writing = writer.submit(write, core, start, computed)
        if writing is not None:
            writing.result()  # a journal that cannot be written ends the run
    failures = []
    for core in failed:
        line = _retry(job, work, core)
        if isinstance(line, Failure):
            failures.append(line)
        else:
            done(line)
    return failures


def is_disk_full(error: Exception) -> bool:
    """Whether an error means that the disk is full or read-only."""
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def _retry(job: TileJob, work: WorkStore, core: tuple[slice, slice]) -> dict[str, Any] | Failure:
    """Try a tile again that has failed once; `TRIES` counts the first attempt."""
    for _ in range(TRIES - 2):
        try:
            return make_tile(job, work, core)
        except Exception as error:
            if is_disk_full(error) or is_interruption(error):
                raise
            time.sleep(0.1)  # for errors that pass by themselves
    try:
        return make_tile(job, work, core)
    except Exception as error:
        if is_disk_full(error) or is_interruption(error):
            raise
        return Failure(core, f"{type(error).__name__}: {error}")


def _shape(plans: dict[str, Plan]) -> tuple[int, int]:
    data = next(iter(next(iter(plans.values())).images.values())).data
    return data.sizes["y"], data.sizes["x"]


def read_tile(
    plans: dict[str, Plan], selection: TileFile | None, core: tuple[slice, slice]
) -> tuple[dict[str, dict[str, Images]], NDArray[np.bool_] | None]:
    """Read the images of a tile for each method, and the pixels to map: None is all."""
    selected = None
    if selection is not None:
        selected = selection.read(SELECTED, *core).astype(bool)
        if not selected.any():
            return {}, selected
    shape = _shape(plans)
    return {
        method: plan.load(grid.tile_at(core, shape, plan.halo)) for method, plan in plans.items()
    }, selected


def compute_tile(
    job: TileJob,
    plans: dict[str, Plan],
    core: tuple[slice, slice],
    images: dict[str, dict[str, Images]],
    selected: NDArray[np.bool_] | None,
) -> TileLayers:
    """Compute a tile: layers by method, valid pixels of each scene, number of pixels left out.

    Without a pixel to map there are no layers.
    """
    shape = core[0].stop - core[0].start, core[1].stop - core[1].start
    if not images:
        return {}, {}, shape[0] * shape[1]
    if selected is not None and selected.all():
        selected = None
    found: dict[str, Layers] = {}
    valid: dict[str, list[int]] = {}
    for method, plan in plans.items():
        tile = grid.tile_at(core, _shape(plans), plan.halo)
        found[method], scenes = plan.run(images[method], tile.inside, selected)
        valid |= {
            f"{method} {name}": counts.tolist()
            for name, counts in zip(plan.images, scenes, strict=True)
        }
    if len(found) > 1:
        found[DIFFERENCE] = difference_layers(found["curve"], found["deepcrop"])
    return found, valid, 0 if selected is None else int((~selected).sum())


def write_tile(
    work: WorkStore,
    core: tuple[slice, slice],
    computed: TileLayers,
    start: float,
) -> dict[str, Any]:
    """Write a tile with pixels to map into the work store; return its line of the manifest."""
    found, valid, left_out = computed
    if found:
        work.write([(core, found)])
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
