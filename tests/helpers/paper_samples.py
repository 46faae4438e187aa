"""Cameras and samples of the paper's experiment, made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.helpers.cubes import make_cube
from tests.helpers.site_years import accepted, labels, season

from deepcrop.cameras.site_years import CameraYear, site_years
from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.simulation import REVISION
from deepcrop.training import samples
from deepcrop.training.samples import VIEW_DISTANCE, SampleSet
from deepcrop.training.simulated_cameras import STATEMENT

PLACES = {"one": "one", "two": "one", "three": "three", "four": "four", "near": "mead2"}
"""Sites that are no test sites, and the clusters that they are of."""

PROVENANCE = {
    "simulator": REVISION,
    "pixels": "simulated",
    "labels": "PhenoCam network",
    "statement": STATEMENT,
    "seed": 1,
    "repeats": 2,
    "view_distance": VIEW_DISTANCE,
}


def camera_years(folder: Path) -> list[CameraYear]:
    """A site-year of each test site, of a neighbour of one, and of three training clusters."""
    clusters = {site: site for site in TEST_SITES} | PLACES
    made = site_years(
        labels(folder, site, accepted(2018, season(1, 120 + k), season(2, 10 + k)))
        for k, site in enumerate(sorted(clusters))
    )
    curve = {"curve_days": np.arange(365.0), "curve": np.full(365, 0.35, np.float32)}
    return [
        replace(year, cluster=clusters[year.site], labels=replace(year.labels, **curve))
        for year in made
    ]


def make_samples(years: list[CameraYear]) -> SampleSet:
    """Two samples of each site-year, whose NDVI has a season of its own."""
    cube = make_cube(rows=20, cols=20, optical_scenes=60, sar_scenes=12)
    optical = cube["optical"].to_dataset()
    days = np.arange(-150, 450, 10)
    optical["time"] = np.datetime64("2018-01-01T10", "ns") + days * np.timedelta64(1, "D")
    patches = []
    for k in range(len(years)):
        value = np.interp(days, [110 + k, 140 + k, 190, 220], [0.2, 0.8, 0.8, 0.2])
        optical["nir"][:] = 0.5
        optical["red"][:] = (0.5 * (1 - value) / (1 + value))[:, None, None]
        cube["optical"] = optical
        patches.append(samples.cut(cube, 9, 9, 2018))
    return samples.collect(
        (
            samples.Sample(
                name=f"{year.name}_{number}",
                site=year.site,
                cluster=year.cluster,
                crop=year.crop,
                year=year.year,
                latitude=year.latitude,
                longitude=year.longitude,
                moved=0.0,
                simulated=True,
                patch=patch,
                day=year.day,
                low=year.low,
                high=year.high,
                none=year.none,
            )
            for year, patch in zip(years, patches, strict=True)
            for number in (0, 1)
        ),
        PROVENANCE,
    )
