"""Files that appear complete or not at all; JSON, CSV, and fingerprints of files."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
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


def fingerprint(path: Path) -> str:
    """Describe one writing of a file or Zarr store: time of change and size.

    Part of the settings of a run, so that a run never goes on with another version of its input.
    """
    stat = (path / "zarr.json" if path.is_dir() else path).stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


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
