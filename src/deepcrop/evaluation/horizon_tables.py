"""Tables and a figure of scores by horizon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.evaluation.date_found import CLOSE, advance, day_found
from deepcrop.evaluation.horizon_baselines import CROP_CALENDAR, LAST_YEAR
from deepcrop.evaluation.horizons import ALLOWED, COVERAGE, score_bin
from deepcrop.evaluation.scores import mean_of_finite, summarize_errors
from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import COMPARED_COLOURS, GRID, METHOD_COLOURS, OTHER_CLASS
from deepcrop.report.tables import Table
from deepcrop.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deepcrop.evaluation.horizons import Forecasts, HorizonScore
    from deepcrop.report.tables import Cell

CURVE, WITH, WITHOUT = "NDVI curve, calibrated", "network with radar", "network without radar"
ONE_SENSOR = "network"
"""Names of the methods that read satellite images; the last reads one sensor only."""

COLOURS = {
    CURVE: METHOD_COLOURS["curve"],
    WITH: METHOD_COLOURS["deepcrop"],
    WITHOUT: METHOD_COLOURS["deepcrop without radar"],
    CROP_CALENDAR: INK,
    LAST_YEAR: OTHER_CLASS,
}
"""Lines of the figure by method."""

LARGEST_ERROR = 60.0
"""Days at the top of the figure's errors; the curve takes other seasons for the main one."""

FAR = 30.0
"""Days of error from which on a date is taken for one of another season."""

LEAST_DATES = 5
"""Error and coverage of fewer site-years than this are not drawn."""

_COLUMNS = (
    "site-years", "known, %", "observed, %", "MAE", "median", "bias", "coverage, %", "least, %",
    "most, %", "width",
)  # fmt: skip
_NOTE = (
    "Errors and widths in days, of the dates that are known: observed or forecast, as a map with "
    "--until reports them. Coverage and median width are of the 90 % interval; least and most are "
    "the binomial 95 % limits of the coverage of right intervals at that number of site-years."
)


def by_stage(scores: Sequence[HorizonScore], name: str = "horizons") -> list[Table]:
    """Make a table of each stage, by days since the event and method."""
    tables = []
    for stage in STAGES:
        here = [score for score in scores if score.stage == stage]
        # By horizon first, so that methods stand under each other.
        order = list(dict.fromkeys(score.horizon for score in here))
        here.sort(key=lambda score: order.index(score.horizon))
        tables.append(
            Table(
                f"{stage.upper()} by days since the event",
                ("days since", "method", *_COLUMNS),
                [(score.horizon, score.method, *_cells(score)) for score in here],
                _NOTE,
                name=f"{name}_{stage}",
                text_columns=2,
            )
        )
    return tables


def at_peak(methods: Sequence[Forecasts], first: str) -> Table:
    """Make the table of EOS50, forecast at the peak.

    The methods know different dates, and easy dates sooner than hard ones. So they are also
    compared on the dates that the method ``first`` knows.
    """
    (compared,) = (found for found in methods if found.method == first)
    known = np.isfinite(compared.error)
    rows: list[tuple[Cell, ...]] = []
    for found in methods:
        common = summarize_errors(found.error[known])
        cells = _cells(score_bin(found, "eos50", "at the peak"))
        rows.append((found.method, *cells, common.mae, 100 * common.detected))
    return Table(
        "EOS50 with observations up to the camera's peak",
        ("method", *_COLUMNS, "MAE in common", "known in common, %"),
        rows,
        f"{_NOTE} In common: of the dates that the {first} knows.",
        name="eos50_at_peak",
    )


def by_site(found: Forecasts, stage: str, horizons: Sequence[int]) -> Table:
    """Make a table by site, some days after the event: it shows where seasons are mixed up."""
    rows: list[tuple[Cell, ...]] = []
    for horizon in horizons:
        of_stage = found.stage == STAGES.index(stage)
        here = found.where(of_stage & (np.abs(found.horizon - horizon) < 0.5))
        for site in np.unique(here.site):
            of_site = here.where(here.site == site)
            errors = summarize_errors(of_site.error)
            far = np.abs(of_site.error[np.isfinite(of_site.error)]) > FAR
            units = len(np.unique(of_site.unit))
            shares = (100 * errors.detected, 100 * mean_of_finite(far))
            rows.append((f"{horizon:+d}", str(site), units, *shares, errors.mae, errors.median))
    return Table(
        f"{stage.upper()} by site, {found.method}",
        ("days since", "site", "site-years", "known, %", "far off, %", "MAE", "median"),
        rows,
        f"Errors in days, of the dates that are known. Far off: by more than {FAR:.0f} days, "
        "mostly the date of another season.",
        name=f"{stage}_by_site",
        text_columns=2,
    )


