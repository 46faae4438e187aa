"""How far the images that the published network reads lie from the labels.

Its labels are moved to the nearest of 30 optical and 10 radar dates, so that this distance is the
error of a perfect prediction. It depends on the period from which the dates are chosen.

    python benchmarks/snapping.py reproduced/samples_mast.npz
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.evaluation.weights_report import network_predictions
from deepcrop.network import CONFIGS, build
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.training import samples

MAIN = [CALENDAR.index(name) for name in STAGES]


def main() -> None:
    """Print the mean distance in days for each period."""
    every = samples.load(Path(sys.argv[1]))
    chosen = [sample for sample in every if sample.site in TEST_SITES]
    kind = "SIMULATED pixels" if every.simulated else "real pixels"
    print(f"{kind}, {len(chosen)} samples of the test sites; mean distance in days")
    labels = np.array([sample.day[0][MAIN] for sample in chosen])
    for title, period in (("24 months", ()), ("the paper's 13 months", CONFIGS["paper"].period)):
        # The choice of dates does not depend on the weights, so a small network is enough.
        config = replace(CONFIGS["paper-transformer"], period=period, feedforward=60, mlp=(40,))
        snapped = network_predictions(build(config), chosen).snapped
        assert snapped is not None
        distance = np.abs(snapped[:, 0] - labels)
        stages = " / ".join(f"{value:.1f}" for value in np.nanmean(distance, axis=0))
        print(f"{title}: {np.nanmean(distance):.1f} ({stages})")


if __name__ == "__main__":
    main()
