import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.helpers.cubes import make_cube, season_cube
from tests.helpers.maps import read

from deepcrop import indices, stages
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping.region import map_region
from deepcrop.phenology import REASONS, SavGol, SeasonRule, Whittaker, extract, season_dates
from deepcrop.phenology.date_kernels import MEASURES

da = pytest.importorskip("dask.array")

PER_SEASON = ("length", *MEASURES)


def bumps(days, ups, lengths=60.0, width=8.0):
    """Greenness of seasons that rise on ``ups`` and fall ``lengths`` later, 0.2 between them."""
    values = np.full(np.shape(days), 0.2)
    for up in ups:
        rise, fall = (
            1 / (1 + np.exp(-(days - up) / width)),
            1 / (1 + np.exp((days - up - lengths) / width)),
        )
        values += 0.6 * rise * fall
    return values


def field(rows=6, cols=8, years=2, seed=3) -> xr.DataArray:
    """Greenness with a season a year that starts a day later per column, and noise; time first."""
    days = np.arange(0, 365 * years, 5)
    shift = np.arange(cols)
    values = np.stack([bumps(days, [100 + s, 465 + s]) for s in shift], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 0.02, (days.size, rows, cols))
    return xr.DataArray(
        (values[:, None] + noise).astype(np.float32),
        {
            "time": np.datetime64("2020-01-01T10:50", "ns") + days * np.timedelta64(1, "D"),
            "y": 1000.0 - 10 * np.arange(rows),
            "x": 10.0 * np.arange(cols),
            "name": "a field",
        },
        dims=("time", "y", "x"),
        attrs={"units": "1"},
    )


def reference(array, **options):
    """The NumPy face on the same numbers, days since 1 January 2020."""
    rows = array.transpose("y", "x", "time").values.reshape(-1, array.sizes["time"])
    return season_dates(rows, stages.to_days(array["time"].values, 2020), **options)


def same(a, b):
    """Equal to the bit, attributes included."""
    xr.testing.assert_identical(a, b)
    for name in a.data_vars:
        assert a[name].dtype == b[name].dtype


# What comes out ---------------------------------------------------------------------------------


def test_known_dates_of_a_made_up_field():
    result = extract(field())
    assert result["date"].dims == ("y", "x", "season", "stage")
    assert result["date"].dtype == np.dtype("datetime64[ns]")
    assert result["stage"].values.tolist() == ["sos20", "sos50", "peak", "eos50", "eos20"]
    sos = result["date"].sel(stage="sos50")
    for season, year in ((1, 2020), (2, 2021)):
        day = (sos.sel(season=season) - np.datetime64(f"{year}-01-01", "ns")) / np.timedelta64(
            1, "D"
        )
        truth = 100 + np.arange(8) - (year - 2020)  # 2020 is a leap year
        assert abs(day - xr.DataArray(truth, dims="x")).max() < 6
        assert abs((day - xr.DataArray(truth, dims="x")).mean()) < 2
    assert (result["count"] == 2).all()
    # Two years, two seasons each, of which only one was there.
    assert result.sizes["season"] == 4
    assert np.isnat(result["date"].sel(season=[3, 4])).all()
    assert np.isnan(result["amplitude"].sel(season=[3, 4])).all()


def test_the_numbers_are_those_of_the_numpy_face():
    array = field()
    found, result = reference(array), extract(array)
    seasons = found.dates.shape[1]
    for name in ("date", "low", "high"):
        days = (result[name] - np.datetime64("2020-01-01", "ns")) / np.timedelta64(1, "D")
        expected = getattr(found, "dates" if name == "date" else name)
        np.testing.assert_allclose(
            days.values.reshape(48, 4, 5)[:, :seasons], expected, atol=1 / 86400
        )
    for name in PER_SEASON:
        np.testing.assert_array_equal(
            result[name].values.reshape(48, 4)[:, :seasons], getattr(found, name)
        )
    np.testing.assert_array_equal(
        result["reason"].values.reshape(48, 4, 5)[:, :seasons], found.reason
    )
    # "found" is said of dates alone, whether a series has fewer seasons or a year has none.
    of_year = extract(array, year=2019, latitude=50.0)
    for seasons_of in (result, of_year):
        np.testing.assert_array_equal(
            seasons_of["reason"].values == 0, ~np.isnan(seasons_of["date"].values)
        )
    np.testing.assert_array_equal(result["count"].values.reshape(-1), found.count)


