import numpy as np
import pytest

from deepcrop import stages
from deepcrop.cube.contract import CLEAR_CLASSES
from deepcrop.simulation import canopy, overpasses, radar, surface

FIRST, LAST = -122, 423
SHAPE = (90, 110)


def passes(seed=1, place="europe", latitude=51.0, longitude=4.0, dry=False):
    rain = radar.rain(seed, canopy.DAYS, place) * (not dry)
    return overpasses.optical_overpasses(
        seed, FIRST, LAST, rain, canopy.FIRST_DAY, place, latitude, longitude
    )


@pytest.fixture(scope="module")
def optical():
    return passes()


@pytest.fixture(scope="module")
def land():
    return surface.make(1, 0, 0, SHAPE, 6.0, "europe", 51.0)


def show(scene, land, row0=0, col0=0):
    ground = surface.reflectance(land, scene.day, 0.2, scene.cos_sun)
    inside = np.ones(land.which.shape, bool)
    return ground, *overpasses.atmosphere(scene, ground, row0, col0, inside)


def test_each_orbit_passes_every_5_days_and_some_scenes_are_missing(optical):
    missing = 0
    for orbit in (0, 1):
        days = np.array([s.day for s in optical if s.orbit == orbit])
        assert (np.diff(days) % 5 == 0).all()
        assert len(set(days % 5)) == 1
        missing += (days[-1] - days[0]) // 5 + 1 - len(days)
    assert 0 < missing < 0.15 * len(optical)
    assert [s.day for s in optical] == sorted(s.day for s in optical)


@pytest.mark.parametrize("revisit", [6, 12])
@pytest.mark.parametrize("longitude", [-125.0, 4.0, 45.0])
def test_radar_passes(revisit, longitude):
    made = overpasses.radar_overpasses(1, FIRST, LAST, revisit, longitude)
    expected = 2 * (LAST - FIRST) / revisit
    assert 0.88 * expected < len(made) < expected + 2
    for orbit in (0, 1):
        days = np.array([s.day for s in made if s.orbit == orbit])
        assert (np.diff(days) % revisit == 0).all()
        assert {s.incidence for s in made if s.orbit == orbit} == {overpasses._S1_INCIDENCE[orbit]}
    times = overpasses.times(made, 2018)
    assert (np.diff(times) > np.timedelta64(0)).all()
    # The day of the land that is seen is the UTC date of the scene.
    assert stages.to_days(times, 2018).tolist() == [s.day for s in made]


@pytest.mark.parametrize("longitude", [-125.0, 4.0, 45.0])
def test_optical_times_are_the_morning_of_the_day(longitude):
    made = passes(longitude=longitude)
    times = overpasses.times(made, 2018)
    assert stages.to_days(times, 2018).tolist() == [s.day for s in made]
    assert all(s.hour + longitude / 15 == pytest.approx(10.6) for s in made)


def test_other_seeds_have_other_skies(optical):
    assert passes() == optical
    assert passes(seed=2) != optical


def test_swaths_overlap_and_leave_no_gap(optical):
    one, two = (next(s for s in optical if s.orbit == k) for k in (0, 1))
    for shape in ((100, 400), (400, 100)):
        west, east = (overpasses.in_swath(s, 0, 0, shape, shape[1]) for s in (one, two))
        assert (west | east).all()
        assert 0.05 < (west & east).mean() < 0.7
        assert (~east).any()
        assert (~west).any()
        # Edges of descending orbits run south-westwards, side by side.
        assert (np.diff(west.sum(axis=1)) <= 0).all()
        assert (np.diff((~east).sum(axis=1)) <= 0).all()
    part = overpasses.in_swath(one, 30, 200, (20, 50), 400)
    assert np.array_equal(part, overpasses.in_swath(one, 0, 0, (100, 400), 400)[30:50, 200:250])


def test_sun_is_high_in_summer_and_low_in_winter(optical):
    summer = [s.cos_sun for s in optical if 150 < s.day < 200]
    winter = [s.cos_sun for s in optical if -20 < s.day < 20]
    assert min(summer) > max(winter) + 0.3


def test_cloud_cover_follows_the_climate_and_the_rain():
    for place in overpasses.MEAN_CLOUD:
        made = [s.cloud for seed in range(6) for s in passes(seed, place)]
        assert abs(np.mean(made) - overpasses.MEAN_CLOUD[place]) < 0.07
    dry = np.mean([s.cloud for seed in range(4) for s in passes(seed, dry=True)])
    wet = np.mean([s.cloud for seed in range(4) for s in passes(seed)])
    assert dry < wet


def test_measured_cover_agrees_with_that_of_the_sky():
    made = [s for seed in range(3) for s in passes(seed)[::5]]
    cover = np.array([overpasses.cloud_cover(s, 3000, 3000) for s in made])
    assert abs(cover.mean() - np.mean([s.cloud for s in made])) < 0.06
    assert np.corrcoef(cover, [s.cloud for s in made])[0, 1] > 0.8


