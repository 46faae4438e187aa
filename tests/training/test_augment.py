from dataclasses import fields, replace

import numpy as np
import pytest
from tests.helpers.training_examples import example

from deepcrop.training.augment import (
    CLOUDY,
    Augmentation,
    WithCuts,
    _change_atmosphere,
    _coarsen,
    _mean_power,
    augment,
)
from deepcrop.training.examples import Example

STILL = Augmentation(
    **dict.fromkeys((f.name for f in fields(Augmentation)), 0)
    | {"tile_size": 100, "max_scenes": 1000}
)


def same(one, two):
    return all(
        np.array_equal(getattr(one, f.name), getattr(two, f.name), equal_nan=True)
        for f in fields(Example)
    )


def made(seed, how, **kwargs):
    before = example(np.random.default_rng(seed), **kwargs)
    return before, augment(np.random.default_rng([seed, 1]), before, how)


def test_nothing_changes_but_the_turn_where_nothing_is_asked_for():
    turned = 0
    for seed in range(20):
        before, after = made(seed, STILL, side=20)
        if np.allclose(after.radar, before.radar, rtol=1e-5):
            np.testing.assert_allclose(after.optical, before.optical, rtol=1e-6)
            continue
        turned += 1
        np.testing.assert_allclose(after.optical, before.optical.swapaxes(-1, -2), rtol=1e-6)
        np.testing.assert_allclose(after.radar, before.radar.swapaxes(-1, -2), rtol=1e-6)
    assert 3 < turned < 17


def test_it_is_the_same_again_with_the_same_random_numbers_and_changes_no_input():
    before = example(np.random.default_rng(1))
    copy = replace(before, optical=before.optical.copy(), radar=before.radar.copy())
    one, two = (augment(np.random.default_rng(5), before, Augmentation()) for _ in range(2))
    assert same(one, two)
    assert same(before, copy)
    assert not same(one, augment(np.random.default_rng(6), before, Augmentation()))


@pytest.mark.parametrize("seed", range(8))
def test_dates_move_with_their_images(seed):
    how = replace(STILL, time_shift_std=12, time_stretch_std=0.06)
    before, after = made(seed, how, dates=40)
    # A date between two images stays at the same share of the way between them.
    steps = np.interp(after.day[0, 0, :5], after.optical_days, np.arange(len(after.optical_days)))
    first = np.searchsorted(before.optical_days, before.optical_days[0])
    lost = len(before.optical_days) - len(after.optical_days)
    expected = np.interp(before.day[0, 0, :5], before.optical_days, np.arange(40)) - first
    assert np.all((steps - expected > -lost - 1e-2) & (steps - expected < 1e-2))
    if not lost:
        np.testing.assert_allclose(steps, expected, atol=1e-3)
    assert np.all(np.diff(after.optical_days) > 0)
    peaks = after.day[..., [2, 7]]
    assert np.nanmin(peaks) >= 0
    assert np.nanmax(peaks) < 365


def test_a_calendar_that_would_push_a_peak_out_of_the_year_stays():
    before = example(np.random.default_rng(3), late=120)  # peak about day 325
    for seed in range(30):
        after = augment(np.random.default_rng(seed), before, replace(STILL, time_shift_std=40))
        assert np.nanmax(after.day[..., [2, 7]]) < 365


def test_scenes_are_lost_as_told():
    counts = [
        len(made(seed, replace(STILL, drop_optical_probability=1))[1].optical_days)
        for seed in range(60)
    ]
    assert min(counts) < 8
    assert max(counts) > 20
    gaps = [
        made(seed, replace(STILL, optical_gap_probability=1), dates=100)[1] for seed in range(30)
    ]
    longest = [np.diff(one.optical_days).max() for one in gaps]
    assert np.median(longest) > 30
    assert len(made(0, replace(STILL, max_scenes=7))[1].optical_days) == 7
    assert len(made(0, replace(STILL, max_scenes=7))[1].radar_days) == 7
    for seed in range(10):
        one = made(seed, replace(STILL, short_period_probability=1), dates=60)[1]
        assert one.optical_days.min() >= -181
        assert len(one.radar) == len(one.radar_days) == len(one.orbits)


