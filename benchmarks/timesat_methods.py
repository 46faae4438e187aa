"""List the fitting methods of TIMESAT 4, and whether one of them is a moving window.

    python -m venv timesat && timesat/bin/pip install timesat==4.4.1 "numpy>=2,<3"
    timesat/bin/python benchmarks/timesat_methods.py

TIMESAT is proprietary: it is installed into an environment of its own and called; nothing of it is
copied. A Savitzky-Golay filter fits a polynomial within a window, so changing one value of a series
moves the curve within that window only. Here one value of a made-up series of three years is
raised, and the number of values is counted at which the curve of each method moves, with three
settings of its smoothing parameter.
"""

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from timesat import tsfprocess

CLASSES = 255
STEP = 5  # days
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 10)
SMOOTH = (100.0, 1000.0, 10000.0)
NO_DATA = -9999.0
RAISED = 60  # the value that is raised, and by how much
BY = 0.05


def fitted(
    values: NDArray[np.float64], days: NDArray[np.int64], method: int, smooth: float
) -> NDArray[np.float32]:
    """Return the curve that TIMESAT fits to a series by the method of this number."""

    def each(value: float, kind: type) -> NDArray:
        return np.full(CLASSES, value, kind)

    series = np.asfortranarray(values.reshape(1, 1, -1), np.float32)
    return tsfprocess(
        nyr=3,
        vi=series,
        qa=np.ones_like(series),
        td=((2021 + days // 365) * 1000 + days % 365 + 1).astype(np.int32),
        lc=np.ones((1, 1), np.int32, order="F"),
        p_nclasses=1,
        landuse=each(1, np.int32),
        p_outindex=np.arange(1, 1096, STEP, dtype=np.int32),
        p_ignoreday=366,
        p_ylu=np.array([-0.2, 1.2]),
        p_printflag=0,
        p_fitmethod=each(method, np.int32),
        p_smooth=each(smooth, np.float64),
        p_nodata=NO_DATA,
        p_davailwin=45,
        p_outlier=0,
        p_nenvi=each(1, np.int32),
        p_wfactnum=each(1.0, np.float64),
        p_startmethod=each(1, np.int32),
        p_startcutoff=np.full((CLASSES, 2), 0.2, np.float64, order="F"),
        p_lpbase=each(0.0, np.float64),
        p_fillbase=each(0, np.int32),
        p_hrvppformat=0,
        p_seasonmethod=each(2, np.int32),
        p_seapar=each(0.0, np.float64),
        p_lowrangemode=each(1, np.int32),
        p_highrangemode=each(0, np.int32),
        p_rangedownweight=each(0.5, np.float64),
        outputvariables=1,
    )[3].ravel()


def main() -> None:
    """Print a line for each number."""
    days = np.arange(0, 3 * 365, STEP)
    day = days % 365
    season = 1 / (1 + np.exp(-(day - 130) / 8)) - 1 / (1 + np.exp(-(day - 260) / 10))
    noise = np.random.default_rng(1).normal(0, 0.03, days.size)
    values = 0.15 + 0.6 * season + noise
    raised = values.copy()
    raised[RAISED] += BY
    print(f"TIMESAT {version('timesat')}; one of {days.size} values raised by {BY}")
    for method in NUMBERS:
        for smooth in SMOOTH:
            curve = fitted(values, days, method, smooth)
            moved = np.flatnonzero(fitted(raised, days, method, smooth) != curve)
            text = f"moves at {moved.size} values, {moved[0]} to {moved[-1]}" if moved.size else ""
            print(f"method {method}, smoothing {smooth:g}: {text or 'no curve'}")


if __name__ == "__main__":
    main()
