"""How much of a season's dates is left when most optical scenes are taken away.

The reference are the dates of the NDVI curve through all clear scenes of an `Archive`. Optical
scenes are then removed, radar is kept, and each method dates what is left.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepcrop import stages
from deepcrop.network.config import CURVE
from deepcrop.network.weights import Network
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.stages import CALENDAR
from deepcrop.storage.files import atomic_file
from deepcrop.training.curve_labels import curve_of
from deepcrop.training.examples import EVENTS, SPREAD_OF_INTERVAL, Example, predict
from deepcrop.training.real_excerpts import Archive

SHARES = (1.0, 0.6, 0.4, 0.25, 0.15)
"""Shares of the optical scenes that are kept."""

DRAWS = 10
"""Random draws of each share; a smaller share keeps a part of what a larger one keeps."""

GAP = 60.0
"""Days without an optical scene, around the reference's SOS50."""

WIDEST = 30.0
"""A date is a reference where its own 90 % interval is at most this wide, days."""

FEWEST = 50
"""A crop of a tile gets a gap of its own where so many pixels have a reference."""

RULERS = {"curve": CURVE, "camera": CALENDAR}

PAIRINGS = ("slot", "season")
"""How an answer is put beside the reference: the main season beside the main season, whatever it
is, as a reader of the map would; or each season beside the one it overlaps in time."""

Method = Callable[[Sequence[Example]], NDArray[np.float32]]
"""Dates (pixels, 2, events) of examples, by `EVENTS`; NaN = none."""


@dataclass(frozen=True)
class Case:
    """One way to take optical scenes away.

    Attributes
    ----------
    share : float
        Of the scenes, kept at random.
    draw : int
        Number of the draw.
    gap : bool
        Whether the scenes within `GAP` / 2 of green-up are taken away instead.
    """

    share: float = 1.0
    draw: int = 0
    gap: bool = False

    @property
    def kind(self) -> str:
        """What all draws of it have in common."""
        return f"gap of {GAP:.0f} days" if self.gap else f"{100 * self.share:.0f} %"

    @property
    def name(self) -> str:
        """Name within a file name."""
        return "gap" if self.gap else f"{100 * self.share:.0f}_{self.draw}"


def cases(shares: Sequence[float] = SHARES, draws: int = DRAWS) -> tuple[Case, ...]:
    """Every case; all scenes and the gap once."""
    random = [Case(share, draw) for share in shares if share < 1 for draw in range(draws)]
    return (Case(), *random, Case(gap=True))


# Thinning ---------------------------------------------------------------------------------------


def reference(archive: Archive) -> NDArray[np.float32]:
    """All dates of the curve of all scenes (pixels, 2, 5); NaN where there is no crop or date."""
    day = np.concatenate([one.day for one in archive.examples])
    return np.where((archive.groups != "")[:, None, None], of_ruler(day, "curve"), np.nan)


def trusted(archive: Archive) -> NDArray[np.bool_]:
    """Which of them are known well enough to be a reference (`WIDEST`)."""
    spread = np.concatenate([one.spread for one in archive.examples])
    width = of_ruler(spread, "curve") / SPREAD_OF_INTERVAL
    return np.isfinite(reference(archive)) & (width <= WIDEST)


def of_ruler(values: NDArray, ruler: str) -> NDArray:
    """Five of the ten dates on the last axis, in the order of `CALENDAR`."""
    first = EVENTS.index(RULERS[ruler][0])
    return values[..., first : first + len(CALENDAR)]


def inputs(archive: Archive, case: Case) -> Iterator[tuple[list[Example], NDArray[np.bool_]]]:
    """Thinned examples, and the pixels (pixels,) that are judged by them.

    Around green-up, patches lose the scenes around their own SOS50. A tile is given once for each
    of its commoner crops, without the scenes around the median SOS50 of that crop.
    """
    crop = np.asarray(archive.groups != "")
    if not case.gap:
        yield [_random(one, case, k) for k, one in enumerate(archive.examples)], crop
        return
    sos50 = np.where(trusted(archive), reference(archive), np.nan)[:, 0, CALENDAR.index("sos50")]
    if not archive.dense:
        thin = [_gap(one, day) for one, day in zip(archive.examples, sos50, strict=True)]
        yield thin, np.isfinite(sos50)
        return
    for group in np.unique(archive.groups[crop]):
        mine = (archive.groups == group) & np.isfinite(sos50)
        if mine.sum() >= FEWEST:
            middle = float(np.median(sos50[mine]))
            yield [_gap(one, middle) for one in archive.examples], archive.groups == group


def _random(example: Example, case: Case, number: int) -> Example:
    count = len(example.optical_days)
    order = np.random.default_rng([case.draw, number]).permutation(count)
    return _keep(example, np.sort(order[: round(case.share * count)]))


def _gap(example: Example, middle: float) -> Example:
    return _keep(example, np.flatnonzero(~(np.abs(example.optical_days - middle) < GAP / 2)))


def _keep(example: Example, scenes: NDArray[np.intp]) -> Example:
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


def curve_method(archive: Archive) -> Method:
    """Return the curve through what optical scenes are left."""

    def dates(examples: Sequence[Example]) -> NDArray[np.float32]:
        day = curve_of(examples, archive.year, archive.latitude).day
        return np.concatenate([np.full_like(day, np.nan), day], 2)

    return dates


