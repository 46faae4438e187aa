"""Draw dates of the same stages side by side: the truth and the maps of several methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize

from deepcrop.figures.page import Page
from deepcrop.figures.style import (
    GREY,
    INSET,
    THIN,
    date_colours,
    date_range,
    date_strip,
    known_days,
    show,
)
from deepcrop.stages import TITLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_GAP = 0.2  # inches between panels
_CAPTION = 0.25  # inches above a panel
_LINE = 0.17  # inches: a line of text below a panel
_STRIP = 0.62  # inches: colour bar with its dates
_HEADING = 0.28  # inches: name of the stage, above its row


@dataclass(frozen=True)
class Panel:
    """One map of a row.

    Attributes
    ----------
    name : str
        Written above the map.
    days : ndarray, 2-D
        Day numbers; NaN (float) or 32767 (int16) where there is no date.
    notes : sequence of str
        Lines written below the map.
    """

    name: str
    days: NDArray[Any]
    notes: Sequence[str] = ()


def stage_panels(
    rows: Mapping[str, Sequence[Panel]],
    *,
    year: int,
    resolution: float,
    heading: str,
    title: str,
    simulated: bool,
) -> Figure:
    """Draw a row of maps for each stage; equal colours in a row are equal dates.

    Parameters
    ----------
    rows : mapping of str to sequence of Panel
        The maps of each stage, all on one grid; as many in each row.
    year : int
        Year the day numbers refer to.
    resolution : float
        Side of a pixel of the maps, metres; after decimation if there was any.
    heading : str
        Heading of the figure.
    title : str
        Name of the region, and any text for the line below the heading.
    simulated : bool
        Whether anything in the maps is simulated; the figure then says so.
    """
    shapes = {panel.days.shape for panels in rows.values() for panel in panels}
    if len(shapes) != 1 or len({len(panels) for panels in rows.values()}) != 1:
        raise ValueError(f"Expected rows of equal length with maps of one shape; found {shapes}.")
    (height_px, width_px), number = shapes.pop(), len(next(iter(rows.values())))
    width = min(2.6, 3.6 * width_px / height_px)
    height = max(width * height_px / width_px, THIN)
    width = max(width, 1.9)  # room for the notes below a narrow map
    across = number * width + (number - 1) * _GAP
    lines = max(len(panel.notes) for panels in rows.values() for panel in panels)
    step = _HEADING + _CAPTION + height + lines * _LINE + _STRIP
    page = Page(across, len(rows) * step, 0.3, heading, title, simulated)
    for row, (stage, panels) in enumerate(rows.items()):
        top = page.top - row * step
        words = TITLES[stage]
        page.text(page.left, top - 0.12, f"{stage.upper()}: {words}", size=9.5, weight="bold")
        bottom = top - _HEADING - _CAPTION - height
        days = [known_days(panel.days) for panel in panels]
        dated = np.concatenate([values[np.isfinite(values)] for values in days])
        first, last = date_range(dated, year) if dated.size else (0, 365)
        cmap = date_colours(stage)
        for column, (panel, values) in enumerate(zip(panels, days, strict=True)):
            left = page.left + column * (width + _GAP)
            page.text(left, bottom + height + 0.11, panel.name, size=9)
            axes = page.axes(left, bottom, width, height)
            show(axes, values, cmap, Normalize(first, last))
            axes.set_aspect("equal", anchor="W")
            for k, note in enumerate(panel.notes):
                page.text(left, bottom - (k + 0.6) * _LINE, note, size=7.5)
        if dated.size:
            strip = bottom - lines * _LINE - 0.24
            bar = page.axes(page.left + INSET, strip, across - 2 * INSET, 0.13)
            date_strip(bar, dated, first, last, year, cmap, upright=True)
    shown = min(width, height * width_px / height_px)  # of a tall region, part of its column
    page.scale_bar(page.left, page.bottom, resolution * width_px / shown, 1.4)
    words = "no date"
    page.text(page.left + across, page.bottom + 0.06, words, size=8, ha="right")
    page.patch(page.left + across - 0.75, page.bottom - 0.01, 0.2, 0.14, GREY)
    return page.figure
