"""Draw the field mosaic: fields, roads, rivers and ponds.

A grid of roads divides the region into districts. Each district is split repeatedly by slanting
lines into convex fields of about the given size, and a smooth warp makes fields irregular and
roads winding. A district depends only on the seed and its position, so that any block of a region
can be drawn alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, prange

from deepcrop.simulation import random_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISTRICT = 1600.0
"""Side of a district between roads, metres."""

MAX_FIELDS = 4096
"""Maximum number of fields in a district; field number = district number x this + number there."""

MAX_DISTRICTS = 1022
"""Maximum number of districts on a side of a region, so that field numbers fit in 32 bits."""

_ROAD_HALF_WIDTH = 5.0
_WARP = 60.0
_RIVER_HALF_WIDTH = 25.0
_POND_SHARE = 0.012


@dataclass(frozen=True)
class FieldMosaic:
    """Static maps of a block of pixels, all of shape (rows, cols).

    Attributes
    ----------
    field : ndarray of int64
        Field number, unique in the region, below 2³²; 0 on roads and water.
    road, water : ndarray of bool
        Roads; rivers and ponds.
    along : ndarray of float32
        Position in the field along its slope, about -1 … 1, for gradients.
    """

    field: NDArray[np.int64]
    road: NDArray[np.bool_]
    water: NDArray[np.bool_]
    along: NDArray[np.float32]


def draw(
    seed: int, row0: int, col0: int, shape: tuple[int, int], field_size_ha: float
) -> FieldMosaic:
    """Draw a block of the field mosaic.

    Parameters
    ----------
    seed : int
        Seed of the region.
    row0, col0 : int
        First cell of the block in the region; may be negative (a halo).
    shape : tuple of int
        Rows and columns of the block.
    field_size_ha : float
        Median area of a field, hectares.
    """
    rows, cols = shape
    warp_y = random_fields.smooth_field(
        random_fields.stream(seed, "warp y"), row0, col0, shape, 2500, 2
    )
    warp_x = random_fields.smooth_field(
        random_fields.stream(seed, "warp x"), row0, col0, shape, 2500, 2
    )
    y = (row0 + np.arange(rows, dtype=np.float32))[:, None] * 10 + _WARP * warp_y
    x = (col0 + np.arange(cols, dtype=np.float32))[None, :] * 10 + _WARP * warp_x

    district_y = np.floor(y / DISTRICT).astype(np.int64)
    district_x = np.floor(x / DISTRICT).astype(np.int64)
    field = np.zeros(shape, np.int64)
    along = np.zeros(shape, np.float32)
    water = np.zeros(shape, np.bool_)
    for dy in range(int(district_y.min()), int(district_y.max()) + 1):
        for dx in range(int(district_x.min()), int(district_x.max()) + 1):
            inside = (district_y == dy) & (district_x == dx)
            if not inside.any():
                continue
            rng = random_fields.generator(seed, "district", dy, dx)
            splits, leaves = _split(rng, field_size_ha)
            number = _district_number(dy, dx)
            field[inside], along[inside], water[inside] = _locate(
                (y[inside] - dy * DISTRICT).astype(np.float32),
                (x[inside] - dx * DISTRICT).astype(np.float32),
                splits,
                leaves,
                number * MAX_FIELDS + 1,
            )

    to_road_y = np.minimum(y - district_y * DISTRICT, (district_y + 1) * DISTRICT - y)
    to_road_x = np.minimum(x - district_x * DISTRICT, (district_x + 1) * DISTRICT - x)
    road = np.minimum(to_road_y, to_road_x) < _ROAD_HALF_WIDTH
    water |= _river(seed, y, x)
    field[road | water] = 0
    return FieldMosaic(field, road & ~water, water, along)


def _district_number(dy: int, dx: int) -> int:
    """Return the number of a district; a halo can extend into row or column -1."""
    return (dy + 1) * 1024 + (dx + 1)


def _river(seed: int, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.bool_]:
    """Draw meandering rivers about every 9 km."""
    rng = random_fields.generator(seed, "river")
    spacing = rng.uniform(8000, 10000)
    start = rng.uniform(0.25, 0.75) * spacing
    phase = rng.uniform(0, 2 * math.pi, 3)
    bend = (
        400 * np.sin(y / 2900 + phase[0])
        + 180 * np.sin(y / 1100 + phase[1])
        + 60 * np.sin(y / 420 + phase[2])
    )
    offset = np.mod(x - start + bend + spacing / 2, spacing) - spacing / 2
    return np.asarray(np.abs(offset) < _RIVER_HALF_WIDTH)


def _split(
    rng: np.random.Generator, field_size_ha: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Split a district into fields.

    Returns
    -------
    splits : ndarray (nodes, 6)
        Per node: unit normal (ny, nx), offset, child where below, child where above, 0. A child
        >= 0 is a node, a child < 0 is leaf ``-child - 1``.
    leaves : ndarray (leaves, 5)
        Per field: centroid y, centroid x, direction of its slope (radians), half its length,
        whether it is a pond.
    """
    splits: list[list[float]] = []
    leaves: list[list[float]] = []
    corners = np.array([[0, 0], [0, DISTRICT], [DISTRICT, DISTRICT], [DISTRICT, 0]], float)

    def divide(polygon: NDArray[Any]) -> int:
        area = _area(polygon)
        target = field_size_ha * 1e4 * math.exp(0.5 * rng.standard_normal())
        if area < 1.6 * target or len(leaves) >= MAX_FIELDS - 2:
            centre = polygon.mean(axis=0)
            length = np.linalg.norm(polygon - centre, axis=1).max()
            pond = rng.random() < _POND_SHARE
            leaves.append([*centre, rng.uniform(0, 2 * math.pi), length, pond])
            return -len(leaves)
        # Split across the longer side, slightly tilted and off the middle.
        centred = polygon - polygon.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=False)[2]
        tilt = 0.12 * rng.standard_normal()
        c, s = math.cos(tilt), math.sin(tilt)
        normal = np.array([[c, -s], [s, c]]) @ axes[0]
        along = polygon @ normal
        offset = along.min() + (along.max() - along.min()) * rng.uniform(0.38, 0.62)
        below, above = _clip(polygon, normal, offset), _clip(polygon, -normal, -offset)
        node = len(splits)
        splits.append([normal[0], normal[1], offset, 0, 0, 0])
        splits[node][3] = divide(below)
        splits[node][4] = divide(above)
        return node

    divide(corners)
    return np.array(splits, float).reshape(-1, 6), np.array(leaves, float)


