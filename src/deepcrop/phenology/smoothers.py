"""Smooth greenness curves from irregular observations: four smoothers and their settings.

- `SavGol`: adaptive Savitzky-Golay, the paper's (:mod:`deepcrop.phenology.savgol`);
- `Whittaker`: penalised least squares with an upper envelope (:mod:`deepcrop.phenology.whittaker`);
- `DoubleLogistic`, `AsymmetricGaussian`: a model function fitted to each season
  (:mod:`deepcrop.phenology.model_functions`).

`PRESETS` holds settings for the paper's labels, for Sentinel-2 and for PhenoCam series.
"""

from __future__ import annotations

import math
import reprlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from deepcrop.errors import DeepCropError
from deepcrop.phenology.blocks import BLOCK, fill_blocks
from deepcrop.phenology.model_fit import ASYMMETRIC_GAUSSIAN, DOUBLE_LOGISTIC
from deepcrop.phenology.model_functions import model_function_blocks
from deepcrop.phenology.observations import scatter_of
from deepcrop.phenology.savgol import savgol_blocks
from deepcrop.phenology.series import GREENNESS_LIMIT, Series, curve_grid, prepare
from deepcrop.phenology.whittaker import whittaker_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

DEFAULT_SMOOTHER = "whittaker"
"""Smoother of satellite series wherever none is named. Camera labels and the paper's baseline name
``savgol`` explicitly, so that a new default changes no label."""

_CHUNK = 512
"""Series that a thread smooths at a time: few, so that they stay in its cache and no thread waits
long for the others; bounds the memory. Of very long curves fewer, see `_CHUNK_POINTS`."""

_CHUNK_POINTS = 512 * 4096
"""Points of curves, and observations, that a thread holds at a time."""


@dataclass(frozen=True)
class SavGol:
    """Settings of the adaptive Savitzky-Golay smoother.

    Attributes
    ----------
    window : float
        Half-width of the window, days.
    steep_window : float
        Half-width where the curve is steep; there two observations fewer are enough.
    max_window : float
        Widest half-width where observations are few.
    min_points : int
        Observations a window must hold.
    stiffness : float
        How firmly the curvature of a parabola is held, days to the third: over the cube of the
        half-width, as a share of the total weight. 0 leaves it free.
    envelope_passes : int
        Times that observations below the fit lose weight; 0 for a symmetric fit.
    spike : float
        An observation is a spike if it is farther than this many standard deviations of the series
        from the median of its neighbours, and beyond both neighbours.
    step : float
        Days between points of the smooth curve.
    """

    window: float = 28.0
    steep_window: float = 20.0
    max_window: float = 120.0
    min_points: int = 8
    stiffness: float = 65.0
    envelope_passes: int = 1
    spike: float = 0.8
    step: float = 5.0


@dataclass(frozen=True)
class Whittaker:
    """Settings of the Whittaker smoother.

    Attributes
    ----------
    smoothness : float
        Weight of the squared second derivative against the squared residuals, in days to the
        third: larger is smoother.
    envelope_passes : int
        Times that observations below the curve lose weight; 0 for a symmetric fit.
    spike : float
        As of `SavGol`.
    step : float
        Days between points of the smooth curve.
    """

    smoothness: float = 150.0
    envelope_passes: int = 1
    spike: float = 1.0
    step: float = 5.0


@dataclass(frozen=True)
class DoubleLogistic(Whittaker):
    """Settings of the double logistic fit: those of the first curve, which finds the seasons."""


@dataclass(frozen=True)
class AsymmetricGaussian(Whittaker):
    """Settings of the asymmetric Gaussian fit: those of the first curve."""


Smoother = SavGol | Whittaker


@dataclass(frozen=True)
class SeasonRule:
    """What counts as a season.

    Attributes
    ----------
    min_amplitude : float
        Smallest amplitude, in units of the values.
    prominence : float
        Smallest rise and fall around a peak, as a share of the range within half a year of it.
    max_gap : float
        Longest time without an observation around a date, days.
    min_observations : int
        Fewest observations of a series, at least 3.
    """

    min_amplitude: float = 0.12
    prominence: float = 0.2
    max_gap: float = 75.0
    min_observations: int = 8


