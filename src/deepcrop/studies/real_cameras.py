"""Real satellites against real cameras: 29 site-years of EVI, and one year of image chips.

The archives are of doi 10.34133/remotesensing.0878 (BSD-style licence); of their 30 site-years one
is left out (`DROPPED`). Labels are the project's own dates of the cameras' greenness; what was
observed in the fields stands beside them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from pyproj import Transformer

from deepcrop import stages
from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.labels import PRESET, SMOOTHER, SiteYear, label_series
from deepcrop.cameras.spatial_split import taught_sites
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import Answers, Truth, offsets, shifted
from deepcrop.grid import PATCH_CENTRE, PATCH_SIZE
from deepcrop.network.weights import Network, load
from deepcrop.phenology.slots import curve_dates
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.training.augment import Augmentation
from deepcrop.training.curve_labels import as_patch, unlabelled
from deepcrop.training.examples import SPREAD_OF_INTERVAL, Example, predict
from deepcrop.training.fit import Source, Training, fit

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
"""Degrees, of the US corn belt; decides only which season of a year is the main one."""

EVERY = 5
"""Days between the values of the gap-filled EVI that a network is given: as a satellite passes."""

BLUE, GREEN, RED = 0.03, 0.06, 0.05
"""Reflectances that are made up for EVI; near infrared follows from them."""

FIELD = (39.2316, -92.15217)
"""Latitude and longitude of the middle of what the camera goodwaterbau sees (`phenocam_fov`)."""

FINE_TUNING = Training(
    steps=120, rate=5e-4, check=20, patience=2, augmentation=Augmentation(window=0.9, gap=0.1)
)
"""A few seconds: a single pixel, two dozen examples."""

CHIPS = "goodwaterbau"
"""Camera of the image chips."""

_CAMERA = [CALENDAR.index(name) for name in STAGES]


# EVI and cameras --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SiteYears:
    """Series and dates of n site-years.

    Attributes
    ----------
    truth : Truth
        The cameras' dates by the project's own labels, main season in slot 1.
    days, evi : tuple of ndarray (times,)
        Daily gap-filled EVI, by days since 1 January.
    examples : tuple of Example
        Every fifth value (`EVERY`), with the camera's dates as labels.
    emergence, harvest : ndarray of float (n,)
        Observed in the field, days since 1 January; NaN where not known.
    """

    truth: Truth
    days: tuple[NDArray[np.float32], ...]
    evi: tuple[NDArray[np.float32], ...]
    examples: tuple[Example, ...]
    emergence: NDArray[np.float64]
    harvest: NDArray[np.float64]


def site_of(site_year: str) -> str:
    """Name without year and number of the camera: neighbours count as one site."""
    camera = re.sub(r"_\d{4}$", "", site_year)
    return SIBLINGS.get(camera, re.sub(r"\d+$", "", camera))


def evi_bands(evi: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reflectances (times, 4) whose EVI is the given one; below 2.5."""
    nir = (2.5 * RED + evi * (6 * RED - 7.5 * BLUE + 1)) / (2.5 - evi)
    made = [np.full_like(nir, value) for value in (BLUE, GREEN, RED)]
    return np.stack([*made, nir], 1).astype(np.float32)


def read_hls(data: Path) -> SiteYears:
    """Read the site-years of EVI and camera greenness, and date the cameras.

    Raises
    ------
    DeepCropError
        If a file is missing.
    """
    series = _series(data / "hls_camera" / "gcc_evi_daily_2021_2022.csv")
    seen = _observed(data / "hls_camera" / "observed_stages_2021_2022.csv")
    names = [name for name in sorted(series) if name not in DROPPED]
    years = np.array([int(name[-4:]) for name in names])
    days, evi, day, examples = [], [], [], []
    for name, year in zip(names, years, strict=True):
        dates, gcc, green = series[name]
        time = stages.to_days(dates, int(year))
        main, low, high = _camera_dates(gcc, time, int(year))
        pick = slice(None, None, EVERY)
        example = unlabelled(as_patch(evi_bands(green[pick])), time[pick])
        camera = slice(0, len(CALENDAR))
        example.day[0, 0, camera] = main
        example.spread[0, 0, camera] = (high - low) * SPREAD_OF_INTERVAL
        days.append(time)
        evi.append(green)
        day.append(main)
        examples.append(example)
    known = np.full((len(names), stages.SLOTS, len(STAGES)), np.nan)
    known[:, 0] = np.array(day)[:, _CAMERA]
    facts = [seen.get(name, ("", np.nan, np.nan)) for name in names]
    sites = np.array([site_of(name) for name in names])
    truth = Truth(
        site_year=np.array(names),
        site=sites,
        cluster=sites,
        crop=np.array([fact[0] or "unknown" for fact in facts]),
        year=years,
        day=known,
        none=np.zeros(known.shape, np.bool_),
        clear=np.zeros(known.shape, np.int64),
        simulated=False,
    )
    return SiteYears(
        truth, tuple(days), tuple(evi), tuple(examples),
        np.array([fact[1] for fact in facts]), np.array([fact[2] for fact in facts]),
    )  # fmt: skip


