import math

import numpy as np
import pytest
from scipy import stats

from deepcrop.simulation import canopy, radar, surface


def test_water_cloud_by_hand():
    # V -10 dB = 0.1; T = exp(-2·0.2·2.5 / 0.788) = 0.28111; 0.1·0.71889 + 0.063096·0.28111
    power = radar.water_cloud(-10.0, 0.2, 2.5, -12.0, 0.788)
    assert power == pytest.approx(0.071889 + 0.017737, rel=1e-4)


def test_water_cloud_without_and_with_endless_plants():
    assert radar.water_cloud(-10.0, 0.2, 0.0, -12.0, 0.8) == pytest.approx(10**-1.2)
    assert radar.water_cloud(-10.0, 0.2, 1e4, -12.0, 0.788) == pytest.approx(0.1)


def test_soil_by_hand():
    assert radar.soil_db(20.0, 0.0, 38.0) == pytest.approx((-11.2, -19.2))
    assert radar.soil_db(20.0, 1.0, 43.0) == pytest.approx((-10.85, -18.8))


def test_soil_rises_with_moisture_and_falls_with_incidence():
    for index in (0, 1):
        by_moisture = [radar.soil_db(m, 0.0, 38.0)[index] for m in range(5, 45, 5)]
        assert (np.diff(by_moisture) / 5 > 0.15).all()
        assert (np.diff(by_moisture) / 5 < 0.3).all()
        by_angle = [radar.soil_db(20.0, 0.0, a)[index] for a in range(30, 46, 4)]
        assert (np.diff(by_angle) < 0).all()


@pytest.fixture(scope="module")
def speckle():
    return radar.speckle(11, -5, -5, (900, 900))


def test_speckle_has_the_looks_of_grd(speckle):
    assert speckle.min() > 0
    assert abs(speckle.mean() - 1) < 0.005
    assert abs(1 / speckle.var() - radar.LOOKS) < 0.1


def test_speckle_is_close_to_gamma(speckle):
    sparse = speckle[::4, ::4].ravel()
    distance = stats.kstest(sparse, stats.gamma(radar.LOOKS, scale=1 / radar.LOOKS).cdf).statistic
    assert distance < 0.035


def test_speckle_is_correlated_over_neighbours_only(speckle):
    def correlation(lag):
        return np.corrcoef(speckle[:, :-lag].ravel(), speckle[:, lag:].ravel())[0, 1]

    assert 0.35 < correlation(1) < 0.6
    assert abs(correlation(3)) < 0.01


def test_speckle_is_the_same_in_any_block(speckle):
    assert np.array_equal(radar.speckle(11, 10, 20, (30, 40)), speckle[15:45, 25:65])


def test_smoothing_keeps_a_constant_and_spreads_a_point():
    assert radar.smooth3(np.full((5, 6), 3.0), 0.12) == pytest.approx(3)
    point = np.zeros((5, 5))
    point[2, 2] = 1
    spread = radar.smooth3(point, 0.12)
    assert spread.sum() == pytest.approx(1)
    assert spread[1, 1] == pytest.approx(0.76**2)
    assert spread[0, 0] == pytest.approx(0.12**2)


@pytest.mark.parametrize(("place", "wettest"), [("europe", 15), ("north_america", 166)])
def test_rain_is_a_climate(place, wettest):
    days = np.arange(60 * 365)
    rain = radar.rain(3, days, place)
    assert 500 < rain.mean() * 365 < 1100
    assert 0.3 < (rain > 0).mean() < 0.55
    wet = rain > 0
    assert wet[1:][wet[:-1]].mean() > wet[1:][~wet[:-1]].mean() + 0.2  # spells
    far = np.abs((days - wettest + 182) % 365 - 182)
    assert rain[far < 60].mean() > 1.1 * rain[far > 122].mean()
    assert np.array_equal(rain, radar.rain(3, days, place))
    assert not np.array_equal(rain, radar.rain(4, days, place))


def test_moisture_rises_after_rain_and_dries():
    days = np.arange(100, 160)
    dry = np.zeros(60, np.float32)
    wet = dry.copy()
    wet[20] = 25
    without, with_rain = (radar.soil_moisture(r, days) for r in (dry, wet))
    assert np.array_equal(without[:20], with_rain[:20])
    assert with_rain[20] > without[20] + 5
    assert (np.diff(with_rain[20:]) < 0).all()
    assert (with_rain[20:] > without[20:]).all()
    assert with_rain[-1] - without[-1] < 0.3 * (with_rain[20] - without[20])


def test_moisture_stays_physical_and_summers_are_drier():
    days = np.arange(20 * 365)
    moisture = radar.soil_moisture(radar.rain(1, days, "europe"), days)
    assert moisture.min() > 6
    assert moisture.max() <= 40
    season = days % 365
    winter = (season < 60) | (season > 330)
    summer = (season > 150) & (season < 240)
    assert moisture[winter].mean() > moisture[summer].mean() + 4


def test_backscatter_of_bare_soil_follows_the_formula():
    land = surface.make(1, 0, 0, (60, 60), 6.0, "europe", 50.0)
    index = 100 - canopy.FIRST_DAY
    power = surface.backscatter(land, 100, 25.0, np.linspace(34, 36, 60), 0.0)
    state = land.state[:, index]
    bare = [k for k in range(len(land.fields)) if state[k, canopy.WATER] < 1e-3]
    checked = 0
    for k in bare:
        if not (np.abs(land.shift[land.which == k]) < 3).all():
            continue
        nearby = land.state[k, index - 4 : index + 5]
        if np.ptp(nearby[:, canopy.ROUGHNESS]) or nearby[:, canopy.WATER].max() > 1e-4:
            continue
        for row, col in np.argwhere(land.which == k)[::50]:
            rough = state[k, canopy.ROUGHNESS] + land.roughness[row, col]
            angle = 34 + 2 * col / 59
            expected = radar.soil_db(25.0, rough, angle)
            assert 10 * np.log10(power[:, row, col]) == pytest.approx(expected, abs=0.01)
            checked += 1
    assert checked > 3
    steep, flat = (surface.backscatter(land, 100, 25.0, a, 0.0)[0] for a in (34.0, 42.0))
    fields = land.which >= 0
    assert (steep[fields] > flat[fields]).mean() > 0.95
    assert math.isclose(10 * np.log10(np.median(steep[fields] / flat[fields])), 1.0, abs_tol=0.3)
