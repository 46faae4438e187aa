"""What became of each scene of a fetched cube: a table beside it, a line for each scene."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepcrop.cube.io import open_cube
from deepcrop.sources.archive import Scene
from deepcrop.storage.files import write_csv


@dataclass
class Outcome:
    """What became of a scene.

    Attributes
    ----------
    scene : Scene
    state : str
        ``fetched``, ``partly`` (some tiles failed and hold no data), ``failed``, or ``empty``
        (read, but without a clear pixel in the area, so left out of the cube).
    why : str
        Reason of the failure.
    """

    scene: Scene
    state: str = "fetched"
    why: str = ""


def write_manifest(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write one line per scene: what it is, what was decided, what became of it."""
    heading = "sensor,time,relative_orbit,cloud_cover,state,why,products,notes"
    rows = []
    for outcome in outcomes:
        scene = outcome.scene
        rows.append(
            [
                scene.sensor,
                scene.time.astype("datetime64[s]"),
                "" if scene.relative_orbit is None else scene.relative_orbit,
                "" if scene.cloud_cover is None else f"{scene.cloud_cover:.1f}",
                outcome.state,
                outcome.why,
                " ".join(scene.products),
                "; ".join(f"{key}: {value}" for key, value in scene.notes.items()),
            ]
        )
    write_csv(path, heading.split(","), rows, line_end="\r\n")


def manifest_of(cube: Path) -> Path:
    """Path of the table, beside a cube, that names every scene."""
    return cube.with_suffix(".scenes.csv")


def read_manifest(cube: Path) -> list[dict[str, str]]:
    """Read the lines of the manifest of a cube; none if it is not there any more."""
    if not manifest_of(cube).is_file():
        return []
    with manifest_of(cube).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def missing_scenes(cube: Path) -> list[str]:
    """Say of each scene that a finished cube lacks, in whole or in part, what became of it.

    The cube's own attributes name them; the manifest, if it is still there, tells why.
    """
    told = {}
    for row in read_manifest(cube):
        orbit = f" orbit {row['relative_orbit']}" if row["relative_orbit"] else ""
        told[f"{row['sensor']} {row['time']}{orbit}"] = f"{row['state']}: {row['why']}"
    groups = open_cube(cube).children.values()
    names = [name for group in groups for name in group.attrs.get("failed_scenes", [])]
    return [f"{cube.name}: {name} {told.get(name, 'failed')}" for name in names]
