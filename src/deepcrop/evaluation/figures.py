"""Pictures of scores: errors by stage and method, answers against cameras, errors by images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepcrop.evaluation.scores import NEAR_DATE, Entry, score
from deepcrop.evaluation.tables import kind, of_images
from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import COMPARED_COLOURS, GRID, STAGE_COLOURS
from deepcrop.stages import STAGES

_PANEL = 1.9  # inches: width of a panel
_NAMES = 2.3  # inches: room for the names of methods


def errors(entries: Sequence[Entry], title: str) -> Figure:
    """Mean absolute error of each method by stage; small points are seeds."""
    height = 0.24 * len(entries) + 0.1
    sheet = _sheet(
        _NAMES + 4 * (_PANEL + 0.15), height + 0.75, "Error by stage and method", title, entries
    )
    scored = [score(entry) for entry in entries]
    most = max(one.mean.mae for rows in scored for one in rows if one.mean.mae == one.mean.mae)
    for k, stage in enumerate(STAGES):
        left = sheet.left + _NAMES + k * (_PANEL + 0.15)
        axes = sheet.chart(left, sheet.bottom + 0.55, _PANEL, height)
        axes.set_title(stage.upper(), fontsize=8.5, color=INK, pad=3)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        for row, (entry, rows) in enumerate(zip(entries, scored, strict=True)):
            colour = _colour(row)
            seeds = [score(Entry(entry.method, entry.truth, [run]))[k] for run in entry.runs]
            axes.plot([one.mean.mae for one in seeds], [row] * len(seeds), "o", ms=2.5,
                      color=colour, alpha=0.5, mew=0)  # fmt: skip
            axes.plot(rows[k].mean.mae, row, "D", ms=5, color=colour, mew=0)
            if k == 0:
                y = sheet.bottom + 0.55 + height * (len(entries) - row - 0.5) / len(entries)
                sheet.text(left - 0.1, y, entry.method, size=8, ha="right")
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlim(0, 1.15 * most)
        axes.set_yticks([])
    sheet.text(
        sheet.left + _NAMES,
        sheet.bottom + 0.15,
        "Mean absolute error, days, main season; diamonds: mean over seeds, points: each seed.",
    )
    return sheet.figure


def scatter(entries: Sequence[Entry], title: str) -> Figure:
    """Answers of some methods against the camera's dates, main season, all seeds."""
    side = 2.4
    sheet = _sheet(
        0.5 + (side + 0.45) * len(entries), side + 0.95, "Answers against cameras", title, entries
    )
    known = entries[0].truth.day[:, 0]
    low, high = float(np.nanmin(known)) - 25, float(np.nanmax(known)) + 25
    for column, entry in enumerate(entries):
        left = sheet.left + 0.5 + column * (side + 0.45)
        axes = sheet.chart(left, sheet.bottom + 0.75, side, side)
        axes.set_title(entry.method, fontsize=8.5, color=INK, pad=3)
        axes.grid(color=GRID, linewidth=0.6)
        axes.plot([low, high], [low, high], color=INK, lw=0.6)
        for k, stage in enumerate(STAGES):
            for run in entry.runs:
                shown = np.clip(run.day[:, 0, k], low, high)
                axes.plot(entry.truth.day[:, 0, k], shown, "o", ms=2.5, mew=0, clip_on=False,
                          color=STAGE_COLOURS[stage], alpha=0.6)  # fmt: skip
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel("camera, days since 1 January", fontsize=7.5, color=INK)
        if not column:
            axes.set_ylabel("answer", fontsize=7.5, color=INK)
    marks = [
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            ms=4,
            color=STAGE_COLOURS[stage],
            mew=0,
            label=stage.upper(),
        )
        for stage in STAGES
    ]
    _legend(sheet, marks, 0.22)
    words = "Main season, all seeds. Answers beyond the frame are drawn on its edge."
    sheet.text(sheet.left + 0.5, sheet.bottom + 0.02, words, size=7)
    return sheet.figure


def images(entries: Sequence[Entry], title: str) -> Figure:
    """Error by the number of clear images near the date, all four stages of the main season."""
    rows = -(-len(entries) // 2)
    sheet = _sheet(
        5.5,
        2.9 + 0.18 * rows,
        f"Error by clear optical images within {NEAR_DATE:.0f} days of the date",
        title,
        entries,
    )
    bottom = sheet.bottom + 0.55 + 0.18 * rows
    axes = sheet.chart(sheet.left + 0.5, bottom, 4.9, 2.2)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    labels: dict[int, str] = {}
    marks = []
    for number, entry in enumerate(entries):
        xs, ys, spreads = [], [], []
        for place, ((least, most), scores) in enumerate(of_images(entry)):
            words = f"{least}-{most}" if most < 999 else f"{least}+"
            labels[place] = f"{words}\n{scores[-1].dates if scores else 0} dates"
            if scores and np.isfinite(scores[-1].mean.mae):
                xs.append(place + 0.04 * (number - len(entries) / 2))
                ys.append(scores[-1].mean.mae)
                spreads.append(np.nan_to_num(scores[-1].spread.mae))
        colour = _colour(number)
        axes.errorbar(xs, ys, spreads, fmt="o-", ms=4, lw=1, color=colour, mew=0)
        marks.append(Line2D([], [], marker="o", ms=4, lw=1, color=colour, label=entry.method))
    axes.set_xticks(list(labels), list(labels.values()))
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(0)
    axes.set_ylabel("mean absolute error, days", fontsize=7.5, color=INK)
    _legend(sheet, marks, 0.09 * rows, columns=2)
    return sheet.figure


def _sheet(width: float, body: float, heading: str, title: str, entries: Sequence[Entry]) -> Page:
    simulated = entries[0].truth.simulated
    return Page(width, body, 0, heading, f"{title}: {kind(simulated)}", simulated)


def _legend(sheet: Page, marks: list[Line2D], bottom: float, columns: int = 4) -> None:
    legend = sheet.figure.legend(
        handles=marks,
        loc="center left",
        bbox_to_anchor=(
            (sheet.left + 0.5) / sheet.width,
            (sheet.bottom + bottom) / sheet.height,
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