_SENTINEL2: dict[str, Smoother] = {
    "savgol": SavGol(),
    "whittaker": Whittaker(),
    "double_logistic": DoubleLogistic(),
    "asymmetric_gaussian": AsymmetricGaussian(),
}
# A camera sees every day and no clouds: narrow windows, no envelope.
_PHENOCAM: dict[str, Smoother] = {
    "savgol": SavGol(18.0, 12.0, 60.0, 5, 0.0, envelope_passes=0, spike=2.0, step=1.0),
    "whittaker": Whittaker(100.0, envelope_passes=0, spike=2.0, step=1.0),
    "double_logistic": DoubleLogistic(100.0, envelope_passes=0, spike=2.0, step=1.0),
    "asymmetric_gaussian": AsymmetricGaussian(100.0, envelope_passes=0, spike=2.0, step=1.0),
}
# The paper names TIMESAT, not its settings: one width and two fits to the envelope, as is usual.
_PAPER: dict[str, Smoother] = {
    "savgol": SavGol(window=30.0, steep_window=30.0, stiffness=0.0, envelope_passes=2),
    "whittaker": Whittaker(envelope_passes=2),
    "double_logistic": DoubleLogistic(envelope_passes=2),
    "asymmetric_gaussian": AsymmetricGaussian(envelope_passes=2),
}
PRESETS: dict[str, tuple[dict[str, Smoother], SeasonRule]] = {
    "paper": (_PAPER, SeasonRule()),
    "sentinel2": (_SENTINEL2, SeasonRule()),
    "phenocam": (_PHENOCAM, SeasonRule(min_amplitude=0.02, prominence=0.2, max_gap=45.0)),
}
"""Settings of each smoother, and season rule, by the name of the preset."""


_MAY_BE_ZERO = {
    "envelope_passes": 0,
    "stiffness": 0,
    "spike": 0,
    "min_amplitude": 0,
    "prominence": 0,
}


_MOST = {"envelope_passes": 100}  # each pass fits all again


def choose(
    smoother: str | Smoother, preset: str, rule: SeasonRule | None
) -> tuple[Smoother, SeasonRule]:
    """Look up the smoother and the season rule, and check their settings.

    Raises
    ------
    DeepCropError
        If a name is unknown or a setting makes no sense.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise DeepCropError(f"Preset {preset!r} is unknown; expected one of {list(PRESETS)}.")
    smoothers, usual = PRESETS[preset]
    if isinstance(smoother, str):
        if smoother not in smoothers:
            raise DeepCropError(
                f"Smoother {smoother!r} is unknown; expected one of {list(smoothers)}."
            )
        smoother = smoothers[smoother]
    if not isinstance(smoother, SavGol | Whittaker):
        raise DeepCropError(
            f"Smoother is a {type(smoother).__name__}; expected a name or a settings object."
        )
    rule = usual if rule is None else rule
    if not isinstance(rule, SeasonRule):
        raise DeepCropError(f"Season rule is a {type(rule).__name__}; expected a SeasonRule.")
    for settings in (smoother, rule):
        for name, value in asdict(settings).items():
            least = _MAY_BE_ZERO.get(name, math.ulp(0.0))
            most = _MOST.get(name, 1e12)
            if not (isinstance(value, int | float | np.number) and least <= value <= most):
                raise DeepCropError(
                    f"{name}={reprlib.repr(value)} of {type(settings).__name__} makes no sense; "
                    f"expected a {'number from 0 up' if least == 0 else 'positive number'}."
                )
    return smoother, rule


def name_of(smoother: Smoother) -> str:
    """Name in `PRESETS` of the smoother with settings of this type."""
    return next(name for name, usual in _SENTINEL2.items() if type(usual) is type(smoother))


def limit_of(rule: SeasonRule) -> float:
    """Give the largest size of a possible value of a series.

    A rule whose smallest amplitude is larger than that of NDVI says that the series has larger
    units (LAI, or NDVI times 10 000), and its limit is larger likewise.
    """
    return GREENNESS_LIMIT * max(1.0, rule.min_amplitude / SeasonRule.min_amplitude)


def smooth(
    values: ArrayLike,
    days: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    smoother: str | Smoother = DEFAULT_SMOOTHER,
    preset: str = "sentinel2",
    rule: SeasonRule | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Smooth many series.

    Parameters
    ----------
    values : array_like (pixels, times)
        Greenness; NaN and infinities are no observation.
    days : array_like (times,)
        Day of each observation on any origin, in any order; the same day may occur twice.
    weights : array_like (pixels, times), optional
        Weight of each observation relative to others of its series, 0 = ignore; by default all 1.
    smoother : str or settings
        ``"whittaker"`` (the default), ``"savgol"``, ``"double_logistic"``,
        ``"asymmetric_gaussian"``, or a settings object.
    preset : str
        Settings to take where only the smoother's name is given: one of `PRESETS`.
    rule : SeasonRule, optional
        What counts as a season; read by the model functions only, which are fitted per season.

    Returns
    -------
    curve : ndarray of float32 (pixels, points)
        NaN for a series with fewer than three observations.
    grid : ndarray of float64 (points,)
        Days of the curve, on the origin of ``days``.

    Raises
    ------
    DeepCropError
        If shapes do not fit, days are not finite, or a name is unknown.
    """
    smoother, rule = choose(smoother, preset, rule)
    series = prepare(values, days, weights, limit_of(rule))
    grid = curve_grid(series.t, smoother.step)
    curves = np.full((len(series.values), grid.size), np.nan, np.float32)
    if grid.size >= 3:

        def keep(chunk: Chunk) -> None:
            rows = chunk.pixels
            absolute = chunk.curve + chunk.level[:, None]
            absolute = np.where((chunk.counts < 3)[:, None], np.nan, absolute).swapaxes(1, 2)
            curves[rows] = absolute.reshape(-1, grid.size)[: rows.stop - rows.start]

        smooth_chunks(series, grid, smoother, rule, keep)
    return curves, grid.astype(np.float64) + series.origin


