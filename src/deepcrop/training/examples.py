"""Examples for the network: tiles and patches with their labels, and their collation to batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.network.config import CURVE, Config
from deepcrop.network.sensor_branch import Batch
from deepcrop.network.targets import Labels
from deepcrop.stages import CALENDAR, Dates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from deepcrop.network.weights import Network
    from deepcrop.training.samples import Sample
    from deepcrop.training.simulated_tiles import SimulatedTile

EVENTS = CALENDAR + CURVE
"""Events of the labels of an example, along their last axis: dates of the camera definition, then
those of the NDVI-curve definition."""

SPREAD_OF_INTERVAL = 1 / 3.29
"""Standard deviation of a normal distribution per width of its 90 % interval."""


@dataclass(frozen=True, eq=False)
class Example:
    """Time series of images, and labels of those pixels that have a whole patch around them.

    Attributes
    ----------
    optical : ndarray of float32 (dates, 4, H, W)
        Reflectance of blue, green, red, nir; NaN = no data or masked.
    optical_days : ndarray of float32 (dates,)
        Days since 1 January of the target year.
    radar : ndarray of float32 (dates, 2, H, W)
        Backscatter of vv, vh in dB.
    radar_days : ndarray of float32 (dates,)
    orbits : ndarray of int (dates,)
        Number of a radar date's relative orbit, from 0.
    day, spread : ndarray of float32 (pixels, 2, 10)
        Slot by `EVENTS`: days and their standard deviation. Pixels are those of the inner
        (H - 17) x (W - 17), row by row; one for a patch.
    none : ndarray of bool (pixels, 2, 10)
        Whether it is known that there is no such event. Where this is false and the day is NaN,
        nothing is known.
    """

    optical: NDArray[np.float32]
    optical_days: NDArray[np.float32]
    radar: NDArray[np.float32]
    radar_days: NDArray[np.float32]
    orbits: NDArray[np.int64]
    day: NDArray[np.float32]
    spread: NDArray[np.float32]
    none: NDArray[np.bool_]


def from_sample(sample: Sample) -> Example:
    """Make an example of a camera's sample; the dates of the NDVI curve are unknown."""
    shape = (1, stages.SLOTS, len(EVENTS))
    day = np.full(shape, np.nan, np.float32)
    spread = np.full(shape, np.nan, np.float32)
    none = np.zeros(shape, np.bool_)
    camera = slice(0, len(CALENDAR))
    day[0, :, camera] = sample.day
    spread[0, :, camera] = (sample.high - sample.low) * SPREAD_OF_INTERVAL
    none[0, :, camera] = sample.none
    patch = sample.patch
    orbits = np.unique(patch.orbits, return_inverse=True)[1].astype(np.int64)
    return Example(
        patch.optical, patch.optical_days, patch.radar, patch.radar_days, orbits, day, spread, none
    )  # fmt: skip


def from_simulated_tile(tile: SimulatedTile) -> Example:
    """Make an example of a simulated tile, whose labels are exact by both date definitions."""
    day = np.concatenate([tile.camera, tile.curve], -1)
    return Example(
        tile.optical, tile.optical_days, tile.radar, tile.radar_days, tile.orbits,
        day, np.zeros_like(day), np.isnan(day),
    )  # fmt: skip


def collate(examples: Sequence[Example], config: Config) -> tuple[Batch, Labels]:
    """Stack examples of one size, dates padded, with the labels of the events of a network.

    Returns
    -------
    batch : Batch
    labels : Labels
        Arrays (examples · pixels, slots, stages).
    """

    def pad(arrays: list[NDArray[Any]], empty: float, dtype: type) -> Tensor:
        longest = max(max(len(array) for array in arrays), 1)
        padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), empty, dtype)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(padded)

    nan = float("nan")
    batch = Batch(
        pad([example.optical for example in examples], nan, np.float32),
        pad([example.optical_days for example in examples], nan, np.float32),
        pad([example.radar for example in examples], nan, np.float32),
        pad([example.radar_days for example in examples], nan, np.float32),
        pad([example.orbits for example in examples], 0, np.int64),
    )
    events = [EVENTS.index(name) for name in config.stages]

    def labels(name: str) -> Tensor:
        values = np.concatenate([getattr(example, name) for example in examples])
        return torch.from_numpy(np.ascontiguousarray(values[:, : config.slots, events]))

    return batch, Labels(labels("day"), labels("spread"), labels("none"))


def predict(
    network: Network,
    examples: Iterable[Example],
    batch: int = 32,
    dense: bool = False,
    in_season: bool = False,
) -> Dates[NDArray[np.float32]]:
    """Predict the dates of all pixels of examples.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        Is switched to evaluation mode.
    examples : iterable of Example
        All of one size.
    batch : int
        Examples in a batch.
    dense : bool
        Whether examples are tiles; otherwise they are patches of one pixel each.
    in_season : bool
        Whether the images end before the year does: as of `deepcrop.network.model.DeepCrop.decode`.

    Returns
    -------
    Dates
        Arrays (pixels, slots, stages), pixels of one example after another.
    """
    network.eval()
    device = next(network.parameters()).device
    predictions: list[Dates[Tensor]] = []
    waiting: list[Example] = []

    def predict_waiting() -> None:
        images = collate(waiting, network.config)[0]
        images = Batch(*(tensor.to(device) for tensor in images))
        features = network.encode(images, dense)
        predictions.append(network.decode(network.head(features), features, in_season))
        waiting.clear()

    with torch.inference_mode():
        for example in examples:
            waiting.append(example)
            if len(waiting) == batch:
                predict_waiting()
        if waiting:
            predict_waiting()
    if not predictions:
        raise DeepCropError("There is no example to predict.")
    day, low, high, probability = (
        torch.cat(arrays).float().cpu().numpy() for arrays in zip(*predictions, strict=True)
    )
    return Dates(day, low, high, probability)


def select_scenes(example: Example, optical: NDArray[Any], radar: NDArray[Any]) -> Example:
    """Select scenes of each sensor by index or mask."""
    return replace(
        example,
        optical=example.optical[optical],
        optical_days=example.optical_days[optical],
        radar=example.radar[radar],
        radar_days=example.radar_days[radar],
        orbits=example.orbits[radar],
    )
