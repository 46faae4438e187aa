"""Make score tables: those of the paper, and further ones with every metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.evaluation.scores import (
    ALL,
    METRICS,
    NEAR_DATE,
    MethodResult,
    Score,
    deviation_of_finite,
    mean_of_finite,
    score,
)
from deepcrop.report.tables import Cell, Spread, Table
from deepcrop.stages import STAGES
from deepcrop.storage.files import atomic_file, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

SIMULATED, REAL = "simulated pixels, real camera labels", "real pixels, real camera labels"
"""Which data a table is of; every title contains it."""

NO_LIMIT = 999

IMAGE_BINS = ((0, 2), (3, 5), (6, 8), (9, 11), (12, NO_LIMIT))
"""Bins of the number of clear optical observations near a date, both ends included."""


def data_kind(simulated: bool) -> str:
    """Return which data a table is of."""
    return SIMULATED if simulated else REAL


# The paper's tables ------------------------------------------------------------------------------

_UPPER = tuple(name.upper() for name in STAGES)
_ERRORS = "Mean absolute error in days against continuous camera dates, main season"
_SEEDS = "± is the standard deviation over seeds."


def by_site(results: Iterable[MethodResult], sites: Sequence[str]) -> Table:
    """Table 2: error of each method by site and stage, and the mean of the sites."""
    rows: list[tuple[Cell, ...]] = []
    for result in results:
        at_site = {site: result.subset(result.reference.site == site) for site in sites}
        # A site without a sample has no row and does not count in the mean.
        at_site = {site: part for site, part in at_site.items() if len(part.reference)}
        for site, part in at_site.items():
            scores = score(part)
            rows.append(
                (result.method, site, scores[0].site_years, *_maes(scores[:-1]),
                 _detected(scores[-1]))
            )  # fmt: skip
        # Two kinds of mean: each site counts the same, or each date does.
        means = _site_means(list(at_site.values()))
        rows.append((result.method, "mean of sites", len(at_site), *means, math.nan))
        scores = score(result.subset(np.isin(result.reference.site, sites)))
        rows.append(
            (result.method, "all site-years", scores[0].site_years, *_maes(scores[:-1]),
             _detected(scores[-1]))
        )  # fmt: skip
    return Table(
        "Table 2. Error by site and stage",
        ("method", "site", "site-years", *_UPPER, "detected, %"),
        rows,
        f"{_ERRORS}. {_SEEDS} In the row of the mean, the number is that of sites.",
        name="table2_sites",
        text_columns=2,
    )


def _site_means(parts: Sequence[MethodResult]) -> list[Spread]:
    """Mean over sites of the error of each stage, and its spread over seeds."""
    cells = []
    for k in range(len(STAGES)):
        by_seed = []
        for run in range(len(parts[0].runs)):
            single = [MethodResult(part.method, part.reference, [part.runs[run]]) for part in parts]
            by_seed.append(mean_of_finite([score(part)[k].mean.mae for part in single]))
        cells.append(Spread(mean_of_finite(by_seed), deviation_of_finite(by_seed)))
    return cells


def differences(results: Sequence[MethodResult], site: str, name: str, title: str) -> Table:
    """Tables 3 and 4: prediction minus camera of each site-year of a site, by stage and method."""
    reference = results[0].reference
    rows: list[tuple[Cell, ...]] = []
    for site_year in np.unique(reference.site_year[reference.site == site]):
        at = reference.site_year == site_year
        crop = str(reference.crop[at][0])
        for k, stage in enumerate(_UPPER):
            date = reference.day[at, 0, k][0]
            cells: list[Cell] = []
            for result in results:
                here = result.reference.site_year == site_year
                errors = [
                    run.day[here, 0, k] - result.reference.day[here, 0, k] for run in result.runs
                ]
                by_seed = [mean_of_finite(error) for error in errors]
                cells.append(Spread(mean_of_finite(errors), deviation_of_finite(by_seed)))
            rows.append((str(site_year), int(reference.year[at][0]), crop, stage, date, *cells))
    return Table(
        f"{title}. Differences at {site}",
        ("site-year", "year", "crop", "stage", "camera", *(result.method for result in results)),
        rows,
        "Prediction minus camera in days, main season; camera in days since 1 January. Mean over "
        f"seeds and simulations; {_SEEDS}",
        name=name,
    )


def comparison(
    results: Iterable[MethodResult], name: str, title: str, site: str | None = None
) -> Table:
    """Table 5 and the optical-only comparison: error of methods by stage, at a site or all."""
    rows: list[tuple[Cell, ...]] = []
    for result in results:
        part = result if site is None else result.subset(result.reference.site == site)
        if scores := score(part) if len(part.reference) else []:
            rows.append(
                (result.method, scores[-1].site_years, *_maes(scores), _detected(scores[-1]))
            )
    return Table(
        f"{title}{f' at {site}' if site else ''}",
        ("method", "site-years", *_UPPER, "all", "detected, %"),
        rows,
        f"{_ERRORS}. {_SEEDS}",
        name=name,
    )


def _maes(scores: Iterable[Score]) -> list[Spread]:
    return [Spread(row.mean.mae, row.spread.mae) for row in scores]


def _detected(row: Score) -> Spread:
    return _percent(Spread(row.mean.detected, row.spread.detected))


def _percent(share: Spread) -> Spread:
    return Spread(100 * share.mean, 100 * share.deviation)


# Tables of all metrics ---------------------------------------------------------------------------


def all_scores(results: Iterable[MethodResult]) -> Table:
    """All metrics of all methods, of both seasons."""
    rows = [row for result in results for season in (1, 2) for row in score(result, season=season)]
    return _metrics_table("scores", "All scores", rows)


def by_crop(results: Iterable[MethodResult]) -> Table:
    """All metrics by crop, main season."""
    rows = [
        row
        for result in results
        for crop in np.unique(result.reference.crop)
        for row in score(result, str(crop), result.reference.crop == crop)
    ]
    return _metrics_table("by_crop", "Scores by crop", rows)


def by_images(results: Iterable[MethodResult]) -> Table:
    """All metrics by the number of clear optical observations near the date, main season."""
    rows = [row for result in results for _, scores in scores_by_images(result) for row in scores]
    return _metrics_table(
        "by_images",
        f"Scores by the number of clear optical images within {NEAR_DATE:.0f} days of the date",
        rows,
    )


def scores_by_images(result: MethodResult) -> Iterator[tuple[tuple[int, int], list[Score]]]:
    """Scores of the main season in each bin of `IMAGE_BINS`."""
    clear = result.reference.clear
    for least, most in IMAGE_BINS:
        # Bins are of dates, not of samples: each date has its own number of images nearby.
        group = f"{least}-{most} images" if most < NO_LIMIT else f"{least} images or more"
        yield (least, most), score(result, group, (clear >= least) & (clear <= most))


def by_cluster(results: Iterable[MethodResult], folds: int) -> Table:
    """All metrics where every cluster of sites was left out once, together and by cluster."""
    rows: list[Score] = []
    for result in results:
        rows += [row for season in (1, 2) for row in score(result, season=season)]
        for cluster in np.unique(result.reference.cluster):
            rows += score(result, f"cluster {cluster}", result.reference.cluster == cluster)
    return _metrics_table("clusters", f"Clusters of sites left out in turn, {folds} folds", rows)


_HEADINGS = {
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


def _metrics_table(name: str, title: str, scores: Sequence[Score]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for row in scores:
        cells = []
        for metric in METRICS:
            cell = Spread(getattr(row.mean, metric), getattr(row.spread, metric))
            cells.append(_percent(cell) if _HEADINGS[metric].endswith("%") else cell)
        stage = row.stage if row.stage == ALL else row.stage.upper()
        rows.append(
            (row.method, row.group, row.season, stage, row.site_years, row.dates, row.absent,
             row.seeds, *cells)
        )  # fmt: skip
    return Table(
        title,
        ("method", "group", "season", "stage", "site-years", "dates", "no event", "seeds",
         *_HEADINGS.values()),
        rows,
        "Days, against continuous camera dates. detected: share of the camera's dates that have a "
        "prediction, all errors are of these. coverage, width: of the 90 % interval. false: share "
        "of the events known to be absent that were predicted. crossed: share of dates whose "
        "sample has main and second season exchanged; MAE paired: with seasons paired by the time "
        f"they share. MAE snapped: against the date of the nearest image. {_SEEDS}",
        name=name,
        text_columns=2,
    )  # fmt: skip


# Files -------------------------------------------------------------------------------------------


def write_tables(tables: Iterable[Table], folder: Path, simulated: bool) -> None:
    """Write each table as ``<name>.csv`` and ``<name>.md``; both name the kind of data."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        with atomic_file(folder / f"{table.name}.md") as part:
            part.write_text(table.to_markdown(data_kind(simulated)), encoding="utf-8")
        header, *rows = table.to_csv(data_kind(simulated))
        write_csv(folder / f"{table.name}.csv", header, rows)


def markdown_report(
    tables: Iterable[Table], figures: Mapping[str, str], head: str, simulated: bool
) -> str:
    """Return all tables and figures as one page of Markdown; ``figures`` are titles by file."""
    data = data_kind(simulated)
    parts = [f"# Scores: {data}", head]
    parts += [table.to_markdown(data) for table in tables]
    parts += [f"**{title}: {data}**\n\n![{title}]({file})\n" for file, title in figures.items()]
    return "\n\n".join(part.strip() for part in parts) + "\n"
