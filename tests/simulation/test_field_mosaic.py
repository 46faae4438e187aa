import numpy as np
import pytest

from deepcrop.simulation import field_mosaic


@pytest.fixture(scope="module")
def land():
    return field_mosaic.draw(1, -1, -1, (800, 1100), 6.0)


@pytest.mark.parametrize("window", [(0, 0, 64, 64), (313, 777, 101, 77), (790, 1050, 9, 49)])
def test_any_block_can_be_drawn_by_itself(land, window):
    row, col, rows, cols = window
    block = field_mosaic.draw(1, row - 1, col - 1, (rows, cols), 6.0)
    for name in ("field", "road", "water", "along"):
        whole = getattr(land, name)[row : row + rows, col : col + cols]
        assert np.array_equal(getattr(block, name), whole), name


def test_another_seed_is_another_land(land):
    other = field_mosaic.draw(2, -1, -1, (200, 200), 6.0)
    assert (other.field[:200, :200] != land.field[:200, :200]).mean() > 0.5


def test_fields_fill_the_land_between_roads_and_water(land):
    assert np.array_equal(land.field == 0, land.road | land.water)
    assert not (land.road & land.water).any()
    assert 0.005 < land.road.mean() < 0.03
    assert 0.003 < land.water.mean() < 0.05
    assert land.field.max() < 2**32
    assert np.abs(land.along).max() <= 1.2


def test_a_river_crosses_the_land_from_top_to_bottom(land):
    crossed = land.water
    reached = crossed[0].copy()
    for row in crossed[1:]:
        grown = reached | np.roll(reached, 1) | np.roll(reached, -1)
        reached = grown & row
        for _ in range(12):  # along the row
            reached = (reached | np.roll(reached, 1) | np.roll(reached, -1)) & row
        assert reached.any()


@pytest.mark.parametrize("wanted", [2.0, 6.0, 20.0])
def test_median_field_size(wanted):
    land = field_mosaic.draw(3, 0, 0, (640, 640), wanted)
    numbers, count = np.unique(land.field, return_counts=True)
    whole = np.isin(numbers, np.concatenate([land.field[0], land.field[-1]]), invert=True)
    areas = count[whole & (numbers > 0)] / 100
    assert 0.65 * wanted < np.median(areas) < 1.35 * wanted
    assert areas.max() < 8 * wanted


@pytest.mark.slow
def test_fields_are_irregular_compact_and_of_one_piece(land):
    numbers, index, count = np.unique(land.field, return_inverse=True, return_counts=True)
    index = index.reshape(land.field.shape)
    fill = []
    for k in np.flatnonzero(count > 200):
        if numbers[k] == 0:
            continue
        rows, cols = np.nonzero(index == k)
        height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
        assert max(height, width) < 200  # within its district
        fill.append(count[k] / (height * width))
    assert len(fill) > 300
    assert 0.5 < np.median(fill) < 0.93  # a rectangle along the axes fills its box


@pytest.mark.slow
def test_a_land_of_tiny_and_of_huge_fields():
    tiny = field_mosaic.draw(1, 0, 0, (160, 160), 0.1)
    assert np.unique(tiny.field).size > 1000
    huge = field_mosaic.draw(1, 0, 0, (160, 160), 1e4)
    assert np.unique(huge.field).size < 8
