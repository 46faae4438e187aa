"""The paper's experiment made short: trainings of two steps, small pictures, no pauses."""

from functools import partial

import pytest

from deepcrop.evaluation import weights_report
from deepcrop.report import page
from deepcrop.sources.stac import known_archives
from deepcrop.studies import paper_experiment
from deepcrop.training.experiment import Phase
from deepcrop.training.fit import Training


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Shorten what takes time, and replace nothing."""
    patch.setattr(page, "DPI", 30)
    patch.setattr(weights_report, "MAX_PROFILES", 1)
    patch.setattr(
        known_archives, "planetary_computer", partial(known_archives.planetary_computer, pause=0.01)
    )
    phase = Phase("cameras", Training(steps=2, eval_interval=1), cameras=1)
    patch.setattr(paper_experiment, "recipe", lambda config, start=None: phase)
