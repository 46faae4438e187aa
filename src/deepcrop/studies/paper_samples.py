"""Cameras and samples of the paper's experiment."""

from __future__ import annotations

import csv
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cube.contract import NIR_BANDS, is_simulated, nir_attrs
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch import camera_sites
from deepcrop.grid import PATCH_CENTRE
from deepcrop.sources.phenocam.summary_files import acknowledgement_beside
from deepcrop.stages import CALENDAR
from deepcrop.storage.files import write_csv
from deepcrop.studies import paper_cameras, paper_cubes
from deepcrop.training import samples
from deepcrop.training.materials import PLACES, read_cameras
from deepcrop.training.simulated_cameras import has_labels_of, simulated_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from deepcrop.cameras.site_years import CameraYear
    from deepcrop.studies.paper_settings import PaperExperiment
    from deepcrop.training.samples import Sample, SampleSet

_LOGGER = logging.getLogger(__name__)

MIN_IMAGES = 3
"""Clear images that a site-year needs while the season of its label rises, and while it falls."""

SEASON_MARGIN = 30.0
"""Days before the first and after the last labelled date that count as the label's season."""

_MEASURED = ("optical", "sar")


def camera_network(experiment: PaperExperiment) -> list[CameraYear]:
    """Read the cameras; where pixels are real, download those of the chosen sites that are missing.

    Returns
    -------
    list of CameraYear
        All years of the chosen sites and years, rejected ones too.

    Raises
    ------
    ArchiveError
        If the PhenoCam service does not answer.
    DeepCropError
        If no camera of the chosen sites and years can be used.
    """
    if experiment.archive == "simulated":
        years = read_cameras(experiment.data)
        if experiment.sites is not None:
            chosen = set(camera_sites.listed_names(experiment.sites))
            if unknown := sorted(chosen - {year.site for year in years}):
                raise DeepCropError(
                    f"Sites {', '.join(unknown)} have no series in {experiment.data}/phenocam; "
                    "leave them out, or copy their files there."
                )
            years = [year for year in years if year.site in chosen]
    else:
        folder = experiment.data / "phenocam"
        found = _found_cameras(experiment)
        years = paper_cameras.read_site_years(found, folder)
        for name, why in found["left_out"].items():
            _LOGGER.warning("%s is left out: %s", name, why)
        for site, why in paper_cameras.without_direction(found, years).items():
            _LOGGER.warning(
                "%s: the viewing direction is unknown (%s); its patches lie on the mast.", site, why
            )
    if experiment.target_years is not None:
        years = [year for year in years if year.year in experiment.target_years]
    if not years:
        raise DeepCropError(
            "No camera of the chosen sites has a series in the chosen years; choose others."
        )
    return years


def _found_cameras(experiment: PaperExperiment) -> dict[str, Any]:
    return paper_cameras.fetch_cameras(
        experiment.sites or "paper", experiment.data / "phenocam", experiment.out / "cache"
    )


def prepare_real_pixels(
    experiment: PaperExperiment, years: Sequence[CameraYear], places: Iterable[str]
) -> list[CameraYear]:
    """Fetch the cubes and crop types that are missing; return the site-years with their crops.

    Once the samples of all ``places`` are cut, no cube is fetched any more: networks may have been
    trained on them.

    ``sites.csv`` says for each site where its patches lie, and what of its cube is missing and why.
    """
    folder = experiment.data / "phenocam"
    if all(sample_file(experiment, place).exists() for place in places):
        notes = _cube_notes(experiment)
        if failed := paper_cubes.failed_sites(notes):
            _LOGGER.warning(
                "The samples were cut without %s, whose cubes the archive failed to give. To try "
                "again, name another --out: the cubes in %s are used again.",
                ", ".join(failed), experiment.data,
            )  # fmt: skip
    else:
        notes = paper_cubes.fetch_cubes(experiment, years)
    unknown = paper_cameras.without_direction(_found_cameras(experiment), years)
    rows = [
        (
            site,
            len(of_site),
            " ".join(sorted({_degrees(year.direction) for year in of_site})),
            unknown.get(site, ""),
            notes.get(site, ""),
        )
        for site, of_site in paper_cubes.by_site(years).items()
    ]
    head = ("site", "site_years", "direction", "on_mast_because", "cube")
    write_csv(experiment.out / "sites.csv", head, rows)
    columns = ("site", "time", "processing_baseline", "products")
    old = paper_cubes.old_scenes(experiment, paper_cubes.by_site(years))
    write_csv(experiment.out / "old_baselines.csv", columns, old)
    return paper_cameras.add_cdl(years, experiment.archive, folder, experiment.out)


def real_pixels_note(
    experiment: PaperExperiment, sample_set: SampleSet, years: Sequence[CameraYear]
) -> str:
    """Say for the report where patches lie, which sites have no radar, and which scenes are old."""
    text = (
        f" A site-year counts with {MIN_IMAGES} clear images while its label's season rises and "
        f"{MIN_IMAGES} while it falls, within {SEASON_MARGIN:.0f} days."
    )
    if on_mast := sample_set.provenance.get("on_mast", []):
        text += (
            f" The viewing direction of {', '.join(on_mast)} is unknown: patches there lie on the "
            "mast."
        )
    without = []
    for site in paper_cubes.by_site(years):
        cube = experiment.data / "phenocam" / f"{site}.zarr"
        if cube.exists() and "sar" not in open_cube(cube).children:
            without.append(site)
    if without:
        text += f" Without radar: {', '.join(without)} (sites.csv)."
    if failed := paper_cubes.failed_sites(_cube_notes(experiment)):
        text += (
            f" Left out because the archive failed: {', '.join(failed)}; a run with another --out "
            "tries them again."
        )
    if old := paper_cubes.old_scenes(experiment, paper_cubes.by_site(years)):
        text += (
            f" {len(old)} scenes are in a processing baseline before "
            f"{paper_cubes.REPROCESSED:05.2f}, "
            "some of which have artefacts in the blue band: old_baselines.csv."
        )
    return text


