"""Predict the dates of all pixels of a tile, computing once what their patches share.

A tile is divided into pieces. Over each piece the trunk of the network runs once (its dense form),
then the temporal part over the pixels in batches, so that memory depends on the piece and the
number of dates. Pieces run in parallel, one core each; the number of cores changes no bit of the
result.
"""

from __future__ import annotations

import contextlib
import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.network.config import DEFINITIONS
from deepcrop.network.devices import check_device
from deepcrop.network.sensor_branch import Batch
from deepcrop.network.weights import Network, build
from deepcrop.stages import Dates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.network.compiled import CompiledNetwork

PIECE = 64
"""Side of a piece, pixels. Slower: twice the side exceeds the caches, half reads more halo."""

PIXELS = 128
"""Pixels in a batch of the temporal part."""

GPU_PIECE, GPU_PIXELS = 256, 16384
"""Side of a piece and pixels in a batch on a GPU."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Number types of the network's arithmetic; dates are decoded in float32 in any case."""


PYTORCH, COMPILED = "pytorch", "compiled"
RUNTIMES = (PYTORCH, COMPILED)
"""What computes the temporal part of the network and its dates: PyTorch, or compiled kernels
(`deepcrop.network.compiled`)."""


def put_on(network: Network, device: str, precision: str) -> None:
    """Move a network to a device of PyTorch, after a check that it can be used.

    Lower precision saves memory on a GPU. On a CPU it saves little, and moves some dates to another
    season (docs/performance.md), so it is refused there.

    Raises
    ------
    DeepCropError
        If the device cannot be used, or the precision is unknown or refused on it.
    """
    if precision not in PRECISIONS:
        raise DeepCropError(
            f"Precision {precision!r} is unknown; expected {', '.join(PRECISIONS)}."
        )
    check_device(device)
    if torch.device(device).type == "cpu" and precision != "float32":
        raise DeepCropError(
            f"precision {precision} is only for a GPU: on a processor it saves little and moves "
            "some dates to another season. Leave it out, or choose device cuda."
        )
    network.to(device)
    if torch.device(device).type == "cuda":
        # TF32 convolutions drop 13 of the 23 bits of a float32: maps would differ from a CPU's.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def stages_of_definition(network: Network, definition: str) -> Network:
    """Return the network with the stages of one definition of dates alone (`DEFINITIONS`).

    Raises
    ------
    DeepCropError
        If the definition is unknown, or the network was not trained on it.
    """
    if definition not in DEFINITIONS:
        raise DeepCropError(
            f"Definition {definition!r} is unknown; expected {' or '.join(DEFINITIONS)}."
        )
    config = network.config
    keep = [k for k, name in enumerate(config.stages) if name in DEFINITIONS[definition]]
    if not keep:
        raise DeepCropError(
            f"These weights were not trained on dates by the definition '{definition}'; choose "
            "another definition or other weights."
        )
    if len(keep) == len(config.stages):
        return network
    state, events = network.state_dict(), (config.slots, len(config.stages))
    for layer, shape in (("bins", (config.bins, *events)), ("none", events)):
        for tensor in ("weight", "bias"):
            values = state[f"{layer}.{tensor}"].unflatten(0, shape)
            values = values.index_select(len(shape) - 1, torch.tensor(keep))
            state[f"{layer}.{tensor}"] = values.flatten(0, len(shape) - 1)
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
    in_season: bool = False,
    runtime: str = PYTORCH,
) -> Dates[NDArray[np.float32]]:
    """Predict the dates of all pixels of a tile that have a whole patch around them.

    Equal to the dates of their patches, one by one, except for rounding (1e-5 in probabilities).
    Uses the number of cores that PyTorch is set to (``torch.set_num_threads``,
    ``OMP_NUM_THREADS``).

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        In evaluation mode.
    optical : ndarray of float32 (dates, 4, H, W)
        Reflectance of blue, green, red, nir with the halo `grid.PATCH_HALO`; NaN = no data, masked
        or beyond the region. Either sensor may have no date at all.
    optical_days : ndarray (dates,)
        Days since 1 January of the target year.
    radar : ndarray of float32 (dates, 2, H, W)
        Backscatter of vv, vh in dB.
    radar_days : ndarray (dates,)
    orbits : ndarray of int (dates,)
        Number of a radar date's relative orbit, from 0.
    wanted : ndarray of bool (H - 17, W - 17), optional
        Pixels to predict; the other pixels get no event, with probability 0. By default all.
    precision : str
        One of `PRECISIONS`.
    in_season : bool
        Whether the images end before the year does: as of `deepcrop.network.model.DeepCrop.decode`.
    runtime : str
        One of `RUNTIMES`, as of `deepcrop.network.runtime.choose_runtime`.

    Returns
    -------
    Dates
        NumPy arrays of float32 (H - 17, W - 17, slots, stages). A pixel without any data gets the
        network's prediction from no observations.

    Raises
    ------
    DeepCropError
        If the sensors differ in size, the tile is smaller than a patch, or the compiled network
        cannot compute this network, precision or device.
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
    on_cpu = Batch(
        torch.from_numpy(optical)[None],
        torch.from_numpy(np.asarray(optical_days, np.float32))[None],
        torch.from_numpy(radar)[None],
        torch.from_numpy(np.asarray(radar_days, np.float32))[None],
        torch.from_numpy(np.asarray(orbits, np.int64))[None],
    )
    images = Batch(*(tensor.to(device) for tensor in on_cpu))
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
    compiled = _compiled(network, runtime, precision, device)
    predict_piece = partial(
        _piece_dates, network, compiled, images, wanted, PRECISIONS[precision], in_season
    )
    if not on_gpu:
        _keep_memory()
    # Convolutions are fastest with this memory layout.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cores = 1 if on_gpu else torch.get_num_threads()
    with ThreadPoolExecutor(cores, initializer=_one_core) as pool:
        predictions = pool.map(predict_piece, (piece.core for piece in pieces))
        for piece, dates in zip(pieces, predictions, strict=True):
            pixels = slice(None) if wanted is None else wanted[piece.core].reshape(-1)
            for array, values in zip(arrays, dates, strict=True):
                block = array[piece.core].reshape(-1, *events)
                block[pixels] = values
                array[piece.core] = block.reshape(*piece.shape, *events)
    return Dates(*arrays)


@cache
def _keep_memory() -> None:
    """Let the C library keep freed memory for the next array; this saves a quarter of the time.

    By default glibc returns large arrays to the system at once, and every new one is then cleared
    page by page.
    """
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such setting
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _one_core() -> None:
    torch.set_num_threads(1)


@torch.inference_mode()
def _piece_dates(
    network: Network,
    compiled: CompiledNetwork | None,
    images: Batch,
    wanted: NDArray[np.bool_] | None,
    precision: torch.dtype,
    in_season: bool,
    core: tuple[slice, slice],
) -> list[NDArray[np.float32]]:
    """Dates (pixels, slots, stages) of a piece; ``core`` counts from the first inner pixel."""
    batch = _cut(images, core)
    device = batch.optical.device
    size = (core[0].stop - core[0].start) * (core[1].stop - core[1].start)
    pixels = np.arange(size) if wanted is None else np.flatnonzero(wanted[core])
    step = PIXELS if device.type == "cpu" else GPU_PIXELS
    predictions = []
    if compiled is not None:
        seen = compiled.encode(batch)
        for first in range(0, len(pixels), step):
            found = compiled.logits(seen, pixels[first : first + step])
            predictions.append(compiled.decode(found, in_season))
        return [np.concatenate(parts) for parts in zip(*predictions, strict=True)]
    lower_precision = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    with lower_precision:
        features = network.encode(batch, dense=True)
    for numbers in torch.from_numpy(pixels).split(step):  # type: ignore[no-untyped-call]
        # A slice makes a view, an index copies.
        chosen = slice(numbers[0], numbers[-1] + 1) if wanted is None else numbers.to(device)
        selected = {name: sensor.select(chosen) for name, sensor in features.items()}
        with lower_precision:
            logits = network.head(selected)
        dates = network.decode(logits.float(), selected, in_season)
        predictions.append([values.cpu().numpy() for values in dates])
    return [np.concatenate(parts) for parts in zip(*predictions, strict=True)]


def _compiled(
    network: Network, runtime: str, precision: str, device: torch.device
) -> CompiledNetwork | None:
    """Lay out a network for the compiled kernels; None where PyTorch computes all."""
    if runtime not in RUNTIMES:
        raise DeepCropError(f"Runtime {runtime!r} is unknown; expected {' or '.join(RUNTIMES)}.")
    if runtime == PYTORCH:
        return None
    # Imported only here: a machine with a GPU may lack what the kernels need.
    from deepcrop.network.compiled import CompiledNetwork, can_compile

    if not can_compile(network):
        raise DeepCropError(
            "The compiled network does not know the architecture of these weights "
            f"({network.config.variant}). Choose runtime 'pytorch'."
        )
    if device.type != "cpu" or precision != "float32":
        raise DeepCropError(
            f"The compiled network computes in float32 on a CPU; here it is in {precision} on "
            f"{device}. Choose runtime 'pytorch'."
        )
    return CompiledNetwork(network)


def _cut(images: Batch, core: tuple[slice, slice]) -> Batch:
    """Images of a piece with its halo, without the dates that have no data in it."""
    halo = sum(grid.PATCH_HALO)
    rows, cols = (slice(side.start, side.stop + halo) for side in core)

    optical, radar = images.optical[..., rows, cols], images.radar[..., rows, cols]
    keep = grid.inner(optical).isfinite().all(2).flatten(2).any(2)[0]
    # Radar dates with data only in the halo stay: they enter the median over time of halo pixels.
    keep_radar = radar.isfinite().all(2).flatten(2).any(2)[0]
    return Batch(
        optical[:, keep],
        images.optical_days[:, keep],
        radar[:, keep_radar],
        images.radar_days[:, keep_radar],
        images.orbits[:, keep_radar],
    )
