"""Draw a field whose simulated camera greenness equals the curve of a real camera.

The greenness is inverted by warping time. A crop of the simulator grows and dies along its own
course (`canopy.development`). Each day of the real curve is assigned to the day of that course on
which the simulated greenness equals the real one: before the peak of the course while the season
rises, after it while the season falls. Leaf area, chlorophyll, ears, water and height so keep the
order and the proportions of the crop, at the dates of the real curve. Harvest removes the dead
plants.

The true relation of a camera's greenness to the canopy is unknown. Each repeat draws another
`Relation`: the greenness of the barest and the fullest field, how soon plants hide the soil, and a
slow drift of colours that is not due to the canopy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from deepcrop.phenology.extrema import find_extrema
from deepcrop.simulation import camera, canopy
from deepcrop.simulation.canopy import BROWN_LAI, CHLOROPHYLL, DAYS, GREEN_LAI, HEADS, STATE, WATER
from deepcrop.simulation.crops import CROPS, Crop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_COLUMNS = (GREEN_LAI, BROWN_LAI, CHLOROPHYLL, HEADS, WATER, -1)
_COURSE = ("green", "brown", "chlorophyll", "heads", "water", "height")
_BLEND = 7  # days before and after a valley over which two growths without harvest are blended

_SEEN_AS = {
    "corn": ("maize",),
    "soybean": ("soybean",),
    "wheat/barley": ("winter_wheat", "winter_barley", "spring_barley"),
    "alfalfa": ("alfalfa",),
}
"""Crops of the simulation for the crop names of the camera network's table."""

_BY_PEAK = (
    (75, 168, ("winter_wheat", "winter_barley", "rapeseed", "alfalfa", "grassland")),
    (168, 290, ("maize", "soybean", "cotton", "potato", "sugar_beet", "spring_barley", "alfalfa",
                "grassland")),
)  # fmt: skip
"""Possible crops of a season that peaks between two days of the year, where the crop is unknown."""

_CATCH = ("grassland", "cover_crop")
"""Possible vegetation of a season that peaks at another time; it is not harvested."""

_LEAST_SWING, _SWING = 0.02, 0.15  # least amplitude of a season: greenness, and share of the range
_FULL_RANGE = 0.11  # range of greenness of a camera in front of a dense crop
_WEEDS = 0.08  # leaf area of the barest field
_DRIFT, _DRIFT_DAYS = 0.05, 15  # drift of colours: share of the range, and days between knots
_LEAD = (-4, 5)  # days by which leaves lose colour before they die, and its spread
_EXTINCTION = 0.4  # logarithmic spread of the factor on leaf area in the camera's view
# As observed by cameras in the Corn Belt, doi 10.34133/remotesensing.0878:
_SOWN = (28, 7)  # days from sowing to SOS20, and spread
_RIPE = (20, 0.7)  # days from EOS20 to harvest: median, logarithmic spread
_PALENESS = (0.5, 1.0)  # colour of leaves of a season that is less green than the greenest
_AREA, _SPARSE = (0.25, 4.0), 1.0  # limits of the factor on leaf area; area to which it can rise


@dataclass(frozen=True)
class _Season:
    """Rise and fall of a curve, as indices of `canopy.DAYS`."""

    left: int
    peak: int
    right: int


@dataclass(frozen=True)
class Relation:
    """Relation of a camera to the canopy: greenness = offset + gain·simulated + drift.

    Attributes
    ----------
    offset, gain : float
        Effect of the camera's colours and of the foreground.
    extinction : float
        Factor on leaf area in the camera's view.
    drift : ndarray of float64 (days,)
        Greenness that is not due to the canopy, on each of `canopy.DAYS`.
    """

    offset: float
    gain: float
    extinction: float
    drift: NDArray[np.float64]


def observe(state: NDArray[np.floating], relation: Relation) -> NDArray[np.float64]:
    """Simulate the camera greenness (days,) of a field from its daily states."""
    simulated = _greenness(state.astype(np.float64), relation.extinction)
    greenness: NDArray[np.float64] = relation.offset + relation.gain * simulated + relation.drift
    return greenness


