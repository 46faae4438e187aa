"""Sentinel-2 L2A: read the identity of a product, and scale its digital numbers to reflectance.

Surface reflectance is ``DN · 0.0001 + offset``, and DN 0 is no data. Up to processing baseline
03.01 the offset is 0. Since baseline 04.00 (January 2022, and everything reprocessed since) ESA
adds 1000 to the numbers, so that the small negative reflectances over dark surfaces, caused by
noise and the atmospheric correction, are not cut off; the offset is then -0.1. Some archives have
subtracted the 1000 again. This module decides, once for each product, which offset applies.

Negative reflectance is kept. Cut off at zero, the noise of dark surfaces would not average out,
which is the reason for the offset (Sentinel-2 Products Specification Document, ``BOA_ADD_OFFSET``).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcrop.cube.contract import CLEAR_CLASSES, OPTICAL_BANDS
from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import SceneError

FACTOR = 0.0001
OFFSET = -0.1
FIRST_WITH_OFFSET = 4.0
"""First processing baseline whose numbers contain the offset."""

DARK_CLASSES = (4, 6)
"""Scene classes that reflect little blue light: vegetation and water."""

_MIN_PIXELS = 20  # needed for a decision; shares are nearly 0 or nearly 1, so few are enough
_SUBTRACTED, _PRESENT = 0.3, 0.1  # limits of the share; real products have > 0.5 or < 0.03
_NAME = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL2A_(?P<datatake>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?"
    r"R(?P<orbit>\d{3})_T(?P<tile>\w{5})_(?P<generation>\d{8}T\d{6})"
)


class OffsetWarning(UserWarning):
    """The offset that an archive states for a product disagrees with its pixels."""


@dataclass(frozen=True)
class Identity:
    """Identity of a product, read from its name.

    Attributes
    ----------
    acquisition : str
        Platform, start of the datatake and tile: the same for all versions of a product.
    relative_orbit : int or None
    baseline : float or None
        Processing baseline; None if neither the archive nor the name states it.
    generation : str
        Time of processing, as text; later is greater.
    """

    acquisition: str
    relative_orbit: int | None
    baseline: float | None
    generation: str


def identify(item: Mapping[str, Any]) -> Identity:
    """Read the identity of a STAC item from ESA's product name, which every archive keeps.

    The baseline comes from the item's properties, or else from the name.
    """
    properties = item["properties"]
    stated = product_property(properties, "processing_baseline")
    names = (
        product_property(properties, "product_uri"),
        product_property(properties, "product_id"),
        item["id"],
    )
    match = next((m for m in map(_NAME.search, map(str, names)) if m), None)
    if match is None:
        orbit = properties.get("sat:relative_orbit")
        return Identity(item["id"], orbit, _baseline(stated), "")
    baseline = stated or (match["baseline"] and f"{match['baseline'][:2]}.{match['baseline'][2:]}")
    return Identity(
        "_".join(match.group("platform", "datatake", "tile")),
        int(match["orbit"]),
        _baseline(baseline),
        _digits(str(product_property(properties, "generation_time") or match["generation"])),
    )


def _baseline(stated: Any) -> float | None:
    """Convert a processing baseline to a number; None if it is not stated.

    Raises
    ------
    ValueError
        If it is no baseline: the offset depends on it, so it is not guessed.
    """
    if not stated:
        return None
    try:
        baseline = float(stated)
    except MALFORMED:
        baseline = math.nan
    if not 0 < baseline < 100:
        raise ValueError(f"its processing baseline is {stated}, expected a number such as 05.10")
    return baseline


def product_property(properties: Mapping[str, Any], name: str) -> Any:
    """Look a Sentinel-2 property up under the prefixes that archives use; None if absent."""
    for prefix in ("s2", "sentinel", "earthsearch"):
        if (value := properties.get(f"{prefix}:{name}")) is not None:
            return value
    return None


def _digits(time: str) -> str:
    return re.sub(r"\D", "", time)[:14]


# The offset -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaling:
    """Conversion of digital numbers to reflectance: ``DN · factor + offset``, for each band.

    Attributes
    ----------
    bands : dict of str to tuple of float
        Factor and offset of each band.
    decision : str
        Which offset was applied and why, for the notes of a scene.
    """

    bands: dict[str, tuple[float, float]]
    decision: str

    def reflectance(self, band: str, numbers: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Convert digital numbers to surface reflectance; the result of DN 0 is meaningless."""
        factor, offset = self.bands[band]
        return (numbers * factor + offset).astype(np.float32)


