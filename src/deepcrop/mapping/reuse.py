"""Take over from an earlier issue of a map the tiles in which no new image has data.

A tile reads its pixels and their halo, and an image without data there changes nothing. So if the
cube has only got further images since the earlier issue, and none of them has data in a tile, all
layers of the tile are the same. (An interval of the curve may differ by a day in a few pixels
of 100 000: the grid of days on which it is computed is longer, and sums are rounded differently.)
"""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from deepcrop import grid
from deepcrop._version import __version__
from deepcrop.cube import contract
from deepcrop.cube.chunks import state_of
from deepcrop.cube.updates import added_since
from deepcrop.errors import MALFORMED
from deepcrop.mapping.inputs import content_of
from deepcrop.mapping.work_store import MANIFEST
from deepcrop.products.layers import describe, layer_groups
from deepcrop.storage.staging import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.mapping.inputs import InputCube, Plan
    from deepcrop.mapping.work_store import WorkStore

STATE = "cube_state"
"""Entry of the source of a map in season: the state of the cube's pixels it was made from."""

_OF_ISSUE = ("made", "map", "until", "pictures", "files")
"""Settings of a map that may differ between issues: they change no pixel of a tile."""

_log = logging.getLogger(__name__)

Core = tuple[slice, slice]
Tile = tuple[Core, dict[str, Any]]
"""Rows and columns of a tile, and its line of the manifest."""

_ACROSS = 8
"""Tiles that are copied in one piece, at most: a piece of all layers is in memory."""


def untouched_tiles(
    previous: Path,
    cube: InputCube,
    path: Path,
    year: int,
    plans: Mapping[str, Plan],
    settings: Mapping[str, Any],
    cores: list[Core],
    work: WorkStore,
) -> Iterator[Tile]:
    """Write the tiles that are those of an earlier issue into the work store.

    Parameters
    ----------
    previous : Path
        The earlier issue, a finished map.
    cube : InputCube
    path : Path
        Of the cube.
    year : int
        Target year.
    plans : mapping of str to Plan
    settings : mapping
        Those of the new map.
    cores : list of tuple of slice
        Rows and columns of the tiles that are missing.
    work : WorkStore
        Laid out.

    Yields
    ------
    core : tuple of slice
    line : dict
        The tile's line of the manifest.
    """
    try:
        record = json.loads((previous / RECORD).read_text())
        summary = json.loads((previous / "summary.json").read_text())
        lines = [json.loads(line) for line in (previous / MANIFEST).read_text().splitlines()]
        known = {(tuple(line["rows"]), tuple(line["cols"])): line for line in lines}
        added = added_since(cube.data.attrs, summary["source"][STATE], state_of(path))
        until = np.datetime64(summary["until"], "D")
    except (OSError, *MALFORMED):  # an issue of another version is no help, and no obstacle
        added = None
    same = {"software": f"deepcrop {__version__}", **settings}
    if added is None or _settings(record) != _settings(same):
        _log.info("All tiles are mapped: %s has other images, settings or software.", previous)
        return
    if any(plan.content.until < until.item() for plan in plans.values() if plan.content.until):
        return  # an issue of a later day has read more
    new = {
        (method, group): _new_images(images.data["time"].values, until, added.get(group, set()))
        for method, plan in plans.items()
        for group, images in plan.images.items()
    }
    touched = {key: _data_in(plans[key[0]], key[1], images, cube) for key, images in new.items()}
    content = content_of(plans)
    one = len(plans) == 1
    paths = {
        (group, layer.name): previous / ("." if one else group) / f"{layer.name}.tif"
        for group in layer_groups(plans)
        for layer in describe(group, year, content)
    }
    with ExitStack() as opened:
        try:
            files = {key: opened.enter_context(rasterio.open(p)) for key, p in paths.items()}
        except RasterioIOError as error:
            _log.warning("All tiles are mapped: %s.", error)
            return
        same_as_before = []
        for core in cores:
            line = known.get(((core[0].start, core[0].stop), (core[1].start, core[1].stop)))
            if line is None or any(
                data is not None
                and data[grid.tile_at(core, cube.box.shape.yx, plans[method].halo).window].any()
                for (method, _), data in touched.items()
            ):
                continue
            valid = _valid(line["valid"], new)
            if valid is None:
                continue
            tile = core, line | {"valid": valid, "taken_over": previous.name}
            if line["left_out"] == line["pixels"]:
                yield tile  # which has nothing to write
            else:
                same_as_before.append(tile)
        for tiles in _side_by_side(same_as_before):
            place = tiles[0][0][0], slice(tiles[0][0][1].start, tiles[-1][0][1].stop)
            try:
                values = {
                    key: file.read(1, window=Window.from_slices(*place))
                    for key, file in files.items()
                }
            except RasterioIOError as error:
                _log.warning("%s is damaged (%s); its tiles are mapped again.", previous, error)
                return
            left = place[1].start
            work.write(
                (
                    core,
                    {
                        group: {
                            name: read[:, core[1].start - left : core[1].stop - left]
                            for (of, name), read in values.items()
                            if of == group
                        }
                        for group in layer_groups(plans)
                    },
                )
                for core, _ in tiles
            )
            yield from tiles


def _side_by_side(tiles: list[Tile]) -> Iterator[list[Tile]]:
    """Put together the neighbours in a row of tiles: their layers are copied in one piece."""
    run: list[Tile] = []
    for tile in tiles:
        if run and (run[-1][0][0], run[-1][0][1].stop, len(run) < _ACROSS) != (
            tile[0][0],
            tile[0][1].start,
            True,
        ):
            yield run
            run = []
        run.append(tile)
    if run:
        yield run


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in record.items() if key not in _OF_ISSUE}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _new_images(
    times: NDArray[np.datetime64], until: np.datetime64, added: set[np.datetime64]
) -> NDArray[np.bool_]:
    """Tell the images that the earlier issue did not read."""
    late = np.isin(times, np.array(sorted(added), "datetime64[ns]"))
    return np.asarray((times.astype("datetime64[D]") > until) | late)


def _data_in(
    plan: Plan, group: str, new: NDArray[np.bool_], cube: InputCube
) -> NDArray[np.bool_] | None:
    """Pixels (y, x) of which a new image has data in any band; None without a new image."""
    if not new.any():
        return None
    data = plan.images[group].data.isel(time=np.flatnonzero(new))
    found = np.zeros(cube.box.shape, bool)
    for tile in grid.tiles(cube.box.shape.yx, contract.CHUNK):
        rows, cols = tile.core
        block = data.isel(y=rows, x=cols)
        for array in block.data_vars.values():
            found[tile.core] |= np.isfinite(array.values).any(axis=0)
    return found


def _valid(
    known: Mapping[str, list[int]], new: Mapping[tuple[str, str], NDArray[np.bool_]]
) -> dict[str, list[int]] | None:
    """Put zeros for the new images among the valid pixels of the others; None if they do not fit.

    A tile without a pixel to map has no numbers.
    """
    valid: dict[str, list[int]] = {}
    for (method, group), images in new.items():
        counts = known.get(f"{method} {group}", [])
        every = np.zeros(images.size, np.int64)
        if known:
            if len(counts) != int((~images).sum()):
                return None
            every[~images] = counts
            valid[f"{method} {group}"] = every.tolist()
    return valid
