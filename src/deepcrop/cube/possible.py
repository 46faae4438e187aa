"""What reflectance and backscatter can be: the one table of possible values, and what to do beyond.

Values that nothing on earth has are fill values that nobody declared, or numbers in another unit.
Clipped or kept, they would pass for measurements. The rule, wherever values enter a cube or leave
one to be mapped:

- a few of them (at most `MAX_SHARE`, or `MAX_COUNT`: saturated pixels, division by nearly
  nothing) become no data, and a log message counts them;
- more are an error that names the variable, their share, an example and the likely cause.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import CubeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Reflectance: atmospheric correction leaves small negative values over dark surfaces (Sentinel-2
# down to -0.1, Landsat to -0.2); clouds, snow and specular reflection reach 2.3 in real scenes.
_REFLECTANCE = -0.25, 3.0
# sigma0, dB: noise subtraction leaves -50 dB and less over water; corner reflectors reach 30 dB.
_BACKSCATTER = -90.0, 40.0

POSSIBLE: dict[str, tuple[float, float]] = {
    "blue": _REFLECTANCE,
    "green": _REFLECTANCE,
    "red": _REFLECTANCE,
    "nir": _REFLECTANCE,
    "rededge3": _REFLECTANCE,
    "vv": _BACKSCATTER,
    "vh": _BACKSCATTER,
}
"""Lowest and highest possible value of each variable, in the unit of the cube."""

MAX_SHARE = 0.001
"""Largest share of the values of a variable that may be impossible and become no data."""
MAX_COUNT = 2
"""Number of impossible values that always become no data, however few values there are."""


def is_impossible(variable: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the finite values that nothing on earth has."""
    low, high = POSSIBLE[variable]
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = ((values < low) | (values > high)) & np.isfinite(values)
    return found


def too_many(impossible: int, valid: int) -> bool:
    """Whether the share of impossible values puts all of them in doubt."""
    return impossible > max(MAX_COUNT, MAX_SHARE * valid)


def drop_impossible(
    variable: str,
    values: NDArray[Any],
    name: str,
    error: Callable[[str], Exception] = CubeError,
) -> NDArray[Any]:
    """Return the values with few impossible ones as NaN.

    Parameters
    ----------
    variable : str
        A key of `POSSIBLE`.
    values : array
        In the unit of the cube, NaN where there is no data. It is not changed.
    name : str
        What the values are, for messages, for example ``"region.zarr: optical/red"``.
    error : callable
        Makes the exception of a message.

    Raises
    ------
    CubeError
        If more values are impossible than `MAX_SHARE` allows; or what ``error`` makes.

    Examples
    --------
    >>> import numpy as np
    >>> drop_impossible("red", np.array([0.1, 6.5535, np.nan]), "red of my scene").tolist()
    [0.1, nan, nan]
    """
    wrong = is_impossible(variable, values)
    if not wrong.any():
        return values
    valid = int(np.isfinite(values).sum())
    if too_many(int(wrong.sum()), valid):
        raise error(describe(variable, values, name))
    found = values[wrong]
    logger.warning(
        "%s: %d of %d values are impossible, for example %.6g; they became no data.",
        name,
        found.size,
        valid,
        found[0],
    )
    return np.where(wrong, np.asarray(np.nan, values.dtype), values)


def describe(variable: str, values: NDArray[Any], name: str) -> str:
    """Describe the impossible values of a variable, and their likely cause."""
    low, high = POSSIBLE[variable]
    values = values[np.isfinite(values)]
    found = values[is_impossible(variable, values)]
    share = found.size / values.size
    common = commonest(found)
    return (
        f"{name}: {percent(share)} of the values are impossible, for example "
        f"{common:.6g} (possible: {low:g} to {high:g}). {likely_cause(variable, values)}"
    )


def percent(share: float) -> str:
    """Write a share in percent; a small one does not become 0."""
    return f"{100 * share:.3g} %"


def commonest(values: NDArray[Any]) -> float:
    """Return the most frequent value; the least of those that are equally frequent."""
    found, counts = np.unique(values[:100_000], return_counts=True)
    return float(found[counts.argmax()])


def is_one_value(values: NDArray[Any]) -> bool:
    """Whether more than half of the values are one and the same number, as fill values are."""
    some = values[:100_000]
    return bool(np.unique(some, return_counts=True)[1].max() > some.size / 2)


def likely_cause(variable: str, values: NDArray[Any]) -> str:
    """Say why finite values may be impossible, and what to do."""
    found = values[is_impossible(variable, values)]
    if is_one_value(found) and found.size < 0.9 * values.size:
        return (
            f"{commonest(found):.6g} looks like the fill value of missing pixels: make these "
            "pixels NaN."
        )
    median = float(np.median(values))
    reflectance = POSSIBLE[variable] == _REFLECTANCE
    if reflectance and median > 150:
        return (
            f"The median is {median:.4g}: these look like unscaled digital numbers (Sentinel-2: "
            "multiply by 0.0001)."
        )
    if reflectance and median > POSSIBLE[variable][1]:
        return f"The median is {median:.4g}: these look like percent (multiply by 0.01)."
    if reflectance and median < 0:
        return (
            f"The median is {median:.4g}: check the offset, it is in the unit of reflectance (-0.1 "
            "for a Sentinel-2 offset of -1000)."
        )
    if not reflectance and not -60 < median < 15:
        return f"The median is {median:.4g}, no backscatter in dB: check the scale."
    return "Check scale, offset and fill value."
