import itertools

import numpy as np
import pytest

from deepcrop import stages
from deepcrop.phenology.slots import sunlight
from deepcrop.simulation import canopy, crops, surface, truth

CODE = {name: code for code, name in crops.CLASS_NAMES.items()}

pytestmark = pytest.mark.slow


LATITUDE = {"north_america": 36.5, "europe": 51.0}


@pytest.fixture(scope="module", params=LATITUDE)
def land(request):
    return surface.make(3, 0, 0, (130, 150), 6.0, request.param, LATITUDE[request.param])


def slow_greenness(land, row, col):
    """Camera greenness of a pixel by day, from the field's history alone."""
    field = land.fields[land.which[row, col]]
    index = np.arange(len(canopy.DAYS))
    edges = [0, *(e - canopy.FIRST_DAY for e in field.events), len(index)]
    moment = np.empty(len(index))
    for first, stop in itertools.pairwise(edges):
        first, stop = max(first, 0), min(stop, len(index))
        inside = index[first:stop]
        moment[inside] = np.clip(inside - land.shift[row, col], first, stop - 1)
    green, brown, colour, heads = (
        np.interp(moment, index, field.state[:, c].astype(float)) for c in range(4)
    )
    green, brown = green * land.vigour[row, col], brown * land.vigour[row, col]
    lai = np.maximum(green + brown, 1e-9)
    cover = 1 - np.exp(-1.8 * lai)
    leaves = (green * (0.355 + 0.095 * colour) + brown * 0.338) / lai
    top = (1 - heads) * leaves + heads * 0.365
    return np.where(green + brown < 1e-4, 0.334, cover * top + (1 - cover) * 0.334)


def slow_seasons(land, row, col):
    """Seasons of a pixel, each (amplitude, sos20, sos50, peak, eos50, eos20)."""
    curve = slow_greenness(land, row, col)
    field = land.fields[land.which[row, col]]
    seasons = []
    for c, cycle in enumerate(field.cycles):
        start = max(cycle.start - 20, field.cycles[c - 1].end if c else -1e9)
        stop = cycle.end + 20
        if c + 1 < len(field.cycles):
            stop = max(min(stop, field.cycles[c + 1].start), cycle.end)
        start, stop = int(np.trunc(start - canopy.FIRST_DAY)), int(stop - canopy.FIRST_DAY)
        if start < 0 or stop >= len(curve):
            continue
        peak = start + int(curve[start : stop + 1].argmax())
        left, right = curve[start : peak + 1].min(), curve[peak : stop + 1].min()
        top = curve[peak]
        if min(top - left, top - right) < truth.MIN_AMPLITUDE:
            continue
        dates = []
        for share in (0.2, 0.5):  # the last upward crossing before the peak
            level = left + share * (top - left)
            d = np.flatnonzero(curve[start:peak] <= level)[-1] + start
            dates.append(d + (level - curve[d]) / (curve[d + 1] - curve[d]))
        dates.append(float(peak))
        for share in (0.5, 0.2):  # the first downward crossing after it
            level = right + share * (top - right)
            d = np.flatnonzero(curve[peak + 1 : stop + 1] <= level)[0] + peak + 1
            dates.append(d - (level - curve[d]) / (curve[d - 1] - curve[d]))
        amplitude = top - 0.5 * (left + right)
        seasons.append((amplitude, *(np.array(dates) + canopy.FIRST_DAY)))
    return np.array(seasons).reshape(-1, 6)


def test_dates_are_those_of_an_independent_slow_count(land):
    dates, amplitude = truth.season_dates(land)
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(land.which >= 0)
    seasons = 0
    for i in rng.choice(len(rows), 150, replace=False):
        row, col = rows[i], cols[i]
        expected = slow_seasons(land, row, col)
        found = np.isfinite(amplitude[row, col])
        assert found.sum() == len(expected)
        assert np.allclose(amplitude[row, col][found], expected[:, 0], atol=1e-4)
        difference = np.abs(dates[row, col][found] - expected[:, 1:])
        assert np.delete(difference, 2, axis=1).max(initial=0) < 0.05
        assert difference.max(initial=0) <= 1  # a flat top may peak a day off
        seasons += len(expected)
    assert seasons > 200


