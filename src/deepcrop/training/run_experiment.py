"""Run an experiment: train a network phase by phase (`deepcrop train`)."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError

from deepcrop.errors import DeepCropError
from deepcrop.network.config import CONFIGS
from deepcrop.network.devices import check_device
from deepcrop.network.weights import build, load, shipped
from deepcrop.storage.files import remove_half_written
from deepcrop.storage.staging import locked
from deepcrop.training.augment import WithCuts
from deepcrop.training.experiment import Experiment
from deepcrop.training.fit import fit
from deepcrop.training.materials import Material, material

if TYPE_CHECKING:
    from pathlib import Path

_COUNT_OF = {"simulated_tiles": "simulated_tiles", "cameras": "repeats", "places": "places"}
"""Setting of an experiment that says how much data of each kind there is."""


def train(
    experiment: Experiment, data: Path | None, out: Path, store: Path, workers: int = 1,
    device: str | None = None,
) -> Path:  # fmt: skip
    """Train the network of an experiment, phase by phase; a finished phase is not run again.

    Parameters
    ----------
    experiment : Experiment
    data : Path, optional
        Folder of real data, as of `deepcrop.training.materials.material`.
    out : Path
        Folder of the results, one folder per phase.
    store : Path
        Folder for simulated data.
    workers : int
        Processes that simulate and, less one, prepare batches.
    device : str, optional
        Device of PyTorch; by default "cuda" where there is one, else "cpu".

    Returns
    -------
    Path
        Weights of the last phase.

    Raises
    ------
    DeepCropError
        If the device cannot be used, data is missing, or ``out`` holds another experiment.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)  # before hours of simulation, not after
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return _train(experiment, data, out, store, workers, device)


def _train(
    experiment: Experiment, data: Path | None, out: Path, store: Path, workers: int, device: str
) -> Path:
    """Train as `train` says, in a folder where no other run writes."""
    materials: dict[str, Material] = {}
    weights: Path | None = shipped(experiment.start) if experiment.start else None
    for number, phase in enumerate(experiment.phases, 1):
        folder = out / f"{number}_{phase.name}"
        start, weights = weights, folder / "weights.safetensors"
        remove_half_written(folder)
        if weights.exists():
            check_same_experiment(weights, experiment, number)
            continue
        shares = phase.shares()
        for kind in shares:
            if kind not in materials:
                materials[kind] = material(kind, experiment, data, store, workers)
        card: dict[str, Any] = {}
        if start is None:
            torch.manual_seed(experiment.seed)
            network = build(CONFIGS[experiment.network]).to(device)
        else:
            # The card of the phase before says what the network was trained on until now.
            network, about = load(start, device)
            if network.config != CONFIGS[experiment.network]:
                raise DeepCropError(
                    f"{start} holds another network than the experiment's, {experiment.network!r}; "
                    "start from weights of that network."
                )
            card = about["card"]
        title = f"{experiment.network}, after the phase {phase.name!r} of its experiment"
        card |= {"title": title, "experiment": asdict(experiment), "phase": phase.name}
        card |= {kind: materials[kind].card for kind in shares}
        sources = [
            replace(source, weight=share / len(materials[kind].sources), batch=phase.batch)
            for kind, share in shares.items()
            for source in materials[kind].sources
        ]
        held_out = [source for kind in shares for source in materials[kind].held_out]
        if (changes := phase.training.augmentation) is not None and changes.cut_probability:
            held_out = [replace(source, examples=WithCuts(source.examples)) for source in held_out]
        fit(network, sources, held_out, phase.training, folder, card, workers=workers - 1)
    assert weights is not None  # `read_experiment` rejects an experiment without phases
    return weights


def check_same_experiment(weights: Path, experiment: Experiment, phases: int) -> None:
    """Raise `DeepCropError` unless weights are of the first ``phases`` of an experiment.

    Settings of kinds of data that these phases do not use may differ.
    """
    card = load(weights)[1]["card"]
    used = {kind for phase in experiment.phases[:phases] for kind in phase.shares()}
    keys = ["network", "seed", "start", *(_COUNT_OF[kind] for kind in sorted(used))]
    try:
        # A setting that is newer than the weights has its default, as when they were trained.
        found = TypeAdapter(Experiment).validate_python(card.get("experiment", {}))
        same = found.phases[:phases] == experiment.phases[:phases] and all(
            getattr(found, key) == getattr(experiment, key) for key in keys
        )
    except ValidationError:
        same = False
    if not same:
        raise DeepCropError(
            f"{weights} is of another experiment. Delete its folder, or write to another one."
        )
