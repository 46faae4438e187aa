"""The SAFE format: tables by hand, a simulated product and two real ones."""

import numpy as np
import pytest
from tests.helpers.safe_products import constant, make_safe

from deepcrop.sources.archive import SceneError
from deepcrop.sources.safe.product import (
    AzimuthNoise,
    Noise,
    RangeVectors,
    open_product,
    read_noise,
)

# The simulated images have no ground control points.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def test_vectors_are_interpolated_bilinearly():
    vectors = RangeVectors(
        np.array([0.0, 10.0]),
        (np.array([0.0, 4.0]), np.array([0.0, 2.0, 4.0])),
        (np.array([0.0, 8.0]), np.array([10.0, 10.0, 30.0])),
    )
    values = vectors.at(np.array([0, 5, 10, 12]), np.array([0, 1, 3]))
    np.testing.assert_allclose(values, [[0, 2, 6], [5, 6, 13], [10, 10, 20], [10, 10, 20]])


def test_azimuth_noise_is_that_of_the_swath():
    flat = RangeVectors(np.array([0.0]), (np.array([0.0]),), (np.array([100.0]),))
    blocks = (
        AzimuthNoise(0, 9, 0, 1, np.array([0.0, 9.0]), np.array([1.0, 1.9])),
        AzimuthNoise(0, 9, 2, 3, np.array([0.0, 4.0, 5.0, 9.0]), np.array([2.0, 2.0, 3.0, 3.0])),
    )
    values = Noise(flat, blocks).at(np.arange(3, 6), np.arange(1, 4))
    np.testing.assert_allclose(values, [[130, 200, 200], [140, 200, 200], [150, 300, 300]])


def test_noise_on_another_scale_is_refused(tmp_path):
    product = open_product(make_safe(tmp_path, constant(100), noise=0.003))
    with pytest.raises(SceneError, match=r"noise vectors reach 0\.003 only"):
        read_noise(product, "vv")


def test_the_manifest_agrees_with_the_orbit_number(real_data):
    for path in (real_data / "sentinel1_safe").glob("*.SAFE"):
        absolute = int(path.name.split("_")[6])
        assert open_product(path).relative_orbit == (absolute - 27) % 175 + 1  # S1B


def test_the_noise_of_all_swaths_is_read(real_data):
    rome = next((real_data / "sentinel1_safe").glob("*_5371.SAFE"))
    noise = read_noise(open_product(rome), "vv")
    assert [b.first_pixel for b in noise.along_azimuth] == [0, 8890, 17701]
    values = noise.at(np.array([158, 159]), np.array([100, 9000, 20000]))
    # A burst of IW1 ends between these lines, and none of the others.
    np.testing.assert_allclose(values[0] / values[1], [1.135365 / 1.124603, 1, 1], atol=2e-3)
