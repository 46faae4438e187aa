"""Plan a cube: open every file once, choose the grid, and find the times of each group."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from deepcrop.cube.contract import STEP_CHECKED
from deepcrop.cube.passes import number_passes
from deepcrop.cube.possible import percent
from deepcrop.errors import DeepCropError, SpecError
from deepcrop.grid import RESOLUTION, make_grid
from deepcrop.grid.resampling import method_for, overlaps, transformer
from deepcrop.ingest.bands import Band, Group
from deepcrop.ingest.numbers import Conversion
from deepcrop.ingest.pixel_places import warn_anew
from deepcrop.ingest.radiometry import ToSigma0, check_sigma0
from deepcrop.ingest.raw_files import NO_TIME, Source, SourceFiles, VariableRequest
from deepcrop.ingest.spec import ALL_BANDS, Incidence, Landcover, Mask, Optical, Period, Sar, Spec
from deepcrop.ingest.stated import warn_of_scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

logger = logging.getLogger(__name__)


def plan(spec: Spec, files: SourceFiles) -> tuple[GeoBox, list[Group]]:
    """Choose the grid and the groups of the cube that a specification describes.

    Raises
    ------
    SpecError
        If a file cannot be used, or the files do not fit the grid or each other.
    """
    warn_anew()
    series = {"optical": spec.optical, "sar": spec.sar}
    bands = {name: _bands(name, s, files) for name, s in series.items() if s is not None}
    first = next(iter(next(iter(bands.values())).values()))
    box = _choose_grid(spec, first.sources)
    groups = []
    if spec.landcover is not None:  # first: it is read quickly, and often lacks a class name
        groups.append(_landcover_group(spec.landcover, box, files))
    for name, section in series.items():
        if section is not None:
            groups.append(_series_group(name, section, bands[name], spec.time, box, files))
    _check_coverage(box, groups)
    return box, groups


def _bands(section: str, series: Optical | Sar, files: SourceFiles) -> dict[str, Band]:
    kind = series.units if isinstance(series, Sar) else "reflectance"
    orbit = series.relative_orbit if isinstance(series, Sar) else None
    result = {}
    read: dict[tuple[str, str], str] = {}
    for name, variable in series.names().items():
        glob = f"{section}.files", series.files.get(ALL_BANDS, "")
        if name in series.files:
            glob = f"{section}.files.{name}", series.files[name]
        request = VariableRequest(
            section,
            glob,
            (f"{section}.bands.{name}", variable),
            series.time,
            series.crs,
            None if orbit is None or orbit.isdigit() else orbit,
            series.pixel_coordinates,
        )
        sources = files.sources(request)
        # After the files are opened: a variable that lacks its 'select' has a better message.
        place = glob[1], variable.model_dump_json()
        if read.setdefault(place, name) != name:
            raise SpecError(
                f"{section}.bands.{name}: is {variable.name} of {glob[1]}, as {read[place]} is; "
                "give each band its own."
            )
        _check_pixel_sizes(glob[0], sources)
        if isinstance(series, Sar):
            check_sigma0(series, sources)
        conversion = Conversion(name, section, kind, series.scale, series.offset, series.nodata)
        result[name] = Band(sources, conversion)
        offsets = {float(o) for s in sources for o in conversion.offset_at(s.times)}
        for stated in dict.fromkeys(source.stated for source in sources):
            warn_of_scaling(stated, series.scale, offsets, f"{section}.bands.{name}")
        if isinstance(series, Optical):
            _check_baselines(series, result[name])
    return result


_LEAST_PIXEL = 0.05
"""Size of a pixel below which the coordinates are not in the unit of their reference system, m."""


def _check_pixel_sizes(key: str, sources: list[Source]) -> None:
    """Reject pixels smaller than those of any image: the coordinates are in kilometres, say."""
    for box, path in {source.box: source.path for source in sources}.items():
        size = min(np.hypot(box.affine.a, box.affine.d), np.hypot(box.affine.b, box.affine.e))
        degrees = box.crs is not None and box.crs.geographic
        if size * (111_000 if degrees else 1) < _LEAST_PIXEL:
            raise SpecError(
                f"{key}: the pixels of {path} are {size:g} {'degrees' if degrees else 'm'} wide in "
                f"{box.crs}, less than those of any image. Its coordinates seem to be in another "
                "unit, for example kilometres; convert them."
            )


def _check_baselines(series: Optical, band: Band) -> None:
    """Reject one offset for files that, by their names, have different conventions.

    ESA's product names hold the processing baseline (``_N0400_``); from 04.00 on the numbers
    contain 1000 more.
    """
    if series.is_of_one_convention:
        return
    found: dict[bool, dict[float, str]] = {False: {}, True: {}}
    for source in band.sources:
        match = re.search(r"_N(0\d{3})_", str(source.path))
        if match:
            for value in np.unique(band.conversion.offset_at(source.times)):
                found[int(match[1]) >= 400].setdefault(float(value), source.path.name)
    before, since = found[False], found[True]
    both = set(before) & set(since)
    if both or len(since) > 1:
        names = [before[min(both)], since[min(both)]] if both else list(since.values())[:2]
        raise SpecError(
            f"optical.offset: by their names, {names[0]} and {names[1]} are of processing "
            f"baselines {'before and since' if both else 'since'} 04.00, "
            f"{'with one offset' if both else 'with different offsets'}. Give the offset by date, "
            "offset: [{value: 0}, {from: 2022-01-25, value: -0.1}], and ingest reprocessed "
            "products of earlier dates separately; or, if all numbers are of one "
            "convention (harmonised), say so: offset: [{from: 2015-01-01, value: 0}]."
        )


# The grid ---------------------------------------------------------------------------------------


def _choose_grid(spec: Spec, sources: list[Source]) -> GeoBox:
    """Make the grid of the specification; by default it covers all files of the first band."""
    crs = spec.grid.crs or str(sources[0].box.crs)
    left, bottom, right, top = np.transpose(
        [_bounds_in(box, crs) for box in {s.box for s in sources}]
    )
    bounds = spec.grid.bounds or (left.min(), bottom.min(), right.max(), top.max())
    try:
        box = make_grid(bounds, crs)
    except DeepCropError as error:
        raise SpecError(f"grid: {error} Give 'crs' and 'bounds' in the section 'grid'.") from error
    if min(box.shape) < 2:
        raise SpecError(
            f"grid: the grid is {box.shape[1]} x {box.shape[0]} pixels of {RESOLUTION:g} m; "
            "expected 2 or more each way. Give larger 'bounds' in the section 'grid'."
        )
    return box


def _bounds_in(box: GeoBox, crs: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a source in a given reference system."""
    bounds = box.boundingbox.bbox
    if str(box.crs) == crs:
        return bounds
    return transformer(str(box.crs), crs).transform_bounds(*bounds)


