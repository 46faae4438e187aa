"""Build output directories that appear complete or not at all, and resume interrupted runs.

A directory is built under a temporary name beside its target and renamed at the end. A journal
inside it holds the settings and one line for each finished item, so that the same command started
again skips what is done. What the journal calls done is removed only after a later line says that
the whole directory is complete, so a process that is stopped at any moment loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.storage.files import remove_half_written, rename_new, swap_names
from deepcrop.storage.progress import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)

RECORD = "deepcrop.json"
"""File with the settings of a finished directory and the list of its files (a Zarr store has
attributes instead). Only a directory with this record is ever overwritten."""

JOURNAL = "journal.jsonl"
"""File with the settings and the finished items of a directory under construction."""

_NEW_JOURNAL = f"{JOURNAL}.new"
_COMPLETE = "the whole directory"


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
    done : dict
        Finished items, those of an interrupted run with the same settings included, and what was
        recorded of each.
    abandoned : bool
        Whether there turned out to be nothing to make (`abandon`).
    """

    path: Path
    done: dict[str, Any] = field(default_factory=dict)
    abandoned: bool = False

    @property
    def complete(self) -> bool:
        """Whether an interrupted run wrote everything, and only the final name is missing."""
        return _COMPLETE in self.done

    def finish(self, item: str, about: Any = None) -> None:
        """Record that ``item`` is completely written, and ``about`` it what JSON can hold."""
        _append(self.path, _entry(item, about))
        self.done[item] = about

    def abandon(self) -> None:
        """Make nothing: what was written is removed at the end, and the target stays as it is."""
        self.abandoned = True

    def forget(self, items: set[str]) -> None:
        """Take items back that turned out to be missing or damaged, so that they are made again."""
        for item in items:
            self.done.pop(item, None)
        settings = _read_lines(self.path)[0]
        _write_journal(self.path, [settings, *map(_entry, self.done, self.done.values())])


