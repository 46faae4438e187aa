"""Season dates of observation cubes, xarray objects (lazily on Dask) and pandas series.

:func:`deepcrop.phenology.season_dates` computes the dates; here times become days, pixels become
rows, and the result gets names, units and coordinates.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from deepcrop import grid, indices, stages
from deepcrop._version import __version__
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.phenology.date_kernels import MEASURES, NO_SUCH, REASONS, TOO_LONG
from deepcrop.phenology.inputs import from_pandas, undo_packing, with_utc_times
from deepcrop.phenology.seasons import Seasons, season_dates, stage_names
from deepcrop.phenology.slots import SlotChoice, choose_slots, near_year, start_of_year
from deepcrop.phenology.smoothers import (
    DEFAULT_SMOOTHER,
    SeasonRule,
    Smoother,
    choose,
    name_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VARIABLES: dict[str, tuple[tuple[str, ...], type, str]] = {
    "date": (("season", "stage"), np.float32, "date"),
    "low": (("season", "stage"), np.float32, "lower bound of the 90 % interval of the date"),
    "high": (("season", "stage"), np.float32, "upper bound of the 90 % interval of the date"),
    "reason": (("season", "stage"), np.uint8, "why a date is missing"),
    "length": (("season",), np.float32, "length of the season between its outermost dates"),
    "amplitude": (("season",), np.float32, "amplitude of the season, maximum less base"),
    "base": (("season",), np.float32, "base of the season, mean of both sides"),
    "maximum": (("season",), np.float32, "height of the curve at its peak"),
    "small_integral": (
        ("season",),
        np.float32,
        "area between curve and base, between the outermost dates",
    ),
    "large_integral": (
        ("season",),
        np.float32,
        "area between curve and zero, between the outermost dates",
    ),
    "slope_up": (("season",), np.float32, "steepest slope of the rise"),
    "slope_down": (("season",), np.float32, "steepest slope of the fall"),
    "count": ((), np.uint16, "number of seasons found, kept here or not"),
}
"""Variables of the result: dimensions after those of the data, type, long name."""

_DATES = ("date", "low", "high")


def extract(
    source: xr.DataTree | xr.Dataset | xr.DataArray | pd.Series,
    *,
    index: str = "ndvi",
    year: int | None = None,
    smoother: str | Smoother = DEFAULT_SMOOTHER,
    preset: str = "sentinel2",
    fractions: tuple[float, ...] = (0.2, 0.5),
    rule: SeasonRule | None = None,
    weights: xr.DataArray | pd.Series | None = None,
    seasons: int | None = None,
    latitude: float | xr.DataArray | None = None,
    year_start: str | None = None,
) -> xr.Dataset | pd.DataFrame:
    """Season dates of a cube, an array with a time axis, or one series.

    Data on Dask stays on Dask: nothing is computed before it is asked for, every chunk is worked
    on by itself, and the result is that of data in memory to the bit. Several chunks along time are
    merged first. A cube opened by :func:`deepcrop.open_cube` is lazy but read as a whole;
    ``cube.chunk(x=256, y=256)`` puts it on Dask.

    Parameters
    ----------
    source : DataTree, Dataset, DataArray or pandas.Series
        An observation cube or its optical group, from which ``index`` is computed; or greenness
        itself, with a dimension ``time`` of dates in UTC and any others; or a series of greenness
        over a DatetimeIndex. Dates may be in any order and occur twice; those with a time zone
        become UTC; their time of day is dropped. NaN is no observation, and neither is what the
        attributes ``_FillValue`` and ``missing_value`` name; integers with ``scale_factor`` and
        ``add_offset`` are unpacked.
    index : str
        Greenness to compute from a cube or Dataset: ``"ndvi"``, ``"gcc"``, ``"evi"`` or
        ``"evi2"``; not read otherwise.
    year : int, optional
        Target year: gives its season slots (:mod:`deepcrop.phenology.slots`) from the
        observations that a map of that year would use. By default all seasons in order of time.
    smoother : str or settings
        As in :func:`season_dates`.
    preset : str
        As in :func:`season_dates`.
    fractions : tuple of float
        Shares of the amplitude, rising, each between 0 and 1.
    rule : SeasonRule, optional
        What counts as a season. The least amplitude is by default that of the index
        (`deepcrop.indices.INDICES`).
    weights : DataArray or Series, optional
        Weight of each observation, 0 = ignore, on the times of ``source`` and on all or some of
        its other dimensions; by default all 1.
    seasons : int, optional
        Length of the ``season`` axis, which must be known before anything is computed: by default
        two for every calendar year that the series touches. Where there are more, those of largest
        amplitude are kept, in order of time; ``count`` tells. With ``year`` the number of slots,
        by default two. A pandas series gives all its seasons.
    latitude : float or DataArray, optional
        Degrees, south negative, for ``year``: decides which season is the main one. By default a
        coordinate ``latitude`` or ``lat``, else the centre of the grid.
    year_start : str, optional
        Month and day on which ``year`` starts; by default 1 January, with a warning in the south.
        ``"07-01"`` keeps the summer crops of the southern hemisphere whole: 2018 is then 1 July
        2017 to 30 June 2018 (:class:`deepcrop.stages.TargetYear`). ``"auto"``: that in the south,
        1 January in the north; several latitudes must then be of one hemisphere.

    Returns
    -------
    Dataset
        Dimensions of ``source`` without ``time``, then ``season`` (1, 2, …; with ``year``, 1 is the
        main season) and ``stage`` (``sos20, sos50, peak, eos50, eos20``).

        ``date, low, high``
            Date and its 90 % interval: datetime64[ns], NaT where there is none; with ``year``,
            float32 days since its 1 January (fractions kept), NaN where there is none.
        ``reason``
            uint8 with CF ``flag_values`` and ``flag_meanings``. Of a series without any season the
            first row says why; other rows without a season say "no such season".
        ``length``, ``amplitude``, ``base``, ``maximum``, ``small_integral``, ``large_integral``, \
        ``slope_up``, ``slope_down``
            float32 per season, as of `deepcrop.phenology.Seasons`: days, unit of the values
            (thrice), times days (twice), per day (twice).
        ``count``
            uint16: seasons found, or with ``year`` those that belong to it.
    pandas.DataFrame
        For a pandas series: a row per season, a column per stage (Timestamps), then ``length``
        and the measures named above, ``<stage>_low`` and ``<stage>_high`` for each stage, and
        ``missing``: why which dates are, else empty. If there is no season, no row, and
        ``.attrs["reason"]`` says why.

    Raises
    ------
    DeepCropError
        If there is no time axis of dates, nothing near the target year, no latitude for it, an
        unknown index or dimension, or what :func:`season_dates` refuses: an option, or values that
        greenness cannot have (on Dask when they are computed).
    CubeError
        If a cube has no optical group or lacks a band.

    Examples
    --------
    >>> import deepcrop
    >>> cube = deepcrop.open_cube("region.zarr").chunk(x=256, y=256)
    >>> seasons = deepcrop.extract(cube, year=2018)
    >>> seasons["date"].sel(season=1, stage="sos50").dims
    ('y', 'x')

    A pandas series with a DatetimeIndex:

    >>> import numpy as np
    >>> import pandas as pd
    >>> times = pd.date_range("2018-01-01", "2018-12-31", freq="5D")
    >>> ndvi = 0.2 + 0.6 * np.exp(-(((times.day_of_year - 190) / 40) ** 2))
    >>> table = deepcrop.extract(pd.Series(ndvi, times))
    """
    if seasons is not None and seasons < 1:
        raise DeepCropError(f"seasons={seasons}: expected a positive number.")
    slots = seasons or stages.SLOTS  # of a target year
    if year is None and year_start is not None:
        raise DeepCropError(f"year_start={year_start!r} is the start of a target year; give year=…")
    if isinstance(source, pd.Series):
        values, weights = from_pandas(source, weights)
        seasons = max(values.size // 2, 1)  # room for all; empty rows are dropped
    else:
        values, rule = _greenness(source, index, rule)
    values = _with_dates(values)
    if isinstance(weights, xr.DataArray) and "time" in weights.coords and "time" in weights.dims:
        weights = with_utc_times(weights)
    first, last = _span(values)
    if year is None:
        origin = _year(first)
        seasons = seasons or 2 * (_year(last) - origin + 1)
        place: Any = np.nan
    else:
        year = stages.check_year(year)
        if latitude is None and isinstance(source, pd.Series):
            raise DeepCropError(
                "A pandas series has no place, and which season of a year is the main one depends "
                "on the latitude: give it, for example latitude=41.6."
            )
        origin, seasons = year, slots
        place = _latitude(values, latitude)
        year_start = start_of_year(year_start, place)
        target = stages.TargetYear(year, year_start)
    values, weights = _matched(values, weights, place)
    days = stages.to_days(values["time"].values, origin)
    if year is not None:
        used = near_year(days, target)
        if not used.any():
            raise DeepCropError(
                f"There is no observation around {target}: the series runs from {first} to {last}. "
                "Choose another year."
            )
        values, days = values.isel(time=used), days[used]
        weights = None if weights is None else weights.isel(time=used)
    options: dict[str, Any] = {
        "smoother": smoother, "preset": preset, "fractions": fractions, "rule": rule
    }  # fmt: skip
    season_dates(np.empty((0, days.size), np.float32), days, **options)  # refuses bad options now
    names = stage_names(fractions)

    arrays = [values, place] if weights is None else [values, place, weights]
    results = xr.apply_ufunc(
        _block,
        *(_whole_series(array) for array in arrays),
        input_core_dims=[["time"], [], ["time"]][: len(arrays)],
        output_core_dims=[list(dims) for dims, _, _ in _VARIABLES.values()],
        kwargs={
            "days": days,
            "year": year,
            "year_start": year_start or stages.YEAR_START,
            "seasons": seasons,
            "options": options,
        },
        dask="parallelized",
        output_dtypes=[dtype for _, dtype, _ in _VARIABLES.values()],
        dask_gufunc_kwargs={"output_sizes": {"season": seasons, "stage": len(names)}},
    )
    data = xr.Dataset(dict(zip(_VARIABLES, results, strict=True)))
    data = _labelled(data, values, names, origin, None if year is None else target)
    data.attrs |= _provenance(source, index, options)
    if year is None or isinstance(source, pd.Series):
        data = _dated(data, origin)
    return _table(data) if isinstance(source, pd.Series) else data


# Inputs -------------------------------------------------------------------------------------------


def _greenness(
    source: xr.DataTree | xr.Dataset | xr.DataArray, index: str, rule: SeasonRule | None
) -> tuple[xr.DataArray, SeasonRule | None]:
    """Greenness of a cube or group, and the rule that suits it; an array is greenness itself."""
    if isinstance(source, xr.DataArray):
        return undo_packing(source), rule
    if isinstance(source, xr.DataTree):
        if "optical" in source.children:
            source = source["optical"].to_dataset()
        elif source.data_vars:
            source = source.to_dataset()
        else:
            raise CubeError("The cube has no 'optical' group; greenness needs reflectance.")
    if not isinstance(source, xr.Dataset):
        raise DeepCropError(
            f"Cannot read seasons from a {type(source).__name__}; expected a cube (DataTree), a "
            "Dataset, a DataArray with a time dimension or a pandas Series (one column of a table)."
        )
    if index not in indices.INDICES:
        raise DeepCropError(f"Index {index!r} is unknown; expected {', '.join(indices.INDICES)}.")
    bands, _, min_amplitude = indices.INDICES[index]
    # Also keeps unsigned integers from a difference below 0, which they cannot hold.
    source = source.assign({band: undo_packing(source[band]) for band in bands if band in source})
    values = indices.index_of(source, index)
    if source.attrs.get("simulated"):
        values.attrs["simulated"] = 1
    return values, rule or SeasonRule(min_amplitude=min_amplitude)


def _with_dates(values: xr.DataArray) -> xr.DataArray:
    """Check the time axis and the type of the values."""
    values = with_utc_times(values)
    if values.dtype.kind not in "fiu":
        raise DeepCropError(f"Values are of type {values.dtype}; expected numbers.")
    clash = {"season", "stage"} & set(values.dims)
    if clash:
        raise DeepCropError(f"Dimension {sorted(clash)} is one of the result's; rename yours.")
    return values


def _span(values: xr.DataArray) -> tuple[np.datetime64, np.datetime64]:
    """First and last date."""
    dates = values["time"].values.astype("datetime64[D]")
    return dates.min(), dates.max()


def _year(date: np.datetime64) -> int:
    return int(date.astype("datetime64[Y]").astype(int)) + 1970


def _latitude(values: xr.DataArray, latitude: float | xr.DataArray | None) -> Any:
    """Latitude as given, as a coordinate says, or of the centre of the grid."""
    if latitude is not None:
        return latitude
    for name in ("latitude", "lat"):
        if name in values.coords and "time" not in values.coords[name].dims:
            return values.coords[name].reset_coords(drop=True)
    try:
        return grid.centre_latitude(grid.grid_of(values))
    except CubeError as error:
        raise DeepCropError(
            "Which season of a year is the main one depends on the latitude, and the data has "
            f"neither a coordinate 'latitude' nor a grid ({error}) Give latitude=…"
        ) from error


def _matched(
    values: xr.DataArray, weights: xr.DataArray | None, place: Any
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Check that weights and latitude lie on the coordinates of the values."""
    given = {"weights": weights, "latitude": place}
    for name, array in given.items():
        if array is None or (name == "latitude" and np.isscalar(array)):
            continue
        if not isinstance(array, xr.DataArray):
            raise DeepCropError(f"{name} is a {type(array).__name__}; expected a DataArray.")
        allowed = [dim for dim in values.dims if name == "weights" or dim != "time"]
        if not set(array.dims) <= set(allowed):
            raise DeepCropError(
                f"{name} has dimensions {array.dims}; expected only those of the data, "
                f"{tuple(allowed)}."
            )
        try:
            xr.align(values, array, join="exact", copy=False)
        except ValueError as error:
            raise DeepCropError(
                f"{name} lies on other coordinates than the data; select or reindex it first "
                f"({error})."
            ) from error
    if weights is not None and "time" not in weights.dims:
        weights = weights.expand_dims(time=values["time"])
    return values, weights


