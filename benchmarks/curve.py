"""Speed of season dates from curves, pixels per second: python benchmarks/curve.py.

Synthetic series: one season a year with noise, a third of the observations missing.
"""

import platform
import time

import numba
import numpy as np

import deepcrop


def series(pixels: int, times: int, span: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(span), times, replace=False)).astype(np.float32)
    peak = rng.uniform(150, 230, (pixels, 1)).astype(np.float32)
    values = 0.2 + 0.6 * np.exp(-(((days % 365 - peak) / 45) ** 2))
    values += rng.normal(0, 0.03, values.shape).astype(np.float32)
    values[rng.random(values.shape) < 0.33] = np.nan
    return values.astype(np.float32), days


def main() -> None:
    print(f"deepcrop {deepcrop.__version__}, {platform.processor() or platform.machine()}")
    print(f"{'dates':>6} {'threads':>8} {'pixels/s':>10}")
    for times, span in ((42, 395), (219, 1095)):
        values, days = series(40_000, times, span)
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            deepcrop.season_dates(values[:100], days)  # compile
            best = 0.0
            for _ in range(3):
                start = time.perf_counter()
                deepcrop.season_dates(values, days)
                best = max(best, len(values) / (time.perf_counter() - start))
            print(f"{times:6d} {threads:8d} {best:10,.0f}")


if __name__ == "__main__":
    main()
