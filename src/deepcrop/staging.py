"""Long outputs that appear whole or not at all, and go on where they were stopped.

A directory is built under a temporary name beside its target and renamed at the end. A journal
inside it holds the settings and one line for each finished item, so that the same command started
again skips what is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deepcrop import __version__
from deepcrop.errors import DeepCropError

RECORD = "deepcrop.json"
"""What made a finished directory (in a Zarr store, attributes say it). Only such a directory may be
overwritten."""

_JOURNAL = "journal.jsonl"


def part_path(target: Path) -> Path:
    """Where ``target`` is built before it is renamed."""
    return target.with_name(target.name + ".part")


@dataclass
class Staging:
    """A directory under construction.

    Attributes
    ----------
    path : Path
        The directory to write into.
    done : set of str
        Items finished by an earlier, interrupted run with the same settings.
    """

    path: Path
    done: set[str] = field(default_factory=set)

    def finish(self, item: str) -> None:
        """Record that ``item`` is completely written."""
        with (self.path / _JOURNAL).open("a") as journal:
            journal.write(json.dumps({"done": item}) + "\n")
        self.done.add(item)


@contextlib.contextmanager
def staging(
    target: Path, settings: Mapping[str, Any], overwrite: bool = False
) -> Iterator[Staging]:
    """Build the directory ``target`` piece by piece.

    On success the directory gets its final name. On any exception, Ctrl-C included, what is done
    stays under the temporary name for the next run. A leftover made with other settings or another
    version is discarded.

    Parameters
    ----------
    target : Path
        The directory to make.
    settings : mapping
        All that determines the content; must be JSON-serialisable.
    overwrite : bool
        Replace an existing ``target``, provided that this package made it.

    Raises
    ------
    DeepCropError
        If ``target`` exists and may not be replaced, or its folder does not exist.
    """
    record = {"software": f"deepcrop {__version__}", **settings}
    check_target(target, overwrite)
    part = part_path(target)
    done = _resume(part, record)
    if done is None:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        (part / _JOURNAL).write_text(json.dumps({"settings": record}) + "\n")
        done = set()
    yield Staging(part, done)
    (part / _JOURNAL).unlink()
    if not (part / "zarr.json").exists():
        (part / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    if target.exists():
        old = target.with_name(target.name + ".old.part")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        part.rename(target)
        shutil.rmtree(old)
    else:
        part.rename(target)


def check_target(target: Path, overwrite: bool) -> None:
    """Raise `DeepCropError` unless the directory ``target`` may be made."""
    if not target.absolute().parent.is_dir():
        raise DeepCropError(f"Folder {target.absolute().parent} does not exist; make it first.")
    if not target.exists():
        return
    if not overwrite:
        raise DeepCropError(f"{target} exists. Choose another name, or add --overwrite.")
    if not _made_here(target):
        raise DeepCropError(
            f"{target} was not made by deepcrop, so it is not overwritten. Choose another name or "
            "remove it yourself."
        )


def _made_here(target: Path) -> bool:
    if (target / RECORD).is_file():
        return True
    try:
        attributes = json.loads((target / "zarr.json").read_text()).get("attributes", {})
    except (OSError, ValueError):
        return False
    return str(attributes.get("software", "")).startswith("deepcrop")


def _resume(part: Path, record: Mapping[str, Any]) -> set[str] | None:
    """Items done by an earlier run with the same settings; None if there is none such."""
    try:
        lines = (part / _JOURNAL).read_text().splitlines()
        entries = []
        for line in lines:
            # A kill while writing can only have cut the last line; that item is done again.
            with contextlib.suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
    except OSError:
        return None
    if not entries or entries[0].get("settings") != json.loads(json.dumps(record)):
        return None
    return {entry["done"] for entry in entries[1:]}


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary name beside ``target``; rename on success, remove on failure."""
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def progress_bar() -> Progress:
    """Progress bar with counts and the time left, as all long commands show it (on stderr)."""
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
