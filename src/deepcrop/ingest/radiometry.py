"""Radiometry of radar files: recognise terrain-flattened gamma0, and convert it to sigma0.

Radiometrically terrain-corrected products (RTC) hold gamma0. The cube holds sigma0 =
gamma0 · cos θ, with the incidence angle θ (`deepcrop.sources.sentinel1`).
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.errors import SpecError
from deepcrop.grid.resampling import method_for, place
from deepcrop.ingest.spec import Incidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.ingest.raw_files import Source
    from deepcrop.ingest.spec import Sar

logger = logging.getLogger(__name__)

# As words of their own: in sentinel-1-rtc, OPERA_L2_RTC-S1, RTC30, gamma0_vv, terrain_flattened.
_GAMMA0 = re.compile(
    r"(?<![a-z0-9])rtc\d*(?![a-z])|(?<![a-z])gamma[ _-]?(0|nought|naught)|γ[0°⁰₀]"
    r"|terrain[ _-]?flatten|radiometric(ally)?[ _-]terrain",
    re.IGNORECASE,
)
# HyP3 also makes RTC products of sigma0, and says so in the name: RTC30_G_spuned.
_SIGMA0 = re.compile(
    r"(?<![a-z])sigma[ _-]?(0|nought|naught)|σ[0°⁰₀]|_rtc\d+_[a-z]_s[pda]", re.IGNORECASE
)


def check_sigma0(series: Sar, sources: Sequence[Source]) -> None:
    """Reject files that are called sigma0 and are recognisably gamma0.

    Raises
    ------
    SpecError
        With what says so, and with the ways out.
    """
    if series.radiometry != "sigma0" or _SIGMA0.search(series.source):
        return
    texts = [("'source'", series.source)]
    if series.source.strip().lower() == "rtc":
        # The bare word names a correction, which is also made of sigma0, and no product.
        logger.warning(
            "sar.radiometry is 'sigma0', and 'source' says only 'rtc'. Most such products hold "
            "gamma0, which is 0.6 to 1.6 dB brighter: check it, and name the product in 'source'."
        )
        texts = []
    for source in sources:
        # The product and its collection; folders farther up may be called anything.
        texts += [(f"the name of {source.path}", "/".join(source.path.parts[-3:]))]
        texts += [(f"the metadata of {source.path}", source.about)]
    for where, text in texts:
        found = _GAMMA0.search(text)
        if found and not _SIGMA0.search(text):
            raise SpecError(
                f"sar.radiometry: 'sigma0', but {where} says {found[0]!r}, as of terrain-flattened "
                "gamma0, which is 0.6 to 1.6 dB brighter. Write radiometry: gamma0 and give "
                "'incidence', the raster of incidence angles or a number of degrees; or, if the "
                "numbers were converted, say so in 'source' (RTC, converted to sigma0)."
            )


@dataclass(frozen=True)
class ToSigma0:
    """Conversion of gamma0 to sigma0: one incidence angle, or rasters of it.

    Attributes
    ----------
    incidence : float or Incidence
        Degrees, or how to read the rasters.
    sources : tuple of Source
        The rasters.
    """

    incidence: float | Incidence
    sources: tuple[Source, ...] = ()

    @property
    def radiometry(self) -> str:
        """Radiometry of the result; one angle for a whole swath is an approximation."""
        exact = isinstance(self.incidence, Incidence)
        return "sigma0" if exact else "sigma0 from gamma0, approximate"

    def decibels(self, tile: GeoBox) -> NDArray[np.float32]:
        """Find what to add to gamma0 in dB, (y, x); NaN where no angle is known.

        Raises
        ------
        SpecError
            If a raster cannot be read, or holds no incidence angles in degrees.
        """
        if not isinstance(self.incidence, Incidence):
            angle = np.full(tile.shape, self.incidence, np.float32)
        else:
            angle = self._angles(self.incidence, tile)
        return (10 * np.log10(np.cos(np.radians(angle)))).astype(np.float32)

    def _angles(self, incidence: Incidence, tile: GeoBox) -> NDArray[np.float32]:
        result = np.full(tile.shape[0] * tile.shape[1], np.nan, np.float32)
        for source in self.sources:
            placement = place(source.box, tile, method_for(source.box, tile))
            if placement is None:
                continue
            stored = source.read(slice(0, 1), placement.rows, placement.cols).astype(np.float32)
            angle = stored * np.float32(incidence.scale)
            # Angles are positive; 0 is outside of the swath.
            unknown = ~np.isfinite(angle) | (angle <= 0)
            if incidence.nodata is not None:
                unknown |= stored == np.float32(incidence.nodata)
            _check_angles(angle[~unknown], source)
            found = placement.apply(np.where(unknown, np.float32(np.nan), angle))[0]
            np.copyto(result, found, where=np.isnan(result))
        return result.reshape(tile.shape)


def _check_angles(angle: NDArray[np.float32], source: Source) -> None:
    if angle.size and not (5 < np.median(angle) < 80 and angle.max() < 90):
        radians = " These look like radians: write scale: 57.29578." if angle.max() < 1.6 else ""
        raise SpecError(
            f"{source.key}: {source.path} holds {np.median(angle):.4g} in the median, "
            f"{angle.max():.4g} at most; expected incidence angles in degrees, below 90.{radians}"
        )
