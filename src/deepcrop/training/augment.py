"""Augment training examples: fewer scenes, another atmosphere, another radar calibration.

The network must not depend on what changes here. An example is augmented anew each time that it is
drawn, and simulated and real examples are augmented alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from deepcrop import grid, stages
from deepcrop.stages import DAY_MAX, DAY_MIN
from deepcrop.training.examples import select_scenes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from deepcrop.training.examples import Example

_YEAR = 365
_PEAKS = [2, 7]  # of `examples.EVENTS`

CUT_BEFORE, CUT_AFTER = 75.0, 75.0
"""Days before the first date of an example and after its last that observations can be cut."""

CLOUDY = 60.0
"""Maximum number of days that the optical scenes end before the radar's."""


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation; 0 switches a change off, except for the last two settings.

    A probability is that of an example, a standard deviation that of a normal distribution drawn
    for each example, band, orbit or scene.

    Attributes
    ----------
    drop_optical_probability : float
        Probability that optical scenes are dropped at random; 10 to 100 % are kept.
    optical_gap_probability : float
        Probability that every optical scene of 30 to 100 days around one of the dates is dropped.
    drop_radar_probability : float
        Probability that radar scenes are dropped at random; 30 to 100 % are kept.
    short_period_probability : float
        Probability that the observations start before the target year and end around its end or
        later, at random days, instead of covering `stages.DAY_MIN` to `stages.DAY_MAX`.
    cut_probability : float
        Probability that the observations end in season, on a random day from `CUT_BEFORE` days
        before the first date to `CUT_AFTER` days after the last. In half of these examples the
        optical scenes end up to `CLOUDY` days earlier, while the radar runs on under cloud.
    time_shift_std : float
        Standard deviation of the shift of all days, days.
    time_stretch_std : float
        Standard deviation of the logarithm of the factor by which the calendar is stretched.
    unmasked_cloud_share : float
        Maximum share of scenes that are covered by unmasked haze or cloud shadow.
    band_gain_std : float
        Standard deviation of the logarithm of a band's gain; that of a scene's gain is half of it.
    reflectance_offset_std : float
        Standard deviation of a scene's offset in all bands, reflectance: what an imperfect
        atmospheric correction leaves. That of the offset of single bands is half of it.
    radar_gain_std : float
        Standard deviation of an orbit's gain, dB; that of a scene's gain is half of it.
    radar_amplitude_std : float
        Standard deviation of the logarithm of the factor by which backscatter varies more or less
        around its median.
    coarse_optical_probability : float
        Probability of optical pixels of 30 m.
    coarse_radar_probability : float
        Probability of radar pixels of 20 or 40 m.
    hidden_surroundings_probability : float
        Probability that all but 20 to 70 m around one pixel is no data, as in files of single
        fields.
    tile_size : int
        Pixels on a side to which larger tiles are cropped, at a random position.
    max_scenes : int
        Maximum number of scenes of each sensor; more cost time and improve little.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    drop_optical_probability: float = 0.8
    optical_gap_probability: float = 0.3
    drop_radar_probability: float = 0.5
    short_period_probability: float = 0.6
    cut_probability: float = 0.0
    time_shift_std: float = 12.0
    time_stretch_std: float = 0.06
    unmasked_cloud_share: float = 0.06
    band_gain_std: float = 0.05
    reflectance_offset_std: float = 0.006
    radar_gain_std: float = 1.0
    radar_amplitude_std: float = 0.3
    coarse_optical_probability: float = 0.15
    coarse_radar_probability: float = 0.4
    hidden_surroundings_probability: float = 0.15
    tile_size: int = 24
    max_scenes: int = 64


def augment(rng: np.random.Generator, example: Example, settings: Augmentation) -> Example:
    """Augment an example; its labels follow where its calendar moves."""
    example = _hide_surroundings(
        rng, _crop(rng, example, settings.tile_size), settings.hidden_surroundings_probability
    )
    example = _drop_scenes(rng, example, settings)
    example = _move_calendar(rng, example, settings)
    optical = _change_atmosphere(
        rng, _coarsen(rng, example.optical, 3, settings.coarse_optical_probability), settings
    )
    factor = int(rng.choice([2, 2, 4]))
    radar = _coarsen(rng, example.radar, factor, settings.coarse_radar_probability, _mean_power)
    radar = _change_backscatter(rng, example, radar, settings)
    if rng.random() < 0.5:  # the labelled pixel of a patch lies on the diagonal
        return _transposed(replace(example, optical=optical, radar=radar))
    return replace(example, optical=optical, radar=radar)


