import datetime

import numpy as np
import pytest

from deepcrop.errors import DeepCropError
from deepcrop.simulation import crops

# USDA NASS Agricultural Handbook 628 (2010), Kansas, "most active": first and last day of planting
# and of harvesting.
KANSAS = {
    "maize": [(4, 15), (5, 15), (9, 10), (10, 25)],
    "soybean": [(5, 15), (6, 20), (10, 1), (11, 1)],
    "winter_wheat": [(9, 15), (10, 20), (6, 20), (7, 5)],
}


def day(month, day_of_month):
    return (datetime.date(2018, month, day_of_month) - datetime.date(2018, 1, 1)).days


@pytest.mark.parametrize("crop", KANSAS)
def test_calendar_of_kansas(crop):
    a, b, c, d = (day(*date) for date in KANSAS[crop])
    sowing, harvest = crops.typical_dates("north_america", crop, 38.5)
    assert abs(sowing - (a + b) / 2) < 10
    assert abs(harvest - (c + d) / 2) < 10


@pytest.mark.parametrize("place", crops.CALENDARS)
def test_every_crop_grown_has_traits_and_a_calendar(place):
    names, weights = crops.shares(place)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    assert {"alfalfa", "woodland"} <= set(names)
    for name in names:
        if crops.CROPS[name].kind in ("summer", "winter"):
            assert name in crops.CALENDARS[place]


@pytest.mark.parametrize("place", crops.CALENDARS)
@pytest.mark.parametrize("latitude", np.linspace(*crops.LATITUDES, 9))
def test_seasons_are_long_enough_at_every_latitude(place, latitude):
    for name in crops.CALENDARS[place]:
        sowing, harvest = crops.typical_dates(place, name, latitude)
        kind = crops.CROPS[name].kind
        length = harvest - sowing + (365 if kind == "winter" else 0)
        low, high = (180, 460) if kind == "winter" else (75, 230)
        assert low < length < high, name


def test_spring_comes_later_in_the_north():
    for place, crop in (("north_america", "maize"), ("europe", "maize")):
        assert crops.typical_dates(place, crop, 48)[0] > crops.typical_dates(place, crop, 36)[0]
    for place in crops.CALENDARS:
        south, north = (crops.typical_dates(place, "winter_wheat", lat) for lat in (36, 48))
        assert north[0] < south[0]  # sown earlier
        assert north[1] > south[1]  # ripe later


def test_codes_are_unique_and_named():
    assert len(crops.CLASS_NAMES) == len(crops.CROPS) + len(crops.NOT_CROPS)
    assert sorted(crops.CLASS_NAMES) == list(range(1, len(crops.CLASS_NAMES) + 1))


@pytest.mark.parametrize(
    ("latitude", "longitude", "place"),
    [(38, -121.5, "north_america"), (51, 3, "europe"), (28, -100, "north_america")],
)
def test_continent(latitude, longitude, place):
    assert crops.continent(latitude, longitude) == place


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [(10, 0, "Latitude 10"), (61, 0, "Latitude"), (40, 100, "Longitude 100"), (40, -30, "Longit")],
)
def test_places_without_calendar(latitude, longitude, message):
    with pytest.raises(DeepCropError, match=message):
        crops.continent(latitude, longitude)
