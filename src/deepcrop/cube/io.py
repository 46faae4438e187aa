"""Open, save and write an observation cube, whole or block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from xarray.core import indexing

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.cube import contract
from deepcrop.cube.chunks import (
    CHECKSUMS,
    CODECS,
    check_complete,
    checksums_of,
    damaged_chunk,
    seal,
)
from deepcrop.cube.contract import REQUIRED, check
from deepcrop.cube.packing import Unpacked, is_packed, pack, packing_of, plain
from deepcrop.cube.possible import drop_impossible
from deepcrop.errors import MALFORMED, CubeError
from deepcrop.storage.files import atomic_file
from deepcrop.storage.staging import refuse_missing, staging

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def open_cube(path: str | Path) -> xr.DataTree:
    """Open a cube from a Zarr store or a NetCDF-4 file, lazily, and check it.

    Parameters
    ----------
    path : str or Path
        What ``deepcrop fetch``, ``ingest`` or ``simulate`` wrote, or `save_cube`.

    Returns
    -------
    DataTree
        Groups ``/optical`` and ``/sar`` with dims (time, y, x), those that the cube has, and
        ``/landcover`` where crops are known. Pixels are read when they are needed.

    Raises
    ------
    CubeError
        If nothing readable is there, an interrupted run left it unfinished, a chunk is missing, or
        it breaks the contract.

    Examples
    --------
    >>> cube = open_cube("region.zarr")
    >>> sorted(cube.children)
    ['camera', 'landcover', 'optical', 'sar', 'truth']
    """
    if not isinstance(path, str | Path):
        raise CubeError(f"The cube is a {type(path).__name__}; expected the path of one.")
    path = Path(path)
    refuse_missing(path, "a Zarr store or a NetCDF-4 file", CubeError)
    if path.is_dir() and not (path / "zarr.json").exists():
        raise CubeError(f"{path} is a folder but no Zarr version 3 store (it has no zarr.json).")
    sealed = path.is_dir() and checksums_of(path) != "none"
    if sealed:
        check_complete(path)
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
        cube.attrs.pop(CHECKSUMS, None)  # true of this store, not of what is made from it
        check(cube, path)  # reads a sample, so that a damaged file shows here
    except (OSError, RuntimeError, *MALFORMED) as error:
        damaged = damaged_chunk(path) if sealed else None
        if damaged is not None:
            raise CubeError(
                f"{path} cannot be read as a cube: its file {damaged} is damaged ({error}). Copy "
                "it again, or make the cube again."
            ) from error
        raise CubeError(f"{path} cannot be read as a cube: {error}") from error
    return cube


def _decode(raw: xr.Dataset) -> xr.Dataset:
    """CF decoding, lazily, to float32: xarray takes the float type from that of the scale."""
    for array in raw.variables.values():
        for key in {"scale_factor", "add_offset"} & set(array.attrs):
            array.attrs[key] = np.float32(array.attrs[key])
    data = xr.decode_cf(raw, decode_coords="all")
    for name in data.data_vars:
        packed, decoded = raw.variables[name], data.variables[name]
        if is_packed(packed):
            lazy = indexing.LazilyIndexedArray(Unpacked(packed))
            data[name] = xr.Variable(decoded.dims, lazy, decoded.attrs, decoded.encoding)
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

    Parameters
    ----------
    cube : DataTree
        As from `open_cube`.
    path : str or Path
    overwrite : bool
        Replace a cube that deepcrop wrote under this name.

    Raises
    ------
    CubeError
        If the cube breaks the contract.
    DeepCropError
        If ``path`` exists and ``overwrite`` is not given.

    Examples
    --------
    >>> cube = open_cube("region.zarr")
    >>> save_cube(cube, "copy.zarr")
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
            if name not in REQUIRED:
                write_group(stage.path, name, data)
                continue
            create_group(stage.path, name, data)
            for tile in grid.tiles((data.sizes["y"], data.sizes["x"]), 2 * contract.CHUNK):
                rows, cols = tile.core
                block = data.isel(y=rows, x=cols)
                arrays = {str(v): block[v].values for v in data.data_vars}
                write_block(stage.path, name, arrays, rows, cols)
        seal(stage.path)


def _to_netcdf(cube: xr.DataTree, path: Path) -> None:
    nodes = {"/": xr.Dataset(attrs=_netcdf_attrs(cube.attrs))}
    encoding: dict[str, dict[str, Any]] = {}
    for node in cube.descendants:
        data = node.to_dataset().drop_encoding()
        data.attrs = _netcdf_attrs(data.attrs)
        if node.path.strip("/") in REQUIRED:
            encoding[node.path] = {}
            for name, array in data.data_vars.items():
                scale, _, fill = packing_of(str(name), array.dtype)
                if scale is not None:  # not by xarray: it lets values beyond int16 wrap around
                    attrs = array.attrs | {"scale_factor": scale, "_FillValue": np.int16(fill)}
                    where = f"{node.path.strip('/')}/{name}"
                    values = drop_impossible(str(name), array.values, where)
                    data[name] = (array.dims, pack(values, scale), attrs)
                encoding[node.path][str(name)] = {
                    "zlib": True,
                    "complevel": 1,
                    "fletcher32": True,
                    "chunksizes": _chunks(array),
                    "grid_mapping": "spatial_ref",
                }
            if "time" in data.coords:
                encoding[node.path]["time"] = _time_encoding(data["time"].values)
        nodes[node.path] = data
    tree = xr.DataTree.from_dict(nodes)
    try:
        tree.to_netcdf(path, engine="netcdf4", encoding=encoding)
    except RuntimeError as error:  # HDF5's, of a full disk
        raise OSError(f"{path} cannot be written ({error}); is the disk full?") from error


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
    """Create a Zarr store with the attributes of the cube, or continue one begun before."""
    group = zarr.open_group(path, mode="a", zarr_format=3)
    group.attrs.put({"software": f"deepcrop {__version__}"} | plain(attrs))


def write_group(path: Path, name: str, data: xr.Dataset) -> None:
    """Write a whole group into a store made by `create_store`."""
    data = data.drop_encoding()
    if "time" in data.coords and data["time"].dtype.kind == "M":
        data["time"].encoding = _time_encoding(data["time"].values)
    data.to_zarr(
        path,
        group=name,
        mode="w",
        consolidated=False,
        zarr_format=3,
        write_empty_chunks=True,
        encoding={variable: {"compressors": CODECS} for variable in data.variables},
    )


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
    write_group(path, name, template.drop_vars(list(template.data_vars)))
    group = zarr.open_group(path, path=name, mode="r+")
    for variable, array in template.data_vars.items():
        scale, dtype, fill = packing_of(str(variable), array.dtype)
        attributes = plain(array.attrs) | {"grid_mapping": "spatial_ref"}
        if scale is not None:
            attributes |= {"scale_factor": scale, "_FillValue": fill}
        group.create_array(
            str(variable),
            shape=array.shape,
            chunks=_chunks(array, contract.ROOM),
            dtype=dtype,
            fill_value=(empty or {}).get(str(variable), fill),
            dimension_names=[str(dim) for dim in array.dims],
            attributes=attributes,
            compressors=CODECS,
        )


def _chunks(array: xr.DataArray, room: int = 1) -> tuple[int, ...]:
    """Sides of a chunk: a square of pixels with all its times, their number rounded up to room."""
    sides = {"y": contract.CHUNK, "x": contract.CHUNK}
    return tuple(
        -(-n // room) * room if dim == "time" else min(sides.get(str(dim), n), n)
        for dim, n in array.sizes.items()
    )


def _time_encoding(times: NDArray[Any]) -> dict[str, str]:
    """Choose the coarsest unit of time, from seconds on, that is exact."""
    since = times.astype("datetime64[ns]").astype(np.int64)
    units = {"seconds": 10**9, "microseconds": 10**3, "nanoseconds": 1}
    unit = next(name for name, length in units.items() if not (since % length).any())
    return {"units": f"{unit} since 1970-01-01", "dtype": "int64"}


def write_packed(
    path: Path, name: str, variable: str, values: NDArray[Any], rows: slice, cols: slice
) -> None:
    """Write a rectangle of one variable of a group as it is stored, packed already."""
    target = zarr.open_array(path / name / variable, mode="r+")
    # A chunk without data is written too: its absence then means that it was lost.
    target.with_config({"write_empty_chunks": True})[(..., rows, cols)] = values


def write_block(
    path: Path, name: str, arrays: Mapping[str, NDArray[Any]], rows: slice, cols: slice
) -> None:
    """Write a rectangle of every given variable into a group made by `create_group`.

    ``arrays`` are in physical units, with y and x as their last two axes; other axes are complete.
    Blocks whose edges lie on multiples of `deepcrop.cube.contract.CHUNK` can be written by several
    processes at once.
    """
    group = zarr.open_group(path, path=name, mode="r+")
    for variable, values in arrays.items():
        target = group.get(variable)
        if not isinstance(target, zarr.Array):
            raise CubeError(f"{path}: {name}/{variable} is not an array.")
        scale = target.attrs.get("scale_factor")
        if scale is not None:
            values = drop_impossible(variable, values, f"{name}/{variable}")
            values = pack(values, float(str(scale)))
        # A chunk without data is written too: its absence then means that it was lost.
        target.with_config({"write_empty_chunks": True})[(..., rows, cols)] = values
