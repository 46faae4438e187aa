"""What networks learn, and how their answers become dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepcrop.stages import DAY_MAX, DAY_MIN, Dates

NARROWEST = 1.5
"""Least standard deviation of a label, days: a camera's date is no better."""


class Labels(NamedTuple):
    """Season dates of B samples; where ``day`` is NaN and ``none`` is false, nothing is known."""

    day: Tensor  # (B, slots, stages) continuous days since 1 January of the target year
    spread: Tensor  # (B, slots, stages) standard deviation of a date, days (90 % interval / 3.29)
    none: Tensor  # (B, slots, stages) bool: known that there is no such event

    @property
    def known(self) -> Tensor:
        """Where there is something to learn (B, slots, stages)."""
        return self.none | ((self.day >= DAY_MIN) & (self.day <= DAY_MAX))


def nearest(day: Tensor, dates: Tensor, seen: Tensor) -> Tensor:
    """Index (B, slots, stages) of the image seen nearest to each label; the earlier of two.

    ``dates`` and ``seen`` are (B, T). A label that is NaN counts as day 0; a sample without any
    image gives any index.
    """
    dates = dates[:, None, None]
    far = (day.nan_to_num(0.0)[..., None] - dates).abs()  # (B, slots, stages, T)
    return (far + 1e-6 * dates).masked_fill(~seen[:, None, None], torch.inf).argmin(-1)


def snap(labels: Labels, dates: Tensor, seen: Tensor) -> Labels:
    """Labels at the date of the nearest image, known to the day (the paper's targets)."""
    shown = dates[:, None].expand(*labels.day.shape[:2], -1)  # (B, slots, T)
    day = shown.gather(2, nearest(labels.day, dates, seen))
    day = torch.where(labels.day.isfinite() & seen.any(1)[:, None, None], day, labels.day)
    return Labels(day, torch.zeros_like(day), labels.none)


def soft_targets(labels: Labels, edges: Tensor) -> Tensor:
    """Distributions (B, slots, stages, bins + 1) to learn; the last entry is "no such event".

    A normal distribution around the date, by the share of it in each bin between ``edges``.
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
    each = -(target * logits.log_softmax(-1)).sum(-1)  # (B, slots, stages)
    return each.where(labels.known, 0).sum() / labels.known.sum().clamp(min=1)


def position_loss(logits: Tensor, labels: Labels, dates: Tensor, seen: Tensor) -> Tensor:
    """Binary cross-entropy of each seen date (the paper's), 1 at the image nearest to the label.

    ``logits`` are (B, slots, stages, T); summed over dates, mean over the known labels.
    """
    target = F.one_hot(nearest(labels.day, dates, seen), dates.shape[1]).to(logits)
    target = target.masked_fill(labels.none[..., None], 0)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    known = labels.known & seen.any(1)[:, None, None]
    each = each.where(seen[:, None, None] & known[..., None], 0)
    return each.sum() / known.sum().clamp(min=1)


LONGEST = 270
"""Days from the start of a season to its peak, and from its peak to its end, at most."""

_ABOUT_PEAK = 40  # days about the likeliest peak within which the peak itself is looked for


def one_season(probability: Tensor, names: Sequence[str], bin_days: int) -> Tensor:
    """Let the dates of each slot be of one season: the likeliest, by all of its dates together.

    Where two seasons could be the main one, each stage by itself would choose between them. Here
    the peak is chosen that has most of all distributions about it: starts within `LONGEST` days
    before, ends within as many after. What lies outside is taken away from the distributions; how
    likely the events are stays.

    Parameters
    ----------
    probability : Tensor (..., stages, bins + 1)
        Distributions; the last entry is "no such event".
    names : sequence of str
        Of the stages, in order of time: a peak and what comes before and after it.
    bin_days : int
        Days in a bin.
    """
    bins = probability[..., :-1]
    count = bins.shape[-1]
    peak = names.index("peak")
    reach, about = LONGEST // bin_days, _ABOUT_PEAK // bin_days
    at = torch.arange(count, device=bins.device)
    first, last = at.new_zeros(len(names), count), at.new_zeros(len(names), count)
    for k in range(len(names)):  # bins from first to last are those of a season that peaks in bin
        first[k] = at - (reach if k < peak else about if k == peak else 0)
        last[k] = at + (reach if k > peak else about if k == peak else 0)
    first, last = first.clamp(min=0), last.clamp(max=count - 1)
    cumulative = F.pad(bins.cumsum(-1), (1, 0))  # (..., stages, bins + 1): at each edge
    shape = (*bins.shape[:-2], len(names), count)
    mass = cumulative.gather(-1, (last + 1).expand(shape))
    mass = (mass - cumulative.gather(-1, first.expand(shape))).clamp(min=1e-12)
    # The peak's own share counts by how much of it is near, so that the middle of a mode wins.
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
    """Sort the days (..., stages) that are there into the order of time.

    Each stage has a distribution of its own, so that neighbours can cross. Sorting quantiles never
    takes them farther from the true ones on average (Chernozhukov et al. 2010, Econometrica 78).
    """
    found = day.isfinite()
    place = (found.cumsum(-1) - 1).clamp(min=0)
    return day.sort(-1).values.gather(-1, place).where(found, torch.nan)


def quantile(cumulative: Tensor, edges: Tensor, share: float) -> Tensor:
    """Day at which a cumulative distribution (..., edges) reaches ``share``, linear in a bin."""
    wanted = torch.full_like(cumulative[..., :1], share)
    right = torch.searchsorted(cumulative.contiguous(), wanted).clamp(1, edges.numel() - 1)
    below, above = cumulative.gather(-1, right - 1), cumulative.gather(-1, right)
    inside = ((wanted - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(edges[right - 1], edges[right], inside)[..., 0]


def decode_positions(
    logits: Tensor, dates: Tensor, seen: Tensor, threshold: float
) -> Dates[Tensor]:
    """Date of the largest probability (the paper's); it gives no interval.

    Our reading: there is no event where the largest of the per-date probabilities lies below
    ``threshold``, and its value stands for the probability of the event.
    """
    probability = logits.sigmoid().masked_fill(~seen[:, None, None], 0)  # (B, slots, stages, T)
    best, at = probability.max(-1)
    day = dates[:, None].expand(*at.shape[:2], -1).gather(2, at)
    day = day.where((best >= threshold) & seen.any(1)[:, None, None], torch.nan)
    none = torch.full_like(day, torch.nan)
    return Dates(day, none, none, best)
