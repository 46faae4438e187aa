"""Samples of cameras: the 18x18 patch of a cube through time, and the labels of a site-year.

A patch lies around the mast, as in the paper, or around the field that the camera looks at. A set
of samples is one file, which records whether its pixels are real or simulated.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Geod

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, grid_of, is_simulated
from deepcrop.cube.packing import pack, scale_of, unpack
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.cameras.site_years import CameraYear

VIEW_DISTANCE = 65.0
"""Distance from the mast to the middle of a roadside camera's view of its field, metres: the centre
of the published fields of view of 20 such cameras, wedges that end 100 m away (doi
10.34133/remotesensing.0878). A 10 m pixel there contains no road, ditch or headland."""


@dataclass(frozen=True, eq=False)
class Patch:
    """All observations of 18x18 pixels around one cell, in order of time.

    Dates without data in any pixel are left out. NaN = no data or masked.

    Attributes
    ----------
    optical : ndarray of float32 (dates, 4, 18, 18)
        Reflectance: `deepcrop.cube.contract.OPTICAL_BANDS`.
    optical_days : ndarray of float32 (dates,)
        Days since 1 January of the target year.
    radar : ndarray of float32 (dates, 2, 18, 18)
        Backscatter sigma0 in dB: `deepcrop.cube.contract.SAR_BANDS`.
    radar_days : ndarray of float32 (dates,)
        As of the optical dates.
    orbits : ndarray of int16 (dates,)
        Relative orbit of each radar date, 0 = unknown.
    """

    optical: NDArray[np.float32]
    optical_days: NDArray[np.float32]
    radar: NDArray[np.float32]
    radar_days: NDArray[np.float32]
    orbits: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Sample:
    """A patch and its labels.

    Attributes
    ----------
    name : str
        Region of interest and year, and the number of the repeat if the pixels are simulated.
    site, cluster, crop : str
    year : int
    latitude, longitude : float
        Position of the mast, degrees.
    moved : float
        Distance from the mast to the patch's cell, metres; 0 on the mast.
    simulated : bool
        Whether the pixels are simulated. The labels are those of the camera in any case.
    patch : Patch
    day, low, high : ndarray of float64 (2, 5)
    none : ndarray of bool (2, 5)
        As of `deepcrop.cameras.site_years.CameraYear`.
    """

    name: str
    site: str
    cluster: str
    crop: str
    year: int
    latitude: float
    longitude: float
    moved: float
    simulated: bool
    patch: Patch
    day: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    none: NDArray[np.bool_]


# One sample -------------------------------------------------------------------------------------


def cell_at(
    box: GeoBox, latitude: float, longitude: float, direction: float, distance: float
) -> tuple[int, int]:
    """Find the cell at a distance (metres) and direction (degrees from true north) from a place.

    Raises
    ------
    DeepCropError
        If the cell lies outside the grid.
    """
    latitude, longitude = place_along_view(latitude, longitude, direction, distance)
    return grid.cell_of(box, longitude, latitude)


def place_along_view(
    latitude: float, longitude: float, direction: float, distance: float
) -> tuple[float, float]:
    """Latitude and longitude of the place at a distance along a view; the mast if it is unknown."""
    if not math.isfinite(direction):
        return latitude, longitude
    x, y, _ = Geod(ellps="WGS84").fwd(longitude, latitude, direction, distance)
    return float(y), float(x)


def cut(cube: xr.DataTree, row: int, col: int, year: int) -> Patch:
    """Cut a patch out of a cube; ``(row, col)`` becomes its cell (9, 9).

    Parameters
    ----------
    cube : DataTree
        Observation cube; either sensor may be missing.
    row, col : int
        Cell of the cube.
    year : int
        Target year: observations from day `stages.DAY_MIN` to `stages.DAY_MAX` are used.

    Raises
    ------
    DeepCropError
        If the patch extends beyond the edge of the cube.
    CubeError
        If the cube has no observation near the year.
    """
    window = grid.patch_at(grid_of(cube), row, col)
    optical, optical_days, _ = _series(cube, "optical", OPTICAL_BANDS, window, year)
    radar, radar_days, orbits = _series(cube, "sar", SAR_BANDS, window, year)
    if not len(optical) and not len(radar):
        raise CubeError(
            f"There are no observations around cell ({row}, {col}) near {year}; the cube has other "
            "years, or no data there."
        )
    return Patch(optical, optical_days, radar, radar_days, orbits)


def _series(
    cube: xr.DataTree, group: str, bands: Sequence[str], window: tuple[slice, slice], year: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    """Images (dates, bands, 18, 18), days and orbits of the dates that have data."""
    if group not in cube.children:
        size = grid.PATCH_SIZE
        empty = np.empty(0, np.float32)
        return np.empty((0, len(bands), size, size), np.float32), empty, empty.astype(np.int16)
    data = cube[group].to_dataset()
    days = stages.to_days(data["time"].values, year)
    used = np.flatnonzero((days >= stages.DAY_MIN) & (days <= stages.DAY_MAX))
    data = data.isel(time=used, y=window[0], x=window[1])
    images = np.stack([data[band].values for band in bands], axis=1).astype(np.float32, copy=False)
    orbits = np.zeros(len(used), np.int16)
    if "relative_orbit" in data.coords:
        orbits = data["relative_orbit"].values.astype(np.int16)
    seen = np.any(np.isfinite(images).all(axis=1), axis=(1, 2))
    return np.ascontiguousarray(images[seen]), days[used][seen], orbits[seen]


def sample(cube: xr.DataTree, year: CameraYear, distance: float = VIEW_DISTANCE) -> Sample:
    """Make the sample of a site-year: cut its patch out of the cube around its camera.

    Parameters
    ----------
    cube : DataTree
        Observation cube.
    year : CameraYear
        Site-year.
    distance : float
        Distance of the patch along the camera's viewing direction, metres; 0: on the mast, as in
        the paper. The patch of a camera whose direction is unknown lies on the mast.

    Raises
    ------
    DeepCropError
        If the patch extends beyond the edge of the cube, or there are no observations near the
        year.
    """
    moved = distance if math.isfinite(year.direction) else 0.0
    direction = year.direction if moved else 0.0
    simulated = is_simulated(cube)
    repeat = cube.attrs.get("repeat")
    try:
        box = grid_of(cube)
        cell = cell_at(box, year.latitude, year.longitude, direction, moved)
        patch = cut(cube, *cell, year.year)
    except DeepCropError as error:
        raise type(error)(f"{year.name}: {error}") from None
    return Sample(
        name=year.name if repeat is None else f"{year.name}_{repeat}",
        site=year.site,
        cluster=year.cluster,
        crop=year.crop,
        year=year.year,
        latitude=year.latitude,
        longitude=year.longitude,
        moved=moved,
        simulated=simulated,
        patch=patch,
        day=year.day,
        low=year.low,
        high=year.high,
        none=year.none,
    )


# Many samples -----------------------------------------------------------------------------------

_SENSORS = {"optical": OPTICAL_BANDS, "radar": SAR_BANDS}
_FACTS = ("name", "site", "cluster", "crop", "year", "latitude", "longitude", "moved", "simulated")
_LABELS = ("day", "low", "high", "none")
_RAGGED = ("optical", "optical_days", "radar", "radar_days", "orbits")


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Many samples, packed as observation cubes are packed on disk; ``samples[k]`` unpacks one.

    Attributes
    ----------
    facts : list of dict
        Fields of each `Sample` that are no arrays.
    labels : dict of str to ndarray (samples, 2, 5)
        ``day``, ``low``, ``high``, ``none``.
    arrays : dict of str to ndarray
        Fields of `Patch`, those of all samples concatenated; reflectance and backscatter as int16.
    starts : dict of str to ndarray of int64 (samples + 1,)
        Index of the first date of each sample in ``arrays``, by sensor.
    provenance : dict
        Origin of the pixels and labels.
    """

    facts: list[dict[str, Any]]
    labels: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]
    starts: dict[str, NDArray[np.int64]]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.facts)

    def __getitem__(self, k: int) -> Sample:
        k = range(len(self))[k]  # raises IndexError if out of range
        patch: dict[str, NDArray[Any]] = {}
        for name in _RAGGED:
            start, stop = self.starts["optical" if name.startswith("optical") else "radar"][
                k : k + 2
            ]
            patch[name] = self.arrays[name][start:stop]
        for sensor, bands in _SENSORS.items():
            patch[sensor] = unpack(patch[sensor], scale_of(bands[0]))
        labels = {name: self.labels[name][k] for name in _LABELS}
        return Sample(**self.facts[k], patch=Patch(**patch), **labels)

    def __iter__(self) -> Iterator[Sample]:
        return (self[k] for k in range(len(self)))

    @property
    def simulated(self) -> bool:
        """Whether any of the pixels are simulated."""
        return any(fact["simulated"] for fact in self.facts)


