"""Maps by both methods: their difference, statistics of the landscape, STAC, styles."""

import csv
import json
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pystac
import pytest
import rasterio
from pystac.extensions.projection import ProjectionExtension
from tests.helpers.maps import map_without_pictures
from tests.helpers.weights_files import tiny, write_weights

from deepcrop import stages
from deepcrop.cube import contract
from deepcrop.mapping.difference import difference_layers
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.products import layers
from deepcrop.products.results import open_result
from deepcrop.simulation import Region, simulate

pytest.importorskip("torch")
NO = stages.NO_DAY


pytestmark = pytest.mark.slow  # the network maps a region for them


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    simulate(Region(rows=40, cols=52, optical_scenes=24, sar_scenes=6), folder / "region.zarr")
    weights = write_weights(folder / "random.safetensors", tiny())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "CHUNK", 32)
        made = map_without_pictures(
            folder / "region.zarr", 2018, folder / "maps", method="both", weights=weights
        )
    return open_result(made.path)


def read(layer):
    with rasterio.open(layer.path) as file:
        return file.read(1)


def test_equal_colours_of_a_date_are_equal_dates_for_both_methods(result):
    for stage in stages.STAGES:
        ranges = {
            ET.parse(result.path / method / f"{stage}.qml")
            .find(".//colorrampshader")
            .attrib["maximumValue"]
            for method in result.methods
        }
        assert len(ranges) == 1


def test_each_method_has_its_folder(result):
    assert result.methods == ("curve", "deepcrop")
    for method in ("curve", "deepcrop", "difference"):
        described = layers.describe(method, 2018)
        assert [layer.key for layer in result.find(method=method)] == [
            f"{method}/{layer.name}" for layer in described
        ]
    assert result.layers["difference/peak"].kind == "difference"
    assert result.layers["curve/qflag"].flags == layers.FLAGS
    assert result.layers["crop_type"].method is None
    names = {"item.json", "collection.json", "summary.json", "landscape.json", "landscape.csv"}
    assert names < {path.name for path in result.path.iterdir()}
    assert not list(result.path.glob("*/*.json"))


def test_differences_are_of_seasons_that_overlap(result):
    def stack(method):
        names = [[layers.layer_name(s, k) for s in layers.CALENDAR] for k in (1, 2)]
        return np.stack([[read(result.layers[f"{method}/{n}"]) for n in row] for row in names])

    curve, ours, apart = (stack(m) for m in ("curve", "deepcrop", "difference"))
    flat = (2, 5, -1)
    beside = match_seasons(ours.reshape(flat), curve.reshape(flat)).reshape(ours.shape)
    known = (ours != NO) & (beside != NO)
    assert known.mean() > 0.05
    np.testing.assert_array_equal(apart != NO, known)
    np.testing.assert_array_equal(apart[known], (ours.astype(int) - beside)[known])


def test_differences_by_hand():
    """The network's second season is the curve's first."""
    shape = (1, 2)
    empty = {
        layers.layer_name(stage, season): np.full(shape, NO, np.int16)
        for stage in layers.CALENDAR
        for season in (1, 2)
    }
    curve = empty | {"sos50": np.array([[100, 100]], np.int16), "eos50": np.array([[200, 200]])}
    ours = empty | {
        "sos50": np.array([[93, 250]], np.int16),
        "eos50": np.array([[205, 300]], np.int16),
        "sos50_season2": np.array([[NO, 90]], np.int16),
        "eos50_season2": np.array([[NO, 210]], np.int16),
    }
    found = difference_layers(curve, ours)
    assert found["sos50"].tolist() == [[-7, NO]]
    assert found["eos50"].tolist() == [[5, NO]]
    assert found["sos50_season2"].tolist() == [[NO, -10]]
    assert found["eos50_season2"].tolist() == [[NO, 10]]


def test_statistics_of_the_landscape(result):
    table = json.loads((result.path / "landscape.json").read_text())
    assert table["simulated"] is True
    rows = table["rows"]
    crops = {c.value: c.name for c in result.layers["crop_type"].classes}
    codes = read(result.layers["crop_type"])
    ours, curve, apart = (
        read(result.layers[f"{m}/sos20"]) for m in ("deepcrop", "curve", "difference")
    )

    def find(**wanted):
        (row,) = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
        return row

    place = {"south": None, "layer": "sos20"}
    for code in np.unique(codes[codes > 0]):
        mine = codes == code
        crop = place | {"crop": crops[code]}
        row = find(pixels_of="all", method="curve", **crop)
        days = curve[mine & (curve != NO)]
        assert (row["pixels"], row["known"]) == (mine.sum(), days.size)
        assert row["median"] == (np.median(days) if days.size else None)
        both = mine & (apart != NO)
        row = find(pixels_of="both", method="deepcrop", **crop)
        assert row["known"] == both.sum()
        if both.any():
            assert row["p75"] == pytest.approx(np.quantile(ours[both], 0.75), abs=0.01)
            other = find(pixels_of="both", method="curve", **crop)
            theirs = ours[both] - apart[both]
            assert other["median"] == np.median(theirs)
    row = find(pixels_of="all", method="difference", crop="all", **place)
    assert row["mean"] == pytest.approx(apart[apart != NO].mean(), abs=0.01)
    bands = [
        r
        for r in rows
        if r["pixels_of"] == "all" and r["method"] == "curve" and r["crop"] == "all"
        and r["south"] is not None and r["layer"] == "sos20"
    ]  # fmt: skip
    assert len(bands) == 10
    assert sum(r["pixels"] for r in bands) == codes.size
    assert all(a["north"] == b["south"] for a, b in pairwise(bands))
    with (result.path / "landscape.csv").open() as file:
        assert file.readline() == "# SIMULATED DATA\n"
        assert len(list(csv.DictReader(file))) == len(rows)