def _degrees(direction: float) -> str:
    return f"{direction:.1f}" if math.isfinite(direction) else "unknown"


def sample_file(experiment: PaperExperiment, place: str) -> Path:
    """File of the samples at a place."""
    return experiment.out / f"samples_{place}.npz"


def load_sample_set(
    experiment: PaperExperiment, years: Sequence[CameraYear], place: str
) -> SampleSet:
    """Read the samples of all site-years; the first time, simulate or cut them.

    Raises
    ------
    DeepCropError
        If the file has samples of other settings, or none could be made.
    """
    path = sample_file(experiment, place)
    distance = PLACES[place]
    if experiment.archive == "simulated":
        return simulated_samples(
            years, path, experiment.repeats, distance, workers=experiment.workers
        )
    if not path.exists():
        samples.save(_cut_samples(experiment, years, place), path)
    saved = samples.load(path)
    # Samples that do not state the near infrared have the usual one.
    expected = {"view_distance": distance, "archive": experiment.archive, "nir": experiment.nir}
    saved_settings = {"nir": NIR_BANDS[0]} | saved.provenance
    same_settings = all(saved_settings.get(key) == value for key, value in expected.items())
    if not same_settings or not has_labels_of(saved, years):
        raise DeepCropError(
            f"{path} was made with other settings, cameras or labels. Delete the folder, or choose "
            "another one."
        )
    return saved


def _cut_samples(experiment: PaperExperiment, years: Sequence[CameraYear], place: str) -> SampleSet:
    """Cut samples out of the cubes next to the cameras' series; list those that were left out."""
    cut: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    radiometry: set[str] = set()
    sources: set[str] = set()
    notes = _cube_notes(experiment)
    for year in years:
        cube_path = experiment.data / "phenocam" / f"{year.site}.zarr"
        if not cube_path.exists():
            why = notes.get(year.site) or "it was not fetched"
            left_out.append((year.name, f"{cube_path.name} does not exist: {why}"))
            continue
        cube = open_cube(cube_path)
        # Simulated pixels must never be scored as real ones, whoever put the cube there.
        if is_simulated(cube):
            left_out.append((year.name, f"{cube_path.name} is simulated; move it away"))
            continue
        # A camera at the edge of its cube, or a year without an image, costs only its own sample.
        try:
            # A site-year counts at all places or at none, so that all methods are scored on the
            # same ones.
            at = {name: samples.sample(cube, year, metres) for name, metres in PLACES.items()}
        except DeepCropError as error:
            left_out.append((year.name, str(error)))
            continue
        lacks = [f"{name}: {why}" for name, one in at.items() if (why := lacks_images(one))]
        if lacks:
            left_out.append((year.name, "; ".join(lacks)))
            continue
        cut.append(at[place])
        sources |= {str(cube[name].attrs["source"]) for name in _MEASURED if name in cube.children}
        if "sar" in cube.children:
            radiometry.add(str(cube["sar"].attrs["radiometry"]))
    write_csv(experiment.out / f"left_out_{place}.csv", ("site_year", "why"), left_out)
    provenance = {
        "pixels": "real",
        # As the cubes state it: they may have been there before, from another archive.
        "sources": sorted(sources),
        "labels": "PhenoCam network",
        "acknowledgement": acknowledgement_beside(year.labels.camera for year in years),
        "archive": experiment.archive,
        "radiometry": sorted(radiometry),
        "view_distance": PLACES[place],
        **nir_attrs(experiment.nir),
        # Of these the direction is unknown: their patches lie on the mast at any distance.
        "on_mast": sorted({one.site for one in cut if PLACES[place] and not one.moved}),
    }
    return samples.collect(cut, provenance)


def _cube_notes(experiment: PaperExperiment) -> dict[str, str]:
    """Read what is missing of the cube of each site (`prepare_real_pixels`)."""
    path = experiment.out / "sites.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["site"]: row["cube"] for row in csv.DictReader(file)}


def lacks_images(sample: Sample) -> str:
    """Say why a site-year does not count for lack of images in the season of its label, or "".

    The rule: `MIN_IMAGES` clear optical images of the patch's central pixel from `SEASON_MARGIN`
    days before the first labelled date of the main season to its peak, and as many from the peak to
    `SEASON_MARGIN` days after its last labelled date. Curve and networks are scored on the same
    site-years; the others are listed and never scored.
    """
    known = sample.day[0][np.isfinite(sample.day[0])]
    peak = sample.day[0][CALENDAR.index("peak")]
    first, last = (known.min(), known.max()) if len(known) else (0.0, 365.0)
    middle = float(peak) if np.isfinite(peak) else (first + last) / 2
    clear = np.isfinite(sample.patch.optical[:, :, PATCH_CENTRE, PATCH_CENTRE]).all(axis=1)
    days = sample.patch.optical_days[clear]
    rise = int(((days >= first - SEASON_MARGIN) & (days <= middle)).sum())
    fall = int(((days > middle) & (days <= last + SEASON_MARGIN)).sum())
    if min(rise, fall) >= MIN_IMAGES:
        return ""
    return (
        f"{rise} clear images from day {first - SEASON_MARGIN:.0f} to the peak (day {middle:.0f}) "
        f"and {fall} from there to day {last + SEASON_MARGIN:.0f}; {MIN_IMAGES} of each are needed"
    )
