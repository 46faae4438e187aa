"""Open the files of a specification (NetCDF, Zarr, GeoTIFF) and read their numbers as stored."""

from __future__ import annotations

import glob
import os
import re
import warnings
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from deepcrop.errors import MALFORMED, SpecError
from deepcrop.ingest.dimensions import choices, groups_with, select
from deepcrop.ingest.pixel_places import check_units, pixel_affine
from deepcrop.ingest.stated import NOTHING, Stated, stated_by_attributes
from deepcrop.ingest.times import date_in_path, date_in_text, decode_times, in_utc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.ingest.spec import Time, Variable

NO_TIME = np.array(["1970-01-01"], "datetime64[ns]")
"""Time axis of a raster without times."""

_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, RasterioError)
_Y_NAMES = ("y", "lat", "latitude", "northing")
_X_NAMES = ("x", "lon", "longitude", "easting")


@dataclass(frozen=True)
class VariableRequest:
    """A variable to read from the files of a glob, with the keys of the specification.

    Attributes
    ----------
    section : str
        Section with ``time``, ``crs`` and ``relative_orbit``, for messages.
    files : tuple of str
        Key and glob.
    variable : tuple
        Key, and variable.
    time : Time, optional
        Location of the dates; None for a raster without times.
    crs : str, optional
        Reference system; replaces that of the files.
    orbit : str, optional
        Variable with the relative orbit of each time.
    pixel_coordinates : str, optional
        What the coordinates of a NetCDF or Zarr file name: ``"centre"`` or ``"corner"`` (upper
        left) of a pixel.
    """

    section: str
    files: tuple[str, str]
    variable: tuple[str, Variable]
    time: Time | None = None
    crs: str | None = None
    orbit: str | None = None
    pixel_coordinates: str | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """One variable of one file: layers on the file's own grid, in any orientation."""

    path: Path
    key: str  # of the specification, for messages
    box: GeoBox
    times: NDArray[np.datetime64]
    array: xr.DataArray | None = None  # of NetCDF or Zarr; dimensions layer, y, x in any order
    bands: tuple[int, ...] = (1,)  # of a GeoTIFF: the band of each layer
    orbits: NDArray[Any] | None = None
    about: str = ""  # name of the variable and metadata, as one text
    stated: Stated = NOTHING

    def read(self, layers: slice, rows: slice, cols: slice) -> NDArray[Any]:
        """Read numbers as stored, (layer, y, x)."""
        try:
            if self.array is not None:
                part = self.array.isel(layer=layers, y=rows, x=cols)
                return part.compute().transpose("layer", "y", "x").values
            with rasterio.open(self.path) as file:
                window = ((rows.start, rows.stop), (cols.start, cols.stop))
                stored: NDArray[Any] = file.read(list(self.bands[layers]), window=window)
                return stored
        except _READ_ERRORS as error:
            raise SpecError(
                f"{self.key}: {self.path} cannot be read: {error}. Fetch the file again."
            ) from error


@dataclass
class SourceFiles:
    """The files of a specification; NetCDF and Zarr stay open until `close`."""

    folder: Path
    paths: set[Path] = field(default_factory=set)
    datasets: dict[tuple[Path, str], xr.Dataset] = field(default_factory=dict)

    def sources(self, request: VariableRequest) -> list[Source]:
        """Open the files of a request: one source for each, sorted by name.

        Raises
        ------
        SpecError
            If no file matches, or a file cannot be used.
        """
        key = request.files[0]
        found: list[Source] = []
        dates = PathDates(request.time, self.folder, request.section)
        for path in _find(self.folder, *request.files):
            self.paths.add(path)
            try:
                if path.suffix.lower() in (".tif", ".tiff"):
                    found.append(_open_geotiff(path, request, dates))
                elif path.is_dir() or path.suffix.lower() in (".nc", ".nc4"):
                    group = request.variable[1].name.rpartition("/")[0]
                    found.append(_open_array(self._open(path, group), path, request, dates))
                else:
                    raise SpecError(
                        f"{key}: {path} is not a NetCDF (.nc), GeoTIFF (.tif) or Zarr store (a "
                        "folder); convert it, or narrow the glob."
                    )
            except _READ_ERRORS as error:
                raise SpecError(
                    f"{key}: {path} cannot be read: {error}. Fetch the file again, or narrow the "
                    "glob."
                ) from error
        dates.check(found)
        return found

    def _open(self, path: Path, group: str) -> xr.Dataset:
        if (path, group) not in self.datasets:
            options: dict[str, Any] = {"engine": "netcdf4", "group": group or None}
            if path.is_dir():
                options |= {"engine": "zarr", "consolidated": False, "chunks": None}
            # Not decoded, because a NaN _FillValue or a scale on integers would change the numbers.
            try:
                data = xr.open_dataset(path, decode_cf=False, cache=False, **options)
            except MALFORMED as error:  # zarr raises what it likes for damaged descriptions
                raise OSError(f"{type(error).__name__}: {error}") from error
            self.datasets[path, group] = data
        return self.datasets[path, group]

    def signature(self) -> list[list[str | int]]:
        """List name, size and modification time of every file, to notice changes."""
        result: list[list[str | int]] = []
        for path in sorted(self.paths):
            parts = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            stats = [part.stat() for part in parts]
            changed = max((s.st_mtime_ns for s in stats), default=0)
            result.append([str(path), sum(s.st_size for s in stats), changed])
        return result

    def close(self) -> None:
        """Close the open datasets."""
        for data in self.datasets.values():
            data.close()