def collect(samples: Iterable[Sample], provenance: Mapping[str, Any]) -> SampleSet:
    """Pack samples into a set.

    Values are rounded as on disk: reflectance to 0.0001, backscatter to 0.01 dB.

    Parameters
    ----------
    samples : iterable of Sample
    provenance : mapping
        Archive, collections, settings, citation, in JSON types.

    Raises
    ------
    DeepCropError
        If there is no sample, or two have the same name.
    """
    facts: list[dict[str, Any]] = []
    labels: dict[str, list[NDArray[Any]]] = {name: [] for name in _LABELS}
    arrays: dict[str, list[NDArray[Any]]] = {name: [] for name in _RAGGED}
    for each in samples:
        facts.append({name: getattr(each, name) for name in _FACTS})
        for name in _LABELS:
            labels[name].append(getattr(each, name))
        for name in _RAGGED:
            values = getattr(each.patch, name)
            if name in _SENSORS:
                values = pack(values, scale_of(_SENSORS[name][0]))
            arrays[name].append(values)
    if not facts:
        raise DeepCropError("There is no sample; all site-years were left out.")
    counts = Counter(fact["name"] for fact in facts)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise DeepCropError(f"Samples occur twice: {', '.join(twice[:5])}.")
    starts = {
        sensor: np.cumsum([0, *(len(days) for days in arrays[f"{sensor}_days"])], dtype=np.int64)
        for sensor in _SENSORS
    }
    return SampleSet(
        facts,
        {name: np.stack(parts) for name, parts in labels.items()},
        {name: np.concatenate(parts) for name, parts in arrays.items()},
        starts,
        {"software": f"deepcrop {__version__}", **provenance},
    )


