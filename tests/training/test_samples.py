import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from tests.helpers.cubes import make_cube
from tests.helpers.site_years import accepted, labels, season

from deepcrop import grid
from deepcrop.cameras.site_years import site_years
from deepcrop.cube.contract import OPTICAL_BANDS, grid_of
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.training.samples import VIEW_DISTANCE, cell_at, collect, cut, load, sample, save

ROW, COL = 10, 15


@pytest.fixture
def year(tmp_path, cube):
    """A site-year of a camera in the middle of cell (10, 15) that looks east."""
    box = grid_of(cube)
    x, y = box.coords["x"].values[COL], box.coords["y"].values[ROW]
    lon, lat = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True).transform(x, y)
    (one,) = site_years([labels(tmp_path, "mead1", accepted(2018, season(1, 150)))])
    return replace(one, latitude=lat, longitude=lon, direction=90.0)


# --- patches --------------------------------------------------------------------------------------


def test_a_patch_is_the_window_of_the_grid(cube):
    patch = cut(cube, 10, 14, 2018)
    rows, cols = grid.patch_at(grid_of(cube), 10, 14)
    assert patch.optical.shape == (6, 4, 18, 18)
    assert patch.radar.shape == (4, 2, 18, 18)
    for b, band in enumerate(OPTICAL_BANDS):
        whole = cube["optical"][band].values
        assert np.array_equal(patch.optical[:, b], whole[:, rows, cols])
        assert np.array_equal(patch.optical[:, b, 9, 9], whole[:, 10, 14])
    assert np.array_equal(patch.radar[:, 1, 9, 9], cube["sar"]["vh"].values[:, 10, 14])
    assert patch.optical_days.tolist() == [59, 64, 69, 74, 79, 84]  # from 1 March
    assert patch.radar_days.tolist() == [60, 65, 70, 75]
    assert patch.orbits.tolist() == [161] * 4
    for name in ("optical", "optical_days", "radar", "radar_days"):
        values = getattr(patch, name)
        assert values.dtype == np.float32
        assert values.flags.c_contiguous


def test_masked_pixels_count_and_empty_dates_go(cube):
    rows, cols = grid.patch_at(grid_of(cube), 10, 14)
    blue, nir = cube["optical"]["blue"], cube["optical"]["nir"]
    blue.values[0, rows, cols] = np.nan  # one band is enough
    nir.values[1, rows.start : rows.start + 9, cols] = np.nan
    cube["sar"]["vv"].values[2] = np.nan
    patch = cut(cube, 10, 14, 2018)
    assert patch.optical_days.tolist() == [64, 69, 74, 79, 84]
    assert np.isnan(patch.optical[0, 3, :9]).all()
    assert patch.radar_days.tolist() == [60, 65, 75]


def test_only_the_span_of_a_target_year(cube):
    # 2016 ends, for this, on 2 July 2017; 2019 begins on 4 July 2018.
    with pytest.raises(CubeError, match=r"no observations around cell \(10, 14\) near 2016"):
        cut(cube, 10, 14, 2016)
    assert cut(cube, 10, 14, 2017).optical_days[0] == 365 + 59
    with pytest.raises(CubeError):
        cut(cube, 10, 14, 2019)


def test_either_sensor_may_be_missing(cube):
    for group, kept in (("sar", "optical"), ("optical", "sar")):
        part = xr.DataTree.from_dict({"/": xr.Dataset(), f"/{kept}": cube[kept].to_dataset()})
        patch = cut(part, 10, 14, 2018)
        gone = patch.radar if group == "sar" else patch.optical
        assert gone.shape == (0, 2 if group == "sar" else 4, 18, 18)
        assert len(patch.optical) + len(patch.radar) in (4, 6)


def test_orbits_that_nobody_knows_are_one(cube):
    sar = cube["sar"].to_dataset().drop_vars("relative_orbit")
    part = xr.DataTree.from_dict({"/": xr.Dataset(), "/sar": sar})
    assert cut(part, 10, 14, 2018).orbits.tolist() == [0] * 4


# --- the view of a camera -------------------------------------------------------------------------


def test_the_mast_and_the_field_it_looks_at(cube, year):
    box = grid_of(cube)
    assert cell_at(box, year.latitude, year.longitude, 0, 0) == (ROW, COL)
    at = {
        direction: cell_at(box, year.latitude, year.longitude, direction, 60)
        for direction in (0, 90, 180, 225, 270)
    }
    assert at == {
        0: (ROW - 6, COL),
        90: (ROW, COL + 6),
        180: (ROW + 6, COL),
        225: (ROW + 4, COL - 4),
        270: (ROW, COL - 6),
    }


