"""Maps of several years in one run: a folder for each year, and a stack over the years."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.windows import Window

from deepcrop._version import __version__
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.inputs import InputCube
from deepcrop.mapping.masks import files_of
from deepcrop.mapping.network import NetworkMethod
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.region import write_map
from deepcrop.products import histograms
from deepcrop.products.cog import windows, write_cog
from deepcrop.products.layers import OBSERVED, Layer
from deepcrop.products.qgis import write_style
from deepcrop.products.qgis_project import write_stack_project
from deepcrop.products.results import Result, ResultLayer, open_result
from deepcrop.stages import NO_DAY, check_year, stage_title, to_dates, to_days
from deepcrop.storage.files import fingerprint, write_json
from deepcrop.storage.staging import JOURNAL, Staging, staging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from deepcrop.mapping.options import MapOptions
    from deepcrop.stages import TargetYear

STACK = "stack"
"""Folder of the layers over all years."""

MIN_YEARS = 2
"""Years with a date from which on a pixel has a mean: an anomaly from a year's own date is none."""

_ANY_YEAR = 2001
"""No leap year: means count from 1 January of each year, and legends name month and day."""


@dataclass(frozen=True)
class YearsResult:
    """Where the maps of several years lie, and ``stack/summary.json``."""

    path: Path
    summary: dict[str, Any]


def map_years(
    cube_path: str | Path,
    first: int,
    last: int,
    out: str | Path,
    overwrite: bool = False,
    *,
    address: str | None = None,
    workers: int | None = None,
    pictures: bool = True,
    **options: Any,
) -> YearsResult:
    """Map the season dates of several years, and what they have in common.

    Each year gets the map that :func:`deepcrop.map_region` makes, in a folder of its name. The
    folder ``stack`` holds for each date of the main season its multi-year mean, the number of years
    that have it, and the anomaly of each year: its date less the mean, in days, with a QGIS
    project. Day numbers count from 1 January of each year. An interrupted run goes on where it
    stopped; ``out`` appears when all is written.

    Parameters
    ----------
    cube_path : str or Path
        Observation cube with images of all years.
    first, last : int
        Years to map, both included.
    out : str or Path
        Directory to make.
    overwrite : bool
        Replace an existing ``out``.
    address, workers, pictures
        As of :func:`deepcrop.map_region`.
    **options
        ``method``, ``index``, ``fractions`` and so on, as of :func:`deepcrop.map_region`.

    Returns
    -------
    YearsResult

    Raises
    ------
    DeepCropError
        As of :func:`deepcrop.map_region`, or if there are fewer than two years.
    CubeError
        If the cube has no image of one of the years.
    """
    cluster_options = ClusterOptions(address, workers)
    years = tuple(range(check_year(first), check_year(last) + 1))
    return write_years(
        Path(cube_path), years, Path(out), resolve_options(**options), cluster_options, overwrite,
        pictures,
    )  # fmt: skip


def write_years(
    cube_path: Path,
    years: tuple[int, ...],
    out: Path,
    options: MapOptions,
    cluster_options: ClusterOptions,
    overwrite: bool = False,
    pictures: bool = True,
) -> YearsResult:
    """Map several years as `map_years` does, from options that are resolved already."""
    if len(years) < MIN_YEARS:
        raise DeepCropError(
            f"{len(years)} years: expected the first and the last of {MIN_YEARS} or more; a single "
            "year has no mean."
        )
    if any(method.until is not None for method in options.methods):
        raise DeepCropError(
            "until is the last day of one season; leave it out, or map a single year."
        )
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    check_years(InputCube.open(cube_path), years)
    settings = {
        "maps": str(cube_path.resolve()),
        "made": fingerprint(cube_path),
        "years": list(years),
        "options": repr(options),
        "inputs": [fingerprint(path) for path in _files_of(options)],
        **({} if pictures else {"pictures": False}),
    }
    with staging(out, settings, overwrite) as stage:
        if not stage.complete:
            for year in years:
                _map_year(stage, cube_path, year, options, cluster_options, pictures)
            _write_stack(stage, years)
        summary = json.loads((stage.path / STACK / "summary.json").read_text())
    return YearsResult(out, summary)


