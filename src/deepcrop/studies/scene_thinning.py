"""Score season dates when most optical scenes are removed.

The reference dates are those of the NDVI curve through all clear scenes of an `Excerpt`. Optical
scenes are then removed, radar is kept, and each method dates what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepcrop import stages
from deepcrop.evaluation.scores import deviation_of_finite, summarize_errors
from deepcrop.network.config import CURVE
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.stages import CALENDAR
from deepcrop.storage.files import write_csv
from deepcrop.training.curve_labels import MAX_WIDTH, curve_of
from deepcrop.training.examples import EVENTS, SPREAD_OF_INTERVAL, Example, predict

if TYPE_CHECKING:
    from pathlib import Path

    from deepcrop.network.weights import Network
    from deepcrop.training.real_excerpts import Excerpt

SHARES = (1.0, 0.6, 0.4, 0.25, 0.15)
"""Shares of the optical scenes that are kept."""

DRAWS = 10
"""Random draws of each share; a smaller share keeps a subset of what a larger one keeps."""

GAP = 60.0
"""Days without an optical scene, around the reference's SOS50."""

MIN_CROP_PIXELS = 50
"""A crop of a tile gets a gap of its own where at least this many pixels have a reference date."""

DEFINITIONS = {"curve": CURVE, "camera": CALENDAR}
"""Date definitions: those of the NDVI curve and of the camera, with the names of the dates."""

PAIRINGS = ("slot", "season")
"""How seasons are paired: the main season with the main season, whichever it is, as a reader of the
map would compare them; or each season with the one that it overlaps in time."""

Method = Callable[[Sequence[Example]], NDArray[np.float32]]
"""Predicts dates (pixels, 2, events) of examples, by `EVENTS`; NaN = none."""


@dataclass(frozen=True)
class Case:
    """One way to remove optical scenes.

    Attributes
    ----------
    share : float
        Of the scenes, kept at random.
    draw : int
        Number of the draw.
    gap : bool
        Whether the scenes within `GAP` / 2 of green-up are removed instead.
    """

    share: float = 1.0
    draw: int = 0
    gap: bool = False

    @property
    def kind(self) -> str:
        """Title, the same for all draws of a share."""
        return f"gap of {GAP:.0f} days" if self.gap else f"{100 * self.share:.0f} %"

    @property
    def name(self) -> str:
        """Name within a file name."""
        return "gap" if self.gap else f"{100 * self.share:.0f}_{self.draw}"


def cases(shares: Sequence[float] = SHARES, draws: int = DRAWS) -> tuple[Case, ...]:
    """List all cases; all scenes and the gap once."""
    random = [Case(share, draw) for share in shares if share < 1 for draw in range(draws)]
    return (Case(), *random, Case(gap=True))


# Thinning ---------------------------------------------------------------------------------------


def reference(archive: Excerpt) -> NDArray[np.float32]:
    """All dates of the curve of all scenes (pixels, 2, 5); NaN where there is no crop or date."""
    day = np.concatenate([example.day for example in archive.examples])
    return np.where((archive.groups != "")[:, None, None], dates_by(day, "curve"), np.nan)


def trusted(archive: Excerpt) -> NDArray[np.bool_]:
    """Which curve dates are certain enough to be reference dates (`MAX_WIDTH`)."""
    spread = np.concatenate([example.spread for example in archive.examples])
    width = dates_by(spread, "curve") / SPREAD_OF_INTERVAL
    return np.asarray(np.isfinite(reference(archive)) & (width <= MAX_WIDTH))


def dates_by(values: NDArray[np.float32], definition: str) -> NDArray[np.float32]:
    """Select the five dates of one definition on the last axis, in the order of `CALENDAR`."""
    first = EVENTS.index(DEFINITIONS[definition][0])
    return values[..., first : first + len(CALENDAR)]


