"""Compare our adaptive Savitzky-Golay with TIMESAT's, as published.

    python benchmarks/savgol_steps.py DATA

DATA holds ``phenocam/series``. The smoother that Jönsson and Eklundh (2004) and Chen et al. (2004)
describe is written here step by step, for series of equal intervals, as the 3-day files of PhenoCam
are. Then steps are replaced by ours. Curve and dates of each variant are compared with those of the
description, on real cameras. What the description leaves open is a constant here.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepcrop.cameras.labels import observation_weights
from deepcrop.phenology import SavGol, season_dates, smooth
from deepcrop.report.tables import Table
from deepcrop.sources.phenocam.summary_files import read_series

STEP = 3  # days from value to value
HALF = 10  # values on each side of the window: 30 days, as in our preset `paper`
SPIKE = 2.0  # standard deviations from the median
PASSES = 2  # fits to the upper envelope after the first
BELOW = 0.5  # share of its weight that a value below the fit keeps
FRACTIONS = (0.2, 0.5)
STAGES = ("SOS20", "SOS50", "EOS50", "EOS20")
PAPER = SavGol(window=30.0, steep_window=30.0, stiffness=0.0, envelope_passes=2)
"""Our preset `paper`."""


def described(
    values: NDArray[np.float64], tricube: bool = False, robust: bool = False, spikes: bool = True
) -> NDArray[np.float64]:
    """Smooth a series of equal intervals as described; NaN is no observation.

    Parameters
    ----------
    values : ndarray (times,)
    tricube : bool
        Let weights fall with the distance, as ours do; in the description all of a window are
        equal.
    robust : bool
        Lower weights below the fit by their residual, as ours are, not by a constant share.
    spikes : bool
        Leave spikes out.
    """
    weights = np.isfinite(values).astype(float)
    filled = np.nan_to_num(values)
    if spikes:
        scatter = np.nanstd(values)
        for k in np.flatnonzero(weights):
            near = values[max(k - HALF, 0) : k + HALF + 1]
            if abs(values[k] - np.nanmedian(near)) > SPIKE * scatter:
                weights[k] = 0
    offsets = np.arange(-HALF, HALF + 1)
    kernel = (1 - np.abs(offsets / (HALF + 1)) ** 3) ** 3 if tricube else np.ones(offsets.size)
    curve = filled
    for number in range(PASSES + 1):
        curve = parabolas(filled, weights, offsets / HALF, kernel)
        if number == PASSES:
            break
        residual = curve - filled
        below = (residual > 0) & (weights > 0)
        if robust:
            typical = np.nanmedian(np.abs(residual[weights > 0]))
            share = (1 - np.minimum(residual / (6 * typical), 1) ** 2) ** 2
            weights[below] *= share[below]
        else:
            weights[below] *= BELOW
    return curve


def parabolas(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    where: NDArray[np.float64],
    kernel: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Value at each time of the parabola through its window; NaN where it is not determined."""

    def sums(numbers: NDArray[np.float64], power: int) -> NDArray[np.float64]:
        return np.correlate(numbers, kernel * where**power, mode="same")

    s = [sums(weights, power) for power in range(5)]
    t = [sums(weights * values, power) for power in range(3)]
    count = np.correlate((weights > 0).astype(float), kernel > 0, mode="same")
    minors = (s[2] * s[4] - s[3] ** 2, s[1] * s[4] - s[2] * s[3], s[1] * s[3] - s[2] ** 2)
    determinant = s[0] * minors[0] - s[1] * minors[1] + s[2] * minors[2]
    known = (count > 2.5) & (determinant > 1e-6)
    top = t[0] * minors[0] - t[1] * minors[1] + t[2] * minors[2]
    return np.where(known, top / np.where(known, determinant, 1.0), np.nan)


def dates(
    curve: NDArray[np.float64], days: NDArray[np.float64], first: float, last: float
) -> NDArray[np.float64]:
    """Dates at `FRACTIONS` of the amplitude of a season that lies between two days.

    The amplitude of a side is measured from the lowest value of that side, as in the description.
    """
    found = np.full(len(STAGES), np.nan)
    inside = np.flatnonzero((days >= first) & (days <= last) & np.isfinite(curve))
    if inside.size < 5:
        return found
    top = inside[np.argmax(curve[inside])]
    rise, fall = inside[inside <= top], inside[inside >= top][::-1]
    for side, order in ((rise, (0, 1)), (fall, (3, 2))):
        side = side[np.argmin(curve[side]) :]  # from the lowest value up to the top
        low, high = curve[side[0]], curve[top]
        for fraction, stage in zip(FRACTIONS, order, strict=True):
            level = low + fraction * (high - low)
            k = np.flatnonzero((curve[side[:-1]] < level) & (curve[side[1:]] >= level))
            if k.size:
                a, b = side[k[-1]], side[k[-1] + 1]
                share = (level - curve[a]) / (curve[b] - curve[a])
                found[stage] = days[a] + share * (days[b] - days[a])
    return found


def series_of(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Days and values of a 3-day series, NaN where there is no observation."""
    series = read_series(path)
    weights = observation_weights(series, "gcc_90")
    days = (series.date - series.date[0]).astype(float)
    regular = np.arange(0, days[-1] + 1, STEP)
    values = np.full(regular.size, np.nan)
    used = (weights > 0) & (days % STEP == 0)
    values[(days[used] / STEP).astype(int)] = series.greenness["gcc_90"][used]
    return regular, values


def compare(paths: Sequence[Path]) -> Table:
    """Compare each variant with the description, over all seasons of all series."""
    variants = {
        "without leaving spikes out": {"spikes": False},
        "tricube weights": {"tricube": True},
        "weights below the fit by their residual": {"robust": True},
        "both": {"tricube": True, "robust": True},
    }
    offsets: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*variants, "ours")}
    curves: dict[str, list[float]] = {name: [] for name in offsets}
    seasons = 0
    for path in paths:
        days, values = series_of(path)
        used = np.isfinite(values)
        if used.sum() < 60:
            continue
        reference = described(values)
        smoothed, grid = smooth(values[None, used], days[used], smoother=PAPER)
        ours = np.interp(days, grid, smoothed[0])
        found = season_dates(values[None, used], days[used], smoother=PAPER, preset="phenocam")
        drawn = {name: described(values, **options) for name, options in variants.items()}
        drawn["ours"] = ours
        for row in found.dates[0]:
            if not np.isfinite(row).all():
                continue
            first, last = row[0] - 45, row[-1] + 45
            expected = dates(reference, days, first, last)
            seasons += 1
            amplitude = np.ptp(ours[(days >= first) & (days <= last)])
            for name, curve in drawn.items():
                offsets[name].append(dates(curve, days, first, last) - expected)
                part = (days >= row[0]) & (days <= row[-1])
                curves[name].append(np.nanmedian(np.abs(curve - reference)[part]) / amplitude)
    rows = []
    for name, lists in offsets.items():
        errors = np.array(lists)
        cells = [
            f"{np.nanmedian(column):+.1f} / {np.nanmedian(np.abs(column)):.1f} / "
            f"{np.nanpercentile(np.abs(column), 90):.1f}"
            for column in errors.T
        ]
        label = "ours, preset `paper`" if name == "ours" else name
        rows.append((label, f"{100 * np.nanmedian(curves[name]):.1f} %", *cells))
    return Table(f"Against the description, {seasons} seasons", ("variant", "curve", *STAGES), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    paths = sorted((parser.parse_args().data / "phenocam/series").glob("*_3day.csv"))
    print(compare(paths).to_markdown())
