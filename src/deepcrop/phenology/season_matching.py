"""Two methods' dates of the same pixel, side by side: which seasons are the same, how far apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepcrop import stages


def match_seasons(truth: NDArray[np.int16], mapped: NDArray[np.int16]) -> NDArray[np.int16]:
    """Put mapped seasons beside the true seasons they overlap.

    Parameters
    ----------
    truth, mapped : ndarray of int16 (2, stages, pixels)
        Day numbers per season slot and stage, 32767 = none.

    Returns
    -------
    ndarray of int16 (2, stages, pixels)
        Mapped dates in the slots of the truth, 32767 where no mapped season overlaps in time. Each
        mapped season is used at most once; of the two ways to pair, the one of longer overlap.
    """
    first_t, last_t = _extent(truth)
    first_m, last_m = _extent(mapped)
    overlap = np.minimum(last_t[:, None], last_m[None]) - np.maximum(
        first_t[:, None], first_m[None]
    )
    overlap = np.maximum(overlap + 1, 0)  # (true slot, mapped slot, pixels), days
    straight = overlap[0, 0] + overlap[1, 1]
    crossed = overlap[0, 1] + overlap[1, 0]
    swap = crossed > straight
    paired = np.where(swap, mapped[::-1], mapped)
    shared = np.where(
        swap, np.stack([overlap[0, 1], overlap[1, 0]]), np.stack([overlap[0, 0], overlap[1, 1]])
    )
    return np.where(shared[:, None] > 0, paired, np.int16(stages.NO_DAY))


def _extent(dates: NDArray[np.int16]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and last known day of each season; an empty range where nothing is known."""
    known = dates != stages.NO_DAY
    wide = dates.astype(np.int32)
    return np.where(known, wide, 10**6).min(axis=1), np.where(known, wide, -(10**6)).max(axis=1)