def test_radar_scenes_are_thinned_and_stay_with_their_days_and_orbits():
    shares = []
    for seed in range(40):
        before, after = made(seed, replace(STILL, drop_radar_probability=1), radar_dates=60)
        assert len(after.optical_days) == len(before.optical_days)
        at = np.abs(before.radar_days[:, None] - after.radar_days).argmin(0)
        np.testing.assert_allclose(after.radar_days, before.radar_days[at], atol=1e-3)
        assert (np.diff(at) > 0).all()
        np.testing.assert_array_equal(after.orbits, before.orbits[at])
        left = before.radar[at]
        turned = left if np.allclose(after.radar, left, rtol=1e-5) else left.swapaxes(-1, -2)
        np.testing.assert_allclose(after.radar, turned, rtol=1e-5)
        shares.append(len(at) / 60)
    assert 0.2 < min(shares) < 0.45
    assert 0.9 < max(shares) <= 1


def air(seed, value=0.2, count=400, **changes):
    """What the air makes of scenes that are everywhere and always of one reflectance."""
    optical = np.full((count, 4, 3, 3), value, np.float32)
    after = _change_atmosphere(np.random.default_rng(seed), optical, replace(STILL, **changes))
    assert after.dtype == np.float32
    assert np.ptp(after, axis=(2, 3)).max() < 1e-6  # the same all over a scene
    assert (optical == np.float32(value)).all()
    return after[:, :, 0, 0]


def test_overlooked_haze_brightens_and_shadow_darkens():
    for seed in range(5):
        after = air(seed, unmasked_cloud_share=0.5)
        changed = np.abs(after - 0.2).max(1) > 1e-6
        assert changed.mean() <= 0.5
        assert np.ptp(after, axis=1).max() < 1e-6  # of four bands alike nothing gets a colour
        darker, brighter = after[after[:, 0] < 0.2 - 1e-6, 0], after[after[:, 0] > 0.2 + 1e-6, 0]
        assert len(darker) + len(brighter) == changed.sum()
        assert ((darker >= 0.2 * 0.35 - 1e-6) & (darker <= 0.2 * 0.8 + 1e-6)).all()
        assert (brighter <= 0.2 + 0.5 * (0.6 - 0.2) + 1e-6).all()
    overlooked = np.concatenate([air(seed, unmasked_cloud_share=0.5) for seed in range(40)])[:, 0]
    assert (overlooked != np.float32(0.2)).mean() == pytest.approx(0.25, abs=0.06)
    shaded = (overlooked < 0.2).sum() / (overlooked != np.float32(0.2)).sum()
    assert shaded == pytest.approx(0.4, abs=0.03)


def test_gains_of_bands_last_and_offsets_are_of_a_scene():
    gains = np.log(np.stack([air(seed, band_gain_std=0.05) for seed in range(200)]) / 0.2)
    bands = gains.mean(1)  # of each example, over its scenes
    assert bands.std() == pytest.approx(0.05, rel=0.15)
    scenes = gains - bands[:, None]
    assert scenes.std() == pytest.approx(0.025, rel=0.05)
    assert np.ptp(scenes, axis=2).max() < 1e-5  # a scene's own gain is that of all its bands
    offsets = np.stack([air(seed, reflectance_offset_std=0.006) for seed in range(50)]) - 0.2
    dark = (
        np.stack([air(seed, value=0.01, reflectance_offset_std=0.006) for seed in range(50)]) - 0.01
    )
    np.testing.assert_allclose(offsets, dark, atol=1e-6)  # whatever the reflectance
    of_scene = offsets.mean(2)
    assert (offsets - of_scene[..., None]).std() == pytest.approx(0.003 * np.sqrt(3 / 4), rel=0.05)
    assert of_scene.std() == pytest.approx(np.hypot(0.006, 0.003 / 2), rel=0.05)


def test_radar_gain_is_one_for_an_orbit_and_swing_keeps_the_median():
    before, after = made(2, replace(STILL, radar_amplitude_std=0.5))
    after_turned = after.radar if after.radar.shape == before.radar.shape else None
    assert after_turned is not None
    np.testing.assert_allclose(
        np.sort(np.median(after.radar, 0).ravel()),
        np.sort(np.median(before.radar, 0).ravel()),
        atol=1e-4,
    )
    assert not np.isclose(after.radar.std(), before.radar.std(), rtol=0.02)
    before, after = made(2, replace(STILL, radar_gain_std=1.0))
    added = after.radar.mean((2, 3)) - before.radar.mean((2, 3))
    assert 0.2 < added.std() < 4


def test_a_cut_tile_keeps_the_labels_of_its_pixels():
    rng = np.random.default_rng(0)
    before = example(rng, side=30)
    numbers = np.arange(13 * 13, dtype=np.float32)
    before = replace(before, day=before.day * 0 + 100, none=before.none)
    marked = before.day.copy()
    marked[:, 0, 0] = 100 + numbers
    optical = before.optical.copy()
    optical[:, 0, 9:22, 9:22] = numbers.reshape(13, 13) / 1000
    before = replace(before, day=marked, optical=optical)
    for seed in range(6):
        after = augment(np.random.default_rng(seed), before, replace(STILL, tile_size=22))
        assert after.optical.shape[-2:] == (22, 22)
        assert after.day.shape[0] == 25
        seen = after.optical[0, 0, 9:14, 9:14].ravel() * 1000
        np.testing.assert_allclose(after.day[:, 0, 0] - 100, seen, atol=1e-3)


