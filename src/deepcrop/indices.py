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


def evi2_of(nir: NDArray[Any], red: NDArray[Any]) -> NDArray[np.float32]:
    """EVI2 = 2.5 (nir - red) / (nir + 2.4 red + 1), float32 (Jiang et al. 2008): EVI without blue.

    NaN where the divisor is not positive; clipped to -0.5 … 1.5 like EVI.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        divisor = nir + 2.4 * red + 1
        ratio = np.where(divisor > 0, 2.5 * (nir - red) / divisor, np.nan)
    return np.clip(ratio, -0.5, 1.5).astype(np.float32)


INDICES: dict[str, tuple[tuple[str, ...], Callable[..., NDArray[np.float32]], float]] = {
    "ndvi": (("nir", "red"), ndvi_of, 0.12),
    "gcc": (("blue", "green", "red"), gcc_of, 0.03),
    # 0.1 is the least amplitude of a growth cycle in MSLSP and MCD12Q2, which are of EVI2.
    "evi": (("nir", "red", "blue"), evi_of, 0.1),
    "evi2": (("nir", "red"), evi2_of, 0.1),
}
"""Greenness a curve can be drawn from: its bands, its formula, the least amplitude of a season."""

TITLES = {
    "ndvi": "NDVI",
    "gcc": "green chromatic coordinate",
    "evi": "EVI",
    "evi2": "EVI2",
}
"""Long names of `INDICES`."""


def index_of(optical: xr.Dataset, name: str) -> xr.DataArray:
    """Compute one of `INDICES` from the ``/optical`` group of a cube.

    Parameters
    ----------
    optical : Dataset
        Reflectance bands, unitless.
    name : str
        ``"ndvi"``, ``"gcc"`` (the paper's GCC_s), ``"evi"`` or ``"evi2"``.

    Raises
    ------
    CubeError
        If a band is missing.
    """
    bands, formula, _ = INDICES[name]
    _require(optical, *bands)
    result = xr.apply_ufunc(
        formula,
        *(optical[band] for band in bands),
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    result.attrs = {"long_name": TITLES[name], "units": "1"}
    index: xr.DataArray = result.rename(name)
    return index


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
    return index_of(optical, "gcc")


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
