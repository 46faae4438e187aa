import dataclasses
import tracemalloc

import numpy as np
import pytest
import xarray as xr
import zarr

from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.contract import (
    CLEAR_CLASSES,
    OPTICAL_BANDS,
    SAR_BANDS,
    check,
    grid_of,
    is_simulated,
)
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.simulation import Region, canopy, crops, overpasses, radar, simulate, surface, truth
from deepcrop.simulation import region as module
from deepcrop.storage.staging import part_path

SMALL = Region(52, 70, seed=3, start="2018-05-01", end="2018-05-25", cameras=1)
FOUR_BLOCKS = 40  # a chunk size that cuts SMALL into 2 x 2


def arrays(path):
    """Every array of a store, as it lies on disk."""
    store = zarr.open_group(path, mode="r")
    found = {}
    for group, members in store.groups():
        found |= {f"{group}/{name}": array[...] for name, array in members.arrays()}
    return found


def same(one, two):
    assert one.keys() == two.keys()
    for name, values in one.items():
        if values.dtype.kind in "US":
            assert values.tolist() == two[name].tolist()
        else:
            assert np.array_equal(values, two[name], equal_nan=values.dtype.kind == "f"), name


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.zarr"
    simulate(SMALL, path)
    return path


@pytest.fixture(scope="module")
def cube(region_path):
    return open_cube(region_path)


# --- the cube contract ----------------------------------------------------------------------------


def test_it_is_a_cube_that_says_it_is_simulated(cube):
    check(cube)
    assert is_simulated(cube)
    for name in ("optical", "sar", "landcover", "truth", "camera"):
        assert cube[name].attrs["simulated"] == 1
    assert cube.attrs["simulation"]["seed"] == 1
    box = grid_of(cube)
    assert box.shape == (96, 128)
    assert box.crs == "EPSG:32615"
    assert grid.cell_of(box, -93.6, 41.6) in {(r, c) for r in (47, 48) for c in (63, 64)}
    for name in ("landcover", "truth"):
        assert grid.grid_of(cube[name].to_dataset()) == box


def test_optical_is_missing_exactly_where_the_mask_is_not_clear(cube):
    optical = cube["optical"]
    clear = np.isin(optical["scl"].values, CLEAR_CLASSES)
    assert 0.2 < clear.mean() < 0.8
    for band in OPTICAL_BANDS:
        values = optical[band].values
        assert np.array_equal(np.isfinite(values), clear)
        assert ((values[clear] > 0) & (values[clear] < 1)).all()
    assert np.isfinite(cube["sar"]["vv"].values).all()


def test_orbits_and_rhythm(cube):
    for name, orbits, rhythm in (
        ("optical", overpasses.S2_ORBITS, 5),
        ("sar", overpasses.S1_ORBITS, 12),
    ):
        group = cube[name]
        days = stages.to_days(group["time"].values, 2018)
        assert days.min() >= -122
        assert days.max() <= 365 + 58
        for orbit in orbits:
            steps = np.diff(days[group["relative_orbit"].values == orbit])
            assert (steps % rhythm == 0).all()
            assert np.median(steps) <= 2 * rhythm
    # The west is seen by one optical orbit, the middle by two.
    seen = (cube["optical"]["scl"].values > 0).sum(axis=0)
    assert seen[:, 60].min() > 1.5 * seen[:, 2].max()
    orbits = cube["optical"]["relative_orbit"].values
    assert (cube["optical"]["scl"].values[orbits == overpasses.S2_ORBITS[1], 0, 0] == 0).all()
    # Steeper incidence is brighter.
    vv = cube["sar"]["vv"].median(("y", "x")).values
    steep = cube["sar"]["relative_orbit"].values == overpasses.S1_ORBITS[0]
    assert vv[steep].mean() > vv[~steep].mean() + 0.2


def test_levels_are_those_of_sentinel_1(cube):
    vv, vh = (cube["sar"][p].values for p in SAR_BANDS)
    assert -16 < np.median(vv) < -8
    assert 5 < np.median(vv - vh) < 10


