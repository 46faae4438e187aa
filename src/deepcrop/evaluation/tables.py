"""Score tables: those of the paper, and ours, each as CSV for machines and Markdown for people."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepcrop.evaluation.scores import ALL, METRICS, NEAR_DATE, Entry, Score, mean, score, spread
from deepcrop.stages import STAGES
from deepcrop.storage.files import atomic_file

SIMULATED, REAL = "simulated pixels, real camera labels", "real pixels, real camera labels"
"""What every title says of its data."""

IMAGES = ((0, 2), (3, 5), (6, 8), (9, 11), (12, 999))
"""Bins of clear optical observations near a date, both ends included."""


class Spread(NamedTuple):
    """A number, and its standard deviation over seeds."""

    mean: float
    deviation: float


Cell = str | int | float | Spread


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        Of its files.
    title, note : str
        Above and below it.
    columns : tuple of str
    rows : list of tuple
        A cell of a column is text, or a number, or a number with its spread.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    note: str = ""


def kind(simulated: bool) -> str:
    """Say what the data are."""
    return SIMULATED if simulated else REAL


# The paper's tables ------------------------------------------------------------------------------

_UPPER = tuple(name.upper() for name in STAGES)
_ERRORS = "Mean absolute error in days against continuous camera dates, main season"
_SEEDS = "± is the standard deviation over seeds."


def by_site(entries: Iterable[Entry], sites: Sequence[str]) -> Table:
    """Table 2: error of each method by site and stage, and the mean of the sites."""
    rows: list[tuple[Cell, ...]] = []
    for entry in entries:
        each = [entry.part(entry.truth.site == site) for site in sites]
        scored = {
            site: score(part) for site, part in zip(sites, each, strict=True) if len(part.truth)
        }
        for site, scores in scored.items():
            first = scores[0]
            found = Spread(scores[-1].mean.detected, scores[-1].spread.detected)
            rows.append(
                (entry.method, site, first.site_years, *_maes(scores[:-1]), _percent(found))
            )
        rows.append((entry.method, "mean of sites", len(scored), *_site_means(each), math.nan))
        every = score(entry.part(np.isin(entry.truth.site, sites)))
        rows.append(
            (entry.method, "all site-years", every[0].site_years, *_maes(every[:-1]),
             _percent(Spread(every[-1].mean.detected, every[-1].spread.detected)))
        )  # fmt: skip
    return Table(
        "table2_sites",
        "Table 2. Error by site and stage",
        ("method", "site", "site-years", *_UPPER, "detected, %"),
        rows,
        f"{_ERRORS}. {_SEEDS} In the row of the mean, the number is that of sites.",
    )


def _site_means(parts: Sequence[Entry]) -> list[Spread]:
    """Of each stage the mean over sites of the error, and its spread over seeds."""
    parts = [part for part in parts if len(part.truth)]
    cells = []
    for k in range(len(STAGES)):
        of_seed = []
        for run in range(len(parts[0].runs)):
            alone = [Entry(part.method, part.truth, [part.runs[run]]) for part in parts]
            of_seed.append(mean([score(one)[k].mean.mae for one in alone]))
        cells.append(Spread(mean(of_seed), spread(of_seed)))
    return cells


def differences(entries: Sequence[Entry], site: str, name: str, title: str) -> Table:
    """Tables 3 and 4: answer minus camera of each site-year of a site, by stage and method."""
    truth = entries[0].truth
    rows: list[tuple[Cell, ...]] = []
    for one in np.unique(truth.site_year[truth.site == site]):
        at = truth.site_year == one
        crop = str(truth.crop[at][0])
        for k, stage in enumerate(_UPPER):
            date = truth.day[at, 0, k][0]
            cells: list[Cell] = []
            for entry in entries:
                here = entry.truth.site_year == one
                errors = [run.day[here, 0, k] - entry.truth.day[here, 0, k] for run in entry.runs]
                cells.append(Spread(mean(errors), spread([mean(error) for error in errors])))
            rows.append((str(one), int(truth.year[at][0]), crop, stage, date, *cells))
    return Table(
        name,
        f"{title}. Differences at {site}",
        ("site-year", "year", "crop", "stage", "camera", *(entry.method for entry in entries)),
        rows,
        "Answer minus camera in days, main season; camera in days since 1 January. Mean over "
        f"seeds and simulations; {_SEEDS}",
    )


def comparison(entries: Iterable[Entry], name: str, title: str, site: str | None = None) -> Table:
    """Table 5 and the optical-only comparison: error of some methods by stage, at a site or all."""
    rows: list[tuple[Cell, ...]] = []
    for entry in entries:
        part = entry if site is None else entry.part(entry.truth.site == site)
        if scores := score(part) if len(part.truth) else []:
            found = Spread(scores[-1].mean.detected, scores[-1].spread.detected)
            rows.append((entry.method, scores[-1].site_years, *_maes(scores), _percent(found)))
    return Table(
        name,
        f"{title}{f' at {site}' if site else ''}",
        ("method", "site-years", *_UPPER, "all", "detected, %"),
        rows,
        f"{_ERRORS}. {_SEEDS}",
    )


def _maes(scores: Iterable[Score]) -> list[Spread]:
    return [Spread(one.mean.mae, one.spread.mae) for one in scores]


def _percent(share: Spread) -> Spread:
    return Spread(100 * share.mean, 100 * share.deviation)


# Ours --------------------------------------------------------------------------------------------


def everything(entries: Iterable[Entry]) -> Table:
    """All metrics of all methods, of both seasons."""
    scores = [one for entry in entries for season in (1, 2) for one in score(entry, season=season)]
    return _full("scores", "All scores", scores)


def by_crop(entries: Iterable[Entry]) -> Table:
    """All metrics by crop, main season."""
    scores = [
        one
        for entry in entries
        for crop in np.unique(entry.truth.crop)
        for one in score(entry, str(crop), entry.truth.crop == crop)
    ]
    return _full("by_crop", "Scores by crop", scores)


def by_images(entries: Iterable[Entry]) -> Table:
    """All metrics by the number of clear optical observations near the date, main season."""
    scores = [one for entry in entries for _, some in of_images(entry) for one in some]
    return _full(
        "by_images",
        f"Scores by the number of clear optical images within {NEAR_DATE:.0f} days of the date",
        scores,
    )


def of_images(entry: Entry) -> Iterator[tuple[tuple[int, int], list[Score]]]:
    """Scores of the main season in each bin of `IMAGES`."""
    for least, most in IMAGES:
        here = (entry.truth.clear >= least) & (entry.truth.clear <= most)
        group = f"{least}-{most} images" if most < 999 else f"{least} images or more"
        yield (least, most), score(entry, group, here)


def by_cluster(entries: Iterable[Entry], folds: int) -> Table:
    """All metrics where every cluster of sites was once left out, together and by cluster."""
    scores: list[Score] = []
    for entry in entries:
        scores += [one for season in (1, 2) for one in score(entry, season=season)]
        for cluster in np.unique(entry.truth.cluster):
            scores += score(entry, f"cluster {cluster}", entry.truth.cluster == cluster)
    return _full("clusters", f"Clusters of sites left out in turn, {folds} folds", scores)


_SHOWN = {
    "detected": "detected, %",
    "mae": "MAE",
    "median": "median",
    "bias": "bias",
    "rmse": "RMSE",
    "p90": "P90",
    "coverage": "coverage, %",
    "width": "width",
    "false": "false, %",
    "crossed": "crossed, %",
    "mae_paired": "MAE paired",
    "mae_snapped": "MAE snapped",
}  # in the order of METRICS


def _full(name: str, title: str, scores: Sequence[Score]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in scores:
        cells = []
        for metric in METRICS:
            cell = Spread(getattr(one.mean, metric), getattr(one.spread, metric))
            cells.append(_percent(cell) if _SHOWN[metric].endswith("%") else cell)
        rows.append(
            (one.method, one.group, one.season, one.stage.upper() if one.stage != ALL else ALL,
             one.site_years, one.dates, one.absent, one.seeds, *cells)
        )  # fmt: skip
    return Table(
        name,
        title,
        ("method", "group", "season", "stage", "site-years", "dates", "no event", "seeds",
         *_SHOWN.values()),
        rows,
        "Days, against continuous camera dates. detected: share of the camera's dates that have an "
        "answer, all errors are of these. coverage, width: of the 90 % interval. false: share of "
        "the events known not to be that were reported. crossed: share of dates whose sample has "
        "main and second season exchanged; MAE paired: with seasons paired by the time they share. "
        f"MAE snapped: against the date of the nearest image. {_SEEDS}",
    )  # fmt: skip


# Files -------------------------------------------------------------------------------------------


def write(tables: Iterable[Table], folder: Path, simulated: bool) -> None:
    """Write each table as ``<name>.csv`` and ``<name>.md``; both say what the data are."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        with atomic_file(folder / f"{table.name}.md") as part:
            part.write_text(markdown(table, simulated), encoding="utf-8")
        with (
            atomic_file(folder / f"{table.name}.csv") as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows(_csv(table, simulated))


def markdown(table: Table, simulated: bool) -> str:
    """Return a table as Markdown, its title in bold above it."""
    texts = [table.columns, *([shown(cell) for cell in row] for row in table.rows)]
    right = [
        bool(table.rows) and not isinstance(table.rows[0][k], str)
        for k in range(len(table.columns))
    ]
    lines = [" | ".join(row) for row in texts]
    lines.insert(1, " | ".join("--:" if one else "---" for one in right))
    body = "\n".join(f"| {line} |" for line in lines)
    if not table.rows:
        body = "Nothing to show."
    return f"**{table.title}: {kind(simulated)}**\n\n{body}\n\n{table.note}\n"


def shown(cell: Cell) -> str:
    """Return a cell as people read it."""
    if isinstance(cell, Spread):
        whole = shown(cell.mean)
        return f"{whole} ± {cell.deviation:.1f}" if math.isfinite(cell.deviation) else whole
    if isinstance(cell, float):
        return f"{cell:.1f}" if math.isfinite(cell) else "–"
    return str(cell)


def _csv(table: Table, simulated: bool) -> Iterator[list[str]]:
    """Rows of a CSV; a column with spreads becomes two."""
    two = [any(isinstance(row[k], Spread) for row in table.rows) for k in range(len(table.columns))]
    head = ["data"]
    for name, wide in zip(table.columns, two, strict=True):
        head += [name, f"{name} sd"] if wide else [name]
    yield head
    for row in table.rows:
        line = [kind(simulated)]
        for cell, wide in zip(row, two, strict=True):
            parts = cell if isinstance(cell, Spread) else (cell, math.nan)
            line += [_exact(part) for part in parts[: 1 + wide]]
        yield line


def _exact(cell: str | int | float) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if math.isfinite(cell) else ""
    return str(cell)


def report(tables: Iterable[Table], figures: Mapping[str, str], head: str, simulated: bool) -> str:
    """Return all tables and figures as one page of Markdown; ``figures`` are titles by file."""
    parts = [f"# Scores: {kind(simulated)}", head]
    parts += [markdown(table, simulated) for table in tables]
    parts += [
        f"**{title}: {kind(simulated)}**\n\n![{title}]({file})\n" for file, title in figures.items()
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