def _whole_series(array: Any) -> Any:
    """Put the whole time axis into each chunk of Dask; cut other axes so that chunks stay small."""
    if not isinstance(array, xr.DataArray) or array.chunks is None or "time" not in array.dims:
        return array
    if len(array.chunksizes["time"]) == 1:
        return array
    return array.chunk({dim: -1 if dim == "time" else "auto" for dim in array.dims})


# Arithmetic -------------------------------------------------------------------------------------


def _block(
    values: NDArray[Any],
    latitude: Any,
    weights: NDArray[Any] | None = None,
    *,
    days: NDArray[np.float32],
    year: int | None,
    year_start: str,
    seasons: int,
    options: dict[str, Any],
) -> tuple[NDArray[Any], ...]:
    """Variables of one chunk, in the order of `_VARIABLES`: arrays (…, season, stage) and so on."""
    shape = values.shape[:-1]
    rows = np.ascontiguousarray(values.reshape(-1, days.size), np.float32)
    if weights is not None:
        weights = np.broadcast_to(weights, values.shape).reshape(rows.shape)
    found = season_dates(rows, days, weights, **options)
    if year is None:
        choice = SlotChoice(_strongest(found, seasons), found.count)
    else:
        place: Any = latitude  # one per pixel, or one for all
        if np.ndim(latitude):
            place = np.broadcast_to(latitude, shape).reshape(-1, 1)
        # A season belongs to a year by its dates at half of the amplitude, asked for or not.
        halves = found
        if not {"sos50", "eos50"} <= {*found.stages}:
            halves = season_dates(rows, days, weights, **options | {"fractions": (0.5,)})
        choice = choose_slots(halves, year, place, year_start=year_start, slots=seasons)
    results: dict[str, NDArray[Any]] = {
        "date": choice.gather(found.dates),
        "low": choice.gather(found.low),
        "high": choice.gather(found.high),
        "reason": choice.gather(found.reason, empty=NO_SUCH),
        "length": choice.gather(found.length),
        **{name: choice.gather(getattr(found, name)) for name in MEASURES},
        "count": choice.count,
    }
    nothing = (found.count == 0) & (choice.index[:, 0] < 0)
    results["reason"][nothing, 0] = found.reason[nothing, 0]
    if year is not None:  # a year may lie within a season of two years that peaks in the other
        within = (choice.count == 0) & (found.reason == TOO_LONG).any(axis=(1, 2))
        results["reason"][within, 0] = TOO_LONG
    return tuple(
        results[name].astype(dtype, copy=False).reshape((*shape, *results[name].shape[1:]))
        for name, (_, dtype, _) in _VARIABLES.items()
    )


