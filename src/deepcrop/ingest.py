"""Bring your own data: NetCDF, Zarr or GeoTIFF stacks onto one 10 m grid, as an observation cube.

A specification (:mod:`deepcrop.ingest_spec`) says which files hold which band and how their
numbers become reflectance and backscatter. Nothing else is believed: scale, offset and no-data
attributes of the files are not applied.

Work goes tile by tile with all times of a tile, reading only the part of a file that a tile needs.
The resampling is our own: GDAL's warp, as rasterio offers it, approximates coordinates to an eighth
of a pixel in a way that depends on the window, so the result would depend on the tiles.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from zarr.errors import ZarrUserWarning

from deepcrop import __version__, observations
from deepcrop.errors import CubeError, DeepCropError, SpecError
from deepcrop.grid import RESOLUTION, assign_grid, make_grid, tiles
from deepcrop.indices import to_db, to_power
from deepcrop.ingest_spec import (
    ALL_BANDS,
    NO_TIME,
    Files,
    Landcover,
    Mask,
    Optical,
    Period,
    Sar,
    Source,
    Spec,
    expand,
    load_spec,
    naming,
)
from deepcrop.staging import check_target, progress_bar, staging

TILE = observations.CHUNK
"""Side of a tile of work, pixels: a chunk, so that no chunk is written twice."""

_BATCH = 2**22
"""Pixels read from one file at once."""

_MAX_SAMPLES = 10
"""Points along one side of a pixel at which finer sources are averaged."""


def ingest(spec_path: Path, out: Path, overwrite: bool = False) -> None:
    """Make an observation cube from the files that a specification describes.

    Started again after an interruption, it goes on where it stopped.

    Parameters
    ----------
    spec_path : Path
        The specification, a YAML file as ``docs/ingest.md`` describes.
    out : Path
        Zarr store to make.
    overwrite : bool
        Replace an existing ``out``.

    Raises
    ------
    SpecError
        If the specification or a file it names cannot be used.
    CubeError
        If what it yields is no valid cube, for example because a scale is missing.
    DeepCropError
        If ``out`` exists and may not be replaced.
    """
    if out.suffix == ".nc":
        raise DeepCropError(f"{out}: ingest writes a Zarr store; give a name such as region.zarr.")
    check_target(out, overwrite)
    with naming(spec_path):
        spec = load_spec(spec_path)
        files = Files(spec_path.parent / expand("folder", spec.folder))
        try:
            box, groups = _plan(spec, files)
            attrs = {"title": spec.name, "software": f"deepcrop {__version__}"}
            sample = _sample(groups, box, attrs, spec_path)
            settings = {
                "content": "ingested cube",
                # As text: a NaN in it would not equal itself when the journal is read again.
                "specification": spec.model_dump_json(),
                "files": files.signature(),
                "tile": TILE,
            }
            with staging(out, settings, overwrite) as stage:
                if "layout" not in stage.done:
                    _lay_out(stage.path, sample, groups, box)
                    stage.finish("layout")
                shape = (box.shape[0], box.shape[1])
                work = [(g, tile) for g in groups for tile in tiles(shape, TILE)]
                with progress_bar() as bar:
                    for group, tile in bar.track(work, description="ingest"):
                        item = f"{group.name} {tile.index[0]} {tile.index[1]}"
                        if item in stage.done:
                            continue
                        rows, cols = tile.core
                        for name, values in _read_group(group, _crop(box, rows, cols)):
                            observations.write_block(
                                stage.path, group.name, {name: values}, rows, cols
                            )
                        stage.finish(item)
                _check_result(stage.path)
        finally:
            files.close()


# Resampling -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Placement:
    """How pixels of a source make the pixels of a tile.

    A tile's pixel is the weighted mean of the picked source pixels that hold data. ``picks`` count
    through the window ``rows, cols`` of the source; -1 lies outside of it.
    """

    rows: slice
    cols: slice
    picks: NDArray[np.int32]  # (k, pixels of the tile)
    weights: NDArray[np.float32]  # (k, pixels), or (k, 1)
    under: NDArray[np.int32] | None  # source pixel that must hold data for there to be a value

    def apply(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample (layer, rows, cols) of the window to (layer, pixels of the tile)."""
        flat = data.reshape(data.shape[0], -1)
        total = np.zeros((data.shape[0], self.picks.shape[1]), np.float32)
        weight = np.zeros_like(total)
        for pick, share in zip(self.picks, self.weights, strict=True):
            values = flat[:, pick]  # -1 picks something, which does not count
            counts = ~np.isnan(values) & (pick >= 0)
            total += np.where(counts, values * share, 0)
            weight += np.where(counts, share, 0)
        known = weight > 0
        if self.under is not None:
            known &= ~np.isnan(flat[:, self.under]) & (self.under >= 0)
        return np.where(known, total / np.where(known, weight, 1), np.nan).astype(np.float32)


