"""Vegetation indices and radar units: plain arithmetic on arrays, NaN in, NaN out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop.errors import CubeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def ndvi_of(nir: NDArray[Any], red: NDArray[Any]) -> NDArray[np.float32]:
    """NDVI = (nir - red) / (nir + red), float32; NaN where the sum is not positive.

    Dark pixels whose atmospheric correction went below zero would otherwise give values far
    outside -1 … 1; the result is clipped to that range.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        total = nir + red
        ratio = np.where(total > 0, (nir - red) / total, np.nan)
    return np.clip(ratio, -1, 1).astype(np.float32)


def gcc_of(blue: NDArray[Any], green: NDArray[Any], red: NDArray[Any]) -> NDArray[np.float32]:
    """Green chromatic coordinate = green / (blue + green + red), float32 (paper, Table 1).

    NaN where the sum is not positive; clipped to 0 … 1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        total = blue + green + red
        ratio = np.where(total > 0, green / total, np.nan)
    return np.clip(ratio, 0, 1).astype(np.float32)


def evi_of(nir: NDArray[Any], red: NDArray[Any], blue: NDArray[Any]) -> NDArray[np.float32]:
    """EVI = 2.5 (nir - red) / (nir + 6 red - 7.5 blue + 1), float32.

    NaN where the divisor is not positive; clipped to -0.5 … 1.5, for bright haze makes it small.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        divisor = nir + 6 * red - 7.5 * blue + 1
        ratio = np.where(divisor > 0, 2.5 * (nir - red) / divisor, np.nan)
    return np.clip(ratio, -0.5, 1.5).astype(np.float32)


INDICES: dict[str, tuple[tuple[str, ...], Callable[..., NDArray[np.float32]], float]] = {
    "ndvi": (("nir", "red"), ndvi_of, 0.12),
    "gcc": (("blue", "green", "red"), gcc_of, 0.03),
}
"""Greenness a curve can be drawn from: its bands, its formula, the least amplitude of a season."""


def ndvi(optical: xr.Dataset, nir: str = "nir") -> xr.DataArray:
    """NDVI of the ``/optical`` group of a cube.

    Parameters
    ----------
    optical : Dataset
        Reflectance bands ``red`` and the near-infrared one, unitless.
    nir : str
        ``"nir"`` is Sentinel-2's B08 (our reading of the paper); ``"rededge3"`` is B07, which the
        paper's Table 1 names.

    Raises
    ------
    CubeError
        If a band is missing.
    """
    _require(optical, "red", nir)
    result = xr.apply_ufunc(
        ndvi_of, optical[nir], optical["red"], dask="parallelized", output_dtypes=[np.float32]
    )
    result.attrs = {"long_name": f"NDVI from {nir} and red", "units": "1"}
    index: xr.DataArray = result.rename("ndvi")
    return index


def gcc(optical: xr.Dataset) -> xr.DataArray:
    """Green chromatic coordinate of the ``/optical`` group of a cube (the paper's GCC_s).

    Raises
    ------
    CubeError
        If a band is missing.
    """
    _require(optical, "blue", "green", "red")
    result = xr.apply_ufunc(
        gcc_of,
        optical["blue"],
        optical["green"],
        optical["red"],
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    result.attrs = {"long_name": "green chromatic coordinate", "units": "1"}
    index: xr.DataArray = result.rename("gcc")
    return index


def _require(optical: xr.Dataset, *bands: str) -> None:
    missing = [band for band in bands if band not in optical]
    if missing:
        raise CubeError(
            f"The optical group has no band {', '.join(missing)}; it has "
            f"{', '.join(map(str, optical.data_vars)) or 'none'}."
        )


def to_power(db: NDArray[Any]) -> NDArray[np.float32]:
    """Linear power from decibels: 10^(dB / 10)."""
    return np.power(10.0, np.asarray(db, dtype=np.float32) / 10).astype(np.float32)


def to_db(power: NDArray[Any]) -> NDArray[np.float32]:
    """Decibels from linear power: 10·log10(power); NaN where power is not positive."""
    power = np.asarray(power, dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan).astype(np.float32)
