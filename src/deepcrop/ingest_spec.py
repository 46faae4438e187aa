"""The specification of `deepcrop ingest`, and access to the files that it names.

The specification is a YAML file checked by pydantic. Every mistake is a
:class:`~deepcrop.errors.SpecError` that starts with the path of the key, for example
``optical.bands.red``; :func:`naming` puts the name of the file before it. ``docs/ingest.md``
describes the keys for users.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import rasterio
import xarray as xr
import yaml
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from deepcrop.errors import SpecError

ALL_BANDS = "*"
"""Key of ``files`` that stands for every band: what one glob for all of them becomes."""

NO_TIME = np.array(["1970-01-01"], "datetime64[ns]")
"""Time axis of a raster without time."""

_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, RasterioError)
_DIM_NAMES = {
    "x": ("x", "lon", "longitude", "easting"),
    "y": ("y", "lat", "latitude", "northing"),
}


def _mistake(key: str, text: str) -> PydanticCustomError:
    """Report a mistake at ``key`` of the section that is being checked."""
    # pydantic fills in braces of the template, so the text itself is passed as a value.
    return PydanticCustomError("spec", "{text}", {"text": text, "key": key})


def _known_crs(text: str) -> str:
    text = f"EPSG:{text}" if text.isdigit() else text
    try:
        CRS.from_user_input(text)
    except CRSError:
        raise _mistake(
            "", f"{text!r} is no reference system; write an EPSG code, for example EPSG:32631"
        ) from None
    return text


def _known_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise _mistake("", f"{text!r} is no regular expression: {error}") from None
    return text


Crs = Annotated[str, AfterValidator(_known_crs)]
Globs = Annotated[
    dict[str, str], BeforeValidator(lambda v: {ALL_BANDS: v} if isinstance(v, str) else v)
]


class _Section(BaseModel):
    """A mapping of the file whose keys are all known."""

    # Numbers become text where a name is expected: `red: 3` is band 3 of a GeoTIFF.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        """Say which keys there are, which `extra="forbid"` alone does not."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise _mistake(str(key), f"unknown key; the keys here are: {known}")
        return data


class Time(_Section):
    """Where the dates are: a time coordinate, or the file names."""

    coordinate: str | None = None
    pattern: Annotated[str, AfterValidator(_known_pattern)] | None = None
    format: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Time:
        by_name = self.pattern is not None and self.format is not None
        if by_name == (self.coordinate is not None) or (self.pattern is None) != (
            self.format is None
        ):
            raise _mistake(
                "",
                "give either the name of a time coordinate, or 'pattern' and 'format' that pick "
                "the date out of the file name",
            )
        return self

    def of_name(self, path: Path, key: str) -> np.datetime64:
        """Date in a file's name.

        Raises
        ------
        SpecError
            If the name has no such date.
        """
        found = re.search(self.pattern or "", path.name)
        if found is None:
            raise SpecError(
                f"{key}.time.pattern: {self.pattern!r} finds nothing in the file name "
                f"'{path.name}'; mend the pattern, or narrow the glob of 'files'."
            )
        text = found.group(1 if found.re.groups else 0)
        try:
            moment = datetime.strptime(text or "", self.format or "")
        except ValueError:
            raise SpecError(
                f"{key}.time.format: {text!r} (from '{path.name}') is no date of the form "
                f"{self.format!r}; the codes are those of Python's strptime, as %Y%m%d."
            ) from None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(moment, "ns")


TimeKey = Annotated[Time, BeforeValidator(lambda v: {"coordinate": v} if isinstance(v, str) else v)]


class Mask(_Section):
    """A class raster; pixels whose class is not kept become no data."""

    files: str
    variable: str
    keep: list[int] | None = Field(None, min_length=1)
    drop: list[int] | None = Field(None, min_length=1)
    nodata: float | None = None
    time: TimeKey | None = None
    crs: Crs | None = None

    @model_validator(mode="after")
    def _keep_or_drop(self) -> Mask:
        if (self.keep is None) == (self.drop is None):
            raise _mistake("", "give either 'keep' or 'drop', a list of classes")
        return self


class OpticalMask(Mask):
    """A mask that the cube can keep as its scene classification."""

    store_as: Literal["scl"] | None = None


class OpticalBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each reflectance."""

    blue: str
    green: str
    red: str
    nir: str
    rededge3: str | None = None


class SarBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each polarisation."""

    vv: str
    vh: str