def _area(polygon: NDArray[Any]) -> float:
    y, x = polygon.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def _clip(polygon: NDArray[Any], normal: NDArray[Any], offset: float) -> NDArray[Any]:
    """Clip a convex polygon to ``point · normal <= offset``."""
    distance = polygon @ normal - offset
    kept = []
    for k in range(len(polygon)):
        here, there = distance[k - 1], distance[k]
        if (here <= 0) != (there <= 0):
            share = here / (here - there)
            kept.append(polygon[k - 1] + share * (polygon[k] - polygon[k - 1]))
        if there <= 0:
            kept.append(polygon[k])
    return np.array(kept)


@njit(cache=True, parallel=True)
def _locate(y, x, splits, leaves, first):
    n = y.size
    number = np.empty(n, np.int64)
    along = np.empty(n, np.float32)
    pond = np.empty(n, np.bool_)
    for i in prange(n):
        leaf = np.int64(0)
        if splits.shape[0] > 0:
            node = np.int64(0)
            while node >= 0:
                below = y[i] * splits[node, 0] + x[i] * splits[node, 1] <= splits[node, 2]
                node = np.int64(splits[node, 3] if below else splits[node, 4])
            leaf = -node - 1
        number[i] = first + leaf
        dy = y[i] - leaves[leaf, 0]
        dx = x[i] - leaves[leaf, 1]
        along[i] = (dy * math.sin(leaves[leaf, 2]) + dx * math.cos(leaves[leaf, 2])) / leaves[
            leaf, 3
        ]
        pond[i] = leaves[leaf, 4] > 0
    return number, along, pond
