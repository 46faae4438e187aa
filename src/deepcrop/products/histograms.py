"""Numbers of a map: shares found, medians and spreads of dates, by crop and by latitude.

Layers hold whole numbers, so medians and quantiles computed from the number of pixels per value
(and per group of pixels) are exact, whatever the size of the region.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from deepcrop.errors import DeepCropError
from deepcrop.products.layers import LEFT_OUT, Layer
from deepcrop.stages import DAY_MAX, DAY_MIN, to_dates

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

BANDS = 10
"""Bands of latitude that a region is cut into."""

_KEPT = 2**24  # pixels whose group is kept
_SPAN = DAY_MAX - DAY_MIN  # longest difference of two day numbers
_MEASURE = 32766  # largest number of an Int16 measure, and with a minus the smallest


@dataclass(frozen=True)
class Groups:
    """Groups that pixels are counted by: their crop and their band of latitude.

    Pixels outside mask and parcels belong to no group.

    Attributes
    ----------
    crop_type : DataArray or None
        Crop codes (y, x).
    codes : ndarray of int
        Those that occur, in order; ``[0]`` without crop types.
    names : dict of int to str
        Names of the codes.
    latitudes : ndarray (BANDS + 1,)
        Edges of the bands, degrees, from south to north.
    box : GeoBox
        Grid of the map.
    selected : DataArray or None
        Not 0 where a pixel is to be mapped (y, x); None: all.
    """

    crop_type: xr.DataArray | None
    codes: NDArray[np.int64]
    names: dict[int, str]
    latitudes: NDArray[np.float64]
    box: GeoBox
    selected: xr.DataArray | None = None
    _kept: dict[tuple[int, int], NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Number of groups: that of crop c and band b is ``c * BANDS + b``."""
        return len(self.codes) * BANDS

    def indices(self, rows: slice, cols: slice) -> NDArray[np.intp]:
        """Group of each pixel of a window; `count` where it is left out.

        Every layer is counted by the same groups, so those of the first windows are kept.
        """
        place = rows.start, cols.start
        if place in self._kept:
            return self._kept[place].astype(np.intp)
        group = np.searchsorted(self.latitudes[1:-1], _latitudes(self.box, rows, cols), "right")
        if self.crop_type is not None:
            group += np.searchsorted(self.codes, self.crop_type[rows, cols].values) * BANDS
        if self.selected is not None:
            group[self.selected[rows, cols].values == 0] = self.count
        if (len(self._kept) + 1) * group.size <= _KEPT:
            self._kept[place] = group.astype(np.min_scalar_type(self.count))
        return group


def make_groups(
    crop_type: xr.DataArray | None,
    box: GeoBox,
    windows: list[tuple[slice, slice]],
    selected: xr.DataArray | None = None,
) -> Groups:
    """Prepare to count the pixels of a map."""
    codes = np.zeros(1, np.int64)
    if crop_type is not None:
        found = []
        for window in windows:
            crops = crop_type[window].values
            found.append(
                np.unique(crops if selected is None else crops[selected[window].values > 0])
            )
        codes = np.unique(np.concatenate(found)).astype(np.int64)
    names = crop_names(crop_type) if crop_type is not None else {}
    edge = [_latitudes(box, rows, cols) for rows, cols in windows]
    south, north = min(part.min() for part in edge), max(part.max() for part in edge)
    return Groups(crop_type, codes, names, np.linspace(south, north, BANDS + 1), box, selected)


def _latitudes(box: GeoBox, rows: slice, cols: slice) -> NDArray[np.float64]:
    """Latitude of each pixel of a window, linear between its corners (tens of metres in 40 km)."""
    a, _, c, _, e, f = box.affine[:6]
    x = c + a * (np.array([cols.start, cols.stop - 1]) + 0.5)
    y = f + e * (np.array([rows.start, rows.stop - 1]) + 0.5)
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    corners = to_degrees.transform(*np.meshgrid(x, y))[1]
    down = np.linspace(0, 1, rows.stop - rows.start)[:, None]
    across = np.linspace(0, 1, cols.stop - cols.start)
    left, right = (corners[0, k] + down * (corners[1, k] - corners[0, k]) for k in (0, 1))
    latitudes: NDArray[np.float64] = left + across * (right - left)
    return latitudes


