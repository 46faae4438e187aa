"""From an observation cube to season maps, tile by tile, on one computer or a Dask cluster."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube.contract import grid_of, is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.cube.packing import plain
from deepcrop.errors import DeepCropError
from deepcrop.mapping.dask_cluster import cluster, make_tiles_on
from deepcrop.mapping.inputs import Plan
from deepcrop.mapping.options import Recipe, check_options, make_recipe
from deepcrop.mapping.selection import Land
from deepcrop.mapping.tiles import TRIES, make_tiles, plans_of
from deepcrop.mapping.work_store import _WORK, MANIFEST, WANTED, _groups, _lay_out, _manifest, _open
from deepcrop.products import write as product_writer
from deepcrop.products.write import MapInfo
from deepcrop.storage.files import _fingerprint
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging, leftover, staging


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
    device: str = "cpu",
    precision: str = "float32",
    mask: str | Path | None = None,
    parcels_path: str | Path | None = None,
    fields: bool = False,
    resume: bool = False,
    address: str | None = None,
    workers: int | None = None,
) -> MapResult:
    """Map the season dates of a target year.

    Writes Cloud-Optimized GeoTIFFs, styles, pictures, STAC and a summary
    (:mod:`deepcrop.products.write`), and a manifest with a line for each tile. Memory is set by a tile of
    256 x 256 pixels and the number of scenes. An interrupted run goes on where it stopped; ``out``
    appears when all is written.

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
        ``"curve"`` (with ``index`` and ``smoother``), ``"deepcrop"``, the network (with
        ``weights``, ``radar``, ``device`` and ``precision``), or ``"both"``, with their difference.
    weights : path, optional
        File of weights; by default those that come with the package.
    radar : bool
        Whether the network gets the radar.
    device : str
        Where the network runs: ``"cpu"`` or ``"cuda"``.
    precision : str
        Numbers of the network: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    mask : path, optional
        Raster; only pixels where it has data that is not 0 are mapped.
    parcels_path : path, optional
        Polygons; only pixels within are mapped, and dates are given for each (``fields.csv``,
        ``fields.parquet``).
    fields : bool
        Give dates for each field of the cube's ``field_id``.
    resume : bool
        Insist on going on with an interrupted run; an error if there is none.
    address : str, optional
        Scheduler of a Dask cluster to map on.
    workers : int, optional
        Processes of a Dask cluster to start on this computer.

    Raises
    ------
    CubeError
        If the cube cannot be read, has no images that the method reads, or none near the year, or
        its radar is not what the network expects.
    DeepCropError
        If ``out`` exists and may not be replaced, an option is unknown or of the other method, the
        weights, mask or parcels cannot be read, or tiles failed (all others are kept).
    """
    cube_path, out = Path(cube_path), Path(out)
    check_options(method, index, smoother, weights, radar, device, precision)
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    cube = open_cube(cube_path)
    recipe = make_recipe(
        cube_path, year, method, index, smoother, weights, radar, device, precision
    )
    plans = plans_of(recipe)
    box = grid_of(cube)
    land = Land(cube, cube_path, mask, parcels_path, fields)
    settings = {
        "map": recipe.cube,
        "made": _fingerprint(cube_path),
        "method": method,
        "year": year,
        **{key: value for plan in plans.values() for key, value in plan.settings.items()},
        **land.settings,
    }
    if resume and not leftover(out, settings):
        raise DeepCropError(
            f"There is no interrupted run of these settings to resume for {out}; leave out "
            "--resume to begin."
        )
    with staging(out, settings, overwrite) as stage:
        work = stage.path / _WORK
        if "layout" not in stage.done:
            _lay_out(work, plans, year, box)
            land.lay_out(work)
            stage.finish("layout")
        _make(stage, recipe, work, box, address, workers)
        lines = _manifest(stage.path)
        with ExitStack() as opened:
            maps = {group: opened.enter_context(_open(work, group)) for group in _groups(plans)}
            info = _info(cube, cube_path, year, plans, lines, land.settings)
            crops = _crop_type(cube)
            wanted = None
            if (work / WANTED).exists():
                wanted = opened.enter_context(_open(work, WANTED))[WANTED]
            summary = product_writer.write_products(maps, stage.path, info, crops, wanted)
            land.write(work, stage.path, maps, info, crops)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (stage.path / MANIFEST).write_text(text)
        shutil.rmtree(work)
    return MapResult(out, summary)


def _make(
    stage: Staging,
    recipe: Recipe,
    work: Path,
    box: GeoBox,
    address: str | None,
    workers: int | None,
) -> None:
    """Make the tiles that are not there yet; those that fail are named when all others are done."""
    cores = [tile.core for tile in grid.tiles((box.shape[0], box.shape[1]), contract.CHUNK)]
    missing = [core for core in cores if _item(core) not in stage.done]
    if not missing:
        return
    with ExitStack() as opened:
        bar = opened.enter_context(progress_bar())
        task = bar.add_task("mapping tiles", total=len(cores), completed=len(cores) - len(missing))

        def done(line: dict[str, Any]) -> None:
            with (stage.path / MANIFEST).open("a") as manifest:
                manifest.write("\n" + json.dumps(line))  # newline first: the last may be cut
            stage.finish(_item((slice(*line["rows"]), slice(*line["cols"]))))
            bar.advance(task)

        store = str(work.resolve())
        if address is not None or workers is not None:
            client = opened.enter_context(cluster(address, workers))
            failures = make_tiles_on(client, recipe, store, missing, done)
        else:
            failures = make_tiles(recipe, store, missing, done)
    if failures:
        raise DeepCropError(
            f"{len(failures)} of {len(cores)} tiles failed {TRIES} times each:\n"
            + "\n".join(f"  {failure}" for failure in failures)
            + f"\nAll others are kept in {stage.path}: mend the cause, and the same command makes "
            "only what is missing."
        )


def _item(core: tuple[slice, slice]) -> str:
    return f"tile {core[0].start} {core[1].start}"


def _crop_type(cube: xr.DataTree) -> xr.DataArray | None:
    if "landcover" not in cube.children:
        return None
    return cube["landcover"].to_dataset()["crop_type"]


def _info(
    cube: xr.DataTree,
    path: Path,
    year: int,
    plans: dict[str, Plan],
    lines: list[dict[str, Any]],
    land: dict[str, Any],
) -> MapInfo:
    read = {
        name: (f"{method} {name}", images)
        for method, plan in plans.items()
        for name, images in plan.images.items()
        if name not in plan.counted
    }
    times = np.concatenate([images.data["time"].values for _, images in read.values()])
    scenes: dict[str, int] = {}
    seen: dict[str, list[dict[str, Any]]] = {}
    left_out = sum(line["left_out"] for line in lines)
    size = sum(line["pixels"] for line in lines) - left_out
    for name, (key, images) in read.items():
        pixels = [line["valid"][key] for line in lines if line["valid"]]
        counts = np.sum(pixels, axis=0) if pixels else np.zeros(images.days.size)
        scenes |= {name: images.days.size, f"{name}_usable": int((counts > 0).sum())}
        seen[name] = [
            {"date": str(time)[:10], "share": round(float(count) / size, 4)}
            for time, count in zip(images.data["time"].values, counts, strict=True)
        ]
    attrs = {
        name: plain(cube[name].attrs) for name in (*read, "landcover") if name in cube.children
    }
    settings = {key: value for plan in plans.values() for key, value in plan.settings.items()}
    return MapInfo(
        year=year,
        simulated=is_simulated(cube),
        title=str(cube.attrs.get("title", path.stem)),
        start=times.min(),
        end=times.max(),
        scenes=scenes,
        seen=seen,
        source={"cube": path.name, **attrs, **settings, **land},
        left_out=left_out,
    )
