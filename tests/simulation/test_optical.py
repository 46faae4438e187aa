import math

import numpy as np
import pytest

from deepcrop.simulation import optical

SUN = math.cos(math.radians(35))

# PROSAIL 5/D (python package prosail 2.0.5): spherical leaf angles, sun 35°, nadir view, this
# soil. Green and dead LAI, Cab in µg/cm²; blue, green, red, nir.
PROSAIL = [
    (0.0, 0.0, 48, (0.088, 0.124, 0.166, 0.239)),
    (0.5, 0.0, 45, (0.059, 0.089, 0.102, 0.266)),
    (1.0, 0.0, 45, (0.041, 0.068, 0.065, 0.295)),
    (2.0, 0.0, 45, (0.025, 0.046, 0.030, 0.353)),
    (3.0, 0.0, 48, (0.019, 0.036, 0.018, 0.404)),
    (5.0, 0.0, 48, (0.016, 0.033, 0.013, 0.475)),
    (3.0, 0.0, 15, (0.042, 0.104, 0.038, 0.404)),
    (1.5, 0.0, 20, (0.042, 0.091, 0.053, 0.325)),
    (4.0, 0.0, 28, (0.023, 0.059, 0.019, 0.445)),
    (0.0, 3.0, 48, (0.053, 0.071, 0.107, 0.300)),
    (0.0, 1.0, 48, (0.065, 0.090, 0.129, 0.259)),
]


def reflectance(green=0.0, brown=0.0, cab=48.0, residue=0.0, brightness=1.0, wetness=0.0):
    colour = (cab - optical.CAB_MIN) / (optical.CAB_MAX - optical.CAB_MIN)
    return np.array(
        [
            optical.reflectance(b, green, brown, colour, residue, brightness, wetness, SUN)
            for b in range(4)
        ]
    )


def ndvi(bands):
    return (bands[3] - bands[2]) / (bands[3] + bands[2])


@pytest.mark.parametrize(("green", "brown", "cab", "expected"), PROSAIL)
def test_close_to_prosail(green, brown, cab, expected):
    made = reflectance(green, brown, cab)
    difference = made - expected
    assert np.abs(difference[:3]).max() < 0.021
    assert abs(difference[3]) < 0.085  # dense canopies are too dark in the near infrared
    assert abs(ndvi(made) - ndvi(expected)) < 0.045


def test_leaves_raise_ndvi_until_it_saturates():
    course = np.array([ndvi(reflectance(lai)) for lai in np.linspace(0, 6, 25)])
    assert (np.diff(course) > 0).all()
    assert course[0] < 0.25
    assert course[-1] > 0.9
    assert course[-1] - course[16] < 0.05  # above LAI 4


def test_sparse_leaves_join_bare_soil_smoothly():
    assert np.allclose(reflectance(0.0011), reflectance(0.0009), atol=1e-3)


def test_a_wet_soil_is_half_as_bright_and_straw_brighter():
    assert reflectance(wetness=1.0) == pytest.approx(0.5 * reflectance(), rel=1e-5)
    assert (reflectance(residue=1.0) > reflectance()).all()
    assert reflectance(brightness=1.2) == pytest.approx(1.2 * reflectance(), rel=1e-5)


def test_yellow_and_dead_leaves_lower_ndvi():
    assert ndvi(reflectance(3, cab=10)) < ndvi(reflectance(3)) - 0.05
    assert ndvi(reflectance(0.5, 2.5)) < ndvi(reflectance(3)) - 0.15


def test_reflectance_stays_within_0_and_1():
    rng = np.random.default_rng(0)
    for _ in range(200):
        green, brown = rng.uniform(0, 9, 2)
        made = reflectance(
            green, brown, rng.uniform(8, 48), rng.random(), rng.uniform(0.5, 2), rng.random()
        )
        assert ((made > 0) & (made < 0.75)).all()
