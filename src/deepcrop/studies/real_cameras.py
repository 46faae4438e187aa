"""Score dates from real satellites against real cameras: 29 site-years of EVI, a year of chips.

The data are those of doi 10.34133/remotesensing.0878 (BSD-style licence); of their 30 site-years
one is left out (`DROPPED`). Labels are the project's own dates of the cameras' greenness; dates of
emergence and harvest that were observed in the fields are read as well.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import torch
from pyproj import Transformer

from deepcrop import stages
from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.labels import PRESET, SMOOTHER, SiteYear, label_series
from deepcrop.cameras.spatial_split import training_sites
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import (
    Predictions,
    ReferenceDates,
    median_offsets,
    subtract_offsets,
)
from deepcrop.grid import PATCH_CENTRE, PATCH_SIZE
from deepcrop.network.weights import Network, load
from deepcrop.phenology.slots import curve_dates
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.training.curve_labels import as_patch, unlabelled
from deepcrop.training.examples import SPREAD_OF_INTERVAL, Example, predict
from deepcrop.training.experiment import read_experiment
from deepcrop.training.fit import Source, fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SOURCE = (
    "daily camera greenness and gap-filled HLS EVI (30 m) of 29 US maize and soya site-years, 2021 "
    "and 2022, and HLS image chips of 2023; doi 10.34133/remotesensing.0878, BSD-style licence"
)

DROPPED = {"mandani2_2021": "its observed stages carry dates of 2022"}
"""Site-years that are left out, and why."""

SIBLINGS = {"goodwaterbau": "goodwater"}
"""Cameras of one site that differ by more than the number at the end of their name."""

PLACES = {
    "NEON.D06.KONA.DP1.00033": (39.1104, -96.6129),
    "arkansascornsoy": (34.4160, -91.6723),
    "arsbrooks10": (41.9749, -93.6905),
    "arscolesnorth": (42.4884, -93.5225),
    "arsltarmdcr": (39.0587, -75.8513),
    "arsltarucbec1": (40.7537, -78.0057),
    "arsmorris1": (45.6167, -96.1269),
    "arsmorris3": (45.6091, -96.1265),
    "arsope3ltar": (39.0309, -76.8442),
    "bouldincorn": (38.1090, -121.5350),
    "ecb1": (41.5348, -84.8068),
    "ecb2": (41.5321, -84.8080),
    "ecb4": (41.1796, -83.0604),
    "goodwater": (39.2285, -92.1194),
    "goodwaterbau": (39.2312, -92.1522),
    "mandani2": (46.7614, -100.9257),
    "mead1": (41.1651, -96.4766),
    "mead3": (41.1797, -96.4397),
}
"""Latitude and longitude of the cameras, as the archive lists them (`phenocams`)."""

LATITUDE = 41.0
"""Degrees, of the US corn belt; it only decides which season of a year is the main one."""

STEP = 5
"""Days between the values of the gap-filled EVI that a network reads: the revisit of Sentinel-2."""

BLUE, GREEN, RED = 0.03, 0.06, 0.05
"""Invented reflectances for an EVI value; near infrared follows from them and from EVI."""

FIELD = (39.2316, -92.15217)
"""Latitude and longitude of the middle of the field of view of the camera goodwaterbau
(`phenocam_fov`)."""

(FINE_TUNING,) = read_experiment("evi-cameras").phases
"""Recipe of the fine-tuning: it takes a few seconds, with two dozen examples of one pixel."""

CHIPS = "goodwaterbau"
"""Camera of the image chips."""

_CAMERA = [CALENDAR.index(name) for name in STAGES]


# EVI and cameras --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SiteYears:
    """Series and dates of n site-years.

    Attributes
    ----------
    reference : ReferenceDates
        The cameras' dates by the project's own labels, main season in slot 1.
    days, evi : tuple of ndarray (times,)
        Daily gap-filled EVI, by days since 1 January.
    examples : tuple of Example
        Every fifth value (`STEP`), with the camera's dates as labels.
    emergence, harvest : ndarray of float (n,)
        Observed in the field, days since 1 January; NaN where not known.
    """

    reference: ReferenceDates
    days: tuple[NDArray[np.float32], ...]
    evi: tuple[NDArray[np.float32], ...]
    examples: tuple[Example, ...]
    emergence: NDArray[np.float64]
    harvest: NDArray[np.float64]


def site_of(site_year: str) -> str:
    """Return the name without year and number of the camera: neighbours count as one site."""
    camera = re.sub(r"_\d{4}$", "", site_year)
    return SIBLINGS.get(camera, re.sub(r"\d+$", "", camera))


def evi_bands(evi: NDArray[np.float32]) -> NDArray[np.float32]:
    """Invent reflectances (times, 4) that have a given EVI, below 2.5."""
    nir = (2.5 * RED + evi * (6 * RED - 7.5 * BLUE + 1)) / (2.5 - evi)
    visible = [np.full_like(nir, value) for value in (BLUE, GREEN, RED)]
    return np.stack([*visible, nir], 1).astype(np.float32)


def read_hls(data: Path) -> SiteYears:
    """Read the site-years of EVI and camera greenness, and date the cameras.

    Raises
    ------
    DeepCropError
        If a file is missing.
    """
    series = _read_series(data / "hls_camera" / "gcc_evi_daily_2021_2022.csv")
    observed = _read_observed(data / "hls_camera" / "observed_stages_2021_2022.csv")
    names = [name for name in sorted(series) if name not in DROPPED]
    years = np.array([int(name[-4:]) for name in names])
    days, evi, day, examples = [], [], [], []
    for name, year in zip(names, years, strict=True):
        dates, gcc, daily_evi = series[name]
        time = stages.to_days(dates, int(year))
        main, low, high = _camera_dates(gcc, time, int(year))
        pick = slice(None, None, STEP)
        example = unlabelled(as_patch(evi_bands(daily_evi[pick])), time[pick])
        # Labels by the camera's definition only; the curve's dates stay unknown, the second season
        # too: it is neither dated nor ruled out.
        camera = slice(0, len(CALENDAR))
        example.day[0, 0, camera] = main
        example.spread[0, 0, camera] = (high - low) * SPREAD_OF_INTERVAL
        days.append(time)
        evi.append(daily_evi)
        day.append(main)
        examples.append(example)
    known = np.full((len(names), stages.SLOTS, len(STAGES)), np.nan)
    known[:, 0] = np.array(day)[:, _CAMERA]
    facts = [observed.get(name, ("", np.nan, np.nan)) for name in names]
    crop, emergence, harvest = (np.array(column) for column in zip(*facts, strict=True))
    # Neighbouring cameras are one site, and one cluster: what is fitted at one is not tested there.
    sites = np.array([site_of(name) for name in names])
    reference = ReferenceDates(
        site_year=np.array(names),
        site=sites,
        cluster=sites,
        crop=np.where(crop == "", "unknown", crop),
        year=years,
        day=known,
        none=np.zeros(known.shape, np.bool_),
        clear=np.zeros(known.shape, np.int64),
        simulated=False,
    )
    return SiteYears(reference, tuple(days), tuple(evi), tuple(examples), emergence, harvest)


def _read_series(
    path: Path,
) -> dict[str, tuple[NDArray[np.datetime64], NDArray[np.float32], NDArray[np.float32]]]:
    """Read dates, camera greenness and EVI by site-year, in order of time."""
    points: dict[str, dict[np.datetime64, tuple[float, float]]] = {}
    for row in _read_rows(path):
        month, day, year = (int(part) for part in row["date"].split("/"))
        date = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}")
        values = (float(row["gcc_mean"] or "nan"), float(row["evi"] or "nan"))
        points.setdefault(row["source_file"], {})[date] = values
    series = {}
    for name, by_date in points.items():
        dates = np.array(sorted(by_date))
        gcc, evi = np.array([by_date[date] for date in dates], np.float32).T
        series[name] = (dates, gcc, evi)
    return series


def _read_observed(path: Path) -> dict[str, tuple[str, float, float]]:
    """Read crop, emergence and harvest by site-year."""
    observed = {}
    for row in _read_rows(path):
        year = int(row["Ano"])
        days = []
        for name in ("Emergence phenocam", "harvest Phenocam"):
            text = row[name].strip()
            date = f"{text[:4]}-{text[4:6]}-{text[6:]}"
            # A date of another year than its row is a slip of the table and is left out.
            same_year = text.startswith(str(year))
            day = float(stages.to_days([np.datetime64(date)], year)[0]) if same_year else np.nan
            days.append(day)
        crop = row["Crop"].strip().lower()
        observed[f"{row['Phenocam'].strip()}_{year}"] = (crop, days[0], days[1])
    return observed


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DeepCropError(
            f"{path}: {error.strerror}; give the folder of the real excerpts."
        ) from None


def _camera_dates(
    gcc: NDArray[np.float32], days: NDArray[np.float32], year: int
) -> list[NDArray[np.float32]]:
    """Date a camera's main season as labels do: days, low and high (5,), by `CALENDAR`."""
    found = curve_dates(gcc[None], days, year, LATITUDE, smoother=SMOOTHER, preset=PRESET)
    return [array[0, 0] for array in (found.day, found.low, found.high)]


