"""Fetch the scenes of an archive into one checked observation cube.

The unit of work is one scene on one tile: it is read from the archive, packed, and kept in a file.
When all units exist, the cube is written tile by tile, all times of a tile at once. An interrupted
run therefore fetches only the missing units, and memory depends on the tile, not on the area.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zarr.errors import ZarrUserWarning

from deepcrop.cube.chunks import forget_damaged, seal
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch.assemble import blocks, scene_outcomes, write_cube
from deepcrop.fetch.manifest import Outcome, manifest_path, write_manifest
from deepcrop.fetch.plan import (
    LEFT_OUT,
    PLAN_FILE,
    PRODUCTS_FILE,
    TILE,
    UNITS_FOLDER,
    FetchRequest,
    open_requested_archive,
    plan_scenes,
)
from deepcrop.fetch.read import UNITS, read_units
from deepcrop.sources.archive import SENSORS
from deepcrop.storage.staging import refuse_early, staging

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Fetched:
    """A finished cube, and what became of each scene (empty if an earlier run finished it).

    ``left_out`` names products that the archive does not describe as expected.
    """

    path: Path
    manifest: Path
    outcomes: list[Outcome] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        """Scenes that are missing in whole or in part."""
        return [o for o in self.outcomes if o.state in ("partly", "failed")]


def fetch(
    request: FetchRequest,
    out: Path,
    *,
    title: str = "",
    overwrite: bool = False,
    threads: int = 4,
) -> Fetched:
    """Make an observation cube from an archive.

    Started again after an interruption, it continues where it stopped. A scene that cannot be read
    is tried again at the end of the run; if it fails again, its pixels stay without data, and the
    manifest (``<out>.scenes.csv``) and the attributes of the cube name it.

    Parameters
    ----------
    request : FetchRequest
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
    refuse_early(out, overwrite)
    archive = open_requested_archive(request)
    manifest = manifest_path(out)
    settings = {"content": "fetched cube", "request": request.to_json(), "tile": TILE}
    listed: list[Outcome] = []
    left_out: list[str] = []
    scratch = (UNITS_FOLDER, PLAN_FILE, *(PRODUCTS_FILE.format(sensor=s) for s in SENSORS))
    with staging(out, settings, overwrite, scratch=scratch) as stage:
        if not stage.complete:
            forget_damaged(stage, stage.path, blocks(request))
            scenes = plan_scenes(stage, archive, request)
            failed = read_units(stage, archive, request, scenes, threads)
            try:
                outcomes = scene_outcomes(stage.path, request, scenes, failed)
            except DeepCropError:
                stage.forget({UNITS})  # so that the next run tries the failed ones again
                raise
            write_cube(stage, archive, request, title, outcomes)
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ZarrUserWarning
                )  # the journal is still in the store
                open_cube(stage.path)
            seal(stage.path)
            listed = [outcome for sensor in request.sensors for outcome in outcomes[sensor]]
            left_out = stage.done.get(LEFT_OUT) or []
            write_manifest(listed, manifest, left_out)
    return Fetched(out, manifest, listed, left_out)


def is_fetched(out: Path, request: FetchRequest) -> bool:
    """Whether ``out`` is the finished cube of this request; False if it does not exist.

    Raises
    ------
    DeepCropError
        If ``out`` is anything else.
    """
    if not out.exists():
        return False
    held = open_cube(out).attrs.get("request") if out.is_dir() else None
    if held == json.loads(json.dumps(request.to_json())):
        return True
    raise DeepCropError(
        f"{out} exists, made by another request or by other means. Choose another name, or "
        "overwrite it (--overwrite; in Python overwrite=True)."
    )
