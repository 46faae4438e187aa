"""Open the issues of a map: maps of one region and year, each of observations until a day."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from deepcrop.errors import DeepCropError
from deepcrop.viewer.viewed_map import ViewedMap

if TYPE_CHECKING:
    from pathlib import Path

MOST_ISSUES = 400
"""Maximum number of issues that are shown together: one a day for more than a year."""


def open_issues(path: Path, cube_path: Path | None) -> tuple[list[ViewedMap], list[str]]:
    """Open a map, or the issues of a map in a folder, the earliest first.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``, or a folder of such directories, each named after its
        ``--until``: ``maps/2018-06-15``, ``maps/2018-07-15``, ...
    cube_path : Path or None
        Cube that was mapped.

    Returns
    -------
    issues : list of ViewedMap
    unfinished : list of str
        Names of the folders of issues that are not finished, which are left out.

    Raises
    ------
    DeepCropError
        If there is no finished map, an issue is of another day than its folder says, or issues
        differ in grid or target year.
    """
    folders = issue_folders(path)
    if not folders:
        return [ViewedMap(path, cube_path)], []
    finished = [folder for folder in folders if (folder / "item.json").is_file()]
    if not finished:
        raise DeepCropError(
            f"{path} holds no finished issue of a map: {folders[0].name} has no item.json. Repeat "
            "its command 'deepcrop map --until' or 'deepcrop update', which resumes it."
        )
    if len(finished) > MOST_ISSUES:
        raise DeepCropError(
            f"{path} holds {len(finished)} issues; the viewer shows at most {MOST_ISSUES}. Move "
            "the older ones to another folder."
        )
    issues: list[ViewedMap] = []
    for folder in finished:
        issue = ViewedMap(folder, cube_path, issues[0] if issues else None)
        if str(issue.until) != folder.name:
            found = "a whole year" if issue.until is None else f"observations until {issue.until}"
            raise DeepCropError(
                f"{folder} is a map of {found}, but its name says {folder.name}. Name the folder "
                "of an issue after its --until."
            )
        issues.append(issue)
    return issues, [folder.name for folder in folders if folder not in finished]


def issue_folders(path: Path) -> list[Path]:
    """List the folders of a directory that are named after a day, in order; none in a map."""
    if not path.is_dir() or (path / "item.json").exists():
        return []
    return sorted(one for one in path.iterdir() if one.is_dir() and _is_day(one.name))


def _is_day(name: str) -> bool:
    try:
        return str(datetime.date.fromisoformat(name)) == name
    except ValueError:
        return False
