"""Read Sentinel-2 means of Korean parcels as examples, two target years of each.

The provenance of the series is not proven, so they train and never test. No radar belongs to them.
"""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

import numpy as np

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.training.curve_labels import as_patch, unlabelled, with_curve_labels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.training.examples import Example

SOURCE = (
    "Sentinel-2 L2A means of 462 parcels in South Korea, 2021-2023, from github "
    "massijjeong/Parcel-Level-SITS-Crop-Classification; MIT; contains modified Copernicus Sentinel "
    "data 2021-2023"
)

LATITUDE = 36.0
"""Degrees; the files have no coordinates, and this is the middle of the country."""

YEARS = (2021, 2022)
"""Target years. Where a file does not cover a year, its curve has no trusted dates there."""

_BANDS = ("b02", "b03", "b04", "b08")
_OFFSET = 1000  # of all dates, also of those before processing baseline 04.00
_HAZE = 2500  # digital number of blue above which a mean is cloud or haze
_GREENHOUSE = "시설"


def read(data: Path, year: int) -> list[Example]:
    """Read the parcels outside greenhouses, without labels, for a target year.

    Parameters
    ----------
    data : Path
        Folder of real data, with ``korea_parcels_s2/parcels_*.csv.gz``.
    year : int
        Target year; days count from its 1 January.

    Returns
    -------
    list of Example
        Patches of equal pixels, since a parcel is known by its mean alone; without radar. Scenes in
        which the parcel was not seen are left out.

    Raises
    ------
    DeepCropError
        If there is no file.
    """
    folder = data / "korea_parcels_s2"
    files = sorted(folder.glob("parcels_*.csv.gz"))
    if not files:
        raise DeepCropError(
            f"{folder} holds no parcels_*.csv.gz. Give the folder of the real excerpts."
        )
    return [example for file in files for example in _parcels(file, year)]


def labelled(data: Path) -> list[Example]:
    """Read the parcels in all `YEARS`, with curve labels; those without any label are left out."""
    examples = [
        example for year in YEARS for example in with_curve_labels(read(data, year), year, LATITUDE)
    ]
    return [example for example in examples if example.none.any() or np.isfinite(example.day).any()]


def _parcels(file: Path, year: int) -> list[Example]:
    with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as text:
        header, *rows = csv.reader(text)
    dates = [name[4:] for name in header if name.startswith("b02_")]
    columns = [[header.index(f"{band}_{date}") for date in dates] for band in _BANDS]
    times = np.array([f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in dates], "datetime64[D]")
    days = stages.to_days(times, year)
    examples = []
    for row in rows:
        if _GREENHOUSE in (row[header.index("INTPR_NM")], row[header.index("CR_NM")]):
            continue
        number = np.array([[float(row[k] or 0) for k in band] for band in columns], np.float32).T
        seen = _seen(number)
        reflectance = (number[seen] - _OFFSET) * np.float32(1e-4)
        examples.append(unlabelled(as_patch(reflectance), days[seen]))
    return examples


def _seen(number: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which dates have a plausible mean: data in all bands, no haze, plausible red and infrared."""
    red, nir = number[:, 2] - _OFFSET, number[:, 3] - _OFFSET
    return np.asarray((number > 0).all(1) & (number[:, 0] <= _HAZE) & (red > -100) & (nir > 0))
