"""Store **simulated** training tiles on disk, a hundred in a file, simulated by several processes.

A file records the versions of the package and of the simulator; files of other versions are
rejected.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from deepcrop._version import __version__
from deepcrop.cube.packing import pack, scale_of, unpack
from deepcrop.errors import DeepCropError
from deepcrop.simulation import REVISION
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.training.simulated_tiles import SimulatedTile, simulate_tile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHARD = 100
"""Tiles in a file."""

_IMAGES = {"optical": "blue", "radar": "vv"}  # packed like these bands of a cube
_PARTS = ("optical", "optical_days", "radar", "radar_days", "orbits", "camera", "curve")
_ABOUT = {"software": f"deepcrop {__version__}", "simulator": REVISION, "simulated": True}
_LENGTHS = {"optical": "optical_days", "radar": "radar_days"}


def simulate_tiles(folder: Path, count: int, seed: int, workers: int = 1) -> list[Path]:
    """Simulate tiles 0 … count - 1, as far as they are not stored yet.

    Parameters
    ----------
    folder : Path
        Folder of the files; created if missing. A file is written content or not at all.
    count : int
        Rounded up to content files.
    seed : int
        As of `simulate_tile`.
    workers : int
        Processes.

    Returns
    -------
    list of Path
        The files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"tiles_{seed}_{k:04d}.npz" for k in range(-(-count // SHARD))]
    missing = [(path, k, seed) for k, path in enumerate(names) if not path.exists()]
    if not missing:
        return names
    with progress_bar() as bar, contextlib.ExitStack() as stack:
        task = bar.add_task("simulating tiles", total=len(names))
        bar.advance(task, len(names) - len(missing))
        done: Iterator[None] = map(simulate_shard, missing)
        if workers > 1:
            os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # of the processes that are spawned
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers))
            done = pool.imap_unordered(simulate_shard, missing)
        for _ in done:
            bar.advance(task)
    return names


def simulate_shard(job: tuple[Path, int, int]) -> None:
    """Simulate the tiles of one file: its path, its number and the seed."""
    path, k, seed = job
    threads = numba.get_num_threads()
    # On tiles of 30 x 30 pixels threads only wait for each other: one takes a fifth of the time
    # on a busy machine.
    numba.set_num_threads(1)
    try:
        tiles = [simulate_tile(k * SHARD + i, seed) for i in range(SHARD)]
    finally:
        numba.set_num_threads(threads)
    content: dict[str, NDArray[Any]] = {}
    for name in _PARTS:
        arrays = [getattr(tile, name) for tile in tiles]
        if name in _IMAGES:
            arrays = [pack(a, scale_of(_IMAGES[name])) for a in arrays]
        # Tiles differ in their number of scenes, not in their number of labelled pixels.
        join = np.stack if name in ("camera", "curve") else np.concatenate
        content[name] = join(arrays)
    for name, days in _LENGTHS.items():
        content[f"{name}_count"] = np.array([len(getattr(tile, days)) for tile in tiles])
    with atomic_file(path) as part:
        np.savez(part, **{"about": np.array(json.dumps(_ABOUT)), **content})  # type: ignore[arg-type]


class StoredTiles(Sequence[SimulatedTile]):
    """Tiles of several files, packed in memory; ``tiles[k]`` unpacks one.

    Raises
    ------
    DeepCropError
        If a file cannot be read, or is of another version.
    """

    def __init__(self, paths: Sequence[Path]):
        self._packed: list[dict[str, NDArray[Any]]] = []
        for path in paths:
            try:
                with path.open("rb") as stream, np.load(stream) as file:
                    about = json.loads(str(file["about"])) if "about" in file else {}
                    content = {
                        name: file[name] for name in (*_PARTS, "optical_count", "radar_count")
                    }
            except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise DeepCropError(
                    f"{path} is no file of simulated tiles ({error}); delete it."
                ) from None
            if about != _ABOUT:
                raise DeepCropError(
                    f"{path} was made by another version ({about.get('software', 'unknown')}, "
                    f"simulator {about.get('simulator', 'unknown')}; this is "
                    f"{_ABOUT['software']}, simulator {REVISION}); delete it."
                )
            ends = {name: np.cumsum(content[f"{name}_count"]) for name in _LENGTHS}
            for k in range(len(content["camera"])):
                packed = {}
                for name in _PARTS:
                    if name in ("camera", "curve"):
                        packed[name] = content[name][k]
                        continue
                    sensor = "optical" if name.startswith("optical") else "radar"
                    stop = ends[sensor][k]
                    packed[name] = content[name][stop - content[f"{sensor}_count"][k] : stop]
                self._packed.append(packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Unpack tile number ``k``; with a slice, return `StoredTiles` that are still packed."""
        if isinstance(k, slice):
            selected = StoredTiles([])
            selected._packed = self._packed[k]
            return selected
        arrays = dict(self._packed[k])
        for name, band in _IMAGES.items():
            arrays[name] = unpack(arrays[name], scale_of(band))
        return SimulatedTile(**arrays)