class _Series(_Section):
    """What optical and radar time series have in common."""

    source: str
    collection: str | None = None
    files: Globs
    scale: float = Field(1.0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)
    nodata: float | None  # no default: a forgotten 0 would become dark ground
    time: TimeKey
    crs: Crs | None = None
    bands: _Section

    def names(self) -> dict[str, str]:
        """Band of the cube -> variable in the files."""
        return self.bands.model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _files_of_bands(self) -> _Series:
        if self.scale == 0:
            raise _mistake("scale", "must not be 0")
        bands = self.names()
        for band in self.files:
            if band != ALL_BANDS and band not in bands:
                raise _mistake(
                    f"files.{band}", f"is not among the bands of this section: {', '.join(bands)}"
                )
        for band in bands:
            if band not in self.files and ALL_BANDS not in self.files:
                raise _mistake(f"files.{band}", "is missing; every band needs its files")
        return self


class Optical(_Series):
    """Reflectance: ``value = DN * scale + offset``."""

    offset_decision: str
    bands: OpticalBands
    masks: list[OpticalMask] = []

    @model_validator(mode="after")
    def _one_scl(self) -> Optical:
        if sum(mask.store_as is not None for mask in self.masks) > 1:
            raise _mistake("masks", "only one mask can be stored as scl")
        return self


class Sar(_Series):
    """Backscatter: ``DN * scale + offset`` is decibels or linear power."""

    units: Literal["dB", "power"]
    radiometry: Literal["sigma0", "sigma0 from gamma0, approximate"]
    bands: SarBands
    masks: list[Mask] = []
    relative_orbit: str | None = None


class Landcover(_Section):
    """A raster of crop classes without time."""

    source: str | None = None
    files: str
    variable: str
    classes: dict[Annotated[int, Field(ge=1, le=65535)], str]
    nodata: float | None = None
    crs: Crs | None = None


class Grid(_Section):
    """The grid to make; what is not given follows the first source."""

    crs: Crs | None = None
    bounds: tuple[float, float, float, float] | None = None


class Period(_Section):
    """First and last day to take, both included."""

    start: date | None = None
    end: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise _mistake("", f"start {self.start} is after end {self.end}")
        return self


class Spec(_Section):
    """A whole specification."""

    name: str
    folder: str = "."
    grid: Grid = Grid()
    time: Period = Period()
    optical: Optical | None = None
    sar: Sar | None = None
    landcover: Landcover | None = None

    @model_validator(mode="after")
    def _measured(self) -> Spec:
        if self.optical is None and self.sar is None:
            raise _mistake("", "there is neither 'optical' nor 'sar'; give at least one")
        return self


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of the specification before every `SpecError`."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def load_spec(path: Path) -> Spec:
    """Read a specification and check it.

    Raises
    ------
    SpecError
        Naming each key that is wrong, without the name of the file (see `naming`).
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"cannot be read ({error.strerror}); expected a YAML specification."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise SpecError("is empty or no mapping; expected keys such as 'name' and 'optical'.")
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        mistakes = [_describe(e) for e in error.errors()]
        start = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes:\n  - "
        raise SpecError(start + "\n  - ".join(mistakes)) from None


def _describe(error: ErrorDetails) -> str:
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    if error["type"] == "spec":
        parts += [error["ctx"]["key"]] if error["ctx"]["key"] else []
        text = error["msg"]
    elif error["type"] == "missing":
        text = "is missing"
    else:
        text = f"{error['msg'][0].lower()}{error['msg'][1:]}; found {error['input']!r}"
    return f"{'.'.join(parts)}: {text}." if parts else f"{text}."


# Files ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Source:
    """One variable of one file: layers on the file's own grid, which may point any way."""

    path: Path
    key: str  # of the specification, for messages
    box: GeoBox
    times: NDArray[np.datetime64]
    array: xr.DataArray | None = None  # of NetCDF or Zarr; dimensions layer, y, x in any order
    band: int = 1  # of a GeoTIFF
    orbits: NDArray | None = None

    def read(self, layers: slice, rows: slice, cols: slice) -> NDArray:
        """Numbers as stored, (layer, y, x)."""
        try:
            if self.array is not None:
                part = self.array.isel(layer=layers, y=rows, x=cols)
                return part.compute().transpose("layer", "y", "x").values
            with rasterio.open(self.path) as file:
                window = ((rows.start, rows.stop), (cols.start, cols.stop))
                return file.read([self.band], window=window)
        except _READ_ERRORS as error:
            raise SpecError(
                f"{self.key}: {self.path} cannot be read: {error}. Fetch the file again."
            ) from error