def test_clouds_are_correlated_in_space_and_the_same_in_any_block(optical):
    middle = [s for s in optical if 0.4 < s.cloud < 0.6 and s.wavelength == 4000.0]
    assert middle
    cloud = overpasses._clouds(middle[0], 0, 0, (600, 600))

    def correlation(lag):
        return np.corrcoef(cloud[:, :-lag].ravel(), cloud[:, lag:].ravel())[0, 1]

    assert correlation(1) > 0.97
    assert correlation(1) > correlation(20) > correlation(100)
    assert correlation(20) > 0.5
    assert np.array_equal(overpasses._clouds(middle[0], 50, 60, (40, 30)), cloud[50:90, 60:90])


def test_mask_has_omissions_and_commissions(optical, land):
    omitted = clouded = rejected = clean = 0
    for scene in optical[::6]:
        _, _, scl = show(scene, land)
        kept = np.isin(scl, CLEAR_CLASSES)
        cloud = overpasses._clouds(scene, 0, 0, SHAPE)
        down, right = scene.shadow
        shadow = overpasses._clouds(scene, -down, -right, SHAPE)
        omitted += (kept & ((cloud > 0.1) | (shadow > 0.25))).sum()
        clouded += ((cloud > 0.1) | (shadow > 0.25)).sum()
        rejected += (~kept & (cloud == 0) & (shadow == 0)).sum()
        clean += ((cloud == 0) & (shadow == 0)).sum()
        assert not (kept & (cloud > 0.6)).any()  # thick cloud is always found
    assert 0.003 < omitted / clouded < 0.2
    assert 0.001 < rejected / clean < 0.1


def test_clouds_brighten_and_shadows_darken(optical, land):
    scene = next(s for s in optical if 0.3 < overpasses.cloud_cover(s, *SHAPE) < 0.7)
    ground, product, scl = show(scene, land)
    cloud = overpasses._clouds(scene, 0, 0, SHAPE)
    thick = cloud > 0.9
    assert (
        np.isin(scl[thick], (overpasses.SCL_CLOUD_MEDIUM, overpasses.SCL_CLOUD_HIGH)).mean() > 0.99
    )
    assert product[0][thick].mean() > 0.4
    shadowed = darkened = 0
    for scene in optical:
        ground, product, scl = show(scene, land)
        cloud = overpasses._clouds(scene, 0, 0, SHAPE)
        down, right = scene.shadow
        assert down < 0  # the sun is in the south: shadows fall to the north
        shade = (overpasses._clouds(scene, -down, -right, SHAPE) > 0.8) & (cloud == 0)
        shadowed += shade.sum()
        darkened += (product[3][shade] < 0.7 * ground[3][shade]).sum()
        if shadowed > 300:
            break
    assert darkened > 0.95 * shadowed > 0


def test_clear_sky_leaves_haze_calibration_and_noise(optical, land):
    bias, spread = [], []
    for scene in optical:
        if scene.cloud > 0.02:
            continue
        ground, product, scl = show(scene, land)
        ratio = (product / ground)[:, np.isin(scl, CLEAR_CLASSES)]
        if ratio.size:
            bias.append(np.median(ratio, axis=1))
            spread.append(ratio[3].std())
    bias = np.array(bias)
    assert len(bias) > 3
    assert bias[:, 0].std() > 0.005  # scene by scene
    assert bias[:, 0].mean() > bias[:, 3].mean()  # haze is blue
    assert (np.abs(bias[:, 3] - 1) < 0.15).all()
    assert min(spread) > 0.005


@pytest.mark.slow
def test_atmosphere_is_the_same_in_any_block(optical, land):
    scene = optical[10]
    _, product, scl = show(scene, land)
    window = (slice(20, 60), slice(30, 41))
    _, part, part_scl = show(scene, surface.crop_to(land, window), 20, 30)
    assert np.array_equal(part, product[:, *window])
    assert np.array_equal(part_scl, scl[window])


def test_outside_the_swath_is_no_data(optical, land):
    ground = surface.reflectance(land, 100, 0.2, 0.7)
    inside = np.zeros(SHAPE, bool)
    inside[:, :50] = True
    _, scl = overpasses.atmosphere(optical[5], ground, 0, 0, inside)
    assert np.array_equal(scl == overpasses.SCL_NO_DATA, ~inside)


def test_the_clearest_scenes_are_kept_in_order_of_time(optical):
    optical = optical[:40]
    kept = overpasses.clearest(optical, *SHAPE, 15, 0.9)
    assert len(kept) == 15
    assert [s.day for s in kept] == sorted(s.day for s in kept)
    cover = [overpasses.cloud_cover(s, *SHAPE) for s in optical]
    assert max(overpasses.cloud_cover(s, *SHAPE) for s in kept) <= sorted(cover)[14]
    below = overpasses.clearest(optical, *SHAPE, None, 0.5)
    assert below == [s for s, c in zip(optical, cover, strict=True) if c <= 0.5]
    assert len(overpasses.clearest(optical, *SHAPE, 10**4, 0.9)) == len(optical)