OverviewReader = Callable[[], tuple[NDArray[np.uint16], NDArray[np.uint8]]]
"""Function that reads the blue band and the scene classes of a product at a coarse resolution."""

ScalingRule = Callable[[Mapping[str, Any], OverviewReader], Scaling]
"""Function that chooses how the numbers of a product are scaled, from its item or its pixels."""


def scaling_by_baseline(item: Mapping[str, Any], _read_overviews: OverviewReader) -> Scaling:
    """Choose the offset by ``s2:processing_baseline``, for archives that keep ESA's numbers.

    Raises
    ------
    SceneError
        If the item does not state the baseline.
    """
    baseline = item["properties"].get("s2:processing_baseline")
    number = _baseline(baseline)
    if number is None:
        raise SceneError(
            f"{item['id']}: the archive does not state s2:processing_baseline, so whether 1000 "
            "must be subtracted from its numbers is unknown."
        )
    if number < FIRST_WITH_OFFSET:
        return _uniform(0.0, f"none to apply (baseline {baseline})")
    return _uniform(OFFSET, f"-1000 applied (baseline {baseline})")


def scaling_by_product_name(item: Mapping[str, Any], _read_overviews: OverviewReader) -> Scaling:
    """Choose the offset by the baseline in ESA's product name, for archives that keep both.

    The catalogue of the Copernicus Data Space states ``raster:offset`` -0.1 for every product, also
    for those of baselines before 04.00 to which nothing was added, so that it is not used.

    Raises
    ------
    SceneError
        If the name has no baseline, or ``processing:version`` contradicts it.
    """
    number = identify(item).baseline
    stated = item["properties"].get("processing:version")
    if number is None:
        raise SceneError(
            f"{item['id']}: the name has no processing baseline (N0510), so whether 1000 must be "
            "subtracted from its numbers is unknown."
        )
    if stated is not None and _baseline(stated) != number:
        raise SceneError(
            f"{item['id']}: the name has baseline {number:05.2f}, but processing:version is "
            f"{stated}, so whether 1000 must be subtracted from its numbers is unknown."
        )
    if number < FIRST_WITH_OFFSET:
        return _uniform(0.0, f"none to apply (baseline {number:05.2f})")
    return _uniform(OFFSET, f"-1000 applied (baseline {number:05.2f})")


def scaling_by_raster_bands(item: Mapping[str, Any], _read_overviews: OverviewReader) -> Scaling:
    """Take scale and offset from each band's asset, as the raster extension of STAC states them.

    They are in ``raster:bands`` (STAC 1.0), or in ``raster:scale`` and ``raster:offset`` (1.1). The
    assets of ``item`` must have the names of the cube's bands.

    Raises
    ------
    SceneError
        If an asset does not state both.
    """
    bands = {}
    for band in OPTICAL_BANDS:
        try:
            asset = item["assets"][band]
            raster = asset.get("raster:bands", [{}])[0]
            factor, offset = (
                float(raster[name] if name in raster else asset[f"raster:{name}"])
                for name in ("scale", "offset")
            )
        except MALFORMED:
            raise SceneError(
                f"{item['id']}: asset '{band}' states no scale and offset in raster:bands, so what "
                "its numbers mean is unknown."
            ) from None
        if not (0 < factor <= 0.01 and abs(offset) <= 1):
            raise SceneError(
                f"{item['id']}: asset '{band}' states scale {factor:g} and offset {offset:g} in "
                "raster:bands, which make no reflectance."
            )
        bands[band] = factor, offset
    offsets = sorted({round(offset / factor) for factor, offset in bands.values()})
    if not any(offsets):
        return Scaling(bands, "none to apply (raster:bands)")
    return Scaling(bands, f"{', '.join(map(str, offsets))} applied (raster:bands)")


