"""The benchmark of season dates: its truth, its scoring, and one run of deepcrop alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "phenology"


@pytest.fixture
def load(monkeypatch):
    """A module of the benchmark, loaded as its command loads it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))

    def one(name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield one
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_dates_of_a_straight_rise_and_fall(load):
    """0.1 to 0.6 in 50 days, then to 0.2 in 40: each fraction lies where arithmetic says."""
    series = load("series")
    days = np.arange(0, 200, series.STEP)
    curve = np.interp(days, [50, 100, 140], [0.1, 0.6, 0.2])
    dates = series.read_dates(curve, 0, int(100 / series.STEP), len(curve) - 1)
    np.testing.assert_allclose(dates, [60, 75, 100, 120, 132], atol=1e-4)


def test_true_dates_lie_on_the_curves(load):
    series = load("series")
    scene = series.simulate("three years", 60, seed=3)
    assert scene.truth.shape == (60, 6, 5)
    seasons = np.isfinite(scene.truth).all(axis=2).sum(axis=1)
    np.testing.assert_array_equal(seasons, np.array([3, 6, 2])[scene.group])
    for pixel, season in np.argwhere(np.isfinite(scene.truth[:, :, 0])):
        dates = scene.truth[pixel, season]
        assert (np.diff(dates) > 0).all()
        assert dates[0] > 30
        assert dates[4] < scene.curve_days[-1] - 10
        top = np.interp(dates[2], scene.curve_days, scene.curves[pixel])
        earlier = scene.truth[pixel, season - 1, 2] if season else 0
        between = (scene.curve_days >= earlier) & (scene.curve_days <= dates[2])
        base = scene.curves[pixel][between].min()
        at_half = np.interp(dates[1], scene.curve_days, scene.curves[pixel])
        assert at_half == pytest.approx((base + top) / 2, abs=0.02)


def test_observations_are_as_announced(load):
    series = load("series")
    scene = series.simulate("three years", 600, seed=3)
    seen = np.isfinite(scene.values)
    assert scene.days.size == 219
    assert seen.mean() == pytest.approx(0.5, abs=0.02)
    winter = np.cos(2 * np.pi * scene.days / 365) > 0.7
    assert seen[:, winter].mean() < seen[:, ~winter].mean() - 0.1
    clean = scene.curves[:, scene.days.astype(int)]
    error = (scene.values - clean)[seen]
    assert np.median(np.abs(error)) == pytest.approx(0.025 * 0.6745, rel=0.15)
    # A tenth of a low value is lost in the noise, so fewer than 6 % stand out.
    assert 0.03 < np.mean(error < -0.09) < 0.06
    runs = np.diff(seen.astype(int), axis=1) != 0
    assert runs.mean() < 0.4  # independent clouds change every second time
    again = series.simulate("three years", 600, seed=3)
    np.testing.assert_array_equal(scene.values, again.values)
    assert not np.array_equal(scene.truth, series.simulate("three years", 600, seed=4).truth)


@pytest.mark.parametrize(
    ("kind", "times", "clear"), [("one year", 42, 28), ("sparse year", 79, 25)]
)
def test_scenes_of_one_year(load, kind, times, clear):
    scene = load("series").simulate(kind, 300, seed=3)
    assert scene.values.shape == (300, times)
    assert np.isfinite(scene.values).sum(axis=1).mean() == pytest.approx(clear, abs=1.5)
    assert set(scene.group) == {0, 1}


def test_no_family_stands_alone(load):
    series = load("series")
    bank = series.shape_bank(np.random.default_rng(0))
    assert len(bank) == len(series.FAMILIES) * 400
    np.testing.assert_allclose(bank.max(axis=1), 1)
    np.testing.assert_allclose(bank[:, [0, -1]], 0, atol=1e-12)


def test_score_of_a_golden_case(load):
    """Two pixels: one season two days late, two seasons seen as one, one season invented."""
    scoring = load("scoring")
    nan = np.nan
    truth = np.array(
        [
            [[100, 110, 150, 190, 200], [nan] * 5],
            [[60, 70, 90, 110, 120], [200, 210, 230, 250, 260]],
        ],
        np.float32,
    )
    dates = np.array(
        [
            [[102, 112, 151, 188, nan], [300, 310, 320, 330, 340]],
            [[60, 70, 230, 250, 260], [nan] * 5],
        ],
        np.float32,
    )
    low, high = dates - 3, dates + 1
    result = scoring.score(truth, np.array([0, 1]), dates, low, high)
    np.testing.assert_array_equal(result.detected, [1, 0, nan])
    assert result.false == pytest.approx(2 / 3)
    assert result.complete == 0
    np.testing.assert_array_equal(result.mae, [2, 2, 1, 2, nan])
    np.testing.assert_array_equal(result.bias, [2, 2, 1, -2, nan])
    np.testing.assert_array_equal(result.coverage, [1, 1, 1, 0, nan])
    np.testing.assert_array_equal(result.width, [4, 4, 4, 4, nan])


def test_of_two_seasons_in_one_the_nearest_counts(load):
    scoring = load("scoring")
    truth = np.array([[[100.0, 110, 150, 190, 200]]])
    dates = np.array([[[100.0, 110, 130, 160, 170], [105.0, 112, 150, 190, 196]]])
    partner, found = scoring.match(truth, dates)
    assert partner.tolist() == [[1]]
    assert found == 2


def test_comparison_where_both_have_dates(load):
    scoring = load("scoring")
    truth = np.array([[[100.0, 110, 150, 190, 200], [300, 310, 350, 390, 400]]])
    one = truth + 1
    other = truth - 3
    other[0, 1, 4] = np.nan
    one[0, 1] += 9
    errors = scoring.on_common_seasons(truth, one, other)
    np.testing.assert_allclose(errors[0], 1)
    np.testing.assert_allclose(errors[1], 3)


@pytest.mark.slow
def test_plain_rule_for_smooth_curves(load):
    thresholds = load("thresholds")
    grid = np.arange(0, 400, 5, dtype=np.float32)
    curve = np.interp(grid, [50, 100, 150, 200, 250, 300], [0.1, 0.6, 0.2, 0.2, 0.7, 0.1])
    curve[4] += 0.05  # a ripple is no season
    dates = thresholds.season_dates(curve[None].astype(np.float32), grid)
    expected = [[60, 75, 100, 125, 140], [210, 225, 250, 275, 290]]
    np.testing.assert_allclose(dates[0, :2], expected, atol=1e-3)
    assert np.isnan(dates[0, 2:]).all()


@pytest.mark.large
def test_deepcrop_alone_end_to_end(tmp_path):
    out = tmp_path / "table.md"
    command = [sys.executable, str(FOLDER), "--pixels", "200", "--quick", "--no-peers"]
    command += ["--scene", "three years"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = out.read_text()
    assert table.strip() == done.stdout.strip()
    assert "SIMULATED" in table.splitlines()[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| three years")]
    assert "deepcrop savgol" in [row[1] for row in rows]
    errors = [float(e) for e in rows[0][8].split(" / ")]
    assert all(0.3 < e < 15 for e in errors)


@pytest.mark.slow
def test_camera_shapes_are_seasons_between_levels(load, tmp_path):
    """A file of three years of a known shape: its dates are read from the curve."""
    load("series")
    shapes = load("camera_shapes")
    days = np.arange("2018-01-01", "2021-01-01", dtype="datetime64[D]")
    year = (days - days.astype("datetime64[Y]")).astype(int)
    gcc = 0.33 + 0.1 * np.clip(np.minimum(year - 120, 280 - year) / 40, 0, 1)
    rows = [
        f"{day},{1 if first == 0 else 2},{value:.5f},0"
        for day, first, value in zip(days, year, gcc, strict=True)
    ]
    (tmp_path / "made_up_3day.csv").write_text(
        "# a made-up camera\ndate,doy,smooth_gcc_90,int_flag\n" + "\n".join(rows)
    )
    scene = shapes.simulate(40, 3, tmp_path)
    assert scene.truth.shape == (40, 3, 5)
    expected = np.array([128, 140, 260, 272]) + 365 * np.arange(3)[:, None]
    np.testing.assert_allclose(
        scene.truth[:, :, [0, 1, 3, 4]], expected[None].repeat(40, 0), atol=3
    )
    assert 0.4 < np.isnan(scene.values).mean() < 0.6
    assert not scene.group.any()
