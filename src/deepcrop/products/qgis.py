"""QGIS styles: the ``.qml`` beside a GeoTIFF, which QGIS applies when it opens the layer.

The legend of dates reads in calendar dates, that of crops in their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, to_hex

from deepcrop.figures import count_classes, date_range, date_ticks
from deepcrop.figures.style import date_colours, layer_colours
from deepcrop.products.histograms import first_value, quantile
from deepcrop.products.layers import FLAGS, Layer, codes_of
from deepcrop.stages import to_dates

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

_LABELS = 13
"""Dates of a legend, at most."""
_APART = 30
"""Days at which the colours of a difference end."""


def write_style(
    path: Path,
    layer: Layer,
    year: int,
    histogram: NDArray[Any],
    crops: xr.DataArray | None = None,
    any_year: bool = False,
) -> None:
    """Write the style of one layer.

    Parameters
    ----------
    path : Path
        The ``.qml``, named as the GeoTIFF.
    layer : Layer
    year : int
        Year that day numbers refer to.
    histogram : ndarray of int (bins + 1,)
        Pixels per value, as `deepcrop.products.histograms.count` gives them.
    crops : DataArray, optional
        Crop types, for the names and colours of classes.
    any_year : bool
        Whether dates are of no single year: the legend then names month and day.
    """
    present = np.flatnonzero(histogram[:-1]) + first_value(layer)
    if layer.kind in ("day", "bound") and layer.stage is not None:
        renderer = _dates(layer.stage, first_value(layer), year, histogram, any_year)
    elif layer.kind == "difference":
        ends = np.arange(-_APART, _APART + 1, 10)
        labels = [f"{day:+d} days".replace("-", "−") if day else "no difference" for day in ends]
        labels[0], labels[-1] = f"≤ {labels[0]}", f"≥ {labels[-1]}"
        renderer = _ramp(ends, labels, layer_colours("difference"))
    elif layer.kind == "class" and crops is not None:
        renderer = _classes(present, crops)
    elif codes := codes_of(layer):
        renderer = _palette([(value, *said) for value, said in codes.items() if value in present])
    elif layer.kind == "flags":
        renderer = _flags(present)
    elif layer.kind == "measure":
        # QGIS applies the scale of the file, so that its colours are of values.
        low, high = (
            (quantile(histogram[:-1], share, first_value(layer)) or 0.0) * layer.scale
            for share in (0.02, 0.98)
        )
        values = np.linspace(low, max(high, low + layer.scale), 6)
        labels = [f"{value:.3g} {layer.unit}".removesuffix(" 1") for value in values]
        renderer = _ramp(values, labels, layer_colours("measure"))
    elif layer.kind == "percent":
        ends = np.arange(0, 101, 20)
        renderer = _ramp(ends, [f"{end} %" for end in ends], layer_colours("percent"))
    else:
        low, high = (int(present[0]), int(present[-1])) if present.size else (0, 1)
        edges = np.array(count_classes(low, high)[0])
        labels = [f"{edge} {layer.unit}".removesuffix(" 1") for edge in edges]
        renderer = _ramp(edges, labels, layer_colours("count"))
    root = ET.Element("qgis", {"version": "3.28", "styleCategories": "Symbology"})
    pipe = ET.SubElement(root, "pipe")
    provider = ET.SubElement(pipe, "provider")
    ET.SubElement(provider, "resampling", {"enabled": "false"})
    pipe.append(renderer)
    tree = ET.ElementTree(root)
    ET.indent(tree)
    head = '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n'
    path.write_text(head + ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def date_limits(histogram: NDArray[Any], start: int, year: int) -> tuple[int, int]:
    """Return the days at which the colours of a date end; the histogram counts from ``start``."""
    ends = [quantile(histogram[:-1], share, start) for share in (0.02, 0.98)]
    return date_range(np.array(ends), year) if ends[0] is not None else (0, 365)


def _dates(
    stage: str, start: int, year: int, histogram: NDArray[Any], any_year: bool
) -> ET.Element:
    """Colours of a date, as of its picture: even from the 2nd to the 98th percentile.

    The histogram counts from the day ``start`` on.
    """
    first, last = date_limits(histogram, start, year)
    ticks, _ = date_ticks(first, last, year, _LABELS)
    places = np.unique(np.r_[first, ticks, last]).astype(int)
    labels = [str(date)[5:] if any_year else str(date) for date in to_dates(places, year)]
    return _ramp(places, labels, date_colours(stage))


def _ramp(places: NDArray[Any], labels: list[str], colours: Colormap) -> ET.Element:
    """Colours between places, evenly along the values."""
    low, high = float(places[0]), float(places[-1])
    high = high if high > low else low + 1
    renderer = _renderer("singlebandpseudocolor")
    renderer.set("classificationMin", f"{low:g}")
    renderer.set("classificationMax", f"{high:g}")
    shader = ET.SubElement(ET.SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib |= {
        "colorRampType": "INTERPOLATED",
        "classificationMode": "1",
        "clip": "0",
        "minimumValue": f"{low:g}",
        "maximumValue": f"{high:g}",
    }
    for place, label in zip(places, labels, strict=True):
        colour = to_hex(colours((place - low) / (high - low)))
        item = {"value": f"{place:g}", "label": label, "color": colour, "alpha": "255"}
        ET.SubElement(shader, "item", item)
    # The legend lists dates, not a continuous bar that would show day numbers.
    ET.SubElement(shader, "rampLegendSettings", {"useContinuousLegend": "0"})
    return renderer


def _palette(entries: list[tuple[int, str, str]]) -> ET.Element:
    renderer = _renderer("paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, label, colour in entries:
        item = {"value": str(value), "label": label, "color": colour, "alpha": "255"}
        ET.SubElement(palette, "paletteEntry", item)
    return renderer


def _classes(present: NDArray[Any], crops: xr.DataArray) -> ET.Element:
    values = np.atleast_1d(crops.attrs.get("flag_values", [])).astype(int).tolist()
    names = str(crops.attrs.get("flag_meanings", "")).split()
    colours = str(crops.attrs.get("flag_colors", "")).split()
    if len(colours) != len(values):
        shades = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
        colours = [to_hex(shades[k % len(shades)]) for k in range(len(values))]
    known = {v: (n, c) for v, n, c in zip(values, names, colours, strict=True)}
    return _palette(
        [
            (int(value), known[value][0].replace("_", " "), known[value][1])
            for value in present.tolist()
            if value in known and value != 0
        ]
    )


def _flags(present: NDArray[Any]) -> ET.Element:
    """List the combinations that occur; the darker, the more there is to say."""
    entries = []
    for value in present.tolist():
        words = [text for bit, text in FLAGS.items() if value & bit]
        grave = len(words) / len(FLAGS)
        colour = "#ffffff" if not words else to_hex(matplotlib.colormaps["YlOrRd"](0.2 + grave))
        entries.append((int(value), "; ".join(words) or "nothing to say", colour))
    return _palette(entries)


def _renderer(kind: str) -> ET.Element:
    renderer = ET.Element(
        "rasterrenderer", {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1"}
    )
    ET.SubElement(renderer, "rasterTransparency")
    return renderer