def test_stac_is_valid_offline(result):
    pytest.importorskip("jsonschema")
    for name, kind in (("item.json", pystac.Item), ("collection.json", pystac.Collection)):
        raw = json.loads((result.path / name).read_text())
        kind.from_dict(raw | {"stac_extensions": []}).validate()
    item = pystac.Item.from_file(str(result.path / "item.json"))
    assert item.get_collection().id == item.collection_id
    assert [i.id for i in item.get_collection().get_items()] == [item.id]
    found = ProjectionExtension.ext(item)
    assert (found.code, found.shape) == (f"EPSG:{result.grid.crs.epsg}", [40, 52])
    assert item.properties["processing:level"] == "L3"
    for key, asset in item.assets.items():
        assert (result.path / asset.href).exists(), key
        for band in asset.to_dict().get("bands", []):
            assert band["raster:sampling"] == "area"
            assert band["raster:spatial_resolution"] == 10
    bits = item.assets["curve/qflag"].extra_fields["classification:bitfields"]
    assert [bit["offset"] for bit in bits] == list(range(len(layers.FLAGS)))
    for one in item.assets["crop_type"].extra_fields["classification:classes"]:
        assert set(one) <= {"value", "name", "title", "color_hint"}


def test_every_layer_has_a_style_with_a_legend_of_dates(result):
    for layer in result.layers.values():
        root = ET.parse(layer.path.with_suffix(".qml")).getroot()
        renderer = root.find("pipe/rasterrenderer")
        kind = "paletted" if layer.kind in ("flags", "class") else "singlebandpseudocolor"
        assert renderer.get("type") == kind
        assert renderer.get("band") == "1"
        items = root.findall(".//item") + root.findall(".//paletteEntry")
        assert items, layer.key
        values = [float(item.get("value")) for item in items]
        assert values == sorted(set(values))
        assert all(item.get("color").startswith("#") for item in items)
        if layer.kind in ("day", "bound"):
            dates = stages.to_dates(np.array(values), 2018).astype(str)
            assert [item.get("label") for item in items] == dates.tolist()
    flags = read(result.layers["curve/qflag"])
    root = ET.parse(result.layers["curve/qflag"].path.with_suffix(".qml"))
    entries = {int(e.get("value")): e.get("label") for e in root.iter("paletteEntry")}
    assert set(entries) == set(np.unique(flags).tolist())
    assert entries[max(entries)].count(";") == bin(max(entries)).count("1") - 1


def test_flags_say_what_is_in_the_other_layers(result):
    for method in ("curve", "deepcrop"):
        flags, cycles, optical, gap = (
            read(result.layers[f"{method}/{name}"])
            for name in ("qflag", "n_cycles", "n_obs_optical", "max_gap_optical")
        )
        dates = np.stack([read(layer) for layer in result.find(method, "day", season=1)])
        np.testing.assert_array_equal((flags & 1) > 0, (dates == NO).all(axis=0))
        np.testing.assert_array_equal((flags & 4) > 0, gap >= layers.LONG_GAP)
        np.testing.assert_array_equal((flags & 16) > 0, (cycles > 2) & (cycles != 255))
        assert not (flags & (8 | 64 | 128)).any()
        assert optical.max() <= 24
        length = read(result.layers[f"{method}/length"])
        first, last = (read(result.layers[f"{method}/{name}"]) for name in ("sos20", "eos20"))
        known = (first != NO) & (last != NO)
        np.testing.assert_array_equal(length != NO, known)
        np.testing.assert_array_equal(length[known], (last - first)[known])
    assert read(result.layers["deepcrop/n_cycles"]).max() <= 2
    for name in ("n_obs_optical", "n_obs_sar", "max_gap_optical"):  # of the same year
        curve, ours = (read(result.layers[f"{m}/{name}"]) for m in ("curve", "deepcrop"))
        np.testing.assert_array_equal(curve, ours)