@contextlib.contextmanager
def staging(
    target: Path,
    settings: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = True,
    scratch: Sequence[str] = (),
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
        Replace an existing ``target``, provided that this package made it and all files in it.
    resume : bool
        Go on with a leftover of the same settings; otherwise discard it.
    scratch : sequence of str
        Names in the directory that only its making needs. They are removed once everything else is
        complete.

    Raises
    ------
    DeepCropError
        If ``target`` exists and may not be replaced, its folder does not exist, or another program
        made something under the temporary name. ``target`` is checked at the beginning and again
        at the end.
    """
    record = _record(settings)
    _check_folder(target)
    part = part_path(target)
    with locked(part):
        _recover(target)
        stage = _finished(target, record)
        if stage is not None:  # a stopped process gave the name, and only the journal is left
            yield stage
            (target / JOURNAL).unlink()
            return
        _check_target(target, overwrite)
        done = _resume(part, record) if resume else None
        if done is None:
            _discard(part, resume)
            part.mkdir()
            _write_journal(part, [{"settings": record}])
            done = {}
        stage = Staging(part, done)
        try:
            yield stage
            if stage.abandoned:
                _discard(part, resume=False)
                return
            if not stage.complete:
                stage.finish(_COMPLETE)
            _give_name(part, target, record, overwrite, scratch)
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


def settle(target: Path) -> None:
    """Complete or undo what a process stopped while it gave ``target`` its name.

    For those who read ``target`` before they write it anew: `staging` does so by itself.

    Raises
    ------
    DeepCropError
        If another run is writing ``target``.
    """
    _check_folder(target)
    with locked(part_path(target)):
        _recover(target)
        if _complete(target):
            (target / JOURNAL).unlink()


def discard_leftover(target: Path) -> None:
    """Remove what an interrupted run left of ``target``, unless another run is writing it."""
    with contextlib.suppress(DeepCropError), locked(part_path(target)):
        _discard(part_path(target), resume=False)


def leftover(target: Path, settings: Mapping[str, Any]) -> bool:
    """Whether an interrupted run with these settings can be resumed."""
    record = _record(settings)
    return _read_done(part_path(target), record) is not None


def changed_settings(target: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of an interrupted run that differ from these, with its values.

    One that it did not have is None. Empty also where there is no such run.
    """
    try:
        begun = _read_lines(part_path(target))[0]["settings"]
    except (OSError, LookupError):
        return {}
    record = _record(settings)
    return {
        name: begun.get(name)
        for name in begun.keys() | record.keys()
        if begun.get(name) != record.get(name)
    }


# The journal --------------------------------------------------------------------------------------


def _record(settings: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        json.dumps({"software": f"deepcrop {__version__}", **settings})
    )
    return record


def _entry(item: str, about: Any) -> dict[str, Any]:
    return {"done": item} | ({} if about is None else {"about": about})


def _write_journal(part: Path, entries: list[dict[str, Any]]) -> None:
    """Write a whole journal; one that is there is replaced in one step."""
    settings, *items = entries
    lines = [_line(settings), *(_line(item, _checksum(settings)) for item in items)]
    new = part / _NEW_JOURNAL
    new.write_text("\n".join(lines))
    new.replace(part / JOURNAL)


def _append(part: Path, entry: dict[str, Any]) -> None:
    with (part / JOURNAL).open("r+") as journal:
        settings = json.loads(journal.readline())
        journal.seek(0, os.SEEK_END)
        journal.write("\n" + _line(entry, settings["crc32"]))  # newline first: a line may be cut


def _line(entry: dict[str, Any], settings: int = 0) -> str:
    """Write an entry with a checksum, by which a damaged line is recognised.

    The checksum begins with that of the settings, so that a line of a journal with other settings
    is recognised, too.
    """
    return json.dumps(entry | {"crc32": _checksum(entry, settings)})


def _checksum(entry: dict[str, Any], settings: int = 0) -> int:
    return zlib.crc32(json.dumps(entry).encode(), settings)


def _read_lines(part: Path) -> list[dict[str, Any]]:
    """Read the entries up to the first damaged one: a later one may rest on what was lost there."""
    entries: list[dict[str, Any]] = []
    for line in (part / JOURNAL).read_bytes().splitlines():
        try:
            entry = json.loads(line)
            checksum = entry.pop("crc32")
            if _checksum(entry, _checksum(entries[0]) if entries else 0) != checksum:
                return entries
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return entries
        entries.append(entry)
    return entries


def _read_done(part: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Items finished by an earlier run with the same settings; None if there is no such run."""
    try:
        entries = _read_lines(part)
    except OSError:
        return None
    if not entries or entries[0] != {"settings": record}:
        return None
    return {entry["done"]: entry.get("about") for entry in entries[1:] if "done" in entry}


def _resume(part: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the journal, and remove what the interrupted run left half-written."""
    done = _read_done(part, record)
    if done is None:
        return None
    for half_written in part.rglob("*.partial"):  # zarr's name for a file that it is writing
        half_written.unlink()
    remove_half_written(part, below=True)
    stage = Staging(part, done)
    stage.forget(set())  # the journal is written anew without a damaged end
    return stage.done


# The final name -----------------------------------------------------------------------------------


def _give_name(
    part: Path, target: Path, record: Mapping[str, Any], overwrite: bool, scratch: Sequence[str]
) -> None:
    """Give a complete directory its final name; whatever is there meanwhile is checked first.

    Each step can be repeated, and the journal is removed last, so that the same command completes
    what a stopped process began.
    """
    for name in scratch:
        _remove(part / name)
    if not (part / "zarr.json").exists():
        (part / RECORD).unlink(missing_ok=True)
        files = [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()]
        files = sorted(file for file in files if file != JOURNAL)
        content = json.dumps({**record, "files": files}, indent=2) + "\n"
        (part / RECORD).write_text(content)
    try:
        _check_target(target, overwrite)
        if os.path.lexists(target):
            _replace(part, target)
        else:
            rename_new(part, target)
    except (DeepCropError, FileExistsError) as error:
        raise DeepCropError(
            f"{target} appeared while this run was writing ({error}). The result is complete in "
            f"{part}: rename what is in the way, and the same command gives the result its name."
        ) from None
    (target / JOURNAL).unlink()


def _replace(part: Path, target: Path) -> None:
    """Put ``part`` in the place of ``target``, and remove what stood there."""
    aside = _aside(target)
    # Says which directory may be removed after a stop between the next steps.
    _append(part, {"replaces": _identity(target), "aside": aside.name})
    if swap_names(part, target):  # in one step: there is never nothing under the name
        part.rename(aside)
    else:
        target.rename(aside)
        rename_new(part, target)
    shutil.rmtree(aside)


def _aside(target: Path) -> Path:
    """Find a free name for what is replaced; a file of somebody else may have the first."""
    number = 1
    while os.path.lexists(aside := target.with_name(f"{target.name}.old{number}.part")):
        number += 1
    return aside


def _recover(target: Path) -> None:
    """Complete or undo the replacement of ``target`` that a stopped process began."""
    part = part_path(target)
    for folder in (target, part):
        try:
            entry = next(e for e in reversed(_read_lines(folder)) if "replaces" in e)
        except (OSError, StopIteration):
            continue
        aside = target.with_name(str(entry["aside"]))
        old = [path for path in (part, aside) if _identity(path) == entry["replaces"]]
        if folder == target:  # the new directory has its name, so the old one may go
            for path in old:
                shutil.rmtree(path)
        elif old and not os.path.lexists(target):
            old[0].rename(target)
        return


def _finished(target: Path, record: Mapping[str, Any]) -> Staging | None:
    """Give the target where it is complete and a stopped process left its journal there."""
    if not _complete(target):
        return None
    done = _read_done(target, record)
    if done is None:  # made by another command, which is as good as finished
        (target / JOURNAL).unlink()
        return None
    return Staging(target, done)


def _complete(target: Path) -> bool:
    """Whether a directory is complete and a stopped process left its journal there."""
    try:
        return any(entry.get("done") == _COMPLETE for entry in _read_lines(target))
    except OSError:
        return False


def _identity(path: Path) -> list[int] | None:
    """Tell a directory from every other, under whatever name."""
    try:
        stat = path.lstat()
    except OSError:
        return None
    return [stat.st_dev, stat.st_ino]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Who may write where ------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a directory under construction against other runs.

    The lock file lies beside the directory, so that it never becomes part of the result and the
    directory can be renamed on Windows too. The system releases the lock when the process dies; a
    lock file that is left over then locks nothing.

    Raises
    ------
    DeepCropError
        If another run holds the lock.
    """
    path = folder.with_name(folder.name + ".lock")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DeepCropError(
            f"Another run is writing {folder}; wait until it ends, or choose another name."
        ) from None
    try:
        yield
    finally:
        # Removed before the release, so that no other run removes the lock file of a third. Windows
        # refuses to remove an open file; there filelock removes it after the release.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
        lock.release()


def refuse_early(target: Path, overwrite: bool) -> None:
    """Raise `DeepCropError` where `staging` would, before long preparations.

    It takes the lock for a moment, and so removes the lock file of a process that was killed after
    its last step.
    """
    _check_folder(target)
    with locked(part_path(target)):
        _check_target(target, overwrite)


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise `DeepCropError` unless the directory ``target`` may be made."""
    _check_folder(target)
    if not os.path.lexists(target) or _complete(target):  # the latter is for `staging` to finish
        return
    if not overwrite:
        raise DeepCropError(
            f"{target} exists. Choose another name, or overwrite it (--overwrite; in Python "
            "overwrite=True)."
        )
    if not _made_here(target):
        raise DeepCropError(
            f"{target} was not made by deepcrop, so it is not overwritten. Choose another name or "
            "remove it yourself."
        )
    foreign = _foreign_files(target)
    if foreign:
        named = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise DeepCropError(
            f"{target} holds {len(foreign)} files that deepcrop did not write ({named}), so it is "
            "not overwritten. Move them elsewhere, or choose another name."
        )


def _check_folder(target: Path) -> None:
    if not target.absolute().parent.is_dir():
        raise DeepCropError(f"Folder {target.absolute().parent} does not exist; make it first.")


def _made_here(target: Path) -> bool:
    if (target / RECORD).is_file():
        return True
    try:
        software = json.loads((target / "zarr.json").read_text())["attributes"]["software"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(software).startswith("deepcrop")


def _foreign_files(target: Path) -> list[str]:
    """List the files of a finished directory that somebody else put there.

    Not among them: directories made by this package (a report in a map), and the statistics that
    GDAL and QGIS keep beside a raster (``.aux.xml``).
    """
    known = None  # of a Zarr store: its metadata and chunks
    if (target / RECORD).is_file():
        try:
            known = set(json.loads((target / RECORD).read_text())["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return []  # of a version that kept no list
    found = []
    for folder, folders, names in os.walk(target):
        here = target.__class__(folder)
        if known is None:
            ours = ("zarr.json", "c") if (here / "zarr.json").is_file() else ()
            folders[:] = [name for name in folders if name not in ours]  # "c": an array's chunks
            found += [here / name for name in names if name not in ours]
        else:
            folders[:] = [name for name in folders if not _made_here(here / name)]
            found += [here / name for name in names]
    files = [path.relative_to(target).as_posix() for path in found]
    listed = (known or set()) | {RECORD, JOURNAL}
    return sorted(file for file in files if file.removesuffix(".aux.xml") not in listed)


def _discard(part: Path, resume: bool) -> None:
    if not os.path.lexists(part):
        return
    names = {path.name for path in part.iterdir()} if part.is_dir() else None
    empty = names is not None and names <= {_NEW_JOURNAL}  # stopped before the journal was there
    if not (empty or (part / JOURNAL).is_file() or _made_here(part)):
        raise DeepCropError(
            f"{part} is in the way and was not made by deepcrop. Rename it, or choose another name."
        )
    if resume and not empty:
        _log.warning("%s: begun with other settings or another version; starting anew.", part)
    # The journal last: a stop in between must not leave a directory that nobody knows.
    for path in part.iterdir():
        if path.name != JOURNAL:
            _remove(path)
    shutil.rmtree(part)
