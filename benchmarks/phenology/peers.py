"""The tools compared, their tuned settings, and how each is run in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba
import numpy as np
import thresholds

import deepcrop.phenology

HERE = Path(__file__).parent
SMOOTHERS = {
    "savgol": "SavGol",
    "whittaker": "Whittaker",
    "double_logistic": "DoubleLogistic",
    "asymmetric_gaussian": "AsymmetricGaussian",
}
"""Names of deepcrop's smoothers and of their settings; those not installed are left out."""

ENVIRONMENTS = {
    "timesat": ["timesat==4.4.1", "numpy>=2,<3"],
    "vam": ["vam.whittaker==2.0.6", "numpy<2"],
}
# The wheel of vam.whittaker wants two names that newer C libraries no longer have.
_OLD_NAMES = """
#include <math.h>
double __log_finite(double x) { return log(x); }
double __exp_finite(double x) { return exp(x); }
"""


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes
    ----------
    name : str
    script : str
        File of this folder that runs it.
    environment : str or None
        Key of `ENVIRONMENTS`; None is the interpreter of the benchmark.
    settings : dict
        By kind of scene, its settings, found on the tuning seed (`tune.py`).
    threads : bool
        It shares work among threads by itself; else two processes share the pixels.
    most_pixels : int
        Slow tools get the first so many pixels of a scene.
    """

    name: str
    script: str
    environment: str | None
    settings: dict[str, dict]
    threads: bool = True
    most_pixels: int = 10**9


@dataclass(frozen=True)
class Outcome:
    """What a tool gave: dates and intervals (None: it has none), and what it took.

    ``seconds`` and ``smoothing`` (NaN where they cannot be told apart) are of one run over
    ``pixels``; ``memory`` is the rise of the peak memory, MB.
    """

    dates: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    pixels: int
    seconds: float
    smoothing: float
    memory: float
    version: str


def ours() -> list[Peer]:
    """Every smoother of the installed deepcrop."""
    names = [n for n, kind in SMOOTHERS.items() if hasattr(deepcrop.phenology, kind)]
    kinds = ("three years", "one year", "sparse year")
    return [
        Peer(f"deepcrop {n}", "deepcrop_runner.py", None, {k: {"smoother": n} for k in kinds})
        for n in names
    ]


_SPLINE = {"fit": 2, "season_method": 2, "season_parameter": 0.0, "smooth": 100.0, "fill_base": 1}
_SPLINE |= {"low_percentile": 0.1, "passes": 2, "weight_factor": 2.0}
_LOGISTIC = {"fit": 1, "season_method": 1, "season_parameter": 0.0, "fill_base": 1}
_LOGISTIC |= {"low_percentile": 0.15, "passes": 3, "weight_factor": 5.0}

OTHERS = [
    Peer(
        "TIMESAT spline",
        "timesat_runner.py",
        "timesat",
        {
            "three years": _SPLINE | {"weight_factor": 4.0},
            "one year": _SPLINE | {"low_percentile": 0.15, "years": 2},
            "sparse year": _SPLINE | {"years": 2},
        },
    ),
    Peer(
        "TIMESAT double logistic",
        "timesat_runner.py",
        "timesat",
        {
            "three years": _LOGISTIC,
            "one year": _LOGISTIC | {"years": 2},
            "sparse year": _LOGISTIC | {"years": 2},
        },
        most_pixels=2000,
    ),
    Peer(
        "vam.whittaker",
        "vam_runner.py",
        "vam",
        {
            "three years": {"smoothness": 100.0, "envelope": 0.8},
            "one year": {"smoothness": 100.0, "envelope": 0.7, "step": 1.0},
            "sparse year": {"smoothness": 100.0, "envelope": 0.8},
        },
        threads=False,
    ),
    Peer(
        "scipy savgol_filter",
        "scipy_runner.py",
        None,
        {
            "three years": {"window": 55},
            "one year": {"window": 55},
            "sparse year": {"window": 55},
        },
        threads=False,
    ),
]


@cache
def interpreter(environment: str | None, folder: Path) -> tuple[Path, dict[str, str]]:
    """Interpreter of a tool and what its processes need in their environment; makes it if absent.

    Raises
    ------
    RuntimeError
        The environment cannot be made, or the tool does not load in it.
    """
    if environment is None:
        return Path(sys.executable), {}
    folder = folder / environment
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    extra: dict[str, str] = {}
    if not (folder / "installed").exists():
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[environment]])
        (folder / "installed").touch()
    shim = folder / "old_names.so"
    if environment == "vam" and not shim.exists() and shutil.which("cc"):
        source = folder / "old_names.c"
        source.write_text(_OLD_NAMES)
        _call(["cc", "-shared", "-fPIC", "-O2", str(source), "-o", str(shim), "-lm"])
    if shim.exists():
        extra["LD_PRELOAD"] = str(shim)
    module = {"timesat": "timesat", "vam": "vam.whittaker"}[environment]
    _call([str(python), "-c", f"import {module}"], os.environ | extra)
    return python, extra


def _call(command, environment=None):
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise RuntimeError(f"{Path(command[0]).name}: {lines[-1]}")


def _settings(peer, kind):
    """Settings for a kind of scene; shapes of cameras are three years, and nobody tunes on them."""
    return peer.settings.get(kind, peer.settings["three years"])


def run(peer, scene, threads, folder, repeats=3, settings=None) -> Outcome:
    """Run a tool on a scene; speed is the best of ``repeats`` runs without loading or compiling."""
    python, extra = interpreter(peer.environment, folder)
    values = scene.values[: peer.most_pixels]
    processes = 1 if peer.threads else threads
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(i) for i in range(processes)]
        running = []
        for place, part in zip(folders, np.array_split(values, processes), strict=True):
            place.mkdir()
            np.save(place / "values.npy", part)
            np.save(place / "days.npy", scene.days)
            task = {
                "settings": _settings(peer, scene.kind) if settings is None else settings,
                "repeats": repeats,
            }
            (place / "task.json").write_text(json.dumps(task))
            count = str(threads // processes)
            environment = os.environ | extra
            environment |= {"NUMBA_NUM_THREADS": count, "OMP_NUM_THREADS": count}
            command = [str(python), str(HERE / peer.script), str(place)]
            running.append(
                subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            )
        for process in running:
            errors = process.communicate()[1]
            if process.returncode:
                raise RuntimeError(errors.strip().splitlines()[-1] if errors else "killed")
        results = [dict(np.load(place / "result.npz")) for place in folders]
    seconds = max(float(r["seconds"]) for r in results)
    joined = {
        key: np.concatenate([r[key] for r in results])
        for key in ("dates", "low", "high", "curves")
        if key in results[0]
    }
    smoothing = np.nan
    if "curves" in joined:
        smoothing = seconds
        dates, thresholding = _dates(joined["curves"], results[0]["grid"], threads, max(repeats, 1))
        joined["dates"] = dates
        seconds += thresholding
    return Outcome(
        joined["dates"],
        joined.get("low"),
        joined.get("high"),
        len(values),
        seconds,
        smoothing,
        sum(float(r["memory"]) for r in results),
        str(results[0]["version"]),
    )


def _dates(curves, grid, threads, repeats):
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    dates = thresholds.season_dates(curves[:32], grid)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        dates = thresholds.season_dates(curves, grid)
        best = min(best, time.perf_counter() - start)
    return dates, best
