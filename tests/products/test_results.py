"""What a map directory says about itself, read back."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures

from deepcrop import grid
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.products.results import ResultClass, open_result


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    save_cube(season_cube(), folder / "cube.zarr")
    return map_without_pictures(folder / "cube.zarr", 2018, folder / "maps").path


def test_a_result_says_what_it_is(path):
    result = open_result(path)
    assert (result.year, result.title, result.simulated) == (2018, "made-up fields", False)
    assert result.methods == ("curve",)
    assert result.grid == grid.grid_of(season_cube()["optical"].to_dataset())
    assert result.summary_of("curve")["layers"]["sos50"]["detected"] == 570


def test_layers_are_as_in_their_files(path):
    result = open_result(path)
    assert len(result.layers) > 10
    for layer in result.layers.values():
        with rasterio.open(layer.path) as file:
            assert np.dtype(file.dtypes[0]) == layer.dtype
            assert file.nodata == layer.nodata
            assert file.units == (layer.unit,)
            assert file.descriptions == (layer.title,)
    (second,) = result.find(kind="day", stage="eos20", season=2)
    assert (second.key, second.method, second.part) == ("eos20_season2", "curve", None)


def test_the_qgis_project_has_every_layer(path):
    root = ET.parse(path / "map.qgs").getroot()
    found = {layer.findtext("datasource") for layer in root.iter("maplayer")}
    assert found == {f"./{key}.tif" for key in open_result(path).layers}
    assert root.findtext("title") == "made-up fields, 2018"


def test_crop_types_come_with_the_map(path):
    layer = open_result(path).layers["crop_type"]
    assert (layer.kind, layer.method) == ("class", None)
    assert layer.classes == (ResultClass(0, "unknown"), ResultClass(7, "maize"))
    with rasterio.open(layer.path) as file:
        assert (file.read(1) == 7).all()


def test_what_is_no_map_is_refused(path, tmp_path):
    with pytest.raises(DeepCropError, match="does not exist; expected a directory made by"):
        open_result(tmp_path / "maps")
    (tmp_path / "maps.part").mkdir()
    with pytest.raises(DeepCropError, match="is unfinished"):
        open_result(tmp_path / "maps")
    (tmp_path / "maps").mkdir()
    with pytest.raises(DeepCropError, match=r"has no item\.json"):
        open_result(tmp_path / "maps")
    item = json.loads((path / "item.json").read_text())
    del item["properties"]["deepcrop:methods"]
    (tmp_path / "maps" / "item.json").write_text(json.dumps(item))
    (tmp_path / "maps" / "summary.json").write_text((path / "summary.json").read_text())
    with pytest.raises(DeepCropError, match=r"deepcrop:methods is 'None'"):
        open_result(tmp_path / "maps")
    (tmp_path / "maps" / "item.json").write_text((path / "item.json").read_text())
    (tmp_path / "maps" / "summary.json").write_text("{")
    with pytest.raises(DeepCropError, match=r"summary\.json is damaged"):
        open_result(tmp_path / "maps")


@pytest.mark.parametrize(
    ("file", "place", "value", "words"),
    [
        ("summary.json", "grid.crs", {"x": "EPSG:32615"}, r"summary.json is damaged.*grid.crs"),
        ("summary.json", "grid.crs", "EPSG:0", "no reference system"),
        ("summary.json", "grid.shape", [0, 60], "grid.shape.0"),
        ("summary.json", "grid.resolution", 0, "grid.resolution"),
        ("summary.json", "source.optical", ["a"], "source.optical"),
        ("summary.json", "maps.curve.layers.sos50", ..., "lacks the numbers of curve sos50"),
        ("summary.json", "maps.curve.layers.sos50.detected_share", 7, "detected_share is '7'"),
        ("summary.json", "maps.curve.layers.sos50.median_date", "2018-13-45", "median_date"),
        ("summary.json", "year", "2018", "year is '2018'"),
        ("summary.json", "scenes.optical_usable", ..., "scenes.optical_usable"),
        ("summary.json", "title", "\ud800", "surrogates"),
        ("item.json", "assets.sos50.href", "../../etc/passwd", "inside the map directory"),
        ("item.json", "assets.sos50.href", "/etc/passwd", "inside the map directory"),
        ("item.json", "assets.sos50.deepcrop:part", "lower", r"assets.sos50.deepcrop:part"),
        ("item.json", "assets.sos50.deepcrop:kind", "x", r"assets.sos50.deepcrop:kind"),
        ("item.json", "assets.sos50.bands", [], r"assets.sos50.bands"),
        ("item.json", "assets.sos50.bands.0.data_type", "O", "expected one of uint8"),
        ("item.json", "properties.deepcrop:simulated", 3, "true or false"),
        ("item.json", "assets.sos50.roles", True, "assets.sos50.roles is 'True'"),
        ("summary.json", "maps.curve.layers.sos50.p05_date", ..., "p05_date"),
        ("item.json", "assets", None, "assets is 'None'"),
    ],
)
def test_damage_is_named_by_file_and_key(path, tmp_path, file, place, value, words):
    for name in ("item.json", "summary.json"):
        (tmp_path / name).write_text((path / name).read_text())
    content = json.loads((tmp_path / file).read_text())
    *above, key = place.split(".")
    part = content
    for name in above:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is ...:
        del part[key]
    else:
        part[key] = value
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(DeepCropError, match=words):
        open_result(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "3", "[" * 100_000, '{"a":' * 99 + "1" + "}" * 99])
def test_what_is_no_description_is_damaged(path, tmp_path, content):
    (tmp_path / "item.json").write_text(content)
    (tmp_path / "summary.json").write_text((path / "summary.json").read_text())
    with pytest.raises(DeepCropError, match=r"item\.json is damaged"):
        open_result(tmp_path)


def test_an_end_of_an_interval_says_which_end_it_is(path, tmp_path):
    item = json.loads((path / "item.json").read_text())
    del item["assets"]["sos50_high"]["deepcrop:part"]
    (tmp_path / "item.json").write_text(json.dumps(item))
    (tmp_path / "summary.json").write_text((path / "summary.json").read_text())
    with pytest.raises(DeepCropError, match=r"item\.json .*assets\.sos50_high\.deepcrop:part"):
        open_result(tmp_path)
    item["assets"]["sos50_high"]["deepcrop:part"] = None
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(DeepCropError, match="the ends of an interval"):
        open_result(tmp_path)
