"""The field that a real camera's curve came from, as far as the simulator can tell.

A camera's greenness is turned back into a canopy by warping time. A crop of the simulator grows and
dies along its own course (`canopy.development`); on each day of the real curve the field stands
where on that course the simulated camera would see the real greenness: before the course's peak
while the season rises, after it while the season falls. Leaves, colour, ears, water and height so
keep the order and the relation to each other that the crop gives them, while their dates are the
real ones. At harvest the dead plants go, and what is green stays.

How a real camera's greenness follows from the canopy is not known. Each realisation draws its own
`Relation`: how green the barest and the fullest field look, how soon plants hide the soil, and a
slow drift of colours that no canopy explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepcrop.phenology.extrema import find_extrema
from deepcrop.simulation import camera, canopy
from deepcrop.simulation.canopy import BROWN_LAI, CHLOROPHYLL, DAYS, GREEN_LAI, HEADS, STATE, WATER
from deepcrop.simulation.crops import CROPS, Crop

_COLUMNS = (GREEN_LAI, BROWN_LAI, CHLOROPHYLL, HEADS, WATER, -1)
_COURSE = ("green", "brown", "chlorophyll", "heads", "water", "height")
_BLEND = 7  # days to each side of a valley in which one growth passes into the next, unharvested

_SEEN_AS = {
    "corn": ("maize",),
    "soybean": ("soybean",),
    "wheat/barley": ("winter_wheat", "winter_barley", "spring_barley"),
    "alfalfa": ("alfalfa",),
}
"""Crops of the simulation behind the names that people gave to what cameras saw."""

_BY_PEAK = (
    (75, 168, ("winter_wheat", "winter_barley", "rapeseed", "alfalfa", "grassland")),
    (168, 290, ("maize", "soybean", "cotton", "potato", "sugar_beet", "spring_barley", "alfalfa",
                "grassland")),
)  # fmt: skip
"""What may stand on a field whose season peaks on these days of the year, where nobody knows."""

_CATCH = ("grassland", "cover_crop")
"""What greens up at other times: grass, weeds, a cover crop. It is not harvested."""

_LEAST_SWING, _SWING = 0.02, 0.15  # as cameras' seasons are found: greenness, and share of range
_FULL_RANGE = 0.11  # range of greenness of a camera before which a full crop grew
_WEEDS = 0.08  # leaf area of the barest field
_DRIFT, _DRIFT_DAYS = 0.05, 15  # wander of colours: share of the range, from so many days to next
_LEAD = (-4, 5)  # days by which leaves lose colour before they die, and its spread
_EXTINCTION = 0.4  # logarithmic spread of the factor on leaf area in the camera's view
# As cameras saw it in the Corn Belt, doi 10.34133/remotesensing.0878:
_SOWN = (28, 7)  # days from sowing to SOS20, and spread
_RIPE = (20, 0.7)  # days from EOS20 to harvest: median, logarithmic spread
_PALENESS = (0.5, 1.0)  # colour of leaves of a season that is less green than the greenest
_AREA, _SPARSE = (0.25, 4.0), 1.0  # factor that the area of a sparse stand may be corrected by


@dataclass(frozen=True)
class _Season:
    """A rise and a fall of a curve, as indices of `canopy.DAYS`."""

    left: int
    peak: int
    right: int


@dataclass(frozen=True)
class Relation:
    """What one realisation believes of a camera: greenness = offset + gain·simulated + drift.

    Attributes
    ----------
    offset, gain : float
        Of the camera's colours, and of what stands before the crop.
    extinction : float
        Factor on leaf area in the camera's view.
    drift : ndarray of float64 (days,)
        Greenness that is not the canopy's, on each of `canopy.DAYS`.
    """

    offset: float
    gain: float
    extinction: float
    drift: NDArray[np.float64]


def observe(state: NDArray[np.floating], relation: Relation) -> NDArray[np.float64]:
    """Greenness that a camera sees of a field with these daily states, (days,)."""
    seen = _greenness(state.astype(np.float64), relation.extinction)
    return relation.offset + relation.gain * seen + relation.drift


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
    """Draw a field of which a camera sees this curve.

    Parameters
    ----------
    rng : Generator
        Draws the relation, the crops where they are unknown, their traits, and the harvests.
    curve : ndarray (days,)
        Smooth camera greenness on each of `canopy.DAYS`.
    crop : str
        What the camera saw in the target year, as in the network's crop table; empty if unknown.

    Returns
    -------
    field : Field
        `observe` gives the curve back from its state.
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
        harvested = harvested and season.peak < season.right  # its fall was seen
        end = season.right
        if harvested:
            end = _harvest(rng, wanted, season, following)
            sowings.append(max(_rising(wanted, season) - int(max(rng.normal(*_SOWN), 8)), begin))
            harvests.append(end)
        elif following is None:
            end = len(DAYS)
        first, last = max(begin - blend, 0), min(end + _BLEND, len(DAYS))
        part = _follow(
            course, wanted[first:last], season.peak - first, thin, rng.uniform(*_PALENESS),
            relation.extinction, plateau,
        )  # fmt: skip
        # Where nothing was harvested, one growth fades into the next.
        share = np.clip((np.arange(first, last) - begin + blend + 1) / (2 * blend + 1), 0, 1)
        state[first:last] += share[:, None] * (part - state[first:last])
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
    """Seasons of a curve by hysteresis; a curve that never moves is one season."""
    extrema = np.zeros(len(curve) + 3, np.int64)
    swing = max(_LEAST_SWING, _SWING * np.ptp(curve))
    count = find_extrema(curve.astype(np.float32), 0, len(curve), np.float32(swing), extrema)
    if count == 0:
        return [_Season(0, int(curve.argmax()), len(curve) - 1)]
    return [_Season(*(int(t) for t in extrema[k : k + 3])) for k in range(0, count - 1, 2)]


