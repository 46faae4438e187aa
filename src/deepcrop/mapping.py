"""From an observation cube to season maps, tile by tile."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deepcrop import grid, observations, products, stages
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.phenology import PRESETS, SeasonRule, Seasons, season_dates
from deepcrop.phenology.smoothing import Smoother
from deepcrop.staging import progress_bar, staging

_WORK = "work.zarr"
_COUNTS: dict[str, np.dtype] = {"n_cycles": np.dtype(np.uint8), "n_obs": np.dtype(np.uint16)}


@dataclass(frozen=True)
class MapResult:
    """Where a map lies, and its ``summary.json``."""

    path: Path
    summary: dict[str, Any]


def map_region(
    cube_path: str | Path,
    year: int,
    out: str | Path,
    overwrite: bool = False,
    index: str = "ndvi",
    smoother: str = "whittaker",
) -> MapResult:
    """Map the season dates of a target year by the curve method.

    Writes one Cloud-Optimized GeoTIFF per stage and season, pictures, a STAC item and a summary
    (:mod:`deepcrop.products`). Memory is set by a tile of 256 x 256 pixels and the number of
    scenes. An interrupted run goes on where it stopped; ``out`` appears when all is written.

    Parameters
    ----------
    cube_path : str or Path
        Observation cube, Zarr or NetCDF.
    year : int
        Target year.
    out : str or Path
        Directory to make.
    overwrite : bool
        Replace an existing ``out``.
    index : str
        Greenness to read, one of `INDICES`: ``"ndvi"`` or ``"gcc"`` (the paper's GCC_s).
    smoother : str
        One of :func:`deepcrop.phenology.season_dates`; ``"savgol"`` is the paper's.

    Raises
    ------
    CubeError
        If the cube cannot be read, has no optical group, or has no observation near the year.
    DeepCropError
        If ``out`` exists and may not be replaced, or the index or smoother is unknown.
    """
    cube_path, out = Path(cube_path), Path(out)
    if index not in INDICES:
        raise DeepCropError(f"Index {index!r} is unknown; expected {' or '.join(INDICES)}.")
    smoothers, rule = PRESETS["sentinel2"]
    if smoother not in smoothers:
        raise DeepCropError(f"Smoother {smoother!r} is unknown; expected {' or '.join(smoothers)}.")
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    cube = observations.open_cube(cube_path)
    if "optical" not in cube.children:
        raise CubeError(f"{cube_path} has no 'optical' group; the curve method needs reflectance.")
    bands, _, min_amplitude = INDICES[index]
    optical = cube["optical"].to_dataset()[list(bands)]
    days = stages.to_days(optical["time"].values, year)
    used = (days >= stages.DAY_MIN - stages.REACH) & (days <= stages.DAY_MAX + stages.REACH)
    if not used.any():
        first, last = optical["time"].values[[0, -1]].astype("datetime64[D]")
        raise CubeError(
            f"{cube_path} has no optical observation around {year}: its scenes run from {first} "
            f"to {last}. Choose another --year."
        )
    how, rule = smoothers[smoother], replace(rule, min_amplitude=min_amplitude)
    settings = {
        "map": str(cube_path.resolve()),
        "made": _fingerprint(cube_path),
        "method": "curve",
        "index": index,
        "year": year,
        "smoother": {"name": smoother, **asdict(how)},
        "rule": asdict(rule),
    }
    box = observations.grid_of(cube)
    shape = (box.shape[0], box.shape[1])
    latitude = grid.centre_latitude(box)
    with staging(out, settings, overwrite) as stage:
        work = stage.path / _WORK
        if "layout" not in stage.done:
            shutil.rmtree(work, ignore_errors=True)
            observations.create_store(work, {})
            template = _template(shape, days.size)
            observations.create_group(work, "layers", grid.assign_grid(template, box))
            stage.finish("layout")
        tiles = list(grid.tiles(shape, observations.CHUNK))
        selected = optical.isel(time=np.flatnonzero(used))
        with progress_bar() as bar:
            for tile in bar.track(tiles, description="mapping tiles"):
                if f"tile {tile.index}" in stage.done:
                    continue
                rows, cols = tile.core
                block = selected.isel(y=rows, x=cols)
                layers, scenes = map_tile(block, index, days[used], year, latitude, how, rule)
                layers["scene_pixels"] = np.zeros(days.size, np.int64)
                layers["scene_pixels"][used] = scenes
                _write_tile(work, layers, tile)
                stage.finish(f"tile {tile.index}")
        with xr.open_zarr(
            work, group="layers", consolidated=False, chunks=None, decode_coords="all"
        ) as done:
            seen = done["scene_pixels"].sum(("tile_y", "tile_x")).values[used]
            info = _info(cube, cube_path, year, used, int((seen > 0).sum()), settings)
            summary = products.write_products(
                done.drop_vars("scene_pixels"), stage.path, info, _crop_type(cube)
            )
        shutil.rmtree(work)
    return MapResult(out, summary)


def map_tile(
    optical: xr.Dataset,
    index: str,
    days: NDArray,
    year: int,
    latitude: float,
    smoother: Smoother,
    rule: SeasonRule,
) -> tuple[dict[str, NDArray], NDArray[np.int64]]:
    """Layers of one tile by the curve method.

    Parameters
    ----------
    optical : Dataset
        The bands of the index, dims (time, y, x).
    index : str
        One of `INDICES`.
    days : ndarray (time,)
        Day numbers of the scenes.
    year : int
        Target year.
    latitude : float
        Degrees; decides which season is the main one.
    smoother : SavGol or other settings
        How to smooth.
    rule : SeasonRule
        What counts as a season.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write_products` expects.
    scenes : ndarray of int (time,)
        Valid pixels of each scene.
    """
    bands, formula, _ = INDICES[index]
    greenness = formula(*(optical[band].values for band in bands))
    times, rows, cols = greenness.shape
    series = np.ascontiguousarray(greenness.reshape(times, -1).T)
    seasons = season_dates(series, days, smoother=smoother, rule=rule)
    layers = slot_layers(seasons, year, latitude)
    valid = np.isfinite(greenness)
    layers["n_obs"] = valid.sum(axis=0).reshape(-1).astype(np.uint16)
    shaped = {name: values.reshape(rows, cols) for name, values in layers.items()}
    return shaped, valid.sum(axis=(1, 2))


def slot_layers(seasons: Seasons, year: int, latitude: float) -> dict[str, NDArray]:
    """Put the seasons of a target year into the two slots: Int16 day numbers per pixel."""
    peaks = seasons.dates[:, :, seasons.stages.index("peak")]
    index, count = stages.select_slots(peaks, seasons.amplitude, year, latitude)
    chosen = np.take_along_axis(seasons.dates, np.maximum(index, 0)[:, :, None], axis=1)
    chosen = np.where(index[:, :, None] < 0, np.nan, chosen)
    layers: dict[str, NDArray] = {}
    for slot in range(stages.SLOTS):
        for name in stages.STAGES:
            days = chosen[:, slot, seasons.stages.index(name)]
            layers[products.layer_name(name, slot + 1)] = stages.encode(days)
    layers["n_cycles"] = count
    return layers


def _template(shape: tuple[int, int], scenes: int) -> xr.Dataset:
    """Form of the work store; values are not read."""
    data: dict[str, Any] = {
        name: (("y", "x"), np.broadcast_to(np.int16(0), shape)) for name in products.DAY_LAYERS
    }
    for name, dtype in _COUNTS.items():
        data[name] = (("y", "x"), np.broadcast_to(dtype.type(0), shape))
    chunk = observations.CHUNK
    grid_of_tiles = (-(-shape[0] // chunk), -(-shape[1] // chunk))
    # Valid pixels of each scene, per tile: says which scenes were of any use.
    data["scene_pixels"] = (
        ("scene", "tile_y", "tile_x"),
        np.broadcast_to(np.int64(0), (scenes, *grid_of_tiles)),
    )
    return xr.Dataset(data)


def _write_tile(work: Path, layers: dict[str, NDArray], tile: grid.Tile) -> None:
    scene_pixels = layers.pop("scene_pixels")
    observations.write_block(work, "layers", layers, *tile.core)
    i, j = tile.index
    observations.write_block(
        work,
        "layers",
        {"scene_pixels": scene_pixels[:, None, None]},
        slice(i, i + 1),
        slice(j, j + 1),
    )


def _fingerprint(path: Path) -> str:
    """Tell one writing of a cube from the next, so that two never share a half-made map."""
    stat = (path / "zarr.json" if path.is_dir() else path).stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


def _crop_type(cube: xr.DataTree) -> xr.DataArray | None:
    if "landcover" not in cube.children:
        return None
    return cube["landcover"].to_dataset()["crop_type"]


def _info(
    cube: xr.DataTree,
    path: Path,
    year: int,
    used: NDArray,
    usable: int,
    settings: dict[str, Any],
) -> products.MapInfo:
    times = cube["optical"].to_dataset()["time"].values[used]
    scenes = {"optical": int(used.sum()), "optical_usable": usable}
    attrs = {
        name: observations.plain(cube[name].attrs)
        for name in ("optical", "landcover")
        if name in cube.children
    }
    return products.MapInfo(
        year=year,
        method="curve",
        simulated=observations.is_simulated(cube),
        title=str(cube.attrs.get("title", path.stem)),
        start=times[0],
        end=times[-1],
        scenes=scenes,
        source={
            "cube": path.name,
            **attrs,
            "index": settings["index"],
            "smoother": settings["smoother"],
            "rule": settings["rule"],
        },
    )