@njit(cache=True)
def _greenness(state, extinction):
    """Camera greenness of each day of ``state`` (days, columns as `canopy.STATE`)."""
    out = np.empty(state.shape[0], np.float64)
    for k in range(state.shape[0]):
        out[k] = camera.greenness(
            extinction * state[k, GREEN_LAI],
            extinction * state[k, BROWN_LAI],
            state[k, CHLOROPHYLL],
            state[k, HEADS],
        )
    return out


def invert(
    rng: np.random.Generator, curve: NDArray[np.float64], crop: str = ""
) -> tuple[canopy.Field, Relation]:
    """Draw a field whose camera greenness is a given curve.

    Parameters
    ----------
    rng : Generator
        Random numbers of the relation, unknown crops, traits and harvests.
    curve : ndarray (days,)
        Smooth camera greenness on each of `canopy.DAYS`.
    crop : str
        Crop of the target year, as in the network's crop table; empty if unknown.

    Returns
    -------
    field : Field
        Field; `observe` of its state returns the curve.
    relation : Relation
    """
    curve = np.asarray(curve, np.float64)
    seasons = _seasons(curve)
    growing = _crops(rng, curve, seasons, crop)
    courses = [
        _course(rng, plant, 1.25 * (_dying(curve, season) - _rising(curve, season)))
        for plant, season in zip(growing, seasons, strict=True)
    ]
    relation, wanted, thin = _relation(rng, curve, seasons, courses)
    plateau = rng.uniform(0.8, 0.95)

    state = np.zeros((len(DAYS), len(STATE) + 1))
    cycles, harvests, sowings = [], [], []
    begin, blend = 0, 0
    for k, (season, plant, course) in enumerate(zip(seasons, growing, courses, strict=True)):
        following = seasons[k + 1] if k + 1 < len(seasons) else None
        harvested = plant.kind in ("summer", "winter") and plant.name != "cover_crop"
        harvested = harvested and season.peak < season.right  # the fall is in the curve
        end = season.right
        if harvested:
            end = _harvest(rng, wanted, season, following)
            sowings.append(max(_rising(wanted, season) - int(max(rng.normal(*_SOWN), 8)), begin))
            harvests.append(end)
        elif following is None:
            end = len(DAYS)
        first, last = max(begin - blend, 0), min(end + _BLEND, len(DAYS))
        growth = _follow(
            course, wanted[first:last], season.peak - first, thin, rng.uniform(*_PALENESS),
            relation.extinction, plateau,
        )  # fmt: skip
        # Without a harvest, one growth is blended into the next.
        share = np.clip((np.arange(first, last) - begin + blend + 1) / (2 * blend + 1), 0, 1)
        state[first:last] += share[:, None] * (growth - state[first:last])
        cycles.append(canopy.Cycle(plant.name, float(DAYS[begin]), float(DAYS[min(end, last - 1)])))
        begin, blend = end, 0 if harvested else _BLEND
    if begin < len(DAYS):  # weeds and volunteers after the last harvest
        weeds = _course(rng, CROPS["cover_crop"], 90)
        state[begin:] = _follow(
            weeds, wanted[begin:], len(DAYS), thin, 1.0, relation.extinction, plateau
        )
    height, state = state[:, -1], state[:, :-1]
    _recolour(state, wanted, relation.extinction)
    for sown, harvested_on in zip(sowings, harvests, strict=True):
        canopy.soil(rng, state, float(DAYS[sown]), float(DAYS[harvested_on]))
    events = [int(DAYS[day]) for day in harvests]
    field = canopy.Field(cycles, events, state.astype(np.float32), height.astype(np.float32))
    return field, relation


def _seasons(curve: NDArray[np.float64]) -> list[_Season]:
    """Find the seasons of a curve by hysteresis; a constant curve is one season."""
    extrema = np.zeros(len(curve) + 3, np.int64)
    swing = max(_LEAST_SWING, _SWING * np.ptp(curve))
    count = find_extrema(curve.astype(np.float32), 0, len(curve), np.float32(swing), extrema)
    if count == 0:
        return [_Season(0, int(curve.argmax()), len(curve) - 1)]
    return [_Season(*(int(t) for t in extrema[k : k + 3])) for k in range(0, count - 1, 2)]


