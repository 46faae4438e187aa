"""The report of a folder of issues: how the forecast moved."""

import csv
from datetime import date

import numpy as np
import pytest
import xarray as xr
from tests.helpers.cubes import season_cube

from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping.region import map_region
from deepcrop.products.results import find_issues, open_result
from deepcrop.report import report
from deepcrop.report.issue_numbers import crop_pixels, of_fields, of_pixels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issues(tmp_path_factory):
    """Issues of a cube whose NDVI rises on day 120 (+1 per column) and falls on day 250."""
    folder = tmp_path_factory.mktemp("issues")
    cube = season_cube()
    fields = np.ones((20, 30), np.uint32)
    fields[:, 20:] = 2
    land = cube["landcover"].to_dataset().assign(field_id=(("y", "x"), fields))
    cube["landcover"] = xr.DataTree(land)
    save_cube(cube, folder / "cube.zarr")
    (folder / "maps").mkdir()
    for day in ("2018-06-15", "2018-10-15"):
        map_region(
            folder / "cube.zarr",
            2018,
            folder / "maps" / day,
            until=day,
            fields=True,
            seasons=1,
            fractions=(0.5,),
            pictures=False,
        )
    return folder / "maps"


def test_each_issue_says_what_it_knew(issues):
    found = find_issues(issues)
    assert list(found) == [date(2018, 6, 15), date(2018, 10, 15)]
    results = [open_result(path) for path in found.values()]
    early, late = of_pixels(results, "curve", "eos50")
    assert np.isnan(early.day)
    assert early.shares["not yet known"] == 1
    assert late.observed
    assert late.day == pytest.approx(250, abs=4)
    assert late.low < late.day < late.high
    (maize,) = crop_pixels(results[-1]).values()
    assert maize.all()
    west, east = (of_fields(results, "curve", "sos50")[field][1] for field in ("1", "2"))
    assert east.day - west.day == pytest.approx(15, abs=2)  # columns 20-29 after 0-19


def test_the_page_shows_the_issues(issues, tmp_path):
    page = report(issues, tmp_path / "report")
    text = page.read_text()
    period = "2018-06-15 to 2018-10-15"
    for words in ("Issues", period, "not yet known", "By crop", "The largest fields"):
        assert words in text
    names = {path.stem for path in (page.parent / "figures").glob("*.png")}
    assert names == {
        "film_curve_sos50", "film_curve_eos50", "forecast_curve", "crops_curve", "fields_curve",
    }  # fmt: skip
    with (page.parent / "issues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["issue"]) for row in rows] == [
        (stage, day) for stage in ("sos50", "eos50") for day in ("2018-06-15", "2018-10-15")
    ]
    assert [float(row["observed"]) for row in rows[2:]] == [0, 1]


def test_maps_that_are_no_issues_of_one_map_are_named(issues, tmp_path):
    other = tmp_path / "maps"
    other.mkdir()
    for path in issues.iterdir():
        (other / path.name).symlink_to(path)
    map_region(
        issues.parent / "cube.zarr",
        2018,
        other / "2018-12-31",
        seasons=1,
        fractions=(0.5,),
        pictures=False,
    )
    with pytest.raises(DeepCropError, match="a map of a whole year"):
        report(other, tmp_path / "report")
