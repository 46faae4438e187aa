"""An experiment in a file: which network learns what, in which order (`deepcrop train`)."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from deepcrop.errors import DeepCropError
from deepcrop.network.config import CONFIGS
from deepcrop.network.devices import check_device
from deepcrop.network.weights import build, load
from deepcrop.training.experiment import BATCH, Experiment
from deepcrop.training.fit import fit
from deepcrop.training.materials import Material, material


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