def crop_names(crop_type: xr.DataArray) -> dict[int, str]:
    """Name of each crop code, from the CF flag attributes; 0 (unknown) is left out."""
    values = np.atleast_1d(crop_type.attrs.get("flag_values", [])).astype(int).tolist()
    meanings = str(crop_type.attrs.get("flag_meanings", "")).split()
    if len(values) != len(meanings):
        raise DeepCropError(
            f"Crop types have {len(values)} 'flag_values' but {len(meanings)} 'flag_meanings'; "
            "give one word for each value."
        )
    return {value: name for value, name in zip(values, meanings, strict=True) if value != 0}


# Counting ----------------------------------------------------------------------------------------


def first_value(layer: Layer) -> int:
    """Value of the first bin of a layer's histogram."""
    if layer.limits is not None:
        return layer.limits[0]
    return {"length": -_SPAN, "difference": -_SPAN, "measure": -_MEASURE}.get(layer.kind, 0)


def count(
    layer: Layer, values: NDArray[Any], groups: NDArray[np.intp], number: int
) -> NDArray[Any]:
    """Pixels (number, bins + 1) of a window by group and value; the last bin is "nothing known".

    Pixels of group ``number``, those left out, are checked but not counted.

    Raises
    ------
    DeepCropError
        If a value is no day number or no percent.
    """
    first = first_value(layer)
    if layer.kind in ("day", "bound", "length", "difference"):
        bins = 2 * _SPAN + 1 if layer.limits is None else layer.limits[1] - first + 1
        words = f"no day number: expected {first} to {first + bins - 1}"
    elif layer.kind == "measure":
        bins, words = 2 * _MEASURE + 1, f"no measure: expected {first} to {-first}"
    elif layer.kind == "percent":
        bins, words = 101, "no percent: expected 0 to 100"
    else:
        known = values if layer.nodata is None else values[values != layer.nodata]
        bins, words = int(known.max(initial=0)) + 1, ""
    index = values.astype(np.intp) - first
    wrong = (index < 0) | (index >= bins)
    if layer.nodata is not None:
        missing = values == layer.nodata
        index[missing] = bins
        wrong &= ~missing
    if wrong.any():
        raise DeepCropError(
            f"Map layer '{layer.name}' holds {values[wrong][0]}, which is {words}, or "
            f"{layer.nodata} for none. Run the mapping again."
        )
    index += groups * (bins + 1)
    counted = np.bincount(index.reshape(-1), minlength=(number + 1) * (bins + 1))
    return counted.reshape(number + 1, -1)[:number]


def add(total: NDArray[Any] | None, part: NDArray[Any]) -> NDArray[Any]:
    """Sum of two counts that may differ in their number of bins."""
    if total is None:
        return part
    if total.shape[1] < part.shape[1]:
        total, part = part, total
    missing = total.shape[1] - part.shape[1]
    wide = np.pad(part[:, :-1], ((0, 0), (0, missing)))
    both: NDArray[Any] = total + np.concatenate([wide, part[:, -1:]], axis=1)
    return both


# Statistics from counts --------------------------------------------------------------------------


def quantile(histogram: NDArray[np.int64], share: float, first: int) -> float | None:
    """Quantile of whole numbers counted from ``first``, as ``numpy.quantile`` gives it."""
    return weighted_quantile(np.arange(first, first + histogram.size), histogram, share)


def weighted_quantile(
    values: NDArray[np.integer], counts: NDArray[np.int64], share: float
) -> float | None:
    """Quantile of sorted values with their counts, as ``numpy.quantile`` gives it."""
    cumulated = np.cumsum(counts)
    number = int(cumulated[-1]) if cumulated.size else 0
    if number == 0:
        return None
    rank = (number - 1) * share
    at = np.searchsorted(cumulated, (np.floor(rank), np.ceil(rank)), side="right")
    below, above = values[at].tolist()
    return round(float(below + (above - below) * (rank - np.floor(rank))), 2)


