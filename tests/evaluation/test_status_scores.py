"""Errors of a map in season by status, against known truth."""

import numpy as np
import pytest
import rasterio
import xarray as xr
from tests.helpers.command_line import run
from tests.helpers.cubes import season_cube

from deepcrop import grid
from deepcrop.cube.io import save_cube
from deepcrop.evaluation.status_scores import status_table
from deepcrop.products.layers import FORECAST, NO_STATUS, NOT_YET_KNOWN, OBSERVED
from deepcrop.stages import NO_DAY, SLOTS, STAGES

TRUE, LAST = 200, 212
"""True date of every pixel but the last, which has none, and the day number of 1 August."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map of two rows; the second is left out, the first has each status.

    Two pixels are observed, two forecast, one is not yet known, one left out, the last is no crop.

    The second observed pixel has a true date after the last day; the second forecast misses it.
    """
    path = tmp_path_factory.mktemp("by_status")
    cube = season_cube(rows=2, cols=7)
    true = np.full((SLOTS, 2, 7), NO_DAY, np.int16)
    true[0, 0] = [TRUE, TRUE + 50, TRUE, TRUE + 50, TRUE, TRUE, NO_DAY]
    box = grid.grid_of(cube["landcover"].to_dataset())
    truth = xr.Dataset(dict.fromkeys(STAGES, (("season", "y", "x"), true)))
    truth.attrs["year"] = 2018
    cube["truth"] = grid.assign_grid(truth, box)
    save_cube(cube, path / "cube.zarr")
    layers = {
        "": [203, 190, 205, 229, NO_DAY, NO_DAY, 203],
        "_low": [195, 180, 190, 220, NO_DAY, NO_DAY, 195],
        "_high": [210, 205, 220, 240, NO_DAY, NO_DAY, 210],
        "_status": [OBSERVED] * 2 + [FORECAST] * 2 + [NOT_YET_KNOWN, NO_STATUS, OBSERVED],
    }
    (path / "map").mkdir()
    for part, values in layers.items():
        kind, empty = ("uint8", NO_STATUS) if part == "_status" else ("int16", NO_DAY)
        about = {"crs": str(box.crs), "transform": box.affine, "width": 7, "height": 2, "count": 1}
        for stage in STAGES:
            file = path / "map" / f"{stage}{part}.tif"
            with rasterio.open(file, "w", driver="GTiff", dtype=kind, **about) as layer:
                rows = [values, [empty] * 7]
                layer.write(np.array([rows], kind))
                layer.update_tags(year="2018", until="2018-08-01")
    return path


def test_observed_and_forecast_dates_are_scored_by_themselves(folder):
    table = status_table(folder / "map", folder / "cube.zarr")
    assert len(table.rows) == 2 * len(STAGES)
    # Pixels, share of the five mapped ones with a true date, MAE, median, inside, ahead.
    assert table.rows[0] == ("SOS20", "observed", 2, 40, (3 + 60) / 2, (3 + 60) / 2, 50, 50)
    assert table.rows[1] == ("SOS20", "forecast", 2, 40, (5 + 21) / 2, (5 + 21) / 2, 50, 50)


def test_command_prints_them(folder):
    done = run("score", folder / "map", folder / "cube.zarr")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "forecast" in line)
    assert line.replace("│", " ").split()[2:] == ["2", "40.0", "13.0", "13.0", "50.0", "50.0"]


def test_dates_of_a_whole_year_have_no_status(folder, tmp_path):
    (tmp_path / "sos20.tif").write_bytes((folder / "map" / "sos20.tif").read_bytes())
    assert status_table(tmp_path, folder / "cube.zarr") is None
