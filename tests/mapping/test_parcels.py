"""Masks, parcels and fields: where is mapped, and what a map says of each field."""

import json

import numpy as np
import pytest
import shapely
import xarray as xr
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_few_layers, map_without_pictures, read
from tests.helpers.parcel_files import NORTH, SOUTH, field_rows, geojson, raster
from tests.helpers.small_maps import small_tiles

from deepcrop import grid
from deepcrop.cube.contract import build
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping import parcels
from deepcrop.mapping.work_store import MANIFEST
from deepcrop.products import fields as product_fields
from deepcrop.products import layers
from deepcrop.products import write as product_writer
from deepcrop.products.results import open_result
from deepcrop.stages import NO_DAY

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pyogrio")


@pytest.fixture(scope="module", autouse=True)
def _small_tiles():
    with small_tiles(16):
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    data = season_cube()
    landcover = data["landcover"].to_dataset()
    field = np.zeros((20, 30), np.uint32)
    field[:10, :10], field[15:, 20:] = 7, 9
    landcover["field_id"] = (("y", "x"), field)
    built = build(data["optical"].to_dataset(), None, landcover, data.attrs)
    save_cube(built, path)
    return path


@pytest.fixture(scope="module")
def mapped(cube, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parcels")
    path = geojson(folder / "farms.geojson")
    return map_without_pictures(cube, 2018, folder / "maps", parcels_path=path)


@pytest.mark.slow
def test_only_parcels_are_mapped(mapped):
    inside = np.zeros((20, 30), bool)
    inside[:10, :10] = inside[15:, 20:] = True
    flags, days = read(mapped.path / "qflag.tif"), read(mapped.path / "sos50.tif")
    np.testing.assert_array_equal(flags == layers.LEFT_OUT, ~inside)
    assert (days[~inside] == NO_DAY).all()
    assert (days[1:][inside[1:]] != NO_DAY).all()
    lines = [json.loads(x) for x in (mapped.path / MANIFEST).read_text().splitlines()]
    assert [line["left_out"] for line in lines] == [156, 214, 64, 16]


def test_pictures_are_told_how_much_is_left_out(cube, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        product_writer,
        "_write_picture",
        lambda job, box, out, info, *rest: told.append(info.left_out),
    )
    farms = geojson(tmp_path / "farms.geojson")
    map_few_layers(cube, 2018, tmp_path / "maps", parcels_path=farms, pictures=True)
    map_few_layers(cube, 2018, tmp_path / "whole", pictures=True)
    assert set(told[: len(told) // 2]) == {450}
    assert set(told[len(told) // 2 :]) == {0}


def test_dates_of_each_parcel(mapped):
    north, south = field_rows(mapped)
    assert (north["parcel_farm"], south["parcel_farm"]) == ("farm 0", "farm 1")
    assert (north["pixels"], south["pixels"]) == ("100", "50")
    assert (north["crop"], south["crop"]) == ("maize", "maize")
    # Row 0 is masked; the season begins a day later with each column.
    assert float(north["sos50_share"]) == pytest.approx(0.9)
    assert float(south["sos50_share"]) == 1
    assert float(north["sos50_median"]) == pytest.approx(124.5, abs=1.5)
    assert float(south["sos50_median"]) == pytest.approx(144.5, abs=1.5)
    assert 3 <= float(south["sos50_spread"]) <= 6
    assert north["eos50_date"] == "2018-09-08"
    assert north["sos50_season2_median"] == ""


def test_medians_are_those_of_the_pixels(mapped):
    days = read(mapped.path / "sos50.tif")[15:, 20:]
    assert float(field_rows(mapped)[1]["sos50_median"]) == np.median(days)
    low, high = np.quantile(days, (0.25, 0.75))
    assert float(field_rows(mapped)[1]["sos50_spread"]) == high - low


@pytest.mark.slow
def test_fields_of_the_cube_are_outlined(cube, tmp_path):
    result = map_without_pictures(cube, 2018, tmp_path / "maps", fields=True)
    assert [row["field"] for row in field_rows(result)] == ["7", "9"]
    assert (read(result.path / "sos50.tif")[1:] != NO_DAY).all()  # fields alone limit nothing
    table = pq.read_table(result.path / "fields.parquet")
    about = json.loads(table.schema.metadata[b"geo"])
    assert about["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32631}
    outline = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    assert [a.equals(b) for a, b in zip(outline, (NORTH, SOUTH), strict=True)] == [True, True]
    with pytest.raises(DeepCropError, match="either parcels or fields"):
        map_without_pictures(
            cube, 2018, tmp_path / "m", fields=True, parcels_path=geojson(tmp_path / "f.geojson")
        )
    # What was written can be read as parcels again.
    again = parcels.read_parcels(result.path / "fields.parquet", open_result(result.path).grid)
    assert again.columns["field"].to_pylist() == [7, 9]


@pytest.mark.slow
def test_a_mask_on_another_grid(cube, tmp_path):
    """20 m pixels, of which the left half and one more are to be mapped."""
    values = np.zeros((10, 15), np.uint8)
    values[:, :7] = 1
    values[9, 14] = 3
    mask = raster(tmp_path / "mask.tif", values, side=20)
    result = map_without_pictures(cube, 2018, tmp_path / "maps", mask=mask)
    wanted = values.repeat(2, 0).repeat(2, 1) > 0
    found = read(result.path / "qflag.tif")
    np.testing.assert_array_equal(found == layers.LEFT_OUT, ~wanted)
    whole = map_without_pictures(cube, 2018, tmp_path / "whole")
    for name in ("sos20", "eos50_high", "n_cycles", "n_obs_optical", "qflag", "length"):
        every = read(whole.path / f"{name}.tif")
        np.testing.assert_array_equal(read(result.path / f"{name}.tif")[wanted], every[wanted])
    assert result.summary["source"]["mask"]["file"] == "mask.tif"


@pytest.mark.slow
def test_numbers_are_of_the_mask(cube, tmp_path):
    """One tile is partly masked, the other three wholly: no number tells which."""
    wanted = np.zeros((20, 30), bool)
    wanted[3:9, 2:12] = True
    wanted[0, 4:7] = True  # a row that was never seen
    mask = raster(tmp_path / "mask.tif", wanted)
    result = map_without_pictures(cube, 2018, tmp_path / "maps", mask=mask)
    every = {
        layer.name: read(result.path / f"{layer.name}.tif")
        for layer in layers.describe("curve", 2018)
    }
    for layer in layers.describe("curve", 2018):
        nothing = layers.LEFT_OUT if layer.name == "qflag" else layer.nodata
        assert (every[layer.name][~wanted] == nothing).all(), layer.name
    summary = result.summary
    assert (summary["pixels"], summary["mapped"]) == (600, 63)
    numbers = summary["maps"]["curve"]
    assert numbers["layers"]["sos50"]["detected_share"] == round(60 / 63, 6)
    assert numbers["layers"]["sos50"]["median_day"] == np.median(every["sos50"][3:9, 2:12])
    assert numbers["crops"]["maize"]["pixels"] == 63
    assert numbers["crops"]["maize"]["layers"]["sos50"]["detected_share"] == round(60 / 63, 6)
    assert numbers["counts"]["n_obs_optical"] == {"min": 0, "median": 73, "max": 73}
    assert numbers["counts"]["max_gap_optical"] == {"min": 4, "median": 4, "max": 365}
    flags = every["qflag"]
    for bit, words in layers.FLAGS.items():
        of = np.ones_like(wanted) if bit == layers.LEFT_OUT else wanted
        assert numbers["flags"][words] == round(((flags[of] & bit) > 0).mean(), 6)
    assert summary["scenes"] == {"optical": 98, "optical_usable": 98}
    assert {one["share"] for one in summary["seen"]["optical"]} == {round(60 / 63, 4)}


@pytest.mark.slow
def test_mask_and_parcels_both_limit(cube, tmp_path):
    farms = geojson(tmp_path / "farms.geojson")
    mask = raster(tmp_path / "mask.tif", np.eye(20, 30))
    result = map_without_pictures(cube, 2018, tmp_path / "maps", mask=mask, parcels_path=farms)
    wanted = read(result.path / "qflag.tif") != layers.LEFT_OUT
    assert np.flatnonzero(wanted).tolist() == [31 * k for k in range(10)]
    # Shares are of the pixels mapped; row 0 has no date. Of the other parcel none is.
    north, south = field_rows(result)
    assert (north["pixels"], float(north["sos50_share"])) == ("10", 0.9)
    assert (south["pixels"], south["sos50_share"], south["crop"]) == ("0", "", "")
    own = map_without_pictures(cube, 2018, tmp_path / "own", mask=mask, fields=True)
    (field,) = field_rows(own)
    assert (field["field"], field["pixels"], float(field["sos50_share"])) == ("7", "10", 0.9)
    outline = pq.read_table(own.path / "fields.parquet")["geometry"].to_numpy(zero_copy_only=False)
    assert shapely.from_wkb(outline)[0].equals(NORTH)


def test_parcels_without_a_pixel_keep_their_row(cube, tmp_path, caplog):
    thin = shapely.box(500051, 5600051, 500053, 5600053)  # holds no pixel's centre
    far = shapely.box(700000, 5600100, 700100, 5600200)
    farms = geojson(tmp_path / "farms.geojson", [thin, far, SOUTH])
    result = map_without_pictures(cube, 2018, tmp_path / "maps", parcels_path=farms)
    assert "farms.geojson: 1 of 3 shapes are no polygons within the map" in caplog.text
    assert [(r["field"], r["parcel_farm"], r["pixels"]) for r in field_rows(result)] == [
        ("1", "farm 0", "0"), ("2", "farm 2", "50")
    ]  # fmt: skip
    assert len(pq.read_table(result.path / "fields.parquet")) == 2


def test_a_mask_that_leaves_nothing_is_refused(cube, tmp_path):
    def refuse(words, **options):
        with pytest.raises(DeepCropError, match=words):
            map_without_pictures(cube, 2018, tmp_path / "maps", **options)

    far = raster(tmp_path / "far.tif", np.ones((20, 30)), left=700000)
    here = r"The map \(\(500000\.0, .*\) in EPSG:32631\) has no pixel where mask "
    refuse(here + r".*far\.tif \(\(700000\.0, .*\) in EPSG:32631\) has data", mask=far)
    south = np.zeros((20, 30))
    south[15:] = 1
    mask = raster(tmp_path / "south.tif", south)
    farms = geojson(tmp_path / "farms.geojson", [NORTH])
    refuse(r"south\.tif .* and a parcel of .*farms\.geojson", mask=mask, parcels_path=farms)


def test_files_that_do_not_serve_are_named(cube, tmp_path):
    def refuse(words, **options):
        with pytest.raises(DeepCropError, match=words):
            map_without_pictures(cube, 2018, tmp_path / "maps", **options)
        assert not list(tmp_path.glob("maps*"))

    (tmp_path / "bad.geojson").write_text("{")
    refuse(r"none\.gpkg do not exist", parcels_path=tmp_path / "none.gpkg")
    refuse(r"bad\.geojson cannot be read as parcels", parcels_path=tmp_path / "bad.geojson")
    far = geojson(tmp_path / "far.geojson", [shapely.box(700000, 5600100, 700100, 5600200)])
    refuse("none of its 1 shapes is a polygon within the map", parcels_path=far)
    refuse(r"none\.tif does not exist", mask=tmp_path / "none.tif")
    (tmp_path / "bad.tif").write_text("no raster")
    with pytest.raises(DeepCropError, match=r"bad\.tif cannot be read"):
        map_without_pictures(cube, 2018, tmp_path / "maps", mask=tmp_path / "bad.tif")


def test_a_cube_without_fields(tmp_path):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    with pytest.raises(DeepCropError, match="has no 'field_id'"):
        map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps", fields=True)


def test_a_field_in_several_windows_is_one(monkeypatch):
    """The commonest crop and the median are of the whole field."""
    monkeypatch.setattr(product_fields, "windows", lambda box: [
        (slice(0, 2), slice(0, 4)), (slice(2, 4), slice(0, 4))
    ])  # fmt: skip
    box = grid.make_grid((500000, 5600000, 500040, 5600040), "EPSG:32631")
    days = np.array([[10, 10, 10, 10], [30, 30, 30, 30], [20, 20, 20, 20], [10, 10, NO_DAY, 20]])
    crops = np.array([[1, 1, 2, 2], [2, 1, 1, 2], [1, 1, 3, 3], [1, 1, 3, 3]])
    data = {
        layer.name: np.full((4, 4), layer.nodata or 0, layer.dtype)
        for layer in layers.describe("curve", 2018)
    }
    data["sos50"] = days.astype(np.int16)
    maps = grid.assign_grid(xr.Dataset({k: (("y", "x"), v) for k, v in data.items()}), box)
    one = xr.Dataset({"crop": (("y", "x"), crops.astype(np.uint16))})
    one = grid.assign_grid(one, box)
    one["crop"].attrs = {"flag_values": [1, 2, 3], "flag_meanings": "maize wheat oats"}

    def pixels(rows, cols):
        places = np.arange((rows.stop - rows.start) * (cols.stop - cols.start))
        return places, np.full(places.size, 5)

    table = product_fields.field_table({"curve": maps}, pixels, box, 2018, one["crop"])
    known = days[days != NO_DAY]
    assert table["field"] == [5]
    assert table["crop"] == ["maize"]
    assert table["sos50_median"] == [np.median(known)]
    assert table["sos50_share"] == [15 / 16]
    low, high = np.quantile(known, (0.25, 0.75))
    assert table["sos50_spread"] == [high - low]
