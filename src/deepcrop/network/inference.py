"""Dates of every pixel of a tile: what patches share is computed once.

A tile is cut into pieces. Over each the trunk of the network runs once (its dense form), then the
temporal part over the pixels in batches, so that memory is set by the piece and the number of
dates. Pieces run side by side, one core each: how many there are changes no bit of the answer.
"""

from __future__ import annotations

import contextlib
import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.network.config import CURVE
from deepcrop.network.devices import check_device
from deepcrop.network.sensor_branch import Batch
from deepcrop.network.weights import Network, build
from deepcrop.stages import Dates

PIECE = 64
"""Side of a piece, pixels: twice that is slower (it leaves the caches), half reads more halo."""

PIXELS = 128
"""Pixels that go through the temporal part together."""

GPU_PIECE, GPU_PIXELS = 256, 16384
"""The same on a GPU, which wants more at a time."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of numbers that the network can be run in; dates are decoded in float32 in any case."""


def put_on(network: Network, device: str, precision: str) -> None:
    """Move a network to a device of PyTorch, after a check that it is there.

    Raises
    ------
    DeepCropError
        If the device is unknown or not there, or the precision unknown.
    """
    if precision not in PRECISIONS:
        raise DeepCropError(
            f"Precision {precision!r} is unknown; expected {', '.join(PRECISIONS)}."
        )
    check_device(device)
    network.to(device)
    if torch.device(device).type == "cuda":
        # Or convolutions drop 13 of the 23 bits of a float32, and a map differs from a CPU's.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def of_camera(network: Network) -> Network:
    """Give the network without the dates of the NDVI curve, which no map shows."""
    config = network.config
    keep = [k for k, name in enumerate(config.stages) if name not in CURVE]
    if config.variant != "default" or not keep or len(keep) == len(config.stages):
        return network
    state, events = network.state_dict(), (config.slots, len(config.stages))
    for name, shape in (("bins", (config.bins, *events)), ("none", events)):
        for part in ("weight", "bias"):
            values = state[f"{name}.{part}"].unflatten(0, shape)
            values = values.index_select(len(shape) - 1, torch.tensor(keep))
            state[f"{name}.{part}"] = values.flatten(0, len(shape) - 1)
    state["log_temperature"] = state["log_temperature"][keep]
    small = build(replace(config, stages=tuple(config.stages[k] for k in keep)))
    small.load_state_dict(state)
    return small.eval()


def tile_dates(
    network: Network,
    optical: NDArray[np.float32],
    optical_days: NDArray[np.float32],
    radar: NDArray[np.float32],
    radar_days: NDArray[np.float32],
    orbits: NDArray[np.integer],
    *,
    wanted: NDArray[np.bool_] | None = None,
    precision: str = "float32",
) -> Dates[NDArray[np.float32]]:
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
    wanted : ndarray of bool (H - 17, W - 17), optional
        Pixels to find dates of; the others get no event of no probability. By default all.
    precision : str
        One of `PRECISIONS`.

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
    device = next(network.parameters()).device
    read = Batch(
        torch.from_numpy(optical)[None],
        torch.from_numpy(np.asarray(optical_days, np.float32))[None],
        torch.from_numpy(radar)[None],
        torch.from_numpy(np.asarray(radar_days, np.float32))[None],
        torch.from_numpy(np.asarray(orbits, np.int64))[None],
    )
    images = Batch(*(part.to(device) for part in read))
    on_gpu = device.type != "cpu"
    rows, cols = height - grid.PATCH_SIZE + 1, width - grid.PATCH_SIZE + 1
    pieces = [
        piece
        for piece in grid.tiles((rows, cols), GPU_PIECE if on_gpu else PIECE)
        if wanted is None or wanted[piece.core].any()
    ]
    events = (network.config.slots, len(network.config.stages))
    # Day, low, high and probability, as `Dates` has them.
    arrays = [np.full((rows, cols, *events), np.nan, np.float32) for _ in range(4)]
    arrays[3][:] = 0
    work = partial(_piece_dates, network, images, wanted, PRECISIONS[precision])
    if not on_gpu:
        _keep_memory()
    # The order of numbers in memory that convolutions are fastest with.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cores = 1 if on_gpu else torch.get_num_threads()
    with ThreadPoolExecutor(cores, initializer=_one_core) as pool:
        answers = pool.map(work, (piece.core for piece in pieces))
        for piece, dates in zip(pieces, answers, strict=True):
            some = slice(None) if wanted is None else wanted[piece.core].reshape(-1)
            for part, answer in zip(arrays, dates, strict=True):
                block = part[piece.core].reshape(-1, *events)
                block[some] = answer.numpy()
                part[piece.core] = block.reshape(*piece.shape, *events)
    return Dates(*arrays)


@cache
def _keep_memory() -> None:
    """Let the C library keep what is freed, for the next array: a quarter of the time, measured.

    By default glibc gives large arrays back to the system at once, and every new one is then
    cleared page by page.
    """
    with contextlib.suppress(OSError, AttributeError):  # other systems have no such setting
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _one_core() -> None:
    torch.set_num_threads(1)


@torch.inference_mode()
def _piece_dates(
    network: Network,
    images: Batch,
    wanted: NDArray[np.bool_] | None,
    precision: torch.dtype,
    core: tuple[slice, slice],
) -> Dates[Tensor]:
    """Dates (pixels, slots, stages) of a piece; ``core`` counts from the first inner pixel."""
    batch = _cut(images, core)
    device = batch.optical.device
    lower = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    with lower:
        seen = network.look(batch, dense=True)
    pixels = torch.arange(next(iter(seen.values())).seen.shape[1])
    if wanted is not None:
        pixels = pixels[torch.from_numpy(wanted[core].reshape(-1))]
    step = PIXELS if device.type == "cpu" else GPU_PIXELS
    answers = []
    for some in pixels.split(step):
        # A slice costs nothing, an index copies.
        chosen = slice(some[0], some[-1] + 1) if wanted is None else some.to(device)
        part = {name: series.part(chosen) for name, series in seen.items()}
        with lower:
            logits = network.head(part)
        answers.append(network.decode(logits.float(), part))
    return Dates(*(torch.cat(parts).cpu() for parts in zip(*answers, strict=True)))


def _cut(images: Batch, core: tuple[slice, slice]) -> Batch:
    """Images of a piece with its halo, without the dates that tell nothing of it."""
    halo = sum(grid.PATCH_HALO)
    rows, cols = (slice(part.start, part.stop + halo) for part in core)

    optical, radar = images.optical[..., rows, cols], images.radar[..., rows, cols]
    there = grid.inner(optical).isfinite().all(2).flatten(2).any(2)[0]
    # A pixel's backscatter counts from its own median, to which such dates add that show only halo.
    echo = radar.isfinite().all(2).flatten(2).any(2)[0]
    return Batch(
        optical[:, there],
        images.optical_days[:, there],
        radar[:, echo],
        images.radar_days[:, echo],
        images.orbits[:, echo],
    )
