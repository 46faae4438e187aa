"""Tell centres from corners of pixels, by the geotransform of a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from affine import Affine


def parse_geotransform(value: Any) -> list[float] | None:
    """Read the six numbers of a geotransform, from text or a list; a third row is dropped.

    Examples
    --------
    >>> parse_geotransform("500000.0 10.0 0.0 5600000.0 0.0 -10.0")
    [500000.0, 10.0, 0.0, 5600000.0, 0.0, -10.0]
    """
    try:
        texts = re.split(r"[\s,|]+", value.strip(" |\n")) if isinstance(value, str) else list(value)
        numbers = [float(text) for text in texts][:6]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 6 and np.isfinite(numbers).all() else None


def place_in_pixel(
    first: tuple[float, float], step: tuple[float, float], stated: Affine
) -> str | None:
    """Find out what coordinates are in the pixels of a geotransform.

    A file that was cropped or flipped often keeps the geotransform of the whole, so only the place
    within a pixel counts. A geotransform that is rotated or has another pixel size is that of
    another raster, and says nothing.

    Parameters
    ----------
    first, step : tuple of float
        First x and y, and their steps.
    stated : Affine
        The geotransform.

    Returns
    -------
    str or None
        ``"centre"``, ``"corner"``, ``"neither"``, or None if the geotransform says nothing.

    Examples
    --------
    >>> from affine import Affine
    >>> pixels = Affine(10, 0, 500000, 0, -10, 5600000)
    >>> place_in_pixel((500005, 5599995), (10, -10), pixels)
    'centre'
    >>> place_in_pixel((500000, 5600000), (10, -10), pixels)
    'corner'
    """
    sizes = zip(step, (stated.a, stated.e), strict=True)
    same = all(theirs and abs(abs(mine / theirs) - 1) < 1e-3 for mine, theirs in sizes)
    if stated.b or stated.d or not same:
        return None
    shares = [
        ((value - origin) / abs(size)) % 1
        for value, origin, size in zip(first, (stated.c, stated.f), step, strict=True)
    ]
    if all(abs(share - 0.5) < 0.1 for share in shares):
        return "centre"
    return "corner" if all(min(share, 1 - share) < 0.1 for share in shares) else "neither"
