"""Measures of a season against those of the noise-free curve: amplitude, base, integrals, rates.

    python benchmarks/phenology/season_measures.py --out table.md

SIMULATED DATA (`series.py`), by the smoother of maps. True values are read from the noise-free
curve by brute force, by the definitions of docs/product.md: the base is the mean of the lowest
values between this peak and the neighbouring ones; both integrals run from the true SOS20 to the
true EOS20; a rate is the largest change of the curve within ``RATE_DAYS`` days.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numba import njit
from scoring import match
from series import KINDS, simulate

from deepcrop.phenology import season_dates
from deepcrop.phenology.date_kernels import MEASURES
from deepcrop.report.tables import Table

SEED = 2027
RATE_DAYS = 5
"""Days between the points of the smoothed curve, over which its slope is read."""
UNITS = ("NDVI", "NDVI", "NDVI", "NDVI d", "NDVI d", "NDVI/d", "NDVI/d")


@njit(cache=True)
def true_measures(curves, truth, out):
    """Fill ``out`` (pixels, seasons, 7) from daily curves (pixels, days) and true dates."""
    for pixel in range(len(curves)):
        curve = curves[pixel]
        for s in range(truth.shape[1]):
            out[pixel, s] = np.nan
            if np.isnan(truth[pixel, s, 2]):
                continue
            peak = min(max(int(truth[pixel, s, 2] + 0.5), 0), len(curve) - 1)
            before, after = 0, len(curve) - 1
            if s > 0 and not np.isnan(truth[pixel, s - 1, 2]):
                before = int(truth[pixel, s - 1, 2])
            if s + 1 < truth.shape[1] and not np.isnan(truth[pixel, s + 1, 2]):
                after = int(truth[pixel, s + 1, 2])
            left, right = curve[before : peak + 1], curve[peak : after + 1]
            base = 0.5 * (left.min() + right.min())
            first, last = truth[pixel, s, 0], truth[pixel, s, 4]
            area = 0.0
            steps = 10  # of a day
            for k in range(int((last - first) * steps)):
                day = first + (k + 0.5) / steps
                at = int(day)
                if at + 1 < len(curve):
                    area += (curve[at] + (day - at) * (curve[at + 1] - curve[at])) / steps
            up = down = 0.0
            for day in range(before + left.argmin(), peak - RATE_DAYS + 1):
                up = max(up, curve[day + RATE_DAYS] - curve[day])
            for day in range(peak, peak + right.argmin() - RATE_DAYS + 1):
                down = max(down, curve[day] - curve[day + RATE_DAYS])
            out[pixel, s, 0] = curve[peak] - base
            out[pixel, s, 1] = base
            out[pixel, s, 2] = curve[peak]
            out[pixel, s, 3] = area - base * (last - first)
            out[pixel, s, 4] = area
            out[pixel, s, 5] = up / RATE_DAYS
            out[pixel, s, 6] = down / RATE_DAYS


def rows_of(kind: str, pixels: int, seed: int, smoother: str):
    """Rows of the table: scene, measure, unit, seasons, median truth, MAE, bias, relative."""
    scene = simulate(kind, pixels, seed)
    truth = np.empty((*scene.truth.shape[:2], len(MEASURES)))
    true_measures(scene.curves, scene.truth, truth)
    found = season_dates(scene.values, scene.days, smoother=smoother)
    partner, _ = match(scene.truth.astype(np.float64), found.dates.astype(np.float64))
    pixel, season = np.nonzero(partner >= 0)
    for k, (name, unit) in enumerate(zip(MEASURES, UNITS, strict=True)):
        true = truth[pixel, season, k]
        error = getattr(found, name)[pixel, partner[pixel, season]] - true
        known = np.isfinite(error)
        error, true = error[known], true[known]
        yield (
            kind,
            f"`{name}`",
            unit,
            f"{known.sum():,}",
            f"{np.median(true):.3g}",
            f"{np.abs(error).mean():.2g}",
            f"{error.mean():+.2g}".replace("-", "−"),
            f"{100 * np.abs(error).mean() / np.abs(true).mean():.0f} %",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=20_000, help="per scene (default 20000)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the simulation ({SEED})")
    parser.add_argument("--smoother", default="whittaker")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    rows = [
        row
        for kind in KINDS
        for row in rows_of(kind, options.pixels, options.seed, options.smoother)
    ]
    columns = (
        "scene", "measure", "unit", "seasons", "median truth", "MAE", "bias", "MAE / mean truth",
    )  # fmt: skip
    title = f"Measures by {options.smoother} against the noise-free curve"
    table = Table(title, columns, rows, text_columns=3).to_markdown()
    text = f"SIMULATED DATA, {options.pixels} pixels a scene, seed {options.seed}.\n\n{table}\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
