"""Examples for the network: tiles and patches with their labels, and how they become batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.network.config import CURVE, Config
from deepcrop.network.sensor_branch import Batch, Series
from deepcrop.network.targets import Labels
from deepcrop.network.weights import Network
from deepcrop.stages import CALENDAR, Dates
from deepcrop.training.samples import Sample
from deepcrop.training.simulated_tiles import Lesson

EVENTS = CALENDAR + CURVE
"""Names of the last axis of an example's labels."""

SPREAD_OF_INTERVAL = 1 / 3.29
"""Standard deviation of a normal distribution by the width of its 90 % interval."""


@dataclass(frozen=True, eq=False)
class Example:
    """Images of a place through time, and the dates of those pixels that have a whole patch.

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
        Whether there is known to be no such event; a day that is NaN where this is false is
        unknown.
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
    """Make an example of a camera's sample; of the curve's dates nothing is known."""
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


def from_lesson(lesson: Lesson) -> Example:
    """Make an example of a simulated tile: both rulers, known to within the least spread."""
    day = np.concatenate([lesson.camera, lesson.curve], -1)
    return Example(
        lesson.optical, lesson.optical_days, lesson.radar, lesson.radar_days, lesson.orbits,
        day, np.zeros_like(day), np.isnan(day),
    )  # fmt: skip


def collate(examples: Sequence[Example], config: Config) -> tuple[Batch, Labels]:
    """Put examples of one size side by side, dates padded; labels as the network has its events.

    Returns
    -------
    batch : Batch
    labels : Labels
        Each part (examples · pixels, slots, stages).
    """

    def pad(parts: list[NDArray], empty: float, dtype: type) -> Tensor:
        longest = max(max(len(part) for part in parts), 1)
        whole = np.full((len(parts), longest, *parts[0].shape[1:]), empty, dtype)
        for row, part in zip(whole, parts, strict=True):
            row[: len(part)] = part
        return torch.from_numpy(whole)

    nan = float("nan")
    batch = Batch(
        pad([one.optical for one in examples], nan, np.float32),
        pad([one.optical_days for one in examples], nan, np.float32),
        pad([one.radar for one in examples], nan, np.float32),
        pad([one.radar_days for one in examples], nan, np.float32),
        pad([one.orbits for one in examples], 0, np.int64),
    )
    events = [EVENTS.index(name) for name in config.stages]

    def chosen(name: str) -> Tensor:
        every = np.concatenate([getattr(one, name) for one in examples])
        return torch.from_numpy(np.ascontiguousarray(every[:, : config.slots, events]))

    return batch, Labels(chosen("day"), chosen("spread"), chosen("none"))


def predict(
    network: Network, examples: Iterable[Example], batch: int = 32, dense: bool = False
) -> Dates[NDArray[np.float32]]:
    """Dates of every pixel of examples, one example after another.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        Put into evaluation mode.
    examples : iterable of Example
        All of one size.
    batch : int
        Examples at a time.
    dense : bool
        Whether examples are tiles; otherwise they are patches of one pixel each.

    Returns
    -------
    Dates
        Arrays (pixels, slots, stages).
    """
    network.eval()
    device = next(network.parameters()).device
    answers: list[Dates[Tensor]] = []
    waiting: list[Example] = []

    def answer() -> None:
        images = collate(waiting, network.config)[0]
        images = Batch(*(part.to(device) for part in images))
        seen: dict[str, Series] = network.look(images, dense)
        answers.append(network.decode(network.head(seen), seen))
        waiting.clear()

    with torch.inference_mode():
        for example in examples:
            waiting.append(example)
            if len(waiting) == batch:
                answer()
        if waiting:
            answer()
    if not answers:
        raise DeepCropError("There is no example to predict.")
    day, low, high, probability = (
        torch.cat(part).float().cpu().numpy() for part in zip(*answers, strict=True)
    )
    return Dates(day, low, high, probability)
