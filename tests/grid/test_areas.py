import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from shapely import Point

from deepcrop.errors import DeepCropError
from deepcrop.grid import areas
from deepcrop.grid.areas import PAPER_AREAS, area_of, around, cover, utm_crs


def cells(box, longitude, latitude):
    """Columns and rows of places, as fractions; 0 and the shape are the edges."""
    to_grid = Transformer.from_crs("EPSG:4326", str(box.crs), always_xy=True)
    x, y = to_grid.transform(longitude, latitude)
    return (np.array(x) - box.affine.c) / 10, (box.affine.f - np.array(y)) / 10


def assert_covers(box, longitude, latitude):
    col, row = cells(box, longitude, latitude)
    slack = 1e-5  # the grid forgives a millionth of a pixel
    assert -slack <= col.min()
    assert col.max() <= box.shape[1] + slack
    assert -slack <= row.min()
    assert row.max() <= box.shape[0] + slack


def assert_tight(box, longitude, latitude, pixels=1):
    """No row or column at an edge is without need, but for so many."""
    col, row = cells(box, longitude, latitude)
    assert col.min() <= pixels
    assert box.shape[1] - col.max() <= pixels
    assert row.min() <= pixels
    assert box.shape[0] - row.max() <= pixels


def outline(west, south, east, north, points=200):
    share = np.linspace(0, 1, points)
    across, up = west + share * (east - west), south + share * (north - south)
    south, north, west, east = (np.full(points, v) for v in (south, north, west, east))
    longitude = np.concatenate([across, across, west, east])
    return (longitude + 180) % 360 - 180, np.concatenate([south, north, up, up])


def geojson(folder, content, name="field.geojson"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def ring(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


# A box of degrees -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "epsg"),
    [
        ("-121.6,38.0,-121.5,38.1", 32610),
        (" 5.1 , 52.0 , 5.2 , 52.05 ", 32631),
        ("1.5e1,-34.01,15.1,-3.4e1", 32733),
        ("-60.1,-33.1,-60,-33", 32720),
        ("-0.05,-0.05,0.15,-0.01", 32731),
        ("-0.05,0.01,0.15,0.05", 32631),
        ("-96.05,41.6,-96.01,41.7", 32614),
        ("-95.99,41.6,-95.95,41.7", 32615),
        ("-96.03,41.6,-95.99,41.7", 32614),  # over the edge: the zone of the centre
        ("179.95,52,180,52.05", 32660),
        ("-180,52,-179.95,52.05", 32601),
        ("0,83.9,0.5,84", 32631),
        ("0,-80,0.5,-79.9", 32731),
    ],
)
def test_a_box_of_degrees_is_covered_in_the_zone_of_its_centre(text, epsg):
    area = area_of(text)
    assert area.name == "area"
    assert area.box.crs.epsg == epsg
    a, b, c, d, e, f = area.box.affine[:6]
    assert (a, b, d, e) == (10, 0, 0, -10)
    assert c % 10 == f % 10 == 0
    edges = outline(*map(float, text.split(",")))
    assert_covers(area.box, *edges)
    assert_tight(area.box, *edges)


def test_size_of_a_box_worked_out_by_hand():
    """A minute of latitude on the central meridian of zone 31 at the equator: 1842.2 m in UTM."""
    box = cover(3, 0, 3 + 1 / 60, 1 / 60)
    assert box.affine.c == 500_000
    assert box.affine.f == 1850  # 110 574 m / 60 * 0.9996 = 1842.2, up to the next 10 m
    assert box.shape == (185, 186)  # 111 320 m / 60 * 0.9996 = 1854.6


@pytest.mark.parametrize("text", ["179.96,52,-179.97,52.05", "179.96,52,180.03,52.05"])
def test_over_the_date_line(text):
    box = area_of(text).box
    assert box.crs.epsg == 32660
    assert box.shape[1] < 520  # 0.07 degrees, not the other 359.93
    assert_covers(box, *outline(179.96, 52, 180.03, 52.05))
    assert_tight(box, *outline(179.96, 52, 180.03, 52.05))
    west, east = cells(box, [180.0, -180.0], [52.02, 52.02])[0]
    assert west == pytest.approx(east, abs=1e-6)
    assert area_of("179.97,52,-179.96,52.05").box.crs.epsg == 32601


def test_edges_of_wide_boxes_are_curves():
    """In the far north the northern edge's middle and corners lie a kilometre apart."""
    box = cover(12, 69, 18, 70)  # from edge to edge of zone 33
    assert_covers(box, *outline(12, 69, 18, 70, 2000))
    corners = cells(box, [12, 18], [69, 69])[1]
    middle = cells(box, [15.0], [69.0])[1]
    assert middle[0] - corners.max() > 100  # 1 km further south
    assert box.shape[0] - middle[0] <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown"),
        ("solano", "ta1, ta1-counties, ta2"),
        ("1,2,3", "west,south,east,north"),
        ("1,2,3,4,5", "unknown"),
        ("1;2;3;4", "unknown"),
        ("a,b,c,d", "unknown"),
        ("no/such.geojson", "no/such.geojson"),
        ("5,52,5.1,nan", "finite"),
        ("5,52,inf,53", "finite"),
        ("5,52,5,53", "west < east"),
        ("5,52,6,52", "south < north"),
        ("5,53,6,52", "south < north"),
        ("38.0,-121.6,38.1,-121.5", "south < north"),  # latitude first
        ("-200,10,-199,11", "no box of degrees"),
        ("5,80,5.1,91", "no box of degrees"),
        ("5,52,4.9,53", "no box of degrees"),  # over the date line, nearly all the way round
        ("5,84.5,5.1,84.6", "beyond UTM"),
        ("5,-80.6,5.1,-80.5", "beyond UTM"),
        ("5,-90,5.1,-80.5", "beyond UTM"),
        ("-10,40,10,41", "in parts"),
        ("-80,-10,80,10", "in parts"),
        ("-10,40,80,41", "in parts"),
    ],
)
def test_areas_that_make_no_sense(text, words):
    with pytest.raises(DeepCropError, match=words):
        area_of(text)


