"""Scores, tables and a figure of `deepcrop.studies.scene_thinning`: every method, place and case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import GRID, METHOD_COLOURS
from deepcrop.stages import STAGES
from deepcrop.studies import scene_thinning
from deepcrop.studies.scene_thinning import Case, Errors
from deepcrop.training.real_excerpts import Archive

CURVE = "NDVI curve"
WITHOUT, WITH = "network without radar", "network with radar"
OPTICAL = "network taught without radar"

PLACES = {"flanders": "Flanders 2018", "france": "France 2023", "angiang": "An Giang 2022"}

PAIRING = {"flanders": "slot", "france": "slot", "angiang": "season"}
"""How seasons are paired in the tables: by slot, and where two to three seasons of one crop are
equally strong by the time they share. The file of scores has both."""

_COLOURS = {
    CURVE: METHOD_COLOURS["curve"],
    WITHOUT: METHOD_COLOURS["deepcrop without radar"],
    WITH: METHOD_COLOURS["deepcrop"],
    OPTICAL: METHOD_COLOURS["trained without radar"],
}
_ALL_FOUR = "all four"


@dataclass(frozen=True)
class Table:
    """A table of a page: cells are text already."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Return it with its title in bold above."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(part for part in (f"**{self.title}**", body, self.note) if part)


Key = tuple[str, str]  # place, method
Given = dict[Case, NDArray[np.float32]]


def thinned_scores(answers: Mapping[Key, tuple[Archive, Given]]) -> list[scene_thinning.Score]:
    """Score every method of every place, by case, pairing, ruler, crop and stage.

    The offset that is taken off is the mean of the median errors in the other places.
    """
    found: dict[tuple[str, ...], Errors] = {}  # by place, method, ruler, kept, pairing, stage
    for (place, method), (archive, given) in answers.items():
        kinds: dict[str, list[Case]] = {}
        for case in given:
            kinds.setdefault(case.kind, []).append(case)
        for kept, cases in kinds.items():
            pixels = scene_thinning.judged(archive, cases[0])
            for ruler in ("curve",) if method == CURVE else tuple(scene_thinning.RULERS):
                for pairing in scene_thinning.PAIRINGS:
                    errors = scene_thinning.errors(
                        archive, [given[case] for case in cases], ruler, pairing, pixels
                    )
                    for stage, error in errors.items():
                        found[place, method, ruler, kept, pairing, stage] = error
    scores = []
    for key, error in found.items():
        place, _, _, kept, pairing, stage = key
        elsewhere = [
            scene_thinning.middle(other)
            for name, other in found.items()
            if name[0] != place and name[1:] == key[1:]
        ]
        known = [value for value in elsewhere if math.isfinite(value)]
        offset = float(np.mean(known)) if known else math.nan
        curve = found[place, CURVE, "curve", kept, pairing, stage]
        names = dict(
            zip(("place", "method", "ruler", "kept", "pairing", "stage"), key, strict=True)
        )
        groups = ["all", *map(str, np.unique(error.group))]
        if error.inside.any():
            groups += [group + scene_thinning.INSIDE for group in groups]
        for group in groups:
            scores.append(scene_thinning.score(names, error, group, curve, offset))
    return scores


def thinned_tables(scores: Sequence[scene_thinning.Score]) -> list[Table]:
    """Return tables of each place: error by stage, of all methods in all cases; then by crop."""
    tables = []
    for place, title in PLACES.items():
        mine = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        rows = [
            (kept, _named(method, ruler), *cells)
            for kept, method, ruler in _ordered(mine)
            for cells in [_cells(mine, kept, method, ruler)]
        ]
        paired = "main season" if PAIRING[place] == "slot" else "both seasons, paired by time"
        tables.append(
            Table(
                f"{title}: error when optical scenes are missing, days (real images)",
                ("scenes kept", "method", *(name.upper() for name in STAGES), _ALL_FOUR,
                 "median", "between draws", "dated", "less an offset", "where the curve dates"),
                rows,
                f"Mean absolute error against the curve of all scenes, {paired}. All four: mean "
                "over the four stages, as in all columns right of it. Dated: share of the "
                "reference's dates with an answer. Offset: median error in the other places.",
            )
        )  # fmt: skip
        groups = sorted({s.group for s in mine} - {"all"})
        crops = [group for group in groups if not group.endswith(scene_thinning.INSIDE)]
        if len(crops) > 1:
            tables.append(_by_crop(mine, crops, f"{title}: by crop"))
        if inside := [group for group in groups if group.endswith(scene_thinning.INSIDE)]:
            tables.append(_by_crop(mine, inside, f"{title}: without the edges of fields"))
    return tables


def _by_crop(scores: Sequence[scene_thinning.Score], groups: Sequence[str], title: str) -> Table:
    rows = []
    for kept, method, ruler in _ordered(scores):
        each = [_four(scores, kept, method, ruler, group) for group in groups]
        cells = (f"{day(mean['mae'])} ({percent(mean['dated'])})" for mean in each)
        rows.append((kept, _named(method, ruler), *cells))
    return Table(
        f"{title} (real images)",
        ("scenes kept", "method", *groups),
        rows,
        "Mean absolute error in days, mean over the four stages; in brackets the share dated.",
    )


