"""Score a map in season by status: what its observed and its forecast dates are worth."""

from __future__ import annotations

import datetime
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.windows import Window

from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube.io import open_cube
from deepcrop.evaluation.scores import summarize_errors
from deepcrop.products.layers import FORECAST, NO_STATUS, OBSERVED, STATUS, layer_name
from deepcrop.report.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
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
        tallies, pixels = _count(map_dir, truth[stage], stage)
        for code, tally in tallies.items():
            share = 100 * tally.pixels / pixels if pixels else np.nan
            rows.append((stage.upper(), STATUS[code], tally.pixels, share, *tally.scores()))
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


_MOST = 2 * (stages.DAY_MAX - stages.DAY_MIN)  # days between two dates, at most


@dataclass
class _Tally:
    """Dates of one stage and status, counted tile by tile.

    Attributes
    ----------
    errors : ndarray of int
        How often each error occurs, from ``-_MOST`` days.
    pixels, intervals, inside, ahead : int
        Dates; those with an interval, and true dates inside it; true dates that lie ahead.
    """

    errors: NDArray[np.int64]
    pixels: int = 0
    intervals: int = 0
    inside: int = 0
    ahead: int = 0

    def scores(self) -> tuple[Cell, ...]:
        errors = summarize_errors(np.arange(-_MOST, _MOST + 1), self.errors)
        inside = 100 * self.inside / self.intervals if self.intervals else np.nan
        ahead = 100 * self.ahead / self.pixels if self.pixels else np.nan
        return errors.mae, errors.median, inside, ahead


def _count(map_dir: Path, truth: xr.DataArray, stage: str) -> tuple[dict[int, _Tally], int]:
    """Count the observed and the forecast dates of a stage, and all mapped true dates."""
    tallies = {code: _Tally(np.zeros(2 * _MOST + 1, np.int64)) for code in (OBSERVED, FORECAST)}
    pixels, last = 0, _last_day(map_dir, stage)
    paths = (
        map_dir / f"{layer_name(stage, 1, part)}.tif" for part in ("", "low", "high", "status")
    )
    with ExitStack() as opened:
        layers = [opened.enter_context(rasterio.open(path)) for path in paths]
        rows, cols = truth.shape[1:]
        for tile in grid.tiles((rows, cols), contract.CHUNK):
            window = Window.from_slices(*tile.core)
            day, low, high, status = (layer.read(1, window=window) for layer in layers)
            true = truth[(0, *tile.core)].values
            known = (true != stages.NO_DAY) & (status != NO_STATUS)
            pixels += int(known.sum())
            for code, tally in tallies.items():
                here = known & (status == code) & (day != stages.NO_DAY)
                dated = here & (low != stages.NO_DAY)
                errors = day[here].astype(np.int64) - true[here]
                tally.errors += np.bincount(errors + _MOST, minlength=2 * _MOST + 1)
                tally.pixels += int(here.sum())
                tally.intervals += int(dated.sum())
                tally.inside += int((dated & (low <= true) & (true <= high)).sum())
                tally.ahead += int((here & (true > last)).sum())
    return tallies, pixels


def _last_day(map_dir: Path, stage: str) -> float:
    """Day number of the map's ``until``."""
    with rasterio.open(map_dir / f"{stage}.tif") as layer:
        tags = layer.tags()
    until = datetime.date.fromisoformat(tags["until"])
    return float((until - datetime.date(int(tags["year"]), 1, 1)).days)
