"""Fields and drawn areas: which pixels they hold, and what is refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr
from pyproj import Transformer

from deepcrop.errors import DeepCropError
from deepcrop.grid import make_grid
from deepcrop.products.fields import write_fields
from deepcrop.viewer import areas

LEFT, TOP = 500000, 4600300
BOX = make_grid((LEFT, TOP - 300, LEFT + 400, TOP), "EPSG:32615")  # 30 x 40 pixels
TO_DEGREES = Transformer.from_crs("EPSG:32615", "EPSG:4326", always_xy=True)


def corners(*places):
    """A polygon as the page sends it, from metres right of and below the upper left."""
    degrees = (TO_DEGREES.transform(LEFT + x, TOP - y) for x, y in places)
    return ";".join(f"{lon:.8f},{lat:.8f}" for lon, lat in degrees)


def everywhere(area):
    """The pixels of an area on the whole grid."""
    found = np.zeros(BOX.shape, bool)
    found[area.rows, area.cols] = area.inside
    return found


def test_a_drawn_area_holds_the_pixels_whose_centre_lies_in_it():
    area = areas.drawn_area(corners((96, 43), (204, 43), (204, 107), (96, 107)), BOX)
    expected = np.zeros(BOX.shape, bool)
    expected[4:11, 10:20] = True  # centres at 45 to 105 m, and at 105 to 195 m
    np.testing.assert_array_equal(everywhere(area), expected)
    (((first, *_),),) = [[ring[:1] for ring in polygon] for polygon in areas.outline(area, BOX)]
    assert first in ((LEFT + 100, TOP - 40), (LEFT + 100, TOP - 110))
    beyond = areas.drawn_area(corners((-500, -500), (14, -500), (14, 14), (-500, 14)), BOX)
    assert everywhere(beyond).sum() == 1  # only one pixel of it is on the map


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no polygon"),
        ("1,2", "three corners or more"),
        ("1,2;3", "is no polygon"),
        ("a,b;c,d;e,f", "is no polygon"),
        ("1,2,3;4,5,6", "is no polygon"),
        ("nan,1;2,3;4,5", "no place on the earth"),
        ("inf,1;2,3;4,5", "no place on the earth"),
        ("0,95;1,95;1,96", "no place on the earth"),
        ("1e300,0;1,1;2,2", "no place on the earth"),
        (";".join(["0,0"] * 501), "501 corners; expected at most 500"),
        (corners((0, 0), (100, 100), (100, 0), (0, 100)), "crosses itself"),
        (corners((10, 10), (10, 10), (10, 10)), "crosses itself"),
        (corners((900, 0), (990, 0), (990, 90)), "outside the map"),
        ("10,50;11,50;11,51", "outside the map|cannot be drawn"),
        (corners((11, 11), (13, 11), (13, 13)), "has its centre in this area"),
    ],
)
def test_absurd_polygons(text, words):
    with pytest.raises(DeepCropError, match=words):
        areas.drawn_area(text, BOX)


def test_an_area_is_bounded():
    box = make_grid((LEFT, TOP - 20000, LEFT + 20000, TOP), "EPSG:32615")
    whole = corners((0, 0), (20000, 0), (20000, 20000), (0, 20000))
    with pytest.raises(DeepCropError, match=r"spans [\d,]+ pixels .* at most 1,000,000. Draw a"):
        areas.drawn_area(whole, box)
    one = xr.DataArray(np.broadcast_to(np.uint32(7), box.shape), dims=("y", "x"))
    with pytest.raises(DeepCropError, match="at most 1,000,000"):
        areas.Fields(Path("nowhere"), box, one).at(1000, 1000)


def test_a_field_is_all_pixels_of_its_number():
    rows, cols = 200, 300
    box = make_grid((LEFT, TOP - 10 * rows, LEFT + 10 * cols, TOP), "EPSG:32615")
    numbers = np.zeros((rows, cols), np.uint32)
    numbers[20:30, 5:290] = 9  # longer than the first window that is read
    numbers[30:40, 5:15] = 4
    fields = areas.Fields(Path("nowhere"), box, xr.DataArray(numbers, dims=("y", "x")))
    area = fields.at(25, 100)
    assert (area.name, area.rows, area.cols) == ("field 9", slice(20, 30), slice(5, 290))
    assert area.inside.all()
    assert fields.at(35, 10).inside.sum() == 100
    with pytest.raises(DeepCropError, match="There is no field here"):
        fields.at(100, 100)


def test_parcels_of_the_map_come_before_numbers_of_the_cube(tmp_path, caplog):
    pytest.importorskip("pyogrio")
    large = shapely.box(LEFT, TOP - 200, LEFT + 200, TOP)
    small = shapely.box(LEFT + 50, TOP - 100, LEFT + 100, TOP - 50)
    table = {"field": [31, 32], "pixels": [400, 25]}
    write_fields(tmp_path, table, np.array([large, small]), BOX, "parcels", True)
    numbers = xr.DataArray(np.full(BOX.shape, 5, np.uint32), dims=("y", "x"))
    fields = areas.Fields(tmp_path, BOX, numbers)
    assert fields.known
    with caplog.at_level(logging.WARNING):
        area = fields.at(7, 7)  # both hold it: the smaller is the field
    assert caplog.records == []
    assert (area.name, int(area.inside.sum())) == ("field 32", 25)
    assert fields.at(15, 15).name == "field 31"
    with pytest.raises(DeepCropError, match="no field here"):
        fields.at(25, 35)
    (tmp_path / "fields.parquet").write_bytes(b"PAR1")
    with pytest.raises(DeepCropError, match=r"fields\.parquet"):
        areas.Fields(tmp_path, BOX, numbers).at(7, 7)
