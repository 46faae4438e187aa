"""The network method: plan what to read of a cube, and turn each tile into layers."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepcrop import grid, stages
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping.inputs import (
    Images,
    InputCube,
    Layers,
    Plan,
    images_of,
    orbits_of,
    padded,
    period,
)
from deepcrop.mapping.quality import encode_bound, length_of, pixel_layers
from deepcrop.mapping.status import last_seen, season_is_open, status_of
from deepcrop.products.layers import (
    FORECAST,
    NO_PERCENT,
    NO_STATUS,
    NOT_YET_KNOWN,
    OBSERVED,
    USUAL,
    Content,
    layer_name,
)
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:  # PyTorch is there only for those who use the network
    import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.network import Dates, Network

logger = logging.getLogger(__name__)

_BANDS = {"optical": OPTICAL_BANDS, "sar": SAR_BANDS}


@dataclass(frozen=True)
class NetworkMethod:
    """Map by the network, from optical and radar images together.

    Attributes
    ----------
    weights : Path or None
        File of weights, absolute; None: those of the package.
    radar : bool or None
        Whether the network reads the radar. None: where it is what the weights expect; else the map
        is made without, with a warning.
    device : str
        Device of PyTorch that the network runs on: ``"cpu"`` or ``"cuda"``.
    precision : str
        Number format of the network, one of `deepcrop.network.inference.PRECISIONS`.
    definition : str
        What a date means, one of `deepcrop.network.config.DEFINITIONS`: ``"camera"``, or
        ``"ndvi"``, which compares with the curve and with other products.
    until : date or None
        Last day of which observations are read; each date then has a status.
    runtime : str or None
        What computes it, one of `deepcrop.network.inference.RUNTIMES`. None: what this process can
        use (`deepcrop.network.runtime`). A map is made by one runtime, here and on Dask workers.
    """

    weights: Path | None = None
    radar: bool | None = None
    device: str = "cpu"
    precision: str = "float32"
    definition: str = "camera"
    until: datetime.date | None = None
    runtime: str | None = None

    name: ClassVar[str] = "deepcrop"

    def with_runtime(self) -> NetworkMethod:
        """Choose the runtime by what this process can use, for all processes that make the map."""
        network, _, digest = self._load()
        return replace(self, runtime=choose(network, digest, self.runtime))

    def _load(self) -> tuple[Network, dict[str, Any], str]:
        """Load the network for the definition, its description, and the checksum of its file."""
        from deepcrop.network import load
        from deepcrop.network.inference import put_on, stages_of_definition
        from deepcrop.network.weights import shipped

        file = self.weights or shipped()
        network, about = load(file)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        network = stages_of_definition(network, self.definition)
        put_on(network, self.device, self.precision)
        return network, about, digest

    def plan(self, cube: InputCube, year: int) -> Plan:
        """Prepare to map a cube in a target year.

        Only observations of days that a day number can hold are read, as in training.

        Raises
        ------
        CubeError
            If the cube has no images that the weights read, or none near the year, or its pixels,
            near infrared or radar are not what they expect.
        DeepCropError
            If the weights cannot be read, or do not know the definition.
        """
        from deepcrop.network import check_cube, check_near_infrared
        from deepcrop.network.weights import check_pixels, shipped

        network, about, digest = self._load()
        check_pixels(cube.box, about["inputs"])
        groups = [
            group
            for sensor, group in (("optical", "optical"), ("radar", "sar"))
            if sensor in network.config.sensors and (self.radar is not False or sensor != "radar")
        ]
        check_near_infrared(cube.data, about["inputs"], network.config.sensors)
        left_out = None
        if "sar" in groups:
            try:
                check_cube(cube.data, about["inputs"], network.config.sensors)
            except CubeError as error:
                # Without optical images there would be nothing left to map.
                if self.radar or not {"optical"} <= {*groups} & {*cube.data.children}:
                    raise
                logger.warning("%s The map is made without radar.", error)
                left_out = cube.data["sar"].attrs.get("radiometry")
                groups.remove("sar")
        present = {
            name: images_of(cube.data, name, _BANDS[name], year, until=self.until)
            for name in groups
            if name in cube.data.children
        }
        if not present:
            raise CubeError(
                f"{cube.path} has nothing that these weights read "
                f"({' or '.join(groups) or 'radar only'}); fetch it, or choose other weights."
            )
        images = {name: group for name, group in present.items() if group.days.size}
        if not images:
            raise CubeError(
                f"{cube.path} has no observation around {year}: "
                f"{period(cube.data, list(present), self.until)}. Choose another year."
            )
        title = str(about["card"].get("title", ""))
        file = self.weights or shipped()
        runtime = choose(network, digest, self.runtime)
        settings = {
            "weights": {"file": file.name, "sha256": digest, "title": title},
            "sensors": list(images),
            "definition": self.definition,
            "runtime": runtime,
            **({} if left_out is None else {"radar_left_out": f"its radiometry is {left_out}"}),
            # Only what rounds sums differently from the default is part of the settings.
            **({} if self.precision == "float32" else {"precision": self.precision}),
            **({} if self.device == "cpu" else {"device": self.device}),
            **({} if self.until is None else {"until": str(self.until)}),
            **({"intervals": "of all seasons"} if season_is_open(self.until, year) else {}),
        }
        content = replace(USUAL, until=self.until)

        def run(
            images: dict[str, Images], tile: grid.Tile, selected: NDArray[np.bool_] | None = None
        ) -> tuple[Layers, list[NDArray[np.int64]]]:
            # Dask may have brought the network to another process.
            choose(network, digest, runtime)
            return network_tile(
                network, images, tile, year, selected, self.precision, content, runtime
            )

        return Plan(images, settings, grid.PATCH_HALO, run, content=content)


def choose(network: Network, digest: str, wanted: str | None) -> str:
    """Choose a runtime, or check that this process can use the one that is wanted.

    Raises
    ------
    DeepCropError
        If it cannot: a tile by another runtime would differ from its neighbours in last digits.
    """
    from deepcrop.network.inference import PYTORCH
    from deepcrop.network.runtime import choose_runtime, why_not_compiled

    if wanted == PYTORCH:
        return wanted
    key = f"{digest} {network.config.stages}"
    able = choose_runtime(network, key)
    if wanted not in (None, able):
        raise DeepCropError(
            f"This map is made by the {wanted} network, which {why_not_compiled(network, key)} in "
            f"this process; it would use {able}. Leave this machine out of the cluster, or start "
            "the map on it."
        )
    return able


def network_tile(
    network: Network,
    images: dict[str, Images],
    tile: grid.Tile,
    year: int,
    selected: NDArray[np.bool_] | None = None,
    precision: str = "float32",
    content: Content = USUAL,
    runtime: str = "pytorch",
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
    selected : ndarray of bool (y, x), optional
        Pixels to find dates of; by default all.
    precision : str
        As of `NetworkMethod`.
    content : Content
        What layers to make.
    runtime : str
        One of `deepcrop.network.inference.RUNTIMES`.

    Returns
    -------
    layers : dict of ndarray (y, x)
        As :func:`deepcrop.products.write.write_products` expects.
    scenes : list of ndarray of int (time,)
        For each group the valid pixels of each scene, of those that are selected.
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
        wanted=selected,
        precision=precision,
        in_season=season_is_open(content.until, year),
        runtime=runtime,
    )
    first = grid.PATCH_HALO[0]
    core = (..., slice(first, first + tile.shape[0]), slice(first, first + tile.shape[1]))
    valid: dict[str, NDArray[np.bool_]] = {
        name: np.asarray(np.isfinite(stack[core]).all(axis=1)) for name, stack in stacks.items()
    }
    if selected is not None:
        valid = {name: there & selected for name, there in valid.items()}
    seen = np.any([there.any(axis=0) for there in valid.values()], axis=0)
    # The layers have the same names by every definition.
    names = tuple(name.removeprefix("curve_") for name in network.config.stages)
    last = None if content.until is None else last_seen(valid, days)
    found = network_layers(dates, names, seen, last, season_is_open(content.until, year))
    found |= pixel_layers(found, valid, days, year, selected, tuple(valid), content)
    return found, [valid[name].sum(axis=(1, 2)) for name in images]


def network_layers(
    dates: Dates[NDArray[np.float32]],
    names: tuple[str, ...],
    seen: NDArray[np.bool_],
    last: NDArray[np.floating] | None = None,
    is_open: bool = True,
) -> Layers:
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
    last : ndarray (y, x), optional
        In season: the day on which each pixel was seen last. Each date then has a status, and one
        that is not yet known is left out, but for its probability.
    is_open : bool
        With ``last``: as `deepcrop.mapping.status.season_is_open` says.
    """
    assert dates.probability is not None  # the network gives one for every event
    found: Layers = {}
    cycles = np.zeros((stages.SLOTS, *seen.shape), bool)
    status = np.empty(0) if last is None else status_of(dates, last, is_open)
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
            cycles[slot] |= whole != stages.NO_DAY
            if last is not None:
                code = np.full(seen.shape, NO_STATUS, np.uint8)
                if stage in names and slot < dates.day.shape[2]:
                    code[:] = status[:, :, slot, names.index(stage)]
                dated = np.isin(code, (OBSERVED, FORECAST))
                code[dated & (whole == stages.NO_DAY)] = NOT_YET_KNOWN  # beyond the days there are
                whole[~dated] = stages.NO_DAY
                found[layer_name(stage, slot + 1, "status")] = code
            found[layer_name(stage, slot + 1)] = whole
            for part, bound in (("low", low), ("high", high)):
                found[layer_name(stage, slot + 1, part)] = encode_bound(bound, whole)
            found[layer_name(stage, slot + 1, "probability")] = percent
        found[layer_name("length", slot + 1)] = length_of(found, slot + 1)
    found["n_cycles"] = cycles.sum(axis=0).astype(np.uint8)
    return found
