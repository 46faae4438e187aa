"""What is known of one pixel over time: observations, curves, the camera that looks at it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, grid_of
from deepcrop.errors import DeepCropError
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import images_of
from deepcrop.phenology.slots import REACH, near_year
from deepcrop.phenology.smoothers import Smoother, smooth
from deepcrop.sources.phenocam.summary_files import read_series

_SCENE_CLASSES = (
    "no data",
    "saturated or defective",
    "dark area",
    "cloud shadow",
    "vegetation",
    "bare soil",
    "water",
    "unclassified",
    "cloud, medium probability",
    "cloud, high probability",
    "thin cirrus",
    "snow",
)
"""Of Sentinel-2's scene classification, by code."""

_NEAR = 90.0
"""Metres from a camera within which a pixel counts as seen, where fields have no numbers."""


@dataclass(frozen=True)
class Track:
    """One series of one pixel.

    Attributes
    ----------
    name : str
        ``"ndvi"``, ``"gcc"``, ``"ndvi_curve"``, ``"gcc_curve"``, ``"vv"``, ``"vh"`` or
        ``"camera_gcc"``.
    unit : str
    days : ndarray (n,)
        Days since 1 January of the target year, rising.
    values : ndarray of float (n,)
        NaN: nothing was observed; `notes` says why where it is known.
    notes : tuple of str
        One for each value (a mask's reason, an orbit), or none at all.
    """

    name: str
    unit: str
    days: NDArray[np.floating]
    values: NDArray[np.floating]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Camera:
    """A camera that stands in the area, and its greenness.

    Attributes
    ----------
    name : str
    longitude, latitude : float
        Of the mast, degrees.
    row, col : int
        Its cell of the cube.
    azimuth : float or None
        Where it looks, degrees clockwise from north.
    field : int
        Number of the field it looks at; 0 where that is not known.
    days, gcc : ndarray (n,)
        Days since 1 January of the target year, and GCC (90th percentile).
    """

    name: str
    longitude: float
    latitude: float
    row: int
    col: int
    azimuth: float | None
    field: int
    days: NDArray[np.floating]
    gcc: NDArray[np.floating]


def pixel_tracks(
    cube: xr.DataTree, row: int, col: int, year: int, smoother: Smoother
) -> list[Track]:
    """Observations of one pixel, and the curves through its greenness.

    Scenes are those that a map of the year reads: `deepcrop.phenology.slots.REACH` days beyond the days that can be
    stored.

    Parameters
    ----------
    cube : DataTree
        A checked cube.
    row, col : int
        The pixel.
    year : int
        Target year.
    smoother : SavGol or other settings
        How to smooth.
    """
    tracks = []
    if "optical" in cube.children:
        bands = OPTICAL_BANDS
        classes = ("scl",) if "scl" in cube["optical"] else ()
        images = images_of(cube, "optical", (*bands, *classes), year, REACH)
        pixel = images.data.isel(y=row, x=col)
        seen = {name: pixel[name].values for name in images.data.data_vars}
        for name, (names, formula, _) in INDICES.items():
            values = formula(*(seen[band] for band in names))
            notes = tuple(_why(value, seen.get("scl"), k) for k, value in enumerate(values))
            tracks.append(Track(name, "1", images.days, values, notes))
            if np.isfinite(values).sum() >= 3:
                curve, days = smooth(values[None], images.days, smoother=smoother)
                tracks.append(Track(f"{name}_curve", "1", days, curve[0]))
    if "sar" in cube.children:
        images = images_of(cube, "sar", SAR_BANDS, year, REACH)
        pixel = images.data.isel(y=row, x=col)
        notes = ()
        if "relative_orbit" in pixel.coords:
            notes = tuple(f"orbit {number}" for number in pixel["relative_orbit"].values.tolist())
        for name in SAR_BANDS:
            tracks.append(Track(name, "dB", images.days, pixel[name].values, notes))
    return tracks


