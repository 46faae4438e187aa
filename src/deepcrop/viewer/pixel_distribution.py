"""The network's answer for one pixel: on which day each event was, as a distribution.

A map holds the median and the ends of an interval; here is what they are read off.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.errors import DeepCropError
from deepcrop.mapping.inputs import images_of, orbits_of, padded
from deepcrop.stages import CALENDAR

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}

_ONE_AT_A_TIME = Lock()
"""The network uses all cores itself."""


@dataclass(frozen=True)
class Event:
    """One stage of one season.

    Attributes
    ----------
    stage : str
    season : int
    probability : float
        That there is the event.
    day, low, high : float
        Median and 90 % interval, given that there is; NaN where it is unlikely.
    bins : ndarray of float32
        Probability of each bin of days; they add up to `probability`.
    """

    stage: str
    season: int
    probability: float
    day: float
    low: float
    high: float
    bins: NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """All events of a pixel.

    Attributes
    ----------
    edges : ndarray of float32
        Days since 1 January of the target year between the bins.
    events : tuple of Event
    """

    edges: NDArray[np.float32]
    events: tuple[Event, ...]


class PixelNetwork:
    """The shipped network, for single pixels of one cube.

    Parameters
    ----------
    cube : DataTree
        A checked cube.
    year : int
        Target year.
    sensors : sequence of str
        Groups of the cube that the network reads.

    Raises
    ------
    DeepCropError
        If PyTorch or the weights are not there, or the cube's radar is not what they expect.
    """

    def __init__(self, cube: xr.DataTree, year: int, sensors: Iterable[str]):
        from deepcrop.network import DeepCrop, check_cube, load
        from deepcrop.network.weights import shipped

        file = shipped()
        with file.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        network, about = load(file)
        assert isinstance(network, DeepCrop)  # the paper's gives no distributions; we ship ours
        self._network = network
        self.title = str(about["card"].get("title", file.name))
        self._images = {
            name: images_of(cube, name, _BANDS[name], year)
            for name in sensors
            if name in cube.children
        }
        if "sar" in self._images:
            check_cube(cube, about["inputs"], self._network.config.sensors)
        if not any(images.days.size for images in self._images.values()):
            raise DeepCropError(f"The cube has no observation of {year} for the network.")

    def ask(self, row: int, col: int) -> Answer:
        """Run the network on the patch around a pixel; beyond the cube nothing was seen."""
        import torch

        from deepcrop.network import Batch

        stacks, days = {}, {}
        for name, bands in _BANDS.items():
            if name in self._images:
                images = self._images[name]
                stacks[name] = padded(images.data, _patch(images.data, row, col))
                days[name] = images.days
            else:
                side = grid.PATCH_SIZE
                stacks[name] = np.empty((0, len(bands), side, side), np.float32)
                days[name] = np.empty(0, np.float32)
        orbits = (
            orbits_of(self._images["sar"].data) if "sar" in self._images else np.empty(0, np.int64)
        )
        batch = Batch(
            *(
                torch.from_numpy(part)[None]
                for part in (stacks["optical"], days["optical"], stacks["sar"], days["sar"], orbits)
            )
        )
        network = self._network
        with _ONE_AT_A_TIME, torch.inference_mode():
            seen = network.look(batch)
            logits = network.head(seen)
            dates = network.decode(logits, seen)
            shares = network.distributions(logits)[0, ..., :-1]
        events = []
        for slot in range(shares.shape[0]):
            for stage in CALENDAR:
                k = network.config.stages.index(stage)
                day, low, high, probability = (float(part[0, slot, k]) for part in dates)
                bins = shares[slot, k].numpy()
                events.append(Event(stage, slot + 1, probability, day, low, high, bins))
        return Answer(network.edges.numpy(), tuple(events))


def _patch(data: xr.Dataset, row: int, col: int) -> grid.Tile:
    """Tile of one pixel with the halo of a patch, cut at the edge of the cube."""
    before, after = grid.PATCH_HALO
    window, pad = [], []
    for at, length in ((row, data.sizes["y"]), (col, data.sizes["x"])):
        first, last = max(at - before, 0), min(at + after + 1, length)
        window.append(slice(first, last))
        pad.append((first - (at - before), at + after + 1 - last))
    core = (slice(row, row + 1), slice(col, col + 1))
    return grid.Tile((0, 0), core, (window[0], window[1]), (pad[0], pad[1]))


def answer_json(answer: Answer) -> dict[str, Any]:
    """Form in which the page gets an answer: NaN becomes null."""

    def plain(day: float) -> float | None:
        return round(day, 1) if math.isfinite(day) else None

    return {
        "edges": answer.edges.tolist(),
        "events": [
            {
                "stage": event.stage,
                "season": event.season,
                "probability": round(event.probability, 4),
                "day": plain(event.day),
                "low": plain(event.low),
                "high": plain(event.high),
                "bins": np.round(event.bins.astype(float), 5).tolist(),
            }
            for event in answer.events
        ],
    }


def answer_rows(answer: Answer, year: int) -> Iterator[tuple[Any, ...]]:
    """Rows of `deepcrop.viewer.pixel_series.write_csv`: the probability of each bin, by its middle."""
    middles = (answer.edges[:-1] + answer.edges[1:]) / 2
    dates = stages.to_dates(middles, year)
    note = f"share of a bin of {answer.edges[1] - answer.edges[0]:g} days, by its middle"
    for event in answer.events:
        for day, date, share in zip(middles.tolist(), dates, event.bins.tolist(), strict=True):
            name = f"network distribution {event.stage}"
            yield name, event.season, f"{day:g}", str(date), f"{share:.5g}", "1", note
