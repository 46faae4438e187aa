"""Tables and a figure of the scores of `deepcrop.studies.scene_thinning`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepcrop.figures.page import INK, Page
from deepcrop.figures.style import GRID, METHOD_COLOURS
from deepcrop.report.tables import Table, cell_text, percent_text
from deepcrop.stages import STAGES
from deepcrop.studies import scene_thinning
from deepcrop.studies.scene_thinning import Case, Errors, ThinningScore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

    from deepcrop.training.real_excerpts import Excerpt

CURVE = "NDVI curve"
WITHOUT, WITH = "network without radar", "network with radar"
OPTICAL = "network trained without radar"

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
_LOST_DATES = 0.01  # share of the dates that radar may cost where it is said to help

Key = tuple[str, str]  # place, method
DatesByCase = dict[Case, NDArray[np.float32]]


def thinned_scores(
    predictions: Mapping[Key, tuple[Excerpt, DatesByCase]],
) -> list[ThinningScore]:
    """Score every method of every place, by case, pairing, date definition, crop and stage.

    The offset that is subtracted is the mean of the median errors in the other places.
    """
    # By place, method, definition, kept, pairing, stage.
    found: dict[tuple[str, ...], Errors] = {}
    for (place, method), (archive, dates) in predictions.items():
        by_kind: dict[str, list[Case]] = {}
        for case in dates:
            by_kind.setdefault(case.kind, []).append(case)
        # The curve has no dates by the camera's definition.
        definitions = ("curve",) if method == CURVE else tuple(scene_thinning.DEFINITIONS)
        for kept, cases in by_kind.items():
            pixels = scene_thinning.scored_pixels(archive, cases[0])
            for definition in definitions:
                for pairing in scene_thinning.PAIRINGS:
                    errors = scene_thinning.errors(
                        archive, [dates[case] for case in cases], definition, pairing, pixels
                    )
                    for stage, error in errors.items():
                        found[place, method, definition, kept, pairing, stage] = error
    scores = []
    for key, error in found.items():
        place, _, _, kept, pairing, stage = key
        # An offset from the same place would be fitted to what it is tested on.
        elsewhere = [
            scene_thinning.median_error(other)
            for name, other in found.items()
            if name[0] != place and name[1:] == key[1:]
        ]
        known = [value for value in elsewhere if math.isfinite(value)]
        offset = float(np.mean(known)) if known else math.nan
        # Whatever a network's definition, it is compared where the curve has a date of its own.
        curve = found[place, CURVE, "curve", kept, pairing, stage]
        names = dict(
            zip(("place", "method", "definition", "kept", "pairing", "stage"), key, strict=True)
        )
        groups = ["all", *map(str, np.unique(error.group))]
        if error.inside.any():
            groups += [group + scene_thinning.INSIDE for group in groups]
        scores += [scene_thinning.score(names, error, group, curve, offset) for group in groups]
    return scores


def thinned_tables(scores: Sequence[ThinningScore]) -> list[Table]:
    """Make tables of each place: error by stage, of all methods in all cases; then by crop."""
    tables = []
    for place, title in PLACES.items():
        here = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        rows = [
            (kept, _method_title(method, definition), *_cells(here, kept, method, definition))
            for kept, method, definition in _row_keys(here)
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
                "reference dates with a predicted date. Offset: median error in the other places.",
                text_columns=2,
            )
        )  # fmt: skip
        groups = sorted({s.group for s in here} - {"all"})
        crops = [group for group in groups if not group.endswith(scene_thinning.INSIDE)]
        # With a single crop the table would repeat the one above.
        if len(crops) > 1:
            tables.append(_crop_table(here, crops, f"{title}: by crop"))
        if inside := [group for group in groups if group.endswith(scene_thinning.INSIDE)]:
            tables.append(_crop_table(here, inside, f"{title}: without the edges of fields"))
    return tables


def _crop_table(scores: Sequence[ThinningScore], groups: Sequence[str], title: str) -> Table:
    rows = []
    for kept, method, definition in _row_keys(scores):
        means = [_mean_of_stages(scores, kept, method, definition, group) for group in groups]
        cells = (f"{cell_text(mean['mae'])} ({percent_text(mean['dated'])})" for mean in means)
        rows.append((kept, _method_title(method, definition), *cells))
    return Table(
        f"{title} (real images)",
        ("scenes kept", "method", *groups),
        rows,
        "Mean absolute error in days, mean over the four stages; in brackets the share dated.",
        text_columns=2,
    )


def radar_tables(scores: Sequence[ThinningScore]) -> list[Table]:
    """Make the table that says for each place and case whether radar helps; none without radar."""
    rows: list[tuple[str, ...]] = []
    for place, title in PLACES.items():
        here = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        methods = {s.method for s in here}
        if WITH not in methods:
            continue
        for kept in dict.fromkeys(s.kept for s in here):
            radar = _mean_of_stages(here, kept, WITH, "curve")
            curve = _mean_of_stages(here, kept, CURVE, "curve")
            optical = [
                _mean_of_stages(here, kept, method, "curve")
                for method in (WITHOUT, OPTICAL)
                if method in methods
            ]
            # The better of the networks without radar, so that radar has to beat both.
            best = min((mean["mae"] for mean in optical), default=math.nan)
            share = radar["mae"] / curve["mae"] if curve["mae"] > 0 else math.nan
            # A smaller error is no help if it comes from dating fewer, easier pixels.
            enough = radar["dated"] >= max(mean["dated"] for mean in optical) - _LOST_DATES
            helps = radar["mae"] < best and enough
            rows.append(
                (title, kept, cell_text(radar["mae"]), cell_text(best), cell_text(curve["mae"]),
                 percent_text(share), percent_text(radar["dated"]),
                 percent_text(curve["dated"]), "yes" if helps else "no")
            )  # fmt: skip
    if not rows:
        return []
    return [
        Table(
            "Does radar help? (real images)",
            ("place", "scenes kept", "with radar", "without", "curve", "with radar / curve",
             "dated with radar", "dated by the curve", "radar helps"),
            rows,
            "Mean absolute error in days, mean over the four stages, the network's dates in the "
            "NDVI-curve definition. Without: the better network that sees no radar. Radar helps "
            "where the error is smaller and no more than 1 % fewer dates are given.",
            text_columns=2,
        )
    ]  # fmt: skip


def _row_keys(scores: Iterable[ThinningScore]) -> list[tuple[str, str, str]]:
    """List kept, method and definition: by case, then in the order in which they were scored."""
    keys = list(dict.fromkeys((s.kept, s.method, s.definition) for s in scores))
    kinds = list(dict.fromkeys(key[0] for key in keys))
    return sorted(keys, key=lambda key: kinds.index(key[0]))


def _method_title(method: str, definition: str) -> str:
    return method if definition == "curve" else f"{method}, camera's dates"


def _cells(
    scores: Sequence[ThinningScore], kept: str, method: str, definition: str
) -> tuple[str, ...]:
    by_stage = _stage_scores(scores, kept, method, definition, "all")
    mean = _mean_of_stages(scores, kept, method, definition)
    return (
        *(cell_text(score.mae) for score in by_stage),
        *(cell_text(mean[name]) for name in ("mae", "median", "between_draws")),
        percent_text(mean["dated"]),
        *(cell_text(mean[name]) for name in ("mae_offset", "mae_common")),
    )


def _stage_scores(
    scores: Sequence[ThinningScore], kept: str, method: str, definition: str, group: str
) -> list[ThinningScore]:
    by_stage = {
        s.stage: s
        for s in scores
        if (s.kept, s.method, s.definition, s.group) == (kept, method, definition, group)
    }
    return [by_stage[stage] for stage in STAGES if stage in by_stage]


def _mean_of_stages(
    scores: Sequence[ThinningScore], kept: str, method: str, definition: str, group: str = "all"
) -> dict[str, float]:
    """Mean over the four stages of each number; NaN if a stage has no date at all."""
    by_stage = _stage_scores(scores, kept, method, definition, group)
    names = ("dated", "mae", "median", "between_draws", "mae_offset", "mae_common")
    return {
        name: float(np.mean([getattr(s, name) for s in by_stage])) if by_stage else math.nan
        for name in names
    }


def draw_thinning(scores: Sequence[ThinningScore]) -> Figure:
    """Draw error and share dated against the share of scenes kept, by method and place."""
    width, height, room = 2.3, 1.7, 0.55
    methods = [name for name in _COLOURS if any(s.method == name for s in scores)]
    page = Page(
        3 * (width + room) + 0.1, 2 * height + 1.05, 0.35, "Dates when optical scenes are missing",
        "Real images. Mean over the four stages; bars: standard deviation between random draws; "
        "open marks: no scene for 60 days around green-up.", simulated=False,
    )  # fmt: skip
    for column, (place, title) in enumerate(PLACES.items()):
        here = [s for s in scores if s.place == place and s.pairing == PAIRING[place]]
        left = page.left + 0.45 + column * (width + room)
        for row, (value, label) in enumerate(
            (("mae", "mean absolute error, days"), ("dated", "share of dates given, %"))
        ):
            bottom = page.bottom + 0.75 + (1 - row) * (height + 0.35)
            axes = page.figure.add_axes(page.place(left, bottom, width, height))
            axes.tick_params(labelsize=7, color=INK, labelcolor=INK, width=0.6)
            axes.grid(color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            for name in methods:
                means = {
                    share: _mean_of_stages(here, Case(share).kind, name, "curve")
                    for share in scene_thinning.SHARES
                }
                xs = [100 * share for share in means]
                unit = 100 if value == "dated" else 1
                ys = [unit * mean[value] for mean in means.values()]
                bars = [mean["between_draws"] if value == "mae" else 0 for mean in means.values()]
                axes.errorbar(xs, ys, np.nan_to_num(bars), fmt="o-", ms=3, lw=1, elinewidth=0.6,
                              color=_COLOURS[name], label=name)  # fmt: skip
                gap = unit * _mean_of_stages(here, Case(gap=True).kind, name, "curve")[value]
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
    page.figure.legend(*handles, loc="lower left", ncols=4, fontsize=7, frameon=False,
                        bbox_to_anchor=(page.left / page.width, 0.02))  # fmt: skip
    return page.figure
