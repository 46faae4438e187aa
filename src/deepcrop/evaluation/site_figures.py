"""Methods against cameras, site by site: profiles, error bars, with and without radar.

Numbers in brackets are those of the paper's figures. Everything is of the main season and of
continuous camera dates; `deepcrop.evaluation.figures` has the pictures of scores over all sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from deepcrop import grid
from deepcrop.cameras.site_years import CameraYear
from deepcrop.evaluation.scores import Entry, score
from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import (
    GRID,
    METHOD_COLOURS,
    SERIES_COLOURS,
    STAGE_COLOURS,
    date_axis,
)
from deepcrop.indices import ndvi_of
from deepcrop.phenology import smooth
from deepcrop.stages import CALENDAR, STAGES, to_days
from deepcrop.training.samples import Sample, site_year_of

ORDER = ("sos20", "eos20", "sos50", "eos50")
"""Stages in the order of the paper's bars and panels."""

_WIDTH = 7.4  # inches of a page
_MOST_YEARS = 6
_PAIR = (METHOD_COLOURS["deepcrop"], METHOD_COLOURS["deepcrop without radar"])


# Profiles (6, 9-11, 18) --------------------------------------------------------------------------


def profiles(
    site: str,
    samples: Sequence[Sample],
    entries: Sequence[Entry],
    cameras: Mapping[str, CameraYear] | None = None,
) -> Figure:
    """Draw what the satellites and the camera saw at a site, and the dates (Figs. 6, 9-11, 18).

    For each site-year: NDVI of the pixel with its curve, and the camera's greenness where it is
    given; backscatter; and the dates of camera and methods, a lane each, with the 90 % interval.

    Parameters
    ----------
    site : str
    samples : sequence of Sample
        Those of other sites are left out; of a site-year that was simulated several times the
        first is drawn.
    entries : sequence of Entry
        Methods, with an answer for each site-year that is drawn; of several seeds the mean date,
        and the interval of the first.
    cameras : mapping of str to CameraYear, optional
        The camera's series by site-year.
    """
    years: dict[str, Sample] = {}
    for one in samples:
        if one.site == site:
            years.setdefault(site_year_of({"name": one.name, "simulated": one.simulated}), one)
    drawn = dict(list(years.items())[:_MOST_YEARS])
    lane = 0.2
    lanes, optical, radar = lane * (len(entries) + 1) + 0.06, 0.95, 0.6
    step = optical + radar + lanes + 0.85
    more = len(years) - len(drawn)
    title = f"{len(years)} site-years{f', the first {_MOST_YEARS} drawn' if more else ''}"
    simulated = any(one.simulated for one in drawn.values())
    if simulated:
        title += ": satellites simulated, camera real"
    sheet = Page(_WIDTH, step * len(drawn), 0.4, f"Profiles at {site}", title, simulated)
    room = 0.5 + 0.068 * max(len(entry.method) for entry in entries)
    left, width = sheet.left + room, _WIDTH - room - 0.5
    for k, (name, one) in enumerate(drawn.items()):
        top = sheet.top - k * step - 0.3
        sheet.text(sheet.left, top + 0.13, f"{one.year}", size=9.5, weight="bold")
        sheet.text(sheet.left + 0.5, top + 0.13, one.crop or "crop unknown", size=8)
        rows = [(optical, top - optical), (radar, top - optical - radar - 0.06)]
        rows.append((lanes, top - optical - radar - lanes - 0.12))
        axes = [sheet.chart(left, bottom, width, height) for height, bottom in rows]
        first, last = _span(one)
        for ax in axes:
            ax.set_xlim(first, last)
            ax.grid(axis="x", color=GRID, linewidth=0.6)
        _greenness(axes[0], one, (cameras or {}).get(name))
        _backscatter(axes[1], one)
        _lanes(sheet, axes[2], one, name, entries, left)
        for ax in axes[:2]:
            date_axis(ax, first, last, one.year)
            ax.tick_params(axis="x", labelbottom=False, length=0)
        date_axis(axes[2], first, last, one.year)
        axes[2].tick_params(labelsize=7.5)
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            ls="none",
            marker="o",
            ms=3.5,
            color=SERIES_COLOURS["optical"],
            mew=0,
            label="NDVI",
        ),
        Line2D([], [], color=SERIES_COLOURS["curve"], lw=1.2, label="its curve"),
        *(
            [Line2D([], [], color=SERIES_COLOURS["camera"], lw=1.2, label="camera, GCC")]
            if cameras
            else []
        ),
        Line2D([], [], color=SERIES_COLOURS["vv"], lw=1, marker="o", ms=2.5, label="VV"),
        Line2D([], [], color=SERIES_COLOURS["vh"], lw=1, marker="o", ms=2.5, label="VH"),
        *(Patch(facecolor=STAGE_COLOURS[stage], label=stage.upper()) for stage in STAGES),
    ]
    _legend(sheet, handles, 0.05, len(handles))
    return sheet.figure