_SPARSE = 0.01
"""Least share of a large grid that the files must cover."""

_LARGE = 1.3e10
"""Area from which on a grid counts as large: more than a tile of Sentinel-2, square metres."""


def _check_coverage(box: GeoBox, groups: list[Group]) -> None:
    """Reject a large grid that is nearly empty: each of its tiles would be written for every date.

    Raises
    ------
    SpecError
        With the size of the grid, the area with files, and where they lie.
    """
    whole = shapely.box(*box.boundingbox.bbox)
    if whole.area < _LARGE:
        return
    boxes = {s.box for group in groups for band in group.bands.values() for s in band.sources}
    bounds = np.array([_bounds_in(source, str(box.crs)) for source in boxes])
    if not np.isfinite(bounds).all():  # of a raster of the earth in a UTM zone; it covers the grid
        return
    covered = shapely.intersection(shapely.union_all(shapely.box(*bounds.T)), whole)
    if covered.area >= _SPARSE * whole.area:
        return
    (left, bottom, right, top), height, width = covered.bounds, *box.shape
    raise SpecError(
        f"grid.bounds: the grid is {width * RESOLUTION / 1000:,.0f} x "
        f"{height * RESOLUTION / 1000:,.0f} km, {height * width:.2g} pixels of {RESOLUTION:g} m, "
        f"and the files cover {percent(covered.area / whole.area)} of it, between x {left:.0f} and "
        f"{right:.0f}, y {bottom:.0f} and {top:.0f} in {box.crs}. Give bounds of the data, or "
        "ingest places that are far from each other one by one."
    )


