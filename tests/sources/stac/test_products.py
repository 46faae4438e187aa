import copy
import json
import re
import time

import numpy as np
import pytest
from odc.geo.geom import Geometry
from pyproj import Transformer

from deepcrop.grid import make_grid
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.stac.products import (
    Product,
    best_orbit,
    newest,
    outline,
    passes,
    product_of,
    sentinel2_assets,
    usable_products,
)

BOX = make_grid((500000, 4600000, 501000, 4601000), 32615)


def rectangle(left, bottom, right, top):
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    return Geometry({"type": "Polygon", "coordinates": [ring]}, "EPSG:32615")


def product(name, time="2018-07-01T17:10", acquisition="A", version=(3.0, ""), orbit=69, part=1.0):
    """A product over the western ``part`` of the grid and the land south of it."""
    footprint = rectangle(400000, 4500000, 500000 + part * 1000, 4700000)
    item = {"id": name, "properties": {}}
    when = np.datetime64(time, "ns")
    return Product(item, when, acquisition, version, orbit, None, False, footprint)


def names(products):
    return [p.item["id"] for p in products]


def real(real_data, name):
    content = json.loads((real_data / "stac" / f"{name}.json").read_text())
    return content[0] if isinstance(content, list) else content


def box_in(item):
    """A grid in the middle of an item's image."""
    points = np.array(outline(item))
    epsg = item["properties"]["proj:epsg"]
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*points.mean(axis=0))
    return make_grid((x, y, x + 1000, y + 1000), epsg)


@pytest.mark.parametrize(
    ("name", "sensor", "time", "orbit", "assets"),
    [
        ("planetary_computer_sentinel-2-l2a", "optical", "2024-04-19T09:55:49.024", 122, "B08 SCL"),
        ("earth_search_sentinel-2-c1-l2a", "optical", "2024-07-10T07:41:33.657", 6, "nir scl"),
        ("earth_search_sentinel-2-l2a_v0_2022", "optical", "2022-11-06T16:04:25", 54, "B08 SCL"),
        ("planetary_computer_sentinel-1-rtc", "sar", "2024-04-19T04:59:04.220006", 51, "vv vh"),
    ],
)
def test_real_items(real_data, name, sensor, time, orbit, assets):
    item = real(real_data, name)
    found = product_of(item, sensor, box_in(item))
    assert found.time == np.datetime64(time, "ns")
    assert found.relative_orbit == orbit
    assert found.cloud_cover == item["properties"].get("eo:cloud_cover")
    if sensor == "optical":  # the paper's other near infrared
        b07 = product_of(item, sensor, box_in(item), sentinel2_assets("B07")).item["assets"]["nir"]
        assert b07["name"] in ("B07", "rededge3")
        assert "B07" in b07["href"]
    kept = found.item["assets"]
    first, second = assets.split()
    ours = ("nir", "scl") if sensor == "optical" else ("vv", "vh")
    assert [kept[band]["name"] for band in ours] == [first, second]
    assert kept[ours[0]]["href"] == item["assets"][first]["href"]
    assert found.item["properties"]["proj:code"] == f"EPSG:{item['properties']['proj:epsg']}"
    assert len(json.dumps(found.item)) < 6000


def test_items_that_are_not_read(real_data):
    item = real(real_data, "planetary_computer_sentinel-1-rtc")
    box = box_in(item)
    assert product_of(item, "sar", make_grid((0, 0, 1000, 1000), 32633)) is None
    horizontal = copy.deepcopy(item)
    del horizontal["assets"]["vh"]
    assert product_of(horizontal, "sar", box) is None
    wide = copy.deepcopy(item)
    wide["properties"]["sar:instrument_mode"] = "EW"
    assert product_of(wide, "sar", box) is None
    upwards = copy.deepcopy(item)
    upwards["properties"]["sat:orbit_state"] = "ascending"
    assert product_of(upwards, "sar", box).ascending
    assert not product_of(item, "sar", box).ascending


