"""Labels of all vegetation types against PhenoCam's dates: python benchmarks/phenocam_v1.py DATA.

DATA holds ``data_record_4`` and ``data_record_5`` of the PhenoCam Dataset V1.0 (Richardson et al.
2018, doi 10.3334/ORNLDAAC/1511, also on GitHub as khufkens/phenocam_dataset): official 3-day files,
and the dates that PhenoCam read from them. Of each accepted site-year the 50 % dates of the main
season are compared with PhenoCam's nearest ones, of gcc_90.

PhenoCam's top of a fall lies below the highest greenness of the season, which is ours. So the falls
are also dated at PhenoCam's own level, where only the two curves differ.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
WIDTHS = (30, 20, 15, 12, 10, 8, 6)  # limits of the 90 % interval, days
SIDES = (("sos50", "rising"), ("eos50", "falling"))


@dataclass
class Pair:
    """Our date beside that of PhenoCam; days, infinite without a date of PhenoCam."""

    stage: str
    error: float  # ours less PhenoCam's
    width: float  # of our 90 % interval
    at_level: float = np.nan  # our fall through PhenoCam's level, less PhenoCam's date
    lower: float = np.nan  # PhenoCam's top below ours, share of PhenoCam's amplitude


def references(path: Path) -> dict[str, list[tuple[np.datetime64, dict[str, str]]]]:
    """PhenoCam's 50 % dates, by direction, with the rows of its table."""
    found = defaultdict(list)
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for row in csv.DictReader(lines):
            if row["gcc_value"] == "gcc_90" and row["transition_50"] not in ("", "NA"):
                found[row["direction"]].append((np.datetime64(row["transition_50"], "D"), row))
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
) -> Iterator[Pair]:
    """Pair the 50 % dates of the accepted site-years with PhenoCam's nearest."""
    curve, grid = curve_of(series)
    for year in labels.years:
        if not year.accepted:
            continue
        main = next(season for season in year.seasons if season.slot == 1)
        start = np.datetime64(f"{year.year}-01-01", "D")
        offset = float((start - series.date[0]).astype(int))
        for stage, direction in SIDES:
            ours = main.events[stage]
            theirs = [(float((day - start).astype(int)), row) for day, row in reference[direction]]
            day, row = min(theirs, key=lambda one: abs(one[0] - ours.day), default=(np.inf, {}))
            pair = Pair(stage, ours.day - day, ours.high - ours.low)
            if abs(pair.error) > REACH:
                pair.error = pair.at_level = np.inf
            elif direction == "falling":
                level, low, top = (float(row[k]) for k in ("threshold_50", "min_gcc", "max_gcc"))
                pair.at_level = fall_to(level, day + offset, curve, grid) - offset - day
                inside = (grid >= main.events["sos50"].day + offset) & (grid <= ours.day + offset)
                pair.lower = float((curve[inside].max() - top) / (top - low))
            yield pair


def close(errors: Iterable[float]) -> str:
    """Share within `CLOSE` days, %."""
    return f"{100 * np.mean(np.abs(list(errors)) <= CLOSE):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    found: dict[str, list[Pair]] = defaultdict(list)
    cameras: dict[str, int] = defaultdict(int)
    for path in sorted((data / "data_record_4").glob("*_3day.csv")):
        series = read_series(path)
        reference = references(
            data / "data_record_5" / path.name.replace(".csv", "_transition_dates.csv")
        )
        pairs = list(compare(series, label_series(series), reference))
        for group in (path.name.split("_")[-3], "all"):
            cameras[group] += 1
            found[group] += pairs
    titles = ("vegetation", "cameras", "site-years", "SOS50", "EOS50", "EOS50 at PhenoCam's level",
              "top of the fall lower by, % of amplitude")  # fmt: skip
    rows = []
    for kind in sorted(found, key=lambda kind: (kind == "all", kind)):
        rises, falls = ([p for p in found[kind] if p.stage == stage] for stage, _ in SIDES)
        if not rises:
            continue  # no label is accepted
        lower = np.nanmedian([100 * p.lower for p in falls])
        rows.append(
            (
                kind, str(cameras[kind]), str(len(rises)), close(p.error for p in rises),
                close(p.error for p in falls), close(p.at_level for p in falls), f"{lower:.0f}",
            )
        )  # fmt: skip
    title = f"Accepted labels within {CLOSE} days of PhenoCam's own 50 % dates, %"
    print(Table(title, titles, rows).to_markdown())
    rows = []
    for limit in WIDTHS:
        kept = [pair for pair in found["all"] if pair.width <= limit]
        rows.append((str(limit), str(len(kept)), close(pair.error for pair in kept)))
    title = f"Dates with a 90 % interval up to a width, within {CLOSE} days, %"
    print(Table(title, ("days wide at most", "dates", "within"), rows).to_markdown())


if __name__ == "__main__":
    main()