def save(samples: SampleSet, path: Path, overwrite: bool = False) -> None:
    """Save a set of samples as one ``.npz`` file, whole or not at all.

    Raises
    ------
    DeepCropError
        If the name does not end in ``.npz``, or the file exists and ``overwrite`` is not given.
    """
    check_name(path, overwrite)
    about = json.dumps({"facts": samples.facts, "provenance": samples.provenance})
    content: dict[str, Any] = {
        **{f"label_{name}": values for name, values in samples.labels.items()},
        **{f"start_{name}": values for name, values in samples.starts.items()},
        **samples.arrays,
    }
    with atomic_file(path) as part:
        np.savez_compressed(part, about=np.array(about), **content)


def check_name(path: Path, overwrite: bool = False) -> None:
    """Raise `DeepCropError` unless `save` may write this file."""
    if path.suffix != ".npz":
        raise DeepCropError(f"{path}: a set of samples is one file whose name ends in .npz.")
    if path.exists() and not overwrite:
        raise DeepCropError(f"{path} exists. Choose another name, or overwrite it explicitly.")
    if not path.absolute().parent.is_dir():
        raise DeepCropError(f"Folder {path.absolute().parent} does not exist; make it first.")


def load(path: Path) -> SampleSet:
    """Load a set of samples.

    Raises
    ------
    DeepCropError
        If the file cannot be read, or was not written by `save`.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            return SampleSet(
                about["facts"],
                {name: file[f"label_{name}"] for name in _LABELS},
                {name: file[name] for name in _RAGGED},
                {name: file[f"start_{name}"] for name in _SENSORS},
                about["provenance"],
            )
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror or error}; expected samples.") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DeepCropError(
            f"{path} cannot be read as a set of samples ({error}); make it again."
        ) from None


class Subset(Sequence[Sample]):
    """Samples of a set by their numbers, unpacked when they are read."""

    def __init__(self, samples: SampleSet, numbers: Sequence[int]):
        self.samples, self.numbers = samples, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Unpack sample number ``k`` of the subset."""
        return self.samples[self.numbers[k]]


class WithoutRadar(Sequence[Sample]):
    """The same samples without their radar dates."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, k):  # type: ignore[no-untyped-def]
        """Sample number ``k``, without radar dates."""
        sample = self.samples[k]
        empty = {
            name: getattr(sample.patch, name)[:0] for name in ("radar", "radar_days", "orbits")
        }
        return replace(sample, patch=replace(sample.patch, **empty))


def site_year_of(fact: Mapping[str, Any]) -> str:
    """Name of a sample's site-year; that of a simulated sample ends in the number of its repeat."""
    name = str(fact["name"])
    return name.rpartition("_")[0] if fact["simulated"] else name
