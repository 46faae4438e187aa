"""Draw scores: errors by stage and method, predictions against cameras, errors by images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from deepcrop.evaluation.scores import NEAR_DATE, MethodResult, score
from deepcrop.evaluation.tables import NO_LIMIT, data_kind, scores_by_images
from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import COMPARED_COLOURS, GRID, STAGE_COLOURS
from deepcrop.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_PANEL = 1.9  # inches: width of a panel
_NAMES = 2.3  # inches: room for the names of methods


def draw_errors(results: Sequence[MethodResult], title: str) -> Figure:
    """Draw the mean absolute error of each method by stage; small points are seeds."""
    height = 0.24 * len(results) + 0.1
    page = _page(
        _NAMES + 4 * (_PANEL + 0.15), height + 0.75, "Error by stage and method", title, results
    )
    scored = [score(result) for result in results]
    largest = np.nanmax([row.mean.mae for rows in scored for row in rows])
    for k, stage in enumerate(STAGES):
        left = page.left + _NAMES + k * (_PANEL + 0.15)
        axes = page.chart(left, page.bottom + 0.55, _PANEL, height)
        axes.set_title(stage.upper(), fontsize=8.5, color=INK, pad=3)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        for row, (result, rows) in enumerate(zip(results, scored, strict=True)):
            colour = _colour(row)
            seeds = [
                score(MethodResult(result.method, result.reference, [run]))[k]
                for run in result.runs
            ]
            axes.plot([seed.mean.mae for seed in seeds], [row] * len(seeds), "o", ms=2.5,
                      color=colour, alpha=0.5, mew=0)  # fmt: skip
            axes.plot(rows[k].mean.mae, row, "D", ms=5, color=colour, mew=0)
            if k == 0:
                y = page.bottom + 0.55 + height * (len(results) - row - 0.5) / len(results)
                page.text(left - 0.1, y, result.method, size=8, ha="right")
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_xlim(0, 1.15 * largest)
        axes.set_yticks([])
    page.text(
        page.left + _NAMES,
        page.bottom + 0.15,
        "Mean absolute error, days, main season; diamonds: mean over seeds, points: each seed.",
    )
    return page.figure


def draw_scatter(results: Sequence[MethodResult], title: str) -> Figure:
    """Draw predictions of methods against the camera's dates, main season, all seeds."""
    side = 2.4
    page = _page(
        0.5 + (side + 0.45) * len(results),
        side + 0.95,
        "Predictions against cameras",
        title,
        results,
    )
    known = results[0].reference.day[:, 0]
    low, high = float(np.nanmin(known)) - 25, float(np.nanmax(known)) + 25
    for column, result in enumerate(results):
        left = page.left + 0.5 + column * (side + 0.45)
        axes = page.chart(left, page.bottom + 0.75, side, side)
        axes.set_title(result.method, fontsize=8.5, color=INK, pad=3)
        axes.grid(color=GRID, linewidth=0.6)
        axes.plot([low, high], [low, high], color=INK, lw=0.6)
        for k, stage in enumerate(STAGES):
            for run in result.runs:
                shown = np.clip(run.day[:, 0, k], low, high)
                axes.plot(result.reference.day[:, 0, k], shown, "o", ms=2.5, mew=0, clip_on=False,
                          color=STAGE_COLOURS[stage], alpha=0.6)  # fmt: skip
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel("camera, days since 1 January", fontsize=7.5, color=INK)
        if not column:
            axes.set_ylabel("prediction", fontsize=7.5, color=INK)
    marks = [
        Line2D([], [], ls="none", marker="o", ms=4, color=STAGE_COLOURS[stage], mew=0,
               label=stage.upper())
        for stage in STAGES
    ]  # fmt: skip
    _legend(page, marks, 0.22)
    words = "Main season, all seeds. Predictions beyond the frame are drawn on its edge."
    page.text(page.left + 0.5, page.bottom + 0.02, words, size=7)
    return page.figure


def draw_errors_by_images(results: Sequence[MethodResult], title: str) -> Figure:
    """Draw the error by the number of clear images near the date, all stages, main season."""
    rows = -(-len(results) // 2)
    page = _page(
        5.5,
        2.9 + 0.18 * rows,
        f"Error by clear optical images within {NEAR_DATE:.0f} days of the date",
        title,
        results,
    )
    bottom = page.bottom + 0.55 + 0.18 * rows
    axes = page.chart(page.left + 0.5, bottom, 4.9, 2.2)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    labels: dict[int, str] = {}
    marks = []
    for number, result in enumerate(results):
        xs, ys, spreads = [], [], []
        for place, ((least, most), scores) in enumerate(scores_by_images(result)):
            words = f"{least}-{most}" if most < NO_LIMIT else f"{least}+"
            labels[place] = f"{words}\n{scores[-1].dates if scores else 0} dates"
            if scores and np.isfinite(scores[-1].mean.mae):
                xs.append(place + 0.04 * (number - len(results) / 2))
                ys.append(scores[-1].mean.mae)
                spreads.append(np.nan_to_num(scores[-1].spread.mae))
        colour = _colour(number)
        axes.errorbar(xs, ys, spreads, fmt="o-", ms=4, lw=1, color=colour, mew=0)
        marks.append(Line2D([], [], marker="o", ms=4, lw=1, color=colour, label=result.method))
    axes.set_xticks(list(labels), list(labels.values()))
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(0)
    axes.set_ylabel("mean absolute error, days", fontsize=7.5, color=INK)
    _legend(page, marks, 0.09 * rows, columns=2)
    return page.figure


def _page(
    width: float, body: float, heading: str, title: str, results: Sequence[MethodResult]
) -> Page:
    simulated = results[0].reference.simulated
    return Page(width, body, 0, heading, f"{title}: {data_kind(simulated)}", simulated)


def _legend(page: Page, marks: list[Line2D], bottom: float, columns: int = 4) -> None:
    legend = page.figure.legend(
        handles=marks,
        loc="center left",
        bbox_to_anchor=(
            (page.left + 0.5) / page.width,
            (page.bottom + bottom) / page.height,
        ),
        ncols=columns,
        fontsize=7,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
    )
    for text in legend.get_texts():
        text.set_color(INK)


def _colour(number: int) -> str:
    return COMPARED_COLOURS[number % len(COMPARED_COLOURS)]