def expand(key: str, text: str) -> str:
    """Replace ``~`` and ``${VARIABLE}``; an unset variable is a `SpecError`."""
    for braced, bare in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text):
        name = braced or bare
        if name not in os.environ:
            raise SpecError(
                f"{key}: environment variable {name} is not set; set it to the folder that "
                f"{text!r} means (export {name}=/path/to/data), or write the path itself."
            )
    return str(Path(os.path.expandvars(text)).expanduser())


def _find(folder: Path, key: str, pattern: str) -> list[Path]:
    text = expand(key, pattern)
    if (folder / text).exists():  # a file name may contain [ or *
        return [folder / text]
    # Path.glob accepts no absolute pattern, and also finds hidden files.
    names = glob.glob(text, root_dir=folder, recursive=True)  # noqa: PTH207
    found = [folder / name for name in names]
    if not found:
        raise SpecError(f"{key}: no file matches {folder / text}; correct the path or the glob.")
    return sorted(found)


def _open_geotiff(path: Path, request: VariableRequest, dates: PathDates) -> Source:
    section, time, (key, variable) = request.section, request.time, request.variable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported below, as an error
        with rasterio.open(path) as file:
            shape, affine, own = file.shape, file.transform, file.crs
            names = [name or "" for name in file.descriptions]
            tags = file.tags()
            fills = {file.nodatavals[k - 1] for k in range(1, file.count + 1)} - {None}
    if affine.is_identity:
        raise SpecError(f"{section}: {path} has no geotransform; georeference it (gdal_translate).")
    if affine.is_degenerate:
        raise SpecError(
            f"{section}: the geotransform of {path} {tuple(affine)[:6]} gives its pixels no area; "
            "georeference it (gdal_translate -a_ullr)."
        )
    if time is not None and time.coordinate is not None:
        raise SpecError(
            f"{section}.time: a GeoTIFF ({path}) has no coordinate {time.coordinate!r}; give "
            "'pattern' and 'format', which pick the date out of the name of the file, of its "
            "folder or of its bands, or 'dates'."
        )
    bands = _bands_of(variable, names, path, key)
    if len(bands) == 1 and "*" not in variable.name and (time is None or time.dates is None):
        times = NO_TIME if time is None else np.array([dates.of(path)])
    else:
        times = _dates_of_bands(bands, names, path, request)
    box = GeoBox(shape, affine, _crs(path, request, own.to_wkt() if own else None))
    about = f"{[names[k - 1] for k in bands]} {tags}"
    stated = Stated(tuple(float(n) for n in sorted(fills) if np.isfinite(n)))
    return Source(path, key, box, times, bands=bands, about=about, stated=stated)


