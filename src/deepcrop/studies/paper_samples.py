"""What the experiment runs on: its settings, the camera network, and samples of every site-year."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepcrop.cameras.site_years import CameraYear
from deepcrop.cube.contract import is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch import camera_sites
from deepcrop.fetch.plan import Request
from deepcrop.network import CONFIGS
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.phenocam.summary_files import acknowledgement_beside
from deepcrop.stages import DAY_MAX, DAY_MIN
from deepcrop.storage.files import atomic_file
from deepcrop.training import samples
from deepcrop.training import simulated_cameras as simulated
from deepcrop.training.materials import PLACES, read_cameras, up_to_date
from deepcrop.training.samples import Sample, SampleSet

METHODS = (
    "default", "optical-only", "radar-only", "cnn-only", "transformer-only", "no-fusion",
    "no-spatial-context", "snapped",
)  # fmt: skip
"""What is trained unless other configurations are named; the published ones take far longer."""

ARCHIVES = ("simulated", "pc", "ee")

_MEASURED = ("optical", "sar")


@dataclass(frozen=True)
class Study:
    """What is to be reproduced.

    Attributes
    ----------
    archive : str
        One of `ARCHIVES`: where the pixels come from.
    data : Path
        Folder with ``phenocam/series``; where pixels are real, cubes lie beside it, and what is
        missing of both is fetched into it.
    out : Path
        Folder to write.
    methods : tuple of str
        Configurations of networks.
    seeds : int
        Trainings of each.
    realisations : int
        Simulations of each site-year.
    folds : int, optional
        Leave groups of clusters out in turn, so many; as many as there are clusters leaves one out
        at a time. The first of ``methods`` is trained anew for each.
    workers : int
        Processes that simulate.
    start : Path, optional
        Weights to start from that have seen simulated tiles only (`deepcrop.training.run_experiment`). With
        ``{method}`` in its path each method has its own.
    """

    archive: str
    data: Path
    out: Path
    methods: tuple[str, ...] = METHODS
    seeds: int = 5
    realisations: int = 1
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
        if not self.methods or min(self.seeds, self.realisations) < 1:
            raise DeepCropError("At least one method, one seed and one realisation are needed.")
        if self.folds is not None and self.folds < 3:
            raise DeepCropError(f"{self.folds} folds: at least 3 are needed, of which one decides.")

    def start_of(self, method: str) -> Path | None:
        """Return what a method starts from; None: random weights."""
        return self.start and Path(str(self.start).replace("{method}", method))


def camera_network(study: Study) -> list[CameraYear]:
    """Read the cameras; where pixels are real and there is no series, fetch the paper's sites'."""
    folder = study.data / "phenocam"
    if study.archive != "simulated" and not (folder / camera_sites.SERIES).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with phenocam.connect(study.out / "cache") as network:
            camera_sites.site_names("paper", network, folder)
    return read_cameras(study.data)


def sample_set(study: Study, years: Sequence[CameraYear], place: str) -> SampleSet:
    """Make, once, or read the samples of all site-years.

    Raises
    ------
    DeepCropError
        If the file has other samples than the study wants, or none could be made.
    """
    path = study.out / f"samples_{place}.npz"
    distance = PLACES[place]
    if not path.exists() and study.archive == "simulated":
        runs = range(study.realisations)
        simulated.make_samples(years, runs, path, distance, workers=study.workers)
    elif not path.exists():
        _fetch(study, years)
        samples.save(_cut_samples(study, years, place), path)
    made = samples.load(path)
    wanted: dict[str, Any] = {"view_distance": distance}
    if study.archive == "simulated":
        wanted |= {"realisations": list(range(study.realisations)), "pixels": "simulated"}
    else:
        wanted["archive"] = study.archive
    fits = all(made.provenance.get(key) == value for key, value in wanted.items())
    if not fits or not up_to_date(made, years):
        raise DeepCropError(
            f"{path} was made with other settings, cameras or labels, or by another version of the "
            "simulator. Delete the folder, or choose another --out."
        )
    return made


def _fetch(study: Study, years: Sequence[CameraYear]) -> None:
    """Fetch the cubes that are missing around the cameras."""
    folder = study.data / "phenocam"
    wanted: dict[str, list[int]] = {}
    for year in years:
        if not (folder / f"{year.site}.zarr").exists():
            wanted.setdefault(year.site, []).append(year.year)
    if not wanted:
        return
    with phenocam.connect(study.out / "cache") as network:
        for site, of in wanted.items():
            first, last = (np.datetime64(f"{y}-01-01", "D") for y in (min(of), max(of)))
            request = partial(
                Request,
                start=(first + DAY_MIN).item(),
                end=min((last + DAY_MAX).item(), date.today()),
                archive=study.archive,
            )
            for one in camera_sites.fetch_sites([site], network, request, folder):
                if one.why:
                    print(f"{one.site}: {one.why}", file=sys.stderr)


def _cut_samples(study: Study, years: Sequence[CameraYear], place: str) -> SampleSet:
    """Cut real samples out of the cubes beside the cameras' series; say what was left out."""
    made: list[Sample] = []
    left: list[tuple[str, str]] = []
    radiometry: set[str] = set()
    sources: set[str] = set()
    for year in years:
        cube_path = study.data / "phenocam" / f"{year.site}.zarr"
        if not cube_path.exists():
            left.append((year.name, f"{cube_path.name} does not exist"))
            continue
        cube = open_cube(cube_path)
        if is_simulated(cube):
            left.append((year.name, f"{cube_path.name} is simulated; move it away"))
            continue
        try:
            made.append(samples.sample(cube, year, PLACES[place]))
        except DeepCropError as error:
            left.append((year.name, str(error)))
            continue
        sources |= {str(cube[name].attrs["source"]) for name in _MEASURED if name in cube.children}
        if "sar" in cube.children:
            radiometry.add(str(cube["sar"].attrs["radiometry"]))
    with (
        atomic_file(study.out / f"left_out_{place}.csv") as part,
        part.open("w", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([("site_year", "why"), *left])
    provenance = {
        "pixels": "real",
        # What the cubes say of themselves: they may have been there before, from elsewhere.
        "sources": sorted(sources),
        "labels": "PhenoCam network",
        "acknowledgement": acknowledgement_beside(year.labels.camera for year in years),
        "archive": study.archive,
        "radiometry": sorted(radiometry),
        "view_distance": PLACES[place],
    }
    return samples.collect(made, provenance)
