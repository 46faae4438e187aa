"""Dates at points: of a map and of the cube itself, with reasons; nothing is dropped silently."""

import numpy as np
import pandas as pd
import pytest
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures
from tests.helpers.small_result import DAYS, small_result

from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping.points import OUTSIDE, _dates, _of_map, points_table, write_points
from deepcrop.stages import CALENDAR

LEFT, TOP = 500000, 5600200
"""Upper left corner of `season_cube`, whose SOS50 is day 120 plus the column; row 0 is masked."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cube with its map, and points: in columns 0 and 20, in the masked row, outside."""
    folder = tmp_path_factory.mktemp("points")
    save_cube(season_cube(), folder / "cube.zarr")
    map_without_pictures(folder / "cube.zarr", 2018, folder / "maps")
    places = {"a": (0, 5), "b": (20, 19), "masked": (3, 0), "outside": (30, 5)}
    rows = [f"{n},{LEFT + 10 * c + 5},{TOP - 10 * r - 5}" for n, (c, r) in places.items()]
    (folder / "points.csv").write_text("# four places\nname,X,y\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def of_map(folder):
    return points_table(folder / "maps", folder / "points.csv")


def test_each_point_has_its_dates_in_order(of_map):
    for name, later in (("a", 0), ("b", 20)):
        rows = of_map[of_map["name"] == name]
        assert tuple(rows["stage"]) == CALENDAR
        dates = pd.to_datetime(rows["date"]).values
        day = (dates - np.datetime64("2018-01-01")).astype("timedelta64[D]").astype(int)
        assert abs(day[1] - (120 + later)) <= 3
        assert abs(day[3] - 250) <= 3
        assert (rows["low"] <= rows["date"]).all()
        assert (rows["high"] >= rows["date"]).all()
        assert rows["reason"].isna().all()


def test_what_has_no_date_says_why(folder, of_map):
    masked = of_map[of_map["name"] == "masked"]
    assert masked["date"].isna().all()
    assert set(masked["reason"]) == {"never seen by any sensor that the method reads"}
    outside = of_map[of_map["name"] == "outside"]
    assert list(outside["reason"]) == [OUTSIDE]
    assert of_map.attrs == {"simulated": False, "outside": 1}


def test_a_cube_gives_the_dates_of_its_map(folder, of_map):
    of_cube = points_table(folder / "cube.zarr", folder / "points.csv", year=2018)
    pd.testing.assert_frame_equal(of_cube, of_map)


def test_a_cube_knows_the_reason_of_each_date(tmp_path):
    cube = season_cube(rows=4, cols=4)
    times = cube["optical"]["time"].values
    gap = (times > np.datetime64("2018-03-10")) & (times < np.datetime64("2018-07-10"))
    cube["optical"]["red"].values[gap, 2] = np.nan
    save_cube(cube, tmp_path / "cube.zarr")
    (tmp_path / "points.csv").write_text(f"x,y\n{LEFT + 5},{5600040 - 25}\n")
    table = points_table(tmp_path / "cube.zarr", tmp_path / "points.csv", year=2018)
    reasons = dict(zip(table["stage"], table["reason"], strict=True))
    assert reasons["sos50"] == "gap over the event"
    assert reasons["eos50"] is None


def test_probabilities_are_those_of_the_network(tmp_path):
    result = small_result(tmp_path)
    network = list(_dates(_of_map(result, "deepcrop", np.array([9]), np.array([0])), 0, 2018))
    curve = list(_dates(_of_map(result, "curve", np.array([0]), np.array([0])), 0, 2018))
    day = np.datetime64("2018-01-01") + DAYS["sos20"] - 4
    assert network[0] == (1, "sos20", str(day), str(day - 6), str(day + 6), 90, None, None, None)
    assert len(network) == len(curve) == len(DAYS)  # nothing of a second season without dates
    assert curve[0][2:7] == (None,) * 5
    assert curve[0][7] == "no season"


def test_the_file_marks_simulated_data(of_map, tmp_path):
    table = of_map.copy()
    table.attrs = {"simulated": True}
    write_points(table, tmp_path / "dates.csv")
    assert (tmp_path / "dates.csv").read_text().startswith("# SIMULATED DATA\nname,X,y,method,")
    again = pd.read_csv(tmp_path / "dates.csv", comment="#")
    assert len(again) == len(of_map)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,east,north\na,1,2\n", "has the columns name, east, north; expected lon and lat"),
        ("name;lon;lat\na;1;2\n", "save it with commas"),
        ("", "has the columns none"),
        ("lon,lat\n", "holds no points"),
        ("lon,lat\n5.1,51\n5.1\n", "line 3: 1 cells, but the heading has 2"),
        ("lon,lat\n# here\n5.1,x\n", "line 3: lat is 'x'; expected a number"),
        ("lon,lat\n5.1,\n", "line 2: lat is ''"),
        ("lon,lat\n51,500\n", "line 2: longitude 51, latitude 500 are no degrees"),
        ("lon,lat,date\n5,51,x\n", "column date has the name of a column of the result"),
        ("lon,lat\n5.1,10\n", r"none of the 1 points lies in .*maps, which spans 3\.00"),
        ("x,y\n3.0,50.5\n", "name the columns lon and lat"),
        ("lat,lat,lon\n1,2,3\n", "each once"),
    ],
)
def test_files_that_are_no_points_are_rejected(folder, tmp_path, text, words):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(DeepCropError, match=words):
        points_table(folder / "maps", tmp_path / "points.csv")


def test_the_year_is_that_of_the_map_and_needed_of_a_cube(folder):
    with pytest.raises(DeepCropError, match="is a map of 2018, not of 2019"):
        points_table(folder / "maps", folder / "points.csv", year=2019)
    with pytest.raises(DeepCropError, match="is a cube, which needs a target year"):
        points_table(folder / "cube.zarr", folder / "points.csv")


def test_degrees_win_over_x_and_y(folder, tmp_path, of_map):
    (tmp_path / "points.csv").write_text("x,y,longitude,Lat\n0,0,3.0007,50.5525\n")
    table = points_table(folder / "maps", tmp_path / "points.csv")
    assert set(table["season"]) == {1}