# Methods -----------------------------------------------------------------------------------------


def evi_curve(years: SiteYears, smoother: str) -> Predictions:
    """Date the curve through daily EVI, with the settings for Sentinel-2."""
    found = [
        curve_dates(evi[None], days, int(year), LATITUDE, smoother)
        for evi, days, year in zip(years.evi, years.days, years.reference.year, strict=True)
    ]
    return Predictions(*(
        np.concatenate([getattr(dates, name) for dates in found])[:, :, _CAMERA]
        for name in ("day", "low", "high")
    ))  # fmt: skip


def offset_elsewhere(
    predictions: Predictions, reference: ReferenceDates, site: str
) -> NDArray[np.float64]:
    """Compute the median error of each stage (4,) at all other sites."""
    others = reference.site != site
    return median_offsets(predictions.subset(others), reference.subset(others))


def subtract_offset_elsewhere(predictions: Predictions, reference: ReferenceDates) -> Predictions:
    """Subtract from each stage its median error at all other sites."""
    arrays = {name: np.full(predictions.day.shape, np.nan) for name in ("day", "low", "high")}
    for site in np.unique(reference.site):
        here = reference.site == site
        offsets = offset_elsewhere(predictions, reference, str(site))
        moved = subtract_offsets(predictions.subset(here), offsets)
        for name, array in arrays.items():
            array[here] = getattr(moved, name)
    return Predictions(**arrays)


