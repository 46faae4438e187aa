"""What a network must not mind: the same place seen with other scenes, other air, another radar.

Each example is changed anew whenever it is taken. Nothing here knows whether it is simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepcrop import grid, stages
from deepcrop.stages import DAY_MAX, DAY_MIN
from deepcrop.training.examples import Example

_YEAR = 365
_PEAKS = [2, 7]  # of `batches.EVENTS`


@dataclass(frozen=True)
class Augmentation:
    """How far examples are changed; 0 leaves a thing as it is, but for the last two.

    Attributes
    ----------
    thin : float
        Share of examples that lose optical scenes: 10 to 100 % are kept.
    gap : float
        Share that lose every optical scene of 30 to 100 days about one of their dates.
    thin_radar : float
        Share that lose radar scenes: 30 to 100 % are kept.
    window : float
        Share seen only from some day before the year to one around its end or after it.
    shift, stretch : float
        Spread of days by which the calendar moves, and of the logarithm of its stretching.
    cloud : float
        Greatest share of scenes on which cloud or shadow was overlooked.
    colour : float
        Spread of the logarithm of a band's gain; a scene's own is half as much.
    offset : float
        Spread of what a scene's atmospheric correction leaves over in all bands, reflectance; a
        band's own is half as much.
    gain : float
        Spread of an orbit's gain in dB; a scene's own is half as much.
    swing : float
        Spread of the logarithm by which backscatter swings more or less about its median.
    coarse, coarse_radar : float
        Share of examples with optical pixels of 30 m, and of those with radar pixels of 20 or 40 m.
    alone : float
        Share of examples in which nothing is known beyond some 20 to 70 m about one pixel, as in
        files of single fields.
    side : int
        A tile larger than this is cut to so many pixels on a side, somewhere.
    most : int
        Scenes of each sensor that are kept at most: more cost time and teach little.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    thin: float = 0.8
    gap: float = 0.3
    thin_radar: float = 0.5
    window: float = 0.6
    shift: float = 12.0
    stretch: float = 0.06
    cloud: float = 0.06
    colour: float = 0.05
    offset: float = 0.006
    gain: float = 1.0
    swing: float = 0.3
    coarse: float = 0.15
    coarse_radar: float = 0.4
    alone: float = 0.15
    side: int = 24
    most: int = 64


def augment(rng: np.random.Generator, example: Example, how: Augmentation) -> Example:
    """Change an example; its labels follow where its calendar moves."""
    example = _alone(rng, _cut(rng, example, how.side), how.alone)
    example = _scenes(rng, example, how)
    example = _calendar(rng, example, how)
    optical = _air(rng, _coarse(rng, example.optical, 3, how.coarse), how)
    side = int(rng.choice([2, 2, 4]))
    radar = _coarse(rng, example.radar, side, how.coarse_radar, _mean_power)
    radar = _echo(rng, example, radar, how)
    if rng.random() < 0.5:  # rows for columns: the pixel asked for stays where it is
        return _transposed(replace(example, optical=optical, radar=radar))
    return replace(example, optical=optical, radar=radar)


def _cut(rng: np.random.Generator, example: Example, side: int) -> Example:
    """Part of a tile, somewhere in it, with the labels of the pixels that have a patch in it."""
    whole = example.optical.shape[-1]
    if whole <= max(side, grid.PATCH_SIZE):
        return example
    row, col = rng.integers(0, whole - side + 1, 2)
    window = (..., slice(row, row + side), slice(col, col + side))
    inner, outer = side - sum(grid.PATCH_HALO), whole - sum(grid.PATCH_HALO)

    def labels(each: NDArray) -> NDArray:
        shape = (outer, outer, *each.shape[1:])
        part = each.reshape(shape)[row : row + inner, col : col + inner]
        return part.reshape(-1, *each.shape[1:])

    return replace(
        example,
        optical=example.optical[window],
        radar=example.radar[window],
        day=labels(example.day),
        spread=labels(example.spread),
        none=labels(example.none),
    )


def _alone(rng: np.random.Generator, example: Example, share: float) -> Example:
    """Hide all that lies far from one pixel, in some examples; hidden pixels are not judged."""
    if rng.random() >= share:
        return example
    side, (before, after) = example.optical.shape[-1], grid.PATCH_HALO
    row, col = before + rng.integers(0, side - before - after, 2)
    half = int(rng.integers(2, 8))
    hidden = np.ones((side, side), np.bool_)
    hidden[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1] = False
    unjudged = hidden[before : side - after, before : side - after].reshape(-1, 1, 1)
    nan = np.float32(np.nan)
    return replace(
        example,
        optical=np.where(hidden, nan, example.optical),
        radar=np.where(hidden, nan, example.radar),
        day=np.where(unjudged, nan, example.day),
        spread=np.where(unjudged, nan, example.spread),
        none=example.none & ~unjudged,
    )


def _scenes(rng: np.random.Generator, example: Example, how: Augmentation) -> Example:
    """Take scenes away."""
    optical, radar = example.optical_days, example.radar_days
    keep, keep_radar = np.ones(len(optical), np.bool_), np.ones(len(radar), np.bool_)
    if rng.random() < how.window:
        first, last = rng.uniform(DAY_MIN, -60), rng.uniform(_YEAR - 35, DAY_MAX)
        keep &= (optical >= first) & (optical <= last)
        keep_radar &= (radar >= first) & (radar <= last)
    if rng.random() < how.thin:
        keep &= rng.random(len(optical)) < np.exp(rng.uniform(np.log(0.1), 0))
    if rng.random() < how.gap:
        known = example.day[np.isfinite(example.day)]
        about = rng.choice(known) if len(known) else rng.uniform(0, _YEAR)
        about += rng.normal(0, 25)
        keep &= np.abs(optical - about) > rng.uniform(15, 50)
    if rng.random() < how.thin_radar:
        keep_radar &= rng.random(len(radar)) < rng.uniform(0.3, 1)
    return _kept(example, _fewer(rng, keep, how.most), _fewer(rng, keep_radar, how.most))


