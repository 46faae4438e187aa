import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.helpers.camera_samples import CAMERA, camera_sample
from tests.helpers.training_examples import example
from tests.helpers.weights_files import tiny, write_weights

from deepcrop.errors import DeepCropError
from deepcrop.evaluation import horizon_report, horizons
from deepcrop.evaluation.date_found import advance, day_found
from deepcrop.evaluation.horizon_baselines import crop_calendar, last_year
from deepcrop.evaluation.horizon_report import evaluate_horizons
from deepcrop.evaluation.horizon_tables import (
    WITH,
    WITHOUT,
    at_peak,
    by_site,
    by_stage,
    radar,
)
from deepcrop.evaluation.horizons import (
    CutOffs,
    CutSamples,
    around_events,
    cut_example,
    forecasts,
    last_valid_day,
    reported,
    score_bin,
    score_horizons,
)
from deepcrop.evaluation.scores import reference_dates
from deepcrop.stages import Dates
from deepcrop.training import samples

MAIN = CAMERA[0, [0, 1, 3, 4]]  # SOS20, SOS50, EOS50, EOS20 of every made sample
ANY = np.array(["a"] * 40)


def test_cut_off_days_lie_around_each_event_and_at_the_peak():
    reference = np.array([[100.0, 120, 220, np.nan], [np.nan, 130, 230, 240]])
    cuts = around_events(reference, (-15, 0, 15))
    assert len(cuts.day) == 6 * 3
    np.testing.assert_array_equal(cuts.reference, reference[cuts.number, cuts.stage])
    assert sorted(set(cuts.horizon.tolist())) == [-15, 0, 15]
    peak = horizons.at_peak(reference, np.array([170.0, np.nan]), "eos50")
    assert (peak.number.tolist(), peak.day.tolist(), peak.horizon.tolist()) == ([0], [170], [-50])


def test_nothing_after_the_cut_off_day_is_left():
    cuts = around_events(MAIN[None], (-15, 15), ("sos50",))
    early, late = CutSamples([camera_sample("a", 2020)], cuts)
    for cut, day in ((early, 105), (late, 135)):
        patch = cut.patch
        assert patch.optical_days.max() <= day < patch.optical_days.max() + 10
        assert patch.radar_days.max() <= day
        assert len(patch.radar) == len(patch.orbits) == len(patch.radar_days)
        assert len(patch.optical) == len(patch.optical_days)
    whole = example(np.random.default_rng(1))
    one = cut_example(whole, 150.0)
    assert len(one.optical) == (whole.optical_days <= 150).sum()
    assert len(one.radar) == len(one.orbits) == (whole.radar_days <= 150).sum()


def test_the_last_valid_observation_is_of_the_sensors_that_are_read():
    cut = camera_sample("a", 2020)
    cut.patch.optical[-3:, 0, 9, 9] = np.nan  # the pixel's last three images are clouded
    assert last_valid_day([cut], radar=False).tolist() == [340]
    assert last_valid_day([cut]).tolist() == [360]
    cut.patch.optical[:] = np.nan
    assert np.isnan(last_valid_day([cut], radar=False)).all()


def test_dates_are_reported_as_a_map_reports_them():
    """Observed, forecast, too wide, improbable; the second slot plays no part."""
    cuts = CutOffs(np.zeros(4, int), np.ones(4, int), np.full(4, 130.0), np.full(4, 120.0))
    day = np.full((4, 2, 4), 124.0)
    day[3] = np.nan
    half = np.array([5, 30, 60, 5])[:, None, None]
    probability = np.broadcast_to(np.array([0.9, 0.9, 0.9, 0.3])[:, None, None], day.shape)
    dates = Dates(day, day - half, day + half, probability)
    found = forecasts("a", ANY, ANY, cuts, dates, np.full(4, 130.0))
    np.testing.assert_array_equal(found.error, [4, 4, np.nan, np.nan])
    assert found.observed.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(found.width, [10, 60, np.nan, np.nan])
    score = score_bin(found, "sos50", "+10")
    assert (score.known, score.observed, score.mae, score.bias) == (0.5, 0.25, 4, 4)
    assert (score.coverage, score.width, score.units) == (1, 35, 1)


