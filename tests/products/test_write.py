import json
import os
from unittest import mock

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

from deepcrop import figures, grid
from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.products import write as product_writer
from deepcrop.products.layers import LEFT_OUT, NO_COUNT, describe
from deepcrop.products.write import PICTURED, MapInfo
from deepcrop.stages import NO_DAY, STAGES

DAY_LAYERS = [*STAGES, *(f"{stage}_season2" for stage in STAGES)]
CURVE = describe("curve", 2018)
LAYERS = [layer.name for layer in CURVE]
PICTURES = [layer.name for layer in CURVE if layer.kind in PICTURED]
INFO = MapInfo(
    year=2018,
    simulated=True,
    title="Test région",
    start=np.datetime64("2017-07-04T10:50:31.123", "ns"),
    end=np.datetime64("2019-06-30", "ns"),
    scenes={"optical": 42, "optical_usable": 40, "sar": 28},
    source={"cube": "region.zarr"},
)


def make_layers(rows=4, cols=5, crs="EPSG:32631", **values) -> xr.Dataset:
    """Map layers without any season, but for those given."""
    data = {
        layer.name: np.full((rows, cols), NO_DAY if layer.nodata == NO_DAY else 0, layer.dtype)
        for layer in CURVE
    }
    data["n_obs_optical"][:] = 30
    data |= {name: np.asarray(array).astype(data[name].dtype) for name, array in values.items()}
    bounds = (500000, 5600000, 500000 + 10 * cols, 5600000 + 10 * rows)
    layers = xr.Dataset({name: (("y", "x"), array) for name, array in data.items()})
    return grid.assign_grid(layers, grid.make_grid(bounds, crs))