def test_coordinates_units_and_provenance():
    array = field()
    array["x"].attrs["units"] = "m"
    result = extract(array, weights=xr.ones_like(array))
    for name in ("y", "x", "name"):
        assert result[name].identical(array[name])
    assert "time" not in result.coords
    assert all("long_name" in variable.attrs for variable in result.data_vars.values())
    assert result["slope_up"].attrs["units"] == "d-1"
    assert result["base"].attrs["units"] == "1"
    for name in ("small_integral", "large_integral"):
        assert result[name].attrs["units"] == "d"
    assert result["reason"].attrs["flag_meanings"].split()[1] == "too_few_observations"
    assert len(result["reason"].attrs["flag_values"]) == len(REASONS)
    assert result.attrs["smoother"] == "whittaker"
    assert json.loads(result.attrs["settings"]) == asdict(Whittaker())
    assert result.attrs["software"].startswith("deepcrop ")
    own = extract(array, smoother=SavGol(window=30), rule=SeasonRule(min_amplitude=0.2))
    assert own.attrs["smoother"] == "savgol"
    assert json.loads(own.attrs["settings"])["window"] == 30
    assert json.loads(own.attrs["rule"])["min_amplitude"] == 0.2


@pytest.mark.parametrize("dims", [("time", "y", "x"), ("y", "x", "time"), ("x", "time", "y")])
def test_any_place_of_the_time_axis_gives_the_same(dims):
    array = field()
    result = extract(array.transpose(*dims))
    assert result["date"].dims == (*(dim for dim in dims if dim != "time"), "season", "stage")
    xr.testing.assert_identical(result.transpose("y", "x", "season", "stage"), extract(array))


def test_float64_unsorted_and_repeated_times():
    array = field()
    shuffled = array.isel(time=np.random.default_rng(0).permutation(array.sizes["time"]))
    same(extract(shuffled.astype(np.float64)), extract(array))
    doubled = xr.concat([array, array], "time")
    # A day observed twice has twice the weight. Savitzky-Golay compares weights with each other
    # only; Whittaker also with the smoothness.
    settings = {"savgol": "savgol", "whittaker": Whittaker(smoothness=75.0)}
    for smoother, same_settings in settings.items():
        once, twice = extract(array, smoother=same_settings), extract(doubled, smoother=smoother)
        for name in ("date", "amplitude", "count"):
            # Observations that occur twice weigh twice as much against the curve itself.
            one, two = (part[name].values.astype(float) for part in (once, twice))
            limit = 7.2e12 if name == "date" else 1e-3  # two hours
            np.testing.assert_allclose(two, one, atol=limit)


def test_one_series_and_a_site_dimension():
    array = field()
    whole = extract(array)
    one = extract(array.isel(y=2, x=3))
    assert one["date"].dims == ("season", "stage")
    xr.testing.assert_identical(one.drop_attrs(), whole.isel(y=2, x=3).drop_attrs())
    sites = array.isel(y=2).drop_vars("x").rename(x="site")
    np.testing.assert_array_equal(extract(sites)["date"], whole["date"].isel(y=2))


def test_weights_of_zero_take_observations_away():
    array = field()
    spoilt = array.copy()
    spoilt[20:26] = 0.0
    weights = xr.ones_like(array["time"], dtype=np.float32)
    weights[20:26] = 0
    same(extract(spoilt, weights=weights), extract(array.where(weights > 0)))
    wide = weights.broadcast_like(array).transpose("x", "time", "y")
    same(extract(spoilt, weights=wide), extract(array.where(weights > 0)))
    lazy = extract(spoilt.chunk(x=3), weights=weights)
    same(lazy.compute(), extract(array.where(weights > 0)))


def test_of_too_many_seasons_the_strongest_are_kept_in_order_of_time():
    days = np.arange(0, 720, 4)
    ups, strengths = np.array([60, 240, 420, 560]), [0.5, 1.0, 0.6, 0.9]
    values = sum(k * (bumps(days, [up]) - 0.2) for k, up in zip(strengths, ups, strict=True)) + 0.2
    times = np.datetime64("2020-01-01", "ns") + days * np.timedelta64(1, "D")
    array = xr.DataArray(values, {"time": times}, dims="time")
    for kept, expected in ((1, [240]), (2, [240, 560]), (3, [240, 420, 560]), (6, ups)):
        result = extract(array, seasons=kept)
        assert result.sizes["season"] == kept
        assert int(result["count"]) == 4
        found = (result["date"].sel(stage="sos50") - times[0]) / np.timedelta64(1, "D")
        np.testing.assert_allclose(found[: len(expected)], expected, atol=4)
        assert np.isnan(found[len(expected) :]).all()