def inputs(archive: Excerpt, case: Case) -> Iterator[tuple[list[Example], NDArray[np.bool_]]]:
    """Yield thinned examples, and the pixels (pixels,) that are scored with them.

    For the gap, patches lose the scenes around their own SOS50. A tile is yielded once for each of
    its commoner crops, without the scenes around the median SOS50 of that crop.
    """
    crop = np.asarray(archive.groups != "")
    if not case.gap:
        thinned = [_thin_at_random(example, case, k) for k, example in enumerate(archive.examples)]
        yield thinned, crop
        return
    sos50 = np.where(trusted(archive), reference(archive), np.nan)[:, 0, CALENDAR.index("sos50")]
    if not archive.dense:
        thinned = [_cut_gap(*pair) for pair in zip(archive.examples, sos50, strict=True)]
        # A pixel without a trusted SOS50 has no gap (nothing lies near NaN) and is not scored.
        yield thinned, np.isfinite(sos50)
        return
    for group in np.unique(archive.groups[crop]):
        members = archive.groups == group
        dated = members & np.isfinite(sos50)
        # A rare crop has too few dates for a median: it is not scored in the gap.
        if dated.sum() >= MIN_CROP_PIXELS:
            middle = float(np.median(sos50[dated]))
            yield [_cut_gap(example, middle) for example in archive.examples], members


def _thin_at_random(example: Example, case: Case, number: int) -> Example:
    # The order depends on draw and example alone, not on the share: a smaller share is a subset.
    count = len(example.optical_days)
    order = np.random.default_rng([case.draw, number]).permutation(count)
    return _keep_scenes(example, np.sort(order[: round(case.share * count)]))


def _cut_gap(example: Example, middle: float) -> Example:
    near = np.abs(example.optical_days - middle) < GAP / 2
    return _keep_scenes(example, np.flatnonzero(~near))


def _keep_scenes(example: Example, scenes: NDArray[np.intp]) -> Example:
    return replace(
        example, optical=example.optical[scenes], optical_days=example.optical_days[scenes]
    )


def without_radar(example: Example) -> Example:
    """Leave out all radar images."""
    return replace(
        example, radar=example.radar[:0], radar_days=example.radar_days[:0],
        orbits=example.orbits[:0],
    )  # fmt: skip


# Methods ----------------------------------------------------------------------------------------


def curve_method(archive: Excerpt) -> Method:
    """Return the NDVI curve through the optical scenes that are left."""

    def predict_dates(examples: Sequence[Example]) -> NDArray[np.float32]:
        day = curve_of(examples, archive.year, archive.latitude).day
        # The curve has no dates by the camera's definition, the first five events.
        return np.concatenate([np.full_like(day, np.nan), day], 2)

    return predict_dates


def network_method(archive: Excerpt, network: Network, radar: bool) -> Method:
    """Return a network, with or without the radar images."""

    def predict_dates(examples: Sequence[Example]) -> NDArray[np.float32]:
        images = examples if radar else [without_radar(example) for example in examples]
        day = predict(network, images, dense=archive.dense).day
        # A network may have fewer slots or events than are scored; the others stay NaN.
        dates = np.full((len(day), stages.SLOTS, len(EVENTS)), np.nan, np.float32)
        places = [EVENTS.index(name) for name in network.config.stages]
        dates[:, : network.config.slots, places] = day
        return dates

    return predict_dates


def predict_case(archive: Excerpt, case: Case, method: Method) -> NDArray[np.float32]:
    """Date all pixels in one case: (pixels, 2, 10), NaN also where a pixel is not scored."""
    result = np.full((archive.groups.size, stages.SLOTS, len(EVENTS)), np.nan, np.float32)
    for examples, pixels in inputs(archive, case):
        result[pixels] = method(examples)[pixels]
    return result


def scored_pixels(archive: Excerpt, case: Case) -> NDArray[np.bool_]:
    """Return which pixels (pixels,) are scored in a case."""
    result = np.zeros(archive.groups.size, np.bool_)
    for _, pixels in inputs(archive, case):
        result |= pixels
    return result


# Scores -----------------------------------------------------------------------------------------

INSIDE = ", inside fields"
"""Suffix of a group of pixels whose eight neighbours have the same crop. At the edge of a field a
pixel of 10 m contains two crops, and either season can be the main one."""


