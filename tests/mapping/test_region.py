import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from tests.helpers.cubes import make_cube, season_cube
from tests.helpers.maps import map_without_pictures, read

from deepcrop import stages
from deepcrop.cube import contract
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.ingest import ingest
from deepcrop.mapping import curve as map_curve
from deepcrop.products import layers
from deepcrop.products import write as product_writer
from deepcrop.products.write import DAY_LAYERS


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mapping")
    save_cube(season_cube(), folder / "cube.zarr")
    return map_without_pictures(folder / "cube.zarr", 2018, folder / "maps")


def test_the_four_layers_hold_the_dates(mapped):
    columns = np.arange(30)
    sos50, eos50 = read(mapped.path / "sos50.tif"), read(mapped.path / "eos50.tif")
    assert np.abs(sos50[5] - (120 + columns)).max() <= 2
    assert np.abs(eos50[5] - 250).max() <= 2
    assert np.abs(read(mapped.path / "sos20.tif")[5] - (120 + columns - 7 * np.log(4))).max() <= 3
    assert np.abs(read(mapped.path / "eos20.tif")[5] - (250 + 7 * np.log(4))).max() <= 3


def test_masked_pixels_are_honestly_empty(mapped):
    for name in DAY_LAYERS:
        assert (read(mapped.path / f"{name}.tif")[0] == stages.NO_DAY).all()
    assert (read(mapped.path / "n_obs_optical.tif")[0] == 0).all()
    assert (read(mapped.path / "n_obs_optical.tif")[1:] == 73).all()  # every fifth day of the year


