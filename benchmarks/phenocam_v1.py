"""Labels of all vegetation types against PhenoCam's dates: python benchmarks/phenocam_v1.py DATA.

DATA holds ``data_record_4`` and ``data_record_5`` of the PhenoCam Dataset V1.0 (Richardson et al.
2018, doi 10.3334/ORNLDAAC/1511, also on GitHub as khufkens/phenocam_dataset): official 3-day files,
and the dates that PhenoCam read from them. Of each accepted site-year the 50 % dates of the main
season are compared with PhenoCam's nearest ones, of gcc_90.

PhenoCam names whole days, the first at or above the level of a rise and the last of a fall, and so
are ours counted here. Its levels are others: its base is the median of its curve from the minimum
to a change point, its top the 90 % quantile from there to the maximum (`transition_dates` of
phenocamr); ours are the base of the dormant stretch and the highest greenness. So each rise and
fall is also dated at PhenoCam's own level, where only the two curves differ, and each disagreement
is given a kind.
"""

import argparse
import csv
from collections import Counter, defaultdict
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
REACH = 60  # days beyond which PhenoCam has no date of the season
OTHER = 30  # days beyond which the nearest date is that of another season
WIDTHS = (30, 20, 15, 12, 10, 8, 6)  # limits of the 90 % interval, days
SIDES = (("sos50", "sos20", "rising"), ("eos50", "eos20", "falling"))
KINDS = {
    "none": f"PhenoCam has no date within {REACH} days",
    "season": f"another rise or fall: over {OTHER} days away",
    "top": "the same curve, another level: the tops differ most",
    "base": "the same curve, another level: the bases differ most",
    "curve": "the curves differ",
}


@dataclass
class Pair:
    """Our date beside that of PhenoCam; days, infinite without a date of PhenoCam."""

    stage: str
    width: float  # of our 90 % interval
    error: float = np.inf  # ours less PhenoCam's
    at_level: float = np.inf  # our curve's crossing of PhenoCam's level, less PhenoCam's date
    top: float = np.nan  # PhenoCam's top less ours, share of our amplitude
    base: float = np.nan  # PhenoCam's base less ours

    @property
    def kind(self) -> str:
        """Why the dates are not within `CLOSE` days: a key of `KINDS`."""
        if abs(self.error) > OTHER:
            return "season" if np.isfinite(self.error) else "none"
        if not abs(self.at_level) <= CLOSE:
            return "curve"
        return "top" if abs(self.top) > abs(self.base) else "base"


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


def crossing(level: float, near: float, side: int, curve: np.ndarray, grid: np.ndarray) -> float:
    """Day nearest to one on which the curve passes a level, up (side 1) or down (-1)."""
    above = side * (curve - level)
    k = np.flatnonzero((above[:-1] <= 0) & (above[1:] > 0))
    if not k.size:
        return np.inf
    days = grid[k] + above[k] / (above[k] - above[k + 1]) * (grid[k + 1] - grid[k])
    return float(days[np.abs(days - near).argmin()])


def whole_day(day: float, side: int) -> float:
    """The first whole day after a rise, the last before a fall, as PhenoCam counts."""
    return float(np.ceil(day) if side > 0 else np.floor(day))


def compare(
    series: CameraSeries, labels: CameraLabels, reference: dict[str, list]
) -> Iterator[Pair]:
    """Pair the 50 % dates of the accepted site-years with PhenoCam's nearest."""
    curve, grid = curve_of(series)
    for year in labels.years:
        if not year.accepted:
            continue
        main = next(season for season in year.seasons if season.slot == 1)
        january = np.datetime64(f"{year.year}-01-01", "D") - series.date[0].astype("datetime64[D]")
        for half, fifth, direction in SIDES:
            side = 1 if direction == "rising" else -1
            pair = Pair(half, main.events[half].width)
            ours, low = (main.events[name].day + january.astype(int) for name in (half, fifth))
            theirs = [
                (float((day - series.date[0]).astype(int)), row)
                for day, row in reference[direction]
            ]
            day, row = min(theirs, key=lambda one: abs(one[0] - ours), default=(np.inf, {}))
            if abs(ours - day) <= REACH:
                pair.error = whole_day(ours, side) - day
                level, bottom, top = (float(row[k]) for k in ("threshold_50", "min_gcc", "max_gcc"))
                pair.at_level = whole_day(crossing(level, day, side, curve, grid), side) - day
                at_half, at_fifth = np.interp([ours, low], grid, curve)
                amplitude = (at_half - at_fifth) / 0.3
                pair.top = (top - at_half) / amplitude - 0.5
                pair.base = (bottom - at_half) / amplitude + 0.5
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
    titles = ("vegetation", "cameras", "site-years", "SOS50", "EOS50", "SOS50 at PhenoCam's level",
              "EOS50 at PhenoCam's level", "top of the fall lower by, % of amplitude")  # fmt: skip
    rows = []
    for kind in sorted(found, key=lambda kind: (kind == "all", kind)):
        rises, falls = ([p for p in found[kind] if p.stage == stage] for stage, _, _ in SIDES)
        if not rises:
            continue  # no label is accepted
        lower = np.nanmedian([-100 * p.top for p in falls])
        rows.append(
            (
                kind, str(cameras[kind]), str(len(rises)), close(p.error for p in rises),
                close(p.error for p in falls), close(p.at_level for p in rises),
                close(p.at_level for p in falls), f"{lower:.0f}",
            )
        )  # fmt: skip
    title = f"Accepted labels within {CLOSE} days of PhenoCam's own 50 % dates, %"
    print(Table(title, titles, rows).to_markdown())
    far = [pair for pair in found["all"] if not abs(pair.error) <= CLOSE]
    counts = Counter((pair.stage, pair.kind) for pair in far)
    rows = [
        (kind, *(str(counts[stage, kind]) for stage, _, _ in SIDES), what)
        for kind, what in KINDS.items()
    ]
    print(Table("The others by kind", ("kind", "SOS50", "EOS50", "what"), rows).to_markdown())
    rows = []
    for limit in WIDTHS:
        kept = [pair for pair in found["all"] if pair.width <= limit]
        rows.append((str(limit), str(len(kept)), close(pair.error for pair in kept)))
    title = f"Dates with a 90 % interval up to a width, within {CLOSE} days, %"
    print(Table(title, ("days wide at most", "dates", "within"), rows).to_markdown())


if __name__ == "__main__":
    main()
