"""Draw what a comparison rests on: the map of the sites, and the patches of a sample through time.

Numbers in brackets are those of the paper's figures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle

from deepcrop import grid
from deepcrop.figures.page import INK, WARNING, Page
from deepcrop.figures.style import COLORMAPS, GREY, GRID, METHOD_COLOURS
from deepcrop.indices import gcc_of, ndvi_of
from deepcrop.stages import to_dates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.cameras.site_years import CameraYear
    from deepcrop.training.samples import Sample

_WIDTH = 7.4  # inches of a page
_DATES = 8  # of each sensor
_USE_COLOURS = (METHOD_COLOURS["curve"], METHOD_COLOURS["deepcrop"], GREY)


def draw_site_map(
    uses: Mapping[str, Sequence[CameraYear]], tested: str, areas: Mapping[str, GeoBox] | None = None
) -> Figure:
    """Draw sites at their longitude and latitude, by what they are used for (Figs. 1 and 2).

    Parameters
    ----------
    uses : mapping of str to sequence of CameraYear
        Site-years by their use, at most three; a site counts for the first use that it has.
    tested : str
        The use whose sites are named.
    areas : mapping of str to GeoBox, optional
        Areas to outline, by their names.
    """
    outlines = {name: box.geographic_extent.boundingbox for name, box in (areas or {}).items()}
    places: dict[str, tuple[float, float, str]] = {}
    for use, years in uses.items():
        for year in years:
            places.setdefault(year.site, (year.longitude, year.latitude, use))
    corners = [corner for b in outlines.values() for corner in (b[:2], b[2:])]
    lon, lat = (np.array([place[k] for place in (*places.values(), *corners)]) for k in (0, 1))
    pad = 0.05 * max(float(np.ptp(lon)), float(np.ptp(lat)), 1.0)
    west, east = float(lon.min()) - pad, float(lon.max()) + pad
    south, north = float(lat.min()) - pad, float(lat.max()) + pad
    # A degree of longitude is as wide as it is in the middle of the map.
    shape = (north - south) / ((east - west) * math.cos(math.radians((south + north) / 2)))
    width = _WIDTH - 0.6
    body = min(max(width * shape, 2.0), 6.0)
    page = Page(_WIDTH, body, 0.75, "Camera sites", f"{len(places)} PhenoCam sites", False)
    axes = page.chart(page.left + 0.5, page.top - body, width, body)
    axes.set(xlim=(west, east), ylim=(south, north))
    axes.set_xlabel("longitude, degrees east", fontsize=8)
    axes.set_ylabel("latitude, degrees north", fontsize=8)
    axes.grid(color=GRID, linewidth=0.6)
    handles = []
    for order, (use, colour) in enumerate(zip(uses, _USE_COLOURS, strict=False)):
        chosen = [place for place in places.values() if place[2] == use]
        (marks,) = axes.plot(
            [x for x, *_ in chosen], [y for _, y, _ in chosen], ls="none", marker="o", ms=4.5,
            color=colour, mec=INK, mew=0.4, zorder=9 - order, label=f"{use} ({len(chosen)})",
        )  # fmt: skip
        handles.append(marks)
    for name, (left, bottom, right, top) in outlines.items():
        axes.add_patch(
            Rectangle((left, bottom), right - left, top - bottom, ec=WARNING, fc="none", lw=1.2)
        )
        axes.annotate(
            name, ((left + right) / 2, bottom), (0, -9), textcoords="offset points", fontsize=7,
            ha="center", color=WARNING,
        )  # fmt: skip
    # Names of sites within a degree share a line: they would lie on each other.
    names: dict[tuple[int, int], list[str]] = {}
    for site, (x, y, use) in places.items():
        if use == tested:
            names.setdefault((round(x), round(y)), []).append(site)
    for sites in names.values():
        x, y, _ = places[sites[0]]
        right = x > (west + east) / 2
        axes.annotate(
            ", ".join(sorted(sites)), (x, y), (-5 if right else 5, 4), textcoords="offset points",
            fontsize=7, ha="right" if right else "left",
        )  # fmt: skip
    _legend(page, handles)
    return page.figure


def draw_patches(sample: Sample) -> Figure:
    """Draw the patches of a sample through time: NDVI, GCC, VH and VV (Fig. 5).

    Of each sensor eight dates are drawn, evenly by rank; the cell whose dates are predicted is
    framed. Grey is no data.
    """
    optical, radar = sample.patch.optical, sample.patch.radar
    rows: list[tuple[str, NDArray[np.float32], NDArray[np.float32], str]] = [
        ("NDVI", ndvi_of(optical[:, 3], optical[:, 2]), sample.patch.optical_days, "measure"),
        ("GCC", gcc_of(*(optical[:, band] for band in range(3))), sample.patch.optical_days,
         "measure"),
        ("VH, dB", radar[:, 1], sample.patch.radar_days, "width"),
        ("VV, dB", radar[:, 0], sample.patch.radar_days, "width"),
    ]  # fmt: skip
    rows = [row for row in rows if len(row[2])]
    side, step = 0.74, 1.02
    where = "on the mast" if not sample.moved else f"{sample.moved:.0f} m along the camera's view"
    title = (
        f"18 x 18 pixels of 10 m {where}, {sample.year}; {len(sample.patch.optical_days)} optical "
        f"and {len(sample.patch.radar_days)} radar dates"
    )
    page = Page(
        _WIDTH, step * len(rows), 0.05, f"Patches at {sample.site}", title, sample.simulated
    )
    for number, (name, images, days, kind) in enumerate(rows):
        bottom = page.top - number * step - side
        page.text(page.left, bottom + side / 2, name, weight="bold")
        known = images[np.isfinite(images)]
        low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
        colours = matplotlib.colormaps[COLORMAPS[kind]].with_extremes(bad=GREY)
        for k, index in enumerate(_evenly(len(days))):
            axes = page.axes(page.left + 0.62 + 0.82 * k, bottom, side, side)
            axes.imshow(images[index], cmap=colours, vmin=low, vmax=max(high, low + 1e-6))
            cell = grid.PATCH_CENTRE - 0.5
            axes.add_patch(
                Rectangle((cell, cell), 1, 1, fill=False, edgecolor=WARNING, linewidth=0.8)
            )
            date = str(to_dates(np.array([days[index]]), sample.year)[0])[:10]
            page.text(page.left + 0.62 + 0.82 * k + side / 2, bottom - 0.1, date, 6.5, "center")
        page.text(page.left, bottom + 0.12, f"{low:.2g} to {high:.2g}", size=6.5)
    return page.figure


def _evenly(count: int) -> list[int]:
    """Choose up to `_DATES` of ``count`` dates evenly by rank, with the first and the last."""
    return sorted(set(np.linspace(0, count - 1, min(count, _DATES)).round().astype(int).tolist()))


def _legend(page: Page, handles: Sequence[Line2D]) -> None:
    page.figure.legend(
        handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=8,
        bbox_to_anchor=(page.left / page.width, 0.08 / page.height), borderpad=0,
    )  # fmt: skip
