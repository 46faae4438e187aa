"""What the four smoothers share: the face, settings by name, checks of the input, chunks."""

from dataclasses import fields

import numpy as np
import pytest

from deepcrop.errors import DeepCropError
from deepcrop.phenology import (
    PRESETS,
    AsymmetricGaussian,
    DoubleLogistic,
    SavGol,
    SeasonRule,
    Whittaker,
    smooth,
)
from deepcrop.phenology import (
    smoothers as phenology_smoothers,
)

SMOOTHERS = ("savgol", "whittaker", "double_logistic", "asymmetric_gaussian")
every_smoother = pytest.mark.parametrize("smoother", SMOOTHERS)


def bump(t, up=100.0, down=200.0, low=0.2, high=0.8, width=8.0):
    rise, fall = 1 / (1 + np.exp(-(t - up) / width)), 1 / (1 + np.exp((t - down) / width))
    return low + (high - low) * rise * fall


@every_smoother
@pytest.mark.parametrize("preset", PRESETS)
def test_a_clean_season_is_followed(smoother, preset):
    t = np.arange(0, 330, 4.0)
    curve, grid = smooth(bump(t)[None], t, smoother=smoother, preset=preset)
    assert curve.dtype == np.float32
    step = PRESETS[preset][0][smoother].step
    np.testing.assert_allclose(grid, np.arange(0, t[-1] + 1e-9, step))
    assert np.abs(curve[0] - bump(grid)).max() < 0.06


@every_smoother
def test_a_name_means_the_settings_of_the_preset(smoother):
    t = np.arange(0, 330, 4.0)
    y = bump(t)[None] + np.random.default_rng(0).normal(0, 0.03, (1, t.size))
    by_name, _ = smooth(y, t, smoother=smoother)
    given, _ = smooth(y, t, smoother=PRESETS["sentinel2"][0][smoother], preset="phenocam")
    np.testing.assert_array_equal(by_name, given)


def test_presets_are_complete():
    assert tuple(PRESETS) == ("paper", "sentinel2", "phenocam")
    types = (SavGol, Whittaker, DoubleLogistic, AsymmetricGaussian)
    for smoothers, rule in PRESETS.values():
        assert tuple(smoothers) == SMOOTHERS
        assert tuple(type(s) for s in smoothers.values()) == types
        assert [phenology_smoothers.name_of(s) for s in smoothers.values()] == list(SMOOTHERS)
        assert isinstance(rule, SeasonRule)
    for settings in types:
        assert PRESETS["sentinel2"][0][phenology_smoothers.name_of(settings())] == settings()


@every_smoother
def test_days_of_the_curve_run_on_the_origin_of_the_days(smoother):
    t = np.arange(0, 200, 7.0)
    y = bump(t, 60, 140)[None]
    curve, grid = smooth(y, t, smoother=smoother)
    shifted, late = smooth(y, t + 738000.25, smoother=smoother)
    np.testing.assert_array_equal(shifted, curve)
    np.testing.assert_allclose(late, grid + 738000.25)
    assert late.dtype == np.float64


@every_smoother
def test_order_of_observations_is_irrelevant_to_the_bit(smoother):
    rng = np.random.default_rng(1)
    t = np.sort(rng.choice(300, 50, replace=False)).astype(float)
    y = bump(t) + rng.normal(0, 0.02, (3, t.size))
    order = rng.permutation(t.size)
    a, grid = smooth(y, t, smoother=smoother)
    b, other = smooth(y[:, order], t[order], smoother=smoother)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(grid, other)


@every_smoother
def test_observations_of_one_day_are_averaged_by_weight(smoother):
    t = np.array([0, 5, 10, 10, 15, 20, 25, 30, 35, 40])
    y = np.full((1, t.size), 0.4)
    y[0, 2:4] = 0.3, 0.6  # weights 2 and 1: 0.4
    weights = np.ones_like(y)
    weights[0, 2] = 2
    curve, _ = smooth(y, t, weights, smoother=smoother)
    np.testing.assert_allclose(curve, 0.4, atol=1e-6)


