"""Which seasons of two methods are the same: those that overlap in time.

Two methods may put one season into different slots. Errors between them are errors of a date only
where both date the same season. Maps (Int16 days, 32767 = none) and scores against cameras
(fractional days, NaN = none) are matched by the same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.stages import NO_DAY

if TYPE_CHECKING:
    from numpy.typing import NDArray


def match_seasons(reference: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Put the seasons of one method into the slots of the reference's seasons that they overlap.

    Parameters
    ----------
    reference, other : ndarray (2, stages, ...)
        Dates by season slot and stage: Int16 with 32767 = none, or floating with NaN = none.

    Returns
    -------
    ndarray (2, stages, ...), of the type of ``other``
        Dates of ``other``; none where no season of ``other`` overlaps that of the reference. A
        season is used at most once.
    """
    shared = shared_days(reference, other)
    exchange = _longer_crosswise(shared)
    paired = np.where(exchange, other[::-1], other)
    straight, crosswise = (
        np.stack([shared[0, 0], shared[1, 1]]),
        np.stack([shared[0, 1], shared[1, 0]]),
    )
    overlap = np.where(exchange, crosswise, straight)
    none = NO_DAY if np.issubdtype(other.dtype, np.integer) else np.nan
    return np.where(overlap[:, None] > 0, paired, np.asarray(none, other.dtype))


def exchanged(reference: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether two methods have the same seasons in exchanged slots; arguments of `match_seasons`.

    So it is where main and second season share more days crosswise than slot by slot.
    """
    return _longer_crosswise(shared_days(reference, other))


def shared_days(reference: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Days that seasons share: (slot of the reference, slot of the other, ...).

    A season lasts from its first known date to its last. Whole days count from their beginning to
    their end, so that two seasons that meet on one whole day share one day.
    """
    whole_days = np.issubdtype(reference.dtype, np.integer)
    first, last = _first_and_last(reference)
    other_first, other_last = _first_and_last(other)
    end = np.minimum(last[:, None], other_last[None])
    begin = np.maximum(first[:, None], other_first[None])
    return np.asarray(np.maximum(end - begin + (1 if whole_days else 0), 0))


def _longer_crosswise(shared: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of the two ways to pair two seasons with two, the one with more shared days wins."""
    return np.asarray(shared[0, 1] + shared[1, 0] > shared[0, 0] + shared[1, 1])


def _first_and_last(dates: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last known day of each season; an empty range where no date is known."""
    known = np.isfinite(dates) & (dates != NO_DAY)
    days = dates.astype(np.float64)
    return np.where(known, days, 1e6).min(axis=1), np.where(known, days, -1e6).max(axis=1)
