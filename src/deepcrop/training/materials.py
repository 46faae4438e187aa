"""Prepare the training and held-out examples of an experiment; simulated data is made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from deepcrop.cameras.clusters import NEAR
from deepcrop.cameras.site_years import CameraYear, read_network
from deepcrop.cameras.spatial_split import TEST_PLACES, TEST_SITES, folds, trainable
from deepcrop.errors import DeepCropError
from deepcrop.grid import PATCH_SIZE
from deepcrop.network.config import CONFIGS, Config
from deepcrop.training import real_excerpts, simulated_cameras, tile_store
from deepcrop.training.examples import Example, from_sample, from_simulated_tile
from deepcrop.training.fit import Source
from deepcrop.training.samples import VIEW_DISTANCE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.training.experiment import Experiment

TESTED_ELSEWHERE = {"goodwaterbau": (39.2312, -92.1522)}
"""Cameras whose real images test the weights, with latitude and longitude; their clusters are not
trained on either."""

FIRST_YEAR = 2016
"""First target year of a camera: before it the two satellites did not cover a whole season."""

HELD_OUT_TILES = 100
"""Number of simulated tiles, the last ones of an experiment, that are held out."""

FOLDS = 8
"""Number of folds, at most, into which the training clusters are divided; the first is held out."""

PLACES = {"field": VIEW_DISTANCE, "mast": 0.0}
"""Where the patch of a camera lies, as metres along its view: our networks read the field that it
looks at, the published ones the pixels around the mast."""

T = TypeVar("T")


class Mapped(Sequence[Example], Generic[T]):
    """Examples computed from packed items each time they are read, to save memory."""

    def __init__(self, items: Sequence[T], make: Callable[[T], Example]):
        self.items, self.make = items, make

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Make example number ``k``."""
        return self.make(self.items[k])


@dataclass(frozen=True, eq=False)
class Material:
    """Examples of one kind of training data.

    Attributes
    ----------
    sources : list of Source
        Training examples; the phase decides how many are in a batch.
    held_out : list of Source
        Examples for early stopping and calibration.
    card : Any
        Entry of the weights' card, in JSON types.
    """

    sources: list[Source]
    held_out: list[Source]
    card: Any


def material(
    kind: str, experiment: Experiment, data: Path | None, store: Path, workers: int = 1
) -> Material:
    """Simulate or read one kind of training data of an experiment.

    Parameters
    ----------
    kind : str
        One of `deepcrop.training.experiment.KINDS`.
    experiment : Experiment
    data : Path, optional
        Folder with ``phenocam/series``, ``phenocam/sites.csv`` and the real excerpts; needed for
        cameras and places.
    store : Path
        Folder for simulated data, which other experiments can share.
    workers : int
        Processes that simulate.

    Raises
    ------
    DeepCropError
        If the data is missing.
    """
    if kind == "simulated_tiles":
        return _simulated_tiles(experiment, store, workers)
    if data is None:
        raise DeepCropError(f"Training on {kind} needs real data; name its folder (data).")
    if kind == "cameras":
        return _cameras(experiment, data, store, workers)
    return _places(experiment, data)


def _simulated_tiles(experiment: Experiment, store: Path, workers: int) -> Material:
    count = experiment.simulated_tiles + HELD_OUT_TILES
    paths = tile_store.simulate_tiles(store / "simulated_tiles", count, experiment.seed, workers)
    tiles = tile_store.StoredTiles(paths)
    training_tiles = tiles[: experiment.simulated_tiles]
    held_out_tiles = tiles[experiment.simulated_tiles : count]
    return Material(
        [Source("simulated_tiles", Mapped(training_tiles, from_simulated_tile), pixels=49)],
        [Source("simulated_tiles", Mapped(held_out_tiles, from_simulated_tile), 1, 4, 32)],
        f"{experiment.simulated_tiles} simulated tiles, seed {experiment.seed}",
    )


