"""Compute greenness from the images of a field camera, as the PhenoCam network does.

A folder of JPEGs and the mask of a region of interest become a summary file in the network's own
format, which `summary_files.read_series` reads like any other. The rules are those of Richardson
et al. 2018 (doi 10.1038/sdata.2018.28) and of the network's own program, vegindex:

- of each image, the mean red, green and blue (digital numbers) inside the mask, and
  GCC = green / (red + green + blue);
- an image counts if the sun is high enough and the region neither too dark nor too bright;
- for each period of 1 or 3 days, mean and percentiles of GCC over the images that count. 3-day
  periods begin on days 1, 4, 7, … of the year and have the date of their middle day; the last one
  of a common year includes 1 January.

Times in file names are the camera's local standard time, without summer time.
"""

from __future__ import annotations

import calendar
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.roi_masks import UNREADABLE, Mask, mask_at, read_masks
from deepcrop.sources.phenocam.summary_files import write_series
from deepcrop.storage.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_NAME = re.compile(r"(?P<site>.+)_(?P<time>\d{4}_\d{2}_\d{2}_\d{6})\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """A camera's region of interest.

    Attributes
    ----------
    site, veg_type : str
        For example ``mead2``, ``AG``; image files are called ``{site}_YYYY_MM_DD_HHMMSS.jpg``.
    number : int
        Number of the region, for example 1000.
    latitude, longitude : float
        Degrees, north and east positive.
    utc_offset : float
        Hours from UTC to the camera's standard time.
    elevation : float
        Metres; NaN if unknown.

    Raises
    ------
    DeepCropError
        If position or UTC offset are impossible: images at night would count.
    """

    site: str
    veg_type: str
    number: int
    latitude: float
    longitude: float
    utc_offset: float
    elevation: float = math.nan

    def __post_init__(self) -> None:
        for name, value, most in (
            ("latitude", self.latitude, 90),
            ("longitude", self.longitude, 180),
            ("UTC offset", self.utc_offset, 14),
        ):
            if not abs(value) <= most:
                raise DeepCropError(
                    f"{self.name}: {name} is {value:g}; expected a number from {-most} to {most}."
                )

    @property
    def name(self) -> str:
        """Site, vegetation and number as in the network's file names."""
        return f"{self.site}_{self.veg_type}_{self.number:04d}"


@dataclass(frozen=True)
class Limits:
    """Limits for images that count; the defaults are those of the network.

    Attributes
    ----------
    min_elevation : float
        Minimum solar elevation, degrees.
    min_brightness, max_brightness : float
        Mean red + green + blue in the region, 0 to 765.
    """

    min_elevation: float = 10.0
    min_brightness: float = 100
    max_brightness: float = 665


@dataclass(frozen=True)
class ImageColour:
    """Colour of one image inside the region of interest.

    Attributes
    ----------
    path : Path
    time : datetime
        Local standard time; `datetime.min` if the file name does not state it.
    elevation : float
        Solar elevation, degrees; NaN without a time.
    red, green, blue : float
        Mean digital numbers, 0 to 255; NaN if the image was not read.
    fault : str
        Why the image does not count; empty if it counts.
    """

    path: Path
    time: datetime = datetime.min
    elevation: float = math.nan
    red: float = math.nan
    green: float = math.nan
    blue: float = math.nan
    fault: str = ""

    @property
    def brightness(self) -> float:
        """Sum of the mean red, green and blue."""
        return self.red + self.green + self.blue

    @property
    def gcc(self) -> float:
        """Green chromatic coordinate."""
        return self.green / self.brightness if self.brightness else math.nan

    @property
    def rcc(self) -> float:
        """Red chromatic coordinate."""
        return self.red / self.brightness if self.brightness else math.nan


@dataclass(frozen=True)
class ImageRun:
    """Result of `summarize_folder`: the files written, and the colour of every image."""

    series: Path
    table: Path
    images: tuple[ImageColour, ...]

    @property
    def skipped(self) -> tuple[ImageColour, ...]:
        """Images that do not count."""
        return tuple(image for image in self.images if image.fault)


def summarize_folder(
    folder: Path,
    mask: Path,
    region: Region,
    out: Path,
    period: int = 3,
    limits: Limits | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> ImageRun:
    """Compute a summary file from a folder of camera images.

    Writes ``{site}_{VEG}_{number}_{1day|3day}.csv`` and, beside it, ``…_images.csv`` with the
    colour of every image and the reason if it does not count.

    Parameters
    ----------
    folder : Path
        Folder of images; it and its subfolders are searched for ``.jpg`` and ``.jpeg``.
    mask : Path
        TIFF or PNG of the size of the images, black inside; or the list of a region's masks
        (`deepcrop.sources.phenocam.roi_masks`).
    region : Region
    out : Path
        Folder to write into.
    period : int
        Days per value: 1 or 3.
    limits : Limits, optional
        Limits for images that count.
    track : callable, optional
        Iterates over the images, and may show the progress.

    Raises
    ------
    DeepCropError
        If the mask cannot be used, there are no images, or none counts.
    """
    limits = limits or Limits()
    masks = read_masks(mask)
    if not folder.is_dir():
        raise DeepCropError(f"{folder} is not a folder; expected one with camera images.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise DeepCropError(f"{folder}: no images; expected {region.site}_YYYY_MM_DD_HHMMSS.jpg.")
    with ThreadPoolExecutor() as pool:
        measured = pool.map(lambda path: measure(path, masks, region, limits), paths)
        # In the order of the paths, each as soon as it is measured.
        images = tuple(image for _, image in zip(track(paths), measured, strict=True))
    if all(image.fault for image in images):
        raise DeepCropError(
            f"{folder}: none of {len(images)} images counts. The first, {images[0].path.name}: "
            f"{images[0].fault}."
        )
    series = series_file(out, region, period)
    table = out / f"{region.name}_images.csv"
    out.mkdir(parents=True, exist_ok=True)
    _write_images(table, images)
    write_series(
        series,
        f"{period}-day summary product time series for {region.site}",
        _about(region, period, limits),
        summary_rows([image for image in images if not image.fault], period),
    )
    return ImageRun(series, table, images)


def series_file(out: Path, region: Region, period: int) -> Path:
    """Name the summary file of a region as the network does."""
    return out / f"{region.name}_{period}day.csv"


def measure(path: Path, masks: Sequence[Mask], region: Region, limits: Limits) -> ImageColour:
    """Measure the colour of one image inside the mask of its time; decide whether it counts."""
    name = _NAME.fullmatch(path.name)
    try:
        taken = datetime.strptime(name["time"] if name else "", "%Y_%m_%d_%H%M%S")
    except ValueError:
        name = None
    if name is None:
        return ImageColour(path, fault=f"is not called {region.site}_YYYY_MM_DD_HHMMSS.jpg")
    if name["site"] != region.site:
        return ImageColour(path, taken, fault=f"is of '{name['site']}', not '{region.site}'")
    utc = np.datetime64(taken, "s") - np.timedelta64(round(3600 * region.utc_offset), "s")
    elevation = float(solar_elevation(utc, region.latitude, region.longitude))
    if elevation < limits.min_elevation:
        fault = f"sun at {elevation:.1f}°, {limits.min_elevation:g}° needed"
        return ImageColour(path, taken, elevation, fault=fault)
    mask = mask_at(masks, taken)
    if mask is None:
        return ImageColour(path, taken, elevation, fault="no mask is valid at this time")
    inside = mask.inside
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            mode, pixels = image.mode, np.asarray(image)
    except UNREADABLE as error:
        return ImageColour(path, taken, elevation, fault=f"cannot be read: {error}")
    if mode != "RGB":
        return ImageColour(path, taken, elevation, fault=f"is not in colour (mode {mode})")
    if pixels.shape[:2] != inside.shape:
        size, expected = (f"{cols} x {rows}" for rows, cols in (pixels.shape[:2], inside.shape))
        return ImageColour(path, taken, elevation, fault=f"is {size} pixels, the mask {expected}")
    red, green, blue = pixels[inside].mean(axis=0, dtype=np.float64).tolist()
    brightness = red + green + blue
    fault = ""
    if brightness < limits.min_brightness:
        fault = f"too dark: {brightness:.0f}, {limits.min_brightness:g} needed"
    elif brightness > limits.max_brightness:
        fault = f"too bright: {brightness:.0f}, at most {limits.max_brightness:g}"
    return ImageColour(path, taken, elevation, red, green, blue, fault)


def solar_elevation(
    time: NDArray[np.datetime64] | np.datetime64, latitude: float, longitude: float
) -> NDArray[np.float64]:
    """Compute the apparent solar elevation, refraction included.

    Parameters
    ----------
    time : datetime64 array
        UTC.
    latitude, longitude : float
        Degrees, north and east positive.

    Returns
    -------
    ndarray of float64
        Degrees, in the shape of ``time``; within 0.02° of the almanac from 1900 to 2100.

    Notes
    -----
    Position: Meeus, Astronomical Algorithms (1998), chapter 25, lower accuracy. Refraction:
    Sæmundsson's formula (chapter 16).
    """
    days = (np.asarray(time) - np.datetime64("2000-01-01T12:00")) / np.timedelta64(1, "D")
    century = days / 36525
    mean_longitude = 280.46646 + century * (36000.76983 + century * 0.0003032)
    anomaly = np.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    centre = (
        (1.914602 - century * (0.004817 + 0.000014 * century)) * np.sin(anomaly)
        + (0.019993 - 0.000101 * century) * np.sin(2 * anomaly)
        + 0.000289 * np.sin(3 * anomaly)
    )
    node = np.radians(125.04 - 1934.136 * century)
    ecliptic = np.radians(mean_longitude + centre - 0.00569 - 0.00478 * np.sin(node))
    tilt = np.radians(23.4392911 - 0.0130042 * century + 0.00256 * np.cos(node))
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = 280.46061837 + 360.98564736629 * days
    hour_angle = np.radians(sidereal + longitude) - ascension
    north = math.radians(latitude)
    height: NDArray[np.float64] = np.degrees(
        np.arcsin(
            math.sin(north) * np.sin(declination)
            + math.cos(north) * np.cos(declination) * np.cos(hour_angle)
        )
    )
    above = np.maximum(height, -1.0)  # the formula is not defined below
    refraction = 1.02 / 60 / np.tan(np.radians(above + 10.3 / (above + 5.11)))
    return height + np.where(height > -1.0, refraction, 0.0)


# Summaries ----------------------------------------------------------------------------------------


def summary_rows(images: Sequence[ImageColour], period: int) -> Iterator[dict[str, Any]]:
    """Compute the rows of a summary file, one for each period from the first to the last image.

    Parameters
    ----------
    images : sequence of ImageColour
        Images that count.
    period : int
        1 or 3 days.
    """
    groups: dict[date, list[ImageColour]] = {}
    for image in images:
        groups.setdefault(middle_day(image.time.date(), period), []).append(image)
    day, last = min(groups), max(groups)
    while day <= last:
        if day == middle_day(day, period):
            yield _row(day, groups.get(day, []))
        day += timedelta(days=1)


def middle_day(day: date, period: int) -> date:
    """Find the date of the period in which a day lies: its middle day."""
    if period == 1:
        return day
    if (day.month, day.day) == (1, 1) and not calendar.isleap(day.year - 1):
        return day - timedelta(days=1)
    new_year = date(day.year, 1, 1)
    return new_year + timedelta(days=(day - new_year).days // 3 * 3 + 1)


def _row(day: date, images: list[ImageColour]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "date": day,
        "year": day.year,
        "doy": day.timetuple().tm_yday,
        "image_count": len(images),
    }
    if not images:
        return row
    noon = datetime.combine(day, time(12))
    midday = min(images, key=lambda image: (abs(image.time - noon), image.time))
    row |= {
        "midday_filename": midday.path.name,
        "midday_r": midday.red,
        "midday_g": midday.green,
        "midday_b": midday.blue,
        "midday_gcc": midday.gcc,
        "midday_rcc": midday.rcc,
        "max_solar_elev": max(image.elevation for image in images),
    }
    for name, key in (("r", "red"), ("g", "green"), ("b", "blue"), ("gcc", "gcc"), ("rcc", "rcc")):
        values = np.array([getattr(image, key) for image in images])
        row |= {f"{name}_mean": float(values.mean()), f"{name}_std": float(values.std())}
        if len(name) == 3:
            for percent, value in zip(
                (50, 75, 90), np.percentile(values, (50, 75, 90)), strict=True
            ):
                row[f"{name}_{percent}"] = float(value)
    return row


def _about(region: Region, period: int, limits: Limits) -> dict[str, Any]:
    now = datetime.now()
    return {
        "Site": region.site,
        "Veg Type": region.veg_type,
        "ROI ID Number": f"{region.number:04d}",
        "Lat": region.latitude,
        "Lon": region.longitude,
        "Elev": f"{region.elevation:g}" if math.isfinite(region.elevation) else "",
        "UTC Offset": f"{region.utc_offset:g}",
        "Image Count Threshold": 1,
        "Aggregation Period": period,
        "Solar Elevation Min": limits.min_elevation,
        "Time of Day Min": "00:00:00",
        "Time of Day Max": "23:59:59",
        "ROI Brightness Min": limits.min_brightness,
        "ROI Brightness Max": limits.max_brightness,
        "Creation Date": f"{now:%Y-%m-%d}",
        "Creation Time": f"{now:%H:%M:%S}",
        "Update Date": f"{now:%Y-%m-%d}",
        "Update Time": f"{now:%H:%M:%S}",
    }


def _write_images(path: Path, images: Sequence[ImageColour]) -> None:
    heading = ("filename", "local_std_time", "solar_elev", "r_mean", "g_mean", "b_mean", "gcc")
    rows = []
    for image in images:
        numbers = (image.elevation, image.red, image.green, image.blue, image.gcc)
        texts = (f"{value:.5f}" if math.isfinite(value) else "" for value in numbers)
        when = "" if image.time == datetime.min else image.time
        rows.append((image.path.name, when, *texts, image.fault))
    write_csv(path, (*heading, "why_not_used"), rows)