def _files_of(options: MapOptions) -> list[Path]:
    """List the files besides the cube that the maps depend on."""
    files = [] if options.mask is None else files_of(options.mask)
    weights = [m.weights for m in options.methods if isinstance(m, NetworkMethod)]
    return [*files, *(path for path in (options.parcels, *weights) if path is not None)]


def check_years(cube: InputCube, years: tuple[int, ...]) -> None:
    """Refuse years without an image, before any is mapped.

    Raises
    ------
    CubeError
        Naming the years, and from when to when the images are.
    """
    groups = [name for name in ("optical", "sar") if name in cube.data.children]
    times = np.concatenate([cube.data[name]["time"].values for name in groups])
    # A year may start up to half a year before its 1 January (--year-start).
    days = {year: to_days(times, year) for year in years}
    empty = [str(year) for year, day in days.items() if not ((day >= -184) & (day < 366)).any()]
    if empty:
        first, last = times.min().astype("datetime64[D]"), times.max().astype("datetime64[D]")
        raise CubeError(
            f"{cube.path} has no image of {', '.join(empty)}: its images run from {first} to "
            f"{last}. Choose other years."
        )


def _map_year(
    stage: Staging,
    cube_path: Path,
    year: int,
    options: MapOptions,
    cluster_options: ClusterOptions,
    pictures: bool,
) -> None:
    """Map one year, unless an interrupted run has done so."""
    item, folder = str(year), stage.path / str(year)
    if item in stage.done:
        return
    # A map has its name when it is complete; a stop may have come before it was written down here.
    if not folder.is_dir() or (folder / JOURNAL).exists():
        write_map(cube_path, year, folder, options, cluster_options, pictures=pictures)
    stage.finish(item)


# The stack ----------------------------------------------------------------------------------------


def _write_stack(stage: Staging, years: tuple[int, ...]) -> None:
    """Write mean, number of years and anomalies of each date of the main season."""
    if STACK in stage.done:
        return
    out = stage.path / STACK
    maps = {year: open_result(stage.path / str(year)) for year in years}
    first = maps[years[0]]
    summary: dict[str, Any] = {
        "title": first.title,
        "years": list(years),
        "simulated": any(result.simulated for result in maps.values()),
        "software": f"deepcrop {__version__}",
        "maps": {},
    }
    rasters = []
    for method in first.methods:
        folder = out if len(first.methods) == 1 else out / method
        folder.mkdir(parents=True, exist_ok=True)
        summary["maps"][method] = {}
        for layer in first.find(method=method, kind="day", season=1):
            numbers, written = _stack_stage(folder, layer, method, maps)
            summary["maps"][method][str(layer.stage)] = numbers
            rasters += [
                ((folder / one.name).relative_to(out).as_posix(), method, one, year)
                for one, year in written
            ]
    title = f"{first.title}, {years[0]} to {years[-1]}"
    write_stack_project(out, rasters, first.grid, title, summary["simulated"])
    write_json(out / "summary.json", summary)
    stage.finish(STACK)


