"""Score a map in season by status: what its observed and its forecast dates are worth."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from deepcrop import stages
from deepcrop.cube.io import open_cube
from deepcrop.evaluation.scores import mean_of_finite, summarize_errors
from deepcrop.products.layers import FORECAST, NO_STATUS, OBSERVED, STATUS, layer_name
from deepcrop.report.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.report.tables import Cell


def status_table(map_dir: Path, cube_path: Path) -> Table | None:
    """Tabulate the errors of the observed and of the forecast dates of a simulated region.

    The main season as it is written is compared with the true main season of the year, whichever
    season the map took for it.

    Parameters
    ----------
    map_dir, cube_path : Path
        Of one method, and the region, as of `deepcrop.evaluation.map_truth.score_map`, which
        refuses what cannot be compared.

    Returns
    -------
    Table or None
        None if the map was made without ``until``: its dates have no status.
    """
    if not (map_dir / f"{layer_name(stages.STAGES[0], 1, 'status')}.tif").is_file():
        return None
    truth = open_cube(cube_path)["truth"].to_dataset()
    rows: list[tuple[Cell, ...]] = []
    for stage in stages.STAGES:
        true = truth[stage].values[0]
        day, low, high, status = (
            _read(map_dir / f"{layer_name(stage, 1, part)}.tif")
            for part in ("", "low", "high", "status")
        )
        known = (true != stages.NO_DAY) & (status != NO_STATUS)
        for code in (OBSERVED, FORECAST):
            here = known & (status == code)
            cells = _score(true[here], day[here], low[here], high[here], _last_day(map_dir, stage))
            share = 100 * float(here.sum() / known.sum()) if known.any() else np.nan
            rows.append((stage.upper(), STATUS[code], int(here.sum()), share, *cells))
    return Table(
        "Main season by status, against the true main season",
        ("stage", "status", "pixels", "share, %", "MAE", "median", "inside, %", "ahead, %"),
        rows,
        "Errors in days. Share: of the mapped pixels with a true date; the others have no date in "
        "the map. Inside: true dates inside the 90 % interval. Ahead: true dates after the last "
        "day of the observations.",
        name="status",
        text_columns=2,
    )


def _score(
    true: NDArray[np.int16],
    day: NDArray[np.int16],
    low: NDArray[np.int16],
    high: NDArray[np.int16],
    last: float,
) -> tuple[Cell, ...]:
    errors = summarize_errors(day.astype(np.float64) - true)
    inside = np.where(low != stages.NO_DAY, (low <= true) & (true <= high), np.nan)
    return errors.mae, errors.median, *(100 * mean_of_finite(x) for x in (inside, true > last))


def _read(path: Path) -> NDArray[np.int16]:
    with rasterio.open(path) as layer:
        values: NDArray[np.int16] = layer.read(1)
    return values


def _last_day(map_dir: Path, stage: str) -> float:
    """Day number of the map's ``until``."""
    with rasterio.open(map_dir / f"{stage}.tif") as layer:
        tags = layer.tags()
    until = datetime.date.fromisoformat(tags["until"])
    return float((until - datetime.date(int(tags["year"]), 1, 1)).days)
