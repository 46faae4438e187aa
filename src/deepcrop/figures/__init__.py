"""Pictures for papers and reports; every function takes what it draws and returns a Figure.

A :class:`matplotlib.figure.Figure` from here belongs to no window and no global state; write it
with `save`. Colours can be told apart by colour-blind readers, axes and colour bars carry calendar
dates, and whatever was simulated says so in the picture.

`maps` draws one map on a page, `series` one time series, `results` the figures of a finished map,
`comparison` those of methods against cameras.
"""

from deepcrop.figures.maps import count_classes, count_map, stage_map, truth_comparison
from deepcrop.figures.series import series_figure
from deepcrop.figures.style import LONG_SIDE, date_range, date_ticks, save

__all__ = [
    "LONG_SIDE",
    "count_classes",
    "count_map",
    "date_range",
    "date_ticks",
    "save",
    "series_figure",
    "stage_map",
    "truth_comparison",
]