def network_method(archive: Archive, network: Network, radar: bool) -> Method:
    """Return a network, with or without the radar images."""

    def dates(examples: Sequence[Example]) -> NDArray[np.float32]:
        given = examples if radar else [without_radar(one) for one in examples]
        day = predict(network, given, dense=archive.dense).day
        every = np.full((len(day), stages.SLOTS, len(EVENTS)), np.nan, np.float32)
        places = [EVENTS.index(name) for name in network.config.stages]
        every[:, : network.config.slots, places] = day
        return every

    return dates


def answer(archive: Archive, case: Case, method: Method) -> NDArray[np.float32]:
    """Dates (pixels, 2, 10) that a method gives in one case; NaN also where it is not judged."""
    result = np.full((archive.groups.size, stages.SLOTS, len(EVENTS)), np.nan, np.float32)
    for examples, pixels in inputs(archive, case):
        result[pixels] = method(examples)[pixels]
    return result


def judged(archive: Archive, case: Case) -> NDArray[np.bool_]:
    """Pixels (pixels,) that count in a case."""
    result = np.zeros(archive.groups.size, np.bool_)
    for _, pixels in inputs(archive, case):
        result |= pixels
    return result


# Scores -----------------------------------------------------------------------------------------

INSIDE = ", inside fields"
"""Of a group: those of its pixels whose eight neighbours have the same crop. At the edge of a field
a pixel of 10 m holds two crops, and either season can be the main one."""


@dataclass(frozen=True)
class Errors:
    """Errors of one stage of one method in all draws of a case.

    Attributes
    ----------
    error : ndarray of float (draws, dates)
        Days too late; NaN where the method gives no date. Dates are those of the reference.
    group : ndarray of str (dates,)
        Crop.
    inside : ndarray of bool (dates,)
        Whether the pixel lies inside a field, as far as that is known.
    """

    error: NDArray[np.float64]
    group: NDArray[np.str_]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """How well a method dates one stage, days.

    Attributes
    ----------
    place, method, ruler, kept, pairing, group, stage : str
        ``ruler``: which five of a network's dates. ``kept``: the case. ``group``: crop, or "all";
        with `INSIDE` after it of pixels inside fields alone.
    references : int
        Dates of the reference, counted once for all draws.
    dated : float
        Share of them for which there is an answer.
    mae, median, bias : float
        Mean and median absolute error, mean error (positive = too late).
    between_draws : float
        Standard deviation of the mean absolute error between the draws; NaN if there is one.
    offset, mae_offset : float
        Median error of the same method in the other places, and the mean absolute error when it is
        taken off.
    mae_common : float
        Mean absolute error over the dates that the curve gives as well.
    """

    place: str
    method: str
    ruler: str
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
    archive: Archive,
    answers: Sequence[NDArray[np.float32]],
    ruler: str,
    pairing: str,
    pixels: NDArray[np.bool_],
) -> dict[str, Errors]:
    """Errors by stage, of the answers of all draws of a case.

    Dates are compared in whole days, as maps store them. In the pairing "slot" only main seasons
    count; in "season" both slots do, and an answer that overlaps no season of the reference is
    none.
    """
    known = trusted(archive) & pixels[:, None, None]
    truth = stages.encode(reference(archive))
    slots = 1 if pairing == "slot" else stages.SLOTS
    given = []
    for one in answers:
        day = stages.encode(of_ruler(one, ruler))
        if pairing == "season":
            paired = match_seasons(truth.transpose(1, 2, 0), day.transpose(1, 2, 0))
            day = paired.transpose(2, 0, 1)
        given.append(stages.decode(day).astype(np.float64))
    late = np.stack(given)[:, :, :slots] - stages.decode(truth)[:, :slots]
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
    key: Mapping[str, str], of: Errors, group: str, curve: Errors | None, offset: float
) -> Score:
    """Score the errors of one stage; ``key`` names place, method, ruler, kept, pairing, stage."""
    crop = group.removesuffix(INSIDE)
    mine = np.ones(of.group.size, np.bool_) if crop == "all" else of.group == crop
    if crop != group:
        mine &= of.inside
    error = of.error[:, mine]
    found = error[np.isfinite(error)]
    each = [np.abs(row[np.isfinite(row)]).mean() for row in error if np.isfinite(row).any()]
    common = error[np.isfinite(curve.error[:, mine]) & np.isfinite(error)] if curve else found[:0]
    return Score(
        **key,
        group=group,
        references=int(mine.sum()),
        dated=found.size / error.size if error.size else np.nan,
        mae=_mean(np.abs(found)),
        median=float(np.median(np.abs(found))) if found.size else np.nan,
        bias=_mean(found),
        between_draws=float(np.std(each, ddof=1)) if len(each) > 1 else np.nan,
        offset=offset,
        mae_offset=_mean(np.abs(found - offset)),
        mae_common=_mean(np.abs(common)),
    )


def middle(of: Errors) -> float:
    """Median error, the offset that another place takes off; NaN if there is no answer."""
    return float(np.nanmedian(of.error)) if np.isfinite(of.error).any() else np.nan


def _mean(values: NDArray) -> float:
    return float(values.mean()) if values.size else np.nan


def write_scores(scores: Iterable[Score], path: Path) -> None:
    """Write scores as CSV, days with one decimal."""
    with atomic_file(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Score))
        for one in scores:
            row = asdict(one)
            row["dated"] = f"{one.dated:.3f}"
            writer.writerow(
                f"{value:.1f}" if isinstance(value, float) else value for value in row.values()
            )
