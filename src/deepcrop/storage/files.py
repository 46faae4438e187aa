"""Atomic files, JSON files, and fingerprints of what is on disk."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepcrop.errors import DeepCropError


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
    """Tell one writing of a file from the next, so that two never share a half-made map."""
    stat = (path / "zarr.json" if path.is_dir() else path).stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read, too."""
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
