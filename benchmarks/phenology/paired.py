"""Compare speed and results of two versions: python benchmarks/phenology/paired.py OLD NEW.

``OLD`` and ``NEW`` are the ``src`` folders of two checkouts. Each runs in a process of its own, on
one thread; both date the same simulated series in turn, so that a busy machine slows both alike.
Time is that of the processor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SCENES = ("three years", "three years, clear", "one year", "sparse year")
SMOOTHERS = ("double_logistic", "asymmetric_gaussian")
LIMITS = (0.01, 0.1, 1.0)
"""Days within which dates of the two versions agree."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="paired.py", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--smoother", action="append", help="(the two model functions)")
    parser.add_argument("--scene", choices=SCENES, action="append", help="only this (all)")
    parser.add_argument("--pixels", type=int, default=4000, help="per scene (default 4000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each version (default 5)")
    parser.add_argument("--seed", type=int, default=2026, help="of the simulation (2026)")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as folder:
        workers = [_start(path, Path(folder)) for path in (options.old, options.new)]
        for kind in options.scene or SCENES:
            values, days = _series(kind, options.pixels, options.seed)
            np.savez(Path(folder) / "series.npz", values=values, days=days)
            for smoother in options.smoother or SMOOTHERS:
                _compare(workers, Path(folder), kind, smoother, options.rounds)
        for worker in workers:
            worker.stdin.close()
            worker.wait()


def _series(kind, pixels, seed):
    from series import observe, simulate

    scene = simulate(kind.removesuffix(", clear"), pixels, seed)
    if not kind.endswith("clear"):
        return scene.values, scene.days
    clean = np.stack([np.interp(scene.days, scene.curve_days, curve) for curve in scene.curves])
    return observe(clean, scene.days, 0.0, np.random.default_rng(seed)), scene.days


def _start(source, folder):
    environment = os.environ | {"PYTHONPATH": str(source), "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )


def _compare(workers, folder, kind, smoother, rounds):
    seconds = np.empty((rounds, 2, 2))  # smoothing alone, with dates
    memory = np.zeros(2)
    results = []
    for number in range(rounds):
        for which, worker in enumerate(workers):
            worker.stdin.write(f"{smoother} {which}\n")
            worker.stdin.flush()
            *taken, peak = map(float, worker.stdout.readline().split())
            seconds[number, which] = taken
            memory[which] = max(memory[which], peak)  # of the first round; then it is held
    results = [np.load(folder / f"{which}.npz") for which in range(2)]
    pixels = int(results[0]["pixels"])
    print(f"\n{kind}, {smoother}, {pixels} series, {rounds} rounds in turn, one thread")
    for what, taken in zip(("smoothing", "season dates"), seconds.T.swapaxes(1, 2), strict=True):
        old, new = (pixels / taken[:, which].min() for which in range(2))
        ratios = taken[:, 0] / taken[:, 1]
        print(
            f"  {what}: {old:,.0f} -> {new:,.0f} series/s; ratio {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f})"
        )
    print(f"  peak memory over the input: {memory[0]:.1f} -> {memory[1]:.1f} MB")
    both = np.isfinite(results[0]["dates"]) & np.isfinite(results[1]["dates"])
    either = np.isfinite(results[0]["dates"]) | np.isfinite(results[1]["dates"])
    print(f"  dates: {both.sum():,} in both, {(either & ~both).sum()} in one only")
    for name in ("dates", "low", "high"):
        apart = np.abs(results[0][name] - results[1][name])[both]
        shares = " / ".join(f"{100 * np.mean(apart <= limit):.3f}" for limit in LIMITS)
        print(
            f"  {name} within {' / '.join(map(str, LIMITS))} d: {shares} %, most {apart.max():.2f}"
        )
    amplitudes = [result["amplitude"] for result in results]
    apart = np.abs(amplitudes[0] - amplitudes[1])[np.isfinite(amplitudes[0] - amplitudes[1])]
    print(
        f"  amplitude within 0.001: {100 * np.mean(apart <= 0.001):.3f} %, most {apart.max():.4f}"
    )


def serve(folder: Path) -> None:
    """Date the series of the folder with each smoother whose name is read."""
    from measure import _peak, _reset_peak

    from deepcrop.phenology import season_dates, smooth

    for line in sys.stdin:
        smoother, which = line.split()
        with np.load(folder / "series.npz") as series:
            values, days = series["values"], series["days"]
        season_dates(values[:32], days, smoother=smoother)
        before = _reset_peak()
        start = time.process_time()
        smooth(values, days, smoother=smoother)
        smoothed = time.process_time()
        dated = time.process_time()
        seasons = season_dates(values, days, smoother=smoother)
        end = time.process_time()
        peak = _peak() - before
        names = ("dates", "low", "high", "amplitude")
        np.savez(
            folder / f"{which}.npz",
            pixels=len(values),
            **{name: getattr(seasons, name) for name in names},
        )
        print(smoothed - start, end - dated, peak, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]))
    else:
        main()
