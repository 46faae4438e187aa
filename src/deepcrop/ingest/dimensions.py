"""Find a variable in the groups of a file, and a band in one of its dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import netCDF4
import xarray as xr
import zarr

from deepcrop.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MANY = 8
"""Names that a message lists at most."""


def select(
    data: xr.Dataset, array: xr.DataArray, labels: Mapping[str, str], path: Path, key: str
) -> xr.DataArray:
    """Choose a label in dimensions of a variable.

    Parameters
    ----------
    data : Dataset
        The file, not decoded.
    array : DataArray
        One of its variables.
    labels : mapping of str to str
        Dimension, or one-dimensional variable along it, -> label; where a dimension has no labels,
        a number from 1.
    path, key
        For messages.

    Raises
    ------
    SpecError
        If a dimension or label is unknown.
    """
    for name, label in labels.items():
        dim = name
        if name not in array.dims and name in data.variables and data[name].dims:
            dim = str(data[name].dims[0])
        if dim not in array.dims:
            raise SpecError(
                f"{key}.select: '{array.name}' in {path} has no dimension '{name}'; it has "
                f"{', '.join(map(str, array.dims))}."
            )
        known = _labels(data, name, array.sizes[dim])
        places = [k for k, value in enumerate(known) if _same(value, label)]
        if len(places) != 1:
            raise SpecError(
                f"{key}.select: {label!r} occurs {len(places)} times in '{name}' of {path}; "
                f"choose one of {_listed(known)}."
            )
        array = array.isel({dim: places[0]})
    return array


def choices(data: xr.Dataset, dims: list[str], name: str) -> str:
    """Say how a label in dimensions is chosen; empty without dimensions."""
    if not dims:
        return ""
    first = ", ".join(f"{dim}: {_labels(data, dim, data.sizes[dim])[0]}" for dim in dims)
    known = "; ".join(f"'{dim}' has {_listed(_labels(data, dim, data.sizes[dim]))}" for dim in dims)
    return f" Choose in {', '.join(dims)}: {{name: {name}, select: {{{first}}}}}; {known}."


def groups_with(path: Path, name: str) -> str:
    """Say which groups of a file hold a variable, or which groups it has; empty if it has none."""
    groups = _groups(path)
    if not groups:
        return ""
    holding = [group for group, variables in groups.items() if name in variables]
    if holding:
        return f" Its group {holding[0]} has one: write {holding[0]}/{name}."
    return f" Its groups are {_listed(list(groups))}."


def _groups(path: Path) -> dict[str, set[str]]:
    """Variables of each group below the first."""
    found: dict[str, set[str]] = {}
    if path.is_dir():
        for name, member in zarr.open_group(path, mode="r").members(max_depth=None):
            if isinstance(member, zarr.Array) and "/" in name:
                place, _, variable = name.rpartition("/")
                found.setdefault(place, set()).add(variable)
        return found
    with netCDF4.Dataset(path) as file:
        waiting = list(file.groups.values())
        while waiting:
            group = waiting.pop(0)
            waiting += group.groups.values()
            found[group.path.strip("/")] = set(group.variables)
    return found


def _labels(data: xr.Dataset, name: str, size: int) -> list[Any]:
    """Labels of a dimension: the values of its variable, or numbers from 1."""
    if name not in data.variables:
        return list(range(1, size + 1))
    # Decoding joins characters to text; scale and time are none of a label's business.
    form = xr.Dataset({"label": data[name].variable})
    decoded = xr.decode_cf(form, mask_and_scale=False, decode_times=False)["label"]
    return [v.decode() if isinstance(v, bytes) else v for v in decoded.values.ravel().tolist()]


def _same(value: Any, label: str) -> bool:
    """Whether a value is that of a label, as text or as a number (664.6 in float32)."""
    if isinstance(value, int | float):
        try:
            return math.isclose(value, float(label), rel_tol=1e-6)
        except ValueError:
            return False
    return str(value).strip() == label


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names[:_MANY])) + (", …" if len(names) > _MANY else "")
