"""Add new scenes to a cube, and make the next issue of its map in season.

Each issue is a whole map in a folder named after its last day, side by side with the others:
``maps/2026-07-15``. The last day is recorded in the cube together with its new images, so that an
update that was stopped between cube and map goes on with the same issue on another day.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from deepcrop.cube.chunks import state_of
from deepcrop.cube.io import open_cube
from deepcrop.cube.updates import UPDATES
from deepcrop.errors import DeepCropError
from deepcrop.fetch.add_scenes import Added, add_scenes
from deepcrop.mapping.curve import CurveMethod
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.network import NetworkMethod
from deepcrop.mapping.region import MapResult, write_map
from deepcrop.mapping.reuse import STATE
from deepcrop.products.results import find_issues
from deepcrop.storage.staging import RECORD, discard_leftover, locked

if TYPE_CHECKING:
    from pathlib import Path

    from deepcrop.mapping.options import MapOptions


@dataclass(frozen=True)
class Updated:
    """What an update did.

    Attributes
    ----------
    added : Added or None
        What the cube got; None if the update was not due.
    issue : MapResult or None
        The issue that was mapped; None if none was needed.
    latest : date or None
        Last day of the newest issue.
    taken_over : int
        Tiles of the issue that are those of the one before.
    """

    added: Added | None
    issue: MapResult | None = None
    latest: date | None = None
    taken_over: int = 0


def update(
    cube: Path,
    maps: Path | None = None,
    year: int | None = None,
    options: MapOptions | None = None,
    *,
    until: date | None = None,
    every: timedelta | None = None,
    archive: str | None = None,
    threads: int = 4,
    pictures: bool = True,
) -> Updated:
    """Add what the archive has received since to a cube, and map the next issue.

    Killed at any moment, it resumes where it stopped when the same call is repeated. No file is
    written where the archive has nothing new and the newest issue is of the cube's images.

    Parameters
    ----------
    cube : Path
        Cube made by `deepcrop.fetch.run.fetch`.
    maps : Path, optional
        Folder of the issues; it is made. By default only the cube is brought up to date.
    year : int, optional
        Target year of the maps.
    options : MapOptions, optional
        How to map.
    until : date, optional
        Last day of the scenes, and name of the issue. By default scenes are looked for up to today
        (UTC), and the issue is named after the day of the last update that added images, or, before
        the first one, after the cube's last scene.
    every : timedelta, optional
        Do nothing while the newest issue is younger.
    archive, threads
        As of `deepcrop.fetch.add_scenes.add_scenes`.
    pictures : bool
        Whether to draw a picture of each layer of dates.

    Raises
    ------
    ArchiveError
        If the archive does not serve.
    DeepCropError
        If the cube was not fetched, or the issues in ``maps`` are of another year or method.
    """
    if maps is None:
        if every is not None:
            raise DeepCropError(
                "--every counts from the newest issue: give the folder of issues, --maps."
            )
        return Updated(add_scenes(cube, until, archive, threads))
    if year is None or options is None:
        raise DeepCropError("--maps needs a target year: give --year.")
    if not maps.absolute().parent.is_dir():
        raise DeepCropError(f"Folder {maps.absolute().parent} does not exist; make it first.")
    with locked(maps):
        return _update_maps(cube, maps, year, options, until, every, archive, threads, pictures)


def _update_maps(
    cube: Path,
    maps: Path,
    year: int,
    options: MapOptions,
    until: date | None,
    every: timedelta | None,
    archive: str | None,
    threads: int,
    pictures: bool,
) -> Updated:
    """Update a cube and its issues, which no other run may be doing."""
    issues = find_issues(maps)
    latest = max(issues, default=None)
    if latest is not None:
        _check_alike(issues[latest], year, options)
        today = until or datetime.now(UTC).date()
        if every is not None and today - latest < every:
            return Updated(None, latest=latest)
    added = add_scenes(cube, until, archive, threads)
    day = until or _last_day(cube)
    target = maps / str(day)
    if day in issues and _state_of_issue(target) == state_of(cube):
        return Updated(added, latest=latest)
    maps.mkdir(exist_ok=True)
    for part in maps.glob("[0-9]*-[0-9]*-[0-9]*.part"):
        # An issue that was begun before the cube got further images is not finished any more.
        if part.name != f"{day}.part":
            discard_leftover(part.with_suffix(""))
    options = replace(
        options, methods=tuple(replace(method, until=day) for method in options.methods)
    )
    before = max((other for other in issues if other <= day), default=None)
    result = write_map(
        cube,
        year,
        target,
        options,
        ClusterOptions(),
        overwrite=day in issues,
        pictures=pictures,
        previous=None if before is None else issues[before],
    )
    lines = (target / "manifest.jsonl").read_text().splitlines()
    return Updated(
        added, result, max(day, latest or day), sum("taken_over" in json.loads(x) for x in lines)
    )


def _last_day(cube: Path) -> date:
    """Last day up to which a cube is known: of its last update, or of its last scene."""
    opened = open_cube(cube)
    if opened.attrs.get(UPDATES):
        return date.fromisoformat(opened.attrs[UPDATES][-1]["until"])
    times = [
        opened[name].to_dataset()["time"].values.max()
        for name in ("optical", "sar")
        if name in opened.children
    ]
    day: date = max(times).astype("datetime64[D]").item()
    return day


def _state_of_issue(issue: Path) -> str | None:
    """State of the cube that an issue was made from."""
    state: str | None = _read(issue / "summary.json").get("source", {}).get(STATE)
    return state


def _read(path: Path) -> dict[str, Any]:
    """Read a description of an issue.

    Raises
    ------
    DeepCropError
        If it is missing or damaged.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DeepCropError(
            f"{path} cannot be read ({error}). Remove this issue; the next update maps it again."
        ) from error
    return found if isinstance(found, dict) else {}


def _check_alike(issue: Path, year: int, options: MapOptions) -> None:
    """Raise `DeepCropError` if an issue was made for another year, or by other options."""
    record = _read(issue / RECORD)
    wanted: dict[str, Any] = {"year": year, "method": options.name}
    for method in options.methods:
        if isinstance(method, CurveMethod):
            wanted["index"] = method.index
        if isinstance(method, NetworkMethod):
            wanted["definition"] = method.definition
    for name, value in wanted.items():
        if record.get(name) != value:
            raise DeepCropError(
                f"{issue} was mapped with {name} {record.get(name)}, and now {name} is {value}. "
                "Issues of one folder must be alike: give the same options, or another folder "
                "(--maps)."
            )


def parse_every(text: str) -> timedelta:
    """Read an interval in days, ``5d``.

    Raises
    ------
    DeepCropError
        If it is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})d", text.strip())
    if match is None:
        raise DeepCropError(f"--every {text}: expected a number of days, for example 5d.")
    return timedelta(days=int(match[1]))
