import numpy as np
import pytest

from deepcrop.simulation import canopy, crops, field_mosaic, random_fields, surface

PLACE = ("north_america", 38.0)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def land():
    return surface.make(3, -1, -1, (170, 190), 6.0, *PLACE)


def pixels(land, field):
    return np.nonzero(land.which == field)


def largest(land, crop):
    """Index of the largest field of a crop that is harvested in the target year."""
    found = [
        k
        for k, f in enumerate(land.fields)
        if f.main_crop() == crop and any(0 < e < 365 for e in f.events)
    ]
    return max(found, key=lambda k: (land.which == k).sum())


@pytest.mark.parametrize("window", [(0, 0, 40, 50), (93, 120, 51, 37), (165, 180, 5, 10)])
def test_any_block_can_be_made_by_itself(land, window):
    row, col, rows, cols = window
    block = surface.make(3, row - 1, col - 1, (rows, cols), 6.0, *PLACE)
    part = surface.crop_to(land, (slice(row, row + rows), slice(col, col + cols)))
    for name in ("number", "shift", "vigour", "brightness", "roughness"):
        assert np.array_equal(getattr(block, name), getattr(part, name)), name
    assert np.array_equal(block.codes(), part.codes())
    for day in (-100, 150, 400):
        one, two = (surface.reflectance(s, day, 0.3, 0.8) for s in (block, part))
        assert np.array_equal(one, two)
        one, two = (surface.backscatter(s, day, 20.0, 38.0, 1.0) for s in (block, part))
        assert np.array_equal(one, two)
    assert np.array_equal(surface.greenness(block), surface.greenness(part))


def test_classes(land):
    codes = land.codes()
    names = {crops.CLASS_NAMES[c] for c in np.unique(codes)}
    assert {"maize", "soybean", "winter_wheat", "alfalfa", "road"} <= names
    assert ((codes == 14) == (land.which == surface.ROAD)).all()
    assert ((codes == 15) == (land.which == surface.WATER)).all()
    assert ((land.number == 0) == (land.which < 0)).all()
    for k, field in enumerate(land.fields):
        assert (codes[land.which == k] == crops.CROPS[field.main_crop()].code).all()


def test_a_block_without_fields():
    drawn = field_mosaic.draw(3, 0, 0, (300, 300), 6.0)
    row, col = np.argwhere(drawn.field == 0)[0]
    block = surface.make(3, row, col, (1, 1), 6.0, *PLACE)
    assert block.fields == []
    assert block.number.max() == 0
    assert block.codes()[0, 0] in crops.NOT_CROPS
    assert np.isfinite(surface.reflectance(block, 100, 0.2, 0.7)).all()
    assert np.isfinite(surface.backscatter(block, 100, 20.0, 38.0, 1.0)).all()
    assert np.ptp(surface.greenness(block)) == 0


def test_harvest_is_one_day_for_the_field_and_green_up_is_not(land):
    for crop in ("maize", "winter_wheat"):
        k = largest(land, crop)
        harvest = next(e for e in land.fields[k].events if 0 < e < 365) - canopy.FIRST_DAY
        rows, cols = pixels(land, k)
        green = surface.greenness(land)[:, rows, cols]
        assert np.allclose(green[harvest], 0.334, atol=1e-6)  # bare, all of it
        assert (green[harvest - 1] > 0.335).all()
        rise = green[harvest - 200 : harvest]
        half = 0.5 * (rise.max(axis=0) + 0.334)
        first = (rise > half).argmax(axis=0)
        assert np.ptp(first) >= 2


def test_a_field_has_a_gradient_and_its_plants_differ(land):
    k = largest(land, "maize")
    rows, cols = pixels(land, k)
    shift, vigour = land.shift[rows, cols], land.vigour[rows, cols]
    assert 0.3 < shift.std() < 6
    assert 0.03 < vigour.std() < 0.2
    assert abs(np.log(land.vigour).mean()) < 0.1
    # Per plant: neighbours differ although textures are smooth.
    assert np.abs(np.diff(land.vigour, axis=1)).mean() > 0.03
    # Fields differ in the slope of their lateness.
    along = [np.ptp(land.shift[land.which == f]) for f in range(len(land.fields))]
    assert max(along) > 2 * np.median(along) > 0


