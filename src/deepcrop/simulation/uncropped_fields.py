"""Simulate uncropped fields: growth at any time of the year, any number of times.

A network that is trained on crop calendars alone confuses other vegetation (a meadow after a
drought, legumes, three crops of rice) with the nearest crop. Here the course of growth is drawn
from the range of what plants can do, not from the crops of two continents. Labels are read off the
course.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.simulation import canopy
from deepcrop.simulation.canopy import (
    BROWN_LAI,
    CHLOROPHYLL,
    DAYS,
    FLOODED,
    GREEN_LAI,
    HEADS,
    ROUGHNESS,
    STATE,
    WATER,
    Cycle,
    Field,
    logistic,
)
from deepcrop.simulation.crops import CROPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = ("annual", "several", "meadow", "paddy")
_SHARES = (0.32, 0.24, 0.32, 0.12)
_DRY = (110, 290)  # days of the year on which droughts may begin
_YEARS = range(-1, 3)


def draw_field(rng: np.random.Generator) -> Field:
    """Draw the history of a field; its cycles have names of crops only for their radar traits."""
    state = np.zeros((len(DAYS), len(STATE)))
    state[:, ROUGHNESS] = rng.normal(0, 1)
    state[:, CHLOROPHYLL] = 0.7
    kind = str(rng.choice(_KINDS, p=_SHARES))
    if kind == "meadow":
        cycles, events = _meadow(rng, state)
    else:
        cycles, events = _growths(rng, state, kind)
    height = np.zeros(len(DAYS), np.float32)
    return Field(cycles, events, state.astype(np.float32), height)


def _growths(
    rng: np.random.Generator, state: NDArray[np.floating], kind: str
) -> tuple[list[Cycle], list[int]]:
    """Draw one growth after another; each ends by harvest or senescence."""
    weight = np.zeros(len(DAYS))
    colour = np.zeros(len(DAYS))
    cycles, events = [], []
    for start, end in _spans(rng, kind):
        crop = str(rng.choice(list(CROPS)))
        course = _growth(rng, start, end, paddy=kind == "paddy")
        harvested = kind == "paddy" or rng.random() < 0.7
        alive = (start <= DAYS) & ((end > DAYS) | (not harvested))
        green, brown = course["green"] * alive, course["brown"] * alive
        state[:, GREEN_LAI] += green
        state[:, BROWN_LAI] += brown
        state[:, WATER] += course["water"] * alive
        state[:, HEADS] = np.maximum(state[:, HEADS], course["heads"] * alive)
        colour += course["chlorophyll"] * (green + brown)
        weight += green + brown
        cycles.append(Cycle(crop, start, end))
        if harvested:
            events.append(int(end))
            canopy.soil(rng, state, start, end)
        if kind == "paddy":
            drained = start + rng.uniform(25, 75)
            since = np.minimum((DAYS - start + rng.uniform(3, 20)) / 3, (drained - DAYS) / 10)
            state[:, FLOODED] = np.maximum(state[:, FLOODED], np.clip(since, 0, 1))
    known = weight > 1e-6
    state[known, CHLOROPHYLL] = colour[known] / weight[known]
    return cycles, events


def _spans(rng: np.random.Generator, kind: str) -> list[tuple[float, float]]:
    """Draw the first and last day of each growth of a field."""
    spans = []
    if kind == "annual":  # about the same time each year, at any time of the year
        middle, length = rng.uniform(30, 330), rng.uniform(70, 240)
        for year in _YEARS:
            half = length * np.exp(0.1 * rng.standard_normal()) / 2
            about = 365 * year + middle + rng.normal(0, 12)
            spans.append((round(about - half), round(about + half)))
    elif kind == "paddy":
        period = 365 / rng.integers(1, 4)
        start = DAYS[0] - rng.uniform(0, period)
        while start < DAYS[-1]:
            length = min(rng.uniform(85, 130), period - 6)
            spans.append((round(start), round(start + length)))
            start += period + rng.normal(0, 5)
    else:
        start = DAYS[0] - rng.uniform(0, 120)
        while start < DAYS[-1]:
            length = rng.uniform(40, 150)
            spans.append((round(start), round(start + length)))
            start += length + rng.exponential(35)
    return spans


def _growth(
    rng: np.random.Generator, start: float, end: float, paddy: bool
) -> dict[str, NDArray[np.floating]]:
    """Draw the daily course of one growth, as `canopy.development`, with any shape."""
    span = end - start
    lai = rng.uniform(3, 6.5) if paddy else float(np.exp(rng.uniform(np.log(0.6), np.log(7))))
    rise = start + span * rng.uniform(0.15, 0.5)
    fall = start + span * rng.uniform(0.65, 1.1)
    up = logistic((DAYS - rise) / (span * rng.uniform(0.03, 0.11)))
    up *= np.clip((DAYS - start) / 10.0, 0, 1)
    width = span * rng.uniform(0.015, 0.13)
    down = logistic((DAYS - fall) / width)
    fade = logistic((DAYS - fall + rng.normal(3, 5)) / (width * rng.uniform(1, 2)))
    drying = logistic((DAYS - fall - rng.uniform(-5, 15)) / (width * rng.uniform(1, 2)))
    headed = logistic((DAYS - start - span * rng.uniform(0.4, 0.8)) / 4.0)
    water = lai * np.exp(rng.normal(-0.3, 0.5))
    shed = np.exp(-np.clip(DAYS - fall, 0, None) / rng.uniform(8, 70))
    return {
        "green": lai * up * (1 - down),
        "brown": 0.8 * lai * up * down * shed,
        "chlorophyll": rng.uniform(0.7, 1) * (1 - 0.85 * fade),
        "heads": headed * up * rng.uniform(0, 0.5) * (rng.random() < 0.6),
        "water": water * up * (1 - rng.uniform(0.5, 0.9) * drying),
    }


def _meadow(rng: np.random.Generator, state: NDArray[np.floating]) -> tuple[list[Cycle], list[int]]:
    """Draw grass, clover, pasture or weeds: never bare; mown, grazed or unused; dry in droughts."""
    season = _warmth(rng)
    drought = _droughts(rng)
    cuts = _cuts(rng)
    most, rate = rng.uniform(2, 6.5), rng.uniform(0.03, 0.14)
    stubble = rng.uniform(0.25, 1.2)
    winter_loss, lasting = rng.uniform(0.0, 0.02), rng.uniform(12, 60)
    green, brown = rng.uniform(0.3, 2.0), 0.3
    for k in range(len(DAYS)):
        lost = green * (drought[k] + winter_loss * (1 - season[k]))
        green += rate * season[k] * (drought[k] == 0) * green * (1 - green / most) - lost
        brown += lost - brown / lasting
        if cuts[k]:
            green, brown = min(green, max(stubble, (1 - cuts[k]) * green)), brown * (1 - cuts[k])
        green = max(green, 0.12)
        state[k, GREEN_LAI], state[k, BROWN_LAI] = green, brown
    dry = np.convolve(drought > 0, np.ones(25) / 25, "same")
    state[:, CHLOROPHYLL] = rng.uniform(0.65, 1) * (1 - 0.5 * dry) * (0.8 + 0.2 * season)
    state[:, WATER] = (
        state[:, GREEN_LAI] * np.exp(rng.normal(-0.9, 0.5)) + 0.1 * state[:, BROWN_LAI]
    )
    state[:, HEADS] = rng.uniform(0, 0.25) * season * (state[:, GREEN_LAI] > 0.7 * most)
    crop = str(rng.choice(["alfalfa", "grassland", "cover_crop"]))
    days = DAYS[cuts > 0.6]
    edges = [float(DAYS[0]), *map(float, days), float(DAYS[-1]) + 1]
    return [Cycle(crop, a, b) for a, b in itertools.pairwise(edges)], list(map(int, days))


def _warmth(rng: np.random.Generator) -> NDArray[np.floating]:
    """Draw the growing conditions of each day, 0 … 1: seasonal, with better and worse spells."""
    mildness = rng.uniform(-0.2, 0.7)
    best = rng.uniform(140, 215)
    course = mildness + (1 - mildness) * np.cos(2 * np.pi * (DAYS - best) / 365)
    knots = np.arange(DAYS[0], DAYS[-1] + 25, 25)
    spells = np.interp(DAYS, knots, rng.normal(0, 0.2, len(knots)))
    return np.clip(course + spells, 0, 1)


def _droughts(rng: np.random.Generator) -> NDArray[np.floating]:
    """Draw the share of the green leaves that droughts kill on each day."""
    loss = np.zeros(len(DAYS))
    for year in _YEARS:
        for _ in range(rng.integers(0, 3)):
            first = 365 * year + rng.uniform(*_DRY)
            within = (first <= DAYS) & (first + rng.uniform(12, 90) > DAYS)
            loss[within] = rng.uniform(0.005, 0.07)
    return loss


def _cuts(rng: np.random.Generator) -> NDArray[np.floating]:
    """Draw the share of the leaves that mowing or grazing removes on each day."""
    taken = np.zeros(len(DAYS))
    use = rng.choice(["mown", "grazed", "left"], p=[0.5, 0.3, 0.2])
    for year in _YEARS:
        day, last = 365 * year + rng.uniform(95, 170), 365 * year + rng.uniform(220, 310)
        while use != "left" and day < last:
            k = round(day) - DAYS[0]
            if 0 <= k < len(DAYS):
                taken[k] = rng.uniform(0.75, 0.98) if use == "mown" else rng.uniform(0.1, 0.5)
            day += rng.uniform(26, 80) if use == "mown" else rng.exponential(15) + 3
    return taken
