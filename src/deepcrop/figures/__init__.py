"""Draw figures for papers and reports: maps of dates, counts and differences, time series.

Every function takes arrays and returns a :class:`matplotlib.figure.Figure` without a window or
global state; write it with `save`. Colours are distinguishable for colour-blind readers, axes and
colour bars have calendar dates, and figures of simulated data say so.

Examples
--------
>>> import numpy as np
>>> from deepcrop.figures import stage_map
>>> days = np.full((40, 60), 105.0)  # 16 April
>>> days[:, 30:] = 120.0  # 1 May
>>> figure = stage_map(
...     days, year=2018, stage="sos50", resolution=10.0, simulated=True, title="Two fields"
... )
>>> figure.get_size_inches().round(1).tolist()
[7.4, 7.5]
"""

from deepcrop.figures.maps import count_classes, count_map, stage_map
from deepcrop.figures.panels import Panel, stage_panels
from deepcrop.figures.series import series_figure
from deepcrop.figures.style import LONG_SIDE, date_range, date_ticks, save

__all__ = [
    "LONG_SIDE",
    "Panel",
    "count_classes",
    "count_map",
    "date_range",
    "date_ticks",
    "save",
    "series_figure",
    "stage_map",
    "stage_panels",
]