def _series(path: Path) -> dict[str, tuple[NDArray, NDArray[np.float32], NDArray[np.float32]]]:
    """Read dates, camera greenness and EVI by site-year, in order of time."""
    points: dict[str, dict[np.datetime64, tuple[float, float]]] = {}
    for row in _rows(path):
        month, day, year = (int(part) for part in row["date"].split("/"))
        date = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}")
        values = (float(row["gcc_mean"] or "nan"), float(row["evi"] or "nan"))
        points.setdefault(row["source_file"], {})[date] = values
    series = {}
    for name, of_date in points.items():
        dates = np.array(sorted(of_date))
        gcc, evi = np.array([of_date[date] for date in dates], np.float32).T
        series[name] = (dates, gcc, evi)
    return series


def _observed(path: Path) -> dict[str, tuple[str, float, float]]:
    """Read crop, emergence and harvest by site-year; dates of another year are slips, left out."""
    found = {}
    for row in _rows(path):
        year = int(row["Ano"])
        days = []
        for name in ("Emergence phenocam", "harvest Phenocam"):
            text = row[name].strip()
            date = f"{text[:4]}-{text[4:6]}-{text[6:]}"
            right = text.startswith(str(year))
            days.append(float(stages.to_days([np.datetime64(date)], year)[0]) if right else np.nan)
        crop = row["Crop"].strip().lower()
        found[f"{row['Phenocam'].strip()}_{year}"] = (crop, days[0], days[1])
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DeepCropError(
            f"{path}: {error.strerror}; give the folder of the real excerpts."
        ) from None


def _camera_dates(gcc: NDArray[np.float32], days: NDArray, year: int) -> list[NDArray[np.float32]]:
    """Dates of a camera's main season by `CALENDAR`, and their 90 % interval, as labels have it."""
    found = curve_dates(gcc[None], days, year, LATITUDE, smoother=SMOOTHER, preset=PRESET)
    return [part[0, 0] for part in (found.day, found.low, found.high)]


def evi_curve(years: SiteYears, smoother: str) -> Answers:
    """Dates of the curve through daily EVI, settings as for Sentinel-2."""
    found = [
        curve_dates(evi[None], days, int(year), LATITUDE, smoother)
        for evi, days, year in zip(years.evi, years.days, years.truth.year, strict=True)
    ]
    return Answers(*(
        np.concatenate([getattr(one, name) for one in found])[:, :, _CAMERA]
        for name in ("day", "low", "high")
    ))  # fmt: skip


def offset_elsewhere(answers: Answers, truth: Truth, site: str) -> NDArray[np.float64]:
    """Median error of each stage (4,) at all sites but one."""
    others = truth.site != site
    return offsets(answers.part(others), truth.part(others))


def leave_one_site_out_offset(answers: Answers, truth: Truth) -> Answers:
    """Answers less the median error of each stage at all other sites."""
    parts = np.full((3, *answers.day.shape), np.nan)
    for site in np.unique(truth.site):
        here = truth.site == site
        moved = shifted(answers.part(here), offset_elsewhere(answers, truth, str(site)))
        for part, name in zip(parts, ("day", "low", "high"), strict=True):
            part[here] = getattr(moved, name)
    return Answers(*parts)