def _bands_of(variable: Variable, names: list[str], path: Path, key: str) -> tuple[int, ...]:
    """Numbers of the bands that a variable names: one, or all whose description fits a glob."""
    if variable.select:
        raise SpecError(f"{key}: a GeoTIFF ({path}) has no dimensions to select in; name a band.")
    if "*" in variable.name:
        fitting = [k + 1 for k, name in enumerate(names) if fnmatchcase(name, variable.name)]
        if not fitting:
            raise SpecError(
                f"{key}: no band of {path} is described as {variable.name!r}; its bands are "
                f"{', '.join(map(repr, names[:6]))}{', …' if len(names) > 6 else ''}."
            )
        return tuple(fitting)
    if not (variable.name.isdigit() and 1 <= int(variable.name) <= len(names)):
        raise SpecError(
            f"{key}: {variable.name!r} is not a band of {path}; give a number from 1 to "
            f"{len(names)}, or '*' if each band is a date."
        )
    return (int(variable.name),)


def _dates_of_bands(
    bands: tuple[int, ...], names: list[str], path: Path, request: VariableRequest
) -> NDArray[np.datetime64]:
    """Dates of the bands of a GeoTIFF with a band for each date."""
    time, section = request.time, request.section
    if time is None:
        raise SpecError(f"{request.variable[0]}: {section} has no time; give one band of {path}.")
    if time.dates is not None:
        if len(time.dates) != len(bands):
            raise SpecError(
                f"{section}.time.dates: {len(time.dates)} dates, and {len(bands)} bands "
                f"({request.variable[1].name!r}) in {path}; expected a date for each band."
            )
        return np.array([in_utc(moment) for moment in time.dates])
    return np.array(
        [
            date_in_text(time, names[k - 1], section, f"the description of band {k} of {path}")
            for k in bands
        ]
    )


def _open_array(data: xr.Dataset, path: Path, request: VariableRequest, dates: PathDates) -> Source:
    section, time, (key, variable) = request.section, request.time, request.variable
    name = variable.name.rpartition("/")[2]
    array = select(data, _variable(data, path, key, name), variable.select, path, key)
    dim_y, y, step_y = _axis(array, path, key, _Y_NAMES)
    dim_x, x, step_x = _axis(array, path, key, _X_NAMES)
    crs = _crs(path, request, _own_crs(data, array))
    for dim in (dim_x, dim_y):
        check_units(data[dim].attrs.get("units"), dim, crs, path, section)
    affine = pixel_affine(
        (x, y),
        (step_x, step_y),
        crs,
        data,
        array,
        (dim_x, dim_y),
        path,
        f"{section}.pixel_coordinates",
        request.pixel_coordinates,
    )
    box = GeoBox((array.sizes[dim_y], array.sizes[dim_x]), affine, crs)

    times, orbits, layer = NO_TIME, None, None
    if time is not None and time.coordinate is not None:
        stamps = _variable(data, path, f"{section}.time", time.coordinate)
        times = decode_times(stamps, path, section)
        layer = stamps.dims[0] if stamps.dims else None
        if request.orbit is not None:
            orbits = _read_relative_orbits(data, path, request.orbit, section, times.shape)
    elif time is not None and time.dates is not None:
        times = np.array([in_utc(moment) for moment in time.dates])
        layer = next((dim for dim in array.dims if dim not in (dim_y, dim_x)), None)
        if layer is None or array.sizes[layer] != times.size:
            raise SpecError(
                f"{section}.time.dates: {times.size} dates, and '{name}' in {path} has dimensions "
                f"{dict(array.sizes)}; expected a dimension with one layer for each date."
            )
    elif time is not None:
        times = np.array([dates.of(path)])

    other = [dim for dim in array.dims if dim not in (layer, dim_y, dim_x)]
    further = [str(dim) for dim in other if array.sizes[dim] != 1]
    if further or (layer is not None and layer not in array.dims):
        raise SpecError(
            f"{key}: '{name}' in {path} has dimensions {array.dims}; expected y, x"
            + (f" and '{layer}', the dimension of its times." if layer else ", without time.")
            + (
                ""
                if layer is not None and layer not in array.dims
                else choices(data, further, name)
            )
        )
    about, stated = f"{name} {array.attrs} {data.attrs}", stated_by_attributes(array.attrs)
    array = xr.DataArray(array.isel(dict.fromkeys(other, 0)).variable)  # without coordinates
    array = array.rename({dim_y: "y", dim_x: "x"})
    array = array.expand_dims("layer") if layer is None else array.rename({layer: "layer"})
    return Source(path, key, box, times, array, orbits=orbits, about=about, stated=stated)


