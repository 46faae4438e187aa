"""The QGIS project of a map, ``map.qgs``: its layers in groups, with their styles and dates.

The stack of maps of several years has one, too. Written without QGIS. Paths are relative, so that
the project moves with its folder; each layer has the renderer of its ``.qml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from pyproj import CRS

from deepcrop._version import __version__
from deepcrop.products.cog import crs_name
from deepcrop.products.layers import DIFFERENCE, PARTS
from deepcrop.stages import TargetYear, season_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from deepcrop.products.layers import Layer

PROJECT = "map.qgs"
"""Name of the project in the directory of a map."""

_METHODS = {
    "curve": "Curve",
    "deepcrop": "Network (deepcrop)",
    DIFFERENCE: "Difference, network less curve",
    None: "Crop types",
}
_SUBGROUPS = {
    "probability": "Probabilities",
    "status": "Observed or forecast",
    "reason": "Reasons for missing dates",
}
"""Names of the groups of what is said of dates, other than their intervals."""

_VERSION = "3.22.0"
"""Oldest QGIS that the project was opened with."""


def write_project(
    out: Path,
    rasters: Sequence[tuple[str, str | None, Layer]],
    box: GeoBox,
    title: str,
    target: TargetYear,
    simulated: bool,
) -> None:
    """Write ``map.qgs``.

    Parameters
    ----------
    out : Path
        Directory of the map, in which each layer and its style lie already.
    rasters : sequence of (key, method, Layer)
        Path of each raster without ``.tif``, its method (None: of no method), its description.
    box : GeoBox
        Grid of the map.
    title : str
        Name of the region.
    target : TargetYear
        Time that QGIS's temporal controller shows the layers in.
    simulated : bool
        Whether the observations were simulated; titles then say so.
    """
    mark = " - SIMULATED DATA" if simulated else ""
    shown = _first_shown(rasters)
    methods = list(dict.fromkeys(method for _, method, _ in rasters))
    # Dates come before what lies in groups of its own; seasons before the layers without one.
    layers = [
        ProjectLayer(
            key,
            (f"{_METHODS[method]}, {target}{mark}", *_subgroup(layer)),
            _name(layer),
            target,
            shown=key == shown,
            # Only the dates of the main season are unfolded: a map has up to 95 layers.
            unfolded=1 + (layer.season == 1),
        )
        for key, method, layer in sorted(rasters, key=lambda one: _place(methods, *one[1:]))
    ]
    _write(out, layers, box, f"{title}, {target}{mark}", mark)


def write_stack_project(
    out: Path,
    rasters: Sequence[tuple[str, str, Layer, TargetYear | None]],
    box: GeoBox,
    title: str,
    simulated: bool,
) -> None:
    """Write ``map.qgs`` of the layers over several years.

    Parameters
    ----------
    out, box, title, simulated
        As in `write_project`; ``title`` names the years, too.
    rasters : sequence of (key, method, Layer, TargetYear or None)
        As in `write_project`; the year of an anomaly, None of a layer over all years.
    """
    mark = " - SIMULATED DATA" if simulated else ""
    shown = [key for key, _, layer, _ in rasters if layer.name.endswith("_mean")]
    shown.sort(key=lambda key: not key.endswith("sos50_mean"))
    layers = []
    for key, method, layer, target in rasters:
        group = f"Anomalies, {target}" if target else "Means"
        if layer.kind == "count":
            group = "Number of years"
        path = (f"{_METHODS[method]}{mark}", group)
        unfolded = 2 if group == "Means" else 1
        layers.append(ProjectLayer(key, path, _name(layer), target, key == shown[0], unfolded))
    groups = list(dict.fromkeys(layer.group for layer in layers))
    layers.sort(key=lambda layer: groups.index(layer.group))
    _write(out, layers, box, f"{title}{mark}", mark)


@dataclass(frozen=True)
class ProjectLayer:
    """A raster of a project.

    Attributes
    ----------
    key : str
        Its path without ``.tif``.
    group : tuple of str
        Names of the groups that it lies in, the outermost first.
    name : str
    target : TargetYear, optional
        Time that QGIS's temporal controller shows it in.
    shown : bool
        Whether it is visible at first.
    unfolded : int
        Number of its groups, the outermost ones, that are unfolded.
    """

    key: str
    group: tuple[str, ...]
    name: str
    target: TargetYear | None
    shown: bool
    unfolded: int


def _write(out: Path, rasters: Sequence[ProjectLayer], box: GeoBox, title: str, mark: str) -> None:
    root = ET.Element("qgis", {"projectname": title, "version": _VERSION})
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "projectCrs").append(_reference_system(box))
    tree = ET.SubElement(root, "layer-tree-group")
    canvas = ET.SubElement(root, "mapcanvas", {"name": "theMapCanvas"})
    ET.SubElement(canvas, "units").text = "meters"
    canvas.append(_extent(box))
    ET.SubElement(canvas, "destinationsrs").append(_reference_system(box))
    layers = ET.SubElement(root, "projectlayers")
    groups: dict[tuple[str, ...], ET.Element] = {(): tree}
    for raster in rasters:
        path = raster.group
        for depth in range(1, len(path) + 1):
            if path[:depth] not in groups:
                attributes = {
                    "name": path[depth - 1],
                    "expanded": str(int(depth <= raster.unfolded)),
                    "checked": "Qt::Checked",
                }
                above = groups[path[: depth - 1]]
                groups[path[:depth]] = ET.SubElement(above, "layer-tree-group", attributes)
        name, source = _identifier(raster.key), f"./{raster.key}.tif"
        node = {"id": name, "name": raster.name, "source": source, "providerKey": "gdal"}
        node |= {"checked": "Qt::Checked" if raster.shown else "Qt::Unchecked", "expanded": "0"}
        ET.SubElement(groups[path], "layer-tree-layer", node)
        layers.append(_raster(out, raster, box))
    view = ET.SubElement(root, "ProjectViewSettings", {"UseProjectScales": "0"})
    bounds = zip(("xmin", "ymin", "xmax", "ymax"), box.boundingbox.bbox, strict=True)
    whole = {name: repr(float(value)) for name, value in bounds}
    ET.SubElement(view, "DefaultViewExtent", whole).append(_reference_system(box))
    properties = ET.SubElement(root, "properties")
    for group, name, kind, value in (
        ("Paths", "Absolute", "bool", "false"),
        ("SpatialRefSys", "ProjectionsEnabled", "int", "1"),  # else projectCrs is not read
    ):
        ET.SubElement(ET.SubElement(properties, group), name, {"type": kind}).text = value
    about = ET.SubElement(root, "projectMetadata")
    ET.SubElement(about, "title").text = title
    ET.SubElement(about, "abstract").text = f"Season dates of crops, deepcrop {__version__}{mark}"
    document = ET.ElementTree(root)
    ET.indent(document)
    head = '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n'
    text = ET.tostring(root, encoding="unicode")
    (out / PROJECT).write_text(f"{head}{text}\n", encoding="utf-8")


def _subgroup(layer: Layer) -> tuple[str, ...]:
    """Name the groups below that of the method: season, and what lies beside its dates."""
    if layer.kind == "class":
        return ()
    if layer.season is None:
        return ("Observations and quality",)
    season = season_name(layer.season).capitalize()
    if layer.part:
        return (season, _SUBGROUPS.get(layer.part, "90 % intervals"))
    return (season, "Measures") if layer.kind == "measure" else (season,)


def _place(methods: list[str | None], method: str | None, layer: Layer) -> tuple[int, int, int]:
    """Sort layers by method, season and depth of their group."""
    return methods.index(method), layer.season or 99, len(_subgroup(layer))


def _first_shown(rasters: Sequence[tuple[str, str | None, Layer]]) -> str | None:
    """Choose the one layer that is visible at first: a start of the main season, SOS50 if any."""
    starts = [
        (layer.name != "sos50", k, key)
        for k, (key, _, layer) in enumerate(rasters)
        if layer.kind == "day" and layer.season == 1 and str(layer.stage).startswith("sos")
    ]
    return min(starts)[2] if starts else None


def _name(layer: Layer) -> str:
    """Name a layer by its stage and title; the season is that of its group."""
    title = PARTS[layer.part] if layer.part else layer.title.replace(f", season {layer.season}", "")
    return f"{layer.stage.upper()}: {title}" if layer.stage else title[0].upper() + title[1:]


def _identifier(key: str) -> str:
    # QGIS replaces an identifier of ten characters or fewer, and the tree then lacks the layer.
    return f"deepcrop_layer_{key.replace('/', '_')}"


def _raster(out: Path, layer: ProjectLayer, box: GeoBox) -> ET.Element:
    """Describe one raster: where it lies, its place, its time, its renderer."""
    raster = ET.Element("maplayer", {"type": "raster", "hasScaleBasedVisibilityFlag": "0"})
    raster.append(_extent(box))
    ET.SubElement(raster, "id").text = _identifier(layer.key)
    ET.SubElement(raster, "datasource").text = f"./{layer.key}.tif"
    ET.SubElement(raster, "layername").text = layer.name
    ET.SubElement(raster, "srs").append(_reference_system(box))
    ET.SubElement(raster, "provider").text = "gdal"
    if layer.target is not None:
        time = ET.SubElement(raster, "temporal", {"enabled": "1", "mode": "0", "fetchMode": "0"})
        between = ET.SubElement(time, "fixedRange")
        for name, date, hour in zip(
            ("start", "end"), layer.target.dates, ("00:00:00", "23:59:59"), strict=True
        ):
            ET.SubElement(between, name).text = f"{date}T{hour}Z"
    style = ET.parse(out / f"{layer.key}.qml").getroot()
    raster.extend(style)
    return raster


def _extent(box: GeoBox) -> ET.Element:
    extent = ET.Element("extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box.boundingbox.bbox, strict=True):
        ET.SubElement(extent, name).text = repr(float(value))
    return extent


def _reference_system(box: GeoBox) -> ET.Element:
    name = crs_name(box)
    system = ET.Element("spatialrefsys")
    ET.SubElement(system, "wkt").text = CRS.from_user_input(name).to_wkt()  # QGIS needs it
    if name.startswith("EPSG:"):
        ET.SubElement(system, "authid").text = name
    return system
