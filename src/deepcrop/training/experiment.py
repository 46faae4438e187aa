"""The experiment file: which network is trained on what, in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from deepcrop.errors import DeepCropError
from deepcrop.network.config import CONFIGS
from deepcrop.training import real_excerpts, simulated_cameras
from deepcrop.training.fit import Training

BATCH = 24
"""Examples in a batch, but of the published network."""


@dataclass(frozen=True)
class Phase:
    """A part of a training: what is learned, and how.

    Attributes
    ----------
    name : str
        Of its folder.
    lessons, cameras, places : float
        Shares of the batches that are of simulated tiles; of simulated satellites over the real
        cameras of the training sites; of real satellite series (`deepcrop.training.real_excerpts`).
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
        Real excerpts (keys of `deepcrop.training.real_excerpts.SOURCES`).
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
    if simulated_cameras is not None:
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
    if unknown := sorted(set(experiment.places) - set(real_excerpts.SOURCES)):
        raise DeepCropError(
            f"{path}: places {', '.join(unknown)} are unknown; expected some of "
            f"{', '.join(real_excerpts.SOURCES)}."
        )
    return experiment
