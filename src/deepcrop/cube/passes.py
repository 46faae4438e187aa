"""Group the looks of one sensor into passes: looks of one pass are one observation.

A satellite crosses a region within a few minutes and comes back no sooner than one orbit, about 98
minutes, later. The products of a crossing (tiles, slices, several processings) have start times
that are seconds to minutes apart. Counted one by one they would pass for independent observations:
intervals would be too narrow, and the flag of few observations would not be set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PASS_GAP = np.timedelta64(15, "m")
"""Looks of one sensor that follow each other within this time belong to one pass."""


def number_passes(
    times: NDArray[np.datetime64], orbits: Sequence[int | None] | NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Give each look the number of its pass, from 0, in order of their first look.

    Parameters
    ----------
    times : array of datetime64
        Time of each look, in any order.
    orbits : sequence of int, optional
        Relative orbit of each look; looks of different orbits are never one pass.

    Returns
    -------
    array of int
        Number of the pass of each look.

    Examples
    --------
    >>> import numpy as np
    >>> looks = np.array(["2018-05-01T10:50:00", "2018-05-01T10:50:14", "2018-05-06T10:50:00"])
    >>> number_passes(looks.astype("datetime64[ns]")).tolist()
    [0, 0, 1]
    """
    times = np.asarray(times, "datetime64[ns]")
    orbit = [None] * times.size if orbits is None else list(orbits)
    last: dict[Any, tuple[np.datetime64, int]] = {}
    numbers = np.zeros(times.size, np.int64)
    count = 0
    for k in np.argsort(times, kind="stable"):
        before = last.get(orbit[k])
        if before is not None and times[k] - before[0] < PASS_GAP:
            numbers[k] = before[1]
        else:
            numbers[k] = count
            count += 1
        last[orbit[k]] = times[k], int(numbers[k])
    return numbers
