"""Read experiment files: which network is trained on which data, in which phases.

The recipes of the shipped weights and of the comparisons are such files too, in the folder
``recipes`` beside this module; the settings of a training stand nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from deepcrop.errors import DeepCropError
from deepcrop.network.config import CONFIGS
from deepcrop.storage.documents import parse_yaml
from deepcrop.training import real_excerpts
from deepcrop.training.fit import Training  # noqa: TC001  (pydantic reads the annotation)

RECIPES = Path(__file__).with_name("recipes")
"""Folder of the experiment files in the package; ``deepcrop train`` knows them by name."""

KINDS = ("simulated_tiles", "cameras", "places")
"""Kinds of training data: simulated tiles with known truth; simulated satellites over the real
cameras of the training sites; real satellite series (`deepcrop.training.real_excerpts`)."""

BATCH = 24
"""Examples in a batch where an experiment does not say."""


@dataclass(frozen=True)
class Phase:
    """A phase of a training.

    Attributes
    ----------
    name : str
        Name of the phase and, after its number, of its folder.
    training : Training
        Settings of the optimisation.
    simulated_tiles, cameras, places : float
        Share of the batches drawn from each of `KINDS`.
    batch : int
        Examples in a batch, of whichever kind.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    training: Training
    simulated_tiles: float = 0.0
    cameras: float = 0.0
    places: float = 0.0
    batch: int = BATCH

    def shares(self) -> dict[str, float]:
        """Shares of the kinds of data that the phase uses."""
        return {kind: share for kind in KINDS if (share := getattr(self, kind))}


@dataclass(frozen=True)
class Experiment:
    """Content of an experiment file.

    Attributes
    ----------
    network : str
        Name of a configuration (`deepcrop.network.CONFIGS`).
    phases : tuple of Phase
        In order; each starts from the weights of the one before.
    seed : int
        Seed of the initial weights and of all simulated data.
    simulated_tiles : int
        Number of simulated training tiles; a hundred more are held out.
    repeats : int
        How often each camera's site-year is simulated.
    places : tuple of str
        Real excerpts (keys of `deepcrop.training.real_excerpts.SOURCES`).
    start : str
        Shipped weights that the first phase starts from, "default" or "evi"; empty: random weights.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    network: str
    phases: tuple[Phase, ...]
    seed: int = 1
    simulated_tiles: int = 2400
    repeats: int = 2
    places: tuple[str, ...] = ()
    start: Literal["", "default", "evi"] = ""


def recipe_names() -> list[str]:
    """Names of the experiments in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read_experiment(source: Path | str, network: str | None = None) -> Experiment:
    """Read an experiment.

    Parameters
    ----------
    source : Path or str
        An experiment file, or the name of one in the package (`recipe_names`).
    network : str, optional
        Configuration to train instead of the experiment's own.

    Raises
    ------
    DeepCropError
        If the file cannot be read, a key is unknown or a value cannot be used; all are named.

    Examples
    --------
    >>> read_experiment("paper").phases[0].training.steps
    3000
    """
    path = RECIPES / f"{source}.yaml" if str(source) in recipe_names() else Path(source)
    try:
        content = parse_yaml(path)
    except OSError as error:
        raise DeepCropError(
            f"{path}: {error.strerror}; expected an experiment (YAML), or the name of one in the "
            f"package: {', '.join(recipe_names())}."
        ) from None
    except ValueError as error:
        raise DeepCropError(f"{path} is not valid YAML: {error}.") from None
    try:
        experiment = TypeAdapter(Experiment).validate_python(content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors()[:5]
        ]
        raise DeepCropError(f"{path} cannot be used: {'; '.join(problems)}.") from None
    if network is not None:
        experiment = replace(experiment, network=network)
    _check(experiment, path)
    return experiment


# Least and most of every number, by the name of its setting. The most are far beyond any use: they
# catch a slip of the keyboard before it asks for all the memory.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "repeats": (1, 1000),
    "batch": (1, 100_000),
    "steps": (1, 10**9),
    "learning_rate": (1e-12, 10),
    "weight_decay": (0, 10),
    "grad_clip": (1e-12, 1e9),
    "eval_interval": (1, 10**9),
    "patience": (1, 10**9),
    "time_stretch_std": (0, 1),
    "time_shift_std": (0, 1000),
    "unmasked_cloud_share": (0, 1),
    "tile_size": (1, 10_000),
    "max_scenes": (1, 100_000),
}
_NAME = re.compile(r"\w[\w .+-]{0,80}")


def _range_of(name: str) -> tuple[float, float]:
    if name.endswith("_probability"):
        return 0, 1
    return _RANGES.get(name, (0, 1e6))  # shares, numbers of tiles, standard deviations


def _check_numbers(settings: Any, where: str) -> None:
    """Raise `DeepCropError` for a number outside its range, NaN included."""
    for name, value in vars(settings).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least, most = _range_of(name)
        if not least <= value <= most:
            raise DeepCropError(f"{where}{name} is {value:g}; expected {least:g} to {most:g}.")


def _check(experiment: Experiment, path: Path) -> None:
    """Raise `DeepCropError` where values have the right type but cannot be used."""
    _check_numbers(experiment, f"{path}: ")
    for number, phase in enumerate(experiment.phases):
        where = f"{path}: phases.{number}."
        if not _NAME.fullmatch(phase.name):
            raise DeepCropError(
                f"{where}name is {phase.name[:80]!r}; it names a folder, so expected letters, "
                "digits and - _ + . or blanks, beginning with a letter or a digit."
            )
        _check_numbers(phase, where)
        _check_numbers(phase.training, f"{where}training.")
        if phase.training.augmentation is not None:
            _check_numbers(phase.training.augmentation, f"{where}training.augmentation.")
    if experiment.network not in CONFIGS:
        raise DeepCropError(
            f"{path}: network {experiment.network!r} is unknown; expected one of "
            f"{', '.join(CONFIGS)}."
        )
    if not experiment.phases:
        raise DeepCropError(f"{path} has no phase; expected at least one under 'phases'.")
    for phase in experiment.phases:
        # Places have no held-out part, and early stopping needs one.
        if phase.places and not phase.simulated_tiles + phase.cameras > 0:
            raise DeepCropError(
                f"{path}: the phase {phase.name!r} has places alone, of which nothing is held out "
                "to stop it. Give simulated_tiles or cameras a share."
            )
        if not sum(phase.shares().values()) > 0:
            raise DeepCropError(
                f"{path}: the phase {phase.name!r} has no training data; give simulated_tiles, "
                "cameras or places a share."
            )
        if phase.places and not experiment.places:
            raise DeepCropError(f"{path}: the phase {phase.name!r} has places, but none is named.")
    if unknown := sorted(set(experiment.places) - set(real_excerpts.SOURCES)):
        raise DeepCropError(
            f"{path}: places {', '.join(unknown)} are unknown; expected some of "
            f"{', '.join(real_excerpts.SOURCES)}."
        )