def scaling_by_flag(item: Mapping[str, Any], read_overviews: OverviewReader) -> Scaling:
    """Choose the offset by ``earthsearch:boa_offset_applied``, checked against the pixels.

    In Earth Search's older collection the flag is wrong for many products since 2022. Products of
    baselines before 04.00 have nothing to subtract, whatever the flag says. A later product without
    a flag still contains the offset.

    Warns
    -----
    OffsetWarning
        If flag and pixels disagree; the pixels decide.
    """
    baseline = identify(item).baseline
    if baseline is not None and baseline < FIRST_WITH_OFFSET:
        return _uniform(0.0, f"none to apply (baseline {baseline:05.2f})")
    flag = product_property(item["properties"], "boa_offset_applied")
    stated = bool(flag)
    seen = offset_is_subtracted(*read_overviews())
    subtracted = stated if seen is None else seen
    how = "flag, nothing dark to check it by" if seen is None else "flag and pixels agree"
    if subtracted != stated:
        how = f"pixels, against the flag {flag}"
        warnings.warn(
            f"{item['id']}: earthsearch:boa_offset_applied is {flag}, but its pixels show that "
            f"1000 has {'' if subtracted else 'not '}been subtracted; the pixels decide.",
            OffsetWarning,
            stacklevel=2,
        )
    if subtracted:
        return _uniform(0.0, f"already applied by the archive ({how})")
    return _uniform(OFFSET, f"-1000 applied ({how})")


def scaling_of(factor: float, offset: float, decision: str) -> ScalingRule:
    """Make the rule of an archive that scales all of its products alike.

    Examples
    --------
    >>> rule = scaling_of(0.0001, 0.0, "none to apply (HLS)")
    >>> rule({}, None).bands["red"]
    (0.0001, 0.0)
    """
    bands = dict.fromkeys(OPTICAL_BANDS, (factor, offset))
    return lambda _item, _read_overviews: Scaling(bands, decision)


def offset_is_subtracted(blue: NDArray[np.uint16], classes: NDArray[np.uint8]) -> bool | None:
    """Find out from the pixels of a product whether the archive has subtracted the 1000.

    Before the subtraction, numbers below 1000 are negative reflectances, which few clear pixels
    have. After the subtraction, numbers below 1000 are reflectances below 0.1, which nearly all
    vegetation and water have in the blue band, and much other land. A large share of such pixels
    therefore shows that the 1000 has been subtracted; a small share among vegetation and water
    shows that it has not; a small share where there is only bright land shows nothing. ESA makes
    the scene classes before it adds the 1000, so they are reliable in both cases.

    Parameters
    ----------
    blue, classes : ndarray
        Digital numbers of the blue band, and scene classes of the same pixels.

    Returns
    -------
    bool or None
        None if the pixels do not show it.
    """
    dark, clear = (
        blue[np.isin(classes, kept) & (blue > 0)] for kept in (DARK_CLASSES, CLEAR_CLASSES)
    )
    sample = dark if dark.size >= _MIN_PIXELS else clear
    if sample.size < _MIN_PIXELS:
        return None
    share = float((sample < 1000).mean())
    if share >= _SUBTRACTED:
        return True
    return False if sample is dark and share <= _PRESENT else None


def _uniform(offset: float, decision: str) -> Scaling:
    return Scaling(dict.fromkeys(OPTICAL_BANDS, (FACTOR, offset)), decision)
