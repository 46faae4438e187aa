"""Draw random fields that depend on the position of a pixel, not on the order of drawing.

The random value of a pixel is a hash of (seed, stream, row, column), so that a region simulated in
blocks of any size, in any order, has the same bits. The hash is the finaliser of SplitMix64 (Steele
et al. 2014, doi 10.1145/2714064.2660195).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL = 10.0
"""Pixel size of simulated regions, metres."""

# Variance left by interpolating unit-variance lattice values with a smoothstep, averaged over a
# cell: (26/35)² in two dimensions.
_LATTICE_VARIANCE = (26 / 35) ** 2


def stream(seed: int, *labels: str | int) -> int:
    """Derive the seed of an independent stream of random numbers, as ``stream(7, "cloud", 12)``."""
    words = [seed & 0xFFFFFFFFFFFFFFFF]
    for label in labels:
        data = str(label).encode()
        words.append(int.from_bytes(data[:8].ljust(8, b"\0"), "little") ^ len(data))
        words.extend(data[8:])
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Make the NumPy generator of a stream, for the few values of a scene or a field."""
    return np.random.default_rng(stream(seed, *labels))


@njit(cache=True, inline="always")
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, inline="always")
def _hash(seed, row, col):
    """64 random bits of a position."""
    z = np.uint64(seed) + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)
    return _mix(_mix(z) ^ (np.uint64(col) * np.uint64(0xD1B54A32D192ED03)))


@njit(cache=True, inline="always")
def _unit(bits):
    """Uniform in (0, 1), never 0 or 1."""
    return (np.float64(bits >> np.uint64(40)) + 0.5) * (1.0 / 16777216.0)


@njit(cache=True, parallel=True)
def normal(seed: int, row0: int, col0: int, rows: int, cols: int) -> NDArray[np.float32]:
    """Draw a standard normal value for each pixel of a block, float32 (rows, cols)."""
    out = np.empty((rows, cols), np.float32)
    for i in prange(rows):
        for j in range(cols):
            bits = _hash(seed, row0 + i, col0 + j)
            # Box-Muller; the second uniform comes from the bits the first one does not use.
            u = _unit(bits)
            v = np.float64(bits & np.uint64(0xFFFFFF)) * (1.0 / 16777216.0)
            out[i, j] = math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)
    return out


@njit(cache=True, parallel=True)
def exponential(seed: int, row0: int, col0: int, rows: int, cols: int) -> NDArray[np.float32]:
    """Draw an exponential value of mean 1 (single-look speckle) for each pixel of a block."""
    out = np.empty((rows, cols), np.float32)
    for i in prange(rows):
        for j in range(cols):
            out[i, j] = -math.log(_unit(_hash(seed, row0 + i, col0 + j)))
    return out


def smooth_field(
    seed: int,
    row0: float,
    col0: float,
    shape: tuple[int, int],
    wavelength: float,
    octaves: int = 1,
    persistence: float = 0.5,
) -> NDArray[np.float32]:
    """Draw a spatially correlated field of mean 0 and variance 1 on a block of pixels.

    Fractal value noise: lattices of random values, each twice as fine and ``persistence`` times as
    strong as the one before, interpolated smoothly.

    Parameters
    ----------
    seed : int
        Stream.
    row0, col0 : float
        First cell of the block; may be negative.
    shape : tuple of int
        Rows and columns of the block.
    wavelength : float
        Spacing of the coarsest lattice, metres.
    octaves : int
        Number of lattices.
    persistence : float
        Ratio of amplitude from one lattice to the next.

    Returns
    -------
    ndarray of float32
        Shape ``shape``.
    """
    rows, cols = shape
    out = np.zeros((rows, cols), np.float32)
    variance = sum(persistence ** (2 * k) for k in range(octaves)) * _LATTICE_VARIANCE
    for k in range(octaves):
        _add_lattice(
            out,
            stream(seed, "lattice", k),
            row0,
            col0,
            PIXEL * 2**k / wavelength,
            persistence**k / math.sqrt(variance),
        )
    return out


@njit(cache=True, parallel=True)
def _add_lattice(out, seed, row0, col0, frequency, amplitude):
    rows, cols = out.shape
    shift_y = _unit(_hash(seed, 1, 2))  # so that lattices of different streams are not aligned
    shift_x = _unit(_hash(seed, 3, 4))
    spread = 2.0 * math.sqrt(3.0) * amplitude  # uniform values of standard deviation `amplitude`
    for i in prange(rows):
        y = (row0 + i) * frequency + shift_y
        cell_y = math.floor(y)
        t = y - cell_y
        t = t * t * (3.0 - 2.0 * t)
        cell_y = np.int64(cell_y)
        last = np.int64(-(2**62))
        left = 0.0
        right = 0.0
        for j in range(cols):
            x = (col0 + j) * frequency + shift_x
            floor_x = math.floor(x)
            cell_x = np.int64(floor_x)
            if cell_x != last:
                left = (1.0 - t) * _unit(_hash(seed, cell_y, cell_x)) + t * _unit(
                    _hash(seed, cell_y + 1, cell_x)
                )
                right = (1.0 - t) * _unit(_hash(seed, cell_y, cell_x + 1)) + t * _unit(
                    _hash(seed, cell_y + 1, cell_x + 1)
                )
                last = cell_x
            s = x - floor_x
            s = s * s * (3.0 - 2.0 * s)
            out[i, j] += np.float32(spread * ((1.0 - s) * left + s * right - 0.5))
