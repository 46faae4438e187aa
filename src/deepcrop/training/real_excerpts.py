"""Real satellite series as examples, labelled by the NDVI curve through all clear scenes.

Three excerpts (see `SOURCES`): a square of Flanders, parcels of France, rice in An Giang. What a
network learns or is tested on are the curve's dates; no camera stood there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pyproj import Transformer

from deepcrop import stages
from deepcrop.cube.contract import CLEAR_CLASSES
from deepcrop.errors import DeepCropError
from deepcrop.grid import PATCH_CENTRE, PATCH_SIZE, inner
from deepcrop.sources.sentinel1 import sigma0
from deepcrop.training.curve_labels import as_patch, unlabelled, with_curve_labels
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
}
"""Each excerpt by name, with its licence."""

TEACHING = ("flanders", "france")
"""Those whose licence allows weights trained on them to be shipped."""

_FLANDERS_CROPS = {
    1200: "maize",
    2130: "cabbages",
    5100: "potatoes",
    7900: "other leguminous crops",
    9120: "grass",
}
_FRANCE_CROPS = {1101010011: "winter wheat", 1101060000: "maize", 1106000031: "rapeseed"}
_INCIDENCE = 38.5  # degrees, in the middle of a swath of 30.5 to 46
_NOTHING = 65535  # "no data" of the French parcels


@dataclass(frozen=True, eq=False)
class Archive:
    """Real series of one place and year.

    Attributes
    ----------
    name, source : str
        Key and value of `SOURCES`.
    year : int
        Target year.
    latitude : float
        Degrees, of its middle.
    examples : tuple of Example
        One tile (Flanders), or patches of one pixel each; all of one size.
    groups : ndarray of str (pixels,)
        Crop of each labelled pixel of all examples, empty where none is known.
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
        return self.examples[0].optical.shape[-1] > PATCH_SIZE


# Places -----------------------------------------------------------------------------------------


def read(name: str, data: Path) -> Archive:
    """Read one of `SOURCES` from the folder of real excerpts, labelled by the curve.

    Raises
    ------
    DeepCropError
        If the name is unknown, or a file is missing.
    """
    readers = {"flanders": _flanders, "france": _france, "angiang": _angiang}
    if name not in readers:
        raise DeepCropError(f"Place {name!r} is unknown; expected {', '.join(readers)}.")
    archive = readers[name](data)
    seen = [_seen_only(example) for example in archive.examples]
    labelled = with_curve_labels(seen, archive.year, archive.latitude)
    return replace(archive, examples=labelled)


def _flanders(data: Path) -> Archive:
    """One tile of 64 x 64 pixels of 10 m; images of 20 m repeated, not interpolated."""
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
        orbits_of(times),
    )
    groups = crop.reshape(-1).astype(np.str_)
    return Archive("flanders", SOURCES["flanders"], year, 50.8, (example,), groups, inside)


def _france(data: Path) -> Archive:
    """Ten-day means of parcels as patches; a mean counts for the middle of its ten days."""
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
    number[number == _NOTHING] = np.nan
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
    return Archive("france", SOURCES["france"], year, latitude, tuple(examples), np.array(groups))


def _angiang(data: Path) -> Archive:
    """Sites of about 11 x 11 pixels, in the middle of patches that are empty around them.

    The files hold gamma0 and no angles: sigma0 is approximate, as if the swath were seen at its
    middle; true to 0.6 dB, always the same for one orbit. The radar's pixel nearest to the optical
    one is taken; their grids differ by a few metres.
    """
    year, folder = 2022, data / "sentinel" / "angiang_2022"
    sites = np.genfromtxt(
        _only(folder, "sites.csv"), delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32648", always_xy=True)
    offset_from = np.datetime64("2022-01-25")
    examples = []
    for site in sites["site"]:
        eye, sar = (_open(folder / part / f"{site}.nc") for part in ("s2", "s1"))
        times = eye["time"].values
        number = np.stack([eye[b].values for b in ("blue", "green", "red", "nir")], 1)
        clear = np.isin(eye["SCL"].values, CLEAR_CLASSES) & (number > 0).all(1)
        offset = np.where(times >= offset_from, np.float32(1000), np.float32(0))
        optical = (number.astype(np.float32) - offset[:, None, None, None]) * np.float32(1e-4)
        optical[~clear[:, None].repeat(4, 1)] = np.nan
        # The UTM grid is turned by less than 0.1 degrees against the geographic one here.
        x, _ = to_utm.transform(
            eye["longitude"].values, np.full(eye.sizes["longitude"], float(eye["latitude"].mean()))
        )
        _, y = to_utm.transform(
            np.full(eye.sizes["latitude"], float(eye["longitude"].mean())), eye["latitude"].values
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
                orbits_of(sar_times),
            )
        )
    return Archive(
        "angiang", SOURCES["angiang"], year, float(np.mean(sites["lat"])), tuple(examples),
        np.full(len(examples), "rice or other"),
    )  # fmt: skip


