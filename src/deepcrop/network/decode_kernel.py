"""Logits to dates, compiled: `DeepCrop.decode` in one pass, pixel by pixel.

The steps and their order are those of `deepcrop.network.targets`; numbers differ in their last
digits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deepcrop.network import simd
from deepcrop.network.simd import LANES

_LEAST = 1e-12
_AROUND = 3
"""Bins before and after a peak over which its probability is averaged."""


@njit
def _cumulate(shares, first, low, high, cumulative):
    """Sum shares up to each edge; those of bins before ``low`` and from ``high`` on count as 0."""
    total = 0.0
    cumulative[: low + 1] = np.float32(0.0)
    for k in range(low, high):
        total += shares[first + k]
        cumulative[k + 1] = np.float32(total)
    cumulative[high + 1 :] = np.float32(total)


@njit
def _score(b, near, cumulative, stages, peak, count, reach, near_peak):
    """Product of the shares of all distributions around a peak in bin ``b``."""
    score = max(near[b], _LEAST)
    for k in range(len(stages)):
        before = reach if k < peak else near_peak if k == peak else 0
        after = reach if k > peak else near_peak if k == peak else 0
        of_stage = cumulative[stages[k]]
        mass = of_stage[min(b + after, count - 1) + 1] - of_stage[max(b - before, 0)]
        score *= max(mass, _LEAST)
    return score


@njit
def _likeliest_peak(shares, first, near, cumulative, stages, peak, count, reach, near_peak):
    """Bin of the peak that has the largest share of all distributions around it."""
    most = 0
    for b in range(count):
        total = 0.0
        for k in range(max(b - _AROUND, 0), min(b + _AROUND + 1, count)):
            total += shares[first + k]
        near[b] = total / (2 * _AROUND + 1)
        if near[b] > near[most]:
            most = b
    # No score exceeds the peak's own share, as the others are at most 1 (but for rounding).
    least = _score(most, near, cumulative, stages, peak, count, reach, near_peak)
    best, best_score = most, -1.0
    for b in range(count):
        if max(near[b], _LEAST) * 1.0001 >= least:
            score = _score(b, near, cumulative, stages, peak, count, reach, near_peak)
            if score > best_score:
                best, best_score = b, score
    return best


@njit
def _quantile(cumulative, edges, count, share):
    """Day on which a cumulative distribution reaches a share, linear in a bin."""
    first, last = 1, count
    while first < last:  # the first edge at which it is reached
        middle = (first + last) // 2
        if cumulative[middle] >= share:
            last = middle
        else:
            first = middle + 1
    below, above = cumulative[first - 1], cumulative[first]
    inside = (share - below) / max(above - below, np.float32(_LEAST))
    inside = min(max(inside, np.float32(0.0)), np.float32(1.0))
    return edges[first - 1] + inside * (edges[first] - edges[first - 1])


@njit
def _sort_known(days, p, slot, stages):
    """Sort the known days of a season into the order of its stages."""
    for k in range(len(stages)):
        day = days[p, slot, stages[k]]
        if np.isnan(day):
            continue
        # Move it before the known days that are later.
        at = k
        for j in range(k - 1, -1, -1):
            other = days[p, slot, stages[j]]
            if np.isnan(other):
                continue
            if other <= day:
                break
            days[p, slot, stages[at]] = other
            at = j
        days[p, slot, stages[at]] = day


@njit(cache=True, nogil=True, error_model="numpy")
def decode_logits(
    logits, cool, edges, threshold, definitions, peaks, one_season, reach, near_peak, out
):
    """Median, 5 % and 95 % day and probability of events.

    Parameters
    ----------
    logits : ndarray of float32 (pixels, slots, stages, bins + 1)
        The last is "no such event".
    cool : ndarray of float32 (stages,)
        Temperatures.
    edges : ndarray of float32 (bins + 1,)
        Of the bins, days.
    threshold : float
        Least probability of an event that is dated.
    definitions : ndarray of int64 (definitions, stages)
        Stages of each definition of dates in order of time; filled up with -1.
    peaks : ndarray of int64 (definitions,)
        Place of the peak among them, or -1.
    one_season : bool
        Whether the dates of a slot are restricted to one season.
    reach, near_peak : int
        Bins from a peak to which starts and ends, and the peak, are restricted.
    out : ndarray of float32 (4, pixels, slots, stages)
        Filled with median, 5 % and 95 % day, and probability.
    """
    pixels, slots, stages, count = logits.shape
    count -= 1
    row = -(-(count + 1) // LANES) * LANES
    shares = np.empty(stages * row, np.float32)
    cumulative = np.empty((stages, count + 1), np.float32)
    near = np.empty(count)
    levels = np.array([0.5, 0.05, 0.95], np.float32)
    for p in range(pixels):
        for slot in range(slots):
            for stage in range(stages):
                first = stage * row
                for k in range(count + 1):
                    shares[first + k] = logits[p, slot, stage, k] / cool[stage]
                shares[first + count + 1 : first + row] = np.float32(-1e30)
                simd.softmax(shares, first, row // LANES)
                event = np.float32(1.0) - shares[first + count]
                out[3, p, slot, stage] = event
                _cumulate(shares, first, 0, count, cumulative[stage])
            for d in range(len(definitions)):
                of_definition = definitions[d][definitions[d] >= 0]
                peak = peaks[d]
                if one_season and peak >= 0:
                    best = _likeliest_peak(
                        shares, of_definition[peak] * row, near, cumulative, of_definition, peak,
                        count, reach, near_peak,
                    )  # fmt: skip
                    for k in range(len(of_definition)):
                        stage = of_definition[k]
                        if not out[3, p, slot, stage] >= threshold:
                            continue
                        before = reach if k < peak else near_peak if k == peak else 0
                        after = reach if k > peak else near_peak if k == peak else 0
                        # Rescaling to the sum before would change no quantile.
                        low, high = max(best - before, 0), min(best + after + 1, count)
                        _cumulate(shares, stage * row, low, high, cumulative[stage])
            for stage in range(stages):
                if not out[3, p, slot, stage] >= threshold:
                    for k in range(3):
                        out[k, p, slot, stage] = np.nan
                    continue
                of_stage = cumulative[stage]
                total = max(of_stage[count], np.float32(1e-30))
                for k in range(count + 1):
                    of_stage[k] /= total
                for k in range(3):
                    out[k, p, slot, stage] = _quantile(of_stage, edges, count, levels[k])
            for d in range(len(definitions)):
                of_definition = definitions[d][definitions[d] >= 0]
                for k in range(3):
                    _sort_known(out[k], p, slot, of_definition)
