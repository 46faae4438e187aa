"""Score dates in season on real satellites (`deepcrop evaluate --real --horizons`).

Two data sets: EVI against real cameras, each site left out in turn; and the excerpts of Sentinel-1
and Sentinel-2, cut on the first of a month, against the NDVI curve of their full season.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import horizon_baselines, horizons
from deepcrop.evaluation import horizon_tables as tables
from deepcrop.evaluation.horizon_report import fixed_dates, write
from deepcrop.evaluation.horizon_tables import WITH, WITHOUT
from deepcrop.evaluation.horizons import CutOffs, Forecasts
from deepcrop.grid import inner
from deepcrop.network.weights import load, shipped
from deepcrop.phenology.season_matching import exchanged
from deepcrop.stages import CALENDAR, STAGES, Dates
from deepcrop.storage.progress import progress_bar
from deepcrop.studies import real_cameras, scene_thinning
from deepcrop.studies.thinning_tables import CURVE, PAIRING, PLACES
from deepcrop.training import real_excerpts
from deepcrop.training.curve_labels import curve_of
from deepcrop.training.examples import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.network.weights import Network
    from deepcrop.studies.real_cameras import SiteYears
    from deepcrop.training.examples import Example
    from deepcrop.training.real_excerpts import Excerpt

_LOGGER = logging.getLogger(__name__)

EVI_CURVE, SIMULATED_ONLY, FINE_TUNED = (
    "EVI curve, less an offset", "network, trained on simulated tiles alone", "network, fine-tuned",
)  # fmt: skip
"""Methods that read EVI."""

MONTHS = {
    4: "1 April", 5: "1 May", 6: "1 June", 7: "1 July", 8: "1 August", 9: "1 September",
    10: "1 October", 11: "1 November",
}  # fmt: skip
"""Months on whose first day the excerpts are cut."""

CAMERA_DATA = "real EVI, real camera labels"
EXCERPT_DATA = "real images, dates of the NDVI curve of the full season"

_ORDER = [CALENDAR.index(name) for name in STAGES]


def report(data: Path, weights: Path | None, out: Path) -> None:
    """Score by horizon on EVI against cameras, and on the excerpts; a folder for each.

    Excerpts that the network was trained on are left out.

    Parameters
    ----------
    data : Path
        Folder of the real excerpts.
    weights : Path, optional
        A network that reads optical images and radar; by default the one of the package.
    out : Path
        Folder to write; made if missing. Networks that were fine-tuned there before are read.

    Raises
    ------
    DeepCropError
        If a file is missing or cannot be used.
    """
    if not data.is_dir():
        raise DeepCropError(f"{data} does not exist; expected the folder of the real excerpts.")
    network, about = load(weights or shipped())
    _LOGGER.info("wrote %s", cameras(data, out / "evi"))
    for place, title in PLACES.items():
        if real_excerpts.SOURCES[place] in about["card"].get("places", []):
            _LOGGER.info("%s is left out: the network was trained on it", title)
            continue
        archive = real_excerpts.read(place, data)
        _LOGGER.info("wrote %s", excerpt(archive, network, title, out / place))


# EVI against cameras -----------------------------------------------------------------------------


def cameras(data: Path, out: Path) -> Path:
    """Score EVI curve and network against cameras, and the baselines; return the page."""
    years = real_cameras.read_hls(data)
    reference = years.reference
    main = reference.day[:, 0]
    peak = np.array([example.day[0, 0, horizons.PEAK] for example in years.examples])
    around = horizons.around_events(main, horizons.HORIZONS)
    from_peak = horizons.at_peak(main, peak, "eos50")
    evi = shipped("evi")
    real_cameras.fine_tuned_predictions(years, evi, out / "fine_tuned")
    by_horizon, at_peak = (evi_methods(years, evi, cuts, out) for cuts in (around, from_peak))
    scores = [
        score for found in by_horizon for score in horizons.score_horizons(found, horizons.HORIZONS)
    ]
    pages = tables.by_stage(scores, "evi")
    pages.append(tables.at_peak(at_peak, FINE_TUNED))
    head = (
        f"{len(reference)} site-years at {len(np.unique(reference.site))} sites. Offset and "
        "fine-tuning come from the other sites. The authors of the EVI filled its gaps from both "
        "sides, so that the last values before a cut-off day can contain later images: errors soon "
        f"after an event are too small. {tables.coverage_verdict(scores, FINE_TUNED)}"
    )
    return write(out, pages, tables.draw(scores, CAMERA_DATA, False), head, CAMERA_DATA)


def evi_methods(years: SiteYears, weights: Path, cuts: CutOffs, out: Path) -> list[Forecasts]:
    """Date all events by all methods that read EVI, and by the baselines."""
    reference = years.reference
    images = [
        horizons.cut_example(years.examples[number], day)
        for number, day in zip(cuts.number, cuts.day, strict=True)
    ]
    last = np.array([image.optical_days.max(initial=-np.inf) for image in images], np.float64)
    last[~np.isfinite(last)] = np.nan
    dates = {
        EVI_CURVE: _evi_curve(years, cuts),
        SIMULATED_ONLY: real_cameras.network_predictions(weights, images, in_season=True),
        FINE_TUNED: _fine_tuned(years, images, cuts, out),
    }
    units = reference.site_year, reference.site
    found = [
        horizons.forecasts(name, *units, cuts, predicted, last) for name, predicted in dates.items()
    ]
    calendar, _ = horizon_baselines.crop_calendar(reference, reference)
    before = horizon_baselines.last_year(reference, reference)
    return [
        *found,
        fixed_dates(horizon_baselines.CROP_CALENDAR, reference, cuts, calendar),
        fixed_dates(horizon_baselines.LAST_YEAR, reference, cuts, before),
    ]


def _evi_curve(years: SiteYears, cuts: CutOffs) -> Dates[NDArray[np.floating]]:
    """Date the curve of each cut series, less the median error of full seasons at other sites."""
    kept = [years.days[k] <= day for k, day in zip(cuts.number, cuts.day, strict=True)]
    cut = replace(
        years,
        reference=years.reference.subset(cuts.number),
        days=tuple(years.days[k][keep] for k, keep in zip(cuts.number, kept, strict=True)),
        evi=tuple(years.evi[k][keep] for k, keep in zip(cuts.number, kept, strict=True)),
    )
    found = real_cameras.evi_curve(cut, "whittaker")
    full = real_cameras.evi_curve(years, "whittaker")
    by_site = {
        site: real_cameras.offset_elsewhere(full, years.reference, site)
        for site in np.unique(years.reference.site).tolist()
    }
    offsets = np.array([by_site[site] for site in cut.reference.site.tolist()])[:, None]
    days = (array - offsets for array in (found.day, found.low, found.high))
    return Dates(*days)


def _fine_tuned(
    years: SiteYears, images: Sequence[Example], cuts: CutOffs, out: Path
) -> Dates[NDArray[np.floating]]:
    """Date each cut series by the network that was fine-tuned without its site."""
    site = years.reference.site[cuts.number]
    shape = (len(images), stages.SLOTS, len(STAGES))
    arrays = [np.full(shape, np.nan) for _ in range(4)]
    for tested in np.unique(site):
        here = np.flatnonzero(site == tested)
        weights = out / "fine_tuned" / str(tested) / "weights.safetensors"
        chosen = [images[int(k)] for k in here]
        found = real_cameras.network_predictions(weights, chosen, in_season=True)
        for array, values in zip(arrays, found, strict=True):
            array[here] = values
    return Dates(*arrays)


# Excerpts ----------------------------------------------------------------------------------------


def excerpt(archive: Excerpt, network: Network, title: str, out: Path) -> Path:
    """Score curve and network on an excerpt, cut by the month; return the page."""
    methods: dict[str, tuple[bool, Callable[[Sequence[Example]], Dates[Any]]]] = {
        CURVE: (False, lambda images: _curve(archive, images)),
        WITHOUT: (False, lambda images: _network(archive, network, images, radar=False)),
        WITH: (True, lambda images: _network(archive, network, images, radar=True)),
    }
    found: dict[str, list[Forecasts]] = {name: [] for name in methods}
    with progress_bar() as bar:
        for month in bar.track(MONTHS, description=f"{archive.name}, cut by the month"):
            date = np.array([f"{archive.year}-{month:02d}-01"], "datetime64[D]")
            day = float(stages.to_days(date, archive.year)[0])
            images = [horizons.cut_example(example, day) for example in archive.examples]
            cuts = _events(archive, day)
            for name, (radar, dated) in methods.items():
                found[name].append(
                    _reported(archive, name, dated(images), _last_seen(images, radar), cuts)
                )
    crops = {"all crops": archive.groups != ""}
    if (archive.groups == "maize").any() and len(np.unique(archive.groups)) > 1:
        crops["maize"] = archive.groups == "maize"
    pages = []
    for crop, pixels in crops.items():
        scores = [
            horizons.score_bin(of_stage, stage, words)
            for by_month in found.values()
            for words, one in zip(MONTHS.values(), by_month, strict=True)
            for k, stage in enumerate(STAGES)
            if len((of_stage := one.where((one.stage == k) & pixels[one.number])).error)
        ]
        pages += [
            replace(
                table,
                title=f"{title}, {crop}: {table.title.replace('days since the event', 'cut-off')}",
                columns=("cut on", "method", "pixels", *table.columns[3:]),
                note=f"{table.note} Pixels of a field err together: limits are too narrow.",
            )
            for table in tables.by_stage(scores, f"{archive.name}_{crop.replace(' ', '_')}")
        ]
    joined = [horizons.join(by_month) for by_month in found.values()]
    drawn = [
        score for method in joined for score in horizons.score_horizons(method, horizons.HORIZONS)
    ]
    figure = tables.draw(drawn, f"{title}, {EXCERPT_DATA}", False)
    return write(out, pages, figure, f"{title}. {archive.source}", EXCERPT_DATA)


def _events(archive: Excerpt, day: float) -> CutOffs:
    """Cut all trusted events of the main season on one day."""
    known = scene_thinning.trusted(archive)[:, 0, _ORDER]
    number, stage = np.nonzero(known)
    reference = scene_thinning.reference(archive)[number, 0, np.array(_ORDER)[stage]]
    return CutOffs(number, stage, np.full(number.size, day), reference.astype(np.float64))


def _reported(
    archive: Excerpt,
    name: str,
    dates: Dates[NDArray[Any]],
    last_seen: NDArray[np.float64],
    cuts: CutOffs,
) -> Forecasts:
    """Compare dates of all pixels with those of the full season, as a map would report them."""
    if PAIRING[archive.name] == "season":
        # Two seasons of a year are equally strong: the one that overlaps counts, in either slot.
        full = scene_thinning.reference(archive)[..., _ORDER]
        swap = exchanged(full.transpose(1, 2, 0), dates.day.transpose(1, 2, 0))[:, None, None]
        dates = dates.map(lambda array: np.where(swap, array[:, ::-1], array))
    pixel = np.arange(archive.groups.size).astype(str)
    chosen = dates.subset(cuts.number)
    return horizons.forecasts(name, pixel, pixel, cuts, chosen, last_seen[cuts.number])


def _curve(archive: Excerpt, images: Sequence[Example]) -> Dates[NDArray[Any]]:
    dates = curve_of(images, archive.year, archive.latitude)
    return Dates(*(array[..., _ORDER] for array in (dates.day, dates.low, dates.high)))


def _network(
    archive: Excerpt, network: Network, images: Sequence[Example], radar: bool
) -> Dates[NDArray[Any]]:
    """Date all pixels in the NDVI-curve definition."""
    if not radar:
        images = [scene_thinning.without_radar(image) for image in images]
    places = [network.config.stages.index(f"curve_{name}") for name in STAGES]
    dates = predict(network, images, dense=archive.dense, in_season=True)
    return dates.map(lambda array: array[..., places])


def _last_seen(images: Iterable[Example], radar: bool) -> NDArray[np.float64]:
    """Day of the last valid observation of each pixel (pixels,); NaN without any."""
    last = []
    for image in images:
        series = [(image.optical, image.optical_days), (image.radar, image.radar_days)][: 1 + radar]
        pixels = inner(np.empty(image.optical.shape[-2:])).size
        day = np.full(pixels, -np.inf)
        for values, days in series:
            valid = np.isfinite(inner(values)).all(1).reshape(len(days), pixels)
            seen = np.where(valid, days[:, None], -np.inf)
            day = np.maximum(day, seen.max(0, initial=-np.inf))
        last.append(np.where(np.isfinite(day), day, np.nan))
    return np.concatenate(last)