def _crop(rng: np.random.Generator, example: Example, side: int) -> Example:
    """Crop a tile at a random position, with the labels of the pixels that keep a whole patch."""
    full = example.optical.shape[-1]
    if full <= max(side, grid.PATCH_SIZE):
        return example
    row, col = rng.integers(0, full - side + 1, 2)
    window = (..., slice(row, row + side), slice(col, col + side))
    inner, outer = side - sum(grid.PATCH_HALO), full - sum(grid.PATCH_HALO)

    def crop_labels(labels: NDArray[Any]) -> NDArray[Any]:
        image = labels.reshape(outer, outer, *labels.shape[1:])
        return image[row : row + inner, col : col + inner].reshape(-1, *labels.shape[1:])

    return replace(
        example,
        optical=example.optical[window],
        radar=example.radar[window],
        day=crop_labels(example.day),
        spread=crop_labels(example.spread),
        none=crop_labels(example.none),
    )


def _hide_surroundings(rng: np.random.Generator, example: Example, probability: float) -> Example:
    """Set all that lies far from one pixel to no data, images and labels."""
    if rng.random() >= probability:
        return example
    side, (before, after) = example.optical.shape[-1], grid.PATCH_HALO
    row, col = before + rng.integers(0, side - before - after, 2)
    half = int(rng.integers(2, 8))
    hidden = np.ones((side, side), np.bool_)
    hidden[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1] = False
    unlabelled = hidden[before : side - after, before : side - after].reshape(-1, 1, 1)
    nan = np.float32(np.nan)
    return replace(
        example,
        optical=np.where(hidden, nan, example.optical),
        radar=np.where(hidden, nan, example.radar),
        day=np.where(unlabelled, nan, example.day),
        spread=np.where(unlabelled, nan, example.spread),
        none=example.none & ~unlabelled,
    )


def _drop_scenes(rng: np.random.Generator, example: Example, settings: Augmentation) -> Example:
    """Drop scenes of both sensors."""
    optical, radar = example.optical_days, example.radar_days
    keep, keep_radar = np.ones(len(optical), np.bool_), np.ones(len(radar), np.bool_)
    if rng.random() < settings.short_period_probability:
        first, last = rng.uniform(DAY_MIN, -60), rng.uniform(_YEAR - 35, DAY_MAX)
        keep &= (optical >= first) & (optical <= last)
        keep_radar &= (radar >= first) & (radar <= last)
    # Without cut-off days no random number is drawn: older recipes give the same weights as before.
    if settings.cut_probability and rng.random() < settings.cut_probability:
        last_optical, last_radar = draw_cut(rng, example)
        keep &= optical <= last_optical
        keep_radar &= radar <= last_radar
    if rng.random() < settings.drop_optical_probability:
        keep &= rng.random(len(optical)) < np.exp(rng.uniform(np.log(0.1), 0))
    if rng.random() < settings.optical_gap_probability:
        known = example.day[np.isfinite(example.day)]
        about = rng.choice(known) if len(known) else rng.uniform(0, _YEAR)
        about += rng.normal(0, 25)
        keep &= np.abs(optical - about) > rng.uniform(15, 50)
    if rng.random() < settings.drop_radar_probability:
        keep_radar &= rng.random(len(radar)) < rng.uniform(0.3, 1)
    return select_scenes(
        example,
        _at_most(rng, keep, settings.max_scenes),
        _at_most(rng, keep_radar, settings.max_scenes),
    )


def draw_cut(rng: np.random.Generator, example: Example) -> tuple[float, float]:
    """Draw the last day of the optical scenes, and of the radar's."""
    known = example.day[np.isfinite(example.day)]
    first, last = (known.min(), known.max()) if len(known) else (0.0, float(_YEAR))
    end = float(rng.uniform(first - CUT_BEFORE, last + CUT_AFTER))
    cloudy = float(rng.uniform(0, CLOUDY)) if rng.random() < 0.5 else 0.0
    return end - cloudy, end


class WithCuts(Sequence["Example"]):
    """Each example whole, then each one cut on a day that is always the same.

    Held-out examples, which are not augmented, so decide on seasons that are over and on others.
    """

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples

    def __len__(self) -> int:
        return 2 * len(self.examples)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Return example number ``k``."""
        if k < len(self.examples):
            return self.examples[k]
        number = k - len(self.examples)
        example = self.examples[number]  # raises IndexError if out of range
        last_optical, last_radar = draw_cut(np.random.default_rng([0, number]), example)
        return select_scenes(
            example,
            np.flatnonzero(example.optical_days <= last_optical),
            np.flatnonzero(example.radar_days <= last_radar),
        )


def _at_most(rng: np.random.Generator, keep: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Return the indices of the scenes to keep, at most ``count``."""
    index = np.flatnonzero(keep)
    return index if len(index) <= count else np.sort(rng.choice(index, count, replace=False))