def summarise_days(histogram: NDArray[np.int64], first: int, year: int) -> dict[str, Any]:
    """Count detected pixels and give percentiles of their days; None where there are none.

    Days are counted from ``first`` on.
    """
    detected = histogram[:-1]
    number = int(detected.sum())
    result: dict[str, Any] = {
        "detected": number,
        "detected_share": round(number / int(histogram.sum()), 6),
    }
    for name, share in (("median", 0.5), ("p05", 0.05), ("p95", 0.95)):
        day = quantile(detected, share, first)
        result[f"{name}_day"] = day
        result[f"{name}_date"] = None if day is None else str(to_dates(day, year))
    return result


def summarise_numbers(histogram: NDArray[np.int64], first: int = 0) -> dict[str, Any]:
    """Smallest, median and largest number; None where nothing is known."""
    present = np.flatnonzero(histogram[:-1])
    if not present.size:
        return {"min": None, "median": None, "max": None}
    return {
        "min": int(present[0]) + first,
        "median": quantile(histogram[:-1], 0.5, first),
        "max": int(present[-1]) + first,
    }


def summarise_measure(histogram: NDArray[np.int64], layer: Layer) -> dict[str, Any]:
    """Count the pixels with a measure and give its percentiles in its unit; None without any."""
    known = histogram[:-1]
    result: dict[str, Any] = {"unit": layer.unit, "known": int(known.sum())}
    for name, share in (("p05", 0.05), ("median", 0.5), ("p95", 0.95)):
        number = quantile(known, share, first_value(layer))
        result[name] = None if number is None else round(number * layer.scale, 6)
    return result


def summarise_percent(histogram: NDArray[np.int64]) -> dict[str, Any]:
    """Mean and median percent of the pixels of which anything is known; None without any."""
    known = histogram[:-1]
    number = int(known.sum())
    mean = round(float((known * np.arange(known.size)).sum() / number), 2) if number else None
    return {"known": number, "mean": mean, "median": quantile(known, 0.5, 0)}


def summarise_codes(histogram: NDArray[np.int64], words: Mapping[int, str]) -> dict[str, float]:
    """Share of the known pixels that have each code; 0 where nothing is known."""
    known = histogram[:-1]
    total = max(int(known.sum()), 1)
    return {
        text.replace(" ", "_"): round(int(known[code]) / total, 6) if code < known.size else 0.0
        for code, text in words.items()
    }


def summarise_flags(histogram: NDArray[np.int64], bits: Mapping[int, str]) -> dict[str, float]:
    """Share of the mapped pixels that have each bit set; of `LEFT_OUT`, of all pixels."""
    values, known = np.arange(histogram.size - 1), histogram[:-1]
    number = {bit: int(known[(values & bit) > 0].sum()) for bit in bits}
    total = int(histogram.sum())
    mapped = total - number[LEFT_OUT]
    return {
        words: round(number[bit] / (total if bit == LEFT_OUT else mapped), 6)
        for bit, words in bits.items()
    }


def summarise_spread(histogram: NDArray[np.int64], first: int) -> dict[str, Any]:
    """Summarise the known values as a box plot does: number, 5, 25, 50, 75, 95 % and mean."""
    known = histogram[:-1]
    number = int(known.sum())
    mean = float((known * np.arange(known.size)).sum() / number) + first if number else None
    shares = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
    return {
        "pixels": int(histogram.sum()),
        "known": number,
        "share": round(number / int(histogram.sum()), 6) if histogram.sum() else None,
        **{name: quantile(known, share, first) for name, share in shares.items()},
        "mean": None if mean is None else round(mean, 2),
    }


def by_crop(groups: Groups, histogram: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    """Sum counts by crop, in the order of the codes; unknown crops are left out."""
    per_code = histogram.reshape(len(groups.codes), BANDS, -1).sum(axis=1)
    result: dict[str, NDArray[np.int64]] = {}
    for code, counts in zip(groups.codes.tolist(), per_code, strict=True):
        if code == 0:
            continue
        name = groups.names.get(code, f"code {code}")  # several codes of one name are one crop
        result[name] = result[name] + counts if name in result else counts
    return result
