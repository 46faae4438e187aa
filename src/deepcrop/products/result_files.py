"""Read and check ``item.json`` and ``summary.json`` of a map directory.

Both may be damaged, or written by another program: what is read here has the form that viewer,
report and notebooks rely on, or is an error that names the file, the key and what was expected.
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from odc.geo import CRS
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.indices import INDICES
from deepcrop.products.layers import DIFFERENCE, METHODS, PARTS
from deepcrop.stages import YEAR_START, TargetYear
from deepcrop.storage.documents import parse_json

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (
    "day", "bound", "length", "measure", "difference", "percent", "status", "reason", "count",
    "flags", "class",
)  # fmt: skip
"""Kinds of layers, as `ResultLayer.kind` explains them."""

_STAGE = "^((sos|eos)[1-9][0-9]?|peak)$"
_DTYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32")
_DEEPEST = 30  # levels of nested JSON


def _is_date(text: str) -> str:
    datetime.date.fromisoformat(text)  # a ValueError if it is none
    return text


def _is_crs(text: str) -> str:
    try:
        CRS(text)
    except Exception:
        raise ValueError(f"{text!r} is no reference system") from None
    return text


def _is_dtype(text: str) -> str:
    if text not in _DTYPES:
        raise ValueError(f"expected one of {', '.join(_DTYPES)}")
    return text


def _is_inside(href: str) -> str:
    """Check that the file of a layer lies in the map directory."""
    parts = href.removeprefix("./").split("/")
    if not href or any(part in ("", "..") or "\\" in part or ":" in part for part in parts):
        raise ValueError("expected a path inside the map directory")
    return href


def _is_start(text: str) -> str:
    try:
        return TargetYear(2018, text).start
    except DeepCropError:
        raise ValueError("expected month and day, for example 07-01") from None


Date = Annotated[str, AfterValidator(_is_date)]
Number = int | float
Share = Annotated[float, Field(ge=0, le=1)]
Method = Literal[METHODS]  # type: ignore[valid-type]


class _Strict(BaseModel):
    """Values keep their types: the text "1" is no number."""

    model_config = ConfigDict(strict=True)


class _Observations(_Strict):
    start: str
    end: str


class _Seen(_Strict):
    date: Date
    share: Share


class _Grid(_Strict):
    crs: Annotated[str, AfterValidator(_is_crs)]
    shape: tuple[Annotated[int, Field(gt=0, lt=10**7)], Annotated[int, Field(gt=0, lt=10**7)]]
    resolution: Annotated[float, Field(gt=0, lt=1e6)]
    bounds: tuple[Number, Number, Number, Number]


class _StatusShare(_Strict):
    observed: Share
    forecast: Share
    not_yet_known: Share


class _Dates(_Strict):
    detected: Annotated[int, Field(ge=0)]
    detected_share: Share
    median_date: Date | None
    p05_date: Date | None
    p95_date: Date | None
    median_width: Number | None = None
    wide_share: Share | None = None
    status_share: _StatusShare | None = None


class _Crop(_Strict):
    pixels: Annotated[int, Field(ge=0)]
    layers: dict[str, _Dates]


class _Spread(_Strict):
    pixels: Annotated[int, Field(ge=0)]
    known: Annotated[int, Field(ge=0)]
    share: Share | None


class _OutOfOrder(_Strict):
    share: Share | None


class _Measure(_Strict):
    p05: Number | None
    median: Number | None
    p95: Number | None


class _Map(_Strict):
    layers: dict[str, _Dates]
    measures: dict[str, _Measure] = {}
    crops: dict[str, _Crop] = {}
    out_of_order: dict[str, _OutOfOrder] = {}


class _DifferenceMap(_Strict):
    layers: dict[str, _Spread]


class _Source(_Strict):
    cube: str
    optical: dict[str, Any] = {}
    sar: dict[str, Any] = {}
    landcover: dict[str, Any] = {}
    index: Literal[tuple(INDICES)] = "ndvi"  # type: ignore[valid-type]
    smoother: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    sensors: list[str] = []
    definition: Literal["camera", "ndvi"] = "camera"


class _Summary(_Strict):
    title: str
    year: Annotated[int, Field(ge=1900, le=2200)]
    year_start: Annotated[str, AfterValidator(_is_start)] = YEAR_START
    until: Date | None = None
    methods: list[Method]
    software: str
    observations: _Observations
    scenes: dict[str, int]
    seen: dict[str, list[_Seen]] = {}
    grid: _Grid
    mapped: Annotated[int, Field(ge=0)] = 0
    maps: dict[str, dict[str, Any]]
    source: _Source


class Band(_Strict):
    """The band of a layer."""

    unit: str
    data_type: Annotated[str, AfterValidator(_is_dtype)]
    nodata: int | None = None
    scale: Annotated[float, Field(gt=0)] = Field(default=1.0, alias="raster:scale")


class ClassEntry(_Strict):
    """A class of a layer of classes."""

    value: int
    title: str
    color_hint: Annotated[str, Field(pattern="^[0-9A-Fa-f]{6}$")] | None = None


class LayerEntry(_Strict):
    """An asset of ``item.json`` that is a layer."""

    href: Annotated[str, AfterValidator(_is_inside)]
    title: str
    bands: Annotated[list[Band], Field(min_length=1)]
    method: Literal[(*METHODS, DIFFERENCE)] | None = Field(alias="deepcrop:method")  # type: ignore[valid-type]
    kind: Literal[KINDS] = Field(alias="deepcrop:kind")  # type: ignore[valid-type]
    stage: Annotated[str, Field(pattern=_STAGE)] | None = Field(alias="deepcrop:stage")
    season: Annotated[int, Field(ge=1, le=99)] | None = Field(alias="deepcrop:season")
    part: Literal[tuple(PARTS)] | None = Field(alias="deepcrop:part")  # type: ignore[valid-type]
    flags: dict[Annotated[str, Field(pattern="^[0-9]{1,5}$")], str] = Field(
        default_factory=dict, alias="deepcrop:flags"
    )
    classes: list[ClassEntry] = Field(default_factory=list, alias="classification:classes")

    @model_validator(mode="after")
    def _complete(self) -> LayerEntry:
        """Check that a date says of which season it is, and a bound also which end it is."""
        if self.kind in ("day", "bound") and None in (self.method, self.stage, self.season):
            raise ValueError("a date needs a method, a stage and a season")
        if self.kind in ("percent", "status", "reason") and None in (self.stage, self.season):
            raise ValueError("what is said of a date needs its stage and season")
        if self.kind == "measure" and None in (self.method, self.season):
            raise ValueError("a measure needs a method and a season")
        if (self.kind == "bound") != (self.part in ("low", "high")):
            raise ValueError("the ends of an interval, and they alone, are parts low and high")
        return self


class _Item(_Strict):
    properties: dict[str, Any]
    assets: dict[str, dict[str, Any]]


def read_item(path: Path) -> tuple[bool, tuple[str, ...], dict[str, LayerEntry]]:
    """Read ``item.json``: whether the map is of simulated data, its methods, its layers by key.

    Raises
    ------
    DeepCropError
        If the file is missing or damaged; with the key that is wrong.
    """
    item = _checked(path, TypeAdapter(_Item), _json(path))
    simulated = item.properties.get("deepcrop:simulated")
    methods = item.properties.get("deepcrop:methods")
    if not isinstance(simulated, bool):
        raise _damaged(path, "properties.deepcrop:simulated", simulated, "true or false")
    if not isinstance(methods, list) or not methods or not all(m in METHODS for m in methods):
        raise _damaged(path, "properties.deepcrop:methods", methods, " and ".join(METHODS))
    entry = TypeAdapter(LayerEntry)
    layers = {
        key: _checked(path, entry, asset, f"assets.{key}.")
        for key, asset in item.assets.items()
        if "data" in _roles(path, key, asset)
    }
    return simulated, tuple(methods), layers


def _roles(path: Path, key: str, asset: dict[str, Any]) -> list[str]:
    roles = asset.get("roles", [])
    if not isinstance(roles, list):
        raise _damaged(path, f"assets.{key}.roles", roles, "a list")
    return roles


def read_summary(path: Path) -> dict[str, Any]:
    """Read ``summary.json``.

    Raises
    ------
    DeepCropError
        If the file is missing or damaged; with the key that is wrong.
    """
    content = _json(path)
    _checked(path, TypeAdapter(_Summary), content)
    for name, part in content["maps"].items():
        form = _DifferenceMap if name == DIFFERENCE else _Map  # a difference holds no dates
        _checked(path, TypeAdapter(form), part, f"maps.{name}.")
    for group in ("optical", "sar"):
        if group in content["scenes"] and f"{group}_usable" not in content["scenes"]:
            raise _damaged(path, f"scenes.{group}_usable", None, "a number")
    return content


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        _check_depth(content)
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()  # half characters, NaN
    except FileNotFoundError:
        raise DeepCropError(
            f"{path.parent} has no {path.name}; expected a directory made by 'deepcrop map'."
        ) from None
    except ValueError as error:
        raise DeepCropError(f"{path} is damaged ({error}); map the region again.") from None
    if not isinstance(content, dict):
        raise DeepCropError(f"{path} is damaged (it is no JSON object); map the region again.")
    return content


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError("it is nested too deeply")


def _checked(path: Path, kind: TypeAdapter[Any], content: Any, above: str = "") -> Any:
    # pydantic tells lists from tuples in Python objects, but not in JSON.
    try:
        return kind.validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = above + ".".join(map(str, first["loc"]))
        raise _damaged(path, where, first["input"], first["msg"]) from None
    except MALFORMED as error:
        raise DeepCropError(f"{path} is damaged ({error}); map the region again.") from None


def _damaged(path: Path, key: str, found: Any, expected: str) -> DeepCropError:
    return DeepCropError(
        f"{path} is damaged, or of another version of deepcrop: {key} is {str(found)[:60]!r} "
        f"({expected}). Map the region again."
    )