@lru_cache(maxsize=8)
def _place(source: GeoBox, tile: GeoBox, method: str) -> _Placement | None:
    """Find the source pixels of a tile; None where the two do not meet."""
    if method == "average":
        # A lattice in each pixel, as dense as the source; its points stand for equal areas.
        n = math.ceil(RESOLUTION / min(_pixel_size(source, str(tile.crs))) - 1e-3)
        n = min(n, _MAX_SAMPLES)
        steps = (np.arange(n) + 0.5) / n
        lattice = [(dy, dx) for dy in steps for dx in steps]
    else:
        lattice = [(0.5, 0.5)]
    points = [_source_cells(source, tile, dy, dx) for dy, dx in lattice]
    v, u = np.stack([p[0] for p in points]), np.stack([p[1] for p in points])
    weights, under = np.ones((len(v), 1), np.float32), None
    if method == "bilinear":
        under = (np.floor(v[0]), np.floor(u[0]))
        v0, u0 = np.floor(v - 0.5), np.floor(u - 0.5)
        fv, fu = v - 0.5 - v0, u - 0.5 - u0
        weights = np.concatenate(
            [(1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu]
        ).astype(np.float32)
        v, u = np.concatenate([v0, v0, v0 + 1, v0 + 1]), np.concatenate([u0, u0 + 1, u0, u0 + 1])
    else:
        v, u = np.floor(v), np.floor(u)

    height, width = source.shape
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    if not inside.any():
        return None
    rows = slice(int(v[inside].min()), int(v[inside].max()) + 1)
    cols = slice(int(u[inside].min()), int(u[inside].max()) + 1)

    def number(v: NDArray, u: NDArray) -> NDArray[np.int32]:
        inside = (v >= rows.start) & (v < rows.stop) & (u >= cols.start) & (u < cols.stop)
        index = (v - rows.start) * (cols.stop - cols.start) + (u - cols.start)
        return np.where(inside, index, -1).astype(np.int32)

    return _Placement(rows, cols, number(v, u), weights, None if under is None else number(*under))


def _source_cells(
    source: GeoBox, tile: GeoBox, dy: float, dx: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fractional row and column, in the source, of one point in every pixel of a tile."""
    a, _, c, _, e, f = tile.affine[:6]
    rows, cols = np.indices(tile.shape).reshape(2, -1)
    x, y = c + a * (cols + dx), f + e * (rows + dy)
    if source.crs != tile.crs:
        x, y = _transformer(str(tile.crs), str(source.crs)).transform(x, y)
    a, b, c, d, e, f = (~source.affine)[:6]
    # What has no place in the source's system comes back infinite. A millionth of a pixel puts
    # points on an edge, to the last digit, on the same side in every tile.
    u = np.where(np.isfinite(x), a * x + b * y + c, -10) + 1e-6
    v = np.where(np.isfinite(y), d * x + e * y + f, -10) + 1e-6
    return v, u


@lru_cache(maxsize=32)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=256)
def _pixel_size(source: GeoBox, crs: str) -> tuple[float, float]:
    """Width and height, in metres of ``crs``, of a pixel in the middle of a source."""
    a, b, c, d, e, f = source.affine[:6]
    row, col = source.shape[0] / 2, source.shape[1] / 2
    cols, rows = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    x, y = _transformer(str(source.crs), crs).transform(x, y)
    return math.hypot(x[1] - x[0], y[1] - y[0]), math.hypot(x[2] - x[0], y[2] - y[0])


def _method(source: GeoBox, box: GeoBox) -> str:
    """How to resample numbers: copy, average or interpolate."""
    (a, b, c, d, e, f), target = source.affine[:6], box.affine
    if source.crs == box.crs and b == d == 0:
        # In pixels, at either end of the source: coordinates are not exact to the last digit.
        off = (
            (abs(a) / RESOLUTION - 1) * source.shape[1],
            (abs(e) / RESOLUTION - 1) * source.shape[0],
        )
        shift = (c - target.c) / RESOLUTION, (f - target.f) / RESOLUTION
        if all(abs(s - round(s)) < 1e-3 for s in shift) and max(map(abs, off)) < 1e-3:
            return "nearest"
    width, height = _pixel_size(source, str(box.crs))
    # A little less than 10 m: degrees that mean 10 m are not averaged.
    return "average" if math.sqrt(width * height) < 0.98 * RESOLUTION else "bilinear"


def _crop(box: GeoBox, rows: slice, cols: slice) -> GeoBox:
    a, b, c, d, e, f = box.affine[:6]
    corner = c + a * cols.start + b * rows.start, f + d * cols.start + e * rows.start
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    return GeoBox(shape, Affine(a, b, corner[0], d, e, corner[1]), box.crs)


# Groups of the cube -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Band:
    """A variable of the cube and where its numbers come from."""

    sources: list[Source]
    kind: str  # reflectance, dB, power or class
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    def read(self, times: NDArray[np.datetime64], tile: GeoBox) -> NDArray[np.float32]:
        """Values in the cube's unit, (time, y, x), NaN where there is no data.

        Where several files hold one time, the first that has data counts, pixel by pixel.
        """
        result = np.full((times.size, tile.shape[0] * tile.shape[1]), np.nan, np.float32)
        for source in self.sources:
            method = "nearest" if self.kind == "class" else _method(source.box, tile)
            place = _place(source.box, tile, method)
            goes_to = np.searchsorted(times, source.times)
            goes_to[~np.isin(source.times, times)] = -1
            if place is None or (goes_to < 0).all():
                continue
            size = (place.rows.stop - place.rows.start) * (place.cols.stop - place.cols.start)
            step = max(_BATCH // max(size, result.shape[1]), 1)
            for start in range(0, goes_to.size, step):
                layers = slice(start, min(start + step, goes_to.size))
                if (goes_to[layers] < 0).all():
                    continue
                values = self._values(source.read(layers, place.rows, place.cols))
                if self.kind == "dB" and method != "nearest":
                    values = to_db(place.apply(to_power(values)))
                else:
                    values = place.apply(values)
                    values = to_db(values) if self.kind == "power" else values
                for target, new in zip(goes_to[layers], values, strict=True):
                    if target >= 0:
                        np.copyto(result[target], new, where=np.isnan(result[target]))
        return result.reshape(times.size, *tile.shape)

    def _values(self, stored: NDArray) -> NDArray[np.float32]:
        """Numbers of a file in the unit that the specification says they have."""
        values = stored.astype(np.float32)
        if self.kind != "class":
            values = values * np.float32(self.scale) + np.float32(self.offset)
        empty = ~np.isfinite(values)
        if self.nodata is not None:
            exact = stored.dtype.type(self.nodata) if stored.dtype.kind == "f" else self.nodata
            empty |= stored == exact
        return np.where(empty, np.float32(np.nan), values)


@dataclass(frozen=True)
class _ClassMask:
    band: _Band
    spec: Mask


@dataclass(frozen=True)
class _Group:
    """A group of the cube, ready to read."""

    name: str
    times: NDArray[np.datetime64]
    bands: dict[str, _Band]
    attrs: dict[str, str]
    masks: list[_ClassMask] = field(default_factory=list)
    orbits: NDArray[np.int16] | None = None
    classes: dict[int, str] = field(default_factory=dict)

    def coords(self, box: GeoBox) -> xr.Dataset:
        """Dataset of coordinates and attributes only."""
        data = xr.Dataset(attrs=self.attrs)
        if self.name != "landcover":
            data = data.assign_coords(time=self.times)
        if self.orbits is not None:
            data = data.assign_coords(relative_orbit=("time", self.orbits))
        return assign_grid(data, box)


def _read_group(group: _Group, tile: GeoBox) -> Iterator[tuple[str, NDArray]]:
    """Yield the variables of a group over a tile, one after the other, masked."""
    if group.name == "landcover":
        yield "crop_type", _crop_types(group, tile)
        return
    clear = np.ones((group.times.size, *tile.shape), bool)
    for mask in group.masks:
        classes = mask.band.read(group.times, tile)
        if mask.spec.keep is not None:
            clear &= np.isin(classes, mask.spec.keep)
        if mask.spec.drop is not None:
            clear &= ~np.isin(classes, mask.spec.drop) & ~np.isnan(classes)
        if getattr(mask.spec, "store_as", None) is not None:
            yield "scl", np.nan_to_num(classes, nan=0).astype(np.uint8)
    for name, band in group.bands.items():
        yield name, np.where(clear, band.read(group.times, tile), np.float32(np.nan))


def _crop_types(group: _Group, tile: GeoBox) -> NDArray[np.uint16]:
    codes = np.nan_to_num(group.bands["crop_type"].read(NO_TIME, tile)[0], nan=0)
    unnamed = np.setdiff1d(codes, [0, *group.classes])
    if unnamed.size:
        raise SpecError(
            f"landcover.classes: the files hold codes without a name: "
            f"{', '.join(f'{code:g}' for code in unnamed)}; add a line for each, as "
            f"'{unnamed[0]:g}: class_{unnamed[0]:g}', or name the one that means no data in "
            "landcover.nodata."
        )
    return codes.astype(np.uint16)


def _plan(spec: Spec, files: Files) -> tuple[GeoBox, list[_Group]]:
    """Open every file once, choose the grid, and find the times of each group."""
    series = {"optical": spec.optical, "sar": spec.sar}
    bands = {name: _bands(name, s, files) for name, s in series.items() if s is not None}
    first = next(iter(next(iter(bands.values())).values())).sources
    box = _choose_grid(spec, first)
    groups = []
    if spec.landcover is not None:  # first, because it is soon read and often lacks a class
        groups.append(_landcover_group(spec.landcover, box, files))
    for name, section in series.items():
        if section is not None:
            groups.append(_series_group(name, section, bands[name], spec.time, box, files))
    return box, groups


def _bands(section: str, series: Optical | Sar, files: Files) -> dict[str, _Band]:
    kind = series.units if isinstance(series, Sar) else "reflectance"
    orbit = series.relative_orbit if isinstance(series, Sar) else None
    result = {}
    for name, variable in series.names().items():
        own = name in series.files
        sources = files.sources(
            section,
            (f"{section}.files.{name}", series.files[name])
            if own
            else (f"{section}.files", series.files[ALL_BANDS]),
            (f"{section}.bands.{name}", variable),
            series.time,
            series.crs,
            orbit,
        )
        result[name] = _Band(sources, kind, series.scale, series.offset, series.nodata)
    return result


def _limits(box: GeoBox, crs: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a source in another reference system."""
    a, b, c, d, e, f = box.affine[:6]
    cols, rows = np.meshgrid([0, box.shape[1]], [0, box.shape[0]])
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    limits = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    if str(box.crs) == crs:
        return limits
    return _transformer(str(box.crs), crs).transform_bounds(*limits)


def _choose_grid(spec: Spec, sources: list[Source]) -> GeoBox:
    """Grid of the specification; what it leaves open follows all files of the first band."""
    crs = spec.grid.crs or str(sources[0].box.crs)
    left, bottom, right, top = np.transpose([_limits(box, crs) for box in {s.box for s in sources}])
    bounds = spec.grid.bounds or (left.min(), bottom.min(), right.max(), top.max())
    try:
        return make_grid(bounds, crs)
    except DeepCropError as error:
        raise SpecError(f"grid: {error} Give 'crs' and 'bounds' in the section 'grid'.") from error


def _meeting(band: _Band, key: str, box: GeoBox) -> _Band:
    """Leave out the files that do not meet the grid."""
    left, bottom, right, top = box.boundingbox.bbox
    meets = {}
    for other in {source.box for source in band.sources}:
        o_left, o_bottom, o_right, o_top = _limits(other, str(box.crs))
        # Written so that limits which cannot be computed (NaN, infinite) meet.
        meets[other] = not (
            o_left >= right or o_right <= left or o_bottom >= top or o_top <= bottom
        )
    sources = [source for source in band.sources if meets[source.box]]
    if not sources:
        raise SpecError(
            f"{key}: none of the {len(band.sources)} files meets the grid "
            f"{(left, bottom, right, top)} in {box.crs}; check grid.bounds and the reference "
            "systems."
        )
    return replace(band, sources=sources)


def _times_of(band: _Band, period: Period) -> NDArray[np.datetime64]:
    times = np.unique(np.concatenate([source.times for source in band.sources]))
    inside = np.ones(times.size, bool)
    if period.start is not None:
        inside &= times >= np.datetime64(period.start)
    if period.end is not None:
        inside &= times < np.datetime64(period.end) + 1
    return times[inside]


def _series_group(
    name: str,
    series: Optical | Sar,
    bands: dict[str, _Band],
    period: Period,
    box: GeoBox,
    files: Files,
) -> _Group:
    bands = {band: _meeting(b, f"{name}.bands.{band}", box) for band, b in bands.items()}
    first, *others = bands
    times = _times_of(bands[first], period)
    if times.size == 0:
        every = np.concatenate([source.times for source in bands[first].sources])
        span = f"from {every.min():.10} to {every.max():.10}" if every.size else "without any date"
        raise SpecError(
            f"time: no scene of '{name}' lies between {period.start or 'the beginning'} and "
            f"{period.end or 'the end'}; its files are {span}."
        )
    for band in others:
        _same_times(times, _times_of(bands[band], period), f"{name}.bands.{band}", first)
    masks = []
    for i, mask in enumerate(series.masks):
        key = f"{name}.masks.{i}"
        sources = files.sources(
            key,
            (f"{key}.files", mask.files),
            (f"{key}.variable", mask.variable),
            mask.time or series.time,
            mask.crs or series.crs,
        )
        mask_band = _meeting(_Band(sources, "class", nodata=mask.nodata), key, box)
        missing = np.setdiff1d(times, _times_of(mask_band, period))
        if missing.size:
            _same_times(times, np.setdiff1d(times, missing), key, first)
        masks.append(_ClassMask(mask_band, mask))
    attrs = {"source": series.source}
    if series.collection is not None:
        attrs["collection"] = series.collection
    if isinstance(series, Optical):
        return _Group(name, times, bands, attrs | {"offset": series.offset_decision}, masks)
    attrs["radiometry"] = series.radiometry
    orbits = _orbits(series.relative_orbit, times, bands[first].sources)
    return _Group(name, times, bands, attrs, masks, orbits)


def _same_times(times: NDArray, found: NDArray, key: str, first: str) -> None:
    different = np.setxor1d(times, found)
    if different.size:
        lacks = f"it has none, '{first}' has" if different[0] in times else f"'{first}' has none"
        raise SpecError(
            f"{key}: its times differ from those of '{first}' at {different.size} dates, first at "
            f"{different[0]:.19} ({lacks}). Every scene needs all bands and masks at the very same "
            "time: complete the files, or leave the scene out."
        )


def _orbits(
    given: str | None, times: NDArray[np.datetime64], sources: list[Source]
) -> NDArray[np.int16] | None:
    if given is None:
        return None
    orbits = np.zeros(times.size, np.int16)
    if given.isdigit():
        orbits[:] = int(given)
    else:
        for source in sources:
            if source.orbits is None:
                raise SpecError(
                    f"sar.relative_orbit: {source.path} has no variable on time; give a number."
                )
            at, inside = np.searchsorted(times, source.times), np.isin(source.times, times)
            orbits[at[inside]] = source.orbits[inside]
    if not ((orbits >= 1) & (orbits <= 175)).all():
        raise SpecError("sar.relative_orbit: Sentinel-1's relative orbits run from 1 to 175.")
    return orbits


def _landcover_group(landcover: Landcover, box: GeoBox, files: Files) -> _Group:
    sources = files.sources(
        "landcover",
        ("landcover.files", landcover.files),
        ("landcover.variable", landcover.variable),
        crs=landcover.crs,
    )
    band = _meeting(_Band(sources, "class", nodata=landcover.nodata), "landcover.files", box)
    attrs = {} if landcover.source is None else {"source": landcover.source}
    return _Group("landcover", NO_TIME, {"crop_type": band}, attrs, classes=landcover.classes)


# The store --------------------------------------------------------------------------------------


def _sample(
    groups: list[_Group], box: GeoBox, attrs: dict[str, str], spec_path: Path
) -> xr.DataTree:
    """Cube of the middle of the grid, checked: wrong units show before the work begins."""
    rows, cols = (slice(max(n // 2 - 16, 0), min(n // 2 + 16, n)) for n in box.shape)
    tile = _crop(box, rows, cols)
    parts = {}
    for group in groups:
        data = group.coords(tile)
        for name, values in _read_group(group, tile):
            data[name] = (("y", "x") if group.name == "landcover" else ("time", "y", "x"), values)
        if group.name == "landcover":
            names = [name.replace(" ", "_") for name in group.classes.values()]
            data["crop_type"].attrs = {
                "flag_values": [0, *group.classes],
                "flag_meanings": " ".join(["unknown", *names]),
            }
        parts[group.name] = data
        for name, band in group.bands.items():
            if band.kind != "power":
                continue
            power = replace(band, kind="reflectance").read(group.times, tile)
            if np.isfinite(power).any() and np.nanmedian(power) <= 0:
                raise SpecError(
                    f"sar.units: 'power', but the median of '{name}' in the middle of the grid is "
                    f"{np.nanmedian(power):g}, and power is positive; these look like decibels, "
                    "write units: dB."
                )
    try:
        return observations.build(
            parts.get("optical"), parts.get("sar"), parts.get("landcover"), attrs
        )
    except CubeError as error:
        raise CubeError(f"{spec_path}, in the middle of its grid: {error}") from error


def _lay_out(path: Path, sample: xr.DataTree, groups: list[_Group], box: GeoBox) -> None:
    """Make the empty store, with the attributes of the sample and the size of the grid."""
    observations.create_store(path, sample.attrs)
    for group in groups:
        data = group.coords(box)
        for name, array in sample[group.name].to_dataset().data_vars.items():
            shape = (*array.shape[:-2], *box.shape)
            empty = np.broadcast_to(np.zeros((), array.dtype), shape)  # takes no memory
            data[name] = (array.dims, empty, array.attrs)
        observations.create_group(path, group.name, data)


def _check_result(path: Path) -> None:
    """Check the finished store, and that every measured band holds something."""
    with warnings.catch_warnings():
        # The journal is still in the store.
        warnings.simplefilter("ignore", ZarrUserWarning)
        cube = observations.open_cube(path)
    for group in ("optical", "sar"):
        if group not in cube.children:
            continue
        data = cube[group].to_dataset()
        parts = [tile.core for tile in tiles((data.sizes["y"], data.sizes["x"]), TILE)]
        for name in (*observations.OPTICAL_BANDS, *observations.SAR_BANDS):
            if name in data and not any(
                np.isfinite(data[name][:, rows, cols].values).any() for rows, cols in parts
            ):
                raise SpecError(
                    f"{group}.bands.{name}: no pixel holds data at any time; check nodata, units, "
                    "the masks and grid.bounds."
                )
