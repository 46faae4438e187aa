"""What a cube says of its updates: which scenes it has more than at an earlier state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

UPDATES = "updates"
"""Root attribute of a cube: for each update the state of the pixels before it (``from``,
`deepcrop.cube.chunks.state_of`), the last day of which scenes were looked for (``until``), and by
sensor the times of the images that it added (``scenes``) and replaced (``replaced``)."""


def added_since(
    attrs: Mapping[Any, Any], state: str, current: str
) -> dict[str, set[np.datetime64]] | None:
    """Find the images that a cube got since an earlier state.

    Parameters
    ----------
    attrs : mapping
        Root attributes of the cube.
    state : str
        The earlier state of its pixels.
    current : str
        The state of its pixels.

    Returns
    -------
    dict of str to set of datetime64, or None
        Times by sensor; None if the cube did not come from that state, or an image was replaced.
    """
    if state == current:
        return {}
    updates = list(attrs.get(UPDATES, []))
    begin = next((k for k, update in enumerate(updates) if update["from"] == state), None)
    if begin is None:
        return None
    added: dict[str, set[np.datetime64]] = {}
    for update in updates[begin:]:
        if any(update["replaced"].values()):
            return None
        for sensor, times in update["scenes"].items():
            added.setdefault(sensor, set()).update(np.datetime64(time, "ns") for time in times)
    return added
