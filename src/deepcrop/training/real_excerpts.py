"""Read excerpts of real satellite data as examples, labelled by the NDVI curve.

The excerpts (`SOURCES`) are a square of Flanders, parcels of France, rice in An Giang, and parcels
of Korea, which only train. No camera stood there: labels are the dates of the NDVI curve through
all clear scenes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from pyproj import Transformer

from deepcrop import stages
from deepcrop.cube.contract import CLEAR_CLASSES
from deepcrop.errors import DeepCropError
from deepcrop.grid import PATCH_CENTRE, PATCH_SIZE, inner
from deepcrop.sources.sentinel1 import sigma0
from deepcrop.training import korea_parcels
from deepcrop.training.curve_labels import as_patch, unlabelled, with_curve_labels, without_wide

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.training.examples import Example

SOURCES = {
    "flanders": (
        "Sentinel-1 GRD and Sentinel-2 L2A of 640 m x 640 m in Flanders, 2018, via WorldCereal; "
        "MIT; contains modified Copernicus Sentinel data 2017-2018"
    ),
    "france": (
        "10-day Sentinel-1 and Sentinel-2 series of 500 parcels in France, 2023, via WorldCereal; "
        "MIT; contains modified Copernicus Sentinel data 2022-2024"
    ),
    "angiang": (
        "Sentinel-1 RTC and Sentinel-2 L2A of 250 sites in An Giang, 2022; contains modified "
        "Copernicus Sentinel data 2022; the repository it came from states no licence: for "
        "experiments and tests, not for shipped weights"
    ),
    "korea": korea_parcels.SOURCE,
}
"""Excerpts by name, with their licences."""

LICENSED = ("flanders", "france", "korea")
"""Excerpts whose licence allows shipping weights that are trained on them."""

_FLANDERS_CROPS = {
    1200: "maize",
    2130: "cabbages",
    5100: "potatoes",
    7900: "other leguminous crops",
    9120: "grass",
}
_FRANCE_CROPS = {1101010011: "winter wheat", 1101060000: "maize", 1106000031: "rapeseed"}
_INCIDENCE = 38.5  # degrees, middle of a swath of 30.5 to 46
_NO_DATA = 65535  # of the French parcels


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Real series of one place and year.

    Attributes
    ----------
    name, source : str
        Key and value of `SOURCES`.
    year : int
        Target year.
    latitude : float
        Latitude of its middle, degrees.
    examples : tuple of Example
        One tile (Flanders), or patches of one pixel each; all have the same size.
    groups : ndarray of str (pixels,)
        Crop of each labelled pixel of all examples, empty where it is unknown.
    inside : ndarray of bool (pixels,), optional
        Of a tile: whether all eight neighbours of the pixel have its crop.
    """

    name: str
    source: str
    year: int
    latitude: float
    examples: tuple[Example, ...]
    groups: NDArray[np.str_]
    inside: NDArray[np.bool_] | None = None

    @property
    def dense(self) -> bool:
        """Whether its examples are tiles."""
        return bool(self.examples[0].optical.shape[-1] > PATCH_SIZE)


# Places -----------------------------------------------------------------------------------------


def read(name: str, data: Path) -> Excerpt:
    """Read an excerpt from the folder of real data, with curve labels.

    Any of `SOURCES` but Korea, whose provenance is not proven: it can train and cannot test.

    Raises
    ------
    DeepCropError
        If the name is unknown, or a file is missing.
    """
    readers = {"flanders": _flanders, "france": _france, "angiang": _angiang}
    if name not in readers:
        raise DeepCropError(f"Place {name!r} is unknown; expected {', '.join(readers)}.")
    excerpt = readers[name](data)
    examples = [_without_empty_scenes(example) for example in excerpt.examples]
    labelled = with_curve_labels(examples, excerpt.year, excerpt.latitude)
    return replace(excerpt, examples=labelled)


def _flanders(data: Path) -> Excerpt:
    """Read a tile of 64 x 64 pixels of 10 m; pixels of 20 m are repeated, not interpolated."""
    year, folder = 2018, data / "sentinel" / "flanders_2018"
    fine, coarse, sar, field = (
        _open(_only(folder, pattern))
        for pattern in ("S2_L2A_10m_*.nc", "S2_L2A_20m_*.nc", "S1_GRD-*.nc", "OUTPUT_*.nc")
    )
    number = np.stack([fine[band].values for band in ("B02", "B03", "B04", "B08")], 1)
    if not np.array_equal(fine["timestamp"].values, coarse["timestamp"].values):
        raise DeepCropError(f"{folder}: the 10 m and 20 m files have other dates.")
    clear = _twice(np.isin(coarse["SCL"].values, CLEAR_CLASSES)) & (number > 0).all(1)
    optical = np.where(clear[:, None], number * np.float32(1e-4), np.float32(np.nan))
    db = np.stack([sar[band].values for band in ("VV", "VH")], 1)
    radar = _twice(np.where(db == 0, np.float32(np.nan), db * np.float32(1e-4)))
    times = sar["timestamp"].values
    codes = field["CT"].values  # 0 where there is no parcel
    crop = np.vectorize(lambda code: _FLANDERS_CROPS.get(code, ""))(inner(codes))
    around = sliding_window_view(np.pad(codes, 1), (3, 3))
    inside = inner((codes > 0) & (around == codes[:, :, None, None]).all((2, 3))).reshape(-1)
    example = unlabelled(
        optical.astype(np.float32),
        stages.to_days(fine["timestamp"].values, year),
        radar.astype(np.float32),
        stages.to_days(times, year),
        orbits_by_time_of_day(times),
    )
    groups = crop.reshape(-1).astype(np.str_)
    return Excerpt("flanders", SOURCES["flanders"], year, 50.8, (example,), groups, inside)


