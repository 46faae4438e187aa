"""Simulate the daily state of a field: leaf area, chlorophyll, ears, water, height, residue.

A field has a history of growth *cycles*: annual crops in rotation (with double cropping and cover
crops), or cuts of a perennial. Leaf area grows and dies along logistic curves between dates drawn
from the crop's calendar. Leaves lose chlorophyll before they die; harvest and cuts end a cycle on
one day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.simulation import crops, random_fields
from deepcrop.simulation.crops import CROPS, Crop

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_DAY, LAST_DAY = -330, 640
"""First and last simulated day, relative to 1 January of the target year."""

DAYS = np.arange(FIRST_DAY, LAST_DAY + 1)

STATE = (
    "green_lai", "brown_lai", "chlorophyll", "heads", "water", "residue", "roughness", "flooded",
)  # fmt: skip
"""Columns of a field's daily state: m²/m², m²/m², 0…1, 0…1, kg/m², 0…1, dB, share of the ground."""

GREEN_LAI, BROWN_LAI, CHLOROPHYLL, HEADS, WATER, RESIDUE, ROUGHNESS, FLOODED = range(len(STATE))


@dataclass(frozen=True)
class Cycle:
    """One growth cycle: the days from ``start`` (sowing, last cut, bud break) to ``end``.

    ``end`` is the day of harvest, of the cut, or where the growing season ends; in days relative
    to 1 January of the target year.
    """

    crop: str
    start: float
    end: float


@dataclass(frozen=True)
class Field:
    """A field's history.

    Attributes
    ----------
    cycles : list of Cycle
        In order of time.
    events : list of int
        Days of harvests and cuts, on which the whole field changes at once.
    state : ndarray of float32
        Shape (len(DAYS), len(STATE)).
    height : ndarray of float32
        Canopy height in metres, shape (len(DAYS),).
    """

    cycles: list[Cycle]
    events: list[int]
    state: NDArray[np.float32]
    height: NDArray[np.float32]

    def main_crop(self) -> str:
        """Crop of the longest cycle with its middle in the target year."""
        inside = [c for c in self.cycles if 0 <= _middle(c) < 365] or self.cycles
        best = max(inside, key=lambda c: min(c.end, 365) - max(c.start, 0))
        return best.crop


def _middle(cycle: Cycle) -> float:
    return max(cycle.start, cycle.end - 110) / 2 + cycle.end / 2


def grow(seed: int, number: int, place: str, latitude: float) -> Field:
    """Draw the history of a field.

    Parameters
    ----------
    seed : int
        Seed of the region.
    number : int
        Field number.
    place : str
        ``"north_america"`` or ``"europe"``.
    latitude : float
        Degrees north.
    """
    rng = random_fields.generator(seed, "field", number)
    names, weights = crops.shares(place)
    name = names[rng.choice(len(names), p=weights)]
    growth = _Growth(rng)
    if CROPS[name].kind == "summer" or CROPS[name].kind == "winter":
        _rotation(growth, seed, name, place, latitude)
    elif CROPS[name].kind == "cut":
        _cuts(growth, seed, CROPS[name], place, latitude)
    else:
        _tree(growth, seed, CROPS[name], latitude)
    return growth.finish()


def logistic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