@dataclass
class PathDates:
    """Dates in the paths of the files of one glob, which must all stand in the same place."""

    time: Time | None
    folder: Path
    section: str
    places: dict[int, Path] = field(default_factory=dict)

    def of(self, path: Path) -> np.datetime64:
        """Find the date of a file."""
        assert self.time is not None
        inside = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        found, place = date_in_path(self.time, inside.parts, self.section)
        self.places.setdefault(place, path)
        if len(self.places) > 1:
            first, second = self.places.values()
            raise SpecError(
                f"{self.section}.time.pattern: the date of {first} and that of {second} are not in "
                "the same place of the path (the name, or the folder); narrow the pattern or the "
                "glob of 'files'."
            )
        return found

    def check(self, sources: list[Source]) -> None:
        """Reject a date of a folder that all files of the same area share.

        It would be the date of a download, say, and all scenes would become one.
        """
        if not self.places or 0 in self.places:
            return
        dates = {source.times[0] for source in sources}
        if len(dates) == 1 and len({source.box for source in sources}) < len(sources):
            raise SpecError(
                f"{self.section}.time.pattern: all {len(sources)} files get the date "
                f"{sources[0].times[0]:.10}, which is in the name of a folder of "
                f"{sources[0].path}; let the pattern find the date of each file."
            )


def _variable(data: xr.Dataset, path: Path, key: str, name: str) -> xr.DataArray:
    if name not in data.variables:
        own = ", ".join(map(str, data.variables)) or "none"
        raise SpecError(
            f"{key}: {path} has no variable '{name}'; it has {own}.{groups_with(path, name)}"
        )
    return data[name]


def _axis(
    array: xr.DataArray, path: Path, key: str, names: tuple[str, ...]
) -> tuple[str, float, float]:
    """Find the dimension with one of the names, its first pixel centre and its step."""
    matches = [str(d) for d in array.dims if str(d).lower() in names and d in array.coords]
    if len(matches) != 1:
        raise SpecError(
            f"{key}: '{array.name}' in {path} has dimensions {array.dims}; expected one with "
            f"coordinates that is called {' or '.join(names)}. Rename it."
        )
    (dim,) = matches
    values = np.asarray(array[dim].values, np.float64)
    if values.size < 2:
        raise SpecError(f"{key}: coordinate '{dim}' of {path} needs 2 or more values.")
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    # Degrees stored as float32 deviate by some hundredths of a pixel.
    if step == 0 or not (np.abs(values - even) < 0.1 * abs(step)).all():
        raise SpecError(
            f"{key}: coordinate '{dim}' of {path} is not evenly spaced; grid the data first."
        )
    return dim, float(values[0]), float(step)


def _read_relative_orbits(
    data: xr.Dataset, path: Path, name: str, section: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    key = f"{section}.relative_orbit"
    orbits = np.atleast_1d(_variable(data, path, key, name).values)
    if orbits.shape != shape:
        raise SpecError(
            f"{key}: '{name}' in {path} has shape {orbits.shape}; expected one number for each of "
            f"the {shape[0]} times."
        )
    return orbits


def _own_crs(data: xr.Dataset, array: xr.DataArray) -> str | None:
    """Read the reference system of a NetCDF or Zarr file; None if it states none."""
    mapping = str(array.attrs.get("grid_mapping", "")).split(":")[0].split()
    for name in (*mapping[:1], "spatial_ref", "crs"):
        if name in data.variables:
            attrs = data[name].attrs
            for key in ("crs_wkt", "spatial_ref"):
                if attrs.get(key):
                    return str(attrs[key])
            if "grid_mapping_name" in attrs:
                return CRS.from_cf(attrs).to_wkt()
    # The attributes of STAC, which products of ESA's EOPF carry.
    for key in ("proj:code", "proj:epsg", "proj:wkt2"):
        if array.attrs.get(key):
            text = str(array.attrs[key])
            return f"EPSG:{text}" if text.isdigit() else text
    return None


def _crs(path: Path, request: VariableRequest, own: str | None) -> str:
    """Name the reference system of a file: its EPSG code if it has one, else WKT."""
    text = request.crs or own
    if text is None:
        raise SpecError(
            f"{request.section}.crs: {path} does not state its reference system; give it here, for "
            "example crs: EPSG:32631."
        )
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SpecError(
            f"{request.section}.crs: the reference system of {path} cannot be read ({error}); give "
            "it here."
        ) from error
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else crs.to_wkt()
