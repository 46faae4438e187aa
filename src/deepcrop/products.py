"""Map layers as files others can open: COGs, a STAC item, overview pictures and a summary.

Layers are read window by window from wherever they lie, so a region may be far larger than memory.
All medians and percentiles are exact: day numbers are whole, hence a count of pixels per day (and
per crop) holds all there is to know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import rasterio.shutil
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.crs import CRS as RasterioCRS
from rasterio.windows import Window

from deepcrop import __version__, figures, grid
from deepcrop.errors import DeepCropError
from deepcrop.layers import CROP_TYPE, NO_PERCENT, SEASONS, Layer, describe
from deepcrop.layers import DAY_LAYERS as DAY_LAYERS
from deepcrop.observations import CHUNK
from deepcrop.stages import DAY_MAX, DAY_MIN, NO_DAY, to_dates

_CACHE = 128 * 1024**2  # bytes of GDAL's cache, which by default takes a share of the machine
_DAYS = DAY_MAX - DAY_MIN + 1
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json",
]


@dataclass(frozen=True)
class MapInfo:
    """What a reader of the map must know beside the layers.

    Attributes
    ----------
    year : int
        Target year: day 0 is its 1 January.
    method : str
        How the dates were found, one of `deepcrop.layers.METHODS`: decides which layers there are.
    simulated : bool
        Whether the observations were simulated.
    title : str
        Name of the region, one line.
    start, end : datetime64
        Time of the first and the last observation that was used.
    scenes : mapping
        Numbers of scenes, for example ``{"optical": 42, "optical_usable": 40}``.
    source : mapping
        Provenance: settings and attributes of the cube, as JSON types.
    """

    year: int
    method: str
    simulated: bool
    title: str
    start: np.datetime64
    end: np.datetime64
    scenes: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


def write_products(
    layers: xr.Dataset, out: Path, info: MapInfo, crop_type: xr.DataArray | None = None
) -> dict[str, Any]:
    """Write ``NAME.tif`` and ``NAME.png`` for each layer, ``item.json`` and ``summary.json``.

    The ends of intervals get no picture.

    Parameters
    ----------
    layers : Dataset
        Dims ``(y, x)``; those of `deepcrop.layers.describe`. May be lazy; at most one window of
        the dates of one season is loaded.
    out : Path
        An existing directory. Nothing written names it.
    info : MapInfo
        What the files are to say about the map.
    crop_type : DataArray, optional
        Crop codes on the same grid, with CF ``flag_values`` and ``flag_meanings``; 0 is unknown.

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
    described = describe(info.method, info.year)
    box = _check(layers, described, crop_type)
    names = _crop_names(crop_type) if crop_type is not None else {}
    counts = {}
    for layer in described:
        codes = crop_type if layer.kind == "day" else None
        counts[layer.name] = _write_cog(layers[layer.name], layer, box, out, info, codes)
        if layer.kind != "bound":
            _write_overview(layer, box, out, info)
    summary = _summary(described, counts, names, box, info)
    if info.method == "deepcrop":
        summary["maps"][info.method]["out_of_order"] = _out_of_order(layers, described, box)
    _write_json(out / "summary.json", summary)
    crops = None
    if crop_type is not None:
        crops = CROP_TYPE, _crop_classes(crop_type)
        _write_cog(crop_type, CROP_TYPE, box, out, info, None)
    item = _stac_item(described, box, info, crops)
    _write_json(out / "item.json", item.to_dict(include_self_link=False))
    return summary


def _check(layers: xr.Dataset, described: list[Layer], crop_type: xr.DataArray | None) -> GeoBox:
    """Refuse layers that would give wrong files; return their grid."""
    missing = [layer.name for layer in described if layer.name not in layers.data_vars]
    if missing:
        raise DeepCropError(f"The map has no layer {', '.join(missing)}; run the mapping again.")
    for layer in described:
        array = layers[layer.name]
        if array.dims != ("y", "x") or array.dtype != layer.dtype:
            raise DeepCropError(
                f"Map layer '{layer.name}' is {array.dtype} over {array.dims}; expected "
                f"{layer.dtype} over ('y', 'x'). Run the mapping again."
            )
    box = grid.grid_of(layers)
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


def _crop_names(crop_type: xr.DataArray) -> dict[int, str]:
    """Name of each crop code, from the CF flag attributes; 0 (unknown) is left out."""
    values = np.atleast_1d(crop_type.attrs.get("flag_values", [])).astype(int).tolist()
    meanings = str(crop_type.attrs.get("flag_meanings", "")).split()
    if len(values) != len(meanings):
        raise DeepCropError(
            f"Crop types have {len(values)} 'flag_values' but {len(meanings)} 'flag_meanings'; "
            "give one word for each value."
        )
    return {value: name for value, name in zip(values, meanings, strict=True) if value != 0}