def _cameras(experiment: Experiment, data: Path, store: Path, workers: int) -> Material:
    years = camera_years(data)
    place = place_of(CONFIGS[experiment.network])
    name = "cameras" if place == "field" else f"cameras_{place}"
    samples = simulated_cameras.simulated_samples(
        years,
        store / f"{name}_{experiment.repeats}_{experiment.seed}.npz",
        experiment.repeats,
        PLACES[place],
        experiment.seed,
        workers,
    )
    training_numbers, held_out_numbers = (
        [k for k, fact in enumerate(samples.facts) if fact["site"] in sites]
        for sites in training_sites(years)
    )
    card = {
        "pixels": simulated_cameras.STATEMENT,
        "sites": {
            fact["site"]: (fact["latitude"], fact["longitude"])
            for fact in (samples.facts[k] for k in sorted((*training_numbers, *held_out_numbers)))
        },
        "excluded": [*TEST_SITES, *TESTED_ELSEWHERE],
    }

    def example(number: int) -> Example:
        return from_sample(samples[number])

    return Material(
        [Source("cameras", Mapped(training_numbers, example))],
        [Source("cameras", Mapped(held_out_numbers, example), 1, 32)],
        card,
    )


def _places(experiment: Experiment, data: Path) -> Material:
    examples = real_excerpts.training_examples(data, experiment.places)
    tiles = [example for example in examples if example.optical.shape[-1] > PATCH_SIZE]
    patches = [example for example in examples if example.optical.shape[-1] == PATCH_SIZE]
    sources = [Source("tiles", tiles, pixels=49), Source("patches", patches)]
    card = [real_excerpts.SOURCES[name] for name in experiment.places]
    return Material([source for source in sources if source.examples], [], card)


def read_cameras(data: Path) -> list[CameraYear]:
    """Read the site-years of all cameras in ``data/phenocam``: series, view directions, crops.

    Raises
    ------
    DeepCropError
        If there is no series.
    """
    folder = data / "phenocam"
    series = sorted((folder / "series").glob("*.csv"))
    if not series:
        raise DeepCropError(f"{folder / 'series'} holds no PhenoCam series (*_3day.csv).")
    directions, crops = folder / "sites.csv", folder / "crop_type_by_site_year.csv"
    return read_network(
        series, directions if directions.exists() else None, crops if crops.exists() else None
    )


def camera_years(data: Path) -> list[CameraYear]:
    """Read the site-years that the screening accepted, from `FIRST_YEAR` on."""
    return [year for year in read_cameras(data) if year.accepted and year.year >= FIRST_YEAR]


def training_sites(years: Sequence[CameraYear]) -> tuple[set[str], set[str]]:
    """Choose the sites to train on, and the held-out sites; no cluster has sites of both."""
    eligible = trainable(years, TEST_PLACES | TESTED_ELSEWHERE)
    held = held_out(eligible)
    return (
        {year.site for year, is_held_out in zip(eligible, held, strict=True) if not is_held_out},
        {year.site for year, is_held_out in zip(eligible, held, strict=True) if is_held_out},
    )


def held_out(years: Sequence[CameraYear]) -> NDArray[np.bool_]:
    """Choose the held-out site-years: an eighth of the clusters.

    They decide on early stopping and calibration.

    Raises
    ------
    DeepCropError
        If there are fewer than two clusters.
    """
    clusters = len({year.cluster for year in years})
    if clusters < 2:
        raise DeepCropError(
            f"Cameras of at least two clusters are needed, more than {NEAR:.0f} km from each "
            f"other and from the test sites: one to train on, one to be held out for early "
            f"stopping. There {'is 1' if clusters else 'is none'}."
        )
    return np.asarray(folds(years, min(FOLDS, clusters)) == 0)


def place_of(config: Config) -> str:
    """Where the patches of a network lie (a key of `PLACES`)."""
    return "mast" if config.variant == "paper" else "field"
