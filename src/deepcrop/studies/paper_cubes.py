"""Cubes around the cameras of the paper's experiment: fetch them, or say what this would take."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cube.contract import nir_of
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch.estimate import read_seconds, size_factor
from deepcrop.fetch.manifest import read_manifest
from deepcrop.fetch.plan import FetchRequest, no_scene, open_requested_archive, search_scenes
from deepcrop.fetch.run import fetch
from deepcrop.grid import areas
from deepcrop.sources.archive import ArchiveError, Scene
from deepcrop.stages import DAY_MAX, DAY_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from deepcrop.cameras.site_years import CameraYear
    from deepcrop.studies.paper_settings import PaperExperiment

_LOGGER = logging.getLogger(__name__)

REPROCESSED = 5.0
"""Processing baseline of Sentinel-2's reprocessed archive (Collection 1). Scenes in an older one
are named, because some of them have known artefacts, in the blue band (B02) above all."""

_FAILED = "the archive failed: "
"""Begin of the note on a site that another run may have a cube of."""

_FAILURES = 2  # sites in a row at which the archive did not serve, after which the run ends


def by_site(years: Iterable[CameraYear]) -> dict[str, list[CameraYear]]:
    """Group site-years by site."""
    groups: dict[str, list[CameraYear]] = {}
    for year in years:
        groups.setdefault(year.site, []).append(year)
    return groups


def site_request(experiment: PaperExperiment, years: Sequence[CameraYear]) -> FetchRequest:
    """Make the request for the cube around the camera of a site.

    One cube spans all target years of a site, with the days before and after that a season of the
    first or the last may reach into. The end is a date of its own, not today, so that the run of
    tomorrow makes the same request.
    """
    numbers = [year.year for year in years]
    first = np.datetime64(f"{min(numbers)}-01-01", "D") + DAY_MIN
    last = np.datetime64(f"{max(numbers)}-01-01", "D") + DAY_MAX
    side = areas.SITE_CELLS
    return FetchRequest(
        areas.around(years[0].latitude, years[0].longitude, side, side),
        start=first.item(),
        end=last.item(),
        archive=experiment.archive,
        sensors=experiment.sensors,
        nir=experiment.nir,
        may_lack=("sar",) if "sar" in experiment.sensors else (),
    )


# Fetch ------------------------------------------------------------------------------------------


def fetch_cubes(experiment: PaperExperiment, years: Sequence[CameraYear]) -> dict[str, str]:
    """Fetch the cubes that are missing around the cameras.

    Returns
    -------
    dict of str to str
        What to know of a site, by its name: why it has no cube, or no radar.

    Raises
    ------
    ArchiveError
        If the archive does not serve at several sites in a row; what was fetched stays for the
        next run.
    """
    notes: dict[str, str] = {}
    failures = 0
    sites = by_site(years)
    for number, (site, of_site) in enumerate(sites.items(), 1):
        target = experiment.data / "phenocam" / f"{site}.zarr"
        request = site_request(experiment, of_site)
        try:
            if target.exists():
                _check_covers(target, request)
            else:
                _LOGGER.info("fetching site %d of %d: %s", number, len(sites), site)
                title = f"around PhenoCam {site}"
                fetch(request, target, title=title, threads=experiment.threads)
            failures = 0
        except ArchiveError as error:
            failures += 1
            if failures >= _FAILURES:
                raise
            notes[site] = f"{_FAILED}{error}"
        except DeepCropError as error:
            notes[site] = str(error)
        else:
            lacks = open_cube(target).attrs.get("missing_sensors", {})
            if lacks:
                notes[site] = "; ".join(f"without {name}: {why}" for name, why in lacks.items())
        if site in notes:
            _LOGGER.warning("%s: %s", site, notes[site])
    return notes


def failed_sites(notes: Mapping[str, str]) -> list[str]:
    """Select the sites without a cube because the archive failed, from the notes of `fetch_cubes`.

    Examples
    --------
    >>> failed_sites({"one": "the archive failed: no answer", "two": "no optical scene"})
    ['one']
    """
    return sorted(site for site, note in notes.items() if note.startswith(_FAILED))


def _check_covers(path: Path, request: FetchRequest) -> None:
    """Reject a cube that was fetched for fewer years or sensors than wanted.

    A cube that was made by other means is taken as it is.
    """
    cube = open_cube(path)
    if (nir := nir_of(cube)) != request.nir:
        raise DeepCropError(
            f"The near infrared of {path} is {nir}; expected {request.nir}. Choose another --data, "
            "or move it away, and the same command fetches it anew."
        )
    held = cube.attrs.get("request")
    if held is None:
        return
    wanted = request.to_json()
    if (
        held["start"] > wanted["start"]
        or held["end"] < wanted["end"]
        or not set(wanted["sensors"]) <= set(held["sensors"])
    ):
        raise DeepCropError(
            f"{path} was fetched for {held['start']} to {held['end']}, "
            f"{' and '.join(held['sensors'])}; expected {wanted['start']} to {wanted['end']}, "
            f"{' and '.join(wanted['sensors'])}. "
            "Move it away, and the same command fetches it anew."
        )


def old_scenes(
    experiment: PaperExperiment, sites: Iterable[str]
) -> list[tuple[str, str, str, str]]:
    """List the scenes in a processing baseline before `REPROCESSED`.

    Returns
    -------
    list of tuple
        Site, time, baselines and products of each.
    """
    rows = []
    for site in sites:
        cube = experiment.data / "phenocam" / f"{site}.zarr"
        for row in read_manifest(cube):
            if row["sensor"] != "optical" or row["state"] not in ("fetched", "partly"):
                continue
            stated = re.search(r"processing_baseline: ([\d., ;]+)", row["notes"])
            baselines = re.findall(r"\d\d\.\d\d", stated[1] if stated else "")
            if any(float(baseline) < REPROCESSED for baseline in baselines):
                rows.append((site, row["time"], " ".join(baselines), row["products"]))
    return rows


# Dry run ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SiteEstimate:
    """What a site takes: numbers of scenes, bytes and requests, hours; and why it has no cube."""

    site: str
    years: int
    optical: int = 0
    radar: int = 0
    gigabytes: float = 0.0
    requests: int = 0
    hours: float = 0.0
    note: str = ""


def dry_run(experiment: PaperExperiment, years: Sequence[CameraYear]) -> list[SiteEstimate]:
    """Search all scenes of all sites, and estimate what fetching them takes.

    Time and size of a sensor are measured at the first site that has its scenes: some of them are
    read as a fetch does.

    Returns
    -------
    list of SiteEstimate
        One for each site, and the sum.
    """
    pace: dict[str, float] = {}  # seconds for a scene, by sensor
    factor: dict[str, float] = {}  # bytes in truth for a byte of the archive's own estimate
    found = []
    for site, of_site in by_site(years).items():
        request = site_request(experiment, of_site)
        note = ""
        if (experiment.data / "phenocam" / f"{site}.zarr").exists():
            found.append(SiteEstimate(site, len(of_site), note="the cube is there"))
            continue
        try:
            archive = open_requested_archive(request)
            begin = time.perf_counter()
            unmeasured = [sensor for sensor in request.sensors if sensor not in pace]
            scenes = search_scenes(archive, request, readable=bool(unmeasured))
            searched = time.perf_counter() - begin
            for sensor in unmeasured:
                if of_sensor := scenes[sensor]:
                    took = read_seconds(archive, request, of_sensor, experiment.threads)
                    factor[sensor] = size_factor(archive, request.box, of_sensor)
                    pace[sensor] = took  # once both are known: the next site measures otherwise
        except ArchiveError:
            raise
        except DeepCropError as error:
            found.append(SiteEstimate(site, len(of_site), note=str(error)))
            continue
        if lacks := [name for name, of_sensor in scenes.items() if not of_sensor]:
            note = "; ".join(f"without {name}: {no_scene(request, name)}" for name in lacks)
        every = [scene for of_sensor in scenes.values() for scene in of_sensor]
        seconds = searched + sum(
            pace[sensor] * len(of_sensor) for sensor, of_sensor in scenes.items() if of_sensor
        )
        found.append(
            SiteEstimate(
                site,
                len(of_site),
                len(scenes.get("optical", [])),
                len(scenes.get("sar", [])),
                sum(
                    archive.size(scene, request.box)
                    * factor[scene.sensor]
                    * (_share_read(scene) if archive.skips_cloud else 1.0)
                    for scene in every
                )
                / 1e9,
                sum(archive.requests(scene) for scene in every),
                seconds / 3600,
                note,
            )
        )
    numbers = ("years", "optical", "radar", "gigabytes", "requests", "hours")
    total: Any = {name: sum(getattr(site, name) for site in found) for name in numbers}
    return [*found, SiteEstimate("all", **total)]


def _share_read(scene: Scene) -> float:
    """Share of the bytes that is expected: where all is cloud only the scene classes are read."""
    return 1 - (scene.cloud_cover or 0.0) / 100


def estimate_table(rows: Sequence[SiteEstimate]) -> str:
    """Write estimates as a table for the terminal."""
    head = ("site", "years", "optical", "radar", "GB", "requests", "hours", "")
    cells = [
        (row.site, str(row.years), str(row.optical), str(row.radar), f"{row.gigabytes:.4f}",
         str(row.requests), f"{row.hours:.2f}", row.note)
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[k]) for line in (head, *cells)) for k in range(7)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(line[k].rjust(widths[k]) for k in range(1, 7)), line[7]]
        ).rstrip()
        for line in (head, *cells)
    )