def test_the_summary_counts_scenes_pixels_and_crops(mapped):
    summary = json.loads((mapped.path / "summary.json").read_text())
    assert summary == mapped.summary
    assert summary["scenes"] == {"optical": 98, "optical_usable": 98}
    first = summary["seen"]["optical"][0]
    assert first == {"date": "2017-11-02", "share": 0.95}  # a row is masked
    assert len(summary["seen"]["optical"]) == 98
    assert summary["maps"]["curve"]["layers"]["sos50"]["detected_share"] == pytest.approx(0.95)
    assert (
        summary["maps"]["curve"]["crops"]["maize"]["layers"]["eos50"]["median_date"] == "2018-09-08"
    )
    assert summary["simulated"] is False


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_tile(tmp_path, mapped, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", 7)
    save_cube(season_cube(), tmp_path / "cube.zarr")
    small = map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    for name in [layer.name for layer in layers.describe("curve", 2018)]:
        np.testing.assert_array_equal(
            read(small.path / f"{name}.tif"), read(mapped.path / f"{name}.tif")
        )


def test_an_interrupted_map_goes_on_where_it_stopped(tmp_path, mapped, monkeypatch, caplog):
    monkeypatch.setattr(contract, "CHUNK", 16)
    save_cube(season_cube(), tmp_path / "cube.zarr")
    done = []
    real = map_curve.curve_tile

    def stop_at_third(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args)

    monkeypatch.setattr(map_curve, "curve_tile", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    assert "the same command goes on" in caplog.text

    monkeypatch.setattr(map_curve, "curve_tile", lambda *args: done.append(2) or real(*args))
    map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    assert done == [1, 1, 2, 2]  # four tiles, none twice
    np.testing.assert_array_equal(
        read(tmp_path / "maps" / "sos50.tif"), read(mapped.path / "sos50.tif")
    )
    assert not (tmp_path / "maps" / "work").exists()


@pytest.mark.slow
def test_a_cube_written_anew_is_not_mixed_with_a_half_made_map(tmp_path, monkeypatch):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    monkeypatch.setattr(product_writer, "write_products", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    monkeypatch.undo()
    save_cube(season_cube(shift=30), tmp_path / "cube.zarr", overwrite=True)
    map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    assert abs(int(read(tmp_path / "maps" / "sos50.tif")[5, 0]) - 150) <= 2


def test_a_year_without_data_is_an_error_that_names_the_years(tmp_path):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    with pytest.raises(CubeError, match=r"no optical observation around 2030.*2017-11-02 to 2019"):
        map_without_pictures(tmp_path / "cube.zarr", 2030, tmp_path / "maps")
    assert not list(tmp_path.glob("maps*"))


def test_a_year_with_too_little_data_is_an_honest_empty_layer(tmp_path):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    result = map_without_pictures(tmp_path / "cube.zarr", 2019, tmp_path / "maps")
    assert (read(result.path / "sos50.tif") == stages.NO_DAY).all()
    assert result.summary["maps"]["curve"]["layers"]["sos50"]["detected"] == 0


def test_a_cube_without_optical_group_is_refused(tmp_path):
    cube = make_cube()
    del cube["optical"]
    save_cube(cube, tmp_path / "cube.zarr")
    with pytest.raises(CubeError, match="no 'optical' group"):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")


def test_a_netcdf_cube_gives_the_same_map(tmp_path, mapped):
    save_cube(season_cube(), tmp_path / "cube.nc")
    result = map_without_pictures(tmp_path / "cube.nc", 2018, tmp_path / "maps")
    np.testing.assert_array_equal(read(result.path / "sos20.tif"), read(mapped.path / "sos20.tif"))


def test_existing_output_is_not_overwritten_unless_asked(tmp_path):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    with pytest.raises(DeepCropError, match="exists"):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps", overwrite=True)


def test_the_papers_gcc_gives_dates_as_well(tmp_path):
    cube = season_cube()
    optical = cube["optical"].to_dataset()
    # Greenness in the green band alone: GCC from 1/3 to about 0.43.
    ndvi = (optical["nir"] - optical["red"]) / (optical["nir"] + optical["red"])
    optical["green"] = optical["green"] * (1 + 0.5 * (ndvi - 0.2) / 0.6)
    cube["optical"] = optical
    save_cube(cube, tmp_path / "cube.zarr")
    result = map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps", index="gcc")
    sos50 = read(result.path / "sos50.tif")[5].astype(int)
    assert np.abs(sos50 - (120 + np.arange(30))).max() <= 4
    assert result.summary["source"]["index"] == "gcc"
    with pytest.raises(DeepCropError, match="expected ndvi, gcc, evi, evi2"):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "other", index="savi")


@pytest.mark.parametrize("out", ["cube.zarr", "."])
def test_a_map_never_replaces_its_own_cube(tmp_path, out):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    with pytest.raises(DeepCropError, match="the cube itself"):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / out, overwrite=True)
    open_cube(tmp_path / "cube.zarr")


@pytest.mark.slow
def test_the_main_crop_of_flanders_maize_is_maize(real_data, tmp_path, monkeypatch):
    """Real fields: maize greens up in May and June, not with the catch crop before it."""
    monkeypatch.setenv("DEEPCROP_REAL_DATA", str(real_data.resolve()))
    spec = Path(__file__).parents[2] / "examples" / "flanders_2018.yaml"
    ingest(spec, tmp_path / "flanders.zarr")
    result = map_without_pictures(tmp_path / "flanders.zarr", 2018, tmp_path / "maps")
    with xr.open_zarr(tmp_path / "flanders.zarr", group="landcover", consolidated=False) as data:
        maize = data["crop_type"].values == 1200
    inner = ndimage.binary_erosion(maize)  # a pixel on the edge sees the neighbour as well

    def share(stage, first, last, where):
        days = read(result.path / f"{stage}.tif")[where]
        lo, hi = stages.to_days(np.array([first, last], "datetime64[D]"), 2018)
        return ((days >= lo) & (days <= hi)).mean()

    # One mixed pixel in five at the edges has no season that stands out of its noise.
    for stage, first, last, least, least_inner in (
        ("sos20", "2018-05-01", "2018-06-30", 0.89, 0.96),
        ("sos50", "2018-05-01", "2018-06-30", 0.88, 0.95),
        ("eos50", "2018-09-01", "2018-10-31", 0.84, 0.90),  # in the drought of 2018
        ("eos20", "2018-09-01", "2018-10-31", 0.88, 0.95),
    ):
        assert share(stage, first, last, maize) > least
        assert share(stage, first, last, inner) > least_inner
