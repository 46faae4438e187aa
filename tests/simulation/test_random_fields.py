import numpy as np
import pytest

from deepcrop.simulation import random_fields

WINDOWS = [(0, 0, 20, 30), (17, 5, 9, 1), (-3, -7, 40, 40), (-40, 60, 1, 50)]


def smooth(row0, col0, rows, cols):
    return random_fields.smooth_field(5, row0, col0, (rows, cols), 300, octaves=3)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("draw", ["normal", "exponential", "smooth"])
def test_a_value_depends_on_its_place_alone(draw, window):
    # Also over negative rows and columns, which a halo reaches into.
    make = smooth if draw == "smooth" else lambda *w: getattr(random_fields, draw)(5, *w)
    whole = make(-50, -50, 170, 180)
    row0, col0, rows, cols = window
    inside = whole[row0 + 50 : row0 + 50 + rows, col0 + 50 : col0 + 50 + cols]
    assert np.array_equal(make(*window), inside)


def test_distributions():
    normal = random_fields.normal(1, -200, -200, 400, 400)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert np.unique(normal).size > 0.99 * normal.size
    exponential = random_fields.exponential(1, -200, -200, 400, 400)
    assert exponential.min() > 0
    assert abs(exponential.mean() - 1) < 0.01
    assert abs(exponential.var() - 1) < 0.05


def test_white_noise_has_no_pattern():
    white = random_fields.normal(2, 0, 0, 500, 500)
    for other in (white[1:, 1:], white[1:, :-1], white[2:, 3:]):
        pair = np.corrcoef(white[: other.shape[0], : other.shape[1]].ravel(), other.ravel())
        assert abs(pair[0, 1]) < 0.01


def test_streams_are_independent_and_reproducible():
    labels = [("a",), ("b",), ("a", 1), ("a", 2), (1, "a"), ("cloud", 12), ("a longer label", 3)]
    streams = [random_fields.stream(seed, *label) for seed in (1, 2, -1) for label in labels]
    assert len(set(streams)) == len(streams)
    assert min(streams) >= 0
    assert random_fields.stream(1, "a") == random_fields.stream(1, "a")
    one, two = (random_fields.normal(s, 0, 0, 200, 200) for s in streams[:2])
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(("octaves", "persistence"), [(1, 0.5), (4, 0.6)])
def test_smooth_noise_is_standard_and_correlated_over_its_wavelength(octaves, persistence):
    field = random_fields.smooth_field(
        7, -9, 4, (1500, 1500), 300, octaves, persistence
    )  # 30 pixels
    assert abs(field.mean()) < 0.05
    assert abs(field.var() - 1) < 0.06

    def correlation(lag):
        return np.corrcoef(field[:, :-lag].ravel(), field[:, lag:].ravel())[0, 1]

    assert correlation(1) > 0.97
    assert correlation(1) > correlation(10) > correlation(20) > correlation(60) - 0.02
    assert abs(correlation(60)) < 0.05
    # Neighbours across the edge of a lattice cell differ no more than inside one.
    steps = np.abs(np.diff(field, axis=1)).mean(axis=0)
    assert steps.max() < 4 * np.median(steps)