def _span(one: Sample) -> tuple[float, float]:
    """Days to draw: the target year, and what reaches beyond it."""
    days = np.asarray(one.day[0], float)
    days = days[np.isfinite(days)]
    if not days.size:
        return -15.0, 380.0
    return min(-15.0, float(days.min()) - 25), max(380.0, float(days.max()) + 25)


def _greenness(axes: Axes, one: Sample, camera: CameraYear | None) -> None:
    centre = one.patch.optical[:, :, grid.PATCH_CENTRE, grid.PATCH_CENTRE]
    ndvi = ndvi_of(centre[:, 3], centre[:, 2])
    axes.plot(
        one.patch.optical_days, ndvi, "o", ms=2.6, color=SERIES_COLOURS["optical"], mew=0, alpha=0.7
    )
    if np.isfinite(ndvi).sum() > 2:
        curve, days = smooth(ndvi[None], one.patch.optical_days)
        axes.plot(days, curve[0], color=SERIES_COLOURS["curve"], lw=1.2)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("NDVI", fontsize=7.5, color=INK)
    if camera is not None:
        labels = camera.labels
        other = axes.twinx()
        offset = float(to_days(labels.camera.date[:1], one.year)[0])
        other.plot(offset + labels.curve_days, labels.curve, color=SERIES_COLOURS["camera"], lw=1.2)
        other.set_xlim(axes.get_xlim())
        other.tick_params(labelsize=7, color=INK, labelcolor=INK, width=0.6)
        other.set_ylabel("GCC", fontsize=7.5, color=INK)
        for spine in other.spines.values():
            spine.set_visible(False)


def _backscatter(axes: Axes, one: Sample) -> None:
    """Backscatter of the middle 5 x 5 pixels, averaged in power, of the commonest orbit."""
    patch, middle = one.patch, slice(grid.PATCH_CENTRE - 2, grid.PATCH_CENTRE + 3)
    axes.set_ylabel("dB", fontsize=7.5, color=INK)
    if not len(patch.radar_days):
        axes.text(0.5, 0.5, "no radar", transform=axes.transAxes, ha="center", fontsize=7.5)
        return
    orbits, counts = np.unique(patch.orbits, return_counts=True)
    here = patch.orbits == orbits[counts.argmax()]
    power = 10 ** (patch.radar[here][..., middle, middle] / 10)
    known = np.isfinite(power)
    mean = np.where(known, power, 0).sum((-1, -2)) / np.maximum(known.sum((-1, -2)), 1)
    decibel = np.where(mean > 0, 10 * np.log10(np.where(mean > 0, mean, 1)), np.nan)
    for k, name in enumerate(("vv", "vh")):
        colour = SERIES_COLOURS[name]
        axes.plot(patch.radar_days[here], decibel[:, k], "o-", ms=2, lw=0.8, color=colour, mew=0)