@dataclass(frozen=True)
class Chunk:
    """Some series in SIMD blocks, with their curves; arrays (blocks, times or points, BLOCK)."""

    pixels: slice
    y: NDArray[np.float32]
    w: NDArray[np.float32]
    level: NDArray[np.float32]
    counts: NDArray[np.float32]
    scatter: NDArray[np.float32]
    curve: NDArray[np.float32]


def smooth_chunks(
    series: Series,
    grid: NDArray[np.float32],
    smoother: Smoother,
    rule: SeasonRule,
    use: Callable[[Chunk], None],
) -> None:
    """Smooth chunk by chunk, in as many threads as numba may use, and hand each to ``use``.

    The arrays of a chunk are used again for the next of its thread. Kernels release the
    interpreter, and no chunk depends on another.
    """
    pixels = len(series.values)
    length = max(grid.size, series.t.size, 1)
    chunk_size = min(_CHUNK, max(BLOCK, _CHUNK_POINTS // length // BLOCK * BLOCK))
    firsts = iter(range(0, pixels, chunk_size))
    lock = threading.Lock()

    def work() -> None:
        blocks = -(-min(pixels, chunk_size) // BLOCK)
        y = np.empty((blocks, series.t.size, BLOCK), np.float32)
        w = np.empty_like(y)
        level = np.empty((blocks, BLOCK), np.float32)
        counts = np.empty((blocks, BLOCK), np.float32)
        scatter = np.empty((blocks, BLOCK), np.float32)
        curve = np.empty((blocks, grid.size, BLOCK), np.float32)
        while True:
            with lock:
                first = next(firsts, pixels)
            if first == pixels:
                return
            part = slice(first, min(first + chunk_size, pixels))
            n = -(-(part.stop - first) // BLOCK)
            chunk = Chunk(part, y[:n], w[:n], level[:n], counts[:n], scatter[:n], curve[:n])
            fill_blocks(
                series.values[part], series.weights[part], series.day_of,
                chunk.y, chunk.w, chunk.level, chunk.counts,
            )  # fmt: skip
            scatter_of(series.t, chunk.y, chunk.w, chunk.scatter)
            _smooth_blocks(series.t, grid, smoother, rule, chunk)
            use(chunk)

    threads = min(numba.get_num_threads(), -(-pixels // chunk_size))
    if threads <= 1:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
        finally:  # interrupted, the threads end after the chunk at hand
            with lock:
                firsts = iter(())


def _smooth_blocks(
    t: NDArray[np.float32],
    grid: NDArray[np.float32],
    smoother: Smoother,
    rule: SeasonRule,
    chunk: Chunk,
) -> None:
    if isinstance(smoother, SavGol):
        savgol_blocks(
            t, chunk.y, chunk.w, grid,
            np.float32(smoother.spike), int(smoother.envelope_passes),
            np.float32(smoother.window), np.float32(smoother.steep_window),
            np.float32(smoother.max_window), int(smoother.min_points),
            np.float32(smoother.stiffness), chunk.curve,
        )  # fmt: skip
        return
    whittaker_blocks(
        t, chunk.y, chunk.w, grid, np.float32(smoother.spike), int(smoother.envelope_passes),
        float(smoother.smoothness), chunk.curve,
    )  # fmt: skip
    if type(smoother) is not Whittaker:
        kind = DOUBLE_LOGISTIC if isinstance(smoother, DoubleLogistic) else ASYMMETRIC_GAUSSIAN
        model_function_blocks(
            t, chunk.y, chunk.w, grid, kind, float(rule.min_amplitude), float(rule.prominence),
            chunk.curve,
        )  # fmt: skip
