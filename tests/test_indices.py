import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcrop import indices
from deepcrop.errors import CubeError

BAND = st.floats(-0.125, 2, width=32)


def f32(*values):
    return np.array(values, np.float32)


def test_golden_ndvi():
    result = indices.ndvi_of(f32(0.5, 0.1, 0.3), f32(0.1, 0.3, 0.3))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [2 / 3, -0.5, 0], rtol=1e-6)


def test_golden_gcc():
    result = indices.gcc_of(f32(0.1, 0.1), f32(0.2, 0.1), f32(0.1, 0.1))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [0.5, 1 / 3], rtol=1e-6)


def test_golden_evi():
    result = indices.evi_of(f32(0.5, 0.2), f32(0.05, 0.2), f32(0.04, 0.1))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [2.5 * 0.45 / 1.5, 0], rtol=1e-6)


def test_golden_evi2():
    nir, red = f32(0.5, 0.2, 0.5, -0.9), f32(0.05, 0.2, np.nan, -0.1)
    result = indices.evi2_of(nir, red)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [2.5 * 0.45 / 1.62, 0, np.nan, np.nan], rtol=1e-6)
    assert indices.evi2_of(f32(0), f32(0.9)) == -0.5


def test_evi_is_nan_where_it_means_nothing_and_clipped_under_haze():
    blue = f32(0.5, 0.31, 0.31, np.nan)  # divisors -1.55, 0.175, 0.475, none
    result = indices.evi_of(f32(0.6, 0.5, 0.3, 0.5), f32(0.1, 0.2, 0.3, 0.1), blue)
    assert np.isnan(result).tolist() == [True, False, False, True]
    assert result[1] == 1.5
    assert indices.evi_of(f32(0.1), f32(0.5), f32(0.5)) == -0.5


@pytest.mark.parametrize(
    ("nir", "red"),
    [(np.nan, 0.1), (0.1, np.nan), (0, 0), (-0.01, 0.005), (np.inf, 0.1), (np.inf, -np.inf)],
)
def test_ndvi_is_nan_where_it_means_nothing(nir, red):
    assert np.isnan(indices.ndvi_of(f32(nir), f32(red)))


@pytest.mark.parametrize(
    "bands", [(np.nan, 0.1, 0.1), (0, 0, 0), (-0.1, 0.05, 0.01), (np.inf, np.inf, -np.inf)]
)
def test_gcc_is_nan_where_it_means_nothing(bands):
    assert np.isnan(indices.gcc_of(*(f32(band) for band in bands)))


def test_negative_reflectance_is_clipped():
    assert indices.ndvi_of(f32(0.3), f32(-0.1)) == 1
    assert indices.ndvi_of(f32(-0.1), f32(0.3)) == -1
    assert indices.gcc_of(f32(-0.1), f32(0.3), f32(0.0)) == 1
    assert indices.gcc_of(f32(0.3), f32(-0.1), f32(0.0)) == 0


@settings(deadline=None)
@given(BAND, BAND, BAND)
def test_indices_keep_their_bounds(a, b, c):
    ndvi = indices.ndvi_of(f32(a), f32(b))
    gcc = indices.gcc_of(f32(a), f32(b), f32(c))
    assert np.isnan(ndvi) or -1 <= ndvi <= 1
    assert np.isnan(gcc) or 0 <= gcc <= 1


@settings(deadline=None)
@given(st.floats(-60, 20, width=32))
def test_decibels_and_power_are_inverse(db):
    assert indices.to_db(indices.to_power(f32(db))) == pytest.approx(db, abs=1e-4)


def test_golden_decibels():
    np.testing.assert_allclose(indices.to_power(f32(0, -10, -20, 3)), [1, 0.1, 0.01, 1.995], 1e-3)
    np.testing.assert_allclose(indices.to_db(f32(1, 0.1, 0.01, 2)), [0, -10, -20, 3.0103], 1e-5)
    assert indices.to_power(f32(0)).dtype == indices.to_db(f32(1)).dtype == np.float32


def test_decibels_of_no_power_are_nan():
    assert np.isnan(indices.to_db(f32(0, -1, np.nan))).all()
    assert np.isnan(indices.to_power(f32(np.nan))).all()


def test_indices_of_a_cube_keep_its_coordinates(cube):
    optical = cube["optical"].to_dataset()
    ndvi, gcc = indices.ndvi(optical), indices.gcc(optical)
    others = [(name, indices.index_of(optical, name)) for name in ("evi", "evi2")]
    for name, index in (("ndvi", ndvi), ("gcc", gcc), *others):
        assert index.name == name
        assert index.dtype == np.float32
        assert index.attrs["units"] == "1"
        assert index.odc.crs == "EPSG:32631"
        for coord in optical.coords:
            xr.testing.assert_identical(index[coord], optical[coord])
    np.testing.assert_array_equal(ndvi, indices.ndvi_of(optical.nir.values, optical.red.values))
    np.testing.assert_array_equal(
        gcc, indices.gcc_of(optical.blue.values, optical.green.values, optical.red.values)
    )
    np.testing.assert_array_equal(
        others[0][1], indices.evi_of(optical.nir.values, optical.red.values, optical.blue.values)
    )
    np.testing.assert_array_equal(
        others[1][1], indices.evi2_of(optical.nir.values, optical.red.values)
    )


def test_ndvi_with_b07(cube):
    optical = cube["optical"].to_dataset()
    optical["rededge3"] = optical.nir * np.float32(0.5)
    ndvi = indices.ndvi(optical, nir="rededge3")
    assert "rededge3" in ndvi.attrs["long_name"]
    np.testing.assert_array_equal(
        ndvi, indices.ndvi_of(optical.rededge3.values, optical.red.values)
    )


def test_indices_of_dask_arrays_stay_lazy(cube):
    pytest.importorskip("dask")
    optical = cube["optical"].to_dataset()
    for index in (indices.ndvi, indices.gcc):
        lazy = index(optical.chunk(x=10))
        assert lazy.chunks is not None
        np.testing.assert_array_equal(lazy, index(optical))


@pytest.mark.parametrize("missing", ["red", "green"])
def test_a_missing_band_is_named(cube, missing):
    optical = cube["optical"].to_dataset().drop_vars(missing)
    with pytest.raises(CubeError, match=rf"no band {missing}; it has .*blue"):
        indices.gcc(optical)


def test_missing_near_infrared_bands_are_named(cube):
    optical = cube["optical"].to_dataset()
    with pytest.raises(CubeError, match="no band rededge3"):
        indices.ndvi(optical, nir="rededge3")
    with pytest.raises(CubeError, match="no band red, nir; it has none"):
        indices.ndvi(optical[[]])