def _fewer(rng: np.random.Generator, keep: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Give the indices of what is kept, at most so many."""
    index = np.flatnonzero(keep)
    return index if len(index) <= most else np.sort(rng.choice(index, most, replace=False))


def _kept(example: Example, optical: NDArray, radar: NDArray) -> Example:
    """Only some of the scenes of each sensor."""
    return replace(
        example,
        optical=example.optical[optical],
        optical_days=example.optical_days[optical],
        radar=example.radar[radar],
        radar_days=example.radar_days[radar],
        orbits=example.orbits[radar],
    )


def _calendar(rng: np.random.Generator, example: Example, how: Augmentation) -> Example:
    """Move and stretch time, where all seasons still peak in the year."""
    shift = float(np.clip(rng.normal(0, how.shift), -3 * how.shift, 3 * how.shift))
    stretch = float(np.exp(how.stretch * rng.standard_normal()))
    middle = np.float32(_YEAR / 2)

    def moved(days: NDArray[np.float32]) -> NDArray[np.float32]:
        return (middle + (days - middle) * stretch + shift).astype(np.float32)

    peaks = moved(example.day[..., _PEAKS])
    if ((peaks < 0) | (peaks >= _YEAR)).any():
        return example
    example = replace(
        example,
        optical_days=moved(example.optical_days),
        radar_days=moved(example.radar_days),
        day=moved(example.day),
        spread=(example.spread * stretch).astype(np.float32),
    )
    return _kept(example, _inside(example.optical_days), _inside(example.radar_days))


def _inside(days: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (days >= DAY_MIN) & (days <= DAY_MAX)


def _air(
    rng: np.random.Generator, optical: NDArray[np.float32], how: Augmentation
) -> NDArray[np.float32]:
    """Change colours, and leave cloud and shadow on some scenes."""
    count = len(optical)
    gain = how.colour * rng.standard_normal(4) + how.colour / 2 * rng.standard_normal((count, 1))
    optical = optical * np.exp(gain).astype(np.float32)[:, :, None, None]
    offset = how.offset * rng.standard_normal((count, 1))
    offset = offset + how.offset / 2 * rng.standard_normal((count, 4))
    optical += offset.astype(np.float32)[:, :, None, None]
    overlooked = rng.random(count) < rng.uniform(0, how.cloud)
    shaded = overlooked & (rng.random(count) < 0.4)
    hazy = overlooked & ~shaded
    optical[shaded] *= rng.uniform(0.35, 0.8, (shaded.sum(), 1, 1, 1)).astype(np.float32)
    haze = rng.uniform(0.05, 0.5, (hazy.sum(), 1, 1, 1)).astype(np.float32)
    bright = rng.uniform(0.35, 0.6, (hazy.sum(), 1, 1, 1)).astype(np.float32)
    optical[hazy] += haze * (bright - optical[hazy])
    return optical


def _echo(
    rng: np.random.Generator, example: Example, radar: NDArray[np.float32], how: Augmentation
) -> NDArray[np.float32]:
    """Change the gain of orbits and scenes, and how far backscatter swings."""
    if not len(radar):
        return radar
    middle = np.median(radar, axis=0)  # NaN where a pixel ever has no data; it keeps its swing
    swing = np.exp(how.swing * rng.standard_normal((1, 2, 1, 1))).astype(np.float32)
    radar = np.where(np.isfinite(middle), middle + (radar - middle) * swing, radar)
    gain = how.gain * rng.standard_normal((int(example.orbits.max()) + 1, 1))
    gain = gain + how.gain / 2 * rng.standard_normal((len(gain), 2))
    scene = how.gain / 2 * rng.standard_normal((len(radar), 1))
    total = gain[example.orbits] + scene + how.gain / 5 * rng.standard_normal((len(radar), 2))
    return radar + total.astype(np.float32)[:, :, None, None]


def _coarse(
    rng: np.random.Generator, images: NDArray[np.float32], side: int, share: float,
    mean: Callable[..., NDArray[np.float32]] = np.mean,
) -> NDArray[np.float32]:  # fmt: skip
    """Means of ``side`` x ``side`` pixels in their place, in some examples."""
    if rng.random() >= share or images.shape[-1] % side or not len(images):
        return images
    *front, rows, cols = images.shape
    blocks = images.reshape(*front, rows // side, side, cols // side, side)
    means = mean(blocks, axis=(-3, -1), keepdims=True)
    return np.broadcast_to(means, blocks.shape).reshape(images.shape)


def _mean_power(decibels: NDArray[np.float32], **over: Any) -> NDArray[np.float32]:
    """Average sigma0 itself, not its logarithm: so does a radar with larger pixels."""
    return 10 * np.log10(np.mean(10 ** (decibels / 10), **over))


def _transposed(example: Example) -> Example:
    side = round(len(example.day) ** 0.5)

    def turned(labels: NDArray) -> NDArray:
        return labels.reshape(side, side, stages.SLOTS, -1).swapaxes(0, 1).reshape(labels.shape)

    return replace(
        example,
        optical=example.optical.swapaxes(-1, -2),
        radar=example.radar.swapaxes(-1, -2),
        day=turned(example.day),
        spread=turned(example.spread),
        none=turned(example.none),
    )
