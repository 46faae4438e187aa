"""Compute the true season dates of a simulated region.

Dates are those of the noise-free daily camera greenness of each pixel, by the definition of the
paper: the days on which it crosses 20 % and 50 % of the amplitude between the peak and the lowest
value on the same side. The days of each growth cycle are known, so no season is missed or invented.
Scores of a map made from NDVI against these dates contain the bias of NDVI against cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numba import njit, prange

from deepcrop import stages
from deepcrop.phenology.slots import season_middle, select_slots
from deepcrop.simulation import canopy
from deepcrop.simulation.surface import Surface, greenness_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_AMPLITUDE = 0.02
"""Minimum amplitude of camera GCC of a season."""

_MARGIN = 20  # days before sowing and after harvest that are searched for the lowest value
DATES = ("sos20", "sos50", "peak", "eos50", "eos20")


def season_dates(surface: Surface) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the dates of every growth cycle of every pixel.

    Returns
    -------
    dates : ndarray of float32 (rows, cols, cycles, 5)
        Fractional day numbers in the order of `DATES`, NaN where there is no season.
    amplitude : ndarray of float32 (rows, cols, cycles)
        GCC.
    """
    cycles = max([len(field.cycles) for field in surface.fields] or [1])
    windows = np.full((max(len(surface.fields), 1), cycles, 2), -1, np.int32)
    last = len(canopy.DAYS) - 1
    for k, field in enumerate(surface.fields):
        for c, cycle in enumerate(field.cycles):
            before = field.cycles[c - 1].end if c else -np.inf
            after = field.cycles[c + 1].start if c + 1 < len(field.cycles) else np.inf
            start = max(cycle.start - _MARGIN, before) - canopy.FIRST_DAY
            stop = max(min(cycle.end + _MARGIN, after), cycle.end) - canopy.FIRST_DAY
            # The lowest value of a cycle that extends beyond the simulated days is unknown.
            if start >= 0 and stop <= last:
                windows[k, c] = int(start), int(stop)
    shape = (*surface.which.shape, cycles)
    dates = np.full((*shape, 5), np.nan, np.float32)
    amplitude = np.full(shape, np.nan, np.float32)
    _season_dates(
        surface.which, surface.shift, surface.vigour, surface.state, surface.span,
        windows, dates, amplitude,
    )  # fmt: skip
    return dates, amplitude


@njit(cache=True, parallel=True)
def _season_dates(which, shift, vigour, state, span, windows, dates, amplitude):
    rows, cols = which.shape
    for i in prange(rows):
        curve = np.empty(state.shape[1], np.float64)
        for j in range(cols):
            f = which[i, j]
            if f < 0:
                continue
            for c in range(windows.shape[1]):
                start, stop = windows[f, c, 0], windows[f, c, 1]
                if start < 0:
                    continue
                peak = start
                for d in range(start, stop + 1):
                    curve[d] = greenness_at(state, span, f, d, shift[i, j], vigour[i, j])
                    if curve[d] > curve[peak]:
                        peak = d
                left, right = peak, peak
                for d in range(start, peak):
                    if curve[d] < curve[left]:
                        left = d
                for d in range(peak, stop + 1):
                    if curve[d] < curve[right]:
                        right = d
                rise = curve[peak] - curve[left]
                fall = curve[peak] - curve[right]
                if min(rise, fall) < MIN_AMPLITUDE:
                    continue
                amplitude[i, j, c] = 0.5 * (rise + fall)
                dates[i, j, c, 2] = peak + canopy.FIRST_DAY
                for k in range(2):
                    fraction = 0.2 if k == 0 else 0.5
                    level = curve[left] + fraction * rise
                    d = peak
                    while curve[d - 1] > level:
                        d -= 1
                    up = d - (curve[d] - level) / (curve[d] - curve[d - 1])
                    dates[i, j, c, k] = up + canopy.FIRST_DAY
                    level = curve[right] + fraction * fall
                    d = peak
                    while curve[d + 1] > level:
                        d += 1
                    down = d + (curve[d] - level) / (curve[d] - curve[d + 1])
                    dates[i, j, c, 4 - k] = down + canopy.FIRST_DAY


def truth_layers(surface: Surface, year: int, latitude: float) -> dict[str, NDArray[Any]]:
    """Compute the layers of the ``/truth`` group of a block: dates (2, rows, cols) and counts."""
    dates, amplitude = season_dates(surface)
    rows, cols, cycles = amplitude.shape
    flat = dates.reshape(-1, cycles, 5)
    choice = select_slots(
        season_middle(flat, DATES),
        flat[:, :, DATES.index("peak")],
        amplitude.reshape(-1, cycles),
        stages.TargetYear(year),
        latitude,
    )
    chosen = choice.gather(flat)
    layers: dict[str, NDArray[Any]] = {
        name: stages.encode(chosen[:, :, k]).T.reshape(stages.SLOTS, rows, cols)
        for k, name in enumerate(DATES)
    }
    layers["n_cycles"] = choice.count.reshape(rows, cols)
    return layers


def template(rows: int, cols: int, year: int) -> xr.Dataset:
    """Make a dataset with the variables of the ``/truth`` group, without values."""
    units = f"days since {year}-01-01"
    # Broadcast zeros take no memory: only type, shape and attributes are read.
    days = np.broadcast_to(np.int16(stages.NO_DAY), (stages.SLOTS, rows, cols))
    data: dict[str, Any] = {
        name: (
            ("season", "y", "x"),
            days,
            {"long_name": f"true {name} of camera greenness", "day_units": units, "missing": 32767},
        )
        for name in DATES
    }
    counts = np.broadcast_to(np.uint8(0), (rows, cols))
    data["n_cycles"] = (("y", "x"), counts, {"long_name": "seasons of the year"})
    return xr.Dataset(
        data,
        coords={"season": np.arange(1, stages.SLOTS + 1)},
        attrs={"simulated": 1, "year": year, "definition": "noise-free camera greenness per pixel"},
    )
