"""Examples labelled by the NDVI curve through all their clear scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepcrop import indices, stages
from deepcrop.grid import PATCH_SIZE, inner
from deepcrop.network.config import CURVE
from deepcrop.phenology import season_dates
from deepcrop.phenology.slots import curve_dates, fill_slots
from deepcrop.stages import Dates
from deepcrop.training.examples import EVENTS, SPREAD_OF_INTERVAL, Example

SEEN_GAP = 45.0
"""Longest time without a clear image within a year, days, for "no such season" to be believed."""


def ndvi_series(example: Example) -> NDArray[np.float32]:
    """NDVI of the labelled pixels (pixels, dates), NaN where nothing is seen."""
    bands = inner(example.optical)
    ndvi = indices.ndvi_of(bands[:, 3], bands[:, 2])
    pixels = int(np.prod(ndvi.shape[1:]))
    return np.ascontiguousarray(ndvi.reshape(len(ndvi), pixels).T)


def together(examples: Sequence[Example]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """NDVI of all labelled pixels of examples (pixels, dates) on the days of all of them."""
    days = np.unique(np.concatenate([one.optical_days for one in examples]))
    parts = []
    for one in examples:
        series = ndvi_series(one)
        part = np.full((len(series), days.size), np.nan, np.float32)
        # Two images of one day: the later in the file counts where both are clear.
        for column, at in enumerate(np.searchsorted(days, one.optical_days)):
            part[:, at] = np.where(np.isfinite(series[:, column]), series[:, column], part[:, at])
        parts.append(part)
    return np.concatenate(parts), days


def curve_of(examples: Sequence[Example], year: int, latitude: float) -> Dates[NDArray[np.float32]]:
    """Dates of the project's curve through the NDVI of every labelled pixel."""
    values, days = together(examples)
    return curve_dates(values, days, year, latitude)


def with_curve_labels(
    examples: Sequence[Example], year: int, latitude: float
) -> tuple[Example, ...]:
    """Label examples by the curve through all their clear scenes.

    A slot without a season is "known to have none" only where the pixel was seen all year, without
    a gap beyond `SEEN_GAP`; a date of a season that the curve does not support is unknown.
    """
    values, days = together(examples)
    curve, count = fill_slots(season_dates(values, days), year, latitude)
    watched = _watched(np.isfinite(values), days, year)
    empty = np.arange(stages.SLOTS) >= count[:, None]  # (pixels, slots)
    at = slice(EVENTS.index(CURVE[0]), EVENTS.index(CURVE[0]) + len(CURVE))
    shape = (len(values), stages.SLOTS, len(EVENTS))
    day, spread = (np.full(shape, np.nan, np.float32) for _ in range(2))
    none = np.zeros(shape, np.bool_)
    day[:, :, at] = curve.day
    spread[:, :, at] = (curve.high - curve.low) * SPREAD_OF_INTERVAL
    none[:, :, at] = (empty & watched[:, None])[:, :, None]
    labelled, start = [], 0
    for one in examples:
        stop = start + len(one.day)
        labelled.append(
            replace(one, day=day[start:stop], spread=spread[start:stop], none=none[start:stop])
        )
        start = stop
    return tuple(labelled)


def _watched(seen: NDArray[np.bool_], days: NDArray, year: int) -> NDArray[np.bool_]:
    """Whether pixels were seen without a long gap from 1 January to 31 December."""
    end = float(stages.to_days(np.array([f"{year:04d}-12-31"], "datetime64[D]"), year)[0])
    last = np.full(len(seen), 0.0)  # day of the latest image so far, not before 1 January
    gap = np.zeros(len(seen))
    for column, day in enumerate(days):
        if 0 <= day <= end:
            now = seen[:, column]
            gap = np.where(now, np.maximum(gap, day - last), gap)
            last = np.where(now, day, last)
    return np.maximum(gap, end - last) <= SEEN_GAP


def unlabelled(
    optical: NDArray,
    optical_days: ArrayLike,
    radar: NDArray | None = None,
    radar_days: ArrayLike = (),
    orbits: ArrayLike = (),
) -> Example:
    """Make an example of which no date is known yet; without ``radar``: optical only."""
    side = optical.shape[-2:]
    pixels = inner(np.empty(side)).size
    shape = (pixels, stages.SLOTS, len(EVENTS))
    nan = np.full(shape, np.nan, np.float32)
    return Example(
        optical,
        np.asarray(optical_days, np.float32),
        np.zeros((0, 2, *side), np.float32) if radar is None else radar,
        np.asarray(radar_days, np.float32),
        np.asarray(orbits, np.int64),
        nan,
        nan.copy(),
        np.zeros(shape, np.bool_),
    )


def as_patch(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Series (dates, bands) of one pixel or parcel as patches that are everywhere alike; a view."""
    return np.broadcast_to(series[:, :, None, None], (*series.shape, PATCH_SIZE, PATCH_SIZE))
