"""Score the seasons that a tool finds against the true seasons of a scene.

Errors of dates are summarised as everywhere (`deepcrop.evaluation.scores.summarize_errors`). What
differs from the project's other scores is the pairing of seasons: tools return any number of
seasons, in no slots, so two match where the middle of each lies within the other. Overlap in time,
the rule of `deepcrop.phenology.season_matching`, would reward a tool that returns one long season.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepcrop.evaluation.scores import summarize_errors


@dataclass(frozen=True)
class Score:
    """Score of a tool on one scene; shares are between 0 and 1.

    Attributes
    ----------
    detected : ndarray (groups,)
        Share of the true seasons of each group that was found; NaN for a group without seasons.
    false : float
        Share of the found seasons that match no true season.
    complete : float
        Share of the true seasons found with the four dates of start and end.
    mae, bias : ndarray (stages,)
        Of found less true dates on matched seasons, days.
    coverage, width : ndarray (stages,)
        Share of true dates within their interval, and its median width in days; NaN without.
    """

    detected: NDArray
    false: float
    complete: float
    mae: NDArray
    bias: NDArray
    coverage: NDArray
    width: NDArray


def score(truth, group, dates, low=None, high=None, groups=3) -> Score:
    """Compare dates (pixels, seasons, 5 stages from sos20 to eos20) with the truth of a scene."""
    partner, found = match(truth.astype(np.float64), dates.astype(np.float64))
    true = np.isfinite(truth[:, :, 2])
    matched = partner >= 0
    pixel, season = np.nonzero(matched)
    wanted = truth[pixel, season]
    given = dates[pixel, partner[matched]]
    error = given.astype(np.float64) - wanted

    member = group[:, None] == np.arange(groups)
    seasons = member.T @ true.sum(axis=1)
    detected = np.full(groups, np.nan)
    np.divide(member.T @ matched.sum(axis=1), seasons, out=detected, where=seasons > 0)
    coverage = width = np.full(truth.shape[2], np.nan)
    if low is not None and high is not None and len(pixel):
        least, most = low[pixel, partner[matched]], high[pixel, partner[matched]]
        bounded = np.isfinite(least) & np.isfinite(most)
        inside = np.where(bounded, (least <= wanted) & (wanted <= most), np.nan)
        coverage, width = _mean(inside), _median(np.where(bounded, most - least, np.nan))
    ends = np.isfinite(given[:, [0, 1, 3, 4]]).all(axis=1)
    errors = [summarize_errors(column) for column in error.T]
    return Score(
        detected=detected,
        false=1 - matched.sum() / max(found, 1) if found else 0.0,
        complete=ends.sum() / max(true.sum(), 1),
        mae=np.array([stage.mae for stage in errors]),
        bias=np.array([stage.bias for stage in errors]),
        coverage=coverage,
        width=width,
    )


def on_common_seasons(truth, one, other) -> tuple[NDArray, NDArray]:
    """Mean absolute errors (stages,) of two tools where both give the four dates of a season.

    A tool that dates only what is easy has no advantage here.
    """
    errors = []
    for dates in (one, other):
        partner, _ = match(truth.astype(np.float64), dates.astype(np.float64))
        pixel = np.arange(len(truth))[:, None]
        given = np.where(partner[..., None] >= 0, dates[pixel, partner], np.nan)
        errors.append(np.abs(given - truth))
    ends = np.stack(errors)[..., [0, 1, 3, 4]]
    both = np.isfinite(ends).all(axis=(0, 3))
    return _mean(errors[0][both]), _mean(errors[1][both])


@njit(cache=True)
def match(truth, dates):
    """Found season of each true one (-1: missed), and how many seasons were found in all.

    Two seasons match where the middle of each lies within the other, so that two true seasons seen
    as one match nothing. The middle is that between the dates of 50 %, else the peak; a season
    without dates on both sides has its peak within the true one. One to one, the nearest first.
    """
    partner = np.full(truth.shape[:2], -1)
    found = 0
    for pixel in range(len(truth)):
        for s in range(dates.shape[1]):
            season = dates[pixel, s]
            middle = _middle(season)
            if np.isnan(middle):
                continue
            found += 1
            best = -1
            for k in range(truth.shape[1]):
                true = truth[pixel, k]
                centre = _middle(true)
                if not true[0] <= middle <= true[4]:
                    continue
                whole = np.isfinite(season[0]) and np.isfinite(season[4])
                if whole and not season[0] <= centre <= season[4]:
                    continue
                before = partner[pixel, k]
                if before < 0 or abs(middle - centre) < abs(_middle(dates[pixel, before]) - centre):
                    best = k
            if best >= 0:
                partner[pixel, best] = s
    return partner, found


@njit(cache=True)
def _middle(season):
    if np.isfinite(season[1]) and np.isfinite(season[3]):
        return (season[1] + season[3]) / 2
    if np.isfinite(season[2]):
        return season[2]
    return np.nanmean(season) if np.isfinite(season).any() else np.nan


def _mean(values):
    """Mean over the seasons that have a value; NaN where none has."""
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)


def _median(values):
    columns = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.median(column) if len(column) else np.nan for column in columns])
