"""What a map is made with, resolved and checked once, at the door."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import grid
from deepcrop.errors import DeepCropError
from deepcrop.mapping.curve import CurveMethod
from deepcrop.mapping.network import NetworkMethod
from deepcrop.phenology.slots import start_of_year
from deepcrop.products.layers import METHODS
from deepcrop.stages import SLOTS, YEAR_START, TargetYear
from deepcrop.storage.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deepcrop.mapping.inputs import InputCube, Plan

logger = logging.getLogger(__name__)

_MONTH = np.timedelta64(31, "D")

Method = CurveMethod | NetworkMethod
"""How dates are found: each has a ``name`` and makes a ``plan`` for a cube and a year."""

BOTH = "both"
"""Name of a map by both methods, with their difference."""


@dataclass(frozen=True)
class MapOptions:
    """What a map is made with.

    Attributes
    ----------
    methods : tuple of Method
        In the order of `deepcrop.products.layers.METHODS`.
    mask : Path or None
        Raster; only pixels where it has data that is not 0 are mapped.
    parcels : Path or None
        Polygons; only pixels within are mapped, and each gets dates.
    layer : str or None
        Layer of the file of parcels; None: the only one that holds polygons.
    fields : bool
        Whether each field of the cube's ``field_id`` gets dates.
    """

    methods: tuple[Method, ...]
    mask: Path | None = None
    parcels: Path | None = None
    layer: str | None = None
    fields: bool = False

    @property
    def name(self) -> str:
        """Name of the method, or "both"."""
        return BOTH if len(self.methods) > 1 else self.methods[0].name


def resolve_options(
    method: str = "curve",
    *,
    index: str | None = None,
    smoother: str | None = None,
    fractions: Sequence[float] | None = None,
    season_rule: Mapping[str, float] | None = None,
    seasons: int | None = None,
    measures: bool | None = None,
    intervals: bool | None = None,
    year_start: str | None = None,
    weights: str | Path | None = None,
    radar: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    definition: str | None = None,
    mask: str | Path | None = None,
    parcels: str | Path | None = None,
    layer: str | None = None,
    fields: bool = False,
    until: str | datetime.date | None = None,
) -> MapOptions:
    """Resolve what a user gave into one record; None stands for "not given".

    Parameters
    ----------
    method : str
        ``"curve"``, ``"deepcrop"`` or ``"both"``.
    index, smoother, fractions, season_rule, seasons, measures, intervals, year_start
        Of the curve (`CurveMethod`).
    weights, radar, device, precision, definition
        Of the network (`NetworkMethod`).
    mask, parcels, layer, fields
        See `MapOptions`.
    until
        Of both methods: the last day of which observations are read.

    Raises
    ------
    DeepCropError
        If the method is unknown, an option is unknown or belongs to the other method, ``until`` is
        no date, or parcels and fields are both asked for.
    """
    if method not in (*METHODS, BOTH):
        raise DeepCropError(
            f"Method {method!r} is unknown; expected curve, deepcrop (the network) or both."
        )
    of_curve: dict[str, Any] = {
        "index": index,
        "smoother": smoother,
        "fractions": None if fractions is None else tuple(float(f) for f in fractions),
        "season_rule": None if season_rule is None else tuple(season_rule.items()),
        "seasons": seasons,
        "measures": measures,
        "intervals": intervals,
        "year_start": year_start,
    }
    of_network: dict[str, Any] = {
        "weights": None if weights is None else Path(weights).resolve(),
        "radar": radar,
        "device": device,
        "precision": precision,
        "definition": definition,
    }
    of_curve, of_network = (
        {name: value for name, value in given.items() if value is not None}
        for given in (of_curve, of_network)
    )
    trained = [name for name in ("fractions", "seasons") if name in of_curve]
    if method != "curve" and trained:
        raise DeepCropError(
            f"{', '.join(trained)}: only for the curve. The network was trained on dates at 20 % "
            f"and 50 % of the amplitude, of {SLOTS} seasons; leave it out, or choose method "
            "'curve'."
        )
    if method != "curve" and year_start not in (None, YEAR_START):
        raise DeepCropError(
            f"year_start {year_start}: the network was trained on years that start on 1 January "
            "and dates no others. Leave it out, or choose method 'curve'."
        )
    # An option of the other method would be ignored, so it is an error, its default value included.
    if method == "curve" and of_network:
        raise DeepCropError(
            f"{', '.join(of_network)}: only for the network. Leave it out, or choose method "
            "'deepcrop' or 'both'."
        )
    if method == "deepcrop" and of_curve:
        raise DeepCropError(
            f"{', '.join(of_curve)}: only for the curve. Leave it out, or choose method 'curve' or "
            "'both'."
        )
    if fields and parcels is not None:
        raise DeepCropError("Give either parcels or fields: parcels are given dates as well.")
    if layer is not None and parcels is None:
        raise DeepCropError("layer is one of the file of parcels; give that file as well.")
    methods: list[Method] = []
    last_day = parse_until(until)
    if method in ("curve", BOTH):
        methods.append(CurveMethod(**of_curve, until=last_day))
    if method in ("deepcrop", BOTH):
        methods.append(NetworkMethod(**of_network, until=last_day))
    return MapOptions(
        tuple(methods),
        None if mask is None else Path(mask),
        None if parcels is None else Path(parcels),
        layer,
        fields,
    )


def parse_until(until: str | datetime.date | None) -> datetime.date | None:
    """Read the day up to which observations are read.

    Raises
    ------
    DeepCropError
        If it is no date.
    """
    if isinstance(until, datetime.datetime):
        return until.date()
    if until is None or isinstance(until, datetime.date):
        return until
    try:
        return datetime.date.fromisoformat(until)
    except (TypeError, ValueError):
        raise DeepCropError(
            f"until is {until!r}; expected a date as year-month-day, for example 2018-06-15."
        ) from None


def with_until(methods: tuple[Method, ...], cube: InputCube, year: int) -> tuple[Method, ...]:
    """Give the methods the last scene's date where the cube ends within the target year.

    Dates after it are forecasts, and a map without ``until`` would show them as if observed. A cube
    that ends in the last month of the year counts as complete.
    """
    if any(method.until is not None for method in methods):
        return methods
    last = max(
        data["time"].values.max().astype("datetime64[D]")
        for data in (
            cube.data[group].to_dataset()
            for group in ("optical", "sar")
            if group in cube.data.children
        )
        if data.sizes["time"]
    )
    first_day, last_day = _target(methods[0], cube, year).dates
    # Without any observation of the year there is nothing to date: the plan of the method says so.
    if not first_day <= last <= last_day - _MONTH:
        return methods
    logger.warning(
        "The scenes of %s end on %s, before the target year does. The map is made as with until "
        "%s: its status layers say which dates are observed.",
        cube.path,
        last,
        last,
    )
    until = last.astype(datetime.date)
    return tuple(replace(method, until=until) for method in methods)


def _target(method: Any, cube: InputCube, year: int) -> TargetYear:
    """Target year of a method; only the curve's may start on another day than 1 January."""
    start = getattr(method, "year_start", None)
    if start is not None:
        start = start_of_year(start, grid.centre_latitude(cube.box))
    return TargetYear(year, start or YEAR_START)


@dataclass(frozen=True)
class TileJob:
    """All that a process needs to make tiles of a map: small, hashable, equal in every process.

    Attributes
    ----------
    cube : str
        Path of the observation cube, absolute.
    year : int
        Target year.
    methods : tuple of Method
        How to map.
    fingerprint : str
        Changes when cube or weights are written again, so that no process keeps a stale plan.
    """

    cube: str
    year: int
    methods: tuple[Method, ...]
    fingerprint: str

    @classmethod
    def of(cls, cube: InputCube, year: int, methods: tuple[Method, ...]) -> TileJob:
        """Make the job of mapping a cube."""
        files = [Path(cube.path)]
        files += [
            method.weights
            for method in methods
            if isinstance(method, NetworkMethod) and method.weights is not None
        ]
        methods = tuple(
            method.with_runtime() if isinstance(method, NetworkMethod) else method
            for method in methods
        )
        made = " ".join(fingerprint(path) for path in files if path.exists())
        return cls(cube.path, year, methods, made)

    def plans(self, cube: InputCube) -> dict[str, Plan]:
        """Plan each method, by its name, for the cube, which must be the job's."""
        return {method.name: method.plan(cube, self.year) for method in self.methods}
