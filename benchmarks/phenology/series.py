"""Simulated NDVI series whose season dates are known.

No model is favoured: the shape of each season is drawn from four families, the observations are
made from the noise-free curve by clouds, dips nobody flagged and noise, and the true dates are read
from that curve by brute force. Nothing here uses deepcrop or a peer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.interpolate import PchipInterpolator

KINDS = ("three years", "one year", "sparse year")
GROUPS = ("one season", "two seasons", "winter crops")
STAGES = ("sos20", "sos50", "peak", "eos50", "eos20")
FAMILIES = ("double logistic", "generalised Gaussian", "monotone knots", "harvest drop")

YEAR = 365.0
STEP = 0.25
"""Days between the points at which the truth is read from the curve."""
DIPS = 0.06
"""Share of the clear observations lowered by something unflagged."""

_SHAPES_PER_FAMILY = 400
_SHAPE_POINTS = 801


@dataclass(frozen=True)
class Scene:
    """A simulated scene and its truth; days count from 1 January of the first year.

    Attributes
    ----------
    values : ndarray of float32 (pixels, times)
        Observed NDVI, NaN where cloudy.
    days : ndarray of float32 (times,)
    curves : ndarray of float32 (pixels, curve days)
        Noise-free NDVI.
    curve_days : ndarray of float32 (curve days,)
        Daily.
    truth : ndarray of float32 (pixels, seasons, stages)
        Days of `STAGES`, each on the base of its own side; NaN where a pixel has fewer seasons.
    group : ndarray of uint8 (pixels,)
        Index into `GROUPS`.
    """

    kind: str
    seed: int
    values: np.ndarray
    days: np.ndarray
    curves: np.ndarray
    curve_days: np.ndarray
    truth: np.ndarray
    group: np.ndarray


def simulate(kind: str = "three years", pixels: int = 20_000, seed: int = 1) -> Scene:
    """Draw a scene.

    Parameters
    ----------
    kind : str
        ``"three years"``: 219 dates 5 days apart, half of them cloudy, all three groups.
        ``"one year"``: 42 irregular dates in 395 days, a third of them cloudy.
        ``"sparse year"``: 79 dates 5 days apart in 395 days, about 25 of them clear.
        The last two have no winter crops, which begin in another year.
    pixels : int
    seed : int
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    years = 3 if kind == "three years" else 1
    end = YEAR * 3 if years == 3 else 395.0
    if kind == "one year":
        days = np.sort(rng.choice(395, 42, replace=False)).astype(np.float32)
    else:
        days = np.arange(0, end, 5, dtype=np.float32)
    cloudy = {"three years": 0.5, "one year": 1 / 3, "sparse year": 1 - 25 / 79}[kind]

    group = (np.arange(pixels) % (3 if years == 3 else 2)).astype(np.uint8)
    starts, lengths = _calendar(group, years, rng)
    valleys, tops = _levels(group, starts.shape[1], rng)
    bank = shape_bank(rng)
    chosen = rng.integers(0, len(bank), starts.shape)

    curve_days = np.arange(0, end, dtype=np.float32)
    curves = np.empty((pixels, len(curve_days)), np.float32)
    truth = np.empty((*starts.shape, len(STAGES)), np.float32)
    _draw(starts, lengths, valleys, tops, bank, chosen, end, curves, truth)

    clean = np.empty((pixels, len(days)), np.float32)
    for p in range(pixels):
        clean[p] = np.interp(days, curve_days, curves[p])
    values = observe(clean, days, cloudy, rng)
    return Scene(kind, seed, values, days, curves, curve_days, truth, group)


def shape_bank(rng: np.random.Generator) -> np.ndarray:
    """Shapes of all families on [0, 1]: from 0 up to 1 and down to 0; (shapes, points)."""
    x = np.linspace(0, 1, _SHAPE_POINTS)
    draws = (_double_logistic, _generalised_gaussian, _monotone_knots, _harvest_drop)
    bank = np.stack([draw(x, rng) for draw in draws for _ in range(_SHAPES_PER_FAMILY)])
    top = bank.argmax(axis=1)[:, None]
    rising = np.arange(_SHAPE_POINTS) <= top
    foot = np.where(rising, bank[:, :1], bank[:, -1:])
    return (bank - foot) / (bank.max(axis=1, keepdims=True) - foot)


