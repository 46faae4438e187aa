"""Smooth curves by vam.whittaker, called series by series as its interface asks."""

from importlib.metadata import version

import numpy as np
from measure import serve
from vam.whittaker import ws2d, ws2dp


def run(values, days, smoothness, envelope=None, step=5.0):
    """Smoothness in days cubed, the same for any step.

    Envelope: weight of what lies above the curve, 0.5 to 1; None for a symmetric fit.
    """
    grid = np.arange(days[0], days[-1] + step / 2, step)
    cell = np.round((days - days[0]) / step).astype(int)
    penalty = smoothness / step**3
    curves = np.empty((len(values), len(grid)), np.float32)
    for series, curve in zip(values, curves):  # noqa: B905 (of equal length)
        seen = np.isfinite(series)
        y, w = np.zeros(len(grid)), np.zeros(len(grid))
        y[cell[seen]], w[cell[seen]] = series[seen], 1
        if envelope is None:
            curve[:] = ws2d(y, penalty, w)
        else:
            curve[:] = ws2dp(y, penalty, w, envelope)
    return {"curves": curves, "grid": grid.astype(np.float32)}


if __name__ == "__main__":
    serve(run, version("vam.whittaker"))
