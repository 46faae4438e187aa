"""Read a finished map back, for viewer, report and notebooks.

A directory made by ``deepcrop map`` is self-describing: ``item.json`` (STAC) and
``summary.json``. Files of a map by one method lie at the top of the directory; a map by several
methods has a folder for each (``curve/``, ``deepcrop/``, ``difference/``) with files of the same
names, so that the key of a layer is its path without ``.tif``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from deepcrop.errors import DeepCropError
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
        ``"difference"`` (days), ``"percent"``, ``"count"``, ``"flags"`` (bits) or ``"class"``.
    stage : str or None
        ``"sos20"``, ``"sos50"``, ``"peak"``, ``"eos50"``, ``"eos20"``; None: of no stage.
    season : int or None
        1 for the main season, 2 for the other; None: of the pixel.
    part : str or None
        ``"low"``, ``"high"`` or ``"probability"`` of a date; None: the layer itself.
    title, unit : str
    dtype : dtype
    nodata : int or None
        Stands for "nothing known".
    flags : dict of int to str
        Meaning of each bit of a layer of flags, by its value.
    classes : tuple of ResultClass
        Of a layer of classes.
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
    item, summary = (_json(path / name) for name in ("item.json", "summary.json"))
    try:
        properties = item["properties"]
        layers = {
            key: _layer(path, key, asset)
            for key, asset in item["assets"].items()
            if "data" in asset["roles"]
        }
        box = summary["grid"]
        left, _, _, top = box["bounds"]
        affine = Affine(box["resolution"], 0, left, 0, -box["resolution"], top)
        return Result(
            path,
            int(summary["year"]),
            str(summary["title"]),
            bool(properties["deepcrop:simulated"]),
            GeoBox(tuple(box["shape"]), affine, box["crs"]),
            tuple(properties["deepcrop:methods"]),
            layers,
            summary,
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DeepCropError(
            f"{path} was not made by this version of 'deepcrop map' ({type(error).__name__}: "
            f"{error}); map the region again."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeepCropError(
            f"{path.parent} has no {path.name}; expected a directory made by 'deepcrop map'."
        ) from None
    except ValueError as error:
        raise DeepCropError(f"{path} is damaged ({error}); map the region again.") from error
    return content


def _layer(path: Path, key: str, asset: dict[str, Any]) -> ResultLayer:
    band = asset["bands"][0]
    return ResultLayer(
        key,
        path / asset["href"],
        asset["deepcrop:method"],
        asset["deepcrop:kind"],
        asset.get("deepcrop:stage"),
        asset.get("deepcrop:season"),
        asset.get("deepcrop:part"),
        asset["title"],
        band["unit"],
        np.dtype(band["data_type"]),
        band.get("nodata"),
        {int(bit): words for bit, words in asset.get("deepcrop:flags", {}).items()},
        tuple(
            ResultClass(
                each["value"],
                each["title"],
                "#" + each["color_hint"] if "color_hint" in each else "",
            )
            for each in asset.get("classification:classes", [])
        ),
    )