def test_footprints_over_the_date_line(real_data):
    item = real(real_data, "planetary_computer_sentinel-2-l2a")
    box = make_grid((815000, -1860000, 845000, -1855000), 32660)
    whole = [[178.9, -17.0], [-179.3, -17.0], [-179.3, -16.0], [178.9, -16.0], [178.9, -17.0]]
    half = [[-180.0, -17.0], [-179.3, -17.0], [-179.3, -16.0], [-180.0, -16.0], [-180.0, -17.0]]
    for geometry in (
        {"type": "Polygon", "coordinates": [whole]},
        {"type": "MultiPolygon", "coordinates": [[half]]},
    ):
        found = product_of(item | {"geometry": geometry}, "optical", box)
        assert found is not None
        assert found.footprint.area < 3e10
        assert len(outline(found.item)) == 5
    beside = [[178.0, -17.0], [178.5, -17.0], [178.5, -16.0], [178.0, -17.0]]
    geometry = {"type": "Polygon", "coordinates": [beside]}
    assert product_of(item | {"geometry": geometry}, "optical", box) is None


def test_edges_of_footprints_are_straight_in_degrees(real_data):
    """Over 5 degrees, a parallel bows by kilometres in UTM."""
    item = real(real_data, "planetary_computer_sentinel-2-l2a")
    ring = [[-96, 44], [-91, 44], [-91, 46], [-96, 46], [-96, 44]]
    footprint = {"type": "Polygon", "coordinates": [ring]}
    to_grid = Transformer.from_crs(4326, 32615, always_xy=True)
    for latitude, inside in ((43.99, False), (44.01, True), (45.99, True), (46.01, False)):
        x, y = to_grid.transform(-93.5, latitude)
        box = make_grid((x, y, x + 100, y + 100), 32615)
        assert (product_of(item | {"geometry": footprint}, "optical", box) is not None) == inside


def test_only_the_newest_version_of_a_product():
    every = [
        product("old", version=(2.08, "20180702")),
        product("new", version=(5.0, "20230801")),
        product("same baseline, made later", version=(5.0, "20230901")),
        product("other acquisition", acquisition="B", version=(2.08, "20180702")),
    ]
    assert names(newest(every)) == ["same baseline, made later", "other acquisition"]
    assert names(newest(every[::-1])) == ["same baseline, made later", "other acquisition"]


def test_halves_of_an_acquisition_stay():
    west = product("west", version=(5.0, "1"))
    east = product("east", version=(5.0, "2"))
    east = Product(**vars(east) | {"footprint": rectangle(500500, 4500000, 600000, 4700000)})
    assert names(newest([west, east])) == ["east", "west"]


def test_a_pass_is_one_crossing_and_an_orbit():
    every = [
        product("a", "2018-07-01T17:10"),
        product("b", "2018-07-01T17:11"),
        product("other orbit", "2018-07-01T17:30", orbit=112),
        product("next day", "2018-07-02T17:10"),
    ]
    assert [names(group) for group in passes(every)] == [
        ["a", "b"], ["other orbit"], ["next day"],
    ]  # fmt: skip
    around_midnight = [product("a", "2018-07-01T23:55"), product("b", "2018-07-02T00:05")]
    assert [names(group) for group in passes(around_midnight)] == [["a", "b"]]
    revolution = [product("a", "2018-07-01T22:00"), product("b", "2018-07-01T23:38")]
    assert len(passes(revolution)) == 2


def test_best_orbit_is_that_with_most_area_times_scenes():
    often = [[product(str(k), orbit=12, part=0.3)] for k in range(4)]
    wholly = [[product(str(k), orbit=85)] for k in range(2)]
    assert best_orbit(often + wholly, BOX) == 85
    assert best_orbit(often * 2 + wholly, BOX) == 12
    twice = [[product("a", orbit=7), product("b", orbit=7)]]  # overlaps count once
    assert best_orbit(twice + wholly, BOX) == 85
    assert best_orbit([wholly[0], [product("x", orbit=12)]], BOX) == 12
    assert best_orbit([], BOX) is None