class _Growth:
    """Sum of the cycles of a field: its daily state."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.cycles: list[Cycle] = []
        self.events: list[int] = []
        self.state = np.zeros((len(DAYS), len(STATE)), np.float64)
        self.height = np.zeros(len(DAYS))
        self.chlorophyll_weight = np.zeros(len(DAYS))

    def add(self, cycle: Cycle, event: bool, **course: NDArray[np.floating]) -> None:
        """Add a cycle; ``course`` has its daily green and brown LAI, chlorophyll and so on."""
        alive = (cycle.start <= DAYS) & ((cycle.end > DAYS) | (not event))
        self.cycles.append(cycle)
        if event:
            self.events.append(int(cycle.end))
        green, brown = course["green"] * alive, course["brown"] * alive
        leaves = green + brown
        self.state[:, GREEN_LAI] += green
        self.state[:, BROWN_LAI] += brown
        self.state[:, CHLOROPHYLL] += course["chlorophyll"] * leaves
        self.state[:, HEADS] += course["heads"] * alive
        self.state[:, WATER] += course["water"] * alive
        self.height += course["height"] * alive
        self.chlorophyll_weight += leaves

    def finish(self) -> Field:
        """Return the field."""
        weight = self.chlorophyll_weight
        self.state[:, CHLOROPHYLL] /= np.maximum(weight, 1e-6)
        np.clip(self.state[:, HEADS], 0, 0.8, out=self.state[:, HEADS])
        return Field(
            self.cycles,
            sorted(self.events),
            self.state.astype(np.float32),
            self.height.astype(np.float32),
        )


def soil(
    rng: np.random.Generator, state: NDArray[np.floating], sown: float, harvested: float
) -> None:
    """Set residue and roughness: a seedbed after sowing; stubble, tilled or not, after harvest."""
    after = sown <= DAYS
    state[after, RESIDUE] = 0.05
    state[after, ROUGHNESS] = rng.normal(-0.8, 0.7)
    after = harvested <= DAYS
    cover = 0.9 * np.exp(-(DAYS - harvested) / 80.0)
    tilled = harvested + rng.uniform(10, 70)
    if rng.random() < 0.6:
        cover = np.where(tilled <= DAYS, 0.12, cover)
    state[after, RESIDUE] = cover[after]
    state[after, ROUGHNESS] = rng.normal(0.4, 0.8)


def _year_offset(seed: int, year: int) -> float:
    """Delay of a year, days, common to all fields of the region."""
    return float(random_fields.generator(seed, "year", year).normal(0, 4))


def _spring(seed: int, place: str, latitude: float, year: int) -> float:
    """First day of growth of perennial and winter crops in a year (0 = target year)."""
    day = 66 + 3.0 * (latitude - 40) if place == "north_america" else 43 + 2.0 * (latitude - 40)
    return 365 * year + day + _year_offset(seed, year)


def _rotation(growth: _Growth, seed: int, name: str, place: str, latitude: float) -> None:
    """Add annual crops of four years; ``name`` is the crop of the target year."""
    rng = growth.rng
    names, weights = crops.shares(place)
    annual = np.array([CROPS[n].kind in ("summer", "winter") for n in names])
    odds = np.where(annual, weights, 0) / weights[annual].sum()
    plan = [name if year == 0 else names[rng.choice(len(names), p=odds)] for year in range(-1, 3)]
    free_from = float(FIRST_DAY) - 100
    for position, year in enumerate(range(-1, 3)):
        crop = CROPS[plan[position]]
        sown, harvested = _draw_dates(rng, seed, crop, place, latitude, year)
        if sown < free_from + 4:
            sown = round(free_from + rng.uniform(4, 10))
            if crop.kind == "winter" and sown > 365 * (year - 1) + 335:
                # Too late for a winter crop: a spring crop instead.
                crop = CROPS["spring_barley" if rng.random() < 0.3 else "maize"]
                sown, harvested = _draw_dates(rng, seed, crop, place, latitude, year)
        harvested = max(harvested, sown + 80)
        _annual(growth, seed, crop, place, latitude, year, sown, harvested)
        free_from = harvested
        following = CROPS[plan[position + 1]] if position + 1 < len(plan) else None
        free_from = _second_crop(growth, seed, crop, following, place, latitude, year, free_from)


def _draw_dates(
    rng: np.random.Generator, seed: int, crop: Crop, place: str, latitude: float, year: int
) -> tuple[float, float]:
    sowing, harvest = crops.typical_dates(place, crop.name, latitude)
    spread = crops.CALENDARS[place][crop.name]
    sown = 365 * (year - (crop.kind == "winter")) + rng.normal(sowing, spread.sowing_sd)
    harvested = 365 * year + rng.normal(harvest, spread.harvest_sd)
    offset = _year_offset(seed, year)
    return round(sown + offset), round(harvested + 0.7 * offset)


def _second_crop(
    growth: _Growth,
    seed: int,
    crop: Crop,
    following: Crop | None,
    place: str,
    latitude: float,
    year: int,
    harvested: float,
) -> float:
    """Add, by chance, a second crop or a cover crop after an early harvest; return its end."""
    rng = growth.rng
    chance = rng.random()
    day = harvested - 365 * year
    winter_next = following is not None and following.kind == "winter"
    second = "soybean" if place == "north_america" else "maize"
    long_enough = latitude < 39 if place == "north_america" else latitude < 52
    if crop.kind == "winter" and day < 190 and long_enough and chance < 0.5:
        sown = round(harvested + rng.uniform(4, 12))
        late = round(max(sown + rng.normal(112, 5), 365 * year + rng.normal(280, 6)))
        _annual(growth, seed, CROPS[second], place, latitude, year, sown, late)
        return late
    if day < 235 and not winter_next and chance > (0.5 if place == "europe" else 0.85):
        sown = round(harvested + rng.uniform(8, 25))
        frost = round(365 * year + rng.normal(335 - 2 * (latitude - 45), 10))
        _annual(growth, seed, CROPS["cover_crop"], place, latitude, year, sown, frost)
        return frost
    return harvested


def _annual(
    growth: _Growth,
    seed: int,
    crop: Crop,
    place: str,
    latitude: float,
    year: int,
    sown: float,
    harvested: float,
) -> None:
    rng = growth.rng
    emerged = sown + max(rng.normal(11, 2), 5)
    green_harvest = crop.fall > 1 or crop.name == "cover_crop"
    mature = harvested - (0 if green_harvest else max(rng.normal(11, 4), 3))
    begins = emerged
    if crop.kind == "winter":
        begins = max(_spring(seed, place, latitude, year) + rng.normal(0, 4), emerged)
    course = development(rng, crop, begins, mature)
    if crop.kind == "winter":
        autumn = rng.uniform(0.3, 0.8) * (2.2 if crop.name == "rapeseed" else 1.0)
        emergence = logistic((DAYS - emerged - 22) / 6.0)
        tillering = logistic((DAYS - (begins - 35)) / 15.0)  # slow growth all winter
        young = autumn * emergence * (0.5 + 0.8 * tillering)
        # Spring leaves replace the leaves of autumn.
        course["green"] += young * (1 - course["green"] / max(course["green"].max(), 1e-6))
        course["green"] *= emerged <= DAYS
        course["water"] += 0.2 * young * (mature > DAYS)
    growth.add(Cycle(crop.name, sown, harvested), event=True, **course)
    soil(rng, growth.state, sown, harvested)


def development(
    rng: np.random.Generator, crop: Crop, begins: float, mature: float
) -> dict[str, NDArray[np.floating]]:
    """Draw the daily course of one growth between ``begins`` and ``mature``.

    Returns
    -------
    dict of str to ndarray (len(DAYS),)
        Green and brown leaf area, chlorophyll, heads, water, height, as the columns of `STATE`.
    """
    span = mature - begins
    lai = crop.lai_max * np.exp(0.15 * rng.standard_normal())
    rise = begins + crop.rise * span * rng.normal(1, 0.05)
    fall = begins + crop.fall * span + rng.normal(0, 3)
    up = logistic((DAYS - rise) / (crop.rise_width * np.exp(0.12 * rng.standard_normal())))
    up *= np.clip((DAYS - begins) / 12.0, 0, 1)
    down = logistic((DAYS - fall) / (crop.fall_width * np.exp(0.12 * rng.standard_normal())))
    lead = crop.chlorophyll_lead * rng.normal(1, 0.2)
    fade = logistic((DAYS - fall + lead) / (1.6 * crop.fall_width))
    heads = crop.heads * np.exp(0.2 * rng.standard_normal())
    out = logistic((DAYS - begins - crop.heading * span) / 4.0) * (crop.heading < 1)
    # Plants keep most of their water while leaves turn yellow, and dry down later.
    drying = logistic((DAYS - fall - 6) / (1.5 * crop.fall_width))
    return {
        "green": lai * up * (1 - down),
        "brown": 0.7
        * lai
        * up
        * down
        * np.exp(-np.clip(DAYS - fall, 0, None) / 40),  # leaves are shed
        "chlorophyll": 1 - 0.85 * fade,
        "heads": heads * out * up,
        "water": crop.water * (lai / crop.lai_max) * up * (1 - 0.7 * drying),
        "height": crop.height * up**0.7,
    }


def _cuts(growth: _Growth, seed: int, crop: Crop, place: str, latitude: float) -> None:
    """Add several cuts a year; stubble and crowns keep some leaves."""
    rng = growth.rng
    first, interval = (62, 34) if crop.name == "alfalfa" else (72, 50)
    stubble = 0.35 if crop.name == "alfalfa" else 0.9
    stubble *= np.exp(0.2 * rng.standard_normal())
    growth.state[:, GREEN_LAI] += stubble
    growth.state[:, CHLOROPHYLL] += 0.75 * stubble
    growth.chlorophyll_weight += stubble
    growth.state[:, WATER] += 0.2 * stubble
    growth.state[:, ROUGHNESS] = rng.normal(0, 0.5)
    growth.state[:, RESIDUE] = 0.3
    starts = [_spring(seed, place, latitude, year) + rng.normal(0, 3) for year in range(-1, 4)]
    for year, start, next_start in zip(range(-1, 3), starts, starts[1:], strict=False):
        season_end = 365 * year + 305 - 2.5 * (latitude - 40) + rng.normal(0, 5)
        cut = round(start + rng.normal(first, 5))
        usual, weaker = first, 1.0
        while cut < season_end - 15:
            strength = rng.uniform(0.85, 1.1) * weaker
            grown = replace(crop, lai_max=(crop.lai_max - stubble) * strength)
            course = development(rng, grown, start, start + usual)
            growth.add(Cycle(crop.name, start, cut), event=True, **course)
            start = float(cut)
            cut = round(cut + max(rng.normal(interval, 4), 22))
            usual, weaker = interval, 0.7 if crop.name == "grassland" else 1.0
        last = replace(crop, lai_max=(crop.lai_max - stubble) * 0.5, fall=0.85)
        course = development(rng, last, start, season_end + 12)
        end = min(season_end + 40, next_start)
        growth.add(Cycle(crop.name, start, end), event=False, **course)


def _tree(growth: _Growth, seed: int, crop: Crop, latitude: float) -> None:
    """Add deciduous trees over green undergrowth."""
    rng = growth.rng
    growth.state[:, GREEN_LAI] += 0.5
    growth.state[:, CHLOROPHYLL] += 0.7 * 0.5
    growth.chlorophyll_weight += 0.5
    growth.state[:, WATER] += 4.0
    growth.state[:, RESIDUE] = 0.6
    growth.height += crop.height
    for year in range(-1, 3):
        offset = _year_offset(seed, year)
        start = 365 * year + 95 + 2.5 * (latitude - 40) + offset + rng.normal(0, 4)
        end = 365 * year + 305 - 1.5 * (latitude - 40) + rng.normal(0, 4)
        course = development(rng, crop, start, end)
        course["brown"] *= np.exp(-np.clip(DAYS - end, 0, None) / 15.0)  # leaves fall
        course["height"] *= 0
        growth.add(Cycle(crop.name, start, end + 40), event=False, **course)
