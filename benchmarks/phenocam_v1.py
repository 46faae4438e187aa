"""Labels of all vegetation types against PhenoCam's dates: python benchmarks/phenocam_v1.py DATA.

DATA holds ``data_record_4`` and ``data_record_5`` of the PhenoCam Dataset V1.0 (Richardson et al.
2018, doi 10.3334/ORNLDAAC/1511, also on GitHub as khufkens/phenocam_dataset): official 3-day files,
and the dates that PhenoCam read from them. Of each accepted site-year the 50 % dates of the main
season are compared with PhenoCam's nearest ones, of gcc_90.

PhenoCam takes as the top of a fall not the highest greenness but that of a tenth of the fall later.
So the falls are also dated at PhenoCam's own level, where only the two curves differ.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from deepcrop.cameras.labels import (
    PRESET,
    SMOOTHER,
    CameraLabels,
    label_series,
    observation_weights,
)
from deepcrop.phenology import smooth
from deepcrop.report.tables import Table
from deepcrop.sources.phenocam.summary_files import CameraSeries, read_series

CLOSE = 3  # days
REACH = 60  # days beyond which the nearest date is that of another season
SIDES = (("sos50", "rising"), ("eos50", "falling"))


def references(path: Path) -> dict[str, list[tuple[np.datetime64, float]]]:
    """Day and level of PhenoCam's 50 % dates, by direction."""
    found = defaultdict(list)
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for row in csv.DictReader(lines):
            if row["gcc_value"] == "gcc_90" and row["transition_50"] not in ("", "NA"):
                day = np.datetime64(row["transition_50"], "D")
                found[row["direction"]].append((day, float(row["threshold_50"])))
    return found


def curve_of(series: CameraSeries) -> tuple[np.ndarray, np.ndarray]:
    """The curve that labels are read from, and its days since the first of the series."""
    weights = observation_weights(series, "gcc_90")
    used = weights > 0
    days = (series.date - series.date[0]).astype(float)[used]
    values = series.greenness["gcc_90"][None, used]
    curve, grid = smooth(values, days, weights[None, used], smoother=SMOOTHER, preset=PRESET)
    return curve[0], grid


def fall_to(level: float, near: float, curve: np.ndarray, grid: np.ndarray) -> float:
    """The fall of the curve through a level that is nearest to a day."""
    k = np.flatnonzero((curve[:-1] >= level) & (curve[1:] < level))
    if not k.size:
        return np.nan
    share = (curve[k] - level) / (curve[k] - curve[k + 1])
    days = grid[k] + share * (grid[k + 1] - grid[k])
    return float(days[np.abs(days - near).argmin()])


def compare(
    series: CameraSeries, labels: CameraLabels, reference: dict[str, list]
) -> dict[str, list[float]]:
    """Differences of accepted site-years in days, ours less PhenoCam's; inf without a date."""
    differences = defaultdict(list)
    curve, grid = curve_of(series)
    for year in labels.years:
        if not year.accepted:
            continue
        main = next(season for season in year.seasons if season.slot == 1)
        start = np.datetime64(f"{year.year}-01-01", "D")
        for stage, direction in SIDES:
            ours = main.events[stage].day
            theirs = [
                (float((day - start).astype(int)), level) for day, level in reference[direction]
            ]
            day, level = min(theirs, key=lambda one: abs(one[0] - ours), default=(np.inf, np.nan))
            far = abs(day - ours) > REACH
            differences[stage].append(np.inf if far else ours - day)
            if direction == "falling":
                offset = float((start - series.date[0]).astype(int))
                own = np.nan if far else fall_to(level, day + offset, curve, grid) - offset
                differences["at their level"].append(np.inf if far else own - day)
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    cameras: dict[str, int] = defaultdict(int)
    for path in sorted((data / "data_record_4").glob("*_3day.csv")):
        series = read_series(path)
        reference = references(
            data / "data_record_5" / path.name.replace(".csv", "_transition_dates.csv")
        )
        kind = path.name.split("_")[-3]
        for group in (kind, "all"):
            cameras[group] += 1
        for column, values in compare(series, label_series(series), reference).items():
            found[kind][column] += values
            found["all"][column] += values
    columns = ("sos50", "eos50", "at their level")
    titles = ("vegetation", "cameras", "site-years", "SOS50", "EOS50", "EOS50 at PhenoCam's level",
              "median SOS50, d", "median EOS50, d")  # fmt: skip
    rows = []
    for kind in sorted(found, key=lambda kind: (kind == "all", kind)):
        arrays = [np.array(found[kind][column]) for column in columns]
        shares = [f"{100 * np.mean(np.abs(array) <= CLOSE):.1f}" for array in arrays]
        medians = [f"{np.median(array[np.isfinite(array)]):+.1f}" for array in arrays[:2]]
        rows.append((kind, str(cameras[kind]), str(arrays[0].size), *shares, *medians))
    title = f"Accepted labels within {CLOSE} days of PhenoCam's own 50 % dates, %"
    print(Table(title, titles, rows).to_markdown())


if __name__ == "__main__":
    main()