def _double_logistic(x, rng):
    """Unequal slopes and a slow decline in between."""
    rise, fall = rng.uniform(0.18, 0.35), rng.uniform(0.65, 0.82)
    up, down = rng.uniform(0.03, 0.06, 2)
    decline = rng.uniform(0.0, 0.35)
    return _logistic((x - rise) / up) * _logistic((fall - x) / down) * (1 - decline * x)


def _generalised_gaussian(x, rng):
    """Exponents and widths of the two sides are unrelated."""
    peak = rng.uniform(0.35, 0.65)
    exponent = np.where(x < peak, rng.uniform(2, 5), rng.uniform(2, 5))
    depth = np.where(x < peak, rng.uniform(4.5, 8), rng.uniform(4.5, 8))
    reach = np.where(x < peak, peak, 1 - peak)
    return np.exp(-depth * (np.abs(x - peak) / reach) ** exponent)


def _monotone_knots(x, rng):
    """A monotone cubic through random knots on either side of the peak."""
    peak = rng.uniform(0.35, 0.65)
    place, height = [], []
    for near, far in ((0.0, peak), (1.0, peak)):
        at = np.array([0.0, *(np.array([0.25, 0.5, 0.75]) + rng.uniform(-0.1, 0.1, 3))])
        up = np.sort(rng.uniform(0.05, 0.97, 3))
        place.append(near + at * (far - near))
        height.append(np.array([0.0, *up]))
    knots = np.concatenate([place[0], [peak], place[1][::-1]])
    levels = np.concatenate([height[0], [1.0], height[1][::-1]])
    return PchipInterpolator(knots, levels)(x)


def _harvest_drop(x, rng):
    """A smooth rise, a plateau that declines or not, and a fall within days."""
    rise, up = rng.uniform(0.2, 0.4), rng.uniform(0.04, 0.07)
    fall, down = rng.uniform(0.75, 0.9), rng.uniform(0.008, 0.018)
    return _logistic((x - rise) / up) * _logistic((fall - x) / down) * (1 - rng.uniform(0, 0.3) * x)


def _logistic(x):
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


def _calendar(group, years, rng):
    """First day and length of the seasons of each pixel, in order of time; NaN = no season."""
    pixels = len(group)
    starts = np.full((pixels, 2 * years), np.nan)
    lengths = np.full((pixels, 2 * years), np.nan)
    one, two, winter = (np.flatnonzero(group == g) for g in range(3))

    usual = rng.uniform(50, 110, len(one))
    for year in range(years):
        starts[one, year] = year * YEAR + usual + rng.uniform(-12, 12, len(one))
        lengths[one, year] = rng.uniform(130, 220, len(one))

    usual = rng.uniform(45, 65, len(two))
    for year in range(years):
        first = year * YEAR + usual + rng.uniform(-10, 10, len(two))
        length = rng.uniform(100, 135, (2, len(two)))
        starts[two, 2 * year] = first
        starts[two, 2 * year + 1] = first + length[0] + rng.uniform(0, 25, len(two))
        lengths[two, 2 * year], lengths[two, 2 * year + 1] = length

    usual = rng.uniform(265, 305, len(winter))
    for year in range(years - 1):  # a season that began before the series is not seen whole
        starts[winter, year] = year * YEAR + usual + rng.uniform(-12, 12, len(winter))
        lengths[winter, year] = rng.uniform(225, 290, len(winter))
    return starts, lengths


