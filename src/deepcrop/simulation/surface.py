"""Compute the state and signal of every pixel of a block on a day from the histories of its fields.

Within a field, pixels develop a few days earlier or later along a slope, and plants differ. Events
of the whole field (harvest, a cut) stay on their day: the time shift of a pixel never moves it
across an event.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from deepcrop.simulation import camera, canopy, crops, field_mosaic, optical, radar, random_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROAD, WATER = -1, -2


@dataclass(frozen=True)
class Surface:
    """Static properties of a block of pixels, and the histories of its fields.

    Attributes
    ----------
    fields : list of Field
        Histories of the fields in the block.
    which : ndarray of int32 (rows, cols)
        Index into ``fields``; `ROAD` or `WATER`.
    number : ndarray of uint32 (rows, cols)
        Field number in the region, 0 = none.
    shift : ndarray of float32 (rows, cols)
        Delay of a pixel, days.
    vigour : ndarray of float32 (rows, cols)
        Factor on leaf area and plant water.
    brightness, roughness : ndarray of float32 (rows, cols)
        Soil brightness factor; dB added to the soil's backscatter.
    state : ndarray of float32 (fields, days, 8)
        Daily states.
    span : ndarray of int32 (fields, days, 2)
        For each day the first and last day between the same two events.
    traits : ndarray of float32 (fields, days, 4)
        Radar traits of the growing crop: volume VV, VH (dB), attenuation VV, VH.
    """

    fields: list[canopy.Field]
    which: NDArray[np.int32]
    number: NDArray[np.uint32]
    shift: NDArray[np.float32]
    vigour: NDArray[np.float32]
    brightness: NDArray[np.float32]
    roughness: NDArray[np.float32]
    state: NDArray[np.float32]
    span: NDArray[np.int32]
    traits: NDArray[np.float32]

    def codes(self) -> NDArray[np.uint16]:
        """Make the crop-type map of the block (classes of :data:`crops.CLASS_NAMES`)."""
        table = [crops.CROPS[field.main_crop()].code for field in self.fields]
        code = {name: number for number, name in crops.NOT_CROPS.items()}
        lookup = np.array([*table, code["water"], code["road"]], np.uint16)  # -2, -1 index the end
        return lookup[self.which]


def make(
    seed: int, row0: int, col0: int, shape: tuple[int, int],
    field_size_ha: float, place: str, latitude: float,
) -> Surface:  # fmt: skip
    """Make the surface of a block of pixels; a pixel does not depend on the block."""
    land = field_mosaic.draw(seed, row0, col0, shape, field_size_ha)
    numbers, which = np.unique(land.field, return_inverse=True)
    which = which.reshape(shape).astype(np.int32)
    if numbers[0] == 0:
        numbers, which = numbers[1:], which - 1
    which = np.where(land.water, WATER, np.where(land.road, ROAD, which))

    fields = [canopy.grow(seed, int(number), place, latitude) for number in numbers]
    slope = np.zeros(len(fields) + 2, np.float32)
    bright = np.ones(len(fields) + 2, np.float32)
    for k, number in enumerate(numbers):
        rng = random_fields.generator(seed, "soil", int(number))
        slope[k] = rng.normal(0, 2.5)
        bright[k] = np.exp(0.15 * rng.standard_normal())

    def texture(name: str, wavelength: float, octaves: int) -> NDArray[np.float32]:
        return random_fields.smooth_field(
            random_fields.stream(seed, name), row0, col0, shape, wavelength, octaves, 0.6
        )

    plants = random_fields.normal(random_fields.stream(seed, "plants"), row0, col0, *shape)
    soil = texture("soil", 1500, 4)
    return Surface(
        fields=fields,
        which=which.astype(np.int32),
        number=land.field.astype(np.uint32),
        shift=slope[which] * land.along + 1.2 * texture("late", 250, 2),
        vigour=np.exp(0.08 * texture("vigour", 300, 3) + 0.05 * plants).astype(np.float32),
        brightness=bright[which] * np.exp(0.10 * soil).astype(np.float32),
        roughness=(0.5 * texture("rough", 120, 2)).astype(np.float32),
        state=np.stack(
            [f.state for f in fields] or [np.zeros((len(canopy.DAYS), len(canopy.STATE)), "f4")]
        ),
        span=np.stack([_spans(f.events) for f in fields] or [_spans([])]),
        traits=np.stack([_traits(f) for f in fields] or [np.zeros((len(canopy.DAYS), 4), "f4")]),
    )


def _spans(events: list[int]) -> NDArray[np.int32]:
    """First and last day index between the same two events, for every day index."""
    last = len(canopy.DAYS) - 1
    edges = sorted({0, last + 1, *(min(max(e - canopy.FIRST_DAY, 0), last + 1) for e in events)})
    span = np.empty((last + 1, 2), np.int32)
    for start, stop in itertools.pairwise(edges):
        span[start:stop] = start, stop - 1
    return span


def _traits(field: canopy.Field) -> NDArray[np.float32]:
    """Radar traits of the crop of each day (between two crops those of the next)."""
    table = np.empty((len(canopy.DAYS), 4), np.float32)
    start = 0
    for cycle in field.cycles:
        crop = crops.CROPS[cycle.crop]
        stop = min(max(int(cycle.end) - canopy.FIRST_DAY, start), len(canopy.DAYS))
        table[start:stop] = (
            crop.volume_vv, crop.volume_vh, crop.attenuation_vv, crop.attenuation_vh
        )  # fmt: skip
        start = stop
    table[start:] = table[start - 1] if start else 0
    return table


@njit(cache=True, inline="always")
def _moment(span, field, day, shift):
    """Day index and fraction to read a field's state at, for a pixel ``shift`` days late."""
    first, last = span[field, day, 0], span[field, day, 1]
    t = min(max(day - shift, np.float32(first)), np.float32(last))
    index = int(t)
    fraction = t - index
    if index >= last:
        return last, np.float32(0.0)
    return index, np.float32(fraction)


