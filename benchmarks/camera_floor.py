"""Smallest error that satellites can have against cameras in the simulated network: one table.

    python benchmarks/camera_floor.py DATA

In `deepcrop reproduce --archive simulated` a real camera's curve is turned into the canopy that it
may have seen, with a relation of camera to canopy that is drawn anew each time (gain, how soon
plants hide the soil, a slow drift of colours). Here that canopy is known on every day, without
noise, but not the relation. What is left between its dates and the real camera's is hard to learn
from such pixels for anyone. SIMULATED canopies, real camera labels. DATA holds ``phenocam/series``.
"""

import argparse
from pathlib import Path

import numpy as np

from deepcrop import stages
from deepcrop.cameras.spatial_split import split
from deepcrop.evaluation.scores import summarize_errors
from deepcrop.phenology.slots import curve_dates
from deepcrop.report.tables import Table
from deepcrop.simulation import camera_inversion, canopy
from deepcrop.stages import CALENDAR
from deepcrop.training.materials import camera_years
from deepcrop.training.simulated_cameras import field_of_camera

REPEATS = 2  # as in docs/evaluation.md
NOMINAL = camera_inversion.Relation(0.0, 1.0, 1.0, np.zeros(len(canopy.DAYS)))
COLUMNS = [CALENDAR.index(name) for name in stages.STAGES]
VIEWS = {
    "leaves and their colour, as a nominal camera sees them": lambda state: (
        camera_inversion.observe(state, NOMINAL)
    ),
    "leaf cover alone, which NDVI follows": lambda state: (
        1 - np.exp(-0.6 * state[:, canopy.GREEN_LAI])
    ),
}


def errors(years, repeats):
    """Errors of the dates of each view, main season: (views, samples, stages) days."""
    found = []
    for year in years:
        for repeat in range(repeats):
            field, _, _ = field_of_camera(year, repeat)
            seen = np.stack([view(field.state) for view in VIEWS.values()]).astype(np.float32)
            dates = curve_dates(
                seen, canopy.DAYS, year.year, year.latitude, smoother="savgol", preset="phenocam"
            )
            found.append(dates.day[:, 0, COLUMNS] - year.day[0, COLUMNS])
    return np.stack(found, 1)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parts = split(camera_years(parser.parse_args(arguments).data))
    train, test = (errors(years, REPEATS) for years in (parts.train, parts.test))
    rows = []
    for name, train_error, test_error in zip(VIEWS, train, test, strict=True):
        left = test_error - np.nanmedian(train_error, 0)
        summaries = [summarize_errors(stage) for stage in left.T]
        rows.append((name, *(f"{s.mae:.1f} / {s.median:.1f}" for s in summaries)))
    table = Table(
        f"SIMULATED canopies, real camera labels; {len(parts.test)} site-years at the test sites, "
        f"{REPEATS} times each. Mean / median absolute error, days, less the median "
        "error at the training sites.",
        ("what is known of the canopy", *(name.upper() for name in stages.STAGES)),
        rows,
    )
    print(table.to_markdown())


if __name__ == "__main__":
    main()