def test_layers_are_the_dates_of_seasons_that_peak_in_the_year(land):
    layers = truth.truth_layers(land, 2018, 45.0)
    rows, cols = np.nonzero(land.which >= 0)
    rng = np.random.default_rng(1)
    for i in rng.choice(len(rows), 60, replace=False):
        row, col = rows[i], cols[i]
        inside = [s for s in slow_seasons(land, row, col) if 0 <= s[3] < 365]
        assert layers["n_cycles"][row, col] == len(inside)
        light = [sunlight(np.array(s[3]), 45.0) for s in inside]
        order = np.argsort([-s[0] * sun for s, sun in zip(inside, light, strict=True)])
        kept = [inside[k] for k in order[:2]]  # the main season first
        for slot in range(2):
            got = np.array([layers[name][slot, row, col] for name in truth.DATES])
            if slot < len(kept):
                assert np.abs(got - kept[slot][1:]).max() <= 1.001
            else:
                assert (got == stages.NO_DAY).all()


def test_dates_are_in_order(land):
    layers = truth.truth_layers(land, 2018, 45.0)
    dates = np.stack([layers[name] for name in truth.DATES]).astype(int)
    known = (dates != stages.NO_DAY).all(axis=0)
    assert (np.diff(dates[:, known], axis=0) >= 0).all()
    raw = truth.season_dates(land)[0]
    whole = np.isfinite(raw).all(axis=-1)
    assert (np.diff(raw[whole], axis=-1) > 0).all()
    assert np.isfinite(raw).any(axis=-1).sum() == whole.sum()  # never half a season
    assert known[0][known[1]].all()  # a second season only beside a first
    one, two = np.sort(dates[:, :, known[1]], axis=1).swapaxes(0, 1)
    assert (two[0] >= one[4] - 1).all()  # seasons do not overlap


def test_every_crop_has_its_season_and_roads_none(land):
    layers = truth.truth_layers(land, 2018, 45.0)
    codes, cycles = land.codes(), layers["n_cycles"]
    assert (cycles[land.which < 0] == 0).all()
    assert (layers["sos50"][:, land.which < 0] == stages.NO_DAY).all()
    for name in ("maize", "winter_wheat", "woodland"):
        assert (cycles[codes == CODE[name]] >= 1).mean() > 0.97, name


def test_alfalfa_and_double_cropping_have_several_cycles():
    land = surface.make(5, 0, 0, (260, 260), 6.0, "north_america", 36.5)
    codes, cycles = land.codes(), truth.truth_layers(land, 2018, 36.5)["n_cycles"]
    assert np.median(cycles[codes == CODE["alfalfa"]]) >= 3
    doubles = [
        k
        for k, field in enumerate(land.fields)
        if {"winter_wheat", "soybean"} <= {c.crop for c in field.cycles if 60 < c.end < 365}
    ]
    assert doubles
    for k in doubles:
        assert np.median(cycles[land.which == k]) >= 2


def test_dates_vary_inside_a_field_but_harvest_does_not(land):
    dates = truth.season_dates(land)[0]
    spread = []
    for k, field in enumerate(land.fields):
        here = land.which == k
        if field.main_crop() != "maize" or here.sum() < 100:
            continue
        c = next(i for i, c in enumerate(field.cycles) if c.crop == "maize" and 0 < c.end < 365)
        sos, eos = dates[here][:, c, 1], dates[here][:, c, 4]
        spread.append(np.nanstd(sos))
        assert np.nanmax(eos) <= field.cycles[c].end
    assert spread
    assert 0.4 < np.median(spread) < 6


def test_template_takes_no_memory_and_says_what_it_is():
    made = truth.template(4000, 3000, 2018)
    assert made.attrs["simulated"] == 1
    assert made["sos20"].dims == ("season", "y", "x")
    assert made["sos20"].dtype == np.int16
    assert made["n_cycles"].dims == ("y", "x")
    assert all(made[name].variable._data.strides[-2:] == (0, 0) for name in made.data_vars)
