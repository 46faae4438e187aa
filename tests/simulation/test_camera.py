import csv
import datetime
from collections import defaultdict

import numpy as np
import pytest

from deepcrop.phenology import SavGol, SeasonRule, season_dates
from deepcrop.simulation import camera, canopy, surface

REACH = camera.VIEW_CELLS


def test_greenness_of_soil_crop_ears_and_straw():
    assert camera.greenness(0.0, 0.0, 1.0, 0.0) == pytest.approx(0.334)
    assert camera.greenness(6.0, 0.0, 1.0, 0.0) == pytest.approx(0.450, abs=1e-4)
    assert camera.greenness(6.0, 0.0, 0.0, 0.0) == pytest.approx(0.355, abs=1e-4)
    assert camera.greenness(0.0, 6.0, 1.0, 0.0) == pytest.approx(0.338, abs=1e-4)
    # A quarter of the picture is tassels: 0.75·0.45 + 0.25·0.365.
    assert camera.greenness(6.0, 0.0, 1.0, 0.25) == pytest.approx(0.42875, abs=1e-4)
    # Cover at LAI 1 in a slanting view: 1 - exp(-1.8) = 0.83470.
    assert camera.greenness(1.0, 0.0, 1.0, 0.0) == pytest.approx(0.334 + 0.8347 * 0.116, abs=1e-4)


def test_soil_disappears_sooner_than_from_above():
    half = camera.greenness(0.8, 0.0, 1.0, 0.0) - 0.334
    assert half > 0.7 * (0.45 - 0.334)


@pytest.mark.parametrize(
    ("azimuth", "row", "col"), [(0, -1, 0), (90, 0, 1), (180, 1, 0), (270, 0, -1), (45, -1, 1)]
)
def test_a_camera_sees_a_wedge_in_its_direction(azimuth, row, col):
    weights = camera.view_weights(azimuth)
    assert weights.sum() == pytest.approx(1)
    assert weights[REACH, REACH] == 0  # not the mast's own pixel
    steps = np.arange(-REACH, REACH + 1)
    centre = (weights.sum(axis=1) @ steps, weights.sum(axis=0) @ steps)
    assert np.sign(np.round(centre, 6)).tolist() == [row, col]
    rows, cols = np.nonzero(weights)
    assert ((rows - REACH) * row + (cols - REACH) * col > 0).all()
    assert np.hypot(rows - REACH, cols - REACH).max() <= REACH
    near = np.hypot(rows - REACH, cols - REACH) < 3
    assert weights[rows, cols][near].min() > weights[rows, cols][~near].max()


@pytest.mark.parametrize("azimuth", [10.0, 123.0, 359.9])
def test_every_direction_has_a_view(azimuth):
    assert camera.view_weights(azimuth).sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def curves():
    days = np.arange(0, 364)
    course = 0.335 + 0.11 * np.exp(-(((days - 200) / 40) ** 2))
    return days, np.broadcast_to(course[:, None, None], (364, 2 * REACH + 1, 2 * REACH + 1))


def test_observed_series(curves):
    days, values = curves
    dates, gcc = camera.observe(9, days, values, 30.0)
    assert len(dates) == len(gcc) == 364 // 3
    assert (np.diff(dates) == 3).all()
    assert dates[0] == 1
    seen = np.isfinite(gcc)
    assert 0.85 < seen.mean() < 1  # a camera fails sometimes
    truth = values[dates.astype(int), 0, 0]
    assert np.corrcoef(gcc[seen], truth[seen])[0, 1] > 0.95
    again = camera.observe(9, days, values, 30.0)
    assert np.array_equal(again[1], gcc, equal_nan=True)


def test_noise_and_foreground_are_the_cameras_own(curves):
    days, values = curves
    amplitudes, noise = [], []
    for seed in range(12):
        dates, gcc = camera.observe(seed, days, values, 30.0)
        summer = np.abs(dates - 200) < 15
        winter = np.abs(dates - 200) > 140
        amplitudes.append(np.nanmean(gcc[summer]) - np.nanmean(gcc[winter]))
        noise.append(np.nanstd(gcc[winter]))
    full = np.ptp(values[:, 0, 0])
    assert max(amplitudes) < full  # something green or grey stands before every lens
    assert min(amplitudes) > 0.65 * full
    assert np.std(amplitudes) > 0.02 * full
    assert 0.0015 < np.median(noise) < 0.008


def test_a_camera_sees_what_it_looks_at():
    days = np.arange(0, 30)
    values = np.full((30, 2 * REACH + 1, 2 * REACH + 1), 0.334)
    values[:, :REACH] = 0.45  # green in the north
    north, south = (np.nanmean(camera.observe(1, days, values, a)[1]) for a in (0.0, 180.0))
    assert north - south > 0.07


# --- against real cameras -------------------------------------------------------------------------

SMOOTHER = SavGol(window=15, steep_window=10, envelope_passes=0, step=1)
# Lags of EVI dates behind camera dates that the real ones and the simulator's may differ by, days.
TOLERANCE = 5.0


def main_season(values, days, amplitude):
    """Five dates of the strongest season."""
    rule = SeasonRule(min_amplitude=amplitude, prominence=0.4, max_gap=400)
    found = season_dates(np.asarray(values)[None], days, smoother=SMOOTHER, rule=rule)
    return found.dates[0, np.nan_to_num(found.amplitude[0], nan=-1.0).argmax()]


def real_lags(path):
    series = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            day = datetime.datetime.strptime(row["date"], "%m/%d/%Y").toordinal()
            series[row["source_file"]].append((day, float(row["gcc_mean"]), float(row["evi"])))
    lags = []
    for rows in series.values():
        days, gcc, evi = np.array(sorted(rows)).T
        days = days - days[0]
        lags.append(main_season(evi, days, 0.1) - main_season(gcc, days, 0.02))
    return np.array(lags)


def simulated_lags(per_crop=20):
    days = np.arange(60, 340)
    lags = {"maize": [], "soybean": []}
    for seed in range(1, 9):
        land = surface.make(seed, 0, 0, (90, 90), 6.0, "north_america", 42.0)
        for k, field in enumerate(land.fields):
            crop = field.main_crop()
            if crop not in lags or len(lags[crop]) == per_crop:
                continue
            inside = np.argwhere(land.which == k)
            row, col = inside[len(inside) // 2]
            one = surface.crop_to(land, (slice(row, row + 1), slice(col, col + 1)))
            gcc = surface.greenness(one)[days - canopy.FIRST_DAY, 0, 0]
            bands = [surface.reflectance(one, int(d), 0.2, 0.8)[:, 0, 0] for d in days]
            b, _, r, n = np.array(bands).T
            evi = 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1)
            lags[crop].append(main_season(evi, days, 0.1) - main_season(gcc, days, 0.02))
    return np.array(lags["maize"] + lags["soybean"])


def test_evi_lags_the_camera_as_it_does_over_real_fields(real_data):
    real = real_lags(real_data / "hls_camera" / "gcc_evi_daily_2021_2022.csv")
    made = simulated_lags()
    assert len(real) == 30
    assert np.isfinite(real).sum(axis=0).min() >= 20
    assert len(made) == 40
    real, made = np.nanmedian(real, axis=0), np.nanmedian(made, axis=0)
    assert (real > 2).all()  # in all five dates the camera is first
    stages = [0, 1, 3, 4]  # the peak of a plateau is no stage, and none is defined to a few days
    assert np.abs(made - real)[stages].max() < TOLERANCE, (real, made)