def make_crop(layers, codes, values=(0, 1, 5), meanings="unknown maize winter_wheat"):
    data = xr.Dataset({"crop_type": (("y", "x"), np.asarray(codes, np.uint16))})
    data["crop_type"].attrs = {"flag_values": list(values), "flag_meanings": meanings}
    return grid.assign_grid(data, grid.grid_of(layers))["crop_type"]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A region of several windows and overview levels, read from a Zarr store."""
    rng = np.random.default_rng(1)
    rows, cols = 700, 1300
    days = rng.integers(-181, 549, (rows, cols))
    days[rng.random(days.shape) < 0.3] = NO_DAY
    layers = make_layers(rows, cols, sos20=days, n_obs_optical=rng.integers(0, 70, days.shape))
    crop = make_crop(layers, rng.choice([0, 1, 5, 7], days.shape))
    folder = tmp_path_factory.mktemp("big")
    chunks = {name: {"chunks": (256, 256)} for name in LAYERS}
    layers.to_zarr(folder / "layers.zarr", encoding=chunks, consolidated=False)
    stored = xr.open_zarr(
        folder / "layers.zarr", chunks=None, consolidated=False, decode_coords="all"
    )
    out = folder / "map.part"
    out.mkdir()
    summary = product_writer.write_products({"curve": stored}, out, INFO, crop)
    return layers, crop, out, summary


def write(tmp_path, layers, crop=None, wanted=None):
    """All products but the pictures, which take the time."""
    out = tmp_path / "map.part"
    out.mkdir()
    with mock.patch.object(figures, "save"):
        return product_writer.write_products({"curve": layers}, out, INFO, crop, wanted), out


# --- files ------------------------------------------------------------------------------------


def test_the_folder_holds_just_the_products(big):
    out = big[2]
    expected = {f"{name}.{kind}" for name in [*LAYERS, "crop_type"] for kind in ("tif", "qml")}
    expected |= {f"{name}.png" for name in PICTURES}
    others = {"item.json", "collection.json", "summary.json", "landscape.json", "landscape.csv"}
    others |= {"map.qgs"}
    assert set(os.listdir(out)) == expected | others


def test_cogs_hold_the_layers(big):
    layers, _, out, _ = big
    box = grid.grid_of(layers)
    for name in LAYERS:
        with rasterio.open(out / f"{name}.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(1), layers[name].values)
            assert dataset.dtypes == (layers[name].dtype.name,)
            assert dataset.transform == box.affine
            assert dataset.crs.to_epsg() == 32631


def test_cogs_are_cloud_optimised(big):
    out = big[2]
    for name in LAYERS:
        with rasterio.open(out / f"{name}.tif") as dataset:
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            assert structure["LAYOUT"] == "COG"
            assert structure["COMPRESSION"] == "DEFLATE"
            assert dataset.block_shapes == [(512, 512)]
            assert dataset.overviews(1) == [2, 4]


def test_cogs_describe_themselves(big):
    layers, _, out, _ = big
    with rasterio.open(out / "sos20.tif") as dataset:
        assert dataset.nodata == NO_DAY
        assert dataset.units == ("days since 2018-01-01",)
        assert dataset.descriptions == ("start of season, 20 % of amplitude, season 1",)
        tags = dataset.tags()
        assert (
            tags.items()
            >= {
                "stage": "sos20",
                "season": "1",
                "year": "2018",
                "method": "curve",
                "software": f"deepcrop {__version__}",
                "simulated": "true",
            }.items()
        )
        days = layers["sos20"].values
        known = days[days != NO_DAY]
        assert int(dataset.tags(1)["STATISTICS_MINIMUM"]) == known.min()
        assert float(dataset.tags(1)["STATISTICS_MEAN"]) == pytest.approx(known.mean())
    with rasterio.open(out / "eos50_season2.tif") as dataset:
        assert dataset.tags()["season"] == "2"
    with rasterio.open(out / "n_obs_optical.tif") as dataset:
        assert dataset.nodata == NO_COUNT  # no observation is an observation count, too
        assert "stage" not in dataset.tags()


def test_overviews_are_nearest_neighbours(big):
    layers, _, out, _ = big
    with rasterio.open(out / "sos20.tif", overview_level=0) as dataset:
        coarse = dataset.read(1)
    assert coarse.shape == (350, 650)
    near = layers["sos20"].values.reshape(350, 2, 650, 2).transpose(0, 2, 1, 3).reshape(350, 650, 4)
    assert (near == coarse[..., np.newaxis]).any(axis=-1).all()


def test_small_regions_have_no_overviews(tmp_path):
    _, out = write(tmp_path, make_layers())
    with rasterio.open(out / "sos20.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == []
        assert (dataset.read(1) == NO_DAY).all()


def test_only_one_window_is_loaded_at_a_time(tmp_path, monkeypatch):
    """Each read of a layer that is not in memory must be at most a row of chunks."""
    sizes = []
    values = xr.DataArray.values.fget

    def spy(array):
        if array.dims == ("y", "x"):
            sizes.append(array.size)
        return values(array)

    layers = make_layers(300, 600)
    monkeypatch.setattr(xr.DataArray, "values", property(spy))
    write(tmp_path, layers, make_crop(layers, np.ones((300, 600))))
    assert max(sizes) == 256 * 600


def test_nothing_written_names_the_folder(big):
    out = big[2]
    for name in os.listdir(out):
        assert str(out).encode() not in (out / name).read_bytes(), name


def test_a_reference_system_without_code(tmp_path):
    proj = "+proj=tmerc +lat_0=10 +lon_0=12 +k=0.99 +x_0=400000 +y_0=-4000000 +datum=WGS84 +units=m"
    _, out = write(tmp_path, make_layers(crs=proj))
    properties = json.loads((out / "item.json").read_text())["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS")
    with rasterio.open(out / "sos20.tif") as dataset:
        assert dataset.crs.to_dict()["lon_0"] == 12


# --- summary ----------------------------------------------------------------------------------


def test_summary_by_hand(tmp_path):
    days = np.full((4, 5), NO_DAY)
    days[0] = [100, 101, 102, 103, 120]
    days[1, 0] = -31
    layers = make_layers(
        sos50=days,
        sos50_low=np.where(days == NO_DAY, NO_DAY, days - 10),
        # Widths of the six dates: 20, 21, 22, 69, 70 and 20 days.
        sos50_high=days + np.array([[10, 11, 12, 59, 60], [10, 0, 0, 0, 0], [0] * 5, [0] * 5]),
        n_cycles=days != NO_DAY,
        n_obs_optical=np.arange(20).reshape(4, 5),
    )
    crop = make_crop(layers, [[1, 1, 5, 5, 5], [5, 0, 0, 0, 7], [0] * 5, [1] * 5])
    summary, out = write(tmp_path, layers, crop)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary
    assert summary["year"] == 2018
    assert summary["methods"] == ["curve"]
    assert summary["simulated"] is True
    assert summary["title"] == "Test région"
    assert summary["software"] == f"deepcrop {__version__}"
    assert summary["scenes"] == {"optical": 42, "optical_usable": 40, "sar": 28}
    assert summary["observations"] == {
        "start": "2017-07-04T10:50:31Z",
        "end": "2019-06-30T00:00:00Z",
    }
    assert summary["pixels"] == 20
    assert summary["grid"] == {
        "crs": "EPSG:32631",
        "shape": [4, 5],
        "resolution": 10.0,
        "bounds": [500000.0, 5600000.0, 500050.0, 5600040.0],
    }
    # Sorted: -31, 100, 101, 102, 103, 120. Ranks 2.5; 0.25; 4.75.
    assert summary["maps"]["curve"]["layers"]["sos50"] == {
        "detected": 6,
        "detected_share": 0.3,
        "median_day": 101.5,
        "median_date": "2018-04-13",  # halves round up: day 102
        "p05_day": 1.75,
        "p05_date": "2018-01-03",
        "p95_day": 115.75,
        "p95_date": "2018-04-27",
        "median_width": 21.5,  # of 20, 20, 21, 22, 69, 70
        "wide_share": pytest.approx(2 / 6, abs=1e-6),  # from 60 days on
    }
    unseen = summary["maps"]["curve"]["layers"]["eos20"]
    assert (unseen["median_width"], unseen["wide_share"]) == (None, None)
    nothing = summary["maps"]["curve"]["layers"]["eos20_season2"]
    assert nothing["detected"] == 0
    assert nothing["detected_share"] == 0
    assert nothing["median_day"] is None
    assert nothing["median_date"] is None
    assert summary["maps"]["curve"]["counts"]["n_cycles"] == {"min": 0, "median": 0, "max": 1}
    assert summary["maps"]["curve"]["counts"]["n_obs_optical"] == {
        "min": 0,
        "median": 9.5,
        "max": 19,
    }
    assert list(summary["maps"]["curve"]["crops"]) == ["maize", "winter_wheat", "code 7"]
    maize, wheat = (
        summary["maps"]["curve"]["crops"]["maize"],
        summary["maps"]["curve"]["crops"]["winter_wheat"],
    )
    assert maize["pixels"] == 7
    assert maize["layers"]["sos50"]["detected_share"] == pytest.approx(2 / 7, abs=1e-6)
    assert maize["layers"]["sos50"]["median_day"] == 100.5
    assert maize["layers"]["sos50"]["median_date"] == "2018-04-12"
    assert wheat["pixels"] == 4
    assert wheat["layers"]["sos50"]["median_day"] == 102.5  # -31, 102, 103, 120
    assert wheat["layers"]["sos50"]["detected_share"] == 1
    assert summary["maps"]["curve"]["crops"]["code 7"]["layers"]["sos50"]["median_day"] is None


def test_summary_over_many_windows_equals_numpy(big):
    layers, crop, _, summary = big
    days, codes = layers["sos20"].values, crop.values
    for got, mask in (
        (summary["maps"]["curve"]["layers"]["sos20"], np.ones(days.shape, bool)),
        (summary["maps"]["curve"]["crops"]["winter_wheat"]["layers"]["sos20"], codes == 5),
    ):
        chosen = days[mask]
        known = chosen[chosen != NO_DAY]
        assert got["detected"] == known.size
        assert got["detected_share"] == pytest.approx(known.size / chosen.size, abs=1e-6)
        assert got["median_day"] == np.median(known)
        assert got["p05_day"] == pytest.approx(np.quantile(known, 0.05), abs=0.005)
        assert got["p95_day"] == pytest.approx(np.quantile(known, 0.95), abs=0.005)
    counts = layers["n_obs_optical"].values
    assert summary["maps"]["curve"]["counts"]["n_obs_optical"] == {
        "min": counts.min(),
        "median": np.median(counts),
        "max": counts.max(),
    }


def test_what_is_left_out_counts_nowhere(tmp_path):
    """Shares, medians and counts are of the wanted pixels, but for the flag that says which."""
    rng = np.random.default_rng(2)
    codes = np.where(np.arange(30)[:, None] < 12, 1, 5) * np.ones((1, 40), int)
    codes[:, 35:] = 7
    wanted = (rng.random(codes.shape) < 0.3) & (codes != 7)
    days = np.where(wanted & (rng.random(codes.shape) < 0.6), 100 + np.arange(40), NO_DAY)
    seen = np.where(wanted, rng.integers(0, 30, codes.shape), NO_COUNT)
    few = wanted & (seen < 10)
    flags = np.where(wanted, 2 * few, LEFT_OUT)
    layers = make_layers(30, 40, sos20=days, n_obs_optical=seen, qflag=flags)
    asked = xr.Dataset({"wanted": (("y", "x"), wanted.astype(np.uint8))})
    asked = grid.assign_grid(asked, grid.grid_of(layers))["wanted"]
    summary, out = write(tmp_path, layers, make_crop(layers, codes), asked)
    assert (summary["pixels"], summary["mapped"]) == (1200, wanted.sum())
    curve = summary["maps"]["curve"]
    assert list(curve["crops"]) == ["maize", "winter_wheat"]  # code 7 is nowhere wanted
    for got, where in (
        (curve["layers"]["sos20"], wanted),
        (curve["crops"]["maize"]["layers"]["sos20"], wanted & (codes == 1)),
    ):
        known = days[where & (days != NO_DAY)]
        assert (got["detected"], got["median_day"]) == (known.size, np.median(known))
        assert got["detected_share"] == pytest.approx(known.size / where.sum(), abs=1e-6)
    assert curve["crops"]["maize"]["pixels"] == (wanted & (codes == 1)).sum()
    counts = curve["counts"]["n_obs_optical"]
    assert counts == {"min": 0, "median": np.median(seen[wanted]), "max": seen[wanted].max()}
    shares = list(curve["flags"].values())
    assert shares[1] == pytest.approx(few[wanted].mean(), abs=1e-6)
    assert shares[6] == pytest.approx((~wanted).mean(), abs=1e-6)
    rows = json.loads((out / "landscape.json").read_text())["rows"]
    bands = [r for r in rows if r["layer"] == "sos20" and r["crop"] == "all" and r["south"]]
    assert sum(row["pixels"] for row in bands) == wanted.sum()
    assert sum(row["known"] for row in bands) == (days != NO_DAY).sum()


def test_north_is_up_in_bands_of_latitude(tmp_path):
    """Dates count the rows from the north: each band has the median of its own."""
    layers = make_layers(40, 5, sos20=100 + np.arange(40)[:, None] * np.ones((1, 5)))
    _, out = write(tmp_path, layers)
    rows = json.loads((out / "landscape.json").read_text())["rows"]
    bands = [r for r in rows if r["layer"] == "sos20" and r["south"] is not None]
    assert [row["south"] for row in bands] == sorted(row["south"] for row in bands)
    assert bands[0]["median"] == 137.5  # the southernmost: rows 36 to 39
    assert bands[-1]["median"] == 101.5  # the northernmost: rows 0 to 3


def test_codes_of_one_name_are_one_crop(tmp_path):
    layers = make_layers(sos20=np.full((4, 5), 90))
    crop = make_crop(layers, np.repeat([[1], [2], [2], [0]], 5, axis=1), (1, 2), "maize maize")
    summary, _ = write(tmp_path, layers, crop)
    assert {name: crop["pixels"] for name, crop in summary["maps"]["curve"]["crops"].items()} == {
        "maize": 15
    }


def test_a_single_flag_value_may_be_a_scalar(tmp_path):
    """NetCDF gives back an attribute of one number without its list."""
    layers = make_layers()
    crop = make_crop(layers, np.ones((4, 5)))
    crop.attrs = {"flag_values": np.uint16(1), "flag_meanings": "maize"}
    assert list(write(tmp_path, layers, crop)[0]["maps"]["curve"]["crops"]) == ["maize"]


def test_without_crop_types_there_are_no_crops(tmp_path):
    assert write(tmp_path, make_layers())[0]["maps"]["curve"]["crops"] == {}


@pytest.mark.slow
def test_the_same_map_gives_the_same_files(tmp_path):
    layers = make_layers(sos20=np.arange(20).reshape(4, 5))
    out = tmp_path / "map.part"
    out.mkdir()
    product_writer.write_products({"curve": layers}, out, INFO)
    first = {name: (out / name).read_bytes() for name in os.listdir(out)}
    product_writer.write_products({"curve": layers}, out, INFO)  # a second time, over the first
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == first


# --- STAC -------------------------------------------------------------------------------------


def test_stac_item(big):
    out = big[2]
    item = pystac.Item.from_file(str(out / "item.json"))
    assert item.id == "test-r-gion-2018-curve"
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2018-01-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2018-12-31T23:59:59Z"
    assert item.properties["proj:code"] == "EPSG:32631"
    assert item.properties["proj:shape"] == [700, 1300]
    assert item.properties["proj:transform"] == [10, 0, 500000, 0, -10, 5607000]
    assert item.properties["processing:software"] == {"deepcrop": __version__}
    assert item.properties["deepcrop:simulated"] is True
    raw = json.loads((out / "item.json").read_text(encoding="utf-8"))
    assert {link["href"] for link in raw["links"]} == {"./collection.json"}
    assert {asset["href"] for asset in raw["assets"].values()} == {
        f"./{name}" for name in os.listdir(out) if name not in ("item.json", "collection.json")
    }
    band = raw["assets"]["sos20"]["bands"][0]
    assert (band["data_type"], band["nodata"]) == ("int16", NO_DAY)
    assert band["unit"] == "days since 2018-01-01"
    assert raw["assets"]["n_obs_optical"]["bands"][0]["nodata"] == NO_COUNT
    assert "nodata" not in raw["assets"]["qflag"]["bands"][0]
    assert raw["assets"]["sos20"]["type"] == pystac.MediaType.COG


@pytest.mark.slow
def test_crop_types_without_names_have_no_classes(tmp_path):
    layers = make_layers()
    crop = make_crop(layers, np.ones((4, 5)))
    crop.attrs = {}
    _, out = write(tmp_path, layers, crop)
    asset = json.loads((out / "item.json").read_text(encoding="utf-8"))["assets"]["crop_type"]
    assert "classification:classes" not in asset


def test_stac_geometry(big):
    layers, _, out, _ = big
    raw = json.loads((out / "item.json").read_text(encoding="utf-8"))
    ring = np.array(raw["geometry"]["coordinates"][0])
    assert ring.shape == (81, 2)
    assert ring[0].tolist() == ring[-1].tolist()
    assert raw["bbox"] == [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]
    x, y = ring.T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # counter-clockwise
    # The grid starts on its zone's central meridian, 3 degrees east.
    assert raw["bbox"][0] == pytest.approx(3, abs=1e-6)
    box = grid.grid_of(layers)
    middle = ring[:-1].mean(axis=0)
    for point in ring[:-1]:  # the outline is the grid's edge, to a few metres
        step = (point - middle) * 1e-3
        grid.cell_of(box, *(point - step))
        with pytest.raises(DeepCropError, match="outside"):
            grid.cell_of(box, *(point + step))


def test_stac_item_follows_the_core_schema(big):
    """Extension schemas live on the web; the core one comes with pystac."""
    pytest.importorskip("jsonschema")
    raw = json.loads((big[2] / "item.json").read_text(encoding="utf-8"))
    raw["stac_extensions"] = []
    assert pystac.Item.from_dict(raw).validate()


# --- the network's layers ---------------------------------------------------------------------


def network_layers(rows=2, cols=4, **values) -> xr.Dataset:
    """Layers of a map by the network, empty but for those given."""
    data = {}
    for layer in describe("deepcrop", 2018):
        array = values.get(layer.name, np.full((rows, cols), layer.nodata or 0))
        data[layer.name] = (("y", "x"), np.asarray(array).astype(layer.dtype))
    bounds = (500000, 5600000, 500000 + 10 * cols, 5600000 + 10 * rows)
    return grid.assign_grid(xr.Dataset(data), grid.make_grid(bounds, "EPSG:32631"))


def write_network(tmp_path, layers):
    out = tmp_path / "map.part"
    out.mkdir()
    return product_writer.write_products({"deepcrop": layers}, out, INFO), out


@pytest.mark.slow
def test_the_networks_layers_with_their_pictures(tmp_path):
    percent = np.array([[0, 50, 50, 100], [255, 255, 255, 98]])
    summary, out = write_network(tmp_path, network_layers(sos20_probability=percent))
    described = describe("deepcrop", 2018)
    expected = {f"{layer.name}.{kind}" for layer in described for kind in ("tif", "qml")}
    expected |= {f"{layer.name}.png" for layer in described if layer.kind in PICTURED}
    expected |= {"summary.json", "landscape.json", "landscape.csv", "map.qgs"}
    assert set(os.listdir(out)) > expected
    item = json.loads((out / "item.json").read_text(encoding="utf-8"))
    assert {asset["href"] for asset in item["assets"].values()} == {
        f"./{name}" for name in expected
    }
    assert item["assets"]["sos20_probability"]["bands"][0]["nodata"] == 255
    assert item["assets"]["sos20_low"]["title"].endswith("season 1: 5 % quantile of the date")
    with rasterio.open(out / "sos20_probability.tif") as dataset:
        assert (dataset.nodata, dataset.units) == (255, ("%",))
        np.testing.assert_array_equal(dataset.read(1), percent)
        assert float(dataset.tags(1)["STATISTICS_MEAN"]) == pytest.approx(59.6)
    found = summary["maps"]["deepcrop"]["probabilities"]
    assert found["sos20_probability"] == {"known": 5, "mean": 59.6, "median": 50}
    assert found["peak_probability"] == {"known": 0, "mean": None, "median": None}


@pytest.mark.slow
def test_dates_out_of_order_by_hand(tmp_path):
    no = NO_DAY
    layers = network_layers(
        sos20=[[10, 30, 10, no], [10, no, 10, 10]],
        sos50=[[20, 20, 20, no], [10, 40, 10, no]],
        peak=[[30, no, 30, 7], [10, no, 10, no]],
        eos50=[[40, no, 25, no], [10, 41, 10, 12]],
        eos20=[[50, no, 50, no], [10, 39, 9, 11]],
    )
    with mock.patch.object(figures, "save"):
        summary, _ = write_network(tmp_path, layers)
    # In order: the first and the fifth; the fourth has a single date.
    assert summary["maps"]["deepcrop"]["out_of_order"] == {
        "season1": {"pixels": 7, "share": pytest.approx(5 / 7, abs=1e-6)},
        "season2": {"pixels": 0, "share": None},
    }
    (tmp_path / "curve").mkdir()
    assert "out_of_order" not in write(tmp_path / "curve", make_layers())[0]


def test_values_that_are_no_percent_are_refused(tmp_path):
    layers = network_layers(sos50_probability=np.full((2, 4), 101))
    with (
        mock.patch.object(figures, "save"),
        pytest.raises(DeepCropError, match="'sos50_probability' holds 101, which is no percent"),
    ):
        write_network(tmp_path, layers)


# --- refusals ---------------------------------------------------------------------------------


def test_a_missing_layer_is_refused(tmp_path):
    with pytest.raises(DeepCropError, match="no layer eos50, n_obs"):
        write(tmp_path, make_layers().drop_vars(["eos50", "n_obs_optical"]))


def test_a_layer_of_another_type_is_refused(tmp_path):
    layers = make_layers()
    layers["sos20"] = layers["sos20"].astype(np.float32)
    with pytest.raises(DeepCropError, match="'sos20' is float32"):
        write(tmp_path, layers)


@pytest.mark.parametrize("day", [-182, 549, -32768, 32766])
def test_values_that_are_no_days_are_refused(tmp_path, day):
    days = np.full((4, 5), 100)
    days[2, 3] = day
    out = tmp_path / "map.part"
    out.mkdir()
    with pytest.raises(DeepCropError, match=f"'eos20' holds {day}, which is no day"):
        product_writer.write_products({"curve": make_layers(eos20=days)}, out, INFO)
    assert not [name for name in os.listdir(out) if name.startswith((".", "eos20."))]


def test_crop_types_of_another_grid_are_refused(tmp_path):
    crop = make_crop(make_layers(4, 6), np.ones((4, 6)))
    with pytest.raises(DeepCropError, match="another grid"):
        write(tmp_path, make_layers(4, 5), crop)


def test_crop_types_without_names_are_refused(tmp_path):
    layers = make_layers()
    with pytest.raises(DeepCropError, match="3 'flag_values' but 2 'flag_meanings'"):
        write(tmp_path, layers, make_crop(layers, np.ones((4, 5)), meanings="unknown maize"))