@dataclass(frozen=True)
class Errors:
    """Errors of one stage of one method in all draws of a case.

    Attributes
    ----------
    error : ndarray of float (draws, dates)
        Predicted less reference date, days; NaN where the method predicts no date.
    group : ndarray of str (dates,)
        Crop.
    inside : ndarray of bool (dates,)
        Whether the pixel lies inside a field, as far as that is known.
    """

    error: NDArray[np.float64]
    group: NDArray[np.str_]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class ThinningScore:
    """Score of one method, stage and group of pixels in one case, days.

    Attributes
    ----------
    place, method, definition, kept, pairing, group, stage : str
        ``definition``: whose dates of a network are scored (`DEFINITIONS`). ``kept``: the case.
        ``group``: crop, or "all"; with the suffix `INSIDE` of pixels inside fields alone.
    references : int
        Reference dates, counted once for all draws.
    dated, mae, median, bias : float
        As in `deepcrop.evaluation.scores.ErrorSummary`, all draws together.
    between_draws : float
        Standard deviation of the mean absolute error between the draws; NaN if there is one.
    offset, mae_offset : float
        Median error of the same method in the other places, and the mean absolute error when it is
        subtracted.
    mae_common : float
        Mean absolute error over the dates that the curve gives as well.
    """

    place: str
    method: str
    definition: str
    kept: str
    pairing: str
    group: str
    stage: str
    references: int
    dated: float
    mae: float
    median: float
    bias: float
    between_draws: float
    offset: float
    mae_offset: float
    mae_common: float


def errors(
    archive: Excerpt,
    draws: Sequence[NDArray[np.float32]],
    definition: str,
    pairing: str,
    pixels: NDArray[np.bool_],
) -> dict[str, Errors]:
    """Compute errors by stage, of the dates that a method predicts in all draws of a case.

    Dates are compared in whole days, as maps store them. In the pairing "slot" only main seasons
    count. In "season" both slots do, and a predicted season that overlaps no season of the
    reference counts as no prediction.
    """
    known = trusted(archive) & pixels[:, None, None]
    reference_day = stages.encode(reference(archive))
    slots = 1 if pairing == "slot" else stages.SLOTS
    predicted = []
    for draw in draws:
        day = stages.encode(dates_by(draw, definition))
        if pairing == "season":
            paired = match_seasons(reference_day.transpose(1, 2, 0), day.transpose(1, 2, 0))
            day = paired.transpose(2, 0, 1)
        predicted.append(stages.decode(day).astype(np.float64))
    late = np.stack(predicted)[:, :, :slots] - stages.decode(reference_day)[:, :slots]
    crop, inside = archive.groups, archive.inside
    if inside is None:
        inside = np.zeros(crop.size, np.bool_)
    crop, inside = (np.repeat(crop[:, None], slots, 1), np.repeat(inside[:, None], slots, 1))
    dated = known[:, :slots]
    return {
        stage: Errors(late[:, dated[..., k], k], crop[dated[..., k]], inside[dated[..., k]])
        for k, stage in enumerate(CALENDAR)
    }


def score(
    key: Mapping[str, str], found: Errors, group: str, curve: Errors, offset: float
) -> ThinningScore:
    """Score the errors of one stage for a group of pixels.

    Parameters
    ----------
    key : mapping of str to str
        Place, method, definition, kept, pairing and stage.
    found : Errors
        Errors to score.
    group : str
        Crop or "all", perhaps with `INSIDE`.
    curve : Errors
        Errors of the NDVI curve for the same reference dates.
    offset : float
        Median error of the method in the other places; NaN if there is none.
    """
    crop = group.removesuffix(INSIDE)
    members = np.ones(found.group.size, np.bool_) if crop == "all" else found.group == crop
    if crop != group:
        members &= found.inside
    error = found.error[:, members]
    summary = summarize_errors(error)
    common = error[np.isfinite(curve.error[:, members])]
    return ThinningScore(
        **key,
        group=group,
        references=int(members.sum()),
        dated=summary.detected,
        mae=summary.mae,
        median=summary.median,
        bias=summary.bias,
        between_draws=deviation_of_finite([summarize_errors(draw).mae for draw in error]),
        offset=offset,
        mae_offset=summarize_errors(error - offset).mae,
        mae_common=summarize_errors(common).mae,
    )


def median_error(found: Errors) -> float:
    """Median error, which other places subtract as an offset; NaN if nothing was predicted."""
    return float(np.nanmedian(found.error)) if np.isfinite(found.error).any() else np.nan


def write_scores(scores: Iterable[ThinningScore], path: Path) -> None:
    """Write scores as CSV, days with one decimal."""
    rows = []
    for score in scores:
        row = asdict(score) | {"dated": f"{score.dated:.3f}"}
        rows.append(
            [f"{value:.1f}" if isinstance(value, float) else value for value in row.values()]
        )
    write_csv(path, [field.name for field in fields(ThinningScore)], rows, line_end="\r\n")
