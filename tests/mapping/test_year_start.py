"""Maps of a year that starts on another day than 1 January: one southern summer, one season."""

import json
import logging

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

import deepcrop as dc
from deepcrop import grid, stages
from deepcrop.cube.contract import build, grid_of
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import map_truth
from deepcrop.products.results import open_result
from deepcrop.simulation import truth
from deepcrop.viewer.viewed_map import ViewedMap

PEAKS = np.array(["2017-12-27", "2019-01-04", "2019-12-28"], "datetime64[D]")
ROWS, COLS = 8, 12


def southern_cube():
    """NDVI of three summer crops at 31° S that peak about New Year, a day later per column."""
    box = grid.make_grid((500000, 6570000, 500000 + 10 * COLS, 6570000 + 10 * ROWS), "EPSG:32721")
    times = np.arange("2017-07-01", "2020-07-01", 5, "datetime64[D]")
    late = np.arange(COLS) - COLS // 2
    away = (times[:, None, None] - PEAKS).astype(float) - late[:, None]
    ndvi = 0.2 + 0.6 * np.exp(-((away / 45) ** 2)).sum(axis=-1)
    ndvi = np.broadcast_to(ndvi[:, None], (len(times), ROWS, COLS)).astype(np.float32)
    red = np.full_like(ndvi, 0.05)
    bands = {"blue": red, "green": red, "red": red, "nir": red * (1 + ndvi) / (1 - ndvi)}
    data = {name: (("time", "y", "x"), values) for name, values in bands.items()}
    optical = grid.assign_grid(xr.Dataset(data, {"time": times.astype("datetime64[ns]")}), box)
    optical.attrs = {"source": "made up", "offset": "none"}
    return build(optical, None, None, {"title": "southern fields"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("year_start")
    save_cube(southern_cube(), path / "cube.zarr")
    return path


@pytest.fixture(scope="module")
def result(folder):
    cube, out = folder / "cube.zarr", folder / "maps"
    dc.map_region(cube, 2019, out, pictures=False, year_start="07-01")
    return open_result(out)


def read(result, name):
    with rasterio.open(result.path / f"{name}.tif") as file:
        return file.read(1), file.tags()


@pytest.mark.parametrize(
    ("year", "start", "count"),
    [(2018, "07-01", 1), (2019, "07-01", 1), (2020, "07-01", 1), (2019, "auto", 1)],
)
def test_each_southern_year_has_one_season_in_every_pixel(folder, year, start, count):
    seasons = dc.map_seasons(dc.open_cube(folder / "cube.zarr"), year, year_start=start)
    assert (seasons.n_cycles == count).all()
    expected = (PEAKS[year - 2018] - np.datetime64(f"{year}-01-01")).astype(int)
    for column in range(COLS):
        np.testing.assert_allclose(
            seasons.peak[:, column], expected + column - COLS // 2, atol=4, err_msg=column
        )
    assert seasons.attrs["year_start"] == "07-01"
    assert seasons.sos50.attrs["valid_range"].tolist() == [-365, 364]


def test_a_calendar_year_splits_them_with_a_warning(folder, caplog):
    cube = dc.open_cube(folder / "cube.zarr")
    with caplog.at_level(logging.WARNING):
        split = dc.map_seasons(cube, 2019)
    assert set(np.unique(split.n_cycles)) == {1, 2}  # a season more or less by the column
    assert "year start 07-01 keeps them whole" in caplog.text
    caplog.clear()
    dc.map_seasons(cube, 2019, year_start="01-01")
    dc.map_seasons(cube, 2019, year_start="auto")
    assert not caplog.text


def test_files_say_which_year_and_which_days(result):
    assert result.target == stages.TargetYear(2019, "07-01")
    summary = result.summary
    assert (summary["year_start"], summary["day_range"]) == ("07-01", [-365, 364])
    day, tags = read(result, "sos50")
    assert (tags["year"], tags["year_start"], tags["day_range"]) == ("2019", "07-01", "-365 364")
    assert ((day > -60) & (day < -20)).all()
    # 73 passes 5 days apart from 1 July 2018 to 30 June 2019.
    assert np.unique(read(result, "n_obs_optical")[0]).tolist() == [73]
    assert np.unique(read(result, "max_gap_optical")[0]).tolist() == [4]
    item = pystac.Item.from_file(result.path / "item.json")
    assert item.properties["start_datetime"] == "2018-07-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2019-06-30T23:59:59Z"
    assert item.id == "southern-fields-2019-from-07-01-curve"
    layers = json.loads((result.path / "item.json").read_text())["assets"]
    assert "1 July 2018 to 30 June 2019" in layers["n_obs_optical"]["title"]
    median = summary["maps"]["curve"]["layers"]["sos50"]["median_date"]
    assert median == str(stages.to_dates(np.median(day), 2019))
    assert "2018-1" in (result.path / "sos50.qml").read_text()


def test_days_beyond_those_of_a_calendar_year_are_stored():
    target = stages.TargetYear(2019, "07-01")
    days = np.array([-365.4, -300.0, 364.4, 364.6])
    assert stages.encode(days, target.range).tolist() == [-365, -300, 364, stages.NO_DAY]


def test_the_viewer_reads_the_observations_of_that_year(folder, result):
    viewed = ViewedMap(result.path, folder / "cube.zarr")
    about = viewed.describe()
    assert (about["year_label"], about["middle"]) == ("1 July 2018 to 30 June 2019", -2)
    series = viewed.series(2, 3)[0]
    assert series.days.min() >= -365 - 60
    assert series.days.max() <= 364 + 60


def test_scores_against_a_calendar_year_are_refused(folder, result):
    calendar = truth.template(ROWS, COLS, 2019)
    cube = dc.open_cube(folder / "cube.zarr")
    tree = xr.DataTree.from_dict({"/truth": grid.assign_grid(calendar, grid_of(cube))})
    with pytest.raises(DeepCropError, match="1 July 2018 to 30 June 2019"):
        map_truth._map_block(result.path, slice(0, 2), slice(0, 2), tree["truth"].to_dataset())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "deepcrop", "year_start": "07-01"}, "network was trained on years"),
        ({"method": "both", "year_start": "auto"}, "method 'curve'"),
        ({"year_start": "13-01"}, "13-01"),
        ({"year_start": "02-29"}, "02-29"),
        ({"year_start": "July"}, "for example 07-01"),
    ],
)
def test_other_starts_are_refused_with_advice(folder, options, words):
    with pytest.raises(DeepCropError, match=words):
        dc.map_region(folder / "cube.zarr", 2019, folder / "none", **options)
