"""Values that nothing on earth has: few become no data, many are refused with their cause."""

import numpy as np
import pytest

from deepcrop.cube.possible import POSSIBLE, drop_impossible, is_impossible
from deepcrop.errors import CubeError

REFLECTANCE = np.linspace(0.02, 0.6, 1000).astype(np.float32)
BACKSCATTER = np.linspace(-28, -4, 1000).astype(np.float32)


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("red", [-0.0999, -0.2, 0.0, 1.1, 2.39]),  # the extremes of real scenes, all archives
        ("vh", [-50.0, -38.0, 0.0, 21.3]),
    ],
)
def test_what_real_scenes_hold_is_possible(variable, values):
    values = np.array(values, np.float32)
    assert drop_impossible(variable, values, "real") is values


@pytest.mark.parametrize(
    ("variable", "fill"),
    [("red", -9999), ("red", -3.4028235e38), ("red", 6.5535), ("red", -0.9999), ("red", 3.2767),
     ("red", -3.2768), ("vv", -327.68), ("vv", -99.99), ("vv", -9999), ("vh", 655.35)],
)  # fmt: skip
def test_fills_are_refused_by_their_value(variable, fill):
    good = REFLECTANCE if variable == "red" else BACKSCATTER
    with pytest.raises(CubeError, match=r"scene 7: 16\.7 % .* looks like the fill value") as error:
        drop_impossible(variable, np.r_[good, np.full(200, fill, np.float32)], "scene 7")
    assert f"{fill:.6g}" in str(error.value)


@pytest.mark.parametrize(
    ("variable", "values", "cause"),
    [
        ("nir", REFLECTANCE * 10000, "unscaled digital numbers"),
        ("nir", REFLECTANCE * 100, "percent"),
        ("nir", REFLECTANCE - 1000, "check the offset"),
        ("vv", BACKSCATTER * 100, "no backscatter in dB: check the scale"),
        ("vv", 10 ** (BACKSCATTER / 10) * 10000, "no backscatter in dB: check the scale"),
    ],
)
def test_a_wrong_unit_is_named(variable, values, cause):
    with pytest.raises(CubeError, match=cause):
        drop_impossible(variable, values, "scene")


def test_few_outliers_do_not_refuse_an_archive(caplog):
    values = np.tile(REFLECTANCE, 10)
    values[:9] = 6.5535  # less than 0.1 %
    values[9] = np.nan
    got = drop_impossible("blue", values, "blue of June")
    assert np.isnan(got[:10]).all()
    np.testing.assert_array_equal(got[10:], values[10:])
    assert values[0] == np.float32(6.5535)  # the argument is left alone
    assert "blue of June: 9 of 9999 values are impossible, for example 6.5535" in caplog.text


def test_no_data_is_not_impossible():
    assert not is_impossible("vv", np.array([np.nan, np.inf, -np.inf])).any()
    assert all(low < 0 < high for low, high in POSSIBLE.values())