def _lanes(
    sheet: Page, axes: Axes, one: Sample, name: str, entries: Sequence[Entry], left: float
) -> None:
    """Dates of camera and methods below each other, each with its interval."""
    order = [CALENDAR.index(stage) for stage in STAGES]
    rows: list[tuple[str, NDArray, NDArray, NDArray]] = [
        ("camera", one.day[0, order], one.low[0, order], one.high[0, order])
    ]
    for entry in entries:
        at = np.flatnonzero(entry.truth.site_year == name)[:1]
        if not at.size:
            continue
        days = np.stack([run.day[at[0], 0] for run in entry.runs])
        known = np.isfinite(days)
        total = np.where(known, days, 0).sum(0)
        day = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
        run = entry.runs[0]
        rows.append((entry.method, day, run.low[at[0], 0], run.high[at[0], 0]))
    for y, (method, day, low, high) in enumerate(rows):
        for k, stage in enumerate(STAGES):
            if np.isfinite(day[k]):
                colour = STAGE_COLOURS[stage]
                if np.isfinite(low[k]) and np.isfinite(high[k]):
                    axes.plot([low[k], high[k]], [y, y], color=colour, lw=3, alpha=0.45)
                axes.plot(day[k], y, "D" if y == 0 else "o", ms=4.2, color=colour, mew=0)
        bottom = axes.get_position()
        height = bottom.height * sheet.height
        where = bottom.y0 * sheet.height + height * (len(rows) - y - 0.5) / len(rows)
        sheet.text(left - 0.1, where, method, size=7.5, ha="right",
                   weight="bold" if y == 0 else "normal")  # fmt: skip
    for k, stage in enumerate(STAGES):  # the camera's dates through all lanes
        if np.isfinite(rows[0][1][k]):
            axes.axvline(rows[0][1][k], color=STAGE_COLOURS[stage], lw=0.6, ls=(0, (3, 2)))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])


# Error bars (19) ---------------------------------------------------------------------------------


def error_bars(entries: Sequence[Entry], sites: Sequence[str]) -> Figure:
    """Mean absolute error by site, stage and method (Fig. 19).

    Parameters
    ----------
    entries : sequence of Entry
        A panel for each.
    sites : sequence of str
        Bars of each stand together; lines on the bars are the standard deviation over seeds.
    """
    height, gap = 1.05, 0.55
    simulated = entries[0].truth.simulated
    sheet = Page(
        _WIDTH,
        len(entries) * (height + gap),
        0.3,
        "Error by site",
        f"mean absolute error, days, main season{_pixels(simulated)}",
        simulated,
    )
    found = {entry.method: [_maes(entry, site) for site in sites] for entry in entries}
    every = np.array([mae for rows in found.values() for row in rows for mae, _ in row])
    most = float(np.nanmax(every)) if np.isfinite(every).any() else 1.0
    for k, entry in enumerate(entries):
        bottom = sheet.top - (k + 1) * (height + gap) + gap - 0.25
        axes = sheet.chart(sheet.left + 0.45, bottom, _WIDTH - 0.5, height)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        for place, row in enumerate(found[entry.method]):
            for number, (stage, (mae, deviation)) in enumerate(zip(ORDER, row, strict=True)):
                x = place + (number - 1.5) * 0.19
                if np.isfinite(mae):
                    axes.bar(x, mae, 0.17, color=STAGE_COLOURS[stage])
                    axes.text(x, mae, f"{mae:.0f}", ha="center", va="bottom", fontsize=6, color=INK)
                if np.isfinite(deviation):
                    axes.plot([x, x], [mae - deviation, mae + deviation], color=INK, lw=0.8)
        axes.set_xlim(-0.6, len(sites) - 0.4)
        axes.set_ylim(0, 1.15 * most)
        axes.set_xticks(range(len(sites)), sites if k == len(entries) - 1 else [""] * len(sites))
        axes.tick_params(axis="x", length=0)
        sheet.text(sheet.left + 0.45, bottom + height + 0.1, entry.method, size=8.5, weight="bold")
    _legend(
        sheet, [Patch(facecolor=STAGE_COLOURS[stage], label=stage.upper()) for stage in ORDER], 0, 4
    )
    return sheet.figure