def _move_calendar(rng: np.random.Generator, example: Example, settings: Augmentation) -> Example:
    """Shift and stretch the calendar, unless a season would then peak outside the target year."""
    shift = float(
        np.clip(
            rng.normal(0, settings.time_shift_std),
            -3 * settings.time_shift_std,
            3 * settings.time_shift_std,
        )
    )
    stretch = float(np.exp(settings.time_stretch_std * rng.standard_normal()))
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
    return select_scenes(example, _inside(example.optical_days), _inside(example.radar_days))


def _inside(days: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (days >= DAY_MIN) & (days <= DAY_MAX)


def _change_atmosphere(
    rng: np.random.Generator, optical: NDArray[np.float32], settings: Augmentation
) -> NDArray[np.float32]:
    """Change gains and offsets of bands; add unmasked haze and shadow to some scenes."""
    count = len(optical)
    gain = settings.band_gain_std * rng.standard_normal(
        4
    ) + settings.band_gain_std / 2 * rng.standard_normal((count, 1))
    optical = optical * np.exp(gain).astype(np.float32)[:, :, None, None]
    offset = settings.reflectance_offset_std * rng.standard_normal((count, 1))
    offset = offset + settings.reflectance_offset_std / 2 * rng.standard_normal((count, 4))
    optical += offset.astype(np.float32)[:, :, None, None]
    unmasked = rng.random(count) < rng.uniform(0, settings.unmasked_cloud_share)
    shaded = unmasked & (rng.random(count) < 0.4)
    hazy = unmasked & ~shaded
    optical[shaded] *= rng.uniform(0.35, 0.8, (shaded.sum(), 1, 1, 1)).astype(np.float32)
    haze = rng.uniform(0.05, 0.5, (hazy.sum(), 1, 1, 1)).astype(np.float32)
    bright = rng.uniform(0.35, 0.6, (hazy.sum(), 1, 1, 1)).astype(np.float32)
    optical[hazy] += haze * (bright - optical[hazy])
    return optical


def _change_backscatter(
    rng: np.random.Generator, example: Example, radar: NDArray[np.float32], settings: Augmentation
) -> NDArray[np.float32]:
    """Change the gain of orbits and scenes, and the amplitude of backscatter over time."""
    if not len(radar):
        return radar
    middle = np.median(
        radar, axis=0
    )  # NaN where any date has no data: such pixels keep their amplitude
    amplitude = np.exp(settings.radar_amplitude_std * rng.standard_normal((1, 2, 1, 1))).astype(
        np.float32
    )
    radar = np.where(np.isfinite(middle), middle + (radar - middle) * amplitude, radar)
    gain = settings.radar_gain_std * rng.standard_normal((int(example.orbits.max()) + 1, 1))
    gain = gain + settings.radar_gain_std / 2 * rng.standard_normal((len(gain), 2))
    scene = settings.radar_gain_std / 2 * rng.standard_normal((len(radar), 1))
    total = (
        gain[example.orbits]
        + scene
        + settings.radar_gain_std / 5 * rng.standard_normal((len(radar), 2))
    )
    return radar + total.astype(np.float32)[:, :, None, None]


def _coarsen(
    rng: np.random.Generator, images: NDArray[np.float32], factor: int, probability: float,
    mean: Callable[..., NDArray[np.float32]] = np.mean,
) -> NDArray[np.float32]:  # fmt: skip
    """Replace blocks of ``factor`` x ``factor`` pixels by their mean."""
    if rng.random() >= probability or images.shape[-1] % factor or not len(images):
        return images
    *front, rows, cols = images.shape
    blocks = images.reshape(*front, rows // factor, factor, cols // factor, factor)
    means = mean(blocks, axis=(-3, -1), keepdims=True)
    return np.broadcast_to(means, blocks.shape).reshape(images.shape)


def _mean_power(decibels: NDArray[np.float32], **over: Any) -> NDArray[np.float32]:
    """Mean in power, as a radar with larger pixels measures it, in dB."""
    return np.asarray(10 * np.log10(np.mean(10 ** (decibels / 10), **over)))


def _transposed(example: Example) -> Example:
    """Swap rows and columns of images and labels."""
    side = round(len(example.day) ** 0.5)

    def transposed(labels: NDArray[Any]) -> NDArray[Any]:
        return labels.reshape(side, side, stages.SLOTS, -1).swapaxes(0, 1).reshape(labels.shape)

    return replace(
        example,
        optical=example.optical.swapaxes(-1, -2),
        radar=example.radar.swapaxes(-1, -2),
        day=transposed(example.day),
        spread=transposed(example.spread),
        none=transposed(example.none),
    )