def test_coarse_radar_pixels_are_the_mean_power_of_their_blocks():
    before, after = made(0, replace(STILL, coarse_radar_probability=1.0))
    blocks = after.radar.reshape(12, 2, 9, 2, 9, 2)
    assert np.ptp(blocks, axis=(3, 5)).max() < 1e-5
    power = (10 ** (before.radar / 10)).reshape(12, 2, 9, 2, 9, 2).mean((3, 5))
    np.testing.assert_allclose(
        np.sort(blocks[..., 0, :, 0].ravel()), np.sort(10 * np.log10(power).ravel()), rtol=1e-5
    )
    assert after.radar.dtype == np.float32


def test_coarse_pixels_by_hand():
    images = np.array([[[[-10, -20], [-10, -20]]]], np.float32)
    rng = np.random.default_rng(0)
    # Half of the pixels have a sigma0 of 0.1, half 0.01: the mean is 0.055, not that of -15 dB.
    radar = _coarsen(rng, images, 2, 1, _mean_power)
    np.testing.assert_allclose(radar, np.full((1, 1, 2, 2), -12.5964), atol=1e-4)
    optical = _coarsen(rng, images / -100, 2, 1)
    np.testing.assert_allclose(optical, np.full((1, 1, 2, 2), 0.15), rtol=1e-6)
    images[0, 0, 0, 0] = np.nan  # what is not seen whole is not seen
    assert np.isnan(_coarsen(rng, images, 2, 1, _mean_power)).all()


def test_beyond_a_single_field_nothing_is_seen_and_nothing_judged():
    for seed in range(10):
        before, after = made(seed, replace(STILL, hidden_surroundings_probability=1), side=24)
        hidden = np.isnan(after.optical).all((0, 1))
        np.testing.assert_array_equal(hidden, np.isnan(after.radar).all((0, 1)))
        rows, cols = np.flatnonzero(~hidden.all(1)), np.flatnonzero(~hidden.all(0))
        assert not hidden[np.ix_(rows, cols)].any()  # what is left is a rectangle
        assert 3 <= len(rows) <= 15
        assert 3 <= len(cols) <= 15
        unjudged = np.isnan(after.day[:, 0, 0]) & ~after.none.any((1, 2))
        np.testing.assert_array_equal(unjudged, hidden[9:-8, 9:-8].ravel())
        assert not unjudged.all()
        assert np.isfinite(before.day[:, 0, 0]).all()


def test_observations_end_in_season_and_radar_may_run_on():
    ends, clouded = [], 0
    for seed in range(60):
        before, after = made(seed, replace(STILL, cut_probability=1), dates=200, radar_dates=200)
        last, last_radar = (
            days.max(initial=-181) for days in (after.optical_days, after.radar_days)
        )
        assert len(after.radar) == len(after.radar_days) == len(after.orbits)
        kept = before.optical_days <= last
        np.testing.assert_array_equal(after.optical_days, before.optical_days[kept])
        np.testing.assert_array_equal(after.day, before.day)  # dates to come stay labels
        events = before.day[np.isfinite(before.day)]
        ends.append((last_radar - events.min()) / (events.max() - events.min() + 150))
        assert -80 < last_radar - events.min() < np.ptp(events) + 76
        clouded += last_radar - last > 15  # a step of radar is 3 days, of optical images 10 at most
        assert last_radar - last < CLOUDY + 15
    assert 10 < clouded < 35  # three in four of a half
    assert np.ptp(ends) > 0.8
    uncut = made(1, Augmentation(cut_probability=0))[1]
    assert same(uncut, made(1, Augmentation())[1])


def test_held_out_examples_are_whole_and_cut_always_alike():
    whole = [example(np.random.default_rng(seed)) for seed in range(4)]
    both = WithCuts(whole)
    assert len(both) == 8
    assert all(both[k] is whole[k] for k in range(4))
    for k, one in enumerate(whole):
        assert same(both[4 + k], WithCuts(whole)[4 + k])
        assert len(both[4 + k].optical_days) <= len(one.optical_days)
    assert any(len(both[4 + k].radar_days) < len(whole[k].radar_days) for k in range(4))
    with pytest.raises(IndexError):
        both[8]
