"""Dates of every pixel of a tile: what patches share is computed once.

A tile is cut into pieces. Over each the trunk of the network runs once (its dense form), then the
temporal part over the pixels in batches, so that memory is set by the piece and the number of
dates. Pieces run side by side, one core each: how many there are changes no bit of the answer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.network.sensors import Batch, inner
from deepcrop.network.targets import Dates
from deepcrop.network.weights import Network

PIECE = 64
"""Side of a piece, pixels: twice that is slower (it leaves the caches), half reads more halo."""

PIXELS = 128
"""Pixels that go through the temporal part together."""


def tile_dates(
    network: Network,
    optical: NDArray[np.float32],
    optical_days: NDArray[np.float32],
    radar: NDArray[np.float32],
    radar_days: NDArray[np.float32],
    orbits: NDArray[np.integer],
) -> Dates:
    """Dates of all pixels of a tile that have a whole patch around them.

    The same as of their patches, one by one, but for rounding (1e-5 in probabilities). Works on as
    many cores as PyTorch is set to use (``torch.set_num_threads``, ``OMP_NUM_THREADS``).

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        In evaluation mode.
    optical : ndarray of float32 (dates, 4, H, W)
        Reflectance of blue, green, red, nir with the halo `grid.PATCH_HALO`; NaN = no data, masked
        or beyond the region. There may be no date at all, of either sensor.
    optical_days : ndarray (dates,)
        Days since 1 January of the target year.
    radar : ndarray of float32 (dates, 2, H, W)
        Backscatter of vv, vh in dB.
    radar_days : ndarray (dates,)
    orbits : ndarray of int (dates,)
        Number of a radar date's relative orbit, from 0.

    Returns
    -------
    Dates
        Arrays of float32 (H - 17, W - 17, slots, stages) of NumPy; a pixel never seen by any sensor
        gets what the network answers to nothing.

    Raises
    ------
    DeepCropError
        If the sensors differ in size, or the tile is smaller than a patch.
    """
    height, width = optical.shape[-2:]
    if radar.shape[-2:] != (height, width):
        raise DeepCropError(
            f"Optical images are {height} x {width} pixels, radar images "
            f"{radar.shape[-2]} x {radar.shape[-1]}; expected the same tile."
        )
    if min(height, width) < grid.PATCH_SIZE:
        raise DeepCropError(
            f"A tile with its halo is {height} x {width} pixels; expected "
            f"{grid.PATCH_SIZE} or more on each side."
        )
    images = Batch(
        torch.from_numpy(optical)[None],
        torch.from_numpy(np.asarray(optical_days, np.float32))[None],
        torch.from_numpy(radar)[None],
        torch.from_numpy(np.asarray(radar_days, np.float32))[None],
        torch.from_numpy(np.asarray(orbits, np.int64))[None],
    )
    # The order of numbers in memory that convolutions on CPUs are fastest with.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows, cols = height - grid.PATCH_SIZE + 1, width - grid.PATCH_SIZE + 1
    pieces = list(grid.tiles((rows, cols), PIECE))
    events = (network.config.slots, len(network.config.stages))
    arrays = [np.empty((rows, cols, *events), np.float32) for _ in Dates._fields]
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=_one_core) as pool:
        answers = pool.map(lambda piece: _piece_dates(network, images, piece.core), pieces)
        for piece, dates in zip(pieces, answers, strict=True):
            for part, answer in zip(arrays, dates, strict=True):
                part[piece.core] = answer.unflatten(0, piece.shape).numpy()
    return Dates(*arrays)  # type: ignore[arg-type]


def _one_core() -> None:
    torch.set_num_threads(1)


@torch.inference_mode()
def _piece_dates(network: Network, images: Batch, core: tuple[slice, slice]) -> Dates:
    """Dates (pixels, slots, stages) of a piece; ``core`` counts from the first inner pixel."""
    device = next(network.parameters()).device
    batch = Batch(*(part.to(device) for part in _cut(images, core)))
    seen = network.look(batch, dense=True)
    pixels = next(iter(seen.values())).seen.shape[1]
    answers = []
    for start in range(0, pixels, PIXELS):
        part = {name: series.part(slice(start, start + PIXELS)) for name, series in seen.items()}
        answers.append(network.decode(network.head(part), part))
    return Dates(*(torch.cat(parts).cpu() for parts in zip(*answers, strict=True)))


def _cut(images: Batch, core: tuple[slice, slice]) -> Batch:
    """Images of a piece with its halo, without the dates that tell nothing of it."""
    halo = sum(grid.PATCH_HALO)
    rows, cols = (slice(part.start, part.stop + halo) for part in core)

    optical, radar = images.optical[..., rows, cols], images.radar[..., rows, cols]
    there = inner(optical).isfinite().all(2).flatten(2).any(2)[0]
    # A pixel's backscatter counts from its own median, to which such dates add that show only halo.
    echo = radar.isfinite().all(2).flatten(2).any(2)[0]
    return Batch(
        optical[:, there],
        images.optical_days[:, there],
        radar[:, echo],
        images.radar_days[:, echo],
        images.orbits[:, echo],
    )
