"""Cameras of the paper's experiment on real images: series, viewing directions, crop types.

What the PhenoCam service gives is kept beside the series, in `CAMERAS`: which sites were chosen,
where each camera stands and looks, and why a region of interest could not be used. The list is
written when all of its series are there, so that a download which was interrupted is finished by
the next run, and a finished one is used without a request.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.labels import label_series
from deepcrop.cameras.site_years import CameraYear, bearing, read_directions, site_years
from deepcrop.errors import DeepCropError
from deepcrop.fetch.camera_sites import (
    SERIES,
    choose_paper_sites,
    complete_series,
    listed_names,
)
from deepcrop.grid import areas
from deepcrop.sources import cropland
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.phenocam.summary_files import ACKNOWLEDGEMENT_FILE, read_series
from deepcrop.storage.files import atomic_file, write_csv
from deepcrop.training.samples import VIEW_DISTANCE, place_along_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOGGER = logging.getLogger(__name__)

CAMERAS = "cameras.json"
"""File, beside the folder of series, with what the PhenoCam service says of the cameras."""

CDL_FILE = "cdl.json"
"""File, beside the folder of series, with the crop type of each site-year by the CDL."""

LAST_CDL_OF_PC = 2021
"""Last year of Planetary Computer's collection usda-cdl; later ones come from CropScape."""

_FAILURES = 3  # of the crop service in a row, after which it is not asked any more


# Series and directions --------------------------------------------------------------------------


def fetch_cameras(sites: str, folder: Path, cache: Path) -> dict[str, Any]:
    """Download what is missing of the cameras' series, and where the cameras look.

    Parameters
    ----------
    sites : str
        ``paper``, names with commas, or a file of names.
    folder : Path
        Folder of the cameras, with or without series.
    cache : Path
        Folder for answers of the service.

    Returns
    -------
    dict
        ``sites`` (names), ``orientation`` (the service's text by site), ``left_out`` (reason by
        region of interest, or by site without any).

    Raises
    ------
    ArchiveError
        If the service does not answer; what was downloaded stays for the next run.
    DeepCropError
        If no site can be used.
    """
    known = _read_json(folder / CAMERAS)
    wanted = known.get(_key(sites))
    if wanted is not None and all((folder / SERIES / name).is_file() for name in wanted["series"]):
        return dict(wanted)
    (folder / SERIES).mkdir(parents=True, exist_ok=True)
    with phenocam.connect(cache) as network:
        found = _download(sites, network, folder)
    _write_json(folder / CAMERAS, known | {_key(sites): found})
    return found


def _key(sites: str) -> str:
    """Name a choice of sites: ``paper``, or the names."""
    return sites if sites == "paper" else ",".join(listed_names(sites))


def _download(sites: str, network: phenocam.PhenoCam, folder: Path) -> dict[str, Any]:
    if sites == "paper":
        chosen, files, left_out = choose_paper_sites(network, folder / SERIES)
    else:
        names = listed_names(sites)
        regions = [region for region in network.roi_lists(veg_type="AG") if region.site in names]
        files, left_out = complete_series(network, regions, folder / SERIES)
        for name in set(names) - {region.site for region in regions}:
            left_out[name] = "the PhenoCam network has no agricultural region of interest (AG) here"
        chosen = list({region.site for region in files})
    if not chosen:
        raise DeepCropError(
            f"No camera of the sites {sites} can be used: "
            + ("; ".join(f"{k}: {v}" for k, v in left_out.items()) or "none fits the paper's rule")
            + "."
        )
    cameras = [camera for camera in network.cameras() if camera.site in chosen]
    phenocam.write_acknowledgement(folder / ACKNOWLEDGEMENT_FILE, cameras)
    return {
        "sites": sorted(chosen),
        "series": sorted(path.name for region, path in files.items() if region.site in chosen),
        "orientation": {camera.site: camera.orientation for camera in cameras},
        "left_out": left_out,
    }  # fmt: skip


def read_site_years(found: dict[str, Any], folder: Path) -> list[CameraYear]:
    """Label the series of the chosen sites; each camera looks where the service says.

    A table ``sites.csv`` in the folder, made by hand, comes before the service's direction, and
    ``crop_type_by_site_year.csv`` gives the crops that the cameras saw.
    """
    crops = folder / "crop_type_by_site_year.csv"
    crop_by_year = read_crops(crops) if crops.exists() else {}
    labels = [
        label_series(read_series(folder / SERIES / name), crops=crop_by_year)
        for name in found["series"]
    ]
    by_hand = folder / "sites.csv"
    directions = {
        series.camera.name: direction_of(found["orientation"].get(series.camera.site, ""))
        for series in labels
    } | (read_directions(by_hand) if by_hand.exists() else {})
    return site_years(labels, directions)