def made(errors, width=10.0, step=15, name="a", site=None):
    """SOS50 of many samples: rows of errors by horizon, around the event."""
    errors = np.asarray(errors, float)
    count, steps = errors.shape
    middle = step * (steps // 2)
    cuts = around_events(np.tile(MAIN, (count, 1)), range(-middle, middle + 1, step), ("sos50",))
    units = np.array([f"site_{k}" for k in range(count)])
    day = cuts.reference + errors.ravel()
    low, high = day - width / 2, day + width / 2
    site = units if site is None else np.array(site)
    return reported(name, units, site, cuts, day, low, high, np.isfinite(day))


def test_scores_are_of_the_bins_of_their_horizon():
    nan = np.nan
    found = made([[20, 4, -1], [nan, 6, 1], [10, -8, 3]])
    before, at, after = score_horizons(found, (-15, 0, 15), ("sos50",))
    assert [score.horizon for score in (before, at, after)] == ["-15", "+0", "+15"]
    assert (before.known, before.mae, at.mae, after.bias) == (2 / 3, 15, 6, 1)
    assert (before.coverage, at.coverage, after.coverage) == (0, 1 / 3, 1)  # within 5 days
    for score, count in ((before, 2), (after, 3)):
        limits = np.array(stats.binom.interval(0.95, count, 0.9)) / count
        assert (score.least, score.most) == pytest.approx(tuple(limits))
    assert after.calibrated
    assert not before.calibrated
    assert at.calibrated  # one of three dates is not significantly different from 90 %
    table = by_stage([before, at, after])[1]
    assert [row[0] for row in table.rows] == ["-15", "+0", "+15"]
    assert "| +15 | a | 3 | 100.0 |" in table.to_markdown()


def test_at_the_peak_methods_are_compared_on_the_dates_that_one_of_them_knows():
    nan = np.nan
    network = made([[4], [nan], [6]], name="network")
    calendar = made([[10], [90], [nan]], name="calendar")
    table = at_peak([network, calendar], "network")
    common = {row[0]: row[-2:] for row in table.rows}
    assert common == {"network": (5, 100), "calendar": (10, 50)}


def test_dates_far_off_are_counted_by_site():
    found = made([[5, 2, 60], [3, 2, np.nan], [0, 0, 4]], site=["x", "x", "y"])
    table = by_site(found, "sos50", (15,))
    # Days since, site, site-years, known, far off, mean, median.
    assert table.rows[0] == ("+15", "x", 2, 50, 100, 60, 60)
    assert table.rows[1] == ("+15", "y", 1, 100, 0, 4, 4)


def test_limits_are_of_site_years_not_of_their_simulations():
    found = made([[0.0]] * 20)
    twice = horizons.join([found, found])
    assert score_bin(twice, "sos50", "").units == 20
    assert score_bin(twice, "sos50", "").least == score_bin(found, "sos50", "").least
    for count in (1, 29, 446, 5000):
        limits = np.array(stats.binom.interval(0.95, count, 0.9)) / count
        assert horizons.coverage_limits(count) == pytest.approx(tuple(limits))


def test_a_date_is_found_from_the_day_on_which_it_stays_close():
    nan = np.nan
    found = made([[nan, 9, 3, 2, 1], [3, 3, 9, 3, 3], [3, 3, 3, 3, 9], [7, 7, 7, 7, -7]], step=5)
    assert day_found(found, 99.0).tolist() == [0, 5, 99, -10]


def test_radar_helps_where_its_days_are_surely_sooner():
    early = [[9, 3, 3, 3, 3]] * 6
    late = [[9, 9, 9, 3, 3]] * 6
    first, second = made(early, step=5, name=WITH), made(late, step=5, name=WITHOUT)
    gain = advance(first, second, 15.0)
    assert (gain.days, gain.low, gain.high, gain.sooner, gain.later) == (-10, -10, -10, 1, 0)
    table = radar(first, second, 15.0)
    assert "Does radar bring it forward? Yes: with radar -10.0 days" in table.note
    assert table.rows[0] == (WITH, 6, 100.0, -5.0, -5.0)
    assert "forward? No" in radar(second, first, 15.0).note
    # Half of the sites sooner, half later: nothing is sure.
    mixed = made(early[:3] + late[:3], step=5), made(late[:3] + early[:3], step=5)
    assert "forward? No" in radar(*mixed, 15.0).note


def network_of(*facts):
    """Dates of site-years (site, year, crop), each later than the one before by a day."""
    every = []
    for number, (site, year, crop) in enumerate(facts):
        one = camera_sample(site, year)
        every.append(replace(one, crop=crop, day=one.day + number) if crop is not None else one)
    return reference_dates(every)


def test_the_calendar_is_of_the_site_else_of_the_crop_elsewhere():
    known = network_of(
        ("a", 2018, "corn"), ("a", 2019, "corn"), ("a", 2020, "corn"), ("b", 2019, "corn"),
        ("c", 2019, ""), ("d", 2019, "rice"),
    )  # fmt: skip
    day, of_site = crop_calendar(known, known)
    late = day[:, 0] - MAIN[0]
    # Other years of a; then all of corn at other clusters; an unknown or rare crop has none.
    np.testing.assert_array_equal(late, [1.5, 1, 0.5, 1, math.nan, math.nan])
    assert of_site[:, 0].tolist() == [True] * 3 + [False] * 3
    before = last_year(known, known)[:, 0] - MAIN[0]
    np.testing.assert_array_equal(before, [math.nan, 0, 1, math.nan, math.nan, math.nan])


@pytest.fixture
def few(monkeypatch):
    """Few cut-off days."""
    monkeypatch.setattr(horizons, "HORIZONS", (-60, 0, 60))
    monkeypatch.setattr(horizon_report, "SHORT_STEP", (-30, 30))
    monkeypatch.setattr("deepcrop.figures.page.DPI", 30)


def sample_file(tmp_path, *sites):
    every = [camera_sample(site, year) for site in sites for year in (2019, 2020)]
    samples.save(samples.collect(every, {"radiometry": ["sigma0"]}), tmp_path / "set.npz")
    return tmp_path / "set.npz"


@pytest.mark.slow
def test_a_small_evaluation(tmp_path, few):
    card = {"cameras": {"sites": {"trained": (41.0, -96.0)}}}
    far = {"cameras": {"sites": {"trained": (10.0, 10.0)}}}
    path = sample_file(tmp_path, "a", "trained")
    weights = write_weights(tmp_path / "weights.safetensors", tiny(), far)
    page = evaluate_horizons(weights, path, tmp_path / "out").read_text()
    assert "simulated pixels, real camera labels" in page
    assert "2 of 4: 2 site-years at 1 sites" in page  # the site that was trained on is left out
    assert "Crop calendar: 100 % of the dates are medians of the site's other years" in page
    with (tmp_path / "out" / "tables" / "horizons_eos50.csv").open() as file:
        rows = {(row["days since"], row["method"]): row for row in csv.DictReader(file)}
    # The camera saw the same dates in both years: the calendar is exact.
    assert float(rows["-60", "crop calendar"]["MAE"]) == 0
    assert float(rows["+60", "last year's date"]["known, %"]) == 50
    curve = "NDVI curve, calibrated"
    assert float(rows["-60", curve]["known, %"]) == 0  # a curve forecasts nothing
    assert float(rows["+60", curve]["known, %"]) == 100
    assert float(rows["+60", curve]["MAE"]) < 1  # at all sites it is as late
    for name in ("horizons.png", "tables/eos50_at_peak.md", "tables/sos50_by_site.md"):
        assert (tmp_path / "out" / name).stat().st_size
    near = write_weights(tmp_path / "near.safetensors", tiny(), card)
    with pytest.raises(DeepCropError, match="trained at or near all sites"):
        evaluate_horizons(near, path, tmp_path / "none")