def _france(data: Path) -> Excerpt:
    """Read ten-day means of parcels as patches; a mean is dated to the middle of its ten days."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DeepCropError(f"The parcels need 'pip install deepcrop[labels]' ({error}).") from None
    path = _only(data / "france_dekad", "*.geoparquet")
    bands = ["S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-B08"]
    both = [*bands, "S1-SIGMA0-VV", "S1-SIGMA0-VH"]
    names = ["sample_id", "timestamp", "ewoc_code", "lat", *both]
    table = parquet.read_table(path, columns=names)
    column = {name: np.array(table[name].to_pylist()) for name in names}
    year = 2023
    day = stages.to_days(column["timestamp"].astype("datetime64[D]"), year) + 5
    number = np.stack([column[name] for name in both], 1).astype(np.float32)
    number[number == _NO_DATA] = np.nan
    examples, groups = [], []
    for parcel in np.unique(column["sample_id"]):
        rows = np.flatnonzero(column["sample_id"] == parcel)
        rows = rows[np.argsort(day[rows])]
        here = number[rows]
        with np.errstate(divide="ignore"):
            db = 20 * np.log10(np.where(here[:, 4:] > 0, here[:, 4:], np.nan)) - 83
        optical, radar = as_patch(here[:, :4] * np.float32(1e-4)), as_patch(db)
        examples.append(
            unlabelled(optical, day[rows], radar, day[rows], np.zeros(rows.size, np.int64))
        )
        groups.append(_FRANCE_CROPS.get(int(column["ewoc_code"][rows[0]]), "other"))
    latitude = float(np.median(column["lat"].astype(float)))
    return Excerpt("france", SOURCES["france"], year, latitude, tuple(examples), np.array(groups))


def _angiang(data: Path) -> Excerpt:
    """Read sites of about 11 x 11 pixels, in the middle of patches that are no data around them.

    The files hold gamma0 and no angles. Sigma0 is therefore computed with the incidence angle of
    the middle of the swath: accurate to 0.6 dB, with the same error on all dates of an orbit. The
    radar pixel nearest to each optical pixel is taken; their grids differ by a few metres.
    """
    year, folder = 2022, data / "sentinel" / "angiang_2022"
    sites = np.genfromtxt(
        _only(folder, "sites.csv"), delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32648", always_xy=True)
    offset_from = np.datetime64("2022-01-25")
    examples = []
    for site in sites["site"]:
        s2, sar = (_open(folder / part / f"{site}.nc") for part in ("s2", "s1"))
        times = s2["time"].values
        number = np.stack([s2[b].values for b in ("blue", "green", "red", "nir")], 1)
        clear = np.isin(s2["SCL"].values, CLEAR_CLASSES) & (number > 0).all(1)
        offset = np.where(times >= offset_from, np.float32(1000), np.float32(0))
        optical = (number.astype(np.float32) - offset[:, None, None, None]) * np.float32(1e-4)
        optical[~clear[:, None].repeat(4, 1)] = np.nan
        # Here the UTM grid is rotated by less than 0.1 degrees against the geographic grid.
        x, _ = to_utm.transform(
            s2["longitude"].values, np.full(s2.sizes["longitude"], float(s2["latitude"].mean()))
        )
        _, y = to_utm.transform(
            np.full(s2.sizes["latitude"], float(s2["longitude"].mean())), s2["latitude"].values
        )
        rows, cols = _nearest(sar["y"].values, y), _nearest(sar["x"].values, x)
        power = np.stack([sar[b].values for b in ("vv", "vh")], 1)[:, :, rows][:, :, :, cols]
        sar_times = sar["time"].values
        examples.append(
            unlabelled(
                _centred(optical),
                stages.to_days(times, year),
                _centred(sigma0(power, np.full((), _INCIDENCE, np.float32))),
                stages.to_days(sar_times, year),
                orbits_by_time_of_day(sar_times),
            )
        )
    return Excerpt(
        "angiang", SOURCES["angiang"], year, float(np.mean(sites["lat"])), tuple(examples),
        np.full(len(examples), "rice or other"),
    )  # fmt: skip


def _without_empty_scenes(example: Example) -> Example:
    """Drop optical scenes in which no labelled pixel is clear."""
    clear = np.isfinite(inner(example.optical)).all(1).any((1, 2))
    return replace(
        example, optical=example.optical[clear], optical_days=example.optical_days[clear]
    )


def orbits_by_time_of_day(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Derive the number of the relative orbit, from 0, from the time of day of each overpass.

    All passes of one relative orbit are at the same minute of the day; two orbits are at least five
    minutes apart.
    """
    minute = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "m")
    order = np.argsort(minute)
    number = np.cumsum(np.diff(minute[order], prepend=minute[order[0]]) > 3)
    orbits = np.empty(times.size, np.int64)
    orbits[order] = number
    return orbits


