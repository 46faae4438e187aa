"""Locate points of the earth in a Sentinel-1 image.

The orbit comes from a precise (or restituted) orbit file of ESA, else from the annotation. The
zero-Doppler position of a point on the orbit (sarsen) gives the line and the slant range; the
polynomials of the annotation convert slant range to ground range, along which the pixels lie.
Positions are (line, pixel), 0-based, with integers at pixel centres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import xarray as xr

from deepcrop.errors import DeepCropError
from deepcrop.sources.archive import SceneError
from deepcrop.sources.safe.product import Product, child_text, find_file, scene_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sarsen.orbit import OrbitPolyfitInterpolator

_ORBIT_MARGIN = np.timedelta64(60, "s")  # state vectors used before and after the image
_SPEED_OF_LIGHT = 299_792_458.0
_ORBIT_FILE = re.compile(r"(S1[A-D])_OPER_AUX_(POE|RES)ORB_\w+_V(\d{8}T\d{6})_(\d{8}T\d{6})")


@dataclass(frozen=True)
class Geometry:
    """Imaging geometry: how lines and pixels of an image lie along the orbit.

    Attributes
    ----------
    first : datetime64[ns]
        Time of line 0.
    interval : float
        Time from line to line, seconds.
    shape : tuple of int
        Lines and pixels.
    spacing : float
        Ground range from pixel to pixel, metres.
    orbit : OrbitPolyfitInterpolator
        Positions of the satellite, earth-fixed.
    orbit_source : str
        Name of the orbit file, or the origin of the annotation's state vectors.
    conversion : Dataset
        Polynomials from slant to ground range, as xarray-sentinel reads them.
    delay : ndarray (2,)
        Zero-Doppler time minus line time, seconds, as a linear function of slant range time: the
        bistatic delay, which the line times correct at mid-swath only (error up to 0.2 lines).
    """

    first: np.datetime64
    interval: float
    shape: tuple[int, int]
    spacing: float
    orbit: OrbitPolyfitInterpolator
    orbit_source: str
    conversion: xr.Dataset
    delay: NDArray[np.float64]


def read_geometry(product: Product, polarization: str, orbit: Path | None = None) -> Geometry:
    """Read the imaging geometry from the annotation and an orbit file.

    Raises
    ------
    SceneError
        If the annotation is missing or damaged, or the orbit file does not fit the product.
    """
    require_libraries()
    from sarsen.orbit import OrbitPolyfitInterpolator
    from xarray_sentinel import sentinel1

    annotation = find_file(product, "annotation/*.xml", polarization)
    with scene_errors(annotation):
        root = ElementTree.parse(annotation).getroot()
        first = np.datetime64(child_text(root, ".//productFirstLineUtcTime"), "ns")
        last = np.datetime64(child_text(root, ".//productLastLineUtcTime"), "ns")
        shape = (
            int(child_text(root, ".//numberOfLines")),
            int(child_text(root, ".//numberOfSamples")),
        )
        interval = _seconds(last - first) / (shape[0] - 1)
        if not (min(shape) > 1 and 0 < interval < 1):
            raise ValueError(f"{shape[0]} lines from {first} to {last}")
        points = [
            (
                _seconds(np.datetime64(child_text(point, "azimuthTime"), "ns") - first)
                - int(child_text(point, "line")) * interval,
                float(child_text(point, "slantRangeTime")),
            )
            for point in root.iter("geolocationGridPoint")
        ]
        delays, ranges = np.transpose(points)
        if orbit is None:
            states = sentinel1.open_orbit_dataset(annotation)
            source = f"annotation ({child_text(root, './/orbitSource').lower()})"
        conversion = sentinel1.open_coordinate_conversion_dataset(annotation)
        spacing = float(child_text(root, ".//rangePixelSpacing"))
        if not 0.1 < spacing < 1000:
            raise ValueError(f"'rangePixelSpacing' is {spacing}")
        delay = np.polyfit(ranges, delays, 1)
    if orbit is not None:
        states, source = _read_orbit(orbit, product, first, last), Path(orbit).name
    return Geometry(
        first=first,
        interval=interval,
        shape=shape,
        spacing=spacing,
        orbit=OrbitPolyfitInterpolator.from_position(states["position"]),
        orbit_source=source,
        conversion=conversion,
        delay=delay,
    )


def _read_orbit(
    orbit: Path, product: Product, first: np.datetime64, last: np.datetime64
) -> xr.Dataset:
    """Read the state vectors around an image from an orbit file of ESA (Earth Explorer XML)."""
    from xarray_sentinel import sentinel1

    orbit = Path(orbit)
    with scene_errors(orbit, "an orbit file of ESA, '….EOF'"):
        root = ElementTree.parse(orbit).getroot()
        mission = child_text(root, ".//Mission").replace("Sentinel-", "S")
        times, positions, velocities = [], [], []
        for state in root.iter("OSV"):
            time = np.datetime64(child_text(state, "UTC").removeprefix("UTC="), "ns")
            if first - _ORBIT_MARGIN <= time <= last + _ORBIT_MARGIN:
                times.append(time)
                positions.append([float(child_text(state, axis)) for axis in ("X", "Y", "Z")])
                velocities.append([float(child_text(state, axis)) for axis in ("VX", "VY", "VZ")])
    if mission != product.mission:
        raise SceneError(f"{orbit} is of {mission}; {product.path.name} is of {product.mission}.")
    if not times or times[0] > first or times[-1] < last:
        raise SceneError(
            f"{orbit} does not cover {product.path.name} ({_short(first)} to {_short(last)} UTC); "
            "give the orbit file of that day, or none to use the annotation."
        )
    return sentinel1.make_orbit(
        times, np.transpose(positions).tolist(), np.transpose(velocities).tolist()
    )


def choose_orbit_file(product: Product, orbits: Sequence[Path]) -> Path | None:
    """Choose the orbit file of a product by file name; None if no orbit files are given.

    Precise orbit files are preferred to restituted ones.

    Raises
    ------
    DeepCropError
        If a file does not have ESA's name.
    SceneError
        If none of the files fits the product.
    """
    if not orbits:
        return None
    fitting = []
    for path in map(Path, orbits):
        name = _ORBIT_FILE.match(path.name)
        if name is None:
            raise DeepCropError(
                f"{path}: expected an orbit file under its original name, for example "
                "'S1B_OPER_AUX_POEORB_OPOD_20220112T111837_V20211222T225942_20211224T005942.EOF'."
            )
        mission, kind, start, stop = name.groups()
        covers = _stamp(start) <= product.start and product.stop <= _stamp(stop)
        if mission == product.mission and covers:
            fitting.append((kind, path))
    if not fitting:
        raise SceneError(
            f"None of the {len(orbits)} orbit files is of {product.mission} and covers "
            f"{product.path.name}; add its file, or give none at all to use the annotations."
        )
    return min(fitting)[1]  # POE, precise, comes before RES, restituted


def _stamp(text: str) -> np.datetime64:
    """Parse a time as written in file names."""
    return np.datetime64(datetime.strptime(text, "%Y%m%dT%H%M%S"), "ns")


def locate(
    geometry: Geometry, ecef: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Locate points of the earth in an image.

    Parameters
    ----------
    geometry : Geometry
        Imaging geometry.
    ecef : ndarray (3, rows, cols)
        Earth-centred, earth-fixed coordinates (EPSG:4978), metres.

    Returns
    -------
    line, pixel : ndarray (rows, cols)
        Positions, which may lie outside the image; NaN for points that the radar cannot see: on the
        left of the track, or outside the times of the ground range polynomials.
    """
    require_libraries()
    from sarsen.geocoding import backward_geocode
    from xarray_sentinel import slant_range_time_to_ground_range

    target = xr.DataArray(ecef, dims=("axis", "y", "x"), coords={"axis": [0, 1, 2]})
    # The default tolerance, 1 m along the track, would be a tenth of a line.
    seen = backward_geocode(target, geometry.orbit, zero_doppler_distance=0.01)
    distance, velocity = (
        seen[name].transpose("axis", "y", "x").values
        for name in ("dem_distance", "satellite_velocity")
    )
    range_time = 2 / _SPEED_OF_LIGHT * np.sqrt((distance**2).sum(axis=0))
    ground_range = slant_range_time_to_ground_range(
        seen["azimuth_time"], xr.DataArray(range_time, dims=("y", "x")), geometry.conversion
    )
    time = _seconds(seen["azimuth_time"].values - geometry.first)
    line = (time - np.polyval(geometry.delay, range_time)) / geometry.interval
    # Sentinel-1 looks to the right; the mirrored point on the left has the same range and time.
    right = np.cross(velocity, ecef - distance, axis=0)
    visible = (distance * right).sum(axis=0) > 0
    pixel = np.where(visible, ground_range.transpose("y", "x").values / geometry.spacing, np.nan)
    return np.where(np.isfinite(pixel), line, np.nan), pixel


def require_libraries() -> None:
    """Check that the libraries of the extra ``safe`` are installed.

    Raises
    ------
    DeepCropError
        If not.
    """
    try:
        import sarsen  # noqa: F401
        import xarray_sentinel  # noqa: F401
    except ImportError as error:
        raise DeepCropError(
            f"Sentinel-1 ground-range products need 'pip install \"deepcrop[safe]\"' ({error})."
        ) from error


def _seconds(duration: Any) -> Any:
    return duration / np.timedelta64(10**9, "ns")


def _short(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]"))
