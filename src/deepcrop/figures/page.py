"""Lay out a figure in inches: heading, body, legend, text, keys, scale bar."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

DPI = 200
EDGE = 0.2
"""Margin of a page, inches."""
INK = "#222222"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WARNING = "#a50f15"


class Page:
    """A page in inches: heading at the top, a body, space for a legend at the bottom."""

    def __init__(
        self, width: float, body: float, foot: float, heading: str, title: str, simulated: bool
    ) -> None:
        # Lines are wrapped at a safe number of characters per inch of the bundled font.
        lines = textwrap.wrap(heading, max(int(width * 9.2), 12))
        small = textwrap.wrap(title, max(int(width * 12), 16))
        head = 0.24 * len(lines) + 0.18 * len(small) + (0.34 if simulated else 0.1)
        self.left, self.bottom = EDGE, EDGE
        self.top = EDGE + foot + body
        self.width, self.height = width + 2 * EDGE, self.top + head + EDGE
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI)
        # Text and keys are drawn in one set of axes over the whole page, in inches.
        self._paper = self.figure.add_axes(
            (0, 0, 1, 1), xlim=(0, self.width), ylim=(0, self.height)
        )
        self._paper.set_axis_off()
        y = self.top + head
        for line in lines:
            self.text(self.left, y - 0.12, line, size=11, weight="bold")
            y -= 0.24
        for line in small:
            self.text(self.left, y - 0.09, line, size=8.5)
            y -= 0.18
        if simulated:
            self._paper.text(
                self.left + 0.03,
                y - 0.14,
                "SIMULATED DATA",
                fontsize=8,
                fontweight="bold",
                color="white",
                va="center",
                bbox={"boxstyle": "square,pad=0.25", "facecolor": WARNING, "edgecolor": "none"},
            )

    def place(
        self, left: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Convert a rectangle from inches to fractions of the figure."""
        return left / self.width, bottom / self.height, width / self.width, height / self.height

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes without ticks."""
        axes = self.figure.add_axes(self.place(left, bottom, width, height))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(linewidth=0.6, color=INK)
        return axes

    def chart(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes with ticks, without lines at the top and on the right."""
        axes = self.figure.add_axes(self.place(left, bottom, width, height))
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set(linewidth=0.6, color=INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(labelsize=7, color=INK, labelcolor=INK, width=0.6)
        return axes

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 8,
        ha: str = "left",
        va: str = "center",
        weight: str = "normal",
        colour: str = INK,
    ) -> None:
        """Write text; dollar signs are not taken for formulas."""
        self._paper.text(
            x,
            y,
            words,
            fontsize=size,
            horizontalalignment=ha,
            verticalalignment=va,
            fontweight=weight,
            color=colour,
            parse_math=False,
        )

    def patch(self, left: float, bottom: float, width: float, height: float, colour: str) -> None:
        """Draw a filled rectangle with a thin frame."""
        self._paper.add_patch(
            Rectangle((left, bottom), width, height, facecolor=colour, edgecolor=INK, linewidth=0.5)
        )

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: str = INK) -> None:
        """Draw a thin line."""
        self._paper.plot(xs, ys, color=colour, linewidth=0.6, scalex=False, scaley=False)

    def scale_bar(self, left: float, bottom: float, metres_per_inch: float, longest: float) -> None:
        """Draw a scale bar of round length, at most ``longest`` inches, labelled above."""
        length = scale_length(longest * metres_per_inch)
        width = length / metres_per_inch
        self.patch(left, bottom, width / 2, 0.06, INK)
        self.patch(left + width / 2, bottom, width / 2, 0.06, "white")
        words = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
        self.text(left, bottom + 0.15, "0", ha="left", size=7.5)
        self.text(left + width, bottom + 0.15, words, ha="center", size=7.5)


def scale_length(longest: float) -> float:
    """Return the largest round length (1, 2 or 5 times 10^n) up to ``longest``."""
    power = 10.0 ** math.floor(math.log10(longest))
    return next(factor * power for factor in (5, 2, 1) if factor * power <= longest * (1 + 1e-9))


def spread(places: Sequence[float], width: float, low: float, high: float) -> NDArray[np.float64]:
    """Move sorted places as little as needed to be ``width`` apart, within limits."""
    moved = np.array(places, dtype=float)
    for _ in range(200):  # neighbours push each other apart; converges in fewer steps
        for i in range(moved.size - 1):
            overlap = max(width - (moved[i + 1] - moved[i]), 0)
            moved[i : i + 2] += -overlap / 2, overlap / 2
        moved = np.clip(moved, low, high)
    return moved