def direction_of(orientation: str) -> float:
    """Degrees clockwise from north of a service's ``camera_orientation``; NaN if it is none."""
    try:
        return bearing(orientation)
    except DeepCropError:  # free text such as "down"
        return math.nan


def without_direction(found: dict[str, Any], years: Sequence[CameraYear]) -> dict[str, str]:
    """Say why the direction of a camera is unknown, by site, for each that has none."""
    return {
        year.site: f"the service says {text!r}"
        if (text := found["orientation"].get(year.site, ""))
        else "the service does not say"
        for year in years
        if not math.isfinite(year.direction)
    }


# Crop types -------------------------------------------------------------------------------------


def add_cdl(years: Sequence[CameraYear], archive: str, folder: Path, out: Path) -> list[CameraYear]:
    """Read the CDL's crop type of every site-year; it names the crop where the camera's is unknown.

    The crop is the most frequent class of the 18 × 18 pixels around the place that the camera looks
    at. Answers are kept in `CDL_FILE`; a site-year for which the service failed is asked for again
    by the next run.

    Parameters
    ----------
    years : sequence of CameraYear
    archive : str
        ``pc`` reads Planetary Computer's collection up to `LAST_CDL_OF_PC`; all else comes from
        CropScape.
    folder : Path
        Folder of the cameras.
    out : Path
        Folder of the experiment, for the table ``crops.csv``.
    """
    known = _read_json(folder / CDL_FILE)
    failed: dict[str, str] = {}
    in_a_row = 0
    with HttpClient(interval=1.0, timeout=300.0, tries=3) as client:
        for year in years:
            if _cdl_key(year) in known:
                continue
            if in_a_row >= _FAILURES:
                failed[year.name] = "not asked for: the service failed before"
                continue
            try:
                known[_cdl_key(year)] = _cdl_of(year, archive, client)
                in_a_row = 0
            except (ArchiveError, SceneError) as error:
                failed[year.name] = str(error)
                in_a_row += 1
                continue
            _write_json(folder / CDL_FILE, known)
    if failed:
        _LOGGER.warning(
            "CDL: no answer for %d of %d site-years; crops.csv names them, and the same command "
            "asks again.", len(failed), len(years),
        )  # fmt: skip
    named, rows = [], []
    for year in years:
        cdl = known.get(_cdl_key(year), {"why": failed.get(year.name, "")})
        crop = year.crop or cdl.get("crop", "")
        named.append(replace(year, crop=crop))
        source = "camera" if year.crop else "CDL" if crop else ""
        rows.append(
            (year.name, crop, source, year.crop, cdl.get("crop", ""), cdl.get("share", ""),
             cdl.get("access", ""), cdl.get("why", ""))
        )  # fmt: skip
    head = ("site_year", "crop", "source", "camera", "cdl", "cdl_share", "cdl_access", "why")
    write_csv(out / "crops.csv", head, rows)
    return named


def _cdl_key(year: CameraYear) -> str:
    """Place and year: what determines the answer."""
    latitude, longitude = _looked_at(year)
    return f"{year.name} {latitude:.5f} {longitude:.5f}"


def _looked_at(year: CameraYear) -> tuple[float, float]:
    return place_along_view(year.latitude, year.longitude, year.direction, VIEW_DISTANCE)


def _cdl_of(year: CameraYear, archive: str, client: HttpClient) -> dict[str, Any]:
    box = areas.around(*_looked_at(year), 18, 18)
    source = "pc" if archive == "pc" and year.year <= LAST_CDL_OF_PC else "cropscape"
    try:
        land = cropland.read_cdl(box, year.year, source, client=client)
    except (ArchiveError, SceneError):
        raise
    except DeepCropError as error:  # outside of the United States, or before 2008
        return {"why": str(error)}
    codes = land["crop_type"].values
    numbers, counts = np.unique(codes[codes > 0], return_counts=True)
    code = int(numbers[counts.argmax()])
    return {
        "crop": crop_name(cropland.cdl_classes()[code].name),
        "code": code,
        "share": round(float(counts.max() / codes.size), 3),
        "access": land.attrs["access"],
    }


def crop_name(cdl: str) -> str:
    """Spell a class of the CDL as the cameras' crop table does: ``corn``, ``soybean``."""
    name = cdl.lower()
    return {"soybeans": "soybean"}.get(name, name)


# JSON -------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeepCropError(f"{path} is damaged ({error}); delete it, it is made anew.") from None
    return dict(content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
