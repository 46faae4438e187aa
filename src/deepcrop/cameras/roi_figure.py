"""Draw a camera's image with its region of interest, beside the region's greenness (Fig. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from deepcrop.figures.page import INK, WARNING, Page
from deepcrop.figures.style import GRID, SERIES_COLOURS
from deepcrop.sources.phenocam.roi_masks import mask_at, read_masks
from deepcrop.sources.phenocam.summary_files import read_series

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.sources.phenocam.image_greenness import ImageRun

_WIDTH = 7.4  # inches of a page
_IMAGE = 3.3  # inches of the image


def roi_figure(run: ImageRun, mask: Path) -> Figure:
    """Draw the greenest image of a camera with its region, and the region's GCC.

    Parameters
    ----------
    run : ImageRun
        Result of `deepcrop.sources.phenocam.image_greenness.summarize_folder`.
    mask : Path
        The mask, or list of masks, that it was made with.
    """
    counted = [image for image in run.images if not image.fault]
    greenest = max(counted, key=lambda image: image.gcc)
    valid = mask_at(read_masks(mask), greenest.time)
    assert valid is not None  # an image without a mask does not count
    series = read_series(run.series)
    with Image.open(greenest.path) as picture:
        pixels = np.asarray(picture.reduce(max(picture.width // 1200, 1)))
    rows, cols = valid.inside.shape
    height = max(_IMAGE * rows / cols, 1.2)
    title = f"{len(counted)} of {len(run.images)} images count; image of {greenest.time}"
    page = Page(_WIDTH, height, 0.4, series.name, title, simulated=False)
    left = page.axes(page.left, page.top - height, _IMAGE, height)
    left.imshow(pixels, extent=(0, cols, rows, 0), aspect="auto")
    # The outline runs between pixels inside and outside, also along the edge of the image.
    inside = np.pad(valid.inside, 1).astype(float)
    left.contour(
        np.arange(-0.5, cols + 1), np.arange(-0.5, rows + 1), inside, [0.5], colors=WARNING,
        linewidths=1.2,
    )  # fmt: skip
    left.set(xlim=(0, cols), ylim=(rows, 0))
    right = page.chart(page.left + _IMAGE + 0.65, page.top - height, _WIDTH - _IMAGE - 0.75, height)
    right.grid(color=GRID, linewidth=0.6)
    right.plot(
        [np.datetime64(image.time) for image in counted], [image.gcc for image in counted],
        ls="none", marker=".", ms=2, color=SERIES_COLOURS["camera"], label="images",
    )  # fmt: skip
    right.plot(
        series.date, series.greenness["gcc_90"], ls="none", marker="o", ms=3.5, color=INK,
        label=f"90th percentile of {series.period} days",
    )  # fmt: skip
    right.set_ylabel("GCC", fontsize=8)
    ticks = series.date[np.unique(np.linspace(0, len(series.date) - 1, 5).round().astype(int))]
    right.set_xticks(ticks, ticks.astype(str))
    right.tick_params(axis="x", labelrotation=30)
    right.legend(frameon=False, fontsize=7, loc="best")
    return page.figure