def _overlapping(band: Band, key: str, box: GeoBox) -> Band:
    """Drop the files that do not overlap the grid."""
    meets = {other: overlaps(other, box) for other in {source.box for source in band.sources}}
    sources = [source for source in band.sources if meets[source.box]]
    if not sources:
        raise SpecError(
            f"{key}: none of the {len(band.sources)} files overlaps the grid "
            f"{tuple(box.boundingbox.bbox)} in {box.crs}; check grid.bounds and the reference "
            "systems."
        )
    return replace(band, sources=sources)


# Groups -----------------------------------------------------------------------------------------


def _series_group(
    name: str,
    series: Optical | Sar,
    bands: dict[str, Band],
    period: Period,
    box: GeoBox,
    files: SourceFiles,
) -> Group:
    bands = {band: _overlapping(b, f"{name}.bands.{band}", box) for band, b in bands.items()}
    first, *others = bands
    times = _in_period(period, _times(bands[first]))
    if times.size == 0:
        available = _times(bands[first])
        span = "without any date"
        if available.size:
            span = f"from {available[0]:.10} to {available[-1]:.10}"
        raise SpecError(
            f"time: no scene of '{name}' lies between {period.start or 'the beginning'} and "
            f"{period.end or 'the end'}; its files are {span}."
        )
    for band in others:
        _check_same_times(
            times, _in_period(period, _times(bands[band])), f"{name}.bands.{band}", first
        )
    masks: list[tuple[Band, Mask]] = []
    for i, mask in enumerate(series.masks):
        key = f"{name}.masks.{i}"
        request = VariableRequest(
            name,
            (f"{key}.files", mask.files),
            (f"{key}.variable", mask.variable),
            series.time,
            series.crs,
            pixel_coordinates=series.pixel_coordinates,
        )
        mask_band = _overlapping(_mask_band(mask, files.sources(request)), key, box)
        _check_same_times(times, np.intersect1d(times, _times(mask_band)), key, first)
        masks.append((mask_band, mask))
    attrs = {"source": series.source}
    buffers = [(i, mask.buffer) for i, (_, mask) in enumerate(masks) if mask.buffer]
    if buffers:
        attrs["mask"] = ", ".join(f"up to {m:g} m from what masks.{i} drops" for i, m in buffers)
    orbits = to_sigma0 = None
    if isinstance(series, Optical):
        attrs["offset"] = series.offset_decision
        if series.is_of_one_convention:
            attrs[STEP_CHECKED] = "none, by the specification"
    else:
        orbits = _relative_orbits(series.relative_orbit, times, bands[first].sources)
        to_sigma0 = _to_sigma0(series, orbits, files)
        attrs["radiometry"] = series.radiometry if to_sigma0 is None else to_sigma0.radiometry
    passes = number_passes(times, orbits)
    if passes.max() + 1 < times.size:
        logger.info(
            "%s: %d looks of %d passes; the looks of a pass are one observation.",
            name,
            times.size,
            passes.max() + 1,
        )
    for band, b in bands.items():
        _tell_needless_resampling(f"{name}.bands.{band}", b, box)
    return Group(name, times, passes, bands, attrs, masks, orbits, to_sigma0=to_sigma0)


def _tell_needless_resampling(key: str, band: Band, box: GeoBox) -> None:
    """Say that pixels of 10 m lie between those of the grid, so that they are interpolated."""
    for other in {source.box for source in band.sources}:
        if other.crs != box.crs or method_for(other, box) == "nearest":
            continue
        if other.affine.b or other.affine.d:  # a rotated raster must be interpolated
            continue
        size_x, size_y = abs(other.affine.a), abs(other.affine.e)
        if max(abs(size_x / RESOLUTION - 1), abs(size_y / RESOLUTION - 1)) > 1e-3:
            continue
        east = (other.affine.c - box.affine.c) % RESOLUTION
        north = (other.affine.f - box.affine.f) % RESOLUTION
        logger.warning(
            "%s: pixels of 10 m whose edges lie %.3g m east and %.3g m north of those of the grid "
            "(multiples of 10 m) are interpolated, which blurs them. If the coordinates of the "
            "file are corners of pixels, write pixel_coordinates: corner.",
            key,
            east,
            north,
        )


