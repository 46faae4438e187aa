"""Find the border of a GRD image beyond which its pixels hold no signal.

Products of processors before IPF 2.90 (March 2018) have dark pixels along their edges that are not
0: what is left of the "no value" samples after compression. They are found as proposed by ESA's
Mission Performance Centre (MPC-0243, 2015): from each edge inward, pixels hold no signal as long as
their power lies below the thermal noise. Single pixels of a field are that dark by speckle, so that
the mean over `WINDOW` pixels decides, too. The polarization with the stronger signal over land (VV)
decides for both.

Limit: water at the edge of an image whose signal lies below the noise is masked as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Power = Callable[[slice, slice], NDArray[np.float64]]

REACH = 1000
"""Farthest that a border is looked for, lines or pixels from the edge: 10 km. Borders are a few
hundred wide."""

WINDOW = 16
"""Pixels inward from the border whose mean power must lie above the noise."""

_BLOCK = 1024  # lines or pixels that are searched at once, which limits the memory


@dataclass(frozen=True)
class Border:
    """First and last pixel with a signal, of each line and of each column of pixels."""

    first_pixel: NDArray[np.intp]  # (lines,)
    last_pixel: NDArray[np.intp]
    first_line: NDArray[np.intp]  # (pixels,)
    last_line: NDArray[np.intp]

    def outside(self, lines: NDArray[np.intp], pixels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each pixel of a window lies in the border: (lines, pixels)."""
        row, col = lines[:, None], pixels[None]
        return (
            (col < self.first_pixel[row])
            | (col > self.last_pixel[row])
            | (row < self.first_line[col])
            | (row > self.last_line[col])
        )


def find_border(
    power: Power, shape: tuple[int, int], rows: slice | None = None, cols: slice | None = None
) -> Border:
    """Find the border of an image, or as much of it as lies in a window.

    Parameters
    ----------
    power : callable
        Reads a window, ``power(rows, cols)``: the power less the thermal noise, in any unit; NaN
        where there is no data.
    shape : tuple of int
        Lines and pixels of the image.
    rows, cols : slice, optional
        The window, by default the whole image. Only edges near it are read.
    """
    lines, pixels = shape
    rows, cols = rows or slice(0, lines), cols or slice(0, pixels)
    deep, wide = (min(REACH + WINDOW, size) for size in shape)

    def search(
        strip: Callable[[slice], NDArray[np.float64]], count: int, along: slice, near: bool
    ) -> NDArray[np.intp]:
        """Width of the border of each of ``count`` rows; 0 where it does not matter."""
        widths = np.zeros(count, np.intp)
        for start in range(along.start, along.stop if near else along.start, _BLOCK):
            block = slice(start, min(start + _BLOCK, along.stop))
            widths[block] = border_widths(strip(block))
        return widths

    return Border(
        search(lambda block: power(block, slice(0, wide)), lines, rows, cols.start < REACH),
        pixels
        - 1
        - search(
            lambda block: power(block, slice(pixels - wide, pixels))[:, ::-1],
            lines, rows, cols.stop > pixels - REACH,
        ),
        search(lambda block: power(slice(0, deep), block).T, pixels, cols, rows.start < REACH),
        lines
        - 1
        - search(
            lambda block: power(slice(lines - deep, lines), block)[::-1].T,
            pixels, cols, rows.stop > lines - REACH,
        ),
    )  # fmt: skip


def border_widths(power: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count the pixels of the border of each row.

    Parameters
    ----------
    power : ndarray (rows, pixels)
        Power less noise, from the edge of the image inward; NaN where there is no data.

    Returns
    -------
    ndarray of int (rows,)
        Pixels before the first one above the noise from which on the mean over `WINDOW` pixels lies
        above it, too; all that were searched where there is none.

    Examples
    --------
    >>> border_widths(np.array([[-1.0] * 3 + [2.0] * 20, [-1.0] * 23]))
    array([3, 8])
    """
    known = np.nan_to_num(power, nan=0.0)
    total = np.cumsum(np.pad(known, ((0, 0), (1, 0))), axis=1)
    window = min(WINDOW, known.shape[1])
    inward = total[:, window:] - total[:, :-window]  # sum of the window that begins at each pixel
    searched = inward.shape[1]
    signal = (known[:, :searched] > 0) & (inward > 0)
    widths: NDArray[np.intp] = np.where(signal.any(axis=1), signal.argmax(axis=1), searched)
    return widths
