"""The observation cube: optical and radar time series of one area on one grid.

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

Either of the first two groups may be absent. All share one grid of 10 m, or of 30 m as HLS has it
(`x`, `y` pixel centres in metres, ``spatial_ref``); their times differ and are ``datetime64[ns]``,
UTC, sorted, one for each pass of the sensor (`deepcrop.cube.passes`). Values are possible ones
(`deepcrop.cube.possible`). In memory values are float32; on disk reflectance and sigma0 are packed
as int16, in chunks that hold the whole time axis of a square of pixels, with room for further
images (`ROOM`). Other groups (a simulation's ``/truth``) are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.cube import possible
from deepcrop.cube.baseline_step import BANDS, BASELINE_DAY, Step, find_step
from deepcrop.cube.passes import PASS_GAP, number_passes
from deepcrop.errors import CubeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

OPTICAL_BANDS = ("blue", "green", "red", "nir")
NIR_BANDS = ("B08", "B07")
"""Bands of Sentinel-2 that can be the near infrared of a cube, the usual one first. The paper names
both: B07 (20 m) in its Table 1, B08 (10 m) in its text."""
SAR_BANDS = ("vv", "vh")
RADIOMETRIES = ("sigma0", "sigma0 from gamma0, approximate")
CLEAR_CLASSES = (4, 5, 6, 7)
"""Scene classes of Sentinel-2 (SCL) that count as clear: vegetation, bare soil, water,
unclassified."""
CLOUD_CLASSES = (3, 8, 9, 10)
"""Scene classes of cloud and its shadow: shadow, cloud of medium and high probability, cirrus."""
CHUNK = 256
"""Side of a chunk on disk, pixels; also the natural tile."""
ROOM = 16
"""A chunk on disk holds a multiple of this many times, beyond the last one no data (which takes
next to no space). So most scenes can be added without a change to the chunks that they do not
touch; longer chunks would be read more slowly."""
_LONG_NAMES = {
    "blue": "surface reflectance, blue",
    "green": "surface reflectance, green",
    "red": "surface reflectance, red",
    "nir": "surface reflectance, near infrared",
    "rededge3": "surface reflectance, red edge (B07)",
    "scl": "scene classification (Sentinel-2 SCL)",
    "vv": "backscatter sigma0, VV",
    "vh": "backscatter sigma0, VH",
    "crop_type": "crop type",
    "field_id": "field number",
}
REQUIRED = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS, "landcover": ("crop_type",)}
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
        for variable in set(REQUIRED[name] + _OPTIONAL[name]) & set(data.data_vars):
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
    """Check a cube against the contract, including values at the centre of the grid.

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
        if box.resolution.x not in grid.RESOLUTIONS:
            problems.append(
                f"{name}: pixels are {box.resolution.x} m; expected "
                f"{' or '.join(f'{size:g}' for size in grid.RESOLUTIONS)} m. Resample with "
                "'deepcrop ingest'."
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
    for variable in REQUIRED[name]:
        if variable not in data.data_vars:
            problems.append(
                f"{name}: variable '{variable}' is missing; found "
                f"{', '.join(map(str, data.data_vars)) or 'none'}."
            )
    for variable in REQUIRED[name] + _OPTIONAL[name]:
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
    return _check_passes(name, data)


def _check_passes(name: str, data: xr.Dataset) -> list[str]:
    """Reject several looks of one pass: they would count as independent observations."""
    times = data["time"].values
    orbits = data["relative_orbit"].values if "relative_orbit" in data.coords else None
    if orbits is not None and orbits.shape != times.shape:
        return [f"{name}: coordinate 'relative_orbit' needs one number for each time."]
    passes = number_passes(times, orbits)
    found, counts = np.unique(passes, return_counts=True)
    if found.size == times.size:
        return []
    looks = times[passes == found[counts > 1][0]]
    minutes = PASS_GAP / np.timedelta64(1, "m")
    return [
        f"{name}: {times.size - found.size} of {times.size} times lie less than {minutes:g} "
        f"minutes after another (first {looks[0]:.19} and {looks[1]:.19}): looks of one pass, "
        "which are one observation. Merge them into one time, each pixel from the look that has "
        "data; 'deepcrop ingest' does so."
    ]


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
    """Detect wrong units from the values, in at most 32 x 32 pixels at the centre."""
    middle = {
        dim: slice(max(data.sizes[dim] // 2 - 16, 0), data.sizes[dim] // 2 + 16) for dim in "yx"
    }
    problems = []
    sample: dict[str, NDArray[Any]] = {}
    for variable in REQUIRED[name]:
        values = sample[variable] = data[variable].isel(middle).values
        if np.isinf(values).any():
            problems.append(f"{name}/{variable}: holds infinite values; use NaN for no data.")
        values = values[np.isfinite(values)]
        if values.size == 0:
            continue
        if possible.too_many(int(possible.is_impossible(variable, values).sum()), values.size):
            problems.append(possible.describe(variable, values, f"{name}/{variable}"))
        elif name == "sar" and not -60 < float(np.median(values)) < 15:
            problems.append(f"{name}/{variable}: {possible.likely_cause(variable, values)}")
        if name == "sar" and (values >= 0).all() and (values < 1.5).mean() > 0.9:
            problems.append(
                f"sar/{variable}: all values are positive and small; these look like linear power, "
                "expected dB. Convert with 10·log10."
            )
    if name == "optical" and not problems:
        problems += _check_offset(data, sample)
    return problems


STEP_CHECKED = "offset_step"
"""Attribute of the optical group with which its maker states that all its scenes have one
convention, before and after 25 January 2022 and any other day, whatever the values look like."""


def _check_offset(data: xr.Dataset, sample: Mapping[str, NDArray[Any]]) -> list[str]:
    """Detect an offset that was applied once too often, or to a part of the series only."""
    blue = sample["blue"][np.isfinite(sample["blue"])]
    if blue.size and np.median(blue) < -0.02:
        return [
            f"optical/blue: the median is {np.median(blue):.3g}, and no surface reflects less than "
            "nothing: the offset of -0.1 was applied to numbers that do not contain it (before "
            "processing baseline 04.00, or harmonised)."
        ]
    if STEP_CHECKED in data.attrs:
        return []
    step = find_step(data["time"].values, {band: sample[band] for band in BANDS})
    if abs(step.size) > 0:  # not NaN: what cannot be decided is no breach
        return [
            f"optical: {describe_step(step)}: the offset of processing baseline 04.00 (-0.1) was "
            f"{'not applied' if step.size > 0 else 'applied twice, or only before,'} to these "
            "scenes. Correct them; if the values are right, say so in the attribute "
            f"'{STEP_CHECKED}: none' of the group."
        ]
    return []


def describe_step(step: Step) -> str:
    """Describe a step of reflectance, as the beginning of a sentence."""
    day = step.day.astype("datetime64[D]").item()
    about = "" if step.day == BASELINE_DAY else "about "
    return (
        f"from {about}{day.day} {day:%B %Y} on, reflectance is {abs(step.size):.2f} "
        f"{'higher' if step.size > 0 else 'lower'} in every band"
    )


def grid_of(cube: xr.DataTree) -> GeoBox:
    """Grid that all groups of a checked cube share."""
    name = "optical" if "optical" in cube.children else "sar"
    return grid.grid_of(cube[name].to_dataset())


def nir_attrs(nir: str) -> dict[str, str]:
    """Attributes of an optical group that say which band its near infrared is."""
    return {} if nir == NIR_BANDS[0] else {"nir": nir}


def nir_of(cube: xr.DataTree) -> str:
    """Band of Sentinel-2 that is the near infrared of a cube."""
    optical = cube["optical"].attrs if "optical" in cube.children else {}
    return str(optical.get("nir", NIR_BANDS[0]))


def is_simulated(cube: xr.DataTree) -> bool:
    """Whether any measured group of the cube says that it was simulated."""
    return any(cube[name].attrs.get("simulated", 0) for name in ("optical", "sar") if name in cube)
