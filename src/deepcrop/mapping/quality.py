"""Quality layers, made alike for both methods: lengths, counts, the longest gap, flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcrop import stages
from deepcrop.products import layers
from deepcrop.products.layers import USUAL, Content, layer_name
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from deepcrop.mapping.inputs import Layers


def encode_bound(
    bound: NDArray[np.floating],
    whole: NDArray[np.int16],
    limits: tuple[int, int] = (stages.DAY_MIN, stages.DAY_MAX),
) -> NDArray[np.int16]:
    """End of a date's interval where there is the date, within the days that can be stored."""
    near = np.clip(bound, *limits)
    return stages.encode(np.where(whole == stages.NO_DAY, np.nan, near), limits)


def encode_measure(values: NDArray[np.floating], scale: float) -> NDArray[np.int16]:
    """Whole numbers of a scale; 32767 where a measure is not known, or too large for Int16."""
    whole = np.rint(np.asarray(values, np.float64) / scale)
    known = np.abs(whole) < stages.NO_DAY  # NaN compares false
    return np.where(known, whole, stages.NO_DAY).astype(np.int16)


def length_of(found: Layers, season: int, names: tuple[str, ...] = CALENDAR) -> NDArray[np.int16]:
    """Days from the first to the last date of a season, 32767 where one of them is not known."""
    first, last = (found[layer_name(stage, season)] for stage in (names[0], names[-1]))
    known = (first != stages.NO_DAY) & (last != stages.NO_DAY)
    length = last.astype(np.int32) - first
    return np.where(known, length, stages.NO_DAY).astype(np.int16)


def pixel_layers(
    found: Layers,
    valid: Mapping[str, NDArray[np.bool_]],
    days: Mapping[str, NDArray[np.float32]],
    year: int,
    selected: NDArray[np.bool_] | None,
    reads: tuple[str, ...],
    content: Content = USUAL,
) -> Layers:
    """Layers of a map that have no season.

    Parameters
    ----------
    found : dict of ndarray (y, x)
        Dates, intervals and ``n_cycles``, which becomes unknown where nothing was seen; maybe
        ``qflag`` with the flags that the method sets itself.
    valid : mapping of str to ndarray of bool (time, y, x)
        By group of the cube: where a scene has data. A group may be missing.
    days : mapping of str to ndarray (time,)
        Day numbers of the scenes.
    year : int
        Target year.
    selected : ndarray of bool (y, x) or None
        Pixels to map; None is all.
    reads : tuple of str
        Groups that the dates come from.
    content : Content
        What the map holds.

    Returns
    -------
    dict of ndarray (y, x)
        ``n_cycles``, ``n_obs_optical``, ``n_obs_sar``, ``max_gap_optical``, ``qflag``; counts of
        observations are of the target year, like the gap.
    """
    cycles = found["n_cycles"]
    target = stages.TargetYear(year, content.year_start)
    inside = {}
    for name in ("optical", "sar"):
        when = days.get(name, np.zeros(0, np.float32))
        of_year = target.contains(when)
        there = valid.get(name, np.zeros((0, *cycles.shape), bool))
        inside[name] = there[of_year], when[of_year]
    counts = {name: there.sum(axis=0) for name, (there, _) in inside.items()}
    unseen = ~np.any([valid[name].any(axis=0) for name in reads], axis=0)
    seen, when = inside["optical"]
    gap = _longest_gap(seen, when - target.first, target.length)
    flags = found.get("qflag", np.zeros(cycles.shape, np.uint16)).copy()
    dates = np.stack([found[layer_name(stage, 1)] for stage in content.stages])
    flags[(dates == stages.NO_DAY).all(axis=0)] |= layers.NO_SEASON
    flags[counts["optical"] < layers.FEW_OBSERVATIONS] |= layers.FEW_SEEN
    flags[gap >= layers.LONG_GAP] |= layers.GAP
    flags[counts["sar"] == 0] |= layers.NO_RADAR
    flags[(cycles > content.seasons) & (cycles != layers.NO_PERCENT)] |= layers.MANY_SEASONS
    # Not the peak: that of a flat top is uncertain, and harmless.
    for stage in content.thresholds if content.intervals else ():
        low, high = (found[layer_name(stage, 1, part)] for part in ("low", "high"))
        wide = high.astype(np.int32) - low >= layers.WIDE_INTERVAL
        flags[wide & (low != stages.NO_DAY)] |= layers.UNCERTAIN
    flags[unseen] |= layers.UNSEEN
    made = {
        "n_cycles": np.where(unseen, layers.NO_PERCENT, cycles).astype(np.uint8),
        "n_obs_optical": counts["optical"].astype(np.uint16),
        "n_obs_sar": counts["sar"].astype(np.uint16),
        "max_gap_optical": gap,
        "qflag": flags,
    }
    if selected is not None:
        empty = {"n_cycles": layers.NO_PERCENT, "qflag": layers.LEFT_OUT}
        for name, values in made.items():
            values[~selected] = empty.get(name, layers.NO_COUNT)
    return made


def _longest_gap(
    seen: NDArray[np.bool_], days: NDArray[np.float32], length: int
) -> NDArray[np.uint16]:
    """Longest stretch of days without an observation, the ends of the year included (y, x).

    Days count from the first day of the year.
    """
    last = np.full(seen.shape[1:], -1, np.int16)
    gap = np.zeros(seen.shape[1:], np.int16)
    for there, day in zip(seen, days.astype(np.int16), strict=True):
        gap = np.where(there, np.maximum(gap, day - last - 1), gap)
        last = np.where(there, day, last)
    return np.maximum(gap, length - last - 1).astype(np.uint16)
