"""Group camera sites by distance, so that neighbours stay on one side of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

NEAR = 10.0
"""Sites closer than this belong together, kilometres."""
_EARTH = 6371.0088  # mean radius, kilometres


# Places kept apart ------------------------------------------------------------------------------


def distance(
    latitude: ArrayLike, longitude: ArrayLike, other_latitude: ArrayLike, other_longitude: ArrayLike
) -> NDArray[np.float64]:
    """Great-circle distance in kilometres (haversine); arguments in degrees, broadcast."""
    lat, lon, other_lat, other_lon = (
        np.radians(np.asarray(part, np.float64))
        for part in (latitude, longitude, other_latitude, other_longitude)
    )
    half = np.sin((other_lat - lat) / 2) ** 2
    half = half + np.cos(lat) * np.cos(other_lat) * np.sin((other_lon - lon) / 2) ** 2
    return np.asarray(2 * _EARTH * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


def clusters(places: Mapping[str, tuple[float, float]], near: float = NEAR) -> dict[str, str]:
    """Group sites so that no two of different groups are within ``near`` kilometres.

    Single linkage: a chain of near sites is one cluster, however long.

    Parameters
    ----------
    places : mapping
        Latitude and longitude by site.
    near : float
        Kilometres.

    Returns
    -------
    dict of str to str
        Cluster by site; a cluster is named after the first of its sites in the alphabet.
    """
    names = sorted(places)
    lat, lon = np.array([places[name] for name in names], np.float64).reshape(-1, 2).T
    close = distance(lat[:, None], lon[:, None], lat, lon) <= near
    cluster: dict[str, str] = {}
    for first in range(len(names)):
        if names[first] in cluster:
            continue
        members = [first]
        for member in members:  # grows while it is read
            near_it = np.flatnonzero(close[member]).tolist()
            members += [other for other in near_it if other not in members]
        cluster |= {names[member]: names[first] for member in members}
    return cluster
