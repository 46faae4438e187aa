"""Read the time series of one pixel: observations, smoothed curves, the camera that views it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, grid_of
from deepcrop.errors import DeepCropError
from deepcrop.indices import INDICES
from deepcrop.mapping.inputs import images_of
from deepcrop.phenology.slots import REACH, near_year
from deepcrop.phenology.smoothers import Smoother, smooth
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.storage.files import csv_text

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

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
"""Names of the classes of Sentinel-2's scene classification, by code."""

_CAMERA_RANGE = 90.0
"""Metres from a camera within which a pixel counts as in view, if fields have no numbers.

Half the side of a patch of 18 x 18 pixels of 10 m.
"""


@dataclass(frozen=True)
class PixelSeries:
    """One time series of one pixel.

    Attributes
    ----------
    name : str
        ``"ndvi"``, ``"gcc"``, ``"evi"``, ``"evi2"``, each also with ``_curve``; ``"vv"``, ``"vh"``
        or ``"camera_gcc"``.
    unit : str
    days : ndarray (n,)
        Days since 1 January of the target year, increasing.
    values : ndarray of float (n,)
        NaN where there is no observation; `notes` has the reason if it is known.
    notes : tuple of str
        One for each value (reason of the mask, orbit), or empty.
    """

    name: str
    unit: str
    days: NDArray[np.floating]
    values: NDArray[np.floating]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Camera:
    """A camera in the area, with its greenness.

    Attributes
    ----------
    name : str
    longitude, latitude : float
        Place of the mast, degrees.
    row, col : int
        Pixel of the cube in which the mast stands.
    azimuth : float or None
        Viewing direction, degrees clockwise from north.
    field : int
        Number of the field in view; 0 if unknown.
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


def series_of_pixel(
    cube: xr.DataTree,
    row: int,
    col: int,
    year: int,
    smoother: Smoother,
    index: str = "ndvi",
    year_start: str = stages.YEAR_START,
    until: datetime.date | None = None,
) -> list[PixelSeries]:
    """Read the observations of one pixel, and smooth NDVI, GCC and the index of the map.

    The scenes are those that a map of the year reads: up to `slots.REACH` days before and after
    the days that can be stored.

    Parameters
    ----------
    cube : DataTree
        A checked cube.
    row, col : int
        The pixel.
    year : int
        Target year.
    smoother : Smoother
        Settings of the smoother.
    index : str
        Greenness that the map was made from, one of `deepcrop.indices.INDICES`.
    year_start : str
        Month and day on which the target year starts.
    until : date, optional
        Last day of which observations are read.
    """
    series = []
    if "optical" in cube.children:
        bands = OPTICAL_BANDS
        classes = ("scl",) if "scl" in cube["optical"] else ()
        images = images_of(cube, "optical", (*bands, *classes), year, REACH, year_start, until)
        pixel = images.data.isel(y=row, x=col)
        bands_of_pixel = {name: pixel[name].values for name in images.data.data_vars}
        for name in dict.fromkeys(("ndvi", "gcc", index)):
            names, formula, _ = INDICES[name]
            values = formula(*(bands_of_pixel[band] for band in names))
            notes = tuple(
                _mask_reason(value, bands_of_pixel.get("scl"), k) for k, value in enumerate(values)
            )
            series.append(PixelSeries(name, "1", images.days, values, notes))
            if np.isfinite(values).sum() >= 3:  # fewer make no curve
                curve, days = smooth(values[None], images.days, smoother=smoother)
                series.append(PixelSeries(f"{name}_curve", "1", days, curve[0]))
    if "sar" in cube.children:
        images = images_of(cube, "sar", SAR_BANDS, year, REACH, year_start, until)
        pixel = images.data.isel(y=row, x=col)
        notes = ()
        if "relative_orbit" in pixel.coords:
            notes = tuple(f"orbit {number}" for number in pixel["relative_orbit"].values.tolist())
        for name in SAR_BANDS:
            series.append(PixelSeries(name, "dB", images.days, pixel[name].values, notes))
    return series


def _mask_reason(value: float, classes: NDArray[np.integer] | None, k: int) -> str:
    """Return why observation ``k`` has no value; empty if it has one."""
    if np.isfinite(value):
        return ""
    if classes is None:
        return "masked or no data"
    code = int(classes[k])
    name = _SCENE_CLASSES[code] if code < len(_SCENE_CLASSES) else f"class {code}"
    return name if code == 0 else f"masked: {name}"


def find_cameras(cube: xr.DataTree, path: Path, year: int) -> list[Camera]:
    """Find the cameras of a cube: simulated ones in the cube, or PhenoCam files beside it.

    PhenoCam files are read from the folder ``NAME.cameras`` that `deepcrop fetch` writes.
    """
    box = grid_of(cube)
    if "camera" in cube.children:
        data = cube["camera"].to_dataset()
        to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
        days = stages.to_days(data["time"].values, year)
        cameras = []
        for k in range(data.sizes["camera"]):
            camera = data.isel(camera=k)
            longitude, latitude = to_degrees.transform(float(camera["x"]), float(camera["y"]))
            cameras.append(
                Camera(
                    f"simulated camera {k + 1}",
                    longitude,
                    latitude,
                    int(camera["row"]),
                    int(camera["col"]),
                    float(camera["azimuth"]),
                    int(camera["field_id"]),
                    days,
                    camera["gcc_90"].values,
                )
            )
        return cameras
    cameras = []
    for file in sorted(path.with_suffix(".cameras").glob("*day.csv")):
        series = read_series(file)
        try:
            row, col = grid.cell_of(box, series.longitude, series.latitude)
        except DeepCropError:  # the camera stands outside the cube
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


def camera_viewing(
    cameras: Sequence[Camera], row: int, col: int, field: int, resolution: float
) -> Camera | None:
    """Return the camera that views a pixel, the nearest of several.

    A camera views its field, and the pixel in which it stands. If its field is unknown, it is
    assumed to view all pixels within 90 m.

    Parameters
    ----------
    cameras : sequence of Camera
    row, col : int
        The pixel.
    field : int
        Number of the field of the pixel; 0 if unknown.
    resolution : float
        Side of a pixel, metres.
    """
    viewing = []
    for camera in cameras:
        away = resolution * float(np.hypot(camera.row - row, camera.col - col))
        if camera.field == field != 0 or away == 0 or (not camera.field and away <= _CAMERA_RANGE):
            viewing.append((away, camera.name, camera))
    return min(viewing, key=lambda entry: entry[:2])[2] if viewing else None


def camera_series(
    camera: Camera, year: stages.TargetYear, until: datetime.date | None = None
) -> PixelSeries:
    """Return the greenness of a camera, on the days that a map of the year reads."""
    read = near_year(camera.days, year)
    if until is not None:
        read &= camera.days <= stages.to_days(np.datetime64(until, "D"), year.year)
    return PixelSeries("camera_gcc", "1", camera.days[read], camera.gcc[read])


def series_json(series: PixelSeries) -> dict[str, Any]:
    """Return a series as JSON for the page; NaN becomes null."""
    values = [round(v, 5) if np.isfinite(v) else None for v in series.values.tolist()]
    return {
        "name": series.name,
        "unit": series.unit,
        "days": series.days.tolist(),
        "values": values,
        "notes": list(series.notes),
    }


def write_csv(rows: Iterable[Sequence[Any]], simulated: bool) -> str:
    """Write a CSV with one row for each value, each marked as simulated or observed."""
    header = ("variable", "season", "day", "date", "value", "unit", "note", "data")
    data = "simulated" if simulated else "observed"
    return csv_text(header, ((*row, data) for row in rows))


def series_rows(series: PixelSeries, year: int) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of a series for `write_csv`."""
    dates = stages.to_dates(series.days, year)
    notes = series.notes or ("",) * len(series.days)
    for day, date, value, note in zip(series.days, dates, series.values, notes, strict=True):
        text = f"{value:.5g}" if np.isfinite(value) else ""
        yield series.name, "", f"{day:g}", str(date), text, series.unit, note
