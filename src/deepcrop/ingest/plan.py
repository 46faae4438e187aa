"""Plan a cube: open every file once, choose the grid, and find the times of each group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import DeepCropError, SpecError
from deepcrop.grid import make_grid
from deepcrop.grid.resampling import overlaps, transformer
from deepcrop.ingest.bands import Band, Group
from deepcrop.ingest.radiometry import ToSigma0, check_sigma0
from deepcrop.ingest.raw_files import NO_TIME, Source, SourceFiles, VariableRequest
from deepcrop.ingest.spec import ALL_BANDS, Incidence, Landcover, Mask, Optical, Period, Sar, Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


def plan(spec: Spec, files: SourceFiles) -> tuple[GeoBox, list[Group]]:
    """Choose the grid and the groups of the cube that a specification describes.

    Raises
    ------
    SpecError
        If a file cannot be used, or the files do not fit the grid or each other.
    """
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
    return box, groups


def _bands(section: str, series: Optical | Sar, files: SourceFiles) -> dict[str, Band]:
    kind = series.units if isinstance(series, Sar) else "reflectance"
    orbit = series.relative_orbit if isinstance(series, Sar) else None
    result = {}
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
        )
        sources = files.sources(request)
        if isinstance(series, Sar):
            check_sigma0(series, sources)
        result[name] = Band(sources, kind, series.scale, series.offset, series.nodata)
    return result


# The grid ---------------------------------------------------------------------------------------


def _choose_grid(spec: Spec, sources: list[Source]) -> GeoBox:
    """Make the grid of the specification; by default it covers all files of the first band."""
    crs = spec.grid.crs or str(sources[0].box.crs)
    left, bottom, right, top = np.transpose(
        [_bounds_in(box, crs) for box in {s.box for s in sources}]
    )
    bounds = spec.grid.bounds or (left.min(), bottom.min(), right.max(), top.max())
    try:
        return make_grid(bounds, crs)
    except DeepCropError as error:
        raise SpecError(f"grid: {error} Give 'crs' and 'bounds' in the section 'grid'.") from error


def _bounds_in(box: GeoBox, crs: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a source in a given reference system."""
    bounds = box.boundingbox.bbox
    if str(box.crs) == crs:
        return bounds
    return transformer(str(box.crs), crs).transform_bounds(*bounds)


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
        )
        mask_band = _overlapping(_mask_band(mask, files.sources(request)), key, box)
        _check_same_times(times, np.intersect1d(times, _times(mask_band)), key, first)
        masks.append((mask_band, mask))
    attrs = {"source": series.source}
    if isinstance(series, Optical):
        return Group(name, times, bands, attrs | {"offset": series.offset_decision}, masks)
    orbits = _relative_orbits(series.relative_orbit, times, bands[first].sources)
    to_sigma0 = _to_sigma0(series, orbits, files)
    attrs["radiometry"] = series.radiometry if to_sigma0 is None else to_sigma0.radiometry
    return Group(name, times, bands, attrs, masks, orbits, to_sigma0=to_sigma0)


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
    if mask.keep is not None and mask.nodata is None:
        outside = tuple(fill for fill in _FILLS if fill not in mask.keep)
    return Band(sources, "class", 1.0, 0.0, mask.nodata, bits, winning, outside)


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
    )
    band = Band(files.sources(request), "class", nodata=landcover.nodata)
    band = _overlapping(band, "landcover.files", box)
    attrs = {} if landcover.source is None else {"source": landcover.source}
    return Group("landcover", NO_TIME, {"crop_type": band}, attrs, classes=landcover.classes)
