"""An experiment in a file: which network learns what, in which order (`deepcrop train`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from deepcrop import real_data, samples, scores, sites
from deepcrop.batches import Example, from_lesson, from_sample
from deepcrop.errors import DeepCropError
from deepcrop.grid import PATCH_SIZE
from deepcrop.network.config import CONFIGS, Config
from deepcrop.network.devices import check_device
from deepcrop.network.weights import build, load
from deepcrop.samples import VIEW_DISTANCE, SampleSet
from deepcrop.simulation import REVISION, lesson_store, network
from deepcrop.training import Source, Training, fit

TESTED_ELSEWHERE = {"goodwaterbau": (39.2312, -92.1522)}
"""Cameras whose real images test the weights, and where; their clusters do not train either."""

FIRST_YEAR = 2016
"""First target year of a camera: before it both satellites did not look all year."""

HELD_LESSONS = 100
"""The last lessons of an experiment, which are held out."""

FOLDS = 8
"""Clusters that may train are dealt into so many parts, or fewer; the first is held out."""

BATCH = 24
"""Examples in a batch, but of the published network."""

PLACES = {"field": VIEW_DISTANCE, "mast": 0.0}
"""Where patches of cameras lie, metres along the view: ours on the field seen, the paper's on the
mast."""

T = TypeVar("T")


@dataclass(frozen=True)
class Phase:
    """A part of a training: what is learned, and how.

    Attributes
    ----------
    name : str
        Of its folder.
    lessons, cameras, places : float
        Shares of the batches that are of simulated tiles; of simulated satellites over the real
        cameras of the training sites; of real satellite series (`deepcrop.real_data`).
    training : Training
    batch : int
        Examples in a batch, of whichever kind.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    training: Training
    lessons: float = 0.0
    cameras: float = 0.0
    places: float = 0.0
    batch: int = BATCH


@dataclass(frozen=True)
class Experiment:
    """What a file in ``experiments/`` says.

    Attributes
    ----------
    network : str
        Name of a configuration (`deepcrop.network.CONFIGS`).
    phases : tuple of Phase
        In order; each starts from the weights of the one before.
    seed : int
        Of the first weights and of all that is simulated.
    lessons : int
        Simulated tiles; the last hundred are held out.
    realisations : int
        How often each camera's site-year is simulated.
    places : tuple of str
        Real excerpts (keys of `deepcrop.real_data.SOURCES`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    network: str
    phases: tuple[Phase, ...]
    seed: int = 1
    lessons: int = 2400
    realisations: int = 2
    places: tuple[str, ...] = ()


def read_experiment(path: Path, network: str | None = None) -> Experiment:
    """Read an experiment; with another ``network`` than its own if one is named.

    Raises
    ------
    DeepCropError
        If the file cannot be read, a key is unknown or a value cannot be used; all are named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror}; expected an experiment (YAML).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeepCropError(f"{path} is not valid YAML: {error}") from None
    try:
        experiment = TypeAdapter(Experiment).validate_python(content)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise DeepCropError(f"{path} cannot be used: {'; '.join(wrong)}.") from None
    if network is not None:
        experiment = replace(experiment, network=network)
    if experiment.network not in CONFIGS:
        raise DeepCropError(
            f"{path}: network {experiment.network!r} is unknown; expected one of "
            f"{', '.join(CONFIGS)}."
        )
    if not experiment.phases:
        raise DeepCropError(f"{path} has no phase; expected at least one under 'phases'.")
    for phase in experiment.phases:
        if not phase.lessons + phase.cameras > 0 and phase.places:
            raise DeepCropError(
                f"{path}: the phase {phase.name!r} has places alone; nothing would be held out to "
                "stop it. Give lessons or cameras a share."
            )
        if not phase.lessons + phase.cameras + phase.places > 0:
            raise DeepCropError(
                f"{path}: the phase {phase.name!r} learns nothing; give lessons, cameras or places "
                "a share."
            )
        if phase.places and not experiment.places:
            raise DeepCropError(f"{path}: the phase {phase.name!r} has places, but none is named.")
    if unknown := sorted(set(experiment.places) - set(real_data.SOURCES)):
        raise DeepCropError(
            f"{path}: places {', '.join(unknown)} are unknown; expected some of "
            f"{', '.join(real_data.SOURCES)}."
        )
    return experiment


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
        paths = lesson_store.make(store / "lessons", count, experiment.seed, workers)
        lessons = lesson_store.Lessons(paths)
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
            "pixels": network.STATEMENT,
            "sites": {
                fact["site"]: (fact["latitude"], fact["longitude"])
                for fact in (every.facts[k] for k in sorted((*train, *held)))
            },
            "never": [*sites.TEST_SITES, *TESTED_ELSEWHERE],
        }
        return Material(
            [Source("cameras", Mapped(train, lambda k: from_sample(every[k])))],
            [Source("cameras", Mapped(held, lambda k: from_sample(every[k])), 1, 32)],
            card,
        )
    examples = real_data.fine_tune_examples(data, list(experiment.places))
    tiles = [one for one in examples if one.optical.shape[-1] > PATCH_SIZE]
    patches = [one for one in examples if one.optical.shape[-1] == PATCH_SIZE]
    sources = [Source("tiles", tiles, pixels=49), Source("patches", patches)]
    card = [real_data.SOURCES[name] for name in experiment.places]
    return Material([one for one in sources if len(one.examples)], [], card)


