"""The search for coordinates: the forms in which people paste them."""

import pytest
from pyproj import Transformer

from deepcrop.errors import DeepCropError
from deepcrop.grid import make_grid
from deepcrop.viewer.places import parse_place

BOX = make_grid((594000, 5642000, 596000, 5644000), "EPSG:32631")
# 595000 E, 5643000 N: 50.930801, 4.351878 = 50° 55' 50.9" N, 4° 21' 6.8" E


@pytest.mark.parametrize(
    "text",
    [
        "50.930801, 4.351878",
        " 50.930801\t4.351878 ",
        "50.930801;4.351878",
        "(50.930801, 4.351878)",
        "50,930801 4,351878",
        "50,930801, 4,351878",
        "4.351878E 50.930801N",
        "N50.930801 E4.351878",
        "50.930801° N, 4.351878° E",
        "50°55'50.9\"N 4°21'6.8\"E",
        "50° 55′ 50.9″ N, 4° 21′ 6.8″ E",
        "50 55 50.9 N 4 21 6.8 E",
        "N 50° 55.848' E 4° 21.113'",
        "lat: 50.930801, lon: 4.351878",
        "geo:50.930801,4.351878",
        "https://www.google.com/maps/@50.930801,4.351878,15z",
        "https://www.openstreetmap.org/#map=15/50.930801/4.351878",
        "595000 5643000",
        "x=595000, y=5643000",
        "E 595000 N 5643000",
        "31U 595000 5643000",
    ],
)
def test_the_usual_forms(text):
    assert parse_place(text, BOX) == pytest.approx((4.351878, 50.930801), abs=2e-5)


def test_west_and_south_are_negative():
    to_map = Transformer.from_crs("EPSG:4326", "EPSG:32722", always_xy=True)
    x, y = (round(v, -1) for v in to_map.transform(-53.5, -20.25))
    box = make_grid((x - 100, y - 100, x + 100, y + 100), "EPSG:32722")
    for text in ("-20.25 -53.5", "20.25S 53.5W", "20°15'S 53°30'W", "W 53.5 S 20.25"):
        assert parse_place(text, box) == pytest.approx((-53.5, -20.25), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4.351878 50.930801", r"4.35188° N, 50.93080° E is outside the map. Latitude comes first"),
        ("0,0", "outside the map"),
        ("5643000 595000", "outside the map"),
        ("1e5 3", "is no place"),
        ("91 0", "a latitude is at most 90"),
        ("50°70'N 4°E", "is no place"),
        ("50°55'N", "is no place"),
        ("50 N 4 N", "is no place"),
        ("50.9 nan", "is no place"),
        ("99U 5 5", "is no place"),
        ("999999999 999999999", "is no place|outside the map"),
        ("1 2 3", "is no place"),
        ("", "is no place"),
        ("9" * 5000, "is no place"),
        ("Brussels", "is no place. Examples: 50.93, 4.35"),
    ],
)
def test_what_is_no_place_is_said(text, words):
    with pytest.raises(DeepCropError, match=words):
        parse_place(text, BOX)