def camera_dates(network: Network, examples: Sequence[Example]) -> Answers:
    """Dates of a network, by the camera's ruler."""
    places = [network.config.stages.index(name) for name in STAGES]
    return Answers(*(part[:, :, places] for part in predict(network, examples)))


def network_answers(weights: Path, examples: Sequence[Example]) -> Answers:
    """Dates of a network in a file, by the camera's ruler."""
    return camera_dates(load(weights)[0], examples)


def fine_tune(
    weights: Path,
    years: SiteYears,
    train: NDArray[np.intp],
    valid: NDArray[np.intp],
    out: Path,
    seed: int,
) -> Path:
    """Teach a network that is already taught a little more, for this experiment alone.

    Some of the cameras stand at test sites of the paper, or near one. The card names all that
    taught or decided, so that the weights are refused there (`deepcrop.cameras.spatial_split.taught_clusters`).

    Parameters
    ----------
    weights : Path
        Where it starts.
    years : SiteYears
    train, valid : ndarray of int
        Numbers of the site-years to learn from, and of those that decide when to stop.
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
    names = [years.truth.site_year[k].rpartition("_")[0] for k in (*train, *valid)]
    cameras = {
        **(about["card"].get("cameras") or {}),
        "sites": taught_sites(about["card"]) | {name: PLACES[name] for name in sorted(names)},
        "fine_tuned": f"{len(train)} site-years, {SOURCE}",
    }
    return fit(
        network,
        [Source("cameras", [years.examples[k] for k in train], batch=24)],
        [Source("held out", [years.examples[k] for k in valid])],
        replace(FINE_TUNING, seed=seed),
        out,
        about["card"] | {"cameras": cameras},
    )


def fine_tuned_answers(years: SiteYears, weights: Path, folder: Path, seed: int = 1) -> Answers:
    """Dates of every site by a network that was fine-tuned without that site.

    Every sixth of the other sites decides when to stop.

    Parameters
    ----------
    years : SiteYears
    weights : Path
        A network that reads EVI, taught before (`CONFIGS["evi-only"]`).
    folder : Path
        Takes a folder for each site; what is finished there is not done again.
    seed : int
    """
    site = years.truth.site
    shape = (len(site), stages.SLOTS, len(STAGES))
    parts = {name: np.full(shape, np.nan) for name in ("day", "low", "high", "probability")}
    for one in np.unique(site):
        others = np.random.default_rng(seed).permutation(np.unique(site[site != one]))
        held = np.isin(site, others[::6])
        out = folder / str(one)
        tuned = out / "weights.safetensors"
        if not tuned.exists():
            train = np.flatnonzero((site != one) & ~held)
            tuned = fine_tune(weights, years, train, np.flatnonzero(held), out, seed)
        here = np.flatnonzero(site == one)
        answers = network_answers(tuned, [years.examples[k] for k in here])
        for name, part in parts.items():
            part[here] = getattr(answers, name)
    return Answers(**parts)


# Image chips ------------------------------------------------------------------------------------


def read_chips(data: Path) -> tuple[Example, SiteYear]:
    """Read the chips of 2023 around the field that the camera `CHIPS` sees, and its labels.

    Pixels of 30 m are repeated to 10 m. Clear is what Fmask calls neither cloud, nor next to cloud,
    nor shadow, nor snow.
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
    centre = patches[:, :, PATCH_CENTRE, PATCH_CENTRE]
    seen = np.isfinite(centre).all(1)
    example = unlabelled(patches[seen], stages.to_days(dates, year)[seen])
    crops = data / "phenocam" / "crop_type_by_site_year.csv"
    camera = label_series(
        read_series(data / "phenocam" / "series" / f"{CHIPS}_AG_1000_3day.csv"),
        crops=read_crops(crops) if crops.exists() else None,
    )
    return example, next(one for one in camera.years if one.year == year)


def main_season(year: SiteYear) -> NDArray[np.float64]:
    """Days of the main season of a camera (4,), by `STAGES`; NaN where there is none."""
    for season in year.seasons:
        if season.slot == 1:
            return np.array([season.events[name].day for name in STAGES])
    return np.full(len(STAGES), np.nan)
