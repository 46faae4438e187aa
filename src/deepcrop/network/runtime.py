"""Choose what computes the temporal part of a network on a CPU.

The compiled kernels (`deepcrop.network.compiled`) are faster than PyTorch, and their dates are the
same but for rounding. Before a process uses them it maps a few pixels by both and compares; where
the kernels cannot be used, PyTorch is, and a warning says why.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.grid import PATCH_SIZE
from deepcrop.network.inference import COMPILED, PYTORCH, tile_dates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.network.weights import Network
    from deepcrop.stages import Dates

_Images = tuple[
    "NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.float32]",
    "NDArray[np.integer]",
]  # fmt: skip

_log = logging.getLogger(__name__)

NEAR_DAYS, NEAR_PROBABILITY = 0.01, 1e-4
"""Largest difference between dates, days, and between probabilities that counts as rounding."""

_SIDE = 6
"""Side of the tile that is mapped by both, pixels."""

_problems: dict[str, str] = {}


def choose_runtime(network: Network, key: str) -> str:
    """Choose one of `deepcrop.network.inference.RUNTIMES`, once in a process.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        On the device that it will run on.
    key : str
        Of its weights: networks with the same key are taken for the same.

    Returns
    -------
    str
        PyTorch with a warning where the compiled kernels fail, give other dates or would be slow;
        without one on a GPU, and for an architecture that the kernels do not know.

    Raises
    ------
    OSError, MemoryError
        If the check had no room, on a disk for example: the same command may have it later.
    """
    return PYTORCH if why_not_compiled(network, key) else COMPILED


def why_not_compiled(network: Network, key: str) -> str:
    """Say why the compiled network cannot be used, as of `choose_runtime`; empty if it can."""
    device = next(network.parameters()).device
    if device.type != "cpu":
        return f"computes on a CPU, and this network is on {device}"
    if key not in _problems:
        _problems[key] = _problem(network)
    return _problems[key]


def _problem(network: Network) -> str:
    """Try the kernels; a problem is also a warning, except where they are not meant for it."""
    try:
        from deepcrop.network.compiled import can_compile
        from deepcrop.network.simd import can_multiply_and_add

        if not can_compile(network):
            return f"does not know the architecture of these weights ({network.config.variant})"
        if can_multiply_and_add():
            tile = _tile()
            compiled, pytorch = (
                tile_dates(network, *tile, runtime=name) for name in (COMPILED, PYTORCH)
            )
            problem = difference(compiled, pytorch, network.config.threshold)
        else:
            problem = (
                "would be slow, since numba compiles for a processor that does not multiply and "
                "add in one step (FMA)"
            )
    except (OSError, MemoryError):  # no lasting property of this machine: not a reason to choose
        raise
    except Exception as error:  # whatever fails in numba or LLVM: PyTorch is there
        problem = f"cannot be used ({type(error).__name__}: {error})"
    if problem:
        _log.warning("The compiled network %s; PyTorch computes the map instead.", problem)
    return problem


def difference(
    found: Dates[NDArray[np.float32]], expected: Dates[NDArray[np.float32]], threshold: float
) -> str:
    """Say how dates differ by more than rounding; empty if they do not.

    A date may be missing in one of them only where its probability is that of the ``threshold``.
    """
    assert found.probability is not None
    assert expected.probability is not None
    if not (np.isfinite(found.probability) & np.isfinite(expected.probability)).all():
        return "gives probabilities that are no numbers"
    apart = np.abs(found.probability - expected.probability)
    if apart.max() > NEAR_PROBABILITY:
        return f"gives other probabilities (by up to {apart.max():.2g})"
    undecided = np.abs(expected.probability - threshold) <= NEAR_PROBABILITY
    for part in ("day", "low", "high"):
        ours, other = getattr(found, part), getattr(expected, part)
        one = (np.isfinite(ours) != np.isfinite(other)) & ~undecided
        if one.any():
            return f"gives dates that PyTorch does not, or lacks some ({one.sum()} of {one.size})"
        both = np.isfinite(ours) & np.isfinite(other)
        if (days := np.abs(ours - other)[both]).size and days.max() > NEAR_DAYS:
            return f"gives other dates (by up to {days.max():.3g} days)"
    return ""


def _tile() -> _Images:
    """Images of fields that green up at different times, with noise and clouds."""
    rng = np.random.default_rng(1)
    side = _SIDE + PATCH_SIZE - 1
    up = (
        rng.uniform(60, 200, (-(-side // 6), -(-side // 6))).repeat(6, 0).repeat(6, 1)[:side, :side]
    )

    def green(days: NDArray[np.float32]) -> NDArray[np.float32]:
        since = days[:, None, None] - up
        grown = 1 / (1 + np.exp(-since / 9)) - 1 / (1 + np.exp((110 - since) / 11))
        return np.asarray(grown, np.float32)

    optical_days = np.arange(-20, 400, 12, dtype=np.float32)
    radar_days = np.arange(-15, 390, 18, dtype=np.float32)
    grown = green(optical_days)
    bands = (0.06 - 0.03 * grown, 0.09 - 0.02 * grown, 0.12 - 0.08 * grown, 0.2 + 0.25 * grown)
    optical = np.stack(bands, 1) + rng.normal(0, 0.006, (len(grown), 4, side, side))
    optical[(rng.random((len(grown), 1, side, side)) < 0.3).repeat(4, 1)] = np.nan
    grown = green(radar_days)
    radar = np.stack((-12 + 2.5 * grown, -19 + 5 * grown), 1)
    radar += rng.normal(0, 1.2, radar.shape)
    orbits = np.arange(len(radar_days)) % 2
    return (
        optical.astype(np.float32), optical_days, radar.astype(np.float32), radar_days, orbits,
    )  # fmt: skip