def verdicts(scores: Sequence[scene_thinning.Score]) -> list[Table]:
    """Say for each place and case whether radar earns its place."""
    rows: list[tuple[str, ...]] = []
    for place, title in PLACES.items():
        mine = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        names = {s.method for s in mine}
        if WITH not in names:
            continue
        for kept in dict.fromkeys(s.kept for s in mine):
            radar = _four(mine, kept, WITH, "curve")
            curve = _four(mine, kept, CURVE, "curve")
            rivals = [_four(mine, kept, one, "curve") for one in (WITHOUT, OPTICAL) if one in names]
            best = min((one["mae"] for one in rivals), default=math.nan)
            share = radar["mae"] / curve["mae"] if curve["mae"] > 0 else math.nan
            earns = radar["mae"] < best and radar["dated"] >= max(r["dated"] for r in rivals) - 0.01
            rows.append(
                (title, kept, day(radar["mae"]), day(best), day(curve["mae"]),
                 percent(share), percent(radar["dated"]),
                 percent(curve["dated"]), "yes" if earns else "no")
            )  # fmt: skip
    if not rows:
        return []
    return [
        Table(
            "Does radar earn its place? (real images)",
            ("place", "scenes kept", "with radar", "without", "curve", "with radar / curve",
             "dated with radar", "dated by the curve", "radar helps"),
            rows,
            "Mean absolute error in days, mean over the four stages, the network's dates by the "
            "curve's ruler. Without: the better network that sees no radar. Radar helps where the "
            "error is smaller and no more than 1 % fewer dates are given.",
        )
    ]  # fmt: skip


def _ordered(scores: Iterable[scene_thinning.Score]) -> list[tuple[str, str, str]]:
    """Cases, in each the methods, in the order in which they were scored."""
    keys = list(dict.fromkeys((s.kept, s.method, s.ruler) for s in scores))
    kinds = list(dict.fromkeys(key[0] for key in keys))
    return sorted(keys, key=lambda key: kinds.index(key[0]))


def _named(method: str, ruler: str) -> str:
    return method if ruler == "curve" else f"{method}, camera's dates"


def _cells(
    scores: Sequence[scene_thinning.Score], kept: str, method: str, ruler: str
) -> tuple[str, ...]:  # fmt: skip
    each = _stages(scores, kept, method, ruler, "all")
    four = _four(scores, kept, method, ruler)
    return (
        *(day(one.mae) for one in each),
        *(day(four[name]) for name in ("mae", "median", "between_draws")),
        percent(four["dated"]),
        *(day(four[name]) for name in ("mae_offset", "mae_common")),
    )


def _stages(
    scores: Sequence[scene_thinning.Score], kept: str, method: str, ruler: str, group: str
) -> list[scene_thinning.Score]:
    named = {
        s.stage: s
        for s in scores
        if (s.kept, s.method, s.ruler, s.group) == (kept, method, ruler, group)
    }
    return [named[stage] for stage in STAGES if stage in named]


def _four(
    scores: Sequence[scene_thinning.Score], kept: str, method: str, ruler: str, group: str = "all"
) -> dict[str, float]:
    """Mean over the four stages of each number; NaN if a stage has no answer at all."""
    each = _stages(scores, kept, method, ruler, group)
    names = ("dated", "mae", "median", "between_draws", "mae_offset", "mae_common")
    return {
        name: float(np.mean([getattr(one, name) for one in each])) if each else math.nan
        for name in names
    }


def day(value: float) -> str:
    """Days with one decimal; a dash for NaN."""
    return f"{value:.1f}" if math.isfinite(value) else "–"


def percent(value: float) -> str:
    """Share in whole percent; a dash for NaN."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def draw(scores: Sequence[scene_thinning.Score]) -> Figure:
    """Error, and share dated, against the share of scenes kept, by method and place."""
    width, height, room = 2.3, 1.7, 0.55
    names = [name for name in _COLOURS if any(s.method == name for s in scores)]
    sheet = Page(
        3 * (width + room) + 0.1, 2 * height + 1.05, 0.35, "Dates when optical scenes are missing",
        "Real images. Mean over the four stages; bars: standard deviation between random draws; "
        "open marks: no scene for 60 days around green-up.", simulated=False,
    )  # fmt: skip
    for column, (place, title) in enumerate(PLACES.items()):
        mine = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        left = sheet.left + 0.45 + column * (width + room)
        for row, (value, label) in enumerate(
            (("mae", "mean absolute error, days"), ("dated", "share of dates given, %"))
        ):
            bottom = sheet.bottom + 0.75 + (1 - row) * (height + 0.35)
            axes = sheet.figure.add_axes(sheet.place(left, bottom, width, height))
            axes.tick_params(labelsize=7, color=INK, labelcolor=INK, width=0.6)
            axes.grid(color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            for name in names:
                line = {
                    s: _four(mine, f"{100 * s:.0f} %", name, "curve") for s in scene_thinning.SHARES
                }
                xs = [100 * share for share in line]
                unit = 100 if value == "dated" else 1
                ys = [unit * four[value] for four in line.values()]
                bars = [four["between_draws"] if value == "mae" else 0 for four in line.values()]
                axes.errorbar(xs, ys, np.nan_to_num(bars), fmt="o-", ms=3, lw=1, elinewidth=0.6,
                              color=_COLOURS[name], label=name)  # fmt: skip
                gap = unit * _four(mine, Case(gap=True).kind, name, "curve")[value]
                axes.plot(104, gap, "o", ms=4, mfc="white", color=_COLOURS[name], clip_on=False)
            axes.set_xlim(108, 8)
            axes.set_ylim(0)
            if row == 0:
                axes.set_title(title, fontsize=8.5, color=INK, pad=3)
            else:
                axes.set_xlabel("optical scenes kept, %", fontsize=7.5, color=INK)
            if column == 0:
                axes.set_ylabel(label, fontsize=7.5, color=INK)
            if row == column == 0:
                handles = axes.get_legend_handles_labels()
    sheet.figure.legend(*handles, loc="lower left", ncols=4, fontsize=7, frameon=False,
                        bbox_to_anchor=(sheet.left / sheet.width, 0.02))  # fmt: skip
    return sheet.figure
