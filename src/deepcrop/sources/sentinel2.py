"""Sentinel-2 L2A: what a product is, and what its digital numbers mean.

Surface reflectance is ``DN · 0.0001 + offset``, and DN 0 is no data. Up to processing baseline
03.01 the offset is 0. Since 04.00 (January 2022, and all that was reprocessed since) ESA adds 1000
to the numbers, so that the small negative reflectances that noise and the correction for the
atmosphere leave over dark surfaces are not cut off; the offset is then -0.1. Some archives have
subtracted it again. Whether it must still be done is decided here, once for every product.

Negative reflectance stays as it is. Cut off at zero, the noise of dark surfaces would not average
out any more, which is what the offset was introduced for (Sentinel-2 Products Specification
Document, ``BOA_ADD_OFFSET``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcrop.cube.contract import OPTICAL_BANDS
from deepcrop.sources.archive import CLEAR_CLASSES, SceneError

FACTOR = 0.0001
OFFSET = -0.1
FIRST_WITH_OFFSET = 4.0
"""First processing baseline with the offset in its numbers."""

DARK_CLASSES = (4, 6)
"""Scene classes that are known to reflect little blue light: vegetation and water."""

_ENOUGH = 20  # pixels to judge by: what they show is nearly all or nearly none
_MANY, _FEW = 0.3, 0.1  # shares of pixels; real products have over 0.5, or under 0.03
_NAME = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL2A_(?P<datatake>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?"
    r"R(?P<orbit>\d{3})_T(?P<tile>\w{5})_(?P<generation>\d{8}T\d{6})"
)


class OffsetWarning(UserWarning):
    """What an archive says of the offset of a product and what its pixels show disagree."""


@dataclass(frozen=True)
class Identity:
    """What the name of a product says.

    Attributes
    ----------
    acquisition : str
        Platform, start of the datatake and tile: the same for all versions of a product.
    relative_orbit : int or None
    baseline : float or None
        Processing baseline; None where neither the archive nor the name has it.
    generation : str
        When it was made; later is greater.
    """

    acquisition: str
    relative_orbit: int | None
    baseline: float | None
    generation: str


def identify(item: Mapping[str, Any]) -> Identity:
    """Read what an item is, from ESA's product name, which every archive hands on somewhere.

    The baseline is that of the item's properties, or else that of the name.
    """
    properties = item["properties"]
    stated = said(properties, "processing_baseline")
    names = (said(properties, "product_uri"), said(properties, "product_id"), item["id"])
    match = next((m for m in map(_NAME.search, map(str, names)) if m), None)
    if match is None:
        orbit = properties.get("sat:relative_orbit")
        return Identity(item["id"], orbit, float(stated) if stated else None, "")
    baseline = stated or (match["baseline"] and f"{match['baseline'][:2]}.{match['baseline'][2:]}")
    return Identity(
        "_".join(match.group("platform", "datatake", "tile")),
        int(match["orbit"]),
        float(baseline) if baseline else None,
        _digits(said(properties, "generation_time") or match["generation"]),
    )


def said(properties: Mapping[str, Any], name: str) -> Any:
    """Property of Sentinel-2, under whichever prefix the archive has it; None without."""
    for prefix in ("s2", "sentinel", "earthsearch"):
        if (value := properties.get(f"{prefix}:{name}")) is not None:
            return value
    return None


def _digits(time: str) -> str:
    return re.sub(r"\D", "", time)[:14]


# The offset -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaling:
    """From digital numbers to reflectance: ``DN · factor + offset``, band by band.

    Attributes
    ----------
    bands : dict of str to tuple of float
        Factor and offset of each band.
    why : str
        What was decided, for the notes of a scene.
    """

    bands: dict[str, tuple[float, float]]
    why: str

    def reflectance(self, band: str, numbers: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Surface reflectance; what DN 0 becomes has no meaning."""
        factor, offset = self.bands[band]
        return (numbers * factor + offset).astype(np.float32)


Sample = Callable[[], tuple[NDArray[np.uint16], NDArray[np.uint8]]]
"""Reads the blue band and the scene classes of a whole product, at a coarse resolution."""


