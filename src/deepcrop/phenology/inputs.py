"""Read xarray objects and pandas series as a user gives them: dates in UTC, fill values as NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from deepcrop.errors import DeepCropError
from deepcrop.phenology.series import KINDS, kind_of_times

_EARLIEST, _LATEST = 1678, 2261  # years that datetime64[ns], the type of the result, can hold whole

_YEARS_OF_360 = "365.25 * (d.year - 2018 + (d.dayofyr - 1) / 360)"


def from_pandas(
    series: pd.Series, weights: pd.Series | None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Convert a series and its weights to arrays over time, in UTC.

    Raises
    ------
    DeepCropError
        If the index is no DatetimeIndex (the message says how to make it one), weights have another
        index, or something is no number.
    """
    times = series.index
    if not isinstance(times, pd.DatetimeIndex):
        kind, has_zone = kind_of_times(times)
        what = f" of {KINDS[kind]}" if kind in KINDS else ""
        raise DeepCropError(
            f"The index of the series is a {type(times).__name__}{what}; expected a DatetimeIndex. "
            f"Make it one: series.index = {_new_index(times, kind, has_zone)}."
        )
    if weights is not None and not (isinstance(weights, pd.Series) and weights.index.equals(times)):
        raise DeepCropError("Weights of a series must be a series with the same index.")
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    coords = {"time": times.values}
    try:
        array = xr.DataArray(series.to_numpy(np.float32, na_value=np.nan), coords, dims="time")
        if weights is None:
            return array, None
        return array, xr.DataArray(weights.to_numpy(np.float32, na_value=0), coords, dims="time")
    except (TypeError, ValueError, OverflowError) as error:
        raise DeepCropError(
            f"The series holds what is no number ({error}); convert it with pd.to_numeric."
        ) from None


def _new_index(times: pd.Index, kind: str, has_zone: bool) -> str:
    """Python that makes a DatetimeIndex of the index of a series."""
    if kind == "" and times.dtype.kind in "iuf":  # pd.to_datetime would read them as nanoseconds
        start = "pd.Timestamp('2018-01-01') + pd.to_timedelta(series.index, 'D')"
        return f"{start} if it is days since that date"
    return {
        "period": "series.index.to_timestamp()",
        "cftime": "pd.to_datetime([str(d) for d in series.index])",
        "360": "pd.Timestamp('2018-01-01') + pd.to_timedelta("
        f"[{_YEARS_OF_360} for d in series.index], 'D')",
        "differences": "pd.Timestamp('2018-01-01') + series.index",
    }.get(kind, f"pd.to_datetime(series.index{', utc=True' * has_zone})")


def with_utc_times(values: xr.DataArray) -> xr.DataArray:
    """Check the time axis; times with a time zone become UTC.

    Raises
    ------
    DeepCropError
        If there is none, or it holds no dates or missing ones; the message says how to convert
        them.
    """
    if "time" not in values.dims or "time" not in values.coords:
        raise DeepCropError(
            f"There is no dimension 'time' with a coordinate; dimensions are {values.dims}. Rename "
            "yours: array.rename(date='time')."
        )
    index = values.indexes.get("time")
    if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
        values = values.assign_coords(time=index.tz_convert("UTC").tz_localize(None))
    times = values["time"].values
    if times.dtype.kind != "M":
        kind, has_zone = kind_of_times(times)
        raise DeepCropError(
            f"Coordinate 'time' holds {KINDS.get(kind, f'values of type {times.dtype}')}; expected "
            f"datetime64. Convert it: {_new_times(values['time'], kind, has_zone)}."
        )
    if times.size == 0:
        raise DeepCropError("The time axis is empty; expected at least one observation.")
    if np.isnat(times).any():
        raise DeepCropError(
            "Coordinate 'time' holds missing values (NaT); drop those observations."
        )
    years = times.astype("datetime64[Y]").astype(int) + 1970
    if years.min() < _EARLIEST or years.max() > _LATEST:
        raise DeepCropError(
            f"Coordinate 'time' reaches from {years.min()} to {years.max()}; expected years from "
            f"{_EARLIEST} to {_LATEST}. Correct or drop the wrong dates."
        )
    return values


def _new_times(times: xr.DataArray, kind: str, has_zone: bool) -> str:
    """Python that gives an array a time coordinate of datetime64."""
    if kind in ("cftime", "360"):  # a year of 360 days must be stretched
        stretch = ", align_on='year'" if kind == "360" else ""
        return f"array.convert_calendar('standard', use_cftime=False{stretch})"
    if kind == "" and " since " in str(times.attrs.get("units", "")):
        return "xr.decode_cf(array.to_dataset(name='values'))['values']"
    if kind == "" and times.dtype.kind in "iuf":
        start = "pd.Timestamp('2018-01-01') + pd.to_timedelta(array['time'].values, 'D')"
        return f"array.assign_coords(time={start}) if it is days since that date"
    new = {
        "period": "array.indexes['time'].to_timestamp()",
        "differences": "pd.Timestamp('2018-01-01') + array.indexes['time']",
    }.get(kind, "pd.to_datetime(array['time'].values)")
    if has_zone:
        new = "pd.to_datetime(array['time'].values, utc=True).tz_localize(None)"
    return f"array.assign_coords(time={new})"


def undo_packing(values: xr.DataArray) -> xr.DataArray:
    """Make NaN of the fill values that the attributes name, and numbers of packed integers.

    Files that were opened undecoded (``mask_and_scale=False``, rioxarray without ``masked``) keep
    ``_FillValue``, ``missing_value``, ``scale_factor`` and ``add_offset`` as attributes. Numbers
    with a fraction are not scaled: decoded arrays often keep those attributes.

    Raises
    ------
    DeepCropError
        If one of the attributes is no number.
    """
    if values.dtype.kind not in "fiu":
        return values
    attrs = values.attrs
    fills = [fill for name in ("_FillValue", "missing_value") for fill in _numbers(attrs, name)]
    (scale,), (offset,) = (
        _numbers(attrs, "scale_factor", 1)[:1],
        _numbers(attrs, "add_offset", 0)[:1],
    )
    packed = values.dtype.kind in "iu"
    wrong: Any = False
    for fill in fills:
        if packed and fill == np.rint(fill):
            wrong = wrong | (values == int(fill))
        elif not packed and np.isfinite(fill):
            wrong = wrong | (values == values.dtype.type(fill))
    if packed:
        values = values.astype(np.float32) * np.float32(scale) + np.float32(offset)
    if wrong is not False:
        values = values.where(~wrong)
    values.attrs = attrs
    return values


def _numbers(attrs: dict[Any, Any], name: str, *usual: float) -> list[float]:
    """Numbers of an attribute; ``usual`` where it is missing."""
    if attrs.get(name) is None:
        return list(usual)
    try:
        numbers = np.atleast_1d(np.asarray(attrs[name], np.float64)).reshape(-1).tolist()
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if not numbers:
        raise DeepCropError(
            f"Attribute {name} is {attrs[name]!r}; expected a number. Correct it, or drop it: "
            f"del array.attrs[{name!r}]."
        )
    return numbers