def test_a_year_may_have_any_number_of_slots():
    days = np.arange(0, 365, 4)
    times = np.datetime64("2020-01-01", "ns") + days * np.timedelta64(1, "D")
    # Of equal growths the one at the longest days is the main season.
    array = xr.DataArray(bumps(days, [50, 130, 210], 30, 4), {"time": times}, dims="time")
    two = extract(array, year=2020, latitude=45.0)
    three = extract(array, year=2020, latitude=45.0, seasons=3)
    assert int(three["count"]) == int(two["count"]) == 3
    assert three["date"].sel(stage="sos50").round(-1).values.tolist() == [130, 210, 50]
    xr.testing.assert_equal(three["date"].isel(season=slice(2)), two["date"])


def test_a_series_without_a_season_says_why():
    array = field().copy()
    array[:, 0, 0] = np.nan
    array[:, 0, 1] = 0.3
    result = extract(array)
    reasons = result["reason"].isel(season=0, y=0)
    assert {REASONS[code] for code in reasons.isel(x=0).values} == {"too few observations"}
    assert {REASONS[code] for code in reasons.isel(x=1).values} == {"amplitude too small"}
    assert result["count"].isel(y=0, x=[0, 1]).values.tolist() == [0, 0]
    assert np.isnat(result["date"].isel(y=0, x=[0, 1])).all()


# A target year ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_slots_of_a_year_are_those_of_the_map(tmp_path):
    cube = season_cube(rows=5, cols=12)
    save_cube(cube, tmp_path / "cube.zarr")
    maps = map_region(tmp_path / "cube.zarr", 2018, tmp_path / "maps").path
    result = extract(open_cube(tmp_path / "cube.zarr"), year=2018)
    assert result["date"].dtype == np.float32
    assert result["date"].attrs["units"] == "days since 2018-01-01"
    assert result["season"].values.tolist() == [1, 2]
    for name in stages.STAGES:
        days = stages.encode(result["date"].sel(season=1, stage=name))
        np.testing.assert_array_equal(days, read(maps / f"{name}.tif"))
    cycles = read(maps / "n_cycles.tif")
    np.testing.assert_array_equal(result["count"], np.where(cycles == 255, 0, cycles))
    assert result["spatial_ref"].identical(cube["optical"]["spatial_ref"])
    assert result.attrs["index"] == "ndvi"
    assert json.loads(result.attrs["rule"])["min_amplitude"] == indices.INDICES["ndvi"][2]


def test_days_of_a_year_are_read_back_as_dates():
    result = extract(field(), year=2021, latitude=38.0)
    dates = xr.decode_cf(result)["date"].sel(season=1, stage="sos50")
    assert abs(dates.isel(x=0) - np.datetime64("2021-04-10", "ns")).max() < np.timedelta64(6, "D")
    everything = extract(field())["date"].sel(season=2)  # the second in time
    days = (everything - np.datetime64("2021-01-01", "ns")) / np.timedelta64(1, "D")
    # Not to the bit: the year is dated from the observations around it alone.
    thresholds = ["sos20", "sos50", "eos50", "eos20"]
    same = days.sel(stage=thresholds) - result["date"].sel(season=1, stage=thresholds)
    assert abs(same).max() < 1


def test_the_main_season_depends_on_the_hemisphere():
    days = np.arange(-60, 430, 5)
    values = bumps(days, [40, 200])  # the first in February, the second in July
    times = np.datetime64("2021-01-01", "ns") + days * np.timedelta64(1, "D")
    array = xr.DataArray(values, {"time": times}, dims="time")
    sites = xr.concat([array, array], "site")
    latitude = xr.DataArray([45.0, -30.0], dims="site")
    for result in (
        extract(sites, year=2021, latitude=latitude),
        extract(sites.assign_coords(lat=latitude), year=2021),
        extract(sites.chunk(site=1), year=2021, latitude=latitude).compute(),
    ):
        main = result["date"].sel(season=1, stage="sos50")
        np.testing.assert_allclose(main, [200, 40], atol=3)
    with pytest.raises(DeepCropError, match="Give latitude"):
        extract(sites, year=2021)


# Dask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [{"y": 4, "x": 3}, {"time": 10}, {"time": -1, "y": 1, "x": -1}, {"time": 7, "y": 2, "x": 5}],
)
@pytest.mark.parametrize("options", [{}, {"year": 2020, "latitude": 45.0}])
def test_on_dask_the_result_is_the_same_to_the_bit(chunks, options):
    array = field()
    lazy = extract(array.chunk(chunks), **options)
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    eager = extract(array, **options)
    assert {name: lazy[name].dtype for name in lazy} == {name: eager[name].dtype for name in eager}
    same(lazy.compute(), eager)


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError("computed too early")

    array = field()
    meta = np.empty((0, 0, 0), np.float32)
    trap = da.map_blocks(fail, da.zeros(array.shape, chunks=(20, 3, 4)), dtype="f4", meta=meta)
    result = extract(array.copy(data=trap), year=2020, latitude=45)
    assert result["date"].shape == (6, 8, 2, 5)
    with pytest.raises(AssertionError, match="too early"):
        result["count"].compute()
    bands = xr.Dataset({name: array.copy(data=trap) for name in ("blue", "green", "red", "nir")})
    assert extract(bands, index="gcc")["low"].shape == (6, 8, 4, 5)


