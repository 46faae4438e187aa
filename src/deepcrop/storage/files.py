"""Files that appear complete or not at all; JSON, CSV, and fingerprints of files."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import errno
import hashlib
import io
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Give a temporary name beside ``target``; rename on success, remove on failure.

    Raises
    ------
    DeepCropError
        If the folder of ``target`` does not exist, or ``target`` is a folder.
    """
    if not target.absolute().parent.is_dir():
        raise DeepCropError(f"Folder {target.absolute().parent} does not exist; make it first.")
    if target.is_dir():
        raise DeepCropError(f"{target} is a folder; choose another name for the file.")
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def check_disk(folder: Path, needed: int, smaller: str) -> None:
    """Refuse to begin what the disk of a folder under construction has too little space for.

    Parameters
    ----------
    folder : Path
        Under construction, in the folder that is named.
    needed : int
        Bytes.
    smaller : str
        What to do on the same disk, as ``"fetch a smaller area"``.

    Raises
    ------
    DeepCropError
        If less is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DeepCropError(
            f"{folder.parent.absolute()} has {free / 1e9:.1f} GB free, and up to "
            f"{needed / 1e9:.1f} GB are needed. Write to another disk, or {smaller}."
        )


_HALF_WRITTEN = re.compile(r"\..+\.\d+\.part(\.[^.]*)?")  # as `atomic_file` names them


def remove_half_written(folder: Path, below: bool = False) -> None:
    """Remove what `atomic_file` left in a folder when a process was killed.

    No other process may be writing there. ``below``: also in the folders within it.
    """
    for path in (folder.rglob if below else folder.glob)(".*.part*"):
        if _HALF_WRITTEN.fullmatch(path.name) and path.is_file():
            path.unlink()


_AT_FDCWD, _NO_REPLACE, _EXCHANGE = -100, 1, 2  # of Linux, <linux/fcntl.h> and <linux/fs.h>


def _renameat2(source: Path, target: Path, flag: int) -> int | None:
    """Rename as Linux can: 0, or the number of the error; None where the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return 0
    number = ctypes.get_errno()
    return None if number in (errno.EINVAL, errno.ENOSYS) else number


def swap_names(one: Path, other: Path) -> bool:
    """Exchange the names of two directories in one step; False where the system cannot."""
    number = _renameat2(one, other, _EXCHANGE)
    if number:
        raise OSError(number, os.strerror(number), str(one))
    return number == 0


def rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a name that is free.

    Raises
    ------
    FileExistsError
        If the name is taken; what is there stays.
    """
    number = _renameat2(source, target, _NO_REPLACE)
    if number:
        raise OSError(number, os.strerror(number), str(source), None, str(target))
    if number is None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)


_SMALL = 2**26
"""Size up to which a single file is known by its content, bytes."""

_SIDECARS = (".aux.xml", ".msk", ".ovr", "-wal")  # appended to the whole name
_SIBLINGS = {".shp": (".dbf", ".shx", ".prj", ".cpg"), ".tif": (".tfw", ".prj")}


def fingerprint(path: Path) -> str:
    """Describe one writing of a file, with its sidecars, or of a Zarr store, with all its chunks.

    Part of the settings of a run, so that a run never goes on with another version of its input.
    Of each file it takes name, size and time of change, and no content; of a single small file the
    content instead, since copying can keep the time.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        others = [path.with_name(path.name + end) for end in _SIDECARS]
        others += [path.with_suffix(end) for end in _SIBLINGS.get(path.suffix.lower(), ())]
        files = [path, *(other for other in others if other.is_file())]
    described = []
    for file in files:
        stat = file.stat()
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        version = str(stat.st_mtime_ns)
        if not path.is_dir() and stat.st_size <= _SMALL:
            version = content_hash([file.read_bytes()])
        described.append(f"{name} {version} {stat.st_size}\n".encode())
    return f"{len(files)} files, {content_hash(described)[:32]}"


def content_hash(contents: Iterable[bytes]) -> str:
    """SHA-256 of contents, one after another, as hexadecimal digits."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def csv_text(
    header: Sequence[str],
    rows: Iterable[Iterable[Any]],
    *,
    simulated: bool = False,
    line_end: str = "\n",
) -> str:
    """Return a table as CSV.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of iterables
        Cells in the order of the columns; None is an empty cell.
    simulated : bool
        Whether the first line says ``# SIMULATED DATA``.
    line_end : str
        End of each line of the table.
    """
    text = io.StringIO(newline="")
    if simulated:
        text.write("# SIMULATED DATA\n")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Iterable[Any]],
    *,
    simulated: bool = False,
    line_end: str = "\n",
) -> None:
    """Write a table as a CSV file in UTF-8, complete or not at all; arguments of `csv_text`."""
    text = csv_text(header, rows, simulated=simulated, line_end=line_end)
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, indented for human readers."""
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
