"""Season dates from one greenness curve: smoothing, seasons, thresholds."""

from deepcrop.phenology.seasons import REASONS, SeasonRule, Seasons, season_dates, stage_names
from deepcrop.phenology.smoothing import SavGol, savgol

__all__ = [
    "REASONS",
    "SavGol",
    "SeasonRule",
    "Seasons",
    "savgol",
    "season_dates",
    "stage_names",
]