def test_a_chunk_is_read_only_when_its_dates_are_asked_for():
    seen = []

    def note(block):
        seen.append(block.shape)
        return block

    array = field().chunk(y=2, x=4)
    noted = array.copy(data=array.data.map_blocks(note, dtype="f4", meta=np.empty((0, 0, 0), "f4")))
    part = extract(noted)["date"].isel(y=0, x=0)
    assert not seen
    part.compute()
    assert seen == [(146, 2, 4)]


def test_a_lazy_cube_and_its_file(tmp_path):
    cube = season_cube(rows=6, cols=8)
    lazy = extract(cube.chunk(x=4, y=3), index="gcc", year=2018)
    same(lazy.compute(), extract(cube["optical"].to_dataset(), index="gcc", year=2018))
    seasons = extract(cube.chunk(x=4, y=3))
    seasons.to_zarr(tmp_path / "seasons.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "seasons.zarr", decode_coords="all", consolidated=False) as back:
        assert "spatial_ref" in back.coords
        for name in seasons.data_vars:
            np.testing.assert_array_equal(back[name], seasons[name])
    seasons.to_netcdf(tmp_path / "seasons.nc")
    with xr.open_dataset(tmp_path / "seasons.nc", decode_coords="all") as back:
        np.testing.assert_array_equal(back["date"], seasons["date"])
        assert back["length"].dtype == np.float32


# Cubes and series -------------------------------------------------------------------------------


def test_index_and_rule_of_a_cube():
    cube = season_cube(rows=4, cols=5)
    ndvi = extract(cube, year=2018)
    np.testing.assert_allclose(
        ndvi["date"].sel(season=1, stage="sos50").isel(y=2), 120 + np.arange(5), atol=2
    )
    same(ndvi, extract(cube["optical"], year=2018))
    gcc = extract(cube, index="gcc")  # the made-up green band does not change
    assert (gcc["count"] == 0).all()
    assert json.loads(gcc.attrs["rule"])["min_amplitude"] == indices.INDICES["gcc"][2]
    optical = cube["optical"].to_dataset().assign_attrs(simulated=1)
    assert extract(optical).attrs["simulated"] == 1
    assert "simulated" not in ndvi.attrs


def series(array, y=2, x=3) -> pd.Series:
    return array.isel(y=y, x=x).to_series().rename("ndvi")


def test_a_pandas_series_gives_a_table_of_its_seasons():
    array = field()
    table = extract(series(array))
    whole = extract(array).isel(y=2, x=3)
    assert table.index.tolist() == [1, 2]
    assert table.columns[:6].tolist() == ["sos20", "sos50", "peak", "eos50", "eos20", "length"]
    assert table.loc[1, "sos50"] == pd.Timestamp(whole["date"].sel(season=1, stage="sos50").item())
    assert isinstance(table.loc[1, "sos50_low"], pd.Timestamp)
    for name in PER_SEASON:
        np.testing.assert_array_equal(table[name], whole[name][:2])
    assert (table["missing"] == "").all()
    assert table.attrs["smoother"] == "whittaker"
    main = extract(series(array), year=2021, latitude=38.0)
    assert main.index.tolist() == [1]
    assert main.loc[1, "peak"].year == 2021


def test_a_zoned_series_with_holes_and_weights():
    plain = series(field())
    zoned = plain.tz_localize("UTC").tz_convert("America/Chicago")
    pd.testing.assert_frame_equal(extract(zoned), extract(plain))
    holes = plain.astype("Float64")
    holes.iloc[5:9] = pd.NA
    weights = pd.Series(1.0, plain.index)
    weights.iloc[5:9] = 0
    pd.testing.assert_frame_equal(extract(holes), extract(plain, weights=weights))


def test_a_series_says_what_is_missing_and_why():
    plain = series(field())
    table = extract(plain["2020-04-20":])  # begins inside the first season
    first = table.iloc[0]
    assert pd.isna(first["sos50"])
    assert first["missing"].startswith("sos20, sos50: not observed")
    assert table.iloc[1]["missing"] == ""
    empty = extract(plain * 0)
    assert len(empty) == 0
    assert "sos20" in empty.columns
    assert empty.attrs["reason"] == "amplitude too small"


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda a: a.rename(time="date"), {}, "no dimension 'time'"),
        (lambda a: a.drop_vars("time"), {}, "no dimension 'time'"),
        (lambda a: a.assign_coords(time=np.arange(146)), {}, "expected datetime64"),
        (lambda a: a.isel(time=slice(0)), {}, "time axis is empty"),
        (lambda a: a > 0.5, {}, "expected numbers"),
        (lambda a: a.rename(x="season"), {}, "one of the result's"),
        (lambda a: a, {"year": 2031, "latitude": 40}, "no observation around 2031"),
        (lambda a: a, {"year": 2020}, "Give latitude"),
        (lambda a: a, {"seasons": 0}, "positive number"),
        (lambda a: a, {"fractions": (0.5, 0.2)}, "must rise"),
        (lambda a: a, {"smoother": "spline"}, "spline"),
        (lambda a: a, {"weights": np.ones(146)}, "expected a DataArray"),
        (lambda a: a, {"weights": 1.0}, "expected a DataArray"),
        (lambda a: a.chunk(x=2), {"fractions": ()}, "must rise"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    with pytest.raises(DeepCropError, match=message):
        extract(change(field()), **options)


def test_weights_on_other_coordinates_are_refused():
    array = field()
    with pytest.raises(DeepCropError, match="other coordinates"):
        extract(array, weights=xr.ones_like(array).isel(time=slice(1, None)))
    with pytest.raises(DeepCropError, match="only those of the data"):
        extract(array, weights=xr.ones_like(array).rename(x="z"))
    times = array["time"].values.copy()
    times[3] = np.datetime64("NaT")
    with pytest.raises(DeepCropError, match="NaT"):
        extract(array.assign_coords(time=times))


def test_bad_cubes_and_series_are_refused():
    cube = make_cube()
    with pytest.raises(DeepCropError, match="'ndwi' is unknown"):
        extract(cube, index="ndwi")
    with pytest.raises(CubeError, match="no 'optical' group"):
        extract(xr.DataTree())
    with pytest.raises(CubeError, match="no band nir"):
        extract(cube["optical"].to_dataset().drop_vars("nir"))
    plain = series(field())
    with pytest.raises(DeepCropError, match="DatetimeIndex"):
        extract(plain.reset_index(drop=True))
    with pytest.raises(DeepCropError, match="same index"):
        extract(plain, weights=plain.iloc[1:])
    with pytest.raises(DeepCropError, match="one column"):
        extract(plain.to_frame())


@pytest.mark.slow
def test_a_simulated_region(region_path):
    cube = open_cube(region_path)
    optical = cube["optical"].to_dataset().isel(y=slice(0, 40), x=slice(0, 60))
    lazy = extract(optical.chunk(y=16, x=32), year=2018)
    same(lazy.compute(), extract(optical, year=2018))
    assert lazy.attrs["simulated"] == 1
    assert float(np.isfinite(lazy["date"].sel(season=1, stage="sos50")).mean()) > 0.5


@pytest.mark.parametrize("value", ["0{2000", "low", [1], 1j])
def test_a_series_of_what_is_no_number_is_refused(value):
    series = pd.Series([0.2, value], pd.to_datetime(["2018-01-01", "2018-01-06"]), dtype=object)
    with pytest.raises(DeepCropError, match=r"no number .* pd\.to_numeric"):
        extract(series)


@pytest.mark.parametrize("slope", [-4e-4, 4e-4])  # the peak lies in 2017, or in 2018
def test_a_year_within_a_season_longer_than_a_year_says_so(slope):
    times = pd.date_range("2017-01-01", "2019-12-31", freq="5D")
    days = np.asarray((times - pd.Timestamp("2018-01-01")).days, float)
    green = 1 / (1 + np.exp(-(days + 150) / 8)) / (1 + np.exp((days - 300) / 8))
    ndvi = 0.2 + 0.5 * green * (1 + slope * days)
    result = extract(xr.DataArray(ndvi, {"time": times}, ["time"]), year=2018, latitude=50.0)
    assert result["count"] == (slope > 0)
    sides = {"season": 0, "stage": [0, 1, 3, 4]}
    assert not np.isfinite(result["date"].isel(sides)).any()
    reasons = [REASONS[code] for code in result["reason"][0].values.tolist()]
    peak = "found" if slope > 0 else "season longer than a year"
    assert reasons[2] == peak
    assert {*reasons[:2], *reasons[3:]} == {"season longer than a year"}
