"""What a map directory says about itself, read back."""

import json

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
