"""Draw docs/assets/qgis.png: the project of a map as QGIS itself shows it, with its legend.

Run with a Python that has QGIS (Debian: python3-qgis); nothing of deepcrop is imported.

    deepcrop simulate region.zarr --size 260x320
    deepcrop map region.zarr --year 2018 --out maps
    python3 benchmarks/qgis_picture.py maps/map.qgs docs/assets/qgis.png
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsLayerTreeGroup,
    QgsLayerTreeLayer,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsPrintLayout,
    QgsProject,
)

project_path, picture = sys.argv[1:]
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
if not project.read(project_path):
    sys.exit(project.error())
layout = QgsPrintLayout(project)
layout.initializeDefaults()
layout.pageCollection().page(0).setPageSize(QgsLayoutSize(245, 150))


def place(item, left, top, width, height):
    layout.addLayoutItem(item)
    item.attemptMove(QgsLayoutPoint(left, top))
    item.attemptResize(QgsLayoutSize(width, height))


title = QgsLayoutItemLabel(layout)
title.setText(project.title())
place(title, 5, 4, 230, 8)
shown = project.layerTreeRoot().checkedLayers()
canvas = QgsLayoutItemMap(layout)
place(canvas, 5, 14, 107, 131)
canvas.setLayers(shown)
canvas.setCrs(project.crs())
canvas.setKeepLayerSet(True)
canvas.setExtent(project.viewSettings().defaultViewExtent())
legend = QgsLayoutItemLegend(layout)
legend.setLinkedMap(canvas)
legend.setLegendFilterByMapEnabled(True)
legend.setAutoUpdateModel(False)


def prune(group):
    """Leave only what is shown in the legend."""
    for node in list(group.children()):
        if isinstance(node, QgsLayerTreeGroup):
            prune(node)
        empty = isinstance(node, QgsLayerTreeGroup) and not node.children()
        hidden = isinstance(node, QgsLayerTreeLayer) and node.layer() not in shown
        if empty or hidden:
            group.removeChildNode(node)


prune(legend.model().rootGroup())
place(legend, 116, 14, 125, 131)
settings = QgsLayoutExporter.ImageExportSettings()
settings.dpi = 110
QgsLayoutExporter(layout).exportToImage(picture, settings)
