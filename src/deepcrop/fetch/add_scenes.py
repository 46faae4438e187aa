"""Add to a fetched cube the scenes that its archive has received since.

A chunk of a cube holds all times of a square of pixels, so the cube is written anew beside the old
one, each square from its old chunk and the new scenes alone, and takes its name in one step. Until
then the old cube is as it was. The cube records each update: an update says from which state of the
pixels it started, so that a map knows which scenes are new to it (`deepcrop.mapping.reuse`).
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from deepcrop.cube.chunks import (
    checksums_of,
    forget_damaged,
    seal,
    state_of,
)
from deepcrop.cube.io import open_cube
from deepcrop.cube.passes import PASS_GAP
from deepcrop.cube.updates import UPDATES
from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.fetch.assemble import (
    SCENES,
    missing_sensors,
    record_of,
    scene_outcomes,
)
from deepcrop.fetch.manifest import Outcome, manifest_path, read_manifest, write_manifest
from deepcrop.fetch.plan import (
    LEFT_OUT,
    PLAN_FILE,
    PRODUCTS_FILE,
    SMALLER,
    TILE,
    UNITS_FOLDER,
    FetchRequest,
    disk_bytes,
    open_requested_archive,
    plan_scenes,
)
from deepcrop.fetch.read import read_units
from deepcrop.fetch.rewrite import Change, updated_blocks, write_updated
from deepcrop.sources import describe_archive, is_own
from deepcrop.sources.archive import SENSORS, Archive, ArchiveError, Scene
from deepcrop.storage.files import check_disk
from deepcrop.storage.staging import Staging, leftover, settle, staging

if TYPE_CHECKING:
    from collections.abc import Sequence


_UNTIL = "until"
"""Item of the journal: the last day of which scenes were looked for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchedCube:
    """What a fetched cube says of itself.

    Attributes
    ----------
    request : FetchRequest
        What it was fetched by, its radar orbit no longer to be chosen.
    outcomes : dict of str to list of Outcome
        What became of each scene, by sensor.
    attrs : dict
        Attributes of the cube.
    """

    request: FetchRequest
    outcomes: dict[str, list[Outcome]]
    attrs: dict[str, Any]


@dataclass(frozen=True)
class Added:
    """What an update has added to a cube.

    Attributes
    ----------
    path : Path
    outcomes : list of Outcome
        What became of the scenes that were fetched.
    changed : bool
        Whether the cube has new images.
    """

    path: Path
    outcomes: list[Outcome] = field(default_factory=list)
    changed: bool = False


def add_scenes(
    path: Path, until: date | None = None, archive: str | None = None, threads: int = 4
) -> Added:
    """Add to a cube the scenes that its archive has and it lacks, newer ones and late ones.

    Also fetched are scenes that failed before, and those of which the archive has more products
    now. Started again after an interruption, it continues where it stopped.

    Parameters
    ----------
    path : Path
        Cube made by `deepcrop.fetch.run.fetch`.
    until : date, optional
        Last day of the scenes to look for; by default today (UTC). Never later than the end of
        what the cube was fetched for.
    archive : str, optional
        Description of the user's own archive (YAML), for a cube that was fetched from one.
    threads : int
        Scenes read at once.

    Raises
    ------
    ArchiveError
        If the archive does not serve; the cube stays as it was, and what was fetched is kept for
        the next run.
    DeepCropError
        If the cube was not fetched, or another run is writing it.
    """
    if path.is_dir() and path.suffix != ".nc":
        settle(path)
        for half_written in path.glob("*.partial"):
            half_written.unlink()
    held = read_fetched(path, archive)
    last = min(held.request.end, until or datetime.now(UTC).date())
    if last < held.request.start:
        raise DeepCropError(
            f"--until {last}: {path} begins on {held.request.start}. Give a later day."
        )
    state = state_of(path)
    settings = {
        "content": "updated cube",
        "cube": state,
        "until": None if until is None else until.isoformat(),
        "tile": TILE,
    }
    opened = open_requested_archive(held.request)
    if not leftover(path, settings) and not any(
        lacking(opened.search(held.request.box, held.request.start, last, sensor, readable=False),
                held.outcomes.get(sensor, []))
        for sensor in held.request.sensors
    ):  # fmt: skip
        return Added(path)
    scratch = (UNITS_FOLDER, PLAN_FILE, *(PRODUCTS_FILE.format(sensor=s) for s in SENSORS))
    with staging(path, settings, overwrite=True, scratch=scratch) as stage:
        if stage.complete:
            return Added(path, changed=True)
        return _add(stage, path, held, opened, state, last, threads)