def test_late_pixels_are_late(land):
    k = largest(land, "maize")
    rows, cols = pixels(land, k)
    shift = land.shift[rows, cols]
    early, late = shift.argmin(), shift.argmax()
    green = surface.greenness(land)[:, rows, cols]
    end = next(e for e in land.fields[k].events if 0 < e < 365) - canopy.FIRST_DAY
    span = slice(end - 160, end - 60)

    def half(i):
        curve = green[span, i]
        return np.interp(0.5 * (0.334 + curve.max()), np.maximum.accumulate(curve), range(100))

    assert half(late) - half(early) == pytest.approx(shift[late] - shift[early], abs=2.5)


def test_ndvi_falls_after_camera_greenness(land):
    """The bias that the truth holds against NDVI."""
    days = np.arange(150, 330, 3)
    lags = []
    for k, field in enumerate(land.fields):
        if field.main_crop() not in ("maize", "soybean") or len(lags) > 11:
            continue
        rows, cols = pixels(land, k)
        one = surface.crop_to(land, (slice(rows[0], rows[0] + 1), slice(cols[0], cols[0] + 1)))
        gcc = surface.greenness(one)[days - canopy.FIRST_DAY, 0, 0]
        bands = np.stack([surface.reflectance(one, int(d), 0.2, 0.8)[:, 0, 0] for d in days])
        ndvi = (bands[:, 3] - bands[:, 2]) / (bands[:, 3] + bands[:, 2])
        below = []
        for curve in (gcc, ndvi):
            peak = curve.argmax()
            half = 0.5 * (curve[peak] + curve[peak:].min())
            below.append(peak + (curve[peak:] < half).argmax())
        lags.append(3 * (below[1] - below[0]))
    assert len(lags) > 10
    assert 2 < np.median(lags) < 20


def test_spans_hold_days_between_events():
    span = surface._spans([10, 50])
    day = -canopy.FIRST_DAY
    assert span[day + 9, 1] == day + 9
    assert span[day + 10].tolist() == [day + 10, day + 49]
    assert span[day + 50].tolist() == [day + 50, len(canopy.DAYS) - 1]
    assert surface._spans([canopy.FIRST_DAY - 40, 10**4])[0].tolist() == [0, len(canopy.DAYS) - 1]


def test_leaf_area_in_view_keeps_its_sum_and_shows_death_early():
    assert surface.leaf_area_in_view(3.0, 0.0) == (3.0, 0.0)
    assert surface.leaf_area_in_view(0.0, 0.0) == (0.0, 0.0)
    green, brown = surface.leaf_area_in_view(2.0, 2.0)
    assert green + brown == pytest.approx(4.0)
    assert green < 2.0


def test_reflectance_and_backscatter_follow_the_season(land):
    k = largest(land, "maize")
    cycle = max(land.fields[k].cycles, key=lambda c: c.crop == "maize" and 0 < c.end < 365)
    rows, cols = pixels(land, k)

    def seen(day):
        bands = surface.reflectance(land, day, 0.2, 0.8)[:, rows, cols].mean(axis=1)
        power = surface.backscatter(land, day, 20.0, 38.0, 1.0)[:, rows, cols].mean(axis=1)
        return (bands[3] - bands[2]) / (bands[3] + bands[2]), *(10 * np.log10(power))

    bare, full = seen(int(cycle.start)), seen(int(cycle.start + 0.6 * (cycle.end - cycle.start)))
    assert bare[0] < 0.3
    assert full[0] > 0.8
    assert full[2] > bare[2] + 1.5  # VH rises with maize


def test_wheat_darkens_vv_in_spring(land):
    k = largest(land, "winter_wheat")
    rows, cols = pixels(land, k)
    harvest = next(e for e in land.fields[k].events if 0 < e < 365)

    def vv(day):
        power = surface.backscatter(land, day, 22.0, 38.0, 1.0)[0, rows, cols]
        return 10 * np.log10(power.mean())

    assert vv(harvest - 50) < vv(harvest - 190) - 3


def test_vigour_has_the_plants_stream(land):
    plants = random_fields.normal(random_fields.stream(3, "plants"), -1, -1, *land.which.shape)
    assert np.corrcoef(np.log(land.vigour).ravel(), plants.ravel())[0, 1] > 0.3
