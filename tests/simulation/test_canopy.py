import itertools

import numpy as np
import pytest

from deepcrop.simulation import canopy, crops
from deepcrop.simulation.canopy import BROWN_LAI, CHLOROPHYLL, DAYS, GREEN_LAI, HEADS, WATER

YEAR = (DAYS >= 0) & (DAYS < 365)


@pytest.fixture(scope="module", params=[("north_america", 38.0), ("europe", 51.0)])
def fields(request):
    place, latitude = request.param
    return place, [canopy.grow(4, number, place, latitude) for number in range(1, 301)]


def of(fields, crop):
    return [f for f in fields if f.main_crop() == crop]


def cycle_of(field, crop):
    """The cycle of a crop that ends in the target year."""
    ends = [c for c in field.cycles if c.crop == crop and 0 <= c.end < 365]
    return ends[-1] if ends else None


def test_states_are_physical(fields):
    for field in fields[1]:
        assert np.isfinite(field.state).all()
        assert field.state[:, [GREEN_LAI, BROWN_LAI, WATER]].min() > -1e-5
        assert field.state[:, GREEN_LAI].max() < 9
        assert field.state[:, CHLOROPHYLL].min() >= 0
        assert field.state[:, CHLOROPHYLL].max() <= 1 + 1e-6
        assert field.state[:, HEADS].min() >= 0
        assert field.state[:, HEADS].max() <= 0.8
        assert field.state[:, canopy.RESIDUE].min() >= 0
        assert field.state[:, canopy.RESIDUE].max() <= 1
        assert field.height.min() >= 0


def test_a_field_is_the_same_whenever_it_is_grown(fields):
    place, grown = fields
    again = canopy.grow(4, 17, place, 38.0 if place == "north_america" else 51.0)
    assert again.cycles == grown[16].cycles
    assert np.array_equal(again.state, grown[16].state)
    other = canopy.grow(5, 17, place, 38.0)
    assert not np.array_equal(again.state, other.state)


def test_shares_of_crops(fields):
    place, grown = fields
    names, weights = crops.shares(place)
    share = dict(zip(names, weights, strict=True))
    for crop in ("maize", "winter_wheat", "alfalfa", "woodland"):
        assert abs(len(of(grown, crop)) / len(grown) - share[crop]) < 0.08, crop


@pytest.mark.slow
@pytest.mark.parametrize("place", crops.CALENDARS)
@pytest.mark.parametrize("latitude", [28.0, 33.0, 40.0, 52.0, 60.0])
def test_cycles_follow_each_other(place, latitude):
    for number in range(1, 80):
        field = canopy.grow(2, number, place, latitude)
        for one, two in itertools.pairwise(field.cycles):
            assert one.start < one.end <= two.start
        ends = {c.end for c in field.cycles}
        assert set(field.events) <= ends  # whole days: a harvest has no fraction


@pytest.mark.slow
def test_sowing_and_harvest_scatter_around_the_calendar():
    """Over many seeds, so that the years' own lateness averages out."""
    for place, crop, latitude in (
        ("north_america", "maize", 38.5),
        ("north_america", "winter_wheat", 38.5),
        ("europe", "maize", 51.0),
    ):
        cycles = []
        sowing, harvest = crops.typical_dates(place, crop, latitude)
        sowing -= 365 * (crops.CROPS[crop].kind == "winter")
        for seed in range(30):
            for number in range(1, 16):
                field = canopy.grow(seed, number, place, latitude)
                cycle = cycle_of(field, crop)
                if cycle is not None:
                    cycles.append(cycle)
        dates = np.array([(c.start, c.end) for c in cycles])
        assert len(dates) > 20
        # A winter crop often waits for the harvest of the crop before it.
        late = 16 if crops.CROPS[crop].kind == "winter" else 5
        assert -5 < np.median(dates[:, 0]) - sowing < late
        assert abs(np.median(dates[:, 1]) - harvest) < 5
        assert 5 < dates[:, 0].std() < 20
        assert 3 < dates[:, 1].std() < 20


def test_a_summer_crop_is_sown_emerges_grows_dies_and_is_harvested(fields):
    for field in of(fields[1], "maize"):
        cycle = cycle_of(field, "maize")
        leaves = field.state[:, GREEN_LAI] + field.state[:, BROWN_LAI]
        at = int(cycle.start) - canopy.FIRST_DAY
        end = int(cycle.end) - canopy.FIRST_DAY
        assert leaves[at : at + 5].max() < 1e-3  # nothing before emergence
        season = field.state[at:end]
        peak = season[:, GREEN_LAI].argmax()
        assert 40 < peak < end - at - 10
        assert 2.5 < season[peak, GREEN_LAI] < 8
        assert season[-1, GREEN_LAI] < 0.6 * season[peak, GREEN_LAI]  # senescence
        assert season[-1, CHLOROPHYLL] < season[peak, CHLOROPHYLL] - 0.2
        assert season[peak, HEADS] >= 0
        assert field.height[at:end].max() > 1.5
        assert season[:, WATER].max() > 2