def _crops(
    rng: np.random.Generator, curve: NDArray[np.float64], seasons: Sequence[_Season], crop: str
) -> list[Crop]:
    """Draw the crop of each season; the main season of the target year has the known crop."""
    known = [name for seen, names in _SEEN_AS.items() if seen in crop for name in names]
    inside = [k for k, season in enumerate(seasons) if 0 <= DAYS[season.peak] < 365]
    main = max(inside, key=lambda k: curve[seasons[k].peak], default=-1)
    drawn = []
    for k, season in enumerate(seasons):
        day = DAYS[season.peak] % 365
        likely: tuple[str, ...] = next((names for a, b, names in _BY_PEAK if a <= day < b), _CATCH)
        if k == main and known:
            likely = tuple(name for name in likely if name in known) or tuple(known)
        drawn.append(CROPS[likely[rng.integers(len(likely))]])
    return drawn


def _course(rng: np.random.Generator, crop: Crop, days: float) -> NDArray[np.float64]:
    """Draw the states and the height of one growth of about ``days`` days, (n, columns + 1)."""
    mature = float(np.clip(days, 60, 220))
    crop = replace(crop, chlorophyll_lead=rng.normal(*_LEAD))
    grown = canopy.development(rng, crop, 0.0, mature)
    days_of_growth = slice(-canopy.FIRST_DAY, -canopy.FIRST_DAY + int(mature) + 90)
    length = days_of_growth.stop - days_of_growth.start
    table = np.zeros((length, len(STATE) + 1))
    for column, name in zip(_COLUMNS, _COURSE, strict=True):
        table[:, column] = grown[name][days_of_growth]
    return table