def _crop_classes(crop_type: xr.DataArray) -> list[dict[str, Any]]:
    """Codes, names and colours of the crops, as STAC's classification extension has them."""
    values = np.atleast_1d(crop_type.attrs.get("flag_values", [])).astype(int).tolist()
    names = str(crop_type.attrs.get("flag_meanings", "")).split()
    colours = str(crop_type.attrs.get("flag_colors", "")).split()
    classes: list[dict[str, Any]] = [
        {"value": value, "name": name} for value, name in zip(values, names, strict=True)
    ]
    if len(colours) == len(classes):
        for one, colour in zip(classes, colours, strict=True):
            one["color_hint"] = colour.removeprefix("#").upper()
    return classes


def _windows(box: GeoBox) -> Iterator[tuple[slice, slice]]:
    for tile in grid.tiles((box.shape[0], box.shape[1]), CHUNK):
        yield tile.core


def _write_cog(
    array: xr.DataArray,
    layer: Layer,
    box: GeoBox,
    out: Path,
    info: MapInfo,
    crop_type: xr.DataArray | None,
) -> dict[int, NDArray[np.int64]]:
    """Write one layer window by window; return pixels per value, for each crop code.

    Days are counted from `DAY_MIN`, with the missing ones last; counts from 0.
    """
    counts: dict[int, NDArray[np.int64]] = {}
    plain = out / f".{layer.name}.plain.tif"
    profile = {
        "driver": "GTiff",
        "height": box.shape[0],
        "width": box.shape[1],
        "count": 1,
        "dtype": layer.dtype.name,
        "nodata": layer.nodata,
        "crs": RasterioCRS.from_user_input(_crs_name(box)),
        "transform": box.affine,
        "tiled": True,
        "blockxsize": CHUNK,
        "blockysize": CHUNK,
        "bigtiff": "if_safer",
    }
    tags = {
        "title": info.title,
        "year": info.year,
        "method": info.method,
        "software": f"deepcrop {__version__}",
        "simulated": str(info.simulated).lower(),
    }
    if layer.stage is not None:
        tags |= {"stage": layer.stage, "season": layer.season}
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE), rasterio.open(plain, "w", **profile) as dataset:
            dataset.descriptions = (layer.title,)
            dataset.units = (layer.unit,)
            dataset.update_tags(**tags)
            for rows, cols in _windows(box):
                values = array[rows, cols].values
                codes = np.zeros_like(values) if crop_type is None else crop_type[rows, cols].values
                _count(counts, layer, values, codes)
                dataset.write(values, 1, window=Window.from_slices(rows, cols))
        # Days are labels more than quantities at the coarse levels: no averaging across fields.
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            rasterio.shutil.copy(
                plain,
                out / f"{layer.name}.tif",
                driver="COG",
                compress="deflate",
                predictor="standard",
                blocksize=512,
                overview_resampling="nearest",
                statistics="yes",
                bigtiff="if_safer",
            )
    finally:
        plain.unlink(missing_ok=True)
    return counts


def _count(
    counts: dict[int, NDArray[np.int64]], layer: Layer, values: NDArray, codes: NDArray
) -> None:
    """Add the pixels of one window to the counts per crop code and value."""
    if layer.kind in ("day", "bound"):
        missing = values == NO_DAY
        wrong = ~missing & ((values < DAY_MIN) | (values > DAY_MAX))
        if wrong.any():
            raise DeepCropError(
                f"Map layer '{layer.name}' holds {values[wrong][0]}, which is no day number: "
                f"expected {DAY_MIN} to {DAY_MAX}, or {NO_DAY} for none. Run the mapping again."
            )
        bins = np.where(missing, _DAYS, values.astype(np.int64) - DAY_MIN)
        length = _DAYS + 1
    else:
        wrong = (values > 100) & (values != NO_PERCENT)
        if layer.kind == "percent" and wrong.any():
            raise DeepCropError(
                f"Map layer '{layer.name}' holds {values[wrong][0]}, which is no percent: expected "
                f"0 to 100, or {NO_PERCENT} for unknown. Run the mapping again."
            )
        bins = values.astype(np.int64)
        length = int(np.iinfo(layer.dtype).max) + 1
    for code in np.unique(codes).tolist():
        added = np.bincount(bins[codes == code], minlength=length)
        counts[code] = counts[code] + added if code in counts else added


