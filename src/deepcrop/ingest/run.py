"""Ingest files into a cube: plan, check a sample, write the cube tile by tile, check the result.

A tile is processed with all its times, and only the needed part of each file is read.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
from zarr.errors import ZarrUserWarning

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.baseline_step import BANDS, BASELINE_DAY, Step, find_step
from deepcrop.cube.chunks import LAYOUT, finish_layout, forget_damaged, seal
from deepcrop.cube.contract import (
    OPTICAL_BANDS,
    SAR_BANDS,
    STEP_CHECKED,
    build,
    describe_step,
    grid_of,
)
from deepcrop.cube.io import create_store, open_cube
from deepcrop.errors import CubeError, DeepCropError, SpecError
from deepcrop.ingest.plan import plan
from deepcrop.ingest.raw_files import SourceFiles, expand
from deepcrop.ingest.spec import flag_meaning
from deepcrop.ingest.spec_file import load_spec
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging, refuse_early, staging

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.ingest.bands import Group
    from deepcrop.ingest.numbers import Conversion

logger = logging.getLogger(__name__)

TILE = contract.CHUNK
"""Side of a tile of work, pixels: one chunk, so that no chunk is written twice."""


def ingest(spec_path: Path, out: Path, overwrite: bool = False) -> None:
    """Make an observation cube from the files that a specification describes.

    Started again after an interruption, it continues where it stopped.

    Parameters
    ----------
    spec_path : Path
        The specification, a YAML file; ``docs/ingest.md`` describes it.
    out : Path
        Zarr store to make.
    overwrite : bool
        Replace an existing ``out``.

    Raises
    ------
    SpecError
        If the specification or a file it names cannot be used.
    CubeError
        If the result is not a valid cube, for example because a scale is missing.
    DeepCropError
        If ``out`` exists and may not be replaced.
    """
    if out.suffix == ".nc":
        raise DeepCropError(f"{out}: ingest writes a Zarr store; give a name such as region.zarr.")
    refuse_early(out, overwrite)
    try:
        spec = load_spec(spec_path)
        folder = spec_path.parent / expand("folder", spec.folder)
        with contextlib.closing(SourceFiles(folder)) as files:
            box, groups = plan(spec, files)
            attrs = {"title": spec.name, "software": f"deepcrop {__version__}"}
            sample = _sample(groups, box, attrs, spec_path)
            for band in (band for group in groups for band in group.bands.values()):
                band.dropped.clear()  # the sample is read again with the tiles
            settings = {
                "content": "ingested cube",
                # As text: a NaN would not equal itself when the journal is read again.
                "specification": spec.model_dump_json(),
                "files": files.signature(),
                "tile": TILE,
            }
            with staging(out, settings, overwrite) as stage:
                if not stage.complete:
                    _write(stage, groups, box, sample)
                    _tell_dropped(groups)
                    _check_result(stage.path)
                    seal(stage.path)
    except SpecError as error:
        raise SpecError(f"{spec_path}: {error}") from error


def _sample(
    groups: list[Group], box: GeoBox, attrs: dict[str, str], spec_path: Path
) -> xr.DataTree:
    """Make and check a cube of the middle of the grid, so that wrong units are found early."""
    rows, cols = (_window(n, 2) for n in box.shape)
    tile = grid.crop(box, (rows, cols))
    parts = {}
    for group in groups:
        data = group.coords(tile)
        for name, values in group.read(tile):
            data[name] = (("time", "y", "x")[-values.ndim :], values)
        if group.name == "landcover":
            names = map(flag_meaning, group.classes.values())
            data["crop_type"].attrs = {
                "flag_values": [0, *group.classes],
                "flag_meanings": " ".join(["unknown", *names]),
            }
        if group.name == "optical" and STEP_CHECKED not in group.attrs:
            _check_offset(group, box, {name: data[name].values for name in BANDS})
        parts[group.name] = data
    try:
        return build(**parts, attrs=attrs)
    except CubeError as error:
        raise CubeError(f"{spec_path}, in the middle of its grid: {error}") from error


def _check_offset(group: Group, box: GeoBox, middle: dict[str, NDArray[np.float32]]) -> None:
    """Reject a series with a step of reflectance in the middle of the grid, or at other places."""
    step = find_step(group.times, middle)
    for row, col in ((1, 1), (1, 3), (3, 1), (3, 3)):  # quarters of the grid
        if not np.isnan(step.size):
            break
        rows, cols = _window(box.shape[0], row), _window(box.shape[1], col)
        step = find_step(group.times, dict(group.read(grid.crop(box, (rows, cols)))))
    if np.isnan(step.size):
        logger.warning(
            "optical.offset: the series crosses 25 January 2022, when the numbers of Sentinel-2 "
            "rose by 1000 (processing baseline 04.00). It has too few clear scenes around that day "
            "to see whether they do: make sure that the offset fits all scenes."
        )
    elif step.size != 0:
        raise SpecError(_step_message(step, group.bands["red"].conversion))


def _step_message(step: Step, conversion: Conversion) -> str:
    """Describe a step of reflectance, and what to write instead."""
    day = step.day.astype("datetime64[D]")
    before, since = map(float, conversion.offset_at(np.array([day - 1, day], "datetime64[ns]")))
    first = conversion.offsets[0].value if conversion.offsets else 0.0
    if step.size < 0 and before != since:
        mend = "The numbers seem to be of one convention (harmonised): write one offset."
    else:
        # The brighter side is the one whose numbers contain 1000 more.
        old, new = (before, since - 0.1) if step.size > 0 else (before - 0.1, since)
        mend = f"Write offset: [{{value: {old:g}}}, {{from: {day}, value: {new:g}}}]"
        mend += "." if step.day == BASELINE_DAY else ", with the day on which your archive changes."
    where = (
        "" if step.day == BASELINE_DAY else " (reprocessed scenes, or two archives, in one series)"
    )
    return (
        f"optical.offset: {describe_step(step)}, as if the numbers had another offset since "
        f"processing baseline 04.00 of Sentinel-2{where}. {mend} If the numbers are right as they "
        "are, say so by a day before the first scene: "
        f"offset: [{{from: 2015-01-01, value: {first:g}}}]."
    )


def _window(size: int, quarter: int) -> slice:
    """Return 32 pixels around a quarter of a side."""
    middle = size * quarter // 4
    return slice(max(middle - 16, 0), min(middle + 16, size))


def _tell_dropped(groups: list[Group]) -> None:
    """Log how many impossible values became no data in this run."""
    for group in groups:
        for name, band in group.bands.items():
            if band.dropped["impossible"]:
                logger.warning(
                    "%s: %d of %d values are impossible; they became no data.",
                    f"{group.name}.bands.{name}",
                    band.dropped["impossible"],
                    band.dropped["valid"],
                )


def _write(stage: Staging, groups: list[Group], box: GeoBox, sample: xr.DataTree) -> None:
    work = [
        (f"{group.name} {tile.index[0]} {tile.index[1]}", group, tile)
        for group in groups
        for tile in grid.tiles(box.shape.yx, TILE)
    ]
    forget_damaged(stage, stage.path, [(item, g.name, *tile.core) for item, g, tile in work])
    if LAYOUT not in stage.done:
        _create_layout(stage.path, groups, box, sample)
        finish_layout(stage, stage.path)
    with progress_bar() as bar:
        for item, group, tile in bar.track(work, description="ingest"):
            if item in stage.done:
                continue
            rows, cols = tile.core
            for name, values in group.read(grid.crop(box, (rows, cols))):
                cube_io.write_block(stage.path, group.name, {name: values}, rows, cols)
            stage.finish(item)


def _create_layout(path: Path, groups: list[Group], box: GeoBox, sample: xr.DataTree) -> None:
    """Create the empty store, with the attributes of the sample and the size of the grid."""
    create_store(path, sample.attrs)
    for group in groups:
        data = group.coords(box)
        for name, array in sample[group.name].to_dataset().data_vars.items():
            shape = (*array.shape[:-2], *box.shape)
            empty = np.broadcast_to(np.zeros((), array.dtype), shape)  # takes no memory
            data[name] = (array.dims, empty, array.attrs)
        cube_io.create_group(path, group.name, data)


def _check_result(path: Path) -> None:
    """Check the finished store, and that every required band holds data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # the journal is still in the store
        cube = open_cube(path)
    parts = [tile.core for tile in grid.tiles(grid_of(cube).shape.yx, TILE)]
    required = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}
    for group, bands in required.items():
        if group not in cube.children:
            continue
        data = cube[group].to_dataset()
        for name in bands:
            if not any(np.isfinite(data[name][:, y, x].values).any() for y, x in parts):
                raise SpecError(
                    f"{group}.bands.{name}: no pixel holds data at any time; check nodata, units, "
                    "the masks and grid.bounds."
                )