def _thinned(course: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Multiply leaf area, water and height of a growth by a share."""
    factor = np.ones(course.shape[1])
    factor[[GREEN_LAI, BROWN_LAI, WATER, -1]] = share
    return course * factor


def _relation(
    rng: np.random.Generator,
    curve: NDArray[np.float64],
    seasons: Sequence[_Season],
    courses: Sequence[NDArray[np.float64]],
) -> tuple[Relation, NDArray[np.float64], float]:
    """Draw a relation; return it, the simulated greenness to follow, and the densest stand."""
    drift = _drift(rng, np.ptp(curve))
    canopys = curve - drift
    # A weak signal is due partly to a thin stand, partly to the camera.
    thin = min(np.ptp(curve) / _FULL_RANGE, 1.0) ** rng.uniform(0, 1)
    extinction = float(np.exp(_EXTINCTION * rng.standard_normal()))
    strongest = courses[int(np.argmax([canopys[season.peak] for season in seasons]))]
    full = _greenness(_thinned(strongest, thin), extinction).max()
    weeds = np.zeros((1, len(STATE)))
    weeds[0, GREEN_LAI], weeds[0, CHLOROPHYLL] = abs(rng.normal(0, _WEEDS)), 1
    bare = float(_greenness(weeds, extinction)[0])
    gain = max(float(np.ptp(canopys) / (full - bare)), 1e-6)  # of a constant curve
    relation = Relation(float(canopys.min() - gain * bare), gain, extinction, drift)
    return relation, (canopys - relation.offset) / gain, thin


def _drift(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """Draw the slow drift of colours: light, exposure, dust, and noise left in the smooth curve."""
    knots = np.arange(canopy.FIRST_DAY, canopy.LAST_DAY + _DRIFT_DAYS, _DRIFT_DAYS)
    drift: NDArray[np.float64] = (
        _DRIFT * size * np.interp(DAYS, knots, rng.standard_normal(len(knots)))
    )
    return drift


def _follow(
    course: NDArray[np.float64],
    wanted: NDArray[np.float64],
    peak: int,
    thin: float,
    paleness: float,
    extinction: float,
    plateau: float,
) -> NDArray[np.float64]:
    """Warp a growth in time so that its greenness is ``wanted``; return its states (days, columns).

    Parameters
    ----------
    course : ndarray (n, columns)
        States of the growth in its own time.
    wanted : ndarray (days,)
        Simulated greenness.
    peak : int
        Day up to which the growth rises; beyond the last day: it only rises.
    thin : float
        Density of the stand at full greenness.
    paleness : float
        Minimum colour of leaves by which a season is less green than the greenest; a further
        reduction is a thinner stand.
    extinction : float
        That of the relation.
    plateau : float
        Share of the season's greenness above which time is not warped: greenness saturates there,
        while plants go on growing.
    """
    course = _as_green_as(course, wanted.max(), thin, paleness, extinction)
    green = _greenness(course, extinction)
    top = int(green.argmax())
    rise = np.maximum.accumulate(green[: top + 1])
    fall = np.minimum.accumulate(green[top:])[::-1]
    days = np.arange(len(wanted))
    moment = np.where(
        days <= peak,
        np.interp(wanted, rise, np.arange(top + 1)),
        np.interp(wanted, fall, np.arange(len(green) - 1, top - 1, -1)),
    )
    if 0 <= peak < len(wanted):
        above = wanted > green[0] + plateau * (green[top] - green[0])
        first = last = peak
        while first > 0 and above[first - 1]:
            first -= 1
        while last < len(wanted) - 1 and above[last + 1]:
            last += 1
        moment[first : last + 1] = np.interp(
            days[first : last + 1], [first, last], moment[[first, last]]
        )
    index = np.minimum(moment.astype(np.int64), len(course) - 2)
    fraction = (moment - index)[:, None]
    return np.asarray(course[index] + fraction * (course[index + 1] - course[index]))


def _as_green_as(
    course: NDArray[np.float64], most: float, thin: float, paleness: float, extinction: float
) -> NDArray[np.float64]:
    """Reduce the maximum greenness of a growth to ``most``: first paler, then thinner."""

    def at(stand: float, colour: float) -> NDArray[np.float64]:
        growth = _thinned(course, stand)
        growth[:, CHLOROPHYLL] *= colour
        return growth

    def limit(growth_of: Callable[[float], NDArray[np.float64]], low: float, high: float) -> float:
        if _greenness(growth_of(high), extinction).max() <= most:
            return high
        for _ in range(25):
            middle = 0.5 * (low + high)
            if _greenness(growth_of(middle), extinction).max() > most:
                high = middle
            else:
                low = middle
        return low

    colour = limit(lambda share: at(thin, share), paleness, 1.0)
    return at(limit(lambda stand: at(stand, colour), 0.0, thin), colour)


def _rising(wanted: NDArray[np.float64], season: _Season) -> int:
    """Day on which a season has risen by 20 %."""
    level = wanted[season.left] + 0.2 * (wanted[season.peak] - wanted[season.left])
    return season.left + int(np.argmax(wanted[season.left : season.peak + 1] >= level))


def _dying(wanted: NDArray[np.float64], season: _Season) -> int:
    """Day on which a season has fallen by 80 %."""
    level = wanted[season.right] + 0.2 * (wanted[season.peak] - wanted[season.right])
    return season.peak + int(np.argmax(wanted[season.peak : season.right + 1] <= level))


def _harvest(
    rng: np.random.Generator,
    wanted: NDArray[np.float64],
    season: _Season,
    following: _Season | None,
) -> int:
    """Draw the day of harvest: after the crop has died, before the next one greens up."""
    day = _dying(wanted, season) + int(_RIPE[0] * np.exp(_RIPE[1] * rng.standard_normal()))
    latest = _rising(wanted, following) - 3 if following else len(DAYS) - 1
    return max(min(day, latest, len(DAYS) - 1), season.peak + 1)


def _recolour(state: NDArray[np.float64], wanted: NDArray[np.float64], extinction: float) -> None:
    """Correct the colour of leaves, and where needed their area, to the wanted greenness."""
    pale, full = state.copy(), state.copy()
    pale[:, CHLOROPHYLL], full[:, CHLOROPHYLL] = 0, 1
    least, most = _greenness(pale, extinction), _greenness(full, extinction)
    share = (wanted - least) / np.maximum(most - least, 1e-4)  # greenness is linear in colour
    leafy = most - least > 0.02
    state[leafy, CHLOROPHYLL] = np.clip(share[leafy], 0, 1)
    area = state[:, GREEN_LAI].copy()
    low = np.full(len(area), _AREA[0])
    high = np.clip(_SPARSE / np.maximum(area, 1e-6), 1, _AREA[1])
    for _ in range(20):
        middle = np.sqrt(low * high)
        state[:, GREEN_LAI] = area * middle
        short = _greenness(state, extinction) < wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
