"""The observation cube: optical and radar time series of one area on one 10 m grid.

A cube is an :class:`xarray.DataTree`:

``/optical``, dims ``(time, y, x)``
    ``blue, green, red, nir``: surface reflectance, unitless, any offset already applied once, NaN
    where there is no data or the pixel is masked. Optional: ``rededge3`` (Sentinel-2 B07) and
    ``scl`` (uint8, Sentinel-2 scene classes, 0 = no data).
``/sar``, dims ``(time, y, x)``
    ``vv, vh``: sigma0 in dB, NaN where there is no data; coordinate ``relative_orbit`` on time
    where it is known.
``/landcover``, dims ``(y, x)``, optional
    ``crop_type``: uint16 with CF ``flag_values`` and ``flag_meanings``, 0 = unknown.
    Optional ``field_id``: uint32, 0 = none.

Either of the first two groups may be absent. All share one grid (`x`, `y` pixel centres in metres,
``spatial_ref``); their times differ and are ``datetime64[ns]``, UTC, sorted, unique. In memory
values are float32; on disk reflectance and sigma0 are packed as int16, in chunks that hold the
whole time axis of a square of pixels. Other groups (a simulation's ``/truth``) are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from zarr.codecs import BloscCodec

from deepcrop import __version__, grid
from deepcrop.errors import CubeError
from deepcrop.staging import atomic_file, refuse_missing, staging

OPTICAL_BANDS = ("blue", "green", "red", "nir")
SAR_BANDS = ("vv", "vh")
RADIOMETRIES = ("sigma0", "sigma0 from gamma0, approximate")
CHUNK = 256
"""Side of a chunk on disk, pixels; also the natural tile."""

PACKED_FILL = -32768
"""What stands for NaN in packed arrays."""
_LONG_NAMES = {
    "blue": "surface reflectance, blue (B02)",
    "green": "surface reflectance, green (B03)",
    "red": "surface reflectance, red (B04)",
    "nir": "surface reflectance, near infrared (B08)",
    "rededge3": "surface reflectance, red edge (B07)",
    "scl": "scene classification (Sentinel-2 SCL)",
    "vv": "backscatter sigma0, VV",
    "vh": "backscatter sigma0, VH",
    "crop_type": "crop type",
    "field_id": "field number",
}
_REQUIRED = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS, "landcover": ("crop_type",)}
_OPTIONAL = {"optical": ("rededge3", "scl"), "sar": (), "landcover": ("field_id",)}
_REQUIRED_ATTRS = {"optical": ("source", "offset"), "sar": ("source", "radiometry")}
_DTYPES = {"scl": np.uint8, "crop_type": np.uint16, "field_id": np.uint32}


def build(
    optical: xr.Dataset | None = None,
    sar: xr.Dataset | None = None,
    landcover: xr.Dataset | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """Put groups together into a checked cube, with units and long names on every variable.

    Parameters
    ----------
    optical, sar, landcover : Dataset, optional
        The groups, as the module describes them. ``optical.attrs`` must have ``source`` and
        ``offset`` (what was done about the processing baseline's reflectance offset), ``sar.attrs``
        must have ``source`` and ``radiometry``.
    attrs : mapping, optional
        Provenance of the whole.

    Raises
    ------
    CubeError
        Naming everything that breaks the contract.
    """
    groups = {"optical": optical, "sar": sar, "landcover": landcover}
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=dict(attrs or {}))}
    nodes["/"].attrs.setdefault("software", f"deepcrop {__version__}")
    for name, data in groups.items():
        if data is None:
            continue
        data = data.copy()
        for variable in set(_REQUIRED[name] + _OPTIONAL[name]) & set(data.data_vars):
            # A unit that is already there stays, so that `check` can see a wrong one.
            data[variable].attrs = describe(str(variable)) | data[variable].attrs
        nodes[f"/{name}"] = data
    cube = xr.DataTree.from_dict(nodes)
    check(cube)
    return cube


def describe(variable: str) -> dict[str, str]:
    """Attributes of a variable of the contract: its long name, and units where it is measured."""
    described = {"long_name": _LONG_NAMES[variable]}
    if variable not in _DTYPES:
        described["units"] = unit_of(variable)
    return described


def unit_of(variable: str) -> str:
    """Return the unit of a measured variable: reflectance is "1", backscatter "dB"."""
    return "dB" if variable in SAR_BANDS else "1"


def check(cube: xr.DataTree, path: Path | None = None) -> None:
    """Verify the contract, values in a sample at the centre of the grid included.

    Parameters
    ----------
    cube : DataTree
        The cube.
    path : Path, optional
        Where it came from, for the message.

    Raises
    ------
    CubeError
        Listing every breach found: what is wrong, what was expected, what to do.
    """
    problems: list[str] = []
    present = [name for name in ("optical", "sar") if name in cube.children]
    if not present:
        problems.append("There is neither an 'optical' nor a 'sar' group; expected at least one.")
    grids: dict[str, GeoBox] = {}
    for name in [*present, *(["landcover"] if "landcover" in cube.children else [])]:
        data = cube[name].to_dataset()
        problems += _check_variables(name, data)
        if name != "landcover":
            problems += _check_times(name, data)
            problems += _check_attrs(name, data)
        try:
            grids[name] = grid.grid_of(data)
        except CubeError as error:
            problems.append(f"{name}: {error}")
    for name, box in grids.items():
        first_name, first = next(iter(grids.items()))
        if box != first:
            problems.append(
                f"{name}: its grid differs from that of '{first_name}' ({_describe(box)} against "
                f"{_describe(first)}); resample onto one grid with 'deepcrop ingest'."
            )
        if box.resolution.x != grid.RESOLUTION:
            problems.append(
                f"{name}: pixels are {box.resolution.x} m; expected {grid.RESOLUTION:g} m. "
                "Resample with 'deepcrop ingest'."
            )
    if not problems:
        for name in present:
            problems += _check_values(name, cube[name].to_dataset())
    if problems:
        where = f"{path}: " if path else ""
        listing = "\n".join(f"  - {text}" for text in problems)
        raise CubeError(f"{where}this is not a valid observation cube:\n{listing}")


def _describe(box: GeoBox) -> str:
    return f"{box.shape[0]} x {box.shape[1]} at {tuple(box.boundingbox.bbox)}, {box.crs}"


def _check_variables(name: str, data: xr.Dataset) -> list[str]:
    problems = []
    dims = ("y", "x") if name == "landcover" else ("time", "y", "x")
    for variable in _REQUIRED[name]:
        if variable not in data.data_vars:
            problems.append(
                f"{name}: variable '{variable}' is missing; found "
                f"{', '.join(map(str, data.data_vars)) or 'none'}."
            )
    for variable in _REQUIRED[name] + _OPTIONAL[name]:
        if variable not in data.data_vars:
            continue
        array = data[variable]
        if array.dims != dims:
            problems.append(f"{name}/{variable}: dimensions are {array.dims}; expected {dims}.")
        expected = np.dtype(_DTYPES.get(variable, np.float32))
        if array.dtype != expected:
            problems.append(
                f"{name}/{variable}: type is {array.dtype}; expected {expected}"
                + (" (unpack integers with their scale first)." if expected.kind == "f" else ".")
            )
        if variable not in _DTYPES and array.attrs.get("units") != unit_of(variable):
            problems.append(
                f"{name}/{variable}: units are {array.attrs.get('units')!r}; expected "
                f"{unit_of(variable)!r}."
            )
    return problems


def _check_times(name: str, data: xr.Dataset) -> list[str]:
    if "time" not in data.coords:
        return [f"{name}: coordinate 'time' is missing."]
    if data["time"].dims != ("time",):
        return [f"{name}: coordinate 'time' must be one-dimensional; use .expand_dims('time')."]
    times = data["time"].values
    if times.size == 0:
        return [f"{name}: the time axis is empty; expected at least one scene."]
    if times.dtype != np.dtype("datetime64[ns]"):
        return [f"{name}: time is {times.dtype}; expected datetime64[ns] in UTC."]
    if np.isnat(times).any():
        return [f"{name}: time holds missing values (NaT); give every scene its date."]
    steps = np.diff(times)
    if (steps == np.timedelta64(0)).any():
        double = times[1:][steps == np.timedelta64(0)][0]
        return [f"{name}: time {double} occurs twice; merge the scenes of one pass."]
    if (steps < np.timedelta64(0)).any():
        return [f"{name}: times are not sorted; use .sortby('time')."]
    return []


def _check_attrs(name: str, data: xr.Dataset) -> list[str]:
    problems = [
        f"{name}: attribute '{key}' is missing; it records where the numbers come from."
        for key in _REQUIRED_ATTRS[name]
        if key not in data.attrs
    ]
    radiometry = data.attrs.get("radiometry")
    if name == "sar" and radiometry is not None and radiometry not in RADIOMETRIES:
        problems.append(
            f"sar: radiometry is {radiometry!r}; expected one of "
            f"{', '.join(map(repr, RADIOMETRIES))}. Convert, or say 'approximate'."
        )
    return problems


def _check_values(name: str, data: xr.Dataset) -> list[str]:
    """Catch wrong units by the numbers themselves, on at most 32 x 32 pixels at the centre."""
    middle = {
        dim: slice(max(data.sizes[dim] // 2 - 16, 0), data.sizes[dim] // 2 + 16) for dim in "yx"
    }
    problems = []
    for variable in _REQUIRED[name]:
        values = data[variable].isel(middle).values
        if np.isinf(values).any():
            problems.append(f"{name}/{variable}: holds infinite values; use NaN for no data.")
        values = values[np.isfinite(values)]
        if values.size == 0:
            continue
        median = float(np.median(values))
        if name == "optical" and median > 2:
            problems.append(
                f"optical/{variable}: the median is {median:g}, far above any reflectance; these "
                "look like unscaled digital numbers (Sentinel-2: multiply by 0.0001)."
            )
        if name == "sar" and not -60 < median < 15:
            problems.append(
                f"sar/{variable}: the median is {median:g}, no backscatter in dB; check the scale."
            )
        if name == "sar" and (values >= 0).all() and (values < 1.5).mean() > 0.9:
            problems.append(
                f"sar/{variable}: all values are positive and small; these look like linear power, "
                "expected dB. Convert with 10·log10."
            )
    return problems


def grid_of(cube: xr.DataTree) -> GeoBox:
    """Grid that all groups of a checked cube share."""
    name = "optical" if "optical" in cube.children else "sar"
    return grid.grid_of(cube[name].to_dataset())


def is_simulated(cube: xr.DataTree) -> bool:
    """Whether any measured group of the cube says that it was simulated."""
    return any(cube[name].attrs.get("simulated", 0) for name in ("optical", "sar") if name in cube)


def open_cube(path: str | Path) -> xr.DataTree:
    """Open a cube from a Zarr store or a NetCDF-4 file, lazily, and check it.

    Raises
    ------
    CubeError
        If nothing readable is there, an interrupted run left it unfinished, or it breaks the
        contract.
    """
    path = Path(path)
    refuse_missing(path, "a Zarr store or a NetCDF-4 file", CubeError)
    if path.is_dir() and not (path / "zarr.json").exists():
        raise CubeError(f"{path} is a folder but no Zarr version 3 store (it has no zarr.json).")
    try:
        if path.is_dir():
            raw = xr.open_datatree(
                path, engine="zarr", consolidated=False, chunks=None, decode_cf=False
            )
        else:
            raw = xr.open_datatree(path, engine="netcdf4", chunks=None, decode_cf=False)
        cube = xr.DataTree.from_dict(
            {node.path: _decode(node.to_dataset(inherit=False)) for node in raw.subtree}
        )
        check(cube, path)  # reads a sample, so that a damaged file shows here
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CubeError(f"{path} cannot be read as a cube: {error}") from error
    return cube


def _decode(raw: xr.Dataset) -> xr.Dataset:
    """CF decoding, lazily, to float32: xarray takes the float type from that of the scale."""
    for array in raw.variables.values():
        for key in {"scale_factor", "add_offset"} & set(array.attrs):
            array.attrs[key] = np.float32(array.attrs[key])
    data = xr.decode_cf(raw, decode_coords="all")
    data.attrs = plain(data.attrs)
    for array in data.variables.values():
        array.attrs = plain(array.attrs)
        if "flag_values" in array.attrs:  # NetCDF turns a list of one into a number
            array.attrs["flag_values"] = np.atleast_1d(array.attrs["flag_values"]).tolist()
    if "time" in data.coords and data["time"].dtype.kind == "M":
        data = data.assign_coords(time=data["time"].astype("datetime64[ns]"))
    return data


def save_cube(cube: xr.DataTree, path: str | Path, overwrite: bool = False) -> None:
    """Write a cube to ``path``: NetCDF-4 where the name ends in ``.nc``, else a Zarr store.

    Values are packed (reflectance to 0.0001, backscatter to 0.01 dB). The file appears under its
    name only when it is complete.

    Raises
    ------
    CubeError
        If the cube breaks the contract.
    DeepCropError
        If ``path`` exists and ``overwrite`` is not given.
    """
    path = Path(path)
    check(cube)
    if path.suffix == ".nc":
        if path.exists() and not overwrite:
            raise CubeError(f"{path} exists. Choose another name, or overwrite it explicitly.")
        with atomic_file(path) as part:
            _to_netcdf(cube, part)
        return
    with staging(path, {"content": "observation cube"}, overwrite, resume=False) as stage:
        create_store(stage.path, cube.attrs)
        for node in cube.descendants:
            name, data = node.path.strip("/"), node.to_dataset()
            if name not in _REQUIRED:
                data = data.drop_encoding()
                data.to_zarr(stage.path, group=name, mode="w", consolidated=False, zarr_format=3)
                continue
            create_group(stage.path, name, data)
            for tile in grid.tiles((data.sizes["y"], data.sizes["x"]), 2 * CHUNK):
                rows, cols = tile.core
                block = data.isel(y=rows, x=cols)
                arrays = {str(v): block[v].values for v in data.data_vars}
                write_block(stage.path, name, arrays, rows, cols)


def _to_netcdf(cube: xr.DataTree, path: Path) -> None:
    nodes = {"/": xr.Dataset(attrs=_netcdf_attrs(cube.attrs))}
    encoding: dict[str, dict[str, Any]] = {}
    for node in cube.descendants:
        data = node.to_dataset().drop_encoding()
        data.attrs = _netcdf_attrs(data.attrs)
        if node.path.strip("/") in _REQUIRED:
            encoding[node.path] = {}
            for name, array in data.data_vars.items():
                scale, _, fill = _packing(str(name), array.dtype)
                if scale is not None:  # not by xarray: it lets values beyond int16 wrap around
                    attrs = array.attrs | {"scale_factor": scale, "_FillValue": np.int16(fill)}
                    data[name] = (array.dims, pack(array.values, scale), attrs)
                encoding[node.path][str(name)] = {
                    "zlib": True,
                    "complevel": 1,
                    "chunksizes": _chunks(array),
                    "grid_mapping": "spatial_ref",
                }
            if "time" in data.coords:
                encoding[node.path]["time"] = _time_encoding(data["time"].values)
        nodes[node.path] = data
    xr.DataTree.from_dict(nodes).to_netcdf(path, engine="netcdf4", encoding=encoding)


def _netcdf_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as NetCDF can hold them: truth as 0 or 1, mappings as JSON, None left out."""
    return {
        key: int(value)
        if isinstance(value, bool)
        else json.dumps(value)
        if isinstance(value, dict)
        else value
        for key, value in plain(attrs).items()
        if value is not None
    }


def create_store(path: Path, attrs: Mapping[Any, Any]) -> None:
    """Make a Zarr store with the attributes of the whole cube, or go on with one begun before."""
    group = zarr.open_group(path, mode="a", zarr_format=3)
    group.attrs.put({"software": f"deepcrop {__version__}"} | plain(attrs))


def create_group(
    path: Path, name: str, template: xr.Dataset, empty: Mapping[str, int] | None = None
) -> None:
    """Add a group to a Zarr store: coordinates and attributes written, arrays empty.

    Parameters
    ----------
    path : Path
        The store.
    name : str
        Group name, for example ``"optical"``.
    template : Dataset
        Coordinates, attributes, and data variables whose values are not read (only dimensions,
        types and attributes count). float32 variables are stored packed.
    empty : mapping of str to int, optional
        What variables of whole numbers hold where nothing is written, or a chunk is lost; else 0.
    """
    coords = template.drop_vars(list(template.data_vars)).drop_encoding()
    if "time" in coords.coords:
        coords["time"].encoding = _time_encoding(coords["time"].values)
    coords.to_zarr(path, group=name, mode="w", consolidated=False, zarr_format=3)
    group = zarr.open_group(path, path=name, mode="r+")
    for variable, array in template.data_vars.items():
        scale, dtype, fill = _packing(str(variable), array.dtype)
        attributes = plain(array.attrs) | {"grid_mapping": "spatial_ref"}
        if scale is not None:
            attributes |= {"scale_factor": scale, "_FillValue": fill}
        group.create_array(
            str(variable),
            shape=array.shape,
            chunks=_chunks(array),
            dtype=dtype,
            fill_value=(empty or {}).get(str(variable), fill),
            dimension_names=[str(dim) for dim in array.dims],
            attributes=attributes,
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
        )


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    """Sides of a chunk: a square of pixels with all its times."""
    return tuple(min(CHUNK, n) if dim in ("y", "x") else n for dim, n in array.sizes.items())


def _time_encoding(times: NDArray) -> dict[str, str]:
    """Whole seconds where that loses nothing, else a finer unit."""
    since = times.astype("datetime64[ns]").astype(np.int64)
    units = {"seconds": 10**9, "microseconds": 10**3, "nanoseconds": 1}
    unit = next(name for name, length in units.items() if not (since % length).any())
    return {"units": f"{unit} since 1970-01-01", "dtype": "int64"}


def write_block(
    path: Path, name: str, arrays: Mapping[str, NDArray], rows: slice, cols: slice
) -> None:
    """Write a rectangle of every given variable into a group made by `create_group`.

    ``arrays`` are in physical units, with y and x as their last two axes; other axes are complete.
    Blocks whose edges lie on multiples of `CHUNK` can be written by several processes at once.
    """
    group = zarr.open_group(path, path=name, mode="r+")
    for variable, values in arrays.items():
        target = group.get(variable)
        if not isinstance(target, zarr.Array):
            raise CubeError(f"{path}: {name}/{variable} is not an array.")
        scale = target.attrs.get("scale_factor")
        if scale is not None:
            values = pack(values, float(str(scale)))
        target[(..., rows, cols)] = values


def pack(values: NDArray, scale: float) -> NDArray[np.int16]:
    """Int16 of ``values / scale``, rounded; what is not finite becomes -32768, the rest is clipped.

    An infinity (the dB of no power) is no measurement, so it is not clipped but dropped.
    """
    with np.errstate(invalid="ignore"):
        packed = np.clip(np.rint(values / np.float32(scale)), PACKED_FILL + 1, -PACKED_FILL - 1)
        return np.where(np.isfinite(values), packed, PACKED_FILL).astype(np.int16)


def unpack(packed: NDArray[np.int16], scale: float) -> NDArray[np.float32]:
    """Values that `pack` packed, rounded to ``scale``."""
    return np.where(packed == PACKED_FILL, np.float32(np.nan), packed * np.float32(scale))


def scale_of(variable: str) -> float:
    """Scale of a packed variable: reflectance 0.0001, backscatter 0.01 dB."""
    return 0.01 if variable in SAR_BANDS else 0.0001


def _packing(variable: str, dtype: np.dtype) -> tuple[float | None, np.dtype, int | float]:
    """Scale, type on disk and fill value of a variable."""
    if variable in (*SAR_BANDS, *OPTICAL_BANDS, "rededge3"):
        return scale_of(variable), np.dtype(np.int16), PACKED_FILL
    if dtype.kind == "f":
        return None, dtype, float("nan")
    return None, dtype, 0


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON types: NumPy scalars and arrays become numbers and lists, nested too."""

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Mapping):
            return plain(value)
        return [convert(item) for item in value] if isinstance(value, list | tuple) else value

    return {str(key): convert(value) for key, value in attrs.items()}
