"""Fetch PhenoCam sites: one cube around each camera, and the camera's series beside it."""

from __future__ import annotations

import csv
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepcrop.cameras.paper_sites import paper_sites
from deepcrop.errors import DeepCropError
from deepcrop.fetch.run import Fetched, fetch, is_fetched
from deepcrop.grid import RESOLUTION, areas, cell_of
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import NotFound
from deepcrop.sources.phenocam.service import (
    Camera,
    PhenoCam,
    RoiList,
    paper_candidates,
    write_acknowledgement,
)
from deepcrop.sources.phenocam.summary_files import ACKNOWLEDGEMENT_FILE, read_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from odc.geo.geobox import GeoBox

    from deepcrop.fetch.plan import FetchRequest

_log = logging.getLogger(__name__)

SERIES = "series"
"""Name of the folder, beside the cubes, with the cameras' summary files."""


@dataclass(frozen=True)
class SiteFetched:
    """What was fetched for one site.

    Attributes
    ----------
    site : str
    cube : Fetched or None
        None if the cube existed already, or failed.
    series : tuple of Path
        Summary files of the camera.
    reason : str
        Why something failed; empty if the site is complete.
    """

    site: str
    cube: Fetched | None = None
    series: tuple[Path, ...] = ()
    reason: str = ""


def site_names(text: str, phenocam: PhenoCam, folder: Path) -> list[str]:
    """Resolve the ``--sites`` option to site names.

    Parameters
    ----------
    text : str
        Names separated by commas; the path of a file with one name per line, or of a CSV with a
        column ``site``; or ``paper``: the paper's sites, chosen by the rule of
        `deepcrop.cameras.paper_sites`.
    phenocam : PhenoCam
        The network; only ``paper`` needs it.
    folder : Path
        Folder for the series that ``paper`` has to examine.

    Raises
    ------
    DeepCropError
        If there is no name.
    ArchiveError
        If the network does not answer.
    """
    if text == "paper":
        names, _, left_out = choose_paper_sites(phenocam, folder / SERIES)
        for name, why in left_out.items():
            warnings.warn(f"{name} is left out: {why}", stacklevel=2)
        if not names:
            raise DeepCropError("The network has no site that the paper's rule would take.")
        return names
    return listed_names(text)


def choose_paper_sites(
    phenocam: PhenoCam, folder: Path
) -> tuple[list[str], dict[RoiList, Path], dict[str, str]]:
    """Download the series of the regions that could be the paper's, and choose its sites.

    Returns
    -------
    names : list of str
        Sites that the rule of `deepcrop.cameras.paper_sites` takes.
    files : dict of RoiList to Path
        Series by region of interest, those of other sites too.
    left_out : dict of str to str
        The reason why there is no series, for each region.
    """
    regions = paper_candidates(phenocam.roi_lists(veg_type="AG"))
    files, left_out = complete_series(phenocam, regions, folder)
    return [one.site for one in paper_sites(files.values()) if one.taken], files, left_out


def complete_series(
    phenocam: PhenoCam, regions: Iterable[RoiList], folder: Path
) -> tuple[dict[RoiList, Path], dict[str, str]]:
    """Download the series that are missing or cannot be read.

    Returns
    -------
    files : dict of RoiList to Path
    left_out : dict of str to str
        The reason why there is no series, for each region.
    """
    files: dict[RoiList, Path] = {}
    left_out: dict[str, str] = {}
    for region in regions:
        path = folder / f"{region.name}_3day.csv"
        try:
            files[region] = path if _is_readable(path) else phenocam.download_series(region, folder)
        except (NotFound, SceneError) as error:
            left_out[region.name] = str(error)
    return files, left_out


def _is_readable(path: Path) -> bool:
    """Whether a series is there and whole; one that was cut short is named, and fetched again."""
    if not path.is_file():
        return False
    try:
        read_series(path)
    except DeepCropError:
        _log.warning("%s cannot be read and is downloaded again.", path.name)
        return False
    return True


def listed_names(text: str) -> list[str]:
    """Resolve names with commas, or a file of names, to site names.

    Raises
    ------
    DeepCropError
        If there is no name, or the file cannot be read.
    """
    path = Path(text)
    names = _read_site_list(path) if path.is_file() else [name.strip() for name in text.split(",")]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise DeepCropError(
            f"No site in {text!r}; expected names with commas, a file with one name per line or a "
            "column 'site', or 'paper'."
        )
    return names


