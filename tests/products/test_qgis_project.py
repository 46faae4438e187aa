"""The QGIS project of a map: every layer once, in its group, with its style, place and time."""

import subprocess
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio

from deepcrop import grid
from deepcrop.products import histograms
from deepcrop.products.layers import DIFFERENCE, describe
from deepcrop.products.qgis import write_style
from deepcrop.products.qgis_project import PROJECT, write_project
from deepcrop.stages import TargetYear

BOX = grid.make_grid((500000, 4600000, 500200, 4600100), "EPSG:32615")


def project(folder, box=BOX, methods=("curve", "deepcrop", DIFFERENCE), simulated=True):
    """Styles of all layers of a map, and its project."""
    rasters = []
    for method in methods:
        (folder / method).mkdir()
        for layer in describe(method, 2018):
            key = f"{method}/{layer.name}"
            values = np.zeros((2, 3), layer.dtype)
            counts = histograms.count(layer, values, np.zeros((2, 3), np.intp), 1)
            write_style(folder / f"{key}.qml", layer, 2018, counts[0])
            rasters.append((key, method, layer))
    write_project(folder, rasters, box, "two <fields>", TargetYear(2018), simulated)
    return rasters


def test_every_layer_is_there_once(tmp_path):
    rasters = project(tmp_path)
    root = ET.parse(tmp_path / PROJECT).getroot()
    sources = [f"./{key}.tif" for key, _, _ in rasters]
    layers = root.findall("projectlayers/maplayer")
    assert sorted(layer.findtext("datasource") for layer in layers) == sorted(sources)
    nodes = root.findall(".//layer-tree-layer")
    assert {node.get("id") for node in nodes} == {layer.findtext("id") for layer in layers}
    assert len(nodes) == len(layers) == len({node.get("id") for node in nodes})
    # QGIS makes up another identifier for shorter ones, which the tree does not know.
    assert min(len(node.get("id")) for node in nodes) > 10
    for layer in layers:
        style = ET.parse(tmp_path / f"{layer.findtext('datasource')[2:-4]}.qml").getroot()
        ours, theirs = (one.find(".//rasterrenderer") for one in (layer, style))
        assert ours.get("type") == theirs.get("type")
        assert [item.attrib for item in ours.iter()] == [item.attrib for item in theirs.iter()]


def test_layers_are_grouped_by_method_and_season_and_one_is_shown(tmp_path):
    project(tmp_path)
    tree = ET.parse(tmp_path / PROJECT).getroot().find("layer-tree-group")
    methods = tree.findall("layer-tree-group")
    assert [group.get("name").split(",")[0] for group in methods] == [
        "Curve", "Network (deepcrop)", "Difference",
    ]  # fmt: skip
    assert all(group.get("name").endswith("SIMULATED DATA") for group in methods)
    seasons = [group.get("name") for group in methods[1].findall("layer-tree-group")]
    assert seasons == ["Main season", "Second season", "Observations and quality"]
    main = methods[1].find("layer-tree-group")
    names = [node.get("name").split(":")[0] for node in main.findall("layer-tree-layer")]
    assert names[:5] == ["SOS20", "SOS50", "PEAK", "EOS50", "EOS20"]
    beside = [group.get("name") for group in main.findall("layer-tree-group")]
    assert beside == ["90 % intervals", "Probabilities"]
    shown = [n.get("source") for n in tree.iter("layer-tree-layer") if "Un" not in n.get("checked")]
    assert shown == ["./curve/sos50.tif"]


def test_time_and_place_are_those_of_the_map(tmp_path):
    project(tmp_path, methods=("curve",), simulated=False)
    root = ET.parse(tmp_path / PROJECT).getroot()
    assert root.findtext("title") == "two <fields>, 2018"
    assert root.findtext("mapcanvas/destinationsrs/spatialrefsys/authid") == "EPSG:32615"
    assert float(root.findtext("mapcanvas/extent/xmax")) == 500200
    first = root.find("projectlayers/maplayer")
    assert first.findtext("temporal/fixedRange/start") == "2018-01-01T00:00:00Z"
    assert first.findtext("temporal/fixedRange/end") == "2018-12-31T23:59:59Z"


OPEN = """
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from qgis.core import QgsApplication, QgsProject
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
assert project.read(sys.argv[1]), project.error()
layers = [node.layer() for node in project.layerTreeRoot().findLayers()]
assert all(layer is not None and layer.isValid() for layer in layers)
assert all(layer.crs().toProj() == project.crs().toProj() for layer in layers)
assert all(layer.temporalProperties().isActive() for layer in layers)
shown = project.layerTreeRoot().checkedLayers()
print(len(layers), project.crs().isValid(), [label for label, _ in
      shown[0].renderer().legendSymbologyItems()][0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:32615", "+proj=laea +lat_0=42 +lon_0=-93 +units=m"])
def test_qgis_opens_it(tmp_path, crs):
    python = "/usr/bin/python3"  # QGIS of the system, if any
    try:
        done = subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False)
    except OSError:
        done = None
    if done is None or done.returncode:
        pytest.skip("QGIS is not installed for the system's Python")
    box = grid.make_grid((0, 0, 200, 100), crs)
    rasters = project(tmp_path, box)
    for key, _, layer in rasters:
        profile = {"driver": "GTiff", "width": 20, "height": 10, "count": 1, "crs": crs}
        profile |= {"dtype": layer.dtype.name, "transform": box.affine, "nodata": layer.nodata}
        with rasterio.open(tmp_path / f"{key}.tif", "w", **profile) as file:
            file.write(np.zeros((10, 20), layer.dtype), 1)
    script = tmp_path / "open.py"
    script.write_text(OPEN)
    opened = subprocess.run(
        [python, script, tmp_path / PROJECT], capture_output=True, text=True, check=False, env={}
    )
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.split() == [str(len(rasters)), "True", "2018-01-01"]