def _twice(images: NDArray[Any]) -> NDArray[Any]:
    """Repeat pixels of 20 m as 2 x 2 pixels of 10 m."""
    return images.repeat(2, -2).repeat(2, -1)


def _nearest(centres: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.intp]:
    """Index of the centre nearest to each wanted coordinate."""
    return np.asarray(np.abs(centres[:, None] - wanted).argmin(0))


def _centred(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put small images into the middle of patches of NaN."""
    patch = np.full((*images.shape[:2], PATCH_SIZE, PATCH_SIZE), np.nan, np.float32)
    top, left = (PATCH_CENTRE - size // 2 for size in images.shape[2:])
    patch[:, :, top : top + images.shape[2], left : left + images.shape[3]] = images
    return patch


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DeepCropError(
            f"{folder} holds {len(found)} files {pattern}; expected one. Give the folder of the "
            "real excerpts."
        )
    return found[0]


def _open(path: Path) -> xr.Dataset:
    """Open a file without decoding: the declared fill value is a valid number in these files."""
    if not path.is_file():
        raise DeepCropError(f"{path} does not exist; give the folder of the real excerpts.")
    with xr.open_dataset(path, mask_and_scale=False) as file:
        return file.load()


# Training ---------------------------------------------------------------------------------------


def training_examples(data: Path, places: Iterable[str] = LICENSED) -> list[Example]:
    """Read labelled examples for training weights that may be shipped.

    Flanders is divided into overlapping tiles of 30 x 30 pixels, whose inner 13 x 13 pixels are
    labelled; France and Korea have patches. A batch has examples of one size, so it takes one of
    the two. Labels of pixels without a crop are unknown, as are dates whose interval is wide
    (`deepcrop.training.curve_labels.MAX_WIDTH`) and all dates of the camera definition.

    Parameters
    ----------
    data : Path
        Folder of real data.
    places : iterable of str
        Excerpts, some of `LICENSED`.

    Raises
    ------
    DeepCropError
        If a place has no licence that allows it.
    """
    examples: list[Example] = []
    for place in places:
        if place not in LICENSED:
            raise DeepCropError(
                f"{place!r} has no licence for training weights that are shipped; expected some of "
                f"{', '.join(LICENSED)}."
            )
        if place == "korea":
            examples += korea_parcels.labelled(data)
            continue
        excerpt = read(place, data)
        if excerpt.dense:
            crop = np.asarray(excerpt.groups != "")
            examples += _tiles(_known_only(excerpt.examples[0], crop))
        else:
            examples += excerpt.examples
    return [without_wide(example) for example in examples]


def _known_only(example: Example, crop: NDArray[np.bool_]) -> Example:
    """Set the labels of pixels without a crop to unknown."""
    keep = crop[:, None, None]
    return replace(
        example,
        day=np.where(keep, example.day, np.float32(np.nan)),
        spread=np.where(keep, example.spread, np.float32(np.nan)),
        none=example.none & keep,
    )


def _tiles(example: Example, size: int = 30) -> list[Example]:
    """Divide a tile into smaller ones; the last row and column overlap the ones before."""
    rows, cols = example.optical.shape[-2:]
    core = size - PATCH_SIZE + 1
    labelled = (rows - PATCH_SIZE + 1, cols - PATCH_SIZE + 1)
    labels = {name: getattr(example, name) for name in ("day", "spread", "none")}
    tiles = []
    for top in sorted({*range(0, rows - size, core), rows - size}):
        for left in sorted({*range(0, cols - size, core), cols - size}):
            window = (..., slice(top, top + size), slice(left, left + size))
            tile_labels = {
                name: values.reshape(*labelled, *values.shape[1:])[
                    top : top + core, left : left + core
                ].reshape(core * core, *values.shape[1:])
                for name, values in labels.items()
            }
            small = replace(
                example, optical=example.optical[window], radar=example.radar[window], **tile_labels
            )
            if small.none.any() or np.isfinite(small.day).any():
                tiles.append(small)
    return tiles