@every_smoother
def test_values_of_weight_zero_change_no_bit(smoother):
    rng = np.random.default_rng(2)
    t = np.arange(0, 300, 5.0)
    y = bump(t) + rng.normal(0, 0.02, (20, t.size))
    weights = (rng.random(y.shape) < 0.8).astype(float)
    curve, _ = smooth(y, t, weights, smoother=smoother)
    for junk in (9.0, -1e30, np.nan, np.inf):
        other, _ = smooth(np.where(weights > 0, y, junk), t, weights, smoother=smoother)
        np.testing.assert_array_equal(curve, other)
    other, _ = smooth(np.where(weights > 0, y, np.nan), t, smoother=smoother)
    np.testing.assert_array_equal(curve, other)  # NaN of weight 1 is as good as weight 0


@every_smoother
def test_weights_say_how_much_an_observation_counts(smoother):
    t = np.arange(0, 200, 5.0)
    y = np.where(np.arange(t.size) % 2, 0.6, 0.4)[None]
    high, low = np.where(y > 0.5, [[1.0], [0.02]], [[0.02], [1.0]])
    settings = type(PRESETS["sentinel2"][0][smoother])(envelope_passes=0, spike=99)
    curves = [smooth(y, t, w[None], smoother=settings)[0] for w in (high, low)]
    np.testing.assert_allclose(curves[0], 0.6, atol=0.02)
    np.testing.assert_allclose(curves[1], 0.4, atol=0.02)


@every_smoother
@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_only_the_ratio_of_weights_counts(smoother, factor):
    rng = np.random.default_rng(3)
    t = np.arange(0, 300, 5.0)
    y = bump(t) + rng.normal(0, 0.02, (5, t.size))
    weights = rng.uniform(0.1, 1, y.shape)
    a, _ = smooth(y, t, weights, smoother=smoother)
    b, _ = smooth(y, t, factor * weights, smoother=smoother)
    np.testing.assert_allclose(a, b, atol=1e-5)


@every_smoother
def test_too_few_observations_give_no_curve(smoother):
    t = np.arange(7) * 5.0
    y = np.full((4, 7), np.nan)
    y[1, 3] = 0.5
    y[2, [0, 5]] = 0.2, 0.4
    y[3, [0, 3, 6]] = 0.2, 0.3, 0.4
    curve, grid = smooth(y, t, smoother=smoother)
    assert curve.shape == (4, grid.size)
    assert np.isnan(curve[:3]).all()
    np.testing.assert_allclose(curve[3], 0.2 + grid / 150, atol=2e-3)


def test_no_pixels_no_times_and_too_short_a_time():
    assert smooth(np.empty((0, 30)), np.arange(30))[0].shape == (0, 6)
    curve, grid = smooth(np.empty((3, 0)), [])
    assert curve.shape == (3, 0)
    assert grid.size == 0
    assert np.isnan(smooth(np.ones((2, 9)), np.arange(9))[0]).all()  # the curve would be two points


@every_smoother
def test_chunks_do_not_change_a_bit(smoother, monkeypatch):
    rng = np.random.default_rng(4)
    t = np.sort(rng.choice(400, 60, replace=False)).astype(float)
    y = bump(t, rng.uniform(80, 180, (70, 1)), 300) + rng.normal(0, 0.05, (70, t.size))
    y[rng.random(y.shape) < 0.3] = np.nan
    whole, _ = smooth(y, t, smoother=smoother)
    for size in (16, 48):
        monkeypatch.setattr(phenology_smoothers, "_CHUNK", size)
        parts, _ = smooth(y, t, smoother=smoother)
        np.testing.assert_array_equal(whole, parts)