def camera_dates(
    network: Network, examples: Sequence[Example], in_season: bool = False
) -> Predictions:
    """Predict dates with a network, in the camera definition."""
    places = [network.config.stages.index(name) for name in STAGES]
    dates = predict(network, examples, in_season=in_season)
    return Predictions(*dates.map(lambda array: array[:, :, places]))


def network_predictions(
    weights: Path, examples: Sequence[Example], in_season: bool = False
) -> Predictions:
    """Predict dates with the network of a file, in the camera definition."""
    return camera_dates(load(weights)[0], examples, in_season)


def fine_tune(
    weights: Path,
    years: SiteYears,
    train: NDArray[np.intp],
    valid: NDArray[np.intp],
    out: Path,
    seed: int,
) -> Path:
    """Fine-tune a trained network for this study alone.

    Some of the cameras stand at test sites of the paper, or near one. The card names all cameras of
    ``train`` and ``valid``, so that the weights are rejected at those sites
    (`deepcrop.cameras.spatial_split.training_clusters`).

    Parameters
    ----------
    weights : Path
        Weights to start from.
    years : SiteYears
    train, valid : ndarray of int
        Numbers of the site-years to train on, and of those that decide when to stop.
    out : Path
        Folder for weights and log.
    seed : int

    Returns
    -------
    Path
        The file of weights.
    """
    torch.manual_seed(seed)
    network, about = load(weights)
    names = [years.reference.site_year[k].rpartition("_")[0] for k in (*train, *valid)]
    cameras = {
        **(about["card"].get("cameras") or {}),
        "sites": training_sites(about["card"]) | {name: PLACES[name] for name in sorted(names)},
        "fine_tuned": f"{len(train)} site-years, {SOURCE}",
    }
    return fit(
        network,
        [Source("cameras", [years.examples[k] for k in train], batch=FINE_TUNING.batch)],
        [Source("held out", [years.examples[k] for k in valid])],
        replace(FINE_TUNING.training, seed=seed),
        out,
        about["card"] | {"cameras": cameras},
    )


