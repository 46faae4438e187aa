"""From an observation cube to season maps, tile by tile."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deepcrop import grid, layers, observations, products, stages
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.layers import layer_name
from deepcrop.map_network import plan_network
from deepcrop.phenology import PRESETS, SeasonRule, Seasons, season_dates
from deepcrop.phenology.smoothing import Smoother
from deepcrop.staging import progress_bar, staging
from deepcrop.tiling import Images, Layers, Plan, images_of, period

_WORK = "work.zarr"


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
    *,
    method: str = "curve",
    weights: str | Path | None = None,
    radar: bool = True,
) -> MapResult:
    """Map the season dates of a target year.

    Writes Cloud-Optimized GeoTIFFs, pictures, a STAC item and a summary (:mod:`deepcrop.products`).
    Memory is set by a tile of 256 x 256 pixels and the number of scenes. An interrupted run goes
    on where it stopped; ``out`` appears when all is written.

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
    method : str
        ``"curve"`` (with ``index`` and ``smoother``) or ``"deepcrop"``, the network (with
        ``weights`` and ``radar``).
    weights : path, optional
        File of weights; by default those that come with the package.
    radar : bool
        Whether the network gets the radar.

    Raises
    ------
    CubeError
        If the cube cannot be read, has no images that the method reads, or none near the year, or
        its radar is not what the network expects.
    DeepCropError
        If ``out`` exists and may not be replaced, an option is unknown or of the other method, or
        the weights cannot be read.
    """
    cube_path, out = Path(cube_path), Path(out)
    check_options(method, index, smoother, weights, radar)
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    cube = observations.open_cube(cube_path)
    if method == "curve":
        plan = plan_curve(cube, cube_path, year, index, smoother)
    else:
        plan = plan_network(cube, cube_path, year, weights, radar)
    settings = {
        "map": str(cube_path.resolve()),
        "made": _fingerprint(cube_path),
        "method": method,
        "year": year,
        **plan.settings,
    }
    box = observations.grid_of(cube)
    shape = (box.shape[0], box.shape[1])
    with staging(out, settings, overwrite) as stage:
        work = stage.path / _WORK
        if "layout" not in stage.done:
            shutil.rmtree(work, ignore_errors=True)
            observations.create_store(work, {})
            types = {layer.name: layer.dtype for layer in layers.describe(method, year)}
            scenes = {name: images.days.size for name, images in plan.images.items()}
            template = _template(shape, types, scenes)
            observations.create_group(work, "layers", grid.assign_grid(template, box))
            stage.finish("layout")
        tiles = list(grid.tiles(shape, observations.CHUNK, plan.halo))
        with progress_bar() as bar:
            for tile in bar.track(tiles, description="mapping tiles"):
                if f"tile {tile.index}" in stage.done:
                    continue
                found, valid = plan.run(plan.images, tile)
                _write_tile(work, found, dict(zip(plan.images, valid, strict=True)), tile)
                stage.finish(f"tile {tile.index}")
        with xr.open_zarr(
            work, group="layers", consolidated=False, chunks=None, decode_coords="all"
        ) as done:
            usable = {
                name: int((done[_pixels_of(name)].sum(("tile_y", "tile_x")).values > 0).sum())
                for name in plan.images
            }
            info = _info(cube, cube_path, year, method, plan, usable)
            mapped = done.drop_vars([_pixels_of(name) for name in plan.images])
            summary = products.write_products(mapped, stage.path, info, _crop_type(cube))
        shutil.rmtree(work)
    return MapResult(out, summary)


def check_options(
    method: str, index: str, smoother: str, weights: str | Path | None, radar: bool
) -> None:
    """Refuse options of `map_region` that are unknown or of the other method."""
    if method not in layers.METHODS:
        raise DeepCropError(
            f"Method {method!r} is unknown; expected {' or '.join(layers.METHODS)}."
        )
    if method == "curve" and (weights is not None or not radar):
        raise DeepCropError("Weights and --no-radar are of the network; add --method deepcrop.")
    if method == "deepcrop" and (index, smoother) != ("ndvi", "whittaker"):
        raise DeepCropError("Index and smoother are of the curve; add --method curve.")
    if method == "curve":
        _curve_settings(index, smoother)


def _curve_settings(index: str, smoother: str) -> tuple[Smoother, SeasonRule]:
    if index not in INDICES:
        raise DeepCropError(f"Index {index!r} is unknown; expected {' or '.join(INDICES)}.")
    smoothers, rule = PRESETS["sentinel2"]
    if smoother not in smoothers:
        raise DeepCropError(f"Smoother {smoother!r} is unknown; expected {' or '.join(smoothers)}.")
    return smoothers[smoother], replace(rule, min_amplitude=INDICES[index][2])


def plan_curve(cube: xr.DataTree, path: str | Path, year: int, index: str, smoother: str) -> Plan:
    """Prepare to map a cube by the curve method; parameters as of `map_region`.

    Raises
    ------
    CubeError
        If the cube (which lies at ``path``, for the message) has no optical images, or none near
        the year.
    """
    how, rule = _curve_settings(index, smoother)
    if "optical" not in cube.children:
        raise CubeError(f"{path} has no 'optical' group; the curve method needs reflectance.")
    images = images_of(cube, "optical", INDICES[index][0], year, stages.REACH)
    if not images.days.size:
        raise CubeError(
            f"{path} has no optical observation around {year}: {period(cube, ['optical'])}. "
            "Choose another --year."
        )
    latitude = grid.centre_latitude(observations.grid_of(cube))

    def run(images: dict[str, Images], tile: grid.Tile) -> tuple[Layers, list[NDArray[np.int64]]]:
        rows, cols = tile.core
        block = images["optical"].data.isel(y=rows, x=cols)
        days = images["optical"].days
        found, scenes = map_tile(block, index, days, year, latitude, how, rule)
        return found, [scenes]

    settings = {
        "index": index,
        "smoother": {"name": smoother, **asdict(how)},
        "rule": asdict(rule),
    }
    return Plan({"optical": images}, settings, (0, 0), run)


def map_tile(
    optical: xr.Dataset,
    index: str,
    days: NDArray,
    year: int,
    latitude: float,
    smoother: Smoother,
    rule: SeasonRule,
) -> tuple[Layers, NDArray[np.int64]]:
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
    found = slot_layers(seasons, year, latitude)
    valid = np.isfinite(greenness)
    found["n_obs"] = valid.sum(axis=0).reshape(-1).astype(np.uint16)
    shaped = {name: values.reshape(rows, cols) for name, values in found.items()}
    return shaped, valid.sum(axis=(1, 2))


def slot_layers(seasons: Seasons, year: int, latitude: float) -> Layers:
    """Put the seasons of a target year into the two slots: Int16 day numbers per pixel."""
    peaks = seasons.dates[:, :, seasons.stages.index("peak")]
    index, count = stages.select_slots(peaks, seasons.amplitude, year, latitude)
    chosen = np.take_along_axis(seasons.dates, np.maximum(index, 0)[:, :, None], axis=1)
    chosen = np.where(index[:, :, None] < 0, np.nan, chosen)
    found: Layers = {}
    for slot in range(stages.SLOTS):
        for name in stages.STAGES:
            days = chosen[:, slot, seasons.stages.index(name)]
            found[layer_name(name, slot + 1)] = stages.encode(days)
    found["n_cycles"] = count
    return found


def _pixels_of(group: str) -> str:
    """Variable that holds the valid pixels of each scene, per tile."""
    return f"{group}_scene_pixels"


def _template(
    shape: tuple[int, int], types: dict[str, np.dtype], scenes: dict[str, int]
) -> xr.Dataset:
    """Form of the work store; values are not read."""
    data: dict[str, Any] = {
        name: (("y", "x"), np.broadcast_to(dtype.type(0), shape)) for name, dtype in types.items()
    }
    chunk = observations.CHUNK
    grid_of_tiles = (-(-shape[0] // chunk), -(-shape[1] // chunk))
    # Valid pixels of each scene, per tile: says which scenes were of any use.
    for name, count in scenes.items():
        data[_pixels_of(name)] = (
            (f"{name}_scene", "tile_y", "tile_x"),
            np.broadcast_to(np.int64(0), (count, *grid_of_tiles)),
        )
    return xr.Dataset(data)


def _write_tile(
    work: Path, found: Layers, valid: dict[str, NDArray[np.int64]], tile: grid.Tile
) -> None:
    observations.write_block(work, "layers", found, *tile.core)
    pixels = {_pixels_of(name): count[:, None, None] for name, count in valid.items()}
    i, j = tile.index
    observations.write_block(work, "layers", pixels, slice(i, i + 1), slice(j, j + 1))


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
    method: str,
    plan: Plan,
    usable: dict[str, int],
) -> products.MapInfo:
    times = np.concatenate([images.data["time"].values for images in plan.images.values()])
    scenes: dict[str, int] = {}
    for name, images in plan.images.items():
        scenes |= {name: images.days.size, f"{name}_usable": usable[name]}
    attrs = {
        name: observations.plain(cube[name].attrs)
        for name in (*plan.images, "landcover")
        if name in cube.children
    }
    return products.MapInfo(
        year=year,
        method=method,
        simulated=observations.is_simulated(cube),
        title=str(cube.attrs.get("title", path.stem)),
        start=times.min(),
        end=times.max(),
        scenes=scenes,
        source={"cube": path.name, **attrs, **plan.settings},
    )