def read_fetched(path: Path, archive: str | None = None) -> FetchedCube:
    """Read what a cube was fetched by, and its scenes.

    Raises
    ------
    CubeError
        If the cube cannot be read.
    DeepCropError
        If it was not fetched, or by a version that did not record its scenes.
    """
    cube = open_cube(path)
    if not path.is_dir() or not {"request", SCENES} <= set(cube.attrs):
        raise DeepCropError(
            f"{path} does not record its archive and scenes; expected a Zarr store made by "
            "'deepcrop fetch' of this version. Fetch the cube again; the new one can be updated."
        )
    if checksums_of(path) == "none":
        raise DeepCropError(f"{path} has no checksums of its chunks; fetch it again.")
    text = cube.attrs["request"]
    try:
        request = FetchRequest.from_json(text)
        outcomes = {
            sensor: [Outcome.from_json(one) for one in of_sensor]
            for sensor, of_sensor in cube.attrs[SCENES].items()
        }
    except MALFORMED as error:
        raise DeepCropError(
            f"The record of scenes of {path} is damaged ({error}); fetch the cube again."
        ) from error
    for sensor, of_sensor in outcomes.items():
        times = np.array([one.scene.time for one in of_sensor if one.in_cube], "datetime64[ns]")
        there = times[:0]
        if sensor in cube.children:
            there = cube[sensor].to_dataset()["time"].values
        if not np.array_equal(times, there):
            raise DeepCropError(
                f"The record of scenes of {path} does not match its {sensor} images; fetch the "
                "cube again."
            )
    if archive is not None or is_own(request.archive):
        request = replace(request, archive=archive or request.archive)
        if not is_own(request.archive) or not Path(request.archive).is_file():
            raise DeepCropError(
                f"{path} was fetched from {text['archive']}; give the file that describes the "
                "archive (--archive)."
            )
        if describe_archive(request.archive) != text["archive"]:
            raise DeepCropError(
                f"{request.archive} does not describe the archive that {path} was fetched from."
            )
    if request.orbits == "best":
        # The best orbit of all scenes so far may be another one than the cube has.
        radar = outcomes.get("sar", [])
        orbits = {one.scene.relative_orbit or "best" for one in radar if one.in_cube}
        if len(orbits) == 1:
            request = replace(request, orbits=orbits.pop())
    attrs = {str(key): value for key, value in cube.attrs.items() if key != "software"}
    return FetchedCube(request, outcomes, attrs)


def lacking(found: Sequence[Scene], held: Sequence[Outcome]) -> list[Scene]:
    """Choose the scenes that a cube lacks in whole or in part.

    A scene that was empty (no clear pixel in the area) is not read again.
    """
    return [
        scene
        for scene in found
        if (known := _same_pass(scene, held)) is None
        or known.state in ("failed", "partly")
        or len(scene.products) > len(known.scene.products)
    ]


def _search(
    archive: Archive, request: FetchRequest, held: FetchedCube, folder: Path
) -> dict[str, list[Scene]]:
    """List the lacking scenes so that they can be read: only of their days are products examined.

    A day more on either side, so that a pass around midnight is whole.
    """
    scenes: dict[str, list[Scene]] = {}
    for name in request.sensors:
        known = held.outcomes.get(name, [])
        listed = archive.search(request.box, request.start, request.end, name, readable=False)
        days = [scene.time.astype("datetime64[D]").item() for scene in lacking(listed, known)]
        scenes[name] = []
        if days:
            first = max(min(days) - timedelta(days=1), request.start)
            last = min(max(days) + timedelta(days=1), request.end)
            saved = folder / PRODUCTS_FILE.format(sensor=name)
            found = archive.search(request.box, first, last, name, saved=saved)
            scenes[name] = lacking(found, known)
    return scenes


def _same_pass(scene: Scene, held: Sequence[Outcome]) -> Outcome | None:
    """Find the scene of the same pass: a late product may have begun earlier."""
    return next(
        (
            one
            for one in held
            if one.scene.relative_orbit == scene.relative_orbit
            and abs(one.scene.time - scene.time) < PASS_GAP
        ),
        None,
    )