@dataclass
class Files:
    """The files of a specification; NetCDF and Zarr stay open until `close`."""

    folder: Path
    paths: set[Path] = field(default_factory=set)
    datasets: dict[Path, xr.Dataset] = field(default_factory=dict)

    def sources(
        self,
        section: str,
        files: tuple[str, str],
        variable: tuple[str, str],
        time: Time | None = None,
        crs: str | None = None,
        orbit: str | None = None,
    ) -> list[Source]:
        """One source for each file of a glob; ``files`` and ``variable`` are key and value."""
        found = []
        for path in find_files(self.folder, *files):
            self.paths.add(path)
            try:
                if path.suffix.lower() in (".tif", ".tiff"):
                    found.append(_open_geotiff(path, section, variable, time, crs))
                elif path.is_dir() or path.suffix.lower() in (".nc", ".nc4"):
                    data = self._open(path)
                    found.append(_open_array(data, path, section, variable, time, crs, orbit))
                else:
                    raise SpecError(
                        f"{files[0]}: {path} is no NetCDF (.nc), GeoTIFF (.tif) or Zarr store (a "
                        "folder); convert it, or narrow the glob."
                    )
            except _READ_ERRORS as error:
                raise SpecError(
                    f"{files[0]}: {path} cannot be read: {error}. Fetch the file again, or narrow "
                    "the glob."
                ) from error
        return found

    def _open(self, path: Path) -> xr.Dataset:
        if path not in self.datasets:
            how: dict[str, Any] = {"engine": "netcdf4"}
            if path.is_dir():
                how = {"engine": "zarr", "consolidated": False, "chunks": None}
            # Undecoded, because a NaN _FillValue or a scale on integers would change the numbers.
            self.datasets[path] = xr.open_dataset(path, decode_cf=False, cache=False, **how)
        return self.datasets[path]

    def signature(self) -> list[list[str | int]]:
        """Name, size and time of the last change of every file."""
        result: list[list[str | int]] = []
        for path in sorted(self.paths):
            parts = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            stats = [part.stat() for part in parts]
            changed = max((s.st_mtime_ns for s in stats), default=0)
            result.append([str(path), sum(s.st_size for s in stats), changed])
        return result

    def close(self) -> None:
        """Close what is open."""
        for data in self.datasets.values():
            data.close()


def _open_geotiff(
    path: Path, section: str, variable: tuple[str, str], time: Time | None, crs: str | None
) -> Source:
    key, band = variable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said below, as an error
        with rasterio.open(path) as file:
            shape, affine, own, count = file.shape, file.transform, file.crs, file.count
    if not (band.isdigit() and 1 <= int(band) <= count):
        raise SpecError(f"{key}: {band!r} is no band of {path}; give a number from 1 to {count}.")
    if affine.is_identity:
        raise SpecError(f"{section}: {path} has no geotransform; georeference it (gdal_translate).")
    if time is not None and time.coordinate is not None:
        raise SpecError(
            f"{section}.time: a GeoTIFF ({path}) has no coordinate {time.coordinate!r}; give "
            "'pattern' and 'format', which pick the date out of the file name."
        )
    times = NO_TIME if time is None else np.array([time.of_name(path, section)])
    box = GeoBox(shape, affine, _crs_of(path, section, crs, own.to_wkt() if own else None))
    return Source(path, key, box, times, band=int(band))


def _open_array(
    data: xr.Dataset,
    path: Path,
    section: str,
    variable: tuple[str, str],
    time: Time | None,
    crs: str | None,
    orbit: str | None,
) -> Source:
    key, name = variable
    array = _variable(data, path, key, name)
    dims: dict[str, str] = {}
    for axis, names in _DIM_NAMES.items():
        matches = [str(d) for d in array.dims if str(d).lower() in names and d in data.variables]
        if len(matches) != 1:
            raise SpecError(
                f"{key}: '{name}' in {path} has dimensions {array.dims}; expected one with "
                f"coordinates that is called {' or '.join(names)}. Rename it."
            )
        dims[axis] = matches[0]
    times, orbits, layer = NO_TIME, None, None
    if time is not None and time.coordinate is not None:
        stamps = _variable(data, path, f"{section}.time", time.coordinate)
        times = _decode_times(stamps, path, section)
        layer = stamps.dims[0] if stamps.dims else None
        if orbit is not None and not orbit.isdigit():
            orbits = np.atleast_1d(_variable(data, path, f"{section}.relative_orbit", orbit).values)
            if orbits.shape != times.shape:
                raise SpecError(
                    f"{section}.relative_orbit: '{orbit}' in {path} has shape {orbits.shape}; "
                    f"expected one number for each of the {times.size} times."
                )
    elif time is not None:
        times = np.array([time.of_name(path, section)])
    other = [d for d in array.dims if d not in (layer, *dims.values())]
    if any(array.sizes[d] != 1 for d in other) or (layer is not None and layer not in array.dims):
        raise SpecError(
            f"{key}: '{name}' in {path} has dimensions {array.dims}; expected y, x"
            + (f" and '{layer}', the dimension of its times." if layer else ", without time.")
        )
    array = array.isel(dict.fromkeys(other, 0), drop=True)
    array = xr.DataArray(array.variable).rename({dims["y"]: "y", dims["x"]: "x"})
    array = array.expand_dims("layer") if layer is None else array.rename({layer: "layer"})
    x, step_x = _axis(data[dims["x"]].values, path, key, dims["x"])
    y, step_y = _axis(data[dims["y"]].values, path, key, dims["y"])
    affine = Affine(step_x, 0, x - step_x / 2, 0, step_y, y - step_y / 2)
    shape = (array.sizes["y"], array.sizes["x"])
    box = GeoBox(shape, affine, _crs_of(path, section, crs, _own_crs(data, data[name])))
    return Source(path, key, box, times, array=array, orbits=orbits)


