"""Settings, cameras and samples of the paper's experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.cube.contract import is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch import camera_sites
from deepcrop.fetch.plan import FetchRequest
from deepcrop.network import CONFIGS
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.phenocam.summary_files import acknowledgement_beside
from deepcrop.stages import DAY_MAX, DAY_MIN
from deepcrop.storage.files import write_csv
from deepcrop.training import samples
from deepcrop.training.materials import PLACES, read_cameras
from deepcrop.training.simulated_cameras import has_labels_of, simulated_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepcrop.cameras.site_years import CameraYear
    from deepcrop.training.samples import Sample, SampleSet

_LOGGER = logging.getLogger(__name__)

METHODS = (
    "default", "optical-only", "radar-only", "cnn-only", "transformer-only", "no-fusion",
    "no-spatial-context", "snapped",
)  # fmt: skip
"""Networks that are trained unless others are named; the published ones take far longer."""

ARCHIVES = ("simulated", "pc", "ee")

_MEASURED = ("optical", "sar")


@dataclass(frozen=True)
class PaperExperiment:
    """Settings of the paper's experiment.

    Attributes
    ----------
    archive : str
        Where the pixels come from, one of `ARCHIVES`.
    data : Path
        Folder with ``phenocam/series``. Where pixels are real, cubes are in ``phenocam``, too, and
        missing series and cubes are fetched into it.
    out : Path
        Folder to write.
    methods : tuple of str
        Configurations of networks.
    seeds : int
        Number of trainings of each.
    repeats : int
        Number of simulations of each site-year.
    folds : int, optional
        Number of groups of clusters that are left out in turn; the number of clusters leaves one
        out at a time. The first of ``methods`` is trained anew for each.
    workers : int
        Processes that simulate.
    start : Path, optional
        Weights to start from that were trained on simulated tiles only
        (`deepcrop.training.run_experiment`). With ``{method}`` in its path each method has its own.

    Raises
    ------
    DeepCropError
        If archive or method is unknown, or a number too small.
    """

    archive: str
    data: Path
    out: Path
    methods: tuple[str, ...] = METHODS
    seeds: int = 5
    repeats: int = 1
    folds: int | None = None
    workers: int = 1
    start: Path | None = None

    def __post_init__(self) -> None:
        if self.archive not in ARCHIVES:
            raise DeepCropError(
                f"Archive {self.archive!r} is unknown; expected one of {', '.join(ARCHIVES)}."
            )
        if unknown := [name for name in self.methods if name not in CONFIGS]:
            raise DeepCropError(
                f"Methods {', '.join(unknown)} are unknown; expected some of {', '.join(CONFIGS)}."
            )
        if not self.methods or min(self.seeds, self.repeats) < 1:
            raise DeepCropError("At least one method, one seed and one repeat are needed.")
        if self.folds is not None and self.folds < 3:
            raise DeepCropError(
                f"{self.folds} folds: at least 3 are needed, one of which decides when to stop."
            )

    def start_of(self, method: str) -> Path | None:
        """Return the weights that a method starts from; None: random weights."""
        return self.start and Path(str(self.start).replace("{method}", method))


def camera_network(experiment: PaperExperiment) -> list[CameraYear]:
    """Read the cameras; where pixels are real and there is no series, fetch the paper's sites."""
    folder = experiment.data / "phenocam"
    if experiment.archive != "simulated" and not (folder / camera_sites.SERIES).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with phenocam.connect(experiment.out / "cache") as network:
            camera_sites.site_names("paper", network, folder)
    return read_cameras(experiment.data)


def load_sample_set(
    experiment: PaperExperiment, years: Sequence[CameraYear], place: str
) -> SampleSet:
    """Read the samples of all site-years; the first time, simulate or cut them.

    Raises
    ------
    DeepCropError
        If the file has samples of other settings, or none could be made.
    """
    path = experiment.out / f"samples_{place}.npz"
    distance = PLACES[place]
    if experiment.archive == "simulated":
        return simulated_samples(
            years, path, experiment.repeats, distance, workers=experiment.workers
        )
    if not path.exists():
        _fetch_cubes(experiment, years)
        samples.save(_cut_samples(experiment, years, place), path)
    saved = samples.load(path)
    expected = {"view_distance": distance, "archive": experiment.archive}
    same_settings = all(saved.provenance.get(key) == value for key, value in expected.items())
    if not same_settings or not has_labels_of(saved, years):
        raise DeepCropError(
            f"{path} was made with other settings, cameras or labels. Delete the folder, or choose "
            "another --out."
        )
    return saved


def _fetch_cubes(experiment: PaperExperiment, years: Sequence[CameraYear]) -> None:
    """Fetch the cubes that are missing around the cameras."""
    folder = experiment.data / "phenocam"
    missing: dict[str, list[int]] = {}
    for year in years:
        if not (folder / f"{year.site}.zarr").exists():
            missing.setdefault(year.site, []).append(year.year)
    if not missing:
        return
    with phenocam.connect(experiment.out / "cache") as network:
        for site, target_years in missing.items():
            # One cube spans all target years of a site, with the days before and after that a
            # season of the first or the last may reach into.
            first = np.datetime64(f"{min(target_years)}-01-01", "D") + DAY_MIN
            last = np.datetime64(f"{max(target_years)}-01-01", "D") + DAY_MAX
            request = partial(
                FetchRequest,
                start=first.item(),
                end=min(last.item(), date.today()),
                archive=experiment.archive,
            )
            for fetched in camera_sites.fetch_sites([site], network, request, folder):
                if fetched.reason:
                    _LOGGER.warning("%s: %s", fetched.site, fetched.reason)


def _cut_samples(experiment: PaperExperiment, years: Sequence[CameraYear], place: str) -> SampleSet:
    """Cut samples out of the cubes next to the cameras' series; list those that were left out."""
    cut: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    radiometry: set[str] = set()
    sources: set[str] = set()
    for year in years:
        cube_path = experiment.data / "phenocam" / f"{year.site}.zarr"
        if not cube_path.exists():
            left_out.append((year.name, f"{cube_path.name} does not exist"))
            continue
        cube = open_cube(cube_path)
        # Simulated pixels must never be scored as real ones, whoever put the cube there.
        if is_simulated(cube):
            left_out.append((year.name, f"{cube_path.name} is simulated; move it away"))
            continue
        # A camera at the edge of its cube, or a year without an image, costs only its own sample.
        try:
            cut.append(samples.sample(cube, year, PLACES[place]))
        except DeepCropError as error:
            left_out.append((year.name, str(error)))
            continue
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
    }
    return samples.collect(cut, provenance)