def _to_sigma0(
    series: Sar, orbits: NDArray[np.int16] | None, files: SourceFiles
) -> ToSigma0 | None:
    """Prepare the conversion of gamma0; None for sigma0."""
    if series.incidence is None:
        return None
    if not isinstance(series.incidence, Incidence):
        return ToSigma0(series.incidence)
    if orbits is not None and np.unique(orbits).size > 1:
        found = ", ".join(map(str, np.unique(orbits)))
        raise SpecError(
            f"sar.incidence: a raster of angles is that of one relative orbit, and the files are "
            f"of {found}; ingest each orbit by itself."
        )
    request = VariableRequest(
        "sar.incidence",
        ("sar.incidence.files", series.incidence.files),
        ("sar.incidence.variable", series.incidence.variable),
        crs=series.incidence.crs,
    )
    return ToSigma0(series.incidence, tuple(files.sources(request)))


def _mask_band(mask: Mask, sources: list[Source]) -> Band:
    """Make the band of a mask's classes.

    Where two products of a pass overlap, a class to drop counts before others. Without ``nodata``
    a usual fill that is not kept is the outside of a product: the other product's class counts.
    """
    bits = tuple(mask.drop_bits or ())
    winning = (1,) if bits else tuple(mask.drop or ())
    outside: tuple[int, ...] = ()
    if mask.keep is not None and not mask.nodata:
        outside = tuple(fill for fill in _FILLS if fill not in mask.keep)
    conversion = Conversion("class", "masks", "class", nodata=mask.nodata)
    return Band(sources, conversion, bits, winning, outside)


_FILLS = (0, 255, 65535, -1, -128, -9999, -32768)
"""Numbers that class rasters hold outside of a product."""


def _times(band: Band) -> NDArray[np.datetime64]:
    """List the times of all files, sorted, without repetitions."""
    return np.unique(np.concatenate([source.times for source in band.sources]))


def _in_period(period: Period, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    inside = np.ones(times.size, bool)
    if period.start is not None:
        inside &= times >= np.datetime64(period.start)
    if period.end is not None:
        inside &= times < np.datetime64(period.end) + 1
    return times[inside]


def _check_same_times(times: NDArray[Any], found: NDArray[Any], key: str, first: str) -> None:
    different = np.setxor1d(times, found)
    if different.size:
        lacks = f"it has none, '{first}' has" if different[0] in times else f"'{first}' has none"
        raise SpecError(
            f"{key}: its times differ from those of '{first}' at {different.size} dates, first at "
            f"{different[0]:.19} ({lacks}). Every scene needs all bands and masks at the very same "
            "time: complete the files, or leave the scene out."
        )


def _relative_orbits(
    given: str | None, times: NDArray[np.datetime64], sources: list[Source]
) -> NDArray[np.int16] | None:
    """Relative orbit of each time: one number for all times, or read from the files."""
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
            position = np.searchsorted(times, source.times)
            inside = np.isin(source.times, times)
            orbits[position[inside]] = source.orbits[inside]
    if not ((orbits >= 1) & (orbits <= 175)).all():
        raise SpecError("sar.relative_orbit: Sentinel-1's relative orbits run from 1 to 175.")
    return orbits


def _landcover_group(landcover: Landcover, box: GeoBox, files: SourceFiles) -> Group:
    request = VariableRequest(
        "landcover",
        ("landcover.files", landcover.files),
        ("landcover.variable", landcover.variable),
        crs=landcover.crs,
        pixel_coordinates=landcover.pixel_coordinates,
    )
    conversion = Conversion("crop_type", "landcover", "class", nodata=landcover.nodata)
    band = Band(files.sources(request), conversion)
    band = _overlapping(band, "landcover.files", box)
    attrs = {} if landcover.source is None else {"source": landcover.source}
    return Group(
        "landcover",
        NO_TIME,
        np.zeros(1, np.int64),
        {"crop_type": band},
        attrs,
        classes=landcover.classes,
    )
