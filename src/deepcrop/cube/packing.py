"""Pack reflectance and backscatter as int16 on disk, and unpack them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

PACKED_FILL = -32768
"""Value of NaN in packed arrays."""


def pack(values: NDArray[Any], scale: float) -> NDArray[np.int16]:
    """Round ``values / scale`` to int16; -32768 is no data.

    NaN, infinities (the dB of no power) and numbers beyond the range of int16 become no data: a
    clipped number would pass for a measurement. `deepcrop.cube.possible` refuses them before.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        packed = np.rint(values / np.float32(scale))
        return np.where(np.abs(packed) < -PACKED_FILL, packed, PACKED_FILL).astype(np.int16)


def unpack(packed: NDArray[np.int16], scale: float) -> NDArray[np.float32]:
    """Unpack what `pack` has packed, rounded to ``scale``."""
    values = np.array(packed, np.float32)
    values *= np.float32(scale)
    np.copyto(values, np.nan, where=packed == PACKED_FILL)
    return values


class Unpacked(BackendArray):
    """A packed variable of a store, for xarray: unpacked when it is read.

    The values are those of xarray's own decoding, which takes twice the time.
    """

    def __init__(self, packed: xr.Variable) -> None:
        self.packed = packed
        self.shape, self.dtype = packed.shape, np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        return unpack(self.packed[key].values, self.packed.attrs["scale_factor"])


def is_packed(variable: xr.Variable) -> bool:
    """Whether a variable, not decoded, is stored as `pack` packs; those of others may not be."""
    fill = variable.attrs.get("_FillValue")
    return (
        variable.dtype == np.int16
        and fill is not None
        and fill == PACKED_FILL
        and "scale_factor" in variable.attrs
        and not {"add_offset", "missing_value", "_Unsigned"} & set(variable.attrs)
    )


def scale_of(variable: str) -> float:
    """Scale of a packed variable: reflectance 0.0001, backscatter 0.01 dB."""
    return 0.01 if variable in SAR_BANDS else 0.0001


def packing_of(variable: str, dtype: np.dtype) -> tuple[float | None, np.dtype, int | float]:
    """Scale, type on disk and fill value of a variable."""
    if variable in (*SAR_BANDS, *OPTICAL_BANDS, "rededge3"):
        return scale_of(variable), np.dtype(np.int16), PACKED_FILL
    if dtype.kind == "f":
        return None, dtype, float("nan")
    return None, dtype, 0


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON types: NumPy scalars and arrays become numbers and lists, nested too."""

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Mapping):
            return plain(value)
        return [convert(item) for item in value] if isinstance(value, list | tuple) else value

    return {str(key): convert(value) for key, value in attrs.items()}