def _maes(entry: Entry, site: str) -> list[tuple[float, float]]:
    part = entry.part(entry.truth.site == site)
    if not len(part.truth):
        return [(np.nan, np.nan)] * len(ORDER)
    by_stage = {one.stage: one for one in score(part)}
    return [(by_stage[stage].mean.mae, by_stage[stage].spread.mae) for stage in ORDER]


# With and without radar (20, 21) -----------------------------------------------------------------


def with_and_without_radar(both: Entry, optical: Entry) -> Figure:
    """Dates of each site-year by camera, with radar and without (Figs. 20, 21).

    Parameters
    ----------
    both, optical : Entry
        Answers to the same site-years; of several seeds or simulations the mean is drawn.
    """
    names = [str(name) for name in np.unique(both.truth.site_year)]
    row = 0.2
    height = row * len(names) + 0.1
    simulated = both.truth.simulated
    room = 0.3 + 0.062 * max(len(name) for name in names)
    width = (_WIDTH - room - 0.3) / 2
    sheet = Page(
        _WIDTH,
        height + 0.75,
        0.3,
        "Dates with and without radar",
        f"main season, days of the year{_pixels(simulated)}",
        simulated,
    )
    for panel, stages in enumerate((("sos20", "eos20"), ("sos50", "eos50"))):
        left = sheet.left + room + panel * (width + 0.3)
        axes = sheet.chart(left, sheet.bottom + 0.75, width, height)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        for y, name in enumerate(names):
            for stage in stages:
                k = STAGES.index(stage)
                camera, with_radar, alone = (
                    _mean_day(both, name, k, truth=True),
                    _mean_day(both, name, k),
                    _mean_day(optical, name, k),
                )
                axes.plot([camera, camera], [y - 0.36, y + 0.36], color=INK, lw=1.6)
                axes.plot(with_radar, y - 0.13, "D", ms=3.8, color=_PAIR[0], mew=0)
                axes.plot(alone, y + 0.13, "o", ms=3.8, color=_PAIR[1], mew=0)
            if not panel:
                where = sheet.bottom + 0.75 + height * (len(names) - y - 0.5) / len(names)
                sheet.text(left - 0.1, where, name, size=7, ha="right")
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks([])
        first, last = axes.get_xlim()
        date_axis(axes, first, last, 2018)
        # Site-years are of several years: the day of the year is what they share.
        axes.set_xticklabels([label.get_text().split("\n")[0] for label in axes.get_xticklabels()])
        sheet.text(
            left,
            sheet.bottom + 0.75 + height + 0.1,
            f"{'ab'[panel]}  {stages[0].upper()} and {stages[1].upper()}",
            size=9,
            weight="bold",
        )
    _legend(
        sheet,
        [
            Line2D([], [], ls="none", marker="|", ms=9, mew=1.6, color=INK, label="camera"),
            Line2D([], [], ls="none", marker="D", ms=4, color=_PAIR[0], mew=0, label=both.method),
            Line2D(
                [], [], ls="none", marker="o", ms=4, color=_PAIR[1], mew=0, label=optical.method
            ),
        ],
        0.1,
        3,
    )
    return sheet.figure


def _mean_day(entry: Entry, name: str, stage: int, truth: bool = False) -> float:
    at = entry.truth.site_year == name
    arrays = [entry.truth.day] if truth else [run.day for run in entry.runs]
    days = np.concatenate([array[at, 0, stage] for array in arrays])
    days = days[np.isfinite(days)]
    return float(days.mean()) if days.size else np.nan


# Parts -------------------------------------------------------------------------------------------


def _pixels(simulated: bool) -> str:
    return ": simulated pixels, real camera labels" if simulated else ""


def _legend(sheet: Page, handles: Sequence[Line2D | Patch], bottom: float, columns: int) -> None:
    sheet.figure.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(sheet.left / sheet.width, (sheet.bottom + bottom) / sheet.height),
        ncols=columns,
        fontsize=7,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.1,
        handletextpad=0.4,
        handlelength=1.4,
        labelcolor=INK,
    )
