"""Predict one pixel with the network: the distribution over days of each stage.

A map contains the median and the 90 % interval of each of these distributions.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.errors import DeepCropError
from deepcrop.mapping.inputs import images_of, orbits_of, padded
from deepcrop.mapping.status import season_is_open
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}

_NETWORK_LOCK = Lock()
"""Held while the network runs, which uses all cores itself."""


@dataclass(frozen=True)
class StageDistribution:
    """Distribution over days of one stage of one season.

    Attributes
    ----------
    stage : str
    season : int
    probability : float
        Probability that the stage occurs.
    day, low, high : float
        Median and 90 % interval, given that the stage occurs; NaN where that is unlikely.
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
class PixelPrediction:
    """Distributions of all stages and seasons of a pixel.

    Attributes
    ----------
    edges : ndarray of float32
        Edges of the bins, days since 1 January of the target year.
    distributions : tuple of StageDistribution
    """

    edges: NDArray[np.float32]
    distributions: tuple[StageDistribution, ...]


class PixelNetwork:
    """Predict single pixels of one cube with the weights of the package.

    Parameters
    ----------
    cube : DataTree
        A checked cube.
    year : int
        Target year.
    sensors : sequence of str
        Groups of the cube that the network reads.
    definition : str
        What a date means, one of `deepcrop.network.config.DEFINITIONS`.
    until : date, optional
        Last day of which observations are read.

    Raises
    ------
    DeepCropError
        If PyTorch or the weights are missing, or the radar of the cube does not fit the weights.
    """

    def __init__(
        self,
        cube: xr.DataTree,
        year: int,
        sensors: Iterable[str],
        definition: str = "camera",
        until: datetime.date | None = None,
    ):
        from deepcrop.network import DeepCrop, check_cube, check_near_infrared, load
        from deepcrop.network.config import DEFINITIONS
        from deepcrop.network.weights import check_pixels, shipped

        file = shipped()
        with file.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        network, about = load(file)
        self._in_season = season_is_open(until, year)
        assert isinstance(network, DeepCrop)  # the paper's architecture has no distributions
        self._network = network
        self._stages = DEFINITIONS[definition]
        self.title = str(about["card"].get("title", file.name))
        self._images = {
            name: images_of(cube, name, _BANDS[name], year, until=until)
            for name in sensors
            if name in cube.children
        }
        for name in self._images:
            check_pixels(grid.grid_of(cube[name].to_dataset()), about["inputs"])
        if "sar" in self._images:
            check_near_infrared(cube, about["inputs"], self._network.config.sensors)
            check_cube(cube, about["inputs"], self._network.config.sensors)
        if not any(images.days.size for images in self._images.values()):
            raise DeepCropError(f"The cube has no observation of {year} for the network.")

    def predict(self, row: int, col: int) -> PixelPrediction:
        """Run the network on the patch around a pixel; pixels outside the cube are empty."""
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
                torch.from_numpy(array)[None]
                for array in (
                    stacks["optical"],
                    days["optical"],
                    stacks["sar"],
                    days["sar"],
                    orbits,
                )
            )
        )
        network = self._network
        with _NETWORK_LOCK, torch.inference_mode():
            encoded = network.encode(batch)
            logits = network.head(encoded)
            dates = network.decode(logits, encoded, self._in_season)
            # Without the last bin, which is the probability that the stage does not occur.
            shares = network.distributions(logits, self._in_season)[0, ..., :-1]
        distributions = []
        for slot in range(shares.shape[0]):
            for stage, known_as in zip(CALENDAR, self._stages, strict=True):
                k = network.config.stages.index(known_as)
                day, low, high, probability = (float(output[0, slot, k]) for output in dates)
                bins = shares[slot, k].numpy()
                distributions.append(
                    StageDistribution(stage, slot + 1, probability, day, low, high, bins)
                )
        return PixelPrediction(network.edges.numpy(), tuple(distributions))


def _patch(data: xr.Dataset, row: int, col: int) -> grid.Tile:
    """Return the patch around one pixel as a tile, cut at the edge of the cube."""
    before, after = grid.PATCH_HALO
    window, pad = [], []
    for at, length in ((row, data.sizes["y"]), (col, data.sizes["x"])):
        first, last = max(at - before, 0), min(at + after + 1, length)
        window.append(slice(first, last))
        pad.append((first - (at - before), at + after + 1 - last))
    core = (slice(row, row + 1), slice(col, col + 1))
    return grid.Tile((0, 0), core, (window[0], window[1]), (pad[0], pad[1]))


def prediction_json(prediction: PixelPrediction) -> dict[str, Any]:
    """Return a prediction as JSON for the page; NaN becomes null."""

    def rounded(day: float) -> float | None:
        return round(day, 1) if math.isfinite(day) else None

    return {
        "edges": prediction.edges.tolist(),
        "distributions": [
            {
                "stage": distribution.stage,
                "season": distribution.season,
                "probability": round(distribution.probability, 4),
                "day": rounded(distribution.day),
                "low": rounded(distribution.low),
                "high": rounded(distribution.high),
                "bins": np.round(distribution.bins.astype(float), 5).tolist(),
            }
            for distribution in prediction.distributions
        ],
    }


def prediction_rows(prediction: PixelPrediction, year: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows for `pixel_series.write_csv`: the probability of each bin, by its middle."""
    middles = (prediction.edges[:-1] + prediction.edges[1:]) / 2
    dates = stages.to_dates(middles, year)
    note = f"share of a bin of {prediction.edges[1] - prediction.edges[0]:g} days, by its middle"
    for distribution in prediction.distributions:
        for day, date, share in zip(
            middles.tolist(), dates, distribution.bins.tolist(), strict=True
        ):
            name = f"network distribution {distribution.stage}"
            yield name, distribution.season, f"{day:g}", str(date), f"{share:.5g}", "1", note
