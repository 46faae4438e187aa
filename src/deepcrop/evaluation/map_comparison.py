"""Compare the maps of a simulated region by curve and network with its truth: a table, a picture.

Two numbers stand beside each other. A map may call the second season of the truth its main one. The
error of the main season *as written* compares ``sos20.tif`` and the like with the true main season
and counts such a choice as an error of months. The error with seasons *matched* compares seasons
that overlap in time (:mod:`deepcrop.phenology.season_matching`): it is an error of the date alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import rasterio

from deepcrop import figures, grid, stages
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.map_truth import ALL_CROPS, StageScore, score_map
from deepcrop.figures.style import percent, signed
from deepcrop.report.tables import MISSING, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

METHODS = {"curve": "NDVI curve", "deepcrop": "network"}
"""Folder of each method in a map by both, and its name in table and picture."""

DRAWN = ("sos50", "eos50")
"""Stages of the picture: the middle of green-up and of senescence."""

_LARGEST = 1000  # pixels of a drawn map on its long side

Scores = dict[str, list[StageScore]]
"""Scores by method."""


def score_methods(maps: Path, cube_path: Path, match: bool = True) -> Scores:
    """Score each method of a map by both; arguments and errors of `score_map`."""
    lacks = [method for method in METHODS if not (maps / method).is_dir()]
    if lacks:
        raise DeepCropError(f"{maps} has no folder '{lacks[0]}'; expected a map by both methods.")
    return {method: score_map(maps / method, cube_path, match) for method in METHODS}


def comparison_table(matched: Scores, as_written: Scores, crops: Sequence[str]) -> Table:
    """Tabulate the error of both methods, and their difference, by stage.

    Parameters
    ----------
    matched, as_written : dict
        Of `score_methods`, with and without ``match``.
    crops : sequence of str
        Groups with rows of their own, beside all crops; one without true dates is left out.
    """
    rows = []
    for words, scores, group in (
        *((group.replace("_", " "), matched, group) for group in (ALL_CROPS, *crops)),
        ("as written", as_written, ALL_CROPS),
    ):
        of_method = {method: _of(found, group) for method, found in scores.items()}
        if not any(score.true_dates for found in of_method.values() for score in found):
            continue
        for k, (method, name) in enumerate(METHODS.items()):
            found = of_method[method]
            detected = sum(s.detected * s.true_dates for s in found)
            share = percent(detected / sum(s.true_dates for s in found))
            rows.append(("" if k else words, name, *(_days(s.mae) for s in found), share))
        differences = zip(of_method["deepcrop"], of_method["curve"], strict=True)
        rows.append(("", "difference", *(_days(a.mae - b.mae, True) for a, b in differences), ""))
    return Table(
        "Mean absolute error against the true camera dates, days",
        ("", "method", *(stage.upper() for stage in stages.STAGES), "detected"),
        rows,
        "All crops, maize: seasons that overlap in time are compared. As written: the main season "
        "of all crops as it is in sos20.tif and the like, against the true main season; another "
        "choice of the main season counts as an error.",
        name="comparison",
        text_columns=2,
    )


def draw_comparison(
    maps: Path, cube_path: Path, matched: Scores, as_written: Scores, out: Path
) -> None:
    """Draw the true main season beside both maps of it as they are written, as PNG."""
    cube = open_cube(cube_path)
    truth = cube["truth"].to_dataset()
    step = max(1, -(-max(truth.sizes["y"], truth.sizes["x"]) // _LARGEST))
    rows = {}
    for stage in DRAWN:
        k = stages.STAGES.index(stage)
        panels = [figures.Panel("truth: camera greenness", truth[stage].values[0][::step, ::step])]
        for method, name in METHODS.items():
            with rasterio.open(maps / method / f"{stage}.tif") as layer:
                days = layer.read(1)[::step, ::step]
            written = _of(as_written[method], ALL_CROPS)[k]
            same = _of(matched[method], ALL_CROPS)[k]
            notes = (
                f"MAE as written {written.mae:.1f} d ({percent(written.detected)} dated)",
                f"MAE of matched seasons {same.mae:.1f} d",
            )
            panels.append(figures.Panel(name, days, notes))
        rows[stage] = panels
    figure = figures.stage_panels(
        rows,
        year=int(truth.attrs["year"]),
        resolution=step * grid.RESOLUTION,
        heading=f"Main season of {truth.attrs['year']}: truth, NDVI curve and network",
        title=f"{cube.attrs.get('title', cube_path.stem)} · maps drawn as written; MAE as written: "
        "main season against main season; matched: seasons that overlap in time",
        simulated=True,
    )
    figures.save(figure, out)


def _of(scores: Iterable[StageScore], group: str) -> list[StageScore]:
    return [score for score in scores if score.group == group]


def _days(days: float, sign: bool = False) -> str:
    if days != days:  # NaN: nothing detected
        return MISSING
    return signed(days) if sign else f"{days:.1f}"