def _write_overview(layer: Layer, box: GeoBox, out: Path, info: MapInfo) -> None:
    """Picture of one layer from the overviews of its COG."""
    shrink = max(1.0, max(box.shape) / figures.LONG_SIDE)
    shape = tuple(max(round(side / shrink), 1) for side in box.shape)
    with rasterio.open(out / f"{layer.name}.tif") as dataset:
        values = dataset.read(1, out_shape=shape)
    resolution = float(box.resolution.x) * box.shape[1] / shape[1]
    title = f"{info.title} · method {info.method}"
    if layer.kind == "day" and layer.stage is not None and layer.season is not None:
        figure = figures.stage_map(
            values,
            year=info.year,
            stage=layer.stage,
            season=layer.season,
            resolution=resolution,
            simulated=info.simulated,
            title=title,
        )
    else:
        figure = figures.count_map(
            values,
            heading=layer.title[0].upper() + layer.title[1:] + ", %" * (layer.kind == "percent"),
            resolution=resolution,
            simulated=info.simulated,
            title=title,
            nodata=layer.nodata,
            top=100 if layer.kind == "percent" else None,
        )
    figures.save(figure, out / f"{layer.name}.png")


def _summary(
    described: list[Layer],
    counts: dict[str, dict[int, NDArray[np.int64]]],
    names: dict[int, str],
    box: GeoBox,
    info: MapInfo,
) -> dict[str, Any]:
    totals = {name: np.sum(list(per_code.values()), axis=0) for name, per_code in counts.items()}
    days = [layer for layer in described if layer.kind == "day"]
    percent = {
        layer.name: _percent_statistics(totals[layer.name])
        for layer in described
        if layer.kind == "percent"
    }
    # Codes become names, in the order of the codes; several codes of one name are one crop.
    codes: dict[str, list[int]] = {}
    for code in sorted(counts[days[0].name]):
        if code != 0:
            codes.setdefault(names.get(code, f"code {code}"), []).append(code)
    crops = {}
    for name, same in codes.items():
        per_layer = {
            layer.name: np.sum([counts[layer.name][code] for code in same], axis=0)
            for layer in days
        }
        crops[name] = {
            "pixels": int(per_layer[days[0].name].sum()),
            "layers": {
                layer: _day_statistics(histogram, info.year)
                for layer, histogram in per_layer.items()
            },
        }
    left, bottom, right, top = box.boundingbox.bbox
    return {
        "title": info.title,
        "year": info.year,
        "methods": [info.method],
        "simulated": info.simulated,
        "software": f"deepcrop {__version__}",
        "observations": {"start": _iso(info.start), "end": _iso(info.end)},
        "scenes": dict(info.scenes),
        "grid": {
            "crs": _crs_name(box),
            "shape": [box.shape[0], box.shape[1]],
            "resolution": float(box.resolution.x),
            "bounds": [left, bottom, right, top],
        },
        "pixels": box.shape[0] * box.shape[1],
        "maps": {
            info.method: {
                "layers": {
                    layer.name: _day_statistics(totals[layer.name], info.year) for layer in days
                },
                **({"probabilities": percent} if percent else {}),
                "counts": {
                    layer.name: _count_statistics(totals[layer.name])
                    for layer in described
                    if layer.kind == "count"
                },
                "crops": crops,
            }
        },
        "source": dict(info.source),
    }


def _day_statistics(histogram: NDArray[np.int64], year: int) -> dict[str, Any]:
    """Count detected pixels and give percentiles of their days; None where there are none."""
    detected = histogram[:_DAYS]
    number = int(detected.sum())
    result: dict[str, Any] = {
        "detected": number,
        "detected_share": round(number / int(histogram.sum()), 6),
    }
    for name, share in (("median", 0.5), ("p05", 0.05), ("p95", 0.95)):
        day = _quantile(detected, share, DAY_MIN)
        result[f"{name}_day"] = day
        result[f"{name}_date"] = None if day is None else str(to_dates(day, year))
    return result


def _count_statistics(histogram: NDArray[np.int64]) -> dict[str, Any]:
    present = np.flatnonzero(histogram)
    return {
        "min": int(present[0]),
        "median": _quantile(histogram, 0.5, 0),
        "max": int(present[-1]),
    }


def _percent_statistics(histogram: NDArray[np.int64]) -> dict[str, Any]:
    """Mean and median percent of the pixels of which anything is known; None without any."""
    known = histogram[:NO_PERCENT]
    number = int(known.sum())
    mean = round(float((known * np.arange(NO_PERCENT)).sum() / number), 2) if number else None
    return {"known": number, "mean": mean, "median": _quantile(known, 0.5, 0)}


def _out_of_order(layers: xr.Dataset, described: list[Layer], box: GeoBox) -> dict[str, Any]:
    """Of the pixels with two dates of a season or more: the share whose dates are out of order."""
    result = {}
    for season in SEASONS:
        names = [d.name for d in described if d.kind == "day" and d.season == season]
        several = wrong = 0
        for rows, cols in _windows(box):
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


