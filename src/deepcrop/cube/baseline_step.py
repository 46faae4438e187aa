"""Find a step of 0.1 in a series of Sentinel-2 reflectance, as of processing baseline 04.00.

Since 25 January 2022 the digital numbers of Sentinel-2 contain 1000 more than before. A series that
crosses this day with one offset for all its scenes is too bright by 0.1 on one side of it, in every
band. This moves the dates of the seasons on both sides by days to weeks. Archives of reprocessed
scenes, and mixtures of archives, have the same step on other days.

Such a step shows in all bands at once, in the darkest of the scenes just before and just after the
day (clouds only brighten), and the level does not return afterwards. Crops, soil and water change
the bands by different amounts, near infrared often the other way; snow and haze come and go.

On 25 January 2022 a step is expected, and its three visible bands are enough, in most pixels. On
any other day more is asked for: also near infrared, steps that are equal in the visible bands, more
scenes on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BASELINE_DAY = np.datetime64("2022-01-25", "ns")
"""First day of processing baseline 04.00."""

VISIBLE = ("blue", "green", "red")
BANDS = (*VISIBLE, "nir")
"""Bands in which the step is looked for."""

_REACH = np.timedelta64(90, "D")  # scenes that far from the day are compared
_SCENES = 8  # of them the nearest, on each side
_FEWEST = 2  # valid values of a pixel on each side
_STEP = 0.06, 0.16  # of each band, in reflectance; the true step is 0.1
_MEDIAN_STEP = 0.07, 0.14  # of the median band
_LEVEL = 0.04  # change of the 2 % quantile of all earlier and later values, blue and green
_DOUBTFUL = 0.05, 0.2

_ALIKE = 0.6  # share of the pixels whose visible bands all step by `_OF_A_PIXEL`
_OF_A_PIXEL = 0.05, 0.17

# On a day that is not known beforehand:
_PIXELS = 144  # at most, evenly spaced
_FEWEST_ELSEWHERE = 5
_POSSIBLE = 0.02, 0.18  # of each visible band, whatever the crop does meanwhile
_EQUAL = (0.06, 0.14), (0.04, 0.16), 0.05  # visible bands, near infrared, spread of the former
_JUMP = (0.07, 0.13), (0.06, 0.14), 0.04  # the same, between neighbouring clear scenes
_LEVEL_REACH = np.timedelta64(180, "D")
_LEVEL_ELSEWHERE = 0.05  # blue and green


class Step(NamedTuple):
    """A step of reflectance, and the day on which it is."""

    size: float
    """About +0.1 or -0.1; 0 if there is none, NaN if it cannot be decided (on `BASELINE_DAY`)."""
    day: np.datetime64


def find_step(times: NDArray[np.datetime64], bands: Mapping[str, NDArray[np.float32]]) -> Step:
    """Find a step of reflectance: at `BASELINE_DAY`, else on any other day.

    Parameters
    ----------
    times : array of datetime64
        Times of the scenes, sorted.
    bands : mapping
        Reflectance of `BANDS`, (time, y, x), NaN where there is no data.

    Returns
    -------
    Step
        Its day is that of the first scene after it.
    """
    size = _at_baseline(times, bands)
    if abs(size) > 0:
        return Step(size, BASELINE_DAY)
    return _elsewhere(times, bands) or Step(size, BASELINE_DAY)


def _at_baseline(times: NDArray[np.datetime64], bands: Mapping[str, NDArray[np.float32]]) -> float:
    """Estimate the step at `BASELINE_DAY`; 0 if the series does not cross it."""
    before = np.flatnonzero((times < BASELINE_DAY) & (times > BASELINE_DAY - _REACH))[::-1]
    after = np.flatnonzero((times >= BASELINE_DAY) & (times < BASELINE_DAY + _REACH))
    late = times >= BASELINE_DAY
    if late.all() or not late.any():
        return 0.0
    if before.size == 0 or after.size == 0:
        return float("nan")
    changes, level = [], []
    for name in VISIBLE:
        values = bands[name].reshape(times.size, -1)
        changes.append(_darkest(values[after], _FEWEST) - _darkest(values[before], _FEWEST))
        level.append(
            float(np.nanquantile(values[late], 0.02) - np.nanquantile(values[~late], 0.02))
        )
    change = np.stack(changes)
    change = change[:, np.isfinite(change).all(axis=0)]
    if change.size == 0:
        return float("nan")
    near = np.median(change, axis=1)
    middle = float(np.median(near))
    sign = 1.0 if middle > 0 else -1.0
    size = sign * near
    if (
        size.min() > _STEP[0]
        and size.max() < _STEP[1]
        and _MEDIAN_STEP[0] < np.median(size) < _MEDIAN_STEP[1]
        and sign * min(level[:2]) > _LEVEL
        and _share_alike(sign * change) > _ALIKE
    ):
        return middle
    return float("nan") if _DOUBTFUL[0] < size.min() < _DOUBTFUL[1] else 0.0


def _elsewhere(
    times: NDArray[np.datetime64], bands: Mapping[str, NDArray[np.float32]]
) -> Step | None:
    """Find the step between any two scenes; None if there is none."""
    pixels = np.stack([bands[name].reshape(times.size, -1) for name in BANDS])
    pixels = pixels[:, :, :: -(-pixels.shape[2] // _PIXELS)]
    found: list[tuple[float, int, float]] = []
    for scene in range(1, times.size):
        near = _near_change(times, pixels, scene)
        if near is None:
            continue
        jump = _jump(pixels, scene)
        # Within weeks a crop changes the bands too; from one scene to the next it hardly does, but
        # there a single cloud counts.
        if not (_is_equal(near, *_EQUAL) or _is_equal(jump, *_JUMP)):
            continue
        size = float(np.median(near[: len(VISIBLE)]))
        if _stays(times, pixels, scene, 1.0 if size > 0 else -1.0):
            # Scenes beside the step show it too: of them, the one that itself jumps like it.
            found.append((float(np.median(np.abs(jump - size))), scene, size))
    if not found:
        return None
    _, scene, size = min(found)
    return Step(size, times[scene])


def _near_change(
    times: NDArray[np.datetime64], pixels: NDArray[np.float32], scene: int
) -> NDArray[np.floating] | None:
    """Change of the darkest values (band, pixel) at a scene; None if it cannot be the step."""
    day = times[scene]
    before = np.flatnonzero((times < day) & (times > day - _REACH))[::-1]
    after = np.flatnonzero((times >= day) & (times < day + _REACH))
    if min(before.size, after.size) < _FEWEST_ELSEWHERE:
        return None
    changes = []
    for band, values in zip(BANDS, pixels, strict=True):
        change = _darkest(values[after], _FEWEST_ELSEWHERE)
        change -= _darkest(values[before], _FEWEST_ELSEWHERE)
        known = change[np.isfinite(change)]
        if known.size == 0 or (
            band in VISIBLE and not _POSSIBLE[0] < abs(np.median(known)) < _POSSIBLE[1]
        ):
            return None  # soon for most scenes
        changes.append(change)
    change = np.stack(changes)
    return change[:, np.isfinite(change).all(axis=0)]


def _jump(pixels: NDArray[np.float32], scene: int) -> NDArray[np.floating]:
    """Change from the last valid value before a scene to the first since, (band, pixel)."""
    valid = np.isfinite(pixels.min(axis=0))
    column = np.flatnonzero(valid[:scene].any(axis=0) & valid[scene:].any(axis=0))
    valid = valid[:, column]
    last = scene - 1 - valid[:scene][::-1].argmax(axis=0)
    first = scene + valid[scene:].argmax(axis=0)
    jump: NDArray[np.floating] = pixels[:, first, column] - pixels[:, last, column]
    return jump


def _is_equal(
    change: NDArray[np.floating],
    visible: tuple[float, float],
    infrared: tuple[float, float],
    spread: float,
) -> bool:
    """Whether all bands change alike, in most pixels, by about 0.1."""
    if change.size == 0:
        return False
    middle = np.median(change, axis=1)
    sign = 1.0 if middle[0] > 0 else -1.0
    rgb, nir = sign * middle[: len(VISIBLE)], sign * middle[len(VISIBLE) :]
    return bool(
        _within(rgb, visible).all()
        and np.ptp(rgb) < spread
        and _within(nir, infrared).all()
        and _share_alike(sign * change[: len(VISIBLE)]) > _ALIKE
    )


def _share_alike(change: NDArray[np.floating]) -> float:
    """Share of the pixels whose bands all change by about 0.1; haze is uneven, an offset is not."""
    return float(_within(change, _OF_A_PIXEL).all(axis=0).mean())


def _stays(
    times: NDArray[np.datetime64], pixels: NDArray[np.float32], scene: int, sign: float
) -> bool:
    """Whether blue and green do not return to their level for months."""
    day, blue_and_green = times[scene], pixels[:2]
    earlier = blue_and_green[:, (times < day) & (times >= day - _LEVEL_REACH)]
    later = blue_and_green[:, (times >= day) & (times < day + _LEVEL_REACH)]
    change = sign * (_lowest(later) - _lowest(earlier))
    return bool(change.min() > _LEVEL_ELSEWHERE)


def _within(values: NDArray[np.floating], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values > limits[0]) & (values < limits[1])


def _lowest(values: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return the 2 % quantile of each band."""
    return np.nanquantile(values.reshape(len(values), -1), 0.02, axis=1)


def _darkest(values: NDArray[np.float32], fewest: int) -> NDArray[np.float32]:
    """Lowest of the first valid values of each pixel, (time, pixel); NaN if these are too few."""
    valid = np.isfinite(values)
    counted = valid & (np.cumsum(valid, axis=0) <= _SCENES)
    lowest = np.where(counted, values, np.inf).min(axis=0)
    return np.where(valid.sum(axis=0) >= fewest, lowest, np.nan).astype(np.float32)