def read_cameras(data: Path) -> list[sites.CameraYear]:
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
    return sites.read_network(
        series, directions if directions.exists() else None, crops if crops.exists() else None
    )


def camera_years(data: Path) -> list[sites.CameraYear]:
    """Site-years that the screening accepted, since there is a Sentinel-2."""
    return [year for year in read_cameras(data) if year.accepted and year.year >= FIRST_YEAR]


def training_sites(years: Sequence[sites.CameraYear]) -> tuple[set[str], set[str]]:
    """Sites to learn from, and those of other clusters that decide when to stop and calibrate."""
    train = sites.trainable(years, sites.TEST_PLACES | TESTED_ELSEWHERE)
    held = held_out(train)
    learn, check = (
        {year.site for year, use in zip(train, which, strict=True) if use}
        for which in (~held, held)
    )
    return learn, check


def held_out(years: Sequence[sites.CameraYear]) -> NDArray[np.bool_]:
    """Which site-years decide when to stop and calibrate: an eighth, of clusters of their own.

    Raises
    ------
    DeepCropError
        If all are of one cluster.
    """
    clusters = len({year.cluster for year in years})
    if clusters < 2:
        raise DeepCropError(
            f"Cameras of at least two clusters are needed, more than {sites.NEAR:.0f} km from each "
            f"other and from the test sites: one to learn from, one that decides when to stop. "
            f"There {'is 1' if clusters else 'is none'}."
        )
    return sites.folds(years, min(FOLDS, clusters)) == 0


def camera_samples(
    experiment: Experiment, years: Sequence[sites.CameraYear], store: Path, workers: int = 1
) -> SampleSet:
    """Simulate, once, satellites over all cameras, test sites' too."""
    place = place_of(CONFIGS[experiment.network])
    name = "cameras" if place == "field" else f"cameras_{place}"
    path = store / f"{name}_{experiment.realisations}_{experiment.seed}.npz"
    if not path.exists():
        store.mkdir(parents=True, exist_ok=True)
        runs = range(experiment.realisations)
        network.make_samples(years, runs, path, PLACES[place], experiment.seed, workers)
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


def up_to_date(made: SampleSet, years: Sequence[sites.CameraYear]) -> bool:
    """Whether samples have the labels that their site-years have now.

    Simulated ones are of every site-year, and of this version of the simulator; the first did not
    say which it was.
    """
    labels = {year.name: year.day for year in years}
    names = [scores.site_year_of(fact) for fact in made.facts]
    if made.simulated:
        whole = set(names) == set(labels)
        if not whole or made.provenance.get("simulator", 1) != REVISION:
            return False
    return all(
        name in labels and np.array_equal(labels[name], day, equal_nan=True)
        for name, day in zip(names, made.labels["day"], strict=True)
    )


def _same(weights: Path, experiment: Experiment, number: int) -> None:
    """Refuse the finished phase of another experiment."""
    found = load(weights)[1]["card"].get("experiment", {})
    wanted = json.loads(json.dumps(asdict(experiment)))
    phases = wanted["phases"][:number]
    # Weights are older than the key `batch`, and were taught by what is its default now.
    same = [{"batch": BATCH, **phase} for phase in found.get("phases", [])[:number]] == phases
    shared = ["network", "seed"]
    of = {"lessons": "lessons", "cameras": "realisations", "places": "places"}
    shared += [of[kind] for kind in KINDS if any(phase[kind] for phase in phases)]
    if not same or any(found.get(key) != wanted[key] for key in shared):
        raise DeepCropError(
            f"{weights} is of another experiment. Delete its folder, or choose another --out."
        )


KINDS = ("lessons", "cameras", "places")


def train(
    experiment: Experiment, data: Path | None, out: Path, store: Path, workers: int = 1,
    device: str | None = None,
) -> Path:  # fmt: skip
    """Run an experiment, phase by phase; one that is finished is not run again.

    Returns
    -------
    Path
        Weights of the last phase.

    Raises
    ------
    DeepCropError
        If the device is not there, data is missing, or ``out`` is of another experiment.
    """
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(where)  # before hours of simulation, not after
    known: dict[str, Material] = {}
    weights: Path | None = None
    for number, phase in enumerate(experiment.phases, 1):
        folder = out / f"{number}_{phase.name}"
        before, weights = weights, folder / "weights.safetensors"
        if weights.exists():
            _same(weights, experiment, number)
            continue
        shares = {kind: getattr(phase, kind) for kind in KINDS if getattr(phase, kind)}
        for kind in shares:
            if kind not in known:
                known[kind] = material(kind, experiment, data, store, workers)
        card: dict[str, Any] = {}
        if before is None:
            torch.manual_seed(experiment.seed)
            model = build(CONFIGS[experiment.network]).to(where)
        else:
            model, about = load(before, where)
            card = about["card"]
        title = f"{experiment.network}, after the phase {phase.name!r} of its experiment"
        card |= {"title": title, "experiment": asdict(experiment), "phase": phase.name}
        card |= {kind: known[kind].card for kind in shares}
        sources = [
            replace(source, weight=share / len(known[kind].sources), batch=phase.batch)
            for kind, share in shares.items()
            for source in known[kind].sources
        ]
        held_out = [source for kind in shares for source in known[kind].held_out]
        fit(model, sources, held_out, phase.training, folder, card, workers=workers - 1)
    assert weights is not None  # `read_experiment` refuses an experiment without phases
    return weights
