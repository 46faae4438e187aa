"""From an observation cube to season maps, tile by tile, on one computer or a Dask cluster."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import grid
from deepcrop.cube import contract
from deepcrop.cube.chunks import checksums_of, state_of
from deepcrop.cube.contract import is_simulated
from deepcrop.cube.packing import plain
from deepcrop.errors import DeepCropError
from deepcrop.mapping.dask_cluster import ClusterOptions, cluster, make_tiles_on
from deepcrop.mapping.inputs import InputCube, Plan, content_of
from deepcrop.mapping.options import MapOptions, TileJob, resolve_options, with_until
from deepcrop.mapping.reuse import STATE, untouched_tiles
from deepcrop.mapping.selection import PixelSelection
from deepcrop.mapping.tiles import TRIES, make_tiles, plans_of
from deepcrop.mapping.work_store import LAYOUT, MANIFEST, WORK_STORE, WorkStore
from deepcrop.products import write as product_writer
from deepcrop.products.layers import Content, describe, layer_groups
from deepcrop.products.write import MapInfo
from deepcrop.stages import check_year
from deepcrop.storage.files import check_disk, fingerprint
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import JOURNAL, Staging, changed_settings, part_path, staging

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from odc.geo.geobox import GeoBox


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
    index: str | None = None,
    smoother: str | None = None,
    *,
    method: str = "curve",
    fractions: Sequence[float] | None = None,
    season_rule: Mapping[str, float] | None = None,
    seasons: int | None = None,
    measures: bool | None = None,
    intervals: bool | None = None,
    weights: str | Path | None = None,
    radar: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    definition: str | None = None,
    mask: str | Path | None = None,
    parcels_path: str | Path | None = None,
    layer: str | None = None,
    fields: bool = False,
    address: str | None = None,
    workers: int | None = None,
    pictures: bool = True,
    year_start: str | None = None,
    until: str | datetime.date | None = None,
) -> MapResult:
    """Map the season dates of a target year.

    Writes Cloud-Optimized GeoTIFFs, styles, pictures, STAC and a summary
    (:mod:`deepcrop.products.write`), and a manifest with a line for each tile. Memory is set by a
    tile of 256 x 256 pixels and the number of scenes. An interrupted run
    resumes where it stopped; ``out`` appears when all is written.

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
    index : str, optional
        Greenness of the curve, one of `deepcrop.indices.INDICES`: ``"ndvi"`` (default), ``"gcc"``
        (the paper's GCC_s), ``"evi"`` or ``"evi2"``.
    smoother : str, optional
        One of :func:`deepcrop.phenology.season_dates`; ``"savgol"`` is the paper's. The default is
        ``"whittaker"``, as everywhere on satellite series.
    fractions : sequence of float, optional
        Curve: shares of the amplitude to date, rising, in whole percent; by default (0.2, 0.5).
        Layers are named after them: ``sos15`` …
    season_rule : mapping of str to float, optional
        Curve: settings of `deepcrop.phenology.SeasonRule` other than the usual ones, for example
        ``{"min_amplitude": 0.1, "prominence": 0.2}``.
    seasons : int, optional
        Curve: number of seasons of the year that are kept, by default 2.
    measures : bool, optional
        Curve: whether to write base, amplitude, integrals and rates of each season.
    intervals : bool, optional
        Curve: whether to compute and write the 90 % interval of each date, by default True.
    method : str
        ``"curve"`` (with ``index`` and ``smoother``), ``"deepcrop"``, the network (with
        ``weights``, ``radar``, ``device``, ``precision`` and ``definition``), or ``"both"``, with
        their difference.
    weights : path, optional
        File of weights; by default those that come with the package.
    radar : bool, optional
        Whether the network reads the radar. By default it does, unless the radiometry of the radar
        is not that of the weights: the map is then made without, with a warning.
    device : str, optional
        Device that the network runs on: ``"cpu"`` (default) or ``"cuda"``.
    precision : str, optional
        Number format of the network: ``"float32"`` (default); on a GPU also ``"bfloat16"`` or
        ``"float16"``.
    definition : str, optional
        What a date of the network means: ``"camera"`` (default), greenness as a near-ground camera
        sees it, or ``"ndvi"``, the NDVI curve of a clear sky, to compare with the curve and with
        other products.
    mask : path, optional
        Raster; only pixels where it has data that is not 0 are mapped.
    parcels_path : path, optional
        Polygons; only pixels within are mapped, and dates are given for each (``fields.csv``,
        ``fields.parquet``).
    layer : str, optional
        Layer of the file of parcels; needed if several of its layers hold polygons.
    fields : bool
        Give dates for each field of the cube's ``field_id``.
    address : str, optional
        Scheduler of a Dask cluster to map on.
    workers : int, optional
        Processes of a Dask cluster to start on this computer.
    pictures : bool
        Whether to draw a picture of each layer of dates and counts.
    year_start : str, optional
        Month and day on which the target year starts, of the curve: ``"07-01"`` keeps the summer
        crops of the southern hemisphere whole, and 2018 is then 1 July 2017 to 30 June 2018
        (`deepcrop.stages.TargetYear`). ``"auto"``: that south of the equator, 1 January north of
        it. By default 1 January, with a warning in the south.
    until : str or date, optional
        Last day of which observations are read, ``"2018-06-15"``: a map in season, in which each
        date has a layer of status: observed, forecast or not yet known
        (`deepcrop.mapping.status.status_of`). Where the scenes end a month or more before the
        target year does, it is the day of the last one, with a warning.

    Returns
    -------
    MapResult

    Raises
    ------
    CubeError
        If the cube cannot be read, has no images that the method reads, or none near the year, or
        its radar is not what the network expects.
    DeepCropError
        If ``out`` exists and may not be replaced, an option is unknown or of the other method, the
        weights, mask or parcels cannot be read, or tiles failed (all others are kept).

    Examples
    --------
    >>> result = map_region("region.zarr", year=2018, out="maps", pictures=False)
    >>> (result.path / "sos50.tif").exists()
    True
    """
    options = resolve_options(
        method,
        index=index,
        smoother=smoother,
        fractions=fractions,
        season_rule=season_rule,
        seasons=seasons,
        measures=measures,
        intervals=intervals,
        year_start=year_start,
        weights=weights,
        radar=radar,
        device=device,
        precision=precision,
        definition=definition,
        mask=mask,
        parcels=parcels_path,
        layer=layer,
        fields=fields,
        until=until,
    )
    if not isinstance(cube_path, str | Path):
        raise DeepCropError(
            f"The cube is a {type(cube_path).__name__}; expected the path of one. "
            "deepcrop.map_seasons maps a cube that is open."
        )
    cluster_options = ClusterOptions(address, workers)
    return write_map(
        Path(cube_path), check_year(year), Path(out), options, cluster_options, overwrite, pictures
    )


def write_map(
    cube_path: Path,
    year: int,
    out: Path,
    options: MapOptions,
    cluster_options: ClusterOptions,
    overwrite: bool = False,
    pictures: bool = True,
    previous: Path | None = None,
) -> MapResult:
    """Map a cube as `map_region` does, from options that are resolved already.

    Tiles that no image touches which ``previous``, an earlier issue of the map, did not read are
    taken over from there.
    """
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    cube = InputCube.open(cube_path)
    job = TileJob.of(cube, year, with_until(options.methods, cube, year))
    plans = plans_of(job)
    selection = PixelSelection(cube, options)
    settings = {
        "map": job.cube,
        "made": fingerprint(cube_path),
        "method": options.name,
        "year": year,
        **_settings(plans),
        **selection.settings,
        **({} if pictures else {"pictures": False}),
    }
    _refuse_other_runtime(out, settings)
    with staging(out, settings, overwrite, scratch=(WORK_STORE,)) as stage:
        if stage.complete:
            return MapResult(out, json.loads((stage.path / "summary.json").read_text()))
        work = work_store(stage.path / WORK_STORE, plans, year, cube.box, selection.limited)
        _forget_odd_lines(stage, cube.box)
        work.forget_damaged(
            stage, {_item(core): core for core in _cores(cube.box)}, selection.tiles
        )
        _remove_half_written(stage.path)
        if LAYOUT not in stage.done:
            needed = disk_bytes(work, *selection.count())
            check_disk(stage.path, needed, "map less of the region (--mask, --parcels)")
            work.create(selection.tiles)
            stage.finish(LAYOUT, work.layout)
        missing = [core for core in _cores(cube.box) if _item(core) not in stage.done]
        if previous is not None and missing:
            for core, line in untouched_tiles(
                previous, cube, cube_path, year, plans, settings, missing, work
            ):
                stage.finish(_item(core), line)
        _make_tiles(stage, job, work, cube.box, cluster_options)
        lines = [stage.done[_item(core)] for core in _cores(cube.box)]
        maps, selected = work.open(cube.box)
        info = _info(cube, year, plans, lines, selection.settings)
        crops = _crop_type(cube.data)
        summary = product_writer.write_products(maps, stage.path, info, crops, selected, pictures)
        selection.write_fields(selected, stage.path, maps, info, crops)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (stage.path / MANIFEST).write_text(text)
    return MapResult(out, summary)


def _refuse_other_runtime(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep a half-made map of the same command from being discarded for its runtime.

    Nobody chose that (`deepcrop.network.runtime`), unlike other settings.
    """
    changed = changed_settings(out, settings)
    if changed.keys() == {"runtime"}:
        raise DeepCropError(
            f"{part_path(out)} was begun by the {changed['runtime']} network, and this process "
            f"computes by {settings['runtime']}; a map is made by one of them. To keep its tiles, "
            "give the same command where and as it was begun (a warning may say what has changed "
            "here); to begin anew, remove that folder."
        )


def work_store(
    folder: Path, plans: dict[str, Plan], year: int, box: GeoBox, limited: bool
) -> WorkStore:
    """Describe the work store of a map in a folder."""
    content = content_of(plans)
    described = {group: describe(group, year, content) for group in layer_groups(plans)}
    return WorkStore.of(folder, described, (box.shape[0], box.shape[1]), contract.CHUNK, limited)


def disk_bytes(work: WorkStore, selected: int, tiles: int) -> int:
    """Estimate the bytes of disk of a map at most: of its work store and of its products.

    ``selected`` is the number of pixels to map, ``tiles`` that of the tiles in which they lie.
    """
    kinds = [np.dtype(kind) for _, kind in work.layers.arrays]
    products = product_writer.disk_bytes(kinds, work.layers.shape, selected)
    return work.disk_bytes(tiles) + products


def _remove_half_written(folder: Path) -> None:
    """Remove the files of a map that an interrupted run began to write, or another version."""
    for path in folder.iterdir():
        if path.name not in (JOURNAL, WORK_STORE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _cores(box: GeoBox) -> list[tuple[slice, slice]]:
    """Rows and columns of each tile of a map."""
    return [tile.core for tile in grid.tiles((box.shape[0], box.shape[1]), contract.CHUNK)]


def _settings(plans: dict[str, Plan]) -> dict[str, Any]:
    """Collect what the methods' results depend on, in JSON types."""
    return {key: value for plan in plans.values() for key, value in plan.settings.items()}


def _make_tiles(
    stage: Staging, job: TileJob, work: WorkStore, box: GeoBox, cluster_options: ClusterOptions
) -> None:
    """Make the missing tiles; when all others are done, name those that failed."""
    cores = _cores(box)
    missing = [core for core in cores if _item(core) not in stage.done]
    if not missing:
        return
    with ExitStack() as opened:
        bar = opened.enter_context(progress_bar())
        task = bar.add_task("mapping tiles", total=len(cores), completed=len(cores) - len(missing))

        def done(line: dict[str, Any]) -> None:
            stage.finish(_item((slice(*line["rows"]), slice(*line["cols"]))), line)
            bar.advance(task)

        if cluster_options.used:
            client = opened.enter_context(cluster(cluster_options))
            failures = make_tiles_on(client, job, work, missing, done)
        else:
            failures = make_tiles(job, work, missing, done)
    if failures:
        raise DeepCropError(
            f"{len(failures)} of {len(cores)} tiles failed {TRIES} times each:\n"
            + "\n".join(f"  {failure}" for failure in failures)
            + f"\nAll others are kept in {stage.path}: mend the cause, and the same command makes "
            "only what is missing."
        )


def _forget_odd_lines(stage: Staging, box: GeoBox) -> None:
    """Take tiles back whose line in the journal lacks something, as of an older version."""
    odd = set()
    for core in _cores(box):
        line = stage.done.get(_item(core), {})
        place = {"rows": [core[0].start, core[0].stop], "cols": [core[1].start, core[1].stop]}
        whole = isinstance(line, dict) and {"pixels", "left_out", "valid"} <= set(line)
        if not whole or line != line | place:
            odd.add(_item(core))
    if odd & set(stage.done):
        stage.forget(odd)


def _item(core: tuple[slice, slice]) -> str:
    return f"tile {core[0].start} {core[1].start}"


def _crop_type(cube: xr.DataTree) -> xr.DataArray | None:
    if "landcover" not in cube.children:
        return None
    return cube["landcover"].to_dataset()["crop_type"]


def _info(
    cube: InputCube,
    year: int,
    plans: dict[str, Plan],
    lines: list[dict[str, Any]],
    selection: dict[str, Any],
) -> MapInfo:
    """Collect what the products say about the map, from the plans and the manifest's lines."""
    path = Path(cube.path)
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
        name: plain(cube.data[name].attrs)
        for name in (*read, "landcover")
        if name in cube.data.children
    }
    return MapInfo(
        year=year,
        simulated=is_simulated(cube.data),
        title=str(cube.data.attrs.get("title", path.stem)),
        start=times.min(),
        end=times.max(),
        scenes=scenes,
        seen=seen,
        content=content_of(plans),
        source={
            "cube": path.name,
            "checksums": checksums_of(path),
            **_state(path, content_of(plans)),
            **attrs,
            **_settings(plans),
            **selection,
        },
        left_out=left_out,
    )


def _state(path: Path, content: Content) -> dict[str, str]:
    """Name the state of the cube of a map in season, so that a later issue can go on from it."""
    if content.until is None or not path.is_dir() or checksums_of(path) == "none":
        return {}
    return {STATE: state_of(path)}
