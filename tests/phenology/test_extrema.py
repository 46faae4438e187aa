"""Valleys and peaks on curves made by hand."""

import numpy as np
import pytest

from deepcrop.phenology.extrema import find_extrema, valley


def turns_of(curve, swing=0.2, begin=0, stop=None):
    curve = np.asarray(curve, np.float32)
    extrema = np.full(len(curve) + 3, -1, np.int64)
    count = find_extrema(curve, begin, len(curve) if stop is None else stop, float(swing), extrema)
    assert (extrema[count:] == -1).all()
    return extrema[:count].tolist()


@pytest.mark.parametrize(
    ("curve", "extrema"),
    [
        ([0.1, 0.1, 0.5, 0.9, 0.5, 0.2, 0.3], [0, 3, 5]),  # of a level stretch the first point
        ([0.25, 0.1, 0.9, 0.1, 0.9, 0.1], [1, 2, 3, 4, 5]),
        ([0.0, 0.2, 0.0], [0, 1, 2]),  # exactly the swing is enough
        ([0.0, 0.19, 0.0, 0.19], []),
        ([0.5, 0.5, 0.5], []),
        ([0.0, 0.5, 0.4, 0.5, 0.6, 0.0], [0, 4, 5]),  # a ripple on the way up
        ([0.0, 0.9, 0.8, 0.9, 0.3, 0.4, 0.1], [0, 1, 6]),  # on top and on the way down
        ([0.0, 0.4, 0.9], [0, 2, 2]),  # ends before its peak was seen
        ([0.9, 0.4, 0.0], [0, 0, 2]),  # begins after its peak
        ([0.8, 0.9, 0.1, 0.2, 0.7, 0.1], [0, 1, 2, 4, 5]),  # a peak after the first day
        ([0.9, 0.1, 0.2, 0.9], [0, 0, 1, 3, 3]),
        ([0.5], []),
    ],
)
def test_turns_by_hand(curve, extrema):
    assert turns_of(curve) == extrema
    # What lies outside the observed part is not looked at.
    padded = [9, -9, *curve, 9, -9, 9]
    inner = turns_of(padded, begin=2, stop=2 + len(curve))
    assert [k - 2 for k in inner] == extrema


def test_as_many_turns_as_there_is_room_for():
    curve = np.tile([0.0, 1.0], 50)
    assert turns_of(curve) == [*range(100), 99]
    assert turns_of(1 - curve) == [0, *range(100)]


@pytest.mark.parametrize("seed", range(3))
def test_valleys_and_peaks_alternate_and_are_extremes(seed):
    rng = np.random.default_rng(seed)
    curve = np.cumsum(rng.normal(0, 0.1, 300)).astype(np.float32)
    found = turns_of(curve, 0.5)
    assert len(found) % 2 == 1
    assert found == sorted(found)
    for left, peak, right in zip(found[:-2:2], found[1::2], found[2::2], strict=True):
        assert curve[peak] == curve[left : right + 1].max()
        assert curve[right] == curve[peak : right + 1].min()
        if left:
            assert curve[left] == curve[left : peak + 1].min()


def test_points_that_are_no_number_are_no_turns():
    curve = [0.0, 0.5, 0.0, np.nan, np.nan, 0.0, 0.7, 0.0]
    assert turns_of(curve) == [0, 1, 2, 6, 7]


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (0.05, (0.10, 3, 3)),
        (0.15, ((0.2 + 0.1 + 0.22) / 3, 2, 4)),
        (0.25, ((0.3 + 0.2 + 0.1 + 0.22) / 4, 1, 4)),
        (9.0, ((0.9 + 0.3 + 0.2 + 0.1 + 0.22 + 0.9 + 0.1) / 7, 0, 6)),
    ],
)
def test_level_and_reach_of_a_valley_by_hand(tolerance, expected):
    curve = np.array([0.9, 0.3, 0.2, 0.1, 0.22, 0.9, 0.1], np.float32)
    level, begin, end = valley(curve, 3, 0, 6, tolerance)
    assert level == pytest.approx(expected[0], rel=1e-6)
    assert (begin, end) == expected[1:]


def test_a_valley_reaches_no_farther_than_it_may():
    curve = np.full(9, 0.1, np.float32)
    assert valley(curve, 4, 3, 6, 0.1)[1:] == (3, 6)
    curve[6] = np.nan
    assert valley(curve, 4, 3, 8, 0.1)[1:] == (3, 5)


def test_the_level_of_a_noisy_valley_is_its_base_and_not_its_lowest_point():
    rng = np.random.default_rng(4)
    curve = np.full(40, 0.2, np.float32)
    curve[:] += rng.normal(0, 0.01, 40)
    level, *_ = valley(curve, int(curve.argmin()), 0, 39, 0.12)
    assert curve.min() < 0.185
    assert level == pytest.approx(0.2, abs=0.004)
