"""Training targets and losses, and the decoding of the network's output to dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepcrop.stages import DAY_MAX, DAY_MIN, Dates

if TYPE_CHECKING:
    from collections.abc import Sequence

NARROWEST = 1.5
"""Minimum standard deviation of a label, days: that of a camera's date."""


class Labels(NamedTuple):
    """Season dates of B pixels; where ``day`` is NaN and ``none`` is false, nothing is known."""

    day: Tensor  # (B, slots, stages) continuous days since 1 January of the target year
    spread: Tensor  # (B, slots, stages) standard deviation of a date, days (90 % interval / 3.29)
    none: Tensor  # (B, slots, stages) bool: known that there is no such event

    @property
    def known(self) -> Tensor:
        """Which labels enter the loss (B, slots, stages)."""
        return self.none | ((self.day >= DAY_MIN) & (self.day <= DAY_MAX))


def nearest(day: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
    """Index (B, slots, stages) of the valid image nearest to each label; the earlier of two.

    ``dates`` and ``valid`` are (B, T). A label that is NaN counts as day 0; the index of a pixel
    without a valid image has no meaning.
    """
    dates = dates[:, None, None]
    distance = (day.nan_to_num(0.0)[..., None] - dates).abs()  # (B, slots, stages, T)
    return (distance + 1e-6 * dates).masked_fill(~valid[:, None, None], torch.inf).argmin(-1)


def snap(labels: Labels, dates: Tensor, valid: Tensor) -> Labels:
    """Move labels to the date of the nearest valid image, with no spread (the paper's targets)."""
    image_days = dates[:, None].expand(*labels.day.shape[:2], -1)  # (B, slots, T)
    day = image_days.gather(2, nearest(labels.day, dates, valid))
    day = torch.where(labels.day.isfinite() & valid.any(1)[:, None, None], day, labels.day)
    return Labels(day, torch.zeros_like(day), labels.none)


def soft_targets(labels: Labels, edges: Tensor) -> Tensor:
    """Target distributions (B, slots, stages, bins + 1); the last entry is "no such event".

    A normal distribution around the date, integrated over each bin between ``edges``.
    """
    spread = labels.spread.nan_to_num(0.0).clamp(min=NARROWEST)[..., None]
    z = (edges - labels.day.nan_to_num(0.0)[..., None]) / spread
    bins = torch.special.ndtr(z).diff(dim=-1)
    bins = bins / bins.sum(-1, keepdim=True).clamp(min=1e-6)
    none = labels.none[..., None]
    return torch.cat([bins.masked_fill(none, 0), none.to(bins)], -1)


def distribution_loss(logits: Tensor, labels: Labels, edges: Tensor) -> Tensor:
    """Cross-entropy against `soft_targets`, mean over the known labels; 0 if there are none."""
    target = soft_targets(labels, edges)
    loss = -(target * logits.log_softmax(-1)).sum(-1)  # (B, slots, stages)
    return loss.where(labels.known, 0).sum() / labels.known.sum().clamp(min=1)


def position_loss(logits: Tensor, labels: Labels, dates: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy of each valid date (the paper's), target 1 at the nearest image.

    ``logits`` are (B, slots, stages, T); summed over dates, mean over the known labels.
    """
    target = F.one_hot(nearest(labels.day, dates, valid), dates.shape[1]).to(logits)
    target = target.masked_fill(labels.none[..., None], 0)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    known = labels.known & valid.any(1)[:, None, None]
    loss = loss.where(valid[:, None, None] & known[..., None], 0)
    return loss.sum() / known.sum().clamp(min=1)


LONGEST = 270
"""Maximum number of days from the start of a season to its peak, and from its peak to its end."""

NEAR_PEAK = 40
"""Number of days around the likeliest peak to which the distribution of the peak is restricted."""


def one_season(probability: Tensor, names: Sequence[str], bin_days: int) -> Tensor:
    """Restrict the distributions of each slot to one season: the likeliest by all of its dates.

    Where two seasons could be the main one, each stage alone could choose another season. Here the
    peak is chosen that has the largest share of all distributions around it: starts within
    `LONGEST` days before, ends within `LONGEST` days after. The distributions are set to 0 outside
    that season and rescaled, so that the probabilities of the events stay.

    Parameters
    ----------
    probability : Tensor (..., stages, bins + 1)
        Distributions; the last entry is "no such event".
    names : sequence of str
        Names of the stages in order of time, the peak among them.
    bin_days : int
        Days in a bin.
    """
    bins = probability[..., :-1]
    count = bins.shape[-1]
    peak = names.index("peak")
    reach, near_peak = LONGEST // bin_days, NEAR_PEAK // bin_days
    at = torch.arange(count, device=bins.device)
    # For a season that peaks in a bin: first and last bin of each of its stages.
    first, last = at.new_zeros(len(names), count), at.new_zeros(len(names), count)
    for k in range(len(names)):
        first[k] = at - (reach if k < peak else near_peak if k == peak else 0)
        last[k] = at + (reach if k > peak else near_peak if k == peak else 0)
    first, last = first.clamp(min=0), last.clamp(max=count - 1)
    cumulative = F.pad(bins.cumsum(-1), (1, 0))  # (..., stages, bins + 1): at each edge
    shape = (*bins.shape[:-2], len(names), count)
    mass = cumulative.gather(-1, (last + 1).expand(shape))
    mass = (mass - cumulative.gather(-1, first.expand(shape))).clamp(min=1e-12)
    # The peak's probability is averaged over 7 bins, so that the middle of a mode wins.
    near = F.avg_pool1d(bins[..., peak, :].flatten(0, -2)[:, None], 7, 1, 3)[:, 0]
    score = mass.log().sum(-2) + near.reshape((*shape[:-2], count)).clamp(min=1e-12).log()
    best = score.argmax(-1)[..., None, None]  # (..., 1, 1)
    from_, to = (
        edge.expand(shape).gather(-1, best.expand(*shape[:-1], 1)) for edge in (first, last)
    )
    kept = bins.masked_fill((at < from_) | (at > to), 0)
    event = bins.sum(-1, keepdim=True)
    kept = kept * event / kept.sum(-1, keepdim=True).clamp(min=1e-12)
    return torch.cat([kept, probability[..., -1:]], -1)


def decode_distribution(probability: Tensor, edges: Tensor, threshold: float) -> Dates[Tensor]:
    """Median and 90 % interval of distributions (B, slots, stages, bins + 1), given the event."""
    event = 1 - probability[..., -1]
    bins = probability[..., :-1]
    cumulative = F.pad(bins.cumsum(-1), (1, 0))  # (..., bins + 1): at each edge
    cumulative = cumulative / cumulative[..., -1:].clamp(min=1e-12)
    found = event >= threshold
    days = [quantile(cumulative, edges, q).where(found, torch.nan) for q in (0.5, 0.05, 0.95)]
    return Dates(days[0], days[1], days[2], event)


def in_order(day: Tensor) -> Tensor:
    """Sort the days (..., stages) of a season that are known into the order of time.

    Stages have separate distributions, so that neighbouring stages can be out of order. Sorting
    quantiles never increases their mean error (Chernozhukov et al. 2010, Econometrica 78).
    """
    found = day.isfinite()
    place = (found.cumsum(-1) - 1).clamp(min=0)
    return day.sort(-1).values.gather(-1, place).where(found, torch.nan)


def quantile(cumulative: Tensor, edges: Tensor, share: float) -> Tensor:
    """Day on which a cumulative distribution (..., edges) reaches ``share``, linear in a bin."""
    wanted = torch.full_like(cumulative[..., :1], share)
    right = torch.searchsorted(cumulative.contiguous(), wanted).clamp(1, edges.numel() - 1)
    below, above = cumulative.gather(-1, right - 1), cumulative.gather(-1, right)
    inside = ((wanted - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(edges[right - 1], edges[right], inside)[..., 0]


def decode_positions(
    logits: Tensor, dates: Tensor, valid: Tensor, threshold: float
) -> Dates[Tensor]:
    """Date of the largest probability (the paper's); there is no interval.

    Our reading: there is no event where the largest of the per-date probabilities is below
    ``threshold``, and its value is the probability of the event.
    """
    probability = logits.sigmoid().masked_fill(~valid[:, None, None], 0)  # (B, slots, stages, T)
    best, at = probability.max(-1)
    day = dates[:, None].expand(*at.shape[:2], -1).gather(2, at)
    day = day.where((best >= threshold) & valid.any(1)[:, None, None], torch.nan)
    none = torch.full_like(day, torch.nan)
    return Dates(day, none, none, best)