def test_samples_of_both_kinds(year):
    cube = make_cube(rows=40, cols=40)
    box = grid_of(cube)
    mast = cell_at(box, year.latitude, year.longitude, 0, 0)
    paper, ours = sample(cube, year, distance=0), sample(cube, year)
    assert (paper.moved, ours.moved) == (0, VIEW_DISTANCE)
    assert np.array_equal(paper.patch.radar, cut(cube, *mast, 2018).radar)
    assert np.array_equal(ours.patch.radar, cut(cube, mast[0], mast[1] + 6, 2018).radar)
    assert ours.name == "mead1_AG_1000_2018"
    assert ours.day is year.day
    assert not ours.simulated
    blind = sample(cube, replace(year, direction=math.nan))
    assert blind.moved == 0  # the direction is unknown: on the mast
    assert np.array_equal(blind.patch.radar, paper.patch.radar)


def test_over_the_edge(cube, year):
    with pytest.raises(DeepCropError, match=r"^mead1_AG_1000_2018: The 18x18 patch .* edge"):
        sample(cube, replace(year, direction=180.0))
    with pytest.raises(DeepCropError, match=r"^mead1_AG_1000_2018: .* lies outside the grid"):
        sample(cube, replace(year, latitude=10.0))


# --- sets -----------------------------------------------------------------------------------------


@pytest.fixture
def two(year):
    cube = make_cube(rows=40, cols=40)
    cube["optical"]["red"].values[3, :, :20] = np.nan
    second = make_cube(rows=40, cols=40, optical_scenes=3, sar_scenes=9, seed=1)
    second["sar"].attrs["simulated"] = 1
    second.attrs["repeat"] = 4
    other = replace(year, year=2017, crop="corn")
    return [sample(cube, year), sample(second, other)]


def test_a_set_comes_back_as_it_was(two, tmp_path):
    made = collect(two, {"archive": "test", "collections": ["a", "b"]})
    save(made, tmp_path / "set.npz")
    read = load(tmp_path / "set.npz")
    assert len(read) == 2
    assert read.provenance["archive"] == "test"
    assert read.provenance["software"].startswith("deepcrop ")
    assert read.simulated  # one of the two is enough
    for k, (before, after) in enumerate(zip(two, read, strict=True)):
        assert after.name == before.name == read[k].name
        assert (after.crop, after.year, after.moved) == (before.crop, before.year, before.moved)
        assert after.simulated == before.simulated == (k == 1)
        for name, step in (("optical", 0.0001), ("radar", 0.01)):
            a, b = getattr(before.patch, name), getattr(after.patch, name)
            assert b.dtype == np.float32
            assert (np.isnan(a) == np.isnan(b)).all()
            assert np.nanmax(np.abs(a - b)) <= 0.5001 * step
        for name in ("optical_days", "radar_days", "orbits"):
            assert np.array_equal(getattr(before.patch, name), getattr(after.patch, name))
        for name in ("day", "low", "high", "none"):
            assert np.array_equal(
                getattr(before, name), getattr(after, name), equal_nan=name != "none"
            )
    assert two[1].name == "mead1_AG_1000_2017_4"
    assert read[-1].name == two[1].name
    with pytest.raises(IndexError):
        read[2]


def test_a_file_of_an_earlier_version_has_more_in_it(two, tmp_path):
    save(collect(two, {}), tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as file:
        valid = {
            f"{name}_valid": np.ones(len(file[f"{name}_days"])) for name in ("optical", "radar")
        }
        np.savez_compressed(tmp_path / "old.npz", **file, **valid)
    assert [one.name for one in load(tmp_path / "old.npz")] == [one.name for one in two]


def test_what_cannot_be_a_set(two, tmp_path):
    with pytest.raises(DeepCropError, match="twice: mead1_AG_1000_2018"):
        collect([two[0], two[0]], {})
    with pytest.raises(DeepCropError, match="There is no sample"):
        collect([], {})
    path = tmp_path / "set.npz"
    made = collect(two[:1], {})
    assert not made.simulated
    with pytest.raises(DeepCropError, match=r"ends in \.npz"):
        save(made, tmp_path / "set.zarr")
    save(made, path)
    with pytest.raises(DeepCropError, match="exists"):
        save(made, path)
    save(made, path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir() if "set" in file.name] == ["set.npz"]


def test_what_cannot_be_read(two, tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(DeepCropError, match="No such file"):
        load(path)
    save(collect(two, {}), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DeepCropError, match="cannot be read as a set"):
        load(path)
    np.savez(path, something=np.zeros(3))
    with pytest.raises(DeepCropError, match="cannot be read as a set"):
        load(path)
