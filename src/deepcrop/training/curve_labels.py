"""Label examples by the NDVI curve through all their clear scenes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import indices, stages
from deepcrop.grid import PATCH_SIZE, inner
from deepcrop.network.config import CURVE
from deepcrop.phenology import season_dates
from deepcrop.phenology.slots import curve_dates, fill_slots
from deepcrop.training.examples import EVENTS, SPREAD_OF_INTERVAL, Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from deepcrop.stages import Dates

MAX_GAP = 45.0
"""Maximum gap without a clear image within the year, days, for "no such season" to be a label."""

MAX_WIDTH = 30.0
"""Maximum width of a curve date's 90 % interval, days, for it to be a label or a reference."""


def ndvi_series(example: Example) -> NDArray[np.float32]:
    """Compute NDVI of the labelled pixels (pixels, dates), NaN = no data."""
    bands = inner(example.optical)
    ndvi = indices.ndvi_of(bands[:, 3], bands[:, 2])
    pixels = int(np.prod(ndvi.shape[1:]))
    return np.ascontiguousarray(ndvi.reshape(len(ndvi), pixels).T)


def common_series(examples: Sequence[Example]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute NDVI (pixels, dates) of all examples on one time axis, and the days of that axis."""
    days = np.unique(np.concatenate([example.optical_days for example in examples]))
    aligned = []
    for example in examples:
        ndvi = ndvi_series(example)
        series = np.full((len(ndvi), days.size), np.nan, np.float32)
        # Of two images of one day, the later in the file counts where both are clear.
        for column, k in enumerate(np.searchsorted(days, example.optical_days)):
            series[:, k] = np.where(np.isfinite(ndvi[:, column]), ndvi[:, column], series[:, k])
        aligned.append(series)
    return np.concatenate(aligned), days


def curve_of(examples: Sequence[Example], year: int, latitude: float) -> Dates[NDArray[np.float32]]:
    """Date the curve through the NDVI of every labelled pixel."""
    values, days = common_series(examples)
    return curve_dates(values, days, year, latitude)


def with_curve_labels(
    examples: Sequence[Example], year: int, latitude: float
) -> tuple[Example, ...]:
    """Label examples by the curve through all their clear scenes.

    A slot without a season gets the label "no such event" only where the pixel has clear images all
    year, without a gap longer than `MAX_GAP`. A date that the curve does not support is unknown.
    """
    values, days = common_series(examples)
    curve, choice = fill_slots(season_dates(values, days), year, latitude)
    observed = _observed_all_year(np.isfinite(values), days, year)
    empty = choice.index < 0  # (pixels, slots); a season without dates is unknown, not "none"
    events = slice(EVENTS.index(CURVE[0]), EVENTS.index(CURVE[0]) + len(CURVE))
    shape = (len(values), stages.SLOTS, len(EVENTS))
    day, spread = (np.full(shape, np.nan, np.float32) for _ in range(2))
    none = np.zeros(shape, np.bool_)
    day[:, :, events] = curve.day
    spread[:, :, events] = (curve.high - curve.low) * SPREAD_OF_INTERVAL
    none[:, :, events] = (empty & observed[:, None])[:, :, None]
    labelled, start = [], 0
    for example in examples:
        stop = start + len(example.day)
        labelled.append(
            replace(example, day=day[start:stop], spread=spread[start:stop], none=none[start:stop])
        )
        start = stop
    return tuple(labelled)


def without_wide(example: Example) -> Example:
    """Set the dates whose 90 % interval is wider than `MAX_WIDTH` to unknown."""
    keep = example.spread <= MAX_WIDTH * SPREAD_OF_INTERVAL
    return replace(
        example,
        day=np.where(keep, example.day, np.float32(np.nan)),
        spread=np.where(keep, example.spread, np.float32(np.nan)),
    )


def _observed_all_year(
    clear: NDArray[np.bool_], days: NDArray[np.float32], year: int
) -> NDArray[np.bool_]:
    """Whether pixels (pixels, dates) have no gap longer than `MAX_GAP` in the calendar year."""
    end = float(stages.to_days(np.array([f"{year:04d}-12-31"], "datetime64[D]"), year)[0])
    last = np.full(len(clear), 0.0)  # day of the latest image so far, not before 1 January
    gap = np.zeros(len(clear))
    for column, day in enumerate(days):
        if 0 <= day <= end:
            now = clear[:, column]
            gap = np.where(now, np.maximum(gap, day - last), gap)
            last = np.where(now, day, last)
    return np.maximum(gap, end - last) <= MAX_GAP


def unlabelled(
    optical: NDArray[Any],
    optical_days: ArrayLike,
    radar: NDArray[Any] | None = None,
    radar_days: ArrayLike = (),
    orbits: ArrayLike = (),
) -> Example:
    """Make an example whose dates are all unknown; without ``radar``: optical only."""
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
    """View a series (dates, bands) of one pixel or parcel as patches of equal pixels."""
    return np.broadcast_to(series[:, :, None, None], (*series.shape, PATCH_SIZE, PATCH_SIZE))
