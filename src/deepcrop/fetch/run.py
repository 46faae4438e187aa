"""Fetch: from the scenes of an archive to one checked observation cube.

The unit of work is one scene on one tile: read from the archive, packed, kept in a file. When all
units are there, the cube is put together tile by tile, all times of a tile at once. So a run that
was stopped fetches only what is missing, and memory is set by the tile, not by the area.
"""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from zarr.errors import ZarrUserWarning

from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch.assemble import _assemble, _outcomes
from deepcrop.fetch.manifest import Outcome, manifest_of, write_manifest
from deepcrop.fetch.plan import _PLAN, TILE, Request, _open, _planned
from deepcrop.fetch.read import _FAILED, _FETCHED, _read_all
from deepcrop.storage.staging import check_target, staging


@dataclass(frozen=True)
class Fetched:
    """A finished cube, and what became of each scene (empty if an earlier run had finished it)."""

    path: Path
    manifest: Path
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """Scenes of which something is missing."""
        return [o for o in self.outcomes if o.state in ("partly", "failed")]


def fetch(
    request: Request,
    out: Path,
    *,
    title: str = "",
    overwrite: bool = False,
    threads: int = 4,
) -> Fetched:
    """Make an observation cube from an archive.

    Started again after an interruption, it goes on where it stopped. A scene that cannot be read
    is tried again at the end of the run; if it fails again, its pixels are left without data, and
    the manifest (``<out>.scenes.csv``) and the attributes of the cube name it.

    Parameters
    ----------
    request : Request
        What to fetch.
    out : Path
        Zarr store to make.
    title : str
        Title of the cube.
    overwrite : bool
        Replace an existing ``out``.
    threads : int
        Scenes read at once.

    Raises
    ------
    ArchiveError
        If the archive does not serve; what was fetched stays for the next run.
    DeepCropError
        If there is no scene, no scene could be read, the disk is too small, or ``out`` exists and
        may not be replaced.
    """
    if out.suffix == ".nc":
        raise DeepCropError(f"{out}: fetch writes a Zarr store; give a name such as region.zarr.")
    check_target(out, overwrite)
    archive = _open(request)
    manifest = manifest_of(out)
    settings = {"content": "fetched cube", "request": request.to_json(), "tile": TILE}
    every: list[Outcome] = []
    with staging(out, settings, overwrite) as stage:
        (stage.path / _FETCHED).mkdir(exist_ok=True)
        if "cube" not in stage.done:
            scenes = _planned(stage, archive, request)
            failed = _read_all(stage, archive, request, scenes, threads)
            try:
                outcomes = _outcomes(stage.path, request.box, scenes, failed)
            except DeepCropError:
                (stage.path / _FAILED).unlink()  # the next run tries them again
                raise
            _assemble(stage, archive, request, title, scenes, outcomes)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ZarrUserWarning)  # the journal is still there
                open_cube(stage.path)
            every = [outcome for sensor in request.sensors for outcome in outcomes[sensor]]
            write_manifest(every, manifest)
            stage.finish("cube")
        shutil.rmtree(stage.path / _FETCHED)
        for name in (_FAILED, _PLAN):
            (stage.path / name).unlink(missing_ok=True)
    return Fetched(out, manifest, every)


def is_there(out: Path, request: Request) -> bool:
    """Whether ``out`` is the finished cube of this very request.

    Raises
    ------
    DeepCropError
        If it is something else.
    """
    if not out.exists():
        return False
    held = open_cube(out).attrs.get("request") if out.is_dir() else None
    if held == json.loads(json.dumps(request.to_json())):
        return True
    raise DeepCropError(
        f"{out} is there, from another request or by other means. Choose another name, or add "
        "--overwrite."
    )