def _strongest(found: Seasons, number: int) -> NDArray[np.intp]:
    """Find the ``number`` seasons of largest amplitude, in order of time; -1 = none.

    Seasons whose peak was not seen have no amplitude and are left out.
    """
    missing = max(number - found.amplitude.shape[1], 0)
    strength = np.pad(found.amplitude, ((0, 0), (0, missing)), constant_values=np.nan)
    best = np.argsort(-strength, axis=1, kind="stable")[:, :number]  # NaN comes last
    absent = strength.shape[1]
    best = np.where(np.isnan(np.take_along_axis(strength, best, axis=1)), absent, best)
    best = np.sort(best, axis=1)
    return np.where(best == absent, -1, best)


# Results ----------------------------------------------------------------------------------------


def _labelled(
    data: xr.Dataset,
    values: xr.DataArray,
    names: tuple[str, ...],
    origin: int,
    year: stages.TargetYear | None,
) -> xr.Dataset:
    """Give coordinates, units and long names."""
    kept = {name: c for name, c in values.coords.items() if "time" not in c.dims}
    data = data.assign_coords(
        kept
        | {
            "season": np.arange(1, data.sizes["season"] + 1, dtype=np.int16),
            "stage": np.array(names, object),  # fixed-length text has no Zarr specification
        }
    )
    data["season"].attrs["long_name"] = (
        "season, in order of time" if year is None else f"season of {year}, 1 = main season"
    )
    data["stage"].attrs["long_name"] = "stage of the season, per cent of its amplitude"
    unit = values.attrs.get("units")
    per_season = {"length": "d"}  # "days" would be read back as a duration
    if unit is not None:
        once = "" if unit == "1" else f"{unit} "
        per_season |= dict.fromkeys(("amplitude", "base", "maximum"), unit)
        per_season |= dict.fromkeys(("small_integral", "large_integral"), f"{once}d")
        per_season |= dict.fromkeys(("slope_up", "slope_down"), f"{once}d-1")
    for name, (_, _, long_name) in _VARIABLES.items():
        data[name].attrs = {"long_name": long_name}
        if name in per_season:
            data[name].attrs["units"] = per_season[name]
        if name in _DATES:
            data[name].attrs["units"] = f"days since {origin:04d}-01-01"
        if "spatial_ref" in data.coords and {"y", "x"} <= set(data[name].dims):
            data[name].encoding["grid_mapping"] = "spatial_ref"
    data["count"].attrs["units"] = "1"
    data["reason"].attrs |= {
        "flag_values": np.arange(len(REASONS), dtype=np.uint8),
        "flag_meanings": " ".join(text.replace(" ", "_") for text in REASONS),
    }
    if values.attrs.get("simulated"):
        data.attrs["simulated"] = 1
    return data


