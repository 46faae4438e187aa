"""Training and held-out examples of an experiment, made once and reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepcrop.cameras.clusters import NEAR
from deepcrop.cameras.site_years import CameraYear, read_network
from deepcrop.cameras.spatial_split import TEST_PLACES, TEST_SITES, folds, trainable
from deepcrop.errors import DeepCropError
from deepcrop.grid import PATCH_SIZE
from deepcrop.network.config import CONFIGS, Config
from deepcrop.simulation import REVISION
from deepcrop.training import real_excerpts, samples, simulated_cameras, tile_store
from deepcrop.training import samples as training_samples
from deepcrop.training.examples import Example, from_lesson, from_sample
from deepcrop.training.experiment import Experiment
from deepcrop.training.fit import Source
from deepcrop.training.samples import VIEW_DISTANCE, SampleSet

TESTED_ELSEWHERE = {"goodwaterbau": (39.2312, -92.1522)}
"""Cameras whose real images test the weights, and where; their clusters do not train either."""

FIRST_YEAR = 2016
"""First target year of a camera: before it both satellites did not look all year."""

HELD_LESSONS = 100
"""The last lessons of an experiment, which are held out."""

FOLDS = 8
"""Clusters that may train are dealt into so many parts, or fewer; the first is held out."""

PLACES = {"field": VIEW_DISTANCE, "mast": 0.0}
"""Where patches of cameras lie, metres along the view: ours on the field seen, the paper's on the
mast."""

T = TypeVar("T")


class Mapped(Sequence[Example], Generic[T]):
    """Examples made of something else whenever they are asked for: memory stays packed."""

    def __init__(self, items: Sequence[T], make: Callable[[T], Example]):
        self.items, self.make = items, make

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, k):
        """Make example number ``k``."""
        return self.make(self.items[k])


@dataclass(frozen=True, eq=False)
class Material:
    """What one kind of example gives: sources to learn from, held-out ones, and their card.

    How many examples of a source are in a batch says the phase.
    """

    sources: list[Source]
    held_out: list[Source]
    card: Any


def material(
    kind: str, experiment: Experiment, data: Path | None, store: Path, workers: int = 1
) -> Material:
    """Make or read what an experiment learns from.

    Parameters
    ----------
    kind : str
        "lessons", "cameras" or "places", see `Phase`.
    experiment : Experiment
    data : Path, optional
        Folder with ``phenocam/series``, ``phenocam/sites.csv`` and the real excerpts; needed for
        cameras and places.
    store : Path
        Folder for what is simulated; it is made once, and other experiments may use it.
    workers : int
        Processes that simulate.

    Raises
    ------
    DeepCropError
        If the data is missing.
    """
    if kind == "lessons":
        count = experiment.lessons + HELD_LESSONS
        paths = tile_store.make(store / "lessons", count, experiment.seed, workers)
        lessons = tile_store.Lessons(paths)
        train, held = lessons[: experiment.lessons], lessons[experiment.lessons : count]
        return Material(
            [Source("lessons", Mapped(train, from_lesson), pixels=49)],
            [Source("lessons", Mapped(held, from_lesson), 1, 4, 32)],
            f"{experiment.lessons} simulated tiles, seed {experiment.seed}",
        )
    if data is None:
        raise DeepCropError(f"To learn from {kind}, name the folder of real data with --data.")
    if kind == "cameras":
        years = camera_years(data)
        every = camera_samples(experiment, years, store, workers)
        train, held = (
            [k for k, fact in enumerate(every.facts) if fact["site"] in chosen]
            for chosen in training_sites(years)
        )
        card: Any = {
            "pixels": simulated_cameras.STATEMENT,
            "sites": {
                fact["site"]: (fact["latitude"], fact["longitude"])
                for fact in (every.facts[k] for k in sorted((*train, *held)))
            },
            "never": [*TEST_SITES, *TESTED_ELSEWHERE],
        }
        return Material(
            [Source("cameras", Mapped(train, lambda k: from_sample(every[k])))],
            [Source("cameras", Mapped(held, lambda k: from_sample(every[k])), 1, 32)],
            card,
        )
    examples = real_excerpts.fine_tune_examples(data, list(experiment.places))
    tiles = [one for one in examples if one.optical.shape[-1] > PATCH_SIZE]
    patches = [one for one in examples if one.optical.shape[-1] == PATCH_SIZE]
    sources = [Source("tiles", tiles, pixels=49), Source("patches", patches)]
    card = [real_excerpts.SOURCES[name] for name in experiment.places]
    return Material([one for one in sources if len(one.examples)], [], card)


def read_cameras(data: Path) -> list[CameraYear]:
    """Every camera's site-years in ``data/phenocam``: series, directions, crops.

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
    """Site-years that the screening accepted, since there is a Sentinel-2."""
    return [year for year in read_cameras(data) if year.accepted and year.year >= FIRST_YEAR]


def training_sites(years: Sequence[CameraYear]) -> tuple[set[str], set[str]]:
    """Sites to learn from, and those of other clusters that decide when to stop and calibrate."""
    train = trainable(years, TEST_PLACES | TESTED_ELSEWHERE)
    held = held_out(train)
    learn, check = (
        {year.site for year, use in zip(train, which, strict=True) if use}
        for which in (~held, held)
    )
    return learn, check


def held_out(years: Sequence[CameraYear]) -> NDArray[np.bool_]:
    """Which site-years decide when to stop and calibrate: an eighth, of clusters of their own.

    Raises
    ------
    DeepCropError
        If all are of one cluster.
    """
    clusters = len({year.cluster for year in years})
    if clusters < 2:
        raise DeepCropError(
            f"Cameras of at least two clusters are needed, more than {NEAR:.0f} km from each "
            f"other and from the test sites: one to learn from, one that decides when to stop. "
            f"There {'is 1' if clusters else 'is none'}."
        )
    return folds(years, min(FOLDS, clusters)) == 0


def camera_samples(
    experiment: Experiment, years: Sequence[CameraYear], store: Path, workers: int = 1
) -> SampleSet:
    """Simulate, once, satellites over all cameras, test sites' too."""
    place = place_of(CONFIGS[experiment.network])
    name = "cameras" if place == "field" else f"cameras_{place}"
    path = store / f"{name}_{experiment.realisations}_{experiment.seed}.npz"
    if not path.exists():
        store.mkdir(parents=True, exist_ok=True)
        runs = range(experiment.realisations)
        simulated_cameras.make_samples(years, runs, path, PLACES[place], experiment.seed, workers)
    made = samples.load(path)
    if not up_to_date(made, years):
        raise DeepCropError(
            f"{path} was made by another version, or of other cameras, years or labels than the "
            "data has now; delete it."
        )
    return made


def place_of(config: Config) -> str:
    """Which of `PLACES` a network's patches have."""
    return "mast" if config.variant == "paper" else "field"


def up_to_date(made: SampleSet, years: Sequence[CameraYear]) -> bool:
    """Whether samples have the labels that their site-years have now.

    Simulated ones are of every site-year, and of this version of the simulator; the first did not
    say which it was.
    """
    labels = {year.name: year.day for year in years}
    names = [training_samples.site_year_of(fact) for fact in made.facts]
    if made.simulated:
        whole = set(names) == set(labels)
        if not whole or made.provenance.get("simulator", 1) != REVISION:
            return False
    return all(
        name in labels and np.array_equal(labels[name], day, equal_nan=True)
        for name, day in zip(names, made.labels["day"], strict=True)
    )
