"""A cube through the network: what is read of each tile, and answers as layers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.errors import CubeError
from deepcrop.mapping.inputs import Images, Layers, Plan, images_of, orbits_of, padded, period
from deepcrop.mapping.quality import encode_bound, length_of, pixel_layers
from deepcrop.products.layers import NO_PERCENT, layer_name
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:  # PyTorch is there only for those who use the network
    from deepcrop.network import Dates, Network

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}


def plan_network(
    cube: xr.DataTree,
    path: str | Path,
    year: int,
    weights: str | Path | None,
    radar: bool,
    device: str = "cpu",
    precision: str = "float32",
) -> Plan:
    """Prepare to map a cube by the network.

    Parameters
    ----------
    cube : DataTree
    path : str or Path
        Where it lies, for messages.
    year : int
        Target year. Only observations of days that can be stored are read, as in training.
    weights : path or None
        File of weights; None: those of the package.
    radar : bool
        Whether the network gets the radar.
    device : str
        Where the network runs, a device of PyTorch: ``"cpu"`` or ``"cuda"``.
    precision : str
        One of `deepcrop.network.inference.PRECISIONS`.

    Raises
    ------
    CubeError
        If the cube has no images that the weights read, or none near the year, or its radar is not
        what they expect.
    DeepCropError
        If the weights cannot be read.
    """
    from deepcrop.network import check_cube, load
    from deepcrop.network.inference import of_camera, put_on
    from deepcrop.network.weights import shipped

    file = shipped() if weights is None else Path(weights)
    network, about = load(file)
    network = of_camera(network)
    put_on(network, device, precision)
    read = [
        group
        for sensor, group in (("optical", "optical"), ("radar", "sar"))
        if sensor in network.config.sensors and (radar or sensor != "radar")
    ]
    if "sar" in read:
        check_cube(cube, about["inputs"], network.config.sensors)
    found = {
        name: images_of(cube, name, _BANDS[name], year) for name in read if name in cube.children
    }
    if not found:
        raise CubeError(
            f"{path} has nothing that these weights read ({' or '.join(read) or 'radar only'}); "
            "fetch it, or choose other weights."
        )
    images = {name: one for name, one in found.items() if one.days.size}
    if not images:
        raise CubeError(
            f"{path} has no observation around {year}: {period(cube, list(found))}. "
            "Choose another --year."
        )
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    title = str(about["card"].get("title", ""))
    settings = {
        "weights": {"file": file.name, "sha256": digest, "title": title},
        "sensors": list(images),
        **({} if precision == "float32" else {"precision": precision}),
        **({} if device == "cpu" else {"device": device}),  # where sums are rounded otherwise
    }

    def run(
        images: dict[str, Images], tile: grid.Tile, wanted: NDArray[np.bool_] | None = None
    ) -> tuple[Layers, list[NDArray[np.int64]]]:
        return network_tile(network, images, tile, year, wanted, precision)

    return Plan(images, settings, grid.PATCH_HALO, run)


def network_tile(
    network: Network,
    images: dict[str, Images],
    tile: grid.Tile,
    year: int,
    wanted: NDArray[np.bool_] | None = None,
    precision: str = "float32",
) -> tuple[Layers, list[NDArray[np.int64]]]:
    """Layers of one tile by the network.

    Beyond the edge of the cube nothing was seen, so that pixels near it are mapped as well.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        In evaluation mode.
    images : dict of str to Images
        Groups "optical" and "sar", or one of them.
    tile : Tile
        With the halo of a patch.
    year : int
        Target year.
    wanted : ndarray of bool (y, x), optional
        Pixels to find dates of; by default all.
    precision : str
        As of `plan_network`.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write.write_products` expects.
    scenes : list of ndarray of int (time,)
        For each group the valid pixels of each scene, of those that are wanted.
    """
    from deepcrop.network.inference import tile_dates

    stacks, days = {}, {}
    for name, bands in _BANDS.items():
        if name in images:
            stacks[name], days[name] = padded(images[name].data, tile), images[name].days
        else:
            sides = [length + sum(grid.PATCH_HALO) for length in tile.shape]
            stacks[name] = np.empty((0, len(bands), *sides), np.float32)
            days[name] = np.empty(0, np.float32)
    dates = tile_dates(
        network,
        stacks["optical"],
        days["optical"],
        stacks["sar"],
        days["sar"],
        orbits_of(images["sar"].data) if "sar" in images else np.empty(0, np.int64),
        wanted=wanted,
        precision=precision,
    )
    first = grid.PATCH_HALO[0]
    core = (..., slice(first, first + tile.shape[0]), slice(first, first + tile.shape[1]))
    valid: dict[str, NDArray[np.bool_]] = {
        name: np.asarray(np.isfinite(stack[core]).all(axis=1)) for name, stack in stacks.items()
    }
    if wanted is not None:
        valid = {name: there & wanted for name, there in valid.items()}
    seen = np.any([there.any(axis=0) for there in valid.values()], axis=0)
    found = network_layers(dates, network.config.stages, seen)
    found |= pixel_layers(found, valid, days, year, wanted, reads=tuple(valid))
    return found, [valid[name].sum(axis=(1, 2)) for name in images]


def network_layers(dates: Dates, names: tuple[str, ...], seen: NDArray[np.bool_]) -> Layers:
    """Put a network's answers into layers: Int16 days, UInt8 percent; and count its seasons.

    A slot counts as a season if any of its dates is reported.

    Parameters
    ----------
    dates : Dates
        Arrays (y, x, slots, stages).
    names : tuple of str
        Its stages; those that are no product are left out, those it does not know are empty.
    seen : ndarray of bool (y, x)
        Pixels with any observation; the others are empty.
    """
    found: Layers = {}
    cycles = np.zeros((stages.SLOTS, *seen.shape), bool)
    for slot in range(stages.SLOTS):
        for stage in CALENDAR:
            low, high, day = (np.full(seen.shape, np.nan, np.float32) for _ in range(3))
            percent = np.full(seen.shape, NO_PERCENT, np.uint8)
            if stage in names and slot < dates.day.shape[2]:
                at = (seen, slot, names.index(stage))
                day[seen] = dates.day[at]
                low[seen], high[seen] = dates.low[at], dates.high[at]
                percent[seen] = np.rint(100 * dates.probability[at])
            whole = stages.encode(day)
            found[layer_name(stage, slot + 1)] = whole
            for part, bound in (("low", low), ("high", high)):
                found[layer_name(stage, slot + 1, part)] = encode_bound(bound, whole)
            found[layer_name(stage, slot + 1, "probability")] = percent
            cycles[slot] |= whole != stages.NO_DAY
        found[layer_name("length", slot + 1)] = length_of(found, slot + 1)
    found["n_cycles"] = cycles.sum(axis=0).astype(np.uint8)
    return found