def test_layout_of_the_input_does_not_change_a_bit():
    rng = np.random.default_rng(5)
    t = np.arange(0, 300, 5)
    y = (bump(t) + rng.normal(0, 0.02, (20, t.size))).astype(np.float32)
    curve, _ = smooth(y, t)
    fortran, _ = smooth(np.asfortranarray(y), t)
    apart, _ = smooth(np.repeat(y, 2, axis=1)[:, ::2], t)
    y.setflags(write=False)
    fixed, _ = smooth(y, t)
    listed, _ = smooth(y.tolist(), t.tolist())
    for other in (fortran, apart, fixed, listed):
        np.testing.assert_array_equal(curve, other)
    same, _ = smooth(np.broadcast_to(y[0], (5, t.size)), t)
    np.testing.assert_array_equal(same, np.broadcast_to(curve[0], same.shape))
    np.testing.assert_array_equal(smooth(y.astype(np.float64), t)[0], curve)


def test_the_input_is_left_as_it_was():
    rng = np.random.default_rng(6)
    t = rng.permutation(60) * 5.0
    y = rng.random((20, 60)).astype(np.float32)
    weights = rng.random((20, 60)).astype(np.float32)
    before = y.copy(), t.copy(), weights.copy()
    smooth(y, t, weights)
    for array, copy in zip((y, t, weights), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_what_a_mask_hides_is_no_observation():
    t = np.arange(0, 300, 5.0)
    y = bump(t)[None]
    hidden = np.ma.masked_array(np.where(t % 20, y, 9.0), t[None] % 20 == 0)
    np.testing.assert_array_equal(smooth(hidden, t)[0], smooth(np.where(t % 20, y, np.nan), t)[0])


def test_unknown_names_are_refused():
    y, t = np.zeros((2, 20)), np.arange(20.0)
    with pytest.raises(DeepCropError, match=r"'spline' is unknown; expected one of \['savgol', "):
        smooth(y, t, smoother="spline")
    with pytest.raises(DeepCropError, match=r"'landsat' is unknown; expected one of \['paper', "):
        smooth(y, t, preset="landsat")
    for strange in (None, 3, SeasonRule(), Whittaker):
        with pytest.raises(DeepCropError, match="expected a name or a settings object"):
            smooth(y, t, smoother=strange)


@pytest.mark.parametrize("settings", [SavGol, Whittaker, DoubleLogistic, AsymmetricGaussian])
def test_settings_that_make_no_sense_are_refused(settings):
    y, t = np.zeros((2, 20)), np.arange(20.0)
    for field in fields(settings):
        for value in (-1, np.nan, np.inf):
            with pytest.raises(DeepCropError, match=field.name):
                smooth(y, t, smoother=settings(**{field.name: value}))
    with pytest.raises(DeepCropError, match=r"step=0 .*expected a positive number"):
        smooth(y, t, smoother=settings(step=0))


@pytest.mark.parametrize("name", ["min_amplitude", "prominence", "max_gap", "min_observations"])
def test_rules_that_make_no_sense_are_refused(name):
    y, t = np.zeros((2, 20)), np.arange(20.0)
    for value in (-1, np.nan):
        with pytest.raises(DeepCropError, match=name):
            smooth(y, t, rule=SeasonRule(**{name: value}))


def test_shapes_that_do_not_fit_are_refused():
    y, t = np.zeros((2, 20)), np.arange(20.0)
    for values, days in ((y, t[:10]), (y[0], t), (y[None], t), (y, t[None])):
        with pytest.raises(DeepCropError, match=r"do not fit: expected \(pixels, times\)"):
            smooth(values, days)
    with pytest.raises(DeepCropError, match=r"Weights have shape \(20,\); expected \(2, 20\)"):
        smooth(y, t, np.ones(20))
    for bad in (np.nan, np.inf):
        with pytest.raises(DeepCropError, match="NaN or infinities; drop"):
            smooth(y, np.r_[t[:-1], bad])