def scaling_by_baseline(item: Mapping[str, Any], _sample: Sample) -> Scaling:
    """Decide by ``s2:processing_baseline``: for archives that serve ESA's numbers unchanged.

    Raises
    ------
    SceneError
        If the item does not have it.
    """
    baseline = item["properties"].get("s2:processing_baseline")
    if baseline is None:
        raise SceneError(
            f"{item['id']}: the archive does not state s2:processing_baseline, so whether 1000 "
            "must be subtracted from its numbers is unknown."
        )
    if float(baseline) < FIRST_WITH_OFFSET:
        return _uniform(0.0, f"none to apply (baseline {baseline})")
    return _uniform(OFFSET, f"-1000 applied (baseline {baseline})")


def scaling_by_raster_bands(item: Mapping[str, Any], _sample: Sample) -> Scaling:
    """Decide by scale and offset in ``raster:bands`` of each band's asset.

    The assets of ``item`` are expected under the names of our bands.

    Raises
    ------
    SceneError
        If an asset does not have both.
    """
    bands = {}
    for band in OPTICAL_BANDS:
        raster = (item["assets"][band].get("raster:bands") or [{}])[0]
        if "scale" not in raster or "offset" not in raster:
            raise SceneError(
                f"{item['id']}: asset '{band}' states no scale and offset in raster:bands, so what "
                "its numbers mean is unknown."
            )
        bands[band] = float(raster["scale"]), float(raster["offset"])
    offsets = sorted({round(offset / factor) for factor, offset in bands.values()})
    if not any(offsets):
        return Scaling(bands, "none to apply (raster:bands)")
    return Scaling(bands, f"{', '.join(map(str, offsets))} applied (raster:bands)")


def scaling_by_flag(item: Mapping[str, Any], sample: Sample) -> Scaling:
    """Decide by ``earthsearch:boa_offset_applied``, checked against the pixels.

    The flag of Earth Search's older collection is known to be wrong for many products since 2022.
    Products of baselines before 04.00 have nothing to subtract, whatever it says. A product since
    then without a flag is one whose offset the archive has not dealt with.

    Warns
    -----
    OffsetWarning
        If the pixels show otherwise; the pixels are believed.
    """
    baseline = identify(item).baseline
    if baseline is not None and baseline < FIRST_WITH_OFFSET:
        return _uniform(0.0, f"none to apply (baseline {baseline:05.2f})")
    flag = said(item["properties"], "boa_offset_applied")
    stated = bool(flag)
    seen = offset_is_gone(*sample())
    gone = stated if seen is None else seen
    how = "flag, nothing dark to check it by" if seen is None else "flag and pixels agree"
    if gone != stated:
        how = f"pixels, against the flag {flag}"
        warnings.warn(
            f"{item['id']}: earthsearch:boa_offset_applied is {flag}, but its pixels show that "
            f"1000 has {'' if gone else 'not '}been subtracted; the pixels are believed.",
            OffsetWarning,
            stacklevel=2,
        )
    if gone:
        return _uniform(0.0, f"already applied by the archive ({how})")
    return _uniform(OFFSET, f"-1000 applied ({how})")


def offset_is_gone(blue: NDArray[np.uint16], classes: NDArray[np.uint8]) -> bool | None:
    """Tell from the pixels of a product whether the 1000 has been subtracted already.

    With the 1000 still there, numbers below 1000 are negative reflectances, and few clear pixels
    have them. With the 1000 gone, numbers below 1000 are reflectances below a tenth, and nearly
    all vegetation and water has that in the blue, and much other land. So many such pixels show
    that it is gone; few among vegetation and water show that it is still there; few where there is
    only bright land show nothing. Scene classes were made before the 1000 was added, so they can
    be relied on in both cases.

    Parameters
    ----------
    blue, classes : ndarray
        Digital numbers of the blue band and scene classes of the same pixels.

    Returns
    -------
    bool or None
        None where nothing can be told.
    """
    dark, clear = (
        blue[np.isin(classes, kept) & (blue > 0)] for kept in (DARK_CLASSES, CLEAR_CLASSES)
    )
    judged = dark if dark.size >= _ENOUGH else clear
    if judged.size < _ENOUGH:
        return None
    share = float((judged < 1000).mean())
    if share >= _MANY:
        return True
    return False if judged is dark and share <= _FEW else None


def _uniform(offset: float, why: str) -> Scaling:
    return Scaling({band: (FACTOR, offset) for band in OPTICAL_BANDS}, why)