def fine_tuned_predictions(
    years: SiteYears, weights: Path, folder: Path, seed: int = 1
) -> Predictions:
    """Date every site with a network that was fine-tuned without that site.

    Every sixth of the other sites decides when to stop.

    Parameters
    ----------
    years : SiteYears
    weights : Path
        A trained network that reads EVI (`CONFIGS["evi-only"]`).
    folder : Path
        Gets a folder for each site; a site that is finished there is not trained again.
    seed : int
    """
    site = years.reference.site
    shape = (len(site), stages.SLOTS, len(STAGES))
    arrays = {name: np.full(shape, np.nan) for name in ("day", "low", "high", "probability")}
    for tested in np.unique(site):
        others = np.random.default_rng(seed).permutation(np.unique(site[site != tested]))
        held_out = np.isin(site, others[::6])
        out = folder / str(tested)
        tuned = out / "weights.safetensors"
        if not tuned.exists():
            train = np.flatnonzero((site != tested) & ~held_out)
            tuned = fine_tune(weights, years, train, np.flatnonzero(held_out), out, seed)
        here = np.flatnonzero(site == tested)
        predictions = network_predictions(tuned, [years.examples[k] for k in here])
        for name, array in arrays.items():
            array[here] = getattr(predictions, name)
    return Predictions(**arrays)


# Image chips ------------------------------------------------------------------------------------


def read_chips(data: Path) -> tuple[Example, SiteYear]:
    """Read the chips of 2023 around the field that the camera `CHIPS` sees, and its labels.

    Pixels of 30 m are repeated to 10 m. A pixel is clear if Fmask calls it neither cloud, nor next
    to cloud, nor shadow, nor snow.
    """
    year = 2023
    folder = data / "hls_camera" / f"{CHIPS}_{year}_hls30"
    masks = sorted(folder.glob("*/*_Fmask.tif"))
    if not masks:
        raise DeepCropError(f"{folder} holds no */*_Fmask.tif; give the folder of the excerpts.")
    images = []
    for path in masks:
        with rasterio.open(path) as file:
            mask, box, crs = file.read(1), file.transform, file.crs
        # Bits 1 to 4 of Fmask: cloud, next to cloud or shadow, shadow, snow; 255 is no data.
        clear = ((mask & 0b11110) == 0) & (mask != 255)
        bands = []
        for band in ("B02", "B03", "B04", "NIR"):
            with rasterio.open(path.with_name(path.name.replace("Fmask", band))) as file:
                number = file.read(1)
            value = np.where(number == -9999, np.nan, number * 1e-4)
            bands.append(np.where(clear, value, np.nan))
        images.append(np.stack(bands).astype(np.float32).repeat(3, 1).repeat(3, 2))
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(FIELD[1], FIELD[0])
    row, col = int((box.f - y) // 10), int((x - box.c) // 10)
    top, left = row - PATCH_CENTRE, col - PATCH_CENTRE
    patches = np.stack(images)[:, :, top : top + PATCH_SIZE, left : left + PATCH_SIZE]
    dates = np.array([f"{p.name[:4]}-{p.name[4:6]}-{p.name[6:8]}" for p in masks], "datetime64[D]")
    # Scenes in which the pixel of the camera's field is cloudy date nothing.
    centre = patches[:, :, PATCH_CENTRE, PATCH_CENTRE]
    clear = np.isfinite(centre).all(1)
    example = unlabelled(patches[clear], stages.to_days(dates, year)[clear])
    crops = data / "phenocam" / "crop_type_by_site_year.csv"
    camera = label_series(
        read_series(data / "phenocam" / "series" / f"{CHIPS}_AG_1000_3day.csv"),
        crops=read_crops(crops) if crops.exists() else None,
    )
    return example, next(site_year for site_year in camera.years if site_year.year == year)


def main_season(year: SiteYear) -> NDArray[np.float64]:
    """Return the days of a camera's main season (4,), by `STAGES`; NaN where there is none."""
    for season in year.seasons:
        if season.slot == 1:
            return np.array([season.events[name].day for name in STAGES])
    return np.full(len(STAGES), np.nan)