@pytest.mark.parametrize(
    ("latitude", "longitude", "epsg"),
    [
        (0, -180, 32601),
        (0, 180, 32601),  # the same meridian
        (-0.0001, 0, 32731),
        (41, -96, 32615),  # an edge belongs to the zone east of it
        (41, -96.0001, 32614),
        (84, 3, 32631),
        (-80, 3, 32731),
        (60, 190, 32602),  # east of the date line, counted on
    ],
)
def test_zones(latitude, longitude, epsg):
    assert utm_crs(latitude, longitude) == f"EPSG:{epsg}"


@pytest.mark.parametrize("latitude", [84.001, -80.001, 90, math.nan])
def test_no_zone_beyond_utm(latitude):
    with pytest.raises(DeepCropError, match="beyond UTM"):
        utm_crs(latitude, 0)


@given(
    west=st.floats(-180, 179.9),
    south=st.floats(-79.9, 83.8),
    width=st.floats(1e-4, 0.3),
    height=st.floats(1e-4, 0.1),
)
def test_the_grid_covers_every_corner_and_is_no_larger(west, south, width, height):
    east, north = west + width, south + height
    box = cover(west, south, east if east <= 180 else east - 360, north)
    zone = box.crs.epsg % 100
    assert abs((west + width / 2 - (6 * zone - 183) + 180) % 360 - 180) <= 3 + 1e-9
    edges = outline(west, south, east, north)
    assert_covers(box, *edges)
    assert_tight(box, *edges, pixels=1.01)


# Places of the paper, and grids around a place --------------------------------------------------


@pytest.mark.parametrize("name", ["ta1", "ta1-counties", "TA2"])
def test_areas_of_the_paper_are_40_km_by_10_km_around_their_centres(name):
    area = area_of(name)
    assert area.name == name.lower()
    assert area.box.shape == (1000, 4000)
    assert area.box.crs.epsg == (32616 if name == "TA2" else 32610)
    left, bottom, right, top = area.box.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(area.box.crs), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    named = PAPER_AREAS[name.lower()]
    distance = Geod(ellps="WGS84").inv(longitude, latitude, named[1], named[0])[2]
    assert distance < 1000
    assert distance < 10  # the grid's step is all that is between


def test_the_second_reading_of_ta1_lies_in_solano_and_yolo():
    """As printed the area has none of these places; between the counties runs Putah Creek."""
    printed, counties = (area_of(name).box.geographic_extent for name in ("ta1", "ta1-counties"))
    solano, yolo = [(38.495, -121.80), (38.50, -121.90)], [(38.545, -121.74), (38.56, -121.85)]
    for latitude, longitude in (*solano, *yolo):
        place = Point(longitude, latitude)
        assert counties.geom.contains(place)
        assert not printed.geom.contains(place)


@pytest.mark.parametrize("place", [(52.0, 5.6), (-33.0, -60.5), (52.0, 180.0), (41.6, -96.0)])
@pytest.mark.parametrize("shape", [(64, 64), (65, 33), (1, 1)])
def test_around_a_place(place, shape):
    box = around(*place, *shape)
    assert box.shape == shape
    (col,), (row,) = cells(box, [place[1]], [place[0]])
    assert abs(col - shape[1] / 2) <= 0.5 + 1e-6
    assert abs(row - shape[0] / 2) <= 0.5 + 1e-6
    assert 0 <= col <= shape[1]
    assert 0 <= row <= shape[0]


# GeoJSON ----------------------------------------------------------------------------------------

