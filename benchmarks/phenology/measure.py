"""Run one tool in a process of its own and tell speed, memory and results; needs NumPy only.

The process gets a folder with ``values.npy``, ``days.npy`` and ``task.json``, and leaves
``result.npz`` there. Loading and compiling are done on a few pixels first and count for nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

_WARM_UP = 32


def serve(run: Callable[..., dict[str, np.ndarray]], version: str) -> None:
    """Call ``run(values, days, **settings)`` as the task says, and save what it returns."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    values, days = np.load(folder / "values.npy"), np.load(folder / "days.npy")
    settings = task["settings"]
    run(values[:_WARM_UP], days, **settings)

    before = _reset_peak()
    result = run(values, days, **settings)
    memory = _peak() - before
    seconds = []
    for _ in range(task["repeats"]):
        start = time.perf_counter()
        run(values, days, **settings)
        seconds.append(time.perf_counter() - start)
    np.savez(
        folder / "result.npz",
        seconds=min(seconds, default=np.nan),
        memory=memory,
        version=version,
        **result,
    )


def _reset_peak() -> float:
    """Make the peak memory of this process the present one, and return it; MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return np.nan
    return _peak()


def _peak() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return np.nan
    return next((float(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM")), np.nan)