def _provenance(source: Any, index: str, options: dict[str, Any]) -> dict[str, str]:
    """Record the settings that the dates were computed with, as text for any file format."""
    how = {"software": f"deepcrop {__version__}"}
    if isinstance(source, xr.DataTree | xr.Dataset):
        how["index"] = index
    smoother, rule = choose(options["smoother"], options["preset"], options["rule"])
    how |= {"smoother": name_of(smoother), "settings": json.dumps(asdict(smoother))}
    return how | {"rule": json.dumps(asdict(rule))}


def _dated(data: xr.Dataset, origin: int) -> xr.Dataset:
    """Turn days of the year ``origin`` into datetime64[ns], to the second."""
    for name in _DATES:
        dates = xr.apply_ufunc(
            _datetimes,
            data[name],
            kwargs={"origin": origin},
            dask="parallelized",
            output_dtypes=[np.dtype("datetime64[ns]")],
        )
        attrs = {key: value for key, value in data[name].attrs.items() if key != "units"}
        encoding = data[name].encoding
        dates.attrs = attrs
        data[name] = dates
        data[name].encoding = encoding
    return data


def _datetimes(days: NDArray[np.float32], origin: int) -> NDArray[np.datetime64]:
    known = np.isfinite(days)
    seconds = np.rint(np.where(known, days, 0).astype(np.float64) * 86400).astype("timedelta64[s]")
    dates = (np.datetime64(f"{origin:04d}-01-01", "s") + seconds).astype("datetime64[ns]")
    return np.where(known, dates, np.datetime64("NaT", "ns"))