FIELD = {"type": "Polygon", "coordinates": [ring(5.10, 52.00, 5.14, 52.03)]}
OTHER = {"type": "Polygon", "coordinates": [ring(5.12, 52.01, 5.18, 52.02)]}
BOTH = (5.10, 52.00, 5.18, 52.03)


def feature(geometry):
    return {"type": "Feature", "properties": {"crop": "maize"}, "geometry": geometry}


@pytest.mark.parametrize(
    ("content", "bounds"),
    [
        (FIELD, (5.10, 52.00, 5.14, 52.03)),
        (feature(FIELD), (5.10, 52.00, 5.14, 52.03)),
        (
            {
                "type": "FeatureCollection",
                "features": [feature(FIELD), feature(None), feature(OTHER)],
            },
            BOTH,
        ),
        ({"type": "GeometryCollection", "geometries": [FIELD, OTHER]}, BOTH),
        (
            {"type": "MultiPolygon", "coordinates": [FIELD["coordinates"], OTHER["coordinates"]]},
            BOTH,
        ),
        ({"type": "LineString", "coordinates": [[5.1, 52.0, 3.5], [5.18, 52.03, -1]]}, BOTH),
        ({"type": "MultiPoint", "coordinates": [[5.1, 52.03], [5.18, 52]]}, BOTH),
        ({"type": "Polygon", "coordinates": [ring(-60.1, -33.1, -60, -33)]}, None),
    ],
)
def test_every_kind_of_geojson(tmp_path, content, bounds):
    area = area_of(geojson(tmp_path, content, "my farm.json"))
    assert area.name == "my farm"
    assert area.box == cover(*(bounds or (-60.1, -33.1, -60, -33)))


@pytest.mark.parametrize(
    "coordinates",
    [
        [[ring(179.96, 52, 180, 52.05)], [ring(-180, 52, -179.97, 52.05)]],
        [[ring(-180, 52, -179.97, 52.05)], [ring(179.96, 52, 180, 52.05)]],
        [[ring(179.96, 52, 179.99, 52.05)], [ring(-179.99, 52, -179.97, 52.05)]],
        [[ring(179.96, 52, 180.03, 52.05)]],  # counted on beyond the date line
        [[ring(-180.04, 52, -179.97, 52.05)]],
    ],
)
def test_geojson_on_both_sides_of_the_date_line(tmp_path, coordinates):
    path = geojson(tmp_path, {"type": "MultiPolygon", "coordinates": coordinates})
    assert area_of(path).box == cover(179.96, 52, -179.97, 52.05)


def test_longitudes_from_0_to_360(tmp_path):
    path = geojson(tmp_path, {"type": "Polygon", "coordinates": [ring(238.4, 38.2, 238.5, 38.3)]})
    box = cover(238.4 - 360, 38.2, 238.5 - 360, 38.3)
    assert area_of(path).box == box
    assert area_of("238.4,38.2,238.5,38.3").box == box


def test_an_area_of_absurd_size_is_refused_at_once():
    with pytest.raises(DeepCropError, match=r"668 x 8,883 km, .* at most 2,000,000"):
        area_of("0,0,6,80")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "JSONDecodeError"),
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ("{}", "type"),
        ({"type": "Polygon"}, "coordinates"),
        ({"type": "Polygon", "coordinates": None}, "cannot be read"),
        ({"type": "Polygon", "coordinates": "5,52"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[["5", "52"], ["6", "53"]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[5], [6]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[5, 52], [6]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[5, None], [6, 52]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": []}, "no coordinates"),
        ({"type": "FeatureCollection", "features": []}, "no coordinates"),
        ({"type": "Feature", "geometry": None}, "no coordinates"),
        ({"type": "Feature"}, "geometry"),
        ('{"type": "Point", "coordinates": [5, NaN]}', "degrees"),
        ({"type": "Point", "coordinates": [5, 52]}, "west < east"),
        ({"type": "Polygon", "coordinates": [ring(600000, 5.7e6, 610000, 5.71e6)]}, "600000|61000"),
        ({"type": "Polygon", "coordinates": [ring(-10, 40, 10, 41)]}, "in parts"),
    ],
)
def test_files_that_are_no_area_are_named(tmp_path, content, words):
    path = geojson(tmp_path, content)
    with pytest.raises(DeepCropError, match=words) as error:
        area_of(path)
    assert path in str(error.value)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "field.tif"
    path.write_bytes(b"II*\0\xff\xfe\x00\x80")
    with pytest.raises(DeepCropError, match=r"field\.tif cannot be read as GeoJSON"):
        area_of(str(path))


def test_byte_order_mark(tmp_path):
    path = tmp_path / "field.geojson"
    path.write_text(json.dumps(FIELD), encoding="utf-8-sig")
    assert area_of(str(path)).box == cover(5.10, 52.00, 5.14, 52.03)


def test_cameras_have_room_for_a_patch():
    assert areas.SITE_CELLS >= 18 + 2 * 18