# Odd items


def an_item(**changes):
    """An item of a Sentinel-2 product over `BOX`, with properties or members changed."""
    ring = [[-94, 41], [-92, 41], [-92, 42], [-94, 42], [-94, 41]]
    properties = {
        "datetime": "2018-07-01T17:10:00Z", "eo:cloud_cover": 3, "proj:epsg": 32615,
        "s2:processing_baseline": "05.10",
    }  # fmt: skip
    assets = {name: {"href": f"https://a.org/{name}.tif"} for name in ("B02", "B03", "B04", "B08")}
    item = {
        "id": "good", "bbox": [-94, 41, -92, 42], "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "assets": assets | {"SCL": {"href": "https://a.org/SCL.tif"}},
    }  # fmt: skip
    for name, value in changes.items():
        part = item if name in item else item["properties"]
        part[name] = value
    return item


def polygon(*corners):
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"geometry": polygon([-94, 41], [-93, 1e7], [-92, 42])}, "coordinate 10000000.0"),
        ({"geometry": polygon([-94, 10**400], [-93, 41], [-92, 42])}, "expected degrees"),
        ({"geometry": polygon([-94, float("nan")], [-93, 41], [-92, 42])}, "coordinate nan"),
        ({"geometry": {"a": {}}}, "footprint is of type 'None'"),
        ({"geometry": None}, "footprint is of type 'None'"),
        ({"geometry": {"type": "Polygon", "coordinates": [[]]}}, "0 corners"),
        ({"geometry": polygon(*[[-180 + 360 * (k % 2), k % 90] for k in range(9000)])}, "absurdly"),
        ({"properties": None}, "subscriptable|attribute"),
        ({"datetime": None}, "fromisoformat"),
        ({"datetime": "\ud800"}, "Invalid isoformat"),
        ({"datetime": "9999-12-31T23:59:59-12:00"}, "its time is"),
        ({"eo:cloud_cover": "low"}, "cloud cover is 'low'"),
        ({"eo:cloud_cover": 1e9}, "cloud cover is '1000000000.0'"),
        ({"s2:processing_baseline": "nan"}, "processing baseline is nan"),
        ({"sat:relative_orbit": [22]}, "relative orbit is"),
        ({"proj:epsg": "x"}, "EPSG:x"),
        ({"proj:shape": [1e30, 2]}, "proj:shape"),
        ({"proj:transform": [0] * 6}, "proj:transform"),
        ({"assets": [1]}, "list|int|no product"),
        ({"bbox": "everywhere"}, "its bbox"),
        ({"id": None}, "its id"),
        ({"id": "\udcff"}, "surrogates"),
    ],
)
def test_an_odd_item_costs_that_item(changes, words, caplog):
    """It is named, and the item beside it is kept."""
    odd = an_item(**{"id": "odd one"} | changes)
    started = time.monotonic()
    found = usable_products([an_item(), odd], "optical", BOX, "The archive")
    assert time.monotonic() - started < 1
    assert names(found) == ["good"]
    if "assets" not in changes:  # an item without the bands is of another kind
        assert len(caplog.messages) == 1
        assert re.search(words, caplog.messages[0])
        assert "id" in changes or "'odd one' is left out" in caplog.messages[0]
        with pytest.raises(ArchiveError, match="no optical product that can be used"):
            usable_products([odd], "optical", BOX, "The archive")


@pytest.mark.parametrize("item", [None, 3, "text", [], {}, {"id": {}}])
def test_what_is_no_item_is_left_out(item, caplog):
    assert names(usable_products([item, an_item()], "optical", BOX, "A")) == ["good"]
    assert "is left out" in caplog.text


def test_a_footprint_that_crosses_itself_is_mended():
    bow = polygon([-94, 41], [-91, 42], [-91, 41], [-94, 42])
    (found,) = usable_products([an_item(geometry=bow)], "optical", BOX, "A")
    assert found.footprint.is_valid
    assert newest([found, found])