def _stack_stage(
    folder: Path, layer: ResultLayer, method: str, maps: dict[int, Result]
) -> tuple[dict[str, Any], list[tuple[Layer, TargetYear | None]]]:
    """Write the layers of one date; return their numbers, and the layers with their years."""
    stage, int16 = str(layer.stage), np.dtype(np.int16)
    between = f"{min(maps)} to {max(maps)}"
    limits = next(iter(maps.values())).target.range
    mean = Layer(
        f"{stage}_mean", f"{stage_title(stage)}, mean of {between}", "days since 1 January", int16,
        NO_DAY, "day", stage, 1, limits=limits,
    )  # fmt: skip
    number = Layer(
        f"{stage}_years", f"{stage_title(stage)}, years of {between} with a date", "1",
        np.dtype(np.uint8), None, "count", stage, 1,
    )  # fmt: skip
    anomalies = {
        year: Layer(
            f"{stage}_anomaly_{year}",
            f"{stage_title(stage)}, {year} less the mean of {between}",
            "days",
            int16,
            NO_DAY,
            "difference",
            stage,
            1,
        )
        for year in maps
    }
    with ExitStack() as opened:
        files = [
            opened.enter_context(rasterio.open(result.layers[layer.key].path))
            for result in maps.values()
        ]
        statuses = {
            k: opened.enter_context(rasterio.open(result.layers[f"{layer.key}_status"].path))
            for k, result in enumerate(maps.values())
            if result.until is not None
        }
        counted = _write(
            folder, mean, method, maps, files, statuses, lambda days: _whole(_mean(days))
        )
        _write(
            folder, number, method, maps, files, statuses,
            lambda days: np.isfinite(days).sum(axis=0).astype(np.uint8),
        )  # fmt: skip
        medians = {}
        for k, (year, anomaly) in enumerate(anomalies.items()):
            apart = _write(
                folder, anomaly, method, maps, files, statuses,
                lambda days, k=k: _whole(days[k] - _mean(days)),
            )  # fmt: skip
            first = histograms.first_value(anomaly)
            medians[str(year)] = histograms.quantile(apart[:-1], 0.5, first)
    day = histograms.quantile(counted[:-1], 0.5, limits[0])
    date = None if day is None else str(to_dates(day, _ANY_YEAR))[5:]
    numbers = {
        "pixels": int(counted[:-1].sum()),
        "median_mean_day": day,
        "median_mean_date": date,
        "median_anomaly": medians,
    }
    dated = [(anomaly, maps[year].target) for year, anomaly in anomalies.items()]
    return numbers, [(mean, None), (number, None), *dated]


def _mean(days: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the years (years, y, x) that have a date; NaN where there are too few."""
    known = np.isfinite(days)
    count = known.sum(axis=0)
    total = np.where(known, days, 0).sum(axis=0)
    return np.where(count >= MIN_YEARS, total / np.maximum(count, 1), np.nan)


def _whole(days: NDArray[np.floating]) -> NDArray[np.int16]:
    """Whole days, halves up; 32767 where there is none."""
    known = np.isfinite(days)
    return np.where(known, np.floor(np.where(known, days, 0) + 0.5), NO_DAY).astype(np.int16)


def _write(
    folder: Path,
    layer: Layer,
    method: str,
    maps: dict[int, Result],
    files: list[Any],
    statuses: dict[int, Any],
    compute: Any,
) -> NDArray[np.int64]:
    """Write one layer window by window, and its style; return its pixels per value.

    ``files`` holds the dates of each year, ``statuses`` the layers of status by their position.
    """
    result = next(iter(maps.values()))
    counted: NDArray[np.int64] | None = None

    def blocks() -> Iterator[tuple[tuple[slice, slice], NDArray[Any]]]:
        nonlocal counted
        for rows, cols in windows(result.grid):
            window = Window.from_slices(rows, cols)
            stored = np.stack([file.read(1, window=window) for file in files])
            known = stored != NO_DAY
            # What a year that is not over only forecasts is no part of a mean.
            for k, status in statuses.items():
                known[k] &= status.read(1, window=window) == OBSERVED
            values = compute(np.where(known, stored, np.nan).astype(np.float32))
            one = np.zeros(values.shape, np.intp)
            counted = histograms.add(counted, histograms.count(layer, values, one, 1))
            yield (rows, cols), values

    tags = {
        "title": result.title,
        "years": " ".join(map(str, maps)),
        "method": method,
        "stage": str(layer.stage),
        "season": "1",
        "software": f"deepcrop {__version__}",
        "simulated": str(result.simulated).lower(),
    }
    write_cog(folder / f"{layer.name}.tif", layer, result.grid, tags, blocks())
    assert counted is not None
    histogram = counted[0]
    write_style(folder / f"{layer.name}.qml", layer, _ANY_YEAR, histogram, any_year=True)
    return np.asarray(histogram)
