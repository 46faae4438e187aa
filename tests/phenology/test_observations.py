import numpy as np
import pytest

from deepcrop.phenology.blocks import BLOCK
from deepcrop.phenology.observations import scatter_of


def scatter(days, values):
    y, w = np.zeros((2, 1, len(days), BLOCK), np.float32)
    y[0, :, 0], w[0, :, 0] = values, 1
    found = np.empty((1, BLOCK), np.float32)
    scatter_of(np.array(days, np.float32), y, w, found)
    return found[0, 0]


def test_noise_by_hand():
    """1 off the line between its neighbours; the variance of that is 1 + 1/4 + 1/4."""
    assert scatter([0, 10, 20], [0, 1, 0]) == pytest.approx(1 / np.sqrt(1.5) / 0.676, rel=1e-4)
    assert np.isnan(scatter([0, 20, 45], [0, 1, 0]))


def test_close_observations_tell_more_of_noise_than_distant_ones():
    """Triples of 20 days are on a line; one of 40 days, weighted (1 - (40/45)^2)^2, is off it."""
    weight = [(1 - (span / 45) ** 2) ** 2 for span in (20, 30, 40)]
    # The triple (10, 20, 40) is off by 2/3: its middle one weighs 1, its others 2/3 and 1/3.
    off = [0, 1 / 3 / np.sqrt(1 + 4 / 9 + 1 / 9), 1 / np.sqrt(1.5)]
    root = np.average(np.sqrt(off), weights=weight)
    found = scatter([0, 10, 20, 40, 60], [0, 0, 0, 1, 0])
    assert found == pytest.approx(root**2 / 0.676, rel=1e-3)