def _why(value: float, classes: NDArray | None, k: int) -> str:
    """Why there is no value; empty where there is one."""
    if np.isfinite(value):
        return ""
    if classes is None:
        return "masked or no data"
    code = int(classes[k])
    name = _SCENE_CLASSES[code] if code < len(_SCENE_CLASSES) else f"class {code}"
    return name if code == 0 else f"masked: {name}"


def cameras_of(cube: xr.DataTree, path: Path, year: int) -> list[Camera]:
    """Cameras of a cube: those of a simulation, or PhenoCam series that were fetched beside it.

    Series lie in ``NAME.cameras``, as `deepcrop fetch` leaves them.
    """
    box = grid_of(cube)
    if "camera" in cube.children:
        data = cube["camera"].to_dataset()
        to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
        days = stages.to_days(data["time"].values, year)
        cameras = []
        for k in range(data.sizes["camera"]):
            one = data.isel(camera=k)
            longitude, latitude = to_degrees.transform(float(one["x"]), float(one["y"]))
            cameras.append(
                Camera(
                    f"simulated camera {k + 1}",
                    longitude,
                    latitude,
                    int(one["row"]),
                    int(one["col"]),
                    float(one["azimuth"]),
                    int(one["field_id"]),
                    days,
                    one["gcc_90"].values,
                )
            )
        return cameras
    cameras = []
    for file in sorted(path.with_suffix(".cameras").glob("*day.csv")):
        series = read_series(file)
        try:
            row, col = grid.cell_of(box, series.longitude, series.latitude)
        except DeepCropError:  # it stands outside
            continue
        cameras.append(
            Camera(
                series.name,
                series.longitude,
                series.latitude,
                row,
                col,
                None,
                0,
                stages.to_days(series.date, year),
                series.greenness["gcc_90"],
            )
        )
    return cameras


def camera_at(
    cameras: Sequence[Camera], row: int, col: int, field: int, resolution: float
) -> Camera | None:
    """Return the camera that sees a pixel, the nearest of several.

    It sees the field it looks at. Where fields have no numbers, it is taken to see what is within
    90 m, half the side of the patch that stands for its surroundings.

    Parameters
    ----------
    cameras : sequence of Camera
    row, col : int
        The pixel.
    field : int
        Number of its field; 0 = not known.
    resolution : float
        Side of a pixel, metres.
    """
    seen = []
    for camera in cameras:
        away = resolution * float(np.hypot(camera.row - row, camera.col - col))
        if camera.field == field != 0 or away == 0 or (not camera.field and away <= _NEAR):
            seen.append((away, camera.name, camera))
    return min(seen, key=lambda found: found[:2])[2] if seen else None


def camera_track(camera: Camera) -> Track:
    """Greenness of a camera, from and to the days that a map of the year reads."""
    near = near_year(camera.days)
    return Track("camera_gcc", "1", camera.days[near], camera.gcc[near])


def track_json(track: Track) -> dict[str, Any]:
    """Form in which the page gets a series: NaN becomes null."""
    values = [round(v, 5) if np.isfinite(v) else None for v in track.values.tolist()]
    return {
        "name": track.name,
        "unit": track.unit,
        "days": track.days.tolist(),
        "values": values,
        "notes": list(track.notes),
    }


def write_csv(rows: Iterable[Sequence[Any]], simulated: bool) -> str:
    """One row for each value: what, season, day, date, value, unit, note, simulated or not."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("variable", "season", "day", "date", "value", "unit", "note", "data"))
    data = "simulated" if simulated else "observed"
    writer.writerows((*row, data) for row in rows)
    return text.getvalue()


def track_rows(track: Track, year: int) -> Iterable[tuple[Any, ...]]:
    """Rows of a series for `write_csv`."""
    dates = stages.to_dates(track.days, year)
    notes = track.notes or ("",) * len(track.days)
    for day, date, value, note in zip(track.days, dates, track.values, notes, strict=True):
        shown = f"{value:.5g}" if np.isfinite(value) else ""
        yield track.name, "", f"{day:g}", str(date), shown, track.unit, note
