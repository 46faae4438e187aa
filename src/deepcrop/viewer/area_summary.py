"""Summarise the dates and the series of the pixels of an area."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop.cube.contract import CHUNK, OPTICAL_BANDS, SAR_BANDS
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import images_of
from deepcrop.phenology.slots import REACH
from deepcrop.products.layers import FORECAST, STATUS
from deepcrop.stages import to_dates
from deepcrop.viewer.map_tiles import class_name, read_window
from deepcrop.viewer.pixel_series import write_csv

if TYPE_CHECKING:
    import datetime

    from numpy.typing import NDArray

    from deepcrop.products.results import Result, ResultLayer
    from deepcrop.viewer.areas import Area

_SERIES_PIXELS = 256
"""Maximum number of pixels of an area whose series are read."""

_SERIES_CHUNKS = 4
"""Maximum number of chunks of the cube that are read for them, each with all its dates."""

_SERIES_LOCK = Lock()
"""Held while the series of an area are read, so that one area at a time takes memory."""


def summarise(result: Result, area: Area) -> dict[str, Any]:
    """Summarise the dates of an area; layers whose files are missing are left out.

    Returns
    -------
    dict
        ``name``, ``pixels``, ``crops`` (name and share, the commonest first) and ``dates``: for
        each stage, season and method the median ``day`` of the pixels that have a date, its
        quartiles ``q25`` and ``q75``, the medians ``low`` and ``high`` of the ends of their 90 %
        intervals, the ``share`` of pixels with a date, and of a map in season ``status``: the
        share of the pixels with each status. ``forecast`` is whether any of the dates is one.
    """
    dates: dict[tuple[Any, ...], dict[str, Any]] = {}
    pixels = int(area.inside.sum())
    crops = []
    for layer in result.layers.values():
        if not layer.path.is_file():
            continue
        if layer.kind == "class" and layer.key.rpartition("/")[2] == "crop_type":
            crops = _crops(layer, read_window(layer, area.rows, area.cols)[area.inside])
        if layer.kind not in ("day", "bound", "status"):
            continue
        values = read_window(layer, area.rows, area.cols)[area.inside].compressed()
        names = {"season": layer.season, "stage": layer.stage, "method": layer.method}
        entry = dates.setdefault(tuple(names.values()), names)
        if layer.kind == "status":
            entry["status"] = {
                name: round(float((values == code).sum()) / pixels, 4)
                for code, name in STATUS.items()
            }
            entry["forecast"] = bool((values == FORECAST).any())
        elif layer.kind == "bound":
            entry[str(layer.part)] = _quantile(values, 0.5)
        else:
            entry |= {"day": _quantile(values, 0.5), "share": round(values.size / pixels, 4)}
            entry |= {"q25": _quantile(values, 0.25), "q75": _quantile(values, 0.75)}
    return {"name": area.name, "pixels": pixels, "crops": crops, "dates": list(dates.values())}


def _quantile(values: NDArray[Any], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 1) if values.size else None


def _crops(layer: ResultLayer, values: np.ma.MaskedArray) -> list[dict[str, Any]]:
    codes, counts = np.unique(values.compressed(), return_counts=True)
    commonest = sorted(zip(counts.tolist(), codes.tolist(), strict=True), reverse=True)
    return [
        {"name": class_name(layer, code), "share": round(count / values.size, 4)}
        for count, code in commonest[:3]
    ]


def area_series(
    cube: xr.DataTree, result: Result, area: Area, until: datetime.date | None
) -> dict[str, Any]:
    """Read the series of an area: of each scene the median and the 10 to 90 % range of its pixels.

    Of a large area they are those of at most 256 of its pixels, evenly chosen in the four chunks
    of the cube that hold most of it.

    Returns
    -------
    dict
        ``pixels``, whose series were read, and ``series``: ``name``, ``unit``, ``days``,
        ``median``, ``low``, ``high`` (null where no pixel is clear), ``clear`` (number of pixels)
        and ``notes``.
    """
    rows, cols = _sample(area)
    pixel = {"y": xr.DataArray(rows, dims="pixel"), "x": xr.DataArray(cols, dims="pixel")}
    index = result.summary.get("source", {}).get("index", "ndvi")
    target = result.target
    series = []
    with _SERIES_LOCK:
        for group, bands in (("optical", OPTICAL_BANDS), ("sar", SAR_BANDS)):
            if group not in cube.children:
                continue
            images = images_of(cube, group, bands, target.year, REACH, target.start, until)
            values = {name: images.data[name].isel(pixel).values for name in bands}
            notes = []
            if "relative_orbit" in images.data.coords:
                notes = [f"orbit {n}" for n in images.data["relative_orbit"].values.tolist()]
            if group == "sar":
                series += [_across(name, "dB", images.days, values[name], notes) for name in bands]
                continue
            for name in dict.fromkeys(("ndvi", "gcc", index)):
                of_bands, formula, _ = INDICES[name]
                found = formula(*(values[band] for band in of_bands))
                series.append(_across(name, "1", images.days, found, []))
    return {"pixels": len(rows), "series": series}


def _sample(area: Area) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, cols = np.nonzero(area.inside)
    rows, cols = rows + area.rows.start, cols + area.cols.start
    chunks, chunk, counts = np.unique(
        (rows // CHUNK) * 100_000 + cols // CHUNK, return_inverse=True, return_counts=True
    )
    fullest = np.argsort(-counts, kind="stable")[:_SERIES_CHUNKS]
    kept = np.flatnonzero(np.isin(chunk, fullest)) if chunks.size > 1 else np.arange(rows.size)
    if kept.size > _SERIES_PIXELS:
        kept = kept[np.linspace(0, kept.size - 1, _SERIES_PIXELS).round().astype(int)]
    return rows[kept], cols[kept]


def _across(
    name: str, unit: str, days: NDArray[Any], values: NDArray[Any], notes: list[str]
) -> dict[str, Any]:
    """Median and range of each scene; ``values`` are (time, pixel), NaN where masked."""
    clear = np.isfinite(values).sum(axis=1)
    seen = clear > 0
    found = np.full((3, len(days)), np.nan)
    if seen.any():
        found[:, seen] = np.nanquantile(values[seen], (0.1, 0.5, 0.9), axis=1)
    low, median, high = (
        [round(v, 5) if np.isfinite(v) else None for v in part] for part in found.tolist()
    )
    return {
        "name": name,
        "unit": unit,
        "days": days.tolist(),
        "median": median,
        "low": low,
        "high": high,
        "clear": clear.tolist(),
        "notes": notes,
    }


_WORDS = {"median": "median", "low": "10 %", "high": "90 %"}


def area_csv(summary: dict[str, Any], read: dict[str, Any], year: int, simulated: bool) -> str:
    """Return the summary and the series of an area as CSV, one value a row."""
    rows: list[tuple[Any, ...]] = []
    for date in summary["dates"]:
        name = f"map {date['method']} {date['stage']}"
        kind = "some or all pixels are forecasts" if date.get("forecast") else ""
        for part in ("day", "q25", "q75", "low", "high"):
            if (day := date.get(part)) is not None:
                words = "median" if part == "day" else part
                when = str(to_dates(day, year))
                rows.append((f"{name} {words}", date["season"], f"{day:g}", when, "", "", kind))
        rows.append((f"{name} share with a date", date["season"], "", "", date["share"], "1", ""))
        for status, share in date.get("status", {}).items():
            rows.append((f"{name} share {status}", date["season"], "", "", share, "1", ""))
    for series in read["series"]:
        dates = to_dates(np.array(series["days"]), year)
        for k, day in enumerate(series["days"]):
            note = f"{series['clear'][k]} of {read['pixels']} pixels clear"
            for part in ("median", "low", "high"):
                if (value := series[part][k]) is not None:
                    name = f"{series['name']} {_WORDS[part]}"
                    number = f"{value:.5g}"
                    rows.append((name, "", f"{day:g}", str(dates[k]), number, series["unit"], note))
    return write_csv(rows, simulated)