def _seen_only(example: Example) -> Example:
    """Leave out optical dates on which no labelled pixel is seen; what is left are scenes."""
    seen = np.isfinite(inner(example.optical)).all(1).any((1, 2))
    return replace(example, optical=example.optical[seen], optical_days=example.optical_days[seen])


def orbits_of(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Tell the relative orbits of passes over one place apart by the time of day; from 0.

    A satellite passes a place at the same minute on each of its orbits; two orbits lie at least
    five minutes apart.
    """
    minute = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "m")
    order = np.argsort(minute)
    number = np.cumsum(np.diff(minute[order], prepend=minute[order[0]]) > 3)
    orbits = np.empty(times.size, np.int64)
    orbits[order] = number
    return orbits


def _twice(images: NDArray) -> NDArray:
    """Repeat pixels of 20 m to 10 m."""
    return images.repeat(2, -2).repeat(2, -1)


def _nearest(centres: NDArray, wanted: NDArray) -> NDArray[np.intp]:
    return np.asarray(np.abs(centres[:, None] - wanted).argmin(0))


def _centred(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put small images into the middle of patches of NaN: their middle at the patch's cell."""
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
    """Numbers as they are stored: integers here carry a fill value that would break them."""
    if not path.is_file():
        raise DeepCropError(f"{path} does not exist; give the folder of the real excerpts.")
    with xr.open_dataset(path, mask_and_scale=False) as file:
        return file.load()


# Teaching ---------------------------------------------------------------------------------------


def fine_tune_examples(data: Path, places: Iterable[str] = TEACHING) -> list[Example]:
    """Labelled examples for training weights that may be shipped.

    Flanders is cut into overlapping tiles of 30 x 30 pixels, whose inner 13 x 13 are labelled;
    France gives patches: two kinds, to be asked for one by one where batches must be of one size.
    Pixels without a crop are left unknown. Only the curve's dates are labelled.

    Parameters
    ----------
    data : Path
        Folder of the real excerpts.
    places : iterable of str
        Some of `TEACHING`.

    Raises
    ------
    DeepCropError
        If a place states no licence that allows it.
    """
    examples: list[Example] = []
    for place in places:
        if place not in TEACHING:
            raise DeepCropError(
                f"{place!r} may not teach weights that are shipped; expected some of "
                f"{', '.join(TEACHING)}."
            )
        archive = read(place, data)
        if archive.dense:
            crop = np.asarray(archive.groups != "")
            examples += _tiles(_known_only(archive.examples[0], crop))
        else:
            examples += archive.examples
    return examples


def _known_only(example: Example, crop: NDArray[np.bool_]) -> Example:
    keep = crop[:, None, None]
    return replace(
        example,
        day=np.where(keep, example.day, np.float32(np.nan)),
        spread=np.where(keep, example.spread, np.float32(np.nan)),
        none=example.none & keep,
    )


def _tiles(example: Example, size: int = 30) -> list[Example]:
    """Cut a tile into smaller ones; the last row and column overlap so that none is left out."""
    rows, cols = example.optical.shape[-2:]
    core = size - PATCH_SIZE + 1
    whole = (rows - PATCH_SIZE + 1, cols - PATCH_SIZE + 1)
    labels = {name: getattr(example, name) for name in ("day", "spread", "none")}
    tiles = []
    for top in sorted({*range(0, rows - size, core), rows - size}):
        for left in sorted({*range(0, cols - size, core), cols - size}):
            window = (..., slice(top, top + size), slice(left, left + size))
            part = {
                name: values.reshape(*whole, *values.shape[1:])[
                    top : top + core, left : left + core
                ].reshape(core * core, *values.shape[1:])
                for name, values in labels.items()
            }
            images = replace(
                example, optical=example.optical[window], radar=example.radar[window], **part
            )
            if images.none.any() or np.isfinite(images.day).any():
                tiles.append(images)
    return tiles