def _table(data: xr.Dataset) -> pd.DataFrame:
    """One row per season of a single series."""
    why = int(data["reason"][0].max())
    # The strongest season of a year may have no dates, and the next one has: both have a row.
    dated = np.flatnonzero(data["date"].notnull().any("stage"))
    data = data.isel(season=slice(0, int(dated[-1]) + 1 if dated.size else 0))
    names = data["stage"].values.tolist()
    columns: dict[str, Any] = {name: data["date"].sel(stage=name).values for name in names}
    for name in ("length", *MEASURES):
        columns[name] = data[name].values
    for name in names:
        columns[f"{name}_low"] = data["low"].sel(stage=name).values
        columns[f"{name}_high"] = data["high"].sel(stage=name).values
    columns["missing"] = [_why(row, names) for row in data["reason"].values]
    table = pd.DataFrame(columns, index=pd.Index(data["season"].values, name="season"))
    table.attrs = data.attrs | ({} if len(table) else {"reason": REASONS[why]})
    return table


def _why(codes: NDArray[np.uint8], names: list[str]) -> str:
    """Reasons of one season in words: ``"sos20, sos50: not observed before"``."""
    texts = []
    for code in dict.fromkeys(codes[codes > 0].tolist()):
        which = ", ".join(name for name, c in zip(names, codes, strict=True) if c == code)
        texts.append(f"{which}: {REASONS[code]}")
    return "; ".join(texts)
