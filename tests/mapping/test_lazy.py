"""Maps without files: the same numbers as in the files, in memory and on Dask."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio
import xarray as xr
from tests.helpers.cubes import season_cube

import deepcrop as dc
from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import save_cube
from deepcrop.mapping import curve as map_curve
from deepcrop.products import layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("map_arrays")
    save_cube(season_cube(), path / "cube.zarr")
    return path


@pytest.fixture(scope="module")
def cube(folder):
    return dc.open_cube(folder / "cube.zarr")


def test_the_numbers_are_those_of_the_files(cube, folder):
    seasons = dc.map_seasons(cube, year=2018)
    result = dc.map_region(folder / "cube.zarr", 2018, folder / "maps", pictures=False)
    described = layers.describe("curve", 2018)
    assert list(seasons.data_vars) == [layer.name for layer in described]
    for layer in described:
        with rasterio.open(result.path / f"{layer.name}.tif") as file:
            stored = file.read(1)
        if layer.nodata is not None:
            stored = np.where(stored == layer.nodata, np.nan, stored.astype(np.float32))
        np.testing.assert_array_equal(seasons[layer.name].values, stored, err_msg=layer.name)


def test_the_result_is_labelled_and_can_be_plotted(cube):
    seasons = dc.map_seasons(cube, year=2018)
    assert grid.grid_of(seasons) == grid_of(cube)
    sos50 = seasons.sos50
    assert (sos50.dims, sos50.dtype) == (("y", "x"), np.float32)
    assert sos50.attrs["units"] == "days since 2018-01-01"
    assert "50 % of amplitude" in sos50.attrs["long_name"]
    assert np.isnat(stages.to_dates(sos50[0], 2018)).all()  # the masked row
    assert str(stages.to_dates(sos50[5, 0], 2018)) in ("2018-05-01", "2018-05-02")
    assert (seasons.attrs["year"], seasons.attrs["simulated"]) == (2018, 0)
    import matplotlib.pyplot as plt

    sos50.plot()
    words = plt.gcf().axes[-1].get_ylabel().split()  # xarray breaks the line
    assert "[days since 2018-01-01]" in " ".join(words)
    plt.close("all")


def test_impossible_values_away_from_the_middle_are_refused():
    big = season_cube(rows=60, cols=60)  # opening looks at the middle alone
    big["optical"]["red"].values[::2, :, :3] = -0.9999  # -9999, scaled
    for given in (big, big.chunk(x=30, y=30)):
        with pytest.raises(dc.CubeError, match=r"optical/red: 2\.\d+ % .*-0\.9999 looks like"):
            dc.map_seasons(given, year=2018).compute()


def test_dask_gives_the_same_lazily(cube, monkeypatch):
    whole = dc.map_seasons(cube, year=2018)
    monkeypatch.setattr(contract, "CHUNK", 8)
    runs, real = [], map_curve.curve_tile
    monkeypatch.setattr(map_curve, "curve_tile", lambda *args: runs.append(1) or real(*args))
    lazy = dc.map_seasons(cube.chunk(x=11, y=6), year=2018)
    assert not runs
    assert lazy.sos50.chunks == ((8, 8, 4), (8, 8, 8, 6))
    xr.testing.assert_identical(lazy.compute(), whole)
    assert len(runs) == 12
    corner = lazy.isel(x=slice(0, 3), y=slice(0, 3)).compute()
    assert len(runs) == 13  # one tile is enough for a corner
    assert corner.sizes == {"y": 3, "x": 3}


@pytest.mark.slow
def test_the_network_gives_the_same_lazily(tmp_path, monkeypatch):
    """Tiles of a graph get their whole halo, cut at the edge of the cube."""
    pytest.importorskip("torch")
    from tests.helpers.weights_files import tiny, write_weights

    from deepcrop.simulation import Region, simulate

    simulate(Region(rows=36, cols=30, optical_scenes=4, sar_scenes=3), tmp_path / "region.zarr")
    weights = write_weights(tmp_path / "w.safetensors", tiny(), {"title": "random numbers"})
    cube = dc.open_cube(tmp_path / "region.zarr")
    whole = dc.map_seasons(cube, year=2018, method="deepcrop", weights=weights)
    assert {"peak", "sos50_low", "sos50_probability", "n_obs_sar"} < set(whole.data_vars)
    assert whole.attrs["simulated"] == 1
    known = np.isfinite(whole.sos50)
    assert (whole.sos50_low <= whole.sos50).where(known, True).all()
    assert (whole.sos50_probability.where(known, 100) >= 50).all()
    monkeypatch.setattr(contract, "CHUNK", 16)
    chunked = cube.chunk(x=20, y=20)
    lazy = dc.map_seasons(chunked, year=2018, method="deepcrop", weights=weights)
    assert lazy.sos50.chunks == ((16, 16, 4), (16, 14))
    xr.testing.assert_identical(lazy.compute(), whole)


@pytest.mark.slow
def test_a_worker_of_a_cluster_gives_the_same(tmp_path, monkeypatch):
    """Tiles travel to another process, the network with them."""
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("torch")
    from deepcrop.simulation import Region, simulate

    simulate(Region(rows=24, cols=30, optical_scenes=12, sar_scenes=3), tmp_path / "region.zarr")
    cube = dc.open_cube(tmp_path / "region.zarr")
    whole = {name: dc.map_seasons(cube, year=2018, method=name) for name in layers.METHODS}
    monkeypatch.setattr(contract, "CHUNK", 16)
    with distributed.Client(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ):
        for method, expected in whole.items():
            lazy = dc.map_seasons(cube.chunk(x=16, y=16), year=2018, method=method)
            xr.testing.assert_identical(lazy.compute(), expected)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "guess"}, dc.DeepCropError, "'guess' is unknown"),
        ({"method": "both"}, dc.DeepCropError, "ask for one at a time"),
        ({"smoother": "magic"}, dc.DeepCropError, "'magic' is unknown"),
        ({"radar": False}, dc.DeepCropError, "choose method 'deepcrop'"),
        ({"year": 2035}, dc.CubeError, "no optical observation around 2035"),
    ],
)
def test_what_cannot_be_mapped_is_said(cube, options, error, words):
    with pytest.raises(error, match=words):
        dc.map_seasons(cube, **({"year": 2018} | options))


def test_a_path_is_no_cube():
    with pytest.raises(dc.DeepCropError, match="open_cube"):
        dc.map_seasons("region.zarr", year=2018)


def test_import_is_fast_and_finds_everything():
    """Nothing heavy is imported before it is used; every public name is there."""
    code = (
        "import sys, deepcrop\n"
        "heavy = {'numpy', 'xarray', 'numba', 'matplotlib', 'torch', 'dask'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(deepcrop.__all__) <= set(dir(deepcrop))\n"
        "for name in deepcrop.__all__: getattr(deepcrop, name)\n"
        "deepcrop.phenology.extract\n"
        "assert not hasattr(deepcrop, 'nonsense')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