def fetch_sites(
    names: Iterable[str],
    phenocam: PhenoCam,
    request: Callable[[GeoBox], FetchRequest],
    out: Path,
    *,
    overwrite: bool = False,
    threads: int = 4,
    resolution: float = RESOLUTION,
) -> list[SiteFetched]:
    """Fetch, for each site, a cube around the camera, its series, and the acknowledgement text.

    Started again, it continues where it stopped: sites whose cube exists are skipped.

    Parameters
    ----------
    names : iterable of str
        Sites.
    phenocam : PhenoCam
        The network.
    request : callable
        Makes the request for the cube from the grid around a camera.
    out : Path
        Folder for ``<site>.zarr``, their manifests, the folder `SERIES` and `ACKNOWLEDGEMENT_FILE`.
    overwrite : bool
        Fetch existing cubes again.
    threads : int
        Scenes read at once.
    resolution : float
        Pixel size of the cubes, metres.

    Returns
    -------
    list of SiteFetched
        One per name. A site that fails has its reason; the other sites continue.

    Raises
    ------
    ArchiveError
        If an archive does not serve any more; what was fetched stays for the next run.
    """
    if out.is_file():
        raise DeepCropError(f"{out} is a file; cubes of camera sites go into a folder.")
    out.mkdir(parents=True, exist_ok=True)
    cameras: list[Camera] = []
    done = []
    for name in names:
        series: tuple[Path, ...] = ()
        try:
            camera = phenocam.camera(name)
            box = grid_around(camera, resolution)
            series = _download_series(phenocam, name, out / SERIES)
            cameras.append(camera)
            write_acknowledgement(out / ACKNOWLEDGEMENT_FILE, cameras)
            target = out / f"{name}.zarr"
            cube = None
            wanted = request(box)
            if overwrite or not is_fetched(target, wanted):
                title = f"around PhenoCam {name}"
                cube = fetch(wanted, target, title=title, overwrite=overwrite, threads=threads)
        except NotFound as error:
            done.append(SiteFetched(name, reason=str(error)))
        except ArchiveError:
            raise
        except DeepCropError as error:
            done.append(SiteFetched(name, series=series, reason=str(error)))
        else:
            done.append(SiteFetched(name, cube, series))
    return done


def fetch_cameras(box: GeoBox, phenocam: PhenoCam, out: Path) -> tuple[list[Camera], list[str]]:
    """Fetch the series of all agricultural cameras inside a grid.

    Parameters
    ----------
    box : GeoBox
        The grid.
    phenocam : PhenoCam
        The network.
    out : Path
        Folder for the series and `ACKNOWLEDGEMENT_FILE`; made only if there is a camera.

    Returns
    -------
    cameras : list of Camera
    missing : list of str
        Cameras without a usable series, and the reasons.

    Raises
    ------
    ArchiveError
        If the network does not answer.
    """
    agricultural = {region.site for region in phenocam.roi_lists(veg_type="AG")}
    found, missing = [], []
    for camera in phenocam.cameras():
        if camera.site in agricultural and _inside(box, camera):
            try:
                _download_series(phenocam, camera.site, out)
            except (NotFound, SceneError) as error:
                missing.append(f"{camera.site}: {error}")
            else:
                found.append(camera)
    if found:
        write_acknowledgement(out / ACKNOWLEDGEMENT_FILE, found)
    return found, missing


def grid_around(camera: Camera, resolution: float = RESOLUTION) -> GeoBox:
    """Make the grid around a camera, `areas.SITE_CELLS` pixels on a side."""
    if not math.isfinite(camera.latitude + camera.longitude):
        raise DeepCropError(
            f"PhenoCam does not give the position of the camera of '{camera.site}'."
        )
    cells = areas.SITE_CELLS
    return areas.around(camera.latitude, camera.longitude, cells, cells, resolution)


def _inside(box: GeoBox, camera: Camera) -> bool:
    try:
        cell_of(box, camera.longitude, camera.latitude)
    except DeepCropError:
        return False
    return True


def _download_series(phenocam: PhenoCam, site: str, folder: Path) -> tuple[Path, ...]:
    """Download the summary files of a site's agricultural regions of interest."""
    regions = phenocam.roi_lists(site, "AG")
    if not regions:
        raise NotFound(f"PhenoCam site '{site}' has no agricultural region of interest (AG).")
    return tuple(phenocam.download_series(region, folder) for region in regions)


def _read_site_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeepCropError(f"{path} cannot be read as a list of sites: {error}.") from None
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    table = list(csv.DictReader(lines))
    if table and "site" in table[0]:
        return [row["site"].strip() for row in table]
    if any("," in line for line in lines):
        raise DeepCropError(
            f"{path} is a table without a column 'site'; rename the column with the names."
        )
    return lines