def _cells(score: HorizonScore) -> tuple[Cell, ...]:
    shares = (score.coverage, score.least, score.most)
    return (
        score.units, 100 * score.known, 100 * score.observed, score.mae, score.median, score.bias,
        *(100 * share for share in shares), score.width,
    )  # fmt: skip


def radar(first: Forecasts, second: Forecasts, never: float) -> Table:
    """Make the table that says by how many days radar brings SOS50 forward."""
    rows: list[tuple[Cell, ...]] = []
    for found in (first, second):
        days = day_found(found, never)
        there = days < never
        median = float(np.median(days)) if np.median(days) < never else math.nan
        rows.append(
            (found.method, len(days), 100 * float(there.mean()), float(days.mean()), median)
        )
    gain = advance(first, second, never)
    sure = gain.high < 0
    return Table(
        f"Day from which on SOS50 is known to within {CLOSE:.0f} days",
        ("method", "samples", "found, %", "mean day", "median day"),
        rows,
        f"Days after the event; not found until the last cut-off day counts as {never:.0f}. "
        f"Does radar bring it forward? {'Yes' if sure else 'No'}: with radar {gain.days:+.1f} days "
        f"(95 % interval {gain.low:+.1f} to {gain.high:+.1f}, bootstrap over sites); sooner in "
        f"{100 * gain.sooner:.0f} %, later in {100 * gain.later:.0f} % of the samples.",
        name="radar_sos50",
    )


def draw(scores: Sequence[HorizonScore], data: str, simulated: bool) -> Figure:
    """Draw share known, error and coverage against days since the event, by stage and method."""
    width, height, room = 1.9, 1.35, 0.3
    methods = list(dict.fromkeys(score.method for score in scores))
    rows = ("known, %", "mean absolute error, days", "inside the 90 % interval, %")
    page = Page(
        0.4 + 4 * (width + room), 3 * (height + room) + 0.55, 0, "Dates in season, by horizon",
        f"Observations up to a number of days after the event (negative: before it); {data}. "
        "Errors are of the dates that are known; those above the frame are in the tables.",
        simulated,
    )  # fmt: skip
    axes: dict[tuple[int, int], Axes] = {}
    for column, stage in enumerate(STAGES):
        for row, label in enumerate(rows):
            left = page.left + 0.4 + column * (width + room)
            chart = page.chart(
                left, page.bottom + 0.75 + (2 - row) * (height + room), width, height
            )
            axes[row, column] = chart
            chart.grid(color=GRID, linewidth=0.6)
            chart.axvline(0, color=INK, lw=0.6)
            for number, method in enumerate(methods):
                here = [s for s in scores if (s.stage, s.method) == (stage, method)]
                _draw_line(chart, row, here, method, number)
            chart.set_ylim(0, LARGEST_ERROR if row == 1 else 102)
            if row == 0:
                chart.set_title(stage.upper(), fontsize=8.5, color=INK, pad=3)
            if row == 2:
                chart.axhspan(*(100 * share for share in ALLOWED), color=GRID, lw=0, zorder=0)
                chart.set_xlabel("days since the event", fontsize=7.5, color=INK)
            if column == 0:
                chart.set_ylabel(label, fontsize=7.5, color=INK)
    page.figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower left", ncols=5,
                       fontsize=7, frameon=False,
                       bbox_to_anchor=(page.left / page.width, 0.02))  # fmt: skip
    return page.figure


def _draw_line(
    chart: Axes, row: int, scores: Sequence[HorizonScore], method: str, number: int
) -> None:
    # Errors and coverage of a handful of dates would only make the lines jump.
    drawn = [s for s in scores if row == 0 or s.known * s.units >= LEAST_DATES]
    days = [float(score.horizon) for score in drawn]
    values = [(100 * s.known, s.mae, 100 * s.coverage)[row] for s in drawn]
    colour = COLOURS.get(method, COMPARED_COLOURS[number % len(COMPARED_COLOURS)])
    chart.plot(days, values, "o-", ms=2.5, lw=1, color=colour, label=method)


def coverage_verdict(scores: Sequence[HorizonScore], method: str) -> str:
    """Say in how many bins the intervals of a method contain what they should."""
    bins = [s for s in scores if s.method == method and math.isfinite(s.coverage)]
    right = sum(score.calibrated for score in bins)
    return (
        f"{method}: coverage in {right} of {len(bins)} bins between {100 * ALLOWED[0]:.0f} and "
        f"{100 * ALLOWED[1]:.0f} % or not significantly different from {100 * COVERAGE:.0f} %."
    )
