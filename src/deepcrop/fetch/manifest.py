"""The manifest of a fetched cube: a CSV beside it that says what became of each scene."""

from __future__ import annotations

import csv
import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.sources.archive import Scene
from deepcrop.storage.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


_HEADING = "sensor,time,relative_orbit,cloud_cover,state,reason,products,notes"


@dataclass
class Outcome:
    """What became of one scene.

    Attributes
    ----------
    scene : Scene
    state : str
        ``fetched``, ``partly`` (some tiles failed and hold no data), ``failed``, or ``empty``
        (read, but without a clear pixel in the area, so left out of the cube).
    reason : str
        Why it failed; empty otherwise.
    """

    scene: Scene
    state: str = "fetched"
    reason: str = ""

    @property
    def in_cube(self) -> bool:
        """Whether the cube has an image of the scene."""
        return self.state in ("fetched", "partly")

    def to_json(self) -> dict[str, Any]:
        """Describe the outcome in types that JSON has, without what only reading needs."""
        scene = {key: v for key, v in self.scene.to_json().items() if key != "source"}
        return scene | {"state": self.state, "reason": self.reason}

    @classmethod
    def from_json(cls, text: dict[str, Any]) -> Outcome:
        """Make the outcome that `to_json` described; its scene cannot be read."""
        scene = {key: value for key, value in text.items() if key not in ("state", "reason")}
        return cls(Scene.from_json(scene), text["state"], text["reason"])


def write_manifest(outcomes: Iterable[Outcome], path: Path, left_out: Sequence[str] = ()) -> None:
    """Write one line per scene: what it is, how it was processed, and what became of it.

    Products that were ``left_out`` of the search have a line each, with the reason.
    """
    rows: list[list[object]] = []
    for outcome in outcomes:
        scene = outcome.scene
        rows.append(
            [
                scene.sensor,
                scene.time.astype("datetime64[s]"),
                "" if scene.relative_orbit is None else scene.relative_orbit,
                "" if scene.cloud_cover is None else f"{scene.cloud_cover:.1f}",
                outcome.state,
                outcome.reason,
                " ".join(scene.products),
                "; ".join(f"{key}: {value}" for key, value in scene.notes.items()),
            ]
        )
    for half_written in path.parent.glob(f".{glob.escape(path.stem)}.*.part{path.suffix}"):
        half_written.unlink()  # of a process that was killed; no other one writes this file
    rows += [["", "", "", "", "left out", reason, "", ""] for reason in left_out]
    write_csv(path, _HEADING.split(","), rows, line_end="\r\n")


def manifest_path(cube: Path) -> Path:
    """Path of the manifest of a cube."""
    return cube.with_suffix(".scenes.csv")


def read_manifest(cube: Path) -> list[dict[str, str]]:
    """Read the rows of a cube's manifest; an empty list if the file is missing.

    Raises
    ------
    DeepCropError
        If the file is damaged.
    """
    path = manifest_path(cube)
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            rows = list(table)
        missing = [name for name in _HEADING.split(",") if name not in (table.fieldnames or ())]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeepCropError(f"{path} is damaged ({error}); remove it, or restore it.") from None
    if missing or any(None in row or None in row.values() for row in rows):
        why = f"no column {missing[0]}" if missing else "a line of another length"
        raise DeepCropError(f"{path} is damaged ({why}); remove it, or restore it.")
    return rows


def missing_scenes(cube: Path) -> list[str]:
    """List the scenes that a finished cube lacks, in whole or in part, with the reasons.

    The attributes of the cube name these scenes; the manifest, if it still exists, has the reasons.
    """
    reasons = {}
    for row in read_manifest(cube):
        orbit = f" orbit {row['relative_orbit']}" if row["relative_orbit"] else ""
        reasons[f"{row['sensor']} {row['time']}{orbit}"] = f"{row['state']}: {row['reason']}"
    groups = open_cube(cube).children.values()
    names = [name for group in groups for name in group.attrs.get("failed_scenes", [])]
    return [f"{cube.name}: {name} {reasons.get(name, 'failed')}" for name in names]
