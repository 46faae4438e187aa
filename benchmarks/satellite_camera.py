"""Season dates of a satellite's curve against a camera's, real data: one table.

    python benchmarks/satellite_camera.py [FOLDER] [--smoother NAME] [--verbose] [--out TABLE.md]

Daily gap-filled EVI of the field (HLS, 30 m) and daily GCC of the camera in it, 30 site-years of US
maize and soya in 2021 and 2022 (doi 10.34133/remotesensing.0878). Both curves go through the same
engine under its presets; nothing is tuned here. FOLDER holds
``hls_camera/gcc_evi_daily_2021_2022.csv``; by default $DEEPCROP_REAL_DATA or ../shared/data.

A camera's season is the one of largest amplitude; the satellite's is the one that overlaps it
longest. A stage that the camera dates and the satellite does not is not found: series begin and end
where they do, often in the season, and a date that no observation supports is none.

The offset corrects what one sensor always sees later than the other: per stage, the median (or
mean) lag of all other sites. Years and neighbouring cameras of a site are left out with it.
"""

import argparse
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

import deepcrop
from deepcrop.evaluation.scores import ErrorSummary, summarize_errors
from deepcrop.indices import INDICES
from deepcrop.phenology import SeasonRule, extract
from deepcrop.report.tables import Table, percent_text
from deepcrop.stages import STAGES

FILE = Path("hls_camera") / "gcc_evi_daily_2021_2022.csv"
DROPPED = {"mandani2_2021": "known slip: its stages carry dates of 2022"}
SIBLINGS = {"goodwaterbau": "goodwater"}
"""Cameras that share a site but not the name before their number."""

CAMERA = {"preset": "phenocam", "rule": SeasonRule(min_amplitude=INDICES["gcc"][2])}
SATELLITE = {"preset": "sentinel2"}


def load(path: Path) -> dict[str, pd.DataFrame]:
    """Camera GCC and satellite EVI by site-year, over dates in order."""
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; give the folder of the real data.")
    table = pd.read_csv(path)
    table.index = pd.to_datetime(table["date"], format="%m/%d/%Y")
    return {
        name: rows.sort_index()[["gcc_mean", "evi"]]
        for name, rows in table.groupby("source_file")
        if name not in DROPPED
    }


def site_of(site_year: str) -> str:
    """Name without year and number of the camera: neighbours count as one site."""
    camera = re.sub(r"_\d{4}$", "", site_year)
    return SIBLINGS.get(camera, re.sub(r"\d+$", "", camera))


def compare(series: pd.DataFrame, smoother: str) -> dict[str, pd.Series]:
    """Dates of one site-year's main season as the camera and as the satellite see it."""
    camera = extract(series["gcc_mean"], smoother=smoother, **CAMERA)
    satellite = extract(series["evi"], smoother=smoother, **SATELLITE)
    nothing = pd.Series(pd.NaT, [*STAGES, "peak"])
    if camera.empty:
        return {"camera": nothing, "satellite": nothing}
    season = camera.loc[camera["amplitude"].idxmax()]
    first, last = extent(season)
    overlap = [(min(last, b) - max(first, a)).days for a, b in map(extent, rows(satellite))]
    if not overlap or max(overlap) <= 0:
        return {"camera": season, "satellite": nothing}
    return {"camera": season, "satellite": satellite.iloc[int(np.argmax(overlap))]}


def rows(table: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in table.iterrows()]


def extent(season: pd.Series) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last known date of a season."""
    known = pd.to_datetime(season[["sos20", "sos50", "peak", "eos50", "eos20"]]).dropna()
    return known.min(), known.max()


def lags(found: dict[str, dict[str, pd.Series]]) -> pd.DataFrame:
    """Days that the satellite is later, by site-year and stage; NaN where either has no date."""
    return pd.DataFrame(
        {
            name: {
                stage: (both["satellite"][stage] - both["camera"][stage]) / pd.Timedelta(days=1)
                for stage in STAGES
            }
            for name, both in found.items()
        }
    ).T.astype(float)


def corrected(lag: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Lags less the median or mean lag of the other sites."""
    sites = lag.index.map(site_of)
    offset = {name: lag[sites != site_of(name)].agg(kind) for name in lag.index}
    return lag - pd.DataFrame(offset).T


def scores(found: dict[str, dict[str, pd.Series]]) -> dict[tuple[str, str], ErrorSummary]:
    """Score every stage, as it is and with either offset, by correction and stage."""
    lag = lags(found)
    tables = {"none": lag} | {kind: corrected(lag, kind) for kind in ("median", "mean")}
    result = {}
    for correction, table in tables.items():
        for stage in STAGES:
            # Only dates of the camera can be found by the satellite.
            dated = [name for name, both in found.items() if pd.notna(both["camera"][stage])]
            result[correction, stage] = summarize_errors(table.loc[dated, stage])
    return result


def markdown(result: dict[tuple[str, str], ErrorSummary]) -> str:
    """Table of the scores."""
    rows = [
        (correction, stage, s.references, percent_text(s.detected), s.mae, f"{s.bias:+.1f}",
         s.median)
        for (correction, stage), s in result.items()
    ]  # fmt: skip
    columns = ("offset", "stage", "camera dates", "found", "MAE", "bias", "median")
    title = "Satellite against camera; positive bias: the satellite is later"
    return Table(title, columns, rows).to_markdown()


def details(found: dict[str, dict[str, pd.Series]]) -> str:
    """Day of the year of the camera's date and lag of the satellite, by site-year."""
    lag = lags(found)
    lines = [f"{'site-year':32}" + "".join(f"{stage:>14}" for stage in STAGES)]
    for name, both in found.items():
        cells = []
        for stage in STAGES:
            date, late = both["camera"][stage], lag.loc[name, stage]
            seen = "-" if pd.isna(date) else f"{date.day_of_year}"
            cells.append(f"{seen:>7}" + ("      -" if np.isnan(late) else f"{late:+7.1f}"))
        lines.append(f"{name:32}" + "".join(cells))
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("DEEPCROP_REAL_DATA", "../shared/data")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default))
    parser.add_argument("--smoother", default="savgol")
    parser.add_argument("--verbose", action="store_true", help="print every site-year")
    parser.add_argument("--out", type=Path, help="write the table as Markdown")
    options = parser.parse_args(arguments)
    series = load(options.folder / FILE)
    found = {name: compare(table, options.smoother) for name, table in series.items()}
    sites = len({site_of(name) for name in found})
    head = (
        f"Season dates of HLS EVI against the camera's GCC, days: {len(found)} site-years at "
        f"{sites} sites, smoother {options.smoother}, deepcrop {deepcrop.__version__}. "
        f"Left out: {', '.join(f'{name} ({why})' for name, why in DROPPED.items())}. "
        "Offset: the lag of the other sites, taken off.\n"
    )
    if options.verbose:
        print(details(found))
    text = f"{head}\n{markdown(scores(found))}"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
