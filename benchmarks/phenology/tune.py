"""Rank settings of the peers on a seed that the table does not use."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import peers
from scoring import score
from series import KINDS, simulate

SEED = 7

GRIDS = {
    "TIMESAT spline": {
        "fit": [2],
        "season_method": [2],
        "season_parameter": [0.0],
        "smooth": [30.0, 100.0, 300.0, 1000.0],
        "low_percentile": [0.05, 0.1, 0.15],
        "fill_base": [0, 1],
        "passes": [2],
        "weight_factor": [1.0, 2.0, 4.0],
    },
    "TIMESAT double logistic": {
        "fit": [1],
        "season_method": [1],
        "season_parameter": [0.0],
        "low_percentile": [0.1, 0.15, 0.2],
        "fill_base": [1],
        "passes": [3],
        "weight_factor": [5.0],
        "first_day": [0, 1],
    },
    "vam.whittaker": {
        "smoothness": [30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0],
        "envelope": [None, 0.6, 0.7, 0.8, 0.9],
    },
    "scipy savgol_filter": {"window": [35, 45, 55, 65, 75, 95]},
}
"""Values tried, all with all; wider ranges, one parameter at a time, came before."""


def cost(result) -> float:
    """Mean of the four errors in days; a hundredth of the seasons missed or false costs 0.1 day."""
    missed = 1 - np.nanmean(result.detected)
    return float(np.mean(result.mae[[0, 1, 3, 4]]) + 10 * (missed + result.false))


def main(cache: Path, pixels: int) -> None:
    """Print the five best settings of each peer for each kind of scene."""
    for kind, peer in itertools.product(KINDS, peers.OTHERS):
        scene = simulate(kind, min(pixels, 300) if "logistic" in peer.name else pixels, SEED)
        grid = GRIDS[peer.name]
        fixed = {k: v for k, v in peer.settings[kind].items() if k in ("years", "step")}
        ranked = []
        for choice in itertools.product(*grid.values()):
            settings = dict(zip(grid, choice, strict=True)) | fixed
            outcome = peers.run(peer, scene, 2, cache, 0, settings)
            result = score(scene.truth, scene.group, outcome.dates)
            ranked.append((cost(result), settings, result))
        ranked.sort(key=lambda entry: entry[0])
        print(f"\n{kind}, {peer.name}")
        for total, settings, result in ranked[:5]:
            print(
                f"{total:6.2f} {settings} MAE {np.round(result.mae, 2)} "
                f"found {np.round(100 * result.detected, 1)} false {100 * result.false:.2f}",
                flush=True,
            )