def merge_outcomes(
    held: Sequence[Outcome], new: Sequence[Outcome]
) -> tuple[list[Outcome], dict[int, Outcome | None]]:
    """Put new outcomes among those of a cube.

    Returns
    -------
    merged : list of Outcome
        In the order of time.
    images : dict of int to Outcome or None
        The new images of the cube: number of the outcome in ``new``, and the scene of the same pass
        whose image it replaces, None for none.
    """
    merged = list(held)
    images: dict[int, Outcome | None] = {}
    for k, outcome in enumerate(new):
        known = _same_pass(outcome.scene, held)
        if known is None:
            merged.append(outcome)
        elif _is_better(outcome, known):
            merged[merged.index(known)] = outcome
        else:
            continue
        if outcome.in_cube:
            images[k] = known if known is not None and known.in_cube else None
    merged.sort(key=lambda outcome: outcome.scene.time)
    return merged, images


def _is_better(outcome: Outcome, known: Outcome) -> bool:
    """Whether a scene that was read again takes the place of what is known of it."""
    if not known.in_cube:
        return True
    # One that lacks tiles again would be written anew at each update, so it is not taken.
    more = len(outcome.scene.products) > len(known.scene.products)
    return outcome.in_cube and (outcome.state == "fetched" or more)


def _add(
    stage: Staging,
    path: Path,
    held: FetchedCube,
    archive: Archive,
    state: str,
    last: date,
    threads: int,
) -> Added:
    """Fetch the lacking scenes and write the new cube, or find out that there is no new image."""
    if _UNTIL in stage.done:
        last = date.fromisoformat(stage.done[_UNTIL])
    # What the cube has already is not asked for again: the crops, and that there is any scene.
    request = replace(held.request, end=last, crops=None, may_lack=held.request.sensors)
    sensors = request.sensors
    forget_damaged(stage, stage.path, updated_blocks(request))
    scenes = plan_scenes(
        stage, archive, request, lambda: _search(archive, request, held, stage.path)
    )
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    check_disk(stage.path, size + disk_bytes(request.box, scenes), SMALLER)
    if _UNTIL not in stage.done:
        stage.finish(_UNTIL, last.isoformat())
    try:
        failed = read_units(stage, archive, request, scenes, threads)
    except ArchiveError as error:
        if any(_same_pass(scene, held.outcomes.get(name, [])) is None
               for name, found in scenes.items() for scene in found):  # fmt: skip
            raise
        _log.warning("Scenes that failed before were read again, without success: %s", error)
        stage.abandon()
        return Added(path)
    new = scene_outcomes(stage.path, request, scenes, failed)
    merged: dict[str, list[Outcome]] = {}
    images: dict[str, dict[int, Outcome | None]] = {}
    for name in sensors:
        merged[name], images[name] = merge_outcomes(held.outcomes.get(name, []), new[name])
        _check_times(name, merged[name])
    listed = [outcome for name in sensors for outcome in new[name]]
    left_out = [row["reason"] for row in read_manifest(path) if row["state"] == "left out"]
    left_out = list(dict.fromkeys([*left_out, *(stage.done.get(LEFT_OUT) or [])]))
    attrs = held.attrs | {SCENES: record_of(merged)}
    if not any(images.values()):
        if attrs[SCENES] != held.attrs[SCENES]:
            # Pixels are the same: only the list of scenes changes, in one step.
            zarr.open_group(path, mode="r+").attrs.update({SCENES: attrs[SCENES]})
            write_manifest(
                [outcome for name in sensors for outcome in merged[name]],
                manifest_path(path),
                left_out,
            )
        stage.abandon()
        return Added(path, listed)
    attrs[UPDATES] = [
        *held.attrs.get(UPDATES, []),
        {
            "from": state,
            "until": last.isoformat(),
            "scenes": {
                name: [str(new[name][k].scene.time) for k, old in images[name].items()
                       if old is None] for name in sensors
            },
            "replaced": {
                name: [str(old.scene.time) for old in images[name].values() if old is not None]
                for name in sensors
            },
        },
    ]  # fmt: skip
    attrs.pop("missing_sensors", None)
    if missing := missing_sensors(held.request, merged):
        attrs["missing_sensors"] = missing
    changes = {
        name: Change(merged[name], held.outcomes.get(name, []), new[name], images[name])
        for name in sensors
    }
    write_updated(stage, path, archive, request, attrs, changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # the journal is still in the store
        open_cube(stage.path)
    seal(stage.path)
    write_manifest(
        [outcome for name in sensors for outcome in merged[name]], manifest_path(path), left_out
    )
    return Added(path, listed, changed=True)


def _check_times(sensor: str, outcomes: Sequence[Outcome]) -> None:
    times = Counter(one.scene.time for one in outcomes if one.in_cube)
    for time, number in times.items():
        if number > 1:
            raise DeepCropError(
                f"The archive now lists two {sensor} scenes at the same time {time}, and a cube "
                "holds one scene per time. Fetch the cube again."
            )
