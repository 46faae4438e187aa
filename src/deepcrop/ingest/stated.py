"""Compare what a file states of its numbers with the specification, which decides.

A fill value of the file that the specification does not name would become a measurement.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.ingest.numbers import Conversion

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stated:
    """No-data values, scale and offset that a file states; None if it does not."""

    nodata: tuple[float, ...] = ()
    scale: float | None = None
    offset: float | None = None


NOTHING = Stated()


def stated_by_attributes(attrs: Mapping[str, Any]) -> Stated:
    """Read the attributes of a NetCDF or Zarr variable, which is not decoded.

    Examples
    --------
    >>> stated_by_attributes({"_FillValue": -1, "scale_factor": 0.0001})
    Stated(nodata=(-1.0,), scale=0.0001, offset=None)
    """
    fills = [n for key in ("_FillValue", "missing_value") for n in _numbers(attrs.get(key))]
    scale, offset = (_numbers(attrs.get(key)) for key in ("scale_factor", "add_offset"))
    return Stated(tuple(dict.fromkeys(fills)), *(n[0] if n else None for n in (scale, offset)))


def _numbers(value: Any) -> list[float]:
    try:
        found = np.atleast_1d(np.asarray(value, np.float64)).ravel()
    except (TypeError, ValueError):
        return []
    return [float(n) for n in found if math.isfinite(n)]


def check_nodata(
    stated: Stated, stored: NDArray[Any], conversion: Conversion, path: Path, key: str
) -> None:
    """Reject numbers that the file calls no data and the specification does not.

    Raises
    ------
    SpecError
        With the number and what to write.
    """
    if conversion.kind == "class":
        return
    for number in stated.nodata:
        if conversion.kind == "power" and number <= 0:
            continue  # is no data anyway
        # Compared as text: a fill value is stored with more digits than it is written with.
        if any(f"{number:.5g}" == f"{named:.5g}" for named in conversion.nodata):
            continue
        count = int((stored == number).sum())
        if count:
            listed = ", ".join(f"{n:g}" for n in (*conversion.nodata, number) if math.isfinite(n))
            raise SpecError(
                f"{conversion.section}.nodata: {path} ({key}) holds {number:g} in {count} of "
                f"{stored.size} numbers, and itself says that {number:g} means no data. Write "
                f"nodata: {f'[{listed}]' if ', ' in listed else listed}."
            )


def warn_of_scaling(stated: Stated, scale: float, offsets: set[float], key: str) -> None:
    """Log a warning where a file states another scale or offset than the specification."""
    if stated.scale is None and stated.offset is None:
        return
    own_scale, own_offset = stated.scale or 1.0, stated.offset or 0.0
    same_offset = any(math.isclose(own_offset, o, abs_tol=1e-6) for o in offsets)
    if math.isclose(own_scale, scale, rel_tol=1e-6) and same_offset:
        return
    logger.warning(
        "%s: the files state scale %g and offset %g; the specification, which counts, says scale "
        "%g and offset %s. Numbers in files are read as they are stored.",
        key,
        own_scale,
        own_offset,
        scale,
        " or ".join(f"{o:g}" for o in sorted(offsets)),
    )
