"""Season dates from one greenness curve: smoothing, seasons, thresholds, intervals."""

from deepcrop.phenology.date_kernels import REASONS
from deepcrop.phenology.extract import extract
from deepcrop.phenology.seasons import Seasons, season_dates, stage_names
from deepcrop.phenology.smoothers import (
    DEFAULT_SMOOTHER,
    PRESETS,
    AsymmetricGaussian,
    DoubleLogistic,
    SavGol,
    SeasonRule,
    Whittaker,
    smooth,
)

__all__ = [
    "DEFAULT_SMOOTHER",
    "PRESETS",
    "REASONS",
    "AsymmetricGaussian",
    "DoubleLogistic",
    "SavGol",
    "SeasonRule",
    "Seasons",
    "Whittaker",
    "extract",
    "season_dates",
    "smooth",
    "stage_names",
]