def _crops(
    rng: np.random.Generator, curve: NDArray[np.float64], seasons: Sequence[_Season], crop: str
) -> list[Crop]:
    """Draw what grew in each season; the main season of the target year had the known crop."""
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
    """Daily states of one growth that takes about so many days, and its height (n, columns + 1)."""
    mature = float(np.clip(days, 60, 220))
    crop = replace(crop, chlorophyll_lead=rng.normal(*_LEAD))
    grown = canopy.development(rng, crop, 0.0, mature)
    part = slice(-canopy.FIRST_DAY, -canopy.FIRST_DAY + int(mature) + 90)
    table = np.zeros((part.stop - part.start, len(STATE) + 1))
    for column, name in zip(_COLUMNS, _COURSE, strict=True):
        table[:, column] = grown[name][part]
    return table


def _thinned(course: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Leave a growth a share of the leaves, water and height."""
    factor = np.ones(course.shape[1])
    factor[[GREEN_LAI, BROWN_LAI, WATER, -1]] = share
    return course * factor


def _relation(
    rng: np.random.Generator,
    curve: NDArray[np.float64],
    seasons: Sequence[_Season],
    courses: Sequence[NDArray[np.float64]],
) -> tuple[Relation, NDArray[np.float64], float]:
    """Draw a relation; with it the simulated greenness wanted, and the strongest crop's stand."""
    drift = _drift(rng, np.ptp(curve))
    canopys = curve - drift
    # A weak signal is partly a thin stand, partly the camera's.
    thin = min(np.ptp(curve) / _FULL_RANGE, 1.0) ** rng.uniform(0, 1)
    extinction = float(np.exp(_EXTINCTION * rng.standard_normal()))
    strongest = courses[int(np.argmax([canopys[season.peak] for season in seasons]))]
    full = _greenness(_thinned(strongest, thin), extinction).max()
    weeds = np.zeros((1, len(STATE)))
    weeds[0, GREEN_LAI], weeds[0, CHLOROPHYLL] = abs(rng.normal(0, _WEEDS)), 1
    bare = float(_greenness(weeds, extinction)[0])
    gain = max(float(np.ptp(canopys) / (full - bare)), 1e-6)  # a camera that never changes
    relation = Relation(float(canopys.min() - gain * bare), gain, extinction, drift)
    return relation, (canopys - relation.offset) / gain, thin


def _drift(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """Slow wander of colours: light, exposure, dust, and the noise left in the smooth curve."""
    knots = np.arange(canopy.FIRST_DAY, canopy.LAST_DAY + _DRIFT_DAYS, _DRIFT_DAYS)
    return _DRIFT * size * np.interp(DAYS, knots, rng.standard_normal(len(knots)))


def _follow(
    course: NDArray[np.float64],
    wanted: NDArray[np.float64],
    peak: int,
    thin: float,
    paleness: float,
    extinction: float,
    plateau: float,
) -> NDArray[np.float64]:
    """States (days, columns) of a growth that is warped in time so as to be ``wanted`` green.

    Parameters
    ----------
    course : ndarray (n, columns)
        The growth in its own time.
    wanted : ndarray (days,)
        Simulated greenness.
    peak : int
        Day up to which the growth rises; days beyond the last: it only rises.
    thin : float
        Stand of a growth that is as green as it can be.
    paleness : float
        Least share of its colour to which a season that stays below may owe that; the rest of it
        is a thinner stand.
    extinction : float
        Of the relation.
    plateau : float
        Share of the season's greenness above which time runs evenly: there greenness says
        little of leaf area, while plants go on growing.
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
    return course[index] + fraction * (course[index + 1] - course[index])


def _as_green_as(
    course: NDArray[np.float64], most: float, thin: float, paleness: float, extinction: float
) -> NDArray[np.float64]:
    """Make a growth as green as ``most`` at its best: paler first, to a limit, and then thinner."""

    def at(stand: float, colour: float) -> NDArray[np.float64]:
        made = _thinned(course, stand)
        made[:, CHLOROPHYLL] *= colour
        return made

    def limit(made: Callable[[float], NDArray[np.float64]], low: float, high: float) -> float:
        if _greenness(made(high), extinction).max() <= most:
            return high
        for _ in range(25):
            middle = 0.5 * (low + high)
            if _greenness(made(middle), extinction).max() > most:
                high = middle
            else:
                low = middle
        return low

    colour = limit(lambda share: at(thin, share), paleness, 1.0)
    return at(limit(lambda stand: at(stand, colour), 0.0, thin), colour)


def _rising(wanted: NDArray[np.float64], season: _Season) -> int:
    """Day on which a season has risen by a fifth."""
    level = wanted[season.left] + 0.2 * (wanted[season.peak] - wanted[season.left])
    return season.left + int(np.argmax(wanted[season.left : season.peak + 1] >= level))


def _dying(wanted: NDArray[np.float64], season: _Season) -> int:
    """Day on which it has fallen by four fifths."""
    level = wanted[season.right] + 0.2 * (wanted[season.peak] - wanted[season.right])
    return season.peak + int(np.argmax(wanted[season.peak : season.right + 1] <= level))


def _harvest(
    rng: np.random.Generator,
    wanted: NDArray[np.float64],
    season: _Season,
    following: _Season | None,
) -> int:
    """Day of harvest: some time after the crop has died down, before the next one greens up."""
    day = _dying(wanted, season) + int(_RIPE[0] * np.exp(_RIPE[1] * rng.standard_normal()))
    latest = _rising(wanted, following) - 3 if following else len(DAYS) - 1
    return max(min(day, latest, len(DAYS) - 1), season.peak + 1)


def _recolour(state: NDArray[np.float64], wanted: NDArray[np.float64], extinction: float) -> None:
    """Give leaves the colour, and where that is not enough the area, to be as green as wanted."""
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