def test_bare_soil_after_harvest(fields):
    for field in of(fields[1], "maize") + of(fields[1], "winter_wheat"):
        for cycle in field.cycles:
            if crops.CROPS[cycle.crop].kind not in ("summer", "winter"):
                continue
            day = round(cycle.end) - canopy.FIRST_DAY
            if not 5 < day < len(DAYS) - 5:
                continue
            assert (field.state[day : day + 4, [GREEN_LAI, BROWN_LAI, WATER]] < 1e-6).all()
            assert (field.height[day : day + 4] == 0).all()
            assert field.state[day, canopy.RESIDUE] > 0.5  # stubble


def test_winter_crops_green_up_the_year_before(fields):
    seen = 0
    for field in of(fields[1], "winter_wheat"):
        cycle = cycle_of(field, "winter_wheat")
        if cycle.start > -60:
            continue  # sown late after another crop
        leaves = field.state[:, GREEN_LAI]
        assert leaves[-canopy.FIRST_DAY] > 0.1  # on 1 January
        assert leaves[YEAR].max() > 3
        seen += 1
    assert seen > 10


def test_alfalfa_is_cut_several_times(fields):
    for field in of(fields[1], "alfalfa"):
        cuts = [e for e in field.events if 0 <= e < 365]
        assert 3 <= len(cuts) <= 8
        assert min(np.diff(cuts)) >= 22
        for cut in cuts:
            day = cut - canopy.FIRST_DAY
            before, after = field.state[[day - 1, day], GREEN_LAI]
            assert before > 1
            assert 0 < after < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("place", crops.CALENDARS)
@pytest.mark.parametrize("latitude", [28.0, 36.0, 46.0])
def test_later_cuts_grow_back_as_fast_as_each_other(place, latitude):
    # Only the first growth of a year is slow, also where its cut comes in early spring.
    days = []
    for number in range(1, 200):
        field = canopy.grow(6, number, place, latitude)
        if field.main_crop() != "alfalfa":
            continue
        cuts = [e - canopy.FIRST_DAY for e in field.events if 0 <= e < 365]
        for one, two in itertools.pairwise(cuts[:4]):
            green = field.state[one:two, GREEN_LAI]
            days.append((green > 0.5 * green.max()).argmax())
    second, third, _ = np.median(np.reshape(days, (-1, 3)), axis=0)
    assert abs(second - third) < 4


@pytest.mark.slow
def test_double_cropping_and_cover_crops_exist():
    for place, latitude, second in (("north_america", 36.0, "soybean"), ("europe", 46.0, "maize")):
        doubles = covers = 0
        for number in range(1, 301):
            field = canopy.grow(8, number, place, latitude)
            year = [c for c in field.cycles if 0 < c.end < 365 or 0 < c.start < 365]
            for one, two in itertools.pairwise(year):
                winter = crops.CROPS[one.crop].kind == "winter"
                doubles += winter and two.crop == second and 0 < two.start - one.end < 15
                covers += two.crop == "cover_crop"
        assert doubles > 5
        assert covers > 0
    # Too far north for two harvests.
    north = [canopy.grow(8, number, "north_america", 44.0) for number in range(1, 200)]
    for field in north:
        for one, two in itertools.pairwise(field.cycles):
            quick = two.start - one.end < 15 and two.crop == "soybean"
            assert not (crops.CROPS[one.crop].kind == "winter" and quick)


def test_trees_are_deciduous_and_never_cut(fields):
    for field in of(fields[1], "woodland"):
        assert field.events == []
        green = field.state[:, GREEN_LAI]
        assert green[YEAR].max() > 3
        assert green[-canopy.FIRST_DAY + 15] < 1
        assert (field.height >= 14).all()


def test_leaves_lose_colour_before_they_die(fields):
    for field in of(fields[1], "maize"):
        cycle = cycle_of(field, "maize")
        span = slice(int(cycle.start) + 30 - canopy.FIRST_DAY, int(cycle.end) - canopy.FIRST_DAY)
        green, colour = field.state[span, GREEN_LAI], field.state[span, CHLOROPHYLL]
        peak = green.argmax()
        colour_falls = np.flatnonzero(colour[peak:] < 0.85)[0]
        leaves_fall = np.flatnonzero(green[peak:] < 0.75 * green[peak])[0]
        assert colour_falls <= leaves_fall