def test_speckle_is_different_in_every_scene_and_polarisation(cube):
    vv, vh = (cube["sar"][p].values[:2] for p in SAR_BANDS)
    noise = [x - x.mean() for x in (vv[0], vv[1], vh[0])]
    high = [x[1:] - x[:-1] for x in noise]  # the land itself changes more slowly
    assert abs(np.corrcoef(high[0].ravel(), high[2].ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(high[0].ravel(), high[1].ravel())[0, 1]) < 0.1


def test_landcover(cube):
    crop, field = cube["landcover"]["crop_type"], cube["landcover"]["field_id"]
    assert crop.attrs["flag_values"] == [0, *crops.CLASS_NAMES]
    assert crop.attrs["flag_meanings"].split() == ["unknown", *crops.CLASS_NAMES.values()]
    assert (crop.values > 0).all()
    assert ((field.values == 0) == (crop.values >= 14)).all()
    for number in np.unique(field.values[field.values > 0]):
        assert np.unique(crop.values[field.values == number]).size == 1  # one crop a field


@pytest.mark.slow
def test_truth_is_that_of_the_surface(cube):
    land = surface.make(1, 0, 0, (96, 128), 6.0, "north_america", 41.6)
    expected = truth.truth_layers(land, 2018, 41.6)
    assert set(expected) == {*truth.DATES, "n_cycles"}
    for name, values in expected.items():
        stored = cube["truth"][name].values
        assert stored.dtype == values.dtype
        assert np.array_equal(stored, values), name
    assert np.array_equal(cube["landcover"]["field_id"].values, land.number)
    assert np.array_equal(cube["landcover"]["crop_type"].values, land.codes())
    assert cube["truth"]["n_cycles"].values.max() >= 2
    assert (cube["truth"]["n_cycles"].values > 0).mean() > 0.8


def test_ndvi_follows_the_season_of_the_truth(cube):
    optical = cube["optical"]
    red, nir = optical["red"].values, optical["nir"].values
    ndvi = (nir - red) / (nir + red)
    days = stages.to_days(optical["time"].values, 2018)[:, None, None]
    maize = cube["landcover"]["crop_type"].values == 1
    dates = {name: stages.decode(cube["truth"][name].values[0]) for name in truth.DATES}
    near_peak = (np.abs(days - dates["peak"]) < 12) & maize
    bare = (days > dates["sos20"] - 45) & (days < dates["sos20"] - 15) & maize
    assert np.nanmedian(ndvi[near_peak]) > 0.75
    assert np.nanmedian(ndvi[bare]) < 0.3


def test_cameras(cube):
    cameras = cube["camera"]
    assert cameras["gcc_90"].dims == ("camera", "time")
    assert cameras.sizes["camera"] == 5
    assert (np.diff(cameras["time"].values) == np.timedelta64(3, "D")).all()
    box = grid_of(cube)
    field, crop = (cube["landcover"][n].values for n in ("field_id", "crop_type"))
    for k in range(5):
        one = cameras.isel(camera=k)
        row, col = int(one["row"]), int(one["col"])
        x, y = float(one["x"]), float(one["y"])
        assert grid.cell_of(box, x, y, str(box.crs)) == (row, col)
        around = (slice(row - 8, row + 9), slice(col - 8, col + 9))
        looked_at = field[around] == int(one["field_id"])
        assert looked_at.any()
        assert set(np.unique(crop[around][looked_at])).isdisjoint({13, 14, 15})  # a crop
        gcc = one["gcc_90"].values
        assert np.nanmin(gcc) > 0.3
        assert np.nanmax(gcc) < 0.5
        assert np.nanpercentile(gcc, 97) - np.nanpercentile(gcc, 10) > 0.03


# --- seeds, blocks, interruption -----------------------------------------------------------------


def test_a_region_follows_from_its_seed_and_not_from_its_blocks(small, tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", FOUR_BLOCKS)
    simulate(SMALL, tmp_path / "blocks.zarr")
    same(arrays(small), arrays(tmp_path / "blocks.zarr"))


def test_another_seed_gives_another_region(small, tmp_path):
    simulate(dataclasses.replace(SMALL, seed=4), tmp_path / "other.zarr")
    one, two = arrays(small), arrays(tmp_path / "other.zarr")
    for name in ("landcover/field_id", "truth/sos50", "camera/gcc_90"):
        assert not np.array_equal(one[name], two[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0, 2])
def test_an_interrupted_run_goes_on(small, tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr(contract, "CHUNK", FOUR_BLOCKS)
    path = tmp_path / "region.zarr"
    write, calls = module._write_block, []

    def interrupted(region, plan, target, tile):
        calls.append(tile.index)
        if len(calls) == stop_at + 1:
            cube_io.write_block(
                target, "landcover", {"crop_type": np.zeros(tile.shape, np.uint16)}, *tile.core
            )
            raise KeyboardInterrupt
        write(region, plan, target, tile)

    monkeypatch.setattr(module, "_write_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(SMALL, path)
    assert not path.exists()
    assert part_path(path).exists()
    calls.clear()
    calls.extend([None] * 100)  # no more interruptions
    simulate(SMALL, path)
    assert calls[100:] == [(0, 0), (0, 1), (1, 0), (1, 1)][stop_at:]  # only what was missing
    assert not part_path(path).exists()
    same(arrays(small), arrays(path))


def test_an_interruption_before_the_first_block(small, tmp_path, monkeypatch):
    path = tmp_path / "region.zarr"
    with monkeypatch.context() as patch:

        def stop(*_):
            raise KeyboardInterrupt

        patch.setattr(module, "place_cameras", stop)
        with pytest.raises(KeyboardInterrupt):
            simulate(SMALL, path)
    simulate(SMALL, path)
    same(arrays(small), arrays(path))


def test_other_settings_do_not_go_on_with_a_leftover(small, tmp_path, monkeypatch):
    path = tmp_path / "region.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(contract, "CHUNK", FOUR_BLOCKS)
        patch.setattr(module, "_write_block", lambda *_: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            simulate(dataclasses.replace(SMALL, seed=9), path)
    simulate(SMALL, path)
    same(arrays(small), arrays(path))


def test_an_existing_region_is_kept_unless_told(small, tmp_path):
    with pytest.raises(DeepCropError, match="exists"):
        simulate(SMALL, small)


# --- size -----------------------------------------------------------------------------------------


def test_scene_counts_and_a_single_orbit():
    region = Region(1000, 4000, optical_scenes=42, sar_scenes=28)
    plan = module._plan(region)
    assert len(plan.optical) == 42
    assert len(plan.sar) == 28
    assert {s.orbit for s in plan.sar} == {1}
    days = np.array([s.day for s in plan.sar])
    assert days[0] < -100
    assert days[-1] > 400
    every = module._plan(Region(50, 50, start="2018-05-01"))
    assert {s.orbit for s in every.sar} == {0, 1}
    twice = module._plan(Region(50, 50, start="2018-05-01", sar_revisit=6))
    assert 1.8 < len(twice.sar) / len(every.sar) < 2.2


@pytest.mark.slow
def test_memory_is_set_by_a_block_and_not_by_the_region(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", 64)
    peaks = []
    for index, (rows, cols) in enumerate([(130, 130), (1000, 4000)]):
        region = Region(rows, cols, optical_scenes=8, sar_scenes=6, cameras=1)
        plan = module._plan(region)
        path = tmp_path / f"{index}.zarr"
        tile = next(iter(grid.tiles((rows, cols), 64)))
        module._create(region, plan, path)  # lets lazy imports and caches fill
        module._write_block(region, plan, path, tile)
        tracemalloc.start()
        try:
            module._create(region, plan, path)
            module._write_block(region, plan, path, tile)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    small, large = peaks
    assert small < 30e6
    assert large < 1.5 * small + 1e6


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latitude": 10.0}, "Latitude 10"),
        ({"longitude": 100.0}, "Longitude 100"),
        ({"rows": 17}, "too small"),
        ({"cols": 200_000}, "at most"),
        ({"sar_revisit": 5}, "expected 6 or 12"),
        ({"start": "1 May"}, "is no date"),
        ({"start": "NaT"}, "is no date"),
        ({"start": "today"}, "is no date"),
        ({"end": "2018-02-30"}, "is no date"),
        ({"start": "2019-01-01", "end": "2018-01-01"}, "run forward"),
        ({"start": "2016-05-01"}, "cannot be simulated"),
        ({"end": "2020-01-01"}, "cannot be simulated"),
        ({"field_size_ha": 0.0}, "Field size"),
        ({"field_size_ha": float("nan")}, "Field size"),
        ({"cameras": -1}, "cameras"),
        ({"sar_scenes": 0}, "sar_scenes"),
        ({"optical_scenes": -3}, "optical_scenes"),
        ({"optical_scenes": 50, "start": "2018-12-01"}, "50 scenes cannot be kept"),
        ({"sar_scenes": 20, "start": "2018-12-01"}, "20 SAR scenes cannot be kept"),
        ({"start": "2018-05-01", "end": "2018-05-02"}, "No scene"),
    ],
)
def test_regions_that_cannot_be_simulated(changes, message, tmp_path):
    with pytest.raises(DeepCropError, match=message):
        simulate(dataclasses.replace(Region(40, 50), **changes), tmp_path / "region.zarr")
    assert not any(tmp_path.iterdir())


def test_a_region_without_cameras_and_of_the_least_size(tmp_path):
    region = Region(18, 18, cameras=0, start="2018-05-01", end="2018-06-01")
    simulate(region, tmp_path / "region.zarr")
    cube = open_cube(tmp_path / "region.zarr")
    assert "camera" not in cube.children


# --- against real fields --------------------------------------------------------------------------


def simulated_levels(name, latitude, days, seeds=(1,)):
    """Medians of NDVI, VV and VH (dB) of a crop in Europe on days, by season's moisture."""
    values = []
    for seed in seeds:
        land = surface.make(seed, 0, 0, (200, 200), 6.0, "europe", latitude)
        here = land.codes() == crops.CROPS[name].code
        moisture = radar.soil_moisture(radar.rain(seed, canopy.DAYS, "europe"), canopy.DAYS)
        for day in days:
            percent = float(moisture[day - canopy.FIRST_DAY])
            wetness = min(max((percent - 8) / 30, 0), 1)
            _, _, red, nir = surface.reflectance(land, day, wetness, 0.7)[:, here]
            power = surface.backscatter(land, day, percent, 38.0, 1.0)[:, here]
            vv, vh = 10 * np.log10(np.median(power, axis=1))
            values.append((np.median((nir - red) / (nir + red)), vv, vh))
    return np.median(values, axis=0)


def test_maize_in_flanders(real_data):
    """Bare soil in May and full maize in July and August (2018 was a year of drought)."""
    folder = real_data / "sentinel" / "flanders_2018"

    def opened(pattern):
        return xr.open_dataset(next(iter(folder.glob(pattern))), mask_and_scale=False)

    with opened("OUTPUT*") as layers, opened("S2_L2A_10m*") as fine, opened("S2_L2A_20m*") as scl:
        maize = layers["CT"].values == 1200
        inner = maize.copy()
        for step in (-1, 1):
            for axis in (0, 1):
                inner &= np.roll(maize, step, axis)
        red, nir = (fine[b].values.astype(float) for b in ("B04", "B08"))
        classes = np.repeat(np.repeat(scl["SCL"].values, 2, 1), 2, 2)
        clear = np.isin(classes, (4, 5)) & (red > 0) & inner
        ndvi = np.where(clear, (nir - red) / np.maximum(nir + red, 1), np.nan)
        months = fine["timestamp"].values.astype("datetime64[M]")
    with opened("S1*") as radar_file:
        coarse = inner.reshape(32, 2, 32, 2).all(axis=(1, 3))
        back = np.stack([radar_file[p].values[:, coarse] for p in ("VV", "VH")]) / 1e4
        passes = radar_file["timestamp"].values.astype("datetime64[M]")

    def real(month):
        level = np.nanmedian(ndvi[months == np.datetime64(month)])
        return level, *np.median(back[:, passes == np.datetime64(month)], axis=(1, 2))

    bare, full = real("2018-05"), real("2018-07")
    made_bare = simulated_levels("maize", 51.0, (125, 135))
    made_full = simulated_levels("maize", 51.0, (190, 200, 210))
    for made, seen in ((made_bare, bare), (made_full, full)):
        assert abs(made[0] - seen[0]) < 0.15
        assert abs(made[1] - seen[1]) < 3
        assert abs(made[2] - seen[2]) < 3
    # Maize raises VH more than VV.
    assert full[2] - bare[2] > full[1] - bare[1]
    assert made_full[2] - made_bare[2] > made_full[1] - made_bare[1]


FRANCE = {"winter_wheat": 1101010011, "maize": 1101060000, "rapeseed": 1106000031}


@pytest.mark.parametrize(
    ("crop", "days"),
    [
        ("winter_wheat", (110, 170)),
        ("maize", (195, 235)),
        ("maize", (120, 150)),
        ("rapeseed", (75, 99)),  # before flowers, which lower NDVI, and the simulator has not
    ],
)
@pytest.mark.slow
def test_courses_of_french_parcels(real_data, crop, days):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the excerpt is a GeoParquet file")
    file = next(iter((real_data / "france_dekad").glob("*.geoparquet")))
    names = ["timestamp", "ewoc_code", "S2-L2A-B04", "S2-L2A-B08", "S1-SIGMA0-VV", "S1-SIGMA0-VH"]
    table = parquet.read_table(file, columns=names)
    column = {name: np.array(table[name].to_pylist()) for name in names}
    day = stages.to_days(column["timestamp"].astype("datetime64[D]"), 2023)
    here = (column["ewoc_code"] == FRANCE[crop]) & (day >= days[0]) & (day < days[1])
    red, nir, vv, vh = (column[name][here].astype(float) for name in names[2:])
    assert here.sum() > 20

    def decibel(number):
        known = number[(number > 0) & (number < 65535)]
        return np.median(20 * np.log10(known) - 83)

    clear = (red < 65535) & (nir < 65535)
    level = np.median((nir - red)[clear] / (nir + red)[clear])
    made = simulated_levels(crop, 48.0, range(*days, 10), seeds=(1, 2))
    assert abs(made[0] - level) < 0.15
    assert abs(made[1] - decibel(vv)) < 2.5
    assert abs(made[2] - decibel(vh)) < 3
