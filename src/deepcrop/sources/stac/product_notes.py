"""Keep what a search finds out about single products, so that a stopped search goes on there."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class ProductNotes:
    """Notes on products by their names, appended to a file of JSON lines; threads may share it.

    Parameters
    ----------
    path : Path, optional
        The file; it need not exist. None: notes are kept in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.notes: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        if path is not None and path.is_file():
            for line in path.read_bytes().splitlines():
                try:
                    name, note = json.loads(line)
                except (ValueError, TypeError):  # the line at which a run was stopped
                    continue
                self.notes[name] = note

    def add(self, name: str, note: dict[str, Any], final: bool = True) -> None:
        """Add the note on a product; one that is not final is not written to the file."""
        with self._lock:
            self.notes[name] = note
            if self.path is not None and final:
                with self.path.open("a", encoding="utf-8") as file:
                    # A line break first: the last line may be cut short.
                    file.write("\n" + json.dumps([name, note]))