def _variable(data: xr.Dataset, path: Path, key: str, name: str) -> xr.DataArray:
    if name not in data.variables:
        raise SpecError(
            f"{key}: {path} has no variable '{name}'; it has {', '.join(map(str, data.variables))}."
        )
    return data[name]


def _decode_times(stamps: xr.DataArray, path: Path, section: str) -> NDArray[np.datetime64]:
    values, attrs = np.atleast_1d(stamps.values), stamps.attrs
    times = xr.decode_cf(xr.Dataset({"time": ("layer", values, attrs)}))["time"].values
    if times.dtype.kind != "M" or np.isnat(times).any():
        raise SpecError(
            f"{section}.time: '{stamps.name}' in {path} holds no CF times without gaps (its units "
            f"are {attrs.get('units')!r}); expected for example 'seconds since 1970-01-01'."
        )
    return times.astype("datetime64[ns]")


def _axis(values: NDArray, path: Path, key: str, name: str) -> tuple[float, float]:
    """First pixel centre and step of an evenly spaced coordinate."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 2:
        raise SpecError(f"{key}: coordinate '{name}' of {path} needs 2 or more values.")
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    # Degrees kept as float32 are off by some hundredths of a pixel.
    if step == 0 or not (np.abs(values - even) < 0.1 * abs(step)).all():
        raise SpecError(
            f"{key}: coordinate '{name}' of {path} is not evenly spaced; grid the data first."
        )
    return float(values[0]), float(step)


def _own_crs(data: xr.Dataset, array: xr.DataArray) -> str | None:
    """Return the reference system that a NetCDF or Zarr file states, as WKT."""
    mapping = str(array.attrs.get("grid_mapping", "")).split(":")[0].split()
    for name in (*mapping[:1], "spatial_ref", "crs"):
        if name in data.variables:
            attrs = data[name].attrs
            for key in ("crs_wkt", "spatial_ref"):
                if attrs.get(key):
                    return str(attrs[key])
            if "grid_mapping_name" in attrs:
                return CRS.from_cf(attrs).to_wkt()
    return None


def _crs_of(path: Path, section: str, given: str | None, own: str | None) -> str:
    """Return a reference system in the form that prints and compares best."""
    text = given or own
    if text is None:
        raise SpecError(
            f"{section}.crs: {path} does not say its reference system; give it here, for example "
            "crs: EPSG:32631."
        )
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SpecError(
            f"{section}.crs: the reference system of {path} cannot be read ({error}); give it here."
        ) from error
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else crs.to_wkt()


def find_files(folder: Path, key: str, pattern: str) -> list[Path]:
    """Files that a glob names, sorted; environment variables and ``~`` are expanded.

    Parameters
    ----------
    folder : Path
        What relative patterns are relative to.
    key : str
        Key of the specification, for messages.
    pattern : str
        A path or a glob.

    Raises
    ------
    SpecError
        If nothing matches or an environment variable is not set.
    """
    text = expand(key, pattern)
    if (folder / text).exists():  # a name may itself contain [ or *
        return [folder / text]
    found = [folder / name for name in glob.glob(text, root_dir=folder, recursive=True)]
    if not found:
        raise SpecError(f"{key}: no file matches {folder / text}; mend the path or the glob.")
    return sorted(found)


def expand(key: str, text: str) -> str:
    """Replace ``~`` and ``${VARIABLE}``; a variable that is not set is a `SpecError`."""
    for braced, bare in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text):
        name = braced or bare
        if name not in os.environ:
            raise SpecError(
                f"{key}: environment variable {name} is not set; set it to the folder that "
                f"{text!r} means (export {name}=/path/to/data), or write the path itself."
            )
    return os.path.expanduser(os.path.expandvars(text))