@njit(cache=True, inline="always")
def _state(state, field, index, fraction, column):
    value = state[field, index, column]
    if fraction > 0:
        value += fraction * (state[field, index + 1, column] - value)
    return value


@njit(cache=True, inline="always")
def leaf_area_in_view(green, brown):
    """Green and dead leaf area, weighted by their contribution to reflectance.

    Reflectance comes mostly from the top of the canopy, which ripens first; the exponent was fitted
    to the lags between satellite and camera (see `camera`).
    """
    lai = green + brown
    if lai <= 0 or brown <= 0:
        return green, brown
    green_in_view = lai * (green / lai) ** 1.7
    return green_in_view, lai - green_in_view


@njit(cache=True, parallel=True)
def _reflectance(
    day, which, shift, vigour, brightness, state, span, road, water, wetness, cos_sun, out
):
    rows, cols = which.shape
    for i in prange(rows):
        for j in range(cols):
            f = which[i, j]
            if f < 0:
                for b in range(4):
                    out[b, i, j] = road[b] * brightness[i, j] if f == ROAD else water[b]
                continue
            index, fraction = _moment(span, f, day, shift[i, j])
            green = _state(state, f, index, fraction, canopy.GREEN_LAI) * vigour[i, j]
            brown = _state(state, f, index, fraction, canopy.BROWN_LAI) * vigour[i, j]
            colour = _state(state, f, index, fraction, canopy.CHLOROPHYLL)
            residue = _state(state, f, index, fraction, canopy.RESIDUE)
            flooded = _state(state, f, index, fraction, canopy.FLOODED)
            # From above, ears and flowers hide few of the leaves; they reflect like dead leaves.
            hidden = 0.15 * _state(state, f, index, fraction, canopy.HEADS)
            green, brown = leaf_area_in_view(green * (1.0 - hidden), brown + green * hidden)
            for b in range(4):
                out[b, i, j] = optical.reflectance(
                    b,
                    green,
                    brown,
                    colour,
                    residue,
                    brightness[i, j],
                    wetness,
                    cos_sun,
                    flooded,
                )


def reflectance(surface: Surface, day: int, wetness: float, cos_sun: float) -> NDArray[np.float32]:
    """Compute the noise-free reflectance of the surface on a day, (4, rows, cols).

    Parameters
    ----------
    surface : Surface
        The block.
    day : int
        Day number.
    wetness : float
        Wetness of the soil surface, 0 … 1.
    cos_sun : float
        Cosine of the sun's zenith angle.
    """
    out = np.empty((4, *surface.which.shape), np.float32)
    _reflectance(
        day - canopy.FIRST_DAY,
        surface.which,
        surface.shift,
        surface.vigour,
        surface.brightness,
        surface.state,
        surface.span,
        optical.ROAD,
        optical.WATER,
        wetness,
        cos_sun,
        out,
    )
    return out


