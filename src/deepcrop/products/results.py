"""Read a finished map back, for viewer, report and notebooks.

A directory made by ``deepcrop map`` is self-describing: ``item.json`` (STAC) and
``summary.json``. Files of a map by one method lie at the top of the directory; a map by several
methods has a folder for each (``curve/``, ``deepcrop/``, ``difference/``) with files of the same
names, so that the key of a layer is its path without ``.tif``.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from deepcrop.errors import DeepCropError
from deepcrop.products.result_files import LayerEntry, read_item, read_summary
from deepcrop.stages import YEAR_START, TargetYear
from deepcrop.storage.staging import refuse_missing


@dataclass(frozen=True)
class ResultClass:
    """One class of a layer of classes: a crop type.

    Attributes
    ----------
    value : int
    name : str
        Without blanks, as in the cube: ``winter_wheat``.
    colour : str
        ``#RRGGBB``, or empty where the cube knows none.
    """

    value: int
    name: str
    colour: str = ""


@dataclass(frozen=True)
class ResultLayer:
    """One raster of a map.

    Attributes
    ----------
    key : str
        Its name in the result and its asset key in ``item.json``: ``sos20``, or ``curve/sos20``
        where the map is by several methods.
    path : Path
        The Cloud-Optimized GeoTIFF.
    method : str or None
        ``"curve"``, ``"deepcrop"``, ``"difference"`` (deepcrop less curve), or None: crop types.
    kind : str
        ``"day"`` (a date), ``"bound"`` (an end of its 90 % interval), ``"length"`` and
        ``"difference"`` (days), ``"measure"`` (of a season: amplitude, integral, …),
        ``"percent"``, ``"status"`` and ``"reason"`` (of a date of a map in season), ``"count"``,
        ``"flags"`` (bits) or ``"class"``.
    stage : str or None
        ``"sos20"``, ``"sos50"``, ``"peak"``, ``"eos50"``, ``"eos20"``, or of other fractions;
        None: of no stage.
    season : int or None
        1 for the main season, 2 for the next; None: of the pixel.
    part : str or None
        ``"low"``, ``"high"``, ``"probability"``, ``"status"`` or ``"reason"`` of a date; None: the
        layer itself.
    title, unit : str
    dtype : dtype
    nodata : int or None
        Stands for "nothing known".
    flags : dict of int to str
        Meaning of each bit of a layer of flags, by its value.
    classes : tuple of ResultClass
        Of a layer of classes, of status and of reasons.
    scale : float
        A number of the file times this is the value in ``unit``; 1 but for measures.
    """

    key: str
    path: Path
    method: str | None
    kind: str
    stage: str | None
    season: int | None
    part: str | None
    title: str
    unit: str
    dtype: np.dtype
    nodata: int | None
    flags: dict[int, str]
    classes: tuple[ResultClass, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Result:
    """A finished map.

    Attributes
    ----------
    path : Path
        Its directory.
    year : int
        Target year: day 0 is its 1 January.
    title : str
        Name of the region.
    simulated : bool
        Whether the observations were simulated; whatever is drawn from the map must say so.
    grid : GeoBox
        Grid of all layers.
    methods : tuple of str
        Methods it was made by: ``"curve"``, ``"deepcrop"``, or both.
    layers : dict of str to ResultLayer
        By their keys.
    summary : dict
        The content of ``summary.json``.
    """

    path: Path
    year: int
    title: str
    simulated: bool
    grid: GeoBox
    methods: tuple[str, ...]
    layers: dict[str, ResultLayer]
    summary: dict[str, Any]

    @property
    def target(self) -> TargetYear:
        """Target year with its first day."""
        return TargetYear(self.year, self.summary.get("year_start", YEAR_START))

    @property
    def until(self) -> datetime.date | None:
        """Last day of which observations were read, of a map in season; None: of a whole year."""
        until = self.summary.get("until")
        return None if until is None else datetime.date.fromisoformat(until)

    def find(
        self,
        method: str | None = None,
        kind: str | None = None,
        stage: str | None = None,
        season: int | None = None,
    ) -> list[ResultLayer]:
        """Find the layers with all given properties, in their order."""
        wanted = {"method": method, "kind": kind, "stage": stage, "season": season}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        return [
            layer
            for layer in self.layers.values()
            if all(getattr(layer, name) == value for name, value in wanted.items())
        ]

    def summary_of(self, method: str) -> dict[str, Any]:
        """Numbers of one method: ``layers``, ``counts``, ``crops``, ..."""
        numbers: dict[str, Any] = self.summary["maps"][method]
        return numbers


def open_result(path: str | Path) -> Result:
    """Read the description of a map directory; no raster is opened.

    Raises
    ------
    DeepCropError
        If the directory is missing or unfinished, or was not made by ``deepcrop map`` of this form.
    """
    path = Path(path)
    expected = "a directory made by 'deepcrop map'"
    refuse_missing(path, expected)
    if not path.is_dir():
        raise DeepCropError(f"{path} is a file; expected {expected}.")
    years = sorted(one.parent.name for one in path.glob("[0-9]*/item.json"))
    if years and not (path / "item.json").exists():
        raise DeepCropError(
            f"{path} holds maps of several years; give one of them, for example {path / years[0]}."
        )
    simulated, methods, entries = read_item(path / "item.json")
    summary = read_summary(path / "summary.json")
    box = summary["grid"]
    affine = Affine(box["resolution"], 0, box["bounds"][0], 0, -box["resolution"], box["bounds"][3])
    result = Result(
        path,
        summary["year"],
        summary["title"],
        simulated,
        GeoBox(tuple(box["shape"]), affine, box["crs"]),
        methods,
        {key: _layer(path, key, entry) for key, entry in entries.items()},
        summary,
    )
    _check_numbers(result)
    return result


def find_issues(folder: Path) -> dict[date, Path]:
    """Find the issues of a map in a folder: finished maps, each in a folder named after its day.

    ``deepcrop update`` makes them: ``maps/2026-06-15``, ``maps/2026-07-15``.
    """
    found = {}
    for path in sorted(folder.glob("[0-9]*-[0-9]*-[0-9]*")):
        try:
            day = date.fromisoformat(path.name)
        except ValueError:
            continue
        if (path / "summary.json").is_file():
            found[day] = path
    return found


def _check_numbers(result: Result) -> None:
    """Raise `DeepCropError` unless the summary has the numbers of each date and measure."""
    for method in result.methods:
        numbers = result.summary["maps"].get(method)
        lacks = [
            name
            for kind, part in (("day", "layers"), ("measure", "measures"))
            for name in (
                layer.key.rsplit("/", 1)[-1] for layer in result.find(method=method, kind=kind)
            )
            if numbers is None
            or name not in numbers.get(part, {})
            or (part == "layers" and result.until and "status_share" not in numbers[part][name])
        ]
        dated = {str(layer.stage)[:3] for layer in result.find(method=method, kind="day", season=1)}
        if not {"sos", "eos"} <= dated:
            raise DeepCropError(
                f"{result.path / 'item.json'} lists no start or no end of season by {method}. Map "
                "the region again."
            )
        crops = "crops" in (numbers or {}) or not result.find(kind="class")
        if numbers is None or lacks or not crops:
            raise DeepCropError(
                f"{result.path / 'summary.json'} does not fit item.json: it lacks the numbers of "
                f"{', '.join([f'{method} {name}' for name in lacks[:3]] or [method])}. Map the "
                "region again."
            )


def _layer(path: Path, key: str, entry: LayerEntry) -> ResultLayer:
    band = entry.bands[0]
    return ResultLayer(
        key,
        path / entry.href,
        entry.method,
        entry.kind,
        entry.stage,
        entry.season,
        entry.part,
        entry.title,
        band.unit,
        np.dtype(band.data_type),
        band.nodata,
        {int(bit): words for bit, words in entry.flags.items()},
        tuple(
            ResultClass(each.value, each.title, f"#{each.color_hint}" if each.color_hint else "")
            for each in entry.classes
        ),
        band.scale,
    )
