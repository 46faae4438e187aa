"""Read masks of a camera's region of interest, as the PhenoCam network draws them.

A mask is a TIFF or PNG of the size of the images, black inside the region. It is called
``{site}_{VEG}_{number}_{index}.tif``. A camera that was moved has several masks for one region; the
region's list of masks, ``{site}_{VEG}_{number}_roi.csv``, says when each of them is valid.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_NAME = re.compile(
    r"(?P<site>.+)_(?P<veg_type>[A-Z]{2})_(?P<number>\d{4})_(\d+\.(tiff?|png)|roi\.csv)",
    re.IGNORECASE,
)
_COLUMNS = ["start_date", "start_time", "end_date", "end_time", "maskfile"]
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for files that are no image, or are damaged or too large."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask of a region of interest, and when it is valid.

    Attributes
    ----------
    inside : ndarray of bool (rows, cols)
        True inside the region.
    first, last : datetime
        First and last moment, local standard time.
    """

    inside: NDArray[np.bool_]
    first: datetime = datetime.min
    last: datetime = datetime.max


def region_name(path: Path) -> tuple[str, str, int]:
    """Read site, vegetation type and number of a region from the name of its mask or list.

    Raises
    ------
    DeepCropError
        If the file is named otherwise.

    Examples
    --------
    >>> from pathlib import Path
    >>> region_name(Path("mead2_AG_1000_01.tif"))
    ('mead2', 'AG', 1000)
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise DeepCropError(
            f"{path} is not named as a mask; expected SITE_VEG_NUMBER_INDEX.tif (or .png), as in "
            "mead2_AG_1000_01.tif, or a list of masks, as mead2_AG_1000_roi.csv. Rename it."
        )
    return name["site"], name["veg_type"].upper(), int(name["number"])


def read_masks(path: Path) -> tuple[Mask, ...]:
    """Read one mask, or all masks of a region's list, which lie in the folder of the list.

    Raises
    ------
    DeepCropError
        If a file cannot be read, or the times of two masks overlap.
    """
    if path.suffix.lower() != ".csv":
        return (Mask(read_mask(path)),)
    try:
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeepCropError(f"{path} cannot be read as a list of masks: {error}.") from None
    if not rows or not {*_COLUMNS} <= rows[0].keys():
        raise DeepCropError(
            f"{path} is no list of masks; expected the columns {', '.join(_COLUMNS)} and a row for "
            "each mask."
        )
    masks = sorted((_dated(path, row) for row in rows), key=lambda mask: mask.first)
    for one, other in pairwise(masks):
        if other.first < one.last:
            raise DeepCropError(
                f"{path}: the times of two masks overlap ({other.first} is before {one.last}); "
                "expected each mask to end before the next begins."
            )
    return tuple(masks)


def _dated(path: Path, row: dict[str, str]) -> Mask:
    """Read the mask of a row of a list."""
    try:
        first, last = (
            datetime.fromisoformat(f"{row[f'{end}_date']} {row[f'{end}_time']}")
            for end in ("start", "end")
        )
        name = row["maskfile"].strip()
    except (ValueError, TypeError, AttributeError) as error:
        raise DeepCropError(
            f"{path}: a row cannot be read ({error}); expected dates such as 2019-05-01 and times "
            "such as 00:00:00."
        ) from None
    if name != name.replace("\\", "/").rpartition("/")[2] or not name:
        raise DeepCropError(f"{path}: maskfile is {name!r}; expected a file beside the list.")
    return Mask(read_mask(path.parent / name), first, last)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask of a region of interest; True (rows, cols) inside, where it is black.

    Raises
    ------
    DeepCropError
        If the file is not an image, or nothing in it is black.
    """
    try:
        with Image.open(path) as image:
            inside: NDArray[np.bool_] = np.asarray(image.convert("L")) == 0
    except UNREADABLE as error:
        why = "it is no image" if isinstance(error, UnidentifiedImageError) else error
        raise DeepCropError(
            f"{path}: {why}; expected a TIFF or PNG mask, black inside the region."
        ) from None
    if not inside.any():
        raise DeepCropError(f"{path}: nothing is black; the region of interest must be.")
    return inside


def mask_at(masks: Sequence[Mask], time: datetime) -> Mask | None:
    """Select the mask that is valid at a time; None if none is."""
    return next((mask for mask in masks if mask.first <= time <= mask.last), None)
