"""Map layers as files others can open: COGs, styles, pictures, STAC, a summary, statistics.

Layers are read window by window from wherever they lie, so a region may be far larger than memory.
A map by one method lies at the top of its folder; one by several has a folder for each.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
import rasterio

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.products import histograms, landscape
from deepcrop.products.cog import crs_name, windows, write_cog
from deepcrop.products.layers import (
    CROP_TYPE,
    DIFFERENCE,
    FLAGS,
    FORECAST,
    METHODS,
    SEASONS,
    STATUS,
    USUAL,
    WIDE_INTERVAL,
    Content,
    Layer,
    describe,
    layer_name,
)
from deepcrop.products.layers import DAY_LAYERS as DAY_LAYERS
from deepcrop.products.qgis_project import PROJECT, write_project
from deepcrop.products.stac import layer_asset, stac_item, write_stac
from deepcrop.stages import DAY_MAX, DAY_MIN, NO_DAY, TargetYear
from deepcrop.storage.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.products.histograms import Groups
    from deepcrop.products.landscape import Counts

PICTURED = ("day", "count")
"""Kinds of layers of which there is a picture; every layer has a style."""


_COMPRESSED = 0.45
"""Bytes of a layer with its overviews, for each byte of it without compression: of the curve's map
of real fields 0.43, of simulated ones 0.26."""


@dataclass(frozen=True)
class MapInfo:
    """Description of a map that is written into its files beside the layers.

    Attributes
    ----------
    year : int
        Target year: day 0 is its 1 January.
    simulated : bool
        Whether the observations were simulated.
    title : str
        Name of the region, one line.
    start, end : datetime64
        Time of the first and the last observation that was used.
    scenes : mapping
        Numbers of scenes, for example ``{"optical": 42, "optical_usable": 40}``.
    seen : mapping
        By sensor, each scene's date and the share of the mapped pixels that it shows:
        ``{"optical": [{"date": "2018-04-11", "share": 0.83}, …]}``.
    source : mapping
        Provenance: settings and attributes of the cube, as JSON types.
    left_out : int
        Pixels that mask or parcels leave out.
    content : Content
        What layers the map has.
    """

    year: int
    simulated: bool
    title: str
    start: np.datetime64
    end: np.datetime64
    scenes: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    left_out: int = 0
    content: Content = USUAL

    @property
    def target(self) -> TargetYear:
        """Target year with its first day."""
        return TargetYear(self.year, self.content.year_start)


@dataclass(frozen=True)
class _Job:
    """One layer to write."""

    key: str
    method: str | None
    layer: Layer
    array: xr.DataArray


def write_products(
    maps: Mapping[str, xr.Dataset],
    out: Path,
    info: MapInfo,
    crop_type: xr.DataArray | None = None,
    selected: xr.DataArray | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """Write all files of a map.

    For each layer ``NAME.tif`` and its QGIS style ``NAME.qml``, of dates and counts a picture
    ``NAME.png``; ``map.qgs``, the QGIS project; ``item.json`` and ``collection.json`` (STAC),
    ``summary.json``, and the statistics ``landscape.json`` and ``landscape.csv``.

    Parameters
    ----------
    maps : mapping of str to Dataset
        By method (`deepcrop.products.layers.METHODS`), and where there are both, their
        ``"difference"``. Dims ``(y, x)``; the layers of `deepcrop.products.layers.describe`. May be
        lazy: each core loads one window at a time.
    out : Path
        An existing directory. Nothing written names it.
    info : MapInfo
        Description of the map.
    crop_type : DataArray, optional
        Crop codes on the same grid, with CF ``flag_values`` and ``flag_meanings``; 0 is unknown.
    selected : DataArray, optional
        Not 0 where pixels were to be mapped: shares, medians and counts are of these. By default
        all.
    pictures : bool
        Whether to draw the pictures.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    DeepCropError
        If a layer is missing, has another type, or holds values that are no day numbers or no
        percent, or if ``crop_type`` lies on another grid.
    """
    box = _check(maps, info, crop_type)
    groups = histograms.make_groups(crop_type, box, list(windows(box)), selected)
    jobs = [
        _Job(_key(maps, method, layer), method, layer, data[layer.name])
        for method, data in maps.items()
        for layer in describe(method, info.year, info.content)
    ]
    if crop_type is not None:
        jobs.append(_Job(CROP_TYPE.name, None, CROP_TYPE, crop_type))
    for job in jobs:
        (out / job.key).parent.mkdir(exist_ok=True)
    counts: Counts = {}
    described: dict[str, dict[str, pystac.Asset]] = {}
    pool = ThreadPoolExecutor(cores())
    try:
        # Those with a picture first: it is drawn here while others are being written.
        order = sorted(jobs, key=lambda job: job.layer.kind not in PICTURED)
        written = {job.key: pool.submit(_write_layer, job, box, out, info, groups) for job in order}
        shared = _count_shared(maps, info.year, box, groups)
        for job in order:
            for other in jobs:
                if other is job or other.layer.name in _shown_with(job.layer):
                    counts[other.method or "", other.layer.name] = written[other.key].result()
            histogram = _coloured(job, counts)
            described[job.key] = _describe(job, box, out, info, histogram, pictures)
    finally:
        pool.shutdown(cancel_futures=True)
    assets = {key: asset for job in jobs for key, asset in described[job.key].items()}
    rasters = [(job.key, job.method, job.layer) for job in jobs]
    write_project(out, rasters, box, info.title, info.target, info.simulated)
    summary = _summary(maps, counts, groups, box, info)
    for method in summary["methods"]:
        numbers = summary["maps"][method]["layers"]
        content = info.content if method == "curve" else USUAL
        stages = content.stages if content.intervals else ()
        for stage, widths in _interval_widths(maps[method], stages, box).items():
            numbers[stage] |= widths
    if "deepcrop" in maps:
        disorder = _out_of_order(maps["deepcrop"], describe("deepcrop", info.year), box)
        summary["maps"]["deepcrop"]["out_of_order"] = disorder
    write_json(out / "summary.json", summary)
    rows = landscape.statistics(counts, shared, groups, info.year, info.content)
    landscape.write(out, rows, info.simulated)
    for name, title, kind in (
        ("summary.json", "detected shares and median dates", pystac.MediaType.JSON),
        ("landscape.json", "statistics by crop and latitude", pystac.MediaType.JSON),
        ("landscape.csv", "statistics by crop and latitude", "text/csv"),
    ):
        key = name.removesuffix(".json").replace(".", "_")
        assets[key] = pystac.Asset(f"./{name}", title, media_type=kind, roles=["metadata"])
    assets["qgis_project"] = pystac.Asset(f"./{PROJECT}", "QGIS project", roles=["metadata"])
    until = info.content.until
    properties = {
        "deepcrop:simulated": info.simulated,
        **({} if until is None else {"deepcrop:until": str(until)}),
        "deepcrop:observations": summary["observations"],
        "deepcrop:scenes": dict(info.scenes),
        "deepcrop:source": dict(info.source),
    }
    item = stac_item(info.title, info.target, summary["methods"], assets, box, properties)
    write_stac(item, out, info.simulated)
    return summary


def disk_bytes(kinds: Sequence[np.dtype], shape: tuple[int, int], mapped: int) -> int:
    """Estimate the bytes of disk that the products of a map take while they are being written.

    ``kinds`` are the types of the layers, ``shape`` the rows and columns, of which ``mapped``
    pixels are mapped.
    """
    compressed = _COMPRESSED * mapped * sum(kind.itemsize for kind in kinds)
    plain = 4 / 3 * shape[0] * shape[1] * max(kind.itemsize for kind in kinds)  # with overviews
    return int(compressed + min(cores(), len(kinds)) * plain)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _key(maps: Mapping[str, xr.Dataset], method: str, layer: Layer) -> str:
    return layer.name if len(maps) == 1 else f"{method}/{layer.name}"


def _check(maps: Mapping[str, xr.Dataset], info: MapInfo, crop_type: xr.DataArray | None) -> GeoBox:
    """Refuse layers that would give wrong files; return their grid."""
    for method, data in maps.items():
        described = describe(method, info.year, info.content)
        missing = [layer.name for layer in described if layer.name not in data.data_vars]
        if missing:
            raise DeepCropError(
                f"The map has no layer {', '.join(missing)}; run the mapping again."
            )
        for layer in described:
            array = data[layer.name]
            if array.dims != ("y", "x") or array.dtype != layer.dtype:
                raise DeepCropError(
                    f"Map layer '{layer.name}' is {array.dtype} over {array.dims}; expected "
                    f"{layer.dtype} over ('y', 'x'). Run the mapping again."
                )
    box = grid.grid_of(next(iter(maps.values())))
    if crop_type is not None:
        if crop_type.dims != ("y", "x"):
            raise DeepCropError(f"Crop types lie over {crop_type.dims}; expected ('y', 'x').")
        crop_box = grid.grid_of(crop_type)
        if crop_box != box:
            raise DeepCropError(
                f"Crop types lie on another grid ({crop_box.shape[0]} x {crop_box.shape[1]} at "
                f"{tuple(crop_box.boundingbox.bbox)}) than the map ({box.shape[0]} x "
                f"{box.shape[1]} at {tuple(box.boundingbox.bbox)}); use those of the mapped cube."
            )
    return box


def _write_layer(
    job: _Job, box: GeoBox, out: Path, info: MapInfo, groups: Groups
) -> NDArray[np.int64]:
    """Write one layer; return its pixels (groups, values), of flags and classes all in one."""
    tags = {
        "title": info.title,
        "year": info.year,
        "year_start": info.content.year_start,
        "day_range": job.layer.limits and " ".join(map(str, job.layer.limits)),
        "until": info.content.until,
        "method": job.method,
        "stage": job.layer.stage,
        "season": job.layer.season,
        "software": f"deepcrop {__version__}",
        "simulated": str(info.simulated).lower(),
    }
    counted = None

    def blocks() -> Iterator[tuple[tuple[slice, slice], NDArray[Any]]]:
        nonlocal counted
        for rows, cols in windows(box):
            values = job.array[rows, cols].values
            if job.layer.kind in ("flags", "class"):  # of all pixels: flags say what is left out
                group, number = np.zeros(values.shape, np.intp), 1
            else:
                group, number = groups.indices(rows, cols), groups.count
            if job.layer.kind == "measure":  # has too many values to count them by group
                group, number = (group == number).astype(np.intp), 1
            part = histograms.count(job.layer, values, group, number)
            counted = histograms.add(counted, part)
            yield (rows, cols), values

    known = {name: str(value) for name, value in tags.items() if value is not None}
    write_cog(out / f"{job.key}.tif", job.layer, box, known, blocks())
    assert counted is not None
    return counted


def _coloured(job: _Job, counts: Counts) -> NDArray[np.int64]:
    """Histogram that the colours of a layer follow: of a date, that of all methods together.

    So equal colours of a stage are equal dates in the maps of both methods.
    """
    name = job.layer.name
    if job.layer.kind != "day":
        return np.asarray(counts[job.method or "", name].sum(axis=0))
    same = [counts[method, name] for method in METHODS if (method, name) in counts]
    return np.asarray(sum(part.sum(axis=0) for part in same))


def _shown_with(layer: Layer) -> tuple[str, ...]:
    """Name the layers, of all methods, on which the colours or the picture of a layer depend."""
    return (layer.name, f"{layer.name}_status") if layer.kind == "day" else ()


def _describe(
    job: _Job, box: GeoBox, out: Path, info: MapInfo, histogram: NDArray[np.int64], pictures: bool
) -> dict[str, pystac.Asset]:
    """Write style and picture of a written layer; return its STAC assets."""
    # Imported here: it takes half a second, in which the other cores write layers.
    from deepcrop.products.qgis import write_style

    crops = job.array if job.layer.kind == "class" else None
    write_style(out / f"{job.key}.qml", job.layer, info.year, histogram, crops)
    assets = {
        job.key: layer_asset(f"./{job.key}.tif", job.layer, job.method, box, crops),
        f"{job.key}_style": pystac.Asset(
            f"./{job.key}.qml", f"QGIS style: {job.layer.title}", roles=["metadata"]
        ),
    }
    if pictures and job.layer.kind in PICTURED:
        _write_picture(job, box, out, info, histogram)
        assets[f"{job.key}_overview"] = pystac.Asset(
            f"./{job.key}.png",
            title=f"picture: {job.layer.title}",
            media_type=pystac.MediaType.PNG,
            roles=["overview"],
        )
    return assets


def _write_picture(
    job: _Job, box: GeoBox, out: Path, info: MapInfo, histogram: NDArray[np.int64]
) -> None:
    """Picture of one layer from the overviews of its COG."""
    from deepcrop import figures
    from deepcrop.products.qgis import date_limits

    layer = job.layer
    shrink = max(1.0, max(box.shape) / figures.LONG_SIDE)
    shape = tuple(max(round(side / shrink), 1) for side in box.shape)
    with rasterio.open(out / f"{job.key}.tif") as dataset:
        values = dataset.read(1, out_shape=shape)
    resolution = float(box.resolution.x) * box.shape[1] / shape[1]
    title = f"{info.title} · method {job.method}"
    if layer.kind == "day" and layer.stage is not None and layer.season is not None:
        forecast = None
        if info.content.until is not None:
            with rasterio.open(out / f"{job.key}_status.tif") as dataset:
                forecast = dataset.read(1, out_shape=shape) == FORECAST
        figure = figures.stage_map(
            values,
            year=info.year,
            stage=layer.stage,
            season=layer.season,
            resolution=resolution,
            simulated=info.simulated,
            title=title,
            left_out=info.left_out / (box.shape[0] * box.shape[1]),
            limits=date_limits(histogram, histograms.first_value(layer), info.year),
            until=info.content.until,
            forecast=forecast,
        )
    else:
        figure = figures.count_map(
            values,
            heading=layer.title[0].upper() + layer.title[1:] + ", days" * (layer.unit == "days"),
            resolution=resolution,
            simulated=info.simulated,
            title=title,
            nodata=layer.nodata,
        )
    figures.save(figure, out / f"{job.key}.png")


def _count_shared(maps: Mapping[str, xr.Dataset], year: int, box: GeoBox, groups: Groups) -> Counts:
    """Pixels by date of both methods, of those that both of them date (Fig. 22 of the paper)."""
    if DIFFERENCE not in maps:
        return {}
    counts: Counts = {}
    for layer in (d for d in describe("deepcrop", year) if d.kind == "day" and d.season == 1):
        for rows, cols in windows(box):
            ours = maps["deepcrop"][layer.name][rows, cols].values
            apart = maps[DIFFERENCE][layer.name][rows, cols].values
            both = apart != NO_DAY
            group = groups.indices(rows, cols)
            for method, days in (("deepcrop", ours), ("curve", ours - apart)):
                days = np.where(both, days, np.int16(NO_DAY))
                part = histograms.count(layer, days, group, groups.count)
                counts[method, layer.name] = histograms.add(counts.get((method, layer.name)), part)
    return counts


def _interval_widths(
    data: xr.Dataset, stages: tuple[str, ...], box: GeoBox
) -> dict[str, dict[str, float | None]]:
    """Summarise the widths of the 90 % intervals of the main season, of the pixels with a date."""
    result: dict[str, dict[str, float | None]] = {}
    for stage in stages:
        counted = np.zeros(DAY_MAX - DAY_MIN + 1, np.int64)
        for rows, cols in windows(box):
            low, high = (
                data[layer_name(stage, 1, part)][rows, cols].values for part in ("low", "high")
            )
            dated = (low != NO_DAY) & (high != NO_DAY)
            width = high[dated].astype(np.int64) - low[dated]
            counted += np.bincount(np.maximum(width, 0), minlength=counted.size)
        number = int(counted.sum())
        wide = int(counted[WIDE_INTERVAL:].sum())
        result[layer_name(stage, 1)] = {
            "median_width": histograms.quantile(counted, 0.5, 0),
            "wide_share": round(wide / number, 6) if number else None,
        }
    return result


def _summary(
    maps: Mapping[str, xr.Dataset], counts: Counts, groups: Groups, box: GeoBox, info: MapInfo
) -> dict[str, Any]:
    left, bottom, right, top = box.boundingbox.bbox
    methods = [method for method in METHODS if method in maps]
    return {
        "title": info.title,
        "year": info.year,
        "year_start": info.content.year_start,
        "day_range": list(info.target.range),
        "until": info.content.until and str(info.content.until),
        "methods": methods,
        "simulated": info.simulated,
        "software": f"deepcrop {__version__}",
        "observations": {"start": _iso(info.start), "end": _iso(info.end)},
        "scenes": dict(info.scenes),
        "seen": dict(info.seen),
        "grid": {
            "crs": crs_name(box),
            "shape": [box.shape[0], box.shape[1]],
            "resolution": float(box.resolution.x),
            "bounds": [left, bottom, right, top],
        },
        "pixels": box.shape[0] * box.shape[1],
        "mapped": int(counts[methods[0], "n_cycles"].sum()),
        "maps": {method: _numbers(method, counts, groups, info) for method in maps},
        "source": dict(info.source),
    }


def _numbers(method: str, counts: Counts, groups: Groups, info: MapInfo) -> dict[str, Any]:
    """Numbers of one method, for the summary."""
    described = describe(method, info.year, info.content)
    whole = {layer.name: counts[method, layer.name].sum(axis=0) for layer in described}

    def of(*kinds: str) -> list[Layer]:
        return [layer for layer in described if layer.kind in kinds]

    if method == DIFFERENCE:
        return {
            "layers": {
                layer.name: histograms.summarise_spread(
                    whole[layer.name], histograms.first_value(layer)
                )
                for layer in described
            }
        }
    days = of("day")

    def dated(name: str, counted: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
        numbers = histograms.summarise_days(counted[name], info.target.range[0], info.year)
        if info.content.until is not None:
            status = histograms.summarise_codes(counted[f"{name}_status"], STATUS)
            numbers["status_share"] = status
        return numbers

    per_layer = {
        layer.name: histograms.by_crop(groups, counts[method, layer.name])
        for layer in of("day", "status")
    }
    crops = {}
    for crop in per_layer[days[0].name]:
        counted = {name: by_crop[crop] for name, by_crop in per_layer.items()}
        crops[crop] = {
            "pixels": int(counted[days[0].name].sum()),
            "layers": {layer.name: dated(layer.name, counted) for layer in days},
        }
    percent = {
        layer.name: histograms.summarise_percent(whole[layer.name]) for layer in of("percent")
    }
    measures = {
        layer.name: histograms.summarise_measure(whole[layer.name], layer)
        for layer in of("measure")
    }
    return {
        "layers": {layer.name: dated(layer.name, whole) for layer in days},
        "lengths": {
            layer.name: histograms.summarise_numbers(
                whole[layer.name], histograms.first_value(layer)
            )
            for layer in of("length")
        },
        **({"measures": measures} if measures else {}),
        **({"probabilities": percent} if percent else {}),
        "counts": {
            layer.name: histograms.summarise_numbers(whole[layer.name]) for layer in of("count")
        },
        "flags": histograms.summarise_flags(whole["qflag"], FLAGS),
        "crops": crops,
    }


def _out_of_order(layers: xr.Dataset, described: list[Layer], box: GeoBox) -> dict[str, Any]:
    """Of the pixels with two dates of a season or more: the share whose dates are out of order."""
    result = {}
    for season in SEASONS:
        names = [d.name for d in described if d.kind == "day" and d.season == season]
        several = wrong = 0
        for rows, cols in windows(box):
            days = np.stack([layers[name][rows, cols].values for name in names])
            known = days != NO_DAY
            # The latest date of the stages before, and whether any known one lies before it.
            latest = np.maximum.accumulate(np.where(known, days, DAY_MIN), axis=0)
            several += int((known.sum(axis=0) > 1).sum())
            wrong += int((known & (days < latest)).any(axis=0).sum())
        result[f"season{season}"] = {
            "pixels": several,
            "share": round(wrong / several, 6) if several else None,
        }
    return result


def _iso(time: np.datetime64) -> str:
    return f"{np.asarray(time).astype('datetime64[s]')}Z"