@njit(cache=True, parallel=True)
def _backscatter(
    day, which, shift, vigour, roughness, state, span, traits, moisture, incidence, wind, out
):
    rows, cols = which.shape
    cos_incidence = np.cos(np.radians(incidence))
    for i in prange(rows):
        for j in range(cols):
            f = which[i, j]
            if f < 0:
                for p in range(2):
                    base = radar.WATER_DB[p] + wind if f == WATER else radar.ROAD_DB[p]
                    out[p, i, j] = 10.0 ** ((base + roughness[i, j]) / 10.0)
                continue
            index, fraction = _moment(span, f, day, shift[i, j])
            water = _state(state, f, index, fraction, canopy.WATER) * vigour[i, j]
            rough = _state(state, f, index, fraction, canopy.ROUGHNESS) + roughness[i, j]
            flooded = _state(state, f, index, fraction, canopy.FLOODED)
            soil = radar.soil_db(moisture, rough, incidence[j])
            for p in range(2):
                ground = (1.0 - flooded) * soil[p] + flooded * radar.PADDY_DB[p]
                out[p, i, j] = radar.water_cloud(
                    traits[f, index, p], traits[f, index, 2 + p], water, ground, cos_incidence[j]
                )


def backscatter(
    surface: Surface,
    day: int,
    moisture: float,
    incidence: float | NDArray[np.floating],
    wind: float,
) -> NDArray[np.float32]:
    """Compute the speckle-free backscatter (VV, VH) of the surface on a day, linear power.

    ``incidence`` is one angle or one per column, degrees; ``moisture`` that of the soil, percent;
    ``wind`` the increase on water, dB. Returns (2, rows, cols).
    """
    out = np.empty((2, *surface.which.shape), np.float32)
    _backscatter(
        day - canopy.FIRST_DAY,
        surface.which,
        surface.shift,
        surface.vigour,
        surface.roughness,
        surface.state,
        surface.span,
        surface.traits,
        moisture,
        np.array(np.broadcast_to(incidence, surface.which.shape[1]), np.float64),
        wind,
        out,
    )
    return out


@njit(cache=True, inline="always")
def greenness_at(state, span, f, day, shift, vigour):
    """Noise-free camera greenness of one pixel on one day index."""
    index, fraction = _moment(span, f, day, shift)
    return camera.greenness(
        _state(state, f, index, fraction, canopy.GREEN_LAI) * vigour,
        _state(state, f, index, fraction, canopy.BROWN_LAI) * vigour,
        _state(state, f, index, fraction, canopy.CHLOROPHYLL),
        _state(state, f, index, fraction, canopy.HEADS),
    )


@njit(cache=True, parallel=True)
def _greenness(which, shift, vigour, state, span, out):
    days, rows, cols = out.shape
    for i in prange(rows):
        for j in range(cols):
            f = which[i, j]
            for day in range(days):
                if f < 0:
                    out[day, i, j] = 0.335
                else:
                    out[day, i, j] = greenness_at(state, span, f, day, shift[i, j], vigour[i, j])


def greenness(surface: Surface) -> NDArray[np.float32]:
    """Compute the noise-free camera greenness on all days of `canopy.DAYS`, (days, rows, cols)."""
    out = np.empty((len(canopy.DAYS), *surface.which.shape), np.float32)
    _greenness(surface.which, surface.shift, surface.vigour, surface.state, surface.span, out)
    return out


def with_field(surface: Surface, index: int, field: canopy.Field) -> Surface:
    """Replace the history of one field of a block."""
    fields = [*surface.fields]
    fields[index] = field
    state, span, traits = surface.state.copy(), surface.span.copy(), surface.traits.copy()
    state[index], span[index] = field.state, _spans(field.events)
    traits[index] = _traits(field)
    return replace(surface, fields=fields, state=state, span=span, traits=traits)


def crop_to(surface: Surface, window: tuple[slice, slice]) -> Surface:
    """Crop a surface to a window of pixels."""
    maps = ("which", "number", "shift", "vigour", "brightness", "roughness")
    return replace(surface, **{name: getattr(surface, name)[window] for name in maps})