def _quantile(histogram: NDArray[np.int64], share: float, first: int) -> float | None:
    """Quantile of whole numbers counted from ``first``, as ``numpy.quantile`` gives it."""
    cumulated = np.cumsum(histogram)
    number = int(cumulated[-1])
    if number == 0:
        return None
    rank = (number - 1) * share
    below, above = np.searchsorted(cumulated, (np.floor(rank), np.ceil(rank)), side="right")
    return round(float(first + below + (above - below) * (rank - np.floor(rank))), 2)


def _stac_item(
    described: list[Layer],
    box: GeoBox,
    info: MapInfo,
    crops: tuple[Layer, list[dict[str, Any]]] | None,
) -> pystac.Item:
    """Item that describes all files of the folder, with links relative to itself."""
    geometry, bbox = _footprint(box)
    slug = re.sub(r"[^a-z0-9]+", "-", info.title.lower()).strip("-") or "map"
    crs = _crs_name(box)
    code = crs if crs.startswith("EPSG:") else None
    item = pystac.Item(
        id=f"{slug}-{info.year}-{info.method}",
        geometry=geometry,
        bbox=bbox,
        datetime=None,
        start_datetime=datetime(info.year, 1, 1, tzinfo=UTC),
        end_datetime=datetime(info.year, 12, 31, 23, 59, 59, tzinfo=UTC),
        properties={
            "title": f"{info.title}: crop season dates {info.year}",
            "proj:code": code,
            **({} if code else {"proj:wkt2": crs}),
            "proj:shape": [box.shape[0], box.shape[1]],
            "proj:transform": list(box.affine)[:6],
            "proj:bbox": list(box.boundingbox.bbox),
            "processing:software": {"deepcrop": __version__},
            "deepcrop:methods": [info.method],
            "deepcrop:simulated": info.simulated,
            "deepcrop:observations": {"start": _iso(info.start), "end": _iso(info.end)},
            "deepcrop:scenes": dict(info.scenes),
            "deepcrop:source": dict(info.source),
        },
        stac_extensions=list(_EXTENSIONS),
    )
    for layer in described + ([crops[0]] if crops else []):
        band: dict[str, Any] = {
            "name": layer.name,
            "description": layer.title,
            "data_type": layer.dtype.name,
            "unit": layer.unit,
        }
        if layer.nodata is not None:
            band["nodata"] = layer.nodata
        item.add_asset(
            layer.name,
            pystac.Asset(
                f"./{layer.name}.tif",
                title=layer.title,
                media_type=pystac.MediaType.COG,
                roles=["data"],
                extra_fields={
                    "bands": [band],
                    "deepcrop:method": None if layer.kind == "class" else info.method,
                    "deepcrop:kind": layer.kind,
                    "deepcrop:stage": layer.stage,
                    "deepcrop:season": layer.season,
                    "deepcrop:part": layer.part,
                    **(
                        {"classification:classes": crops[1]}
                        if crops and layer.kind == "class"
                        else {}
                    ),
                },
            ),
        )
        if layer.kind in ("bound", "class"):
            continue
        item.add_asset(
            f"{layer.name}_overview",
            pystac.Asset(
                f"./{layer.name}.png",
                title=f"picture: {layer.title}",
                media_type=pystac.MediaType.PNG,
                roles=["overview"],
            ),
        )
    item.add_asset(
        "summary",
        pystac.Asset(
            "./summary.json",
            title="detected shares and median dates",
            media_type=pystac.MediaType.JSON,
            roles=["metadata"],
        ),
    )
    return item


def _footprint(box: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Outline of a grid in longitude and latitude, counter-clockwise, and its bounding box.

    A straight edge of the grid is a curve in degrees: each gets 20 points.
    """
    left, bottom, right, top = box.boundingbox.bbox
    step = np.arange(20) / 20
    x = np.concatenate(
        [
            0 * step + left,
            left + (right - left) * step,
            0 * step + right,
            right + (left - right) * step,
        ]
    )
    y = np.concatenate(
        [
            top + (bottom - top) * step,
            0 * step + bottom,
            bottom + (top - bottom) * step,
            0 * step + top,
        ]
    )
    lon, lat = Transformer.from_crs(_crs_name(box), "EPSG:4326", always_xy=True).transform(x, y)
    ring = [[round(a, 7), round(b, 7)] for a, b in zip(lon.tolist(), lat.tolist(), strict=True)]
    lons, lats = zip(*ring, strict=True)
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return geometry, [min(lons), min(lats), max(lons), max(lats)]


def _crs_name(box: GeoBox) -> str:
    """EPSG code of the grid's reference system where it has one, else its WKT."""
    crs = CRS.from_user_input(str(box.crs))
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else crs.to_wkt()


def _iso(time: np.datetime64) -> str:
    return f"{np.asarray(time).astype('datetime64[s]')}Z"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
