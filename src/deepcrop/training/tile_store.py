"""Lessons on disk: **simulated** tiles in files of a hundred, made once by several processes.

A file says which version of the package and of the simulator made it; those of others are refused.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepcrop._version import __version__
from deepcrop.cube.packing import pack, scale_of, unpack
from deepcrop.errors import DeepCropError
from deepcrop.simulation import REVISION
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.training.simulated_tiles import Lesson, lesson

SHARD = 100
"""Lessons in a file."""

_IMAGES = {"optical": "blue", "radar": "vv"}  # packed as these bands of a cube are
_PARTS = ("optical", "optical_days", "radar", "radar_days", "orbits", "camera", "curve")
_ABOUT = {"software": f"deepcrop {__version__}", "simulator": REVISION, "simulated": True}
_LENGTHS = {"optical": "optical_days", "radar": "radar_days"}


def make(folder: Path, count: int, seed: int, workers: int = 1) -> list[Path]:
    """Simulate lessons 0 … count - 1, those that are not there yet.

    Parameters
    ----------
    folder : Path
        Where the files are; made if missing. A file is there whole or not at all.
    count : int
        Rounded up to whole files.
    seed : int
        As of `lesson`.
    workers : int
        Processes.

    Returns
    -------
    list of Path
        The files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"lessons_{seed}_{k:04d}.npz" for k in range(-(-count // SHARD))]
    wanted = [(path, k, seed) for k, path in enumerate(names) if not path.exists()]
    if not wanted:
        return names
    with progress_bar() as bar, contextlib.ExitStack() as stack:
        task = bar.add_task("simulating lessons", total=len(names))
        bar.advance(task, len(names) - len(wanted))
        done: Iterator[None] = map(_make_shard, wanted)
        if workers > 1:
            os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # of the processes that are spawned
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers))
            done = pool.imap_unordered(_make_shard, wanted)
        for _ in done:
            bar.advance(task)
    return names


def _make_shard(job: tuple[Path, int, int]) -> None:
    path, k, seed = job
    lessons = [lesson(k * SHARD + i, seed) for i in range(SHARD)]
    parts: dict[str, NDArray] = {}
    for name in _PARTS:
        arrays = [getattr(one, name) for one in lessons]
        if name in _IMAGES:
            arrays = [pack(a, scale_of(_IMAGES[name])) for a in arrays]
        stack = np.stack if name in ("camera", "curve") else np.concatenate
        parts[name] = stack(arrays)
    for name, of in _LENGTHS.items():
        parts[f"{name}_count"] = np.array([len(getattr(one, of)) for one in lessons])
    with atomic_file(path) as part:
        np.savez(part, **{"about": np.array(json.dumps(_ABOUT)), **parts})  # type: ignore[arg-type]


class Lessons(Sequence[Lesson]):
    """Lessons of some files, packed in memory; ``lessons[k]`` unpacks one.

    Raises
    ------
    DeepCropError
        If a file cannot be read, or another version made it.
    """

    def __init__(self, paths: Sequence[Path]):
        self._packed: list[dict[str, NDArray]] = []
        for path in paths:
            try:
                with path.open("rb") as stream, np.load(stream) as file:
                    about = json.loads(str(file["about"])) if "about" in file else {}
                    whole = {name: file[name] for name in (*_PARTS, "optical_count", "radar_count")}
            except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise DeepCropError(f"{path} is no file of lessons ({error}); delete it.") from None
            if about != _ABOUT:
                raise DeepCropError(
                    f"{path} was made by another version ({about.get('software', 'unknown')}, "
                    f"simulator {about.get('simulator', 'unknown')}; this is "
                    f"{_ABOUT['software']}, simulator {REVISION}); delete it."
                )
            ends = {name: np.cumsum(whole[f"{name}_count"]) for name in _LENGTHS}
            for k in range(len(whole["camera"])):
                one = {}
                for name in _PARTS:
                    if name in ("camera", "curve"):
                        one[name] = whole[name][k]
                        continue
                    sensor = "optical" if name.startswith("optical") else "radar"
                    stop = ends[sensor][k]
                    one[name] = whole[name][stop - whole[f"{sensor}_count"][k] : stop]
                self._packed.append(one)

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, k):
        """Unpack lesson number ``k`` of these files, or with a slice some of them, still packed."""
        if isinstance(k, slice):
            some = Lessons([])
            some._packed = self._packed[k]
            return some
        parts = dict(self._packed[k])
        for name, band in _IMAGES.items():
            parts[name] = unpack(parts[name], scale_of(band))
        return Lesson(**parts)