def _levels(group, seasons, rng):
    """NDVI of the valleys before, between and after the seasons, and of the peaks."""
    pixels = len(group)
    valleys = rng.uniform(0.12, 0.25, (pixels, 1)) + rng.uniform(-0.03, 0.03, (pixels, seasons + 1))
    amplitude = rng.uniform(0.25, 0.7, (pixels, 1)) * rng.uniform(0.85, 1.15, (pixels, seasons))
    tops = (valleys[:, :-1] + valleys[:, 1:]) / 2 + np.clip(amplitude, 0.25, 0.7)
    return valleys, tops


@njit(cache=True)
def _draw(starts, lengths, valleys, tops, bank, chosen, end, curves, truth):
    """Noise-free curves at each full day, and the true dates from the same curves at `STEP`."""
    truth[:] = np.nan
    fine = np.empty(round(end / STEP))
    seasons = starts.shape[1]
    peaks = np.empty(seasons + 2, np.int64)
    for pixel in range(len(starts)):
        fine[:] = valleys[pixel, 0]
        count = 0
        for s in range(seasons):
            if np.isnan(starts[pixel, s]):
                break
            count += 1
            first, length = starts[pixel, s], lengths[pixel, s]
            before, after, top = valleys[pixel, s], valleys[pixel, s + 1], tops[pixel, s]
            shape = bank[chosen[pixel, s]]
            peak = shape.argmax()
            for i in range(max(int(np.ceil(first / STEP)), 0), len(fine)):
                place = (i * STEP - first) / length * (len(shape) - 1)
                cell = min(int(place), len(shape) - 2)
                share = min(place - cell, 1.0)
                height = shape[cell] * (1 - share) + shape[cell + 1] * share
                foot = before if place <= peak else after
                fine[i] = foot + (top - foot) * height
        curves[pixel] = fine[:: round(1 / STEP)]

        peaks[0], peaks[count + 1] = 0, len(fine) - 1
        for s in range(count):
            first = int(np.ceil(starts[pixel, s] / STEP))
            last = int((starts[pixel, s] + lengths[pixel, s]) / STEP)
            peaks[s + 1] = first + fine[first : last + 1].argmax()
        for s in range(count):
            truth[pixel, s] = read_dates(fine, peaks[s], peaks[s + 1], peaks[s + 2])


@njit(cache=True)
def read_dates(fine, previous, peak, following):
    """Days of `STAGES` of one season on a curve with a point every `STEP` days, by brute force.

    The base of each side is the lowest value between this peak and the neighbouring one (or the
    end of the series). The start is the last upward crossing, the end the first downward one.
    """
    dates = np.empty(5, np.float32)
    dates[2] = peak * STEP
    bases = (fine[previous : peak + 1].min(), fine[peak : following + 1].min())
    for stage, fraction in ((0, 0.2), (1, 0.5)):
        level = bases[0] + fraction * (fine[peak] - bases[0])
        i = peak
        while fine[i - 1] > level:
            i -= 1
        dates[stage] = STEP * (i - (fine[i] - level) / (fine[i] - fine[i - 1]))
        level = bases[1] + fraction * (fine[peak] - bases[1])
        i = peak
        while fine[i + 1] > level:
            i += 1
        dates[4 - stage] = STEP * (i + (fine[i] - level) / (fine[i] - fine[i + 1]))
    return dates


def observe(clean, days, cloudy, rng):
    """Noise, dips and clouds; clouds come in runs, and in winter more often."""
    pixels = len(clean)
    values = clean + rng.uniform(0.02, 0.03, (pixels, 1)) * rng.standard_normal(clean.shape)
    values *= np.where(rng.random(clean.shape) < DIPS, rng.uniform(0.3, 0.9, clean.shape), 1)
    chance = cloudy + 0.15 * np.cos(2 * np.pi * (days - 10) / YEAR)
    chance += cloudy - chance.mean()
    now = rng.random(pixels) < chance[0]
    for k in range(len(days)):
        if k:
            anew = rng.random(pixels) > np.exp(-(days[k] - days[k - 1]) / 6)
            now = np.where(anew, rng.random(pixels) < chance[k], now)
        values[now, k] = np.nan
    return values.astype(np.float32)
