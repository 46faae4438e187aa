"""Camera dates beside planting, emergence and harvest that people noted on the ground.

    python benchmarks/ground_dates.py --data DATA --out ground --figure ground_dates.png

Writes ``pairs.csv`` (a row for each camera, year and date of the season), prints the tables of
docs/ground.md and draws its figure. What each source is, its slips, and what is left out and why
stands in that page. Nothing here trains anything.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from deepcrop.cameras.site_years import CameraYear, read_network
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.storage.files import write_csv

MEAD = {"mead1": 1, "mead2": 2, "mead3": 3}
"""Camera at Mead, Nebraska, and the number of the table that its number suggests."""
CROP_OF_CODE = {"M": "corn", "S": "soybean"}
COMPARED = {"sos20": "emergence", "sos50": "emergence", "eos50": "harvest", "eos20": "harvest"}
"""Camera date, and the date on the ground that it is set beside."""


@dataclass(frozen=True)
class Ground:
    """Dates noted on the ground for one field and year, days since 1 January; NaN if unknown."""

    crop: str
    planting: float
    emergence: float
    harvest: float


@dataclass(frozen=True)
class Pair:
    """The dates of a camera beside those of its field."""

    source: str
    camera: str
    year: int
    ground: Ground
    day: dict[str, float]

    def lag(self, stage: str) -> float:
        """Days by which a camera date is later than the date on the ground."""
        return self.day[stage] - float(getattr(self.ground, COMPARED[stage]))


# Mead ---------------------------------------------------------------------------------------------


def read_mead(data: Path, number: int) -> dict[int, Ground]:
    """Read planting, emergence and harvest at one field of Mead, by year."""
    path = data / "date_tables" / f"mead_site{number}_planting_emergence_harvest.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {int(row["Year"]): _mead_row(row) for row in csv.DictReader(file)}


def _mead_row(row: dict[str, str]) -> Ground:
    year = int(row["Year"])
    days = [
        (datetime.strptime(f"{row[name]} {year}", "%B %d %Y").date() - date(year, 1, 1)).days
        for name in ("Planting Date", "Emergence Date", "Harvest Date")
    ]
    return Ground(CROP_OF_CODE[row["Crop"]], *map(float, days))


def mead_cameras(data: Path) -> list[CameraYear]:
    """Label the cameras at Mead as training labels are made."""
    folder = data / "phenocam"
    files = sorted((folder / "series").glob("mead[123]_AG_*_3day.csv"))
    return read_network(files, crops=folder / "crop_type_by_site_year.csv")


def contradictions(data: Path) -> list[tuple[str, int, str, str]]:
    """List the years in which a table of Mead names another crop than its camera shows."""
    tables = {camera: read_mead(data, number) for camera, number in MEAD.items()}
    return sorted(
        (one.site, one.year, tables[one.site][one.year].crop, one.crop)
        for one in mead_cameras(data)
        if one.crop and one.year in tables[one.site] and tables[one.site][one.year].crop != one.crop
    )


def largest_difference(data: Path, number: int) -> float:
    """Largest difference in days between the table of a field and that of field 1."""
    first, other = read_mead(data, 1), read_mead(data, number)
    return max(
        abs(getattr(other[year], name) - getattr(first[year], name))
        for year in other
        for name in ("planting", "emergence", "harvest")
    )


def mead_pairs(data: Path) -> list[Pair]:
    """Pair the camera mead1 with the table of field 1; the other tables are of no known field."""
    table = read_mead(data, 1)
    return [
        Pair(
            "Mead",
            one.site,
            one.year,
            table[one.year],
            dict(zip(CALENDAR, one.day[0], strict=True)),
        )
        for one in mead_cameras(data)
        if one.site == "mead1" and one.year in table and one.accepted
    ]


# Cameras of 2021 and 2022 -------------------------------------------------------------------------


def watched_pairs(data: Path) -> list[Pair]:
    """Pair cameras with the emergence and harvest that were read from their own images."""
    from deepcrop.studies.real_cameras import read_hls

    found = read_hls(data)
    pairs = []
    for k, name in enumerate(found.reference.site_year.tolist()):
        crop = str(found.reference.crop[k]).replace("soybeans", "soybean")
        noted = Ground(crop, np.nan, float(found.emergence[k]), float(found.harvest[k]))
        day = dict(zip(STAGES, found.reference.day[k, 0].tolist(), strict=True))
        pairs.append(Pair("images", name.rsplit("_", 1)[0], int(name[-4:]), noted, day))
    return pairs


# Calendars ----------------------------------------------------------------------------------------

WHEAT_STAGES = ("Heading", "Maturity", "Harvest Ready")


def wheat_calendar(data: Path) -> list[tuple[str, str, int, date, date, date]]:
    """Calendar of winter wheat by state: notes of a stage, and 10 %, 50 %, 90 % of their dates.

    Notes before March belong to the crop of the summer before and are left out.
    """
    import pandas as pd

    notes = pd.read_parquet(data / "hrw_wheat_stages" / "hrw_phenology_labels.parquet")
    notes = notes[notes["growth_stage"].isin(WHEAT_STAGES) & (notes["dos"] >= 244)]
    rows = []
    for (state, stage), group in notes.groupby(["state", "growth_stage"]):
        days = group["dos"].quantile([0.1, 0.5, 0.9], interpolation="nearest")
        spread = [date.fromordinal(date(2016, 7, 1).toordinal() + int(day)) for day in days]
        rows.append((state, stage, len(group), *spread))
    return sorted(rows, key=lambda row: (row[0], WHEAT_STAGES.index(row[1])))


# Output -------------------------------------------------------------------------------------------


def summary(pairs: list[Pair]) -> list[tuple[str, str, str, int, float, float, float]]:
    """Lags by source, crop and stage: number, median, mean, standard deviation (n - 1)."""
    rows = []
    for source in dict.fromkeys(pair.source for pair in pairs):
        for crop in ("corn", "soybean"):
            chosen = [p for p in pairs if p.source == source and p.ground.crop == crop]
            for stage in COMPARED if chosen else ():
                lags = np.array([pair.lag(stage) for pair in chosen])
                lags = lags[np.isfinite(lags)]
                numbers = float(np.median(lags)), float(lags.mean()), float(lags.std(ddof=1))
                rows.append((source, crop, stage, lags.size, *numbers))
    return rows


def cells(row: tuple[str, str, str, int, float, float, float]) -> str:
    """Format the numbers of a row of `summary` as the table of docs/ground.md has them."""
    _, _, stage, number, median, mean, spread = row
    numbers = f"{number} | {median:+.1f} | {mean:+.1f} ± {spread:.1f} |".replace("-", "−")
    return f"| {stage.upper()} | {COMPARED[stage]} | {numbers}"


def draw(pairs: list[Pair], path: Path) -> None:
    """Draw each lag as a point, by stage, crop and source."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    kinds = [("Mead", "corn", "D"), ("images", "corn", "o"), ("images", "soybean", "s")]
    names = ["mead1, farm records, maize", "images, maize", "images, soybean"]
    for axis, event in zip(axes, ("emergence", "harvest"), strict=True):
        stages = [stage for stage, other in COMPARED.items() if other == event]
        for k, ((source, crop, marker), name) in enumerate(zip(kinds, names, strict=True)):
            chosen = [p for p in pairs if (p.source, p.ground.crop) == (source, crop)]
            for place, stage in enumerate(stages):
                lags = np.array([pair.lag(stage) for pair in chosen])
                lags = np.sort(lags[np.isfinite(lags)])
                aside = np.linspace(-0.09, 0.09, lags.size) if lags.size > 1 else np.zeros(1)
                label = name if place == 0 else None
                axis.plot(
                    place + 0.25 * (k - 1) + aside, lags, marker, ms=4, alpha=0.7, color=f"C{k}",
                    label=label,
                )  # fmt: skip
                median = np.median(lags)
                axis.hlines(median, place + 0.25 * k - 0.36, place + 0.25 * k - 0.14, color=f"C{k}")
        axis.axhline(0, color="0.6", lw=0.8)
        axis.set_xticks(range(len(stages)), [stage.upper() for stage in stages])
        axis.set_title(f"camera date less {event}")
    axes[0].set_ylabel("days")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real excerpts")
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs.csv")
    parser.add_argument("--figure", type=Path, help="picture to draw")
    options = parser.parse_args()
    print("tables of Mead that name another crop than the camera of their number shows:")
    for camera, year, table, seen in contradictions(options.data):
        print(f"  {camera} {year}: table {table}, camera {seen}")
    for number in (2, 3):
        print(f"largest difference of table {number} to table 1: "
              f"{largest_difference(options.data, number):.0f} days")  # fmt: skip
    pairs = mead_pairs(options.data) + watched_pairs(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    head = ["source", "camera", "year", "crop", "stage", "camera_day", "compared_with", "lag"]
    rows = [
        [p.source, p.camera, p.year, p.ground.crop, stage, p.day[stage], event, p.lag(stage)]
        for p in pairs
        for stage, event in COMPARED.items()
        if np.isfinite(p.lag(stage))
    ]
    write_csv(options.out / "pairs.csv", head, rows)
    print("| source | crop | camera date | set beside | site-years | median | mean ± s.d. |")
    print("|---|---|---|---|--:|--:|--:|")
    for row in summary(pairs):
        print(f"| {row[0]} | {row[1]} {cells(row)}")
    print("| state | stage | notes | 10 % | median | 90 % |")
    for state, stage, number, *days in wheat_calendar(options.data):
        print(f"| {state} | {stage} | {number} | "
              + " | ".join(f"{day.day} {day:%B}" for day in days) + " |")  # fmt: skip
    if options.figure:
        draw(pairs, options.figure)


if __name__ == "__main__":
    main()
