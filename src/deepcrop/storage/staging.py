"""Build output directories that appear complete or not at all, and resume interrupted runs.

A directory is built under a temporary name beside its target and renamed at the end. A journal
inside it holds the settings and one line for each finished item, so that the same command started
again skips what is done.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.storage.progress import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)

RECORD = "deepcrop.json"
"""File with the settings of a finished directory (a Zarr store has attributes instead). Only a
directory with this record is ever overwritten."""

_JOURNAL = "journal.jsonl"


def part_path(target: Path) -> Path:
    """Where ``target`` is built before it is renamed."""
    return target.with_name(target.name + ".part")


def refuse_missing(target: Path, expected: str, error: type[DeepCropError] = DeepCropError) -> None:
    """Raise ``error`` if ``target`` does not exist, or exists only unfinished."""
    if target.exists():
        return
    part = part_path(target)
    if part.exists():
        raise error(
            f"{target} is unfinished ({part.name} is there): run the command that makes it again, "
            "it goes on where it stopped."
        )
    raise error(f"{target} does not exist; expected {expected}.")


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
        with (self.path / _JOURNAL).open("a") as journal:  # newline first: the last line may be cut
            journal.write("\n" + json.dumps({"done": item}))
        self.done.add(item)


@contextlib.contextmanager
def staging(
    target: Path, settings: Mapping[str, Any], overwrite: bool = False, resume: bool = True
) -> Iterator[Staging]:
    """Build the directory ``target`` piece by piece.

    On success the directory gets its final name. On any exception, Ctrl-C included, what is done
    stays under the temporary name for the next run. A leftover made with other settings or another
    version is discarded. An OSError (a full disk) gets a note that says so.

    Parameters
    ----------
    target : Path
        The directory to make.
    settings : mapping
        All that determines the content; must be JSON-serialisable.
    overwrite : bool
        Replace an existing ``target``, provided that this package made it.
    resume : bool
        Go on with a leftover of the same settings; otherwise discard it.

    Raises
    ------
    DeepCropError
        If ``target`` exists and may not be replaced, its folder does not exist, or another program
        made something under the temporary name.
    """
    record = {"software": f"deepcrop {__version__}", **settings}
    check_target(target, overwrite)
    part = part_path(target)
    with _locked(part):
        done = _resume(part, record) if resume else None
        if done is None:
            _discard(part, resume)
            part.mkdir()
            (part / _JOURNAL).write_text(json.dumps({"settings": record}))
            done = set()
        try:
            yield Staging(part, done)
        except (KeyboardInterrupt, SystemError) as error:
            if not is_interruption(error):
                raise
            _log.warning("Interrupted. %s keeps what is done; the same command goes on.", part)
            raise KeyboardInterrupt from None
        except OSError as error:
            if resume:
                error.add_note(
                    f"What is done is kept in {part}: mend this (make room on a full disk), and "
                    "the same command goes on."
                )
            raise
        _give_name(part, target, record)


def leftover(target: Path, settings: Mapping[str, Any]) -> bool:
    """Whether an interrupted run with these settings can be resumed."""
    record = {"software": f"deepcrop {__version__}", **settings}
    return _resume(part_path(target), record) is not None


def _give_name(part: Path, target: Path, record: Mapping[str, Any]) -> None:
    """Rename the directory; remove the journal last, so that a kill at any moment loses nothing."""
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
    (target / _JOURNAL).unlink()


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Lock a directory under construction against other runs.

    The lock file lies beside the directory, so that it never becomes part of the result and the
    directory can be renamed on Windows too. The system releases the lock when the process dies; a
    lock file that is left over then locks nothing.

    Raises
    ------
    DeepCropError
        If another run holds the lock.
    """
    path = part.with_name(part.name + ".lock")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DeepCropError(
            f"Another run is writing {part}; wait until it ends, or choose another name."
        ) from None
    try:
        yield
    finally:
        # Removed before the release, so that no other run removes the lock file of a third. Windows
        # refuses to remove an open file; there filelock removes it after the release.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
        lock.release()


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
        software = json.loads((target / "zarr.json").read_text())["attributes"]["software"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(software).startswith("deepcrop")


def _discard(part: Path, resume: bool) -> None:
    if not part.exists():
        return
    empty = part.is_dir() and not any(part.iterdir())
    if not (empty or (part / _JOURNAL).is_file() or _made_here(part)):
        raise DeepCropError(
            f"{part} is in the way and was not made by deepcrop. Rename it, or choose another name."
        )
    if resume and not empty:
        _log.warning("%s: begun with other settings or another version; starting anew.", part)
    shutil.rmtree(part)


def _resume(part: Path, record: Mapping[str, Any]) -> set[str] | None:
    """Items finished by an earlier run with the same settings; None if there is no such run."""
    try:
        lines = (part / _JOURNAL).read_bytes().splitlines()
    except OSError:
        return None
    entries = []
    for line in lines:
        # A kill while writing can have cut a line; that item is done again.
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    if not entries or entries[0] != {"settings": json.loads(json.dumps(record))}:
        return None
    return {entry["done"] for entry in entries[1:]}
